/* info(v): the labels of info series ("target_info") put on the series that share their job and
 * instance.
 *
 * Which info series is the newest changes with time, and so do the labels: one input series may
 * come out as several, one after the other. Labels must be known before the first value, so all is
 * worked out while it is built: the input is held, and the info series become, per step, the number
 * of the newest one in each group. */
#include "query/eval/operators.h"

#include "index/match/matcher.h"
#include "query/eval/select.h"

#include <stdlib.h>

#define NO_SERIES UINT32_MAX
#define NO_OUTPUT UINT32_MAX

static const struct query_str identifying[] = {{"instance", 8}, {"job", 3}};
#define IDENTIFYING_COUNT (sizeof identifying / sizeof identifying[0])
#define IDENTIFYING_NAMES ((struct query_names){identifying, IDENTIFYING_COUNT})

/* The info series of one metric with the same identifying labels. */
struct info_group {
    uint32_t *newest; /* per step: an info series, or NO_SERIES */
    uint32_t next;    /* group of another metric with these labels, or NO_SERIES */
};

struct info_output {
    struct op_series series;
    struct column column;
};

struct op_info {
    struct op op;
    struct op *base, *info;
    struct column *base_columns, *info_columns;
    bool *ignored; /* per base series: is one of the info series itself, and passes as it is */
    uint8_t *any;  /* per step: a base series has a sample there */

    struct tsdb_matcher *name_matchers; /* what the info metric's name must match */
    uint32_t name_count;
    struct tsdb_matcher *data_matchers; /* the selector's others */
    uint32_t data_count;
    bool empty_will_do; /* no data matcher refuses the empty value */

    struct label_map identities; /* job and instance */
    uint32_t *identity_groups;   /* per identity: its first group, or NO_SERIES */
    uint32_t identity_cap;
    struct label_map metrics; /* name, job and instance */
    struct info_group *groups;
    uint32_t group_cap;

    struct label_map labels; /* of outputs */
    struct info_output *outputs;
    uint32_t output_cap;
};

static bool is_name(const struct tsdb_matcher *m)
{
    return tsdb_str_compare(m->name, m->name_len, TSDB_METRIC_NAME, strlen(TSDB_METRIC_NAME)) == 0;
}

static struct tsdb_matcher name_matcher(enum tsdb_match_op op, const char *value)
{
    return (struct tsdb_matcher){op, TSDB_METRIC_NAME, value, (uint32_t)strlen(TSDB_METRIC_NAME),
                                 (uint32_t)strlen(value)};
}

/* ---- matchers ---- */

/* The selector's matchers taken apart. Without one that says which names there are, it is the names
 * that end in "_info"; without any, target_info. */
static enum tsdb_status split_matchers(struct op_info *o)
{
    struct exec *x = o->op.x;
    const struct query_expr *e = o->op.expr;
    const struct query_expr *s =
        e->u.call.arg_count > 1 ? query_expr_unwrap(e->u.call.args[1]) : NULL;
    uint32_t count = s ? s->u.vector.matcher_count : 0;
    o->name_matchers = TSDB_ARENA_ARRAY(x->arena, struct tsdb_matcher, (size_t)count + 1);
    o->data_matchers = TSDB_ARENA_ARRAY(x->arena, struct tsdb_matcher, (size_t)count + 1);
    if (!o->name_matchers || !o->data_matchers) {
        return exec_nomem(x);
    }
    bool positive = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct tsdb_matcher *m = &s->u.vector.matchers[i];
        if (is_name(m)) {
            positive |= m->op == TSDB_MATCH_EQ || m->op == TSDB_MATCH_RE;
            o->name_matchers[o->name_count++] = *m;
        } else {
            o->data_matchers[o->data_count++] = *m;
        }
    }
    if (!positive) {
        o->name_matchers[o->name_count] = o->name_count > 0
                                              ? name_matcher(TSDB_MATCH_RE, ".+_info")
                                              : name_matcher(TSDB_MATCH_EQ, "target_info");
        o->name_count++;
    }
    return TSDB_OK;
}

