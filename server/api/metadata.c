/* /api/v1/metadata and /api/v1/status/tsdb: what is known about metrics, and what there is much of.
 */
#include "base/format.h"
#include "query/json.h"
#include "server/api/args.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STATUS_LIMIT_DEFAULT 10
#define STATUS_LIMIT_MAX     10000
#define ENTRIES_CAP_FIRST    64u

/* A whole number, negative ones too. Absent: *out keeps its default. */
static bool arg_int(struct call *c, const char *name, int64_t *out)
{
    struct tsdb_slice v = params_get(&c->params, name);
    return v.len == 0 || tsdb_parse_i64((const char *)v.data, v.len, out);
}

/* ---- metadata ---- */

struct entries {
    struct tsdb_arena *arena;
    struct tsdb_metadata *items;
    uint32_t count, cap;
    bool failed;
};

static bool copy_text(struct tsdb_arena *arena, struct tsdb_slice *s)
{
    if (s->len > 0) {
        s->data = (const uint8_t *)tsdb_arena_strndup(arena, (const char *)s->data, s->len);
    }
    return s->len == 0 || s->data != NULL;
}

static bool entries_grow(struct entries *e)
{
    uint32_t cap = e->cap ? e->cap * 2 : ENTRIES_CAP_FIRST;
    struct tsdb_metadata *items = TSDB_ARENA_ARRAY(e->arena, struct tsdb_metadata, cap);
    if (!items) {
        return false;
    }
    if (e->count > 0) {
        memcpy(items, e->items, e->count * sizeof items[0]);
    }
    e->items = items;
    e->cap = cap;
    return true;
}

/* Under the table's lock: copy, and nothing else. */
static bool on_metadata(void *arg, const struct tsdb_metadata *m)
{
    struct entries *e = arg;
    struct tsdb_metadata copy = *m;
    e->failed = (e->count == e->cap && !entries_grow(e)) || !copy_text(e->arena, &copy.metric) ||
                !copy_text(e->arena, &copy.help) || !copy_text(e->arena, &copy.unit);
    if (!e->failed) {
        e->items[e->count++] = copy;
    }
    return !e->failed;
}

static int by_metric(const void *a, const void *b)
{
    const struct tsdb_metadata *x = a;
    const struct tsdb_metadata *y = b;
    size_t n = TSDB_MIN(x->metric.len, y->metric.len);
    int order = n > 0 ? memcmp(x->metric.data, y->metric.data, n) : 0;
    return order != 0 ? order : (x->metric.len > y->metric.len) - (x->metric.len < y->metric.len);
}

static void put_text(struct tsdb_buf *out, const char *key, struct tsdb_slice s)
{
    tsdb_buf_put_str(out, key);
    json_string(out, (const char *)s.data, s.len);
}

static void put_metadata(struct tsdb_buf *out, const struct tsdb_metadata *m)
{
    json_string(out, (const char *)m->metric.data, m->metric.len);
    tsdb_buf_printf(out, ":[{\"type\":\"%s\"", tsdb_metric_type_name(m->type));
    put_text(out, ",\"unit\":", m->unit);
    put_text(out, ",\"help\":", m->help);
    tsdb_buf_put_str(out, "}]");
}

static bool visit_metadata(struct call *c, struct entries *e)
{
    struct tsdb_slice metric = params_get(&c->params, "metric");
    if (metric.len == 0) {
        tsdb_metadata_visit(c->server->db, NULL, on_metadata, e);
        return !e->failed;
    }
    const char *name = tsdb_arena_strndup(&c->arena, (const char *)metric.data, metric.len);
    if (name && strlen(name) == metric.len) { /* names hold no NUL */
        tsdb_metadata_visit(c->server->db, name, on_metadata, e);
    }
    return name && !e->failed;
}

