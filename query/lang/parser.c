/* Recursive descent with operator precedence. The grammar is Prometheus's LALR one; so that the
 * same input gives the same first error, a token is looked at only where a decision needs it, and
 * the "context" follows the error rules of that grammar. */
#include "query/lang/parser_private.h"

#include "base/assert.h"
#include "base/limits.h"

enum {
    PREC_OR = 1,
    PREC_AND,
    PREC_COMPARE,
    PREC_ADD,
    PREC_MUL,
    PREC_POW
};

static struct query_expr *expr(struct parser *p, int precedence_min);

/* ---- lists ---- */

/* Append to an array in the arena that doubles. */
static bool list_put(struct parser *p, void **items, uint32_t *count, size_t bytes_each,
                     const void *item)
{
    uint32_t n = *count;
    if (n == 0 || (n >= 4 && (n & (n - 1)) == 0)) {
        size_t cap = n == 0 ? 4 : (size_t)n * 2;
        void *grown = tsdb_arena_alloc_array(p->arena, cap, bytes_each, 8);
        if (!grown) {
            return parser_fail_nomem(p);
        }
        if (n > 0) {
            memcpy(grown, *items, n * bytes_each);
        }
        *items = grown;
    }
    memcpy((char *)*items + n * bytes_each, item, bytes_each);
    (*count)++;
    return true;
}

/* ---- label lists: by (...), on (...), group_left (...) ---- */

static bool is_label_word(enum token_type t)
{
    return t == TOKEN_IDENTIFIER || t == TOKEN_METRIC_IDENTIFIER || token_is_aggregator(t) ||
           token_is_keyword(t) || token_is_set_operator(t) || t == TOKEN_ATAN2 ||
           (t >= TOKEN_START && t <= TOKEN_MIN_OF);
}

static bool grouping_label(struct parser *p, struct query_str *out)
{
    p->context = (struct parse_context){"grouping opts", "label"};
    enum token_type type = parser_peek(p)->type;
    if (type != TOKEN_STRING && !is_label_word(type)) {
        return parser_unexpected(p);
    }
    struct token t = parser_take(p);
    *out = t.text;
    if (type == TOKEN_STRING && !query_unquote(p->arena, t.text.data, t.text.len, out)) {
        return parser_fail_nomem(p);
    }
    if (out->len == 0 || !tsdb_utf8_valid(out->data, out->len)) {
        return parser_fail_quoted(p, t.pos, "invalid label name for grouping: %s", *out);
    }
    return true;
}

static bool grouping_labels(struct parser *p, struct query_names *out)
{
    struct parse_context outer = p->context;
    p->context = (struct parse_context){"grouping opts", "\"(\""};
    if (!parser_expect(p, TOKEN_LEFT_PAREN)) {
        return false;
    }
    void *items = NULL;
    uint32_t count = 0;
    p->context = (struct parse_context){"grouping opts", "label"};
    while (!parser_accept(p, TOKEN_RIGHT_PAREN)) {
        struct query_str name;
        if (!grouping_label(p, &name) || !list_put(p, &items, &count, sizeof name, &name)) {
            return false;
        }
        p->context = (struct parse_context){"grouping opts", "\",\" or \")\""};
        if (parser_peek(p)->type != TOKEN_RIGHT_PAREN && !parser_expect(p, TOKEN_COMMA)) {
            return false;
        }
    }
    *out = (struct query_names){items, count};
    p->context = outer;
    return true;
}

/* ---- calls and aggregations ---- */

static bool starts_expr(enum token_type t)
{
    return t == TOKEN_NUMBER || t == TOKEN_DURATION || t == TOKEN_STRING || t == TOKEN_LEFT_PAREN ||
           t == TOKEN_LEFT_BRACE || t == TOKEN_ADD || t == TOKEN_SUB ||
           (is_label_word(t) && t != TOKEN_BOOL && t != TOKEN_ON && t != TOKEN_IGNORING &&
            t != TOKEN_GROUP_LEFT && t != TOKEN_GROUP_RIGHT && t != TOKEN_ATAN2);
}

struct args {
    void *items; /* struct query_expr * */
    uint32_t count;
};

