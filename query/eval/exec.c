#include "query/eval/func_private.h"

#include "base/assert.h"
#include "query/eval/labels.h"

#include <stdarg.h>
#include <stdio.h>

#define POLL_EVERY 128

/* ---- services to operators ---- */

enum tsdb_status exec_nomem(struct exec *x)
{
    /* The arena tells why its last request failed, and forgets it with the next one that does not.
     */
    bool limited = x->arena->failure == TSDB_LIMIT;
    for (const struct tsdb_account *a = &x->request->account; a && x->arena->failure == TSDB_OK;
         a = a->parent) {
        limited |= a->limit_bytes > 0;
    }
    if (limited) {
        return tsdb_error_set(x->err, TSDB_LIMIT, "query needs more memory than it may use");
    }
    return tsdb_error_set(x->err, TSDB_NOMEM, "out of memory in query execution");
}

enum tsdb_status exec_check(struct exec *x)
{
    enum tsdb_status status = tsdb_request_check(x->request);
    if (status == TSDB_CANCELLED) {
        return tsdb_error_set(x->err, status, "query was canceled in expression evaluation");
    }
    if (status == TSDB_TIMEOUT) {
        return tsdb_error_set(x->err, status, "query timed out in expression evaluation");
    }
    return status;
}

enum tsdb_status exec_poll(struct exec *x)
{
    return x->polls++ % POLL_EVERY == 0 ? exec_check(x) : TSDB_OK;
}

enum tsdb_status exec_hold(struct exec *x, uint64_t samples)
{
    x->samples_now += samples;
    if (x->samples_now > x->samples_peak) {
        x->samples_peak = x->samples_now;
    }
    if (x->options->samples_max > 0 && x->samples_now > x->options->samples_max) {
        return tsdb_error_set(
            x->err, TSDB_LIMIT,
            "query processing would load too many samples into memory in query execution");
    }
    return TSDB_OK;
}

void exec_release(struct exec *x, uint64_t samples)
{
    TSDB_ASSERT(x->samples_now >= samples);
    x->samples_now -= samples;
}

struct tsdb_arena *exec_scratch(struct exec *x)
{
    struct exec_scratch *s = TSDB_ARENA_NEW(x->arena, struct exec_scratch);
    if (!s) {
        return NULL;
    }
    tsdb_arena_init(&s->arena, TSDB_MEM_QUERY, 16384, &x->request->account);
    s->next = x->scratches;
    x->scratches = s;
    return &s->arena;
}

static const void *keep_array(struct exec *x, const void *items, size_t count, size_t bytes_each,
                              bool *ok)
{
    if (count == 0 || !items) {
        return NULL;
    }
    void *copy = tsdb_arena_alloc_array(x->arena, count, bytes_each, 8);
    if (!copy) {
        *ok = false;
        return NULL;
    }
    memcpy(copy, items, count * bytes_each);
    return copy;
}

const struct tsdb_histogram *exec_keep_histogram(struct exec *x, const struct tsdb_histogram *h)
{
    struct tsdb_histogram *c = TSDB_ARENA_NEW(x->arena, struct tsdb_histogram);
    bool ok = c != NULL;
    if (!ok) {
        return NULL;
    }
    *c = *h;
    c->positive_spans =
        keep_array(x, h->positive_spans, h->positive_span_count, sizeof *h->positive_spans, &ok);
    c->negative_spans =
        keep_array(x, h->negative_spans, h->negative_span_count, sizeof *h->negative_spans, &ok);
    c->positive_deltas = keep_array(x, h->positive_deltas, h->positive_bucket_count,
                                    sizeof *h->positive_deltas, &ok);
    c->negative_deltas = keep_array(x, h->negative_deltas, h->negative_bucket_count,
                                    sizeof *h->negative_deltas, &ok);
    c->positive_counts = keep_array(x, h->positive_counts, h->positive_bucket_count,
                                    sizeof *h->positive_counts, &ok);
    c->negative_counts = keep_array(x, h->negative_counts, h->negative_bucket_count,
                                    sizeof *h->negative_counts, &ok);
    c->custom_values =
        keep_array(x, h->custom_values, h->custom_count, sizeof *h->custom_values, &ok);
    return ok ? c : NULL;
}

