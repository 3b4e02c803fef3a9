#include "tsdb/engine/alias.h"

#include "base/assert.h"
#include "base/mutex.h"

#include <stdatomic.h>
#include <string.h>

#define ALIAS_CATEGORY  TSDB_MEM_ALIAS
#define STRIPE_COUNT    256u
#define SLOTS_CAP_FIRST 16u
/* Grow beyond 13/16, by about a fifth: linear probing then looks at 2.0 to 3.2 slots for a hit, 5 to 15
 * for a miss. No two neighbours grow by the same, so that stripes do not all grow at once. */
#define LOAD_NUMERATOR   13u
#define LOAD_DENOMINATOR 16u
#define GROW_DENOMINATOR 64u
#define GROW_LEAST       10u
#define GROW_KINDS       5u
#define CAP_STEP         4u /* entries of a cache line */

struct alias_entry {
    _Atomic(uint64_t) lo;  /* 0 = free; written last */
    _Atomic(uint64_t) hit; /* ref | generation << 32 | bits of hi << 48 */
};
static_assert(sizeof(struct alias_entry) == 16, "16 bytes an alias");

struct alias_slots {
    _Alignas(TSDB_CACHELINE) uint64_t cap;
    _Alignas(TSDB_CACHELINE) struct alias_entry entries[];
};

struct alias_stripe {
    _Alignas(TSDB_CACHELINE) _Atomic(struct alias_slots *) slots;
    _Atomic(uint64_t)
        cap_hint;           /* of slots, more or less: who prefetches need not wait for theirs */
    struct tsdb_mutex lock; /* rank ALIAS_STRIPE; guards writing, and what follows */
    uint64_t used TSDB_GUARDED;
    struct tsdb_epoch_limbo limbo TSDB_GUARDED;
};

struct alias_table {
    struct tsdb_epoch *epoch; /* immutable */
    uint64_t aliases_max;
    _Atomic(uint64_t) count; /* changes with new series only */
    struct alias_stripe stripes[STRIPE_COUNT];
};

static size_t slots_bytes(uint64_t cap)
{
    return sizeof(struct alias_slots) + cap * sizeof(struct alias_entry);
}

/* All bytes zero is all slots free. Written here: who read a page that the system has yet to make
 * would be given one to read, and another one when it writes. */
static struct alias_slots *slots_create(uint64_t cap)
{
    struct alias_slots *s =
        tsdb_mem_alloc_aligned(ALIAS_CATEGORY, TSDB_CACHELINE, slots_bytes(cap));
    if (s) {
        memset(s, 0, slots_bytes(cap));
        s->cap = cap;
    }
    return s;
}

enum tsdb_status alias_table_create(struct tsdb_epoch *epoch, uint64_t aliases_max,
                                    struct alias_table **out)
{
    struct alias_table *t = tsdb_mem_alloc_aligned(ALIAS_CATEGORY, TSDB_CACHELINE, sizeof *t);
    if (!t) {
        return TSDB_NOMEM;
    }
    t->epoch = epoch;
    t->aliases_max = aliases_max;
    atomic_init(&t->count, 0);
    bool ok = true;
    for (uint32_t i = 0; i < STRIPE_COUNT; i++) {
        struct alias_stripe *s = &t->stripes[i];
        tsdb_mutex_init(&s->lock, TSDB_RANK_ALIAS_STRIPE, "alias stripe");
        tsdb_mutex_lock(&s->lock);
        s->used = 0;
        tsdb_epoch_limbo_init(&s->limbo);
        tsdb_mutex_unlock(&s->lock);
        struct alias_slots *slots = ok ? slots_create(SLOTS_CAP_FIRST) : NULL;
        atomic_init(&s->slots, slots);
        atomic_init(&s->cap_hint, SLOTS_CAP_FIRST);
        ok = ok && slots;
    }
    if (!ok) {
        alias_table_destroy(t);
        return TSDB_NOMEM;
    }
    *out = t;
    return TSDB_OK;
}

void alias_table_destroy(struct alias_table *t)
{
    if (!t) {
        return;
    }
    for (uint32_t i = 0; i < STRIPE_COUNT; i++) {
        struct alias_stripe *s = &t->stripes[i];
        struct alias_slots *slots = atomic_load_explicit(&s->slots, memory_order_relaxed);
        if (slots) {
            tsdb_mem_free(ALIAS_CATEGORY, slots, slots_bytes(slots->cap));
        }
        tsdb_mutex_lock(&s->lock);
        tsdb_epoch_limbo_deinit(&s->limbo);
        tsdb_mutex_unlock(&s->lock);
        tsdb_mutex_deinit(&s->lock);
    }
    tsdb_mem_free(ALIAS_CATEGORY, t, sizeof *t);
}

