/* What the index in memory costs, alone: nanoseconds a new series, bytes a series, and microseconds a
 * question, the least of some rounds.
 *
 *   build/release/bench/index [targets] [rounds]
 *
 * A target has 100 series of 10 labels of about 230 bytes, placed as a server places them; they come
 * in bodies of 20 targets, sorted by partition. Prints JSON. */
#include "base/epoch.h"
#include "base/limits.h"
#include "index/mem/index_mem.h"
#include "model/placement.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    SERIES_PER_TARGET = 100,
    SERIES_PER_BODY = 2000,
    LABELS = 10
};

struct one {
    struct tsdb_labels labels;
    uint64_t hash;
    uint32_t partition;
};
struct world {
    struct tsdb_epoch *epoch;
    struct tsdb_epoch_limbo limbo;
    struct index_mem *index[TSDB_PARTITIONS];
    struct tsdb_arena arena;
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(enum tsdb_status status, const char *what)
{
    if (status != TSDB_OK) {
        fprintf(stderr, "index: %s: %s\n", what, tsdb_status_name(status));
        exit(1);
    }
}

static void series_make(uint32_t id, struct tsdb_arena *arena, const struct tsdb_hash_key *key,
                        struct one *out)
{
    static const char *const names[LABELS] = {"__name__", "cluster", "container", "endpoint",
                                              "instance", "job",     "namespace", "node",
                                              "pod",      "service"};
    char values[LABELS][64];
    struct tsdb_label items[LABELS];
    uint32_t target = id / SERIES_PER_TARGET;
    snprintf(values[0], 64, "http_server_request_metric_number_%02u_total", id % SERIES_PER_TARGET);
    snprintf(values[1], 64, "production-eu-west");
    snprintf(values[2], 64, "application");
    snprintf(values[3], 64, "http-metrics");
    snprintf(values[4], 64, "10.%u.%u.%u:8080", target >> 16 & 255, target >> 8 & 255,
             target & 255);
    snprintf(values[5], 64, "service-%u", target % 20);
    snprintf(values[6], 64, "namespace-%u", target % 7);
    snprintf(values[7], 64, "node-%u.internal", target % 50);
    snprintf(values[8], 64, "application-5f7d8c9b6-%05u", target);
    snprintf(values[9], 64, "service-%u", target % 20);
    for (uint32_t i = 0; i < LABELS; i++) {
        items[i] = tsdb_label_make(names[i], values[i]);
    }
    struct tsdb_labels labels = {items, LABELS};
    must(tsdb_labels_dup(&labels, arena, &out->labels), "labels");
    out->hash = tsdb_labels_hash(key, &out->labels);
    out->partition = tsdb_labels_partition(key, &out->labels, out->hash);
}

static int by_partition(const void *a, const void *b)
{
    const struct one *x = a;
    const struct one *y = b;
    if (x->partition != y->partition) {
        return x->partition < y->partition ? -1 : 1;
    }
    return x < y ? -1 : x > y;
}

static void world_init(struct world *w)
{
    must(tsdb_epoch_create(2, &w->epoch), "epoch");
    tsdb_epoch_limbo_init(&w->limbo);
    tsdb_arena_init(&w->arena, TSDB_MEM_QUERY, 1 << 20, NULL);
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        must(index_mem_create(w->epoch, &w->limbo, &w->index[p]), "an index");
    }
}

static void world_deinit(struct world *w)
{
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        index_mem_destroy(w->index[p]);
    }
    tsdb_arena_deinit(&w->arena);
    tsdb_epoch_limbo_deinit(&w->limbo);
    tsdb_epoch_destroy(w->epoch);
}

/* As an owner does: found not to be there, then added. Nanoseconds a series. */
static double fill(struct world *w, const struct one *all, uint32_t count)
{
    double begin = now_ns();
    for (uint32_t i = 0; i < count; i++) {
        struct index_mem *ix = w->index[all[i].partition];
        uint32_t local = index_mem_find(ix, &all[i].labels, all[i].hash);
        if (local == UINT32_MAX) {
            must(index_mem_add(ix, &all[i].labels, all[i].hash, &local, NULL), "a series");
        }
        if (i % SERIES_PER_BODY == 0) {
            (void)tsdb_epoch_reclaim(w->epoch, &w->limbo);
        }
    }
    return (now_ns() - begin) / count;
}

struct question {
    const char *name;
    uint32_t count;
    bool labels; /* of every series that matches */
    struct tsdb_matcher matchers[2];
};

#define M(op, name, value)                                                                         \
    {                                                                                              \
        op, name, value, sizeof(name) - 1, sizeof(value) - 1                                       \
    }
static const struct question questions[] = {
    {"name",
     1,
     false,
     {M(TSDB_MATCH_EQ, "__name__", "http_server_request_metric_number_07_total")}},
    {"name_labels",
     1,
     true,
     {M(TSDB_MATCH_EQ, "__name__", "http_server_request_metric_number_07_total")}},
    {"target_labels", 1, true, {M(TSDB_MATCH_EQ, "instance", "10.0.0.77:8080")}},
    {"name_job",
     2,
     false,
     {M(TSDB_MATCH_EQ, "__name__", "http_server_request_metric_number_07_total"),
      M(TSDB_MATCH_EQ, "job", "service-3")}},
    {"cluster", 1, false, {M(TSDB_MATCH_EQ, "cluster", "production-eu-west")}},
    {"not_job", 1, false, {M(TSDB_MATCH_NE, "job", "service-3")}},
    {"regex_names",
     1,
     false,
     {M(TSDB_MATCH_RE, "__name__", "http_server_request_metric_number_(1|2|3).*")}},
    {"regex_pods", 1, false, {M(TSDB_MATCH_RE, "pod", ".*-0[0-9]*7")}},
    {"regex_of_few",
     2,
     false,
     {M(TSDB_MATCH_EQ, "instance", "10.0.0.77:8080"), M(TSDB_MATCH_RE, "pod", ".*7")}},
};

