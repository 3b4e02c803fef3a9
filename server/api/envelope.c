#include "server/api/envelope.h"

#include "base/assert.h"
#include "index/match/regex.h"
#include "query/json.h"

#include <string.h>
#include <strings.h>
#define ZLIB_CONST
#include <zlib.h>

/* Fast rather than small: answers are numbers in ASCII, where level 3 gets most of what 6 does. */
#define PACK_LEVEL       3
#define ZLIB_WINDOW_BITS 15
#define GZIP_WINDOW_BITS (15 + 16) /* + 16: gzip header and trailer */

static const struct {
    const char *name;
    unsigned status;
} error_table[ENVELOPE_ERROR_COUNT] = {
    [ENVELOPE_BAD_DATA] = {"bad_data", 400},
    [ENVELOPE_EXECUTION] = {"execution", 422},
    [ENVELOPE_CANCELED] = {"canceled", 499},
    [ENVELOPE_TIMEOUT] = {"timeout", 503},
    [ENVELOPE_INTERNAL] = {"internal", 500},
    [ENVELOPE_NOT_FOUND] = {"not_found", 404},
    [ENVELOPE_NOT_ACCEPTABLE] = {"not_acceptable", 406},
    [ENVELOPE_UNAVAILABLE] = {"unavailable", 500},
};

unsigned envelope_error_status(enum envelope_error type)
{
    TSDB_ASSERT((unsigned)type < ENVELOPE_ERROR_COUNT);
    return error_table[type].status;
}

const char *envelope_error_name(enum envelope_error type)
{
    TSDB_ASSERT((unsigned)type < ENVELOPE_ERROR_COUNT);
    return error_table[type].name;
}

enum envelope_error envelope_error_of(enum tsdb_status status)
{
    switch (status) {
    case TSDB_INVALID:
    case TSDB_LIMIT:
    case TSDB_UNSUPPORTED:
    case TSDB_OUT_OF_ORDER:
        return ENVELOPE_EXECUTION;
    case TSDB_CANCELLED:
        return ENVELOPE_CANCELED;
    case TSDB_TIMEOUT:
        return ENVELOPE_TIMEOUT;
    case TSDB_NOT_FOUND:
        return ENVELOPE_NOT_FOUND;
    case TSDB_BUSY:
    case TSDB_READ_ONLY:
        return ENVELOPE_UNAVAILABLE;
    case TSDB_OK:
    case TSDB_NOMEM:
    case TSDB_IO:
    case TSDB_CORRUPT:
    case TSDB_STATUS_COUNT:
        break;
    }
    return ENVELOPE_INTERNAL;
}

void envelope_success_begin(struct tsdb_buf *out)
{
    tsdb_buf_put_str(out, "{\"status\":\"success\",\"data\":");
}

static void put_notes(struct tsdb_buf *out, const struct query_note *notes, uint32_t count,
                      bool infos)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (notes[i].is_info != infos) {
            continue;
        }
        if (seen < ENVELOPE_NOTES_MAX) {
            tsdb_buf_put_str(out, seen > 0 ? "," : infos ? ",\"infos\":[" : ",\"warnings\":[");
            json_string(out, notes[i].text, strlen(notes[i].text));
        }
        seen++;
    }
    if (seen > ENVELOPE_NOTES_MAX) {
        tsdb_buf_printf(out, ",\"%u more %s annotations omitted\"", seen - ENVELOPE_NOTES_MAX,
                        infos ? "info" : "warning");
    }
    if (seen > 0) {
        tsdb_buf_put_u8(out, ']');
    }
}

void envelope_success_end(struct tsdb_buf *out, const struct query_note *notes, uint32_t note_count)
{
    put_notes(out, notes, note_count, false);
    put_notes(out, notes, note_count, true);
    tsdb_buf_put_u8(out, '}');
}

void envelope_error(struct tsdb_buf *out, enum envelope_error type, const char *text)
{
    tsdb_buf_printf(
        out, "{\"status\":\"error\",\"errorType\":\"%s\",\"error\":", envelope_error_name(type));
    json_string(out, text, strlen(text));
    tsdb_buf_put_u8(out, '}');
}

