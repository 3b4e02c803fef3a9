#include "wal/record.h"

#include "base/assert.h"
#include "compress/value_pack.h"
#include "wal/wal_format.h"

static_assert(VALUE_PACK_MODE_COUNT == (int)WAL_SAMPLE_RUN, "runs begin where the value modes end");

/* Deltas begin as if an item with local id -1, at the group's time, had come before. */
#define LOCAL_BEFORE_FIRST UINT32_MAX

/* Longest form of a sample without a histogram's raw bytes: place, local, time, control, escape, start,
 * then either the mode and eight bytes or a length. */
static_assert(1 + 5 + 1 + TSDB_VARINT64_BYTES_MAX + 1 + TSDB_VARINT64_BYTES_MAX + 1 +
                      VALUE_PACK_BYTES_MAX <=
                  WAL_SAMPLE_BYTES_MAX,
              "the reservation holds any sample");

/* ---- encoding ---- */

static size_t encoder_left(const struct wal_encoder *e)
{
    return (size_t)(e->end - e->pos);
}

void wal_encoder_init(struct wal_encoder *e, uint8_t *begin, uint8_t *end)
{
    TSDB_ASSERT(begin <= end);
    /* What follows is written before it is read: clearing it would cost each batch more than the rest. */
    memset(e, 0, offsetof(struct wal_encoder, place));
    e->pos = begin;
    e->end = end;
}

static void frame_open(struct wal_encoder *e)
{
    e->frame = e->pos;
    memset(e->frame, 0, WAL_FRAME_HEADER_BYTES);
    e->frame[WAL_FRAME_AT_TYPE] = WAL_FRAME_GROUPS;
    e->pos += WAL_FRAME_HEADER_BYTES;
    e->frame_t_ms = 0;
}

/* The body is written behind a head with room for the shortest length; a longer one moves it. */
void wal_group_begin(struct wal_encoder *e, enum wal_record_type type, uint32_t partition,
                     int64_t t_ms, uint64_t log_seq, uint64_t write_seq, uint64_t epoch)
{
    TSDB_ASSERT(!e->group);
    TSDB_ASSERT(partition < TSDB_PARTITIONS);
    TSDB_ASSERT(encoder_left(e) >= WAL_FRAME_OVERHEAD_MAX);
    if (!e->frame) {
        frame_open(e);
    }
    t_ms = type == WAL_RECORD_SERIES ? e->frame_t_ms : t_ms;
    *e->pos++ = (uint8_t)(partition | (uint32_t)type << WAL_GROUP_TYPE_SHIFT);
    e->pos = tsdb_put_varint(e->pos, (int64_t)((uint64_t)t_ms - (uint64_t)e->frame_t_ms));
    e->group = e->pos++;
    e->pos = tsdb_put_uvarint(e->pos, log_seq);
    e->pos = tsdb_put_varint(e->pos, (int64_t)(write_seq - log_seq));
    e->pos = tsdb_put_uvarint(e->pos, epoch);
    e->prev_local = LOCAL_BEFORE_FIRST;
    e->prev_t_ms = e->frame_t_ms = t_ms;
    wal_place_begin(&e->place, LOCAL_BEFORE_FIRST, t_ms);
    e->run = NULL;
    e->labels_len = 0;
}

void wal_group_end(struct wal_encoder *e)
{
    TSDB_ASSERT(e->frame && e->group);
    uint8_t length[TSDB_VARINT64_BYTES_MAX];
    size_t len = (size_t)(e->pos - e->group) - 1;
    size_t n = (size_t)(tsdb_put_uvarint(length, len) - length);
    TSDB_ASSERT(encoder_left(e) >= n - 1);
    if (n > 1) {
        memmove(e->group + n, e->group + 1, len);
    }
    memcpy(e->group, length, n);
    e->pos += n - 1;
    e->group = NULL;
    e->run = NULL;
}

void wal_frame_end(struct wal_encoder *e)
{
    TSDB_ASSERT(e->frame);
    if (e->group) {
        wal_group_end(e);
    }
    size_t len = (size_t)(e->pos - e->frame) - WAL_FRAME_HEADER_BYTES;
    TSDB_ASSERT(len <= UINT32_MAX);
    tsdb_store_le32(e->frame + WAL_FRAME_AT_LEN, (uint32_t)len);
    size_t pad = (size_t)wal_frame_bytes((uint32_t)len) - WAL_FRAME_HEADER_BYTES - len;
    TSDB_ASSERT(encoder_left(e) >= pad);
    memset(e->pos, 0, pad);
    e->pos += pad;
    e->frame = NULL;
}

