/* --config.file. */
#include "tests/support/test.h"

#include "server/config/config_file.h"
#include "server/config/yaml.h"

#include <stdio.h>

static enum tsdb_status parse(const char *text, struct config_file **out, struct tsdb_error *err)
{
    memset(err, 0, sizeof *err);
    *out = NULL;
    return config_file_parse("p.yml", text, strlen(text), out, err);
}

static void config_file_parse__global_section__taken(void **state)
{
    (void)state;
    struct config_file *c;
    struct tsdb_error err;
    assert_ok_err(parse("global:\n  scrape_interval: 5s\n  evaluation_interval: 30s\n  "
                        "external_labels:\n    zone: eu\n    cluster: \"a b\"\n"
                        "scrape_configs:\n  - job_name: x\nrule_files: []\n",
                        &c, &err),
                  &err);
    assert_int_equal(c->evaluation_interval_ms, 30000);
    assert_int_equal(c->external_count, 2);
    assert_string_equal(c->external[0].name, "cluster");
    assert_string_equal(c->external[0].value, "a b");
    assert_string_equal(c->external[1].name, "zone");
    assert_string_equal(c->ignored, "global.scrape_interval, scrape_configs, rule_files");
    config_file_destroy(c);
}

static void config_file_parse__retention_of_series__rules_in_order(void **state)
{
    (void)state;
    struct config_file *c;
    struct tsdb_error err;
    struct tsdb_buf yaml;
    static const char *const bad[] = {
        "storage:\n  tsdb:\n    retention:\n      series: 5\n",
        "storage:\n  tsdb:\n    retention:\n      series:\n        - match: 'a'\n",
        "storage:\n  tsdb:\n    retention:\n      series:\n        - time: 5d\n",
        "storage:\n  tsdb:\n    retention:\n      series:\n        - match: 'a'\n          time: "
        "0s\n",
        "storage:\n  tsdb:\n    retention:\n      series:\n        - match: 'a'\n          tim: "
        "5d\n",
    };
    assert_ok_err(parse("storage:\n  tsdb:\n    out_of_order_time_window: 1h\n    retention:\n"
                        "      time: 30d\n      series:\n"
                        "        - match: '{job=\"debug\"}'\n          time: 3d\n"
                        "        - {match: up, time: 1w}\n",
                        &c, &err),
                  &err);
    assert_int_equal(c->retention_count, 2);
    assert_string_equal(c->retention[0].match, "{job=\"debug\"}");
    assert_int_equal(c->retention[0].keep_ms, 3 * INT64_C(86400000));
    assert_string_equal(c->retention[1].match, "up");
    assert_string_equal(c->ignored,
                        "storage.tsdb.out_of_order_time_window, storage.tsdb.retention.time");
    tsdb_buf_init(&yaml, TSDB_MEM_OTHER, 0);
    config_file_yaml(c, &yaml);
    tsdb_buf_put_u8(&yaml, 0);
    config_file_destroy(c);
    assert_ok_err(parse((const char *)yaml.data, &c, &err), &err); /* what is shown says the same */
    assert_int_equal(c->retention_count, 2);
    assert_string_equal(c->retention[0].match, "{job=\"debug\"}");
    assert_int_equal(c->retention[1].keep_ms, 7 * INT64_C(86400000));
    config_file_destroy(c);
    tsdb_buf_deinit(&yaml);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        assert_int_equal(parse(bad[i], &c, &err), TSDB_INVALID);
        assert_non_null(strstr(err.msg, "p.yml:"));
    }
}

static void config_file_parse__empty_or_comments__defaults(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "# nothing\n", "global:\n", "---\n", "global: {}\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct config_file *c;
        struct tsdb_error err;
        assert_ok_err(parse(texts[i], &c, &err), &err);
        assert_int_equal(c->evaluation_interval_ms, 60000);
        assert_int_equal(c->external_count, 0);
        config_file_destroy(c);
    }
}

static void config_file_parse__bad_input__line_and_key(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"globl:\n  a: b\n", "p.yml:1: unknown key \"globl\""},
        {"global:\n  evaluation_intervall: 1m\n",
         "p.yml:2: unknown key in global: \"evaluation_intervall\""},
        {"global:\n  evaluation_interval: soon\n", "p.yml:2: expected a duration"},
        {"global:\n  evaluation_interval: 0s\n", "p.yml:2: expected a duration"},
        {"global:\n  evaluation_interval: [1m]\n", "p.yml:2: expected a duration"},
        {"global:\n  external_labels:\n    a: b\n    a: c\n", "p.yml:4: duplicate key \"a\""},
        {"global:\nglobal:\n", "p.yml:2: duplicate key \"global\""},
        {"global: [1, 2]\n", "p.yml:1: expected a mapping"},
        {"- a\n", "p.yml:1: expected a mapping"},
        {"global:\n  external_labels:\n    a: {b: c}\n", "p.yml:3: expected a text for label"},
        {"global: {\n", "p.yml:"},
        {"\tglobal:\n", "p.yml:1:"},
        {"global:\n  external_labels: {\"a\\xff\": b, ? [x] : y}\n", "p.yml:2:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config_file *c;
        struct tsdb_error err;
        assert_int_equal(parse(cases[i].text, &c, &err), TSDB_INVALID);
        assert_null(c);
        if (!strstr(err.msg, cases[i].says)) {
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].text, err.msg, cases[i].says);
        }
    }
}

