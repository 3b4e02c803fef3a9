/* What is refused is said in the log, once a minute for each reason and sender: a fleet that sends
 * rubbish must not fill the disk with lines about it.
 *
 * A table of times, one for each hash of reason and sender; two that share a place share its line.
 * Zero is empty. Threads: any, all fields are atomic. */
#ifndef SERVER_PARTS_REFUSALS_H
#define SERVER_PARTS_REFUSALS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define REFUSALS_PLACES      1024u /* a power of two */
#define REFUSALS_INTERVAL_NS INT64_C(60000000000)

struct refusals {
    struct refusals_place {
        _Atomic(int64_t) next_ns; /* 0: never */
        _Atomic(uint64_t) silent; /* refused requests since the last line */
    } places[REFUSALS_PLACES];
};

/* Log a refusal, if it is its turn; true if it was. now_ns: monotonic, not negative. sender, reason,
 * text: borrowed; refused: how many samples, 0 where nobody knows. */
bool refusals_log(struct refusals *r, int64_t now_ns, const char *sender, const char *reason,
                  uint64_t refused, const char *text);

#endif
