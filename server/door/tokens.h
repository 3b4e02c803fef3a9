/* Bearer tokens: a file with a line each,
 *
 *   # name  scopes  sum
 *   grafana read sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
 *   agents  read,write sha256:...
 *
 * Only the SHA-256 of a token is stored. Immutable after load. */
#ifndef SERVER_DOOR_TOKENS_H
#define SERVER_DOOR_TOKENS_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

#define TOKENS_MAX       1024u
#define TOKEN_SUM_BYTES  32
#define TOKEN_NAME_BYTES 64

struct token {
    char name[TOKEN_NAME_BYTES];
    unsigned scopes; /* enum tsdb_scope bits */
    uint8_t sum[TOKEN_SUM_BYTES];
};
struct tokens {
    uint32_t count;
    struct token items[TOKENS_MAX];
};

/* text[len] untrusted, with a NUL behind it. INVALID with name and line; NOMEM. */
enum tsdb_status tokens_parse(const char *name, const char *text, size_t len, struct tokens **out,
                              struct tsdb_error *err) TSDB_WUR;
void tokens_destroy(struct tokens *t); /* NULL is fine */
/* The token whose secret this is, or NULL. Takes the same time for every secret. */
const struct token *tokens_find(const struct tokens *t, const char *secret, size_t len);
void token_sum(const char *secret, size_t len, uint8_t out[TOKEN_SUM_BYTES]);
/* "read,write": bits, or 0 if it is no list of scopes. */
unsigned token_scopes_parse(const char *text, size_t len);

#endif
