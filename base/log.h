/* Structured logs on stderr: logfmt or JSON, one line a record, Prometheus's keys (ts, level,
 * component, msg). Log or return an error, not both.
 *
 * Threads: any (one innermost lock around the write). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum tsdb_log_level {
    TSDB_LOG_DEBUG = 0,
    TSDB_LOG_INFO,
    TSDB_LOG_WARN,
    TSDB_LOG_ERROR
};
enum tsdb_log_format {
    TSDB_LOG_LOGFMT = 0,
    TSDB_LOG_JSON
};

struct tsdb_log_field {
    const char *key; /* NULL ends the list */
    enum {
        TSDB_FIELD_STR,
        TSDB_FIELD_I64,
        TSDB_FIELD_U64,
        TSDB_FIELD_F64
    } type;
    union {
        const char *str; /* NULL prints as "" */
        int64_t i64;
        uint64_t u64;
        double f64;
    } v;
};
#define TSDB_S(k, s) ((struct tsdb_log_field){.key = (k), .type = TSDB_FIELD_STR, .v.str = (s)})
#define TSDB_I(k, n)                                                                               \
    ((struct tsdb_log_field){.key = (k), .type = TSDB_FIELD_I64, .v.i64 = (int64_t)(n)})
#define TSDB_U(k, n)                                                                               \
    ((struct tsdb_log_field){.key = (k), .type = TSDB_FIELD_U64, .v.u64 = (uint64_t)(n)})
#define TSDB_F(k, n) ((struct tsdb_log_field){.key = (k), .type = TSDB_FIELD_F64, .v.f64 = (n)})

void tsdb_log_configure(enum tsdb_log_level level, enum tsdb_log_format format);
bool tsdb_log_enabled(enum tsdb_log_level level);
void tsdb_log_fields(enum tsdb_log_level level, const char *component, const char *msg,
                     const struct tsdb_log_field *fields);
/* tsdb_log(TSDB_LOG_WARN, "wal", "segment poisoned", TSDB_U("segment", n),
 *          TSDB_S("err", err->msg)); */
#define tsdb_log(level, component, ...)                                                            \
    tsdb_log_pick_(level, component, __VA_ARGS__, (struct tsdb_log_field){.key = 0})
#define tsdb_log_pick_(level, component, msg, ...)                                                 \
    do {                                                                                           \
        if (tsdb_log_enabled(level)) {                                                             \
            tsdb_log_fields((level), (component), (msg),                                           \
                            (const struct tsdb_log_field[]){__VA_ARGS__});                         \
        }                                                                                          \
    } while (0)

#endif
