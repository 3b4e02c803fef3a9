/* Threads for what a daemon's thread has no time for (queries; large writes): a bounded queue in
 * front of a fixed number of threads.
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

struct workers;
struct work {
    void (*run)(struct work *w); /* in a worker thread; afterwards the item is the caller's again */
    struct work *next;           /* the queue's while it waits */
};

/* threads >= 1 run at once; at most queue_max more wait. name: of the threads, at most 15
 * characters. NOMEM, IO (thread could not start). */
enum tsdb_status workers_create(const char *name, uint32_t threads, uint32_t queue_max,
                                struct workers **out, struct tsdb_error *err) TSDB_WUR;
/* Runs what is queued, then ends the threads. No submit may come any more. NULL is fine. */
void workers_destroy(struct workers *w);
/* False when the queue is full: the item was not taken. */
bool workers_submit(struct workers *w, struct work *item) TSDB_WUR;

struct workers_stats {
    uint64_t submitted, refused;
    uint32_t threads, waiting, running;
};
void workers_stats_read(struct workers *w, struct workers_stats *out);

#endif
