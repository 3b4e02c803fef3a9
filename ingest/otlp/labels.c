#include "base/limits.h"
#include "ingest/otlp/names.h"
#include "ingest/otlp/otlp_private.h"

#include <stdlib.h>
#include <string.h>

#define INSERTION_SORT_MAX 32u

static const char *const identity[3] = {"service.namespace", "service.name", "service.instance.id"};

static bool slice_is(struct tsdb_slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static struct tsdb_slice text_of(const char *s)
{
    return (struct tsdb_slice){(const uint8_t *)s, strlen(s)};
}

enum tsdb_status otlp_labels_begin(struct otlp_labels *l, size_t cap,
                                   const struct otlp_labels *from, struct tsdb_arena *arena,
                                   struct tsdb_error *err)
{
    uint32_t count = from ? from->count : 0;
    if (cap + count > TSDB_LABELS_MAX + 8) {
        return tsdb_error_set(err, TSDB_INVALID, "%zu attributes are too many, at most %u",
                              cap + count, TSDB_LABELS_MAX);
    }
    l->cap = (uint32_t)cap + count;
    l->count = count;
    l->items = TSDB_ARENA_ARRAY(arena, struct otlp_label, TSDB_MAX(l->cap, 1u));
    if (!l->items) {
        return tsdb_arena_status(arena);
    }
    if (count > 0) {
        memcpy(l->items, from->items, count * sizeof *l->items);
    }
    return TSDB_OK;
}

static void add(struct otlp_labels *l, struct tsdb_slice name, struct tsdb_slice value,
                struct tsdb_slice key, enum otlp_rank rank)
{
    l->items[l->count] =
        (struct otlp_label){.label = {(const char *)name.data, (const char *)value.data,
                                      (uint32_t)name.len, (uint32_t)value.len},
                            .key = key,
                            .rank = rank,
                            .order = l->count};
    l->count++;
}

void otlp_labels_add(struct otlp_labels *l, struct tsdb_slice name, struct tsdb_slice value,
                     enum otlp_rank rank)
{
    add(l, name, value, name, rank);
}

static enum tsdb_status add_attribute(struct otlp_labels *l, const struct otlp_options *o,
                                      const Otlp__KeyValue *kv, enum otlp_rank rank,
                                      struct tsdb_arena *arena, struct tsdb_error *err)
{
    struct tsdb_slice name = {0};
    struct tsdb_slice value = {0};
    enum tsdb_status status = otlp_value_text(kv->value, arena, &value);
    if (status != TSDB_OK || value.len == 0) {
        return status; /* an empty label is none */
    }
    status = otlp_label_name(o, otlp_slice(kv->key), arena, &name, err);
    if (status == TSDB_OK) {
        add(l, name, value, otlp_slice(kv->key), rank);
    }
    return status;
}

enum tsdb_status otlp_labels_add_attributes(struct otlp_labels *l, const struct otlp_options *o,
                                            Otlp__KeyValue *const *items, size_t count,
                                            const char *const without[3], struct tsdb_arena *arena,
                                            struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (size_t i = 0; i < count && status == TSDB_OK; i++) {
        struct tsdb_slice key = otlp_slice(items[i]->key);
        bool out = false;
        for (size_t k = 0; without && k < 3; k++) {
            out |= slice_is(key, without[k]);
        }
        if (!out) {
            status = add_attribute(l, o, items[i], OTLP_RANK_ATTRIBUTE, arena, err);
        }
    }
    return status;
}

static bool is_listed(const struct otlp_options *o, struct tsdb_slice key)
{
    for (uint32_t i = 0; i < o->attribute_count; i++) {
        if (slice_is(key, o->attributes[i])) {
            return true;
        }
    }
    return false;
}

/* otel_scope_name, _version, _schema_url and the scope's attributes. */
static enum tsdb_status add_scope(struct otlp_walk *w, struct otlp_labels *l,
                                  const Otlp__ScopeMetrics *scope, struct tsdb_error *err)
{
    static const char prefix[] = "otel_scope_";
    const Otlp__InstrumentationScope *s = scope->scope;
    otlp_labels_add(l, text_of("otel_scope_name"), otlp_slice(s->name), OTLP_RANK_SCOPE);
    otlp_labels_add(l, text_of("otel_scope_version"), otlp_slice(s->version), OTLP_RANK_SCOPE);
    otlp_labels_add(l, text_of("otel_scope_schema_url"), otlp_slice(scope->schema_url),
                    OTLP_RANK_SCOPE);
    enum tsdb_status status = TSDB_OK;
    for (size_t i = 0; i < s->n_attributes && status == TSDB_OK; i++) {
        struct tsdb_slice key = otlp_slice(s->attributes[i]->key);
        struct tsdb_slice name = {0};
        struct tsdb_slice value = {0};
        uint8_t *joined = tsdb_arena_alloc(w->arena, sizeof prefix + key.len, 1);
        if (!joined) {
            return tsdb_arena_status(w->arena);
        }
        memcpy(joined, prefix, sizeof prefix - 1);
        if (key.len > 0) {
            memcpy(joined + sizeof prefix - 1, key.data, key.len);
        }
        key = (struct tsdb_slice){joined, key.len + sizeof prefix - 1};
        status = otlp_value_text(s->attributes[i]->value, w->arena, &value);
        if (status == TSDB_OK) {
            status = otlp_label_name(w->options, key, w->arena, &name, err);
        }
        if (status == TSDB_OK) {
            otlp_labels_add(l, name, value, OTLP_RANK_SCOPE);
        }
    }
    return status;
}

/* job and instance, from what identifies a resource. */
static enum tsdb_status add_identity(struct otlp_labels *l, const struct tsdb_slice values[3],
                                     struct tsdb_arena *arena)
{
    struct tsdb_slice job = values[1];
    if (job.len > 0 && values[0].len > 0) {
        uint8_t *both = tsdb_arena_alloc(arena, values[0].len + 1 + job.len, 1);
        if (!both) {
            return tsdb_arena_status(arena);
        }
        memcpy(both, values[0].data, values[0].len);
        both[values[0].len] = '/';
        memcpy(both + values[0].len + 1, job.data, job.len);
        job = (struct tsdb_slice){both, values[0].len + 1 + job.len};
    }
    if (job.len > 0) {
        otlp_labels_add(l, text_of("job"), job, OTLP_RANK_IDENTITY);
    }
    if (values[2].len > 0) {
        otlp_labels_add(l, text_of("instance"), values[2], OTLP_RANK_IDENTITY);
    }
    return TSDB_OK;
}

enum tsdb_status otlp_labels_of_resource(struct otlp_walk *w, const Otlp__Resource *resource,
                                         bool promote, struct otlp_labels *out,
                                         struct tsdb_error *err)
{
    size_t count = resource ? resource->n_attributes : 0;
    size_t promoted = 0;
    for (size_t i = 0; promote && i < count; i++) {
        struct tsdb_slice key = otlp_slice(resource->attributes[i]->key);
        promoted += is_listed(w->options, key) != w->options->promote_all;
    }
    enum tsdb_status status = otlp_labels_begin(out, promoted + 2, NULL, w->arena, err);
    struct tsdb_slice values[3] = {{0}};
    for (size_t i = 0; i < count && status == TSDB_OK; i++) {
        const Otlp__KeyValue *kv = resource->attributes[i];
        struct tsdb_slice key = otlp_slice(kv->key);
        for (size_t k = 0; k < 3 && status == TSDB_OK; k++) {
            if (slice_is(key, identity[k])) {
                status = otlp_value_text(kv->value, w->arena, &values[k]);
            }
        }
        if (status == TSDB_OK && promote && is_listed(w->options, key) != w->options->promote_all) {
            status = add_attribute(out, w->options, kv, OTLP_RANK_PROMOTED, w->arena, err);
        }
    }
    return status == TSDB_OK ? add_identity(out, values, w->arena) : status;
}

enum tsdb_status otlp_labels_of_scope(struct otlp_walk *w, const Otlp__ScopeMetrics *scope,
                                      struct otlp_labels *out, struct tsdb_error *err)
{
    *out = w->resource_labels;
    if (!w->options->promote_scope || !scope->scope || scope->scope->name.len == 0) {
        return TSDB_OK;
    }
    enum tsdb_status status =
        otlp_labels_begin(out, scope->scope->n_attributes + 3, &w->resource_labels, w->arena, err);
    return status == TSDB_OK ? add_scope(w, out, scope, err) : status;
}

/* ---- sorted and unique ---- */

static int by_name(const void *a, const void *b)
{
    const struct otlp_label *x = a;
    const struct otlp_label *y = b;
    int c = tsdb_str_compare(x->label.name, x->label.name_len, y->label.name, y->label.name_len);
    if (c == 0) {
        c = (x->rank < y->rank) - (x->rank > y->rank); /* the highest first */
    }
    if (c == 0 && x->rank <= OTLP_RANK_ATTRIBUTE) {
        c = tsdb_str_compare((const char *)x->key.data, x->key.len, (const char *)y->key.data,
                             y->key.len);
    }
    if (c == 0) { /* of scope and later the last one is the first here */
        c = x->order < y->order ? -1 : 1;
        c = x->rank > OTLP_RANK_ATTRIBUTE ? -c : c;
    }
    return c;
}

static void sort(struct otlp_label *items, uint32_t count)
{
    if (count > INSERTION_SORT_MAX) {
        qsort(items, count, sizeof *items, by_name);
        return;
    }
    for (uint32_t i = 1; i < count; i++) {
        struct otlp_label x = items[i];
        uint32_t j = i;
        for (; j > 0 && by_name(&x, &items[j - 1]) < 0; j--) {
            items[j] = items[j - 1];
        }
        items[j] = x;
    }
}

static bool same_name(const struct otlp_label *a, const struct otlp_label *b)
{
    return a->label.name_len == b->label.name_len &&
           memcmp(a->label.name, b->label.name, a->label.name_len) == 0;
}

/* The values of items[n], of one name, joined by ";". */
static enum tsdb_status join(const struct otlp_label *items, uint32_t n, struct tsdb_arena *arena,
                             struct tsdb_label *out)
{
    size_t len = n - 1;
    for (uint32_t i = 0; i < n; i++) {
        len += items[i].label.value_len;
    }
    char *value = len <= UINT32_MAX ? tsdb_arena_alloc(arena, len + 1, 1) : NULL;
    if (!value) {
        return tsdb_arena_status(arena);
    }
    *out = items[0].label;
    out->value = value;
    out->value_len = (uint32_t)len;
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0) {
            *value++ = ';';
        }
        memcpy(value, items[i].label.value, items[i].label.value_len);
        value += items[i].label.value_len;
    }
    return TSDB_OK;
}

enum tsdb_status otlp_labels_finish(struct otlp_labels *l, struct tsdb_arena *arena,
                                    struct tsdb_label **out, uint32_t *out_count)
{
    struct tsdb_label *labels = TSDB_ARENA_ARRAY(arena, struct tsdb_label, (size_t)l->count + 2);
    if (!labels) {
        return tsdb_arena_status(arena);
    }
    sort(l->items, l->count);
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->count;) {
        const struct otlp_label *first = &l->items[i];
        uint32_t same = 1;
        uint32_t joined = 1; /* of those the ones with the rank of the first */
        while (i + same < l->count && same_name(first, first + same)) {
            joined += first[same].rank == first->rank;
            same++;
        }
        labels[n] = first->label;
        if (first->rank == OTLP_RANK_ATTRIBUTE && joined > 1) {
            enum tsdb_status status = join(first, joined, arena, &labels[n]);
            if (status != TSDB_OK) {
                return status;
            }
        }
        n++;
        i += same;
    }
    *out = labels;
    *out_count = n;
    return TSDB_OK;
}
