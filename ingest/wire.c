#include "ingest/wire.h"

#include <string.h>

const uint8_t *wire_varint_slow(const uint8_t *p, const uint8_t *end, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < TSDB_VARINT64_BYTES_MAX && p < end; i++) {
        uint8_t b = *p++;
        v |= (uint64_t)(b & 0x7f) << (7 * i); /* of the tenth byte one bit stays */
        if (b < 0x80) {
            *out = v;
            return p;
        }
    }
    return NULL;
}

const uint8_t *wire_tag(const uint8_t *p, const uint8_t *end, uint32_t *out_field,
                        enum wire_type *out_type)
{
    uint64_t tag = 0;
    p = wire_varint(p, end, &tag);
    if (!p) {
        return NULL;
    }
    unsigned type = tag & 7;
    if (type != WIRE_VARINT && type != WIRE_FIXED64 && type != WIRE_LEN && type != WIRE_FIXED32) {
        return NULL;
    }
    *out_field = (uint32_t)(tag >> 3);
    *out_type = (enum wire_type)type;
    return p;
}

const uint8_t *wire_skip(const uint8_t *p, const uint8_t *end, enum wire_type type)
{
    uint64_t value = 0;
    size_t len = 0;
    switch (type) {
    case WIRE_VARINT:
        return wire_varint(p, end, &value);
    case WIRE_FIXED64:
        return end - p >= 8 ? p + 8 : NULL;
    case WIRE_LEN:
        p = wire_len(p, end, &len);
        return !p ? NULL : p + len;
    case WIRE_FIXED32:
        return end - p >= 4 ? p + 4 : NULL;
    }
    return NULL;
}

const uint8_t *wire_field_read(const uint8_t *p, const uint8_t *end, struct wire_field *out)
{
    *out = (struct wire_field){0};
    p = wire_tag(p, end, &out->number, &out->type);
    if (!p) {
        return NULL;
    }
    const uint8_t *after = wire_skip(p, end, out->type);
    if (!after) {
        return NULL;
    }
    switch (out->type) {
    case WIRE_VARINT:
        wire_varint(p, end, &out->value);
        break;
    case WIRE_FIXED64:
        out->value = tsdb_load_le64(p);
        break;
    case WIRE_FIXED32:
        out->value = tsdb_load_le32(p);
        break;
    case WIRE_LEN:
        p = wire_len(p, end, &out->bytes.len);
        out->bytes.data = p;
        break;
    }
    return after;
}

bool wire_message_read(struct tsdb_slice message, const struct wire_want *want, uint32_t count,
                       struct wire_field *out)
{
    const uint8_t *p = message.data;
    const uint8_t *end = p + message.len;
    memset(out, 0, count * sizeof *out);
    while (p < end) {
        struct wire_field f;
        p = wire_field_read(p, end, &f);
        if (!p) {
            return false;
        }
        for (uint32_t i = 0; i < count; i++) {
            if (f.number == want[i].number) {
                if (f.type != want[i].type) {
                    return false;
                }
                out[i] = f;
            }
        }
    }
    return true;
}
