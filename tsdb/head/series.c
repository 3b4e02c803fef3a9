/* A partition and its series: how they begin, how they are found, how they end. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"

#include <string.h>

#define DIRECTORY_CAP_FIRST 4u

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
    atomic_init(&p->front.directory, NULL);
    p->front.chunk_samples = TSDB_CHUNK_SAMPLES;
    atomic_init(&p->seal_queue, NULL);
    atomic_init(&p->raw_pending, 0);
    head_windows_init(&p->windows);
    head_late_set_init(&p->late);
    atomic_init(&p->front.counters.min_time_ms, INT64_MAX);
    atomic_init(&p->front.counters.max_time_ms, INT64_MIN);
    enum tsdb_status status = head_exemplar_store_create(exemplars_max, &p->own_exemplars);
    if (status == TSDB_OK) {
        struct index_mem *index = NULL;
        status = index_mem_create(epoch, &p->limbo, &index);
        atomic_init(&p->index, index);
    }
    if (status != TSDB_OK) {
        head_exemplar_store_destroy(p->own_exemplars);
        head_windows_deinit(&p->windows);
        tsdb_epoch_limbo_deinit(&p->limbo);
        tsdb_mem_free(HEAD_CATEGORY, p, sizeof *p);
        return status;
    }
    p->exemplars = p->own_exemplars;
    *out = p;
    return TSDB_OK;
}

void head_partition_configure(struct head_partition *p, int64_t range_ms, int64_t range_max_ms,
                              bool seal)
{
    TSDB_ASSERT(range_ms >= 0 && range_max_ms >= 0);
    TSDB_ASSERT(p->front.series_count == 0);
    p->windows.range_ms = range_ms > 0 ? range_ms : INT64_MAX;
    p->windows.most_ms = TSDB_MAX(range_max_ms, p->windows.range_ms);
    p->seal = seal;
}

void head_bundle_bytes_set(struct head_partition *p, uint32_t fixed, uint64_t open_bytes)
{
    TSDB_ASSERT(p->front.series_count == 0);
    p->front.bundle_bytes = fixed;
    p->open_bytes = fixed > 0 ? 0 : open_bytes;
}

void head_chunk_samples_set(struct head_partition *p, uint32_t samples)
{
    TSDB_ASSERT(samples > 0 && samples <= TSDB_HEAD_CHUNK_SAMPLES_MAX);
    TSDB_ASSERT(p->front.series_count == 0);
    p->front.chunk_samples = samples;
}

uint32_t head_series_count(const struct head_partition *p)
{
    return p->front.series_count;
}

static size_t directory_bytes(uint32_t cap)
{
    return sizeof(struct head_directory) + cap * sizeof(struct head_slab *);
}

static void slab_free(struct head_slab *slab)
{
    if (slab != &head_slab_gone) {
        tsdb_mem_free(HEAD_CATEGORY, slab, sizeof *slab);
    }
}

static void bundle_destroy(struct head_partition *p, struct head_bundle *b)
{
    struct head_sides *sides = atomic_load_explicit(&b->sides, memory_order_relaxed);
    head_list_destroy(p, atomic_load_explicit(&b->chunks, memory_order_relaxed));
    tsdb_mem_free(HEAD_CATEGORY, sides, sizeof *sides);
}

static void series_destroy(struct head_partition *p, uint32_t local)
{
    struct head_series *s = head_hot(p, local);
    struct head_side *side = head_side(p, local);
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    if (word && !s->stream) {
        head_tail_count_set(head_word_tail(word), head_word_count(word));
    }
    head_tail_release(p, head_word_tail(word), true, true);
    head_tail_release(p, head_own_late(p, local), true, true);
    head_list_destroy(p, head_own_list(p, local));
    tsdb_mem_free(HEAD_CATEGORY, side, sizeof *side);
    if (head_bundle_bit(local) == BUNDLE_SERIES - 1 || local + 1 == p->front.series_count) {
        bundle_destroy(p, head_bundle(p, local));
    }
}

/* What the sealer had when it stopped and the owner had dropped: nobody else knows of it. */
static void orphans_destroy(struct head_partition *p)
{
    for (struct head_raw_chunk *s = head_seal_queue_take(p), *next; s; s = next) {
        next = s->next;
        if (s->state == SEALED_ORPHAN) {
            head_raw_destroy(p, s);
        }
    }
}

