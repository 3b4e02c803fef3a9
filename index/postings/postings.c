#include "index/postings/postings.h"

#include "base/assert.h"
#include "base/limits.h"

#include <stddef.h>
#include <string.h>

#define ID_MAX (TSDB_SERIES_LOCAL_MAX - 1)
/* Each block is twice as large as the one before, so that about a third of a chain lies idle. */
#define BLOCK_BYTES_FIRST 24u
#define BLOCK_BYTES_MAX   256u
#define RUN_WORDS_MAX     4u
enum run_kind { /* the lowest two bits; of a single id only the lowest */
    RUN_ONE = 0,
    RUN_NEAR = 1,
    RUN_FAR = 3
};
#define NEAR_GAP_BITS 14u

struct index_postings_block {
    _Atomic(uint32_t) next;
    uint32_t first;         /* id of its first run */
    uint32_t end;           /* the writer's: the last id; before any run, one before `first` */
    _Atomic(uint16_t) used; /* words of runs */
    uint16_t room;
    uint16_t runs[];
};
#define BLOCK_HEAD_BYTES offsetof(struct index_postings_block, runs)
static_assert(TSDB_PARTITION_SHIFT * 2 <= 64, "an open run fits the word");
static_assert(TSDB_PARTITION_SHIFT <= NEAR_GAP_BITS + 16, "any gap fits a far run");
static_assert(BLOCK_BYTES_FIRST >= BLOCK_HEAD_BYTES + RUN_WORDS_MAX * sizeof(uint16_t),
              "any run fits the first block");

static uint64_t open_make(uint32_t first, uint32_t count)
{
    return (uint64_t)count << TSDB_PARTITION_SHIFT | first;
}

static uint32_t open_first(uint64_t open)
{
    return (uint32_t)open & ID_MAX;
}

static uint32_t open_count(uint64_t open)
{
    return (uint32_t)(open >> TSDB_PARTITION_SHIFT);
}

static uint32_t open_end(uint64_t open)
{
    return open_first(open) + open_count(open);
}

static struct index_postings_block *block_at(const struct index_pages *blocks, uint32_t handle)
{
    return handle == 0 ? NULL : index_pages_at(blocks, handle);
}

/* ---- the writer ---- */

/* The open run as a block has it behind those that it has. Returns its words. */
static uint32_t run_encode(const struct index_postings_block *b, uint64_t open,
                           uint16_t out[RUN_WORDS_MAX])
{
    uint32_t gap = open_first(open) - b->end - 1;
    uint32_t count = open_count(open);
    if (count == 1 && gap < 1u << 15) {
        out[0] = (uint16_t)(gap << 1);
        return 1;
    }
    if (gap < 1u << NEAR_GAP_BITS && count <= UINT16_MAX) {
        out[0] = (uint16_t)(gap << 2 | RUN_NEAR);
        out[1] = (uint16_t)count;
        return 2;
    }
    out[0] = (uint16_t)(gap << 2 | RUN_FAR);
    out[1] = (uint16_t)(gap >> NEAR_GAP_BITS);
    out[2] = (uint16_t)count;
    out[3] = (uint16_t)(count >> 16);
    return RUN_WORDS_MAX;
}

static enum tsdb_status block_add(struct index_postings *p, struct index_pages *blocks,
                                  struct index_postings_block *tail, uint64_t open)
{
    uint32_t bytes = tail ? TSDB_MIN((uint32_t)(BLOCK_HEAD_BYTES + tail->room) * 2, BLOCK_BYTES_MAX)
                          : BLOCK_BYTES_FIRST;
    void *piece;
    uint32_t handle;
    enum tsdb_status status = index_pages_alloc(blocks, bytes, &piece, &handle);
    if (status != TSDB_OK) {
        return status;
    }
    struct index_postings_block *b = piece;
    atomic_init(&b->next, 0);
    b->first = open_first(open);
    b->end = b->first - 1;
    atomic_init(&b->used, 0);
    b->room = (uint16_t)((bytes - BLOCK_HEAD_BYTES) / sizeof b->runs[0]);
    /* Release, both: a reader that follows finds an empty block. */
    atomic_store_explicit(tail ? &tail->next : &p->first, handle, memory_order_release);
    atomic_store_explicit(&p->tail, handle, memory_order_release);
    return TSDB_OK;
}

