/* Arithmetic of histograms against the expectations of Prometheus 3.14's own test scripts. */
#include "tests/support/test.h"

#include "query/hist/hist.h"

#include "tests/support/query/hist_text.h"
#include "tests/unit/query/hist_cases.h"

#include <math.h>

/* What the scripts themselves allow: many of their numbers were written by hand. */
#define RELATIVE_ERROR_MAX 1e-6
/* So many answers are the same to the last bit; the others are rounded in the scripts. */
#define EXACT_MIN 361

static struct tsdb_arena arena;
static bool exact; /* no number has differed at all */

static bool close_to(double got, double want)
{
    exact = exact && (got == want || isnan(want));
    if (isnan(want) || isinf(want) || want == 0) {
        return isnan(want) ? isnan(got) : got == want || (want == 0 && fabs(got) < 1e-12);
    }
    return fabs(got - want) <= RELATIVE_ERROR_MAX * fabs(want);
}

static bool side_close_to(const struct hist_side *got, const struct hist_side *want)
{
    if (got->bucket_count != want->bucket_count || got->span_count != want->span_count) {
        return false;
    }
    for (uint32_t i = 0; i < got->span_count; i++) {
        if (got->spans[i].offset != want->spans[i].offset ||
            got->spans[i].length != want->spans[i].length) {
            return false;
        }
    }
    for (uint32_t i = 0; i < got->bucket_count; i++) {
        if (!close_to(got->counts[i], want->counts[i])) {
            return false;
        }
    }
    return true;
}

static bool hist_close_to(struct hist *got, struct hist *want)
{
    assert_ok(hist_compact(got, &arena));
    assert_ok(hist_compact(want, &arena));
    bool same_custom = got->custom_count == want->custom_count;
    for (uint32_t i = 0; same_custom && i < got->custom_count; i++) {
        same_custom = got->custom_values[i] == want->custom_values[i];
    }
    return same_custom && got->schema == want->schema && close_to(got->count, want->count) &&
           close_to(got->sum, want->sum) && close_to(got->zero_count, want->zero_count) &&
           got->zero_threshold == want->zero_threshold &&
           side_close_to(&got->positive, &want->positive) &&
           side_close_to(&got->negative, &want->negative);
}

/* The number that the case asks for; false if it asks for a histogram. */
static bool number_of(const struct hist_case *c, struct hist *h, double *out)
{
    bool is_nan;
    enum hist_nan_note note;
    if (strcmp(c->what, "quantile") == 0) {
        *out = hist_quantile(c->args[0], h, &note);
    } else if (strcmp(c->what, "fraction") == 0) {
        *out = hist_fraction(c->args[0], c->args[1], h, &is_nan);
    } else if (strcmp(c->what, "stddev") == 0) {
        *out = hist_stddev(h);
    } else if (strcmp(c->what, "stdvar") == 0) {
        *out = hist_stdvar(h);
    } else if (strcmp(c->what, "trim_upper_count") == 0) {
        assert_ok(hist_trim(h, c->args[0], true, &arena));
        *out = h->count;
    } else if (strcmp(c->what, "trim_lower_count") == 0) {
        assert_ok(hist_trim(h, c->args[0], false, &arena));
        *out = h->count;
    } else if (strcmp(c->what, "trim_lower_sum") == 0) {
        assert_ok(hist_trim(h, c->args[0], false, &arena));
        *out = h->sum;
    } else {
        return false;
    }
    return true;
}

static struct hist histogram_of(const struct hist_case *c, struct hist *in, uint32_t count)
{
    struct hist h = in[0];
    if (strcmp(c->what, "trim_upper") == 0) {
        assert_ok(hist_trim(&h, c->args[0], true, &arena));
    } else if (strcmp(c->what, "trim_lower") == 0) {
        assert_ok(hist_trim(&h, c->args[0], false, &arena));
    } else if (strcmp(c->what, "mul") == 0) {
        assert_ok(hist_mul(&h, c->args[0], &arena));
    } else if (strcmp(c->what, "div") == 0) {
        assert_ok(hist_div(&h, c->args[0], &arena));
    } else if (strcmp(c->what, "sub") == 0) {
        assert_int_equal(count, 2);
        assert_ok(hist_sub(&h, &in[1], &arena, NULL));
    } else if (strcmp(c->what, "sum") == 0) {
        for (uint32_t i = 1; i < count; i++) {
            assert_ok(hist_add_compensated(&h, &in[i], &arena, NULL));
        }
        hist_settle(&h);
    } else if (strcmp(c->what, "avg") == 0) {
        struct hist_mean m = {0};
        for (uint32_t i = 0; i < count; i++) {
            assert_ok(hist_mean_add(&m, &in[i], &arena, NULL));
        }
        assert_ok(hist_mean_finish(&m, &arena));
        h = m.h;
    } else {
        fail_msg("%s: unknown: %s", c->where, c->what);
    }
    return h;
}

static void hist__scripts_of_prometheus__same_answers(void **state)
{
    (void)state;
    uint32_t exact_count = 0;
    for (size_t i = 0; i < sizeof hist_cases / sizeof hist_cases[0]; i++) {
        const struct hist_case *c = &hist_cases[i];
        struct hist in[HIST_CASE_INPUTS_MAX];
        uint32_t count = 0;
        exact = true;
        tsdb_arena_init(&arena, TSDB_MEM_QUERY, 65536, NULL);
        for (; count < HIST_CASE_INPUTS_MAX && c->inputs[count]; count++) {
            in[count] = hist_text_parse(c->inputs[count], &arena);
        }
        double got;
        if (number_of(c, &in[0], &got)) {
            double want = strtod(c->want, NULL);
            if (!close_to(got, want)) {
                fail_msg("%s: %s of {%s}: %.17g, expected %.17g", c->where, c->what, c->inputs[0],
                         got, want);
            }
        } else {
            struct hist h = histogram_of(c, in, count);
            struct hist want = hist_text_parse(c->want, &arena);
            if (!hist_close_to(&h, &want)) {
                fail_msg("%s: %s of {%s}: count %.17g sum %.17g, expected {%s}", c->where, c->what,
                         c->inputs[0], h.count, h.sum, c->want);
            }
        }
        exact_count += exact;
        tsdb_arena_deinit(&arena);
    }
    assert_true(exact_count >= EXACT_MIN);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(hist__scripts_of_prometheus__same_answers),
};
TEST_MAIN(tests)
