#include "base/cpu.h"

#include "base/cgroup.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the environment allows at most. Unknown words allow everything: a typing error must not slow
 * a server down silently, and the level in use is a metric. */
static enum tsdb_cpu_level level_allowed(void)
{
    const char *pin = getenv("TSDB_KERNELS");
    if (pin && strcmp(pin, "scalar") == 0) {
        return TSDB_CPU_SCALAR;
    }
    if (pin && strcmp(pin, "avx2") == 0) {
        return TSDB_CPU_AVX2;
    }
    return TSDB_CPU_AVX512;
}

#if defined(__x86_64__)
static enum tsdb_cpu_level level_detected(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi2") ||
        !__builtin_cpu_supports("fma")) {
        return TSDB_CPU_SCALAR;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        return TSDB_CPU_AVX512;
    }
    return TSDB_CPU_AVX2;
}

static int crc32_detected(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("sse4.2") ? 1 : 0;
}
#else
static enum tsdb_cpu_level level_detected(void)
{
    return TSDB_CPU_SCALAR;
}
static int crc32_detected(void)
{
    return 0;
}
#endif

/* 0 = not asked yet, else the answer + 1. Relaxed: all threads compute the same answer. */
static _Atomic(int) level_cached;
static _Atomic(int) crc32_cached;

enum tsdb_cpu_level tsdb_cpu_level(void)
{
    int cached = atomic_load_explicit(&level_cached, memory_order_relaxed);
    if (cached == 0) {
        enum tsdb_cpu_level have = level_detected();
        enum tsdb_cpu_level may = level_allowed();
        cached = (int)(have < may ? have : may) + 1;
        atomic_store_explicit(&level_cached, cached, memory_order_relaxed);
    }
    return (enum tsdb_cpu_level)(cached - 1);
}

int tsdb_cpu_has_crc32(void)
{
    int cached = atomic_load_explicit(&crc32_cached, memory_order_relaxed);
    if (cached == 0) {
        cached = (level_allowed() != TSDB_CPU_SCALAR && crc32_detected()) + 1;
        atomic_store_explicit(&crc32_cached, cached, memory_order_relaxed);
    }
    return cached - 1;
}

/* The first size holds any machine that we know; the kernel says EINVAL while the set is too small.
 */
#define CPU_SET_FIRST 1024
#define CPU_SET_MAX   65536

static unsigned affinity_count(void)
{
    for (int cpus = CPU_SET_FIRST; cpus <= CPU_SET_MAX; cpus *= 8) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        size_t bytes = CPU_ALLOC_SIZE((size_t)cpus);
        int count = set && sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) {
            return (unsigned)count;
        }
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : (unsigned)online;
}

/* "150000 100000" of v2, or "max 100000"; v1 has the two in files of their own, and -1 for none. */
static void take_quota(void *arg, const char *dir, bool v2)
{
    unsigned *least = arg;
    char line[64], period_line[64];
    long long quota = 0, period = 0;
    bool there =
        v2 ? tsdb_cgroup_line(dir, "cpu.max", line, sizeof line) &&
                 sscanf(line, "%lld %lld", &quota, &period) == 2
           : tsdb_cgroup_line(dir, "cpu.cfs_quota_us", line, sizeof line) &&
                 tsdb_cgroup_line(dir, "cpu.cfs_period_us", period_line, sizeof period_line) &&
                 sscanf(line, "%lld", &quota) == 1 && sscanf(period_line, "%lld", &period) == 1;
    if (!there || quota <= 0 || period <= 0 || quota / period >= CPU_SET_MAX) {
        return;
    }
    unsigned cores = (unsigned)(quota / period + (quota % period > 0));
    *least = *least == 0 || cores < *least ? cores : *least;
}

unsigned tsdb_cpu_quota(const char *root)
{
    unsigned least = 0;
    tsdb_cgroup_walk(root, "cpu", take_quota, &least);
    return least;
}

unsigned tsdb_cpu_count(void)
{
    unsigned allowed = affinity_count();
    unsigned quota = tsdb_cpu_quota("");
    return quota > 0 && quota < allowed ? quota : allowed;
}
