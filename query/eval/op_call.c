/* Functions over instant vectors and scalars. */
#include "query/eval/func_private.h"

#include "base/assert.h"
#include "query/eval/labels.h"
#include "query/eval/num.h"

#include <stdlib.h>

void func_note_quantile(struct exec *x, double q, uint32_t pos)
{
    if (isnan(q) || q < 0 || q > 1) {
        const char *text = isnan(q) ? "NaN" : isinf(q) ? (q < 0 ? "-Inf" : "+Inf") : NULL;
        if (text) {
            exec_note(x, false, pos, "quantile value should be between 0 and 1, got %s", text);
        } else {
            exec_note(x, false, pos, "quantile value should be between 0 and 1, got %g", q);
        }
    }
}

/* The one argument that is an instant vector, with the operator that makes it. */
static enum tsdb_status build_vector_arg(struct exec *x, const struct query_expr *e,
                                         const struct grid *grid, struct op **out)
{
    uint32_t i = 0;
    while (i + 1 < e->u.call.arg_count && e->u.call.args[i]->type != QUERY_TYPE_VECTOR) {
        i++;
    }
    TSDB_ASSERT(e->u.call.args[i]->type == QUERY_TYPE_VECTOR);
    return exec_build(x, e->u.call.args[i], grid, out);
}

/* The name goes; series that become equal are merged. */
static enum tsdb_status finish_unnamed(struct op *op, const struct op *child, struct op **out)
{
    enum tsdb_status status = op_series_drop_name(op, child);
    *out = op;
    return status == TSDB_OK && !op->x->options->delayed_name_removal ? op_merge_equal(out, false)
                                                                      : status;
}

/* ---- float to float, with scalar arguments ---- */

struct op_map {
    struct op op;
    struct op *child;
    query_map_fn map;
    const double *scalars[QUERY_FUNCTION_ARGS];
    uint32_t scalar_count;
    bool clamps_min, clamps_max;
};

static enum tsdb_status map_next(struct op *op, struct column *out)
{
    struct op_map *m = (struct op_map *)op;
    enum tsdb_status status = op_next(m->child, out);
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        if (out->kind[i] != POINT_FLOAT) {
            out->kind[i] = POINT_NONE;
            continue;
        }
        double args[QUERY_FUNCTION_ARGS] = {1}; /* round to a multiple of 1 */
        for (uint32_t a = 0; a < m->scalar_count; a++) {
            args[a] = m->scalars[a][i];
        }
        out->v[i] = m->map(out->v[i], args);
    }
    return status;
}

static enum tsdb_status clamp_next(struct op *op, struct column *out)
{
    struct op_map *m = (struct op_map *)op;
    enum tsdb_status status = op_next(m->child, out);
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        double min = m->clamps_min ? m->scalars[0][i] : (double)-INFINITY;
        double max = m->clamps_max ? m->scalars[m->clamps_min ? 1 : 0][i] : (double)INFINITY;
        if (out->kind[i] != POINT_FLOAT || max < min) {
            out->kind[i] = POINT_NONE;
        } else {
            out->v[i] = num_max(min, num_min(max, out->v[i]));
        }
    }
    return status;
}

static enum tsdb_status map_build(struct exec *x, const struct query_expr *e,
                                  const struct grid *grid,
                                  enum tsdb_status (*next)(struct op *, struct column *),
                                  query_map_fn map, struct op_map **out_map, struct op **out)
{
    struct op_map *m = (struct op_map *)op_new(x, sizeof *m, e, grid, next);
    if (!m) {
        return exec_nomem(x);
    }
    enum tsdb_status status = build_vector_arg(x, e, grid, &m->child);
    for (uint32_t i = 0; i < e->u.call.arg_count && status == TSDB_OK; i++) {
        if (e->u.call.args[i]->type == QUERY_TYPE_SCALAR) {
            status = exec_scalar(x, e->u.call.args[i], grid, &m->scalars[m->scalar_count++]);
        }
    }
    m->map = map;
    *out_map = m;
    return status == TSDB_OK ? finish_unnamed(&m->op, m->child, out) : status;
}