enum tsdb_status index_postings_reserve(struct index_postings *p, struct index_pages *blocks,
                                        uint32_t id)
{
    uint64_t open = atomic_load_explicit(&p->open, memory_order_relaxed);
    TSDB_ASSERT(id <= ID_MAX);
    if (open == 0 || open_end(open) == id) {
        return TSDB_OK;
    }
    uint16_t run[RUN_WORDS_MAX];
    struct index_postings_block *tail =
        block_at(blocks, atomic_load_explicit(&p->tail, memory_order_relaxed));
    if (tail &&
        atomic_load_explicit(&tail->used, memory_order_relaxed) + run_encode(tail, open, run) <=
            tail->room) {
        return TSDB_OK;
    }
    return block_add(p, blocks, tail, open);
}

static void run_close(const struct index_postings *p, const struct index_pages *blocks,
                      uint64_t open)
{
    uint16_t run[RUN_WORDS_MAX];
    struct index_postings_block *b =
        block_at(blocks, atomic_load_explicit(&p->tail, memory_order_relaxed));
    TSDB_ASSERT(b != NULL);
    uint32_t words = run_encode(b, open, run);
    uint32_t used = atomic_load_explicit(&b->used, memory_order_relaxed);
    TSDB_ASSERT(used + words <= b->room);
    memcpy(b->runs + used, run, words * sizeof *run);
    b->end = open_end(open) - 1;
    /* Release: partner is the load in block_enter. */
    atomic_store_explicit(&b->used, (uint16_t)(used + words), memory_order_release);
}

void index_postings_append(struct index_postings *p, const struct index_pages *blocks, uint32_t id)
{
    uint64_t open = atomic_load_explicit(&p->open, memory_order_relaxed);
    uint64_t next = open_make(id, 1);
    if (open != 0 && open_end(open) == id) {
        next = open + open_make(0, 1);
    } else if (open != 0) {
        TSDB_DASSERT(open_end(open) < id);
        run_close(p, blocks, open);
    }
    /* Release, in this order: partners are runs_begin and index_postings_count. */
    atomic_store_explicit(&p->open, next, memory_order_release);
    uint32_t total = atomic_load_explicit(&p->total, memory_order_relaxed);
    atomic_store_explicit(&p->total, total + 1, memory_order_release);
}

void index_postings_prefetch(const struct index_postings *p, const struct index_pages *blocks)
{
    const struct index_postings_block *b =
        block_at(blocks, atomic_load_explicit(&p->tail, memory_order_relaxed));
    __builtin_prefetch(b, 1); /* of address 0 it does nothing */
}

/* ---- runs ---- */

/* Read from this block on; NULL, or one that came after the open run was: from that one. */
static TSDB_ALWAYS_INLINE void block_enter(struct index_runs *r,
                                           const struct index_postings_block *b)
{
    r->block = NULL;
    if (b && b->first < open_first(r->open)) {
        r->block = b;
        r->pos = b->runs;
        r->end = b->first - 1;
        /* Acquire: partner is the release in run_close. */
        r->used = b->runs + atomic_load_explicit(&b->used, memory_order_acquire);
        uint32_t next = atomic_load_explicit(&b->next, memory_order_acquire);
        __builtin_prefetch(block_at(r->blocks, next)); /* it arrives while this one is read */
    }
}

static TSDB_ALWAYS_INLINE const struct index_postings_block *block_next(const struct index_runs *r)
{
    return block_at(r->blocks, atomic_load_explicit(&r->block->next, memory_order_acquire));
}

