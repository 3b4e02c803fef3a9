/* Recovery through tsdb_open, on directories that were damaged or interrupted in chosen ways. The
 * random schedules are in tests/fault/. */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb/harness.h"
#include "tsdb/engine/tsdb_private.h"
#include "tsdb/recovery/datadir.h"

static int setup(void **state)
{
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    struct hx *h = test_malloc(sizeof *h);
    hx_init(h, 11);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    hx_deinit(*state);
    test_free(*state);
    return 0;
}

static void open_ok(struct hx *h)
{
    struct tsdb_error err;
    assert_ok_err(hx_open(h, &err), &err);
}

static void close_ok(struct hx *h)
{
    struct tsdb_error err;
    assert_ok_err(hx_close(h, &err), &err);
}

static void put_float(struct hx *h, uint32_t series, int64_t t_ms, double v)
{
    struct hx_sample s = hx_float(series, t_ms, v);
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_STRICT, NULL));
}

static struct tsdb_stats stats(struct hx *h)
{
    struct tsdb_stats s;
    tsdb_stats_read(h->db, &s);
    return s;
}

static uint64_t file_bytes(struct hx *h, const char *path)
{
    struct tsdb_file_info info;
    return h->options.fs.ops->stat(h->options.fs.ctx, path, &info, NULL) == TSDB_OK
               ? info.size_bytes
               : 0;
}

/* ---- what the log and the checkpoint bring back ---- */
static void tsdb_open__after_kill_checkpoint_and_log__same_samples_and_figures(void **state)
{
    struct hx *h = *state;
    open_ok(h);
    assert_int_equal(tsdb_state(h->db, NULL), TSDB_STATE_READY);
    for (uint32_t i = 0; i < 40; i++) {
        put_float(h, i % 10, HX_WALL_MS + i, i);
        if (i == 19) {
            assert_ok(tsdb_checkpoint(h->db, NULL));
        }
    }
    hx_die(h, false);
    open_ok(h);
    assert_int_equal(hx_count(h), 40);
    struct tsdb_stats s = stats(h);
    assert_int_equal(s.series, 10);
    assert_int_equal(s.replay_samples, 20);
    assert_int_equal(s.replay_damage, 0);
    assert_int_equal(s.replay_lost_frames, 0);
    assert_int_equal(s.min_time_ms, HX_WALL_MS);
    assert_int_equal(s.max_time_ms, HX_WALL_MS + 39);
    uint64_t min, max, current;
    tsdb_replay_progress(h->db, &min, &max, &current);
    assert_true(min <= current && current == max);
    uint32_t percent = 0;
    assert_string_equal(tsdb_recovery_step(h->db, &percent), "log");
    assert_int_equal(percent, 100);
    close_ok(h);
    /* After a clean close the log has nothing to say. */
    open_ok(h);
    assert_int_equal(hx_count(h), 40);
    assert_int_equal(stats(h).replay_frames, 0);
    close_ok(h);
}

static void tsdb_close__nothing_new__no_second_checkpoint(void **state)
{
    struct hx *h = *state;
    open_ok(h);
    put_float(h, 1, HX_WALL_MS, 1);
    close_ok(h);
    assert_true(file_bytes(h, "checkpoint/00000001") > 0);
    open_ok(h);
    close_ok(h);
    assert_int_equal(file_bytes(h, "checkpoint/00000002"), 0);
    open_ok(h);
    put_float(h, 1, HX_WALL_MS + 1, 1);
    close_ok(h);
    assert_true(file_bytes(h, "checkpoint/00000002") > 0);
    assert_true(file_bytes(h, "checkpoint/00000001") > 0); /* two are kept */
    open_ok(h);
    put_float(h, 1, HX_WALL_MS + 2, 1);
    close_ok(h);
    assert_true(file_bytes(h, "checkpoint/00000003") > 0);
    assert_int_equal(file_bytes(h, "checkpoint/00000001"), 0);
}

