#include "server/door/users.h"

#include "base/assert.h"
#include "base/random.h"

#include <crypt.h>
#include <stdio.h>
#include <string.h>

/* Of no password that anybody has: what an unknown name is compared with. */
#define NOBODY "$2b$10$dYqn9pQ2FzC0qv1lq1nVkeO1b8e3sQF6aVdVYFQm0v6C1wA0m8bHy"

void users_init(struct users *u, struct tsdb_clock clock) TSDB_NO_TSA
{
    uint8_t seed[TSDB_HASH_SEED_BYTES];
    memset(u, 0, sizeof *u);
    tsdb_random_fill(&tsdb_random_system, seed, sizeof seed);
    tsdb_hash_key_init(&u->key, seed);
    tsdb_mutex_init(&u->comparing, TSDB_RANK_SERVER_DOOR, "door-comparing");
    tsdb_mutex_init(&u->lock, TSDB_RANK_SERVER_EXCHANGES, "door-users");
    u->clock = clock;
    u->budget_ns = USERS_BURST_NS;
    u->budget_at_ns = tsdb_clock_mono_ns(&u->clock);
}

void users_deinit(struct users *u)
{
    tsdb_mutex_deinit(&u->lock);
    tsdb_mutex_deinit(&u->comparing);
}

static struct tsdb_hash128 fingerprint(const struct users *u, const char *name,
                                       const char *password, const char *stored)
{
    char text[USERS_NAME_MAX + USERS_SECRET_MAX + 128];
    int n = snprintf(text, sizeof text, "%s%c%s%c%s", name, 0, password, 0, stored);
    TSDB_ASSERT(n > 0 && (size_t)n < sizeof text);
    struct tsdb_hash128 h = tsdb_hash128(&u->key, text, (size_t)n);
    h.lo |= 1; /* never all 0 */
    return h;
}

/* Takes as long for a wrong sum as for the right one. */
static bool same_text(const char *a, const char *b)
{
    size_t len = strlen(a);
    unsigned differs = len != strlen(b);
    for (size_t i = 0; i < len && len == strlen(b); i++) {
        differs |= (unsigned char)(a[i] ^ b[i]);
    }
    return differs == 0;
}

static bool compare(const char *password, const char *stored)
{
    static struct crypt_data data; /* 32 KiB; under the lock */
    memset(&data, 0, sizeof data);
    const char *got = crypt_r(password, stored, &data);
    bool same = got && got[0] != '*' && same_text(got, stored);
    memset(&data, 0, sizeof data); /* of the password as little stays as may be */
    return same;
}

static uint32_t place_of(struct tsdb_hash128 h)
{
    return (uint32_t)(h.lo >> 1) & (USERS_PLACES - 1);
}

/* What is remembered, or whether there is time to compare: BUSY if not, and *out_compare if so. */
static enum users_verdict look(struct users *u, struct tsdb_hash128 h, bool *out_compare)
{
    enum users_verdict verdict = USERS_BUSY;
    *out_compare = false;
    tsdb_mutex_lock(&u->lock);
    int64_t now = tsdb_clock_mono_ns(&u->clock);
    u->budget_ns = TSDB_MIN(u->budget_ns + (now - u->budget_at_ns) / USERS_SHARE, USERS_BURST_NS);
    u->budget_at_ns = now;
    for (unsigned right = 0; right < 2; right++) {
        struct tsdb_hash128 known = u->places[right][place_of(h)].hash;
        if (known.lo == h.lo && known.hi == h.hi) {
            verdict = right ? USERS_RIGHT : USERS_WRONG;
        }
    }
    *out_compare = verdict == USERS_BUSY && u->budget_ns > 0;
    tsdb_mutex_unlock(&u->lock);
    return verdict;
}

static void remember(struct users *u, struct tsdb_hash128 h, bool right, int64_t took_ns)
{
    tsdb_mutex_lock(&u->lock);
    u->places[right][place_of(h)] = (struct users_place){h};
    u->budget_ns -= took_ns;
    u->comparisons++;
    tsdb_mutex_unlock(&u->lock);
}

enum users_verdict users_check(struct users *u, const char *name, const char *password,
                               const char *stored)
{
    TSDB_ASSERT(strlen(name) <= USERS_NAME_MAX && strlen(password) <= USERS_SECRET_MAX);
    struct tsdb_hash128 h = fingerprint(u, name, password, stored ? stored : NOBODY);
    bool must_compare = false;
    enum users_verdict verdict = look(u, h, &must_compare);
    if (!must_compare) {
        return verdict;
    }
    tsdb_mutex_lock(&u->comparing);
    verdict = look(u, h, &must_compare); /* somebody may have been faster */
    if (must_compare) {
        int64_t begin = tsdb_clock_mono_ns(&u->clock);
        bool right = compare(password, stored ? stored : NOBODY) && stored;
        remember(u, h, right, tsdb_clock_mono_ns(&u->clock) - begin);
        verdict = right ? USERS_RIGHT : USERS_WRONG;
    }
    tsdb_mutex_unlock(&u->comparing);
    return verdict;
}

uint64_t users_comparisons(struct users *u)
{
    tsdb_mutex_lock(&u->lock);
    uint64_t n = u->comparisons;
    tsdb_mutex_unlock(&u->lock);
    return n;
}
