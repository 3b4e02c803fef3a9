/* Random protobuf messages, driven by protobuf-c's own descriptors: every field of every message in
 * any order, packed or not, over-long varints, unknown fields, now and then a fault. Seeded: a
 * failing round can be repeated. */
#ifndef TESTS_UNIT_INGEST_GENERATE_H
#define TESTS_UNIT_INGEST_GENERATE_H

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/random.h"

#include <protobuf-c/protobuf-c.h>

struct generator {
    struct tsdb_prng r;
    bool plain;  /* as senders write: rising fields, shortest varints, nothing unknown */
    bool faulty; /* wrong wire types and groups among the fields */
};

static uint64_t below(struct generator *g, uint64_t n)
{
    return tsdb_prng_below(&g->r, n);
}

static bool chance(struct generator *g, uint64_t one_in)
{
    return !g->plain && below(g, one_in) == 0;
}

/* A varint, sometimes with more bytes than it needs, up to bytes_max. */
static void put_varint(struct generator *g, struct tsdb_buf *b, uint64_t v, unsigned bytes_max)
{
    uint8_t bytes[16];
    unsigned n = (unsigned)(tsdb_put_uvarint(bytes, v) - bytes);
    if (chance(g, 30)) {
        while (n < bytes_max && below(g, 2) == 0) {
            bytes[n - 1] |= 0x80;
            bytes[n++] = 0;
        }
    }
    tsdb_buf_put(b, bytes, n);
}

static void put_tag(struct generator *g, struct tsdb_buf *b, uint32_t field, unsigned type)
{
    put_varint(g, b, (uint64_t)field << 3 | type, 5);
}

static void put_block(struct generator *g, struct tsdb_buf *b, const struct tsdb_buf *content)
{
    put_varint(g, b, content->len, 5);
    tsdb_buf_put(b, content->data, content->len);
}

static uint64_t some_varint(struct generator *g, ProtobufCType type)
{
    if (type == PROTOBUF_C_TYPE_ENUM) {
        return below(g, chance(g, 20) ? 300 : 4);
    }
    if (type == PROTOBUF_C_TYPE_UINT32 || type == PROTOBUF_C_TYPE_SINT32) {
        return chance(g, 20) ? tsdb_prng_next(&g->r) : below(g, 8);
    }
    if (g->plain && type == PROTOBUF_C_TYPE_INT64) {
        return UINT64_C(1700000000000) + below(g, 1000000);
    }
    return tsdb_prng_next(&g->r) >> below(g, 64);
}

static uint64_t some_double(struct generator *g)
{
    static const uint64_t special[] = {0, UINT64_C(1) << 63, UINT64_C(0x7ff0000000000002),
                                       UINT64_C(0x7ff8000000000001), UINT64_C(0x7ff0000000000000)};
    return below(g, 2) == 0 ? special[below(g, TSDB_ARRAY_LEN(special))] : tsdb_prng_next(&g->r);
}

static void put_string(struct generator *g, struct tsdb_buf *b)
{
    uint64_t len = below(g, 5) == 0 ? below(g, 300) : below(g, 12);
    put_varint(g, b, len, 5);
    for (uint64_t i = 0; i < len; i++) {
        tsdb_buf_put_u8(b, (uint8_t)('a' + below(g, 26)));
    }
}

static void put_unknown(struct generator *g, struct tsdb_buf *b)
{
    uint32_t field = below(g, 2) == 0 ? 100 + (uint32_t)below(g, 1u << 28) : 20;
    static const uint8_t types[] = {0, 1, 2, 5};
    unsigned type = types[below(g, 4)];
    put_tag(g, b, field, type);
    if (type == 0) {
        put_varint(g, b, tsdb_prng_next(&g->r), 10);
    } else if (type == 2) {
        put_string(g, b);
    } else {
        for (unsigned i = 0; i < (type == 1 ? 8 : 4); i++) {
            tsdb_buf_put_u8(b, (uint8_t)below(g, 256));
        }
    }
}

static void put_message(struct generator *g, struct tsdb_buf *b,
                        const ProtobufCMessageDescriptor *d);

