/* From what the engine made of a request to the answer: counts, and the text of the first refusal. */
#include "base/limits.h"
#include "ingest/ingest_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* "duplicate sample for timestamp 1700 (series up{job=\"a\"})" */
static void describe_reject(struct ingest_request *r, const struct tsdb_write_result *sum,
                            char *out, size_t cap)
{
    const char *phrase = tsdb_reject_text(sum->first_reason);
    char limit[512];
    if (sum->first_rejected >= r->write.entry_count) {
        snprintf(out, cap, "%s", phrase);
        return;
    }
    const struct tsdb_entry *e = &r->write.entries[sum->first_rejected];
    struct tsdb_labels view = {NULL, 0};
    struct tsdb_querier *q = NULL;
    if (e->series == TSDB_SERIES_NEW) {
        view = r->write.new_series[e->aux].labels;
        if (sum->first_reason == TSDB_REJECT_SERIES_LIMIT &&
            tsdb_request_series_used_up(&r->context)) {
            phrase = "limit of new series of one client (--web.client.max-new-series-per-hour) "
                     "reached, sample at";
        } else if (sum->first_reason == TSDB_REJECT_SERIES_LIMIT) {
            (void)tsdb_series_limit_text(r->in->db, &view, limit, sizeof limit);
            phrase = limit;
        }
    } else if (tsdb_querier_open(r->in->db, &r->context, TSDB_TIME_ALL, &q, NULL) == TSDB_OK) {
        if (tsdb_series_labels(q, e->series, &r->scratch, &view, NULL) != TSDB_OK) {
            view.count = 0;
        }
    }
    char series[sizeof r->first_series];
    ingest_series_text(view.items, view.count, series, sizeof series);
    snprintf(out, cap, "%s%s %" PRId64 " (series %s)", phrase, phrase == limit ? ", sample at" : "",
             e->t_ms, series);
    tsdb_querier_close(q);
}

static void count_answer(struct ingest *in, const struct ingest_request *r,
                         const struct ingest_answer *a)
{
    /* Relaxed: statistics. */
    atomic_fetch_add_explicit(&in->samples, a->samples_written, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->histograms, a->histograms_written, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->exemplars, a->exemplars_written, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->rejected, a->rejected, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->rejected_labels, r->rejected[TSDB_REJECT_LABELS],
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&in->rejected_histograms, r->rejected[TSDB_REJECT_HISTOGRAM],
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&in->rejected_syntax, r->rejected[TSDB_REJECT_SYNTAX],
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&in->rejected_unsupported, r->rejected[TSDB_REJECT_UNSUPPORTED],
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&in->metadata, r->metadata_count, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->hits, r->hits, memory_order_relaxed);
    atomic_fetch_add_explicit(&in->misses, r->misses, memory_order_relaxed);
    if (a->status != TSDB_OK) {
        atomic_fetch_add_explicit(&in->requests_failed, 1, memory_order_relaxed);
    }
}

/* A failure of the whole request. */
static void answer_failure(struct ingest_request *r, enum tsdb_status status,
                           struct ingest_answer *out)
{
    out->status = status == TSDB_CORRUPT ? TSDB_INVALID : status;
    const char *fallback = status == TSDB_READ_ONLY
                               ? "storage is read-only: the write-ahead log failed"
                           : status == TSDB_NOMEM ? "out of memory, try again later"
                           : status == TSDB_BUSY  ? "overloaded, try again later"
                                                  : tsdb_status_name(status);
    snprintf(out->text, sizeof out->text, "%s", r->error.msg[0] ? r->error.msg : fallback);
}

/* The first refusal, with its series; what is wrong with a line has none. */
static void describe_first(struct ingest_request *r, const struct tsdb_write_result *sum, char *out,
                           size_t cap)
{
    if (r->first_error.status == TSDB_OK) {
        describe_reject(r, sum, out, cap);
    } else if (r->first_series[0] != '\0') {
        snprintf(out, cap, "%.900s (series %s)", r->first_error.msg, r->first_series);
    } else {
        snprintf(out, cap, "%.900s", r->first_error.msg);
    }
}

