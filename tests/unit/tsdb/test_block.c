/* Invariants checked: what was written is read back, to the last bit, through a cache of any size;
 * after a failure or a death at any file operation there is no block or a whole one; changed and
 * cut files are refused by name; meta.json reads back or is refused. */
#include "tests/support/test.h"

#include "base/crc32c.h"
#include "base/random.h"
#include "tsdb/block/block_private.h"
#include "tsdb/block/ulid.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DIR         "blocks"
#define SERIES_MAX  300u
#define CHUNKS_MAX  4u
#define SAMPLES_MAX 120u
#define HOUR        (INT64_C(3600) * 1000)

struct model_chunk {
    struct chunk_samples samples;
    int64_t t_ms[SAMPLES_MAX], start_ms[SAMPLES_MAX];
    uint64_t value[SAMPLES_MAX];
    struct tsdb_raw_histogram raw[SAMPLES_MAX];
};
struct model_series {
    char text[3][24];
    struct tsdb_label items[3];
    struct tsdb_labels labels;
    uint64_t hash;
    uint32_t chunk_count;
    struct model_chunk *chunks[CHUNKS_MAX];
};
struct model {
    struct tsdb_prng prng;
    struct tsdb_hash_key key;
    uint32_t count;
    struct model_series series[SERIES_MAX];
};
struct fixture {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct cache_l2 *cache;
    struct tsdb_arena arena;
    struct model *model;
    uint64_t used;
};

/* ---- the model ---- */

static void chunk_fill(struct model *m, struct model_chunk *c, uint32_t target, uint32_t window,
                       uint32_t count)
{
    static const uint8_t raw[] = "0123456789abcdef";
    struct tsdb_prng jitter; /* all series of a target have the same times */
    uint64_t kind = tsdb_prng_below(&m->prng, 8);
    tsdb_prng_init(&jitter, target * 100 + window);
    int64_t t = (int64_t)window * HOUR;
    double v = (double)tsdb_prng_below(&m->prng, 100000);
    for (uint32_t i = 0; i < count; i++) {
        t += 15000 + (int64_t)tsdb_prng_below(&jitter, 40) - 20;
        c->t_ms[i] = t;
        c->start_ms[i] = t - 5000;
        v += (double)tsdb_prng_below(&m->prng, 1000) / 100 - 4;
        c->value[i] = tsdb_prng_below(&m->prng, 50) ? tsdb_double_bits(v) : TSDB_STALE_NAN_BITS;
        c->raw[i] = (struct tsdb_raw_histogram){1 + (uint32_t)tsdb_prng_below(&m->prng, 15), raw};
        if (kind < 2) {
            c->value[i] = (uint64_t)(uintptr_t)&c->raw[i];
        }
    }
    c->samples =
        (struct chunk_samples){kind < 2 ? (enum tsdb_sample_kind)(1 + kind) : TSDB_SAMPLE_FLOAT,
                               count, c->t_ms, c->value, kind == 2 ? c->start_ms : NULL};
}

static struct model *model_create(uint64_t seed, uint32_t count)
{
    static const uint8_t key[TSDB_HASH_SEED_BYTES] = {4};
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    tsdb_prng_init(&m->prng, seed);
    tsdb_hash_key_init(&m->key, key);
    m->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct model_series *s = &m->series[i];
        uint32_t target = i % 10;
        (void)snprintf(s->text[0], sizeof s->text[0], "metric_%03u", i / 10);
        (void)snprintf(s->text[1], sizeof s->text[1], "host-%02u", target);
        s->items[0] = tsdb_label_make("__name__", s->text[0]);
        s->items[1] = tsdb_label_make("instance", s->text[1]);
        s->items[2] = tsdb_label_make("job", i % 3 ? "node" : "api");
        s->labels = (struct tsdb_labels){s->items, 3};
        s->hash = tsdb_labels_hash(&m->key, &s->labels);
        s->chunk_count = (uint32_t)tsdb_prng_below(&m->prng, CHUNKS_MAX + 1);
        for (uint32_t k = 0; k < s->chunk_count; k++) {
            s->chunks[k] = calloc(1, sizeof *s->chunks[k]);
            chunk_fill(m, s->chunks[k], target, k, i % 7 ? SAMPLES_MAX : 1 + i % 100);
        }
    }
    return m;
}