/* Ids wrap at 32 bits, so that the first one's delta needs no case of its own. */
static uint8_t *put_local(struct wal_encoder *e, uint8_t *p, uint32_t local)
{
    p = tsdb_put_varint(p, (int32_t)(local - e->prev_local));
    e->prev_local = local;
    return p;
}

static uint8_t *put_time(struct wal_encoder *e, uint8_t *p, int64_t t_ms)
{
    p = tsdb_put_varint(p, (int64_t)((uint64_t)t_ms - (uint64_t)e->prev_t_ms));
    e->prev_t_ms = t_ms;
    return p;
}

/* How many bytes both begin with, of at most `max`. */
static uint32_t common_begin(const uint8_t *a, const uint8_t *b, uint32_t max)
{
    uint32_t n = 0;
    while (n + sizeof(uint64_t) <= max) {
        uint64_t differ = tsdb_load_le64(a + n) ^ tsdb_load_le64(b + n);
        if (differ != 0) {
            return n + (uint32_t)__builtin_ctzll(differ) / 8;
        }
        n += (uint32_t)sizeof(uint64_t);
    }
    while (n < max && a[n] == b[n]) {
        n++;
    }
    return n;
}

/* How many bytes both end with, of at most `max`; the ends are given. */
static uint32_t common_end(const uint8_t *a, const uint8_t *b, uint32_t max)
{
    uint32_t n = 0;
    while (n + sizeof(uint64_t) <= max) {
        uint64_t differ =
            tsdb_load_le64(a - n - sizeof differ) ^ tsdb_load_le64(b - n - sizeof differ);
        if (differ != 0) {
            return n + (uint32_t)__builtin_clzll(differ) / 8;
        }
        n += (uint32_t)sizeof(uint64_t);
    }
    while (n < max && a[-1 - (ptrdiff_t)n] == b[-1 - (ptrdiff_t)n]) {
        n++;
    }
    return n;
}

/* The labels are written whole behind the room for what stands before them, compared with those of the
 * series before, and what differs is moved to its place. */
void wal_encode_series(struct wal_encoder *e, uint32_t local, const struct tsdb_labels *labels)
{
    size_t bytes = tsdb_labels_encoded_bytes(labels);
    TSDB_ASSERT(e->group && bytes <= TSDB_LABELS_BYTES_MAX);
    TSDB_ASSERT(encoder_left(e) >= WAL_SERIES_BYTES_OVERHEAD_MAX &&
                encoder_left(e) - WAL_SERIES_BYTES_OVERHEAD_MAX >= bytes);
    uint32_t len = (uint32_t)bytes;
    uint8_t *whole = e->pos + WAL_SERIES_BYTES_OVERHEAD_MAX;
    (void)tsdb_labels_encode(labels, whole);
    uint32_t most = TSDB_MIN(len, e->labels_len);
    uint32_t begin = common_begin(whole, e->labels, most);
    uint32_t end = common_end(whole + len, e->labels + e->labels_len, most - begin);
    e->labels_len = len <= sizeof e->labels ? len : 0;
    memcpy(e->labels, whole, e->labels_len);
    e->pos = put_local(e, e->pos, local);
    e->pos = tsdb_put_uvarint(e->pos, begin);
    e->pos = tsdb_put_uvarint(e->pos, end);
    e->pos = tsdb_put_uvarint(e->pos, len - begin - end);
    memmove(e->pos, whole + begin, len - begin - end);
    e->pos += len - begin - end;
}

/* Is the sample where it follows from those before? Then it is the one before now. */
static inline bool follow(struct wal_place *place, uint32_t local, int64_t t_ms)
{
    int64_t next_ms;
    if (local != wal_place_next(place, &next_ms) || t_ms != next_ms) {
        return false;
    }
    wal_place_take(place, local, t_ms);
    return true;
}

