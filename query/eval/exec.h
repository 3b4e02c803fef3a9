/* Evaluation of an expression over a source: what query_eval does behind the storage engine.
 *
 * An expression becomes a tree of operators (op.h). Building the tree already selects
 * series, so that every operator knows its output series and their labels; then values flow one
 * series at a time, all steps of it in one column.
 *
 * Threads: one evaluation, one thread. */
#ifndef QUERY_EVAL_EXEC_H
#define QUERY_EVAL_EXEC_H

#include "query/eval/source.h"
#include "query/lang/ast.h"

/* query_eval over any source, which is opened and closed here. */
enum tsdb_status query_eval_source(const struct query_source *source,
                                   const struct query_options *options,
                                   struct tsdb_request *request, const struct query_expr *expr,
                                   const struct query_params *params, struct tsdb_arena *arena,
                                   struct query_result *out, struct tsdb_error *err) TSDB_WUR;

#endif
