#include "ingest/histogram_wire.h"

#include "base/assert.h"
#include "base/limits.h"
#include "ingest/wire.h"

enum {
    COUNT_INT = 1,
    COUNT_FLOAT = 2,
    SUM = 3,
    SCHEMA = 4,
    ZERO_THRESHOLD = 5,
    ZERO_COUNT_INT = 6,
    ZERO_COUNT_FLOAT = 7,
    NEGATIVE_SPANS = 8,
    NEGATIVE_DELTAS = 9,
    NEGATIVE_COUNTS = 10,
    POSITIVE_SPANS = 11,
    POSITIVE_DELTAS = 12,
    POSITIVE_COUNTS = 13,
    RESET_HINT = 14,
    TIMESTAMP = 15,
    CUSTOM_VALUES = 16,
    START_TIMESTAMP = 17,
    FIELD_COUNT = 18
};
enum {
    SPAN_OFFSET = 1,
    SPAN_LENGTH = 2
};

/* What the wire type of a field has to be. */
enum shape {
    SHAPE_VARINT,
    SHAPE_DOUBLE,
    SHAPE_MESSAGE,
    SHAPE_VARINTS,
    SHAPE_DOUBLES
};
static const uint8_t shapes[FIELD_COUNT] = {
    [COUNT_INT] = SHAPE_VARINT,
    [COUNT_FLOAT] = SHAPE_DOUBLE,
    [SUM] = SHAPE_DOUBLE,
    [SCHEMA] = SHAPE_VARINT,
    [ZERO_THRESHOLD] = SHAPE_DOUBLE,
    [ZERO_COUNT_INT] = SHAPE_VARINT,
    [ZERO_COUNT_FLOAT] = SHAPE_DOUBLE,
    [NEGATIVE_SPANS] = SHAPE_MESSAGE,
    [NEGATIVE_DELTAS] = SHAPE_VARINTS,
    [NEGATIVE_COUNTS] = SHAPE_DOUBLES,
    [POSITIVE_SPANS] = SHAPE_MESSAGE,
    [POSITIVE_DELTAS] = SHAPE_VARINTS,
    [POSITIVE_COUNTS] = SHAPE_DOUBLES,
    [RESET_HINT] = SHAPE_VARINT,
    [TIMESTAMP] = SHAPE_VARINT,
    [CUSTOM_VALUES] = SHAPE_DOUBLES,
    [START_TIMESTAMP] = SHAPE_VARINT,
};

/* First pass: how much of each array there is, and the scalars. */
struct scan {
    uint32_t last_field;
    uint32_t counts[FIELD_COUNT];
    uint64_t elements;
    uint64_t reset_hint;
    int64_t t_ms;
    int64_t start_ms;
    struct tsdb_histogram h;
};

/* The number of varints in a packed field; false if the last one is cut or one is too long. */
static bool count_varints(struct tsdb_slice bytes, uint32_t *out)
{
    uint32_t count = 0;
    unsigned run = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        run++;
        if (bytes.data[i] < 0x80) {
            count++;
            run = 0;
        } else if (run == TSDB_VARINT64_BYTES_MAX) {
            return false;
        }
    }
    *out = count;
    return run == 0;
}

static bool read_span(struct tsdb_slice message, struct tsdb_span *out)
{
    static const struct wire_want want[] = {{SPAN_OFFSET, WIRE_VARINT}, {SPAN_LENGTH, WIRE_VARINT}};
    struct wire_field f[TSDB_ARRAY_LEN(want)];
    if (!wire_message_read(message, want, TSDB_ARRAY_LEN(want), f)) {
        return false;
    }
    out->offset = (int32_t)tsdb_unzigzag((uint32_t)f[0].value);
    out->length = (uint32_t)f[1].value;
    return true;
}

/* How many elements the field brings; false if its wire type or content is wrong. */
static bool field_elements(const struct wire_field *f, uint32_t *out)
{
    *out = 0;
    switch ((enum shape)shapes[f->number]) {
    case SHAPE_VARINT:
        return f->type == WIRE_VARINT;
    case SHAPE_DOUBLE:
        return f->type == WIRE_FIXED64;
    case SHAPE_MESSAGE:
        *out = 1;
        return f->type == WIRE_LEN;
    case SHAPE_VARINTS:
        *out = 1;
        return f->type == WIRE_VARINT || (f->type == WIRE_LEN && count_varints(f->bytes, out));
    case SHAPE_DOUBLES:
        *out = f->type == WIRE_LEN ? (uint32_t)(f->bytes.len / 8) : 1;
        return f->type == WIRE_FIXED64 || (f->type == WIRE_LEN && f->bytes.len % 8 == 0);
    }
    return false;
}

