/* OTLP: names, values, translation, JSON. Messages are written as JSON, so that they can be read. */
#include "tests/support/test.h"

#include "base/format.h"
#include "ingest/otlp/json.h"
#include "ingest/otlp/names.h"
#include "ingest/otlp/otlp.h"
#include "model/sample.h"
#include "tests/support/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct otlp_options options;
static struct tsdb_arena arena;
static struct tsdb_arena scratch;
static struct tsdb_buf said; /* what the sink was told, a line each */

static int setup(void **state)
{
    (void)state;
    memset(&options, 0, sizeof options);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 65536, NULL);
    tsdb_arena_init(&scratch, TSDB_MEM_OTHER, 65536, NULL);
    tsdb_buf_init(&said, TSDB_MEM_OTHER, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tsdb_arena_deinit(&arena);
    tsdb_arena_deinit(&scratch);
    tsdb_buf_deinit(&said);
    return 0;
}

/* ---- a sink that writes down what it gets ---- */

static enum tsdb_status on_series(void *arg, const struct tsdb_labels *labels, void *out_target,
                                  struct tsdb_error *err)
{
    (void)arg;
    memset(out_target, 0, 8);
    for (uint32_t i = 1; i < labels->count; i++) { /* sorted, unique */
        const struct tsdb_label *l = &labels->items[i];
        assert_true(tsdb_str_compare(l[-1].name, l[-1].name_len, l->name, l->name_len) < 0);
    }
    tsdb_labels_print(labels, &said);
    const struct tsdb_label *bad = tsdb_labels_find(labels, "bad", 3);
    return bad ? tsdb_error_set(err, TSDB_INVALID, "bad label") : TSDB_OK;
}

static enum tsdb_status on_sample(void *arg, const void *target, int64_t t_ms, int64_t start_ms,
                                  uint64_t bits, struct tsdb_error *err)
{
    (void)arg;
    (void)target;
    (void)err;
    double v;
    memcpy(&v, &bits, sizeof v);
    if (bits == TSDB_STALE_NAN_BITS) {
        tsdb_buf_printf(&said, " stale");
    } else {
        tsdb_buf_printf(&said, " %g", v);
    }
    tsdb_buf_printf(&said, " @%lld", (long long)t_ms);
    tsdb_buf_printf(&said, start_ms ? " from %lld\n" : "\n", (long long)start_ms);
    return TSDB_OK;
}

static void print_side(const char *name, const struct tsdb_span *spans, uint32_t span_count,
                       const int64_t *deltas, uint32_t bucket_count)
{
    uint32_t buckets = 0;
    int64_t count = 0;
    int64_t index = 0;
    for (uint32_t i = 0; i < span_count; i++) {
        index += spans[i].offset;
        tsdb_buf_printf(&said, " %s[%lld", name, (long long)index);
        for (uint32_t k = 0; k < spans[i].length; k++, index++) {
            count += deltas[buckets++];
            tsdb_buf_printf(&said, " %lld", (long long)count);
        }
        tsdb_buf_printf(&said, "]");
    }
    assert_int_equal(buckets, bucket_count);
}

static enum tsdb_status on_histogram(void *arg, const void *target, struct tsdb_histogram *h,
                                     int64_t t_ms, int64_t start_ms, struct tsdb_error *err)
{
    (void)arg;
    (void)target;
    tsdb_buf_printf(&said, " {schema %d count %llu zero %llu sum %g hint %d", (int)h->schema,
                    (unsigned long long)h->count_int, (unsigned long long)h->zero_count_int,
                    tsdb_histogram_is_stale(h) ? -1 : h->sum, (int)h->reset_hint);
    print_side("+", h->positive_spans, h->positive_span_count, h->positive_deltas,
               h->positive_bucket_count);
    print_side("-", h->negative_spans, h->negative_span_count, h->negative_deltas,
               h->negative_bucket_count);
    for (uint32_t i = 0; i < h->custom_count; i++) {
        tsdb_buf_printf(&said, " le %g", h->custom_values[i]);
    }
    tsdb_buf_printf(&said, "} @%lld", (long long)t_ms);
    tsdb_buf_printf(&said, start_ms ? " from %lld\n" : "\n", (long long)start_ms);
    return tsdb_histogram_is_stale(h) ? TSDB_OK : tsdb_histogram_validate(h, err);
}

