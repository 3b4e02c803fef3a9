#include "tsdb/engine/owner.h"

#include "base/assert.h"
#include "base/latency.h"
#include "tsdb/head/head_private.h"
#include "tsdb/tsdb.h"
#include "wal/record.h"

#include <string.h>

/* How far ahead to fetch: the hot struct arrives while four entries are worked on, then the place
 * in its tail that it points to. */
#define PREFETCH_HOT  8u
#define PREFETCH_TAIL 4u
/* Retired memory is left alone below this, so that a busy owner does not scan the readers' slots
 * for nothing. */
#define RECLAIM_BYTES_MIN (256u << 10)

/* Series looked at in one step for a seal or a sweep: some hundred microseconds between batches. */
#define JOB_SLICE 4096u

static const int64_t future_ms_max = TSDB_FUTURE_MS_MAX;

/* One batch being applied. */
struct apply {
    struct owner *owner;
    struct tsdb_batch *batch;
    struct tsdb_write *write;
    struct tsdb_write_result *result;
    struct owner_partition *partition; /* of the current run, as is head */
    struct head_partition *head;
    uint32_t partition_id;
    bool log;
    bool log_duplicates; /* memory mode: what is there already may never have been logged */
    bool changed;        /* the current run changed its partition */
    bool duplicates;     /* the batch had exact duplicates */
    enum tsdb_status failure;
    int64_t min_ms, max_ms; /* bounds for samples */
    struct wal_encoder encoder;
};

/* ---- frames ---- */

static void frame_begin(struct apply *a, enum wal_record_type type)
{
    a->partition->log_seq++;
    /* Relaxed: this thread wrote it. The batch's sequence is stored when it has been applied. */
    uint64_t seq = atomic_load_explicit(&a->partition->write_seq, memory_order_relaxed) + 1;
    wal_frame_begin(&a->encoder, type, a->partition_id, a->partition->log_seq, seq,
                    a->partition->epoch);
}

static void frame_end(struct apply *a)
{
    if (a->encoder.frame) {
        wal_frame_end(&a->encoder);
    }
}

static void frame_ensure(struct apply *a, enum wal_record_type type)
{
    if (!a->encoder.frame) {
        frame_begin(a, type);
    }
}

/* ---- results ---- */

static void reject(struct apply *a, uint32_t entry, enum tsdb_reject reason)
{
    struct tsdb_write_result *r = a->result;
    r->rejected[reason]++;
    if (r->first_reason == TSDB_REJECT_NONE) {
        r->first_rejected = entry; /* runs and entries come in rising order */
        r->first_reason = reason;
    }
    head_count(&a->head->counters.rejected[reason], 1);
}

static void fail(struct apply *a, enum tsdb_status status)
{
    if (a->failure == TSDB_OK) {
        a->failure = status;
    }
}

/* ---- new series ---- */

static enum tsdb_status series_create(struct apply *a, const struct tsdb_new_series *ns,
                                      uint32_t *out_local)
{
    uint64_t max = a->owner->options->series_max;
    /* Relaxed, both: a count, nothing hangs on it but itself. */
    uint64_t before = atomic_fetch_add_explicit(a->owner->series_total, 1, memory_order_relaxed);
    enum tsdb_status status = TSDB_LIMIT;
    if (max == 0 || before < max) {
        bool created = false;
        status =
            head_series_find_or_create(a->head, &ns->labels, ns->hash, out_local, &created, NULL);
        TSDB_ASSERT(status != TSDB_OK || created);
    }
    if (status != TSDB_OK) {
        atomic_fetch_sub_explicit(a->owner->series_total, 1, memory_order_relaxed);
        return status;
    }
    a->changed = true;
    return TSDB_OK;
}

