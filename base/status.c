#define TSDB_ERROR_DEFINED_HERE
#include "base/status.h"

#include "base/arena.h"
#include "base/assert.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const status_names[TSDB_STATUS_COUNT] = {
    [TSDB_OK] = "ok",
    [TSDB_NOMEM] = "no_memory",
    [TSDB_IO] = "io",
    [TSDB_CORRUPT] = "corrupt",
    [TSDB_INVALID] = "invalid",
    [TSDB_NOT_FOUND] = "not_found",
    [TSDB_LIMIT] = "limit",
    [TSDB_CANCELLED] = "cancelled",
    [TSDB_TIMEOUT] = "timeout",
    [TSDB_UNSUPPORTED] = "unsupported",
    [TSDB_OUT_OF_ORDER] = "out_of_order",
    [TSDB_BUSY] = "busy",
    [TSDB_READ_ONLY] = "read_only",
};

const char *tsdb_status_name(enum tsdb_status status)
{
    if ((unsigned)status < TSDB_STATUS_COUNT) {
        return status_names[status];
    }
    return "unknown";
}

/* Drop a UTF-8 sequence that the end of the buffer cut in half. */
static size_t cut_at_character(const char *s, size_t len)
{
    size_t i = len;
    size_t tail = 0;
    while (i > 0 && tail < 4) {
        unsigned char c = (unsigned char)s[i - 1];
        if (c < 0x80) {
            return len;
        }
        if (c >= 0xc0) {
            size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
            return tail + 1 < want ? i - 1 : len;
        }
        tail++;
        i--;
    }
    return len;
}

/* Messages go to one-line logs and HTTP answers: a line break in a name must not end the line.
 * Returns whether msg says all. */
static bool message_store(struct tsdb_error *err, const char *text)
{
    size_t all = strlen(text);
    size_t len = all;
    bool same = true;
    if (len >= sizeof err->msg) {
        len = cut_at_character(text, sizeof err->msg - 1);
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        err->msg[i] = text[i];
        if (c < 0x20 || c == 0x7f) {
            err->msg[i] = ' ';
            same = false;
        }
    }
    err->msg[len] = '\0';
    err->whole = NULL;
    return same && len == all;
}

/* Formats into scratch first, because an argument may be err->msg itself. */
static __attribute__((format(printf, 5, 0))) void error_fill(struct tsdb_error *err,
                                                             enum tsdb_status status, int sys_errno,
                                                             uint64_t pos, const char *format,
                                                             va_list args)
{
    char text[sizeof err->msg + 256];
    (void)vsnprintf(text, sizeof text, format, args);
    if (sys_errno != 0) {
        char reason[128];
        const char *r = strerror_r(sys_errno, reason, sizeof reason);
        size_t len = strlen(text);
        (void)snprintf(text + len, sizeof text - len, ": %s", r);
    }
    err->status = status;
    err->sys_errno = status == TSDB_IO ? sys_errno : 0;
    err->pos = pos;
    (void)message_store(err, text);
}

enum tsdb_status tsdb_error_set(struct tsdb_error *err, enum tsdb_status status, const char *format,
                                ...)
{
    TSDB_ASSERT(status != TSDB_OK);
    if (err) {
        va_list args;
        va_start(args, format);
        error_fill(err, status, 0, 0, format, args);
        va_end(args);
    }
    return status;
}

enum tsdb_status tsdb_error_set_at(struct tsdb_error *err, enum tsdb_status status, uint64_t pos,
                                   const char *format, ...)
{
    TSDB_ASSERT(status != TSDB_OK);
    if (err) {
        va_list args;
        va_start(args, format);
        error_fill(err, status, 0, pos, format, args);
        va_end(args);
    }
    return status;
}

/* The formatted text, in the arena. NULL: no room, or nothing to format. */
static __attribute__((format(printf, 2, 0))) char *text_in_arena(struct tsdb_arena *arena,
                                                                 const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = len >= 0 ? tsdb_arena_alloc(arena, (size_t)len + 1, 1) : NULL;
    if (text) {
        (void)vsnprintf(text, (size_t)len + 1, format, args);
    }
    return text;
}

enum tsdb_status tsdb_error_set_whole(struct tsdb_error *err, struct tsdb_arena *arena,
                                      enum tsdb_status status, uint64_t pos, const char *format,
                                      ...)
{
    TSDB_ASSERT(status != TSDB_OK);
    if (!err) {
        return status;
    }
    va_list args;
    char *text = NULL;
    if (arena) {
        va_start(args, format);
        text = text_in_arena(arena, format, args);
        va_end(args);
    }
    if (!text) {
        va_start(args, format);
        error_fill(err, status, 0, pos, format, args);
        va_end(args);
        return status;
    }
    err->status = status;
    err->sys_errno = 0;
    err->pos = pos;
    if (!message_store(err, text)) {
        err->whole = text;
    }
    return status;
}

const char *tsdb_error_text(const struct tsdb_error *err)
{
    return err->whole ? err->whole : err->msg;
}

enum tsdb_status tsdb_error_set_errno(struct tsdb_error *err, int sys_errno, const char *format,
                                      ...)
{
    enum tsdb_status status = sys_errno == ENOMEM   ? TSDB_NOMEM
                              : sys_errno == ENOENT ? TSDB_NOT_FOUND
                                                    : TSDB_IO;
    if (err) {
        va_list args;
        va_start(args, format);
        error_fill(err, status, sys_errno, 0, format, args);
        va_end(args);
    }
    return status;
}

enum tsdb_status tsdb_error_nomem(struct tsdb_error *err, const char *what)
{
    return tsdb_error_set(err, TSDB_NOMEM, "no memory for %s", what);
}

enum tsdb_status tsdb_error_prefix(struct tsdb_error *err, enum tsdb_status status,
                                   const char *format, ...)
{
    TSDB_ASSERT(status != TSDB_OK);
    if (!err) {
        return status;
    }
    char text[sizeof err->msg + 256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t len = strlen(text);
    (void)snprintf(text + len, sizeof text - len, ": %s", err->msg);
    (void)message_store(err, text);
    return err->status;
}

void tsdb_error_clear(struct tsdb_error *err)
{
    if (err) {
        *err = (struct tsdb_error){.status = TSDB_OK};
    }
}

bool tsdb_error_is_no_space(const struct tsdb_error *err)
{
    return err->sys_errno == ENOSPC || err->sys_errno == EDQUOT;
}
