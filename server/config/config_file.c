/* Reads the YAML tree that libyaml makes; aliases share nodes there, so that nothing expands. */
#include "server/config/config_file.h"

#include "base/alloc.h"
#include "base/format.h"
#include "model/labels.h"
#include "server/config/yaml.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const sections_ignored[] = {
    "runtime",    "scrape_configs", "scrape_config_files",
    "rule_files", "remote_write",   "remote_read",
    "alerting",   "tracing"};
static const char *const global_ignored[] = {"scrape_interval",
                                             "scrape_timeout",
                                             "scrape_protocols",
                                             "rule_query_offset",
                                             "query_log_file",
                                             "scrape_failure_log_file",
                                             "body_size_limit",
                                             "sample_limit",
                                             "label_limit",
                                             "label_name_length_limit",
                                             "label_value_length_limit",
                                             "target_limit",
                                             "keep_dropped_targets",
                                             "metric_name_validation_scheme",
                                             "metric_name_escaping_scheme",
                                             "always_scrape_classic_histograms",
                                             "convert_classic_histograms_to_nhcb",
                                             "scrape_classic_histograms",
                                             "scrape_native_histograms",
                                             "extra_scrape_metrics"};

/* What the walk fills. */
struct reading {
    struct config_file *file;
    bool otlp_ignore; /* the list of attributes is ignore_resource_attributes */
};

static struct config_file *file_of(const struct yaml_walk *w)
{
    const struct reading *r = w->out;
    return r->file;
}

static struct reading *reading_of(struct yaml_walk *w)
{
    return w->out;
}

static const char *scalar(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

static bool listed(const char *const *list, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i], key) == 0) {
            return true;
        }
    }
    return false;
}

static void note_ignored(struct config_file *c, const char *prefix, const char *key)
{
    size_t used = strlen(c->ignored);
    snprintf(c->ignored + used, sizeof c->ignored - used, "%s%s%s", used ? ", " : "", prefix, key);
}

static enum tsdb_status on_external_label(struct yaml_walk *w, const char *key,
                                          const yaml_node_t *key_node, const yaml_node_t *value)
{
    struct config_file *c = file_of(w);
    if (value->type != YAML_SCALAR_NODE || value->data.scalar.length != strlen(scalar(value))) {
        return yaml_complain(w, value, "expected a text for label", key);
    }
    if (key[0] == '\0' || !tsdb_utf8_valid(key, strlen(key)) ||
        !tsdb_utf8_valid(scalar(value), strlen(scalar(value)))) {
        return yaml_complain(w, key_node, "not a valid label name or value for", key);
    }
    struct config_label *l;
    if (c->external_count == CONFIG_EXTERNAL_LABELS_MAX || strlen(key) >= sizeof l->name ||
        strlen(scalar(value)) >= sizeof l->value) {
        return yaml_complain(w, key_node, "too many external labels, or too long:", key);
    }
    uint32_t at = c->external_count++;
    for (; at > 0 && strcmp(c->external[at - 1].name, key) > 0; at--) {
        c->external[at] = c->external[at - 1];
    }
    l = &c->external[at];
    snprintf(l->name, sizeof l->name, "%s", key);
    snprintf(l->value, sizeof l->value, "%s", scalar(value));
    return TSDB_OK;
}

static enum tsdb_status on_global(struct yaml_walk *w, const char *key, const yaml_node_t *key_node,
                                  const yaml_node_t *value)
{
    if (strcmp(key, "external_labels") == 0) {
        return yaml_each_key(w, value, key, on_external_label);
    }
    if (strcmp(key, "evaluation_interval") == 0) {
        int64_t ms = 0;
        if (value->type != YAML_SCALAR_NODE ||
            !tsdb_parse_duration_ms(scalar(value), strlen(scalar(value)), &ms) || ms <= 0) {
            return yaml_complain(w, value, "expected a duration such as 1m for", key);
        }
        file_of(w)->evaluation_interval_ms = ms;
        return TSDB_OK;
    }
    if (listed(global_ignored, TSDB_ARRAY_LEN(global_ignored), key)) {
        note_ignored(file_of(w), "global.", key);
        return TSDB_OK;
    }
    return yaml_complain(w, key_node, "unknown key in global:", key);
}

/* ---- otlp ---- */

/* In the order of enum otlp_strategy (ingest/otlp/otlp.h). */
static const char *const strategies[] = {"UnderscoreEscapingWithSuffixes",
                                         "UnderscoreEscapingWithoutSuffixes",
                                         "NoUTF8EscapingWithSuffixes", "NoTranslation"};