/* Clears ignored[i] unless the value `name` of base series i matches too. */
static enum tsdb_status match_names(struct op_info *o, const struct tsdb_matcher *m)
{
    struct index_matcher *compiled = NULL;
    enum tsdb_status status =
        index_matcher_compile_in(m, &o->op.x->regexes, &compiled, o->op.x->err);
    for (uint32_t i = 0; i < o->base->series_count && status == TSDB_OK; i++) {
        status = exec_poll(o->op.x);
        struct query_str name = labels_metric_name(&o->base->series[i].labels);
        o->ignored[i] = o->ignored[i] && index_matcher_matches(compiled, name.data, name.len);
    }
    index_matcher_destroy(compiled);
    return status;
}

static enum tsdb_status apply_matchers(struct op_info *o)
{
    struct exec *x = o->op.x;
    uint32_t count = o->base->series_count;
    o->ignored = TSDB_ARENA_ARRAY(x->arena, bool, TSDB_MAX(count, 1));
    if (!o->ignored) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < count; i++) {
        o->ignored[i] = true;
    }
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < o->name_count && status == TSDB_OK; i++) {
        status = match_names(o, &o->name_matchers[i]);
    }
    o->empty_will_do = true;
    for (uint32_t i = 0; i < o->data_count && status == TSDB_OK; i++) {
        struct index_matcher *m = NULL;
        status = index_matcher_compile_in(&o->data_matchers[i], &x->regexes, &m, x->err);
        if (status == TSDB_OK) {
            o->empty_will_do = o->empty_will_do && index_matcher_matches_empty(m);
            index_matcher_destroy(m);
        }
    }
    return status;
}

/* ---- which info series ---- */

/* v as a pattern that matches only itself. */
static void put_quoted(struct tsdb_buf *b, struct query_str v)
{
    for (uint32_t i = 0; i < v.len; i++) {
        if (v.data[i] != '\0' && strchr("\\.+*?()|[]{}^$", v.data[i])) {
            tsdb_buf_put_u8(b, '\\');
        }
        tsdb_buf_put_u8(b, (uint8_t)v.data[i]);
    }
}

/* name=~"a|b|c": the values that the base series with samples have. *out->value NULL: none. */
static enum tsdb_status values_matcher(struct op_info *o, struct query_str name,
                                       struct tsdb_matcher *out)
{
    struct exec *x = o->op.x;
    struct query_names one = {&name, 1};
    struct label_key key = {.only = true, .names = one};
    struct label_map seen;
    struct tsdb_buf b;
    uint32_t id;
    bool is_new = true;
    bool ok = true;
    label_map_init(&seen, x->arena);
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < o->base->series_count && status == TSDB_OK && ok; i++) {
        const struct tsdb_labels *labels = &o->base->series[i].labels;
        struct query_str v = labels_value(labels, name.data, name.len);
        status = exec_poll(x);
        if (o->ignored[i] || !o->base_columns[i].v || v.len == 0) {
            continue;
        }
        ok = label_map_put(&seen, labels, &key, &id, &is_new);
        if (ok && is_new) {
            tsdb_buf_put_str(&b, b.len > 0 ? "|" : "");
            put_quoted(&b, v);
        }
    }
    const char *pattern = NULL;
    if (ok && !b.failed && b.len > 0) {
        pattern = tsdb_arena_strndup(x->arena, (const char *)b.data, b.len);
    }
    if (status == TSDB_OK && (!ok || b.failed || (b.len > 0 && !pattern) || b.len > UINT32_MAX)) {
        status = exec_nomem(x);
    }
    *out = (struct tsdb_matcher){TSDB_MATCH_RE, name.data, pattern, name.len, (uint32_t)b.len};
    tsdb_buf_deinit(&b);
    return status;
}

/* The info series that share a value with a base series, as an operator that gives the times of
 * their samples; o->info stays NULL if there can be none. */
