#include "ingest/unpack.h"

#include "base/alloc.h"
#include "base/compiler.h"

#include <string.h>
#define ZLIB_CONST
#include <zlib.h>
#include <zstd.h>

#define GROW_FIRST_BYTES 65536u
/* A block of zstd: three bytes of header and one of content at least, 128 KiB of output at most. */
#define ZSTD_BLOCK_BYTES_IN  4u
#define ZSTD_BLOCK_BYTES_OUT (128u << 10)
/* windowBits of zlib: the largest window, and gzip's header and trailer. */
#define GZIP_WINDOW_BITS (15 + 16)

bool ingest_is_zstd(const void *src, size_t len)
{
    static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    return len >= sizeof magic && memcmp(src, magic, sizeof magic) == 0;
}

bool ingest_is_gzip(const void *src, size_t len)
{
    static const uint8_t magic[] = {0x1f, 0x8b, 0x08};
    return len >= sizeof magic && memcmp(src, magic, sizeof magic) == 0;
}

static enum tsdb_status too_long(const char *name, size_t len, size_t bytes_max,
                                 struct tsdb_error *err)
{
    return tsdb_error_set(err, TSDB_LIMIT, "%s: body of %zu bytes holds more than %zu bytes", name,
                          len, bytes_max);
}

/* More room when there is none: twice as much, up to the limit. One byte more than the limit is room
 * enough to see that there is more. */
static enum tsdb_status make_room(struct ingest_sink *s, const char *name, size_t len,
                                  size_t bytes_max, struct tsdb_error *err)
{
    if (s->len > bytes_max) {
        return too_long(name, len, bytes_max, err);
    }
    if (s->len < s->cap) {
        return TSDB_OK;
    }
    size_t cap = TSDB_MAX(s->cap * 2, (size_t)GROW_FIRST_BYTES);
    return s->grow(s, TSDB_MIN(cap, bytes_max + 1));
}

size_t ingest_zstd_window_bytes(const void *src, size_t len)
{
    return ZSTD_getFrameContentSize(src, len) == ZSTD_CONTENTSIZE_UNKNOWN
               ? INGEST_ZSTD_WINDOW_BYTES_MAX
               : 0;
}

/* Room for what the frame at src declares, if it does, is whole and plausible: libzstd then makes it in
 * one step, without a window. */
static enum tsdb_status reserve_frame(const uint8_t *src, size_t len, bool window, size_t bytes_max,
                                      struct ingest_sink *sink, struct tsdb_error *err)
{
    unsigned long long declared = ZSTD_getFrameContentSize(src, len);
    if (declared == ZSTD_CONTENTSIZE_ERROR ||
        (declared == ZSTD_CONTENTSIZE_UNKNOWN
             ? !window
             : ZSTD_isError(ZSTD_findFrameCompressedSize(src, len)))) {
        return tsdb_error_set(err, TSDB_INVALID, "zstd: %zu bytes are no frame", len);
    }
    if (declared == ZSTD_CONTENTSIZE_UNKNOWN) {
        return TSDB_OK;
    }
    if (declared > bytes_max || sink->len > bytes_max - (size_t)declared) {
        return tsdb_error_set(err, TSDB_LIMIT,
                              "zstd: body of %zu bytes declares %llu decoded bytes, at most %zu",
                              len, declared, bytes_max);
    }
    if (declared / ZSTD_BLOCK_BYTES_OUT > len / ZSTD_BLOCK_BYTES_IN) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "zstd: body of %zu bytes cannot hold the %llu bytes it declares", len,
                              declared);
    }
    size_t need = sink->len + (size_t)declared;
    return need > sink->cap ? sink->grow(sink, need) : TSDB_OK;
}

