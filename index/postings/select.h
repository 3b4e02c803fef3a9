/* Matchers to series: one planner for the index in memory and the one on disk.
 *
 * A matcher that does not match the empty value asks for the series in the postings of the values
 * that it matches; one that does match it (a series without the label counts as "") takes away
 * those in the postings of the values that it does not match. So every matcher works on values that
 * exist, and "all series" appears only when no matcher narrows. Three kinds of step, in this order:
 *
 *   ONE      the postings of one value          x="a"        the shortest first
 *   LOOKUP   those of a small set of values     x=~"a|b"     marked in a bit set
 *   SCAN     ask about every value of the name  x=~".*a.+"   marked in a bit set
 *
 * As soon as few series are left, LOOKUP and SCAN ask those series for their own labels instead.
 *
 * What differs between the two indexes is a table of calls. For index/mem and index/disk only.
 * Threads: a selection belongs to one.
 */
#ifndef INDEX_POSTINGS_SELECT_H
#define INDEX_POSTINGS_SELECT_H

#include "base/arena.h"
#include "base/bytes.h"
#include "index/match/matcher.h"
#include "index/postings/postings.h"
#include "model/request.h"

/* A label name and one of its values, as the source knows them: it alone reads id and where. */
struct index_select_name {
    uint32_t id;
    uint32_t value_count; /* may be an estimate */
    uint64_t where;
};
struct index_select_value {
    uint32_t id;
    uint32_t series; /* filled by value_find only: how many there are, exactly */
    uint64_t where;
};
#define INDEX_SELECT_NO_VALUE UINT32_MAX

/* Every call answers what I/O says (CORRUPT, IO, NOMEM) beside what stands here. */
struct index_select_ops {
    /* OK, NOT_FOUND without a text. */
    enum tsdb_status (*name_find)(void *ctx, const char *name, size_t len,
                                  struct index_select_name *out, struct tsdb_error *err);
    enum tsdb_status (*value_find)(void *ctx, const struct index_select_name *name,
                                   struct tsdb_slice value, struct index_select_value *out,
                                   struct tsdb_error *err);
    /* Walk the values of a name: *cursor is 0 first, and the source's afterwards. NOT_FOUND behind
     * the last. The string is valid until the next call. */
    enum tsdb_status (*value_next)(void *ctx, const struct index_select_name *name,
                                   uint64_t *cursor, struct index_select_value *out,
                                   struct tsdb_slice *out_string, struct tsdb_error *err);
    /* The postings of a value: all of them into ids[value->series]; keep or remove them in
     * ids[*count], in place; set their bits. */
    enum tsdb_status (*postings_all)(void *ctx, const struct index_select_value *value,
                                     uint32_t *ids, struct tsdb_error *err);
    enum tsdb_status (*postings_filter)(void *ctx, const struct index_select_value *value,
                                        bool keep, uint32_t *ids, uint32_t *count,
                                        struct tsdb_error *err);
    enum tsdb_status (*postings_mark)(void *ctx, const struct index_select_value *value,
                                      uint64_t *bits, struct tsdb_error *err);
    /* The value that series ids[i] has of a name, as a number that the source can turn into its
     * string; INDEX_SELECT_NO_VALUE: none. Called with i = 0, 1, ... count - 1 for one name; what
     * stands in front of i may be overwritten. */
    enum tsdb_status (*series_value)(void *ctx, const struct index_select_name *name,
                                     const uint32_t *ids, uint32_t count, uint32_t i,
                                     uint32_t *out_value, struct tsdb_error *err);
    enum tsdb_status (*value_string)(void *ctx, uint32_t value, struct tsdb_slice *out,
                                     struct tsdb_error *err);
};
struct index_select_source {
    const struct index_select_ops *ops;
    void *ctx;
    uint32_t series_count; /* ids below are selected from */
};

/* Ids of the series that match all matchers, rising, into arena memory (NULL is possible for none).
 * No matcher: all series. LIMIT, NOMEM (arena), CANCELLED, TIMEOUT by `request` (may be NULL), and
 * what the source says. */
enum tsdb_status index_select(const struct index_select_source *source,
                              const struct index_matcher *const *matchers, uint32_t matcher_count,
                              const struct tsdb_request *request, struct tsdb_arena *arena,
                              uint32_t **out_ids, uint32_t *out_count,
                              struct tsdb_error *err) TSDB_WUR;

#endif
