#include "tests/support/test.h"

#include <stdlib.h>

static const uint64_t edges[] = {
    0,          1,          127,        128,        16383,      16384,      (1u << 21) - 1,
    1u << 21,   UINT32_MAX, 1ull << 35, 1ull << 42, 1ull << 49, 1ull << 56, (1ull << 63) - 1,
    1ull << 63, UINT64_MAX,
};

static void uvarint__edges__round_trip_in_least_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(edges); i++) {
        uint8_t bytes[TSDB_VARINT64_BYTES_MAX];
        uint64_t v = edges[i];
        size_t len = (size_t)(tsdb_put_uvarint(bytes, v) - bytes);
        size_t bits = v == 0 ? 1 : 64 - (size_t)__builtin_clzll(v);
        assert_int_equal(len, (bits + 6) / 7);
        uint64_t back = ~v;
        assert_ptr_equal(tsdb_get_uvarint(bytes, bytes + len, &back), bytes + len);
        assert_int_equal(back, v);
        for (size_t cut = 0; cut < len; cut++) {
            assert_null(tsdb_get_uvarint(bytes, bytes + cut, &back));
        }
    }
}

static void varint__edges__round_trip(void **state)
{
    (void)state;
    static const int64_t values[] = {0, -1, 1, -64, 64, INT32_MIN, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(values); i++) {
        uint8_t bytes[TSDB_VARINT64_BYTES_MAX];
        uint8_t *end = tsdb_put_varint(bytes, values[i]);
        int64_t back = 0;
        assert_ptr_equal(tsdb_get_varint(bytes, end, &back), end);
        assert_int_equal(back, values[i]);
    }
    assert_int_equal(tsdb_zigzag(-1), 1);
    assert_int_equal(tsdb_zigzag(1), 2);
    assert_int_equal(tsdb_zigzag(INT64_MIN), UINT64_MAX);
}

static void get_uvarint__more_than_64_bits__fails(void **state)
{
    (void)state;
    uint8_t bytes[12];
    uint64_t out;
    memset(bytes, 0xff, sizeof bytes);
    assert_null(tsdb_get_uvarint(bytes, bytes + sizeof bytes, &out)); /* never ends */
    bytes[9] = 0x02;                                                  /* bit 64 */
    assert_null(tsdb_get_uvarint(bytes, bytes + sizeof bytes, &out));
    bytes[9] = 0x01;
    assert_ptr_equal(tsdb_get_uvarint(bytes, bytes + sizeof bytes, &out), bytes + 10);
    assert_int_equal(out, UINT64_MAX);
}

static void buf__every_put__reader_gets_it_back(void **state)
{
    (void)state;
    uint64_t before = tsdb_mem_used(TSDB_MEM_OTHER);
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    for (uint32_t i = 0; i < 1000; i++) {
        tsdb_buf_put_u8(&b, (uint8_t)i);
        tsdb_buf_put_le32(&b, i * 2654435761u);
        tsdb_buf_put_le64(&b, i * 0x9e3779b97f4a7c15u);
        tsdb_buf_put_uvarint(&b, 1ull << (i % 64));
        tsdb_buf_put_varint(&b, -(int64_t)i);
        tsdb_buf_put_str(&b, "abc");
    }
    tsdb_buf_put(&b, NULL, 0);
    assert_false(b.failed);
    struct tsdb_reader r;
    tsdb_reader_init(&r, b.data, b.len);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(tsdb_reader_u8(&r), (uint8_t)i);
        assert_int_equal(tsdb_reader_le32(&r), i * 2654435761u);
        assert_int_equal(tsdb_reader_le64(&r), i * 0x9e3779b97f4a7c15u);
        assert_int_equal(tsdb_reader_uvarint(&r), 1ull << (i % 64));
        assert_int_equal(tsdb_reader_varint(&r), -(int64_t)i);
        assert_memory_equal(tsdb_reader_bytes(&r, 3).data, "abc", 3);
    }
    assert_false(r.failed);
    assert_int_equal(tsdb_reader_left(&r), 0);
    tsdb_buf_deinit(&b);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_OTHER), before);
}

