/* /api/v1/series, /labels, /label/<name>/values. */
#include "query/json.h"
#include "server/api/args.h"
#include "server/api/handlers.h"
#include "server/api/kept.h"

static const struct query_note truncated_note = {.text = "results truncated due to limit"};

/* What the three have in common. */
struct search {
    struct tsdb_time_range range;
    struct tsdb_selector *selectors;
    uint32_t selector_count;
    uint32_t limit;
    struct tsdb_querier *querier;
};

/* The arguments, and a querier over their range. False: the error is in the call. */
static bool search_begin(struct call *c, bool wrap, struct search *s)
{
    *s = (struct search){0};
    if (!api_arg_limit(c, &s->limit) || !api_arg_range(c, &s->range) ||
        !api_arg_matchers(c, wrap, &s->selectors, &s->selector_count)) {
        return false;
    }
    if (s->range.max_ms < s->range.min_ms) {
        s->range.max_ms = s->range.min_ms; /* an empty range is not an error here */
    }
    struct tsdb_error err = {0};
    api_kept_begin(c, s->range);
    enum tsdb_status status =
        tsdb_querier_open(c->server->db, &c->request, s->range, &s->querier, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
    }
    return status == TSDB_OK;
}

/* A list on its way to the client, of label sets (walk) or of strings. */
struct listing {
    struct tsdb_querier *querier; /* borrowed from */
    struct tsdb_series_walk *walk;
    struct tsdb_arena labels; /* of one series */
    struct tsdb_slice *strings;
    uint32_t count; /* of strings */
    uint32_t next;
    bool truncated;
};

/* Beyond this many, label sets are not held to be sorted: they take some 200 bytes each. */
#define SERIES_SORTED_MAX (1u << 16)

static enum tsdb_status put_item(struct call *c, struct listing *l, bool *out_found,
                                 struct tsdb_error *err)
{
    if (!l->walk) {
        *out_found = l->next < l->count;
        if (*out_found) {
            const struct tsdb_slice *s = &l->strings[l->next];
            envelope_comma(&c->out, l->next++);
            json_string(&c->out, (const char *)s->data, s->len);
        }
        return TSDB_OK;
    }
    struct tsdb_labels labels;
    tsdb_arena_reset(&l->labels);
    enum tsdb_status status = tsdb_series_walk_next(l->walk, &l->labels, &labels, out_found, err);
    if (status == TSDB_OK && *out_found) {
        envelope_comma(&c->out, l->next);
        l->next = 1; /* only the first one has none in front */
        json_labels(&c->out, &labels);
    } else if (status == TSDB_OK) {
        l->truncated = tsdb_series_walk_truncated(l->walk);
    }
    return status;
}

static enum tsdb_status put_items(struct call *c, bool *out_done, struct tsdb_error *err)
{
    struct listing *l = c->rest;
    bool found = true;
    enum tsdb_status status = TSDB_OK;
    while (status == TSDB_OK && found && c->out.len < CALL_PIECE_BYTES && !c->out.failed) {
        status = put_item(c, l, &found, err);
    }
    *out_done = status == TSDB_OK && !found;
    if (*out_done) {
        tsdb_buf_put_u8(&c->out, ']');
        envelope_success_end(&c->out, &truncated_note, l->truncated ? 1 : 0);
    }
    return status;
}

static void close_listing(struct call *c)
{
    struct listing *l = c->rest;
    tsdb_series_walk_close(l->walk);
    tsdb_arena_deinit(&l->labels);
    tsdb_querier_close(l->querier);
}

/* Send what was found, or why nothing was. Takes the querier. */
static void answer_list(struct call *c, enum tsdb_status status, const struct tsdb_error *err,
                        const struct listing *found)
{
    struct listing *l = status == TSDB_OK ? TSDB_ARENA_NEW(&c->arena, struct listing) : NULL;
    if (!l) {
        tsdb_series_walk_close(found->walk);
        tsdb_querier_close(found->querier);
        call_fail(c, status == TSDB_OK ? tsdb_arena_status(&c->arena) : status, err);
        return;
    }
    *l = *found;
    tsdb_arena_init(&l->labels, TSDB_MEM_QUERY, 4096, &c->request.account);
    call_success(c);
    tsdb_buf_put_u8(&c->out, '[');
    call_stream(c, put_items, close_listing, l);
}

void api_series(struct call *c)
{
    struct search s;
    uint32_t pos = 0;
    struct tsdb_slice first;
    if (!params_next(&c->params, "match[]", &pos, &first)) {
        call_error(c, ENVELOPE_BAD_DATA, "no match[] parameter provided");
        return;
    }
    if (!search_begin(c, true, &s)) {
        return;
    }
    struct listing found = {.querier = s.querier};
    struct tsdb_error err = {0};
    enum tsdb_status status =
        tsdb_series_walk_open(s.querier, s.selectors, s.selector_count, s.limit, SERIES_SORTED_MAX,
                              &c->arena, &found.walk, &err);
    answer_list(c, status, &err, &found);
}

void api_labels(struct call *c)
{
    struct search s;
    if (!search_begin(c, false, &s)) {
        return;
    }
    struct listing found = {.querier = s.querier};
    struct tsdb_error err = {0};
    enum tsdb_status status =
        tsdb_label_names(s.querier, s.selectors, s.selector_count, s.limit, &c->arena,
                         &found.strings, &found.count, &found.truncated, &err);
    answer_list(c, status, &err, &found);
}

/* The name in the path, decoded and checked. */
static bool label_name(struct call *c, struct tsdb_slice *out)
{
    struct tsdb_error err = {0};
    enum tsdb_status status = params_decode_segment(c->segment, &c->arena, out, &err);
    if (status == TSDB_OK) {
        status = params_unescape_name(*out, &c->arena, out, &err);
    }
    if (status == TSDB_OK && out->len > 0 && tsdb_utf8_valid(out->data, out->len)) {
        return true;
    }
    if (status == TSDB_OK || status == TSDB_INVALID) {
        char quoted[256];
        api_quote(status == TSDB_OK ? *out : c->segment, quoted, sizeof quoted);
        call_error(c, ENVELOPE_BAD_DATA, "invalid label name: %s", quoted);
    } else {
        call_fail(c, status, &err);
    }
    return false;
}

void api_label_values(struct call *c)
{
    struct search s;
    struct tsdb_slice name;
    if (!label_name(c, &name) || !search_begin(c, false, &s)) {
        return;
    }
    struct listing found = {.querier = s.querier};
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_label_values(
        s.querier, (const char *)name.data, (uint32_t)name.len, s.selectors, s.selector_count,
        s.limit, &c->arena, &found.strings, &found.count, &found.truncated, &err);
    answer_list(c, status, &err, &found);
}
