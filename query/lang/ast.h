/* The typed tree of a PromQL expression, as the parser leaves it: immutable, in the caller's arena.
 *
 * Positions are byte offsets into the text, [start, end). Durations are milliseconds; where the
 * query wrote an expression ("[2 * 5m]", "offset step()") the *_expr pointer holds it and the
 * number is 0 until query_duration_eval. Strings borrow from the text or the arena.
 */
#ifndef QUERY_LANG_AST_H
#define QUERY_LANG_AST_H

#include "query/lang/lexer.h"
#include "query/query.h"

enum query_expr_kind {
    EXPR_NUMBER = 0,
    EXPR_STRING,
    EXPR_VECTOR, /* vector selector */
    EXPR_MATRIX, /* vector selector with a range */
    EXPR_SUBQUERY,
    EXPR_PAREN,
    EXPR_UNARY,
    EXPR_BINARY,
    EXPR_AGGREGATE,
    EXPR_CALL,
    EXPR_DURATION, /* only below *_expr fields */
};

enum query_at {
    QUERY_AT_NONE = 0,
    QUERY_AT_TIME,
    QUERY_AT_START,
    QUERY_AT_END
};

/* offset and @ of a selector or subquery. */
struct query_shift {
    int64_t offset_ms;
    const struct query_expr *offset_expr;
    enum query_at at;
    int64_t at_ms; /* QUERY_AT_TIME */
};

enum query_card {
    CARD_ONE_TO_ONE = 0,
    CARD_MANY_TO_ONE,
    CARD_ONE_TO_MANY,
    CARD_MANY_TO_MANY
};

struct query_names {
    const struct query_str *items;
    uint32_t count;
};

struct query_matching {
    enum query_card card;
    bool on; /* labels are the ones to match on; else the ones to ignore */
    struct query_names labels;
    struct query_names include; /* of group_left, group_right */
    bool fill_left, fill_right;
    double fill_left_value, fill_right_value;
};

struct query_text {
    const char *data;
    uint32_t len;
};

struct query_function;

struct query_expr {
    enum query_expr_kind kind;
    enum query_type type;
    uint32_t start, end;
    uint32_t depth;                /* of the tree below, 1 for a leaf */
    const struct query_text *text; /* of the whole query */
    union {
        struct {
            double value;
            bool is_duration; /* printed as one */
        } number;
        struct query_str string;
        struct {
            struct query_str name; /* written before the braces; empty if there was none */
            const struct tsdb_matcher *matchers; /* the name's matcher last */
            uint32_t matcher_count;
            struct query_shift shift;
            bool anchored, smoothed;
        } vector;
        struct {
            struct query_expr *selector; /* EXPR_VECTOR; its shift is the shift of the whole */
            int64_t range_ms;
            const struct query_expr *range_expr;
        } matrix;
        struct {
            struct query_expr *body;
            int64_t range_ms, step_ms; /* step 0: the default */
            const struct query_expr *range_expr, *step_expr;
            struct query_shift shift;
        } subquery;
        struct query_expr *paren;
        struct {
            enum token_type op;
            struct query_expr *body;
        } unary;
        struct {
            enum token_type op;
            struct query_expr *left, *right;
            bool returns_bool;
            bool has_matching; /* both sides are vectors */
            struct query_matching matching;
        } binary;
        struct {
            enum token_type op;
            struct query_expr *body;
            struct query_expr *param; /* NULL: none */
            struct query_names grouping;
            bool without;
        } aggregate;
        struct {
            const struct query_function *function;
            struct query_expr **args;
            uint32_t arg_count;
        } call;
        struct {
            enum token_type op;              /* arithmetic, TOKEN_STEP, _RANGE, _MIN_OF, _MAX_OF */
            struct query_expr *left, *right; /* left NULL: unary; both NULL: step(), range() */
            bool wrapped;                    /* in parentheses */
        } duration;
    } u;
};

static inline bool query_str_equal(struct query_str a, const char *b)
{
    return a.len == strlen(b) && (a.len == 0 || memcmp(a.data, b, a.len) == 0);
}

/* e without parentheses around it. */
const struct query_expr *query_expr_unwrap(const struct query_expr *e);

/* "1:6" of a byte offset in the query. */
void query_position_print(const struct query_text *text, uint32_t pos, struct tsdb_buf *out);

/* Walk the tree before its children; stops and returns false when fn does. Duration expressions are
 * not visited. */
typedef bool (*query_expr_visit_fn)(void *arg, const struct query_expr *e);
bool query_expr_visit(const struct query_expr *e, query_expr_visit_fn fn, void *arg);

/* The value of a duration expression in milliseconds. step and range are those of the query, in
 * seconds. INVALID with Prometheus's text ("4:9: duration must be greater than 0"). */
enum tsdb_status query_duration_eval(const struct query_expr *e, double step_s, double range_s,
                                     bool negative_allowed, int64_t *out_ms,
                                     struct tsdb_error *err) TSDB_WUR;

#endif
