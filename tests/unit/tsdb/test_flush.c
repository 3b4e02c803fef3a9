/* From the head to blocks, and reading both. */
#include "tests/support/paged.h"
#include "tests/unit/tsdb/blocks_rig.h"
#include "tsdb/head/head_private.h"

#define T0 (HX_WALL_MS / RANGE * RANGE - 20 * RANGE)

static void put_histograms(struct hx *h, uint32_t series, int64_t from_ms, uint32_t n)
{
    static struct hx_sample s[HX_SAMPLES_MAX];
    struct tsdb_histogram v = {.schema = 1, .sum = -0.0};
    uint8_t raw[128];
    uint32_t len = (uint32_t)tsdb_histogram_encode(&v, raw);
    for (uint32_t i = 0; i < n; i++) {
        s[i] = (struct hx_sample){.series = series,
                                  .kind = TSDB_SAMPLE_HISTOGRAM_INT,
                                  .t_ms = from_ms + i * 100,
                                  .start_ms = i + 1,
                                  .raw = raw,
                                  .raw_len = len};
    }
    assert_ok(hx_put(h, s, n, TSDB_DURABILITY_BUFFERED, NULL));
}

/* Samples of the series that are in the head only. */
static uint32_t in_head(struct hx *h, uint32_t series)
{
    struct tsdb_columns c = {0};
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(head_read(h->db->heads[tsdb_series_partition(h->refs[series])],
                        tsdb_series_local(h->refs[series]), TSDB_TIME_ALL, HEAD_VIEW_NONE, &arena,
                        &c, NULL));
    uint32_t n = c.count;
    tsdb_arena_deinit(&arena);
    return n;
}

static void fill(struct hx *h)
{
    for (uint32_t i = 0; i < 40; i++) {
        put_many(h, i, T0 + i, 1000, 150);      /* three windows */
        put_many(h, i, T0 + i + 500, 3000, 40); /* late */
    }
    put_histograms(h, 100, T0, 130);
    put_many(h, 100, T0 + 20000, 100, 10);
    struct hx_sample odd[4] = {hx_float(101, T0 + 1, 0)};
    for (uint32_t i = 0; i < 4; i++) {
        static const uint64_t bits[] = {TSDB_STALE_NAN_BITS, UINT64_C(0x7ff0000000000001),
                                        UINT64_C(0x8000000000000000), UINT64_C(0xfff8000000000123)};
        odd[i] = (struct hx_sample){.series = 101, .t_ms = T0 + 1 + i, .bits = bits[i]};
    }
    assert_ok(hx_put(h, odd, 4, TSDB_DURABILITY_BUFFERED, NULL));
}

static void tsdb_flush__every_kind__reads_the_same_from_blocks(void **state)
{
    struct hx *h = *state;
    fill(h);
    uint64_t before = hash_all(h);
    flush(h);
    assert_int_equal(blocks(h), 3);
    assert_int_equal(in_head(h, 1), 0);
    assert_int_equal(in_head(h, 100), 0);
    assert_int_equal(hash_all(h), before);
    assert_int_equal(hash_all(h), before); /* from the cache */
    struct cache_l1_stats l1;
    cache_l1_stats(h->db->blocks.l1, &l1);
    assert_true(l1.hits > 0);
    for (int i = 0; i < 2; i++) {
        assert_ok(hx_close(h, NULL));
        rig_open(h);
        assert_int_equal(blocks(h), 3);
        assert_int_equal(hash_all(h), before);
    }
}

static void tsdb_flush__again_and_late__further_blocks_hold_what_is_new(void **state)
{
    struct hx *h = *state;
    fill(h);
    flush(h);
    flush(h);
    assert_int_equal(blocks(h), 3); /* there was nothing */
    put_many(h, 1, T0 + 250, 7000, 3);
    uint64_t before = hash_all(h);
    flush(h);
    assert_int_equal(blocks(h), 4);
    assert_int_equal(hash_all(h), before);
}

/* A conflict with a block is accepted, and never shown. */
static void tsdb_series_read__conflict_with_a_block__first_written_wins(void **state)
{
    struct hx *h = *state;
    fill(h);
    uint64_t before = hash_all(h);
    flush(h);
    struct hx_sample s = hx_float(1, T0 + 1 + 3000, 42);
    struct tsdb_write_result r;
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_BUFFERED, &r));
    assert_int_equal(r.samples_written, 1);
    assert_int_equal(hash_all(h), before);
    flush(h);
    assert_int_equal(blocks(h), 4);
    assert_int_equal(hash_all(h), before);
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(hash_all(h), before);
}

