/* Threads for what a daemon's thread has no time for (queries; large writes): a bounded queue in
 * front of a fixed number of threads.
 *
 *   kind      known to be   runs on at most               waits in at most
 *   CHEAP     cheap         all threads                   the whole queue
 *   UNKNOWN   nothing yet   all but half of those kept    three quarters of it
 *   HEAVY     costly        all but those kept, and       three quarters of it
 *                           `heavy` at most
 *
 * Bounds of a kind count what is costlier, too. Among those that may run the oldest is next, so that
 * the costly are not starved either; with no threads kept the queue is one queue. A thread runs what
 * is as costly as it is for, or less; an item goes to the idle thread that is for the least.
 *
 * The work items are the caller's (intrusive link), so that submitting allocates nothing.
 * Invariant: an item that was taken is run exactly once, also during destroy.
 * Threads: submit and stats from any. Lock: SERVER_QUEUE, guards the queue.
 */
#ifndef SERVER_PARTS_WORKERS_H
#define SERVER_PARTS_WORKERS_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum work_kind {
    WORK_CHEAP,
    WORK_UNKNOWN,
    WORK_HEAVY,
    WORK_KINDS
}; /* order matters: by cost */

struct workers;
struct work {
    void (*run)(struct work *w); /* in a worker thread; afterwards the item is the caller's again */
    enum work_kind kind;
    /* the queue's while it waits */
    struct work *next;
    uint64_t number;
};

struct workers_options {
    const char *name;   /* of the threads, at most 15 characters */
    uint32_t threads;   /* run at once; >= 1 */
    uint32_t kept;      /* of them, for what is cheap; at least one is left for the others */
    uint32_t heavy;     /* of what is costly so many at once; 0: any */
    uint32_t queue_max; /* more that wait, and besides what `heavy` keeps from running */
    unsigned
        nice; /* how much threads give way, but for those for the cheap alone: tsdb_thread_give_way */
};
/* NOMEM, IO (thread could not start). */
enum tsdb_status workers_create(const struct workers_options *options, struct workers **out,
                                struct tsdb_error *err) TSDB_WUR;
/* Runs what is queued, then ends the threads. No submit may come any more. NULL is fine. */
void workers_destroy(struct workers *w);
/* False when the queue is full: the item was not taken. */
bool workers_submit(struct workers *w, struct work *item) TSDB_WUR;

struct workers_stats {
    uint64_t submitted, refused;
    uint32_t threads, waiting, running;
    struct workers_kind_stats {
        uint64_t submitted, refused;
        uint32_t waiting, running;
    } kinds[WORK_KINDS];
};
void workers_stats_read(struct workers *w, struct workers_stats *out);

#endif
