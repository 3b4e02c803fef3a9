/* How far back writes reach, asked while an owner notes them. */
#include "tests/support/test.h"

#include "tsdb/engine/written.h"

#include <pthread.h>

#define BATCHES 20000
#define READERS 2

static struct written marks;
static _Atomic(uint64_t) answers, wrong;

/* Batch n is of second n, and every 64th reaches back by 10 seconds. */
static int64_t second_of(uint64_t n)
{
    return (int64_t)n - (n % 64 == 0 ? 10 : 0);
}

static void *ask(void *arg)
{
    (void)arg;
    uint64_t number = 0;
    while (number < BATCHES) {
        number = written_number(&marks);
        uint64_t since = number > 5 ? number - 5 : 0;
        int64_t least = written_least_since(&marks, since);
        if (least == INT64_MIN) {
            continue; /* met the owner too often */
        }
        /* The batches between were all noted. */
        int64_t most = INT64_MAX;
        for (uint64_t n = since + 1; n <= number; n++) {
            most = TSDB_MIN(most, second_of(n) * 1000);
        }
        atomic_fetch_add(&answers, 1);
        if (least > most) {
            atomic_fetch_add(&wrong, 1);
        }
    }
    return NULL;
}

static void written_least_since__while_noted__never_later(void **state)
{
    (void)state;
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask, NULL), 0);
    }
    for (uint64_t n = 1; n <= BATCHES; n++) {
        written_note(&marks, second_of(n) * 1000);
    }
    for (int i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(atomic_load(&answers) > 0);
    assert_int_equal(atomic_load(&wrong), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(written_least_since__while_noted__never_later),
};

TEST_MAIN(tests)