static enum tsdb_status on_exemplar(void *arg, const void *target, const struct tsdb_exemplar *x,
                                    struct tsdb_error *err)
{
    (void)arg;
    (void)target;
    (void)err;
    double v;
    memcpy(&v, &x->bits, sizeof v);
    tsdb_buf_printf(&said, "  # ");
    tsdb_labels_print(&x->labels, &said);
    tsdb_buf_printf(&said, " %g @%lld\n", v, (long long)x->t_ms);
    return TSDB_OK;
}

static enum tsdb_status on_metadata(void *arg, const struct tsdb_metadata *m,
                                    struct tsdb_error *err)
{
    (void)arg;
    (void)err;
    tsdb_buf_printf(&said, "# %.*s %s %.*s|%.*s\n", (int)m->metric.len,
                    (const char *)m->metric.data, tsdb_metric_type_name(m->type), (int)m->unit.len,
                    m->unit.len ? (const char *)m->unit.data : "", (int)m->help.len,
                    m->help.len ? (const char *)m->help.data : "");
    return TSDB_OK;
}

static void on_reject(void *arg, enum otlp_reject reason, struct tsdb_slice metric, uint32_t points,
                      struct tsdb_error *why)
{
    (void)arg;
    assert_true(why->msg[0] != '\0');
    tsdb_buf_printf(&said, "! %d %.*s %u: %.30s\n", (int)reason, (int)metric.len,
                    metric.len ? (const char *)metric.data : "", points, why->msg);
    tsdb_error_clear(why);
}

static const struct otlp_sink sink = {.series = on_series,
                                      .sample = on_sample,
                                      .histogram = on_histogram,
                                      .exemplar = on_exemplar,
                                      .metadata = on_metadata,
                                      .reject = on_reject};

/* The translation of a message in JSON, as lines. */
static void translates(const char *json, const char *lines)
{
    struct tsdb_error err = {0};
    struct tsdb_slice body;
    uint32_t points = 0;
    tsdb_arena_reset(&arena);
    tsdb_buf_clear(&said);
    assert_ok_err(otlp_json_to_protobuf((const uint8_t *)json, strlen(json), &arena, &body, &err),
                  &err);
    assert_ok_err(
        otlp_translate(body.data, body.len, &options, &sink, &arena, &scratch, &points, &err),
        &err);
    tsdb_buf_put_u8(&said, 0);
    if (strcmp((const char *)said.data, lines) != 0) {
        fail_msg("%s\n--- got\n%s--- want\n%s", json, (const char *)said.data, lines);
    }
}

#define RESOURCE(attributes, metrics)                                                              \
    "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[" attributes                             \
    "]},\"scopeMetrics\":[{\"scope\":{\"name\":\"sc\",\"version\":\"1\"},\"metrics\":[" metrics    \
    "]}]}]}"
#define METRICS(metrics)    RESOURCE("", metrics)
#define ATTR(key, value)    "{\"key\":\"" key "\",\"value\":{\"stringValue\":\"" value "\"}}"
#define TIME                "\"timeUnixNano\":\"5000000000\""
#define GAUGE(name, points) "{\"name\":\"" name "\",\"gauge\":{\"dataPoints\":[" points "]}}"

/* ---- numbers ---- */

