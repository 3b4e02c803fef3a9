#include "tools/cmd/import_head.h"

#include "compress/prom_chunk.h"
#include "tsdb/batch_build.h"

#include <inttypes.h>

#define BATCH_SAMPLES 16384u
#define BATCH_BYTES   (16u << 20) /* of histograms */
#define SERIES_MAX    (1u << 30)
#define STEPS_EVERY   16u /* batches */

struct deleted {
    int64_t min_ms, max_ms; /* closed */
    struct deleted *next;
};
struct series {
    uint64_t ref;
    const uint8_t *labels; /* canonical bytes */
    uint32_t labels_len;
    bool known;
    int64_t last_ms; /* of what the log said */
    struct deleted *deleted;
    uint64_t batch; /* in which `target` is good */
    struct tsdb_build_target target;
};
struct work {
    struct tsdb *db;
    struct import_head *out;
    struct tool_progress *progress;
    int64_t from_ms;
    struct tsdb_arena table_arena; /* labels, deletions */
    struct series *table;          /* by ref; cap is a power of two, at most half is used */
    uint64_t cap, count;
    struct tsdb_arena batch_arena, scratch;
    struct tsdb_batch_build build;
    uint64_t batch; /* its number, from 1 */
    size_t batch_bytes;
    bool in_order;    /* what comes has to rise */
    bool from_chunks; /* the same histogram may look different in a chunk: no conflict */
    bool done;
};

/* ---- series by their references ---- */
static struct series *slot(const struct work *w, uint64_t ref)
{
    uint64_t i = ref * UINT64_C(0x9E3779B97F4A7C15);
    for (i ^= i >> 32;; i++) {
        struct series *s = &w->table[i & (w->cap - 1)];
        if (!s->known || s->ref == ref) {
            return s;
        }
    }
}

static enum tsdb_status table_grow(struct work *w, struct tsdb_error *err)
{
    struct work more = *w;
    more.cap = w->cap ? 2 * w->cap : 1024;
    more.table = more.cap <= SERIES_MAX
                     ? tsdb_mem_alloc_zero(TSDB_MEM_OTHER, more.cap * sizeof *more.table)
                     : NULL;
    if (!more.table) {
        return tsdb_error_nomem(err, "the table of series");
    }
    for (uint64_t i = 0; i < w->cap; i++) {
        if (w->table[i].known) {
            *slot(&more, w->table[i].ref) = w->table[i];
        }
    }
    tsdb_mem_free(TSDB_MEM_OTHER, w->table, w->cap * sizeof *w->table);
    w->table = more.table;
    w->cap = more.cap;
    return TSDB_OK;
}

static struct series *find(const struct work *w, uint64_t ref)
{
    struct series *s = w->cap > 0 ? slot(w, ref) : NULL;
    return s && s->known ? s : NULL;
}

static enum tsdb_status take_series(void *arg, uint64_t ref, const struct tsdb_labels *labels,
                                    struct tsdb_error *err)
{
    struct work *w = arg;
    tsdb_arena_reset(&w->scratch);
    struct tsdb_label *items = TSDB_ARENA_ARRAY(&w->scratch, struct tsdb_label, labels->count + 1);
    struct tsdb_labels canonical = {items, labels->count};
    if (!items) {
        return tsdb_error_nomem(err, "labels");
    }
    if (find(w, ref)) {
        return TSDB_OK; /* a checkpoint and the log both tell of it */
    }
    if (labels->count > 0) {
        memcpy(items, labels->items, labels->count * sizeof *items);
    }
    if (tsdb_labels_canonicalize(items, &canonical.count, false, NULL) != TSDB_OK ||
        canonical.count == 0) {
        return TSDB_OK; /* its samples are counted as nobody's */
    }
    enum tsdb_status status = 2 * (w->count + 1) > w->cap ? table_grow(w, err) : TSDB_OK;
    if (status != TSDB_OK) {
        return status;
    }
    size_t len = tsdb_labels_encoded_bytes(&canonical);
    uint8_t *bytes = tsdb_arena_alloc(&w->table_arena, len, 1);
    if (!bytes) {
        return tsdb_error_nomem(err, "labels");
    }
    (void)tsdb_labels_encode(&canonical, bytes);
    *slot(w, ref) = (struct series){.ref = ref,
                                    .labels = bytes,
                                    .labels_len = (uint32_t)len,
                                    .known = true,
                                    .last_ms = INT64_MIN};
    w->count++;
    return tool_check(err);
}