enum tsdb_status op_map_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                              query_map_fn map, struct op **out)
{
    struct op_map *m;
    return map_build(x, e, grid, map_next, map, &m, out);
}

enum tsdb_status op_clamp_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                struct op **out)
{
    struct op_map *m;
    enum tsdb_status status = map_build(x, e, grid, clamp_next, NULL, &m, out);
    if (status == TSDB_OK) {
        m->clamps_min = e->u.call.function->variant != QUERY_CLAMP_MAX;
        m->clamps_max = e->u.call.function->variant != QUERY_CLAMP_MIN;
    }
    return status;
}

/* ---- dates ---- */

struct date {
    int64_t year;
    int month, day;  /* from 1 */
    int64_t seconds; /* of the day */
    int64_t days;    /* since 1970 */
};

static bool is_leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int month_days(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Proleptic Gregorian; years are counted from March so that the leap day comes last. */
static struct date date_of(int64_t unix_s)
{
    struct date d;
    d.days = unix_s / 86400;
    d.seconds = unix_s % 86400;
    if (d.seconds < 0) {
        d.seconds += 86400;
        d.days--;
    }
    int64_t z = d.days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    d.day = (int)(doy - (153 * mp + 2) / 5 + 1);
    d.month = (int)(mp < 10 ? mp + 3 : mp - 9);
    d.year = yoe + era * 400 + (d.month <= 2);
    return d;
}

static int day_of_year(const struct date *d)
{
    int day = d->day;
    for (int m = 1; m < d->month; m++) {
        day += month_days(d->year, m);
    }
    return day;
}

static double date_part(enum query_variant part, double unix_s)
{
    /* Far beyond any calendar; also what Go makes of NaN. */
    int64_t t = unix_s >= -9e15 && unix_s <= 9e15 ? (int64_t)unix_s : INT64_MIN / 1024;
    struct date d = date_of(t);
    switch ((int)part) {
    case QUERY_DATE_MINUTE:
        return (double)(d.seconds / 60 % 60);
    case QUERY_DATE_HOUR:
        return (double)(d.seconds / 3600);
    case QUERY_DATE_DAY_OF_WEEK:
        return (double)((d.days % 7 + 11) % 7); /* 1970-01-01 was a Thursday */
    case QUERY_DATE_DAY_OF_MONTH:
        return d.day;
    case QUERY_DATE_DAY_OF_YEAR:
        return day_of_year(&d);
    case QUERY_DATE_DAYS_IN_MONTH:
        return month_days(d.year, d.month);
    case QUERY_DATE_MONTH:
        return d.month;
    default:
        TSDB_ASSERT(part == QUERY_DATE_YEAR);
        return (double)d.year;
    }
}

struct op_date {
    struct op op;
    struct op *child; /* NULL: of the evaluation time */
};

static enum tsdb_status date_next(struct op *op, struct column *out)
{
    struct op_date *d = (struct op_date *)op;
    enum query_variant part = op->expr->u.call.function->variant;
    enum tsdb_status status = d->child ? op_next(d->child, out) : TSDB_OK;
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        if (!d->child) {
            out->kind[i] = POINT_FLOAT;
            out->v[i] = date_part(part, (double)(grid_time(&op->grid, i) / 1000));
        } else if (out->kind[i] == POINT_FLOAT) {
            out->v[i] = date_part(part, out->v[i]);
        } else {
            out->kind[i] = POINT_NONE;
        }
    }
    return status;
}

/* One series without labels. */
static enum tsdb_status single_series(struct op *op)
{
    op->series = TSDB_ARENA_NEW(op->x->arena, struct op_series);
    if (!op->series) {
        return exec_nomem(op->x);
    }
    *op->series = (struct op_series){0};
    op->series_count = 1;
    return TSDB_OK;
}

enum tsdb_status op_date_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    struct op_date *d = (struct op_date *)op_new(x, sizeof *d, e, grid, date_next);
    if (!d) {
        return exec_nomem(x);
    }
    *out = &d->op;
    if (e->u.call.arg_count == 0) {
        return single_series(&d->op);
    }
    enum tsdb_status status = exec_build(x, e->u.call.args[0], grid, &d->child);
    return status == TSDB_OK ? finish_unnamed(&d->op, d->child, out) : status;
}

