/* Expressions back to text: on one line as Prometheus's String(), and broken at 100 characters as
 * its format_query. */
#include "base/format.h"
#include "query/lang/ast.h"
#include "query/lang/functions.h"

#include <math.h>
#include <stdlib.h>

#define LINE_MAX_BYTES 100

static void put_float(struct tsdb_buf *out, double v)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    tsdb_buf_put(out, text, tsdb_format_float_fixed(text, v));
}

static void put_duration(struct tsdb_buf *out, int64_t ms)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    if (ms < 0) {
        tsdb_buf_put_u8(out, '-');
        ms = -ms;
    }
    tsdb_buf_put(out, text, tsdb_format_duration_ms(text, ms));
}

static void put_names(struct tsdb_buf *out, struct query_names names)
{
    tsdb_buf_put_str(out, "(");
    for (uint32_t i = 0; i < names.count; i++) {
        tsdb_buf_put_str(out, i > 0 ? ", " : "");
        if (query_name_is_plain(names.items[i].data, names.items[i].len)) {
            tsdb_buf_put(out, names.items[i].data, names.items[i].len);
        } else {
            query_quote(out, names.items[i].data, names.items[i].len, 0);
        }
    }
    tsdb_buf_put_str(out, ")");
}

static void put_shift_at(struct tsdb_buf *out, const struct query_shift *s)
{
    if (s->at == QUERY_AT_TIME) {
        tsdb_buf_printf(out, " @ %.3f", (double)s->at_ms / 1000.0);
    } else if (s->at != QUERY_AT_NONE) {
        tsdb_buf_put_str(out, s->at == QUERY_AT_START ? " @ start()" : " @ end()");
    }
}

/* Behind "offset" an operator belongs to the duration only if it begins with a parenthesis. */
static bool needs_paren(const struct query_expr *d)
{
    if (d->kind != EXPR_DURATION || d->u.duration.wrapped || !d->u.duration.left ||
        d->u.duration.op == TOKEN_MIN_OF || d->u.duration.op == TOKEN_MAX_OF) {
        return false;
    }
    while (d->kind == EXPR_DURATION && !d->u.duration.wrapped && d->u.duration.left &&
           d->u.duration.op != TOKEN_MIN_OF && d->u.duration.op != TOKEN_MAX_OF) {
        d = d->u.duration.left;
    }
    return d->kind != EXPR_DURATION || !d->u.duration.wrapped;
}

static void put_shift_offset(struct tsdb_buf *out, const struct query_shift *s)
{
    if (s->offset_expr) {
        bool paren = needs_paren(s->offset_expr);
        tsdb_buf_put_str(out, paren ? " offset (" : " offset ");
        query_expr_print(s->offset_expr, out);
        tsdb_buf_put_str(out, paren ? ")" : "");
    } else if (s->offset_ms != 0) {
        tsdb_buf_put_str(out, " offset ");
        put_duration(out, s->offset_ms);
    }
}

static const char *extension(const struct query_expr *v)
{
    return v->u.vector.anchored ? " anchored" : v->u.vector.smoothed ? " smoothed" : "";
}

/* ---- vector selectors ---- */

static bool is_plain_name_matcher(const struct query_expr *v, const struct tsdb_matcher *m)
{
    struct query_str name = v->u.vector.name;
    return m->op == TSDB_MATCH_EQ && m->name_len == sizeof TSDB_METRIC_NAME - 1 &&
           memcmp(m->name, TSDB_METRIC_NAME, m->name_len) == 0 && m->value_len > 0 &&
           m->value_len == name.len && memcmp(m->value, name.data, name.len) == 0;
}

static void put_matcher(struct tsdb_buf *out, const struct tsdb_matcher *m)
{
    if (query_name_is_plain(m->name, m->name_len)) {
        tsdb_buf_put(out, m->name, m->name_len);
    } else {
        query_quote(out, m->name, m->name_len, 0);
    }
    tsdb_buf_put_str(out, tsdb_match_op_text(m->op));
    query_quote(out, m->value, m->value_len, 0);
}

/* Printed matchers lie one behind the other in text; spans sort by what they say. */
struct span {
    const char *text;
    size_t begin, len;
};

static int span_compare(const void *a, const void *b)
{
    const struct span *x = a;
    const struct span *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int c = memcmp(x->text + x->begin, y->text + y->begin, n);
    return c != 0 ? c : (x->len > y->len) - (x->len < y->len);
}

