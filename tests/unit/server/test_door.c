/* The door without sockets: configuration of the web, tokens, users, limits of clients. */
#include "tests/support/test.h"

#include "model/request.h"
#include "server/config/web_config.h"
#include "server/door/door.h"
#include "server/door/limits.h"
#include "server/door/tokens.h"
#include "server/door/users.h"

#include <crypt.h>
#include <stdio.h>

/* ---- --web.config.file ---- */

#define HASH "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"

static struct web_config *parse_web(const char *text)
{
    struct web_config *c = NULL;
    struct tsdb_error err = {0};
    assert_ok_err(web_config_parse("dir/web.yml", text, strlen(text), &c, &err), &err);
    return c;
}

static void web_config__whole__every_field(void **state)
{
    (void)state;
    struct web_config *c = parse_web("tls_server_config:\n"
                                     "  cert_file: server.pem\n"
                                     "  key_file: /keys/server.key\n"
                                     "  client_auth_type: RequireAndVerifyClientCert\n"
                                     "  client_ca_file: ca.pem\n"
                                     "  client_allowed_sans: [prometheus, grafana]\n"
                                     "  min_version: TLS13\n"
                                     "  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n"
                                     "  curve_preferences: [X25519]\n"
                                     "  prefer_server_cipher_suites: true\n"
                                     "http_server_config:\n"
                                     "  http2: true\n"
                                     "  headers:\n"
                                     "    X-Frame-Options: SAMEORIGIN\n"
                                     "    X-XSS-Protection: \"\"\n"
                                     "basic_auth_users:\n"
                                     "  alice: " HASH "\n");
    assert_true(c->has_tls);
    assert_string_equal(c->tls.cert_file, "dir/server.pem");
    assert_string_equal(c->tls.key_file, "/keys/server.key");
    assert_string_equal(c->tls.client_ca_file, "dir/ca.pem");
    assert_int_equal(c->tls.client_auth, WEB_CLIENT_REQUIRE_VERIFIED);
    assert_int_equal(c->tls.san_count, 2);
    assert_int_equal(c->tls.min_version, 13);
    assert_int_equal(c->tls.suite_count, 1);
    assert_int_equal(c->header_count, 1); /* an empty one is none */
    assert_string_equal(c->headers[0].name, "X-Frame-Options");
    assert_int_equal(c->user_count, 1);
    assert_string_equal(c->users[0].name, "alice");
    assert_string_equal(c->users[0].hash, HASH);
    web_config_destroy(c);
}

static void web_config__empty__nothing_is_asked(void **state)
{
    (void)state;
    struct web_config *c = parse_web("");
    assert_false(c->has_tls);
    assert_int_equal(c->user_count, 0);
    web_config_destroy(c);
}

static void web_config__wrong__names_file_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"tls:\n", "dir/web.yml:1: unknown key \"tls\""},
        {"basic_auth_users:\n  bob: secret\n", "dir/web.yml:2: expected a bcrypt hash"},
        {"basic_auth_users:\n  a: " HASH "\n  a: " HASH "\n", "dir/web.yml:3: duplicate key \"a\""},
        {"tls_server_config:\n  cert_file: c\n", "dir/web.yml:1: tls_server_config misses"},
        {"tls_server_config:\n  min_version: SSL3\n", "dir/web.yml:2: expected TLS10"},
        {"tls_server_config:\n  cert_file: c\n  key_file: k\n  client_auth_type: "
         "VerifyClientCertIfGiven\n",
         "dir/web.yml:1: this client_auth_type needs \"client_ca_file\""},
        {"tls_server_config:\n  cert_file: c\n  key_file: k\n  min_version: TLS13\n  max_version: "
         "TLS12\n",
         "dir/web.yml:1: max_version is below"},
        {"http_server_config:\n  headers:\n    Server: x\n",
         "dir/web.yml:3: this header cannot be set"},
        {"http_server_config:\n  headers:\n    X-Frame-Options: \"a\\nb\"\n",
         "dir/web.yml:3: control characters"},
        {"- a\n", "dir/web.yml:1: expected a mapping"},
        {"a: [\n", "dir/web.yml:"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        struct web_config *c = NULL;
        struct tsdb_error err = {0};
        assert_int_equal(
            web_config_parse("dir/web.yml", rows[i].text, strlen(rows[i].text), &c, &err),
            TSDB_INVALID);
        if (!strstr(err.msg, rows[i].expected)) {
            fail_msg("%s: \"%s\" lacks \"%s\"", rows[i].text, err.msg, rows[i].expected);
        }
    }
}