static bool no_exemplar_twice(void *arg, uint32_t local, const struct tsdb_exemplar *x)
{
    (void)local, (void)x;
    ++*(uint32_t *)arg;
    return true;
}

static uint32_t count_exemplars(struct hx *h)
{
    uint32_t n = 0;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        head_exemplars(h->db->heads[p], no_exemplar_twice, &n);
    }
    return n;
}

/* Exemplars come back from log and from checkpoint, and those that are in both come back once. */
static void tsdb_open__exemplars_in_log_and_checkpoint__each_once(void **state)
{
    struct hx *h = *state;
    h->options.exemplars_max = 1000;
    open_ok(h);
    put_float(h, 1, HX_WALL_MS, 1);
    for (int round = 0; round < 2; round++) {
        struct hx_sample s = hx_float(1, HX_WALL_MS + 1 + round, 1);
        struct hx_write *x = hx_write_begin(h, &s, 1);
        struct tsdb_label l = tsdb_label_make("trace_id", "t");
        struct tsdb_exemplar e = {.labels = {&l, 1}, .bits = 7, .t_ms = HX_WALL_MS + round};
        struct tsdb_build_target target = hx_target(h, x, 0);
        assert_ok(tsdb_build_exemplar(&x->build, &target, &e));
        hx_write_finish(h, x, TSDB_DURABILITY_STRICT);
        assert_ok(tsdb_write_submit(h->db, &x->w, NULL));
        hx_settle(h);
        assert_int_equal(x->w.batches[0].result.exemplars_written, 1);
        hx_write_destroy(x);
        if (round == 0) {
            assert_ok(tsdb_checkpoint(h->db, NULL));
        }
    }
    hx_die(h, true);
    open_ok(h);
    assert_int_equal(count_exemplars(h), 2);
    close_ok(h);
    open_ok(h);
    assert_int_equal(count_exemplars(h), 2);
}

/* ---- memory mode ---- */
static void tsdb_open__memory_mode__close_keeps_all_kill_keeps_what_was_upgraded(void **state)
{
    struct hx *h = *state;
    h->options.durability = TSDB_DURABILITY_MEMORY;
    open_ok(h);
    struct hx_sample s[3] = {hx_float(1, HX_WALL_MS, 1), hx_float(2, HX_WALL_MS, 2),
                             hx_float(3, HX_WALL_MS, 3)};
    assert_ok(hx_put(h, s, 3, TSDB_DURABILITY_MEMORY, NULL));
    close_ok(h);
    open_ok(h);
    assert_int_equal(hx_count(h), 3);
    /* Series 40 .. 59 are created unlogged; a strict sample of every third follows, in falling
     * order. */
    for (uint32_t i = 40; i < 60; i++) {
        s[0] = hx_float(i, HX_WALL_MS, i);
        assert_ok(hx_put(h, s, 1, TSDB_DURABILITY_MEMORY, NULL));
    }
    for (uint32_t i = 58; i >= 40; i -= 3) {
        put_float(h, i, HX_WALL_MS + 5, i);
    }
    hx_die(h, true);
    open_ok(h);
    assert_int_equal(hx_count(h), 3 + 7);
    /* Ids have moved; what is written from now on must be found under the new ones. */
    for (uint32_t i = 40; i < 60; i++) {
        put_float(h, i, HX_WALL_MS + 9, i);
    }
    hx_die(h, true);
    open_ok(h);
    assert_int_equal(hx_count(h), 3 + 7 + 20);
    struct tsdb_stats st = stats(h);
    assert_int_equal(st.replay_lost_frames, 0);
}

/* Ids have moved and the disk has no room for the checkpoint that must come first: reads and retention
 * go on, writes wait, and nobody restarts anything. */
