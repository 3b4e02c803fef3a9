#include "server/api/params.h"

#include "server/api/multipart.h"

#include <string.h>

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum tsdb_status no_memory(const struct tsdb_arena *arena, struct tsdb_error *err)
{
    return tsdb_error_set(err, tsdb_arena_status(arena), "out of memory for request parameters");
}

/* Decode src into dst (room for as many bytes); returns the length, or SIZE_MAX at a bad escape,
 * whose offset is then in *out_bad. */
static size_t percent_decode(struct tsdb_slice src, uint8_t *dst, bool plus_is_space,
                             size_t *out_bad)
{
    size_t n = 0;
    for (size_t i = 0; i < src.len; i++) {
        uint8_t c = src.data[i];
        if (c == '%') {
            int hi = i + 1 < src.len ? hex_digit(src.data[i + 1]) : -1;
            int lo = i + 2 < src.len ? hex_digit(src.data[i + 2]) : -1;
            if (hi < 0 || lo < 0) {
                *out_bad = i;
                return SIZE_MAX;
            }
            c = (uint8_t)(hi << 4 | lo);
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        dst[n++] = c;
    }
    return n;
}

static enum tsdb_status decode(struct tsdb_slice src, bool plus_is_space, struct tsdb_arena *arena,
                               struct tsdb_slice *out, struct tsdb_error *err)
{
    uint8_t *dst = tsdb_arena_alloc(arena, src.len + 1, 1);
    if (!dst) {
        return no_memory(arena, err);
    }
    size_t bad = 0;
    size_t n = percent_decode(src, dst, plus_is_space, &bad);
    if (n == SIZE_MAX) {
        size_t left = src.len - bad;
        return tsdb_error_set(err, TSDB_INVALID, "invalid URL escape \"%.*s\"",
                              (int)TSDB_MIN(left, (size_t)3), (const char *)src.data + bad);
    }
    dst[n] = '\0'; /* a convenience for texts; values may hold NULs */
    *out = (struct tsdb_slice){dst, n};
    return TSDB_OK;
}

static uint32_t count_pairs(struct tsdb_slice s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        n += i == 0 || s.data[i - 1] == '&';
    }
    return n;
}

/* The bytes up to `stop` or the end; *rest is what follows it. */
static struct tsdb_slice cut(struct tsdb_slice s, char stop, struct tsdb_slice *rest)
{
    const uint8_t *at = s.len ? memchr(s.data, stop, s.len) : NULL;
    if (!at) {
        *rest = (struct tsdb_slice){NULL, 0};
        return s;
    }
    size_t n = (size_t)(at - s.data);
    *rest = (struct tsdb_slice){at + 1, s.len - n - 1};
    return (struct tsdb_slice){s.data, n};
}

static enum tsdb_status parse_one(struct tsdb_slice s, struct param *items, uint32_t *count,
                                  struct tsdb_arena *arena, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    while (s.len > 0 && status == TSDB_OK) {
        struct tsdb_slice value;
        struct tsdb_slice pair = cut(s, '&', &s);
        struct tsdb_slice name = cut(pair, '=', &value);
        if (pair.len == 0) {
            continue;
        }
        struct param *p = &items[*count];
        status = decode(name, true, arena, &p->name, err);
        if (status == TSDB_OK) {
            status = decode(value, true, arena, &p->value, err);
        }
        *count += status == TSDB_OK;
    }
    return status;
}

enum tsdb_status params_parse(struct params *out, struct tsdb_arena *arena, struct tsdb_slice body,
                              const char *boundary, struct tsdb_slice query, struct tsdb_error *err)
{
    if (body.len > PARAMS_FORM_BYTES_MAX || query.len > PARAMS_FORM_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "request parameters are larger than %u bytes",
                              PARAMS_FORM_BYTES_MAX);
    }
    uint32_t pairs =
        (boundary[0] ? multipart_count(body, boundary) : count_pairs(body)) + count_pairs(query);
    if (pairs > PARAMS_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "%u request parameters, at most %u are taken", pairs,
                              PARAMS_MAX);
    }
    struct param *items = TSDB_ARENA_ARRAY(arena, struct param, TSDB_MAX(pairs, 1u));
    if (!items) {
        return no_memory(arena, err);
    }
    uint32_t count = 0;
    enum tsdb_status status = boundary[0]
                                  ? multipart_parse(body, boundary, arena, items, &count, err)
                                  : parse_one(body, items, &count, arena, err);
    if (status == TSDB_OK) {
        status = parse_one(query, items, &count, arena, err);
    }
    if (status == TSDB_OK) {
        *out = (struct params){items, count};
    }
    return status;
}