/* ---- tokens ---- */

static void tokens__file__only_the_secret_opens(void **state)
{
    (void)state;
    char text[512];
    char hex[2 * TOKEN_SUM_BYTES + 1];
    uint8_t sum[TOKEN_SUM_BYTES];
    token_sum("opensesame", 10, sum);
    for (size_t i = 0; i < sizeof sum; i++) {
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    }
    snprintf(text, sizeof text,
             "# who\n\ngrafana\tread sha256:%s\r\nagents write,admin sha256:%064d\n", hex, 0);
    struct tokens *t = NULL;
    struct tsdb_error err = {0};
    assert_ok_err(tokens_parse("tokens", text, strlen(text), &t, &err), &err);
    assert_int_equal(t->count, 2);
    const struct token *found = tokens_find(t, "opensesame", 10);
    assert_non_null(found);
    assert_string_equal(found->name, "grafana");
    assert_int_equal(found->scopes, TSDB_SCOPE_READ);
    assert_int_equal(t->items[1].scopes, TSDB_SCOPE_WRITE | TSDB_SCOPE_ADMIN);
    assert_null(tokens_find(t, "opensesam", 9));
    assert_null(tokens_find(t, "", 0));
    assert_null(tokens_find(t, hex, strlen(hex))); /* what is stored opens nothing */
    tokens_destroy(t);
}

static void tokens__wrong_line__named(void **state)
{
    (void)state;
    static const char *const lines[] = {"a read\n", "a read,run sha256:00\n", "a read sha256:0g\n",
                                        "a , sha256:\n", "a read md5:00 more\n"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(lines); i++) {
        char text[256];
        struct tokens *t = NULL;
        struct tsdb_error err = {0};
        snprintf(text, sizeof text, "# x\n%s", lines[i]);
        assert_int_equal(tokens_parse("tokens", text, strlen(text), &t, &err), TSDB_INVALID);
        assert_non_null(strstr(err.msg, "tokens:2: expected"));
    }
}

/* ---- users ---- */

static int64_t now_ns;

static int64_t fixed_mono_ns(void *ctx)
{
    (void)ctx;
    now_ns += 30000000; /* each look at it costs 30 ms: so does a comparison */
    return now_ns;
}

static int64_t fixed_wall_ms(void *ctx)
{
    (void)ctx;
    return 0;
}

static struct tsdb_clock fixed_clock(void)
{
    return (struct tsdb_clock){fixed_wall_ms, fixed_mono_ns, NULL};
}

static void make_hash(const char *password, char out[64])
{
    static struct crypt_data data;
    char salt[CRYPT_GENSALT_OUTPUT_SIZE];
    assert_non_null(crypt_gensalt_rn("$2b$", 4, "0123456789abcdef", 16, salt, sizeof salt));
    snprintf(out, 64, "%s", crypt_r(password, salt, &data));
}

static void users__right_and_wrong__compared_once_each(void **state)
{
    (void)state;
    static struct users u;
    char hash[64];
    make_hash("secret", hash);
    users_init(&u, fixed_clock());
    for (int i = 0; i < 20; i++) {
        assert_int_equal(users_check(&u, "alice", "secret", hash), USERS_RIGHT);
        assert_int_equal(users_check(&u, "alice", "Secret", hash), USERS_WRONG);
        assert_int_equal(users_check(&u, "bob", "secret", NULL), USERS_WRONG);
    }
    assert_int_equal(users_comparisons(&u), 3);
    users_deinit(&u);
}

