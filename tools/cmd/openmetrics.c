#include "tools/cmd/openmetrics.h"

#include "base/format.h"

#include <math.h>

#define SECONDS_MAX 9.0e15

struct cursor {
    const char *begin, *pos, *end;
    struct tsdb_arena *arena;
    struct tsdb_error *err;
};

static enum tsdb_status invalid(const struct cursor *c, const char *expected)
{
    size_t at = (size_t)(c->pos - c->begin);
    return tsdb_error_set_at(c->err, TSDB_INVALID, at, "column %zu: expected %s", at + 1, expected);
}

static void skip_space(struct cursor *c)
{
    while (c->pos < c->end && (*c->pos == ' ' || *c->pos == '\t')) {
        c->pos++;
    }
}

static bool take(struct cursor *c, char ch)
{
    bool is = c->pos < c->end && *c->pos == ch;
    c->pos += is;
    return is;
}

static bool is_name(char ch, bool first, bool colon)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_' ||
           (colon && ch == ':') || (!first && ch >= '0' && ch <= '9');
}

static enum tsdb_status take_name(struct cursor *c, bool colon, const char *what, const char **out,
                                  uint32_t *out_len)
{
    const char *begin = c->pos;
    while (c->pos < c->end && is_name(*c->pos, c->pos == begin, colon)) {
        c->pos++;
    }
    if (c->pos == begin) {
        return invalid(c, what);
    }
    *out = begin;
    *out_len = (uint32_t)(c->pos - begin);
    return TSDB_OK;
}

/* Behind the opening quote. Borrowed where nothing is escaped. */
static enum tsdb_status take_quoted(struct cursor *c, const char **out, uint32_t *out_len)
{
    const char *begin = c->pos;
    bool escaped = false;
    while (c->pos < c->end && *c->pos != '"') {
        bool backslash = *c->pos == '\\';
        escaped = escaped || backslash;
        c->pos += backslash && c->end - c->pos > 1 ? 2 : 1;
    }
    if (c->pos >= c->end) {
        c->pos = c->end;
        return invalid(c, "a closing quote");
    }
    size_t len = (size_t)(c->pos - begin);
    c->pos++;
    *out = begin;
    *out_len = (uint32_t)len;
    if (!escaped) {
        return TSDB_OK;
    }
    char *copy = tsdb_arena_alloc(c->arena, len + 1, 1);
    if (!copy) {
        return tsdb_error_set(c->err, tsdb_arena_status(c->arena), "no memory for a label");
    }
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char ch = begin[i];
        if (ch == '\\' && i + 1 < len) {
            char next = begin[++i];
            if (next != 'n' && next != '"' && next != '\\') {
                copy[n++] = '\\'; /* another escape stands for itself, as Prometheus reads it */
            }
            ch = next == 'n' ? '\n' : next;
        }
        copy[n++] = ch;
    }
    *out = copy;
    *out_len = (uint32_t)n;
    return TSDB_OK;
}

static enum tsdb_status add_label(struct cursor *c, struct openmetrics_line *l,
                                  struct tsdb_label label)
{
    if (l->label_count == TSDB_LABELS_MAX) {
        return tsdb_error_set(c->err, TSDB_LIMIT, "more than %d labels", TSDB_LABELS_MAX);
    }
    l->labels[l->label_count++] = label;
    return TSDB_OK;
}

/* name="value", or a quoted metric name, or "quoted name"="value" */
static enum tsdb_status take_label(struct cursor *c, struct openmetrics_line *l)
{
    struct tsdb_label label = tsdb_label_make(TSDB_METRIC_NAME, "");
    const char *text = NULL;
    uint32_t len = 0;
    bool quoted = take(c, '"');
    enum tsdb_status status = quoted ? take_quoted(c, &text, &len)
                                     : take_name(c, false, "the name of a label", &text, &len);
    if (status != TSDB_OK) {
        return status;
    }
    skip_space(c);
    if (!take(c, '=')) {
        if (!quoted) {
            return invalid(c, "=");
        }
        label.value = text;
        label.value_len = len;
        return add_label(c, l, label);
    }
    label.name = text;
    label.name_len = len;
    skip_space(c);
    if (!take(c, '"')) {
        return invalid(c, "a quoted value");
    }
    status = take_quoted(c, &label.value, &label.value_len);
    return status == TSDB_OK ? add_label(c, l, label) : status;
}

