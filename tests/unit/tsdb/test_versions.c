/* A file of a newer version, of whatever kind: the directory does not open, and nothing in it is
 * moved, removed or written. */
#include "tests/support/test.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "tests/support/paged.h"
#include "tests/support/tsdb/scene.h"
#include "tests/support/tsdb/tree.h"
#include "tsdb/engine/db_private.h"

#define RANGE       INT64_C(60000)
#define META_PREFIX "\"version\": "

/* ---- a version that is one up, with every CRC right ---- */

struct bytes {
    uint8_t *data;
    size_t len;
};

static void bump_at(struct bytes *b, size_t at, size_t crc_at)
{
    b->data[at]++;
    tsdb_store_le32(b->data + crc_at, tsdb_crc32c(0, b->data, crc_at));
}

static void bump_series_log(struct bytes *b)
{
    bump_at(b, 8, 12);
}

static void bump_checkpoint(struct bytes *b)
{
    bump_at(b, 8, 60);
}

static void bump_head_or_metadata(struct bytes *b)
{
    bump_at(b, 8, 28);
}

/* The CRC is the file's end. */
static void bump_tombstones(struct bytes *b)
{
    bump_at(b, 4, b->len - 4);
}

static void bump_segment(struct bytes *b)
{
    bump_at(b, 8, 44);
}

/* The slot with the higher sequence. */
static void bump_position(struct bytes *b)
{
    bool second = b->len > 512 && tsdb_load_le64(b->data + 512 + 16) > tsdb_load_le64(b->data + 16);
    struct bytes slot = {b->data + (second ? 512 : 0), 64};
    bump_at(&slot, 8, 60);
}

static void bump_paged(struct bytes *b)
{
    paged_version_add(b->data, b->len, 1);
}

/* `"crc32c": "<hex>"` at the end, over what stands in front of the key's quote. */
static void bump_meta(struct bytes *b)
{
    char *text = (char *)b->data;
    char *version = strstr(text, META_PREFIX);
    char *key = strstr(text, "\"crc32c\"");
    char hex[9];
    assert_true(version && key);
    version[strlen(META_PREFIX)]++;
    snprintf(hex, sizeof hex, "%08x", tsdb_crc32c(0, text, (size_t)(key - text)));
    memcpy(key + strlen("\"crc32c\": \""), hex, 8);
}

static void bump_version(struct bytes *b)
{
    char *text = (char *)b->data;
    char *format = strstr(text, "format ");
    char *key = strstr(text, "crc32c ");
    char hex[9];
    assert_true(format && key);
    format[strlen("format ")]++;
    snprintf(hex, sizeof hex, "%08x", tsdb_crc32c(0, text, (size_t)(key - text)));
    memcpy(key + strlen("crc32c "), hex, 8);
}

static const struct row {
    const char *under, *name; /* the first file below `under` whose path ends in `name` */
    void (*bump)(struct bytes *b);
} rows[] = {
    {"VERSION", "", bump_version},
    {"series.log", "", bump_series_log},
    {"checkpoint/", "", bump_checkpoint},
    {"head/", "", bump_head_or_metadata},
    {"wal/0", "", bump_segment},
    {"wal/POSITION", "", bump_position},
    {"blocks/", "/meta.json", bump_meta},
    {"blocks/", "/chunks", bump_paged},
    {"blocks/", "/index", bump_paged},
    {"metadata", "", bump_head_or_metadata},
    {"blocks/", "/tombstones", bump_tombstones},
};

/* ---- the test ---- */

static void put_some(struct hx *h, uint32_t first)
{
    struct hx_sample s[20];
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(s); i++) {
        s[i] = hx_float(first + i, h->clock.wall_ms, i);
    }
    assert_ok(hx_put(h, s, TSDB_ARRAY_LEN(s), TSDB_DURABILITY_STRICT, NULL));
}

/* All kinds of files, and things that an open would set right: left-overs, a torn end of series.log,
 * a damaged block, references that do not fit, head files that nothing refers to. */
