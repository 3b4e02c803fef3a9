/* PromQL, as the server sees it: parse, evaluate, print.
 *
 *   text
 *     | query_parse
 *   tree (query/lang/ast.h)
 *     | query_eval: operators that stream series (query/eval/exec.h)
 *   struct query_result
 *     | query_result_json
 *   JSON
 *
 * Threads: options and trees are constant and serve any number of evaluations at once; a parse or
 * an evaluation belongs to one thread. Memory: everything of a query comes from its arena, charged
 * to request->account.
 */
#ifndef QUERY_QUERY_H
#define QUERY_QUERY_H

#include "base/arena.h"
#include "model/request.h"
#include "model/sample.h"
#include "tsdb/tsdb.h"

struct query_kernels; /* query/kernels/kernels.h */
struct query_crew;    /* query/crew.h */

struct query_options {
    int64_t lookback_ms;     /* --query.lookback-delta, 5 min */
    uint64_t samples_max;    /* --query.max-samples, 50,000,000 */
    int64_t default_step_ms; /* global.evaluation_interval: step of subqueries without one, 1 min */
    /* --enable-feature */
    bool experimental_functions;
    bool extended_range_selectors;
    bool fill_modifiers;
    bool delayed_name_removal;
    bool use_start_timestamps; /* by rate, increase, irate, resets; start_timestamp() knows them */
    uint64_t crew_work_min;    /* steps of series; 0: from where it pays */
    uint64_t
        crew_windows_bytes; /* of series computed in the order in which they lie; 0: as much as is good */
    struct query_crew *crew;             /* helps with what is large; NULL: nobody */
    const struct query_kernels *kernels; /* NULL: those of the processor; tests compare others */
};

/* ---- parse ---- */
struct query_expr; /* query/lang/ast.h */
enum query_type {
    QUERY_TYPE_SCALAR = 0,
    QUERY_TYPE_VECTOR,
    QUERY_TYPE_MATRIX,
    QUERY_TYPE_STRING
};
/* "scalar", "vector", "matrix", "string" */
const char *query_type_name(enum query_type t);
/* As in error texts: "scalar", "instant vector", "range vector", "string". */
const char *query_type_words(enum query_type t);

/* Parse and type-check. The tree lives in the arena. INVALID with Prometheus's text, position
 * first: "1:3: parse error: unexpected ..." (err->pos = byte offset). LIMIT beyond
 * TSDB_QUERY_BYTES_MAX / _DEPTH_MAX. */
enum tsdb_status query_parse(const char *text, size_t len, const struct query_options *options,
                             struct tsdb_arena *arena, struct query_expr **out,
                             struct tsdb_error *err) TSDB_WUR;
enum query_type query_expr_type(const struct query_expr *e);
/* As Prometheus prints an expression on one line (String()), and as format_query does (pretty,
 * 2-space indent). */
void query_expr_print(const struct query_expr *e, struct tsdb_buf *out);
void query_expr_pretty(const struct query_expr *e, struct tsdb_buf *out);
/* The tree as JSON: the `data` of /api/v1/parse_query, in the shape of Prometheus 3.14. */
void query_expr_json(const struct query_expr *e, struct tsdb_buf *out);
/* A series selector only, as match[] takes it: "{a=~\"x\"}" or "name{...}". *out_has_non_empty:
 * does at least one matcher refuse ""? */
enum tsdb_status query_parse_selector(const char *text, size_t len, struct tsdb_arena *arena,
                                      struct tsdb_selector *out, bool *out_has_non_empty,
                                      struct tsdb_error *err) TSDB_WUR;
/* The selectors that occur in an expression (for query_exemplars). */
enum tsdb_status query_expr_selectors(const struct query_expr *e, struct tsdb_arena *arena,
                                      struct tsdb_selector **out, uint32_t *out_count) TSDB_WUR;

