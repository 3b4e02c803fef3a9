#include "tsdb/block/compact.h"

#include "base/assert.h"
#include "base/latency.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define CATEGORY     TSDB_MEM_OTHER
#define ARENA_BYTES  (1u << 18)
#define LABELS_BYTES 4096u
#define CHECK_EVERY  256u /* series between two looks at the cancel flag */

/* ---- what to do ---- */

/* Rewriting is worth it when the small blocks of a group are at least this part of the largest:
 * each byte of the largest is then written a bounded number of times while the group grows. */
#define SMALL_PART 8u
#define SMALL_MANY 8u /* so many small ones slow every query of the range down */

struct planner {
    struct live_block **blocks; /* by min_ms, without those that are left out */
    uint32_t count;
    struct live_block **out_of_it; /* in no order */
    uint32_t out_count;
    const struct compact_limits *limits;
    struct compact_plan *out;
};

static const struct block_meta *meta(const struct live_block *b)
{
    return block_meta(b->block);
}

static int by_min(const void *a, const void *b)
{
    const struct live_block *const *x = a;
    const struct live_block *const *y = b;
    int64_t l = meta(*x)->min_ms;
    int64_t r = meta(*y)->min_ms;
    return (l > r) - (l < r);
}

static int by_sequence(const void *a, const void *b)
{
    const struct live_block *const *x = a;
    const struct live_block *const *y = b;
    uint64_t l = meta(*x)->sequence;
    uint64_t r = meta(*y)->sequence;
    return (l > r) - (l < r);
}

static bool overlap(const struct live_block *a, const struct live_block *b)
{
    return meta(a)->min_ms < meta(b)->max_ms && meta(b)->min_ms < meta(a)->max_ms;
}

/* Would the merge of a block into `first` carry it past one that is left out and overlaps it? */
static bool passes_one(const struct planner *p, const struct live_block *first,
                       const struct live_block *b)
{
    for (uint32_t i = 0; i < p->out_count; i++) {
        const struct live_block *x = p->out_of_it[i];
        if (meta(first)->sequence < meta(x)->sequence && meta(x)->sequence < meta(b)->sequence &&
            overlap(x, b)) {
            return true;
        }
    }
    return false;
}

/* How many of the blocks, sorted by sequence, may be merged: the first of them. */
static uint32_t run_length(const struct planner *p, struct live_block *const *blocks,
                           uint32_t count)
{
    uint32_t n = 1;
    while (n < TSDB_MIN(count, COMPACT_SOURCES_MAX) && !passes_one(p, blocks[0], blocks[n])) {
        n++;
    }
    return n;
}

/* The plan: of these blocks, sorted by sequence, the first that may be merged. */
static bool choose(struct planner *p, struct live_block *const *blocks, uint32_t count)
{
    struct compact_plan *out = p->out;
    uint32_t from = 0;
    uint32_t n = 0;
    while (from + 1 < count && (n = run_length(p, blocks + from, count - from)) < 2) {
        from++;
    }
    if (n < 2) {
        return false;
    }
    out->count = n;
    out->cut_count = 0;
    out->min_ms = INT64_MAX;
    out->max_ms = INT64_MIN;
    for (uint32_t i = 0; i < out->count; i++) {
        out->sources[i] = blocks[from + i];
        out->min_ms = TSDB_MIN(out->min_ms, meta(out->sources[i])->min_ms);
        out->max_ms = TSDB_MAX(out->max_ms, meta(out->sources[i])->max_ms);
    }
    return true;
}

/* A group of blocks that overlap, directly or through others. */
static bool choose_overlap(struct planner *p, struct live_block **group, uint32_t count)
{
    qsort(group, count, sizeof(struct live_block *), by_sequence);
    uint32_t largest = 0;
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        total += meta(group[i])->bytes;
        largest = meta(group[i])->bytes > meta(group[largest])->bytes ? i : largest;
    }
    uint64_t small = total - meta(group[largest])->bytes;
    if (small >= meta(group[largest])->bytes / SMALL_PART) {
        return choose(p, group, count);
    }
    if (count - largest - 1 >= SMALL_MANY) {
        return choose(p, group + largest + 1, count - largest - 1);
    }
    return largest >= SMALL_MANY && choose(p, group, largest);
}

