#include "tsdb/engine/alias.h"

#include "base/assert.h"
#include "base/mutex.h"

#include <stdatomic.h>

#define ALIAS_CATEGORY  TSDB_MEM_ALIAS
#define STRIPE_COUNT    256u
#define SLOTS_CAP_FIRST 16u
/* Grow beyond 5/8: linear probing then looks at 1.8 slots for a hit and 4 for a miss. */
#define LOAD_NUMERATOR   5u
#define LOAD_DENOMINATOR 8u

struct alias_entry {
    _Atomic(uint64_t) hit; /* ref | generation << 32 */
    _Atomic(uint64_t) hi;
    _Atomic(uint64_t) lo; /* 0 = free; written last */
};
static_assert(sizeof(struct alias_entry) == 24, "24 bytes an alias");

struct alias_slots {
    uint64_t mask;
    struct alias_entry entries[];
};

struct alias_stripe {
    _Alignas(TSDB_CACHELINE) _Atomic(struct alias_slots *) slots;
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

/* All bytes zero is all slots free. */
static struct alias_slots *slots_create(uint64_t cap)
{
    struct alias_slots *s = tsdb_mem_alloc_zero(ALIAS_CATEGORY, slots_bytes(cap));
    if (s) {
        s->mask = cap - 1;
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
            tsdb_mem_free(ALIAS_CATEGORY, slots, slots_bytes(slots->mask + 1));
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

void alias_prefetch(const struct alias_table *t, struct tsdb_hash128 h)
{
    const struct alias_stripe *s = &t->stripes[stripe_index(h)];
    const struct alias_slots *slots = atomic_load_explicit(&s->slots, memory_order_acquire);
    const struct alias_entry *e = &slots->entries[lo_of(h) & slots->mask];
    __builtin_prefetch(e);
    __builtin_prefetch((const char *)e + sizeof *e - 1); /* it may straddle two lines */
}

struct tsdb_alias_hit alias_find(const struct alias_table *t, struct tsdb_hash128 h)
{
    const struct alias_stripe *s = &t->stripes[stripe_index(h)];
    /* Acquire: partner is the release in slots_grow. */
    const struct alias_slots *slots = atomic_load_explicit(&s->slots, memory_order_acquire);
    uint64_t want = lo_of(h);
    /* A free slot always comes: the table is never full. */
    for (uint64_t at = want & slots->mask;; at = (at + 1) & slots->mask) {
        const struct alias_entry *e = &slots->entries[at];
        /* Acquire: partner is the release of lo in entry_write; hi and hit are there as well. */
        uint64_t lo = atomic_load_explicit(&e->lo, memory_order_acquire);
        if (lo == 0) {
            return (struct tsdb_alias_hit){TSDB_SERIES_NEW, 0};
        }
        if (lo == want && atomic_load_explicit(&e->hi, memory_order_relaxed) == h.hi) {
            /* Acquire: partner is the release of hit in alias_put, when it is overwritten. */
            uint64_t hit = atomic_load_explicit(&e->hit, memory_order_acquire);
            return (struct tsdb_alias_hit){(uint32_t)hit, (uint32_t)(hit >> 32)};
        }
    }
}

static void entry_write(struct alias_slots *slots, uint64_t lo, uint64_t hi, uint64_t hit)
{
    uint64_t at = lo & slots->mask;
    while (atomic_load_explicit(&slots->entries[at].lo, memory_order_relaxed) != 0) {
        at = (at + 1) & slots->mask;
    }
    struct alias_entry *e = &slots->entries[at];
    atomic_store_explicit(&e->hit, hit, memory_order_relaxed);
    atomic_store_explicit(&e->hi, hi, memory_order_relaxed);
    atomic_store_explicit(&e->lo, lo, memory_order_release); /* partner: alias_find */
}

static struct alias_entry *entry_find(struct alias_slots *slots, uint64_t want, uint64_t hi)
{
    for (uint64_t at = want & slots->mask;; at = (at + 1) & slots->mask) {
        struct alias_entry *e = &slots->entries[at];
        uint64_t lo = atomic_load_explicit(&e->lo, memory_order_relaxed);
        if (lo == 0) {
            return NULL;
        }
        if (lo == want && atomic_load_explicit(&e->hi, memory_order_relaxed) == hi) {
            return e;
        }
    }
}

/* Copy what is wanted (NULL: everything) to other slots, and publish those. */
static void slots_replace(struct alias_table *t, struct alias_stripe *s, struct alias_slots *to,
                          alias_wanted_fn wanted, void *arg) TSDB_REQUIRES(s->lock)
{
    struct alias_slots *old = atomic_load_explicit(&s->slots, memory_order_relaxed);
    for (uint64_t i = 0; i <= old->mask; i++) {
        const struct alias_entry *e = &old->entries[i];
        uint64_t lo = atomic_load_explicit(&e->lo, memory_order_relaxed);
        uint64_t hit = atomic_load_explicit(&e->hit, memory_order_relaxed);
        if (lo != 0 && (!wanted || wanted(arg, (tsdb_series_ref)hit))) {
            entry_write(to, lo, atomic_load_explicit(&e->hi, memory_order_relaxed), hit);
        }
    }
    atomic_store_explicit(&s->slots, to, memory_order_release); /* partner: alias_find */
    tsdb_epoch_retire(t->epoch, &s->limbo, ALIAS_CATEGORY, old, slots_bytes(old->mask + 1));
}

/* The stripe's slots, grown if they are too full for one more; NULL without memory. */
static struct alias_slots *slots_ensure(struct alias_table *t, struct alias_stripe *s)
    TSDB_REQUIRES(s->lock)
{
    struct alias_slots *old = atomic_load_explicit(&s->slots, memory_order_relaxed);
    uint64_t cap = old->mask + 1;
    if ((s->used + 1) * LOAD_DENOMINATOR <= cap * LOAD_NUMERATOR) {
        return old;
    }
    struct alias_slots *grown = slots_create(cap * 2);
    if (grown) {
        slots_replace(t, s, grown, NULL, NULL);
    }
    return grown;
}

static void put_locked(struct alias_table *t, struct alias_stripe *s, struct tsdb_hash128 h,
                       uint64_t hit) TSDB_REQUIRES(s->lock)
{
    if (s->limbo.count > 0) {
        tsdb_epoch_reclaim(t->epoch, &s->limbo);
    }
    struct alias_slots *slots = atomic_load_explicit(&s->slots, memory_order_relaxed);
    struct alias_entry *e = entry_find(slots, lo_of(h), h.hi);
    if (e) {
        atomic_store_explicit(&e->hit, hit, memory_order_release); /* partner: alias_find */
        return;
    }
    if (atomic_load_explicit(&t->count, memory_order_relaxed) >= t->aliases_max) {
        return;
    }
    slots = slots_ensure(t, s);
    if (slots) {
        entry_write(slots, lo_of(h), h.hi, hit);
        s->used++;
        atomic_fetch_add_explicit(&t->count, 1, memory_order_relaxed);
    }
}

void alias_put(struct alias_table *t, struct tsdb_hash128 h, tsdb_series_ref ref,
               uint32_t generation)
{
    TSDB_ASSERT(ref != TSDB_SERIES_NEW);
    struct alias_stripe *s = &t->stripes[stripe_index(h)];
    tsdb_mutex_lock(&s->lock);
    put_locked(t, s, h, (uint64_t)ref | (uint64_t)generation << 32);
    tsdb_mutex_unlock(&s->lock);
}

static void sweep_locked(struct alias_table *t, struct alias_stripe *s, alias_wanted_fn wanted,
                         void *arg) TSDB_REQUIRES(s->lock)
{
    const struct alias_slots *old = atomic_load_explicit(&s->slots, memory_order_relaxed);
    uint64_t stay = 0;
    for (uint64_t i = 0; i <= old->mask; i++) {
        const struct alias_entry *e = &old->entries[i];
        uint64_t hit = atomic_load_explicit(&e->hit, memory_order_relaxed);
        stay += atomic_load_explicit(&e->lo, memory_order_relaxed) != 0 &&
                wanted(arg, (tsdb_series_ref)hit);
    }
    tsdb_epoch_reclaim(t->epoch, &s->limbo);
    if (stay == s->used) {
        return;
    }
    uint64_t cap = SLOTS_CAP_FIRST;
    while ((stay + 1) * LOAD_DENOMINATOR > cap * LOAD_NUMERATOR) {
        cap *= 2;
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
