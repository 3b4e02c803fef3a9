/* A batch being applied: what apply.c and apply_labels.c share, and owner.c calls. Threads: the
 * owner. */
#ifndef TSDB_ENGINE_APPLY_PRIVATE_H
#define TSDB_ENGINE_APPLY_PRIVATE_H

#include "tsdb/engine/owner.h"
#include "tsdb/tsdb.h"
#include "wal/record.h"

struct apply {
    struct owner *owner;
    struct tsdb_batch *batch;
    struct tsdb_write *write;
    struct tsdb_write_result *result;
    /* of the current run */
    uint32_t partition_id;
    struct partition *partition; /* NULL: none yet */
    struct head_partition *head;
    struct head_front *front;
    bool changed; /* the run changed its partition */

    bool log;
    bool log_duplicates; /* memory mode: what is there already may never have been logged */
    bool duplicates;     /* the batch had exact duplicates */
    bool memory_full;    /* no new series */
    enum tsdb_status failure;
    int64_t min_ms, max_ms;        /* bounds for samples */
    int64_t least_ms, greatest_ms; /* of the samples appended; INT64_MAX, INT64_MIN: none */
    struct wal_encoder encoder;    /* last: apply_init clears what stands before it */
};

/* Apply the batch and pass it on: to the log, or to whoever waits. The caller holds a WAL credit if
 * the batch is to be logged. */
void owner_batch_apply(struct owner *o, struct tsdb_batch *b);
/* Memory mode, before the batch is applied: log the labels that the log lacks for it, as a write of
 * our own. The caller holds a credit for that; *out_used says whether it was spent. NOMEM. */
enum tsdb_status owner_labels_log(struct owner *o, const struct tsdb_batch *b,
                                  bool *out_used) TSDB_WUR;

void apply_init(struct apply *a, struct owner *o, struct tsdb_batch *b);
/* Go to a partition: its epoch follows the log's. */
void apply_run_begin(struct apply *a, uint32_t partition);
/* The run's group being written: begun if there is none, with the time of its first item; ended if
 * there is one. */
void apply_group_ensure(struct apply *a, enum wal_record_type type, int64_t t_ms);
void apply_group_end(struct apply *a);
/* The batch's frame with all its groups, if there is one. */
void apply_frame_end(struct apply *a);

#endif
