/* Arithmetic and comparison between two instant vectors.
 *
 * Of the two sides one is "one" (at most one series per match group and step), the other "many"; in
 * one-to-one matching the right side is called "one". The "one" side is evaluated and held, the
 * "many" side streams. An output series that gets all its samples from one series of the many side,
 * which in turn feeds no other, streams as well; the others are held until the many side is
 * through. */
#include "query/eval/operators.h"

#define NO_SERIES UINT32_MAX

/* All series of the one side in a match group as one column. */
struct group {
    struct column column; /* v NULL: nothing there */
    uint32_t *series;     /* per step: which series it comes from; NULL: always `first` */
    uint32_t first;       /* series of the one side; chained by next_one */
    uint32_t one_count;
    uint32_t many_count;
    uint8_t *matched; /* per step: a pair was made; NULL: not needed */
};

struct output {
    struct column held;   /* v NULL: streams */
    uint32_t *pair_group; /* per step: match group of what is there + 1, to tell duplicates apart */
    uint32_t many;        /* the only series of the many side that feeds it, or NO_SERIES */
    bool shared;
};

struct op_join {
    struct op op;
    struct op *many, *one;
    struct column *one_columns;
    uint32_t *many_group, *one_group; /* per series */
    uint32_t *next_one;               /* per series of the one side: the next one in its group */
    struct group *groups;
    uint32_t group_count;
    struct output *outputs;
    uint32_t output_count;
    /* Of outputs as handed out; the streaming ones first, by series of the many side. */
    uint32_t *order;
    struct label_map pairs;     /* of result labels */
    struct tsdb_labels *labels; /* per output */
    uint32_t labels_cap, outputs_cap;
    bool swapped;                      /* the left side is "one" */
    bool grouped;                      /* group_left, group_right */
    uint8_t *duplicate;                /* per step: the one side has two in a group */
    uint32_t duplicate_a, duplicate_b; /* the first such pair, for the error */
    struct column scratch;
    struct tsdb_arena *histograms; /* made of one series of the many side */
    bool many_done;
};

static const struct query_matching *matching_of(const struct op_join *j)
{
    return &j->op.expr->u.binary.matching;
}

/* A column to throw away into. */
static struct column *nowhere(struct op_join *j)
{
    return &j->groups[j->group_count].column;
}

/* ---- labels ---- */

/* What a filled-in sample is labelled with: the matching labels. */
static bool match_labels(struct op_join *j, const struct tsdb_labels *in, struct tsdb_labels *out)
{
    const struct query_matching *m = matching_of(j);
    return m->on ? labels_keep(j->op.x->arena, in, m->labels, out)
                 : labels_drop(j->op.x->arena, in, m->labels, true, out);
}

static bool result_labels(struct op_join *j, const struct tsdb_labels *many,
                          const struct tsdb_labels *one, struct tsdb_labels *out)
{
    const struct query_matching *m = matching_of(j);
    const struct query_expr *e = j->op.expr;
    struct tsdb_arena *arena = j->op.x->arena;
    struct tsdb_labels l = *many;
    bool unnamed = binary_changes_metric(e->u.binary.op) ||
                   (e->u.binary.returns_bool && !j->op.x->options->delayed_name_removal);
    if (unnamed && !labels_without_metadata(arena, &l, &l)) {
        return false;
    }
    if (!j->grouped && !(m->on ? labels_keep(arena, &l, m->labels, &l)
                               : labels_drop(arena, &l, m->labels, false, &l))) {
        return false;
    }
    for (uint32_t i = 0; i < m->include.count; i++) {
        struct query_str name = m->include.items[i];
        if (!labels_set(arena, &l, name, labels_value(one, name.data, name.len), &l)) {
            return false;
        }
    }
    *out = l;
    return true;
}

