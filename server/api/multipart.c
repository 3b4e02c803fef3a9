#include "server/api/multipart.h"

#include <string.h>
#include <strings.h>

/* "name=value" of a header's parameters, behind its first ';': the value, quoted or not, into
 * out[cap] as a string. False: it is not there, or longer. */
static bool parameter(const char *p, const char *end, const char *name, char *out, size_t cap)
{
    size_t name_len = strlen(name);
    while (p < end) {
        while (p < end && (*p == ';' || *p == ' ' || *p == '\t')) {
            p++;
        }
        bool match = (size_t)(end - p) > name_len && strncasecmp(p, name, name_len) == 0 &&
                     p[name_len] == '=';
        while (p < end && *p != '=' && *p != ';') {
            p++;
        }
        if (p == end || *p == ';') {
            continue;
        }
        p++;
        bool quoted = p < end && *p == '"';
        size_t n = 0;
        for (p += quoted; p < end && (quoted ? *p != '"' : *p != ';' && *p != ' '); p++) {
            p += quoted && *p == '\\' && p + 1 < end;
            if (match && n + 1 < cap) {
                out[n] = *p;
            }
            n++;
        }
        p += quoted && p < end;
        if (match) {
            out[TSDB_MIN(n, cap - 1)] = '\0';
            return n < cap;
        }
    }
    return false;
}

bool multipart_boundary(const char *content_type, char out[MULTIPART_BOUNDARY_MAX + 1])
{
    static const char type[] = "multipart/form-data";
    size_t len = sizeof type - 1;
    if (!content_type || strncasecmp(content_type, type, len) != 0 ||
        !strchr("; \t", content_type[len])) {
        return false;
    }
    return parameter(content_type + len, content_type + strlen(content_type), "boundary", out,
                     MULTIPART_BOUNDARY_MAX + 1) &&
           out[0] != '\0';
}

/* The first "--boundary" at the begin of a line, from `from` on; NULL: none. */
static const uint8_t *find_delimiter(struct tsdb_slice body, const uint8_t *from,
                                     const char *boundary)
{
    size_t len = strlen(boundary);
    if (body.len == 0) {
        return NULL; /* there may be no data to point into */
    }
    const uint8_t *end = body.data + body.len;
    for (const uint8_t *p = from; (size_t)(end - p) >= len + 2;) {
        const uint8_t *dash = memchr(p, '-', (size_t)(end - p));
        if (!dash || (size_t)(end - dash) < len + 2) {
            return NULL;
        }
        bool at_line = dash == body.data || dash[-1] == '\n';
        if (at_line && dash[1] == '-' && memcmp(dash + 2, boundary, len) == 0) {
            return dash;
        }
        p = dash + 1;
    }
    return NULL;
}

uint32_t multipart_count(struct tsdb_slice body, const char *boundary)
{
    uint32_t n = 0;
    for (const uint8_t *p = find_delimiter(body, body.data, boundary); p && n < UINT32_MAX;
         p = find_delimiter(body, p + 2, boundary)) {
        n++;
    }
    return n;
}

/* A line without its end; *rest is behind it. False: there is no whole one. */
static bool take_line(struct tsdb_slice *rest, struct tsdb_slice *out)
{
    const uint8_t *nl = rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
    if (!nl) {
        return false;
    }
    size_t n = (size_t)(nl - rest->data);
    *out = (struct tsdb_slice){rest->data, n > 0 && nl[-1] == '\r' ? n - 1 : n};
    *rest = (struct tsdb_slice){nl + 1, rest->len - n - 1};
    return true;
}

/* Headers of a part up to its empty line. False: malformed. *named: it has a name, and is no file. */
static bool part_head(struct tsdb_slice *rest, char *name, size_t cap, bool *named)
{
    static const char disposition[] = "content-disposition:";
    struct tsdb_slice line;
    *named = false;
    while (take_line(rest, &line)) {
        const char *text = (const char *)line.data;
        const char *end = text + line.len;
        size_t len = sizeof disposition - 1;
        if (line.len == 0) {
            return true;
        }
        if (line.len > len && strncasecmp(text, disposition, len) == 0) {
            const char *parameters = memchr(text, ';', line.len);
            char file[2];
            *named = parameters && parameter(parameters, end, "name", name, cap) &&
                     !parameter(parameters, end, "filename", file, sizeof file);
        }
    }
    return false;
}

enum tsdb_status multipart_parse(struct tsdb_slice body, const char *boundary,
                                 struct tsdb_arena *arena, struct param *items, uint32_t *count,
                                 struct tsdb_error *err)
{
    size_t len = strlen(boundary);
    const uint8_t *at = find_delimiter(body, body.data, boundary);
    while (at) {
        const uint8_t *end = body.data + body.len;
        struct tsdb_slice rest = {at + 2 + len, (size_t)(end - at) - 2 - len};
        struct tsdb_slice line;
        char name[256];
        bool named = false;
        if (rest.len >= 2 && memcmp(rest.data, "--", 2) == 0) {
            return TSDB_OK;
        }
        const uint8_t *next = find_delimiter(body, at + 2 + len, boundary);
        if (!next || !take_line(&rest, &line) || !part_head(&rest, name, sizeof name, &named) ||
            rest.data > next) {
            break;
        }
        size_t n = (size_t)(next - rest.data); /* the line's end in front of the delimiter is its */
        n -= n > 0 && rest.data[n - 1] == '\n';
        n -= n > 0 && rest.data[n - 1] == '\r';
        if (named) {
            size_t name_len = strlen(name);
            char *copy = tsdb_arena_strndup(arena, name, name_len);
            if (!copy) {
                return tsdb_error_set(err, tsdb_arena_status(arena),
                                      "out of memory for request parameters");
            }
            items[(*count)++] = (struct param){{(const uint8_t *)copy, name_len}, {rest.data, n}};
        }
        at = next;
    }
    return tsdb_error_set(err, TSDB_INVALID, "malformed multipart form");
}
