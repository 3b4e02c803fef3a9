/* Tombstones: made, asked, cut pieces, beside a plain table; the file, good and bad. */
#include "tests/support/test.h"

#include "base/crc32c.h"
#include "base/random.h"
#include "tsdb/block/tombstones.h"

#include <stdio.h>

#define ULID   "01HF7YAT000000000000000001"
#define SERIES 40u
#define TIMES  64

/* ---- beside a table ---- */

static bool hidden_in(const struct tombstones *t, uint32_t id, int64_t t_ms)
{
    struct tombstone_cuts cuts = tombstones_find(t, id);
    bool touched = tombstone_cuts_touch(&cuts, t_ms, t_ms);
    assert_int_equal(touched, tombstone_cuts_cover(&cuts, t_ms, t_ms));
    return touched;
}

static void assert_normal(const struct tombstones *t)
{
    const struct tombstone_run *runs = (const void *)t->runs.data;
    const struct tsdb_time_range *r = (const void *)t->intervals.data;
    for (uint32_t i = 0; i < tombstones_run_count(t); i++) {
        assert_true(runs[i].first <= runs[i].last && runs[i].count > 0);
        assert_true(i == 0 || runs[i].first > runs[i - 1].last);
        for (uint32_t k = 0; k < runs[i].count; k++) {
            const struct tsdb_time_range *x = &r[runs[i].at + k];
            assert_true(x->min_ms <= x->max_ms);
            assert_true(k == 0 || x[-1].max_ms + 1 < x->min_ms);
        }
    }
}

/* What tombstone_cuts_next leaves of a piece with every time. */
static void check_pieces(const struct tombstones *t, bool table[SERIES][TIMES])
{
    int64_t times[TIMES];
    uint64_t values[TIMES];
    for (int i = 0; i < TIMES; i++) {
        times[i] = i;
        values[i] = (uint64_t)i * 3;
    }
    struct piece whole = {
        .sorted = true, .count = TIMES, .t_ms = times, .value = values, .start_ms = times};
    for (uint32_t id = 0; id < SERIES; id++) {
        struct tombstone_cuts cuts = tombstones_find(t, id);
        struct piece part;
        int next = 0;
        for (uint32_t pos = 0; tombstone_cuts_next(&cuts, &whole, &pos, &part);) {
            assert_true(part.count > 0 && part.value - values == part.t_ms - times);
            for (uint32_t i = 0; i < part.count; i++, next++) {
                while (next < TIMES && table[id][next]) {
                    next++;
                }
                assert_int_equal(part.t_ms[i], next);
                assert_int_equal(part.value[i], next * 3);
                assert_int_equal(part.start_ms[i], next);
            }
        }
        while (next < TIMES && table[id][next]) {
            next++;
        }
        assert_int_equal(next, TIMES);
        struct tsdb_arena arena;
        struct chunk_samples copy = {
            .count = TIMES, .t_ms = times, .value = values, .start_ms = id % 2 ? times : NULL};
        uint32_t left = 0;
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 0, NULL);
        assert_ok(tombstone_cuts_apply(&cuts, &arena, &copy));
        for (int i = 0; i < TIMES; i++) {
            if (!table[id][i]) {
                assert_true(left < copy.count && copy.t_ms[left] == i);
                assert_true(copy.value[left] == (uint64_t)i * 3);
                assert_true(!copy.start_ms || copy.start_ms[left] == i);
                left++;
            }
        }
        assert_int_equal(copy.count, left);
        tsdb_arena_deinit(&arena);
    }
}

static struct tombstones *through_file(struct tombstones *t)
{
    struct tsdb_buf buf;
    struct tombstones *back = NULL;
    struct tsdb_error err = {0};
    tsdb_buf_init(&buf, TSDB_MEM_OTHER, 0);
    tombstones_encode(t, ULID, SERIES, &buf);
    assert_ok_err(tombstones_decode(buf.data, buf.len, ULID, SERIES, &back, &err), &err);
    assert_int_equal(back->runs.len, t->runs.len);
    assert_memory_equal(back->runs.data, t->runs.data, t->runs.len);
    assert_memory_equal(back->intervals.data, t->intervals.data, t->intervals.len);
    tsdb_buf_deinit(&buf);
    tombstones_free(t);
    return back;
}