/* Which series and when, where that does not follow from the samples before. */
static inline uint8_t *put_place(struct wal_place *place, uint8_t *p, uint32_t local, int64_t t_ms)
{
    if (TSDB_LIKELY(follow(place, local, t_ms))) {
        return p;
    }
    int64_t first_ms = wal_place_first_ms(place);
    bool now = t_ms == first_ms;
    bool next = local == place->local + 1 && !now; /* a place says one of both at least */
    if (local == place->local) {
        *p++ = WAL_SAMPLE_PLACE + WAL_PLACE_SAME;
        p = tsdb_put_varint(p, wal_time_sub(wal_time_sub(t_ms, place->t_ms), place->pace_ms));
    } else {
        *p++ =
            (uint8_t)(WAL_SAMPLE_PLACE + (next ? 0 : WAL_PLACE_LOCAL) + (now ? 0 : WAL_PLACE_TIME));
        p = next ? p : tsdb_put_varint(p, (int32_t)(local - place->local));
        p = now ? p : tsdb_put_varint(p, wal_time_sub(t_ms, first_ms));
    }
    wal_place_take(place, local, t_ms);
    return p;
}

static inline uint8_t *put_packed(uint8_t *p, struct value_packed v)
{
    tsdb_store_le64(p, v.packed); /* eight bytes whatever the width: the reservation has room */
    return p + v.bytes;
}

/* Samples that a run's control byte stands for, and the other way round. */
static inline uint32_t run_samples(uint32_t control)
{
    return control == VALUE_PACK_SAME    ? 1
           : control < WAL_SAMPLE_ESCAPE ? control - WAL_SAMPLE_RUN + 2
                                         : control - WAL_SAMPLE_LONG_RUN + WAL_RUN_SHORT_MOST + 1;
}

static inline uint8_t run_control(uint32_t samples)
{
    return (uint8_t)(samples <= WAL_RUN_SHORT_MOST
                         ? WAL_SAMPLE_RUN + samples - 2
                         : WAL_SAMPLE_LONG_RUN + samples - WAL_RUN_SHORT_MOST - 1);
}

/* One more sample that is the base again, where it follows: counted in the control byte of the first. */
static inline bool run_extend(struct wal_encoder *e, uint32_t local, int64_t t_ms)
{
    uint32_t samples = e->run ? run_samples(*e->run) : WAL_RUN_MOST;
    if (samples == WAL_RUN_MOST || !follow(&e->place, local, t_ms)) {
        return false;
    }
    *e->run = run_control(samples + 1);
    return true;
}

/* Escape byte and start timestamp. */
static uint8_t *put_escape(uint8_t *p, enum tsdb_sample_kind kind, int64_t t_ms, int64_t start_ms)
{
    *p++ = (uint8_t)((unsigned)kind | (start_ms ? WAL_ESCAPE_START : 0u));
    if (start_ms) {
        p = tsdb_put_varint(p, (int64_t)((uint64_t)t_ms - (uint64_t)start_ms));
    }
    return p;
}

void wal_encode_packed(struct wal_encoder *e, uint32_t local, int64_t t_ms, int64_t start_ms,
                       struct value_packed v)
{
    TSDB_ASSERT(encoder_left(e) >= WAL_SAMPLE_BYTES_MAX);
    uint8_t *p = e->pos;
    if (v.mode == VALUE_PACK_SAME && start_ms == 0 && run_extend(e, local, t_ms)) {
        return;
    }
    p = put_place(&e->place, p, local, t_ms);
    e->run = NULL;
    if (TSDB_UNLIKELY(start_ms != 0)) {
        *p++ = WAL_SAMPLE_ESCAPE;
        p = put_escape(p, TSDB_SAMPLE_FLOAT, t_ms, start_ms);
    } else if (v.mode == VALUE_PACK_SAME) {
        e->run = p;
    } else if (v.mode == VALUE_PACK_INT_DELTA && v.packed <= WAL_SAMPLE_STEP_MOST) {
        *p++ = (uint8_t)(WAL_SAMPLE_STEP + v.packed);
        e->pos = p;
        return;
    }
    *p++ = (uint8_t)v.mode;
    e->pos = put_packed(p, v);
}

void wal_encode_float(struct wal_encoder *e, uint32_t local, int64_t t_ms, int64_t start_ms,
                      uint64_t bits, bool has_base, uint64_t base_bits)
{
    wal_encode_packed(e, local, t_ms, start_ms, value_pack(bits, has_base, base_bits));
}

