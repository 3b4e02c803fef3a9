/* The walker of read requests. Invariants checked: whatever protobuf-c accepts, the walker accepts
 * with the same content, unless a matcher has no such type or no response type is known; what it
 * refuses has a text; strings lie within the message. */
#include "ingest/proto/remote_read.pb-c.h"
#include "ingest/wire.h"
#include "server/remote/read_wire.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "remote read: %s\n", what);
        abort();
    }
}

static bool same(const char *a, size_t a_len, ProtobufCBinaryData b)
{
    return a_len == b.len && (a_len == 0 || memcmp(a, b.data, a_len) == 0);
}

/* Does a message have more than one field `hints`? Its scalars add up, as they do in Go; protobuf-c
 * takes the last message for all of it. */
static bool has_split_hints(struct tsdb_slice query)
{
    const uint8_t *p = query.data;
    uint32_t hints = 0;
    while (p && p < query.data + query.len) {
        struct wire_field f;
        p = wire_field_read(p, query.data + query.len, &f);
        hints += p && f.number == 4;
    }
    return hints > 1;
}

/* The query with that index, of a request that is well-formed. */
static struct tsdb_slice query_bytes(const uint8_t *data, size_t len, uint32_t index)
{
    const uint8_t *p = data;
    struct wire_field f = {0};
    while (p < data + len) {
        p = wire_field_read(p, data + len, &f);
        must(p != NULL, "what protobuf-c reads is not well-formed");
        if (f.number == 1 && index-- == 0) {
            break;
        }
    }
    return f.bytes;
}

static void check_query(const struct read_query *got, const Rr__Query *want,
                        struct tsdb_slice bytes)
{
    must(got->matcher_count == want->n_matchers, "number of matchers");
    for (uint32_t i = 0; i < got->matcher_count; i++) {
        const struct tsdb_matcher *m = &got->matchers[i];
        must((int)m->op == (int)want->matchers[i]->type, "type of a matcher");
        must(same(m->name, m->name_len, want->matchers[i]->name), "name of a matcher");
        must(same(m->value, m->value_len, want->matchers[i]->value), "value of a matcher");
    }
    const Rr__ReadHints *h = want->hints;
    if (has_split_hints(bytes)) {
        return;
    }
    must(got->range.min_ms == (h ? h->start_ms : want->start_timestamp_ms), "start");
    must(got->range.max_ms == (h ? h->end_ms : want->end_timestamp_ms), "end");
    must(got->names_only == (h && same("series", 6, h->func)), "names only");
}

/* What the walker refuses beyond protobuf's rules. */
static bool is_understood(const Rr__ReadRequest *r)
{
    bool known = r->n_accepted_response_types == 0;
    for (size_t i = 0; i < r->n_accepted_response_types; i++) {
        known = known || (unsigned)r->accepted_response_types[i] <= 1;
    }
    for (size_t i = 0; i < r->n_queries; i++) {
        for (size_t j = 0; j < r->queries[i]->n_matchers; j++) {
            known = known && (unsigned)r->queries[i]->matchers[j]->type <= 3;
        }
    }
    return known;
}

static bool wants_stream(const Rr__ReadRequest *r)
{
    for (size_t i = 0; i < r->n_accepted_response_types; i++) {
        if ((unsigned)r->accepted_response_types[i] <= 1) {
            return (unsigned)r->accepted_response_types[i] == 1;
        }
    }
    return false;
}

static void within(const char *s, uint32_t n, const uint8_t *data, size_t len)
{
    const uint8_t *p = (const uint8_t *)s;
    must(n == 0 || (p >= data && p + n <= data + len), "a string outside of the message");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tsdb_arena arena;
    struct read_request got = {0};
    struct tsdb_error err = {0};
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    enum tsdb_status status = read_request_decode(data, len, &arena, &got, &err);
    must(status == TSDB_OK || err.msg[0] != '\0', "refused without a text");
    for (uint32_t i = 0; status == TSDB_OK && i < got.query_count; i++) {
        for (uint32_t j = 0; j < got.queries[i].matcher_count; j++) {
            const struct tsdb_matcher *m = &got.queries[i].matchers[j];
            within(m->name, m->name_len, data, len);
            within(m->value, m->value_len, data, len);
        }
    }
    Rr__ReadRequest *want = rr__read_request__unpack(NULL, len, data);
    /* A type that was no type and was then overwritten is refused here, and unseen there. */
    if (want && is_understood(want) &&
        !(status == TSDB_INVALID && strstr(err.msg, "matcher type"))) {
        must(status == TSDB_OK, err.msg);
        must(got.query_count == want->n_queries, "number of queries");
        must(got.streamed == wants_stream(want), "response type");
        for (uint32_t i = 0; i < got.query_count; i++) {
            check_query(&got.queries[i], want->queries[i], query_bytes(data, len, i));
        }
    }
    if (want) {
        rr__read_request__free_unpacked(want, NULL);
    }
    tsdb_arena_deinit(&arena);
    return 0;
}
