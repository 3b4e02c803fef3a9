#include "model/request.h"

#include "base/assert.h"

#include <string.h>

static const char *const durability_names[] = {
    [TSDB_DURABILITY_MEMORY] = "memory",
    [TSDB_DURABILITY_BUFFERED] = "buffered",
    [TSDB_DURABILITY_STRICT] = "strict",
};

const char *tsdb_durability_name(enum tsdb_durability d)
{
    TSDB_ASSERT((unsigned)d < TSDB_ARRAY_LEN(durability_names));
    return durability_names[d];
}

bool tsdb_durability_parse(const char *s, size_t len, enum tsdb_durability *out)
{
    for (unsigned i = 0; i < TSDB_ARRAY_LEN(durability_names); i++) {
        if (strlen(durability_names[i]) == len && memcmp(durability_names[i], s, len) == 0) {
            *out = (enum tsdb_durability)i;
            return true;
        }
    }
    return false;
}

void tsdb_request_init(struct tsdb_request *r, const struct tsdb_clock *clock, unsigned scopes)
{
    memset(r, 0, sizeof *r);
    r->scopes = scopes;
    r->clock = clock;
    r->durability = TSDB_DURABILITY_MEMORY;
    tsdb_account_init(&r->account, 0, NULL);
    atomic_init(&r->cancelled, 0);
    atomic_init(&r->series_created, 0);
}

/* Relaxed on both sides: the flag carries no data, it only has to arrive. */
void tsdb_request_cancel(struct tsdb_request *r)
{
    atomic_store_explicit(&r->cancelled, 1, memory_order_relaxed);
}

enum tsdb_status tsdb_request_check(const struct tsdb_request *r)
{
    if (atomic_load_explicit(&r->cancelled, memory_order_relaxed) != 0) {
        return TSDB_CANCELLED;
    }
    if (r->deadline_ns != 0 && tsdb_clock_mono_ns(r->clock) >= r->deadline_ns) {
        return TSDB_TIMEOUT;
    }
    return TSDB_OK;
}

/* Relaxed, all three: a count, nothing hangs on it but itself. All owners of the request's batches share
 * it, so that who is not limited leaves it alone. */
bool tsdb_request_series_take(struct tsdb_request *r)
{
    if (!r->series_limited) {
        return true;
    }
    uint64_t before = atomic_fetch_add_explicit(&r->series_created, 1, memory_order_relaxed);
    if (before >= r->series_max) {
        tsdb_request_series_give_back(r);
        return false;
    }
    return true;
}

void tsdb_request_series_give_back(struct tsdb_request *r)
{
    if (r->series_limited) {
        atomic_fetch_sub_explicit(&r->series_created, 1, memory_order_relaxed);
    }
}

bool tsdb_request_series_used_up(const struct tsdb_request *r)
{
    return r->series_limited &&
           atomic_load_explicit(&r->series_created, memory_order_relaxed) >= r->series_max;
}
