/* histogram_quantile and histogram_fraction over classic buckets; count, sum and average of native
 * histograms. */
#include "query/eval/operators.h"

#include "base/format.h"
#include "query/num.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

/* Buckets that differ by less, relatively, are taken for equal: what is left is rounding. */
#define SMALL_DELTA_TOLERANCE 1e-12

struct bucket {
    double upper;
    double count;
};

struct input {
    uint32_t group; /* UINT32_MAX: no usable "le" */
    double upper;
    struct column column;
};

struct correction {
    bool forced;
    double min_bucket, max_bucket, max_diff;
};

/* Buckets of a metric that had to be made monotonic. */
struct forced {
    struct query_str name;
    struct correction all;
    uint32_t first_step, last_step, count;
    struct forced *next;
};

/* histogram_quantile and histogram_fraction */
struct op_quantile {
    struct op op;
    struct op *child;
    const double *q;     /* per step; of a fraction: the lower end */
    const double *upper; /* of a fraction; NULL: quantile */
    struct forced *forced;
    struct input *inputs;   /* the child's series, ordered by group */
    uint32_t *group_begin;  /* per group its first input; one more at the end */
    struct bucket *buckets; /* scratch: as many as there are inputs */
};

/* ---- arithmetic ---- */

static int compare_buckets(const void *a, const void *b)
{
    double x = ((const struct bucket *)a)->upper;
    double y = ((const struct bucket *)b)->upper;
    return (x > y) - (x < y);
}

static uint32_t coalesce(struct bucket *b, uint32_t n)
{
    uint32_t last = 0;
    for (uint32_t i = 1; i < n; i++) {
        if (b[i].upper == b[last].upper) {
            b[last].count += b[i].count;
        } else {
            b[++last] = b[i];
        }
    }
    return last + 1;
}

/* Prometheus's util/almost. */
static bool almost_equal(double a, double b)
{
    if (isnan(a) || isnan(b)) {
        return isnan(a) && isnan(b);
    }
    if (a == b) {
        return true;
    }
    double sum = fabs(a) + fabs(b);
    double diff = fabs(a - b);
    if (a == 0 || b == 0 || sum < DBL_MIN) {
        return diff < SMALL_DELTA_TOLERANCE * DBL_MIN;
    }
    return diff / num_min(sum, DBL_MAX) < SMALL_DELTA_TOLERANCE;
}

static void make_monotonic(struct bucket *b, uint32_t n, struct correction *c)
{
    *c = (struct correction){false, (double)INFINITY, (double)-INFINITY, 0};
    double previous = b[0].count;
    for (uint32_t i = 1; i < n; i++) {
        double count = b[i].count;
        if (count == previous) {
            continue;
        }
        if (almost_equal(previous, count)) {
            b[i].count = previous;
        } else if (count < previous) {
            b[i].count = previous;
            c->forced = true;
            c->min_bucket = num_min(c->min_bucket, b[i].upper);
            c->max_bucket = num_max(c->max_bucket, b[i].upper);
            c->max_diff = num_max(c->max_diff, previous - count);
        } else {
            previous = count;
        }
    }
}

static double bucket_quantile(double q, struct bucket *b, uint32_t n, struct correction *c)
{
    c->forced = false;
    if (isnan(q)) {
        return (double)NAN;
    }
    if (q < 0 || q > 1) {
        return q < 0 ? (double)-INFINITY : (double)INFINITY;
    }
    qsort(b, n, sizeof *b, compare_buckets);
    if (!(isinf(b[n - 1].upper) && b[n - 1].upper > 0)) {
        return (double)NAN;
    }
    n = coalesce(b, n);
    make_monotonic(b, n, c);
    if (n < 2 || b[n - 1].count == 0) {
        return (double)NAN;
    }
    double rank = q * b[n - 1].count;
    uint32_t i = 0;
    while (i < n - 1 && !(b[i].count >= rank)) {
        i++;
    }
    if (i == n - 1) {
        return b[n - 2].upper;
    }
    if (i == 0 && b[0].upper <= 0) {
        return b[0].upper;
    }
    double start = 0;
    double end = b[i].upper;
    double count = b[i].count;
    if (i > 0) {
        start = b[i - 1].upper;
        count -= b[i - 1].count;
        rank -= b[i - 1].count;
    }
    return start + (end - start) * (rank / count);
}

