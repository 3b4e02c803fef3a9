#include "base/log.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/format.h"
#include "base/mutex.h"

#include <errno.h>
#include <unistd.h>

/* One record is at most this long, and one write: readers of a pipe see whole lines. */
#define LINE_BYTES_MAX 4096
/* Kept free for what must still fit after the fields: the truncation mark and the end of the line.
 */
#define LINE_BYTES_TAIL 32
/* A message or field that prints longer than this is cut; a query of a megabyte must not push the
 * other fields out. */
#define VALUE_BYTES_MAX 1024

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static struct {
    _Atomic(int) level;
    _Atomic(int) format;
    struct tsdb_mutex lock; /* around the write, so that a short write's rest stays with its line */
} state = {
    .level = TSDB_LOG_INFO,
    .format = TSDB_LOG_LOGFMT,
    .lock = {.m = PTHREAD_MUTEX_INITIALIZER, .rank = TSDB_RANK_LOG, .name = "log"},
};

void tsdb_log_configure(enum tsdb_log_level level, enum tsdb_log_format format)
{
    atomic_store_explicit(&state.level, (int)level, memory_order_relaxed);
    atomic_store_explicit(&state.format, (int)format, memory_order_relaxed);
}

bool tsdb_log_enabled(enum tsdb_log_level level)
{
    return (int)level >= atomic_load_explicit(&state.level, memory_order_relaxed);
}

/* A line under construction. After the first field that does not fit `full` is set and nothing more
 * is taken. */
struct line {
    char text[LINE_BYTES_MAX];
    size_t len;
    bool json;
    bool full;
};

static void put(struct line *l, const char *s, size_t len)
{
    if (l->full || len > LINE_BYTES_MAX - LINE_BYTES_TAIL - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->text + l->len, s, len);
    l->len += len;
}

static void put_str(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* Escapes as JSON does, which logfmt readers understand as well. Malformed UTF-8 (label bytes of a
 * sender) becomes U+FFFD, one for each byte. Returns false if the value was cut. */
static bool put_escaped(struct line *l, const char *s, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    size_t begin = l->len;
    for (size_t i = 0; i < len;) {
        if (l->len - begin >= VALUE_BYTES_MAX) {
            return false;
        }
        unsigned char c = (unsigned char)s[i];
        size_t n = 1;
        if (c == '"' || c == '\\') {
            put(l, (const char[]){'\\', (char)c}, 2);
        } else if (c == '\n') {
            put_str(l, "\\n");
        } else if (c == '\t') {
            put_str(l, "\\t");
        } else if (c < 0x20 || c == 0x7f) {
            put(l, (const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
        } else if (c < 0x80) {
            put(l, s + i, 1);
        } else {
            for (n = 2; n <= 4 && n <= len - i && !tsdb_utf8_valid(s + i, n); n++) {
            }
            if (n > 4 || n > len - i) {
                n = 1;
                put_str(l, "\xef\xbf\xbd");
            } else {
                put(l, s + i, n);
            }
        }
        i += n;
    }
    return true;
}

static bool needs_quotes(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c <= ' ' || c == '=' || c == '"' || c == '\\' || c >= 0x7f) {
            return true;
        }
    }
    return len == 0;
}

static void put_string_value(struct line *l, const char *s)
{
    size_t len = strnlen(s, VALUE_BYTES_MAX + 8); /* enough to see that it must be cut */
    bool quoted = l->json || len > VALUE_BYTES_MAX || needs_quotes(s, len);
    if (quoted) {
        put_str(l, "\"");
    }
    if (!put_escaped(l, s, len)) {
        put_str(l, "...");
    }
    if (quoted) {
        put_str(l, "\"");
    }
}

static void put_key(struct line *l, const char *key)
{
    if (l->json) {
        put_str(l, l->len == 0 ? "{\"" : ",\"");
        (void)put_escaped(l, key, strlen(key));
        put_str(l, "\":");
    } else {
        put_str(l, l->len == 0 ? "" : " ");
        put_str(l, key);
        put_str(l, "=");
    }
}

static void put_field(struct line *l, const struct tsdb_log_field *f)
{
    char number[TSDB_FORMAT_FLOAT_MAX];
    size_t whole = l->len;
    put_key(l, f->key);
    switch (f->type) {
    case TSDB_FIELD_STR:
        put_string_value(l, f->v.str ? f->v.str : "");
        break;
    case TSDB_FIELD_I64:
        put(l, number, tsdb_format_i64(number, f->v.i64));
        break;
    case TSDB_FIELD_U64:
        put(l, number, tsdb_format_u64(number, f->v.u64));
        break;
    case TSDB_FIELD_F64: {
        size_t len = tsdb_format_float_go_g(number, f->v.f64);
        /* JSON has no word for infinity. */
        bool is_word = __builtin_isfinite(f->v.f64) == 0;
        put_str(l, l->json && is_word ? "\"" : "");
        put(l, number, len);
        put_str(l, l->json && is_word ? "\"" : "");
        break;
    }
    }
    if (l->full) {
        l->len = whole;
    }
}

static void line_write(struct line *l)
{
    size_t done = 0;
    int saved = errno;
    tsdb_mutex_lock(&state.lock);
    while (done < l->len) {
        ssize_t n = write(STDERR_FILENO, l->text + done, l->len - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            break; /* nowhere to complain to */
        }
    }
    tsdb_mutex_unlock(&state.lock);
    errno = saved;
}

void tsdb_log_fields(enum tsdb_log_level level, const char *component, const char *msg,
                     const struct tsdb_log_field *fields)
{
    struct line l;
    l.len = 0;
    l.full = false;
    l.json = atomic_load_explicit(&state.format, memory_order_relaxed) == TSDB_LOG_JSON;
    char ts[64];
    (void)tsdb_format_rfc3339_ms(ts, tsdb_clock_wall_ms(&tsdb_clock_real));
    const struct tsdb_log_field head[] = {
        TSDB_S("ts", ts),
        TSDB_S("level", level_names[level]),
        TSDB_S("component", component),
        TSDB_S("msg", msg),
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(head); i++) {
        put_field(&l, &head[i]);
    }
    for (const struct tsdb_log_field *f = fields; f->key && !l.full; f++) {
        put_field(&l, f);
    }
    /* The tail was kept free for these. */
    const char *end = l.json ? (l.full ? ",\"truncated\":true}\n" : "}\n")
                             : (l.full ? " truncated=true\n" : "\n");
    memcpy(l.text + l.len, end, strlen(end));
    l.len += strlen(end);
    line_write(&l);
}
