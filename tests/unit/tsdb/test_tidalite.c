/* The embedding API against the real file system, with its threads. */
#include "tests/support/test.h"

#include "tsdb/tidalite.h"

#include <ftw.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int setup(void **state)
{
    char *dir = strdup("/tmp/tidalite-test-XXXXXX");
    *state = dir;
    return dir && mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    nftw(*state, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return 0;
}

static struct tidalite *open_dir(const char *dir, enum tidalite_durability durability)
{
    struct tidalite_options o;
    struct tidalite *db = NULL;
    tidalite_options_init(&o);
    o.path = dir;
    o.durability = durability;
    o.threads = 2;
    if (tidalite_open(&o, &db) != TIDALITE_OK) {
        fail_msg("open: %s", tidalite_last_error());
    }
    return db;
}

static struct tidalite_label label(const char *name, const char *value)
{
    return (struct tidalite_label){name, strlen(name), value, strlen(value)};
}

static struct tidalite_matcher matcher(enum tidalite_match op, const char *name, const char *value)
{
    return (struct tidalite_matcher){op, name, strlen(name), value, strlen(value)};
}

/* Sum of samples of all series with the metric name; -1 on failure. */
static long count_samples(struct tidalite *db, const char *name)
{
    struct tidalite_matcher m = matcher(TIDALITE_EQUAL, "__name__", name);
    struct tidalite_cursor *c = NULL;
    struct tidalite_view v;
    long n = 0;
    if (tidalite_select(db, &m, 1, INT64_MIN, INT64_MAX, &c) != TIDALITE_OK) {
        return -1;
    }
    enum tidalite_status status;
    while ((status = tidalite_cursor_next(c, &v)) == TIDALITE_OK) {
        n += (long)v.sample_count;
    }
    tidalite_cursor_close(c);
    return status == TIDALITE_NOT_FOUND ? n : -1;
}

static void
tidalite_append__odd_values_unsorted_labels__read_back_bit_for_bit_after_reopen(void **state)
{
    static const uint64_t bits[] = {0,
                                    UINT64_C(0x8000000000000000),
                                    UINT64_C(0x7ff0000000000002),
                                    UINT64_C(0x7ff8dead0000beef),
                                    UINT64_C(0xfff0000000000000),
                                    UINT64_C(0x3ff8000000000000)};
    struct tidalite_sample samples[6];
    for (int i = 0; i < 6; i++) {
        samples[i] = (struct tidalite_sample){1000 * (i ^ 1), tsdb_bits_double(bits[i ^ 1])};
    }
    struct tidalite_label labels[] = {label("zone", "a"), label("empty", ""),
                                      label("__name__", "temperature"), label("host", "b")};
    struct tidalite_series s = {labels, 4, samples, 6};
    struct tidalite_append_result r;
    for (int mode = TIDALITE_MEMORY; mode <= TIDALITE_STRICT; mode++) {
        struct tidalite *db = open_dir(*state, (enum tidalite_durability)mode);
        assert_int_equal(tidalite_append(db, &s, 1, TIDALITE_MEMORY, &r), TIDALITE_OK);
        assert_int_equal(r.written, 6); /* from the second mode on: exact duplicates */
        assert_int_equal(r.conflict + r.bounds + r.limit, 0);
        assert_int_equal(tidalite_close(db), TIDALITE_OK);
    }
    struct tidalite *db = open_dir(*state, TIDALITE_BUFFERED);
    struct tidalite_matcher m[2] = {matcher(TIDALITE_REGEX, "host", "[ab]"),
                                    matcher(TIDALITE_EQUAL, "empty", "")};
    struct tidalite_cursor *c = NULL;
    struct tidalite_view v;
    assert_int_equal(tidalite_select(db, m, 2, 1000, 5000, &c), TIDALITE_OK);
    assert_int_equal(tidalite_cursor_next(c, &v), TIDALITE_OK);
    assert_int_equal(v.label_count, 3);
    assert_memory_equal(v.labels[0].name, "__name__", 8);
    assert_memory_equal(v.labels[1].name, "host", 4);
    assert_memory_equal(v.labels[2].value, "a", 1);
    assert_int_equal(v.sample_count, 5);
    assert_int_equal(v.histogram_count, 0);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(v.samples[i].t_ms, 1000 * ((int64_t)i + 1));
        assert_int_equal(tsdb_double_bits(v.samples[i].value), bits[i + 1]);
    }
    assert_int_equal(tidalite_cursor_next(c, &v), TIDALITE_NOT_FOUND);
    assert_int_equal(tidalite_cursor_next(c, &v), TIDALITE_NOT_FOUND);
    tidalite_cursor_close(c);
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
}

