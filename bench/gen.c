/* Makes the request bodies of the ingest benchmark: remote write 1.0 unless --form says otherwise, one
 * sample per series; for a backfill, --batch samples per series, and with --random-times the intervals in random order (the
 * same for all series of a target).
 *
 * A target is a process with 100 series: 35 constant gauges, 35 integer counters (12 of them the
 * buckets of one histogram), 15 gauges with two decimals, 15 full-mantissa floats. 8 to 11 labels
 * of some 232 bytes together. A request is 20 targets, one sample each. With --churn so many of a hundred
 * targets are replaced before each scrape by ones that were not there before. Everything follows from
 * the seed.
 */
#include "base/alloc.h"
#include "base/hash.h"
#include "base/random.h"
#include "bench/corpus.h"
#include "tests/support/ingest/encode.h"
#include "tests/support/ingest/encode_otlp.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define TARGET_SERIES  100u
#define CONSTANT_COUNT 35u
#define COUNTER_COUNT  35u
#define BUCKET_COUNT   12u /* the first counters */
#define DECIMAL_COUNT  15u
#define LABELS_MAX     12u
#define JITTER_MS      5u

enum form {
    FORM_V1,
    FORM_V1_ZSTD, /* packed as vmagent does */
    FORM_V2,
    FORM_OTLP, /* not packed */
    FORM_COUNT
};
static const char *const form_names[FORM_COUNT] = {"v1", "v1-zstd", "v2", "otlp"};

struct options {
    enum form form;
    uint32_t churn; /* of 100 targets, replaced before each scrape */
    uint32_t targets;
    uint32_t targets_per_request;
    uint32_t scrapes;
    uint32_t batch; /* scrapes in a request */
    int64_t start_ms;
    int64_t interval_ms;
    uint64_t seed;
    bool random_times;
    bool numbered; /* a label `series`, so that rate() may take all names at once */
    bool constant; /* no value ever changes, whatever its kind */
    const char *out;
};

enum kind {
    KIND_CONSTANT,
    KIND_COUNTER,
    KIND_DECIMAL,
    KIND_FLOAT
};

struct bench_series {
    struct tsdb_label labels[LABELS_MAX];
    uint32_t label_count;
    enum kind kind;
    int64_t whole; /* constant, counter, gauge in hundredths */
    double real;   /* the last full-mantissa value */
};

struct generator {
    struct options o;
    struct tsdb_prng random;
    struct tsdb_arena arena; /* label texts */
    struct bench_series *series;
    uint32_t *offsets_ms; /* per target: when in the interval it is scraped */
    uint32_t *identities; /* per target: what its labels are made of */
    uint32_t identity_next;
    int64_t *slots; /* per scrape: its interval */
    /* of the request that is being made */
    struct encode_series *parts;
    struct encode_sample *samples; /* [part][batch] */
    uint32_t part_count;
    struct tsdb_buf raw;
    struct tsdb_buf body;
    struct tsdb_buf head;
    FILE *file;
    uint64_t raw_bytes, body_bytes, label_bytes;
    uint64_t digest; /* of all requests: two runs with one seed and start must agree */
};

static _Noreturn void die(const char *what, const char *detail)
{
    fprintf(stderr, "gen: %s: %s\n", what, detail);
    exit(1);
}

static void add_label(struct generator *g, struct bench_series *s, const char *name,
                      const char *value)
{
    size_t len = strlen(value);
    char *copy = tsdb_arena_strndup(&g->arena, value, len);
    if (!copy || s->label_count == LABELS_MAX) {
        die("labels", "out of memory");
    }
    s->labels[s->label_count] =
        (struct tsdb_label){name, copy, (uint32_t)strlen(name), (uint32_t)len};
    s->label_count++;
    g->label_bytes += strlen(name) + len;
}

static enum kind kind_of(uint32_t i)
{
    return i < CONSTANT_COUNT                                   ? KIND_CONSTANT
           : i < CONSTANT_COUNT + COUNTER_COUNT                 ? KIND_COUNTER
           : i < CONSTANT_COUNT + COUNTER_COUNT + DECIMAL_COUNT ? KIND_DECIMAL
                                                                : KIND_FLOAT;
}

