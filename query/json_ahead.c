/* Helpers write what comes next of a long list, a span each, to be taken one after the other; also while the client
 * reads. A span that turns out to be too long is written when its turn comes. */
#include "base/assert.h"
#include "query/crew.h"
#include "query/json_private.h"

#define SPAN_BYTES_USUAL (24u << 10)
#define SPAN_BYTES_MAX   QUERY_JSON_OVER_BYTES
#define SPANS_AHEAD      16u /* that are held: together as much as a piece of an answer */
#define SPANS_MIN        48u /* before helpers are worth it */
#define LABEL_BYTES      36u /* a label, usually */

struct query_json_ahead {
    const struct query_result *result;
    struct tsdb_account *account;
    uint64_t charged_bytes;
    struct query_crew *crew;
    struct query_crew_group group;
    uint32_t lanes;
    uint32_t next; /* the span to be taken */
    uint32_t span_count;
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

/* Cuts the list into spans. places: NULL to count only. A series with histograms is one with its floats: they make two
 * lists. */
static uint32_t cut(const struct query_result *r, struct query_json_place *places)
{
    const uint32_t points_max = SPAN_BYTES_USUAL / JSON_POINT_BYTES;
    uint32_t spans = 0;
    uint64_t bytes = SPAN_BYTES_USUAL; /* so that the first series begins a span */
    for (uint32_t i = 0; i < r->series_count; i++) {
        const struct query_series *s = &r->series[i];
        uint64_t takes =
            (uint64_t)s->labels.count * LABEL_BYTES + (uint64_t)s->point_count * JSON_POINT_BYTES;
        if (bytes + takes > SPAN_BYTES_USUAL) {
            if (places) {
                places[spans] = (struct query_json_place){i, 0};
            }
            spans++;
            bytes = 0;
        }
        bytes += takes;
        if (s->point_count <= points_max || has_histograms(s)) {
            continue;
        }
        for (uint32_t k = points_max; k < s->point_count; k += points_max, spans++) {
            if (places) {
                places[spans] = (struct query_json_place){i, k};
            }
        }
    }
    if (places) {
        places[spans] = (struct query_json_place){r->series_count, 0};
    }
    return spans;
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
    tsdb_mem_free(TSDB_MEM_QUERY, a->places, (a->span_count + 1) * sizeof *a->places);
    if (a->account) {
        tsdb_account_release(a->account, a->charged_bytes);
    }
    tsdb_mem_free(TSDB_MEM_QUERY, a, sizeof *a);
}

static bool ahead_alloc(struct query_json_ahead *a)
{
    a->places = tsdb_mem_alloc(TSDB_MEM_QUERY, (a->span_count + 1) * sizeof *a->places);
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
    uint64_t bytes = TSDB_MIN(a->span_count, SPANS_AHEAD) * (uint64_t)SPAN_BYTES_MAX +
                     a->lanes * (uint64_t)sizeof *a->times[0] + a->span_count * sizeof *a->places;
    if (!request || tsdb_account_charge(&request->account, bytes) != TSDB_OK) {
        return !request;
    }
    a->account = &request->account;
    a->charged_bytes = bytes;
    return true;
}

struct query_json_ahead *json_ahead_begin(const struct query_result *r,
                                          struct tsdb_request *request, struct query_crew *crew)
{
    bool list = r->type == QUERY_TYPE_VECTOR || r->type == QUERY_TYPE_MATRIX;
    uint32_t lanes = TSDB_MIN(query_crew_threads(crew), QUERY_CREW_LANES_MAX);
    uint32_t spans = list && lanes > 1 ? cut(r, NULL) : 0;
    if (spans < SPANS_MIN) {
        return NULL;
    }
    struct query_json_ahead *a = tsdb_mem_alloc_zero(TSDB_MEM_QUERY, sizeof *a);
    if (!a) {
        return NULL;
    }
    a->result = r;
    a->crew = crew;
    a->lanes = lanes;
    a->span_count = spans;
    if (!ahead_charge(a, request) || !ahead_alloc(a)) {
        ahead_free(a);
        return NULL;
    }
    cut(r, a->places);
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
