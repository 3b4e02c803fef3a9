#include "tests/support/test.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static char captured[1 << 20];

static int capture_begin(int *out_saved)
{
    int fd = memfd_create("log", 0);
    assert_true(fd >= 0);
    *out_saved = dup(STDERR_FILENO);
    assert_true(*out_saved >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    return fd;
}

static void capture_end(int fd, int saved)
{
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    ssize_t n = pread(fd, captured, sizeof captured - 1, 0);
    close(saved);
    close(fd);
    assert_true(n >= 0);
    captured[n] = '\0';
}

/* The line without its time stamp, which is checked for its shape. */
static const char *after_ts(const char *prefix)
{
    assert_memory_equal(captured, prefix, strlen(prefix));
    const char *ts = captured + strlen(prefix);
    assert_true(ts[4] == '-' && ts[7] == '-' && ts[10] == 'T' && ts[13] == ':');
    const char *end = strchr(ts, 'Z');
    assert_non_null(end);
    assert_in_range(end - ts, 19, 23);
    return end + 1;
}

static void log__logfmt__one_line_with_quotes_where_needed(void **state)
{
    (void)state;
    int saved;
    tsdb_log_configure(TSDB_LOG_INFO, TSDB_LOG_LOGFMT);
    int fd = capture_begin(&saved);
    tsdb_log(TSDB_LOG_WARN, "wal", "segment \"x\" poisoned", TSDB_U("segment", UINT64_MAX),
             TSDB_I("delta", -5), TSDB_F("ratio", 0.25), TSDB_S("err", "a\nb=c\\"),
             TSDB_S("plain", "a/b:c"), TSDB_S("empty", ""), TSDB_S("null", NULL));
    capture_end(fd, saved);
    assert_string_equal(
        after_ts("ts="),
        " level=warn component=wal msg=\"segment \\\"x\\\" poisoned\" segment=18446744073709551615"
        " delta=-5 ratio=0.25 err=\"a\\nb=c\\\\\" plain=a/b:c empty=\"\" null=\"\"\n");
}

static void log__json__escapes_and_quotes_non_numbers(void **state)
{
    (void)state;
    int saved;
    tsdb_log_configure(TSDB_LOG_INFO, TSDB_LOG_JSON);
    int fd = capture_begin(&saved);
    tsdb_log(TSDB_LOG_ERROR, "http", "caf\xc3\xa9 \x01\t", TSDB_S("bad", "x\xff\xe2\x82y"),
             TSDB_F("big", 1e300), TSDB_F("nan", __builtin_nan("")),
             TSDB_F("inf", -__builtin_inf()), TSDB_I("n", 3));
    capture_end(fd, saved);
    assert_string_equal(after_ts("{\"ts\":\""),
                        "\",\"level\":\"error\",\"component\":\"http\",\"msg\":\"caf\xc3\xa9 "
                        "\\u0001\\t\",\"bad\":\"x\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdy\","
                        "\"big\":1e+300,\"nan\":\"NaN\",\"inf\":\"-Inf\",\"n\":3}\n");
}

static void log__below_the_level__evaluates_and_prints_nothing(void **state)
{
    (void)state;
    int saved;
    int evaluated = 0;
    tsdb_log_configure(TSDB_LOG_WARN, TSDB_LOG_LOGFMT);
    int fd = capture_begin(&saved);
    tsdb_log(TSDB_LOG_INFO, "x", "quiet", TSDB_I("n", ++evaluated));
    errno = 77;
    tsdb_log(TSDB_LOG_WARN, "x", "loud");
    int errno_after = errno;
    capture_end(fd, saved);
    assert_int_equal(evaluated, 0);
    assert_int_equal(errno_after, 77);
    assert_string_equal(after_ts("ts="), " level=warn component=x msg=loud\n");
    assert_false(tsdb_log_enabled(TSDB_LOG_INFO));
    assert_true(tsdb_log_enabled(TSDB_LOG_ERROR));
}

/* However long and whatever the bytes: one line, bounded, whole fields, closed. */
static void log__too_long__is_cut_at_a_field_and_says_so(void **state)
{
    (void)state;
    static const char *const fillers[] = {"a", "\x01", "\xe2\x82\xac", "\xff", "\""};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(fillers); i++) {
        for (int format = 0; format <= 1; format++) {
            char big[3001];
            size_t width = strlen(fillers[i]);
            for (size_t k = 0; k + width < sizeof big; k += width) {
                memcpy(big + k, fillers[i], width + 1);
            }
            int saved;
            tsdb_log_configure(TSDB_LOG_INFO, (enum tsdb_log_format)format);
            int fd = capture_begin(&saved);
            tsdb_log(TSDB_LOG_INFO, "c", big, TSDB_S("a", big), TSDB_S("b", big), TSDB_S("d", big),
                     TSDB_S("e", big));
            capture_end(fd, saved);
            size_t len = strlen(captured);
            assert_in_range(len, 100, 4096);
            assert_int_equal(strcspn(captured, "\n"), len - 1);
            assert_true(tsdb_utf8_valid(captured, len));
            const char *mark =
                format == TSDB_LOG_JSON ? ",\"truncated\":true}\n" : " truncated=true\n";
            assert_string_equal(captured + len - strlen(mark), mark);
            /* The byte before the mark ends a field: a closing quote, or the level or component. */
            char before = captured[len - strlen(mark) - 1];
            assert_true(before == '"' || before == 'c');
        }
    }
}

static void *log_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 200; i++) {
        tsdb_log(TSDB_LOG_INFO, "thread", "a line of some length", TSDB_I("i", i),
                 TSDB_S("pad", "0123456789012345678901234567890123456789"));
    }
    return NULL;
}

static void log__four_threads__lines_stay_whole(void **state)
{
    (void)state;
    pthread_t threads[4];
    int saved;
    tsdb_log_configure(TSDB_LOG_INFO, TSDB_LOG_LOGFMT);
    int fd = capture_begin(&saved);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, NULL), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    capture_end(fd, saved);
    size_t lines = 0;
    for (char *line = captured; *line != '\0'; lines++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        assert_memory_equal(line, "ts=", 3);
        assert_memory_equal(end - 5, "56789", 5);
        line = end + 1;
    }
    assert_int_equal(lines, 800);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(log__logfmt__one_line_with_quotes_where_needed),
    cmocka_unit_test(log__json__escapes_and_quotes_non_numbers),
    cmocka_unit_test(log__below_the_level__evaluates_and_prints_nothing),
    cmocka_unit_test(log__too_long__is_cut_at_a_field_and_says_so),
    cmocka_unit_test(log__four_threads__lines_stay_whole),
};
TEST_MAIN(tests)
