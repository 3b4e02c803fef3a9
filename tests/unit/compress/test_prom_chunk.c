#include "tests/support/test.h"

#include "base/limits.h"
#include "compress/prom_chunk.h"
#include "tests/support/guard.h"
#include "tests/support/hex.h"

/* Bits by hand. */
struct bits {
    uint8_t data[512];
    size_t n;
};

static void put(struct bits *b, uint64_t v, uint32_t n)
{
    for (uint32_t i = n; i-- > 0; b->n++) {
        b->data[b->n / 8] |= (uint8_t)((v >> i & 1) << (7 - b->n % 8));
    }
}

/* Of each encoding one chunk, written by Prometheus 3.14. */
static const char *const examples[] = {
    [1] = "0010c8dbfd9bfd627ff00000000000029875d80d83ffff8000000000002aff43ddf21129037eec13"
          "4cf79ddd9c8dc79d2718aa79c199060247c36aff20000000000004b6bc00e4000000000003c00000"
          "00000cd208f8df953859a94d2fc00000011a7c40c5b0018094ca9c2cd4a696afea00c610af2de892"
          "02c018c215e5bd04221400100000000000002000000000000000386178feb2000000000004",
    [2] = "000380749da5ad9c65294a31a45fc000317efb35a63fb8820cb240076ef80806789746788fcfffff"
          "4fdc00000fd400003f80ffdfbf00cdac787df807ff81fbf80001f07531fc0000000600092d3c005f"
          "fbb77c04033c4be2371fa000001fdfffffffe0000012e3f760ade400f600ff00000000ffffffff7f"
          "ffffff0000014b78fe0000000e001bbfad0000000000000001fc0000001ffffff1fdffffffe00000"
          "19fa003ff9f9ffc0016ec171fb25f9fff7e1fa0007fffdfffffffc000003fc00000003fffffd7e21"
          "80",
    [3] = "00038000ee5ce319c65367bd433f02815f02d42401acfdf3b645a1c2011cf5c28f5c28f7c16d2fc1"
          "c737c23327c27c67c311ffc374c7c3e937c4276fc453310107c6a7ef9db233e23b2fe24f93e29ae3"
          "e2cbd88091e353f7ced919f196fdf1a88a404c2ef9db22d0e6f8e89af8f24bf8f38cf8f7d3f8f91a"
          "f90550f90bd8fe00018c0b730f2c000000000000000000000000000000007b18605ce172d81c0000"
          "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
          "000000000000f84791c3341b0005002c5ef673f38af1d6830f09902f84a817099032c25c1bc20dfc"
          "912b7652aaaaaaaaaabf707c41f80784c80100",
    [4] = "001201c094f2e08063800000000000000098753c000000000255d941825ffff83a98a007fc000000"
          "02564e71efffffffffed4dc3d7f0000000095939c3c6ebc06024f1bad6690000000000003f0670ef"
          "83387f00000168a386ab65e001fff0000000000003f0670fefffffd2eb8f27f1cbffe00000000000"
          "07fbfffffff6a41a8fc00000000003564b8fe00045d4f72d23d7e0d5de57ffbffee8ac15efe76000"
          "0000000000001fe0d5de570105c7fc1abbca802cbc83e29f7be13f835b905c034c700b6f20f8a7de"
          "f85fe0d6e410",
    [5] = "80038174c2d67aca4e93946937f0000c603f816447f0000000e05c76071bca1f2f9a1e73d9423f80"
          "0000010008003fbfffffff00f8013f7f01003c7f9fc0000001ffff091fdffffffe7ffff85fdfffff"
          "ff80000f3f08f03f8056ffbc81fdfdff81fb0009fe000000040000b4fefffffffbffff46ddfc0c00"
          "fdf409ff6281fe0640b87e2805f7cf0ffa0ba052c36003e6721b4e3e76125ba8cbcffbe806b6f388"
          "1f81fff81fbe00401ef00fc3fff00fdf487107ed83b43da7f447e46e89ed523b1c5f7138b9f02fbd"
          "f7d015f07ff7f77ffde806f3fcfc10007df0027703f7c00903f03ff0239f7fb8011fbf81902e00",
    [6] = "000382ff3feedd2a7b69f2e3bce5ac946517f0000c6022a57d620385000000000001ff8000000000"
          "0001fef509eea0796afa00400000000000020040000000000001ff80000000000002038000000000"
          "00020000000000000000000000000000000587500fc1d4c684ab3e96ada7e8e9af9a2b9dd4367a11"
          "c001e167f90003b41eb0ee12e00c73c36c5af1739ffe00000000000030fdffe52751ee541b0a0003"
          "ea4700079dbe20000ba85dec0bf87f18",
};

