#include "server/parts/costs.h"

#include "base/compiler.h"
#include "base/random.h"

/* A slot: a tag of the upper bits of the shape, and microseconds + 1 (so that no slot in use is 0). */
#define COST_BITS 20u
#define COST_MAX  ((UINT64_C(1) << COST_BITS) - 1)

_Static_assert(COSTS_HEAVY_NS / 1000 < (int64_t)COST_MAX, "a heavy cost fits a slot");
_Static_assert(COSTS_SLOTS_LOG2 <= COST_BITS, "slot and tag have all bits of a shape between them");

void costs_init(struct costs *c)
{
    uint8_t seed[TSDB_HASH_SEED_BYTES];
    tsdb_random_fill(&tsdb_random_system, seed, sizeof seed);
    tsdb_hash_key_init(&c->key, seed);
    for (uint32_t i = 0; i < COSTS_SLOTS; i++) {
        atomic_init(&c->slots[i], 0);
    }
}

/* The remembered microseconds + 1; 0: none. */
static uint64_t recall(uint64_t slot, uint64_t shape)
{
    return slot >> COST_BITS == shape >> COST_BITS ? slot & COST_MAX : 0;
}

enum work_kind costs_kind(const struct costs *c, uint64_t shape, int64_t guess_ns)
{
    uint64_t slot = atomic_load_explicit(&c->slots[shape % COSTS_SLOTS], memory_order_relaxed);
    uint64_t cost = recall(slot, shape);
    bool heavy =
        cost > 0 ? (int64_t)(cost - 1) * 1000 >= COSTS_HEAVY_NS : guess_ns >= COSTS_HEAVY_NS;
    if (heavy) {
        return WORK_HEAVY;
    }
    return cost > 0 ? WORK_CHEAP : WORK_UNKNOWN;
}

void costs_note(struct costs *c, uint64_t shape, int64_t spent_ns)
{
    _Atomic(uint64_t) *at = &c->slots[shape % COSTS_SLOTS];
    uint64_t slot = atomic_load_explicit(at, memory_order_relaxed);
    uint64_t spent = TSDB_MIN((uint64_t)TSDB_MAX(spent_ns, 0) / 1000 + 1, COST_MAX);
    uint64_t cost = TSDB_MAX(spent, recall(slot, shape) / 2);
    /* Two at once: one of them is what is remembered. */
    atomic_store_explicit(at, shape >> COST_BITS << COST_BITS | cost, memory_order_relaxed);
}