/* Stripe and slot come from different words of the hash. */
static uint32_t stripe_index(struct tsdb_hash128 h)
{
    return (uint32_t)(h.hi >> 56);
}

static uint64_t lo_of(struct tsdb_hash128 h)
{
    return h.lo ? h.lo : 1;
}

/* Of hi, beside the bits of the stripe. */
static uint64_t check_of(struct tsdb_hash128 h)
{
    return h.hi & UINT16_MAX;
}

static uint64_t hit_make(struct tsdb_hash128 h, tsdb_series_ref ref, uint32_t generation)
{
    return (uint64_t)ref | (uint64_t)generation << 32 | check_of(h) << 48;
}

static tsdb_series_ref hit_ref(uint64_t hit)
{
    return (tsdb_series_ref)hit;
}

static uint64_t place_of(uint64_t cap, uint64_t lo)
{
    return (lo >> 32) * cap >> 32;
}

static uint64_t place_next(const struct alias_slots *slots, uint64_t at)
{
    return at + 1 < slots->cap ? at + 1 : 0;
}

void alias_prefetch(const struct alias_table *t, struct tsdb_hash128 h)
{
    const struct alias_stripe *s = &t->stripes[stripe_index(h)];
    const struct alias_slots *slots = atomic_load_explicit(&s->slots, memory_order_relaxed);
    uint64_t cap = atomic_load_explicit(&s->cap_hint, memory_order_relaxed);
    __builtin_prefetch(slots);
    __builtin_prefetch((const char *)slots + slots_bytes(place_of(cap, lo_of(h))));
}

/* The entry of h, or NULL; a free slot always comes: the table is never full. */
static const struct alias_entry *entry_find(const struct alias_slots *slots, struct tsdb_hash128 h,
                                            uint64_t *out_hit)
{
    uint64_t want = lo_of(h);
    for (uint64_t at = place_of(slots->cap, want);; at = place_next(slots, at)) {
        const struct alias_entry *e = &slots->entries[at];
        /* Acquire: partner is the release of lo in entry_write; hit is there as well. */
        uint64_t lo = atomic_load_explicit(&e->lo, memory_order_acquire);
        if (lo == 0) {
            return NULL;
        }
        if (lo == want) {
            /* Acquire: partner is the release of hit in alias_put, when it is overwritten. */
            *out_hit = atomic_load_explicit(&e->hit, memory_order_acquire);
            if (*out_hit >> 48 == check_of(h)) {
                return e;
            }
        }
    }
}

struct tsdb_alias_hit alias_find(const struct alias_table *t, struct tsdb_hash128 h)
{
    const struct alias_stripe *s = &t->stripes[stripe_index(h)];
    uint64_t hit = 0;
    /* Acquire: partner is the release in slots_replace. */
    if (!entry_find(atomic_load_explicit(&s->slots, memory_order_acquire), h, &hit)) {
        return (struct tsdb_alias_hit){TSDB_SERIES_NEW, 0};
    }
    return (struct tsdb_alias_hit){hit_ref(hit), (uint32_t)(hit >> 32) & ALIAS_GENERATION_MAX};
}

static void entry_write(struct alias_slots *slots, uint64_t lo, uint64_t hit)
{
    uint64_t at = place_of(slots->cap, lo);
    while (atomic_load_explicit(&slots->entries[at].lo, memory_order_relaxed) != 0) {
        at = place_next(slots, at);
    }
    struct alias_entry *e = &slots->entries[at];
    atomic_store_explicit(&e->hit, hit, memory_order_relaxed);
    atomic_store_explicit(&e->lo, lo, memory_order_release); /* partner: entry_find */
}

/* Copy what is wanted (NULL: everything) to other slots, and publish those. */
static void slots_replace(struct alias_table *t, struct alias_stripe *s, struct alias_slots *to,
                          alias_wanted_fn wanted, void *arg) TSDB_REQUIRES(s->lock)
{
    struct alias_slots *old = atomic_load_explicit(&s->slots, memory_order_relaxed);
    for (uint64_t i = 0; i < old->cap; i++) {
        const struct alias_entry *e = &old->entries[i];
        uint64_t lo = atomic_load_explicit(&e->lo, memory_order_relaxed);
        uint64_t hit = atomic_load_explicit(&e->hit, memory_order_relaxed);
        if (lo != 0 && (!wanted || wanted(arg, hit_ref(hit)))) {
            entry_write(to, lo, hit);
        }
    }
    atomic_store_explicit(&s->slots, to, memory_order_release); /* partner: alias_find */
    atomic_store_explicit(&s->cap_hint, to->cap, memory_order_relaxed);
    tsdb_epoch_retire(t->epoch, &s->limbo, ALIAS_CATEGORY, old, slots_bytes(old->cap));
}

