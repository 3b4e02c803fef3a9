/* Which seeds a test of random runs takes: TSDB_SEED=<n> that one alone, TSDB_SEEDS=<n> so many, from
 * TSDB_SEED_FROM=<n> on. A failing seed is printed by the test. */
#ifndef TESTS_SUPPORT_SEEDS_H
#define TESTS_SUPPORT_SEEDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SEEDS_SANITIZED 1
#endif
#endif
#if !defined(SEEDS_SANITIZED)
#define SEEDS_SANITIZED 0
#endif

struct seeds {
    uint64_t first, count;
    bool one; /* a certain one was asked for */
};

static inline uint64_t seeds_number(const char *name, uint64_t absent)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : absent;
}

/* sanitized: how many where a sanitizer makes each slow. */
static inline struct seeds seeds_of(uint64_t count, uint64_t sanitized)
{
    if (getenv("TSDB_SEED")) {
        return (struct seeds){seeds_number("TSDB_SEED", 1), 1, true};
    }
    return (struct seeds){seeds_number("TSDB_SEED_FROM", 1),
                          seeds_number("TSDB_SEEDS", SEEDS_SANITIZED ? sanitized : count), false};
}

#endif
