/* histogram_quantile, histogram_quantiles and histogram_fraction over classic buckets and native
 * histograms. */
#include "query/eval/operators.h"

#include "base/format.h"
#include "query/eval/classic.h"
#include "query/num.h"

/* What a series of the child is in its group: a bucket where it holds floats, a native histogram
 * where it holds histograms. */
struct input {
    uint32_t group; /* UINT32_MAX: nothing */
    bool native;
    double upper; /* of a bucket */
    struct column column;
};

/* One output of every group: a quantile, or a fraction. */
struct wanted {
    const double *q;     /* per step; of a fraction: the lower end */
    const double *upper; /* of a fraction; NULL: quantile */
    bool one_value;      /* histogram_quantiles: only at the steps where q is `value` */
    double value;
};

/* Buckets of a metric that had to be made monotonic. */
struct forced {
    struct query_str name;
    struct classic_correction all;
    uint32_t first_step, last_step, count;
    struct forced *next;
};

struct op_quantile {
    struct op op;
    struct op *child;
    uint32_t vector_arg;
    struct wanted *wanted; /* the outputs of a group follow each other */
    uint32_t wanted_count, wanted_cap;
    uint32_t group_count;
    uint32_t input_count;
    struct op_series *groups;
    struct forced *forced;
    struct tsdb_arena *scratch;     /* of one histogram */
    struct input *inputs;           /* ordered by group */
    uint32_t *group_begin;          /* per group its first input; one more at the end */
    struct classic_bucket *buckets; /* scratch: as many as there are inputs */
};

/* ---- the operator ---- */

static const struct query_expr *vector_arg(const struct op_quantile *o)
{
    return o->op.expr->u.call.args[o->vector_arg];
}

static const struct op_series *group_series(const struct op_quantile *o)
{
    return &o->groups[o->op.pos / o->wanted_count];
}

/* " for metric name "h"", if there is one. */
static void put_for_name(struct tsdb_buf *b, struct query_str name)
{
    if (name.len > 0) {
        tsdb_buf_put_str(b, " for metric name ");
        query_quote(b, name.data, name.len, 0);
    }
}

/* Takes the buffer. */
static void note_buf(struct op_quantile *o, bool is_info, struct tsdb_buf *b)
{
    if (!b->failed) {
        exec_note(o->op.x, is_info, vector_arg(o)->start, "%.*s", (int)b->len,
                  (const char *)b->data);
    }
    tsdb_buf_deinit(b);
}

/* A note about a native histogram of the group that is now worked on. */
static void note_native(struct op_quantile *o, bool is_info, const char *text)
{
    struct exec *x = o->op.x;
    const struct tsdb_labels *labels = &group_series(o)->labels;
    struct query_str name = {"", 0};
    if (x->options->delayed_name_removal) {
        name = labels_metric_name(labels);
    }
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    tsdb_buf_put_str(&b, text);
    put_for_name(&b, name);
    note_buf(o, is_info, &b);
}

/* One note per metric name, over all steps and series: from the first to the last time, and the
 * extremes. */
static void note_forced(struct op_quantile *o, const struct classic_correction *c, uint32_t step)
{
    struct query_str name = {"", 0};
    if (o->op.x->options->delayed_name_removal) {
        name = labels_metric_name(&group_series(o)->labels);
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
        time_text(o, f->first_step, first);
        time_text(o, f->last_step, last);
        struct tsdb_buf b;
        tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
        tsdb_buf_put_str(&b, "input to histogram_quantile needed to be fixed for monotonicity (see "
                             "https://prometheus.io/docs/prometheus/latest/querying/functions/"
                             "#histogram_quantile)");
        put_for_name(&b, f->name);
        tsdb_buf_printf(
            &b, ", from buckets %s to %s, with a max diff of %.2g, over %u samples from %s to %s",
            number_text(f->all.min_bucket).text, number_text(f->all.max_bucket).text,
            f->all.max_diff, f->count, first, last);
        note_buf(o, true, &b);
    }
}

/* What a group of buckets gives at a step. */
static double buckets_value(struct op_quantile *o, const struct wanted *want, uint32_t n,
                            uint32_t step)
{
    if (want->upper) {
        return classic_fraction(want->q[step], want->upper[step], o->buckets, n);
    }
    struct classic_correction c;
    double v = classic_quantile(want->q[step], o->buckets, n, &c);
    if (c.forced) {
        note_forced(o, &c, step);
    }
    return v;
}

