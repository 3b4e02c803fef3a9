/* The flag table. */
#include "tests/support/test.h"

#include "server/config/options.h"

#include <stdio.h>

/* Parse NULL-terminated arguments. */
static enum tsdb_status parse(struct server_options *o, const char *const *args,
                              struct tsdb_error *err)
{
    char copies[16][256];
    char *argv[16];
    int argc = 0;
    bool help = false;
    for (; args[argc]; argc++) {
        snprintf(copies[argc], sizeof copies[argc], "%s", args[argc]);
        argv[argc] = copies[argc];
    }
    server_options_default(o);
    memset(err, 0, sizeof *err);
    return server_options_parse(o, argc, argv, &help, err);
}

static void server_options_default__nothing_given__documented_values(void **state)
{
    (void)state;
    static struct server_options o;
    server_options_default(&o);
    assert_string_equal(o.listen_address, "127.0.0.1:9494");
    assert_string_equal(o.data_path, "data/");
    assert_int_equal(o.body_bytes_max, 64u << 20);
    assert_int_equal(o.retention_ms, 15 * INT64_C(86400000));
    assert_int_equal(o.durability, TSDB_DURABILITY_BUFFERED);
    assert_int_equal(o.flush_interval_ms, 100);
    assert_int_equal(o.query_timeout_ms, 120000);
    assert_int_equal(o.query_samples_max, 50000000);
    assert_int_equal(o.query_concurrency_max, 20);
    assert_int_equal(o.lookback_ms, 300000);
    assert_int_equal(o.self_scrape_interval_ms, 15000);
    assert_int_equal(o.log_level, TSDB_LOG_INFO);
    assert_int_equal(o.retention_bytes, 0);
    assert_false(o.admin_api);
    assert_false(o.lifecycle);
}

static void server_options_parse__both_syntaxes_and_each_type__set(void **state)
{
    (void)state;
    static struct server_options o;
    struct tsdb_error err;
    const char *const args[] = {"--web.listen-address=0.0.0.0:1",
                                "--storage.tsdb.path",
                                "/tmp/x y",
                                "--web.enable-admin-api",
                                "--web.enable-lifecycle",
                                "--web.max-body-size=1MB",
                                "--storage.tsdb.retention.size=2EB",
                                "--storage.durability=strict",
                                "--query.timeout",
                                "1h30m",
                                "--log.level=debug",
                                "--log.format",
                                "json",
                                "--enable-feature=promql-experimental-functions,no-such-thing",
                                NULL};
    assert_ok_err(parse(&o, args, &err), &err);
    assert_string_equal(o.listen_address, "0.0.0.0:1");
    assert_string_equal(o.data_path, "/tmp/x y");
    assert_true(o.admin_api);
    assert_true(o.lifecycle);
    assert_int_equal(o.body_bytes_max, 1u << 20);
    assert_int_equal(o.retention_bytes, UINT64_C(1) << 61);
    assert_int_equal(o.durability, TSDB_DURABILITY_STRICT);
    assert_int_equal(o.query_timeout_ms, 5400000);
    assert_int_equal(o.log_level, TSDB_LOG_DEBUG);
    assert_int_equal(o.log_format, TSDB_LOG_JSON);
    assert_true(o.feature_experimental_functions);
    assert_false(o.feature_fill_modifiers);
}

