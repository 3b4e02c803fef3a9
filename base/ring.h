/* A bounded multi-producer, single-consumer ring of pointers, with credits.
 *
 * On the data path: HTTP threads -> owner (batches), owners -> WAL (batches).
 *
 *   slots   [ | |x|x|x| | ]      a slot is taken by its number, and full once it is not NULL
 *              ^head  ^tail      capacity - (tail - head) - promised = credits
 *
 * Invariants:
 *  1. A producer reserves a credit before it publishes; with a credit, publishing cannot fail. So a
 *     request takes credits on all the rings it needs first, or gives them back and nothing was
 *     committed.
 *  2. A credit is held until the consumer drains the item.
 *  3. Items of one producer are drained in the order in which it published them.
 *
 * Threads: reserve/release/publish/tell/wake any; drain/doze/wait one consumer at a time (base/turn.h: also one
 * after the other); sleep the thread whose ring it is.
 * Source: slot-per-item MPSC after Vyukov's bounded queue; credits make the full check unnecessary.
 */
#ifndef BASE_RING_H
#define BASE_RING_H

#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>

/* Embed it in memory aligned to 64 (tsdb_mem_alloc_aligned). Each zone has its own cache line. */
struct tsdb_ring {
    _Alignas(64) _Atomic(void *) *slots; /* immutable after init, as are mask and capacity */
    uint32_t mask;
    uint32_t capacity;
    _Alignas(64) _Atomic(uint64_t) tail;   /* next slot to publish into */
    _Alignas(64) _Atomic(int64_t) credits; /* free slots not promised */
    _Alignas(64) _Atomic(uint64_t) head;   /* written by the consumer only */
    /* Futex word: 0 awake, 1 the consumer sleeps, 2 woken by tsdb_ring_wake. */
    _Alignas(64) _Atomic(uint32_t) sleeping;
};

/* capacity: rounded up to a power of two, >= 2. */
enum tsdb_status tsdb_ring_init(struct tsdb_ring *r, uint32_t capacity) TSDB_WUR;
void tsdb_ring_deinit(struct tsdb_ring *r);
/* Take n credits or none. */
bool tsdb_ring_reserve(struct tsdb_ring *r, uint32_t n) TSDB_WUR;
void tsdb_ring_release(struct tsdb_ring *r, uint32_t n); /* give back credits that were not used */
/* item != NULL; needs one credit; wakes the consumer */
void tsdb_ring_publish(struct tsdb_ring *r, void *item);
/* The same in two steps, for who may drain the ring instead: then nobody is told. */
void tsdb_ring_publish_quietly(struct tsdb_ring *r, void *item);
void tsdb_ring_tell(struct tsdb_ring *r);
/* Take up to cap items; returns how many. Their credits are free again on return. */
size_t tsdb_ring_drain(struct tsdb_ring *r, void **out_items, size_t cap);
/* Sleep until something is published or tsdb_ring_wake, at most timeout_ns (<0: for ever). May
 * return early. A wake while nobody sleeps is not lost: the next wait returns at once. */
void tsdb_ring_wait(struct tsdb_ring *r, int64_t timeout_ns);
/* The same in two steps, where others drain as well: doze, as a consumer, looks a last time and has whoever publishes from
 * then on wake; then, when others may drain again, sleep. */
bool tsdb_ring_doze(struct tsdb_ring *r);
void tsdb_ring_sleep(struct tsdb_ring *r, bool dozing, int64_t timeout_ns);
void tsdb_ring_wake(struct tsdb_ring *r);
/* Items published and not drained; approximate while producers run. */
uint32_t tsdb_ring_depth(const struct tsdb_ring *r);

#endif
