#include "tsdb/engine/flush.h"

#include "base/assert.h"
#include "base/latency.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define CATEGORY         TSDB_MEM_OTHER
#define SLICE            4096u /* series looked at under one guard */
#define ARENA_BYTES      (1u << 18)
#define CHECK_EVERY      256u /* series between two looks at the cancel flag */
#define CHUNKS_CAP_FIRST 64u

struct flush_series {
    tsdb_series_ref ref;
    uint32_t chunks; /* that were read: so many of the keys are its */
};
/* A chunk of the series at hand. */
struct flush_chunk {
    struct head_file *file; /* acquired */
    uint64_t offset;
    uint32_t len;
};
struct run {
    const struct flush_source *s;
    int64_t window_ms;
    struct flush_series *series; /* sorted by labels once gathered */
    uint32_t series_count, series_cap;
    uint64_t *keys; /* of the chunks that were read, in the order of series */
    size_t key_count, key_cap;
    struct flush_chunk *chunks;
    uint32_t chunk_count, chunk_cap; /* the count may exceed the room: then again, with more */
    struct block_ref_pair *pairs;    /* of the series that were written */
    uint32_t pair_count;
    uint64_t damaged;
    struct tsdb_error first_damage;
    struct block_writer *writer;
    struct tsdb_arena arena;
    struct tsdb_label labels[2][TSDB_LABELS_MAX];
    /* while marking */
    const uint64_t *mark_keys;
    uint32_t mark_count;
    struct head_partition *mark_partition;
    uint64_t view, marked;
};

/* Which chunk it is. The number of a head file takes 24 bits after millions of files; two that
 * differ above them have no chunk of one series and window in common. */
static uint64_t key_of(const struct head_file *f, uint64_t offset)
{
    return f->number << 40 | (offset & ((UINT64_C(1) << 40) - 1));
}

/* Room for `count` items, growing by half at least. False: no memory. */
static bool grow(void **items, size_t *cap, size_t count, size_t bytes_each)
{
    if (count <= *cap) {
        return true;
    }
    size_t more = TSDB_MAX(count, *cap + *cap / 2);
    void *p = tsdb_mem_realloc(CATEGORY, *items, *cap * bytes_each, more * bytes_each);
    if (!p) {
        return false;
    }
    *items = p;
    *cap = more;
    return true;
}

static bool series_ensure(struct run *r, size_t count)
{
    void *p = r->series;
    size_t cap = r->series_cap;
    bool ok = count <= UINT32_MAX && grow(&p, &cap, count, sizeof *r->series);
    r->series = p;
    r->series_cap = (uint32_t)TSDB_MIN(cap, UINT32_MAX);
    return ok;
}

static bool keys_ensure(struct run *r, size_t count)
{
    void *p = r->keys;
    bool ok = grow(&p, &r->key_cap, count, sizeof *r->keys);
    r->keys = p;
    return ok;
}

static bool chunks_ensure(struct run *r, size_t count)
{
    void *p = r->chunks;
    size_t cap = r->chunk_cap;
    bool ok = count <= UINT32_MAX && grow(&p, &cap, count, sizeof *r->chunks);
    r->chunks = p;
    r->chunk_cap = (uint32_t)TSDB_MIN(cap, UINT32_MAX);
    return ok;
}

static bool cancelled(const struct run *r)
{
    return r->s->cancel && atomic_load_explicit(r->s->cancel, memory_order_relaxed) != 0;
}

static enum tsdb_status no_memory(struct tsdb_error *err)
{
    return tsdb_error_set(err, TSDB_NOMEM, "no memory to write a block");
}

/* ---- 1. the series ---- */

static void note_series(void *arg, uint32_t local, struct head_sealed *s)
{
    struct run *r = arg;
    tsdb_series_ref ref = tsdb_series_make(s->partition, local);
    if (r->series_count == 0 || r->series[r->series_count - 1].ref != ref) {
        TSDB_ASSERT(r->series_count < r->series_cap);
        r->series[r->series_count++] = (struct flush_series){.ref = ref};
    }
}

