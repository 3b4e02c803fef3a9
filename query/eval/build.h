/* The roof over the operators. */
#ifndef QUERY_EVAL_BUILD_H
#define QUERY_EVAL_BUILD_H

#include "query/eval/op.h"

/* The operator of a vector or scalar expression: struct exec.build. What does not depend on the
 * step is computed once. UNSUPPORTED names the function. */
op_build_fn build_expr;

#endif