static void otlp_translate__gauges_and_sums__one_sample_each(void **state)
{
    (void)state;
    translates(
        METRICS(GAUGE("g.x", "{" TIME ",\"startTimeUnixNano\":\"1000000000\",\"asDouble\":-2.5}")),
        "# g_x gauge |\ng_x -2.5 @5000\n");
    translates(METRICS("{\"name\":\"s\",\"unit\":\"By\",\"description\":\"how many\",\"sum\":{"
                       "\"aggregationTemporality\":2,\"isMonotonic\":true,\"dataPoints\":[{" TIME
                       ",\"startTimeUnixNano\":\"1000000000\",\"asInt\":\"42\"}]}}"),
               "# s_bytes_total counter By|how many\ns_bytes_total 42 @5000 from 1000\n");
    translates(
        METRICS("{\"name\":\"s\",\"sum\":{\"aggregationTemporality\":2,\"dataPoints\":[{" TIME
                ",\"startTimeUnixNano\":\"1000000000\",\"asInt\":-1}]}}"),
        "# s gauge |\ns -1 @5000\n");
    translates(METRICS(GAUGE("g", "{" TIME ",\"flags\":1}")), "# g gauge |\ng stale @5000\n");
    translates(METRICS(GAUGE("g", "")), "");
}

static void otlp_translate__delta__refused_unless_asked_for(void **state)
{
    (void)state;
    static const char sum[] =
        METRICS("{\"name\":\"d\",\"sum\":{\"aggregationTemporality\":1,\"isMonotonic\":true,"
                "\"dataPoints\":[{" TIME ",\"asInt\":1},{" TIME ",\"asInt\":2}]}}");
    translates(sum, "! 2 d 2: delta temporality is not taken\n");
    options.delta = true;
    translates(sum, "# d_total unknown |\nd_total 1 @5000\nd_total 2 @5000\n");
    translates(METRICS("{\"name\":\"d\",\"sum\":{\"dataPoints\":[{" TIME ",\"asInt\":1}]}}"),
               "! 2 d 1: invalid temporality and type c\n");
}

static void otlp_translate__summary__quantiles_sum_and_count(void **state)
{
    (void)state;
    translates(METRICS("{\"name\":\"q\",\"summary\":{\"dataPoints\":[{" TIME
                       ",\"count\":\"2\",\"sum\":3,\"quantileValues\":[{\"quantile\":0.99,"
                       "\"value\":1}]}]}}"),
               "# q summary |\nq_sum 3 @5000\nq_count 2 @5000\nq{quantile=\"0.99\"} 1 @5000\n");
}

/* ---- histograms ---- */

#define BUCKETS                                                                                    \
    TIME ",\"count\":\"10\",\"sum\":3.5,\"bucketCounts\":[1,\"4\",5],\"explicitBounds\":[0.25,1]"
#define EXPLICIT(points)                                                                           \
    METRICS("{\"name\":\"h\",\"histogram\":{\"aggregationTemporality\":"                           \
            "\"AGGREGATION_TEMPORALITY_CUMULATIVE\",\"dataPoints\":[" points "]}}")

static void otlp_translate__explicit_histogram__buckets_or_custom(void **state)
{
    (void)state;
    translates(EXPLICIT("{" BUCKETS "}"),
               "# h histogram |\nh_sum 3.5 @5000\nh_count 10 @5000\n"
               "h_bucket{le=\"0.25\"} 1 @5000\nh_bucket{le=\"1\"} 5 @5000\n"
               "h_bucket{le=\"+Inf\"} 10 @5000\n");
    translates(EXPLICIT("{" TIME ",\"count\":3,\"attributes\":[" ATTR("le", "x") "]}"),
               "# h histogram |\nh_count{le=\"x\"} 3 @5000\nh_bucket{le=\"+Inf\"} 3 @5000\n");
    translates(EXPLICIT("{" TIME ",\"count\":1,\"bucketCounts\":[1,0],\"explicitBounds\":[2],"
                        "\"exemplars\":[{\"asInt\":\"1\"},{\"asDouble\":2},{\"asDouble\":2.5}]}"),
               "# h histogram |\nh_count 1 @5000\nh_bucket{le=\"2\"} 1 @5000\n"
               "h_bucket{le=\"+Inf\"} 1 @5000\n"
               "  # {} 1 @0\n  # {} 2 @0\n  # {} 2.5 @0\n");
    options.histograms_to_nhcb = true;
    translates(EXPLICIT("{" BUCKETS ",\"startTimeUnixNano\":1000000000}"),
               "# h histogram |\nh {schema -53 count 10 zero 0 sum 3.5 hint 0 +[0 1 4 5] le 0.25 "
               "le 1} @5000 from 1000\n");
    translates(EXPLICIT("{" BUCKETS ",\"flags\":1}"),
               "# h histogram |\nh {schema -53 count 10 zero 0 sum -1 hint 0 +[0 1 4 5] le 0.25 le "
               "1} @5000\n");
}