static const struct {
    const char *key;
    size_t offset;
    bool inverted; /* the field says the opposite, so that zero is the default */
} otlp_switches[] = {
    {"promote_all_resource_attributes", offsetof(struct config_otlp, promote_all), false},
    {"keep_identifying_resource_attributes", offsetof(struct config_otlp, keep_identifying), false},
    {"convert_histograms_to_nhcb", offsetof(struct config_otlp, histograms_to_nhcb), false},
    {"promote_scope_metadata", offsetof(struct config_otlp, promote_scope), false},
    {"label_name_underscore_sanitization", offsetof(struct config_otlp, no_key_prefix), true},
    {"label_name_preserve_multiple_underscores", offsetof(struct config_otlp, join_underscores),
     true},
};

static enum tsdb_status on_attributes(struct yaml_walk *w, const char *key,
                                      const yaml_node_t *value)
{
    struct config_otlp *o = &file_of(w)->otlp;
    if (value->type == YAML_SCALAR_NODE && value->data.scalar.length == 0) {
        return TSDB_OK;
    }
    if (value->type != YAML_SEQUENCE_NODE) {
        return yaml_complain(w, value, "expected a list for", key);
    }
    for (const yaml_node_item_t *i = value->data.sequence.items.start;
         i < value->data.sequence.items.top; i++) {
        const yaml_node_t *item = yaml_document_get_node(w->doc, *i);
        if (item->type != YAML_SCALAR_NODE || item->data.scalar.length == 0 ||
            item->data.scalar.length != strlen(scalar(item))) {
            return yaml_complain(w, item, "expected the name of an attribute in", key);
        }
        if (o->attribute_count == CONFIG_OTLP_ATTRIBUTES_MAX ||
            item->data.scalar.length >= CONFIG_OTLP_ATTRIBUTE_BYTES_MAX) {
            return yaml_complain(w, item, "too many attributes, or too long:", scalar(item));
        }
        snprintf(o->attributes[o->attribute_count++], CONFIG_OTLP_ATTRIBUTE_BYTES_MAX, "%s",
                 scalar(item));
    }
    return TSDB_OK;
}

static enum tsdb_status on_strategy(struct yaml_walk *w, const yaml_node_t *value)
{
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(strategies) && value->type == YAML_SCALAR_NODE; i++) {
        if (strcmp(strategies[i], scalar(value)) == 0) {
            file_of(w)->otlp.strategy = i;
            return TSDB_OK;
        }
    }
    return yaml_complain(w, value, "unknown translation_strategy",
                         value->type == YAML_SCALAR_NODE ? scalar(value) : "");
}

static enum tsdb_status on_otlp(struct yaml_walk *w, const char *key, const yaml_node_t *key_node,
                                const yaml_node_t *value)
{
    if (strcmp(key, "translation_strategy") == 0) {
        return on_strategy(w, value);
    }
    if (strcmp(key, "promote_resource_attributes") == 0 ||
        strcmp(key, "ignore_resource_attributes") == 0) {
        bool ignore = key[0] == 'i';
        if (file_of(w)->otlp.attribute_count > 0 && reading_of(w)->otlp_ignore != ignore) {
            return yaml_complain(w, key_node,
                                 "only one of the lists of attributes may be given:", key);
        }
        reading_of(w)->otlp_ignore = ignore;
        return on_attributes(w, key, value);
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(otlp_switches); i++) {
        if (strcmp(otlp_switches[i].key, key) == 0) {
            bool on = value->type == YAML_SCALAR_NODE && strcmp(scalar(value), "true") == 0;
            if (!on && (value->type != YAML_SCALAR_NODE || strcmp(scalar(value), "false") != 0)) {
                return yaml_complain(w, value, "expected true or false for", key);
            }
            *(bool *)((char *)&file_of(w)->otlp + otlp_switches[i].offset) =
                on != otlp_switches[i].inverted;
            return TSDB_OK;
        }
    }
    return yaml_complain(w, key_node, "unknown key in otlp:", key);
}

static enum tsdb_status parse_otlp(struct yaml_walk *w, const yaml_node_t *value)
{
    enum tsdb_status status = yaml_each_key(w, value, "otlp", on_otlp);
    const struct config_otlp *o = &file_of(w)->otlp;
    if (status == TSDB_OK && o->attribute_count > 0 &&
        reading_of(w)->otlp_ignore != o->promote_all) {
        return yaml_complain(w, value,
                             o->promote_all ? "all attributes are promoted, and"
                                            : "attributes are ignored only with",
                             o->promote_all ? "promote_resource_attributes is given too"
                                            : "promote_all_resource_attributes");
    }
    return status;
}

