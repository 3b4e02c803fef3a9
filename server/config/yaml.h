/* Walking a YAML document with errors that name file and line; for the readers of configuration.
 *
 * libyaml's tree shares nodes between aliases, so nothing expands. Threads: owned by one. */
#ifndef SERVER_CONFIG_YAML_H
#define SERVER_CONFIG_YAML_H

#include "base/status.h"

#include <stdbool.h>
#include <yaml.h>

#define YAML_FILE_BYTES_MAX (1u << 20)

struct yaml_walk {
    const char *name; /* of the file, for messages */
    yaml_document_t *doc;
    void *out;
    struct tsdb_error *err;
};
typedef enum tsdb_status (*yaml_key_fn)(struct yaml_walk *w, const char *key,
                                        const yaml_node_t *key_node, const yaml_node_t *value);
typedef enum tsdb_status (*yaml_item_fn)(struct yaml_walk *w, const char *key,
                                         const yaml_node_t *item);

/* INVALID with "<file>:<line>: <what> "<detail>"". */
enum tsdb_status yaml_complain(const struct yaml_walk *w, const yaml_node_t *node, const char *what,
                               const char *detail);
/* Each key of a mapping, once. An empty node is an empty mapping. what: the mapping, for messages. */
enum tsdb_status yaml_each_key(struct yaml_walk *w, const yaml_node_t *node, const char *what,
                               yaml_key_fn fn) TSDB_WUR;
/* Each item of a list; an empty node is an empty list. */
enum tsdb_status yaml_each_item(struct yaml_walk *w, const yaml_node_t *node, const char *key,
                                yaml_item_fn fn) TSDB_WUR;
/* The text of a scalar without NULs, or NULL. Borrowed. */
const char *yaml_text(const yaml_node_t *node);
/* Into out[cap], whole. */
enum tsdb_status yaml_take_text(const struct yaml_walk *w, const yaml_node_t *node, const char *key,
                                char *out, size_t cap) TSDB_WUR;
enum tsdb_status yaml_take_bool(const struct yaml_walk *w, const yaml_node_t *node, const char *key,
                                bool *out) TSDB_WUR;

/* text[len] untrusted: parse, and walk the top mapping with fn. An empty document is an empty
 * mapping. INVALID, NOMEM. */
enum tsdb_status yaml_parse(const char *name, const char *text, size_t len, yaml_key_fn fn,
                            void *out, struct tsdb_error *err) TSDB_WUR;
/* A whole file into a new text[*out_len] with a NUL behind it, at most YAML_FILE_BYTES_MAX; to be
 * freed with yaml_text_free. */
enum tsdb_status yaml_read_text(const char *flag, const char *path, char **out, size_t *out_len,
                                struct tsdb_error *err) TSDB_WUR;
void yaml_text_free(char *text); /* NULL is fine */

#endif
