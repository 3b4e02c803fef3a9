#include "tsdb/engine/sealer.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/latency.h"
#include "base/log.h"

#include <string.h>

#define CATEGORY TSDB_MEM_OTHER
/* A batch ends with the chunk that reaches this: large enough that a sync is shared by thousands of
 * chunks, small enough that owners swap it in within a millisecond or two. */
#define BATCH_BYTES    (4u << 20)
#define BATCH_CHUNKS   8192u
#define RETRY_PAUSE_NS (INT64_C(5) * 1000 * 1000 * 1000)
#define IDLE_NS        (INT64_C(5) * 1000 * 1000 * 1000) /* then the buffer goes */

struct sealer {
    struct sealer_options o;
    struct head_file *current; /* NULL: none yet, or the last one failed or is full */
    struct head_raw_chunk *pending, **pending_end; /* taken from queues, oldest first */
    struct tsdb_buf buf;
    struct head_raw_chunk *made[BATCH_CHUNKS]; /* of the batch under way */
    uint32_t made_count;
    int64_t retry_ns;
    int64_t busy_ns;    /* when there was something to do last */
    bool no_space_said; /* since the last batch that was written */
    _Atomic(uint64_t) chunks, samples, bytes, failures, drained; /* relaxed */
};

enum tsdb_status sealer_create(const struct sealer_options *o, struct sealer **out)
{
    struct sealer *s = tsdb_mem_alloc_zero(CATEGORY, sizeof *s);
    if (!s) {
        return TSDB_NOMEM;
    }
    s->o = *o;
    s->pending_end = &s->pending;
    tsdb_buf_init(&s->buf, CATEGORY, 0);
    *out = s;
    return TSDB_OK;
}

void sealer_destroy(struct sealer *s)
{
    if (!s) {
        return;
    }
    for (struct head_raw_chunk *c = s->pending, *next; c; c = next) {
        next = c->next;
        head_seal_queue_push(s->o.heads[c->partition], c);
    }
    if (s->current) {
        head_file_release(s->current);
    }
    tsdb_buf_deinit(&s->buf);
    tsdb_mem_free(CATEGORY, s, sizeof *s);
}

static void take_queues(struct sealer *s)
{
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        *s->pending_end = head_seal_queue_take(s->o.heads[p]);
        while (*s->pending_end) {
            s->pending_end = &(*s->pending_end)->next;
        }
    }
}

/* ---- a batch ---- */

/* The chunk that will lie at `offset` behind the end of the buffer; returns what the reference calls its
 * length, and in *out_bytes how many bytes it takes. 0: no memory. */
static uint32_t samples_put(struct sealer *s, const struct head_raw_chunk *raw, uint64_t offset,
                            size_t *out_bytes)
{
    struct chunk_samples samples = head_raw_samples(raw);
    uint8_t *frame =
        tsdb_buf_reserve(&s->buf, chunk_encoded_bytes_max(&samples) + HEAD_FILE_FRAME_BYTES);
    if (!frame) {
        return 0;
    }
    size_t len = chunk_encode(&samples, NULL, frame + 4);
    TSDB_ASSERT(len <= UINT32_MAX - HEAD_FILE_FRAME_BYTES);
    head_file_frame_end(s->current, offset, frame, (uint32_t)len);
    *out_bytes = len + HEAD_FILE_FRAME_BYTES;
    return (uint32_t)len;
}

static uint32_t bundle_put(struct sealer *s, const struct head_raw_chunk *raw, uint64_t offset,
                           size_t *out_bytes)
{
    struct bundle_stream streams[BUNDLE_SERIES];
    uint32_t n = head_raw_streams(raw, streams);
    const struct bundle_place place = {s->current->mark, s->current->number, offset, raw->local,
                                       raw->partition};
    uint8_t *room = tsdb_buf_reserve(&s->buf, bundle_encoded_bytes(streams, n));
    *out_bytes = room ? bundle_encode(&place, raw->sealed.mask, streams, room) : 0;
    return (uint32_t)*out_bytes;
}

/* Room for the chunk at the end of the buffer and a head_sealed for it; false: no memory. */
static bool chunk_put(struct sealer *s, struct head_raw_chunk *raw, uint64_t file_bytes)
{
    TSDB_ASSERT(s->current && s->made_count < BATCH_CHUNKS);
    uint64_t offset = file_bytes + s->buf.len;
    size_t bytes = 0;
    uint32_t len = raw->sealed.mask != 0 ? bundle_put(s, raw, offset, &bytes)
                                         : samples_put(s, raw, offset, &bytes);
    if (len == 0) {
        s->buf.failed = false;
        return false;
    }
    raw->replacement = head_sealed_in_file(raw, s->current, offset, len);
    if (!raw->replacement) {
        return false;
    }
    s->buf.len += bytes;
    s->made[s->made_count++] = raw;
    return true;
}

