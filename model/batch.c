#include "model/batch.h"

#include "base/assert.h"

#include <string.h>

const char *tsdb_reject_name(enum tsdb_reject reason)
{
    static const char *const names[TSDB_REJECT_COUNT] = {
        [TSDB_REJECT_NONE] = "request",      [TSDB_REJECT_DUPLICATE] = "duplicate",
        [TSDB_REJECT_TOO_OLD] = "too_old",   [TSDB_REJECT_TOO_NEW] = "too_new",
        [TSDB_REJECT_LABELS] = "labels",     [TSDB_REJECT_HISTOGRAM] = "histogram",
        [TSDB_REJECT_EXEMPLAR] = "exemplar", [TSDB_REJECT_UNSUPPORTED] = "unsupported",
        [TSDB_REJECT_SYNTAX] = "syntax",     [TSDB_REJECT_SERIES_LIMIT] = "series_limit"};
    return names[reason];
}

const char *tsdb_reject_text(enum tsdb_reject reason)
{
    switch (reason) {
    case TSDB_REJECT_NONE:
        return "";
    case TSDB_REJECT_DUPLICATE:
        return "duplicate sample for timestamp";
    case TSDB_REJECT_TOO_OLD:
        return "out of bounds: older than the retention";
    case TSDB_REJECT_TOO_NEW:
        return "out of bounds: too far in the future";
    case TSDB_REJECT_SERIES_LIMIT:
        return "limit of series reached";
    case TSDB_REJECT_LABELS:
        return "invalid metric name or label names";
    case TSDB_REJECT_HISTOGRAM:
        return "invalid native histogram";
    case TSDB_REJECT_EXEMPLAR:
        return "invalid exemplar";
    case TSDB_REJECT_UNSUPPORTED:
        return "not supported";
    case TSDB_REJECT_SYNTAX:
        return "malformed line";
    case TSDB_REJECT_COUNT:
        break;
    }
    return "refused";
}

void tsdb_batch_complete(struct tsdb_batch *b, enum tsdb_status status)
{
    struct tsdb_write *w = b->write;
    if (status != TSDB_OK) {
        uint32_t expected = TSDB_OK;
        /* Only the first failure stays. Ordered by the fetch_sub below. */
        atomic_compare_exchange_strong_explicit(&w->status, &expected, (uint32_t)status,
                                                memory_order_relaxed, memory_order_relaxed);
    }
    /* Release: results and status of this batch before the count; acquire: the last one sees all
     * the others'. */
    uint32_t before = atomic_fetch_sub_explicit(&w->pending, 1, memory_order_acq_rel);
    TSDB_ASSERT(before > 0);
    if (before == 1) {
        w->done(w);
    }
}

void tsdb_write_result_sum(const struct tsdb_write *w, struct tsdb_write_result *out)
{
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < w->batch_count; i++) {
        const struct tsdb_write_result *r = &w->batches[i].result;
        out->samples_written += r->samples_written;
        out->histograms_written += r->histograms_written;
        out->exemplars_written += r->exemplars_written;
        out->stale_refs += r->stale_refs;
        for (int reason = 0; reason < TSDB_REJECT_COUNT; reason++) {
            out->rejected[reason] += r->rejected[reason];
        }
        bool earlier =
            out->first_reason == TSDB_REJECT_NONE || r->first_rejected < out->first_rejected;
        if (r->first_reason != TSDB_REJECT_NONE && earlier) {
            out->first_rejected = r->first_rejected;
            out->first_reason = r->first_reason;
        }
    }
}