static bool call_body(struct parser *p, struct args *out)
{
    *out = (struct args){0};
    if (!parser_expect(p, TOKEN_LEFT_PAREN)) {
        return false;
    }
    if (parser_accept(p, TOKEN_RIGHT_PAREN)) {
        return true;
    }
    for (;;) {
        struct query_expr *arg = expr(p, PREC_OR);
        if (!arg || !list_put(p, &out->items, &out->count, sizeof arg, &arg)) {
            return false;
        }
        if (parser_accept(p, TOKEN_RIGHT_PAREN)) {
            return true;
        }
        uint32_t comma = parser_peek(p)->pos;
        if (!parser_expect(p, TOKEN_COMMA)) {
            return false;
        }
        if (!starts_expr(parser_peek(p)->type)) {
            return parser_fail(p, comma, "trailing commas not allowed in function call args");
        }
    }
}

static struct query_expr *call(struct parser *p, struct token name)
{
    struct args args;
    if (!call_body(p, &args)) {
        return NULL;
    }
    const struct query_function *f = query_function_find(name.text.data, name.text.len);
    if (!f) {
        parser_fail_quoted(p, name.pos, "unknown function with name %s", name.text);
        return NULL;
    }
    if (f->experimental && !p->options->experimental_functions) {
        parser_fail_quoted(p, name.pos, "function %s is not enabled", name.text);
        return NULL;
    }
    struct query_expr *e = parser_new(p, EXPR_CALL, f->returns, name.pos, p->last_end);
    if (!e) {
        return NULL;
    }
    e->u.call.function = f;
    e->u.call.args = args.items;
    e->u.call.arg_count = args.count;
    for (uint32_t i = 0; i < args.count; i++) {
        if (!parser_adopt(p, e, e->u.call.args[i])) {
            return NULL;
        }
    }
    return e;
}

static bool aggregate_modifier(struct parser *p, struct query_expr *e)
{
    e->u.aggregate.without = parser_peek(p)->type == TOKEN_WITHOUT;
    parser_take(p);
    return grouping_labels(p, &e->u.aggregate.grouping);
}

static bool is_modifier(enum token_type t)
{
    return t == TOKEN_BY || t == TOKEN_WITHOUT;
}

static bool aggregate_args(struct parser *p, struct query_expr *e, const struct args *args)
{
    enum token_type op = e->u.aggregate.op;
    bool with_param = op == TOKEN_TOPK || op == TOKEN_BOTTOMK || op == TOKEN_COUNT_VALUES ||
                      op == TOKEN_QUANTILE || op == TOKEN_LIMITK || op == TOKEN_LIMIT_RATIO;
    if (args->count == 0) {
        return parser_fail(p, e->start, "no arguments for aggregate expression provided");
    }
    if ((op == TOKEN_LIMITK || op == TOKEN_LIMIT_RATIO) && !p->options->experimental_functions) {
        return parser_fail(p, e->start,
                           "%s() is experimental and must be enabled with "
                           "--enable-feature=promql-experimental-functions",
                           token_type_text(op));
    }
    uint32_t wanted = with_param ? 2 : 1;
    if (args->count != wanted) {
        return parser_fail(
            p, e->start,
            "wrong number of arguments for aggregate expression provided, expected %u, got %u",
            wanted, args->count);
    }
    struct query_expr *const *items = args->items;
    e->u.aggregate.body = items[wanted - 1];
    e->u.aggregate.param = with_param ? items[0] : NULL;
    return parser_adopt(p, e, e->u.aggregate.body) && (!with_param || parser_adopt(p, e, items[0]));
}

/* `op` was taken, and a parenthesis, "by" or "without" follows. */
static struct query_expr *aggregate(struct parser *p, struct token op)
{
    struct parse_context outer = p->context;
    p->context = (struct parse_context){"aggregation", ""};
    struct query_expr *e = parser_new(p, EXPR_AGGREGATE, QUERY_TYPE_VECTOR, op.pos, op.pos);
    struct args args;
    if (!e) {
        return NULL;
    }
    e->u.aggregate.op = op.type;
    bool modified = is_modifier(parser_peek(p)->type);
    if ((modified && !aggregate_modifier(p, e)) || !call_body(p, &args)) {
        return NULL;
    }
    if (!modified && is_modifier(parser_peek(p)->type) && !aggregate_modifier(p, e)) {
        return NULL;
    }
    e->end = p->last_end;
    p->context = outer;
    return p->status == TSDB_OK && aggregate_args(p, e, &args) ? e : NULL;
}