static enum tsdb_status take_labels(struct cursor *c, struct openmetrics_line *l)
{
    for (;;) {
        skip_space(c);
        if (take(c, '}')) {
            return TSDB_OK;
        }
        enum tsdb_status status = take_label(c, l);
        if (status != TSDB_OK) {
            return status;
        }
        skip_space(c);
        if (!take(c, ',')) {
            return take(c, '}') ? TSDB_OK : invalid(c, ", or }");
        }
    }
}

static enum tsdb_status take_series(struct cursor *c, struct openmetrics_line *l)
{
    /* Room for the most that there may be is taken once, not of the arena for every line. */
    static _Thread_local struct tsdb_label most[TSDB_LABELS_MAX];
    const char *begin = c->pos;
    enum tsdb_status status = TSDB_OK;
    l->labels = most;
    if (c->pos < c->end && *c->pos != '{') {
        struct tsdb_label name = tsdb_label_make(TSDB_METRIC_NAME, "");
        status = take_name(c, true, "the name of a metric", &name.value, &name.value_len);
        if (status == TSDB_OK) {
            status = add_label(c, l, name);
        }
    }
    const char *end = c->pos;
    skip_space(c);
    if (status == TSDB_OK && take(c, '{')) {
        status = take_labels(c, l);
        end = c->pos;
    }
    l->series = (struct tsdb_slice){(const uint8_t *)begin, (size_t)(end - begin)};
    struct tsdb_label *labels = TSDB_ARENA_ARRAY(c->arena, struct tsdb_label, l->label_count + 1u);
    if (!labels) {
        return tsdb_error_set(c->err, tsdb_arena_status(c->arena), "no memory for labels");
    }
    memcpy(labels, most, l->label_count * sizeof *labels);
    l->labels = labels;
    return status;
}

/* A word up to white space. */
static struct tsdb_slice take_word(struct cursor *c)
{
    const char *begin = c->pos;
    while (c->pos < c->end && *c->pos != ' ' && *c->pos != '\t') {
        c->pos++;
    }
    return (struct tsdb_slice){(const uint8_t *)begin, (size_t)(c->pos - begin)};
}

static enum tsdb_status take_time(struct cursor *c, bool milliseconds, struct openmetrics_line *l)
{
    const char *begin = c->pos;
    struct tsdb_slice word = take_word(c);
    const char *text = (const char *)word.data;
    double seconds = 0;
    l->has_time = true;
    if (milliseconds) {
        if (tsdb_parse_i64(text, word.len, &l->t_ms)) {
            return TSDB_OK;
        }
    } else if (tsdb_parse_float(text, word.len, &seconds) && seconds > -SECONDS_MAX &&
               seconds < SECONDS_MAX) {
        l->t_ms = (int64_t)llround(seconds * 1000);
        return TSDB_OK;
    }
    c->pos = begin;
    return invalid(c, milliseconds ? "a time in milliseconds" : "a time in seconds");
}

static enum tsdb_status take_sample(struct cursor *c, bool milliseconds, struct openmetrics_line *l)
{
    enum tsdb_status status = take_series(c, l);
    if (status != TSDB_OK) {
        return status;
    }
    skip_space(c);
    const char *begin = c->pos;
    struct tsdb_slice word = take_word(c);
    if (!tsdb_parse_float((const char *)word.data, word.len, &l->value)) {
        c->pos = begin;
        return invalid(c, "a number");
    }
    skip_space(c);
    if (c->pos < c->end && *c->pos != '#') {
        status = take_time(c, milliseconds, l);
        skip_space(c);
    }
    if (status == TSDB_OK && c->pos < c->end && *c->pos == '#') {
        l->has_exemplar = true;
        c->pos = c->end;
    }
    return status == TSDB_OK && c->pos < c->end ? invalid(c, "the end of the line") : status;
}

enum tsdb_status openmetrics_parse(const char *line, size_t len, bool milliseconds,
                                   struct tsdb_arena *arena, struct openmetrics_line *out,
                                   struct tsdb_error *err)
{
    struct cursor c = {line, line, line + len, arena, err};
    *out = (struct openmetrics_line){.kind = OPENMETRICS_COMMENT};
    if (len > 0 && line[len - 1] == '\r') {
        c.end--;
    }
    skip_space(&c);
    if (c.pos == c.end) {
        return TSDB_OK;
    }
    if (*c.pos == '#') {
        size_t left = (size_t)(c.end - c.pos);
        out->kind =
            left == 5 && memcmp(c.pos, "# EOF", 5) == 0 ? OPENMETRICS_EOF : OPENMETRICS_COMMENT;
        return TSDB_OK;
    }
    out->kind = OPENMETRICS_SAMPLE;
    return take_sample(&c, milliseconds, out);
}
