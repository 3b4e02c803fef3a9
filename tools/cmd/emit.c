#include "tools/cmd/emit.h"

#include "base/format.h"
#include "query/json.h"

#include <inttypes.h>

enum tsdb_status tool_emit_begin(struct tool_emit *e, const struct tool *t, struct tsdb_error *err)
{
    *e = (struct tool_emit){.format = t->options.format, .bits = t->options.bits};
    tsdb_buf_init(&e->buf, TSDB_MEM_OTHER, 0);
    if (e->format == TOOL_FORMAT_TABLE) {
        e->format = TOOL_FORMAT_JSONL;
    }
    if (e->format == TOOL_FORMAT_JSON || e->format == TOOL_FORMAT_PLOT ||
        (e->bits && e->format == TOOL_FORMAT_OPENMETRICS)) {
        return tsdb_error_set(err, TSDB_INVALID,
                              e->bits ? "--bits goes with jsonl and csv"
                                      : "--format: expected openmetrics, csv or jsonl");
    }
    if (e->format == TOOL_FORMAT_CSV) {
        tsdb_buf_put_str(&e->buf, "series,time_ms,value\n");
    }
    return TSDB_OK;
}

void tool_emit_deinit(struct tool_emit *e)
{
    tsdb_buf_deinit(&e->buf);
}

/* ---- names ---- */
/* May the name stand bare? Else it is quoted, as OpenMetrics 2 and Prometheus 3 do. */
static bool is_plain(const char *s, size_t len, bool colon)
{
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(colon && c == ':') && !(i > 0 && c >= '0' && c <= '9')) {
            return false;
        }
    }
    return len > 0;
}

static void put_quoted(struct tsdb_buf *b, const char *s, size_t len)
{
    tsdb_buf_put_u8(b, '"');
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '\n') {
            tsdb_buf_put_str(b, "\\n");
        } else {
            if (s[i] == '"' || s[i] == '\\') {
                tsdb_buf_put_u8(b, '\\');
            }
            tsdb_buf_put_u8(b, (uint8_t)s[i]);
        }
    }
    tsdb_buf_put_u8(b, '"');
}

static void put_metric(struct tsdb_buf *b, const struct tsdb_labels *labels)
{
    const struct tsdb_label *name =
        tsdb_labels_find(labels, TSDB_METRIC_NAME, strlen(TSDB_METRIC_NAME));
    bool bare = name && is_plain(name->value, name->value_len, true);
    const char *before = "{";
    if (bare) {
        tsdb_buf_put(b, name->value, name->value_len);
    } else if (name) {
        tsdb_buf_put_str(b, before);
        put_quoted(b, name->value, name->value_len);
        before = ",";
    }
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        if (l == name) {
            continue;
        }
        tsdb_buf_put_str(b, before);
        if (is_plain(l->name, l->name_len, false)) {
            tsdb_buf_put(b, l->name, l->name_len);
        } else {
            put_quoted(b, l->name, l->name_len);
        }
        tsdb_buf_put_u8(b, '=');
        put_quoted(b, l->value, l->value_len);
        before = ",";
    }
    if (before[0] == ',' || !name) {
        tsdb_buf_put_str(b, before[0] == ',' ? "}" : "{}");
    }
}

/* ---- values ---- */
static bool is_float(const struct tsdb_columns *c, uint32_t i)
{
    return !c->kind || c->kind[i] == TSDB_SAMPLE_FLOAT;
}

static void put_raw_histogram(struct tsdb_buf *b, const struct tsdb_histogram *h)
{
    struct tsdb_buf raw;
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    uint8_t *p = tsdb_buf_reserve(&raw, tsdb_histogram_encoded_bytes_max(h));
    size_t len = p ? tsdb_histogram_encode(h, p) : 0;
    b->failed = b->failed || !p;
    for (size_t i = 0; i < len; i++) {
        tsdb_buf_printf(b, "%02x", p[i]);
    }
    tsdb_buf_deinit(&raw);
}

static void put_value(struct tool_emit *e, const struct tsdb_columns *c, uint32_t i)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    struct tsdb_buf *b = &e->buf;
    if (is_float(c, i) && e->bits) {
        tsdb_buf_printf(b, "%016" PRIx64, c->bits[i]);
    } else if (is_float(c, i)) {
        tsdb_format_float_go_g(text, tsdb_bits_double(c->bits[i]));
        tsdb_buf_put_str(b, text);
    } else if (e->bits) {
        put_raw_histogram(b, &c->histograms[c->bits[i]]);
    } else {
        json_histogram(b, &c->histograms[c->bits[i]]);
    }
}

