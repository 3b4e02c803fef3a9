#include "tests/support/test.h"

#include "base/limits.h"
#include "base/random.h"
#include "model/labels.h"
#include "tests/support/guard.h"

#include <stdio.h>
#include <stdlib.h>

#define L(n, v) tsdb_label_make(n, v)

static struct tsdb_labels set_of(struct tsdb_label *items, uint32_t count)
{
    return (struct tsdb_labels){items, count};
}

static void str_compare__prefixes_and_high_bytes__bytewise(void **state)
{
    (void)state;
    assert_int_equal(tsdb_str_compare("a", 1, "a", 1), 0);
    assert_true(tsdb_str_compare("a", 1, "ab", 2) < 0);
    assert_true(tsdb_str_compare("ab", 2, "a", 1) > 0);
    assert_true(tsdb_str_compare("A", 1, "_", 1) < 0);
    assert_true(tsdb_str_compare("_", 1, "a", 1) < 0);
    assert_true(tsdb_str_compare("\xc3\xa9", 2, "z", 1) > 0); /* bytes are unsigned */
    assert_true(tsdb_str_compare(NULL, 0, "", 0) == 0);
    assert_true(tsdb_str_compare(NULL, 0, "a", 1) < 0);
}

static void labels_compare__sets__name_then_value_then_length(void **state)
{
    (void)state;
    struct tsdb_label a[] = {L("a", "1"), L("b", "2")};
    struct tsdb_label b[] = {L("a", "1"), L("c", "0")};
    struct tsdb_label c[] = {L("a", "2")};
    struct tsdb_labels A = set_of(a, 2);
    struct tsdb_labels A1 = set_of(a, 1);
    struct tsdb_labels B = set_of(b, 2);
    struct tsdb_labels C = set_of(c, 1);
    assert_true(tsdb_labels_compare(&A, &B) < 0);
    assert_true(tsdb_labels_compare(&B, &C) < 0);
    assert_true(tsdb_labels_compare(&A1, &A) < 0);
    assert_int_equal(tsdb_labels_compare(&A, &A), 0);
    assert_true(tsdb_labels_equal(&A, &A));
    assert_false(tsdb_labels_equal(&A, &B));
    assert_false(tsdb_labels_equal(&A1, &A));
}

static void labels_find__present_and_absent__exact_names_only(void **state)
{
    (void)state;
    struct tsdb_label a[] = {L("__name__", "up"), L("instance", "i"), L("job", "j")};
    struct tsdb_labels A = set_of(a, 3);
    assert_ptr_equal(tsdb_labels_find(&A, "job", 3), &a[2]);
    assert_ptr_equal(tsdb_labels_find(&A, "__name__", 8), &a[0]);
    assert_null(tsdb_labels_find(&A, "jo", 2));
    assert_null(tsdb_labels_find(&A, "jobs", 4));
    struct tsdb_labels none = {NULL, 0};
    assert_null(tsdb_labels_find(&none, "job", 3));
}

static void canonicalize__unsorted_with_empty_values__sorted_without_them(void **state)
{
    (void)state;
    struct tsdb_label a[] = {L("job", "j"),       L("gone", ""), L("Zone", "z"),
                             L("__name__", "up"), L("_x", "1"),  L("gone", "")};
    uint32_t n = 6;
    struct tsdb_error err;
    assert_ok_err(tsdb_labels_canonicalize(a, &n, true, &err), &err);
    assert_int_equal(n, 4);
    const char *want[] = {"Zone", "__name__", "_x", "job"};
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(a[i].name_len, strlen(want[i]));
        assert_memory_equal(a[i].name, want[i], a[i].name_len);
    }
}

static void expect_invalid(struct tsdb_label *items, uint32_t n, bool need_name, const char *text)
{
    struct tsdb_error err = {0};
    uint32_t count = n;
    assert_int_equal(tsdb_labels_canonicalize(items, &count, need_name, &err), TSDB_INVALID);
    if (!strstr(err.msg, text)) {
        fail_msg("'%s' is not in '%s'", text, err.msg);
    }
    assert_true(tsdb_utf8_valid(err.msg, strlen(err.msg)));
    count = n;
    assert_int_equal(tsdb_labels_canonicalize(items, &count, need_name, NULL), TSDB_INVALID);
}