#define EXPONENTIAL(fields)                                                                        \
    METRICS("{\"name\":\"e\",\"exponentialHistogram\":{\"aggregationTemporality\":2,"              \
            "\"dataPoints\":[{" TIME "," fields "}]}}")

static void otlp_translate__exponential_histogram__native(void **state)
{
    (void)state;
    translates(EXPONENTIAL("\"count\":6,\"sum\":1,\"scale\":0,\"zeroCount\":1,\"positive\":{"
                           "\"offset\":-1,\"bucketCounts\":[2,0,\"3\"]}"),
               "# e histogram |\ne {schema 0 count 6 zero 1 sum 1 hint 0 +[0 2 0 3]} @5000\n");
    /* a gap of three is a span of its own; both sides */
    translates(EXPONENTIAL("\"count\":10,\"positive\":{\"bucketCounts\":[1,0,0,0,2]},"
                           "\"negative\":{\"offset\":4,\"bucketCounts\":[7]}"),
               "# e histogram |\ne {schema 0 count 10 zero 0 sum 0 hint 0 +[1 1] +[5 2] -[5 7]} "
               "@5000\n");
    /* scale 10 is brought down to 8: four buckets become one */
    translates(EXPONENTIAL("\"count\":21,\"scale\":10,\"positive\":{\"offset\":-2,"
                           "\"bucketCounts\":[1,2,3,4,5,6]}"),
               "# e histogram |\ne {schema 8 count 21 zero 0 sum 0 hint 0 +[0 3 18]} @5000\n");
    translates(EXPONENTIAL("\"count\":0,\"scale\":-5"),
               "# e histogram |\n! 1 e 1: exponential histogram: scale m\n");
    translates(EXPONENTIAL("\"count\":5,\"positive\":{\"bucketCounts\":[1]}"),
               "# e histogram |\ne {schema 0 count 5 zero 0 sum 0 hint 0 +[1 1]} @5000\n"
               "! 1 e 1: 1 observations found in bucket\n");
    translates(EXPONENTIAL("\"count\":5,\"positive\":{\"offset\":2147483647,\"bucketCounts\":[1]}"),
               "# e histogram |\n! 1 e 1: histogram: a bucket has no ind\n");
    translates(
        EXPONENTIAL("\"count\":5,\"positive\":{\"bucketCounts\":[\"18446744073709551615\"]}"),
        "# e histogram |\n! 1 e 1: histogram: counts overflow\n");
}

/* ---- labels ---- */

static void otlp_translate__attributes__labels_joined_and_overridden(void **state)
{
    (void)state;
    translates(
        METRICS(GAUGE(
            "g",
            "{" TIME
            ",\"attributes\":[" ATTR("b.c", "2") "," ATTR("b/c", "3") "," ATTR("a", "1") "," ATTR(
                "empty", "") "," ATTR("9x", "d") "," ATTR("_y", "u") "," ATTR("__z", "v") "]}")),
        "# g gauge |\ng{__z=\"v\", a=\"1\", b_c=\"2;3\", key_9x=\"d\", key_y=\"u\"} 0 "
        "@5000\n");
    translates(METRICS(GAUGE("g", "{" TIME ",\"attributes\":[" ATTR("...", "x") "]}")),
               "# g gauge |\n! 0 g 1: only underscores are left of t\n");
    translates(METRICS(GAUGE("g", "{" TIME ",\"attributes\":[" ATTR("bad", "x") "]}")),
               "# g gauge |\ng{bad=\"x\"}"); /* the sink refuses and counts it */
}