static void put_matchers(struct tsdb_buf *out, const struct query_expr *v)
{
    uint32_t max = v->u.vector.matcher_count;
    struct tsdb_buf text;
    tsdb_buf_init(&text, TSDB_MEM_QUERY, 0);
    struct span *spans = tsdb_mem_alloc(TSDB_MEM_QUERY, (max + 1) * sizeof *spans);
    uint32_t count = 0;
    out->failed |= !spans;
    for (uint32_t i = 0; i < max && spans; i++) {
        if (!is_plain_name_matcher(v, &v->u.vector.matchers[i])) {
            size_t begin = text.len;
            put_matcher(&text, &v->u.vector.matchers[i]);
            spans[count++] = (struct span){NULL, begin, text.len - begin};
        }
    }
    out->failed |= text.failed;
    if (count > 0 && !out->failed) {
        for (uint32_t i = 0; i < count; i++) {
            spans[i].text = (const char *)text.data;
        }
        qsort(spans, count, sizeof *spans, span_compare);
        for (uint32_t i = 0; i < count; i++) {
            tsdb_buf_put_u8(out, i == 0 ? '{' : ',');
            tsdb_buf_put(out, spans[i].text + spans[i].begin, spans[i].len);
        }
        tsdb_buf_put_u8(out, '}');
    }
    tsdb_mem_free(TSDB_MEM_QUERY, spans, (max + 1) * sizeof *spans);
    tsdb_buf_deinit(&text);
}

static void put_vector(struct tsdb_buf *out, const struct query_expr *e)
{
    tsdb_buf_put(out, e->u.vector.name.data, e->u.vector.name.len);
    put_matchers(out, e);
    put_shift_at(out, &e->u.vector.shift);
    tsdb_buf_put_str(out, extension(e));
    put_shift_offset(out, &e->u.vector.shift);
}

/* ---- ranges ---- */

static void put_range(struct tsdb_buf *out, int64_t ms, const struct query_expr *e)
{
    if (e) {
        query_expr_print(e, out);
    } else {
        put_duration(out, ms);
    }
}

static void put_matrix(struct tsdb_buf *out, const struct query_expr *e)
{
    const struct query_expr *v = e->u.matrix.selector;
    tsdb_buf_put(out, v->u.vector.name.data, v->u.vector.name.len);
    put_matchers(out, v);
    tsdb_buf_put_u8(out, '[');
    put_range(out, e->u.matrix.range_ms, e->u.matrix.range_expr);
    tsdb_buf_put_u8(out, ']');
    tsdb_buf_put_str(out, extension(v));
    put_shift_at(out, &v->u.vector.shift);
    put_shift_offset(out, &v->u.vector.shift);
}

static void put_subquery_suffix(struct tsdb_buf *out, const struct query_expr *e)
{
    tsdb_buf_put_u8(out, '[');
    put_range(out, e->u.subquery.range_ms, e->u.subquery.range_expr);
    tsdb_buf_put_u8(out, ':');
    if (e->u.subquery.step_ms != 0 || e->u.subquery.step_expr) {
        put_range(out, e->u.subquery.step_ms, e->u.subquery.step_expr);
    }
    tsdb_buf_put_u8(out, ']');
    put_shift_at(out, &e->u.subquery.shift);
    put_shift_offset(out, &e->u.subquery.shift);
}

/* ---- the others ---- */

static void put_number(struct tsdb_buf *out, const struct query_expr *e)
{
    if (e->u.number.is_duration) {
        /* Rounded, where Prometheus cuts: 9m60ms is 540.06, a little less in binary. */
        put_duration(out, (int64_t)round(e->u.number.value * 1000));
    } else {
        put_float(out, e->u.number.value);
    }
}

static void put_duration_expr(struct tsdb_buf *out, const struct query_expr *e)
{
    enum token_type op = e->u.duration.op;
    const struct query_expr *l = e->u.duration.left;
    const struct query_expr *r = e->u.duration.right;
    tsdb_buf_put_str(out, e->u.duration.wrapped ? "(" : "");
    if (op == TOKEN_STEP || op == TOKEN_RANGE) {
        tsdb_buf_printf(out, "%s()", token_type_text(op));
    } else if (op == TOKEN_MIN_OF || op == TOKEN_MAX_OF) {
        tsdb_buf_printf(out, "%s(", token_type_text(op));
        query_expr_print(l, out);
        tsdb_buf_put_str(out, ", ");
        query_expr_print(r, out);
        tsdb_buf_put_u8(out, ')');
    } else if (!l) {
        tsdb_buf_put_str(out, op == TOKEN_SUB ? "-" : "");
        query_expr_print(r, out);
    } else {
        query_expr_print(l, out);
        tsdb_buf_printf(out, " %s ", token_type_text(op));
        query_expr_print(r, out);
    }
    tsdb_buf_put_str(out, e->u.duration.wrapped ? ")" : "");
}

