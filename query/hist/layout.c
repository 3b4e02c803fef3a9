#include "query/hist/hist_private.h"

#include "base/assert.h"
#include "query/hist/bound.h"
#include "query/hist/kahan.h"

#include <string.h>

#define BUCKETS_MAX (1u << 30) /* of one side; beyond, counts of them would not fit 32 bits */

/* ---- reading ---- */

static void enter_span(struct hist_cursor *c)
{
    while (c->span < c->span_count) {
        c->index += c->spans[c->span].offset;
        c->left = c->spans[c->span].length;
        if (c->left > 0) {
            c->opens = true;
            return;
        }
        c->span++;
    }
}

void hist_cursor_init(struct hist_cursor *c, const struct hist_side *s)
{
    *c = (struct hist_cursor){.spans = s->spans,
                              .counts = s->counts,
                              .residues = s->residues,
                              .span_count = s->span_count};
    enter_span(c);
}

void hist_cursor_next(struct hist_cursor *c)
{
    c->bucket++;
    c->index++;
    c->opens = false;
    if (--c->left == 0) {
        c->span++;
        enter_span(c);
    }
}

void hist_coarse_init(struct hist_coarse *c, const struct hist_side *s, unsigned shift,
                      bool compensated)
{
    *c = (struct hist_coarse){.shift = shift, .compensated = compensated};
    hist_cursor_init(&c->in, s);
    hist_coarse_next(c);
}

static int64_t coarse_index(const struct hist_coarse *c)
{
    return ((c->in.index - 1) >> c->shift) + 1;
}

void hist_coarse_next(struct hist_coarse *c)
{
    struct hist_cursor *in = &c->in;
    c->valid = hist_cursor_valid(in);
    if (!c->valid) {
        return;
    }
    c->index = coarse_index(c);
    c->count = in->counts[in->bucket];
    c->residue = in->residues ? in->residues[in->bucket] : 0;
    hist_cursor_next(in);
    while (hist_cursor_valid(in) && coarse_index(c) == c->index) {
        double count = in->counts[in->bucket];
        if (c->compensated) {
            num_kahan(count, &c->count, &c->residue);
            num_kahan(in->residues ? in->residues[in->bucket] : 0, &c->count, &c->residue);
        } else {
            c->count += count;
        }
        hist_cursor_next(in);
    }
}

void hist_coarse_skip(struct hist_coarse *c, int32_t schema, double threshold)
{
    while (c->valid && hist_bound(schema, c->index) <= threshold) {
        hist_coarse_next(c);
    }
}

/* ---- room ---- */

static uint32_t room_for(uint64_t need, uint32_t before)
{
    uint64_t twice = (uint64_t)before * 2;
    uint64_t room = need > twice ? need : twice;
    return (uint32_t)(room < 1 ? 1 : room);
}

static void fill(double *to, const double *from, uint32_t count)
{
    if (count > 0 && from) {
        memcpy(to, from, count * sizeof *to);
    } else if (count > 0) {
        memset(to, 0, count * sizeof *to);
    }
}

/* Have own_residues of `room`, and zeros in it if there were no residues. */
static enum tsdb_status own_residues(struct hist_side *s, uint32_t room, bool grown,
                                     struct tsdb_arena *arena)
{
    if (s->residues && s->residues == s->own_residues && !grown) {
        return TSDB_OK;
    }
    double *p = grown ? NULL : s->own_residues;
    p = p ? p : TSDB_ARENA_ARRAY(arena, double, room);
    if (!p) {
        return tsdb_arena_status(arena);
    }
    fill(p, s->residues, s->bucket_count);
    s->own_residues = p;
    s->residues = p;
    return TSDB_OK;
}

static enum tsdb_status own_buckets(struct hist_side *s, uint64_t buckets, bool residues,
                                    struct tsdb_arena *arena)
{
    bool grown = !s->own_counts || buckets > s->bucket_room;
    uint32_t room = grown ? room_for(buckets, s->own_counts ? s->bucket_room : 0) : s->bucket_room;
    if (residues || s->residues) {
        enum tsdb_status status = own_residues(s, room, grown, arena);
        if (status != TSDB_OK) {
            return status;
        }
    } else if (grown) {
        s->own_residues = NULL; /* its room would be too small */
    }
    if (grown) {
        double *p = TSDB_ARENA_ARRAY(arena, double, room);
        if (!p) {
            return tsdb_arena_status(arena);
        }
        fill(p, s->counts, s->bucket_count);
        s->own_counts = p;
        s->counts = p;
        s->bucket_room = room;
    }
    return TSDB_OK;
}

static enum tsdb_status own_spans(struct hist_side *s, uint64_t spans, struct tsdb_arena *arena)
{
    if (s->own_spans && spans <= s->span_room) {
        return TSDB_OK;
    }
    uint32_t room = room_for(spans, s->own_spans ? s->span_room : 0);
    struct tsdb_span *p = TSDB_ARENA_ARRAY(arena, struct tsdb_span, room);
    if (!p) {
        return tsdb_arena_status(arena);
    }
    if (s->span_count > 0) {
        memcpy(p, s->spans, s->span_count * sizeof *p);
    }
    s->own_spans = p;
    s->spans = p;
    s->span_room = room;
    return TSDB_OK;
}

enum tsdb_status hist_side_own(struct hist_side *s, uint64_t buckets, uint64_t spans, bool residues,
                               struct tsdb_arena *arena)
{
    if (buckets > BUCKETS_MAX || spans > BUCKETS_MAX) {
        return TSDB_LIMIT;
    }
    enum tsdb_status status = own_buckets(s, buckets, residues, arena);
    return status == TSDB_OK ? own_spans(s, spans, arena) : status;
}

