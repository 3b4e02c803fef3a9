#include "query/lang/lexer.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

static const char *const spelling[TOKEN_TYPE_COUNT] = {
    [TOKEN_COLON] = ":",
    [TOKEN_COMMA] = ",",
    [TOKEN_EQL] = "=",
    [TOKEN_LEFT_BRACE] = "{",
    [TOKEN_RIGHT_BRACE] = "}",
    [TOKEN_LEFT_BRACKET] = "[",
    [TOKEN_RIGHT_BRACKET] = "]",
    [TOKEN_LEFT_PAREN] = "(",
    [TOKEN_RIGHT_PAREN] = ")",
    [TOKEN_ADD] = "+",
    [TOKEN_SUB] = "-",
    [TOKEN_MUL] = "*",
    [TOKEN_DIV] = "/",
    [TOKEN_MOD] = "%",
    [TOKEN_POW] = "^",
    [TOKEN_ATAN2] = "atan2",
    [TOKEN_EQLC] = "==",
    [TOKEN_NEQ] = "!=",
    [TOKEN_LTE] = "<=",
    [TOKEN_LSS] = "<",
    [TOKEN_GTE] = ">=",
    [TOKEN_GTR] = ">",
    [TOKEN_TRIM_UPPER] = "</",
    [TOKEN_TRIM_LOWER] = ">/",
    [TOKEN_LAND] = "and",
    [TOKEN_LOR] = "or",
    [TOKEN_LUNLESS] = "unless",
    [TOKEN_EQL_REGEX] = "=~",
    [TOKEN_NEQ_REGEX] = "!~",
    [TOKEN_AT] = "@",
    [TOKEN_AVG] = "avg",
    [TOKEN_BOTTOMK] = "bottomk",
    [TOKEN_COUNT] = "count",
    [TOKEN_COUNT_VALUES] = "count_values",
    [TOKEN_GROUP] = "group",
    [TOKEN_MAX] = "max",
    [TOKEN_MIN] = "min",
    [TOKEN_QUANTILE] = "quantile",
    [TOKEN_STDDEV] = "stddev",
    [TOKEN_STDVAR] = "stdvar",
    [TOKEN_SUM] = "sum",
    [TOKEN_TOPK] = "topk",
    [TOKEN_LIMITK] = "limitk",
    [TOKEN_LIMIT_RATIO] = "limit_ratio",
    [TOKEN_BOOL] = "bool",
    [TOKEN_BY] = "by",
    [TOKEN_GROUP_LEFT] = "group_left",
    [TOKEN_GROUP_RIGHT] = "group_right",
    [TOKEN_FILL] = "fill",
    [TOKEN_FILL_LEFT] = "fill_left",
    [TOKEN_FILL_RIGHT] = "fill_right",
    [TOKEN_IGNORING] = "ignoring",
    [TOKEN_OFFSET] = "offset",
    [TOKEN_SMOOTHED] = "smoothed",
    [TOKEN_ANCHORED] = "anchored",
    [TOKEN_ON] = "on",
    [TOKEN_WITHOUT] = "without",
    [TOKEN_START] = "start",
    [TOKEN_END] = "end",
    [TOKEN_STEP] = "step",
    [TOKEN_RANGE] = "range",
    [TOKEN_MAX_OF] = "max_of",
    [TOKEN_MIN_OF] = "min_of",
};

const char *token_type_text(enum token_type t)
{
    return spelling[t] ? spelling[t] : "";
}

/* ---- characters ---- */

#define RUNE_EOF UINT32_MAX

static bool is_space(uint32_t r)
{
    return r == ' ' || r == '\t' || r == '\n' || r == '\r';
}
static bool is_digit(uint32_t r)
{
    return r >= '0' && r <= '9';
}
static bool is_alpha(uint32_t r)
{
    return r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z');
}
static bool is_alnum(uint32_t r)
{
    return is_alpha(r) || is_digit(r);
}

