/* Literals, selectors and what may follow a selector: ranges, subqueries, offset, @, duration
 * expressions. */
#include "query/lang/parser_private.h"

#include "base/limits.h"

#include "base/format.h"
#include "index/match/regex.h"

#include <math.h>
#include <stdio.h>
#include <strings.h>

/* ---- numbers ---- */

/* Go's ParseInt(text, 0, 64) for what the lexer lets through. */
static bool parse_integer(const char *s, size_t len, double *out)
{
    unsigned base = 10;
    size_t i = 0;
    if (len > 1 && s[0] == '0') {
        base = (s[1] | 0x20) == 'x' ? 16 : 8;
        i = base == 16 ? 2 : 1;
    }
    uint64_t v = 0;
    if (i == len) {
        return false;
    }
    for (; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        unsigned d = c <= '9' ? (unsigned)c - '0' : (unsigned)(c | 0x20) - 'a' + 10;
        if (c == '.' || d >= base || v > ((uint64_t)INT64_MAX - d) / base) {
            return false;
        }
        v = v * base + d;
    }
    *out = (double)(int64_t)v;
    return true;
}

static bool number_value(struct parser *p, struct token t, double *out)
{
    char *text = tsdb_arena_alloc(p->arena, (size_t)t.text.len + 1, 1);
    size_t n = 0;
    bool valid = true;
    bool decimal = true;
    if (!text) {
        return parser_fail_nomem(p);
    }
    for (uint32_t i = 0; i < t.text.len && valid; i++) {
        if (t.text.data[i] == '_') {
            valid = i + 1 < t.text.len;
            continue;
        }
        text[n++] = t.text.data[i];
    }
    text[valid ? n : 0] = '\0';
    if (valid && parse_integer(text, n, out)) {
        return true;
    }
    decimal = n < 2 || (text[1] | 0x20) != 'x';
    if (valid && decimal && tsdb_parse_float(text, n, out) &&
        (!isinf(*out) || (text[0] | 0x20) == 'i')) {
        return true;
    }
    bool digits_end = n > 0 && text[n - 1] >= '0' && text[n - 1] <= '9';
    const char *why = valid && decimal && digits_end ? "value out of range" : "invalid syntax";
    char format[96];
    snprintf(format, sizeof format, "error parsing number: strconv.ParseFloat: parsing %%s: %s",
             why);
    return parser_fail_quoted(p, t.pos, format, t.text);
}

static bool duration_value(struct parser *p, struct token t, double *out)
{
    int64_t ns = 0;
    int64_t whole_s;
    struct query_str unit = {0};
    switch (query_duration_parse(t.text.data, t.text.len, &ns, &unit)) {
    case QUERY_DURATION_OK:
        whole_s = ns / 1000000000;
        *out = (double)whole_s + (double)(ns % 1000000000) / 1e9;
        return true;
    case QUERY_DURATION_INVALID:
        return parser_fail_quoted(p, t.pos, "not a valid duration string: %s", t.text);
    case QUERY_DURATION_RANGE:
        return parser_fail(p, t.pos, "duration out of range");
    case QUERY_DURATION_UNIT:
        break;
    }
    return parser_fail(p, t.pos, "unknown unit \"%.*s\" in duration \"%.*s\"", (int)unit.len,
                       unit.data, (int)t.text.len, t.text.data);
}

static bool is_number(enum token_type t)
{
    return t == TOKEN_NUMBER || t == TOKEN_DURATION;
}

struct query_expr *parser_number(struct parser *p)
{
    struct token t = parser_take(p);
    struct query_expr *e = parser_new(p, EXPR_NUMBER, QUERY_TYPE_SCALAR, t.pos, t.pos + t.text.len);
    if (!e) {
        return NULL;
    }
    e->u.number.is_duration = t.type == TOKEN_DURATION;
    bool ok = t.type == TOKEN_DURATION ? duration_value(p, t, &e->u.number.value)
                                       : number_value(p, t, &e->u.number.value);
    return ok ? e : NULL;
}

