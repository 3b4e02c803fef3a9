/* Labels: what names a series.
 *
 * Two forms:
 *  - a view: array of {name, value} slices that borrow from elsewhere (a request body, the index);
 *  - canonical bytes: the sorted set, per label, nothing else:
 *
 *      uvarint name_len | name | uvarint value_len | value
 *
 * Canonical means: sorted by name bytewise, names unique and non-empty, values non-empty (an empty
 * value is an absent label), all valid UTF-8. Two label sets are the same series if and only if
 * their canonical bytes are equal. The metric name is the label "__name__".
 *
 * Threads: pure.
 */
#ifndef MODEL_LABELS_H
#define MODEL_LABELS_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define TSDB_METRIC_NAME "__name__"

struct tsdb_label {
    const char *name; /* not NUL-terminated */
    const char *value;
    uint32_t name_len;
    uint32_t value_len;
};
struct tsdb_labels {
    const struct tsdb_label *items;
    uint32_t count;
};

static inline struct tsdb_label tsdb_label_make(const char *name, const char *value)
{
    return (struct tsdb_label){name, value, (uint32_t)strlen(name), (uint32_t)strlen(value)};
}

/* Bytewise order of two strings, shorter prefix first. */
int tsdb_str_compare(const char *a, size_t a_len, const char *b, size_t b_len);
/* Order of label sets: name, value pair by pair, shorter prefix first (Prometheus's
 * labels.Compare). */
int tsdb_labels_compare(const struct tsdb_labels *a, const struct tsdb_labels *b);
bool tsdb_labels_equal(const struct tsdb_labels *a, const struct tsdb_labels *b);
/* The value of `name`, or NULL. Labels must be sorted. */
const struct tsdb_label *tsdb_labels_find(const struct tsdb_labels *labels, const char *name,
                                          size_t name_len);

/* Bring labels from outside to canonical order, in place: sort by name, drop empty values, then
 * check.
 *   items[*count]   in: as received; out: canonical, *count possibly less
 * Returns OK; INVALID with a text that Prometheus users know (err may be NULL): empty name, invalid
 * UTF-8 in name or value, duplicate name ("label name \"x\" is not unique: invalid sample"),
 * missing or empty __name__ when need_metric_name, over TSDB_LABELS_MAX or *_BYTES_MAX. */
enum tsdb_status tsdb_labels_canonicalize(struct tsdb_label *items, uint32_t *count,
                                          bool need_metric_name, struct tsdb_error *err) TSDB_WUR;

/* Canonical bytes: exact size, and writing them (out has that size; returns bytes written). */
size_t tsdb_labels_encoded_bytes(const struct tsdb_labels *labels);
size_t tsdb_labels_encode(const struct tsdb_labels *labels, uint8_t *out);
/* Read canonical bytes from outside (WAL, series.log): checked for bounds, order, uniqueness,
 * limits. items borrow from src. Returns OK, CORRUPT, or LIMIT when over cap labels. */
enum tsdb_status tsdb_labels_decode(const uint8_t *src, size_t len, struct tsdb_label *items,
                                    uint32_t cap, uint32_t *out_count,
                                    struct tsdb_error *err) TSDB_WUR;
/* The same, faster where many labels are those of `like`, which was decoded by one of these and whose bytes still
 * are there: a label with the same bytes was checked then. */
enum tsdb_status tsdb_labels_decode_like(const uint8_t *src, size_t len,
                                         const struct tsdb_labels *like, struct tsdb_label *items,
                                         uint32_t cap, uint32_t *out_count,
                                         struct tsdb_error *err) TSDB_WUR;

/* The keyed hash of the canonical bytes; it has part in the partition (model/placement.h). Up to 4096 bytes it
 * is tsdb_hash64 of them; longer ones are hashed in chained pieces, so always come here. */
uint64_t tsdb_labels_hash(const struct tsdb_hash_key *key, const struct tsdb_labels *labels);
/* The same of canonical bytes, which tsdb_labels_decode has found to be such. */
uint64_t tsdb_labels_hash_canonical(const struct tsdb_hash_key *key, struct tsdb_slice bytes);

/* A copy of array and strings in arena memory; out may be `from`. NOMEM, LIMIT. */
enum tsdb_status tsdb_labels_dup(const struct tsdb_labels *from, struct tsdb_arena *arena,
                                 struct tsdb_labels *out) TSDB_WUR;

/* `{a="b", c="d"}` / `name{a="b"}` as Prometheus prints a metric; strings escaped as Go's %q. */
void tsdb_labels_print(const struct tsdb_labels *labels, struct tsdb_buf *out);

#endif
