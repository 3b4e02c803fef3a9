#include "ingest/text/text.h"

#include "base/format.h"
#include "model/sample.h"

#include <math.h>
#include <string.h>

/* One line: [begin, end), at p. The first fault is kept. */
struct line {
    const uint8_t *begin, *p, *end;
    struct tsdb_arena *arena;
    const char *fault;
    bool no_memory;
};

static bool fail(struct line *l, const char *what)
{
    if (!l->fault) {
        l->fault = what;
    }
    return false;
}

static bool at(const struct line *l, char c)
{
    return l->p < l->end && *l->p == (uint8_t)c;
}

static void blanks(struct line *l)
{
    while (at(l, ' ') || at(l, '\t')) {
        l->p++;
    }
}

static bool is_name_byte(uint8_t c, bool first, bool colon)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':') ||
           (!first && c >= '0' && c <= '9');
}

static bool read_name(struct line *l, bool colon, struct tsdb_slice *out)
{
    const uint8_t *begin = l->p;
    while (l->p < l->end && is_name_byte(*l->p, l->p == begin, colon)) {
        l->p++;
    }
    *out = (struct tsdb_slice){begin, (size_t)(l->p - begin)};
    return out->len > 0 || fail(l, "expected a name");
}

/* Escapes of raw[]: \\, \n and, in quoted strings, \". */
static bool unescape(struct line *l, struct tsdb_slice raw, bool quoted, struct tsdb_slice *out)
{
    *out = raw;
    if (raw.len == 0 || !memchr(raw.data, '\\', raw.len)) {
        return true;
    }
    uint8_t *to = tsdb_arena_alloc(l->arena, raw.len, 1);
    if (!to) {
        l->no_memory = true;
        return fail(l, "no memory");
    }
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++) {
        uint8_t c = raw.data[i];
        uint8_t next = c == '\\' && i + 1 < raw.len ? raw.data[i + 1] : 0;
        if (next == '\\' || next == 'n' || (quoted && next == '"')) {
            c = next == 'n' ? '\n' : next;
            i++;
        }
        to[n++] = c;
    }
    *out = (struct tsdb_slice){to, n};
    return true;
}

/* A string in double quotes. */
static bool read_string(struct line *l, struct tsdb_slice *out)
{
    if (!at(l, '"')) {
        return fail(l, "expected a string in double quotes");
    }
    const uint8_t *begin = ++l->p;
    while (l->p < l->end && *l->p != '"') {
        l->p += *l->p == '\\' && l->p + 1 < l->end ? 2 : 1;
    }
    if (!at(l, '"')) {
        return fail(l, "string does not end");
    }
    struct tsdb_slice raw = {begin, (size_t)(l->p - begin)};
    l->p++;
    return unescape(l, raw, true, out);
}

static struct tsdb_label label_of(struct tsdb_slice name, struct tsdb_slice value)
{
    return (struct tsdb_label){(const char *)name.data, (const char *)value.data,
                               (uint32_t)name.len, (uint32_t)value.len};
}

/* "{" was seen. named: a quoted string without a value may be the metric's name. */
static bool read_labels(struct line *l, struct tsdb_label *labels, uint32_t cap, uint32_t *count,
                        bool named)
{
    for (;;) {
        struct tsdb_slice name;
        struct tsdb_slice value;
        blanks(l);
        if (at(l, '}')) {
            l->p++;
            return true;
        }
        bool quoted = at(l, '"');
        if (quoted ? !read_string(l, &name) : !read_name(l, false, &name)) {
            return false;
        }
        blanks(l);
        if (*count == cap) {
            return fail(l, "too many labels");
        }
        if (named && quoted && *count == 0 && !at(l, '=')) {
            labels[(*count)++] = label_of(
                (struct tsdb_slice){(const uint8_t *)TSDB_METRIC_NAME, sizeof TSDB_METRIC_NAME - 1},
                name);
        } else {
            if (!at(l, '=')) {
                return fail(l, "expected =");
            }
            l->p++;
            blanks(l);
            if (!read_string(l, &value)) {
                return false;
            }
            labels[(*count)++] = label_of(name, value);
        }
        blanks(l);
        if (!at(l, '}') && !at(l, ',')) {
            return fail(l, "expected a comma or }");
        }
        l->p += at(l, ',');
    }
}

