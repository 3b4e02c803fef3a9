/* What a sample costs below HTTP: bodies are decoded, looked up, appended and logged in this
 * process.
 *
 *   build/release/bench/pipeline DIR [targets] [rounds] [shape] [owners]
 *
 * DIR is a scratch data directory. A target has 100 series (35 constants, 35 counters, 15 two-digit
 * decimals, 15 full-mantissa floats) with about 230 label bytes; a body has 2000 series with one
 * sample each. Prints, as JSON, nanoseconds per sample (CPU of the whole process, wall), bytes of
 * log and of memory. Shapes, for what decides the partition (model/placement.h):
 *
 *   targets  as above
 *   one      all series are of one target, as of an exporter that speaks for many pods
 *   metric   the same, and all have one name
 *   bare     senders without job and instance
 */
#include "base/random.h"
#include "ingest/ingest.h"
#include "tests/support/ingest/encode.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum {
    SERIES_PER_TARGET = 100,
    SERIES_PER_BODY = 2000,
    INTERVAL_MS = 15000,
    LABELS = 10
};

struct series_text {
    char value[LABELS][64];
};

static void die(const char *what, const struct tsdb_error *err)
{
    fprintf(stderr, "pipeline: %s: %s\n", what, err ? err->msg : "");
    exit(1);
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double wall_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double value_of(uint32_t kind, uint32_t round, struct tsdb_prng *prng)
{
    if (kind < 35) {
        return kind * 17;
    }
    if (kind < 70) {
        return (double)round * 37 + (double)tsdb_prng_below(prng, 50);
    }
    if (kind < 85) {
        return (double)tsdb_prng_below(prng, 10000) / 100;
    }
    return tsdb_prng_double(prng);
}

static const char *const names[LABELS] = {"__name__", "cluster", "container", "endpoint",
                                          "instance", "job",     "namespace", "node",
                                          "pod",      "service"};

static int64_t start_ms; /* of the first round; recent, so that nothing is due to become a block */

enum shape {
    SHAPE_TARGETS,
    SHAPE_ONE,
    SHAPE_METRIC,
    SHAPE_BARE
};
static const char *const shape_names[] = {"targets", "one", "metric", "bare"};

/* The labels of t that this shape has; the count. */
static uint32_t shape_labels(enum shape shape, uint32_t kind, struct series_text *t,
                             struct tsdb_label *out)
{
    uint32_t count = 0;
    if (shape == SHAPE_ONE || shape == SHAPE_METRIC) {
        snprintf(t->value[4], sizeof t->value[4], "10.0.0.1:8080");
        snprintf(t->value[5], sizeof t->value[5], "state-of-pods");
    }
    if (shape == SHAPE_METRIC) {
        snprintf(t->value[0], sizeof t->value[0], "http_server_request_metric_total");
        snprintf(t->value[3], sizeof t->value[3], "http-metrics-%u", kind);
    }
    for (uint32_t i = 0; i < LABELS; i++) {
        bool of_target = strcmp(names[i], "instance") == 0 || strcmp(names[i], "job") == 0;
        if (shape != SHAPE_BARE || !of_target) {
            out[count++] = tsdb_label_make(names[i], t->value[i]);
        }
    }
    return count;
}

static void put_series(enum shape shape, uint32_t id, uint32_t round, struct tsdb_prng *prng,
                       struct tsdb_buf *raw)
{
    uint32_t target = id / SERIES_PER_TARGET;
    uint32_t kind = id % SERIES_PER_TARGET;
    struct series_text t;
    snprintf(t.value[0], sizeof t.value[0], "http_server_request_metric_number_%02u_total", kind);
    snprintf(t.value[1], sizeof t.value[1], "production-eu-west");
    snprintf(t.value[2], sizeof t.value[2], "application");
    snprintf(t.value[3], sizeof t.value[3], "http-metrics");
    snprintf(t.value[4], sizeof t.value[4], "10.%u.%u.%u:8080", target >> 16 & 255,
             target >> 8 & 255, target & 255);
    snprintf(t.value[5], sizeof t.value[5], "service-%u", target % 20);
    snprintf(t.value[6], sizeof t.value[6], "namespace-%u", target % 7);
    snprintf(t.value[7], sizeof t.value[7], "node-%u.internal", target % 50);
    snprintf(t.value[8], sizeof t.value[8], "application-5f7d8c9b6-%05u", target);
    snprintf(t.value[9], sizeof t.value[9], "service-%u", target % 20);
    struct tsdb_label labels[LABELS];
    uint32_t count = shape_labels(shape, kind, &t, labels);
    struct encode_sample sample = {start_ms + round * INTERVAL_MS,
                                   tsdb_double_bits(value_of(kind, round, prng)), 0};
    struct encode_series s = {.labels = {labels, count}, .samples = &sample, .sample_count = 1};
    encode_v1_series(&s, raw);
}

static void make_bodies(enum shape shape, uint32_t round, uint32_t series, struct tsdb_prng *prng,
                        struct tsdb_buf *bodies)
{
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    for (uint32_t b = 0; b * SERIES_PER_BODY < series; b++) {
        tsdb_buf_clear(&raw);
        for (uint32_t i = 0; i < SERIES_PER_BODY; i++) {
            put_series(shape, b * SERIES_PER_BODY + i, round, prng, &raw);
        }
        tsdb_buf_clear(&bodies[b]);
        if (encode_snappy(&raw, &bodies[b]) != TSDB_OK) {
            die("encode", NULL);
        }
    }
    tsdb_buf_deinit(&raw);
}

static void on_done(void *arg)
{
    atomic_fetch_add((_Atomic(uint32_t) *)arg, 1);
}

/* Keeps a few requests in flight, as connections would. */
static void send_round(struct ingest *in, const struct tsdb_buf *bodies, uint32_t count)
{
    enum {
        IN_FLIGHT = 8
    };
    struct ingest_request *open[IN_FLIGHT];
    _Atomic(uint32_t) done[IN_FLIGHT];
    struct tsdb_error err;
    for (uint32_t b = 0; b < count;) {
        uint32_t n = 0;
        for (; n < IN_FLIGHT && b < count; n++, b++) {
            atomic_store(&done[n], 0);
            if (ingest_begin(in, bodies[b].len, &open[n], &err) != TSDB_OK ||
                ingest_body(open[n], bodies[b].data, bodies[b].len, &err) != TSDB_OK) {
                die("begin", &err);
            }
            ingest_submit(open[n], INGEST_REMOTE_WRITE_1, INGEST_ENCODING_SNAPPY, on_done,
                          &done[n]);
        }
        for (uint32_t i = 0; i < n; i++) {
            struct ingest_answer a;
            while (atomic_load(&done[i]) == 0) {
                nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
            }
            if (!ingest_answer(open[i], &a) || a.status != TSDB_OK) {
                fprintf(stderr, "pipeline: %s\n", a.text);
                exit(1);
            }
            ingest_end(open[i]);
        }
    }
}

static enum shape shape_parse(const char *word)
{
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(shape_names); i++) {
        if (strcmp(word, shape_names[i]) == 0) {
            return (enum shape)i;
        }
    }
    fprintf(stderr, "pipeline: no shape \"%s\"\n", word);
    exit(2);
}

