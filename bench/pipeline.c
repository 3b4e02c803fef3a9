/* What a sample costs below HTTP: bodies are decoded, looked up, appended and logged in this
 * process.
 *
 *   build/release/bench/pipeline DIR [targets] [rounds]
 *
 * DIR is a scratch data directory. A target has 100 series (35 constants, 35 counters, 15 two-digit
 * decimals, 15 full-mantissa floats) with about 230 label bytes; a body has 2000 series with one
 * sample each. Prints CPU nanoseconds per sample of the whole process.
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

static void put_series(uint32_t id, uint32_t round, struct tsdb_prng *prng, struct tsdb_buf *raw)
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
    for (uint32_t i = 0; i < LABELS; i++) {
        labels[i] = tsdb_label_make(names[i], t.value[i]);
    }
    struct encode_sample sample = {INT64_C(1700000000000) + round * 15000,
                                   tsdb_double_bits(value_of(kind, round, prng)), 0};
    struct encode_series s = {.labels = {labels, LABELS}, .samples = &sample, .sample_count = 1};
    encode_v1_series(&s, raw);
}

static void make_bodies(uint32_t round, uint32_t series, struct tsdb_prng *prng,
                        struct tsdb_buf *bodies)
{
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    for (uint32_t b = 0; b * SERIES_PER_BODY < series; b++) {
        tsdb_buf_clear(&raw);
        for (uint32_t i = 0; i < SERIES_PER_BODY; i++) {
            put_series(b * SERIES_PER_BODY + i, round, prng, &raw);
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

int main(int argc, char **argv)
{
    if (argc < 2 || argv[1][0] == '-') {
        fprintf(stderr, "usage: pipeline DIR [targets] [rounds]\n");
        return 2;
    }
    uint32_t series = (argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1000) * SERIES_PER_TARGET;
    uint32_t rounds = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 20;
    struct tsdb_error err;
    struct tsdb_options o;
    tsdb_options_default(&o);
    o.retention_ms = 0;
    struct tsdb *db = NULL;
    struct ingest *in = NULL;
    struct ingest_options io;
    ingest_options_default(&io);
    if (tsdb_fs_real_create(argv[1], &o.fs, &err) != TSDB_OK ||
        tsdb_open(&o, &db, &err) != TSDB_OK) {
        die("open", &err);
    }
    while (tsdb_state(db, &err) == TSDB_STATE_RECOVERING) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    if (ingest_create(&io, db, &in, &err) != TSDB_OK) {
        die("ingest", &err);
    }
    uint32_t count = (series + SERIES_PER_BODY - 1) / SERIES_PER_BODY;
    struct tsdb_buf *bodies = calloc(count, sizeof *bodies);
    if (!bodies) {
        die("memory", NULL);
    }
    for (uint32_t b = 0; b < count; b++) {
        tsdb_buf_init(&bodies[b], TSDB_MEM_OTHER, 0);
    }
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 1);
    double first = 0;
    double steady = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        make_bodies(round, series, &prng, bodies);
        double begin = cpu_seconds();
        send_round(in, bodies, count);
        *(round == 0 ? &first : &steady) += cpu_seconds() - begin;
    }
    struct tsdb_stats st;
    tsdb_stats_read(db, &st);
    double samples = (double)count * SERIES_PER_BODY;
    printf("new series: %.0f ns each; known series: %.0f ns per sample; log: %.2f bytes per "
           "sample; memory: head %llu, index %llu, alias %llu bytes per "
           "series\n",
           first / samples * 1e9, steady / (samples * (rounds - 1)) * 1e9,
           (double)st.wal_bytes_written / (samples * rounds),
           (unsigned long long)(tsdb_mem_used(TSDB_MEM_HEAD) / st.series),
           (unsigned long long)(tsdb_mem_used(TSDB_MEM_INDEX) / st.series),
           (unsigned long long)(tsdb_mem_used(TSDB_MEM_ALIAS) / st.series));
    ingest_destroy(in);
    return tsdb_close(db, &err) == TSDB_OK ? 0 : 1;
}