static TSDB_ALWAYS_INLINE void runs_begin(struct index_runs *r, const struct index_postings *p,
                                          const struct index_pages *blocks, uint32_t bound,
                                          const _Atomic(uint32_t) *from)
{
    r->blocks = blocks;
    r->bound = bound;
    r->end = 0;
    /* Acquire: all runs before this one are in blocks. */
    r->open = atomic_load_explicit(&p->open, memory_order_acquire);
    r->block = NULL;
    if (r->open != 0) {
        block_enter(r, block_at(blocks, atomic_load_explicit(from, memory_order_acquire)));
    }
}

void index_runs_begin(struct index_runs *r, const struct index_postings *p,
                      const struct index_pages *blocks, uint32_t bound)
{
    runs_begin(r, p, blocks, bound, &p->first);
}

void index_runs_begin_newest(struct index_runs *r, const struct index_postings *p,
                             const struct index_pages *blocks, uint32_t bound)
{
    runs_begin(r, p, blocks, bound, &p->tail);
}

static TSDB_ALWAYS_INLINE struct index_run run_read(struct index_runs *r)
{
    uint32_t word = *r->pos++;
    if (TSDB_LIKELY((word & 1) == RUN_ONE)) {
        return (struct index_run){r->end + 1 + (word >> 1), 1};
    }
    uint32_t gap = word >> 2;
    if ((word & 3) == RUN_NEAR) {
        return (struct index_run){r->end + 1 + gap, *r->pos++};
    }
    gap |= (uint32_t)*r->pos++ << NEAR_GAP_BITS;
    uint32_t count = *r->pos++;
    return (struct index_run){r->end + 1 + gap, count | (uint32_t)*r->pos++ << 16};
}

/* Inlined where a list is read as a whole: then its state is in registers. */
static TSDB_ALWAYS_INLINE bool runs_next(struct index_runs *r, struct index_run *out)
{
    struct index_run run;
    while (r->block && r->pos == r->used) {
        block_enter(r, block_next(r));
    }
    if (r->open == 0) {
        return false;
    }
    if (r->block) {
        run = run_read(r);
        r->end = run.first + run.count - 1;
    }
    if (!r->block || run.first >= open_first(r->open)) {
        run = (struct index_run){open_first(r->open), open_count(r->open)};
        r->block = NULL;
        r->open = 0;
    }
    if (run.first >= r->bound) {
        r->block = NULL;
        r->open = 0;
        return false;
    }
    *out = (struct index_run){run.first, TSDB_MIN(run.count, r->bound - run.first)};
    return true;
}

bool index_runs_next(struct index_runs *r, struct index_run *out)
{
    return runs_next(r, out);
}

void index_runs_skip(struct index_runs *r, uint32_t id)
{
    if (r->block && open_first(r->open) <= id) {
        r->block = NULL;
    }
    while (r->block) {
        const struct index_postings_block *next = block_next(r);
        if (!next || next->first > id) {
            return;
        }
        block_enter(r, next);
    }
}

/* ---- a list as a whole ---- */

uint32_t index_postings_count(const struct index_postings *p, const struct index_pages *blocks,
                              uint32_t bound)
{
    uint64_t open = atomic_load_explicit(&p->open, memory_order_acquire);
    uint32_t total = atomic_load_explicit(&p->total, memory_order_acquire);
    /* A total that counts more than this run was stored behind a newer one. */
    if (open == atomic_load_explicit(&p->open, memory_order_acquire) && open_end(open) <= bound) {
        return total;
    }
    struct index_runs r;
    struct index_run run;
    uint32_t n = 0;
    runs_begin(&r, p, blocks, bound, &p->first);
    while (runs_next(&r, &run)) {
        n += run.count;
    }
    return n;
}

bool index_postings_any(const struct index_postings *p, const struct index_pages *blocks,
                        uint32_t bound)
{
    struct index_runs r;
    struct index_run run;
    runs_begin(&r, p, blocks, bound, &p->first);
    return runs_next(&r, &run);
}

uint32_t index_postings_copy(const struct index_postings *p, const struct index_pages *blocks,
                             uint32_t bound, uint32_t *ids)
{
    struct index_runs r;
    struct index_run run;
    uint32_t n = 0;
    runs_begin(&r, p, blocks, bound, &p->first);
    while (runs_next(&r, &run)) {
        uint32_t *to = ids + n;
        n += run.count;
        do {
            *to++ = run.first++;
        } while (--run.count > 0);
    }
    return n;
}

