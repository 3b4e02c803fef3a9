/* Which metrics queries have asked for since the start: how often, and when last. What is stored and
 * never asked for can be seen by that.
 *
 * Names, and regular expressions over names, each once; at most max of them, longer ones than
 * ASKED_NAME_BYTES_MAX not at all: what did not fit is counted. Selectors without a matcher for the
 * name are counted as well, they cannot be told by name.
 * Threads: any. Lock: SERVER_QUEUE, guards everything; held for a binary search, at a new name for
 * a move of the list, never over I/O.
 */
#ifndef SERVER_PARTS_ASKED_H
#define SERVER_PARTS_ASKED_H

#include "base/bytes.h"
#include "base/mutex.h"
#include "model/matcher.h"

#define ASKED_NAME_BYTES_MAX 1024

struct asked_name {
    char *text; /* text_bytes of them, no NUL */
    uint32_t text_bytes;
    bool is_regex; /* text is one, as in __name__=~"text" */
    uint64_t count;
    int64_t last_ms;
};
struct asked_totals {
    uint64_t unnamed;   /* selectors that name no metric */
    uint64_t forgotten; /* that did not fit */
};
struct asked {
    struct tsdb_mutex lock;               /* rank SERVER_QUEUE */
    struct asked_name *list TSDB_GUARDED; /* names before regular expressions, each in byte order */
    uint32_t count TSDB_GUARDED;
    uint32_t cap TSDB_GUARDED;
    struct asked_totals totals TSDB_GUARDED;
    uint32_t max; /* immutable; 0: nothing is kept */
};

void asked_init(struct asked *a, uint32_t max);
void asked_deinit(struct asked *a);
/* A selector of a query that is evaluated at now_ms. Without memory it is forgotten. */
void asked_note(struct asked *a, const struct tsdb_matcher *matchers, uint32_t count,
                int64_t now_ms);
/* In order, under the lock: fn must not wait for anything. */
typedef void (*asked_fn)(void *arg, const struct asked_name *name);
struct asked_totals asked_visit(struct asked *a, asked_fn fn, void *arg);

#endif