/* ---- notes ---- */

static void note_put(struct exec *x, bool is_info, uint32_t pos, const char *text, size_t len)
{
    for (struct exec_note *n = x->notes; n; n = n->next) {
        if (n->note.is_info == is_info && strlen(n->note.text) == len &&
            memcmp(n->note.text, text, len) == 0) {
            n->pos = pos; /* the last one counts, as in Prometheus */
            return;
        }
    }
    struct exec_note *n = TSDB_ARENA_NEW(x->arena, struct exec_note);
    char *copy = tsdb_arena_strndup(x->arena, text, len);
    if (n && copy) {
        *n = (struct exec_note){{copy, is_info}, pos, x->notes};
        x->notes = n;
        x->note_count++;
    }
}

void exec_note(struct exec *x, bool is_info, uint32_t pos, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    note_put(x, is_info, pos, text, n < 0 ? 0 : strlen(text));
}

void exec_note_metric(struct exec *x, bool is_info, uint32_t pos, const char *text,
                      const struct tsdb_labels *labels)
{
    struct query_str name = labels_metric_name(labels);
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    tsdb_buf_put_str(&b, text);
    tsdb_buf_put_u8(&b, ' ');
    query_quote(&b, name.data, name.len, 0);
    if (!b.failed) {
        note_put(x, is_info, pos, (const char *)b.data, b.len);
    }
    tsdb_buf_deinit(&b);
}

/* ---- columns ---- */

enum tsdb_status column_init(struct exec *x, struct column *c, uint32_t steps)
{
    size_t n = TSDB_MAX(steps, 1);
    *c = (struct column){TSDB_ARENA_ARRAY(x->arena, double, n),
                         TSDB_ARENA_ARRAY(x->arena, uint8_t, n), NULL};
    if (!c->v || !c->kind) {
        return exec_nomem(x);
    }
    memset(c->kind, POINT_NONE, n);
    return TSDB_OK;
}

enum tsdb_status column_histograms(struct exec *x, struct column *c, uint32_t steps)
{
    if (c->h) {
        return TSDB_OK;
    }
    c->h = TSDB_ARENA_ARRAY(x->arena, const struct tsdb_histogram *, TSDB_MAX(steps, 1));
    return c->h ? TSDB_OK : exec_nomem(x);
}

void column_clear(struct column *c, uint32_t steps)
{
    memset(c->kind, POINT_NONE, steps);
}

uint32_t column_count(const struct column *c, uint32_t steps)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < steps; i++) {
        n += c->kind[i] != POINT_NONE;
    }
    return n;
}

enum tsdb_status column_keep(struct exec *x, struct column *dst, const struct column *src,
                             uint32_t steps)
{
    memcpy(dst->v, src->v, steps * sizeof *dst->v);
    memcpy(dst->kind, src->kind, steps);
    for (uint32_t i = 0; i < steps; i++) {
        if (src->kind[i] == POINT_HISTOGRAM) {
            enum tsdb_status status = column_histograms(x, dst, steps);
            if (status != TSDB_OK) {
                return status;
            }
            dst->h[i] = exec_keep_histogram(x, src->h[i]);
            if (!dst->h[i]) {
                return exec_nomem(x);
            }
        }
    }
    return TSDB_OK;
}

/* ---- operators in general ---- */

struct op *op_new(struct exec *x, size_t bytes, const struct query_expr *e, const struct grid *grid,
                  enum tsdb_status (*next)(struct op *, struct column *))
{
    struct op *op = tsdb_arena_alloc(x->arena, bytes, 16);
    if (op) {
        memset(op, 0, bytes);
        op->next = next;
        op->x = x;
        op->grid = *grid;
        op->expr = e;
    }
    return op;
}