/* The count of observations below v; v lies in (lower, upper). */
static double rank_of(double v, double lower, double upper, double rank, double count)
{
    return isinf(lower) ? count : rank + (count - rank) * (v - lower) / (upper - lower);
}

/* The share of observations in (lower, upper]. */
static double bucket_fraction(double lower, double upper, struct bucket *b, uint32_t n)
{
    qsort(b, n, sizeof *b, compare_buckets);
    if (!(isinf(b[n - 1].upper) && b[n - 1].upper > 0)) {
        return (double)NAN;
    }
    n = coalesce(b, n);
    double count = b[n - 1].count;
    if (count == 0 || isnan(lower) || isnan(upper)) {
        return (double)NAN;
    }
    if (lower >= upper) {
        return 0;
    }
    const double bounds[2] = {lower, upper};
    double ranks[2] = {count, count};
    for (int k = 0; k < 2; k++) {
        double rank = 0;
        double from = b[0].upper <= 0 ? (double)-INFINITY : 0;
        for (uint32_t i = 0; i < n; i++) {
            if (from >= bounds[k]) {
                ranks[k] = rank;
                break;
            }
            if (b[i].upper > bounds[k]) {
                ranks[k] = rank_of(bounds[k], from, b[i].upper, rank, b[i].count);
                break;
            }
            rank = b[i].count;
            from = b[i].upper;
        }
        ranks[k] = ranks[k] > count ? count : ranks[k];
    }
    return (ranks[1] - ranks[0]) / count;
}

/* ---- the operator ---- */

static const struct query_expr *vector_arg(const struct op_quantile *o)
{
    return o->op.expr->u.call.args[o->op.expr->u.call.arg_count - 1];
}

/* One note per metric name, over all steps and series: from the first to the last time, and the
 * extremes. */
static void note_forced(struct op_quantile *o, const struct correction *c, uint32_t step)
{
    struct query_str name = {"", 0};
    if (o->op.x->options->delayed_name_removal) {
        name = labels_metric_name(&o->op.series[o->op.pos].labels);
    }
    struct forced *f = o->forced;
    while (f && !(f->name.len == name.len && memcmp(f->name.data, name.data, name.len) == 0)) {
        f = f->next;
    }
    if (!f) {
        f = TSDB_ARENA_NEW(o->op.x->arena, struct forced);
        if (!f) {
            return; /* a note less */
        }
        *f = (struct forced){name, *c, step, step, 0, o->forced};
        o->forced = f;
    }
    f->count++;
    f->first_step = TSDB_MIN(f->first_step, step);
    f->last_step = TSDB_MAX(f->last_step, step);
    f->all.min_bucket = num_min(f->all.min_bucket, c->min_bucket);
    f->all.max_bucket = num_max(f->all.max_bucket, c->max_bucket);
    f->all.max_diff = num_max(f->all.max_diff, c->max_diff);
}

static void time_text(const struct op_quantile *o, uint32_t step, char out[64])
{
    out[tsdb_format_rfc3339_ms(out, grid_time(&o->op.grid, step) / 1000 * 1000)] = '\0';
}

static void notes_flush(struct op_quantile *o)
{
    for (const struct forced *f = o->forced; f; f = f->next) {
        char first[64];
        char last[64];
        char name[128] = "";
        time_text(o, f->first_step, first);
        time_text(o, f->last_step, last);
        if (f->name.len > 0 && f->name.len < 100) {
            snprintf(name, sizeof name, " for metric name \"%.*s\"", (int)f->name.len,
                     f->name.data);
        }
        exec_note(o->op.x, true, vector_arg(o)->start,
                  "input to histogram_quantile needed to be fixed for monotonicity (see "
                  "https://prometheus.io/docs/prometheus/latest/querying/functions/"
                  "#histogram_quantile)%s, "
                  "from buckets %g to %g, with a max diff of %.2g, over %u samples from %s to %s",
                  name, f->all.min_bucket, f->all.max_bucket, f->all.max_diff, f->count, first,
                  last);
    }
}

