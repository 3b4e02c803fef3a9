/* What the files of recovery share: the worker pool and the replay state of a partition. */
#ifndef TSDB_RECOVERY_RECOVERY_PRIVATE_H
#define TSDB_RECOVERY_RECOVERY_PRIVATE_H

#include "tsdb/recovery/damage.h"
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

/* ---- lanes: windows of items, each item of a partition ---- */
/* Items of one partition are applied in the order of the windows, by one worker at a time; those of others meanwhile,
 * in whatever windows they lie. So nobody waits for the end of a window but who wants to overwrite it. */
#define RECOVERY_LANE_WINDOWS_MAX 16u
/* Apply what the window has of the partition. */
typedef void (*recovery_lane_fn)(void *arg, uint32_t window, uint32_t partition);
struct recovery_lanes;
enum tsdb_status recovery_lanes_create(uint32_t window_count, recovery_lane_fn fn, void *arg,
                                       struct recovery_lanes **out,
                                       struct tsdb_error *err) TSDB_WUR;
void recovery_lanes_destroy(struct recovery_lanes *l); /* nothing is left to do, or NULL */
/* One thread gives the windows, in the order 0, 1, .. and again, some of them not at all; each is done with before it is
 * given again. */
void recovery_lanes_put(struct recovery_lanes *l, uint32_t window, uint64_t partitions);
/* Work until the window is done with. */
void recovery_lanes_wait(struct recovery_lanes *l, uint32_t window);
/* No window comes any more; all have been waited for. */
void recovery_lanes_close(struct recovery_lanes *l);
/* Any thread: work until they are closed. */
void recovery_lanes_work(struct recovery_lanes *l);

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

/* ---- what floats of the log are packed against, where the head does not have it ---- */
/* Of series whose last float in the log is not the newest of their open stream: it came late, or the head had
 * newer ones already. */
struct replay_apart {
    struct replay_map at; /* the head's id -> place in bases */
    struct replay_base {
        uint64_t decode_epoch;
        uint64_t bits;
    } * bases;
    uint32_t cap;
};

/* ---- which ids are believed ---- */
/* All but those that were flipped, or none but those. */
struct replay_doubt {
    bool believe;
    uint64_t *bits; /* of those that were flipped */
    uint32_t words;
};
static inline bool replay_believed(const struct replay_doubt *d, uint32_t local)
{
    bool flipped = local / 64 < d->words && (d->bits[local / 64] >> local % 64 & 1) != 0;
    return d->believe != flipped;
}
enum tsdb_status replay_doubt_flip(struct replay_doubt *d, uint32_t local) TSDB_WUR;
void replay_doubt_deinit(struct replay_doubt *d); /* d->believe stays */

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
    struct replay_apart apart;
    struct replay_doubt doubt; /* of ids below identity */
    uint32_t base;             /* index of the checkpoint that it was loaded from */
    bool salvaged;             /* from what is whole of several */
    uint64_t from;             /* the first segment of the log that it needs */
    uint64_t named;            /* series that checkpoint and series.log name the same */
    uint64_t lost_series, lost_series_samples;
    uint64_t lost_ranges, lost_range_bytes, lost_range_series;
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

/* ---- series from files (series.c) ---- */
/* Decoded in groups: what the look-up of each reads first is on its way to the caches while others are decoded. */
#define RECOVERY_GROUP_SERIES 16u
#define RECOVERY_GROUP_LIKE   64u
struct recovery_series {
    uint32_t stored; /* the id that it has in the file */
    struct tsdb_labels labels;
    uint64_t hash;
};
struct recovery_group {
    uint32_t count, label_count;
    struct recovery_series series[RECOVERY_GROUP_SERIES];
    struct tsdb_labels like; /* those before, to compare with */
    struct tsdb_label like_items[RECOVERY_GROUP_LIKE];
    struct tsdb_label items[TSDB_LABELS_MAX];
};
/* No series, and none before. */
void recovery_group_init(struct recovery_group *g);
/* Decode canonical labels, which borrow from `bytes` until the group is empty, and longer: the next ones are
 * compared with them (or recovery_group_init comes first). Checks that they belong to the partition.
 * Returns OK; LIMIT: the group is full, take what it has first; CORRUPT. */
enum tsdb_status recovery_group_add(struct recovery_group *g, const struct replay_partition *p,
                                    uint32_t stored, struct tsdb_slice bytes,
                                    struct tsdb_error *err) TSDB_WUR;
/* What it has was taken. */
void recovery_group_clear(struct recovery_group *g);
/* The head's id of one of them, which is made if it is not there. NOMEM, LIMIT. */
enum tsdb_status recovery_series_take(struct head_partition *head, const struct recovery_series *s,
                                      uint32_t *out_local, struct tsdb_error *err) TSDB_WUR;

/* ---- a run ---- */
#define RECOVERY_BASES_MAX    4u
#define RECOVERY_LEFT_OUT_MAX RECOVERY_ASIDE_MAX
/* Of one partition: replaced blocks of samples wait no longer than this. */
#define RECOVERY_RECLAIM_BYTES_MIN (64u << 10)

/* A checkpoint that can be opened. */
struct recovery_base {
    struct checkpoint_reader *reader;
    struct checkpoint_info info;
    bool exact;                /* series.log has its mark: ids mean what they meant */
    _Atomic(uint32_t) damaged; /* partitions with damaged pages */
};

struct recovery_run {
    const struct recovery *r;
    struct recovery_result *result;
    struct recovery_pool *pool;
    struct recovery_base bases[RECOVERY_BASES_MAX]; /* newest first; once ranked the best first */
    uint32_t base_count;
    _Atomic(uint32_t) base_next;              /* partition that is loaded next */
    uint64_t left_out[RECOVERY_LEFT_OUT_MAX]; /* numbers of those that go to quarantine/ */
    uint32_t left_out_count;
    uint64_t head_file_next; /* of all checkpoints that were read */
    struct replay_partition partitions[TSDB_PARTITIONS];
    struct recovery_lanes *lanes; /* of series.log */
    const struct series_log_window *windows[SERIES_LOG_WINDOWS_MAX];
    _Atomic(bool) failed; /* one of the partitions has */
    struct wal_replay *replay;
    struct wal_segment_view view;        /* being applied */
    uint32_t frame_from, frame_to;       /* of its frames */
    struct recovery_frames {             /* those, by partition */
        uint32_t first[TSDB_PARTITIONS]; /* UINT32_MAX: none */
        uint32_t *next;                  /* [frame_to - frame_from] */
        uint32_t cap;
        _Atomic(uint32_t) partition_next; /* that is taken next */
    } frames;
    struct recovery_ahead {  /* the view behind it */
        _Atomic(bool) taken; /* somebody reads it, or has */
        struct wal_segment_view view;
        enum tsdb_status status;
        struct tsdb_error err;
    } ahead;
};
bool recovery_cancelled(const struct recovery_run *run);
/* For who asks how far it is. */
void recovery_step_begin(struct recovery_run *run, enum recovery_step step, uint64_t total);
void recovery_step_done(struct recovery_run *run, uint64_t more);

/* bases.c, in this order */
enum tsdb_status recovery_bases_open(struct recovery_run *run, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status recovery_bases_rank(struct recovery_run *run, struct tsdb_error *err) TSDB_WUR;
void recovery_bases_load(void *run, uint32_t worker);
enum tsdb_status recovery_bases_settle(struct recovery_run *run, struct tsdb_error *err) TSDB_WUR;
void recovery_bases_close(struct recovery_run *run);

#endif
