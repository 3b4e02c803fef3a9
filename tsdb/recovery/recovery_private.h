/* What the files of recovery share: the worker pool and the replay state of a partition. */
#ifndef TSDB_RECOVERY_RECOVERY_PRIVATE_H
#define TSDB_RECOVERY_RECOVERY_PRIVATE_H

#include "tsdb/recovery/recovery.h"
#include "wal/record.h"
#include "wal/wal.h"

/* ---- workers: fn(arg, i) for every i below worker_count, then a barrier ---- */
typedef void (*recovery_work_fn)(void *arg, uint32_t worker);
struct recovery_pool;
/* Fewer threads than asked for are fine: the caller does their share. */
enum tsdb_status recovery_pool_create(uint32_t worker_count, struct recovery_pool **out,
                                      struct tsdb_error *err) TSDB_WUR;
void recovery_pool_run(struct recovery_pool *p, recovery_work_fn fn, void *arg);
void recovery_pool_destroy(struct recovery_pool *p); /* NULL is fine */

/* ---- local ids of the log to local ids of the head ---- */
/* Open addressing; holds only what differs from the identity or lies beyond it. */
struct replay_map {
    struct replay_map_entry {
        uint32_t key, value; /* key UINT32_MAX: free */
    } * entries;
    uint32_t cap, count; /* cap a power of two, or 0 */
};
uint32_t replay_map_find(const struct replay_map *m, uint32_t key); /* UINT32_MAX: not there */
enum tsdb_status replay_map_put(struct replay_map *m, uint32_t key, uint32_t value) TSDB_WUR;
void replay_map_deinit(struct replay_map *m);

/* ---- one partition under replay; touched by its worker only ---- */
struct replay_partition {
    uint32_t id;
    struct partition *partition;
    const struct tsdb_hash_key *hash_key;
    struct head_files *head_files;
    uint64_t log_seq;      /* last seen */
    uint64_t write_seq;    /* highest seen */
    uint64_t frame_epoch;  /* of the last frame */
    uint64_t decode_epoch; /* of kept bases; rises with every frame epoch and every gap */
    uint32_t identity;     /* ids below are the head's */
    struct replay_map map;
    uint64_t bytes, frames, samples, lost_frames, dropped_samples, conflicts, lost_chunks;
    uint32_t gaps;
    enum tsdb_status status; /* first failure; nothing is applied after it */
    struct tsdb_error err;
};
/* *p zeroed, or initialised before: then it keeps its map. */
void replay_partition_init(struct replay_partition *p, uint32_t id, struct partition *partition,
                           const struct tsdb_hash_key *hash_key,
                           const struct checkpoint_info *base);
void replay_partition_deinit(struct replay_partition *p);
/* The head's id of a series of the log or the checkpoint; UINT32_MAX: not known, or it has left. */
uint32_t replay_local(const struct replay_partition *p, uint32_t local);
void replay_frame(struct replay_partition *p, uint64_t segment, const struct wal_frame *frame);

/* Labels from a file into a head: decode, check that they belong to the partition, find or create.
 * CORRUPT if not. */
enum tsdb_status recovery_series(struct head_partition *head, uint32_t partition,
                                 const struct tsdb_hash_key *hash_key, struct tsdb_slice labels,
                                 uint32_t *out_local, struct tsdb_error *err) TSDB_WUR;

#endif
