#include "tsdb/head/head_private.h"

#include "base/assert.h"
#include "tsdb/chunk/pieces.h"

#include <string.h>

/* What a reader saw of a series: invariant 3 of head.h. */
struct snapshot {
    struct head_tail *tail, *ooo; /* NULL: none, or found among the chunks */
    uint32_t tail_count, ooo_count;
    struct head_list *list;
    uint32_t list_count;
};

/* Was this block, loaded as the open one, sealed before the list was loaded? An in-order chunk of
 * the list that reaches up to the block's newest sample is made of it, of a grown copy of it, or of
 * what came after it (retention may have dropped its own). Late blocks are known by their number,
 * because what is sealed is a sorted copy. */
static bool is_sealed(const struct snapshot *sn, struct head_tail *open, uint32_t count)
{
    bool late = open->flags & HEAD_TAIL_LATE;
    TSDB_ASSERT(count > 0);
    int64_t last_ms = head_tail_t(open)[count - 1];
    for (uint32_t i = sn->list_count; i-- > 0;) {
        const struct head_sealed *c = head_list_at(sn->list, i);
        if (c->late == late && (late ? c->seq >= open->seq : c->max_ms >= last_ms)) {
            return true;
        }
    }
    return false;
}

static void snapshot_take(const struct head_series *s, struct snapshot *sn)
{
    memset(sn, 0, sizeof *sn);
    /* Acquire, all: partners are the releases in head.c. The open blocks first, then the list: what
     * was sealed before an open block came is in the list that is loaded after it. */
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_acquire);
    sn->tail = head_word_tail(word);
    sn->tail_count = head_word_count(word);
    sn->ooo = atomic_load_explicit(&s->ooo, memory_order_acquire);
    if (sn->ooo) {
        sn->ooo_count = atomic_load_explicit(&sn->ooo->count, memory_order_acquire);
    }
    sn->list = atomic_load_explicit(&s->chunks, memory_order_acquire);
    if (sn->list) {
        sn->list_count = atomic_load_explicit(&sn->list->count, memory_order_acquire);
    }
    if (sn->tail && is_sealed(sn, sn->tail, sn->tail_count)) {
        sn->tail = NULL;
    }
    if (sn->ooo && is_sealed(sn, sn->ooo, sn->ooo_count)) {
        sn->ooo = NULL;
    }
}

static struct piece piece_of(struct head_tail *t, uint32_t count)
{
    bool late = t->flags & HEAD_TAIL_LATE;
    return (struct piece){
        .kind = (enum tsdb_sample_kind)t->kind,
        .sorted = !late || (t->flags & HEAD_TAIL_SORTED),
        .count = count,
        .t_ms = head_tail_t(t),
        .value = head_tail_value(t),
        .start_ms = (t->flags & HEAD_TAIL_STARTS) ? head_tail_start(t) : NULL,
    };
}

static enum tsdb_status no_memory(const struct tsdb_arena *arena)
{
    return tsdb_arena_status(arena);
}

/* Is the chunk left out by a reader of this view? */
static bool in_blocks(const struct head_sealed *c, uint64_t view)
{
    /* Relaxed: whoever has the view has seen it published under the lock of views, after the
     * chunks of its blocks were marked. */
    uint64_t in = atomic_load_explicit(&c->flushed_in, memory_order_relaxed);
    return 0 < in && in <= view;
}

static void pieces_add(struct head_pieces *l, struct piece piece, struct head_sealed *in_file)
{
    l->items[l->count] = piece;
    l->in_file[l->count++] = in_file;
    l->in_files += in_file != NULL;
}

/* Pieces whose samples may lie in the range. Under a guard. */
static enum tsdb_status pieces_in(const struct head_series *s, struct tsdb_time_range range,
                                  uint64_t view, struct tsdb_arena *arena, struct head_pieces *out)
{
    struct snapshot sn;
    snapshot_take(s, &sn);
    struct head_pieces l = {.items = TSDB_ARENA_ARRAY(arena, struct piece, sn.list_count + 2u)};
    if (!l.items) {
        return no_memory(arena);
    }
    l.in_file = TSDB_ARENA_ARRAY(arena, struct head_sealed *, sn.list_count + 2u);
    if (!l.in_file) {
        return no_memory(arena);
    }
    for (uint32_t i = 0; i < sn.list_count; i++) {
        struct head_sealed *c = head_list_at(sn.list, i);
        if (c->min_ms > range.max_ms || range.min_ms > c->max_ms || in_blocks(c, view)) {
            continue;
        }
        if (c->file) {
            pieces_add(&l,
                       (struct piece){.kind = (enum tsdb_sample_kind)c->kind,
                                      .sorted = true,
                                      .count = c->count},
                       c);
        } else {
            pieces_add(&l, piece_of(c->tail, c->count), NULL);
        }
    }
    if (sn.tail && sn.tail_count > 0) {
        pieces_add(&l, piece_of(sn.tail, sn.tail_count), NULL);
    }
    if (sn.ooo && sn.ooo_count > 0) {
        pieces_add(&l, piece_of(sn.ooo, sn.ooo_count), NULL);
    }
    *out = l;
    return TSDB_OK;
}

