/* A thread that publishes finished windows as Prometheus blocks (tools/export/publish.h), where --storage.prometheus-blocks.path
 * says so. */
#ifndef SERVER_PUBLISHING_H
#define SERVER_PUBLISHING_H

#include "base/status.h"

struct server;
struct publishing;

/* *out stays NULL where the flag is not given. BUSY, CORRUPT, IO, NOMEM. */
enum tsdb_status publishing_start(struct server *s, struct publishing **out,
                                  struct tsdb_error *err) TSDB_WUR;
void publishing_stop(
    struct publishing *p); /* NULL is fine; the window at hand is left for the next start */

#endif