static enum tsdb_status select_info(struct op_info *o)
{
    struct exec *x = o->op.x;
    const struct query_expr *call = o->op.expr;
    uint32_t cap = o->name_count + o->data_count + (uint32_t)IDENTIFYING_COUNT;
    struct tsdb_matcher *matchers = TSDB_ARENA_ARRAY(x->arena, struct tsdb_matcher, cap);
    struct query_expr *s = TSDB_ARENA_NEW(x->arena, struct query_expr);
    if (!matchers || !s) {
        return exec_nomem(x);
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < IDENTIFYING_COUNT; i++) {
        enum tsdb_status status = values_matcher(o, identifying[i], &matchers[n]);
        if (status != TSDB_OK) {
            return status;
        }
        n += matchers[n].value != NULL;
    }
    if (n == 0) {
        return TSDB_OK;
    }
    memcpy(matchers + n, o->data_matchers, o->data_count * sizeof *matchers);
    n += o->data_count;
    memcpy(matchers + n, o->name_matchers, o->name_count * sizeof *matchers);
    n += o->name_count;
    *s = (struct query_expr){.kind = EXPR_VECTOR,
                             .type = QUERY_TYPE_VECTOR,
                             .start = call->start,
                             .end = call->end,
                             .depth = 1,
                             .text = call->text};
    s->u.vector.matchers = matchers;
    s->u.vector.matcher_count = n;
    enum tsdb_status status = exec_info_shift(x, call, &s->u.vector.shift);
    if (status == TSDB_OK) {
        status = op_sample_times_build(x, s, &o->op.grid, &o->info);
    }
    return status == TSDB_OK ? exec_drain(o->info, &o->info_columns) : status;
}

/* ---- groups of info series ---- */

/* The first group of these identifying labels, entered if they are new. */
static bool identity_of(struct op_info *o, const struct tsdb_labels *labels, uint32_t **out)
{
    const struct label_key key = {.only = true, .names = IDENTIFYING_NAMES};
    uint32_t id;
    bool is_new;
    if (!label_map_put(&o->identities, labels, &key, &id, &is_new)) {
        return false;
    }
    if (is_new && id == o->identity_cap) {
        uint32_t *grown = exec_grow(o->op.x, o->identity_groups, id, &o->identity_cap, 64,
                                    sizeof *o->identity_groups);
        if (!grown) {
            return false;
        }
        o->identity_groups = grown;
    }
    if (is_new) {
        o->identity_groups[id] = NO_SERIES;
    }
    *out = &o->identity_groups[id];
    return true;
}

static struct info_group *group_of(struct op_info *o, const struct tsdb_labels *labels)
{
    static const struct query_str names[] = {{"__name__", 8}, {"instance", 8}, {"job", 3}};
    const struct label_key key = {.only = true, .names = {names, 3}};
    struct exec *x = o->op.x;
    uint32_t steps = o->op.grid.count;
    uint32_t *first;
    uint32_t id;
    bool is_new;
    if (!label_map_put(&o->metrics, labels, &key, &id, &is_new)) {
        return NULL;
    }
    if (!is_new) {
        return &o->groups[id];
    }
    if (id == o->group_cap) {
        struct info_group *grown =
            exec_grow(x, o->groups, id, &o->group_cap, 64, sizeof *o->groups);
        if (!grown) {
            return NULL;
        }
        o->groups = grown;
    }
    uint32_t *newest = TSDB_ARENA_ARRAY(x->arena, uint32_t, TSDB_MAX(steps, 1));
    if (!newest || !identity_of(o, labels, &first)) {
        return NULL;
    }
    for (uint32_t i = 0; i < steps; i++) {
        newest[i] = NO_SERIES;
    }
    o->groups[id] = (struct info_group){newest, *first};
    *first = id;
    return &o->groups[id];
}

static enum tsdb_status fail_duplicate(struct op_info *o, uint32_t a, uint32_t b, double t_ms)
{
    struct exec *x = o->op.x;
    struct tsdb_buf text;
    tsdb_buf_init(&text, TSDB_MEM_QUERY, 0);
    tsdb_buf_put_str(&text, "found duplicate series for info metric: existing ");
    labels_print(&o->info->series[a].labels, &text);
    tsdb_buf_printf(&text, " @ %.0f, new ", t_ms);
    labels_print(&o->info->series[b].labels, &text);
    tsdb_buf_printf(&text, " @ %.0f", t_ms);
    tsdb_buf_put_u8(&text, 0);
    enum tsdb_status status =
        text.failed ? exec_nomem(x) : exec_fail(x, TSDB_INVALID, "%s", (const char *)text.data);
    tsdb_buf_deinit(&text);
    return status;
}