static void model_destroy(struct model *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        for (uint32_t k = 0; k < m->series[i].chunk_count; k++) {
            free(m->series[i].chunks[k]);
        }
    }
    free(m);
}

static enum tsdb_status model_write(const struct model *m, const struct tsdb_fs *fs,
                                    struct block_meta *out, struct tsdb_error *err)
{
    struct block_writer *w;
    const struct block_writer_options o = {.fs = fs,
                                           .dir = DIR,
                                           .wall_ms = 1700000000000,
                                           .random = {1, 2},
                                           .level = 1,
                                           .sequence = 7};
    enum tsdb_status status = block_writer_open(&o, &w, err);
    if (status != TSDB_OK) {
        return status;
    }
    for (uint32_t i = 0; i < m->count && status == TSDB_OK; i++) {
        const struct model_series *s = &m->series[i];
        status = block_writer_series(w, &s->labels, err);
        for (uint32_t k = 0; k < s->chunk_count && status == TSDB_OK; k++) {
            status = block_writer_chunk(w, &s->chunks[k]->samples, NULL, 0, err);
        }
    }
    if (status != TSDB_OK) {
        block_writer_abort(w);
        return status;
    }
    return block_writer_finish(w, 0, CHUNKS_MAX * HOUR, out, err);
}

static uint64_t mem_used(void)
{
    return tsdb_mem_used(TSDB_MEM_INDEX) + tsdb_mem_used(TSDB_MEM_QUERY) +
           tsdb_mem_used(TSDB_MEM_OTHER) + tsdb_mem_used(TSDB_MEM_CACHE);
}

static void fixture_init(struct fixture *f, uint64_t seed, uint32_t series, uint64_t cache_bytes)
{
    memset(f, 0, sizeof *f);
    f->used = mem_used();
    assert_ok(tsdb_fs_sim_create(seed, &f->sim, &f->fs));
    assert_ok(cache_l2_create(cache_bytes, &f->cache, NULL));
    tsdb_arena_init(&f->arena, TSDB_MEM_QUERY, 4096, NULL);
    f->model = model_create(seed, series);
}

static void fixture_deinit(struct fixture *f)
{
    tsdb_arena_deinit(&f->arena);
    cache_l2_destroy(f->cache);
    tsdb_fs_sim_destroy(f->sim);
    model_destroy(f->model);
    assert_int_equal(mem_used(), f->used);
}

/* ---- what is read ---- */

static void samples_equal(const struct chunk_samples *a, const struct chunk_samples *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->t_ms, b->t_ms, a->count * sizeof *a->t_ms);
    assert_true((!a->start_ms) == (!b->start_ms));
    for (uint32_t i = 0; i < a->count; i++) {
        assert_true(!a->start_ms || a->start_ms[i] == b->start_ms[i]);
        if (a->kind == TSDB_SAMPLE_FLOAT) {
            assert_int_equal(a->value[i], b->value[i]);
        } else {
            const struct tsdb_raw_histogram *x = (const void *)(uintptr_t)a->value[i];
            const struct tsdb_raw_histogram *y = (const void *)(uintptr_t)b->value[i];
            assert_int_equal(x->len, y->len);
            assert_memory_equal(x->data, y->data, x->len);
        }
    }
}

static void series_check(struct fixture *f, const struct block *b, uint32_t id)
{
    const struct model_series *s = &f->model->series[id];
    struct tsdb_labels labels;
    struct block_chunk *chunks;
    uint32_t count;
    uint32_t found;
    struct tsdb_error err = {0};
    assert_ok_err(block_labels(b, id, &f->arena, &labels, &err), &err);
    assert_true(tsdb_labels_equal(&labels, &s->labels));
    assert_ok_err(block_find(b, &s->labels, &found, &err), &err);
    assert_int_equal(found, id);
    assert_ok_err(block_chunks(b, id, TSDB_TIME_ALL, &f->arena, &chunks, &count, &err), &err);
    assert_int_equal(count, s->chunk_count);
    for (uint32_t k = 0; k < count; k++) {
        struct chunk_samples back;
        struct chunk_summary want;
        chunk_summarize(&s->chunks[k]->samples, &want);
        assert_int_equal(chunks[k].summary.min_ms, want.min_ms);
        assert_int_equal(chunks[k].summary.max_ms, want.max_ms);
        assert_int_equal(chunks[k].summary.resets, want.resets);
        assert_int_equal(chunks[k].summary.stale, want.stale);
        assert_ok_err(block_chunk_read(b, &chunks[k], &f->arena, &back, &err), &err);
        samples_equal(&back, &s->chunks[k]->samples);
    }
}