static void users__other_hash_for_a_name__old_password_is_forgotten(void **state)
{
    (void)state;
    static struct users u;
    char before[64];
    char after[64];
    make_hash("old", before);
    make_hash("new", after);
    users_init(&u, fixed_clock());
    assert_int_equal(users_check(&u, "alice", "old", before), USERS_RIGHT);
    assert_int_equal(users_check(&u, "alice", "old", after), USERS_WRONG);
    assert_int_equal(users_check(&u, "alice", "new", after), USERS_RIGHT);
    users_deinit(&u);
}

static void users__flood_of_guesses__busy_and_the_known_go_on(void **state)
{
    (void)state;
    static struct users u;
    char hash[64];
    make_hash("secret", hash);
    users_init(&u, fixed_clock());
    assert_int_equal(users_check(&u, "alice", "secret", hash), USERS_RIGHT);
    uint32_t busy = 0;
    for (int i = 0; i < 1000; i++) {
        char guess[32];
        snprintf(guess, sizeof guess, "guess%d", i);
        enum users_verdict v = users_check(&u, "alice", guess, hash);
        assert_int_not_equal(v, USERS_RIGHT);
        busy += v == USERS_BUSY;
        if (i % 50 == 0) {
            assert_int_equal(users_check(&u, "alice", "secret", hash), USERS_RIGHT);
        }
    }
    assert_true(busy > 100);
    users_deinit(&u);
}

/* ---- limits ---- */

static int64_t limits_now_ns;

static int64_t limits_mono_ns(void *ctx)
{
    (void)ctx;
    return limits_now_ns;
}

static void limits_begin(struct limits *l, const struct limits_options *o)
{
    limits_now_ns = INT64_C(1000000000000);
    limits_init(l, o, (struct tsdb_clock){fixed_wall_ms, limits_mono_ns, NULL});
}

static void limits__none__nobody_waits(void **state)
{
    (void)state;
    static struct limits l;
    uint32_t wait = 0;
    limits_begin(&l, &(struct limits_options){0});
    for (int i = 0; i < 10000; i++) {
        assert_true(limits_take(&l, "a", UINT64_MAX, &wait));
        limits_charge(&l, "a", UINT64_MAX);
        assert_true(limits_query_begin(&l, "a"));
    }
    limits_deinit(&l);
}

static void limits__requests__a_second_of_them_then_as_the_clock_goes(void **state)
{
    (void)state;
    static struct limits l;
    uint32_t wait = 0;
    limits_begin(&l, &(struct limits_options){.requests = 10});
    uint32_t taken = 0;
    for (int i = 0; i < 100; i++) {
        taken += limits_take(&l, "a", 0, &wait);
    }
    assert_in_range(taken, 10, 11);
    assert_int_equal(wait, 1);
    assert_true(limits_take(&l, "b", 0, &wait)); /* of its own */
    limits_now_ns += 500000000;
    taken = 0;
    for (int i = 0; i < 100; i++) {
        taken += limits_take(&l, "a", 0, &wait);
    }
    assert_int_equal(taken, 5);
    limits_deinit(&l);
}

static void limits__samples__stored_and_paid_off_later(void **state)
{
    (void)state;
    static struct limits l;
    uint32_t wait = 0;
    limits_begin(&l, &(struct limits_options){.samples = 1000});
    assert_true(limits_take(&l, "a", 0, &wait));
    limits_charge(&l, "a", 5000);
    assert_false(limits_take(&l, "a", 0, &wait));
    assert_int_equal(wait, 4);
    limits_now_ns += INT64_C(4000000000);
    assert_true(limits_take(&l, "a", 0, &wait));
    limits_charge(&l, "a", UINT64_MAX); /* a debt has an end */
    assert_false(limits_take(&l, "a", 0, &wait));
    assert_true(wait <= 3600);
    limits_deinit(&l);
}

static void limits__bytes_without_a_length__paid_off_later(void **state)
{
    (void)state;
    static struct limits l;
    uint32_t wait = 0;
    limits_begin(&l, &(struct limits_options){.bytes = 1000});
    assert_true(limits_take(&l, "a", 0, &wait));
    limits_charge_bytes(&l, "a", 3000);
    assert_false(limits_take(&l, "a", 0, &wait));
    assert_int_equal(wait, 2);
    assert_true(limits_take(&l, "b", 0, &wait));
    limits_deinit(&l);
}

