/* From the parts of a framed series to the batch builder. */
#include "base/limits.h"
#include "ingest/histogram_wire.h"
#include "ingest/ingest_private.h"

#include <string.h>

/* Of a series in the text of a refusal. */
#define TEXT_LABELS_MAX 16u
#define TEXT_STRING_MAX 80u

void ingest_build_reset(struct ingest_request *r)
{
    tsdb_arena_reset(&r->arena);
    tsdb_arena_reset(&r->scratch);
    tsdb_build_init(&r->build, &r->arena, r->in->key, r->in->owner_of);
    r->hits = r->misses = r->metadata_count = r->points = 0;
    memset(r->rejected, 0, sizeof r->rejected);
    r->first_named = false;
    r->first_series[0] = '\0';
    tsdb_error_clear(&r->first_error);
    tsdb_error_clear(&r->error);
    r->submitted = false;
    r->status = TSDB_OK;
}

enum tsdb_status ingest_build_keep(struct ingest_request *r, const struct tsdb_label *items,
                                   uint32_t count, struct tsdb_label **out)
{
    struct tsdb_label *copy = TSDB_ARENA_ARRAY(&r->arena, struct tsdb_label, TSDB_MAX(count, 1u));
    if (!copy) {
        return tsdb_arena_status(&r->arena);
    }
    memcpy(copy, items, count * sizeof *copy);
    *out = copy;
    return TSDB_OK;
}

void ingest_build_reject(struct ingest_request *r, enum tsdb_reject reason, uint32_t samples,
                         struct tsdb_error *why)
{
    if (r->first_error.status == TSDB_OK) {
        r->first_error = *why;
        r->first_reason = reason;
    }
    r->rejected[reason] += samples;
    tsdb_error_clear(why);
}

/* At most `bytes` of a string, and whole characters. */
static uint32_t cut_utf8(const char *s, uint32_t len, uint32_t bytes)
{
    uint32_t n = TSDB_MIN(len, bytes);
    while (n > 0 && n < len && ((uint8_t)s[n] & 0xc0) == 0x80) {
        n--;
    }
    return n;
}

void ingest_series_text(const struct tsdb_label *items, uint32_t count, char *out, size_t cap)
{
    struct tsdb_label shown[TEXT_LABELS_MAX];
    uint32_t n = 0;
    bool cut = false;
    for (uint32_t i = 0; i < count; i++) {
        struct tsdb_label l = items[i];
        bool name =
            tsdb_str_compare(l.name, l.name_len, TSDB_METRIC_NAME, strlen(TSDB_METRIC_NAME)) == 0;
        uint32_t at = n < TEXT_LABELS_MAX ? n : TEXT_LABELS_MAX - 1;
        if (n == TEXT_LABELS_MAX && !name) {
            cut = true;
            continue;
        }
        l.name_len = cut_utf8(l.name, l.name_len, TEXT_STRING_MAX);
        l.value_len = cut_utf8(l.value, l.value_len, TEXT_STRING_MAX);
        cut |= l.name_len < items[i].name_len || l.value_len < items[i].value_len;
        shown[at] = l;
        n = at + 1;
    }
    struct tsdb_buf text;
    struct tsdb_labels labels = {shown, n};
    tsdb_buf_init(&text, TSDB_MEM_INGEST, 0);
    tsdb_labels_print(&labels, &text);
    size_t len = text.failed ? 0 : text.len;
    cut |= len >= cap;
    if (len > 0) {
        size_t keep = cut_utf8((const char *)text.data, (uint32_t)len,
                               (uint32_t)(cap - (cut ? sizeof "..." : 1)));
        memcpy(out, text.data, keep);
        memcpy(out + keep, cut ? "..." : "", cut ? sizeof "..." : 1);
    } else {
        out[0] = '\0';
    }
    tsdb_buf_deinit(&text);
}

void ingest_build_name(struct ingest_request *r, const struct tsdb_label *items, uint32_t count)
{
    r->first_named = true;
    r->first_series[0] = '\0';
    if (count > 0) {
        ingest_series_text(items, count, r->first_series, sizeof r->first_series);
    }
}

