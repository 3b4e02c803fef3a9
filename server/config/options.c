/* The flag table and what is made from it. */
#include "server/config/options.h"

#include "base/format.h"
#include "base/limits.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum flag_kind {
    FLAG_BOOL,
    FLAG_STRING,
    FLAG_U32,
    FLAG_U64,
    FLAG_BYTES,
    FLAG_DURATION,
    FLAG_DURABILITY,
    FLAG_LOG_LEVEL,
    FLAG_LOG_FORMAT,
    FLAG_FEATURES
};

struct flag {
    const char *group; /* heading in --help; NULL: as the one before */
    const char *name;
    enum flag_kind kind;
    size_t offset;       /* of the field in struct server_options */
    size_t cap;          /* texts: room with NUL */
    int64_t min, max;    /* numbers, durations in ms */
    const char *initial; /* default, in the flag's own syntax */
    const char *help;
};

#define AT(field) offsetof(struct server_options, field)
#define DAY       INT64_C(86400000)

static const struct flag flags[] = {
#define FLAG(group, kind, field, name, min, max, initial, help)                                    \
    {group, name, FLAG_##kind, AT(field), 0, min, max, initial, help},
#define FLAG_TEXT(group, kind, field, cap, name, initial, help)                                    \
    {group, name, FLAG_##kind, AT(field), cap, 0, 0, initial, help},
#define FEATURE(field, name)
#define FEATURE_ON(name)
#define FLAG_ON(name)
#include "server/config/flags.def"
};

/* Flags for what cannot be turned off here. */
static const char *const flags_on[] = {
#define FLAG(group, kind, field, name, min, max, initial, help)
#define FLAG_TEXT(group, kind, field, cap, name, initial, help)
#define FEATURE(field, name)
#define FEATURE_ON(name)
#define FLAG_ON(name) name,
#include "server/config/flags.def"
};

#define ALWAYS_ON SIZE_MAX

static const struct {
    const char *name;
    size_t offset; /* of the field, or ALWAYS_ON */
} features[] = {
#define FLAG(group, kind, field, name, min, max, initial, help)
#define FLAG_TEXT(group, kind, field, cap, name, initial, help)
#define FEATURE(field, name) {name, AT(field)},
#define FEATURE_ON(name)     {name, ALWAYS_ON},
#define FLAG_ON(name)
#include "server/config/flags.def"
};

/* Fields are reached by offset: the table knows their type. */
static void *field_of(struct server_options *o, const struct flag *f)
{
    return (char *)o + f->offset;
}
static const void *const_field_of(const struct server_options *o, const struct flag *f)
{
    return (const char *)o + f->offset;
}

static const struct {
    const char *suffix;
    uint64_t factor;
} byte_units[] = {{"TiB", UINT64_C(1) << 40},
                  {"GiB", 1u << 30},
                  {"MiB", 1u << 20},
                  {"KiB", 1u << 10},
                  {"TB", UINT64_C(1) << 40},
                  {"GB", 1u << 30},
                  {"MB", 1u << 20},
                  {"KB", 1u << 10},
                  {"PiB", UINT64_C(1) << 50},
                  {"EiB", UINT64_C(1) << 60},
                  {"PB", UINT64_C(1) << 50},
                  {"EB", UINT64_C(1) << 60},
                  {"B", 1},
                  {"", 1}};

/* "64MiB". As in Prometheus, MB and MiB are the same power of two. */
static bool parse_bytes(const char *s, uint64_t *out)
{
    size_t digits = strspn(s, "0123456789");
    uint64_t n = 0;
    if (digits == 0 || !tsdb_parse_u64(s, digits, &n)) {
        return false;
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(byte_units); i++) {
        if (strcmp(s + digits, byte_units[i].suffix) == 0) {
            return !__builtin_mul_overflow(n, byte_units[i].factor, out);
        }
    }
    return false;
}

static void format_bytes(char *out, size_t cap, uint64_t v)
{
    for (size_t i = 0; i < 4; i++) {
        if (v >= byte_units[i].factor && v % byte_units[i].factor == 0) {
            snprintf(out, cap, "%" PRIu64 "%s", v / byte_units[i].factor, byte_units[i].suffix);
            return;
        }
    }
    snprintf(out, cap, "%" PRIu64 "B", v);
}

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const format_names[] = {"logfmt", "json"};

static int name_index(const char *const *names, size_t count, const char *value)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], value) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static enum tsdb_status bad_value(const struct flag *f, const char *value, const char *expected,
                                  struct tsdb_error *err)
{
    return tsdb_error_set(err, TSDB_INVALID, "flag --%s: invalid value \"%.60s\": %s", f->name,
                          value, expected);
}

