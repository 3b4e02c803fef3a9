/* Clocks that are wrong, and times that are far away: nothing is lost by them, and all goes on. Retention
 * beside a wrong clock is in test_flush.c, too. */
#include "tests/support/test.h"

#include "tests/support/tsdb/scene.h"
#include "tsdb/engine/db_private.h"

#define HOUR INT64_C(3600000)
#define DAY  (24 * HOUR)
#define YEAR (365 * DAY)

static void begin(struct scene *s, int64_t retention_ms)
{
    scene_begin(s, 3);
    s->h.options.block_range_ms = HOUR;
    s->h.options.retention_ms = retention_ms;
    assert_ok(hx_open(&s->h, NULL));
}

static void put_one(struct hx *h, uint32_t series, int64_t t_ms)
{
    struct hx_sample x = hx_float(series, t_ms, (double)series);
    struct tsdb_write_result r = {0};
    assert_ok(hx_put(h, &x, 1, TSDB_DURABILITY_STRICT, &r));
    assert_int_equal(r.samples_written, 1);
}

/* A sample a minute of ten series, up to now. */
static void put_hours(struct hx *h, uint32_t hours)
{
    for (uint32_t minute = 0; minute < hours * 60; minute++) {
        tsdb_clock_sim_advance(&h->clock, 60000);
        for (uint32_t i = 0; i < 10; i++) {
            put_one(h, i, h->clock.wall_ms);
        }
    }
}

/* Flushes and merges what is over by now. */
static void work_off(struct hx *h)
{
    size_t work = 1;
    while (work > 0) {
        work = tsdb_flush_step(h->db, h->clock.mono_ns);
        work += tsdb_compact_step(h->db, h->clock.mono_ns);
    }
}

/* Everything that works in the background, over and over, for so long. */
static void background(struct hx *h, int64_t ms)
{
    for (int64_t end = h->clock.wall_ms + ms; h->clock.wall_ms < end;) {
        tsdb_retention_step(h->db, h->clock.mono_ns);
        tsdb_seal_step(h->db, h->clock.mono_ns);
        work_off(h);
        tsdb_checkpoint_step(h->db, h->clock.mono_ns);
        tsdb_clock_sim_advance(&h->clock, TSDB_MIN(end - h->clock.wall_ms, 5 * INT64_C(60000)));
    }
}

static void reopen(struct hx *h, bool clean)
{
    struct tsdb_error err;
    if (clean) {
        assert_ok_err(hx_close(h, &err), &err);
    } else {
        hx_die(h, true);
    }
    assert_ok_err(hx_open(h, &err), &err);
}

static uint32_t blocks(struct hx *h)
{
    struct tsdb_stats st;
    tsdb_stats_read(h->db, &st);
    return (uint32_t)st.blocks;
}

/* The clock is 20 days ahead when the server starts; after a clean stop there is a checkpoint, after a
 * first kill the log alone, after a removed log nothing but blocks. */
static void tsdb_open__clock_far_ahead__nothing_dropped_nothing_old(void **state)
{
    for (uint32_t kind = 0; kind < 3; kind++) {
        struct scene *s = *state;
        struct hx *h = &s->h;
        begin(s, 2 * DAY);
        put_hours(h, 2);
        if (kind == 2) {
            assert_ok(tsdb_flush(h->db, NULL));
        }
        work_off(h);
        uint32_t all = hx_count(h);
        uint32_t before = blocks(h);
        int64_t true_ms = h->clock.wall_ms;
        h->clock.wall_ms += 20 * DAY;
        reopen(h, kind > 0);
        assert_true(tsdb_believed_ms(h->db) < true_ms + HOUR);
        background(h, HOUR / 6);
        assert_int_equal(hx_count(h), all);
        /* The hours at hand are neither over nor old: no block of them, and none joined. */
        assert_int_equal(blocks(h), before);
        assert_int_equal(db_older_than(h->db, 2 * DAY) > true_ms - 2 * DAY + HOUR, 0);
        h->clock.wall_ms -= 20 * DAY;
        background(h, HOUR / 2);
        put_hours(h, 1);
        assert_int_equal(hx_count(h), all + 600);
        reopen(h, true);
        assert_int_equal(hx_count(h), all + 600);
        scene_end(s);
    }
}

/* What is in the head alone goes by a share of the retention a round, too, when a wrong clock is believed
 * at last; and a person who comes within the hour loses half at most. */
static void retention__clock_stays_ahead__head_goes_by_shares(void **state)
{
    struct scene *s = *state;
    struct hx *h = &s->h;
    begin(s, DAY);
    h->options.overdue_chunks = UINT32_MAX;
    for (int64_t i = 0; i < 24; i++) { /* late samples of a day, in no block yet */
        put_one(h, 1, HX_WALL_MS - DAY + i * HOUR + 1000);
    }
    put_one(h, 2, HX_WALL_MS);
    h->clock.wall_ms += 20 * DAY;
    put_one(h, 2, h->clock.wall_ms); /* who sends has the same clock */
    uint32_t all = hx_count(h);
    for (int64_t hours = 0; hours < 6; hours++) {
        tsdb_retention_step(h->db, h->clock.mono_ns);
        tsdb_clock_sim_advance(&h->clock, HOUR - 1);
    }
    /* What was older than a day by then anyway is gone, as it should be. */
    uint32_t left = hx_count(h);
    assert_true(left > all - 8);
    for (uint32_t round = 0; round < 4; round++) {
        tsdb_clock_sim_advance(&h->clock, 600001);
        tsdb_retention_step(h->db, h->clock.mono_ns);
        uint32_t now = hx_count(h);
        assert_true(now >= left - 5); /* three hours of the day's 24, and what is cut by a window */
        left = now;
    }
    assert_true(left > 3 && left < all - 8);
    for (uint32_t round = 0; round < 6; round++) {
        tsdb_clock_sim_advance(&h->clock, 600001);
        tsdb_retention_step(h->db, h->clock.mono_ns);
    }
    assert_true(hx_count(h) <= 2);
}