static void put_matching(struct tsdb_buf *out, const struct query_expr *e)
{
    const struct query_matching *m = &e->u.binary.matching;
    bool grouped = m->card == CARD_MANY_TO_ONE || m->card == CARD_ONE_TO_MANY;
    tsdb_buf_put_str(out, e->u.binary.returns_bool ? " bool" : "");
    if (!e->u.binary.has_matching) {
        return;
    }
    if (m->labels.count > 0 || m->on || grouped) {
        tsdb_buf_put_str(out, m->on ? " on " : " ignoring ");
        put_names(out, m->labels);
    }
    if (grouped) {
        tsdb_buf_put_str(out, m->card == CARD_MANY_TO_ONE ? " group_left " : " group_right ");
        put_names(out, m->include);
    }
    char text[TSDB_FORMAT_FLOAT_MAX];
    if (m->fill_left && m->fill_right && m->fill_left_value == m->fill_right_value) {
        tsdb_buf_printf(out, " fill (%.*s)", (int)tsdb_format_float_go_g(text, m->fill_left_value),
                        text);
        return;
    }
    if (m->fill_left) {
        tsdb_buf_printf(out, " fill_left (%.*s)",
                        (int)tsdb_format_float_go_g(text, m->fill_left_value), text);
    }
    if (m->fill_right) {
        tsdb_buf_printf(out, " fill_right (%.*s)",
                        (int)tsdb_format_float_go_g(text, m->fill_right_value), text);
    }
}

static void put_binary(struct tsdb_buf *out, const struct query_expr *e)
{
    const struct query_expr *l = e->u.binary.left;
    if (e->u.binary.op == TOKEN_POW && l->kind == EXPR_NUMBER && isinf(l->u.number.value)) {
        tsdb_buf_put_str(out, "Inf"); /* "+Inf ^ x" would be read as +(Inf ^ x) */
    } else {
        query_expr_print(l, out);
    }
    tsdb_buf_printf(out, " %s", token_type_text(e->u.binary.op));
    put_matching(out, e);
    tsdb_buf_put_u8(out, ' ');
    query_expr_print(e->u.binary.right, out);
}

static void put_aggregate_head(struct tsdb_buf *out, const struct query_expr *e)
{
    tsdb_buf_put_str(out, token_type_text(e->u.aggregate.op));
    if (e->u.aggregate.without || e->u.aggregate.grouping.count > 0) {
        tsdb_buf_put_str(out, e->u.aggregate.without ? " without " : " by ");
        put_names(out, e->u.aggregate.grouping);
        tsdb_buf_put_u8(out, ' ');
    }
}

static void put_aggregate(struct tsdb_buf *out, const struct query_expr *e)
{
    put_aggregate_head(out, e);
    tsdb_buf_put_u8(out, '(');
    if (e->u.aggregate.param) {
        query_expr_print(e->u.aggregate.param, out);
        tsdb_buf_put_str(out, ", ");
    }
    query_expr_print(e->u.aggregate.body, out);
    tsdb_buf_put_u8(out, ')');
}

void query_expr_print(const struct query_expr *e, struct tsdb_buf *out)
{
    switch (e->kind) {
    case EXPR_NUMBER:
        put_number(out, e);
        break;
    case EXPR_STRING:
        query_quote(out, e->u.string.data, e->u.string.len, 0);
        break;
    case EXPR_VECTOR:
        put_vector(out, e);
        break;
    case EXPR_MATRIX:
        put_matrix(out, e);
        break;
    case EXPR_SUBQUERY:
        query_expr_print(e->u.subquery.body, out);
        put_subquery_suffix(out, e);
        break;
    case EXPR_PAREN:
        tsdb_buf_put_u8(out, '(');
        query_expr_print(e->u.paren, out);
        tsdb_buf_put_u8(out, ')');
        break;
    case EXPR_UNARY:
        tsdb_buf_put_str(out, token_type_text(e->u.unary.op));
        query_expr_print(e->u.unary.body, out);
        break;
    case EXPR_BINARY:
        put_binary(out, e);
        break;
    case EXPR_AGGREGATE:
        put_aggregate(out, e);
        break;
    case EXPR_CALL:
        tsdb_buf_printf(out, "%s(", e->u.call.function->name);
        for (uint32_t i = 0; i < e->u.call.arg_count; i++) {
            tsdb_buf_put_str(out, i > 0 ? ", " : "");
            query_expr_print(e->u.call.args[i], out);
        }
        tsdb_buf_put_u8(out, ')');
        break;
    case EXPR_DURATION:
        put_duration_expr(out, e);
        break;
    }
}

