/* Compiler attributes and built-ins used across the tree, and nothing else. */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#define TSDB_WUR           __attribute__((warn_unused_result))
#define TSDB_PRINTF(f, a)  __attribute__((format(printf, f, a)))
#define TSDB_NORETURN      __attribute__((noreturn))
#define TSDB_UNUSED        __attribute__((unused))
#define TSDB_NOINLINE      __attribute__((noinline))
#define TSDB_ALWAYS_INLINE inline __attribute__((always_inline))
#define TSDB_LIKELY(x)     __builtin_expect(!!(x), 1)
#define TSDB_UNLIKELY(x)   __builtin_expect(!!(x), 0)
#define TSDB_CACHELINE     64
#define TSDB_ALIGNED(n)    __attribute__((aligned(n)))
#define TSDB_ARRAY_LEN(a)  (sizeof(a) / sizeof((a)[0]))
#define TSDB_MIN(a, b)     ((a) < (b) ? (a) : (b))
#define TSDB_MAX(a, b)     ((a) > (b) ? (a) : (b))

/* Between two looks at a word that another core is about to change. */
static TSDB_ALWAYS_INLINE void tsdb_cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Clang's thread-safety analysis. Measured with clang 14 in C: guarded_by(sibling) is rejected,
 * guarded_var on fields plus capability attributes on functions works. */
#if defined(__clang__)
#define TSDB_CAPABILITY(n) __attribute__((capability(n)))
#define TSDB_GUARDED       __attribute__((guarded_var))
#define TSDB_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define TSDB_ACQUIRE(...)  __attribute__((acquire_capability(__VA_ARGS__)))
#define TSDB_RELEASE(...)  __attribute__((release_capability(__VA_ARGS__)))
#define TSDB_NO_TSA        __attribute__((no_thread_safety_analysis))
#else
#define TSDB_CAPABILITY(n)
#define TSDB_GUARDED
#define TSDB_REQUIRES(...)
#define TSDB_ACQUIRE(...)
#define TSDB_RELEASE(...)
#define TSDB_NO_TSA
#endif

#endif
