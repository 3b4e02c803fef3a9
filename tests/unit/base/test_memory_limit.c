/* What the process may use of memory and CPU, from trees of files as kernels and container runtimes show them. */
#include "tests/support/test.h"

#include "base/cpu.h"
#include "base/memory_limit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[64];

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/tidalite-memory-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(full, 0777) == 0 || errno == EEXIST);
        *slash = '/';
    }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect(uint64_t bytes, enum tsdb_memory_limit_source source)
{
    struct tsdb_memory_limit l = tsdb_memory_limit(root);
    assert_int_equal(l.bytes, bytes);
    assert_int_equal(l.source, source);
}

static void limit__nothing_to_read__not_known(void **state)
{
    (void)state;
    expect(0, TSDB_MEMORY_LIMIT_NONE);
    put("proc/meminfo", "rubbish\n");
    put("proc/self/cgroup", "rubbish\n0\n:\n::\n");
    expect(0, TSDB_MEMORY_LIMIT_NONE);
}

static void limit__v2__least_of_the_group_and_those_around_it(void **state)
{
    (void)state;
    put("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");
    expect(16384 << 10, TSDB_MEMORY_LIMIT_MACHINE);
    put("proc/self/cgroup", "0::/a/b\n");
    put("sys/fs/cgroup/a/b/memory.max", "max\n");
    expect(16384 << 10, TSDB_MEMORY_LIMIT_MACHINE);
    put("sys/fs/cgroup/a/memory.max", "5000000\n");
    expect(5000000, TSDB_MEMORY_LIMIT_CGROUP);
    put("sys/fs/cgroup/a/b/memory.max", "4000000\n");
    expect(4000000, TSDB_MEMORY_LIMIT_CGROUP);
    put("sys/fs/cgroup/a/b/memory.max", "99999999999\n"); /* more than the one around it */
    expect(5000000, TSDB_MEMORY_LIMIT_CGROUP);
}

/* A container sees its own group as the mount, whatever its path says. */
static void limit__path_of_the_host_in_a_container__the_mount_counts(void **state)
{
    (void)state;
    put("proc/meminfo", "MemTotal: 16384 kB\n");
    put("proc/self/cgroup", "0::/../../docker/0123\n");
    put("sys/fs/cgroup/memory.max", "7000000\n");
    expect(7000000, TSDB_MEMORY_LIMIT_CGROUP);
}

static void limit__v1__memory_controller_and_its_word_for_none(void **state)
{
    (void)state;
    put("proc/meminfo", "MemTotal: 16384 kB\n");
    put("proc/self/cgroup", "5:cpuset:/x\n4:cpu,memory,io:/docker/1\n1:name=systemd:/y\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    expect(16384 << 10, TSDB_MEMORY_LIMIT_MACHINE);
    put("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "3000000\n");
    put("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1\n"); /* of another controller */
    expect(3000000, TSDB_MEMORY_LIMIT_CGROUP);
}

static void quota__v2__least_of_the_group_and_those_around_it(void **state)
{
    (void)state;
    assert_int_equal(tsdb_cpu_quota(root), 0);
    put("proc/self/cgroup", "0::/a/b\n");
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    assert_int_equal(tsdb_cpu_quota(root), 0);
    put("sys/fs/cgroup/a/cpu.max", "400000 100000\n");
    assert_int_equal(tsdb_cpu_quota(root), 4);
    put("sys/fs/cgroup/a/b/cpu.max", "250000 100000\n"); /* two and a half */
    assert_int_equal(tsdb_cpu_quota(root), 3);
    put("sys/fs/cgroup/a/b/cpu.max", "1000 100000\n");
    assert_int_equal(tsdb_cpu_quota(root), 1);
    static const char *const rubbish[] = {"",    "x\n",         "0 0\n",
                                          "5\n", "-1 100000\n", "9223372036854775807 1\n"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rubbish); i++) {
        put("sys/fs/cgroup/a/b/cpu.max", rubbish[i]);
        assert_int_equal(tsdb_cpu_quota(root), 4); /* that of the one around it */
    }
}

static void quota__v1__of_the_cpu_controller(void **state)
{
    (void)state;
    put("proc/self/cgroup", "5:cpuset:/x\n4:cpu,cpuacct:/docker/1\n0::/\n");
    put("sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu/docker/1/cpu.cfs_period_us", "100000\n");
    assert_int_equal(tsdb_cpu_quota(root), 0);
    put("sys/fs/cgroup/cpu/docker/1/cpu.cfs_quota_us", "200000\n");
    assert_int_equal(tsdb_cpu_quota(root), 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(limit__nothing_to_read__not_known),
    CASE(limit__v2__least_of_the_group_and_those_around_it),
    CASE(limit__path_of_the_host_in_a_container__the_mount_counts),
    CASE(limit__v1__memory_controller_and_its_word_for_none),
    CASE(quota__v2__least_of_the_group_and_those_around_it),
    CASE(quota__v1__of_the_cpu_controller),
};

TEST_MAIN(tests)