static void config_file_parse__hostile__bounded(void **state)
{
    (void)state;
    static char text[YAML_FILE_BYTES_MAX + 2];
    struct config_file *c = NULL;
    struct tsdb_error err = {0};
    memset(text, '[', 20000); /* deep nesting */
    assert_int_equal(config_file_parse("p.yml", text, 20000, &c, &err), TSDB_INVALID);
    memset(text, ' ', sizeof text);
    assert_int_equal(config_file_parse("p.yml", text, YAML_FILE_BYTES_MAX + 1, &c, &err),
                     TSDB_INVALID);
    /* An alias bomb: nodes are shared, nothing expands; and a sequence is no mapping. */
    const char *bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nglobal: *c\n";
    assert_int_equal(parse(bomb, &c, &err), TSDB_INVALID);
    /* Too many labels. */
    size_t n = (size_t)snprintf(text, sizeof text, "global:\n  external_labels:\n");
    for (int i = 0; i < 65; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "    l%d: v\n", i);
    }
    assert_int_equal(config_file_parse("p.yml", text, n, &c, &err), TSDB_INVALID);
    assert_non_null(strstr(err.msg, "p.yml:67:"));
}

static void config_file_yaml__parsed_again__same(void **state)
{
    (void)state;
    struct config_file *c;
    struct config_file *d = NULL;
    struct tsdb_error err;
    assert_ok(parse(
        "global:\n  evaluation_interval: 1m30s\n  external_labels: {q: \"a\\\"b\\\\c\\n\", x: y}\n",
        &c, &err));
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    config_file_yaml(c, &b);
    assert_ok_err(config_file_parse("again.yml", (const char *)b.data, b.len, &d, &err), &err);
    assert_int_equal(d->evaluation_interval_ms, 90000);
    assert_int_equal(d->external_count, 2);
    assert_string_equal(d->external[0].value, "a\"b\\c\n");
    tsdb_buf_deinit(&b);
    config_file_destroy(c);
    config_file_destroy(d);
}

static void config_file_load__no_such_file__named(void **state)
{
    (void)state;
    struct config_file *c = NULL;
    struct tsdb_error err = {0};
    assert_int_not_equal(config_file_load("/nonexistent/p.yml", &c, &err), TSDB_OK);
    assert_non_null(strstr(err.msg, "/nonexistent/p.yml"));
}

static void config_file_parse__otlp__options_as_prometheus_has_them(void **state)
{
    (void)state;
    struct config_file *c = NULL;
    struct tsdb_error err = {0};
    static const char text[] = "otlp:\n"
                               "  translation_strategy: NoUTF8EscapingWithSuffixes\n"
                               "  promote_resource_attributes: [a.b, c]\n"
                               "  keep_identifying_resource_attributes: true\n"
                               "  label_name_underscore_sanitization: false\n"
                               "  label_name_preserve_multiple_underscores: true\n";
    assert_ok_err(config_file_parse("f", text, sizeof text - 1, &c, &err), &err);
    assert_int_equal(c->otlp.strategy, 2);
    assert_int_equal(c->otlp.attribute_count, 2);
    assert_string_equal(c->otlp.attributes[0], "a.b");
    assert_true(c->otlp.keep_identifying);
    assert_true(c->otlp.no_key_prefix);
    assert_false(c->otlp.join_underscores);
    assert_false(c->otlp.promote_all);
    assert_string_equal(c->ignored, "");
    struct tsdb_buf yaml;
    tsdb_buf_init(&yaml, TSDB_MEM_OTHER, 0);
    config_file_yaml(c, &yaml); /* what it prints is what it reads */
    struct config_file *again = NULL;
    assert_ok_err(config_file_parse("f", (const char *)yaml.data, yaml.len, &again, &err), &err);
    assert_memory_equal(&again->otlp, &c->otlp, sizeof c->otlp);
    tsdb_buf_deinit(&yaml);
    config_file_destroy(again);
    config_file_destroy(c);
}

static void config_file_parse__otlp_that_makes_no_sense__refused_with_the_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"otlp:\n  translation_strategy: Some\n", "f:2: unknown translation_strategy \"Some\""},
        {"otlp:\n  promote_all: true\n", "unknown key in otlp: \"promote_all\""},
        {"otlp:\n  convert_histograms_to_nhcb: maybe\n", "expected true or false"},
        {"otlp:\n  promote_resource_attributes: x\n", "expected a list"},
        {"otlp:\n  promote_resource_attributes: [[x]]\n", "expected the name of an attribute"},
        {"otlp:\n  ignore_resource_attributes: [x]\n", "promote_all_resource_attributes"},
        {"otlp:\n  promote_all_resource_attributes: true\n  promote_resource_attributes: [x]\n",
         "all attributes are promoted"},
        {"otlp:\n  promote_resource_attributes: [x]\n  ignore_resource_attributes: [x]\n",
         "only one of the lists"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config_file *c = NULL;
        struct tsdb_error err = {0};
        assert_int_equal(config_file_parse("f", cases[i].text, strlen(cases[i].text), &c, &err),
                         TSDB_INVALID);
        if (!strstr(err.msg, cases[i].says)) {
            fail_msg("%s\n%s does not say %s", cases[i].text, err.msg, cases[i].says);
        }
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(config_file_parse__otlp__options_as_prometheus_has_them),
    cmocka_unit_test(config_file_parse__otlp_that_makes_no_sense__refused_with_the_line),
    cmocka_unit_test(config_file_parse__global_section__taken),
    cmocka_unit_test(config_file_parse__retention_of_series__rules_in_order),
    cmocka_unit_test(config_file_parse__empty_or_comments__defaults),
    cmocka_unit_test(config_file_parse__bad_input__line_and_key),
    cmocka_unit_test(config_file_parse__hostile__bounded),
    cmocka_unit_test(config_file_yaml__parsed_again__same),
    cmocka_unit_test(config_file_load__no_such_file__named),
};
TEST_MAIN(tests)
