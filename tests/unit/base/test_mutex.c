#include "tests/support/test.h"

#include "base/mutex.h"
#include "base/mutex_private.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
/* The reversals here are on purpose, and ours to report. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "detect_deadlocks=0";
}
#endif
#endif

static char broken_text[256];
static int broken_count;

static void note_broken(const char *message)
{
    broken_count++;
    snprintf(broken_text, sizeof broken_text, "%s", message);
}

static int setup(void **state)
{
    (void)state;
    broken_count = 0;
    broken_text[0] = '\0';
    tsdb_mutex_abort_hook_set(note_broken);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tsdb_mutex_abort_hook_set(NULL);
    return 0;
}

#if defined(TSDB_DEBUG)
#define NEEDS_DEBUG()
#else
#define NEEDS_DEBUG() skip() /* the rank checks are built in debug variants only */
#endif

/* The analysis of clang would refuse what these tests do on purpose. */
static void mutex_lock__rising_ranks__accepted(void **state) TSDB_NO_TSA
{
    (void)state;
    struct tsdb_mutex outer;
    struct tsdb_mutex inner;
    tsdb_mutex_init(&outer, TSDB_RANK_TSDB_ADMIN, "outer");
    tsdb_mutex_init(&inner, TSDB_RANK_LOG, "inner");
    for (int i = 0; i < 3; i++) {
        tsdb_mutex_lock(&outer);
        tsdb_mutex_lock(&inner);
        tsdb_mutex_unlock(&outer); /* any order of release is fine */
        tsdb_mutex_unlock(&inner);
        tsdb_mutex_lock(&inner); /* nothing is left over from before */
        tsdb_mutex_unlock(&inner);
    }
    assert_int_equal(broken_count, 0);
    tsdb_mutex_deinit(&outer);
    tsdb_mutex_deinit(&inner);
}

static void mutex_lock__reversed_ranks__reported_with_both_names(void **state) TSDB_NO_TSA
{
    (void)state;
    NEEDS_DEBUG();
    struct tsdb_mutex outer;
    struct tsdb_mutex inner;
    tsdb_mutex_init(&outer, TSDB_RANK_TSDB_ADMIN, "outer");
    tsdb_mutex_init(&inner, TSDB_RANK_LOG, "inner");
    tsdb_mutex_lock(&inner);
    tsdb_mutex_lock(&outer);
    assert_int_equal(broken_count, 1);
    assert_non_null(strstr(broken_text, "'outer'"));
    assert_non_null(strstr(broken_text, "'inner'"));
    tsdb_mutex_unlock(&outer);
    tsdb_mutex_unlock(&inner);
    assert_int_equal(broken_count, 1);
    tsdb_mutex_deinit(&outer);
    tsdb_mutex_deinit(&inner);
}

static void mutex_lock__equal_ranks__reported(void **state) TSDB_NO_TSA
{
    (void)state;
    NEEDS_DEBUG();
    struct tsdb_mutex a;
    struct tsdb_mutex b;
    tsdb_mutex_init(&a, TSDB_RANK_CACHE_SHARD, "shard 0");
    tsdb_mutex_init(&b, TSDB_RANK_CACHE_SHARD, "shard 1");
    tsdb_mutex_lock(&a);
    tsdb_mutex_lock(&b);
    assert_int_equal(broken_count, 1);
    tsdb_mutex_unlock(&b);
    tsdb_mutex_unlock(&a);
    tsdb_mutex_deinit(&a);
    tsdb_mutex_deinit(&b);
}

static void cond_wait__inner_lock_held_over_wait__reported(void **state) TSDB_NO_TSA
{
    (void)state;
    NEEDS_DEBUG();
    struct tsdb_mutex outer;
    struct tsdb_mutex inner;
    struct tsdb_cond cond;
    tsdb_mutex_init(&outer, TSDB_RANK_TSDB_ADMIN, "outer");
    tsdb_mutex_init(&inner, TSDB_RANK_LOG, "inner");
    tsdb_cond_init(&cond);
    tsdb_mutex_lock(&outer);
    tsdb_mutex_lock(&inner);
    (void)tsdb_cond_wait(&cond, &outer, 1000);
    assert_int_equal(broken_count, 1);
    tsdb_mutex_unlock(&inner);
    tsdb_mutex_unlock(&outer);
    tsdb_cond_deinit(&cond);
    tsdb_mutex_deinit(&outer);
    tsdb_mutex_deinit(&inner);
}

