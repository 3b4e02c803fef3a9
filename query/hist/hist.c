#include "query/hist/hist_private.h"

#include "base/bytes.h"

#include <math.h>
#include <string.h>

/* ---- from and to the stored form ---- */

static bool schema_is_known(int32_t schema)
{
    return schema == TSDB_HISTOGRAM_SCHEMA_CUSTOM ||
           (schema >= TSDB_HISTOGRAM_SCHEMA_MIN && schema <= TSDB_HISTOGRAM_SCHEMA_MAX);
}

static bool spans_hold(const struct tsdb_span *spans, uint32_t span_count, uint32_t bucket_count)
{
    uint64_t buckets = 0;
    int64_t end = 0;
    for (uint32_t i = 0; i < span_count; i++) {
        buckets += spans[i].length;
        end += (int64_t)spans[i].offset + spans[i].length;
        if ((i > 0 && spans[i].offset < 0) || end > (int64_t)INT32_MAX + 1) {
            return false;
        }
    }
    return buckets == bucket_count;
}

/* The deltas of an integer histogram are added up as doubles, as Prometheus does. */
static enum tsdb_status view_side(struct hist_side *s, const int64_t *deltas,
                                  struct tsdb_arena *arena)
{
    if (!spans_hold(s->spans, s->span_count, s->bucket_count)) {
        return TSDB_CORRUPT;
    }
    if (!deltas || s->bucket_count == 0) {
        return TSDB_OK;
    }
    double *counts = TSDB_ARENA_ARRAY(arena, double, s->bucket_count);
    if (!counts) {
        return tsdb_arena_status(arena);
    }
    double count = 0;
    for (uint32_t i = 0; i < s->bucket_count; i++) {
        count += (double)deltas[i];
        counts[i] = count;
    }
    s->counts = s->own_counts = counts;
    s->bucket_room = s->bucket_count;
    return TSDB_OK;
}

enum tsdb_status hist_view(const struct tsdb_histogram *m, struct tsdb_arena *arena,
                           struct hist *out)
{
    if (!schema_is_known(m->schema)) {
        return TSDB_CORRUPT;
    }
    struct hist h = {.reset_hint = m->reset_hint,
                     .schema = m->schema,
                     .count = m->is_float ? m->count_float : (double)m->count_int,
                     .sum = m->sum,
                     .positive = {.spans = m->positive_spans,
                                  .counts = m->is_float ? m->positive_counts : NULL,
                                  .span_count = m->positive_span_count,
                                  .bucket_count = m->positive_bucket_count}};
    if (hist_is_custom(&h)) {
        h.custom_values = m->custom_values;
        h.custom_count = m->custom_count;
    } else {
        h.zero_threshold = m->zero_threshold;
        h.zero_count = m->is_float ? m->zero_count_float : (double)m->zero_count_int;
        h.negative = (struct hist_side){.spans = m->negative_spans,
                                        .counts = m->is_float ? m->negative_counts : NULL,
                                        .span_count = m->negative_span_count,
                                        .bucket_count = m->negative_bucket_count};
    }
    enum tsdb_status status =
        view_side(&h.positive, m->is_float ? NULL : m->positive_deltas, arena);
    if (status == TSDB_OK) {
        status = view_side(&h.negative, m->is_float ? NULL : m->negative_deltas, arena);
    }
    if (status == TSDB_OK) {
        *out = h;
    }
    return status;
}

void hist_model(const struct hist *h, struct tsdb_histogram *out)
{
    *out = (struct tsdb_histogram){.is_float = true,
                                   .reset_hint = h->reset_hint,
                                   .schema = h->schema,
                                   .zero_threshold = h->zero_threshold,
                                   .sum = h->sum,
                                   .count_float = h->count,
                                   .zero_count_float = h->zero_count,
                                   .positive_span_count = h->positive.span_count,
                                   .negative_span_count = h->negative.span_count,
                                   .positive_bucket_count = h->positive.bucket_count,
                                   .negative_bucket_count = h->negative.bucket_count,
                                   .custom_count = h->custom_count,
                                   .positive_spans = h->positive.spans,
                                   .negative_spans = h->negative.spans,
                                   .positive_counts = h->positive.counts,
                                   .negative_counts = h->negative.counts,
                                   .custom_values = h->custom_values};
}

