/* The arena of pages: what is read through it is what the file holds, whatever is evicted, pinned,
 * refused by its check or failing underneath. */
#include "tests/support/test.h"

#include "base/crc32c.h"
#include "base/random.h"
#include "tsdb/chunk/cache_l2.h"

#include <stdlib.h>

#define FRAME      ((size_t)CACHE_L2_FRAME_BYTES)
#define PAGES      24u
#define TAIL_BYTES 1000u /* of page number PAGES, the last one */
#define FILE_BYTES (PAGES * FRAME + TAIL_BYTES)
#define PATH       "chunks"

/* The simulated disk with a file, behind a table that counts reads. */
struct fixture {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs sim_fs, fs;
    struct tsdb_fs_ops ops;
    struct tsdb_file *file;
    uint8_t *content;
    uint32_t preads;
    uint64_t mem_before;
};

static enum tsdb_status counting_pread(void *ctx, struct tsdb_file *f, void *buf, size_t len,
                                       uint64_t offset, size_t *out_len, struct tsdb_error *err)
{
    struct fixture *x = ctx;
    x->preads++;
    return x->sim_fs.ops->pread(x->sim_fs.ctx, f, buf, len, offset, out_len, err);
}

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    struct tsdb_prng p;
    struct tsdb_error err;
    assert_non_null(x);
    x->mem_before = tsdb_mem_used(TSDB_MEM_CACHE);
    x->content = malloc(FILE_BYTES);
    assert_non_null(x->content);
    tsdb_prng_init(&p, 7);
    for (size_t i = 0; i < FILE_BYTES; i++) {
        x->content[i] = (uint8_t)tsdb_prng_next(&p);
    }
    assert_ok(tsdb_fs_sim_create(1, &x->sim, &x->sim_fs));
    const struct tsdb_fs_ops *ops = x->sim_fs.ops;
    assert_ok_err(ops->open(x->sim_fs.ctx, PATH,
                            TSDB_OPEN_READ | TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &x->file, &err),
                  &err);
    assert_ok_err(ops->pwrite(x->sim_fs.ctx, x->file, x->content, FILE_BYTES, 0, &err), &err);
    assert_ok_err(ops->sync(x->sim_fs.ctx, x->file, &err), &err);
    x->ops = *ops;
    x->ops.pread = counting_pread;
    x->fs = (struct tsdb_fs){&x->ops, x};
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;
    tsdb_alloc_ops_set(NULL);
    x->sim_fs.ops->close(x->sim_fs.ctx, x->file);
    tsdb_fs_sim_destroy(x->sim);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_CACHE), x->mem_before);
    free(x->content);
    free(x);
    return 0;
}

static struct cache_l2 *create(uint64_t frames)
{
    struct cache_l2 *c;
    struct tsdb_error err;
    assert_ok_err(cache_l2_create(frames * FRAME, &c, &err), &err);
    return c;
}

static struct cache_l2_stats stats(struct cache_l2 *c)
{
    struct cache_l2_stats s;
    cache_l2_stats(c, &s);
    return s;
}

static void assert_page(const struct fixture *x, const struct cache_l2_page *page, uint64_t number)
{
    size_t len = number < PAGES ? FRAME : TAIL_BYTES;
    assert_int_equal(page->len, len);
    assert_memory_equal(page->data, x->content + number * FRAME, len);
}

static struct cache_l2_page get(struct fixture *x, struct cache_l2 *c, uint64_t id, uint64_t number)
{
    struct cache_l2_page page;
    struct tsdb_error err;
    assert_ok_err(cache_l2_get(c, id, &x->fs, x->file, number, NULL, NULL, &page, &err), &err);
    assert_page(x, &page, number);
    return page;
}

static void touch(struct fixture *x, struct cache_l2 *c, uint64_t id, uint64_t number)
{
    struct cache_l2_page page = get(x, c, id, number);
    cache_l2_release(c, &page);
    assert_null(page.data);
}

