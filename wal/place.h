/* Which series a sample of a group is of, and when: what follows from the samples before it, so that the
 * log need not say it. Shared by encoder and decoder, which see the same samples.
 *
 * A scrape has one sample of each series, at one time; what a sender had kept, or a backfill, has many of
 * each, at the times of the series before. So the next sample is
 *  - of the same series, at the time that the series before had at this point;
 *  - where that one had no more: of the next series, at the first time of this one;
 *  - but of the same series, one pace later, if it has two already and the one before had a single one, or
 *    there was none.
 * Format: docs/format/wal.md, samples. */
#ifndef WAL_PLACE_H
#define WAL_PLACE_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

/* Times of a series that those of the next one are compared with; more of them are said. */
#define WAL_PLACE_TIMES 64u

struct wal_place {
    uint32_t local;  /* of the sample before */
    uint32_t count;  /* so many of that series in a row */
    uint32_t before; /* so many of the series before that one, WAL_PLACE_TIMES at most */
    uint32_t side;   /* times[side] are those of this series, the others of the one before */
    int64_t t_ms;    /* of the sample before */
    int64_t pace_ms; /* so much later than the one before it, if that was of the series; else 0 */
    int64_t times[2][WAL_PLACE_TIMES];
};

/* Times wrap, so that the farthest ones have a difference. */
static inline int64_t wal_time_add(int64_t a_ms, int64_t b_ms)
{
    return (int64_t)((uint64_t)a_ms + (uint64_t)b_ms);
}

static inline int64_t wal_time_sub(int64_t a_ms, int64_t b_ms)
{
    return (int64_t)((uint64_t)a_ms - (uint64_t)b_ms);
}

/* As if a sample of the local id before all others, at the group's time, had come before. */
static inline void wal_place_begin(struct wal_place *p, uint32_t local, int64_t t_ms)
{
    p->local = local;
    p->count = 1;
    p->before = p->side = 0;
    p->t_ms = t_ms;
    p->pace_ms = 0;
    p->times[0][0] = t_ms;
}

/* When the series of the sample before began. */
static inline int64_t wal_place_first_ms(const struct wal_place *p)
{
    return p->times[p->side][0];
}

/* Of which series and when the next sample is if nothing is said. */
static inline uint32_t wal_place_next(const struct wal_place *p, int64_t *out_ms)
{
    if (p->count < p->before) {
        *out_ms = p->times[p->side ^ 1][p->count];
        return p->local;
    }
    if (p->count > 1 && p->before <= 1) {
        *out_ms = wal_time_add(p->t_ms, p->pace_ms);
        return p->local;
    }
    *out_ms = wal_place_first_ms(p);
    return p->local + 1;
}

/* There it is. */
static inline void wal_place_take(struct wal_place *p, uint32_t local, int64_t t_ms)
{
    if (local == p->local) {
        p->pace_ms = wal_time_sub(t_ms, p->t_ms);
        if (p->count < WAL_PLACE_TIMES) {
            p->times[p->side][p->count] = t_ms;
        }
        p->count += p->count < UINT32_MAX;
    } else {
        p->side ^= p->count > 1; /* of one time, the first, nothing is asked later */
        p->before = TSDB_MIN(p->count, WAL_PLACE_TIMES);
        p->times[p->side][0] = t_ms;
        p->local = local;
        p->count = 1;
        p->pace_ms = 0;
    }
    p->t_ms = t_ms;
}

#endif