/* Begin of the aligned range; INT64_MIN stands for everything before the first whole one. */
static int64_t range_begin(int64_t t_ms, int64_t range_ms)
{
    int64_t r = t_ms % range_ms;
    r = r < 0 ? r + range_ms : r;
    return t_ms < INT64_MIN + r ? INT64_MIN : t_ms - r;
}

/* ---- blocks of sparse samples, longer than others become ---- */

/* What is larger than sparse blocks merge to was made with other limits, and is left alone. */
static bool is_long(const struct planner *p, const struct live_block *b)
{
    return (uint64_t)meta(b)->max_ms - (uint64_t)meta(b)->min_ms >
               (uint64_t)p->limits->range_max_ms &&
           meta(b)->chunks / COMPACT_SOURCES_MAX <= p->limits->sparse_chunks;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The ends of the group's other blocks that lie within b, as many as fit. */
static void cuts_find(const struct planner *p, const struct live_block *b,
                      struct live_block *const *group, uint32_t count)
{
    struct compact_plan *out = p->out;
    int64_t ends[COMPACT_SOURCES_MAX * 8];
    uint32_t n = 0;
    for (uint32_t i = 0; i < count && n + 2 <= TSDB_ARRAY_LEN(ends); i++) {
        if (!is_long(p, group[i])) {
            ends[n++] = meta(group[i])->min_ms;
            ends[n++] = meta(group[i])->max_ms;
        }
    }
    qsort(ends, n, sizeof ends[0], by_time);
    out->cut_count = 0;
    for (uint32_t i = 0; i < n && out->cut_count < COMPACT_CUTS_MAX; i++) {
        if (meta(b)->min_ms < ends[i] && ends[i] < meta(b)->max_ms &&
            (out->cut_count == 0 || out->cuts[out->cut_count - 1] < ends[i])) {
            out->cuts[out->cut_count++] = ends[i];
        }
    }
}

/* The plan: b alone, at the cuts that it has. */
static bool choose_alone(struct planner *p, struct live_block *b)
{
    p->out->sources[0] = b;
    p->out->count = 1;
    p->out->min_ms = meta(b)->min_ms;
    p->out->max_ms = meta(b)->max_ms;
    return p->out->cut_count > 0;
}

/* Cut a long block of the group, where all of it together would be long and not sparse. */
static bool choose_cut(struct planner *p, struct live_block *const *group, uint32_t count)
{
    uint64_t chunks = 0;
    for (uint32_t i = 0; i < count; i++) {
        chunks += meta(group[i])->chunks;
    }
    for (uint32_t i = 0; chunks > p->limits->sparse_chunks && i < count; i++) {
        if (is_long(p, group[i])) {
            cuts_find(p, group[i], group, count);
            if (choose_alone(p, group[i])) {
                return true;
            }
        }
    }
    return false;
}

/* Halve a long block that is not sparse any more. */
static bool plan_halve(struct planner *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        const struct block_meta *m = meta(p->blocks[i]);
        if (m->chunks > p->limits->sparse_chunks && is_long(p, p->blocks[i])) {
            uint64_t half = ((uint64_t)m->max_ms - (uint64_t)m->min_ms) / 2;
            int64_t middle = (int64_t)((uint64_t)m->min_ms + half);
            p->out->cuts[0] = range_begin(middle, p->limits->range_ms);
            p->out->cut_count = p->out->cuts[0] > m->min_ms;
            if (choose_alone(p, p->blocks[i])) {
                return true;
            }
        }
    }
    return false;
}

/* Where the run of blocks that overlap, from `begin` on, ends. */
static uint32_t overlap_end(const struct planner *p, uint32_t begin)
{
    int64_t reach = meta(p->blocks[begin])->max_ms;
    uint32_t end = begin + 1;
    while (end < p->count && meta(p->blocks[end])->min_ms < reach) {
        reach = TSDB_MAX(reach, meta(p->blocks[end])->max_ms);
        end++;
    }
    return end;
}

static bool plan_overlap(struct planner *p)
{
    for (uint32_t begin = 0; begin < p->count;) {
        uint32_t end = overlap_end(p, begin);
        if (end - begin > 1) {
            struct live_block *group[COMPACT_SOURCES_MAX * 4];
            uint32_t n = TSDB_MIN(end - begin, TSDB_ARRAY_LEN(group));
            /* Of more blocks than that the first by sequence: those that are left out come after
             * all that are taken. */
            qsort(p->blocks + begin, end - begin, sizeof(struct live_block *), by_sequence);
            memcpy(group, p->blocks + begin, n * sizeof group[0]);
            qsort(p->blocks + begin, end - begin, sizeof(struct live_block *), by_min);
            if (choose_cut(p, group, n) || choose_overlap(p, group, n)) {
                return true;
            }
        }
        begin = end;
    }
    return false;
}

