/* A whole data directory as version 2 left it after a kill, with every kind of file that there is and every
 * kind of sample in each, in tests/golden/data_dir/v2/. It must open for ever.
 * One of version 1, which was never released, is refused as it stands.
 * TSDB_GOLDEN_WRITE=<directory> writes one anew (for the next version). */
#include "tests/support/golden.h"
#include "tests/support/test.h"

#include "model/version.h"
#include "tests/support/tsdb/scene.h"
#include "tests/support/tsdb/tree.h"
#include "tsdb/engine/db_private.h"

#define DIR    "data_dir/v2"
#define SERIES 10u
#define DAY    INT64_C(86400000)
/* Rounds of samples, by what has them. */
#define OLD        6u  /* 0..5: a day apart, in a block that is wide */
#define IN_BLOCKS  9u  /* 6..8: in the block of their window */
#define IN_HEAD    11u /* 9, 10: sealed, in a head file */
#define CHECKPOINT 13u /* 11, 12: open, in the checkpoint */
#define ROUNDS     15u /* 13, 14: in the log behind it */
#define DELETED    3u  /* a series, of the rounds in blocks */

static const uint64_t values[] = {0,
                                  UINT64_C(0x8000000000000000),
                                  TSDB_STALE_NAN_BITS,
                                  UINT64_C(0x7ff8dead0000beef),
                                  UINT64_C(0x40934a456d5cfaad),
                                  UINT64_C(0x4059000000000000)};

/* Sample of series i in round k: floats, one series of all kinds of histograms, one with start
 * timestamps. */
static struct hx_sample sample_of(const struct mx *m, uint32_t i, uint32_t k, uint8_t *out_raw)
{
    int64_t t_ms = k < OLD ? HX_WALL_MS - (40 - k) * DAY : HX_WALL_MS + k * 1000;
    struct hx_sample s = {.series = i, .t_ms = t_ms, .bits = values[(i + k) % 6]};
    *out_raw = (uint8_t)(k % MX_RAWS);
    if (i == 8) {
        s.kind = (enum tsdb_sample_kind)m->raw_kind[*out_raw];
        s.raw = m->raws[*out_raw];
        s.raw_len = m->raw_len[*out_raw];
    } else {
        *out_raw = 0;
    }
    if (i == 9) {
        s.start_ms = s.t_ms - 5000;
    }
    return s;
}

static void round_of(const struct mx *m, uint32_t k, struct hx_sample *samples, uint8_t *raws)
{
    for (uint32_t i = 0; i < SERIES; i++) {
        samples[i] = sample_of(m, i, k, &raws[i]);
    }
}

static void put_round(struct mx *m, uint32_t k)
{
    struct hx_sample samples[SERIES];
    uint8_t raws[SERIES];
    round_of(m, k, samples, raws);
    assert_true(mx_submit(m, samples, raws, SERIES, TSDB_DURABILITY_STRICT));
    hx_settle(m->h);
    mx_reap(m);
}

static void put_rounds(struct mx *m, uint32_t from, uint32_t to)
{
    for (uint32_t k = from; k < to; k++) {
        struct hx_sample samples[SERIES];
        uint8_t raws[SERIES];
        round_of(m, k, samples, raws);
        assert_ok(hx_put(m->h, samples, SERIES, TSDB_DURABILITY_STRICT, NULL));
    }
}

/* With a sample that is there already. */
static void put_exemplar(const struct mx *m, uint32_t round)
{
    struct hx *h = m->h;
    uint8_t raw;
    struct hx_sample s = sample_of(m, 0, round, &raw);
    struct hx_write *x = hx_write_begin(h, &s, 1);
    struct tsdb_label l = tsdb_label_make("trace_id", "4bf9");
    struct tsdb_exemplar e = {.labels = {&l, 1}, .bits = round, .t_ms = HX_WALL_MS + round};
    struct tsdb_build_target target = hx_target(h, x, 0);
    assert_ok(tsdb_build_exemplar(&x->build, &target, &e));
    hx_write_finish(h, x, TSDB_DURABILITY_STRICT);
    assert_ok(tsdb_write_submit(h->db, &x->w, NULL));
    hx_settle(h);
    hx_write_destroy(x);
}

static struct tsdb_slice slice(const char *text)
{
    return (struct tsdb_slice){(const uint8_t *)text, strlen(text)};
}

static void put_metadata(struct hx *h)
{
    const struct tsdb_metadata list[] = {
        {.metric = slice("m0"), .type = TSDB_METRIC_COUNTER, .help = slice("What m0 counts.")},
        {.metric = slice("m1"), .type = TSDB_METRIC_GAUGE, .unit = slice("seconds")}};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(list); i++) {
        assert_ok(tsdb_metadata_put(h->db, &list[i]));
    }
    tsdb_metadata_step(h->db, h->clock.mono_ns);
}

