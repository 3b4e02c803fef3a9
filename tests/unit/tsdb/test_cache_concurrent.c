/* Both caches under several threads: what is pinned holds the bytes of its key for as long as it is
 * pinned, whoever evicts, drops or puts the same at that time. Threads record, main asserts. */
#include "tests/support/test.h"

#include "base/mutex.h"
#include "base/random.h"
#include "tsdb/chunk/cache_l1.h"
#include "tsdb/chunk/cache_l2.h"

#include <pthread.h>
#include <stdlib.h>

#define THREADS  4u
#define PINS     6u
#define WORDS    (CACHE_L2_FRAME_BYTES / 8)
#define PAGES    12u
#define FILES    3u
#define L2_STEPS 3000u
#define L1_STEPS 20000u
#define COUNT    100u

/* ---- L2 ---- */

/* The page's words tell which page it is. */
static uint64_t word_of(uint64_t page, uint32_t i)
{
    return page * UINT64_C(0x9e3779b97f4a7c15) + i;
}

struct l2_shared {
    struct cache_l2 *cache;
    struct tsdb_fs fs;
    struct tsdb_file *file;
    _Atomic(uint64_t) ids[FILES]; /* replaced by whoever drops the old one */
    _Atomic(uint32_t) fail;       /* every n-th check says no; 0: none */
    _Atomic(uint32_t) checks;
};
struct l2_worker {
    struct l2_shared *shared;
    uint64_t seed;
    uint64_t gets, failed, wrong, unexpected;
};

static enum tsdb_status check_page(void *arg, uint64_t page, const uint8_t *data, uint32_t len,
                                   struct tsdb_error *err)
{
    struct l2_shared *sh = arg;
    uint32_t fail = atomic_load(&sh->fail);
    uint32_t n = atomic_fetch_add(&sh->checks, 1);
    if (len != CACHE_L2_FRAME_BYTES || tsdb_load_le64(data) != word_of(page, 0)) {
        return tsdb_error_set(err, TSDB_INVALID, "not that page");
    }
    if (fail > 0 && n % fail == 0) {
        return tsdb_error_set(err, TSDB_CORRUPT, "as asked");
    }
    return TSDB_OK;
}

static uint64_t l2_wrong(const struct cache_l2_page *p, uint64_t page)
{
    uint64_t wrong = p->len != CACHE_L2_FRAME_BYTES;
    for (uint32_t i = 0; i < WORDS; i += 61) {
        wrong += tsdb_load_le64(p->data + (size_t)i * 8) != word_of(page, i);
    }
    return wrong;
}

static void *l2_work(void *arg)
{
    struct l2_worker *w = arg;
    struct l2_shared *sh = w->shared;
    struct cache_l2_page pins[PINS] = {{0}};
    uint64_t page_of[PINS] = {0};
    struct tsdb_prng p;
    tsdb_prng_init(&p, w->seed);
    for (uint32_t step = 0; step < L2_STEPS; step++) {
        size_t slot = tsdb_prng_below(&p, PINS);
        if (pins[slot].data) {
            w->wrong += l2_wrong(&pins[slot], page_of[slot]);
            cache_l2_release(sh->cache, &pins[slot]);
            continue;
        }
        _Atomic(uint64_t) *id = &sh->ids[tsdb_prng_below(&p, FILES)];
        page_of[slot] = tsdb_prng_below(&p, PAGES);
        enum tsdb_status status = cache_l2_get(sh->cache, atomic_load(id), &sh->fs, sh->file,
                                               page_of[slot], check_page, sh, &pins[slot], NULL);
        w->gets++;
        w->failed += status == TSDB_CORRUPT;
        w->unexpected += status != TSDB_OK && status != TSDB_CORRUPT;
        if (status == TSDB_OK) {
            w->wrong += l2_wrong(&pins[slot], page_of[slot]);
        }
        if (step % 200 == 0) {
            cache_l2_drop(sh->cache, atomic_exchange(id, cache_l2_file_id(sh->cache)));
        }
    }
    for (size_t slot = 0; slot < PINS; slot++) {
        cache_l2_release(sh->cache, &pins[slot]);
    }
    return NULL;
}

