/* A parsed expression as JSON. Keys are sorted, as Go writes maps. Recursion: as deep as a tree,
 * which the parser bounds. */
#include "query/json.h"
#include "query/query.h"

#include "base/format.h"
#include "query/lang/ast.h"
#include "query/lang/functions.h"

#include <inttypes.h>
#include <math.h>

static void put_expr(struct tsdb_buf *out, const struct query_expr *e);

static void put_bool(struct tsdb_buf *out, const char *key, bool v)
{
    tsdb_buf_printf(out, "\"%s\":%s", key, v ? "true" : "false");
}

static void put_str(struct tsdb_buf *out, struct query_str s)
{
    json_string(out, s.len > 0 ? s.data : "", s.len);
}

static void put_names(struct tsdb_buf *out, struct query_names names)
{
    tsdb_buf_put_u8(out, '[');
    for (uint32_t i = 0; i < names.count; i++) {
        tsdb_buf_put_str(out, i > 0 ? "," : "");
        put_str(out, names.items[i]);
    }
    tsdb_buf_put_u8(out, ']');
}

/* null without an expression. */
static void put_optional(struct tsdb_buf *out, const char *key, const struct query_expr *e)
{
    tsdb_buf_printf(out, "\"%s\":", key);
    if (e) {
        put_expr(out, e);
    } else {
        tsdb_buf_put_str(out, "null");
    }
}

/* ---- durations ---- */

static void put_duration(struct tsdb_buf *out, const char *key, const struct query_expr *e)
{
    tsdb_buf_printf(out, "\"%s\":", key);
    if (!e) {
        tsdb_buf_put_str(out, "null");
        return;
    }
    if (e->kind == EXPR_NUMBER) {
        char text[TSDB_FORMAT_FLOAT_MAX];
        tsdb_buf_put_u8(out, '{');
        put_bool(out, "duration", e->u.number.is_duration);
        tsdb_buf_printf(out, ",\"type\":\"numberLiteral\",\"val\":\"%.*s\"}",
                        (int)tsdb_format_float_fixed(text, e->u.number.value), text);
        return;
    }
    tsdb_buf_put_u8(out, '{');
    put_duration(out, "lhs", e->u.duration.left);
    tsdb_buf_printf(out, ",\"op\":\"%s\",", token_type_text(e->u.duration.op));
    put_duration(out, "rhs", e->u.duration.right);
    tsdb_buf_put_str(out, ",\"type\":\"durationExpr\",");
    put_bool(out, "wrapped", e->u.duration.wrapped);
    tsdb_buf_put_u8(out, '}');
}

static void put_offset(struct tsdb_buf *out, const struct query_shift *s)
{
    tsdb_buf_printf(out, "\"offset\":%" PRId64 ",", s->offset_ms);
    put_duration(out, "offsetExpr", s->offset_expr);
}

static void put_start_or_end(struct tsdb_buf *out, const struct query_shift *s)
{
    tsdb_buf_printf(out, "\"startOrEnd\":%s",
                    s->at == QUERY_AT_START ? "\"start\""
                    : s->at == QUERY_AT_END ? "\"end\""
                                            : "null");
}

static void put_at(struct tsdb_buf *out, const struct query_shift *s)
{
    tsdb_buf_put_str(out, "\"timestamp\":");
    if (s->at == QUERY_AT_TIME) {
        tsdb_buf_printf(out, "%" PRId64, s->at_ms);
    } else {
        tsdb_buf_put_str(out, "null");
    }
}

/* ---- nodes ---- */

/* matrix NULL: an instant vector. */
static void put_selector(struct tsdb_buf *out, const struct query_expr *e,
                         const struct query_expr *matrix)
{
    const struct query_shift *shift = &e->u.vector.shift;
    put_bool(out, "anchored", e->u.vector.anchored);
    tsdb_buf_put_str(out, ",\"matchers\":[");
    for (uint32_t i = 0; i < e->u.vector.matcher_count; i++) {
        const struct tsdb_matcher *m = &e->u.vector.matchers[i];
        tsdb_buf_put_str(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_string(out, m->name, m->name_len);
        tsdb_buf_printf(out, ",\"type\":\"%s\",\"value\":", tsdb_match_op_text(m->op));
        json_string(out, m->value, m->value_len);
        tsdb_buf_put_u8(out, '}');
    }
    tsdb_buf_put_str(out, "],\"name\":");
    put_str(out, e->u.vector.name);
    tsdb_buf_put_u8(out, ',');
    put_offset(out, shift);
    if (matrix) {
        tsdb_buf_printf(out, ",\"range\":%" PRId64 ",", matrix->u.matrix.range_ms);
        put_duration(out, "rangeExpr", matrix->u.matrix.range_expr);
    }
    tsdb_buf_put_u8(out, ',');
    put_bool(out, "smoothed", e->u.vector.smoothed);
    tsdb_buf_put_u8(out, ',');
    put_start_or_end(out, shift);
    tsdb_buf_put_u8(out, ',');
    put_at(out, shift);
    tsdb_buf_printf(out, ",\"type\":\"%s\"", matrix ? "matrixSelector" : "vectorSelector");
}

static void put_subquery(struct tsdb_buf *out, const struct query_expr *e)
{
    put_optional(out, "expr", e->u.subquery.body);
    tsdb_buf_put_u8(out, ',');
    put_offset(out, &e->u.subquery.shift);
    tsdb_buf_printf(out, ",\"range\":%" PRId64 ",", e->u.subquery.range_ms);
    put_duration(out, "rangeExpr", e->u.subquery.range_expr);
    tsdb_buf_put_u8(out, ',');
    put_start_or_end(out, &e->u.subquery.shift);
    tsdb_buf_printf(out, ",\"step\":%" PRId64 ",", e->u.subquery.step_ms);
    put_duration(out, "stepExpr", e->u.subquery.step_expr);
    tsdb_buf_put_u8(out, ',');
    put_at(out, &e->u.subquery.shift);
    tsdb_buf_put_str(out, ",\"type\":\"subquery\"");
}

/* A number that JSON has no word for is null. */
static void put_fill(struct tsdb_buf *out, const char *key, bool is_set, double v)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    bool shown = is_set && isfinite(v);
    size_t len = shown ? tsdb_format_float_json(text, v) : 0;
    tsdb_buf_printf(out, "\"%s\":%.*s", key, shown ? (int)len : 4, shown ? text : "null");
}

