/* The page: its files out of the program, with what a browser may do and may keep. */
#include "server/api/handlers.h"
#include "server/api/ui_files.h"

#include <string.h>

#define ZLIB_CONST /* what is unpacked is not changed */
#include <zlib.h>

#define GZIP_WINDOW_BITS (15 + 16) /* zlib: the largest window, and gzip's framing */
#define PAGE_HTML        "text/html; charset=utf-8"
#define KEEP_FOR_EVER    "public, max-age=31536000, immutable" /* the name changes with the content */
#define ASK_EACH_TIME    "no-cache"
/* Nothing but what this server sends, no script or style inside of the page, nobody's frame. */
#define PAGE_POLICY                                                                                \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "              \
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

static const char plain_page[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tidalite</title>"
    "</head><body>\n<h1>Tidalite</h1>\n"
    "<p>A time-series database: Prometheus remote write in, PromQL over the Prometheus HTTP API "
    "out. This build has no page (made with UI=0, or without npm).</p>\n<ul>\n"
    "<li>Write to it: <code>remote_write: [{url: http://<i>this host</i>/api/v1/write}]</code>"
    "</li>\n"
    "<li>Ask it: <a href=\"api/v1/query?query=up\">/api/v1/query?query=up</a>, or add it to "
    "Grafana as a Prometheus data source</li>\n"
    "<li>Names: <a href=\"api/v1/label/__name__/values\">/api/v1/label/__name__/values</a>"
    "</li>\n"
    "<li>State: <a href=\"-/ready\">/-/ready</a>, <a href=\"metrics\">/metrics</a>, "
    "<a href=\"api/v1/status/buildinfo\">build</a>, "
    "<a href=\"api/v1/status/flags\">flags</a>, "
    "<a href=\"api/v1/status/config\">configuration</a></li>\n"
    "</ul>\n</body></html>\n";

static const struct ui_file *find_file(struct tsdb_slice name)
{
    for (size_t i = 0; i < ui_file_count; i++) {
        const char *n = ui_files[i].name;
        if (strlen(n) == name.len && memcmp(n, name.data, name.len) == 0) {
            return &ui_files[i];
        }
    }
    return NULL;
}

/* For a client that takes no gzip. The bytes are our own: they unpack to what the table says, or
 * there is no memory. */
static void put_unpacked(struct tsdb_buf *out, const struct ui_file *f)
{
    uint8_t *to = tsdb_buf_reserve(out, f->bytes);
    z_stream z = {.next_in = f->gzip, .avail_in = (uInt)f->gzip_bytes};
    if (!to || inflateInit2(&z, GZIP_WINDOW_BITS) != Z_OK) {
        out->failed = true;
        return;
    }
    z.next_out = to;
    z.avail_out = (uInt)f->bytes;
    if (inflate(&z, Z_FINISH) == Z_STREAM_END) {
        out->len += f->bytes - z.avail_out;
    } else {
        out->failed = true;
    }
    inflateEnd(&z);
}

/* The browser has it already. If-None-Match may list several. */
static bool is_known(const struct call *c, const struct ui_file *f)
{
    const char *known = http_header(c->x, "If-None-Match");
    return known && strstr(known, f->etag);
}

static void send_file(struct call *c, const struct ui_file *f, const char *cache_control)
{
    call_ok(c, f->type);
    c->page_policy = PAGE_POLICY;
    c->cache_control = cache_control;
    c->etag = f->etag;
    if (is_known(c, f)) {
        c->status = 304;
        c->content_type = NULL;
    } else if (c->packing == ENVELOPE_GZIP) {
        c->content_encoding = "gzip";
        tsdb_buf_put(&c->out, f->gzip, f->gzip_bytes);
    } else {
        put_unpacked(&c->out, f);
    }
}

void page_root(struct call *c)
{
    static const char index[] = "index.html";
    const struct ui_file *f =
        find_file((struct tsdb_slice){(const uint8_t *)index, sizeof index - 1});
    if (f) {
        send_file(c, f, ASK_EACH_TIME);
        return;
    }
    call_ok(c, PAGE_HTML);
    c->page_policy = PAGE_POLICY;
    tsdb_buf_put_str(&c->out, plain_page);
}

void page_file(struct call *c)
{
    const struct ui_file *f = find_file(c->segment);
    if (f) {
        send_file(c, f, KEEP_FOR_EVER);
    } else {
        call_text(c, 404, "404 page not found\n");
    }
}
