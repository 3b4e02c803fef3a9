#include "ingest/remote_write.h"

#include "base/assert.h"

/* Field numbers, see the headers. */
enum {
    REQUEST_SERIES = 1,
    REQUEST_METADATA = 3
};
enum {
    SERIES_LABEL = 1,
    SERIES_SAMPLE = REMOTE_WRITE_SAMPLE_FIELD,
    SERIES_EXEMPLAR = 3,
    SERIES_HISTOGRAM = 4
};
enum {
    SERIES_V2_HISTOGRAM = 3,
    SERIES_V2_EXEMPLAR = 4
};
enum {
    EXEMPLAR_LABEL = 1
};
static const struct wire_want label_fields[] = {{1, WIRE_LEN}, {2, WIRE_LEN}};
/* Value, timestamp, and in 2.0 the start timestamp. */
static const struct wire_want sample_fields[] = {
    {1, WIRE_FIXED64}, {2, WIRE_VARINT}, {3, WIRE_VARINT}};
static const struct wire_want exemplar_fields[] = {{2, WIRE_FIXED64}, {3, WIRE_VARINT}};

void remote_write_init(struct remote_write_walker *w, const uint8_t *body, size_t len)
{
    TSDB_ASSERT(len <= REMOTE_WRITE_BYTES_MAX);
    static const uint8_t none;
    const uint8_t *begin = len > 0 ? body : &none;
    *w = (struct remote_write_walker){.begin = begin, .pos = begin, .end = begin + len};
}

enum tsdb_status remote_write_fault(const struct remote_write_walker *w, const uint8_t *pos,
                                    const char *what, struct tsdb_error *err)
{
    uint64_t at = (uint64_t)(pos - w->begin);
    return tsdb_error_set_at(err, TSDB_CORRUPT, at,
                             "remote write: malformed %s at byte %llu of %zu", what,
                             (unsigned long long)at, (size_t)(w->end - w->begin));
}

static enum remote_write_item malformed(struct remote_write_walker *w, const uint8_t *pos,
                                        const char *what)
{
    w->pos = pos;
    w->fault = what;
    return REMOTE_WRITE_MALFORMED;
}

/* Frame the fields of a series from pos on, in any order. `out` holds what came before. */
enum remote_write_item remote_write_frame_rest(struct remote_write_walker *w, const uint8_t *pos,
                                               struct remote_write_series *out)
{
    const uint8_t *end = out->message.data + out->message.len;
    while (pos < end) {
        const uint8_t *begin = pos;
        uint32_t field = 0;
        enum wire_type type = WIRE_VARINT;
        const uint8_t *p = wire_tag(pos, end, &field, &type);
        pos = !p ? NULL : wire_skip(p, end, type);
        bool known = field >= SERIES_LABEL && field <= SERIES_HISTOGRAM;
        if (!pos || (known && type != WIRE_LEN)) {
            return malformed(w, begin, "field of a time series");
        }
        if (field == SERIES_LABEL) {
            bool first = out->label_count == 0;
            if (first) {
                out->labels.data = begin;
            }
            const uint8_t *labels_end = out->labels.data + (first ? 0 : out->labels.len);
            out->labels_contiguous = (first || out->labels_contiguous) && labels_end == begin;
            out->labels.len = (size_t)(pos - out->labels.data);
            out->label_count++;
        } else if (field == SERIES_SAMPLE) {
            if (out->sample_count == 0) {
                out->samples = begin;
            }
            out->sample_count++;
        } else if (field == SERIES_EXEMPLAR) {
            out->exemplar_count++;
        } else if (field == SERIES_HISTOGRAM) {
            out->histogram_count++;
        }
    }
    if (out->sample_count == 0) {
        out->samples = end;
    }
    w->pos = end;
    return REMOTE_WRITE_SERIES;
}

enum remote_write_item remote_write_next_slow(struct remote_write_walker *w,
                                              struct remote_write_series *out)
{
    while (w->pos < w->end) {
        struct wire_field f;
        const uint8_t *begin = w->pos;
        const uint8_t *after = wire_field_read(begin, w->end, &f);
        bool known = f.number == REQUEST_SERIES || f.number == REQUEST_METADATA;
        if (!after || (known && f.type != WIRE_LEN)) {
            return malformed(w, begin, "field of the request");
        }
        w->pos = after;
        if (!known) {
            continue;
        }
        *out = (struct remote_write_series){
            .message = f.bytes, .labels = {f.bytes.data, 0}, .samples = f.bytes.data};
        if (f.number == REQUEST_METADATA) {
            return REMOTE_WRITE_METADATA;
        }
        return remote_write_frame_rest(w, f.bytes.data, out);
    }
    return REMOTE_WRITE_END;
}

static struct remote_write_cursor fields_of(const struct remote_write_series *s, uint32_t field,
                                            uint32_t count)
{
    const uint8_t *end = s->message.data + s->message.len;
    return (struct remote_write_cursor){
        .pos = count > 0 ? s->message.data : end, .end = end, .field = field};
}

struct remote_write_cursor remote_write_exemplars(const struct remote_write_walker *w,
                                                  const struct remote_write_series *s)
{
    return fields_of(s, w->v2 ? SERIES_V2_EXEMPLAR : SERIES_EXEMPLAR, s->exemplar_count);
}

