/* Remote write 1.0: walker, alias table, entries. The hot path of the product. */
#include "ingest/ingest_private.h"
#include "ingest/metadata_wire.h"

/* Labels of one series, read and put in order; only on an alias miss. */
static enum tsdb_status slow_target(struct ingest_request *r, const struct remote_write_walker *w,
                                    const struct remote_write_series *s, struct tsdb_hash128 alias,
                                    struct tsdb_build_target *out, struct tsdb_error *err)
{
    uint32_t count = 0;
    enum tsdb_status status =
        remote_write_read_labels(w, s, r->labels, TSDB_LABELS_MAX, &count, err);
    if (status == TSDB_LIMIT) {
        return tsdb_error_set(err, TSDB_INVALID, "series has %u labels, at most %u are allowed",
                              s->label_count, r->in->options.labels_max);
    }
    return status == TSDB_OK ? ingest_build_new(r, count, alias, out, err) : status;
}

static enum tsdb_status find_target(struct ingest_request *r, const struct remote_write_walker *w,
                                    const struct remote_write_series *s, struct tsdb_hash128 alias,
                                    struct tsdb_build_target *out, struct tsdb_error *err)
{
    struct tsdb_alias_hit hit = {TSDB_SERIES_NEW, 0};
    if (TSDB_LIKELY(r->use_aliases && s->labels_contiguous)) {
        hit = tsdb_alias_find(r->in->db, alias);
    }
    if (TSDB_LIKELY(hit.ref != TSDB_SERIES_NEW)) {
        *out = tsdb_build_known(hit);
        r->hits++;
        return TSDB_OK;
    }
    struct tsdb_hash128 none = {0, 0};
    r->misses++;
    return slow_target(r, w, s, s->labels_contiguous ? alias : none, out, err);
}

static enum tsdb_status read_exemplar(const void *w, struct tsdb_slice message,
                                      struct tsdb_label *items, uint32_t cap,
                                      struct tsdb_exemplar *out, struct tsdb_error *err)
{
    return remote_write_read_exemplar(w, message, items, cap, out, err);
}

/* Rare: what of the labels can be read is enough. */
static TSDB_NOINLINE void name_first(struct ingest_request *r, const struct remote_write_walker *w,
                                     const struct remote_write_series *s)
{
    uint32_t count = 0;
    enum tsdb_status status =
        remote_write_read_labels(w, s, r->labels, TSDB_LABELS_MAX, &count, NULL);
    ingest_build_name(r, r->labels, status == TSDB_LIMIT ? TSDB_LABELS_MAX : count);
}

static enum tsdb_status add_series(struct ingest_request *r, const struct remote_write_walker *w,
                                   const struct remote_write_series *s, struct tsdb_hash128 alias,
                                   struct tsdb_error *err)
{
    struct tsdb_build_target target;
    enum tsdb_status status = find_target(r, w, s, alias, &target, err);
    if (TSDB_UNLIKELY(status == TSDB_INVALID)) {
        ingest_build_reject(r, TSDB_REJECT_LABELS, s->sample_count + s->histogram_count, err);
        status = TSDB_OK;
    } else if (status == TSDB_OK) {
        status = ingest_build_samples(r, w, s, &target, err);
        if (TSDB_UNLIKELY(status == TSDB_OK && s->exemplar_count > 0)) {
            status = ingest_build_exemplars(r, w, s, &target, read_exemplar, w, err);
        }
    }
    if (TSDB_UNLIKELY(ingest_build_unnamed(r))) {
        name_first(r, w, s);
    }
    return status;
}

static enum tsdb_status take_metadata(struct ingest_request *r, struct tsdb_slice message,
                                      struct tsdb_error *err)
{
    struct tsdb_metadata m;
    tsdb_arena_reset(&r->scratch);
    enum tsdb_status status = metadata_wire_decode(message, &r->scratch, &m, err);
    return ingest_build_metadata(r, status, &m, err);
}

enum tsdb_status ingest_decode_v1(struct ingest_request *r, const uint8_t *data, size_t len,
                                  struct tsdb_error *err)
{
    struct remote_write_walker w;
    remote_write_init(&w, data, len);
    enum remote_write_item item = REMOTE_WRITE_SERIES;
    enum tsdb_status status = TSDB_OK;
    while (item > REMOTE_WRITE_END && status == TSDB_OK) {
        uint32_t n = 0;
        struct tsdb_alias_guard guard;
        tsdb_alias_begin(r->in->db, &guard);
        while (n < INGEST_GROUP && status == TSDB_OK &&
               (item = remote_write_next(&w, &r->group[n])) > REMOTE_WRITE_END) {
            if (TSDB_UNLIKELY(item == REMOTE_WRITE_METADATA)) {
                status = take_metadata(r, r->group[n].message, err);
                continue;
            }
            r->group_hash[n] =
                tsdb_hash128(r->in->key, r->group[n].labels.data, r->group[n].labels.len);
            tsdb_alias_prefetch(r->in->db, r->group_hash[n]);
            n++;
        }
        for (uint32_t i = 0; i < n && status == TSDB_OK; i++) {
            status = add_series(r, &w, &r->group[i], r->group_hash[i], err);
        }
        tsdb_alias_end(r->in->db, &guard);
    }
    if (status == TSDB_OK && item == REMOTE_WRITE_MALFORMED) {
        status = remote_write_fault(&w, w.pos, w.fault, err);
    }
    return status;
}