enum tsdb_status hist_own(struct hist *h, struct tsdb_arena *arena)
{
    struct hist_side *sides[] = {&h->positive, &h->negative};
    enum tsdb_status status = TSDB_OK;
    for (int i = 0; i < 2 && status == TSDB_OK; i++) {
        struct hist_side *s = sides[i];
        if (s->bucket_count > 0) {
            status = hist_side_own(s, s->bucket_count, s->span_count, h->compensated, arena);
        }
    }
    return status;
}

/* ---- writing ---- */

enum tsdb_status hist_writer_init(struct hist_writer *w, struct hist_side *s, uint64_t buckets_more,
                                  uint64_t spans_more, bool residues, struct tsdb_arena *arena,
                                  struct hist_side *tail)
{
    enum tsdb_status status =
        hist_side_own(s, s->bucket_count + buckets_more,
                      s->span_count + spans_more + HIST_SPANS_SPARE, residues, arena);
    if (status != TSDB_OK) {
        return status;
    }
    *tail = *s;
    uint32_t at = s->bucket_room - s->bucket_count;
    memmove(s->own_counts + at, s->own_counts, s->bucket_count * sizeof *s->own_counts);
    tail->counts = s->own_counts + at;
    if (s->residues) {
        memmove(s->own_residues + at, s->own_residues, s->bucket_count * sizeof *s->own_residues);
        tail->residues = s->own_residues + at;
    }
    at = s->span_room - s->span_count;
    memmove(s->own_spans + at, s->own_spans, s->span_count * sizeof *s->own_spans);
    tail->spans = s->own_spans + at;
    s->bucket_count = 0;
    s->span_count = 0;
    *w = (struct hist_writer){s, 0};
    return TSDB_OK;
}

static void put_span(struct hist_side *s, int32_t offset, uint32_t length)
{
    TSDB_ASSERT(s->span_count < s->span_room);
    s->own_spans[s->span_count++] = (struct tsdb_span){offset, length};
}

void hist_writer_put(struct hist_writer *w, int64_t index, double count, double residue, bool opens)
{
    struct hist_side *s = w->side;
    if (s->bucket_count == 0 || opens || index != w->end) {
        int64_t offset = index - w->end; /* the first one is absolute: end is 0 */
        while (offset > INT32_MAX) {
            put_span(s, INT32_MAX, 0);
            offset -= INT32_MAX;
        }
        put_span(s, (int32_t)offset, 0);
    }
    TSDB_ASSERT(s->bucket_count < s->bucket_room);
    s->own_spans[s->span_count - 1].length++;
    if (s->residues) {
        s->own_residues[s->bucket_count] = residue;
    }
    s->own_counts[s->bucket_count++] = count;
    w->end = index + 1;
}

/* ---- compacting ---- */

static bool is_empty_bucket(const struct hist_side *s, uint32_t i)
{
    return s->counts[i] == 0 && !(s->residues && s->residues[i] != 0);
}

static bool is_compact(const struct hist_side *s)
{
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        if (is_empty_bucket(s, i)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < s->span_count; i++) {
        if (s->spans[i].length == 0 || (i > 0 && s->spans[i].offset == 0)) {
            return false;
        }
    }
    return true;
}

enum tsdb_status hist_side_compact(struct hist_side *s, struct tsdb_arena *arena)
{
    if (is_compact(s)) {
        return TSDB_OK;
    }
    uint32_t holes = 0; /* each may split a span */
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        holes += is_empty_bucket(s, i);
    }
    struct hist_writer w;
    struct hist_side tail;
    enum tsdb_status status = hist_writer_init(&w, s, 0, holes, false, arena, &tail);
    if (status != TSDB_OK) {
        return status;
    }
    struct hist_cursor c;
    for (hist_cursor_init(&c, &tail); hist_cursor_valid(&c); hist_cursor_next(&c)) {
        if (!is_empty_bucket(&tail, c.bucket)) {
            hist_writer_put(&w, c.index, tail.counts[c.bucket],
                            tail.residues ? tail.residues[c.bucket] : 0, false);
        }
    }
    return TSDB_OK;
}

enum tsdb_status hist_compact(struct hist *h, struct tsdb_arena *arena)
{
    enum tsdb_status status = hist_side_compact(&h->positive, arena);
    return status == TSDB_OK ? hist_side_compact(&h->negative, arena) : status;
}

/* ---- reducing ---- */

static enum tsdb_status reduce_side(struct hist_side *s, unsigned shift, bool compensated,
                                    struct tsdb_arena *arena)
{
    struct hist_writer w;
    struct hist_side tail;
    enum tsdb_status status = hist_writer_init(&w, s, 0, 0, compensated, arena, &tail);
    if (status != TSDB_OK) {
        return status;
    }
    struct hist_coarse c;
    hist_coarse_init(&c, &tail, shift, compensated);
    for (; c.valid; hist_coarse_next(&c)) {
        hist_writer_put(&w, c.index, c.count, c.residue, false);
    }
    return TSDB_OK;
}

enum tsdb_status hist_reduce(struct hist *h, int32_t schema, struct tsdb_arena *arena)
{
    TSDB_ASSERT(!hist_is_custom(h) && schema >= TSDB_HISTOGRAM_SCHEMA_MIN && schema <= h->schema);
    if (schema == h->schema) {
        return TSDB_OK;
    }
    unsigned shift = (unsigned)(h->schema - schema);
    enum tsdb_status status = reduce_side(&h->positive, shift, h->compensated, arena);
    if (status == TSDB_OK) {
        status = reduce_side(&h->negative, shift, h->compensated, arena);
    }
    h->schema = schema;
    return status;
}