static void make_directory(struct scene *s)
{
    struct hx *h = &s->h;
    struct tsdb_error err;
    h->options.block_range_ms = RANGE;
    assert_ok(hx_open(h, NULL));
    for (uint32_t i = 0; i < 2; i++) {
        put_some(h, i * 20);
        assert_ok_err(tsdb_flush(h->db, &err), &err);
        tsdb_clock_sim_advance(&h->clock, RANGE);
    }
    assert_int_equal(hx_delete(h, 3), 1);
    put_some(h, 40);
    hx_seal_all(h);
    assert_ok_err(tsdb_checkpoint(h->db, &err), &err);
    struct tsdb_metadata m = {.metric = {(const uint8_t *)"m", 1}, .type = TSDB_METRIC_GAUGE};
    assert_ok(tsdb_metadata_put(h->db, &m));
    assert_int_equal(tsdb_metadata_step(h->db, h->clock.mono_ns), 1);
    put_some(h, 60);
    hx_die(h, false);
    const struct tsdb_fs *fs = &h->options.fs;
    struct tree *t = tree_read(fs);
    struct tsdb_file *f = NULL;
    assert_ok(fs->ops->open(fs->ctx, "series.log", TSDB_OPEN_WRITE, &f, NULL));
    assert_ok(fs->ops->pwrite(fs->ctx, f, "torn", 4, tree_find(t, "series.log", "")->len, NULL));
    fs->ops->close(fs->ctx, f);
    const struct tree_file *head = tree_find(t, "head/", "");
    tree_put(fs, "head/00000077", head->data, head->len); /* of another number */
    tree_put(fs, "VERSION.tmp", "x", 1);
    tree_put(fs, "checkpoint/00000099.tmp", "x", 1);
    tree_put(fs, "blocks/01ARZ3NDEKTSV4RRFFQ69G5FAV/meta.json", "{", 1);
    tree_put(fs, "blocks/01ARZ3NDEKTSV4RRFFQ69G5FAW.tmp/meta.json", "{", 1);
    tree_free(t);
}

/* The row's file, one version up, in a directory that is as t otherwise. */
static void check_row(struct hx *h, const struct tree *t, const struct row *r)
{
    const struct tsdb_fs *fs = &h->options.fs;
    const struct tree_file *f = tree_find(t, r->under, r->name);
    struct tsdb_error err = {0};
    if (!f) {
        fail_msg("no file %s...%s", r->under, r->name);
        return;
    }
    struct bytes newer = {malloc(f->len + 1), f->len};
    assert_non_null(newer.data);
    memcpy(newer.data, f->data, newer.len);
    newer.data[newer.len] = 0; /* some are text */
    r->bump(&newer);
    tree_put(fs, f->path, newer.data, newer.len);
    struct tree *before = tree_read(fs);
    enum tsdb_status status = hx_open(h, &err);
    if (status != TSDB_UNSUPPORTED || !strstr(err.msg, "version")) {
        fail_msg("%s: status %d, %s", f->path, (int)status, err.msg);
    }
    struct tree *after = tree_read(fs);
    assert_null(tree_lacks(after, before));
    assert_null(tree_lacks(before, after));
    tree_put(fs, f->path, f->data, f->len);
    free(newer.data);
    tree_free(before);
    tree_free(after);
}

static void tsdb_open__file_of_a_newer_version__refused_and_untouched(void **state)
{
    struct scene *s = *state;
    struct hx *h = &s->h;
    struct tsdb_error err;
    scene_begin(s, 1);
    make_directory(s);
    struct tree *t = tree_read(&h->options.fs);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        check_row(h, t, &rows[i]);
    }
    tree_free(t);
    assert_ok_err(hx_open(h, &err), &err); /* and with what this one knows all is there */
    assert_int_equal(hx_count(h), 79);
    assert_ok(hx_close(h, NULL));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(tsdb_open__file_of_a_newer_version__refused_and_untouched,
                                    scene_setup, scene_teardown),
};

TEST_MAIN(tests)
