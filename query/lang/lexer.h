/* PromQL text to tokens, one at a time: the parser asks for a token only when the grammar needs it,
 * so that the first error of a query is the one that Prometheus reports.
 *
 * What a byte means depends on where it stands (plain, inside {}, inside []); the lexer keeps that
 * state itself, as Prometheus's does. Threads: one lexer belongs to one caller. No allocation:
 * tokens borrow from the text, an error text lies in the lexer.
 */
#ifndef QUERY_LANG_LEXER_H
#define QUERY_LANG_LEXER_H

#include "query/lang/text.h"

enum token_type {
    TOKEN_EOF = 0,
    TOKEN_ERROR,
    TOKEN_IDENTIFIER,
    TOKEN_METRIC_IDENTIFIER, /* with a colon */
    TOKEN_STRING,            /* quotes included */
    TOKEN_NUMBER,
    TOKEN_DURATION,
    TOKEN_COLON,
    TOKEN_COMMA,
    TOKEN_EQL,
    TOKEN_LEFT_BRACE,
    TOKEN_RIGHT_BRACE,
    TOKEN_LEFT_BRACKET,
    TOKEN_RIGHT_BRACKET,
    TOKEN_LEFT_PAREN,
    TOKEN_RIGHT_PAREN,
    /* operators */
    TOKEN_OPERATOR_BEGIN,
    TOKEN_ADD = TOKEN_OPERATOR_BEGIN,
    TOKEN_SUB,
    TOKEN_MUL,
    TOKEN_DIV,
    TOKEN_MOD,
    TOKEN_POW,
    TOKEN_ATAN2,
    TOKEN_EQLC,
    TOKEN_NEQ,
    TOKEN_LTE,
    TOKEN_LSS,
    TOKEN_GTE,
    TOKEN_GTR,
    TOKEN_TRIM_UPPER,
    TOKEN_TRIM_LOWER,
    TOKEN_LAND,
    TOKEN_LOR,
    TOKEN_LUNLESS,
    TOKEN_EQL_REGEX,
    TOKEN_NEQ_REGEX,
    TOKEN_AT,
    TOKEN_OPERATOR_END,
    /* aggregators */
    TOKEN_AGGREGATOR_BEGIN = TOKEN_OPERATOR_END,
    TOKEN_AVG = TOKEN_AGGREGATOR_BEGIN,
    TOKEN_BOTTOMK,
    TOKEN_COUNT,
    TOKEN_COUNT_VALUES,
    TOKEN_GROUP,
    TOKEN_MAX,
    TOKEN_MIN,
    TOKEN_QUANTILE,
    TOKEN_STDDEV,
    TOKEN_STDVAR,
    TOKEN_SUM,
    TOKEN_TOPK,
    TOKEN_LIMITK,
    TOKEN_LIMIT_RATIO,
    TOKEN_AGGREGATOR_END,
    /* keywords */
    TOKEN_KEYWORD_BEGIN = TOKEN_AGGREGATOR_END,
    TOKEN_BOOL = TOKEN_KEYWORD_BEGIN,
    TOKEN_BY,
    TOKEN_GROUP_LEFT,
    TOKEN_GROUP_RIGHT,
    TOKEN_FILL,
    TOKEN_FILL_LEFT,
    TOKEN_FILL_RIGHT,
    TOKEN_IGNORING,
    TOKEN_OFFSET,
    TOKEN_SMOOTHED,
    TOKEN_ANCHORED,
    TOKEN_ON,
    TOKEN_WITHOUT,
    TOKEN_KEYWORD_END,
    /* words that are also functions */
    TOKEN_START = TOKEN_KEYWORD_END,
    TOKEN_END,
    TOKEN_STEP,
    TOKEN_RANGE,
    TOKEN_MAX_OF,
    TOKEN_MIN_OF,
    TOKEN_TYPE_COUNT
};

struct token {
    enum token_type type;
    uint32_t pos; /* byte offset; for TOKEN_ERROR where the error is reported */
    struct query_str text;
};

enum lexer_state {
    LEXER_PLAIN = 0,
    LEXER_DURATION,
    LEXER_DONE
};

struct lexer {
    const char *text;
    uint32_t len;
    uint32_t pos;   /* next byte to read */
    uint32_t start; /* first byte of the token that is being read */
    enum lexer_state state;
    int paren_depth;
    bool brace_open;
    bool bracket_open;
    bool got_colon;    /* since the last [ */
    bool got_duration; /* ever in a [: Prometheus never resets it */
    char error[160];
    struct query_str quoted; /* belongs behind the error, in quotes; data NULL: nothing does */
};

void lexer_init(struct lexer *l, const char *text, uint32_t len);
/* What the last TOKEN_ERROR was about; its own text ends before what may be of any length. */
void lexer_error_print(const struct lexer *l, struct tsdb_buf *out);
/* The next token that is no comment. After TOKEN_ERROR or TOKEN_EOF do not call again. */
void lexer_next(struct lexer *l, struct token *out);

static inline bool token_is_operator(enum token_type t)
{
    return t >= TOKEN_OPERATOR_BEGIN && t < TOKEN_OPERATOR_END;
}
static inline bool token_is_aggregator(enum token_type t)
{
    return t >= TOKEN_AGGREGATOR_BEGIN && t < TOKEN_AGGREGATOR_END;
}
static inline bool token_is_keyword(enum token_type t)
{
    return t >= TOKEN_KEYWORD_BEGIN && t < TOKEN_KEYWORD_END;
}
static inline bool token_is_comparison(enum token_type t)
{
    return t >= TOKEN_EQLC && t <= TOKEN_GTR;
}
static inline bool token_is_set_operator(enum token_type t)
{
    return t == TOKEN_LAND || t == TOKEN_LOR || t == TOKEN_LUNLESS;
}
/* How an operator, aggregator or keyword is spelled in printed expressions: "+", "sum". */
const char *token_type_text(enum token_type t);
/* The token as the object of "unexpected ...". */
void token_describe(const struct token *t, struct tsdb_buf *out);

#endif
