#include "base/assert.h"
#include "tsdb/engine/tsdb_private.h"

#include <string.h>

#define METADATA_CATEGORY TSDB_MEM_OTHER
#define TABLE_CAP_FIRST   64u

/* One metric family; the strings follow in the same allocation. */
struct metadata_entry {
    uint64_t hash;
    enum tsdb_metric_type type;
    uint32_t metric_len, help_len, unit_len;
    uint8_t strings[];
};
struct metadata_table {
    const struct tsdb_hash_key *key; /* immutable, as are the limits */
    uint32_t entries_max;
    uint64_t bytes_max;
    struct tsdb_mutex lock;                     /* rank TSDB_METADATA; guards what follows */
    struct metadata_entry **slots TSDB_GUARDED; /* open addressing; NULL = free */
    uint32_t cap TSDB_GUARDED, count TSDB_GUARDED;
    uint64_t bytes TSDB_GUARDED;
};

static size_t slots_bytes(uint32_t cap)
{
    return cap * sizeof(void *);
}

static size_t entry_bytes(const struct metadata_entry *e)
{
    return sizeof *e + e->metric_len + e->help_len + e->unit_len;
}

static struct tsdb_metadata entry_view(const struct metadata_entry *e)
{
    return (struct tsdb_metadata){
        .metric = {e->strings, e->metric_len},
        .help = {e->strings + e->metric_len, e->help_len},
        .unit = {e->strings + e->metric_len + e->help_len, e->unit_len},
        .type = e->type,
    };
}

static uint8_t *put_slice(uint8_t *p, struct tsdb_slice s)
{
    if (s.len > 0) {
        memcpy(p, s.data, s.len);
    }
    return p + s.len;
}

static bool slice_equal(struct tsdb_slice a, struct tsdb_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

enum tsdb_status metadata_table_create(const struct tsdb_hash_key *key, uint32_t entries_max,
                                       uint64_t bytes_max, struct metadata_table **out)
{
    struct metadata_table *t = tsdb_mem_alloc_zero(METADATA_CATEGORY, sizeof *t);
    if (!t) {
        return TSDB_NOMEM;
    }
    t->key = key;
    t->entries_max = entries_max;
    t->bytes_max = bytes_max;
    tsdb_mutex_init(&t->lock, TSDB_RANK_TSDB_METADATA, "metadata");
    *out = t;
    return TSDB_OK;
}

void metadata_table_destroy(struct metadata_table *t)
{
    if (!t) {
        return;
    }
    tsdb_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < t->cap; i++) {
        if (t->slots[i]) {
            tsdb_mem_free(METADATA_CATEGORY, t->slots[i], entry_bytes(t->slots[i]));
        }
    }
    tsdb_mem_free(METADATA_CATEGORY, t->slots, slots_bytes(t->cap));
    tsdb_mutex_unlock(&t->lock);
    tsdb_mutex_deinit(&t->lock);
    tsdb_mem_free(METADATA_CATEGORY, t, sizeof *t);
}

/* The metric's slot, or the free one where it belongs. There is a free one. */
static struct metadata_entry **slot_of(struct metadata_table *t, uint64_t hash,
                                       struct tsdb_slice metric) TSDB_REQUIRES(t->lock)
{
    for (uint32_t at = (uint32_t)hash & (t->cap - 1);; at = (at + 1) & (t->cap - 1)) {
        const struct metadata_entry *e = t->slots[at];
        if (!e || (e->hash == hash && slice_equal(entry_view(e).metric, metric))) {
            return &t->slots[at];
        }
    }
}

