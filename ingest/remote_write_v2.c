#include "ingest/remote_write_v2.h"

#include "base/assert.h"

enum {
    REQUEST_SYMBOL = 4,
    REQUEST_SERIES = 5
};
enum {
    SERIES_REFS = 1,
    SERIES_SAMPLE = REMOTE_WRITE_SAMPLE_FIELD,
    SERIES_HISTOGRAM = 3,
    SERIES_EXEMPLAR = 4,
    SERIES_METADATA = 5,
    SERIES_CREATED = 6
};
enum {
    EXEMPLAR_REFS = 1
};
static const struct wire_want exemplar_fields[] = {{2, WIRE_FIXED64}, {3, WIRE_VARINT}};
/* Type, help, unit. */
static const struct wire_want metadata_fields[] = {
    {1, WIRE_VARINT}, {3, WIRE_VARINT}, {4, WIRE_VARINT}};

/* ---- first pass ---- */

/* Walk the top level; symbols go to `table` unless it is NULL. Returns false at malformed bytes,
 * w->pos says where. */
static bool collect_symbols(struct remote_write_walker *w, struct remote_write_symbol *table,
                            uint32_t *out_count)
{
    uint32_t count = 0;
    const uint8_t *p = w->begin;
    while (p < w->end) {
        struct wire_field f;
        const uint8_t *after = wire_field_read(p, w->end, &f);
        bool known = f.number == REQUEST_SYMBOL || f.number == REQUEST_SERIES;
        if (!after || (known && f.type != WIRE_LEN)) {
            w->pos = p;
            return false;
        }
        if (f.number == REQUEST_SYMBOL) {
            if (table) {
                table[count] = (struct remote_write_symbol){(uint32_t)(f.bytes.data - w->begin),
                                                            (uint32_t)f.bytes.len};
            }
            count++;
        }
        p = after;
    }
    *out_count = count;
    return true;
}

enum tsdb_status remote_write_v2_open(struct remote_write_v2_walker *w, const uint8_t *body,
                                      size_t len, struct tsdb_arena *arena, struct tsdb_error *err)
{
    remote_write_init(&w->at, body, len);
    w->at.v2 = true;
    w->symbols = NULL;
    w->symbol_count = 0;
    uint32_t count = 0;
    if (!collect_symbols(&w->at, NULL, &count)) {
        return remote_write_fault(&w->at, w->at.pos, "field of the request", err);
    }
    if (count > REMOTE_WRITE_V2_SYMBOLS_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "remote write: %u symbols, at most %u", count,
                              REMOTE_WRITE_V2_SYMBOLS_MAX);
    }
    if (count == 0) {
        return TSDB_OK;
    }
    struct remote_write_symbol *table = TSDB_ARENA_ARRAY(arena, struct remote_write_symbol, count);
    if (!table) {
        return tsdb_error_set(err, tsdb_arena_status(arena),
                              "remote write: no memory for %u symbols", count);
    }
    uint32_t again = 0;
    bool framed = collect_symbols(&w->at, table, &again);
    TSDB_ASSERT(framed);
    TSDB_ASSERT(again == count);
    if (table[0].len != 0) {
        return tsdb_error_set(err, TSDB_INVALID, "remote write: the first symbol must be empty");
    }
    w->symbols = table;
    w->symbol_count = count;
    return TSDB_OK;
}

/* ---- second pass ---- */

static bool series_field_type_ok(uint32_t field, enum wire_type type)
{
    if (field == SERIES_REFS) {
        return type == WIRE_LEN || type == WIRE_VARINT;
    }
    if (field == SERIES_CREATED) {
        return type == WIRE_VARINT;
    }
    return field < SERIES_SAMPLE || field > SERIES_METADATA || type == WIRE_LEN;
}

