/* POST /api/v1/read: what another Prometheus asks for to evaluate by itself. */
#include "server/remote/read_wire.h"

#include "ingest/snappy.h"
#include "server/api/handlers.h"
#include "server/api/raw.h"

#include <inttypes.h>

#define SCRATCH_BYTES (256u << 10)

/* One request being answered. */
struct reading {
    struct call *call;
    struct read_request request;
    struct tsdb_labels external;
    struct tsdb_arena scratch; /* of one series; charged like the call's */
    struct tsdb_buf raw;       /* the response before Snappy */
    struct tsdb_buf *out;      /* what grows: raw, or the frames */
    uint64_t charged_bytes;    /* of it, to the request's account */
    struct read_stream stream;
};

/* Buffers do not charge themselves. */
static enum tsdb_status charge_growth(struct reading *r)
{
    if (r->out->failed) {
        return TSDB_LIMIT;
    }
    uint64_t grown = r->out->cap - r->charged_bytes;
    enum tsdb_status status = tsdb_account_charge(&r->call->request.account, grown);
    r->charged_bytes += status == TSDB_OK ? grown : 0;
    return status;
}

/* "is the external label so and so" is true of every series here: what must not be there is a label
 * of its own with that name. As Prometheus does. */
static void filter_matchers(const struct tsdb_labels *external, struct read_query *q)
{
    for (uint32_t i = 0; i < q->matcher_count; i++) {
        struct tsdb_matcher *m = &q->matchers[i];
        const struct tsdb_label *l = tsdb_labels_find(external, m->name, m->name_len);
        if (l && m->op == TSDB_MATCH_EQ &&
            tsdb_str_compare(l->value, l->value_len, m->value, m->value_len) == 0) {
            m->value_len = 0;
        }
    }
}

static enum tsdb_status put_series(struct reading *r, uint32_t query_index,
                                   const struct tsdb_labels *own,
                                   const struct tsdb_columns *columns, struct tsdb_error *err)
{
    struct tsdb_labels labels;
    enum tsdb_status status = read_labels_merge(own, &r->external, &r->scratch, &labels);
    if (status != TSDB_OK) {
        return status;
    }
    if (r->request.streamed) {
        status = read_stream_series(&r->stream, query_index, &labels, columns, err);
    } else {
        read_result_series(r->out, &labels, columns);
    }
    return status == TSDB_OK ? charge_growth(r) : status;
}

/* Samples are counted where they come whole, as Prometheus does; frames have no limit but memory. */
static enum tsdb_status count_samples(const struct reading *r, uint32_t count, uint64_t *samples,
                                      struct tsdb_error *err)
{
    uint64_t limit = r->call->server->options.read_samples_max;
    *samples += count;
    return r->request.streamed || limit == 0 || *samples <= limit
               ? TSDB_OK
               : tsdb_error_set(err, TSDB_INVALID, "exceeded sample limit (%" PRIu64 ")", limit);
}

static enum tsdb_status read_all(struct reading *r, uint32_t query_index, struct tsdb_querier *q,
                                 const struct raw_series *list, uint32_t count,
                                 struct tsdb_error *err)
{
    const struct read_query *query = &r->request.queries[query_index];
    uint64_t samples = 0;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        struct tsdb_columns columns;
        tsdb_arena_reset(&r->scratch);
        status = tsdb_request_check(&r->call->request);
        if (status == TSDB_OK) {
            status = tsdb_series_read(q, list[i].ref, query->range, &r->scratch, &columns, err);
        }
        if (status != TSDB_OK || columns.count == 0) {
            continue;
        }
        if (query->names_only && !r->request.streamed) {
            columns.count = 0;
        }
        status = count_samples(r, columns.count, &samples, err);
        if (status == TSDB_OK) {
            status = put_series(r, query_index, &list[i].labels, &columns, err);
        }
    }
    return status;
}

static enum tsdb_status answer_query(struct reading *r, uint32_t query_index,
                                     struct tsdb_error *err)
{
    struct call *c = r->call;
    struct read_query *query = &r->request.queries[query_index];
    struct tsdb_querier *q = NULL;
    struct raw_series *list = NULL;
    uint32_t count = 0;
    if (query->matcher_count == 0 || query->range.max_ms < query->range.min_ms) {
        return tsdb_request_check(&c->request); /* nothing is asked for, as Prometheus has it */
    }
    filter_matchers(&r->external, query);
    const struct tsdb_selector selector = {query->matchers, query->matcher_count};
    enum tsdb_status status = tsdb_querier_open(c->server->db, &c->request, query->range, &q, err);
    if (status == TSDB_OK) {
        status = raw_select(c, q, &selector, 1, &list, &count, err);
    }
    if (status == TSDB_OK) {
        status = read_all(r, query_index, q, list, count, err);
    }
    tsdb_querier_close(q);
    return status;
}

static enum tsdb_status answer_queries(struct reading *r, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < r->request.query_count && status == TSDB_OK; i++) {
        size_t begin = read_result_begin(r->out);
        status = answer_query(r, i, err);
        if (status == TSDB_OK && !r->request.streamed) {
            read_result_end(r->out, begin);
            status = charge_growth(r);
        }
    }
    return status;
}

static enum tsdb_status decode(struct call *c, struct read_request *out, struct tsdb_error *err)
{
    size_t bytes = 0;
    enum tsdb_status status =
        ingest_snappy_decoded_bytes(c->form.data, c->form.len, READ_REQUEST_BYTES_MAX, &bytes, err);
    if (status != TSDB_OK) {
        return TSDB_INVALID;
    }
    uint8_t *message = tsdb_arena_alloc(&c->arena, bytes + 1, 1);
    if (!message) {
        return tsdb_arena_status(&c->arena);
    }
    status = ingest_snappy_decode(c->form.data, c->form.len, message, bytes, err);
    return status == TSDB_OK ? read_request_decode(message, bytes, &c->arena, out, err) : status;
}

static enum tsdb_status answer(struct reading *r, struct tsdb_error *err)
{
    struct call *c = r->call;
    tsdb_buf_init(&r->raw, TSDB_MEM_QUERY, c->server->options.query_bytes_max);
    enum tsdb_status status;
    if (r->request.streamed) {
        call_ok(c, "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
        r->out = &c->out;
        read_stream_init(&r->stream, r->out, (size_t)c->server->options.read_frame_bytes_max);
        status = answer_queries(r, err);
        read_stream_deinit(&r->stream);
    } else {
        call_ok(c, "application/x-protobuf");
        r->out = &r->raw;
        status = answer_queries(r, err);
        if (status == TSDB_OK) {
            status = ingest_snappy_encode(r->raw.data, r->raw.len, &c->out, err);
        }
        c->content_encoding = "snappy";
    }
    tsdb_account_release(&c->request.account, r->charged_bytes);
    tsdb_buf_deinit(&r->raw);
    return status;
}

void api_read(struct call *c)
{
    struct reading r = {.call = c};
    struct tsdb_error err = {0};
    c->packing = ENVELOPE_PLAIN; /* Snappy, or chunks that are packed already */
    tsdb_arena_init(&r.scratch, TSDB_MEM_QUERY, SCRATCH_BYTES, &c->request.account);
    enum tsdb_status status = decode(c, &r.request, &err);
    if (status == TSDB_OK) {
        status = raw_external_labels(c, &r.external);
    }
    if (status == TSDB_OK) {
        status = answer(&r, &err);
    }
    tsdb_arena_deinit(&r.scratch);
    if (status != TSDB_OK) {
        c->content_encoding = NULL;
        raw_fail(c, status, &err);
    }
}
