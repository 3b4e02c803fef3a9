/* Blocks written and read. Besides its tests this program works on real folders, for
 * tests/e2e/test_prom_block.py, which lets promtool and Prometheus judge:
 *
 *   test_prom_block write DIR      write a block below DIR, print its samples as dump does
 *   test_prom_block delete DIR     delete [DELETE_FROM, DELETE_TO] of the first series of each block
 *   test_prom_block dump DIR       print the samples of all blocks below DIR:
 *                                  {name="value", ...} VALUE TIME     or for VALUE: count sum
 */
#include "tests/support/test.h"

#include "base/random.h"
#include "tests/support/histogram_same.h"
#include "tools/prom/block.h"
#include "tools/prom/tombstones.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ULID        "01M8CNJHPZ6X8F1H89W25XRQTM"
#define T_MIN       INT64_C(1700006400000) /* a multiple of two hours */
#define T_MAX       (T_MIN + 7200000)
#define DELETE_FROM (T_MIN + 60000)
#define DELETE_TO   (T_MIN + 600000)
#define SERIES      60u
#define SAMPLES     400u

/* ---- what is written ---- */
static char names[2][SERIES][24];
static struct tsdb_label labels_of[SERIES][2];
static int64_t t_ms[SAMPLES];
static uint64_t bits[SAMPLES];
static uint8_t kinds[SAMPLES];
static struct tsdb_histogram histograms[SAMPLES];
static struct tsdb_span spans[SAMPLES][2];
static int64_t deltas[SAMPLES][8];
static double counts[SAMPLES][8];

static struct tsdb_labels labels_make(uint32_t s)
{
    snprintf(names[0][s], sizeof names[0][s], "metric_%02u", s / 10);
    snprintf(names[1][s], sizeof names[1][s], "i%u", s % 10);
    labels_of[s][0] = tsdb_label_make("__name__", names[0][s]);
    labels_of[s][1] = tsdb_label_make("instance", names[1][s]);
    return (struct tsdb_labels){labels_of[s], 2};
}

/* Grows with i; its layout too, at times. */
static void histogram_make(uint32_t s, uint32_t i)
{
    struct tsdb_histogram *h = &histograms[i];
    bool is_float = s % 3 == 2;
    uint32_t wide = 1 + (i / 50) % 4;
    int64_t before = 0;
    *h = (struct tsdb_histogram){.is_float = is_float, .schema = 1, .zero_threshold = 0x1p-128};
    h->sum = i % 90 == 89 ? tsdb_bits_double(UINT64_C(0x7ff0000000000002)) : 1.5 * i;
    spans[i][0] = (struct tsdb_span){-2, 1};
    spans[i][1] = (struct tsdb_span){3, wide};
    for (uint32_t k = 0; k < 1 + wide; k++) {
        int64_t now = (int64_t)(i * (k + 1));
        deltas[i][k] = now - before;
        counts[i][k] = (double)now + 0.25;
        h->count_int += is_float ? 0 : (uint64_t)now;
        h->count_float += is_float ? counts[i][k] : 0;
        before = now;
    }
    h->positive_spans = spans[i];
    h->positive_span_count = 2;
    h->positive_bucket_count = 1 + wide;
    h->positive_deltas = is_float ? NULL : deltas[i];
    h->positive_counts = is_float ? counts[i] : NULL;
    kinds[i] = is_float ? TSDB_SAMPLE_HISTOGRAM_FLOAT : TSDB_SAMPLE_HISTOGRAM_INT;
    bits[i] = i;
}

static struct tsdb_columns columns_make(uint32_t s)
{
    struct tsdb_prng r;
    uint32_t n = s == 7 ? 0 : s == 8 ? 1 : SAMPLES;
    double walk = s;
    tsdb_prng_init(&r, s);
    for (uint32_t i = 0; i < n; i++) {
        t_ms[i] = T_MIN + 15000 * (int64_t)i + (s % 2 ? (int64_t)tsdb_prng_below(&r, 9) : 0);
        walk += tsdb_prng_double(&r);
        kinds[i] = TSDB_SAMPLE_FLOAT;
        bits[i] = tsdb_double_bits(s % 4 == 0 ? (double)(i / 7) : walk);
        if (i % 61 == 60) {
            static const uint64_t odd[] = {UINT64_C(0x7ff0000000000002), UINT64_C(1) << 63,
                                           UINT64_C(0x7ff0000000000000)};
            bits[i] = odd[i / 61 % 3];
        }
        if (s % 3 != 0 && s >= 30) {
            histogram_make(s, i);
        }
    }
    return (struct tsdb_columns){.count = n,
                                 .t_ms = t_ms,
                                 .bits = bits,
                                 .kind = kinds,
                                 .histograms = histograms,
                                 .histogram_count = n};
}

