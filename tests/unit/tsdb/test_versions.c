/* A file of a newer version, of whatever kind: the directory does not open, and nothing in it is
 * moved, removed or written. */
#include "tests/support/test.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/paged_file.h"
#include "tests/support/tsdb/scene.h"
#include "tsdb/engine/db_private.h"

#define RANGE       INT64_C(60000)
#define FILES_MAX   64u
#define PAGE_BYTES  65536u
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

/* The trailer of a paged file: the version is in front of the CRC of directory and trailer. */
static void bump_paged(struct bytes *b)
{
    assert_true(b->len > PAGED_TRAILER_BYTES);
    uint8_t *trailer = b->data + b->len - PAGED_TRAILER_BYTES;
    size_t directory = tsdb_load_le32(trailer + 8);
    trailer[20]++;
    uint32_t crc = tsdb_crc32c(0, trailer - directory, directory + PAGED_TRAILER_BYTES - 4);
    tsdb_store_le32(b->data + b->len - 4, crc);
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
    {"VERSION", "", bump_version},        {"series.log", "", bump_series_log},
    {"checkpoint/", "", bump_checkpoint}, {"head/", "", bump_head_or_metadata},
    {"wal/0", "", bump_segment},          {"wal/POSITION", "", bump_position},
    {"blocks/", "/meta.json", bump_meta}, {"blocks/", "/chunks", bump_paged},
    {"blocks/", "/index", bump_paged},    {"metadata", "", bump_head_or_metadata},
};

/* ---- the whole directory ---- */

struct tree {
    const struct tsdb_fs *fs;
    char dir[128];
    uint32_t count;
    char paths[FILES_MAX][96];
    struct bytes files[FILES_MAX];
};

static enum tsdb_status tree_found(void *arg, const char *name, bool is_dir)
{
    struct tree *t = arg;
    char before[sizeof t->dir];
    memcpy(before, t->dir, sizeof before);
    if (is_dir) {
        snprintf(t->dir, sizeof t->dir, "%.60s%s%.60s", before, before[0] ? "/" : "", name);
        assert_ok(t->fs->ops->list(t->fs->ctx, t->dir, tree_found, t, NULL));
        memcpy(t->dir, before, sizeof before);
        return TSDB_OK;
    }
    assert_true(t->count < FILES_MAX);
    snprintf(t->paths[t->count++], sizeof t->paths[0], "%.40s%s%.40s", before, before[0] ? "/" : "",
             name);
    return TSDB_OK;
}

static void tree_free(struct tree *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        tsdb_mem_free(TSDB_MEM_OTHER, t->files[i].data, t->files[i].len);
    }
    free(t);
}

static struct tree *tree_read(const struct tsdb_fs *fs)
{
    struct tree *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->fs = fs;
    assert_ok(fs->ops->list(fs->ctx, "", tree_found, t, NULL));
    for (uint32_t i = 0; i < t->count; i++) {
        assert_ok(tsdb_file_read_all(fs, t->paths[i], 16u << 20, TSDB_MEM_OTHER, &t->files[i].data,
                                     &t->files[i].len, NULL));
    }
    return t;
}

static void assert_same_tree(const struct tree *a, const struct tree *b)
{
    assert_int_equal(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        uint32_t k = 0;
        while (k < b->count && strcmp(a->paths[i], b->paths[k]) != 0) {
            k++;
        }
        if (k == b->count) {
            fail_msg("%s is gone", a->paths[i]);
        }
        assert_int_equal(a->files[i].len, b->files[k].len);
        if (a->files[i].len > 0) {
            assert_memory_equal(a->files[i].data, b->files[k].data, a->files[i].len);
        }
    }
}

static uint32_t tree_find(const struct tree *t, const struct row *r)
{
    for (uint32_t i = 0; i < t->count; i++) {
        size_t len = strlen(t->paths[i]), end = strlen(r->name);
        if (strncmp(t->paths[i], r->under, strlen(r->under)) == 0 && len >= end &&
            strcmp(t->paths[i] + len - end, r->name) == 0) {
            return i;
        }
    }
    fail_msg("no file %s...%s", r->under, r->name);
    return 0;
}

