/* The outcome of every fallible function.
 *
 * A fallible function returns enum tsdb_status and, where a person will read the cause, takes
 * `struct tsdb_error *err` last. The error is caller-owned, may be NULL and need not be initialised,
 * never allocates (but for tsdb_error_set_whole), is filled by the layer that knows most and untouched on success. Messages name object, place, got and
 * expected: "wal 000012 at byte 40960: crc 1a2b, expected 9f00".
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct tsdb_arena;

enum tsdb_status {
    TSDB_OK = 0,
    TSDB_NOMEM,        /* an allocation failed; of the process, not of the request */
    TSDB_IO,           /* the operating system said no; sys_errno says why */
    TSDB_CORRUPT,      /* bytes that were stored fail their check */
    TSDB_INVALID,      /* the caller's input is wrong; a retry cannot help */
    TSDB_NOT_FOUND,    /* the named thing does not exist */
    TSDB_LIMIT,        /* a configured bound was reached */
    TSDB_CANCELLED,    /* the request's cancel token was set */
    TSDB_TIMEOUT,      /* the request's deadline passed */
    TSDB_UNSUPPORTED,  /* understood, not offered */
    TSDB_OUT_OF_ORDER, /* a sample that conflicts with or falls outside what may be stored */
    TSDB_BUSY,         /* overload or not ready: the same request may succeed later */
    TSDB_READ_ONLY,    /* storage failed earlier and takes no more writes */
    TSDB_STATUS_COUNT
};

struct tsdb_error {
    enum tsdb_status status;
    int sys_errno; /* 0 unless status is TSDB_IO */
    uint64_t pos;  /* byte offset in the input, or 0 */
    /* NUL-terminated, one line, may be cut at a UTF-8 boundary: room for three label sets and what
     * is wrong with them. */
    char msg[1024];
    const char *whole; /* the text, if msg could not hold it: see tsdb_error_set_whole */
};

/* Lower-case name for logs and metrics: "ok", "no_memory", ... Never NULL. */
const char *tsdb_status_name(enum tsdb_status status);

/* Fill *err (if not NULL) and return `status`, so that `return tsdb_error_set(...)` reads as one
 * step. */
enum tsdb_status tsdb_error_set(struct tsdb_error *err, enum tsdb_status status, const char *format,
                                ...) TSDB_PRINTF(3, 4);
enum tsdb_status tsdb_error_set_at(struct tsdb_error *err, enum tsdb_status status, uint64_t pos,
                                   const char *format, ...) TSDB_PRINTF(4, 5);
/* The same with a text of any length, line breaks kept: what msg cannot hold goes to the arena (NULL,
 * or without room: it is cut). */
enum tsdb_status tsdb_error_set_whole(struct tsdb_error *err, struct tsdb_arena *arena,
                                      enum tsdb_status status, uint64_t pos, const char *format,
                                      ...) TSDB_PRINTF(5, 6);
/* The text of an error that was set, as whole as it is known; lives as long as the error and the
 * arena. */
const char *tsdb_error_text(const struct tsdb_error *err);
/* TSDB_IO (TSDB_NOMEM for ENOMEM, TSDB_NOT_FOUND for ENOENT); appends ": <strerror>". */
enum tsdb_status tsdb_error_set_errno(struct tsdb_error *err, int sys_errno, const char *format,
                                      ...) TSDB_PRINTF(3, 4);
/* TSDB_NOMEM, "no memory for <what>": the one text for it. what: a noun with article, "a block". */
enum tsdb_status tsdb_error_nomem(struct tsdb_error *err, const char *what);
/* Put "<context>: " in front of the message, on the way up. Returns err->status. err may be NULL,
 * then returns `status`. */
enum tsdb_status tsdb_error_prefix(struct tsdb_error *err, enum tsdb_status status,
                                   const char *format, ...) TSDB_PRINTF(3, 4);
void tsdb_error_clear(struct tsdb_error *err);
/* Did the system say no because the disk, or what this user may use of it, is full? */
bool tsdb_error_is_no_space(const struct tsdb_error *err);

#if defined(__clang_analyzer__) && !defined(TSDB_ERROR_DEFINED_HERE)
/* The analyzer looks into no other file: let it see which status comes back. */
#define tsdb_error_set(err, status, ...)                                                           \
    ((void)(tsdb_error_set)(err, status, __VA_ARGS__), (status))
#define tsdb_error_set_at(err, status, ...)                                                        \
    ((void)(tsdb_error_set_at)(err, status, __VA_ARGS__), (status))
#define tsdb_error_set_whole(err, arena, status, ...)                                              \
    ((void)(tsdb_error_set_whole)(err, arena, status, __VA_ARGS__), (status))
#define tsdb_error_nomem(err, what) ((void)(tsdb_error_nomem)(err, what), TSDB_NOMEM)
#define tsdb_error_prefix(err, status, ...)                                                        \
    ((void)(tsdb_error_prefix)(err, status, __VA_ARGS__), (status))
#endif

#endif