/* ---- evaluate ---- */
struct query_point {
    int64_t t_ms;
    double value;
    const struct tsdb_histogram *histogram; /* NULL: a float */
};
struct query_series {
    struct tsdb_labels labels; /* sorted; __name__ already dropped where it must be */
    const struct query_point *points;
    uint32_t point_count;
};
struct query_note { /* annotation: full text as the API gives it, "PromQL info: ... (1:6)" */
    const char *text;
    bool is_info;
};
struct query_stats {
    uint64_t samples_loaded;    /* from storage, whole reads */
    uint64_t samples_peak;      /* most held at once */
    uint64_t samples_queryable; /* as Prometheus counts (query/eval/tally.h) */
    uint64_t samples_read;      /* likewise */
    /* The last two by step; NULL: not asked for. */
    const uint64_t *step_queryable;
    const uint64_t *step_read;
    uint32_t step_count;
    uint32_t steps_cached; /* that were not computed; all above is about the others */
    int64_t prepare_ns, eval_ns, total_ns;
};
/* What one operator of an evaluation did, what is below it included (`explain`). */
struct query_plan {
    const struct query_expr *expr;
    uint64_t series;  /* that it gave */
    uint64_t samples; /* read from storage */
    struct tsdb_chunk_counts chunks;
    int64_t ns; /* wall time */
    struct query_plan *parent, *next;
    struct query_plan *first, *last; /* children, in the order of their building */
};
struct query_result {
    enum query_type type;
    /* vector: one point each; matrix: rising points. Sorted by labels, unless the query sorts. */
    struct query_series *series;
    uint32_t series_count;
    /* scalar */
    struct query_point scalar;
    /* string (may hold NULs) */
    const char *string;
    size_t string_len;
    int64_t string_t_ms;
    const struct query_note *notes;
    uint32_t note_count;
    bool truncated; /* cut by `limit` */
    /* Two of the series that were selected, or more, may become equal, which is an error even if they share
     * no step: whether there is an answer depends on all steps together (query/cache). */
    bool entangled;
    struct query_stats stats;
    const struct query_plan *plan; /* NULL: not asked for */
};
struct query_params {
    int64_t start_ms, end_ms, step_ms; /* instant: start == end, step 0 */
    int64_t lookback_ms;               /* 0 = that of the options */
    uint32_t limit;                    /* most series, 0 = all */
    int64_t select_before_ms;          /* series are those of a query that begins so much earlier */
    bool per_step_stats;               /* count samples by step too */
    bool explain;                      /* measure every operator */
};
/* Evaluate at one time (step_ms 0) or over steps. *out lives in the arena.
 * UNSUPPORTED ("... not supported yet", naming the function or feature), INVALID (evaluation errors
 * of the user: many-to-many matching, duplicate label sets; with err->pos set: a duration
 * expression of the query gives no duration at these times and steps), LIMIT ("query processing
 * would load too many samples into memory in query execution"), CANCELLED
 * ("query was canceled in ..."), TIMEOUT ("query timed out in expression evaluation"), and what
 * storage says. */
enum tsdb_status query_eval(struct tsdb *db, const struct query_options *options,
                            struct tsdb_request *request, const struct query_expr *expr,
                            const struct query_params *params, struct tsdb_arena *arena,
                            struct query_result *out, struct tsdb_error *err) TSDB_WUR;

/* ---- JSON (query/json.h has the small pieces for the other endpoints) ---- */
/* The `data` object: {"resultType":"vector","result":[...]} with Prometheus's number formats.
 *   request   looked at now and then; NULL: nobody cancels
 * Returns OK, CANCELLED, TIMEOUT; errors of memory are the buffer's `failed`. */
enum tsdb_status query_result_json(const struct query_result *r, struct tsdb_request *request,
                                   struct tsdb_buf *out) TSDB_WUR;
/* The same in parts. */
struct query_json_times;
struct query_json_ahead;
struct query_json_place {
    uint32_t series, point;
};
struct query_json {
    const struct query_result *result;
    const struct tsdb_request *request;
    struct query_json_ahead *ahead; /* what helpers write; NULL: nobody helps */
    struct query_json_place end;    /* up to here there is no help */
    struct query_json_times *times; /* NULL: no memory for it, or not worth it */
    uint32_t series, point;         /* where it goes on */
    uint32_t until;                 /* of the points of that series */
    uint32_t stage;                 /* of a series: labels, floats, histograms, its end */
    bool begun, open;               /* the object; a list of points */
    uint32_t turns;
    size_t enough;
    enum tsdb_status status;
};
/* r, request (may be NULL) and crew (NULL: no help) outlive it. What helpers hold is charged to the request. */
void query_json_begin(struct query_json *j, const struct query_result *r,
                      struct tsdb_request *request, struct query_crew *crew);
/* Append until out has `enough` bytes, and one point or label set more, or at most QUERY_JSON_OVER_BYTES with a crew;
 * *out_done: that was all. OK, CANCELLED, TIMEOUT. Threads: any, one after the other. */
#define QUERY_JSON_OVER_BYTES (48u << 10)
enum tsdb_status query_json_put(struct query_json *j, size_t enough, struct tsdb_buf *out,
                                bool *out_done) TSDB_WUR;
void query_json_end(struct query_json *j); /* again is fine */
/* As it was written, cut after 256 bytes:
 * {"operator":"sum","expr":"sum(up)","series":1,"samples":3,"seconds":0.001,"children":[...]} */
void query_plan_json(const struct query_plan *plan, struct tsdb_buf *out);

#endif
