/* What all of the parser stands on: tokens, nodes, and its first error. */
#include "query/lang/parser_private.h"

#include "base/assert.h"
#include "base/limits.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- errors ---- */

static bool fail_text(struct parser *p, uint32_t pos, const char *text)
{
    if (p->status != TSDB_OK) {
        return false;
    }
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    query_position_print(p->text, pos, &b);
    p->status = tsdb_error_set_whole(p->err, p->arena, TSDB_INVALID, pos, "%.*s: parse error: %s",
                                     (int)b.len, b.data ? (const char *)b.data : "", text);
    tsdb_buf_deinit(&b);
    return false;
}

/* Takes the buffer. */
static bool fail_buf(struct parser *p, uint32_t pos, struct tsdb_buf *b)
{
    tsdb_buf_put_u8(b, 0);
    if (b->failed) {
        parser_fail_nomem(p);
    } else {
        fail_text(p, pos, (const char *)b->data);
    }
    tsdb_buf_deinit(b);
    return false;
}

bool parser_fail(struct parser *p, uint32_t pos, const char *format, ...)
{
    struct tsdb_buf b;
    va_list args;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    va_start(args, format);
    tsdb_buf_vprintf(&b, format, args);
    va_end(args);
    return fail_buf(p, pos, &b);
}

bool parser_fail_quoted(struct parser *p, uint32_t pos, const char *format, struct query_str name)
{
    const char *hole = strstr(format, "%s");
    TSDB_ASSERT(hole != NULL);
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    tsdb_buf_put(&b, format, (size_t)(hole - format));
    query_quote(&b, name.data, name.len, 0);
    tsdb_buf_put_str(&b, hole + 2);
    return fail_buf(p, pos, &b);
}

bool parser_fail_nomem(struct parser *p)
{
    if (p->status == TSDB_OK) {
        enum tsdb_status status = tsdb_arena_status(p->arena);
        p->status = tsdb_error_set(p->err, status, "out of memory while parsing the query");
    }
    return false;
}

bool parser_unexpected(struct parser *p)
{
    const struct token *t = parser_peek(p);
    if (p->status != TSDB_OK) {
        return false;
    }
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    tsdb_buf_put_str(&b, "unexpected ");
    token_describe(t, &b);
    if (p->context.in[0]) {
        tsdb_buf_printf(&b, " in %s", p->context.in);
    }
    if (p->context.expected[0]) {
        tsdb_buf_printf(&b, ", expected %s", p->context.expected);
    }
    return fail_buf(p, t->pos, &b);
}

/* ---- tokens ---- */

const struct token *parser_peek(struct parser *p)
{
    if (!p->has_token) {
        lexer_next(&p->lexer, &p->token);
        p->has_token = true;
        if (p->token.type == TOKEN_ERROR) {
            struct tsdb_buf b;
            tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
            lexer_error_print(&p->lexer, &b);
            fail_buf(p, p->token.pos, &b);
        }
    }
    return &p->token;
}

struct token parser_take(struct parser *p)
{
    struct token t = *parser_peek(p);
    TSDB_ASSERT(t.type != TOKEN_ERROR && t.type != TOKEN_EOF);
    p->has_token = false;
    p->last_end = t.pos + t.text.len;
    return t;
}

bool parser_accept(struct parser *p, enum token_type type)
{
    if (parser_peek(p)->type != type) {
        return false;
    }
    parser_take(p);
    return true;
}

bool parser_expect(struct parser *p, enum token_type type)
{
    return parser_accept(p, type) || parser_unexpected(p);
}

/* ---- nodes ---- */

struct query_expr *parser_new(struct parser *p, enum query_expr_kind kind, enum query_type type,
                              uint32_t start, uint32_t end)
{
    struct query_expr *e = TSDB_ARENA_NEW(p->arena, struct query_expr);
    if (!e) {
        parser_fail_nomem(p);
        return NULL;
    }
    *e = (struct query_expr){
        .kind = kind, .type = type, .start = start, .end = end, .depth = 1, .text = p->text};
    return e;
}

bool parser_adopt(struct parser *p, struct query_expr *parent, const struct query_expr *child)
{
    if (child->depth + 1 > parent->depth) {
        parent->depth = child->depth + 1;
    }
    if (parent->depth > TSDB_QUERY_TREE_MAX && p->status == TSDB_OK) {
        p->status = tsdb_error_set_at(p->err, TSDB_LIMIT, child->start,
                                      "query is too complex: more than %d operators in a chain",
                                      TSDB_QUERY_TREE_MAX);
    }
    return p->status == TSDB_OK;
}

bool parser_enter(struct parser *p)
{
    if (p->depth >= TSDB_QUERY_DEPTH_MAX) {
        if (p->status == TSDB_OK) {
            p->status =
                tsdb_error_set_at(p->err, TSDB_LIMIT, p->last_end,
                                  "query is nested more than %d levels deep", TSDB_QUERY_DEPTH_MAX);
        }
        return false;
    }
    p->depth++;
    return true;
}