enum tsdb_status op_next(struct op *op, struct column *out)
{
    TSDB_ASSERT(op->pos < op->series_count);
    enum tsdb_status status = exec_poll(op->x);
    if (status == TSDB_OK) {
        status = op->next(op, out);
    }
    op->pos++;
    return status;
}

enum tsdb_status op_series_drop_name(struct op *op, const struct op *child)
{
    struct exec *x = op->x;
    op->series_count = child->series_count;
    op->series = TSDB_ARENA_ARRAY(x->arena, struct op_series, TSDB_MAX(op->series_count, 1));
    if (!op->series) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < op->series_count; i++) {
        op->series[i] = child->series[i];
        op->series[i].drop_name = x->options->delayed_name_removal;
        if (!x->options->delayed_name_removal &&
            !labels_without_metadata(x->arena, &child->series[i].labels, &op->series[i].labels)) {
            return exec_nomem(x);
        }
    }
    return TSDB_OK;
}

static enum tsdb_status same_labelset(struct exec *x)
{
    return tsdb_error_set(x->err, TSDB_INVALID,
                          "vector cannot contain metrics with the same labelset");
}

/* Series with equal labels become one. The ones that are alone stream through first, then come
 * those that were merged. */
struct op_merge {
    struct op op;
    struct op *child;
    uint32_t *target;      /* of each child series: its output series */
    struct column *merged; /* per output series; v NULL for those that stream */
    uint32_t *order;       /* output series as handed out; the streaming ones first */
    uint32_t streaming;
    struct column scratch;
    bool distinct;
};

static enum tsdb_status merge_into(struct op_merge *m, struct column *dst, const struct column *src)
{
    uint32_t steps = m->op.grid.count;
    struct exec *x = m->op.x;
    if (m->distinct && column_count(src, steps) > 0 && column_count(dst, steps) > 0) {
        return same_labelset(x);
    }
    for (uint32_t i = 0; i < steps; i++) {
        if (src->kind[i] == POINT_NONE) {
            continue;
        }
        if (dst->kind[i] != POINT_NONE) {
            return same_labelset(x);
        }
        dst->kind[i] = src->kind[i];
        dst->v[i] = src->v[i];
        if (src->kind[i] == POINT_HISTOGRAM) {
            enum tsdb_status status = column_histograms(x, dst, steps);
            if (status != TSDB_OK) {
                return status;
            }
            dst->h[i] = exec_keep_histogram(x, src->h[i]);
            if (!dst->h[i]) {
                return exec_nomem(x);
            }
        }
    }
    return TSDB_OK;
}

static enum tsdb_status merge_next(struct op *op, struct column *out)
{
    struct op_merge *m = (struct op_merge *)op;
    while (m->child->pos < m->child->series_count) {
        uint32_t t = m->target[m->child->pos];
        struct column *merged = &m->merged[t];
        struct column *to = merged->v ? &m->scratch : out;
        enum tsdb_status status = op_next(m->child, to);
        if (status == TSDB_OK && merged->v) {
            status = merge_into(m, merged, to);
        }
        if (status != TSDB_OK || !merged->v) {
            return status;
        }
    }
    const struct column *merged = &m->merged[m->order[op->pos]];
    memcpy(out->v, merged->v, op->grid.count * sizeof *out->v);
    memcpy(out->kind, merged->kind, op->grid.count);
    if (merged->h) {
        enum tsdb_status status = column_histograms(op->x, out, op->grid.count);
        if (status != TSDB_OK) {
            return status;
        }
        memcpy(out->h, merged->h, op->grid.count * sizeof *out->h);
    }
    return TSDB_OK;
}

