/* Writer, syncer, two owners and a thread that rotates and truncates, all at once. Run under TSan.
 */
#include "tests/support/test.h"

#include "tests/unit/wal/log_harness.h"

#include <sched.h>

#define OWNERS    2
#define PER_OWNER 1500
#define IN_FLIGHT 48

struct owner {
    struct log_harness *h;
    struct log_batch *batches; /* PER_OWNER of them, made by the owner itself */
    uint32_t index;
    uint32_t busy; /* times that the ring was full */
};

static _Atomic(uint32_t) stop_flag;
static _Atomic(uint32_t) completed[OWNERS];

static void done(struct tsdb_write *w)
{
    struct log_batch *b = w->done_arg;
    b->done++;
    b->status = (enum tsdb_status)atomic_load(&w->status);
    atomic_fetch_add(&completed[b->owner], 1);
}

static void batch_make(struct log_batch *b, struct log_harness *h, uint32_t owner, uint32_t seq)
{
    struct wal_encoder e;
    uint8_t raw[256];
    uint32_t raw_len = seq * 7 % 200;
    size_t cap = WAL_FRAME_OVERHEAD_MAX + WAL_SAMPLE_BYTES_MAX + sizeof raw;
    log_raw_fill(raw, raw_len, owner, seq);
    b->owner = owner;
    b->seq = seq;
    b->h = h;
    b->bytes = malloc(cap);
    wal_encoder_init(&e, b->bytes, b->bytes + cap);
    wal_group_begin(&e, WAL_RECORD_SAMPLES, owner, 0, seq + 1, seq + 1, wal_epoch(h->wal));
    wal_encode_histogram(&e, 7, 1700000000000, 0, TSDB_SAMPLE_HISTOGRAM_INT, raw, raw_len);
    wal_frame_end(&e);
    atomic_init(&b->write.pending, 1);
    b->write.batch_count = 1;
    b->write.done = done;
    b->write.done_arg = b;
    b->write.batches[0] = (struct tsdb_batch){
        .write = &b->write,
        .owner = owner,
        .wal_bytes = b->bytes,
        .wal_len = (uint32_t)(e.pos - b->bytes),
        .wal_samples = 1,
        .durability = seq % 3 ? TSDB_DURABILITY_BUFFERED : TSDB_DURABILITY_STRICT,
    };
}

static void *owner_run(void *arg)
{
    struct owner *o = arg;
    for (uint32_t i = 0; i < PER_OWNER; i++) {
        while (i - atomic_load(&completed[o->index]) >= IN_FLIGHT ||
               !tsdb_ring_reserve(wal_ring(o->h->wal, o->index), 1)) {
            o->busy++;
            sched_yield();
        }
        batch_make(&o->batches[i], o->h, o->index, i);
        wal_submit(o->h->wal, o->index, &o->batches[i].write.batches[0]);
    }
    return NULL;
}

static void *writer_run(void *arg)
{
    struct log_harness *h = arg;
    while (!atomic_load(&stop_flag)) {
        if (wal_write_step(h->wal, tsdb_clock_mono_ns(&tsdb_clock_real)) == 0) {
            wal_write_wait(h->wal, -1);
        }
    }
    return NULL;
}

static void *syncer_run(void *arg)
{
    struct log_harness *h = arg;
    while (!atomic_load(&stop_flag)) {
        wal_sync_step(h->wal, tsdb_clock_mono_ns(&tsdb_clock_real));
        wal_sync_wait(h->wal, -1);
    }
    return NULL;
}

static void *control_run(void *arg)
{
    struct log_harness *h = arg;
    uint64_t sum = 0;
    while (!atomic_load(&stop_flag)) {
        struct wal_stats stats;
        struct tsdb_error err;
        sum += wal_rotate(h->wal);
        wal_stats(h->wal, &stats);
        sum += wal_read_only(h->wal, &err);
        /* Nothing is removed: what was written is compared in the end. Segment 1 alone is given up.
         */
        sum += (uint64_t)wal_truncate_before(h->wal, 2, &err);
        for (int i = 0; i < 50; i++) {
            sched_yield();
        }
    }
    return sum ? NULL : arg;
}

static void run(uint64_t seed, enum tsdb_fs_fault fault, uint64_t op)
{
    struct log_harness h;
    struct log_found f;
    struct tsdb_error err;
    struct owner owners[OWNERS];
    pthread_t threads[OWNERS + 3];
    log_init(&h, seed);
    h.options.clock = tsdb_clock_real;
    h.options.flush_interval_ms = 2;
    h.options.unsynced_bytes_max = 20000;
    h.options.segment_bytes = 16384;
    log_open(&h);
    if (op > 0) {
        tsdb_fs_sim_fault(h.sim, fault, op, 1);
    }
    atomic_store(&stop_flag, 0);
    void *(*const services[])(void *) = {writer_run, syncer_run, control_run};
    for (size_t i = 0; i < 3; i++) {
        assert_ok_err(tsdb_thread_start(&threads[OWNERS + i], "service", services[i], &h, &err),
                      &err);
    }
    for (uint32_t i = 0; i < OWNERS; i++) {
        atomic_store(&completed[i], 0);
        owners[i] = (struct owner){&h, calloc(PER_OWNER, sizeof(struct log_batch)), i, 0};
        assert_ok_err(tsdb_thread_start(&threads[i], "owner", owner_run, &owners[i], &err), &err);
    }
    for (uint32_t i = 0; i < OWNERS; i++) {
        pthread_join(threads[i], NULL);
        while (atomic_load(&completed[i]) < PER_OWNER) {
            sched_yield(); /* every batch is completed without further pushing */
        }
    }
    atomic_store(&stop_flag, 1);
    wal_wake(h.wal);
    for (size_t i = 0; i < 3; i++) {
        pthread_join(threads[OWNERS + i], NULL);
    }
    assert_false(wal_read_only(h.wal, NULL));
    log_die(&h, false);
    h.seq[0] = h.seq[1] = PER_OWNER;
    log_replay(&h, 0, &f);
    assert_null(f.wrong);
    uint32_t missing = 0;
    for (uint32_t i = 0; i < OWNERS; i++) {
        uint32_t from = PER_OWNER;
        for (uint32_t seq = PER_OWNER; seq > 0; seq--) {
            assert_int_equal(owners[i].batches[seq - 1].done, 1);
            assert_int_equal(owners[i].batches[seq - 1].status, TSDB_OK);
            from = f.found[i][seq - 1] ? seq - 1 : from;
        }
        for (uint32_t seq = from; seq < PER_OWNER; seq++) {
            missing += !f.found[i][seq]; /* only a beginning, segment 1, may be gone */
        }
        for (uint32_t seq = 0; seq < PER_OWNER; seq++) {
            free(owners[i].batches[seq].bytes);
        }
        free(owners[i].batches);
    }
    assert_int_equal(missing, 0);
    assert_int_equal(f.damage_count, 0);
    assert_true(f.segment_max > 2);
    log_found_deinit(&f);
    log_deinit(&h);
}

static void wal__threads__every_batch_completed_once_and_found(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4; seed++) {
        run(seed, TSDB_FAULT_NONE, 0);
    }
}

static void wal__threads_and_one_failure__every_batch_completed_once_and_found(void **state)
{
    (void)state;
    for (uint64_t op = 3; op < 200; op += 29) {
        run(op, op % 2 ? TSDB_FAULT_EIO : TSDB_FAULT_ENOSPC, op);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wal__threads__every_batch_completed_once_and_found),
    cmocka_unit_test(wal__threads_and_one_failure__every_batch_completed_once_and_found),
};
TEST_MAIN(tests)
