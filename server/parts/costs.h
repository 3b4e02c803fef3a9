/* What queries cost the last times, time and memory, so that the next of the same shape is known to be
 * cheap or heavy before it runs.
 *
 * Two tables of COSTS_SLOTS words, one for a shape: the top bits of its key and the cost. A shape that falls
 * into another one's slot takes it; what was forgotten is unknown again. Keys come from a keyed hash:
 * nobody can aim at a slot.
 * Threads: any, without a lock: a slot is one atomic word.
 */
#ifndef SERVER_PARTS_COSTS_H
#define SERVER_PARTS_COSTS_H

#include "base/hash.h"
#include "server/parts/workers.h"

#include <stdatomic.h>

#define COSTS_SLOTS_LOG2 12u
#define COSTS_SLOTS      (1u << COSTS_SLOTS_LOG2)
/* CPU time from which on a query is heavy: a few like it keep a core for as long as a person waits. */
#define COSTS_HEAVY_NS   INT64_C(50000000)
#define COSTS_BYTES_UNIT 8192u /* 8 GiB is the most that is told apart */

struct costs {
    struct tsdb_hash_key key;             /* random, of this process; immutable */
    _Atomic(uint64_t) times[COSTS_SLOTS]; /* in microseconds */
    _Atomic(uint64_t) bytes[COSTS_SLOTS]; /* in COSTS_BYTES_UNIT */
};

void costs_init(struct costs *c);
/* What a shape is. Unknown: heavy only if the guess says so. shape: by c->key. */
enum work_kind costs_kind(const struct costs *c, uint64_t shape, int64_t guess_ns);
/* One of a shape has run, and took so much. An earlier, higher cost is forgotten by halves. */
void costs_note(struct costs *c, uint64_t shape, int64_t spent_ns);
/* The same of one that had to do a part of its work only: the whole takes no less, so that it may be known to be heavy
 * from now on, but never to be cheap. */
void costs_note_part(struct costs *c, uint64_t shape, int64_t spent_ns);
/* How much memory one of a shape held at most, rounded up; 0: unknown. */
uint64_t costs_bytes(const struct costs *c, uint64_t shape);
void costs_note_bytes(struct costs *c, uint64_t shape, uint64_t peak_bytes);

#endif
