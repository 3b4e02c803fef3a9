#include "base/epoch.h"

#include "base/assert.h"

#include <sched.h>
#include <stdatomic.h>

#define EPOCH_CATEGORY  TSDB_MEM_OTHER
#define EPOCH_FIRST     1 /* 0 in a slot means: no guard */
#define LIMBO_CAP_FIRST 64
#define LIMBO_CAP_KEPT  256 /* by a list that is empty, 8 KiB: there is one for each partition */

/* One cache line per guard: readers do not disturb each other. */
struct epoch_slot {
    _Alignas(TSDB_CACHELINE) _Atomic(uint64_t) announced; /* 0, or the epoch that the guard saw */
};

struct tsdb_epoch {
    _Alignas(TSDB_CACHELINE) _Atomic(uint64_t) global;
    _Alignas(TSDB_CACHELINE) struct epoch_slot *slots; /* immutable after create */
    uint32_t slot_count;
};

struct tsdb_epoch_retired {
    void *p;
    size_t bytes;
    uint64_t epoch;
    enum tsdb_mem_category category;
};

/* Where this thread starts to look for a slot: mostly its last one, so its line is still in this
 * core's cache. */
static _Thread_local uint32_t slot_hint;
static _Thread_local bool slot_hint_set;
static _Atomic(uint32_t) threads_seen;

enum tsdb_status tsdb_epoch_create(uint32_t readers_max, struct tsdb_epoch **out)
{
    TSDB_ASSERT(readers_max > 0);
    struct tsdb_epoch *e = tsdb_mem_alloc_aligned(EPOCH_CATEGORY, TSDB_CACHELINE, sizeof *e);
    if (!e) {
        return TSDB_NOMEM;
    }
    e->slots =
        tsdb_mem_alloc_aligned(EPOCH_CATEGORY, TSDB_CACHELINE, readers_max * sizeof e->slots[0]);
    if (!e->slots) {
        tsdb_mem_free(EPOCH_CATEGORY, e, sizeof *e);
        return TSDB_NOMEM;
    }
    e->slot_count = readers_max;
    atomic_init(&e->global, EPOCH_FIRST);
    for (uint32_t i = 0; i < readers_max; i++) {
        atomic_init(&e->slots[i].announced, 0);
    }
    *out = e;
    return TSDB_OK;
}

void tsdb_epoch_destroy(struct tsdb_epoch *e)
{
    if (!e) {
        return;
    }
    for (uint32_t i = 0; i < e->slot_count; i++) {
        TSDB_ASSERT(atomic_load(&e->slots[i].announced) == 0);
    }
    tsdb_mem_free(EPOCH_CATEGORY, e->slots, e->slot_count * sizeof e->slots[0]);
    tsdb_mem_free(EPOCH_CATEGORY, e, sizeof *e);
}

void tsdb_epoch_enter(struct tsdb_epoch *e, struct tsdb_epoch_guard *out_guard)
{
    if (!slot_hint_set) {
        /* Relaxed: has no partner, any spread of numbers will do. */
        slot_hint = atomic_fetch_add_explicit(&threads_seen, 1, memory_order_relaxed);
        slot_hint_set = true;
    }
    uint64_t seen = atomic_load(&e->global);
    uint32_t tried = 0;
    uint32_t slot = slot_hint % e->slot_count;
    for (;;) {
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&e->slots[slot].announced, &none, seen)) {
            break;
        }
        slot = slot + 1 < e->slot_count ? slot + 1 : 0;
        if (++tried >= e->slot_count) {
            sched_yield();
            tried = 0;
            seen = atomic_load(&e->global); /* do not announce what is long past */
        }
    }
    /* If an advance has missed the announcement, then it happened before this load, which therefore
     * reads the advance's epoch or a later one. All changes of `global` are read-modify-writes, so
     * reading it shows the caller what every writer unlinked before it retired something in an
     * older epoch: such a piece cannot be loaded any more. (An announcement older than `global` is
     * harmless, it only holds the epoch back.) */
    (void)atomic_load(&e->global);
    slot_hint = slot;
    out_guard->slot = slot;
}

void tsdb_epoch_exit(struct tsdb_epoch *e, struct tsdb_epoch_guard *guard)
{
    _Atomic(uint64_t) *announced = &e->slots[guard->slot].announced;
    /* Relaxed: this thread wrote it in enter, its partner. */
    TSDB_ASSERT(atomic_load_explicit(announced, memory_order_relaxed) != 0);
    /* Release: partner is the scan in advance; the guard's reads end before the piece is freed. */
    atomic_store_explicit(announced, 0, memory_order_release);
}