static void tidalite_append__conflicts_and_bounds__counted_rest_stored(void **state)
{
    struct tidalite *db = open_dir(*state, TIDALITE_BUFFERED);
    struct tidalite_label l = label("__name__", "m");
    struct tidalite_sample samples[] = {{1000, 1}, {2000, 2},      {1000, 1},
                                        {2000, 3}, {INT64_MAX, 4}, {-5, 5}};
    struct tidalite_series s = {&l, 1, samples, 6};
    struct tidalite_append_result r;
    assert_int_equal(tidalite_append(db, &s, 1, TIDALITE_BUFFERED, &r), TIDALITE_OK);
    assert_int_equal(r.written, 4);
    assert_int_equal(r.conflict, 1);
    assert_int_equal(r.bounds, 1);
    assert_int_equal(count_samples(db, "m"), 3);
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
}

static void tidalite_append__bad_labels__invalid_and_nothing_stored(void **state)
{
    struct tidalite *db = open_dir(*state, TIDALITE_BUFFERED);
    struct tidalite_label good = label("__name__", "good"),
                          bad[2] = {label("a", "1"), label("a", "2")};
    struct tidalite_label utf8 = label("a", "\xff");
    struct tidalite_sample sample = {1, 1};
    struct tidalite_series s[2] = {{&good, 1, &sample, 1}, {bad, 2, &sample, 1}};
    assert_int_equal(tidalite_append(db, s, 2, TIDALITE_BUFFERED, NULL), TIDALITE_INVALID);
    assert_non_null(strstr(tidalite_last_error(), "series 1"));
    s[1] = (struct tidalite_series){&utf8, 1, &sample, 1};
    assert_int_equal(tidalite_append(db, s, 2, TIDALITE_BUFFERED, NULL), TIDALITE_INVALID);
    s[1] = (struct tidalite_series){NULL, 0, &sample, 1};
    assert_int_equal(tidalite_append(db, s, 2, TIDALITE_BUFFERED, NULL), TIDALITE_INVALID);
    assert_int_equal(count_samples(db, "good"), 0);
    assert_int_equal(tidalite_append(db, NULL, 0, TIDALITE_BUFFERED, NULL), TIDALITE_OK);
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
}

static void tidalite_select__bad_regex_or_no_matcher__invalid_with_text(void **state)
{
    struct tidalite *db = open_dir(*state, TIDALITE_BUFFERED);
    struct tidalite_matcher m = matcher(TIDALITE_REGEX, "a", "(");
    struct tidalite_cursor *c = NULL;
    assert_int_equal(tidalite_select(db, &m, 1, 0, 1, &c), TIDALITE_INVALID);
    assert_true(strlen(tidalite_last_error()) > 0);
    assert_int_equal(tidalite_select(db, &m, 0, 0, 1, &c), TIDALITE_INVALID);
    assert_null(c);
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
}

static void tidalite_open__directory_in_use_or_unusable__clean_error(void **state)
{
    struct tidalite *db = open_dir(*state, TIDALITE_BUFFERED), *second = NULL;
    struct tidalite_options o;
    tidalite_options_init(&o);
    o.path = *state;
    assert_int_equal(tidalite_open(&o, &second), TIDALITE_BUSY);
    assert_non_null(strstr(tidalite_last_error(), "another process"));
    o.path = "/dev/null/nowhere";
    assert_int_not_equal(tidalite_open(&o, &second), TIDALITE_OK);
    o.path = "";
    assert_int_equal(tidalite_open(&o, &second), TIDALITE_INVALID);
    assert_null(second);
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
    assert_int_equal(tidalite_close(NULL), TIDALITE_OK);
}

/* Programs compiled with an older and with a newer header than the library. */
static void tidalite_open__options_of_other_versions__taken_where_they_mean_something(void **state)
{
    struct {
        struct tidalite_options o;
        uint64_t later[2];
    } newer = {.later = {0, 0}};
    struct tidalite *db = NULL;
    tidalite_options_init(&newer.o);
    newer.o.path = *state;
    newer.o.struct_bytes = offsetof(struct tidalite_options, series_max);
    newer.o.series_max = 1; /* of no meaning in that version */
    assert_int_equal(tidalite_open(&newer.o, &db), TIDALITE_OK);
    struct tidalite_label l[2] = {label("__name__", "a"), label("__name__", "b")};
    struct tidalite_sample sample = {1, 1};
    struct tidalite_series s[2] = {{&l[0], 1, &sample, 1}, {&l[1], 1, &sample, 1}};
    struct tidalite_append_result r;
    assert_int_equal(tidalite_append(db, s, 2, TIDALITE_BUFFERED, &r), TIDALITE_OK);
    assert_int_equal(r.written, 2);
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
    newer.o.struct_bytes = sizeof newer;
    assert_int_equal(tidalite_open(&newer.o, &db), TIDALITE_OK);
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
    newer.later[1] = 1;
    assert_int_equal(tidalite_open(&newer.o, &db), TIDALITE_INVALID);
    newer.o.struct_bytes = sizeof(size_t);
    assert_int_equal(tidalite_open(&newer.o, &db), TIDALITE_INVALID);
}