/* Find the series by its labels, or create it; log its labels if the log has not seen them. */
static enum tsdb_status series_resolve(struct apply *a, struct tsdb_new_series *ns, bool create)
{
    uint32_t local = index_mem_find(head_index(a->head), &ns->labels, ns->hash);
    if (local == UINT32_MAX) {
        enum tsdb_status status = create ? series_create(a, ns, &local) : TSDB_NOT_FOUND;
        if (status != TSDB_OK) {
            return status;
        }
    }
    if (a->log && !head_labels_logged(a->head, local)) {
        frame_ensure(a, WAL_RECORD_SERIES);
        wal_encode_series(&a->encoder, local, &ns->labels);
        head_labels_logged_set(a->head, local);
    }
    ns->ref = tsdb_series_make(a->partition_id, local);
    ns->generation = head_generation(a->head, local);
    if (ns->alias.lo != 0 || ns->alias.hi != 0) {
        alias_put(a->owner->aliases, ns->alias, ns->ref, ns->generation);
    }
    return TSDB_OK;
}

static bool in_bounds(const struct apply *a, int64_t t_ms)
{
    return a->min_ms <= t_ms && t_ms <= a->max_ms;
}

/* Give the run's entries of new series their refs. Those that stay without one are refused later,
 * with their reason; a sample out of bounds creates no series. */
static void entries_resolve(struct apply *a, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end && a->failure == TSDB_OK; i++) {
        struct tsdb_entry *e = &a->write->entries[i];
        if (e->series != TSDB_SERIES_NEW || !in_bounds(a, e->t_ms)) {
            continue;
        }
        TSDB_ASSERT(e->aux < a->write->new_series_count);
        struct tsdb_new_series *ns = &a->write->new_series[e->aux];
        enum tsdb_status status =
            ns->ref == TSDB_SERIES_NEW ? series_resolve(a, ns, true) : TSDB_OK;
        if (status == TSDB_OK) {
            e->series = ns->ref;
            e->generation = ns->generation;
        } else if (status != TSDB_LIMIT) {
            fail(a, status);
        }
    }
}

/* The same for exemplars, but an exemplar creates no series: it belongs to a sample. */
static void exemplars_resolve(struct apply *a, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end; i++) {
        struct tsdb_write_exemplar *x = &a->write->exemplars[i];
        if (x->series != TSDB_SERIES_NEW) {
            continue;
        }
        TSDB_ASSERT(x->aux < a->write->new_series_count);
        struct tsdb_new_series *ns = &a->write->new_series[x->aux];
        if (ns->ref != TSDB_SERIES_NEW || series_resolve(a, ns, false) == TSDB_OK) {
            x->series = ns->ref;
        }
    }
}

/* ---- samples ---- */

static void log_float(struct apply *a, struct head_series *s, uint32_t local, int64_t t_ms,
                      int64_t start_ms, uint64_t bits)
{
    frame_ensure(a, WAL_RECORD_SAMPLES);
    uint64_t epoch = a->partition->epoch;
    wal_encode_float(&a->encoder, local, t_ms, start_ms, bits, s->wal_epoch == epoch, s->wal_bits);
    s->wal_epoch = epoch;
    s->wal_bits = bits;
    a->batch->wal_samples++;
}

static void log_sample(struct apply *a, const struct tsdb_entry *e, struct head_series *s,
                       int64_t start_ms)
{
    uint32_t local = tsdb_series_local(e->series);
    if (e->kind == TSDB_SAMPLE_FLOAT) {
        log_float(a, s, local, e->t_ms, start_ms, e->value);
        return;
    }
    const struct tsdb_raw_histogram *h = (const struct tsdb_raw_histogram *)(uintptr_t)e->value;
    frame_ensure(a, WAL_RECORD_SAMPLES);
    wal_encode_histogram(&a->encoder, local, e->t_ms, start_ms, (enum tsdb_sample_kind)e->kind,
                         h->data, h->len);
    a->batch->wal_samples++;
}

