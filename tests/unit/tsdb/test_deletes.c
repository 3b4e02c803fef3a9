/* Deletes, case by case; tests/model/test_deletes.c has the rest. */
#include "tests/unit/tsdb/blocks_rig.h"

#include "tests/support/tsdb/grid.h"

#define FIRST_MS (HX_WALL_MS - 2 * RANGE)

static void fill(struct grid *g, struct hx *h)
{
    struct tsdb_prng p;
    tsdb_prng_init(&p, 3);
    grid_init(g, h, FIRST_MS);
    for (int i = 0; i < 20; i++) {
        assert_ok(grid_put(g, &p, 200));
    }
    assert_true(grid_count(g) > 1000);
}

static void assert_same(struct grid *g)
{
    const char *wrong = grid_compare(g);
    if (wrong) {
        fail_msg("%s", wrong);
    }
}

static struct tsdb_deletes listed(struct hx *h, struct tsdb_arena *arena)
{
    struct tsdb_deletes d;
    tsdb_arena_init(arena, TSDB_MEM_OTHER, 0, NULL);
    assert_ok(tsdb_deletes_list(h->db, arena, &d, NULL));
    return d;
}

static void delete_series__counts__are_those_of_the_map(void **state)
{
    struct hx *h = *state;
    static struct grid g;
    struct tsdb_delete_info info;
    struct tsdb_arena arena;
    struct tsdb_work_done done;
    fill(&g, h);
    uint32_t all = grid_count(&g);
    struct grid_delete d = {.name = 3,
                            .range = {grid_time(&g, 10), grid_time(&g, GRID_TIMES - 10)}};
    assert_ok(grid_delete(&g, &d, &info, NULL));
    uint64_t gone = all - grid_count(&g);
    assert_true(gone > 50);
    assert_int_equal(info.samples, gone);
    assert_true(info.series >= 4 && info.blocks >= 2);
    assert_same(&g);
    assert_ok(grid_delete(&g, &d, &info, NULL)); /* again: nothing is left to hide */
    assert_int_equal(info.samples, 0);
    assert_int_equal(info.blocks, 0);
    d.range = TSDB_TIME_ALL; /* wider: only what is new counts */
    uint32_t before = grid_count(&g);
    assert_ok(grid_delete(&g, &d, &info, NULL));
    assert_int_equal(info.samples, before - grid_count(&g));
    struct tsdb_deletes l = listed(h, &arena);
    assert_int_equal(l.count, 3);
    assert_int_equal(l.items[0].number, 3);
    assert_string_equal(l.items[0].text, "{__name__=\"m3\"}");
    assert_int_equal(l.samples, all - grid_count(&g));
    struct tsdb_stats stats;
    tsdb_stats_read(h->db, &stats);
    assert_int_equal(stats.tombstones_samples, l.samples);
    tsdb_arena_deinit(&arena);
    assert_ok(tsdb_clean_tombstones(h->db, &done, NULL));
    assert_int_equal(done.samples, grid_count(&g)); /* every block had some of it */
    l = listed(h, &arena);
    assert_int_equal(l.blocks + l.samples + l.series + l.bytes, 0);
    tsdb_stats_read(h->db, &stats);
    assert_int_equal(stats.tombstones_samples, 0);
    tsdb_arena_deinit(&arena);
    assert_same(&g);
}