static enum tsdb_status out_of_bounds(const struct flag *f, const char *value,
                                      struct tsdb_error *err)
{
    char lo[64];
    char hi[64];
    if (f->kind == FLAG_DURATION) {
        tsdb_format_duration_ms(lo, f->min);
        tsdb_format_duration_ms(hi, f->max);
    } else if (f->kind == FLAG_BYTES) {
        format_bytes(lo, sizeof lo, (uint64_t)f->min);
        format_bytes(hi, sizeof hi, (uint64_t)f->max);
    } else {
        snprintf(lo, sizeof lo, "%" PRId64, f->min);
        snprintf(hi, sizeof hi, "%" PRId64, f->max);
    }
    return f->max == INT64_MAX
               ? tsdb_error_set(err, TSDB_INVALID,
                                "flag --%s: \"%.60s\" is too small, the least is %s", f->name,
                                value, lo)
               : tsdb_error_set(err, TSDB_INVALID,
                                "flag --%s: \"%.60s\" is out of bounds, from %s to %s", f->name,
                                value, lo, hi);
}

static bool is_auto(const char *value)
{
    return strcmp(value, "auto") == 0;
}

static enum tsdb_status set_number(struct server_options *o, const struct flag *f,
                                   const char *value, struct tsdb_error *err)
{
    uint64_t v = 0;
    int64_t ms = 0;
    if (is_auto(f->initial) && is_auto(value)) {
        *(uint64_t *)field_of(o, f) = SERVER_AUTO;
        return TSDB_OK;
    }
    bool ok = f->kind == FLAG_BYTES      ? parse_bytes(value, &v)
              : f->kind == FLAG_DURATION ? tsdb_parse_duration_ms(value, strlen(value), &ms)
                                         : tsdb_parse_u64(value, strlen(value), &v);
    if (!ok) {
        return bad_value(f, value,
                         f->kind == FLAG_BYTES ? "expected a size such as 64MiB"
                         : f->kind == FLAG_DURATION
                             ? "expected a duration such as 15s, 1h30m or 15d"
                             : "expected a whole number",
                         err);
    }
    if (f->kind == FLAG_DURATION) {
        v = (uint64_t)ms;
    }
    if (v < (uint64_t)f->min || v > (uint64_t)f->max) {
        return out_of_bounds(f, value, err);
    }
    if (f->kind == FLAG_U32) {
        *(uint32_t *)field_of(o, f) = (uint32_t)v;
    } else if (f->kind == FLAG_DURATION) {
        *(int64_t *)field_of(o, f) = ms;
    } else {
        *(uint64_t *)field_of(o, f) = v;
    }
    return TSDB_OK;
}

static void warn_feature(const char *name, size_t len)
{
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)len, name);
    tsdb_log(TSDB_LOG_WARN, "options", "unknown feature is ignored", TSDB_S("feature", text));
}

static enum tsdb_status add_features(struct server_options *o, const struct flag *f,
                                     const char *value, struct tsdb_error *err)
{
    size_t used = strlen(o->features);
    if (used + strlen(value) + 2 > f->cap) {
        return bad_value(f, value, "too long", err);
    }
    if (value[0]) {
        snprintf(o->features + used, f->cap - used, "%s%s", used ? "," : "", value);
    }
    for (const char *p = value; *p;) {
        size_t len = strcspn(p, ",");
        bool known = len == 0;
        for (size_t i = 0; i < TSDB_ARRAY_LEN(features); i++) {
            if (strlen(features[i].name) == len && strncmp(features[i].name, p, len) == 0) {
                known = true;
                if (features[i].offset != ALWAYS_ON) {
                    *(bool *)((char *)o + features[i].offset) = true;
                }
            }
        }
        if (!known) {
            warn_feature(p, len);
        }
        p += len + (p[len] == ',');
    }
    return TSDB_OK;
}

