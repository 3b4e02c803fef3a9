#include "tsdb/engine/series_limits.h"

#include "base/assert.h"
#include "base/mutex.h"
#include "index/mem/index_mem.h"
#include "tsdb/engine/db_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMITS_CATEGORY TSDB_MEM_OTHER
#define METRIC_SLOTS    4096u /* a power of two; two metrics in one slot are counted anew in turn */
#define RECOUNT_NS      (INT64_C(1000) * 1000 * 1000)
#define BLAMED_MAX      64u /* (metric, label) that the sketch keeps */
#define BLAMED_TEXT     256u
#define BLAMED_EACH     8u /* labels of one series */

struct metric_slot {
    uint64_t hash; /* of the metric's name; 0: free */
    uint64_t count;
    int64_t counted_ns;
};
struct blamed {
    uint64_t hash, count, error;
    uint32_t metric_len, label_len;
    char text[BLAMED_TEXT]; /* metric, then label; each cut to half of it */
};
struct series_limits {
    /* immutable */
    const struct tsdb_options *options;
    const struct tsdb_hash_key *key;
    struct head_partition *const *heads;
    struct tsdb_epoch *epoch;
    _Atomic(uint64_t) refused[TSDB_SERIES_LIMIT_COUNT]; /* relaxed: figures */
    struct metric_slot
        *metrics; /* [METRIC_SLOTS], guarded by the lock; NULL without such a limit */
    struct tsdb_mutex metrics_lock;
    struct tsdb_mutex blamed_lock;
    struct blamed blamed[BLAMED_MAX] TSDB_GUARDED;
    uint32_t blamed_count TSDB_GUARDED;
};

enum tsdb_status series_limits_create(const struct tsdb_options *options,
                                      const struct tsdb_hash_key *key,
                                      struct head_partition *const *heads, struct tsdb_epoch *epoch,
                                      struct series_limits **out)
{
    struct series_limits *l = tsdb_mem_alloc_zero(LIMITS_CATEGORY, sizeof *l);
    struct metric_slot *metrics = NULL;
    if (l && options->metric_series_max > 0) {
        metrics = tsdb_mem_alloc_zero(LIMITS_CATEGORY, METRIC_SLOTS * sizeof *metrics);
    }
    if (!l || (options->metric_series_max > 0 && !metrics)) {
        tsdb_mem_free(LIMITS_CATEGORY, l, sizeof *l);
        return TSDB_NOMEM;
    }
    l->options = options;
    l->key = key;
    l->heads = heads;
    l->epoch = epoch;
    l->metrics = metrics;
    tsdb_mutex_init(&l->metrics_lock, TSDB_RANK_TSDB_METADATA, "series of metrics");
    tsdb_mutex_init(&l->blamed_lock, TSDB_RANK_TSDB_METADATA, "refused series");
    *out = l;
    return TSDB_OK;
}

void series_limits_destroy(struct series_limits *l)
{
    if (!l) {
        return;
    }
    tsdb_mutex_deinit(&l->blamed_lock);
    tsdb_mutex_deinit(&l->metrics_lock);
    tsdb_mem_free(LIMITS_CATEGORY, l->metrics, l->metrics ? METRIC_SLOTS * sizeof *l->metrics : 0);
    tsdb_mem_free(LIMITS_CATEGORY, l, sizeof *l);
}

/* ---- memory ---- */

static uint64_t memory_used(void)
{
    return tsdb_mem_used(TSDB_MEM_HEAD) + tsdb_mem_used(TSDB_MEM_INDEX) +
           tsdb_mem_used(TSDB_MEM_ALIAS);
}

bool series_limits_memory_full(const struct series_limits *l)
{
    return l && l->options->head_bytes_max > 0 && memory_used() >= l->options->head_bytes_max;
}

/* ---- series of a metric ---- */

static struct tsdb_slice metric_of(const struct tsdb_labels *labels)
{
    const struct tsdb_label *name = labels->count > 0 ? &labels->items[0] : NULL; /* mostly */
    if (name && (name->name_len != 8 || memcmp(name->name, "__name__", 8) != 0)) {
        name = tsdb_labels_find(labels, "__name__", 8);
    }
    return name ? (struct tsdb_slice){(const uint8_t *)name->value, name->value_len}
                : (struct tsdb_slice){(const uint8_t *)"", 0};
}

