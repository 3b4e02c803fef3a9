#include "index/match/matcher.h"

#include "index/match/matcher_private.h"
#include "index/match/regex.h"

#include <string.h>

struct index_matcher {
    struct tsdb_matcher source;
    struct index_pattern pattern;
    struct tsdb_slice literal; /* the value of "=" and "!=", as a set of one */
    struct index_regex *regex; /* only for INDEX_PATTERN_RE2 */
    bool owns_regex;
    struct tsdb_arena arena; /* of the pattern */
    bool matches_empty;
    bool matches_all;
};

static bool is_negative(const struct index_matcher *m)
{
    return m->source.op == TSDB_MATCH_NE || m->source.op == TSDB_MATCH_NRE;
}

static enum tsdb_status pattern_compile(struct index_matcher *m, struct index_regexes *set,
                                        struct tsdb_error *err)
{
    const char *pattern = m->source.value;
    size_t len = m->source.value_len;
    enum tsdb_status status = index_pattern_analyse(pattern, len, &m->arena, &m->pattern);
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "matcher with a pattern of %zu bytes: out of memory",
                              len);
    }
    if (m->pattern.shape != INDEX_PATTERN_RE2) {
        return TSDB_OK;
    }
    m->owns_regex = set == NULL;
    return set ? index_regexes_get(set, pattern, len, &m->regex, err)
               : index_regex_compile(pattern, len, &m->regex, err);
}

/* Is one of the globs a lone ".*"? */
static bool pattern_matches_all(const struct index_pattern *p)
{
    for (uint32_t i = 0; i < p->glob_count; i++) {
        const struct index_glob *g = &p->globs[i];
        if (g->part_count == 2 && g->parts[0].len == 0 && g->parts[1].len == 0 && g->gaps[1] == 0) {
            return true;
        }
    }
    return false;
}

enum tsdb_status index_matcher_compile(const struct tsdb_matcher *m, struct index_matcher **out,
                                       struct tsdb_error *err)
{
    return index_matcher_compile_in(m, NULL, out, err);
}

enum tsdb_status index_matcher_compile_in(const struct tsdb_matcher *m, struct index_regexes *set,
                                          struct index_matcher **out, struct tsdb_error *err)
{
    struct index_matcher *c = tsdb_mem_alloc_zero(TSDB_MEM_QUERY, sizeof *c);
    if (!c) {
        return tsdb_error_nomem(err, "a matcher");
    }
    c->source = *m;
    tsdb_arena_init(&c->arena, TSDB_MEM_QUERY, 512, NULL);
    if (m->op == TSDB_MATCH_EQ || m->op == TSDB_MATCH_NE) {
        c->literal = (struct tsdb_slice){(const uint8_t *)m->value, m->value_len};
        c->pattern =
            (struct index_pattern){.shape = INDEX_PATTERN_SET, .set = &c->literal, .set_count = 1};
    } else {
        enum tsdb_status status = pattern_compile(c, set, err);
        if (status != TSDB_OK) {
            index_matcher_destroy(c);
            return status;
        }
    }
    c->matches_empty = index_matcher_matches(c, "", 0);
    c->matches_all = m->op == TSDB_MATCH_RE && pattern_matches_all(&c->pattern);
    *out = c;
    return TSDB_OK;
}

void index_matcher_destroy(struct index_matcher *m)
{
    if (m) {
        if (m->owns_regex) {
            index_regex_destroy(m->regex);
        }
        tsdb_arena_deinit(&m->arena);
        tsdb_mem_free(TSDB_MEM_QUERY, m, sizeof *m);
    }
}

bool index_matcher_matches(const struct index_matcher *m, const char *value, size_t len)
{
    bool hit = m->pattern.shape == INDEX_PATTERN_RE2
                   ? index_regex_match(m->regex, value, len)
                   : index_pattern_matches(&m->pattern, value, len);
    return hit != is_negative(m);
}

bool index_matcher_matches_empty(const struct index_matcher *m)
{
    return m->matches_empty;
}

const struct tsdb_matcher *index_matcher_source(const struct index_matcher *m)
{
    return &m->source;
}

bool index_matcher_set(const struct index_matcher *m, const struct tsdb_slice **out_values,
                       uint32_t *out_count)
{
    if (m->pattern.shape != INDEX_PATTERN_SET) {
        return false;
    }
    *out_values = m->pattern.set;
    *out_count = m->pattern.set_count;
    return true;
}

bool index_matcher_matches_all(const struct index_matcher *m)
{
    return m->matches_all;
}

enum index_pattern_shape index_matcher_shape(const struct index_matcher *m)
{
    return m->pattern.shape;
}
