/* The parts of a running server, and who owns what.
 *
 * main.c makes the struct, opens the engine, starts the workers and the listener, waits for a
 * signal, and takes it all down in the reverse order. Routes get it as their context. Zones:
 * pointers immutable between start and stop; config guarded by config_lock; the rest atomic.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include "base/mutex.h"
#include "ingest/ingest.h"
#include "query/query.h"
#include "server/http/http.h"
#include "server/options.h"
#include "tsdb/tsdb.h"

#include <stdatomic.h>

struct workers;     /* server/api/workers.h: threads that evaluate queries */
struct config_file; /* server/config_file.h: what --config.file says */

struct server {
    struct server_options options;
    struct tsdb_clock clock;
    struct tsdb_fs fs;
    struct tsdb *db;
    struct ingest *ingest;
    struct query_options query_options;
    struct workers *workers;
    struct http_server *http;
    struct tsdb_mutex config_lock; /* rank SERVER_CONFIG */
    struct config_file *config TSDB_GUARDED;
    struct tsdb_account queries; /* memory of all queries together */
    int64_t start_ms;
    _Atomic(uint32_t) stopping;
    _Atomic(uint32_t) reload_requested; /* SIGHUP, POST /-/reload */
    _Atomic(uint32_t) config_ok;
    _Atomic(int64_t) config_loaded_ms;
};

/* server/reload.c: read --config.file again and swap it in; the old one stays on any error. */
enum tsdb_status server_reload(struct server *s, struct tsdb_error *err) TSDB_WUR;
/* server/metrics.c: the text exposition format of our own metrics, and the same as samples for the
 * self-scrape. */
void server_metrics_text(struct server *s, struct tsdb_buf *out);
/* server/api/status_server.c: data objects of the /api/v1/status endpoints (JSON, without
 * envelope). */
void server_status_buildinfo(struct server *s, struct tsdb_buf *out);
void server_status_flags(struct server *s, struct tsdb_buf *out);
void server_status_config(struct server *s, struct tsdb_buf *out);
void server_status_runtimeinfo(struct server *s, struct tsdb_buf *out);
void server_status_walreplay(struct server *s, struct tsdb_buf *out);
/* server/api/routes.c */
extern const struct http_handlers server_handlers_template; /* .arg to be set to the server */
/* server/self_scrape.c: a thread that writes our own metrics through the ordinary ingest path; the
 * first at once. */
struct self_scrape;
enum tsdb_status self_scrape_start(struct server *s, struct self_scrape **out,
                                   struct tsdb_error *err) TSDB_WUR;
void self_scrape_stop(struct self_scrape *ss); /* NULL is fine */

#endif