static enum tsdb_status take_deletion(void *arg, uint64_t ref, int64_t min_ms, int64_t max_ms,
                                      struct tsdb_error *err)
{
    struct work *w = arg;
    struct series *s = find(w, ref);
    struct deleted *d = s ? TSDB_ARENA_NEW(&w->table_arena, struct deleted) : NULL;
    if (s && !d) {
        return tsdb_error_nomem(err, "deletions");
    }
    if (s) {
        *d = (struct deleted){min_ms, max_ms, s->deleted};
        s->deleted = d;
    }
    return TSDB_OK;
}

/* ---- batches ---- */
static void begin_batch(struct work *w)
{
    tsdb_arena_reset(&w->batch_arena);
    tsdb_build_init(&w->build, &w->batch_arena, tsdb_hash_key(w->db), tsdb_owner_map(w->db));
    w->batch++;
    w->batch_bytes = 0;
}

static void write_done(struct tsdb_write *write)
{
    ((struct work *)write->done_arg)->done = true;
}

/* What background threads do in a server: full chunks to files, windows that are over to blocks. */
static void background_steps(struct work *w)
{
    int64_t now_ns = tsdb_clock_mono_ns(&tsdb_clock_real);
    while (tsdb_seal_step(w->db, now_ns) > 0) {
    }
    (void)tsdb_owner_step(w->db, 0, now_ns);
    while (tsdb_flush_step(w->db, now_ns) > 0) {
    }
    (void)tsdb_compact_step(w->db, now_ns);
    (void)tsdb_checkpoint_step(w->db, now_ns);
}

static enum tsdb_status submit(struct work *w, struct tsdb_write *write, struct tsdb_error *err)
{
    w->done = false;
    write->done = write_done;
    write->done_arg = w;
    enum tsdb_status status = tsdb_write_submit(w->db, write, err);
    while (status == TSDB_OK && !w->done) {
        int64_t now_ns = tsdb_clock_mono_ns(&tsdb_clock_real);
        (void)tsdb_owner_step(w->db, 0, now_ns);
        (void)tsdb_wal_write_step(w->db, now_ns);
        (void)tsdb_wal_sync_step(w->db, now_ns);
    }
    if (status == TSDB_OK && atomic_load(&write->status) != TSDB_OK) {
        (void)tsdb_state(w->db, err);
        status = (enum tsdb_status)atomic_load(&write->status);
    }
    if (status == TSDB_OK) {
        struct tsdb_write_result r;
        tsdb_write_result_sum(write, &r);
        w->out->samples += (uint64_t)r.samples_written + r.histograms_written;
        w->out->conflicts += w->from_chunks ? 0 : r.rejected[TSDB_REJECT_DUPLICATE];
    }
    return status;
}

static enum tsdb_status flush_batch(struct work *w, struct tsdb_error *err)
{
    uint32_t count = w->build.entry_count;
    enum tsdb_status status = tool_check(err);
    struct tsdb_write *write = TSDB_ARENA_NEW(&w->batch_arena, struct tsdb_write);
    if (!write) {
        return tsdb_error_nomem(err, "a batch");
    }
    memset(write, 0, sizeof *write);
    if (status == TSDB_OK && count > 0) {
        status = tsdb_build_finish(&w->build, TSDB_DURABILITY_BUFFERED, write);
        status = status == TSDB_OK ? submit(w, write, err) : tsdb_error_nomem(err, "a batch");
    }
    tool_progress_add(w->progress, count);
    if (status == TSDB_OK && w->batch % STEPS_EVERY == 0) {
        background_steps(w);
    }
    begin_batch(w);
    return status;
}

static enum tsdb_status target_of(struct work *w, struct series *s, struct tsdb_error *err)
{
    if (s->batch == w->batch) {
        return TSDB_OK;
    }
    struct tsdb_labels labels = {NULL, 0};
    struct tsdb_label *items =
        TSDB_ARENA_ARRAY(&w->batch_arena, struct tsdb_label, TSDB_LABELS_MAX);
    enum tsdb_status status = items ? TSDB_OK : tsdb_error_nomem(err, "labels");
    if (status == TSDB_OK) {
        labels.items = items;
        status = tsdb_labels_decode(s->labels, s->labels_len, items, TSDB_LABELS_MAX, &labels.count,
                                    err);
    }
    if (status == TSDB_OK) {
        status = tsdb_build_new(&w->build, labels, (struct tsdb_hash128){0, 0}, &s->target);
    }
    s->batch = w->batch;
    return status;
}

