/* Selectors: which times they read, and their series and samples out of the source. */
#ifndef QUERY_EVAL_SELECT_H
#define QUERY_EVAL_SELECT_H

#include "query/eval/op.h"

/* Sums that stop at the ends of time. */
int64_t time_add(int64_t a, int64_t b);
int64_t time_sub(int64_t a, int64_t b);

/* The windows at the steps of a grid, the first of which ends at end_ms; fixed: all do. False: they
 * reach the ends of time, where sums stop and kernels do not work. Bounds are not filled in. */
bool time_windows(const struct grid *grid, int64_t end_ms, bool fixed, int64_t range_ms,
                  struct kernel_windows *out);

/* Range and offset of a selector or subquery, duration expressions included. */
enum tsdb_status exec_range_ms(struct exec *x, int64_t ms, const struct query_expr *e,
                               int64_t *out) TSDB_WUR;
enum tsdb_status exec_offset_ms(struct exec *x, const struct query_shift *s, int64_t *out) TSDB_WUR;
/* The time that @ fixes; false without @. */
bool exec_at_ms(const struct exec *x, const struct query_shift *s, int64_t *out);
/* At which time info() looks at the info series, relative to a step: by the first selector in its
 * argument and the subqueries around it, the innermost @ and the offsets up to there. offset_expr
 * is worked out, and what @ fixes is QUERY_AT_TIME; no shift without a selector. */
enum tsdb_status exec_info_shift(struct exec *x, const struct query_expr *call,
                                 struct query_shift *out) TSDB_WUR;
/* The time range that an expression reads if evaluated from start_ms to end_ms, widened into
 * *range. *any: it has a selector at all. */
enum tsdb_status exec_time_range(struct exec *x, const struct query_expr *e, int64_t start_ms,
                                 int64_t end_ms, struct tsdb_time_range *range, bool *any) TSDB_WUR;

/* The series of vector selector v, with their labels; the arrays run in parallel. */
enum tsdb_status select_series(struct exec *x, const struct query_expr *v,
                               struct query_series_set *set, struct op_series **out) TSDB_WUR;
/* From when to when, and what of it is looked at, if not all (borrowed). */
struct select_span {
    int64_t min_ms, max_ms;
    const struct tsdb_time_windows *windows;
};
/* Windows of that width at the steps, the first of which ends at end_ms (fixed: all do), in *out; NULL: they
 * leave nothing out. */
const struct tsdb_time_windows *select_windows(const struct grid *grid, int64_t end_ms, bool fixed,
                                               int64_t width_ms, struct tsdb_time_windows *out);
/* Samples of one series, valid until the next reset of scratch, which is reset here. */
typedef enum tsdb_status select_read_fn(struct exec *x, uint32_t ref,
                                        const struct select_span *span, struct tsdb_arena *scratch,
                                        struct tsdb_columns *out);
select_read_fn select_read;
/* The newest one, perhaps with others before it. */
select_read_fn select_newest;
/* How a selector that is built now reads. Under histogram_count and the like Prometheus leaves the
 * buckets out and tells resets while it reads, so that notes about contradicting resets appear that
 * do not elsewhere: there every histogram that does not know is told whether it is a reset after
 * the one before it. */
select_read_fn *select_reader(const struct exec *x);

/* Series `pos` of a set is read next in that way, and most likely those behind it. */
void select_ahead(const struct exec *x, const struct query_series_set *set, uint32_t pos,
                  select_read_fn *by);

static inline bool sample_is_float(const struct tsdb_columns *c, uint32_t i)
{
    return !c->kind || c->kind[i] == TSDB_SAMPLE_FLOAT;
}
static inline bool sample_is_stale(const struct tsdb_columns *c, uint32_t i)
{
    return sample_is_float(c, i) ? tsdb_is_stale_bits(c->bits[i])
                                 : tsdb_histogram_is_stale(&c->histograms[c->bits[i]]);
}
static inline struct point sample_point(const struct tsdb_columns *c, uint32_t i)
{
    return sample_is_float(c, i) ? (struct point){tsdb_bits_double(c->bits[i]), NULL}
                                 : (struct point){0, &c->histograms[c->bits[i]]};
}

#endif
