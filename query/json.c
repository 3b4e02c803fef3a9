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

/* ---- results ---- */

/* What a point with a float may take, with brackets, comma and quotes. */
#define POINT_BYTES_MAX (8u + TSDB_FORMAT_TIMESTAMP_MAX + TSDB_FORMAT_JSON_MAX)

/* Texts of times, by the place of a point in its series: those of all series are mostly the same. */
#define TIMES_MAX  1024u
#define TIMES_FROM 4u /* series, before that is worth its memory */
struct query_json_times {
    struct {
        int64_t t_ms;
        uint32_t len; /* 0: none yet */
        char text[TSDB_FORMAT_TIMESTAMP_MAX];
    } items[TIMES_MAX];
};

static char *put_time(char *p, struct query_json_times *times, uint32_t place, int64_t t_ms)
{
    if (!times) {
        return p + tsdb_format_timestamp_ms(p, t_ms);
    }
    uint32_t i = place % TIMES_MAX;
    if (times->items[i].len == 0 || times->items[i].t_ms != t_ms) {
        times->items[i].t_ms = t_ms;
        times->items[i].len = (uint32_t)tsdb_format_timestamp_ms(times->items[i].text, t_ms);
    }
    memcpy(p, times->items[i].text, TSDB_FORMAT_TIMESTAMP_MAX);
    return p + times->items[i].len;
}

/* A point with a float, which takes POINT_BYTES_MAX at most. times: may be NULL. */
static char *put_float(char *p, const struct query_point *point, struct query_json_times *times,
                       uint32_t place)
{
    *p++ = '[';
    p = put_time(p, times, place, point->t_ms);
    *p++ = ',';
    *p++ = '"';
    p += tsdb_format_float_json(p, point->value);
    *p++ = '"';
    *p++ = ']';
    return p;
}

/* The point at this place of its series. times: may be NULL. */
static void put_point(struct tsdb_buf *out, const struct query_point *point,
                      struct query_json_times *times, uint32_t place)
{
    char *begin = (char *)tsdb_buf_reserve(out, POINT_BYTES_MAX);
    if (!begin) {
        return;
    }
    if (!point->histogram) {
        out->len += (size_t)(put_float(begin, point, times, place) - begin);
        return;
    }
    char *p = begin;
    *p++ = '[';
    p = put_time(p, times, place, point->t_ms);
    *p++ = ',';
    out->len += (size_t)(p - begin);
    json_histogram(out, point->histogram);
    tsdb_buf_put_u8(out, ']');
}

/* Looks at the request every so many points and series. */
#define WATCH_EVERY 512u

/* False: enough for now, or stopped. */
static bool go_on(struct query_json *j, const struct tsdb_buf *out)
{
    if (j->request && j->status == TSDB_OK && (j->turns == 0 || j->turns >= WATCH_EVERY)) {
        j->status = tsdb_request_check(j->request);
        j->turns = 0;
    }
    j->turns++;
    return j->status == TSDB_OK && !out->failed && out->len < j->enough;
}

/* Floats behind the first of a list, up to the next histogram, as many as there is room for at once and until
 * there is enough. */
#define FLOATS_AT_ONCE 32u
#define FLOATS_BYTES   (FLOATS_AT_ONCE * (1 + POINT_BYTES_MAX))
static void put_floats(struct query_json *j, const struct query_series *s, struct tsdb_buf *out)
{
    size_t most = out->len_max == 0 ? SIZE_MAX : out->len_max - TSDB_MIN(out->len, out->len_max);
    char *begin = most < FLOATS_BYTES ? NULL : (char *)tsdb_buf_reserve(out, FLOATS_BYTES);
    if (!begin) { /* one by one: it may just fit */
        return;
    }
    size_t before = out->len;
    char *p = begin;
    uint32_t end = j->point + TSDB_MIN(FLOATS_AT_ONCE, s->point_count - j->point);
    uint32_t i = j->point;
    for (; i < end && !s->points[i].histogram && before + (size_t)(p - begin) < j->enough; i++) {
        *p++ = ',';
        p = put_float(p, &s->points[i], j->times, i);
    }
    j->turns += i - j->point;
    j->point = i;
    out->len += (size_t)(p - begin);
}

/* "values":[...] or "histograms":[...]: the points of one kind, if there are any. False: there are more. */
static bool put_points(struct query_json *j, const struct query_series *s, bool histograms,
                       struct tsdb_buf *out)
{
    while (j->point < s->point_count) {
        if (!go_on(j, out)) {
            return false;
        }
        if ((s->points[j->point].histogram != NULL) != histograms) {
            j->point++;
            continue;
        }
        if (j->open) {
            tsdb_buf_put_u8(out, ',');
        } else {
            tsdb_buf_put_str(out, histograms ? ",\"histograms\":[" : ",\"values\":[");
        }
        j->open = true;
        put_point(out, &s->points[j->point], j->times, j->point);
        j->point++;
        if (!histograms) {
            put_floats(j, s, out);
        }
    }
    if (j->open) {
        tsdb_buf_put_u8(out, ']');
    }
    j->open = false;
    j->point = 0;
    return true;
}