static void put_value(struct generator *g, struct tsdb_buf *b, const ProtobufCFieldDescriptor *f)
{
    if (f->type == PROTOBUF_C_TYPE_DOUBLE) {
        tsdb_buf_put_le64(b, some_double(g));
    } else {
        put_varint(g, b, some_varint(g, f->type), 10);
    }
}

static void put_packed(struct generator *g, struct tsdb_buf *b, const ProtobufCFieldDescriptor *f)
{
    struct tsdb_buf content;
    tsdb_buf_init(&content, TSDB_MEM_OTHER, 0);
    for (uint64_t n = below(g, 6); n > 0; n--) {
        put_value(g, &content, f);
    }
    put_tag(g, b, f->id, 2);
    put_block(g, b, &content);
    tsdb_buf_deinit(&content);
}

static void put_field(struct generator *g, struct tsdb_buf *b, const ProtobufCFieldDescriptor *f)
{
    struct tsdb_buf content;
    if (g->faulty && chance(g, 400)) {
        put_tag(g, b, f->id, (unsigned)below(g, 8));
        tsdb_buf_put_u8(b, (uint8_t)below(g, 20));
        return;
    }
    switch (f->type) {
    case PROTOBUF_C_TYPE_BYTES:
        put_tag(g, b, f->id, 2);
        put_string(g, b);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        tsdb_buf_init(&content, TSDB_MEM_OTHER, 0);
        put_message(g, &content, f->descriptor);
        put_tag(g, b, f->id, 2);
        put_block(g, b, &content);
        tsdb_buf_deinit(&content);
        break;
    default:
        if (f->label == PROTOBUF_C_LABEL_REPEATED && (g->plain || below(g, 2) == 0)) {
            put_packed(g, b, f);
        } else {
            put_tag(g, b, f->id, f->type == PROTOBUF_C_TYPE_DOUBLE ? 1 : 0);
            put_value(g, b, f);
        }
        break;
    }
}

static void put_message(struct generator *g, struct tsdb_buf *b,
                        const ProtobufCMessageDescriptor *d)
{
    for (unsigned i = 0; i < d->n_fields; i++) {
        bool rising = g->plain || below(g, 4) != 0;
        const ProtobufCFieldDescriptor *f = &d->fields[rising ? i : below(g, d->n_fields)];
        bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
        for (uint64_t n = below(g, repeated ? 4 : 2); n > 0; n--) {
            put_field(g, b, f);
        }
        if (chance(g, 15)) {
            put_unknown(g, b);
        }
    }
}

/* Change some bytes, cut, or repeat a piece. */
TSDB_UNUSED static void mutate(struct generator *g, struct tsdb_buf *b)
{
    for (uint64_t n = 1 + below(g, 3); n > 0 && b->len > 0; n--) {
        size_t at = below(g, b->len);
        switch (below(g, 4)) {
        case 0:
            b->data[at] = (uint8_t)below(g, 256);
            break;
        case 1:
            b->data[at] ^= (uint8_t)(1u << below(g, 8));
            break;
        case 2:
            b->len = at;
            break;
        default:
            if (tsdb_buf_reserve(b, b->len - at) != NULL) {
                memmove(b->data + b->len, b->data + at, b->len - at);
                b->len += b->len - at;
            }
            break;
        }
    }
}

/* Cut at either end, at either side of a guard page: `compare` (compare.h) finds nothing. Every kind
 * of field comes last once, and first. */
static inline void walk_every_truncation(const struct tsdb_buf *b,
                                         const char *(*compare)(const uint8_t *, size_t))
{
    struct test_guard g;
    test_guard_init(&g, b->len);
    for (size_t cut = 0; cut <= b->len; cut++) {
        assert_null(compare(test_guard_at_end(&g, b->data, cut), cut));
        assert_null(compare(test_guard_at_begin(&g, b->data, cut), cut));
        assert_null(compare(test_guard_at_end(&g, b->data + cut, b->len - cut), b->len - cut));
        assert_null(compare(test_guard_at_begin(&g, b->data + cut, b->len - cut), b->len - cut));
    }
    test_guard_deinit(&g);
}

#endif
