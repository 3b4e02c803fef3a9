#include "tools/prom/meta.h"

#include <inttypes.h>
#include <stdlib.h>

#define DEPTH_MAX    32u
#define KEY_BYTES    40u
#define VERSION      1
#define NUMBER_BYTES 32u

bool prom_ulid_valid(const char *s, size_t len)
{
    static const char letters[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    bool valid = len == PROM_ULID_CHARS;
    for (size_t i = 0; valid && i < len; i++) {
        valid = s[i] != '\0' && strchr(letters, s[i]);
    }
    return valid && s[0] <= '7'; /* 128 bits */
}

/* ---- printing ---- */
static void print_stat(struct tsdb_buf *out, const char *name, uint64_t value, bool *first)
{
    if (value > 0) {
        tsdb_buf_printf(out, "%s\n\t\t\"%s\": %" PRIu64, *first ? "" : ",", name, value);
        *first = false;
    }
}

void prom_meta_print(const struct prom_meta *m, struct tsdb_buf *out)
{
    bool first = true;
    tsdb_buf_printf(out, "{\n\t\"ulid\": \"%s\",\n\t\"minTime\": %" PRId64 ",\n", m->ulid,
                    m->t_min);
    tsdb_buf_printf(out, "\t\"maxTime\": %" PRId64 ",\n\t\"stats\": {", m->t_max);
    print_stat(out, "numSamples", m->samples, &first);
    print_stat(out, "numFloatSamples", m->float_samples, &first);
    print_stat(out, "numHistogramSamples", m->histogram_samples, &first);
    print_stat(out, "numSeries", m->series, &first);
    print_stat(out, "numChunks", m->chunks, &first);
    print_stat(out, "numTombstones", m->tombstones, &first);
    tsdb_buf_printf(out, "\n\t},\n\t\"compaction\": {\n\t\t\"level\": %" PRId64 ",\n", m->level);
    tsdb_buf_printf(out, "\t\t\"sources\": [\n\t\t\t\"%s\"\n\t\t]\n\t},\n", m->ulid);
    tsdb_buf_printf(out, "\t\"version\": %d\n}\n", VERSION);
}

/* ---- parsing ---- */
/* JSON as far as it is needed: values are skipped, or are a number or a short string. */
struct json {
    const uint8_t *p, *begin, *end;
    bool failed;
};

static void fail(struct json *j)
{
    j->failed = true;
}

static uint8_t peek(struct json *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r')) {
        j->p++;
    }
    return j->p < j->end && !j->failed ? *j->p : 0;
}

static bool take(struct json *j, uint8_t c)
{
    if (peek(j) != c) {
        return false;
    }
    j->p++;
    return true;
}

static void want(struct json *j, uint8_t c)
{
    if (!take(j, c)) {
        fail(j);
    }
}

/* A string; out gets it when it has no escapes and fits, else is empty. */
static void get_string(struct json *j, char *out, size_t cap)
{
    size_t n = 0;
    bool plain = true;
    want(j, '"');
    while (!j->failed) {
        if (j->p == j->end || *j->p < 0x20) {
            fail(j);
            break;
        }
        uint8_t c = *j->p++;
        if (c == '"') {
            break;
        }
        if (c == '\\') {
            plain = false;
            j->p += j->p < j->end;
        }
        plain = plain && n + 1 < cap;
        if (plain) {
            out[n++] = (char)c;
        }
    }
    if (cap > 0) {
        out[plain && !j->failed ? n : 0] = '\0';
    }
}

static bool is_scalar(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' || c == '.' ||
           c == 'E';
}

/* A number or a word, as text; empty and failed if there is none. */
static void get_scalar(struct json *j, char out[NUMBER_BYTES])
{
    size_t n = 0;
    peek(j);
    while (j->p < j->end && is_scalar(*j->p) && n + 1 < NUMBER_BYTES) {
        out[n++] = (char)*j->p++;
    }
    out[n] = '\0';
    if (n == 0 || (j->p < j->end && is_scalar(*j->p))) {
        fail(j);
    }
}

static int64_t get_integer(struct json *j)
{
    char text[NUMBER_BYTES], *end;
    get_scalar(j, text);
    if (j->failed) {
        return 0;
    }
    long long v = strtoll(text, &end, 10); /* a value out of range sticks at the end of it */
    if (*end != '\0' || end == text) {
        fail(j);
    }
    return v;
}

static uint64_t get_count(struct json *j)
{
    int64_t v = get_integer(j);
    if (v < 0) {
        fail(j);
    }
    return (uint64_t)v;
}

