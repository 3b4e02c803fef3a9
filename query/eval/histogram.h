/* Native histograms as values of operators: from the stored form to hist.h and back, and what a
 * query is told about arithmetic on them.
 *
 * A histogram that an operator makes lies in an arena of that operator and may borrow from the
 * histograms it was made of, so it lives no longer than those (invariant 3 of op.h).
 *
 * Threads: as the evaluation, one.
 */
#ifndef QUERY_EVAL_HISTOGRAM_H
#define QUERY_EVAL_HISTOGRAM_H

#include "query/eval/op.h"
#include "query/hist/hist.h"

/* The error that a status of hist.h means here; OK stays OK. */
enum tsdb_status histogram_status(struct exec *x, enum tsdb_status status) TSDB_WUR;
/* What is stored, for arithmetic. Borrowed. */
enum tsdb_status histogram_view(struct exec *x, const struct tsdb_histogram *m,
                                struct tsdb_arena *arena, struct hist *out) TSDB_WUR;
/* A point with this histogram, which borrows from h. */
enum tsdb_status histogram_point(struct exec *x, const struct hist *h, struct tsdb_arena *arena,
                                 struct point *out) TSDB_WUR;
/* What one part of an expression does to all histograms that a column holds. */
typedef enum tsdb_status histogram_change_fn(struct hist *h, double number,
                                             struct tsdb_arena *arena);
/* *p becomes change(*p, number), compacted if asked for. */
enum tsdb_status histogram_change(struct exec *x, struct point *p, histogram_change_fn *change,
                                  double number, bool compact, struct tsdb_arena *arena) TSDB_WUR;

/* Which reset hints a sum was made of. */
struct histogram_hints {
    bool reset, no_reset;
};
void histogram_hints_add(struct histogram_hints *hints, enum tsdb_reset_hint hint);

/* operation: "addition", "subtraction", "aggregation" */
void histogram_note_conflict(struct exec *x, uint32_t pos, const char *operation);
void histogram_note_bounds(struct exec *x, uint32_t pos, const char *operation);
/* "vector contains a mix of histograms with exponential and custom buckets schemas ..." */
void histogram_note_schemas(struct exec *x, uint32_t pos, const struct tsdb_labels *labels);

/* "{count:3, sum:4.5, (1,2]:3}" */
void histogram_print(const struct hist *h, struct tsdb_buf *out);

/* Where a histogram belongs to, for notes. */
struct histogram_place {
    struct exec *x;
    uint32_t pos;
    const struct tsdb_labels *labels;
    struct tsdb_arena *arena; /* of results */
};
/* *h += other or *h -= other, and what is to be said about it, except that one says "reset" and the
 * other "no reset": where this is used, resets are dealt with. *fits is false, with a note, if one
 * is exponential and the other custom. */
enum tsdb_status histogram_combine(const struct histogram_place *p, struct hist *h,
                                   const struct hist *other, bool add, bool *fits) TSDB_WUR;
/* The histogram at time t on the line from `a` at ta to `b` at tb. Of a counter that was reset
 * between the two, on the line from zero. *fits as above. Borrows from both. */
enum tsdb_status histogram_between(const struct histogram_place *p, const struct hist *a,
                                   int64_t ta, const struct hist *b, int64_t tb, int64_t t,
                                   bool counter, struct hist *out, bool *fits) TSDB_WUR;

#endif