static void canonicalize__bad_labels__invalid_with_a_known_text(void **state)
{
    (void)state;
    struct tsdb_label twice[] = {L("a", "1"), L("__name__", "x"), L("a", "2")};
    expect_invalid(twice, 3, true, "label name \"a\" is not unique: invalid sample");
    struct tsdb_label nameless[] = {L("a", "1")};
    expect_invalid(nameless, 1, true, "without __name__");
    struct tsdb_label empty_metric[] = {L("__name__", ""), L("a", "1")};
    expect_invalid(empty_metric, 2, true, "without __name__");
    struct tsdb_label empty_name[] = {L("", "1"), L("__name__", "x")};
    expect_invalid(empty_name, 2, true, "empty label name");
    struct tsdb_label bad_name[] = {L("a\xff\n", "1"), L("__name__", "x")};
    expect_invalid(bad_name, 2, true, "\"a\\xff\\n\" is not valid UTF-8");
    struct tsdb_label bad_value[] = {L("a", "\xc3"), L("__name__", "x")};
    expect_invalid(bad_value, 2, true, "value of label \"a\" is not valid UTF-8");
    struct tsdb_label surrogate[] = {L("a", "\xed\xa0\x80"), L("__name__", "x")};
    expect_invalid(surrogate, 2, true, "value of label \"a\" is not valid UTF-8");
}

static void canonicalize__no_metric_name_needed__ok(void **state)
{
    (void)state;
    struct tsdb_label a[] = {L("a", "1")};
    uint32_t n = 1;
    assert_ok(tsdb_labels_canonicalize(a, &n, false, NULL));
    n = 0;
    assert_ok(tsdb_labels_canonicalize(a, &n, false, NULL));
    assert_int_equal(n, 0);
}

static void canonicalize__sizes_at_and_over_the_limits__only_over_is_refused(void **state)
{
    (void)state;
    static char big[TSDB_LABEL_VALUE_BYTES_MAX + 1];
    memset(big, 'x', sizeof big);
    struct tsdb_label a[2] = {L("__name__", "m"), {"a", big, 1, TSDB_LABEL_VALUE_BYTES_MAX}};
    uint32_t n = 2;
    assert_ok(tsdb_labels_canonicalize(a, &n, true, NULL));
    a[1].value_len++;
    expect_invalid(a, 2, true, "has 1048577 bytes");
    a[1] = (struct tsdb_label){big, "v", TSDB_LABEL_NAME_BYTES_MAX, 1};
    assert_ok(tsdb_labels_canonicalize(a, &n, true, NULL));
    a[1].name_len++;
    expect_invalid(a, 2, true, "has 65537 bytes");
    struct tsdb_label five[5] = {L("__name__", "m")};
    for (int i = 1; i < 5; i++) {
        five[i] = (struct tsdb_label){&"abcd"[i - 1], big, 1, TSDB_LABEL_VALUE_BYTES_MAX};
    }
    expect_invalid(five, 5, true, "labels of a series have");
}

/* Many labels, in a random order: both sorts, and the limit on their number. */
static void canonicalize__any_number_of_labels__sorted_up_to_the_limit(void **state)
{
    (void)state;
    static char names[TSDB_LABELS_MAX + 1][8];
    struct tsdb_label items[TSDB_LABELS_MAX + 1];
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 11);
    for (uint32_t n = 0; n <= TSDB_LABELS_MAX + 1; n += n < 40 ? 1 : 31) {
        for (uint32_t i = 0; i < n; i++) {
            snprintf(names[i], sizeof names[i], "n%04u", i);
            items[i] = L(names[i], "v");
        }
        for (uint32_t i = n; i > 1; i--) {
            uint32_t j = (uint32_t)tsdb_prng_below(&prng, i);
            struct tsdb_label x = items[i - 1];
            items[i - 1] = items[j];
            items[j] = x;
        }
        uint32_t count = n;
        if (n > TSDB_LABELS_MAX) {
            expect_invalid(items, n, false, "labels, at most 1024");
            continue;
        }
        assert_ok(tsdb_labels_canonicalize(items, &count, false, NULL));
        assert_int_equal(count, n);
        for (uint32_t i = 0; i < n; i++) {
            assert_ptr_equal(items[i].name, names[i]);
        }
    }
}

