#include "base/assert.h"
#include "base/futex.h"
#include "base/latency.h"
#include "tsdb/engine/db_private.h"
#include "wal/record.h"

/* Beside samples, a run of one partition may bring new series and exemplars: a frame each. */
#define FRAMES_PER_RUN 3u
/* Entries of a write whose batches the caller of tsdb_write_run applies one after the other: some 100 ns each. */
#define RUN_HERE_MAX 512u

static_assert(sizeof(struct tsdb_epoch_guard) <= sizeof(struct tsdb_alias_guard),
              "an alias guard holds an epoch guard");

/* ---- aliases ---- */

void tsdb_alias_begin(struct tsdb *db, struct tsdb_alias_guard *out)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(db->epoch, &guard);
    out->opaque[0] = guard.slot;
    out->opaque[1] = 0;
}

void tsdb_alias_end(struct tsdb *db, struct tsdb_alias_guard *g)
{
    struct tsdb_epoch_guard guard = {.slot = (uint32_t)g->opaque[0]};
    tsdb_epoch_exit(db->epoch, &guard);
}

void tsdb_alias_prefetch(struct tsdb *db, struct tsdb_hash128 alias)
{
    alias_prefetch(db->aliases, alias);
}

struct tsdb_alias_hit tsdb_alias_find(struct tsdb *db, struct tsdb_hash128 alias)
{
    return alias_find(db->aliases, alias);
}

void tsdb_series_prefetch(struct tsdb *db, tsdb_series_ref ref)
{
    TSDB_ASSERT(ref != TSDB_SERIES_NEW);
    head_prefetch(db->heads[tsdb_series_partition(ref)], tsdb_series_local(ref));
}

/* ---- submit ---- */

static size_t new_series_bytes(const struct tsdb_write *w, uint32_t partition_min,
                               uint32_t partition_max)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < w->new_series_count; i++) {
        const struct tsdb_new_series *ns = &w->new_series[i];
        uint32_t partition = ns->partition;
        if (partition_min <= partition && partition <= partition_max) {
            bytes += tsdb_labels_encoded_bytes(&ns->labels) + WAL_SERIES_BYTES_OVERHEAD_MAX;
        }
    }
    return bytes;
}

size_t tsdb_batch_wal_bytes_max(const struct tsdb_write *w, const struct tsdb_batch *b)
{
    size_t bytes = 0;
    uint32_t runs = 0;
    uint32_t partition_min = TSDB_PARTITIONS;
    uint32_t partition_max = 0;
    for (uint32_t i = b->entry_begin; i < b->entry_end; i++) {
        const struct tsdb_entry *e = &w->entries[i];
        bytes += WAL_SAMPLE_BYTES_MAX;
        if (e->kind != TSDB_SAMPLE_FLOAT) {
            bytes += ((const struct tsdb_raw_histogram *)(uintptr_t)e->value)->len;
        }
        runs += i == b->entry_begin || e->partition != w->entries[i - 1].partition;
        partition_min = TSDB_MIN(partition_min, e->partition);
        partition_max = TSDB_MAX(partition_max, e->partition);
    }
    for (uint32_t i = b->exemplar_begin; i < b->exemplar_end; i++) {
        const struct tsdb_write_exemplar *x = &w->exemplars[i];
        bytes += tsdb_labels_encoded_bytes(&x->exemplar.labels) + WAL_EXEMPLAR_BYTES_OVERHEAD_MAX;
        runs += i == b->exemplar_begin || x->partition != w->exemplars[i - 1].partition;
        partition_min = TSDB_MIN(partition_min, x->partition);
        partition_max = TSDB_MAX(partition_max, x->partition);
    }
    runs = TSDB_MIN(runs, (uint32_t)TSDB_PARTITIONS);
    return bytes + (size_t)runs * FRAMES_PER_RUN * WAL_FRAME_OVERHEAD_MAX +
           new_series_bytes(w, partition_min, partition_max);
}

static enum tsdb_status read_only(struct tsdb_error *err)
{
    if (err) {
        err->status = TSDB_READ_ONLY;
    }
    return TSDB_READ_ONLY;
}

static enum tsdb_status submit_check(const struct tsdb *db, struct tsdb_error *err)
{
    /* Acquire: partner is recovery's release; what it made ready is there. */
    switch ((enum tsdb_state)atomic_load_explicit(&db->state, memory_order_acquire)) {
    case TSDB_STATE_READY:
        break;
    case TSDB_STATE_RECOVERING:
        return tsdb_error_set(err, TSDB_BUSY, "recovering, try again later");
    case TSDB_STATE_CLOSING:
        return tsdb_error_set(err, TSDB_BUSY, "shutting down");
    case TSDB_STATE_RETRYING: /* these are never stored: tsdb_state looks */
    case TSDB_STATE_OUT_OF_SPACE:
    case TSDB_STATE_COUNT:
    case TSDB_STATE_FAILED:
    case TSDB_STATE_READ_ONLY:
        (void)tsdb_state(db, err); /* knows the cause */
        return read_only(err);
    }
    if (db_checkpoint_first(db, err)) {
        return TSDB_BUSY;
    }
    switch (wal_state(db->wal, err)) {
    case WAL_READY:
        break;
    case WAL_RETRYING:
        return TSDB_BUSY;
    case WAL_READ_ONLY:
        return read_only(err);
    }
    return TSDB_OK;
}

