#include "tests/support/test.h"

#include "ingest/wire.h"
#include "tests/support/guard.h"

static struct test_guard guard;

static int guard_setup(void **state)
{
    (void)state;
    test_guard_init(&guard, 64);
    return 0;
}

static int guard_teardown(void **state)
{
    (void)state;
    test_guard_deinit(&guard);
    return 0;
}

/* Every width, whole and cut at every byte, up against the hole. */
static void varint__every_width_and_cut__exact_or_null(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < 64; shift++) {
        uint64_t v = UINT64_C(0xfedcba9876543210) >> shift;
        uint8_t bytes[TSDB_VARINT64_BYTES_MAX];
        size_t len = (size_t)(tsdb_put_uvarint(bytes, v) - bytes);
        for (size_t cut = 0; cut <= len; cut++) {
            const uint8_t *p = test_guard_at_end(&guard, bytes, cut);
            uint64_t got = 77;
            const uint8_t *after = wire_varint(p, p + cut, &got);
            if (cut == len) {
                assert_ptr_equal(after, p + len);
                assert_true(got == v);
            } else {
                assert_null(after);
                assert_int_equal(got, 77);
            }
        }
    }
}

/* As Go and protobuf-c: ten bytes at most, cut to 64 bits, not necessarily the shortest form. */
static void varint__longer_than_needed__accepted_up_to_ten_bytes(void **state)
{
    (void)state;
    uint64_t got = 0;
    const uint8_t two[] = {0x81, 0x00};
    assert_ptr_equal(wire_varint(two, two + 2, &got), two + 2);
    assert_int_equal(got, 1);
    const uint8_t ten[] = {0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f};
    assert_ptr_equal(wire_varint(ten, ten + 10, &got), ten + 10);
    assert_true(got == (UINT64_C(1) << 63 | 1));
    const uint8_t eleven[] = {0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00};
    assert_null(wire_varint(eleven, eleven + 11, &got));
}

static void varint_exact__every_value_of_every_width__agrees_with_the_loop(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= 8; n++) {
        for (unsigned bit = 0; bit < 7 * n; bit++) {
            uint64_t v = (UINT64_C(1) << bit | UINT64_C(0x5a5a5a5a5a5a5a5a) >> (63 - bit));
            uint8_t bytes[16] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
            uint8_t *end = bytes + 8;
            for (unsigned i = 0; i < n; i++) { /* in exactly n bytes */
                *end++ = (uint8_t)((v >> (7 * i) & 0x7f) | (i + 1 < n ? 0x80 : 0));
            }
            uint64_t got = 0;
            assert_true(wire_varint_exact(end, n, &got));
            assert_true(got == v);
            end[-1] |= 0x80; /* goes on */
            assert_false(wire_varint_exact(end, n, &got));
            end[-1] &= 0x7f;
            if (n > 1) {
                bytes[8] &= 0x7f; /* ends at once */
                assert_false(wire_varint_exact(end, n, &got));
            }
        }
    }
}

static void field_read__every_type_cut_at_every_byte__null(void **state)
{
    (void)state;
    const struct {
        const char *bytes;
        size_t len;
        enum wire_type type;
        uint64_t value;
    } cases[] = {
        {"\x08\x96\x01", 3, WIRE_VARINT, 150},
        {"\x09\x01\x02\x03\x04\x05\x06\x07\x08", 9, WIRE_FIXED64, UINT64_C(0x0807060504030201)},
        {"\x0d\x01\x02\x03\x04", 5, WIRE_FIXED32, 0x04030201},
        {"\x0a\x03xyz", 5, WIRE_LEN, 0},
        {"\x8a\x80\x00\x83\x00xyz", 8, WIRE_LEN, 0}, /* long forms */
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        for (size_t cut = 0; cut <= cases[i].len; cut++) {
            const uint8_t *p = test_guard_at_end(&guard, cases[i].bytes, cut);
            struct wire_field f;
            const uint8_t *after = wire_field_read(p, p + cut, &f);
            if (cut < cases[i].len) {
                assert_null(after);
                continue;
            }
            assert_ptr_equal(after, p + cut);
            assert_int_equal(f.number, 1);
            assert_int_equal(f.type, cases[i].type);
            assert_true(f.value == cases[i].value);
            assert_int_equal(f.bytes.len, f.type == WIRE_LEN ? 3 : 0);
            if (f.type == WIRE_LEN) {
                assert_memory_equal(f.bytes.data, "xyz", 3);
            }
        }
    }
}

static void tag__groups_and_unused_types__null(void **state)
{
    (void)state;
    for (uint8_t type = 0; type < 8; type++) {
        const uint8_t tag[] = {(uint8_t)(5u << 3 | type)};
        uint32_t field = 0;
        enum wire_type got = WIRE_VARINT;
        const uint8_t *after = wire_tag(tag, tag + 1, &field, &got);
        if (type == 3 || type == 4 || type >= 6) {
            assert_null(after);
        } else {
            assert_ptr_equal(after, tag + 1);
            assert_int_equal(field, 5);
            assert_int_equal(got, type);
        }
    }
}

static void len__more_than_is_left__null(void **state)
{
    (void)state;
    size_t len = 0;
    const uint8_t fits[] = {3, 1, 2, 3};
    assert_ptr_equal(wire_len(fits, fits + 4, &len), fits + 1);
    assert_int_equal(len, 3);
    assert_null(wire_len(fits, fits + 3, &len));
    const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    assert_null(wire_len(huge, huge + 10, &len));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(varint__every_width_and_cut__exact_or_null, guard_setup,
                                    guard_teardown),
    cmocka_unit_test(varint__longer_than_needed__accepted_up_to_ten_bytes),
    cmocka_unit_test(varint_exact__every_value_of_every_width__agrees_with_the_loop),
    cmocka_unit_test_setup_teardown(field_read__every_type_cut_at_every_byte__null, guard_setup,
                                    guard_teardown),
    cmocka_unit_test(tag__groups_and_unused_types__null),
    cmocka_unit_test(len__more_than_is_left__null),
};
TEST_MAIN(tests)