/* One series, from where it was left. False: there is more of it. */
static bool put_series(struct query_json *j, struct tsdb_buf *out)
{
    const struct query_series *s = &j->result->series[j->series];
    if (j->stage == 0) {
        tsdb_buf_put_str(out, j->series > 0 ? ",{\"metric\":" : "{\"metric\":");
        json_labels(out, &s->labels);
        j->stage++;
    }
    if (j->result->type == QUERY_TYPE_VECTOR) {
        tsdb_buf_put_str(out, s->points[0].histogram ? ",\"histogram\":" : ",\"value\":");
        put_point(out, &s->points[0], j->times, 0);
        j->stage = 3;
    }
    for (; j->stage < 3; j->stage++) {
        if (!put_points(j, s, j->stage == 2, out)) {
            return false;
        }
    }
    tsdb_buf_put_u8(out, '}');
    j->stage = 0;
    return true;
}

/* Scalars and strings have the time as an ordinary JSON number. */
static void put_seconds(struct tsdb_buf *out, int64_t ms)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    tsdb_buf_put(out, text, tsdb_format_float_json(text, (double)ms / 1000));
}

static void put_scalar(struct tsdb_buf *out, const struct query_point *p)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    tsdb_buf_put_u8(out, '[');
    put_seconds(out, p->t_ms);
    tsdb_buf_put_str(out, ",\"");
    tsdb_buf_put(out, text, tsdb_format_float_fixed(text, p->value));
    tsdb_buf_put_str(out, "\"]");
}

/* Room for a large answer at once: growing by doubling would move and touch it several times over. */
#define POINT_BYTES_USUAL 36u
static void reserve_usual(const struct query_json *j, struct tsdb_buf *out)
{
    const struct query_result *r = j->result;
    uint64_t points = 0;
    for (uint32_t i = 0; i < r->series_count && points < j->enough / POINT_BYTES_USUAL; i++) {
        points += r->series[i].point_count;
    }
    size_t most = out->len_max == 0 ? SIZE_MAX : out->len_max - TSDB_MIN(out->len, out->len_max);
    most = TSDB_MIN(most, j->enough);
    (void)tsdb_buf_reserve(out, (size_t)TSDB_MIN(points * POINT_BYTES_USUAL, (uint64_t)most));
}

static void put_single(const struct query_result *r, struct tsdb_buf *out)
{
    if (r->type == QUERY_TYPE_SCALAR) {
        put_scalar(out, &r->scalar);
        return;
    }
    tsdb_buf_put_u8(out, '[');
    put_seconds(out, r->string_t_ms);
    tsdb_buf_put_u8(out, ',');
    json_string(out, r->string, r->string_len);
    tsdb_buf_put_u8(out, ']');
}

void query_json_begin(struct query_json *j, const struct query_result *r,
                      const struct tsdb_request *request)
{
    *j = (struct query_json){.result = r, .request = request};
    if (r->series_count >= TIMES_FROM) {
        j->times = tsdb_mem_alloc_zero(TSDB_MEM_QUERY, sizeof *j->times);
    }
}

enum tsdb_status query_json_put(struct query_json *j, size_t enough, struct tsdb_buf *out,
                                bool *out_done)
{
    const struct query_result *r = j->result;
    bool list = r->type == QUERY_TYPE_VECTOR || r->type == QUERY_TYPE_MATRIX;
    j->enough = enough;
    *out_done = false;
    if (!j->begun) {
        reserve_usual(j, out);
        tsdb_buf_printf(out, "{\"resultType\":\"%s\",\"result\":", query_type_name(r->type));
        if (list) {
            tsdb_buf_put_u8(out, '[');
        } else {
            put_single(r, out);
        }
        j->begun = true;
    }
    for (; list && j->series < r->series_count; j->series++) {
        if (!go_on(j, out) || !put_series(j, out)) {
            return j->status;
        }
    }
    tsdb_buf_put_str(out, list ? "]}" : "}");
    *out_done = true;
    return j->status;
}

void query_json_end(struct query_json *j)
{
    tsdb_mem_free(TSDB_MEM_QUERY, j->times, sizeof *j->times);
    j->times = NULL;
}

enum tsdb_status query_result_json(const struct query_result *r, const struct tsdb_request *request,
                                   struct tsdb_buf *out)
{
    struct query_json j;
    bool done;
    query_json_begin(&j, r, request);
    enum tsdb_status status = query_json_put(&j, SIZE_MAX, out, &done);
    query_json_end(&j);
    return status;
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
