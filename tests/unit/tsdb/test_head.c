#include "tests/support/test.h"

#include "base/random.h"
#include "tsdb/head/head_private.h"

#include <stdio.h>
#include <stdlib.h>

struct fixture {
    struct tsdb_epoch *epoch;
    struct head_partition *head;
    struct tsdb_arena arena;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_ok(tsdb_epoch_create(16, &f->epoch));
    assert_ok(head_partition_create(3, f->epoch, 4, &f->head));
    tsdb_arena_init(&f->arena, TSDB_MEM_QUERY, 1u << 16, NULL);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tsdb_alloc_ops_set(NULL);
    tsdb_arena_deinit(&f->arena);
    head_partition_destroy(f->head);
    tsdb_epoch_destroy(f->epoch);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_HEAD), 0);
    free(f);
    return 0;
}

static uint32_t series(struct fixture *f, const char *name)
{
    struct tsdb_label items[1] = {tsdb_label_make(TSDB_METRIC_NAME, name)};
    struct tsdb_labels labels = {items, 1};
    uint32_t local = 0;
    bool created = false;
    struct tsdb_error err = {0};
    assert_ok_err(head_series_find_or_create(f->head, &labels,
                                             tsdb_hash64_plain(name, strlen(name)), &local,
                                             &created, &err),
                  &err);
    return local;
}

static enum head_append_outcome put(struct fixture *f, uint32_t local, int64_t t, uint64_t bits)
{
    return head_append(f->head, local, t, 0, TSDB_SAMPLE_FLOAT, bits);
}

static struct tsdb_columns read_range(struct fixture *f, uint32_t local, int64_t min, int64_t max)
{
    struct tsdb_columns c = {0};
    struct tsdb_error err = {0};
    struct tsdb_time_range range = {min, max};
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(f->epoch, &guard);
    enum tsdb_status status = head_read(f->head, local, range, HEAD_VIEW_NONE, &f->arena, &c, &err);
    tsdb_epoch_exit(f->epoch, &guard);
    assert_ok_err(status, &err);
    return c;
}

static struct tsdb_columns read_all(struct fixture *f, uint32_t local)
{
    return read_range(f, local, INT64_MIN, INT64_MAX);
}

static void assert_valid(struct fixture *f)
{
    struct tsdb_error err = {0};
    assert_ok_err(head_validate(f->head, &err), &err);
}

/* An integer histogram with `n` buckets of one observation each. */
static uint32_t make_histogram(uint32_t n, double sum, uint8_t *out, size_t cap)
{
    struct tsdb_span span = {0, n};
    int64_t deltas[64] = {1};
    struct tsdb_histogram h = {.schema = 3,
                               .sum = sum,
                               .count_int = n,
                               .positive_span_count = 1,
                               .positive_bucket_count = n,
                               .positive_spans = &span,
                               .positive_deltas = deltas};
    assert_true(n <= 64);
    assert_true(tsdb_histogram_encoded_bytes_max(&h) <= cap);
    return (uint32_t)tsdb_histogram_encode(&h, out);
}

static void head_append__in_order_over_many_chunks__reads_back_bit_for_bit(void **state)
{
    struct fixture *f = *state;
    uint32_t s = series(f, "a");
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(put(f, s, (int64_t)i * 15000, UINT64_C(0x7ff8000000000000) + i),
                         HEAD_APPENDED);
    }
    struct tsdb_columns c = read_all(f, s);
    assert_int_equal(c.count, 1000);
    assert_null(c.kind);
    assert_null(c.start_ms);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(c.t_ms[i], (int64_t)i * 15000);
        assert_int_equal(c.bits[i], UINT64_C(0x7ff8000000000000) + i);
    }
    assert_int_equal(atomic_load(&head_counters(f->head)->samples), 1000);
    assert_int_equal(atomic_load(&head_counters(f->head)->chunks), 8);
    assert_valid(f);
}

static void head_read__range__is_closed_at_both_ends(void **state)
{
    struct fixture *f = *state;
    uint32_t s = series(f, "a");
    for (int64_t i = 0; i < 300; i++) {
        assert_int_equal(put(f, s, i * 10, (uint64_t)i), HEAD_APPENDED);
    }
    struct tsdb_columns c = read_range(f, s, 1190, 1210);
    assert_int_equal(c.count, 3); /* on both sides of the first chunk's end */
    assert_int_equal(c.t_ms[0], 1190);
    assert_int_equal(c.t_ms[2], 1210);
    assert_int_equal(read_range(f, s, 1191, 1199).count, 0);
    assert_int_equal(read_range(f, s, 2990, INT64_MAX).count, 1);
    assert_int_equal(read_range(f, s, INT64_MIN, 0).count, 1);
    assert_int_equal(read_range(f, s, 3000, 4000).count, 0);
    assert_int_equal(read_range(f, s, 20, 10).count, 0);
}

static void head_append__extreme_times__are_kept(void **state)
{
    struct fixture *f = *state;
    uint32_t s = series(f, "a");
    assert_int_equal(put(f, s, INT64_MIN, 1), HEAD_APPENDED);
    assert_int_equal(put(f, s, INT64_MIN, 1), HEAD_DUPLICATE_SAME);
    assert_int_equal(put(f, s, INT64_MAX, 3), HEAD_APPENDED);
    assert_int_equal(put(f, s, 0, 2), HEAD_APPENDED_OUT_OF_ORDER);
    assert_int_equal(put(f, s, INT64_MAX, 4), HEAD_DUPLICATE_CONFLICT);
    struct tsdb_columns c = read_all(f, s);
    assert_int_equal(c.count, 3);
    assert_int_equal(c.t_ms[0], INT64_MIN);
    assert_int_equal(c.bits[1], 2);
    assert_int_equal(c.t_ms[2], INT64_MAX);
    assert_int_equal(atomic_load(&head_counters(f->head)->min_time_ms), INT64_MIN);
    assert_int_equal(atomic_load(&head_counters(f->head)->max_time_ms), INT64_MAX);
    assert_valid(f);
}

