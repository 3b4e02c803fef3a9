#include "query/lang/ast.h"

#include "query/num.h"

const char *query_type_name(enum query_type t)
{
    static const char *const names[] = {"scalar", "vector", "matrix", "string"};
    return names[t];
}

const char *query_type_words(enum query_type t)
{
    static const char *const words[] = {"scalar", "instant vector", "range vector", "string"};
    return words[t];
}

enum query_type query_expr_type(const struct query_expr *e)
{
    return e->type;
}

const struct query_expr *query_expr_unwrap(const struct query_expr *e)
{
    while (e->kind == EXPR_PAREN) {
        e = e->u.paren;
    }
    return e;
}

void query_position_print(const struct query_text *text, uint32_t pos, struct tsdb_buf *out)
{
    if (text->len == 0) {
        tsdb_buf_put_str(out, "unknown position");
        return;
    }
    uint32_t line = 1;
    uint32_t begin = 0;
    for (uint32_t i = 0; i < pos && i < text->len; i++) {
        if (text->data[i] == '\n') {
            line++;
            begin = i + 1;
        }
    }
    tsdb_buf_printf(out, "%u:%u", line, pos - begin + 1);
}

bool query_expr_visit(const struct query_expr *e, query_expr_visit_fn fn, void *arg)
{
    if (!fn(arg, e)) {
        return false;
    }
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_VECTOR:
    case EXPR_DURATION:
        return true;
    case EXPR_MATRIX:
        return query_expr_visit(e->u.matrix.selector, fn, arg);
    case EXPR_SUBQUERY:
        return query_expr_visit(e->u.subquery.body, fn, arg);
    case EXPR_PAREN:
        return query_expr_visit(e->u.paren, fn, arg);
    case EXPR_UNARY:
        return query_expr_visit(e->u.unary.body, fn, arg);
    case EXPR_BINARY:
        return query_expr_visit(e->u.binary.left, fn, arg) &&
               query_expr_visit(e->u.binary.right, fn, arg);
    case EXPR_AGGREGATE:
        return query_expr_visit(e->u.aggregate.body, fn, arg) &&
               (!e->u.aggregate.param || query_expr_visit(e->u.aggregate.param, fn, arg));
    case EXPR_CALL:
        for (uint32_t i = 0; i < e->u.call.arg_count; i++) {
            if (!query_expr_visit(e->u.call.args[i], fn, arg)) {
                return false;
            }
        }
        return true;
    }
    return true;
}

struct collect {
    struct tsdb_selector *items;
    uint32_t count;
};

static bool collect_selector(void *arg, const struct query_expr *e)
{
    struct collect *c = arg;
    if (e->kind == EXPR_VECTOR) {
        if (c->items) {
            c->items[c->count] =
                (struct tsdb_selector){e->u.vector.matchers, e->u.vector.matcher_count};
        }
        c->count++;
    }
    return true;
}

enum tsdb_status query_expr_selectors(const struct query_expr *e, struct tsdb_arena *arena,
                                      struct tsdb_selector **out, uint32_t *out_count)
{
    struct collect c = {0};
    query_expr_visit(e, collect_selector, &c);
    if (c.count > 0) {
        c.items = TSDB_ARENA_ARRAY(arena, struct tsdb_selector, c.count);
        if (!c.items) {
            return tsdb_arena_status(arena);
        }
        c.count = 0;
        query_expr_visit(e, collect_selector, &c);
    }
    *out = c.items;
    *out_count = c.count;
    return TSDB_OK;
}

/* ---- duration expressions ---- */

struct duration_eval {
    double step_s, range_s;
    const struct query_expr *fault; /* where it went wrong */
    const char *why;
};

static double eval(struct duration_eval *d, const struct query_expr *e)
{
    if (e->kind == EXPR_NUMBER) {
        return e->u.number.value;
    }
    double left = e->u.duration.left ? eval(d, e->u.duration.left) : 0;
    double right = e->u.duration.right ? eval(d, e->u.duration.right) : 0;
    bool unary = !e->u.duration.left;
    if (d->fault) {
        return 0;
    }
    switch ((int)e->u.duration.op) {
    case TOKEN_STEP:
        return d->step_s;
    case TOKEN_RANGE:
        return d->range_s;
    case TOKEN_MIN_OF:
        return num_min(left, right);
    case TOKEN_MAX_OF:
        return num_max(left, right);
    case TOKEN_ADD:
        return unary ? right : left + right;
    case TOKEN_SUB:
        return unary ? -right : left - right;
    case TOKEN_MUL:
        return left * right;
    case TOKEN_POW:
        return pow(left, right);
    default:
        break;
    }
    bool modulo = e->u.duration.op == TOKEN_MOD;
    if (right == 0) {
        d->fault = e;
        d->why = modulo ? "modulo by zero" : "division by zero";
        return 0;
    }
    return modulo ? fmod(left, right) : left / right;
}

enum tsdb_status query_duration_eval(const struct query_expr *e, double step_s, double range_s,
                                     bool negative_allowed, int64_t *out_ms, struct tsdb_error *err)
{
    struct duration_eval d = {step_s, range_s, NULL, NULL};
    double v = eval(&d, e);
    if (!d.fault) {
        d.why = isnan(v) || isinf(v)          ? "duration is NaN or infinite"
                : v <= 0 && !negative_allowed ? "duration must be greater than 0"
                : v > 9223372036.854775807 || v < -9223372036.854775808 ? "duration is out of range"
                                                                        : NULL;
        d.fault = d.why ? e : NULL;
    }
    if (d.fault) {
        return tsdb_error_set_at(err, TSDB_INVALID, d.fault->start, "%u:%u: %s", d.fault->start,
                                 d.fault->end, d.why);
    }
    *out_ms = (int64_t)(v * 1000);
    return TSDB_OK;
}