static enum tsdb_status gather_partition(struct run *r, uint32_t partition, struct tsdb_error *err)
{
    struct head_partition *p = r->s->heads[partition];
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(r->s->epoch, &guard);
    uint32_t count = index_mem_series_count(head_index(p));
    tsdb_epoch_exit(r->s->epoch, &guard);
    for (uint32_t from = 0; from < count; from += SLICE) {
        if (!series_ensure(r, (size_t)r->series_count + SLICE)) {
            return no_memory(err);
        }
        head_sealed_visit(p, r->s->epoch, from, from + SLICE, r->window_ms, r->s->range_ms,
                          note_series, r);
    }
    return cancelled(r) ? tsdb_error_set(err, TSDB_CANCELLED, "flush: cancelled") : TSDB_OK;
}

/* Strings live as long as the index; the array is the run's. */
static struct tsdb_labels labels_of(struct run *r, tsdb_series_ref ref, uint32_t side)
{
    struct head_partition *p = r->s->heads[tsdb_series_partition(ref)];
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(r->s->epoch, &guard);
    uint32_t n =
        index_mem_labels(head_index(p), tsdb_series_local(ref), r->labels[side], TSDB_LABELS_MAX);
    tsdb_epoch_exit(r->s->epoch, &guard);
    return (struct tsdb_labels){r->labels[side], n};
}

static int compare_series(const void *a, const void *b, void *arg)
{
    const struct flush_series *x = a;
    const struct flush_series *y = b;
    struct tsdb_labels lx = labels_of(arg, x->ref, 0);
    struct tsdb_labels ly = labels_of(arg, y->ref, 1);
    return tsdb_labels_compare(&lx, &ly);
}

static enum tsdb_status gather(struct run *r, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t p = 0; status == TSDB_OK && p < TSDB_PARTITIONS; p++) {
        int64_t window;
        if (head_window_next(r->s->heads[p], r->window_ms, INT64_MAX, &window) &&
            window == r->window_ms) {
            status = gather_partition(r, p, err);
        }
    }
    if (status == TSDB_OK && r->series_count > 1) {
        qsort_r(r->series, r->series_count, sizeof *r->series, compare_series, r);
    }
    return status;
}

/* ---- 2. a series ---- */

static void take_chunk(void *arg, uint32_t local, struct head_sealed *s)
{
    struct run *r = arg;
    (void)local;
    if (r->chunk_count < r->chunk_cap) {
        head_file_acquire(s->file);
        r->chunks[r->chunk_count] = (struct flush_chunk){s->file, s->offset, s->len};
    }
    r->chunk_count++;
}

static void chunks_release(struct run *r)
{
    for (uint32_t i = 0; i < TSDB_MIN(r->chunk_count, r->chunk_cap); i++) {
        head_file_release(r->chunks[i].file);
    }
    r->chunk_count = 0;
}

/* The series' chunks as they are now, their files acquired. */
static bool chunks_take(struct run *r, tsdb_series_ref ref)
{
    uint32_t local = tsdb_series_local(ref);
    for (;;) {
        r->chunk_count = 0;
        head_sealed_visit(r->s->heads[tsdb_series_partition(ref)], r->s->epoch, local, local + 1,
                          r->window_ms, r->s->range_ms, take_chunk, r);
        uint32_t found = r->chunk_count;
        if (found <= r->chunk_cap) {
            return true;
        }
        chunks_release(r);
        if (!chunks_ensure(r, found)) {
            return false;
        }
    }
}