/* ---- operands ---- */

static struct query_expr *paren(struct parser *p)
{
    uint32_t start = parser_take(p).pos;
    struct query_expr *inner = expr(p, PREC_OR);
    if (!inner || !parser_expect(p, TOKEN_RIGHT_PAREN)) {
        return NULL;
    }
    struct query_expr *e = parser_new(p, EXPR_PAREN, inner->type, start, p->last_end);
    if (!e) {
        return NULL;
    }
    e->u.paren = inner;
    return parser_adopt(p, e, inner) ? e : NULL;
}

static struct query_expr *word(struct parser *p)
{
    struct token t = parser_take(p);
    enum token_type follow = parser_peek(p)->type;
    if (token_is_aggregator(t.type) && (follow == TOKEN_LEFT_PAREN || is_modifier(follow))) {
        return aggregate(p, t);
    }
    bool callable = t.type == TOKEN_IDENTIFIER || (t.type >= TOKEN_START && t.type <= TOKEN_MIN_OF);
    if (callable && follow == TOKEN_LEFT_PAREN) {
        return call(p, t);
    }
    return p->status == TSDB_OK ? parser_vector_selector(p, t) : NULL;
}

static struct query_expr *operand(struct parser *p)
{
    enum token_type type = parser_peek(p)->type;
    if (type == TOKEN_NUMBER || type == TOKEN_DURATION) {
        return parser_number(p);
    }
    if (type == TOKEN_STRING) {
        return parser_string(p);
    }
    if (type == TOKEN_LEFT_PAREN) {
        return paren(p);
    }
    if (type == TOKEN_LEFT_BRACE) {
        return parser_vector_selector(p, (struct token){.type = TOKEN_EOF});
    }
    if (!starts_expr(type)) {
        parser_unexpected(p);
        return NULL;
    }
    return word(p);
}

/* anchored, smoothed */
static struct query_expr *extend(struct parser *p, struct query_expr *e, bool anchored)
{
    const char *name = anchored ? "anchored" : "smoothed";
    if (!p->options->extended_range_selectors) {
        parser_fail(p, e->start, "%s modifier is experimental and not enabled", name);
        return NULL;
    }
    struct query_expr *v = e->kind == EXPR_MATRIX ? e->u.matrix.selector : e;
    if (v->kind != EXPR_VECTOR) {
        parser_fail(p, e->start,
                    e->kind == EXPR_SUBQUERY ? "%s modifier is not supported for subqueries"
                                             : "%s modifier not implemented",
                    name);
        return NULL;
    }
    v->u.vector.anchored |= anchored;
    v->u.vector.smoothed |= !anchored;
    if (v->u.vector.anchored && v->u.vector.smoothed) {
        parser_fail(p, e->start, "anchored and smoothed modifiers cannot be used together");
        return NULL;
    }
    return e;
}

static struct query_expr *postfix(struct parser *p)
{
    struct query_expr *e = operand(p);
    while (e) {
        enum token_type type = parser_peek(p)->type;
        if (p->status != TSDB_OK) {
            return NULL;
        }
        switch ((int)type) {
        case TOKEN_LEFT_BRACKET:
            e = parser_range(p, e);
            break;
        case TOKEN_OFFSET:
            e = parser_offset(p, e);
            break;
        case TOKEN_AT:
            e = parser_at(p, e);
            break;
        case TOKEN_ANCHORED:
        case TOKEN_SMOOTHED:
            parser_take(p);
            e = extend(p, e, type == TOKEN_ANCHORED);
            break;
        default:
            return e;
        }
    }
    return NULL;
}

static struct query_expr *unary(struct parser *p)
{
    enum token_type type = parser_peek(p)->type;
    if (type != TOKEN_ADD && type != TOKEN_SUB) {
        return postfix(p);
    }
    uint32_t start = parser_take(p).pos;
    struct query_expr *body = expr(p, PREC_POW); /* binds like *, so only ^ is stronger */
    if (!body) {
        return NULL;
    }
    if (body->kind == EXPR_NUMBER) {
        body->u.number.value *= type == TOKEN_SUB ? -1 : 1;
        body->start = start;
        return body;
    }
    struct query_expr *e = parser_new(p, EXPR_UNARY, body->type, start, body->end);
    if (!e) {
        return NULL;
    }
    e->u.unary.op = type;
    e->u.unary.body = body;
    return parser_adopt(p, e, body) ? e : NULL;
}