/* The bytes up to the next blank. */
static struct tsdb_slice read_word(struct line *l)
{
    const uint8_t *begin = l->p;
    while (l->p < l->end && *l->p != ' ' && *l->p != '\t') {
        l->p++;
    }
    return (struct tsdb_slice){begin, (size_t)(l->p - begin)};
}

static bool read_value(struct line *l, uint64_t *out)
{
    const uint8_t *begin = l->p;
    struct tsdb_slice w = read_word(l);
    double v = 0;
    if (w.len == 0 || !tsdb_parse_float((const char *)w.data, w.len, &v)) {
        l->p = begin;
        return fail(l, "expected a value");
    }
    *out = isnan(v) ? TSDB_NORMAL_NAN_BITS : tsdb_double_bits(v);
    return true;
}

/* Milliseconds, or seconds with a fraction. */
static bool read_time(struct line *l, bool seconds, int64_t *out_ms)
{
    const uint8_t *begin = l->p;
    struct tsdb_slice w = read_word(l);
    double v = 0;
    bool ok = !seconds && tsdb_parse_i64((const char *)w.data, w.len, out_ms);
    if (!ok && seconds && w.len > 0 && tsdb_parse_float((const char *)w.data, w.len, &v) &&
        fabs(v) < 9e15) {
        *out_ms = (int64_t)llround(v * 1000);
        ok = true;
    }
    if (!ok) {
        l->p = begin;
        return fail(l, seconds ? "expected a time in seconds" : "expected a time in milliseconds");
    }
    return true;
}

/* "#" was seen: {labels} value [time] */
static bool read_exemplar(struct line *l, struct text_out *out)
{
    struct text_sample *s = &out->sample;
    uint32_t count = 0;
    blanks(l);
    if (!at(l, '{')) {
        return fail(l, "expected the labels of an exemplar");
    }
    l->p++;
    if (!read_labels(l, out->exemplar_labels, out->exemplar_cap, &count, false)) {
        return false;
    }
    blanks(l);
    s->exemplar = (struct tsdb_exemplar){.labels = {out->exemplar_labels, count}};
    if (!read_value(l, &s->exemplar.bits)) {
        return false;
    }
    blanks(l);
    s->has_exemplar = true;
    return l->p == l->end || read_time(l, true, &s->exemplar.t_ms);
}

static bool read_sample(struct line *l, bool openmetrics, struct text_out *out)
{
    struct text_sample *s = &out->sample;
    struct tsdb_slice name;
    *s = (struct text_sample){.series = {l->p, 0}};
    if (!at(l, '{')) {
        if (!read_name(l, true, &name)) {
            return false;
        }
        out->labels[s->label_count++] = label_of(
            (struct tsdb_slice){(const uint8_t *)TSDB_METRIC_NAME, sizeof TSDB_METRIC_NAME - 1},
            name);
        s->series.len = (size_t)(l->p - s->series.data);
        blanks(l);
    }
    if (at(l, '{')) {
        l->p++;
        if (!read_labels(l, out->labels, out->label_cap, &s->label_count, s->label_count == 0)) {
            return false;
        }
        s->series.len = (size_t)(l->p - s->series.data);
    }
    blanks(l);
    if (!read_value(l, &s->bits)) {
        return false;
    }
    blanks(l);
    if (l->p < l->end && *l->p != '#') {
        s->has_time = true;
        if (!read_time(l, openmetrics, &s->t_ms)) {
            return false;
        }
        blanks(l);
    }
    if (openmetrics && at(l, '#')) {
        l->p++;
        if (!read_exemplar(l, out)) {
            return false;
        }
        blanks(l);
    }
    return l->p == l->end || fail(l, "expected the end of the line");
}

/* ---- comments ---- */

static bool type_of(struct tsdb_slice w, enum tsdb_metric_type *out)
{
    for (int i = 0; i < TSDB_METRIC_TYPE_COUNT; i++) {
        const char *name = tsdb_metric_type_name((enum tsdb_metric_type)i);
        if (w.len == strlen(name) && memcmp(w.data, name, w.len) == 0) {
            *out = (enum tsdb_metric_type)i;
            return true;
        }
    }
    *out = TSDB_METRIC_UNKNOWN;
    return w.len == 7 && memcmp(w.data, "untyped", 7) == 0;
}