bool params_next(const struct params *p, const char *name, uint32_t *pos, struct tsdb_slice *out)
{
    size_t len = strlen(name);
    for (uint32_t i = *pos; i < p->count; i++) {
        const struct param *it = &p->items[i];
        if (it->name.len == len && memcmp(it->name.data, name, len) == 0) {
            *out = it->value;
            *pos = i + 1;
            return true;
        }
    }
    *pos = p->count;
    return false;
}

struct tsdb_slice params_get(const struct params *p, const char *name)
{
    uint32_t pos = 0;
    struct tsdb_slice value = {NULL, 0};
    (void)params_next(p, name, &pos, &value);
    return value;
}

enum tsdb_status params_decode_segment(struct tsdb_slice segment, struct tsdb_arena *arena,
                                       struct tsdb_slice *out, struct tsdb_error *err)
{
    return decode(segment, false, arena, out, err);
}

static size_t put_utf8(uint8_t *dst, uint32_t cp)
{
    if (cp < 0x80) {
        dst[0] = (uint8_t)cp;
        return 1;
    }
    if (cp < 0x800) {
        dst[0] = (uint8_t)(0xc0 | cp >> 6);
        dst[1] = (uint8_t)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        dst[0] = (uint8_t)(0xe0 | cp >> 12);
        dst[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
        dst[2] = (uint8_t)(0x80 | (cp & 0x3f));
        return 3;
    }
    dst[0] = (uint8_t)(0xf0 | cp >> 18);
    dst[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
    dst[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
    dst[3] = (uint8_t)(0x80 | (cp & 0x3f));
    return 4;
}

/* "<hex>_" at s: the code point, and how many bytes it took. False: not an escape. */
static bool code_point(struct tsdb_slice s, uint32_t *out_cp, size_t *out_bytes)
{
    uint32_t cp = 0;
    for (size_t i = 0; i < s.len && i < 7; i++) {
        if (s.data[i] == '_') {
            *out_cp = cp;
            *out_bytes = i + 1;
            return cp <= 0x10ffff && (cp < 0xd800 || cp > 0xdfff);
        }
        int d = i < 6 ? hex_digit(s.data[i]) : -1;
        if (d < 0) {
            return false;
        }
        cp = cp << 4 | (uint32_t)d;
    }
    return false;
}

enum tsdb_status params_unescape_name(struct tsdb_slice name, struct tsdb_arena *arena,
                                      struct tsdb_slice *out, struct tsdb_error *err)
{
    if (name.len < 3 || memcmp(name.data, "U__", 3) != 0) {
        *out = name;
        return TSDB_OK;
    }
    /* The result is never longer: a code point of n UTF-8 bytes takes n + 2 or more escaped. */
    uint8_t *dst = tsdb_arena_alloc(arena, name.len + 1, 1);
    if (!dst) {
        return no_memory(arena, err);
    }
    size_t n = 0;
    for (size_t i = 3; i < name.len; i++) {
        if (name.data[i] != '_') {
            dst[n++] = name.data[i];
            continue;
        }
        i++;
        struct tsdb_slice rest = {name.data + i, name.len - i};
        uint32_t cp = 0;
        size_t used = 0;
        if (rest.len > 0 && rest.data[0] == '_') {
            dst[n++] = '_';
        } else if (code_point(rest, &cp, &used)) {
            n += put_utf8(dst + n, cp);
            i += used - 1;
        } else {
            *out = name;
            return TSDB_OK;
        }
    }
    dst[n] = '\0';
    *out = (struct tsdb_slice){dst, n};
    return TSDB_OK;
}
