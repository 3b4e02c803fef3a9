/* Arithmetic of native histograms, as Prometheus 3.14 does it (model/histogram, FloatHistogram, and
 * the pure parts of promql/quantile.go and promql/functions.go): the same buckets, and the same
 * order of floating point operations, so that sums and quantiles agree to the last bit.
 *
 * On the data path: operators in query/eval take a stored histogram (hist_view), compute, and give
 * the result back in the stored form (hist_model). Here is no knowledge of series, steps or notes;
 * what a note must say comes back as a flag.
 *
 * Invariants:
 *  1. Every count is a double; the spans of a side cover its buckets exactly, no span but the first
 *     has a negative offset, and no bucket index is above INT32_MAX.
 *  2. A histogram borrows its arrays until it is changed. Changing one that borrows copies first, so
 *     a view never writes to what it looks at. `own_*` and `*_room` belong to this folder.
 *  3. Copying the struct shares its arrays: only one of the two may be changed after that. hist_copy
 *     makes an independent one.
 *  4. Room grows geometrically: adding a million histograms to one of the same buckets allocates
 *     nothing, and all growth together is at most a few times the final size.
 *  5. A compensated histogram carries beside each number what rounding lost (Kahan-Neumaier).
 *     hist_mul and hist_div scale both, hist_settle adds the one to the other.
 *  6. A failed operation (no memory) leaves a histogram whose numbers are not to be used.
 *
 * Threads: pure; a histogram is owned by one at a time, and may be read by many.
 */
#ifndef QUERY_HIST_HIST_H
#define QUERY_HIST_HIST_H

#include "base/arena.h"
#include "model/histogram.h"

/* One side, from zero outwards. */
struct hist_side {
    const struct tsdb_span *spans;
    const double *counts;   /* absolute */
    const double *residues; /* of a compensated one, as many as counts; else NULL */
    uint32_t span_count, bucket_count;
    struct tsdb_span *own_spans; /* == spans, or NULL: borrowed */
    double *own_counts;          /* == counts, or NULL: borrowed */
    double *own_residues;        /* == residues */
    uint32_t span_room, bucket_room;
};

struct hist {
    enum tsdb_reset_hint reset_hint;
    int32_t schema; /* -4..8, or TSDB_HISTOGRAM_SCHEMA_CUSTOM */
    double zero_threshold, zero_count;
    double count, sum;
    struct hist_side positive, negative;
    const double *custom_values;
    uint32_t custom_count;
    double *own_custom; /* == custom_values, or NULL: borrowed */
    uint32_t custom_room;
    bool compensated;
    double zero_count_residue, count_residue, sum_residue;
};

/* What a query is told about. Flags are set, never cleared: one of these serves for a whole sum. */
struct hist_effects {
    bool hint_conflict;     /* one says "reset", the other "no reset" */
    bool bounds_reconciled; /* custom buckets of different bounds: those in both remain */
};

/* ---- hist.c: from and to the stored form ---- */

static inline bool hist_is_custom(const struct hist *h)
{
    return h->schema == TSDB_HISTOGRAM_SCHEMA_CUSTOM;
}
/* Nothing observed, with the schema and custom bounds of `like` (borrowed). */
static inline struct hist hist_empty_like(const struct hist *like)
{
    return (struct hist){.schema = like->schema,
                         .custom_values = like->custom_values,
                         .custom_count = like->custom_count};
}
/* A view of an integer or float histogram, whose arrays must outlive it; counts of an integer one
 * are made absolute in the arena. With custom buckets, a zero bucket and a negative side are left
 * out. CORRUPT if invariant 1 does not hold or the schema is none; NOMEM, LIMIT. */
enum tsdb_status hist_view(const struct tsdb_histogram *m, struct tsdb_arena *arena,
                           struct hist *out) TSDB_WUR;
/* The stored form, a float histogram that borrows from h. */
void hist_model(const struct hist *h, struct tsdb_histogram *out);
/* Make *to an independent copy of `from`. *to is zeroed or was a copy before, whose room is used
 * again (its arena must live as long as this one). */
enum tsdb_status hist_copy(struct hist *to, const struct hist *from,
                           struct tsdb_arena *arena) TSDB_WUR;
/* As Prometheus's Validate. INVALID. */
enum tsdb_status hist_validate(const struct hist *h, struct tsdb_error *err) TSDB_WUR;

/* The same to the last bit: schema, bounds, buckets (empty ones too), counts, sum. The hint does not
 * matter. Spans of no length are overlooked. Compact both first where equal means equal content. */
bool hist_equal(const struct hist *a, const struct hist *b);
/* Is any number infinite? */
bool hist_has_overflow(const struct hist *h);