static void otlp_translate__every_kind_of_value__text(void **state)
{
    (void)state;
#define VALUE(json)                                                                                \
    METRICS(GAUGE("g", "{" TIME ",\"attributes\":[{\"key\":\"v\",\"value\":{" json "}}]}"))
    translates(VALUE("\"boolValue\":true"), "# g gauge |\ng{v=\"true\"} 0 @5000\n");
    translates(VALUE("\"intValue\":\"-7\""), "# g gauge |\ng{v=\"-7\"} 0 @5000\n");
    translates(VALUE("\"doubleValue\":1e-7"), "# g gauge |\ng{v=\"1e-7\"} 0 @5000\n");
    translates(VALUE("\"bytesValue\":\"AQI=\""), "# g gauge |\ng{v=\"AQI=\"} 0 @5000\n");
    translates(
        VALUE("\"arrayValue\":{\"values\":[{\"intValue\":1},{\"stringValue\":\"a\\\"\"},{}]}"),
        "# g gauge |\ng{v=\"[1,\\\"a\\\\\\\"\\\",null]\"} 0 @5000\n");
    translates(
        VALUE("\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":{\"boolValue\":false}}]}"),
        "# g gauge |\ng{v=\"{\\\"k\\\":false}\"} 0 @5000\n");
#undef VALUE
}

#define SERVICE                                                                                    \
    ATTR("service.name", "api")                                                                    \
    "," ATTR("service.namespace", "shop") "," ATTR("service.instance.id", "i1") "," ATTR(          \
        "host.name", "h") "," ATTR("zone", "z")

static void otlp_translate__resource__job_instance_target_info(void **state)
{
    (void)state;
    static const char message[] =
        RESOURCE(SERVICE, GAUGE("g", "{" TIME ",\"attributes\":[" ATTR("host_name", "own") "]}"));
    translates(message,
               "# g gauge |\ng{host_name=\"own\", instance=\"i1\", job=\"shop/api\"} 0 @5000\n"
               "target_info{host_name=\"h\", instance=\"i1\", job=\"shop/api\", zone=\"z\"} 1 "
               "@5000\n");
    options.attribute_count = 2;
    snprintf(options.attributes[0], sizeof options.attributes[0], "host.name");
    snprintf(options.attributes[1], sizeof options.attributes[1], "zone");
    translates(message, /* the data point's own wins over what is promoted */
               "# g gauge |\ng{host_name=\"own\", instance=\"i1\", job=\"shop/api\", zone=\"z\"} 0 "
               "@5000\n"
               "target_info{host_name=\"h\", instance=\"i1\", job=\"shop/api\", zone=\"z\"} 1 "
               "@5000\n");
    options.promote_all = true;
    options.no_target_info = true;
    translates(message,
               "# g gauge |\ng{host_name=\"own\", instance=\"i1\", job=\"shop/api\", "
               "service_instance_id=\"i1\", service_name=\"api\", service_namespace=\"shop\"} 0 "
               "@5000\n");
    memset(&options, 0, sizeof options);
    options.keep_identifying = true;
    translates(RESOURCE(ATTR("service.name", "api") "," ATTR("a", "b"), GAUGE("g", "{" TIME "}")),
               "# g gauge |\ng{job=\"api\"} 0 @5000\ntarget_info{a=\"b\", job=\"api\", "
               "service_name=\"api\"} 1 @5000\n");
    translates(RESOURCE(ATTR("service.name", "api"), GAUGE("g", "{" TIME "}")),
               "# g gauge |\ng{job=\"api\"} 0 @5000\n"); /* it would say nothing */
    translates(RESOURCE(ATTR("a", "b"), GAUGE("g", "{" TIME "}")), "# g gauge |\ng 0 @5000\n");
}

static void otlp_translate__target_info__repeated_where_a_selector_looks_back(void **state)
{
    (void)state;
    options.lookback_ms = 2000;
    translates(RESOURCE(ATTR("service.name", "x") "," ATTR("a", "b"),
                        GAUGE("g", "{" TIME "},{\"timeUnixNano\":7500000000}")),
               "# g gauge |\ng{job=\"x\"} 0 @5000\ng{job=\"x\"} 0 @7500\n"
               "target_info{a=\"b\", job=\"x\"} 1 @5000\n 1 @6000\n 1 @7000\n 1 @7500\n");
    /* a point without a time does not make billions of them */
    options.lookback_ms = 2;
    static const char wide[] = RESOURCE(ATTR("service.name", "x") "," ATTR("a", "b"),
                                        GAUGE("g", "{},{\"timeUnixNano\":1700000000000000000}"));
    struct tsdb_slice body;
    struct tsdb_error err = {0};
    uint32_t points = 0;
    tsdb_buf_clear(&said);
    assert_ok(otlp_json_to_protobuf((const uint8_t *)wide, sizeof wide - 1, &arena, &body, &err));
    assert_ok(
        otlp_translate(body.data, body.len, &options, &sink, &arena, &scratch, &points, &err));
    assert_int_equal(points, 2);
    assert_true(said.len < 30000);
}

static void otlp_translate__scope__promoted_when_asked_for(void **state)
{
    (void)state;
    options.promote_scope = true;
    translates(
        METRICS(GAUGE("g", "{" TIME ",\"attributes\":[" ATTR("otel_scope_name", "own") "]}")),
        "# g gauge |\ng{otel_scope_name=\"sc\", otel_scope_schema_url=\"\", "
        "otel_scope_version=\"1\"} 0 @5000\n");
}

static void otlp_translate__exemplars__ids_and_attributes_that_fit(void **state)
{
    (void)state;
#define SUM(exemplar)                                                                              \
    METRICS("{\"name\":\"s\",\"sum\":{\"aggregationTemporality\":2,\"dataPoints\":[{" TIME         \
            ",\"asInt\":1,\"exemplars\":[{\"timeUnixNano\":4000000000,\"asDouble\":0.5," exemplar  \
            "}]}]}}")
#define IDS "\"traceId\":\"0102030405060708090a0b0c0d0e0f10\",\"spanId\":\"0102030405060708\""
    translates(SUM(IDS ",\"filteredAttributes\":[" ATTR("user", "u") "]"),
               "# s gauge |\ns 1 @5000\n  # {trace_id=\"0102030405060708090a0b0c0d0e0f10\", "
               "span_id=\"0102030405060708\", user=\"u\"} 0.5 @4000\n");
    translates(
        SUM(IDS ",\"filteredAttributes\":[" ATTR(
            "user", "0123456789012345678901234567890123456789012345678901234567890123456789") "]"),
        "# s gauge |\ns 1 @5000\n  # {trace_id=\"0102030405060708090a0b0c0d0e0f10\", "
        "span_id=\"0102030405060708\"} 0.5 @4000\n");
    translates(SUM("\"traceId\":\"00000000000000000000000000000000\",\"spanId\":\"\""),
               "# s gauge |\ns 1 @5000\n  # {} 0.5 @4000\n");
#undef SUM
}

/* ---- names ---- */

static void otlp_metric_name__words_units_and_suffixes__as_prometheus(void **state)
{
    (void)state;
    static const struct {
        enum otlp_strategy strategy;
        const char *name, *unit, *kind, *want; /* want NULL: refused */
    } cases[] = {
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "http.server.duration", "s", "",
         "http_server_duration_seconds"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "a__b..c", "", "", "a_b_c"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "_a_", "", "", "a"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "x", "By/s", "", "x_bytes_per_second"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "x", "{requests}/s", "", "x_per_second"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "x", "{requests}", "c", "x_total"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "x.total.n", "1", "c", "x_n_total"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "cpu.ratio.x", "1", "g", "cpu_x_ratio"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "x", "1", "", "x"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "disk.bytes", "By", "c", "disk_bytes_total"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "x", "furlongs-x", "", "x_furlongs_x"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "9lives", "%", "g", "_9lives_percent"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "a:b", "", "", "a:b"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "h\xc3\xbc.x", "", "", "h_x"},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "...", "", "", NULL},
        {OTLP_UNDERSCORES_WITH_SUFFIXES, "", "s", "", NULL},
        {OTLP_UNDERSCORES, "a_.b", "s", "c", "a__b"},
        {OTLP_UNDERSCORES, "9a", "s", "c", "_9a"},
        {OTLP_UNDERSCORES, "___", "", "", NULL},
        {OTLP_UTF8_WITH_SUFFIXES, "http.requests", "By/s", "c",
         "http.requests_bytes_per_second_total"},
        {OTLP_UTF8_WITH_SUFFIXES, "x.total", "s", "c", "x_seconds_total"},
        {OTLP_UTF8_WITH_SUFFIXES, "x.seconds", "s", "", "x.seconds"},
        {OTLP_UTF8_WITH_SUFFIXES, "x.ratio", "1", "g", "x_ratio"},
        {OTLP_UTF8, "http.requests", "By", "c", "http.requests"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct tsdb_slice out;
        struct tsdb_error err = {0};
        options.strategy = cases[i].strategy;
        enum tsdb_status status = otlp_metric_name(
            &options, (struct tsdb_slice){(const uint8_t *)cases[i].name, strlen(cases[i].name)},
            (struct tsdb_slice){(const uint8_t *)cases[i].unit, strlen(cases[i].unit)},
            cases[i].kind[0] == 'g', cases[i].kind[0] == 'c', &arena, &out, &err);
        assert_int_equal(status, cases[i].want ? TSDB_OK : TSDB_INVALID);
        if (cases[i].want &&
            (out.len != strlen(cases[i].want) || memcmp(out.data, cases[i].want, out.len) != 0)) {
            fail_msg("%s %s: %.*s, want %s", cases[i].name, cases[i].unit, (int)out.len,
                     (const char *)out.data, cases[i].want);
        }
    }
}

