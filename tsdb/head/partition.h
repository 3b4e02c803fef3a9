/* A partition as the engine has it: its head, and how far its write and log sequences have come.
 *
 * Owned by its owner thread; recovery sets it up before that runs. Sequences are atomic where the
 * checkpoint and stats look. */
#ifndef TSDB_HEAD_PARTITION_H
#define TSDB_HEAD_PARTITION_H

#include <stdatomic.h>
#include <stdint.h>

struct head_partition;
struct partition {
    struct head_partition *head;
    _Atomic(uint64_t) write_seq; /* last applied */
    uint64_t log_seq;            /* last logged frame */
    uint64_t epoch;              /* of packing; moves when the log's does or a mark is taken */
    uint64_t wal_epoch_seen;
};

/* Where a partition stood when a checkpoint asked: frames after it belong to the new epoch. */
struct partition_mark {
    uint64_t write_seq, log_seq, epoch;
};

#endif