/* Every window, read through ranges that cut blocks in the middle. */
static void tsdb_series_read__ranges__exactly_their_samples(void **state)
{
    struct hx *h = *state;
    fill(h);
    flush(h);
    put_many(h, 1, T0 + 3 * RANGE, 1000, 50);
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    struct tsdb_querier *q = NULL;
    assert_ok(tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &q, NULL));
    struct tsdb_columns all;
    assert_ok(tsdb_series_read(q, hx_select(q, 1), TSDB_TIME_ALL, &arena, &all, NULL));
    assert_int_equal(all.count, 240);
    for (uint32_t i = 0; i < all.count; i += 7) {
        for (uint32_t k = i; k < all.count; k += 31) {
            struct tsdb_columns c;
            struct tsdb_time_range range = {all.t_ms[i], all.t_ms[k]};
            assert_ok(tsdb_series_read(q, hx_select(q, 1), range, &arena, &c, NULL));
            assert_int_equal(c.count, k - i + 1);
            assert_memory_equal(c.t_ms, all.t_ms + i, c.count * sizeof c.t_ms[0]);
            assert_memory_equal(c.bits, all.bits + i, c.count * sizeof c.bits[0]);
        }
    }
    tsdb_querier_close(q);
    tsdb_arena_deinit(&arena);
}

static void tsdb_querier__across_a_flush__sees_each_sample_once(void **state)
{
    struct hx *h = *state;
    fill(h);
    struct tsdb_querier *q = NULL;
    struct tsdb_columns c;
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &q, NULL));
    flush(h);
    assert_ok(tsdb_series_read(q, hx_select(q, 1), TSDB_TIME_ALL, &arena, &c, NULL));
    assert_int_equal(c.count, 190);
    assert_int_equal(in_head(h, 1), 190); /* held back by the reader */
    tsdb_querier_close(q);
    tsdb_flush_step(h->db, h->clock.mono_ns);
    assert_int_equal(in_head(h, 1), 0);
    tsdb_arena_deinit(&arena);
}

static void tsdb_flush_step__clock__only_what_is_due(void **state)
{
    struct hx *h = *state;
    int64_t now = HX_WALL_MS / RANGE * RANGE;
    h->clock.wall_ms = now + RANGE / 2 - 1;
    put_many(h, 1, now - 2 * RANGE, 1000, 120);
    put_many(h, 1, now, 1000, 1);
    assert_int_equal(tsdb_flush_step(h->db, h->clock.mono_ns), 1);
    assert_int_equal(tsdb_flush_step(h->db, h->clock.mono_ns), 0);
    assert_int_equal(blocks(h), 1);
    tsdb_clock_sim_advance(&h->clock, 1);
    assert_int_equal(tsdb_flush_step(h->db, h->clock.mono_ns), 0); /* the round is over */
    tsdb_clock_sim_advance(&h->clock, RANGE / 8);
    assert_int_equal(tsdb_flush_step(h->db, h->clock.mono_ns), 1);
    assert_int_equal(tsdb_flush_step(h->db, h->clock.mono_ns), 0);
    assert_int_equal(blocks(h), 2);
    assert_int_equal(in_head(h, 1), 1);
    assert_int_equal(hx_count(h), 121);
}

/* The head files and the log that blocks made superfluous go with the checkpoint that follows. */
static void tsdb_flush_step__afterwards__checkpoint_lets_head_files_go(void **state)
{
    struct hx *h = *state;
    h->options.head_file_bytes_max = 1;
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    for (uint32_t i = 0; i < 4; i++) { /* a file for each batch */
        put_many(h, i, T0, 100, 200);
        while (tsdb_seal_step(h->db, h->clock.mono_ns) > 0) {
            hx_settle(h);
        }
    }
    flush(h);
    struct head_files_stats s;
    head_files_stats(h->db->head_files, &s);
    assert_true(s.files > 1);
    uint64_t files = s.files;
    assert_int_equal(tsdb_checkpoint_step(h->db, h->clock.mono_ns), 1);
    assert_int_equal(tsdb_checkpoint_step(h->db, h->clock.mono_ns), 0);
    head_files_stats(h->db->head_files, &s);
    assert_true(s.files < files && s.files <= 1);
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(h->db->life->recovered.samples, 0);
}

