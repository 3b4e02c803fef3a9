#include "tsdb/head/head_private.h"

#include "base/assert.h"

#include <string.h>

#define HEAD_CATEGORY TSDB_MEM_HEAD
/* Capacities of a tail: few steps, because each costs an allocation, a copy and a retirement (some
 * 300 ns). After a series has filled a chunk it will fill the next one as well: start larger. */
#define TAIL_CAP_FIRST      4u
#define TAIL_CAP_SECOND     9u
#define TAIL_CAP_THIRD      39u
#define TAIL_CAP_AFTER_SEAL TAIL_CAP_THIRD
#define DIRECTORY_CAP_FIRST 4u
/* The label that stands in the index for a series whose labels were lost. 0xff is not UTF-8, so
 * no sender's label can be equal to it. */
#define HOLE_NAME     "\xff"
#define HOLE_NAME_LEN 1u

/* ---- life ---- */

enum tsdb_status head_partition_create(uint32_t id, struct tsdb_epoch *epoch,
                                       uint32_t exemplars_max, struct head_partition **out)
{
    TSDB_ASSERT(id < TSDB_PARTITIONS);
    struct head_partition *p = tsdb_mem_alloc_aligned(HEAD_CATEGORY, TSDB_CACHELINE, sizeof *p);
    if (!p) {
        return TSDB_NOMEM;
    }
    memset(p, 0, sizeof *p);
    p->id = id;
    p->epoch = epoch;
    tsdb_epoch_limbo_init(&p->limbo);
    atomic_init(&p->directory, NULL);
    atomic_init(&p->holes, 0);
    p->range_ms = INT64_MAX;
    atomic_init(&p->seal_queue, NULL);
    atomic_init(&p->raw_pending, 0);
    head_windows_init(&p->windows);
    atomic_init(&p->counters.min_time_ms, INT64_MAX);
    atomic_init(&p->counters.max_time_ms, INT64_MIN);
    enum tsdb_status status = index_mem_create(epoch, &p->limbo, &p->index);
    if (status != TSDB_OK) {
        head_windows_deinit(&p->windows);
        tsdb_epoch_limbo_deinit(&p->limbo);
        tsdb_mem_free(HEAD_CATEGORY, p, sizeof *p);
        return status;
    }
    head_exemplar_ring_init(&p->exemplars, exemplars_max);
    *out = p;
    return TSDB_OK;
}

void head_partition_configure(struct head_partition *p, int64_t range_ms, bool seal)
{
    TSDB_ASSERT(range_ms >= 0);
    p->range_ms = range_ms > 0 ? range_ms : INT64_MAX;
    p->seal = seal;
}

uint32_t head_series_count(const struct head_partition *p)
{
    return p->series_count;
}

static size_t directory_bytes(uint32_t cap)
{
    return sizeof(struct head_directory) + cap * sizeof(struct head_series *);
}

static size_t raw_bytes(const struct tsdb_raw_histogram *h)
{
    return sizeof *h + h->len;
}

static struct tsdb_raw_histogram *raw_of(uint64_t value)
{
    return (struct tsdb_raw_histogram *)(uintptr_t)value;
}

void head_tail_release(struct head_partition *p, struct head_tail *t, bool with_values,
                       bool at_once)
{
    if (!t) {
        return;
    }
    uint32_t n = head_tail_count(t);
    bool owns_values = with_values && t->kind != TSDB_SAMPLE_FLOAT;
    for (uint32_t i = 0; owns_values && i < n; i++) {
        struct tsdb_raw_histogram *h = raw_of(head_tail_value(t)[i]);
        if (at_once) {
            tsdb_mem_free(HEAD_CATEGORY, h, raw_bytes(h));
        } else {
            tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, h, raw_bytes(h));
        }
    }
    size_t bytes = head_tail_bytes(t->cap, t->flags);
    if (at_once) {
        tsdb_mem_free(HEAD_CATEGORY, t, bytes);
    } else {
        tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, t, bytes);
    }
}

static void series_destroy(struct head_partition *p, struct head_series *s)
{
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    if (word) {
        head_tail_count_set(head_word_tail(word), head_word_count(word));
        head_tail_release(p, head_word_tail(word), true, true);
    }
    head_tail_release(p, atomic_load_explicit(&s->ooo, memory_order_relaxed), true, true);
    head_list_destroy(p, atomic_load_explicit(&s->chunks, memory_order_relaxed));
}