/* The blocks that begin in one aligned range; are they to become one? */
static bool choose_range(struct planner *p, uint32_t begin, uint32_t end, int64_t range_ms)
{
    int64_t from = range_begin(meta(p->blocks[begin])->min_ms, range_ms);
    if (end - begin < 2 || end - begin > COMPACT_SOURCES_MAX || end == p->count ||
        from > INT64_MAX - range_ms || from == INT64_MIN) {
        return false;
    }
    int64_t before = begin > 0 ? meta(p->blocks[begin - 1])->max_ms : INT64_MIN;
    if (before > from) {
        return false; /* one reaches in from before */
    }
    for (uint32_t i = begin; i < end; i++) {
        const struct block_meta *m = meta(p->blocks[i]);
        /* One that is as long already has been through this: late blocks beside it are a matter of
         * overlaps. */
        if (m->max_ms > from + range_ms || m->max_ms - m->min_ms >= range_ms) {
            return false;
        }
    }
    struct live_block *group[COMPACT_SOURCES_MAX];
    memcpy(group, p->blocks + begin, (end - begin) * sizeof group[0]);
    qsort(group, end - begin, sizeof group[0], by_sequence);
    /* All of them or none: what is merged here is as long as its range. */
    return run_length(p, group, end - begin) == end - begin && choose(p, group, end - begin);
}

static bool plan_range(struct planner *p, int64_t range_ms)
{
    for (uint32_t begin = 0; begin < p->count;) {
        int64_t from = range_begin(meta(p->blocks[begin])->min_ms, range_ms);
        uint32_t end = begin + 1;
        while (end < p->count && range_begin(meta(p->blocks[end])->min_ms, range_ms) == from) {
            end++;
        }
        if (choose_range(p, begin, end, range_ms)) {
            return true;
        }
        begin = end;
    }
    return false;
}

static bool plan_ranges(struct planner *p)
{
    int64_t range = p->limits->range_ms;
    while (range <= p->limits->range_max_ms / 3) {
        range *= 3;
        if (plan_range(p, range)) {
            return true;
        }
    }
    return false;
}

enum tsdb_status compact_plan(const struct view *v, const struct compact_limits *l,
                              struct compact_plan *out, struct tsdb_error *err)
{
    TSDB_ASSERT(l->range_ms > 0);
    size_t bytes = (v->block_count + 1) * sizeof(struct live_block *);
    struct planner p = {.limits = l, .out = out};
    p.blocks = tsdb_mem_alloc(CATEGORY, bytes);
    p.out_of_it = tsdb_mem_alloc(CATEGORY, bytes);
    bool found = false;
    bool ok = p.blocks && p.out_of_it;
    for (uint32_t i = 0; ok && i < v->block_count; i++) {
        struct live_block *b = v->blocks[i];
        if (b->damaged || error_budget_waits(&b->budget, l->now_ns)) {
            p.out_of_it[p.out_count++] = b;
        } else {
            p.blocks[p.count++] = b;
        }
    }
    if (ok) {
        qsort(p.blocks, p.count, sizeof(struct live_block *), by_min);
        found = plan_halve(&p) || plan_overlap(&p) || plan_ranges(&p);
    }
    tsdb_mem_free(CATEGORY, p.blocks, bytes);
    tsdb_mem_free(CATEGORY, p.out_of_it, bytes);
    if (!ok) {
        return tsdb_error_set(err, TSDB_NOMEM, "no memory to plan a compaction");
    }
    return found ? TSDB_OK : TSDB_NOT_FOUND;
}

enum tsdb_status compact_plan_clean(const struct view *v, int64_t now_ns, uint32_t share,
                                    struct compact_plan *out)
{
    for (uint32_t i = 0; i < v->block_count; i++) {
        struct live_block *b = v->blocks[i];
        const struct tombstones *t = live_block_tombstones(b, v->number);
        if (t && t->samples >= meta(b)->samples / share && !b->damaged &&
            !error_budget_waits(&b->budget, now_ns)) {
            *out = (struct compact_plan){
                .sources = {b}, .count = 1, .min_ms = meta(b)->min_ms, .max_ms = meta(b)->max_ms};
            return TSDB_OK;
        }
    }
    return TSDB_NOT_FOUND;
}

