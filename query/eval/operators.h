/* All operators, as the roof (build.c) builds them, and the little that they share. */
#ifndef QUERY_EVAL_OPERATORS_H
#define QUERY_EVAL_OPERATORS_H

#include "query/eval/func.h"
#include "query/eval/histogram.h"
#include "query/eval/op.h"

/* ---- op_ahead.c ---- */
/* If it is worth it, put an operator around *op that has the crew compute series before they are
 * asked for. */
enum tsdb_status op_ahead_wrap(struct op **op) TSDB_WUR;

/* ---- op_vector.c: selectors ---- */
op_build_fn op_vector_build;
/* The same with the times of the samples in ms instead of floats; histograms stay. */
op_build_fn op_sample_times_build;

/* ---- op_binary.c, op_join.c, op_set.c ---- */
op_build_fn op_unary_build;
op_build_fn op_scalars_build; /* number and number */
op_build_fn op_side_build;    /* number and vector */
op_build_fn op_join_build;    /* vector and vector, by arithmetic or comparison */
op_build_fn op_set_build;     /* vector and vector, by and, or, unless */

/* +, -, * ... make another quantity of a metric, so that its name does not fit any more. */
bool binary_changes_metric(enum token_type op);
/* What two elements give. */
struct pair {
    struct point value; /* of a filter the left one */
    bool matched;       /* false: as if the two had never met; a note says why */
    bool keep;          /* the value is in the result */
};
/* The one place that computes binary operators over elements of vectors; floats and histograms.
 *   arena   of histograms in *out, which may also borrow from l and r */
enum tsdb_status binary_pair(struct exec *x, const struct query_expr *e, struct point l,
                             struct point r, struct tsdb_arena *arena, struct pair *out) TSDB_WUR;
/* The number of every series of `side` by what the two sides of a vector operation match on. */
enum tsdb_status binary_group(struct exec *x, const struct query_matching *m, struct label_map *map,
                              const struct op *side, uint32_t **out) TSDB_WUR;

/* ---- op_aggregate.c, op_topk.c ---- */
op_build_fn op_aggregate_build;
/* op_count.c: NULL: nothing of the kind, or storage does not tell. */
op_build_fn op_count_build;
op_build_fn op_topk_build; /* topk, bottomk, limitk */
op_build_fn op_ratio_build;
op_build_fn op_count_values_build;

/* The groups of an aggregation: per series of child its group, per group its labels. */
enum tsdb_status aggregate_group(struct exec *x, const struct query_expr *e, const struct op *child,
                                 uint32_t **out_group, struct op_series **out_series,
                                 uint32_t *out_count) TSDB_WUR;

/* ---- functions ---- */
enum tsdb_status op_map_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                              func_map_fn *map, struct op **out) TSDB_WUR;
enum tsdb_status op_range_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                func_range_fn *range, struct op **out) TSDB_WUR;
/* op_call.c */
op_build_fn op_clamp_build;
op_build_fn op_date_build;
op_build_fn op_time_build; /* time(); timestamp() of what is no bare selector */
op_build_fn op_known_build;
op_build_fn op_pair_build;
op_build_fn op_scalar_build;
op_build_fn op_vector_of_build;
/* op_vector.c */
op_build_fn op_timestamp_build;
op_build_fn op_start_timestamp_build;
/* op_absent.c */
op_build_fn op_absent_build;
op_build_fn op_absent_over_time_build;
/* op_sort.c */
op_build_fn op_sort_build;
/* op_labels.c */
op_build_fn op_label_replace_build;
op_build_fn op_label_join_build;

/* ---- op_info.c ---- */
op_build_fn op_info_build;
/* op_histogram.c */
op_build_fn op_histogram_quantile_build;
op_build_fn op_histogram_stat_build;

#endif