/* Everything but the plain newer float of a known series. */
static TSDB_NOINLINE void entry_apply_slow(struct apply *a, uint32_t i)
{
    const struct tsdb_entry *e = &a->write->entries[i];
    if (!in_bounds(a, e->t_ms)) {
        reject(a, i, e->t_ms > a->max_ms ? TSDB_REJECT_TOO_NEW : TSDB_REJECT_TOO_OLD);
        return;
    }
    if (e->series == TSDB_SERIES_NEW) {
        reject(a, i, TSDB_REJECT_SERIES_LIMIT);
        return;
    }
    uint32_t local = tsdb_series_local(e->series);
    struct head_series *s = head_hot(a->head, local);
    if (s->generation != e->generation) {
        a->result->stale_refs++;
        return;
    }
    int64_t start_ms = (e->flags & TSDB_ENTRY_HAS_START) ? a->write->starts[i] : 0;
    enum tsdb_sample_kind kind = (enum tsdb_sample_kind)e->kind;
    switch (head_append(a->head, local, e->t_ms, start_ms, kind, e->value)) {
    case HEAD_APPENDED:
    case HEAD_APPENDED_OUT_OF_ORDER:
        a->changed = true;
        if (a->log) {
            log_sample(a, e, s, start_ms);
        }
        break;
    case HEAD_DUPLICATE_SAME:
        a->duplicates = true;
        if (a->log_duplicates) {
            log_sample(a, e, s, start_ms);
        }
        break;
    case HEAD_DUPLICATE_CONFLICT:
        reject(a, i, TSDB_REJECT_DUPLICATE);
        return;
    case HEAD_NOMEM:
        fail(a, TSDB_NOMEM);
        return;
    }
    if (kind == TSDB_SAMPLE_FLOAT) {
        a->result->samples_written++;
    } else {
        a->result->histograms_written++;
    }
}

static void run_prefetch(const struct apply *a, const struct tsdb_entry *e, uint32_t left)
{
    if (left > PREFETCH_HOT && e[PREFETCH_HOT].series != TSDB_SERIES_NEW) {
        head_hot_prefetch(head_hot(a->head, tsdb_series_local(e[PREFETCH_HOT].series)));
    }
    if (left > PREFETCH_TAIL && e[PREFETCH_TAIL].series != TSDB_SERIES_NEW) {
        head_tail_prefetch(head_hot(a->head, tsdb_series_local(e[PREFETCH_TAIL].series)));
    }
}

/* Apply the samples of a run. The common case stands here; counters are kept in registers. */
static void run_samples(struct apply *a, uint32_t begin, uint32_t end)
{
    uint32_t fast = 0;
    int64_t min_ms = INT64_MAX;
    int64_t max_ms = INT64_MIN;
    for (uint32_t i = begin; i < end && a->failure == TSDB_OK; i++) {
        const struct tsdb_entry *e = &a->write->entries[i];
        run_prefetch(a, e, end - i);
        bool plain = e->kind == TSDB_SAMPLE_FLOAT && !(e->flags & TSDB_ENTRY_HAS_START) &&
                     e->series != TSDB_SERIES_NEW && in_bounds(a, e->t_ms);
        uint32_t local = tsdb_series_local(e->series);
        TSDB_ASSERT(local < a->head->series_count || !plain);
        struct head_series *s = plain ? head_hot(a->head, local) : NULL;
        if (TSDB_UNLIKELY(!plain || s->generation != e->generation ||
                          !head_append_fast(s, e->t_ms, e->value))) {
            entry_apply_slow(a, i);
            continue;
        }
        fast++;
        min_ms = TSDB_MIN(min_ms, e->t_ms);
        max_ms = TSDB_MAX(max_ms, e->t_ms);
        if (a->log) {
            log_float(a, s, local, e->t_ms, 0, e->value);
        }
    }
    frame_end(a);
    if (fast > 0) {
        a->changed = true;
        a->result->samples_written += fast;
        head_count(&a->head->counters.samples, fast);
        head_count_times(&a->head->counters, min_ms, max_ms);
    }
}

/* ---- exemplars ---- */