static void cache_l2_create__any_size__whole_frames(void **state)
{
    (void)state;
    const uint64_t frames[] = {1, 2, 63, 64, 127, 128, 129, 1000, 5000};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(frames); i++) {
        struct cache_l2 *c;
        uint64_t before = tsdb_mem_used(TSDB_MEM_CACHE);
        assert_ok(cache_l2_create(frames[i] * FRAME + FRAME - 1, &c, NULL));
        struct cache_l2_stats s = stats(c);
        assert_true(s.frames <= frames[i]);
        assert_true(s.frames + 16 > frames[i]); /* at most one less per shard */
        assert_int_equal(s.bytes, s.frames * FRAME);
        assert_true(tsdb_mem_used(TSDB_MEM_CACHE) - before >= s.bytes);
        cache_l2_destroy(c);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_CACHE), before);
    }
    cache_l2_destroy(NULL);
}

static void cache_l2_create__nth_allocation_fails__no_memory_and_nothing_left(void **state)
{
    (void)state;
    uint64_t before = tsdb_mem_used(TSDB_MEM_CACHE);
    enum tsdb_status status = TSDB_NOMEM;
    uint32_t failures = 0;
    for (uint64_t n = 1; status != TSDB_OK; n++) {
        struct cache_l2 *c = NULL;
        struct tsdb_error err;
        tsdb_alloc_fail_nth(n, 0);
        status = cache_l2_create(128 * FRAME, &c, &err); /* two shards */
        tsdb_alloc_ops_set(NULL);
        if (status != TSDB_OK) {
            assert_int_equal(status, TSDB_NOMEM);
            assert_null(c);
            failures++;
        }
        cache_l2_destroy(c);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_CACHE), before);
    }
    assert_true(failures >= 5); /* the cache, and frames and table of both shards */
}

static void cache_l2_create__more_than_the_address_space__no_memory(void **state)
{
    (void)state;
    struct cache_l2 *c = NULL;
    struct tsdb_error err;
    assert_int_equal(cache_l2_create(UINT64_C(1) << 62, &c, &err), TSDB_NOMEM);
    assert_null(c);
}

static void cache_l2_get__same_page_again__hit_without_reading(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(4);
    uint64_t id = cache_l2_file_id(c);
    struct cache_l2_page a = get(x, c, id, 3);
    struct cache_l2_page b = get(x, c, id, 3);
    assert_ptr_equal(a.data, b.data);
    assert_int_equal(x->preads, 1);
    assert_int_equal(stats(c).hits, 1);
    assert_int_equal(stats(c).misses, 1);
    assert_int_equal(stats(c).frames_pinned, 1);
    cache_l2_release(c, &a);
    assert_int_equal(stats(c).frames_pinned, 1);
    cache_l2_release(c, &b);
    assert_int_equal(stats(c).frames_pinned, 0);
    assert_int_equal(stats(c).frames_used, 1);
    cache_l2_destroy(c);
}

static void cache_l2_get__end_of_file__short_page_then_not_found(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(4);
    uint64_t id = cache_l2_file_id(c);
    struct cache_l2_page page = {0};
    struct tsdb_error err;
    for (int round = 0; round < 2; round++) {
        touch(x, c, id, PAGES); /* asserts its length */
        assert_int_equal(cache_l2_get(c, id, &x->fs, x->file, PAGES + 1, NULL, NULL, &page, &err),
                         TSDB_NOT_FOUND);
        assert_null(page.data);
    }
    assert_int_equal(x->preads, 3);
    assert_int_equal(stats(c).frames_used, 1);
    assert_int_equal(stats(c).frames_pinned, 0);
    cache_l2_destroy(c);
}

