/* How far back the batches written since a moment reach: one per owner.
 *
 *   marks   number  4    9   17   23        the last batch that the mark speaks for
 *           least   100  160 175  190 s     no batch after the mark before has an earlier sample
 *
 * Since batch 8? The first mark with a higher number answers: nothing before 160 s. A batch takes away the marks
 * that it reaches behind, so both columns rise, and their number is that of the seconds which the newest
 * samples have passed through. When there is no room, two old ones become one: an answer about
 * long ago may name an earlier time than it must, by less than half of how long ago, never a later one.
 *
 * Threads: one notes (the owner), any number ask, without a lock: a sequence word tells them to look
 * again, and all fields are atomic. Nothing is allocated.
 */
#ifndef TSDB_ENGINE_WRITTEN_H
#define TSDB_ENGINE_WRITTEN_H

#include "base/compiler.h"

#include <stdatomic.h>
#include <stdint.h>

#define WRITTEN_MARKS   128u
#define WRITTEN_LATE_MS INT64_C(3600000)

struct written_mark {
    _Atomic(uint64_t) number;
    _Atomic(int64_t) least_ms; /* rounded down to a second */
};
/* All zeroes: nothing was written. */
struct written {
    _Atomic(uint32_t) sequence; /* odd: the marks are being changed */
    _Atomic(uint32_t) count;
    _Atomic(uint64_t) number; /* batches */
    struct written_mark marks[WRITTEN_MARKS];
};

/* A batch was applied: readers see its samples, of which the earliest is at least_ms. */
void written_note(struct written *w, int64_t least_ms);
/* Batches so far; who sees the number sees their samples. */
uint64_t written_number(const struct written *w);
/* No batch after that number has a sample before the result; INT64_MAX: there was none. */
int64_t written_least_since(const struct written *w, uint64_t number);

#endif