static uint64_t ask(struct world *w, const struct question *q,
                    const struct index_matcher *const *matchers)
{
    uint64_t sum = 0;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        uint32_t *ids = NULL;
        uint32_t n = 0;
        must(index_mem_select(w->index[p], matchers, q->count, NULL, &w->arena, &ids, &n, NULL),
             "a selection");
        for (uint32_t i = 0; q->labels && i < n; i++) {
            struct tsdb_label items[TSDB_LABELS_MAX];
            uint32_t labels = index_mem_labels(w->index[p], ids[i], items, TSDB_LABELS_MAX);
            for (uint32_t k = 0; k < labels; k++) {
                sum += (uint8_t)items[k].value[0];
            }
        }
        sum += n;
        tsdb_arena_reset(&w->arena);
    }
    return sum;
}

static void question_run(struct world *w, const struct question *q)
{
    struct index_matcher *compiled[2] = {NULL, NULL};
    double least = 1e18;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        must(index_matcher_compile(&q->matchers[i], &compiled[i], NULL), "a matcher");
    }
    const struct index_matcher *matchers[2] = {compiled[0], compiled[1]};
    for (int round = 0; round < 30; round++) {
        double begin = now_ns();
        sum = ask(w, q, matchers);
        double took = now_ns() - begin;
        least = took < least ? took : least;
    }
    printf(", \"%s\": {\"us\": %.1f, \"sum\": %llu}", q->name, least / 1e3,
           (unsigned long long)sum);
    for (uint32_t i = 0; i < q->count; i++) {
        index_matcher_destroy(compiled[i]);
    }
}

/* Of what the bytes of a series are. */
static void parts_print(const struct world *w, uint32_t count)
{
    struct index_mem_stats sum = {0};
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        struct index_mem_stats s;
        index_mem_stats(w->index[p], &s);
        sum.symbol_bytes += s.symbol_bytes;
        sum.postings_bytes += s.postings_bytes;
        sum.labels_bytes += s.labels_bytes;
        sum.table_bytes += s.table_bytes;
    }
    printf(", \"symbol_bytes\": %.1f, \"postings_bytes\": %.1f, \"labels_bytes\": %.1f"
           ", \"table_bytes\": %.1f",
           (double)sum.symbol_bytes / count, (double)sum.postings_bytes / count,
           (double)sum.labels_bytes / count, (double)sum.table_bytes / count);
}

static bool count_string(void *arg, const char *s, uint32_t len)
{
    (void)s;
    *(uint64_t *)arg += len;
    return true;
}

static void values_run(struct world *w)
{
    double least = 1e18;
    uint64_t sum = 0;
    for (int round = 0; round < 30; round++) {
        sum = 0;
        double begin = now_ns();
        for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
            index_mem_values(w->index[p], "instance", 8, NULL, count_string, &sum);
        }
        double took = now_ns() - begin;
        least = took < least ? took : least;
    }
    printf(", \"values\": {\"us\": %.1f, \"sum\": %llu}", least / 1e3, (unsigned long long)sum);
}

int main(int argc, char **argv)
{
    static const uint8_t seed[TSDB_HASH_SEED_BYTES] = {7};
    uint32_t count = (argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 5000) * SERIES_PER_TARGET;
    uint32_t rounds = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 5;
    struct tsdb_hash_key key;
    struct tsdb_arena arena;
    struct world w = {0};
    double least = 1e18;
    if (count == 0 || rounds == 0) {
        fprintf(stderr, "usage: index [targets] [rounds]\n");
        return 2;
    }
    tsdb_hash_key_init(&key, seed);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1 << 20, NULL);
    struct one *all = calloc(count, sizeof *all);
    if (!all) {
        return 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        series_make(i, &arena, &key, &all[i]);
    }
    for (uint32_t i = 0; i < count; i += SERIES_PER_BODY) {
        uint32_t n = count - i < SERIES_PER_BODY ? count - i : SERIES_PER_BODY;
        qsort(all + i, n, sizeof *all, by_partition);
    }
    for (uint32_t r = 0; r < rounds; r++) {
        if (r > 0) {
            world_deinit(&w);
        }
        world_init(&w);
        double took = fill(&w, all, count);
        least = took < least ? took : least;
    }
    printf("{\"series\": %u, \"add_ns\": %.1f, \"bytes\": %.1f", count, least,
           (double)tsdb_mem_used(TSDB_MEM_INDEX) / count);
    parts_print(&w, count);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(questions); i++) {
        question_run(&w, &questions[i]);
    }
    values_run(&w);
    printf("}\n");
    world_deinit(&w);
    tsdb_arena_deinit(&arena);
    free(all);
    return 0;
}