/* ---- time(), timestamp() ---- */

static enum tsdb_status time_next(struct op *op, struct column *out)
{
    struct op_date *d = (struct op_date *)op;
    enum tsdb_status status = d->child ? op_next(d->child, out) : TSDB_OK;
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        if (!d->child || out->kind[i] != POINT_NONE) {
            out->kind[i] = POINT_FLOAT;
            out->v[i] = (double)grid_time(&op->grid, i) / 1000;
        }
    }
    return status;
}

static enum tsdb_status pass_next(struct op *op, struct column *out)
{
    return op_next(((struct op_date *)op)->child, out);
}

enum tsdb_status op_time_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    struct op_date *d = (struct op_date *)op_new(x, sizeof *d, e, grid, time_next);
    if (!d) {
        return exec_nomem(x);
    }
    *out = &d->op;
    if (e->u.call.arg_count == 0) {
        return single_series(&d->op);
    }
    const struct query_expr *arg = query_expr_unwrap(e->u.call.args[0]);
    bool of_samples = arg->kind == EXPR_VECTOR;
    d->op.next = of_samples ? pass_next : time_next;
    enum tsdb_status status = of_samples ? op_timestamp_build(x, arg, grid, &d->child)
                                         : exec_build(x, arg, grid, &d->child);
    return status == TSDB_OK ? finish_unnamed(&d->op, d->child, out) : status;
}

/* ---- scalars ---- */

static enum tsdb_status build_filled(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, double value, struct op **out)
{
    double *values = TSDB_ARENA_ARRAY(x->arena, double, TSDB_MAX(grid->count, 1));
    if (!values) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < grid->count; i++) {
        values[i] = value;
    }
    return op_values_build(x, e, grid, values, out);
}

enum tsdb_status op_constant_build(struct exec *x, const struct query_expr *e,
                                   const struct grid *grid, struct op **out)
{
    double value = M_PI;
    switch ((int)e->u.call.function->variant) {
    case QUERY_CONSTANT_START:
        value = (double)x->start_ms / 1000;
        break;
    case QUERY_CONSTANT_END:
        value = (double)x->end_ms / 1000;
        break;
    case QUERY_CONSTANT_RANGE:
        value = (double)(x->end_ms - x->start_ms) / 1000;
        break;
    case QUERY_CONSTANT_STEP:
        value = x->start_ms == x->end_ms ? 0 : (double)x->step_ms / 1000;
        break;
    default:
        TSDB_ASSERT(e->u.call.function->variant == QUERY_CONSTANT_PI);
        break;
    }
    return build_filled(x, e, grid, value, out);
}

/* min_of(a, b), max_of(a, b) */
enum tsdb_status op_pair_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    const double *a;
    const double *b;
    enum tsdb_status status = exec_scalar(x, e->u.call.args[0], grid, &a);
    status = status == TSDB_OK ? exec_scalar(x, e->u.call.args[1], grid, &b) : status;
    double *values = TSDB_ARENA_ARRAY(x->arena, double, TSDB_MAX(grid->count, 1));
    if (status != TSDB_OK || !values) {
        return status != TSDB_OK ? status : exec_nomem(x);
    }
    bool min = e->u.call.function->variant == QUERY_PAIR_MIN;
    for (uint32_t i = 0; i < grid->count; i++) {
        values[i] = min ? num_min(a[i], b[i]) : num_max(a[i], b[i]);
    }
    return op_values_build(x, e, grid, values, out);
}