/* "gzip;q=0" and "gzip; q=0.000" refuse what they name. */
static bool refused_by_q(const char *s, size_t len)
{
    size_t i = 0;
    while (i < len && (s[i] == ' ' || s[i] == '\t' || s[i] == ';')) {
        i++;
    }
    if (len - i < 3 || (s[i] | 0x20) != 'q' || s[i + 1] != '=') {
        return false;
    }
    for (i += 2; i < len; i++) {
        if (s[i] != '0' && s[i] != '.' && s[i] != ' ') {
            return false;
        }
    }
    return true;
}

/* Is `name` offered? */
static bool offers(const char *accept_encoding, const char *name)
{
    const char *s = accept_encoding;
    while (s && *s) {
        s += strspn(s, ", \t");
        size_t token = strcspn(s, ",; \t");
        size_t item = strcspn(s, ",");
        if (token == strlen(name) && strncasecmp(s, name, token) == 0) {
            return !refused_by_q(s + token, item - token);
        }
        s += item;
    }
    return false;
}

const char *envelope_packing_name(enum envelope_packing packing)
{
    TSDB_ASSERT(packing != ENVELOPE_PLAIN);
    return packing == ENVELOPE_GZIP ? "gzip" : "deflate";
}

enum envelope_packing envelope_packing_of(const char *accept_encoding)
{
    return offers(accept_encoding, "gzip")      ? ENVELOPE_GZIP
           : offers(accept_encoding, "deflate") ? ENVELOPE_DEFLATE
                                                : ENVELOPE_PLAIN;
}

static void *z_alloc(void *arena, unsigned items, unsigned size)
{
    return tsdb_arena_alloc_array(arena, items, size, 16);
}

static void z_free(void *arena, void *p)
{
    (void)arena; /* freed whole, with the request */
    (void)p;
}

bool envelope_packer_begin(struct envelope_packer *p, enum envelope_packing packing,
                           struct tsdb_arena *arena)
{
    int window_bits = packing == ENVELOPE_GZIP ? GZIP_WINDOW_BITS : ZLIB_WINDOW_BITS;
    z_stream *z = TSDB_ARENA_NEW(arena, z_stream);
    p->z = NULL;
    if (!z) {
        return false;
    }
    *z = (z_stream){.zalloc = z_alloc, .zfree = z_free, .opaque = arena};
    if (deflateInit2(z, PACK_LEVEL, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return false;
    }
    p->z = z;
    return true;
}

bool envelope_packer_put(struct envelope_packer *p, const struct tsdb_buf *in, bool last,
                         struct tsdb_buf *out)
{
    z_stream *z = p->z;
    TSDB_ASSERT(z && in->len <= UINT32_MAX / 2);
    z->next_in = in->data;
    z->avail_in = (unsigned)in->len;
    /* One call into a buffer of the worst case would keep that much; grow by what comes instead. */
    size_t room = TSDB_MAX(in->len / 8, (size_t)16384);
    int rc = Z_OK;
    do {
        uint8_t *dst = tsdb_buf_reserve(out, room);
        if (!dst) {
            return false;
        }
        z->next_out = dst;
        z->avail_out = (unsigned)room;
        rc = deflate(z, last ? Z_FINISH : Z_NO_FLUSH);
        out->len += room - z->avail_out;
    } while (z->avail_out == 0 && rc != Z_STREAM_END);
    return last ? rc == Z_STREAM_END : rc == Z_OK || rc == Z_BUF_ERROR;
}

void envelope_packer_end(struct envelope_packer *p)
{
    if (p->z) {
        (void)deflateEnd(p->z);
        p->z = NULL;
    }
}

bool envelope_pack(const struct tsdb_buf *in, enum envelope_packing packing,
                   struct tsdb_arena *arena, struct tsdb_buf *out)
{
    struct envelope_packer p;
    if (in->len > UINT32_MAX / 2 || !envelope_packer_begin(&p, packing, arena)) {
        return false;
    }
    bool ok = envelope_packer_put(&p, in, true, out);
    envelope_packer_end(&p);
    return ok && out->len < in->len;
}

const char *envelope_allow_origin(const char *pattern, const char *origin)
{
    if (strcmp(pattern, ".*") == 0) {
        return "*";
    }
    struct index_regex *re = NULL;
    if (index_regex_compile(pattern, strlen(pattern), &re, NULL) != TSDB_OK) {
        return NULL; /* checked when the flags were: nothing is allowed by a pattern that is none */
    }
    bool match = index_regex_match(re, origin, strlen(origin));
    index_regex_destroy(re);
    return match ? origin : NULL;
}
