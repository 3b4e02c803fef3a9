#include "base/turn.h"

#include "base/assert.h"
#include "base/compiler.h"
#include "base/futex.h"

enum {
    FREE = 0,
    TAKEN = 1,
    AWAITED = 2 /* taken, and a thread sleeps until it is given */
};

/* A step of a small write takes some microseconds, and so does waking a thread. */
#define TRIES 1000

bool tsdb_turn_try(struct tsdb_turn *t)
{
    uint32_t expected = FREE;
    /* The load keeps the line shared while somebody has the turn. */
    return atomic_load(&t->state) == FREE &&
           atomic_compare_exchange_strong(&t->state, &expected, TAKEN);
}

bool tsdb_turn_try_for_a_while(struct tsdb_turn *t, const _Atomic(uint32_t) *done)
{
    bool got = tsdb_turn_try(
        t); /* done or not: there may be messages of others that nobody else knows of */
    for (int i = 0; i < TRIES && !got && atomic_load_explicit(done, memory_order_relaxed) == 0;
         i++) {
        tsdb_cpu_relax();
        got = tsdb_turn_try(t);
    }
    return got;
}

void tsdb_turn_take(struct tsdb_turn *t)
{
    if (tsdb_turn_try(t)) {
        return;
    }
    while (atomic_exchange(&t->state, AWAITED) != FREE) {
        tsdb_futex_wait(&t->state, AWAITED, -1);
    }
}

void tsdb_turn_give(struct tsdb_turn *t)
{
    uint32_t before = atomic_exchange(&t->state, FREE);
    TSDB_ASSERT(before != FREE);
    if (before == AWAITED) {
        tsdb_futex_wake_one(&t->state);
    }
}
