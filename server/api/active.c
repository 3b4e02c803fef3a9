/* /api/v1/status/active_queries: what is being evaluated, and how to stop one. */
#include "base/format.h"
#include "query/json.h"
#include "server/api/args.h"
#include "server/api/handlers.h"

#include <inttypes.h>

#define TEXT_BYTES_MAX 4096 /* of a query, in the list: it is copied under the lock */

struct listing {
    struct call *call;
    int64_t now_ns;
    uint32_t count;
};

static void put_time(struct tsdb_buf *out, const char *key, int64_t ms)
{
    tsdb_buf_printf(out, ",\"%s\":", key);
    json_timestamp(out, ms);
}

static void put_query(void *arg, const struct active_query *q)
{
    struct listing *l = arg;
    struct tsdb_buf *out = &l->call->out;
    char text[TSDB_FORMAT_FLOAT_MAX];
    envelope_comma(out, l->count++);
    tsdb_buf_printf(out, "{\"id\":\"%" PRIu64 "\",\"query\":", q->id);
    json_string(out, (const char *)q->text.data, TSDB_MIN(q->text.len, (size_t)TEXT_BYTES_MAX));
    put_time(out, "start", q->start_ms);
    put_time(out, "end", q->end_ms);
    tsdb_format_float_json(text, (double)q->step_ms / 1000);
    tsdb_buf_printf(out, ",\"step\":%s", text);
    tsdb_format_rfc3339_ms(text, q->begin_ms);
    tsdb_buf_printf(out, ",\"startTime\":\"%s\"", text);
    tsdb_format_float_json(text, (double)(l->now_ns - q->begin_ns) / 1e9);
    tsdb_buf_printf(out, ",\"durationSeconds\":%s}", text);
}

void api_active_queries(struct call *c)
{
    struct listing l = {.call = c, .now_ns = tsdb_clock_mono_ns(&c->server->clock)};
    call_success(c);
    tsdb_buf_put_u8(&c->out, '[');
    active_visit(&c->server->active, put_query, &l);
    tsdb_buf_put_u8(&c->out, ']');
    envelope_success_end(&c->out, NULL, 0);
}

void api_cancel_query(struct call *c)
{
    struct tsdb_slice id = c->segment.len > 0 ? c->segment : params_get(&c->params, "id");
    uint64_t n = 0;
    char quoted[256];
    api_quote(id, quoted, sizeof quoted);
    if (!tsdb_parse_u64((const char *)id.data, id.len, &n)) {
        call_error(c, ENVELOPE_BAD_DATA, "invalid parameter \"id\": %s is no id of a query",
                   quoted);
    } else if (!active_cancel(&c->server->active, n)) {
        call_error(c, ENVELOPE_NOT_FOUND, "no query with id %s is being evaluated", quoted);
    } else {
        call_success(c);
        tsdb_buf_printf(&c->out, "{\"id\":\"%" PRIu64 "\"}", n);
        envelope_success_end(&c->out, NULL, 0);
    }
}
