/* Helpers write what comes next of a long list, a span each, to be taken one after the other; also while the client
 * reads. A span that turns out to be too long is written when its turn comes. */
#include "base/assert.h"
#include "query/crew.h"
#include "query/json_private.h"

#define SPAN_BYTES_USUAL (24u << 10)
#define SPAN_BYTES_MAX   QUERY_JSON_OVER_BYTES
#define SPANS_AHEAD      16u                      /* that are held */
#define BYTES_MIN        (48u * SPAN_BYTES_USUAL) /* before helpers are worth it */

/* An answer can do without helpers, other queries not without memory: so many times what they take has to be there. */
#define SPARE 8u

struct query_json_ahead {
    const struct query_result *result;
    struct tsdb_account *account;
    uint64_t charged_bytes;
    struct query_crew *crew;
    struct query_crew_group group;
    uint32_t lanes;
    uint32_t next; /* the span to be taken */
    uint32_t span_count, span_cap;
    struct query_json_place *places;    /* where each begins; the last one: where all end */
    struct tsdb_buf texts[SPANS_AHEAD]; /* of span i: at i modulo that */
    struct query_json_times *times[QUERY_CREW_LANES_MAX];
};

static bool has_histograms(const struct query_series *s)
{
    for (uint32_t i = 0; i < s->point_count; i++) {
        if (s->points[i].histogram) {
            return true;
        }
    }
    return false;
}

/* A series begins a span where it and the span before are more than usual together: two for so many bytes at most.
 * Long ones are cut every points_max, somewhat more than once for so many. */
static uint64_t spans_most(uint64_t bytes)
{
    return 4 * bytes / SPAN_BYTES_USUAL + 2;
}

static void span_begins(struct query_json_ahead *a, uint32_t series, uint32_t point)
{
    TSDB_ASSERT(a->span_count < a->span_cap);
    a->places[a->span_count++] = (struct query_json_place){series, point};
}

/* Cuts the list into spans. A series with histograms is one with its floats: they make two lists. */
static void cut(struct query_json_ahead *a)
{
    const struct query_result *r = a->result;
    const uint32_t points_max = SPAN_BYTES_USUAL / JSON_POINT_BYTES;
    uint64_t bytes = SPAN_BYTES_USUAL; /* so that the first series begins a span */
    for (uint32_t i = 0; i < r->series_count; i++) {
        const struct query_series *s = &r->series[i];
        uint64_t takes = json_series_bytes(s);
        if (bytes + takes > SPAN_BYTES_USUAL) {
            span_begins(a, i, 0);
            bytes = 0;
        }
        bytes += takes;
        bool whole = s->point_count <= points_max || has_histograms(s);
        for (uint32_t k = points_max; !whole && k < s->point_count; k += points_max) {
            span_begins(a, i, k);
        }
    }
    a->places[a->span_count] = (struct query_json_place){r->series_count, 0};
}

static void write_span(void *arg, uint32_t job, uint32_t lane)
{
    struct query_json_ahead *a = arg;
    struct tsdb_buf *out = &a->texts[job % SPANS_AHEAD];
    struct query_json j = {
        .result = a->result, .times = a->times[lane], .enough = SIZE_MAX, .until = UINT32_MAX};
    json_stand_at(&j, a->places[job]);
    tsdb_buf_clear(out);
    if (!json_put_up_to(&j, a->places[job + 1], out)) {
        out->failed = true;
    }
}

static void ahead_free(struct query_json_ahead *a)
{
    for (uint32_t i = 0; i < SPANS_AHEAD; i++) {
        tsdb_buf_deinit(&a->texts[i]);
    }
    for (uint32_t i = 0; i < a->lanes; i++) {
        tsdb_mem_free(TSDB_MEM_QUERY, a->times[i], sizeof *a->times[i]);
    }
    tsdb_mem_free(TSDB_MEM_QUERY, a->places, (a->span_cap + 1) * sizeof *a->places);
    if (a->account) {
        tsdb_account_release(a->account, a->charged_bytes);
    }
    tsdb_mem_free(TSDB_MEM_QUERY, a, sizeof *a);
}

static bool ahead_alloc(struct query_json_ahead *a)
{
    a->places = tsdb_mem_alloc(TSDB_MEM_QUERY, (a->span_cap + 1) * sizeof *a->places);
    for (uint32_t i = 0; i < SPANS_AHEAD; i++) {
        tsdb_buf_init(&a->texts[i], TSDB_MEM_QUERY, SPAN_BYTES_MAX);
    }
    bool ok = a->places != NULL;
    for (uint32_t i = 0; i < a->lanes && ok; i++) {
        a->times[i] = tsdb_mem_alloc_zero(TSDB_MEM_QUERY, sizeof *a->times[i]);
        ok = a->times[i] != NULL;
    }
    return ok;
}

static bool ahead_charge(struct query_json_ahead *a, struct tsdb_request *request)
{
    uint64_t bytes = SPANS_AHEAD * (uint64_t)SPAN_BYTES_MAX +
                     a->lanes * (uint64_t)sizeof *a->times[0] + a->span_cap * sizeof *a->places;
    if (!request) {
        return true;
    }
    if (tsdb_account_left(&request->account) / SPARE < bytes ||
        tsdb_account_charge(&request->account, bytes) != TSDB_OK) {
        return false;
    }
    a->account = &request->account;
    a->charged_bytes = bytes;
    return true;
}

struct query_json_ahead *json_ahead_begin(const struct query_result *r,
                                          struct tsdb_request *request, struct query_crew *crew)
{
    uint32_t lanes = TSDB_MIN(query_crew_threads(crew), QUERY_CREW_LANES_MAX);
    uint64_t bytes = lanes > 1 && json_is_list(r) ? json_bytes_usual(r, UINT64_MAX) : 0;
    if (bytes < BYTES_MIN || spans_most(bytes) > UINT32_MAX) {
        return NULL;
    }
    struct query_json_ahead *a = tsdb_mem_alloc_zero(TSDB_MEM_QUERY, sizeof *a);
    if (!a) {
        return NULL;
    }
    a->result = r;
    a->crew = crew;
    a->lanes = lanes;
    a->span_cap = (uint32_t)spans_most(bytes);
    if (!ahead_charge(a, request) || !ahead_alloc(a)) {
        ahead_free(a);
        return NULL;
    }
    cut(a);
    query_crew_begin(crew, &a->group, write_span, a, lanes);
    return a;
}

void json_ahead_take(struct query_json *j, struct tsdb_buf *out)
{
    struct query_json_ahead *a = j->ahead;
    uint32_t span = a->next++;
    TSDB_ASSERT(span < a->span_count);
    query_crew_allow(a->crew, &a->group, TSDB_MIN(a->span_count, span + SPANS_AHEAD));
    query_crew_need(a->crew, &a->group, span);
    struct tsdb_buf *text = &a->texts[span % SPANS_AHEAD];
    j->end = a->places[span + 1];
    if (!text->failed) {
        tsdb_buf_put(out, text->data, text->len);
        json_stand_at(j, j->end);
    }
}

void json_ahead_end(struct query_json_ahead *a)
{
    if (a) {
        query_crew_end(a->crew, &a->group);
        ahead_free(a);
    }
}
