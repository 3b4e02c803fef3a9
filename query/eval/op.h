/* Operators: the ground on which every operator stands. The inside of the evaluator begins here.
 *
 *   exec.c                    the life of one evaluation, and its result
 *     |
 *   build.c                   the roof: which operator an expression becomes
 *     |
 *   op_*.c                    the operators
 *     |
 *   func_*.c  matrix.c        what functions compute; range vectors
 *     |
 *   select.c                  what selectors read out of the source
 *     |
 *   histogram.c               native histograms as values
 *     |
 *   op.c  merge.c  context.c  the ground: this header
 *
 * Includes and calls run downwards. An operator that needs the operators of its subexpressions asks
 * exec_build, which reaches the roof through a pointer in struct exec.
 *
 * Invariants:
 *  1. Building an operator makes its series: labels and their order are final before the first
 *     value.
 *  2. op_next is called at most series_count times, for the series in that order. The caller owns
 *     the column, which has room for grid.count steps. Every step is written (POINT_NONE: no
 *     sample).
 *  3. A histogram in a column is valid until the next op_next of that operator; who keeps one
 *     copies it (exec_keep_histogram, column_keep).
 *  4. A scalar expression is an operator with one series without labels that has a float at every
 *     step.
 *  5. Memory comes from the arena of the query (kept until its end) or from a scratch arena of the
 *     operator (reset per series).
 *  6. Series of one operator may have equal labels only if their samples never share a step, or
 *     both still carry a name that is to be dropped (delayed name removal).
 */
#ifndef QUERY_EVAL_OP_H
#define QUERY_EVAL_OP_H

#include "base/assert.h"
#include "index/match/regex.h"
#include "query/crew.h"
#include "query/eval/labels.h"
#include "query/eval/source.h"
#include "query/eval/tally.h"
#include "query/kernels/kernels.h"
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

/* One sample: a float, or a histogram that somebody else keeps. */
struct point {
    double v;
    const struct tsdb_histogram *h; /* NULL: a float */
};

/* Samples of one series without stale markers, or a window of them: floats and histograms apart,
 * each by rising time. */