/* Every place where a sample can lie: tail, chunk, late buffer, sealed late chunk. */
static void head_append__same_time__same_bits_pass_others_are_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t s = series(f, "a");
    for (int64_t i = 0; i < 130; i++) {
        assert_int_equal(put(f, s, 1000 + i * 10, 7), HEAD_APPENDED);
    }
    for (int64_t i = 0; i < 130; i++) {
        int64_t t = 1000 + (129 - i) * 10 + 5;
        assert_int_equal(put(f, s, t, 8), i == 0 ? HEAD_APPENDED : HEAD_APPENDED_OUT_OF_ORDER);
    }
    struct head_pieces pieces;
    assert_ok(head_pieces(f->head, s, HEAD_VIEW_NONE, &f->arena, &pieces));
    assert_int_equal(pieces.count, 4); /* a chunk, a late chunk, the tail, the late buffer */
    for (int64_t i = 0; i < 130; i++) {
        assert_int_equal(put(f, s, 1000 + i * 10, 7), HEAD_DUPLICATE_SAME);
        assert_int_equal(put(f, s, 1000 + i * 10, 9), HEAD_DUPLICATE_CONFLICT);
        assert_int_equal(put(f, s, 1005 + i * 10, 8), HEAD_DUPLICATE_SAME);
        assert_int_equal(put(f, s, 1005 + i * 10, 9), HEAD_DUPLICATE_CONFLICT);
    }
    assert_int_equal(read_all(f, s).count, 260);
    assert_int_equal(atomic_load(&head_counters(f->head)->duplicates), 260);
    assert_valid(f);
}

static void head_append__nan_payloads_and_signed_zero__are_different_values(void **state)
{
    struct fixture *f = *state;
    uint32_t s = series(f, "a");
    const uint64_t bits[] = {TSDB_STALE_NAN_BITS, TSDB_NORMAL_NAN_BITS, 0,
                             UINT64_C(0x8000000000000000), UINT64_MAX};
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(bits); i++) {
        assert_int_equal(put(f, s, i, bits[i]), HEAD_APPENDED);
        assert_int_equal(put(f, s, i, bits[i]), HEAD_DUPLICATE_SAME);
        assert_int_equal(put(f, s, i, bits[i] ^ 1), HEAD_DUPLICATE_CONFLICT);
    }
    assert_int_equal(put(f, s, 2, UINT64_C(0x8000000000000000)), HEAD_DUPLICATE_CONFLICT);
    struct tsdb_columns c = read_all(f, s);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(bits); i++) {
        assert_int_equal(c.bits[i], bits[i]);
    }
}

static void head_append__kinds_and_starts_in_turn__keep_their_own_form(void **state)
{
    struct fixture *f = *state;
    uint32_t s = series(f, "a");
    uint8_t raw[256];
    for (int64_t i = 0; i < 60; i++) {
        struct tsdb_raw_histogram h = {
            make_histogram((uint32_t)i % 5 + 1, (double)i, raw, sizeof raw), raw};
        bool is_float = i % 3 != 1;
        int64_t start = i % 4 == 3 ? i + 7 : 0;
        assert_int_equal(head_append(f->head, s, i * 10, start,
                                     is_float ? TSDB_SAMPLE_FLOAT : TSDB_SAMPLE_HISTOGRAM_INT,
                                     is_float ? (uint64_t)i : (uint64_t)(uintptr_t)&h),
                         HEAD_APPENDED);
    }
    struct tsdb_columns c = read_all(f, s);
    assert_int_equal(c.count, 60);
    assert_int_equal(c.histogram_count, 20);
    assert_non_null(c.kind);
    assert_non_null(c.start_ms);
    for (uint32_t i = 0; i < 60; i++) {
        assert_int_equal(c.t_ms[i], i * 10);
        assert_int_equal(c.start_ms[i], i % 4 == 3 ? i + 7 : 0);
        if (i % 3 != 1) {
            assert_int_equal(c.kind[i], TSDB_SAMPLE_FLOAT);
            assert_int_equal(c.bits[i], i);
        } else {
            assert_int_equal(c.kind[i], TSDB_SAMPLE_HISTOGRAM_INT);
            assert_int_equal(c.histograms[c.bits[i]].count_int, i % 5 + 1);
            assert_double_bits_equal(c.histograms[c.bits[i]].sum, (double)i);
        }
    }
    assert_valid(f);
}

static void head_append__histograms__duplicates_compare_raw_bytes(void **state)
{
    struct fixture *f = *state;
    uint32_t s = series(f, "a");
    uint8_t one[256];
    uint8_t two[256];
    struct tsdb_raw_histogram a = {make_histogram(3, 1.0, one, sizeof one), one};
    struct tsdb_raw_histogram b = {make_histogram(3, 2.0, two, sizeof two), two};
    enum tsdb_sample_kind kind = TSDB_SAMPLE_HISTOGRAM_INT;
    for (int64_t i = 0; i < 200; i++) { /* more than a chunk, both in order and late */
        assert_int_equal(head_append(f->head, s, i * 2, 0, kind, (uint64_t)(uintptr_t)&a),
                         HEAD_APPENDED);
    }
    for (int64_t i = 0; i < 150; i++) {
        assert_int_equal(head_append(f->head, s, i * 2 + 1, 0, kind, (uint64_t)(uintptr_t)&b),
                         HEAD_APPENDED_OUT_OF_ORDER);
    }
    assert_int_equal(head_append(f->head, s, 4, 0, kind, (uint64_t)(uintptr_t)&a),
                     HEAD_DUPLICATE_SAME);
    assert_int_equal(head_append(f->head, s, 4, 0, kind, (uint64_t)(uintptr_t)&b),
                     HEAD_DUPLICATE_CONFLICT);
    assert_int_equal(
        head_append(f->head, s, 4, 0, TSDB_SAMPLE_HISTOGRAM_FLOAT, (uint64_t)(uintptr_t)&a),
        HEAD_DUPLICATE_CONFLICT);
    assert_int_equal(put(f, s, 5, 0), HEAD_DUPLICATE_CONFLICT);
    memset(one, 0xee, sizeof one); /* the head has a copy */
    struct tsdb_columns c = read_all(f, s);
    assert_int_equal(c.histogram_count, 350);
    assert_double_bits_equal(c.histograms[c.bits[0]].sum, 1.0);
    assert_double_bits_equal(c.histograms[c.bits[1]].sum, 2.0);
    assert_valid(f);
    assert_int_equal(head_drop_before(f->head, 0, UINT32_MAX, 10000),
                     2); /* a chunk and a late chunk */
    assert_int_equal(read_all(f, s).count, 110);
    assert_valid(f);
}

