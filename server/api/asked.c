/* /api/v1/status/metric_names_stats: which metrics queries have asked for. The names of the fields are
 * VictoriaMetrics's. */
#include "query/json.h"
#include "server/api/handlers.h"

#include <inttypes.h>

struct listing {
    struct tsdb_buf *out;
    uint32_t count;
};

static void put_name(void *arg, const struct asked_name *n)
{
    struct listing *l = arg;
    envelope_comma(l->out, l->count++);
    tsdb_buf_put_str(l->out, n->is_regex ? "{\"metricNamePattern\":" : "{\"metricName\":");
    json_string(l->out, n->text, n->text_bytes);
    tsdb_buf_printf(l->out, ",\"requestsCount\":%" PRIu64 ",\"lastRequestTimestamp\":", n->count);
    json_timestamp(l->out, n->last_ms);
    tsdb_buf_put_u8(l->out, '}');
}

void api_metric_names_stats(struct call *c)
{
    struct listing l = {.out = &c->out};
    call_success(c);
    tsdb_buf_put_str(&c->out, "{\"statsCollectedSince\":");
    json_timestamp(&c->out, c->server->start_ms);
    tsdb_buf_put_str(&c->out, ",\"records\":[");
    struct asked_totals t = asked_visit(&c->server->asked, put_name, &l);
    tsdb_buf_printf(
        &c->out, "],\"unnamedRequestsCount\":%" PRIu64 ",\"forgottenRequestsCount\":%" PRIu64 "}",
        t.unnamed, t.forgotten);
    envelope_success_end(&c->out, NULL, 0);
}

/* track_names=0: somebody looks whether there is something, as the page's small graphs do. */
void api_note_asked(struct call *c, const struct query_expr *expr)
{
    struct tsdb_selector *selectors = NULL;
    uint32_t count = 0;
    struct tsdb_slice track = params_get(&c->params, "track_names");
    if ((track.len == 1 && track.data[0] == '0') ||
        query_expr_selectors(expr, &c->arena, &selectors, &count) != TSDB_OK) {
        return;
    }
    int64_t now_ms = tsdb_clock_wall_ms(&c->server->clock);
    for (uint32_t i = 0; i < count; i++) {
        asked_note(&c->server->asked, selectors[i].matchers, selectors[i].count, now_ms);
    }
}
