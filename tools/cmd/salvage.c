#include "tools/cmd/salvage.h"

#include "base/random.h"
#include "tsdb/block/tombstones.h"

#define CACHE_BYTES (16u << 20)

struct work {
    struct block *from;
    struct block_writer *to;
    struct tsdb_arena arena; /* of one series */
    struct tool_progress *progress;
    struct salvage *s;
    struct tombstones *hidden; /* NULL: nothing is */
};

/* ---- copying ---- */
static bool is_damage(enum tsdb_status status)
{
    return status == TSDB_CORRUPT || status == TSDB_UNSUPPORTED || status == TSDB_NOT_FOUND;
}

static void lose_chunk(struct work *w, const struct tsdb_labels *labels,
                       const struct block_chunk *c)
{
    struct salvage *s = w->s;
    if (s->lost_chunks == 0) {
        struct tsdb_buf text;
        tsdb_buf_init(&text, TSDB_MEM_OTHER, 0);
        tsdb_labels_print(labels, &text);
        snprintf(s->first_lost, sizeof s->first_lost, "%.*s", (int)text.len,
                 text.len > 0 ? (const char *)text.data : "");
        tsdb_buf_deinit(&text);
    }
    s->lost_chunks++;
    s->lost_samples += c->summary.count;
    s->lost_min_ms = TSDB_MIN(s->lost_min_ms, c->summary.min_ms);
    s->lost_max_ms = TSDB_MAX(s->lost_max_ms, c->summary.max_ms);
}

/* A chunk whose raw histograms are not readable either is lost too: nobody could ask for it. */
static enum tsdb_status read_chunk(struct work *w, const struct block_chunk *c,
                                   struct chunk_samples *out, struct tsdb_error *err)
{
    enum tsdb_status status = block_chunk_read(w->from, c, &w->arena, out, err);
    bool inside =
        status != TSDB_OK ||
        (out->t_ms[0] >= w->s->meta.min_ms &&
         (out->t_ms[out->count - 1] < w->s->meta.max_ms || w->s->meta.max_ms == INT64_MAX));
    return inside ? status : tsdb_error_set(err, TSDB_CORRUPT, "samples outside of the block");
}

static enum tsdb_status copy_chunks(struct work *w, uint32_t id, const struct tsdb_labels *labels,
                                    const struct block_chunk *chunks, uint32_t count,
                                    struct tsdb_error *err)
{
    struct tombstone_cuts cuts = tombstones_find(w->hidden, id);
    bool begun = false;
    bool seen = false;
    enum tsdb_status status = TSDB_OK;
    int64_t last_ms = INT64_MIN;
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        struct chunk_samples samples = {0};
        struct tsdb_error why;
        enum tsdb_status read = read_chunk(w, &chunks[i], &samples, &why);
        if (read == TSDB_OK && seen && samples.t_ms[0] <= last_ms) {
            read = TSDB_CORRUPT;
        }
        if (is_damage(read)) {
            lose_chunk(w, labels, &chunks[i]);
            continue;
        }
        if (read != TSDB_OK) {
            *err = why;
            return read;
        }
        last_ms = samples.t_ms[samples.count - 1];
        seen = true;
        if (tombstone_cuts_apply(&cuts, &w->arena, &samples) != TSDB_OK) {
            return tsdb_error_nomem(err, "a chunk");
        }
        if (samples.count == 0) {
            continue;
        }
        if (!begun) {
            status = block_writer_series(w->to, labels, err);
            begun = true;
        }
        if (status == TSDB_OK) {
            status = block_writer_chunk(w->to, &samples, NULL, 0, err);
        }
        w->s->kept_samples += samples.count;
        tool_progress_add(w->progress, samples.count);
    }
    return status;
}

