/* JSON pieces of API answers, written straight into a buffer. Formats: Prometheus util/jsonutil.
 * Threads: pure. Errors: the buffer's sticky `failed`. */
#ifndef QUERY_JSON_H
#define QUERY_JSON_H

#include "base/bytes.h"
#include "model/histogram.h"
#include "model/labels.h"

/* Quoted and escaped; invalid UTF-8 becomes U+FFFD. */
void json_string(struct tsdb_buf *out, const char *s, size_t len);
void json_labels(struct tsdb_buf *out, const struct tsdb_labels *labels);
void json_timestamp(struct tsdb_buf *out, int64_t ms);
void json_float(struct tsdb_buf *out, double v); /* as a JSON string: "1.5", "NaN" */
/* {"count":"","sum":"","buckets":[[rule,"lo","hi","count"],...]} */
void json_histogram(struct tsdb_buf *out, const struct tsdb_histogram *h);

#endif