static bool is_bucket(uint32_t i)
{
    return i >= CONSTANT_COUNT && i < CONSTANT_COUNT + BUCKET_COUNT;
}

static void metric_name(uint32_t i, char *out, size_t cap)
{
    if (is_bucket(i)) {
        snprintf(out, cap, "http_request_duration_seconds_bucket");
        return;
    }
    switch (kind_of(i)) {
    case KIND_CONSTANT:
        snprintf(out, cap, "process_setting_%02u_configured_limit", i);
        break;
    case KIND_COUNTER:
        snprintf(out, cap, "service_operations_%02u_processed_total", i);
        break;
    case KIND_DECIMAL:
        snprintf(out, cap, "service_queue_%02u_utilisation_percent", i);
        break;
    case KIND_FLOAT:
        snprintf(out, cap, "service_latency_%02u_moving_average_seconds", i);
        break;
    }
}

/* Labels in the order of their names, as Prometheus sends them. */
static void make_labels(struct generator *g, uint32_t place, uint32_t i)
{
    static const char *const bounds[BUCKET_COUNT] = {
        "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"};
    struct bench_series *s = &g->series[(size_t)place * TARGET_SERIES + i];
    uint32_t target = g->identities[place];
    char text[128];
    s->label_count = 0;
    metric_name(i, text, sizeof text);
    add_label(g, s, "__name__", text);
    snprintf(text, sizeof text, "production-eu-west-%u", target % 3 + 1);
    add_label(g, s, "cluster", text);
    snprintf(text, sizeof text, "checkout-service-%u", target % 40);
    add_label(g, s, "container", text);
    if (kind_of(i) == KIND_COUNTER) {
        add_label(g, s, "handler", i % 2 ? "/api/v1/orders" : "/api/v1/carts");
    }
    snprintf(text, sizeof text, "10.%u.%u.%u:9100", target >> 16 & 255, target >> 8 & 255,
             target & 255);
    add_label(g, s, "instance", text);
    add_label(g, s, "job", "kubernetes-pods");
    if (is_bucket(i)) {
        add_label(g, s, "le", bounds[i - CONSTANT_COUNT]);
        add_label(g, s, "method", "POST");
    }
    snprintf(text, sizeof text, "team-payments-%02u", target % 25);
    add_label(g, s, "namespace", text);
    snprintf(text, sizeof text, "checkout-service-%u-7d9f8b6c5d-%05x", target % 40,
             target * 2654435761u >> 12);
    add_label(g, s, "pod", text);
    if (kind_of(i) == KIND_DECIMAL) {
        snprintf(text, sizeof text, "queue-%02u", i % 15);
        add_label(g, s, "queue", text);
    }
    if (g->o.numbered) {
        snprintf(text, sizeof text, "%02u", i);
        add_label(g, s, "series", text);
    }
    snprintf(text, sizeof text, "eu-west-%u%c", target % 3 + 1, 'a' + (int)(target % 3));
    add_label(g, s, "zone", text);
}

static void make_series(struct generator *g)
{
    size_t count = (size_t)g->o.targets * TARGET_SERIES;
    g->series = calloc(count, sizeof *g->series);
    g->offsets_ms = calloc(g->o.targets, sizeof *g->offsets_ms);
    g->identities = calloc(g->o.targets, sizeof *g->identities);
    size_t parts = (size_t)g->o.targets_per_request * TARGET_SERIES;
    g->parts = calloc(parts, sizeof *g->parts);
    g->samples = calloc(parts * g->o.batch, sizeof *g->samples);
    if (!g->series || !g->offsets_ms || !g->identities || !g->parts || !g->samples) {
        die("series", "out of memory");
    }
    g->identity_next = g->o.targets;
    for (uint32_t t = 0; t < g->o.targets; t++) {
        g->identities[t] = t;
        g->offsets_ms[t] =
            (uint32_t)tsdb_prng_below(&g->random, (uint64_t)g->o.interval_ms - JITTER_MS);
        for (uint32_t i = 0; i < TARGET_SERIES; i++) {
            struct bench_series *s = &g->series[(size_t)t * TARGET_SERIES + i];
            make_labels(g, t, i);
            s->kind = g->o.constant ? KIND_CONSTANT : kind_of(i);
            s->whole = (int64_t)tsdb_prng_below(&g->random, 1000000);
            s->real = tsdb_prng_double(&g->random);
        }
        /* A bucket counts what the smaller ones count. */
        for (uint32_t i = 1; i < BUCKET_COUNT; i++) {
            struct bench_series *s = &g->series[(size_t)t * TARGET_SERIES + CONSTANT_COUNT + i];
            s->whole += s[-1].whole;
        }
    }
}