static void buf_put__beyond_len_max__fails_and_stays_failed(void **state)
{
    (void)state;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 10);
    tsdb_buf_put(&b, "12345678", 8);
    tsdb_buf_put_uvarint(&b, 300); /* exactly to the limit */
    assert_false(b.failed);
    assert_int_equal(b.len, 10);
    tsdb_buf_put_u8(&b, 1);
    assert_true(b.failed);
    assert_int_equal(b.len, 10);
    assert_null(tsdb_buf_reserve(&b, 0));
    tsdb_buf_clear(&b);
    tsdb_buf_put_u8(&b, 1);
    assert_false(b.failed);
    assert_int_equal(b.len, 1);
    assert_null(tsdb_buf_reserve(&b, SIZE_MAX));
    assert_true(b.failed);
    tsdb_buf_deinit(&b);
}

static void buf_put__allocation_fails__keeps_what_was_there(void **state)
{
    (void)state;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    tsdb_buf_put_str(&b, "kept");
    tsdb_alloc_fail_nth(1, 0);
    char big[1000] = {0};
    tsdb_buf_put(&b, big, sizeof big);
    tsdb_buf_put_str(&b, "ignored");
    tsdb_alloc_ops_set(NULL);
    assert_true(b.failed);
    assert_int_equal(b.len, 4);
    assert_memory_equal(b.data, "kept", 4);
    tsdb_buf_deinit(&b);
}

static void buf_printf__short_and_long__appends_whole(void **state)
{
    (void)state;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    tsdb_buf_printf(&b, "%d-%s;", 7, "x");
    char word[1001];
    memset(word, 'y', 1000);
    word[1000] = '\0';
    for (size_t len = 250; len < 260; len++) { /* around the scratch buffer's size */
        size_t before = b.len;
        tsdb_buf_printf(&b, "%.*s", (int)len, word);
        assert_int_equal(b.len - before, len);
    }
    tsdb_buf_printf(&b, "<%s>", word);
    assert_false(b.failed);
    assert_memory_equal(b.data, "7-x;yyyy", 8);
    assert_memory_equal(b.data + b.len - 1002, "<yyyy", 5);
    assert_memory_equal(b.data + b.len - 5, "yyyy>", 5);
    tsdb_buf_deinit(&b);
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 1000);
    tsdb_buf_printf(&b, "%s", word); /* exactly to the limit: the NUL does not count */
    assert_false(b.failed);
    assert_int_equal(b.len, 1000);
    tsdb_buf_clear(&b);
    tsdb_buf_printf(&b, "%s!", word);
    assert_true(b.failed);
    tsdb_buf_deinit(&b);
}

static void reader__short_input__fails_sticky_with_zeroes(void **state)
{
    (void)state;
    uint8_t *bytes = malloc(7); /* so that a read beyond the end is seen by the address sanitizer */
    assert_non_null(bytes);
    memset(bytes, 0x11, 7);
    struct tsdb_reader r;
    tsdb_reader_init(&r, bytes, 7);
    assert_int_equal(tsdb_reader_le64(&r), 0);
    assert_true(r.failed);
    assert_int_equal(tsdb_reader_left(&r), 0);
    assert_int_equal(tsdb_reader_u8(&r), 0);
    assert_int_equal(tsdb_reader_uvarint(&r), 0);
    assert_int_equal(tsdb_reader_count(&r, 1), 0);
    assert_null(tsdb_reader_bytes(&r, 0).data);
    tsdb_reader_init(&r, bytes, 7);
    assert_null(tsdb_reader_bytes(&r, SIZE_MAX).data);
    tsdb_reader_init(&r, bytes, 3);
    assert_int_equal(tsdb_reader_le32(&r), 0);
    free(bytes);
}

static void reader__null_and_empty__is_at_its_end(void **state)
{
    (void)state;
    struct tsdb_reader r;
    tsdb_reader_init(&r, NULL, 0);
    assert_int_equal(tsdb_reader_left(&r), 0);
    assert_int_equal(tsdb_reader_bytes(&r, 0).len, 0);
    assert_false(r.failed);
    assert_int_equal(tsdb_reader_u8(&r), 0);
    assert_true(r.failed);
}