static int with_arena(void **state)
{
    static struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    *state = &arena;
    return 0;
}

static int without_arena(void **state)
{
    tsdb_arena_deinit(*state);
    return 0;
}

static void prom_chunk_encoding_name__all__as_prometheus(void **state)
{
    (void)state;
    assert_null(prom_chunk_encoding_name(0));
    assert_string_equal(prom_chunk_encoding_name(1), "XOR");
    assert_string_equal(prom_chunk_encoding_name(3), "floathistogram");
    assert_string_equal(prom_chunk_encoding_name(6), "floathistogramST");
    assert_null(prom_chunk_encoding_name(7));
}

static void prom_chunk_decode__unknown_encoding__unsupported_with_its_number(void **state)
{
    static const uint8_t src[16];
    static const unsigned unknown[] = {0, 7, 255};
    struct tsdb_columns c;
    struct tsdb_error err;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(prom_chunk_decode(unknown[i], src, sizeof src, *state, &c, &err),
                         TSDB_UNSUPPORTED);
    }
    assert_non_null(strstr(err.msg, "255"));
}

static void prom_chunk_decode__no_samples__empty(void **state)
{
    static const uint8_t src[3];
    struct tsdb_columns c;
    for (unsigned e = 1; e <= 6; e++) {
        c.count = 9;
        assert_ok(prom_chunk_decode(e, src, 3, *state, &c, NULL));
        assert_int_equal(c.count, 0);
    }
}

/* Cut at each byte, at a page that is not there: some prefixes hold all bits that are needed. */
static void prom_chunk_decode__cut__corrupt_with_its_place(void **state)
{
    struct test_guard g;
    uint8_t data[4096];
    test_guard_init(&g, sizeof data);
    for (unsigned e = 1; e <= 6; e++) {
        size_t len = test_hex(examples[e], data);
        struct tsdb_columns c;
        struct tsdb_error err;
        for (size_t cut = 0; cut < len; cut++) {
            tsdb_arena_reset(*state);
            const uint8_t *src = test_guard_at_end(&g, data, cut);
            enum tsdb_status status = prom_chunk_decode(e, src, cut, *state, &c, &err);
            assert_int_equal(status, TSDB_CORRUPT);
            assert_true(err.pos <= cut);
        }
        const uint8_t *src = test_guard_at_end(&g, data, len);
        assert_ok(prom_chunk_decode(e, src, len, *state, &c, &err));
        assert_true(c.count > 0);
    }
    test_guard_deinit(&g);
}

static void prom_chunk_decode__damaged__no_harm(void **state)
{
    struct test_guard g;
    uint8_t data[4096];
    struct tsdb_account account;
    struct tsdb_arena bounded;
    uint32_t seed = 1;
    (void)state;
    test_guard_init(&g, sizeof data);
    tsdb_account_init(&account, 64u << 20, NULL);
    tsdb_arena_init(&bounded, TSDB_MEM_OTHER, 4096, &account);
    for (uint32_t round = 0; round < 60000; round++) {
        unsigned e = 1 + round % 6;
        size_t len = test_hex(examples[e], data);
        struct tsdb_columns c;
        uint8_t *src = test_guard_at_end(&g, data, len);
        for (uint32_t k = 0; k < 1 + round % 3; k++) {
            seed = seed * 1664525 + 1013904223;
            src[(seed >> 8) % len] ^= (uint8_t)(1u << (seed >> 5 & 7));
        }
        tsdb_arena_reset(&bounded);
        enum tsdb_status status = prom_chunk_decode(e, src, len, &bounded, &c, NULL);
        assert_true(status == TSDB_OK || status == TSDB_CORRUPT || status == TSDB_UNSUPPORTED ||
                    status == TSDB_LIMIT);
    }
    tsdb_arena_deinit(&bounded);
    test_guard_deinit(&g);
}

