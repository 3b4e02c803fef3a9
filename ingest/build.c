/* From the parts of a framed series to the batch builder. */
#include "base/assert.h"
#include "ingest/histogram_wire.h"
#include "ingest/ingest_private.h"

void ingest_build_reset(struct ingest_request *r)
{
    tsdb_arena_reset(&r->arena);
    tsdb_build_init(&r->build, &r->arena, r->in->key, r->in->owner_of);
    r->hits = r->misses = r->metadata_count = 0;
    r->rejected = 0;
    tsdb_error_clear(&r->first_error);
    tsdb_error_clear(&r->error);
    r->submitted = false;
    r->status = TSDB_OK;
}

void ingest_build_reject(struct ingest_request *r, uint32_t samples, struct tsdb_error *why)
{
    if (r->first_error.status == TSDB_OK) {
        r->first_error = *why;
    }
    r->rejected += samples;
    tsdb_error_clear(why);
}

enum tsdb_status ingest_build_new(struct ingest_request *r, struct tsdb_label *items,
                                  uint32_t count, struct tsdb_hash128 alias,
                                  struct tsdb_build_target *out, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_labels_canonicalize(items, &count, true, err);
    if (status == TSDB_OK) {
        status = tsdb_build_new(&r->build, (struct tsdb_labels){items, count}, alias, out);
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
    while (status == TSDB_OK && remote_write_next_sample(&c, &t_ms, &start_ms, &bits)) {
        tsdb_build_add(&r->build, target, TSDB_SAMPLE_FLOAT, t_ms, bits);
        if (TSDB_UNLIKELY(start_ms != 0)) {
            status = tsdb_build_start(&r->build, start_ms);
        }
    }
    return TSDB_UNLIKELY(c.failed) ? remote_write_fault(w, c.pos, "sample", err) : status;
}

/* Reduce, validate, bring to raw form, add. */
static enum tsdb_status add_histogram(struct ingest_request *r,
                                      const struct tsdb_build_target *target,
                                      struct tsdb_histogram *h, int64_t t_ms, int64_t start_ms,
                                      struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_histogram_reduce(h, &r->arena);
    if (status == TSDB_OK) {
        status = tsdb_histogram_validate(h, err);
    }
    if (status == TSDB_OK) {
        status = tsdb_build_reserve(&r->build, 1);
    }
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_raw_histogram *raw = TSDB_ARENA_NEW(&r->arena, struct tsdb_raw_histogram);
    uint8_t *bytes = tsdb_arena_alloc(&r->arena, tsdb_histogram_encoded_bytes_max(h), 1);
    if (!raw || !bytes) {
        return tsdb_arena_status(&r->arena);
    }
    size_t len = tsdb_histogram_encode(h, bytes);
    if (len > TSDB_HISTOGRAM_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "histogram of %zu bytes is larger than the limit",
                              len);
    }
    *raw = (struct tsdb_raw_histogram){(uint32_t)len, bytes};
    tsdb_build_add(&r->build, target,
                   h->is_float ? TSDB_SAMPLE_HISTOGRAM_FLOAT : TSDB_SAMPLE_HISTOGRAM_INT, t_ms,
                   (uint64_t)(uintptr_t)raw);
    return start_ms != 0 ? tsdb_build_start(&r->build, start_ms) : TSDB_OK;
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
        enum tsdb_status status =
            histogram_wire_decode(message, w->v2, &r->arena, &h, &t_ms, &start_ms, err);
        if (status == TSDB_OK) {
            status = add_histogram(r, target, &h, t_ms, start_ms, err);
        }
        if (status == TSDB_INVALID) {
            ingest_build_reject(r, 1, err);
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
    struct remote_write_cursor c = remote_write_exemplars(w, s);
    struct tsdb_slice message;
    while (remote_write_next_message(&c, &message)) {
        struct tsdb_exemplar x;
        struct tsdb_label *items =
            TSDB_ARENA_ARRAY(&r->arena, struct tsdb_label, INGEST_EXEMPLAR_LABELS_MAX);
        if (!items) {
            return tsdb_arena_status(&r->arena);
        }
        enum tsdb_status status =
            read(read_arg, message, items, INGEST_EXEMPLAR_LABELS_MAX, &x, err);
        if (status == TSDB_OK) {
            status = tsdb_exemplar_validate(&x, err);
        }
        if (status == TSDB_INVALID || status == TSDB_LIMIT) {
            tsdb_error_clear(err);
            continue;
        }
        if (status == TSDB_OK) {
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