static void tsdb_open__ids_moved_and_disk_full__serves_and_heals(void **state)
{
    struct hx *h = *state;
    struct tsdb_error err;
    h->options.durability = TSDB_DURABILITY_MEMORY;
    open_ok(h);
    struct hx_sample s;
    for (uint32_t i = 40; i < 200; i++) {
        s = hx_float(i, HX_WALL_MS, i);
        assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_MEMORY, NULL));
    }
    for (uint32_t i = 199; i >= 40; i -= 3) {
        put_float(h, i, HX_WALL_MS + 5, i);
    }
    hx_die(h, true);
    tsdb_fs_sim_fault(h->sim, TSDB_FAULT_ENOSPC, 1, UINT64_MAX / 2);
    open_ok(h);
    assert_int_equal(tsdb_state(h->db, &err), TSDB_STATE_OUT_OF_SPACE);
    assert_non_null(strstr(err.msg, "No space left"));
    assert_true(hx_count(h) > 50);
    s = hx_float(1, HX_WALL_MS, 1);
    assert_int_equal(hx_put(h, &s, 1, TSDB_DURABILITY_STRICT, NULL), TSDB_BUSY);
    assert_int_equal(tsdb_checkpoint_step(h->db, h->clock.mono_ns), 0); /* not so soon */
    tsdb_fs_sim_fault(h->sim, TSDB_FAULT_NONE, 1, 0);
    tsdb_clock_sim_advance(&h->clock, 31000);
    tsdb_wal_write_step(h->db, h->clock.mono_ns);
    assert_int_equal(tsdb_checkpoint_step(h->db, h->clock.mono_ns), 1);
    assert_int_equal(tsdb_state(h->db, &err), TSDB_STATE_READY);
    uint32_t before = hx_count(h);
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_STRICT, NULL));
    hx_die(h, true);
    open_ok(h);
    assert_int_equal(hx_count(h), before + 1);
}

/* ---- damage ---- */
/* Samples of the series that a visit finds must be value == t - HX_WALL_MS. */
struct seen {
    uint32_t count, wrong;
};
static void see(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                enum tsdb_sample_kind kind, uint64_t bits, const struct tsdb_histogram *histogram)
{
    (void)series, (void)start_ms, (void)kind, (void)histogram;
    struct seen *s = arg;
    s->count++;
    s->wrong += bits != tsdb_double_bits((double)(t_ms - HX_WALL_MS));
}

#define WIDE_SERIES 40u
#define WIDE_ROUNDS 300u

struct wide {
    bool there[WIDE_SERIES][WIDE_ROUNDS];
    uint32_t wrong;
};
static void wide_see(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                     enum tsdb_sample_kind kind, uint64_t bits,
                     const struct tsdb_histogram *histogram)
{
    (void)start_ms, (void)kind, (void)histogram;
    struct wide *w = arg;
    uint64_t round = (uint64_t)(t_ms - HX_WALL_MS);
    assert_true(series < WIDE_SERIES && round < WIDE_ROUNDS);
    w->there[series][round] = true;
    w->wrong += bits != tsdb_double_bits((double)round);
}

/* One frame has all that an owner got of a request. Without it, that owner's partitions lose what
 * follows up to the next epoch, the other owner's nothing. */
static void tsdb_open__frame_of_many_partitions_lost__costs_them_one_epoch(void **state)
{
    static struct wide wide;
    struct hx *h = *state;
    uint32_t hurt = 0, longest = 0;
    h->options.owner_count = 2;
    h->options.wal_segment_bytes = 1u << 20;
    h->options.wal_epoch_bytes = 1u << 13; /* some 16 rounds */
    open_ok(h);
    for (uint32_t k = 0; k < WIDE_ROUNDS; k++) {
        struct hx_sample samples[WIDE_SERIES];
        for (uint32_t i = 0; i < WIDE_SERIES; i++) {
            samples[i] = hx_float(i, HX_WALL_MS + k, k);
        }
        assert_ok(hx_put(h, samples, WIDE_SERIES, TSDB_DURABILITY_STRICT, NULL));
    }
    hx_die(h, true);
    tsdb_fs_sim_flip(h->sim, "wal/00000001", 40000, 40001, 1);
    open_ok(h);
    memset(&wide, 0, sizeof wide);
    assert_ok(hx_visit(h, wide_see, &wide, NULL));
    struct tsdb_stats s = stats(h);
    assert_int_equal(s.replay_damage, 1);
    assert_true(s.replay_lost_frames > 1); /* groups of several partitions */
    assert_int_equal(wide.wrong, 0);
    for (uint32_t i = 0; i < WIDE_SERIES; i++) {
        uint32_t lost = 0;
        for (uint32_t k = 0; k < WIDE_ROUNDS; k++) {
            lost += !wide.there[i][k];
        }
        hurt += lost > 0;
        longest = TSDB_MAX(longest, lost);
    }
    assert_in_range(hurt, 10, 30); /* one of the two owners' */
    assert_in_range(longest, 1, 25);
}