static enum tsdb_status merge_build(struct op *child, const uint32_t *target,
                                    const uint32_t *members, uint32_t count, bool distinct,
                                    struct op **out)
{
    struct exec *x = child->x;
    struct op_merge *m =
        (struct op_merge *)op_new(x, sizeof *m, child->expr, &child->grid, merge_next);
    struct op_series *series = TSDB_ARENA_ARRAY(x->arena, struct op_series, count);
    struct column *merged = TSDB_ARENA_ARRAY(x->arena, struct column, count);
    uint32_t *order = TSDB_ARENA_ARRAY(x->arena, uint32_t, count);
    uint32_t *targets = TSDB_ARENA_ARRAY(x->arena, uint32_t, child->series_count);
    if (!m || !series || !merged || !order || !targets) {
        return exec_nomem(x);
    }
    memcpy(targets, target, child->series_count * sizeof *targets);
    memset(merged, 0, count * sizeof *merged);
    for (uint32_t i = 0; i < count; i++) {
        enum tsdb_status status =
            members[i] > 1 ? column_init(x, &merged[i], child->grid.count) : TSDB_OK;
        if (status == TSDB_OK && members[i] > 1) {
            status = exec_hold(x, child->grid.count);
        }
        if (status != TSDB_OK) {
            return status;
        }
        m->streaming += members[i] == 1;
    }
    uint32_t alone = 0;
    uint32_t late = m->streaming;
    bool *seen = TSDB_ARENA_ARRAY(x->arena, bool, count);
    if (!seen) {
        return exec_nomem(x);
    }
    memset(seen, 0, count * sizeof *seen);
    for (uint32_t i = 0; i < child->series_count; i++) {
        uint32_t t = target[i];
        if (!seen[t]) {
            seen[t] = true;
            uint32_t at = members[t] == 1 ? alone++ : late++;
            order[at] = t;
            series[at] = child->series[i];
        }
    }
    m->op.series = series;
    m->op.series_count = count;
    m->child = child;
    m->target = targets;
    m->merged = merged;
    m->order = order;
    m->distinct = distinct;
    *out = &m->op;
    return column_init(x, &m->scratch, child->grid.count);
}

enum tsdb_status op_merge_equal(struct op **op, bool distinct)
{
    struct op *child = *op;
    struct exec *x = child->x;
    if (child->series_count < 2) {
        return TSDB_OK;
    }
    struct tsdb_arena *scratch = exec_scratch(x);
    if (!scratch) {
        return exec_nomem(x);
    }
    struct label_map map;
    label_map_init(&map, scratch);
    uint32_t *target = TSDB_ARENA_ARRAY(scratch, uint32_t, child->series_count);
    uint32_t *members = TSDB_ARENA_ARRAY(scratch, uint32_t, child->series_count);
    if (!target || !members) {
        return exec_nomem(x);
    }
    memset(members, 0, child->series_count * sizeof *members);
    const struct label_key all = LABEL_KEY_ALL;
    for (uint32_t i = 0; i < child->series_count; i++) {
        if (!label_map_put(&map, &child->series[i].labels, &all, &target[i], NULL)) {
            return exec_nomem(x);
        }
        members[target[i]]++;
    }
    enum tsdb_status status = TSDB_OK;
    if (map.count < child->series_count) {
        status = merge_build(child, target, members, map.count, distinct, op);
    }
    tsdb_arena_reset(scratch);
    return status;
}

enum tsdb_status exec_discard(struct op *op)
{
    struct column c;
    enum tsdb_status status =
        op->pos < op->series_count ? column_init(op->x, &c, op->grid.count) : TSDB_OK;
    while (status == TSDB_OK && op->pos < op->series_count) {
        status = op_next(op, &c);
    }
    return status;
}

enum tsdb_status exec_drain(struct op *op, struct column **out)
{
    struct exec *x = op->x;
    struct column *columns =
        TSDB_ARENA_ARRAY(x->arena, struct column, TSDB_MAX(op->series_count, 1));
    struct column scratch;
    if (!columns) {
        return exec_nomem(x);
    }
    enum tsdb_status status = column_init(x, &scratch, op->grid.count);
    for (uint32_t i = 0; i < op->series_count && status == TSDB_OK; i++) {
        columns[i] = (struct column){0};
        status = op_next(op, &scratch);
        if (status == TSDB_OK && column_count(&scratch, op->grid.count) > 0) {
            status = exec_hold(x, op->grid.count);
            status = status == TSDB_OK ? column_init(x, &columns[i], op->grid.count) : status;
            status =
                status == TSDB_OK ? column_keep(x, &columns[i], &scratch, op->grid.count) : status;
        }
    }
    *out = columns;
    return status;
}