void wal_encode_histogram(struct wal_encoder *e, uint32_t local, int64_t t_ms, int64_t start_ms,
                          enum tsdb_sample_kind kind, const uint8_t *raw, uint32_t raw_len)
{
    TSDB_ASSERT(e->group && kind != TSDB_SAMPLE_FLOAT);
    TSDB_ASSERT(encoder_left(e) >= WAL_SAMPLE_BYTES_MAX &&
                encoder_left(e) - WAL_SAMPLE_BYTES_MAX >= raw_len);
    e->run = NULL;
    uint8_t *p = put_place(&e->place, e->pos, local, t_ms);
    *p++ = WAL_SAMPLE_ESCAPE;
    p = put_escape(p, kind, t_ms, start_ms);
    p = tsdb_put_uvarint(p, raw_len);
    memcpy(p, raw, raw_len);
    e->pos = p + raw_len;
}

void wal_encode_exemplar(struct wal_encoder *e, uint32_t local, const struct tsdb_exemplar *x)
{
    size_t bytes = tsdb_labels_encoded_bytes(&x->labels);
    TSDB_ASSERT(encoder_left(e) >= WAL_EXEMPLAR_BYTES_OVERHEAD_MAX &&
                encoder_left(e) - WAL_EXEMPLAR_BYTES_OVERHEAD_MAX >= bytes);
    uint8_t *p = put_local(e, e->pos, local);
    p = put_time(e, p, x->t_ms);
    tsdb_store_le64(p, x->bits);
    p = tsdb_put_uvarint(p + 8, bytes);
    e->pos = p + tsdb_labels_encode(&x->labels, p);
}

/* ---- decoding ---- */

static bool group_read(struct wal_groups *g, struct wal_group *out)
{
    int64_t ahead;
    uint64_t len;
    uint32_t first = *g->pos;
    const uint8_t *p = tsdb_get_varint(g->pos + 1, g->end, &ahead);
    if (!p || !(p = tsdb_get_uvarint(p, g->end, &len)) || len < WAL_GROUP_BODY_MIN ||
        len > (uint64_t)(g->end - p) || first >> WAL_GROUP_TYPE_SHIFT == 0 ||
        (first & WAL_GROUP_PARTITION) >= TSDB_PARTITIONS) {
        return false;
    }
    g->time_ms = (int64_t)((uint64_t)g->time_ms + (uint64_t)ahead);
    g->pos = p + len;
    *out = (struct wal_group){(enum wal_record_type)(first >> WAL_GROUP_TYPE_SHIFT),
                              first & WAL_GROUP_PARTITION,
                              g->time_ms,
                              {p, (size_t)len}};
    return true;
}

bool wal_groups_next(struct wal_groups *g, struct wal_group *out)
{
    if (g->pos == g->end || g->failed) {
        return false;
    }
    g->failed = !group_read(g, out);
    return !g->failed;
}

enum tsdb_status wal_decode_head(const uint8_t *body, uint32_t len, int64_t time_ms,
                                 struct wal_frame_head *out_head, struct wal_decoder *out,
                                 struct tsdb_error *err)
{
    const uint8_t *p = body, *end = body + len;
    struct wal_frame_head head;
    int64_t ahead;
    if (!(p = tsdb_get_uvarint(p, end, &head.log_seq)) || !(p = tsdb_get_varint(p, end, &ahead)) ||
        !(p = tsdb_get_uvarint(p, end, &head.epoch))) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              "wal group of %u bytes: sequence numbers are cut off", len);
    }
    head.write_seq = head.log_seq + (uint64_t)ahead;
    *out_head = head;
    out->pos = p;
    out->end = end;
    out->prev_local = LOCAL_BEFORE_FIRST;
    out->prev_t_ms = time_ms;
    out->run_left = 0;
    out->series_begun = out->failed = false;
    wal_place_begin(&out->place, LOCAL_BEFORE_FIRST, time_ms);
    return TSDB_OK;
}

static bool decode_fail(struct wal_decoder *d)
{
    d->failed = true;
    d->pos = d->end;
    d->run_left = 0;
    return false;
}

static bool local_set(struct wal_decoder *d, uint32_t local)
{
    if (local >= TSDB_SERIES_LOCAL_MAX) {
        return false;
    }
    d->prev_local = local;
    return true;
}

static bool get_local(struct wal_decoder *d)
{
    int64_t delta;
    const uint8_t *p = tsdb_get_varint(d->pos, d->end, &delta);
    if (!p || delta < INT32_MIN || delta > INT32_MAX) {
        return false;
    }
    d->pos = p;
    return local_set(d, d->prev_local + (uint32_t)(int32_t)delta);
}