void head_partition_destroy(struct head_partition *p)
{
    if (!p) {
        return;
    }
    orphans_destroy(p);
    for (uint32_t i = 0; i < p->front.series_count; i++) {
        series_destroy(p, i);
    }
    struct head_directory *d = atomic_load_explicit(&p->front.directory, memory_order_relaxed);
    for (uint32_t i = 0; d && i < d->cap; i++) {
        slab_free(head_directory_slab(d, i));
    }
    if (d) {
        tsdb_mem_free(HEAD_CATEGORY, d, directory_bytes(d->cap));
    }
    index_mem_destroy(p->leaving.next);
    index_mem_retired_destroy(&p->leaving.retired);
    index_mem_destroy(head_own_index(p));
    tsdb_epoch_limbo_deinit(&p->limbo);
    head_exemplar_store_destroy(p->own_exemplars);
    head_windows_deinit(&p->windows);
    head_late_set_deinit(&p->late);
    tsdb_mem_free(HEAD_CATEGORY, p, sizeof *p);
}

struct index_mem *head_index(const struct head_partition *p)
{
    /* Acquire: partner is the owner's release in leave.c. */
    return atomic_load_explicit(&p->index, memory_order_acquire);
}

struct index_mem *head_index_pin(const struct head_partition *p)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(p->epoch, &guard);
    struct index_mem *index = head_index(p);
    index_mem_pin(index);
    tsdb_epoch_exit(p->epoch, &guard);
    return index;
}

struct head_front *head_front(struct head_partition *p)
{
    return &p->front;
}

const struct head_counters *head_counters(const struct head_partition *p)
{
    return &p->front.counters;
}

uint64_t head_reclaim(struct head_partition *p, uint64_t bytes_min)
{
    if (p->leaving.retired) {
        index_mem_reap(&p->leaving.retired);
    }
    return p->limbo.bytes > bytes_min ? tsdb_epoch_reclaim(p->epoch, &p->limbo) : 0;
}

/* ---- series ---- */

/* Room for the slab in the directory. */
static struct head_directory *directory_ensure(struct head_partition *p, uint32_t slab)
{
    struct head_directory *d = atomic_load_explicit(&p->front.directory, memory_order_relaxed);
    uint32_t cap = d ? d->cap : 0;
    if (slab < cap) {
        return d;
    }
    uint32_t cap_new = cap ? cap * 2 : DIRECTORY_CAP_FIRST;
    cap_new = TSDB_MAX(cap_new, slab + 1);
    struct head_directory *grown = tsdb_mem_alloc_zero(HEAD_CATEGORY, directory_bytes(cap_new));
    if (!grown) {
        return NULL;
    }
    grown->cap = cap_new;
    for (uint32_t i = 0; i < cap; i++) {
        atomic_init(&grown->slabs[i], head_directory_slab(d, i));
    }
    /* Release: partner is the load in head_hot. */
    atomic_store_explicit(&p->front.directory, grown, memory_order_release);
    if (d) {
        tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, d, directory_bytes(cap));
    }
    return grown;
}

/* Room for the next hot struct. It is there before the index shows the series. */
static enum tsdb_status slot_ensure(struct head_partition *p)
{
    uint32_t slab = p->front.series_count >> HEAD_SLAB_SHIFT;
    TSDB_ASSERT(p->front.series_count < TSDB_SERIES_IDS_MAX);
    struct head_directory *d = directory_ensure(p, slab);
    if (d && !head_directory_slab(d, slab)) {
        /* Not zeroed: pages are touched as series come. */
        atomic_store_explicit(
            &d->slabs[slab],
            tsdb_mem_alloc_aligned(HEAD_CATEGORY, TSDB_CACHELINE, sizeof(struct head_slab)),
            memory_order_relaxed);
    }
    return d && head_directory_slab(d, slab) ? TSDB_OK : TSDB_NOMEM;
}

/* The bundle of an id that is the next one, if it is the first of its bundle. */
static void bundle_init(struct head_partition *p, uint32_t local)
{
    if (head_bundle_bit(local) == 0) {
        struct head_bundle *b = head_bundle(p, local);
        atomic_init(&b->chunks, NULL);
        atomic_init(&b->sides, NULL);
        b->bytes = 0;
        b->seq = 1;
        if (p->open_bytes > 0) {
            uint64_t share = p->open_bytes / (local / BUNDLE_SERIES + 1);
            share = TSDB_MAX(share, (uint64_t)TSDB_HEAD_BUNDLE_BYTES);
            p->front.bundle_bytes = (uint32_t)TSDB_MIN(share, (uint64_t)UINT32_MAX);
        }
    }
}