static bool is_deleted(const struct series *s, int64_t t_ms)
{
    for (const struct deleted *d = s->deleted; d; d = d->next) {
        if (d->min_ms <= t_ms && t_ms <= d->max_ms) {
            return true;
        }
    }
    return false;
}

/* Does a Prometheus have this sample after a start? */
static bool wanted(struct work *w, struct series *s, int64_t t_ms)
{
    if (w->in_order && (t_ms <= s->last_ms || t_ms < w->from_ms)) {
        return false;
    }
    s->last_ms = w->in_order ? t_ms : s->last_ms;
    return !is_deleted(s, t_ms);
}

static enum tsdb_status add(struct work *w, struct series *s, enum tsdb_sample_kind kind,
                            int64_t t_ms, uint64_t value, struct tsdb_error *err)
{
    enum tsdb_status status = target_of(w, s, err);
    if (status == TSDB_OK) {
        status = tsdb_build_reserve(&w->build, 1);
    }
    if (status != TSDB_OK) {
        return tsdb_error_nomem(err, "a batch");
    }
    tsdb_build_add(&w->build, &s->target, kind, t_ms, value);
    w->out->min_ms = TSDB_MIN(w->out->min_ms, t_ms);
    w->out->max_ms = TSDB_MAX(w->out->max_ms, t_ms);
    bool full = w->build.entry_count == BATCH_SAMPLES || w->batch_bytes >= BATCH_BYTES;
    return full ? flush_batch(w, err) : TSDB_OK;
}

static enum tsdb_status take_sample(void *arg, uint64_t ref, int64_t t_ms, uint64_t bits,
                                    struct tsdb_error *err)
{
    struct work *w = arg;
    struct series *s = find(w, ref);
    w->out->unknown += !s;
    return s && wanted(w, s, t_ms) ? add(w, s, TSDB_SAMPLE_FLOAT, t_ms, bits, err) : TSDB_OK;
}

static enum tsdb_status take_histogram(void *arg, uint64_t ref, int64_t t_ms,
                                       const struct tsdb_histogram *given, struct tsdb_error *err)
{
    struct work *w = arg;
    struct series *s = find(w, ref);
    struct tsdb_histogram h = *given;
    w->out->unknown += !s;
    if (!s || !wanted(w, s, t_ms)) {
        return TSDB_OK;
    }
    enum tsdb_status status = tsdb_histogram_reduce(&h, &w->batch_arena);
    if (status == TSDB_NOMEM) {
        return tsdb_error_nomem(err, "a histogram");
    }
    if (status != TSDB_OK ||
        (!tsdb_histogram_is_stale(&h) && tsdb_histogram_validate(&h, NULL) != TSDB_OK)) {
        w->out->refused++;
        return TSDB_OK;
    }
    size_t max = tsdb_histogram_encoded_bytes_max(&h);
    struct tsdb_raw_histogram *raw = TSDB_ARENA_NEW(&w->batch_arena, struct tsdb_raw_histogram);
    uint8_t *bytes = tsdb_arena_alloc(&w->batch_arena, max, 1);
    if (!raw || !bytes) {
        return tsdb_error_nomem(err, "a histogram");
    }
    *raw = (struct tsdb_raw_histogram){(uint32_t)tsdb_histogram_encode(&h, bytes), bytes};
    w->batch_bytes += max;
    return add(w, s, h.is_float ? TSDB_SAMPLE_HISTOGRAM_FLOAT : TSDB_SAMPLE_HISTOGRAM_INT, t_ms,
               (uint64_t)(uintptr_t)raw, err);
}