/* ---- storage.tsdb.retention.series ---- */

static enum tsdb_status on_retention_key(struct yaml_walk *w, const char *key,
                                         const yaml_node_t *key_node, const yaml_node_t *value)
{
    struct config_retention_rule *r = &file_of(w)->retention[file_of(w)->retention_count];
    bool text = value->type == YAML_SCALAR_NODE && value->data.scalar.length > 0 &&
                value->data.scalar.length == strlen(scalar(value));
    if (strcmp(key, "match") == 0) {
        if (!text || value->data.scalar.length >= sizeof r->match) {
            return yaml_complain(w, value, "expected a selector for", key);
        }
        snprintf(r->match, sizeof r->match, "%s", scalar(value));
        return TSDB_OK;
    }
    if (strcmp(key, "time") == 0) {
        return text && tsdb_parse_duration_ms(scalar(value), strlen(scalar(value)), &r->keep_ms) &&
                       r->keep_ms > 0
                   ? TSDB_OK
                   : yaml_complain(w, value, "expected a duration such as 7d for", key);
    }
    return yaml_complain(w, key_node, "unknown key in storage.tsdb.retention.series:", key);
}

static enum tsdb_status parse_retention_series(struct yaml_walk *w, const yaml_node_t *list)
{
    if (list->type != YAML_SEQUENCE_NODE) {
        return yaml_complain(w, list, "expected a list for", "series");
    }
    for (const yaml_node_item_t *i = list->data.sequence.items.start;
         i < list->data.sequence.items.top; i++) {
        const yaml_node_t *node = yaml_document_get_node(w->doc, *i);
        if (file_of(w)->retention_count == CONFIG_RETENTION_RULES_MAX) {
            return yaml_complain(w, node, "too many rules in", "storage.tsdb.retention.series");
        }
        struct config_retention_rule *r = &file_of(w)->retention[file_of(w)->retention_count];
        enum tsdb_status status = yaml_each_key(w, node, "a rule", on_retention_key);
        if (status != TSDB_OK) {
            return status;
        }
        if (!r->match[0] || r->keep_ms == 0) {
            return yaml_complain(w, node, "a rule needs match and time in", "series");
        }
        file_of(w)->retention_count++;
    }
    return TSDB_OK;
}

static enum tsdb_status on_retention(struct yaml_walk *w, const char *key,
                                     const yaml_node_t *key_node, const yaml_node_t *value)
{
    (void)key_node;
    if (strcmp(key, "series") == 0) {
        return parse_retention_series(w, value);
    }
    note_ignored(file_of(w), "storage.tsdb.retention.", key); /* time and size are flags here */
    return TSDB_OK;
}

static enum tsdb_status on_tsdb(struct yaml_walk *w, const char *key, const yaml_node_t *key_node,
                                const yaml_node_t *value)
{
    (void)key_node;
    if (strcmp(key, "retention") == 0) {
        return yaml_each_key(w, value, "storage.tsdb.retention", on_retention);
    }
    note_ignored(file_of(w), "storage.tsdb.", key);
    return TSDB_OK;
}

static enum tsdb_status on_storage(struct yaml_walk *w, const char *key,
                                   const yaml_node_t *key_node, const yaml_node_t *value)
{
    (void)key_node;
    if (strcmp(key, "tsdb") == 0) {
        return yaml_each_key(w, value, "storage.tsdb", on_tsdb);
    }
    note_ignored(file_of(w), "storage.", key);
    return TSDB_OK;
}

static enum tsdb_status on_section(struct yaml_walk *w, const char *key,
                                   const yaml_node_t *key_node, const yaml_node_t *value)
{
    if (strcmp(key, "global") == 0) {
        return yaml_each_key(w, value, key, on_global);
    }
    if (strcmp(key, "otlp") == 0) {
        return parse_otlp(w, value);
    }
    if (strcmp(key, "storage") == 0) {
        return yaml_each_key(w, value, key, on_storage);
    }
    if (listed(sections_ignored, TSDB_ARRAY_LEN(sections_ignored), key)) {
        note_ignored(file_of(w), "", key);
        return TSDB_OK;
    }
    return yaml_complain(w, key_node, "unknown key", key);
}