enum tsdb_status head_pieces(const struct head_partition *p, uint32_t local, uint64_t view,
                             struct tsdb_arena *arena, struct head_pieces *out)
{
    return pieces_in(head_hot(p, local), TSDB_TIME_ALL, view, arena, out);
}

/* ---- pieces that outlive the guard ---- */

/* Pointers to raw histograms become pointers to copies of them. */
static enum tsdb_status histograms_copy(struct tsdb_arena *arena, uint64_t *value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct tsdb_raw_histogram *raw =
            (const struct tsdb_raw_histogram *)(uintptr_t)value[i];
        struct tsdb_raw_histogram *copy =
            tsdb_arena_alloc(arena, sizeof *copy + raw->len, _Alignof(struct tsdb_raw_histogram));
        if (!copy) {
            return no_memory(arena);
        }
        uint8_t *data = (uint8_t *)(copy + 1);
        memcpy(data, raw->data, raw->len);
        copy->len = raw->len;
        copy->data = data;
        value[i] = (uint64_t)(uintptr_t)copy;
    }
    return TSDB_OK;
}

static enum tsdb_status piece_copy(struct tsdb_arena *arena, struct piece *p)
{
    uint32_t n = p->count;
    int64_t *t_ms = TSDB_ARENA_ARRAY(arena, int64_t, n);
    uint64_t *value = t_ms ? TSDB_ARENA_ARRAY(arena, uint64_t, n) : NULL;
    int64_t *start_ms = value && p->start_ms ? TSDB_ARENA_ARRAY(arena, int64_t, n) : NULL;
    if (!value || (p->start_ms && !start_ms)) {
        return no_memory(arena);
    }
    memcpy(t_ms, p->t_ms, n * sizeof t_ms[0]);
    memcpy(value, p->value, n * sizeof value[0]);
    if (start_ms) {
        memcpy(start_ms, p->start_ms, n * sizeof start_ms[0]);
    }
    p->t_ms = t_ms;
    p->value = value;
    p->start_ms = start_ms;
    return p->kind == TSDB_SAMPLE_FLOAT ? TSDB_OK : histograms_copy(arena, value, n);
}

/* Copy what lies in memory, acquire the files of the rest. Under a guard. On failure nothing is
 * acquired. */
static enum tsdb_status pieces_keep(struct head_pieces *l, struct tsdb_arena *arena,
                                    struct sealed_ref *refs)
{
    for (uint32_t i = 0; i < l->count; i++) {
        enum tsdb_status status = l->in_file[i] ? TSDB_OK : piece_copy(arena, &l->items[i]);
        if (status != TSDB_OK) {
            return status;
        }
    }
    for (uint32_t i = 0; i < l->count; i++) {
        const struct head_sealed *c = l->in_file[i];
        refs[i] = (struct sealed_ref){0};
        if (c) {
            head_file_acquire(c->file);
            refs[i] = (struct sealed_ref){c->file, c->offset, c->len};
        }
    }
    return TSDB_OK;
}

/* Read what lies in files; releases all of them whatever happens. No guard is open. */
static enum tsdb_status pieces_fetch(struct piece *pieces, uint32_t n, struct tsdb_arena *arena,
                                     const struct sealed_ref *refs, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < n; i++) {
        const struct sealed_ref *r = &refs[i];
        if (!r->file) {
            continue;
        }
        struct chunk_samples samples;
        if (status == TSDB_OK) {
            status = head_file_read(r->file, r->offset, r->len, arena, &samples, err);
            if (status == TSDB_OK) {
                pieces[i] = piece_of_chunk(&samples);
            }
        }
        head_file_release(r->file);
    }
    return status;
}

enum tsdb_status head_collect(const struct head_partition *p, uint32_t local,
                              struct tsdb_time_range range, uint64_t view, struct tsdb_arena *arena,
                              struct piece **out, uint32_t *out_count, struct tsdb_error *err)
{
    struct head_pieces l = {0};
    struct sealed_ref *refs = NULL;
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(p->epoch, &guard);
    enum tsdb_status status = pieces_in(head_hot(p, local), range, view, arena, &l);
    if (status == TSDB_OK && l.count > 0) {
        refs = TSDB_ARENA_ARRAY(arena, struct sealed_ref, l.count);
        status = refs ? pieces_keep(&l, arena, refs) : no_memory(arena);
    }
    tsdb_epoch_exit(p->epoch, &guard);
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "no memory to read a series");
    }
    status = l.in_files > 0 ? pieces_fetch(l.items, l.count, arena, refs, err) : TSDB_OK;
    if (status == TSDB_OK) {
        *out = l.items;
        *out_count = l.count;
    }
    return status;
}

/* ---- columns ---- */

static enum tsdb_status merge(const struct piece *pieces, uint32_t n, struct tsdb_time_range range,
                              struct tsdb_arena *arena, struct tsdb_columns *out,
                              struct tsdb_error *err)
{
    struct piece_columns c;
    enum tsdb_status status = pieces_merge(pieces, n, range, arena, &c, err);
    return status == TSDB_OK ? pieces_decode(&c, arena, out, err) : status;
}