/* A flipped stretch of log costs samples, and never makes wrong ones. */
static void tsdb_open__log_damaged_anywhere__reported_and_nothing_decoded_wrongly(void **state)
{
    (void)state;
    uint32_t lost_some = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct hx h;
        hx_init(&h, seed);
        h.options.wal_segment_bytes = 1u << 13;
        h.options.wal_epoch_bytes = 1u << 11;
        open_ok(&h);
        for (uint32_t i = 0; i < 400; i++) {
            put_float(&h, i % 7, HX_WALL_MS + i, i);
        }
        hx_die(&h, true);
        char path[32];
        snprintf(path, sizeof path, "wal/%08u", (unsigned)(1 + seed % 2));
        uint64_t at = 48 + seed * 97 % 3000; /* the last frames would be a torn tail */
        tsdb_fs_sim_flip(h.sim, path, at, at + 40, 5);
        open_ok(&h);
        struct seen seen = {0, 0};
        assert_ok(hx_visit(&h, see, &seen, NULL));
        assert_int_equal(seen.wrong, 0);
        struct tsdb_stats s = stats(&h);
        if (seen.count < 400) {
            lost_some++;
            assert_true(s.replay_damage > 0 || s.replay_lost_frames > 0);
        }
        assert_true(seen.count >
                    200); /* at most one partition's samples up to its next epoch, or a few */
        /* The log goes on behind the damage, and the second replay sees the same. */
        put_float(&h, 3, HX_WALL_MS + 1000, 1000);
        hx_die(&h, true);
        open_ok(&h);
        struct seen again = {0, 0};
        assert_ok(hx_visit(&h, see, &again, NULL));
        assert_int_equal(again.count, seen.count + 1);
        assert_int_equal(again.wrong, 0);
        close_ok(&h);
        open_ok(&h);
        assert_int_equal(hx_count(&h), again.count);
        hx_deinit(&h);
    }
    assert_true(lost_some > 30);
}

static void flip_file(struct hx *h, const char *path, uint64_t from, uint64_t to)
{
    tsdb_fs_sim_flip(h->sim, path, from, to, 1);
}

#define DAMAGE_SERIES 40u
/* Two checkpoints, with log behind each of them. */
static void put_two_checkpoints(struct hx *h)
{
    open_ok(h);
    for (uint32_t i = 0; i < DAMAGE_SERIES; i++) {
        put_float(h, i / 2, HX_WALL_MS + i, i);
        if (i == DAMAGE_SERIES / 4 || i == DAMAGE_SERIES / 2) {
            assert_ok(tsdb_checkpoint(h->db, NULL));
        }
    }
    hx_die(h, true);
}

/* Wherever the newest is damaged, and if it is missing, cut or empty: the older one, the log from there, and
 * nothing is lost; that is said, the damaged one is kept, and there are two again. */