enum tsdb_status config_file_parse(const char *name, const char *text, size_t len,
                                   struct config_file **out, struct tsdb_error *err)
{
    if (len > YAML_FILE_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "%s: larger than %u bytes", name,
                              YAML_FILE_BYTES_MAX);
    }
    struct config_file *c = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *c);
    if (!c) {
        return tsdb_error_nomem(err, "the configuration file");
    }
    c->evaluation_interval_ms = 60000;
    struct reading reading = {.file = c};
    enum tsdb_status status = yaml_parse(name, text, len, on_section, &reading, err);
    if (status != TSDB_OK) {
        config_file_destroy(c);
        return status;
    }
    *out = c;
    return TSDB_OK;
}

enum tsdb_status config_file_load(const char *path, struct config_file **out,
                                  struct tsdb_error *err)
{
    char *text = NULL;
    size_t len = 0;
    enum tsdb_status status = yaml_read_text("config.file", path, &text, &len, err);
    if (status == TSDB_OK) {
        status = config_file_parse(path, text, len, out, err);
        yaml_text_free(text);
    }
    return status;
}

void config_file_destroy(struct config_file *c)
{
    tsdb_mem_free(TSDB_MEM_SERVER, c, sizeof *c);
}

/* A YAML double-quoted scalar. */
static void put_quoted(struct tsdb_buf *out, const char *s)
{
    tsdb_buf_put_u8(out, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') {
            tsdb_buf_put_u8(out, '\\');
            tsdb_buf_put_u8(out, (uint8_t)*s);
        } else if ((unsigned char)*s < 0x20) {
            tsdb_buf_printf(out, "\\x%02x", (unsigned char)*s);
        } else {
            tsdb_buf_put_u8(out, (uint8_t)*s);
        }
    }
    tsdb_buf_put_u8(out, '"');
}

static void put_otlp(const struct config_otlp *o, struct tsdb_buf *out)
{
    tsdb_buf_printf(out, "otlp:\n  translation_strategy: %s\n", strategies[o->strategy]);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(otlp_switches); i++) {
        bool on = *(const bool *)((const char *)o + otlp_switches[i].offset);
        tsdb_buf_printf(out, "  %s: %s\n", otlp_switches[i].key,
                        on != otlp_switches[i].inverted ? "true" : "false");
    }
    if (o->attribute_count > 0) {
        tsdb_buf_printf(out, "  %s_resource_attributes:\n", o->promote_all ? "ignore" : "promote");
    }
    for (uint32_t i = 0; i < o->attribute_count; i++) {
        tsdb_buf_put_str(out, "    - ");
        put_quoted(out, o->attributes[i]);
        tsdb_buf_put_u8(out, '\n');
    }
}

static void put_retention(const struct config_file *c, struct tsdb_buf *out)
{
    tsdb_buf_put_str(out, "storage:\n  tsdb:\n    retention:\n      series:\n");
    for (uint32_t i = 0; i < c->retention_count; i++) {
        char time[64];
        tsdb_format_duration_ms(time, c->retention[i].keep_ms);
        tsdb_buf_put_str(out, "        - match: ");
        put_quoted(out, c->retention[i].match);
        tsdb_buf_printf(out, "\n          time: %s\n", time);
    }
}

static bool says_anything(const struct config_otlp *o)
{
    return o->strategy != 0 || o->attribute_count > 0 || o->promote_all || o->keep_identifying ||
           o->histograms_to_nhcb || o->promote_scope || o->no_key_prefix || o->join_underscores;
}

void config_file_yaml(const struct config_file *c, struct tsdb_buf *out)
{
    char interval[64];
    tsdb_format_duration_ms(interval, c ? c->evaluation_interval_ms : 60000);
    tsdb_buf_printf(out, "global:\n  evaluation_interval: %s\n", interval);
    if (c && c->external_count > 0) {
        tsdb_buf_put_str(out, "  external_labels:\n");
        for (uint32_t i = 0; i < c->external_count; i++) {
            tsdb_buf_put_str(out, "    ");
            put_quoted(out, c->external[i].name);
            tsdb_buf_put_str(out, ": ");
            put_quoted(out, c->external[i].value);
            tsdb_buf_put_u8(out, '\n');
        }
    }
    if (c && says_anything(&c->otlp)) {
        put_otlp(&c->otlp, out);
    }
    if (c && c->retention_count > 0) {
        put_retention(c, out);
    }
}
