/* Series with equal labels become one. The ones that are alone stream through first, then come
 * those that were merged. */
#include "query/eval/op.h"

static enum tsdb_status same_labelset(struct exec *x)
{
    return exec_fail(x, TSDB_INVALID, "vector cannot contain metrics with the same labelset");
}

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
        enum tsdb_status status = column_keep_point(x, dst, steps, i, column_point(src, i));
        if (status != TSDB_OK) {
            return status;
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
    return column_copy(op->x, out, &m->merged[m->order[op->pos]], op->grid.count);
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
        enum tsdb_status stop = exec_poll(x);
        if (stop != TSDB_OK) {
            return stop;
        }
        if (!label_map_put(&map, &child->series[i].labels, &all, &target[i], NULL)) {
            return exec_nomem(x);
        }
        members[target[i]]++;
    }
    enum tsdb_status status = TSDB_OK;
    if (map.count < child->series_count) {
        x->entangled |= distinct;
        status = merge_build(child, target, members, map.count, distinct, op);
    }
    tsdb_arena_reset(scratch);
    return status;
}

/* Label sets that differ still differ when all of them lose the same name, or nothing. */
struct losses {
    bool alike;
    uint32_t count; /* of labels that each lost */
    struct query_str name;
};

static void losses_see(struct losses *l, bool first, const struct tsdb_labels *before,
                       const struct tsdb_labels *after)
{
    uint32_t count = before->count - after->count;
    struct query_str name = labels_metric_name(before);
    if (first) {
        *l = (struct losses){count == 0 || (count == 1 && name.len > 0), count, name};
    }
    l->alike =
        l->alike && count == l->count &&
        (count == 0 || (name.len == l->name.len && memcmp(name.data, l->name.data, name.len) == 0));
}

enum tsdb_status op_series_unnamed(struct op *op, const struct op *child, bool distinct,
                                   struct op **out)
{
    struct exec *x = op->x;
    bool later = x->options->delayed_name_removal;
    const struct op_series *from = child->series;
    uint32_t count = child->series_count;
    struct losses losses = {.alike = true};
    op->series_count = count;
    op->series = TSDB_ARENA_ARRAY(x->arena, struct op_series, TSDB_MAX(count, 1));
    if (!op->series) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < count; i++) {
        enum tsdb_status stop = exec_poll(x);
        if (stop != TSDB_OK) {
            return stop;
        }
        op->series[i] = from[i];
        op->series[i].drop_name = later;
        if (!later && !labels_without_metadata(x->arena, &from[i].labels, &op->series[i].labels)) {
            return exec_nomem(x);
        }
        losses_see(&losses, i == 0, &from[i].labels, &op->series[i].labels);
        /* In a subquery others may become equal to it that are seen at other steps only. */
        x->entangled |= distinct && from[i].labels.count > op->series[i].labels.count + 1;
    }
    *out = op;
    op->unique = child->unique && losses.alike;
    return later || op->unique ? TSDB_OK : op_merge_equal(out, distinct);
}
