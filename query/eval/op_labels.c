/* label_replace and label_join: values pass through, labels change. */
#include "query/eval/operators.h"

#include "base/assert.h"
#include "index/match/regex.h"

struct op_relabel {
    struct op op;
    struct op *child;
};

static enum tsdb_status relabel_next(struct op *op, struct column *out)
{
    return op_next(((struct op_relabel *)op)->child, out);
}

static struct query_str string_arg(const struct query_expr *e, uint32_t i)
{
    return query_expr_unwrap(e->u.call.args[i])->u.string;
}

static bool valid_label_name(struct query_str s)
{
    return s.len > 0 && tsdb_utf8_valid(s.data, s.len);
}

static enum tsdb_status relabel_start(struct exec *x, const struct query_expr *e,
                                      const struct grid *grid, struct op_relabel **out)
{
    struct op_relabel *r = (struct op_relabel *)op_new(x, sizeof *r, e, grid, relabel_next);
    if (!r) {
        return exec_nomem(x);
    }
    enum tsdb_status status = exec_build(x, e->u.call.args[0], grid, &r->child);
    if (status != TSDB_OK) {
        return status;
    }
    r->op.series_count = r->child->series_count;
    r->op.series = TSDB_ARENA_ARRAY(x->arena, struct op_series, TSDB_MAX(r->op.series_count, 1));
    if (!r->op.series) {
        return exec_nomem(x);
    }
    *out = r;
    return TSDB_OK;
}

/* Sets dst of series i; a metric that gets a new name keeps it. */
static enum tsdb_status relabel_set(struct op_relabel *r, uint32_t i, struct query_str dst,
                                    const struct tsdb_buf *value)
{
    struct exec *x = r->op.x;
    struct op_series *series = &r->op.series[i];
    if (value->failed) {
        return exec_nomem(x);
    }
    char *copy =
        tsdb_arena_strndup(x->arena, value->data ? (const char *)value->data : "", value->len);
    if (!copy || !labels_set(x->arena, &r->child->series[i].labels, dst,
                             (struct query_str){copy, (uint32_t)value->len}, &series->labels)) {
        return exec_nomem(x);
    }
    if (query_str_equal(dst, TSDB_METRIC_NAME)) {
        series->drop_name = false;
    }
    return TSDB_OK;
}

/* Prometheus puts the text between anchors before it parses it: "a)|(b" is one that it takes. */
static enum tsdb_status anchored_regex(struct exec *x, struct query_str pattern,
                                       struct index_regex **out, struct tsdb_error *err)
{
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    tsdb_buf_put_str(&b, "^(?s:");
    tsdb_buf_put(&b, pattern.data, pattern.len);
    tsdb_buf_put_str(&b, ")$");
    enum tsdb_status status =
        b.failed ? TSDB_NOMEM
                 : index_regexes_get(&x->regexes, (const char *)b.data, b.len, out, err);
    tsdb_buf_deinit(&b);
    return status;
}

enum tsdb_status op_label_replace_build(struct exec *x, const struct query_expr *e,
                                        const struct grid *grid, struct op **out)
{
    struct query_str dst = string_arg(e, 1);
    struct query_str replacement = string_arg(e, 2);
    struct query_str src = string_arg(e, 3);
    struct query_str pattern = string_arg(e, 4);
    struct index_regex *re = NULL;
    struct tsdb_error err = {0};
    enum tsdb_status status = anchored_regex(x, pattern, &re, &err);
    if (status == TSDB_INVALID) {
        return exec_fail(x, status, "invalid regular expression in label_replace(): %.*s",
                         (int)pattern.len, pattern.data);
    }
    if (status != TSDB_OK) {
        return status == TSDB_LIMIT   ? exec_fail(x, status, "%s", err.msg)
               : status == TSDB_NOMEM ? exec_nomem(x)
                                      : exec_stopped(x, status);
    }
    struct op_relabel *r = NULL;
    if (!valid_label_name(dst)) {
        status =
            exec_fail(x, TSDB_INVALID, "invalid destination label name in label_replace(): %.*s",
                      (int)dst.len, dst.data);
    } else {
        status = relabel_start(x, e, grid, &r);
    }
    struct tsdb_buf value;
    tsdb_buf_init(&value, TSDB_MEM_QUERY, 0);
    TSDB_ASSERT(r || status != TSDB_OK);
    for (uint32_t i = 0; status == TSDB_OK && i < r->op.series_count; i++) {
        status = exec_poll(x);
        r->op.series[i] = r->child->series[i];
        struct query_str from = labels_value(&r->child->series[i].labels, src.data, src.len);
        tsdb_buf_clear(&value);
        if (status == TSDB_OK && index_regex_expand(re, from.data, from.len, replacement.data,
                                                    replacement.len, &value)) {
            status = relabel_set(r, i, dst, &value);
        }
    }
    tsdb_buf_deinit(&value);
    if (status != TSDB_OK) {
        return status;
    }
    *out = &r->op;
    return op_merge_equal(out, false);
}

enum tsdb_status op_label_join_build(struct exec *x, const struct query_expr *e,
                                     const struct grid *grid, struct op **out)
{
    struct query_str dst = string_arg(e, 1);
    struct query_str separator = string_arg(e, 2);
    for (uint32_t i = 3; i < e->u.call.arg_count; i++) {
        struct query_str src = string_arg(e, i);
        if (!valid_label_name(src)) {
            return exec_fail(x, TSDB_INVALID, "invalid source label name in label_join(): %.*s",
                             (int)src.len, src.data);
        }
    }
    if (!valid_label_name(dst)) {
        return exec_fail(x, TSDB_INVALID, "invalid destination label name in label_join(): %.*s",
                         (int)dst.len, dst.data);
    }
    struct op_relabel *r = NULL;
    enum tsdb_status status = relabel_start(x, e, grid, &r);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_buf value;
    tsdb_buf_init(&value, TSDB_MEM_QUERY, 0);
    TSDB_ASSERT(r || status != TSDB_OK);
    for (uint32_t i = 0; status == TSDB_OK && i < r->op.series_count; i++) {
        status = exec_poll(x);
        r->op.series[i] = r->child->series[i];
        tsdb_buf_clear(&value);
        for (uint32_t k = 3; k < e->u.call.arg_count; k++) {
            struct query_str src = string_arg(e, k);
            struct query_str v = labels_value(&r->child->series[i].labels, src.data, src.len);
            tsdb_buf_put(&value, separator.data, k > 3 ? separator.len : 0);
            tsdb_buf_put(&value, v.data, v.len);
        }
        if (status == TSDB_OK) {
            status = relabel_set(r, i, dst, &value);
        }
    }
    tsdb_buf_deinit(&value);
    if (status != TSDB_OK) {
        return status;
    }
    *out = &r->op;
    return op_merge_equal(out, false);
}
