/* Patterns that need no automaton. See matcher_private.h. */
#include "index/match/matcher_private.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 16
/* What the alternatives of groups may multiply to: beyond, an automaton is better. Alternatives
 * that the pattern spells out one by one are not limited; the pattern's length is. */
#define PRODUCT_MAX 1024u
/* Copied for all products of a pattern: "(a)(b)(c)..." is not to be quadratic. */
#define PRODUCT_TOKENS_MAX (1u << 16)
/* Tried one after the other: an automaton is slower by far, as its states are sets of places in all
 * of them. */
#define GLOBS_MAX (1u << 18)
#define GLOBS_FEW 32u /* beyond, what is in the value is looked at first */

enum {
    TOKEN_STAR = 256, /* ".*" */
    TOKEN_PLUS = 257, /* ".+" */
};

/* One alternative: literal bytes and gaps. */
struct term {
    const uint16_t *tokens;
    uint32_t count;
};
struct terms {
    struct term *items;
    uint32_t count;
    uint32_t cap;
};
struct parse {
    const char *pos;
    const char *end;
    struct tsdb_arena *arena;
    enum tsdb_status status; /* of the arena */
    uint32_t depth;
    uint64_t product_tokens;
};

static bool out_of_memory(struct parse *p)
{
    p->status = p->arena->failure;
    return false;
}

static bool terms_put(struct parse *p, struct terms *t, struct term item)
{
    if (t->count == t->cap) {
        uint32_t cap = t->cap ? t->cap * 2 : 1;
        struct term *items = TSDB_ARENA_ARRAY(p->arena, struct term, cap);
        if (!items) {
            return out_of_memory(p);
        }
        if (t->count > 0) {
            memcpy(items, t->items, t->count * sizeof *items);
        }
        t->items = items;
        t->cap = cap;
    }
    t->items[t->count++] = item;
    return true;
}