static enum tsdb_status group_put(struct op_info *o, uint32_t series)
{
    const struct column *c = &o->info_columns[series];
    struct info_group *g = group_of(o, &o->info->series[series].labels);
    if (!g) {
        return exec_nomem(o->op.x);
    }
    for (uint32_t i = 0; i < o->op.grid.count; i++) {
        if (c->kind[i] == POINT_NONE || !o->any[i]) {
            continue;
        }
        if (c->kind[i] == POINT_HISTOGRAM) {
            return exec_fail(o->op.x, TSDB_INVALID, "info sample should be float");
        }
        uint32_t other = g->newest[i];
        double newest_ms = other != NO_SERIES ? o->info_columns[other].v[i] : 0;
        if (other != NO_SERIES && newest_ms == c->v[i]) {
            return fail_duplicate(o, other, series, newest_ms);
        }
        if (other == NO_SERIES || newest_ms < c->v[i]) {
            g->newest[i] = series;
        }
    }
    return TSDB_OK;
}

static enum tsdb_status group_info(struct op_info *o)
{
    struct exec *x = o->op.x;
    uint32_t steps = o->op.grid.count;
    label_map_init(&o->identities, x->arena);
    label_map_init(&o->metrics, x->arena);
    o->any = TSDB_ARENA_ARRAY(x->arena, uint8_t, TSDB_MAX(steps, 1));
    if (!o->any) {
        return exec_nomem(x);
    }
    memset(o->any, 0, steps);
    for (uint32_t s = 0; s < o->base->series_count; s++) {
        for (uint32_t i = 0; o->base_columns[s].v && i < steps; i++) {
            o->any[i] |= o->base_columns[s].kind[i] != POINT_NONE;
        }
    }
    enum tsdb_status status = TSDB_OK;
    for (uint32_t s = 0; o->info && s < o->info->series_count && status == TSDB_OK; s++) {
        status = exec_poll(x);
        if (status == TSDB_OK && o->info_columns[s].v) {
            status = group_put(o, s);
        }
    }
    return status;
}

/* ---- outputs ---- */

static enum tsdb_status output_of(struct op_info *o, const struct op_series *series, uint32_t *out)
{
    struct exec *x = o->op.x;
    const struct label_key all = LABEL_KEY_ALL;
    bool is_new;
    if (!label_map_put(&o->labels, &series->labels, &all, out, &is_new)) {
        return exec_nomem(x);
    }
    if (!is_new) {
        return TSDB_OK;
    }
    if (*out == o->output_cap) {
        struct info_output *grown =
            exec_grow(x, o->outputs, *out, &o->output_cap, 64, sizeof *o->outputs);
        if (!grown) {
            return exec_nomem(x);
        }
        o->outputs = grown;
    }
    o->outputs[*out].series = *series;
    enum tsdb_status status = exec_hold(x, o->op.grid.count);
    return status == TSDB_OK ? column_init(x, &o->outputs[*out].column, o->op.grid.count) : status;
}

/* May the selector's matchers bring in this label? All do if there are none. */
static bool is_wanted(const struct op_info *o, const struct tsdb_label *l)
{
    for (uint32_t i = 0; i < o->data_count; i++) {
        const struct tsdb_matcher *m = &o->data_matchers[i];
        if (tsdb_str_compare(m->name, m->name_len, l->name, l->name_len) == 0) {
            return true;
        }
    }
    return o->data_count == 0;
}

/* Adds the labels of an info series to `labels`, unless `base` has them; two info series must not
 * disagree. */
static enum tsdb_status add_labels(struct op_info *o, const struct tsdb_labels *base,
                                   const struct tsdb_labels *info, struct tsdb_labels *labels)
{
    struct exec *x = o->op.x;
    for (uint32_t i = 0; i < info->count; i++) {
        const struct tsdb_label *l = &info->items[i];
        if (tsdb_str_compare(l->name, l->name_len, TSDB_METRIC_NAME, strlen(TSDB_METRIC_NAME)) ==
                0 ||
            !is_wanted(o, l) || tsdb_labels_find(base, l->name, l->name_len)) {
            continue;
        }
        const struct tsdb_label *other = tsdb_labels_find(labels, l->name, l->name_len);
        if (other &&
            tsdb_str_compare(other->value, other->value_len, l->value, l->value_len) != 0) {
            return exec_fail(x, TSDB_INVALID, "conflicting label: %.*s", (int)l->name_len, l->name);
        }
        if (!labels_set(x->arena, labels, (struct query_str){l->name, l->name_len},
                        (struct query_str){l->value, l->value_len}, labels)) {
            return exec_nomem(x);
        }
    }
    return TSDB_OK;
}