static void otlp_label_name__options__change_what_becomes_of_underscores(void **state)
{
    (void)state;
    static const struct {
        bool no_prefix, join;
        const char *name, *want;
    } cases[] = {
        {false, false, "a..b", "a__b"}, {false, true, "a..b", "a_b"},  {true, false, "_x", "_x"},
        {false, false, "_x", "key_x"},  {true, false, "1x", "key_1x"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct tsdb_slice out;
        options.no_key_prefix = cases[i].no_prefix;
        options.join_underscores = cases[i].join;
        assert_ok(otlp_label_name(
            &options, (struct tsdb_slice){(const uint8_t *)cases[i].name, strlen(cases[i].name)},
            &arena, &out, NULL));
        assert_int_equal(out.len, strlen(cases[i].want));
        assert_memory_equal(out.data, cases[i].want, out.len);
    }
}

/* ---- bytes from outside ---- */

static const char whole[] =
    RESOURCE(SERVICE, "{\"name\":\"h\",\"unit\":\"\\u0073\\ud83d\\ude00\",\"histogram\":{"
                      "\"aggregationTemporality\":2,\"dataPoints\":[{" BUCKETS
                      ",\"unknown\":[{\"a\":null},1e5,\"x\"]}]}}");

static void otlp_json_to_protobuf__cut_anywhere__invalid_with_the_place(void **state)
{
    (void)state;
    struct test_guard g;
    test_guard_init(&g, sizeof whole);
    for (size_t len = 0; len < sizeof whole; len++) {
        struct tsdb_slice out;
        struct tsdb_error err = {0};
        tsdb_arena_reset(&arena);
        enum tsdb_status status =
            otlp_json_to_protobuf(test_guard_at_end(&g, whole, len), len, &arena, &out, &err);
        assert_int_equal(status, len == sizeof whole - 1 ? TSDB_OK : TSDB_INVALID);
        assert_true(err.pos <= len);
    }
    test_guard_deinit(&g);
}

static void otlp_json_to_protobuf__wrong_types_and_depth__refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "[]",
        "{\"resourceMetrics\":{}}",
        "{\"resourceMetrics\":[1]}",
        "{} {}",
        METRICS(GAUGE("g", "{\"timeUnixNano\":\"x\"}")),
        METRICS(GAUGE("g", "{\"asInt\":1.5}")),
        METRICS(GAUGE("g", "{\"asDouble\":\"x\"}")),
        METRICS(GAUGE("g", "{\"exemplars\":[{\"traceId\":\"zz\"}]}")),
        METRICS("{\"name\":5}"),
        METRICS("{\"name\":\"\\x\"}"),
        METRICS("{\"name\":\"a\nb\"}"),
        METRICS("{\"sum\":{\"isMonotonic\":1}}"),
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        struct tsdb_slice out;
        struct tsdb_error err = {0};
        assert_int_equal(
            otlp_json_to_protobuf((const uint8_t *)cases[i], strlen(cases[i]), &arena, &out, &err),
            TSDB_INVALID);
        assert_true(err.msg[0] != '\0');
    }
    static char deep[100000];
    memcpy(deep, "{\"x\":", 5);
    memset(deep + 5, '[', sizeof deep - 5);
    struct tsdb_slice out;
    struct tsdb_error err = {0};
    assert_int_equal(otlp_json_to_protobuf((const uint8_t *)deep, sizeof deep, &arena, &out, &err),
                     TSDB_INVALID);
    assert_non_null(strstr(err.msg, "too deep"));
}

