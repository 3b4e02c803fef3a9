/* Cardinality beside a naive count over all series. */
#include "tests/support/test.h"

#include "base/random.h"
#include "model/placement.h"
#include "tsdb/engine/tsdb_private.h"

#include <stdio.h>
#include <stdlib.h>

#define SERIES  3000u
#define METRICS 7u
#define PODS    1500u

struct fixture {
    struct tsdb db;
    struct tsdb_clock_sim clock_sim;
    struct tsdb_clock clock;
    struct tsdb_request request;
    struct tsdb_arena arena;
    /* what was written */
    uint32_t series, metric_series[METRICS], pod_series[PODS];
};

static int setup(void **state)
{
    static const uint8_t seed[TSDB_HASH_SEED_BYTES] = {9};
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    tsdb_hash_key_init(&f->db.hash_key, seed);
    assert_ok(tsdb_epoch_create(8, &f->db.epoch));
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        assert_ok(head_partition_create(i, f->db.epoch, 8, &f->db.heads[i]));
    }
    atomic_store(&f->db.state, TSDB_STATE_READY);
    f->clock = tsdb_clock_sim_table(&f->clock_sim);
    tsdb_request_init(&f->request, &f->clock, TSDB_SCOPE_READ);
    tsdb_arena_init(&f->arena, TSDB_MEM_QUERY, 1u << 16, NULL);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tsdb_arena_deinit(&f->arena);
    assert_int_equal(atomic_load(&f->request.account.used_bytes), 0);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        head_partition_destroy(f->db.heads[i]);
    }
    tsdb_epoch_destroy(f->db.epoch);
    free(f);
    return 0;
}

static bool create(struct fixture *f, const struct tsdb_labels *labels)
{
    uint64_t hash = tsdb_labels_hash(&f->db.hash_key, labels);
    uint32_t local = 0;
    bool is_new = false;
    uint32_t partition = tsdb_labels_partition(&f->db.hash_key, labels, hash);
    assert_ok(
        head_series_find_or_create(f->db.heads[partition], labels, hash, &local, &is_new, NULL));
    return is_new;
}

/* {__name__="m<k>", all="the same", pod="pod-<p>"}: small k and p are frequent. */
static void fill(struct fixture *f)
{
    struct tsdb_prng r;
    tsdb_prng_init(&r, 5);
    while (f->series < SERIES) {
        uint32_t k = (uint32_t)tsdb_prng_below(&r, tsdb_prng_below(&r, METRICS) + 1);
        uint32_t p = (uint32_t)tsdb_prng_below(&r, tsdb_prng_below(&r, PODS) + 1);
        char metric[16];
        char pod[16];
        (void)snprintf(metric, sizeof metric, "m%u", k);
        (void)snprintf(pod, sizeof pod, "pod-%u", p);
        struct tsdb_label items[] = {tsdb_label_make(TSDB_METRIC_NAME, metric),
                                     tsdb_label_make("all", "the same"),
                                     tsdb_label_make("pod", pod)};
        struct tsdb_labels labels = {items, 3};
        if (create(f, &labels)) {
            f->series++;
            f->metric_series[k]++;
            f->pod_series[p]++;
        }
    }
}

static uint32_t used(const uint32_t *counts, uint32_t n)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += counts[i] > 0;
    }
    return sum;
}

