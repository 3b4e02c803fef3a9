/* Operators: the inside of the evaluator.
 *
 * Invariants:
 *  1. Building an operator (exec_build) makes its series: labels and their order are final before
 * the first value.
 *  2. op_next is called at most series_count times, for the series in that order; the caller owns
 * the column, which has room for grid.count steps. Every step is written (kind POINT_NONE: no
 * sample).
 *  3. Histograms in a column are valid until the next op_next of that operator; who keeps one
 * copies it (exec_keep_histogram).
 *  4. A scalar expression is an operator with one series without labels that has a float at every
 * step.
 *  5. Memory comes from the arena of the query (kept until its end) or from a scratch arena of the
 * operator (reset per series).
 *  6. Series of one operator may have equal labels only if their samples never share a step, or
 * both still carry a name that is to be dropped (delayed name removal).
 */
#ifndef QUERY_EVAL_EXEC_PRIVATE_H
#define QUERY_EVAL_EXEC_PRIVATE_H

#include "query/eval/exec.h"
#include "query/eval/labels.h"
#include "query/lang/functions.h"

struct grid {
    int64_t start_ms;
    int64_t step_ms; /* > 0 */
    uint32_t count;  /* of steps; may be 0 */
};
static inline int64_t grid_time(const struct grid *g, uint32_t i)
{
    return g->start_ms + (int64_t)i * g->step_ms;
}

enum point_kind {
    POINT_NONE = 0,
    POINT_FLOAT,
    POINT_HISTOGRAM
};

struct point {
    double v;
    const struct tsdb_histogram *h; /* NULL: a float */
};

/* One value per step. */
struct column {
    double *v;
    uint8_t *kind;                   /* enum point_kind */
    const struct tsdb_histogram **h; /* NULL until there was a histogram */
};

struct op_series {
    struct tsdb_labels labels;
    bool drop_name; /* the name goes at the very end (delayed name removal) */
};

struct op {
    enum tsdb_status (*next)(struct op *op, struct column *out);
    struct exec *x;
    struct grid grid;
    const struct query_expr *expr;
    struct op_series *series;
    uint32_t series_count;
    uint32_t pos; /* series handed out */
};

struct exec_scratch {
    struct tsdb_arena arena;
    struct exec_scratch *next;
};

struct exec_note {
    struct query_note note; /* text without position until the end */
    uint32_t pos;
    struct exec_note *next;
};

struct exec {
    const struct query_options *options;
    const struct query_source *source;
    struct tsdb_request *request;
    struct tsdb_arena *arena;
    struct tsdb_error *err;
    const struct query_text *text;
    int64_t start_ms, end_ms, step_ms; /* of the whole query */
    int64_t lookback_ms;
    uint64_t samples_now, samples_peak, samples_read;
    uint32_t polls;
    struct exec_scratch *scratches;
    struct exec_note *notes; /* newest first */
    uint32_t note_count;
};

/* ---- exec.c ---- */
enum tsdb_status exec_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                            struct op **out) TSDB_WUR;
/* Call once per series or so: cancel and deadline are looked at every 128 times. */
enum tsdb_status exec_poll(struct exec *x) TSDB_WUR;
/* Cancelled or late? */
enum tsdb_status exec_check(struct exec *x) TSDB_WUR;
enum tsdb_status exec_nomem(struct exec *x);
/* Account for samples held until the end of the query, or until exec_release. */
enum tsdb_status exec_hold(struct exec *x, uint64_t samples) TSDB_WUR;
void exec_release(struct exec *x, uint64_t samples);
/* An arena that lives until the query ends. NULL: out of memory. */
struct tsdb_arena *exec_scratch(struct exec *x);
/* Deep copy into the query's arena. NULL: out of memory. */
const struct tsdb_histogram *exec_keep_histogram(struct exec *x, const struct tsdb_histogram *h);
/* Add a note about the expression at `pos` unless the same text is there. Out of memory loses the
 * note, nothing else. */
void exec_note(struct exec *x, bool is_info, uint32_t pos, const char *format, ...)
    TSDB_PRINTF(4, 5);
/* Same, `format` ending in a quoted metric name. */
void exec_note_metric(struct exec *x, bool is_info, uint32_t pos, const char *text,
                      const struct tsdb_labels *labels);

/* Allocate an operator of `bytes` (struct op first). NULL: out of memory. */
struct op *op_new(struct exec *x, size_t bytes, const struct query_expr *e, const struct grid *grid,
                  enum tsdb_status (*next)(struct op *, struct column *));