/* ---- doing it ---- */

struct cursor {
    struct live_block *live;
    uint32_t id, count; /* the series at hand, how many there are */
    struct tsdb_labels labels;
    struct tsdb_arena arena; /* of the labels */
};
struct run {
    const struct compact_source *s;
    const struct compact_plan *plan;
    struct cursor cursors[COMPACT_SOURCES_MAX];
    struct block_writer *writer;
    struct block_ref_pair *pairs;
    uint64_t pair_cap;
    uint32_t pair_count, series_count; /* written */
    struct tsdb_arena arena;           /* of the series at hand */
    struct tsdb_time_range range;      /* of the result at hand */
    struct live_block *failed;         /* NULL: no source's fault */
};

static enum tsdb_status no_memory(struct tsdb_error *err)
{
    return tsdb_error_set(err, TSDB_NOMEM, "no memory to merge blocks");
}

/* What reading a source answered. */
static enum tsdb_status of_source(struct run *r, struct live_block *live, enum tsdb_status status)
{
    if (status == TSDB_CORRUPT || status == TSDB_IO) {
        r->failed = live;
    }
    return status;
}

static enum tsdb_status cursor_load(struct run *r, struct cursor *c, struct tsdb_error *err)
{
    tsdb_arena_reset(&c->arena);
    if (c->id == c->count) {
        return TSDB_OK;
    }
    return of_source(r, c->live, block_labels(c->live->block, c->id, &c->arena, &c->labels, err));
}

static enum tsdb_status cursor_open(struct run *r, struct cursor *c, struct live_block *live,
                                    struct tsdb_error *err)
{
    c->live = live;
    tsdb_arena_init(&c->arena, CATEGORY, LABELS_BYTES, NULL);
    c->count = block_refs_count(live->refs);
    r->pair_cap += c->count;
    return cursor_load(r, c, err);
}

static void cursor_close(struct cursor *c)
{
    if (c->live) {
        tsdb_arena_deinit(&c->arena);
    }
}

/* The least labels that any cursor stands at; NULL: all are at their end. */
static const struct cursor *least(const struct run *r)
{
    const struct cursor *best = NULL;
    for (uint32_t i = 0; i < r->plan->count; i++) {
        const struct cursor *c = &r->cursors[i];
        if (c->id < c->count && (!best || tsdb_labels_compare(&c->labels, &best->labels) < 0)) {
            best = c;
        }
    }
    return best;
}

/* Add the samples of the series that the cursor stands at. */
static enum tsdb_status cursor_read(struct run *r, const struct cursor *c, struct piece_list *l,
                                    struct tsdb_error *err)
{
    struct block_chunk *chunks = NULL;
    uint32_t n = 0;
    struct tombstone_cuts cuts = tombstones_find(live_block_tombstones(c->live, UINT64_MAX), c->id);
    enum tsdb_status status =
        block_chunks(c->live->block, c->id, r->range, &r->arena, &chunks, &n, err);
    n = status == TSDB_OK ? block_chunks_visible(&cuts, chunks, n) : 0;
    for (uint32_t i = 0; status == TSDB_OK && i < n; i++) {
        struct chunk_samples samples;
        status = block_chunk_read(c->live->block, &chunks[i], &r->arena, &samples, err);
        if (status == TSDB_OK) {
            struct piece piece = piece_of_chunk(&samples);
            struct cache_l1_entry *pin = NULL;
            status = piece_list_add_visible(l, &cuts, &piece, &pin) == TSDB_OK ? TSDB_OK
                                                                               : no_memory(err);
        }
    }
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, of_source(r, c->live, status), "block %s",
                                 meta(c->live)->ulid);
    }
    return TSDB_OK;
}

static enum tsdb_status series_write(struct run *r, const struct tsdb_labels *labels,
                                     tsdb_series_ref ref, const struct piece_list *l,
                                     struct tsdb_error *err)
{
    struct piece_columns c = {0};
    enum tsdb_status status = pieces_merge(l->items, l->count, r->range, &r->arena, &c, err);
    if (status != TSDB_OK || c.count == 0) {
        return status;
    }
    status = block_writer_series(r->writer, labels, err);
    if (status == TSDB_OK) {
        status = block_writer_pieces(r->writer, &c, err);
    }
    if (status == TSDB_OK) {
        TSDB_ASSERT(r->series_count < r->pair_cap);
        if (ref != TSDB_SERIES_NEW) {
            r->pairs[r->pair_count++] = (struct block_ref_pair){ref, r->series_count};
        }
        r->series_count++;
    }
    return status;
}