/* A querier keeps the state that it has pinned, and the memory of it goes with it. */
static void delete_series__querier_of_before__sees_what_was(void **state)
{
    struct hx *h = *state;
    static struct grid g;
    struct tsdb_querier *q = NULL;
    struct tsdb_series_set set;
    struct tsdb_columns columns;
    struct tsdb_arena arena;
    const struct tsdb_matcher m1 = {TSDB_MATCH_EQ, "__name__", "m1", 8, 2};
    uint32_t counts[3] = {0};
    fill(&g, h);
    flush(h);
    assert_ok(tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &q, NULL));
    assert_ok(tsdb_select(q, &m1, 1, &set, NULL));
    for (int turn = 0; turn < 3; turn++) {
        struct grid_delete d = {.name = 1,
                                .range = {grid_time(&g, 0), grid_time(&g, (uint32_t)turn * 40)}};
        for (uint32_t i = 0; i < set.count; i++) {
            tsdb_arena_init(&arena, TSDB_MEM_QUERY, 0, NULL);
            assert_ok(tsdb_series_read(q, set.refs[i], TSDB_TIME_ALL, &arena, &columns, NULL));
            counts[turn] += columns.count;
            tsdb_arena_deinit(&arena);
        }
        assert_ok(grid_delete(&g, &d, NULL, NULL));
        (void)blocks_collect(&h->db->blocks);
    }
    assert_true(counts[0] > 100);
    assert_int_equal(counts[1], counts[0]);
    assert_int_equal(counts[2], counts[0]);
    assert_same(&g); /* others see none of it */
    tsdb_querier_close(q);
    (void)blocks_collect(&h->db->blocks);
    struct view *v = view_acquire(&h->db->blocks.views);
    for (uint32_t i = 0; i < v->block_count; i++) {
        const struct tombstones *t = live_block_tombstones(v->blocks[i], UINT64_MAX);
        assert_true(!t || !t->older);
    }
    view_release(&h->db->blocks.views, v);
}

static void delete_series__everything__blocks_go_and_all_comes_again(void **state)
{
    struct hx *h = *state;
    static struct grid g;
    struct tsdb_prng p;
    struct grid_delete d = {.name = GRID_ANY, .range = TSDB_TIME_ALL};
    tsdb_prng_init(&p, 9);
    fill(&g, h);
    assert_ok(grid_delete(&g, &d, NULL, NULL));
    assert_int_equal(grid_count(&g), 0);
    assert_same(&g);
    assert_int_equal(blocks(h), 0);
    hx_die(h, true);
    rig_open(h);
    assert_same(&g);
    while (tsdb_compact_step(h->db, h->clock.mono_ns) > 0) {
    }
    assert_int_equal(blocks(h), 0); /* those that the death has kept are hidden, and go now */
    for (int i = 0; i < 10; i++) {
        assert_ok(grid_put(&g, &p, 200)); /* the same times */
    }
    assert_same(&g);
    hx_die(h, false);
    rig_open(h);
    assert_same(&g);
}

/* What is in memory only when it is deleted, and comes again with the same value. */
static void delete_series__same_sample_written_again__shows(void **state)
{
    struct hx *h = *state;
    static struct grid g;
    struct tsdb_delete_info info;
    const struct hx_sample s[] = {hx_float(1, HX_WALL_MS - 3000, 5), hx_float(1, HX_WALL_MS, 6),
                                  hx_float(1, HX_WALL_MS - 1000, 7)};
    const struct grid_delete d = {.name = 1, .range = TSDB_TIME_ALL};
    grid_init(&g, h, FIRST_MS);
    for (int turn = 0; turn < 3; turn++) {
        assert_ok(hx_put(h, s, 3, TSDB_DURABILITY_STRICT, NULL));
        assert_int_equal(hx_count(h), 3);
        assert_ok(grid_delete(&g, &d, &info, NULL));
        assert_int_equal(info.samples, 3);
        assert_int_equal(hx_count(h), 0);
    }
    assert_ok(hx_put(h, s, 3, TSDB_DURABILITY_STRICT, NULL));
    hx_die(h, true);
    rig_open(h);
    assert_int_equal(hx_count(h), 3);
}

/* A merge has replaced blocks that a reader holds; their files are there when the process dies. */
static void delete_series__blocks_that_a_reader_holds__hidden_too(void **state)
{
    struct hx *h = *state;
    static struct grid g;
    struct tsdb_prng p;
    struct tsdb_querier *q = NULL;
    struct tsdb_work_done done;
    struct grid_delete d = {.name = 4, .range = TSDB_TIME_ALL};
    tsdb_prng_init(&p, 31);
    fill(&g, h);
    flush(h);
    struct grid_delete some = {.name = 5, .list = {5, 12}, .list_count = 2, .range = TSDB_TIME_ALL};
    assert_ok(grid_delete(&g, &some, NULL, NULL));
    assert_ok(grid_put(&g, &p, 200));
    flush(h);
    uint64_t before = blocks(h);
    assert_ok(tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &q, NULL));
    assert_ok(tsdb_compact(h->db, &done, NULL));
    assert_true(blocks(h) < before);
    assert_ok(grid_delete(&g, &d, NULL, NULL));
    tsdb_querier_close(q);
    assert_same(&g);
    hx_die(h, false);
    rig_open(h);
    assert_same(&g);
}

