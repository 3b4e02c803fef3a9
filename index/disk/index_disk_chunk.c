/* Chunk headers and label lists of the index file, as bytes and back. A header is written as what
 * differs from the expected: chunks that follow each other at the scrape's interval, have as many
 * samples as the one before and values near to it. */
#include "index/disk/index_disk_private.h"

#include "compress/value_pack.h"

#include <math.h>

/* flags */
#define KIND_MASK     3u
#define FLAG_ALL_INT  4u
#define FLAG_RESETS   8u
#define FLAG_STALE    16u
#define FLAG_COUNT    32u /* count differs from the chunk before */
#define EXTREME_SHIFT 6
enum extremes {
    EXTREMES_RISING = 0,  /* min is the first value, max the last */
    EXTREMES_FALLING = 1, /* the other way round */
    EXTREMES_GIVEN = 2,
    EXTREMES_NONE = 3, /* both NaN */
};

void disk_chunk_state_init(struct disk_chunk_state *st, int64_t time_base, uint64_t offset)
{
    *st = (struct disk_chunk_state){
        .time_base = time_base, .offset_next = offset, .count = DISK_COUNT_EXPECTED};
}

/* What the span would be if samples came as they came before. */
static uint64_t span_expected(const struct disk_chunk_state *st, uint32_t count)
{
    return st->has_previous && count == st->count ? st->span : st->interval * (count - 1);
}

static void state_advance(struct disk_chunk_state *st, const struct index_disk_chunk *c)
{
    st->has_previous = true;
    st->max_ms = c->max_ms;
    st->span = (uint64_t)c->max_ms - (uint64_t)c->min_ms;
    if (c->count > 1) {
        st->interval = st->span / (c->count - 1) + (st->span % (c->count - 1) * 2 >= c->count - 1);
    }
    st->count = c->count;
    st->last_bits = c->last_bits;
    st->offset_next = c->offset + c->len;
}

static void value_put(struct tsdb_buf *out, uint64_t bits, bool has_base, uint64_t base)
{
    struct value_packed v = value_pack(bits, has_base, base);
    uint8_t bytes[8];
    tsdb_store_le64(bytes, v.packed);
    tsdb_buf_put_u8(out, (uint8_t)v.mode);
    tsdb_buf_put(out, bytes, v.bytes);
}

static bool value_get(struct tsdb_reader *r, bool has_base, uint64_t base, uint64_t *out)
{
    uint8_t bytes[8] = {0};
    uint32_t mode = tsdb_reader_u8(r);
    if (r->failed || mode >= VALUE_PACK_MODE_COUNT || (!has_base && value_pack_needs_base(mode))) {
        return false;
    }
    struct tsdb_slice packed = tsdb_reader_bytes(r, value_pack_bytes(mode));
    if (r->failed) {
        return false;
    }
    if (packed.len > 0) {
        memcpy(bytes, packed.data, packed.len);
    }
    *out = value_unpack(mode, tsdb_load_le64(bytes), base);
    return true;
}

static enum extremes extremes_of(const struct index_disk_chunk *c)
{
    uint64_t min = tsdb_double_bits(c->min);
    uint64_t max = tsdb_double_bits(c->max);
    if (c->kind != TSDB_SAMPLE_FLOAT || (isnan(c->min) && isnan(c->max))) {
        return EXTREMES_NONE;
    }
    if (min == c->first_bits && max == c->last_bits) {
        return EXTREMES_RISING;
    }
    return min == c->last_bits && max == c->first_bits ? EXTREMES_FALLING : EXTREMES_GIVEN;
}

static uint32_t flags_of(const struct index_disk_chunk *c, const struct disk_chunk_state *st)
{
    return (uint32_t)c->kind | (c->all_int ? FLAG_ALL_INT : 0) | (c->resets ? FLAG_RESETS : 0) |
           (c->stale ? FLAG_STALE : 0) | (c->count != st->count ? FLAG_COUNT : 0) |
           (uint32_t)extremes_of(c) << EXTREME_SHIFT;
}