static void tombstones_add__random_deletes__as_a_table(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        bool table[SERIES][TIMES] = {{false}};
        struct tombstones *t = NULL;
        struct tsdb_prng p;
        tsdb_prng_init(&p, seed);
        for (int turn = 0; turn < 12; turn++) {
            uint32_t ids[SERIES];
            uint32_t n = 0;
            uint64_t odds = 1 + tsdb_prng_below(&p, 6);
            struct tsdb_time_range range;
            struct tombstones *more = NULL;
            range.min_ms = (int64_t)tsdb_prng_below(&p, TIMES);
            range.max_ms = range.min_ms + (int64_t)tsdb_prng_below(&p, 12);
            if (turn == 11) {
                range = TSDB_TIME_ALL;
            }
            for (uint32_t id = 0; id < SERIES; id++) {
                if (tsdb_prng_below(&p, odds) == 0) {
                    ids[n++] = id;
                    for (int64_t i = 0; i < TIMES; i++) {
                        table[id][i] |= range.min_ms <= i && i <= range.max_ms;
                    }
                }
            }
            assert_ok(tombstones_add(t, ids, n, range, &more, NULL));
            tombstones_free(t);
            t = through_file(more);
            assert_normal(t);
            for (uint32_t id = 0; id < SERIES; id++) {
                for (int64_t i = 0; i < TIMES; i++) {
                    assert_int_equal(hidden_in(t, id, i), table[id][i]);
                }
            }
            check_pieces(t, table);
        }
        tombstones_free(t);
    }
}

static void tombstones_add__neighbours_alike__one_run(void **state)
{
    (void)state;
    struct tombstones *a = NULL;
    struct tombstones *b = NULL;
    const uint32_t first[] = {1, 2, 3, 7};
    const uint32_t second[] = {4, 5, 6};
    assert_ok(tombstones_add(NULL, first, 4, TSDB_TIME_ALL, &a, NULL));
    assert_int_equal(tombstones_run_count(a), 2);
    assert_ok(tombstones_add(a, second, 3, TSDB_TIME_ALL, &b, NULL));
    assert_int_equal(tombstones_run_count(b), 1);
    assert_int_equal(tombstones_series(b), 7);
    assert_int_equal(tombstones_series(NULL), 0);
    tombstones_free(a);
    tombstones_free(b);
}

/* ---- the file ---- */

/* The bytes of docs/format/tombstones.md, without the CRC. */
static const uint8_t golden[] = {
    'T',  'D',  'T',  'B',  1,    0,    0,    0,    '0',  '1',  'H',  'F',  '7',  'Y',  'A',  'T',
    '0',  '0',  '0',  '0',  '0',  '0',  '0',  '0',  '0',  '0',  '0',  '0',  '0',  '0',  '0',  '0',
    '0',  '1',  10,   0,    0,    0,    2,    0,    0,    0,    42,   0,    0,    0,    0,    0,
    0,    0,    7,    0,    0,    0,    0,    0,    0,    0,    3,    2,    1,    0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x01, 3,    0,    2,    0xd0, 0x0f, 0xe7, 0x07, 0xb9, 0x17, 0};

static struct tombstones *example(void)
{
    struct tombstones *a = NULL;
    struct tombstones *b = NULL;
    struct tombstones *c = NULL;
    const uint32_t some[] = {3, 4, 5};
    const uint32_t one[] = {9};
    assert_ok(tombstones_add(NULL, some, 3, TSDB_TIME_ALL, &a, NULL));
    assert_ok(tombstones_add(a, one, 1, (struct tsdb_time_range){5000, 5000}, &b, NULL));
    assert_ok(tombstones_add(b, one, 1, (struct tsdb_time_range){1000, 1999}, &c, NULL));
    tombstones_free(a);
    tombstones_free(b);
    c->samples = 42;
    c->bytes = 7;
    return c;
}