/* What the sealer had when it stopped and the owner had dropped: nobody else knows of it. */
static void orphans_destroy(struct head_partition *p)
{
    for (struct head_sealed *s = head_seal_queue_take(p), *next; s; s = next) {
        next = s->next;
        if (s->state == SEALED_ORPHAN) {
            head_tail_release(p, s->tail, true, true);
            head_sealed_discard(s);
        }
    }
}

void head_partition_destroy(struct head_partition *p)
{
    if (!p) {
        return;
    }
    orphans_destroy(p);
    for (uint32_t i = 0; i < p->series_count; i++) {
        series_destroy(p, head_hot(p, i));
    }
    struct head_directory *d = atomic_load_explicit(&p->directory, memory_order_relaxed);
    for (uint32_t i = 0; d && i < d->cap; i++) {
        tsdb_mem_free(HEAD_CATEGORY, d->slabs[i], HEAD_SLAB_SERIES * sizeof *d->slabs[i]);
    }
    if (d) {
        tsdb_mem_free(HEAD_CATEGORY, d, directory_bytes(d->cap));
    }
    index_mem_destroy(p->index);
    tsdb_epoch_limbo_deinit(&p->limbo);
    head_exemplar_ring_deinit(&p->exemplars);
    head_windows_deinit(&p->windows);
    tsdb_mem_free(HEAD_CATEGORY, p, sizeof *p);
}

struct index_mem *head_index(struct head_partition *p)
{
    return p->index;
}

struct tsdb_epoch_limbo *head_limbo(struct head_partition *p)
{
    return &p->limbo;
}

const struct head_counters *head_counters(const struct head_partition *p)
{
    return &p->counters;
}

uint64_t head_reclaim(struct head_partition *p, uint64_t bytes_min)
{
    return p->limbo.bytes > bytes_min ? tsdb_epoch_reclaim(p->epoch, &p->limbo) : 0;
}

/* ---- series ---- */

/* Room for the next hot struct. It is there before the index shows the series. */
static enum tsdb_status slot_ensure(struct head_partition *p)
{
    uint32_t slab = p->series_count >> HEAD_SLAB_SHIFT;
    struct head_directory *d = atomic_load_explicit(&p->directory, memory_order_relaxed);
    uint32_t cap = d ? d->cap : 0;
    if (slab >= cap) {
        uint32_t cap_new = cap ? cap * 2 : DIRECTORY_CAP_FIRST;
        struct head_directory *grown = tsdb_mem_alloc_zero(HEAD_CATEGORY, directory_bytes(cap_new));
        if (!grown) {
            return TSDB_NOMEM;
        }
        grown->cap = cap_new;
        if (d) {
            memcpy(grown->slabs, d->slabs, directory_bytes(cap) - directory_bytes(0));
        }
        /* Release: partner is the load in head_hot. */
        atomic_store_explicit(&p->directory, grown, memory_order_release);
        if (d) {
            tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, d, directory_bytes(cap));
        }
        d = grown;
    }
    if (!d->slabs[slab]) {
        /* Not zeroed: pages are touched as series come. */
        d->slabs[slab] = tsdb_mem_alloc_aligned(HEAD_CATEGORY, TSDB_CACHELINE,
                                                HEAD_SLAB_SERIES * sizeof(struct head_series));
    }
    return d->slabs[slab] ? TSDB_OK : TSDB_NOMEM;
}

static void series_init(struct head_series *s)
{
    memset(s, 0, sizeof *s);
    atomic_init(&s->tail, 0);
    atomic_init(&s->ooo, NULL);
    atomic_init(&s->chunks, NULL);
    s->last_t_ms = INT64_MIN;
    s->wal_epoch = HEAD_EPOCH_NONE;
}

static enum tsdb_status series_add(struct head_partition *p, const struct tsdb_labels *labels,
                                   uint64_t hash, uint8_t flags, uint32_t *out_local,
                                   struct tsdb_error *err)
{
    enum tsdb_status status = slot_ensure(p);
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "partition %u: no memory for a series", p->id);
    }
    struct head_series *s = head_hot(p, p->series_count);
    series_init(s);
    s->flags = flags;
    uint32_t local = 0;
    status = index_mem_add(p->index, labels, hash, &local, err);
    if (status != TSDB_OK) {
        return status;
    }
    TSDB_ASSERT(local == p->series_count);
    p->series_count++;
    head_count(&p->counters.series_created, 1);
    *out_local = local;
    return TSDB_OK;
}