static void times_put(struct tsdb_buf *out, const struct disk_chunk_state *st,
                      const struct index_disk_chunk *c)
{
    uint64_t from = (uint64_t)(st->has_previous ? st->max_ms : st->time_base) + st->interval;
    tsdb_buf_put_varint(out, (int64_t)((uint64_t)c->min_ms - from));
    uint64_t span = (uint64_t)c->max_ms - (uint64_t)c->min_ms;
    tsdb_buf_put_varint(out, (int64_t)(span - span_expected(st, c->count)));
}

/* c->count is known. */
static bool times_get(struct tsdb_reader *r, const struct disk_chunk_state *st,
                      struct index_disk_chunk *c)
{
    uint64_t from = (uint64_t)(st->has_previous ? st->max_ms : st->time_base) + st->interval;
    c->min_ms = (int64_t)(from + (uint64_t)tsdb_reader_varint(r));
    uint64_t span = span_expected(st, c->count) + (uint64_t)tsdb_reader_varint(r);
    uint64_t room = (uint64_t)INT64_MAX - (uint64_t)c->min_ms;
    c->max_ms = (int64_t)((uint64_t)c->min_ms + span);
    return !r->failed && span <= room && span >= c->count - 1 && (c->count > 1 || span == 0) &&
           (!st->has_previous || c->min_ms > st->max_ms);
}

void disk_chunk_put(struct tsdb_buf *out, struct disk_chunk_state *st,
                    const struct index_disk_chunk *c)
{
    uint32_t flags = flags_of(c, st);
    uint64_t gap = c->offset - st->offset_next;
    tsdb_buf_put_u8(out, (uint8_t)flags);
    if (flags & FLAG_COUNT) {
        tsdb_buf_put_uvarint(out, c->count);
    }
    times_put(out, st, c);
    tsdb_buf_put_uvarint(out, (uint64_t)c->len << 1 | (gap != 0));
    if (gap != 0) {
        tsdb_buf_put_varint(out, (int64_t)gap);
    }
    if (c->resets) {
        tsdb_buf_put_uvarint(out, c->resets);
    }
    if (c->stale) {
        tsdb_buf_put_uvarint(out, c->stale);
    }
    if (c->kind == TSDB_SAMPLE_FLOAT) {
        value_put(out, c->first_bits, st->has_previous, st->last_bits);
        value_put(out, c->last_bits, true, c->first_bits);
        if (flags >> EXTREME_SHIFT == EXTREMES_GIVEN) {
            value_put(out, tsdb_double_bits(c->min), true, c->first_bits);
            value_put(out, tsdb_double_bits(c->max), true, c->last_bits);
        }
    }
    state_advance(st, c);
}

static uint32_t u32_get(struct tsdb_reader *r)
{
    uint64_t v = tsdb_reader_uvarint(r);
    r->failed = r->failed || v > UINT32_MAX;
    return (uint32_t)v;
}

static bool values_get(struct tsdb_reader *r, const struct disk_chunk_state *st,
                       enum extremes extremes, struct index_disk_chunk *c)
{
    uint64_t min = TSDB_NORMAL_NAN_BITS;
    uint64_t max = TSDB_NORMAL_NAN_BITS;
    if (c->kind != TSDB_SAMPLE_FLOAT) {
        c->first_bits = c->last_bits = 0;
    } else if (!value_get(r, st->has_previous, st->last_bits, &c->first_bits) ||
               !value_get(r, true, c->first_bits, &c->last_bits)) {
        return false;
    } else if (extremes == EXTREMES_GIVEN) {
        if (!value_get(r, true, c->first_bits, &min) || !value_get(r, true, c->last_bits, &max)) {
            return false;
        }
    } else if (extremes != EXTREMES_NONE) {
        min = extremes == EXTREMES_RISING ? c->first_bits : c->last_bits;
        max = extremes == EXTREMES_RISING ? c->last_bits : c->first_bits;
    }
    c->min = tsdb_bits_double(min);
    c->max = tsdb_bits_double(max);
    return c->kind == TSDB_SAMPLE_FLOAT || extremes == EXTREMES_NONE;
}

