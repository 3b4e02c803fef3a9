#include "tsdb/head_private.h"

#include "base/assert.h"

#include <string.h>

/* What a reader saw of a series: invariant 3 of head.h. */
struct snapshot {
    struct head_tail *tail, *ooo; /* NULL: none, or found among the chunks */
    uint32_t tail_count, ooo_count;
    struct head_list *list;
    uint32_t list_count;
};

/* Was this block, loaded as the open one, sealed before the list was loaded? Then it is in the
 * list, or retention has dropped it from there already; so what was sealed after it tells as well.
 * Late blocks are known by their number, because what is sealed is a sorted copy. */
static bool is_sealed(const struct snapshot *sn, struct head_tail *open, uint32_t count)
{
    bool late = open->flags & HEAD_TAIL_LATE;
    int64_t last_ms = count > 0 ? head_tail_t(open)[count - 1] : INT64_MAX;
    for (uint32_t i = sn->list_count; i-- > 0;) {
        const struct head_chunk *c = &sn->list->items[i];
        if (late) {
            if ((c->tail->flags & HEAD_TAIL_LATE) && c->tail->seq >= open->seq) {
                return true;
            }
        } else if (c->tail == open || (c->min_ms > last_ms && !(c->tail->flags & HEAD_TAIL_LATE))) {
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

static struct head_piece piece_of(struct head_tail *t, uint32_t count, bool sealed)
{
    bool late = t->flags & HEAD_TAIL_LATE;
    return (struct head_piece){
        .kind = (enum tsdb_sample_kind)t->kind,
        .sorted = !late || (t->flags & HEAD_TAIL_SORTED),
        .sealed = sealed,
        .count = count,
        .t_ms = head_tail_t(t),
        .value = head_tail_value(t),
        .start_ms = (t->flags & HEAD_TAIL_STARTS) ? head_tail_start(t) : NULL,
    };
}

static enum tsdb_status no_memory(const struct tsdb_arena *arena)
{
    return arena->failure != TSDB_OK ? arena->failure : TSDB_NOMEM;
}

/* Pieces whose samples may lie in the range. */
static enum tsdb_status pieces_in(const struct head_series *s, struct tsdb_time_range range,
                                  struct tsdb_arena *arena, struct head_piece **out,
                                  uint32_t *out_count)
{
    struct snapshot sn;
    snapshot_take(s, &sn);
    struct head_piece *pieces = TSDB_ARENA_ARRAY(arena, struct head_piece, sn.list_count + 2u);
    if (!pieces) {
        return no_memory(arena);
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < sn.list_count; i++) {
        const struct head_chunk *c = &sn.list->items[i];
        if (c->min_ms <= range.max_ms && range.min_ms <= c->max_ms) {
            /* Relaxed: sealed, the count was published with the list. */
            uint32_t count = atomic_load_explicit(&c->tail->count, memory_order_relaxed);
            pieces[n++] = piece_of(c->tail, count, true);
        }
    }
    if (sn.tail && sn.tail_count > 0) {
        pieces[n++] = piece_of(sn.tail, sn.tail_count, false);
    }
    if (sn.ooo && sn.ooo_count > 0) {
        pieces[n++] = piece_of(sn.ooo, sn.ooo_count, false);
    }
    *out = pieces;
    *out_count = n;
    return TSDB_OK;
}

enum tsdb_status head_pieces(const struct head_partition *p, uint32_t local,
                             struct tsdb_arena *arena, struct head_piece **out, uint32_t *out_count)
{
    return pieces_in(head_hot(p, local), TSDB_TIME_ALL, arena, out, out_count);
}

/* ---- merging to columns ---- */

/* First index whose time is >= t_ms. */
static uint32_t lower_bound(const int64_t *times, uint32_t n, int64_t t_ms)
{
    uint32_t low = 0;
    uint32_t high = n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (times[mid] < t_ms) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* Columns being built: plain arrays of `cap`. kind and start_ms only where they are needed. */
struct columns {
    int64_t *t_ms;
    uint64_t *value;
    uint8_t *kind;
    int64_t *start_ms;
    uint32_t count;
};

static enum tsdb_status columns_alloc(struct tsdb_arena *arena, uint32_t cap, bool kinds,
                                      bool starts, struct columns *out)
{
    memset(out, 0, sizeof *out);
    out->t_ms = TSDB_ARENA_ARRAY(arena, int64_t, cap);
    out->value = TSDB_ARENA_ARRAY(arena, uint64_t, cap);
    if (kinds) {
        out->kind = TSDB_ARENA_ARRAY(arena, uint8_t, cap);
    }
    if (starts) {
        out->start_ms = TSDB_ARENA_ARRAY(arena, int64_t, cap);
    }
    bool ok = out->t_ms && out->value && (!kinds || out->kind) && (!starts || out->start_ms);
    return ok ? TSDB_OK : no_memory(arena);
}

static void columns_put(struct columns *c, const struct head_piece *p, uint32_t begin, uint32_t end)
{
    uint32_t n = end - begin;
    memcpy(c->t_ms + c->count, p->t_ms + begin, n * sizeof c->t_ms[0]);
    memcpy(c->value + c->count, p->value + begin, n * sizeof c->value[0]);
    if (c->kind) {
        memset(c->kind + c->count, (int)p->kind, n);
    }
    if (c->start_ms && p->start_ms) {
        memcpy(c->start_ms + c->count, p->start_ms + begin, n * sizeof c->start_ms[0]);
    } else if (c->start_ms) {
        memset(c->start_ms + c->count, 0, n * sizeof c->start_ms[0]);
    }
    c->count += n;
}

static void columns_gather(struct columns *c, const struct head_piece *p,
                           struct tsdb_time_range range)
{
    if (p->sorted) {
        uint32_t begin = lower_bound(p->t_ms, p->count, range.min_ms);
        uint32_t end =
            range.max_ms == INT64_MAX ? p->count : lower_bound(p->t_ms, p->count, range.max_ms + 1);
        if (begin < end) {
            columns_put(c, p, begin, end);
        }
        return;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        if (range.min_ms <= p->t_ms[i] && p->t_ms[i] <= range.max_ms) {
            columns_put(c, p, i, i + 1);
        }
    }
}

static void row_copy(struct columns *to, uint32_t to_at, const struct columns *from, uint32_t at)
{
    to->t_ms[to_at] = from->t_ms[at];
    to->value[to_at] = from->value[at];
    if (to->kind) {
        to->kind[to_at] = from->kind[at];
    }
    if (to->start_ms) {
        to->start_ms[to_at] = from->start_ms[at];
    }
}

/* End of the rising run that begins at `begin`. Equal times do not occur; if they did, a run must
 * not end at them, or sorting would not end. */
static uint32_t run_end(const int64_t *t, uint32_t begin, uint32_t n)
{
    uint32_t end = begin + 1;
    while (end < n && t[end - 1] <= t[end]) {
        end++;
    }
    return end;
}

/* One pass of a natural merge sort: pairs of neighbouring runs. Returns the number of runs left. */
static uint32_t merge_pass(const struct columns *from, struct columns *to)
{
    uint32_t n = from->count;
    uint32_t runs = 0;
    uint32_t at = 0;
    while (at < n) {
        uint32_t a = at;
        uint32_t a_end = run_end(from->t_ms, a, n);
        uint32_t b = a_end;
        uint32_t b_end = b < n ? run_end(from->t_ms, b, n) : b;
        while (a < a_end || b < b_end) {
            bool take_a = b == b_end || (a < a_end && from->t_ms[a] <= from->t_ms[b]);
            row_copy(to, at++, from, take_a ? a++ : b++);
        }
        runs++;
    }
    to->count = n;
    return runs;
}

/* Rising times; the second set of columns is only taken if there is something to do. Pieces overlap
 * only where samples came late. */
static enum tsdb_status columns_sort(struct columns *c, struct tsdb_arena *arena)
{
    if (c->count == 0 || run_end(c->t_ms, 0, c->count) == c->count) {
        return TSDB_OK;
    }
    struct columns other;
    enum tsdb_status status =
        columns_alloc(arena, c->count, c->kind != NULL, c->start_ms != NULL, &other);
    if (status != TSDB_OK) {
        return status;
    }
    struct columns *from = c;
    struct columns *to = &other;
    while (merge_pass(from, to) > 1) {
        struct columns *swap = from;
        from = to;
        to = swap;
    }
    *c = *to;
    return TSDB_OK;
}

/* Replace pointers to raw histograms by indexes into decoded ones. */
static enum tsdb_status histograms_decode(struct columns *c, struct tsdb_arena *arena,
                                          struct tsdb_columns *out, struct tsdb_error *err)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        n += c->kind[i] != TSDB_SAMPLE_FLOAT;
    }
    if (n == 0) {
        return TSDB_OK;
    }
    struct tsdb_histogram *h = TSDB_ARENA_ARRAY(arena, struct tsdb_histogram, n);
    if (!h) {
        return tsdb_error_set(err, no_memory(arena), "no memory for %u histograms", n);
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->kind[i] != TSDB_SAMPLE_FLOAT) {
            const struct tsdb_raw_histogram *raw =
                (const struct tsdb_raw_histogram *)(uintptr_t)c->value[i];
            enum tsdb_status status =
                tsdb_histogram_decode(raw->data, raw->len, arena, &h[at], err);
            if (status != TSDB_OK) {
                return status;
            }
            c->value[i] = at++;
        }
    }
    out->histograms = h;
    out->histogram_count = n;
    return TSDB_OK;
}

enum tsdb_status head_read(const struct head_partition *p, uint32_t local,
                           struct tsdb_time_range range, struct tsdb_arena *arena,
                           struct tsdb_columns *out, struct tsdb_error *err)
{
    struct head_piece *pieces;
    uint32_t n;
    enum tsdb_status status = pieces_in(head_hot(p, local), range, arena, &pieces, &n);
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "no memory to read a series");
    }
    uint32_t cap = 0;
    bool kinds = false;
    bool starts = false;
    for (uint32_t i = 0; i < n; i++) {
        cap += pieces[i].count;
        kinds = kinds || pieces[i].kind != TSDB_SAMPLE_FLOAT;
        starts = starts || pieces[i].start_ms;
    }
    struct tsdb_columns result = {0};
    if (cap == 0) {
        *out = result;
        return TSDB_OK;
    }
    struct columns c;
    status = columns_alloc(arena, cap, kinds, starts, &c);
    for (uint32_t i = 0; status == TSDB_OK && i < n; i++) {
        columns_gather(&c, &pieces[i], range);
    }
    if (status == TSDB_OK) {
        status = columns_sort(&c, arena);
    }
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "no memory for %u samples of a series", cap);
    }
    if (kinds) {
        status = histograms_decode(&c, arena, &result, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
    result.count = c.count;
    result.t_ms = c.t_ms;
    result.bits = c.value;
    result.kind = result.histogram_count > 0 ? c.kind : NULL;
    result.start_ms = c.start_ms;
    *out = result;
    return TSDB_OK;
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

static enum tsdb_status series_validate(const struct head_partition *p, uint32_t local,
                                        struct tsdb_arena *arena, struct tsdb_error *err)
{
    const struct head_series *s = head_hot(p, local);
    struct snapshot sn;
    snapshot_take(s, &sn);
    enum tsdb_status status = TSDB_OK;
    uint64_t samples = 0;
    for (uint32_t i = 0; status == TSDB_OK && i < sn.list_count; i++) {
        const struct head_chunk *c = &sn.list->items[i];
        uint32_t n = atomic_load_explicit(&c->tail->count, memory_order_relaxed);
        status = block_validate(c->tail, n, err);
        if (status == TSDB_OK &&
            (c->min_ms != head_tail_t(c->tail)[0] || c->max_ms != head_tail_t(c->tail)[n - 1])) {
            status = tsdb_error_set(err, TSDB_CORRUPT, "chunk %u: bounds are not its samples'", i);
        }
        samples += n;
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
        status = head_read(p, local, TSDB_TIME_ALL, arena, &all, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    if (all.count != samples) {
        return tsdb_error_set(err, TSDB_CORRUPT, "%u samples read, %llu stored", all.count,
                              (unsigned long long)samples);
    }
    /* Merged and counted: so equal neighbours are samples of one time in two blocks. */
    for (uint32_t i = 1; i < all.count; i++) {
        if (all.t_ms[i - 1] >= all.t_ms[i]) {
            return tsdb_error_set(err, TSDB_CORRUPT, "two samples at %lld", (long long)all.t_ms[i]);
        }
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
