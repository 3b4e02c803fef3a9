/* Lists of label names, values and series as they were sent last, given again as long as nothing has changed that they
 * depend on: dashboards ask for the same ones again and again, and the daemon's thread can answer.
 *
 * An entry is found by all that was asked (key) and is good as long as tsdb_labels_unchanged says so: there is no time
 * after which it goes. What does not fit makes room by second chance; one entry takes a sixteenth at most.
 * Threads: any. Lock: SERVER_KEPT, guards everything; held for a look at the storage's numbers and a copy. */
#ifndef SERVER_PARTS_KEPT_LISTS_H
#define SERVER_PARTS_KEPT_LISTS_H

#include "base/bytes.h"
#include "tsdb/tsdb.h"

struct kept_lists;
/* db outlives it. bytes_max > 0. NOMEM. */
enum tsdb_status kept_lists_create(uint64_t bytes_max, struct tsdb *db, struct kept_lists **out,
                                   struct tsdb_error *err) TSDB_WUR;
void kept_lists_destroy(struct kept_lists *k); /* NULL is fine */
/* Append the body of the answer to `out`; *out_encoding: as it was put. False: there is none that is good, or no
 * memory. */
bool kept_lists_get(struct kept_lists *k, struct tsdb_slice key, struct tsdb_buf *out,
                    const char **out_encoding);
/* Keep a copy, if there is memory. The answer was made of storage after the stamp was taken, for a range. encoding: static,
 * NULL for none. */
struct kept_list {
    struct tsdb_slice key, body;
    const struct tsdb_label_stamp *stamp;
    struct tsdb_time_range range;
    const char *encoding;
};
void kept_lists_put(struct kept_lists *k, const struct kept_list *list);

struct kept_lists_stats {
    uint64_t bytes, bytes_max, entries;
    uint64_t hits, misses;
    uint64_t voided, evicted; /* no longer good; for room */
};
void kept_lists_stats(struct kept_lists *k, struct kept_lists_stats *out); /* k NULL: zeroes */

#endif