/* scalar(v): the only float of v, else NaN. */
enum tsdb_status op_scalar_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, struct op **out)
{
    struct op *child;
    struct column c;
    enum tsdb_status status = exec_build(x, e->u.call.args[0], grid, &child);
    status = status == TSDB_OK ? column_init(x, &c, grid->count) : status;
    if (status != TSDB_OK) {
        return status;
    }
    size_t n = TSDB_MAX(grid->count, 1);
    double *values = TSDB_ARENA_ARRAY(x->arena, double, n);
    uint8_t *found = TSDB_ARENA_ARRAY(x->arena, uint8_t, n);
    if (!values || !found) {
        return exec_nomem(x);
    }
    memset(found, 0, n);
    for (uint32_t k = 0; k < child->series_count && status == TSDB_OK; k++) {
        status = op_next(child, &c);
        for (uint32_t i = 0; i < grid->count && status == TSDB_OK; i++) {
            if (c.kind[i] == POINT_FLOAT) {
                values[i] = c.v[i];
                found[i] = found[i] == 0 ? 1 : 2;
            }
        }
    }
    for (uint32_t i = 0; i < grid->count; i++) {
        if (found[i] != 1) {
            values[i] = (double)NAN;
        }
    }
    return status == TSDB_OK ? op_values_build(x, e, grid, values, out) : status;
}

enum tsdb_status op_vector_of_build(struct exec *x, const struct query_expr *e,
                                    const struct grid *grid, struct op **out)
{
    const double *values;
    enum tsdb_status status = exec_scalar(x, e->u.call.args[0], grid, &values);
    return status == TSDB_OK ? op_values_build(x, e, grid, values, out) : status;
}

/* ---- absent ---- */

/* The labels that an absent series surely would have: those of the selector's equality matchers. A
 * label that is matched twice is left out. */
static enum tsdb_status absent_labels(struct exec *x, const struct query_expr *arg,
                                      struct tsdb_labels *out)
{
    const struct query_expr *v = query_expr_unwrap(arg);
    if (v->kind == EXPR_MATRIX) {
        v = v->u.matrix.selector;
    }
    *out = QUERY_LABELS_EMPTY;
    if (v->kind != EXPR_VECTOR) {
        return TSDB_OK;
    }
    for (uint32_t i = 0; i < v->u.vector.matcher_count; i++) {
        const struct tsdb_matcher *m = &v->u.vector.matchers[i];
        if (m->name_len == 8 && memcmp(m->name, TSDB_METRIC_NAME, 8) == 0) {
            continue;
        }
        bool seen = false; /* an equality matcher for the same name came before */
        for (uint32_t j = 0; j < i; j++) {
            const struct tsdb_matcher *o = &v->u.vector.matchers[j];
            seen |= o->op == TSDB_MATCH_EQ && o->name_len == m->name_len &&
                    memcmp(o->name, m->name, m->name_len) == 0;
        }
        struct query_str value = {m->value, m->op == TSDB_MATCH_EQ && !seen ? m->value_len : 0};
        if (!labels_set(x->arena, out, (struct query_str){m->name, m->name_len}, value, out)) {
            return exec_nomem(x);
        }
    }
    return TSDB_OK;
}

struct op_absent {
    struct op op;
    struct op *child;
    struct matrix *matrix;
    struct column scratch;
};

static enum tsdb_status absent_next(struct op *op, struct column *out)
{
    struct op_absent *a = (struct op_absent *)op;
    uint32_t steps = op->grid.count;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < steps; i++) {
        out->kind[i] = POINT_FLOAT;
        out->v[i] = 1;
    }
    for (uint32_t k = 0; a->child && k < a->child->series_count && status == TSDB_OK; k++) {
        status = op_next(a->child, &a->scratch);
        for (uint32_t i = 0; i < steps && status == TSDB_OK; i++) {
            out->kind[i] = a->scratch.kind[i] != POINT_NONE ? (uint8_t)POINT_NONE : out->kind[i];
        }
    }
    for (uint32_t k = 0; a->matrix && k < a->matrix->series_count && status == TSDB_OK; k++) {
        struct points p;
        status = matrix_next(a->matrix, &p);
        uint32_t f = 0;
        uint32_t h = 0;
        for (uint32_t i = 0; i < steps && status == TSDB_OK; i++) {
            int64_t end = matrix_window_end(a->matrix, i);
            while (f < p.count && p.t[f] <= end - a->matrix->range_ms) {
                f++;
            }
            while (h < p.h_count && p.ht[h] <= end - a->matrix->range_ms) {
                h++;
            }
            if ((f < p.count && p.t[f] <= end) || (h < p.h_count && p.ht[h] <= end)) {
                out->kind[i] = POINT_NONE;
            }
        }
    }
    return status;
}

