/* The owner's loop: the mailbox, a slice of each job, then batches. */
#include "tsdb/engine/owner.h"

#include "base/assert.h"
#include "base/latency.h"
#include "tsdb/engine/apply_private.h"
#include "tsdb/head/sealed.h"

#include <string.h>

/* Retired memory is left alone below this, so that a busy owner does not scan the readers' slots
 * for nothing. */
#define RECLAIM_BYTES_MIN (256u << 10)
/* Series looked at in one step for a job: some hundred microseconds between batches. */
#define JOB_SLICE 4096u

/* How often one who helps looks for more: what comes meanwhile from others would keep him for ever. */
#define HELP_ROUNDS 4

/* ---- the mailbox: from the sealer ---- */

void owner_mailbox_push(struct owner *o, struct head_raw_chunk *item)
{
    struct head_raw_chunk *first = atomic_load_explicit(&o->mailbox, memory_order_relaxed);
    do {
        item->next = first;
        /* Release: partner is owner_mailbox_apply. */
    } while (!atomic_compare_exchange_weak_explicit(&o->mailbox, &first, item, memory_order_release,
                                                    memory_order_relaxed));
}

size_t owner_mailbox_apply(struct owner *o)
{
    if (!atomic_load_explicit(&o->mailbox, memory_order_relaxed)) {
        return 0;
    }
    size_t n = 0;
    struct head_raw_chunk *newest =
        atomic_exchange_explicit(&o->mailbox, NULL, memory_order_acquire);
    struct head_raw_chunk *item = NULL;
    while (newest) { /* oldest first: what is in files is always the first part of a list */
        struct head_raw_chunk *next = newest->next;
        newest->next = item;
        item = newest;
        newest = next;
    }
    while (item) {
        struct head_raw_chunk *next = item->next;
        TSDB_ASSERT(o->partition_begin <= item->partition && item->partition < o->partition_end);
        head_sealed_swap(o->partitions[item->partition].head, item);
        item = next;
        n++;
    }
    return n;
}

/* ---- jobs ---- */

/* A slice of a partition's series, [from, from + count). Returns the job's work. */
typedef uint64_t (*job_slice_fn)(struct owner *o, uint32_t partition, uint32_t from, uint32_t count,
                                 uint64_t argument);

static uint64_t slice_mark(struct owner *o, uint32_t partition, uint32_t from, uint32_t count,
                           uint64_t argument)
{
    (void)from, (void)count, (void)argument;
    struct partition *p = &o->partitions[partition];
    p->epoch++;
    o->marks[partition] = (struct partition_mark){
        .write_seq = atomic_load_explicit(&p->write_seq, memory_order_relaxed),
        .log_seq = p->log_seq,
        .epoch = p->epoch,
    };
    return 1;
}

static uint64_t slice_seal(struct owner *o, uint32_t partition, uint32_t from, uint32_t count,
                           uint64_t argument)
{
    return head_seal_before(o->partitions[partition].head, from, count, (int64_t)argument);
}

static uint64_t slice_sweep(struct owner *o, uint32_t partition, uint32_t from, uint32_t count,
                            uint64_t argument)
{
    return head_sweep(o->partitions[partition].head, from, count, argument);
}

static uint64_t slice_drop(struct owner *o, uint32_t partition, uint32_t from, uint32_t count,
                           uint64_t argument)
{
    return head_drop_before(o->partitions[partition].head, from, count, (int64_t)argument);
}

static uint64_t slice_leave_count(struct owner *o, uint32_t partition, uint32_t from,
                                  uint32_t count, uint64_t argument)
{
    head_leave_count(o->partitions[partition].head, from, count, (int64_t)argument);
    return 0;
}

static uint64_t slice_leave_copy(struct owner *o, uint32_t partition, uint32_t from, uint32_t count,
                                 uint64_t argument)
{
    head_leave_copy(o->partitions[partition].head, from, count, (int64_t)argument,
                    tsdb_clock_mono_ns(&o->clock));
    return 0;
}

static uint64_t slice_leave_settle(struct owner *o, uint32_t partition, uint32_t from,
                                   uint32_t count, uint64_t argument)
{
    (void)argument;
    uint64_t gone = head_leave_settle(o->partitions[partition].head, from, count);
    atomic_fetch_sub_explicit(o->series_total, gone, memory_order_relaxed);
    return gone;
}