static enum tsdb_status write_block(const struct tsdb_fs *fs, const char *dir,
                                    struct prom_meta *out, struct tsdb_error *err)
{
    struct prom_block_writer *w;
    enum tsdb_status status = prom_block_writer_create(fs, dir, ULID, &w, err);
    if (status != TSDB_OK) {
        return status;
    }
    for (uint32_t s = SERIES; s-- > 0 && status == TSDB_OK;) {
        struct tsdb_labels l = labels_make(s);
        status = prom_block_writer_symbols(w, &l, err);
    }
    for (uint32_t s = 0; s < SERIES && status == TSDB_OK; s++) {
        struct tsdb_labels l = labels_make(s);
        struct tsdb_columns c = columns_make(s);
        status = prom_block_writer_series(w, &l, err);
        if (status == TSDB_OK) {
            status = prom_block_writer_samples(w, &c, err);
        }
    }
    if (status == TSDB_OK) {
        status = prom_block_writer_finish(w, T_MIN, T_MAX, out, err);
    }
    prom_block_writer_destroy(w);
    return status;
}

/* ---- the simulated disk ---- */
static struct tsdb_fs fs;
static struct tsdb_fs_sim *sim;

static int with_disk(void **state)
{
    (void)state;
    return tsdb_fs_sim_create(1, &sim, &fs) != TSDB_OK ||
           fs.ops->mkdir(fs.ctx, "data", NULL) != TSDB_OK;
}

static int without_disk(void **state)
{
    (void)state;
    tsdb_fs_sim_destroy(sim);
    return 0;
}

static void assert_series(struct prom_block *b, const struct prom_series *s, uint32_t number)
{
    struct tsdb_arena arena;
    struct tsdb_columns want = columns_make(number), c;
    struct tsdb_error err;
    uint32_t at = 0;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    for (uint32_t i = 0; i < s->chunk_count; i++) {
        tsdb_arena_reset(&arena);
        assert_ok_err(prom_block_read(b, s, i, &arena, &c, &err), &err);
        assert_int_equal(c.t_ms[0], s->chunks[i].t_min);
        assert_int_equal(c.t_ms[c.count - 1], s->chunks[i].t_max);
        for (uint32_t k = 0; k < c.count; k++, at++) {
            assert_true(at < want.count && c.t_ms[k] == want.t_ms[at]);
            if (c.kind) {
                assert_true(test_histogram_same(&c.histograms[c.bits[k]], &histograms[at]));
            } else {
                assert_int_equal(c.bits[k], want.bits[at]);
            }
        }
    }
    assert_int_equal(at, want.count);
    tsdb_arena_deinit(&arena);
}

static void prom_block_read__what_was_written__same_samples(void **state)
{
    (void)state;
    struct prom_meta meta;
    struct prom_block *b;
    struct prom_series s;
    struct tsdb_arena arena;
    struct tsdb_error err;
    assert_ok_err(write_block(&fs, "data", &meta, &err), &err);
    assert_int_equal(meta.series, SERIES - 1); /* one had no samples */
    assert_int_equal(meta.samples, (SERIES - 2) * SAMPLES + 1);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok_err(prom_block_open(&fs, "data/" ULID, &b, &err), &err);
    assert_string_equal(prom_block_meta(b)->ulid, ULID);
    assert_int_equal(prom_block_meta(b)->chunks, meta.chunks);
    assert_int_equal(prom_block_meta(b)->t_max, T_MAX);
    for (uint32_t i = 0; i < SERIES; i++) {
        struct tsdb_labels want = labels_make(i);
        if (i == 7) {
            continue;
        }
        assert_ok_err(prom_block_next(b, &arena, &s, &err), &err);
        assert_true(tsdb_labels_equal(&s.labels, &want));
        assert_series(b, &s, i);
    }
    assert_int_equal(prom_block_next(b, &arena, &s, &err), TSDB_NOT_FOUND);
    prom_block_close(b);
    tsdb_arena_deinit(&arena);
}