static void encode__labels__known_bytes(void **state)
{
    (void)state;
    struct tsdb_label a[] = {L("__name__", "up"), L("job", "j")};
    struct tsdb_labels set = set_of(a, 2);
    const char want[] = "\x08__name__\x02up\x03job\x01j";
    uint8_t out[64];
    assert_int_equal(tsdb_labels_encoded_bytes(&set), sizeof want - 1);
    assert_int_equal(tsdb_labels_encode(&set, out), sizeof want - 1);
    assert_memory_equal(out, want, sizeof want - 1);
}

static void decode__what_encode_wrote__the_same_labels(void **state)
{
    (void)state;
    static char big[70000];
    memset(big, 'q', sizeof big);
    for (uint32_t len = 1; len <= 300; len++) {
        struct tsdb_label a[] = {L("__name__", "up"), {"a", big, 1, len}, {"b", big, 1, len * 218}};
        struct tsdb_labels set = set_of(a, 3);
        size_t bytes = tsdb_labels_encoded_bytes(&set);
        uint8_t *out = test_malloc(bytes);
        assert_int_equal(tsdb_labels_encode(&set, out), bytes);
        struct tsdb_label items[3];
        uint32_t count = 0;
        struct tsdb_error err;
        assert_ok_err(tsdb_labels_decode(out, bytes, items, 3, &count, &err), &err);
        struct tsdb_labels got = set_of(items, count);
        assert_true(tsdb_labels_equal(&set, &got));
        assert_int_equal(tsdb_labels_decode(out, bytes, items, 2, &count, &err), TSDB_LIMIT);
        test_free(out);
    }
}

/* ---- next to others ---- */
#define LIKE_BYTES 512u

/* Labels that are mostly those of `from`: some have another value, some have gone, one is new. */
static uint32_t neighbour(struct tsdb_prng *prng, const struct tsdb_label *from, uint32_t count,
                          struct tsdb_label *out, uint32_t cap)
{
    static const char *const texts[] = {"a", "ab", "b", "c", "instance", "job", "zone", "\xc3\xa9"};
    uint32_t n = 0;
    for (uint32_t i = 0; i < count && n + 1 < cap; i++) {
        uint64_t dice = tsdb_prng_below(prng, 8);
        out[n] = from[i];
        if (dice == 0) {
            continue;
        }
        if (dice == 1) {
            const char *text = texts[tsdb_prng_below(prng, TSDB_ARRAY_LEN(texts))];
            out[n] =
                (struct tsdb_label){from[i].name, text, from[i].name_len, (uint32_t)strlen(text)};
        }
        n++;
    }
    out[n++] = L(texts[tsdb_prng_below(prng, TSDB_ARRAY_LEN(texts))], "new");
    return n;
}

static void decode_like__neighbours_whole_and_damaged__as_decode(void **state)
{
    (void)state;
    struct tsdb_prng prng;
    static uint8_t bytes[2][LIKE_BYTES];
    static struct tsdb_label items[2][16], plain[16], made[16];
    uint32_t count = 0;
    uint32_t good = 0;
    uint32_t turn = 0;
    tsdb_prng_init(&prng, 7);
    for (uint32_t round = 0; round < 20000; round++) {
        struct tsdb_labels like = set_of(items[turn], count);
        uint32_t n = neighbour(&prng, like.items, like.count, made, TSDB_ARRAY_LEN(made));
        turn ^= 1;
        struct tsdb_labels labels = set_of(made, n);
        bool sorted = tsdb_labels_canonicalize(made, &labels.count, false, NULL) == TSDB_OK;
        assert_true(tsdb_labels_encoded_bytes(&labels) <= LIKE_BYTES);
        size_t len = tsdb_labels_encode(&labels, bytes[turn]);
        if (tsdb_prng_below(&prng, 3) == 0) {
            bytes[turn][tsdb_prng_below(&prng, len)] ^= (uint8_t)(1u << tsdb_prng_below(&prng, 8));
            len -= tsdb_prng_below(&prng, 2);
            sorted = false;
        }
        uint32_t plain_count = 77;
        uint32_t like_count = 77;
        struct tsdb_error plain_err = {0};
        struct tsdb_error like_err = {0};
        enum tsdb_status status =
            tsdb_labels_decode(bytes[turn], len, plain, 14, &plain_count, &plain_err);
        assert_int_equal(tsdb_labels_decode_like(bytes[turn], len, &like, items[turn], 14,
                                                 &like_count, &like_err),
                         status);
        assert_true(status == TSDB_OK || !sorted || labels.count > 14);
        assert_int_equal(like_count, plain_count);
        assert_string_equal(like_err.msg, plain_err.msg);
        if (status != TSDB_OK) {
            turn ^= 1;
            continue;
        }
        good++;
        count = like_count;
        for (uint32_t i = 0; i < count; i++) {
            assert_ptr_equal(items[turn][i].name, plain[i].name);
            assert_ptr_equal(items[turn][i].value, plain[i].value);
            assert_int_equal(items[turn][i].name_len, plain[i].name_len);
            assert_int_equal(items[turn][i].value_len, plain[i].value_len);
        }
    }
    assert_true(good > 5000 && good < 19000);
}

