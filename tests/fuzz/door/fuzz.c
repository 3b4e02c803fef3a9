/* The files of the door; the first byte chooses: --web.config.file, or --web.token.file. Invariants
 * checked: what is taken is within its bounds and ends, a fault names the file, tokens have scopes. */
#include "server/config/web_config.h"
#include "server/door/tokens.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void check_web(const struct web_config *c)
{
    size_t bytes = 0;
    must(c->user_count <= WEB_USERS_MAX && c->header_count <= WEB_HEADER_KINDS);
    must(c->tls.suite_count <= WEB_SUITES_MAX && c->tls.san_count <= WEB_SANS_MAX);
    must(!c->has_tls || (c->tls.cert_file[0] && c->tls.key_file[0]));
    for (uint32_t i = 0; i < c->user_count; i++) {
        must(strlen(c->users[i].hash) == 60 && c->users[i].name[0]);
    }
    for (uint32_t i = 0; i < c->header_count; i++) {
        must(c->headers[i].name != NULL);
        bytes += strlen(c->headers[i].value);
    }
    must(bytes <= WEB_HEADERS_BYTES);
}

static void check_tokens(const struct tokens *t)
{
    must(t->count <= TOKENS_MAX);
    for (uint32_t i = 0; i < t->count; i++) {
        must(t->items[i].scopes != 0 && t->items[i].name[0]);
        must(memchr(t->items[i].name, 0, TOKEN_NAME_BYTES) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tsdb_error err = {0};
    if (len == 0) {
        return 0;
    }
    char *text = malloc(len);
    must(text != NULL);
    memcpy(text, data + 1, len - 1);
    text[len - 1] = '\0';
    enum tsdb_status status = TSDB_OK;
    if (data[0] % 2 == 0) {
        struct web_config *c = NULL;
        status = web_config_parse("web.yml", text, len - 1, &c, &err);
        if (status == TSDB_OK) {
            check_web(c);
        }
        web_config_destroy(c);
    } else {
        struct tokens *t = NULL;
        status = tokens_parse("tokens", text, len - 1, &t, &err);
        if (status == TSDB_OK) {
            check_tokens(t);
        }
        tokens_destroy(t);
    }
    must(status == TSDB_OK || strncmp(err.msg, data[0] % 2 == 0 ? "web.yml:" : "tokens:", 7) == 0);
    free(text);
    return 0;
}
