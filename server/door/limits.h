/* What one client may take a second: requests, bytes of bodies, samples; how many series it may create
 * an hour; and how many of its queries run at once. A client is a token, a user, or an address.
 *
 * Each rate is a bucket that holds a second of it. What is known before the work (a request, its
 * announced bytes) is asked for; what is known after it (samples) is charged, and the next request
 * waits until it is paid off. That of new series holds an hour of them, and nobody waits for it: what is left
 * goes with a write (struct tsdb_request), and beyond it new series are refused and the rest is stored. Writes
 * of one client at the same time have the same left each. The table is bounded: an idle client's place is taken by the next one,
 * and where none is idle the newcomer is not limited.
 *
 * Threads: any; one lock (rank SERVER_EXCHANGES), held shortly, and not at all without a limit. */
#ifndef SERVER_DOOR_LIMITS_H
#define SERVER_DOOR_LIMITS_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/mutex.h"

#include <stdbool.h>
#include <stdint.h>

#define LIMITS_CLIENTS 1024u /* a power of two */
#define LIMITS_PROBES  8u

/* 0: no limit. */
struct limits_options {
    uint64_t requests, bytes, samples; /* a second */
    uint64_t series;                   /* an hour */
    uint32_t queries;                  /* at once */
};
enum {
    LIMITS_RATES = 4
};
struct limits_client {
    uint64_t name; /* keyed hash; 0: free */
    /* Until when what was taken keeps each bucket busy, monotonic. */
    int64_t busy_ns[LIMITS_RATES];
    uint32_t queries;
};
struct limits {
    struct limits_options options; /* immutable */
    struct tsdb_clock clock;
    struct tsdb_hash_key key;
    struct tsdb_mutex lock;
    struct limits_client clients[LIMITS_CLIENTS] TSDB_GUARDED;
};

void limits_init(struct limits *l, const struct limits_options *o, struct tsdb_clock clock);
void limits_deinit(struct limits *l);
/* A request with a body of so many bytes. False: not yet; *out_wait_s (at least 1) is when. */
bool limits_take(struct limits *l, const char *client, uint64_t bytes, uint32_t *out_wait_s);
/* Samples of an answered write; bytes of a body that announced no length. */
void limits_charge(struct limits *l, const char *client, uint64_t samples);
void limits_charge_bytes(struct limits *l, const char *client, uint64_t bytes);
/* How many series the client may create now; UINT64_MAX: no limit. Those that it did create. */
uint64_t limits_series_left(struct limits *l, const char *client);
void limits_charge_series(struct limits *l, const char *client, uint64_t created);
/* A query begins; false: the client has as many as it may. Each true is ended once. */
bool limits_query_begin(struct limits *l, const char *client);
void limits_query_end(struct limits *l, const char *client);

#endif