/* The next value of a series. `carry` is what the smaller buckets have grown by in this scrape. */
static double next_value(struct generator *g, struct bench_series *s, bool bucket, int64_t *carry)
{
    switch (s->kind) {
    case KIND_CONSTANT:
        break;
    case KIND_COUNTER: {
        bool rests = tsdb_prng_below(&g->random, 10) < 3;
        int64_t grown = rests ? 0 : (int64_t)tsdb_prng_below(&g->random, bucket ? 20 : 1000);
        if (bucket) {
            *carry += grown;
            grown = *carry;
        }
        s->whole += grown;
        break;
    }
    case KIND_DECIMAL:
        s->whole += (int64_t)tsdb_prng_below(&g->random, 401) - 200;
        return (double)s->whole / 100;
    case KIND_FLOAT:
        s->real = s->real * 0.9 + tsdb_prng_double(&g->random) * 0.1;
        return s->real;
    }
    return (double)s->whole;
}

static int64_t time_of(struct generator *g, uint32_t target, uint32_t scrape)
{
    return g->o.start_ms + g->slots[scrape] * g->o.interval_ms + g->offsets_ms[target] +
           (int64_t)tsdb_prng_below(&g->random, JITTER_MS);
}

/* In which interval each scrape lies: no two in one. */
static void make_slots(struct generator *g)
{
    g->slots = calloc(g->o.scrapes, sizeof *g->slots);
    if (!g->slots) {
        die("scrapes", "out of memory");
    }
    for (uint32_t i = 0; i < g->o.scrapes; i++) {
        uint32_t other = g->o.random_times ? (uint32_t)tsdb_prng_below(&g->random, i + 1) : i;
        g->slots[i] = g->slots[other];
        g->slots[other] = i;
    }
}

/* Scrapes [from, from + count) of a target. */
static void add_target(struct generator *g, uint32_t target, uint32_t from, uint32_t count)
{
    struct bench_series *series = &g->series[(size_t)target * TARGET_SERIES];
    struct encode_sample *samples = g->samples + (size_t)g->part_count * g->o.batch;
    for (uint32_t k = 0; k < count; k++) {
        int64_t t_ms = time_of(g, target, from + k);
        int64_t carry = 0;
        for (uint32_t i = 0; i < TARGET_SERIES; i++) {
            double value = next_value(g, &series[i], is_bucket(i), &carry);
            samples[(size_t)i * g->o.batch + k] =
                (struct encode_sample){.t_ms = t_ms, .bits = tsdb_double_bits(value)};
        }
    }
    for (uint32_t i = 0; i < TARGET_SERIES; i++) {
        g->parts[g->part_count++] =
            (struct encode_series){.labels = {series[i].labels, series[i].label_count},
                                   .samples = samples + (size_t)i * g->o.batch,
                                   .sample_count = count};
    }
}

/* Another pod in its place. */
static void replace_target(struct generator *g, uint32_t target)
{
    g->identities[target] = g->identity_next++;
    for (uint32_t i = 0; i < TARGET_SERIES; i++) {
        make_labels(g, target, i);
    }
}

static void put(struct generator *g, const void *data, size_t len)
{
    if (fwrite(data, 1, len, g->file) != len) {
        die(g->o.out, strerror(errno));
    }
}

static void pack_zstd(const struct tsdb_buf *raw, struct tsdb_buf *out)
{
    size_t cap = ZSTD_compressBound(raw->len);
    uint8_t *to = tsdb_buf_reserve(out, cap);
    size_t n = to ? ZSTD_compress(to, cap, raw->data, raw->len, 1) : 0;
    if (!to || ZSTD_isError(n)) {
        die("request", "cannot be packed");
    }
    out->len += n;
}

