/* Threads that help queries: one crew for all of them.
 *
 * A query's own thread has jobs that do not depend on each other, needs them in order, and does other things in
 * between; whoever of the crew is free runs them ahead. Nobody waits for a helper to become free, so a busy crew costs a
 * query nothing but the help.
 *
 * Threads: run from any, at the same time; a group belongs to one thread at a time. Lock: QUERY_CREW, guards
 * the list of what is to be done and the numbers in it; it is held for a few instructions per job. */
#ifndef QUERY_CREW_H
#define QUERY_CREW_H

#include "base/mutex.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define QUERY_CREW_LANES_MAX 16u
#define QUERY_CREW_AHEAD_MAX 64u /* jobs that are allowed, and not needed yet */

struct query_crew;

/* `threads` for one query at most, its own included: one less are started. 1: none. NOMEM, IO. */
enum tsdb_status query_crew_create(uint32_t threads, struct query_crew **out,
                                   struct tsdb_error *err) TSDB_WUR;
/* How far helpers give way (tsdb_thread_give_way), from their next job on: as far as the threads that they help. */
void query_crew_nice(struct query_crew *c, unsigned nice);
/* Every group has ended. NULL is fine. */
void query_crew_destroy(struct query_crew *c);
/* As given to create; of NULL 1. */
uint32_t query_crew_threads(const struct query_crew *c);

/* Job number `job`, in lane number `lane`: of two jobs that run at the same time no two have the
 * same lane. */
typedef void query_crew_fn(void *arg, uint32_t job, uint32_t lane);

/* Jobs 0, 1, 2 and on, as many as are allowed. Its memory is the caller's, what stands in it the crew's. */
struct query_crew_group {
    query_crew_fn *fn;
    void *arg;
    uint32_t lanes;
    uint32_t allowed; /* jobs below that may run */
    uint32_t next;    /* the first one that nobody has taken */
    uint32_t needed;  /* the first one that was not asked for */
    uint32_t busy;    /* lanes in which a job runs, as bits */
    uint64_t done;    /* of the jobs from `needed` on, as bits by number modulo 64 */
    struct tsdb_cond changed;
    struct query_crew_group *after;
    bool waits; /* its owner, for a change */
};
/* In at most `lanes` (1..QUERY_CREW_LANES_MAX) at once, the caller's own, which is 0, among them. */
void query_crew_begin(struct query_crew *c, struct query_crew_group *g, query_crew_fn *fn,
                      void *arg, uint32_t lanes);
/* Jobs below `jobs` may run: no less than before, at most QUERY_CREW_AHEAD_MAX more than were needed. */
void query_crew_allow(struct query_crew *c, struct query_crew_group *g, uint32_t jobs);
/* Returns when the job is done, which is allowed, and the next one that is needed. Until then the caller runs jobs
 * itself. What the job wrote is then seen by the caller. */
void query_crew_need(struct query_crew *c, struct query_crew_group *g, uint32_t job);
/* As if no more than what has begun had been allowed; returns when nothing of it runs any more. */
void query_crew_quiet(struct query_crew *c, struct query_crew_group *g);
/* No job is begun any more; returns when none runs. */
void query_crew_end(struct query_crew *c, struct query_crew_group *g);

#endif