/* More samples than one internal write takes, in one series and in many. */
static void tidalite_append__larger_than_a_write__all_stored(void **state)
{
    enum {
        SAMPLES = 40000,
        SERIES = 5000
    };
    struct tidalite *db = open_dir(*state, TIDALITE_STRICT);
    struct tidalite_sample *samples = calloc(SAMPLES, sizeof *samples);
    struct tidalite_series *series = calloc(SERIES, sizeof *series);
    struct tidalite_label *labels = calloc(SERIES, 2 * sizeof *labels);
    char(*text)[16] = calloc(SERIES, sizeof *text);
    for (int i = 0; i < SAMPLES; i++) {
        samples[i] = (struct tidalite_sample){i, i};
    }
    for (int i = 0; i < SERIES; i++) {
        snprintf(text[i], sizeof text[i], "%d", i);
        labels[2 * i] = label("i", text[i]);
        labels[2 * i + 1] = label("__name__", "big");
        series[i] = (struct tidalite_series){labels + 2 * i, 2, samples, i == 7 ? SAMPLES : 5};
    }
    struct tidalite_append_result r;
    assert_int_equal(tidalite_append(db, series, SERIES, TIDALITE_MEMORY, &r), TIDALITE_OK);
    assert_int_equal(r.written, SAMPLES + (SERIES - 1) * 5);
    assert_int_equal(count_samples(db, "big"), r.written);
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
    db = open_dir(*state, TIDALITE_STRICT);
    assert_int_equal(count_samples(db, "big"), r.written);
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
    free(text);
    free(labels);
    free(series);
    free(samples);
}

struct worker {
    struct tidalite *db;
    int index;
    long appended, lost, failures;
};

/* Appends to a series of its own and, every now and then, reads all of it back. */
static void *work(void *arg)
{
    struct worker *w = arg;
    char name[16];
    snprintf(name, sizeof name, "w%d", w->index);
    struct tidalite_label l[2] = {label("__name__", name), label("shared", "yes")};
    for (int i = 0; i < 300; i++) {
        struct tidalite_sample s = {i, (double)i};
        struct tidalite_series series = {l, 2, &s, 1};
        enum tidalite_durability d = i % 50 ? TIDALITE_BUFFERED : TIDALITE_STRICT;
        enum tidalite_status status = tidalite_append(w->db, &series, 1, d, NULL);
        w->failures += status != TIDALITE_OK;
        w->appended += status == TIDALITE_OK;
        if (i % 25 == 0) {
            w->lost += count_samples(w->db, name) != w->appended;
        }
    }
    return NULL;
}

static void tidalite_append__four_threads__each_sees_its_own_at_once(void **state)
{
    struct tidalite *db = open_dir(*state, TIDALITE_BUFFERED);
    struct worker workers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        workers[i] = (struct worker){.db = db, .index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].failures, 0);
        assert_int_equal(workers[i].lost, 0);
        assert_int_equal(workers[i].appended, 300);
    }
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
}

static void tidalite_status_name__every_value__has_a_name(void **state)
{
    (void)state;
    for (int i = TIDALITE_OK; i <= TIDALITE_READ_ONLY; i++) {
        assert_string_not_equal(tidalite_status_name((enum tidalite_status)i), "unknown");
    }
    assert_string_equal(tidalite_status_name((enum tidalite_status)99), "unknown");
    assert_string_equal(tidalite_version(), "0.2.0");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    T(tidalite_append__odd_values_unsorted_labels__read_back_bit_for_bit_after_reopen),
    T(tidalite_append__conflicts_and_bounds__counted_rest_stored),
    T(tidalite_append__bad_labels__invalid_and_nothing_stored),
    T(tidalite_select__bad_regex_or_no_matcher__invalid_with_text),
    T(tidalite_open__directory_in_use_or_unusable__clean_error),
    T(tidalite_open__options_of_other_versions__taken_where_they_mean_something),
    T(tidalite_append__larger_than_a_write__all_stored),
    T(tidalite_append__four_threads__each_sees_its_own_at_once),
    cmocka_unit_test(tidalite_status_name__every_value__has_a_name),
};

TEST_MAIN(tests)