static void tsdb_open__newest_checkpoint_damaged_anywhere__nothing_lost(void **state)
{
    (void)state;
    uint64_t bytes = 1;
    for (uint64_t at = 0; at < bytes + 3; at += 61) {
        struct hx h;
        struct tsdb_error err;
        hx_init(&h, 11);
        put_two_checkpoints(&h);
        const struct tsdb_fs *fs = &h.options.fs;
        bytes = file_bytes(&h, "checkpoint/00000002");
        bool gone = at >= bytes;
        if (at + 61 >= bytes + 3) {
            assert_ok(tsdb_file_replace(fs, "checkpoint/00000002", "", 0, NULL));
            gone = false;
        } else if (gone) {
            assert_ok(fs->ops->unlink(fs->ctx, "checkpoint/00000002", NULL));
        } else {
            flip_file(&h, "checkpoint/00000002", at, at + 1);
        }
        for (int again = 0; again < 2; again++) {
            assert_ok_err(hx_open(&h, &err), &err);
            struct seen seen = {0, 0};
            assert_ok(hx_visit(&h, see, &seen, NULL));
            assert_int_equal(seen.count, DAMAGE_SERIES);
            assert_int_equal(seen.wrong, 0);
            struct tsdb_stats st = stats(&h);
            assert_true(st.replay_damage > 0 || again == 1 || gone);
            assert_int_equal(st.replay_lost_frames + st.replay_dropped_samples, 0);
            assert_int_equal(st.replay_lost_series + st.replay_lost_ranges, 0);
            hx_die(&h, again == 0);
        }
        open_ok(&h);
        assert_ok(tsdb_checkpoint(h.db, NULL));
        assert_int_equal(hx_count(&h), DAMAGE_SERIES);
        if (!gone) {
            struct tsdb_file_info info;
            assert_ok(fs->ops->stat(fs->ctx, "quarantine/checkpoint-1700000000000-00000002", &info,
                                    NULL));
        }
        close_ok(&h);
        open_ok(&h);
        assert_int_equal(hx_count(&h), DAMAGE_SERIES);
        hx_deinit(&h);
    }
}

/* There is but one: the log still has all. */
static void tsdb_open__only_checkpoint_damaged_or_gone__log_has_all(void **state)
{
    (void)state;
    for (int gone = 0; gone < 2; gone++) {
        struct hx h;
        hx_init(&h, 12);
        open_ok(&h);
        for (uint32_t i = 0; i < 20; i++) {
            put_float(&h, i, HX_WALL_MS + i, i);
        }
        close_ok(&h);
        if (gone) {
            assert_ok(h.options.fs.ops->unlink(h.options.fs.ctx, "checkpoint/00000001", NULL));
        } else {
            flip_file(&h, "checkpoint/00000001", 64, 128);
        }
        open_ok(&h);
        assert_int_equal(hx_count(&h), 20);
        assert_true(gone || stats(&h).replay_damage > 0);
        put_float(&h, 50, HX_WALL_MS, 1);
        close_ok(&h);
        open_ok(&h);
        assert_int_equal(hx_count(&h), 21);
        hx_deinit(&h);
    }
}

/* A page of both: what is whole of either, and what is missing is said; never a wrong sample. A stop before the
 * new checkpoint is there costs nothing more. */
static void tsdb_open__both_checkpoints_damaged__costs_the_page_and_is_said(void **state)
{
    (void)state;
    uint32_t most = 0, lost = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct hx h;
        hx_init(&h, seed);
        put_two_checkpoints(&h);
        for (uint32_t n = 1; n <= 2; n++) {
            char path[64];
            snprintf(path, sizeof path, "checkpoint/%08u", (unsigned)n);
            uint64_t pages = file_bytes(&h, path) - 128 - 4096 - 32;
            uint64_t at = 128 + seed * 131 % pages;
            flip_file(&h, path, at, at + 1);
        }
        uint32_t found[3];
        for (uint32_t again = 0; again < 3; again++) {
            open_ok(&h);
            struct seen seen = {0, 0};
            assert_ok(hx_visit(&h, see, &seen, NULL));
            assert_int_equal(seen.wrong, 0);
            found[again] = seen.count;
            struct tsdb_stats st = stats(&h);
            assert_true(st.replay_damage > 0 || again > 0);
            assert_true(again > 0 || seen.count == DAMAGE_SERIES ||
                        st.replay_lost_ranges + st.replay_lost_series > 0);
            hx_die(&h, true);
        }
        assert_true(found[1] == found[0] && found[2] == found[0]);
        most = TSDB_MAX(most, DAMAGE_SERIES - found[0]);
        lost += found[0] < DAMAGE_SERIES;
        hx_deinit(&h);
    }
    assert_in_range(lost, 0, 29);
    assert_in_range(most, 0, 6); /* what one partition has */
}