enum tsdb_status head_series_find_or_create(struct head_partition *p,
                                            const struct tsdb_labels *labels, uint64_t hash,
                                            uint32_t *out_local, bool *out_created,
                                            struct tsdb_error *err)
{
    uint32_t local = index_mem_find(p->index, labels, hash);
    if (local != UINT32_MAX) {
        *out_local = local;
        *out_created = false;
        return TSDB_OK;
    }
    enum tsdb_status status = series_add(p, labels, hash, 0, out_local, err);
    if (status == TSDB_OK) {
        *out_created = true;
    }
    return status;
}

enum tsdb_status head_series_hole(struct head_partition *p, uint32_t *out_local)
{
    static const char digits[] = "0123456789abcdef";
    char value[8];
    for (uint32_t i = 0; i < sizeof value; i++) {
        value[i] = digits[p->series_count >> (28 - 4 * i) & 15];
    }
    struct tsdb_label label = {HOLE_NAME, value, HOLE_NAME_LEN, sizeof value};
    struct tsdb_labels labels = {&label, 1};
    uint64_t hash = tsdb_hash64_plain(value, sizeof value);
    /* Raised first: a reader that sees the series in the index sees that it must filter. */
    atomic_fetch_add_explicit(&p->holes, 1, memory_order_relaxed);
    enum tsdb_status status = series_add(p, &labels, hash, HEAD_SERIES_HOLE, out_local, NULL);
    if (status != TSDB_OK) {
        atomic_fetch_sub_explicit(&p->holes, 1, memory_order_relaxed);
    }
    return status;
}

bool head_series_is_hole(const struct head_partition *p, uint32_t local)
{
    /* Relaxed: published with the series. The flag is set before and never changes, but the byte is
     * shared with the owner's, so ask the index instead of racing for it. */
    if (atomic_load_explicit(&p->holes, memory_order_relaxed) == 0) {
        return false;
    }
    struct tsdb_label first;
    uint32_t n = index_mem_labels(p->index, local, &first, 1);
    return n > 0 && head_name_is_hole(first.name, first.name_len);
}

bool head_name_is_hole(const char *name, uint32_t len)
{
    return len == HOLE_NAME_LEN && memcmp(name, HOLE_NAME, HOLE_NAME_LEN) == 0;
}

uint32_t head_generation(const struct head_partition *p, uint32_t local)
{
    return head_hot(p, local)->generation;
}

void head_prefetch(const struct head_partition *p, uint32_t local)
{
    head_hot_prefetch(head_hot(p, local));
}

bool head_last_time(const struct head_partition *p, uint32_t local, int64_t *out_ms)
{
    const struct head_series *s = head_hot(p, local);
    if (!(s->flags & HEAD_SERIES_HAS_SAMPLES)) {
        return false;
    }
    *out_ms = s->last_t_ms;
    return true;
}

bool head_wal_base(const struct head_partition *p, uint32_t local, uint64_t epoch,
                   uint64_t *out_bits)
{
    TSDB_ASSERT(epoch != HEAD_EPOCH_NONE);
    const struct head_series *s = head_hot(p, local);
    if (s->wal_epoch != epoch) {
        return false;
    }
    *out_bits = s->wal_bits;
    return true;
}

void head_wal_logged(struct head_partition *p, uint32_t local, uint64_t epoch, uint64_t bits)
{
    struct head_series *s = head_hot(p, local);
    s->wal_epoch = epoch;
    s->wal_bits = bits;
}

bool head_labels_logged(const struct head_partition *p, uint32_t local)
{
    return head_hot(p, local)->flags & HEAD_SERIES_LABELS_LOGGED;
}

void head_labels_logged_set(struct head_partition *p, uint32_t local)
{
    head_hot(p, local)->flags |= HEAD_SERIES_LABELS_LOGGED;
}

/* ---- blocks of samples ---- */

struct sample {
    int64_t t_ms;
    uint64_t value; /* float bits, or a pointer that the block will own */
    int64_t start_ms;
};

struct head_tail *head_tail_create(uint32_t cap, enum tsdb_sample_kind kind, uint32_t flags)
{
    struct head_tail *t = tsdb_mem_alloc(HEAD_CATEGORY, head_tail_bytes(cap, flags));
    if (!t) {
        return NULL;
    }
    atomic_init(&t->count, 0);
    t->cap = (uint16_t)cap;
    t->kind = (uint8_t)kind;
    t->flags = (uint8_t)flags;
    t->seq = 0;
    t->reserved = 0;
    return t;
}