static bool slice_is(struct tsdb_slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* Falling counts, names rising among equals. */
static void expect_order(const struct tsdb_cardinality_list *l)
{
    for (uint32_t i = 1; i < l->count; i++) {
        assert_true(l->items[i - 1].count >= l->items[i].count);
        if (l->items[i - 1].count == l->items[i].count && l->items[i].value.len == 0) {
            struct tsdb_slice a = l->items[i - 1].name;
            struct tsdb_slice b = l->items[i].name;
            int order = memcmp(a.data, b.data, TSDB_MIN(a.len, b.len));
            assert_true(order < 0 || (order == 0 && a.len < b.len));
        }
    }
}

static void cardinality__many_series__every_count_is_right(void **state)
{
    struct fixture *f = *state;
    struct tsdb_cardinality c;
    fill(f);
    assert_ok(tsdb_cardinality_read(&f->db, &f->request, 10000, &f->arena, &c, NULL));
    uint32_t metrics = used(f->metric_series, METRICS);
    uint32_t pods = used(f->pod_series, PODS);
    assert_int_equal(c.label_pairs, metrics + pods + 1);
    assert_int_equal(c.metric_series.count, metrics);
    assert_int_equal(c.pair_series.count, metrics + pods + 1);
    expect_order(&c.metric_series);
    expect_order(&c.pair_series);
    for (uint32_t i = 0; i < c.metric_series.count; i++) {
        uint32_t k = (uint32_t)c.metric_series.items[i].name.data[1] - '0';
        assert_int_equal(c.metric_series.items[i].count, f->metric_series[k]);
    }
    uint64_t pod_sum = 0;
    for (uint32_t i = 0; i < c.pair_series.count; i++) {
        if (slice_is(c.pair_series.items[i].name, "pod")) {
            char pod[16];
            (void)snprintf(pod, sizeof pod, "%.*s", (int)c.pair_series.items[i].value.len,
                           (const char *)c.pair_series.items[i].value.data);
            uint32_t p = (uint32_t)atoi(pod + 4);
            assert_int_equal(c.pair_series.items[i].count, f->pod_series[p]);
            pod_sum += f->pod_series[p];
        }
    }
    assert_int_equal(pod_sum, f->series);
    assert_true(slice_is(c.pair_series.items[0].name, "all"));
    assert_true(slice_is(c.pair_series.items[0].value, "the same"));
    assert_int_equal(c.pair_series.items[0].count, f->series);
    assert_int_equal(c.name_values.count, 3);
    assert_true(slice_is(c.name_values.items[0].name, "pod"));
    assert_int_equal(c.name_values.items[0].count, pods);
    assert_true(slice_is(c.name_values.items[2].name, "all"));
    assert_int_equal(c.name_values.items[2].count, 1);
    assert_int_equal(c.name_bytes.count, 3);
    assert_true(slice_is(c.name_bytes.items[0].name, "pod"));
    assert_true(c.name_bytes.items[0].count > f->series * 8);
}

static void cardinality__limit__keeps_the_greatest(void **state)
{
    struct fixture *f = *state;
    struct tsdb_cardinality all;
    fill(f);
    assert_ok(tsdb_cardinality_read(&f->db, &f->request, 10000, &f->arena, &all, NULL));
    for (uint32_t limit = 1; limit < 40; limit += 6) {
        struct tsdb_cardinality c;
        assert_ok(tsdb_cardinality_read(&f->db, &f->request, limit, &f->arena, &c, NULL));
        assert_int_equal(c.label_pairs, all.label_pairs);
        assert_int_equal(c.pair_series.count, limit);
        assert_int_equal(c.name_values.count, TSDB_MIN(limit, 3u));
        for (uint32_t i = 0; i < limit; i++) {
            assert_int_equal(c.pair_series.items[i].count, all.pair_series.items[i].count);
            assert_int_equal(c.pair_series.items[i].value.len, all.pair_series.items[i].value.len);
            assert_memory_equal(c.pair_series.items[i].value.data,
                                all.pair_series.items[i].value.data,
                                c.pair_series.items[i].value.len);
        }
    }
}

static void cardinality__empty__is_empty(void **state)
{
    struct fixture *f = *state;
    struct tsdb_cardinality c;
    assert_ok(tsdb_cardinality_read(&f->db, NULL, 10, &f->arena, &c, NULL));
    assert_int_equal(c.label_pairs, 0);
    assert_int_equal(
        c.metric_series.count + c.name_values.count + c.name_bytes.count + c.pair_series.count, 0);
}

static void cardinality__cancelled_or_out_of_memory__says_so(void **state)
{
    struct fixture *f = *state;
    struct tsdb_cardinality c;
    struct tsdb_error err = {0};
    fill(f);
    f->request.account.limit_bytes = 100000;
    assert_int_equal(tsdb_cardinality_read(&f->db, &f->request, 10, &f->arena, &c, &err),
                     TSDB_LIMIT);
    f->request.account.limit_bytes = 0;
    atomic_store(&f->request.cancelled, 1);
    assert_int_equal(tsdb_cardinality_read(&f->db, &f->request, 10, &f->arena, &c, &err),
                     TSDB_CANCELLED);
    atomic_store(&f->request.cancelled, 0);
    atomic_store(&f->db.state, TSDB_STATE_RECOVERING);
    assert_int_equal(tsdb_cardinality_read(&f->db, &f->request, 10, &f->arena, &c, &err),
                     TSDB_BUSY);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    CASE(cardinality__many_series__every_count_is_right),
    CASE(cardinality__limit__keeps_the_greatest),
    CASE(cardinality__empty__is_empty),
    CASE(cardinality__cancelled_or_out_of_memory__says_so),
};

TEST_MAIN(tests)