struct query_expr *parser_string(struct parser *p)
{
    struct token t = parser_take(p);
    struct query_expr *e = parser_new(p, EXPR_STRING, QUERY_TYPE_STRING, t.pos, t.pos + t.text.len);
    if (!e) {
        return NULL;
    }
    if (!query_unquote(p->arena, t.text.data, t.text.len, &e->u.string)) {
        parser_fail_nomem(p);
        return NULL;
    }
    return e;
}

/* ---- vector selectors ---- */

static bool match_op(struct parser *p, enum tsdb_match_op *out)
{
    switch ((int)parser_peek(p)->type) {
    case TOKEN_EQL:
        *out = TSDB_MATCH_EQ;
        break;
    case TOKEN_NEQ:
        *out = TSDB_MATCH_NE;
        break;
    case TOKEN_EQL_REGEX:
        *out = TSDB_MATCH_RE;
        break;
    case TOKEN_NEQ_REGEX:
        *out = TSDB_MATCH_NRE;
        break;
    default:
        return false;
    }
    parser_take(p);
    return true;
}

static bool check_regex(struct parser *p, uint32_t pos, const struct tsdb_matcher *m)
{
    if (m->op != TSDB_MATCH_RE && m->op != TSDB_MATCH_NRE) {
        return true;
    }
    bool matches_empty;
    struct tsdb_error err;
    enum tsdb_status status =
        index_regex_check(m->value, m->value_len, p->arena, &matches_empty, &err);
    if (status == TSDB_INVALID) {
        return parser_fail(p, pos, "%s", tsdb_error_text(&err));
    }
    return status == TSDB_OK || parser_fail_nomem(p);
}

static bool label_matcher(struct parser *p, struct tsdb_matcher *out)
{
    p->context = (struct parse_context){"label matching", "identifier or \"}\""};
    enum token_type type = parser_peek(p)->type;
    if (type != TOKEN_IDENTIFIER && type != TOKEN_STRING) {
        return parser_unexpected(p);
    }
    struct token t = parser_take(p);
    struct query_str name = t.text;
    if (type == TOKEN_STRING && !query_unquote(p->arena, t.text.data, t.text.len, &name)) {
        return parser_fail_nomem(p);
    }
    p->context = (struct parse_context){"label matching", "label matching operator"};
    if (!match_op(p, &out->op)) {
        if (type == TOKEN_IDENTIFIER || p->status != TSDB_OK) {
            return parser_unexpected(p);
        }
        /* {"name"}: the metric's name, quoted. */
        static const char metric[] = TSDB_METRIC_NAME;
        *out = (struct tsdb_matcher){TSDB_MATCH_EQ, metric, name.data, sizeof metric - 1, name.len};
        return true;
    }
    p->context = (struct parse_context){"label matching", "string"};
    if (parser_peek(p)->type != TOKEN_STRING) {
        return parser_unexpected(p);
    }
    struct token v = parser_take(p);
    struct query_str value;
    if (!query_unquote(p->arena, v.text.data, v.text.len, &value)) {
        return parser_fail_nomem(p);
    }
    *out = (struct tsdb_matcher){out->op, name.data, value.data, name.len, value.len};
    return check_regex(p, t.pos, out);
}

struct matcher_list {
    struct tsdb_matcher *items;
    uint32_t count, cap;
};

static bool matcher_put(struct parser *p, struct matcher_list *l, struct tsdb_matcher m)
{
    if (l->count == l->cap) {
        uint32_t cap = l->cap == 0 ? 4 : l->cap * 2;
        struct tsdb_matcher *grown = cap <= TSDB_QUERY_MATCHERS_MAX
                                         ? TSDB_ARENA_ARRAY(p->arena, struct tsdb_matcher, cap)
                                         : NULL;
        if (cap > TSDB_QUERY_MATCHERS_MAX) {
            return parser_fail(p, p->last_end, "more than %u label matchers",
                               TSDB_QUERY_MATCHERS_MAX);
        }
        if (!grown) {
            return parser_fail_nomem(p);
        }
        if (l->count > 0) {
            memcpy(grown, l->items, l->count * sizeof m);
        }
        l->items = grown;
        l->cap = cap;
    }
    l->items[l->count++] = m;
    return true;
}

