#include "tests/support/test.h"

#include "base/compiler.h"
#include "base/limits.h"
#include "model/exemplar.h"

#include <stdio.h>

static void expect(const struct tsdb_label *items, uint32_t count, const char *text)
{
    struct tsdb_exemplar e = {.labels = {items, count}};
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_exemplar_validate(&e, &err);
    if (!text) {
        assert_ok_err(status, &err);
        return;
    }
    assert_int_equal(status, TSDB_INVALID);
    if (!strstr(err.msg, text)) {
        fail_msg("'%s' is not in '%s'", text, err.msg);
    }
}

static void validate__lengths_around_the_limit__counted_in_characters(void **state)
{
    (void)state;
    char ascii[TSDB_EXEMPLAR_LABEL_CHARS_MAX + 1];
    memset(ascii, 'x', sizeof ascii);
    char wide[2 * TSDB_EXEMPLAR_LABEL_CHARS_MAX];
    for (size_t i = 0; i < sizeof wide; i += 2) {
        memcpy(wide + i, "\xc3\xa9", 2);
    }
    struct tsdb_label one = {"trace_id", ascii, 8, TSDB_EXEMPLAR_LABEL_CHARS_MAX - 8};
    expect(&one, 1, NULL);
    one.value_len++;
    expect(&one, 1, "label length for exemplar exceeds maximum of 128 UTF-8 characters");
    struct tsdb_label two = {"trace_id", wide, 8, 2 * (TSDB_EXEMPLAR_LABEL_CHARS_MAX - 8)};
    expect(&two, 1, NULL);
    two.value_len += 2;
    expect(&two, 1, "exceeds maximum of 128");
    expect(NULL, 0, NULL);
}

static void validate__bad_labels__invalid(void **state)
{
    (void)state;
    struct tsdb_label twice[] = {tsdb_label_make("b", "1"), tsdb_label_make("a", "2"),
                                 tsdb_label_make("b", "3")};
    expect(twice, 2, NULL); /* any order */
    expect(twice, 3, "not unique");
    struct tsdb_label nameless = tsdb_label_make("", "1");
    expect(&nameless, 1, "empty label name");
    struct tsdb_label bad = tsdb_label_make("a", "\xff");
    expect(&bad, 1, "label 0 is not valid UTF-8");
    struct tsdb_label empty_value = tsdb_label_make("a", "");
    expect(&empty_value, 1, NULL);
}

/* However many labels a sender gives, the work stays bounded by the limit on characters. */
static void validate__very_many_labels__refused_at_the_limit(void **state)
{
    (void)state;
    static struct tsdb_label many[100000];
    static char names[100000][8];
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(many); i++) {
        snprintf(names[i], sizeof names[i], "%u", i);
        many[i] = tsdb_label_make(names[i], "");
    }
    expect(many, TSDB_ARRAY_LEN(many), "exceeds maximum");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(validate__lengths_around_the_limit__counted_in_characters),
    cmocka_unit_test(validate__bad_labels__invalid),
    cmocka_unit_test(validate__very_many_labels__refused_at_the_limit),
};
TEST_MAIN(tests)
