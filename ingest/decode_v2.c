/* Remote write 2.0: symbols, then series by references. The alias key is made from the strings in
 * the sender's order, because the references mean nothing outside their request. */
#include "ingest/ingest_private.h"
#include "ingest/remote_write_v2.h"

#include <string.h>

/* What a series needs between framing and look-up. */
struct v2_scratch {
    enum tsdb_status labels_status[INGEST_GROUP];
    struct tsdb_label items[TSDB_LABELS_MAX];
    uint32_t item_count;
    struct tsdb_buf key;
};

static void key_put(struct tsdb_buf *key, const char *s, uint32_t len)
{
    tsdb_buf_put_le32(key, len);
    tsdb_buf_put(key, s, len);
}

/* Resolve the labels into scratch and hash them. INVALID: the series is to be refused. */
static enum tsdb_status hash_series(struct ingest_request *r,
                                    const struct remote_write_v2_walker *w, struct v2_scratch *v,
                                    uint32_t i, struct tsdb_error *err)
{
    enum tsdb_status status = remote_write_v2_read_labels(w, &r->group[i], v->items,
                                                          TSDB_LABELS_MAX, &v->item_count, err);
    if (status == TSDB_LIMIT) {
        status =
            tsdb_error_set(err, TSDB_INVALID, "series has more than %u labels", TSDB_LABELS_MAX);
    }
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_buf_clear(&v->key);
    for (uint32_t k = 0; k < v->item_count; k++) {
        key_put(&v->key, v->items[k].name, v->items[k].name_len);
        key_put(&v->key, v->items[k].value, v->items[k].value_len);
    }
    if (v->key.failed) {
        return TSDB_NOMEM;
    }
    r->group_hash[i] = tsdb_hash128(r->in->key, v->key.data, v->key.len);
    r->group_hash[i].hi ^= INGEST_SALT_REMOTE_WRITE_2;
    return TSDB_OK;
}

static enum tsdb_status read_exemplar(const void *w, struct tsdb_slice message,
                                      struct tsdb_label *items, uint32_t cap,
                                      struct tsdb_exemplar *out, struct tsdb_error *err)
{
    return remote_write_v2_read_exemplar(w, message, items, cap, out, err);
}

/* Metadata comes with every series of every request; it is read when the series is not yet known by
 * these bytes. */
static enum tsdb_status take_metadata(struct ingest_request *r,
                                      const struct remote_write_v2_walker *w,
                                      const struct remote_write_series *s,
                                      const struct tsdb_labels *labels, struct tsdb_error *err)
{
    struct tsdb_metadata m = {.metric = {NULL, 0}};
    const struct tsdb_label *name =
        tsdb_labels_find(labels, TSDB_METRIC_NAME, strlen(TSDB_METRIC_NAME));
    enum tsdb_status status = remote_write_v2_read_metadata(w, s, &m, err);
    if (status == TSDB_OK && name) {
        m.metric = (struct tsdb_slice){(const uint8_t *)name->value, name->value_len};
    }
    return ingest_build_metadata(r, status, &m, err);
}

static enum tsdb_status slow_target(struct ingest_request *r,
                                    const struct remote_write_v2_walker *w,
                                    const struct remote_write_series *s, struct tsdb_hash128 alias,
                                    struct tsdb_build_target *out, struct tsdb_error *err)
{
    /* Resolved once more: misses are rare, and keeping every series' labels would cost the hits. */
    uint32_t cap = TSDB_LABELS_MAX;
    uint32_t count = 0;
    struct tsdb_label *items = TSDB_ARENA_ARRAY(&r->arena, struct tsdb_label, cap);
    if (!items) {
        return tsdb_arena_status(&r->arena);
    }
    enum tsdb_status status = remote_write_v2_read_labels(w, s, items, cap, &count, err);
    if (status == TSDB_OK) {
        status = ingest_build_new(r, items, count, alias, out, err);
    }
    if (status == TSDB_OK && s->metadata_count > 0) {
        status = take_metadata(r, w, s, &r->build.new_series[out->aux].labels, err);
    }
    return status;
}