static void expect_corrupt(const char *bytes, size_t len)
{
    struct tsdb_label items[4];
    uint32_t count = 77;
    struct tsdb_error err = {0};
    assert_int_equal(tsdb_labels_decode((const uint8_t *)bytes, len, items, 4, &count, &err),
                     TSDB_CORRUPT);
    assert_int_equal(count, 77);
    assert_int_equal(err.status, TSDB_CORRUPT);
}
#define EXPECT_CORRUPT(s) expect_corrupt(s, sizeof(s) - 1)

static void decode__not_canonical__corrupt(void **state)
{
    (void)state;
    EXPECT_CORRUPT("\x01"
                   "b\x01"
                   "1\x01"
                   "a\x01"
                   "1"); /* order */
    EXPECT_CORRUPT("\x01"
                   "a\x01"
                   "1\x01"
                   "a\x01"
                   "2"); /* twice */
    EXPECT_CORRUPT("\x00\x01"
                   "1"); /* empty name */
    EXPECT_CORRUPT("\x01"
                   "a\x00"); /* empty value */
    EXPECT_CORRUPT("\x01"
                   "a\x01\xff"); /* UTF-8 */
    EXPECT_CORRUPT("\x01"
                   "a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"); /* absurd length */
    EXPECT_CORRUPT("\x81\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"
                   "a"); /* over-long varint */
    EXPECT_CORRUPT("\x81\x00"
                   "a\x01"
                   "1"); /* a length of two bytes that one says */
    EXPECT_CORRUPT("\x01"
                   "a\x81\x00"
                   "1");
}

static void decode__every_truncation_at_a_guard_page__corrupt_and_inside(void **state)
{
    (void)state;
    struct tsdb_label a[] = {L("__name__", "up"), L("instance", "localhost:9090"), L("job", "j")};
    struct tsdb_labels set = set_of(a, 3);
    uint8_t bytes[128];
    size_t len = tsdb_labels_encode(&set, bytes);
    struct test_guard g;
    test_guard_init(&g, sizeof bytes);
    int whole = 0;
    for (size_t cut = 0; cut <= len; cut++) {
        struct tsdb_label items[8];
        uint32_t count = 0;
        uint8_t *p = test_guard_at_end(&g, bytes, cut);
        enum tsdb_status status = tsdb_labels_decode(p, cut, items, 8, &count, NULL);
        assert_true(status == TSDB_OK || status == TSDB_CORRUPT);
        whole += status == TSDB_OK;
    }
    assert_int_equal(whole, 4); /* only cuts between labels leave something whole */
    test_guard_deinit(&g);
}

static void hash__up_to_a_piece__is_the_hash_of_the_canonical_bytes(void **state)
{
    (void)state;
    struct tsdb_hash_key key;
    tsdb_hash_key_init(&key, (const uint8_t[TSDB_HASH_SEED_BYTES]){1, 2, 3});
    static char big[9000];
    memset(big, 'q', sizeof big);
    struct tsdb_label a[] = {L("__name__", "up"), {"a", big, 1, 0}};
    struct tsdb_labels set = set_of(a, 2);
    static uint8_t bytes[10000];
    for (a[1].value_len = 1; a[1].value_len < sizeof big; a[1].value_len += 7) {
        size_t len = tsdb_labels_encode(&set, bytes);
        uint64_t h = tsdb_labels_hash(&key, &set);
        if (len <= 4096) {
            assert_true(h == tsdb_hash64(&key, bytes, len));
        }
        assert_true(tsdb_labels_hash_canonical(&key, (struct tsdb_slice){bytes, len}) == h);
        /* Any byte counts, also those of long sets: the first, one in the middle, the last. */
        for (uint32_t at = 0; at < 3; at++) {
            uint32_t i = at * (a[1].value_len - 1) / 2;
            big[i] = 'r';
            assert_true(tsdb_labels_hash(&key, &set) != h);
            big[i] = 'q';
        }
        assert_true(tsdb_labels_hash(&key, &set) == h);
    }
}