/* ---- head chunks ---- */
static enum tsdb_status take_chunk(void *arg, const struct prom_head_chunk *c,
                                   struct tsdb_error *err)
{
    struct work *w = arg;
    struct tsdb_columns columns = {0};
    if (!find(w, c->ref)) {
        return TSDB_OK; /* of a series that is gone: what it had is in blocks */
    }
    tsdb_arena_reset(&w->scratch);
    enum tsdb_status status =
        prom_chunk_decode(c->encoding, c->data.data, c->data.len, &w->scratch, &columns, err);
    for (uint32_t i = 0; i < columns.count && status == TSDB_OK; i++) {
        bool is_float = !columns.kind || columns.kind[i] == TSDB_SAMPLE_FLOAT;
        if (!c->out_of_order && columns.t_ms[i] < w->from_ms) {
            continue;
        }
        status = is_float ? take_sample(w, c->ref, columns.t_ms[i], columns.bits[i], err)
                          : take_histogram(w, c->ref, columns.t_ms[i],
                                           &columns.histograms[columns.bits[i]], err);
    }
    return status;
}

/* ---- all of it ---- */
static enum tsdb_status read_all(struct work *w, const struct tsdb_fs *src, struct prom_log *log,
                                 struct tsdb_error *err)
{
    const struct prom_log_sink names = {.arg = w, .series = take_series, .deletion = take_deletion};
    const struct prom_log_sink samples = {
        .arg = w, .sample = take_sample, .histogram = take_histogram};
    struct prom_log again = {0};
    enum tsdb_status status = prom_log_read(src, "wal", &names, &again, err);
    prom_log_deinit(&again); /* the same damage is met with once more */
    w->in_order = true;
    if (status == TSDB_OK) {
        status = prom_log_read(src, "wal", &samples, log, err);
    }
    w->in_order = false;
    if (status == TSDB_OK) {
        status = prom_log_read(src, "wbl", &samples, log, err);
    }
    if (status == TSDB_OK) {
        status = flush_batch(w, err);
    }
    if (status == TSDB_OK && log->damaged > 0) { /* a whole log has all that they hold */
        w->from_chunks = true;
        status = prom_head_chunks_read(src, take_chunk, w, log, err);
        if (status == TSDB_OK) {
            status = flush_batch(w, err);
        }
    }
    return status;
}

static enum tsdb_status any_entry(void *arg, const char *name, bool is_dir)
{
    (void)name;
    (void)is_dir;
    *(bool *)arg = true;
    return TSDB_OK;
}

bool import_head_any(const struct tsdb_fs *src)
{
    bool any = false;
    (void)src->ops->list(src->ctx, "wal", any_entry, &any, NULL);
    return any;
}

static enum tsdb_status open_engine(const struct tsdb_fs *fs, struct tsdb **out,
                                    struct tsdb_error *err)
{
    struct tsdb_options o;
    tsdb_options_default(&o);
    o.fs = *fs;
    o.manual_steps = true;
    o.owner_count = 1;
    o.retention_ms = 0;
    return tsdb_open(&o, out, err);
}

enum tsdb_status import_head(const struct tsdb_fs *src, int64_t from_ms, const char *dir,
                             struct tool_progress *progress, struct import_head *out,
                             struct tsdb_error *err)
{
    struct tsdb_fs fs;
    struct prom_log log = {0};
    struct work w = {.out = out, .progress = progress, .from_ms = from_ms};
    *out = (struct import_head){.min_ms = INT64_MAX, .max_ms = INT64_MIN};
    enum tsdb_status status = tsdb_fs_real_create(dir, &fs, err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_arena_init(&w.table_arena, TSDB_MEM_OTHER, 1u << 20, NULL);
    tsdb_arena_init(&w.batch_arena, TSDB_MEM_OTHER, 1u << 20, NULL);
    tsdb_arena_init(&w.scratch, TSDB_MEM_OTHER, 65536, NULL);
    status = open_engine(&fs, &w.db, err);
    if (status == TSDB_OK) {
        begin_batch(&w);
        status = read_all(&w, src, &log, err);
        /* What was taken stays, also after a failure. */
        enum tsdb_status closed = tsdb_close(w.db, status == TSDB_OK ? err : NULL);
        status = status == TSDB_OK ? closed : status;
    }
    out->series = w.count;
    out->bytes = log.bytes;
    out->damaged = log.damaged;
    snprintf(out->damage, sizeof out->damage, "%s", log.damage);
    prom_log_deinit(&log);
    tsdb_mem_free(TSDB_MEM_OTHER, w.table, w.cap * sizeof *w.table);
    tsdb_arena_deinit(&w.scratch);
    tsdb_arena_deinit(&w.batch_arena);
    tsdb_arena_deinit(&w.table_arena);
    tsdb_fs_real_destroy(&fs);
    return status;
}
