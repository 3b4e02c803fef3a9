/* From the operator tree to a result, and the life of one evaluation. */
#include "query/eval/exec.h"

#include "base/assert.h"
#include "query/eval/build.h"
#include "query/eval/matrix.h"
#include "query/eval/select.h"

/* ---- results ---- */

static bool order_matters(void *arg, const struct query_expr *e)
{
    bool *matters = arg;
    if (e->kind == EXPR_AGGREGATE) {
        *matters |= e->u.aggregate.op == TOKEN_TOPK || e->u.aggregate.op == TOKEN_BOTTOMK;
    } else if (e->kind == EXPR_CALL) {
        *matters |= e->u.call.function->sorts;
    }
    return true;
}

static int series_compare(const void *a, const void *b)
{
    const struct query_series *x = a;
    const struct query_series *y = b;
    return tsdb_labels_compare(&x->labels, &y->labels);
}

static enum tsdb_status result_points(struct exec *x, const struct column *c,
                                      const struct grid *grid, struct query_series *out)
{
    uint32_t n = column_count(c, grid->count);
    struct query_point *points = TSDB_ARENA_ARRAY(x->arena, struct query_point, TSDB_MAX(n, 1));
    if (!points) {
        return exec_nomem(x);
    }
    uint32_t k = 0;
    for (uint32_t i = 0; i < grid->count; i++) {
        if (c->kind[i] == POINT_NONE) {
            continue;
        }
        points[k] = (struct query_point){grid_time(grid, i), c->v[i], NULL};
        if (c->kind[i] == POINT_HISTOGRAM) {
            points[k].value = 0;
            points[k].histogram = exec_keep_histogram(x, c->h[i]);
            if (!points[k].histogram) {
                return exec_nomem(x);
            }
        }
        k++;
    }
    out->points = points;
    out->point_count = n;
    return exec_hold(x, n);
}

/* With delayed name removal the names go here. */
static enum tsdb_status finish_names(struct op **op)
{
    struct exec *x = (*op)->x;
    if (!x->options->delayed_name_removal) {
        return TSDB_OK;
    }
    bool any = false;
    for (uint32_t i = 0; i < (*op)->series_count; i++) {
        struct op_series *s = &(*op)->series[i];
        enum tsdb_status status = exec_poll(x);
        if (status != TSDB_OK) {
            return status;
        }
        if (s->drop_name) {
            any = true;
            if (!labels_without_metadata(x->arena, &s->labels, &s->labels)) {
                return exec_nomem(x);
            }
        }
    }
    return any ? op_merge_equal(op, false) : TSDB_OK;
}

/* A text that lives as long as the result; before: one that does already, and may be the same. */
static const char *keep_text(struct exec *x, const char *s, uint32_t len, const char *before,
                             uint32_t before_len)
{
    bool same = before && len == before_len && (len == 0 || memcmp(s, before, len) == 0);
    return same ? before : tsdb_arena_strndup(x->arena, s, len);
}

/* Labels borrow strings from the source, which is closed before the result is used. Names, and many values, are those
 * of the series before. */
static enum tsdb_status keep_labels(struct exec *x, const struct tsdb_labels *from,
                                    const struct tsdb_labels *before, struct tsdb_labels *out)
{
    struct tsdb_label *items =
        TSDB_ARENA_ARRAY(x->arena, struct tsdb_label, TSDB_MAX(from->count, 1u));
    for (uint32_t i = 0; items && i < from->count; i++) {
        struct tsdb_label *l = &items[i];
        const struct tsdb_label none = {0};
        const struct tsdb_label *b = before && i < before->count ? &before->items[i] : &none;
        *l = from->items[i];
        l->name = keep_text(x, l->name, l->name_len, b->name, b->name_len);
        l->value = keep_text(x, l->value, l->value_len, b->value, b->value_len);
        if (!l->name || !l->value) {
            return exec_nomem(x);
        }
    }
    *out = (struct tsdb_labels){items, from->count};
    return items ? TSDB_OK : exec_nomem(x);
}

/* A result of the series of a selector: their labels are read one by one, of those that have a value. */
static bool labels_late(const struct exec *x, const struct query_expr *e)
{
    e = query_expr_unwrap(e);
    return e->kind == EXPR_VECTOR && !e->u.vector.smoothed && !x->options->delayed_name_removal;
}

