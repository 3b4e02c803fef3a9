/* The parts of a running server, and who owns what.
 *
 * main.c makes the struct, opens the engine, starts the workers and the listener, waits for a
 * signal, and takes it all down in the reverse order. Routes get it as their context. Zones:
 * pointers immutable between start and stop; config guarded by config_lock; the rest atomic.
 */
#ifndef SERVER_PARTS_SERVER_H
#define SERVER_PARTS_SERVER_H

#include "base/mutex.h"
#include "ingest/ingest.h"
#include "query/query.h"
#include "server/config/options.h"
#include "server/door/door.h"
#include "server/http/http.h"
#include "server/parts/active.h"
#include "server/parts/asked.h"
#include "server/parts/budget.h"
#include "server/parts/costs.h"
#include "server/parts/refusals.h"
#include "tsdb/tsdb.h"

#include <stdatomic.h>

struct workers;     /* workers.h: threads for what takes its time */
struct query_cache; /* query/cache/cache.h */
struct kept_lists;  /* kept_lists.h */
struct config_file; /* config_file.h: what --config.file says */

struct server {
    struct server_options options;
    struct tsdb_clock clock;
    struct tsdb_fs fs;
    struct tsdb *db;
    struct ingest *ingest;
    struct query_options query_options;
    struct query_cache *query_cache; /* NULL: none */
    struct kept_lists *kept_lists;   /* NULL: none */
    struct workers *workers;
    struct workers *readers;   /* of remote read; NULL: the query workers do it */
    struct active_list active; /* queries being evaluated */
    struct asked asked;        /* metrics that queries asked for */
    struct costs costs;        /* what queries took */
    struct workers *decoders;  /* large write requests */
    struct workers *
        senders; /* answers in pieces: those that wait for memory do not hold up what gives some back */
    struct door *door;
    struct http_server *http;
    char prefix[256];              /* of all paths: "" or "/..." without a slash at its end */
    struct tsdb_mutex config_lock; /* rank SERVER_CONFIG */
    struct config_file *config TSDB_GUARDED;
    struct refusals refusals;
    struct budget budget; /* memory of all queries together */
    int64_t start_ms;
    _Atomic(uint32_t) stopping;
    _Atomic(uint32_t) reload_requested; /* SIGHUP, POST /-/reload */
    _Atomic(uint32_t) config_ok;
    _Atomic(int64_t) config_loaded_ms;
    _Atomic(uint64_t) blocks_published, blocks_published_removed, publish_failures;
};

/* reload.c: read --config.file again and swap it in; the old one stays on any error. */
enum tsdb_status server_reload(struct server *s, struct tsdb_error *err) TSDB_WUR;
/* Hand storage.tsdb.retention.series to the engine: at start; server_reload does it by itself. */
enum tsdb_status server_apply_retention(struct server *s, struct tsdb_error *err) TSDB_WUR;
/* Hand the otlp: block and the flags that belong to it to ingest/. */
void server_apply_otlp(struct server *s);

#endif