/* Constants fill a chunk by their number and take no memory for it, full mantissas by their bytes. */
static void head_append__streams__end_by_samples_or_bytes(void **state)
{
    struct fixture *f = *state;
    head_chunk_samples_set(f->head, TSDB_HEAD_CHUNK_SAMPLES_MAX);
    uint32_t constant = series(f, "constant");
    uint32_t noise = series(f, "noise");
    uint64_t first = 0;
    for (uint32_t i = 0; i <= TSDB_HEAD_CHUNK_SAMPLES_MAX; i++) {
        assert_int_equal(put(f, constant, i * 15000, 7), HEAD_APPENDED);
        first = i == 0 ? tsdb_mem_used(TSDB_MEM_HEAD) : first;
        if (i + 1 == TSDB_HEAD_CHUNK_SAMPLES_MAX) {
            assert_int_equal(tsdb_mem_used(TSDB_MEM_HEAD), first);
        }
    }
    assert_int_equal(atomic_load(&head_counters(f->head)->chunks), 1);
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 1);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(put(f, noise, i * 15000, tsdb_prng_next(&prng)), HEAD_APPENDED);
    }
    uint64_t chunks = atomic_load(&head_counters(f->head)->chunks) - 1;
    assert_in_range(chunks, 1000 * 8 / 768, 1000 * 10 / (768 - 80));
    tsdb_prng_init(&prng, 1);
    struct tsdb_columns c = read_all(f, noise);
    assert_int_equal(c.count, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(c.t_ms[i], i * 15000);
        assert_int_equal(c.bits[i], tsdb_prng_next(&prng));
    }
    assert_int_equal(read_all(f, constant).count, TSDB_HEAD_CHUNK_SAMPLES_MAX + 1);
    assert_valid(f);
}

static size_t open_bytes(struct fixture *f, uint32_t local)
{
    return head_tail_size(head_word_tail(atomic_load(&head_hot(f->head, local)->tail)));
}

/* By the first value, or by what is known of the series when a stream follows another. */
static void head_append__wide_values__begin_with_a_wide_block(void **state)
{
    struct fixture *f = *state;
    const uint64_t wide = UINT64_C(0x3fd5555555555555);
    uint32_t whole = series(f, "whole");
    uint32_t tenths = series(f, "tenths");
    uint32_t noise = series(f, "noise");
    uint32_t steady = series(f, "steady");
    assert_int_equal(put(f, whole, 0, tsdb_double_bits(1e9)), HEAD_APPENDED);
    assert_int_equal(put(f, tenths, 0, tsdb_double_bits(12.7)), HEAD_APPENDED);
    assert_int_equal(put(f, noise, 0, wide), HEAD_APPENDED);
    assert_int_equal(put(f, steady, 0, wide), HEAD_APPENDED);
    assert_int_equal(open_bytes(f, whole), 64);
    assert_int_equal(open_bytes(f, tenths), 64);
    assert_int_equal(open_bytes(f, noise), 128);
    assert_int_equal(open_bytes(f, steady), 128);
    /* another window */
    const int64_t later = 30 * INT64_C(86400000);
    assert_int_equal(put(f, noise, later, wide ^ 0x123456789abcd), HEAD_APPENDED);
    assert_int_equal(put(f, steady, later, wide), HEAD_APPENDED);
    assert_int_equal(open_bytes(f, noise), 128);
    assert_int_equal(open_bytes(f, steady), 64);
    assert_int_equal(read_all(f, noise).count, 2);
    assert_int_equal(read_all(f, steady).count, 2);
    assert_valid(f);
}

/* Times that mostly come at a pace, values of some kinds: constant, counting, of few digits, any. */
static uint32_t floats_make(struct tsdb_prng *prng, uint32_t cap, int64_t *t_ms, uint64_t *value)
{
    uint32_t n = 1 + (uint32_t)tsdb_prng_below(prng, cap);
    uint64_t kind = tsdb_prng_below(prng, 5);
    int64_t t = (int64_t)tsdb_prng_below(prng, 1000000000);
    double at = (double)tsdb_prng_below(prng, 1000);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t dice = tsdb_prng_below(prng, 64);
        t_ms[i] = t;
        t += dice == 0 ? 3 * 3600000 : dice == 1 ? -1000 : dice < 8 ? 14990 + (int64_t)dice : 15000;
        at += kind == 0 ? 0 : kind == 1 ? (double)tsdb_prng_below(prng, 50) : 0.25;
        value[i] = kind == 4 ? tsdb_prng_next(prng) : tsdb_double_bits(kind == 3 ? at / 10 : at);
    }
    return n;
}

