/* Writes as the ingest layer builds them (tsdb/batch_build.h), for tests that have an alias table and
 * owners but no database: look-up by canonical bytes, and series that several samples share. */
#ifndef TESTS_UNIT_TSDB_BUILDER_H
#define TESTS_UNIT_TSDB_BUILDER_H

#include "base/assert.h"
#include "tsdb/batch_build.h"
#include "tsdb/engine/alias.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUILDER_LABELS_MAX 8u

struct builder {
    struct tsdb_epoch *epoch;
    struct alias_table *aliases;
    const struct tsdb_hash_key *key;
    const uint8_t *owner_of; /* NULL: all to owner 0 */
    enum tsdb_durability durability;
    struct tsdb_batch_build build;
    struct tsdb_arena arena;
    struct tsdb_write write;
    struct tsdb_label exemplar_label;
    uint32_t done;
    bool used;
};

static inline void builder_done(struct tsdb_write *w)
{
    struct builder *b = w->done_arg;
    b->done++;
}

static inline void builder_deinit(struct builder *b)
{
    if (b->used) {
        tsdb_arena_deinit(&b->arena);
        b->used = false;
    }
}

/* Ready for a new write; after it was done. */
static inline void builder_reset(struct builder *b)
{
    static const uint8_t owner_0[TSDB_PARTITIONS];
    builder_deinit(b);
    tsdb_arena_init(&b->arena, TSDB_MEM_OTHER, 1u << 18, NULL);
    tsdb_build_init(&b->build, &b->arena, b->key, b->owner_of ? b->owner_of : owner_0);
    memset(&b->write, 0, sizeof b->write);
    b->write.done = builder_done;
    b->write.done_arg = b;
    b->done = 0;
    b->used = true;
}

/* labels: canonical; copied. */
static inline struct tsdb_build_target builder_target(struct builder *b,
                                                      const struct tsdb_labels *labels)
{
    uint8_t bytes[1024];
    TSDB_ASSERT(tsdb_labels_encoded_bytes(labels) <= sizeof bytes);
    TSDB_ASSERT(labels->count <= BUILDER_LABELS_MAX);
    struct tsdb_hash128 alias = tsdb_hash128(b->key, bytes, tsdb_labels_encode(labels, bytes));
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(b->epoch, &guard);
    struct tsdb_alias_hit hit = alias_find(b->aliases, alias);
    tsdb_epoch_exit(b->epoch, &guard);
    if (hit.ref != TSDB_SERIES_NEW) {
        return tsdb_build_known(hit);
    }
    for (uint32_t i = 0; i < b->build.new_count; i++) {
        const struct tsdb_new_series *ns = &b->build.new_series[i];
        if (tsdb_labels_equal(&ns->labels, labels)) {
            return (struct tsdb_build_target){
                .series = TSDB_SERIES_NEW, .aux = i, .partition = ns->partition};
        }
    }
    struct tsdb_label *items = TSDB_ARENA_ARRAY(&b->arena, struct tsdb_label, BUILDER_LABELS_MAX);
    TSDB_ASSERT(items);
    memcpy(items, labels->items, labels->count * sizeof *items);
    struct tsdb_build_target target;
    struct tsdb_labels copy = {items, labels->count};
    TSDB_ASSERT(tsdb_build_new(&b->build, copy, alias, &target) == TSDB_OK);
    return target;
}

static inline void builder_add(struct builder *b, const struct tsdb_labels *labels, int64_t t_ms,
                               enum tsdb_sample_kind kind, uint64_t value, int64_t start_ms)
{
    struct tsdb_build_target target = builder_target(b, labels);
    TSDB_ASSERT(tsdb_build_reserve(&b->build, 1) == TSDB_OK);
    tsdb_build_add(&b->build, &target, kind, t_ms, value);
    if (start_ms != 0) {
        TSDB_ASSERT(tsdb_build_start(&b->build, start_ms) == TSDB_OK);
    }
}

static inline void builder_add_float(struct builder *b, const struct tsdb_labels *labels,
                                     int64_t t_ms, uint64_t bits)
{
    builder_add(b, labels, t_ms, TSDB_SAMPLE_FLOAT, bits, 0);
}

static inline void builder_add_exemplar(struct builder *b, const struct tsdb_labels *labels,
                                        int64_t t_ms, uint64_t bits)
{
    struct tsdb_build_target target = builder_target(b, labels);
    b->exemplar_label = tsdb_label_make("trace_id", "0123456789abcdef");
    struct tsdb_exemplar x = {.labels = {&b->exemplar_label, 1}, .bits = bits, .t_ms = t_ms};
    TSDB_ASSERT(tsdb_build_exemplar(&b->build, &target, &x) == TSDB_OK);
}

static inline void builder_finish(struct builder *b)
{
    TSDB_ASSERT(tsdb_build_finish(&b->build, b->durability, &b->write) == TSDB_OK);
    atomic_store(&b->write.pending, b->write.batch_count);
    atomic_store(&b->write.status, TSDB_OK);
}

#endif
