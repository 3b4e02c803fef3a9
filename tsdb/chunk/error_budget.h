/* How often a file may fail to be read by the background (flush, compaction) before it counts as
 * damaged, so that one that never can be read again does not hold up the rest for ever.
 *
 *   fine ─ failure ─▶ waits 30 s, 1, 2, 4, 8 min ─ the sixth failure ─▶ spent: what cannot be read
 *                                                                       is left out
 *
 * A disk that comes back within a quarter of an hour costs nothing but the wait. Failures further
 * apart than ERROR_BUDGET_FORGET_NS do not add up. Threads: the block thread's. */
#ifndef TSDB_CHUNK_ERROR_BUDGET_H
#define TSDB_CHUNK_ERROR_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define ERROR_BUDGET_FAILURES  6u
#define ERROR_BUDGET_PAUSE_NS  (INT64_C(30) * 1000 * 1000 * 1000)
#define ERROR_BUDGET_FORGET_NS (INT64_C(60) * 60 * 1000 * 1000 * 1000)

struct error_budget { /* all 0: fine */
    uint32_t failures;
    int64_t last_ns, retry_ns; /* monotonic: the last failure, not to be tried before */
};

/* Is it too early to try again? */
static inline bool error_budget_waits(const struct error_budget *b, int64_t now_ns)
{
    return b->failures > 0 && b->failures < ERROR_BUDGET_FAILURES && now_ns < b->retry_ns;
}
/* A read failed. True: the budget is spent. One that was tried in spite of the wait is not counted
 * again. */
static inline bool error_budget_fail(struct error_budget *b, int64_t now_ns)
{
    if (error_budget_waits(b, now_ns)) {
        return false;
    }
    if (b->failures > 0 && now_ns - b->last_ns > ERROR_BUDGET_FORGET_NS) {
        b->failures = 0;
    }
    if (b->failures < ERROR_BUDGET_FAILURES) {
        b->failures++;
    }
    b->last_ns = now_ns;
    b->retry_ns = now_ns + (ERROR_BUDGET_PAUSE_NS << (b->failures - 1));
    return b->failures == ERROR_BUDGET_FAILURES;
}

#endif