/* ---- files ---- */

static void path_of_first(struct hx *h, char out[128])
{
    struct view *v = view_acquire(&h->db->blocks.views);
    assert_true(v->block_count > 0);
    (void)snprintf(out, 128, "blocks/%s/tombstones", block_meta(v->blocks[0]->block)->ulid);
    view_release(&h->db->blocks.views, v);
}

static void tombstones__damaged__to_quarantine_and_the_block_serves(void **state)
{
    struct hx *h = *state;
    static struct grid g;
    char path[128];
    struct tsdb_file_info info;
    struct grid_delete d = {.name = 2, .range = TSDB_TIME_ALL};
    fill(&g, h);
    uint32_t all = grid_count(&g);
    assert_ok(grid_delete(&g, &d, NULL, NULL));
    path_of_first(h, path);
    hx_die(h, false);
    tsdb_fs_sim_flip(h->sim, path, 30, 60, 3);
    rig_open(h);
    assert_int_equal(atomic_load(&h->db->blocks.tombstones_damaged), 1);
    assert_int_equal(h->options.fs.ops->stat(h->options.fs.ctx, path, &info, NULL), TSDB_NOT_FOUND);
    uint32_t shown = hx_count(h);
    assert_true(shown > grid_count(&g) && shown < all); /* one of two blocks or more */
    hx_die(h, false);
    rig_open(h);
    assert_int_equal(atomic_load(&h->db->blocks.tombstones_damaged), 0);
}

/* Another version under a good CRC is refused (test_versions.c); under a bad one it is a flipped bit. */
static void tombstones__other_version_and_bad_crc__damage_of_one_file(void **state)
{
    struct hx *h = *state;
    static struct grid g;
    char path[128];
    struct tsdb_error err = {0};
    struct tsdb_file *f = NULL;
    const struct tsdb_fs_ops *ops = h->options.fs.ops;
    const uint8_t newer = 9;
    struct grid_delete d = {.name = 2, .range = TSDB_TIME_ALL};
    fill(&g, h);
    assert_ok(grid_delete(&g, &d, NULL, NULL));
    path_of_first(h, path);
    hx_die(h, false);
    assert_ok(ops->open(h->options.fs.ctx, path, TSDB_OPEN_WRITE, &f, NULL));
    assert_ok(ops->pwrite(h->options.fs.ctx, f, &newer, 1, 4, NULL));
    ops->close(h->options.fs.ctx, f);
    assert_ok_err(hx_open(h, &err), &err);
    assert_int_equal(atomic_load(&h->db->blocks.tombstones_damaged), 1);
    assert_int_equal(atomic_load(&h->db->blocks.quarantined), 0);
}

static void delete_series__no_selector_or_matcher__invalid(void **state)
{
    struct hx *h = *state;
    struct tsdb_delete_info info;
    struct tsdb_error err = {0};
    const struct tsdb_matcher bad = {TSDB_MATCH_RE, "a", "(", 1, 1};
    const struct tsdb_selector selectors[] = {{NULL, 0}, {&bad, 1}};
    assert_int_equal(tsdb_delete_series(h->db, NULL, 0, TSDB_TIME_ALL, &info, &err), TSDB_INVALID);
    assert_int_equal(tsdb_delete_series(h->db, &selectors[0], 1, TSDB_TIME_ALL, &info, &err),
                     TSDB_INVALID);
    assert_int_equal(tsdb_delete_series(h->db, &selectors[1], 1, TSDB_TIME_ALL, &info, &err),
                     TSDB_INVALID);
}

