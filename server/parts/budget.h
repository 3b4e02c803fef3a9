/* One budget of memory for all queries in work and all answers being sent (--query.total-memory).
 *
 *   total    all of it
 *   costly   within it, of what is not known to be cheap: an eighth is left for the cheap
 *
 * The account of a query has one of them as its parent. A costly one asks for a share before it is evaluated,
 * and waits until what it will need fits beside what is held and what those that run are still to take:
 * oldest first, BUDGET_WAIT_NS at most. How much that is, is a guess (costs.h): who needs more meets the limit while
 * it runs. What an answer holds after its evaluation is in the accounts until it was sent.
 *
 * Invariant: shares that run, and those that wait, are each in one list.
 * Threads: any. Lock: SERVER_BUDGET, guards the lists.
 */
#ifndef SERVER_PARTS_BUDGET_H
#define SERVER_PARTS_BUDGET_H

#include "base/mutex.h"
#include "model/request.h"

#define BUDGET_WAIT_NS       INT64_C(10000000000)
#define BUDGET_UNKNOWN_BYTES (4u << 20) /* what is set aside where nothing is known */

struct budget_share {
    const struct tsdb_account *account;
    uint64_t bytes; /* that it will need */
    struct budget_share *prev, *next;
};
struct budget_list {
    struct budget_share *first, *last;
};

struct budget {
    struct tsdb_account total;  /* limit 0: none */
    struct tsdb_account costly; /* its parent is total */
    int64_t wait_ns;            /* BUDGET_WAIT_NS; tests have less time */
    struct tsdb_mutex lock;     /* rank SERVER_BUDGET */
    struct tsdb_cond changed;
    struct budget_list running TSDB_GUARDED;
    struct budget_list waiting TSDB_GUARDED; /* the oldest first */
    _Atomic(uint32_t) waiting_count;
    _Atomic(uint64_t) waited, gave_up; /* shares that had to wait; of those, who did so in vain */
};

/* bytes: 0 = no limit. */
void budget_init(struct budget *b, uint64_t bytes);
void budget_deinit(struct budget *b);
/* A share for what request->account will hold, of which `bytes` are expected; its account was moved to `costly`
 * before. BUSY: not within the time; CANCELLED, TIMEOUT: of the request. After OK: budget_end. */
enum tsdb_status budget_begin(struct budget *b, struct budget_share *share,
                              const struct tsdb_request *request, uint64_t bytes) TSDB_WUR;
/* It takes no more. */
void budget_end(struct budget *b, struct budget_share *share);
/* Something was given back: who waits looks again. Cheap where nobody does. */
void budget_freed(struct budget *b);

#endif