/* A clock that goes back, by a month or a second, again and again. */
static void tsdb__clock_goes_back__all_stays_and_goes_on(void **state)
{
    static const int64_t back_ms[] = {1000, HOUR, 30 * DAY};
    for (size_t k = 0; k < TSDB_ARRAY_LEN(back_ms); k++) {
        struct scene *s = *state;
        struct hx *h = &s->h;
        begin(s, 0);
        put_hours(h, 3);
        background(h, HOUR);
        uint32_t all = hx_count(h);
        for (uint32_t again = 0; again < 3; again++) {
            h->clock.wall_ms -= back_ms[k];
            put_one(h, 50 + again, h->clock.wall_ms + 7);
            background(h, HOUR);
            assert_int_equal(hx_count(h), ++all);
            reopen(h, again != 1);
            assert_int_equal(hx_count(h), all);
        }
        h->clock.wall_ms += 3 * back_ms[k];
        background(h, 8 * HOUR);
        assert_int_equal(hx_count(h), all);
        scene_end(s);
    }
}

/* What a month or a century is away: read from memory, from the log, from blocks, from merged ones. */
static void tsdb__times_far_away__kept_to_the_millisecond(void **state)
{
    static const int64_t times[] = {-INT64_C(62135596800000),
                                    -INT64_C(2208988800000),
                                    -YEAR,
                                    -HOUR - 1,
                                    -HOUR,
                                    -HOUR + 1,
                                    -1000,
                                    -1,
                                    0,
                                    1,
                                    HOUR - 1,
                                    HOUR,
                                    YEAR,
                                    INT64_C(946684800000)};
    struct scene *s = *state;
    struct hx *h = &s->h;
    begin(s, 0);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(times); i++) {
        put_one(h, (uint32_t)(i % 3), times[i]);
    }
    put_one(h, 0, h->clock.wall_ms);
    const uint32_t all = TSDB_ARRAY_LEN(times) + 1;
    assert_int_equal(hx_count(h), all);
    reopen(h, false);
    assert_int_equal(hx_count(h), all);
    assert_ok(tsdb_flush(h->db, NULL));
    assert_int_equal(hx_count(h), all);
    struct tsdb_work_done done;
    assert_ok(tsdb_compact(h->db, &done, NULL));
    reopen(h, true);
    assert_int_equal(hx_count(h), all);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(times); i++) { /* each by itself */
        struct tsdb_time_range range = {times[i], times[i]};
        struct tsdb_querier *q = NULL;
        struct tsdb_arena arena;
        struct tsdb_columns c;
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
        assert_ok(tsdb_querier_open(h->db, NULL, range, &q, NULL));
        tsdb_series_ref ref = hx_select(q, (uint32_t)(i % 3));
        assert_ok(tsdb_series_read(q, ref, range, &arena, &c, NULL));
        assert_true(c.count == 1 && c.t_ms[0] == times[i]);
        tsdb_querier_close(q);
        tsdb_arena_deinit(&arena);
    }
}

/* 2100 is out of bounds today, and a year like any other when it is there. */
static void tsdb__year_2100__refused_today_taken_then(void **state)
{
    struct scene *s = *state;
    struct hx *h = &s->h;
    const int64_t then_ms = INT64_C(4102444800000);
    begin(s, 0);
    struct hx_sample x = hx_float(1, then_ms, 1);
    struct tsdb_write_result r = {0};
    assert_ok(hx_put(h, &x, 1, TSDB_DURABILITY_STRICT, &r));
    assert_int_equal(r.rejected[TSDB_REJECT_TOO_NEW], 1);
    assert_int_equal(hx_count(h), 0);
    put_one(h, 1, h->clock.wall_ms);
    tsdb_clock_sim_advance(&h->clock, then_ms - h->clock.wall_ms);
    put_hours(h, 3);
    background(h, 6 * HOUR);
    assert_true(blocks(h) >= 3);
    reopen(h, true);
    assert_int_equal(hx_count(h), 3 * 600 + 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(tsdb_open__clock_far_ahead__nothing_dropped_nothing_old,
                                    scene_setup, scene_teardown),
    cmocka_unit_test_setup_teardown(retention__clock_stays_ahead__head_goes_by_shares, scene_setup,
                                    scene_teardown),
    cmocka_unit_test_setup_teardown(tsdb__clock_goes_back__all_stays_and_goes_on, scene_setup,
                                    scene_teardown),
    cmocka_unit_test_setup_teardown(tsdb__times_far_away__kept_to_the_millisecond, scene_setup,
                                    scene_teardown),
    cmocka_unit_test_setup_teardown(tsdb__year_2100__refused_today_taken_then, scene_setup,
                                    scene_teardown),
};

TEST_MAIN(tests)