static void keep_files(const struct tsdb_fs *fs)
{
    struct tree *t = tree_read(fs);
    for (uint32_t i = 0; i < t->count; i++) {
        const struct tree_file *f = &t->files[i];
        char path[TREE_PATH_BYTES + sizeof DIR];
        size_t end = f->len;
        while (strncmp(f->path, "wal/0", 5) == 0 && end > 16 && f->data[end - 17] == 0) {
            end--; /* zeroes behind the end mark say nothing */
        }
        snprintf(path, sizeof path, DIR "/%s", f->path);
        golden_check(path, f->data, end);
    }
    tree_free(t);
}

/* Writes the golden files anew: every kind that there is. */
static void write_golden(struct mx *m)
{
    struct hx *h = m->h;
    h->options.wal_segment_bytes = 1u << 13;
    assert_ok(hx_open(h, NULL));
    put_rounds(m, 0, IN_BLOCKS);
    assert_ok(tsdb_flush(h->db, NULL));
    assert_int_equal(hx_delete(h, DELETED), IN_BLOCKS);
    put_metadata(h);
    put_rounds(m, IN_BLOCKS, IN_HEAD);
    hx_seal_all(h);
    put_rounds(m, IN_HEAD, CHECKPOINT);
    put_exemplar(m, IN_HEAD);
    assert_ok(tsdb_checkpoint(h->db, NULL));
    put_rounds(m, CHECKPOINT, ROUNDS);
    put_exemplar(m, CHECKPOINT);
    mx_die(m, false);
    keep_files(&h->options.fs);
}

/* Tell the model what the directory was made of. */
static void expect_all(struct mx *m)
{
    for (uint32_t i = 0; i < SERIES; i++) {
        for (uint32_t k = 0; k < ROUNDS; k++) {
            uint8_t raw;
            struct hx_sample s = sample_of(m, i, k, &raw);
            if (i == DELETED && k < IN_BLOCKS) {
                continue;
            }
            *mx_cell(m, i, s.t_ms) =
                (struct mx_cell){.used = true,
                                 .sent = true,
                                 .acked = true,
                                 .kill_safe = true,
                                 .cut_safe = true,
                                 .v = {(uint8_t)s.kind, raw, s.start_ms, s.bits},
                                 .series = i,
                                 .t_ms = s.t_ms};
        }
    }
}

static bool count_metric(void *arg, const struct tsdb_metadata *m)
{
    (void)m;
    ++*(uint32_t *)arg;
    return true;
}

static uint32_t count_exemplars(struct hx *h)
{
    struct tsdb_arena arena;
    struct tsdb_querier *q = NULL;
    struct tsdb_exemplar_series *found = NULL;
    uint32_t series = 0, count = 0;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &q, NULL));
    assert_ok(tsdb_exemplars(q, NULL, 0, TSDB_TIME_ALL, &arena, &found, &series, NULL));
    for (uint32_t i = 0; i < series; i++) {
        count += found[i].count;
    }
    tsdb_querier_close(q);
    tsdb_arena_deinit(&arena);
    return count;
}

/* Each kind of file is among the golden ones, and was read. */
static void check_kinds(struct hx *h)
{
    struct tsdb_stats s;
    uint32_t metrics = 0, wide = 0;
    tsdb_metadata_visit(h->db, NULL, count_metric, &metrics);
    assert_int_equal(metrics, 2);
    assert_int_equal(count_exemplars(h), 2);
    tsdb_stats_read(h->db, &s);
    assert_int_equal(s.series, SERIES);
    assert_int_equal(s.replay_samples, 2 * SERIES); /* the checkpoint has the others */
    assert_int_equal(s.replay_damage + s.replay_lost_frames + s.blocks_quarantined, 0);
    assert_int_equal(s.tombstones_samples, IN_BLOCKS);
    assert_int_equal(s.head_files, 1);
    struct view *v = view_acquire(&h->db->blocks.views);
    for (uint32_t i = 0; i < v->block_count; i++) {
        const struct block_meta *b = block_meta(v->blocks[i]->block);
        assert_true(b->histogram_samples > 0);
        wide += b->max_ms - b->min_ms > 3 * DAY;
        assert_ok(block_verify(v->blocks[i]->block, NULL));
    }
    view_release(&h->db->blocks.views, v);
    assert_true(wide > 0);
}

