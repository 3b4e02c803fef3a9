/* Shared by parser.c (the grammar), parser_leaf.c, parser_check.c, and parser_state.c on which they
 * stand. */
#ifndef QUERY_LANG_PARSER_PRIVATE_H
#define QUERY_LANG_PARSER_PRIVATE_H

#include "query/lang/ast.h"
#include "query/lang/functions.h"

/* What an unexpected token is said to stand in; the innermost one counts. */
struct parse_context {
    const char *in;       /* "" = nothing is said */
    const char *expected; /* likewise */
};

/* The parser stops at its first error, which is the one that Prometheus shows. Functions return
 * NULL (or false) then. */
struct parser {
    struct lexer lexer;
    struct token token; /* the look-ahead, if has_token */
    bool has_token;
    uint32_t last_end; /* end of the last token taken */
    struct parse_context context;
    const struct query_options *options;
    struct tsdb_arena *arena;
    const struct query_text *text;
    uint32_t depth; /* of the recursion */
    enum tsdb_status status;
    struct tsdb_error *err;
};

/* ---- parser_state.c ---- */
const struct token *parser_peek(struct parser *p); /* after an error: a TOKEN_ERROR */
struct token parser_take(struct parser *p);
bool parser_accept(struct parser *p, enum token_type type);
bool parser_expect(struct parser *p, enum token_type type);
/* Report the look-ahead as unexpected in the current context. Always false. */
bool parser_unexpected(struct parser *p);
/* "<line>:<col>: parse error: ..." */
bool parser_fail(struct parser *p, uint32_t pos, const char *format, ...) TSDB_PRINTF(3, 4);
/* The same for texts that hold a quoted name: format has one %s. */
bool parser_fail_quoted(struct parser *p, uint32_t pos, const char *format, struct query_str name);
bool parser_fail_nomem(struct parser *p);
struct query_expr *parser_new(struct parser *p, enum query_expr_kind kind, enum query_type type,
                              uint32_t start, uint32_t end);
/* Take the depth of a child into account; false when the tree is too deep. */
bool parser_adopt(struct parser *p, struct query_expr *parent, const struct query_expr *child);
bool parser_enter(struct parser *p);

/* ---- parser_leaf.c ---- */
struct query_expr *parser_number(struct parser *p); /* the look-ahead is a number or duration */
struct query_expr *parser_string(struct parser *p);
/* name: taken already, or type TOKEN_EOF for none. */
struct query_expr *parser_vector_selector(struct parser *p, struct token name);
struct query_expr *parser_range(struct parser *p, struct query_expr *e);  /* behind [ */
struct query_expr *parser_offset(struct parser *p, struct query_expr *e); /* behind "offset" */
struct query_expr *parser_at(struct parser *p, struct query_expr *e);     /* behind @ */

/* ---- parser_check.c ---- */
/* NOMEM; other failures count as "does not". */
enum tsdb_status parser_matcher_refuses_empty(const struct tsdb_matcher *m, bool *out) TSDB_WUR;
/* Types and meaning of a tree without syntax errors. */
bool parser_check(struct parser *p, struct query_expr *e);

#endif
