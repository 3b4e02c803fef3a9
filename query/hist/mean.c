#include "query/hist/hist_private.h"

#include <float.h>
#include <math.h>

/* No sum of numbers below this overflows: a histogram has fewer than 2^24 of them. */
#define SAFE_MAX (DBL_MAX / (1 << 24))

static bool any_large(const double *v, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (fabs(v[i]) > SAFE_MAX) {
            return true;
        }
    }
    return false;
}

static bool may_overflow(const struct hist *h)
{
    return fabs(h->zero_count) > SAFE_MAX || fabs(h->count) > SAFE_MAX || fabs(h->sum) > SAFE_MAX ||
           any_large(h->positive.counts, h->positive.bucket_count) ||
           any_large(h->negative.counts, h->negative.bucket_count) ||
           any_large(h->custom_values, h->custom_count);
}

/* Add to a copy, and keep that unless it overflows: then go on with the mean of those before. */
static enum tsdb_status try_sum(struct hist_mean *m, const struct hist *other,
                                struct tsdb_arena *arena, struct hist_effects *effects)
{
    enum tsdb_status status = hist_copy(&m->trial, &m->h, arena);
    if (status == TSDB_OK) {
        status = hist_add_compensated(&m->trial, other, arena, effects);
    }
    if (status != TSDB_OK) {
        return status;
    }
    if (hist_has_overflow(&m->trial)) {
        m->incremental = true;
        return hist_div(&m->h, m->count - 1, arena);
    }
    struct hist sum = m->trial;
    m->trial = m->h;
    m->h = sum;
    return TSDB_OK;
}

enum tsdb_status hist_mean_add(struct hist_mean *m, const struct hist *other,
                               struct tsdb_arena *arena, struct hist_effects *effects)
{
    m->count++;
    if (m->count == 1) {
        return hist_copy(&m->h, other, arena);
    }
    if (hist_is_custom(&m->h) != hist_is_custom(other)) {
        return TSDB_INVALID;
    }
    if (!m->incremental) {
        if (!may_overflow(&m->h) && !may_overflow(other)) {
            return hist_add_compensated(&m->h, other, arena, effects);
        }
        enum tsdb_status status = try_sum(m, other, arena, effects);
        if (status != TSDB_OK || !m->incremental) {
            return status;
        }
    }
    enum tsdb_status status = hist_mul(&m->h, (m->count - 1) / m->count, arena);
    if (status == TSDB_OK) {
        status = hist_copy(&m->trial, other, arena);
    }
    if (status == TSDB_OK) {
        status = hist_div(&m->trial, m->count, arena);
    }
    return status == TSDB_OK ? hist_add_compensated(&m->h, &m->trial, arena, effects) : status;
}

enum tsdb_status hist_mean_finish(struct hist_mean *m, struct tsdb_arena *arena)
{
    enum tsdb_status status =
        m->incremental || m->count == 0 ? TSDB_OK : hist_div(&m->h, m->count, arena);
    if (status == TSDB_OK) {
        hist_settle(&m->h);
    }
    return status;
}