enum tsdb_status exec_scalar(struct exec *x, const struct query_expr *e, const struct grid *grid,
                             const double **out)
{
    struct op *op;
    struct column c;
    enum tsdb_status status = exec_build(x, e, grid, &op);
    status = status == TSDB_OK ? column_init(x, &c, grid->count) : status;
    if (status != TSDB_OK) {
        return status;
    }
    TSDB_ASSERT(op->series_count == 1);
    *out = c.v;
    return op_next(op, &c);
}

/* ---- building ---- */

struct op_values {
    struct op op;
    const double *values; /* NULL: `constant` at every step */
    double constant;
};

static enum tsdb_status values_next(struct op *op, struct column *out)
{
    const struct op_values *v = (const struct op_values *)op;
    for (uint32_t i = 0; i < op->grid.count; i++) {
        out->v[i] = v->values ? v->values[i] : v->constant;
    }
    memset(out->kind, POINT_FLOAT, op->grid.count);
    return TSDB_OK;
}

static enum tsdb_status values_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, const double *values, double constant,
                                     struct op **out)
{
    struct op_values *v = (struct op_values *)op_new(x, sizeof *v, e, grid, values_next);
    struct op_series *series = TSDB_ARENA_NEW(x->arena, struct op_series);
    if (!v || !series) {
        return exec_nomem(x);
    }
    *series = (struct op_series){0};
    v->op.series = series;
    v->op.series_count = 1;
    v->values = values;
    v->constant = constant;
    *out = &v->op;
    return TSDB_OK;
}

enum tsdb_status op_values_build(struct exec *x, const struct query_expr *e,
                                 const struct grid *grid, const double *values, struct op **out)
{
    return values_build(x, e, grid, values, 0, out);
}

/* The value of a subtree that does not depend on the step, computed once and handed out at every
 * step. */
struct op_repeat {
    struct op op;
    struct op *child;
    struct column one;
};

static enum tsdb_status repeat_next(struct op *op, struct column *out)
{
    struct op_repeat *r = (struct op_repeat *)op;
    enum tsdb_status status = op_next(r->child, &r->one);
    if (status != TSDB_OK) {
        return status;
    }
    memset(out->kind, r->one.kind[0], op->grid.count);
    for (uint32_t i = 0; i < op->grid.count; i++) {
        out->v[i] = r->one.v[0];
    }
    if (r->one.kind[0] == POINT_HISTOGRAM) {
        status = column_histograms(op->x, out, op->grid.count);
        for (uint32_t i = 0; i < op->grid.count && status == TSDB_OK; i++) {
            out->h[i] = r->one.h[0];
        }
    }
    return status;
}

/* Does e have the same value at every step? Numbers do, selectors with @ do, most functions of such
 * arguments do. */
static bool is_constant(const struct query_expr *e)
{
    switch (e->kind) {
    case EXPR_NUMBER:
    case EXPR_STRING:
    case EXPR_DURATION:
        return true;
    case EXPR_VECTOR:
        return e->u.vector.shift.at != QUERY_AT_NONE;
    case EXPR_MATRIX:
        return is_constant(e->u.matrix.selector);
    case EXPR_SUBQUERY:
        return e->u.subquery.shift.at != QUERY_AT_NONE;
    case EXPR_PAREN:
        return is_constant(e->u.paren);
    case EXPR_UNARY:
        return is_constant(e->u.unary.body);
    case EXPR_BINARY:
        return is_constant(e->u.binary.left) && is_constant(e->u.binary.right);
    case EXPR_AGGREGATE:
        return is_constant(e->u.aggregate.body) &&
               (!e->u.aggregate.param || is_constant(e->u.aggregate.param));
    case EXPR_CALL:
        break;
    }
    /* timestamp(selector @ t) is the time of a sample, timestamp(f(...)) that of the step. */
    const struct query_function *f = e->u.call.function;
    if (f->time_dependent &&
        !(f->tells_sample_time && query_expr_unwrap(e->u.call.args[0])->kind == EXPR_VECTOR)) {
        return false;
    }
    for (uint32_t i = 0; i < e->u.call.arg_count; i++) {
        if (!is_constant(e->u.call.args[i])) {
            return false;
        }
    }
    return true;
}