/* Add a piece of an import to those before, and take their sum for the answer. */
static void sum_import(struct ingest_request *r, struct ingest_answer *piece, const char *first)
{
    struct ingest_answer *sum = &r->import_sum;
    if (sum->rejected == 0 && piece->rejected > 0) {
        sum->reason = piece->reason;
        snprintf(r->import_first, sizeof r->import_first, "%s", first);
    }
    sum->samples_written += piece->samples_written;
    sum->exemplars_written += piece->exemplars_written;
    sum->rejected += piece->rejected;
    sum->lines = r->text.parser.line;
    *piece = *sum;
}

static void sum_answer(const struct ingest_request *r, const struct tsdb_write_result *sum,
                       struct ingest_answer *out)
{
    out->samples_written = sum->samples_written;
    out->histograms_written = sum->histograms_written;
    out->exemplars_written = sum->exemplars_written;
    out->points = r->points;
    for (uint32_t i = TSDB_REJECT_NONE + 1; i < TSDB_REJECT_COUNT; i++) {
        if (i != TSDB_REJECT_EXEMPLAR) {
            out->rejected += sum->rejected[i] + r->rejected[i];
        }
    }
    if (out->rejected > 0) {
        out->reason = r->first_error.status != TSDB_OK ? r->first_reason : sum->first_reason;
    }
}

/* How the request fared as a whole; what became of its samples in *sum. */
static enum tsdb_status outcome(struct ingest_request *r, struct tsdb_write_result *sum)
{
    *sum = (struct tsdb_write_result){0};
    if (!r->submitted) {
        return r->status;
    }
    tsdb_write_result_sum(&r->write, sum);
    return (enum tsdb_status)atomic_load(&r->write.status);
}

static bool is_stale(const struct ingest_request *r, enum tsdb_status status,
                     const struct tsdb_write_result *sum)
{
    return status == TSDB_OK && sum->stale_refs > 0 && r->use_aliases;
}

/* Of an import: is there anything left of what came? */
static bool has_more(const struct ingest_request *r)
{
    return ingest_is_import(r) && ingest_import_has_more(r);
}

bool ingest_goes_again(struct ingest_request *r)
{
    struct tsdb_write_result sum;
    enum tsdb_status status = outcome(r, &sum);
    return is_stale(r, status, &sum) || (status == TSDB_OK && has_more(r));
}

bool ingest_rests(struct ingest_request *r)
{
    struct tsdb_write_result sum;
    enum tsdb_status status = outcome(r, &sum);
    return ingest_is_import(r) && status == TSDB_OK && !r->text.last &&
           !is_stale(r, status, &sum) && !has_more(r);
}

/* The piece is stored. True: it was the last one, and *out is the answer; false: another follows, or more of the body. */
static bool import_goes_on(struct ingest_request *r, struct ingest_answer *out, const char *first)
{
    sum_import(r, out, first);
    if (has_more(r)) {
        ingest_resubmit(r, true);
        return false;
    }
    if (!r->text.last) {
        r->use_aliases = true;
        r->body.len = r->text.taken = 0;
        ingest_build_reset(r);
        return false;
    }
    out->status = out->rejected > 0 ? TSDB_INVALID : TSDB_OK;
    return true;
}

bool ingest_answer(struct ingest_request *r, struct ingest_answer *out)
{
    memset(out, 0, sizeof *out);
    struct tsdb_write_result sum;
    enum tsdb_status status = outcome(r, &sum);
    if (is_stale(r, status, &sum)) {
        /* A series was dropped between look-up and append. Go again by labels; what was stored is a
         * no-op then. */
        ingest_resubmit(r, false);
        return false;
    }
    if (status != TSDB_OK) {
        *out = r->import_sum; /* of an import, what is stored stays */
        answer_failure(r, status, out);
        count_answer(r->in, r, out);
        return true;
    }
    char first[INGEST_FIRST_BYTES] = "";
    sum_answer(r, &sum, out);
    if (out->rejected > 0) {
        describe_first(r, &sum, first, sizeof first);
        out->status = TSDB_INVALID;
    }
    count_answer(r->in, r, out);
    if (ingest_is_import(r) && !import_goes_on(r, out, first)) {
        return false;
    }
    if (out->rejected > 0) {
        snprintf(out->text, sizeof out->text,
                 "%s; %u samples of this request were refused, the others stored",
                 ingest_is_import(r) ? r->import_first : first, out->rejected);
    }
    return true;
}
