/* What remote read and federation share: series in label order, and the labels that --config.file
 * puts on whatever leaves the server. */
#ifndef SERVER_API_RAW_H
#define SERVER_API_RAW_H

#include "server/api/call.h"

/* global.external_labels as they are now, sorted by name; copied to the call's arena. NOMEM, LIMIT.
 * Workers only: it waits for the lock of the configuration. */
enum tsdb_status raw_external_labels(struct call *c, struct tsdb_labels *out) TSDB_WUR;

struct raw_series {
    tsdb_series_ref ref;
    struct tsdb_labels labels;
};
/* The series that match any of the selectors, each once, in the order of their labels. From the
 * call's arena. What tsdb_select says; NOMEM, LIMIT. */
enum tsdb_status raw_select(struct call *c, struct tsdb_querier *q,
                            const struct tsdb_selector *selectors, uint32_t selector_count,
                            struct raw_series **out, uint32_t *out_count,
                            struct tsdb_error *err) TSDB_WUR;

/* The answer to a failure of the engine where answers are plain text: 400 for what the client asked
 * wrongly, 499, 503, else 500. */
void raw_fail(struct call *c, enum tsdb_status st, const struct tsdb_error *err);

#endif