static void tombstones_encode__two_runs__golden_bytes(void **state)
{
    (void)state;
    struct tsdb_buf buf;
    struct tombstones *t = example();
    tsdb_buf_init(&buf, TSDB_MEM_OTHER, 0);
    tombstones_encode(t, ULID, 10, &buf);
    assert_int_equal(buf.len, sizeof golden + 4);
    assert_memory_equal(buf.data, golden, sizeof golden);
    assert_int_equal(tsdb_load_le32(buf.data + sizeof golden),
                     tsdb_crc32c(0, golden, sizeof golden));
    tsdb_buf_deinit(&buf);
    tombstones_free(t);
}

static enum tsdb_status decode_with_crc(uint8_t *data, size_t len, struct tsdb_error *err)
{
    struct tombstones *t = NULL;
    tsdb_store_le32(data + len, tsdb_crc32c(0, data, len));
    enum tsdb_status status = tombstones_decode(data, len + 4, ULID, 10, &t, err);
    if (status == TSDB_OK) {
        assert_normal(t);
        tombstones_free(t);
    }
    return status;
}

static void tombstones_decode__damaged__corrupt(void **state)
{
    (void)state;
    uint8_t data[sizeof golden + 4];
    struct tombstones *t = NULL;
    struct tsdb_error err = {0};
    memcpy(data, golden, sizeof golden);
    assert_ok_err(decode_with_crc(data, sizeof golden, &err), &err);
    for (size_t i = 0; i < sizeof data; i++) {
        assert_int_equal(tombstones_decode(data, i, ULID, 10, &t, &err), TSDB_CORRUPT);
        data[i] ^= 0x10;
        enum tsdb_status status = tombstones_decode(data, sizeof data, ULID, 10, &t, &err);
        assert_true(status == TSDB_CORRUPT || (status == TSDB_UNSUPPORTED && i >= 4 && i < 8));
        data[i] ^= 0x10;
    }
    assert_int_equal(tombstones_decode(data, sizeof data, ULID, 11, &t, &err), TSDB_CORRUPT);
    assert_int_equal(
        tombstones_decode(data, sizeof data, "01HF7YAT000000000000000002", 10, &t, &err),
        TSDB_CORRUPT);
    assert_non_null(strstr(err.msg, "another block"));
}

/* What only somebody who means harm would write: the CRC fits. */
static void tombstones_decode__nonsense_with_its_crc__corrupt(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {
        {38, 3},    /* a run more than there are */
        {41, 0xff}, /* 4 billion of them */
        {58, 11},   /* an id beyond the series */
        {59, 7},    /* a run that ends there */
        {60, 0},    /* no interval */
        {60, 100},  /* more than bytes */
        {70, 0x00}, /* the first interval then ends beyond time */
        {81, 9},    /* the second run beyond */
        {90, 0x80}, /* a number that does not end */
    };
    struct tsdb_error err = {0};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(changes); i++) {
        uint8_t data[sizeof golden + 4];
        memcpy(data, golden, sizeof golden);
        data[changes[i].at] = changes[i].value;
        enum tsdb_status status = decode_with_crc(data, sizeof golden, &err);
        if (status != TSDB_CORRUPT) {
            fail_msg("byte %zu = %u: %s", changes[i].at, changes[i].value,
                     tsdb_status_name(status));
        }
    }
    uint8_t longer[sizeof golden + 5] = {0};
    memcpy(longer, golden, sizeof golden);
    assert_int_equal(decode_with_crc(longer, sizeof golden + 1, &err), TSDB_CORRUPT);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tombstones_add__random_deletes__as_a_table),
    cmocka_unit_test(tombstones_add__neighbours_alike__one_run),
    cmocka_unit_test(tombstones_encode__two_runs__golden_bytes),
    cmocka_unit_test(tombstones_decode__damaged__corrupt),
    cmocka_unit_test(tombstones_decode__nonsense_with_its_crc__corrupt),
};

TEST_MAIN(tests)
