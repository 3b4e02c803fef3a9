#include "query/cache/stepwise.h"

#include "query/eval/select.h"
#include "query/lang/ast.h"
#include "query/lang/functions.h"

#include <string.h>

/* Beyond that, sums of times may stop at the ends of time. A thousand years. */
#define REACH_MS_MAX (INT64_C(1000) * 366 * 86400 * 1000)

static bool shift_is_plain(const struct query_shift *s)
{
    return s->at == QUERY_AT_NONE && !s->offset_expr;
}

static bool names_metadata(const struct query_names *names)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (query_str_equal(names->items[i], TSDB_METRIC_NAME)) {
            return true;
        }
    }
    return false;
}

/* A selector of one metric. */
static bool fixes_name(const struct query_expr *v)
{
    for (uint32_t i = 0; i < v->u.vector.matcher_count; i++) {
        const struct tsdb_matcher *m = &v->u.vector.matchers[i];
        bool is_name = m->name_len == strlen(TSDB_METRIC_NAME) &&
                       memcmp(m->name, TSDB_METRIC_NAME, m->name_len) == 0;
        if (is_name && m->op == TSDB_MATCH_EQ && m->value_len > 0) {
            return true;
        }
    }
    return false;
}

/* Do all series of it lose the same, when their names are dropped? False: not known. */
static bool is_of_one_name(const struct query_expr *e)
{
    switch (e->kind) {
    case EXPR_VECTOR:
        return fixes_name(e);
    case EXPR_MATRIX:
        return fixes_name(e->u.matrix.selector);
    case EXPR_SUBQUERY:
        return is_of_one_name(e->u.subquery.body);
    case EXPR_PAREN:
        return is_of_one_name(e->u.paren);
    case EXPR_UNARY:
        return is_of_one_name(e->u.unary.body);
    case EXPR_AGGREGATE:
        return e->u.aggregate.op != TOKEN_TOPK && e->u.aggregate.op != TOKEN_BOTTOMK &&
               (e->u.aggregate.without || !names_metadata(&e->u.aggregate.grouping));
    case EXPR_CALL:
        return !e->u.call.function->keeps_name;
    case EXPR_NUMBER:
        return true;
    case EXPR_BINARY:
    case EXPR_STRING:
    case EXPR_DURATION:
        return false;
    }
    return false;
}

static bool call_is_stepwise(const struct query_expr *e, bool *selects_all)
{
    const struct query_function *f = e->u.call.function;
    /* leaves_buckets: whether the first histogram of a query is a reset depends on where it begins. */
    if (f->experimental || f->second_is_labels || f->leaves_buckets) {
        return false;
    }
    for (uint32_t i = 0; i < e->u.call.arg_count && !f->keeps_name; i++) {
        const struct query_expr *arg = e->u.call.args[i];
        if (arg->type != QUERY_TYPE_MATRIX || is_of_one_name(arg)) {
            continue;
        }
        if (query_expr_unwrap(arg)->kind != EXPR_MATRIX) {
            return false; /* its series may depend on values at steps */
        }
        *selects_all = true;
    }
    return true;
}

struct walk {
    int64_t step_ms;         /* of the query */
    int64_t default_step_ms; /* of subqueries */
    bool selects_all;
};

static bool covers(void *arg, const struct query_expr *e)
{
    const int64_t *apart_ms = arg;
    return e->kind != EXPR_SUBQUERY || e->u.subquery.range_ms >= *apart_ms;
}

/* A subquery is evaluated from its first window to its last, between the windows too, and an error there is an
 * error of the query. Windows that meet leave nothing between, whoever evaluates them; those of a subquery in
 * a subquery are as far apart as that one's steps. */
static bool subquery_is_stepwise(const struct query_expr *e, const struct walk *w)
{
    int64_t step_ms = e->u.subquery.step_ms > 0 ? e->u.subquery.step_ms : w->default_step_ms;
    return shift_is_plain(&e->u.subquery.shift) && !e->u.subquery.range_expr &&
           !e->u.subquery.step_expr && e->u.subquery.range_ms >= w->step_ms &&
           query_expr_visit(e->u.subquery.body, covers, &step_ms);
}

static bool node_is_stepwise(void *arg, const struct query_expr *e)
{
    struct walk *w = arg;
    switch (e->kind) {
    case EXPR_VECTOR:
        return shift_is_plain(&e->u.vector.shift) && !e->u.vector.anchored && !e->u.vector.smoothed;
    case EXPR_MATRIX:
        return !e->u.matrix.range_expr;
    case EXPR_SUBQUERY:
        return subquery_is_stepwise(e, w);
    case EXPR_BINARY:
        return !e->u.binary.matching.fill_left && !e->u.binary.matching.fill_right;
    case EXPR_AGGREGATE:
        return e->u.aggregate.op != TOKEN_LIMITK && e->u.aggregate.op != TOKEN_LIMIT_RATIO;
    case EXPR_CALL:
        return call_is_stepwise(e, &w->selects_all);
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_PAREN:
    case EXPR_UNARY:
    case EXPR_DURATION:
        return true;
    }
    return false;
}

bool query_stepwise(const struct query_expr *expr, const struct query_options *options,
                    const struct query_params *params, struct stepwise *out)
{
    *out = (struct stepwise){.reach = {INT64_MAX, INT64_MIN}};
    struct walk w = {.step_ms = params->step_ms, .default_step_ms = options->default_step_ms};
    if (params->step_ms <= 0 || options->delayed_name_removal || options->use_start_timestamps ||
        !query_expr_visit(expr, node_is_stepwise, &w)) {
        return false;
    }
    out->selects_all = w.selects_all;
    struct tsdb_error err = {0};
    struct exec x = {
        .options = options,
        .err = &err,
        .step_ms = params->step_ms,
        .lookback_ms = params->lookback_ms > 0 ? params->lookback_ms : options->lookback_ms,
    };
    struct tsdb_time_range *reach = &out->reach;
    bool any = false;
    /* What the step at 0 reads; without @ all others read the same, moved. */
    return exec_time_range(&x, expr, 0, 0, reach, &any) == TSDB_OK && any &&
           -REACH_MS_MAX <= reach->min_ms && reach->max_ms <= REACH_MS_MAX;
}