/* One series gets them one by one, another one at once and then one by one. */
static void floats_compare(struct fixture *f, struct tsdb_prng *prng, uint32_t one, uint32_t other)
{
    static int64_t t_ms[TSDB_HEAD_CHUNK_SAMPLES_MAX + 100];
    static uint64_t value[TSDB_HEAD_CHUNK_SAMPLES_MAX + 100];
    uint32_t n = floats_make(prng, TSDB_ARRAY_LEN(t_ms), t_ms, value);
    uint64_t samples = atomic_load(&head_counters(f->head)->samples);
    uint32_t loaded = head_floats_load(f->head, other, t_ms, value, n);
    assert_true(loaded >= 1 && loaded <= n);
    assert_int_equal(atomic_load(&head_counters(f->head)->samples), samples + loaded);
    for (uint32_t i = 0; i < n; i++) {
        enum head_append_outcome outcome = put(f, one, t_ms[i], value[i]);
        if (i < loaded) {
            assert_int_equal(outcome, HEAD_APPENDED);
        } else {
            assert_int_equal(put(f, other, t_ms[i], value[i]), outcome);
        }
    }
    struct tsdb_columns a = read_all(f, one);
    struct tsdb_columns b = read_all(f, other);
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.t_ms, b.t_ms, a.count * sizeof *a.t_ms);
    assert_memory_equal(a.bits, b.bits, a.count * sizeof *a.bits);
    assert_int_equal(head_hot(f->head, one)->window_left_ms,
                     head_hot(f->head, other)->window_left_ms);
    tsdb_arena_reset(&f->arena);
}

static void head_floats_load__any_floats__as_appended_one_by_one(void **state)
{
    struct fixture *f = *state;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 11);
    head_partition_configure(f->head, 7200000, 7200000, false);
    for (uint32_t round = 0; round < 300; round++) {
        char name[32];
        snprintf(name, sizeof name, "one_%u", round);
        uint32_t one = series(f, name);
        snprintf(name, sizeof name, "other_%u", round);
        floats_compare(f, &prng, one, series(f, name));
    }
    assert_valid(f);
}

static void head_floats_load__open_or_not_newer__takes_none(void **state)
{
    struct fixture *f = *state;
    uint32_t s = series(f, "a");
    const int64_t t_ms[] = {1000, 2000};
    const uint64_t value[] = {1, 2};
    assert_int_equal(head_floats_load(f->head, s, t_ms, value, 2), 2);
    const int64_t later[] = {3000, 4000};
    assert_int_equal(head_floats_load(f->head, s, later, value, 2), 0);
    assert_int_equal(put(f, s, 3000, 1), HEAD_APPENDED);
    assert_int_equal(read_all(f, s).count, 3);
    uint32_t reached = series(f, "b");
    assert_ok(head_series_reached(f->head, reached, 5000));
    assert_int_equal(head_floats_load(f->head, reached, later, value, 2), 0);
    const int64_t newer[] = {5001, 6000};
    assert_int_equal(head_floats_load(f->head, reached, newer, value, 2), 2);
    assert_int_equal(read_all(f, reached).count, 2);
    assert_valid(f);
}

/* A repeat of any sample of an open stream is found, of the last one and of those before. */
static void head_append__repeats_of_a_stream__same_bits_pass_others_are_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t s = series(f, "a");
    for (int64_t i = 0; i < 50; i++) {
        assert_int_equal(put(f, s, 1000 + i * 10, (uint64_t)(i / 9)), HEAD_APPENDED);
        for (int64_t k = 0; k <= i; k++) {
            assert_int_equal(put(f, s, 1000 + k * 10, (uint64_t)(k / 9)), HEAD_DUPLICATE_SAME);
            assert_int_equal(put(f, s, 1000 + k * 10, 99), HEAD_DUPLICATE_CONFLICT);
        }
    }
    assert_int_equal(put(f, s, 1005, 1), HEAD_APPENDED_OUT_OF_ORDER);
    assert_int_equal(put(f, s, 999, 1), HEAD_APPENDED_OUT_OF_ORDER);
    assert_int_equal(read_all(f, s).count, 52);
    assert_valid(f);
}

static void head_drop_before__old_chunks__go_and_the_rest_stays(void **state)
{
    struct fixture *f = *state;
    uint32_t s = series(f, "a");
    for (int64_t i = 0; i < 500; i++) {
        assert_int_equal(put(f, s, i, (uint64_t)i), HEAD_APPENDED);
    }
    assert_int_equal(head_drop_before(f->head, 0, UINT32_MAX, 119), 0);
    assert_int_equal(head_drop_before(f->head, 0, UINT32_MAX, 120), 1);
    struct tsdb_columns c = read_all(f, s);
    assert_int_equal(c.count, 380);
    assert_int_equal(c.t_ms[0], 120);
    assert_int_equal(head_drop_before(f->head, 0, UINT32_MAX, INT64_MAX), 3);
    assert_int_equal(read_all(f, s).count, 20);
    assert_int_equal(put(f, s, 500, 1), HEAD_APPENDED);
    assert_valid(f);
    assert_true(f->head->limbo.bytes > 0);
    assert_true(head_reclaim(f->head, 0) > 0);
    assert_int_equal(f->head->limbo.bytes, 0);
}

static void head_wal_base__epochs__hold_only_what_was_logged_in_them(void **state)
{
    struct fixture *f = *state;
    uint32_t s = series(f, "a");
    uint64_t bits = 0;
    assert_false(head_wal_base(f->head, s, 0, &bits));
    assert_true(head_wal_logged(f->head, s, 0, 11));
    assert_true(head_wal_base(f->head, s, 0, &bits));
    assert_int_equal(bits, 11);
    assert_false(head_wal_base(f->head, s, 1, &bits));
    assert_false(head_labels_logged(f->head, s));
    head_labels_logged_set(f->head, s);
    assert_true(head_labels_logged(f->head, s));
}

