/* A turn: the right to do what one thread does at a time.
 *
 * Data that one thread owns needs no lock; who wants something of it leaves a message and wakes that thread. When it
 * sleeps, waking it and waiting for it cost more than most of what is asked. So a step over such data is a turn: its thread
 * takes one for each step, and somebody else may take one while it sleeps, make the step and give it back. Nobody waits
 * for a turn but that thread, and so long only as another one's step takes.
 *
 * Who gives a turn back looks afterwards whether there is a message. So who left one, tried and did not get the turn need not
 * wake anybody: of message and turn each side writes one and then reads the other, all seq_cst, and one of them
 * sees the other.
 *
 * Threads: take: the thread whose data it is; try, try_for_a_while: any. Whoever has the turn sees what
 * those did who had it before.
 * Source: the mutex of three states in U. Drepper, "Futexes Are Tricky" (2011), section 6.
 */
#ifndef BASE_TURN_H
#define BASE_TURN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tsdb_turn {
    _Atomic(uint32_t) state; /* all zero: free */
};

void tsdb_turn_take(struct tsdb_turn *t);
bool tsdb_turn_try(struct tsdb_turn *t);
/* Try once, and then again and again, for some microseconds, as long as *done is 0. */
bool tsdb_turn_try_for_a_while(struct tsdb_turn *t, const _Atomic(uint32_t) *done);
void tsdb_turn_give(struct tsdb_turn *t);

#endif