void api_metadata(struct call *c)
{
    int64_t limit = -1;
    int64_t per_metric = -1; /* checked, and that is all: a metric has one entry here */
    if (!arg_int(c, "limit", &limit)) {
        call_error(c, ENVELOPE_BAD_DATA, "limit must be a number");
        return;
    }
    if (!arg_int(c, "limit_per_metric", &per_metric)) {
        call_error(c, ENVELOPE_BAD_DATA, "limit_per_metric must be a number");
        return;
    }
    struct entries e = {.arena = &c->arena};
    if (!visit_metadata(c, &e)) {
        call_fail(c, tsdb_arena_status(&c->arena), NULL);
        return;
    }
    if (e.count > 1) {
        qsort(e.items, e.count, sizeof e.items[0], by_metric);
    }
    uint32_t count = limit >= 0 && limit < e.count ? (uint32_t)limit : e.count; /* 0 is none */
    call_success(c);
    tsdb_buf_put_u8(&c->out, '{');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            tsdb_buf_put_u8(&c->out, ',');
        }
        put_metadata(&c->out, &e.items[i]);
    }
    tsdb_buf_put_u8(&c->out, '}');
    envelope_success_end(&c->out, NULL, 0);
}

/* ---- status/tsdb ---- */

/* [{"name":"a","value":3}]; pairs as "a=b". */
static bool put_list(struct call *c, const char *key, const struct tsdb_cardinality_list *l)
{
    struct tsdb_buf *out = &c->out;
    struct tsdb_buf name;
    tsdb_buf_init(&name, TSDB_MEM_SERVER, 0);
    tsdb_buf_printf(out, ",\"%s\":[", key);
    for (uint32_t i = 0; i < l->count; i++) {
        const struct tsdb_cardinality_item *item = &l->items[i];
        tsdb_buf_clear(&name);
        tsdb_buf_put(&name, item->name.data, item->name.len);
        if (item->value.len > 0) {
            tsdb_buf_put_u8(&name, '=');
            tsdb_buf_put(&name, item->value.data, item->value.len);
        }
        put_text(out,
                 i > 0 ? ",{\"name\":" : "{\"name\":", (struct tsdb_slice){name.data, name.len});
        tsdb_buf_printf(out, ",\"value\":%" PRIu64 "}", item->count);
    }
    tsdb_buf_put_u8(out, ']');
    bool ok = !name.failed;
    tsdb_buf_deinit(&name);
    return ok;
}

static void put_cardinality(struct call *c, const struct tsdb_cardinality *k)
{
    struct tsdb_stats st;
    tsdb_stats_read(c->server->db, &st);
    call_success(c);
    tsdb_buf_printf(&c->out,
                    "{\"headStats\":{\"numSeries\":%" PRIu64 ",\"numLabelPairs\":%" PRIu64
                    ",\"chunkCount\":%" PRIu64 ",\"minTime\":%" PRId64 ",\"maxTime\":%" PRId64 "}",
                    st.series, k->label_pairs, st.chunks, st.min_time_ms, st.max_time_ms);
    bool ok = put_list(c, "seriesCountByMetricName", &k->metric_series) &&
              put_list(c, "labelValueCountByLabelName", &k->name_values) &&
              put_list(c, "memoryInBytesByLabelName", &k->name_bytes) &&
              put_list(c, "seriesCountByLabelValuePair", &k->pair_series);
    tsdb_buf_put_u8(&c->out, '}');
    envelope_success_end(&c->out, NULL, 0);
    if (!ok) {
        call_fail(c, TSDB_NOMEM, NULL);
    }
}

void api_status_tsdb(struct call *c)
{
    int64_t limit = STATUS_LIMIT_DEFAULT;
    if (!arg_int(c, "limit", &limit) || limit < 1) {
        call_error(c, ENVELOPE_BAD_DATA, "limit must be a positive number");
        return;
    }
    if (limit > STATUS_LIMIT_MAX) {
        call_error(c, ENVELOPE_BAD_DATA, "limit must not exceed %d", STATUS_LIMIT_MAX);
        return;
    }
    struct tsdb_cardinality k;
    struct tsdb_error err = {0};
    enum tsdb_status status =
        tsdb_cardinality_read(c->server->db, &c->request, (uint32_t)limit, &c->arena, &k, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
    } else {
        put_cardinality(c, &k);
    }
}