static enum tsdb_status absent_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, struct op_absent **out)
{
    struct op_absent *a = (struct op_absent *)op_new(x, sizeof *a, e, grid, absent_next);
    if (!a) {
        return exec_nomem(x);
    }
    *out = a;
    enum tsdb_status status = single_series(&a->op);
    status =
        status == TSDB_OK ? absent_labels(x, e->u.call.args[0], &a->op.series->labels) : status;
    return status == TSDB_OK ? column_init(x, &a->scratch, grid->count) : status;
}

enum tsdb_status op_absent_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, struct op **out)
{
    struct op_absent *a;
    enum tsdb_status status = absent_build(x, e, grid, &a);
    status = status == TSDB_OK ? exec_build(x, e->u.call.args[0], grid, &a->child) : status;
    *out = status == TSDB_OK ? &a->op : NULL;
    return status;
}

enum tsdb_status op_absent_over_time_build(struct exec *x, const struct query_expr *e,
                                           const struct grid *grid, struct op **out)
{
    struct op_absent *a;
    enum tsdb_status status = absent_build(x, e, grid, &a);
    status = status == TSDB_OK ? matrix_build(x, e->u.call.args[0], grid, &a->matrix) : status;
    if (status == TSDB_OK && (a->matrix->before_ms != 0 || a->matrix->after_ms != 0)) {
        bool smoothed = a->matrix->after_ms != 0;
        return tsdb_error_set(x->err, TSDB_INVALID,
                              "%s modifier can only be used with: %sdelta, increase, rate%s - not "
                              "with absent_over_time",
                              smoothed ? "smoothed" : "anchored", smoothed ? "" : "changes, ",
                              smoothed ? "" : ", resets");
    }
    *out = status == TSDB_OK ? &a->op : NULL;
    return status;
}

/* ---- sorting ---- */

struct sort_item {
    const struct query_expr *call;
    const struct op_series *series;
    double v;
    const struct tsdb_histogram *h;
    uint32_t index;
};

struct op_sort {
    struct op op;
    struct op *child; /* range queries: no order */
    bool floats_only;
    struct sort_item *items; /* instant queries: in their order */
};

static int compare_values(const struct sort_item *a, const struct sort_item *b, bool descending)
{
    if (isnan(a->v) || isnan(b->v)) {
        return (int)isnan(a->v) - (int)isnan(b->v); /* NaN last, either way */
    }
    int c = (a->v > b->v) - (a->v < b->v);
    return descending ? -c : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A run of digits or of non-digits from s[*pos]. */
static struct query_str chunk(struct query_str s, uint32_t *pos)
{
    uint32_t begin = *pos;
    while (*pos < s.len && is_digit(s.data[*pos]) == is_digit(s.data[begin])) {
        (*pos)++;
    }
    return (struct query_str){s.data + begin, *pos - begin};
}

/* "a2" before "a10": runs of digits compare as numbers. */
static int compare_natural(struct query_str a, struct query_str b)
{
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < a.len && j < b.len) {
        struct query_str x = chunk(a, &i);
        struct query_str y = chunk(b, &j);
        if (is_digit(x.data[0]) && is_digit(y.data[0])) {
            while (x.len > 1 && x.data[0] == '0') {
                x.data++;
                x.len--;
            }
            while (y.len > 1 && y.data[0] == '0') {
                y.data++;
                y.len--;
            }
            if (x.len != y.len) {
                return x.len < y.len ? -1 : 1;
            }
        }
        int c = tsdb_str_compare(x.data, x.len, y.data, y.len);
        if (c != 0) {
            return c;
        }
    }
    return (i < a.len) - (j < b.len);
}

static int compare_labels(const struct sort_item *a, const struct sort_item *b)
{
    for (uint32_t i = 1; i < a->call->u.call.arg_count; i++) {
        struct query_str name = query_expr_unwrap(a->call->u.call.args[i])->u.string;
        struct query_str x = labels_value(&a->series->labels, name.data, name.len);
        struct query_str y = labels_value(&b->series->labels, name.data, name.len);
        int c = compare_natural(x, y);
        if (c != 0) {
            return c;
        }
    }
    return tsdb_labels_compare(&a->series->labels, &b->series->labels);
}

