/* Inside of the matchers: for matcher.c, pattern.c and tests.
 *
 * A pattern becomes terms, one per alternative; a term is a list of literals with gaps between
 * them:
 *
 *     foo.*ba[.]r   ->  RE2 (brackets)
 *     (foo|bar)-x   ->  "foo-x", "bar-x"                 shape SET
 *     foo.*bar.+    ->  "foo" >=0 "bar" >=1 ""           shape GLOB
 *
 * On valid UTF-8 a gap of at least one byte between literals is a gap of at least one character,
 * because both literals start at character boundaries.
 */
#ifndef INDEX_MATCH_MATCHER_PRIVATE_H
#define INDEX_MATCH_MATCHER_PRIVATE_H

#include "index/match/matcher.h"

enum index_pattern_shape {
    INDEX_PATTERN_SET = 0,
    INDEX_PATTERN_GLOB,
    INDEX_PATTERN_RE2
};

/* parts[0] starts the value, parts[part_count - 1] ends it; before parts[i], i > 0, lie at least
 * gaps[i] bytes. */
struct index_glob {
    struct tsdb_slice *parts;
    uint8_t *gaps; /* 0 or 1 */
    uint32_t part_count;
};
struct index_pattern {
    enum index_pattern_shape shape;
    struct tsdb_slice *set; /* SET: sorted, unique */
    uint32_t set_count;
    struct index_glob *globs; /* GLOB: the value matches if any matches */
    uint32_t glob_count;
};

/* Take a regular expression apart. shape is RE2 when that cannot be done (also for patterns that
 * are malformed: RE2 has the words for them). out borrows from the arena. Returns OK, or why the
 * arena failed. */
enum tsdb_status index_pattern_analyse(const char *pattern, size_t len, struct tsdb_arena *arena,
                                       struct index_pattern *out) TSDB_WUR;
/* Not for shape RE2. */
bool index_pattern_matches(const struct index_pattern *p, const char *value, size_t len);

enum index_pattern_shape index_matcher_shape(const struct index_matcher *m);

#endif
