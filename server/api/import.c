/* POST /api/v1/import/prometheus: lines of Prometheus's text format, or of OpenMetrics when the Content-Type
 * says so, with times of any age that retention keeps. Answered as a write is: 204, or 400 with the line and
 * column of the first thing that was wrong while the rest is stored; with ?stats=true as JSON, with what was
 * read and how fast. */
#include "base/log.h"
#include "query/json.h"
#include "server/api/handlers.h"

#include <string.h>
#include <strings.h>

/* How often a long import says in the log how far it is. */
#define PROGRESS_NS (INT64_C(10) * 1000 * 1000 * 1000)

/* Does a query string have stats=true or stats=1? */
static bool wants_stats(const char *query)
{
    while (*query) {
        size_t len = strcspn(query, "&");
        if ((len == 10 && strncmp(query, "stats=true", len) == 0) ||
            (len == 7 && strncmp(query, "stats=1", len) == 0)) {
            return true;
        }
        query += len + (query[len] == '&');
    }
    return false;
}

bool api_import_negotiate(struct call *c, const char **out_text)
{
    static const char openmetrics[] = "application/openmetrics-text";
    const char *type = http_header(c->x, "Content-Type");
    size_t len = type ? strcspn(type, "; \t") : 0;
    bool open = len == sizeof openmetrics - 1 && strncasecmp(type, openmetrics, len) == 0;
    c->protocol = open ? INGEST_OPENMETRICS : INGEST_TEXT;
    c->stats_wanted = wants_stats(http_query(c->x));
    c->begin_ns = c->told_ns = tsdb_clock_mono_ns(&c->server->clock);
    http_body_stream(c->x);
    *out_text = "unsupported Content-Encoding: expected gzip, zstd or none";
    return api_write_encoding(http_header(c->x, "Content-Encoding"), true, &c->encoding) &&
           c->encoding != INGEST_ENCODING_SNAPPY;
}

void api_import_progress(struct call *c)
{
    int64_t now_ns = tsdb_clock_mono_ns(&c->server->clock);
    uint64_t lines = 0;
    uint64_t samples = 0;
    if (now_ns - c->told_ns < PROGRESS_NS) {
        return;
    }
    c->told_ns = now_ns;
    ingest_import_so_far(c->ingest, &lines, &samples);
    char sender[64];
    http_peer(c->x, sender, sizeof sender);
    int64_t ms = (now_ns - c->begin_ns) / 1000000;
    tsdb_log(TSDB_LOG_INFO, "import", "under way", TSDB_S("sender", sender), TSDB_U("lines", lines),
             TSDB_U("samples", samples), TSDB_I("ms", ms),
             TSDB_U("samples_per_second", samples * 1000 / (uint64_t)TSDB_MAX(ms, INT64_C(1))));
}

void api_import_reply(struct call *c, const struct ingest_answer *a)
{
    struct tsdb_buf body;
    tsdb_buf_init(&body, TSDB_MEM_SERVER, 0);
    int64_t ns = tsdb_clock_mono_ns(&c->server->clock) - c->begin_ns;
    double seconds = (double)TSDB_MAX(ns, INT64_C(1)) / 1e9;
    tsdb_buf_printf(&body,
                    "{\"status\":\"%s\",\"data\":{\"lines\":%llu,\"samples\":%u,\"exemplars\":%u,"
                    "\"refused\":%u,\"seconds\":%.3f,\"samplesPerSecond\":%.0f}",
                    a->status == TSDB_OK ? "success" : "error", (unsigned long long)a->lines,
                    a->samples_written, a->exemplars_written, a->rejected, seconds,
                    a->samples_written / seconds);
    if (a->status != TSDB_OK) {
        tsdb_buf_put_str(&body, ",\"errorType\":\"bad_data\",\"error\":");
        json_string(&body, a->text, strlen(a->text));
    }
    tsdb_buf_put_str(&body, "}\n");
    unsigned status = api_write_status_of(a->status);
    struct http_reply r = {
        .status = status == 204 ? 200 : status, .content_type = "application/json", .body = &body};
    if (status == 503) {
        r.headers[r.header_count].name = "Retry-After";
        r.headers[r.header_count++].value = a->status == TSDB_READ_ONLY ? "30" : "1";
    }
    ingest_end(c->ingest);
    c->ingest = NULL;
    http_reply(c->x, &r);
}