static enum tsdb_status zstd_frames(ZSTD_DCtx *d, const uint8_t *src, size_t len, size_t bytes_max,
                                    struct ingest_sink *sink, struct tsdb_error *err)
{
    ZSTD_inBuffer in = {src, len, 0};
    enum tsdb_status status = TSDB_OK;
    bool window = ingest_zstd_window_bytes(src, len) > 0;
    size_t more = 0; /* 0: between frames */
    while (status == TSDB_OK && (in.pos < in.size || more != 0)) {
        if (more == 0) {
            status = reserve_frame(src + in.pos, len - in.pos, window, bytes_max, sink, err);
        }
        /* A frame of no bytes needs no room, but libzstd wants a place to begin with. */
        if (status == TSDB_OK && (more != 0 || sink->cap == 0)) {
            status = make_room(sink, "zstd", len, bytes_max, err);
        }
        if (status != TSDB_OK) {
            break;
        }
        size_t at = in.pos;
        ZSTD_outBuffer out = {sink->data, sink->cap, sink->len};
        more = ZSTD_decompressStream(d, &out, &in);
        bool moved = in.pos > at || out.pos > sink->len;
        sink->len = out.pos;
        if (ZSTD_isError(more)) {
            status = tsdb_error_set(err, TSDB_INVALID, "zstd: body of %zu bytes is damaged: %s",
                                    len, ZSTD_getErrorName(more));
        } else if (more != 0 && !moved && sink->len < sink->cap) {
            status = tsdb_error_set(err, TSDB_INVALID, "zstd: body of %zu bytes is cut", len);
        }
    }
    return status == TSDB_OK && sink->len > bytes_max ? too_long("zstd", len, bytes_max, err)
                                                      : status;
}

enum tsdb_status ingest_zstd_decode(const void *src, size_t len, size_t bytes_max,
                                    struct ingest_sink *sink, struct tsdb_error *err)
{
    ZSTD_DCtx *d = ZSTD_createDCtx();
    if (!d ||
        ZSTD_isError(ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, INGEST_ZSTD_WINDOW_LOG_MAX))) {
        ZSTD_freeDCtx(d);
        return tsdb_error_nomem(err, "a zstd decoder");
    }
    enum tsdb_status status = len == 0
                                  ? tsdb_error_set(err, TSDB_INVALID, "zstd: body is empty")
                                  : zstd_frames(d, (const uint8_t *)src, len, bytes_max, sink, err);
    ZSTD_freeDCtx(d);
    return status;
}

/* Members of src one after the other. */
static enum tsdb_status gzip_members(z_stream *z, size_t len, size_t bytes_max,
                                     struct ingest_sink *sink, struct tsdb_error *err)
{
    for (;;) {
        enum tsdb_status status = make_room(sink, "gzip", len, bytes_max, err);
        if (status != TSDB_OK) {
            return status;
        }
        size_t room = TSDB_MIN(sink->cap - sink->len, (size_t)UINT32_MAX);
        z->next_out = sink->data + sink->len;
        z->avail_out = (uInt)room;
        int r = inflate(z, Z_NO_FLUSH);
        sink->len += room - z->avail_out;
        if (r == Z_STREAM_END) {
            if (z->avail_in == 0) {
                return sink->len > bytes_max ? too_long("gzip", len, bytes_max, err) : TSDB_OK;
            }
            r = inflateReset(z);
        }
        if (r == Z_MEM_ERROR) {
            return tsdb_error_nomem(err, "a gzip decoder");
        }
        if (r != Z_OK || (z->avail_in == 0 && z->avail_out > 0)) {
            return tsdb_error_set(err, TSDB_INVALID, "gzip: body of %zu bytes is %s%s", len,
                                  r == Z_OK || r == Z_BUF_ERROR ? "cut" : "damaged: ",
                                  r == Z_OK || r == Z_BUF_ERROR ? ""
                                  : z->msg                      ? z->msg
                                                                : "not gzip");
        }
    }
}

enum tsdb_status ingest_gzip_decode(const void *src, size_t len, size_t bytes_max,
                                    struct ingest_sink *sink, struct tsdb_error *err)
{
    if (len > UINT32_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "gzip: body of %zu bytes is too long", len);
    }
    if (len == 0) {
        return tsdb_error_set(err, TSDB_INVALID, "gzip: body is empty");
    }
    z_stream z = {.next_in = (const Bytef *)src, .avail_in = (uInt)len};
    if (inflateInit2(&z, GZIP_WINDOW_BITS) != Z_OK) {
        return tsdb_error_nomem(err, "a gzip decoder");
    }
    enum tsdb_status status = gzip_members(&z, len, bytes_max, sink, err);
    inflateEnd(&z);
    return status;
}

/* ---- a stretch at a time ---- */

struct ingest_stream {
    enum ingest_stream_kind kind;
    bool whole; /* nothing of a member or frame has been read, or all of it */
    z_stream z;
    ZSTD_DCtx *d;
};

