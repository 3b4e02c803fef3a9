#include "server/api/fuzzy.h"

#define PREFIX_MAX   4u
#define PREFIX_BONUS 0.1

/* The code point at s, which is valid UTF-8 or stands for itself byte by byte. */
static uint32_t rune_at(struct tsdb_slice s, size_t at, size_t *out_bytes)
{
    uint8_t b = s.data[at];
    size_t bytes = b < 0xc0 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
    *out_bytes = 1;
    if (bytes == 1 || bytes > s.len - at) {
        return b;
    }
    uint32_t rune = b & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if ((s.data[at + i] & 0xc0) != 0x80) {
            return b;
        }
        rune = rune << 6 | (s.data[at + i] & 0x3fu);
    }
    *out_bytes = bytes;
    return rune;
}

enum tsdb_status fuzzy_text_make(struct tsdb_slice s, bool fold, struct tsdb_arena *arena,
                                 struct fuzzy_text *out)
{
    size_t cap = TSDB_MIN(s.len, (size_t)FUZZY_RUNES_MAX);
    uint32_t *runes = TSDB_ARENA_ARRAY(arena, uint32_t, cap + 1);
    if (!runes) {
        return tsdb_arena_status(arena);
    }
    uint32_t n = 0;
    for (size_t at = 0; at < s.len && n < cap;) {
        size_t bytes = 1;
        uint32_t r = rune_at(s, at, &bytes);
        runes[n++] = fold && r >= 'A' && r <= 'Z' ? r | 0x20 : r;
        at += bytes;
    }
    *out = (struct fuzzy_text){runes, n};
    return TSDB_OK;
}

static bool same_at(const struct fuzzy_text *pattern, const struct fuzzy_text *text, uint32_t at)
{
    for (uint32_t i = 0; i < pattern->count; i++) {
        if (text->runes[at + i] != pattern->runes[i]) {
            return false;
        }
    }
    return true;
}

bool fuzzy_is_prefix(const struct fuzzy_text *pattern, const struct fuzzy_text *text)
{
    return pattern->count <= text->count && same_at(pattern, text, 0);
}

bool fuzzy_contains(const struct fuzzy_text *pattern, const struct fuzzy_text *text)
{
    for (uint32_t at = 0; pattern->count + at <= text->count; at++) {
        if (same_at(pattern, text, at)) {
            return true;
        }
    }
    return false;
}

/* The raw score of the match that begins at `at`, where the first character stands. False: the
 * pattern does not fit from there on. */
static bool score_from(const struct fuzzy_text *pattern, const struct fuzzy_text *text, uint32_t at,
                       double *out)
{
    double per_rune = 1.0 / (double)text->count;
    double score = 0;
    uint32_t behind = 0; /* the last match */
    uint32_t matched = 0;
    for (uint32_t i = at; matched < pattern->count;) {
        while (i < text->count && text->runes[i] != pattern->runes[matched]) {
            i++;
        }
        if (i == text->count) {
            return false;
        }
        uint32_t begin = i;
        while (i < text->count && matched < pattern->count &&
               text->runes[i] == pattern->runes[matched]) {
            i++;
            matched++;
        }
        score -= (double)(begin - behind) * per_rune;
        double run = (double)(i - begin);
        score += run * run;
        behind = i;
    }
    *out = score - (double)(text->count - behind) * per_rune * 0.5;
    return true;
}

double fuzzy_subsequence(const struct fuzzy_text *pattern, const struct fuzzy_text *text)
{
    if (pattern->count == 0) {
        return 1;
    }
    if (pattern->count == text->count) {
        return same_at(pattern, text, 0) ? 1 : 0;
    }
    double best = -1;
    for (uint32_t at = 0; pattern->count + at <= text->count; at++) {
        double score = 0;
        if (text->runes[at] != pattern->runes[0]) {
            continue;
        }
        if (!score_from(pattern, text, at, &score)) {
            break; /* nor from any later place */
        }
        best = TSDB_MAX(best, score);
    }
    return best < 0 ? 0 : best / ((double)pattern->count * (double)pattern->count);
}

/* Mark what a and b have in common; returns how many characters. */
static uint32_t mark_common(const struct fuzzy_text *a, const struct fuzzy_text *b, uint8_t *in_a,
                            uint8_t *in_b)
{
    uint32_t longer = TSDB_MAX(a->count, b->count);
    uint32_t window = longer / 2 > 0 ? longer / 2 - 1 : 0;
    uint32_t common = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        uint32_t from = i > window ? i - window : 0;
        uint32_t to = TSDB_MIN(i + window + 1, b->count);
        for (uint32_t j = from; j < to; j++) {
            if (!in_b[j] && a->runes[i] == b->runes[j]) {
                in_a[i] = 1;
                in_b[j] = 1;
                common++;
                break;
            }
        }
    }
    return common;
}

double fuzzy_jaro_winkler(const struct fuzzy_text *a, const struct fuzzy_text *b, uint8_t *scratch)
{
    if (a->count == 0 || b->count == 0) {
        return a->count == b->count ? 1 : 0;
    }
    uint8_t *in_a = scratch;
    uint8_t *in_b = scratch + a->count;
    memset(scratch, 0, a->count + b->count);
    uint32_t common = mark_common(a, b, in_a, in_b);
    if (common == 0) {
        return 0;
    }
    uint32_t out_of_place = 0;
    uint32_t j = 0;
    for (uint32_t i = 0; i < a->count; i++) {
        if (in_a[i]) {
            while (!in_b[j]) {
                j++;
            }
            out_of_place += a->runes[i] != b->runes[j++];
        }
    }
    double m = common;
    double jaro = (m / a->count + m / b->count + (m - (double)(out_of_place / 2)) / m) / 3;
    uint32_t prefix = 0;
    while (prefix < PREFIX_MAX && prefix < a->count && prefix < b->count &&
           a->runes[prefix] == b->runes[prefix]) {
        prefix++;
    }
    return jaro + prefix * PREFIX_BONUS * (1 - jaro);
}