/* One series: from every source that has it, in the order of sequences. */
static enum tsdb_status series_merge(struct run *r, const struct cursor *first,
                                     struct tsdb_error *err)
{
    struct piece_list l;
    bool at[COMPACT_SOURCES_MAX] = {false};
    tsdb_arena_reset(&r->arena);
    piece_list_init(&l, &r->arena);
    enum tsdb_status status = TSDB_OK;
    tsdb_series_ref ref = TSDB_SERIES_NEW; /* as the latest block knows it */
    for (uint32_t i = 0; status == TSDB_OK && i < r->plan->count; i++) {
        const struct cursor *c = &r->cursors[i];
        at[i] = c->id < c->count && tsdb_labels_compare(&c->labels, &first->labels) == 0;
        if (at[i]) {
            tsdb_series_ref known = block_refs_at(c->live->refs, c->id);
            ref = known != TSDB_SERIES_NEW ? known : ref;
            status = cursor_read(r, c, &l, err);
        }
    }
    if (status == TSDB_OK) {
        status = series_write(r, &first->labels, ref, &l, err);
    }
    for (uint32_t i = 0; status == TSDB_OK && i < r->plan->count; i++) {
        if (at[i]) {
            r->cursors[i].id++;
            status = cursor_load(r, &r->cursors[i], err);
        }
    }
    return status;
}

static enum tsdb_status merge_all(struct run *r, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    uint32_t turn = 0;
    /* A cursor that failed to load has no labels to compare: look no further then. */
    for (const struct cursor *c = least(r); c; c = status == TSDB_OK ? least(r) : NULL) {
        if (turn++ % CHECK_EVERY == 0 && r->s->cancel &&
            atomic_load_explicit(r->s->cancel, memory_order_relaxed) != 0) {
            return tsdb_error_set(err, TSDB_CANCELLED, "compaction: cancelled");
        }
        status = series_merge(r, c, err);
    }
    return status;
}

/* Nothing was left to write: only because all of it was deleted. */
static enum tsdb_status all_hidden(struct run *r, struct tsdb_error *err)
{
    for (uint32_t i = 0; i < r->plan->count; i++) {
        struct live_block *live = r->plan->sources[i];
        const struct tombstones *t = live_block_tombstones(live, UINT64_MAX);
        if (!t || t->samples < meta(live)->samples) {
            return of_source(r, live,
                             tsdb_error_set(err, TSDB_CORRUPT, "block %s: nothing found in it",
                                            meta(live)->ulid));
        }
    }
    return TSDB_OK;
}