enum tsdb_status op_next(struct op *op, struct column *out) TSDB_WUR;
/* Take over the child's series, dropping the name now or marking it for later. */
enum tsdb_status op_series_drop_name(struct op *op, const struct op *child) TSDB_WUR;
/* If series of *op have equal labels, put an operator around it that merges them. distinct: equal
 * labels of two series with samples are an error even if they share no step (functions over
 * ranges). */
enum tsdb_status op_merge_equal(struct op **op, bool distinct) TSDB_WUR;

enum tsdb_status column_init(struct exec *x, struct column *c, uint32_t steps) TSDB_WUR;
/* Make room for histograms. */
enum tsdb_status column_histograms(struct exec *x, struct column *c, uint32_t steps) TSDB_WUR;
void column_clear(struct column *c, uint32_t steps);
uint32_t column_count(const struct column *c, uint32_t steps);
/* Copy src into dst, keeping its histograms. */
enum tsdb_status column_keep(struct exec *x, struct column *dst, const struct column *src,
                             uint32_t steps) TSDB_WUR;
/* The values of a scalar expression at all steps. */
enum tsdb_status exec_scalar(struct exec *x, const struct query_expr *e, const struct grid *grid,
                             const double **out) TSDB_WUR;
/* Evaluate what nobody asks for: its errors are errors of the query all the same. */
enum tsdb_status exec_discard(struct op *op) TSDB_WUR;
/* Evaluate all series of an operator; columns of series without samples have v == NULL. */
enum tsdb_status exec_drain(struct op *op, struct column **out) TSDB_WUR;

/* ---- op_select.c ---- */
enum tsdb_status op_vector_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, struct op **out) TSDB_WUR;
/* timestamp(selector) */
enum tsdb_status op_timestamp_build(struct exec *x, const struct query_expr *e,
                                    const struct grid *grid, struct op **out) TSDB_WUR;

/* Samples of one series without stale markers, floats and histograms apart. Valid until the next
 * one is read. */
struct points {
    const int64_t *t;
    const double *v;
    const int64_t *start; /* NULL: no start timestamps */
    uint32_t count;
    const int64_t *ht;
    const struct tsdb_histogram *const *h;
    uint32_t h_count;
};
/* A range vector: a matrix selector or a subquery. */
struct matrix {
    struct exec *x;
    const struct query_expr *expr;
    struct op_series *series;
    uint32_t series_count;
    uint32_t pos;
    struct grid grid; /* of the consumer */
    int64_t range_ms;
    int64_t offset_ms;
    bool fixed; /* @: the same window at every step */
    int64_t fixed_end_ms;
    int64_t before_ms,
        after_ms; /* how much further the points reach than the windows (anchored, smoothed) */
    /* selector */
    struct query_series_set set;
    struct tsdb_arena *scratch;
    /* subquery */
    struct op *body;
    struct column column;
    int64_t *t;
    double *v;
    const struct tsdb_histogram **h;
    int64_t *ht;
};
enum tsdb_status matrix_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                              struct matrix **out) TSDB_WUR;
enum tsdb_status matrix_next(struct matrix *m, struct points *out) TSDB_WUR;
/* Replace the points of an anchored or smoothed range by what it has as a result. */
enum tsdb_status matrix_extend(struct matrix *m, struct points *p) TSDB_WUR;
/* Right end of the window at step i; the left end is range_ms before and does not belong to it. */
int64_t matrix_window_end(const struct matrix *m, uint32_t i);
/* The time range that a selector reads, widened into *range. */
enum tsdb_status exec_time_range(struct exec *x, const struct query_expr *e, int64_t start_ms,
                                 int64_t end_ms, struct tsdb_time_range *range, bool *any) TSDB_WUR;
/* Range and offset of a selector or subquery, duration expressions included. */
enum tsdb_status exec_range_ms(struct exec *x, int64_t ms, const struct query_expr *e,
                               int64_t *out) TSDB_WUR;
enum tsdb_status exec_offset_ms(struct exec *x, const struct query_shift *s, int64_t *out) TSDB_WUR;

