#include "ingest/otlp/names.h"

#include <string.h>

/* The longest that a unit or a suffix adds, beside the unit's own bytes. */
#define SUFFIX_BYTES_MAX 64u

struct pair {
    const char *from, *to;
};
static const struct pair units[] = {
    {"d", "days"},
    {"h", "hours"},
    {"min", "minutes"},
    {"s", "seconds"},
    {"ms", "milliseconds"},
    {"us", "microseconds"},
    {"ns", "nanoseconds"},
    {"By", "bytes"},
    {"KiBy", "kibibytes"},
    {"MiBy", "mebibytes"},
    {"GiBy", "gibibytes"},
    {"TiBy", "tibibytes"},
    {"KBy", "kilobytes"},
    {"MBy", "megabytes"},
    {"GBy", "gigabytes"},
    {"TBy", "terabytes"},
    {"m", "meters"},
    {"V", "volts"},
    {"A", "amperes"},
    {"J", "joules"},
    {"W", "watts"},
    {"g", "grams"},
    {"Cel", "celsius"},
    {"Hz", "hertz"},
    {"1", ""},
    {"%", "percent"},
};
static const struct pair per_units[] = {
    {"s", "second"}, {"m", "minute"}, {"h", "hour"}, {"d", "day"},
    {"w", "week"},   {"mo", "month"}, {"y", "year"},
};

static struct tsdb_slice slice_of(const char *s)
{
    return (struct tsdb_slice){(const uint8_t *)s, strlen(s)};
}

static bool slice_is(struct tsdb_slice s, const char *text)
{
    return s.len == strlen(text) && (s.len == 0 || memcmp(s.data, text, s.len) == 0);
}

static bool ends_with(struct tsdb_slice s, struct tsdb_slice end)
{
    return s.len >= end.len &&
           (end.len == 0 || memcmp(s.data + s.len - end.len, end.data, end.len) == 0);
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c);
}