static const struct job_row {
    job_slice_fn slice;
    uint32_t series; /* looked at in one step; 0: a partition at a time */
} job_rows[OWNER_JOB_COUNT] = {
    [OWNER_JOB_MARK] = {slice_mark, 0},
    [OWNER_JOB_SEAL] = {slice_seal, JOB_SLICE},
    [OWNER_JOB_SWEEP] = {slice_sweep, JOB_SLICE},
    [OWNER_JOB_DROP] = {slice_drop, JOB_SLICE},
    [OWNER_JOB_LEAVE_COUNT] = {slice_leave_count, JOB_SLICE},
    [OWNER_JOB_LEAVE_COPY] = {slice_leave_copy, JOB_SLICE / 16}, /* labels, 2 us each */
    [OWNER_JOB_LEAVE_SETTLE] = {slice_leave_settle, JOB_SLICE},
};

void owner_job_request(struct owner *o, enum owner_job_kind kind, uint64_t argument)
{
    struct owner_job *job = &o->jobs[kind];
    TSDB_ASSERT(kind < OWNER_JOB_COUNT);
    atomic_store_explicit(&job->argument, argument, memory_order_relaxed);
    /* Release: partner is job_begin. */
    atomic_fetch_add_explicit(&job->requested, 1, memory_order_release);
    tsdb_ring_wake(&o->ring);
}

bool owner_job_done(const struct owner *o, enum owner_job_kind kind, uint64_t *out_work)
{
    const struct owner_job *job = &o->jobs[kind];
    TSDB_ASSERT(kind < OWNER_JOB_COUNT);
    /* Acquire: partner is the release in job_end. Relaxed: the asker's own store. */
    if (atomic_load_explicit(&job->done, memory_order_acquire) !=
        atomic_load_explicit(&job->requested, memory_order_relaxed)) {
        return false;
    }
    if (out_work) {
        *out_work = job->work;
    }
    return true;
}

static bool job_begin(struct owner *o, struct owner_job *job)
{
    uint32_t requested = atomic_load_explicit(&job->requested, memory_order_acquire);
    if (requested == atomic_load_explicit(&job->done, memory_order_relaxed)) {
        return false;
    }
    job->running = requested;
    job->value = atomic_load_explicit(&job->argument, memory_order_relaxed);
    job->partition = o->partition_begin;
    job->local = 0;
    job->work = 0;
    job->active = true;
    return true;
}

static void job_end(struct owner_job *job)
{
    TSDB_ASSERT(job->active && job->local == 0);
    job->active = false;
    /* Release: partner is owner_job_done; who sees it sees what was marked, sealed or dropped. */
    atomic_store_explicit(&job->done, job->running, memory_order_release);
}

/* A slice of the job: true if there was one. Small partitions share a slice. Between batches, so
 * that every frame up to a mark's sequence was encoded before it. */
static bool job_step(struct owner *o, struct owner_job *job, const struct job_row *row)
{
    if (!job->active && !job_begin(o, job)) {
        return false;
    }
    uint32_t left = row->series > 0 ? row->series : JOB_SLICE;
    while (left > 0 && job->partition < o->partition_end) {
        uint32_t series = head_series_count(o->partitions[job->partition].head);
        uint32_t n = row->series > 0 ? TSDB_MIN(left, series - job->local) : 0;
        TSDB_ASSERT(job->local <= series);
        job->work += row->slice(o, job->partition, job->local, n, job->value);
        left -= n;
        job->local += n;
        if (row->series == 0 || job->local == series) {
            job->partition++;
            job->local = 0;
        }
    }
    if (job->partition == o->partition_end) {
        job_end(job);
    }
    return true;
}

/* ---- batches ---- */