static void cache_l2_get__two_files__not_mixed_up(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(4);
    struct tsdb_file *other;
    struct tsdb_error err;
    uint8_t bytes[100];
    memset(bytes, 0x5a, sizeof bytes);
    assert_ok(x->ops.open(x->sim_fs.ctx, "other",
                          TSDB_OPEN_READ | TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &other, &err));
    assert_ok(x->ops.pwrite(x->sim_fs.ctx, other, bytes, sizeof bytes, 0, &err));
    uint64_t id = cache_l2_file_id(c), other_id = cache_l2_file_id(c);
    assert_int_not_equal(id, other_id);
    for (int round = 0; round < 2; round++) {
        struct cache_l2_page page;
        touch(x, c, id, 0);
        assert_ok(cache_l2_get(c, other_id, &x->fs, other, 0, NULL, NULL, &page, &err));
        assert_int_equal(page.len, sizeof bytes);
        assert_memory_equal(page.data, bytes, sizeof bytes);
        cache_l2_release(c, &page);
    }
    assert_int_equal(x->preads, 2);
    x->ops.close(x->sim_fs.ctx, other);
    cache_l2_destroy(c);
}

static void cache_l2_get__more_pages_than_frames__evicts(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(4);
    uint64_t id = cache_l2_file_id(c);
    for (uint64_t p = 0; p < 10; p++) {
        touch(x, c, id, p);
    }
    assert_int_equal(stats(c).frames_used, 4);
    assert_int_equal(stats(c).evictions, 6);
    assert_int_equal(stats(c).bypasses, 0);
    for (uint64_t p = 6; p < 10; p++) { /* the newest are still there */
        touch(x, c, id, p);
    }
    assert_int_equal(x->preads, 10);
    cache_l2_destroy(c);
}

static void cache_l2_get__page_in_use_during_a_scan__stays(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(4);
    uint64_t id = cache_l2_file_id(c);
    touch(x, c, id, 0);
    for (uint64_t p = 1; p < PAGES; p++) {
        touch(x, c, id, 0);
        touch(x, c, id, p);
    }
    assert_int_equal(x->preads, PAGES);
    assert_int_equal(stats(c).hits, PAGES - 1);
    cache_l2_destroy(c);
}

static void cache_l2_get__all_pinned__bypass_and_pins_untouched(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(3);
    uint64_t id = cache_l2_file_id(c);
    struct cache_l2_page pinned[3];
    for (uint64_t p = 0; p < 3; p++) {
        pinned[p] = get(x, c, id, p);
    }
    struct cache_l2_page beside[2] = {get(x, c, id, 7), get(x, c, id, 7)};
    assert_ptr_not_equal(beside[0].data, beside[1].data);
    assert_int_equal(stats(c).bypasses, 2);
    assert_int_equal(stats(c).evictions, 0);
    assert_int_equal(stats(c).frames_pinned, 3);
    for (uint64_t p = 0; p < 3; p++) {
        assert_page(x, &pinned[p], p);
    }
    cache_l2_release(c, &pinned[1]);
    struct cache_l2_page in = get(x, c, id, 7);
    assert_int_equal(stats(c).bypasses, 2);
    assert_int_equal(stats(c).evictions, 1);
    assert_page(x, &pinned[0], 0);
    assert_page(x, &pinned[2], 2);
    cache_l2_release(c, &in);
    cache_l2_release(c, &pinned[0]);
    cache_l2_release(c, &pinned[2]);
    cache_l2_release(c, &beside[0]);
    cache_l2_release(c, &beside[1]);
    cache_l2_release(c, &beside[1]); /* released before: nothing */
    cache_l2_destroy(c);
}

/* A mark is about the bytes as they were read: it stays as long as they do, for all who read them. */
static void cache_l2_mark__stays_with_the_page_and_goes_with_it(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(2);
    uint64_t id = cache_l2_file_id(c);
    const uint32_t marked[] = {0, 64, 2080, FRAME - 1};
    const uint32_t beside[] = {32, 96, 2048, 2112, FRAME - 33};
    struct cache_l2_page page = get(x, c, id, 1);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(marked); i++) {
        assert_false(cache_l2_is_marked(&page, marked[i]));
        cache_l2_mark(&page, marked[i]);
    }
    cache_l2_release(c, &page);
    page = get(x, c, id, 1);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(marked); i++) {
        assert_true(cache_l2_is_marked(&page, marked[i]));
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(beside); i++) {
        assert_false(cache_l2_is_marked(&page, beside[i]));
    }
    cache_l2_release(c, &page);
    for (uint64_t p = 2; p < 6; p++) { /* other pages in both frames, without its marks */
        page = get(x, c, id, p);
        assert_false(cache_l2_is_marked(&page, 64));
        cache_l2_release(c, &page);
    }
    page = get(x, c, id, 1); /* read again */
    assert_int_equal(x->preads, 6);
    assert_false(cache_l2_is_marked(&page, 64));
    cache_l2_release(c, &page);
    cache_l2_destroy(c);
}