static int compare_items(const void *pa, const void *pb)
{
    const struct sort_item *a = pa;
    const struct sort_item *b = pb;
    enum query_variant order = a->call->u.call.function->variant;
    bool by_label = order == QUERY_SORT_LABELS || order == QUERY_SORT_LABELS_DESC;
    bool descending = order == QUERY_SORT_VALUES_DESC || order == QUERY_SORT_LABELS_DESC;
    int c = by_label ? (descending ? compare_labels(b, a) : compare_labels(a, b))
                     : compare_values(a, b, descending);
    return c != 0 ? c : (a->index > b->index) - (a->index < b->index);
}

static enum tsdb_status sort_next(struct op *op, struct column *out)
{
    struct op_sort *o = (struct op_sort *)op;
    if (!o->child) {
        const struct sort_item *item = &o->items[op->pos];
        out->kind[0] = item->h ? POINT_HISTOGRAM : POINT_FLOAT;
        out->v[0] = item->v;
        enum tsdb_status status = item->h ? column_histograms(op->x, out, 1) : TSDB_OK;
        if (status == TSDB_OK && item->h) {
            out->h[0] = item->h;
        }
        return status;
    }
    enum tsdb_status status = op_next(o->child, out);
    for (uint32_t i = 0; i < op->grid.count && o->floats_only; i++) {
        out->kind[i] = out->kind[i] == POINT_FLOAT ? (uint8_t)POINT_FLOAT : (uint8_t)POINT_NONE;
    }
    return status;
}

static enum tsdb_status sort_instant(struct op_sort *o, struct op *child)
{
    struct exec *x = o->op.x;
    struct column c;
    enum tsdb_status status = column_init(x, &c, 1);
    size_t n = TSDB_MAX(child->series_count, 1);
    o->items = TSDB_ARENA_ARRAY(x->arena, struct sort_item, n);
    o->op.series = TSDB_ARENA_ARRAY(x->arena, struct op_series, n);
    if (!o->items || !o->op.series) {
        return exec_nomem(x);
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < child->series_count && status == TSDB_OK; i++) {
        status = op_next(child, &c);
        if (status != TSDB_OK || c.kind[0] == POINT_NONE ||
            (c.kind[0] == POINT_HISTOGRAM && o->floats_only)) {
            continue;
        }
        const struct tsdb_histogram *h =
            c.kind[0] == POINT_HISTOGRAM ? exec_keep_histogram(x, c.h[0]) : NULL;
        if (c.kind[0] == POINT_HISTOGRAM && !h) {
            return exec_nomem(x);
        }
        o->items[count] = (struct sort_item){o->op.expr, &child->series[i], c.v[0], h, count};
        count++;
    }
    if (status != TSDB_OK) {
        return status;
    }
    qsort(o->items, count, sizeof *o->items, compare_items);
    for (uint32_t i = 0; i < count; i++) {
        o->op.series[i] = *o->items[i].series;
    }
    o->op.series_count = count;
    return exec_hold(x, count);
}

enum tsdb_status op_sort_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    struct op_sort *o = (struct op_sort *)op_new(x, sizeof *o, e, grid, sort_next);
    struct op *child;
    if (!o) {
        return exec_nomem(x);
    }
    *out = &o->op;
    enum query_variant order = e->u.call.function->variant;
    o->floats_only = order == QUERY_SORT_VALUES || order == QUERY_SORT_VALUES_DESC;
    enum tsdb_status status = exec_build(x, e->u.call.args[0], grid, &child);
    if (status != TSDB_OK) {
        return status;
    }
    if (grid->count == 1) {
        return sort_instant(o, child);
    }
    exec_note(x, false, e->start,
              "sort is ineffective for range queries since results are always ordered by labels");
    o->child = child;
    o->op.series = child->series;
    o->op.series_count = child->series_count;
    return TSDB_OK;
}
