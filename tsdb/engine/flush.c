/* A window of a round -> a block. */
#include "tsdb/engine/flush.h"

#include "base/assert.h"
#include "base/latency.h"
#include "base/log.h"
#include "tsdb/engine/flush_private.h"

#include <string.h>

#define CATEGORY         FLUSH_CATEGORY
#define ARENA_BYTES      (1u << 18)
#define CHECK_EVERY      256u /* series between two looks at the cancel flag */
#define CHUNKS_CAP_FIRST 64u

/* A chunk of the series at hand. */
struct flush_chunk {
    struct head_file *file; /* acquired */
    struct head_place place;
};
/* Which chunk it is. The number of a head file takes 24 bits after millions of files; two that
 * differ above them have no chunk of one series and window in common. */
static uint64_t key_of(const struct head_file *f, uint64_t offset)
{
    return f->number << 40 | (offset & ((UINT64_C(1) << 40) - 1));
}

struct run {
    const struct flush_source *s;
    struct flush_round *round;
    struct head_span window;
    const uint32_t *order; /* [series_count] entries of the window, by labels */
    uint32_t series_count;
    uint32_t *taken; /* [series_count] chunks that were read: so many of the keys are the series' */
    uint64_t *keys;  /* of the chunks that were read, in the order of series */
    size_t key_count, key_cap;
    tsdb_series_ref ref;        /* of the series at hand */
    struct flush_chunk *chunks; /* the last chunk_count of chunk_wanted */
    uint32_t chunk_count, chunk_wanted, chunk_cap;
    struct block_ref_pair *pairs; /* of the series that were written */
    uint32_t pair_count;
    uint64_t damaged;
    struct tsdb_error first_damage;
    uint64_t held; /* series that wait, as in struct flush_result */
    int64_t held_ns;
    struct tsdb_error held_by;
    struct block_writer *writer;
    struct tsdb_arena arena;
    struct tsdb_label labels[TSDB_LABELS_MAX];
    /* while marking */
    const uint64_t *mark_keys;
    uint32_t mark_count, mark_left;
    struct head_partition *mark_partition;
    uint64_t view, marked, marked_bytes;
};

static const struct flush_entry *entry_at(const struct run *r, uint32_t i)
{
    return &r->round->entries[r->order[i]];
}

static bool keys_ensure(struct run *r, size_t count)
{
    void *p = r->keys;
    bool ok = flush_grow(&p, &r->key_cap, count, sizeof *r->keys);
    r->keys = p;
    return ok;
}

static bool chunks_ensure(struct run *r, size_t count)
{
    void *p = r->chunks;
    size_t cap = r->chunk_cap;
    bool ok = count <= UINT32_MAX && flush_grow(&p, &cap, count, sizeof *r->chunks);
    r->chunks = p;
    r->chunk_cap = (uint32_t)TSDB_MIN(cap, UINT32_MAX);
    return ok;
}

/* ---- a series ---- */

static bool in_window(const struct run *r, const struct head_sealed *s)
{
    return flush_holds(&r->window, s);
}

static bool take_chunk(void *arg, struct head_sealed *s)
{
    struct run *r = arg;
    if (in_window(r, s)) {
        TSDB_ASSERT(r->chunk_count < r->chunk_wanted);
        head_file_acquire(s->file);
        r->chunk_count++;
        r->chunks[r->chunk_wanted - r->chunk_count] = (struct flush_chunk){
            s->file, head_sealed_place(s, (uint8_t)tsdb_series_partition(r->ref),
                                       tsdb_series_local(r->ref))};
    }
    return r->chunk_count < r->chunk_wanted;
}

static void chunks_release(struct run *r)
{
    for (uint32_t i = 0; i < r->chunk_count; i++) {
        head_file_release(r->chunks[i].file);
    }
    r->chunk_count = 0;
}

/* The chunks of the entry that are still there, in the order of the list, their files acquired. */
static bool chunks_take(struct run *r, const struct flush_entry *e)
{
    r->ref = e->ref;
    r->chunk_count = 0;
    r->chunk_wanted = e->chunks;
    if (!chunks_ensure(r, e->chunks)) {
        return false;
    }
    head_sealed_visit_back(r->s->heads[tsdb_series_partition(e->ref)], r->s->epoch,
                           tsdb_series_local(e->ref), e->upto, take_chunk, r);
    memmove(r->chunks, r->chunks + (e->chunks - r->chunk_count),
            r->chunk_count * sizeof r->chunks[0]);
    return true;
}

/* The series waits for the file, which may be read again later. */
static enum tsdb_status hold(struct run *r, const struct head_file *f, const struct tsdb_error *why)
{
    r->held_ns = r->held == 0 ? f->budget.retry_ns : TSDB_MIN(r->held_ns, f->budget.retry_ns);
    if (r->held == 0 || r->held_by.status == TSDB_OK) {
        r->held_by = *why;
    }
    r->held++;
    return TSDB_BUSY;
}

