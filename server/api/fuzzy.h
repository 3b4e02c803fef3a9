/* How well a name fits what somebody typed: the two scores of Prometheus's search API, 0 to 1.
 *
 *   subsequence     all characters of the pattern in order; runs of neighbours count by their square,
 *                   gaps against it, the end behind the match by half:
 *                     (sum of run^2 - sum of gap / n - rest / 2n) / pattern^2
 *                   The best over all places where the pattern may begin, each taken greedily.
 *   Jaro-Winkler    characters in common within half the length, transpositions, and a bonus for up
 *                   to four equal ones at the front
 *
 * Threads: pure. */
#ifndef SERVER_API_FUZZY_H
#define SERVER_API_FUZZY_H

#include "base/arena.h"
#include "base/bytes.h"

/* Beyond it, a text is scored by its beginning: both scores cost the product of the lengths. */
#define FUZZY_RUNES_MAX 2048u

struct fuzzy_text {
    const uint32_t *runes; /* code points */
    uint32_t count;
};
/* fold: ASCII letters become small. From the arena; NOMEM, LIMIT. */
enum tsdb_status fuzzy_text_make(struct tsdb_slice s, bool fold, struct tsdb_arena *arena,
                                 struct fuzzy_text *out) TSDB_WUR;

bool fuzzy_is_prefix(const struct fuzzy_text *pattern, const struct fuzzy_text *text);
bool fuzzy_contains(const struct fuzzy_text *pattern, const struct fuzzy_text *text);
/* 0: no subsequence. */
double fuzzy_subsequence(const struct fuzzy_text *pattern, const struct fuzzy_text *text);
/* scratch[a->count + b->count] */
double fuzzy_jaro_winkler(const struct fuzzy_text *a, const struct fuzzy_text *b, uint8_t *scratch);

#endif
