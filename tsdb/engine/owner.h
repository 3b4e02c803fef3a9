/* Owners: one thread at a time changes a partition.
 *
 *   ring ──▶ backlog ──▶ owner_step: mailbox ─ a slice of each job ─ batches ──▶ wal ring, or done
 *   sealer ──▶ mailbox      others ──▶ jobs: mark, seal, sweep, drop, leave
 *
 * For each batch: per run of one partition it prefetches, finds or creates new series, checks
 * bounds and duplicates, appends, encodes WAL frames of what was accepted (SERIES frame first),
 * raises the partition's write sequence and log sequence; then it hands the batch to the log, or
 * completes it if it needs none.
 *
 * It takes a WAL credit before it starts on a batch; without one it leaves the rest for the next
 * step (kept in its backlog). A batch whose accepted samples were all there already passes through
 * the log with an empty frame, behind the copies that it repeats. Running out of memory ends the
 * batch with NOMEM; what was applied until then is logged all the same. With a read-only log every
 * batch answers READ_ONLY and nothing is applied.
 *
 * A step is a turn (base/turn.h): the owner's thread makes it, and while that sleeps, whoever waits for a write of his own
 * (owner_help).
 */
#ifndef TSDB_ENGINE_OWNER_H
#define TSDB_ENGINE_OWNER_H

#include "base/ring.h"
#include "base/turn.h"
#include "tsdb/engine/alias.h"
#include "tsdb/engine/series_limits.h"
#include "tsdb/engine/written.h"
#include "tsdb/head/head.h"
#include "tsdb/head/partition.h"
#include "wal/wal.h"

/* What others ask of an owner: work over its partitions, done in slices between batches. Each kind
 * has its argument, and its work, which the asker may read when it is done. */
enum owner_job_kind {
    OWNER_JOB_MARK = 0, /* note sequences in `marks`, begin a new packing epoch */
    OWNER_JOB_SEAL,  /* int64_t before_ms: what is open of windows that begin before it; chunks */
    OWNER_JOB_SWEEP, /* uint64_t view: chunks in the blocks of every view up to it; chunks */
    OWNER_JOB_DROP,  /* int64_t min_ms: chunks that are older; chunks */
    /* Idle series leave (head.h), one job after the other: int64_t silent_ms; series that have left. */
    OWNER_JOB_LEAVE_COUNT,
    OWNER_JOB_LEAVE_COPY,
    OWNER_JOB_LEAVE_SETTLE,
    OWNER_JOB_COUNT
};
struct owner_job {
    /* By the asker, one at a time for each kind: `argument` is written before `requested` rises
     * (release). The owner's `done` follows (release). */
    _Atomic(uint32_t) requested, done;
    _Atomic(uint64_t) argument;
    /* the owner's */
    uint32_t running; /* the request being worked on */
    uint64_t value;   /* its argument */
    uint64_t work;
    uint32_t partition, local; /* how far it is */
    bool active;
};

struct owner {
    uint32_t index;
    struct tsdb_turn turn; /* who has it is the owner, of all below that is not atomic */
    bool helping;          /* it is not the owner's thread that has the turn */
    bool logged;           /* batches went to the log, and its writer was not told */
    struct tsdb_ring ring;
    struct wal *wal; /* NULL until recovery is done */
    struct alias_table *aliases;
    struct partition *partitions; /* all 64; this owner touches only its own range */
    uint32_t partition_begin, partition_end;
    const struct tsdb_options *options;
    struct tsdb_clock clock;
    _Atomic(uint64_t) *series_total; /* over all partitions, for series_max */
    struct series_limits *limits;    /* NULL: none but series_max */
    /* The owner notes, others ask: the least time of each batch; of those that are late as a whole the
     * greatest, negated, so that what is filled in of last year says nothing of today. */
    struct written written, written_late;
    int64_t late_ms; /* a batch is, that ends so long ago */
    void *backlog[64];
    uint32_t backlog_begin, backlog_count;
    _Atomic(struct head_raw_chunk *) mailbox; /* chunks that are in files now: from the sealer */
    struct owner_job jobs[OWNER_JOB_COUNT];
    struct partition_mark marks[TSDB_PARTITIONS]; /* of the last OWNER_JOB_MARK; own range */
};
/* Returns the amount of work done; 0: nothing to do, or no room in the log. */
size_t owner_step(struct owner *o, int64_t now_ns);
/* For its thread, when the step found nothing: may it sleep (tsdb_ring_sleep) until something is published? *out_blocked: there
 * are batches for which the log has no room. */
bool owner_doze(struct owner *o, bool *out_blocked);
/* Any thread that has published a batch quietly and waits for *done: apply what is in the ring. Not where somebody else is
 * at work, and stays for some microseconds: he sees it. True: batches went to the log, whose writer nobody has
 * told. */
bool owner_help(struct owner *o, const _Atomic(uint32_t) *done);
/* The same for who has other things to do first: false where somebody is at work. */
bool owner_help_if_free(struct owner *o, bool *out_logged);
/* A batch is encoded: to the log with it. */
void owner_log(struct owner *o, struct tsdb_batch *b);

/* Ask, and wake the owner. */
void owner_job_request(struct owner *o, enum owner_job_kind kind, uint64_t argument);
/* Is the last request of the kind finished? out_work may be NULL. For whoever asked. */
bool owner_job_done(const struct owner *o, enum owner_job_kind kind, uint64_t *out_work);

/* Any thread: put a chunk into the mailbox (head_sealed_swap). */
void owner_mailbox_push(struct owner *o, struct head_raw_chunk *item);
/* Apply what is in the mailbox: owner_step, and the end of the process, when no owner runs. */
size_t owner_mailbox_apply(struct owner *o);

#endif