static void cache_l2_mark__bypass__never_marked(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(0);
    struct cache_l2_page page = get(x, c, cache_l2_file_id(c), 1);
    cache_l2_mark(&page, 64);
    assert_false(cache_l2_is_marked(&page, 64));
    cache_l2_release(c, &page);
    cache_l2_destroy(c);
}

static void cache_l2_get__bypass_without_memory__no_memory_then_fine(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(1);
    uint64_t id = cache_l2_file_id(c);
    struct cache_l2_page pin = get(x, c, id, 0), page = {0};
    struct tsdb_error err;
    tsdb_alloc_fail_nth(1, 0);
    assert_int_equal(cache_l2_get(c, id, &x->fs, x->file, 1, NULL, NULL, &page, &err), TSDB_NOMEM);
    assert_null(page.data);
    tsdb_alloc_ops_set(NULL);
    touch(x, c, id, 1);
    cache_l2_release(c, &pin);
    cache_l2_destroy(c);
}

static void cache_l2_get__size_zero__every_read_bypasses(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c;
    struct tsdb_error err;
    uint8_t bytes[16];
    assert_ok(cache_l2_create(FRAME - 1, &c, &err)); /* less than a frame is none */
    uint64_t id = cache_l2_file_id(c);
    for (int i = 0; i < 3; i++) {
        touch(x, c, id, 2);
    }
    assert_ok(cache_l2_read(c, id, &x->fs, x->file, 5, bytes, sizeof bytes, NULL, NULL, &err));
    assert_memory_equal(bytes, x->content + 5, sizeof bytes);
    cache_l2_drop(c, id);
    assert_int_equal(stats(c).bypasses, 4);
    assert_int_equal(stats(c).bytes, 0);
    assert_int_equal(stats(c).frames, 0);
    cache_l2_destroy(c);
}

/* ---- checks and faults ---- */

struct checker {
    uint32_t calls;
    const uint32_t *crcs; /* of each page */
};

static enum tsdb_status check_crc(void *arg, uint64_t page, const uint8_t *data, uint32_t len,
                                  struct tsdb_error *err)
{
    struct checker *k = arg;
    k->calls++;
    if (tsdb_crc32c(0, data, len) != k->crcs[page]) {
        return tsdb_error_set(err, TSDB_CORRUPT, "page %u is damaged", (unsigned)page);
    }
    return TSDB_OK;
}

static void page_crcs(const struct fixture *x, uint32_t crcs[PAGES + 1])
{
    for (uint32_t p = 0; p <= PAGES; p++) {
        crcs[p] = tsdb_crc32c(0, x->content + p * FRAME, p < PAGES ? FRAME : TAIL_BYTES);
    }
}

static void cache_l2_get__check__once_per_fill(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(4);
    uint64_t id = cache_l2_file_id(c);
    uint32_t crcs[PAGES + 1];
    struct checker k = {0, crcs};
    struct tsdb_error err;
    page_crcs(x, crcs);
    for (int i = 0; i < 5; i++) {
        struct cache_l2_page page;
        uint64_t number = i % 2 ? PAGES : 0;
        assert_ok_err(cache_l2_get(c, id, &x->fs, x->file, number, check_crc, &k, &page, &err),
                      &err);
        assert_page(x, &page, number);
        cache_l2_release(c, &page);
    }
    assert_int_equal(k.calls, 2);
    cache_l2_destroy(c);
}

