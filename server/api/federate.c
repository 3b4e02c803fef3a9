/* GET /federate: the newest sample of every series that is asked for, as a page that another
 * Prometheus scrapes. The text format only: it has no native histograms, so those are left out, as
 * Prometheus does for who does not ask for protobuf. */
#include "base/format.h"
#include "server/api/args.h"
#include "server/api/handlers.h"
#include "server/api/raw.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SCRATCH_BYTES (64u << 10)
#define INSTANCE      "instance"

struct federated {
    struct tsdb_labels labels;
    struct tsdb_slice name;
    int64_t t_ms;
    uint64_t bits;
};

static bool is_legacy(uint8_t c, bool first)
{
    return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c == ':' ||
           (!first && c >= '0' && c <= '9');
}

static bool name_is_legacy(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!is_legacy((uint8_t)s[i], i == 0)) {
            return false;
        }
    }
    return len > 0;
}

static void put_escaped(struct tsdb_buf *out, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '\n') {
            tsdb_buf_put_str(out, "\\n");
            continue;
        }
        if (s[i] == '\\' || s[i] == '"') {
            tsdb_buf_put_u8(out, '\\');
        }
        tsdb_buf_put_u8(out, (uint8_t)s[i]);
    }
}

/* A name of a metric or label: as it is; or quoted where the reader knows that, else every
 * character that the text format had no place for is a '_'. */
static void put_name(struct tsdb_buf *out, const char *s, size_t len, bool utf8)
{
    if (name_is_legacy(s, len)) {
        tsdb_buf_put(out, s, len);
        return;
    }
    if (utf8) {
        tsdb_buf_put_u8(out, '"');
        put_escaped(out, s, len);
        tsdb_buf_put_u8(out, '"');
        return;
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)s[i];
        if ((c & 0xc0) != 0x80) { /* one for each code point */
            tsdb_buf_put_u8(out, is_legacy(c, i == 0) ? c : '_');
        }
    }
}

static void put_label(struct tsdb_buf *out, const struct tsdb_label *l, bool utf8, bool *any)
{
    tsdb_buf_put_u8(out, *any ? ',' : '{');
    *any = true;
    put_name(out, l->name, l->name_len, utf8);
    tsdb_buf_put_str(out, "=\"");
    put_escaped(out, l->value, l->value_len);
    tsdb_buf_put_u8(out, '"');
}

static void put_sample(struct tsdb_buf *out, const struct federated *f,
                       const struct tsdb_labels *external, bool utf8)
{
    static const size_t metric_name = sizeof TSDB_METRIC_NAME - 1;
    bool quoted = utf8 && !name_is_legacy((const char *)f->name.data, f->name.len);
    bool any = quoted;
    if (quoted) {
        tsdb_buf_put_u8(out, '{');
    }
    put_name(out, (const char *)f->name.data, f->name.len, utf8);
    for (uint32_t i = 0; i < f->labels.count; i++) {
        const struct tsdb_label *l = &f->labels.items[i];
        if (l->name_len != metric_name || memcmp(l->name, TSDB_METRIC_NAME, metric_name) != 0) {
            put_label(out, l, utf8, &any);
        }
    }
    for (uint32_t i = 0; i < external->count; i++) {
        const struct tsdb_label *l = &external->items[i];
        if (!tsdb_labels_find(&f->labels, l->name, l->name_len)) {
            put_label(out, l, utf8, &any);
        }
    }
    char value[TSDB_FORMAT_FLOAT_MAX];
    char time[TSDB_FORMAT_FLOAT_MAX];
    tsdb_format_float_go_g(value, tsdb_bits_double(f->bits));
    tsdb_format_i64(time, f->t_ms);
    tsdb_buf_printf(out, "%s %s %s\n", any ? "}" : "", value, time);
}

static bool same_name(const struct federated *a, const struct federated *b)
{
    return tsdb_str_compare((const char *)a->name.data, a->name.len, (const char *)b->name.data,
                            b->name.len) == 0;
}

static void put_all(struct tsdb_buf *out, const struct federated *list, uint32_t count,
                    const struct tsdb_labels *external, bool utf8)
{
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || !same_name(&list[i - 1], &list[i])) {
            tsdb_buf_put_str(out, "# TYPE ");
            put_name(out, (const char *)list[i].name.data, list[i].name.len, utf8);
            tsdb_buf_put_str(out, " untyped\n");
        }
        put_sample(out, &list[i], external, utf8);
    }
}

static int by_name(const void *a, const void *b)
{
    const struct federated *x = a;
    const struct federated *y = b;
    int order = tsdb_str_compare((const char *)x->name.data, x->name.len,
                                 (const char *)y->name.data, y->name.len);
    return order != 0 ? order : tsdb_labels_compare(&x->labels, &y->labels);
}

