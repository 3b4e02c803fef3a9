/* Builds writes as the ingest layer does: alias look-up, entries sorted by partition, one batch per
 * owner. */
#ifndef TESTS_UNIT_TSDB_BUILDER_H
#define TESTS_UNIT_TSDB_BUILDER_H

#include "base/assert.h"
#include "tsdb/engine/alias.h"
#include "tsdb/tsdb.h"

#include <stdio.h>
#include <stdlib.h>

#define BUILDER_ENTRIES   4096u
#define BUILDER_EXEMPLARS 64u

struct builder_series { /* one that the alias table did not know */
    struct tsdb_label items[8];
    uint32_t aux;
    uint64_t hash;
};
struct builder {
    struct tsdb_epoch *epoch;
    struct alias_table *aliases;
    const struct tsdb_hash_key *key;
    const uint8_t *owner_of; /* NULL: all to owner 0 */
    enum tsdb_durability durability;
    struct tsdb_write write;
    struct tsdb_entry entries[BUILDER_ENTRIES];
    int64_t starts[BUILDER_ENTRIES];
    struct tsdb_new_series new_series[BUILDER_ENTRIES];
    struct tsdb_label labels[BUILDER_ENTRIES][8];
    struct tsdb_write_exemplar exemplars[BUILDER_EXEMPLARS];
    struct tsdb_label exemplar_label;
    uint8_t *wal[TSDB_OWNERS_MAX];
    uint32_t done;
};

static inline void builder_done(struct tsdb_write *w)
{
    struct builder *b = w->done_arg;
    b->done++;
}

/* Ready for a new write; after it was done. */
static inline void builder_reset(struct builder *b)
{
    for (uint32_t i = 0; i < TSDB_OWNERS_MAX; i++) {
        free(b->wal[i]);
        b->wal[i] = NULL;
    }
    memset(&b->write, 0, sizeof b->write);
    b->done = 0;
    b->write.done = builder_done;
    b->write.done_arg = b;
    b->write.entries = b->entries;
    b->write.starts = b->starts;
    b->write.new_series = b->new_series;
    b->write.exemplars = b->exemplars;
}

/* The series' ref, or TSDB_SERIES_NEW and its place in new_series. labels: canonical. */
static inline tsdb_series_ref builder_look_up(struct builder *b, const struct tsdb_labels *labels,
                                              uint32_t *out_generation, uint32_t *out_aux,
                                              uint8_t *out_partition)
{
    uint64_t hash = tsdb_labels_hash(b->key, labels);
    uint8_t bytes[1024];
    TSDB_ASSERT(tsdb_labels_encoded_bytes(labels) <= sizeof bytes && labels->count <= 8);
    struct tsdb_hash128 alias = tsdb_hash128(b->key, bytes, tsdb_labels_encode(labels, bytes));
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(b->epoch, &guard);
    struct tsdb_alias_hit hit = alias_find(b->aliases, alias);
    tsdb_epoch_exit(b->epoch, &guard);
    *out_partition = (uint8_t)(hash >> 58);
    *out_generation = hit.generation;
    *out_aux = 0;
    if (hit.ref != TSDB_SERIES_NEW) {
        return hit.ref;
    }
    for (uint32_t i = 0; i < b->write.new_series_count; i++) {
        if (b->new_series[i].hash == hash) {
            *out_aux = i;
            return TSDB_SERIES_NEW;
        }
    }
    uint32_t aux = b->write.new_series_count++;
    TSDB_ASSERT(aux < BUILDER_ENTRIES);
    memcpy(b->labels[aux], labels->items, labels->count * sizeof labels->items[0]);
    b->new_series[aux] = (struct tsdb_new_series){.labels = {b->labels[aux], labels->count},
                                                  .hash = hash,
                                                  .alias = alias,
                                                  .ref = TSDB_SERIES_NEW};
    *out_aux = aux;
    return TSDB_SERIES_NEW;
}