/* The block of a part of the time, durable and open; *out NULL: nothing is left of it. */
static enum tsdb_status block_make(struct run *r, struct block_meta *out_meta,
                                   struct live_block **out, struct tsdb_error *err)
{
    uint32_t level = 0;
    for (uint32_t i = 0; i < r->plan->count; i++) {
        level = TSDB_MAX(level, meta(r->plan->sources[i])->level);
    }
    level += r->plan->count > 1;
    struct block_writer_options o =
        blocks_writer_options(r->s->blocks, level, meta(r->plan->sources[0])->sequence);
    enum tsdb_status status = block_writer_open(&o, &r->writer, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = merge_all(r, err);
    if (status != TSDB_OK || r->series_count == 0) {
        block_writer_abort(r->writer);
        return status;
    }
    int64_t end_ms = r->range.max_ms == INT64_MAX ? INT64_MAX : r->range.max_ms + 1;
    status = block_writer_finish(r->writer, r->range.min_ms, end_ms, out_meta, err);
    if (status != TSDB_OK && out_meta->ulid[0]) {
        blocks_disown(r->s->blocks, out_meta->ulid);
    } else if (status == TSDB_OK) {
        status = blocks_adopt(r->s->blocks, out_meta->ulid, r->pairs, r->pair_count, out, err);
    }
    return status;
}

static void cursors_close(struct run *r)
{
    for (uint32_t i = 0; i < r->plan->count; i++) {
        cursor_close(&r->cursors[i]);
        r->cursors[i] = (struct cursor){0};
    }
}

/* The result from one cut to the next. */
static enum tsdb_status part_make(struct run *r, struct tsdb_time_range range,
                                  struct block_meta *out_meta, struct live_block **out,
                                  struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    r->range = range;
    r->pair_cap = 0;
    r->pair_count = 0;
    r->series_count = 0;
    for (uint32_t i = 0; status == TSDB_OK && i < r->plan->count; i++) {
        status = cursor_open(r, &r->cursors[i], r->plan->sources[i], err);
    }
    if (status == TSDB_OK) {
        r->pairs = tsdb_mem_alloc(CATEGORY, r->pair_cap * sizeof *r->pairs);
        status = r->pairs ? block_make(r, out_meta, out, err) : no_memory(err);
        tsdb_mem_free(CATEGORY, r->pairs, r->pair_cap * sizeof *r->pairs);
    }
    cursors_close(r);
    return status;
}

/* What was made, in sum: of several blocks the name of the last. */
static void note_made(const struct block_meta *made, struct block_meta *sum)
{
    struct block_meta x = *made;
    if (sum->samples > 0) {
        x.min_ms = sum->min_ms;
        x.series = TSDB_MAX(x.series, sum->series);
        x.samples += sum->samples;
        x.bytes += sum->bytes;
    }
    *sum = x;
}

static enum tsdb_status run_steps(struct run *r, struct block_meta *out, struct tsdb_error *err)
{
    const struct compact_plan *plan = r->plan;
    struct live_block *made[COMPACT_CUTS_MAX + 1];
    uint32_t count = 0;
    enum tsdb_status status = TSDB_OK;
    int64_t from_ms = plan->min_ms;
    for (uint32_t i = 0; status == TSDB_OK && i <= plan->cut_count; i++) {
        int64_t end_ms = i < plan->cut_count ? plan->cuts[i] : plan->max_ms;
        struct tsdb_time_range range = {from_ms, end_ms == INT64_MAX ? end_ms : end_ms - 1};
        struct block_meta meta_made;
        made[count] = NULL;
        status = part_make(r, range, &meta_made, &made[count], err);
        if (status == TSDB_OK && made[count]) {
            note_made(&meta_made, out);
            count++;
        }
        from_ms = end_ms;
    }
    if (status == TSDB_OK && count == 0) {
        status = all_hidden(r, err);
    }
    if (status == TSDB_OK) {
        status =
            blocks_publish(r->s->blocks, made, count, plan->sources, plan->count, NULL, NULL, err);
    }
    for (uint32_t i = 0; status != TSDB_OK && i < count; i++) {
        char ulid[BLOCK_ULID_CHARS + 1];
        memcpy(ulid, meta(made[i])->ulid, sizeof ulid);
        live_block_free(made[i]);
        blocks_disown(r->s->blocks, ulid);
    }
    return status;
}

/* A source that was to blame is left alone for a while, or for good. */
static void blame(const struct run *r, enum tsdb_status status, const struct tsdb_error *err)
{
    struct live_block *b = r->failed;
    if (!b || (status != TSDB_CORRUPT && !error_budget_fail(&b->budget, r->s->now_ns))) {
        return;
    }
    b->damaged = true;
    atomic_fetch_add(&r->s->blocks->damaged, 1);
    tsdb_log(TSDB_LOG_ERROR, "compact", "a block counts as damaged and is not merged any more",
             TSDB_S("block", meta(b)->ulid), TSDB_S("err", err ? err->msg : ""));
}

enum tsdb_status compact_run(const struct compact_source *s, const struct compact_plan *plan,
                             struct block_meta *out, bool *out_source, struct tsdb_error *err)
{
    struct block_meta result = {0};
    struct run *r = tsdb_mem_alloc_zero(CATEGORY, sizeof *r);
    if (!r) {
        return no_memory(err);
    }
    uint64_t begin = tsdb_perf_now();
    r->s = s;
    r->plan = plan;
    tsdb_arena_init(&r->arena, CATEGORY, ARENA_BYTES, NULL);
    enum tsdb_status status = run_steps(r, &result, err);
    blame(r, status, err);
    *out_source = r->failed != NULL;
    tsdb_arena_deinit(&r->arena);
    tsdb_mem_free(CATEGORY, r, sizeof *r);
    tsdb_perf_end(TSDB_LAYER_PERSIST, begin);
    if (status == TSDB_OK) {
        *out = result;
    }
    return status;
}