/* t = t x right: every alternative of the one followed by every alternative of the other. */
static bool terms_multiply(struct parse *p, struct terms *t, const struct terms *right)
{
    if (t->count == 1 && t->items[0].count == 0) {
        *t = *right;
        return true;
    }
    if ((uint64_t)t->count * right->count > PRODUCT_MAX) {
        return false;
    }
    struct terms out = {0};
    for (uint32_t i = 0; i < t->count; i++) {
        for (uint32_t j = 0; j < right->count; j++) {
            const struct term *a = &t->items[i];
            const struct term *b = &right->items[j];
            p->product_tokens += (uint64_t)a->count + b->count + 1;
            if (p->product_tokens > PRODUCT_TOKENS_MAX) {
                return false;
            }
            uint16_t *tokens =
                TSDB_ARENA_ARRAY(p->arena, uint16_t, (size_t)a->count + b->count + 1);
            if (!tokens) {
                return out_of_memory(p);
            }
            memcpy(tokens, a->tokens, a->count * sizeof *tokens);
            memcpy(tokens + a->count, b->tokens, b->count * sizeof *tokens);
            if (!terms_put(p, &out, (struct term){tokens, a->count + b->count})) {
                return false;
            }
        }
    }
    *t = out;
    return true;
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* ".*" or ".+", greedy or not: with both ends anchored that makes no difference. */
static bool parse_gap(struct parse *p, uint16_t *out_token)
{
    if (p->end - p->pos < 2 || (p->pos[1] != '*' && p->pos[1] != '+')) {
        return false;
    }
    *out_token = p->pos[1] == '*' ? TOKEN_STAR : TOKEN_PLUS;
    p->pos += 2;
    if (p->pos < p->end && *p->pos == '?') {
        p->pos++;
    }
    return true;
}

/* A character that stands for itself, or an escaped ASCII punctuation mark. A quantifier, whatever
 * it is behind, is found here, at the place of the next literal, and is not of the simple kind. */
static bool parse_literal(struct parse *p, uint16_t *out_token)
{
    unsigned char c = (unsigned char)*p->pos++;
    if (c == '\\') {
        if (p->pos == p->end) {
            return false;
        }
        c = (unsigned char)*p->pos++;
        bool word =
            c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (word || c <= ' ' || c >= 0x7f) {
            return false;
        }
    } else if (is_one_of((char)c, "^$.[]{}*+?")) {
        return false;
    }
    *out_token = c;
    return true;
}

/* Bytes up to the next "|()$" that is not escaped: at least as many as the run there has tokens. */
static size_t run_bytes(const struct parse *p)
{
    const char *pos = p->pos;
    while (pos < p->end && !is_one_of(*pos, "|()$")) {
        pos += *pos == '\\' && p->end - pos > 1 ? 2 : 1;
    }
    return (size_t)(pos - p->pos);
}

/* A run of literals and gaps: one term. */
static bool parse_run(struct parse *p, struct terms *out)
{
    uint16_t *tokens = TSDB_ARENA_ARRAY(p->arena, uint16_t, run_bytes(p));
    if (!tokens) {
        return out_of_memory(p);
    }
    uint32_t n = 0;
    while (p->pos < p->end && !is_one_of(*p->pos, "|()$")) {
        bool ok = *p->pos == '.' ? parse_gap(p, &tokens[n]) : parse_literal(p, &tokens[n]);
        if (!ok) {
            return false;
        }
        n++;
    }
    return terms_put(p, out, (struct term){tokens, n});
}

static bool parse_alternation(struct parse *p, struct terms *out);

/* "(...)" or "(?:...)". */
static bool parse_group(struct parse *p, struct terms *out)
{
    p->pos++;
    if (p->pos < p->end && *p->pos == '?') {
        if (p->end - p->pos < 2 || p->pos[1] != ':') {
            return false;
        }
        p->pos += 2;
    }
    p->depth++;
    if (p->depth > DEPTH_MAX || !parse_alternation(p, out)) {
        return false;
    }
    p->depth--;
    if (p->pos == p->end || *p->pos != ')') {
        return false;
    }
    p->pos++;
    return true;
}

/* One alternative. '^' at its start and '$' at its end say what anchoring says already, if no group
 * is around. */
static bool parse_concatenation(struct parse *p, struct terms *out)
{
    static const uint16_t nothing[1];
    struct terms all = {0};
    if (!terms_put(p, &all, (struct term){nothing, 0})) {
        return false;
    }
    if (p->depth == 0 && p->pos < p->end && *p->pos == '^') {
        p->pos++;
    }
    while (p->pos < p->end && *p->pos != '|' && *p->pos != ')') {
        if (*p->pos == '$') {
            bool last = p->pos + 1 == p->end || p->pos[1] == '|';
            if (p->depth > 0 || !last) {
                return false;
            }
            p->pos++;
            break;
        }
        struct terms next = {0};
        bool ok = *p->pos == '(' ? parse_group(p, &next) : parse_run(p, &next);
        if (!ok || !terms_multiply(p, &all, &next)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < all.count; i++) {
        if (!terms_put(p, out, all.items[i])) {
            return false;
        }
    }
    return true;
}

/* False when the pattern is not of the simple kind, or the arena is exhausted (p->status says
 * which). */
static bool parse_alternation(struct parse *p, struct terms *out)
{
    for (;;) {
        if (!parse_concatenation(p, out)) {
            return false;
        }
        if (p->pos == p->end || *p->pos != '|') {
            return p->depth > 0 || p->pos == p->end;
        }
        p->pos++;
    }
}

static bool has_gap(const struct terms *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        for (uint32_t k = 0; k < t->items[i].count; k++) {
            if (t->items[i].tokens[k] >= TOKEN_STAR) {
                return true;
            }
        }
    }
    return false;
}

static int slice_order(const void *a, const void *b)
{
    const struct tsdb_slice *x = a;
    const struct tsdb_slice *y = b;
    size_t n = TSDB_MIN(x->len, y->len);
    int order = n > 0 ? memcmp(x->data, y->data, n) : 0;
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static enum tsdb_status set_build(const struct terms *t, struct tsdb_arena *arena,
                                  struct index_pattern *out)
{
    struct tsdb_slice *set = TSDB_ARENA_ARRAY(arena, struct tsdb_slice, t->count);
    if (!set) {
        return arena->failure;
    }
    for (uint32_t i = 0; i < t->count; i++) {
        uint8_t *bytes = TSDB_ARENA_ARRAY(arena, uint8_t, (size_t)t->items[i].count + 1);
        if (!bytes) {
            return arena->failure;
        }
        for (uint32_t k = 0; k < t->items[i].count; k++) {
            bytes[k] = (uint8_t)t->items[i].tokens[k];
        }
        set[i] = (struct tsdb_slice){bytes, t->items[i].count};
    }
    qsort(set, t->count, sizeof *set, slice_order);
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        if (n == 0 || slice_order(&set[n - 1], &set[i]) != 0) {
            set[n++] = set[i];
        }
    }
    out->shape = INDEX_PATTERN_SET;
    out->set = set;
    out->set_count = n;
    return TSDB_OK;
}

/* *out_fits is false if two ".+" meet: a gap of at least two characters is not expressible in
 * bytes. */
static enum tsdb_status glob_build(const struct term *term, struct tsdb_arena *arena,
                                   struct index_glob *out, bool *out_fits)
{
    size_t parts_max = (size_t)term->count + 1;
    out->parts = TSDB_ARENA_ARRAY(arena, struct tsdb_slice, parts_max);
    out->gaps = TSDB_ARENA_ARRAY(arena, uint8_t, parts_max);
    uint8_t *bytes = TSDB_ARENA_ARRAY(arena, uint8_t, parts_max);
    if (!out->parts || !out->gaps || !bytes) {
        return arena->failure;
    }
    out->parts[0] = (struct tsdb_slice){bytes, 0};
    out->gaps[0] = 0;
    out->part_count = 1;
    for (uint32_t k = 0; k < term->count; k++) {
        struct tsdb_slice *part = &out->parts[out->part_count - 1];
        if (term->tokens[k] < TOKEN_STAR) {
            bytes[k] = (uint8_t)term->tokens[k];
            part->len++;
            continue;
        }
        uint8_t gap = term->tokens[k] == TOKEN_PLUS;
        if (k > 0 && term->tokens[k - 1] >= TOKEN_STAR) {
            uint8_t *merged = &out->gaps[out->part_count - 1];
            *out_fits = *out_fits && !(gap && *merged);
            *merged |= gap;
            part->data = bytes + k + 1;
            continue;
        }
        out->parts[out->part_count] = (struct tsdb_slice){bytes + k + 1, 0};
        out->gaps[out->part_count++] = gap;
    }
    return TSDB_OK;
}

static enum tsdb_status globs_build(const struct terms *t, struct tsdb_arena *arena,
                                    struct index_pattern *out)
{
    bool fits = t->count <= GLOBS_MAX;
    if (!fits) {
        return TSDB_OK;
    }
    struct index_glob *globs = TSDB_ARENA_ARRAY(arena, struct index_glob, t->count);
    if (!globs) {
        return arena->failure;
    }
    for (uint32_t i = 0; i < t->count; i++) {
        enum tsdb_status status = glob_build(&t->items[i], arena, &globs[i], &fits);
        if (status != TSDB_OK) {
            return status;
        }
    }
    if (fits) {
        out->shape = INDEX_PATTERN_GLOB;
        out->globs = globs;
        out->glob_count = t->count;
    }
    return TSDB_OK;
}

enum tsdb_status index_pattern_analyse(const char *pattern, size_t len, struct tsdb_arena *arena,
                                       struct index_pattern *out)
{
    struct tsdb_arena scratch; /* of the parser: several times the size of what is kept */
    tsdb_arena_init(&scratch, TSDB_MEM_QUERY, 2048, NULL);
    struct parse p = {.pos = pattern, .end = pattern + len, .arena = &scratch};
    struct terms terms = {0};
    memset(out, 0, sizeof *out);
    out->shape = INDEX_PATTERN_RE2;
    if (tsdb_utf8_valid(pattern, len) && parse_alternation(&p, &terms)) {
        p.status =
            has_gap(&terms) ? globs_build(&terms, arena, out) : set_build(&terms, arena, out);
    }
    tsdb_arena_deinit(&scratch);
    return p.status;
}

static bool set_has(const struct index_pattern *p, const char *value, size_t len)
{
    struct tsdb_slice key = {(const uint8_t *)value, len};
    return bsearch(&key, p->set, p->set_count, sizeof key, slice_order) != NULL;
}

/* Leftmost places for the parts in the middle leave most room for those behind, so that no step is
 * ever taken back. */
static bool glob_matches(const struct index_glob *g, const char *value, size_t len)
{
    const struct tsdb_slice *first = &g->parts[0];
    const struct tsdb_slice *last = &g->parts[g->part_count - 1];
    if (g->part_count == 1) {
        return len == first->len && (len == 0 || memcmp(value, first->data, len) == 0);
    }
    if (len < first->len + last->len) {
        return false;
    }
    if ((first->len > 0 && memcmp(value, first->data, first->len) != 0) ||
        (last->len > 0 && memcmp(value + len - last->len, last->data, last->len) != 0)) {
        return false;
    }
    size_t pos = first->len;
    size_t end = len - last->len;
    for (uint32_t i = 1; i + 1 < g->part_count; i++) {
        if (end - pos < g->gaps[i]) {
            return false;
        }
        pos += g->gaps[i];
        const char *hit = memmem(value + pos, end - pos, g->parts[i].data, g->parts[i].len);
        if (!hit) {
            return false;
        }
        pos = (size_t)(hit - value) + g->parts[i].len;
    }
    return end - pos >= g->gaps[g->part_count - 1];
}

/* Which pairs of bytes a value has, roughly: what needs another pair cannot match. */
#define PAIR_BITS 32768u
struct pairs {
    uint64_t bits[PAIR_BITS / 64];
};

static uint32_t pair_bit(const uint8_t *s)
{
    return ((uint32_t)s[0] << 7 ^ s[1]) % PAIR_BITS;
}

static bool many_globs_match(const struct index_pattern *p, const char *value, size_t len)
{
    struct pairs pairs = {0};
    const uint8_t *bytes = (const uint8_t *)value;
    for (size_t i = 0; i + 1 < len; i++) {
        uint32_t bit = pair_bit(bytes + i);
        pairs.bits[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
    for (uint32_t i = 0; i < p->glob_count; i++) {
        const struct index_glob *g = &p->globs[i];
        const struct tsdb_slice *inner = g->part_count > 2 ? &g->parts[1] : &g->parts[0];
        uint32_t bit = inner->len >= 2 ? pair_bit(inner->data) : PAIR_BITS;
        bool may = bit == PAIR_BITS || (pairs.bits[bit / 64] >> (bit % 64) & 1) != 0;
        if (may && glob_matches(g, value, len)) {
            return true;
        }
    }
    return false;
}

bool index_pattern_matches(const struct index_pattern *p, const char *value, size_t len)
{
    if (p->shape == INDEX_PATTERN_SET) {
        return set_has(p, value, len);
    }
    if (p->glob_count > GLOBS_FEW) {
        return many_globs_match(p, value, len);
    }
    for (uint32_t i = 0; i < p->glob_count; i++) {
        if (glob_matches(&p->globs[i], value, len)) {
            return true;
        }
    }
    return false;
}