static enum tsdb_status native_value(struct op_quantile *o, const struct wanted *want,
                                     const struct tsdb_histogram *m, uint32_t step, double *out)
{
    struct hist h;
    tsdb_arena_reset(o->scratch);
    enum tsdb_status status = histogram_view(o->op.x, m, o->scratch, &h);
    if (status != TSDB_OK) {
        return status;
    }
    if (want->upper) {
        bool excluded;
        *out = hist_fraction(want->q[step], want->upper[step], &h, &excluded);
        if (excluded) {
            note_native(o, true,
                        "input to histogram_fraction has NaN observations, which are excluded from "
                        "all fractions");
        }
        return TSDB_OK;
    }
    enum hist_nan_note note;
    *out = hist_quantile(want->q[step], &h, &note);
    if (note == HIST_NAN_RESULT) {
        note_native(o, true, "input to histogram_quantile has NaN observations, result is NaN");
    } else if (note == HIST_NAN_SKEWED) {
        note_native(o, true,
                    "input to histogram_quantile has NaN observations, result is skewed higher");
    }
    return TSDB_OK;
}

/* The group at a step: classic buckets or a native histogram, but not both. */
static enum tsdb_status group_step(struct op_quantile *o, uint32_t group, const struct wanted *want,
                                   uint32_t step, struct column *out)
{
    uint32_t n = 0;
    const struct tsdb_histogram *native = NULL;
    for (uint32_t k = o->group_begin[group]; k < o->group_begin[group + 1]; k++) {
        const struct input *in = &o->inputs[k];
        if (in->native && in->column.kind[step] == POINT_HISTOGRAM) {
            native = in->column.h[step];
        } else if (!in->native && in->column.kind[step] == POINT_FLOAT) {
            o->buckets[n++] = (struct classic_bucket){in->upper, in->column.v[step]};
        }
    }
    out->kind[step] = POINT_NONE;
    if (native && n > 0) {
        note_native(o, false, "vector contains a mix of classic and native histograms");
        return TSDB_OK;
    }
    if (n == 0 && !native) {
        return TSDB_OK;
    }
    out->kind[step] = POINT_FLOAT;
    if (native) {
        return native_value(o, want, native, step, &out->v[step]);
    }
    out->v[step] = buckets_value(o, want, n, step);
    return TSDB_OK;
}

static bool same_value(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static enum tsdb_status quantile_next(struct op *op, struct column *out)
{
    struct op_quantile *o = (struct op_quantile *)op;
    const struct wanted *want = &o->wanted[op->pos % o->wanted_count];
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
        out->kind[i] = POINT_NONE;
        if (!want->one_value || same_value(want->q[i], want->value)) {
            status = group_step(o, op->pos / o->wanted_count, want, i, out);
        }
        if (status == TSDB_OK && i % 128 == 127) {
            status = exec_poll(op->x);
        }
    }
    if (op->pos + 1 == op->series_count) {
        notes_flush(o);
    }
    return status;
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

static bool holds(const struct column *c, uint32_t steps, enum point_kind kind)
{
    for (uint32_t i = 0; i < steps; i++) {
        if (c->kind[i] == kind) {
            return true;
        }
    }
    return false;
}

/* A group of this series' labels, of buckets without "le". */
static bool group_start(struct op_quantile *o, uint32_t group, const struct tsdb_labels *labels,
                        struct query_names without)
{
    struct exec *x = o->op.x;
    struct op_series *g = &o->groups[group];
    *g = (struct op_series){.drop_name = x->options->delayed_name_removal};
    return labels_drop(x->arena, labels, without, false, &g->labels) &&
           (g->drop_name || labels_without_metadata(x->arena, &g->labels, &g->labels));
}

static const struct query_str le_name = {"le", 2};

/* Enter series i as what it is. Groups are all labels but "le"; the name still counts, so that two
 * histograms of different names do not mix. */
static bool enter_series(struct op_quantile *o, struct label_map *map, uint32_t i,
                         const struct column *column)
{
    const struct label_key key = {.names = {&le_name, 1}};
    const struct tsdb_labels *labels = &o->child->series[i].labels;
    uint32_t steps = o->op.grid.count;
    struct input bucket = {UINT32_MAX, false, 0, *column};
    struct input native = {UINT32_MAX, true, 0, *column};
    bool is_new;
    if (holds(column, steps, POINT_FLOAT)) {
        if (!bound_of(labels, &bucket.upper)) {
            note_bad_bucket(o, labels);
        } else if (!label_map_put(map, labels, &key, &bucket.group, &is_new) ||
                   (is_new && !group_start(o, bucket.group, labels, key.names))) {
            return false;
        } else {
            o->inputs[o->input_count++] = bucket;
        }
    }
    if (!holds(column, steps, POINT_HISTOGRAM)) {
        return true;
    }
    if (labels_value(labels, "le", 2).len == 0) { /* else it is a group of its own, later */
        if (!label_map_put(map, labels, &key, &native.group, &is_new) ||
            (is_new && !group_start(o, native.group, labels, key.names))) {
            return false;
        }
    }
    o->inputs[o->input_count++] = native;
    return true;
}

/* Native histograms that have a label "le", which means nothing there. */
static bool enter_labelled(struct op_quantile *o, const struct column *columns)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < o->child->series_count; i++) {
        for (; k < o->input_count && o->inputs[k].column.v == columns[i].v && columns[i].v; k++) {
            struct input *in = &o->inputs[k];
            if (in->group == UINT32_MAX) {
                in->group = o->group_count++;
                if (!group_start(o, in->group, &o->child->series[i].labels,
                                 (struct query_names){0})) {
                    return false;
                }
            }
        }
    }
    return true;
}