static bool frame_series(struct remote_write_walker *w, struct remote_write_series *out)
{
    const uint8_t *p = out->message.data;
    const uint8_t *end = p + out->message.len;
    out->samples = end;
    while (p < end) {
        const uint8_t *begin = p;
        uint32_t field = 0;
        enum wire_type type = WIRE_VARINT;
        const uint8_t *value = wire_tag(p, end, &field, &type);
        p = !value ? NULL : wire_skip(value, end, type);
        if (!p || !series_field_type_ok(field, type)) {
            w->pos = begin;
            w->fault = "field of a time series";
            return false;
        }
        if (field == SERIES_REFS) {
            out->ref_fields++;
        } else if (field == SERIES_SAMPLE) {
            out->samples = out->sample_count == 0 ? begin : out->samples;
            out->sample_count++;
        } else if (field == SERIES_HISTOGRAM) {
            out->histogram_count++;
        } else if (field == SERIES_EXEMPLAR) {
            out->exemplar_count++;
        } else if (field == SERIES_METADATA) {
            out->metadata_count++;
        } else if (field == SERIES_CREATED) {
            uint64_t ms = 0;
            wire_varint(value, end, &ms);
            out->start_ms = (int64_t)ms;
        }
    }
    return true;
}

enum remote_write_item remote_write_v2_next(struct remote_write_v2_walker *w,
                                            struct remote_write_series *out)
{
    struct remote_write_cursor c = {.pos = w->at.pos, .end = w->at.end, .field = REQUEST_SERIES};
    struct tsdb_slice message;
    if (!remote_write_next_message(&c, &message)) {
        TSDB_ASSERT(!c.failed); /* the first pass has seen every field */
        w->at.pos = c.pos;
        return REMOTE_WRITE_END;
    }
    *out = (struct remote_write_series){.message = message};
    if (!frame_series(&w->at, out)) {
        return REMOTE_WRITE_MALFORMED;
    }
    w->at.pos = c.pos;
    return REMOTE_WRITE_SERIES;
}

/* ---- references ---- */

/* Label pairs under way: what references have brought so far. */
struct pairs {
    const struct remote_write_v2_walker *w;
    struct tsdb_label *items;
    uint32_t cap;
    uint32_t refs; /* references seen; two make a label */
};

static enum tsdb_status resolve(const struct remote_write_v2_walker *w, uint64_t ref,
                                struct tsdb_slice *out, struct tsdb_error *err)
{
    uint32_t r = (uint32_t)ref;
    if (r >= w->symbol_count) {
        return tsdb_error_set(err, TSDB_INVALID, "symbol reference %u is outside the %u symbols", r,
                              w->symbol_count);
    }
    *out = (struct tsdb_slice){w->at.begin + w->symbols[r].offset, w->symbols[r].len};
    return TSDB_OK;
}

