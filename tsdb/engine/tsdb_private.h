/* `struct tsdb`: what the files of this room share. Included by tsdb/engine and tests only.
 *
 * Who defines what of tsdb.h:
 *   db.c             tsdb_options_default, tsdb_open, _close, _abandon, _state, _replay_progress,
 *                    _hash_key, _owner_count, _owner_of, _durability; the owner, seal and wal steps
 *   write.c          tsdb_alias_*, tsdb_series_prefetch, tsdb_batch_wal_bytes_max,
 *                    tsdb_write_submit
 *   metadata.c       tsdb_metadata_*
 *   querier.c        tsdb_querier_*, tsdb_series_labels, tsdb_series_read
 *   select.c         tsdb_select
 *   series_walk.c    tsdb_series_list, tsdb_series_walk_*
 *   label_strings.c  tsdb_label_names, tsdb_label_values
 *   count.c          tsdb_series_count
 *   exemplars.c      tsdb_exemplars
 *   cardinality.c    tsdb_cardinality_read
 *   series_limits.c  tsdb_refused_series_list, tsdb_series_limit_text
 *   checkpointing.c  tsdb_checkpoint, tsdb_checkpoint_step
 *   block_work.c     tsdb_flush, tsdb_flush_step, tsdb_compact_step
 *   retention.c      tsdb_retention_step
 *   rules.c          tsdb_retention_rules_set
 *   deletes.c        tsdb_delete_series, _clean_tombstones, _compact, _deletes_list
 *   snapshot.c       tsdb_snapshot
 *   stamp.c          tsdb_stamp_take, tsdb_unchanged_since; the same for lists of labels
 *   stats.c          tsdb_stats_read
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
struct series_limits;
struct db_life; /* db_private.h: threads, lock file, recovery, checkpoint and flush state */

struct tsdb {
    struct tsdb_options options; /* with every 0 replaced by its default */
    struct tsdb_hash_key hash_key;
    struct tsdb_epoch *epoch;
    struct head_partition *heads[TSDB_PARTITIONS];
    struct partition partitions[TSDB_PARTITIONS]; /* .head = heads[i] */
    struct owner *owners; /* [owner_count]; on a cache line, as struct tsdb_ring asks */
    uint32_t owner_count;
    uint8_t owner_of[TSDB_PARTITIONS];
    struct alias_table *aliases;
    struct metadata_table *metadata;       /* has its own lock */
    struct series_limits *series_limits;   /* likewise */
    struct head_exemplar_store *exemplars; /* of all heads; has its own lock */
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

/* entries_max, bytes_max: beyond, what was told of longest ago goes. key and clock outlive the
 * table. */
enum tsdb_status metadata_table_create(const struct tsdb_hash_key *key,
                                       const struct tsdb_clock *clock, uint32_t entries_max,
                                       uint64_t bytes_max, struct metadata_table **out) TSDB_WUR;
void metadata_table_destroy(struct metadata_table *t); /* NULL is fine */
#define METADATA_ENTRIES_MAX 65536u /* metric families; a large fleet has some ten thousand */
#define METADATA_BYTES_MAX   (32u << 20)

#endif
