#include "server/door/limits.h"

#include "base/assert.h"
#include "base/random.h"

#include <assert.h>
#include <string.h>

#define SECOND_NS INT64_C(1000000000)
#define HOUR_NS   (3600 * SECOND_NS)

enum rate {
    RATE_REQUESTS,
    RATE_BYTES,
    RATE_SAMPLES,
    RATE_SERIES /* an hour, and nobody waits for it */
};
static_assert(RATE_SERIES + 1 == LIMITS_RATES, "a bucket each");

void limits_init(struct limits *l, const struct limits_options *o,
                 struct tsdb_clock clock) TSDB_NO_TSA
{
    uint8_t seed[TSDB_HASH_SEED_BYTES];
    memset(l, 0, sizeof *l);
    l->options = *o;
    l->clock = clock;
    tsdb_random_fill(&tsdb_random_system, seed, sizeof seed);
    tsdb_hash_key_init(&l->key, seed);
    tsdb_mutex_init(&l->lock, TSDB_RANK_SERVER_EXCHANGES, "door-limits");
}

void limits_deinit(struct limits *l)
{
    tsdb_mutex_deinit(&l->lock);
}

static uint64_t rate_of(const struct limits *l, enum rate r)
{
    const struct limits_options *o = &l->options;
    const uint64_t rates[LIMITS_RATES] = {o->requests, o->bytes, o->samples, o->series};
    return rates[r];
}

static bool has_rates(const struct limits *l)
{
    return (l->options.requests | l->options.bytes | l->options.samples) != 0;
}

static bool is_idle(const struct limits_client *c, int64_t now)
{
    bool idle = c->queries == 0;
    for (int r = 0; r < LIMITS_RATES; r++) {
        idle = idle && c->busy_ns[r] <= now;
    }
    return idle;
}

/* The client's place, a new one if need be; NULL: there is none. Under the lock. */
static struct limits_client *place_of(struct limits *l, const char *client, int64_t now) TSDB_NO_TSA
{
    uint64_t name = tsdb_hash128(&l->key, client, strlen(client)).lo | 1;
    struct limits_client *free_place = NULL;
    for (uint32_t i = 0; i < LIMITS_PROBES; i++) {
        struct limits_client *c = &l->clients[((name >> 1) + i) & (LIMITS_CLIENTS - 1)];
        if (c->name == name) {
            return c;
        }
        if (!free_place && (c->name == 0 || is_idle(c, now))) {
            free_place = c;
        }
    }
    if (free_place) {
        *free_place = (struct limits_client){.name = name};
    }
    return free_place;
}

/* n of the rate keep its bucket busy for so much longer; an hour in all at most. */
static void take(struct limits *l, struct limits_client *c, enum rate r, uint64_t n, int64_t now)
{
    uint64_t rate = rate_of(l, r);
    if (rate > 0) {
        int64_t per_ns = r == RATE_SERIES ? HOUR_NS : SECOND_NS;
        double ns = (double)n / (double)rate * (double)per_ns;
        int64_t busy = TSDB_MAX(c->busy_ns[r], now);
        c->busy_ns[r] =
            TSDB_MIN(busy + (ns < (double)HOUR_NS ? (int64_t)ns : HOUR_NS), now + HOUR_NS);
    }
}

/* How long until the bucket takes more; 0: now. */
static int64_t wait_ns(const struct limits *l, const struct limits_client *c, enum rate r,
                       int64_t now)
{
    return rate_of(l, r) == 0 ? 0 : TSDB_MAX(c->busy_ns[r] - now - SECOND_NS, 0);
}

bool limits_take(struct limits *l, const char *client, uint64_t bytes, uint32_t *out_wait_s)
{
    if (!has_rates(l)) {
        return true;
    }
    int64_t wait = 0;
    tsdb_mutex_lock(&l->lock);
    int64_t now = tsdb_clock_mono_ns(&l->clock);
    struct limits_client *c = place_of(l, client, now);
    if (c) {
        for (int r = 0; r < RATE_SERIES; r++) {
            wait = TSDB_MAX(wait, wait_ns(l, c, (enum rate)r, now));
        }
        if (wait == 0) {
            take(l, c, RATE_REQUESTS, 1, now);
            take(l, c, RATE_BYTES, bytes, now);
        }
    }
    tsdb_mutex_unlock(&l->lock);
    *out_wait_s = (uint32_t)((wait + SECOND_NS - 1) / SECOND_NS);
    return wait == 0;
}

static void charge(struct limits *l, const char *client, enum rate r, uint64_t n)
{
    if (rate_of(l, r) == 0 || n == 0) {
        return;
    }
    tsdb_mutex_lock(&l->lock);
    int64_t now = tsdb_clock_mono_ns(&l->clock);
    struct limits_client *c = place_of(l, client, now);
    if (c) {
        take(l, c, r, n, now);
    }
    tsdb_mutex_unlock(&l->lock);
}

void limits_charge(struct limits *l, const char *client, uint64_t samples)
{
    charge(l, client, RATE_SAMPLES, samples);
}

void limits_charge_bytes(struct limits *l, const char *client, uint64_t bytes)
{
    charge(l, client, RATE_BYTES, bytes);
}

uint64_t limits_series_left(struct limits *l, const char *client)
{
    uint64_t rate = l->options.series;
    if (rate == 0) {
        return UINT64_MAX;
    }
    tsdb_mutex_lock(&l->lock);
    int64_t now = tsdb_clock_mono_ns(&l->clock);
    const struct limits_client *c = place_of(l, client, now);
    int64_t busy = c ? TSDB_MAX(c->busy_ns[RATE_SERIES] - now, 0) : 0;
    tsdb_mutex_unlock(&l->lock);
    double left = (double)(HOUR_NS - busy) / (double)HOUR_NS * (double)rate;
    return left < (double)rate ? (uint64_t)left : rate;
}

void limits_charge_series(struct limits *l, const char *client, uint64_t created)
{
    charge(l, client, RATE_SERIES, created);
}

bool limits_query_begin(struct limits *l, const char *client)
{
    if (l->options.queries == 0) {
        return true;
    }
    tsdb_mutex_lock(&l->lock);
    struct limits_client *c = place_of(l, client, tsdb_clock_mono_ns(&l->clock));
    bool ok = !c || c->queries < l->options.queries;
    if (c && ok) {
        c->queries++;
    }
    tsdb_mutex_unlock(&l->lock);
    return ok;
}

void limits_query_end(struct limits *l, const char *client)
{
    if (l->options.queries == 0) {
        return;
    }
    tsdb_mutex_lock(&l->lock);
    struct limits_client *c = place_of(l, client, tsdb_clock_mono_ns(&l->clock));
    if (c && c->queries > 0) { /* one without a place was not counted */
        c->queries--;
    }
    tsdb_mutex_unlock(&l->lock);
}
