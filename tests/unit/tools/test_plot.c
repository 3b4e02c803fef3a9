/* The picture of a range query: what is out of the ordinary. */
#include "tests/support/test.h"

#include "tools/cmd/plot.h"

#include <stdio.h>
#include <string.h>

static uint32_t lines_of(const struct tsdb_buf *b)
{
    uint32_t n = 0;
    for (size_t i = 0; i < b->len; i++) {
        n += b->data[i] == '\n';
    }
    return n;
}

static bool has(const struct tsdb_buf *b, const char *text)
{
    return b->len > 0 && memmem(b->data, b->len, text, strlen(text));
}

static void print(const struct plot *p, uint32_t width, struct tsdb_buf *out)
{
    tsdb_buf_clear(out);
    plot_print(p, width, out);
    assert_false(out->failed);
}

static void add(struct plot *p, int64_t t_ms, const char *value)
{
    plot_point(p, t_ms, value, strlen(value));
}

static void plot_print__values_of_any_size__a_whole_picture(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"-1.7976931348623157e308", "1.7976931348623157e308"},
                                           {"1", "1"},
                                           {"0", "5e-324"},
                                           {"-0", "0"}};
    struct tsdb_buf out;
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(pairs); i++) {
        struct plot p;
        plot_init(&p);
        plot_series(&p, "a", 1);
        add(&p, INT64_MIN, pairs[i][0]);
        add(&p, INT64_MAX, pairs[i][1]);
        for (uint32_t width = 0; width < 1000; width += 333) {
            print(&p, width, &out);
            assert_int_equal(lines_of(&out), PLOT_ROWS + 2);
            assert_true(has(&out, "*") && has(&out, "a   least"));
            assert_false(has(&out, "nan") || has(&out, "inf"));
        }
        plot_deinit(&p);
    }
    tsdb_buf_deinit(&out);
}

static void plot_point__no_number_or_too_many_series__counted_and_left_out(void **state)
{
    (void)state;
    struct plot p;
    struct tsdb_buf out;
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
    plot_init(&p);
    add(&p, 0, "1"); /* of no series */
    print(&p, 80, &out);
    assert_int_equal(out.len, 0);
    for (uint32_t i = 0; i < PLOT_SERIES_MAX + 3; i++) {
        char name[16];
        plot_series(&p, name, (size_t)snprintf(name, sizeof name, "s%u", i));
        add(&p, i, "NaN");
        add(&p, i, "+Inf");
        add(&p, i, "{\"count\":\"1\"}");
        add(&p, i, "1");
    }
    assert_int_equal(p.count, PLOT_SERIES_MAX);
    assert_int_equal(p.left_out, 3 * PLOT_SERIES_MAX);
    print(&p, 80, &out);
    assert_true(has(&out, "& s7   least 1"));
    assert_false(has(&out, "s8"));
    plot_deinit(&p);
    tsdb_buf_deinit(&out);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(plot_print__values_of_any_size__a_whole_picture),
    cmocka_unit_test(plot_point__no_number_or_too_many_series__counted_and_left_out),
};
TEST_MAIN(tests)
