#include "query/hist/hist_private.h"

#include "base/assert.h"
#include "query/hist/bound.h"
#include "query/hist/kahan.h"

#include <string.h>

/* How the buckets of one side come to those of another. */
struct addition {
    int32_t schema;   /* of the result */
    unsigned shift;   /* of what is added */
    double threshold; /* exponential: buckets up to it are in the zero bucket already */
    bool subtract, compensated;
};

/* ---- hints ---- */

enum tsdb_reset_hint hist_join_hints(enum tsdb_reset_hint a, enum tsdb_reset_hint b, bool *conflict)
{
    if (a == b) {
        return a;
    }
    if (a == TSDB_RESET_GAUGE || b == TSDB_RESET_GAUGE) {
        return TSDB_RESET_GAUGE;
    }
    if (a != TSDB_RESET_UNKNOWN && b != TSDB_RESET_UNKNOWN) {
        *conflict = true;
    }
    return TSDB_RESET_UNKNOWN;
}

/* ---- zero buckets ---- */

/* Take the buckets of a side that begin below *threshold into a zero count. If it ends inside a
 * populated one, it is raised to that one's end: true. */
static bool absorb(const struct hist *h, const struct hist_side *s, double *threshold,
                   double *count, double *residue)
{
    struct hist_cursor c;
    for (hist_cursor_init(&c, s); hist_cursor_valid(&c); hist_cursor_next(&c)) {
        if (hist_bound(h->schema, c.index - 1) >= *threshold) {
            return false;
        }
        double bucket = s->counts[c.bucket];
        num_kahan(bucket, count, residue);
        if (s->residues) {
            num_kahan(s->residues[c.bucket], count, residue);
        }
        double upper = hist_bound(h->schema, c.index);
        if (upper > *threshold) {
            bool raise = bucket != 0;
            *threshold = raise ? upper : *threshold;
            return raise;
        }
    }
    return false;
}

double hist_zero_count_within(const struct hist *h, double *threshold, double *residue)
{
    if (*threshold == h->zero_threshold) {
        return h->zero_count;
    }
    double count;
    bool again;
    do {
        /* The residue goes on from the round before, as it does in Prometheus. */
        count = h->zero_count;
        absorb(h, &h->positive, threshold, &count, residue);
        /* Raised by the negative side, it is beyond what was looked at on the positive one. */
        again = absorb(h, &h->negative, threshold, &count, residue);
    } while (again);
    return count;
}

/* Remove the buckets that are in the zero bucket now. */
static enum tsdb_status drop_absorbed(struct hist *h, struct tsdb_arena *arena)
{
    enum tsdb_status status = hist_own(h, arena);
    struct hist_side *sides[] = {&h->positive, &h->negative};
    for (int i = 0; i < 2 && status == TSDB_OK; i++) {
        struct hist_side *s = sides[i];
        struct hist_cursor c;
        hist_cursor_init(&c, s);
        while (hist_cursor_valid(&c) && hist_bound(h->schema, c.index - 1) < h->zero_threshold) {
            s->own_counts[c.bucket] = 0;
            if (s->residues) {
                s->own_residues[c.bucket] = 0;
            }
            hist_cursor_next(&c);
        }
    }
    return status == TSDB_OK ? hist_compact(h, arena) : status;
}

/* Widen the zero bucket of h until it is one for both. `other` stays; its zero count with that
 * bucket is given back. A threshold that is no number is left alone: nothing can be as wide. */
static enum tsdb_status reconcile_zero(struct hist *h, const struct hist *other,
                                       struct tsdb_arena *arena, double *out_count,
                                       double *out_residue)
{
    double threshold = other->zero_threshold;
    *out_count = other->zero_count;
    *out_residue = 0;
    while (threshold < h->zero_threshold || threshold > h->zero_threshold) {
        if (threshold < h->zero_threshold) {
            threshold = h->zero_threshold;
            *out_residue = 0;
            *out_count = hist_zero_count_within(other, &threshold, out_residue);
        }
        if (threshold > h->zero_threshold) {
            double residue = h->zero_count_residue;
            double raised = threshold;
            h->zero_count = hist_zero_count_within(h, &raised, &residue);
            h->zero_threshold = raised;
            h->zero_count_residue = h->compensated ? residue : 0;
            enum tsdb_status status = drop_absorbed(h, arena);
            if (status != TSDB_OK) {
                return status;
            }
        }
    }
    return TSDB_OK;
}