/* A death between the block and the checkpoint: the samples are in both. */
static void tsdb_flush__killed_before_the_checkpoint__merged_by_time(void **state)
{
    struct hx *h = *state;
    fill(h);
    uint64_t before = hash_all(h);
    flush(h);
    for (int cut = 0; cut < 2; cut++) {
        hx_settle(h);
        hx_die(h, cut != 0);
        rig_open(h);
        assert_int_equal(blocks(h), 3);
        assert_int_equal(hash_all(h), before);
    }
    flush(h);
    assert_int_equal(blocks(h), 6);
    assert_int_equal(hash_all(h), before);
}

static void first_block(struct hx *h, char ulid[BLOCK_ULID_CHARS + 1])
{
    struct view *v = view_acquire(&h->db->blocks.views);
    assert_true(v->block_count > 0);
    memcpy(ulid, block_meta(v->blocks[0]->block)->ulid, BLOCK_ULID_CHARS + 1);
    view_release(&h->db->blocks.views, v);
}

static void blocks_open__index_damaged__in_quarantine_the_rest_serves(void **state)
{
    struct hx *h = *state;
    fill(h);
    flush(h);
    uint32_t all = hx_count(h);
    char ulid[BLOCK_ULID_CHARS + 1];
    char path[128];
    first_block(h, ulid);
    assert_ok(hx_close(h, NULL));
    snprintf(path, sizeof path, "blocks/%s/meta.json", ulid);
    tsdb_fs_sim_flip(h->sim, path, 0, 40, 3);
    rig_open(h);
    assert_int_equal(blocks(h), 2);
    assert_int_equal(atomic_load(&h->db->blocks.quarantined), 1);
    uint32_t rest = hx_count(h);
    assert_true(rest > 0 && rest < all);
    struct tsdb_file_info info;
    snprintf(path, sizeof path, "quarantine/%s/meta.json", ulid);
    assert_ok(h->options.fs.ops->stat(h->options.fs.ctx, path, &info, NULL));
    struct tsdb_stats st;
    tsdb_stats_read(h->db, &st);
    assert_true(st.quarantine_files > 1); /* all of the block's */
    assert_true(st.quarantine_bytes > info.size_bytes);
    assert_int_equal(st.lost_blocks, 0); /* it does not say what it had */
}

static void blocks_open__index_cut__what_is_missing_is_counted(void **state)
{
    struct hx *h = *state;
    fill(h);
    flush(h);
    uint32_t all = hx_count(h);
    char ulid[BLOCK_ULID_CHARS + 1];
    char path[128];
    struct tsdb_file *f = NULL;
    struct tsdb_stats st;
    first_block(h, ulid);
    struct view *v = view_acquire(&h->db->blocks.views);
    struct block_meta m = *block_meta(v->blocks[0]->block);
    view_release(&h->db->blocks.views, v);
    assert_string_equal(m.ulid, ulid);
    assert_ok(hx_close(h, NULL));
    const struct tsdb_fs *fs = &h->options.fs;
    snprintf(path, sizeof path, "blocks/%s/index", ulid);
    assert_ok(fs->ops->open(fs->ctx, path, TSDB_OPEN_WRITE, &f, NULL));
    assert_ok(fs->ops->truncate(fs->ctx, f, 100, NULL));
    fs->ops->close(fs->ctx, f);
    rig_open(h);
    tsdb_stats_read(h->db, &st);
    assert_int_equal(st.lost_blocks, 1);
    assert_int_equal(st.lost_block_series, m.series);
    assert_int_equal(st.lost_block_samples, all - hx_count(h));
    assert_int_equal(st.lost_block_min_ms, m.min_ms);
    assert_int_equal(st.lost_block_max_ms, m.max_ms);
}