struct plan {
    enum shape shape;
    uint32_t series;
    uint32_t rounds;
    uint32_t owners; /* 0: as many as a server has */
};

/* Sums over the rounds of one kind: the first, or those after it. */
struct phase {
    double samples;
    double cpu_seconds;
    double wall_seconds;
    uint64_t log_bytes;
};

static struct tsdb *open_db(const char *dir, uint32_t owners)
{
    struct tsdb_error err;
    struct tsdb_options o;
    tsdb_options_default(&o);
    o.retention_ms = 0;
    o.owner_count = owners;
    struct tsdb *db = NULL;
    if (tsdb_fs_real_create(dir, &o.fs, &err) != TSDB_OK || tsdb_open(&o, &db, &err) != TSDB_OK) {
        die("open", &err);
    }
    while (tsdb_state(db, &err) == TSDB_STATE_RECOVERING) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return db;
}

static void run(const struct plan *plan, struct tsdb *db, struct ingest *in, struct phase out[2])
{
    uint32_t count = (plan->series + SERIES_PER_BODY - 1) / SERIES_PER_BODY;
    struct tsdb_buf *bodies = calloc(count, sizeof *bodies);
    if (!bodies) {
        die("memory", NULL);
    }
    for (uint32_t b = 0; b < count; b++) {
        tsdb_buf_init(&bodies[b], TSDB_MEM_OTHER, 0);
    }
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 1);
    struct tsdb_stats st;
    tsdb_stats_read(db, &st);
    for (uint32_t round = 0; round < plan->rounds; round++) {
        struct phase *p = &out[round > 0];
        make_bodies(plan->shape, round, plan->series, &prng, bodies);
        double cpu = cpu_seconds();
        double wall = wall_seconds();
        uint64_t logged = st.wal_bytes_written;
        send_round(in, bodies, count);
        p->cpu_seconds += cpu_seconds() - cpu;
        p->wall_seconds += wall_seconds() - wall;
        p->samples += (double)count * SERIES_PER_BODY;
        tsdb_stats_read(db, &st);
        p->log_bytes += st.wal_bytes_written - logged;
    }
}

