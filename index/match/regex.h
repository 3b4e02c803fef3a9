/* Regular expressions in Go's syntax: RE2 behind a few lines of extern "C", the only C++ here.
 * Linear time whatever the pattern. Anchored at both ends, dot matches newline, UTF-8 (invalid
 * bytes in values never occur: labels are checked on the way in).
 *
 * Threads: a compiled regex is immutable; match from any. */
#ifndef INDEX_MATCH_REGEX_H
#define INDEX_MATCH_REGEX_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

struct index_regex;
/* INVALID with "error parsing regexp: ..." as Go words it where RE2's text differs little. */
enum tsdb_status index_regex_compile(const char *pattern, size_t len, struct index_regex **out,
                                     struct tsdb_error *err) TSDB_WUR;
void index_regex_destroy(struct index_regex *re); /* NULL is fine */
/* Does the whole of s match? */
bool index_regex_match(const struct index_regex *re, const char *s, size_t len);
/* For label_replace: match the whole of s, and expand `replacement` ($1, ${1}, $name, $$ as Go's
 * Expand does; unknown groups empty) into out. False if no match. */
struct tsdb_buf;
bool index_regex_expand(const struct index_regex *re, const char *s, size_t len,
                        const char *replacement, size_t replacement_len, struct tsdb_buf *out);

#endif
