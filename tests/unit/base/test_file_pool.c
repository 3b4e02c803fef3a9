/* No more files open than so many, and all of them readable. */
#include "tests/support/test.h"

#include "base/file_pool.h"
#include "base/random.h"

#include <pthread.h>
#include <stdio.h>

#define FILES 20u
#define BYTES 64u

/* The disk beneath, which counts what is open. */
struct counting {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs disk, fs;
    struct tsdb_fs_ops ops;
    _Atomic(uint32_t) open, most;
    bool refuses;
    struct tsdb_file_pool *pool;
    struct tsdb_fs files;
};

static enum tsdb_status counted_open(void *ctx, const char *path, unsigned flags,
                                     struct tsdb_file **out, struct tsdb_error *err)
{
    struct counting *c = ctx;
    if (c->refuses) {
        return tsdb_error_set(err, TSDB_NOT_FOUND, "%s: not there", path);
    }
    enum tsdb_status status = c->disk.ops->open(c->disk.ctx, path, flags, out, err);
    uint32_t open = status == TSDB_OK ? atomic_fetch_add(&c->open, 1) + 1 : 0;
    for (uint32_t most = atomic_load(&c->most); open > most;) {
        if (atomic_compare_exchange_weak(&c->most, &most, open)) {
            break;
        }
    }
    return status;
}

static void counted_close(void *ctx, struct tsdb_file *f)
{
    struct counting *c = ctx;
    atomic_fetch_sub(&c->open, 1);
    c->disk.ops->close(c->disk.ctx, f);
}

static enum tsdb_status counted_pread(void *ctx, struct tsdb_file *f, void *buf, size_t len,
                                      uint64_t offset, size_t *out_len, struct tsdb_error *err)
{
    struct counting *c = ctx;
    return c->disk.ops->pread(c->disk.ctx, f, buf, len, offset, out_len, err);
}

static void path_of(uint32_t i, char out[32])
{
    snprintf(out, 32, "file-%u", i);
}

static struct counting *begin(uint32_t files_max)
{
    struct counting *c = test_calloc(1, sizeof *c);
    assert_ok(tsdb_fs_sim_create(3, &c->sim, &c->disk));
    for (uint32_t i = 0; i < FILES; i++) {
        char path[32];
        uint8_t data[BYTES];
        path_of(i, path);
        memset(data, (int)i, sizeof data);
        assert_ok(tsdb_file_replace(&c->disk, path, data, sizeof data, NULL));
    }
    c->ops.open = counted_open;
    c->ops.close = counted_close;
    c->ops.pread = counted_pread;
    c->fs = (struct tsdb_fs){&c->ops, c};
    assert_ok(tsdb_file_pool_create(&c->fs, files_max, &c->pool, &c->files));
    return c;
}

static void end(struct counting *c)
{
    tsdb_file_pool_destroy(c->pool);
    assert_int_equal(atomic_load(&c->open), 0);
    tsdb_fs_sim_destroy(c->sim);
    test_free(c);
}

static struct tsdb_file *open_file(struct counting *c, uint32_t i)
{
    char path[32];
    struct tsdb_file *f = NULL;
    path_of(i, path);
    assert_ok(c->files.ops->open(c->files.ctx, path, TSDB_OPEN_READ, &f, NULL));
    return f;
}

static void assert_reads(struct counting *c, struct tsdb_file *f, uint32_t i)
{
    uint8_t data[8] = {0};
    size_t len = 0;
    assert_ok(c->files.ops->pread(c->files.ctx, f, data, sizeof data, i, &len, NULL));
    assert_int_equal(len, sizeof data);
    assert_int_equal(data[7], i);
}

static void file_pool__more_files_than_the_bound__all_are_read_few_are_open(void **state)
{
    (void)state;
    struct counting *c = begin(4);
    struct tsdb_file *f[FILES];
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 1);
    for (uint32_t i = 0; i < FILES; i++) {
        f[i] = open_file(c, i);
    }
    for (uint32_t k = 0; k < 500; k++) {
        uint32_t i = (uint32_t)tsdb_prng_below(&prng, FILES);
        assert_reads(c, f[i], i);
        assert_true(atomic_load(&c->open) <= 4);
    }
    assert_true(atomic_load(&c->most) <= 5); /* the new one comes before the old one goes */
    struct tsdb_file_pool_stats s;
    tsdb_file_pool_stats(c->pool, &s);
    assert_int_equal(s.known, FILES);
    assert_int_equal(s.open, 4);
    uint64_t opened = s.opened;
    for (uint32_t k = 0; k < 100; k++) { /* what is in use stays open */
        assert_reads(c, f[k % 4], k % 4);
    }
    tsdb_file_pool_stats(c->pool, &s);
    assert_true(s.opened <= opened + 4);
    for (uint32_t i = 0; i < FILES; i++) {
        c->files.ops->close(c->files.ctx, f[i]);
    }
    end(c);
}

static void file_pool__cannot_be_opened__says_so_then_and_later(void **state)
{
    (void)state;
    struct counting *c = begin(1);
    struct tsdb_file *f = NULL;
    struct tsdb_error err = {0};
    size_t len = 0;
    uint8_t byte = 0;
    assert_int_equal(c->files.ops->open(c->files.ctx, "nowhere", TSDB_OPEN_READ, &f, &err),
                     TSDB_NOT_FOUND);
    assert_int_equal(
        c->files.ops->open(c->files.ctx, "file-1", TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &f, &err),
        TSDB_INVALID);
    struct tsdb_file *a = open_file(c, 1);
    struct tsdb_file *b = open_file(c, 2);
    c->refuses = true;
    assert_reads(c, b, 2);
    /* Not NOT_FOUND, which would say that there is no such series. */
    assert_int_equal(c->files.ops->pread(c->files.ctx, a, &byte, 1, 0, &len, &err), TSDB_IO);
    c->refuses = false;
    assert_reads(c, a, 1);
    c->files.ops->close(c->files.ctx, a);
    c->files.ops->close(c->files.ctx, b);
    end(c);
}

struct reader {
    struct counting *c;
    struct tsdb_file **files;
    uint64_t seed;
};

static void *read_many(void *arg)
{
    const struct reader *r = arg;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, r->seed);
    for (uint32_t k = 0; k < 3000; k++) {
        uint32_t i = (uint32_t)tsdb_prng_below(&prng, FILES);
        assert_reads(r->c, r->files[i], i);
    }
    return NULL;
}

static void file_pool__many_readers__no_more_than_they_and_the_bound(void **state)
{
    enum {
        READERS = 4
    };
    (void)state;
    struct counting *c = begin(2);
    struct tsdb_file *f[FILES];
    struct reader readers[READERS];
    pthread_t threads[READERS];
    for (uint32_t i = 0; i < FILES; i++) {
        f[i] = open_file(c, i);
    }
    for (uint32_t i = 0; i < READERS; i++) {
        readers[i] = (struct reader){c, f, i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_many, &readers[i]), 0);
    }
    for (uint32_t i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(atomic_load(&c->most) <= 2 + 2 * READERS);
    assert_true(atomic_load(&c->open) <= 2);
    for (uint32_t i = 0; i < FILES; i++) {
        c->files.ops->close(c->files.ctx, f[i]);
    }
    end(c);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(file_pool__more_files_than_the_bound__all_are_read_few_are_open),
    cmocka_unit_test(file_pool__cannot_be_opened__says_so_then_and_later),
    cmocka_unit_test(file_pool__many_readers__no_more_than_they_and_the_bound),
};

TEST_MAIN(tests)
