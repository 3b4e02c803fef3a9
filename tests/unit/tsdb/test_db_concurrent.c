/* The engine with its own threads: writers, readers, checkpoints and retention at once, then a
 * death or a close. */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb/harness.h"

#include <pthread.h>
#include <semaphore.h>

#define WRITERS 3
#define WRITES  150
#define SAMPLES 20 /* of one write, each of its own series */

struct scene {
    struct hx h;
    _Atomic(uint32_t) stop;
    _Atomic(uint32_t) answered; /* samples */
    uint32_t failures[WRITERS];
    uint32_t shrunk, read_failures, checkpoints, checkpoint_failures;
};

struct writer {
    struct scene *scene;
    uint32_t index;
};

static void post(struct tsdb_write *w)
{
    sem_post(w->done_arg);
}

/* Hand over and wait, or make what steps it takes: writers of both kinds are at work. */
static enum tsdb_status write_one(const struct writer *w, struct hx_write *x, sem_t *done)
{
    struct tsdb *db = w->scene->h.db;
    if (w->index > 0) {
        return tsdb_write_run(db, &x->w, NULL);
    }
    x->w.done = post;
    x->w.done_arg = done;
    enum tsdb_status status = tsdb_write_submit(db, &x->w, NULL);
    if (status == TSDB_OK) {
        sem_wait(done);
    }
    return status;
}

/* Series of different writers are different; refs are learnt, so both paths of the owner are used.
 */
static void *writer_main(void *arg)
{
    struct writer *w = arg;
    struct scene *s = w->scene;
    sem_t done;
    sem_init(&done, 0, 0);
    for (uint32_t i = 0; i < WRITES; i++) {
        struct hx_sample samples[SAMPLES];
        for (uint32_t k = 0; k < SAMPLES; k++) {
            samples[k] = hx_float(w->index * 100 + (i + k) % 50, HX_WALL_MS + i * 50 + k, i);
        }
        struct hx_write *x =
            hx_write_create(&s->h, samples, SAMPLES, (enum tsdb_durability)(i % 40 ? 1 : 2));
        enum tsdb_status status = write_one(w, x, &done);
        if (status == TSDB_OK) {
            status = (enum tsdb_status)atomic_load(&x->w.status);
        }
        if (status == TSDB_OK) {
            hx_learn(&s->h, x);
            atomic_fetch_add(&s->answered, SAMPLES);
        } else if (status == TSDB_BUSY) {
            i--; /* again */
        } else {
            s->failures[w->index]++;
        }
        hx_write_destroy(x);
    }
    sem_destroy(&done);
    return NULL;
}

static void *reader_main(void *arg)
{
    struct scene *s = arg;
    while (!atomic_load(&s->stop)) {
        uint32_t before = atomic_load(&s->answered), found = 0;
        s->read_failures += hx_visit(&s->h, hx_count_one, &found, NULL) != TSDB_OK;
        s->shrunk += found < before; /* every answered sample is visible */
        struct tsdb_stats stats;
        tsdb_stats_read(s->h.db, &stats);
    }
    return NULL;
}

static void *checkpoint_main(void *arg)
{
    struct scene *s = arg;
    while (!atomic_load(&s->stop)) {
        s->checkpoint_failures += tsdb_checkpoint(s->h.db, NULL) != TSDB_OK;
        s->checkpoints++;
        tsdb_retention_step(s->h.db, 0);
    }
    return NULL;
}

static void open_ready(struct hx *h)
{
    struct tsdb_error err;
    assert_ok_err(hx_open(h, &err), &err);
    enum tsdb_state state;
    while ((state = tsdb_state(h->db, &err)) == TSDB_STATE_RECOVERING) {
    }
    assert_int_equal(state, TSDB_STATE_READY);
}

static void run(struct scene *s, enum tsdb_durability durability, uint32_t owners)
{
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    memset(s, 0, sizeof *s);
    hx_init(&s->h, 1);
    struct tsdb_options *o = &s->h.options;
    o->manual_steps = false;
    o->clock.mono_ns =
        tsdb_clock_real.mono_ns; /* the wall stands still: times stay within bounds */
    o->durability = durability;
    o->owner_count = owners;
    o->ring_slots = 2; /* so that BUSY and the owners' backlog are met */
    o->retention_ms = 3600000;
    o->wal_segment_bytes = 1u << 16;
    o->wal_epoch_bytes = 1u << 12;
    open_ready(&s->h);
    pthread_t threads[WRITERS], reader, checkpoint;
    struct writer writers[WRITERS];
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){s, i};
        assert_int_equal(pthread_create(&threads[i], NULL, writer_main, &writers[i]), 0);
    }
    assert_int_equal(pthread_create(&reader, NULL, reader_main, s), 0);
    assert_int_equal(pthread_create(&checkpoint, NULL, checkpoint_main, s), 0);
    for (uint32_t i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
    }
    atomic_store(&s->stop, 1);
    pthread_join(reader, NULL);
    pthread_join(checkpoint, NULL);
    for (uint32_t i = 0; i < WRITERS; i++) {
        assert_int_equal(s->failures[i], 0);
    }
    assert_int_equal(s->shrunk, 0);
    assert_int_equal(s->read_failures, 0);
    assert_int_equal(s->checkpoint_failures, 0);
    assert_true(s->checkpoints > 0);
    assert_int_equal(hx_count(&s->h), WRITERS * WRITES * SAMPLES);
}

static void run_and_die(enum tsdb_durability durability, uint32_t owners, bool cut)
{
    struct scene *s = malloc(sizeof *s);
    assert_non_null(s);
    run(s, durability, owners);
    hx_die(&s->h, cut);
    open_ready(&s->h);
    assert_int_equal(hx_count(&s->h), WRITERS * WRITES * SAMPLES);
    hx_deinit(&s->h);
    free(s);
}

static void tsdb__writers_readers_checkpoints_then_kill__everything_there(void **state)
{
    (void)state;
    run_and_die(TSDB_DURABILITY_BUFFERED, 2, false);
}

static void tsdb__writers_readers_checkpoints_then_power_cut__strict_loses_nothing(void **state)
{
    (void)state;
    run_and_die(TSDB_DURABILITY_STRICT, 4, true);
}

/* As many threads as machines of 16 and more cores have, up to a partition each. */
static void tsdb__owners_of_large_machines__everything_there(void **state)
{
    (void)state;
    run_and_die(TSDB_DURABILITY_BUFFERED, 8, false);
    run_and_die(TSDB_DURABILITY_STRICT, 16, true);
    run_and_die(TSDB_DURABILITY_BUFFERED, TSDB_OWNERS_MAX, false);
}

static void tsdb__memory_mode_then_close__everything_there(void **state)
{
    (void)state;
    struct scene *s = malloc(sizeof *s);
    assert_non_null(s);
    run(s, TSDB_DURABILITY_MEMORY, 3);
    struct tsdb_error err;
    assert_ok_err(hx_close(&s->h, &err), &err);
    tsdb_fs_sim_crash(s->h.sim);
    open_ready(&s->h);
    assert_int_equal(hx_count(&s->h), WRITERS * WRITES * SAMPLES);
    hx_deinit(&s->h);
    free(s);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tsdb__writers_readers_checkpoints_then_kill__everything_there),
    cmocka_unit_test(tsdb__writers_readers_checkpoints_then_power_cut__strict_loses_nothing),
    cmocka_unit_test(tsdb__owners_of_large_machines__everything_there),
    cmocka_unit_test(tsdb__memory_mode_then_close__everything_there),
};

TEST_MAIN(tests)
