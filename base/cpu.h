/* What the CPU can do, asked once, and how many of them are ours. TSDB_KERNELS=scalar|avx2 pins the
 * level (tests, bug hunts). */
#ifndef BASE_CPU_H
#define BASE_CPU_H

enum tsdb_cpu_level {
    TSDB_CPU_SCALAR = 0,
    TSDB_CPU_AVX2,
    TSDB_CPU_AVX512
};
/* The best level that the CPU has and the environment allows. */
enum tsdb_cpu_level tsdb_cpu_level(void);
int tsdb_cpu_has_crc32(void); /* SSE4.2; 0 when pinned to scalar */

/* Cores that this process may use, at least 1: those that it may run on (its affinity: taskset, containers with a
 * cpuset), or fewer where its control groups give it less time (containers with a limit of CPU). Asked each time:
 * some reads of small files. */
unsigned tsdb_cpu_count(void);
/* The least quota of the control groups (v2 and v1), in cores, rounded up; 0: none. root: as in base/cgroup.h. */
unsigned tsdb_cpu_quota(const char *root);

#endif