static bool is_word(struct tsdb_slice w, const char *text)
{
    return w.len == strlen(text) && memcmp(w.data, text, w.len) == 0;
}

/* "#" was seen. */
static enum text_item read_comment(struct line *l, struct text_parser *p, struct text_out *out)
{
    blanks(l);
    struct tsdb_slice w = read_word(l);
    enum text_item item = is_word(w, "HELP")                     ? TEXT_HELP
                          : is_word(w, "TYPE")                   ? TEXT_TYPE
                          : p->openmetrics && is_word(w, "UNIT") ? TEXT_UNIT
                                                                 : TEXT_NOTHING;
    out->metadata = (struct tsdb_metadata){.type = TSDB_METRIC_UNKNOWN};
    if (p->openmetrics && is_word(w, "EOF")) {
        p->ended = true;
    }
    if (item == TEXT_NOTHING) {
        return item;
    }
    blanks(l);
    if (at(l, '"') ? !read_string(l, &out->metadata.metric)
                   : !read_name(l, true, &out->metadata.metric)) {
        return TEXT_FAULT;
    }
    blanks(l);
    struct tsdb_slice rest = {l->p, (size_t)(l->end - l->p)};
    if (item == TEXT_HELP) {
        return unescape(l, rest, p->openmetrics, &out->metadata.help) ? item : TEXT_FAULT;
    }
    while (rest.len > 0 && (rest.data[rest.len - 1] == ' ' || rest.data[rest.len - 1] == '\t')) {
        rest.len--;
    }
    if (item == TEXT_UNIT) {
        out->metadata.unit = rest;
    } else if (!type_of(rest, &out->metadata.type)) {
        fail(l, "unknown type of a metric");
        return TEXT_FAULT;
    }
    return item;
}

/* ---- lines ---- */

void text_init(struct text_parser *p, const void *text, size_t len, bool openmetrics)
{
    *p = (struct text_parser){.openmetrics = openmetrics};
    text_continue(p, text, len);
}

void text_continue(struct text_parser *p, const void *text, size_t len)
{
    static const uint8_t none;
    p->begin = p->pos = len > 0 ? text : &none;
    p->end = p->begin + len;
}

static enum text_item fault(const struct text_parser *p, const struct line *l,
                            struct tsdb_error *err)
{
    if (l->no_memory) {
        return TEXT_NOMEM;
    }
    if (!err) {
        return TEXT_FAULT;
    }
    size_t column = 1; /* in characters, as editors count */
    for (const uint8_t *q = l->begin; q < l->p; q++) {
        column += (*q & 0xc0) != 0x80;
    }
    uint64_t pos = (uint64_t)(l->p - p->begin);
    (void)tsdb_error_set_at(err, TSDB_INVALID, pos, "line %llu, column %zu: %s",
                            (unsigned long long)p->line, column, l->fault);
    return TEXT_FAULT;
}

enum text_item text_next(struct text_parser *p, struct text_out *out, struct tsdb_error *err)
{
    if (p->pos == p->end) {
        return TEXT_END;
    }
    const uint8_t *newline = memchr(p->pos, '\n', (size_t)(p->end - p->pos));
    struct line l = {
        .begin = p->pos, .p = p->pos, .end = newline ? newline : p->end, .arena = out->arena};
    p->pos = newline ? newline + 1 : p->end;
    p->line++;
    if (l.end > l.begin && l.end[-1] == '\r') {
        l.end--;
    }
    blanks(&l);
    if (l.p == l.end) {
        return TEXT_NOTHING;
    }
    if (p->ended) {
        p->pos = p->end;
        fail(&l, "nothing may follow # EOF");
        return fault(p, &l, err);
    }
    enum text_item item = TEXT_SAMPLE;
    if (at(&l, '#')) {
        l.p++;
        item = read_comment(&l, p, out);
    } else if (!read_sample(&l, p->openmetrics, out)) {
        item = TEXT_FAULT;
    }
    return item == TEXT_FAULT ? fault(p, &l, err) : item;
}