static uint32_t peek_width(const struct lexer *l, size_t *out_width)
{
    if (l->pos >= l->len) {
        *out_width = 0;
        return RUNE_EOF;
    }
    return query_rune_decode(l->text + l->pos, l->len - l->pos, out_width);
}

static uint32_t peek(const struct lexer *l)
{
    size_t width;
    return peek_width(l, &width);
}

static uint32_t next(struct lexer *l)
{
    size_t width;
    uint32_t r = peek_width(l, &width);
    l->pos += (uint32_t)width;
    return r;
}

static bool is_one_of(const struct lexer *l, const char *set)
{
    return l->pos < l->len && l->text[l->pos] != '\0' && strchr(set, l->text[l->pos]) != NULL;
}

static bool accept(struct lexer *l, const char *set)
{
    if (!is_one_of(l, set)) {
        return false;
    }
    l->pos++;
    return true;
}

/* ---- emitting ---- */

static void emit(struct lexer *l, struct token *out, enum token_type type)
{
    *out = (struct token){type, l->start, {l->text + l->start, l->pos - l->start}};
    l->start = l->pos;
}

static void fail(struct lexer *l, struct token *out)
{
    *out = (struct token){TOKEN_ERROR, l->start, {l->error, (uint32_t)strlen(l->error)}};
    l->state = LEXER_DONE;
}

static void TSDB_PRINTF(3, 4) failf(struct lexer *l, struct token *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(l->error, sizeof l->error, format, args);
    va_end(args);
    fail(l, out);
}

/* "<what><rune quoted><tail>" */
static void fail_rune(struct lexer *l, struct token *out, const char *what, uint32_t rune,
                      const char *tail)
{
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 64);
    query_quote_rune(&b, rune);
    failf(l, out, "%s%.*s%s", what, (int)b.len, b.data ? (const char *)b.data : "", tail);
    tsdb_buf_deinit(&b);
}

/* "<what><text so far quoted>" */
static void fail_text(struct lexer *l, struct token *out, const char *what)
{
    l->quoted = (struct query_str){l->text + l->start, l->pos - l->start};
    failf(l, out, "%s", what);
}

void lexer_error_print(const struct lexer *l, struct tsdb_buf *out)
{
    tsdb_buf_put_str(out, l->error);
    if (l->quoted.data) {
        query_quote(out, l->quoted.data, l->quoted.len, 0);
    }
}

static void skip_spaces(struct lexer *l)
{
    while (is_space(peek(l))) {
        l->pos++;
    }
    l->start = l->pos;
}

/* ---- strings ---- */

static uint32_t digit_value(uint32_t r)
{
    if (is_digit(r)) {
        return r - '0';
    }
    r |= 0x20;
    return r >= 'a' && r <= 'f' ? r - 'a' + 10 : 16;
}

/* A rune as Go's %#U prints it: U+0063 'c'. */
static void rune_text(uint32_t r, char out[24])
{
    bool shown = r >= 0x20 && r < 0x7f;
    if (shown) {
        snprintf(out, 24, "U+%04X '%c'", (unsigned)r, (char)r);
    } else {
        snprintf(out, 24, "U+%04X", (unsigned)r);
    }
}

