#include "tests/support/test.h"

#include "base/arena.h"
#include "base/assert.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void status_name__every_status__distinct_lower_case(void **state)
{
    (void)state;
    for (int i = 0; i < TSDB_STATUS_COUNT; i++) {
        const char *name = tsdb_status_name((enum tsdb_status)i);
        assert_non_null(name);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        assert_string_not_equal(name, "unknown");
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(name, tsdb_status_name((enum tsdb_status)j));
        }
    }
    assert_string_equal(tsdb_status_name(TSDB_NOMEM), "no_memory");
    assert_string_equal(tsdb_status_name(TSDB_STATUS_COUNT), "unknown");
}

static void error_set__format__fills_and_returns_the_status(void **state)
{
    (void)state;
    struct tsdb_error err = {.sys_errno = 7, .pos = 9};
    assert_int_equal(tsdb_error_set(&err, TSDB_CORRUPT, "wal %06d: crc %x", 12, 0x1a2b),
                     TSDB_CORRUPT);
    assert_int_equal(err.status, TSDB_CORRUPT);
    assert_int_equal(err.sys_errno, 0);
    assert_int_equal(err.pos, 0);
    assert_string_equal(err.msg, "wal 000012: crc 1a2b");
    assert_int_equal(tsdb_error_set_at(&err, TSDB_INVALID, 40, "bad"), TSDB_INVALID);
    assert_int_equal(err.pos, 40);
}

static void error_is_no_space__full_disk_or_quota__true(void **state)
{
    (void)state;
    static const int full[] = {ENOSPC, EDQUOT};
    struct tsdb_error err;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(full); i++) {
        (void)tsdb_error_set_errno(&err, full[i], "write x");
        (void)tsdb_error_prefix(&err, TSDB_IO, "log");
        assert_true(tsdb_error_is_no_space(&err));
    }
    (void)tsdb_error_set_errno(&err, EIO, "write x");
    assert_false(tsdb_error_is_no_space(&err));
    (void)tsdb_error_set(&err, TSDB_BUSY, "No space left on device");
    assert_false(tsdb_error_is_no_space(&err));
}

static void error_set__null_error__returns_the_status(void **state)
{
    (void)state;
    assert_int_equal(tsdb_error_set(NULL, TSDB_BUSY, "x"), TSDB_BUSY);
    assert_int_equal(tsdb_error_set_at(NULL, TSDB_BUSY, 1, "x"), TSDB_BUSY);
    assert_int_equal(tsdb_error_set_errno(NULL, EIO, "x"), TSDB_IO);
    assert_int_equal(tsdb_error_prefix(NULL, TSDB_LIMIT, "x"), TSDB_LIMIT);
    tsdb_error_clear(NULL);
}

static void error_set__own_message_as_argument__is_kept(void **state)
{
    (void)state;
    struct tsdb_error err;
    assert_int_equal(tsdb_error_set(&err, TSDB_INVALID, "inner"), TSDB_INVALID);
    assert_int_equal(tsdb_error_set(&err, TSDB_INVALID, "outer (%s)", err.msg), TSDB_INVALID);
    assert_string_equal(err.msg, "outer (inner)");
}

/* 238 bytes, then a character of 2, 3 or 4 bytes across the end of the 239 that fit. */
static void error_set__too_long__is_cut_between_characters(void **state)
{
    (void)state;
    static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8c\x8a"};
    for (size_t c = 0; c < 3; c++) {
        size_t width = strlen(characters[c]);
        size_t room = sizeof((struct tsdb_error *)0)->msg;
        for (size_t pad = room - 10; pad < room; pad++) {
            char text[sizeof((struct tsdb_error *)0)->msg + 160];
            memset(text, 'a', pad);
            for (size_t at = pad; at + width < sizeof text - 8; at += width) {
                memcpy(text + at, characters[c], width + 1);
            }
            struct tsdb_error err;
            assert_int_equal(tsdb_error_set(&err, TSDB_INVALID, "%s", text), TSDB_INVALID);
            size_t len = strlen(err.msg);
            assert_true(len < sizeof err.msg);
            assert_true(len + width > sizeof err.msg - 1);
            assert_true(tsdb_utf8_valid(err.msg, len));
            assert_memory_equal(err.msg, text, len);
        }
    }
}

static void error_set__line_break_in_a_name__becomes_a_space(void **state)
{
    (void)state;
    struct tsdb_error err;
    assert_int_equal(tsdb_error_set(&err, TSDB_INVALID, "label \"%s\"", "a\nb\x1b"), TSDB_INVALID);
    assert_string_equal(err.msg, "label \"a b \"");
}