static enum tsdb_status set_flag(struct server_options *o, const struct flag *f, const char *value,
                                 struct tsdb_error *err)
{
    int index;
    switch (f->kind) {
    case FLAG_BOOL:
        if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0) {
            return bad_value(f, value, "expected true or false", err);
        }
        *(bool *)field_of(o, f) = value[0] == 't';
        return TSDB_OK;
    case FLAG_STRING:
        if (strlen(value) >= f->cap) {
            return bad_value(f, value, "too long", err);
        }
        memcpy(field_of(o, f), value, strlen(value) + 1);
        return TSDB_OK;
    case FLAG_U32:
    case FLAG_U64:
    case FLAG_BYTES:
    case FLAG_DURATION:
        return set_number(o, f, value, err);
    case FLAG_DURABILITY:
        return tsdb_durability_parse(value, strlen(value), field_of(o, f))
                   ? TSDB_OK
                   : bad_value(f, value, "expected memory, buffered or strict", err);
    case FLAG_LOG_LEVEL:
        index = name_index(level_names, TSDB_ARRAY_LEN(level_names), value);
        if (index < 0) {
            return bad_value(f, value, "expected debug, info, warn or error", err);
        }
        *(enum tsdb_log_level *)field_of(o, f) = (enum tsdb_log_level)index;
        return TSDB_OK;
    case FLAG_LOG_FORMAT:
        index = name_index(format_names, TSDB_ARRAY_LEN(format_names), value);
        if (index < 0) {
            return bad_value(f, value, "expected logfmt or json", err);
        }
        *(enum tsdb_log_format *)field_of(o, f) = (enum tsdb_log_format)index;
        return TSDB_OK;
    case FLAG_FEATURES:
        return add_features(o, f, value, err);
    }
    return TSDB_INVALID;
}

void server_options_default(struct server_options *o)
{
    memset(o, 0, sizeof *o);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(flags); i++) {
        enum tsdb_status status = set_flag(o, &flags[i], flags[i].initial, NULL);
        (void)status; /* a test sets every default through the table and looks */
    }
}

/* Edit distance, for the hint only; names longer than the row are cut. */
static size_t distance(const char *a, size_t a_len, const char *b)
{
    enum {
        CAP = 48
    };
    size_t row[CAP + 1];
    size_t b_len = TSDB_MIN(strlen(b), (size_t)CAP);
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = TSDB_MIN(change, TSDB_MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_len];
}

static enum tsdb_status unknown_flag(const char *name, size_t len, struct tsdb_error *err)
{
    const char *best = NULL;
    size_t best_distance = 6; /* farther is no help */
    for (size_t i = 0; i < TSDB_ARRAY_LEN(flags); i++) {
        size_t d = distance(name, TSDB_MIN(len, (size_t)64), flags[i].name);
        if (d < best_distance) {
            best_distance = d;
            best = flags[i].name;
        }
    }
    return best ? tsdb_error_set(err, TSDB_INVALID, "unknown flag --%.*s; did you mean --%s?",
                                 (int)TSDB_MIN(len, (size_t)80), name, best)
                : tsdb_error_set(err, TSDB_INVALID,
                                 "unknown flag --%.*s; `tidalite serve --help` lists them all",
                                 (int)TSDB_MIN(len, (size_t)80), name);
}

static const struct flag *find_flag(const char *name, size_t len)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(flags); i++) {
        if (strlen(flags[i].name) == len && memcmp(flags[i].name, name, len) == 0) {
            return &flags[i];
        }
    }
    return NULL;
}

/* Is it a flag for what is always on? *out_used: 1, or 0 when it asks for off. */
static bool parse_always_on(const char *name, size_t len, const char *value, int *out_used,
                            struct tsdb_error *err)
{
    bool off = strncmp(name, "no-", 3) == 0;
    const char *bare = off ? name + 3 : name;
    size_t bare_len = off ? len - 3 : len;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(flags_on); i++) {
        if (strlen(flags_on[i]) != bare_len || memcmp(flags_on[i], bare, bare_len) != 0) {
            continue;
        }
        bool on = !off && (!value || strcmp(value, "true") == 0);
        *out_used = on;
        if (!on) {
            tsdb_error_set(err, TSDB_INVALID, "flag --%s: it is always on here", flags_on[i]);
        }
        return true;
    }
    return false;
}

/* One argument, and the next one when it holds the value. Returns how many were used, 0 on error.
 */