static void cache_l2_get__damaged_page__refused_each_time_and_not_kept(void **state)
{
    struct fixture *x = *state;
    for (uint64_t frames = 0; frames < 3; frames++) { /* 0: the same beside the arena */
        struct cache_l2 *c = create(frames);
        uint64_t id = cache_l2_file_id(c);
        uint32_t crcs[PAGES + 1];
        struct checker k = {0, crcs};
        struct cache_l2_page page = {0};
        struct tsdb_error err;
        page_crcs(x, crcs);
        crcs[4] ^= 1;
        for (uint32_t i = 1; i <= 3; i++) {
            assert_int_equal(cache_l2_get(c, id, &x->fs, x->file, 4, check_crc, &k, &page, &err),
                             TSDB_CORRUPT);
            assert_string_equal(err.msg, "page 4 is damaged");
            assert_null(page.data);
            assert_int_equal(k.calls, i);
            assert_int_equal(stats(c).frames_used, 0);
            assert_int_equal(stats(c).frames_pinned, 0);
        }
        crcs[4] ^= 1; /* whole again: nothing of the failure was kept */
        assert_ok(cache_l2_get(c, id, &x->fs, x->file, 4, check_crc, &k, &page, &err));
        assert_page(x, &page, 4);
        cache_l2_release(c, &page);
        cache_l2_destroy(c);
    }
}

static void cache_l2_get__bits_flipped_on_disk__page_in_arena_stays_good(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(2);
    uint64_t id = cache_l2_file_id(c);
    uint32_t crcs[PAGES + 1];
    struct checker k = {0, crcs};
    struct cache_l2_page page = {0};
    struct tsdb_error err;
    page_crcs(x, crcs);
    touch(x, c, id, 1);
    tsdb_fs_sim_flip(x->sim, PATH, FRAME, 3 * FRAME, 64);
    touch(x, c, id, 1);
    cache_l2_drop(c, id);
    uint32_t damaged = 0;
    for (uint64_t p = 1; p <= 2; p++) {
        enum tsdb_status status =
            cache_l2_get(c, id, &x->fs, x->file, p, check_crc, &k, &page, &err);
        damaged += status == TSDB_CORRUPT;
        if (status == TSDB_OK) {
            cache_l2_release(c, &page);
        }
    }
    assert_true(damaged > 0);
    cache_l2_destroy(c);
}

static void cache_l2_get__disk_gone__error_of_that_read_only(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(4);
    uint64_t id = cache_l2_file_id(c);
    struct cache_l2_page page = {0};
    struct tsdb_error err;
    uint8_t bytes[8];
    touch(x, c, id, 0);
    tsdb_fs_sim_fault(x->sim, TSDB_FAULT_HALT, 1, 1);
    assert_int_equal(x->ops.mkdir(x->sim_fs.ctx, "d", &err), TSDB_IO);
    for (int i = 0; i < 10; i++) { /* more often than there are frames: none leaks */
        assert_int_equal(cache_l2_get(c, id, &x->fs, x->file, 1, NULL, NULL, &page, &err), TSDB_IO);
        assert_int_equal(
            cache_l2_read(c, id, &x->fs, x->file, FRAME - 4, bytes, sizeof bytes, NULL, NULL, &err),
            TSDB_IO);
    }
    assert_null(page.data);
    assert_int_equal(stats(c).frames_pinned, 0);
    cache_l2_destroy(c);
}

/* A check that, the first time, reads the same page through the cache: what another reader would do
 * that missed at the same time and was faster. */
struct racer {
    struct fixture *x;
    struct cache_l2 *cache;
    uint64_t id;
    struct cache_l2_page first;
    uint32_t calls;
};

static enum tsdb_status check_racing(void *arg, uint64_t page, const uint8_t *data, uint32_t len,
                                     struct tsdb_error *err)
{
    struct racer *r = arg;
    (void)data;
    (void)len;
    return r->calls++ == 0 ? cache_l2_get(r->cache, r->id, &r->x->fs, r->x->file, page,
                                          check_racing, r, &r->first, err)
                           : TSDB_OK;
}

