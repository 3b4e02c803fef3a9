/* An owner appends, swaps, sweeps and drops; the sealer writes; readers see each sample once. */
#include "tests/support/test.h"

#include "base/random.h"
#include "tsdb/engine/sealer.h"
#include "tsdb/head/head_private.h"
#include "tsdb/recovery/datadir.h"

#include <pthread.h>
#include <sched.h>

#define SERIES  3u
#define READERS 2u
#define ROUNDS  30000u
#define RANGE   INT64_C(300)

static int64_t time_of(uint32_t i)
{
    return (int64_t)i * 10;
}
static int64_t late_time_of(uint32_t i)
{
    return (int64_t)i * 10 - 1055;
}
/* Any bits, a counter, runs: every form of a token. */
static uint64_t value_of(uint32_t s, int64_t t)
{
    return s == 0   ? (uint64_t)t * 2654435761u + s
           : s == 1 ? tsdb_double_bits((double)t * 2)
                    : tsdb_double_bits((double)(t / 400));
}

struct shared {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_epoch *epoch;
    struct cache_l2 *cache;
    struct head_files *files;
    struct head_partition *heads[TSDB_PARTITIONS];
    struct partition partitions[TSDB_PARTITIONS];
    uint8_t owner_of[TSDB_PARTITIONS];
    struct owner *owner;
    struct sealer *sealer;
    bool drops;
    _Atomic(uint32_t) done[SERIES]; /* rounds that are certainly there */
    _Atomic(uint32_t) running, ready;
    uint64_t failed; /* the owner's */
};
struct reader {
    struct shared *shared;
    uint64_t seed;
    uint64_t reads, failed, wrong_value, not_rising, missing;
};

static void *own(void *arg)
{
    struct shared *sh = arg;
    while (atomic_load(&sh->ready) < READERS) {
        sched_yield();
    }
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        for (uint32_t s = 0; s < SERIES; s++) {
            int64_t t = time_of(i);
            sh->failed += head_append(sh->heads[0], s, t, 0, TSDB_SAMPLE_FLOAT, value_of(s, t)) !=
                          HEAD_APPENDED;
            int64_t late = late_time_of(i);
            if (i % 3 == 0 && late > 0) {
                sh->failed += head_append(sh->heads[0], s, late, 0, TSDB_SAMPLE_FLOAT,
                                          value_of(s, late)) != HEAD_APPENDED_OUT_OF_ORDER;
            }
            atomic_store_explicit(&sh->done[s], i, memory_order_release);
        }
        if (i % 50 == 0) {
            owner_job_request(sh->owner, OWNER_JOB_SEAL, (uint64_t)(time_of(i) - 2 * RANGE));
        }
        if (sh->drops && i % 100 == 0) {
            head_drop_before(sh->heads[0], 0, UINT32_MAX, time_of(i) - 40 * RANGE);
        }
        owner_step(sh->owner, 0);
    }
    atomic_store(&sh->running, 0);
    return NULL;
}

static void *seal(void *arg)
{
    struct shared *sh = arg;
    while (atomic_load(&sh->running)) {
        if (sealer_step(sh->sealer, 0) == 0) {
            sched_yield();
        }
        head_files_mark(sh->files, 1); /* as if a checkpoint became durable at once */
        head_files_doom(sh->files, 1);
        head_files_collect(sh->files, "quarantine", 1);
    }
    return NULL;
}

/* What was appended up to `done` before the read began is there, unless it was dropped. */
static void check(struct reader *r, uint32_t s, uint32_t done, int64_t from_ms,
                  const struct tsdb_columns *c)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        r->wrong_value += c->bits[i] != value_of(s, c->t_ms[i]);
        r->not_rising += i > 0 && c->t_ms[i - 1] >= c->t_ms[i];
    }
    for (uint32_t i = 1; i <= done; i++) {
        if (time_of(i) < from_ms) {
            continue;
        }
        while (at < c->count && c->t_ms[at] < time_of(i)) {
            at++;
        }
        r->missing += at == c->count || c->t_ms[at] != time_of(i);
    }
}

static void *read_on(void *arg)
{
    struct reader *r = arg;
    struct shared *sh = r->shared;
    struct tsdb_prng prng;
    struct tsdb_arena arena;
    tsdb_prng_init(&prng, r->seed);
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 1u << 18, NULL);
    while (atomic_load(&sh->running)) {
        uint32_t s = (uint32_t)tsdb_prng_below(&prng, SERIES);
        uint32_t done = atomic_load_explicit(&sh->done[s], memory_order_acquire);
        struct tsdb_columns c = {0};
        /* Drops go on while this reads: stay well clear of them, and if this thread was kept
         * waiting for so long that they came here all the same, judge what is there only. */
        int64_t from_ms = sh->drops ? time_of(done) - 15 * RANGE : INT64_MIN;
        struct tsdb_time_range range = {from_ms, INT64_MAX};
        r->failed += head_read(sh->heads[0], s, range, HEAD_VIEW_NONE, &arena, &c, NULL) != TSDB_OK;
        uint32_t now = atomic_load_explicit(&sh->done[s], memory_order_acquire);
        bool late = sh->drops && from_ms < time_of(now) - 40 * RANGE;
        check(r, s, late ? 0 : done, from_ms, &c);
        if (r->reads++ == 0) {
            atomic_fetch_add(&sh->ready, 1);
        }
        tsdb_arena_reset(&arena);
    }
    tsdb_arena_deinit(&arena);
    return NULL;
}