/* The output that a pair feeds; entered if it is new. one NULL or many NULL: filled in. */
static bool output_of(struct op_join *j, const struct tsdb_labels *many,
                      const struct tsdb_labels *one, uint32_t *out)
{
    struct tsdb_labels filled;
    struct tsdb_labels labels;
    const struct label_key all = LABEL_KEY_ALL;
    bool is_new;
    if ((!many || !one) && !match_labels(j, many ? many : one, &filled)) {
        return false;
    }
    if (!result_labels(j, many ? many : &filled, one ? one : &filled, &labels) ||
        !label_map_put(&j->pairs, &labels, &all, out, &is_new)) {
        return false;
    }
    if (!is_new) {
        return true;
    }
    if (*out == j->labels_cap) {
        struct exec *x = j->op.x;
        struct tsdb_labels *grown =
            exec_grow(x, j->labels, *out, &j->labels_cap, 64, sizeof *grown);
        struct output *outputs =
            exec_grow(x, j->outputs, *out, &j->outputs_cap, 64, sizeof *outputs);
        if (!grown || !outputs) {
            return false;
        }
        j->labels = grown;
        j->outputs = outputs;
    }
    j->labels[*out] = labels;
    j->outputs[*out] = (struct output){.many = NO_SERIES};
    j->output_count = *out + 1;
    return true;
}

/* ---- the one side ---- */

/* "found duplicate series for the match group {...} on the right hand-side of the operation:
 * [a, b];many-to-many ..." */
static enum tsdb_status fail_duplicate(struct op_join *j)
{
    struct exec *x = j->op.x;
    struct tsdb_labels group;
    if (!match_labels(j, &j->one->series[j->duplicate_a].labels, &group)) {
        return exec_nomem(x);
    }
    struct tsdb_buf b[3];
    const struct tsdb_labels *l[] = {&group, &j->one->series[j->duplicate_a].labels,
                                     &j->one->series[j->duplicate_b].labels};
    if (tsdb_labels_compare(l[1], l[2]) > 0) {
        const struct tsdb_labels *t = l[1];
        l[1] = l[2];
        l[2] = t;
    }
    for (int i = 0; i < 3; i++) {
        tsdb_buf_init(&b[i], TSDB_MEM_QUERY, 0);
        labels_print(l[i], &b[i]);
        tsdb_buf_put_u8(&b[i], 0);
    }
    enum tsdb_status status;
    if (b[0].failed || b[1].failed || b[2].failed) {
        status = exec_nomem(x);
    } else {
        status = exec_fail(
            x, TSDB_INVALID,
            "found duplicate series for the match group %s on the %s hand-side of the operation: "
            "[%s, %s]"
            ";many-to-many matching not allowed: matching labels must be unique on one side",
            (const char *)b[0].data, j->swapped ? "left" : "right", (const char *)b[1].data,
            (const char *)b[2].data);
    }
    for (int i = 0; i < 3; i++) {
        tsdb_buf_deinit(&b[i]);
    }
    return status;
}