/* The labels of series i of the operator, for result out[n]. */
static enum tsdb_status result_labels(struct exec *x, const struct op *op, uint32_t i,
                                      struct tsdb_arena *late, struct query_series *out, uint32_t n)
{
    struct tsdb_labels labels = op->series[i].labels;
    enum tsdb_status status = TSDB_OK;
    if (late) {
        TSDB_ASSERT(op->series_count == x->late.count);
        tsdb_arena_reset(late);
        status = x->source->ops->labels(x->source->ctx, x->late.refs[i], late, &labels, x->err);
    }
    return status == TSDB_OK
               ? keep_labels(x, &labels, n > 0 ? &out[n - 1].labels : NULL, &out[n].labels)
               : exec_stopped(x, status);
}

static enum tsdb_status result_fill(struct exec *x, struct op *op, const struct grid *grid,
                                    struct tsdb_arena *late, struct query_result *out)
{
    struct column c;
    enum tsdb_status status = column_init(x, &c, grid->count);
    size_t before = tsdb_arena_used(x->arena);
    for (uint32_t i = 0; i < op->series_count && status == TSDB_OK; i++) {
        status = op_next(op, &c);
        if (status == TSDB_OK && column_count(&c, grid->count) > 0) {
            status = result_labels(x, op, i, late, out->series, out->series_count);
            if (status == TSDB_OK) {
                status = result_points(x, &c, grid, &out->series[out->series_count++]);
            }
        }
        if (status == TSDB_OK) {
            status = exec_foresee(x, before, i, op->series_count);
        }
    }
    return status;
}

static enum tsdb_status result_vectors(struct exec *x, const struct query_expr *e,
                                       const struct grid *grid, struct query_result *out)
{
    struct op *op;
    struct tsdb_arena *late = NULL;
    x->labels_late = labels_late(x, e);
    if (x->labels_late && !(late = exec_scratch(x))) {
        return exec_nomem(x);
    }
    enum tsdb_status status = exec_build(x, e, grid, &op);
    x->labels_late = false;
    if (status == TSDB_OK) {
        status = finish_names(&op);
    }
    if (status != TSDB_OK) {
        return status;
    }
    out->series = TSDB_ARENA_ARRAY(x->arena, struct query_series, TSDB_MAX(op->series_count, 1));
    return out->series ? result_fill(x, op, grid, late, out) : exec_nomem(x);
}

/* Floats and histograms of one series in the order of their times. */
static enum tsdb_status merge_points(struct exec *x, const struct points *p,
                                     struct query_series *out)
{
    uint32_t n = p->count + p->h_count;
    struct query_point *points = TSDB_ARENA_ARRAY(x->arena, struct query_point, n);
    if (!points) {
        return exec_nomem(x);
    }
    uint32_t f = 0;
    uint32_t h = 0;
    for (uint32_t k = 0; k < n; k++) {
        if (h == p->h_count || (f < p->count && p->t[f] < p->ht[h])) {
            points[k] = (struct query_point){p->t[f], p->v[f], NULL};
            f++;
            continue;
        }
        points[k] = (struct query_point){p->ht[h], 0, exec_keep_histogram(x, p->h[h])};
        if (!points[k].histogram) {
            return exec_nomem(x);
        }
        h++;
    }
    out->points = points;
    out->point_count = n;
    return exec_hold(x, n);
}

/* A range vector as the result of an instant query: the samples themselves. */
static enum tsdb_status result_matrix(struct exec *x, const struct query_expr *e,
                                      const struct grid *grid, struct query_result *out)
{
    struct matrix *m;
    enum tsdb_status status = matrix_build(x, e, grid, &m);
    if (status != TSDB_OK) {
        return status;
    }
    out->series = TSDB_ARENA_ARRAY(x->arena, struct query_series, TSDB_MAX(m->series_count, 1));
    if (!out->series) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < m->series_count && status == TSDB_OK; i++) {
        struct points p;
        status = matrix_next(m, &p);
        if (status == TSDB_OK && (m->before_ms != 0 || m->after_ms != 0)) {
            status = matrix_extend(m, &p);
        }
        if (status != TSDB_OK || p.count + p.h_count == 0) {
            continue;
        }
        tally_window(&x->tally, grid, 0, false, m->body == NULL, &p, p.count, p.h_count);
        struct query_series *series = &out->series[out->series_count];
        struct tsdb_labels labels = m->series[i].labels;
        if (m->series[i].drop_name && !labels_without_metadata(x->arena, &labels, &labels)) {
            return exec_nomem(x);
        }
        status = keep_labels(x, &labels, out->series_count > 0 ? &series[-1].labels : NULL,
                             &series->labels);
        if (status != TSDB_OK) {
            return status;
        }
        out->series_count++;
        status = merge_points(x, &p, series);
    }
    return status;
}