/* The newest sample of a series, if it is one that can be told. */
static enum tsdb_status newest(struct tsdb_querier *q, const struct raw_series *s,
                               struct tsdb_time_range range, struct tsdb_arena *scratch,
                               struct federated *out, bool *out_told, struct tsdb_error *err)
{
    struct tsdb_columns columns;
    const struct tsdb_label *name =
        tsdb_labels_find(&s->labels, TSDB_METRIC_NAME, sizeof TSDB_METRIC_NAME - 1);
    *out_told = false;
    if (!name) {
        return TSDB_OK;
    }
    tsdb_arena_reset(scratch);
    enum tsdb_status status = tsdb_series_read(q, s->ref, range, scratch, &columns, err);
    if (status != TSDB_OK || columns.count == 0) {
        return status;
    }
    uint32_t last = columns.count - 1;
    bool is_float = !columns.kind || columns.kind[last] == TSDB_SAMPLE_FLOAT;
    *out_told = is_float && !tsdb_is_stale_bits(columns.bits[last]);
    *out = (struct federated){.labels = s->labels,
                              .name = {(const uint8_t *)name->value, name->value_len},
                              .t_ms = columns.t_ms[last],
                              .bits = is_float ? columns.bits[last] : 0};
    return TSDB_OK;
}

static enum tsdb_status read_newest(struct call *c, struct tsdb_querier *q,
                                    struct tsdb_time_range range, const struct raw_series *series,
                                    uint32_t count, struct federated **out, uint32_t *out_count,
                                    struct tsdb_error *err)
{
    struct tsdb_arena scratch;
    struct federated *list = TSDB_ARENA_ARRAY(&c->arena, struct federated, TSDB_MAX(count, 1u));
    enum tsdb_status status = list ? TSDB_OK : tsdb_arena_status(&c->arena);
    uint32_t n = 0;
    tsdb_arena_init(&scratch, TSDB_MEM_QUERY, SCRATCH_BYTES, &c->request.account);
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        bool told = false;
        status = tsdb_request_check(&c->request);
        if (status == TSDB_OK) {
            status = newest(q, &series[i], range, &scratch, &list[n], &told, err);
        }
        n += told;
    }
    tsdb_arena_deinit(&scratch);
    if (status == TSDB_OK && n > 1) {
        qsort(list, n, sizeof *list, by_name);
    }
    *out = list;
    *out_count = n;
    return status;
}

/* External labels, and an empty `instance` where there is none: so that the scraper does not put its
 * own in its place. */
static enum tsdb_status labels_to_add(struct call *c, struct tsdb_labels *out)
{
    struct tsdb_labels external;
    enum tsdb_status status = raw_external_labels(c, &external);
    if (status != TSDB_OK || tsdb_labels_find(&external, INSTANCE, sizeof INSTANCE - 1)) {
        *out = external;
        return status;
    }
    struct tsdb_label *items = TSDB_ARENA_ARRAY(&c->arena, struct tsdb_label, external.count + 1);
    if (!items) {
        return tsdb_arena_status(&c->arena);
    }
    uint32_t n = 0;
    const struct tsdb_label instance = tsdb_label_make(INSTANCE, "");
    bool placed = false;
    for (uint32_t i = 0; i < external.count; i++) {
        const struct tsdb_label *l = &external.items[i];
        if (!placed && tsdb_str_compare(l->name, l->name_len, INSTANCE, sizeof INSTANCE - 1) > 0) {
            items[n++] = instance;
            placed = true;
        }
        items[n++] = *l;
    }
    if (!placed) {
        items[n++] = instance;
    }
    *out = (struct tsdb_labels){items, n};
    return TSDB_OK;
}

static enum tsdb_status federate(struct call *c, const struct tsdb_selector *selectors,
                                 uint32_t selector_count, struct tsdb_error *err)
{
    struct server *s = c->server;
    int64_t now_ms = tsdb_clock_wall_ms(&s->clock);
    struct tsdb_time_range range = {now_ms - s->options.lookback_ms, now_ms};
    struct tsdb_querier *q = NULL;
    struct raw_series *series = NULL;
    struct federated *list = NULL;
    struct tsdb_labels external = {0};
    uint32_t count = 0;
    enum tsdb_status status = labels_to_add(c, &external);
    if (status == TSDB_OK) {
        status = tsdb_querier_open(s->db, &c->request, range, &q, err);
    }
    if (status == TSDB_OK) {
        status = raw_select(c, q, selectors, selector_count, &series, &count, err);
    }
    if (status == TSDB_OK) {
        status = read_newest(c, q, range, series, count, &list, &count, err);
    }
    if (status == TSDB_OK) {
        call_ok(c, c->utf8_names
                       ? "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8"
                       : "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
        put_all(&c->out, list, count, &external, c->utf8_names);
    }
    tsdb_querier_close(q);
    return status;
}

void page_federate(struct call *c)
{
    struct tsdb_error err = {0};
    struct tsdb_selector *selectors = NULL;
    uint32_t count = 0;
    /* Other than the API, it takes a selector that matches everything. */
    if (!api_arg_selectors(c, false, &selectors, &count)) {
        return;
    }
    enum tsdb_status status = federate(c, selectors, count, &err);
    if (status != TSDB_OK) {
        raw_fail(c, status, &err);
    }
}