/* Lay a further series of a group over the column of the group. */
static enum tsdb_status group_overlay(struct op_join *j, struct group *g, uint32_t series)
{
    struct exec *x = j->op.x;
    uint32_t steps = j->op.grid.count;
    const struct column *c = &j->one_columns[series];
    if (!g->series) {
        g->series = TSDB_ARENA_ARRAY(x->arena, uint32_t, TSDB_MAX(steps, 1));
        if (!g->series) {
            return exec_nomem(x);
        }
        for (uint32_t i = 0; i < steps; i++) {
            g->series[i] = g->first;
        }
    }
    for (uint32_t i = 0; i < steps; i++) {
        if (c->kind[i] == POINT_NONE) {
            continue;
        }
        if (g->column.kind[i] != POINT_NONE) {
            if (j->duplicate_a == NO_SERIES) {
                j->duplicate_a = g->series[i];
                j->duplicate_b = series;
            }
            j->duplicate[i] = 1;
            continue;
        }
        g->series[i] = series;
        enum tsdb_status status = column_put(x, &g->column, steps, i, column_point(c, i));
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

static enum tsdb_status groups_fill(struct op_join *j)
{
    enum tsdb_status status = exec_drain(j->one, &j->one_columns);
    for (uint32_t i = 0; i < j->one->series_count && status == TSDB_OK; i++) {
        struct group *g = &j->groups[j->one_group[i]];
        j->next_one[i] = NO_SERIES;
        if (!j->one_columns[i].v) {
            continue; /* no samples: as if it were not there */
        }
        g->one_count++;
        if (g->one_count == 1) {
            g->column = j->one_columns[i];
            g->first = i;
            continue;
        }
        uint32_t last = g->first;
        while (j->next_one[last] != NO_SERIES) {
            last = j->next_one[last];
        }
        j->next_one[last] = i;
        status = group_overlay(j, g, i);
    }
    return status;
}

/* ---- which output gets what ---- */

/* Series i of the many side feeds this output; *only and *feeds tell whether it feeds several. */
static bool plan_pair(struct op_join *j, uint32_t i, const struct tsdb_labels *one, uint32_t *only,
                      uint32_t *feeds)
{
    uint32_t out;
    if (!output_of(j, &j->many->series[i].labels, one, &out)) {
        return false;
    }
    struct output *p = &j->outputs[out];
    p->shared |= p->many != NO_SERIES && p->many != i;
    p->many = i;
    *feeds += out != *only;
    *only = out;
    return true;
}

static enum tsdb_status plan_many(struct op_join *j, uint32_t i)
{
    const struct query_matching *m = matching_of(j);
    const struct group *g = &j->groups[j->many_group[i]];
    uint32_t feeds = 0;
    uint32_t only = NO_SERIES;
    bool ok = true;
    for (uint32_t o = g->one_count > 0 ? g->first : NO_SERIES; ok && o != NO_SERIES;
         o = j->next_one[o]) {
        ok = plan_pair(j, i, &j->one->series[o].labels, &only, &feeds);
        if (m->include.count == 0) {
            break; /* the result has the many side's labels only */
        }
    }
    if (ok && m->fill_right && (feeds == 0 || m->include.count > 0)) {
        ok = plan_pair(j, i, NULL, &only, &feeds);
    }
    for (uint32_t k = 0; ok && feeds > 1 && k < j->output_count; k++) {
        j->outputs[k].shared |= j->outputs[k].many == i;
    }
    return ok ? TSDB_OK : exec_nomem(j->op.x);
}

static enum tsdb_status plan_outputs(struct op_join *j)
{
    struct exec *x = j->op.x;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < j->many->series_count && status == TSDB_OK; i++) {
        status = exec_poll(x);
        if (status == TSDB_OK) {
            status = plan_many(j, i);
        }
    }
    for (uint32_t o = 0; matching_of(j)->fill_left && o < j->one->series_count && status == TSDB_OK;
         o++) {
        uint32_t out;
        if (j->one_columns[o].v) {
            if (!output_of(j, NULL, &j->one->series[o].labels, &out)) {
                return exec_nomem(x);
            }
            j->outputs[out].shared = true;
        }
    }
    return status;
}

/* Series of the join, the streaming ones first in the order of the many side. */
static enum tsdb_status order_outputs(struct op_join *j)
{
    struct exec *x = j->op.x;
    uint32_t n = TSDB_MAX(j->output_count, 1);
    uint32_t steps = j->op.grid.count;
    j->order = TSDB_ARENA_ARRAY(x->arena, uint32_t, n);
    j->op.series = TSDB_ARENA_ARRAY(x->arena, struct op_series, n);
    if (!j->order || !j->op.series) {
        return exec_nomem(x);
    }
    uint32_t count = 0;
    for (int held = 0; held < 2; held++) {
        for (uint32_t o = 0; o < j->output_count; o++) {
            struct output *p = &j->outputs[o];
            if (p->shared != (held == 1)) {
                continue;
            }
            j->op.series[count] =
                (struct op_series){j->labels[o], j->op.expr->u.binary.returns_bool &&
                                                     x->options->delayed_name_removal};
            j->order[count++] = o;
            if (held == 0) {
                continue;
            }
            enum tsdb_status status = column_init(x, &p->held, steps);
            if (status == TSDB_OK) {
                status = exec_hold(x, steps);
            }
            p->pair_group = TSDB_ARENA_ARRAY(x->arena, uint32_t, TSDB_MAX(steps, 1));
            if (status != TSDB_OK || !p->pair_group) {
                return status != TSDB_OK ? status : exec_nomem(x);
            }
            memset(p->pair_group, 0, steps * sizeof *p->pair_group);
        }
    }
    j->op.series_count = count;
    return TSDB_OK;
}

static enum tsdb_status plan_matched(struct op_join *j)
{
    struct exec *x = j->op.x;
    size_t steps = TSDB_MAX(j->op.grid.count, 1);
    for (uint32_t g = 0; g < j->group_count; g++) {
        struct group *p = &j->groups[g];
        if ((p->many_count > 1 && !j->grouped) || matching_of(j)->fill_left) {
            p->matched = TSDB_ARENA_ARRAY(x->arena, uint8_t, steps);
            if (!p->matched) {
                return exec_nomem(x);
            }
            memset(p->matched, 0, steps);
        }
    }
    return TSDB_OK;
}

/* ---- values ---- */

static enum tsdb_status pair_value(struct op_join *j, struct point many, struct point one,
                                   struct pair *out)
{
    return binary_pair(j->op.x, j->op.expr, j->swapped ? one : many, j->swapped ? many : one,
                       j->histograms, out);
}

static enum tsdb_status fail_match(struct op_join *j, const char *text)
{
    return exec_fail(j->op.x, TSDB_INVALID, "%s", text);
}

/* Note that a pair was made in the group at a step; two are too many unless the matching is
 * grouped. */
static enum tsdb_status note_match(struct op_join *j, struct group *g, uint32_t step)
{
    if (!g->matched) {
        return TSDB_OK;
    }
    if (g->matched[step] && !j->grouped) {
        return fail_match(j, "multiple matches for labels: many-to-one matching must be explicit "
                             "(group_left/group_right)");
    }
    g->matched[step] = 1;
    return TSDB_OK;
}

static enum tsdb_status put_held(struct op_join *j, uint32_t output, uint32_t group, uint32_t step,
                                 const struct pair *pair)
{
    struct output *p = &j->outputs[output];
    if (p->pair_group[step] == group + 1 && j->grouped) {
        return fail_match(
            j, "multiple matches for labels: grouping labels must ensure unique matches");
    }
    if (p->pair_group[step] == 0) {
        p->pair_group[step] = group + 1;
    }
    if (!pair->keep) {
        return TSDB_OK;
    }
    if (p->held.kind[step] != POINT_NONE) {
        return fail_match(j, "vector cannot contain metrics with the same labelset");
    }
    return column_keep_point(j->op.x, &p->held, j->op.grid.count, step, pair->value);
}

/* One sample of the many side against its group. */
static enum tsdb_status join_step(struct op_join *j, uint32_t many, uint32_t step,
                                  uint32_t *last_one, uint32_t *last_output, struct column *stream)
{
    const struct query_matching *m = matching_of(j);
    const struct column *in = &j->scratch;
    uint32_t group = j->many_group[many];
    struct group *g = &j->groups[group];
    struct point ms = column_point(in, step);
    struct point os = {m->fill_right_value, NULL};
    uint32_t one = NO_SERIES;
    if (g->column.v && g->column.kind[step] != POINT_NONE) {
        one = g->series ? g->series[step] : g->first;
        os = column_point(&g->column, step);
    } else if (!m->fill_right) {
        return TSDB_OK;
    }
    struct pair pair;
    enum tsdb_status status = pair_value(j, ms, os, &pair);
    if (status == TSDB_OK && pair.matched) {
        status = note_match(j, g, step);
    }
    if (status != TSDB_OK || !pair.matched) {
        return status;
    }
    if (*last_output == NO_SERIES || one != *last_one) {
        if (!output_of(j, &j->many->series[many].labels,
                       one == NO_SERIES ? NULL : &j->one->series[one].labels, last_output)) {
            return exec_nomem(j->op.x);
        }
        *last_one = one;
    }
    if (j->outputs[*last_output].shared) {
        return put_held(j, *last_output, group, step, &pair);
    }
    return pair.keep ? column_put(j->op.x, stream, j->op.grid.count, step, pair.value) : TSDB_OK;
}

static enum tsdb_status join_many(struct op_join *j, struct column *stream)
{
    uint32_t steps = j->op.grid.count;
    uint32_t many = j->many->pos;
    uint32_t last_one = NO_SERIES;
    uint32_t last_output = NO_SERIES;
    enum tsdb_status status = op_next(j->many, &j->scratch);
    tsdb_arena_reset(j->histograms);
    column_clear(stream, steps);
    for (uint32_t i = 0; i < steps && status == TSDB_OK; i++) {
        if (j->scratch.kind[i] != POINT_NONE) {
            status = j->duplicate[i] ? fail_duplicate(j)
                                     : join_step(j, many, i, &last_one, &last_output, stream);
        }
    }
    return status;
}

/* What the one side has and the many side does not. */
static enum tsdb_status fill_unmatched(struct op_join *j)
{
    const struct query_matching *m = matching_of(j);
    for (uint32_t group = 0; group < j->group_count; group++) {
        struct group *g = &j->groups[group];
        for (uint32_t i = 0; g->column.v && i < j->op.grid.count; i++) {
            if (g->column.kind[i] == POINT_NONE || g->matched[i]) {
                continue;
            }
            struct point os = column_point(&g->column, i);
            struct pair pair;
            uint32_t out;
            enum tsdb_status status =
                pair_value(j, (struct point){m->fill_left_value, NULL}, os, &pair);
            if (status != TSDB_OK) {
                return status;
            }
            if (!pair.matched) {
                continue;
            }
            if (!output_of(j, NULL, &j->one->series[g->series ? g->series[i] : g->first].labels,
                           &out)) {
                return exec_nomem(j->op.x);
            }
            status = put_held(j, out, group, i, &pair);
            if (status != TSDB_OK) {
                return status;
            }
        }
    }
    return TSDB_OK;
}

/* The many side is through. At steps where it has nothing, a duplicate on the one side is looked at
 * only if something fills in. */
static enum tsdb_status finish_many(struct op_join *j)
{
    const struct query_matching *m = matching_of(j);
    j->many_done = true;
    for (uint32_t i = 0; (m->fill_left || m->fill_right) && i < j->op.grid.count; i++) {
        if (j->duplicate[i]) {
            return fail_duplicate(j);
        }
    }
    return m->fill_left ? fill_unmatched(j) : TSDB_OK;
}

static enum tsdb_status join_next(struct op *op, struct column *out)
{
    struct op_join *j = (struct op_join *)op;
    const struct output *o = &j->outputs[j->order[op->pos]];
    enum tsdb_status status = TSDB_OK;
    bool streamed = false;
    while (!streamed && j->many->pos < j->many->series_count && status == TSDB_OK) {
        streamed = !o->shared && o->many == j->many->pos;
        status = join_many(j, out);
    }
    bool last = op->pos + 1 == op->series_count;
    if (last && streamed && j->many->pos < j->many->series_count && status == TSDB_OK) {
        status = column_keep_all(op->x, out, op->grid.count); /* before the many side goes on */
    }
    while (last && j->many->pos < j->many->series_count && status == TSDB_OK) {
        status = join_many(j, nowhere(j)); /* feeds nothing; its presence matters for errors */
    }
    if (status == TSDB_OK && !j->many_done && j->many->pos == j->many->series_count) {
        status = finish_many(j);
    }
    if (status == TSDB_OK && o->shared) {
        status = column_copy(op->x, out, &o->held, op->grid.count);
    }
    return status;
}

/* ---- building ---- */

static enum tsdb_status group_sides(struct op_join *j)
{
    struct exec *x = j->op.x;
    const struct query_matching *m = matching_of(j);
    struct label_map map;
    label_map_init(&map, x->arena);
    enum tsdb_status status = binary_group(x, m, &map, j->many, &j->many_group);
    if (status == TSDB_OK) {
        status = binary_group(x, m, &map, j->one, &j->one_group);
    }
    if (status != TSDB_OK) {
        return status;
    }
    j->next_one = TSDB_ARENA_ARRAY(x->arena, uint32_t, TSDB_MAX(j->one->series_count, 1));
    j->group_count = map.count;
    size_t groups = (size_t)map.count + 1; /* and one to throw away into */
    j->groups = TSDB_ARENA_ARRAY(x->arena, struct group, groups);
    if (!j->next_one || !j->groups) {
        return exec_nomem(x);
    }
    memset(j->groups, 0, groups * sizeof *j->groups);
    for (uint32_t i = 0; i < j->many->series_count; i++) {
        j->groups[j->many_group[i]].many_count++;
    }
    return TSDB_OK;
}

static enum tsdb_status alloc_steps(struct op_join *j)
{
    struct exec *x = j->op.x;
    size_t steps = TSDB_MAX(j->op.grid.count, 1);
    j->duplicate = TSDB_ARENA_ARRAY(x->arena, uint8_t, steps);
    if (!j->duplicate) {
        return exec_nomem(x);
    }
    memset(j->duplicate, 0, steps);
    j->duplicate_a = NO_SERIES;
    enum tsdb_status status = column_init(x, &j->scratch, j->op.grid.count);
    return status == TSDB_OK ? column_init(x, nowhere(j), j->op.grid.count) : status;
}

enum tsdb_status op_join_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    struct op_join *j = (struct op_join *)op_new(x, sizeof *j, e, grid, join_next);
    struct tsdb_arena *histograms = exec_scratch(x);
    if (!j || !histograms) {
        return exec_nomem(x);
    }
    j->histograms = histograms;
    j->swapped = e->u.binary.matching.card == CARD_ONE_TO_MANY;
    j->grouped = e->u.binary.matching.card != CARD_ONE_TO_ONE;
    label_map_init(&j->pairs, x->arena);
    struct op *left;
    struct op *right;
    enum tsdb_status status = exec_build(x, e->u.binary.left, grid, &left);
    if (status == TSDB_OK) {
        status = exec_build(x, e->u.binary.right, grid, &right);
    }
    if (status != TSDB_OK) {
        return status;
    }
    j->many = j->swapped ? right : left;
    j->one = j->swapped ? left : right;
    status = group_sides(j);
    if (status == TSDB_OK) {
        status = alloc_steps(j);
    }
    if (status == TSDB_OK) {
        status = groups_fill(j);
    }
    if (status == TSDB_OK) {
        status = plan_outputs(j);
    }
    if (status == TSDB_OK) {
        status = order_outputs(j);
    }
    if (status == TSDB_OK) {
        status = plan_matched(j);
    }
    while (status == TSDB_OK && j->output_count == 0 && j->many->pos < j->many->series_count) {
        status = join_many(j, nowhere(j)); /* nobody will ask, but an error may be due */
    }
    if (status == TSDB_OK && j->output_count == 0) {
        status = finish_many(j);
    }
    *out = &j->op;
    return status;
}