static void block_check(struct fixture *f, const char *ulid)
{
    struct block *b;
    struct tsdb_error err = {0};
    assert_ok_err(block_open(&f->fs, DIR, ulid, f->cache, &b, &err), &err);
    assert_int_equal(block_meta(b)->series, f->model->count);
    for (uint32_t id = 0; id < f->model->count; id++) {
        series_check(f, b, id);
        tsdb_arena_reset(&f->arena);
    }
    assert_ok_err(block_verify(b, &err), &err);
    block_close(b);
}

static void block__random_series__read_back(void **state)
{
    (void)state;
    static const struct {
        uint32_t series;
        uint64_t cache_bytes;
    } cases[] = {{1, 1u << 20}, {16, 0}, {17, 1u << 20}, {SERIES_MAX, 8 * 65536}, {40, 65536}};
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct fixture f;
        struct block_meta meta;
        struct tsdb_file_info info;
        struct tsdb_error err = {0};
        uint64_t samples = 0;
        uint64_t bytes = 0;
        char path[BLOCK_PATH_BYTES];
        static const char *const names[] = {"index", "chunks", "meta.json"};
        fixture_init(&f, 40 + i, cases[i].series, cases[i].cache_bytes);
        assert_ok_err(model_write(f.model, &f.fs, &meta, &err), &err);
        for (uint32_t s = 0; s < f.model->count; s++) {
            for (uint32_t k = 0; k < f.model->series[s].chunk_count; k++) {
                samples += f.model->series[s].chunks[k]->samples.count;
            }
        }
        for (uint32_t k = 0; k < 3; k++) {
            assert_ok(block_path(path, DIR, meta.ulid, "", names[k], NULL));
            assert_ok(f.fs.ops->stat(f.fs.ctx, path, &info, NULL));
            bytes += info.size_bytes;
        }
        assert_int_equal(meta.samples, samples);
        assert_int_equal(meta.bytes, bytes);
        assert_int_equal(meta.sequence, 7);
        assert_int_equal(ulid_time_ms(meta.ulid), 1700000000000);
        block_check(&f, meta.ulid);
        fixture_deinit(&f);
    }
}

/* Series of one target have the same times: all but the first of a scrape refer to them. */
static void block_writer_chunk__same_times__stored_once(void **state)
{
    (void)state;
    uint64_t bytes[2];
    for (uint32_t jitter = 0; jitter < 2; jitter++) {
        struct tsdb_fs_sim *sim;
        struct tsdb_fs fs;
        struct block_writer *w;
        struct block_meta meta;
        struct tsdb_prng prng;
        int64_t t_ms[SAMPLES_MAX];
        static uint64_t value[SAMPLES_MAX]; /* constant */
        assert_ok(tsdb_fs_sim_create(1, &sim, &fs));
        tsdb_prng_init(&prng, 3);
        const struct block_writer_options o = {.fs = &fs, .dir = DIR, .level = 1};
        assert_ok(block_writer_open(&o, &w, NULL));
        for (uint32_t i = 0; i < 50; i++) {
            char text[16];
            (void)snprintf(text, sizeof text, "%03u", i);
            struct tsdb_label item = tsdb_label_make("a", text);
            struct tsdb_labels labels = {&item, 1};
            struct chunk_samples s = {TSDB_SAMPLE_FLOAT, SAMPLES_MAX, t_ms, value, NULL};
            for (uint32_t k = 0; k < SAMPLES_MAX && (i == 0 || jitter); k++) {
                t_ms[k] = k * 15000 + (int64_t)tsdb_prng_below(&prng, 4000);
            }
            assert_ok(block_writer_series(w, &labels, NULL));
            assert_ok(block_writer_chunk(w, &s, NULL, 0, NULL));
        }
        assert_ok(block_writer_finish(w, 0, HOUR, &meta, NULL));
        bytes[jitter] = meta.bytes;
        tsdb_fs_sim_destroy(sim);
    }
    assert_true(bytes[1] - bytes[0] > 49 * SAMPLES_MAX); /* at least a byte per sample */
}