/* ---- lines ---- */
static void openmetrics_line(struct tool_emit *e, const struct tsdb_labels *labels,
                             const struct tsdb_columns *c, uint32_t i)
{
    char text[32];
    if (!is_float(c, i)) {
        e->histograms_left_out++;
        return;
    }
    double v = tsdb_bits_double(c->bits[i]);
    e->nans_changed += v != v && c->bits[i] != TSDB_NORMAL_NAN_BITS;
    put_metric(&e->buf, labels);
    tsdb_buf_put_u8(&e->buf, ' ');
    put_value(e, c, i);
    tsdb_format_timestamp_ms(text, c->t_ms[i]);
    tsdb_buf_printf(&e->buf, " %s\n", text);
}

/* A field in quotes, quotes in it doubled. */
static void csv_field(struct tsdb_buf *b, const uint8_t *s, size_t len)
{
    tsdb_buf_put_u8(b, '"');
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '"') {
            tsdb_buf_put_u8(b, '"');
        }
        tsdb_buf_put_u8(b, s[i]);
    }
    tsdb_buf_put_u8(b, '"');
}

static void csv_line(struct tool_emit *e, const struct tsdb_buf *metric,
                     const struct tsdb_columns *c, uint32_t i)
{
    csv_field(&e->buf, metric->data, metric->len);
    tsdb_buf_printf(&e->buf, ",%" PRId64 ",", c->t_ms[i]);
    if (is_float(c, i) || e->bits) {
        put_value(e, c, i);
    } else {
        struct tsdb_buf h;
        tsdb_buf_init(&h, TSDB_MEM_OTHER, 0);
        json_histogram(&h, &c->histograms[c->bits[i]]);
        csv_field(&e->buf, h.data, h.len);
        e->buf.failed = e->buf.failed || h.failed;
        tsdb_buf_deinit(&h);
    }
    tsdb_buf_put_u8(&e->buf, '\n');
}

static void jsonl_sample(struct tool_emit *e, const struct tsdb_labels *labels,
                         const struct tsdb_columns *c, uint32_t i)
{
    struct tsdb_buf *b = &e->buf;
    bool first = i % TOOL_EMIT_SAMPLES == 0;
    if (first) {
        tsdb_buf_put_str(b, "{\"metric\":");
        json_labels(b, labels);
        tsdb_buf_put_str(b, ",\"samples\":[");
    }
    bool quoted = is_float(c, i) || e->bits;
    tsdb_buf_printf(b, "%s[%" PRId64 ",%s", first ? "" : ",", c->t_ms[i], quoted ? "\"" : "");
    put_value(e, c, i);
    tsdb_buf_put_str(b, quoted ? "\"]" : "]");
    if (i + 1 == c->count || (i + 1) % TOOL_EMIT_SAMPLES == 0) {
        tsdb_buf_put_str(b, "]}\n");
    }
}

enum tsdb_status tool_emit_series(struct tool_emit *e, const struct tsdb_labels *labels,
                                  const struct tsdb_columns *c, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    struct tsdb_buf metric;
    tsdb_buf_init(&metric, TSDB_MEM_OTHER, 0);
    put_metric(&metric, labels);
    for (uint32_t i = 0; i < c->count && status == TSDB_OK; i++) {
        if (e->format == TOOL_FORMAT_OPENMETRICS) {
            openmetrics_line(e, labels, c, i);
        } else if (e->format == TOOL_FORMAT_CSV) {
            csv_line(e, &metric, c, i);
        } else {
            jsonl_sample(e, labels, c, i);
        }
        if (i % TOOL_EMIT_SAMPLES == TOOL_EMIT_SAMPLES - 1 || i + 1 == c->count) {
            status = tool_put(&e->buf, err);
        }
    }
    if (metric.failed && status == TSDB_OK) {
        status = tsdb_error_nomem(err, "the name of a series");
    }
    tsdb_buf_deinit(&metric);
    e->series += c->count > 0;
    e->samples += c->count;
    return status;
}

enum tsdb_status tool_emit_end(struct tool_emit *e, struct tsdb_error *err)
{
    if (e->format == TOOL_FORMAT_OPENMETRICS) {
        tsdb_buf_put_str(&e->buf, "# EOF\n");
    }
    if (e->histograms_left_out > 0) {
        tool_say("left out: %" PRIu64
                 " native histogram samples, for which OpenMetrics has no form",
                 e->histograms_left_out);
    }
    if (e->nans_changed > 0) {
        tool_say("written as plain NaN: %" PRIu64 " stale markers and other NaNs", e->nans_changed);
    }
    return tool_put(&e->buf, err);
}