/* OK: *out is the chunk, or count 0 for one that is given up. BUSY: the series waits. */
static enum tsdb_status chunk_read(struct run *r, const struct flush_chunk *c,
                                   struct chunk_samples *out, struct tsdb_error *err)
{
    struct tsdb_error why = {0};
    int64_t now_ns = tsdb_clock_mono_ns(&r->s->clock);
    *out = (struct chunk_samples){0};
    if (r->s->patient && error_budget_waits(&c->file->budget, now_ns)) {
        return hold(r, c->file, &why);
    }
    enum tsdb_status status = head_file_read_once(c->file, &c->place, &r->arena, out, &why);
    if (status == TSDB_OK) {
        return TSDB_OK;
    }
    if (status == TSDB_IO && !error_budget_fail(&c->file->budget, now_ns)) {
        return hold(r, c->file, &why);
    }
    if (status != TSDB_IO && status != TSDB_CORRUPT) {
        return tsdb_error_set(err, status, "%s", why.msg);
    }
    *out = (struct chunk_samples){0};
    r->first_damage = r->damaged++ == 0 ? why : r->first_damage;
    head_file_give_up(c->file, &why);
    return TSDB_OK;
}

/* Pieces of the chunks that verify. BUSY: the series waits. */
static enum tsdb_status chunks_read(struct run *r, struct piece *pieces, uint32_t *out_count,
                                    struct tsdb_error *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->chunk_count; i++) {
        struct chunk_samples samples;
        enum tsdb_status status = chunk_read(r, &r->chunks[i], &samples, err);
        if (status != TSDB_OK) {
            return status;
        }
        if (samples.count > 0) {
            pieces[n++] = piece_of_chunk(&samples);
        }
    }
    *out_count = n;
    return TSDB_OK;
}

static enum tsdb_status series_write(struct run *r, tsdb_series_ref ref, struct tsdb_error *err)
{
    struct piece *pieces = TSDB_ARENA_ARRAY(&r->arena, struct piece, r->chunk_count);
    if (!pieces) {
        return flush_no_memory(err);
    }
    uint32_t n = 0;
    struct piece_columns c = {0};
    const struct tsdb_time_range range = {r->window.begin_ms, r->window.last_ms};
    enum tsdb_status status = chunks_read(r, pieces, &n, err);
    if (status == TSDB_OK) {
        status = pieces_merge(pieces, n, range, &r->arena, &c, err);
    }
    if (status != TSDB_OK || c.count == 0) {
        return status;
    }
    struct tsdb_labels labels = flush_labels(r->s, ref, r->labels);
    if (labels.count == 0) {
        return TSDB_OK; /* retention dropped what it had, and it has left meanwhile */
    }
    status = block_writer_series(r->writer, &labels, err);
    if (status == TSDB_OK) {
        status = block_writer_pieces(r->writer, &c, err);
    }
    if (status == TSDB_OK) {
        r->pairs[r->pair_count] = (struct block_ref_pair){ref, r->pair_count};
        r->pair_count++;
    }
    return status;
}

static enum tsdb_status series_flush(struct run *r, uint32_t i, struct tsdb_error *err)
{
    const struct flush_entry *e = entry_at(r, i);
    tsdb_arena_reset(&r->arena);
    if (!chunks_take(r, e) || !keys_ensure(r, r->key_count + r->chunk_count)) {
        chunks_release(r);
        return flush_no_memory(err);
    }
    uint64_t damaged = r->damaged;
    enum tsdb_status status = r->chunk_count > 0 ? series_write(r, e->ref, err) : TSDB_OK;
    if (status == TSDB_BUSY) {
        r->damaged = damaged; /* it is found again, with the rest of the series */
        status = TSDB_OK;
    } else {
        for (uint32_t k = 0; k < r->chunk_count; k++) {
            r->keys[r->key_count++] = key_of(r->chunks[k].file, r->chunks[k].place.offset);
        }
        r->taken[i] = r->chunk_count;
    }
    chunks_release(r);
    return status;
}

static enum tsdb_status write_all(struct run *r, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; status == TSDB_OK && i < r->series_count; i++) {
        status = i % CHECK_EVERY == 0 && flush_cancelled(r->s)
                     ? tsdb_error_set(err, TSDB_CANCELLED, "flush: cancelled")
                     : series_flush(r, i, err);
    }
    return status;
}