static enum tsdb_status pairs_add(struct pairs *a, uint64_t ref, struct tsdb_error *err)
{
    if (a->refs / 2 == a->cap) {
        return tsdb_error_set(err, TSDB_LIMIT, "series has more than %u labels", a->cap);
    }
    struct tsdb_slice s = {0};
    enum tsdb_status status = resolve(a->w, ref, &s, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_label *l = &a->items[a->refs / 2];
    if (a->refs % 2 == 0) {
        l->name = (const char *)s.data;
        l->name_len = (uint32_t)s.len;
    } else {
        l->value = (const char *)s.data;
        l->value_len = (uint32_t)s.len;
    }
    a->refs++;
    return TSDB_OK;
}

/* The references of one field, packed or single. */
static enum tsdb_status pairs_add_field(struct pairs *a, const struct wire_field *f,
                                        struct tsdb_error *err)
{
    if (f->type == WIRE_VARINT) {
        return pairs_add(a, f->value, err);
    }
    const uint8_t *p = f->bytes.data;
    const uint8_t *end = p + f->bytes.len;
    while (p < end) {
        uint64_t ref = 0;
        const uint8_t *after = wire_varint(p, end, &ref);
        if (!after) {
            return remote_write_fault(&a->w->at, p, "label reference", err);
        }
        enum tsdb_status status = pairs_add(a, ref, err);
        if (status != TSDB_OK) {
            return status;
        }
        p = after;
    }
    return TSDB_OK;
}

static enum tsdb_status pairs_finish(const struct pairs *a, uint32_t *out_count,
                                     struct tsdb_error *err)
{
    if (a->refs % 2 != 0) {
        return tsdb_error_set(err, TSDB_INVALID, "odd number of label references: %u", a->refs);
    }
    *out_count = a->refs / 2;
    return TSDB_OK;
}

/* The references in the first `fields` fields of that number: labels stand first in practice, what
 * follows the last of them is not looked at again. */
static enum tsdb_status read_refs(const struct remote_write_v2_walker *w, struct tsdb_slice message,
                                  uint32_t number, uint32_t fields, struct tsdb_label *items,
                                  uint32_t cap, uint32_t *out_count, struct tsdb_error *err)
{
    struct pairs a = {.w = w, .items = items, .cap = cap};
    const uint8_t *p = message.data;
    const uint8_t *end = p + message.len;
    for (uint32_t seen = 0; seen < fields && p < end;) {
        struct wire_field f;
        const uint8_t *after = wire_field_read(p, end, &f);
        bool ours = f.number == number;
        if (!after || (ours && f.type != WIRE_LEN && f.type != WIRE_VARINT)) {
            return remote_write_fault(&w->at, p, "label references", err);
        }
        enum tsdb_status status = ours ? pairs_add_field(&a, &f, err) : TSDB_OK;
        if (status != TSDB_OK) {
            return status;
        }
        seen += ours;
        p = after;
    }
    return pairs_finish(&a, out_count, err);
}

enum tsdb_status remote_write_v2_read_labels(const struct remote_write_v2_walker *w,
                                             const struct remote_write_series *s,
                                             struct tsdb_label *items, uint32_t cap,
                                             uint32_t *out_count, struct tsdb_error *err)
{
    return read_refs(w, s->message, SERIES_REFS, s->ref_fields, items, cap, out_count, err);
}

enum tsdb_status remote_write_v2_read_exemplar(const struct remote_write_v2_walker *w,
                                               struct tsdb_slice message, struct tsdb_label *items,
                                               uint32_t cap, struct tsdb_exemplar *out,
                                               struct tsdb_error *err)
{
    struct wire_field f[TSDB_ARRAY_LEN(exemplar_fields)];
    uint32_t count = 0;
    if (!wire_message_read(message, exemplar_fields, TSDB_ARRAY_LEN(exemplar_fields), f)) {
        return remote_write_fault(&w->at, message.data, "exemplar", err);
    }
    enum tsdb_status status =
        read_refs(w, message, EXEMPLAR_REFS, UINT32_MAX, items, cap, &count, err);
    if (status == TSDB_OK) {
        *out = (struct tsdb_exemplar){
            .labels = {items, count}, .bits = f[0].value, .t_ms = (int64_t)f[1].value};
    }
    return status;
}

/* ---- metadata ---- */

enum tsdb_status remote_write_v2_read_metadata(const struct remote_write_v2_walker *w,
                                               const struct remote_write_series *s,
                                               struct tsdb_metadata *out, struct tsdb_error *err)
{
    struct wire_field f[TSDB_ARRAY_LEN(metadata_fields)] = {0};
    struct remote_write_cursor c = {
        .pos = s->message.data, .end = s->message.data + s->message.len, .field = SERIES_METADATA};
    struct tsdb_slice message;
    struct tsdb_metadata m = {.type = TSDB_METRIC_UNKNOWN};
    bool found = false;
    while (s->metadata_count > 0 && remote_write_next_message(&c, &message)) {
        struct wire_field later[TSDB_ARRAY_LEN(metadata_fields)];
        if (!wire_message_read(message, metadata_fields, TSDB_ARRAY_LEN(metadata_fields), later)) {
            return remote_write_fault(&w->at, message.data, "metadata", err);
        }
        for (uint32_t i = 0; i < TSDB_ARRAY_LEN(metadata_fields); i++) {
            f[i] = later[i].number != 0 ? later[i] : f[i]; /* protobuf merges repeated messages */
        }
        found = true;
    }
    TSDB_ASSERT(!c.failed); /* framed by remote_write_v2_next */
    if (found) {
        enum tsdb_status status = resolve(w, f[1].value, &m.help, err);
        if (status == TSDB_OK) {
            status = resolve(w, f[2].value, &m.unit, err);
        }
        if (status != TSDB_OK) {
            return status;
        }
        uint32_t type = (uint32_t)f[0].value;
        m.type = type < TSDB_METRIC_TYPE_COUNT ? (enum tsdb_metric_type)type : TSDB_METRIC_UNKNOWN;
    }
    *out = m;
    return TSDB_OK;
}