static void error_set_errno__kinds__map_to_statuses(void **state)
{
    (void)state;
    struct tsdb_error err;
    assert_int_equal(tsdb_error_set_errno(&err, ENOSPC, "write %s", "seg"), TSDB_IO);
    assert_int_equal(err.sys_errno, ENOSPC);
    assert_string_equal(err.msg, "write seg: No space left on device");
    assert_int_equal(tsdb_error_set_errno(&err, ENOENT, "open"), TSDB_NOT_FOUND);
    assert_int_equal(err.sys_errno, 0);
    assert_int_equal(tsdb_error_set_errno(&err, ENOMEM, "mmap"), TSDB_NOMEM);
}

static void error_prefix__twice__puts_contexts_in_front(void **state)
{
    (void)state;
    struct tsdb_error err;
    assert_int_equal(tsdb_error_set_at(&err, TSDB_CORRUPT, 5, "crc"), TSDB_CORRUPT);
    assert_int_equal(tsdb_error_prefix(&err, TSDB_CORRUPT, "record %d", 3), TSDB_CORRUPT);
    assert_int_equal(tsdb_error_prefix(&err, TSDB_IO, "segment %d", 1), TSDB_CORRUPT);
    assert_string_equal(err.msg, "segment 1: record 3: crc");
    assert_int_equal(err.pos, 5);
    tsdb_error_clear(&err);
    assert_int_equal(err.status, TSDB_OK);
    assert_string_equal(err.msg, "");
}

static void assert__false_condition__aborts_also_in_release(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        (void)signal(SIGABRT, SIG_DFL);
        TSDB_ASSERT(child != 0);
        _exit(0);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how) ? WTERMSIG(how) == SIGABRT : WEXITSTATUS(how) != 0);
}

static void error_set_whole__any_length__is_kept(void **state)
{
    (void)state;
    struct tsdb_arena arena;
    struct tsdb_error err;
    char name[5001];
    memset(&err, 0xa5, sizeof err); /* errors need not be initialised */
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 64, NULL);
    assert_int_equal(tsdb_error_set_whole(&err, &arena, TSDB_INVALID, 7, "<%s>", name),
                     TSDB_INVALID);
    assert_int_equal(err.pos, 7);
    assert_int_equal(err.sys_errno, 0);
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
    assert_int_equal(strlen(tsdb_error_text(&err)), 5002);
    assert_int_equal(tsdb_error_text(&err)[5001], '>');
    /* what msg holds is there only once */
    assert_int_equal(tsdb_error_set_whole(&err, &arena, TSDB_INVALID, 0, "short"), TSDB_INVALID);
    assert_ptr_equal(tsdb_error_text(&err), err.msg);
    /* msg is one line, the whole text as many as there were */
    assert_int_equal(tsdb_error_set_whole(&err, &arena, TSDB_INVALID, 0, "a\nb"), TSDB_INVALID);
    assert_string_equal(err.msg, "a b");
    assert_string_equal(tsdb_error_text(&err), "a\nb");
    /* an error without one forgets it */
    assert_int_equal(tsdb_error_set(&err, TSDB_INVALID, "other"), TSDB_INVALID);
    assert_string_equal(tsdb_error_text(&err), "other");
    assert_int_equal(tsdb_error_set_whole(NULL, &arena, TSDB_LIMIT, 0, "x"), TSDB_LIMIT);
    tsdb_arena_deinit(&arena);
}

static void error_set_whole__no_room__is_cut(void **state)
{
    (void)state;
    struct tsdb_account account;
    struct tsdb_arena arena;
    struct tsdb_error err;
    char name[5001];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    tsdb_account_init(&account, 16, NULL);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 64, &account);
    assert_int_equal(tsdb_error_set_whole(&err, &arena, TSDB_INVALID, 0, "%s", name), TSDB_INVALID);
    assert_int_equal(strlen(tsdb_error_text(&err)), sizeof err.msg - 1);
    assert_int_equal(tsdb_error_set_whole(&err, NULL, TSDB_INVALID, 0, "%s", name), TSDB_INVALID);
    assert_int_equal(strlen(tsdb_error_text(&err)), sizeof err.msg - 1);
    tsdb_arena_deinit(&arena);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(error_set_whole__any_length__is_kept),
    cmocka_unit_test(error_set_whole__no_room__is_cut),
    cmocka_unit_test(status_name__every_status__distinct_lower_case),
    cmocka_unit_test(error_set__format__fills_and_returns_the_status),
    cmocka_unit_test(error_is_no_space__full_disk_or_quota__true),
    cmocka_unit_test(error_set__null_error__returns_the_status),
    cmocka_unit_test(error_set__own_message_as_argument__is_kept),
    cmocka_unit_test(error_set__too_long__is_cut_between_characters),
    cmocka_unit_test(error_set__line_break_in_a_name__becomes_a_space),
    cmocka_unit_test(error_set_errno__kinds__map_to_statuses),
    cmocka_unit_test(error_prefix__twice__puts_contexts_in_front),
    cmocka_unit_test(assert__false_condition__aborts_also_in_release),
};
TEST_MAIN(tests)