static void take_scalar(struct scan *s, const struct wire_field *f)
{
    struct tsdb_histogram *h = &s->h;
    switch (f->number) {
    case COUNT_INT:
        h->is_float = false;
        h->count_int = f->value;
        break;
    case COUNT_FLOAT:
        h->is_float = true;
        h->count_float = tsdb_bits_double(f->value);
        break;
    case SUM:
        h->sum = tsdb_bits_double(f->value);
        break;
    case SCHEMA:
        h->schema = (int32_t)tsdb_unzigzag((uint32_t)f->value);
        break;
    case ZERO_THRESHOLD:
        h->zero_threshold = tsdb_bits_double(f->value);
        break;
    case ZERO_COUNT_INT: /* a oneof: the later member takes the place of the earlier */
        h->zero_count_int = f->value;
        h->zero_count_float = 0;
        break;
    case ZERO_COUNT_FLOAT:
        h->zero_count_float = tsdb_bits_double(f->value);
        h->zero_count_int = 0;
        break;
    case RESET_HINT:
        s->reset_hint = f->value;
        break;
    case TIMESTAMP:
        s->t_ms = (int64_t)f->value;
        break;
    case START_TIMESTAMP:
        s->start_ms = (int64_t)f->value;
        break;
    default: /* an array, or unknown */
        break;
    }
}

static enum tsdb_status malformed(struct tsdb_slice message, const uint8_t *at,
                                  struct tsdb_error *err)
{
    uint64_t pos = (uint64_t)(at - message.data);
    return tsdb_error_set_at(err, TSDB_CORRUPT, pos,
                             "remote write: malformed histogram at byte %llu of its %zu",
                             (unsigned long long)pos, message.len);
}

static enum tsdb_status scan_fields(struct tsdb_slice message, struct scan *s,
                                    struct tsdb_error *err)
{
    const uint8_t *p = message.data;
    const uint8_t *end = p + message.len;
    while (p < end) {
        struct wire_field f;
        const uint8_t *begin = p;
        p = wire_field_read(p, end, &f);
        if (!p) {
            return malformed(message, begin, err);
        }
        if (f.number == 0 || f.number > s->last_field) {
            continue;
        }
        uint32_t elements = 0;
        if (!field_elements(&f, &elements)) {
            return malformed(message, begin, err);
        }
        s->counts[f.number] += elements; /* at most one per byte of the message */
        s->elements += elements;
        take_scalar(s, &f);
    }
    return TSDB_OK;
}

/* Second pass: where the elements go. NULL where the kind of histogram has no use for them. */
struct fill {
    struct tsdb_span *spans[2]; /* negative, positive */
    int64_t *deltas[2];
    double *counts[2];
    double *custom;
};

static bool fill_varints(int64_t **next, const struct wire_field *f)
{
    if (!*next) {
        return true;
    }
    if (f->type == WIRE_VARINT) {
        *(*next)++ = tsdb_unzigzag(f->value);
        return true;
    }
    const uint8_t *p = f->bytes.data;
    const uint8_t *end = p + f->bytes.len;
    while (p != NULL && p < end) {
        uint64_t v = 0;
        p = wire_varint(p, end, &v);
        *(*next)++ = tsdb_unzigzag(v);
    }
    return p != NULL;
}

static void fill_doubles(double **next, const struct wire_field *f)
{
    if (!*next) {
        return;
    }
    if (f->type == WIRE_FIXED64) {
        *(*next)++ = tsdb_bits_double(f->value);
        return;
    }
    memcpy(*next, f->bytes.data, f->bytes.len); /* little-endian, as we are */
    *next += f->bytes.len / 8;
}