static bool get_time(struct wal_decoder *d)
{
    int64_t delta;
    const uint8_t *p = tsdb_get_varint(d->pos, d->end, &delta);
    if (!p) {
        return false;
    }
    d->pos = p;
    d->prev_t_ms = wal_time_add(d->prev_t_ms, delta);
    return true;
}

/* A uvarint length and that many bytes. */
static bool get_bytes(struct wal_decoder *d, struct tsdb_slice *out)
{
    uint64_t len;
    const uint8_t *p = tsdb_get_uvarint(d->pos, d->end, &len);
    if (!p || len > (uint64_t)(d->end - p)) {
        return false;
    }
    *out = (struct tsdb_slice){p, (size_t)len};
    d->pos = p + len;
    return true;
}

static bool get_count(struct wal_decoder *d, size_t max, size_t *out)
{
    uint64_t v;
    const uint8_t *p = tsdb_get_uvarint(d->pos, d->end, &v);
    if (!p || v > max) {
        return false;
    }
    d->pos = p;
    *out = (size_t)v;
    return true;
}

/* The bytes before become those of the next: what both begin and end with stays, and between them
 * comes `between`. False: no memory. */
static bool labels_change(struct tsdb_buf *labels, size_t begin, size_t end,
                          struct tsdb_slice between)
{
    size_t len = begin + between.len + end;
    if (len > labels->len && !tsdb_buf_reserve(labels, len - labels->len)) {
        return false;
    }
    if (end > 0) {
        memmove(labels->data + len - end, labels->data + labels->len - end, end);
    }
    if (between.len > 0) {
        memcpy(labels->data + begin, between.data, between.len);
    }
    labels->len = len;
    return true;
}

bool wal_decode_series(struct wal_decoder *d, struct tsdb_buf *labels, uint32_t *out_local)
{
    size_t begin;
    size_t end;
    struct tsdb_slice between;
    if (d->pos == d->end || labels->failed) {
        return false;
    }
    labels->len = d->series_begun ? labels->len : 0;
    if (!get_local(d) || !get_count(d, labels->len, &begin) ||
        !get_count(d, labels->len - begin, &end) || !get_bytes(d, &between) ||
        between.len > TSDB_LABELS_BYTES_MAX - begin - end) {
        return decode_fail(d);
    }
    d->series_begun = true;
    *out_local = d->prev_local;
    return labels_change(labels, begin, end, between);
}

static void sample_value(struct wal_sample *s, uint32_t mode, uint64_t packed)
{
    s->needs_base = value_pack_needs_base(mode);
    s->pack_mode = (uint8_t)mode;
    s->packed = packed;
    s->bits = s->needs_base ? 0 : value_unpack(mode, packed, 0);
}

static bool get_value(struct wal_decoder *d, uint32_t mode, struct wal_sample *out)
{
    if (mode >= VALUE_PACK_MODE_COUNT) {
        return false;
    }
    uint32_t n = value_pack_bytes(mode);
    if (n > (size_t)(d->end - d->pos)) {
        return false;
    }
    uint64_t packed = 0;
    memcpy(&packed, d->pos, n);
    d->pos += n;
    sample_value(out, mode, packed);
    return true;
}

static bool get_escape(struct wal_decoder *d, struct wal_sample *out)
{
    if (d->pos == d->end || (*d->pos & ~WAL_ESCAPE_VALID)) {
        return false;
    }
    uint8_t escape = *d->pos++;
    if ((escape & WAL_ESCAPE_KIND) > TSDB_SAMPLE_HISTOGRAM_FLOAT) {
        return false;
    }
    out->kind = (enum tsdb_sample_kind)(escape & WAL_ESCAPE_KIND);
    if (escape & WAL_ESCAPE_START) {
        int64_t back;
        const uint8_t *p = tsdb_get_varint(d->pos, d->end, &back);
        if (!p) {
            return false;
        }
        d->pos = p;
        out->start_ms = (int64_t)((uint64_t)out->t_ms - (uint64_t)back);
    }
    if (out->kind != TSDB_SAMPLE_FLOAT) {
        return get_bytes(d, &out->raw);
    }
    return d->pos != d->end && get_value(d, *d->pos++, out);
}

static bool get_difference(struct wal_decoder *d, int64_t *out)
{
    const uint8_t *p = tsdb_get_varint(d->pos, d->end, out);
    d->pos = p ? p : d->end;
    return p != NULL;
}

