/* --config.file: YAML in Prometheus's shape.
 *
 * Used: global.external_labels, global.evaluation_interval, otlp, storage.tsdb.retention.series (our own).
 * Prometheus's other sections and global
 * keys are accepted and ignored, with one warning that names them, so that a person can point at an
 * existing prometheus.yml. An unknown key is an error with its line. Threads: immutable after load.
 */
#ifndef SERVER_CONFIG_CONFIG_FILE_H
#define SERVER_CONFIG_CONFIG_FILE_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>

#define CONFIG_EXTERNAL_LABELS_MAX      64
#define CONFIG_OTLP_ATTRIBUTES_MAX      128
#define CONFIG_OTLP_ATTRIBUTE_BYTES_MAX 128

struct config_label {
    char name[256];
    char value[1024];
};
/* The otlp: block; all zero is Prometheus's default. */
struct config_otlp {
    uint32_t strategy; /* index in Prometheus's list, see config_file.c */
    bool promote_all;  /* then `attributes` are the ignored ones */
    bool keep_identifying, histograms_to_nhcb, promote_scope;
    bool no_key_prefix, join_underscores;
    uint32_t attribute_count;
    char attributes[CONFIG_OTLP_ATTRIBUTES_MAX][CONFIG_OTLP_ATTRIBUTE_BYTES_MAX];
};
/* storage.tsdb.retention.series: series that match are kept for so long only. */
#define CONFIG_RETENTION_RULES_MAX 64
#define CONFIG_RETENTION_MATCH_MAX 2048
struct config_retention_rule {
    char match[CONFIG_RETENTION_MATCH_MAX];
    int64_t keep_ms;
};
struct config_file {
    uint32_t retention_count;
    struct config_retention_rule retention[CONFIG_RETENTION_RULES_MAX];
    int64_t evaluation_interval_ms; /* 60000 if the file does not say */
    uint32_t external_count;
    struct config_label external[CONFIG_EXTERNAL_LABELS_MAX]; /* sorted by name */
    struct config_otlp otlp;
    char ignored[512]; /* keys that have no meaning here, comma-separated */
};

/* text[len] untrusted; `name` is for messages: "prometheus.yml:12: unknown key \"globl\"". INVALID,
 * NOMEM. */
enum tsdb_status config_file_parse(const char *name, const char *text, size_t len,
                                   struct config_file **out, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status config_file_load(const char *path, struct config_file **out,
                                  struct tsdb_error *err) TSDB_WUR;
void config_file_destroy(struct config_file *c); /* NULL is fine */
/* The effective configuration as YAML; c may be NULL: the defaults. */
void config_file_yaml(const struct config_file *c, struct tsdb_buf *out);

#endif