/* One bit of series.log costs its series what it has in memory; a file that is gone all of them, but for what the
 * log tells again. Nothing refuses to start, and nothing comes under other labels. */
static void tsdb_open__series_log_damaged_anywhere__costs_its_series(void **state)
{
    (void)state;
    uint64_t bytes = 1;
    uint32_t lost = 0;
    for (uint64_t at = 0; at < bytes; at += 7) {
        struct hx h;
        hx_init(&h, 13);
        put_two_checkpoints(&h);
        bytes = file_bytes(&h, "series.log");
        flip_file(&h, "series.log", at, at + 1);
        uint32_t found = 0;
        for (uint32_t again = 0; again < 3; again++) {
            open_ok(&h);
            struct seen seen = {0, 0};
            assert_ok(hx_visit(&h, see, &seen, NULL));
            assert_int_equal(seen.wrong, 0);
            struct tsdb_stats st = stats(&h);
            if (again == 0) {
                found = seen.count;
                assert_true(st.replay_damage > 0);
                assert_in_range(found, DAMAGE_SERIES - 8, DAMAGE_SERIES);
                assert_true(found == DAMAGE_SERIES || st.replay_lost_series > 0);
                lost += found < DAMAGE_SERIES;
                assert_true(file_bytes(&h, "quarantine/series.log-1700000000000-damaged") > 0);
            }
            assert_int_equal(seen.count, found + again);
            assert_true(again == 0 || st.replay_damage == 0);
            put_float(&h, again, HX_WALL_MS + 1000 + again, 1000 + again);
            hx_die(&h, true);
        }
        hx_deinit(&h);
    }
    assert_true(lost > 5);
}

static void tsdb_open__series_log_gone__starts_and_says_what_is_lost(void **state)
{
    struct hx *h = *state;
    put_two_checkpoints(h);
    assert_ok(h->options.fs.ops->unlink(h->options.fs.ctx, "series.log", NULL));
    open_ok(h);
    struct tsdb_stats st = stats(h);
    struct seen seen = {0, 0};
    assert_ok(hx_visit(h, see, &seen, NULL));
    assert_int_equal(seen.wrong, 0);
    assert_true(st.replay_damage > 0);
    assert_true(st.replay_lost_series > 0);
    assert_true(seen.count >= DAMAGE_SERIES / 2); /* what the log names anew */
    put_float(h, 50, HX_WALL_MS + 1, 1);
    hx_die(h, true);
    open_ok(h);
    assert_int_equal(hx_count(h), seen.count + 1);
    assert_true(file_bytes(h, "quarantine/checkpoint-1700000000000-00000002") > 0);
}

/* The last segment is missing, or cut: said as a range, once, and the start goes on. */
static void tsdb_open__last_segment_missing_or_cut__said_and_goes_on(void **state)
{
    struct hx *h = *state;
    const struct tsdb_fs *fs = &h->options.fs;
    open_ok(h);
    for (uint32_t i = 0; i < 20; i++) {
        put_float(h, i, HX_WALL_MS, 1);
    }
    for (int is_cut = 0; is_cut < 2; is_cut++) {
        struct tsdb_stats st;
        struct tsdb_error err;
        char path[64];
        tsdb_stats_read(h->db, &st);
        snprintf(path, sizeof path, "wal/%08u", (unsigned)st.wal_segment);
        hx_die(h, false);
        if (is_cut) {
            struct tsdb_file *f = NULL;
            assert_ok(fs->ops->open(fs->ctx, path, TSDB_OPEN_WRITE, &f, NULL));
            assert_ok(fs->ops->truncate(fs->ctx, f, 100, NULL));
            fs->ops->close(fs->ctx, f);
        } else {
            assert_ok(fs->ops->unlink(fs->ctx, path, NULL));
        }
        assert_ok_err(hx_open(h, &err), &err);
        tsdb_stats_read(h->db, &st);
        assert_int_equal(st.replay_lost_log_segments, !is_cut);
        assert_true(st.replay_lost_log_bytes > 0);
        assert_true(st.replay_damage > 0);
        put_float(h, 30, HX_WALL_MS + is_cut, 1);
        tsdb_clock_sim_advance(&h->clock, 2000);
        put_float(h, 31, HX_WALL_MS + is_cut, 1);
    }
    close_ok(h);
    open_ok(h);
    struct tsdb_stats st;
    tsdb_stats_read(h->db, &st);
    assert_int_equal(st.replay_lost_log_segments + st.replay_lost_log_bytes, 0);
}

