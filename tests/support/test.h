/* The one place that includes cmocka, in the order it needs. Every test file includes this first.
 */
#ifndef TESTS_SUPPORT_TEST_H
#define TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/status.h"

/* cmocka's assert_float_equal compares floats; doubles are compared by their bits. */
#define assert_double_bits_equal(a, b) assert_int_equal(tsdb_double_bits(a), tsdb_double_bits(b))
#define assert_ok(expr)                assert_int_equal((expr), TSDB_OK)
/* As assert_ok, printing the error text that the call left in `err`. */
#define assert_ok_err(expr, err)                                                                   \
    do {                                                                                           \
        enum tsdb_status s_ = (expr);                                                              \
        if (s_ != TSDB_OK) {                                                                       \
            fail_msg("%s: %s: %s", #expr, tsdb_status_name(s_), (err)->msg);                       \
        }                                                                                          \
    } while (0)

/* Runs the table with argv[1] as an optional cmocka filter. A filter that matches nothing fails. */
#define TEST_MAIN(tests)                                                                           \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        if (argc > 1) {                                                                            \
            cmocka_set_test_filter(argv[1]);                                                       \
        }                                                                                          \
        return cmocka_run_group_tests_name(argv[0], tests, NULL, NULL);                            \
    }

#endif
