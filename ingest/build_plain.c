/* Series whose labels, values and exemplars stand in memory: what OTLP and imports are translated to. */
#include "base/limits.h"
#include "ingest/ingest_private.h"

#include <string.h>

#define KEY_BYTES_STACK 2048u

static uint8_t *put_string(uint8_t *p, const char *s, uint32_t len)
{
    tsdb_store_le32(p, len);
    if (len > 0) {
        memcpy(p + 4, s, len);
    }
    return p + 4 + len;
}

/* The alias of sorted labels: of their strings with their lengths. */
static enum tsdb_status hash_labels(struct ingest_request *r, const struct tsdb_labels *labels,
                                    struct tsdb_hash128 *out)
{
    uint8_t stack[KEY_BYTES_STACK];
    size_t bytes = 0;
    for (uint32_t i = 0; i < labels->count; i++) {
        bytes += (size_t)labels->items[i].name_len + labels->items[i].value_len + 8;
    }
    uint8_t *key = bytes <= sizeof stack ? stack : tsdb_arena_alloc(&r->scratch, bytes, 1);
    if (!key) {
        return tsdb_arena_status(&r->scratch);
    }
    uint8_t *p = key;
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        p = put_string(p, l->name, l->name_len);
        p = put_string(p, l->value, l->value_len);
    }
    *out = tsdb_hash128(r->in->key, key, bytes);
    out->hi ^= INGEST_SALT_CANONICAL;
    return TSDB_OK;
}

/* Copies of the strings in the request's arena. */
static enum tsdb_status copy_labels(struct ingest_request *r, const struct tsdb_label *items,
                                    uint32_t count, struct tsdb_label *out)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct tsdb_label *l = &items[i];
        char *name = tsdb_arena_strndup(&r->arena, l->name, l->name_len);
        char *value = tsdb_arena_strndup(&r->arena, l->value_len > 0 ? l->value : "", l->value_len);
        if (!name || !value) {
            return tsdb_arena_status(&r->arena);
        }
        out[i] = (struct tsdb_label){name, value, l->name_len, l->value_len};
    }
    return TSDB_OK;
}

enum tsdb_status ingest_build_target(struct ingest_request *r, const struct tsdb_labels *labels,
                                     struct tsdb_build_target *out, struct tsdb_error *err)
{
    struct tsdb_hash128 hash;
    struct tsdb_alias_hit hit = {TSDB_SERIES_NEW, 0};
    if (labels->count > TSDB_LABELS_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "series has %u labels, at most %u are allowed",
                              labels->count, r->in->options.labels_max);
    }
    enum tsdb_status status = hash_labels(r, labels, &hash);
    if (status == TSDB_OK && r->use_aliases) {
        struct tsdb_alias_guard guard;
        tsdb_alias_begin(r->in->db, &guard);
        hit = tsdb_alias_find(r->in->db, hash);
        tsdb_alias_end(r->in->db, &guard);
    }
    if (hit.ref != TSDB_SERIES_NEW) {
        *out = tsdb_build_known(hit);
        r->hits++;
        return TSDB_OK;
    }
    r->misses++;
    if (status == TSDB_OK) {
        status = copy_labels(r, labels->items, labels->count, r->labels);
    }
    return status == TSDB_OK ? ingest_build_new(r, labels->count, hash, out, err) : status;
}

enum tsdb_status ingest_build_float(struct ingest_request *r,
                                    const struct tsdb_build_target *target, int64_t t_ms,
                                    int64_t start_ms, uint64_t bits)
{
    enum tsdb_status status = tsdb_build_reserve(&r->build, 1);
    if (status == TSDB_OK) {
        tsdb_build_add(&r->build, target, TSDB_SAMPLE_FLOAT, t_ms, bits);
        status = start_ms != 0 ? tsdb_build_start(&r->build, start_ms) : TSDB_OK;
    }
    return status;
}

enum tsdb_status ingest_build_exemplar(struct ingest_request *r,
                                       const struct tsdb_build_target *target,
                                       const struct tsdb_exemplar *x, struct tsdb_error *err)
{
    if (r->exemplars_left == 0) {
        return TSDB_OK;
    }
    r->exemplars_left--;
    if (tsdb_exemplar_validate(x, err) != TSDB_OK) {
        tsdb_error_clear(err);
        return TSDB_OK;
    }
    struct tsdb_label *kept =
        TSDB_ARENA_ARRAY(&r->arena, struct tsdb_label, TSDB_MAX(x->labels.count, 1u));
    if (!kept) {
        return tsdb_arena_status(&r->arena);
    }
    enum tsdb_status status = copy_labels(r, x->labels.items, x->labels.count, kept);
    struct tsdb_exemplar copy = *x;
    copy.labels.items = kept;
    return status == TSDB_OK ? tsdb_build_exemplar(&r->build, target, &copy) : status;
}

void ingest_build_name_metric(struct ingest_request *r, struct tsdb_slice metric)
{
    struct tsdb_label name = {TSDB_METRIC_NAME, (const char *)metric.data,
                              sizeof TSDB_METRIC_NAME - 1, (uint32_t)metric.len};
    ingest_build_name(r, &name, metric.len > 0);
}