static void otlp_translate__protobuf_cut_anywhere__never_outside(void **state)
{
    (void)state;
    struct tsdb_slice body;
    struct tsdb_error err = {0};
    assert_ok(otlp_json_to_protobuf((const uint8_t *)whole, sizeof whole - 1, &arena, &body, &err));
    uint8_t *copy = malloc(body.len);
    assert_non_null(copy);
    memcpy(copy, body.data, body.len);
    size_t len_all = body.len;
    struct test_guard g;
    test_guard_init(&g, len_all);
    size_t taken = 0;
    for (size_t len = 1; len <= len_all; len++) {
        uint32_t points = 0;
        tsdb_arena_reset(&arena);
        tsdb_buf_clear(&said);
        enum tsdb_status status = otlp_translate(test_guard_at_end(&g, copy, len), len, &options,
                                                 &sink, &arena, &scratch, &points, &err);
        assert_true(status == TSDB_OK || status == TSDB_CORRUPT);
        taken += status == TSDB_OK;
    }
    assert_int_equal(taken, 1);
    test_guard_deinit(&g);
    free(copy);
}

/* A body of nothing but empty messages takes what the account allows, and no more. */
static void otlp_translate__millions_of_empty_messages__limit(void **state)
{
    (void)state;
    struct tsdb_account account;
    struct tsdb_arena bounded;
    struct tsdb_error err = {0};
    static uint8_t body[2 << 20];
    for (size_t i = 0; i < sizeof body; i += 2) {
        body[i] = 0x0a; /* resource_metrics, 0 bytes */
    }
    tsdb_account_init(&account, 4u << 20, NULL);
    tsdb_arena_init(&bounded, TSDB_MEM_OTHER, 65536, &account);
    uint32_t points = 0;
    assert_int_equal(
        otlp_translate(body, sizeof body, &options, &sink, &bounded, &scratch, &points, &err),
        TSDB_LIMIT);
    assert_true(atomic_load(&account.used_bytes) <= 4u << 20);
    tsdb_arena_deinit(&bounded);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(otlp_translate__gauges_and_sums__one_sample_each),
    CASE(otlp_translate__delta__refused_unless_asked_for),
    CASE(otlp_translate__summary__quantiles_sum_and_count),
    CASE(otlp_translate__explicit_histogram__buckets_or_custom),
    CASE(otlp_translate__exponential_histogram__native),
    CASE(otlp_translate__attributes__labels_joined_and_overridden),
    CASE(otlp_translate__every_kind_of_value__text),
    CASE(otlp_translate__resource__job_instance_target_info),
    CASE(otlp_translate__target_info__repeated_where_a_selector_looks_back),
    CASE(otlp_translate__scope__promoted_when_asked_for),
    CASE(otlp_translate__exemplars__ids_and_attributes_that_fit),
    CASE(otlp_metric_name__words_units_and_suffixes__as_prometheus),
    CASE(otlp_label_name__options__change_what_becomes_of_underscores),
    CASE(otlp_json_to_protobuf__cut_anywhere__invalid_with_the_place),
    CASE(otlp_json_to_protobuf__wrong_types_and_depth__refused),
    CASE(otlp_translate__protobuf_cut_anywhere__never_outside),
    CASE(otlp_translate__millions_of_empty_messages__limit),
};
TEST_MAIN(tests)
