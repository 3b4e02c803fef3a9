/* Regular expressions in Go's syntax and with Go's errors (syntax_private.h): RE2 behind a few lines
 * of extern "C", the only C++ here. Linear time whatever the pattern. Anchored at both ends, dot matches newline, UTF-8 (invalid
 * bytes in values never occur: labels are checked on the way in).
 *
 * Threads: a compiled regex is immutable; match from any. */
#ifndef INDEX_MATCH_REGEX_H
#define INDEX_MATCH_REGEX_H

#include "model/request.h"

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct index_regex;
struct tsdb_arena;

/* Is it one? No automaton is made. *out_matches_empty: does it match the empty text. INVALID with
 * Go's "error parsing regexp: ...", whole in the arena (may be NULL); NOMEM. */
enum tsdb_status index_regex_check(const char *pattern, size_t len, struct tsdb_arena *arena,
                                   bool *out_matches_empty, struct tsdb_error *err) TSDB_WUR;
/* INVALID as above, and "expression too large" for what RE2 takes more than 16 MiB for. */
enum tsdb_status index_regex_compile(const char *pattern, size_t len, struct index_regex **out,
                                     struct tsdb_error *err) TSDB_WUR;
void index_regex_destroy(struct index_regex *re); /* NULL is fine */
/* Instructions of its program: what making it takes in time and memory is about proportional. */
uint64_t index_regex_size(const struct index_regex *re);
/* Does the whole of s match? */
bool index_regex_match(const struct index_regex *re, const char *s, size_t len);
/* For label_replace: match the whole of s, and expand `replacement` ($1, ${1}, $name, $$ as Go's
 * Expand does; unknown groups empty; of several groups of one name the first that took part) into
 * out. False if no match. */
struct tsdb_buf;
bool index_regex_expand(const struct index_regex *re, const char *s, size_t len,
                        const char *replacement, size_t replacement_len, struct tsdb_buf *out);

/* The expressions of a query: each is compiled once; between them the time and the cancel of the
 * request are looked at, and together they may have as many instructions as the request says. Start
 * with {request}; NULL: no limits. Threads: one. */
struct index_regexes {
    struct tsdb_request *request;
    struct index_regex *first;
};
void index_regexes_deinit(struct index_regexes *s);
/* *out belongs to s. As index_regex_compile; LIMIT, CANCELLED, TIMEOUT. */
enum tsdb_status index_regexes_get(struct index_regexes *s, const char *pattern, size_t len,
                                   struct index_regex **out, struct tsdb_error *err) TSDB_WUR;

#endif
