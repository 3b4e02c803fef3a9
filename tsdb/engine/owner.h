/* Owners: the one thread that changes a partition.
 *
 * owner_step drains batches from its ring, and for each: per run of one partition prefetches, finds
 * or creates new series, checks bounds and duplicates, appends, encodes WAL frames of what was
 * accepted (SERIES frame first), raises the partition's write sequence and log sequence; then hands
 * the batch to the log, or completes it if it needs none.
 *
 * It takes a WAL credit before it starts on a batch; without one it leaves the rest for the next
 * step (kept in its backlog). A batch whose accepted samples were all there already passes through
 * the log with an empty frame, behind the copies that it repeats. Running out of memory ends the
 * batch with NOMEM; what was applied until then is logged all the same. With a read-only log every
 * batch answers READ_ONLY and nothing is applied.
 */
#ifndef TSDB_ENGINE_OWNER_H
#define TSDB_ENGINE_OWNER_H

#include "base/ring.h"
#include "tsdb/engine/alias.h"
#include "tsdb/head/head.h"
#include "wal/wal.h"

/* Per partition, owned by its owner. Sequences are atomic so that the checkpoint and stats may
 * look. */
struct owner_partition {
    struct head_partition *head;
    _Atomic(uint64_t) write_seq; /* last applied */
    uint64_t log_seq;            /* last logged frame */
    uint64_t epoch; /* current packing epoch of this partition; moves when the log's epoch or a
                       checkpoint says so */
    uint64_t wal_epoch_seen;
};
struct owner {
    uint32_t index;
    struct tsdb_ring ring;
    struct wal *wal; /* NULL until recovery is done */
    struct alias_table *aliases;
    struct owner_partition *partitions; /* all 64; this owner touches only its own range */
    uint32_t partition_begin, partition_end;
    const struct tsdb_options *options;
    struct tsdb_clock clock;
    _Atomic(uint64_t) *series_total; /* over all partitions, for series_max */
    /* A checkpoint asks for a mark: the owner bumps every partition's epoch and records the
     * sequences here. */
    _Atomic(uint32_t) mark_requested, mark_done;
    struct owner_mark {
        uint64_t write_seq, log_seq, epoch;
    } marks[TSDB_PARTITIONS];
    void *backlog[64];
    uint32_t backlog_begin, backlog_count;
    _Atomic(struct head_sealed *) mailbox; /* chunks that are in files now: from the sealer */
    /* Work over all series, done in slices between batches. `argument` is written before
     * `requested` rises (release); the rest is the owner's, `done` follows (release). */
    struct owner_job {
        _Atomic(uint32_t) requested, done;
        _Atomic(uint64_t) argument;
        uint32_t running; /* the request being worked on */
        uint64_t value;   /* its argument */
        uint32_t partition, local;
        bool active;
    } seal, sweep;
};
size_t owner_step(struct owner *o, int64_t now_ns);
/* Apply what is in the mailbox. owner_step does; also the end of the process, when no owner runs.
 */
size_t owner_mailbox_apply(struct owner *o);
/* Any thread: put a chunk into the mailbox (head_sealed_swap). */
void owner_mailbox_push(struct owner *o, struct head_sealed *item);
/* Ask the owner to seal what it has open of windows that begin before before_ms, or to drop chunks
 * that are in blocks of every view up to `view`. owner_step works on it; the calls of _done say
 * whether the last request is finished. One thread at a time. */
void owner_seal_request(struct owner *o, int64_t before_ms);
bool owner_seal_done(const struct owner *o);
void owner_sweep_request(struct owner *o, uint64_t view);
bool owner_sweep_done(const struct owner *o);
/* Ask for the mark; owner_step answers (mark_done catches up with mark_requested). Any one thread
 * at a time. */
void owner_mark_request(struct owner *o);

#endif
