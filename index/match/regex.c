#include "index/match/regex.h"

#include "base/alloc.h"
#include "base/bytes.h"
#include "index/match/regex_private.h"

#include <string.h>

struct index_regex {
    struct index_re2 *re;
    size_t span_count; /* groups and the whole match */
};

/* RE2 knows \C (any byte), Go does not, and a match that ends within a character would surprise
 * everybody above. Returns true if the pattern has one outside \Q...\E. */
static bool has_byte_escape(const char *p, size_t len)
{
    bool quoted = false;
    for (size_t i = 0; i + 1 < len; i++) {
        if (p[i] != '\\') {
            continue;
        }
        char c = p[i + 1];
        if (quoted) {
            quoted = c != 'E';
            i += !quoted;
            continue;
        }
        if (c == 'C') {
            return true;
        }
        quoted = c == 'Q';
        i++;
    }
    return false;
}

enum tsdb_status index_regex_compile(const char *pattern, size_t len, struct index_regex **out,
                                     struct tsdb_error *err)
{
    char text[320]; /* longer than an error holds: tsdb_error_set cuts between characters */
    if (has_byte_escape(pattern, len)) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "error parsing regexp: invalid escape sequence: `\\C`");
    }
    struct index_regex *re = tsdb_mem_alloc_zero(TSDB_MEM_QUERY, sizeof *re);
    if (!re) {
        return tsdb_error_nomem(err, "a regular expression");
    }
    re->re = index_re2_create(pattern, len, text, sizeof text);
    if (!re->re) {
        tsdb_mem_free(TSDB_MEM_QUERY, re, sizeof *re);
        if (text[0] == '\0') {
            return tsdb_error_nomem(err, "a regular expression");
        }
        return tsdb_error_set(err, TSDB_INVALID, "error parsing regexp: %s", text);
    }
    re->span_count = index_re2_group_count(re->re) + 1;
    *out = re;
    return TSDB_OK;
}

void index_regex_destroy(struct index_regex *re)
{
    if (re) {
        index_re2_destroy(re->re);
        tsdb_mem_free(TSDB_MEM_QUERY, re, sizeof *re);
    }
}

bool index_regex_match(const struct index_regex *re, const char *s, size_t len)
{
    return index_re2_match(re->re, s, len);
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
            group = index_re2_group_named(re->re, name, name_len);
            group = group ? group : SIZE_MAX;
        }
        if (group < re->span_count && spans[group].begin) {
            tsdb_buf_put(out, spans[group].begin, spans[group].len);
        }
        t += taken;
        len -= taken;
    }
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
    bool matched = index_re2_groups(re->re, s, len, spans);
    if (matched) {
        expand(re, spans, replacement, replacement_len, out);
    }
    if (spans != few) {
        tsdb_mem_free(TSDB_MEM_QUERY, spans, bytes);
    }
    return matched;
}