/* Canonical labels against the flags, which are within the limits of the format. */
static enum tsdb_status check_limits(const struct ingest_options *o, const struct tsdb_label *items,
                                     uint32_t count, struct tsdb_error *err)
{
    if (count > o->labels_max) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "series has %u labels, at most %u are allowed (--storage.max-labels)",
                              count, o->labels_max);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct tsdb_label *l = &items[i];
        if (l->name_len > o->label_name_bytes_max || l->value_len > o->label_value_bytes_max) {
            bool name = l->name_len > o->label_name_bytes_max;
            return tsdb_error_set(err, TSDB_INVALID,
                                  "%s of label \"%.*s\" has %u bytes, at most %u are allowed "
                                  "(--storage.max-label-%s)",
                                  name ? "name" : "value",
                                  (int)cut_utf8(l->name, l->name_len, TEXT_STRING_MAX), l->name,
                                  name ? l->name_len : l->value_len,
                                  name ? o->label_name_bytes_max : o->label_value_bytes_max,
                                  name ? "name-bytes" : "value-bytes");
        }
    }
    return TSDB_OK;
}

enum tsdb_status ingest_build_new(struct ingest_request *r, uint32_t count,
                                  struct tsdb_hash128 alias, struct tsdb_build_target *out,
                                  struct tsdb_error *err)
{
    struct tsdb_label *kept = NULL;
    enum tsdb_status status = tsdb_labels_canonicalize(r->labels, &count, true, err);
    if (status == TSDB_OK) {
        status = check_limits(&r->in->options, r->labels, count, err);
    }
    if (status == TSDB_OK) {
        status = ingest_build_keep(r, r->labels, count, &kept);
    }
    if (status == TSDB_OK) {
        status = tsdb_build_new(&r->build, (struct tsdb_labels){kept, count}, alias, out);
    }
    return status;
}

/* ---- samples ---- */

static enum tsdb_status add_floats(struct ingest_request *r, const struct remote_write_walker *w,
                                   const struct remote_write_series *s,
                                   const struct tsdb_build_target *target, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_build_reserve(&r->build, s->sample_count);
    struct remote_write_cursor c = remote_write_samples(w, s);
    int64_t t_ms;
    int64_t start_ms;
    uint64_t bits;
    int64_t series_start_ms = w->v2 ? s->start_ms : 0;
    while (status == TSDB_OK && remote_write_next_sample(&c, &t_ms, &start_ms, &bits)) {
        tsdb_build_add(&r->build, target, TSDB_SAMPLE_FLOAT, t_ms, bits);
        start_ms = start_ms != 0 ? start_ms : series_start_ms;
        if (TSDB_UNLIKELY(start_ms != 0)) {
            status = tsdb_build_start(&r->build, start_ms);
        }
    }
    return TSDB_UNLIKELY(c.failed) ? remote_write_fault(w, c.pos, "sample", err) : status;
}

/* The raw form of a histogram; encoded in scratch, where the bound of its length costs nothing. */
static enum tsdb_status keep_histogram(struct ingest_request *r, const struct tsdb_histogram *h,
                                       struct tsdb_raw_histogram **out, struct tsdb_error *err)
{
    uint8_t *bytes = tsdb_arena_alloc(&r->scratch, tsdb_histogram_encoded_bytes_max(h), 1);
    if (!bytes) {
        return tsdb_arena_status(&r->scratch);
    }
    size_t len = tsdb_histogram_encode(h, bytes);
    if (len > TSDB_HISTOGRAM_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "histogram of %zu bytes is larger than the limit",
                              len);
    }
    struct tsdb_raw_histogram *raw = TSDB_ARENA_NEW(&r->arena, struct tsdb_raw_histogram);
    uint8_t *kept = tsdb_arena_alloc(&r->arena, len, 1);
    if (!raw || !kept) {
        return tsdb_arena_status(&r->arena);
    }
    memcpy(kept, bytes, len);
    *raw = (struct tsdb_raw_histogram){(uint32_t)len, kept};
    *out = raw;
    return TSDB_OK;
}

/* Reduce, validate, bring to raw form, add. */
static enum tsdb_status add_histogram(struct ingest_request *r,
                                      const struct tsdb_build_target *target,
                                      struct tsdb_histogram *h, int64_t t_ms, int64_t start_ms,
                                      struct tsdb_error *err)
{
    struct tsdb_raw_histogram *raw = NULL;
    enum tsdb_status status = tsdb_histogram_reduce(h, &r->scratch);
    if (status == TSDB_OK) {
        status = tsdb_histogram_validate(h, err);
    }
    if (status == TSDB_OK) {
        status = keep_histogram(r, h, &raw, err);
    }
    if (status == TSDB_OK) {
        status = tsdb_build_reserve(&r->build, 1);
    }
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_build_add(&r->build, target,
                   h->is_float ? TSDB_SAMPLE_HISTOGRAM_FLOAT : TSDB_SAMPLE_HISTOGRAM_INT, t_ms,
                   (uint64_t)(uintptr_t)raw);
    return start_ms != 0 ? tsdb_build_start(&r->build, start_ms) : TSDB_OK;
}

