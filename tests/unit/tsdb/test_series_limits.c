/* Limits of new series: what is refused, who is blamed, and what goes on. */
#include "tests/support/test.h"

#include "tests/support/tsdb/harness.h"
#include "tsdb/engine/db_private.h"

/* Series i of the harness is m<i%7>{i="<i>"}: a metric's 1000 differ in the label i. */
static int setup(void **state)
{
    struct hx *h = calloc(1, sizeof *h);
    hx_init(h, 1);
    *state = h;
    return h ? 0 : -1;
}

static int teardown(void **state)
{
    hx_deinit(*state);
    free(*state);
    return 0;
}

/* A sample each of `count` series of metric m0, from the `first` of them. */
static struct tsdb_write_result put(struct hx *h, uint32_t first, uint32_t count, int64_t at)
{
    struct hx_sample s[HX_SAMPLES_MAX];
    struct tsdb_write_result r = {0};
    assert_true(count <= HX_SAMPLES_MAX && (first + count) * 7 < HX_SERIES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        s[i] = hx_float((first + i) * 7, HX_WALL_MS + at, i);
    }
    assert_ok(hx_put(h, s, count, TSDB_DURABILITY_BUFFERED, &r));
    return r;
}

static struct tsdb_labels labels_of(struct tsdb_label *items)
{
    items[0] = tsdb_label_make("__name__", "m0");
    items[1] = tsdb_label_make("i", "x");
    return (struct tsdb_labels){items, 2};
}

static const char *text_of(struct hx *h)
{
    static char text[512];
    struct tsdb_label items[2];
    struct tsdb_labels labels = labels_of(items);
    size_t len = tsdb_series_limit_text(h->db, &labels, text, sizeof text);
    assert_int_equal(len, strlen(text));
    return text;
}

static void limit_of_a_metric__others_and_known_ones_go_on(void **state)
{
    struct hx *h = *state;
    h->options.metric_series_max = 10;
    assert_ok(hx_open(h, NULL));
    struct tsdb_write_result r = put(h, 0, 10, 0);
    assert_int_equal(r.samples_written, 10);
    r = put(h, 0, 25, 0);
    assert_int_equal(r.samples_written, 10); /* there already */
    assert_int_equal(r.rejected[TSDB_REJECT_SERIES_LIMIT], 15);
    struct hx_sample other = hx_float(1, HX_WALL_MS, 1); /* of m1 */
    r = (struct tsdb_write_result){0};
    assert_ok(hx_put(h, &other, 1, TSDB_DURABILITY_BUFFERED, &r));
    assert_int_equal(r.samples_written, 1);
    r = put(h, 0, 10, 1);
    assert_int_equal(r.samples_written, 10);
    assert_non_null(strstr(text_of(h), "limit of 10 series of a metric "
                                       "(--storage.limit.series-per-metric) reached"));
    struct tsdb_stats st;
    tsdb_stats_read(h->db, &st);
    assert_int_equal(st.series_refused[TSDB_SERIES_LIMIT_METRIC], 15);
    assert_ok(hx_close(h, NULL));
    assert_ok(hx_open(h, NULL)); /* the index knows how many there are, not the process */
    r = put(h, 10, 5, 2);
    assert_int_equal(r.samples_written, 0);
}

static void limit_of_all__refused_are_blamed_on_metric_and_label(void **state)
{
    struct hx *h = *state;
    h->options.series_max = 5;
    assert_ok(hx_open(h, NULL));
    (void)put(h, 0, 5, 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(put(h, 5, 20, 1 + i).samples_written, 0);
    }
    struct hx_sample other = hx_float(1, HX_WALL_MS, 1);
    struct tsdb_write_result r = {0};
    assert_ok(hx_put(h, &other, 1, TSDB_DURABILITY_BUFFERED, &r));
    assert_int_equal(r.rejected[TSDB_REJECT_SERIES_LIMIT], 1);
    struct tsdb_arena arena;
    struct tsdb_refused_series *list = NULL;
    uint32_t count = 0;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(tsdb_refused_series_list(h->db, 10, &arena, &list, &count));
    assert_int_equal(count, 2);
    assert_int_equal(list[0].count, 60);
    assert_int_equal(list[0].error, 0);
    assert_memory_equal(list[0].metric.data, "m0", 2);
    assert_memory_equal(list[0].label.data, "i", 1);
    assert_memory_equal(list[1].metric.data, "m1", 2);
    assert_ok(tsdb_refused_series_list(h->db, 1, &arena, &list, &count));
    assert_int_equal(count, 1);
    tsdb_arena_deinit(&arena);
    assert_string_equal(text_of(h),
                        "limit of 5 series (--storage.head.max-series) reached, metric m0 has "
                        "most of its refused series for new values of label i");
    assert_int_equal(put(h, 0, 5, 9).samples_written, 5);
}

static void limit_of_memory__new_ones_refused_until_there_is_some(void **state)
{
    struct hx *h = *state;
    h->options.head_bytes_max = UINT64_C(1) << 40;
    assert_ok(hx_open(h, NULL));
    assert_int_equal(put(h, 0, 5, 0).samples_written, 5);
    h->db->options.head_bytes_max = 1; /* the same as that much more memory */
    assert_int_equal(put(h, 0, 10, 1).samples_written, 5);
    assert_non_null(
        strstr(text_of(h), "limit of 1 bytes for series (--storage.head.memory) reached"));
    h->db->options.head_bytes_max = UINT64_C(1) << 40;
    assert_int_equal(put(h, 0, 10, 2).samples_written, 10);
}

/* More pairs of metric and label than the sketch keeps, one of them often: it is there, first, and its
 * count is at most `error` too high. */
static void sketch__many_light_ones__the_heavy_one_is_found(void **state)
{
    struct hx *h = *state;
    assert_ok(hx_open(h, NULL));
    struct tsdb_label items[2];
    struct tsdb_labels labels = labels_of(items);
    for (uint32_t i = 0; i < 5000; i++) {
        char name[16];
        snprintf(name, sizeof name, "light%u", i);
        items[0] = tsdb_label_make("__name__", i % 5 == 0 ? "heavy" : name);
        series_limits_refused(h->db->series_limits, TSDB_SERIES_LIMIT_ALL, h->db->heads[0],
                              &labels);
    }
    struct tsdb_arena arena;
    struct tsdb_refused_series *list = NULL;
    uint32_t count = 0;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(tsdb_refused_series_list(h->db, 1000, &arena, &list, &count));
    assert_true(count > 1 && count < 1000);
    assert_int_equal(list[0].metric.len, 5);
    assert_memory_equal(list[0].metric.data, "heavy", 5);
    assert_true(list[0].count >= 1000 && list[0].count - list[0].error <= 1000);
    tsdb_arena_deinit(&arena);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(limit_of_a_metric__others_and_known_ones_go_on),
    CASE(limit_of_all__refused_are_blamed_on_metric_and_label),
    CASE(limit_of_memory__new_ones_refused_until_there_is_some),
    CASE(sketch__many_light_ones__the_heavy_one_is_found),
};

TEST_MAIN(tests)