/* `count` (> 0) bits from `first` on. */
static void bits_add_run(uint64_t *bits, uint32_t first, uint32_t count)
{
    uint32_t last = first + count - 1;
    uint64_t from = ~UINT64_C(0) << (first & 63);
    uint64_t to = ~UINT64_C(0) >> (63 - (last & 63));
    if (first >> 6 == last >> 6) {
        bits[first >> 6] |= from & to;
        return;
    }
    bits[first >> 6] |= from;
    for (uint32_t w = (first >> 6) + 1; w < last >> 6; w++) {
        bits[w] = ~UINT64_C(0);
    }
    bits[last >> 6] |= to;
}

void index_postings_mark(const struct index_postings *p, const struct index_pages *blocks,
                         uint32_t bound, uint64_t *bits)
{
    struct index_runs r;
    struct index_run run;
    runs_begin(&r, p, blocks, bound, &p->first);
    while (runs_next(&r, &run)) {
        if (run.count == 1) {
            bits[run.first >> 6] |= UINT64_C(1) << (run.first & 63);
        } else {
            bits_add_run(bits, run.first, run.count);
        }
    }
}

uint32_t index_postings_filter(const struct index_postings *p, const struct index_pages *blocks,
                               uint32_t bound, bool keep, uint32_t *ids, uint32_t count)
{
    struct index_runs r;
    struct index_run run;
    uint32_t n = 0;
    uint32_t i = 0; /* ids before it are dealt with */
    runs_begin(&r, p, blocks, bound, &p->first);
    while (i < count && runs_next(&r, &run)) {
        uint32_t begin = index_ids_seek(ids, count, i, run.first);
        uint32_t end = index_ids_seek(ids, count, begin, run.first + run.count);
        uint32_t from = keep ? begin : i;
        uint32_t some = keep ? end - begin : begin - i;
        memmove(ids + n, ids + from, some * sizeof *ids);
        n += some;
        i = end;
        if (i < count) {
            index_runs_skip(&r, ids[i]);
        }
    }
    if (!keep) {
        memmove(ids + n, ids + i, (count - i) * sizeof *ids);
        n += count - i;
    }
    return n;
}

/* ---- rising arrays of ids ---- */

uint32_t index_ids_seek(const uint32_t *ids, uint32_t count, uint32_t from, uint32_t id)
{
    if (from >= count || ids[from] >= id) {
        return from;
    }
    /* Invariant: ids[low] < id; high is count or ids[high] >= id. */
    uint32_t low = from;
    uint32_t step = 1;
    while (step < count - low && ids[low + step] < id) {
        low += step;
        step *= 2;
    }
    uint32_t high = step < count - low ? low + step : count;
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (ids[mid] < id) {
            low = mid;
        } else {
            high = mid;
        }
    }
    return high;
}

void index_bits_add(uint64_t *bits, struct index_postings_view v)
{
    for (uint32_t i = 0; i < v.count; i++) {
        bits[v.ids[i] >> 6] |= (uint64_t)1 << (v.ids[i] & 63);
    }
}

uint32_t index_bits_extract(const uint64_t *bits, uint32_t id_count, bool value, uint32_t *out)
{
    uint32_t n = 0;
    size_t words = index_bits_words(id_count);
    for (size_t w = 0; w < words; w++) {
        uint64_t left = value ? bits[w] : ~bits[w];
        if (w + 1 == words && id_count % 64 != 0) {
            left &= ((uint64_t)1 << (id_count % 64)) - 1;
        }
        for (; left != 0; left &= left - 1) {
            out[n++] = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(left);
        }
    }
    return n;
}

uint32_t index_bits_filter(const uint64_t *bits, bool value, uint32_t *ids, uint32_t count)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = ids[i];
        ids[n] = id;
        n += index_bits_test(bits, id) == value;
    }
    return n;
}