/* What a group of buckets gives at a step. */
static double group_value(struct op_quantile *o, uint32_t n, uint32_t step)
{
    if (o->upper) {
        return bucket_fraction(o->q[step], o->upper[step], o->buckets, n);
    }
    struct correction c;
    double v = bucket_quantile(o->q[step], o->buckets, n, &c);
    if (c.forced) {
        note_forced(o, &c, step);
    }
    return v;
}

static enum tsdb_status quantile_next(struct op *op, struct column *out)
{
    struct op_quantile *o = (struct op_quantile *)op;
    uint32_t begin = o->group_begin[op->pos];
    uint32_t end = o->group_begin[op->pos + 1];
    for (uint32_t i = 0; i < op->grid.count; i++) {
        uint32_t n = 0;
        for (uint32_t k = begin; k < end; k++) {
            const struct column *c = &o->inputs[k].column;
            if (c->v && c->kind[i] == POINT_FLOAT) {
                o->buckets[n++] = (struct bucket){o->inputs[k].upper, c->v[i]};
            }
        }
        out->kind[i] = POINT_NONE;
        if (n > 0) {
            out->kind[i] = POINT_FLOAT;
            out->v[i] = group_value(o, n, i);
        }
        if (i % 128 == 127) {
            enum tsdb_status status = exec_poll(op->x);
            if (status != TSDB_OK) {
                return status;
            }
        }
    }
    if (op->pos + 1 == op->series_count) {
        notes_flush(o);
    }
    return TSDB_OK;
}

static int compare_inputs(const void *a, const void *b)
{
    uint32_t x = ((const struct input *)a)->group;
    uint32_t y = ((const struct input *)b)->group;
    return (x > y) - (x < y);
}

static void note_bad_bucket(struct op_quantile *o, const struct tsdb_labels *labels)
{
    struct query_str le = labels_value(labels, "le", 2);
    struct query_str name =
        o->op.x->options->delayed_name_removal ? labels_metric_name(labels) : (struct query_str){0};
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    query_quote(&b, le.data, le.len, 0);
    if (name.len > 0) {
        tsdb_buf_put_str(&b, " for metric name ");
        query_quote(&b, name.data, name.len, 0);
    }
    if (!b.failed) {
        exec_note(o->op.x, false, vector_arg(o)->start,
                  "bucket label \"le\" is missing or has a malformed value of %.*s", (int)b.len,
                  (const char *)b.data);
    }
    tsdb_buf_deinit(&b);
}

static bool bound_of(const struct tsdb_labels *labels, double *out)
{
    struct query_str le = labels_value(labels, "le", 2);
    return tsdb_parse_float(le.data, le.len, out);
}

/* Groups: all labels but "le". The name still counts, so that two histograms of different names do
 * not mix. */