static void skip_value(struct json *j)
{
    char text[NUMBER_BYTES];
    uint8_t closing[DEPTH_MAX]; /* of what is open */
    uint32_t depth = 0;
    do {
        uint8_t c = peek(j);
        if (depth > 0 && c == closing[depth - 1]) {
            j->p++;
            depth--;
        } else if (c == '{' || c == '[') {
            if (depth == DEPTH_MAX) {
                fail(j);
                return;
            }
            closing[depth++] = c == '{' ? '}' : ']';
            j->p++;
            continue; /* the first member, or the end */
        } else if (c == '"') {
            get_string(j, NULL, 0);
        } else {
            get_scalar(j, text);
        }
        /* Members are not told from keys here: what is skipped need not be more than balanced. */
        while (depth > 0 && (take(j, ',') || take(j, ':'))) {
        }
    } while (depth > 0 && !j->failed);
}

typedef bool (*member_fn)(struct json *j, const char *key, struct prom_meta *m);

/* fn reads the value of a key that it knows and returns true. */
static void get_object(struct json *j, struct prom_meta *m, member_fn fn)
{
    char key[KEY_BYTES];
    want(j, '{');
    if (take(j, '}')) {
        return;
    }
    do {
        get_string(j, key, sizeof key);
        want(j, ':');
        if (!j->failed && !fn(j, key, m)) {
            skip_value(j);
        }
    } while (!j->failed && take(j, ','));
    want(j, '}');
}

static bool stats_member(struct json *j, const char *key, struct prom_meta *m)
{
    const struct {
        const char *name;
        uint64_t *out;
    } known[] = {{"numSamples", &m->samples},
                 {"numFloatSamples", &m->float_samples},
                 {"numHistogramSamples", &m->histogram_samples},
                 {"numSeries", &m->series},
                 {"numChunks", &m->chunks},
                 {"numTombstones", &m->tombstones}};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(known); i++) {
        if (strcmp(key, known[i].name) == 0) {
            *known[i].out = get_count(j);
            return true;
        }
    }
    return false;
}

/* ["from-out-of-order", ...]; anything else is skipped by the caller. */
static bool get_hints(struct json *j, struct prom_meta *m)
{
    char hint[KEY_BYTES];
    if (!take(j, '[')) {
        return false;
    }
    if (take(j, ']')) {
        return true;
    }
    do {
        if (peek(j) == '"') {
            get_string(j, hint, sizeof hint);
            m->out_of_order = m->out_of_order || strcmp(hint, "from-out-of-order") == 0;
        } else {
            skip_value(j);
        }
    } while (!j->failed && take(j, ','));
    want(j, ']');
    return true;
}

static bool compaction_member(struct json *j, const char *key, struct prom_meta *m)
{
    if (strcmp(key, "hints") == 0) {
        return get_hints(j, m);
    }
    if (strcmp(key, "level") != 0) {
        return false;
    }
    m->level = get_integer(j);
    return true;
}

/* The version lies in `level` until it is known that the rest may be read at all. */
static bool version_member(struct json *j, const char *key, struct prom_meta *m)
{
    if (strcmp(key, "version") != 0) {
        return false;
    }
    m->level = get_integer(j);
    return true;
}

static bool meta_member(struct json *j, const char *key, struct prom_meta *m)
{
    if (strcmp(key, "ulid") == 0) {
        get_string(j, m->ulid, sizeof m->ulid);
    } else if (strcmp(key, "minTime") == 0) {
        m->t_min = get_integer(j);
    } else if (strcmp(key, "maxTime") == 0) {
        m->t_max = get_integer(j);
    } else if (strcmp(key, "stats") == 0) {
        get_object(j, m, stats_member);
    } else if (strcmp(key, "compaction") == 0) {
        get_object(j, m, compaction_member);
    } else {
        return false;
    }
    return true;
}

static enum tsdb_status parse(const uint8_t *src, size_t len, struct prom_meta *m, member_fn fn,
                              struct tsdb_error *err)
{
    struct json j = {.p = src, .begin = src, .end = src + len};
    get_object(&j, m, fn);
    if (j.failed || peek(&j) != 0 || j.p != j.end) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, (uint64_t)(j.p - j.begin),
                                 "meta.json at byte %zu of %zu: not what was expected",
                                 (size_t)(j.p - j.begin), len);
    }
    return TSDB_OK;
}

enum tsdb_status prom_meta_parse(const uint8_t *src, size_t len, struct prom_meta *out,
                                 struct tsdb_error *err)
{
    struct prom_meta version = {.level = -1}, m = {0};
    enum tsdb_status status = parse(src, len, &version, version_member, err);
    if (status == TSDB_OK && version.level != VERSION) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "meta.json: version %" PRId64 ", expected %d",
                              version.level, VERSION);
    }
    if (status == TSDB_OK) {
        status = parse(src, len, &m, meta_member, err);
    }
    if (status == TSDB_OK && (!prom_ulid_valid(m.ulid, strlen(m.ulid)) || m.t_max < m.t_min)) {
        status = tsdb_error_set(err, TSDB_CORRUPT, "meta.json: no ULID, or its times are reversed");
    }
    if (status == TSDB_OK) {
        *out = m;
    }
    return status;
}