enum tsdb_status ingest_build_histogram(struct ingest_request *r,
                                        const struct tsdb_build_target *target,
                                        struct tsdb_histogram *h, int64_t t_ms, int64_t start_ms,
                                        struct tsdb_error *err)
{
    enum tsdb_status status = add_histogram(r, target, h, t_ms, start_ms, err);
    if (status == TSDB_INVALID) {
        ingest_build_reject(r, TSDB_REJECT_HISTOGRAM, 1, err);
        status = TSDB_OK;
    }
    return status;
}

static enum tsdb_status add_histograms(struct ingest_request *r,
                                       const struct remote_write_walker *w,
                                       const struct remote_write_series *s,
                                       const struct tsdb_build_target *target,
                                       struct tsdb_error *err)
{
    struct remote_write_cursor c = remote_write_histograms(w, s);
    struct tsdb_slice message;
    while (remote_write_next_message(&c, &message)) {
        struct tsdb_histogram h;
        int64_t t_ms = 0;
        int64_t start_ms = 0;
        tsdb_arena_reset(&r->scratch);
        enum tsdb_status status =
            histogram_wire_decode(message, w->v2, &r->scratch, &h, &t_ms, &start_ms, err);
        start_ms = start_ms == 0 && w->v2 ? s->start_ms : start_ms;
        if (status == TSDB_OK) {
            status = ingest_build_histogram(r, target, &h, t_ms, start_ms, err);
        }
        if (status == TSDB_INVALID) {
            ingest_build_reject(r, TSDB_REJECT_HISTOGRAM, 1, err);
        } else if (status != TSDB_OK) {
            return status;
        }
    }
    return c.failed ? remote_write_fault(w, c.pos, "histogram", err) : TSDB_OK;
}

enum tsdb_status ingest_build_samples(struct ingest_request *r, const struct remote_write_walker *w,
                                      const struct remote_write_series *s,
                                      const struct tsdb_build_target *target,
                                      struct tsdb_error *err)
{
    enum tsdb_status status = add_floats(r, w, s, target, err);
    if (TSDB_UNLIKELY(status == TSDB_OK && s->histogram_count > 0)) {
        status = add_histograms(r, w, s, target, err);
    }
    return status;
}

/* ---- exemplars, metadata ---- */

enum tsdb_status
ingest_build_exemplars(struct ingest_request *r, const struct remote_write_walker *w,
                       const struct remote_write_series *s, const struct tsdb_build_target *target,
                       ingest_exemplar_fn read, const void *read_arg, struct tsdb_error *err)
{
    /* A name has a character at least, so that more labels than this are too long. */
    struct tsdb_label items[TSDB_EXEMPLAR_LABEL_CHARS_MAX];
    struct remote_write_cursor c = remote_write_exemplars(w, s);
    struct tsdb_slice message;
    while (r->exemplars_left > 0 && remote_write_next_message(&c, &message)) {
        struct tsdb_exemplar x;
        struct tsdb_label *kept = NULL;
        r->exemplars_left--;
        enum tsdb_status status = read(read_arg, message, items, TSDB_ARRAY_LEN(items), &x, err);
        if (status == TSDB_OK) {
            status = tsdb_exemplar_validate(&x, err);
        }
        if (status == TSDB_INVALID || status == TSDB_LIMIT) {
            tsdb_error_clear(err);
            continue;
        }
        if (status == TSDB_OK) {
            status = ingest_build_keep(r, items, x.labels.count, &kept);
        }
        if (status == TSDB_OK) {
            x.labels.items = kept;
            status = tsdb_build_exemplar(&r->build, target, &x);
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
    return c.failed ? remote_write_fault(w, c.pos, "exemplar", err) : TSDB_OK;
}

enum tsdb_status ingest_build_metadata(struct ingest_request *r, enum tsdb_status status,
                                       const struct tsdb_metadata *m, struct tsdb_error *err)
{
    if (status == TSDB_INVALID) {
        tsdb_error_clear(err);
        return TSDB_OK;
    }
    if (status == TSDB_OK && m->metric.len > 0) {
        r->metadata_count += tsdb_metadata_put(r->in->db, m) == TSDB_OK;
    }
    return status;
}
