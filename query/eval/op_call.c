/* Functions over instant vectors and scalars. */
#include "query/eval/operators.h"

#include "base/assert.h"
#include "query/num.h"

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

/* ---- float to float, with scalar arguments ---- */

struct op_map {
    struct op op;
    struct op *child;
    func_map_fn *map;
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
                                  func_map_fn *map, struct op_map **out_map, struct op **out)
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
    return status == TSDB_OK ? op_series_unnamed(&m->op, m->child, false, out) : status;
}

enum tsdb_status op_map_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                              func_map_fn *map, struct op **out)
{
    struct op_map *m;
    return map_build(x, e, grid, map_next, map, &m, out);
}

enum tsdb_status op_clamp_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                struct op **out)
{
    struct op_map *m = NULL;
    enum tsdb_status status = map_build(x, e, grid, clamp_next, NULL, &m, out);
    if (status == TSDB_OK) {
        TSDB_ASSERT(m != NULL);
        m->clamps_min = e->u.call.function->variant != QUERY_CLAMP_MAX;
        m->clamps_max = e->u.call.function->variant != QUERY_CLAMP_MIN;
    }
    return status;
}

/* ---- dates ---- */

struct date {
    int64_t year;
    int month, day; /* from 1 */
    int weekday;    /* Sunday 0 */
    int hour, minute;
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
    int64_t days = unix_s / 86400;
    int64_t seconds = unix_s % 86400;
    if (seconds < 0) {
        seconds += 86400;
        days--;
    }
    d.hour = (int)(seconds / 3600);
    d.minute = (int)(seconds / 60 % 60);
    d.weekday = (int)((days % 7 + 11) % 7); /* 1970-01-01 was a Thursday */
    int64_t z = days + 719468;
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
        return d.minute;
    case QUERY_DATE_HOUR:
        return d.hour;
    case QUERY_DATE_DAY_OF_WEEK:
        return d.weekday;
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
            int64_t whole_s = grid_time(&op->grid, i) / 1000;
            out->v[i] = date_part(part, (double)whole_s);
        } else if (out->kind[i] == POINT_FLOAT) {
            out->v[i] = date_part(part, out->v[i]);
        } else {
            out->kind[i] = POINT_NONE;
        }
    }
    return status;
}

/* ---- time(), timestamp() of what is no bare selector ---- */

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

static enum tsdb_status date_build(struct exec *x, const struct query_expr *e,
                                   const struct grid *grid,
                                   enum tsdb_status (*next)(struct op *, struct column *),
                                   struct op **out)
{
    struct op_date *d = (struct op_date *)op_new(x, sizeof *d, e, grid, next);
    if (!d) {
        return exec_nomem(x);
    }
    *out = &d->op;
    if (e->u.call.arg_count == 0) {
        return op_series_single(&d->op);
    }
    enum tsdb_status status = exec_build(x, e->u.call.args[0], grid, &d->child);
    return status == TSDB_OK ? op_series_unnamed(&d->op, d->child, false, out) : status;
}

enum tsdb_status op_date_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    return date_build(x, e, grid, date_next, out);
}

enum tsdb_status op_time_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    return date_build(x, e, grid, time_next, out);
}

/* ---- scalars ---- */

enum tsdb_status op_known_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                                struct op **out)
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
    return op_constant_build(x, e, grid, value, out);
}

/* min_of(a, b), max_of(a, b) */
enum tsdb_status op_pair_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    const double *a;
    const double *b;
    enum tsdb_status status = exec_scalar(x, e->u.call.args[0], grid, &a);
    if (status == TSDB_OK) {
        status = exec_scalar(x, e->u.call.args[1], grid, &b);
    }
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
    if (status == TSDB_OK) {
        status = column_init(x, &c, grid->count);
    }
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
