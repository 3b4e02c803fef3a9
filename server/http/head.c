/* Is the head of a request such as HTTP has it? libmicrohttpd is lenient, and a proxy in front of us
 * may understand a request otherwise than it does. */
#include "base/format.h"
#include "base/log.h"
#include "server/http/http_private.h"

#include <string.h>
#include <strings.h>

/* What the headers say about the body's length, and whether they are such as HTTP has them. */
struct framing {
    const char *length;
    bool chunked;
    bool ambiguous; /* two lengths, or a length beside Transfer-Encoding */
    bool unknown;   /* a Transfer-Encoding that is not "chunked": its end cannot be found */
    uint32_t hosts;
    bool malformed; /* a name that is no token, control bytes, a fold, CR or LF alone */
    bool knows_layout;
    const char *line_end; /* of the line before: its NUL; NULL: not known */
};

/* RFC 9110, 5.6.2. */
static bool is_token(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!alnum && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c))) {
            return false;
        }
    }
    return len > 0;
}

static bool is_field_value(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* libmicrohttpd cuts lines in its buffer: two NULs stand for CRLF, one for a CR or LF alone. The next
 * line begins behind them; farther away, the line had a NUL in it or was folded. */
static bool ends_badly(const char *line_end, const char *next_line)
{
    return line_end && (uintptr_t)next_line - (uintptr_t)line_end != 2;
}

/* Of the last line: behind its end and the empty line there are four NULs. What had a NUL in it, a
 * nameless line behind it, or ends with a LF alone and has a body behind it, has not. (LF alone and
 * nothing behind cannot be told from CRLF.) libmicrohttpd's own things lie behind what it has read,
 * so that there are four bytes to look at. */
static bool last_ends_badly(const char *line_end)
{
    return line_end && (line_end[0] || line_end[1] || line_end[2] || line_end[3]);
}

/* Two parts of the request line, one blank between them. False: a NUL in the first one, or more
 * blanks. Parts that lie far from each other are not both of that line. */
static bool adjacent(uintptr_t first, size_t first_len, uintptr_t second)
{
    size_t gap = second - first;
    return gap == first_len + 1 || gap > HTTP_CONNECTION_BYTES;
}

/* A request target: no blanks, no control bytes. */
static bool is_target(const char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s <= 0x20 || *s == 0x7f) {
            return false;
        }
    }
    return true;
}

static enum MHD_Result look_at_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                      size_t name_len, const char *value, size_t value_len)
{
    (void)kind;
    struct framing *f = cls;
    value = value ? value : "";
    f->malformed = f->malformed || !is_token(name, name_len) || !is_field_value(value, value_len) ||
                   ends_badly(f->line_end, name);
    f->line_end = f->knows_layout && value_len > 0 ? value + value_len : NULL;
    f->hosts += strcasecmp(name, "Host") == 0;
    if (strcasecmp(name, "Content-Length") == 0) {
        f->ambiguous = f->ambiguous || f->length || f->chunked;
        f->length = value;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        f->ambiguous = f->ambiguous || f->length || f->chunked;
        f->unknown = f->unknown || strcasecmp(value, "chunked") != 0;
        f->chunked = true;
    }
    return MHD_YES;
}

static void body_length(struct http_exchange *x, const struct framing *f)
{
    uint64_t v = 0;
    if (f->chunked) {
        x->content_length = -1;
    } else if (f->length) { /* libmicrohttpd has refused what is no number */
        bool fits = tsdb_parse_u64(f->length, strlen(f->length), &v) && v <= INT64_MAX;
        x->content_length = fits ? (int64_t)v : INT64_MAX;
    }
}

bool http_head_knows(const char *library_version)
{
    bool known = strcmp(library_version, "0.9.75") == 0;
    if (!known) {
        tsdb_log(TSDB_LOG_WARN, "http",
                 "the ends of header lines are not looked at: another libmicrohttpd",
                 TSDB_S("version", library_version), TSDB_S("known", "0.9.75"));
    }
    return known;
}

/* Where parts of the request line lie beside each other. */
static bool line_is_whole(const struct http_exchange *x, const char *method, const char *version)
{
    return !x->server->knows_layout || (adjacent((uintptr_t)method, strlen(method), x->target_at) &&
                                        adjacent(x->target_at, x->target_len, (uintptr_t)version));
}

const char *http_head_check(struct http_exchange *x, const char *method, const char *version)
{
    struct framing f = {.knows_layout = x->server->knows_layout};
    bool elsewhere = (uintptr_t)version - x->target_at > HTTP_CONNECTION_BYTES; /* none was sent */
    f.line_end = elsewhere || !f.knows_layout ? NULL : version + strlen(version);
    (void)MHD_get_connection_values_n(x->connection, MHD_HEADER_KIND, look_at_header, &f);
    body_length(x, &f);
    bool old = strcmp(version, "HTTP/1.0") == 0; /* has no chunks */
    if (f.ambiguous || (old && f.chunked)) {
        return "the length of the body is ambiguous\n";
    }
    if (f.unknown) {
        return "unsupported Transfer-Encoding: expected chunked\n";
    }
    if (!line_is_whole(x, method, version) || !is_target(x->uri) || !is_target(x->query)) {
        return "malformed request line\n";
    }
    if (f.malformed || last_ends_badly(f.line_end)) {
        return "malformed header\n";
    }
    bool host_wanted = strcmp(version, "HTTP/1.1") == 0;
    return f.hosts > 1 || (host_wanted && f.hosts == 0) ? "exactly one Host header is wanted\n"
                                                        : NULL;
}