enum tsdb_status hist_validate(const struct hist *h, struct tsdb_error *err)
{
    struct tsdb_histogram m;
    hist_model(h, &m);
    return tsdb_histogram_validate(&m, err);
}

/* ---- copying ---- */

static void copy_doubles(double *to, const double *from, uint32_t count)
{
    if (count > 0) {
        memcpy(to, from, count * sizeof *to);
    }
}

static enum tsdb_status copy_side(struct hist_side *to, const struct hist_side *from,
                                  struct tsdb_arena *arena)
{
    to->span_count = 0; /* nothing of it needs to be kept when it grows */
    to->bucket_count = 0;
    to->residues = NULL;
    enum tsdb_status status =
        hist_side_own(to, from->bucket_count, from->span_count, from->residues != NULL, arena);
    if (status != TSDB_OK) {
        return status;
    }
    if (from->span_count > 0) {
        memcpy(to->own_spans, from->spans, from->span_count * sizeof *to->own_spans);
    }
    copy_doubles(to->own_counts, from->counts, from->bucket_count);
    if (from->residues) {
        copy_doubles(to->own_residues, from->residues, from->bucket_count);
    }
    to->span_count = from->span_count;
    to->bucket_count = from->bucket_count;
    return TSDB_OK;
}

static enum tsdb_status copy_custom(struct hist *to, const struct hist *from,
                                    struct tsdb_arena *arena)
{
    if (from->custom_count > to->custom_room) {
        double *p = TSDB_ARENA_ARRAY(arena, double, from->custom_count);
        if (!p) {
            return tsdb_arena_status(arena);
        }
        to->own_custom = p;
        to->custom_room = from->custom_count;
    }
    copy_doubles(to->own_custom, from->custom_values, from->custom_count);
    to->custom_values = to->own_custom;
    to->custom_count = from->custom_count;
    return TSDB_OK;
}

enum tsdb_status hist_copy(struct hist *to, const struct hist *from, struct tsdb_arena *arena)
{
    to->reset_hint = from->reset_hint;
    to->schema = from->schema;
    to->zero_threshold = from->zero_threshold;
    to->zero_count = from->zero_count;
    to->count = from->count;
    to->sum = from->sum;
    to->compensated = from->compensated;
    to->zero_count_residue = from->zero_count_residue;
    to->count_residue = from->count_residue;
    to->sum_residue = from->sum_residue;
    enum tsdb_status status = copy_side(&to->positive, &from->positive, arena);
    if (status == TSDB_OK) {
        status = copy_side(&to->negative, &from->negative, arena);
    }
    return status == TSDB_OK ? copy_custom(to, from, arena) : status;
}

/* ---- comparing ---- */

static bool same_bits(double a, double b)
{
    return tsdb_double_bits(a) == tsdb_double_bits(b);
}

/* The next span that has a length, with the offsets of the empty ones before it; false if there is
 * none. */
static bool next_span(const struct hist_side *s, uint32_t *at, int64_t *offset, uint32_t *length)
{
    *length = 0;
    for (*offset = 0; *at < s->span_count;) {
        const struct tsdb_span *span = &s->spans[(*at)++];
        *offset += span->offset;
        *length = span->length;
        if (span->length > 0) {
            return true;
        }
    }
    return false;
}

static bool same_side(const struct hist_side *a, const struct hist_side *b)
{
    if (a->bucket_count != b->bucket_count) {
        return false;
    }
    uint32_t i = 0;
    uint32_t k = 0;
    for (bool more = true; more;) {
        int64_t offset[2];
        uint32_t length[2];
        more = next_span(a, &i, &offset[0], &length[0]);
        if (next_span(b, &k, &offset[1], &length[1]) != more ||
            (more && (offset[0] != offset[1] || length[0] != length[1]))) {
            return false;
        }
    }
    for (uint32_t bucket = 0; bucket < a->bucket_count; bucket++) {
        if (!same_bits(a->counts[bucket], b->counts[bucket])) {
            return false;
        }
    }
    return true;
}