/* {...}; the look-ahead is the brace. */
static bool label_matchers(struct parser *p, struct matcher_list *l)
{
    struct parse_context outer = p->context;
    parser_take(p);
    p->context = (struct parse_context){"label matching", "identifier or \"}\""};
    while (!parser_accept(p, TOKEN_RIGHT_BRACE)) {
        struct tsdb_matcher m;
        if (!label_matcher(p, &m) || !matcher_put(p, l, m)) {
            return false;
        }
        p->context = (struct parse_context){"label matching", "\",\" or \"}\""};
        if (parser_peek(p)->type != TOKEN_RIGHT_BRACE && !parser_expect(p, TOKEN_COMMA)) {
            return false;
        }
    }
    p->context = outer;
    return true;
}

struct query_expr *parser_vector_selector(struct parser *p, struct token name)
{
    uint32_t start = name.type == TOKEN_EOF ? parser_peek(p)->pos : name.pos;
    struct matcher_list l = {0};
    if (parser_peek(p)->type == TOKEN_LEFT_BRACE && !label_matchers(p, &l)) {
        return NULL;
    }
    if (p->status != TSDB_OK) {
        return NULL;
    }
    struct query_expr *e = parser_new(p, EXPR_VECTOR, QUERY_TYPE_VECTOR, start, p->last_end);
    if (!e) {
        return NULL;
    }
    if (name.type != TOKEN_EOF) {
        static const char metric[] = TSDB_METRIC_NAME;
        struct tsdb_matcher m = {TSDB_MATCH_EQ, metric, name.text.data, sizeof metric - 1,
                                 name.text.len};
        if (!matcher_put(p, &l, m)) {
            return NULL;
        }
        e->u.vector.name = name.text;
    }
    e->u.vector.matchers = l.items;
    e->u.vector.matcher_count = l.count;
    return e;
}

/* ---- duration expressions ---- */

enum {
    DURATION_ADD = 1,
    DURATION_MUL,
    DURATION_POW
};

static int duration_precedence(enum token_type t)
{
    switch ((int)t) {
    case TOKEN_ADD:
    case TOKEN_SUB:
        return DURATION_ADD;
    case TOKEN_MUL:
    case TOKEN_DIV:
    case TOKEN_MOD:
        return DURATION_MUL;
    case TOKEN_POW:
        return DURATION_POW;
    default:
        return 0;
    }
}

static bool duration_fits(double s)
{
    return s <= 9223372036.854775807 && s >= -9223372036.854775808; /* NaN does not */
}

static struct query_expr *duration_new(struct parser *p, enum token_type op,
                                       struct query_expr *left, struct query_expr *right,
                                       uint32_t start, uint32_t end)
{
    struct query_expr *e = parser_new(p, EXPR_DURATION, QUERY_TYPE_SCALAR, start, end);
    if (!e) {
        return NULL;
    }
    e->u.duration.op = op;
    e->u.duration.left = left;
    e->u.duration.right = right;
    if ((left && !parser_adopt(p, e, left)) || (right && !parser_adopt(p, e, right))) {
        return NULL;
    }
    return e;
}

static struct query_expr *duration_expr(struct parser *p, int precedence_min);

static struct query_expr *duration_wrap(struct parser *p, struct query_expr *e, uint32_t start,
                                        uint32_t end)
{
    if (e->kind == EXPR_NUMBER) {
        e = duration_new(p, TOKEN_ADD, NULL, e, start, end);
    }
    if (e) {
        e->u.duration.wrapped = true;
    }
    return e;
}

static struct query_expr *duration_negate(struct parser *p, struct token op, struct query_expr *e)
{
    if (e->kind != EXPR_NUMBER) {
        return op.type == TOKEN_SUB ? duration_new(p, TOKEN_SUB, NULL, e, op.pos, e->end) : e;
    }
    e->u.number.value *= op.type == TOKEN_SUB ? -1 : 1;
    if (!duration_fits(e->u.number.value)) {
        parser_fail(p, op.pos, "duration out of range");
        return NULL;
    }
    e->start = op.pos;
    return e;
}

/* ( ... ) */
static struct query_expr *duration_paren(struct parser *p)
{
    uint32_t start = parser_take(p).pos;
    struct query_expr *e = duration_expr(p, DURATION_ADD);
    if (!e || !parser_expect(p, TOKEN_RIGHT_PAREN)) {
        return NULL;
    }
    return duration_wrap(p, e, start, p->last_end);
}