static void exemplar_apply(struct apply *a, const struct tsdb_write_exemplar *we)
{
    enum tsdb_status status = TSDB_NOT_FOUND;
    struct tsdb_exemplar x = we->exemplar;
    uint32_t local = tsdb_series_local(we->series);
    if (we->series != TSDB_SERIES_NEW) {
        if (x.t_ms == 0) {
            (void)head_last_time(a->head, local, &x.t_ms);
        }
        status = head_exemplar_append(a->head, local, &x);
    }
    if (status == TSDB_OK) {
        a->result->exemplars_written++;
        a->changed = true;
        if (a->log) {
            frame_ensure(a, WAL_RECORD_EXEMPLARS);
            wal_encode_exemplar(&a->encoder, local, &x);
        }
    } else if (status == TSDB_NOMEM) {
        fail(a, TSDB_NOMEM);
    } else {
        /* No entry to point at: only counted. */
        a->result->rejected[TSDB_REJECT_EXEMPLAR]++;
        head_count(&a->head->counters.rejected[TSDB_REJECT_EXEMPLAR], 1);
    }
}

static void run_exemplars(struct apply *a, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end && a->failure == TSDB_OK; i++) {
        exemplar_apply(a, &a->write->exemplars[i]);
    }
    frame_end(a);
}

/* ---- a batch ---- */

/* Go to a partition: its epoch follows the log's. */
static void run_begin(struct apply *a, uint32_t partition)
{
    struct owner *o = a->owner;
    TSDB_ASSERT(o->partition_begin <= partition && partition < o->partition_end);
    a->partition_id = partition;
    a->partition = &o->partitions[partition];
    a->head = a->partition->head;
    a->changed = false;
    uint64_t epoch = a->log ? wal_epoch(o->wal) : a->partition->wal_epoch_seen;
    if (epoch != a->partition->wal_epoch_seen) {
        a->partition->wal_epoch_seen = epoch;
        a->partition->epoch++;
    }
}

static void run_end(struct apply *a)
{
    if (a->changed) {
        uint64_t seq = atomic_load_explicit(&a->partition->write_seq, memory_order_relaxed);
        /* Release: partners are the checkpoint and whoever caches results; who sees the sequence
         * sees the samples. */
        atomic_store_explicit(&a->partition->write_seq, seq + 1, memory_order_release);
    }
}

static uint32_t entries_run_end(const struct tsdb_write *w, uint32_t begin, uint32_t end,
                                uint32_t partition)
{
    uint32_t i = begin;
    while (i < end && w->entries[i].partition == partition) {
        i++;
    }
    return i;
}

static uint32_t exemplars_run_end(const struct tsdb_write *w, uint32_t begin, uint32_t end,
                                  uint32_t partition)
{
    uint32_t i = begin;
    while (i < end && w->exemplars[i].partition == partition) {
        i++;
    }
    return i;
}

/* All that was accepted was there already, so there is nothing to log; yet the answer must not
 * come before that earlier write is in the log. An empty frame keeps its place in the queue. */
static void frame_for_duplicates(struct apply *a)
{
    if (a->log && a->duplicates && a->encoder.pos == a->batch->wal_bytes) {
        frame_begin(a, WAL_RECORD_SAMPLES);
        frame_end(a);
    }
}

/* Runs of entries and of exemplars, both sorted by partition, side by side. After a failure the
 * rest of the batch is left out. */
