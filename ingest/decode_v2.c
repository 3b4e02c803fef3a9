/* Remote write 2.0: symbols, then series by references. The alias key is made from the strings in
 * the sender's order, because the references mean nothing outside their request.
 *
 * Metadata comes with every series of every request, so that a change is always seen, and the table
 * of the db would be asked for each: what was put last of a metric is remembered for the request. An
 * empty one says nothing (senders that know none send it) and is none. */
#include "ingest/ingest_private.h"
#include "ingest/remote_write_v2.h"

#include <string.h>

#define SEEN_METADATA 256u /* a power of two */
/* More than labels of a valid series may have in all. */
#define KEY_BYTES_MAX (2u * TSDB_LABELS_BYTES_MAX)

/* One metadata that was put. Symbols of one request: the same string is the same place. */
struct v2_seen {
    const uint8_t *metric, *help, *unit;
    enum tsdb_metric_type type;
};
/* What a series needs between framing and look-up. */
struct v2_scratch {
    enum tsdb_status labels_status[INGEST_GROUP];
    struct v2_seen seen[SEEN_METADATA];
    struct tsdb_buf key;
};

static enum tsdb_status read_labels(struct ingest_request *r,
                                    const struct remote_write_v2_walker *w,
                                    const struct remote_write_series *s, uint32_t *out_count,
                                    struct tsdb_error *err)
{
    enum tsdb_status status =
        remote_write_v2_read_labels(w, s, r->labels, TSDB_LABELS_MAX, out_count, err);
    if (status == TSDB_LIMIT) {
        *out_count = TSDB_LABELS_MAX;
        status = tsdb_error_set(err, TSDB_INVALID, "series has more labels than the %u allowed",
                                r->in->options.labels_max);
    }
    return status;
}

static void key_put(struct tsdb_buf *key, const char *s, uint32_t len)
{
    tsdb_buf_put_le32(key, len);
    tsdb_buf_put(key, s, len);
}