static void pages_version_add(const struct tsdb_fs *fs, const char *path, int by)
{
    uint8_t *data = NULL;
    size_t len = 0;
    struct tsdb_file *f = NULL;
    assert_ok(tsdb_file_read_all(fs, path, 1 << 20, TSDB_MEM_OTHER, &data, &len, NULL));
    paged_version_add(data, len, by);
    assert_ok(fs->ops->open(fs->ctx, path, TSDB_OPEN_READ | TSDB_OPEN_WRITE, &f, NULL));
    assert_ok(fs->ops->pwrite(fs->ctx, f, data, len, 0, NULL));
    fs->ops->close(fs->ctx, f);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

/* Beside a block of a newer version even a damaged one stays where it is. */
static void blocks_open__newer_version__refuses_and_moves_nothing(void **state)
{
    struct hx *h = *state;
    fill(h);
    flush(h);
    uint64_t before = hash_all(h);
    char first[BLOCK_ULID_CHARS + 1];
    char path[128];
    char chunks[128];
    struct tsdb_error err = {0};
    first_block(h, first);
    struct view *v = view_acquire(&h->db->blocks.views);
    snprintf(chunks, sizeof chunks, "blocks/%s/chunks", block_meta(v->blocks[2]->block)->ulid);
    view_release(&h->db->blocks.views, v);
    assert_ok(hx_close(h, NULL));
    const struct tsdb_fs *fs = &h->options.fs;
    pages_version_add(fs, chunks, 1);
    snprintf(path, sizeof path, "blocks/%s/meta.json", first);
    struct tsdb_file_info info;
    assert_ok(fs->ops->stat(fs->ctx, path, &info, NULL));
    struct tsdb_file *meta = NULL;
    assert_ok(fs->ops->open(fs->ctx, path, TSDB_OPEN_READ | TSDB_OPEN_WRITE, &meta, NULL));
    uint8_t brace = 0;
    assert_ok(fs->ops->pwrite(fs->ctx, meta, &brace, 1, 0, NULL));
    assert_int_equal(hx_open(h, &err), TSDB_UNSUPPORTED);
    assert_ok(fs->ops->stat(fs->ctx, path, &info, NULL));
    brace = '{';
    assert_ok(fs->ops->pwrite(fs->ctx, meta, &brace, 1, 0, NULL));
    pages_version_add(fs, chunks, -1);
    fs->ops->close(fs->ctx, meta);
    rig_open(h);
    assert_int_equal(hash_all(h), before);
}

/* Samples into head files, and a checkpoint that refers to them. */
static void seal_and_checkpoint(struct hx *h)
{
    struct tsdb_error err = {0};
    assert_ok_err(db_owners_ask(h->db, OWNER_JOB_SEAL, (uint64_t)INT64_MAX, true, NULL, &err),
                  &err);
    for (int i = 0; i < 4; i++) {
        while (sealer_step(h->db->sealer, tsdb_clock_mono_ns(&h->options.clock)) > 0) {
        }
        db_owners_step(h->db);
    }
    assert_ok_err(tsdb_checkpoint(h->db, &err), &err);
}

static enum tsdb_status count_name(void *arg, const char *name, bool is_dir)
{
    (void)is_dir;
    *(uint32_t *)arg += name[0] != '.';
    return TSDB_OK;
}

static uint32_t files_in(struct hx *h, const char *dir)
{
    uint32_t n = 0;
    (void)!h->options.fs.ops->list(h->options.fs.ctx, dir, count_name, &n, NULL);
    return n;
}

static enum tsdb_status unlink_listed(void *arg, const char *name, bool is_dir)
{
    (void)is_dir;
    snprintf(arg, 64, "checkpoint/%s", name);
    return TSDB_OK;
}

/* Both of them. */
static void take_checkpoints_away(struct hx *h)
{
    const struct tsdb_fs *fs = &h->options.fs;
    uint32_t n = files_in(h, "checkpoint");
    assert_int_equal(n, 2);
    for (; n > 0; n--) {
        char path[64] = "";
        assert_ok(fs->ops->list(fs->ctx, "checkpoint", unlink_listed, path, NULL));
        assert_ok(fs->ops->unlink(fs->ctx, path, NULL));
    }
}

struct prefix_count {
    const char *prefix;
    uint32_t n;
};

static enum tsdb_status count_prefix(void *arg, const char *name, bool is_dir)
{
    struct prefix_count *c = arg;
    c->n += !is_dir && strncmp(name, c->prefix, strlen(c->prefix)) == 0;
    return TSDB_OK;
}

static uint32_t quarantined(struct hx *h, const char *prefix)
{
    struct prefix_count c = {prefix, 0};
    assert_ok(h->options.fs.ops->list(h->options.fs.ctx, "quarantine", count_prefix, &c, NULL));
    return c.n;
}

static void tsdb_open__checkpoint_taken_away__head_files_are_kept(void **state)
{
    struct hx *h = *state;
    struct tsdb_stats st;
    for (uint32_t i = 0; i < 3; i++) { /* until the log's first segment is gone */
        fill(h);
        put_many(h, 1, T0 + (10 + i) * RANGE, 1000, 10);
        seal_and_checkpoint(h);
    }
    assert_ok(hx_close(h, NULL));
    assert_int_equal(h->options.fs.ops->unlink(h->options.fs.ctx, "wal/00000001", NULL), TSDB_OK);
    uint32_t files = files_in(h, "head");
    assert_true(files > 0);
    take_checkpoints_away(h);
    uint32_t segments = files_in(h, "wal") - 1; /* and POSITION */
    rig_open(h);
    assert_int_equal(files_in(h, "head"), 0);
    assert_int_equal(quarantined(h, "head-"), files);
    tsdb_stats_read(h->db, &st);
    assert_int_equal(st.replay_damage, files);
    fill(h); /* and what comes next is not mixed up with them */
    seal_and_checkpoint(h);
    fill(h);
    seal_and_checkpoint(h);
    assert_ok(hx_close(h, NULL));
    assert_int_equal(quarantined(h, "wal-"), segments); /* what those made sense of */
    rig_open(h);
    assert_int_equal(quarantined(h, "head-"), files);
    tsdb_stats_read(h->db, &st);
    assert_int_equal(st.replay_damage, 0);
}

#define LATER 200u /* series that are in no block */

/* As hash_all, of what is in blocks, whatever the order of the series: ids may have changed. */
static void add_sample(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                       enum tsdb_sample_kind kind, uint64_t bits,
                       const struct tsdb_histogram *histogram)
{
    uint64_t one = 0;
    if (series >= LATER) {
        return;
    }
    rig_note_sample(&one, series, t_ms, start_ms, kind, bits, histogram);
    *(uint64_t *)arg += one;
}

static uint64_t sum_all(struct hx *h)
{
    struct tsdb_error err = {0};
    uint64_t sum = 0;
    assert_ok_err(hx_visit(h, add_sample, &sum, &err), &err);
    return sum;
}

/* The file that says what ids mean is damaged in the middle, and the checkpoint that relied on it was
 * taken away, the only remedy that there is: what blocks hold is found by its labels, and whatever
 * else may be needed is kept. */
static void tsdb_open__series_log_damaged_and_no_checkpoint__blocks_serve_rest_is_kept(void **state)
{
    struct hx *h = *state;
    const struct tsdb_fs *fs = &h->options.fs;
    struct tsdb_stats st;
    struct tsdb_file_info before;
    fill(h);
    flush(h);
    uint64_t in_blocks = sum_all(h);
    for (uint32_t i = 0; i < 3; i++) { /* series and samples that no block has */
        put_many(h, LATER + i, T0 + (10 + i) * RANGE, 1000, 10);
        seal_and_checkpoint(h);
    }
    put_many(h, LATER, T0 + 20 * RANGE, 1000, 10);
    assert_ok(hx_close(h, NULL));
    (void)fs->ops->unlink(fs->ctx, "wal/00000001", NULL); /* else the log would have all */
    uint32_t files = files_in(h, "head");
    uint32_t segments = files_in(h, "wal") - 1; /* and POSITION */
    assert_ok(fs->ops->stat(fs->ctx, "series.log", &before, NULL));
    tsdb_fs_sim_flip(h->sim, "series.log", before.size_bytes / 2, before.size_bytes / 2 + 20, 1);
    take_checkpoints_away(h);
    rig_open(h);
    assert_int_equal(sum_all(h), in_blocks);
    assert_int_equal(quarantined(h, "series.log-"), 1);
    assert_int_equal(quarantined(h, "head-"), files);
    tsdb_stats_read(h->db, &st);
    assert_true(st.replay_damage > 0);
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(tsdb_checkpoint(h->db, NULL)); /* now the log's segments may go */
    }
    assert_int_equal(quarantined(h, "wal-"), segments);
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(sum_all(h), in_blocks);
}

