/* Types and meaning, after the syntax: Prometheus's checkAST, in its order, so that the first error
 * is the same. */
#include "query/lang/parser_private.h"

#include "index/match/regex.h"
#include "model/labels.h"

#include <stdlib.h>

enum tsdb_status parser_matcher_refuses_empty(const struct tsdb_matcher *m, bool *out)
{
    *out = m->op == TSDB_MATCH_EQ ? m->value_len > 0 : m->value_len == 0;
    if (m->op == TSDB_MATCH_EQ || m->op == TSDB_MATCH_NE) {
        return TSDB_OK;
    }
    bool matches_empty = false;
    enum tsdb_status status = index_regex_check(m->value, m->value_len, NULL, &matches_empty, NULL);
    if (status != TSDB_OK) {
        *out = false;
        return status == TSDB_INVALID ? TSDB_OK : TSDB_NOMEM;
    }
    *out = matches_empty == (m->op == TSDB_MATCH_NRE);
    return TSDB_OK;
}

static bool check(struct parser *p, struct query_expr *e);

static bool expect_type(struct parser *p, struct query_expr *e, enum query_type want,
                        const char *context)
{
    if (!check(p, e)) {
        return false;
    }
    return e->type == want ||
           parser_fail(p, e->start, "expected type %s in %s, got %s", query_type_words(want),
                       context, query_type_words(e->type));
}

static bool check_aggregate(struct parser *p, struct query_expr *e)
{
    if (!expect_type(p, e->u.aggregate.body, QUERY_TYPE_VECTOR, "aggregation expression")) {
        return false;
    }
    if (!e->u.aggregate.param) {
        return true;
    }
    enum query_type want =
        e->u.aggregate.op == TOKEN_COUNT_VALUES ? QUERY_TYPE_STRING : QUERY_TYPE_SCALAR;
    return expect_type(p, e->u.aggregate.param, want, "aggregation parameter");
}

/* Where the operator stands. */
static uint32_t operator_pos(const struct parser *p, const struct query_expr *e)
{
    uint32_t pos = e->u.binary.left->end;
    while (pos < p->text->len && strchr(" \t\r\n", p->text->data[pos])) {
        pos++;
    }
    return pos;
}

static int name_compare(const void *a, const void *b)
{
    const struct query_str *x = a;
    const struct query_str *y = b;
    return tsdb_str_compare(x->data, x->len, y->data, y->len);
}

static bool check_on_and_group(struct parser *p, const struct query_expr *e)
{
    const struct query_matching *m = &e->u.binary.matching;
    uint32_t count = m->include.count;
    if (!m->on || m->labels.count == 0 || count == 0) {
        return true;
    }
    struct query_str *sorted = TSDB_ARENA_ARRAY(p->arena, struct query_str, count);
    if (!sorted) {
        return parser_fail_nomem(p);
    }
    memcpy(sorted, m->include.items, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, name_compare);
    for (uint32_t i = 0; i < m->labels.count; i++) {
        const struct query_str *a = &m->labels.items[i];
        if (bsearch(a, sorted, count, sizeof *sorted, name_compare)) {
            return parser_fail_quoted(p, operator_pos(p, e),
                                      "label %s must not occur in ON and GROUP clause at once", *a);
        }
    }
    return true;
}

static bool check_matching(struct parser *p, struct query_expr *e, bool vectors)
{
    struct query_matching *m = &e->u.binary.matching;
    const char *op = token_type_text(e->u.binary.op);
    if (!vectors) {
        if (m->labels.count > 0) {
            return parser_fail(p, e->start, "vector matching only allowed between instant vectors");
        }
        if (m->fill_left || m->fill_right) {
            return parser_fail(p, e->start,
                               "filling in missing series only allowed between instant vectors");
        }
    } else if (token_is_set_operator(e->u.binary.op)) {
        if (m->card == CARD_ONE_TO_MANY || m->card == CARD_MANY_TO_ONE) {
            return parser_fail(p, e->start, "no grouping allowed for \"%s\" operation", op);
        }
        if (m->fill_left || m->fill_right) {
            return parser_fail(p, e->start,
                               "filling in missing series not allowed for set operators");
        }
    }
    e->u.binary.has_matching = vectors;
    return true;
}

static bool check_binary(struct parser *p, struct query_expr *e)
{
    struct query_expr *l = e->u.binary.left;
    struct query_expr *r = e->u.binary.right;
    enum token_type op = e->u.binary.op;
    if (!check(p, l) || !check(p, r)) {
        return false;
    }
    if (e->u.binary.returns_bool && !token_is_comparison(op)) {
        return parser_fail(p, operator_pos(p, e),
                           "bool modifier can only be used on comparison operators");
    }
    bool scalars = l->type == QUERY_TYPE_SCALAR && r->type == QUERY_TYPE_SCALAR;
    if (token_is_comparison(op) && !e->u.binary.returns_bool && scalars) {
        return parser_fail(p, operator_pos(p, e),
                           "comparisons between scalars must use BOOL modifier");
    }
    struct query_matching *m = &e->u.binary.matching;
    if (token_is_set_operator(op) && m->card == CARD_ONE_TO_ONE) {
        m->card = CARD_MANY_TO_MANY;
    }
    if (!check_on_and_group(p, e)) {
        return false;
    }
    struct query_expr *const sides[] = {l, r};
    for (int i = 0; i < 2; i++) {
        if (sides[i]->type != QUERY_TYPE_SCALAR && sides[i]->type != QUERY_TYPE_VECTOR) {
            return parser_fail(
                p, sides[i]->start,
                "binary expression must contain only scalar and instant vector types");
        }
    }
    if (!check_matching(p, e, l->type == QUERY_TYPE_VECTOR && r->type == QUERY_TYPE_VECTOR)) {
        return false;
    }
    if (token_is_set_operator(op) && !e->u.binary.has_matching) {
        return parser_fail(p, e->start,
                           "set operator \"%s\" not allowed in binary scalar expression",
                           token_type_text(op));
    }
    return true;
}