/* ---- buckets ---- */

static void add_bucket(struct hist_side *s, uint32_t i, double count, double residue,
                       bool compensated)
{
    if (!compensated) {
        s->own_counts[i] += count;
        return;
    }
    num_kahan(count, &s->own_counts[i], &s->own_residues[i]);
    if (residue != 0) {
        num_kahan(residue, &s->own_counts[i], &s->own_residues[i]);
    }
}

static void coarse_of(const struct addition *how, const struct hist_side *b, struct hist_coarse *c)
{
    hist_coarse_init(c, b, how->shift, how->compensated);
    if (how->schema != TSDB_HISTOGRAM_SCHEMA_CUSTOM) {
        hist_coarse_skip(c, how->schema, how->threshold);
    }
}

/* How many buckets come that `a` does not have? */
static uint32_t missing(const struct hist_side *a, const struct hist_coarse *from)
{
    struct hist_coarse b = *from;
    struct hist_cursor c;
    uint32_t count = 0;
    hist_cursor_init(&c, a);
    for (; b.valid; hist_coarse_next(&b)) {
        while (hist_cursor_valid(&c) && c.index < b.index) {
            hist_cursor_next(&c);
        }
        count += !(hist_cursor_valid(&c) && c.index == b.index);
    }
    return count;
}

static void add_in_place(struct hist_side *a, struct hist_coarse *b, const struct addition *how)
{
    double sign = how->subtract ? -1 : 1;
    struct hist_cursor c;
    hist_cursor_init(&c, a);
    for (; b->valid; hist_coarse_next(b)) {
        while (c.index < b->index) {
            hist_cursor_next(&c);
        }
        add_bucket(a, c.bucket, sign * b->count, sign * b->residue, how->compensated);
    }
}

/* Write both, in order. The spans of `a` stay as they are. A new bucket prolongs the span that it
 * touches, the one before it rather than the one behind; otherwise it opens one. */
static void merge(struct hist_writer *w, const struct hist_side *a, struct hist_coarse *b,
                  const struct addition *how)
{
    double sign = how->subtract ? -1 : 1;
    struct hist_cursor c;
    bool joined = false; /* the span of `a` that comes next was begun by a new bucket */
    hist_cursor_init(&c, a);
    while (hist_cursor_valid(&c) || b->valid) {
        bool from_a = hist_cursor_valid(&c) && !(b->valid && b->index < c.index);
        if (!from_a) {
            bool touches = w->side->bucket_count > 0 && w->end == b->index;
            joined = !touches && hist_cursor_valid(&c) && c.opens && c.index == b->index + 1;
            hist_writer_put(w, b->index, sign * b->count, sign * b->residue, !touches);
            hist_coarse_next(b);
            continue;
        }
        hist_writer_put(w, c.index, a->counts[c.bucket], a->residues ? a->residues[c.bucket] : 0,
                        c.opens && !joined);
        joined = false;
        if (b->valid && b->index == c.index) {
            add_bucket(w->side, w->side->bucket_count - 1, sign * b->count, sign * b->residue,
                       how->compensated);
            hist_coarse_next(b);
        }
        hist_cursor_next(&c);
    }
}

static bool same_layout(const struct hist_side *a, const struct hist_side *b)
{
    return a->span_count == b->span_count && a->bucket_count == b->bucket_count &&
           (a->spans == b->spans || a->span_count == 0 ||
            memcmp(a->spans, b->spans, a->span_count * sizeof *a->spans) == 0);
}

/* The common case, without looking for each bucket's place: the first `skip` are not added. */
static void add_same_layout(struct hist_side *a, const struct hist_side *b, uint32_t skip,
                            const struct addition *how)
{
    double sign = how->subtract ? -1 : 1;
    if (!how->compensated) {
        for (uint32_t i = skip; i < a->bucket_count; i++) {
            a->own_counts[i] += sign * b->counts[i];
        }
        return;
    }
    for (uint32_t i = skip; i < a->bucket_count; i++) {
        num_kahan(sign * b->counts[i], &a->own_counts[i], &a->own_residues[i]);
    }
}

