/* `tidalite token`: a new secret, and the line that lets it in. */
#include "server/door/token_command.h"
#include "base/random.h"
#include "server/door/tokens.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SECRET_BYTES 32

static const char usage[] =
    "usage: tidalite token NAME SCOPES\n"
    "\n"
    "Makes a bearer token. The secret goes to stdout, once: it is stored nowhere. The line for\n"
    "--web.token.file goes to stderr; it has the secret's SHA-256 only.\n"
    "\n"
    "  NAME    who it is for: without blanks, at most 63 bytes\n"
    "  SCOPES  read, write, admin; with commas\n"
    "\n"
    "Example: tidalite token grafana read 2>> tokens\n";

static void print_hex(FILE *to, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        fprintf(to, "%02x", data[i]);
    }
    fputc('\n', to);
}

int token_command(int argc, char **argv)
{
    bool help = argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0);
    if (help) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc != 2 || argv[0][0] == '\0' || argv[0][0] == '#' || strpbrk(argv[0], " \t\r\n") ||
        strlen(argv[0]) >= TOKEN_NAME_BYTES || token_scopes_parse(argv[1], strlen(argv[1])) == 0) {
        fputs(usage, stderr);
        return 2;
    }
    uint8_t random[SECRET_BYTES];
    char secret[2 * SECRET_BYTES + 1];
    uint8_t sum[TOKEN_SUM_BYTES];
    tsdb_random_fill(&tsdb_random_system, random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++) {
        snprintf(secret + 2 * i, 3, "%02x", random[i]);
    }
    token_sum(secret, strlen(secret), sum);
    printf("%s\n", secret);
    fprintf(stderr, "%s %s sha256:", argv[0], argv[1]);
    print_hex(stderr, sum, sizeof sum);
    return 0;
}