/* The output that base series `s` feeds at a step; NO_OUTPUT if it is left out there. */
static enum tsdb_status enrich(struct op_info *o, uint32_t s, uint32_t first_group, uint32_t step,
                               uint32_t *out)
{
    struct op_series series = o->base->series[s];
    bool any = false;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t g = first_group; g != NO_SERIES && status == TSDB_OK; g = o->groups[g].next) {
        uint32_t info = o->groups[g].newest[step];
        if (info != NO_SERIES) {
            any = true;
            status = add_labels(o, &o->base->series[s].labels, &o->info->series[info].labels,
                                &series.labels);
        }
    }
    if (status == TSDB_OK && !any && !o->empty_will_do) {
        *out = NO_OUTPUT;
        return TSDB_OK;
    }
    return status == TSDB_OK ? output_of(o, &series, out) : status;
}

/* Do the same info series apply at both steps? */
static bool same_info(const struct op_info *o, uint32_t first_group, uint32_t a, uint32_t b)
{
    for (uint32_t g = first_group; g != NO_SERIES; g = o->groups[g].next) {
        if (o->groups[g].newest[a] != o->groups[g].newest[b]) {
            return false;
        }
    }
    return true;
}

static enum tsdb_status put_series(struct op_info *o, uint32_t s)
{
    struct exec *x = o->op.x;
    uint32_t steps = o->op.grid.count;
    const struct column *c = &o->base_columns[s];
    uint32_t *first = NULL;
    if (!o->ignored[s] && !identity_of(o, &o->base->series[s].labels, &first)) {
        return exec_nomem(x);
    }
    uint32_t first_group = first ? *first : NO_SERIES;
    uint32_t output = NO_OUTPUT;
    uint32_t last = NO_SERIES; /* the step that `output` was worked out for */
    for (uint32_t i = 0; i < steps; i++) {
        enum tsdb_status status = TSDB_OK;
        if (c->kind[i] == POINT_NONE) {
            continue;
        }
        if (last == NO_SERIES || !same_info(o, first_group, last, i)) {
            status = o->ignored[s] ? output_of(o, &o->base->series[s], &output)
                                   : enrich(o, s, first_group, i, &output);
            last = i;
        }
        if (status == TSDB_OK && output != NO_OUTPUT) {
            struct column *to = &o->outputs[output].column;
            status = to->kind[i] != POINT_NONE
                         ? exec_fail(x, TSDB_INVALID,
                                     "vector cannot contain metrics with the same labelset")
                         : column_put(x, to, steps, i, column_point(c, i));
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

static enum tsdb_status put_all(struct op_info *o)
{
    struct exec *x = o->op.x;
    enum tsdb_status status = TSDB_OK;
    label_map_init(&o->labels, x->arena);
    for (uint32_t s = 0; s < o->base->series_count && status == TSDB_OK; s++) {
        status = exec_poll(x);
        if (status == TSDB_OK && o->base_columns[s].v) {
            status = put_series(o, s);
        }
    }
    uint32_t count = o->labels.count;
    o->op.series = TSDB_ARENA_ARRAY(x->arena, struct op_series, TSDB_MAX(count, 1));
    if (status == TSDB_OK && !o->op.series) {
        status = exec_nomem(x);
    }
    for (uint32_t i = 0; status == TSDB_OK && i < count; i++) {
        o->op.series[i] = o->outputs[i].series;
    }
    o->op.series_count = count;
    return status;
}

static enum tsdb_status info_next(struct op *op, struct column *out)
{
    const struct op_info *o = (const struct op_info *)op;
    return column_copy(op->x, out, &o->outputs[op->pos].column, op->grid.count);
}

enum tsdb_status op_info_build(struct exec *x, const struct query_expr *e, const struct grid *grid,
                               struct op **out)
{
    struct op_info *o = (struct op_info *)op_new(x, sizeof *o, e, grid, info_next);
    if (!o) {
        return exec_nomem(x);
    }
    *out = &o->op;
    enum tsdb_status status = exec_build(x, e->u.call.args[0], grid, &o->base);
    if (status == TSDB_OK) {
        status = exec_drain(o->base, &o->base_columns);
    }
    if (status == TSDB_OK) {
        status = split_matchers(o);
    }
    if (status == TSDB_OK) {
        status = apply_matchers(o);
    }
    if (status == TSDB_OK) {
        status = select_info(o);
    }
    if (status == TSDB_OK) {
        status = group_info(o);
    }
    return status == TSDB_OK ? put_all(o) : status;
}