/* Scale all counts and the sum. A negative factor makes a gauge of it (so unary minus is
 * hist_mul(h, -1)). */
enum tsdb_status hist_mul(struct hist *h, double factor, struct tsdb_arena *arena) TSDB_WUR;
/* Dividing by zero removes all buckets. */
enum tsdb_status hist_div(struct hist *h, double divisor, struct tsdb_arena *arena) TSDB_WUR;

/* ---- layout.c ---- */

/* Remove empty buckets and join touching spans, as Prometheus's Compact(0): the layout that results
 * depends on nothing but the content. */
enum tsdb_status hist_compact(struct hist *h, struct tsdb_arena *arena) TSDB_WUR;
/* Lower the resolution to `schema`, at most that of h, by joining buckets. Exponential only. */
enum tsdb_status hist_reduce(struct hist *h, int32_t schema, struct tsdb_arena *arena) TSDB_WUR;

/* ---- add.c ---- */

/* h += other; h -= other. Different schemas and zero buckets are reconciled; so are different custom
 * bounds (to those that both have). The hint of h becomes that of both together; the operator "-"
 * sets it to TSDB_RESET_GAUGE afterwards. Not compacted. `other` may be h itself, otherwise they
 * share no array that h owns.
 *   effects   may be NULL
 * Returns OK; INVALID, with nothing changed, if one is exponential and the other custom; NOMEM,
 * LIMIT. */
enum tsdb_status hist_add(struct hist *h, const struct hist *other, struct tsdb_arena *arena,
                          struct hist_effects *effects) TSDB_WUR;
enum tsdb_status hist_sub(struct hist *h, const struct hist *other, struct tsdb_arena *arena,
                          struct hist_effects *effects) TSDB_WUR;
/* h += other, keeping account of what rounding loses: for sums of many. h becomes compensated; end
 * with hist_settle. */
enum tsdb_status hist_add_compensated(struct hist *h, const struct hist *other,
                                      struct tsdb_arena *arena,
                                      struct hist_effects *effects) TSDB_WUR;
/* Add what rounding lost, if anything was counted; h is an ordinary histogram then. */
void hist_settle(struct hist *h);
/* The hint of two histograms together. *conflict is set if they contradict each other. */
enum tsdb_reset_hint hist_join_hints(enum tsdb_reset_hint a, enum tsdb_reset_hint b,
                                     bool *conflict);

/* ---- reset.c ---- */

/* Was there a counter reset between `before` and h? The hint of h decides if it says so; then counts
 * do, over schemas, zero buckets and custom bounds that may differ. */
bool hist_detect_reset(const struct hist *h, const struct hist *before);

/* ---- mean.c ---- */

/* The mean of many: a compensated sum, divided at the end; once that would overflow, an incremental
 * mean. Zero it, then hist_mean_add, then hist_mean_finish; the result is in `h`, not compacted. */
struct hist_mean {
    struct hist h;
    double count;
    bool incremental;
    struct hist trial; /* private */
};
/* As hist_add; the first one is copied. */
enum tsdb_status hist_mean_add(struct hist_mean *m, const struct hist *other,
                               struct tsdb_arena *arena, struct hist_effects *effects) TSDB_WUR;
enum tsdb_status hist_mean_finish(struct hist_mean *m, struct tsdb_arena *arena) TSDB_WUR;

/* ---- stat.c ---- */

enum hist_nan_note {
    HIST_NAN_NONE = 0,
    HIST_NAN_RESULT, /* "... has NaN observations, result is NaN" */
    HIST_NAN_SKEWED  /* "... has NaN observations, result is skewed higher" */
};

/* Quantile q: -Inf below 0, +Inf above 1, NaN without observations. Exponential interpolation in
 * exponential buckets, linear in custom ones and the zero bucket. *note is always written. Cost: one
 * pass over the counts; bounds of one bucket are computed, so many quantiles are many calls. */
double hist_quantile(double q, const struct hist *h, enum hist_nan_note *note);
/* The share of observations between lower and upper. *nan_excluded is always written: "... has NaN
 * observations, which are excluded from all fractions". */
double hist_fraction(double lower, double upper, const struct hist *h, bool *nan_excluded);
/* sum / count; a variance estimated from the middles of the buckets; its root. */
double hist_avg(const struct hist *h);
double hist_stdvar(const struct hist *h);
double hist_stddev(const struct hist *h);

/* ---- trim.c ---- */

/* h </ at (keep what is below, upper: true) and h >/ at (keep what is above): buckets beyond are
 * emptied, the one around `at` is shared out, count and sum are estimated anew. Compacted if
 * anything changed. */
enum tsdb_status hist_trim(struct hist *h, double at, bool upper,
                           struct tsdb_arena *arena) TSDB_WUR;

#endif