static void head_ids_skip__between_series__ids_are_nobodys(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(series(f, "a"), 0);
    assert_ok(head_ids_skip(f->head, 3));
    assert_int_equal(series(f, "b"), 3);
    uint32_t far = 5 * HEAD_SLAB_SERIES + 9; /* over whole slabs, which take no memory */
    size_t before = tsdb_mem_used(TSDB_MEM_HEAD);
    assert_ok(head_ids_skip(f->head, far));
    assert_true(tsdb_mem_used(TSDB_MEM_HEAD) < before + 2 * sizeof(struct head_slab));
    assert_ok(head_ids_skip(f->head, far - 5)); /* given out already: nothing */
    assert_int_equal(series(f, "c"), far);
    assert_int_equal(series(f, "a"), 0);
    assert_int_equal(head_generation(f->head, 2), HEAD_GENERATION_GONE);
    assert_int_equal(head_generation(f->head, 2 * HEAD_SLAB_SERIES), HEAD_GENERATION_GONE);
    assert_int_equal(head_generation(f->head, far - 1), HEAD_GENERATION_GONE);
    assert_int_not_equal(head_generation(f->head, 3), HEAD_GENERATION_GONE);
    assert_int_equal(index_mem_series_count(head_index(f->head)), 3);
    assert_valid(f);
}

struct seen {
    uint32_t count;
    int64_t t[16];
    uint32_t local[16];
    char trace[16][8];
};

static bool see(void *arg, uint32_t local, const struct tsdb_exemplar *x)
{
    struct seen *s = arg;
    s->t[s->count] = x->t_ms;
    s->local[s->count] = local;
    memcpy(s->trace[s->count], x->labels.items[0].value, x->labels.items[0].value_len);
    s->count++;
    return true;
}

static enum tsdb_status put_exemplar(struct fixture *f, uint32_t local, int64_t t, const char *id)
{
    /* Not sorted, and one value empty: an exemplar's labels are kept as they came. */
    struct tsdb_label items[2] = {tsdb_label_make("trace_id", id), tsdb_label_make("a", "")};
    struct tsdb_exemplar x = {.labels = {items, 2}, .bits = 5, .t_ms = t};
    return head_exemplar_append(f->head, local, &x);
}

static void head_exemplar_append__ring_full__oldest_is_overwritten(void **state)
{
    struct fixture *f = *state;
    uint32_t a = series(f, "a");
    uint32_t b = series(f, "b");
    assert_ok(put_exemplar(f, a, 10, "a10"));
    assert_ok(put_exemplar(f, a, 10, "a10")); /* the same again is no news */
    assert_int_equal(put_exemplar(f, a, 9, "a9"), TSDB_OUT_OF_ORDER);
    assert_ok(put_exemplar(f, b, 5, "b5"));
    for (int64_t t = 11; t < 14; t++) {
        char id[8];
        snprintf(id, sizeof id, "a%d", (int)t);
        assert_ok(put_exemplar(f, a, t, id));
    }
    struct seen seen = {0};
    head_exemplars(f->head, see, &seen);
    assert_int_equal(seen.count, 4);
    assert_int_equal(seen.local[0], b);
    assert_int_equal(seen.t[3], 13);
    assert_string_equal(seen.trace[3], "a13");
    assert_int_equal(atomic_load(&head_counters(f->head)->exemplars), 5);
}

static void head_exemplar_append__one_time__all_that_differ_are_kept(void **state)
{
    struct fixture *f = *state;
    uint32_t a = series(f, "a");
    assert_ok(put_exemplar(f, a, 10, "x"));
    assert_ok(put_exemplar(f, a, 10, "y"));
    assert_ok(put_exemplar(f, a, 10, "x")); /* no news, though not the newest */
    assert_ok(put_exemplar(f, a, 10, "z"));
    struct seen seen = {0};
    head_exemplars(f->head, see, &seen);
    assert_int_equal(seen.count, 3);
    assert_string_equal(seen.trace[0], "x");
    assert_string_equal(seen.trace[1], "y");
    assert_string_equal(seen.trace[2], "z");
}

static bool count_one(void *arg, uint32_t local, const struct tsdb_exemplar *x)
{
    (void)local, (void)x;
    ++*(uint32_t *)arg;
    return true;
}

/* One bound for all: a partition alone may use all of it, and the oldest goes, whosever it is. A scan
 * for the newest of a series, or of the same time, would take this many for ever. */
static void head_exemplar_append__shared_store__one_bound_and_no_scan(void **state)
{
    struct fixture *f = *state;
    enum {
        MAX = 200000
    };
    struct head_exemplar_store *store = NULL;
    struct head_partition *other = NULL;
    assert_ok(head_exemplar_store_create(MAX, &store));
    assert_ok(head_partition_create(7, f->epoch, 0, &other));
    head_exemplars_share(f->head, store);
    head_exemplars_share(other, store);
    uint32_t a = series(f, "a");
    struct head_partition *own = f->head;
    f->head = other;
    uint32_t b = series(f, "b");
    assert_ok(put_exemplar(f, b, 1, "b"));
    f->head = own;
    for (int64_t t = 0; t < 2 * MAX; t++) {
        assert_ok(put_exemplar(f, a, t, "a"));
    }
    uint32_t n = 0;
    head_exemplars(f->head, count_one, &n);
    assert_int_equal(n, MAX);
    n = 0;
    head_exemplars(other, count_one, &n);
    assert_int_equal(n, 0);
    f->head = other;
    assert_ok(put_exemplar(f, b, 1, "b")); /* forgotten, and so new */
    f->head = own;
    uint32_t at_once = 0;
    for (char id[8] = "0"; at_once < 1000; at_once++) {
        snprintf(id, sizeof id, "%u", at_once);
        enum tsdb_status status = put_exemplar(f, a, 2 * MAX, id);
        assert_int_equal(status, at_once < HEAD_EXEMPLARS_AT_ONCE ? TSDB_OK : TSDB_LIMIT);
    }
    head_partition_destroy(other);
    head_partition_destroy(f->head);
    f->head = NULL;
    head_exemplar_store_destroy(store);
}

