/* What json_result.c and json_ahead.c share. */
#ifndef QUERY_JSON_PRIVATE_H
#define QUERY_JSON_PRIVATE_H

#include "base/format.h"
#include "query/query.h"

#define JSON_POINT_BYTES 36u /* a point, usually; and so a label */

static inline bool json_is_list(const struct query_result *r)
{
    return r->type == QUERY_TYPE_VECTOR || r->type == QUERY_TYPE_MATRIX;
}
static inline uint64_t json_series_bytes(const struct query_series *s)
{
    return ((uint64_t)s->labels.count + s->point_count) * JSON_POINT_BYTES;
}
/* What the series take, usually; not looked further once that is `most`. */
static inline uint64_t json_bytes_usual(const struct query_result *r, uint64_t most)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < r->series_count && bytes < most; i++) {
        bytes += json_series_bytes(&r->series[i]);
    }
    return bytes;
}

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

/* ---- json_result.c ---- */

/* As if what is before `at` had been written. */
void json_stand_at(struct query_json *j, struct query_json_place at);
/* From where it stands. False: there is more, or it failed. */
bool json_put_up_to(struct query_json *j, struct query_json_place end, struct tsdb_buf *out);

/* ---- json_ahead.c ---- */

/* NULL: nobody helps, because it is not worth it or for want of memory. */
struct query_json_ahead *json_ahead_begin(const struct query_result *r,
                                          struct tsdb_request *request, struct query_crew *crew);
/* The next span: written, or j->end is its end, to be written by the caller. */
void json_ahead_take(struct query_json *j, struct tsdb_buf *out);
void json_ahead_end(struct query_json_ahead *a); /* NULL is fine */

#endif