static void overwrite(const struct tsdb_fs *fs, const char *path, const void *data, size_t len)
{
    struct tsdb_file *f = NULL;
    assert_ok(fs->ops->open(fs->ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE,
                            &f, NULL));
    if (len > 0) {
        assert_ok(fs->ops->pwrite(fs->ctx, f, data, len, 0, NULL));
    }
    fs->ops->close(fs->ctx, f);
}

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
    put_some(h, 40);
    for (uint32_t i = 0; i < h->options.owner_count; i++) {
        owner_job_request(&h->db->owners[i], OWNER_JOB_SEAL, (uint64_t)h->clock.wall_ms + 1);
    }
    hx_settle(h);
    tsdb_seal_step(h->db, h->clock.mono_ns);
    hx_settle(h);
    assert_ok_err(tsdb_checkpoint(h->db, &err), &err);
    struct tsdb_metadata m = {.metric = {(const uint8_t *)"m", 1}, .type = TSDB_METRIC_GAUGE};
    assert_ok(tsdb_metadata_put(h->db, &m));
    assert_int_equal(tsdb_metadata_step(h->db, h->clock.mono_ns), 1);
    put_some(h, 60);
    hx_die(h, false);
    const struct tsdb_fs *fs = &h->options.fs;
    struct tree *t = tree_read(fs);
    const struct row head = {"head/", "", NULL}, series = {"series.log", "", NULL};
    uint32_t k = tree_find(t, &series);
    struct tsdb_file *f = NULL;
    assert_ok(fs->ops->open(fs->ctx, "series.log", TSDB_OPEN_WRITE, &f, NULL));
    assert_ok(fs->ops->pwrite(fs->ctx, f, "torn", 4, t->files[k].len, NULL));
    fs->ops->close(fs->ctx, f);
    k = tree_find(t, &head);
    overwrite(fs, "head/00000077", t->files[k].data, t->files[k].len); /* of another number */
    overwrite(fs, "VERSION.tmp", "x", 1);
    overwrite(fs, "checkpoint/00000099.tmp", "x", 1);
    assert_ok(fs->ops->mkdir(fs->ctx, "blocks/01ARZ3NDEKTSV4RRFFQ69G5FAV", NULL));
    overwrite(fs, "blocks/01ARZ3NDEKTSV4RRFFQ69G5FAV/meta.json", "{", 1);
    assert_ok(fs->ops->mkdir(fs->ctx, "blocks/01ARZ3NDEKTSV4RRFFQ69G5FAW.tmp", NULL));
    overwrite(fs, "blocks/01ARZ3NDEKTSV4RRFFQ69G5FAW.tmp/meta.json", "{", 1);
    tree_free(t);
}

static void tsdb_open__file_of_a_newer_version__refused_and_untouched(void **state)
{
    struct scene *s = *state;
    struct hx *h = &s->h;
    const struct tsdb_fs *fs = &h->options.fs;
    struct tsdb_error err;
    scene_begin(s, 1);
    make_directory(s);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        struct tree *t = tree_read(fs);
        uint32_t k = tree_find(t, &rows[i]);
        struct bytes newer = {malloc(t->files[k].len + 1), t->files[k].len};
        assert_non_null(newer.data);
        memcpy(newer.data, t->files[k].data, newer.len);
        newer.data[newer.len] = 0; /* some are text */
        rows[i].bump(&newer);
        overwrite(fs, t->paths[k], newer.data, newer.len);
        struct tree *before = tree_read(fs);
        tsdb_error_clear(&err);
        enum tsdb_status status = hx_open(h, &err);
        if (status != TSDB_UNSUPPORTED || !strstr(err.msg, "version")) {
            fail_msg("%s: status %d, %s", t->paths[k], (int)status, err.msg);
        }
        struct tree *after = tree_read(fs);
        assert_same_tree(before, after);
        assert_same_tree(after, before);
        overwrite(fs, t->paths[k], t->files[k].data, t->files[k].len);
        free(newer.data);
        tree_free(before);
        tree_free(after);
        tree_free(t);
    }
    assert_ok_err(hx_open(h, &err), &err); /* and with what this one knows all is there */
    assert_int_equal(hx_count(h), 80);
    assert_ok(hx_close(h, NULL));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(tsdb_open__file_of_a_newer_version__refused_and_untouched,
                                    scene_setup, scene_teardown),
};

TEST_MAIN(tests)
