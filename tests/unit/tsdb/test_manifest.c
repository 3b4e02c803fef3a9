#include "tests/support/test.h"

#include "base/crc32c.h"
#include "tsdb/recovery/manifest.h"

#include <stdio.h>
#include <string.h>

/* The bytes of docs/format/snapshot.md. */
static const char golden[] = "tidalite snapshot\n"
                             "format 1\n"
                             "created_ms 1700000000000\n"
                             "head 1\n"
                             "files 3\n"
                             "file 160 1badf00d VERSION\n"
                             "file 71 00c0ffee checkpoint/00000004\n"
                             "file 0 00000000 head/00000001\n"
                             "crc32c 70ed14f6\n";

static void manifest_print__known_files__golden_text_in_order(void **state)
{
    (void)state;
    struct manifest_file files[] = {{"head/00000001", 0, 0},
                                    {"VERSION", 160, 0x1badf00d},
                                    {"checkpoint/00000004", 71, 0x00c0ffee}};
    struct manifest m = {INT64_C(1700000000000), true, files, 3};
    struct manifest back = {0};
    struct tsdb_error err = {0};
    struct tsdb_buf buf;
    tsdb_buf_init(&buf, TSDB_MEM_OTHER, 0);
    manifest_print(&m, &buf);
    tsdb_buf_put_u8(&buf, 0);
    assert_string_equal((const char *)buf.data, golden);
    assert_ok_err(manifest_parse(buf.data, buf.len - 1, &back, &err), &err);
    assert_int_equal(back.created_ms, m.created_ms);
    assert_true(back.head);
    assert_int_equal(back.count, 3);
    assert_string_equal(back.files[1].path, "checkpoint/00000004");
    assert_int_equal(back.files[1].bytes, 71);
    assert_int_equal(back.files[1].crc, 0x00c0ffee);
    manifest_deinit(&back);
    tsdb_buf_deinit(&buf);
}

/* Every byte inverted, and every cut: never taken. */
static void manifest_parse__damaged__corrupt(void **state)
{
    (void)state;
    char text[sizeof golden];
    struct manifest m = {0};
    for (size_t i = 0; i < sizeof golden - 1; i++) {
        memcpy(text, golden, sizeof golden);
        text[i] = (char)(text[i] ^ 1);
        enum tsdb_status status = manifest_parse((uint8_t *)text, sizeof golden - 1, &m, NULL);
        assert_true(status == TSDB_CORRUPT || status == TSDB_UNSUPPORTED);
        assert_int_equal(manifest_parse((const uint8_t *)golden, i, &m, NULL), TSDB_CORRUPT);
    }
}

/* With a CRC that fits: what only somebody who means harm would write. */
static enum tsdb_status parse_with_crc(const char *body, struct tsdb_error *err)
{
    char text[2048];
    struct manifest m = {0};
    int n = snprintf(text, sizeof text, "%s", body);
    n += snprintf(text + n, sizeof text - (size_t)n, "crc32c %08x\n",
                  tsdb_crc32c(0, text, (size_t)n));
    enum tsdb_status status = manifest_parse((uint8_t *)text, (size_t)n, &m, err);
    manifest_deinit(&m);
    return status;
}

static void manifest_parse__paths_that_lead_elsewhere__corrupt(void **state)
{
    (void)state;
    static const char *const bad[] = {"/etc/passwd", "..",    "../x", "a/../b", "a//b", "a/",
                                      ".",           "a/./b", "",     "a b",    "a\\b", "\xc3\xa4"};
    struct tsdb_error err = {0};
    char body[512];
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        (void)snprintf(body, sizeof body,
                       "tidalite snapshot\nformat 1\ncreated_ms 0\nhead 0\nfiles 1\n"
                       "file 1 00000000 %s\n",
                       bad[i]);
        assert_int_equal(parse_with_crc(body, &err), TSDB_CORRUPT);
    }
    (void)snprintf(body, sizeof body,
                   "tidalite snapshot\nformat 1\ncreated_ms 0\nhead 0\nfiles 1\n"
                   "file 1 00000000 ...a/.b-_c\n");
    assert_ok_err(parse_with_crc(body, &err), &err);
}

static void manifest_parse__counts_order_versions__refused(void **state)
{
    (void)state;
    struct tsdb_error err = {0};
    static const char head[] = "tidalite snapshot\nformat 1\ncreated_ms 0\nhead 0\n";
    char body[512];
    (void)snprintf(body, sizeof body, "%sfiles 4000000000\nfile 1 00000000 a\n", head);
    assert_int_equal(parse_with_crc(body, &err), TSDB_CORRUPT); /* before it allocates */
    (void)snprintf(body, sizeof body, "%sfiles 2\nfile 1 00000000 b\nfile 1 00000000 a\n", head);
    assert_int_equal(parse_with_crc(body, &err), TSDB_CORRUPT);
    (void)snprintf(body, sizeof body, "%sfiles 2\nfile 1 00000000 a\nfile 1 00000000 a\n", head);
    assert_int_equal(parse_with_crc(body, &err), TSDB_CORRUPT);
    (void)snprintf(body, sizeof body, "%sfiles 1\nfile 01 00000000 a\n", head);
    assert_int_equal(parse_with_crc(body, &err), TSDB_CORRUPT);
    (void)snprintf(body, sizeof body, "%sfiles 1\nfile 1 0000000G a\n", head);
    assert_int_equal(parse_with_crc(body, &err), TSDB_CORRUPT);
    assert_int_equal(parse_with_crc("tidalite snapshot\nformat 2\nwhatever\n", &err),
                     TSDB_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "format 2"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(manifest_print__known_files__golden_text_in_order),
    cmocka_unit_test(manifest_parse__damaged__corrupt),
    cmocka_unit_test(manifest_parse__paths_that_lead_elsewhere__corrupt),
    cmocka_unit_test(manifest_parse__counts_order_versions__refused),
};

TEST_MAIN(tests)
