/* A batch applied to its partitions: runs of one partition, each with its groups of the frame for the log. */
#include "base/assert.h"
#include "tsdb/engine/apply_private.h"
#include "tsdb/head/owner_path.h"

#include <stddef.h>
#include <string.h>

/* How far ahead to fetch: the hot struct arrives while four entries are worked on, then the place
 * in its tail that it points to. */
#define PREFETCH_HOT  8u
#define PREFETCH_TAIL 4u
#define RESOLVE_GROUP 16u

static const int64_t future_ms_max = TSDB_FUTURE_MS_MAX;

/* ---- groups ---- */

static void group_begin(struct apply *a, enum wal_record_type type, int64_t t_ms)
{
    TSDB_ASSERT(a->log && !a->encoder.group);
    a->partition->log_seq++;
    /* Relaxed: this thread wrote it. The batch's sequence is stored when it has been applied. */
    uint64_t seq = atomic_load_explicit(&a->partition->write_seq, memory_order_relaxed) + 1;
    wal_group_begin(&a->encoder, type, a->partition_id, t_ms, a->partition->log_seq, seq,
                    a->partition->epoch);
}

void apply_group_end(struct apply *a)
{
    if (a->encoder.group) {
        wal_group_end(&a->encoder);
    }
}

void apply_frame_end(struct apply *a)
{
    if (a->encoder.frame) {
        wal_frame_end(&a->encoder);
    }
}

