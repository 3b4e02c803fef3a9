/* Invariants checked: any bytes put come back; a page that shrinks is packed, another one is kept as
 * it is; a bit that flipped and a file that was cut are found; hostile lengths are refused before
 * anything is allocated for them. */
#include "tests/support/test.h"

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/random.h"
#include "tests/support/paged.h"

struct fixture {
    struct tsdb_prng prng;
    struct tsdb_buf plain, packed, back;
    uint64_t used;
};

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    f->used = tsdb_mem_used(TSDB_MEM_INDEX) + tsdb_mem_used(TSDB_MEM_CACHE);
    tsdb_prng_init(&f->prng, 7);
    tsdb_buf_init(&f->plain, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&f->packed, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&f->back, TSDB_MEM_OTHER, 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tsdb_buf_deinit(&f->plain);
    tsdb_buf_deinit(&f->packed);
    tsdb_buf_deinit(&f->back);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_INDEX) + tsdb_mem_used(TSDB_MEM_CACHE), f->used);
    test_free(f);
    return 0;
}

/* Bytes below `range`: the fewer values, the better they pack; 256 do not. */
static void fill(struct fixture *f, size_t len, uint32_t range)
{
    for (size_t i = 0; i < len; i++) {
        tsdb_buf_put_u8(&f->plain, (uint8_t)tsdb_prng_below(&f->prng, range));
    }
}

/* In pieces of all sizes. */
static enum tsdb_status pack(struct fixture *f, struct tsdb_error *err)
{
    struct paged_writer w;
    tsdb_buf_clear(&f->packed);
    enum tsdb_status status =
        paged_writer_init(&w, (struct paged_sink){paged_memory_write, &f->packed, 0});
    for (size_t at = 0; status == TSDB_OK && at < f->plain.len;) {
        size_t n = (size_t)tsdb_prng_below(&f->prng, 100000);
        n = TSDB_MIN(f->plain.len - at, n);
        assert_int_equal(paged_offset(&w), at);
        status = paged_put(&w, f->plain.data + at, n, err);
        at += n;
    }
    if (status == TSDB_OK) {
        status = paged_finish(&w, err);
    }
    paged_writer_deinit(&w);
    return status;
}

static enum tsdb_status unpack(struct fixture *f, struct tsdb_error *err)
{
    struct paged_memory m;
    tsdb_buf_clear(&f->back);
    enum tsdb_status status = paged_memory_open(&m, &f->packed, err);
    if (status == TSDB_OK) {
        status = paged_memory_unpack(&m, &f->back, err);
        paged_memory_close(&m);
    }
    return status;
}

static void paged_put__any_length__comes_back(void **state)
{
    static const size_t lengths[] = {0,     1,     1023,   1024,   5000,  65535,
                                     65536, 65537, 131071, 131072, 300001};
    static const uint32_t ranges[] = {1, 4, 256};
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(lengths); i++) {
        for (size_t k = 0; k < TSDB_ARRAY_LEN(ranges); k++) {
            tsdb_buf_clear(&f->plain);
            fill(f, lengths[i], ranges[k]);
            assert_ok_err(pack(f, &err), &err);
            assert_ok_err(unpack(f, &err), &err);
            assert_int_equal(f->back.len, lengths[i]);
            assert_true(lengths[i] == 0 || memcmp(f->back.data, f->plain.data, lengths[i]) == 0);
            size_t pages = (lengths[i] + PAGED_PAGE_BYTES - 1) / PAGED_PAGE_BYTES;
            size_t most = lengths[i] + pages * 8 + PAGED_TRAILER_BYTES;
            assert_true(f->packed.len <= most);
            if (lengths[i] >= 5000 && ranges[k] < 256) {
                assert_true(f->packed.len < lengths[i] / 2);
            }
        }
    }
}

static void paged_load__each_bit_flipped__found(void **state)
{
    struct fixture *f = *state;
    struct tsdb_error err = {0};
    fill(f, 65536, 256); /* as it is */
    fill(f, 70000, 3);   /* packed */
    assert_ok_err(pack(f, &err), &err);
    for (uint32_t round = 0; round < 3000; round++) {
        /* Each bit of directory and trailer, then some of the pages. */
        size_t at = round < 400 ? f->packed.len - 1 - round / 8
                                : (size_t)tsdb_prng_below(&f->prng, f->packed.len);
        uint8_t bit = (uint8_t)(1u << (round % 8));
        f->packed.data[at] ^= bit;
        enum tsdb_status status = unpack(f, NULL);
        assert_true(status == TSDB_CORRUPT || status == TSDB_UNSUPPORTED);
        f->packed.data[at] ^= bit;
    }
    assert_ok_err(unpack(f, &err), &err);
}

