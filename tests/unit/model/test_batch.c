#include "tests/support/test.h"

#include "base/compiler.h"
#include "model/batch.h"

#include <pthread.h>
#include <stdlib.h>

static void refs__partition_and_local__round_trip_at_the_edges(void **state)
{
    (void)state;
    const uint32_t locals[] = {0, 1, TSDB_SERIES_LOCAL_MAX - 2};
    for (uint32_t partition = 0; partition < TSDB_PARTITIONS; partition++) {
        for (size_t i = 0; i < TSDB_ARRAY_LEN(locals); i++) {
            tsdb_series_ref ref = tsdb_series_make(partition, locals[i]);
            assert_int_equal(tsdb_series_partition(ref), partition);
            assert_int_equal(tsdb_series_local(ref), locals[i]);
            assert_true(ref != TSDB_SERIES_NEW);
        }
    }
}

static void reject_text__every_reason__has_prometheus_phrases(void **state)
{
    (void)state;
    assert_string_equal(tsdb_reject_text(TSDB_REJECT_NONE), "");
    for (int i = TSDB_REJECT_NONE + 1; i < TSDB_REJECT_COUNT; i++) {
        assert_true(strlen(tsdb_reject_text((enum tsdb_reject)i)) > 0);
    }
    /* Senders look for these. */
    assert_string_equal(tsdb_reject_text(TSDB_REJECT_DUPLICATE), "duplicate sample for timestamp");
    assert_non_null(strstr(tsdb_reject_text(TSDB_REJECT_TOO_OLD), "out of bounds"));
    assert_non_null(strstr(tsdb_reject_text(TSDB_REJECT_TOO_NEW), "out of bounds"));
}

static void count_done(struct tsdb_write *w)
{
    ++*(int *)w->done_arg;
}

static void complete__last_batch__calls_done_once_with_the_first_failure(void **state)
{
    (void)state;
    int done = 0;
    struct tsdb_write w = {.batch_count = 3, .done = count_done, .done_arg = &done};
    atomic_init(&w.pending, 3);
    for (uint32_t i = 0; i < 3; i++) {
        w.batches[i].write = &w;
    }
    tsdb_batch_complete(&w.batches[0], TSDB_OK);
    tsdb_batch_complete(&w.batches[1], TSDB_IO);
    assert_int_equal(done, 0);
    tsdb_batch_complete(&w.batches[2], TSDB_READ_ONLY);
    assert_int_equal(done, 1);
    assert_int_equal(atomic_load(&w.status), TSDB_IO);
}

struct race {
    struct tsdb_write w;
    uint32_t next;
    uint32_t seen; /* what the last one saw of the others' results */
    int done;
};

static void race_done(struct tsdb_write *w)
{
    struct race *r = w->done_arg;
    struct tsdb_write_result sum;
    tsdb_write_result_sum(w, &sum);
    r->seen = sum.samples_written;
    r->done++;
}

static void *race_thread(void *arg)
{
    struct tsdb_batch *b = arg;
    b->result.samples_written = 10;
    tsdb_batch_complete(b, TSDB_OK);
    return NULL;
}

static void complete__from_many_threads__the_last_sees_all_results(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        static struct race r;
        memset(&r, 0, sizeof r);
        r.w.batch_count = 4;
        r.w.done = race_done;
        r.w.done_arg = &r;
        atomic_init(&r.w.pending, 4);
        pthread_t threads[4];
        for (uint32_t i = 0; i < 4; i++) {
            r.w.batches[i].write = &r.w;
            assert_int_equal(pthread_create(&threads[i], NULL, race_thread, &r.w.batches[i]), 0);
        }
        for (uint32_t i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
        }
        assert_int_equal(r.done, 1);
        assert_int_equal(r.seen, 40);
    }
}

static void result_sum__several_batches__adds_and_keeps_the_earliest_refusal(void **state)
{
    (void)state;
    struct tsdb_write w = {.batch_count = 4};
    w.batches[0].result = (struct tsdb_write_result){.samples_written = 1, .stale_refs = 2};
    w.batches[1].result = (struct tsdb_write_result){.samples_written = 10,
                                                     .histograms_written = 20,
                                                     .exemplars_written = 30,
                                                     .rejected = {[TSDB_REJECT_TOO_OLD] = 3},
                                                     .first_rejected = 9,
                                                     .first_reason = TSDB_REJECT_TOO_OLD};
    w.batches[2].result = (struct tsdb_write_result){.rejected = {[TSDB_REJECT_DUPLICATE] = 1},
                                                     .first_rejected = 4,
                                                     .first_reason = TSDB_REJECT_DUPLICATE};
    w.batches[3].result = (struct tsdb_write_result){.rejected = {[TSDB_REJECT_TOO_OLD] = 1},
                                                     .first_rejected = 40,
                                                     .first_reason = TSDB_REJECT_TOO_OLD};
    struct tsdb_write_result sum;
    tsdb_write_result_sum(&w, &sum);
    assert_int_equal(sum.samples_written, 11);
    assert_int_equal(sum.histograms_written, 20);
    assert_int_equal(sum.exemplars_written, 30);
    assert_int_equal(sum.stale_refs, 2);
    assert_int_equal(sum.rejected[TSDB_REJECT_TOO_OLD], 4);
    assert_int_equal(sum.rejected[TSDB_REJECT_DUPLICATE], 1);
    assert_int_equal(sum.first_rejected, 4);
    assert_int_equal(sum.first_reason, TSDB_REJECT_DUPLICATE);
    w.batch_count = 1;
    tsdb_write_result_sum(&w, &sum);
    assert_int_equal(sum.first_reason, TSDB_REJECT_NONE);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(refs__partition_and_local__round_trip_at_the_edges),
    cmocka_unit_test(reject_text__every_reason__has_prometheus_phrases),
    cmocka_unit_test(complete__last_batch__calls_done_once_with_the_first_failure),
    cmocka_unit_test(complete__from_many_threads__the_last_sees_all_results),
    cmocka_unit_test(result_sum__several_batches__adds_and_keeps_the_earliest_refusal),
};
TEST_MAIN(tests)