/* The parts of the request as one message, and packed. */
static void encode_request(struct generator *g)
{
    enum tsdb_status status = TSDB_OK;
    switch (g->o.form) {
    case FORM_V1:
    case FORM_V1_ZSTD:
        for (uint32_t i = 0; i < g->part_count; i++) {
            encode_v1_series(&g->parts[i], &g->raw);
        }
        break;
    case FORM_V2:
        status = encode_v2_request(g->parts, g->part_count, &g->raw);
        break;
    case FORM_OTLP:
        encode_otlp_gauges(g->parts, g->part_count, TARGET_SERIES, &g->raw);
        break;
    case FORM_COUNT:
        break;
    }
    g->part_count = 0;
    if (g->o.form == FORM_V1_ZSTD) {
        pack_zstd(&g->raw, &g->body);
    } else if (g->o.form == FORM_OTLP) {
        tsdb_buf_put(&g->body, g->raw.data, g->raw.len);
    } else if (status == TSDB_OK) {
        status = encode_snappy(&g->raw, &g->body);
    }
    if (status != TSDB_OK || g->raw.failed || g->body.failed) {
        die("request", "out of memory");
    }
}

static void write_request(struct generator *g, uint32_t samples)
{
    tsdb_buf_clear(&g->body);
    encode_request(g);
    tsdb_buf_clear(&g->head);
    tsdb_buf_put_le32(&g->head, (uint32_t)g->body.len);
    tsdb_buf_put_le32(&g->head, samples);
    put(g, g->head.data, g->head.len);
    put(g, g->body.data, g->body.len);
    g->raw_bytes += g->raw.len;
    g->body_bytes += g->body.len;
    g->digest = g->digest * 31 + tsdb_hash64_plain(g->raw.data, g->raw.len);
    tsdb_buf_clear(&g->raw);
}

static void write_scrapes(struct generator *g, uint32_t from, uint32_t count)
{
    uint32_t in_request = 0;
    uint32_t replaced = from > 0 ? g->o.targets * g->o.churn / 100 : 0;
    for (uint32_t i = 0; i < replaced; i++) { /* each in turn */
        replace_target(g, (from * replaced + i) % g->o.targets);
    }
    for (uint32_t t = 0; t < g->o.targets; t++) {
        add_target(g, t, from, count);
        in_request++;
        if (in_request == g->o.targets_per_request || t + 1 == g->o.targets) {
            write_request(g, in_request * TARGET_SERIES * count);
            in_request = 0;
        }
    }
}

static void write_corpus(struct generator *g)
{
    g->file = fopen(g->o.out, "wb");
    if (!g->file) {
        die(g->o.out, strerror(errno));
    }
    uint64_t series = (uint64_t)g->o.targets * TARGET_SERIES;
    tsdb_buf_put(&g->head, CORPUS_MAGIC, 8);
    tsdb_buf_put_le32(&g->head,
                      (g->o.targets + g->o.targets_per_request - 1) / g->o.targets_per_request);
    tsdb_buf_put_le32(&g->head, (g->o.scrapes + g->o.batch - 1) / g->o.batch);
    tsdb_buf_put_le64(&g->head, series);
    tsdb_buf_put_le64(&g->head, series * g->o.scrapes);
    put(g, g->head.data, g->head.len);
    for (uint32_t i = 0; i < g->o.scrapes; i += g->o.batch) {
        write_scrapes(g, i, TSDB_MIN(g->o.batch, g->o.scrapes - i));
    }
    if (fclose(g->file) != 0) {
        die(g->o.out, strerror(errno));
    }
    double samples = (double)series * g->o.scrapes;
    printf("{\"series\": %" PRIu64 ", \"scrapes\": %u, \"samples\": %.0f, \"seed\": %" PRIu64
           ", \"label_bytes_per_series\": %.1f, \"protobuf_bytes_per_sample\": %.1f, "
           "\"body_bytes_per_sample\": %.1f, \"digest\": \"%016" PRIx64 "\"}\n",
           series, g->o.scrapes, samples, g->o.seed, (double)g->label_bytes / (double)series,
           (double)g->raw_bytes / samples, (double)g->body_bytes / samples, g->digest);
}