struct times {
    uint32_t count;
    int64_t t_ms[16];
};

static bool keep_time(void *arg, uint32_t local, const struct tsdb_exemplar *x)
{
    struct times *t = arg;
    (void)local;
    t->t_ms[t->count++] = x->t_ms;
    return true;
}

/* Loaded by partition, as from a checkpoint: of what comes then, the oldest makes room, whose ever it
 * is; before settling it would be partition by partition. */
static void head_exemplars_settle__loaded_by_partition__the_oldest_goes_first(void **state)
{
    struct fixture *f = *state;
    enum {
        MAX = 7
    };
    struct head_partition *own = f->head;
    struct head_partition *other = NULL;
    struct head_exemplar_store *store = NULL;
    assert_ok(head_partition_create(9, f->epoch, 0, &other));
    assert_ok(head_exemplar_store_create(MAX, &store));
    head_exemplars_share(f->head, store);
    head_exemplars_share(other, store);
    head_exemplars_settle(f->head); /* nothing there */
    uint32_t a = series(f, "a");
    f->head = other;
    uint32_t b = series(f, "b");
    f->head = own;
    for (int64_t t = 0; t <= 50; t += 10) { /* 30, 40, 50 stay, and the ring has turned */
        assert_ok(put_exemplar(f, a, t, "a"));
    }
    f->head = other;
    for (int64_t t = 15; t <= 45; t += 10) {
        assert_ok(put_exemplar(f, b, t, "b"));
    }
    head_exemplars_settle(f->head);
    assert_ok(put_exemplar(f, b, 45, "b")); /* still no news, nor is what is older taken */
    assert_int_equal(put_exemplar(f, b, 44, "b"), TSDB_OUT_OF_ORDER);
    for (int64_t t = 60; t < 64; t++) {
        assert_ok(put_exemplar(f, b, t, "b")); /* instead of 15, 25, 30, 35 */
    }
    struct times of_b = {0}, of_a = {0};
    head_exemplars(f->head, keep_time, &of_b);
    f->head = own;
    head_exemplars(f->head, keep_time, &of_a);
    static const int64_t expected_a[] = {40, 50}, expected_b[] = {45, 60, 61, 62, 63};
    assert_int_equal(of_a.count, TSDB_ARRAY_LEN(expected_a));
    assert_memory_equal(of_a.t_ms, expected_a, sizeof expected_a);
    assert_int_equal(of_b.count, TSDB_ARRAY_LEN(expected_b));
    assert_memory_equal(of_b.t_ms, expected_b, sizeof expected_b);
    head_partition_destroy(other);
    head_partition_destroy(f->head);
    f->head = NULL;
    head_exemplar_store_destroy(store);
}

static bool see_bare(void *arg, uint32_t local, const struct tsdb_exemplar *x)
{
    uint32_t *count = arg;
    (void)local;
    assert_int_equal(x->labels.count, 0);
    assert_int_equal(x->bits, 7);
    ++*count;
    return true;
}

/* No labels are no memory: the view of them must not count from NULL. */
static void head_exemplar_append__no_labels__is_given_back_so(void **state)
{
    struct fixture *f = *state;
    uint32_t count = 0;
    struct tsdb_exemplar x = {.bits = 7, .t_ms = 10};
    assert_ok(head_exemplar_append(f->head, series(f, "a"), &x));
    head_exemplars(f->head, see_bare, &count);
    assert_int_equal(count, 1);
}

/* ---- running out of memory ---- */

static void head_append__nth_allocation_fails__nothing_is_half_done(void **state)
{
    (void)state;
    uint32_t finished = 0;
    for (uint64_t nth = 1; finished == 0; nth++) {
        struct fixture f = {0};
        assert_ok(tsdb_epoch_create(4, &f.epoch));
        assert_ok(head_partition_create(0, f.epoch, 2, &f.head));
        tsdb_arena_init(&f.arena, TSDB_MEM_QUERY, 1u << 16, NULL);
        uint32_t s = series(&f, "a");
        uint8_t raw[256];
        struct tsdb_raw_histogram h = {make_histogram(2, 1.0, raw, sizeof raw), raw};
        uint32_t expected = 0;
        bool failed = false;
        tsdb_alloc_fail_nth(nth, 0);
        for (int64_t i = 0; i < 330; i++) {
            bool late = i % 3 == 2;
            bool is_float = i < 300;
            enum head_append_outcome outcome =
                head_append(f.head, s, late ? 9999 - i : 10000 + i, 0,
                            is_float ? TSDB_SAMPLE_FLOAT : TSDB_SAMPLE_HISTOGRAM_INT,
                            is_float ? (uint64_t)i : (uint64_t)(uintptr_t)&h);
            failed = failed || outcome == HEAD_NOMEM;
            expected += outcome != HEAD_NOMEM;
        }
        tsdb_alloc_ops_set(NULL);
        assert_int_equal(expected, failed ? 329 : 330);
        assert_int_equal(read_all(&f, s).count, expected);
        assert_valid(&f);
        finished = !failed;
        assert_true(nth < 1000);
        tsdb_arena_deinit(&f.arena);
        head_partition_destroy(f.head);
        tsdb_epoch_destroy(f.epoch);
    }
}

/* ---- beside a naive model ---- */

#define MODEL_SERIES  5u
#define MODEL_SAMPLES 4000u

struct model_sample {
    int64_t t_ms, start_ms;
    uint64_t value; /* float bits, or the histogram's sum as bits */
    enum tsdb_sample_kind kind;
};
struct model {
    struct model_sample samples[MODEL_SERIES][MODEL_SAMPLES];
    uint32_t count[MODEL_SERIES];
};