/* Pieces of the chunks that verify. */
static enum tsdb_status chunks_read(struct run *r, struct piece *pieces, uint32_t *out_count,
                                    struct tsdb_error *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->chunk_count; i++) {
        struct chunk_samples samples;
        struct tsdb_error why = {0};
        const struct flush_chunk *c = &r->chunks[i];
        enum tsdb_status status =
            head_file_read_once(c->file, c->offset, c->len, &r->arena, &samples, &why);
        if (status == TSDB_OK) {
            pieces[n++] = piece_of_chunk(&samples);
        } else if (status == TSDB_CORRUPT) {
            r->first_damage = r->damaged++ == 0 ? why : r->first_damage;
        } else {
            return tsdb_error_set(err, status, "%s", why.msg);
        }
    }
    *out_count = n;
    return TSDB_OK;
}

static enum tsdb_status series_write(struct run *r, const struct flush_series *s,
                                     struct tsdb_error *err)
{
    struct piece *pieces = TSDB_ARENA_ARRAY(&r->arena, struct piece, r->chunk_count);
    if (!pieces) {
        return no_memory(err);
    }
    uint32_t n = 0;
    struct piece_columns c = {0};
    const struct tsdb_time_range range = {r->window_ms,
                                          sealed_window_last(r->window_ms, r->s->range_ms)};
    enum tsdb_status status = chunks_read(r, pieces, &n, err);
    if (status == TSDB_OK) {
        status = pieces_merge(pieces, n, range, &r->arena, &c, err);
    }
    if (status != TSDB_OK || c.count == 0) {
        return status;
    }
    struct tsdb_labels labels = labels_of(r, s->ref, 0);
    if (labels.count > 0 && head_name_is_hole(labels.items[0].name, labels.items[0].name_len)) {
        return TSDB_OK; /* its labels were lost: nothing could show it */
    }
    status =
        block_writer_series(r->writer, &labels, tsdb_labels_hash(r->s->hash_key, &labels), err);
    if (status == TSDB_OK) {
        status = block_writer_pieces(r->writer, &c, err);
    }
    if (status == TSDB_OK) {
        r->pairs[r->pair_count] = (struct block_ref_pair){s->ref, r->pair_count};
        r->pair_count++;
    }
    return status;
}

static enum tsdb_status series_flush(struct run *r, struct flush_series *s, struct tsdb_error *err)
{
    tsdb_arena_reset(&r->arena);
    if (!chunks_take(r, s->ref) || !keys_ensure(r, r->key_count + r->chunk_count)) {
        chunks_release(r);
        return no_memory(err);
    }
    enum tsdb_status status = r->chunk_count > 0 ? series_write(r, s, err) : TSDB_OK;
    for (uint32_t i = 0; i < r->chunk_count; i++) {
        r->keys[r->key_count++] = key_of(r->chunks[i].file, r->chunks[i].offset);
    }
    s->chunks = r->chunk_count;
    chunks_release(r);
    return status;
}

static enum tsdb_status write_all(struct run *r, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; status == TSDB_OK && i < r->series_count; i++) {
        status = i % CHECK_EVERY == 0 && cancelled(r)
                     ? tsdb_error_set(err, TSDB_CANCELLED, "flush: cancelled")
                     : series_flush(r, &r->series[i], err);
    }
    return status;
}

/* ---- 3. the block ---- */