static enum tsdb_status count_names(void *arg, const char *name, bool is_dir)
{
    (void)name;
    (void)is_dir;
    ++*(uint32_t *)arg;
    return TSDB_OK;
}

static uint32_t names_in(const char *dir)
{
    uint32_t n = 0;
    assert_ok(fs.ops->list(fs.ctx, dir, count_names, &n, NULL));
    return n;
}

static void prom_block_writer_finish__nothing_or_outside__no_block(void **state)
{
    (void)state;
    struct prom_block_writer *w;
    struct prom_meta meta;
    struct tsdb_labels l = labels_make(1);
    assert_ok(prom_block_writer_create(&fs, "data", ULID, &w, NULL));
    assert_ok(prom_block_writer_symbols(w, &l, NULL));
    assert_ok(prom_block_writer_series(w, &l, NULL));
    assert_int_equal(prom_block_writer_finish(w, T_MIN, T_MAX, &meta, NULL), TSDB_NOT_FOUND);
    prom_block_writer_destroy(w);
    assert_int_equal(names_in("data"), 0);
    assert_ok(prom_block_writer_create(&fs, "data", ULID, &w, NULL));
    assert_ok(prom_block_writer_symbols(w, &l, NULL));
    assert_ok(prom_block_writer_series(w, &l, NULL));
    struct tsdb_columns c = columns_make(1);
    assert_ok(prom_block_writer_samples(w, &c, NULL));
    assert_int_equal(prom_block_writer_finish(w, T_MIN, T_MIN + 5000, &meta, NULL), TSDB_INVALID);
    prom_block_writer_destroy(w);
    assert_int_equal(names_in("data"), 0);
}

/* The block is there as a whole or not at all, whatever the disk does. */
static void prom_block_writer__disk_fails_at_any_write__no_block(void **state)
{
    (void)state;
    struct prom_meta meta;
    struct tsdb_error err;
    enum tsdb_status status = TSDB_IO;
    uint32_t failed = 0;
    for (uint64_t op = 1; status != TSDB_OK; op++) {
        struct prom_block *b;
        tsdb_fs_sim_fault(sim, TSDB_FAULT_EIO, op, 1);
        status = write_block(&fs, "data", &meta, &err);
        tsdb_fs_sim_fault(sim, TSDB_FAULT_NONE, 0, 0);
        if (status == TSDB_OK) {
            break;
        }
        assert_int_equal(status, TSDB_IO);
        enum tsdb_status opened = prom_block_open(&fs, "data/" ULID, &b, &err);
        if (opened == TSDB_OK) { /* only the last sync failed */
            prom_block_close(b);
            assert_ok(fs.ops->rename(fs.ctx, "data/" ULID, "data/old", NULL));
        } else {
            assert_int_equal(opened, TSDB_NOT_FOUND);
        }
        failed++;
    }
    assert_true(failed >= 8);
}

static void prom_block_read__deleted__left_out(void **state)
{
    (void)state;
    struct prom_meta meta;
    struct prom_block *b;
    struct prom_series s;
    struct tsdb_columns c;
    struct tsdb_arena arena;
    uint32_t n = 0;
    assert_ok(write_block(&fs, "data", &meta, NULL));
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(prom_block_open(&fs, "data/" ULID, &b, NULL));
    assert_ok(prom_block_next(b, &arena, &s, NULL));
    struct prom_tombstone gone = {s.id, DELETE_FROM, DELETE_TO};
    prom_block_close(b);
    assert_ok(prom_tombstones_write(&fs, "data/" ULID "/tombstones", &gone, 1, NULL));
    assert_ok(prom_block_open(&fs, "data/" ULID, &b, NULL));
    assert_ok(prom_block_next(b, &arena, &s, NULL));
    for (uint32_t i = 0; i < s.chunk_count; i++) {
        assert_ok(prom_block_read(b, &s, i, &arena, &c, NULL));
        for (uint32_t k = 0; k < c.count; k++, n++) {
            assert_true(c.t_ms[k] < DELETE_FROM || c.t_ms[k] > DELETE_TO);
        }
    }
    assert_int_equal(n, SAMPLES - (DELETE_TO - DELETE_FROM) / 15000 - 1);
    prom_block_close(b);
    tsdb_arena_deinit(&arena);
}

