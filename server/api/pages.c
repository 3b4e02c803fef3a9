/* The pages outside of the API. */
#include "base/log.h"
#include "server/api/handlers.h"
#include "server/parts/metrics.h"

#include <stdio.h>
#include <string.h>

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
        call_text(c, 200, "Tidalite is Ready.\n%s",
                  tsdb_disk_low(c->server->db)
                      ? "The disk is nearly full: flush, merges and checkpoints may wait.\n"
                      : "");
        return;
    }
    uint32_t percent = 0;
    if (state == TSDB_STATE_RECOVERING) {
        const char *step = tsdb_recovery_step(c->server->db, &percent);
        call_text(c, 503, "Service Unavailable: recovering: %s, %u %%\n", step, percent);
    } else if (err.msg[0]) {
        call_text(c, 503, "Service Unavailable: storage is %s and takes no writes: %s\n",
                  tsdb_state_name(state), err.msg);
    } else {
        call_text(c, 503, "Service Unavailable: %s\n",
                  stopping ? tsdb_state_name(TSDB_STATE_CLOSING) : tsdb_state_name(state));
    }
    c->stopping_header = true;
    c->retry_after = "1";
}

void page_to_prefix(struct call *c)
{
    size_t len = strlen(c->server->prefix);
    char *to = tsdb_arena_alloc(&c->arena, len + 2, 1);
    if (!to) {
        call_text(c, 500, "out of memory\n");
        return;
    }
    snprintf(to, len + 2, "%s/", c->server->prefix);
    call_text(c, 302, "%s\n", to);
    c->location = to;
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
