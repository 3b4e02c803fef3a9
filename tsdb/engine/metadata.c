/* What is known of metrics: a table in memory, and the file that it is kept in (metadata_file.h). */
#include "base/assert.h"
#include "base/log.h"
#include "tsdb/engine/db_private.h"
#include "tsdb/recovery/metadata_file.h"

#include <string.h>

#define METADATA_CATEGORY TSDB_MEM_OTHER
#define TABLE_CAP_FIRST   64u
/* What changed is written no more often than this, and no more than about a MiB a second. */
#define SAVE_EVERY_NS   (INT64_C(10) * 1000 * 1000 * 1000)
#define SAVE_NS_PER_KIB INT64_C(1000000)
#define SAVE_RETRY_NS   (INT64_C(30) * 1000 * 1000 * 1000)

/* One metric family; the strings follow in the same allocation. */
struct metadata_entry {
    struct metadata_entry *older, *newer; /* told of before and after it; NULL: it is at an end */
    uint64_t hash;
    int64_t first_seen_ms;
    enum tsdb_metric_type type;
    uint32_t metric_len, help_len, unit_len;
    uint8_t strings[];
};
struct metadata_table {
    const struct tsdb_hash_key *key; /* immutable, as are the clock and the limits */
    const struct tsdb_clock *clock;
    uint32_t entries_max;
    uint64_t bytes_max;
    struct tsdb_mutex lock;                     /* rank TSDB_METADATA; guards what follows */
    struct metadata_entry **slots TSDB_GUARDED; /* open addressing; NULL = free */
    uint32_t cap TSDB_GUARDED, count TSDB_GUARDED;
    uint64_t bytes TSDB_GUARDED;
    /* The metrics in the order in which they were told of last: what is full drops the oldest, which
     * is what nobody sends any more. */
    struct metadata_entry *oldest TSDB_GUARDED, *newest TSDB_GUARDED;
    uint64_t changes TSDB_GUARDED; /* so far, of what the file holds */
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
        .first_seen_ms = e->first_seen_ms,
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

enum tsdb_status metadata_table_create(const struct tsdb_hash_key *key,
                                       const struct tsdb_clock *clock, uint32_t entries_max,
                                       uint64_t bytes_max, struct metadata_table **out)
{
    struct metadata_table *t = tsdb_mem_alloc_zero(METADATA_CATEGORY, sizeof *t);
    if (!t) {
        return TSDB_NOMEM;
    }
    t->key = key;
    t->clock = clock;
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

/* ---- the order ---- */

static void order_leave(struct metadata_table *t, struct metadata_entry *e) TSDB_REQUIRES(t->lock)
{
    *(e->older ? &e->older->newer : &t->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &t->newest) = e->older;
}

static void order_append(struct metadata_table *t, struct metadata_entry *e) TSDB_REQUIRES(t->lock)
{
    e->older = t->newest;
    e->newer = NULL;
    *(t->newest ? &t->newest->newer : &t->oldest) = e;
    t->newest = e;
}

/* ---- putting ---- */

/* Free the place; what was pushed on by it moves back, so that no search ends early. */
static void slot_free(struct metadata_table *t, struct metadata_entry **slot) TSDB_REQUIRES(t->lock)
{
    uint32_t mask = t->cap - 1;
    uint32_t at = (uint32_t)(slot - t->slots);
    for (uint32_t i = (at + 1) & mask; t->slots[i]; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)t->slots[i]->hash & mask;
        if (((i - home) & mask) >= ((i - at) & mask)) {
            t->slots[at] = t->slots[i];
            at = i;
        }
    }
    t->slots[at] = NULL;
}

static void entry_free(struct metadata_table *t, struct metadata_entry *e) TSDB_REQUIRES(t->lock)
{
    TSDB_ASSERT(t->count > 0 && t->bytes >= entry_bytes(e));
    order_leave(t, e);
    t->count--;
    t->bytes -= entry_bytes(e);
    tsdb_mem_free(METADATA_CATEGORY, e, entry_bytes(e));
}

static void make_room(struct metadata_table *t, size_t bytes) TSDB_REQUIRES(t->lock)
{
    while (t->count >= t->entries_max || t->bytes + bytes > t->bytes_max) {
        TSDB_ASSERT(t->oldest); /* an entry alone fits */
        slot_free(t, slot_of(t, t->oldest->hash, entry_view(t->oldest).metric));
        entry_free(t, t->oldest);
    }
}

static struct metadata_entry *entry_create(uint64_t hash, const struct tsdb_metadata *m,
                                           int64_t first_seen_ms)
{
    size_t bytes = sizeof(struct metadata_entry) + m->metric.len + m->help.len + m->unit.len;
    struct metadata_entry *e = tsdb_mem_alloc(METADATA_CATEGORY, bytes);
    if (!e) {
        return NULL;
    }
    *e = (struct metadata_entry){
        .hash = hash,
        .first_seen_ms = first_seen_ms,
        .type = m->type,
        .metric_len = (uint32_t)m->metric.len,
        .help_len = (uint32_t)m->help.len,
        .unit_len = (uint32_t)m->unit.len,
    };
    put_slice(put_slice(put_slice(e->strings, m->metric), m->help), m->unit);
    return e;
}

static enum tsdb_status put_locked(struct metadata_table *t, uint64_t hash,
                                   const struct tsdb_metadata *m) TSDB_REQUIRES(t->lock)
{
    if (!table_ensure(t)) {
        return TSDB_NOMEM;
    }
    struct metadata_entry *old = *slot_of(t, hash, m->metric);
    bool empty = m->type == TSDB_METRIC_UNKNOWN && m->help.len == 0 && m->unit.len == 0;
    if (old && (empty || same_metadata(old, m))) { /* senders repeat themselves every minute */
        order_leave(t, old);
        order_append(t, old);
    }
    if (empty || (old && same_metadata(old, m))) {
        return TSDB_OK;
    }
    int64_t first_seen_ms = old                ? old->first_seen_ms
                            : m->first_seen_ms ? m->first_seen_ms
                                               : tsdb_clock_wall_ms(t->clock);
    struct metadata_entry *e = entry_create(hash, m, first_seen_ms);
    if (!e) {
        return TSDB_NOMEM;
    }
    if (old) {
        slot_free(t, slot_of(t, hash, m->metric));
        entry_free(t, old);
    }
    make_room(t, entry_bytes(e));
    *slot_of(t, hash, m->metric) = e;
    order_append(t, e);
    t->count++;
    t->bytes += entry_bytes(e);
    t->changes++;
    return TSDB_OK;
}

enum tsdb_status tsdb_metadata_put(struct tsdb *db, const struct tsdb_metadata *m)
{
    struct metadata_table *t = db->metadata;
    uint64_t len = (uint64_t)m->metric.len + m->help.len + m->unit.len;
    if (sizeof(struct metadata_entry) + len > t->bytes_max || len > UINT32_MAX) {
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

/* ---- the file ---- */

static enum tsdb_status load_one(void *arg, const struct tsdb_metadata *m)
{
    enum tsdb_status status = tsdb_metadata_put(arg, m);
    return status == TSDB_LIMIT ? TSDB_OK : status;
}

enum tsdb_status db_metadata_load(struct tsdb *db, struct tsdb_error *err)
{
    struct metadata_table *t = db->metadata;
    struct tsdb_error why;
    uint8_t *data = NULL;
    size_t len = 0;
    tsdb_error_clear(&why);
    enum tsdb_status status =
        tsdb_file_read_all(&db->options.fs, METADATA_FILE_NAME, METADATA_FILE_BYTES_MAX,
                           METADATA_CATEGORY, &data, &len, &why);
    if (status == TSDB_OK) {
        status = metadata_file_parse(data, len, load_one, db, &why);
        tsdb_mem_free(METADATA_CATEGORY, data, len);
    }
    if (status == TSDB_NOMEM) {
        return tsdb_error_nomem(err, "the metadata of metrics");
    }
    tsdb_mutex_lock(&t->lock);
    uint32_t count = t->count;
    db->life->metadata_saved = t->changes;
    if (status != TSDB_OK && status != TSDB_NOT_FOUND) {
        t->changes++; /* what is left is written anew */
    }
    tsdb_mutex_unlock(&t->lock);
    if (status != TSDB_OK && status != TSDB_NOT_FOUND) {
        tsdb_log(TSDB_LOG_WARN, "recovery",
                 "metadata of metrics is lost, until senders tell it again", TSDB_S("err", why.msg),
                 TSDB_U("metrics_kept", count));
    }
    return TSDB_OK;
}

/* The table as the file has it; *out_changes: of which moment. */
static void encode(struct metadata_table *t, struct tsdb_buf *out, uint64_t *out_changes)
{
    metadata_file_begin(out);
    tsdb_mutex_lock(&t->lock);
    for (const struct metadata_entry *e = t->oldest; e; e = e->newer) {
        struct tsdb_metadata m = entry_view(e);
        metadata_file_put(out, &m);
    }
    uint32_t count = t->count;
    *out_changes = t->changes;
    tsdb_mutex_unlock(&t->lock);
    metadata_file_end(out, count);
}

static bool is_saved(struct tsdb *db)
{
    tsdb_mutex_lock(&db->metadata->lock);
    bool saved = db->metadata->changes == db->life->metadata_saved;
    tsdb_mutex_unlock(&db->metadata->lock);
    return saved;
}

bool db_metadata_save(struct tsdb *db)
{
    struct db_life *life = db->life;
    struct tsdb_error err;
    struct tsdb_buf buf;
    uint64_t changes = 0;
    if (is_saved(db)) {
        return false;
    }
    tsdb_buf_init(&buf, METADATA_CATEGORY, METADATA_FILE_BYTES_MAX);
    encode(db->metadata, &buf, &changes);
    enum tsdb_status status = buf.failed ? tsdb_error_nomem(&err, "the metadata of metrics")
                                         : tsdb_file_replace(&db->options.fs, METADATA_FILE_NAME,
                                                             buf.data, buf.len, &err);
    int64_t pause_ns = SAVE_EVERY_NS + (int64_t)(buf.len >> 10) * SAVE_NS_PER_KIB;
    if (status == TSDB_OK) {
        life->metadata_saved = changes;
    } else {
        pause_ns = SAVE_RETRY_NS;
        tsdb_log(TSDB_LOG_WARN, "tsdb", "the metadata of metrics is not kept for now",
                 TSDB_S("err", err.msg));
    }
    life->metadata_next_ns = tsdb_clock_mono_ns(&db->options.clock) + pause_ns;
    tsdb_buf_deinit(&buf);
    return status == TSDB_OK;
}

size_t tsdb_metadata_step(struct tsdb *db, int64_t now_ns)
{
    bool saved = false;
    if (!db_ready(db)) {
        return 0;
    }
    tsdb_mutex_lock(&db->life->admin);
    if (now_ns >= db->life->metadata_next_ns) {
        saved = db_metadata_save(db);
    }
    tsdb_mutex_unlock(&db->life->admin);
    return saved;
}
