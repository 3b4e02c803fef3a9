// The only C++ here: RE2 (Go's own syntax, linear time) behind extern "C". Compiled without
// exceptions; if the memory that RE2 takes with operator new is exhausted, the process ends, as it
// would in any C++ program.
#include "index/match/regex_private.h"

#include <re2/re2.h>

#include <cstdio>
#include <new>
#include <string>

struct index_re2 {
    RE2 re;

    index_re2(const re2::StringPiece &pattern, const RE2::Options &options) : re(pattern, options)
    {
    }
};

static RE2::Options re2_options(int64_t bytes_max)
{
    RE2::Options options;
    options.set_dot_nl(true);
    options.set_log_errors(false);
    options.set_max_mem(bytes_max);
    return options;
}

extern "C" struct index_re2 *index_re2_create(const char *pattern, size_t len, int64_t bytes_max,
                                              char *err, size_t cap)
{
    const RE2::Options options = re2_options(bytes_max);
    err[0] = '\0';
    index_re2 *re = new (std::nothrow) index_re2(re2::StringPiece(pattern, len), options);
    if (re == nullptr) {
        return nullptr;
    }
    if (!re->re.ok()) {
        (void)snprintf(err, cap, "%s",
                       re->re.error_code() == RE2::ErrorPatternTooLarge ? "expression too large"
                                                                         : "not supported");
        delete re;
        return nullptr;
    }
    return re;
}

extern "C" void index_re2_destroy(struct index_re2 *re)
{
    delete re;
}

extern "C" unsigned long index_re2_size(const struct index_re2 *re)
{
    return static_cast<unsigned long>(re->re.ProgramSize());
}

extern "C" bool index_re2_match(const struct index_re2 *re, const char *s, size_t len)
{
    const re2::StringPiece text(s, len);
    return re->re.Match(text, 0, len, RE2::ANCHOR_BOTH, nullptr, 0);
}

extern "C" size_t index_re2_group_count(const struct index_re2 *re)
{
    return static_cast<size_t>(re->re.NumberOfCapturingGroups());
}

// Of all matches of the whole text, RE2's anchored search keeps the first in order of preference:
// what Go finds for
// ^(?s:pattern)$, with no need to put the pattern into another.
extern "C" bool index_re2_groups(const struct index_re2 *re, const char *s, size_t len,
                                 struct index_re2_span *out)
{
    const re2::StringPiece text(s, len);
    const size_t count = index_re2_group_count(re) + 1;
    re2::StringPiece *groups = new (std::nothrow) re2::StringPiece[count];
    if (groups == nullptr) {
        return false;
    }
    const bool matched =
        re->re.Match(text, 0, len, RE2::ANCHOR_BOTH, groups, static_cast<int>(count));
    for (size_t i = 0; matched && i < count; i++) {
        out[i].begin = groups[i].data();
        out[i].len = groups[i].size();
    }
    delete[] groups;
    return matched;
}

extern "C" size_t index_re2_word_prefix(const char *s, size_t len)
{
    static const RE2 word("[\\pL\\p{Nd}_]*", re2_options(1 << 20));
    re2::StringPiece prefix;
    const re2::StringPiece text(s, len);
    return word.Match(text, 0, len, RE2::ANCHOR_START, &prefix, 1) ? prefix.size() : 0;
}