static enum tsdb_status sort_inputs(struct op_quantile *o)
{
    enum tsdb_status status =
        exec_sort(o->op.x, o->inputs, o->input_count, sizeof *o->inputs, compare_inputs);
    uint32_t k = 0;
    for (uint32_t g = 0; g <= o->group_count; g++) {
        while (k < o->input_count && o->inputs[k].group < g) {
            k++;
        }
        o->group_begin[g] = k;
    }
    return status;
}

static enum tsdb_status group_inputs(struct op_quantile *o, const struct column *columns)
{
    struct exec *x = o->op.x;
    size_t n = o->child->series_count;
    size_t most = 2 * n + 1; /* of inputs and groups: a series may be two things */
    struct label_map map;
    label_map_init(&map, x->arena);
    o->groups = TSDB_ARENA_ARRAY(x->arena, struct op_series, most);
    o->inputs = TSDB_ARENA_ARRAY(x->arena, struct input, most);
    o->buckets = TSDB_ARENA_ARRAY(x->arena, struct classic_bucket, TSDB_MAX(n, 1));
    o->group_begin = TSDB_ARENA_ARRAY(x->arena, uint32_t, most + 1);
    if (!o->groups || !o->inputs || !o->buckets || !o->group_begin) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (columns[i].v && !enter_series(o, &map, i, &columns[i])) {
            return exec_nomem(x);
        }
    }
    o->group_count = map.count;
    if (!enter_labelled(o, columns)) {
        return exec_nomem(x);
    }
    return sort_inputs(o);
}

/* ---- building ---- */

static enum tsdb_status want(struct op_quantile *o, struct wanted w)
{
    if (o->wanted_count == o->wanted_cap) {
        struct wanted *grown =
            exec_grow(o->op.x, o->wanted, o->wanted_count, &o->wanted_cap, 4, sizeof *grown);
        if (!grown) {
            return exec_nomem(o->op.x);
        }
        o->wanted = grown;
    }
    o->wanted[o->wanted_count++] = w;
    return TSDB_OK;
}

/* histogram_quantiles: a quantile that changes from step to step is a label that does. */
static enum tsdb_status want_values(struct op_quantile *o, const double *q)
{
    uint32_t first = o->wanted_count;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < o->op.grid.count && status == TSDB_OK; i++) {
        uint32_t k = first;
        while (k < o->wanted_count && !same_value(o->wanted[k].value, q[i])) {
            k++;
        }
        if (k == o->wanted_count) {
            status = want(o, (struct wanted){q, NULL, true, q[i]});
        }
        if (status == TSDB_OK) {
            status = exec_poll(o->op.x);
        }
    }
    return status;
}

