/* Compiled matchers: run on distinct label values, never per series.
 *
 * A regular expression is taken apart first: a literal, an alternation of literals ("a|b|c", also
 * grouped), a prefix, a suffix, a "contains", everything/nothing empty (".*", ".+"); only the rest
 * asks RE2. All shortcuts must agree with RE2 on every input (a test fuzzes that).
 *
 * Threads: immutable after compile.
 */
#ifndef INDEX_MATCH_MATCHER_H
#define INDEX_MATCH_MATCHER_H

#include "model/matcher.h"

#include "base/arena.h"

struct index_matcher; /* one compiled matcher */

/* out borrows name and value of `m`. Owned by the caller: index_matcher_destroy. INVALID for a bad
 * pattern. */
enum tsdb_status index_matcher_compile(const struct tsdb_matcher *m, struct index_matcher **out,
                                       struct tsdb_error *err) TSDB_WUR;
/* The same with expressions of a query, which then own the automaton and must outlive the matcher;
 * NULL: as above. Also LIMIT, CANCELLED, TIMEOUT. */
struct index_regexes;
enum tsdb_status index_matcher_compile_in(const struct tsdb_matcher *m, struct index_regexes *set,
                                          struct index_matcher **out,
                                          struct tsdb_error *err) TSDB_WUR;
void index_matcher_destroy(struct index_matcher *m);
bool index_matcher_matches(const struct index_matcher *m, const char *value, size_t len);
bool index_matcher_matches_empty(const struct index_matcher *m);
const struct tsdb_matcher *index_matcher_source(const struct index_matcher *m);
/* The small set of values that the right-hand side equals or matches ("=", "a|b|c"), whatever the
 * operator, so that "!=" and "!~" name what they exclude: then postings are looked up, not scanned.
 * Sorted, unique; may hold the empty value, which means "no label". False if there is no such set.
 */
bool index_matcher_set(const struct index_matcher *m, const struct tsdb_slice **out_values,
                       uint32_t *out_count);
/* Does the matcher match every value, the empty one too (".*")? Conservative: false when it is not
 * known. */
bool index_matcher_matches_all(const struct index_matcher *m);

#endif