enum tsdb_status head_read(const struct head_partition *p, uint32_t local,
                           struct tsdb_time_range range, uint64_t view, struct tsdb_arena *arena,
                           struct tsdb_columns *out, struct tsdb_error *err)
{
    struct head_pieces l = {0};
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(p->epoch, &guard);
    enum tsdb_status status = pieces_in(head_hot(p, local), range, view, arena, &l);
    if (status != TSDB_OK) {
        status = tsdb_error_set(err, status, "no memory to read a series");
    } else if (l.in_files == 0) {
        status = merge(l.items, l.count, range, arena, out, err);
    }
    tsdb_epoch_exit(p->epoch, &guard);
    if (status == TSDB_OK && l.in_files > 0) {
        struct piece *pieces = NULL;
        uint32_t n = 0;
        status = head_collect(p, local, range, view, arena, &pieces, &n, err);
        if (status == TSDB_OK) {
            status = merge(pieces, n, range, arena, out, err);
        }
    }
    return status;
}

/* ---- checking ---- */

static enum tsdb_status block_validate(struct head_tail *t, uint32_t n, struct tsdb_error *err)
{
    if (n == 0 || n > t->cap || t->cap > TSDB_CHUNK_SAMPLES) {
        return tsdb_error_set(err, TSDB_CORRUPT, "block of %u samples, capacity %u", n, t->cap);
    }
    bool sorted = !(t->flags & HEAD_TAIL_LATE) || (t->flags & HEAD_TAIL_SORTED);
    for (uint32_t i = 1; sorted && i < n; i++) {
        if (head_tail_t(t)[i - 1] >= head_tail_t(t)[i]) {
            return tsdb_error_set(err, TSDB_CORRUPT, "times of sample %u do not rise", i);
        }
    }
    return TSDB_OK;
}

/* A raw chunk's own fields, and that every chunk lies in one window. */
static enum tsdb_status sealed_validate(const struct head_partition *p, const struct head_sealed *c,
                                        uint32_t at, struct tsdb_error *err)
{
    enum tsdb_status status = c->file ? TSDB_OK : block_validate(c->tail, c->count, err);
    if (status == TSDB_OK && !c->file &&
        (c->min_ms != head_tail_t(c->tail)[0] || c->max_ms != head_tail_t(c->tail)[c->count - 1] ||
         c->count != head_tail_count(c->tail))) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "chunk %u: bounds are not its samples'", at);
    }
    if (status == TSDB_OK && c->max_ms > sealed_window_last(c->min_ms, p->range_ms)) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "chunk %u lies in two windows", at);
    }
    return status;
}

static enum tsdb_status series_validate(const struct head_partition *p, uint32_t local,
                                        struct tsdb_arena *arena, struct tsdb_error *err)
{
    const struct head_series *s = head_hot(p, local);
    struct snapshot sn;
    snapshot_take(s, &sn);
    enum tsdb_status status = TSDB_OK;
    uint64_t samples = 0;
    bool in_files = (s->flags & HEAD_SERIES_FROM_FILES) != 0;
    for (uint32_t i = 0; status == TSDB_OK && i < sn.list_count; i++) {
        const struct head_sealed *c = head_list_at(sn.list, i);
        status = sealed_validate(p, c, i, err);
        samples += c->count;
        in_files = in_files || c->file;
    }
    struct head_tail *open[2] = {sn.tail, sn.ooo};
    uint32_t counts[2] = {sn.tail_count, sn.ooo_count};
    for (uint32_t i = 0; status == TSDB_OK && i < 2; i++) {
        if (open[i]) {
            status = block_validate(open[i], counts[i], err);
            samples += counts[i];
        }
    }
    struct tsdb_columns all = {0};
    if (status == TSDB_OK) {
        status = head_read(p, local, TSDB_TIME_ALL, HEAD_VIEW_NONE, arena, &all, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    /* Reading keeps one of two samples with the same time, so that equal counts mean that there are
     * none; beside chunks in files there may be. */
    if (all.count > samples || (all.count < samples && !in_files)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "%u samples read, %llu stored", all.count,
                              (unsigned long long)samples);
    }
    bool newest_known = all.count == 0 || s->last_t_ms >= all.t_ms[all.count - 1];
    return newest_known ? TSDB_OK
                        : tsdb_error_set(err, TSDB_CORRUPT, "newest sample is not the last one");
}

enum tsdb_status head_validate(const struct head_partition *p, struct tsdb_error *err)
{
    enum tsdb_status status = index_mem_validate(p->index, err);
    if (status == TSDB_OK && index_mem_series_count(p->index) != p->series_count) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "index has %u series, head %u",
                                index_mem_series_count(p->index), p->series_count);
    }
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 16, NULL);
    for (uint32_t i = 0; status == TSDB_OK && i < p->series_count; i++) {
        tsdb_arena_reset(&arena);
        status = series_validate(p, i, &arena, err);
        if (status != TSDB_OK) {
            status = tsdb_error_prefix(err, status, "partition %u series %u", p->id, i);
        }
    }
    tsdb_arena_deinit(&arena);
    return status;
}