/* The batch is durable: hand it over. */
static void batch_deliver(struct sealer *s)
{
    uint64_t samples = 0;
    bool wake[TSDB_OWNERS_MAX] = {false};
    for (uint32_t i = 0; i < s->made_count; i++) {
        struct head_raw_chunk *raw = s->made[i];
        uint32_t owner = s->o.owner_of[raw->partition];
        s->pending = raw->next;
        samples += raw->sealed.count;
        head_file_acquire(raw->replacement->file);
        owner_mailbox_push(&s->o.owners[owner], raw); /* from here on the owner's */
        wake[owner] = true;
    }
    for (uint32_t i = 0; i < TSDB_OWNERS_MAX; i++) {
        if (wake[i]) {
            tsdb_ring_wake(&s->o.owners[i].ring);
        }
    }
    if (!s->pending) {
        s->pending_end = &s->pending;
    }
    atomic_fetch_add_explicit(&s->chunks, s->made_count, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->samples, samples, memory_order_relaxed);
    atomic_fetch_add_explicit(&s->bytes, s->buf.len, memory_order_relaxed);
}

static void batch_discard(struct sealer *s)
{
    for (uint32_t i = 0; i < s->made_count; i++) {
        head_sealed_discard(s->made[i]->replacement);
        s->made[i]->replacement = NULL;
    }
}

static void current_leave(struct sealer *s)
{
    if (s->current) {
        head_file_release(s->current);
        s->current = NULL;
    }
}

static enum tsdb_status batch_write(struct sealer *s, struct tsdb_error *err)
{
    if (s->current &&
        atomic_load_explicit(&s->current->bytes, memory_order_relaxed) >= s->o.file_bytes_max) {
        current_leave(s);
    }
    enum tsdb_status status = s->current ? TSDB_OK : head_files_next(s->o.files, &s->current, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint64_t file_bytes = atomic_load_explicit(&s->current->bytes, memory_order_relaxed);
    for (struct head_raw_chunk *c = s->pending; c; c = c->next) {
        if (s->made_count == BATCH_CHUNKS || s->buf.len >= BATCH_BYTES ||
            !chunk_put(s, c, file_bytes)) {
            break;
        }
    }
    if (s->made_count == 0) {
        return tsdb_error_set(err, TSDB_NOMEM, "no memory to encode a chunk");
    }
    status = head_file_append(s->current, s->buf.data, s->buf.len, err);
    if (status != TSDB_OK) {
        current_leave(s); /* the handle is poisoned; what it has stays readable */
    }
    return status;
}

static void buffer_free(struct sealer *s)
{
    tsdb_buf_deinit(&s->buf);
    tsdb_buf_init(&s->buf, CATEGORY, 0);
}

static void drained(struct sealer *s)
{
    /* Release: partner is sealer_stats; who sees it finds the chunks in the mailboxes. */
    atomic_fetch_add_explicit(&s->drained, 1, memory_order_release);
}

size_t sealer_step(struct sealer *s, int64_t now_ns)
{
    take_queues(s);
    if (!s->pending) {
        drained(s);
        if (now_ns - s->busy_ns >= IDLE_NS) {
            buffer_free(s);
        }
        return 0;
    }
    s->busy_ns = now_ns;
    if (now_ns < s->retry_ns) {
        return 0;
    }
    uint64_t begin = tsdb_perf_now();
    struct tsdb_error err;
    tsdb_buf_clear(&s->buf);
    s->made_count = 0;
    enum tsdb_status status = batch_write(s, &err);
    if (status != TSDB_OK) {
        batch_discard(s);
        s->retry_ns = now_ns + RETRY_PAUSE_NS;
        atomic_fetch_add_explicit(&s->failures, 1, memory_order_relaxed);
        if (!s->no_space_said) {
            tsdb_log(TSDB_LOG_ERROR, "sealer", "chunks stay in memory, next try in 5 s",
                     TSDB_S("err", err.msg));
        }
        s->no_space_said = tsdb_error_is_no_space(&err);
        return 0;
    }
    s->no_space_said = false;
    batch_deliver(s);
    if (!s->pending) {
        drained(s);
    }
    if (s->buf.cap > 2 * BATCH_BYTES) { /* a chunk of large histograms */
        buffer_free(s);
    }
    tsdb_perf_end(TSDB_LAYER_SEAL, begin);
    return s->made_count;
}

void sealer_stats(const struct sealer *s, struct sealer_stats *out)
{
    out->chunks = atomic_load_explicit(&s->chunks, memory_order_relaxed);
    out->samples = atomic_load_explicit(&s->samples, memory_order_relaxed);
    out->bytes = atomic_load_explicit(&s->bytes, memory_order_relaxed);
    out->failures = atomic_load_explicit(&s->failures, memory_order_relaxed);
    out->drained = atomic_load_explicit(&s->drained, memory_order_acquire);
}
