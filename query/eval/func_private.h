/* The functions that the table in functions.c names. */
#ifndef QUERY_EVAL_FUNC_PRIVATE_H
#define QUERY_EVAL_FUNC_PRIVATE_H

#include "query/eval/exec_private.h"

/* "quantile value should be between 0 and 1, got 2", if q is not. */
void func_note_quantile(struct exec *x, double q, uint32_t pos);

/* The functions that the rows of functions.def name. */
#define MAP(f)   double f(double v, const double *args);
#define RANGE(f) bool f(struct range_call *c, const struct window *w, struct point *out);
#define BUILD(f)
#define NOT_YET
#define FUNCTION(name, implementation, ...) implementation
#include "query/lang/functions.def"
#undef MAP
#undef RANGE
#undef BUILD
#undef NOT_YET
#undef FUNCTION

#endif
