/* Bytes in and out: fixed-width integers, LEB128 varints, a bounded reader and a growing buffer.
 *
 * No struct is ever cast onto a buffer. Our own formats are little-endian; big-endian is for
 * Prometheus's. Varints are LEB128 (protobuf, Go encoding/binary); "zigzag" maps signed to unsigned
 * as protobuf sint64 does.
 *
 * Threads: pure functions on the caller's memory.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TSDB_VARINT64_BYTES_MAX 10

/* A borrowed byte range. data may be NULL when len is 0. */
struct tsdb_slice {
    const uint8_t *data;
    size_t len;
};

static inline uint16_t tsdb_load_le16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t tsdb_load_le32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t tsdb_load_le64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void tsdb_store_le16(void *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}
static inline void tsdb_store_le32(void *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}
static inline void tsdb_store_le64(void *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "only little-endian machines are supported so far"
#endif

static inline uint64_t tsdb_zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}
static inline int64_t tsdb_unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
static inline uint64_t tsdb_double_bits(double v)
{
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    return u;
}
static inline double tsdb_bits_double(uint64_t u)
{
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}

/* Write v at p (room for TSDB_VARINT64_BYTES_MAX); returns the byte after. */
static inline uint8_t *tsdb_put_uvarint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}
static inline uint8_t *tsdb_put_varint(uint8_t *p, int64_t v)
{
    return tsdb_put_uvarint(p, tsdb_zigzag(v));
}
/* Read a varint from [p, end). Returns the byte after, or NULL if it is truncated or longer than 64
 * bits. */
static inline const uint8_t *tsdb_get_uvarint(const uint8_t *p, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && p < end; shift += 7) {
        uint8_t b = *p++;
        if (shift == 63 && b > 1) {
            return NULL;
        }
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *out = v;
            return p;
        }
    }
    return NULL;
}
static inline const uint8_t *tsdb_get_varint(const uint8_t *p, const uint8_t *end, int64_t *out)
{
    uint64_t u;
    p = tsdb_get_uvarint(p, end, &u);
    if (p) {
        *out = tsdb_unzigzag(u);
    }
    return p;
}

/* A growing byte buffer for cold paths and encoders. `failed` is sticky: appends after a failed
 * allocation do nothing, and the caller checks once at the end. Owned: whoever calls _init calls
 * _deinit. */
struct tsdb_buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t len_max; /* appends beyond set `failed`; 0 = SIZE_MAX */
    enum tsdb_mem_category category;
    bool failed;
};
void tsdb_buf_init(struct tsdb_buf *b, enum tsdb_mem_category category, size_t len_max);
void tsdb_buf_deinit(struct tsdb_buf *b);
void tsdb_buf_clear(struct tsdb_buf *b); /* keeps capacity, resets `failed` */
/* Make room for `extra` more bytes; NULL and `failed` if that cannot be. The caller may write
 * there, then adds to len. */
uint8_t *tsdb_buf_reserve(struct tsdb_buf *b, size_t extra);
void tsdb_buf_put(struct tsdb_buf *b, const void *data, size_t len);
void tsdb_buf_put_str(struct tsdb_buf *b, const char *s);
void tsdb_buf_put_u8(struct tsdb_buf *b, uint8_t v);
void tsdb_buf_put_le32(struct tsdb_buf *b, uint32_t v);
void tsdb_buf_put_le64(struct tsdb_buf *b, uint64_t v);
void tsdb_buf_put_uvarint(struct tsdb_buf *b, uint64_t v);
void tsdb_buf_put_varint(struct tsdb_buf *b, int64_t v);
void tsdb_buf_printf(struct tsdb_buf *b, const char *format, ...) TSDB_PRINTF(2, 3);
void tsdb_buf_vprintf(struct tsdb_buf *b, const char *format, va_list args) TSDB_PRINTF(2, 0);

/* A bounded reader over untrusted bytes. `failed` is sticky: after the first short or malformed
 * read every getter returns 0, and the caller checks once per structure. Nothing here allocates. */
struct tsdb_reader {
    const uint8_t *begin;
    const uint8_t *pos;
    const uint8_t *end;
    bool failed;
};
void tsdb_reader_init(struct tsdb_reader *r, const void *data, size_t len);
size_t tsdb_reader_left(const struct tsdb_reader *r);
uint8_t tsdb_reader_u8(struct tsdb_reader *r);
uint32_t tsdb_reader_le32(struct tsdb_reader *r);
uint64_t tsdb_reader_le64(struct tsdb_reader *r);
uint64_t tsdb_reader_uvarint(struct tsdb_reader *r);
int64_t tsdb_reader_varint(struct tsdb_reader *r);
/* A uvarint count that must satisfy count * bytes_each_min <= bytes left; else fails. Bound before
 * you allocate. */
uint64_t tsdb_reader_count(struct tsdb_reader *r, size_t bytes_each_min);
struct tsdb_slice tsdb_reader_bytes(struct tsdb_reader *r, size_t len);

/* Is [s, s+len) well-formed UTF-8 (no overlong forms, no surrogates, <= U+10FFFF)? */
bool tsdb_utf8_valid(const void *s, size_t len);

#endif