static void hash__same_concatenation_other_split__differs(void **state)
{
    (void)state;
    struct tsdb_hash_key key;
    tsdb_hash_key_init(&key, (const uint8_t[TSDB_HASH_SEED_BYTES]){9});
    struct tsdb_label a[] = {L("ab", "c")};
    struct tsdb_label b[] = {L("a", "bc")};
    struct tsdb_labels A = set_of(a, 1);
    struct tsdb_labels B = set_of(b, 1);
    assert_true(tsdb_labels_hash(&key, &A) != tsdb_labels_hash(&key, &B));
}

static void expect_print(struct tsdb_label *items, uint32_t n, const char *want)
{
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    struct tsdb_labels set = set_of(items, n);
    tsdb_labels_print(&set, &b);
    tsdb_buf_put_u8(&b, 0);
    assert_false(b.failed);
    assert_string_equal((const char *)b.data, want);
    tsdb_buf_deinit(&b);
}

static void print__names_and_escapes__as_prometheus(void **state)
{
    (void)state;
    expect_print(NULL, 0, "{}");
    struct tsdb_label only[] = {L("__name__", "up")};
    expect_print(only, 1, "up");
    struct tsdb_label both[] = {L("__name__", "a:b"), L("a", "1"), L("b", "2")};
    expect_print(both, 3, "a:b{a=\"1\", b=\"2\"}");
    expect_print(both + 1, 2, "{a=\"1\", b=\"2\"}");
    struct tsdb_label utf8[] = {L("__name__", "http.requests"), L("k8s.ns", "x"), L("z:", "y")};
    expect_print(utf8, 3, "{\"http.requests\", \"k8s.ns\"=\"x\", \"z:\"=\"y\"}");
    struct tsdb_label upper[] = {L("A", "1"), L("__name__", "up")};
    expect_print(upper, 2, "up{A=\"1\"}");
    struct tsdb_label esc[] = {L("e", "a\"\\\n\t\r\x07\x01\x7f\xff é世\xc2\x85\xe2\x80\xa8"
                                      "\xf3\xa0\x80\x81")};
    expect_print(esc, 1,
                 "{e=\"a\\\"\\\\\\n\\t\\r\\a\\x01\\x7f\\xff é世\\u0085\\u2028\\U000e0001\"}");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(str_compare__prefixes_and_high_bytes__bytewise),
    cmocka_unit_test(labels_compare__sets__name_then_value_then_length),
    cmocka_unit_test(labels_find__present_and_absent__exact_names_only),
    cmocka_unit_test(canonicalize__unsorted_with_empty_values__sorted_without_them),
    cmocka_unit_test(canonicalize__bad_labels__invalid_with_a_known_text),
    cmocka_unit_test(canonicalize__no_metric_name_needed__ok),
    cmocka_unit_test(canonicalize__sizes_at_and_over_the_limits__only_over_is_refused),
    cmocka_unit_test(canonicalize__any_number_of_labels__sorted_up_to_the_limit),
    cmocka_unit_test(encode__labels__known_bytes),
    cmocka_unit_test(decode_like__neighbours_whole_and_damaged__as_decode),
    cmocka_unit_test(decode__what_encode_wrote__the_same_labels),
    cmocka_unit_test(decode__not_canonical__corrupt),
    cmocka_unit_test(decode__every_truncation_at_a_guard_page__corrupt_and_inside),
    cmocka_unit_test(hash__up_to_a_piece__is_the_hash_of_the_canonical_bytes),
    cmocka_unit_test(hash__same_concatenation_other_split__differs),
    cmocka_unit_test(print__names_and_escapes__as_prometheus),
};
TEST_MAIN(tests)