/* The n-th sample; the caller publishes it. There is room. */
static void tail_put(struct head_tail *t, uint32_t n, const struct sample *x)
{
    TSDB_ASSERT(n < t->cap);
    head_tail_t(t)[n] = x->t_ms;
    head_tail_value(t)[n] = x->value;
    if (t->flags & HEAD_TAIL_STARTS) {
        head_tail_start(t)[n] = x->start_ms;
    }
}

void head_tail_copy_row(struct head_tail *to, uint32_t to_at, struct head_tail *from, uint32_t at)
{
    struct sample x = {head_tail_t(from)[at], head_tail_value(from)[at], 0};
    if (from->flags & HEAD_TAIL_STARTS) {
        x.start_ms = head_tail_start(from)[at];
    }
    tail_put(to, to_at, &x);
}

/* A larger copy of the first n samples, or NULL. */
static struct head_tail *tail_grow(struct head_tail *t, uint32_t n)
{
    uint32_t cap = t->cap < TAIL_CAP_SECOND  ? TAIL_CAP_SECOND
                   : t->cap < TAIL_CAP_THIRD ? TAIL_CAP_THIRD
                                             : (uint32_t)TSDB_CHUNK_SAMPLES;
    struct head_tail *grown = head_tail_create(cap, (enum tsdb_sample_kind)t->kind, t->flags);
    if (!grown) {
        return NULL;
    }
    grown->seq = t->seq;
    memcpy(head_tail_t(grown), head_tail_t(t), n * sizeof(int64_t));
    memcpy(head_tail_value(grown), head_tail_value(t), n * sizeof(uint64_t));
    if (t->flags & HEAD_TAIL_STARTS) {
        memcpy(head_tail_start(grown), head_tail_start(t), n * sizeof(int64_t));
    }
    return grown;
}

/* The same samples in time order. Insertion sort: at most TSDB_CHUNK_SAMPLES, often in order. */
static struct head_tail *tail_sorted(struct head_tail *t)
{
    uint32_t n = head_tail_count(t);
    struct head_tail *sorted =
        head_tail_create(n, (enum tsdb_sample_kind)t->kind, t->flags | HEAD_TAIL_SORTED);
    if (!sorted) {
        return NULL;
    }
    sorted->seq = t->seq;
    uint8_t order[TSDB_CHUNK_SAMPLES];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = i;
        while (at > 0 && head_tail_t(t)[order[at - 1]] > head_tail_t(t)[i]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = (uint8_t)i;
    }
    for (uint32_t i = 0; i < n; i++) {
        head_tail_copy_row(sorted, i, t, order[i]);
    }
    head_tail_count_set(sorted, n);
    return sorted;
}

/* ---- append ---- */

/* Publish the tail with its first n samples, and note what the fast path needs to know about it. */
static void tail_publish(struct head_series *s, struct head_tail *t, uint32_t n)
{
    bool plain = t->kind == TSDB_SAMPLE_FLOAT && !(t->flags & HEAD_TAIL_STARTS);
    s->tail_cap = (uint8_t)t->cap;
    s->fast_left = plain ? (uint8_t)(t->cap - n) : 0;
    TSDB_ASSERT((uintptr_t)t < HEAD_TAIL_COUNT_ONE);
    /* Release: partner is the load of tail in head_read.c. */
    atomic_store_explicit(&s->tail, (uint64_t)(uintptr_t)t | (uint64_t)n << HEAD_TAIL_COUNT_SHIFT,
                          memory_order_release);
}

static bool same_form(const struct head_tail *t, enum tsdb_sample_kind kind, uint32_t starts)
{
    return t->kind == kind && (t->flags & HEAD_TAIL_STARTS) == starts;
}

/* The window of a sample gets one more of what keeps it from being empty. */
static bool window_add(struct head_partition *p, int64_t t_ms)
{
    return head_windows_add(&p->windows, sealed_window(t_ms, p->range_ms), 1) == TSDB_OK;
}

static void window_sub(struct head_partition *p, int64_t t_ms)
{
    head_windows_sub(&p->windows, sealed_window(t_ms, p->range_ms), 1);
}

/* Move the tail of n samples to the list. Its count in the window is the chunk's from now on. All
 * or nothing; the caller publishes the next tail, or none. */
