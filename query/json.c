#include "query/json.h"

#include "base/format.h"
#include "query/hist/walk.h"
#include "query/lang/ast.h"
#include "query/lang/functions.h"
#include "query/lang/text.h"
#include "query/query.h"

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Are all eight bytes plain? Each test leaves its answer in the top bit of each byte. */
static bool is_plain_eight(const char *s)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t tops = UINT64_C(0x8080808080808080);
    uint64_t x;
    memcpy(&x, s, sizeof x);
    uint64_t quote = x ^ ('"' * ones);
    uint64_t slash = x ^ ('\\' * ones);
    uint64_t odd = x | (x - 0x20 * ones) | (quote - ones) | (slash - ones);
    return (odd & tops) == 0;
}

/* How many bytes from s[0] on are plain. */
static size_t plain_run(const char *s, size_t len)
{
    size_t n = 0;
    while (n + 8 <= len && is_plain_eight(s + n)) {
        n += 8;
    }
    while (n < len && is_plain((uint8_t)s[n])) {
        n++;
    }
    return n;
}

static void put_escape(struct tsdb_buf *out, uint8_t c)
{
    switch (c) {
    case '"':
        tsdb_buf_put_str(out, "\\\"");
        break;
    case '\\':
        tsdb_buf_put_str(out, "\\\\");
        break;
    case '\n':
        tsdb_buf_put_str(out, "\\n");
        break;
    case '\r':
        tsdb_buf_put_str(out, "\\r");
        break;
    case '\t':
        tsdb_buf_put_str(out, "\\t");
        break;
    default:
        tsdb_buf_printf(out, "\\u%04x", (unsigned)c);
        break;
    }
}

void json_string(struct tsdb_buf *out, const char *s, size_t len)
{
    size_t plain = plain_run(s, len);
    char *p = plain == len && len > 0 ? (char *)tsdb_buf_reserve(out, len + 2) : NULL;
    if (p) { /* as nearly all of them are */
        *p++ = '"';
        memcpy(p, s, len);
        p[len] = '"';
        out->len += len + 2;
        return;
    }
    tsdb_buf_put_u8(out, '"');
    for (size_t i = 0; i < len;) {
        size_t run = plain_run(s + i, len - i);
        if (run > 0) {
            tsdb_buf_put(out, s + i, run);
            i += run;
            continue;
        }
        if ((uint8_t)s[i] < 0x80) {
            put_escape(out, (uint8_t)s[i++]);
            continue;
        }
        size_t width;
        uint32_t rune = query_rune_decode(s + i, len - i, &width);
        if (rune == QUERY_RUNE_ERROR && width == 1) {
            tsdb_buf_put_str(out, "\xef\xbf\xbd");
        } else {
            tsdb_buf_put(out, s + i, width);
        }
        i += width;
    }
    tsdb_buf_put_u8(out, '"');
}

void json_labels(struct tsdb_buf *out, const struct tsdb_labels *labels)
{
    tsdb_buf_put_u8(out, '{');
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        if (i > 0) {
            tsdb_buf_put_u8(out, ',');
        }
        json_string(out, l->name, l->name_len);
        tsdb_buf_put_u8(out, ':');
        json_string(out, l->value, l->value_len);
    }
    tsdb_buf_put_u8(out, '}');
}

void json_timestamp(struct tsdb_buf *out, int64_t ms)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    tsdb_buf_put(out, text, tsdb_format_timestamp_ms(text, ms));
}

void json_float(struct tsdb_buf *out, double v)
{
    char text[TSDB_FORMAT_FLOAT_MAX + 2];
    text[0] = '"';
    size_t n = tsdb_format_float_json(text + 1, v);
    text[n + 1] = '"';
    tsdb_buf_put(out, text, n + 2);
}

static void put_bucket(struct tsdb_buf *out, const struct hist_bucket *b, bool first)
{
    tsdb_buf_put_str(out, first ? ",\"buckets\":[[" : ",[");
    int rule = b->lower_inclusive ? (b->upper_inclusive ? 3 : 1) : b->upper_inclusive ? 0 : 2;
    tsdb_buf_put_u8(out, (uint8_t)('0' + rule));
    tsdb_buf_put_u8(out, ',');
    json_float(out, b->lower);
    tsdb_buf_put_u8(out, ',');
    json_float(out, b->upper);
    tsdb_buf_put_u8(out, ',');
    json_float(out, b->count);
    tsdb_buf_put_u8(out, ']');
}