static int parse_one(struct server_options *o, char **argv, int left, struct tsdb_error *err)
{
    const char *arg = argv[0];
    if (strncmp(arg, "--", 2) != 0 || arg[2] == '\0') {
        tsdb_error_set(err, TSDB_INVALID, "unexpected argument \"%.80s\"; flags begin with --",
                       arg);
        return 0;
    }
    const char *name = arg + 2;
    const char *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct flag *f = find_flag(name, len);
    const struct flag *negated =
        !f && !equals && strncmp(name, "no-", 3) == 0 ? find_flag(name + 3, len - 3) : NULL;
    if (negated && negated->kind == FLAG_BOOL) {
        return set_flag(o, negated, "false", err) == TSDB_OK;
    }
    int used = 0;
    if (!f && parse_always_on(name, len, equals ? equals + 1 : NULL, &used, err)) {
        return used;
    }
    if (!f) {
        unknown_flag(name, len, err);
        return 0;
    }
    if (equals) {
        return set_flag(o, f, equals + 1, err) == TSDB_OK;
    }
    if (f->kind == FLAG_BOOL) {
        return set_flag(o, f, "true", err) == TSDB_OK;
    }
    if (left < 2) {
        tsdb_error_set(err, TSDB_INVALID, "flag --%s needs a value", f->name);
        return 0;
    }
    return set_flag(o, f, argv[1], err) == TSDB_OK ? 2 : 0;
}

/* How limits constrain each other. */
static enum tsdb_status check_together(const struct server_options *o, struct tsdb_error *err)
{
    if (o->inflight_bytes_max < o->body_bytes_max) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "flag --web.max-inflight-bytes must be at least --web.max-body-size, "
                              "or the largest body never fits");
    }
    if (o->listen_address[0] == '\0' || !strchr(o->listen_address, ':')) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "flag --web.listen-address: \"%.60s\": expected host:port",
                              o->listen_address);
    }
    if (o->data_path[0] == '\0') {
        return tsdb_error_set(err, TSDB_INVALID, "flag --storage.tsdb.path must not be empty");
    }
    if (o->published_path[0] != '\0' && o->block_range_max_ms != 0 &&
        o->block_range_max_ms != o->block_range_ms) {
        return tsdb_error_set(
            err, TSDB_INVALID,
            "flag --storage.tsdb.max-block-duration must be that of "
            "--storage.tsdb.min-block-duration, or Thanos's sidecar does not ship "
            "the blocks of --storage.prometheus-blocks.path");
    }
    return TSDB_OK;
}

enum tsdb_status server_options_parse(struct server_options *o, int argc, char **argv,
                                      bool *out_help, struct tsdb_error *err)
{
    *out_help = false;
    for (int i = 0; i < argc;) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *out_help = true;
            return TSDB_OK;
        }
        int used = parse_one(o, argv + i, argc - i, err);
        if (used == 0) {
            return TSDB_INVALID;
        }
        i += used;
    }
    return check_together(o, err);
}

/* Of a series with labels, tails and aliases, as long as it is not in blocks: about. */
#define SERIES_BYTES 1024u

void server_options_settle(struct server_options *o, uint64_t memory_bytes)
{
    if (o->head_bytes_max == SERVER_AUTO) {
        o->head_bytes_max = memory_bytes / 2;
    }
    if (o->query_total_bytes == SERVER_AUTO) {
        o->query_total_bytes = memory_bytes / 4;
    }
    o->block_range_max_ms = o->block_range_max_ms ? o->block_range_max_ms : o->block_range_ms;
    bool derived = o->series_max == SERVER_AUTO;
    if (derived) {
        o->series_max = o->head_bytes_max / SERIES_BYTES;
    }
    if (o->metric_series_max == SERVER_AUTO) {
        o->metric_series_max = derived ? o->series_max / 2 : 0;
    }
}

static void put_wrapped(struct tsdb_buf *out, const char *text, size_t indent, size_t width)
{
    size_t column = indent;
    tsdb_buf_printf(out, "%*s", (int)indent, "");
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column > indent && column + 1 + word > width) {
            tsdb_buf_printf(out, "\n%*s", (int)indent, "");
            column = indent;
        }
        if (column > indent) {
            tsdb_buf_put_u8(out, ' ');
            column++;
        }
        tsdb_buf_put(out, text, word);
        column += word;
        text += word;
        text += strspn(text, " ");
    }
    tsdb_buf_put_u8(out, '\n');
}

