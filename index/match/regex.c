#include "index/match/regex.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "index/match/regex_private.h"
#include "index/match/syntax_private.h"

#include <string.h>

/* An automaton of thousands of alternatives that begin with ".*" is slower by far than hundreds of
 * small ones: its states are sets as large as the expression. */
#define PIECE_ALTERNATIVES 64u
#define PIECE_BYTES_MAX    (1 << 20)  /* of memory for one of several */
#define WHOLE_BYTES_MAX    (16 << 20) /* for the only one */

struct index_regex {
    struct index_re2 **pieces; /* some alternatives each, in their order */
    uint32_t piece_count, piece_room;
    size_t span_count; /* groups of all pieces and the whole match */
    char *pattern;     /* as it was given */
    size_t pattern_len;
    struct index_syntax syntax; /* its names borrow from the pattern */
    struct index_regex *next;   /* of a struct index_regexes */
};

static enum tsdb_status syntax_fail(const struct index_syntax *s, struct tsdb_arena *arena,
                                    struct tsdb_error *err)
{
    return tsdb_error_set_whole(err, arena, TSDB_INVALID, 0, "error parsing regexp: %s: `%.*s`",
                                s->reason, (int)s->shown_len, s->shown);
}

/* Prometheus parses a matcher's expression, and then once more between anchors. */
static enum tsdb_status syntax_check(const char *pattern, size_t len, struct index_syntax *s,
                                     struct tsdb_arena *arena, struct tsdb_error *err)
{
    enum tsdb_status status = index_syntax_parse(pattern, len, s);
    if (status == TSDB_INVALID) {
        return syntax_fail(s, arena, err);
    }
    if (status == TSDB_OK && s->height > INDEX_SYNTAX_HEIGHT_MAX) {
        return tsdb_error_set_whole(
            err, arena, TSDB_INVALID, 0,
            "error parsing regexp: expression nests too deeply: `^(?s:%.*s)$`", (int)len, pattern);
    }
    return status == TSDB_OK ? TSDB_OK : tsdb_error_nomem(err, "a regular expression");
}

enum tsdb_status index_regex_check(const char *pattern, size_t len, struct tsdb_arena *arena,
                                   bool *out_matches_empty, struct tsdb_error *err)
{
    struct index_syntax s;
    enum tsdb_status status = syntax_check(pattern, len, &s, arena, err);
    if (status == TSDB_OK) {
        *out_matches_empty = s.matches_empty;
    }
    index_syntax_deinit(&s);
    return status;
}

static enum tsdb_status piece_add(struct index_regex *re, const char *text, size_t len,
                                  struct tsdb_error *err)
{
    char why[64];
    int64_t bytes_max = re->piece_room > 1 ? PIECE_BYTES_MAX : WHOLE_BYTES_MAX;
    struct index_re2 *piece = index_re2_create(text, len, bytes_max, why, sizeof why);
    if (!piece && why[0] == '\0') {
        return tsdb_error_nomem(err, "a regular expression");
    }
    if (!piece) {
        return tsdb_error_set(err, TSDB_INVALID, "error parsing regexp: %s: `%.*s`", why,
                              (int)re->pattern_len, re->pattern);
    }
    re->pieces[re->piece_count++] = piece;
    re->span_count += index_re2_group_count(piece);
    return TSDB_OK;
}

/* The alternatives from number `first` on, `count` of them. */
static enum tsdb_status piece_compile(struct index_regex *re, uint32_t first, uint32_t count,
                                      struct tsdb_error *err)
{
    const struct index_syntax *s = &re->syntax;
    const char *text = s->re2.data ? (const char *)s->re2.data : "";
    const struct index_alternative zero = {0, 0};
    const struct index_alternative *from = first > 0 ? &s->alternatives[first - 1] : &zero;
    bool last = first + count > s->alternative_count;
    size_t end = last ? s->re2.len : s->alternatives[first + count - 1].begin - 1;
    if (from->flags_len == 0) {
        return piece_add(re, text + from->begin, end - from->begin, err);
    }
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    tsdb_buf_put(&b, s->flags.data, from->flags_len);
    tsdb_buf_put(&b, text + from->begin, end - from->begin);
    enum tsdb_status status = b.failed ? tsdb_error_nomem(err, "a regular expression")
                                       : piece_add(re, (const char *)b.data, b.len, err);
    tsdb_buf_deinit(&b);
    return status;
}