static void cond_wait__nobody_signals__false_when_time_is_up(void **state) TSDB_NO_TSA
{
    (void)state;
    struct tsdb_mutex m;
    struct tsdb_cond cond;
    tsdb_mutex_init(&m, TSDB_RANK_LOG, "m");
    tsdb_cond_init(&cond);
    tsdb_mutex_lock(&m);
    while (tsdb_cond_wait(&cond, &m, 2000000)) { /* a spurious wake-up is allowed */
    }
    tsdb_mutex_unlock(&m);
    assert_int_equal(broken_count, 0);
    tsdb_cond_deinit(&cond);
    tsdb_mutex_deinit(&m);
}

#define ROUNDS 2000

struct ping {
    struct tsdb_mutex mutex;
    struct tsdb_cond cond;
    int turn;
    long plain; /* only the lock makes it safe */
};

static void play(struct ping *p, int me) TSDB_NO_TSA
{
    for (int i = 0; i < ROUNDS; i++) {
        tsdb_mutex_lock(&p->mutex);
        while (p->turn != me) {
            (void)tsdb_cond_wait(&p->cond, &p->mutex, -1);
        }
        p->plain++;
        p->turn = 1 - me;
        tsdb_cond_broadcast(&p->cond);
        tsdb_mutex_unlock(&p->mutex);
    }
}

static void *play_one(void *arg)
{
    play(arg, 1);
    return NULL;
}

static void cond_wait__two_threads_take_turns__no_signal_lost(void **state)
{
    (void)state;
    struct ping p = {0};
    tsdb_mutex_init(&p.mutex, TSDB_RANK_TSDB_ADMIN, "ping");
    tsdb_cond_init(&p.cond);
    pthread_t thread;
    assert_ok(tsdb_thread_start(&thread, "pong", play_one, &p, NULL));
    play(&p, 0);
    pthread_join(thread, NULL);
    assert_int_equal(p.plain, 2 * ROUNDS);
    assert_int_equal(broken_count, 0);
    tsdb_cond_deinit(&p.cond);
    tsdb_mutex_deinit(&p.mutex);
}

struct seen {
    sigset_t mask;
};

static void *look_at_mask(void *arg)
{
    struct seen *seen = arg;
    pthread_sigmask(SIG_SETMASK, NULL, &seen->mask);
    return NULL;
}

static void thread_start__signals__blocked_there_and_as_before_here(void **state)
{
    (void)state;
    sigset_t before;
    sigset_t after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    struct seen seen;
    pthread_t thread;
    assert_ok(tsdb_thread_start(&thread, "fifteen-bytes-x", look_at_mask, &seen, NULL));
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_true(sigismember(&seen.mask, SIGTERM));
    assert_true(sigismember(&seen.mask, SIGINT));
    assert_true(sigismember(&seen.mask, SIGHUP));
    assert_false(sigismember(&seen.mask, SIGSEGV)); /* the crash report must still come */
    for (int signal = 1; signal < 32; signal++) {
        assert_int_equal(sigismember(&before, signal), sigismember(&after, signal));
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(mutex_lock__rising_ranks__accepted, setup, teardown),
    cmocka_unit_test_setup_teardown(mutex_lock__reversed_ranks__reported_with_both_names, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(mutex_lock__equal_ranks__reported, setup, teardown),
    cmocka_unit_test_setup_teardown(cond_wait__inner_lock_held_over_wait__reported, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(cond_wait__nobody_signals__false_when_time_is_up, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(cond_wait__two_threads_take_turns__no_signal_lost, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(thread_start__signals__blocked_there_and_as_before_here, setup,
                                    teardown),
};

TEST_MAIN(tests)