/* Move the epoch on by one if every open guard has seen it. */
static bool advance(struct tsdb_epoch *e)
{
    uint64_t now = atomic_load(&e->global);
    for (uint32_t i = 0; i < e->slot_count; i++) {
        uint64_t announced = atomic_load(&e->slots[i].announced);
        if (announced != 0 && announced != now) {
            return false;
        }
    }
    /* Failure: another thread moved it, which is as good. */
    atomic_compare_exchange_strong(&e->global, &now, now + 1);
    return true;
}

void tsdb_epoch_limbo_init(struct tsdb_epoch_limbo *l)
{
    *l = (struct tsdb_epoch_limbo){0};
}

static void free_oldest(struct tsdb_epoch_limbo *l)
{
    struct tsdb_epoch_retired *r = &l->items[l->head];
    tsdb_mem_free(r->category, r->p, r->bytes);
    l->bytes -= r->bytes;
    l->head = (l->head + 1) & (l->cap - 1);
    l->count--;
}

static void empty_free(struct tsdb_epoch_limbo *l)
{
    TSDB_ASSERT(l->count == 0 && l->bytes == 0);
    tsdb_mem_free(EPOCH_CATEGORY, l->items, l->cap * sizeof l->items[0]);
    *l = (struct tsdb_epoch_limbo){0};
}

void tsdb_epoch_limbo_deinit(struct tsdb_epoch_limbo *l)
{
    while (l->count > 0) {
        free_oldest(l);
    }
    empty_free(l);
}

static bool limbo_grow(struct tsdb_epoch_limbo *l)
{
    if (l->cap > UINT32_MAX / 2) {
        return false;
    }
    uint32_t cap = l->cap ? l->cap * 2 : LIMBO_CAP_FIRST;
    struct tsdb_epoch_retired *items = tsdb_mem_alloc(EPOCH_CATEGORY, cap * sizeof items[0]);
    if (!items) {
        return false;
    }
    for (uint32_t i = 0; i < l->count; i++) {
        items[i] = l->items[(l->head + i) & (l->cap - 1)];
    }
    tsdb_mem_free(EPOCH_CATEGORY, l->items, l->cap * sizeof l->items[0]);
    l->items = items;
    l->head = 0;
    l->cap = cap;
    return true;
}

static void wait_for_epoch(struct tsdb_epoch *e, uint64_t epoch)
{
    while (atomic_load(&e->global) < epoch) {
        if (!advance(e)) {
            sched_yield();
        }
    }
}

uint64_t tsdb_epoch_stamp(struct tsdb_epoch *e)
{
    /* Reads the epoch by changing nothing, as a read-modify-write: what the caller unlinked comes
     * before it in every thread's eyes. A plain load could be done while the unlinking still waits
     * in this core's store buffer, and a guard of a later epoch would load the old piece. */
    return atomic_fetch_add(&e->global, 0);
}

bool tsdb_epoch_passed(struct tsdb_epoch *e, uint64_t stamp)
{
    uint64_t now = atomic_load(&e->global);
    /* Two steps at most: with no guard open, what was unlinked a moment ago is free now. */
    while (now < stamp + 2 && advance(e)) {
        now = atomic_load(&e->global);
    }
    return now >= stamp + 2;
}

void tsdb_epoch_retire(struct tsdb_epoch *e, struct tsdb_epoch_limbo *l,
                       enum tsdb_mem_category category, void *p, size_t bytes)
{
    if (!p) {
        return;
    }
    uint64_t now = tsdb_epoch_stamp(e);
    if (l->count == l->cap && !limbo_grow(l)) {
        tsdb_epoch_reclaim(e, l); /* may make room */
    }
    if (l->count == l->cap) {
        wait_for_epoch(e, now + 2);
        tsdb_mem_free(category, p, bytes);
        return;
    }
    l->items[(l->head + l->count) & (l->cap - 1)] =
        (struct tsdb_epoch_retired){.p = p, .bytes = bytes, .epoch = now, .category = category};
    l->count++;
    l->bytes += bytes;
}

uint64_t tsdb_epoch_reclaim(struct tsdb_epoch *e, struct tsdb_epoch_limbo *l)
{
    if (l->count == 0) {
        return 0;
    }
    (void)tsdb_epoch_passed(e, l->items[l->head].epoch);
    uint64_t now = atomic_load(&e->global);
    uint64_t bytes_before = l->bytes;
    while (l->count > 0 && l->items[l->head].epoch + 2 <= now) {
        free_oldest(l);
    }
    uint64_t freed = bytes_before - l->bytes;
    if (l->count == 0 && l->cap > LIMBO_CAP_KEPT) {
        empty_free(l); /* grown by a burst */
    }
    return freed;
}