/* Make the automata of re->pattern. */
static enum tsdb_status compile(struct index_regex *re, struct tsdb_error *err)
{
    enum tsdb_status status = syntax_check(re->pattern, re->pattern_len, &re->syntax, NULL, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t count = re->syntax.alternative_count + 1;
    uint32_t each = count > 2 * PIECE_ALTERNATIVES ? PIECE_ALTERNATIVES : count;
    re->piece_room = (count + each - 1) / each;
    re->pieces = tsdb_mem_alloc(TSDB_MEM_QUERY, re->piece_room * sizeof(struct index_re2 *));
    if (!re->pieces) {
        return tsdb_error_nomem(err, "a regular expression");
    }
    re->span_count = 1;
    for (uint32_t i = 0; i < count && status == TSDB_OK; i += each) {
        status = piece_compile(re, i, TSDB_MIN(each, count - i), err);
    }
    return status;
}

enum tsdb_status index_regex_compile(const char *pattern, size_t len, struct index_regex **out,
                                     struct tsdb_error *err)
{
    struct index_regex *re = tsdb_mem_alloc_zero(TSDB_MEM_QUERY, sizeof *re);
    char *copy = tsdb_mem_alloc(TSDB_MEM_QUERY, len + 1);
    if (!re || !copy) {
        tsdb_mem_free(TSDB_MEM_QUERY, re, re ? sizeof *re : 0);
        tsdb_mem_free(TSDB_MEM_QUERY, copy, copy ? len + 1 : 0);
        return tsdb_error_nomem(err, "a regular expression");
    }
    if (len > 0) {
        memcpy(copy, pattern, len);
    }
    copy[len] = '\0';
    re->pattern = copy;
    re->pattern_len = len;
    enum tsdb_status status = compile(re, err);
    if (status != TSDB_OK) {
        index_regex_destroy(re);
        return status;
    }
    *out = re;
    return TSDB_OK;
}

void index_regex_destroy(struct index_regex *re)
{
    if (re) {
        for (uint32_t i = 0; i < re->piece_count; i++) {
            index_re2_destroy(re->pieces[i]);
        }
        tsdb_mem_free(TSDB_MEM_QUERY, re->pieces, re->piece_room * sizeof(struct index_re2 *));
        index_syntax_deinit(&re->syntax);
        tsdb_mem_free(TSDB_MEM_QUERY, re->pattern, re->pattern_len + 1);
        tsdb_mem_free(TSDB_MEM_QUERY, re, sizeof *re);
    }
}

uint64_t index_regex_size(const struct index_regex *re)
{
    uint64_t size = 0;
    for (uint32_t i = 0; i < re->piece_count; i++) {
        size += index_re2_size(re->pieces[i]);
    }
    return size;
}

bool index_regex_match(const struct index_regex *re, const char *s, size_t len)
{
    for (uint32_t i = 0; i < re->piece_count; i++) {
        if (index_re2_match(re->pieces[i], s, len)) {
            return true;
        }
    }
    return false;
}

/* A group's number as Go reads it: digits only, no leading zero, below 1e8; else a name, SIZE_MAX.
 */
static size_t group_number(const char *name, size_t len)
{
    size_t n = 0;
    if (name[0] == '0' && len > 1) {
        return SIZE_MAX;
    }
    for (size_t i = 0; i < len; i++) {
        if (name[i] < '0' || name[i] > '9' || n >= 100000000) {
            return SIZE_MAX;
        }
        n = n * 10 + (size_t)(name[i] - '0');
    }
    return n;
}

/* Read the group reference behind a '$' at t[len]: "name", or "{name}". Returns the bytes it takes;
 * 0 if malformed. */
static size_t reference_parse(const char *t, size_t len, const char **out_name,
                              size_t *out_name_len)
{
    size_t brace = len > 0 && t[0] == '{';
    size_t n = index_re2_word_prefix(t + brace, len - brace);
    if (n == 0 || (brace && (brace + n == len || t[brace + n] != '}'))) {
        return 0;
    }
    *out_name = t + brace;
    *out_name_len = n;
    return n + 2 * brace;
}

/* The first group of this name that took part; SIZE_MAX: none did. */
static size_t group_named(const struct index_regex *re, const struct index_re2_span *spans,
                          const char *name, size_t len)
{
    for (uint32_t i = 0; i < re->syntax.name_count; i++) {
        const struct index_group_name *n = &re->syntax.names[i];
        if (n->name_len == len && memcmp(n->name, name, len) == 0 && n->group < re->span_count &&
            spans[n->group].begin) {
            return n->group;
        }
    }
    return SIZE_MAX;
}

static void expand(const struct index_regex *re, const struct index_re2_span *spans, const char *t,
                   size_t len, struct tsdb_buf *out)
{
    while (len > 0) {
        const char *dollar = memchr(t, '$', len);
        size_t plain = dollar ? (size_t)(dollar - t) : len;
        tsdb_buf_put(out, t, plain);
        if (!dollar) {
            return;
        }
        t += plain + 1;
        len -= plain + 1;
        if (len > 0 && t[0] == '$') {
            tsdb_buf_put_u8(out, '$');
            t++;
            len--;
            continue;
        }
        const char *name;
        size_t name_len;
        size_t taken = reference_parse(t, len, &name, &name_len);
        if (taken == 0) {
            tsdb_buf_put_u8(out, '$'); /* malformed: stands for itself */
            continue;
        }
        size_t group = group_number(name, name_len);
        if (group == SIZE_MAX) {
            group = group_named(re, spans, name, name_len);
        }
        if (group < re->span_count && spans[group].begin) {
            tsdb_buf_put(out, spans[group].begin, spans[group].len);
        }
        t += taken;
        len -= taken;
    }
}

/* Fill spans[0 .. span_count) by the first piece that matches. */
static bool match_groups(const struct index_regex *re, const char *s, size_t len,
                         struct index_re2_span *spans)
{
    memset(spans, 0, re->span_count * sizeof *spans);
    size_t before = 0;
    for (uint32_t i = 0; i < re->piece_count; i++) {
        if (index_re2_groups(re->pieces[i], s, len, spans + before)) {
            const struct index_re2_span whole = spans[before];
            spans[before] = before > 0 ? (struct index_re2_span){NULL, 0} : whole;
            spans[0] = whole;
            return true;
        }
        before += index_re2_group_count(re->pieces[i]);
    }
    return false;
}

bool index_regex_expand(const struct index_regex *re, const char *s, size_t len,
                        const char *replacement, size_t replacement_len, struct tsdb_buf *out)
{
    struct index_re2_span few[16];
    struct index_re2_span *spans = few;
    size_t bytes = re->span_count * sizeof *spans;
    if (re->span_count > TSDB_ARRAY_LEN(few)) {
        spans = tsdb_mem_alloc(TSDB_MEM_QUERY, bytes);
        if (!spans) {
            out->failed = true;
            return false;
        }
    }
    bool matched = match_groups(re, s, len, spans);
    if (matched) {
        expand(re, spans, replacement, replacement_len, out);
    }
    if (spans != few) {
        tsdb_mem_free(TSDB_MEM_QUERY, spans, bytes);
    }
    return matched;
}

/* ---- the expressions of a query ---- */

void index_regexes_deinit(struct index_regexes *s)
{
    for (struct index_regex *re = s->first; re;) {
        struct index_regex *next = re->next;
        index_regex_destroy(re);
        re = next;
    }
    s->first = NULL;
}

static enum tsdb_status request_check(struct tsdb_request *r, struct tsdb_error *err)
{
    enum tsdb_status status = r ? tsdb_request_check(r) : TSDB_OK;
    return status == TSDB_OK ? TSDB_OK
                             : tsdb_error_set(err, status,
                                              status == TSDB_TIMEOUT ? "query timed out in %s"
                                                                     : "query was canceled in %s",
                                              "the compilation of regular expressions");
}

enum tsdb_status index_regexes_get(struct index_regexes *s, const char *pattern, size_t len,
                                   struct index_regex **out, struct tsdb_error *err)
{
    for (struct index_regex *re = s->first; re; re = re->next) {
        if (re->pattern_len == len && memcmp(re->pattern, pattern, len) == 0) {
            *out = re;
            return TSDB_OK;
        }
    }
    struct index_regex *re = NULL;
    struct tsdb_request *r = s->request;
    enum tsdb_status status = request_check(r, err);
    if (status == TSDB_OK) {
        status = index_regex_compile(pattern, len, &re, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    re->next = s->first;
    s->first = re;
    if (r) {
        r->regex_size += index_regex_size(re);
        if (r->regex_size_max > 0 && r->regex_size > r->regex_size_max) {
            return tsdb_error_set(err, TSDB_LIMIT,
                                  "the regular expressions of the query are too large: more than "
                                  "%llu instructions together (see --query.max-regex-size)",
                                  (unsigned long long)r->regex_size_max);
        }
    }
    *out = re;
    return TSDB_OK;
}