/* Compaction by itself: what is much is rewritten when nothing else is to do, little waits. */
static void tsdb_compact_step__much_deleted__block_written_anew(void **state)
{
    struct hx *h = *state;
    static struct grid g;
    struct tsdb_arena arena;
    struct grid_delete little = {.name = 1, .list = {1}, .list_count = 1, .range = TSDB_TIME_ALL};
    struct grid_delete much = {.name = 2, .range = TSDB_TIME_ALL};
    fill(&g, h);
    flush(h);
    while (tsdb_compact_step(h->db, h->clock.mono_ns) > 0) {
    }
    little.range.max_ms = grid_time(&g, 20);
    assert_ok(grid_delete(&g, &little, NULL, NULL));
    assert_int_equal(tsdb_compact_step(h->db, h->clock.mono_ns), 0);
    struct tsdb_deletes l = listed(h, &arena);
    assert_true(l.samples > 0);
    tsdb_arena_deinit(&arena);
    assert_ok(grid_delete(&g, &much, NULL, NULL));
    while (tsdb_compact_step(h->db, h->clock.mono_ns) > 0) {
    }
    l = listed(h, &arena);
    assert_int_equal(l.samples, 0);
    tsdb_arena_deinit(&arena);
    assert_same(&g);
}

/* ---- retention by size ---- */

static uint64_t stored(struct hx *h)
{
    struct tsdb_stats s;
    tsdb_stats_read(h->db, &s);
    return s.block_bytes + s.head_file_bytes + s.wal_disk_bytes + s.checkpoint_last_bytes;
}

static int64_t oldest_ms(struct hx *h)
{
    struct view *v = view_acquire(&h->db->blocks.views);
    int64_t min_ms = INT64_MAX;
    for (uint32_t i = 0; i < v->block_count; i++) {
        min_ms = TSDB_MIN(min_ms, block_meta(v->blocks[i]->block)->min_ms);
    }
    view_release(&h->db->blocks.views, v);
    return min_ms;
}

static void tsdb_compact_step__too_many_bytes__oldest_blocks_go_a_share_a_round(void **state)
{
    struct hx *h = *state;
    const int64_t first_ms = HX_WALL_MS / RANGE * RANGE - 40 * RANGE;
    h->options.wal_segment_bytes = 1u << 14;
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    for (uint32_t w = 0; w < 24; w++) {
        put_many(h, 1 + w % 3, first_ms + w * RANGE, 250, 240);
    }
    flush(h);
    assert_ok(tsdb_checkpoint(h->db, NULL));
    while (tsdb_compact_step(h->db, h->clock.mono_ns) > 0) {
    }
    uint64_t all = blocks(h);
    uint64_t bytes = stored(h);
    int64_t before_ms = oldest_ms(h);
    assert_true(all > 3);
    h->db->options.retention_bytes = bytes; /* as much as there is: nothing goes */
    assert_int_equal(tsdb_compact_step(h->db, h->clock.mono_ns), 0);
    h->db->options.retention_bytes = 1; /* more than all blocks is too much */
    assert_true(tsdb_compact_step(h->db, h->clock.mono_ns) > 0);
    assert_int_equal(blocks(h), all - 1); /* an eighth, and one at least */
    assert_true(oldest_ms(h) > before_ms);
    (void)tsdb_compact_step(h->db, h->clock.mono_ns);
    assert_int_equal(blocks(h), all - 1); /* not before the next round */
    tsdb_clock_sim_advance(&h->clock, 61000);
    h->db->options.retention_bytes = stored(h) - 1;
    (void)tsdb_compact_step(h->db, h->clock.mono_ns);
    assert_int_equal(blocks(h), all - 2);
    tsdb_clock_sim_advance(&h->clock, 61000);
    (void)tsdb_compact_step(h->db, h->clock.mono_ns);
    assert_int_equal(blocks(h), all - 2); /* it fits by now */
    assert_true(stored(h) <= h->db->options.retention_bytes);
}

/* ---- retention by matcher ---- */

static void rules_set(struct hx *h, const char *name, int64_t keep_ms)
{
    struct tsdb_error err = {0};
    char text[16];
    (void)snprintf(text, sizeof text, "%s", name); /* the engine keeps a copy */
    const struct tsdb_matcher m = {TSDB_MATCH_EQ, "__name__", text, 8, (uint32_t)strlen(text)};
    const struct tsdb_retention_rule rule = {{&m, 1}, keep_ms};
    assert_ok_err(tsdb_retention_rules_set(h->db, &rule, 1, &err), &err);
    memset(text, 'x', sizeof text);
}

static void rounds(struct hx *h, int n)
{
    for (int i = 0; i < n; i++) {
        tsdb_clock_sim_advance(&h->clock, 601000);
        while (tsdb_compact_step(h->db, h->clock.mono_ns) > 0) {
        }
    }
}