static enum tsdb_status fill_arrays(struct tsdb_slice message, uint32_t last_field, struct fill *to,
                                    struct tsdb_error *err)
{
    const uint8_t *p = message.data;
    const uint8_t *end = p + message.len;
    while (p < end) {
        struct wire_field f;
        const uint8_t *begin = p;
        p = wire_field_read(p, end, &f);
        TSDB_ASSERT(p != NULL); /* scanned before */
        unsigned positive = f.number >= POSITIVE_SPANS && f.number <= POSITIVE_COUNTS;
        bool ok = true;
        switch (f.number <= last_field ? f.number : 0) {
        case NEGATIVE_SPANS:
        case POSITIVE_SPANS:
            TSDB_ASSERT(to->spans[positive] != NULL); /* counted before */
            ok = read_span(f.bytes, to->spans[positive]++);
            break;
        case NEGATIVE_DELTAS:
        case POSITIVE_DELTAS:
            ok = fill_varints(&to->deltas[positive], &f);
            break;
        case NEGATIVE_COUNTS:
        case POSITIVE_COUNTS:
            fill_doubles(&to->counts[positive], &f);
            break;
        case CUSTOM_VALUES:
            fill_doubles(&to->custom, &f);
            break;
        default: /* a scalar, or unknown */
            break;
        }
        if (!ok) {
            return malformed(message, begin, err);
        }
    }
    return TSDB_OK;
}

/* An array of what the first pass counted, NULL for none. *failed is set when memory is short;
 * nothing is asked for after that, so that arena->failure keeps saying why. */
static void *array_of(struct tsdb_arena *arena, uint32_t count, size_t bytes_each, bool *failed)
{
    if (count == 0 || *failed) {
        return NULL;
    }
    void *p = tsdb_arena_alloc_array(arena, count, bytes_each, 8);
    *failed |= !p;
    return p;
}

static bool allocate(struct scan *s, struct tsdb_arena *arena, struct fill *to)
{
    struct tsdb_histogram *h = &s->h;
    bool failed = false;
    h->negative_span_count = s->counts[NEGATIVE_SPANS];
    h->positive_span_count = s->counts[POSITIVE_SPANS];
    h->custom_count = s->counts[CUSTOM_VALUES];
    h->negative_bucket_count = s->counts[h->is_float ? NEGATIVE_COUNTS : NEGATIVE_DELTAS];
    h->positive_bucket_count = s->counts[h->is_float ? POSITIVE_COUNTS : POSITIVE_DELTAS];
    *to = (struct fill){0};
    to->spans[0] = array_of(arena, h->negative_span_count, sizeof *to->spans[0], &failed);
    to->spans[1] = array_of(arena, h->positive_span_count, sizeof *to->spans[1], &failed);
    to->custom = array_of(arena, h->custom_count, sizeof *to->custom, &failed);
    void *negative = array_of(arena, h->negative_bucket_count, 8, &failed);
    void *positive = array_of(arena, h->positive_bucket_count, 8, &failed);
    h->negative_spans = to->spans[0];
    h->positive_spans = to->spans[1];
    h->custom_values = to->custom;
    if (h->is_float) {
        h->negative_counts = to->counts[0] = negative;
        h->positive_counts = to->counts[1] = positive;
    } else {
        h->negative_deltas = to->deltas[0] = negative;
        h->positive_deltas = to->deltas[1] = positive;
    }
    return !failed;
}

enum tsdb_status histogram_wire_decode(struct tsdb_slice message, bool has_start,
                                       struct tsdb_arena *arena, struct tsdb_histogram *out,
                                       int64_t *out_t_ms, int64_t *out_start_ms,
                                       struct tsdb_error *err)
{
    struct scan s = {.last_field = has_start ? START_TIMESTAMP : CUSTOM_VALUES};
    enum tsdb_status status = scan_fields(message, &s, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (s.elements > TSDB_HISTOGRAM_BUCKETS_MAX) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "histogram has %llu spans, buckets and custom bounds, at most %u",
                              (unsigned long long)s.elements, TSDB_HISTOGRAM_BUCKETS_MAX);
    }
    uint32_t hint = (uint32_t)s.reset_hint;
    if (hint > TSDB_RESET_GAUGE) {
        return tsdb_error_set(err, TSDB_INVALID, "histogram has the unknown reset hint %u", hint);
    }
    s.h.reset_hint = (enum tsdb_reset_hint)hint;
    if (s.h.is_float) { /* the oneofs' other members, replaced or of the other kind */
        s.h.count_int = 0;
        s.h.zero_count_int = 0;
    } else {
        s.h.count_float = 0;
        s.h.zero_count_float = 0;
    }
    struct fill to;
    if (!allocate(&s, arena, &to)) {
        return tsdb_error_set(err, arena->failure, "histogram: no memory for %llu elements",
                              (unsigned long long)s.elements);
    }
    status = fill_arrays(message, s.last_field, &to, err);
    if (status != TSDB_OK) {
        return status;
    }
    *out = s.h;
    *out_t_ms = s.t_ms;
    *out_start_ms = s.start_ms;
    return TSDB_OK;
}
