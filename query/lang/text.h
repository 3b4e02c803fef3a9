/* Strings as Go writes them in Prometheus's answers and error texts: quoting (%q), runes, unquoting
 * of PromQL strings, durations. Threads: pure. Errors of printing: the buffer's sticky `failed`. */
#ifndef QUERY_LANG_TEXT_H
#define QUERY_LANG_TEXT_H

#include "base/arena.h"
#include "base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed string that is not NUL-terminated and may hold any byte. */
struct query_str {
    const char *data;
    uint32_t len;
};

#define QUERY_RUNE_ERROR 0xFFFDu
/* Decode one rune of s[0..len), len > 0. An invalid byte gives QUERY_RUNE_ERROR with width 1. */
uint32_t query_rune_decode(const char *s, size_t len, size_t *out_width);

/* "..." with Go's escapes; at most `runes_max` runes of s (0 = all). */
void query_quote(struct tsdb_buf *out, const char *s, size_t len, size_t runes_max);
/* '.' as %q prints a rune. */
void query_quote_rune(struct tsdb_buf *out, uint32_t rune);
/* A name that needs no quotes: [a-zA-Z_][a-zA-Z0-9_]* */
bool query_name_is_plain(const char *s, size_t len);
/* The content of a PromQL string literal, quotes included in s; copied to the arena only if it
 * holds escapes. The escapes must have been checked by the lexer. Returns false when memory is out
 * (arena->failure says why). */
bool query_unquote(struct tsdb_arena *arena, const char *s, size_t len, struct query_str *out);

enum query_duration_fault {
    QUERY_DURATION_OK = 0,
    QUERY_DURATION_INVALID, /* no numbers with units, or a unit twice or out of order */
    QUERY_DURATION_UNIT,    /* no such unit: *out_unit */
    QUERY_DURATION_RANGE    /* beyond int64 */
};
/* A duration literal ("1h30m") in nanoseconds. */
enum query_duration_fault query_duration_parse(const char *s, size_t len, int64_t *out_ns,
                                               struct query_str *out_unit);

#endif
