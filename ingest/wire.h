/* Protobuf's wire format: bounded readers for the walkers.
 *
 * Every reader takes [p, end), returns the byte after what it read, or NULL when that is truncated
 * or malformed. Nothing allocates, nothing reads outside [p, end) unless it says so.
 *
 * As lenient as protobuf-c and Go's generated code, because senders were tested against those:
 * over-long varints are accepted up to 10 bytes and cut to 64 bits; field numbers that nobody may
 * use are unknown fields. Groups are refused.
 * Threads: pure.
 */
#ifndef INGEST_WIRE_H
#define INGEST_WIRE_H

#include "base/bytes.h"
#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_LEN = 2,
    WIRE_FIXED32 = 5
};

/* The first byte of a field with number 1..15, which is all of its tag. */
#define WIRE_TAG(field, type) ((uint8_t)((field) << 3 | (type)))

const uint8_t *wire_varint_slow(const uint8_t *p, const uint8_t *end, uint64_t *out);

static inline const uint8_t *wire_varint(const uint8_t *p, const uint8_t *end, uint64_t *out)
{
    if (TSDB_LIKELY(p < end && p[0] < 0x80)) {
        *out = p[0];
        return p + 1;
    }
    if (TSDB_LIKELY(end - p >= 2 && p[1] < 0x80)) {
        *out = (uint64_t)(p[0] & 0x7f) | (uint64_t)p[1] << 7;
        return p + 2;
    }
    return wire_varint_slow(p, end, out);
}

/* A length, and the check that so many bytes follow. */
static inline const uint8_t *wire_len(const uint8_t *p, const uint8_t *end, size_t *out)
{
    uint64_t len = 0;
    p = wire_varint(p, end, &len);
    if (TSDB_UNLIKELY(!p || len > (uint64_t)(end - p))) {
        return NULL;
    }
    *out = (size_t)len;
    return p;
}

/* A tag of any field number. *out_type is one of enum wire_type, all other types give NULL. */
const uint8_t *wire_tag(const uint8_t *p, const uint8_t *end, uint32_t *out_field,
                        enum wire_type *out_type);
/* The value of a field after its tag, unread. */
const uint8_t *wire_skip(const uint8_t *p, const uint8_t *end, enum wire_type type);

/* A field as a whole, for code that is not hot: value holds a varint or fixed bits, bytes a
 * length-delimited one. */
struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;
    struct tsdb_slice bytes;
};
const uint8_t *wire_field_read(const uint8_t *p, const uint8_t *end, struct wire_field *out);

/* A message of a few single fields, for code that is not hot: out[i] is the last field with
 * want[i].number, or zero with `bytes` empty when there is none. Other numbers are skipped. False if
 * the bytes are malformed or a wanted number comes with another type; out is then rubbish. */
struct wire_want {
    uint32_t number;
    enum wire_type type;
};
bool wire_message_read(struct tsdb_slice message, const struct wire_want *want, uint32_t count,
                       struct wire_field *out);

/* The varint of exactly n bytes, 1..8, that ends before `stop`. All of [stop - 8, stop) must be
 * readable. False if it is not exactly n bytes long. Without a loop: timestamps have 6 bytes. */
static inline bool wire_varint_exact(const uint8_t *stop, unsigned n, uint64_t *out)
{
    uint64_t x = tsdb_load_le64(stop - 8) >> (64 - 8 * n);
    uint64_t more = UINT64_C(0x0080808080808080) & ~(UINT64_MAX << (8 * (n - 1)));
    if (TSDB_UNLIKELY((x & UINT64_C(0x8080808080808080)) != more)) {
        return false;
    }
    x &= UINT64_C(0x7f7f7f7f7f7f7f7f);
    x = (x & UINT64_C(0x007f007f007f007f)) | (x & UINT64_C(0x7f007f007f007f00)) >> 1;
    x = (x & UINT64_C(0x00003fff00003fff)) | (x & UINT64_C(0x3fff00003fff0000)) >> 2;
    x = (x & UINT64_C(0x000000000fffffff)) | (x & UINT64_C(0x0fffffff00000000)) >> 4;
    *out = x;
    return true;
}

#endif