/* 65535 samples in a few bytes: refused before anything is allocated. */
static void prom_chunk_decode__count_beyond_its_bytes__corrupt_without_memory(void **state)
{
    uint8_t src[32] = {0xff, 0xff};
    struct tsdb_arena *arena = *state;
    struct tsdb_columns c;
    for (unsigned e = 1; e <= 6; e++) {
        assert_int_equal(prom_chunk_decode(e, src, sizeof src, arena, &c, NULL), TSDB_CORRUPT);
        assert_int_equal(arena->total_bytes, 0);
    }
}

static void layout_begin(struct bits *b, uint8_t schema_bits)
{
    *b = (struct bits){0};
    put(b, 1, 16);          /* one sample */
    put(b, 0, 8);           /* header */
    put(b, 0, 8);           /* zero threshold 0 */
    put(b, schema_bits, 5); /* '10' and 3 bits */
}

static void prom_chunk_decode__spans_beyond_the_bits__corrupt(void **state)
{
    struct bits b;
    struct tsdb_columns c;
    layout_begin(&b, 0x10 | 3);
    put(&b, 0x12, 5); /* two positive spans */
    put(&b, 0xff, 8); /* of 2^32 - 1 buckets each */
    put(&b, UINT32_MAX, 64);
    put(&b, 0, 1);
    put(&b, 0xff, 8);
    put(&b, UINT32_MAX, 64);
    put(&b, 0, 1);
    assert_int_equal(prom_chunk_decode(2, b.data, sizeof b.data, *state, &c, NULL), TSDB_CORRUPT);
    layout_begin(&b, 0x10 | 3);
    put(&b, 0xfe, 8); /* 2^55 spans */
    put(&b, UINT64_C(1) << 55, 56);
    assert_int_equal(prom_chunk_decode(2, b.data, sizeof b.data, *state, &c, NULL), TSDB_CORRUPT);
    layout_begin(&b, 0x10 | 3);
    put(&b, 0x11, 5); /* one span, with an offset of 2^31 */
    put(&b, 0x11, 5);
    put(&b, 0xff, 8);
    put(&b, UINT64_C(1) << 31, 64);
    assert_int_equal(prom_chunk_decode(2, b.data, sizeof b.data, *state, &c, NULL), TSDB_CORRUPT);
}

static void prom_chunk_decode__unknown_schema__unsupported(void **state)
{
    struct bits b;
    struct tsdb_columns c;
    struct tsdb_error err;
    layout_begin(&b, 0);
    b.n -= 5;
    put(&b, 0xd, 4); /* '110' and 6 bits: 60 - 64 < 0, so -5 */
    b.n -= 1;
    put(&b, (uint64_t)-5 & 63, 6);
    assert_int_equal(prom_chunk_decode(2, b.data, sizeof b.data, *state, &c, &err),
                     TSDB_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "schema -5"));
}

/* Schema 9, as a later Prometheus may write: buckets 1 and 2 are bucket 1 of schema 8. */
static void prom_chunk_decode__schema_9__reduced_to_8(void **state)
{
    struct bits b;
    struct tsdb_columns c;
    layout_begin(&b, 0);
    b.n -= 5;
    put(&b, 6, 3);
    put(&b, 9, 6);    /* schema */
    put(&b, 0x11, 5); /* one positive span */
    put(&b, 0x12, 5); /* of 2 */
    put(&b, 0x11, 5); /* at 1 */
    put(&b, 0, 1);    /* no negative one */
    put(&b, 0, 1);    /* time 0 */
    put(&b, 6, 3);
    put(&b, 8, 6);                    /* count 8 */
    put(&b, 0, 1);                    /* zero count 0 */
    put(&b, tsdb_double_bits(2), 64); /* sum */
    put(&b, 0x13, 5);                 /* 3 */
    put(&b, 0x12, 5);                 /* 3 + 2 */
    assert_ok(prom_chunk_decode(2, b.data, (b.n + 7) / 8, *state, &c, NULL));
    const struct tsdb_histogram *h = c.histograms;
    assert_int_equal(h->schema, 8);
    assert_int_equal(h->positive_bucket_count, 1);
    assert_int_equal(h->positive_deltas[0], 8);
    assert_int_equal(h->positive_spans[0].offset, 1);
    assert_ok(tsdb_histogram_validate(h, NULL));
}