/* step(), range(), min_of(a, b), max_of(a, b); the look-ahead is the word. */
static struct query_expr *duration_call(struct parser *p)
{
    struct token t = parser_take(p);
    struct query_expr *left = NULL;
    struct query_expr *right = NULL;
    if (!parser_expect(p, TOKEN_LEFT_PAREN)) {
        return NULL;
    }
    if (t.type == TOKEN_MIN_OF || t.type == TOKEN_MAX_OF) {
        left = duration_expr(p, DURATION_ADD);
        if (!left || !parser_expect(p, TOKEN_COMMA)) {
            return NULL;
        }
        right = duration_expr(p, DURATION_ADD);
        if (!right) {
            return NULL;
        }
    }
    if (!parser_expect(p, TOKEN_RIGHT_PAREN)) {
        return NULL;
    }
    return duration_new(p, t.type, left, right, t.pos, p->last_end);
}

static struct query_expr *duration_number(struct parser *p)
{
    struct query_expr *e = parser_number(p);
    if (e && !duration_fits(e->u.number.value)) {
        parser_fail(p, e->start, "duration out of range");
        return NULL;
    }
    return e;
}

static bool is_duration_word(enum token_type t)
{
    return t >= TOKEN_STEP && t <= TOKEN_MIN_OF;
}

static struct query_expr *duration_operand(struct parser *p)
{
    enum token_type type = parser_peek(p)->type;
    if (is_number(type)) {
        return duration_number(p);
    }
    if (is_duration_word(type)) {
        return duration_call(p);
    }
    if (type == TOKEN_LEFT_PAREN) {
        return duration_paren(p);
    }
    if (type != TOKEN_ADD && type != TOKEN_SUB) {
        parser_unexpected(p);
        return NULL;
    }
    struct token op = parser_take(p);
    struct query_expr *e = duration_expr(p, DURATION_POW);
    return e ? duration_negate(p, op, e) : NULL;
}

static struct query_expr *duration_binary(struct parser *p, struct query_expr *left)
{
    struct token op = parser_take(p);
    int prec = duration_precedence(op.type);
    struct query_expr *right = duration_expr(p, op.type == TOKEN_POW ? prec : prec + 1);
    if (!right) {
        return NULL;
    }
    bool divides = op.type == TOKEN_DIV || op.type == TOKEN_MOD;
    if (divides && right->kind == EXPR_NUMBER && right->u.number.value == 0) {
        parser_fail(p, op.pos, op.type == TOKEN_DIV ? "division by zero" : "modulo by zero");
        return NULL;
    }
    return duration_new(p, op.type, left, right, left->start, right->end);
}

static struct query_expr *duration_climb(struct parser *p, struct query_expr *e, int precedence_min)
{
    while (e && p->status == TSDB_OK) {
        int prec = duration_precedence(parser_peek(p)->type);
        if (prec == 0 || prec < precedence_min) {
            break;
        }
        e = duration_binary(p, e);
    }
    return p->status == TSDB_OK ? e : NULL;
}

static struct query_expr *duration_expr(struct parser *p, int precedence_min)
{
    if (!parser_enter(p)) {
        return NULL;
    }
    struct query_expr *e = duration_climb(p, duration_operand(p), precedence_min);
    p->depth--;
    return e;
}

/* In [..]: more than nothing. A number goes to *out_ms, an expression to *out_expr. */
static bool positive_duration(struct parser *p, int64_t *out_ms, const struct query_expr **out_expr)
{
    struct query_expr *e = duration_expr(p, DURATION_ADD);
    if (!e) {
        return false;
    }
    if (e->kind == EXPR_DURATION) {
        *out_expr = e;
        return true;
    }
    if (e->u.number.value <= 0) {
        return parser_fail(p, e->start, "duration must be greater than 0");
    }
    *out_ms = (int64_t)(round(e->u.number.value * 1e9) / 1e6);
    return true;
}

/* After "offset" an operator belongs to the surrounding expression, unless a parenthesis begins the
 * duration. */