void json_histogram(struct tsdb_buf *out, const struct tsdb_histogram *m)
{
    tsdb_buf_put_str(out, "{\"count\":");
    json_float(out, m->is_float ? m->count_float : (double)m->count_int);
    tsdb_buf_put_str(out, ",\"sum\":");
    json_float(out, m->sum);
    struct tsdb_arena arena; /* absolute counts of an integer histogram */
    struct hist h;
    struct hist_walk w;
    bool any = false;
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 4096, NULL);
    if (hist_view(m, &arena, &h) != TSDB_OK) {
        out->failed = true;
        tsdb_arena_deinit(&arena);
        return;
    }
    /* The walk leaves out a zero bucket that is negative or NaN, which arithmetic can make. */
    bool zero_due = h.zero_count != 0 && !(h.zero_count > 0);
    const struct hist_bucket zero = {-h.zero_threshold, h.zero_threshold, h.zero_count, true, true};
    hist_walk_init(&w, &h, HIST_ASCENDING);
    for (bool more = true; more;) {
        more = hist_walk_next(&w);
        if (zero_due && (!more || w.part == HIST_PART_LAST)) {
            put_bucket(out, &zero, !any);
            any = true;
            zero_due = false;
        }
        if (more && w.count != 0) {
            const struct hist_bucket b = hist_walk_bucket(&w);
            put_bucket(out, &b, !any);
            any = true;
        }
    }
    tsdb_arena_deinit(&arena);
    tsdb_buf_put_str(out, any ? "]}" : "}");
}

/* ---- plans ---- */

/* As much as is said of an expression: all of it at every level would be quadratic in the query. */
#define PLAN_EXPR_BYTES_MAX 256u

static const char *operator_name(const struct query_expr *e)
{
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_DURATION:
        return "literal";
    case EXPR_VECTOR:
        return "selector";
    case EXPR_MATRIX:
        return "range selector";
    case EXPR_SUBQUERY:
        return "subquery";
    case EXPR_PAREN:
        return operator_name(query_expr_unwrap(e));
    case EXPR_UNARY:
        return token_type_text(e->u.unary.op);
    case EXPR_BINARY:
        return token_type_text(e->u.binary.op);
    case EXPR_AGGREGATE:
        return token_type_text(e->u.aggregate.op);
    case EXPR_CALL:
        return e->u.call.function->name;
    }
    return "";
}

void query_plan_json(const struct query_plan *plan, struct tsdb_buf *out)
{
    const struct query_expr *e = plan->expr;
    char seconds[TSDB_FORMAT_FLOAT_MAX];
    const char *name = operator_name(e);
    size_t len = TSDB_MIN(e->end - e->start, PLAN_EXPR_BYTES_MAX);
    tsdb_buf_put_str(out, "{\"operator\":");
    json_string(out, name, strlen(name));
    tsdb_buf_put_str(out, ",\"expr\":");
    json_string(out, e->text->data + e->start, len);
    tsdb_buf_printf(out,
                    ",\"series\":%llu,\"samples\":%llu,\"chunks\":{\"read\":%llu,\"cached\":%llu,"
                    "\"skipped\":%llu},\"seconds\":",
                    (unsigned long long)plan->series, (unsigned long long)plan->samples,
                    (unsigned long long)plan->chunks.read, (unsigned long long)plan->chunks.cached,
                    (unsigned long long)plan->chunks.skipped);
    tsdb_buf_put(out, seconds, tsdb_format_float_json(seconds, (double)plan->ns / 1e9));
    tsdb_buf_put_str(out, ",\"children\":[");
    for (const struct query_plan *p = plan->first; p; p = p->next) {
        query_plan_json(p, out);
        tsdb_buf_put_str(out, p->next ? "," : "");
    }
    tsdb_buf_put_str(out, "]}");
}