static enum head_append_outcome model_append(struct model *m, uint32_t s, struct model_sample x)
{
    int64_t newest = INT64_MIN;
    for (uint32_t i = 0; i < m->count[s]; i++) {
        const struct model_sample *have = &m->samples[s][i];
        if (have->t_ms == x.t_ms) {
            return have->kind == x.kind && have->value == x.value ? HEAD_DUPLICATE_SAME
                                                                  : HEAD_DUPLICATE_CONFLICT;
        }
        newest = TSDB_MAX(newest, have->t_ms);
    }
    assert_true(m->count[s] < MODEL_SAMPLES);
    bool late = m->count[s] > 0 && x.t_ms < newest;
    m->samples[s][m->count[s]++] = x;
    return late ? HEAD_APPENDED_OUT_OF_ORDER : HEAD_APPENDED;
}

static int model_order(const void *a, const void *b)
{
    const struct model_sample *x = a;
    const struct model_sample *y = b;
    return (x->t_ms > y->t_ms) - (x->t_ms < y->t_ms);
}

static void model_compare(struct model *m, struct fixture *f, uint32_t s, int64_t min, int64_t max)
{
    qsort(m->samples[s], m->count[s], sizeof m->samples[s][0], model_order);
    struct tsdb_columns c = read_range(f, s, min, max);
    uint32_t at = 0;
    for (uint32_t i = 0; i < m->count[s]; i++) {
        const struct model_sample *x = &m->samples[s][i];
        if (x->t_ms < min || x->t_ms > max) {
            continue;
        }
        assert_true(at < c.count);
        assert_int_equal(c.t_ms[at], x->t_ms);
        assert_int_equal(c.kind ? c.kind[at] : TSDB_SAMPLE_FLOAT, x->kind);
        assert_int_equal(c.start_ms ? c.start_ms[at] : 0, x->start_ms);
        uint64_t value = x->kind == TSDB_SAMPLE_FLOAT
                             ? c.bits[at]
                             : tsdb_double_bits(c.histograms[c.bits[at]].sum);
        assert_int_equal(value, x->value);
        at++;
    }
    assert_int_equal(at, c.count);
}

static struct model_sample model_sample_draw(struct tsdb_prng *r, int64_t *now)
{
    struct model_sample x = {0};
    *now += (int64_t)tsdb_prng_below(r, 4);
    x.t_ms = tsdb_prng_below(r, 4) == 0 ? *now - (int64_t)tsdb_prng_below(r, 600) : *now;
    if (tsdb_prng_below(r, 40) == 0) {
        x.kind = TSDB_SAMPLE_HISTOGRAM_INT;
    }
    if (tsdb_prng_below(r, 60) == 0) {
        x.start_ms = 1 + (int64_t)tsdb_prng_below(r, 100);
    }
    double v = (double)tsdb_prng_below(r, 3);
    bool odd = x.kind == TSDB_SAMPLE_FLOAT && tsdb_prng_below(r, 8) == 0;
    x.value = odd ? tsdb_prng_next(r) : tsdb_double_bits(v);
    return x;
}

static void model_run(struct fixture *f, struct model *m, uint64_t seed)
{
    struct tsdb_prng r;
    tsdb_prng_init(&r, seed);
    int64_t now[MODEL_SERIES] = {0};
    uint8_t raw[256];
    for (uint32_t turn = 0; turn < 8000; turn++) {
        uint32_t s = (uint32_t)tsdb_prng_below(&r, MODEL_SERIES);
        struct model_sample x = model_sample_draw(&r, &now[s]);
        struct tsdb_raw_histogram h = {0, raw};
        uint64_t value = x.value;
        if (x.kind != TSDB_SAMPLE_FLOAT) {
            h.len = make_histogram(2, tsdb_bits_double(x.value), raw, sizeof raw);
            value = (uint64_t)(uintptr_t)&h;
        }
        assert_int_equal(head_append(f->head, s, x.t_ms, x.start_ms, x.kind, value),
                         model_append(m, s, x));
        if (turn % 500 == 0) {
            int64_t min = now[s] - (int64_t)tsdb_prng_below(&r, 2000);
            model_compare(m, f, s, min, min + (int64_t)tsdb_prng_below(&r, 1000));
            tsdb_arena_reset(&f->arena);
            head_reclaim(f->head, 0);
        }
    }
    for (uint32_t s = 0; s < MODEL_SERIES; s++) {
        model_compare(m, f, s, INT64_MIN, INT64_MAX);
    }
    assert_valid(f);
}

static void head__random_appends__agree_with_naive_arrays(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        void *inner = NULL;
        setup(&inner);
        struct fixture *f = inner;
        head_chunk_samples_set(f->head, seed % 2 ? TSDB_HEAD_CHUNK_SAMPLES_MAX : 7);
        head_bundle_bytes_set(f->head, seed % 3 ? 300 * (uint32_t)seed : 0, 0);
        for (uint32_t s = 0; s < MODEL_SERIES; s++) {
            char name[8];
            snprintf(name, sizeof name, "s%u", s);
            assert_int_equal(series(f, name), s);
        }
        struct model *m = calloc(1, sizeof *m);
        assert_non_null(m);
        print_message("seed %u\n", (unsigned)seed);
        model_run(f, m, seed);
        free(m);
        teardown(&inner);
    }
}

static void head_series__many__slabs_and_directory_grow(void **state)
{
    struct fixture *f = *state;
    const uint32_t n = HEAD_SLAB_SERIES * 9 + 5; /* the directory grows twice */
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%u", i);
        assert_int_equal(series(f, name), i);
        assert_int_equal(put(f, i, i, i), HEAD_APPENDED);
    }
    for (uint32_t i = 0; i < n; i += 997) {
        struct tsdb_columns c = read_all(f, i);
        assert_int_equal(c.count, 1);
        assert_int_equal(c.bits[0], i);
    }
    assert_int_equal(index_mem_series_count(head_index(f->head)), n);
}

