#include "query/cache/entry.h"

#include "base/assert.h"

#include <string.h>

#define ARENA_BYTES 4096u
#define WORD_BITS   64u

static bool bit_get(const uint64_t *words, uint32_t i)
{
    return words[i / WORD_BITS] >> i % WORD_BITS & 1;
}

static void bit_set(uint64_t *words, uint32_t i)
{
    words[i / WORD_BITS] |= UINT64_C(1) << i % WORD_BITS;
}

static uint32_t bits_count(const uint64_t *words, uint32_t from, uint32_t count)
{
    uint32_t n = 0;
    uint32_t i = from;
    for (; i < from + count && i % WORD_BITS != 0; i++) {
        n += bit_get(words, i);
    }
    for (; i + WORD_BITS <= from + count; i += WORD_BITS) {
        n += (uint32_t)__builtin_popcountll(words[i / WORD_BITS]);
    }
    for (; i < from + count; i++) {
        n += bit_get(words, i);
    }
    return n;
}

/* ---- two lists of series, side by side ---- */

struct pair {
    const struct cache_series *kept;  /* NULL: none, or no sample in the part */
    const struct query_series *fresh; /* NULL: none */
    uint32_t kept_points;
};
struct pairs {
    const struct cache_part *part;
    const struct query_result *fresh;
    uint32_t i, k;
};

static uint32_t kept_count(const struct cache_part *part)
{
    return part->count > 0 ? part->entry->series_count : 0;
}

/* The next labels that either has samples of. */
static bool pairs_next(struct pairs *p, struct pair *out)
{
    while (p->i < kept_count(p->part) || p->k < p->fresh->series_count) {
        *out = (struct pair){0};
        if (p->i < kept_count(p->part)) {
            out->kept = &p->part->entry->series[p->i];
        }
        if (p->k < p->fresh->series_count) {
            out->fresh = &p->fresh->series[p->k];
        }
        int order = !out->kept    ? 1
                    : !out->fresh ? -1
                                  : tsdb_labels_compare(&out->kept->labels, &out->fresh->labels);
        if (order <= 0) {
            p->i++;
            out->kept_points = bits_count(out->kept->present, p->part->from, p->part->count);
        }
        if (order >= 0) {
            p->k++;
        }
        out->fresh = order >= 0 ? out->fresh : NULL;
        out->kept = order <= 0 && out->kept_points > 0 ? out->kept : NULL;
        if (out->kept || out->fresh) {
            return true;
        }
    }
    return false;
}

static const struct tsdb_labels *pair_labels(const struct pair *p)
{
    return p->fresh ? &p->fresh->labels : &p->kept->labels;
}

static uint32_t pair_points(const struct pair *p)
{
    return p->kept_points + (p->fresh ? p->fresh->point_count : 0);
}

/* ---- notes ---- */

static enum tsdb_status notes_dup(const struct query_note *from, uint32_t count,
                                  struct tsdb_arena *arena, const struct query_note **out)
{
    struct query_note *notes = TSDB_ARENA_ARRAY(arena, struct query_note, TSDB_MAX(count, 1));
    for (uint32_t i = 0; notes && i < count; i++) {
        const char *text = tsdb_arena_strndup(arena, from[i].text, strlen(from[i].text));
        notes = text ? notes : NULL;
        if (text) {
            notes[i] = (struct query_note){text, from[i].is_info};
        }
    }
    *out = notes;
    return notes ? TSDB_OK : tsdb_arena_status(arena);
}

enum tsdb_status cache_notes(const struct cache_entry *e, struct tsdb_arena *arena,
                             struct query_result *out)
{
    out->note_count = e->note_count;
    return notes_dup(e->notes, e->note_count, arena, &out->notes);
}

/* ---- a result ---- */