struct points {
    const int64_t *t;
    const double *v;
    const int64_t *start; /* start timestamps, 0: unknown; NULL: none, or not asked for */
    uint32_t count;
    const int64_t *ht;
    const int64_t *h_start;
    const struct tsdb_histogram *const *h;
    uint32_t h_count;
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

struct exec;
struct op {
    /* The arrays of *out may be others afterwards, as long and as lasting. */
    enum tsdb_status (*next)(struct op *op, struct column *out);
    /* A second operator that gives the same for a series whose number is put into its pos before
     * op_next, in any order, with memory of its own: x says which evaluation it works for, memory
     * comes from op->x. NULL: there is no such. */
    enum tsdb_status (*clone)(const struct op *op, struct exec *x, struct op **out);
    struct exec *x;
    struct grid grid;
    const struct query_expr *expr;
    struct op_series *series;
    uint32_t series_count;
    const struct query_series_set *stored; /* with clone: what the source has of each */
    bool unique;                           /* no two series have equal labels */
    uint32_t pos;                          /* series handed out */
    uint32_t turn; /* when Prometheus would evaluate it: after what it is made of, left to right */
    struct query_plan *plan; /* with explain: what it did; NULL: part of the one around it */
};

struct exec_scratch {
    struct tsdb_arena arena;
    struct exec_scratch *next;
};

/* Jobs of an operator that the crew runs, maybe while the query does other things. */
struct exec_crew_group {
    struct query_crew_group group;
    struct exec_crew_group *next;
    bool ended;
};

struct exec_note {
    struct query_note note; /* text without position until the end */
    uint32_t pos;
    uint32_t turn; /* of the operator that gave it */
    bool counted;  /* tells how often it was given, if more than once */
    uint64_t occurrences;
    struct exec_note *next;
};

/* How an operator is made: that of expression e at the steps of grid. */
typedef enum tsdb_status op_build_fn(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, struct op **out);

/* One evaluation. */
struct exec {
    op_build_fn *build; /* the roof; call exec_build */
    const struct query_options *options;
    const struct query_source *source;
    const struct query_kernels *kernels;
    struct tsdb_request *request;
    struct tsdb_arena *arena;
    struct tsdb_error *err;
    const struct query_text *text;
    int64_t start_ms, end_ms, step_ms; /* of the whole query */
    int64_t lookback_ms;
    uint64_t samples_now, samples_peak, samples_read;
    struct tally tally;
    /* While operators are built: in how many of ... are we? See select_reader. */
    uint32_t in_stats;   /* histogram_count, histogram_sum, histogram_avg */
    uint32_t in_buckets; /* what needs the buckets of a histogram, and subqueries */
    bool entangled;      /* see query_result */
    bool scattered;      /* series are not computed in the order of their set */
    bool labels_unused;  /* nobody looks at the labels of the selector that is built */
    bool labels_late;    /* likewise, but in the result: of `late`, which it sets */
    struct query_series_set late;
    uint32_t polls;
    struct exec_scratch *scratches;
    struct exec_crew_group *groups;
    struct index_regexes regexes; /* of label_replace and info; selectors have those of storage */
    struct exec_note *notes;      /* newest first */
    uint32_t note_count;
    uint32_t turns;          /* operators built so far */
    uint32_t turn;           /* of the operator that computes; 0 while building */
    struct query_plan *plan; /* with explain: of the operator that works; else NULL */
};

/* ---- context.c: limits ---- */

/* Call once per series or so: cancel and deadline are looked at every 128 times. */
enum tsdb_status exec_poll(struct exec *x) TSDB_WUR;
/* Cancelled or late? */
enum tsdb_status exec_check(struct exec *x) TSDB_WUR;
/* qsort that stops when the query is to stop. */
enum tsdb_status exec_sort(struct exec *x, void *items, size_t count, size_t bytes_each,
                           int (*compare)(const void *, const void *)) TSDB_WUR;
/* The status of something below, with the words of the query if it ran out of time or was
 * cancelled. */
enum tsdb_status exec_stopped(struct exec *x, enum tsdb_status status) TSDB_WUR;
/* Of `total` series that take memory alike `done` have taken what the arena holds more than `used_before`: LIMIT where the
 * rest cannot have room, half as much again as there is at least. So that what must fail does so early. */
enum tsdb_status exec_foresee(struct exec *x, size_t used_before, uint32_t done,
                              uint32_t total) TSDB_WUR;
/* Account for samples held until the end of the query, or until exec_release. */
enum tsdb_status exec_hold(struct exec *x, uint64_t samples) TSDB_WUR;
void exec_release(struct exec *x, uint64_t samples);

/* End the query with this status and text, which may be of any length. */
#define exec_fail(x, status, ...)                                                                  \
    tsdb_error_set_whole((x)->err, (x)->arena, (status), 0, __VA_ARGS__)

/* ---- context.c: memory ---- */

/* What an arena that gave nothing means: LIMIT if the request has a limit, else NOMEM. */
enum tsdb_status exec_nomem_status(struct exec *x);
static inline enum tsdb_status exec_nomem(struct exec *x)
{
    enum tsdb_status status = exec_nomem_status(x);
    TSDB_ASSERT(status != TSDB_OK); /* or what was not made would be used */
    return status;
}
/* An arena that lives until the query ends. NULL: out of memory. */
struct tsdb_arena *exec_scratch(struct exec *x);
/* A full array of `count` == *cap items in the query's arena, copied into one of double the size
 * (of `first` items to begin with). NULL: out of memory, *cap as it was. */
void *exec_grow(struct exec *x, const void *items, uint32_t count, uint32_t *cap, uint32_t first,
                size_t bytes_each);
/* Deep copy into the query's arena. NULL: out of memory. */
const struct tsdb_histogram *exec_keep_histogram(struct exec *x, const struct tsdb_histogram *h);

/* ---- context.c: the crew ---- */

/* query_crew_begin with the crew of the options. NULL: out of memory. It ends with the query, if not before. */
struct exec_crew_group *exec_crew_begin(struct exec *x, query_crew_fn *fn, void *arg,
                                        uint32_t lanes);
void exec_crew_end(struct exec *x, struct exec_crew_group *g);
/* All of them, for good. */
void exec_crew_end_all(struct exec *x);
/* Until the next job is allowed, nobody but the query's own thread works for it. */
void exec_crew_quiet(struct exec *x);

/* ---- context.c: notes ---- */

/* Add a note about the expression at `pos`. Of equal texts one is kept, with the position of the one
 * that Prometheus, which evaluates an operator after what it is made of, would give last. Out of
 * memory loses the note, nothing else. */
void exec_note(struct exec *x, bool is_info, uint32_t pos, const char *format, ...)
    TSDB_PRINTF(4, 5);
/* The same: `text`, a space, and the metric's name in quotes. */
void exec_note_metric(struct exec *x, bool is_info, uint32_t pos, const char *text,
                      const struct tsdb_labels *labels);
/* A warning of this kind that also tells how often it was given. */
void exec_note_counted(struct exec *x, uint32_t pos, const char *text,
                       const struct tsdb_labels *labels);
/* Add notes that another evaluation gathered (its x->notes), in their order. */
void exec_notes_take(struct exec *x, const struct exec_note *notes);
/* A number as notes print it: the shortest text that gives it back, as Go's %g. */
struct number_text {
    char text[64];
};
struct number_text number_text(double v);
/* "quantile value should be between 0 and 1, got 2", if q is not. */
void exec_note_quantile(struct exec *x, double q, uint32_t pos);

/* ---- context.c: explain ---- */

/* Work for an operator begins and ends; in between, what is read is counted for it. */
struct exec_work {
    struct query_plan *outer;
    int64_t begin_ns;
};
/* A new operator of expression e below the one that works. NULL: nobody asks, or out of memory, which
 * *status says. */
struct query_plan *exec_plan_new(struct exec *x, const struct query_expr *e,
                                 enum tsdb_status *status);
/* plan NULL: nothing happens. */
struct exec_work exec_work_begin(struct exec *x, struct query_plan *plan);
void exec_work_end(struct exec *x, struct query_plan *plan, const struct exec_work *w);

/* ---- op.c: columns ---- */

enum tsdb_status column_init(struct exec *x, struct column *c, uint32_t steps) TSDB_WUR;
void column_clear(struct column *c, uint32_t steps);
uint32_t column_count(const struct column *c, uint32_t steps);
/* What is at a step; there must be something. */
static inline struct point column_point(const struct column *c, uint32_t i)
{
    return (struct point){c->v[i], c->kind[i] == POINT_HISTOGRAM ? c->h[i] : NULL};
}
/* Put a float or a histogram, which is borrowed, at step i. */
enum tsdb_status column_put(struct exec *x, struct column *c, uint32_t steps, uint32_t i,
                            struct point p) TSDB_WUR;
/* The same with a copy of the histogram that lives as long as the query. */
enum tsdb_status column_keep_point(struct exec *x, struct column *c, uint32_t steps, uint32_t i,
                                   struct point p) TSDB_WUR;
/* Replace the histograms of a column by copies that live as long as the query. */
enum tsdb_status column_keep_all(struct exec *x, struct column *c, uint32_t steps) TSDB_WUR;
/* Copy src into dst, borrowing its histograms. */
enum tsdb_status column_copy(struct exec *x, struct column *dst, const struct column *src,
                             uint32_t steps) TSDB_WUR;
/* Copy src into dst, keeping its histograms. */
enum tsdb_status column_keep(struct exec *x, struct column *dst, const struct column *src,
                             uint32_t steps) TSDB_WUR;

/* ---- op.c: operators in general ---- */

/* The operator of a subexpression. */
enum tsdb_status exec_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                            struct op **out) TSDB_WUR;
/* Allocate an operator of `bytes` (struct op first). NULL: out of memory. */
struct op *op_new(struct exec *x, size_t bytes, const struct query_expr *e, const struct grid *grid,
                  enum tsdb_status (*next)(struct op *, struct column *));