/* An escape whose backslash was read. False: *out holds the error. */
static bool scan_escape(struct lexer *l, struct token *out, uint32_t quote)
{
    uint32_t ch = next(l);
    uint32_t count = 0;
    uint32_t base = 16;
    uint32_t max = 0x10ffff;
    char shown[24];
    if (ch == RUNE_EOF) {
        failf(l, out, "escape sequence not terminated");
        return false;
    }
    if (ch == quote || (ch < 0x80 && ch != 0 && strchr("abfnrtv\\", (int)ch))) {
        return true;
    }
    if (ch >= '0' && ch <= '7') {
        count = 3;
        base = 8;
        max = 255;
    } else if (ch == 'x' || ch == 'u' || ch == 'U') {
        count = ch == 'x' ? 2 : ch == 'u' ? 4 : 8;
        max = ch == 'x' ? 255 : max;
        ch = next(l);
    } else {
        rune_text(ch, shown);
        failf(l, out, "unknown escape sequence %s", shown);
        return false;
    }
    uint32_t x = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            ch = next(l);
        }
        if (ch == RUNE_EOF) {
            failf(l, out, "escape sequence not terminated");
            return false;
        }
        uint32_t d = digit_value(ch);
        if (d >= base) {
            rune_text(ch, shown);
            failf(l, out, "illegal character %s in escape sequence", shown);
            return false;
        }
        x = x * base + d;
    }
    if (x > max || (x >= 0xd800 && x < 0xe000)) {
        failf(l, out, "escape sequence is an invalid Unicode code point");
        return false;
    }
    return true;
}

static void scan_string(struct lexer *l, struct token *out, uint32_t quote)
{
    bool raw = quote == '`';
    for (;;) {
        size_t width;
        uint32_t r = peek_width(l, &width);
        l->pos += (uint32_t)width;
        if (r == RUNE_EOF || (r == '\n' && !raw)) {
            failf(l, out, raw ? "unterminated raw string" : "unterminated quoted string");
            return;
        }
        if (r == QUERY_RUNE_ERROR) {
            failf(l, out, "invalid UTF-8 rune");
            return;
        }
        if (r == quote) {
            emit(l, out, TOKEN_STRING);
            return;
        }
        if (r == '\\' && !raw && !scan_escape(l, out, quote)) {
            return;
        }
    }
}

/* ---- numbers and durations ---- */

/* [.][digit][digits, '.', '_', 'e']*: what may be a number; the parser has the last word. */
static bool scan_number(struct lexer *l)
{
    uint32_t begin = l->pos;
    const char *digits = "0123456789";
    const char *body = "0123456789._eE";
    bool hex = false;
    if (accept(l, "0") && accept(l, "xX")) {
        accept(l, "_");
        hex = true;
        digits = "0123456789abcdefABCDEF";
        body = "0123456789abcdefABCDEF._";
    }
    accept(l, ".");
    accept(l, digits);
    bool dot = false;
    bool exponent = false;
    while (is_one_of(l, body)) {
        if ((dot && is_one_of(l, ".")) || (exponent && is_one_of(l, "eE"))) {
            l->pos++;
            return false;
        }
        if (accept(l, ".")) {
            dot = true;
            if (accept(l, "_.") || hex) {
                return false;
            }
        } else if (accept(l, "eE")) {
            exponent = true;
            accept(l, "+-");
            if (accept(l, "._eE") || l->pos >= l->len) {
                return false;
            }
        } else if (accept(l, "_")) {
            if (accept(l, "._eE") || l->pos >= l->len) {
                return false;
            }
        } else {
            while (accept(l, digits)) {
            }
        }
    }
    return l->pos != begin && !is_alnum(peek(l));
}

/* The unit after a number, then further numbers with units. */
static bool scan_duration_rest(struct lexer *l)
{
    if (!accept(l, "smhdwy")) {
        return false;
    }
    accept(l, "s"); /* "ms"; the parser refuses "hs" */
    while (accept(l, "0123456789")) {
        while (accept(l, "0123456789")) {
        }
        if (!accept(l, "smhdw")) {
            return false;
        }
        accept(l, "s");
    }
    if (is_alnum(peek(l))) {
        l->pos++;
        return false;
    }
    return true;
}

static void scan_number_or_duration(struct lexer *l, struct token *out)
{
    if (scan_number(l)) {
        emit(l, out, TOKEN_NUMBER);
    } else if (scan_duration_rest(l)) {
        emit(l, out, TOKEN_DURATION);
    } else {
        fail_text(l, out, "bad number or duration syntax: ");
    }
}

