#include "query/lang/functions.h"

#include "query/eval/func_private.h"

#include <math.h>

#include <string.h>

#define S QUERY_TYPE_SCALAR
#define V QUERY_TYPE_VECTOR
#define M QUERY_TYPE_MATRIX
#define T QUERY_TYPE_STRING

/* ---- float to float ---- */

#define MAP_LIBM(name, f)                                                                          \
    static double map_##name(double v, const double *args)                                         \
    {                                                                                              \
        (void)args;                                                                                \
        return f(v);                                                                               \
    }
MAP_LIBM(abs, fabs)
MAP_LIBM(acos, acos)
MAP_LIBM(acosh, acosh)
MAP_LIBM(asin, asin)
MAP_LIBM(asinh, asinh)
MAP_LIBM(atan, atan)
MAP_LIBM(atanh, atanh)
MAP_LIBM(ceil, ceil)
MAP_LIBM(cos, cos)
MAP_LIBM(cosh, cosh)
MAP_LIBM(exp, exp)
MAP_LIBM(floor, floor)
MAP_LIBM(ln, log)
MAP_LIBM(log10, log10)
MAP_LIBM(log2, log2)
MAP_LIBM(sin, sin)
MAP_LIBM(sinh, sinh)
MAP_LIBM(sqrt, sqrt)
MAP_LIBM(tan, tan)
MAP_LIBM(tanh, tanh)

static double map_deg(double v, const double *args)
{
    (void)args;
    return v * 180 / M_PI;
}

static double map_rad(double v, const double *args)
{
    (void)args;
    return v * M_PI / 180;
}

static double map_sgn(double v, const double *args)
{
    (void)args;
    return v < 0 ? -1 : v > 0 ? 1 : v;
}

/* Halves go up. The inverse loses less than dividing by it. */
static double map_round(double v, const double *args)
{
    double inverse = 1.0 / args[0];
    return floor(v * inverse + 0.5) / inverse;
}

/* ---- the table, sorted by name ---- */

#define MAP(name)                                                                                  \
    {                                                                                              \
#name, {V }, 1, 0, V, false, false, map_##name, NULL, NULL                                 \
    }
#define RANGE(name)                                                                                \
    {                                                                                              \
#name, {M }, 1, 0, V, false, false, NULL, func_##name, NULL                                \
    }
#define RANGE_EXPERIMENTAL(name)                                                                   \
    {                                                                                              \
#name, {M }, 1, 0, V, true, false, NULL, func_##name, NULL                                 \
    }
#define DATE(name)                                                                                 \
    {                                                                                              \
#name, {V }, 1, 1, V, false, true, NULL, NULL, op_date_build                               \
    }
#define CONTEXT(name)                                                                              \
    {                                                                                              \
#name, {S }, 0, 0, S, true, false, NULL, NULL, op_constant_build                           \
    }
#define BUILD(name, build, returns, variadic, count, ...)                                          \
    {                                                                                              \
#name, {__VA_ARGS__ }, count, variadic, returns, false, false, NULL, NULL, build           \
    }
#define BUILD_EXPERIMENTAL(name, build, returns, variadic, count, ...)                             \
    {                                                                                              \
#name, {__VA_ARGS__ }, count, variadic, returns, true, false, NULL, NULL, build            \
    }

