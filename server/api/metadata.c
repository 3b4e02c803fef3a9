/* /api/v1/metadata: what is known about metrics. */
#include "base/format.h"
#include "query/json.h"
#include "server/api/args.h"
#include "server/api/handlers.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES_CAP_FIRST 64u

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

/* first_seen: not in Prometheus, so only for those who ask. */
static void put_metadata(struct tsdb_buf *out, const struct tsdb_metadata *m, bool first_seen)
{
    json_string(out, (const char *)m->metric.data, m->metric.len);
    tsdb_buf_printf(out, ":[{\"type\":\"%s\"", tsdb_metric_type_name(m->type));
    put_text(out, ",\"unit\":", m->unit);
    put_text(out, ",\"help\":", m->help);
    if (first_seen) {
        tsdb_buf_put_str(out, ",\"firstSeen\":");
        json_timestamp(out, m->first_seen_ms);
    }
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
    if (!api_arg_int(c, "limit", &limit)) {
        call_error(c, ENVELOPE_BAD_DATA, "limit must be a number");
        return;
    }
    if (!api_arg_int(c, "limit_per_metric", &per_metric)) {
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
    struct tsdb_slice wanted = params_get(&c->params, "first_seen");
    bool first_seen = wanted.len == 4 && memcmp(wanted.data, "true", 4) == 0;
    call_success(c);
    tsdb_buf_put_u8(&c->out, '{');
    for (uint32_t i = 0; i < count; i++) {
        envelope_comma(&c->out, i);
        put_metadata(&c->out, &e.items[i], first_seen);
    }
    tsdb_buf_put_u8(&c->out, '}');
    envelope_success_end(&c->out, NULL, 0);
}