/* ---- words ---- */

static bool word_is(const struct lexer *l, const char *word)
{
    size_t n = strlen(word);
    return l->pos - l->start == n && strncasecmp(l->text + l->start, word, n) == 0;
}

static bool followed_by_paren(const struct lexer *l)
{
    uint32_t i = l->pos;
    while (i < l->len && is_space((uint8_t)l->text[i])) {
        i++;
    }
    return i < l->len && l->text[i] == '(';
}

static void scan_word(struct lexer *l, struct token *out)
{
    while (is_alnum(peek(l)) || peek(l) == ':') {
        l->pos++;
    }
    if (word_is(l, "inf") || word_is(l, "nan")) {
        emit(l, out, TOKEN_NUMBER);
        return;
    }
    for (int t = TOKEN_OPERATOR_BEGIN; t < TOKEN_TYPE_COUNT; t++) {
        if (is_alpha((uint8_t)spelling[t][0]) && word_is(l, spelling[t])) {
            /* The fill words stay usable as metric names. */
            bool fill = t == TOKEN_FILL || t == TOKEN_FILL_LEFT || t == TOKEN_FILL_RIGHT;
            emit(l, out, fill && !followed_by_paren(l) ? TOKEN_IDENTIFIER : (enum token_type)t);
            return;
        }
    }
    bool colon = memchr(l->text + l->start, ':', l->pos - l->start) != NULL;
    emit(l, out, colon ? TOKEN_METRIC_IDENTIFIER : TOKEN_IDENTIFIER);
}

/* Inside [] only a few words mean something. False: nothing was emitted. */
static bool scan_duration_word(struct lexer *l, struct token *out)
{
    while (is_alpha(peek(l))) {
        l->pos++;
    }
    for (int t = TOKEN_STEP; t <= TOKEN_MIN_OF; t++) {
        if (word_is(l, spelling[t])) {
            emit(l, out, (enum token_type)t);
            return true;
        }
    }
    return false;
}
static bool starts_duration_word(uint32_t r)
{
    r |= 0x20;
    return r == 's' || r == 'r' || r == 'm';
}

/* ---- the three places ---- */

static void scan_in_braces(struct lexer *l, struct token *out)
{
    uint32_t r = next(l);
    if (r == RUNE_EOF) {
        failf(l, out, "unexpected end of input inside braces");
    } else if (is_alpha(r)) {
        while (is_alnum(peek(l))) {
            l->pos++;
        }
        emit(l, out, TOKEN_IDENTIFIER);
    } else if (r == ',') {
        emit(l, out, TOKEN_COMMA);
    } else if (r == '"' || r == '\'' || r == '`') {
        scan_string(l, out, r);
    } else if (r == '=') {
        bool regex = accept(l, "~");
        emit(l, out, regex ? TOKEN_EQL_REGEX : TOKEN_EQL);
    } else if (r == '!') {
        uint32_t n = next(l);
        if (n == '~' || n == '=') {
            emit(l, out, n == '~' ? TOKEN_NEQ_REGEX : TOKEN_NEQ);
        } else {
            fail_rune(l, out, "unexpected character after '!' inside braces: ", n, "");
        }
    } else if (r == '{') {
        fail_rune(l, out, "unexpected left brace ", r, "");
    } else if (r == '}') {
        emit(l, out, TOKEN_RIGHT_BRACE);
        l->brace_open = false;
    } else {
        fail_rune(l, out, "unexpected character inside braces: ", r, "");
    }
}

static void close_paren(struct lexer *l, struct token *out)
{
    emit(l, out, TOKEN_RIGHT_PAREN);
    if (--l->paren_depth < 0) {
        fail_rune(l, out, "unexpected right parenthesis ", ')', "");
    }
}

