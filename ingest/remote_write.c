#include "ingest/remote_write.h"

#include "base/assert.h"

/* Field numbers, see the header. */
enum {
    REQUEST_SERIES = 1,
    REQUEST_METADATA = 3
};
enum {
    SERIES_LABEL = 1,
    SERIES_SAMPLE = 2,
    SERIES_EXEMPLAR = 3,
    SERIES_HISTOGRAM = 4
};
enum {
    LABEL_NAME = 1,
    LABEL_VALUE = 2
};
enum {
    SAMPLE_VALUE = 1,
    SAMPLE_TIMESTAMP = 2
};
enum {
    EXEMPLAR_LABEL = 1,
    EXEMPLAR_VALUE = 2,
    EXEMPLAR_TIMESTAMP = 3
};

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

bool remote_write_next_message(struct remote_write_cursor *c, uint32_t number,
                               struct tsdb_slice *out)
{
    while (!c->failed && c->pos < c->end) {
        struct wire_field f;
        const uint8_t *after = wire_field_read(c->pos, c->end, &f);
        if (!after || (f.number == number && f.type != WIRE_LEN)) {
            c->failed = true;
            return false;
        }
        c->pos = after;
        if (f.number == number) {
            *out = f.bytes;
            return true;
        }
    }
    return false;
}

static bool read_sample(struct tsdb_slice message, int64_t *out_t_ms, uint64_t *out_bits)
{
    const uint8_t *p = message.data;
    const uint8_t *end = p + message.len;
    *out_t_ms = 0;
    *out_bits = 0;
    while (p < end) {
        struct wire_field f;
        p = wire_field_read(p, end, &f);
        if (!p) {
            return false;
        }
        if (f.number == SAMPLE_VALUE) {
            if (f.type != WIRE_FIXED64) {
                return false;
            }
            *out_bits = f.value;
        } else if (f.number == SAMPLE_TIMESTAMP) {
            if (f.type != WIRE_VARINT) {
                return false;
            }
            *out_t_ms = (int64_t)f.value;
        }
    }
    return true;
}

bool remote_write_next_sample_slow(struct remote_write_cursor *c, int64_t *out_t_ms,
                                   uint64_t *out_bits)
{
    struct tsdb_slice message;
    if (!remote_write_next_message(c, SERIES_SAMPLE, &message)) {
        return false;
    }
    if (!read_sample(message, out_t_ms, out_bits)) {
        c->pos = message.data;
        c->failed = true;
        return false;
    }
    return true;
}

static struct remote_write_cursor whole(const struct remote_write_series *s, uint32_t count)
{
    const uint8_t *end = s->message.data + s->message.len;
    return (struct remote_write_cursor){count > 0 ? s->message.data : end, end, false};
}

struct remote_write_cursor remote_write_exemplars(const struct remote_write_series *s)
{
    return whole(s, s->exemplar_count);
}

struct remote_write_cursor remote_write_histograms(const struct remote_write_series *s)
{
    return whole(s, s->histogram_count);
}

bool remote_write_next_exemplar(struct remote_write_cursor *c, struct tsdb_slice *out)
{
    return remote_write_next_message(c, SERIES_EXEMPLAR, out);
}

bool remote_write_next_histogram(struct remote_write_cursor *c, struct tsdb_slice *out)
{
    return remote_write_next_message(c, SERIES_HISTOGRAM, out);
}

/* ---- labels ---- */

/* Name, value, end: what every sender writes. */
static bool read_label_plain(struct tsdb_slice message, struct tsdb_label *out)
{
    const uint8_t *p = message.data;
    const uint8_t *end = p + message.len;
    size_t name_len = 0;
    size_t value_len = 0;
    if (p == end || p[0] != WIRE_TAG(LABEL_NAME, WIRE_LEN)) {
        return false;
    }
    const uint8_t *name = wire_len(p + 1, end, &name_len);
    if (!name || name + name_len == end || name[name_len] != WIRE_TAG(LABEL_VALUE, WIRE_LEN)) {
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

static bool read_label(struct tsdb_slice message, struct tsdb_label *out)
{
    if (TSDB_LIKELY(read_label_plain(message, out))) {
        return true;
    }
    const uint8_t *p = message.data;
    const uint8_t *end = p + message.len;
    *out = (struct tsdb_label){"", "", 0, 0};
    while (p < end) {
        struct wire_field f;
        p = wire_field_read(p, end, &f);
        if (!p) {
            return false;
        }
        if (f.number != LABEL_NAME && f.number != LABEL_VALUE) {
            continue;
        }
        if (f.type != WIRE_LEN) {
            return false;
        }
        if (f.number == LABEL_NAME) {
            out->name = (const char *)f.bytes.data;
            out->name_len = (uint32_t)f.bytes.len;
        } else {
            out->value = (const char *)f.bytes.data;
            out->value_len = (uint32_t)f.bytes.len;
        }
    }
    return true;
}

enum tsdb_status remote_write_read_labels(const struct remote_write_walker *w,
                                          const struct remote_write_series *s,
                                          struct tsdb_label *items, uint32_t cap,
                                          uint32_t *out_count, struct tsdb_error *err)
{
    if (s->label_count > cap) {
        return tsdb_error_set(err, TSDB_LIMIT, "series has %u labels, at most %u", s->label_count,
                              cap);
    }
    struct remote_write_cursor c = {s->labels.data, s->labels.data + s->labels.len, false};
    struct tsdb_slice message;
    uint32_t n = 0;
    while (remote_write_next_message(&c, SERIES_LABEL, &message)) {
        TSDB_ASSERT(n < cap);
        if (!read_label(message, &items[n])) {
            return remote_write_fault(w, message.data, "label", err);
        }
        n++;
    }
    TSDB_ASSERT(!c.failed);
    *out_count = n;
    return TSDB_OK;
}

enum tsdb_status remote_write_read_exemplar(const struct remote_write_walker *w,
                                            struct tsdb_slice message, struct tsdb_label *items,
                                            uint32_t cap, struct tsdb_exemplar *out,
                                            struct tsdb_error *err)
{
    struct tsdb_exemplar e = {.labels = {items, 0}};
    const uint8_t *p = message.data;
    const uint8_t *end = p + message.len;
    uint32_t n = 0;
    while (p < end) {
        struct wire_field f;
        const uint8_t *begin = p;
        p = wire_field_read(p, end, &f);
        bool ok = p != NULL;
        if (ok && f.number == EXEMPLAR_LABEL) {
            if (n == cap) {
                return tsdb_error_set(err, TSDB_LIMIT, "exemplar has more than %u labels", cap);
            }
            ok = f.type == WIRE_LEN && read_label(f.bytes, &items[n++]);
        } else if (ok && f.number == EXEMPLAR_VALUE) {
            ok = f.type == WIRE_FIXED64;
            e.bits = f.value;
        } else if (ok && f.number == EXEMPLAR_TIMESTAMP) {
            ok = f.type == WIRE_VARINT;
            e.t_ms = (int64_t)f.value;
        }
        if (!ok) {
            return remote_write_fault(w, begin, "exemplar", err);
        }
    }
    e.labels.count = n;
    *out = e;
    return TSDB_OK;
}
