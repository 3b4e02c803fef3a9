#include "tsdb/chunk/pieces.h"

#include "base/assert.h"
#include "compress/kernels.h"

#include <string.h>

/* First index whose time is >= t_ms; times rise. Where they come at a pace, which is nearly always, it is found without
 * the lines of memory that halves lie in. */
static uint32_t lower_bound(const int64_t *times, uint32_t n, int64_t t_ms)
{
    if (n == 0 || t_ms <= times[0]) {
        return 0;
    }
    if (times[n - 1] < t_ms) {
        return n;
    }
    uint32_t low = 1; /* times[0] < t_ms <= times[n - 1] */
    uint32_t high = n - 1;
    double part = (double)((uint64_t)t_ms - (uint64_t)times[0]) /
                  (double)((uint64_t)times[n - 1] - (uint64_t)times[0]);
    uint32_t mid = TSDB_MIN((uint32_t)(part * (n - 1)), high - 1);
    while (low < high) {
        if (times[mid] < t_ms) {
            low = mid + 1;
            mid = low < high && t_ms <= times[low] ? low : low + (high - low) / 2;
        } else {
            high = mid;
            mid = low < high && times[high - 1] < t_ms ? high - 1 : low + (high - low) / 2;
        }
    }
    return low;
}

static enum tsdb_status columns_alloc(struct tsdb_arena *arena, uint32_t cap, bool kinds,
                                      bool starts, struct piece_columns *out)
{
    memset(out, 0, sizeof *out);
    /* One check after each allocation: a later success would hide why an earlier one failed. */
    out->t_ms = TSDB_ARENA_ARRAY(arena, int64_t, cap);
    if (!out->t_ms) {
        return tsdb_arena_status(arena);
    }
    out->value = TSDB_ARENA_ARRAY(arena, uint64_t, cap);
    if (!out->value) {
        return tsdb_arena_status(arena);
    }
    if (kinds && !(out->kind = TSDB_ARENA_ARRAY(arena, uint8_t, cap))) {
        return tsdb_arena_status(arena);
    }
    if (starts && !(out->start_ms = TSDB_ARENA_ARRAY(arena, int64_t, cap))) {
        return tsdb_arena_status(arena);
    }
    return TSDB_OK;
}

static void columns_put(struct piece_columns *c, const struct piece *p, uint32_t begin,
                        uint32_t end)
{
    uint32_t n = end - begin;
    TSDB_ASSERT(begin < end && end <= p->count);
    TSDB_ASSERT(c->kind || p->kind == TSDB_SAMPLE_FLOAT);
    TSDB_ASSERT(c->start_ms || !p->start_ms);
    memcpy(c->t_ms + c->count, p->t_ms + begin, n * sizeof c->t_ms[0]);
    memcpy(c->value + c->count, p->value + begin, n * sizeof c->value[0]);
    if (c->kind) {
        memset(c->kind + c->count, (int)p->kind, n);
    }
    if (c->start_ms && p->start_ms) {
        memcpy(c->start_ms + c->count, p->start_ms + begin, n * sizeof c->start_ms[0]);
    } else if (c->start_ms) {
        memset(c->start_ms + c->count, 0, n * sizeof c->start_ms[0]);
    }
    c->count += n;
}

/* Of rising times those that lie in the range: [*begin, *end). */
static void range_find(const int64_t *t_ms, uint32_t count, struct tsdb_time_range range,
                       uint32_t *begin, uint32_t *end)
{
    *begin = lower_bound(t_ms, count, range.min_ms);
    *end = range.max_ms == INT64_MAX ? count : lower_bound(t_ms, count, range.max_ms + 1);
}

/* At most so many samples of the piece lie in the range. */
static uint32_t count_max(const struct piece *p, struct tsdb_time_range range)
{
    uint32_t begin = 0;
    uint32_t end = p->count;
    if (p->sorted) {
        range_find(p->t_ms, p->count, range, &begin, &end);
    }
    return begin < end ? end - begin : 0;
}

static void columns_gather(struct piece_columns *c, const struct piece *p,
                           struct tsdb_time_range range)
{
    if (p->sorted) {
        uint32_t begin = 0;
        uint32_t end = 0;
        range_find(p->t_ms, p->count, range, &begin, &end);
        if (begin < end) {
            columns_put(c, p, begin, end);
        }
        return;
    }
    for (uint32_t i = 0; i < p->count; i++) {
        if (range.min_ms <= p->t_ms[i] && p->t_ms[i] <= range.max_ms) {
            columns_put(c, p, i, i + 1);
        }
    }
}

static void row_copy(struct piece_columns *to, uint32_t to_at, const struct piece_columns *from,
                     uint32_t at)
{
    to->t_ms[to_at] = from->t_ms[at];
    to->value[to_at] = from->value[at];
    if (to->kind) {
        to->kind[to_at] = from->kind[at];
    }
    if (to->start_ms) {
        to->start_ms[to_at] = from->start_ms[at];
    }
}

/* End of the run of rising or equal times that begins at `begin`. */
static uint32_t run_end(const int64_t *t, uint32_t begin, uint32_t n)
{
    uint32_t end = begin + 1;
    while (end < n && t[end - 1] <= t[end]) {
        end++;
    }
    return end;
}

/* One pass of a natural merge sort: pairs of neighbouring runs, the left one first where times are
 * equal, so that it is stable. Returns the number of runs left. */