static void block_select__matchers__ids_in_order(void **state)
{
    (void)state;
    struct fixture f;
    struct block_meta meta;
    struct block *b;
    struct index_matcher *m;
    uint32_t *ids;
    uint32_t count;
    const struct tsdb_matcher source = {TSDB_MATCH_RE, "instance", "host-0[34]", 8, 10};
    fixture_init(&f, 9, 100, 1u << 20);
    assert_ok(model_write(f.model, &f.fs, &meta, NULL));
    assert_ok(block_open(&f.fs, DIR, meta.ulid, f.cache, &b, NULL));
    assert_ok(index_matcher_compile(&source, &m, NULL));
    assert_ok(block_select(b, (const struct index_matcher *const *)&m, 1, NULL, &f.arena, &ids,
                           &count, NULL));
    assert_int_equal(count, 20);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(ids[i], i / 2 * 10 + 3 + i % 2);
    }
    index_matcher_destroy(m);
    block_close(b);
    fixture_deinit(&f);
}

/* ---- the writer refuses ---- */

static void block_writer_finish__no_series_or_out_of_range__no_block(void **state)
{
    (void)state;
    struct fixture f;
    struct block_writer *w;
    struct block_meta meta;
    struct block_name *names;
    uint32_t count = 9;
    fixture_init(&f, 5, 1, 0);
    const struct block_writer_options o = {.fs = &f.fs, .dir = DIR};
    assert_ok(block_writer_open(&o, &w, NULL));
    assert_int_equal(block_writer_finish(w, 0, 1, &meta, NULL), TSDB_NOT_FOUND);
    for (uint32_t i = 0; i < 3; i++) {
        int64_t t_ms[] = {10, 20};
        uint64_t value[] = {0, 0};
        struct chunk_samples s = {TSDB_SAMPLE_FLOAT, 2, t_ms, value, NULL};
        assert_ok(block_writer_open(&o, &w, NULL));
        assert_ok(block_writer_series(w, &f.model->series[0].labels, NULL));
        assert_ok(block_writer_chunk(w, &s, NULL, 0, NULL));
        if (i == 2) { /* the same again overlaps */
            assert_int_equal(block_writer_chunk(w, &s, NULL, 0, NULL), TSDB_INVALID);
        }
        assert_int_equal(block_writer_finish(w, i == 0 ? 11 : 0, i == 1 ? 20 : 30, &meta, NULL),
                         TSDB_INVALID);
    }
    assert_ok(block_dir_list(&f.fs, DIR, &f.arena, &names, &count, NULL));
    assert_int_equal(count, 0);
    assert_ok(block_dir_clean(&f.fs, DIR, &count, NULL));
    assert_int_equal(count, 0); /* a writer that failed cleans up behind itself */
    fixture_deinit(&f);
}

/* ---- faults ---- */

static uint32_t blocks_count(struct fixture *f, char *ulid)
{
    struct block_name *names;
    uint32_t count;
    assert_ok(block_dir_list(&f->fs, DIR, &f->arena, &names, &count, NULL));
    if (count > 0) {
        memcpy(ulid, names[0].ulid, sizeof names[0].ulid);
    }
    return count;
}

static uint64_t write_ops(void)
{
    struct fixture f;
    struct block_meta meta;
    fixture_init(&f, 77, 60, 0);
    assert_ok(model_write(f.model, &f.fs, &meta, NULL));
    uint64_t ops = tsdb_fs_sim_op_count(f.sim);
    fixture_deinit(&f);
    return ops;
}

static void block_writer__death_at_every_operation__no_block_or_a_whole_one(void **state)
{
    (void)state;
    uint64_t ops = write_ops();
    uint32_t whole = 0;
    assert_true(ops > 10);
    for (uint64_t op = 1; op <= ops + 1; op++) {
        for (uint32_t kill = 0; kill < 2; kill++) {
            struct fixture f;
            struct block_meta meta;
            char ulid[BLOCK_ULID_CHARS + 1];
            uint32_t removed;
            fixture_init(&f, 77, 60, 1u << 20);
            tsdb_fs_sim_fault(f.sim, TSDB_FAULT_HALT, op, 1);
            enum tsdb_status status = model_write(f.model, &f.fs, &meta, NULL);
            assert_int_equal(status, op <= ops ? TSDB_IO : TSDB_OK);
            (kill ? tsdb_fs_sim_kill : tsdb_fs_sim_crash)(f.sim);
            uint32_t count = blocks_count(&f, ulid);
            assert_true(status != TSDB_OK || count == 1);
            if (count == 1) {
                block_check(&f, ulid);
                whole++;
            }
            assert_ok(block_dir_clean(&f.fs, DIR, &removed, NULL));
            assert_true(removed + count <= 1);
            assert_ok(block_dir_clean(&f.fs, DIR, &removed, NULL));
            assert_int_equal(removed, 0);
            fixture_deinit(&f);
        }
    }
    assert_true(whole >= 2);
}