static enum tsdb_status build_node(struct exec *x, const struct query_expr *e,
                                   const struct grid *grid, struct op **out);

static enum tsdb_status repeat_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, struct op **out)
{
    const struct grid once = {grid->start_ms, grid->step_ms, 1};
    struct op *child;
    enum tsdb_status status = build_node(x, e, &once, &child);
    if (status != TSDB_OK) {
        return status;
    }
    struct op_repeat *r = (struct op_repeat *)op_new(x, sizeof *r, e, grid, repeat_next);
    if (!r) {
        return exec_nomem(x);
    }
    r->child = child;
    r->op.series = child->series;
    r->op.series_count = child->series_count;
    *out = &r->op;
    return column_init(x, &r->one, 1);
}

/* What computes a function: one of these, none if it is not supported. */
struct implementation {
    query_map_fn map;
    query_range_fn range;
    enum tsdb_status (*build)(struct exec *x, const struct query_expr *e, const struct grid *grid,
                              struct op **out);
};

#define MAP(f)                                                                                     \
    {                                                                                              \
        .map = f                                                                                   \
    }
#define RANGE(f)                                                                                   \
    {                                                                                              \
        .range = f                                                                                 \
    }
#define BUILD(f)                                                                                   \
    {                                                                                              \
        .build = f                                                                                 \
    }
#define NOT_YET                                                                                    \
    {                                                                                              \
        NULL                                                                                       \
    }
#define FUNCTION(name, implementation, ...) [QUERY_FUNCTION_##name] = implementation,
static const struct implementation implementations[QUERY_FUNCTION_COUNT] = {
#include "query/lang/functions.def"
};

static enum tsdb_status call_build(struct exec *x, const struct query_expr *e,
                                   const struct grid *grid, struct op **out)
{
    const struct query_function *f = e->u.call.function;
    const struct implementation *i = &implementations[f->id];
    if (i->build) {
        return i->build(x, e, grid, out);
    }
    if (i->map) {
        return op_map_build(x, e, grid, i->map, out);
    }
    if (i->range) {
        return op_range_build(x, e, grid, i->range, out);
    }
    return tsdb_error_set(x->err, TSDB_UNSUPPORTED, "function \"%s\" is not supported yet",
                          f->name);
}

static enum tsdb_status build_node(struct exec *x, const struct query_expr *e,
                                   const struct grid *grid, struct op **out)
{
    switch (e->kind) {
    case EXPR_NUMBER:
        return values_build(x, e, grid, NULL, e->u.number.value, out);
    case EXPR_VECTOR:
        return op_vector_build(x, e, grid, out);
    case EXPR_UNARY:
        return op_unary_build(x, e, grid, out);
    case EXPR_BINARY:
        return op_binary_build(x, e, grid, out);
    case EXPR_AGGREGATE:
        return op_aggregate_build(x, e, grid, out);
    case EXPR_CALL:
        return call_build(x, e, grid, out);
    case EXPR_PAREN:
    case EXPR_STRING:
    case EXPR_MATRIX:
    case EXPR_SUBQUERY:
    case EXPR_DURATION:
        break;
    }
    TSDB_ASSERT(e->type == QUERY_TYPE_SCALAR || e->type == QUERY_TYPE_VECTOR);
    return tsdb_error_set(x->err, TSDB_UNSUPPORTED, "expression of an unknown kind");
}

enum tsdb_status exec_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                            struct op **out)
{
    e = query_expr_unwrap(e);
    if (grid->count > 1 && e->kind != EXPR_NUMBER && is_constant(e)) {
        return repeat_build(x, e, grid, out);
    }
    return build_node(x, e, grid, out);
}