static int64_t number(const char *flag, const char *text, int64_t min, int64_t max)
{
    char *end = NULL;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || v < min || v > max) {
        fprintf(stderr, "gen: --%s: \"%s\" is not a number from %" PRId64 " to %" PRId64 "\n", flag,
                text, min, max);
        exit(2);
    }
    return v;
}

static enum form form_of(const char *name)
{
    for (uint32_t i = 0; i < FORM_COUNT; i++) {
        if (strcmp(name, form_names[i]) == 0) {
            return (enum form)i;
        }
    }
    fprintf(stderr, "gen: --form: \"%s\" is none of v1, v1-zstd, v2, otlp\n", name);
    exit(2);
}

static const char usage[] =
    "usage: gen --out FILE [--targets 1000] [--scrapes 60] [--start-ms 0] [--interval-ms 15000]\n"
    "           [--targets-per-request 20] [--batch 1] [--random-times] [--seed 1] [--numbered]\n"
    "           [--constant] [--churn 0] [--form v1|v1-zstd|v2|otlp]\n";

static void parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {{"out", required_argument, NULL, 'o'},
                                          {"targets", required_argument, NULL, 't'},
                                          {"scrapes", required_argument, NULL, 'k'},
                                          {"start-ms", required_argument, NULL, 's'},
                                          {"interval-ms", required_argument, NULL, 'i'},
                                          {"targets-per-request", required_argument, NULL, 'r'},
                                          {"seed", required_argument, NULL, 'e'},
                                          {"batch", required_argument, NULL, 'b'},
                                          {"random-times", no_argument, NULL, 'x'},
                                          {"numbered", no_argument, NULL, 'n'},
                                          {"constant", no_argument, NULL, 'a'},
                                          {"churn", required_argument, NULL, 'c'},
                                          {"form", required_argument, NULL, 'f'},
                                          {NULL, 0, NULL, 0}};
    int c = 0;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'o') {
            o->out = optarg;
        } else if (c == 'n') {
            o->numbered = true;
        } else if (c == 'a') {
            o->constant = true;
        } else if (c == 'c') {
            o->churn = (uint32_t)number("churn", optarg, 0, 100);
        } else if (c == 'f') {
            o->form = form_of(optarg);
        } else if (c == 'x') {
            o->random_times = true;
        } else if (c == 'b') {
            o->batch = (uint32_t)number("batch", optarg, 1, 10000);
        } else if (c == 't') {
            o->targets = (uint32_t)number("targets", optarg, 1, 1000000);
        } else if (c == 'k') {
            o->scrapes = (uint32_t)number("scrapes", optarg, 1, 1000000);
        } else if (c == 's') {
            o->start_ms = number("start-ms", optarg, 0, INT64_C(1) << 50);
        } else if (c == 'i') {
            o->interval_ms = number("interval-ms", optarg, 2 * JITTER_MS, 86400000);
        } else if (c == 'r') {
            o->targets_per_request = (uint32_t)number("targets-per-request", optarg, 1, 10000);
        } else if (c == 'e') {
            o->seed = (uint64_t)number("seed", optarg, 0, INT64_MAX);
        } else {
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (!o->out || optind != argc) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static struct generator g = {.o = {.targets = 1000,
                                       .targets_per_request = 20,
                                       .scrapes = 60,
                                       .batch = 1,
                                       .interval_ms = 15000,
                                       .seed = 1}};
    parse(argc, argv, &g.o);
    tsdb_prng_init(&g.random, g.o.seed);
    tsdb_arena_init(&g.arena, TSDB_MEM_OTHER, 1u << 20, NULL);
    tsdb_buf_init(&g.raw, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&g.body, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&g.head, TSDB_MEM_OTHER, 0);
    make_series(&g);
    make_slots(&g);
    write_corpus(&g);
    tsdb_buf_deinit(&g.raw);
    tsdb_buf_deinit(&g.body);
    tsdb_buf_deinit(&g.head);
    tsdb_arena_deinit(&g.arena);
    free(g.series);
    free(g.offsets_ms);
    free(g.identities);
    free(g.parts);
    free(g.samples);
    free(g.slots);
    return 0;
}
