/* Matchers and time ranges: what a read asks for. The compiled form (regular expressions) is
 * index/'s. */
#ifndef MODEL_MATCHER_H
#define MODEL_MATCHER_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

enum tsdb_match_op {
    TSDB_MATCH_EQ = 0,
    TSDB_MATCH_NE,
    TSDB_MATCH_RE,
    TSDB_MATCH_NRE
};

/* A series without the label matches as if its value were "". Regular expressions are RE2, anchored
 * at both ends, dot matches newline: ^(?s:...)$. */
struct tsdb_matcher {
    enum tsdb_match_op op;
    const char *name; /* not NUL-terminated, borrowed */
    const char *value;
    uint32_t name_len;
    uint32_t value_len;
};

/* Closed interval of Unix ms. */
struct tsdb_time_range {
    int64_t min_ms;
    int64_t max_ms;
};
#define TSDB_TIME_ALL ((struct tsdb_time_range){INT64_MIN, INT64_MAX})

const char *tsdb_match_op_text(enum tsdb_match_op op); /* "=", "!=", "=~", "!~" */

#endif