static void put_other_seed(struct hx *h)
{
    uint8_t seed[TSDB_HASH_SEED_BYTES] = {1, 2, 3};
    char text[DATADIR_VERSION_MAX];
    size_t len = datadir_version_print(seed, text);
    assert_ok(tsdb_file_replace(&h->options.fs, "VERSION", text, len, NULL));
}

/* A seed of another directory: the labels do not belong to their partitions. */
static void tsdb_open__version_of_another_directory__corrupt(void **state)
{
    struct hx *h = *state;
    struct tsdb_error err;
    open_ok(h);
    for (uint32_t i = 0; i < 20; i++) {
        put_float(h, i, HX_WALL_MS, 1);
    }
    close_ok(h);
    put_other_seed(h);
    assert_int_equal(hx_open(h, &err), TSDB_CORRUPT);
    assert_non_null(strstr(err.msg, "series.log: partition"));
}

/* ---- state ---- */
static void tsdb_open__background_recovery__ready_then_close_at_any_time(void **state)
{
    struct hx *h = *state;
    open_ok(h);
    for (uint32_t i = 0; i < 300; i++) {
        put_float(h, i, HX_WALL_MS + i, i);
    }
    hx_die(h, false);
    h->options.manual_steps = false;
    h->options.clock = tsdb_clock_real;
    for (int i = 0; i < 20; i++) {
        open_ok(h);
        enum tsdb_state s = TSDB_STATE_RECOVERING;
        while (i % 2 &&
               s == TSDB_STATE_RECOVERING) { /* every other time: closed while it recovers */
            uint32_t percent = 101;
            assert_non_null(tsdb_recovery_step(h->db, &percent));
            assert_in_range(percent, 0, 100);
            s = tsdb_state(h->db, NULL);
        }
        assert_true(i % 2 == 0 || s == TSDB_STATE_READY);
        if (i % 2) {
            assert_int_equal(hx_count(h), 300);
        }
        struct tsdb_error err;
        assert_ok_err(hx_close(h, &err), &err);
    }
    open_ok(h);
    tsdb_abandon(h->db);
    h->db = NULL;
}

static void tsdb_open__background_recovery_fails__failed_with_cause_and_busy(void **state)
{
    struct hx *h = *state;
    open_ok(h);
    put_float(h, 1, HX_WALL_MS, 1);
    close_ok(h);
    put_other_seed(h);
    h->options.manual_steps = false;
    h->options.clock = tsdb_clock_real;
    open_ok(h); /* the directory is locked and sane; recovery finds out later */
    enum tsdb_state s = TSDB_STATE_RECOVERING;
    struct tsdb_error err;
    while (s == TSDB_STATE_RECOVERING) {
        s = tsdb_state(h->db, &err);
    }
    assert_int_equal(s, TSDB_STATE_FAILED);
    assert_int_equal(err.status, TSDB_CORRUPT);
    assert_non_null(strstr(err.msg, "series.log: partition"));
    struct tsdb_querier *q = NULL;
    assert_int_equal(tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &q, &err), TSDB_BUSY);
    assert_int_equal(tsdb_checkpoint(h->db, &err), TSDB_BUSY);
    assert_int_equal(stats(h).wal_segment, 0);
    assert_ok(hx_close(h, NULL));
    assert_true(file_bytes(h, "checkpoint/00000001") > 0);
}