static void batch_runs(struct apply *a)
{
    const struct tsdb_batch *b = a->batch;
    const struct tsdb_write *w = a->write;
    uint32_t i = b->entry_begin;
    uint32_t x = b->exemplar_begin;
    while (a->failure == TSDB_OK && (i < b->entry_end || x < b->exemplar_end)) {
        uint32_t partition = i < b->entry_end ? w->entries[i].partition : UINT32_MAX;
        if (x < b->exemplar_end && w->exemplars[x].partition < partition) {
            partition = w->exemplars[x].partition;
        }
        uint32_t i_end = entries_run_end(w, i, b->entry_end, partition);
        uint32_t x_end = exemplars_run_end(w, x, b->exemplar_end, partition);
        run_begin(a, partition);
        if (w->new_series_count > 0) {
            entries_resolve(a, i, i_end);
            exemplars_resolve(a, x, x_end);
            frame_end(a);
        }
        run_samples(a, i, i_end);
        run_exemplars(a, x, x_end);
        run_end(a);
        i = i_end;
        x = x_end;
    }
    if (a->partition) {
        frame_for_duplicates(a);
    }
}

static void apply_init(struct apply *a, struct owner *o, struct tsdb_batch *b)
{
    memset(a, 0, sizeof *a);
    memset(&b->result, 0, sizeof b->result);
    b->wal_len = 0;
    b->wal_samples = 0;
    a->owner = o;
    a->batch = b;
    a->write = b->write;
    a->result = &b->result;
    a->log = b->durability > TSDB_DURABILITY_MEMORY;
    a->log_duplicates = a->log && o->options->durability == TSDB_DURABILITY_MEMORY;
    int64_t now_ms = tsdb_clock_wall_ms(&o->clock);
    a->max_ms = now_ms + future_ms_max;
    a->min_ms = o->options->retention_ms > 0 ? now_ms - o->options->retention_ms : INT64_MIN;
    if (a->log) {
        wal_encoder_init(&a->encoder, b->wal_bytes, b->wal_bytes + b->wal_cap);
    }
}

/* Apply the batch and pass it on. The caller holds a WAL credit if the batch is to be logged.
 *
 * Running out of memory fails the batch, but what was applied until then stays, so it is logged as
 * well: the sender will repeat the write, find it there ("exact duplicate") and be told that it is
 * stored. */
static void batch_apply(struct owner *o, struct tsdb_batch *b)
{
    struct apply a;
    apply_init(&a, o, b);
    batch_runs(&a);
    if (a.log && a.encoder.pos > b->wal_bytes) {
        b->wal_len = (uint32_t)(a.encoder.pos - b->wal_bytes);
        if (a.failure != TSDB_OK) {
            /* As tsdb_batch_complete keeps the first failure; the log will complete with OK. */
            uint32_t expected = TSDB_OK;
            atomic_compare_exchange_strong_explicit(&b->write->status, &expected,
                                                    (uint32_t)a.failure, memory_order_relaxed,
                                                    memory_order_relaxed);
        }
        wal_submit(o->wal, o->index, b); /* b is the log's from here on */
        return;
    }
    if (a.log) {
        tsdb_ring_release(wal_ring(o->wal, o->index), 1);
    }
    tsdb_batch_complete(b, a.failure);
}

/* ---- memory mode: labels are logged when a request first asks for its samples to be ---- */

/* A write of our own that carries SERIES frames ahead of the batch that needs them. */
struct label_write {
    struct tsdb_write write;
    size_t bytes; /* of this allocation */
    uint8_t wal[];
};

static void label_write_done(struct tsdb_write *w)
{
    struct label_write *lw = w->done_arg;
    tsdb_mem_free(TSDB_MEM_WAL, lw, lw->bytes);
}

static bool labels_missing(const struct owner *o, const struct tsdb_entry *e)
{
    return e->series != TSDB_SERIES_NEW &&
           !head_labels_logged(o->partitions[e->partition].head, tsdb_series_local(e->series));
}

static uint32_t labels_load(const struct owner *o, const struct tsdb_entry *e,
                            struct tsdb_label *items)
{
    return index_mem_labels(head_index(o->partitions[e->partition].head),
                            tsdb_series_local(e->series), items, TSDB_LABELS_MAX);
}