/* Resolve the labels of series i of the group and hash them. INVALID: the series is to be refused. */
static enum tsdb_status hash_series(struct ingest_request *r,
                                    const struct remote_write_v2_walker *w, struct v2_scratch *v,
                                    uint32_t i, struct tsdb_error *err)
{
    uint32_t count = 0;
    r->group_name[i] = (struct tsdb_slice){NULL, 0};
    enum tsdb_status status = read_labels(r, w, &r->group[i], &count, err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_buf_clear(&v->key);
    for (uint32_t k = 0; k < count; k++) {
        const struct tsdb_label *l = &r->labels[k];
        key_put(&v->key, l->name, l->name_len);
        key_put(&v->key, l->value, l->value_len);
        if (tsdb_str_compare(l->name, l->name_len, TSDB_METRIC_NAME, strlen(TSDB_METRIC_NAME)) ==
            0) {
            r->group_name[i] = (struct tsdb_slice){(const uint8_t *)l->value, l->value_len};
        }
    }
    if (v->key.failed) {
        /* Valid labels fit the buffer. */
        return v->key.len + TSDB_LABEL_VALUE_BYTES_MAX > KEY_BYTES_MAX
                   ? tsdb_error_set(err, TSDB_INVALID,
                                    "labels are longer than the %u bytes allowed",
                                    TSDB_LABELS_BYTES_MAX)
                   : TSDB_NOMEM;
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

/* The family that metadata of a series is about: classic histograms and summaries are known by the name
 * without what their series add to it. */
static struct tsdb_slice family_of(struct tsdb_slice metric, enum tsdb_metric_type type)
{
    static const struct {
        enum tsdb_metric_type type;
        const char *suffix;
    } suffixes[] = {
        {TSDB_METRIC_HISTOGRAM, "_bucket"},    {TSDB_METRIC_HISTOGRAM, "_sum"},
        {TSDB_METRIC_HISTOGRAM, "_count"},     {TSDB_METRIC_GAUGEHISTOGRAM, "_bucket"},
        {TSDB_METRIC_GAUGEHISTOGRAM, "_gsum"}, {TSDB_METRIC_GAUGEHISTOGRAM, "_gcount"},
        {TSDB_METRIC_SUMMARY, "_sum"},         {TSDB_METRIC_SUMMARY, "_count"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(suffixes); i++) {
        size_t len = strlen(suffixes[i].suffix);
        if (suffixes[i].type == type && metric.len > len &&
            memcmp(metric.data + metric.len - len, suffixes[i].suffix, len) == 0) {
            return (struct tsdb_slice){metric.data, metric.len - len};
        }
    }
    return metric;
}

static enum tsdb_status take_metadata(struct ingest_request *r,
                                      const struct remote_write_v2_walker *w, struct v2_scratch *v,
                                      const struct remote_write_series *s, struct tsdb_slice metric,
                                      struct tsdb_error *err)
{
    struct tsdb_metadata m;
    enum tsdb_status status = remote_write_v2_read_metadata(w, s, &m, err);
    if (status == TSDB_OK && (metric.len == 0 || (m.type == TSDB_METRIC_UNKNOWN &&
                                                  m.help.len == 0 && m.unit.len == 0))) {
        return TSDB_OK;
    }
    /* A native histogram has the family's own name, whatever it ends in. */
    m.metric = s->histogram_count > 0 ? metric : family_of(metric, m.type);
    if (status == TSDB_OK) {
        struct v2_seen now = {metric.data, m.help.data, m.unit.data, m.type};
        struct v2_seen *seen =
            &v->seen[(size_t)(metric.data - w->at.begin) * 2654435769u >> 7 & (SEEN_METADATA - 1)];
        if (seen->metric == now.metric && seen->help == now.help && seen->unit == now.unit &&
            seen->type == now.type) {
            return TSDB_OK;
        }
        *seen = now;
    }
    return ingest_build_metadata(r, status, &m, err);
}

static enum tsdb_status find_target(struct ingest_request *r,
                                    const struct remote_write_v2_walker *w,
                                    const struct remote_write_series *s, struct tsdb_hash128 hash,
                                    struct tsdb_build_target *out, struct tsdb_error *err)
{
    /* An exemplar in a TimeSeries of its own is against the letter of the specification, and what
     * senders do. It belongs to a series that is known or has samples in this request. */
    if (s->sample_count + s->histogram_count + s->exemplar_count == 0) {
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
    /* Resolved once more: misses are rare, and keeping every series' labels would cost the hits. */
    uint32_t count = 0;
    enum tsdb_status status = read_labels(r, w, s, &count, err);
    return status == TSDB_OK ? ingest_build_new(r, count, hash, out, err) : status;
}

static enum tsdb_status add_parts(struct ingest_request *r, const struct remote_write_v2_walker *w,
                                  struct v2_scratch *v, uint32_t i,
                                  const struct tsdb_build_target *target, struct tsdb_error *err)
{
    const struct remote_write_series *s = &r->group[i];
    enum tsdb_status status = ingest_build_samples(r, &w->at, s, target, err);
    if (status == TSDB_OK && s->exemplar_count > 0) {
        status = ingest_build_exemplars(r, &w->at, s, target, read_exemplar, w, err);
    }
    if (status == TSDB_OK && s->metadata_count > 0) {
        status = take_metadata(r, w, v, s, r->group_name[i], err);
    }
    return status;
}

static enum tsdb_status add_series(struct ingest_request *r, const struct remote_write_v2_walker *w,
                                   struct v2_scratch *v, uint32_t i, struct tsdb_error *err)
{
    const struct remote_write_series *s = &r->group[i];
    struct tsdb_build_target target;
    uint32_t count = 0;
    enum tsdb_status status = v->labels_status[i] == TSDB_OK
                                  ? find_target(r, w, s, r->group_hash[i], &target, err)
                                  : read_labels(r, w, s, &count, err); /* once more, for the text */
    if (status == TSDB_OK && v->labels_status[i] != TSDB_OK) {
        status = tsdb_error_set(err, TSDB_INVALID, "labels are longer than the %u bytes allowed",
                                TSDB_LABELS_BYTES_MAX);
    }
    if (status == TSDB_INVALID) {
        uint32_t samples = TSDB_MAX(s->sample_count + s->histogram_count, 1u);
        ingest_build_reject(r, TSDB_REJECT_LABELS, samples, err);
        status = TSDB_OK;
    } else if (status == TSDB_OK) {
        status = add_parts(r, w, v, i, &target, err);
    }
    if (TSDB_UNLIKELY(ingest_build_unnamed(r))) {
        (void)read_labels(r, w, s, &count, NULL);
        ingest_build_name(r, r->labels, count);
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
        return status == TSDB_LIMIT && r->arena.failure == TSDB_OK
                   ? tsdb_error_prefix(err, TSDB_INVALID, "remote write 2.0")
                   : status;
    }
    struct v2_scratch *v = TSDB_ARENA_NEW(&r->arena, struct v2_scratch);
    if (!v) {
        return tsdb_arena_status(&r->arena);
    }
    memset(v->seen, 0, sizeof v->seen);
    tsdb_buf_init(&v->key, TSDB_MEM_INGEST, KEY_BYTES_MAX);
    status = decode_series(r, &w, v, err);
    tsdb_buf_deinit(&v->key);
    return status;
}
