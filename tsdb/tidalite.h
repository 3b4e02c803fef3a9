/* Tidalite as a library: the public, stable API for embedding the engine in another program.
 *
 * A database lives in one directory and belongs to one process. Series are named by labels; samples
 * are 64-bit floats with a time in Unix milliseconds, and are read back bit for bit (NaN payloads,
 * -0, infinities included).
 *
 *   struct tidalite_options o;
 *   tidalite_options_init(&o);
 *   o.path = "data";
 *   struct tidalite *db;
 *   if (tidalite_open(&o, &db) != TIDALITE_OK) { puts(tidalite_last_error()); ... }
 *
 * This header stands alone: it includes nothing of the engine, and compiles as C11 and C++. Names
 * and values do not change within a major version; structs grow at their end only, which
 * `struct_bytes` tells apart. Every function that can fail returns enum tidalite_status;
 * tidalite_last_error() then has a line of text for a person. Threads: a database may be used from
 * any number of threads; a cursor by one at a time. Link with -ltidalite's archive, see
 * examples/embed.c.
 */
#ifndef TSDB_TIDALITE_H
#define TSDB_TIDALITE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum tidalite_status {
    TIDALITE_OK = 0,
    TIDALITE_NO_MEMORY = 1,
    TIDALITE_IO = 2,          /* the operating system said no */
    TIDALITE_CORRUPT = 3,     /* stored bytes fail their check */
    TIDALITE_INVALID = 4,     /* the input is wrong; a retry cannot help */
    TIDALITE_NOT_FOUND = 5,   /* also: the end of a cursor */
    TIDALITE_LIMIT = 6,       /* a configured bound was reached */
    TIDALITE_UNSUPPORTED = 7, /* the directory was written by a later version */
    TIDALITE_BUSY = 8,        /* another process has the directory, or overload: try again */
    TIDALITE_READ_ONLY = 9    /* storage failed earlier: reads go on, writes do not */
};
/* "ok", "no_memory", ...; never NULL */
const char *tidalite_status_name(enum tidalite_status status);

/* What the calling thread's last failed call had to say; "" before the first. Valid until the next
 * call of this thread. */
const char *tidalite_last_error(void);
const char *tidalite_version(void); /* "0.2.0" */

/* When an append returns. In every mode the samples are visible to every select that starts later. */
enum tidalite_durability {
    /* no log: what was appended since the last checkpoint or close dies with the process */
    TIDALITE_MEMORY = 0,
    /* survives the death of the process; a power cut loses at most the last 100 ms */
    TIDALITE_BUFFERED = 1,
    /* survives a power cut */
    TIDALITE_STRICT = 2
};

struct tidalite_options {
    size_t struct_bytes;                 /* set by tidalite_options_init */
    const char *path;                    /* the directory; created (one level) if absent */
    enum tidalite_durability durability; /* the least that any append gets; BUFFERED */
    uint32_t threads;     /* owners of partitions, at most 16; 0 = as many as cores, at most 4 */
    int64_t retention_ms; /* samples older than now - this are refused and dropped; 0 = for ever */
    uint64_t series_max;  /* 0 = no bound */
};
/* A program compiled with an older header than the library's passes a shorter struct, whose missing
 * fields have their defaults; one compiled with a newer header is taken if the fields that this
 * library does not know are zero. */
void tidalite_options_init(struct tidalite_options *o);

struct tidalite;
/* Open, and wait until the data is loaded. *out is set on success only. */
enum tidalite_status tidalite_open(const struct tidalite_options *o, struct tidalite **out);
/* Make everything durable and release the directory. No other call may be running, no cursor open.
 * NULL is fine. After an error the handle is gone as well; the directory is consistent. */
enum tidalite_status tidalite_close(struct tidalite *db);

/* ---- writing ---- */
/* Strings need no NUL; UTF-8. An empty value is the same as no such label. The metric name is the
 * label "__name__". */
struct tidalite_label {
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};
struct tidalite_sample {
    int64_t t_ms;
    double value;
};
struct tidalite_series {
    const struct tidalite_label *labels; /* any order, names unique */
    size_t label_count;
    const struct tidalite_sample *samples; /* any order */
    size_t sample_count;
};
struct tidalite_append_result {
    uint64_t written;  /* samples that are stored now; the exact same sample again counts */
    uint64_t conflict; /* refused: the series has another value at that time */
    uint64_t bounds;   /* refused: older than retention, or later than now + 10 min */
    uint64_t limit;    /* refused: series_max reached */
};
/* Append and wait as long as `durability` (or the database's, if that is more) asks for. Labels are
 * checked before anything is stored. Single samples that are refused do not make it fail: see out
 * (may be NULL). On failure out says what was stored until then. */
enum tidalite_status tidalite_append(struct tidalite *db, const struct tidalite_series *series,
                                     size_t series_count, enum tidalite_durability durability,
                                     struct tidalite_append_result *out);

/* ---- reading ---- */
enum tidalite_match {
    TIDALITE_EQUAL = 0,
    TIDALITE_NOT_EQUAL = 1,
    TIDALITE_REGEX = 2, /* RE2, anchored at both ends */
    TIDALITE_NOT_REGEX = 3
};
/* A series without the label matches as if its value were "". */
struct tidalite_matcher {
    enum tidalite_match op;
    const char *name;
    size_t name_len;
    const char *value;
    size_t value_len;
};
struct tidalite_cursor;
/* One series of a cursor. Everything is borrowed: valid until the next call with the cursor. */
struct tidalite_view {
    const struct tidalite_label *labels; /* sorted by name */
    size_t label_count;
    const struct tidalite_sample *samples; /* by rising time */
    size_t sample_count;
    /* samples in the range that are native histograms, and so not in `samples` */
    size_t histogram_count;
};
/* The series that match all matchers (1 to 64), with their samples at min_ms <= t <= max_ms. */
enum tidalite_status tidalite_select(struct tidalite *db, const struct tidalite_matcher *matchers,
                                     size_t matcher_count, int64_t min_ms, int64_t max_ms,
                                     struct tidalite_cursor **out);
/* The next series that has a sample in the range. NOT_FOUND after the last. */
enum tidalite_status tidalite_cursor_next(struct tidalite_cursor *c, struct tidalite_view *out);
void tidalite_cursor_close(struct tidalite_cursor *c); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