/* ---- the block ---- */

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
    /* As long as its samples ask for: what it does not overlap, it is not merged with. */
    int64_t begin = r->window.begin_ms;
    int64_t last = r->window.last_ms;
    if (block_writer_times(r->writer, &begin, &last)) {
        begin = sealed_window(begin, r->s->range_ms);
        last = sealed_window_last(last, r->s->range_ms);
    }
    status = block_writer_finish(r->writer, begin, last == INT64_MAX ? last : last + 1,
                                 &result->block, err);
    if (status != TSDB_OK && result->block.ulid[0]) {
        blocks_disown(blocks, result->block.ulid);
    } else if (status == TSDB_OK) {
        status = blocks_adopt(blocks, result->block.ulid, r->pairs, r->pair_count, out, err);
    }
    return status;
}

/* ---- marking ---- */

static bool mark_chunk(void *arg, struct head_sealed *s)
{
    struct run *r = arg;
    uint64_t key = key_of(s->file, s->offset);
    for (uint32_t i = 0; in_window(r, s) && i < r->mark_count; i++) {
        if (r->mark_keys[i] == key) {
            r->mark_left--;
            if (head_sealed_flushed(r->mark_partition, tsdb_series_local(r->ref), s, r->view)) {
                r->marked++;
                r->marked_bytes += s->len;
            }
            break;
        }
    }
    return r->mark_left > 0;
}

static void mark_all(void *arg, uint64_t view_number)
{
    struct run *r = arg;
    r->view = view_number;
    const uint64_t *keys = r->keys;
    for (uint32_t i = 0; i < r->series_count; i++) {
        const struct flush_entry *e = entry_at(r, i);
        r->mark_partition = r->s->heads[tsdb_series_partition(e->ref)];
        r->ref = e->ref;
        r->mark_keys = keys;
        r->mark_count = r->mark_left = r->taken[i];
        if (r->mark_left > 0) {
            head_sealed_visit_back(r->mark_partition, r->s->epoch, tsdb_series_local(e->ref),
                                   e->upto, mark_chunk, r);
        }
        keys += r->taken[i];
    }
}

static void report_damage(const struct run *r)
{
    if (r->damaged > 0) {
        tsdb_log(TSDB_LOG_ERROR, "flush", "damaged chunks of the head are lost",
                 TSDB_U("chunks", r->damaged), TSDB_I("window", r->window.begin_ms),
                 TSDB_S("first", r->first_damage.msg));
    }
}

static enum tsdb_status flush_series_of_window(struct run *r, struct flush_result *result,
                                               struct tsdb_error *err)
{
    struct live_block *live = NULL;
    r->pairs = tsdb_mem_alloc(CATEGORY, r->series_count * sizeof *r->pairs);
    r->taken = tsdb_mem_alloc_zero(CATEGORY, r->series_count * sizeof *r->taken);
    if (!r->pairs || !r->taken || !chunks_ensure(r, CHUNKS_CAP_FIRST)) {
        return flush_no_memory(err);
    }
    enum tsdb_status status = block_make(r, result, &live, err);
    result->held = r->held;
    result->held_ns = r->held_ns;
    result->held_by = r->held_by;
    if (status != TSDB_OK || r->key_count == 0) {
        return status; /* all of it waits, or is gone */
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
    result->bytes = r->marked_bytes;
    result->damaged = r->damaged;
    return TSDB_OK;
}

static void run_free(struct run *r)
{
    tsdb_arena_deinit(&r->arena);
    tsdb_mem_free(CATEGORY, r->taken, r->series_count * sizeof *r->taken);
    tsdb_mem_free(CATEGORY, r->keys, r->key_cap * sizeof *r->keys);
    tsdb_mem_free(CATEGORY, r->chunks, r->chunk_cap * sizeof *r->chunks);
    tsdb_mem_free(CATEGORY, r->pairs, r->series_count * sizeof *r->pairs);
    tsdb_mem_free(CATEGORY, r, sizeof *r);
}

enum tsdb_status flush_window(struct flush_round *round, uint32_t window, struct flush_result *out,
                              struct tsdb_error *err)
{
    struct flush_result result = {0};
    uint32_t begin = window > 0 ? round->ends[window - 1] : 0;
    TSDB_ASSERT(window < round->window_count && begin < round->ends[window]);
    struct run *r = tsdb_mem_alloc_zero(CATEGORY, sizeof *r);
    if (!r) {
        return flush_no_memory(err);
    }
    uint64_t begun = tsdb_perf_now();
    r->s = round->s;
    r->round = round;
    r->window = round->windows[window].span;
    r->order = round->order + begin;
    r->series_count = round->ends[window] - begin;
    tsdb_arena_init(&r->arena, CATEGORY, ARENA_BYTES, NULL);
    enum tsdb_status status = flush_series_of_window(r, &result, err);
    tsdb_perf_end(TSDB_LAYER_PERSIST, begun);
    run_free(r);
    if (status == TSDB_OK) {
        *out = result;
    }
    return status;
}