static enum tsdb_status find_target(struct ingest_request *r,
                                    const struct remote_write_v2_walker *w,
                                    const struct remote_write_series *s, struct tsdb_hash128 hash,
                                    struct tsdb_build_target *out, struct tsdb_error *err)
{
    if (s->sample_count + s->histogram_count == 0) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "TimeSeries must contain at least one sample or histogram");
    }
    struct tsdb_alias_hit hit = {TSDB_SERIES_NEW, 0};
    if (r->use_aliases) {
        hit = tsdb_alias_find(r->in->db, hash);
    }
    if (hit.ref != TSDB_SERIES_NEW) {
        *out = tsdb_build_known(hit);
        r->hits++;
        return TSDB_OK;
    }
    r->misses++;
    return slow_target(r, w, s, hash, out, err);
}

static enum tsdb_status add_series(struct ingest_request *r, const struct remote_write_v2_walker *w,
                                   struct v2_scratch *v, uint32_t i, struct tsdb_error *err)
{
    const struct remote_write_series *s = &r->group[i];
    struct tsdb_build_target target;
    enum tsdb_status status = v->labels_status[i];
    if (status == TSDB_INVALID) {
        tsdb_error_set(
            err, TSDB_INVALID,
            "labels_refs are malformed: an odd number, out of range of the symbols, or too many");
    } else {
        status = find_target(r, w, s, r->group_hash[i], &target, err);
    }
    if (status == TSDB_INVALID) {
        ingest_build_reject(r, TSDB_MAX(s->sample_count + s->histogram_count, 1u), err);
        return TSDB_OK;
    }
    if (status == TSDB_OK) {
        status = ingest_build_samples(r, &w->at, s, &target, err);
    }
    if (status == TSDB_OK && s->exemplar_count > 0) {
        status = ingest_build_exemplars(r, &w->at, s, &target, read_exemplar, w, err);
    }
    return status;
}

static enum tsdb_status decode_series(struct ingest_request *r, struct remote_write_v2_walker *w,
                                      struct v2_scratch *v, struct tsdb_error *err)
{
    enum remote_write_item item = REMOTE_WRITE_SERIES;
    enum tsdb_status status = TSDB_OK;
    while (item > REMOTE_WRITE_END && status == TSDB_OK) {
        struct tsdb_alias_guard guard;
        uint32_t n = 0;
        tsdb_alias_begin(r->in->db, &guard);
        while (n < INGEST_GROUP && status == TSDB_OK &&
               (item = remote_write_v2_next(w, &r->group[n])) > REMOTE_WRITE_END) {
            status = hash_series(r, w, v, n, err);
            v->labels_status[n] = status;
            if (status == TSDB_OK) {
                tsdb_alias_prefetch(r->in->db, r->group_hash[n]);
            } else if (status == TSDB_INVALID) {
                tsdb_error_clear(err);
                status = TSDB_OK;
            }
            n++;
        }
        for (uint32_t i = 0; i < n && status == TSDB_OK; i++) {
            status = add_series(r, w, v, i, err);
        }
        tsdb_alias_end(r->in->db, &guard);
    }
    if (status == TSDB_OK && item == REMOTE_WRITE_MALFORMED) {
        status = remote_write_fault(&w->at, w->at.pos, w->at.fault, err);
    }
    return status;
}

enum tsdb_status ingest_decode_v2(struct ingest_request *r, const uint8_t *data, size_t len,
                                  struct tsdb_error *err)
{
    struct remote_write_v2_walker w;
    enum tsdb_status status = remote_write_v2_open(&w, data, len, &r->arena, err);
    if (status != TSDB_OK) {
        return status == TSDB_LIMIT ? tsdb_error_prefix(err, TSDB_INVALID, "remote write 2.0")
                                    : status;
    }
    struct v2_scratch *v = TSDB_ARENA_NEW(&r->arena, struct v2_scratch);
    if (!v) {
        return tsdb_arena_status(&r->arena);
    }
    tsdb_buf_init(&v->key, TSDB_MEM_INGEST, TSDB_LABELS_BYTES_MAX * 2);
    status = decode_series(r, &w, v, err);
    tsdb_buf_deinit(&v->key);
    return status;
}
