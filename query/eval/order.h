/* In which order series are computed ahead: as they lie in storage.
 *
 * Aggregations add up in the order of a set, which follows from hashes; in blocks series lie in the order of their
 * labels, some hundred in a page. Read in the order of the set, each one asks for another page, and where the pages are more than
 * the cache has room for, each is read and unpacked again and again. So a window of series is computed in the order in which
 * they lie, and handed out in that of the set. */
#ifndef QUERY_EVAL_ORDER_H
#define QUERY_EVAL_ORDER_H

#include "query/eval/op.h"

struct order_item {
    uint64_t place;
    uint32_t pos;
};
struct order {
    const struct exec *x;
    const struct query_series_set *set;
    uint64_t *places;
    struct order_item *items, *spare;
};

/* Is there another order than that of the set, and one that is better? */
bool order_matters(const struct exec *x, const struct query_series_set *set);
/* For windows of so many series at most. Memory from x->arena: NOMEM, LIMIT. */
enum tsdb_status order_init(struct order *o, struct exec *x, const struct query_series_set *set,
                            uint32_t window) TSDB_WUR;
/* Positions in the set, `begin` to begin + count - 1, in the order in which they are to be read. */
void order_window(struct order *o, uint32_t begin, uint32_t count, uint32_t *out);

#endif