static void limit_series(struct query_result *out, uint32_t limit)
{
    if (limit > 0 && out->series_count > limit) {
        out->series_count = limit;
        out->truncated = true;
    }
}

static bool tally_begin(struct exec *x, const struct grid *grid, bool per_step)
{
    struct tally *t = &x->tally;
    t->start_ms = grid->start_ms;
    t->step_ms = grid->step_ms;
    t->steps = grid->count;
    if (!per_step) {
        return true;
    }
    t->step_queryable = TSDB_ARENA_ARRAY(x->arena, uint64_t, grid->count);
    t->step_read = TSDB_ARENA_ARRAY(x->arena, uint64_t, grid->count);
    if (!t->step_queryable || !t->step_read) {
        return false;
    }
    memset(t->step_queryable, 0, grid->count * sizeof(uint64_t));
    memset(t->step_read, 0, grid->count * sizeof(uint64_t));
    return true;
}

static enum tsdb_status run(struct exec *x, const struct query_expr *e,
                            const struct query_params *params, struct query_result *out)
{
    bool instant = params->step_ms == 0;
    uint64_t steps =
        instant ? 1 : (uint64_t)((params->end_ms - params->start_ms) / params->step_ms) + 1;
    if (x->options->samples_max > 0 && steps > x->options->samples_max) {
        return exec_hold(x, steps);
    }
    if (steps > UINT32_MAX) {
        return exec_fail(x, TSDB_LIMIT, "query has too many steps");
    }
    const struct grid grid = {params->start_ms, instant ? 1 : params->step_ms, (uint32_t)steps};
    const struct query_expr *bare = query_expr_unwrap(e);
    if (!tally_begin(x, &grid, params->per_step_stats)) {
        return exec_nomem(x);
    }
    out->type = instant ? e->type : QUERY_TYPE_MATRIX;
    enum tsdb_status status;
    if (e->type == QUERY_TYPE_STRING) {
        out->string = bare->u.string.data;
        out->string_len = bare->u.string.len;
        out->string_t_ms = params->start_ms;
        return TSDB_OK;
    }
    if (e->type == QUERY_TYPE_MATRIX) {
        status = result_matrix(x, bare, &grid, out);
    } else if (e->type == QUERY_TYPE_SCALAR && instant) {
        const double *v;
        status = exec_scalar(x, bare, &grid, &v);
        if (status == TSDB_OK) {
            out->scalar = (struct query_point){params->start_ms, v[0], NULL};
        }
        return status;
    } else {
        status = result_vectors(x, bare, &grid, out);
    }
    if (status != TSDB_OK) {
        return status;
    }
    bool keep_order = false;
    if (out->type == QUERY_TYPE_VECTOR) {
        query_expr_visit(e, order_matters, &keep_order);
    }
    if (!keep_order) {
        status = exec_sort(x, out->series, out->series_count, sizeof *out->series, series_compare);
    }
    limit_series(out, params->limit);
    return status;
}

/* "PromQL info: <text> (1:6)" */
static enum tsdb_status notes_finish(struct exec *x, struct query_result *out)
{
    struct query_note *notes =
        x->note_count > 0 ? TSDB_ARENA_ARRAY(x->arena, struct query_note, x->note_count) : NULL;
    if (x->note_count > 0 && !notes) {
        return exec_nomem(x);
    }
    uint32_t i = x->note_count;
    for (const struct exec_note *n = x->notes; n; n = n->next) {
        TSDB_ASSERT(notes && i > 0);
        struct tsdb_buf b;
        tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
        tsdb_buf_printf(&b, "PromQL %s: ", n->note.is_info ? "info" : "warning");
        tsdb_buf_put_str(&b, n->note.text);
        if (n->counted && n->occurrences > 1) {
            tsdb_buf_printf(&b, " (%llu occurrences)", (unsigned long long)n->occurrences);
        }
        tsdb_buf_put_str(&b, " (");
        query_position_print(x->text, n->pos, &b);
        tsdb_buf_put_str(&b, ")");
        const char *text =
            b.failed ? NULL : tsdb_arena_strndup(x->arena, (const char *)b.data, b.len);
        tsdb_buf_deinit(&b);
        if (!text) {
            return exec_nomem(x);
        }
        TSDB_ASSERT(notes && i > 0); /* they were counted */
        notes[--i] = (struct query_note){text, n->note.is_info};
    }
    out->notes = notes;
    out->note_count = x->note_count;
    return TSDB_OK;
}