static enum tsdb_status add_side(struct hist_side *a, const struct hist_side *b,
                                 const struct addition *how, struct tsdb_arena *arena)
{
    struct hist_coarse c;
    coarse_of(how, b, &c);
    if (!c.valid) {
        return TSDB_OK;
    }
    if (how->shift == 0 && !b->residues && same_layout(a, b)) {
        uint32_t skip = c.in.bucket - 1;
        enum tsdb_status status =
            hist_side_own(a, a->bucket_count, a->span_count, how->compensated, arena);
        if (status == TSDB_OK) {
            add_same_layout(a, b, skip, how);
        }
        return status;
    }
    uint32_t more = missing(a, &c);
    if (more == 0) {
        enum tsdb_status status =
            hist_side_own(a, a->bucket_count, a->span_count, how->compensated, arena);
        if (status == TSDB_OK) {
            add_in_place(a, &c, how);
        }
        return status;
    }
    struct hist_writer w;
    struct hist_side tail;
    enum tsdb_status status = hist_writer_init(&w, a, more, more, how->compensated, arena, &tail);
    if (status == TSDB_OK) {
        merge(&w, &tail, &c, how);
    }
    return status;
}

/* ---- custom buckets of different bounds ---- */

/* The bounds that both have, in bounds[], which may be NULL to count them. */
static uint32_t intersect(const struct hist *a, const struct hist *b, double *bounds)
{
    uint32_t count = 0;
    uint32_t i = 0;
    uint32_t k = 0;
    while (i < a->custom_count && k < b->custom_count) {
        double x = a->custom_values[i];
        double y = b->custom_values[k];
        if (x == y) {
            if (bounds) {
                bounds[count] = x;
            }
            count++;
        }
        i += x <= y;
        k += !(x < y);
    }
    return count;
}

/* Dense buckets to collect in. */
struct dense {
    double *counts, *residues;
    const double *bounds;
    uint32_t bound_count;
};

/* Add each bucket to the one of `d` that it lies in. */
static void collect(const struct dense *d, const struct hist_side *s, const struct hist *h,
                    bool subtract, bool residues)
{
    uint32_t at = 0;
    struct hist_cursor c;
    for (hist_cursor_init(&c, s); hist_cursor_valid(&c); hist_cursor_next(&c)) {
        double bound = hist_custom_bound(h->custom_values, h->custom_count, c.index);
        while (at < d->bound_count && !(d->bounds[at] >= bound)) {
            at++;
        }
        double count = s->counts[c.bucket];
        num_kahan(subtract ? -count : count, &d->counts[at], &d->residues[at]);
        if (residues && s->residues) {
            num_kahan(s->residues[c.bucket], &d->counts[at], &d->residues[at]);
        }
    }
}

static enum tsdb_status add_reconciled(struct hist *h, const struct hist *other, bool subtract,
                                       struct tsdb_arena *arena)
{
    struct dense d = {.bounds = h->custom_values, .bound_count = intersect(h, other, NULL)};
    if (d.bound_count < h->custom_count) {
        double *bounds = TSDB_ARENA_ARRAY(arena, double, d.bound_count > 0 ? d.bound_count : 1);
        if (!bounds) {
            return tsdb_arena_status(arena);
        }
        intersect(h, other, bounds);
        d.bounds = bounds;
    }
    uint64_t buckets = (uint64_t)d.bound_count + 1;
    struct hist_writer w;
    struct hist_side tail;
    enum tsdb_status status =
        hist_writer_init(&w, &h->positive, buckets, buckets, true, arena, &tail);
    if (status != TSDB_OK) {
        return status;
    }
    d.counts = h->positive.own_counts;
    d.residues = h->positive.own_residues;
    memset(d.counts, 0, buckets * sizeof *d.counts);
    memset(d.residues, 0, buckets * sizeof *d.residues);
    collect(&d, &tail, h, false, h->compensated);
    collect(&d, &other->positive, other, subtract, false);
    for (uint32_t i = 0; i <= d.bound_count; i++) {
        if (d.counts[i] != 0 || d.residues[i] != 0) {
            hist_writer_put(&w, i, d.counts[i], d.residues[i], false);
        }
    }
    if (!h->compensated) {
        h->positive.residues = NULL; /* what rounding lost was wanted for the buckets above only */
    }
    if (d.bounds != h->custom_values) {
        h->own_custom = NULL;
        h->custom_room = 0;
        h->custom_values = d.bounds;
        h->custom_count = d.bound_count;
    }
    return TSDB_OK;
}

