/* The pages outside of the API. */
#include "base/log.h"
#include "server/api/handlers.h"
#include "server/parts/metrics.h"

void page_healthy(struct call *c)
{
    call_text(c, 200, "Tidalite is Healthy.\n");
}

void page_ready(struct call *c)
{
    bool stopping = false;
    struct tsdb_error err = {0};
    enum tsdb_state state = tsdb_state(c->server->db, &err);
    if (server_ready(c->server, &stopping) && state == TSDB_STATE_READY) {
        call_text(c, 200, "Tidalite is Ready.\n");
        return;
    }
    if (state == TSDB_STATE_FAILED) {
        call_text(c, 503, "Service Unavailable: storage failed to start: %s\n", err.msg);
    } else if (state == TSDB_STATE_RETRYING || state == TSDB_STATE_READ_ONLY) {
        call_text(c, 503, "Service Unavailable: storage takes no writes: %s\n", err.msg);
    } else {
        call_text(c, 503, "Service Unavailable\n");
    }
    c->stopping_header = true;
    c->retry_after = "1";
}

void page_reload(struct call *c)
{
    struct tsdb_error err = {0};
    enum tsdb_status status = server_reload(c->server, &err);
    if (status == TSDB_OK) {
        call_ok(c, "text/plain; charset=utf-8");
    } else {
        call_text(c, 500, "failed to reload config: %s\n", err.msg);
    }
}

void page_quit(struct call *c)
{
    tsdb_log(TSDB_LOG_INFO, "server", "termination requested over HTTP");
    call_text(c, 200, "Requesting termination... Goodbye!\n");
    atomic_store(&c->server->stopping, 1); /* main.c looks at it all the time */
}

void page_metrics(struct call *c)
{
    call_ok(c, "text/plain; version=0.0.4; charset=utf-8");
    server_metrics_text(c->server, &c->out);
}

void page_root(struct call *c)
{
    static const char page[] =
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tidalite</title>"
        "</head><body>\n<h1>Tidalite</h1>\n"
        "<p>A time-series database: Prometheus remote write in, PromQL over the Prometheus HTTP "
        "API "
        "out.</p>\n<ul>\n"
        "<li>Write to it: <code>remote_write: [{url: http://<i>this host</i>/api/v1/write}]</code>"
        "</li>\n"
        "<li>Ask it: <a href=\"/api/v1/query?query=up\">/api/v1/query?query=up</a>, or add it to "
        "Grafana as a Prometheus data source</li>\n"
        "<li>Names: <a href=\"/api/v1/label/__name__/values\">/api/v1/label/__name__/values</a>"
        "</li>\n"
        "<li>State: <a href=\"/-/ready\">/-/ready</a>, <a href=\"/metrics\">/metrics</a>, "
        "<a href=\"/api/v1/status/buildinfo\">build</a>, "
        "<a href=\"/api/v1/status/flags\">flags</a>, "
        "<a href=\"/api/v1/status/config\">configuration</a></li>\n"
        "</ul>\n</body></html>\n";
    call_ok(c, "text/html; charset=utf-8");
    tsdb_buf_put_str(&c->out, page);
}
