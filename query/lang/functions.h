/* Every PromQL function: one row of functions.def each, with all that the language says of it.
 * What computes it is in the same row and is taken up by the evaluator (query/eval/build.c). No
 * code but those rows knows a function by its name.
 *
 * Threads: the table is constant. */
#ifndef QUERY_LANG_FUNCTIONS_H
#define QUERY_LANG_FUNCTIONS_H

#include "query/query.h"

#define QUERY_FUNCTION_ARGS 5

/* In the order of the table, which is that of the names. */
enum query_function_id {
#define FUNCTION(name, ...) QUERY_FUNCTION_##name,
#include "query/lang/functions.def"
#undef FUNCTION
    QUERY_FUNCTION_COUNT
};

/* Which member of its family, where several functions share an implementation. */
enum query_variant {
    QUERY_VARIANT_NONE = 0,
    /* of the time of day and the calendar */
    QUERY_DATE_MINUTE,
    QUERY_DATE_HOUR,
    QUERY_DATE_DAY_OF_WEEK,
    QUERY_DATE_DAY_OF_MONTH,
    QUERY_DATE_DAY_OF_YEAR,
    QUERY_DATE_DAYS_IN_MONTH,
    QUERY_DATE_MONTH,
    QUERY_DATE_YEAR,
    /* numbers that a query knows beforehand */
    QUERY_CONSTANT_PI,
    QUERY_CONSTANT_START,
    QUERY_CONSTANT_END,
    QUERY_CONSTANT_RANGE,
    QUERY_CONSTANT_STEP,
    QUERY_CLAMP_BOTH,
    QUERY_CLAMP_MIN,
    QUERY_CLAMP_MAX,
    QUERY_PAIR_MIN,
    QUERY_PAIR_MAX,
    QUERY_SORT_VALUES,
    QUERY_SORT_VALUES_DESC,
    QUERY_SORT_LABELS,
    QUERY_SORT_LABELS_DESC,
    /* of classic buckets and native histograms */
    QUERY_BUCKETS_QUANTILE,
    QUERY_BUCKETS_FRACTION,
    QUERY_BUCKETS_QUANTILES,
    /* of native histograms */
    QUERY_STAT_COUNT,
    QUERY_STAT_SUM,
    QUERY_STAT_AVG,
    QUERY_STAT_STDDEV,
    QUERY_STAT_STDVAR,
};

struct query_function {
    const char *name;
    enum query_function_id id;
    enum query_variant variant;
    enum query_type returns;
    enum query_type args[QUERY_FUNCTION_ARGS];
    uint8_t arg_count;
    int8_t variadic;     /* the last argument: 0 exactly once, n > 0 up to n times, -1 any number */
    bool supported;      /* the evaluator computes it */
    bool experimental;   /* --enable-feature=promql-experimental-functions */
    bool time_dependent; /* another evaluation time gives other values of the same arguments */
    bool tells_sample_time; /* of a bare selector: then it depends on samples after all */
    bool keeps_name;        /* the result is still the metric that went in */
    bool sorts;             /* an instant query gives the result in the order that comes out */
    bool is_counter_rate;   /* float samples should be a counter's: noted if the name denies it */
    bool takes_anchored;    /* its range may be anchored */
    bool takes_smoothed;    /* its range may be smoothed */
    bool leaves_buckets;    /* of histograms it needs all but the buckets */
    bool second_is_labels;  /* argument 2 is label matchers, written as a selector without a name */
};

/* NULL: unknown. */
const struct query_function *query_function_find(const char *name, size_t len);
/* All QUERY_FUNCTION_COUNT rows, by id and by name. */
const struct query_function *query_functions(uint32_t *out_count);

#endif