static void l2_file_write(const struct tsdb_fs *fs, struct tsdb_file **out)
{
    uint64_t *words = malloc(CACHE_L2_FRAME_BYTES);
    assert_non_null(words);
    assert_ok(fs->ops->open(fs->ctx, "f", TSDB_OPEN_READ | TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, out,
                            NULL));
    for (uint64_t page = 0; page < PAGES; page++) {
        for (uint32_t i = 0; i < WORDS; i++) {
            words[i] = word_of(page, i);
        }
        assert_ok(fs->ops->pwrite(fs->ctx, *out, words, CACHE_L2_FRAME_BYTES,
                                  page * CACHE_L2_FRAME_BYTES, NULL));
    }
    free(words);
}

/* frames: few, so that pages are evicted and bypassed all the time, or many (two shards). */
static void l2_run(uint64_t frames, uint32_t fail, struct cache_l2_stats *out)
{
    struct l2_shared sh = {0};
    struct l2_worker workers[THREADS];
    pthread_t threads[THREADS];
    struct tsdb_fs_sim *sim;
    uint64_t gets = 0;
    assert_ok(tsdb_fs_sim_create(1, &sim, &sh.fs));
    l2_file_write(&sh.fs, &sh.file);
    assert_ok(cache_l2_create(frames * CACHE_L2_FRAME_BYTES, &sh.cache, NULL));
    for (uint32_t i = 0; i < FILES; i++) {
        atomic_init(&sh.ids[i], cache_l2_file_id(sh.cache));
    }
    atomic_init(&sh.fail, fail);
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct l2_worker){.shared = &sh, .seed = i + 1};
        assert_ok(tsdb_thread_start(&threads[i], "l2", l2_work, &workers[i], NULL));
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(workers[i].wrong, 0);
        assert_int_equal(workers[i].unexpected, 0);
        assert_int_equal(workers[i].failed > 0, fail > 0);
        gets += workers[i].gets;
    }
    cache_l2_stats(sh.cache, out);
    assert_int_equal(out->frames_pinned, 0);
    assert_int_equal(out->hits + out->misses, gets);
    assert_true(out->frames_used <= out->frames);
    cache_l2_destroy(sh.cache);
    sh.fs.ops->close(sh.fs.ctx, sh.file);
    tsdb_fs_sim_destroy(sim);
}

static void cache_l2_get__threads_few_frames__right_bytes(void **state)
{
    (void)state;
    struct cache_l2_stats s;
    l2_run(8, 0, &s);
    assert_true(s.evictions > 0); /* whether all frames are pinned at once is up to the scheduler */
}

static void cache_l2_get__threads_two_shards__right_bytes(void **state)
{
    (void)state;
    struct cache_l2_stats s;
    l2_run(128, 0, &s);
    assert_true(s.hits > 0);
    assert_int_equal(s.bypasses, 0);
}

static void cache_l2_get__threads_and_failing_checks__nothing_leaks(void **state)
{
    (void)state;
    struct cache_l2_stats s;
    l2_run(16, 7, &s);
    assert_true(s.evictions > 0);
}

/* ---- L1 ---- */

struct l1_shared {
    struct cache_l1 *cache;
    uint64_t bytes;
};
struct l1_worker {
    struct l1_shared *shared;
    uint64_t seed;
    uint64_t wrong, refused, gets;
};

static uint64_t l1_wrong(const struct chunk_samples *s, uint64_t block, uint64_t offset)
{
    uint64_t wrong = s->count != COUNT;
    for (uint32_t i = 0; i < s->count; i++) {
        wrong += s->t_ms[i] != (int64_t)(block + i) || s->value[i] != offset * 3 + i;
    }
    return wrong;
}