bool disk_chunk_get(struct tsdb_reader *r, struct disk_chunk_state *st,
                    struct index_disk_chunk *out)
{
    struct index_disk_chunk c = {0};
    uint32_t flags = tsdb_reader_u8(r);
    if ((flags & KIND_MASK) > TSDB_SAMPLE_HISTOGRAM_FLOAT) {
        return false;
    }
    c.kind = (enum tsdb_sample_kind)(flags & KIND_MASK);
    c.all_int = (flags & FLAG_ALL_INT) != 0;
    c.count = flags & FLAG_COUNT ? u32_get(r) : st->count;
    if (r->failed || c.count == 0 || !times_get(r, st, &c)) {
        return false;
    }
    uint64_t len = tsdb_reader_uvarint(r);
    c.len = (uint32_t)(len >> 1);
    c.offset = st->offset_next + (len & 1 ? (uint64_t)tsdb_reader_varint(r) : 0);
    c.resets = flags & FLAG_RESETS ? u32_get(r) : 0;
    c.stale = flags & FLAG_STALE ? u32_get(r) : 0;
    if (r->failed || len >> 1 > UINT32_MAX || c.offset > (uint64_t)INT64_MAX ||
        !values_get(r, st, (enum extremes)(flags >> EXTREME_SHIFT), &c)) {
        return false;
    }
    state_advance(st, &c);
    *out = c;
    return true;
}

/* ---- labels ---- */

void disk_labels_put(struct tsdb_buf *out, const struct disk_labels *previous,
                     const struct disk_labels *l)
{
    bool same = l->count == previous->count &&
                memcmp(l->name, previous->name, l->count * sizeof l->name[0]) == 0;
    tsdb_buf_put_uvarint(out, (uint64_t)l->count << 1 | same);
    for (uint32_t i = 0; i < l->count; i++) {
        if (same) {
            tsdb_buf_put_varint(out, (int64_t)l->value[i] - (int64_t)previous->value[i]);
        } else {
            tsdb_buf_put_uvarint(out, i == 0 ? l->name[0] : l->name[i] - l->name[i - 1] - 1);
            tsdb_buf_put_uvarint(out, l->value[i]);
        }
    }
}

static bool pair_get(struct tsdb_reader *r, struct disk_labels *l, uint32_t i, uint32_t name_count,
                     uint32_t symbol_count)
{
    uint64_t name = tsdb_reader_uvarint(r);
    uint64_t value = tsdb_reader_uvarint(r);
    if (r->failed || name >= name_count || value >= symbol_count) {
        return false;
    }
    name += i == 0 ? 0 : (uint64_t)l->name[i - 1] + 1;
    l->name[i] = (uint32_t)name;
    l->value[i] = (uint32_t)value;
    return name < name_count;
}

bool disk_labels_get(struct tsdb_reader *r, struct disk_labels *l, uint32_t name_count,
                     uint32_t symbol_count)
{
    uint64_t head = tsdb_reader_uvarint(r);
    if (r->failed || head >> 1 > TSDB_LABELS_MAX || (head & 1 && head >> 1 != l->count)) {
        return false;
    }
    if (head & 1) {
        for (uint32_t i = 0; i < l->count; i++) {
            uint64_t value = l->value[i] + (uint64_t)tsdb_reader_varint(r);
            if (r->failed || value >= symbol_count) {
                return false;
            }
            l->value[i] = (uint32_t)value;
        }
        return true;
    }
    l->count = (uint32_t)(head >> 1);
    for (uint32_t i = 0; i < l->count; i++) {
        if (!pair_get(r, l, i, name_count, symbol_count)) {
            return false;
        }
    }
    return true;
}
