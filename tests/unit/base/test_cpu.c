#include "tests/support/test.h"

#include "base/compiler.h"
#include "base/cpu.h"

#include <sched.h>

static void cpu_count__fewer_allowed__counts_those(void **state)
{
    (void)state;
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    unsigned quota = tsdb_cpu_quota(""), all = (unsigned)CPU_COUNT(&before);
    all = quota > 0 ? TSDB_MIN(all, quota) : all;
    assert_int_equal(tsdb_cpu_count(), all);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    unsigned count = tsdb_cpu_count();
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    assert_int_equal(count, 1);
    assert_int_equal(tsdb_cpu_count(), all);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(cpu_count__fewer_allowed__counts_those),
};

TEST_MAIN(tests)
