/* `struct tsdb`: what the files of this folder share. Included by tsdb/ and its tests only.
 *
 * Who defines what of tsdb.h:
 *   db.c        options, open/close/abandon, state, steps, threads, stats, tsdb_hash_key,
 * tsdb_owner_count, tsdb_owner_of, tsdb_durability, tsdb_checkpoint; owns `life` write.c
 * tsdb_alias_*, tsdb_series_prefetch, tsdb_batch_wal_bytes_max, tsdb_write_submit metadata.c
 * tsdb_metadata_* select.c    tsdb_querier_*, tsdb_select, tsdb_series_*, tsdb_label_*,
 * tsdb_exemplars
 *
 * Zones: everything is immutable once `state` has left RECOVERING, except what says otherwise.
 * Recovery publishes by storing `state` (release); every call of another thread loads it (acquire)
 * before it touches anything else.
 */
#ifndef TSDB_ENGINE_TSDB_PRIVATE_H
#define TSDB_ENGINE_TSDB_PRIVATE_H

#include "base/epoch.h"
#include "base/mutex.h"
#include "tsdb/block/blocks.h"
#include "tsdb/engine/alias.h"
#include "tsdb/engine/owner.h"
#include "tsdb/engine/sealer.h"
#include "tsdb/head/head.h"
#include "tsdb/tsdb.h"
#include "wal/wal.h"

struct metadata_table;
struct db_life; /* db.c: threads, lock file, recovery, checkpoint and retention state */

struct tsdb {
    struct tsdb_options options; /* with every 0 replaced by its default */
    struct tsdb_hash_key hash_key;
    struct tsdb_epoch *epoch;
    struct head_partition *heads[TSDB_PARTITIONS];
    struct partition partitions[TSDB_PARTITIONS]; /* .head = heads[i] */
    struct owner
        *owners; /* [owner_count], aligned to a cache line (struct tsdb_ring asks for it) */
    uint32_t owner_count;
    uint8_t owner_of[TSDB_PARTITIONS];
    struct alias_table *aliases;
    struct metadata_table *metadata; /* has its own lock */
    struct cache_l2 *cache_l2;
    struct head_files *head_files;
    struct sealer *sealer;
    struct blocks blocks;
    struct wal *wal;         /* NULL while recovering */
    _Atomic(uint32_t) state; /* enum tsdb_state */
    _Atomic(uint64_t) series_total;
    _Atomic(uint64_t) ring_full;    /* submits refused because a ring had no room */
    _Atomic(uint64_t) alias_misses; /* series of writes that came without a ref */
    struct db_life *life;
};

/* entries_max, bytes_max: beyond, put answers LIMIT. key outlives the table. */
enum tsdb_status metadata_table_create(const struct tsdb_hash_key *key, uint32_t entries_max,
                                       uint64_t bytes_max, struct metadata_table **out) TSDB_WUR;
void metadata_table_destroy(struct metadata_table *t); /* NULL is fine */
#define METADATA_ENTRIES_MAX 65536u /* metric families; a large fleet has some ten thousand */
#define METADATA_BYTES_MAX   (32u << 20)

#endif