/* Writer open, series written, finished; NULL in *out if no series was written. */
static enum tsdb_status block_make(struct run *r, struct flush_result *result,
                                   struct live_block **out, struct tsdb_error *err)
{
    struct blocks *blocks = r->s->blocks;
    struct block_writer_options o = blocks_writer_options(blocks, 1, blocks_sequence(blocks));
    enum tsdb_status status = block_writer_open(&o, &r->writer, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = write_all(r, err);
    if (status != TSDB_OK || r->pair_count == 0) {
        block_writer_abort(r->writer);
        return status;
    }
    int64_t last = sealed_window_last(r->window_ms, r->s->range_ms);
    status = block_writer_finish(r->writer, r->window_ms, last == INT64_MAX ? last : last + 1,
                                 &result->block, err);
    if (status == TSDB_OK) {
        status = blocks_adopt(blocks, result->block.ulid, r->pairs, r->pair_count, out, err);
    }
    return status;
}

/* ---- 4. marking ---- */

static void mark_chunk(void *arg, uint32_t local, struct head_sealed *s)
{
    struct run *r = arg;
    (void)local;
    uint64_t key = key_of(s->file, s->offset);
    for (uint32_t i = 0; i < r->mark_count; i++) {
        if (r->mark_keys[i] == key) {
            r->marked += head_sealed_flushed(r->mark_partition, s, r->view);
            return;
        }
    }
}

static void mark_all(void *arg, uint64_t view_number)
{
    struct run *r = arg;
    r->view = view_number;
    const uint64_t *keys = r->keys;
    for (uint32_t i = 0; i < r->series_count; i++) {
        const struct flush_series *s = &r->series[i];
        uint32_t local = tsdb_series_local(s->ref);
        r->mark_partition = r->s->heads[tsdb_series_partition(s->ref)];
        r->mark_keys = keys;
        r->mark_count = s->chunks;
        head_sealed_visit(r->mark_partition, r->s->epoch, local, local + 1, r->window_ms,
                          r->s->range_ms, mark_chunk, r);
        keys += s->chunks;
    }
}

static void report_damage(const struct run *r)
{
    if (r->damaged > 0) {
        tsdb_log(TSDB_LOG_ERROR, "flush", "damaged chunks of the head are lost",
                 TSDB_U("chunks", r->damaged), TSDB_I("window", r->window_ms),
                 TSDB_S("first", r->first_damage.msg));
    }
}

static enum tsdb_status flush_series_of_window(struct run *r, struct flush_result *result,
                                               struct tsdb_error *err)
{
    struct live_block *live = NULL;
    r->pairs = tsdb_mem_alloc(CATEGORY, r->series_count * sizeof *r->pairs);
    if (!r->pairs || !chunks_ensure(r, CHUNKS_CAP_FIRST)) {
        return no_memory(err);
    }
    enum tsdb_status status = block_make(r, result, &live, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = blocks_publish(r->s->blocks, &live, live ? 1 : 0, NULL, 0, mark_all, r, err);
    if (status != TSDB_OK) {
        if (live) {
            live_block_free(live);
            blocks_disown(r->s->blocks, result->block.ulid);
        }
        return status;
    }
    report_damage(r);
    result->view = r->view;
    result->chunks = r->marked;
    result->damaged = r->damaged;
    return TSDB_OK;
}

static void run_free(struct run *r)
{
    tsdb_arena_deinit(&r->arena);
    tsdb_mem_free(CATEGORY, r->series, r->series_cap * sizeof *r->series);
    tsdb_mem_free(CATEGORY, r->keys, r->key_cap * sizeof *r->keys);
    tsdb_mem_free(CATEGORY, r->chunks, r->chunk_cap * sizeof *r->chunks);
    tsdb_mem_free(CATEGORY, r->pairs, r->series_count * sizeof *r->pairs);
    tsdb_mem_free(CATEGORY, r, sizeof *r);
}

enum tsdb_status flush_window(const struct flush_source *s, int64_t window_ms,
                              struct flush_result *out, struct tsdb_error *err)
{
    struct flush_result result = {0};
    struct run *r = tsdb_mem_alloc_zero(CATEGORY, sizeof *r);
    if (!r) {
        return no_memory(err);
    }
    uint64_t begin = tsdb_perf_now();
    r->s = s;
    r->window_ms = window_ms;
    tsdb_arena_init(&r->arena, CATEGORY, ARENA_BYTES, NULL);
    enum tsdb_status status = gather(r, err);
    if (status == TSDB_OK && r->series_count > 0) {
        status = flush_series_of_window(r, &result, err);
        tsdb_perf_end(TSDB_LAYER_PERSIST, begin);
    }
    run_free(r);
    if (status == TSDB_OK) {
        *out = result;
    }
    return status;
}