void server_options_help(struct tsdb_buf *out)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(flags); i++) {
        const struct flag *f = &flags[i];
        if (f->group) {
            tsdb_buf_printf(out, "\n%s\n", f->group);
        }
        if (f->kind == FLAG_BOOL) {
            tsdb_buf_printf(out, "  --[no-]%s  (default %s)\n", f->name, f->initial);
        } else {
            tsdb_buf_printf(out, "  --%s=%s\n", f->name, f->initial[0] ? f->initial : "...");
        }
        put_wrapped(out, f->help, 6, 100);
    }
    tsdb_buf_put_str(out, "\nAlways on, taken for the sake of existing command lines\n");
    for (size_t i = 0; i < TSDB_ARRAY_LEN(flags_on); i++) {
        tsdb_buf_printf(out, "  --%s\n", flags_on[i]);
    }
}

void server_flags_each(server_flag_fn fn, void *arg)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(flags); i++) {
        fn(arg, flags[i].group, flags[i].name, flags[i].initial, flags[i].help);
    }
}

void server_options_markdown(struct tsdb_buf *out)
{
    tsdb_buf_put_str(out, "# Configuration\n\nFlags of `tidalite serve`. This page is made from "
                          "the flag table: `build/tidalite help --markdown`.\n");
    for (size_t i = 0; i < TSDB_ARRAY_LEN(flags); i++) {
        const struct flag *f = &flags[i];
        if (f->group) {
            tsdb_buf_printf(out, "\n## %s\n\n| flag | default | what it does |\n|---|---|---|\n",
                            f->group);
        }
        tsdb_buf_printf(out, "| `--%s` | %s%s%s | %s |\n", f->name, f->initial[0] ? "`" : "",
                        f->initial[0] ? f->initial : "none", f->initial[0] ? "`" : "", f->help);
    }
    tsdb_buf_put_str(out, "\n## Always on\n\nTaken in silence, for the sake of existing command "
                          "lines; turning one off is refused.\n\n");
    for (size_t i = 0; i < TSDB_ARRAY_LEN(flags_on); i++) {
        tsdb_buf_printf(out, "- `--%s`\n", flags_on[i]);
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(features); i++) {
        if (features[i].offset == ALWAYS_ON) {
            tsdb_buf_printf(out, "- `--enable-feature=%s`\n", features[i].name);
        }
    }
}

static void format_value(const struct server_options *o, const struct flag *f, char *out,
                         size_t cap)
{
    const void *p = const_field_of(o, f);
    switch (f->kind) {
    case FLAG_BOOL:
        snprintf(out, cap, "%s", *(const bool *)p ? "true" : "false");
        return;
    case FLAG_STRING:
    case FLAG_FEATURES:
        snprintf(out, cap, "%s", (const char *)p);
        return;
    case FLAG_U32:
        snprintf(out, cap, "%" PRIu32, *(const uint32_t *)p);
        return;
    case FLAG_U64:
    case FLAG_BYTES:
        if (is_auto(f->initial) && *(const uint64_t *)p == SERVER_AUTO) {
            snprintf(out, cap, "auto");
        } else if (f->kind == FLAG_BYTES) {
            format_bytes(out, cap, *(const uint64_t *)p);
        } else {
            snprintf(out, cap, "%" PRIu64, *(const uint64_t *)p);
        }
        return;
    case FLAG_DURATION:
        tsdb_format_duration_ms(out, *(const int64_t *)p);
        return;
    case FLAG_DURABILITY:
        snprintf(out, cap, "%s", tsdb_durability_name(*(const enum tsdb_durability *)p));
        return;
    case FLAG_LOG_LEVEL:
        snprintf(out, cap, "%s", level_names[*(const enum tsdb_log_level *)p]);
        return;
    case FLAG_LOG_FORMAT:
        snprintf(out, cap, "%s", format_names[*(const enum tsdb_log_format *)p]);
        return;
    }
}

void server_options_visit(const struct server_options *o, server_option_fn fn, void *arg)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(flags); i++) {
        char value[4200];
        format_value(o, &flags[i], value, sizeof value);
        fn(arg, flags[i].name, value);
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(flags_on); i++) {
        fn(arg, flags_on[i], "true");
    }
}
