/* Tables of queries over a query_fixture and the text of their results. */
#ifndef TESTS_UNIT_QUERY_EXPECT_H
#define TESTS_UNIT_QUERY_EXPECT_H

#include "tests/support/test.h"

#include "tests/support/query/fixture.h"

struct ask {
    const char *query;
    int64_t start_s, end_s, step_s; /* step 0: at start_s */
    const char *text;
};

static inline void expect_all(struct query_fixture *f, const struct ask *asks, size_t count)
{
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    for (size_t i = 0; i < count; i++) {
        const struct ask *a = &asks[i];
        int64_t end_s = a->step_s ? a->end_s : a->start_s;
        query_fixture_text(f, a->query, a->start_s * 1000, end_s * 1000, a->step_s * 1000, &b);
        if (strcmp((const char *)b.data, a->text) != 0) {
            fail_msg("%s at %lld\n got      %s\n expected %s", a->query, (long long)a->start_s,
                     (const char *)b.data, a->text);
        }
    }
    tsdb_buf_deinit(&b);
}
#define EXPECT_ALL(f, asks) expect_all(f, asks, sizeof(asks) / sizeof(asks)[0])

static inline int fixture_setup(void **state)
{
    struct query_fixture *f = malloc(sizeof *f);
    assert_non_null(f);
    query_fixture_init(f);
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    query_fixture_deinit(*state);
    free(*state);
    return 0;
}
#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