static void begin(struct shared *sh, bool drops)
{
    sh->drops = drops;
    atomic_store(&sh->running, 1);
    assert_ok(tsdb_fs_sim_create(1, &sh->sim, &sh->fs));
    assert_ok(sh->fs.ops->mkdir(sh->fs.ctx, HEAD_FILES_DIR, NULL));
    assert_ok(tsdb_epoch_create(16, &sh->epoch));
    assert_ok(cache_l2_create(1u << 20, &sh->cache, NULL));
    assert_ok(head_files_create(&sh->fs, sh->cache, sh->epoch, 0, 1, &sh->files));
    sh->owner = tsdb_mem_alloc_aligned(TSDB_MEM_OTHER, TSDB_CACHELINE, sizeof *sh->owner);
    assert_non_null(sh->owner);
    memset(sh->owner, 0, sizeof *sh->owner);
    assert_ok(tsdb_ring_init(&sh->owner->ring, 4));
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        assert_ok(head_partition_create(i, sh->epoch, 0, &sh->heads[i]));
        head_partition_configure(sh->heads[i], RANGE, 0, true);
        head_bundle_bytes_set(sh->heads[i], 400, 0);
        sh->partitions[i].head = sh->heads[i];
    }
    sh->owner->partitions = sh->partitions;
    sh->owner->partition_end = TSDB_PARTITIONS;
    struct sealer_options o = {sh->files, sh->heads, sh->owner, sh->owner_of, 20000};
    assert_ok(sealer_create(&o, &sh->sealer));
    for (uint32_t s = 0; s < SERIES; s++) {
        char name[2] = {(char)('a' + s), 0};
        struct tsdb_label item = tsdb_label_make(TSDB_METRIC_NAME, name);
        struct tsdb_labels labels = {&item, 1};
        uint32_t local = 0;
        bool created = false;
        assert_ok(head_series_find_or_create(sh->heads[0], &labels, s + 1, &local, &created, NULL));
    }
}

static void end(struct shared *sh)
{
    struct tsdb_error err = {0};
    assert_ok_err(head_validate(sh->heads[0], &err), &err);
    sealer_destroy(sh->sealer);
    owner_mailbox_apply(sh->owner);
    tsdb_ring_deinit(&sh->owner->ring);
    tsdb_mem_free(TSDB_MEM_OTHER, sh->owner, sizeof *sh->owner);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        head_partition_destroy(sh->heads[i]);
    }
    head_files_destroy(sh->files);
    cache_l2_destroy(sh->cache);
    tsdb_epoch_destroy(sh->epoch);
    tsdb_fs_sim_destroy(sh->sim);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_HEAD), 0);
}

static void run(bool drops)
{
    struct shared *sh = test_calloc(1, sizeof *sh);
    begin(sh, drops);
    struct reader readers[READERS] = {0};
    pthread_t threads[READERS + 2];
    for (uint32_t i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.shared = sh, .seed = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    assert_int_equal(pthread_create(&threads[READERS], NULL, seal, sh), 0);
    assert_int_equal(pthread_create(&threads[READERS + 1], NULL, own, sh), 0);
    for (uint32_t i = 0; i < READERS + 2; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(sh->failed, 0);
    for (uint32_t i = 0; i < READERS; i++) {
        assert_int_equal(readers[i].failed, 0);
        assert_int_equal(readers[i].wrong_value, 0);
        assert_int_equal(readers[i].not_rising, 0);
        assert_int_equal(readers[i].missing, 0);
    }
    struct sealer_stats s;
    sealer_stats(sh->sealer, &s);
    assert_true(s.chunks > 0);
    end(sh);
    test_free(sh);
}

static void head_read__sealer_at_work__sees_each_sample_once(void **state)
{
    (void)state;
    run(false);
}

static void head_read__sealer_at_work_and_old_files_go__sees_what_is_kept(void **state)
{
    (void)state;
    run(true);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(head_read__sealer_at_work__sees_each_sample_once),
    cmocka_unit_test(head_read__sealer_at_work_and_old_files_go__sees_what_is_kept),
};

TEST_MAIN(tests)
