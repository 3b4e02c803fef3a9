/* Native histograms as values of operators. */
#include "query/eval/histogram.h"

#include "base/format.h"
#include "query/hist/walk.h"

enum tsdb_status histogram_status(struct exec *x, enum tsdb_status status)
{
    if (status == TSDB_OK) {
        return TSDB_OK;
    }
    if (status == TSDB_CORRUPT) {
        return exec_fail(x, status, "a stored histogram has impossible buckets");
    }
    return exec_nomem(x);
}

enum tsdb_status histogram_view(struct exec *x, const struct tsdb_histogram *m,
                                struct tsdb_arena *arena, struct hist *out)
{
    return histogram_status(x, hist_view(m, arena, out));
}

enum tsdb_status histogram_point(struct exec *x, const struct hist *h, struct tsdb_arena *arena,
                                 struct point *out)
{
    struct tsdb_histogram *m = TSDB_ARENA_NEW(arena, struct tsdb_histogram);
    if (!m) {
        return exec_nomem(x);
    }
    hist_model(h, m);
    *out = (struct point){0, m};
    return TSDB_OK;
}

enum tsdb_status histogram_change(struct exec *x, struct point *p, histogram_change_fn *change,
                                  double number, bool compact, struct tsdb_arena *arena)
{
    struct hist h;
    enum tsdb_status status = hist_view(p->h, arena, &h);
    if (status == TSDB_OK) {
        status = change(&h, number, arena);
    }
    if (status == TSDB_OK && compact) {
        status = hist_compact(&h, arena);
    }
    return status == TSDB_OK ? histogram_point(x, &h, arena, p) : histogram_status(x, status);
}

void histogram_hints_add(struct histogram_hints *hints, enum tsdb_reset_hint hint)
{
    hints->reset |= hint == TSDB_RESET_YES;
    hints->no_reset |= hint == TSDB_RESET_NO;
}

void histogram_note_conflict(struct exec *x, uint32_t pos, const char *operation)
{
    exec_note(x, false, pos, "conflicting counter resets during histogram %s", operation);
}

void histogram_note_bounds(struct exec *x, uint32_t pos, const char *operation)
{
    exec_note(x, true, pos, "mismatched custom buckets were reconciled during %s", operation);
}

void histogram_note_schemas(struct exec *x, uint32_t pos, const struct tsdb_labels *labels)
{
    exec_note_metric(x, false, pos,
                     "vector contains a mix of histograms with exponential and custom buckets "
                     "schemas for metric name",
                     labels);
}

enum tsdb_status histogram_combine(const struct histogram_place *p, struct hist *h,
                                   const struct hist *other, bool add, bool *fits)
{
    struct hist_effects effects = {0};
    enum tsdb_status status =
        add ? hist_add(h, other, p->arena, &effects) : hist_sub(h, other, p->arena, &effects);
    *fits = status == TSDB_OK;
    if (status == TSDB_INVALID) {
        histogram_note_schemas(p->x, p->pos, p->labels);
        return TSDB_OK;
    }
    if (effects.bounds_reconciled) {
        histogram_note_bounds(p->x, p->pos, add ? "addition" : "subtraction");
    }
    return histogram_status(p->x, status);
}

enum tsdb_status histogram_between(const struct histogram_place *p, const struct hist *a,
                                   int64_t ta, const struct hist *b, int64_t tb, int64_t t,
                                   bool counter, struct hist *out, bool *fits)
{
    *fits = true;
    *out = t == ta ? *a : *b;
    if (t == ta || t == tb) {
        return TSDB_OK;
    }
    double fraction = (double)(t - ta) / (double)(tb - ta);
    bool reset = counter && hist_detect_reset(b, a);
    enum tsdb_status status = reset ? TSDB_OK : histogram_combine(p, out, a, false, fits);
    if (status != TSDB_OK || !*fits) {
        return status;
    }
    status = histogram_status(p->x, hist_mul(out, fraction, p->arena));
    return status != TSDB_OK || reset ? status : histogram_combine(p, out, a, true, fits);
}

static void put_number(struct tsdb_buf *out, const char *before, double v)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    tsdb_buf_put_str(out, before);
    tsdb_buf_put(out, text, tsdb_format_float_go_g(text, v));
}

static void print_part(const struct hist *h, enum hist_order order, struct tsdb_buf *out)
{
    struct hist_walk w;
    hist_walk_init(&w, h, order);
    while (hist_walk_next(&w)) {
        if (w.count != 0) {
            const struct hist_bucket b = hist_walk_bucket(&w);
            put_number(out, b.lower_inclusive ? ", [" : ", (", b.lower);
            put_number(out, ",", b.upper);
            put_number(out, b.upper_inclusive ? "]:" : "):", b.count);
        }
    }
}

void histogram_print(const struct hist *h, struct tsdb_buf *out)
{
    put_number(out, "{count:", h->count);
    put_number(out, ", sum:", h->sum);
    print_part(h, HIST_NEGATIVE_INWARDS, out);
    if (h->zero_count != 0) {
        put_number(out, ", [", -h->zero_threshold);
        put_number(out, ",", h->zero_threshold);
        put_number(out, "]:", h->zero_count);
    }
    print_part(h, HIST_POSITIVE, out);
    tsdb_buf_put_u8(out, '}');
}