/* More buckets than any histogram of ours may have, although the bytes are there. */
static void prom_chunk_decode__too_many_buckets__limit(void **state)
{
    static uint8_t src[TSDB_HISTOGRAM_BUCKETS_MAX];
    struct bits b;
    struct tsdb_columns c;
    layout_begin(&b, 0x10 | 3);
    put(&b, 0x11, 5); /* one span */
    put(&b, 0x7e, 7); /* '1111110' and 25 bits */
    put(&b, TSDB_HISTOGRAM_BUCKETS_MAX, 25);
    memcpy(src, b.data, 64);
    assert_int_equal(prom_chunk_decode(2, src, sizeof src, *state, &c, NULL), TSDB_LIMIT);
}

static void prom_chunk_decode__arena_with_a_limit__limit(void **state)
{
    struct tsdb_account account;
    struct tsdb_arena small;
    uint8_t data[4096];
    (void)state;
    tsdb_account_init(&account, 1024, NULL);
    for (unsigned e = 1; e <= 6; e++) {
        struct tsdb_columns c;
        size_t len = test_hex(examples[e], data);
        tsdb_arena_init(&small, TSDB_MEM_OTHER, 4096, &account);
        assert_int_equal(prom_chunk_decode(e, data, len, &small, &c, NULL), TSDB_LIMIT);
        tsdb_arena_deinit(&small);
    }
}

/* As Prometheus 2.42 reads it. */
static void prom_chunk_decode__two_histograms__values(void **state)
{
    uint8_t data[256];
    size_t len = test_hex(
        "000200744a48ce31b7f0000c5e82388005c7f7333333333333518da9f075318e9e90719500", data);
    struct tsdb_columns c;
    assert_ok(prom_chunk_decode(2, data, len, *state, &c, NULL));
    assert_int_equal(c.count, 2);
    assert_int_equal(c.t_ms[0], 1700006400000);
    assert_int_equal(c.t_ms[1], 1700006415000);
    assert_int_equal(c.kind[1], TSDB_SAMPLE_HISTOGRAM_INT);
    const struct tsdb_histogram *h = &c.histograms[c.bits[1]];
    assert_int_equal(h->count_int, 21);
    assert_int_equal(h->zero_count_int, 3);
    assert_double_bits_equal(h->sum, 1.6);
    assert_double_bits_equal(h->zero_threshold, 0x1p-128);
    assert_int_equal(h->reset_hint, TSDB_RESET_NO);
    assert_int_equal(c.histograms[0].reset_hint, TSDB_RESET_UNKNOWN);
    assert_int_equal(h->positive_bucket_count, 3);
    assert_int_equal(h->positive_deltas[0], 2);
    assert_int_equal(h->positive_deltas[1], 3);
    assert_int_equal(h->positive_deltas[2], 2);
    assert_int_equal(h->negative_deltas[0], 4);
    assert_int_equal(h->negative_spans[0].offset, -2);
    assert_true(h->positive_spans == c.histograms[0].positive_spans);
}

#define T(name) cmocka_unit_test_setup_teardown(name, with_arena, without_arena)
static const struct CMUnitTest tests[] = {
    cmocka_unit_test(prom_chunk_encoding_name__all__as_prometheus),
    T(prom_chunk_decode__unknown_encoding__unsupported_with_its_number),
    T(prom_chunk_decode__no_samples__empty),
    T(prom_chunk_decode__cut__corrupt_with_its_place),
    T(prom_chunk_decode__damaged__no_harm),
    T(prom_chunk_decode__count_beyond_its_bytes__corrupt_without_memory),
    T(prom_chunk_decode__spans_beyond_the_bits__corrupt),
    T(prom_chunk_decode__unknown_schema__unsupported),
    T(prom_chunk_decode__schema_9__reduced_to_8),
    T(prom_chunk_decode__too_many_buckets__limit),
    T(prom_chunk_decode__arena_with_a_limit__limit),
    T(prom_chunk_decode__two_histograms__values),
};
TEST_MAIN(tests)