static void block_writer__fault_at_every_operation__error_and_nothing_left(void **state)
{
    (void)state;
    static const enum tsdb_fs_fault faults[] = {TSDB_FAULT_EIO, TSDB_FAULT_ENOSPC};
    uint64_t ops = write_ops();
    for (uint64_t op = 1; op <= ops; op++) {
        for (uint32_t k = 0; k < 2; k++) {
            struct fixture f;
            struct block_meta meta;
            char ulid[BLOCK_ULID_CHARS + 1];
            uint32_t removed;
            fixture_init(&f, 77, 60, 1u << 20);
            tsdb_fs_sim_fault(f.sim, faults[k], op, 1);
            enum tsdb_status status = model_write(f.model, &f.fs, &meta, NULL);
            assert_true(status == TSDB_IO || (faults[k] == TSDB_FAULT_ENOSPC && status == TSDB_OK));
            assert_int_equal(blocks_count(&f, ulid), status == TSDB_OK);
            assert_ok(block_dir_clean(&f.fs, DIR, &removed, NULL));
            assert_int_equal(removed, 0);
            fixture_deinit(&f);
        }
    }
}

static void block_remove__death_at_every_operation__whole_or_gone(void **state)
{
    (void)state;
    bool done = false;
    for (uint64_t op = 1; !done; op++) {
        struct fixture f;
        struct block_meta meta;
        char ulid[BLOCK_ULID_CHARS + 1];
        uint32_t removed;
        fixture_init(&f, 78, 20, 1u << 20);
        assert_ok(model_write(f.model, &f.fs, &meta, NULL));
        tsdb_fs_sim_fault(f.sim, TSDB_FAULT_HALT, op, 1);
        done = block_remove(&f.fs, DIR, meta.ulid, NULL) == TSDB_OK;
        tsdb_fs_sim_crash(f.sim);
        if (blocks_count(&f, ulid) == 1) {
            assert_false(done);
            block_check(&f, ulid);
        }
        assert_ok(block_dir_clean(&f.fs, DIR, &removed, NULL));
        fixture_deinit(&f);
    }
}

static void block_writer__every_nth_allocation_fails__nomem_and_no_leak(void **state)
{
    (void)state;
    struct fixture f;
    struct block_meta meta;
    bool done = false;
    fixture_init(&f, 79, 40, 0);
    for (uint64_t nth = 1; !done; nth++) {
        char ulid[BLOCK_ULID_CHARS + 1];
        uint64_t used = mem_used();
        tsdb_alloc_fail_nth(nth, 0);
        enum tsdb_status status = model_write(f.model, &f.fs, &meta, NULL);
        done = tsdb_alloc_fail_count() < nth;
        tsdb_alloc_ops_set(NULL);
        assert_int_equal(status, done ? TSDB_OK : TSDB_NOMEM);
        assert_int_equal(mem_used(), used);
        assert_int_equal(blocks_count(&f, ulid), done);
        tsdb_arena_reset(&f.arena);
    }
    for (uint64_t nth = 1; nth < 12; nth++) {
        struct block *b = NULL;
        tsdb_alloc_fail_nth(nth, 1);
        enum tsdb_status status = block_open(&f.fs, DIR, meta.ulid, f.cache, &b, NULL);
        tsdb_alloc_ops_set(NULL);
        assert_true(status == TSDB_OK || status == TSDB_NOMEM);
        block_close(b);
    }
    fixture_deinit(&f);
}

/* ---- damage ---- */

static enum tsdb_status verify_status(struct fixture *f, const char *ulid)
{
    struct block *b = NULL;
    enum tsdb_status status = block_open(&f->fs, DIR, ulid, f->cache, &b, NULL);
    if (status == TSDB_OK) {
        struct tsdb_error err = {0};
        status = block_verify(b, &err);
        assert_true(status == TSDB_OK || strstr(err.msg, ulid) != NULL);
    }
    block_close(b);
    return status;
}