static void print(const struct plan *plan, struct tsdb *db, const struct phase phases[2])
{
    static const char *const names_of[] = {"new", "known"};
    struct tsdb_stats st;
    tsdb_stats_read(db, &st);
    printf("{\"shape\": \"%s\", \"series\": %llu, \"owners\": %u", shape_names[plan->shape],
           (unsigned long long)st.series, tsdb_owner_count(db));
    for (uint32_t i = 0; i < 2; i++) {
        const struct phase *p = &phases[i];
        double samples = p->samples > 0 ? p->samples : 1;
        printf(", \"%s\": {\"cpu_ns\": %.1f, \"wall_ns\": %.1f, \"log_bytes\": %.3f}", names_of[i],
               p->cpu_seconds / samples * 1e9, p->wall_seconds / samples * 1e9,
               (double)p->log_bytes / samples);
    }
    printf(", \"head_bytes\": %llu, \"index_bytes\": %llu, \"alias_bytes\": %llu}\n",
           (unsigned long long)(tsdb_mem_used(TSDB_MEM_HEAD) / st.series),
           (unsigned long long)(tsdb_mem_used(TSDB_MEM_INDEX) / st.series),
           (unsigned long long)(tsdb_mem_used(TSDB_MEM_ALIAS) / st.series));
}

static uint32_t number(const char *text, uint32_t max)
{
    char *end = NULL;
    unsigned long long v = strtoull(text, &end, 10);
    if (end == text || *end || v > max) {
        fprintf(stderr, "pipeline: \"%s\" is not a number up to %u\n", text, max);
        exit(2);
    }
    return (uint32_t)v;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 6 || argv[1][0] == '-') {
        fprintf(stderr,
                "usage: pipeline DIR [targets] [rounds] [targets|one|metric|bare] [owners]\n");
        return 2;
    }
    struct plan plan = {.shape = argc > 4 ? shape_parse(argv[4]) : SHAPE_TARGETS,
                        .series = (argc > 2 ? number(argv[2], 1000000) : 1000) * SERIES_PER_TARGET,
                        .rounds = argc > 3 ? number(argv[3], 100000) : 20,
                        .owners = argc > 5 ? number(argv[5], TSDB_OWNERS_MAX) : 0};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    start_ms = (int64_t)now.tv_sec * 1000 - (int64_t)plan.rounds * INTERVAL_MS;
    struct tsdb_error err;
    struct tsdb *db = open_db(argv[1], plan.owners);
    struct ingest *in = NULL;
    struct ingest_options io;
    ingest_options_default(&io);
    if (ingest_create(&io, db, &in, &err) != TSDB_OK) {
        die("ingest", &err);
    }
    struct phase phases[2] = {0};
    run(&plan, db, in, phases);
    print(&plan, db, phases);
    ingest_destroy(in);
    return tsdb_close(db, &err) == TSDB_OK ? 0 : 1;
}
