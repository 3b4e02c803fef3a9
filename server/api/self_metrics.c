/* /api/v1/status/self_metrics: our own metrics as JSON, in the shape that protobuf's JSON form gives
 * io.prometheus.client.MetricFamily: 64-bit counts are texts, what is no number is a word. */
#include "base/format.h"
#include "index/match/regex.h"
#include "query/json.h"
#include "server/api/args.h"
#include "server/api/handlers.h"
#include "server/parts/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct families {
    struct tsdb_buf *out;
    struct index_regex *pattern; /* NULL: all */
    char family[96];             /* that is open; "": none */
    bool shown;                  /* it matches the pattern */
    uint32_t family_count;
    uint32_t metric_count;   /* of the open family */
    struct tsdb_buf buckets; /* of the histogram that is being told */
    double sum;
};

static void put_double(struct tsdb_buf *out, double v)
{
    char text[TSDB_FORMAT_FLOAT_MAX];
    if (isnan(v) || isinf(v)) {
        tsdb_buf_put_str(out, isnan(v) ? "\"NaN\"" : v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
        return;
    }
    tsdb_format_float_json(text, v);
    tsdb_buf_put_str(out, text);
}

static void close_family(struct families *f)
{
    if (f->family[0] && f->shown) {
        tsdb_buf_put_str(f->out, "]}");
    }
}

static void open_family(struct families *f, const struct metric_sample *m)
{
    close_family(f);
    snprintf(f->family, sizeof f->family, "%s", m->family);
    f->shown = !f->pattern || index_regex_match(f->pattern, m->family, strlen(m->family));
    f->metric_count = 0;
    if (!f->shown) {
        return;
    }
    envelope_comma(f->out, f->family_count++);
    tsdb_buf_put_str(f->out, "{\"name\":");
    json_string(f->out, m->family, strlen(m->family));
    tsdb_buf_put_str(f->out, ",\"help\":");
    json_string(f->out, m->help, strlen(m->help));
    tsdb_buf_printf(f->out, ",\"type\":\"%s\",\"metric\":[",
                    m->type == TSDB_METRIC_COUNTER     ? "COUNTER"
                    : m->type == TSDB_METRIC_GAUGE     ? "GAUGE"
                    : m->type == TSDB_METRIC_HISTOGRAM ? "HISTOGRAM"
                                                       : "UNTYPED");
}

static bool is_le(const struct tsdb_label *l)
{
    return l->name_len == 2 && memcmp(l->name, "le", 2) == 0;
}

static void put_labels(struct families *f, const struct metric_sample *m)
{
    uint32_t n = 0;
    envelope_comma(f->out, f->metric_count++);
    tsdb_buf_put_str(f->out, "{\"label\":[");
    for (uint32_t i = 0; i < m->labels.count; i++) {
        const struct tsdb_label *l = &m->labels.items[i];
        if (!is_le(l)) {
            envelope_comma(f->out, n++);
            tsdb_buf_put_str(f->out, "{\"name\":");
            json_string(f->out, l->name, l->name_len);
            tsdb_buf_put_str(f->out, ",\"value\":");
            json_string(f->out, l->value, l->value_len);
            tsdb_buf_put_u8(f->out, '}');
        }
    }
    tsdb_buf_put_str(f->out, "],");
}

static void put_bucket(struct families *f, const struct metric_sample *m)
{
    for (uint32_t i = 0; i < m->labels.count; i++) {
        const struct tsdb_label *l = &m->labels.items[i];
        double bound = 0;
        if (is_le(l) && tsdb_parse_float(l->value, l->value_len, &bound)) {
            envelope_comma(&f->buckets, f->buckets.len > 0);
            tsdb_buf_printf(&f->buckets, "{\"cumulativeCount\":\"%.0f\",\"upperBound\":", m->value);
            put_double(&f->buckets, bound);
            tsdb_buf_put_u8(&f->buckets, '}');
        }
    }
}

/* Buckets, then the sum, then the count, which ends the histogram. */
static void put_histogram_part(struct families *f, const struct metric_sample *m)
{
    const char *part = m->name + strlen(m->family);
    if (strcmp(part, "_bucket") == 0) {
        put_bucket(f, m);
    } else if (strcmp(part, "_sum") == 0) {
        f->sum = m->value;
    } else {
        put_labels(f, m);
        tsdb_buf_printf(f->out, "\"histogram\":{\"sampleCount\":\"%.0f\",\"sampleSum\":", m->value);
        put_double(f->out, f->sum);
        tsdb_buf_put_str(f->out, ",\"bucket\":[");
        tsdb_buf_put(f->out, f->buckets.data, f->buckets.len);
        tsdb_buf_put_str(f->out, "]}}");
        f->out->failed |= f->buckets.failed;
        tsdb_buf_clear(&f->buckets);
    }
}

static void on_metric(void *arg, const struct metric_sample *m)
{
    struct families *f = arg;
    if (strcmp(f->family, m->family) != 0) {
        open_family(f, m);
    }
    if (!f->shown) {
        return;
    }
    if (m->type == TSDB_METRIC_HISTOGRAM) {
        put_histogram_part(f, m);
        return;
    }
    put_labels(f, m);
    tsdb_buf_printf(f->out, "\"%s\":{\"value\":",
                    m->type == TSDB_METRIC_COUNTER ? "counter"
                    : m->type == TSDB_METRIC_GAUGE ? "gauge"
                                                   : "untyped");
    put_double(f->out, m->value);
    tsdb_buf_put_str(f->out, "}}");
}

/* The pattern may match anywhere in a name. False: the error is in the call. */
static bool compile_pattern(struct call *c, struct index_regex **out)
{
    struct tsdb_slice v = params_get(&c->params, "metric_name_pattern");
    struct tsdb_error err = {0};
    struct tsdb_buf text;
    if (v.len == 0) {
        return true;
    }
    tsdb_buf_init(&text, TSDB_MEM_SERVER, 0);
    tsdb_buf_put_str(&text, ".*(?:");
    tsdb_buf_put(&text, v.data, v.len);
    tsdb_buf_put_str(&text, ").*");
    enum tsdb_status status =
        text.failed ? TSDB_NOMEM
                    : index_regex_compile((const char *)text.data, text.len, out, &err);
    tsdb_buf_deinit(&text);
    if (status == TSDB_INVALID) {
        call_error(c, ENVELOPE_BAD_DATA, "invalid parameter \"metric_name_pattern\": %s", err.msg);
    } else if (status != TSDB_OK) {
        call_fail(c, status, &err);
    }
    return status == TSDB_OK;
}

void api_self_metrics(struct call *c)
{
    struct families f = {.out = &c->out};
    if (!compile_pattern(c, &f.pattern)) {
        return;
    }
    tsdb_buf_init(&f.buckets, TSDB_MEM_SERVER, 0);
    call_success(c);
    tsdb_buf_put_u8(&c->out, '[');
    server_metrics_visit(c->server, on_metric, &f);
    close_family(&f);
    tsdb_buf_put_u8(&c->out, ']');
    envelope_success_end(&c->out, NULL, 0);
    tsdb_buf_deinit(&f.buckets);
    index_regex_destroy(f.pattern);
}
