/* Threads that help queries: one crew for all of them.
 *
 * A query's own thread runs jobs that do not depend on each other, and whoever of the crew is free
 * joins in. Nobody waits for a helper to become free, so a busy crew costs a query nothing but the
 * help.
 *
 * Threads: run from any, at the same time. Lock: QUERY_CREW, guards the list of what is to be done
 * and the numbers in it; it is held for a few instructions per job. */
#ifndef QUERY_CREW_H
#define QUERY_CREW_H

#include "base/status.h"

#include <stdint.h>

struct query_crew;

/* `threads` for one query at most, its own included: one less are started. 1: none. NOMEM, IO. */
enum tsdb_status query_crew_create(uint32_t threads, struct query_crew **out,
                                   struct tsdb_error *err) TSDB_WUR;
/* How far helpers give way (tsdb_thread_give_way), from their next job on: as far as the threads that they help. */
void query_crew_nice(struct query_crew *c, unsigned nice);
/* Nobody may run anything any more. NULL is fine. */
void query_crew_destroy(struct query_crew *c);
/* As given to create; of NULL 1. */
uint32_t query_crew_threads(const struct query_crew *c);

/* Job number `job`, in lane number `lane`: of two jobs that run at the same time no two have the
 * same lane. */
typedef void query_crew_fn(void *arg, uint32_t job, uint32_t lane);
/* Run jobs 0 to jobs - 1, in any order, in at most `lanes` (>= 1) lanes; returns when all are done.
 * What they wrote is then seen by the caller. */
void query_crew_run(struct query_crew *c, query_crew_fn *fn, void *arg, uint32_t jobs,
                    uint32_t lanes);

#endif