static bool table_ensure(struct metadata_table *t) TSDB_REQUIRES(t->lock)
{
    if (t->cap > 0 && (t->count + 1) * 4 <= t->cap * 3) {
        return true;
    }
    uint32_t cap_old = t->cap;
    struct metadata_entry **old = t->slots;
    uint32_t cap = cap_old ? cap_old * 2 : TABLE_CAP_FIRST;
    struct metadata_entry **grown = tsdb_mem_alloc_zero(METADATA_CATEGORY, slots_bytes(cap));
    if (!grown) {
        return false;
    }
    t->slots = grown;
    t->cap = cap;
    for (uint32_t i = 0; i < cap_old; i++) {
        if (old[i]) {
            *slot_of(t, old[i]->hash, entry_view(old[i]).metric) = old[i];
        }
    }
    tsdb_mem_free(METADATA_CATEGORY, old, slots_bytes(cap_old));
    return true;
}

static bool same_metadata(const struct metadata_entry *e, const struct tsdb_metadata *m)
{
    struct tsdb_metadata have = entry_view(e);
    return have.type == m->type && slice_equal(have.help, m->help) &&
           slice_equal(have.unit, m->unit);
}

static enum tsdb_status put_locked(struct metadata_table *t, uint64_t hash,
                                   const struct tsdb_metadata *m) TSDB_REQUIRES(t->lock)
{
    if (!table_ensure(t)) {
        return TSDB_NOMEM;
    }
    struct metadata_entry **slot = slot_of(t, hash, m->metric);
    struct metadata_entry *old = *slot;
    bool empty = m->type == TSDB_METRIC_UNKNOWN && m->help.len == 0 && m->unit.len == 0;
    if (old && (empty || same_metadata(old, m))) {
        return TSDB_OK; /* senders repeat themselves every minute, or know nothing */
    }
    size_t bytes = sizeof *old + m->metric.len + m->help.len + m->unit.len;
    uint64_t bytes_old = old ? entry_bytes(old) : 0;
    if ((!old && t->count >= t->entries_max) || t->bytes - bytes_old + bytes > t->bytes_max) {
        return TSDB_LIMIT;
    }
    struct metadata_entry *e = tsdb_mem_alloc(METADATA_CATEGORY, bytes);
    if (!e) {
        return TSDB_NOMEM;
    }
    e->hash = hash;
    e->type = m->type;
    e->metric_len = (uint32_t)m->metric.len;
    e->help_len = (uint32_t)m->help.len;
    e->unit_len = (uint32_t)m->unit.len;
    put_slice(put_slice(put_slice(e->strings, m->metric), m->help), m->unit);
    *slot = e;
    t->count += !old;
    t->bytes += bytes - bytes_old;
    if (old) {
        tsdb_mem_free(METADATA_CATEGORY, old, bytes_old);
    }
    return TSDB_OK;
}

enum tsdb_status tsdb_metadata_put(struct tsdb *db, const struct tsdb_metadata *m)
{
    struct metadata_table *t = db->metadata;
    uint64_t len = (uint64_t)m->metric.len + m->help.len + m->unit.len;
    if (len > t->bytes_max || len > UINT32_MAX) {
        return TSDB_LIMIT;
    }
    uint64_t hash = tsdb_hash64(t->key, m->metric.data, m->metric.len);
    tsdb_mutex_lock(&t->lock);
    enum tsdb_status status = put_locked(t, hash, m);
    tsdb_mutex_unlock(&t->lock);
    return status;
}

void tsdb_metadata_visit(struct tsdb *db, const char *metric, tsdb_metadata_fn fn, void *arg)
{
    struct metadata_table *t = db->metadata;
    tsdb_mutex_lock(&t->lock);
    if (metric && t->count > 0) {
        struct tsdb_slice name = {(const uint8_t *)metric, strlen(metric)};
        const struct metadata_entry *e =
            *slot_of(t, tsdb_hash64(t->key, name.data, name.len), name);
        if (e) {
            struct tsdb_metadata m = entry_view(e);
            fn(arg, &m);
        }
    } else if (!metric) {
        bool go_on = true;
        for (uint32_t i = 0; go_on && i < t->cap; i++) {
            if (t->slots[i]) {
                struct tsdb_metadata m = entry_view(t->slots[i]);
                go_on = fn(arg, &m);
            }
        }
    }
    tsdb_mutex_unlock(&t->lock);
}