static uint64_t metric_count(const struct series_limits *l, struct tsdb_slice metric)
{
    uint64_t n = 0;
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(l->epoch, &guard);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        n += index_mem_pair_series(head_index(l->heads[i]), "__name__", 8,
                                   (const char *)metric.data, (uint32_t)metric.len);
    }
    tsdb_epoch_exit(l->epoch, &guard);
    return n;
}

bool series_limits_metric_admit(struct series_limits *l, const struct tsdb_labels *labels)
{
    if (!l || l->options->metric_series_max == 0) {
        return true;
    }
    struct tsdb_slice metric = metric_of(labels);
    if (metric.len == 0) {
        return true;
    }
    uint64_t max = l->options->metric_series_max;
    uint64_t hash = tsdb_hash64(l->key, metric.data, metric.len) | 1;
    tsdb_mutex_lock(&l->metrics_lock);
    struct metric_slot *s = &l->metrics[hash >> 1 & (METRIC_SLOTS - 1)];
    if (s->hash != hash || s->count >= max) {
        int64_t now_ns = tsdb_clock_mono_ns(&l->options->clock);
        if (s->hash != hash || now_ns - s->counted_ns >= RECOUNT_NS) {
            *s = (struct metric_slot){hash, metric_count(l, metric), now_ns};
        }
    }
    bool admitted = s->count < max;
    s->count += admitted;
    tsdb_mutex_unlock(&l->metrics_lock);
    return admitted;
}

/* ---- whom to blame ---- */

static uint32_t cut(struct tsdb_slice s)
{
    return (uint32_t)TSDB_MIN(s.len, (size_t)BLAMED_TEXT / 2);
}

static bool is_blamed(const struct blamed *b, uint64_t hash, struct tsdb_slice metric,
                      struct tsdb_slice label)
{
    return b->hash == hash && b->metric_len == cut(metric) && b->label_len == cut(label) &&
           memcmp(b->text, metric.data, b->metric_len) == 0 &&
           (b->label_len == 0 || memcmp(b->text + b->metric_len, label.data, b->label_len) == 0);
}

static void blame(struct series_limits *l, struct tsdb_slice metric, struct tsdb_slice label)
{
    uint64_t hash = tsdb_hash64(l->key, metric.data, metric.len) * 3 +
                    tsdb_hash64(l->key, label.data, label.len);
    tsdb_mutex_lock(&l->blamed_lock);
    struct blamed *least = &l->blamed[0];
    struct blamed *b = NULL;
    for (uint32_t i = 0; !b && i < l->blamed_count; i++) {
        struct blamed *x = &l->blamed[i];
        b = is_blamed(x, hash, metric, label) ? x : NULL;
        least = x->count < least->count ? x : least;
    }
    if (!b) { /* the place of the least one, whose count it inherits */
        bool room = l->blamed_count < BLAMED_MAX;
        b = room ? &l->blamed[l->blamed_count++] : least;
        b->error = b->count;
        b->hash = hash;
        b->metric_len = cut(metric);
        b->label_len = cut(label);
        memcpy(b->text, metric.data, b->metric_len);
        if (b->label_len > 0) {
            memcpy(b->text + b->metric_len, label.data, b->label_len);
        }
    }
    b->count++;
    tsdb_mutex_unlock(&l->blamed_lock);
}

void series_limits_refused(struct series_limits *l, enum tsdb_series_limit limit,
                           struct head_partition *head, const struct tsdb_labels *labels)
{
    if (!l) {
        return;
    }
    TSDB_ASSERT(limit < TSDB_SERIES_LIMIT_COUNT);
    atomic_fetch_add_explicit(&l->refused[limit], 1, memory_order_relaxed);
    struct tsdb_slice metric = metric_of(labels);
    uint32_t found = 0;
    for (uint32_t i = 0; metric.len > 0 && i < labels->count && found < BLAMED_EACH; i++) {
        const struct tsdb_label *x = &labels->items[i];
        bool name = x->name_len == 8 && memcmp(x->name, "__name__", 8) == 0;
        if (!name && index_mem_pair_series(head_index(head), x->name, x->name_len, x->value,
                                           x->value_len) == 0) {
            blame(l, metric, (struct tsdb_slice){(const uint8_t *)x->name, x->name_len});
            found++;
        }
    }
    if (metric.len > 0 && found == 0) {
        blame(l, metric, (struct tsdb_slice){(const uint8_t *)"", 0});
    }
}

