/* Names and passwords against bcrypt hashes, as --web.config.file has them.
 *
 * A comparison takes tens of milliseconds by design, so what was found is remembered (by a keyed
 * hash, not the password), and comparisons together may take no more than USERS_SHARE of one
 * processor: a flood of guesses then gets "busy" and holds up nobody who is known. An unknown name
 * costs as much as a wrong password.
 *
 * Threads: any. */
#ifndef SERVER_DOOR_USERS_H
#define SERVER_DOOR_USERS_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/mutex.h"

#include <stdbool.h>
#include <stdint.h>

#define USERS_PLACES     256u /* remembered at most; a power of two */
#define USERS_SHARE      5    /* comparisons take at most a fifth of the time */
#define USERS_BURST_NS   INT64_C(1000000000)
#define USERS_NAME_MAX   128u
#define USERS_SECRET_MAX 1024u

enum users_verdict {
    USERS_WRONG = 0,
    USERS_RIGHT,
    USERS_BUSY
};

struct users_place {
    struct tsdb_hash128 hash; /* of name, password and stored hash; all 0: free */
};
struct users {
    struct tsdb_clock clock;
    struct tsdb_hash_key key;    /* random, of this process */
    struct tsdb_mutex comparing; /* rank SERVER_DOOR: held for one comparison */
    struct tsdb_mutex lock;      /* rank SERVER_EXCHANGES, held shortly: the rest */
    /* By what was found, so that guesses push out nobody who is known. */
    struct users_place places[2][USERS_PLACES] TSDB_GUARDED;
    int64_t budget_ns TSDB_GUARDED;
    int64_t budget_at_ns TSDB_GUARDED;
    uint64_t comparisons TSDB_GUARDED;
};

void users_init(struct users *u, struct tsdb_clock clock);
void users_deinit(struct users *u);
/* Does the password belong to the name? stored: the name's bcrypt hash, or NULL for a name that
 * nobody has. Strings of at most USERS_NAME_MAX and USERS_SECRET_MAX bytes. */
enum users_verdict users_check(struct users *u, const char *name, const char *password,
                               const char *stored);
uint64_t users_comparisons(struct users *u);

#endif