static struct query_expr *offset_duration(struct parser *p)
{
    enum token_type type = parser_peek(p)->type;
    if (is_number(type) || is_duration_word(type)) {
        return duration_operand(p);
    }
    if (type != TOKEN_ADD && type != TOKEN_SUB) {
        return duration_climb(p, duration_operand(p), DURATION_ADD);
    }
    struct token op = parser_take(p);
    type = parser_peek(p)->type;
    if (is_number(type)) {
        struct query_expr *e = parser_number(p);
        return e ? duration_negate(p, op, e) : NULL;
    }
    if (is_duration_word(type)) {
        struct query_expr *e = duration_call(p);
        return e ? duration_new(p, op.type, NULL, e, op.pos, e->end) : NULL;
    }
    if (type == TOKEN_LEFT_PAREN) {
        struct query_expr *e = duration_paren(p);
        return e ? duration_negate(p, op, e) : NULL;
    }
    struct query_expr *e = duration_expr(p, DURATION_POW);
    return e ? duration_climb(p, duration_negate(p, op, e), DURATION_ADD) : NULL;
}

/* ---- what follows a selector ---- */

static struct query_expr *matrix(struct parser *p, struct query_expr *e, uint32_t bracket,
                                 int64_t range_ms, const struct query_expr *range)
{
    const char *why = NULL;
    if (e->kind != EXPR_VECTOR) {
        why = "ranges only allowed for vector selectors";
    } else if (e->u.vector.shift.offset_ms != 0 || e->u.vector.shift.offset_expr) {
        why = "no offset modifiers allowed before range";
    } else if (e->u.vector.shift.at != QUERY_AT_NONE) {
        why = "no @ modifiers allowed before range";
    }
    if (why) {
        parser_fail(p, bracket, "%s", why);
        return NULL;
    }
    struct query_expr *m = parser_new(p, EXPR_MATRIX, QUERY_TYPE_MATRIX, e->start, p->last_end);
    if (!m) {
        return NULL;
    }
    m->u.matrix.selector = e;
    m->u.matrix.range_ms = range_ms;
    m->u.matrix.range_expr = range;
    return parser_adopt(p, m, e) ? m : NULL;
}

static struct query_expr *subquery(struct parser *p, struct query_expr *body, int64_t range_ms,
                                   const struct query_expr *range)
{
    p->context =
        (struct parse_context){"subquery selector", "number, duration, step(), range(), or \"]\""};
    int64_t step_ms = 0;
    const struct query_expr *step = NULL;
    if (!parser_accept(p, TOKEN_RIGHT_BRACKET)) {
        if (!positive_duration(p, &step_ms, &step)) {
            return NULL;
        }
        p->context = (struct parse_context){"subquery selector", "\"]\""};
        if (!parser_expect(p, TOKEN_RIGHT_BRACKET)) {
            return NULL;
        }
    }
    struct query_expr *e =
        parser_new(p, EXPR_SUBQUERY, QUERY_TYPE_MATRIX, body->start, p->last_end);
    if (!e) {
        return NULL;
    }
    e->u.subquery.body = body;
    e->u.subquery.range_ms = range_ms;
    e->u.subquery.range_expr = range;
    e->u.subquery.step_ms = step_ms;
    e->u.subquery.step_expr = step;
    return parser_adopt(p, e, body) ? e : NULL;
}

struct query_expr *parser_range(struct parser *p, struct query_expr *e)
{
    struct parse_context outer = p->context;
    uint32_t bracket = parser_take(p).pos;
    p->context = (struct parse_context){"subquery or range selector",
                                        "number, duration, step(), or range()"};
    int64_t range_ms = 0;
    const struct query_expr *range = NULL;
    if (!positive_duration(p, &range_ms, &range)) {
        return NULL;
    }
    p->context = (struct parse_context){"subquery or range", "\":\" or \"]\""};
    if (parser_accept(p, TOKEN_COLON)) {
        e = subquery(p, e, range_ms, range);
    } else if (parser_expect(p, TOKEN_RIGHT_BRACKET)) {
        e = matrix(p, e, bracket, range_ms, range);
    }
    p->context = outer;
    return p->status == TSDB_OK ? e : NULL;
}