/* Times of few windows and of many, so that many are there already, in order and late, open and
 * sealed; a value is of the time, or another. */
static void head_append__late_in_any_order__tells_every_duplicate(void **state)
{
    enum {
        SERIES = 3,
        TIMES = 4000,
        APPENDS = 30000
    };
    struct fixture *f = *state;
    static uint8_t stored[SERIES][TIMES]; /* 0: no; else 1 + what was put there first */
    static const char *const names[SERIES] = {"a", "b", "c"};
    uint32_t locals[SERIES];
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 9);
    memset(stored, 0, sizeof stored);
    head_partition_configure(f->head, 97, 0, false);
    for (uint32_t i = 0; i < SERIES; i++) {
        locals[i] = series(f, names[i]);
    }
    uint32_t same = 0, conflicts = 0;
    for (uint32_t i = 0; i < APPENDS; i++) {
        uint32_t s = (uint32_t)tsdb_prng_below(&prng, SERIES);
        uint32_t t = (uint32_t)tsdb_prng_below(&prng, 1 + TSDB_MIN(i, TIMES - 1));
        uint8_t value = (uint8_t)(tsdb_prng_below(&prng, 3) + 1);
        enum head_append_outcome outcome = put(f, locals[s], t, value);
        if (stored[s][t] == 0) {
            assert_true(outcome == HEAD_APPENDED || outcome == HEAD_APPENDED_OUT_OF_ORDER);
            stored[s][t] = value;
        } else if (stored[s][t] == value) {
            assert_int_equal(outcome, HEAD_DUPLICATE_SAME);
            same++;
        } else {
            assert_int_equal(outcome, HEAD_DUPLICATE_CONFLICT);
            conflicts++;
        }
    }
    assert_true(same > 1000 && conflicts > 1000);
    for (uint32_t i = 0; i < SERIES; i++) {
        struct tsdb_columns c = read_all(f, locals[i]);
        for (uint32_t k = 0; k < c.count; k++) {
            assert_int_equal(c.bits[k], stored[i][c.t_ms[k]]);
            stored[i][c.t_ms[k]] = 0;
        }
        for (uint32_t t = 0; t < TIMES; t++) {
            assert_int_equal(stored[i][t], 0);
        }
    }
    assert_valid(f);
}

static void head_late_set__random_work__agrees_with_an_array(void **state)
{
    enum {
        TIMES = 3000,
        STEPS = 60000
    };
    (void)state;
    static bool there[TIMES];
    struct head_late_set set;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 5);
    memset(there, 0, sizeof there);
    head_late_set_init(&set);
    uint32_t used = 0;
    for (uint32_t i = 0; i < STEPS; i++) {
        int64_t t = (int64_t)tsdb_prng_below(&prng, TIMES);
        /* Grows for a while, then shrinks to nothing, again and again. */
        bool add = tsdb_prng_below(&prng, 10) < (i / 10000 % 2 == 0 ? 8u : 1u);
        struct head_row x = {t, (uint64_t)t * 3, 0};
        if (add) {
            assert_true(head_late_set_add(&set, 7, 0, &x));
        } else {
            head_late_set_remove(&set, 7, t);
        }
        used += add && !there[t];
        used -= !add && there[t];
        there[t] = add;
        assert_int_equal(set.used, used);
        assert_null(head_late_set_find(&set, 8, t));
        int64_t other = (int64_t)tsdb_prng_below(&prng, TIMES);
        const struct head_late_entry *e = head_late_set_find(&set, 7, other);
        assert_int_equal(e != NULL, there[other]);
        assert_true(!e || e->value == (uint64_t)other * 3);
        assert_true(set.cap == 0 || set.cap <= 64 || set.used >= set.cap / 8);
    }
    for (int64_t t = 0; t < TIMES; t++) {
        head_late_set_remove(&set, 7, t);
    }
    assert_int_equal(set.cap, 0); /* an empty one keeps nothing */
    head_late_set_deinit(&set);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    T(head_append__late_in_any_order__tells_every_duplicate),
    cmocka_unit_test(head_late_set__random_work__agrees_with_an_array),
    T(head_append__in_order_over_many_chunks__reads_back_bit_for_bit),
    T(head_read__range__is_closed_at_both_ends),
    T(head_append__extreme_times__are_kept),
    T(head_append__same_time__same_bits_pass_others_are_refused),
    T(head_append__nan_payloads_and_signed_zero__are_different_values),
    T(head_append__kinds_and_starts_in_turn__keep_their_own_form),
    T(head_append__histograms__duplicates_compare_raw_bytes),
    T(head_append__streams__end_by_samples_or_bytes),
    T(head_append__wide_values__begin_with_a_wide_block),
    T(head_floats_load__any_floats__as_appended_one_by_one),
    T(head_floats_load__open_or_not_newer__takes_none),
    T(head_append__repeats_of_a_stream__same_bits_pass_others_are_refused),
    T(head_drop_before__old_chunks__go_and_the_rest_stays),
    T(head_wal_base__epochs__hold_only_what_was_logged_in_them),
    T(head_ids_skip__between_series__ids_are_nobodys),
    T(head_exemplar_append__ring_full__oldest_is_overwritten),
    T(head_exemplar_append__one_time__all_that_differ_are_kept),
    T(head_exemplar_append__shared_store__one_bound_and_no_scan),
    T(head_exemplars_settle__loaded_by_partition__the_oldest_goes_first),
    T(head_exemplar_append__no_labels__is_given_back_so),
    T(head_series__many__slabs_and_directory_grow),
    cmocka_unit_test(head_append__nth_allocation_fails__nothing_is_half_done),
    cmocka_unit_test(head__random_appends__agree_with_naive_arrays),
};

TEST_MAIN(tests)
