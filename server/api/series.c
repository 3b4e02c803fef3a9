/* /api/v1/series, /labels, /label/<name>/values. */
#include "query/json.h"
#include "server/api/args.h"
#include "server/api/handlers.h"

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
    enum tsdb_status status =
        tsdb_querier_open(c->server->db, &c->request, s->range, &s->querier, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
    }
    return status == TSDB_OK;
}

static void end_list(struct call *c, bool truncated)
{
    tsdb_buf_put_u8(&c->out, ']');
    envelope_success_end(&c->out, &truncated_note, truncated ? 1 : 0);
}

static void put_strings(struct call *c, const struct tsdb_slice *list, uint32_t count,
                        bool truncated)
{
    call_success(c);
    tsdb_buf_put_u8(&c->out, '[');
    for (uint32_t i = 0; i < count; i++) {
        envelope_comma(&c->out, i);
        json_string(&c->out, (const char *)list[i].data, list[i].len);
    }
    end_list(c, truncated);
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
    struct tsdb_labels *list = NULL;
    uint32_t count = 0;
    bool truncated = false;
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_series_list(s.querier, s.selectors, s.selector_count, s.limit,
                                               &c->arena, &list, &count, &truncated, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
    } else {
        call_success(c);
        tsdb_buf_put_u8(&c->out, '[');
        for (uint32_t i = 0; i < count; i++) {
            if (i > 0) {
                tsdb_buf_put_u8(&c->out, ',');
            }
            json_labels(&c->out, &list[i]);
        }
        end_list(c, truncated);
    }
    tsdb_querier_close(s.querier);
}

void api_labels(struct call *c)
{
    struct search s;
    if (!search_begin(c, false, &s)) {
        return;
    }
    struct tsdb_slice *list = NULL;
    uint32_t count = 0;
    bool truncated = false;
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_label_names(s.querier, s.selectors, s.selector_count, s.limit,
                                               &c->arena, &list, &count, &truncated, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
    } else {
        put_strings(c, list, count, truncated);
    }
    tsdb_querier_close(s.querier);
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
    struct tsdb_slice *list = NULL;
    uint32_t count = 0;
    bool truncated = false;
    struct tsdb_error err = {0};
    enum tsdb_status status =
        tsdb_label_values(s.querier, (const char *)name.data, (uint32_t)name.len, s.selectors,
                          s.selector_count, s.limit, &c->arena, &list, &count, &truncated, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
    } else {
        put_strings(c, list, count, truncated);
    }
    tsdb_querier_close(s.querier);
}