static struct cache_l1_entry *l1_load(struct l1_worker *w, uint64_t block, uint64_t offset,
                                      const struct chunk_samples **out)
{
    int64_t t_ms[COUNT];
    uint64_t value[COUNT];
    struct cache_l1_entry *e = cache_l1_get(w->shared->cache, block, offset, out);
    w->gets++;
    if (e) {
        return e;
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        t_ms[i] = (int64_t)(block + i);
        value[i] = offset * 3 + i;
    }
    struct chunk_samples s = {TSDB_SAMPLE_FLOAT, COUNT, t_ms, value, NULL};
    e = cache_l1_put(w->shared->cache, block, offset, &s, out);
    w->refused += !e;
    return e;
}

static void *l1_work(void *arg)
{
    struct l1_worker *w = arg;
    struct cache_l1 *cache = w->shared->cache;
    struct {
        struct cache_l1_entry *e;
        const struct chunk_samples *s;
        uint64_t block, offset;
    } pins[PINS] = {{0}};
    struct tsdb_prng p;
    tsdb_prng_init(&p, w->seed);
    for (uint32_t step = 0; step < L1_STEPS; step++) {
        size_t i = tsdb_prng_below(&p, PINS);
        if (pins[i].e) {
            w->wrong += l1_wrong(pins[i].s, pins[i].block, pins[i].offset);
            cache_l1_release(cache, pins[i].e);
            pins[i].e = NULL;
            continue;
        }
        pins[i].block = tsdb_prng_below(&p, 4);
        pins[i].offset = tsdb_prng_below(&p, 10);
        pins[i].e = l1_load(w, pins[i].block, pins[i].offset, &pins[i].s);
        if (step % 64 == 0) {
            struct cache_l1_stats s;
            cache_l1_stats(cache, &s);
            w->wrong += s.bytes_used > s.bytes;
        }
    }
    for (size_t i = 0; i < PINS; i++) {
        cache_l1_release(cache, pins[i].e);
    }
    return NULL;
}

static void l1_run(uint64_t bytes, struct cache_l1_stats *out, uint64_t *out_refused)
{
    struct l1_shared sh = {.bytes = bytes};
    struct l1_worker workers[THREADS];
    pthread_t threads[THREADS];
    uint64_t gets = 0, before = tsdb_mem_used(TSDB_MEM_CACHE);
    assert_ok(cache_l1_create(bytes, &sh.cache));
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct l1_worker){.shared = &sh, .seed = i + 1};
        assert_ok(tsdb_thread_start(&threads[i], "l1", l1_work, &workers[i], NULL));
    }
    *out_refused = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(workers[i].wrong, 0);
        *out_refused += workers[i].refused;
        gets += workers[i].gets;
    }
    cache_l1_stats(sh.cache, out);
    assert_int_equal(out->hits + out->misses, gets);
    cache_l1_destroy(sh.cache);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_CACHE), before);
}

static void cache_l1__threads_little_room__right_samples(void **state)
{
    (void)state;
    struct cache_l1_stats s;
    uint64_t refused;
    l1_run(16 * (COUNT * 16 + 160), &s, &refused);
    assert_true(s.evictions > 0 && s.hits > 0);
}

static void cache_l1__threads_room_for_all__each_chunk_once(void **state)
{
    (void)state;
    struct cache_l1_stats s;
    uint64_t refused;
    l1_run(4 << 20, &s, &refused);
    assert_int_equal(s.evictions, 0);
    assert_int_equal(s.entries, 40);
    assert_int_equal(refused, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(cache_l2_get__threads_few_frames__right_bytes),
    cmocka_unit_test(cache_l2_get__threads_two_shards__right_bytes),
    cmocka_unit_test(cache_l2_get__threads_and_failing_checks__nothing_leaks),
    cmocka_unit_test(cache_l1__threads_little_room__right_samples),
    cmocka_unit_test(cache_l1__threads_room_for_all__each_chunk_once),
};

TEST_MAIN(tests)