/* Series 1 is m1, series 2 is m2; a block a range, 40 of them. */
static void tsdb_retention_rules__old_blocks__lose_what_matches_a_share_a_round(void **state)
{
    struct hx *h = *state;
    const int64_t first_ms = HX_WALL_MS / RANGE * RANGE - 40 * RANGE;
    h->options.retention_ms = 60 * RANGE; /* so that blocks become no longer than three ranges */
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    for (uint32_t w = 0; w < 40; w++) {
        put_many(h, 1, first_ms + w * RANGE, 6000, 10);
        put_many(h, 2, first_ms + w * RANGE, 6000, 10);
    }
    flush(h);
    assert_int_equal(hx_count(h), 800);
    while (tsdb_compact_step(h->db, h->clock.mono_ns) > 0) {
    }
    rules_set(h, "m1", 20 * RANGE);
    uint64_t n = blocks(h);
    assert_true(n >= 12);
    (void)tsdb_compact_step(h->db, h->clock.mono_ns);
    uint32_t once = hx_count(h);
    assert_true(once < 800 && once > 700); /* an eighth of the blocks */
    rounds(h, 20);
    uint32_t left = hx_count(h);
    assert_in_range(left, 580, 660); /* half of one series, give or take a block */
    rounds(h, 3);
    assert_int_equal(hx_count(h), left);
    rules_set(h, "m2", 20 * RANGE); /* other rules: what is gone stays gone */
    rounds(h, 20);
    assert_in_range(hx_count(h), left - 220, left - 140);
    assert_ok(tsdb_retention_rules_set(h->db, NULL, 0, NULL));
    rounds(h, 2);
    hx_die(h, true);
    rig_open(h);
    assert_in_range(hx_count(h), left - 220, left - 140);
}

static void tsdb_retention_rules_set__nonsense__refused(void **state)
{
    struct hx *h = *state;
    static struct tsdb_retention_rule many[TSDB_RETENTION_RULES_MAX + 1];
    const struct tsdb_matcher good = {TSDB_MATCH_EQ, "a", "b", 1, 1};
    const struct tsdb_matcher bad = {TSDB_MATCH_RE, "a", "(", 1, 1};
    const struct tsdb_retention_rule no_time = {{&good, 1}, 0};
    const struct tsdb_retention_rule no_matcher = {{&good, 0}, 1};
    const struct tsdb_retention_rule no_regex = {{&bad, 1}, 1};
    struct tsdb_error err = {0};
    assert_int_equal(tsdb_retention_rules_set(h->db, &no_time, 1, &err), TSDB_INVALID);
    assert_int_equal(tsdb_retention_rules_set(h->db, &no_matcher, 1, &err), TSDB_INVALID);
    assert_int_equal(tsdb_retention_rules_set(h->db, &no_regex, 1, &err), TSDB_INVALID);
    assert_int_equal(tsdb_retention_rules_set(h->db, many, TSDB_RETENTION_RULES_MAX + 1, &err),
                     TSDB_LIMIT);
}

static const struct CMUnitTest tests[] = {
    RIG_CASE(delete_series__counts__are_those_of_the_map),
    RIG_CASE(delete_series__querier_of_before__sees_what_was),
    RIG_CASE(delete_series__everything__blocks_go_and_all_comes_again),
    RIG_CASE(delete_series__same_sample_written_again__shows),
    RIG_CASE(delete_series__blocks_that_a_reader_holds__hidden_too),
    RIG_CASE(tombstones__damaged__to_quarantine_and_the_block_serves),
    RIG_CASE(tombstones__other_version_and_bad_crc__damage_of_one_file),
    RIG_CASE(delete_series__no_selector_or_matcher__invalid),
    RIG_CASE(tsdb_compact_step__much_deleted__block_written_anew),
    RIG_CASE(tsdb_retention_rules__old_blocks__lose_what_matches_a_share_a_round),
    RIG_CASE(tsdb_retention_rules_set__nonsense__refused),
    RIG_CASE(tsdb_compact_step__too_many_bytes__oldest_blocks_go_a_share_a_round),
};

TEST_MAIN(tests)