/* Read everything that a query would, whatever fails. */
static void block_use(struct fixture *f, const char *ulid)
{
    struct block *b = NULL;
    if (block_open(&f->fs, DIR, ulid, f->cache, &b, NULL) == TSDB_OK) {
        for (uint32_t id = 0; id < block_meta(b)->series; id++) {
            struct tsdb_labels labels;
            struct block_chunk *chunks;
            struct chunk_samples s;
            uint32_t count = 0;
            (void)!block_labels(b, id, &f->arena, &labels, NULL);
            if (block_chunks(b, id, TSDB_TIME_ALL, &f->arena, &chunks, &count, NULL) == TSDB_OK) {
                for (uint32_t i = 0; i < count; i++) {
                    (void)!block_chunk_read(b, &chunks[i], &f->arena, &s, NULL);
                }
            }
            tsdb_arena_reset(&f->arena);
        }
    }
    block_close(b);
}

static void block_verify__flipped_bit_in_any_file__corrupt(void **state)
{
    (void)state;
    static const char *const names[] = {"index", "chunks", "meta.json"};
    for (uint32_t k = 0; k < 3; k++) {
        struct fixture f;
        struct block_meta meta;
        struct tsdb_file_info info;
        char path[BLOCK_PATH_BYTES];
        fixture_init(&f, 80, 30, 1u << 20);
        assert_ok(model_write(f.model, &f.fs, &meta, NULL));
        assert_ok(block_path(path, DIR, meta.ulid, "", names[k], NULL));
        assert_ok(f.fs.ops->stat(f.fs.ctx, path, &info, NULL));
        for (uint32_t round = 0; round < 60; round++) {
            uint64_t at = tsdb_prng_below(&f.model->prng, info.size_bytes);
            tsdb_fs_sim_flip(f.sim, path, at, at + 1, 1);
            enum tsdb_status status = verify_status(&f, meta.ulid);
            if (status != TSDB_CORRUPT && status != TSDB_UNSUPPORTED) {
                fail_msg("%s: a flipped bit at byte %llu: %s", names[k], (unsigned long long)at,
                         tsdb_status_name(status));
            }
            block_use(&f, meta.ulid);
            assert_ok(block_remove(&f.fs, DIR, meta.ulid, NULL));
            assert_ok(model_write(f.model, &f.fs, &meta, NULL));
        }
        fixture_deinit(&f);
    }
}

static void block_open__cut_file__corrupt(void **state)
{
    (void)state;
    static const char *const names[] = {"index", "chunks", "meta.json"};
    for (uint32_t k = 0; k < 3; k++) {
        struct fixture f;
        struct block_meta meta;
        struct tsdb_file_info info;
        struct tsdb_file *file;
        struct block *b;
        char path[BLOCK_PATH_BYTES];
        fixture_init(&f, 81, 30, 1u << 20);
        assert_ok(model_write(f.model, &f.fs, &meta, NULL));
        assert_ok(block_path(path, DIR, meta.ulid, "", names[k], NULL));
        assert_ok(f.fs.ops->stat(f.fs.ctx, path, &info, NULL));
        assert_ok(f.fs.ops->open(f.fs.ctx, path, TSDB_OPEN_READ | TSDB_OPEN_WRITE, &file, NULL));
        assert_ok(f.fs.ops->truncate(f.fs.ctx, file, info.size_bytes - 1, NULL));
        assert_int_equal(block_open(&f.fs, DIR, meta.ulid, f.cache, &b, NULL),
                         k == 2 ? TSDB_OK : TSDB_CORRUPT);
        if (k == 2) { /* of meta.json only a line end */
            block_close(b);
        }
        assert_ok(f.fs.ops->truncate(f.fs.ctx, file, info.size_bytes / 2, NULL));
        for (int i = 0; i < 2; i++) {
            assert_int_equal(block_open(&f.fs, DIR, meta.ulid, f.cache, &b, NULL), TSDB_CORRUPT);
            (void)!f.fs.ops->unlink(f.fs.ctx, path, NULL);
        }
        f.fs.ops->close(f.fs.ctx, file);
        fixture_deinit(&f);
    }
}

/* ---- meta.json ---- */