static void cache_l2_get__two_miss_at_once__one_copy_stays(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(4);
    struct racer r = {.x = x, .cache = c, .id = cache_l2_file_id(c)};
    struct cache_l2_page second;
    struct tsdb_error err;
    assert_ok_err(cache_l2_get(c, r.id, &x->fs, x->file, PAGES, check_racing, &r, &second, &err),
                  &err);
    assert_int_equal(x->preads, 2);
    assert_ptr_equal(r.first.data, second.data);
    assert_page(x, &second, PAGES);
    assert_int_equal(stats(c).frames_used, 1);
    assert_int_equal(stats(c).frames_pinned, 1);
    cache_l2_release(c, &r.first);
    assert_int_equal(stats(c).frames_pinned, 1);
    cache_l2_release(c, &second);
    assert_int_equal(stats(c).frames_pinned, 0);
    cache_l2_destroy(c);
}

/* ---- reads, drops ---- */

static void cache_l2_read__any_range__the_files_bytes(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(3);
    uint64_t id = cache_l2_file_id(c);
    uint8_t *out = malloc(FILE_BYTES);
    struct tsdb_prng p;
    struct tsdb_error err;
    assert_non_null(out);
    tsdb_prng_init(&p, 11);
    for (int i = 0; i < 300; i++) {
        size_t len = tsdb_prng_below(&p, i % 10 ? 500 : 4 * FRAME);
        uint64_t offset = tsdb_prng_below(&p, FILE_BYTES - len + 1);
        if (i % 3 == 0) { /* about the edges of pages */
            offset = (1 + tsdb_prng_below(&p, PAGES - 5)) * FRAME - tsdb_prng_below(&p, 3);
        }
        memset(out, 0xee, len + 1);
        assert_ok_err(cache_l2_read(c, id, &x->fs, x->file, offset, out, len, NULL, NULL, &err),
                      &err);
        assert_memory_equal(out, x->content + offset, len);
        assert_int_equal(out[len], 0xee);
    }
    assert_ok(cache_l2_read(c, id, &x->fs, x->file, 0, out, FILE_BYTES, NULL, NULL, &err));
    assert_memory_equal(out, x->content, FILE_BYTES);
    free(out);
    assert_int_equal(stats(c).frames_pinned, 0);
    cache_l2_destroy(c);
}

static void cache_l2_read__beyond_the_end__corrupt(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(3);
    uint64_t id = cache_l2_file_id(c);
    uint8_t out[64];
    struct tsdb_error err;
    const uint64_t offsets[] = {FILE_BYTES - 63, FILE_BYTES, FILE_BYTES + 1, (PAGES + 1) * FRAME,
                                (PAGES + 9) * FRAME};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(offsets); i++) {
        assert_int_equal(
            cache_l2_read(c, id, &x->fs, x->file, offsets[i], out, sizeof out, NULL, NULL, &err),
            TSDB_CORRUPT);
        assert_int_equal(stats(c).frames_pinned, 0);
    }
    assert_ok(cache_l2_read(c, id, &x->fs, x->file, FILE_BYTES - 64, out, 64, NULL, NULL, &err));
    assert_memory_equal(out, x->content + FILE_BYTES - 64, 64);
    assert_ok(cache_l2_read(c, id, &x->fs, x->file, FILE_BYTES + 9, out, 0, NULL, NULL, &err));
    cache_l2_destroy(c);
}

static void cache_l2_drop__one_file__its_pages_only_and_pins_stay(void **state)
{
    struct fixture *x = *state;
    struct cache_l2 *c = create(8);
    uint64_t a = cache_l2_file_id(c), b = cache_l2_file_id(c);
    for (uint64_t p = 0; p < 3; p++) {
        touch(x, c, a, p);
        touch(x, c, b, p);
    }
    struct cache_l2_page pin = get(x, c, a, 1);
    cache_l2_drop(c, a);
    assert_int_equal(stats(c).frames_used, 4);
    assert_page(x, &pin, 1);
    cache_l2_release(c, &pin);
    cache_l2_drop(c, a);
    assert_int_equal(stats(c).frames_used, 3);
    uint32_t before = x->preads;
    for (uint64_t p = 0; p < 3; p++) {
        touch(x, c, b, p);
    }
    assert_int_equal(x->preads, before);
    for (uint64_t p = 0; p < 5; p++) { /* frames given back are used again */
        touch(x, c, a, p);
    }
    assert_int_equal(stats(c).evictions, 0);
    assert_int_equal(stats(c).frames_used, 8);
    cache_l2_destroy(c);
}

