/* The whole-structure check of a partition: for tests and debug builds. */
#include "tsdb/head/head_private.h"

static enum tsdb_status times_validate(const int64_t *t_ms, uint32_t n, struct tsdb_error *err)
{
    for (uint32_t i = 1; i < n; i++) {
        if (t_ms[i - 1] >= t_ms[i]) {
            return tsdb_error_set(err, TSDB_CORRUPT, "times of sample %u do not rise", i);
        }
    }
    return TSDB_OK;
}

/* used: bytes of tokens, of a stream. *out_last_ms: of the last sample. */
static enum tsdb_status block_validate(struct head_tail *t, uint32_t n, uint32_t used,
                                       int64_t *out_last_ms, struct tsdb_error *err)
{
    bool stream = head_tail_is_stream(t);
    uint32_t cap = stream ? TSDB_HEAD_CHUNK_SAMPLES_MAX : t->cap;
    if (n == 0 || n > cap || cap > TSDB_HEAD_CHUNK_SAMPLES_MAX) {
        return tsdb_error_set(err, TSDB_CORRUPT, "block of %u samples, capacity %u", n, cap);
    }
    if (stream) {
        int64_t t_ms[TSDB_HEAD_CHUNK_SAMPLES_MAX];
        uint64_t value[TSDB_HEAD_CHUNK_SAMPLES_MAX];
        head_stream_decode(t, n, used, t_ms, value);
        *out_last_ms = t_ms[n - 1];
        return times_validate(t_ms, n, err);
    }
    *out_last_ms = head_tail_t(t)[n - 1];
    bool sorted = !(t->flags & HEAD_TAIL_LATE) || (t->flags & HEAD_TAIL_SORTED);
    return sorted ? times_validate(head_tail_t(t), n, err) : TSDB_OK;
}

/* A raw chunk's own fields. */
static enum tsdb_status raw_validate(const struct head_raw_chunk *c, uint32_t at,
                                     struct tsdb_error *err)
{
    const struct head_sealed *s = &c->sealed;
    int64_t last_ms = 0;
    enum tsdb_status status = block_validate(c->tail, s->count, 0, &last_ms, err);
    if (status == TSDB_OK && (s->min_ms != head_tail_first_ms(c->tail) || s->max_ms != last_ms ||
                              s->count != head_tail_count(c->tail))) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "chunk %u: bounds are not its samples'", at);
    }
    return status;
}

/* A bundle that waits for the sealer. */
static enum tsdb_status streams_validate(const struct head_raw_chunk *c, uint32_t at,
                                         struct tsdb_error *err)
{
    const struct head_sealed *s = &c->sealed;
    enum tsdb_status status = TSDB_OK;
    uint32_t samples = 0;
    bool in_bounds = true;
    for (uint32_t i = 0; status == TSDB_OK && i < head_bundle_streams(s); i++) {
        const struct head_raw_stream *x = &c->streams[i];
        int64_t last_ms = 0;
        status = block_validate(x->tail, x->count, x->used, &last_ms, err);
        samples += x->count;
        in_bounds = in_bounds && s->min_ms <= head_tail_first_ms(x->tail) &&
                    last_ms == x->last_ms && last_ms <= s->max_ms;
    }
    if (status == TSDB_OK && (!in_bounds || samples != s->count)) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "bundle %u: bounds are not its samples'", at);
    }
    return status;
}

/* And that every chunk lies in one window. */
static enum tsdb_status sealed_validate(const struct head_partition *p, struct head_sealed *c,
                                        uint32_t at, struct tsdb_error *err)
{
    enum tsdb_status status = c->file        ? TSDB_OK
                              : c->mask != 0 ? streams_validate(head_raw_chunk_of(c), at, err)
                                             : raw_validate(head_raw_chunk_of(c), at, err);
    if (status == TSDB_OK && !head_window_holds(p, c->min_ms, c->max_ms)) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "chunk %u lies in two windows", at);
    }
    return status;
}

static enum tsdb_status series_validate(const struct head_partition *p, uint32_t local,
                                        struct tsdb_arena *arena, struct tsdb_error *err)
{
    const struct head_series *s = head_hot(p, local);
    struct head_snapshot sn;
    head_snapshot_take(p, local, &sn);
    enum tsdb_status status = TSDB_OK;
    uint64_t samples = 0;
    bool in_files = (s->flags & HEAD_SERIES_FROM_FILES) != 0;
    for (uint32_t i = 0; status == TSDB_OK && i < sn.list_count; i++) {
        struct head_sealed *c = head_list_at(sn.list, i);
        status = sealed_validate(p, c, i, err);
        samples += c->count;
        in_files = in_files || c->file;
    }
    for (uint32_t i = 0; status == TSDB_OK && i < sn.bundle_count; i++) {
        struct head_sealed *c = head_list_at(sn.bundles, i);
        status = sealed_validate(p, c, i, err);
        if (head_sealed_has(c, local)) {
            in_files = in_files || c->file;
            samples += c->file ? TSDB_HEAD_CHUNK_SAMPLES_MAX
                               : head_raw_chunk_of(c)
                                     ->streams[head_bundle_rank(c, head_bundle_bit(local))]
                                     .count;
        }
    }
    struct head_tail *open[2] = {sn.tail, sn.ooo};
    uint32_t counts[2] = {sn.tail_count, sn.ooo_count};
    for (uint32_t i = 0; status == TSDB_OK && i < 2; i++) {
        if (open[i]) {
            int64_t last_ms = 0;
            status = block_validate(open[i], counts[i], sn.tail_used, &last_ms, err);
            samples += counts[i];
        }
    }
    struct tsdb_columns all = {0};
    if (status == TSDB_OK) {
        status = head_read(p, local, TSDB_TIME_ALL, HEAD_VIEW_NONE, arena, &all, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    /* Reading keeps one of two samples with the same time, so that equal counts mean that there are
     * none; beside chunks in files there may be. */
    if (all.count > samples || (all.count < samples && !in_files)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "%u samples read, %llu stored", all.count,
                              (unsigned long long)samples);
    }
    bool newest_known = all.count == 0 || head_last_ms(s) >= all.t_ms[all.count - 1];
    return newest_known ? TSDB_OK
                        : tsdb_error_set(err, TSDB_CORRUPT, "newest sample is not the last one");
}

enum tsdb_status head_validate(const struct head_partition *p, struct tsdb_error *err)
{
    enum tsdb_status status = index_mem_validate(head_own_index(p), err);
    if (status == TSDB_OK && index_mem_ids_end(head_own_index(p)) != p->front.series_count) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "index has %u ids, head %u",
                                index_mem_ids_end(head_own_index(p)), p->front.series_count);
    }
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 16, NULL);
    for (uint32_t i = 0; status == TSDB_OK && i < p->front.series_count; i++) {
        tsdb_arena_reset(&arena);
        status = series_validate(p, i, &arena, err);
        if (status != TSDB_OK) {
            status = tsdb_error_prefix(err, status, "partition %u series %u", p->id, i);
        }
    }
    tsdb_arena_deinit(&arena);
    return status;
}