static void server_options_parse__bad_input__named_in_the_error(void **state)
{
    (void)state;
    static const struct {
        const char *args[3];
        const char *says;
    } cases[] = {
        {{"--web.listen-adress=x", NULL}, "did you mean --web.listen-address?"},
        {{"--zzzzzzzzzzzzzzzzzzzz", NULL}, "unknown flag --zzzzzzzzzzzzzzzzzzzz"},
        {{"serve", NULL}, "unexpected argument \"serve\""},
        {{"--", NULL}, "unexpected argument"},
        {{"--query.timeout", NULL}, "flag --query.timeout needs a value"},
        {{"--query.timeout=soon", NULL}, "expected a duration"},
        {{"--query.timeout=0s", NULL}, "out of bounds, from 1ms to 1w"},
        {{"--web.max-body-size=1XB", NULL}, "expected a size"},
        {{"--web.max-body-size=-1", NULL}, "expected a size"},
        {{"--web.max-body-size=99999999999999999999", NULL}, "expected a size"},
        {{"--web.max-body-size=16777216TiB", NULL}, "expected a size"},
        {{"--web.max-body-size=1B", NULL}, "out of bounds, from 1KiB to 2GiB"},
        {{"--storage.owners=65", NULL}, "out of bounds, from 0 to 64"},
        {{"--storage.owners=x", NULL}, "expected a whole number"},
        {{"--storage.durability=fast", NULL}, "expected memory, buffered or strict"},
        {{"--log.level=loud", NULL}, "expected debug, info, warn or error"},
        {{"--log.format=xml", NULL}, "expected logfmt or json"},
        {{"--web.enable-admin-api=yes", NULL}, "expected true or false"},
        {{"--no-query.timeout", NULL}, "unknown flag"},
        {{"--no-web.enable-remote-write-receiver", NULL}, "always on here"},
        {{"--web.enable-remote-write-receiver=false", NULL}, "always on here"},
        {{"--web.max-inflight-bytes=1MiB", NULL}, "at least --web.max-body-size"},
        {{"--web.listen-address=9494", NULL}, "expected host:port"},
        {{"--storage.tsdb.path=", NULL}, "must not be empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static struct server_options o;
        struct tsdb_error err;
        assert_int_equal(parse(&o, cases[i].args, &err), TSDB_INVALID);
        if (!strstr(err.msg, cases[i].says)) {
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].args[0], err.msg, cases[i].says);
        }
    }
}

static void server_options_settle__auto__derived_from_memory(void **state)
{
    (void)state;
    static struct server_options o;
    struct tsdb_error err;
    const char *const none[] = {NULL};
    assert_ok_err(parse(&o, none, &err), &err);
    server_options_settle(&o, UINT64_C(8) << 30);
    assert_int_equal(o.head_bytes_max, UINT64_C(4) << 30);
    assert_int_equal(o.series_max, 4u << 20);
    assert_int_equal(o.metric_series_max, 2u << 20);
    assert_int_equal(o.query_total_bytes, UINT64_C(2) << 30);
    assert_ok_err(parse(&o, none, &err), &err);
    server_options_settle(&o, 0); /* not known */
    assert_int_equal(o.head_bytes_max + o.series_max + o.metric_series_max, 0);
    assert_int_equal(o.query_total_bytes, 0);
    const char *const some[] = {"--storage.head.max-series=1000", "--storage.head.memory=1MiB",
                                NULL};
    assert_ok_err(parse(&o, some, &err), &err);
    server_options_settle(&o, UINT64_C(8) << 30);
    assert_int_equal(o.head_bytes_max, 1u << 20);
    assert_int_equal(o.series_max, 1000);
    assert_int_equal(o.metric_series_max, 0); /* half of what a person chose is nobody's wish */
    const char *const wrong[] = {"--storage.exemplars.max=auto", NULL};
    assert_int_equal(parse(&o, wrong, &err), TSDB_INVALID);
}

static void server_options_parse__what_is_always_on__taken(void **state)
{
    (void)state;
    static struct server_options o;
    struct tsdb_error err;
    const char *const args[] = {"--web.enable-remote-write-receiver",
                                "--enable-feature=native-histograms,exemplar-storage", NULL};
    assert_ok_err(parse(&o, args, &err), &err);
    assert_string_equal(o.features, "native-histograms,exemplar-storage");
}

static void server_options_parse__too_long_path__refused(void **state)
{
    (void)state;
    static char arg[8192];
    memset(arg, 'a', sizeof arg - 1);
    memcpy(arg, "--storage.tsdb.path=", 20);
    char *argv[] = {arg};
    static struct server_options o;
    struct tsdb_error err = {0};
    bool help = false;
    server_options_default(&o);
    assert_int_equal(server_options_parse(&o, 1, argv, &help, &err), TSDB_INVALID);
    assert_non_null(strstr(err.msg, "too long"));
}