/* Many files (ids) over one content, several shards, some pages held for a while: always the right
 * bytes, and the figures add up. */
static void cache_l2_get__random_walk__right_bytes(void **state)
{
    struct fixture *x = *state;
    const uint64_t seed = 20240611;
    struct cache_l2 *c = create(130);
    struct cache_l2_page held[150] = {{0}};
    uint64_t ids[20], page_of[150] = {0}, gets = 0;
    struct tsdb_prng p;
    print_message("seed %llu\n", (unsigned long long)seed);
    tsdb_prng_init(&p, seed);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(ids); i++) {
        ids[i] = cache_l2_file_id(c);
    }
    for (int step = 0; step < 6000; step++) {
        size_t slot = tsdb_prng_below(&p, TSDB_ARRAY_LEN(held));
        if (held[slot].data) {
            assert_int_equal(held[slot].data[0], x->content[page_of[slot] * FRAME]);
            if (step % 16 == 0) {
                assert_page(x, &held[slot], page_of[slot]);
            }
            cache_l2_release(c, &held[slot]);
        } else {
            uint64_t *id = &ids[tsdb_prng_below(&p, TSDB_ARRAY_LEN(ids))];
            page_of[slot] = tsdb_prng_below(&p, PAGES + 1);
            assert_ok(cache_l2_get(c, *id, &x->fs, x->file, page_of[slot], NULL, NULL, &held[slot],
                                   NULL));
            gets++;
            if (step % 100 == 0) {
                cache_l2_drop(c, *id);
                *id = cache_l2_file_id(c);
            }
        }
    }
    struct cache_l2_stats s = stats(c);
    assert_int_equal(s.hits + s.misses, gets);
    assert_true(s.hits > 0 && s.evictions > 0);
    assert_true(s.frames_used <= s.frames);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(held); i++) {
        if (held[i].data) {
            assert_page(x, &held[i], page_of[i]);
            cache_l2_release(c, &held[i]);
        }
    }
    assert_int_equal(stats(c).frames_pinned, 0);
    cache_l2_destroy(c);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static const struct CMUnitTest tests[] = {
    CASE(cache_l2_create__any_size__whole_frames),
    CASE(cache_l2_create__nth_allocation_fails__no_memory_and_nothing_left),
    CASE(cache_l2_create__more_than_the_address_space__no_memory),
    CASE(cache_l2_get__same_page_again__hit_without_reading),
    CASE(cache_l2_get__end_of_file__short_page_then_not_found),
    CASE(cache_l2_get__two_files__not_mixed_up),
    CASE(cache_l2_get__more_pages_than_frames__evicts),
    CASE(cache_l2_get__page_in_use_during_a_scan__stays),
    CASE(cache_l2_get__all_pinned__bypass_and_pins_untouched),
    CASE(cache_l2_mark__stays_with_the_page_and_goes_with_it),
    CASE(cache_l2_mark__bypass__never_marked),
    CASE(cache_l2_get__bypass_without_memory__no_memory_then_fine),
    CASE(cache_l2_get__size_zero__every_read_bypasses),
    CASE(cache_l2_get__check__once_per_fill),
    CASE(cache_l2_get__damaged_page__refused_each_time_and_not_kept),
    CASE(cache_l2_get__bits_flipped_on_disk__page_in_arena_stays_good),
    CASE(cache_l2_get__disk_gone__error_of_that_read_only),
    CASE(cache_l2_get__two_miss_at_once__one_copy_stays),
    CASE(cache_l2_read__any_range__the_files_bytes),
    CASE(cache_l2_read__beyond_the_end__corrupt),
    CASE(cache_l2_drop__one_file__its_pages_only_and_pins_stay),
    CASE(cache_l2_get__random_walk__right_bytes),
};

TEST_MAIN(tests)