static enum tsdb_status open_source(struct exec *x, const struct query_expr *e,
                                    const struct query_params *params)
{
    struct tsdb_time_range range = {INT64_MAX, INT64_MIN};
    bool any = false;
    int64_t start_ms = time_sub(params->start_ms, params->select_before_ms);
    enum tsdb_status status = exec_time_range(x, e, start_ms, params->end_ms, &range, &any);
    if (status != TSDB_OK || !any) {
        return status;
    }
    return x->source->ops->open(x->source->ctx, range, x->err);
}

static enum tsdb_status check_params(struct exec *x, const struct query_expr *e,
                                     const struct query_params *p)
{
    if (p->step_ms < 0 || p->end_ms < p->start_ms ||
        (p->step_ms == 0 && p->end_ms != p->start_ms)) {
        return exec_fail(x, TSDB_INVALID, "invalid time range of the query");
    }
    if (p->step_ms > 0 && e->type != QUERY_TYPE_SCALAR && e->type != QUERY_TYPE_VECTOR) {
        return exec_fail(
            x, TSDB_INVALID,
            "invalid expression type \"%s\" for range query, must be Scalar or instant Vector",
            query_type_words(e->type));
    }
    return exec_check(x);
}

enum tsdb_status query_eval_source(const struct query_source *source,
                                   const struct query_options *options,
                                   struct tsdb_request *request, const struct query_expr *expr,
                                   const struct query_params *params, struct tsdb_arena *arena,
                                   struct query_result *out, struct tsdb_error *err)
{
    TSDB_ASSERT(source->ops && expr->text);
    struct exec x = {
        .build = build_expr,
        .options = options,
        .source = source,
        .kernels = options->kernels ? options->kernels : query_kernels_get(),
        .request = request,
        .regexes = {.request = request},
        .arena = arena,
        .err = err,
        .text = expr->text,
        .start_ms = params->start_ms,
        .end_ms = params->end_ms,
        .step_ms = params->step_ms,
        .lookback_ms = params->lookback_ms > 0 ? params->lookback_ms : options->lookback_ms,
    };
    struct query_result r = {0};
    struct query_plan whole = {.expr = expr}; /* its child is the root */
    x.plan = params->explain ? &whole : NULL;
    int64_t begin = tsdb_clock_mono_ns(request->clock);
    enum tsdb_status status = check_params(&x, expr, params);
    if (status == TSDB_OK) {
        status = open_source(&x, expr, params);
    }
    int64_t prepared = tsdb_clock_mono_ns(request->clock);
    if (status == TSDB_OK) {
        status = run(&x, expr, params, &r);
    }
    exec_crew_end_all(&x);
    if (status == TSDB_OK) {
        status = notes_finish(&x, &r);
    }
    source->ops->close(source->ctx);
    index_regexes_deinit(&x.regexes);
    for (struct exec_scratch *sc = x.scratches; sc; sc = sc->next) {
        tsdb_arena_deinit(&sc->arena);
    }
    int64_t end = tsdb_clock_mono_ns(request->clock);
    if (status == TSDB_OK) {
        r.plan = whole.first;
        r.entangled = x.entangled;
        r.stats = (struct query_stats){.samples_loaded = x.samples_read,
                                       .samples_peak = x.samples_peak,
                                       .samples_queryable = x.tally.queryable,
                                       .samples_read = x.tally.read,
                                       .step_queryable = x.tally.step_queryable,
                                       .step_read = x.tally.step_read,
                                       .step_count = x.tally.steps,
                                       .prepare_ns = prepared - begin,
                                       .eval_ns = end - prepared,
                                       .total_ns = end - begin};
        *out = r;
    }
    return status;
}

enum tsdb_status query_eval(struct tsdb *db, const struct query_options *options,
                            struct tsdb_request *request, const struct query_expr *expr,
                            const struct query_params *params, struct tsdb_arena *arena,
                            struct query_result *out, struct tsdb_error *err)
{
    struct query_source_tsdb s;
    struct query_source source = query_source_tsdb(&s, db, request);
    return query_eval_source(&source, options, request, expr, params, arena, out, err);
}