static void tsdb_open__directory_of_version_2__all_samples_and_goes_on(void **state)
{
    struct scene *scene = *state;
    struct hx *h = &scene->h;
    struct mx *m = &scene->m;
    struct tsdb_error err;
    scene_begin(scene, 1);
    h->options.exemplars_max = 100;
    h->options.retention_ms = 0;
    m->conflicts_pass = false;
    if (golden_writing()) {
        write_golden(m);
        return;
    }
    assert_true(golden_copy_tree(DIR, &h->options.fs) > 12);
    expect_all(m);
    assert_ok_err(hx_open(h, &err), &err);
    check_kinds(h);
    mx_check(m, MX_CUT);
    put_round(m, ROUNDS);
    assert_ok_err(tsdb_flush(h->db, &err), &err);
    mx_check(m, MX_RUNNING);
    mx_die(m, true);
    assert_ok_err(hx_open(h, &err), &err);
    mx_check(m, MX_CUT);
    scene_end_checked(scene, "version 2");
}

static void tsdb_open__directory_of_version_1__refused_and_untouched(void **state)
{
    struct scene *scene = *state;
    struct hx *h = &scene->h;
    const struct tsdb_fs *fs = &h->options.fs;
    static const char *const old[][2] = {{"VERSION", "data_dir/v1/VERSION"},
                                         {"series.log", "data_dir/v1/series.log"},
                                         {"checkpoint/00000001", "data_dir/v1/checkpoint/00000001"},
                                         {"wal/00000002", "data_dir/v1/wal/00000002"}};
    struct tsdb_error err;
    scene_begin(scene, 1);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(old); i++) {
        golden_copy_in(old[i][1], fs, old[i][0]);
    }
    assert_int_equal(hx_open(h, &err), TSDB_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "format 1"));
    for (size_t i = 0; i < TSDB_ARRAY_LEN(old); i++) {
        static uint8_t expected[GOLDEN_BYTES_MAX];
        size_t expected_len = golden_read(old[i][1], expected, sizeof expected);
        uint8_t *data = NULL;
        size_t len = 0;
        assert_ok(
            tsdb_file_read_all(fs, old[i][0], GOLDEN_BYTES_MAX, TSDB_MEM_OTHER, &data, &len, NULL));
        assert_int_equal(len, expected_len);
        assert_memory_equal(data, expected, len);
        tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    }
}

static void formats__page__numbers_of_this_version(void **state)
{
    (void)state;
    static const struct {
        const char *file, *page;
        int version;
    } formats[] = {
        {"`VERSION`, and the directory as a whole", "data-directory.md", TSDB_FORMAT_DATA_DIR},
        {"`wal/NNNNNNNN`", "wal.md", TSDB_FORMAT_WAL},
        {"`wal/POSITION`", "wal.md", TSDB_FORMAT_WAL_POSITION},
        {"`series.log`, `series.log.next`", "series-log.md", TSDB_FORMAT_SERIES_LOG},
        {"`checkpoint/NNNNNNNN`", "checkpoint.md", TSDB_FORMAT_CHECKPOINT},
        {"`head/NNNNNNNN`", "head-chunks.md", TSDB_FORMAT_HEAD_CHUNKS},
        {"`metadata`", "metadata.md", TSDB_FORMAT_METADATA},
        {"`blocks/<ULID>/meta.json`, `chunks`", "block.md", TSDB_FORMAT_BLOCK},
        {"`blocks/<ULID>/index`", "index.md", TSDB_FORMAT_INDEX},
        {"`blocks/<ULID>/tombstones`", "tombstones.md", TSDB_FORMAT_TOMBSTONES},
        {"`snapshots/<name>/MANIFEST`", "snapshot.md", TSDB_FORMAT_SNAPSHOT}};
    char table[2048];
    size_t n = (size_t)snprintf(table, sizeof table, "| file | version | page |\n|---|--:|---|\n");
    for (size_t i = 0; i < TSDB_ARRAY_LEN(formats); i++) {
        n +=
            (size_t)snprintf(table + n, sizeof table - n, "| %s | %d | [%s](%s) |\n",
                             formats[i].file, formats[i].version, formats[i].page, formats[i].page);
    }
    assert_true(n < sizeof table);
    golden_check_text("docs/format/README.md", table);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(formats__page__numbers_of_this_version),
    cmocka_unit_test_setup_teardown(tsdb_open__directory_of_version_2__all_samples_and_goes_on,
                                    scene_setup, scene_teardown),
    cmocka_unit_test_setup_teardown(tsdb_open__directory_of_version_1__refused_and_untouched,
                                    scene_setup, scene_teardown),
};

TEST_MAIN(tests)
