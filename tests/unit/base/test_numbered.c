#include "tests/support/test.h"

#include "base/numbered.h"

static void numbered_parse__names__one_name_a_number(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t number; /* 0: not a name */
    } rows[] = {
        {"00000001", 1},
        {"99999999", 99999999},
        {"100000000", 100000000},
        {"9999999999999999999", 9999999999999999999u},
        {"", 0},
        {"1", 0},
        {"0000001", 0},
        {"00000000", 0},
        {"000000001", 0},
        {"000000000000000000001", 0},
        {"10000000000000000000", 0},
        {"0000000a", 0},
        {"+0000001", 0},
        {" 0000001", 0},
        {"00000001.tmp", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t number = 0;
        bool is = tsdb_numbered_parse(rows[i].name, &number);
        if (is != (rows[i].number != 0) || number != rows[i].number) {
            fail_msg("\"%s\" is number %llu", rows[i].name, (unsigned long long)number);
        }
    }
}

static void numbered_name__numbers__parse_back(void **state)
{
    (void)state;
    static const uint64_t numbers[] = {1, 12345678, 99999999, 100000000, 9999999999999999999u};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char name[64];
        uint64_t number = 0;
        tsdb_numbered_name(name, sizeof name, "wal/", numbers[i]);
        assert_memory_equal(name, "wal/", 4);
        assert_true(tsdb_numbered_parse(name + 4, &number));
        assert_true(number == numbers[i]);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(numbered_parse__names__one_name_a_number),
    cmocka_unit_test(numbered_name__numbers__parse_back),
};
TEST_MAIN(tests)