static void release_credits(struct tsdb *db, const struct tsdb_write *w, uint32_t batches)
{
    for (uint32_t i = 0; i < batches; i++) {
        tsdb_ring_release(&db->owners[w->batches[i].owner].ring, 1);
    }
}

static enum tsdb_status take_credits(struct tsdb *db, const struct tsdb_write *w,
                                     struct tsdb_error *err)
{
    for (uint32_t i = 0; i < w->batch_count; i++) {
        uint32_t owner = w->batches[i].owner;
        TSDB_ASSERT(owner < db->owner_count);
        if (!tsdb_ring_reserve(&db->owners[owner].ring, 1)) {
            release_credits(db, w, i);
            atomic_fetch_add_explicit(&db->ring_full, 1, memory_order_relaxed);
            return tsdb_error_set(err, TSDB_BUSY, "the queue of owner %u is full", owner);
        }
    }
    return TSDB_OK;
}

/* Credits for every batch, and each as its owner expects it; after OK they are to be published. */
static enum tsdb_status submit_begin(struct tsdb *db, struct tsdb_write *w, struct tsdb_error *err)
{
    TSDB_ASSERT(w->batch_count <= TSDB_OWNERS_MAX);
    enum tsdb_status status = submit_check(db, err);
    if (status == TSDB_OK) {
        status = take_credits(db, w, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    atomic_store_explicit(&w->status, TSDB_OK, memory_order_relaxed);
    for (uint32_t i = 0; i < w->new_series_count; i++) {
        w->new_series[i].ref = TSDB_SERIES_NEW;
        w->new_series[i].generation = 0;
    }
    if (w->new_series_count > 0) {
        atomic_fetch_add_explicit(&db->alias_misses, w->new_series_count, memory_order_relaxed);
    }
    uint64_t now_ns = tsdb_perf_now();
    for (uint32_t i = 0; i < w->batch_count; i++) {
        struct tsdb_batch *b = &w->batches[i];
        b->write = w;
        b->next = NULL;
        b->published_ns = now_ns;
        TSDB_ASSERT(b->durability == TSDB_DURABILITY_MEMORY || b->wal_bytes);
    }
    /* Relaxed, like all of w: the rings' publish hands it over. */
    atomic_store_explicit(&w->pending, w->batch_count, memory_order_relaxed);
    return TSDB_OK;
}

enum tsdb_status tsdb_write_submit(struct tsdb *db, struct tsdb_write *w, struct tsdb_error *err)
{
    enum tsdb_status status = submit_begin(db, w, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t n = w->batch_count;
    if (n == 0) {
        w->done(w);
    }
    for (uint32_t i = 0; i < n; i++) { /* after the last one w may be gone */
        tsdb_ring_publish(&db->owners[w->batches[i].owner].ring, &w->batches[i]);
    }
    return TSDB_OK;
}

/* ---- run ---- */

enum {
    RUNNING = 0,
    DONE = 1,
    AWAITED = 2 /* running, and its caller sleeps */
};

static void run_done(struct tsdb_write *w)
{
    _Atomic(uint32_t) *state = w->done_arg; /* gone, as w, when it says DONE */
    if (atomic_exchange(state, DONE) == AWAITED) {
        tsdb_futex_wake_one(state);
    }
}

/* The owners are told of all batches but those that are applied here: of small writes all, of large ones, which they apply side by
 * side, one. */
static void run_batches(struct tsdb *db, struct tsdb_write *w, const _Atomic(uint32_t) *done)
{
    uint32_t here = w->entry_count <= RUN_HERE_MAX ? w->batch_count : TSDB_MIN(w->batch_count, 1u);
    bool logged = false;
    struct owner *busy[TSDB_OWNERS_MAX];
    uint32_t busy_count = 0;
    for (uint32_t i = here; i < w->batch_count; i++) {
        tsdb_ring_publish(&db->owners[w->batches[i].owner].ring, &w->batches[i]);
    }
    for (uint32_t i = 0; i < here; i++) {
        struct owner *o = &db->owners[w->batches[i].owner];
        bool used = false;
        tsdb_ring_publish_quietly(&o->ring, &w->batches[i]);
        busy[busy_count] = o;
        busy_count += !owner_help_if_free(o, &used);
        logged |= used;
    }
    for (uint32_t i = 0; i < busy_count; i++) {
        logged |= owner_help(busy[i], done);
    }
    if (logged && w->batches[0].durability > TSDB_DURABILITY_MEMORY) {
        wal_write_help(db->wal, done);
    } else if (logged) { /* labels, for which nobody waits */
        wal_tell(db->wal);
    }
}

enum tsdb_status tsdb_write_run(struct tsdb *db, struct tsdb_write *w, struct tsdb_error *err)
{
    _Atomic(uint32_t) state = RUNNING;
    uint32_t running = RUNNING;
    int cancel = 0;
    w->done = run_done;
    w->done_arg = &state;
    enum tsdb_status status = submit_begin(db, w, err);
    if (status != TSDB_OK || w->batch_count == 0) {
        return status;
    }
    /* Who ends this thread in the middle would leave the turns of others, and w, for ever. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
    run_batches(db, w, &state);
    if (atomic_compare_exchange_strong(&state, &running, AWAITED)) {
        while (atomic_load(&state) == AWAITED) {
            tsdb_futex_wait(&state, AWAITED, -1);
        }
    }
    pthread_setcancelstate(cancel, &cancel);
    return TSDB_OK;
}