static bool tail_to_list(struct head_partition *p, struct head_series *s, uint32_t local,
                         struct head_tail *full, uint32_t n)
{
    struct head_sealed *chunk = head_sealed_create(p, local, full, n);
    bool copied = false;
    struct head_list *list = chunk ? head_list_ensure(s, 1, &copied) : NULL;
    if (!list) {
        head_sealed_discard(chunk);
        return false;
    }
    head_tail_count_set(full, n);
    head_list_publish(p, s, list, copied, &chunk, 1);
    return true;
}

/* Seal the tail of n samples: the list first, then a new tail that already holds x. All or
 * nothing. */
static bool tail_seal(struct head_partition *p, struct head_series *s, uint32_t local,
                      struct head_tail *full, uint32_t n, enum tsdb_sample_kind kind,
                      uint32_t starts, const struct sample *x)
{
    uint32_t cap = n == TSDB_CHUNK_SAMPLES ? TAIL_CAP_AFTER_SEAL : TAIL_CAP_FIRST;
    struct head_tail *next = head_tail_create(cap, kind, starts);
    if (!next || !window_add(p, x->t_ms)) {
        head_tail_release(p, next, false, true);
        return false;
    }
    if (!tail_to_list(p, s, local, full, n)) {
        window_sub(p, x->t_ms);
        head_tail_release(p, next, false, true);
        return false;
    }
    tail_put(next, 0, x);
    tail_publish(s, next, 1);
    return true;
}

bool head_series_seal_tail(struct head_partition *p, struct head_series *s, uint32_t local)
{
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    if (word == 0) {
        return true;
    }
    if (!tail_to_list(p, s, local, head_word_tail(word), head_word_count(word))) {
        return false;
    }
    s->fast_left = 0;
    atomic_store_explicit(&s->tail, 0, memory_order_release); /* partner: head_read.c */
    return true;
}

static bool tail_begin(struct head_partition *p, struct head_series *s, enum tsdb_sample_kind kind,
                       uint32_t starts, const struct sample *x)
{
    struct head_tail *t = head_tail_create(TAIL_CAP_FIRST, kind, starts);
    if (!t || !window_add(p, x->t_ms)) {
        head_tail_release(p, t, false, true);
        return false;
    }
    tail_put(t, 0, x);
    tail_publish(s, t, 1);
    return true;
}

static bool append_in_order(struct head_partition *p, struct head_series *s, uint32_t local,
                            enum tsdb_sample_kind kind, const struct sample *x)
{
    uint32_t starts = x->start_ms != 0 ? HEAD_TAIL_STARTS : 0;
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    struct head_tail *t = head_word_tail(word);
    uint32_t n = head_word_count(word);
    if (!t) {
        if (!tail_begin(p, s, kind, starts, x)) {
            return false;
        }
    } else if (!same_form(t, kind, starts) || n == TSDB_CHUNK_SAMPLES ||
               x->t_ms > sealed_window_last(head_tail_t(t)[0], p->range_ms)) {
        if (!tail_seal(p, s, local, t, n, kind, starts, x)) {
            return false;
        }
    } else if (n == t->cap) {
        struct head_tail *grown = tail_grow(t, n);
        if (!grown) {
            return false;
        }
        tail_put(grown, n, x);
        tail_publish(s, grown, n + 1);
        head_tail_release(p, t, false, false);
    } else {
        tail_put(t, n, x);
        tail_publish(s, t, n + 1);
    }
    /* The difference in unsigned arithmetic: a window may be longer than INT64_MAX. */
    uint64_t left = (uint64_t)sealed_window_last(x->t_ms, p->range_ms) - (uint64_t)x->t_ms;
    s->window_left_ms = (uint32_t)TSDB_MIN(left, (uint64_t)UINT32_MAX);
    s->last_t_ms = x->t_ms;
    s->flags |= HEAD_SERIES_HAS_SAMPLES;
    return true;
}

/* ---- late samples ---- */

/* Publish the late buffer, new or larger, with n samples. */
static void late_publish(struct head_series *s, struct head_tail *t, uint32_t n)
{
    head_tail_count_set(t, n);
    atomic_store_explicit(&s->ooo, t, memory_order_release); /* partner: head_read.c */
}