static enum token_type arithmetic(uint32_t r)
{
    switch (r) {
    case '+':
        return TOKEN_ADD;
    case '-':
        return TOKEN_SUB;
    case '*':
        return TOKEN_MUL;
    case '/':
        return TOKEN_DIV;
    case '%':
        return TOKEN_MOD;
    case '^':
        return TOKEN_POW;
    case ',':
        return TOKEN_COMMA;
    default:
        return TOKEN_EOF;
    }
}

/* Directly after [ and up to its first number, where a duration expression is read. */
static void scan_in_duration(struct lexer *l, struct token *out)
{
    skip_spaces(l);
    uint32_t r = next(l);
    if (r == RUNE_EOF) {
        failf(l, out, "unexpected end of input in duration expression");
    } else if (r == ']') {
        emit(l, out, TOKEN_RIGHT_BRACKET);
        l->bracket_open = false;
        l->got_colon = false;
        l->state = LEXER_PLAIN;
    } else if (r == ':') {
        emit(l, out, TOKEN_COLON);
        if (!l->got_duration) {
            failf(l, out, "unexpected colon before duration in duration expression");
        } else if (l->got_colon) {
            failf(l, out, "unexpected repeated colon in duration expression");
        }
        l->got_colon = true;
    } else if (r == '(') {
        emit(l, out, TOKEN_LEFT_PAREN);
        l->paren_depth++;
    } else if (r == ')') {
        close_paren(l, out);
    } else if (arithmetic(r) != TOKEN_EOF) {
        emit(l, out, arithmetic(r));
    } else if (r < 0x80 && starts_duration_word(r)) {
        if (!scan_duration_word(l, out)) {
            fail_rune(l, out, "unexpected character in duration expression: ", r, "");
        }
    } else if (is_digit(r) || (r == '.' && is_digit(peek(l)))) {
        l->pos--;
        l->got_duration = true;
        l->state = LEXER_PLAIN;
        scan_number_or_duration(l, out);
    } else {
        fail_rune(l, out, "unexpected character in duration expression: ", r, "");
    }
}

static void scan_comparison(struct lexer *l, struct token *out, uint32_t r)
{
    bool less = r == '<';
    if (accept(l, "=")) {
        emit(l, out, less ? TOKEN_LTE : TOKEN_GTE);
    } else if (accept(l, "/")) {
        emit(l, out, less ? TOKEN_TRIM_UPPER : TOKEN_TRIM_LOWER);
    } else {
        emit(l, out, less ? TOKEN_LSS : TOKEN_GTR);
    }
}

static void scan_bracket(struct lexer *l, struct token *out, uint32_t r)
{
    if (r == '[') {
        if (l->bracket_open) {
            fail_rune(l, out, "unexpected left bracket ", r, "");
            return;
        }
        l->got_colon = false;
        emit(l, out, TOKEN_LEFT_BRACKET);
        l->bracket_open = true;
        l->state = LEXER_DURATION;
        return;
    }
    if (!l->bracket_open) {
        fail_rune(l, out, "unexpected right bracket ", r, "");
        return;
    }
    emit(l, out, TOKEN_RIGHT_BRACKET);
    l->bracket_open = false;
}

/* A letter or a colon; inside [] the colon separates range and step. */
static void scan_letter(struct lexer *l, struct token *out, uint32_t r)
{
    if (!l->bracket_open) {
        l->pos--;
        scan_word(l, out);
        return;
    }
    if (r == ':') {
        if (l->got_colon) {
            fail_rune(l, out, "unexpected colon ", r, "");
            return;
        }
        emit(l, out, TOKEN_COLON);
        l->got_colon = true;
        return;
    }
    if (!starts_duration_word(r) || !scan_duration_word(l, out)) {
        fail_rune(l, out, "unexpected character: ", r, ", expected ':'");
    }
}

static void scan_end(struct lexer *l, struct token *out)
{
    if (l->paren_depth != 0) {
        failf(l, out, "unclosed left parenthesis");
    } else if (l->bracket_open) {
        failf(l, out, "unclosed left bracket");
    } else {
        emit(l, out, TOKEN_EOF);
    }
}