/* There is the next sample, if there can be such a series. */
static bool place_take(struct wal_decoder *d, uint32_t local, int64_t t_ms)
{
    if (local >= TSDB_SERIES_LOCAL_MAX) {
        return false;
    }
    wal_place_take(&d->place, local, t_ms);
    return true;
}

static bool get_following(struct wal_decoder *d)
{
    int64_t t_ms;
    uint32_t local = wal_place_next(&d->place, &t_ms);
    return place_take(d, local, t_ms);
}

/* The bytes of a place. */
static bool get_place(struct wal_decoder *d, uint32_t place)
{
    const struct wal_place *last = &d->place;
    int64_t ahead = place == WAL_PLACE_SAME ? 0 : 1;
    int64_t later = 0;
    if (((place & WAL_PLACE_LOCAL) && !get_difference(d, &ahead)) ||
        (place != WAL_PLACE_LOCAL && !get_difference(d, &later))) {
        return false;
    }
    int64_t base_ms = place == WAL_PLACE_SAME ? wal_time_add(last->t_ms, last->pace_ms)
                                              : wal_place_first_ms(last);
    /* Ids wrap at 32 bits, so that the first one's difference needs no case of its own. */
    return ahead >= INT32_MIN && ahead <= INT32_MAX &&
           place_take(d, last->local + (uint32_t)(int32_t)ahead, wal_time_add(base_ms, later));
}

/* What comes before a control byte, and that. */
static bool get_control(struct wal_decoder *d, uint32_t *out)
{
    *out = *d->pos++;
    if (*out <= WAL_SAMPLE_PLACE || *out >= WAL_SAMPLE_PLACE_END) {
        return get_following(d);
    }
    if (!get_place(d, *out - WAL_SAMPLE_PLACE) || d->pos == d->end) {
        return false;
    }
    *out = *d->pos++;
    return *out <= WAL_SAMPLE_PLACE || *out >= WAL_SAMPLE_PLACE_END;
}

static bool get_sample(struct wal_decoder *d, struct wal_sample *out)
{
    uint32_t control = 0;
    if (!get_control(d, &control)) {
        return false;
    }
    out->local = d->place.local;
    out->t_ms = d->place.t_ms;
    if (control == WAL_SAMPLE_ESCAPE) {
        return get_escape(d, out);
    }
    if (control > WAL_SAMPLE_STEP) {
        sample_value(out, VALUE_PACK_INT_DELTA, control - WAL_SAMPLE_STEP);
        return true;
    }
    if (control >= WAL_SAMPLE_RUN) {
        d->run_left = run_samples(control) - 1;
        control = VALUE_PACK_SAME;
    }
    return get_value(d, control, out);
}

bool wal_decode_sample(struct wal_decoder *d, struct wal_sample *out)
{
    struct wal_sample s = {.kind = TSDB_SAMPLE_FLOAT};
    if (d->run_left > 0) {
        d->run_left--;
        if (!get_following(d)) {
            return decode_fail(d);
        }
        s.local = d->place.local;
        s.t_ms = d->place.t_ms;
        sample_value(&s, VALUE_PACK_SAME, 0);
    } else if (d->pos == d->end) {
        return false;
    } else if (!get_sample(d, &s)) {
        return decode_fail(d);
    }
    *out = s;
    return true;
}

uint64_t wal_sample_unpack(const struct wal_sample *s, uint64_t base_bits)
{
    return s->needs_base ? value_unpack(s->pack_mode, s->packed, base_bits) : s->bits;
}

bool wal_decode_exemplar(struct wal_decoder *d, uint32_t *out_local, struct tsdb_label *items,
                         uint32_t cap, struct tsdb_exemplar *out)
{
    struct tsdb_slice labels;
    uint32_t count;
    if (d->pos == d->end) {
        return false;
    }
    if (!get_local(d) || !get_time(d) || d->end - d->pos < 8) {
        return decode_fail(d);
    }
    uint64_t bits = tsdb_load_le64(d->pos);
    d->pos += 8;
    if (!get_bytes(d, &labels) ||
        tsdb_labels_decode(labels.data, labels.len, items, cap, &count, NULL) != TSDB_OK) {
        return decode_fail(d);
    }
    *out_local = d->prev_local;
    *out = (struct tsdb_exemplar){.labels = {items, count}, .bits = bits, .t_ms = d->prev_t_ms};
    return true;
}
