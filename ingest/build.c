/* From decoded series to a write: entries, new series, batches. */
#include "base/assert.h"
#include "ingest/histogram_wire.h"
#include "ingest/ingest_private.h"

#include <string.h>

void ingest_build_reset(struct ingest_request *r)
{
    tsdb_arena_reset(&r->arena);
    r->entries = NULL;
    r->starts = NULL;
    r->entry_count = r->entry_cap = 0;
    r->new_series = NULL;
    r->new_count = r->new_cap = 0;
    r->exemplars = NULL;
    r->exemplar_count = r->exemplar_cap = 0;
    memset(r->per_partition, 0, sizeof r->per_partition);
    r->hits = r->misses = r->metadata_count = 0;
    r->rejected = 0;
    tsdb_error_clear(&r->first_error);
    tsdb_error_clear(&r->error);
    r->submitted = false;
    r->status = TSDB_OK;
}

/* Grow an arena array by doubling: the old copy stays in the arena until reset, so the sum is at
 * most twice the need. */
static void *grow_array(struct ingest_request *r, const void *old, uint32_t count, uint32_t *cap,
                        uint32_t need, size_t each, uint32_t first)
{
    uint64_t want = TSDB_MAX((uint64_t)*cap * 2, (uint64_t)first);
    while (want < (uint64_t)count + need) {
        want *= 2;
    }
    if (want > UINT32_MAX) {
        return NULL;
    }
    void *p = tsdb_arena_alloc_array(&r->arena, (size_t)want, each, 32);
    if (p) {
        if (count > 0) {
            memcpy(p, old, count * each);
        }
        *cap = (uint32_t)want;
    }
    return p;
}

static enum tsdb_status arena_failure(const struct ingest_request *r)
{
    return r->arena.failure == TSDB_OK ? TSDB_NOMEM : r->arena.failure;
}

enum tsdb_status ingest_build_grow(struct ingest_request *r, uint32_t extra)
{
    struct tsdb_entry *p =
        grow_array(r, r->entries, r->entry_count, &r->entry_cap, extra, sizeof *p, 2048);
    if (!p) {
        return arena_failure(r);
    }
    r->entries = p;
    if (r->starts) {
        int64_t *s = TSDB_ARENA_ARRAY(&r->arena, int64_t, r->entry_cap);
        if (!s) {
            return arena_failure(r);
        }
        memcpy(s, r->starts, r->entry_count * sizeof *s);
        r->starts = s;
    }
    return TSDB_OK;
}

enum tsdb_status ingest_build_start(struct ingest_request *r, int64_t start_ms)
{
    TSDB_ASSERT(r->entry_count > 0);
    if (!r->starts) {
        r->starts = TSDB_ARENA_ARRAY(&r->arena, int64_t, r->entry_cap);
        if (!r->starts) {
            return arena_failure(r);
        }
    }
    r->entries[r->entry_count - 1].flags |= TSDB_ENTRY_HAS_START;
    r->starts[r->entry_count - 1] = start_ms;
    return TSDB_OK;
}

enum tsdb_status ingest_build_new(struct ingest_request *r, struct tsdb_label *items,
                                  uint32_t count, struct tsdb_hash128 alias,
                                  struct ingest_target *out, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_labels_canonicalize(items, &count, true, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (r->new_count == r->new_cap) {
        struct tsdb_new_series *p =
            grow_array(r, r->new_series, r->new_count, &r->new_cap, 1, sizeof *p, 64);
        if (!p) {
            return arena_failure(r);
        }
        r->new_series = p;
    }
    struct tsdb_new_series *n = &r->new_series[r->new_count];
    n->labels = (struct tsdb_labels){items, count};
    n->hash = tsdb_labels_hash(r->in->key, &n->labels);
    n->alias = alias;
    n->ref = TSDB_SERIES_NEW;
    n->generation = 0;
    out->series = TSDB_SERIES_NEW;
    out->generation = 0;
    out->aux = r->new_count++;
    out->partition = (uint8_t)(n->hash >> 58);
    static_assert(TSDB_PARTITIONS == 64, "the top 6 bits choose the partition");
    return TSDB_OK;
}

static enum tsdb_status add_histogram(struct ingest_request *r, const struct ingest_target *target,
                                      struct tsdb_histogram *h, int64_t t_ms, int64_t start_ms,
                                      struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_histogram_reduce(h, &r->arena);
    if (status == TSDB_OK) {
        status = tsdb_histogram_validate(h, err);
    }
    if (status == TSDB_OK) {
        status = ingest_build_reserve(r, 1);
    }
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_raw_histogram *raw = TSDB_ARENA_NEW(&r->arena, struct tsdb_raw_histogram);
    uint8_t *bytes = tsdb_arena_alloc(&r->arena, tsdb_histogram_encoded_bytes_max(h), 1);
    if (!raw || !bytes) {
        return arena_failure(r);
    }
    size_t len = tsdb_histogram_encode(h, bytes);
    if (len > TSDB_HISTOGRAM_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "histogram of %zu bytes is larger than the limit",
                              len);
    }
    raw->len = (uint32_t)len;
    raw->data = bytes;
    ingest_build_add(r, target,
                     h->is_float ? TSDB_SAMPLE_HISTOGRAM_FLOAT : TSDB_SAMPLE_HISTOGRAM_INT, t_ms,
                     (uint64_t)(uintptr_t)raw);
    return start_ms != 0 ? ingest_build_start(r, start_ms) : TSDB_OK;
}