static const struct block_meta meta_example = {.ulid = "01HF7YAT00000000000000000A",
                                               .min_ms = INT64_MIN,
                                               .max_ms = INT64_MAX,
                                               .series = 3,
                                               .samples = 700,
                                               .float_samples = 600,
                                               .histogram_samples = 100,
                                               .chunks = 9,
                                               .level = 2,
                                               .sequence = UINT64_MAX};

static void block_meta_parse__printed__read_back_and_cut_refused(void **state)
{
    (void)state;
    struct tsdb_buf buf;
    struct block_meta back;
    struct block_file_sizes sizes = {11, 12};
    struct block_file_sizes back_sizes;
    struct tsdb_error err = {0};
    tsdb_buf_init(&buf, TSDB_MEM_OTHER, 0);
    block_meta_print(&meta_example, &sizes, &buf);
    assert_ok_err(block_meta_parse(buf.data, buf.len, &back, &back_sizes, &err), &err);
    assert_string_equal(back.ulid, meta_example.ulid);
    assert_true(back.min_ms == INT64_MIN && back.max_ms == INT64_MAX);
    assert_true(back.sequence == UINT64_MAX && back.level == 2);
    assert_true(back_sizes.index == 11 && back_sizes.chunks == 12);
    for (size_t len = 0; len + 2 < buf.len; len++) {
        uint8_t *exact = malloc(len + 1);
        memcpy(exact, buf.data, len);
        assert_int_equal(block_meta_parse(exact, len, &back, &back_sizes, NULL), TSDB_CORRUPT);
        free(exact);
    }
    for (size_t i = 0; i + 2 < buf.len; i++) {
        buf.data[i] ^= 1;
        enum tsdb_status status = block_meta_parse(buf.data, buf.len, &back, &back_sizes, NULL);
        assert_true(status == TSDB_CORRUPT || status == TSDB_UNSUPPORTED);
        buf.data[i] ^= 1;
    }
    tsdb_buf_deinit(&buf);
}

/* Put a member in front of the CRC and close again. */
static enum tsdb_status meta_with(const char *member)
{
    struct tsdb_buf buf;
    struct tsdb_buf text;
    struct block_meta back;
    struct block_file_sizes sizes = {0};
    tsdb_buf_init(&buf, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&text, TSDB_MEM_OTHER, 0);
    block_meta_print(&meta_example, &sizes, &buf);
    tsdb_buf_put_u8(&buf, 0);
    const char *crc = strstr((const char *)buf.data, "\"crc32c\"");
    size_t before = (size_t)(crc - (const char *)buf.data);
    tsdb_buf_put(&text, buf.data, before);
    tsdb_buf_printf(&text, "%s,\n", member);
    uint32_t sum = tsdb_crc32c(0, text.data, text.len);
    tsdb_buf_printf(&text, "\"crc32c\": \"%08x\"}", sum);
    enum tsdb_status status = block_meta_parse(text.data, text.len, &back, &sizes, NULL);
    tsdb_buf_deinit(&buf);
    tsdb_buf_deinit(&text);
    return status;
}

static void block_meta_parse__unknown_keys__skipped_or_refused(void **state)
{
    (void)state;
    assert_ok(meta_with("\"x\": 1.5e+3"));
    assert_ok(meta_with("\"x\": {\"a\": [1, {\"b\": null}, \"\\\"]\", []], \"c\": {}}"));
    assert_ok(meta_with("\"x\": [[[[[[[1]]]]]]]"));
    assert_int_equal(meta_with("\"x\": [[[[[[[[[[1]]]]]]]]]]"), TSDB_CORRUPT); /* too deep */
    assert_int_equal(meta_with("\"x\": [1 2]"), TSDB_CORRUPT);
    assert_int_equal(meta_with("\"x\": "), TSDB_CORRUPT);
    assert_int_equal(meta_with("\"x\" 1"), TSDB_CORRUPT);
    assert_int_equal(meta_with("\"series\": 4"), TSDB_CORRUPT); /* twice */
}

static void block_meta_parse__other_version__unsupported(void **state)
{
    (void)state;
    struct block_meta m;
    struct block_file_sizes s;
    static const char body[] = "{\"version\": 2, \"what\": [], ";
    char text[128];
    uint32_t crc = tsdb_crc32c(0, body, sizeof body - 1);
    int len = snprintf(text, sizeof text, "%s\"crc32c\": \"%08x\"}", body, (unsigned)crc);
    assert_int_equal(block_meta_parse((const uint8_t *)text, (size_t)len, &m, &s, NULL),
                     TSDB_UNSUPPORTED);
    text[sizeof "{\"version\": " - 1] = '3'; /* a flipped bit is no newer version */
    assert_int_equal(block_meta_parse((const uint8_t *)text, (size_t)len, &m, &s, NULL),
                     TSDB_CORRUPT);
}