static uint32_t merge_pass(const struct piece_columns *from, struct piece_columns *to)
{
    uint32_t n = from->count;
    uint32_t runs = 0;
    uint32_t at = 0;
    while (at < n) {
        uint32_t a = at;
        uint32_t a_end = run_end(from->t_ms, a, n);
        uint32_t b = a_end;
        uint32_t b_end = b < n ? run_end(from->t_ms, b, n) : b;
        while (a < a_end || b < b_end) {
            bool take_a = b == b_end || (a < a_end && from->t_ms[a] <= from->t_ms[b]);
            row_copy(to, at++, from, take_a ? a++ : b++);
        }
        runs++;
    }
    TSDB_ASSERT(at == n && runs > 0);
    to->count = n;
    return runs;
}

/* Rising or equal times; a second set of columns is only taken if there is something to do. */
static enum tsdb_status columns_sort(struct piece_columns *c, struct tsdb_arena *arena)
{
    if (c->count == 0 || run_end(c->t_ms, 0, c->count) == c->count) {
        return TSDB_OK;
    }
    struct piece_columns other;
    enum tsdb_status status =
        columns_alloc(arena, c->count, c->kind != NULL, c->start_ms != NULL, &other);
    if (status != TSDB_OK) {
        return status;
    }
    struct piece_columns *from = c;
    struct piece_columns *to = &other;
    while (merge_pass(from, to) > 1) {
        struct piece_columns *swap = from;
        from = to;
        to = swap;
    }
    TSDB_ASSERT(to->count == c->count && run_end(to->t_ms, 0, to->count) == to->count);
    *c = *to;
    return TSDB_OK;
}

/* Nothing to sort, nothing twice? So it is unless a sender came late. */
static bool columns_rise(const struct piece_columns *c)
{
    return c->count > 0 && c->t_ms[0] > INT64_MIN &&
           kernels_get()->rising(c->t_ms, c->count, INT64_MIN);
}

bool pieces_take(int64_t *t_ms, uint64_t *value, uint32_t count, struct tsdb_time_range range,
                 struct piece_columns *out)
{
    *out = (struct piece_columns){.count = count, .t_ms = t_ms, .value = value};
    if (!columns_rise(out)) {
        return false;
    }
    uint32_t begin = 0;
    uint32_t end = 0;
    range_find(t_ms, count, range, &begin, &end);
    if (begin >= end) {
        *out = (struct piece_columns){0};
        return true;
    }
    out->count = end - begin;
    out->t_ms += begin;
    out->value += begin;
    return true;
}

/* Of equal times keep the first. */
static void columns_unique(struct piece_columns *c)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (kept > 0 && c->t_ms[kept - 1] == c->t_ms[i]) {
            continue;
        }
        if (kept != i) {
            row_copy(c, kept, c, i);
        }
        kept++;
    }
    c->count = kept;
}

enum tsdb_status pieces_merge(const struct piece *pieces, uint32_t count,
                              struct tsdb_time_range range, struct tsdb_arena *arena,
                              struct piece_columns *out, struct tsdb_error *err)
{
    uint64_t cap = 0;
    bool kinds = false;
    bool starts = false;
    for (uint32_t i = 0; i < count; i++) {
        cap += count_max(&pieces[i], range);
        kinds = kinds || pieces[i].kind != TSDB_SAMPLE_FLOAT;
        starts = starts || pieces[i].start_ms;
    }
    memset(out, 0, sizeof *out);
    if (cap == 0) {
        return TSDB_OK;
    }
    if (cap > UINT32_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "a series has more than 2^32 samples in the range");
    }
    enum tsdb_status status = columns_alloc(arena, (uint32_t)cap, kinds, starts, out);
    for (uint32_t i = 0; status == TSDB_OK && i < count; i++) {
        columns_gather(out, &pieces[i], range);
        TSDB_ASSERT(out->count <= cap);
    }
    if (status == TSDB_OK && columns_rise(out)) {
        return TSDB_OK;
    }
    if (status == TSDB_OK) {
        status = columns_sort(out, arena);
    }
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "no memory for %u samples of a series", (uint32_t)cap);
    }
    columns_unique(out);
    return TSDB_OK;
}

static const struct tsdb_raw_histogram *raw_of(uint64_t value)
{
    return (const struct tsdb_raw_histogram *)(uintptr_t)value;
}

static uint32_t count_histograms(const struct piece_columns *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; c->kind && i < c->count; i++) {
        n += c->kind[i] != TSDB_SAMPLE_FLOAT;
    }
    return n;
}

enum tsdb_status pieces_decode(struct piece_columns *c, struct tsdb_arena *arena,
                               struct tsdb_columns *out, struct tsdb_error *err)
{
    struct tsdb_columns result = {
        .count = c->count, .t_ms = c->t_ms, .bits = c->value, .start_ms = c->start_ms};
    uint32_t n = count_histograms(c);
    if (n > 0) {
        struct tsdb_histogram *h = TSDB_ARENA_ARRAY(arena, struct tsdb_histogram, n);
        if (!h) {
            return tsdb_error_set(err, tsdb_arena_status(arena), "no memory for %u histograms", n);
        }
        uint32_t at = 0;
        for (uint32_t i = 0; i < c->count; i++) {
            if (c->kind[i] != TSDB_SAMPLE_FLOAT) {
                const struct tsdb_raw_histogram *raw = raw_of(c->value[i]);
                enum tsdb_status status =
                    tsdb_histogram_decode(raw->data, raw->len, arena, &h[at], err);
                if (status != TSDB_OK) {
                    return status;
                }
                c->value[i] = at++;
            }
        }
        TSDB_ASSERT(at == n);
        result.kind = c->kind;
        result.histograms = h;
        result.histogram_count = n;
    }
    *out = result;
    return TSDB_OK;
}