/* Bytes for the SERIES frames that the batch lacks (a bound); 0: none. */
static size_t labels_missing_bytes(const struct owner *o, const struct tsdb_batch *b)
{
    struct tsdb_label items[TSDB_LABELS_MAX];
    size_t bytes = 0;
    for (uint32_t i = b->entry_begin; i < b->entry_end; i++) {
        const struct tsdb_entry *e = &b->write->entries[i];
        if (labels_missing(o, e)) {
            struct tsdb_labels labels = {items, labels_load(o, e, items)};
            bytes += tsdb_labels_encoded_bytes(&labels) + WAL_SERIES_BYTES_OVERHEAD_MAX;
        }
    }
    return bytes ? bytes + TSDB_PARTITIONS * (size_t)WAL_FRAME_OVERHEAD_MAX : 0;
}

static void label_write_fill(struct apply *a, const struct tsdb_batch *source)
{
    struct tsdb_label items[TSDB_LABELS_MAX];
    for (uint32_t i = source->entry_begin; i < source->entry_end; i++) {
        const struct tsdb_entry *e = &source->write->entries[i];
        if (!labels_missing(a->owner, e)) {
            continue;
        }
        if (!a->partition || a->partition_id != e->partition) {
            frame_end(a);
            run_begin(a, e->partition);
        }
        struct tsdb_labels labels = {items, labels_load(a->owner, e, items)};
        frame_ensure(a, WAL_RECORD_SERIES);
        wal_encode_series(&a->encoder, tsdb_series_local(e->series), &labels);
        head_labels_logged_set(a->head, tsdb_series_local(e->series));
    }
    frame_end(a);
}

/* Log the labels that the log lacks for this batch. The caller holds a credit for it; *out_used
 * says whether it was spent. */
static enum tsdb_status labels_log(struct owner *o, struct tsdb_batch *b, bool *out_used)
{
    size_t cap = labels_missing_bytes(o, b);
    *out_used = false;
    if (cap == 0) {
        return TSDB_OK;
    }
    struct label_write *lw = NULL;
    if (cap <= UINT32_MAX) {
        lw = tsdb_mem_alloc_zero(TSDB_MEM_WAL, sizeof *lw + cap);
    }
    if (!lw) {
        return TSDB_NOMEM;
    }
    lw->bytes = sizeof *lw + cap;
    struct tsdb_batch *own = &lw->write.batches[0];
    own->write = &lw->write;
    own->owner = o->index;
    own->wal_bytes = lw->wal;
    own->wal_cap = (uint32_t)cap;
    own->durability = TSDB_DURABILITY_BUFFERED; /* a later sync covers it */
    lw->write.batch_count = 1;
    atomic_init(&lw->write.pending, 1);
    atomic_init(&lw->write.status, TSDB_OK);
    lw->write.done = label_write_done;
    lw->write.done_arg = lw;
    struct apply a;
    apply_init(&a, o, own);
    label_write_fill(&a, b);
    own->wal_len = (uint32_t)(a.encoder.pos - own->wal_bytes);
    wal_submit(o->wal, o->index, own);
    *out_used = true;
    return TSDB_OK;
}

/* ---- steps ---- */

