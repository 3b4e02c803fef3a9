/* /api/v1/features: what of Prometheus's features this server has. What is not listed is absent. */
#include "query/json.h"
#include "query/lang/functions.h"
#include "query/lang/lexer.h"
#include "server/api/handlers.h"

#include <string.h>

struct feature {
    const char *name;
    bool there;
};

static void put_feature(struct tsdb_buf *out, const char *name, bool there)
{
    if (out->len > 0 && out->data[out->len - 1] != '{') {
        tsdb_buf_put_u8(out, ',');
    }
    json_string(out, name, strlen(name));
    tsdb_buf_put_str(out, there ? ":true" : ":false");
}

static void begin_category(struct tsdb_buf *out, const char *name)
{
    tsdb_buf_printf(out, "%s\"%s\":{", out->data && out->data[out->len - 1] == '}' ? "," : "",
                    name);
}

static void put_category(struct tsdb_buf *out, const char *name, const struct feature *list,
                         size_t count)
{
    begin_category(out, name);
    for (size_t i = 0; i < count; i++) {
        put_feature(out, list[i].name, list[i].there);
    }
    tsdb_buf_put_u8(out, '}');
}

static void put_api(const struct server *s, struct tsdb_buf *out)
{
    const struct feature list[] = {
        {"admin", s->options.admin_api},
        {"exclude_alerts", true},
        {"label_values_match", true},
        {"lifecycle", s->options.lifecycle},
        {"otlp_write_receiver", true},
        {"query_stats", true},
        {"query_warnings", true},
        {"remote_write_receiver", true},
        {"search", s->options.feature_search_api},
        {"time_range_labels", true},
        {"time_range_series", true},
    };
    put_category(out, "api", list, TSDB_ARRAY_LEN(list));
}

static void put_promql(const struct server *s, struct tsdb_buf *out)
{
    const struct server_options *o = &s->options;
    const struct feature list[] = {
        {"at_modifier", true},
        {"delayed_name_removal", o->feature_delayed_name_removal},
        {"duration_expr", true},
        {"negative_offset", true},
        {"per_query_lookback_delta", true},
        {"per_step_stats", o->feature_per_step_stats},
        {"subqueries", true},
        {"type_and_unit_labels", false},
    };
    begin_category(out, "promql");
    for (size_t i = 0; i < TSDB_ARRAY_LEN(list); i++) {
        put_feature(out, list[i].name, list[i].there);
    }
    for (int t = TOKEN_KEYWORD_BEGIN; t < TOKEN_KEYWORD_END; t++) {
        bool range = t == TOKEN_ANCHORED || t == TOKEN_SMOOTHED;
        bool fill = t == TOKEN_FILL || t == TOKEN_FILL_LEFT || t == TOKEN_FILL_RIGHT;
        put_feature(out, token_type_text((enum token_type)t),
                    range  ? o->feature_extended_range_selectors
                    : fill ? o->feature_fill_modifiers
                           : true);
    }
    tsdb_buf_put_u8(out, '}');
}

static void put_functions(const struct server *s, struct tsdb_buf *out)
{
    uint32_t count = 0;
    const struct query_function *f = query_functions(&count);
    begin_category(out, "promql_functions");
    for (uint32_t i = 0; i < count; i++) {
        put_feature(out, f[i].name,
                    f[i].supported &&
                        (!f[i].experimental || s->options.feature_experimental_functions));
    }
    tsdb_buf_put_u8(out, '}');
}

static void put_operators(const struct server *s, struct tsdb_buf *out)
{
    begin_category(out, "promql_operators");
    for (int t = TOKEN_OPERATOR_BEGIN; t < TOKEN_AGGREGATOR_END; t++) {
        bool experimental = t == TOKEN_LIMITK || t == TOKEN_LIMIT_RATIO;
        /* They cut native histograms, which operators refuse so far. */
        bool trim = t == TOKEN_TRIM_UPPER || t == TOKEN_TRIM_LOWER;
        put_feature(out, token_type_text((enum token_type)t),
                    !trim && (!experimental || s->options.feature_experimental_functions));
    }
    tsdb_buf_put_u8(out, '}');
}

static void put_tsdb(const struct server *s, struct tsdb_buf *out)
{
    const struct feature list[] = {
        {"exemplar_storage", s->options.exemplars_max > 0},
        {"isolation", true},
        {"native_histograms", true},
        {"st_storage", false},
    };
    put_category(out, "tsdb", list, TSDB_ARRAY_LEN(list));
}

void api_features(struct call *c)
{
    const struct feature otlp[] = {
        {"delta_conversion", false},
        {"native_delta_ingestion", c->server->options.feature_otlp_delta}};
    static const struct feature prometheus[] = {
        {"agent_mode", false}, {"auto_reload_config", false}, {"server_mode", true}};
    struct tsdb_buf data; /* whose first byte tells the commas */
    tsdb_buf_init(&data, TSDB_MEM_SERVER, 0);
    put_api(c->server, &data);
    put_category(&data, "otlp_receiver", otlp, TSDB_ARRAY_LEN(otlp));
    put_category(&data, "prometheus", prometheus, TSDB_ARRAY_LEN(prometheus));
    put_promql(c->server, &data);
    put_functions(c->server, &data);
    put_operators(c->server, &data);
    put_category(&data, "rules", NULL, 0);
    put_category(&data, "scrape", NULL, 0);
    put_category(&data, "service_discovery_providers", NULL, 0);
    put_category(&data, "templating_functions", NULL, 0);
    put_tsdb(c->server, &data);
    put_category(&data, "ui", NULL, 0);
    if (data.failed) {
        call_fail(c, TSDB_NOMEM, NULL);
    } else {
        call_success(c);
        tsdb_buf_put_u8(&c->out, '{');
        tsdb_buf_put(&c->out, data.data, data.len);
        tsdb_buf_put_u8(&c->out, '}');
        envelope_success_end(&c->out, NULL, 0);
    }
    tsdb_buf_deinit(&data);
}
