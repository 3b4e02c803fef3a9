#include "base/bytes.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- growing buffer ---- */

void tsdb_buf_init(struct tsdb_buf *b, enum tsdb_mem_category category, size_t len_max)
{
    *b = (struct tsdb_buf){.category = category, .len_max = len_max};
}

void tsdb_buf_deinit(struct tsdb_buf *b)
{
    tsdb_mem_free(b->category, b->data, b->cap);
    *b = (struct tsdb_buf){.category = b->category, .len_max = b->len_max};
}

void tsdb_buf_clear(struct tsdb_buf *b)
{
    b->len = 0;
    b->failed = false;
}

/* Doubles from 64 bytes, so that n appended bytes cost O(n) copies. */
static bool buf_grow(struct tsdb_buf *b, size_t need)
{
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need) {
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    }
    uint8_t *data = tsdb_mem_realloc(b->category, b->data, b->cap, cap);
    if (!data) {
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

uint8_t *tsdb_buf_reserve(struct tsdb_buf *b, size_t extra)
{
    size_t len_max = b->len_max != 0 ? b->len_max : SIZE_MAX;
    TSDB_ASSERT(b->len <= b->cap);
    if (b->failed) {
        return NULL;
    }
    if (b->len > len_max || extra > len_max - b->len) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->len + extra;
    if ((need > b->cap || !b->data) && !buf_grow(b, need)) {
        b->failed = true;
        return NULL;
    }
    return b->data + b->len;
}

void tsdb_buf_put(struct tsdb_buf *b, const void *data, size_t len)
{
    if (len == 0) {
        return;
    }
    uint8_t *p = tsdb_buf_reserve(b, len);
    if (p) {
        memcpy(p, data, len);
        b->len += len;
    }
}

void tsdb_buf_put_str(struct tsdb_buf *b, const char *s)
{
    tsdb_buf_put(b, s, strlen(s));
}

void tsdb_buf_put_u8(struct tsdb_buf *b, uint8_t v)
{
    uint8_t *p = tsdb_buf_reserve(b, 1);
    if (p) {
        *p = v;
        b->len++;
    }
}

void tsdb_buf_put_le32(struct tsdb_buf *b, uint32_t v)
{
    uint8_t *p = tsdb_buf_reserve(b, sizeof v);
    if (p) {
        tsdb_store_le32(p, v);
        b->len += sizeof v;
    }
}

void tsdb_buf_put_le64(struct tsdb_buf *b, uint64_t v)
{
    uint8_t *p = tsdb_buf_reserve(b, sizeof v);
    if (p) {
        tsdb_store_le64(p, v);
        b->len += sizeof v;
    }
}

void tsdb_buf_put_uvarint(struct tsdb_buf *b, uint64_t v)
{
    /* Through scratch, so that a buffer filled to its len_max takes the bytes that fit and no slack
     * is asked for. */
    uint8_t bytes[TSDB_VARINT64_BYTES_MAX];
    tsdb_buf_put(b, bytes, (size_t)(tsdb_put_uvarint(bytes, v) - bytes));
}

void tsdb_buf_put_varint(struct tsdb_buf *b, int64_t v)
{
    tsdb_buf_put_uvarint(b, tsdb_zigzag(v));
}

/* For text that the scratch buffer does not hold. vsnprintf wants a byte more for its NUL, which is
 * not content and must not count against len_max. */
static __attribute__((format(printf, 3, 0))) void buf_print_long(struct tsdb_buf *b, size_t len,
                                                                 const char *format, va_list args)
{
    size_t len_max = b->len_max;
    b->len_max = len_max != 0 && len_max < SIZE_MAX ? len_max + 1 : len_max;
    uint8_t *p = tsdb_buf_reserve(b, len + 1);
    b->len_max = len_max;
    if (p) {
        (void)vsnprintf((char *)p, len + 1, format, args);
        b->len += len;
    }
}

void tsdb_buf_vprintf(struct tsdb_buf *b, const char *format, va_list args)
{
    char text[256];
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(text, sizeof text, format, args);
    if (len < 0) {
        b->failed = true;
    } else if ((size_t)len < sizeof text) {
        tsdb_buf_put(b, text, (size_t)len);
    } else {
        buf_print_long(b, (size_t)len, format, again);
    }
    va_end(again);
}

void tsdb_buf_printf(struct tsdb_buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tsdb_buf_vprintf(b, format, args);
    va_end(args);
}

/* ---- bounded reader ---- */

void tsdb_reader_init(struct tsdb_reader *r, const void *data, size_t len)
{
    /* NULL + 0 is undefined in C, so an empty range points at something. */
    static const uint8_t nothing;
    TSDB_ASSERT(data || len == 0);
    const uint8_t *p = data ? data : &nothing;
    *r = (struct tsdb_reader){.begin = p, .pos = p, .end = p + len};
}

size_t tsdb_reader_left(const struct tsdb_reader *r)
{
    return r->failed ? 0 : (size_t)(r->end - r->pos);
}

/* The next len bytes, or NULL and failed. */
static const uint8_t *reader_take(struct tsdb_reader *r, size_t len)
{
    if (r->failed || len > (size_t)(r->end - r->pos)) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->pos;
    r->pos += len;
    return p;
}

uint8_t tsdb_reader_u8(struct tsdb_reader *r)
{
    const uint8_t *p = reader_take(r, 1);
    return p ? *p : 0;
}

uint32_t tsdb_reader_le32(struct tsdb_reader *r)
{
    const uint8_t *p = reader_take(r, 4);
    return p ? tsdb_load_le32(p) : 0;
}

uint64_t tsdb_reader_le64(struct tsdb_reader *r)
{
    const uint8_t *p = reader_take(r, 8);
    return p ? tsdb_load_le64(p) : 0;
}

uint64_t tsdb_reader_uvarint(struct tsdb_reader *r)
{
    uint64_t v = 0;
    if (r->failed) {
        return 0;
    }
    const uint8_t *p = tsdb_get_uvarint(r->pos, r->end, &v);
    if (!p) {
        r->failed = true;
        return 0;
    }
    r->pos = p;
    return v;
}

int64_t tsdb_reader_varint(struct tsdb_reader *r)
{
    return tsdb_unzigzag(tsdb_reader_uvarint(r));
}

uint64_t tsdb_reader_count(struct tsdb_reader *r, size_t bytes_each_min)
{
    TSDB_ASSERT(bytes_each_min > 0);
    uint64_t count = tsdb_reader_uvarint(r);
    if (r->failed || count > (uint64_t)(r->end - r->pos) / bytes_each_min) {
        r->failed = true;
        return 0;
    }
    return count;
}

struct tsdb_slice tsdb_reader_bytes(struct tsdb_reader *r, size_t len)
{
    const uint8_t *p = reader_take(r, len);
    return (struct tsdb_slice){.data = p, .len = p ? len : 0};
}

/* ---- UTF-8 ---- */

/* Length of the well-formed sequence that starts at the non-ASCII byte *p, or 0. The ranges are
 * those of table 3-7 of the Unicode standard: only the second byte's range depends on the first. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    uint8_t lo = 0x80;
    uint8_t hi = 0xbf;
    size_t len;
    uint8_t c = p[0];
    if (c >= 0xc2 && c <= 0xdf) {
        len = 2;
    } else if (c >= 0xe0 && c <= 0xef) {
        len = 3;
        lo = c == 0xe0 ? 0xa0 : lo; /* overlong */
        hi = c == 0xed ? 0x9f : hi; /* surrogates */
    } else if (c >= 0xf0 && c <= 0xf4) {
        len = 4;
        lo = c == 0xf0 ? 0x90 : lo; /* overlong */
        hi = c == 0xf4 ? 0x8f : hi; /* beyond U+10FFFF */
    } else {
        return 0;
    }
    if (left < len || p[1] < lo || p[1] > hi) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

bool tsdb_utf8_valid(const void *s, size_t len)
{
    const uint8_t *p = s;
    size_t i = 0;
    while (i < len) {
        /* Labels are nearly always ASCII: eight bytes at a time. */
        if (len - i >= 8 && (tsdb_load_le64(p + i) & 0x8080808080808080u) == 0) {
            i += 8;
        } else if (p[i] < 0x80) {
            i++;
        } else {
            size_t n = utf8_sequence(p + i, len - i);
            if (n == 0) {
                return false;
            }
            i += n;
        }
    }
    return true;
}