/* ---- op_range.c ---- */
struct window {
    const int64_t *t;
    const double *v;
    const int64_t *start;
    uint32_t count;
    const int64_t *ht;
    const struct tsdb_histogram *const *h;
    uint32_t h_count;
    bool rising; /* known to hold no value below the one before it: a counter without resets */
};
struct range_call {
    struct exec *x;
    const struct query_expr *call;
    const struct query_expr *arg; /* the range vector */
    const struct op_series *series;
    int64_t t_ms;             /* of the step */
    int64_t begin_ms, end_ms; /* of the window: (begin, end] */
    int64_t range_ms;
    const double *args;         /* scalar arguments at this step, in order */
    struct tsdb_arena *scratch; /* reset after every window */
    enum tsdb_status status;    /* set together with x->err to give up */
};
/* One window of a range vector to one point. Returns false if it has no result there (or
 * call->status says why not). */
typedef bool (*query_range_fn)(struct range_call *call, const struct window *w, struct point *out);
enum tsdb_status op_range_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                query_range_fn range, struct op **out) TSDB_WUR;
/* "f() of native histograms is not supported yet" */
bool range_unsupported(struct range_call *call);

/* ---- op_call.c, op_labels.c, op_histogram.c: functions with operators of their own ---- */
/* Float to float, point by point. args: the values of the scalar arguments at this step, in order. */
typedef double (*query_map_fn)(double v, const double *args);
enum tsdb_status op_map_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                              query_map_fn map, struct op **out) TSDB_WUR;
enum tsdb_status op_clamp_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                struct op **out) TSDB_WUR;
enum tsdb_status op_date_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out) TSDB_WUR;
enum tsdb_status op_time_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out) TSDB_WUR;
enum tsdb_status op_constant_build(struct exec *x, const struct query_expr *e,
                                   const struct grid *grid, struct op **out) TSDB_WUR;
enum tsdb_status op_pair_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out) TSDB_WUR;
enum tsdb_status op_scalar_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, struct op **out) TSDB_WUR;
enum tsdb_status op_vector_of_build(struct exec *x, const struct query_expr *e,
                                    const struct grid *grid, struct op **out) TSDB_WUR;
enum tsdb_status op_absent_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, struct op **out) TSDB_WUR;
enum tsdb_status op_absent_over_time_build(struct exec *x, const struct query_expr *e,
                                           const struct grid *grid, struct op **out) TSDB_WUR;
enum tsdb_status op_sort_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out) TSDB_WUR;
enum tsdb_status op_label_replace_build(struct exec *x, const struct query_expr *e,
                                        const struct grid *grid, struct op **out) TSDB_WUR;
enum tsdb_status op_label_join_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, struct op **out) TSDB_WUR;
enum tsdb_status op_histogram_quantile_build(struct exec *x, const struct query_expr *e,
                                             const struct grid *grid, struct op **out) TSDB_WUR;
enum tsdb_status op_histogram_stat_build(struct exec *x, const struct query_expr *e,
                                         const struct grid *grid, struct op **out) TSDB_WUR;
/* A scalar operator with these values. */
enum tsdb_status op_values_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, const double *values,
                                 struct op **out) TSDB_WUR;

/* ---- op_binary.c, op_join.c, op_set.c ---- */
enum tsdb_status op_unary_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                struct op **out) TSDB_WUR;
enum tsdb_status op_binary_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, struct op **out) TSDB_WUR;
enum tsdb_status op_join_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out) TSDB_WUR;
enum tsdb_status op_set_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                              struct op **out) TSDB_WUR;
double binary_scalar(enum token_type op, double l, double r);
/* One element of a vector operation. Returns whether it stays. Comparisons give the left value. */
bool binary_element(enum token_type op, double l, double r, double *out);
/* +, -, * ... make another quantity of a metric, so that its name does not fit any more. */
bool binary_changes_metric(enum token_type op);
bool binary_is_trim(enum token_type op);
/* "incompatible sample types encountered for binary operator ..." */
void binary_note_types(struct exec *x, const struct query_expr *e, bool left_histogram,
                       bool right_histogram);
/* The key by which the two sides of a vector operation match. */
struct label_key binary_label_key(const struct query_matching *m);

/* ---- op_aggregate.c, op_topk.c ---- */
/* The groups of an aggregation: per series of child its group, per group its labels. */
enum tsdb_status exec_group_series(struct exec *x, const struct query_expr *e,
                                   const struct op *child, uint32_t **out_group,
                                   struct op_series **out_series, uint32_t *out_count) TSDB_WUR;
enum tsdb_status op_aggregate_build(struct exec *x, const struct query_expr *e,
                                    const struct grid *grid, struct op **out) TSDB_WUR;
enum tsdb_status op_topk_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out) TSDB_WUR;
enum tsdb_status op_count_values_build(struct exec *x, const struct query_expr *e,
                                       const struct grid *grid, struct op **out) TSDB_WUR;

#endif
