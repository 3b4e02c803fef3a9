#include "server/api/args.h"

#include "base/format.h"
#include "query/lang/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define QUOTE_BYTES_MAX 160 /* of a bad value, in an error text */

/* What Prometheus prints its least and greatest time as; clients send them back. */
static const char time_min_text[] = "-292273086-05-16T16:47:06Z";
static const char time_max_text[] = "292277025-08-18T07:12:54.999999999Z";

static bool text_is(struct tsdb_slice s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static int64_t clamp_time(int64_t ms)
{
    return TSDB_MIN(TSDB_MAX(ms, API_TIME_MIN_MS), API_TIME_MAX_MS);
}

bool api_time_parse(struct tsdb_slice text, int64_t *out_ms)
{
    const char *s = (const char *)text.data;
    double seconds = 0;
    int64_t ms = 0;
    if (text.len == 0) {
        return false;
    }
    if (tsdb_parse_float(s, text.len, &seconds)) {
        if (isnan(seconds)) {
            *out_ms = API_TIME_MIN_MS; /* what Go makes of it */
            return true;
        }
        /* Whole seconds and fraction apart: seconds * 1000 would round the fraction twice. */
        double whole = trunc(seconds);
        if (fabs(whole) >= (double)API_TIME_MAX_MS / 1000) {
            *out_ms = seconds < 0 ? API_TIME_MIN_MS : API_TIME_MAX_MS;
            return true;
        }
        *out_ms = (int64_t)whole * 1000 + (int64_t)round((seconds - whole) * 1000);
        return true;
    }
    if (tsdb_parse_rfc3339_ms(s, text.len, &ms)) {
        *out_ms = clamp_time(ms);
        return true;
    }
    if (text_is(text, time_min_text) || text_is(text, time_max_text)) {
        *out_ms = text.data[0] == '-' ? API_TIME_MIN_MS : API_TIME_MAX_MS;
        return true;
    }
    return false;
}

int api_duration_parse(struct tsdb_slice text, int64_t *out_ms)
{
    const char *s = (const char *)text.data;
    double seconds = 0;
    if (text.len == 0) {
        return 0;
    }
    if (tsdb_parse_float(s, text.len, &seconds)) {
        /* Prometheus keeps nanoseconds in an int64; what is just too much, and NaN, turn negative. */
        const double ns = seconds * 1e9;
        if (fabs(ns) > 0x1p63) {
            return -1;
        }
        int64_t whole_ns = ns < 0x1p63 ? (int64_t)ns : INT64_MIN;
        *out_ms = whole_ns / 1000000;
        return 1;
    }
    return tsdb_parse_duration_ms(s, text.len, out_ms) ? 1 : 0;
}

void api_quote(struct tsdb_slice text, char *out, size_t cap)
{
    size_t n = 0;
    out[n++] = '"';
    size_t i = 0;
    for (; i < text.len && i < QUOTE_BYTES_MAX && n + 12 < cap; i++) {
        uint8_t b = text.data[i];
        if (b == '"' || b == '\\') {
            out[n++] = '\\';
            out[n++] = (char)b;
        } else if (b == '\n' || b == '\t' || b == '\r') {
            out[n++] = '\\';
            out[n++] = b == '\n' ? 'n' : b == '\t' ? 't' : 'r';
        } else if (b < 0x20 || b == 0x7f) {
            n += (size_t)snprintf(out + n, cap - n, "\\x%02x", (unsigned)b);
        } else {
            out[n++] = (char)b;
        }
    }
    (void)snprintf(out + n, cap - n, i < text.len ? "...\"" : "\"");
}

/* The text as Go's %q prints it, all of it; in the call's arena. */
static const char *quoted_whole(struct call *c, struct tsdb_slice text)
{
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    query_quote(&b, (const char *)text.data, text.len, 0);
    const char *copy = b.failed ? NULL : tsdb_arena_strndup(&c->arena, (const char *)b.data, b.len);
    tsdb_buf_deinit(&b);
    return copy ? copy : "\"...\"";
}

/* Digits behind a sign. */
static bool is_integer(struct tsdb_slice v)
{
    size_t sign = v.len > 0 && (v.data[0] == '+' || v.data[0] == '-');
    bool digits = v.len > sign;
    for (size_t i = sign; i < v.len; i++) {
        digits = digits && v.data[i] >= '0' && v.data[i] <= '9';
    }
    return digits;
}

bool api_arg_time(struct call *c, const char *name, bool required, int64_t *out_ms)
{
    struct tsdb_slice v = params_get(&c->params, name);
    if ((v.len == 0 && !required) || api_time_parse(v, out_ms)) {
        return true;
    }
    const char *quoted = quoted_whole(c, v);
    if (required) {
        call_error(c, ENVELOPE_BAD_DATA,
                   "invalid parameter \"%s\": cannot parse %s to a valid timestamp", name, quoted);
    } else {
        call_error(c, ENVELOPE_BAD_DATA,
                   "invalid parameter \"%s\": invalid time value for '%s': cannot parse %s to a "
                   "valid timestamp",
                   name, name, quoted);
    }
    return false;
}

bool api_arg_duration(struct call *c, const char *name, bool required, int64_t *out_ms)
{
    struct tsdb_slice v = params_get(&c->params, name);
    if (v.len == 0 && !required) {
        return true;
    }
    int rc = api_duration_parse(v, out_ms);
    if (rc > 0) {
        return true;
    }
    const char *quoted = quoted_whole(c, v);
    call_error(c, ENVELOPE_BAD_DATA,
               "invalid parameter \"%s\": cannot parse %s to a valid duration%s", name, quoted,
               rc < 0 ? ". It overflows int64" : "");
    return false;
}

bool api_bool_parse(struct tsdb_slice text, bool *out)
{
    static const char *const words[2][6] = {{"0", "f", "F", "false", "FALSE", "False"},
                                            {"1", "t", "T", "true", "TRUE", "True"}};
    for (int b = 0; b < 2; b++) {
        for (size_t i = 0; i < TSDB_ARRAY_LEN(words[b]); i++) {
            size_t len = strlen(words[b][i]);
            if (text.len == len && memcmp(text.data, words[b][i], len) == 0) {
                *out = b != 0;
                return true;
            }
        }
    }
    return false;
}

bool api_arg_limit(struct call *c, uint32_t *out)
{
    struct tsdb_slice v = params_get(&c->params, "limit");
    int64_t n = 0;
    *out = 0;
    if (v.len == 0) {
        return true;
    }
    if (!tsdb_parse_i64((const char *)v.data, v.len, &n)) {
        call_error(c, ENVELOPE_BAD_DATA,
                   "invalid parameter \"limit\": strconv.Atoi: parsing %s: %s", quoted_whole(c, v),
                   is_integer(v) ? "value out of range" : "invalid syntax");
        return false;
    }
    if (n < 0) {
        call_error(c, ENVELOPE_BAD_DATA, "invalid parameter \"limit\": limit must be non-negative");
        return false;
    }
    *out = n > UINT32_MAX ? 0 : (uint32_t)n; /* more than there can be series is no limit */
    return true;
}

bool api_arg_int(struct call *c, const char *name, int64_t *out)
{
    struct tsdb_slice v = params_get(&c->params, name);
    return v.len == 0 || tsdb_parse_i64((const char *)v.data, v.len, out);
}

bool api_arg_range(struct call *c, struct tsdb_time_range *out)
{
    *out = TSDB_TIME_ALL;
    return api_arg_time(c, "start", false, &out->min_ms) &&
           api_arg_time(c, "end", false, &out->max_ms);
}

static bool arg_selectors(struct call *c, bool wrap, bool empty_too, struct tsdb_selector **out,
                          uint32_t *out_count)
{
    const char *prefix = wrap ? "invalid parameter \"match[]\": " : "";
    uint32_t count = 0;
    uint32_t pos = 0;
    struct tsdb_slice v;
    while (params_next(&c->params, "match[]", &pos, &v)) {
        count++;
    }
    struct tsdb_selector *list =
        TSDB_ARENA_ARRAY(&c->arena, struct tsdb_selector, TSDB_MAX(count, 1u));
    if (!list) {
        call_fail(c, tsdb_arena_status(&c->arena), NULL);
        return false;
    }
    pos = 0;
    for (uint32_t i = 0; params_next(&c->params, "match[]", &pos, &v); i++) {
        struct tsdb_error err = {0};
        bool non_empty = false;
        enum tsdb_status status = query_parse_selector((const char *)v.data, v.len, &c->arena,
                                                       &list[i], &non_empty, &err);
        if (status == TSDB_OK && !non_empty && !empty_too) {
            status = tsdb_error_set(&err, TSDB_INVALID,
                                    "match[] must contain at least one non-empty matcher");
        }
        if (status != TSDB_OK) {
            call_malformed(c, status, prefix, &err);
            return false;
        }
    }
    *out = list;
    *out_count = count;
    return true;
}

bool api_arg_matchers(struct call *c, bool wrap, struct tsdb_selector **out, uint32_t *out_count)
{
    return arg_selectors(c, wrap, false, out, out_count);
}

bool api_arg_selectors(struct call *c, bool wrap, struct tsdb_selector **out, uint32_t *out_count)
{
    return arg_selectors(c, wrap, true, out, out_count);
}