struct remote_write_cursor remote_write_histograms(const struct remote_write_walker *w,
                                                   const struct remote_write_series *s)
{
    return fields_of(s, w->v2 ? SERIES_V2_HISTOGRAM : SERIES_HISTOGRAM, s->histogram_count);
}

bool remote_write_next_message(struct remote_write_cursor *c, struct tsdb_slice *out)
{
    while (!c->failed && c->pos < c->end) {
        struct wire_field f;
        const uint8_t *after = wire_field_read(c->pos, c->end, &f);
        if (!after || (f.number == c->field && f.type != WIRE_LEN)) {
            c->failed = true;
            return false;
        }
        c->pos = after;
        if (f.number == c->field) {
            *out = f.bytes;
            return true;
        }
    }
    return false;
}

bool remote_write_next_sample_slow(struct remote_write_cursor *c, int64_t *out_t_ms,
                                   int64_t *out_start_ms, uint64_t *out_bits)
{
    struct tsdb_slice message;
    if (!remote_write_next_message(c, &message)) {
        return false;
    }
    struct wire_field f[TSDB_ARRAY_LEN(sample_fields)] = {0};
    if (!wire_message_read(message, sample_fields, c->has_start ? 3 : 2, f)) {
        c->pos = message.data;
        c->failed = true;
        return false;
    }
    *out_bits = f[0].value;
    *out_t_ms = (int64_t)f[1].value;
    *out_start_ms = (int64_t)f[2].value;
    return true;
}

/* ---- labels ---- */

/* Name, value, end: what every sender writes. */
static bool read_label_plain(struct tsdb_slice message, struct tsdb_label *out)
{
    const uint8_t *p = message.data;
    const uint8_t *end = p + message.len;
    size_t name_len = 0;
    size_t value_len = 0;
    if (p == end || p[0] != WIRE_TAG(1, WIRE_LEN)) {
        return false;
    }
    const uint8_t *name = wire_len(p + 1, end, &name_len);
    if (!name || name + name_len == end || name[name_len] != WIRE_TAG(2, WIRE_LEN)) {
        return false;
    }
    const uint8_t *value = wire_len(name + name_len + 1, end, &value_len);
    if (!value || value + value_len != end) {
        return false;
    }
    *out = (struct tsdb_label){(const char *)name, (const char *)value, (uint32_t)name_len,
                               (uint32_t)value_len};
    return true;
}

static const char *text_of(const struct wire_field *f)
{
    return f->bytes.data ? (const char *)f->bytes.data : "";
}

static bool read_label(struct tsdb_slice message, struct tsdb_label *out)
{
    if (TSDB_LIKELY(read_label_plain(message, out))) {
        return true;
    }
    struct wire_field f[TSDB_ARRAY_LEN(label_fields)];
    if (!wire_message_read(message, label_fields, TSDB_ARRAY_LEN(label_fields), f)) {
        return false;
    }
    *out = (struct tsdb_label){text_of(&f[0]), text_of(&f[1]), (uint32_t)f[0].bytes.len,
                               (uint32_t)f[1].bytes.len};
    return true;
}

/* The Label fields of a message; `what` holds them, in the text of a LIMIT. */
static enum tsdb_status read_labels(const struct remote_write_walker *w,
                                    struct remote_write_cursor *c, const char *what,
                                    struct tsdb_label *items, uint32_t cap, uint32_t *out_count,
                                    struct tsdb_error *err)
{
    struct tsdb_slice message;
    uint32_t n = 0;
    while (remote_write_next_message(c, &message)) {
        if (n == cap) {
            return tsdb_error_set(err, TSDB_LIMIT, "%s has more than %u labels", what, cap);
        }
        if (!read_label(message, &items[n])) {
            return remote_write_fault(w, message.data, "label", err);
        }
        n++;
    }
    *out_count = n;
    return TSDB_OK;
}

enum tsdb_status remote_write_read_labels(const struct remote_write_walker *w,
                                          const struct remote_write_series *s,
                                          struct tsdb_label *items, uint32_t cap,
                                          uint32_t *out_count, struct tsdb_error *err)
{
    struct remote_write_cursor c = {
        .pos = s->labels.data, .end = s->labels.data + s->labels.len, .field = SERIES_LABEL};
    enum tsdb_status status = read_labels(w, &c, "series", items, cap, out_count, err);
    TSDB_ASSERT(!c.failed); /* framed by remote_write_next */
    return status;
}

enum tsdb_status remote_write_read_exemplar(const struct remote_write_walker *w,
                                            struct tsdb_slice message, struct tsdb_label *items,
                                            uint32_t cap, struct tsdb_exemplar *out,
                                            struct tsdb_error *err)
{
    struct wire_field f[TSDB_ARRAY_LEN(exemplar_fields)];
    struct remote_write_cursor c = {
        .pos = message.data, .end = message.data + message.len, .field = EXEMPLAR_LABEL};
    uint32_t count = 0;
    bool ok = wire_message_read(message, exemplar_fields, TSDB_ARRAY_LEN(exemplar_fields), f);
    enum tsdb_status status =
        ok ? read_labels(w, &c, "exemplar", items, cap, &count, err) : TSDB_OK;
    if (!ok || c.failed) {
        return remote_write_fault(w, c.pos, "exemplar", err);
    }
    if (status == TSDB_OK) {
        *out = (struct tsdb_exemplar){
            .labels = {items, count}, .bits = f[0].value, .t_ms = (int64_t)f[1].value};
    }
    return status;
}