static const struct query_function table[] = {
    MAP(abs),
    BUILD(absent, op_absent_build, V, 0, 1, V),
    BUILD(absent_over_time, op_absent_over_time_build, V, 0, 1, M),
    MAP(acos),
    MAP(acosh),
    MAP(asin),
    MAP(asinh),
    MAP(atan),
    MAP(atanh),
    RANGE(avg_over_time),
    MAP(ceil),
    RANGE(changes),
    BUILD(clamp, op_clamp_build, V, 0, 3, V, S, S),
    BUILD(clamp_max, op_clamp_build, V, 0, 2, V, S),
    BUILD(clamp_min, op_clamp_build, V, 0, 2, V, S),
    MAP(cos),
    MAP(cosh),
    RANGE(count_over_time),
    DATE(day_of_month),
    DATE(day_of_week),
    DATE(day_of_year),
    DATE(days_in_month),
    MAP(deg),
    RANGE(delta),
    RANGE(deriv),
    {"double_exponential_smoothing",
     {M, S, S},
     3,
     0,
     V,
     true,
     false,
     NULL,
     func_double_exponential_smoothing,
     NULL},
    CONTEXT(end),
    MAP(exp),
    RANGE(first_over_time),
    MAP(floor),
    BUILD(histogram_avg, op_histogram_stat_build, V, 0, 1, V),
    BUILD(histogram_count, op_histogram_stat_build, V, 0, 1, V),
    BUILD(histogram_fraction, op_histogram_quantile_build, V, 0, 3, S, S, V),
    BUILD(histogram_quantile, op_histogram_quantile_build, V, 0, 2, S, V),
    BUILD_EXPERIMENTAL(histogram_quantiles, NULL, V, 9, 4, V, T, S, S),
    BUILD(histogram_stddev, NULL, V, 0, 1, V),
    BUILD(histogram_stdvar, NULL, V, 0, 1, V),
    BUILD(histogram_sum, op_histogram_stat_build, V, 0, 1, V),
    DATE(hour),
    RANGE(idelta),
    RANGE(increase),
    BUILD_EXPERIMENTAL(info, NULL, V, 1, 2, V, V),
    RANGE(irate),
    BUILD(label_join, op_label_join_build, V, -1, 4, V, T, T, T),
    BUILD(label_replace, op_label_replace_build, V, 0, 5, V, T, T, T, T),
    RANGE(last_over_time),
    MAP(ln),
    MAP(log10),
    MAP(log2),
    RANGE_EXPERIMENTAL(mad_over_time),
    BUILD_EXPERIMENTAL(max_of, op_pair_build, S, 0, 2, S, S),
    RANGE(max_over_time),
    BUILD_EXPERIMENTAL(min_of, op_pair_build, S, 0, 2, S, S),
    RANGE(min_over_time),
    DATE(minute),
    DATE(month),
    {"pi", {S}, 0, 0, S, false, false, NULL, NULL, op_constant_build},
    {"predict_linear", {M, S}, 2, 0, V, false, true, NULL, func_predict_linear, NULL},
    RANGE(present_over_time),
    {"quantile_over_time", {S, M}, 2, 0, V, false, false, NULL, func_quantile_over_time, NULL},
    MAP(rad),
    CONTEXT(range),
    RANGE(rate),
    RANGE(resets),
    {"round", {V, S}, 2, 1, V, false, false, map_round, NULL, NULL},
    BUILD(scalar, op_scalar_build, S, 0, 1, V),
    MAP(sgn),
    MAP(sin),
    MAP(sinh),
    BUILD(sort, op_sort_build, V, 0, 1, V),
    BUILD_EXPERIMENTAL(sort_by_label, op_sort_build, V, -1, 2, V, T),
    BUILD_EXPERIMENTAL(sort_by_label_desc, op_sort_build, V, -1, 2, V, T),
    BUILD(sort_desc, op_sort_build, V, 0, 1, V),
    MAP(sqrt),
    CONTEXT(start),
    BUILD_EXPERIMENTAL(start_timestamp, NULL, V, 0, 1, V),
    RANGE(stddev_over_time),
    RANGE(stdvar_over_time),
    CONTEXT(step),
    RANGE(sum_over_time),
    MAP(tan),
    MAP(tanh),
    {"time", {S}, 0, 0, S, false, true, NULL, NULL, op_time_build},
    {"timestamp", {V}, 1, 0, V, false, true, NULL, NULL, op_time_build},
    RANGE_EXPERIMENTAL(ts_of_first_over_time),
    RANGE_EXPERIMENTAL(ts_of_last_over_time),
    RANGE_EXPERIMENTAL(ts_of_max_over_time),
    RANGE_EXPERIMENTAL(ts_of_min_over_time),
    BUILD(vector, op_vector_of_build, V, 0, 1, S),
    DATE(year),
};

const struct query_function *query_function_find(const char *name, size_t len)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(table); i++) {
        if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

const struct query_function *query_functions(uint32_t *out_count)
{
    *out_count = TSDB_ARRAY_LEN(table);
    return table;
}
