/* Appends that make the steps of owners and log themselves, beside the threads whose steps they are, which have jobs of
 * their own meanwhile: everything written is there at once, and after the next start. */
#include "tests/support/test.h"

#include "tsdb/tidalite.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WRITERS    4u
#define ROUNDS     150u
#define CALL_MAX   700u /* series of a call: more than one applies by itself */
#define SERIES_MAX (CALL_MAX + 1u)
#define T0         INT64_C(1700000000000)

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

static struct tidalite *open_dir(const char *dir)
{
    struct tidalite_options o;
    struct tidalite *db = NULL;
    tidalite_options_init(&o);
    o.path = dir;
    o.durability = TIDALITE_MEMORY;
    o.threads = 2;
    if (tidalite_open(&o, &db) != TIDALITE_OK) {
        fail_msg("open: %s", tidalite_last_error());
    }
    return db;
}

struct writer {
    struct tidalite *db;
    unsigned number;
    char texts[SERIES_MAX][2][24];
    struct tidalite_label labels[SERIES_MAX][3];
    struct tidalite_series series[SERIES_MAX];
    struct tidalite_sample samples[SERIES_MAX];
    uint64_t written;
    pthread_t thread;
};

static struct tidalite_label label(const char *name, const char *value)
{
    return (struct tidalite_label){name, strlen(name), value, strlen(value)};
}

static void name_series(struct writer *w)
{
    for (unsigned i = 0; i < SERIES_MAX; i++) {
        bool shared = i == CALL_MAX; /* all write it, each at times of its own */
        snprintf(w->texts[i][0], sizeof w->texts[i][0], "target-%u", i % 97);
        snprintf(w->texts[i][1], sizeof w->texts[i][1], "%u-%u", shared ? 99 : w->number, i);
        w->labels[i][0] = label("__name__", "run");
        w->labels[i][1] = label("instance", w->texts[i][0]);
        w->labels[i][2] = label("of", w->texts[i][1]);
        w->series[i] = (struct tidalite_series){w->labels[i], 3, &w->samples[i], 1};
    }
}

/* One call: how many of its own series, and the shared one. */
static bool append(struct writer *w, unsigned round, unsigned count)
{
    struct tidalite_append_result r = {0};
    struct tidalite_series *first = &w->series[CALL_MAX - count];
    for (unsigned i = 0; i < SERIES_MAX; i++) {
        w->samples[i].t_ms = T0 + (int64_t)(round * WRITERS + w->number) * 1000;
        w->samples[i].value = round + i;
    }
    enum tidalite_durability mode = (enum tidalite_durability)(round % 40 == 0 ? 2 : round % 2);
    if (tidalite_append(w->db, first, count + 1, mode, &r) != TIDALITE_OK) {
        fprintf(stderr, "append: %s\n", tidalite_last_error());
        return false;
    }
    w->written += r.written;
    return r.written == count + 1;
}

/* Samples of the writer's own last series. */
static uint64_t count_samples(struct tidalite *db, const char *of, uint64_t *series)
{
    const struct tidalite_matcher m = {of[0] ? TIDALITE_EQUAL : TIDALITE_NOT_EQUAL,
                                       of[0] ? "of" : "instance", of[0] ? 2u : 8u, of, strlen(of)};
    struct tidalite_cursor *c = NULL;
    struct tidalite_view v;
    uint64_t n = 0;
    if (tidalite_select(db, &m, 1, INT64_MIN, INT64_MAX, &c) != TIDALITE_OK) {
        return UINT64_MAX;
    }
    for (*series = 0; tidalite_cursor_next(c, &v) == TIDALITE_OK; ++*series) {
        n += v.sample_count;
    }
    tidalite_cursor_close(c);
    return n;
}

static void *write_all(void *arg)
{
    struct writer *w = arg;
    uint64_t series = 0;
    bool ok = true;
    for (unsigned round = 0; round < ROUNDS && ok; round++) {
        ok = append(w, round, round % 50 == 7 ? CALL_MAX : round % 3 == 0 ? 30 : 1);
        ok = ok && (round % 10 > 0 ||
                    count_samples(w->db, w->texts[CALL_MAX - 1][1], &series) == round + 1);
    }
    return ok ? w : NULL;
}

static void tidalite_append__many_at_once__each_makes_steps_and_all_is_there(void **state)
{
    struct tidalite *db = open_dir(*state);
    struct writer *w = calloc(WRITERS, sizeof *w);
    void *ok = NULL;
    uint64_t want = 0;
    uint64_t series = 0;
    assert_non_null(w);
    for (unsigned i = 0; i < WRITERS; i++) {
        w[i].db = db;
        w[i].number = i;
        name_series(&w[i]);
        assert_int_equal(pthread_create(&w[i].thread, NULL, write_all, &w[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(w[i].thread, &ok);
        assert_ptr_equal(ok, &w[i]);
        want += w[i].written;
    }
    assert_int_equal(count_samples(db, "", &series), want);
    assert_int_equal(series, WRITERS * CALL_MAX + 1);
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
    db = open_dir(*state);
    assert_int_equal(count_samples(db, "", &series), want);
    assert_int_equal(count_samples(db, w[0].texts[CALL_MAX][1], &series), WRITERS * ROUNDS);
    assert_int_equal(tidalite_close(db), TIDALITE_OK);
    free(w);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(
        tidalite_append__many_at_once__each_makes_steps_and_all_is_there, setup, teardown),
};

TEST_MAIN(tests)