void series_limits_stats(const struct series_limits *l, struct tsdb_stats *out)
{
    for (uint32_t i = 0; i < TSDB_SERIES_LIMIT_COUNT; i++) {
        out->series_refused[i] = atomic_load_explicit(&l->refused[i], memory_order_relaxed);
    }
    out->series_max = l->options->series_max;
    out->head_bytes_max = l->options->head_bytes_max;
    out->metric_series_max = l->options->metric_series_max;
    out->head_bytes = memory_used();
}

static int most_first(const void *a, const void *b)
{
    const struct tsdb_refused_series *x = a;
    const struct tsdb_refused_series *y = b;
    return (x->count < y->count) - (x->count > y->count);
}

enum tsdb_status tsdb_refused_series_list(struct tsdb *db, uint32_t limit, struct tsdb_arena *arena,
                                          struct tsdb_refused_series **out, uint32_t *out_count)
{
    struct series_limits *l = db->series_limits;
    struct tsdb_refused_series *list =
        TSDB_ARENA_ARRAY(arena, struct tsdb_refused_series, BLAMED_MAX);
    char *text = tsdb_arena_alloc(arena, BLAMED_MAX * BLAMED_TEXT, 1);
    if (!list || !text) {
        return tsdb_arena_status(arena);
    }
    tsdb_mutex_lock(&l->blamed_lock);
    uint32_t count = l->blamed_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct blamed *b = &l->blamed[i];
        uint8_t *copy = memcpy(text + (size_t)i * BLAMED_TEXT, b->text, BLAMED_TEXT);
        list[i] = (struct tsdb_refused_series){.metric = {copy, b->metric_len},
                                               .label = {copy + b->metric_len, b->label_len},
                                               .count = b->count,
                                               .error = b->error};
    }
    tsdb_mutex_unlock(&l->blamed_lock);
    qsort(list, count, sizeof list[0], most_first);
    *out = list;
    *out_count = TSDB_MIN(count, limit);
    return TSDB_OK;
}

/* The label that is to blame most for the refused series of the metric; false: none is. */
static bool blamed_label(struct series_limits *l, struct tsdb_slice metric,
                         char out[BLAMED_TEXT / 2 + 1])
{
    const struct blamed *most = NULL;
    tsdb_mutex_lock(&l->blamed_lock);
    for (uint32_t i = 0; i < l->blamed_count; i++) {
        const struct blamed *b = &l->blamed[i];
        if (b->metric_len == cut(metric) && memcmp(b->text, metric.data, b->metric_len) == 0 &&
            b->label_len > 0 && (!most || b->count > most->count)) {
            most = b;
        }
    }
    if (most) {
        memcpy(out, most->text + most->metric_len, most->label_len);
        out[most->label_len] = '\0';
    }
    tsdb_mutex_unlock(&l->blamed_lock);
    return most != NULL;
}

size_t tsdb_series_limit_text(struct tsdb *db, const struct tsdb_labels *labels, char *out,
                              size_t cap)
{
    struct series_limits *l = db->series_limits;
    const struct tsdb_options *o = l->options;
    struct tsdb_slice metric = metric_of(labels);
    char label[BLAMED_TEXT / 2 + 1];
    char what[96];
    if (o->metric_series_max > 0 && metric_count(l, metric) >= o->metric_series_max) {
        snprintf(what, sizeof what,
                 "%" PRIu64 " series of a metric (--storage.limit.series-per-metric)",
                 o->metric_series_max);
    } else if (series_limits_memory_full(l)) {
        snprintf(what, sizeof what, "%" PRIu64 " bytes for series (--storage.head.memory)",
                 o->head_bytes_max);
    } else {
        snprintf(what, sizeof what, "%" PRIu64 " series (--storage.head.max-series)",
                 o->series_max);
    }
    bool known = blamed_label(l, metric, label);
    int n =
        known ? snprintf(out, cap,
                         "limit of %s reached, metric %.*s has most of its refused series for new "
                         "values of label %s",
                         what, (int)cut(metric), (const char *)metric.data, label)
              : snprintf(out, cap, "limit of %s reached", what);
    return n < 0 ? 0 : TSDB_MIN((size_t)n, cap - 1);
}
