#include "query/lang/text.h"

#include "base/assert.h"

#include <stdio.h>

uint32_t query_rune_decode(const char *s, size_t len, size_t *out_width)
{
    TSDB_ASSERT(len > 0);
    const uint8_t *p = (const uint8_t *)s;
    *out_width = 1;
    if (p[0] < 0x80) {
        return p[0];
    }
    size_t width = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || width > len || !tsdb_utf8_valid(s, width)) {
        return QUERY_RUNE_ERROR;
    }
    uint32_t rune = p[0] & (0xffu >> (width + 1));
    for (size_t i = 1; i < width; i++) {
        rune = rune << 6 | (p[i] & 0x3fu);
    }
    *out_width = width;
    return rune;
}

/* Go's strconv.IsPrint, for the ranges that occur outside of exotic scripts. */
static bool rune_is_printable(uint32_t r)
{
    static const struct {
        uint32_t first, last;
    } hidden[] = {
        {0x00, 0x1f},     {0x7f, 0xa0},     {0xad, 0xad},     {0x600, 0x605},   {0x61c, 0x61c},
        {0x1680, 0x1680}, {0x180e, 0x180e}, {0x2000, 0x200f}, {0x2028, 0x202f}, {0x205f, 0x206f},
        {0x3000, 0x3000}, {0xd800, 0xf8ff}, {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xfffe, 0xffff},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(hidden); i++) {
        if (r >= hidden[i].first && r <= hidden[i].last) {
            return false;
        }
    }
    return r < 0xe0000 && (r & 0xfffe) != 0xfffe;
}

static void put_rune(struct tsdb_buf *out, uint32_t rune, const char *s, size_t width, char quote)
{
    static const char named[] = "abtnvfr"; /* 0x07.. 0x0d */
    if (rune == (uint8_t)quote || rune == '\\') {
        tsdb_buf_put_u8(out, '\\');
        tsdb_buf_put_u8(out, (uint8_t)rune);
    } else if (width == 1 && rune == QUERY_RUNE_ERROR) {
        tsdb_buf_printf(out, "\\x%02x", (unsigned)(uint8_t)s[0]);
    } else if (rune_is_printable(rune)) {
        tsdb_buf_put(out, s, width);
    } else if (rune >= 7 && rune <= 13) {
        tsdb_buf_put_u8(out, '\\');
        tsdb_buf_put_u8(out, (uint8_t)named[rune - 7]);
    } else if (rune < 0x20 || rune == 0x7f) {
        tsdb_buf_printf(out, "\\x%02x", (unsigned)rune);
    } else {
        tsdb_buf_printf(out, rune < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)rune);
    }
}

void query_quote(struct tsdb_buf *out, const char *s, size_t len, size_t runes_max)
{
    tsdb_buf_put_u8(out, '"');
    size_t width = 0;
    for (size_t i = 0, n = 0; i < len && (runes_max == 0 || n < runes_max); i += width, n++) {
        uint32_t rune = query_rune_decode(s + i, len - i, &width);
        put_rune(out, rune, s + i, width, '"');
    }
    tsdb_buf_put_u8(out, '"');
}

static size_t rune_encode(uint32_t r, char out[4])
{
    if (r < 0x80) {
        out[0] = (char)r;
        return 1;
    }
    if (r < 0x800) {
        out[0] = (char)(0xc0 | r >> 6);
        out[1] = (char)(0x80 | (r & 0x3f));
        return 2;
    }
    if (r < 0x10000) {
        out[0] = (char)(0xe0 | r >> 12);
        out[1] = (char)(0x80 | (r >> 6 & 0x3f));
        out[2] = (char)(0x80 | (r & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | r >> 18);
    out[1] = (char)(0x80 | (r >> 12 & 0x3f));
    out[2] = (char)(0x80 | (r >> 6 & 0x3f));
    out[3] = (char)(0x80 | (r & 0x3f));
    return 4;
}

void query_quote_rune(struct tsdb_buf *out, uint32_t rune)
{
    if (rune > 0x10ffff || (rune >= 0xd800 && rune < 0xe000)) {
        rune = QUERY_RUNE_ERROR;
    }
    char text[4];
    size_t width = rune_encode(rune, text);
    tsdb_buf_put_u8(out, '\'');
    put_rune(out, rune, text, width, '\'');
    tsdb_buf_put_u8(out, '\'');
}

bool query_name_is_plain(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9')) {
            return false;
        }
    }
    return len > 0;
}

