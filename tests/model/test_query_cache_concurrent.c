/* Range queries with a cache while others write: what was answered to a writer shows in every later query, late
 * samples too; and when all is quiet, every answer is that without the cache. */
#include "tests/support/test.h"

#include "base/log.h"
#include "query/cache/cache.h"
#include "query/crew.h"
#include "tests/support/tsdb/harness.h"

#include <pthread.h>
#include <string.h>

#define SECONDS 600 /* written one by one */
#define READERS 2
#define STEP_MS 1000
/* Every eighth second is left out and written when six more have been. */
#define LATE_EVERY 8
#define LATE_BY    6

static struct {
    struct hx h;
    struct query_cache *cache;
    struct query_crew *crew;
    _Atomic(uint32_t)
        written; /* seconds 1.. have been answered, the late ones of the last LATE_BY aside */
    _Atomic(uint32_t) wrong, asked;
} world;

static int64_t time_of(uint32_t second)
{
    return HX_WALL_MS + (int64_t)second * STEP_MS;
}

/* ---- writing ---- */

static void put_second(uint32_t second)
{
    struct hx_sample samples[14];
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(samples); i++) {
        samples[i] = hx_float(i, time_of(second), (double)second + i * 0.25);
    }
    assert_ok(hx_put(&world.h, samples, TSDB_ARRAY_LEN(samples), TSDB_DURABILITY_BUFFERED, NULL));
}

static void write_all(void)
{
    for (uint32_t s = 1; s <= SECONDS + LATE_BY; s++) {
        if (s % LATE_EVERY != 0 && s <= SECONDS) {
            put_second(s);
        }
        if (s > LATE_BY && (s - LATE_BY) % LATE_EVERY == 0) {
            put_second(s - LATE_BY);
        }
        if (s > LATE_BY) {
            atomic_store(&world.written, s - LATE_BY);
        }
        if (s % 50 == 0) {
            assert_ok(tsdb_flush(world.h.db, NULL));
        }
    }
}

/* ---- asking ---- */

static enum tsdb_status ask(struct query_cache *cache, const char *text,
                            const struct query_params *p, struct tsdb_arena *arena,
                            struct query_result *out)
{
    const struct query_options o = {.lookback_ms = STEP_MS,
                                    .samples_max = 1000000,
                                    .default_step_ms = STEP_MS,
                                    .crew_work_min = 1,
                                    .crew = world.crew};
    struct tsdb_request request = {.clock = &tsdb_clock_real};
    struct query_expr *e = NULL;
    enum tsdb_status status = query_parse(text, strlen(text), &o, arena, &e, NULL);
    return status == TSDB_OK
               ? query_cache_eval(cache, world.h.db, &o, &request, e, p, arena, out, NULL)
               : status;
}

/* Up to a second and, ahead of it, those that are being written. */
static struct query_params last_minute(uint32_t second)
{
    return (struct query_params){.start_ms = time_of(second > 60 ? second - 60 : 1),
                                 .end_ms = time_of(second + LATE_BY + 2),
                                 .step_ms = STEP_MS};
}

/* Of sum(m0), each second up to that one has its sum: series 0 and 7. */
static bool is_whole(const struct query_result *r, const struct query_params *p, uint32_t second)
{
    int64_t next_ms = p->start_ms;
    for (uint32_t i = 0; r->series_count == 1 && i < r->series[0].point_count; i++) {
        const struct query_point *q = &r->series[0].points[i];
        double at = (double)((q->t_ms - HX_WALL_MS) / STEP_MS);
        if (q->value != 2 * at + 7 * 0.25 && q->t_ms <= time_of(second)) {
            return false;
        }
        next_ms += q->t_ms == next_ms ? STEP_MS : 0;
    }
    return next_ms > time_of(second);
}

static void *reader_main(void *arg)
{
    (void)arg;
    uint32_t second = 0;
    while (second < SECONDS) {
        second = atomic_load(&world.written);
        if (second == 0) {
            continue;
        }
        struct tsdb_arena arena;
        struct query_result r = {0};
        const struct query_params p = last_minute(second);
        tsdb_arena_init(&arena, TSDB_MEM_QUERY, 1u << 14, NULL);
        if (ask(world.cache, "sum(m0)", &p, &arena, &r) != TSDB_OK || !is_whole(&r, &p, second)) {
            atomic_fetch_add(&world.wrong, 1);
        }
        atomic_fetch_add(&world.asked, 1);
        tsdb_arena_deinit(&arena);
    }
    return NULL;
}

/* ---- the test ---- */

static void expect_same(const char *text)
{
    struct tsdb_arena arena;
    struct query_result kept = {0};
    struct query_result plain = {0};
    const struct query_params p = last_minute(SECONDS);
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 1u << 14, NULL);
    assert_ok(ask(world.cache, text, &p, &arena, &kept));
    assert_ok(ask(world.cache, text, &p, &arena, &kept));
    assert_true(kept.stats.steps_cached > 0);
    assert_ok(ask(NULL, text, &p, &arena, &plain));
    assert_int_equal(kept.series_count, plain.series_count);
    for (uint32_t i = 0; i < plain.series_count; i++) {
        assert_int_equal(kept.series[i].point_count, plain.series[i].point_count);
        for (uint32_t k = 0; k < plain.series[i].point_count; k++) {
            assert_true(kept.series[i].points[k].t_ms == plain.series[i].points[k].t_ms);
            assert_true(tsdb_double_bits(kept.series[i].points[k].value) ==
                        tsdb_double_bits(plain.series[i].points[k].value));
        }
    }
    tsdb_arena_deinit(&arena);
}

static void query_cache_eval__while_others_write__what_was_answered_shows(void **state)
{
    (void)state;
    pthread_t threads[READERS];
    struct query_cache_stats stats;
    const struct query_cache_options o = {.bytes_max = 1u << 20, .samples_min = 1};
    hx_init(&world.h, 5);
    world.h.clock.wall_ms = HX_WALL_MS + (int64_t)SECONDS * STEP_MS;
    world.h.options.block_range_ms = 60000;
    assert_ok(hx_open(&world.h, NULL));
    assert_ok(query_cache_create(&o, &world.cache, NULL));
    assert_ok(query_crew_create(2, &world.crew, NULL));
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, reader_main, NULL), 0);
    }
    write_all();
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(atomic_load(&world.asked) > 0);
    assert_int_equal(atomic_load(&world.wrong), 0);
    expect_same("sum(m0)");
    expect_same("rate(m1[10s])");
    query_cache_stats(world.cache, &stats);
    assert_true(stats.partial + stats.hits > 0);
    query_cache_destroy(world.cache);
    query_crew_destroy(world.crew);
    hx_deinit(&world.h);
}

static int quiet(void **state)
{
    (void)state;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(query_cache_eval__while_others_write__what_was_answered_shows, quiet),
};

TEST_MAIN(tests)
