#include "server/door/tokens.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "model/request.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>

#define SUM_PREFIX "sha256:"

void token_sum(const char *secret, size_t len, uint8_t out[TOKEN_SUM_BYTES])
{
    memset(out, 0, TOKEN_SUM_BYTES);
    (void)gnutls_hash_fast(GNUTLS_DIG_SHA256, secret, len, out);
}

unsigned token_scopes_parse(const char *text, size_t len)
{
    static const struct {
        const char *name;
        unsigned scope;
    } scopes[] = {
        {"read", TSDB_SCOPE_READ}, {"write", TSDB_SCOPE_WRITE}, {"admin", TSDB_SCOPE_ADMIN}};
    unsigned found = 0;
    for (size_t at = 0; at <= len;) {
        const char *comma = memchr(text + at, ',', len - at);
        size_t n = comma ? (size_t)(comma - text) - at : len - at;
        unsigned one = 0;
        for (size_t i = 0; i < TSDB_ARRAY_LEN(scopes); i++) {
            if (strlen(scopes[i].name) == n && memcmp(scopes[i].name, text + at, n) == 0) {
                one = scopes[i].scope;
            }
        }
        if (one == 0) {
            return 0;
        }
        found |= one;
        at += n + 1;
    }
    return found;
}

static bool parse_sum(const char *text, size_t len, uint8_t out[TOKEN_SUM_BYTES])
{
    size_t prefix = sizeof SUM_PREFIX - 1;
    if (len != prefix + 2 * TOKEN_SUM_BYTES || memcmp(text, SUM_PREFIX, prefix) != 0) {
        return false;
    }
    gnutls_datum_t hex = {(unsigned char *)(uintptr_t)(text + prefix), 2 * TOKEN_SUM_BYTES};
    size_t size = TOKEN_SUM_BYTES;
    return gnutls_hex_decode(&hex, out, &size) == 0 && size == TOKEN_SUM_BYTES;
}

#define FIELDS 3
/* The words of a line, at most FIELDS + 1 of them. */
static uint32_t split(const char *line, size_t len, struct tsdb_slice words[FIELDS + 1])
{
    uint32_t n = 0;
    for (size_t at = 0; at < len && n <= FIELDS;) {
        size_t blank = 0;
        while (at + blank < len && strchr(" \t\r", line[at + blank])) {
            blank++;
        }
        at += blank;
        size_t word = 0;
        while (at + word < len && !strchr(" \t\r", line[at + word])) {
            word++;
        }
        if (word > 0) {
            words[n++] = (struct tsdb_slice){(const uint8_t *)line + at, word};
        }
        at += word;
    }
    return n;
}

static bool parse_line(const struct tsdb_slice words[FIELDS], struct token *out)
{
    const char *name = (const char *)words[0].data;
    if (words[0].len >= sizeof out->name) {
        return false;
    }
    memcpy(out->name, name, words[0].len);
    out->name[words[0].len] = '\0';
    out->scopes = token_scopes_parse((const char *)words[1].data, words[1].len);
    return out->scopes != 0 && parse_sum((const char *)words[2].data, words[2].len, out->sum);
}

static enum tsdb_status parse_lines(const char *name, const char *text, size_t len,
                                    struct tokens *t, struct tsdb_error *err)
{
    uint32_t number = 0;
    for (size_t at = 0; at < len;) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t n = end ? (size_t)(end - text) - at : len - at;
        struct tsdb_slice words[FIELDS + 1];
        uint32_t count = split(text + at, n, words);
        number++;
        at += n + 1;
        if (count == 0 || words[0].data[0] == '#') {
            continue;
        }
        if (t->count == TOKENS_MAX || count != FIELDS || !parse_line(words, &t->items[t->count])) {
            return tsdb_error_set(
                err, TSDB_INVALID,
                "%s:%u: expected \"name scopes sha256:<64 hex digits>\", scopes of "
                "read, write, admin with commas, at most %u lines",
                name, number, TOKENS_MAX);
        }
        t->count++;
    }
    return TSDB_OK;
}

enum tsdb_status tokens_parse(const char *name, const char *text, size_t len, struct tokens **out,
                              struct tsdb_error *err)
{
    struct tokens *t = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *t);
    if (!t) {
        return tsdb_error_nomem(err, "tokens");
    }
    enum tsdb_status status = parse_lines(name, text, len, t, err);
    if (status != TSDB_OK) {
        tokens_destroy(t);
        return status;
    }
    *out = t;
    return TSDB_OK;
}

void tokens_destroy(struct tokens *t)
{
    tsdb_mem_free(TSDB_MEM_SERVER, t, sizeof *t);
}

const struct token *tokens_find(const struct tokens *t, const char *secret, size_t len)
{
    uint8_t sum[TOKEN_SUM_BYTES];
    token_sum(secret, len, sum);
    const struct token *found = NULL;
    for (uint32_t i = 0; i < t->count; i++) {
        if (gnutls_memcmp(t->items[i].sum, sum, TOKEN_SUM_BYTES) == 0) {
            found = &t->items[i];
        }
    }
    return found;
}