/* Copy a directory's files, as somebody does who brings a block from elsewhere. */
struct copy {
    struct hx *from, *to;
    char dir[64];
};
static enum tsdb_status copy_file(void *arg, const char *name, bool is_dir)
{
    struct copy *c = arg;
    char path[128];
    uint8_t *data = NULL;
    size_t len = 0;
    (void)is_dir;
    snprintf(path, sizeof path, "%s/%s", c->dir, name);
    assert_ok(tsdb_file_read_all(&c->from->options.fs, path, 1u << 24, TSDB_MEM_OTHER, &data, &len,
                                 NULL));
    assert_ok(tsdb_file_replace(&c->to->options.fs, path, data, len, NULL));
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    return TSDB_OK;
}

static void blocks_open__block_from_elsewhere__its_series_become_known(void **state)
{
    struct hx *h = *state;
    fill(h);
    flush(h);
    char ulid[BLOCK_ULID_CHARS + 1];
    first_block(h, ulid);
    uint32_t all = hx_count(h);
    struct hx *other = test_calloc(1, sizeof *other);
    hx_init(other, 99);
    other->options.block_range_ms = RANGE;
    rig_open(other);
    put_many(other, 3, T0 + 10 * RANGE, 1000, 5);
    assert_ok(hx_close(other, NULL));
    struct copy c = {.from = h, .to = other};
    snprintf(c.dir, sizeof c.dir, "blocks/%s", ulid);
    assert_ok(other->options.fs.ops->mkdir(other->options.fs.ctx, c.dir, NULL));
    struct tsdb_error err = {0};
    assert_ok_err(h->options.fs.ops->list(h->options.fs.ctx, c.dir, copy_file, &c, &err), &err);
    rig_open(other);
    uint32_t n = hx_count(other);
    assert_true(n > 100 && n < all);
    put_many(other, 4, T0 + 10 * RANGE, 1000, 5);
    struct hx_sample s = hx_float(200, T0 + 10 * RANGE, 5); /* new after the foreign ones */
    assert_ok(hx_put(other, &s, 1, TSDB_DURABILITY_STRICT, NULL));
    uint64_t before = hash_all(other);
    hx_die(other, true);
    rig_open(other);
    assert_int_equal(hash_all(other), before);
    hx_deinit(other);
    test_free(other);
}

