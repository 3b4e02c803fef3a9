/* The queries that are being evaluated: who wants to know sees them, and may cancel one.
 *
 * Entries are the caller's (intrusive): joining allocates nothing. An entry is in the list from
 * active_join to active_leave, which its owner calls before anything that it points to goes away.
 * Threads: any. Lock: SERVER_QUEUE, guards the list; held for a copy or a store, never over I/O.
 */
#ifndef SERVER_PARTS_ACTIVE_H
#define SERVER_PARTS_ACTIVE_H

#include "base/bytes.h"
#include "base/mutex.h"

#include <stdatomic.h>

struct active_query {
    uint64_t id; /* set by join: 1, 2, ... since the start */
    struct tsdb_slice text;
    int64_t start_ms, end_ms, step_ms; /* what is asked about; instant: step 0 */
    int64_t begin_ms;                  /* wall, when it was begun */
    int64_t begin_ns;                  /* monotonic, when the request came */
    _Atomic(uint32_t) *cancelled;      /* set to 1 by active_cancel */
    struct active_query *next, *prev;
};
struct active_list {
    struct tsdb_mutex lock; /* rank SERVER_QUEUE */
    struct active_query *oldest TSDB_GUARDED;
    struct active_query *newest TSDB_GUARDED;
    uint64_t last_id TSDB_GUARDED;
};

void active_init(struct active_list *l);
void active_deinit(struct active_list *l); /* all have left */
void active_join(struct active_list *l, struct active_query *q);
void active_leave(struct active_list *l, struct active_query *q);
/* Oldest first, under the lock: fn must not wait for anything. */
typedef void (*active_fn)(void *arg, const struct active_query *q);
void active_visit(struct active_list *l, active_fn fn, void *arg);
/* Have a query stop as soon as it looks. False: there is none with that id (any more). */
bool active_cancel(struct active_list *l, uint64_t id);

#endif