/* Take a batch if the log has room for it. False: later. */
static bool batch_take(struct owner *o, struct tsdb_batch *b)
{
    enum wal_state state = o->wal ? wal_state(o->wal, NULL) : WAL_READY;
    if (state != WAL_READY) {
        memset(&b->result, 0, sizeof b->result);
        tsdb_batch_complete(b, state == WAL_RETRYING ? TSDB_BUSY : TSDB_READ_ONLY);
        return true;
    }
    TSDB_ASSERT(b->owner == o->index);
    TSDB_ASSERT(b->durability >= o->options->durability);
    if (b->durability > TSDB_DURABILITY_MEMORY) {
        TSDB_ASSERT(o->wal);
        struct tsdb_ring *ring = wal_ring(o->wal, o->index);
        bool lazy = o->options->durability == TSDB_DURABILITY_MEMORY;
        if (!tsdb_ring_reserve(ring, lazy ? 2 : 1)) {
            return false;
        }
        bool used = false;
        enum tsdb_status status = lazy ? owner_labels_log(o, b, &used) : TSDB_OK;
        uint32_t spare = (lazy && !used ? 1u : 0u) + (status != TSDB_OK ? 1u : 0u);
        if (spare > 0) {
            tsdb_ring_release(ring, spare);
        }
        if (status != TSDB_OK) {
            memset(&b->result, 0, sizeof b->result);
            tsdb_batch_complete(b, status);
            return true;
        }
    }
    uint64_t begin = tsdb_perf_now();
    if (b->published_ns != 0 && begin > b->published_ns) {
        tsdb_latency_record(TSDB_LAYER_RING_WAIT, begin - b->published_ns);
    }
    owner_batch_apply(o, b);
    tsdb_perf_end(TSDB_LAYER_APPEND, begin);
    return true;
}

void owner_log(struct owner *o, struct tsdb_batch *b)
{
    if (o->helping) {
        wal_submit_quietly(o->wal, o->index, b);
        o->logged = true;
    } else {
        wal_submit(o->wal, o->index, b);
    }
}

static void reclaim(struct owner *o, uint64_t bytes_min)
{
    for (uint32_t i = o->partition_begin; i < o->partition_end; i++) {
        head_reclaim(o->partitions[i].head, bytes_min);
    }
}

/* What is in the ring, as far as the log has room for it. */
static size_t batches_step(struct owner *o)
{
    TSDB_ASSERT(o->backlog_begin + o->backlog_count <= TSDB_ARRAY_LEN(o->backlog));
    if (o->backlog_count == 0) {
        o->backlog_begin = 0;
        o->backlog_count =
            (uint32_t)tsdb_ring_drain(&o->ring, o->backlog, TSDB_ARRAY_LEN(o->backlog));
    }
    size_t taken = 0;
    while (o->backlog_count > 0 && batch_take(o, o->backlog[o->backlog_begin])) {
        o->backlog_begin++;
        o->backlog_count--;
        taken++;
    }
    return taken;
}

size_t owner_step(struct owner *o, int64_t now_ns)
{
    (void)now_ns;
    tsdb_turn_take(&o->turn);
    size_t work = owner_mailbox_apply(o) > 0;
    for (uint32_t i = 0; i < OWNER_JOB_COUNT; i++) {
        work += job_step(o, &o->jobs[i], &job_rows[i]);
    }
    size_t taken = batches_step(o);
    reclaim(o, taken > 0 ? RECLAIM_BYTES_MIN : 0);
    tsdb_turn_give(&o->turn);
    return taken + work;
}

bool owner_doze(struct owner *o, bool *out_blocked)
{
    tsdb_turn_take(&o->turn);
    *out_blocked = o->backlog_count > 0;
    bool dozing = !*out_blocked && tsdb_ring_doze(&o->ring);
    tsdb_turn_give(&o->turn);
    return dozing &&
           tsdb_ring_depth(&o->ring) == 0; /* who could not help just now has told nobody */
}

/* With the turn, and gives it. */
static bool help(struct owner *o)
{
    bool logged = false;
    for (int round = 1;; round++) {
        o->helping = true;
        o->logged = false;
        batches_step(o);
        reclaim(o, RECLAIM_BYTES_MIN);
        bool blocked =
            o->backlog_count > 0; /* not in the ring any more, where a last look would find it */
        logged |= o->logged;
        o->helping = false;
        tsdb_turn_give(&o->turn);
        bool more = tsdb_ring_depth(&o->ring) > 0;
        if (blocked || (more && round == HELP_ROUNDS)) {
            tsdb_ring_wake(&o->ring);
            return logged;
        }
        if (!more || !tsdb_turn_try(&o->turn)) {
            return logged;
        }
    }
}

bool owner_help_if_free(struct owner *o, bool *out_logged)
{
    bool free = tsdb_turn_try(&o->turn);
    *out_logged = free && help(o);
    return free;
}

bool owner_help(struct owner *o, const _Atomic(uint32_t) *done)
{
    return tsdb_turn_try_for_a_while(&o->turn, done) && help(o);
}