static void tsdb_compact_step__blocks_older_than_retention__deleted(void **state)
{
    struct hx *h = *state;
    h->options.retention_ms = 30 * RANGE;
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    put_many(h, 1, T0, 1000, 120);
    put_many(h, 1, T0 + 20 * RANGE, 1000, 10);
    flush(h);
    assert_int_equal(blocks(h), 3);
    struct tsdb_querier *q = NULL;
    assert_ok(tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &q, NULL));
    char ulid[BLOCK_ULID_CHARS + 1];
    char path[64];
    struct tsdb_file_info info;
    first_block(h, ulid);
    snprintf(path, sizeof path, "blocks/%s", ulid);
    tsdb_clock_sim_advance(&h->clock, T0 + 31 * RANGE - h->clock.wall_ms);
    put_many(h, 2, T0 + 31 * RANGE, 1000, 1); /* retention counts from what is stored */
    assert_true(tsdb_compact_step(h->db, h->clock.mono_ns) > 0);
    assert_int_equal(blocks(h), 2);
    assert_ok(h->options.fs.ops->stat(h->options.fs.ctx, path, &info, NULL)); /* q reads it */
    tsdb_querier_close(q);
    assert_int_equal(tsdb_compact_step(h->db, h->clock.mono_ns), 1);
    assert_int_equal(h->options.fs.ops->stat(h->options.fs.ctx, path, &info, NULL), TSDB_NOT_FOUND);
    assert_int_equal(hx_count(h), 71);
}

#define HOUR INT64_C(3600000)
#define DAY  (24 * HOUR)

/* Ten blocks of an hour at the end of the last day, retention of a day. */
static void open_history(struct hx *h)
{
    h->options.retention_ms = DAY;
    h->options.block_range_ms = HOUR;
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    for (uint32_t i = 0; i < 10; i++) {
        put_many(h, 1, (HX_WALL_MS / HOUR - 12 + i) * HOUR, 1000, 10);
    }
    flush(h);
    assert_int_equal(blocks(h), 10);
    put_many(h, 1, HX_WALL_MS, 1000, 1);
}

/* A round of retention, and so many more as fit in the time. */
static void retain_for(struct hx *h, int64_t ms)
{
    for (int64_t end = h->clock.wall_ms + ms; h->clock.wall_ms < end;) {
        tsdb_retention_step(h->db, h->clock.mono_ns);
        while (tsdb_compact_step(h->db, h->clock.mono_ns) > 0) {
        }
        tsdb_clock_sim_advance(&h->clock, TSDB_MIN(end - h->clock.wall_ms, 11 * HOUR / 60));
    }
}

static uint64_t expired(struct hx *h)
{
    return atomic_load(&h->db->life->blocks_expired);
}

