/* A ReadRequest, walked. Messages that come in pieces are merged, as protobuf wants it: the last
 * scalar counts, repeated fields add up. */
#include "server/remote/read_wire.h"

#include "ingest/wire.h"

#include <string.h>

enum {
    REQUEST_QUERIES = 1,
    REQUEST_TYPES = 2,
    QUERY_START = 1,
    QUERY_END = 2,
    QUERY_MATCHERS = 3,
    QUERY_HINTS = 4,
    MATCHER_TYPE = 1,
    MATCHER_NAME = 2,
    MATCHER_VALUE = 3,
    HINTS_FUNC = 2,
    HINTS_START = 3,
    HINTS_END = 4,
};
enum {
    TYPE_SAMPLES = 0,
    TYPE_STREAMED = 1
};

/* Call fn for every field of a message; stops at the first that is not OK. */
typedef enum tsdb_status (*field_fn)(void *arg, const struct wire_field *f, struct tsdb_error *err);

static enum tsdb_status malformed(struct tsdb_error *err, const char *what)
{
    return tsdb_error_set(err, TSDB_INVALID, "remote read: malformed %s", what);
}

static enum tsdb_status walk(const char *what, struct tsdb_slice message, field_fn fn, void *arg,
                             struct tsdb_error *err)
{
    if (message.len == 0) {
        return TSDB_OK; /* and maybe no pointer */
    }
    const uint8_t *p = message.data;
    const uint8_t *end = p + message.len;
    while (p < end) {
        struct wire_field f;
        p = wire_field_read(p, end, &f);
        if (!p) {
            return malformed(err, what);
        }
        enum tsdb_status status = fn(arg, &f, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

/* ---- matchers ---- */

static enum tsdb_status on_matcher(void *arg, const struct wire_field *f, struct tsdb_error *err)
{
    struct tsdb_matcher *m = arg;
    static const enum tsdb_match_op ops[] = {TSDB_MATCH_EQ, TSDB_MATCH_NE, TSDB_MATCH_RE,
                                             TSDB_MATCH_NRE};
    if (f->number < MATCHER_TYPE || f->number > MATCHER_VALUE) {
        return TSDB_OK;
    }
    if (f->type != (f->number == MATCHER_TYPE ? WIRE_VARINT : WIRE_LEN)) {
        return malformed(err, "matcher");
    }
    if (f->number == MATCHER_TYPE) {
        if ((uint32_t)f->value >= TSDB_ARRAY_LEN(ops)) { /* enums are cut to 32 bits */
            return tsdb_error_set(err, TSDB_INVALID, "invalid matcher type");
        }
        m->op = ops[(uint32_t)f->value];
    } else if (f->number == MATCHER_NAME) {
        m->name = (const char *)f->bytes.data;
        m->name_len = (uint32_t)f->bytes.len;
    } else {
        m->value = (const char *)f->bytes.data;
        m->value_len = (uint32_t)f->bytes.len;
    }
    return TSDB_OK;
}

/* ---- queries ---- */

struct hints {
    bool present;
    int64_t start_ms, end_ms;
    struct tsdb_slice func;
};
struct query_walk {
    struct read_query *query;
    struct hints hints;
    uint32_t matcher_count;
};

static enum tsdb_status on_hint(void *arg, const struct wire_field *f, struct tsdb_error *err)
{
    struct hints *h = arg;
    if (f->number < HINTS_FUNC || f->number > HINTS_END) {
        return TSDB_OK; /* step, grouping, by, range: nothing here selects by them */
    }
    if (f->type != (f->number == HINTS_FUNC ? WIRE_LEN : WIRE_VARINT)) {
        return malformed(err, "hints");
    }
    if (f->number == HINTS_FUNC) {
        h->func = f->bytes;
    } else if (f->number == HINTS_START) {
        h->start_ms = (int64_t)f->value;
    } else {
        h->end_ms = (int64_t)f->value;
    }
    return TSDB_OK;
}

static enum tsdb_status count_matcher(void *arg, const struct wire_field *f, struct tsdb_error *err)
{
    uint32_t *count = arg;
    (void)err;
    *count += f->number == QUERY_MATCHERS;
    return TSDB_OK;
}

static enum tsdb_status on_query_field(void *arg, const struct wire_field *f,
                                       struct tsdb_error *err)
{
    struct query_walk *w = arg;
    struct read_query *q = w->query;
    if (f->number < QUERY_START || f->number > QUERY_HINTS) {
        return TSDB_OK;
    }
    bool is_time = f->number == QUERY_START || f->number == QUERY_END;
    if (f->type != (is_time ? WIRE_VARINT : WIRE_LEN)) {
        return malformed(err, "query");
    }
    if (f->number == QUERY_START) {
        q->range.min_ms = (int64_t)f->value;
    } else if (f->number == QUERY_END) {
        q->range.max_ms = (int64_t)f->value;
    } else if (f->number == QUERY_MATCHERS) {
        struct tsdb_matcher *m = &q->matchers[q->matcher_count++];
        *m = (struct tsdb_matcher){.op = TSDB_MATCH_EQ, .name = "", .value = ""};
        return walk("matcher", f->bytes, on_matcher, m, err);
    } else {
        w->hints.present = true;
        return walk("hints", f->bytes, on_hint, &w->hints, err);
    }
    return TSDB_OK;
}

static enum tsdb_status decode_query(struct tsdb_slice bytes, struct tsdb_arena *arena,
                                     struct read_query *q, struct tsdb_error *err)
{
    static const char series[] = "series";
    struct query_walk w = {.query = q};
    enum tsdb_status status = walk("query", bytes, count_matcher, &w.matcher_count, err);
    if (status != TSDB_OK) {
        return status;
    }
    /* A matcher takes two bytes of the message at least. */
    q->matchers = TSDB_ARENA_ARRAY(arena, struct tsdb_matcher, TSDB_MAX(w.matcher_count, 1u));
    if (!q->matchers) {
        return tsdb_error_set(err, tsdb_arena_status(arena), "no memory for %u matchers",
                              w.matcher_count);
    }
    status = walk("query", bytes, on_query_field, &w, err);
    if (status == TSDB_OK && w.hints.present) {
        q->range = (struct tsdb_time_range){w.hints.start_ms, w.hints.end_ms};
        q->names_only = w.hints.func.len == sizeof series - 1 &&
                        memcmp(w.hints.func.data, series, sizeof series - 1) == 0;
    }
    return status;
}

/* ---- the request ---- */

struct request_walk {
    struct read_request *request;
    struct tsdb_arena *arena;
    uint32_t query_count;
    bool typed; /* there is a list of response types */
    bool known; /* one of them is known: it is chosen */
};

static enum tsdb_status count_query(void *arg, const struct wire_field *f, struct tsdb_error *err)
{
    struct request_walk *w = arg;
    (void)err;
    w->query_count += f->number == REQUEST_QUERIES;
    return TSDB_OK;
}

static void on_type(struct request_walk *w, uint32_t type)
{
    w->typed = true;
    if (!w->known && (type == TYPE_SAMPLES || type == TYPE_STREAMED)) {
        w->known = true;
        w->request->streamed = type == TYPE_STREAMED;
    }
}

/* Enums come packed, or one by one. */
static enum tsdb_status on_types(struct request_walk *w, const struct wire_field *f,
                                 struct tsdb_error *err)
{
    if (f->type == WIRE_VARINT) {
        on_type(w, (uint32_t)f->value);
        return TSDB_OK;
    }
    if (f->type != WIRE_LEN) {
        return malformed(err, "response types");
    }
    const uint8_t *p = f->bytes.data;
    const uint8_t *end = p + f->bytes.len;
    while (p < end) {
        uint64_t type = 0;
        p = wire_varint(p, end, &type);
        if (!p) {
            return malformed(err, "response types");
        }
        on_type(w, (uint32_t)type);
    }
    return TSDB_OK;
}

static enum tsdb_status on_request_field(void *arg, const struct wire_field *f,
                                         struct tsdb_error *err)
{
    struct request_walk *w = arg;
    if (f->number == REQUEST_TYPES) {
        return on_types(w, f, err);
    }
    if (f->number != REQUEST_QUERIES) {
        return TSDB_OK;
    }
    if (f->type != WIRE_LEN) {
        return malformed(err, "request");
    }
    struct read_query *q = &w->request->queries[w->request->query_count++];
    *q = (struct read_query){0};
    return decode_query(f->bytes, w->arena, q, err);
}

enum tsdb_status read_request_decode(const uint8_t *message, size_t len, struct tsdb_arena *arena,
                                     struct read_request *out, struct tsdb_error *err)
{
    struct tsdb_slice bytes = {message, len};
    struct request_walk w = {.request = out, .arena = arena};
    *out = (struct read_request){0};
    enum tsdb_status status = walk("request", bytes, count_query, &w, err);
    if (status != TSDB_OK) {
        return status;
    }
    out->queries = TSDB_ARENA_ARRAY(arena, struct read_query, TSDB_MAX(w.query_count, 1u));
    if (!out->queries) {
        return tsdb_error_set(err, tsdb_arena_status(arena), "no memory for %u queries",
                              w.query_count);
    }
    status = walk("request", bytes, on_request_field, &w, err);
    if (status == TSDB_OK && w.typed && !w.known) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "server does not support any of the requested response types; "
                              "supported: SAMPLES, STREAMED_XOR_CHUNKS");
    }
    return status;
}