/* Samples [begin, end) of a sorted block as a chunk with a block of its own. */
static struct head_sealed *sealed_part(struct head_partition *p, uint32_t local,
                                       struct head_tail *sorted, uint32_t begin, uint32_t end)
{
    struct head_tail *part =
        head_tail_create(end - begin, (enum tsdb_sample_kind)sorted->kind, sorted->flags);
    if (!part) {
        return NULL;
    }
    part->seq = sorted->seq;
    for (uint32_t i = begin; i < end; i++) {
        head_tail_copy_row(part, i - begin, sorted, i);
    }
    head_tail_count_set(part, end - begin);
    struct head_sealed *chunk = head_sealed_create(p, local, part, end - begin);
    if (!chunk) {
        head_tail_release(p, part, false, true);
    }
    return chunk;
}

static void parts_discard(struct head_partition *p, struct head_sealed **parts, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        head_tail_release(p, parts[i]->tail, false, true);
        head_sealed_discard(parts[i]);
    }
}

/* A chunk for each window of a sorted block, which keeps its own memory. 0: no memory. */
static uint32_t late_split(struct head_partition *p, uint32_t local, struct head_tail *sorted,
                           struct head_sealed *parts[TSDB_CHUNK_SAMPLES])
{
    uint32_t n = head_tail_count(sorted);
    uint32_t made = 0;
    for (uint32_t begin = 0, end = 1; begin < n; begin = end++) {
        int64_t last_ms = sealed_window_last(head_tail_t(sorted)[begin], p->range_ms);
        while (end < n && head_tail_t(sorted)[end] <= last_ms) {
            end++;
        }
        parts[made] = sealed_part(p, local, sorted, begin, end);
        if (!parts[made]) {
            parts_discard(p, parts, made);
            return 0;
        }
        made++;
    }
    return made;
}

/* Move the out-of-order buffer to the list, sorted and split. All or nothing; the caller publishes
 * the next buffer, or none, and then releases this one. */
static bool late_to_list(struct head_partition *p, struct head_series *s, uint32_t local,
                         struct head_tail *full)
{
    struct head_sealed *parts[TSDB_CHUNK_SAMPLES];
    struct head_tail *sorted = tail_sorted(full);
    uint32_t n = sorted ? late_split(p, local, sorted, parts) : 0;
    head_tail_release(p, sorted, false, true);
    bool copied = false;
    struct head_list *list = n > 0 ? head_list_ensure(s, n, &copied) : NULL;
    if (!list) {
        parts_discard(p, parts, n);
        return false;
    }
    for (uint32_t i = 0; i < n; i++) { /* counted by sample until now, by chunk from now on */
        head_windows_sub(&p->windows, sealed_window(parts[i]->min_ms, p->range_ms),
                         parts[i]->count - 1);
    }
    head_list_publish(p, s, list, copied, parts, n);
    return true;
}

bool head_series_seal_late(struct head_partition *p, struct head_series *s, uint32_t local)
{
    struct head_tail *t = atomic_load_explicit(&s->ooo, memory_order_relaxed);
    if (!t) {
        return true;
    }
    if (!late_to_list(p, s, local, t)) {
        return false;
    }
    atomic_store_explicit(&s->ooo, NULL, memory_order_release); /* partner: head_read.c */
    head_tail_release(p, t, false, false);
    return true;
}

/* Put x into the open buffer t, which may have to grow. */
static bool late_put(struct head_partition *p, struct head_series *s, struct head_tail *t,
                     const struct sample *x)
{
    uint32_t n = head_tail_count(t);
    if (n < t->cap) {
        tail_put(t, n, x);
        /* Release: partner is the load of count in head_read.c. */
        atomic_store_explicit(&t->count, n + 1, memory_order_release);
        return true;
    }
    struct head_tail *grown = tail_grow(t, n);
    if (!grown) {
        return false;
    }
    tail_put(grown, n, x);
    late_publish(s, grown, n + 1);
    head_tail_release(p, t, false, false);
    return true;
}

/* Begin a buffer with x, sealing the one before. */
static bool late_begin(struct head_partition *p, struct head_series *s, uint32_t local,
                       struct head_tail *full, struct head_tail *next, const struct sample *x)
{
    if (!next) {
        return false;
    }
    if (full && !late_to_list(p, s, local, full)) {
        head_tail_release(p, next, false, true);
        return false;
    }
    next->seq = ++s->ooo_seq;
    tail_put(next, 0, x);
    late_publish(s, next, 1);
    head_tail_release(p, full, false, false);
    return true;
}