/* With data of that time too: who sends it may have the same clock. */
static void tsdb_compact_step__clock_jumps_ahead__deletes_nothing(void **state)
{
    struct hx *h = *state;
    open_history(h);
    h->clock.wall_ms += 20 * DAY;
    put_many(h, 1, h->clock.wall_ms, 1000, 1);
    retain_for(h, 20000);
    assert_int_equal(expired(h), 0);
    /* A restart does not make it believed; nor does a checkpoint that was written meanwhile. */
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(tsdb_checkpoint(h->db, NULL));
        assert_ok(hx_close(h, NULL));
        rig_open(h);
        retain_for(h, 20000);
        assert_int_equal(expired(h), 0);
    }
    assert_true(tsdb_believed_ms(h->db) < h->clock.wall_ms - 19 * DAY);
    h->clock.wall_ms -= 20 * DAY;
    retain_for(h, DAY / 4);
    assert_int_equal(expired(h), 0);
    assert_true(tsdb_believed_ms(h->db) <= h->clock.wall_ms); /* never ahead of the wall clock */
    assert_int_equal(hx_count(h), 10 * 10 + 2);
}

static void tsdb_compact_step__clock_ahead_of_all_data__deletes_nothing(void **state)
{
    struct hx *h = *state;
    open_history(h);
    h->clock.wall_ms += 20 * DAY;
    retain_for(h, DAY);
    assert_int_equal(expired(h), 0);
    assert_int_equal(hx_count(h), 10 * 10 + 1);
}

/* The clock was right after all: believed after hours, and then a block at a time. */
static void tsdb_compact_step__clock_stays_ahead__deletes_a_share_a_round(void **state)
{
    struct hx *h = *state;
    open_history(h);
    h->clock.wall_ms += 20 * DAY;
    put_many(h, 1, h->clock.wall_ms, 1000, 1);
    uint64_t all = blocks(h);
    retain_for(h, 5 * HOUR);
    assert_int_equal(expired(h), 0);
    all = blocks(h); /* merged meanwhile */
    assert_true(tsdb_believed_ms(h->db) < h->clock.wall_ms - 19 * DAY);
    retain_for(h, 2 * HOUR);
    assert_true(tsdb_believed_ms(h->db) <
                h->clock.wall_ms - 18 * DAY); /* follows by an eighth of a day */
    assert_true(expired(h) > 0);
    assert_true(expired(h) < all);
    retain_for(h, HOUR);
    assert_true(tsdb_believed_ms(h->db) > h->clock.wall_ms - HOUR);
    retain_for(h, DAY);
    assert_true(expired(h) >= all);
}

static void flush__disk_fails__nothing_changes_and_the_next_works(void **state)
{
    struct hx *h = *state;
    fill(h);
    uint64_t before = hash_all(h);
    bool failed = true;
    uint64_t op = 1;
    for (; failed; op += 1) {
        struct tsdb_error err = {0};
        tsdb_fs_sim_fault(h->sim, TSDB_FAULT_EIO, op, 1);
        failed = tsdb_flush(h->db, &err) != TSDB_OK;
        tsdb_fs_sim_fault(h->sim, TSDB_FAULT_NONE, 1, 0);
        assert_int_equal(hash_all(h), before);
        tsdb_clock_sim_advance(&h->clock, 5000); /* the sealer's pause */
    }
    assert_true(op > 15);
    flush(h);
    assert_int_equal(in_head(h, 1), 0);
    assert_int_equal(hash_all(h), before);
    assert_ok(hx_close(h, NULL));
    tsdb_fs_sim_crash(h->sim);
    rig_open(h);
    assert_int_equal(hash_all(h), before);
}

static void flush__nth_allocation_fails__nothing_changes(void **state)
{
    struct hx *h = *state;
    put_many(h, 1, T0, 1000, 100);
    put_many(h, 2, T0, 900, 100);
    put_histograms(h, 100, T0, 20);
    flush(h); /* a block to read from as well */
    put_many(h, 1, T0 + 500, 1000, 100);
    uint64_t before = hash_all(h);
    uint32_t failures = 0;
    for (uint64_t nth = 1;; nth++) {
        tsdb_alloc_fail_nth(nth, 0);
        failures += tsdb_flush(h->db, NULL) != TSDB_OK;
        bool all = tsdb_alloc_fail_count() < nth;
        tsdb_alloc_ops_set(NULL);
        tsdb_clock_sim_advance(&h->clock, 5000);
        assert_int_equal(hash_all(h), before);
        if (all) {
            break;
        }
    }
    assert_true(failures > 10);
    put_many(h, 1, T0 + RANGE, 1000, 1); /* whatever found no memory to leave the head leaves now */
    flush(h);
    before = hash_all(h);
    assert_int_equal(in_head(h, 1), 0);
    struct tsdb_error err = {0};
    for (uint64_t nth = 1;; nth++) { /* reading from blocks and heads */
        uint64_t hash = 0;
        tsdb_alloc_fail_nth(nth, 0);
        enum tsdb_status status = hx_visit(h, rig_note_sample, &hash, &err);
        bool all = tsdb_alloc_fail_count() < nth;
        tsdb_alloc_ops_set(NULL);
        assert_true(status == TSDB_NOMEM || (status == TSDB_OK && hash == before));
        if (all) {
            break;
        }
    }
}

