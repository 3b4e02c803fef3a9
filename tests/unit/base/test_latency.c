#include "tests/support/test.h"

#include "base/latency.h"

#include <pthread.h>

static void bucket_upper__all__rises_and_covers(void **state)
{
    (void)state;
    for (uint32_t b = 1; b < TSDB_LATENCY_BUCKETS; b++) {
        assert_true(tsdb_latency_bucket_upper_ns(b) >= tsdb_latency_bucket_upper_ns(b - 1));
    }
    assert_int_equal(tsdb_latency_bucket_upper_ns(0), 1);
    assert_int_equal(tsdb_latency_bucket_upper_ns(4 * 10), 1279); /* [1024, 1280) */
    assert_int_equal(tsdb_latency_bucket_upper_ns(4 * 10 + 3), 2047);
    assert_int_equal(tsdb_latency_bucket_upper_ns(TSDB_LATENCY_BUCKETS - 1), UINT64_MAX);
}

/* A record lies in the bucket whose upper bound is the first not below it, and that is at most a
 * quarter above. */
static void record__edges__fall_into_their_bucket(void **state)
{
    (void)state;
    for (unsigned e = 0; e < 64; e++) {
        uint64_t power = 1ull << e;
        const uint64_t values[] = {power - 1, power, power + power / 4, power + power / 2,
                                   power | 1};
        for (size_t i = 0; i < TSDB_ARRAY_LEN(values); i++) {
            struct tsdb_latency_snapshot before;
            struct tsdb_latency_snapshot after;
            tsdb_latency_read(TSDB_LAYER_SEAL, &before);
            tsdb_latency_record(TSDB_LAYER_SEAL, values[i]);
            tsdb_latency_read(TSDB_LAYER_SEAL, &after);
            uint32_t hit = TSDB_LATENCY_BUCKETS;
            for (uint32_t b = 0; b < TSDB_LATENCY_BUCKETS; b++) {
                if (after.buckets[b] != before.buckets[b]) {
                    assert_int_equal(after.buckets[b], before.buckets[b] + 1);
                    assert_int_equal(hit, TSDB_LATENCY_BUCKETS);
                    hit = b;
                }
            }
            assert_true(hit < TSDB_LATENCY_BUCKETS);
            uint64_t upper = tsdb_latency_bucket_upper_ns(hit);
            assert_true(upper >= values[i]);
            if (e < 40 && values[i] > 0) {
                assert_true(upper - values[i] <= values[i] / 4);
            }
            assert_int_equal(after.sum_ns, before.sum_ns + values[i]);
            assert_int_equal(after.count, before.count + 1);
        }
    }
}

static void quantile__known_distribution__upper_bounds(void **state)
{
    (void)state;
    struct tsdb_latency_snapshot s;
    tsdb_latency_read(TSDB_LAYER_CHECKPOINT, &s);
    assert_int_equal(tsdb_latency_quantile_ns(&s, 0.5), 0);
    for (int i = 0; i < 90; i++) {
        tsdb_latency_record(TSDB_LAYER_CHECKPOINT, 1100);
    }
    for (int i = 0; i < 10; i++) {
        tsdb_latency_record(TSDB_LAYER_CHECKPOINT, 1000000);
    }
    tsdb_latency_read(TSDB_LAYER_CHECKPOINT, &s);
    assert_int_equal(tsdb_latency_quantile_ns(&s, 0), 1279);
    assert_int_equal(tsdb_latency_quantile_ns(&s, 0.5), 1279);
    assert_int_equal(tsdb_latency_quantile_ns(&s, 0.9), 1279);
    uint64_t p99 = tsdb_latency_quantile_ns(&s, 0.99);
    assert_true(p99 >= 1000000 && p99 < 1250000);
    assert_int_equal(tsdb_latency_quantile_ns(&s, 1), p99);
}

static void *record_many(void *arg)
{
    (void)arg;
    for (uint64_t i = 0; i < 10000; i++) {
        tsdb_latency_record(TSDB_LAYER_EVAL, i);
    }
    return NULL;
}

static void record__more_threads_than_shards__loses_nothing(void **state)
{
    (void)state;
    pthread_t threads[12];
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, record_many, NULL), 0);
    }
    for (size_t i = 0; i < 12; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    struct tsdb_latency_snapshot s;
    tsdb_latency_read(TSDB_LAYER_EVAL, &s);
    assert_int_equal(s.count, 120000);
    assert_int_equal(s.sum_ns, 12ull * 10000 * 9999 / 2);
}

static void layer_name__each__distinct(void **state)
{
    (void)state;
    assert_string_equal(tsdb_layer_name(TSDB_LAYER_DECODE), "decode");
    for (int i = 0; i < TSDB_LAYER_COUNT; i++) {
        assert_non_null(tsdb_layer_name((enum tsdb_layer)i));
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(tsdb_layer_name((enum tsdb_layer)i),
                                    tsdb_layer_name((enum tsdb_layer)j));
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bucket_upper__all__rises_and_covers),
    cmocka_unit_test(record__edges__fall_into_their_bucket),
    cmocka_unit_test(quantile__known_distribution__upper_bounds),
    cmocka_unit_test(record__more_threads_than_shards__loses_nothing),
    cmocka_unit_test(layer_name__each__distinct),
};
TEST_MAIN(tests)
