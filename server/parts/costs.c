#include "server/parts/costs.h"

#include "base/compiler.h"
#include "base/random.h"

/* A slot: a tag of the upper bits of the shape, and a cost + 1 (so that no slot in use is 0). */
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
        atomic_init(&c->times[i], 0);
        atomic_init(&c->bytes[i], 0);
    }
}

/* What a table remembers of a shape, + 1; 0: nothing. */
static uint64_t recall(const _Atomic(uint64_t) *table, uint64_t shape)
{
    uint64_t slot = atomic_load_explicit(&table[shape % COSTS_SLOTS], memory_order_relaxed);
    return slot >> COST_BITS == shape >> COST_BITS ? slot & COST_MAX : 0;
}

static void note(_Atomic(uint64_t) *table, uint64_t shape, uint64_t cost)
{
    uint64_t keep = TSDB_MAX(TSDB_MIN(cost, COST_MAX - 1) + 1, recall(table, shape) / 2);
    /* Two at once: one of them is what is remembered. */
    atomic_store_explicit(&table[shape % COSTS_SLOTS], shape >> COST_BITS << COST_BITS | keep,
                          memory_order_relaxed);
}

enum work_kind costs_kind(const struct costs *c, uint64_t shape, int64_t guess_ns)
{
    uint64_t cost = recall(c->times, shape);
    bool heavy =
        cost > 0 ? (int64_t)(cost - 1) * 1000 >= COSTS_HEAVY_NS : guess_ns >= COSTS_HEAVY_NS;
    if (heavy) {
        return WORK_HEAVY;
    }
    return cost > 0 ? WORK_CHEAP : WORK_UNKNOWN;
}

void costs_note(struct costs *c, uint64_t shape, int64_t spent_ns)
{
    note(c->times, shape, (uint64_t)TSDB_MAX(spent_ns, 0) / 1000);
}

void costs_note_part(struct costs *c, uint64_t shape, int64_t spent_ns)
{
    if (spent_ns >= COSTS_HEAVY_NS && costs_kind(c, shape, 0) != WORK_HEAVY) {
        costs_note(c, shape, spent_ns);
    }
}

uint64_t costs_bytes(const struct costs *c, uint64_t shape)
{
    uint64_t units = recall(c->bytes, shape);
    return units > 0 ? TSDB_MAX(units - 1, UINT64_C(1)) * COSTS_BYTES_UNIT : 0;
}

void costs_note_bytes(struct costs *c, uint64_t shape, uint64_t peak_bytes)
{
    note(c->bytes, shape, peak_bytes / COSTS_BYTES_UNIT + 1);
}
