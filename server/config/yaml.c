#include "server/config/yaml.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum tsdb_status yaml_complain(const struct yaml_walk *w, const yaml_node_t *node, const char *what,
                               const char *detail)
{
    return tsdb_error_set(w->err, TSDB_INVALID, "%s:%zu: %s \"%.80s\"", w->name,
                          node->start_mark.line + 1, what, detail);
}

const char *yaml_text(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE) {
        return NULL;
    }
    const char *text = (const char *)node->data.scalar.value;
    return node->data.scalar.length == strlen(text) ? text : NULL;
}

static bool is_empty(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0;
}

enum tsdb_status yaml_each_key(struct yaml_walk *w, const yaml_node_t *node, const char *what,
                               yaml_key_fn fn)
{
    if (is_empty(node)) {
        return TSDB_OK;
    }
    if (node->type != YAML_MAPPING_NODE) {
        return yaml_complain(w, node, "expected a mapping for", what);
    }
    enum tsdb_status status = TSDB_OK;
    const yaml_node_pair_t *begin = node->data.mapping.pairs.start;
    for (const yaml_node_pair_t *p = begin; status == TSDB_OK && p < node->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *key_node = yaml_document_get_node(w->doc, p->key);
        const char *key = yaml_text(key_node);
        if (!key) {
            return yaml_complain(w, key_node, "expected plain keys in", what);
        }
        for (const yaml_node_pair_t *q = begin; q < p; q++) {
            if (strcmp(yaml_text(yaml_document_get_node(w->doc, q->key)), key) == 0) {
                return yaml_complain(w, key_node, "duplicate key", key);
            }
        }
        status = fn(w, key, key_node, yaml_document_get_node(w->doc, p->value));
    }
    return status;
}

enum tsdb_status yaml_each_item(struct yaml_walk *w, const yaml_node_t *node, const char *key,
                                yaml_item_fn fn)
{
    if (is_empty(node)) {
        return TSDB_OK;
    }
    if (node->type != YAML_SEQUENCE_NODE) {
        return yaml_complain(w, node, "expected a list for", key);
    }
    enum tsdb_status status = TSDB_OK;
    for (const yaml_node_item_t *i = node->data.sequence.items.start;
         status == TSDB_OK && i < node->data.sequence.items.top; i++) {
        status = fn(w, key, yaml_document_get_node(w->doc, *i));
    }
    return status;
}

enum tsdb_status yaml_take_text(const struct yaml_walk *w, const yaml_node_t *node, const char *key,
                                char *out, size_t cap)
{
    const char *text = yaml_text(node);
    if (!text) {
        return yaml_complain(w, node, "expected a text for", key);
    }
    if (strlen(text) >= cap) {
        return yaml_complain(w, node, "too long a text for", key);
    }
    memcpy(out, text, strlen(text) + 1);
    return TSDB_OK;
}

enum tsdb_status yaml_take_bool(const struct yaml_walk *w, const yaml_node_t *node, const char *key,
                                bool *out)
{
    const char *text = yaml_text(node);
    *out = text && strcmp(text, "true") == 0;
    return *out || (text && strcmp(text, "false") == 0)
               ? TSDB_OK
               : yaml_complain(w, node, "expected true or false for", key);
}

static enum tsdb_status parse_document(yaml_parser_t *parser, yaml_key_fn fn, struct yaml_walk *w)
{
    yaml_document_t doc;
    if (!yaml_parser_load(parser, &doc)) {
        return tsdb_error_set(w->err, TSDB_INVALID, "%s:%zu: %s", w->name,
                              parser->problem_mark.line + 1,
                              parser->problem ? parser->problem : "not valid YAML");
    }
    w->doc = &doc;
    const yaml_node_t *root = yaml_document_get_root_node(&doc);
    enum tsdb_status status = root ? yaml_each_key(w, root, "the file", fn) : TSDB_OK;
    yaml_document_delete(&doc);
    w->doc = NULL;
    return status;
}

enum tsdb_status yaml_parse(const char *name, const char *text, size_t len, yaml_key_fn fn,
                            void *out, struct tsdb_error *err)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return tsdb_error_nomem(err, "a configuration file");
    }
    struct yaml_walk w = {.name = name, .out = out, .err = err};
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    enum tsdb_status status = parse_document(&parser, fn, &w);
    yaml_parser_delete(&parser);
    return status;
}

enum tsdb_status yaml_read_text(const char *flag, const char *path, char **out, size_t *out_len,
                                struct tsdb_error *err)
{
    FILE *f = fopen(path, "rbe");
    if (!f) {
        return tsdb_error_set_errno(err, errno, "--%s %s", flag, path);
    }
    char *text = tsdb_mem_alloc(TSDB_MEM_SERVER, YAML_FILE_BYTES_MAX + 1);
    size_t len = text ? fread(text, 1, YAML_FILE_BYTES_MAX + 1, f) : 0;
    bool failed = ferror(f) != 0;
    fclose(f);
    enum tsdb_status status = TSDB_OK;
    if (!text) {
        return tsdb_error_nomem(err, "a configuration file");
    }
    if (failed) {
        status = tsdb_error_set(err, TSDB_IO, "--%s %s: cannot be read", flag, path);
    } else if (len > YAML_FILE_BYTES_MAX) {
        status = tsdb_error_set(err, TSDB_INVALID, "--%s %s: larger than %u bytes", flag, path,
                                YAML_FILE_BYTES_MAX);
    }
    if (status != TSDB_OK) {
        yaml_text_free(text);
        return status;
    }
    text[len] = '\0';
    *out = text;
    *out_len = len;
    return TSDB_OK;
}

void yaml_text_free(char *text)
{
    tsdb_mem_free(TSDB_MEM_SERVER, text, YAML_FILE_BYTES_MAX + 1);
}