static bool append_late(struct head_partition *p, struct head_series *s, uint32_t local,
                        enum tsdb_sample_kind kind, const struct sample *x)
{
    uint32_t flags = HEAD_TAIL_LATE | (x->start_ms != 0 ? HEAD_TAIL_STARTS : 0);
    struct head_tail *t = atomic_load_explicit(&s->ooo, memory_order_relaxed);
    bool fits = t && same_form(t, kind, flags & HEAD_TAIL_STARTS) &&
                head_tail_count(t) < TSDB_CHUNK_SAMPLES;
    if (!window_add(p, x->t_ms)) {
        return false;
    }
    bool done = fits ? late_put(p, s, t, x)
                     : late_begin(p, s, local, t, head_tail_create(TAIL_CAP_FIRST, kind, flags), x);
    if (!done) {
        window_sub(p, x->t_ms);
    }
    return done;
}

/* Position of t_ms among the first n of a block, or UINT32_MAX. */
static uint32_t tail_find(struct head_tail *t, uint32_t n, int64_t t_ms)
{
    const int64_t *times = head_tail_t(t);
    if ((t->flags & (HEAD_TAIL_LATE | HEAD_TAIL_SORTED)) == HEAD_TAIL_LATE) {
        for (uint32_t i = 0; i < n; i++) {
            if (times[i] == t_ms) {
                return i;
            }
        }
        return UINT32_MAX;
    }
    uint32_t low = 0;
    uint32_t high = n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (times[mid] < t_ms) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < n && times[low] == t_ms ? low : UINT32_MAX;
}

/* The sample of the series at t_ms, wherever in memory it lies: an owner waits for no disk. */
static struct head_tail *series_find(struct head_series *s, int64_t t_ms, uint32_t *out_at)
{
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    *out_at = word ? tail_find(head_word_tail(word), head_word_count(word), t_ms) : UINT32_MAX;
    if (*out_at != UINT32_MAX) {
        return head_word_tail(word);
    }
    struct head_tail *late = atomic_load_explicit(&s->ooo, memory_order_relaxed);
    *out_at = late ? tail_find(late, head_tail_count(late), t_ms) : UINT32_MAX;
    if (*out_at != UINT32_MAX) {
        return late;
    }
    struct head_list *l = atomic_load_explicit(&s->chunks, memory_order_relaxed);
    uint32_t n = l ? atomic_load_explicit(&l->count, memory_order_relaxed) : 0;
    for (uint32_t i = n; i-- > 0;) {
        const struct head_sealed *c = head_list_at(l, i);
        if (!c->file && c->min_ms <= t_ms && t_ms <= c->max_ms) {
            *out_at = tail_find(c->tail, c->count, t_ms);
            if (*out_at != UINT32_MAX) {
                return c->tail;
            }
        }
    }
    return NULL;
}