static enum tsdb_status copy_series(struct work *w, uint32_t id, struct tsdb_buf *before,
                                    struct tsdb_error *err)
{
    static struct tsdb_label items[TSDB_LABELS_MAX];
    struct tsdb_labels labels = {0}, last = {items, 0};
    struct block_chunk *chunks = NULL;
    uint32_t count = 0;
    struct tsdb_error why;
    enum tsdb_status status = block_labels(w->from, id, &w->arena, &labels, &why);
    if (status == TSDB_OK) {
        status = block_chunks(w->from, id, TSDB_TIME_ALL, &w->arena, &chunks, &count, &why);
    }
    bool ordered =
        before->len == 0 || (tsdb_labels_decode(before->data, before->len, items, TSDB_LABELS_MAX,
                                                &last.count, NULL) == TSDB_OK &&
                             status == TSDB_OK && tsdb_labels_compare(&last, &labels) < 0);
    if (is_damage(status) || (status == TSDB_OK && !ordered)) {
        w->s->lost_series++;
        return TSDB_OK;
    }
    if (status != TSDB_OK) {
        *err = why;
        return status;
    }
    tsdb_buf_clear(before);
    uint8_t *p = tsdb_buf_reserve(before, tsdb_labels_encoded_bytes(&labels));
    if (!p) {
        return tsdb_error_nomem(err, "labels");
    }
    before->len = tsdb_labels_encode(&labels, p);
    return copy_chunks(w, id, &labels, chunks, count, err);
}

static enum tsdb_status copy_all(struct work *w, struct tsdb_error *err)
{
    struct tsdb_buf before;
    tsdb_buf_init(&before, TSDB_MEM_OTHER, 0);
    enum tsdb_status status = TSDB_OK;
    for (uint64_t id = 0; id < w->s->meta.series && status == TSDB_OK; id++) {
        status = tool_check(err);
        if (status == TSDB_OK) {
            status = copy_series(w, (uint32_t)id, &before, err);
        }
        tsdb_arena_reset(&w->arena);
    }
    tsdb_buf_deinit(&before);
    return status;
}

static enum tsdb_status write_new(struct work *w, const struct tsdb_fs *fs, const char *dir,
                                  struct tsdb_error *err)
{
    struct block_meta meta;
    const struct block_meta *old = &w->s->meta;
    struct block_writer_options o = {
        .fs = fs,
        .dir = dir,
        .wall_ms = (uint64_t)tsdb_clock_wall_ms(&tsdb_clock_real),
        .level = old->level,
        .sequence = old->sequence,
    };
    tsdb_random_fill(&tsdb_random_system, o.random, sizeof o.random);
    enum tsdb_status status = block_writer_open(&o, &w->to, err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_arena_init(&w->arena, TSDB_MEM_OTHER, 1u << 20, NULL);
    status = copy_all(w, err);
    tsdb_arena_deinit(&w->arena);
    if (status != TSDB_OK || w->s->kept_samples == 0) {
        block_writer_abort(w->to);
        return status;
    }
    status = block_writer_finish(w->to, old->min_ms, old->max_ms, &meta, err);
    if (status == TSDB_OK) {
        memcpy(w->s->ulid, meta.ulid, sizeof w->s->ulid);
    }
    return status;
}

enum tsdb_status salvage_block(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                               struct tool_progress *progress, struct salvage *out,
                               struct tsdb_error *err)
{
    struct cache_l2 *cache = NULL;
    struct tsdb_error why;
    *out = (struct salvage){.lost_min_ms = INT64_MAX, .lost_max_ms = INT64_MIN};
    struct work w = {.progress = progress, .s = out};
    enum tsdb_status status = cache_l2_create(CACHE_BYTES, &cache, err);
    if (status == TSDB_OK) {
        status = block_open(fs, dir, ulid, cache, &w.from, &why);
        out->opened = status == TSDB_OK;
        if (is_damage(status) || status == TSDB_LIMIT) {
            status = TSDB_OK; /* nothing to be read */
        } else if (status != TSDB_OK) {
            *err = why;
        }
    }
    if (status == TSDB_OK && out->opened) {
        out->meta = *block_meta(w.from);
        /* Damaged ones say nothing: what they hid is kept, as when the server opens the block. */
        if (tombstones_load(fs, dir, ulid, (uint32_t)out->meta.series, &w.hidden, &why) ==
            TSDB_UNSUPPORTED) {
            *err = why;
            status = TSDB_UNSUPPORTED;
        } else {
            status = write_new(&w, fs, dir, err);
        }
    }
    tombstones_free(w.hidden);
    block_close(w.from);
    cache_l2_destroy(cache);
    return status;
}
