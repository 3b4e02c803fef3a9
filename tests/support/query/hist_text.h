/* Histograms as Prometheus's test scripts write them, for tests:
 *   schema:1 count:3 sum:4 z_bucket:1 z_bucket_w:0.5 offset:-2 buckets:[1 0 2] n_offset:1 n_buckets:[3]
 *   custom_values:[5 10] counter_reset_hint:gauge
 * Fields that are left out are zero. */
#ifndef TESTS_SUPPORT_QUERY_HIST_TEXT_H
#define TESTS_SUPPORT_QUERY_HIST_TEXT_H

#include "tests/support/test.h"

#include "query/hist/hist.h"

#include <stdlib.h>
#include <string.h>

/* The value of `field`, or NULL. */
static inline const char *hist_text_field(const char *text, const char *field)
{
    size_t len = strlen(field);
    for (const char *p = text; p; p = strchr(p, ' ')) {
        p += *p == ' ';
        if (strncmp(p, field, len) == 0 && p[len] == ':') {
            return p + len + 1;
        }
    }
    return NULL;
}

static inline double hist_text_number(const char *text, const char *field)
{
    const char *p = hist_text_field(text, field);
    return p ? strtod(p, NULL) : 0;
}

static inline double *hist_text_list(const char *text, const char *field, struct tsdb_arena *arena,
                                     uint32_t *count)
{
    const char *p = hist_text_field(text, field);
    double *v = TSDB_ARENA_ARRAY(arena, double, strlen(text) + 1);
    assert_non_null(v);
    *count = 0;
    for (p = p ? p + 1 : "]"; *p != ']';) {
        char *end;
        v[(*count)++] = strtod(p, &end);
        assert_true(end > p);
        p = end + (*end == ' ');
    }
    return v;
}

static inline struct hist_side hist_text_side(const char *text, const char *buckets,
                                              const char *offset, struct tsdb_arena *arena)
{
    struct hist_side s = {0};
    struct tsdb_span *span = TSDB_ARENA_NEW(arena, struct tsdb_span);
    assert_non_null(span);
    s.counts = hist_text_list(text, buckets, arena, &s.bucket_count);
    *span = (struct tsdb_span){(int32_t)hist_text_number(text, offset), s.bucket_count};
    s.spans = span;
    s.span_count = s.bucket_count > 0;
    return s;
}

/* `text` ends at a NUL. The arrays are borrowed ones, in the arena. */
static inline struct hist hist_text_parse(const char *text, struct tsdb_arena *arena)
{
    static const char *const hints[] = {"unknown", "reset", "not_reset", "gauge"};
    struct hist h = {.schema = (int32_t)hist_text_number(text, "schema"),
                     .count = hist_text_number(text, "count"),
                     .sum = hist_text_number(text, "sum"),
                     .zero_count = hist_text_number(text, "z_bucket"),
                     .zero_threshold = hist_text_number(text, "z_bucket_w")};
    h.positive = hist_text_side(text, "buckets", "offset", arena);
    h.negative = hist_text_side(text, "n_buckets", "n_offset", arena);
    h.custom_values = hist_text_list(text, "custom_values", arena, &h.custom_count);
    const char *hint = hist_text_field(text, "counter_reset_hint");
    for (int i = 0; hint && i < 4; i++) {
        if (strncmp(hint, hints[i], strlen(hints[i])) == 0) {
            h.reset_hint = (enum tsdb_reset_hint)i;
        }
    }
    return h;
}

#endif
