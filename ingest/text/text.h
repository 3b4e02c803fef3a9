/* The text formats of metrics, Prometheus's and OpenMetrics, line by line.
 *
 *   # HELP name text      # TYPE name counter      # UNIT name seconds      # EOF
 *   name{label="value",other="x"} 1.5 1700000000000
 *   {"utf-8 name","a label"="value"} 1.5 1700000000.5 # {trace_id="a"} 0.5 1700000000
 *
 * Timestamps are milliseconds in Prometheus's format and seconds in OpenMetrics; exemplars behind "#" and
 * "# EOF" (after which nothing may follow) are OpenMetrics. Escapes in values: \\ \" \n; other backslashes stay.
 * A line that is wrong is passed over: the next call goes on behind it. Nothing is copied but strings with
 * escapes, into the caller's arena. No byte outside the text is read. Threads: pure.
 */
#ifndef INGEST_TEXT_TEXT_H
#define INGEST_TEXT_TEXT_H

#include "model/exemplar.h"
#include "model/labels.h"
#include "model/metadata.h"

struct text_parser {
    const uint8_t *begin, *pos, *end;
    uint64_t line; /* of the last item, from 1 */
    bool openmetrics;
    bool ended; /* "# EOF" was there */
};

enum text_item {
    TEXT_END = 0,
    TEXT_NOTHING, /* a blank line, a comment without a meaning */
    TEXT_SAMPLE,
    TEXT_HELP,
    TEXT_TYPE,
    TEXT_UNIT,
    TEXT_FAULT, /* a line that is wrong: err says where */
    TEXT_NOMEM  /* the arena has no room for a string with escapes */
};

struct text_sample {
    struct tsdb_slice series; /* the bytes that name it: equal bytes are the same series */
    uint32_t label_count;     /* in the caller's labels, __name__ first, as written */
    uint64_t bits;
    bool has_time;
    int64_t t_ms;
    bool has_exemplar;
    struct tsdb_exemplar exemplar; /* labels in the caller's exemplar labels; t_ms 0: none */
};

/* Where an item goes. For TEXT_HELP, _TYPE and _UNIT: metadata.metric, and that one field. */
struct text_out {
    struct tsdb_label *labels; /* [label_cap] */
    uint32_t label_cap;
    struct tsdb_label *exemplar_labels; /* [exemplar_cap] */
    uint32_t exemplar_cap;
    struct tsdb_arena *arena;
    struct text_sample sample;
    struct tsdb_metadata metadata;
};

void text_init(struct text_parser *p, const void *text, size_t len, bool openmetrics);
/* The text goes on elsewhere: lines are counted on, the end has been reached. */
void text_continue(struct text_parser *p, const void *text, size_t len);
/* The next line; one call reads one line, so that the caller may stop anywhere. After TEXT_FAULT err is
 * INVALID: "line 3, column 7: expected a value"; err may be NULL, which is cheaper. */
enum text_item text_next(struct text_parser *p, struct text_out *out, struct tsdb_error *err);

#endif