static void limits__new_series__an_hour_of_them_that_comes_back(void **state)
{
    (void)state;
    static struct limits l;
    uint32_t wait = 0;
    limits_begin(&l, &(struct limits_options){.series = 3600});
    assert_int_equal(limits_series_left(&l, "a"), 3600);
    limits_charge_series(&l, "a", 3000);
    assert_int_equal(limits_series_left(&l, "a"), 600);
    assert_int_equal(limits_series_left(&l, "b"), 3600);
    limits_charge_series(&l, "a", UINT64_MAX); /* a debt has an end */
    assert_int_equal(limits_series_left(&l, "a"), 0);
    assert_true(limits_take(&l, "a", 0, &wait)); /* nobody waits for it */
    limits_now_ns += INT64_C(1000000000) * 60;
    assert_int_equal(limits_series_left(&l, "a"), 60);
    limits_now_ns += INT64_C(1000000000) * 7200;
    assert_int_equal(limits_series_left(&l, "a"), 3600);
    limits_deinit(&l);
    limits_begin(&l, &(struct limits_options){0});
    limits_charge_series(&l, "a", 1);
    assert_int_equal(limits_series_left(&l, "a"), UINT64_MAX);
    limits_deinit(&l);
}

static void limits__queries__as_many_as_allowed_at_once(void **state)
{
    (void)state;
    static struct limits l;
    limits_begin(&l, &(struct limits_options){.queries = 2});
    assert_true(limits_query_begin(&l, "a"));
    assert_true(limits_query_begin(&l, "a"));
    assert_false(limits_query_begin(&l, "a"));
    assert_true(limits_query_begin(&l, "b"));
    limits_query_end(&l, "a");
    assert_true(limits_query_begin(&l, "a"));
    limits_deinit(&l);
}

static void limits__more_clients_than_places__bounded_and_nobody_is_locked_out(void **state)
{
    (void)state;
    static struct limits l;
    uint32_t wait = 0;
    limits_begin(&l, &(struct limits_options){.requests = 1});
    for (uint32_t i = 0; i < 10 * LIMITS_CLIENTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "10.0.%u.%u", i / 256, i % 256);
        assert_true(limits_take(&l, name, 0, &wait));
    }
    limits_deinit(&l);
}

/* ---- URLs ---- */

static void url__forms__host_and_path(void **state)
{
    (void)state;
    struct tsdb_slice host;
    const char *path = NULL;
    assert_true(door_url_split("https://metrics.example:9494/prom/", &host, &path));
    assert_int_equal(host.len, strlen("metrics.example:9494"));
    assert_string_equal(path, "/prom/");
    assert_true(door_url_split("http://[::1]", &host, &path));
    assert_string_equal(path, "");
    static const char *const wrong[] = {"",          "metrics.example", "ftp://x",    "http://",
                                        "http:///a", "http://a@b/",     "http://a/?q"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(wrong); i++) {
        assert_false(door_url_split(wrong[i], &host, &path));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(web_config__whole__every_field),
        cmocka_unit_test(web_config__empty__nothing_is_asked),
        cmocka_unit_test(web_config__wrong__names_file_and_line),
        cmocka_unit_test(tokens__file__only_the_secret_opens),
        cmocka_unit_test(tokens__wrong_line__named),
        cmocka_unit_test(users__right_and_wrong__compared_once_each),
        cmocka_unit_test(users__other_hash_for_a_name__old_password_is_forgotten),
        cmocka_unit_test(users__flood_of_guesses__busy_and_the_known_go_on),
        cmocka_unit_test(limits__none__nobody_waits),
        cmocka_unit_test(limits__requests__a_second_of_them_then_as_the_clock_goes),
        cmocka_unit_test(limits__samples__stored_and_paid_off_later),
        cmocka_unit_test(limits__bytes_without_a_length__paid_off_later),
        cmocka_unit_test(limits__new_series__an_hour_of_them_that_comes_back),
        cmocka_unit_test(limits__queries__as_many_as_allowed_at_once),
        cmocka_unit_test(limits__more_clients_than_places__bounded_and_nobody_is_locked_out),
        cmocka_unit_test(url__forms__host_and_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