/* ---- on real folders ---- */
struct tool {
    struct tsdb_fs fs;
    bool delete;
    struct tsdb_error err;
};

static void print_sample(const struct prom_series *s, const struct tsdb_columns *c, uint32_t i)
{
    for (uint32_t k = 0; k < s->labels.count; k++) {
        const struct tsdb_label *l = &s->labels.items[k];
        printf("%s%.*s=\"%.*s\"", k == 0 ? "{" : ", ", (int)l->name_len, l->name, (int)l->value_len,
               l->value);
    }
    if (!c->kind || c->kind[i] == TSDB_SAMPLE_FLOAT) {
        printf("} %.17g %" PRId64 "\n", tsdb_bits_double(c->bits[i]), c->t_ms[i]);
        return;
    }
    const struct tsdb_histogram *h = &c->histograms[c->bits[i]];
    bool stale = tsdb_histogram_is_stale(h);
    printf("} %.17g %.17g %" PRId64 "\n",
           stale         ? 0
           : h->is_float ? h->count_float
                         : (double)h->count_int,
           h->sum, c->t_ms[i]);
}

static enum tsdb_status dump_block(struct tool *t, const char *path)
{
    struct prom_block *b;
    struct prom_series s;
    struct tsdb_arena arena;
    enum tsdb_status status = prom_block_open(&t->fs, path, &b, &t->err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 65536, NULL);
    while (status == TSDB_OK && (status = prom_block_next(b, &arena, &s, &t->err)) == TSDB_OK) {
        for (uint32_t i = 0; i < s.chunk_count && status == TSDB_OK; i++) {
            struct tsdb_columns c;
            status = prom_block_read(b, &s, i, &arena, &c, &t->err);
            for (uint32_t k = 0; status == TSDB_OK && k < c.count; k++) {
                print_sample(&s, &c, k);
            }
        }
        tsdb_arena_reset(&arena);
    }
    tsdb_arena_deinit(&arena);
    prom_block_close(b);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

static enum tsdb_status delete_some(struct tool *t, const char *name)
{
    char path[300];
    struct prom_index *x;
    struct prom_series s;
    struct tsdb_arena arena;
    snprintf(path, sizeof path, "%s/index", name);
    enum tsdb_status status = prom_index_open(&t->fs, path, &x, &t->err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    status = prom_index_next(x, &arena, &s, &t->err);
    if (status == TSDB_OK) {
        struct prom_tombstone gone = {s.id, DELETE_FROM, DELETE_TO};
        snprintf(path, sizeof path, "%s/tombstones", name);
        status = prom_tombstones_write(&t->fs, path, &gone, 1, &t->err);
    }
    tsdb_arena_deinit(&arena);
    prom_index_close(x);
    return status;
}

static enum tsdb_status each_block(void *arg, const char *name, bool is_dir)
{
    struct tool *t = arg;
    if (!is_dir || !prom_ulid_valid(name, strlen(name))) {
        return TSDB_OK;
    }
    return t->delete ? delete_some(t, name) : dump_block(t, name);
}

static int tool_main(const char *verb, const char *dir)
{
    struct tool t = {.delete = strcmp(verb, "delete") == 0};
    struct prom_meta meta;
    enum tsdb_status status = tsdb_fs_real_create(dir, &t.fs, &t.err);
    if (status == TSDB_OK && strcmp(verb, "write") == 0) {
        status = write_block(&t.fs, "", &meta, &t.err);
    }
    if (status == TSDB_OK) {
        status = t.fs.ops->list(t.fs.ctx, "", each_block, &t, &t.err);
    }
    if (status != TSDB_OK) {
        fprintf(stderr, "%s\n", t.err.msg);
    }
    tsdb_fs_real_destroy(&t.fs);
    return status == TSDB_OK ? 0 : 1;
}

#define T(name) cmocka_unit_test_setup_teardown(name, with_disk, without_disk)
static const struct CMUnitTest tests[] = {
    T(prom_block_read__what_was_written__same_samples),
    T(prom_block_writer_finish__nothing_or_outside__no_block),
    T(prom_block_writer__disk_fails_at_any_write__no_block),
    T(prom_block_read__deleted__left_out),
};

int main(int argc, char **argv)
{
    if (argc == 3) {
        return tool_main(argv[1], argv[2]);
    }
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests_name(argv[0], tests, NULL, NULL);
}