/* ---- names ---- */

static void ulid_format__times__sort_and_read_back(void **state)
{
    (void)state;
    static const uint64_t times[] = {0, 1, 1469918176385, 1700000000000, ULID_TIME_MS_MAX};
    static const uint64_t random[2] = {UINT64_MAX, UINT64_MAX};
    static const uint64_t zero[2] = {0, 0};
    char last[ULID_CHARS + 1] = "";
    char now[ULID_CHARS + 1];
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(times); i++) {
        ulid_format(times[i], zero, now);
        assert_true(ulid_valid(now) && strcmp(last, now) < 0);
        ulid_format(times[i], random, last);
        assert_true(ulid_valid(last) && strcmp(now, last) < 0);
        assert_int_equal(ulid_time_ms(now), times[i]);
        assert_int_equal(ulid_time_ms(last), times[i]);
    }
    assert_string_equal(last, "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
    ulid_format(1469918176385, zero, now);
    assert_memory_equal(now, "01ARYZ6S41", 10); /* the specification's example */
    assert_false(ulid_valid("01ARYZ6S41"));
    assert_false(ulid_valid("8ZZZZZZZZZZZZZZZZZZZZZZZZZ"));
    assert_false(ulid_valid("01ARYZ6S41TSV4RRFFQ69G5FAI"));
    assert_false(ulid_valid("01ARYZ6S41TSV4RRFFQ69G5FA/"));
}

static void block_dir_list__other_names__left_out(void **state)
{
    (void)state;
    struct fixture f;
    struct block_name *names;
    uint32_t count;
    fixture_init(&f, 1, 1, 0);
    assert_ok(block_dir_list(&f.fs, DIR, &f.arena, &names, &count, NULL));
    assert_int_equal(count, 0);
    assert_ok(block_dir_clean(&f.fs, DIR, &count, NULL));
    static const char *const dirs[] = {DIR, DIR "/01ARYZ6S41TSV4RRFFQ69G5FAV.tmp",
                                       DIR "/01ARYZ6S41TSV4RRFFQ69G5FAV", DIR "/lost+found",
                                       DIR "/01ARYZ6S41TSV4RRFFQ69G5FAB"};
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(dirs); i++) {
        assert_ok(f.fs.ops->mkdir(f.fs.ctx, dirs[i], NULL));
    }
    assert_ok(block_dir_list(&f.fs, DIR, &f.arena, &names, &count, NULL));
    assert_int_equal(count, 2);
    assert_string_equal(names[0].ulid, "01ARYZ6S41TSV4RRFFQ69G5FAB");
    assert_string_equal(names[1].ulid, "01ARYZ6S41TSV4RRFFQ69G5FAV");
    assert_ok(block_dir_clean(&f.fs, DIR, &count, NULL));
    assert_int_equal(count, 1);
    fixture_deinit(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(block__random_series__read_back),
    cmocka_unit_test(block_writer_chunk__same_times__stored_once),
    cmocka_unit_test(block_select__matchers__ids_in_order),
    cmocka_unit_test(block_writer_finish__no_series_or_out_of_range__no_block),
    cmocka_unit_test(block_writer__death_at_every_operation__no_block_or_a_whole_one),
    cmocka_unit_test(block_writer__fault_at_every_operation__error_and_nothing_left),
    cmocka_unit_test(block_remove__death_at_every_operation__whole_or_gone),
    cmocka_unit_test(block_writer__every_nth_allocation_fails__nomem_and_no_leak),
    cmocka_unit_test(block_verify__flipped_bit_in_any_file__corrupt),
    cmocka_unit_test(block_open__cut_file__corrupt),
    cmocka_unit_test(block_meta_parse__printed__read_back_and_cut_refused),
    cmocka_unit_test(block_meta_parse__unknown_keys__skipped_or_refused),
    cmocka_unit_test(block_meta_parse__other_version__unsupported),
    cmocka_unit_test(ulid_format__times__sort_and_read_back),
    cmocka_unit_test(block_dir_list__other_names__left_out),
};
TEST_MAIN(tests)
