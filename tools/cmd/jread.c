#include "tools/cmd/jread.h"

#include "base/assert.h"

void jread_init(struct jread *r, const void *data, size_t len)
{
    *r = (struct jread){.pos = data, .end = len > 0 ? (const uint8_t *)data + len : data};
}

static void fail(struct jread *r)
{
    r->failed = true;
    r->pos = r->end;
}

static void skip_space(struct jread *r)
{
    while (r->pos < r->end &&
           (*r->pos == ' ' || *r->pos == '\n' || *r->pos == '\r' || *r->pos == '\t')) {
        r->pos++;
    }
}

uint8_t jread_peek(struct jread *r)
{
    skip_space(r);
    return r->pos < r->end ? *r->pos : 0;
}

static bool take(struct jread *r, uint8_t c)
{
    if (jread_peek(r) != c || r->pos == r->end) {
        return false;
    }
    r->pos++;
    return true;
}

bool jread_enter(struct jread *r, uint8_t open)
{
    TSDB_ASSERT(open == '{' || open == '[');
    if (r->depth == JREAD_DEPTH_MAX || !take(r, open)) {
        fail(r);
        return false;
    }
    r->close[r->depth] = open == '{' ? '}' : ']';
    r->begun &= ~(UINT64_C(1) << r->depth);
    r->depth++;
    return true;
}

bool jread_more(struct jread *r)
{
    if (r->failed || r->depth == 0) {
        fail(r);
        return false;
    }
    uint64_t bit = UINT64_C(1) << (r->depth - 1);
    if (take(r, r->close[r->depth - 1])) {
        r->depth--;
        return false;
    }
    if ((r->begun & bit) && !take(r, ',')) {
        fail(r);
        return false;
    }
    r->begun |= bit;
    if (jread_peek(r) == 0) {
        fail(r);
    }
    return !r->failed;
}

/* ---- strings ---- */
static void put_utf8(struct tsdb_buf *out, uint32_t c)
{
    if (c < 0x80) {
        tsdb_buf_put_u8(out, (uint8_t)c);
        return;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    tsdb_buf_put_u8(out, (uint8_t)(lead[more] | (c >> (6 * more))));
    for (int i = more - 1; i >= 0; i--) {
        tsdb_buf_put_u8(out, (uint8_t)(0x80 | ((c >> (6 * i)) & 0x3f)));
    }
}

static bool hex4(struct jread *r, uint32_t *out)
{
    uint32_t v = 0;
    if (r->end - r->pos < 4) {
        return false;
    }
    for (int i = 0; i < 4; i++) {
        uint8_t c = *r->pos++;
        uint8_t low = (uint8_t)(c | 0x20);
        if (c >= '0' && c <= '9') {
            v = v << 4 | (uint32_t)(c - '0');
        } else if (low >= 'a' && low <= 'f') {
            v = v << 4 | (uint32_t)(low - 'a' + 10);
        } else {
            return false;
        }
    }
    *out = v;
    return true;
}

/* Behind "\u". */
static bool unicode(struct jread *r, struct tsdb_buf *out)
{
    uint32_t c = 0, low = 0;
    if (!hex4(r, &c)) {
        return false;
    }
    bool high = c >= 0xd800 && c < 0xdc00;
    if (high && r->end - r->pos >= 6 && r->pos[0] == '\\' && r->pos[1] == 'u') {
        struct jread ahead = *r;
        ahead.pos += 2;
        if (!hex4(&ahead, &low)) {
            return false;
        }
        if (low >= 0xdc00 && low < 0xe000) {
            r->pos = ahead.pos;
            put_utf8(out, 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00)));
            return true;
        }
    }
    put_utf8(out, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
    return true;
}

static bool escape(struct jread *r, struct tsdb_buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->pos == r->end) {
        return false;
    }
    uint8_t c = *r->pos++;
    if (c == 'u') {
        return unicode(r, out);
    }
    const char *at = c ? strchr(from, c) : NULL;
    if (at) {
        tsdb_buf_put_u8(out, (uint8_t)to[at - from]);
    }
    return at != NULL;
}

void jread_string(struct jread *r, struct tsdb_buf *out)
{
    tsdb_buf_clear(out);
    if (!take(r, '"')) {
        fail(r);
        return;
    }
    while (r->pos < r->end && *r->pos != '"') {
        uint8_t c = *r->pos++;
        if (c < 0x20 || (c == '\\' && !escape(r, out))) {
            fail(r);
            return;
        }
        if (c != '\\') {
            tsdb_buf_put_u8(out, c);
        }
    }
    if (!take(r, '"')) {
        fail(r);
    }
}

void jread_key(struct jread *r, struct tsdb_buf *out)
{
    jread_string(r, out);
    if (!take(r, ':')) {
        fail(r);
    }
}

/* ---- any value ---- */
static void skip_string(struct jread *r)
{
    bool escaped = false;
    r->pos++;
    while (r->pos < r->end && (escaped || *r->pos != '"')) {
        if (*r->pos < 0x20) {
            fail(r);
            return;
        }
        escaped = !escaped && *r->pos == '\\';
        r->pos++;
    }
    if (!take(r, '"')) {
        fail(r);
    }
}

static void skip_word(struct jread *r)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(words); i++) {
        size_t len = strlen(words[i]);
        if ((size_t)(r->end - r->pos) >= len && memcmp(r->pos, words[i], len) == 0) {
            r->pos += len;
            return;
        }
    }
    const uint8_t *begin = r->pos;
    while (r->pos < r->end && *r->pos && strchr("+-.0123456789eE", *r->pos)) {
        r->pos++;
    }
    if (r->pos == begin) {
        fail(r);
    }
}

static void skip_scalar(struct jread *r)
{
    if (jread_peek(r) == '"') {
        skip_string(r);
    } else {
        skip_word(r);
    }
}

struct tsdb_slice jread_raw(struct jread *r)
{
    uint8_t c = jread_peek(r);
    const uint8_t *begin = r->pos;
    uint32_t level = r->depth;
    if (c != '{' && c != '[') {
        skip_scalar(r);
    } else if (jread_enter(r, c)) {
        while (!r->failed && r->depth > level) { /* no recursion: depth is in r */
            if (!jread_more(r)) {
                continue;
            }
            if (r->close[r->depth - 1] == '}') {
                if (jread_peek(r) != '"') {
                    fail(r);
                    break;
                }
                skip_string(r);
                if (!take(r, ':')) {
                    fail(r);
                    break;
                }
            }
            c = jread_peek(r);
            if (c == '{' || c == '[') {
                (void)jread_enter(r, c);
            } else {
                skip_scalar(r);
            }
        }
    }
    return r->failed ? (struct tsdb_slice){NULL, 0}
                     : (struct tsdb_slice){begin, (size_t)(r->pos - begin)};
}

bool jread_end(struct jread *r)
{
    return jread_peek(r) == 0 && r->pos == r->end && !r->failed && r->depth == 0;
}