enum tsdb_status ingest_stream_create(enum ingest_stream_kind kind, struct ingest_stream **out,
                                      struct tsdb_error *err)
{
    struct ingest_stream *s = tsdb_mem_alloc_zero(TSDB_MEM_INGEST, sizeof *s);
    if (!s) {
        return tsdb_error_nomem(err, "a decoder");
    }
    s->kind = kind;
    s->whole = true;
    bool made = false;
    if (kind == INGEST_STREAM_GZIP) {
        made = inflateInit2(&s->z, GZIP_WINDOW_BITS) == Z_OK;
    } else {
        s->d = ZSTD_createDCtx();
        made = s->d && !ZSTD_isError(ZSTD_DCtx_setParameter(s->d, ZSTD_d_windowLogMax,
                                                            INGEST_ZSTD_WINDOW_LOG_MAX));
    }
    if (!made) {
        ZSTD_freeDCtx(s->d);
        tsdb_mem_free(TSDB_MEM_INGEST, s, sizeof *s);
        return tsdb_error_nomem(err, "a decoder");
    }
    *out = s;
    return TSDB_OK;
}

void ingest_stream_destroy(struct ingest_stream *s)
{
    if (!s) {
        return;
    }
    if (s->kind == INGEST_STREAM_GZIP) {
        inflateEnd(&s->z);
    }
    ZSTD_freeDCtx(s->d);
    tsdb_mem_free(TSDB_MEM_INGEST, s, sizeof *s);
}

static enum tsdb_status step_gzip(struct ingest_stream *s, const void *src, size_t *len, void *out,
                                  size_t *cap, struct tsdb_error *err)
{
    z_stream *z = &s->z;
    size_t in = TSDB_MIN(*len, (size_t)UINT32_MAX), room = TSDB_MIN(*cap, (size_t)UINT32_MAX);
    z->next_in = src;
    z->avail_in = (uInt)in;
    z->next_out = out;
    z->avail_out = (uInt)room;
    int r = Z_OK;
    while (r == Z_OK && z->avail_out > 0 && (z->avail_in > 0 || !s->whole)) {
        size_t before = z->avail_in + (size_t)z->avail_out;
        s->whole = false;
        r = inflate(z, Z_NO_FLUSH);
        if (r == Z_STREAM_END) {
            s->whole = true;
            r = inflateReset(z);
        }
        if (r == Z_BUF_ERROR || z->avail_in + (size_t)z->avail_out == before) {
            r = Z_OK; /* it wants more input */
            break;
        }
    }
    *len = in - z->avail_in;
    *cap = room - z->avail_out;
    if (r == Z_MEM_ERROR) {
        return tsdb_error_nomem(err, "a gzip decoder");
    }
    return r == Z_OK ? TSDB_OK
                     : tsdb_error_set(err, TSDB_INVALID, "gzip: the body is damaged: %s",
                                      z->msg ? z->msg : "not gzip");
}

static enum tsdb_status step_zstd(struct ingest_stream *s, const void *src, size_t *len, void *out,
                                  size_t *cap, struct tsdb_error *err)
{
    ZSTD_inBuffer from = {src, *len, 0};
    ZSTD_outBuffer to = {out, *cap, 0};
    bool moved = true;
    while (moved && to.pos < to.size && (from.pos < from.size || !s->whole)) {
        size_t before = from.pos + to.pos;
        size_t more = ZSTD_decompressStream(s->d, &to, &from);
        if (ZSTD_isError(more)) {
            return tsdb_error_set(err, TSDB_INVALID, "zstd: the body is damaged: %s",
                                  ZSTD_getErrorName(more));
        }
        s->whole = more == 0;
        moved = from.pos + to.pos > before;
    }
    *len = from.pos;
    *cap = to.pos;
    return TSDB_OK;
}

enum tsdb_status ingest_stream_step(struct ingest_stream *s, const void *src, size_t *len,
                                    void *out, size_t *cap, struct tsdb_error *err)
{
    return s->kind == INGEST_STREAM_GZIP ? step_gzip(s, src, len, out, cap, err)
                                         : step_zstd(s, src, len, out, cap, err);
}

bool ingest_stream_is_whole(const struct ingest_stream *s)
{
    return s->whole;
}