static void scan_plain(struct lexer *l, struct token *out)
{
    uint32_t r = next(l);
    if (r == RUNE_EOF) {
        scan_end(l, out);
    } else if (arithmetic(r) != TOKEN_EOF) {
        emit(l, out, arithmetic(r));
    } else if (r == '=') {
        if (peek(l) == '~') {
            fail_rune(l, out, "unexpected character after '=': ", '~', "");
        } else {
            bool equal = accept(l, "=");
            emit(l, out, equal ? TOKEN_EQLC : TOKEN_EQL);
        }
    } else if (r == '!') {
        uint32_t n = next(l);
        if (n == '=') {
            emit(l, out, TOKEN_NEQ);
        } else {
            fail_rune(l, out, "unexpected character after '!': ", n, "");
        }
    } else if (r == '<' || r == '>') {
        scan_comparison(l, out, r);
    } else if (is_digit(r) || (r == '.' && is_digit(peek(l)))) {
        l->pos--;
        scan_number_or_duration(l, out);
    } else if (r == '"' || r == '\'' || r == '`') {
        scan_string(l, out, r);
    } else if (is_alpha(r) || r == ':') {
        scan_letter(l, out, r);
    } else if (r == '(') {
        emit(l, out, TOKEN_LEFT_PAREN);
        l->paren_depth++;
    } else if (r == ')') {
        close_paren(l, out);
    } else if (r == '{') {
        emit(l, out, TOKEN_LEFT_BRACE);
        l->brace_open = true;
    } else if (r == '[' || r == ']') {
        scan_bracket(l, out, r);
    } else if (r == '@') {
        emit(l, out, TOKEN_AT);
    } else {
        fail_rune(l, out, "unexpected character: ", r, "");
    }
}

void lexer_init(struct lexer *l, const char *text, uint32_t len)
{
    *l = (struct lexer){.text = text, .len = len};
}

void lexer_next(struct lexer *l, struct token *out)
{
    TSDB_ASSERT(l->state != LEXER_DONE);
    if (l->state == LEXER_DURATION) {
        scan_in_duration(l, out);
        return;
    }
    for (;;) {
        skip_spaces(l);
        if (peek(l) != '#') {
            break;
        }
        while (l->pos < l->len && l->text[l->pos] != '\n' && l->text[l->pos] != '\r') {
            l->pos++;
        }
    }
    if (l->brace_open) {
        scan_in_braces(l, out);
    } else {
        scan_plain(l, out);
    }
}

void token_describe(const struct token *t, struct tsdb_buf *out)
{
    const char *s = t->text.data;
    size_t len = t->text.len;
    const char *kind = NULL;
    if (t->type == TOKEN_EOF) {
        tsdb_buf_put_str(out, "end of input");
        return;
    }
    if (token_is_keyword(t->type) || token_is_operator(t->type) || token_is_aggregator(t->type)) {
        kind = token_is_keyword(t->type) ? "" : token_is_operator(t->type) ? "op:" : "aggr:";
        tsdb_buf_printf(out, "<%s%.*s>", kind, (int)len, s);
        return;
    }
    kind = t->type == TOKEN_IDENTIFIER          ? "identifier "
           : t->type == TOKEN_METRIC_IDENTIFIER ? "metric identifier "
           : t->type == TOKEN_STRING            ? "string "
           : t->type == TOKEN_NUMBER            ? "number "
           : t->type == TOKEN_DURATION          ? "duration "
                                                : "";
    tsdb_buf_put_str(out, kind);
    bool word = t->type == TOKEN_IDENTIFIER || t->type == TOKEN_METRIC_IDENTIFIER;
    bool cut = !word && len > 10;
    query_quote(out, s, len, cut ? 10 : 0);
    tsdb_buf_put_str(out, cut ? "..." : "");
}
