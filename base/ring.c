#include "base/ring.h"

#include "base/assert.h"
#include "base/futex.h"

/* The futex word.
 *
 *   AWAKE --consumer, before it looks a last time--> ASLEEP --publish--> AWAKE, and a futex wake
 *   AWAKE or ASLEEP --tsdb_ring_wake--> WOKEN (and a futex wake if ASLEEP) --consumer--> AWAKE
 *
 * No wake-up is lost: consumer and producer each write one place and then read the other's (word
 * and slot), all four seq_cst, so at least one of them sees the other. WOKEN is sticky, because the
 * flag that tsdb_ring_wake announces (stop, say) is not one that the ring could look at a last
 * time. */
enum {
    AWAKE = 0,
    ASLEEP = 1,
    WOKEN = 2
};

#define RING_CATEGORY TSDB_MEM_OTHER

enum tsdb_status tsdb_ring_init(struct tsdb_ring *r, uint32_t capacity)
{
    TSDB_ASSERT(capacity <= 1u << 30);
    uint32_t slots = 2;
    while (slots < capacity) {
        slots *= 2;
    }
    r->slots = tsdb_mem_alloc_zero(RING_CATEGORY, slots * sizeof r->slots[0]);
    if (!r->slots) {
        return TSDB_NOMEM;
    }
    r->capacity = slots;
    r->mask = slots - 1;
    atomic_init(&r->tail, 0);
    atomic_init(&r->credits, (int64_t)slots);
    atomic_init(&r->head, 0);
    atomic_init(&r->sleeping, AWAKE);
    return TSDB_OK;
}

void tsdb_ring_deinit(struct tsdb_ring *r)
{
    tsdb_mem_free(RING_CATEGORY, r->slots, r->capacity * sizeof r->slots[0]);
    r->slots = NULL;
}

/* Why a ticket's slot is empty when it is drawn: ticket t is drawn after t + 1 credits were taken,
 * of which at most `capacity` were there from the start, so ticket t - capacity was drained.
 * Credits and tail are only changed by read-modify-writes, so each such change sees what came
 * before all earlier ones, the consumer's clearing included. */
bool tsdb_ring_reserve(struct tsdb_ring *r, uint32_t n)
{
    int64_t have = atomic_load(&r->credits);
    do {
        if (have < (int64_t)n) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&r->credits, &have, have - (int64_t)n));
    return true;
}

void tsdb_ring_release(struct tsdb_ring *r, uint32_t n)
{
    int64_t before = atomic_fetch_add(&r->credits, (int64_t)n);
    TSDB_ASSERT(before + (int64_t)n <= (int64_t)r->capacity);
}

void tsdb_ring_publish_quietly(struct tsdb_ring *r, void *item)
{
    TSDB_ASSERT(item);
    uint64_t ticket = atomic_fetch_add(&r->tail, 1);
    void *before = atomic_exchange(&r->slots[ticket & r->mask], item);
    TSDB_ASSERT(!before); /* else somebody published without a credit */
}

void tsdb_ring_tell(struct tsdb_ring *r)
{
    uint32_t asleep = ASLEEP;
    /* The load keeps the word's cache line shared while the consumer is busy. */
    if (atomic_load(&r->sleeping) == ASLEEP &&
        atomic_compare_exchange_strong(&r->sleeping, &asleep, AWAKE)) {
        tsdb_futex_wake_one(&r->sleeping);
    }
}

void tsdb_ring_publish(struct tsdb_ring *r, void *item)
{
    tsdb_ring_publish_quietly(r, item);
    tsdb_ring_tell(r);
}

size_t tsdb_ring_drain(struct tsdb_ring *r, void **out_items, size_t cap)
{
    /* Relaxed: only this thread writes head, so its partner is its own last store. */
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    size_t n = 0;
    while (n < cap) {
        _Atomic(void *) *slot = &r->slots[head & r->mask];
        /* Acquire: partner is the exchange in tsdb_ring_publish; makes the item's content visible.
         */
        void *item = atomic_load_explicit(slot, memory_order_acquire);
        if (!item) {
            break;
        }
        /* Relaxed: the next writer of this slot is ordered behind it by the credits' addition
         * below, its partner the exchange in tsdb_ring_reserve. */
        atomic_store_explicit(slot, NULL, memory_order_relaxed);
        out_items[n++] = item;
        head++;
    }
    if (n > 0) {
        atomic_store_explicit(&r->head, head, memory_order_release); /* partner: tsdb_ring_depth */
        atomic_fetch_add(&r->credits, (int64_t)n);
    }
    return n;
}

bool tsdb_ring_doze(struct tsdb_ring *r)
{
    /* Relaxed: only a consumer writes head, see tsdb_ring_drain. */
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    _Atomic(void *) *next = &r->slots[head & r->mask];
    uint32_t awake = AWAKE;
    return atomic_compare_exchange_strong(&r->sleeping, &awake, ASLEEP) && !atomic_load(next);
}

void tsdb_ring_sleep(struct tsdb_ring *r, bool dozing, int64_t timeout_ns)
{
    if (dozing && timeout_ns != 0) {
        tsdb_futex_wait(&r->sleeping, ASLEEP, timeout_ns);
    }
    /* An exchange and not a store: it reads a WOKEN that came meanwhile, and with it what was
     * written before it. */
    atomic_exchange(&r->sleeping, AWAKE);
}

void tsdb_ring_wait(struct tsdb_ring *r, int64_t timeout_ns)
{
    bool dozing = tsdb_ring_doze(r);
    tsdb_ring_sleep(r, dozing, timeout_ns);
}

void tsdb_ring_wake(struct tsdb_ring *r)
{
    if (atomic_exchange(&r->sleeping, WOKEN) == ASLEEP) {
        tsdb_futex_wake_one(&r->sleeping);
    }
}

uint32_t tsdb_ring_depth(const struct tsdb_ring *r)
{
    /* Head first: tail never falls behind a head read earlier. Acquire: partner is the store in
     * tsdb_ring_drain. */
    uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    uint64_t depth = atomic_load(&r->tail) - head;
    return depth < r->capacity ? (uint32_t)depth : r->capacity;
}