void apply_group_ensure(struct apply *a, enum wal_record_type type, int64_t t_ms)
{
    if (!a->encoder.group) {
        group_begin(a, type, t_ms);
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
    head_count(&a->front->counters.rejected[reason], 1);
}

static void fail(struct apply *a, enum tsdb_status status)
{
    if (a->failure == TSDB_OK) {
        a->failure = status;
    }
}

/* ---- new series ---- */

static enum tsdb_status series_create_limited(struct apply *a, const struct tsdb_new_series *ns,
                                              uint32_t *out_local)
{
    uint64_t max = a->owner->options->series_max;
    /* Relaxed, both: a count, nothing hangs on it but itself. */
    uint64_t before = atomic_fetch_add_explicit(a->owner->series_total, 1, memory_order_relaxed);
    enum tsdb_status status = TSDB_LIMIT;
    struct series_limits *limits = a->owner->limits;
    if (max > 0 && before >= max) {
        series_limits_refused(limits, TSDB_SERIES_LIMIT_ALL, a->head, &ns->labels);
    } else if (a->memory_full) {
        series_limits_refused(limits, TSDB_SERIES_LIMIT_MEMORY, a->head, &ns->labels);
    } else if (!series_limits_metric_admit(limits, &ns->labels)) {
        series_limits_refused(limits, TSDB_SERIES_LIMIT_METRIC, a->head, &ns->labels);
    } else {
        status = head_series_create(a->head, &ns->labels, ns->hash, out_local, NULL);
    }
    if (status != TSDB_OK) {
        atomic_fetch_sub_explicit(a->owner->series_total, 1, memory_order_relaxed);
        return status;
    }
    a->changed = true;
    return TSDB_OK;
}

static enum tsdb_status series_create(struct apply *a, const struct tsdb_new_series *ns,
                                      uint32_t *out_local)
{
    struct tsdb_request *request = a->write->request; /* NULL: nobody's */
    if (request && !tsdb_request_series_take(request)) {
        series_limits_refused(a->owner->limits, TSDB_SERIES_LIMIT_REQUEST, a->head, &ns->labels);
        return TSDB_LIMIT;
    }
    enum tsdb_status status = series_create_limited(a, ns, out_local);
    if (request && status != TSDB_OK) {
        tsdb_request_series_give_back(request);
    }
    return status;
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
    } else {
        head_series_wanted(a->head, local);
    }
    if (a->log && !head_labels_logged(a->head, local)) {
        apply_group_ensure(a, WAL_RECORD_SERIES, 0);
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

/* Ask the caches for what the look-ups of the entries will read. */
static void entries_resolve_prefetch(const struct apply *a, uint32_t begin, uint32_t end)
{
    const struct index_mem *index = head_index(a->head);
    for (uint32_t i = begin; i < end; i++) {
        const struct tsdb_entry *e = &a->write->entries[i];
        if (e->series == TSDB_SERIES_NEW) {
            const struct tsdb_new_series *ns = &a->write->new_series[e->aux];
            index_mem_find_prefetch(index, ns->hash);
            alias_prefetch(a->owner->aliases, ns->alias);
        }
    }
}

/* Give the run's entries of new series their refs. Those that stay without one are refused later,
 * with their reason; a sample out of bounds creates no series. */
static void entries_resolve(struct apply *a, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end && a->failure == TSDB_OK; i++) {
        if ((i - begin) % RESOLVE_GROUP == 0) {
            entries_resolve_prefetch(a, i, TSDB_MIN(end, i + RESOLVE_GROUP));
        }
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

/* What the log may pack the next float of a series against. */
struct log_base {
    bool known;
    uint64_t bits;
};

static bool log_base_known(const struct apply *a, const struct head_series *s)
{
    return s->wal_epoch == (uint32_t)a->partition->epoch;
}

/* base: as it was before the float was appended. */
static void log_float(struct apply *a, struct head_series *s, const struct tsdb_entry *e,
                      int64_t start_ms, struct log_base base)
{
    apply_group_ensure(a, WAL_RECORD_SAMPLES, e->t_ms);
    wal_encode_float(&a->encoder, tsdb_series_local(e->series), e->t_ms, start_ms, e->value,
                     base.known, base.bits);
    (void)head_logged(s, a->partition->epoch, e->value);
    a->batch->wal_samples++;
}

/* The same, of what its stream has packed: against the base that the log has, if it has one. */
static void log_packed(struct apply *a, struct head_series *s, const struct tsdb_entry *e,
                       struct value_packed packed)
{
    if (!log_base_known(a, s)) {
        log_float(a, s, e, 0, (struct log_base){0});
        return;
    }
    apply_group_ensure(a, WAL_RECORD_SAMPLES, e->t_ms);
    wal_encode_packed(&a->encoder, tsdb_series_local(e->series), e->t_ms, 0, packed);
    a->batch->wal_samples++;
}

static void log_sample(struct apply *a, const struct tsdb_entry *e, struct head_series *s,
                       int64_t start_ms, struct log_base base)
{
    uint32_t local = tsdb_series_local(e->series);
    if (e->kind == TSDB_SAMPLE_FLOAT) {
        log_float(a, s, e, start_ms, base);
        return;
    }
    const struct tsdb_raw_histogram *h = (const struct tsdb_raw_histogram *)(uintptr_t)e->value;
    apply_group_ensure(a, WAL_RECORD_SAMPLES, e->t_ms);
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
    struct head_series *s = head_front_series(a->front, local);
    if (s->generation != e->generation) {
        a->result->stale_refs++;
        return;
    }
    int64_t start_ms = (e->flags & TSDB_ENTRY_HAS_START) ? a->write->starts[i] : 0;
    enum tsdb_sample_kind kind = (enum tsdb_sample_kind)e->kind;
    struct log_base base = {log_base_known(a, s), head_last_bits(s)};
    switch (head_append(a->head, local, e->t_ms, start_ms, kind, e->value)) {
    case HEAD_APPENDED:
    case HEAD_APPENDED_OUT_OF_ORDER:
        a->changed = true;
        a->least_ms = TSDB_MIN(a->least_ms, e->t_ms);
        a->greatest_ms = TSDB_MAX(a->greatest_ms, e->t_ms);
        if (a->log) {
            log_sample(a, e, s, start_ms, base);
        } else {
            s->wal_epoch = HEAD_EPOCH_NONE; /* as in run_samples */
        }
        break;
    case HEAD_DUPLICATE_SAME:
        a->duplicates = true;
        if (a->log_duplicates) {
            log_sample(a, e, s, start_ms, base);
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
        head_hot_prefetch(head_front_series(a->front, tsdb_series_local(e[PREFETCH_HOT].series)));
    }
    if (left > PREFETCH_TAIL && e[PREFETCH_TAIL].series != TSDB_SERIES_NEW) {
        head_tail_prefetch(head_front_series(a->front, tsdb_series_local(e[PREFETCH_TAIL].series)));
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
        TSDB_ASSERT(local < a->front->series_count || !plain);
        struct head_series *s = plain ? head_front_series(a->front, local) : NULL;
        struct value_packed packed;
        if (TSDB_UNLIKELY(!plain || s->generation != e->generation ||
                          !head_append_fast(a->front, s, local, e->t_ms, e->value, &packed))) {
            entry_apply_slow(a, i);
            continue;
        }
        fast++;
        min_ms = TSDB_MIN(min_ms, e->t_ms);
        max_ms = TSDB_MAX(max_ms, e->t_ms);
        if (a->log) {
            log_packed(a, s, e, packed);
        } else {
            s->wal_epoch = HEAD_EPOCH_NONE; /* the newest is none that the log has */
        }
    }
    apply_group_end(a);
    if (fast > 0) {
        a->changed = true;
        a->least_ms = TSDB_MIN(a->least_ms, min_ms);
        a->greatest_ms = TSDB_MAX(a->greatest_ms, max_ms);
        a->result->samples_written += fast;
        head_count(&a->front->counters.samples, fast);
        head_count_times(&a->front->counters, min_ms, max_ms);
    }
}

/* ---- exemplars ---- */

static void exemplar_apply(struct apply *a, const struct tsdb_write_exemplar *we)
{
    enum tsdb_status status = TSDB_NOT_FOUND;
    struct tsdb_exemplar x = we->exemplar;
    uint32_t local = tsdb_series_local(we->series);
    if (we->series != TSDB_SERIES_NEW && head_generation(a->head, local) == HEAD_GENERATION_GONE) {
        a->result->stale_refs++; /* it has left: the sender's labels are asked for */
        return;
    }
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
            apply_group_ensure(a, WAL_RECORD_EXEMPLARS, x.t_ms);
            wal_encode_exemplar(&a->encoder, local, &x);
        }
    } else if (status == TSDB_NOMEM) {
        fail(a, TSDB_NOMEM);
    } else {
        /* No entry to point at: only counted. */
        a->result->rejected[TSDB_REJECT_EXEMPLAR]++;
        head_count(&a->front->counters.rejected[TSDB_REJECT_EXEMPLAR], 1);
    }
}

static void run_exemplars(struct apply *a, uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end && a->failure == TSDB_OK; i++) {
        exemplar_apply(a, &a->write->exemplars[i]);
    }
    apply_group_end(a);
}

/* ---- a batch ---- */

/* Go to a partition: its epoch follows the log's. */
void apply_run_begin(struct apply *a, uint32_t partition)
{
    struct owner *o = a->owner;
    TSDB_ASSERT(o->partition_begin <= partition && partition < o->partition_end);
    a->partition_id = partition;
    a->partition = &o->partitions[partition];
    a->head = a->partition->head;
    a->front = head_front(a->head);
    a->changed = false;
    uint64_t epoch = a->log ? wal_epoch(o->wal) : a->partition->wal_epoch_seen;
    if (epoch != a->partition->wal_epoch_seen) {
        a->partition->wal_epoch_seen = epoch;
        a->partition->epoch++;
    }
}

static void run_end(struct apply *a)
{
    TSDB_ASSERT(!a->encoder.group);
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
static void group_for_duplicates(struct apply *a)
{
    if (a->log && a->duplicates && a->encoder.pos == a->batch->wal_bytes) {
        group_begin(a, WAL_RECORD_SAMPLES, 0);
        apply_group_end(a);
    }
}

/* Before anybody is told that they are written: who keeps results asks for it then. */
static void note_written(struct apply *a)
{
    struct owner *o = a->owner;
    if (a->least_ms == INT64_MAX) {
        return; /* no sample was */
    }
    TSDB_ASSERT(a->least_ms <= a->greatest_ms);
    if (a->greatest_ms < a->max_ms - future_ms_max - o->late_ms) {
        written_note(&o->written_late, -TSDB_MAX(a->greatest_ms, -INT64_MAX));
    } else {
        written_note(&o->written, a->least_ms);
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
        apply_run_begin(a, partition);
        if (w->new_series_count > 0) {
            entries_resolve(a, i, i_end);
            exemplars_resolve(a, x, x_end);
            apply_group_end(a);
        }
        run_samples(a, i, i_end);
        run_exemplars(a, x, x_end);
        run_end(a);
        i = i_end;
        x = x_end;
    }
    note_written(a);
    if (a->partition) {
        group_for_duplicates(a);
    }
    apply_frame_end(a);
}

void apply_init(struct apply *a, struct owner *o, struct tsdb_batch *b)
{
    memset(a, 0, offsetof(struct apply, encoder));
    memset(&b->result, 0, sizeof b->result);
    b->wal_len = 0;
    b->wal_samples = 0;
    a->owner = o;
    a->batch = b;
    a->write = b->write;
    a->memory_full = b->write->new_series_count > 0 && series_limits_memory_full(o->limits);
    a->result = &b->result;
    a->log = b->durability > TSDB_DURABILITY_MEMORY;
    a->log_duplicates = a->log && o->options->durability == TSDB_DURABILITY_MEMORY;
    a->least_ms = INT64_MAX;
    a->greatest_ms = INT64_MIN;
    int64_t now_ms = tsdb_clock_wall_ms(&o->clock);
    a->max_ms = now_ms + future_ms_max;
    a->min_ms = o->options->retention_ms > 0 ? now_ms - o->options->retention_ms : INT64_MIN;
    uint8_t *wal_bytes = a->log ? b->wal_bytes : NULL; /* without a log nothing is encoded */
    wal_encoder_init(&a->encoder, wal_bytes, a->log ? wal_bytes + b->wal_cap : NULL);
}

/* Apply the batch and pass it on. The caller holds a WAL credit if the batch is to be logged.
 *
 * Running out of memory fails the batch, but what was applied until then stays, so it is logged as
 * well: the sender will repeat the write, find it there ("exact duplicate") and be told that it is
 * stored. */
void owner_batch_apply(struct owner *o, struct tsdb_batch *b)
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
        owner_log(o, b); /* b is the log's from here on */
        return;
    }
    if (a.log) {
        tsdb_ring_release(wal_ring(o->wal, o->index), 1);
    }
    tsdb_batch_complete(b, a.failure);
}