/* ---- binary operators ---- */

static int precedence(enum token_type t)
{
    switch ((int)t) {
    case TOKEN_LOR:
        return PREC_OR;
    case TOKEN_LAND:
    case TOKEN_LUNLESS:
        return PREC_AND;
    case TOKEN_TRIM_UPPER:
    case TOKEN_TRIM_LOWER:
        return PREC_COMPARE;
    case TOKEN_ADD:
    case TOKEN_SUB:
        return PREC_ADD;
    case TOKEN_MUL:
    case TOKEN_DIV:
    case TOKEN_MOD:
    case TOKEN_ATAN2:
        return PREC_MUL;
    case TOKEN_POW:
        return PREC_POW;
    default:
        return token_is_comparison(t) ? PREC_COMPARE : 0;
    }
}

/* (number), with a sign or without */
static bool fill_value(struct parser *p, double *out)
{
    if (!parser_expect(p, TOKEN_LEFT_PAREN)) {
        return false;
    }
    bool negative = parser_peek(p)->type == TOKEN_SUB;
    if (negative || parser_peek(p)->type == TOKEN_ADD) {
        parser_take(p);
    }
    enum token_type type = parser_peek(p)->type;
    if (type != TOKEN_NUMBER && type != TOKEN_DURATION) {
        return parser_unexpected(p);
    }
    struct query_expr *n = parser_number(p);
    if (!n) {
        return false;
    }
    *out = negative ? -n->u.number.value : n->u.number.value;
    return parser_expect(p, TOKEN_RIGHT_PAREN);
}

static bool fill_modifiers(struct parser *p, struct query_matching *m)
{
    if (parser_accept(p, TOKEN_FILL)) {
        m->fill_left = m->fill_right = true;
        if (!fill_value(p, &m->fill_left_value)) {
            return false;
        }
        m->fill_right_value = m->fill_left_value;
        return true;
    }
    for (int i = 0; i < 2; i++) {
        enum token_type type = parser_peek(p)->type;
        if (type == TOKEN_FILL_LEFT && !m->fill_left) {
            parser_take(p);
            m->fill_left = true;
            if (!fill_value(p, &m->fill_left_value)) {
                return false;
            }
        } else if (type == TOKEN_FILL_RIGHT && !m->fill_right) {
            parser_take(p);
            m->fill_right = true;
            if (!fill_value(p, &m->fill_right_value)) {
                return false;
            }
        }
    }
    return p->status == TSDB_OK;
}

/* bool, on, ignoring, group_left, group_right, fill */
static bool binary_modifiers(struct parser *p, struct query_expr *e)
{
    struct query_matching *m = &e->u.binary.matching;
    e->u.binary.returns_bool = parser_accept(p, TOKEN_BOOL);
    enum token_type type = parser_peek(p)->type;
    if (type == TOKEN_ON || type == TOKEN_IGNORING) {
        parser_take(p);
        m->on = type == TOKEN_ON;
        if (!grouping_labels(p, &m->labels)) {
            return false;
        }
        type = parser_peek(p)->type;
        if (type == TOKEN_GROUP_LEFT || type == TOKEN_GROUP_RIGHT) {
            parser_take(p);
            m->card = type == TOKEN_GROUP_LEFT ? CARD_MANY_TO_ONE : CARD_ONE_TO_MANY;
            if (parser_peek(p)->type == TOKEN_LEFT_PAREN && !grouping_labels(p, &m->include)) {
                return false;
            }
        }
    }
    return fill_modifiers(p, m);
}