static bool same_value(struct head_tail *t, uint32_t at, enum tsdb_sample_kind kind, uint64_t value)
{
    if (t->kind != kind) {
        return false;
    }
    uint64_t have = head_tail_value(t)[at];
    if (kind == TSDB_SAMPLE_FLOAT) {
        return have == value;
    }
    const struct tsdb_raw_histogram *a = raw_of(have);
    const struct tsdb_raw_histogram *b = raw_of(value);
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* A copy of the raw bytes behind their header, one allocation. */
static struct tsdb_raw_histogram *raw_copy(const struct tsdb_raw_histogram *h)
{
    struct tsdb_raw_histogram *copy = tsdb_mem_alloc(HEAD_CATEGORY, raw_bytes(h));
    if (!copy) {
        return NULL;
    }
    uint8_t *data = (uint8_t *)(copy + 1);
    memcpy(data, h->data, h->len);
    copy->len = h->len;
    copy->data = data;
    return copy;
}

/* ---- a chunk from a file, back in memory ---- */

/* The samples as a sorted block that owns its histograms. */
static struct head_tail *tail_of_chunk(struct head_partition *p, const struct chunk_samples *c,
                                       bool late)
{
    uint32_t flags =
        (late ? HEAD_TAIL_LATE | HEAD_TAIL_SORTED : 0) | (c->start_ms ? HEAD_TAIL_STARTS : 0);
    struct head_tail *t = head_tail_create(c->count, c->kind, flags);
    for (uint32_t i = 0; t && i < c->count; i++) {
        struct sample x = {c->t_ms[i], c->value[i], c->start_ms ? c->start_ms[i] : 0};
        if (c->kind != TSDB_SAMPLE_FLOAT) {
            struct tsdb_raw_histogram *copy = raw_copy(raw_of(c->value[i]));
            if (!copy) {
                head_tail_release(p, t, true, true);
                return NULL;
            }
            x.value = (uint64_t)(uintptr_t)copy;
        }
        tail_put(t, i, &x);
        head_tail_count_set(t, i + 1);
    }
    return t;
}

enum tsdb_status head_sealed_load_split(struct head_partition *p, uint32_t local, bool late,
                                        const struct chunk_samples *c)
{
    struct head_sealed *parts[TSDB_CHUNK_SAMPLES];
    struct head_series *s = head_hot(p, local);
    TSDB_ASSERT(local < p->series_count && c->count > 0 && c->count <= TSDB_CHUNK_SAMPLES);
    if (!late && !head_series_seal_tail(p, s, local)) {
        return TSDB_NOMEM;
    }
    struct head_tail *whole = tail_of_chunk(p, c, late);
    uint32_t n = whole ? late_split(p, local, whole, parts) : 0;
    bool copied = false;
    struct head_list *list = n > 0 ? head_list_ensure(s, n, &copied) : NULL;
    for (uint32_t i = 0; list && i < n; i++) {
        if (!window_add(p, parts[i]->min_ms)) {
            if (copied) {
                head_list_discard(list);
            }
            list = NULL; /* the counts do not matter any more: recovery ends */
        }
    }
    if (!list) {
        parts_discard(p, parts, n);
        head_tail_release(p, whole, true, true);
        return TSDB_NOMEM;
    }
    head_tail_release(p, whole, false, true); /* the parts own the histograms */
    head_list_publish(p, s, list, copied, parts, n);
    head_series_reached(s, c->t_ms[c->count - 1]);
    return TSDB_OK;
}

static TSDB_NOINLINE enum head_append_outcome
append_slow(struct head_partition *p, struct head_series *s, uint32_t local, int64_t t_ms,
            int64_t start_ms, enum tsdb_sample_kind kind, uint64_t value)
{
    bool late = (s->flags & HEAD_SERIES_HAS_SAMPLES) && t_ms <= s->last_t_ms;
    uint32_t at;
    struct head_tail *there = late ? series_find(s, t_ms, &at) : NULL;
    if (there) {
        if (!same_value(there, at, kind, value)) {
            return HEAD_DUPLICATE_CONFLICT;
        }
        head_count(&p->counters.duplicates, 1);
        return HEAD_DUPLICATE_SAME;
    }
    struct sample x = {t_ms, value, start_ms};
    struct tsdb_raw_histogram *copy = NULL;
    if (kind != TSDB_SAMPLE_FLOAT) {
        copy = raw_copy(raw_of(value));
        if (!copy) {
            return HEAD_NOMEM;
        }
        x.value = (uint64_t)(uintptr_t)copy;
    }
    if (!(late ? append_late(p, s, local, kind, &x) : append_in_order(p, s, local, kind, &x))) {
        if (copy) {
            tsdb_mem_free(HEAD_CATEGORY, copy, raw_bytes(copy));
        }
        return HEAD_NOMEM;
    }
    if (late) {
        head_count(&p->counters.out_of_order, 1);
    }
    return late ? HEAD_APPENDED_OUT_OF_ORDER : HEAD_APPENDED;
}

enum head_append_outcome head_append(struct head_partition *p, uint32_t local, int64_t t_ms,
                                     int64_t start_ms, enum tsdb_sample_kind kind, uint64_t value)
{
    TSDB_ASSERT(local < p->series_count);
    struct head_series *s = head_hot(p, local);
    bool plain = kind == TSDB_SAMPLE_FLOAT && start_ms == 0;
    enum head_append_outcome outcome = HEAD_APPENDED;
    if (!(plain && head_append_fast(s, t_ms, value))) {
        outcome = append_slow(p, s, local, t_ms, start_ms, kind, value);
    }
    if (outcome == HEAD_APPENDED || outcome == HEAD_APPENDED_OUT_OF_ORDER) {
        bool is_float = kind == TSDB_SAMPLE_FLOAT;
        head_count(is_float ? &p->counters.samples : &p->counters.histograms, 1);
        head_count_times(&p->counters, t_ms, t_ms);
    }
    return outcome;
}
