/* The text of an import on its way from the body to the parser: unpacked into a window of whole lines, and
 * on from there when they are read. What an import holds is the window and a stretch of the body, however
 * long it is. */
#include "ingest/import.h"

#include "ingest/ingest_private.h"

#include <string.h>

/* Of text; a line must fit. */
#define WINDOW_BYTES (4u << 20)

void ingest_import_deinit(struct ingest_request *r)
{
    struct ingest_text *t = &r->text;
    if (t->stream) {
        tsdb_account_release(&r->account, INGEST_STREAM_BYTES_MAX);
    }
    ingest_stream_destroy(t->stream);
    memset(t, 0, sizeof *t);
}

static enum tsdb_status begin(struct ingest_request *r, struct tsdb_error *err)
{
    struct ingest_text *t = &r->text;
    text_init(&t->parser, NULL, 0, r->protocol == INGEST_OPENMETRICS);
    t->now_ms = tsdb_clock_wall_ms(&r->in->options.clock);
    t->begun = true;
    r->decoded.len = 0;
    if (r->encoding == INGEST_ENCODING_NONE) {
        return TSDB_OK;
    }
    enum tsdb_status status = tsdb_account_charge(&r->account, INGEST_STREAM_BYTES_MAX);
    if (status == TSDB_OK) {
        bool gzip = r->encoding == INGEST_ENCODING_GZIP;
        status =
            ingest_stream_create(gzip ? INGEST_STREAM_GZIP : INGEST_STREAM_ZSTD, &t->stream, err);
        if (status != TSDB_OK) {
            tsdb_account_release(&r->account, INGEST_STREAM_BYTES_MAX);
        }
    }
    return status;
}

/* Out of what is left of the body, as much as there is room for. */
static enum tsdb_status unpack(struct ingest_request *r, struct tsdb_error *err)
{
    struct ingest_text *t = &r->text;
    struct ingest_buffer *to = &r->decoded;
    size_t len = r->body.len - t->taken, cap = to->cap - to->len;
    uint8_t none = 0;
    const uint8_t *from = r->body.len > 0 ? r->body.data + t->taken : &none;
    enum tsdb_status status = TSDB_OK;
    if (t->stream) {
        size_t room = cap;
        status = ingest_stream_step(t->stream, from, &len, to->data + to->len, &cap, err);
        t->more = status == TSDB_OK && cap == room && !ingest_stream_is_whole(t->stream);
    } else {
        len = cap = TSDB_MIN(len, cap);
        memcpy(to->data + to->len, from, len);
    }
    t->taken += len;
    to->len += cap;
    atomic_fetch_add_explicit(&r->in->decoded_bytes, cap, memory_order_relaxed);
    return status;
}

bool ingest_import_has_body(const struct ingest_request *r)
{
    return r->text.taken < r->body.len || r->text.more;
}

/* Bytes of the window behind the last whole line. */
static size_t rest_of(const struct ingest_request *r)
{
    return r->decoded.len - r->text.lines;
}

bool ingest_import_has_more(const struct ingest_request *r)
{
    const struct ingest_text *t = &r->text;
    return t->parser.pos < t->parser.end || ingest_import_has_body(r) ||
           (t->last && rest_of(r) > 0);
}

/* How much of the window can be read: whole lines, and at the end of the body the last one without its
 * newline. */
static enum tsdb_status lines_of(struct ingest_request *r, size_t *out, struct tsdb_error *err)
{
    const struct ingest_text *t = &r->text;
    const uint8_t *newline =
        r->decoded.len > 0 ? memrchr(r->decoded.data, '\n', r->decoded.len) : NULL;
    bool ended = t->last && !ingest_import_has_body(r);
    *out = ended ? r->decoded.len : newline ? (size_t)(newline + 1 - r->decoded.data) : 0;
    if (ended && t->stream && !ingest_stream_is_whole(t->stream)) {
        return tsdb_error_set(err, TSDB_INVALID, "the body is cut: its packing does not end");
    }
    if (*out == 0 && r->decoded.len == r->decoded.cap) {
        return tsdb_error_set(err, TSDB_INVALID, "line %llu is longer than %zu bytes",
                              (unsigned long long)t->parser.line + 1, r->decoded.cap);
    }
    return TSDB_OK;
}

void ingest_import_so_far(const struct ingest_request *r, uint64_t *out_lines,
                          uint64_t *out_samples)
{
    *out_lines = r->text.parser.line;
    *out_samples = r->import_sum.samples_written;
}

enum tsdb_status ingest_import_fill(struct ingest_request *r, struct tsdb_error *err)
{
    struct ingest_text *t = &r->text;
    enum tsdb_status status = TSDB_OK;
    if (!t->begun) {
        status = begin(r, err);
    }
    if (status == TSDB_OK) {
        status = ingest_buffer_reserve(r, &r->decoded, WINDOW_BYTES);
    }
    if (status != TSDB_OK) {
        return status;
    }
    size_t rest = rest_of(r);
    if (rest > 0) {
        memmove(r->decoded.data, r->decoded.data + r->decoded.len - rest, rest);
    }
    r->decoded.len = rest;
    status = unpack(r, err);
    t->lines = 0;
    if (status == TSDB_OK) {
        status = lines_of(r, &t->lines, err);
    }
    text_continue(&t->parser, r->decoded.data, t->lines);
    return status;
}