enum tsdb_status ingest_build_histogram_wire(struct ingest_request *r,
                                             const struct ingest_target *target,
                                             struct tsdb_slice message, bool has_start,
                                             struct tsdb_error *err)
{
    struct tsdb_histogram h;
    int64_t t_ms = 0;
    int64_t start_ms = 0;
    enum tsdb_status status =
        histogram_wire_decode(message, has_start, &r->arena, &h, &t_ms, &start_ms, err);
    if (status == TSDB_OK) {
        status = add_histogram(r, target, &h, t_ms, start_ms, err);
    }
    if (status == TSDB_INVALID) {
        ingest_build_reject(r, 1, err);
        tsdb_error_clear(err);
        status = TSDB_OK;
    }
    return status;
}

enum tsdb_status ingest_build_exemplar(struct ingest_request *r, const struct ingest_target *target,
                                       const struct tsdb_exemplar *x)
{
    if (r->exemplar_count == r->exemplar_cap) {
        struct tsdb_write_exemplar *p =
            grow_array(r, r->exemplars, r->exemplar_count, &r->exemplar_cap, 1, sizeof *p, 64);
        if (!p) {
            return arena_failure(r);
        }
        r->exemplars = p;
    }
    r->exemplars[r->exemplar_count++] =
        (struct tsdb_write_exemplar){.exemplar = *x,
                                     .series = target->series,
                                     .aux = target->aux,
                                     .partition = target->partition};
    return TSDB_OK;
}

void ingest_build_reject(struct ingest_request *r, uint32_t samples, const struct tsdb_error *why)
{
    if (r->first_error.status == TSDB_OK) {
        r->first_error = *why;
    }
    r->rejected += samples;
}

/* Counting sort: stable, one pass over the counts that decoding kept. */
static enum tsdb_status sort_entries(struct ingest_request *r, uint32_t begin[TSDB_PARTITIONS + 1])
{
    uint32_t next[TSDB_PARTITIONS];
    uint32_t sum = 0;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        begin[p] = next[p] = sum;
        sum += r->per_partition[p];
    }
    begin[TSDB_PARTITIONS] = sum;
    TSDB_ASSERT(sum == r->entry_count);
    struct tsdb_entry *sorted =
        tsdb_arena_alloc_array(&r->arena, TSDB_MAX(sum, 1u), sizeof *sorted, 32);
    int64_t *starts = r->starts ? TSDB_ARENA_ARRAY(&r->arena, int64_t, TSDB_MAX(sum, 1u)) : NULL;
    if (!sorted || (r->starts && !starts)) {
        return arena_failure(r);
    }
    for (uint32_t i = 0; i < sum; i++) {
        uint32_t to = next[r->entries[i].partition]++;
        sorted[to] = r->entries[i];
        if (starts) {
            starts[to] = r->entries[i].flags & TSDB_ENTRY_HAS_START ? r->starts[i] : 0;
        }
    }
    r->entries = sorted;
    r->starts = starts;
    return TSDB_OK;
}

/* Few and rare: insertion by partition, stable. */
static void sort_exemplars(struct ingest_request *r)
{
    for (uint32_t i = 1; i < r->exemplar_count; i++) {
        struct tsdb_write_exemplar x = r->exemplars[i];
        uint32_t j = i;
        for (; j > 0 && r->exemplars[j - 1].partition > x.partition; j--) {
            r->exemplars[j] = r->exemplars[j - 1];
        }
        r->exemplars[j] = x;
    }
}

static enum tsdb_status cut_batch(struct ingest_request *r, uint32_t owner, uint32_t entry_begin,
                                  uint32_t entry_end, uint32_t exemplar_begin,
                                  uint32_t exemplar_end)
{
    struct tsdb_write *w = &r->write;
    struct tsdb_batch *b = &w->batches[w->batch_count];
    *b = (struct tsdb_batch){.write = w,
                             .owner = owner,
                             .entry_begin = entry_begin,
                             .entry_end = entry_end,
                             .exemplar_begin = exemplar_begin,
                             .exemplar_end = exemplar_end};
    b->durability = TSDB_MAX(tsdb_durability(r->in->db), r->context.durability);
    if (b->durability != TSDB_DURABILITY_MEMORY) {
        size_t cap = tsdb_batch_wal_bytes_max(w, b);
        if (cap > UINT32_MAX) {
            return TSDB_LIMIT;
        }
        b->wal_bytes = tsdb_arena_alloc(&r->arena, cap, 16);
        if (!b->wal_bytes) {
            return arena_failure(r);
        }
        b->wal_cap = (uint32_t)cap;
    }
    w->batch_count++;
    return TSDB_OK;
}

enum tsdb_status ingest_build_finish(struct ingest_request *r)
{
    uint32_t begin[TSDB_PARTITIONS + 1];
    enum tsdb_status status = sort_entries(r, begin);
    if (status != TSDB_OK) {
        return status;
    }
    sort_exemplars(r);
    struct tsdb_write *w = &r->write;
    w->request = &r->context;
    w->entries = r->entries;
    w->starts = r->starts;
    w->entry_count = r->entry_count;
    w->new_series = r->new_series;
    w->new_series_count = r->new_count;
    w->exemplars = r->exemplars;
    w->exemplar_count = r->exemplar_count;
    w->batch_count = 0;
    uint32_t p = 0;
    uint32_t x = 0;
    while (p < TSDB_PARTITIONS && status == TSDB_OK) {
        uint32_t owner = tsdb_owner_of(r->in->db, p);
        uint32_t p_end = p;
        uint32_t x_end = x;
        for (; p_end < TSDB_PARTITIONS && tsdb_owner_of(r->in->db, p_end) == owner; p_end++) {
            for (; x_end < r->exemplar_count && r->exemplars[x_end].partition == p_end; x_end++) {
            }
        }
        if (begin[p] < begin[p_end] || x < x_end) {
            status = cut_batch(r, owner, begin[p], begin[p_end], x, x_end);
        }
        p = p_end;
        x = x_end;
    }
    return status;
}