static void put_matching(struct tsdb_buf *out, const struct query_matching *m)
{
    static const char *const cards[] = {
        [CARD_ONE_TO_ONE] = "one-to-one",
        [CARD_MANY_TO_ONE] = "many-to-one",
        [CARD_ONE_TO_MANY] = "one-to-many",
        [CARD_MANY_TO_MANY] = "many-to-many",
    };
    tsdb_buf_printf(out, "{\"card\":\"%s\",\"fillValues\":{", cards[m->card]);
    put_fill(out, "lhs", m->fill_left, m->fill_left_value);
    tsdb_buf_put_u8(out, ',');
    put_fill(out, "rhs", m->fill_right, m->fill_right_value);
    tsdb_buf_put_str(out, "},\"include\":");
    put_names(out, m->include);
    tsdb_buf_put_str(out, ",\"labels\":");
    put_names(out, m->labels);
    tsdb_buf_put_u8(out, ',');
    put_bool(out, "on", m->on);
    tsdb_buf_put_u8(out, '}');
}

static void put_binary(struct tsdb_buf *out, const struct query_expr *e)
{
    put_bool(out, "bool", e->u.binary.returns_bool);
    tsdb_buf_put_u8(out, ',');
    put_optional(out, "lhs", e->u.binary.left);
    tsdb_buf_put_str(out, ",\"matching\":");
    if (e->u.binary.has_matching) {
        put_matching(out, &e->u.binary.matching);
    } else {
        tsdb_buf_put_str(out, "null");
    }
    tsdb_buf_printf(out, ",\"op\":\"%s\",", token_type_text(e->u.binary.op));
    put_optional(out, "rhs", e->u.binary.right);
    tsdb_buf_put_str(out, ",\"type\":\"binaryExpr\"");
}

static void put_aggregate(struct tsdb_buf *out, const struct query_expr *e)
{
    put_optional(out, "expr", e->u.aggregate.body);
    tsdb_buf_put_str(out, ",\"grouping\":");
    put_names(out, e->u.aggregate.grouping);
    tsdb_buf_printf(out, ",\"op\":\"%s\",", token_type_text(e->u.aggregate.op));
    put_optional(out, "param", e->u.aggregate.param);
    tsdb_buf_put_str(out, ",\"type\":\"aggregation\",");
    put_bool(out, "without", e->u.aggregate.without);
}

static void put_call(struct tsdb_buf *out, const struct query_expr *e)
{
    const struct query_function *f = e->u.call.function;
    tsdb_buf_put_str(out, "\"args\":[");
    for (uint32_t i = 0; i < e->u.call.arg_count; i++) {
        tsdb_buf_put_str(out, i > 0 ? "," : "");
        put_expr(out, e->u.call.args[i]);
    }
    tsdb_buf_put_str(out, "],\"func\":{\"argTypes\":[");
    for (uint32_t i = 0; i < f->arg_count; i++) {
        tsdb_buf_printf(out, "%s\"%s\"", i > 0 ? "," : "", query_type_name(f->args[i]));
    }
    tsdb_buf_printf(out,
                    "],\"name\":\"%s\",\"returnType\":\"%s\",\"variadic\":%d},\"type\":\"call\"",
                    f->name, query_type_name(f->returns), f->variadic);
}

static void put_expr(struct tsdb_buf *out, const struct query_expr *e)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    tsdb_buf_put_u8(out, '{');
    switch (e->kind) {
    case EXPR_NUMBER:
        tsdb_buf_printf(out, "\"type\":\"numberLiteral\",\"val\":\"%.*s\"",
                        (int)tsdb_format_float_fixed(text, e->u.number.value), text);
        break;
    case EXPR_STRING:
        tsdb_buf_put_str(out, "\"type\":\"stringLiteral\",\"val\":");
        put_str(out, e->u.string);
        break;
    case EXPR_VECTOR:
        put_selector(out, e, NULL);
        break;
    case EXPR_MATRIX:
        put_selector(out, e->u.matrix.selector, e);
        break;
    case EXPR_SUBQUERY:
        put_subquery(out, e);
        break;
    case EXPR_PAREN:
        put_optional(out, "expr", e->u.paren);
        tsdb_buf_put_str(out, ",\"type\":\"parenExpr\"");
        break;
    case EXPR_UNARY:
        put_optional(out, "expr", e->u.unary.body);
        tsdb_buf_printf(out, ",\"op\":\"%s\",\"type\":\"unaryExpr\"",
                        token_type_text(e->u.unary.op));
        break;
    case EXPR_BINARY:
        put_binary(out, e);
        break;
    case EXPR_AGGREGATE:
        put_aggregate(out, e);
        break;
    case EXPR_CALL:
        put_call(out, e);
        break;
    case EXPR_DURATION: /* only below the nodes that have durations */
        break;
    }
    tsdb_buf_put_u8(out, '}');
}

void query_expr_json(const struct query_expr *e, struct tsdb_buf *out)
{
    put_expr(out, e);
}