/* The numbers among the arguments. */
static enum tsdb_status want_args(struct op_quantile *o)
{
    struct exec *x = o->op.x;
    const struct query_expr *e = o->op.expr;
    const struct grid *grid = &o->op.grid;
    enum query_variant variant = e->u.call.function->variant;
    bool several = variant == QUERY_BUCKETS_QUANTILES;
    uint32_t first = several ? 2 : 0;
    uint32_t end = several ? e->u.call.arg_count : 1;
    enum tsdb_status status = TSDB_OK;
    o->vector_arg = several ? 0 : e->u.call.arg_count - 1;
    for (uint32_t a = first; a < end && status == TSDB_OK; a++) {
        struct wanted w = {0};
        status = exec_scalar(x, e->u.call.args[a], grid, &w.q);
        if (status == TSDB_OK && variant == QUERY_BUCKETS_FRACTION) {
            status = exec_scalar(x, e->u.call.args[a + 1], grid, &w.upper);
        }
        for (uint32_t i = 0; i < grid->count && status == TSDB_OK && !w.upper; i++) {
            exec_note_quantile(x, w.q[i], e->u.call.args[a]->start);
        }
        if (status == TSDB_OK) {
            status = several ? want_values(o, w.q) : want(o, w);
        }
    }
    return status;
}

static bool quantile_label(struct op_quantile *o, double q, struct query_str *out)
{
    char text[TSDB_FORMAT_FLOAT_MAX + 2];
    size_t n = tsdb_format_float_go_g(text, q);
    if (isfinite(q) && !memchr(text, '.', n) && !memchr(text, 'e', n)) {
        text[n++] = '.';
        text[n++] = '0';
    }
    *out = (struct query_str){tsdb_arena_strndup(o->op.x->arena, text, n), (uint32_t)n};
    return out->data != NULL;
}

/* Every group once for everything that is wanted of it. */
static enum tsdb_status quantile_series(struct op_quantile *o)
{
    struct exec *x = o->op.x;
    const struct query_expr *e = o->op.expr;
    uint64_t count = (uint64_t)o->group_count * o->wanted_count;
    if (count > UINT32_MAX) {
        return exec_nomem(x);
    }
    o->op.series_count = (uint32_t)count;
    o->op.series = TSDB_ARENA_ARRAY(x->arena, struct op_series, TSDB_MAX(count, 1));
    if (!o->op.series) {
        return exec_nomem(x);
    }
    if (e->u.call.function->variant != QUERY_BUCKETS_QUANTILES) {
        memcpy(o->op.series, o->groups, count * sizeof *o->op.series); /* the names go there */
        return TSDB_OK;
    }
    struct query_str name = query_expr_unwrap(e->u.call.args[1])->u.string;
    for (uint32_t k = 0; k < o->wanted_count; k++) {
        struct query_str value;
        if (!quantile_label(o, o->wanted[k].value, &value)) {
            return exec_nomem(x);
        }
        for (uint32_t g = 0; g < o->group_count; g++) {
            struct op_series *s = &o->op.series[(size_t)g * o->wanted_count + k];
            *s = o->groups[g];
            if (!labels_set(x->arena, &o->groups[g].labels, name, value, &s->labels)) {
                return exec_nomem(x);
            }
        }
    }
    return TSDB_OK;
}

enum tsdb_status op_histogram_quantile_build(struct exec *x, const struct query_expr *e,
                                             const struct grid *grid, struct op **out)
{
    struct op_quantile *o = (struct op_quantile *)op_new(x, sizeof *o, e, grid, quantile_next);
    struct tsdb_arena *scratch = exec_scratch(x);
    struct column *columns;
    if (!o || !scratch) {
        return exec_nomem(x);
    }
    o->scratch = scratch;
    enum tsdb_status status = want_args(o);
    if (status == TSDB_OK) {
        x->in_buckets++;
        status = exec_build(x, vector_arg(o), grid, &o->child);
        x->in_buckets--;
    }
    if (status == TSDB_OK) {
        status = exec_drain(o->child, &columns);
    }
    if (status == TSDB_OK) {
        status = group_inputs(o, columns);
    }
    if (status == TSDB_OK) {
        status = quantile_series(o);
    }
    if (status != TSDB_OK) {
        return status;
    }
    *out = &o->op;
    bool several = e->u.call.function->variant == QUERY_BUCKETS_QUANTILES;
    return x->options->delayed_name_removal && !several ? TSDB_OK : op_merge_equal(out, false);
}