static void reader_count__more_than_the_bytes_left__fails(void **state)
{
    (void)state;
    uint8_t bytes[11] = {5};
    struct tsdb_reader r;
    tsdb_reader_init(&r, bytes, 11);
    assert_int_equal(tsdb_reader_count(&r, 2), 5);
    assert_false(r.failed);
    tsdb_reader_init(&r, bytes, 10);
    assert_int_equal(tsdb_reader_count(&r, 2), 0);
    assert_true(r.failed);
    uint8_t huge[TSDB_VARINT64_BYTES_MAX];
    size_t len = (size_t)(tsdb_put_uvarint(huge, UINT64_MAX) - huge);
    tsdb_reader_init(&r, huge, len);
    assert_int_equal(tsdb_reader_count(&r, 1u << 20), 0); /* the product would wrap */
    assert_true(r.failed);
}

/* The definition, character by character: decode, and compare with the shortest form of the code
 * point. */
static bool utf8_valid_naive(const uint8_t *p, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    for (size_t i = 0; i < len;) {
        uint8_t c = p[i];
        size_t n = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 0;
        if (n == 0 || n > len - i) {
            return false;
        }
        uint32_t point = n == 1 ? c : c & (0x7fu >> n);
        for (size_t k = 1; k < n; k++) {
            if (p[i + k] >> 6 != 2) {
                return false;
            }
            point = point << 6 | (p[i + k] & 0x3fu);
        }
        if (point < least[n] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) {
            return false;
        }
        i += n;
    }
    return true;
}

static void utf8_valid__all_heads_and_edges__agrees_with_definition(void **state)
{
    (void)state;
    static const uint8_t tails[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff};
    size_t n = sizeof tails;
    size_t valid = 0;
    for (unsigned head = 0; head < 256; head++) {
        for (size_t t = 0; t < n * n * n; t++) {
            uint8_t s[4] = {(uint8_t)head, tails[t % n], tails[t / n % n], tails[t / n / n]};
            for (size_t len = 0; len <= 4; len++) {
                bool want = utf8_valid_naive(s, len);
                valid += want;
                if (tsdb_utf8_valid(s, len) != want) {
                    fail_msg("%02x %02x %02x %02x len %zu", s[0], s[1], s[2], s[3], len);
                }
            }
        }
    }
    assert_true(valid > 1000);
    assert_true(tsdb_utf8_valid(NULL, 0));
}

static void utf8_valid__character_at_every_offset__agrees_with_definition(void **state)
{
    (void)state;
    static const char *const pieces[] = {"\xc3\xa9",     "\xe2\x82\xac", "\xf0\x9f\x8c\x8a",
                                         "\xed\xa0\x80", "\xc0\x80",     "\xf4\x90\x80\x80",
                                         "\xff",         "\x80"};
    for (size_t len = 1; len < 40; len++) {
        uint8_t *s = malloc(len);
        assert_non_null(s);
        for (size_t p = 0; p < TSDB_ARRAY_LEN(pieces); p++) {
            for (size_t at = 0; at < len; at++) {
                memset(s, 'a', len);
                size_t n = TSDB_MIN(strlen(pieces[p]), len - at);
                memcpy(s + at, pieces[p], n);
                assert_int_equal(tsdb_utf8_valid(s, len), utf8_valid_naive(s, len));
            }
        }
        free(s);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(uvarint__edges__round_trip_in_least_bytes),
    cmocka_unit_test(varint__edges__round_trip),
    cmocka_unit_test(get_uvarint__more_than_64_bits__fails),
    cmocka_unit_test(buf__every_put__reader_gets_it_back),
    cmocka_unit_test(buf_put__beyond_len_max__fails_and_stays_failed),
    cmocka_unit_test(buf_put__allocation_fails__keeps_what_was_there),
    cmocka_unit_test(buf_printf__short_and_long__appends_whole),
    cmocka_unit_test(reader__short_input__fails_sticky_with_zeroes),
    cmocka_unit_test(reader__null_and_empty__is_at_its_end),
    cmocka_unit_test(reader_count__more_than_the_bytes_left__fails),
    cmocka_unit_test(utf8_valid__all_heads_and_edges__agrees_with_definition),
    cmocka_unit_test(utf8_valid__character_at_every_offset__agrees_with_definition),
};
TEST_MAIN(tests)
