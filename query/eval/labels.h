/* Label sets derived from others, and a map from label sets (or parts of them) to numbers.
 * Everything new comes from the arena; strings are borrowed from the inputs. Threads: owned by one
 * query. */
#ifndef QUERY_EVAL_LABELS_H
#define QUERY_EVAL_LABELS_H

#include "model/labels.h"
#include "query/lang/ast.h"

#define QUERY_LABELS_EMPTY ((struct tsdb_labels){0})

/* All return false when the arena is exhausted; an array may be borrowed like the strings. Metadata is __name__, __type__ and __unit__: they
 * describe the metric and go where its name goes. */
bool labels_without_metadata(struct tsdb_arena *arena, const struct tsdb_labels *in,
                             struct tsdb_labels *out);
bool labels_keep(struct tsdb_arena *arena, const struct tsdb_labels *in, struct query_names names,
                 struct tsdb_labels *out);
/* Without the names and, if wanted, without __name__. */
bool labels_drop(struct tsdb_arena *arena, const struct tsdb_labels *in, struct query_names names,
                 bool drop_name, struct tsdb_labels *out);
/* An empty value removes the label. */
bool labels_set(struct tsdb_arena *arena, const struct tsdb_labels *in, struct query_str name,
                struct query_str value, struct tsdb_labels *out);
/* The value of a label, empty if it is not there. */
struct query_str labels_value(const struct tsdb_labels *labels, const char *name, size_t name_len);
struct query_str labels_metric_name(const struct tsdb_labels *labels);

/* {__name__="up", job="x"}: the name among the others. */
void labels_print(const struct tsdb_labels *labels, struct tsdb_buf *out);

/* What two label sets must share to count as the same. */
struct label_key {
    bool only;      /* just the names; else all but the names */
    bool drop_name; /* never __name__ (without `only`) */
    struct query_names names;
};
#define LABEL_KEY_ALL ((struct label_key){0})

/* Numbers 0, 1, 2... for distinct keys in the order in which they come. */
struct label_map {
    struct tsdb_arena *arena;
    uint8_t *key; /* scratch */
    size_t key_len, key_cap;
    struct label_map_slot *slots;
    uint32_t slot_count; /* a power of two */
    uint32_t count;
};
void label_map_init(struct label_map *m, struct tsdb_arena *arena);
/* *out_new may be NULL. */
bool label_map_put(struct label_map *m, const struct tsdb_labels *labels,
                   const struct label_key *key, uint32_t *out_id, bool *out_new);

#endif
