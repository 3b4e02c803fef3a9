/* POST /api/v1/otlp/v1/metrics: the answers of OTLP/HTTP, in the form that the request has.
 *
 *   all stored      200, an empty ExportMetricsServiceResponse
 *   some refused    200 with partial_success: how many data points, and why; exporters do not repeat it
 *   all refused     400 with a google.rpc.Status, as is what cannot be read
 *   not now         503 with Retry-After, and nothing was stored
 */
#include "query/json.h"
#include "server/api/handlers.h"

#include <string.h>
#include <strings.h>

#define CODE_INVALID_ARGUMENT 3u /* google.rpc.Code */
#define CODE_UNAVAILABLE      14u

bool api_otlp_negotiate(struct call *c, const char **out_text)
{
    const char *type = http_header(c->x, "Content-Type");
    size_t len = type ? strcspn(type, "; \t") : 0;
    bool json = len == 16 && strncasecmp(type, "application/json", len) == 0;
    c->protocol = json ? INGEST_OTLP_JSON : INGEST_OTLP;
    if (!json && !(len == 22 && strncasecmp(type, "application/x-protobuf", len) == 0)) {
        *out_text = "unsupported Content-Type: expected application/x-protobuf or application/json";
        return false;
    }
    *out_text = "unsupported Content-Encoding: expected gzip, zstd or none";
    return api_write_encoding(http_header(c->x, "Content-Encoding"), true, &c->encoding) &&
           c->encoding != INGEST_ENCODING_SNAPPY;
}

static void put_field(struct tsdb_buf *out, uint32_t field, const char *text)
{
    tsdb_buf_put_uvarint(out, field << 3 | 2);
    tsdb_buf_put_uvarint(out, strlen(text));
    tsdb_buf_put_str(out, text);
}

/* google.rpc.Status { 1 code, 2 message } */
static void put_status(struct tsdb_buf *out, bool json, uint32_t code, const char *text)
{
    if (json) {
        tsdb_buf_printf(out, "{\"code\":%u,\"message\":", code);
        json_string(out, text, strlen(text));
        tsdb_buf_put_u8(out, '}');
        return;
    }
    tsdb_buf_put_uvarint(out, 1 << 3);
    tsdb_buf_put_uvarint(out, code);
    put_field(out, 2, text);
}

/* ExportMetricsServiceResponse { 1 partial_success { 1 rejected_data_points, 2 error_message } } */
static void put_partial(struct tsdb_buf *out, bool json, uint32_t rejected, const char *text)
{
    if (json) {
        tsdb_buf_printf(
            out, "{\"partialSuccess\":{\"rejectedDataPoints\":\"%u\",\"errorMessage\":", rejected);
        json_string(out, text, strlen(text));
        tsdb_buf_put_str(out, "}}");
        return;
    }
    struct tsdb_buf inner;
    tsdb_buf_init(&inner, TSDB_MEM_SERVER, 0);
    tsdb_buf_put_uvarint(&inner, 1 << 3);
    tsdb_buf_put_uvarint(&inner, rejected);
    put_field(&inner, 2, text);
    tsdb_buf_put_uvarint(out, 1 << 3 | 2);
    tsdb_buf_put_uvarint(out, inner.len);
    tsdb_buf_put(out, inner.data, inner.len);
    tsdb_buf_deinit(&inner);
}

void api_otlp_reply(struct call *c, const struct ingest_answer *a)
{
    bool json = c->protocol == INGEST_OTLP_JSON;
    /* A histogram's point is many samples here: no more points are refused than came. */
    uint32_t rejected = TSDB_MIN(a->rejected, a->points);
    bool partial =
        a->status == TSDB_INVALID && a->samples_written + a->histograms_written > 0 && rejected > 0;
    struct http_reply r = {
        .status = a->status == TSDB_OK || partial ? 200 : api_write_status_of(a->status),
        .content_type = json ? "application/json" : "application/x-protobuf"};
    struct tsdb_buf body;
    tsdb_buf_init(&body, TSDB_MEM_SERVER, 0);
    if (partial) {
        put_partial(&body, json, rejected, a->text);
    } else if (r.status != 200) {
        put_status(&body, json, r.status == 503 ? CODE_UNAVAILABLE : CODE_INVALID_ARGUMENT,
                   a->text);
    } else if (json) {
        tsdb_buf_put_str(&body, "{}");
    }
    r.body = &body;
    if (r.status == 503) {
        r.headers[r.header_count].name = "Retry-After";
        r.headers[r.header_count++].value = a->status == TSDB_READ_ONLY ? "30" : "1";
    }
    ingest_end(c->ingest);
    c->ingest = NULL;
    http_reply(c->x, &r);
}