static struct query_expr *binary(struct parser *p, struct query_expr *left)
{
    struct token op = parser_take(p);
    struct query_expr *e = parser_new(p, EXPR_BINARY, QUERY_TYPE_VECTOR, left->start, left->end);
    if (!e || !binary_modifiers(p, e)) {
        return NULL;
    }
    int prec = precedence(op.type);
    struct query_expr *right = expr(p, op.type == TOKEN_POW ? prec : prec + 1);
    if (!right) {
        return NULL;
    }
    e->u.binary.op = op.type;
    e->u.binary.left = left;
    e->u.binary.right = right;
    e->end = right->end;
    if (left->type == QUERY_TYPE_SCALAR && right->type == QUERY_TYPE_SCALAR) {
        e->type = QUERY_TYPE_SCALAR;
    }
    const struct query_matching *m = &e->u.binary.matching;
    if ((m->fill_left || m->fill_right) && !p->options->fill_modifiers) {
        parser_fail(p, e->start, "binop fill modifiers are experimental and not enabled");
        return NULL;
    }
    return parser_adopt(p, e, left) && parser_adopt(p, e, right) ? e : NULL;
}

static struct query_expr *expr(struct parser *p, int precedence_min)
{
    if (!parser_enter(p)) {
        return NULL;
    }
    struct query_expr *e = unary(p);
    while (e && p->status == TSDB_OK) {
        int prec = precedence(parser_peek(p)->type);
        if (prec == 0 || prec < precedence_min) {
            break;
        }
        e = binary(p, e);
    }
    p->depth--;
    return p->status == TSDB_OK ? e : NULL;
}

/* ---- entry ---- */

static enum tsdb_status parser_start(struct parser *p, const char *text, size_t len,
                                     const struct query_options *options, struct tsdb_arena *arena,
                                     struct tsdb_error *err)
{
    if (len > TSDB_QUERY_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "query is %zu bytes long, at most %u are allowed",
                              len, (unsigned)TSDB_QUERY_BYTES_MAX);
    }
    *p = (struct parser){.options = options, .arena = arena, .err = err, .context = {"", ""}};
    struct query_text *t = TSDB_ARENA_NEW(arena, struct query_text);
    char *copy = tsdb_arena_strndup(arena, text, len);
    if (!t || !copy) {
        return tsdb_error_set(err, tsdb_arena_status(arena),
                              "out of memory while parsing the query");
    }
    *t = (struct query_text){copy, (uint32_t)len};
    p->text = t;
    lexer_init(&p->lexer, copy, (uint32_t)len);
    return TSDB_OK;
}

enum tsdb_status query_parse(const char *text, size_t len, const struct query_options *options,
                             struct tsdb_arena *arena, struct query_expr **out,
                             struct tsdb_error *err)
{
    struct parser p;
    enum tsdb_status status = parser_start(&p, text, len, options, arena, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (parser_peek(&p)->type == TOKEN_EOF) {
        parser_fail(&p, 0, "no expression found in input");
        return p.status;
    }
    struct query_expr *e = expr(&p, PREC_OR);
    if (e && parser_peek(&p)->type != TOKEN_EOF) {
        parser_unexpected(&p);
    }
    if (p.status == TSDB_OK && parser_check(&p, e)) {
        *out = e;
    }
    return p.status;
}

enum tsdb_status query_parse_selector(const char *text, size_t len, struct tsdb_arena *arena,
                                      struct tsdb_selector *out, bool *out_has_non_empty,
                                      struct tsdb_error *err)
{
    static const struct query_options none;
    struct parser p;
    enum tsdb_status status = parser_start(&p, text, len, &none, arena, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct token name = {.type = TOKEN_EOF};
    enum token_type type = parser_peek(&p)->type;
    if (type != TOKEN_LEFT_BRACE) {
        if (!starts_expr(type) || !is_label_word(type)) {
            parser_unexpected(&p);
            return p.status;
        }
        name = parser_take(&p);
    }
    struct query_expr *e = parser_vector_selector(&p, name);
    if (e && parser_peek(&p)->type != TOKEN_EOF) {
        parser_unexpected(&p);
    }
    if (p.status != TSDB_OK) {
        return p.status;
    }
    TSDB_ASSERT(e);
    *out = (struct tsdb_selector){e->u.vector.matchers, e->u.vector.matcher_count};
    *out_has_non_empty = false;
    for (uint32_t i = 0; i < out->count; i++) {
        bool refuses;
        if (parser_matcher_refuses_empty(&out->matchers[i], &refuses) != TSDB_OK) {
            parser_fail_nomem(&p);
            return p.status;
        }
        *out_has_non_empty |= refuses;
    }
    return TSDB_OK;
}