static inline struct tsdb_entry *builder_add(struct builder *b, const struct tsdb_labels *labels,
                                             int64_t t_ms, enum tsdb_sample_kind kind,
                                             uint64_t value, int64_t start_ms)
{
    uint32_t i = b->write.entry_count++;
    TSDB_ASSERT(i < BUILDER_ENTRIES);
    struct tsdb_entry *e = &b->entries[i];
    memset(e, 0, sizeof *e);
    e->t_ms = t_ms;
    e->value = value;
    e->kind = (uint8_t)kind;
    e->series = builder_look_up(b, labels, &e->generation, &e->aux, &e->partition);
    b->starts[i] = start_ms;
    e->flags = start_ms ? TSDB_ENTRY_HAS_START : 0;
    return e;
}

static inline void builder_add_float(struct builder *b, const struct tsdb_labels *labels,
                                     int64_t t_ms, uint64_t bits)
{
    builder_add(b, labels, t_ms, TSDB_SAMPLE_FLOAT, bits, 0);
}

static inline void builder_add_exemplar(struct builder *b, const struct tsdb_labels *labels,
                                        int64_t t_ms, uint64_t bits)
{
    uint32_t i = b->write.exemplar_count++;
    TSDB_ASSERT(i < BUILDER_EXEMPLARS);
    struct tsdb_write_exemplar *x = &b->exemplars[i];
    uint32_t generation;
    b->exemplar_label = tsdb_label_make("trace_id", "0123456789abcdef");
    *x = (struct tsdb_write_exemplar){
        .exemplar = {.labels = {&b->exemplar_label, 1}, .bits = bits, .t_ms = t_ms}};
    x->series = builder_look_up(b, labels, &generation, &x->aux, &x->partition);
}

/* Stable insertion sort by partition, starts along; then a batch per owner. */
static inline void builder_finish(struct builder *b)
{
    struct tsdb_write *w = &b->write;
    for (uint32_t i = 1; i < w->entry_count; i++) {
        struct tsdb_entry e = b->entries[i];
        int64_t start = b->starts[i];
        uint32_t at = i;
        for (; at > 0 && b->entries[at - 1].partition > e.partition; at--) {
            b->entries[at] = b->entries[at - 1];
            b->starts[at] = b->starts[at - 1];
        }
        b->entries[at] = e;
        b->starts[at] = start;
    }
    for (uint32_t i = 1; i < w->exemplar_count; i++) {
        struct tsdb_write_exemplar x = b->exemplars[i];
        uint32_t at = i;
        for (; at > 0 && b->exemplars[at - 1].partition > x.partition; at--) {
            b->exemplars[at] = b->exemplars[at - 1];
        }
        b->exemplars[at] = x;
    }
    uint32_t i = 0;
    uint32_t x = 0;
    while (i < w->entry_count || x < w->exemplar_count) {
        struct tsdb_batch *batch = &w->batches[w->batch_count];
        uint32_t partition = i < w->entry_count ? b->entries[i].partition : UINT32_MAX;
        if (x < w->exemplar_count && b->exemplars[x].partition < partition) {
            partition = b->exemplars[x].partition;
        }
        uint32_t owner = b->owner_of ? b->owner_of[partition] : 0;
        *batch = (struct tsdb_batch){.write = w,
                                     .owner = owner,
                                     .entry_begin = i,
                                     .exemplar_begin = x,
                                     .durability = b->durability};
        while (i < w->entry_count &&
               (b->owner_of ? b->owner_of[b->entries[i].partition] : 0) == owner) {
            i++;
        }
        while (x < w->exemplar_count &&
               (b->owner_of ? b->owner_of[b->exemplars[x].partition] : 0) == owner) {
            x++;
        }
        batch->entry_end = i;
        batch->exemplar_end = x;
        size_t bytes = tsdb_batch_wal_bytes_max(w, batch);
        b->wal[w->batch_count] = malloc(bytes);
        TSDB_ASSERT(b->wal[w->batch_count]);
        batch->wal_bytes = b->wal[w->batch_count];
        batch->wal_cap = (uint32_t)bytes;
        w->batch_count++;
    }
    atomic_store(&w->pending, w->batch_count);
    atomic_store(&w->status, TSDB_OK);
}

#endif