static bool is_full(uint64_t count, uint64_t cap)
{
    return count * LOAD_DENOMINATOR > cap * LOAD_NUMERATOR;
}

/* The stripe's slots, grown if they are too full for one more; NULL without memory. */
static struct alias_slots *slots_ensure(struct alias_table *t, struct alias_stripe *s)
    TSDB_REQUIRES(s->lock)
{
    struct alias_slots *old = atomic_load_explicit(&s->slots, memory_order_relaxed);
    if (!is_full(s->used + 1, old->cap)) {
        return old;
    }
    uint64_t part = GROW_LEAST + (uint64_t)(s - t->stripes) % GROW_KINDS;
    uint64_t cap =
        old->cap + old->cap * part / GROW_DENOMINATOR + CAP_STEP; /* a line more at least */
    cap -= cap % CAP_STEP;
    struct alias_slots *grown = slots_create(cap);
    if (grown) {
        slots_replace(t, s, grown, NULL, NULL);
    }
    return grown;
}

static void put_locked(struct alias_table *t, struct alias_stripe *s, struct tsdb_hash128 h,
                       uint64_t hit) TSDB_REQUIRES(s->lock)
{
    uint64_t before = 0;
    if (s->limbo.count > 0) {
        tsdb_epoch_reclaim(t->epoch, &s->limbo);
    }
    struct alias_slots *slots = atomic_load_explicit(&s->slots, memory_order_relaxed);
    const struct alias_entry *e = entry_find(slots, h, &before);
    if (e) {
        /* partner: entry_find */
        atomic_store_explicit(&slots->entries[e - slots->entries].hit, hit, memory_order_release);
        return;
    }
    if (atomic_load_explicit(&t->count, memory_order_relaxed) >= t->aliases_max) {
        return;
    }
    slots = slots_ensure(t, s);
    if (slots) {
        entry_write(slots, lo_of(h), hit);
        s->used++;
        atomic_fetch_add_explicit(&t->count, 1, memory_order_relaxed);
    }
}

void alias_put(struct alias_table *t, struct tsdb_hash128 h, tsdb_series_ref ref,
               uint32_t generation)
{
    TSDB_ASSERT(ref != TSDB_SERIES_NEW && generation <= ALIAS_GENERATION_MAX);
    struct alias_stripe *s = &t->stripes[stripe_index(h)];
    tsdb_mutex_lock(&s->lock);
    put_locked(t, s, h, hit_make(h, ref, generation));
    tsdb_mutex_unlock(&s->lock);
}

static void sweep_locked(struct alias_table *t, struct alias_stripe *s, alias_wanted_fn wanted,
                         void *arg) TSDB_REQUIRES(s->lock)
{
    const struct alias_slots *old = atomic_load_explicit(&s->slots, memory_order_relaxed);
    uint64_t stay = 0;
    for (uint64_t i = 0; i < old->cap; i++) {
        const struct alias_entry *e = &old->entries[i];
        uint64_t hit = atomic_load_explicit(&e->hit, memory_order_relaxed);
        stay +=
            atomic_load_explicit(&e->lo, memory_order_relaxed) != 0 && wanted(arg, hit_ref(hit));
    }
    tsdb_epoch_reclaim(t->epoch, &s->limbo);
    if (stay == s->used) {
        return;
    }
    uint64_t cap = SLOTS_CAP_FIRST;
    if (is_full(stay + 1, cap)) {
        cap = ((stay + 1) * LOAD_DENOMINATOR / LOAD_NUMERATOR / CAP_STEP + 1) * CAP_STEP;
    }
    struct alias_slots *to = slots_create(cap);
    if (to) {
        slots_replace(t, s, to, wanted, arg);
        atomic_fetch_sub_explicit(&t->count, s->used - stay, memory_order_relaxed);
        s->used = stay;
    }
}

void alias_sweep(struct alias_table *t, alias_wanted_fn wanted, void *arg)
{
    for (uint32_t i = 0; i < STRIPE_COUNT; i++) {
        struct alias_stripe *s = &t->stripes[i];
        tsdb_mutex_lock(&s->lock);
        sweep_locked(t, s, wanted, arg);
        tsdb_mutex_unlock(&s->lock);
    }
}

uint64_t alias_count(const struct alias_table *t)
{
    return atomic_load_explicit(&t->count, memory_order_relaxed);
}