static enum tsdb_status group_inputs(struct op_quantile *o, const struct column *columns)
{
    static const struct query_str le = {"le", 2};
    const struct label_key key = {.names = {&le, 1}};
    struct exec *x = o->op.x;
    uint32_t n = o->child->series_count;
    struct label_map map;
    label_map_init(&map, x->arena);
    o->op.series = TSDB_ARENA_ARRAY(x->arena, struct op_series, TSDB_MAX(n, 1));
    o->inputs = TSDB_ARENA_ARRAY(x->arena, struct input, TSDB_MAX(n, 1));
    o->buckets = TSDB_ARENA_ARRAY(x->arena, struct bucket, TSDB_MAX(n, 1));
    o->group_begin = TSDB_ARENA_ARRAY(x->arena, uint32_t, (size_t)n + 1);
    if (!o->op.series || !o->inputs || !o->buckets || !o->group_begin) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct op_series *series = &o->child->series[i];
        struct input *in = &o->inputs[i];
        *in = (struct input){UINT32_MAX, 0, columns[i]};
        if (!columns[i].v) {
            continue;
        }
        if (columns[i].h) {
            return tsdb_error_set(x->err, TSDB_UNSUPPORTED,
                                  "function \"%s\" of native histograms is not supported yet",
                                  o->op.expr->u.call.function->name);
        }
        if (!bound_of(&series->labels, &in->upper)) {
            note_bad_bucket(o, &series->labels);
            continue;
        }
        bool is_new;
        if (!label_map_put(&map, &series->labels, &key, &in->group, &is_new)) {
            return exec_nomem(x);
        }
        if (is_new) {
            struct op_series *g = &o->op.series[in->group];
            g->drop_name = x->options->delayed_name_removal;
            if (!labels_drop(x->arena, &series->labels, key.names, false, &g->labels) ||
                (!g->drop_name && !labels_without_metadata(x->arena, &g->labels, &g->labels))) {
                return exec_nomem(x);
            }
        }
    }
    o->op.series_count = map.count;
    if (n > 0) {
        qsort(o->inputs, n, sizeof *o->inputs, compare_inputs);
    }
    uint32_t k = 0;
    for (uint32_t g = 0; g <= map.count; g++) {
        while (k < n && o->inputs[k].group < g) {
            k++;
        }
        o->group_begin[g] = k;
    }
    return TSDB_OK;
}

enum tsdb_status op_histogram_quantile_build(struct exec *x, const struct query_expr *e,
                                             const struct grid *grid, struct op **out)
{
    struct op_quantile *o = (struct op_quantile *)op_new(x, sizeof *o, e, grid, quantile_next);
    struct column *columns;
    if (!o) {
        return exec_nomem(x);
    }
    bool fraction = e->u.call.function->variant == QUERY_BUCKETS_FRACTION;
    enum tsdb_status status = exec_scalar(x, e->u.call.args[0], grid, &o->q);
    if (status == TSDB_OK && fraction) {
        status = exec_scalar(x, e->u.call.args[1], grid, &o->upper);
    }
    if (status == TSDB_OK) {
        status = exec_build(x, vector_arg(o), grid, &o->child);
    }
    if (status == TSDB_OK) {
        status = exec_drain(o->child, &columns);
    }
    if (status == TSDB_OK) {
        status = group_inputs(o, columns);
    }
    if (status != TSDB_OK) {
        return status;
    }
    for (uint32_t i = 0; i < grid->count && !fraction; i++) {
        exec_note_quantile(x, o->q[i], e->u.call.args[0]->start);
    }
    *out = &o->op;
    return x->options->delayed_name_removal ? TSDB_OK : op_merge_equal(out, false);
}

/* ---- histogram_count, histogram_sum, histogram_avg ---- */

struct op_stat {
    struct op op;
    struct op *child;
};

static enum tsdb_status stat_next(struct op *op, struct column *out)
{
    enum query_variant variant = op->expr->u.call.function->variant;
    enum tsdb_status status = op_next(((struct op_stat *)op)->child, out);
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        if (out->kind[i] != POINT_HISTOGRAM) {
            out->kind[i] = POINT_NONE;
            continue;
        }
        const struct tsdb_histogram *h = out->h[i];
        double count = h->is_float ? h->count_float : (double)h->count_int;
        out->kind[i] = POINT_FLOAT;
        out->v[i] = variant == QUERY_STAT_COUNT ? count
                    : variant == QUERY_STAT_SUM ? h->sum
                                                : h->sum / count;
    }
    return status;
}

enum tsdb_status op_histogram_stat_build(struct exec *x, const struct query_expr *e,
                                         const struct grid *grid, struct op **out)
{
    struct op_stat *o = (struct op_stat *)op_new(x, sizeof *o, e, grid, stat_next);
    if (!o) {
        return exec_nomem(x);
    }
    enum tsdb_status status = exec_build(x, e->u.call.args[0], grid, &o->child);
    return status == TSDB_OK ? op_series_unnamed(&o->op, o->child, false, out) : status;
}