enum tsdb_status op_next(struct op *op, struct column *out) TSDB_WUR;
/* A copy of an operator for evaluation x, `bytes` long, with children and memory shared: for the
 * clone functions to go on with. NULL: out of memory. */
struct op *op_copy(const struct op *op, size_t bytes, struct exec *x);

/* The series of an operator are: one without labels; */
enum tsdb_status op_series_single(struct op *op) TSDB_WUR;
/* ... those of its child as they are; or see op_series_unnamed. */
void op_series_share(struct op *op, const struct op *child);
/* A scalar operator with these values. */
enum tsdb_status op_values_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, const double *values,
                                 struct op **out) TSDB_WUR;
/* One with the same value at every step. */
enum tsdb_status op_constant_build(struct exec *x, const struct query_expr *e,
                                   const struct grid *grid, double value, struct op **out) TSDB_WUR;
/* The values of a scalar expression at all steps. */
enum tsdb_status exec_scalar(struct exec *x, const struct query_expr *e, const struct grid *grid,
                             const double **out) TSDB_WUR;
/* Evaluate what nobody asks for: its errors are errors of the query all the same. */
enum tsdb_status exec_discard(struct op *op) TSDB_WUR;
/* Evaluate all series of an operator; columns of series without samples have v == NULL. */
enum tsdb_status exec_drain(struct op *op, struct column **out) TSDB_WUR;

/* ---- merge.c ---- */

/* If series of *op have equal labels, put an operator around it that merges them. distinct: equal
 * labels of two series with samples are an error even if they share no step (functions over
 * ranges). */
enum tsdb_status op_merge_equal(struct op **op, bool distinct) TSDB_WUR;
/* The series of op are those of its child (or op's own) without the name, which is dropped now, or
 * marked for later. What becomes equal is merged as above. *out: the operator to use. */
enum tsdb_status op_series_unnamed(struct op *op, const struct op *child, bool distinct,
                                   struct op **out) TSDB_WUR;

#endif
