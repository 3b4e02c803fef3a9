/* What regex_re2.cc offers to regex.c: RE2 as C sees it. Plain types only, because C++ cannot
 * include base/alloc.h. */
#ifndef INDEX_MATCH_REGEX_PRIVATE_H
#define INDEX_MATCH_REGEX_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct index_re2;

/* One group's place in the subject; begin == NULL if the group took no part in the match. */
struct index_re2_span {
    const char *begin;
    size_t len;
};

/* The pattern was checked (syntax_private.h). Returns NULL and a message in err[cap] if RE2 does not
 * take it all the same; NULL and an empty message when memory is out. */
/* bytes_max bounds the program, and its lazily built automaton: then RE2 starts that anew. */
struct index_re2 *index_re2_create(const char *pattern, size_t len, int64_t bytes_max, char *err,
                                   size_t cap);
void index_re2_destroy(struct index_re2 *re); /* NULL is fine */
/* Instructions of its program. */
unsigned long index_re2_size(const struct index_re2 *re);
/* Anchored at both ends. */
bool index_re2_match(const struct index_re2 *re, const char *s, size_t len);
/* Capturing groups, the whole match (0) not counted. */
size_t index_re2_group_count(const struct index_re2 *re);
/* Match the whole of s and fill out[0 .. group_count]. False if there is no match or no memory. */
bool index_re2_groups(const struct index_re2 *re, const char *s, size_t len,
                      struct index_re2_span *out);
/* Bytes of s that are letters, decimal digits and '_' in Unicode's sense, from the start. */
size_t index_re2_word_prefix(const char *s, size_t len);

#ifdef __cplusplus
}
#endif

#endif
