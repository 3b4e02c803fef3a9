/* Native histograms as values of operators. */
#include "query/eval/histogram.h"

enum tsdb_status histogram_status(struct exec *x, enum tsdb_status status)
{
    if (status == TSDB_OK) {
        return TSDB_OK;
    }
    if (status == TSDB_CORRUPT) {
        return tsdb_error_set(x->err, status, "a stored histogram has impossible buckets");
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