static bool check_selector(struct parser *p, struct query_expr *e, bool may_be_empty)
{
    const struct tsdb_matcher *m = e->u.vector.matchers;
    uint32_t count = e->u.vector.matcher_count;
    if (e->u.vector.name.len > 0) {
        for (uint32_t i = 0; i + 1 < count; i++) {
            if (m[i].name_len == sizeof TSDB_METRIC_NAME - 1 &&
                memcmp(m[i].name, TSDB_METRIC_NAME, m[i].name_len) == 0) {
                return parser_fail(p, e->start,
                                   "metric name must not be set twice: \"%.*s\" or \"%.*s\"",
                                   (int)e->u.vector.name.len, e->u.vector.name.data,
                                   (int)m[i].value_len, m[i].value);
            }
        }
        return true;
    }
    bool refuses = may_be_empty;
    for (uint32_t i = 0; i < count && !refuses; i++) {
        if (parser_matcher_refuses_empty(&m[i], &refuses) != TSDB_OK) {
            return parser_fail_nomem(p);
        }
    }
    return refuses ||
           parser_fail(p, e->start, "vector selector must contain at least one non-empty matcher");
}

/* info(v, {selector}): the selector has no name. */
static bool check_label_argument(struct parser *p, const struct query_expr *e)
{
    const struct query_expr *s = e->u.call.args[1];
    if (s->type != QUERY_TYPE_VECTOR) {
        return parser_fail(p, e->start,
                           "expected type instant vector in call to function \"%s\", got %s",
                           e->u.call.function->name, query_type_words(s->type));
    }
    if (s->kind != EXPR_VECTOR) {
        return parser_fail(p, s->start, "expected label selectors only");
    }
    return s->u.vector.name.len == 0 ||
           parser_fail(p, s->start, "expected label selectors only, got vector selector instead");
}

static bool check_arg_count(struct parser *p, const struct query_expr *e)
{
    const struct query_function *f = e->u.call.function;
    uint32_t got = e->u.call.arg_count;
    if (f->variadic == 0) {
        return got == f->arg_count ||
               parser_fail(p, e->start, "expected %u argument(s) in call to \"%s\", got %u",
                           f->arg_count, f->name, got);
    }
    uint32_t least = (uint32_t)f->arg_count - 1;
    if (got < least) {
        return parser_fail(p, e->start,
                           "expected at least %u argument(s) in call to \"%s\", got %u", least,
                           f->name, got);
    }
    uint32_t extra = f->variadic > 0 ? (uint32_t)f->variadic : 0;
    uint32_t most = least + extra;
    return f->variadic < 0 || got <= most ||
           parser_fail(p, e->start, "expected at most %u argument(s) in call to \"%s\", got %u",
                       most, f->name, got);
}

static bool check_call(struct parser *p, struct query_expr *e)
{
    const struct query_function *f = e->u.call.function;
    if (!check_arg_count(p, e)) {
        return false;
    }
    if (f->second_is_labels && e->u.call.arg_count > 1 && !check_label_argument(p, e)) {
        return false;
    }
    for (uint32_t i = 0; i < e->u.call.arg_count; i++) {
        struct query_expr *a = e->u.call.args[i];
        enum query_type want = f->args[i < f->arg_count ? i : f->arg_count - 1u];
        bool ok = f->second_is_labels && i == 1 ? check_selector(p, a, true) : check(p, a);
        if (!ok) {
            return false;
        }
        if (a->type != want) {
            return parser_fail(p, a->start, "expected type %s in call to function \"%s\", got %s",
                               query_type_words(want), f->name, query_type_words(a->type));
        }
    }
    return true;
}

static bool check_unary(struct parser *p, struct query_expr *e)
{
    if (!check(p, e->u.unary.body)) {
        return false;
    }
    return e->type == QUERY_TYPE_SCALAR || e->type == QUERY_TYPE_VECTOR ||
           parser_fail(p, e->start,
                       "unary expression only allowed on expressions of type scalar or instant "
                       "vector, got \"%s\"",
                       query_type_words(e->type));
}

static bool check_subquery(struct parser *p, struct query_expr *e)
{
    if (!check(p, e->u.subquery.body)) {
        return false;
    }
    enum query_type t = e->u.subquery.body->type;
    return t == QUERY_TYPE_VECTOR ||
           parser_fail(p, e->start, "subquery is only allowed on instant vector, got %s instead",
                       query_type_name(t));
}

static bool check(struct parser *p, struct query_expr *e)
{
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_DURATION:
        return true;
    case EXPR_VECTOR:
        return check_selector(p, e, false);
    case EXPR_MATRIX:
        return check(p, e->u.matrix.selector);
    case EXPR_SUBQUERY:
        return check_subquery(p, e);
    case EXPR_PAREN:
        return check(p, e->u.paren);
    case EXPR_UNARY:
        return check_unary(p, e);
    case EXPR_BINARY:
        return check_binary(p, e);
    case EXPR_AGGREGATE:
        return check_aggregate(p, e);
    case EXPR_CALL:
        return check_call(p, e);
    }
    return false;
}

bool parser_check(struct parser *p, struct query_expr *e)
{
    return check(p, e);
}