struct seen {
    uint32_t count;
    char durability[16], body[16], retention[16], admin[8];
};

static void on_option(void *arg, const char *name, const char *value)
{
    struct seen *s = arg;
    s->count++;
    if (strcmp(name, "storage.durability") == 0) {
        snprintf(s->durability, sizeof s->durability, "%s", value);
    } else if (strcmp(name, "web.max-body-size") == 0) {
        snprintf(s->body, sizeof s->body, "%s", value);
    } else if (strcmp(name, "storage.tsdb.retention.time") == 0) {
        snprintf(s->retention, sizeof s->retention, "%s", value);
    } else if (strcmp(name, "web.enable-admin-api") == 0) {
        snprintf(s->admin, sizeof s->admin, "%s", value);
    }
}

static void server_options_visit__defaults__printed_in_the_flags_own_syntax(void **state)
{
    (void)state;
    static struct server_options o;
    struct seen s = {0};
    server_options_default(&o);
    server_options_visit(&o, on_option, &s);
    assert_true(s.count >= 30);
    assert_string_equal(s.durability, "buffered");
    assert_string_equal(s.body, "64MiB");
    assert_string_equal(s.retention, "15d");
    assert_string_equal(s.admin, "false");
}

struct echo {
    char args[256][512];
    char *argv[256];
    int argc;
};

static void on_echo(void *arg, const char *name, const char *value)
{
    struct echo *e = arg;
    assert_true((size_t)e->argc < TSDB_ARRAY_LEN(e->argv));
    snprintf(e->args[e->argc], sizeof e->args[e->argc], "--%s=%s", name, value);
    e->argv[e->argc] = e->args[e->argc];
    e->argc++;
}

static void server_options_visit__parsed_again__same_options(void **state)
{
    (void)state;
    static struct server_options a, b;
    static struct echo e;
    struct tsdb_error err = {0};
    bool help = false;
    server_options_default(&a);
    server_options_default(&b);
    server_options_visit(&a, on_echo, &e);
    assert_ok_err(server_options_parse(&b, e.argc, e.argv, &help, &err), &err);
    assert_memory_equal(&a, &b, sizeof a);
}

/* docs/config.md is made by `build/tidalite help --markdown > docs/config.md`. */
static void server_options_markdown__the_page_in_docs__is_the_same(void **state)
{
    (void)state;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    server_options_markdown(&b);
    static char page[1u << 17];
    FILE *f = fopen("docs/config.md", "rb");
    assert_non_null(f); /* tests run from the top of the tree */
    size_t len = fread(page, 1, sizeof page, f);
    fclose(f);
    assert_int_equal(len, b.len);
    assert_memory_equal(page, b.data, len);
    tsdb_buf_deinit(&b);
}

static void server_options_help__all_flags__at_most_100_columns(void **state)
{
    (void)state;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    server_options_help(&b);
    tsdb_buf_put_u8(&b, 0);
    size_t column = 0;
    for (size_t i = 0; i + 1 < b.len; i++) {
        column = b.data[i] == '\n' ? 0 : column + 1;
        assert_true(column <= 100);
    }
    assert_non_null(strstr((const char *)b.data, "--query.max-samples=50000000"));
    assert_non_null(strstr((const char *)b.data, "--[no-]web.enable-admin-api"));
    tsdb_buf_deinit(&b);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(server_options_default__nothing_given__documented_values),
    cmocka_unit_test(server_options_parse__both_syntaxes_and_each_type__set),
    cmocka_unit_test(server_options_parse__bad_input__named_in_the_error),
    cmocka_unit_test(server_options_settle__auto__derived_from_memory),
    cmocka_unit_test(server_options_parse__what_is_always_on__taken),
    cmocka_unit_test(server_options_parse__too_long_path__refused),
    cmocka_unit_test(server_options_visit__defaults__printed_in_the_flags_own_syntax),
    cmocka_unit_test(server_options_visit__parsed_again__same_options),
    cmocka_unit_test(server_options_markdown__the_page_in_docs__is_the_same),
    cmocka_unit_test(server_options_help__all_flags__at_most_100_columns),
};
TEST_MAIN(tests)