enum tsdb_status head_ids_skip(struct head_partition *p, uint32_t end)
{
    uint32_t *count = &p->front.series_count;
    while (*count < end) {
        uint32_t slab = *count >> HEAD_SLAB_SHIFT;
        uint32_t to = TSDB_MIN(end, (slab + 1) << HEAD_SLAB_SHIFT);
        struct head_directory *d = directory_ensure(p, slab);
        if (d && to - *count == HEAD_SLAB_SERIES) {
            atomic_store_explicit(&d->slabs[slab], &head_slab_gone, memory_order_relaxed);
        } else if (!d || slot_ensure(p) != TSDB_OK) {
            return TSDB_NOMEM;
        } else {
            memset(head_hot(p, *count), 0, (to - *count) * sizeof(struct head_series));
            for (uint32_t i = *count; i < to; i++) {
                bundle_init(p, i);
            }
        }
        *count = to;
    }
    struct index_mem *index = head_own_index(p);
    return end > index_mem_ids_end(index) ? index_mem_ids_skip(index, end) : TSDB_OK;
}

static void series_init(struct head_series *s)
{
    memset(s, 0, sizeof *s);
    atomic_init(&s->tail, 0);
    head_last_ms_set(s, INT64_MIN);
    atomic_init(&s->last_bits, 0);
    s->wal_epoch = HEAD_EPOCH_NONE;
    s->generation = HEAD_GENERATION_FIRST;
}

static struct head_sides *sides_ensure(struct head_bundle *b)
{
    struct head_sides *sides =
        atomic_load_explicit(&b->sides, memory_order_relaxed); /* own store */
    if (!sides) {
        sides = tsdb_mem_alloc_zero(HEAD_CATEGORY, sizeof *sides);
        atomic_store_explicit(&b->sides, sides, memory_order_release); /* partner: head_side */
    }
    return sides;
}

struct head_side *head_side_ensure(struct head_partition *p, uint32_t local)
{
    struct head_side *side = head_side(p, local);
    struct head_sides *sides = side ? NULL : sides_ensure(head_bundle(p, local));
    if (sides) {
        side = tsdb_mem_alloc_zero(HEAD_CATEGORY, sizeof *side);
        /* Partner: head_side. */
        atomic_store_explicit(&sides->of[head_bundle_bit(local)], side, memory_order_release);
    }
    return side;
}

enum tsdb_status head_series_create(struct head_partition *p, const struct tsdb_labels *labels,
                                    uint64_t hash, uint32_t *out_local, struct tsdb_error *err)
{
    enum tsdb_status status = slot_ensure(p);
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "partition %u: no memory for a series", p->id);
    }
    struct head_series *s = head_hot(p, p->front.series_count);
    series_init(s);
    bundle_init(p, p->front.series_count);
    uint32_t local = 0;
    status = index_mem_add(head_own_index(p), labels, hash, &local, err);
    if (status != TSDB_OK) {
        return status;
    }
    TSDB_ASSERT(local == p->front.series_count);
    p->front.series_count++;
    head_count(&p->front.counters.series_created, 1);
    *out_local = local;
    return TSDB_OK;
}

enum tsdb_status head_series_find_or_create(struct head_partition *p,
                                            const struct tsdb_labels *labels, uint64_t hash,
                                            uint32_t *out_local, bool *out_created,
                                            struct tsdb_error *err)
{
    uint32_t local = index_mem_find(head_own_index(p), labels, hash);
    if (local != UINT32_MAX) {
        *out_local = local;
        *out_created = false;
        return TSDB_OK;
    }
    enum tsdb_status status = head_series_create(p, labels, hash, out_local, err);
    if (status == TSDB_OK) {
        *out_created = true;
    }
    return status;
}

void head_series_find_prefetch(const struct head_partition *p, uint64_t hash)
{
    index_mem_find_prefetch(head_own_index(p), hash);
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
    *out_ms = head_last_ms(s);
    return true;
}

bool head_wal_base(const struct head_partition *p, uint32_t local, uint64_t epoch,
                   uint64_t *out_bits)
{
    TSDB_ASSERT((uint32_t)epoch != HEAD_EPOCH_NONE);
    const struct head_series *s = head_hot(p, local);
    if (s->wal_epoch != (uint32_t)epoch) {
        return false;
    }
    *out_bits = head_last_bits(s);
    return true;
}

bool head_wal_logged(struct head_partition *p, uint32_t local, uint64_t epoch, uint64_t bits)
{
    TSDB_ASSERT(local < p->front.series_count);
    TSDB_ASSERT((uint32_t)epoch != HEAD_EPOCH_NONE);
    return head_logged(head_hot(p, local), epoch, bits);
}

bool head_labels_logged(const struct head_partition *p, uint32_t local)
{
    return head_hot(p, local)->flags & HEAD_SERIES_LABELS_LOGGED;
}

void head_labels_logged_set(struct head_partition *p, uint32_t local)
{
    TSDB_ASSERT(local < p->front.series_count);
    head_hot(p, local)->flags |= HEAD_SERIES_LABELS_LOGGED;
}
