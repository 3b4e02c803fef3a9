/* Results as JSON: in pieces of any size, from where the last one ended. */
#include "base/format.h"
#include "query/json.h"
#include "query/json_private.h"

/* What a point with a float may take, with brackets, comma and quotes. */
#define POINT_BYTES_MAX (8u + TSDB_FORMAT_TIMESTAMP_MAX + TSDB_FORMAT_JSON_MAX)

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
static void put_floats(struct query_json *j, const struct query_series *s, uint32_t count,
                       struct tsdb_buf *out)
{
    size_t most = out->len_max == 0 ? SIZE_MAX : out->len_max - TSDB_MIN(out->len, out->len_max);
    char *begin = most < FLOATS_BYTES ? NULL : (char *)tsdb_buf_reserve(out, FLOATS_BYTES);
    if (!begin) { /* one by one: it may just fit */
        return;
    }
    size_t before = out->len;
    char *p = begin;
    uint32_t end = j->point + TSDB_MIN(FLOATS_AT_ONCE, count - j->point);
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
    uint32_t end = TSDB_MIN(s->point_count, j->until);
    while (j->point < end) {
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
            put_floats(j, s, end, out);
        }
    }
    if (end < s->point_count) {
        return false;
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

void json_stand_at(struct query_json *j, struct query_json_place at)
{
    j->series = at.series;
    j->point = at.point;
    j->stage = at.point > 0 ? 1 : 0;
    j->open = at.point > 0;
}

bool json_put_up_to(struct query_json *j, struct query_json_place end, struct tsdb_buf *out)
{
    for (; j->series < end.series; j->series++) {
        if (!go_on(j, out) || !put_series(j, out)) {
            return false;
        }
    }
    if (j->point >= end.point) {
        return true;
    }
    j->until = end.point;
    (void)put_series(j, out);
    j->until = UINT32_MAX;
    return j->point == end.point;
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
static void reserve_usual(const struct query_json *j, struct tsdb_buf *out)
{
    size_t most = out->len_max == 0 ? SIZE_MAX : out->len_max - TSDB_MIN(out->len, out->len_max);
    most = TSDB_MIN(most, j->enough);
    (void)tsdb_buf_reserve(out,
                           (size_t)TSDB_MIN(json_bytes_usual(j->result, most), (uint64_t)most));
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
                      struct tsdb_request *request, struct query_crew *crew)
{
    *j = (struct query_json){.result = r, .request = request, .until = UINT32_MAX};
    j->ahead = json_ahead_begin(r, request, crew);
    if (!j->ahead) {
        j->end.series = r->series_count;
    }
    if (r->series_count >= TIMES_FROM) {
        j->times = tsdb_mem_alloc_zero(TSDB_MEM_QUERY, sizeof *j->times);
    }
}

/* The list goes on. True: that was all of it. */
static bool put_list(struct query_json *j, struct tsdb_buf *out)
{
    while (json_put_up_to(j, j->end, out)) {
        if (j->series == j->result->series_count) {
            return true;
        }
        if (!go_on(j, out)) {
            return false;
        }
        json_ahead_take(j, out);
    }
    return false;
}

enum tsdb_status query_json_put(struct query_json *j, size_t enough, struct tsdb_buf *out,
                                bool *out_done)
{
    const struct query_result *r = j->result;
    bool list = json_is_list(r);
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
    if (list && !put_list(j, out)) {
        return j->status;
    }
    tsdb_buf_put_str(out, list ? "]}" : "}");
    *out_done = true;
    return j->status;
}

void query_json_end(struct query_json *j)
{
    json_ahead_end(j->ahead);
    tsdb_mem_free(TSDB_MEM_QUERY, j->times, sizeof *j->times);
    j->ahead = NULL;
    j->times = NULL;
}

enum tsdb_status query_result_json(const struct query_result *r, struct tsdb_request *request,
                                   struct tsdb_buf *out)
{
    struct query_json j;
    bool done;
    query_json_begin(&j, r, request, NULL);
    enum tsdb_status status = query_json_put(&j, SIZE_MAX, out, &done);
    query_json_end(&j);
    return status;
}