/* ---- pretty ---- */

static bool needs_split(const struct query_expr *e)
{
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    query_expr_print(e, &b);
    bool split = b.len > LINE_MAX_BYTES;
    tsdb_buf_deinit(&b);
    return split;
}

static void indent(struct tsdb_buf *out, int level)
{
    for (int i = 0; i < level; i++) {
        tsdb_buf_put_str(out, "  ");
    }
}

static void pretty(struct tsdb_buf *out, const struct query_expr *e, int level);

static void pretty_aggregate(struct tsdb_buf *out, const struct query_expr *e, int level)
{
    put_aggregate_head(out, e);
    tsdb_buf_put_str(out, "(\n");
    if (e->u.aggregate.param) {
        pretty(out, e->u.aggregate.param, level + 1);
        tsdb_buf_put_str(out, ",\n");
    }
    pretty(out, e->u.aggregate.body, level + 1);
    tsdb_buf_put_u8(out, '\n');
    indent(out, level);
    tsdb_buf_put_u8(out, ')');
}

static void pretty_call(struct tsdb_buf *out, const struct query_expr *e, int level)
{
    tsdb_buf_printf(out, "%s(\n", e->u.call.function->name);
    for (uint32_t i = 0; i < e->u.call.arg_count; i++) {
        tsdb_buf_put_str(out, i > 0 ? ",\n" : "");
        pretty(out, e->u.call.args[i], level + 1);
    }
    tsdb_buf_put_u8(out, '\n');
    indent(out, level);
    tsdb_buf_put_u8(out, ')');
}

/* The child's own indentation is replaced by that of the operator in front of it. */
static void pretty_unary(struct tsdb_buf *out, const struct query_expr *e, int level)
{
    indent(out, level);
    tsdb_buf_put_str(out, token_type_text(e->u.unary.op));
    size_t begin = out->len;
    pretty(out, e->u.unary.body, level);
    size_t spaces = 0;
    while (!out->failed && begin + spaces < out->len && out->data[begin + spaces] == ' ') {
        spaces++;
    }
    if (spaces > 0) {
        memmove(out->data + begin, out->data + begin + spaces, out->len - begin - spaces);
        out->len -= spaces;
    }
}

static void pretty_split(struct tsdb_buf *out, const struct query_expr *e, int level)
{
    switch ((int)e->kind) {
    case EXPR_AGGREGATE:
        indent(out, level);
        pretty_aggregate(out, e, level);
        break;
    case EXPR_CALL:
        indent(out, level);
        pretty_call(out, e, level);
        break;
    case EXPR_PAREN:
        indent(out, level);
        tsdb_buf_put_str(out, "(\n");
        pretty(out, e->u.paren, level + 1);
        tsdb_buf_put_u8(out, '\n');
        indent(out, level);
        tsdb_buf_put_u8(out, ')');
        break;
    case EXPR_BINARY:
        pretty(out, e->u.binary.left, level + 1);
        tsdb_buf_put_u8(out, '\n');
        indent(out, level);
        tsdb_buf_put_str(out, token_type_text(e->u.binary.op));
        put_matching(out, e);
        tsdb_buf_put_u8(out, '\n');
        pretty(out, e->u.binary.right, level + 1);
        break;
    case EXPR_SUBQUERY:
        pretty(out, e->u.subquery.body, level);
        put_subquery_suffix(out, e);
        break;
    default:
        indent(out, level);
        query_expr_print(e, out);
        break;
    }
}

static void pretty(struct tsdb_buf *out, const struct query_expr *e, int level)
{
    if (e->kind == EXPR_UNARY) {
        pretty_unary(out, e, level);
    } else if (needs_split(e)) {
        pretty_split(out, e, level);
    } else {
        /* Prometheus does not indent a short subquery. */
        indent(out, e->kind == EXPR_SUBQUERY ? 0 : level);
        query_expr_print(e, out);
    }
}

void query_expr_pretty(const struct query_expr *e, struct tsdb_buf *out)
{
    pretty(out, e, 0);
}