/* A chunk of the head that does not verify is lost, and holds nothing up. */
static void flush__chunk_of_the_head_damaged__the_rest_goes_on(void **state)
{
    struct hx *h = *state;
    put_many(h, 1, T0, 100, 200);
    put_many(h, 2, T0, 100, 200);
    while (tsdb_seal_step(h->db, h->clock.mono_ns) > 0) {
        hx_settle(h);
    }
    tsdb_fs_sim_flip(h->sim, "head/00000001", 40, 48, 1);
    assert_int_not_equal(hx_visit(h, rig_note_sample, &(uint64_t){0}, NULL), TSDB_OK);
    flush(h);
    assert_int_equal(atomic_load(&h->db->life->flush_chunks_lost), 1);
    assert_int_equal(hx_count(h), 400 - 120);
    flush(h);
    assert_int_equal(blocks(h), 1);
}

/* Values spread over two blocks and the head: the first ones, whatever has them. */
static void tsdb_label_values__limit__merges_blocks_and_head(void **state)
{
    struct hx *h = *state;
    const uint32_t n = 400;
    for (uint32_t window = 0; window < 3; window++) {
        for (uint32_t i = 0; i < n; i++) {
            if (i % 3 == window || i % 5 == 0) {
                put_many(h, i, T0 + window * 3 * RANGE, 1000, 1);
            }
        }
        if (window < 2) {
            flush(h);
        }
    }
    struct tsdb_arena arena;
    struct tsdb_slice *all;
    uint32_t all_count;
    bool cut;
    struct tsdb_querier *q = NULL;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &q, NULL));
    assert_ok(tsdb_label_values(q, "i", 1, NULL, 0, 0, &arena, &all, &all_count, &cut, NULL));
    assert_int_equal(all_count, n);
    for (uint32_t limit = 1; limit <= n + 1; limit += 19) {
        struct tsdb_slice *some;
        uint32_t count;
        assert_ok(tsdb_label_values(q, "i", 1, NULL, 0, limit, &arena, &some, &count, &cut, NULL));
        assert_int_equal(count, TSDB_MIN(limit, n));
        assert_int_equal(cut, limit < n);
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(some[i].len, all[i].len);
            assert_memory_equal(some[i].data, all[i].data, all[i].len);
        }
    }
    tsdb_querier_close(q);
    tsdb_arena_deinit(&arena);
}

#define T(name) RIG_CASE(name)

static const struct CMUnitTest tests[] = {
    T(tsdb_flush__every_kind__reads_the_same_from_blocks),
    T(tsdb_flush__again_and_late__further_blocks_hold_what_is_new),
    T(tsdb_series_read__conflict_with_a_block__first_written_wins),
    T(tsdb_series_read__ranges__exactly_their_samples),
    T(tsdb_label_values__limit__merges_blocks_and_head),
    T(tsdb_querier__across_a_flush__sees_each_sample_once),
    T(tsdb_flush_step__clock__only_what_is_due),
    T(tsdb_flush_step__afterwards__checkpoint_lets_head_files_go),
    T(tsdb_flush__killed_before_the_checkpoint__merged_by_time),
    T(blocks_open__index_damaged__in_quarantine_the_rest_serves),
    T(blocks_open__index_cut__what_is_missing_is_counted),
    T(blocks_open__newer_version__refuses_and_moves_nothing),
    T(tsdb_open__checkpoint_taken_away__head_files_are_kept),
    T(tsdb_open__series_log_damaged_and_no_checkpoint__blocks_serve_rest_is_kept),
    T(blocks_open__block_from_elsewhere__its_series_become_known),
    T(tsdb_compact_step__blocks_older_than_retention__deleted),
    T(tsdb_compact_step__clock_jumps_ahead__deletes_nothing),
    T(tsdb_compact_step__clock_ahead_of_all_data__deletes_nothing),
    T(tsdb_compact_step__clock_stays_ahead__deletes_a_share_a_round),
    T(flush__disk_fails__nothing_changes_and_the_next_works),
    T(flush__nth_allocation_fails__nothing_changes),
    T(flush__chunk_of_the_head_damaged__the_rest_goes_on),
};

TEST_MAIN(tests)