/* Where offset and @ of e go; NULL if e takes none. */
static struct query_shift *shift_of(struct query_expr *e)
{
    switch ((int)e->kind) {
    case EXPR_VECTOR:
        return &e->u.vector.shift;
    case EXPR_MATRIX:
        return &e->u.matrix.selector->u.vector.shift;
    case EXPR_SUBQUERY:
        return &e->u.subquery.shift;
    default:
        return NULL;
    }
}

struct query_expr *parser_offset(struct parser *p, struct query_expr *e)
{
    struct parse_context outer = p->context;
    parser_take(p);
    p->context = (struct parse_context){"offset", "number, duration, step(), or range()"};
    struct query_expr *d = offset_duration(p);
    if (!d) {
        return NULL;
    }
    p->context = outer;
    struct query_shift *shift = shift_of(e);
    if (!shift) {
        parser_fail(p, e->start,
                    "offset modifier must be preceded by an instant vector selector or range "
                    "vector selector or a subquery");
        return NULL;
    }
    if (shift->offset_ms != 0 || shift->offset_expr) {
        parser_fail(p, e->start, "offset may not be set multiple times");
        return NULL;
    }
    if (d->kind == EXPR_NUMBER) {
        shift->offset_ms = (int64_t)(round(d->u.number.value * 1e9) / 1e6);
    } else {
        shift->offset_expr = d;
    }
    e->end = p->last_end;
    return e;
}

static bool at_number(struct parser *p, double *out)
{
    enum token_type sign = parser_peek(p)->type;
    if (sign == TOKEN_ADD || sign == TOKEN_SUB) {
        parser_take(p);
    }
    if (!is_number(parser_peek(p)->type)) {
        return parser_unexpected(p);
    }
    struct query_expr *n = parser_number(p);
    if (!n) {
        return false;
    }
    *out = sign == TOKEN_SUB ? -n->u.number.value : n->u.number.value;
    return true;
}

static struct query_expr *at_set(struct parser *p, struct query_expr *e, enum query_at at,
                                 double seconds)
{
    /* The bounds are those of int64 seconds, as in Prometheus; what does not fit in milliseconds is
     * far outside of any data. */
    if (at == QUERY_AT_TIME && (!isfinite(seconds) || seconds >= 9223372036854775808.0 ||
                                seconds <= -9223372036854775808.0)) {
        if (isfinite(seconds)) {
            parser_fail(p, e->start, "timestamp out of bounds for @ modifier: %f", seconds);
        } else {
            parser_fail(p, e->start, "timestamp out of bounds for @ modifier: %s",
                        isnan(seconds) ? "NaN"
                        : seconds > 0  ? "+Inf"
                                       : "-Inf");
        }
        return NULL;
    }
    struct query_shift *shift = shift_of(e);
    if (!shift) {
        parser_fail(p, e->start,
                    "@ modifier must be preceded by an instant vector selector or range vector "
                    "selector or a subquery");
        return NULL;
    }
    if (shift->at != QUERY_AT_NONE) {
        parser_fail(p, e->start, "@ <timestamp> may not be set multiple times");
        return NULL;
    }
    shift->at = at;
    double ms = round(seconds * 1000);
    shift->at_ms = ms > 4e18 ? INT64_MAX / 2 : ms < -4e18 ? INT64_MIN / 2 : (int64_t)ms;
    e->end = p->last_end;
    return e;
}

struct query_expr *parser_at(struct parser *p, struct query_expr *e)
{
    struct parse_context outer = p->context;
    parser_take(p);
    p->context = (struct parse_context){"@", "timestamp"};
    enum token_type type = parser_peek(p)->type;
    double seconds = 0;
    enum query_at at = type == TOKEN_START ? QUERY_AT_START
                       : type == TOKEN_END ? QUERY_AT_END
                                           : QUERY_AT_TIME;
    if (at == QUERY_AT_TIME) {
        if (!at_number(p, &seconds)) {
            return NULL;
        }
    } else {
        parser_take(p);
        if (!parser_expect(p, TOKEN_LEFT_PAREN) || !parser_expect(p, TOKEN_RIGHT_PAREN)) {
            return NULL;
        }
    }
    p->context = outer;
    return at_set(p, e, at, seconds);
}