static void tsdb_open__nonsense_options__invalid(void **state)
{
    struct hx *h = *state;
    struct tsdb_error err;
    h->options.owner_count = TSDB_OWNERS_MAX + 1;
    assert_int_equal(hx_open(h, &err), TSDB_INVALID);
    h->options.owner_count = 1;
    h->options.retention_ms = -1;
    assert_int_equal(hx_open(h, &err), TSDB_INVALID);
    assert_false(file_bytes(h, "VERSION") > 0);
}

/* Any number of owners opens what any other wrote. */
static void tsdb_open__other_owner_count__same_data(void **state)
{
    struct hx *h = *state;
    uint32_t expected = 0;
    for (uint32_t n = 1; n <= TSDB_OWNERS_MAX; n += 3) {
        h->options.owner_count = n;
        open_ok(h);
        assert_int_equal(tsdb_owner_count(h->db), n);
        for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
            assert_int_equal(tsdb_owner_of(h->db, p), p * n / TSDB_PARTITIONS);
        }
        assert_int_equal(hx_count(h), expected);
        put_float(h, n, HX_WALL_MS, n);
        expected++;
        hx_die(h, true);
    }
}

static void tsdb_retention_step__old_chunks__dropped_and_stay_so(void **state)
{
    struct hx *h = *state;
    h->options.retention_ms = 1000000;
    open_ok(h);
    static struct hx_sample s[240]; /* too large for the stack */
    for (uint32_t i = 0; i < 240; i++) {
        s[i] = hx_float(1, HX_WALL_MS - 500000 + i, i);
    }
    assert_ok(hx_put(h, s, 240, TSDB_DURABILITY_STRICT, NULL));
    assert_int_equal(tsdb_retention_step(h->db, 0), 0);
    tsdb_clock_sim_advance(&h->clock, 900000);
    put_float(h, 2, h->clock.wall_ms, 1); /* retention counts from what is stored */
    assert_int_equal(tsdb_retention_step(h->db, 0),
                     1); /* the sealed chunk of 120; the tail stays */
    assert_int_equal(hx_count(h), 121);
    close_ok(h);
    open_ok(h);
    assert_int_equal(hx_count(h), 121);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(tsdb_open__after_kill_checkpoint_and_log__same_samples_and_figures),
    CASE(tsdb_close__nothing_new__no_second_checkpoint),
    CASE(tsdb_open__exemplars_in_log_and_checkpoint__each_once),
    CASE(tsdb_open__memory_mode__close_keeps_all_kill_keeps_what_was_upgraded),
    CASE(tsdb_open__frame_of_many_partitions_lost__costs_them_one_epoch),
    CASE(tsdb_open__log_damaged_anywhere__reported_and_nothing_decoded_wrongly),
    CASE(tsdb_open__newest_checkpoint_damaged_anywhere__nothing_lost),
    CASE(tsdb_open__only_checkpoint_damaged_or_gone__log_has_all),
    CASE(tsdb_open__both_checkpoints_damaged__costs_the_page_and_is_said),
    CASE(tsdb_open__series_log_damaged_anywhere__costs_its_series),
    CASE(tsdb_open__series_log_gone__starts_and_says_what_is_lost),
    CASE(tsdb_open__ids_moved_and_disk_full__serves_and_heals),
    CASE(tsdb_open__last_segment_missing_or_cut__said_and_goes_on),
    CASE(tsdb_open__version_of_another_directory__corrupt),
    CASE(tsdb_open__background_recovery__ready_then_close_at_any_time),
    CASE(tsdb_open__background_recovery_fails__failed_with_cause_and_busy),
    CASE(tsdb_open__nonsense_options__invalid),
    CASE(tsdb_open__other_owner_count__same_data),
    CASE(tsdb_retention_step__old_chunks__dropped_and_stay_so),
};

TEST_MAIN(tests)