static void paged_open__cut_anywhere__corrupt(void **state)
{
    struct fixture *f = *state;
    fill(f, 3000, 3);
    assert_ok(pack(f, NULL));
    size_t whole = f->packed.len;
    for (f->packed.len = 0; f->packed.len < whole; f->packed.len++) {
        assert_int_equal(unpack(f, NULL), TSDB_CORRUPT);
    }
}

/* Put the trailer's CRC right again after a change of directory or trailer. */
static void reseal(struct fixture *f)
{
    uint8_t *t = f->packed.data + f->packed.len - PAGED_TRAILER_BYTES;
    size_t directory = TSDB_MIN((size_t)tsdb_load_le32(t + 8), (size_t)(t - f->packed.data));
    uint32_t crc = tsdb_crc32c(0, t - directory, directory);
    tsdb_store_le32(t + 24, tsdb_crc32c(crc, t, 24));
}

static void paged_open__hostile_trailer__refused_or_read(void **state)
{
    struct fixture *f = *state;
    uint32_t refused = 0;
    fill(f, 200000, 5);
    assert_ok(pack(f, NULL));
    size_t tail = PAGED_TRAILER_BYTES + 12;
    uint8_t good[PAGED_TRAILER_BYTES + 12];
    memcpy(good, f->packed.data + f->packed.len - tail, tail);
    for (uint32_t round = 0; round < 5000; round++) {
        uint8_t *p = f->packed.data + f->packed.len - tail;
        p[tsdb_prng_below(&f->prng, tail - 4)] = (uint8_t)tsdb_prng_next(&f->prng);
        reseal(f);
        refused += unpack(f, NULL) != TSDB_OK;
        memcpy(p, good, tail);
    }
    assert_true(refused > 4000);
}

static void paged_open__other_version__unsupported(void **state)
{
    struct fixture *f = *state;
    fill(f, 10, 256);
    assert_ok(pack(f, NULL));
    f->packed.data[f->packed.len - PAGED_TRAILER_BYTES + 20] = PAGED_VERSION + 1;
    reseal(f);
    assert_int_equal(unpack(f, NULL), TSDB_UNSUPPORTED);
}

static void paged_load__beyond_the_last_page__not_found(void **state)
{
    struct fixture *f = *state;
    struct paged_memory m;
    static uint8_t page[PAGED_PAGE_BYTES];
    uint32_t len = 77;
    fill(f, 65536, 2);
    assert_ok(pack(f, NULL));
    assert_ok(paged_memory_open(&m, &f->packed, NULL));
    assert_ok(paged_load(&m.pages, 0, page, &len, NULL));
    assert_int_equal(len, 65536);
    assert_int_equal(paged_load(&m.pages, 1, page, &len, NULL), TSDB_NOT_FOUND);
    assert_int_equal(paged_load(&m.pages, UINT64_MAX, page, &len, NULL), TSDB_NOT_FOUND);
    paged_memory_close(&m);
}

static void paged__every_nth_allocation_fails__nomem_and_no_leak(void **state)
{
    struct fixture *f = *state;
    fill(f, 100000, 9);
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        tsdb_alloc_fail_nth(nth, 1);
        enum tsdb_status status = pack(f, NULL);
        status = status == TSDB_OK ? unpack(f, NULL) : status;
        done = tsdb_alloc_fail_count() < nth;
        tsdb_alloc_ops_set(NULL);
        /* The files in memory take allocations as well; what they lack shows otherwise. */
        assert_true(done ? status == TSDB_OK
                         : status == TSDB_NOMEM || status == TSDB_IO || f->back.failed);
        tsdb_buf_deinit(&f->back);
        tsdb_buf_deinit(&f->packed);
        tsdb_buf_init(&f->back, TSDB_MEM_OTHER, 0);
        tsdb_buf_init(&f->packed, TSDB_MEM_OTHER, 0);
    }
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(paged_put__any_length__comes_back),
    CASE(paged_load__each_bit_flipped__found),
    CASE(paged_open__cut_anywhere__corrupt),
    CASE(paged_open__hostile_trailer__refused_or_read),
    CASE(paged_open__other_version__unsupported),
    CASE(paged_load__beyond_the_last_page__not_found),
    CASE(paged__every_nth_allocation_fails__nomem_and_no_leak),
};
TEST_MAIN(tests)