static bool points_of_kept(const struct cache_part *part, const struct cache_series *s,
                           struct tsdb_arena *arena, struct query_point *out)
{
    const struct cache_entry *e = part->entry;
    uint32_t at = bits_count(s->present, 0, part->from);
    for (uint32_t i = part->from; i < part->from + part->count; i++) {
        if (!bit_get(s->present, i)) {
            continue;
        }
        const struct tsdb_histogram *h = s->histograms ? s->histograms[at] : NULL;
        *out = (struct query_point){e->start_ms + (int64_t)i * e->step_ms, s->values[at], NULL};
        if (h) {
            out->histogram = tsdb_histogram_dup(h, arena);
            if (!out->histogram) {
                return false;
            }
        }
        out++;
        at++;
    }
    return true;
}

static enum tsdb_status join_pair(const struct cache_part *part, const struct pair *p,
                                  struct tsdb_arena *arena, struct query_series *out)
{
    if (!p->kept) {
        *out = *p->fresh; /* as it is: of this query */
        return TSDB_OK;
    }
    struct query_point *points = TSDB_ARENA_ARRAY(arena, struct query_point, pair_points(p));
    if (!points || !points_of_kept(part, p->kept, arena, points)) {
        return tsdb_arena_status(arena);
    }
    out->points = points;
    out->point_count = pair_points(p);
    if (p->fresh) {
        memcpy(points + p->kept_points, p->fresh->points, p->fresh->point_count * sizeof points[0]);
        out->labels = p->fresh->labels;
        return TSDB_OK;
    }
    return tsdb_labels_dup(&p->kept->labels, arena, &out->labels);
}

