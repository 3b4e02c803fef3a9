/* Assertions. TSDB_ASSERT stays on in release builds: arguments, state and results of our own code,
 * one condition each. TSDB_DASSERT is for whole-structure checks in debug builds. Never for bytes
 * from outside: those are checked. */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include "base/compiler.h"

TSDB_NORETURN void tsdb_assert_fail(const char *expr, const char *file, int line, const char *func);

#define TSDB_ASSERT(x)                                                                             \
    (TSDB_LIKELY(x) ? (void)0 : tsdb_assert_fail(#x, __FILE__, __LINE__, __func__))
#if defined(TSDB_DEBUG)
#define TSDB_DASSERT(x) TSDB_ASSERT(x)
#else
#define TSDB_DASSERT(x) ((void)sizeof(!(x)))
#endif

#endif
