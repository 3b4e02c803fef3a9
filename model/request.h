/* The request context: goes through every ingest and query call.
 *
 * Zones: everything is immutable after init except `cancelled` and `series_created` (atomic), the account (atomic
 * inside) and `regex_size`. */
#ifndef MODEL_REQUEST_H
#define MODEL_REQUEST_H

#include "base/alloc.h"
#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum tsdb_durability {
    TSDB_DURABILITY_MEMORY = 0, /* no log */
    TSDB_DURABILITY_BUFFERED,   /* answered after write(2) accepted the WAL bytes */
    TSDB_DURABILITY_STRICT,     /* answered after fdatasync */
};
const char *tsdb_durability_name(enum tsdb_durability d); /* "memory", "buffered", "strict" */
bool tsdb_durability_parse(const char *s, size_t len, enum tsdb_durability *out);

enum tsdb_scope {
    TSDB_SCOPE_READ = 1,
    TSDB_SCOPE_WRITE = 2,
    TSDB_SCOPE_ADMIN = 4
};

struct tsdb_request {
    uint64_t client_id;  /* 0 = anonymous */
    unsigned scopes;     /* enum tsdb_scope bits */
    int64_t deadline_ns; /* on `clock`'s monotonic time; 0 = none */
    const struct tsdb_clock *clock;
    enum tsdb_durability durability; /* at least this much; the server's mode is the floor */
    struct tsdb_account account;
    uint64_t regex_size_max; /* instructions of all regular expressions together; 0: any */
    uint64_t regex_size;     /* so far; counted by the one thread that works for the request */
    /* A write: series that it may create, if that is limited at all, and then those it has created. */
    bool series_limited;
    uint64_t series_max;
    _Atomic(uint64_t) series_created;
    _Atomic(uint32_t) cancelled; /* set once by a watcher; polled by the work */
};

void tsdb_request_init(struct tsdb_request *r, const struct tsdb_clock *clock, unsigned scopes);
void tsdb_request_cancel(struct tsdb_request *r);
/* May the request create one more series? True: it is counted, if that is limited, until it is given back.
 * Threads: any. */
bool tsdb_request_series_take(struct tsdb_request *r) TSDB_WUR;
void tsdb_request_series_give_back(struct tsdb_request *r);
bool tsdb_request_series_used_up(const struct tsdb_request *r);
/* OK, CANCELLED or TIMEOUT. Reads the clock; call about every 128 iterations of an inner loop. */
enum tsdb_status tsdb_request_check(const struct tsdb_request *r) TSDB_WUR;

#endif