enum tsdb_status cache_join(const struct cache_part *part, const struct query_result *fresh,
                            struct tsdb_arena *arena, struct query_result *out)
{
    TSDB_ASSERT(out != fresh);
    struct pairs pairs = {.part = part, .fresh = fresh};
    struct pair p;
    size_t most = (size_t)kept_count(part) + fresh->series_count;
    *out = *fresh;
    out->series_count = 0;
    out->series = TSDB_ARENA_ARRAY(arena, struct query_series, TSDB_MAX(most, 1));
    if (!out->series) {
        return tsdb_arena_status(arena);
    }
    while (pairs_next(&pairs, &p)) {
        enum tsdb_status status = join_pair(part, &p, arena, &out->series[out->series_count++]);
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

/* ---- an entry ---- */

/* Columns of one series while they are filled. */
struct filler {
    const struct cache_entry *e;
    uint64_t *present;
    double *values;
    const struct tsdb_histogram **histograms;
    uint32_t count;
};

static bool fill(struct filler *f, uint32_t step, double value, const struct tsdb_histogram *h,
                 struct tsdb_arena *arena)
{
    TSDB_ASSERT(step < f->e->steps);
    bit_set(f->present, step);
    f->values[f->count] = value;
    if (f->histograms) {
        f->histograms[f->count] = h ? tsdb_histogram_dup(h, arena) : NULL;
        if (h && !f->histograms[f->count]) {
            return false;
        }
    }
    f->count++;
    return true;
}

static bool fill_kept(struct filler *f, const struct cache_part *part, const struct cache_series *s,
                      struct tsdb_arena *arena)
{
    uint32_t at = bits_count(s->present, 0, part->from);
    for (uint32_t i = 0; i < part->count; i++) {
        if (bit_get(s->present, part->from + i)) {
            if (!fill(f, i, s->values[at], s->histograms ? s->histograms[at] : NULL, arena)) {
                return false;
            }
            at++;
        }
    }
    return true;
}

static bool fill_fresh(struct filler *f, const struct query_series *s, struct tsdb_arena *arena)
{
    const struct cache_entry *e = f->e;
    int64_t next_ms = INT64_MIN; /* mostly the step after the one before */
    uint32_t step = 0;
    for (uint32_t i = 0; i < s->point_count; i++) {
        const struct query_point *p = &s->points[i];
        step = p->t_ms == next_ms ? step + 1 : (uint32_t)((p->t_ms - e->start_ms) / e->step_ms);
        next_ms = p->t_ms + e->step_ms;
        if (!fill(f, step, p->value, p->histogram, arena)) {
            return false;
        }
    }
    return true;
}

static bool has_histograms(const struct pair *p)
{
    if (p->kept && p->kept->histograms) {
        return true;
    }
    for (uint32_t i = 0; p->fresh && i < p->fresh->point_count; i++) {
        if (p->fresh->points[i].histogram) {
            return true;
        }
    }
    return false;
}

static enum tsdb_status make_series(struct cache_entry *e, const struct cache_part *part,
                                    const struct pair *p, struct cache_series *out)
{
    struct tsdb_arena *arena = &e->arena;
    size_t words = ((size_t)e->steps + WORD_BITS - 1) / WORD_BITS;
    struct filler f = {.e = e};
    f.present = TSDB_ARENA_ARRAY(arena, uint64_t, words);
    f.values = TSDB_ARENA_ARRAY(arena, double, pair_points(p));
    if (has_histograms(p)) {
        f.histograms = TSDB_ARENA_ARRAY(arena, const struct tsdb_histogram *, pair_points(p));
    }
    if (!f.present || !f.values || (has_histograms(p) && !f.histograms)) {
        return tsdb_arena_status(arena);
    }
    memset(f.present, 0, words * sizeof *f.present);
    if ((p->kept && !fill_kept(&f, part, p->kept, arena)) ||
        (p->fresh && !fill_fresh(&f, p->fresh, arena))) {
        return tsdb_arena_status(arena);
    }
    TSDB_ASSERT(f.count == pair_points(p));
    *out =
        (struct cache_series){.present = f.present, .values = f.values, .histograms = f.histograms};
    return tsdb_labels_dup(pair_labels(p), arena, &out->labels);
}

static enum tsdb_status make_all(struct cache_entry *e, const struct cache_part *part,
                                 const struct query_result *fresh)
{
    struct pairs pairs = {.part = part, .fresh = fresh};
    struct pair p;
    size_t most = (size_t)kept_count(part) + fresh->series_count;
    e->series = TSDB_ARENA_ARRAY(&e->arena, struct cache_series, TSDB_MAX(most, 1));
    enum tsdb_status status = e->series
                                  ? notes_dup(fresh->notes, fresh->note_count, &e->arena, &e->notes)
                                  : tsdb_arena_status(&e->arena);
    e->note_count = fresh->note_count;
    while (status == TSDB_OK && pairs_next(&pairs, &p)) {
        status = make_series(e, part, &p, &e->series[e->series_count++]);
    }
    return status;
}

enum tsdb_status cache_entry_make(const struct cache_part *part, const struct cache_fresh *fresh,
                                  uint64_t bytes_max, struct cache_entry **out)
{
    struct cache_entry *e = tsdb_mem_alloc_zero(TSDB_MEM_CACHE, sizeof *e);
    if (!e) {
        return TSDB_NOMEM;
    }
    tsdb_account_init(&e->account, bytes_max, NULL);
    tsdb_arena_init(&e->arena, TSDB_MEM_CACHE, ARENA_BYTES, &e->account);
    e->start_ms = fresh->start_ms - (int64_t)part->count * fresh->step_ms;
    e->step_ms = fresh->step_ms;
    e->steps = part->count + fresh->steps;
    enum tsdb_status status = make_all(e, part, fresh->result);
    if (status != TSDB_OK) {
        cache_entry_free(e);
        return status;
    }
    *out = e;
    return TSDB_OK;
}

void cache_entry_free(struct cache_entry *e)
{
    if (!e) {
        return;
    }
    tsdb_arena_deinit(&e->arena);
    tsdb_mem_free(TSDB_MEM_CACHE, e, sizeof *e);
}

uint64_t cache_entry_bytes(const struct cache_entry *e)
{
    return sizeof *e + e->arena.total_bytes;
}