/* Take a batch if the log has room for it. False: later. */
static bool batch_take(struct owner *o, struct tsdb_batch *b)
{
    if (o->wal && wal_read_only(o->wal, NULL)) {
        memset(&b->result, 0, sizeof b->result);
        tsdb_batch_complete(b, TSDB_READ_ONLY);
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
        enum tsdb_status status = lazy ? labels_log(o, b, &used) : TSDB_OK;
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
    batch_apply(o, b);
    tsdb_perf_end(TSDB_LAYER_APPEND, begin);
    return true;
}

void owner_mark_request(struct owner *o)
{
    atomic_fetch_add(&o->mark_requested, 1);
}

/* Between batches: so that every frame up to the mark's sequence was encoded before it. */
static void mark_answer(struct owner *o)
{
    /* Acquire: partner is owner_mark_request. Relaxed: own store. */
    uint32_t requested = atomic_load_explicit(&o->mark_requested, memory_order_acquire);
    if (requested == atomic_load_explicit(&o->mark_done, memory_order_relaxed)) {
        return;
    }
    for (uint32_t i = o->partition_begin; i < o->partition_end; i++) {
        struct owner_partition *p = &o->partitions[i];
        p->epoch++;
        o->marks[i] = (struct owner_mark){
            .write_seq = atomic_load_explicit(&p->write_seq, memory_order_relaxed),
            .log_seq = p->log_seq,
            .epoch = p->epoch,
        };
    }
    /* Release: partner is the load of whoever asked and reads the marks. */
    atomic_store_explicit(&o->mark_done, requested, memory_order_release);
}

static void reclaim(struct owner *o, uint64_t bytes_min)
{
    for (uint32_t i = o->partition_begin; i < o->partition_end; i++) {
        head_reclaim(o->partitions[i].head, bytes_min);
    }
}

/* ---- from the sealer, for the flusher ---- */

void owner_mailbox_push(struct owner *o, struct head_sealed *item)
{
    struct head_sealed *first = atomic_load_explicit(&o->mailbox, memory_order_relaxed);
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
    struct head_sealed *item = atomic_exchange_explicit(&o->mailbox, NULL, memory_order_acquire);
    while (item) {
        struct head_sealed *next = item->next;
        TSDB_ASSERT(o->partition_begin <= item->partition && item->partition < o->partition_end);
        head_sealed_swap(o->partitions[item->partition].head, item);
        item = next;
        n++;
    }
    return n;
}

static void job_request(struct owner *o, struct owner_job *job, uint64_t value)
{
    atomic_store_explicit(&job->argument, value, memory_order_relaxed);
    /* Release: partner is job_step. */
    atomic_fetch_add_explicit(&job->requested, 1, memory_order_release);
    tsdb_ring_wake(&o->ring);
}

static bool job_done(const struct owner_job *job)
{
    /* Acquire: partner is the release in job_step. */
    return atomic_load_explicit(&job->done, memory_order_acquire) ==
           atomic_load_explicit(&job->requested, memory_order_relaxed);
}

void owner_seal_request(struct owner *o, int64_t before_ms)
{
    job_request(o, &o->seal, (uint64_t)before_ms);
}

bool owner_seal_done(const struct owner *o)
{
    return job_done(&o->seal);
}

void owner_sweep_request(struct owner *o, uint64_t view)
{
    job_request(o, &o->sweep, view);
}

bool owner_sweep_done(const struct owner *o)
{
    return job_done(&o->sweep);
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
    job->active = true;
    return true;
}

/* A slice of the job: true if there was one. Small partitions share a slice. */
static bool job_step(struct owner *o, struct owner_job *job)
{
    if (!job->active && !job_begin(o, job)) {
        return false;
    }
    uint32_t left = JOB_SLICE;
    while (left > 0 && job->partition < o->partition_end) {
        struct head_partition *p = o->partitions[job->partition].head;
        uint32_t n = TSDB_MIN(left, head_series_count(p) - job->local);
        if (job == &o->seal) {
            head_seal_before(p, job->local, n, (int64_t)job->value);
        } else {
            head_sweep(p, job->local, n, job->value);
        }
        left -= n;
        job->local += n;
        if (job->local == head_series_count(p)) {
            job->partition++;
            job->local = 0;
        }
    }
    if (job->partition == o->partition_end) {
        job->active = false;
        /* Release: partner is job_done; who sees it sees what was sealed or dropped. */
        atomic_store_explicit(&job->done, job->running, memory_order_release);
    }
    return true;
}

size_t owner_step(struct owner *o, int64_t now_ns)
{
    (void)now_ns;
    mark_answer(o);
    size_t work = owner_mailbox_apply(o) > 0;
    work += job_step(o, &o->seal);
    work += job_step(o, &o->sweep);
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
    reclaim(o, taken > 0 ? RECLAIM_BYTES_MIN : 0);
    return taken + work;
}
