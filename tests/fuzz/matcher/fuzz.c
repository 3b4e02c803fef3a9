/* Invariants checked: a pattern that is taken apart compiles if and only if RE2 takes it, and
 * matches the same values; "!~" is the opposite; matches_empty and the set of values agree with
 * matching; expanding any template ends.
 *
 * Input: one byte, the pattern's length; the pattern; the value (valid UTF-8, as label values are).
 */
#include "base/assert.h"
#include "base/bytes.h"
#include "index/match/matcher.h"
#include "index/match/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_set(const struct index_matcher *m)
{
    const struct tsdb_slice *values;
    uint32_t count;
    if (!index_matcher_set(m, &values, &count)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        TSDB_ASSERT(index_matcher_matches(m, (const char *)values[i].data, values[i].len));
    }
}

static bool set_has(const struct index_matcher *m, const char *value, size_t len)
{
    const struct tsdb_slice *values;
    uint32_t count;
    TSDB_ASSERT(index_matcher_set(m, &values, &count));
    for (uint32_t i = 0; i < count; i++) {
        if (values[i].len == len && memcmp(values[i].data, value, len) == 0) {
            return true;
        }
    }
    return false;
}

static void check_match(const struct tsdb_matcher *source, const struct index_regex *oracle,
                        const char *value, size_t len)
{
    const struct tsdb_slice *values;
    uint32_t count;
    struct tsdb_matcher negated = *source;
    struct index_matcher *m = NULL;
    struct index_matcher *not_m = NULL;
    negated.op = TSDB_MATCH_NRE;
    TSDB_ASSERT(index_matcher_compile(source, &m, NULL) == TSDB_OK);
    TSDB_ASSERT(index_matcher_compile(&negated, &not_m, NULL) == TSDB_OK);
    bool hit = index_regex_match(oracle, value, len);
    TSDB_ASSERT(index_matcher_matches(m, value, len) == hit);
    TSDB_ASSERT(index_matcher_matches(not_m, value, len) == !hit);
    TSDB_ASSERT(index_matcher_matches_empty(m) == index_regex_match(oracle, "", 0));
    TSDB_ASSERT(index_matcher_set(not_m, &values, &count) == index_matcher_set(m, &values, &count));
    if (index_matcher_set(m, &values, &count)) {
        TSDB_ASSERT(set_has(m, value, len) == hit);
    }
    check_set(m);
    index_matcher_destroy(m);
    index_matcher_destroy(not_m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0 || (size_t)data[0] + 1 > len) {
        return 0;
    }
    const char *pattern = (const char *)data + 1;
    size_t pattern_len = data[0];
    const char *value = pattern + pattern_len;
    size_t value_len = len - 1 - pattern_len;
    if (!tsdb_utf8_valid(value, value_len)) {
        return 0;
    }
    struct index_regex *oracle = NULL;
    struct tsdb_matcher source = {TSDB_MATCH_RE, "n", pattern, 1, (uint32_t)pattern_len};
    if (index_regex_compile(pattern, pattern_len, &oracle, NULL) != TSDB_OK) {
        struct index_matcher *m = NULL;
        TSDB_ASSERT(index_matcher_compile(&source, &m, NULL) == TSDB_INVALID);
        return 0;
    }
    check_match(&source, oracle, value, value_len);
    struct tsdb_buf out;
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 1u << 20);
    bool hit = index_regex_match(oracle, value, value_len);
    TSDB_ASSERT(index_regex_expand(oracle, value, value_len, value, value_len, &out) == hit);
    tsdb_buf_deinit(&out);
    index_regex_destroy(oracle);
    return 0;
}
