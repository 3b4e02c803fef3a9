/* Readers, writers, flushes and merges with the engine's own threads: each sample is there exactly
 * once, whatever moves where. */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb/harness.h"
#include "tsdb/engine/db_private.h"

#include <pthread.h>
#include <semaphore.h>

#define SERIES  24
#define WRITES  600
#define READERS 2
#define RANGE   INT64_C(20000)

struct scene {
    struct hx h;
    _Atomic(uint32_t) stop;
    _Atomic(uint32_t) answered; /* writes; each has one sample of every series */
    uint32_t failures, flush_failures, flushes;
    uint32_t wrong[READERS], read_failures[READERS];
};
struct reader {
    struct scene *scene;
    uint32_t index;
};

static void post(struct tsdb_write *w)
{
    sem_post(w->done_arg);
}

static int64_t time_of(uint32_t i)
{
    return HX_WALL_MS - 400000 + (int64_t)i * 500;
}

/* False: some of the series have left the head, and the write is to come again with labels. */
static bool write_once(struct scene *s, const struct hx_sample samples[SERIES], sem_t *done)
{
    struct hx_write *x = hx_write_create(&s->h, samples, SERIES, TSDB_DURABILITY_BUFFERED);
    struct tsdb_write_result result = {0};
    x->w.done = post;
    x->w.done_arg = done;
    enum tsdb_status status;
    while ((status = tsdb_write_submit(s->h.db, &x->w, NULL)) == TSDB_BUSY) {
    }
    if (status == TSDB_OK) {
        sem_wait(done);
        status = (enum tsdb_status)atomic_load(&x->w.status);
        tsdb_write_result_sum(&x->w, &result);
    }
    if (result.stale_refs > 0) {
        hx_forget(&s->h, x);
    } else if (status == TSDB_OK) {
        hx_learn(&s->h, x);
    }
    s->failures += status != TSDB_OK;
    hx_write_destroy(x);
    return result.stale_refs == 0;
}

static void *writer_main(void *arg)
{
    struct scene *s = arg;
    sem_t done;
    sem_init(&done, 0, 0);
    for (uint32_t i = 0; i < WRITES; i++) {
        struct hx_sample samples[SERIES];
        for (uint32_t k = 0; k < SERIES; k++) {
            /* Every fourth is late, into windows that are in blocks by then. */
            uint32_t at = i % 4 == 3 ? WRITES + i / 4 : i;
            int64_t t = i % 4 == 3 ? HX_WALL_MS - 500007 + (int64_t)i * 600 : time_of(i);
            samples[k] = hx_float(k, t, at);
        }
        while (!write_once(s, samples, &done)) {
        }
        atomic_fetch_add(&s->answered, 1);
    }
    sem_destroy(&done);
    return NULL;
}

struct seen {
    uint32_t count[SERIES];
};
static void see(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                enum tsdb_sample_kind kind, uint64_t bits, const struct tsdb_histogram *histogram)
{
    (void)t_ms, (void)start_ms, (void)kind, (void)bits, (void)histogram;
    ((struct seen *)arg)->count[series]++;
}

static void *reader_main(void *arg)
{
    const struct reader *r = arg;
    struct scene *s = r->scene;
    while (!atomic_load(&s->stop)) {
        uint32_t before = atomic_load(&s->answered);
        struct seen seen = {0};
        s->read_failures[r->index] += hx_visit(&s->h, see, &seen, NULL) != TSDB_OK;
        uint32_t after = atomic_load(&s->answered);
        for (uint32_t k = 0; k < SERIES; k++) {
            /* One write may be applied and not answered. */
            bool right = (before <= seen.count[k] && seen.count[k] <= after + 1);
            s->wrong[r->index] += !right;
        }
    }
    return NULL;
}

static void *flusher_main(void *arg)
{
    struct scene *s = arg;
    while (!atomic_load(&s->stop)) {
        s->flush_failures += tsdb_flush(s->h.db, NULL) != TSDB_OK;
        s->flushes++;
        tsdb_compact_step(s->h.db, tsdb_clock_real.mono_ns(NULL));
        struct tsdb_stats stats;
        tsdb_stats_read(s->h.db, &stats);
    }
    return NULL;
}

static void open_ready(struct hx *h)
{
    struct tsdb_error err;
    assert_ok_err(hx_open(h, &err), &err);
    while (tsdb_state(h->db, &err) == TSDB_STATE_RECOVERING) {
    }
    assert_int_equal(tsdb_state(h->db, &err), TSDB_STATE_READY);
}

static void tsdb__readers_beside_flushes_and_merges__each_sample_once(void **state)
{
    (void)state;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    struct scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    hx_init(&s->h, 5);
    struct tsdb_options *o = &s->h.options;
    o->manual_steps = false;
    o->clock.mono_ns = tsdb_clock_real.mono_ns;
    o->block_range_ms = RANGE;
    o->head_file_bytes_max = 4096;
    o->cache_l1_bytes = 1u << 16;
    o->wal_segment_bytes = 1u << 16;
    o->wal_epoch_bytes = 1u << 12;
    open_ready(&s->h);
    pthread_t writer, flusher, readers[READERS];
    struct reader args[READERS];
    assert_int_equal(pthread_create(&writer, NULL, writer_main, s), 0);
    assert_int_equal(pthread_create(&flusher, NULL, flusher_main, s), 0);
    for (uint32_t i = 0; i < READERS; i++) {
        args[i] = (struct reader){s, i};
        assert_int_equal(pthread_create(&readers[i], NULL, reader_main, &args[i]), 0);
    }
    pthread_join(writer, NULL);
    while (atomic_load(&s->h.db->life->compactions) == 0) {
        db_pause(s->h.db, 1000000);
    }
    atomic_store(&s->stop, 1);
    pthread_join(flusher, NULL);
    for (uint32_t i = 0; i < READERS; i++) {
        pthread_join(readers[i], NULL);
        assert_int_equal(s->wrong[i], 0);
        assert_int_equal(s->read_failures[i], 0);
    }
    assert_int_equal(s->failures, 0);
    assert_int_equal(s->flush_failures, 0);
    assert_true(atomic_load(&s->h.db->life->flushes) > 0);
    assert_int_equal(hx_count(&s->h), SERIES * WRITES);
    struct tsdb_error err;
    assert_ok_err(hx_close(&s->h, &err), &err);
    open_ready(&s->h);
    assert_int_equal(hx_count(&s->h), SERIES * WRITES);
    hx_deinit(&s->h);
    free(s);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tsdb__readers_beside_flushes_and_merges__each_sample_once),
};

TEST_MAIN(tests)