bool hist_same_bounds(const struct hist *a, const struct hist *b)
{
    if (a->custom_count != b->custom_count) {
        return false;
    }
    if (a->custom_values == b->custom_values) {
        return true;
    }
    for (uint32_t i = 0; i < a->custom_count; i++) {
        if (a->custom_values[i] != b->custom_values[i]) {
            return false;
        }
    }
    return true;
}

bool hist_equal(const struct hist *a, const struct hist *b)
{
    return a->schema == b->schema && same_bits(a->count, b->count) && same_bits(a->sum, b->sum) &&
           (!hist_is_custom(a) || hist_same_bounds(a, b)) &&
           a->zero_threshold == b->zero_threshold && same_bits(a->zero_count, b->zero_count) &&
           same_side(&a->negative, &b->negative) && same_side(&a->positive, &b->positive);
}

static bool any_infinite(const double *v, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (isinf(v[i])) {
            return true;
        }
    }
    return false;
}

bool hist_has_overflow(const struct hist *h)
{
    return isinf(h->zero_count) || isinf(h->count) || isinf(h->sum) ||
           any_infinite(h->positive.counts, h->positive.bucket_count) ||
           any_infinite(h->negative.counts, h->negative.bucket_count) ||
           any_infinite(h->custom_values, h->custom_count);
}

/* ---- scaling ---- */

static void multiply(double *v, uint32_t count, double factor)
{
    for (uint32_t i = 0; i < count; i++) {
        v[i] *= factor;
    }
}

static void divide(double *v, uint32_t count, double divisor)
{
    for (uint32_t i = 0; i < count; i++) {
        v[i] /= divisor;
    }
}

/* The numbers of a histogram that are no buckets. */
struct totals {
    double v[6];
};

static struct totals totals_of(const struct hist *h)
{
    return (struct totals){
        {h->zero_count, h->count, h->sum, h->zero_count_residue, h->count_residue, h->sum_residue}};
}

static void set_totals(struct hist *h, const struct totals *t)
{
    h->zero_count = t->v[0];
    h->count = t->v[1];
    h->sum = t->v[2];
    if (h->compensated) {
        h->zero_count_residue = t->v[3];
        h->count_residue = t->v[4];
        h->sum_residue = t->v[5];
    }
}

static void scale_buckets(struct hist *h, double by, void (*scale)(double *, uint32_t, double))
{
    struct hist_side *sides[] = {&h->positive, &h->negative};
    for (int i = 0; i < 2; i++) {
        scale(sides[i]->own_counts, sides[i]->bucket_count, by);
        if (h->compensated) {
            scale(sides[i]->own_residues, sides[i]->bucket_count, by);
        }
    }
    if (by < 0) {
        h->reset_hint = TSDB_RESET_GAUGE;
    }
}

enum tsdb_status hist_mul(struct hist *h, double factor, struct tsdb_arena *arena)
{
    enum tsdb_status status = hist_own(h, arena);
    if (status == TSDB_OK) {
        struct totals t = totals_of(h);
        multiply(t.v, 6, factor);
        set_totals(h, &t);
        scale_buckets(h, factor, multiply);
    }
    return status;
}

enum tsdb_status hist_div(struct hist *h, double divisor, struct tsdb_arena *arena)
{
    enum tsdb_status status = hist_own(h, arena);
    if (status == TSDB_OK) {
        struct totals t = totals_of(h);
        divide(t.v, 6, divisor);
        set_totals(h, &t);
        if (divisor == 0) {
            h->positive.span_count = h->positive.bucket_count = 0;
            h->negative.span_count = h->negative.bucket_count = 0;
        } else {
            scale_buckets(h, divisor, divide);
        }
    }
    return status;
}