static uint32_t hex_value(char c)
{
    return (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

/* One escape after the backslash. *pos is moved behind it. Returns the bytes written to out. */
static size_t unescape(const char *s, size_t *pos, char out[4])
{
    char c = s[(*pos)++];
    static const char from[] = "abtnvfr";
    const char *named = memchr(from, c, sizeof from - 1);
    if (named) {
        out[0] = (char)(7 + (named - from));
        return 1;
    }
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t rune = 0;
    if (digits > 0) {
        for (size_t i = 0; i < digits; i++) {
            rune = rune << 4 | hex_value(s[(*pos)++]);
        }
        if (c != 'x') {
            return rune_encode(rune, out);
        }
    } else if (c >= '0' && c <= '7') {
        rune = (uint32_t)(c - '0');
        for (size_t i = 0; i < 2; i++) {
            rune = rune << 3 | (uint32_t)(s[(*pos)++] - '0');
        }
    } else {
        rune = (uint8_t)c; /* a quote or a backslash */
    }
    out[0] = (char)rune;
    return 1;
}

bool query_unquote(struct tsdb_arena *arena, const char *s, size_t len, struct query_str *out)
{
    TSDB_ASSERT(len >= 2);
    const char *body = s + 1;
    size_t body_len = len - 2;
    if (s[0] == '`' || !memchr(body, '\\', body_len)) {
        *out = (struct query_str){body, (uint32_t)body_len};
        return true;
    }
    /* An escape is never shorter than what it stands for. */
    char *copy = tsdb_arena_alloc(arena, body_len, 1);
    if (!copy) {
        return false;
    }
    size_t n = 0;
    for (size_t i = 0; i < body_len;) {
        if (body[i] == '\\') {
            i++;
            n += unescape(body, &i, copy + n);
        } else {
            copy[n++] = body[i++];
        }
    }
    *out = (struct query_str){copy, (uint32_t)n};
    return true;
}

static const struct {
    char text[3];
    int rank; /* units must come in this order, each at most once */
    uint64_t ns;
} duration_units[] = {
    {"y", 1, UINT64_C(365) * 24 * 3600 * 1000000000},
    {"w", 2, UINT64_C(7) * 24 * 3600 * 1000000000},
    {"d", 3, UINT64_C(24) * 3600 * 1000000000},
    {"h", 4, UINT64_C(3600) * 1000000000},
    {"m", 5, UINT64_C(60) * 1000000000},
    {"s", 6, UINT64_C(1000000000)},
    {"ms", 7, UINT64_C(1000000)},
};

enum query_duration_fault query_duration_parse(const char *s, size_t len, int64_t *out_ns,
                                               struct query_str *out_unit)
{
    uint64_t total = 0;
    int last_rank = 0;
    for (size_t i = 0; i < len;) {
        uint64_t v = 0;
        size_t begin = i;
        for (; i < len && s[i] >= '0' && s[i] <= '9'; i++) {
            if (v > (UINT64_MAX - 9) / 10) {
                return QUERY_DURATION_INVALID;
            }
            v = v * 10 + (uint64_t)(s[i] - '0');
        }
        size_t unit = i;
        while (i < len && !(s[i] >= '0' && s[i] <= '9')) {
            i++;
        }
        if (unit == begin || i == unit) {
            return QUERY_DURATION_INVALID;
        }
        size_t u = 0;
        while (u < TSDB_ARRAY_LEN(duration_units) &&
               !(strlen(duration_units[u].text) == i - unit &&
                 memcmp(duration_units[u].text, s + unit, i - unit) == 0)) {
            u++;
        }
        if (u == TSDB_ARRAY_LEN(duration_units)) {
            *out_unit = (struct query_str){s + unit, (uint32_t)(i - unit)};
            return QUERY_DURATION_UNIT;
        }
        if (duration_units[u].rank <= last_rank) {
            return QUERY_DURATION_INVALID;
        }
        last_rank = duration_units[u].rank;
        if (v > (uint64_t)INT64_MAX / duration_units[u].ns) {
            return QUERY_DURATION_RANGE;
        }
        total += v * duration_units[u].ns;
        if (total > (uint64_t)INT64_MAX) {
            return QUERY_DURATION_RANGE;
        }
    }
    if (len == 0) {
        return QUERY_DURATION_INVALID;
    }
    *out_ns = (int64_t)total;
    return QUERY_DURATION_OK;
}