/* ---- histograms ---- */

static void add_total(double v, double *sum, double *residue, const struct addition *how)
{
    v = how->subtract ? -v : v;
    if (how->compensated) {
        num_kahan(v, sum, residue);
    } else {
        *sum += v;
    }
}

static enum tsdb_status add_exponential(struct hist *h, const struct hist *other,
                                        struct addition *how, struct tsdb_arena *arena)
{
    double zero_count;
    double zero_residue;
    enum tsdb_status status = reconcile_zero(h, other, arena, &zero_count, &zero_residue);
    add_total(zero_count, &h->zero_count, &h->zero_count_residue, how);
    if (how->compensated) {
        num_kahan(zero_residue, &h->zero_count, &h->zero_count_residue);
    }
    if (status == TSDB_OK && other->schema < h->schema) {
        status = hist_reduce(h, other->schema, arena);
    }
    how->schema = h->schema;
    how->shift = (unsigned)(other->schema - h->schema);
    how->threshold = h->zero_threshold;
    if (status == TSDB_OK) {
        status = add_side(&h->positive, &other->positive, how, arena);
    }
    return status == TSDB_OK ? add_side(&h->negative, &other->negative, how, arena) : status;
}

static enum tsdb_status add(struct hist *h, const struct hist *other, struct addition *how,
                            struct tsdb_arena *arena, struct hist_effects *effects)
{
    struct hist_effects ignored = {0};
    effects = effects ? effects : &ignored;
    if (hist_is_custom(h) != hist_is_custom(other)) {
        return TSDB_INVALID;
    }
    h->reset_hint = hist_join_hints(h->reset_hint, other->reset_hint, &effects->hint_conflict);
    if (how->compensated) {
        h->compensated = true; /* residues start at zero */
    }
    add_total(other->count, &h->count, &h->count_residue, how);
    add_total(other->sum, &h->sum, &h->sum_residue, how);
    if (!hist_is_custom(h)) {
        return add_exponential(h, other, how, arena);
    }
    if (hist_same_bounds(h, other)) {
        how->schema = h->schema;
        return add_side(&h->positive, &other->positive, how, arena);
    }
    effects->bounds_reconciled = true;
    return add_reconciled(h, other, how->subtract, arena);
}

enum tsdb_status hist_add(struct hist *h, const struct hist *other, struct tsdb_arena *arena,
                          struct hist_effects *effects)
{
    TSDB_ASSERT(!h->compensated);
    return add(h, other, &(struct addition){0}, arena, effects);
}

enum tsdb_status hist_sub(struct hist *h, const struct hist *other, struct tsdb_arena *arena,
                          struct hist_effects *effects)
{
    TSDB_ASSERT(!h->compensated);
    return add(h, other, &(struct addition){.subtract = true}, arena, effects);
}

enum tsdb_status hist_add_compensated(struct hist *h, const struct hist *other,
                                      struct tsdb_arena *arena, struct hist_effects *effects)
{
    return add(h, other, &(struct addition){.compensated = true}, arena, effects);
}

static void settle_side(struct hist_side *s, const struct hist *h)
{
    struct hist_cursor c;
    if (!s->residues) {
        return;
    }
    hist_cursor_init(&c, s);
    while (!hist_is_custom(h) && hist_cursor_valid(&c) &&
           hist_bound(h->schema, c.index) <= h->zero_threshold) {
        hist_cursor_next(&c);
    }
    for (uint32_t i = hist_cursor_valid(&c) ? c.bucket : s->bucket_count; i < s->bucket_count;
         i++) {
        s->own_counts[i] += s->residues[i];
    }
    s->residues = NULL;
}

void hist_settle(struct hist *h)
{
    if (!h->compensated) {
        return;
    }
    h->zero_count += h->zero_count_residue;
    h->count += h->count_residue;
    h->sum += h->sum_residue;
    settle_side(&h->positive, h);
    settle_side(&h->negative, h);
    h->compensated = false;
    h->zero_count_residue = h->count_residue = h->sum_residue = 0;
}