/* The bytes of UTF-8 behind the first of a character: part of what that became. */
static bool is_continuation(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

/* A text under construction; its room was reckoned before. */
struct text {
    uint8_t *data;
    size_t len;
};

static void put(struct text *t, struct tsdb_slice s)
{
    if (s.len > 0) {
        memcpy(t->data + t->len, s.data, s.len);
    }
    t->len += s.len;
}

/* Append a word, with "_" between words. */
static void put_word(struct text *t, struct tsdb_slice word)
{
    if (word.len > 0) {
        if (t->len > 0) {
            t->data[t->len++] = '_';
        }
        put(t, word);
    }
}

/* The next run of characters of a metric name. underscore: "_" is one of them. */
static bool next_word(struct tsdb_slice *rest, bool underscore, struct tsdb_slice *out)
{
    const uint8_t *p = rest->data;
    const uint8_t *end = p + rest->len;
    while (p < end && !(is_word(*p) || *p == ':' || (underscore && *p == '_'))) {
        p++;
    }
    const uint8_t *begin = p;
    while (p < end && (is_word(*p) || *p == ':' || (underscore && *p == '_'))) {
        p++;
    }
    *out = (struct tsdb_slice){begin, (size_t)(p - begin)};
    *rest = (struct tsdb_slice){p, (size_t)(end - p)};
    return out->len > 0;
}

static bool has_word(struct tsdb_slice name, struct tsdb_slice wanted)
{
    struct tsdb_slice word;
    while (next_word(&name, false, &word)) {
        if (word.len == wanted.len && memcmp(word.data, wanted.data, word.len) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- units ---- */

static struct tsdb_slice trim(struct tsdb_slice s)
{
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t')) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

static struct tsdb_slice map_unit(struct tsdb_slice unit, const struct pair *map, size_t count)
{
    unit = trim(unit);
    if (unit.len > 0 && (memchr(unit.data, '{', unit.len) || memchr(unit.data, '}', unit.len))) {
        return slice_of(""); /* an annotation, for people */
    }
    for (size_t i = 0; i < count; i++) {
        if (slice_is(unit, map[i].from)) {
            return slice_of(map[i].to);
        }
    }
    return unit;
}

/* "By/s": "bytes" and "second". */
static void split_unit(struct tsdb_slice unit, struct tsdb_slice *out_main,
                       struct tsdb_slice *out_per)
{
    const uint8_t *slash = unit.len > 0 ? memchr(unit.data, '/', unit.len) : NULL;
    struct tsdb_slice first = {unit.data, slash ? (size_t)(slash - unit.data) : unit.len};
    struct tsdb_slice second = slice_of("");
    if (slash) {
        second = (struct tsdb_slice){slash + 1, unit.len - first.len - 1};
    }
    *out_main = map_unit(first, units, TSDB_ARRAY_LEN(units));
    *out_per = map_unit(second, per_units, TSDB_ARRAY_LEN(per_units));
}

/* A unit as words: other characters are "_", one at a time, none in front or behind. */
static struct tsdb_slice clean_unit(struct tsdb_slice unit, struct tsdb_arena *arena, bool *failed)
{
    struct text t = {tsdb_arena_alloc(arena, unit.len + 1, 1), 0};
    *failed |= !t.data;
    struct tsdb_slice word;
    while (t.data && next_word(&unit, false, &word)) {
        put_word(&t, word);
    }
    return (struct tsdb_slice){t.data, t.len};
}

/* ---- metrics ---- */

static bool has_letters(struct tsdb_slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] != '_') {
            return true;
        }
    }
    return false;
}

static void put_words(struct text *t, struct tsdb_slice name, bool underscore,
                      struct tsdb_slice without)
{
    struct tsdb_slice word;
    while (next_word(&name, underscore, &word)) {
        if (without.len == 0 || word.len != without.len ||
            memcmp(word.data, without.data, word.len) != 0) {
            put_word(t, word);
        }
    }
}

/* Words of the name, of the unit, and the kind of metric. */
static void name_with_words(struct text *t, struct tsdb_slice name, struct tsdb_slice main_unit,
                            struct tsdb_slice per_unit, struct tsdb_slice kind)
{
    put_words(t, name, false, kind);
    if (!has_word(name, main_unit)) {
        put_word(t, main_unit);
    }
    if (per_unit.len > 0) {
        put_word(t, slice_of("per"));
        put_word(t, per_unit);
    }
    put_word(t, kind);
}

static struct tsdb_slice cut_suffix(struct tsdb_slice name, struct tsdb_slice suffix)
{
    if (suffix.len > 0 && ends_with(name, suffix) && name.len > suffix.len + 1) {
        name.len -= suffix.len + 1; /* and what stands before it */
    }
    return name;
}

/* The name stays as it is, but that its suffixes stand in this order: unit, per unit, kind. */
static void name_with_suffixes(struct text *t, struct tsdb_slice name, struct tsdb_slice main_unit,
                               struct tsdb_slice per_unit, struct tsdb_slice kind)
{
    uint8_t *per = t->data; /* built first, in the room of the result */
    name = cut_suffix(name, kind);
    if (per_unit.len > 0) {
        memcpy(per, "per_", 4);
        memcpy(per + 4, per_unit.data, per_unit.len);
        name = cut_suffix(name, (struct tsdb_slice){per, 4 + per_unit.len});
    }
    t->len = 0;
    put(t, name);
    if (main_unit.len > 0 && !ends_with(name, main_unit)) {
        put_word(t, main_unit);
    }
    if (per_unit.len > 0) {
        put_word(t, slice_of("per"));
        put_word(t, per_unit);
    }
    put_word(t, kind);
}

enum tsdb_status otlp_metric_name(const struct otlp_options *o, struct tsdb_slice name,
                                  struct tsdb_slice unit, bool gauge, bool counter,
                                  struct tsdb_arena *arena, struct tsdb_slice *out,
                                  struct tsdb_error *err)
{
    bool suffixes =
        o->strategy == OTLP_UNDERSCORES_WITH_SUFFIXES || o->strategy == OTLP_UTF8_WITH_SUFFIXES;
    bool underscores =
        o->strategy == OTLP_UNDERSCORES_WITH_SUFFIXES || o->strategy == OTLP_UNDERSCORES;
    struct text t = {tsdb_arena_alloc(arena, name.len + unit.len + SUFFIX_BYTES_MAX, 1), 0};
    struct tsdb_slice main_unit = slice_of("");
    struct tsdb_slice per_unit = slice_of("");
    struct tsdb_slice kind = slice_of(!suffixes                      ? ""
                                      : counter                      ? "total"
                                      : gauge && slice_is(unit, "1") ? "ratio"
                                                                     : "");
    bool failed = false;
    if (!t.data) {
        return tsdb_arena_status(arena);
    }
    if (suffixes) {
        split_unit(unit, &main_unit, &per_unit);
    }
    if (underscores) {
        main_unit = clean_unit(main_unit, arena, &failed);
        per_unit = clean_unit(per_unit, arena, &failed);
    }
    if (failed) {
        return tsdb_arena_status(arena);
    }
    if (underscores) {
        t.data[0] = '_'; /* for a name that begins with a digit */
        struct text words = {t.data + 1, 0};
        if (suffixes) {
            name_with_words(&words, name, main_unit, per_unit, kind);
        } else {
            put_words(&words, name, true, kind);
        }
        bool digit = words.len > 0 && is_digit(words.data[0]);
        *out = digit ? (struct tsdb_slice){t.data, words.len + 1}
                     : (struct tsdb_slice){words.data, words.len};
    } else {
        name_with_suffixes(&t, name, main_unit, per_unit, kind);
        *out = (struct tsdb_slice){t.data, t.len};
    }
    if (name.len == 0 || (underscores && !has_letters(*out))) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "the name of a metric is empty, or only underscores are left of it");
    }
    return TSDB_OK;
}

/* ---- labels ---- */

enum tsdb_status otlp_label_name(const struct otlp_options *o, struct tsdb_slice name,
                                 struct tsdb_arena *arena, struct tsdb_slice *out,
                                 struct tsdb_error *err)
{
    if (name.len == 0) {
        return tsdb_error_set(err, TSDB_INVALID, "the name of an attribute is empty");
    }
    if (o->strategy == OTLP_UTF8 || o->strategy == OTLP_UTF8_WITH_SUFFIXES) {
        *out = name;
        return TSDB_OK;
    }
    struct text t = {tsdb_arena_alloc(arena, name.len + 4, 1), 4};
    if (!t.data) {
        return tsdb_arena_status(arena);
    }
    memcpy(t.data, "key_", 4);
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        bool again = o->join_underscores && t.len > 4 && t.data[t.len - 1] == '_';
        if (is_word(c)) {
            t.data[t.len++] = c;
        } else if (!is_continuation(c) && !again) {
            t.data[t.len++] = '_';
        }
    }
    *out = (struct tsdb_slice){t.data + 4, t.len - 4};
    if (!has_letters(*out)) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "only underscores are left of the name of an attribute");
    }
    if (is_digit(out->data[0])) {
        *out = (struct tsdb_slice){t.data, t.len};
    } else if (!o->no_key_prefix && out->data[0] == '_' && out->data[1] != '_') {
        memcpy(t.data + 1, "key", 3);
        *out = (struct tsdb_slice){t.data + 1, t.len - 1};
    }
    return TSDB_OK;
}
