/* /api/v1/admin/tsdb/...: what an operator does to the store, behind --web.enable-admin-api. */
#include "query/json.h"
#include "server/api/args.h"
#include "server/api/handlers.h"

#include <inttypes.h>
#include <string.h>

static bool arg_bool(struct call *c, const char *name, bool *out)
{
    struct tsdb_slice v = params_get(&c->params, name);
    char quoted[256];
    if (v.len == 0 || api_bool_parse(v, out)) {
        return true;
    }
    api_quote(v, quoted, sizeof quoted);
    call_error(c, ENVELOPE_BAD_DATA,
               "invalid parameter \"%s\": strconv.ParseBool: parsing %s: invalid syntax", name,
               quoted);
    return false;
}

void api_admin_snapshot(struct call *c)
{
    bool skip_head = false;
    char name[TSDB_SNAPSHOT_NAME_BYTES];
    struct tsdb_error err = {0};
    if (!arg_bool(c, "skip_head", &skip_head)) {
        return;
    }
    enum tsdb_status status = tsdb_snapshot(c->server->db, skip_head, name, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
        return;
    }
    call_success(c);
    tsdb_buf_put_str(&c->out, "{\"name\":");
    json_string(&c->out, name, strlen(name));
    tsdb_buf_put_u8(&c->out, '}');
    envelope_success_end(&c->out, NULL, 0);
}

/* ---- deletes ---- */

static void no_content(struct call *c)
{
    call_ok(c, NULL);
    c->status = 204;
}

void api_admin_delete_series(struct call *c)
{
    struct tsdb_selector *selectors = NULL;
    struct tsdb_time_range range;
    struct tsdb_delete_info info;
    struct tsdb_error err = {0};
    uint32_t count = 0;
    uint32_t pos = 0;
    struct tsdb_slice first;
    if (!params_next(&c->params, "match[]", &pos, &first)) {
        call_error(c, ENVELOPE_BAD_DATA, "no match[] parameter provided");
        return;
    }
    if (!api_arg_range(c, &range) || !api_arg_matchers(c, true, &selectors, &count)) {
        return;
    }
    enum tsdb_status status =
        tsdb_delete_series(c->server->db, selectors, count, range, &info, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
        return;
    }
    no_content(c);
}

void api_admin_clean_tombstones(struct call *c)
{
    struct tsdb_work_done done;
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_clean_tombstones(c->server->db, &done, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
        return;
    }
    no_content(c);
}

static void put_counts(struct tsdb_buf *out, uint64_t blocks, uint64_t series, uint64_t samples,
                       uint64_t bytes)
{
    tsdb_buf_printf(out,
                    "\"blocks\":%" PRIu64 ",\"series\":%" PRIu64 ",\"samples\":%" PRIu64
                    ",\"bytes\":%" PRIu64 "}",
                    blocks, series, samples, bytes);
}

static void put_delete(struct tsdb_buf *out, const struct tsdb_delete_info *d)
{
    tsdb_buf_printf(out, "{\"id\":%" PRIu64 ",\"time\":", d->number);
    json_timestamp(out, d->at_ms);
    tsdb_buf_put_str(out, ",\"match\":");
    json_string(out, d->text, strlen(d->text));
    tsdb_buf_printf(out, ",\"minTime\":%" PRId64 ",\"maxTime\":%" PRId64 ",", d->range.min_ms,
                    d->range.max_ms);
    put_counts(out, d->blocks, d->series, d->samples, d->bytes);
}

void api_admin_deletes(struct call *c)
{
    struct tsdb_deletes d;
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_deletes_list(c->server->db, &c->arena, &d, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
        return;
    }
    call_success(c);
    tsdb_buf_put_str(&c->out, "{\"deletes\":[");
    for (uint32_t i = 0; i < d.count; i++) {
        envelope_comma(&c->out, i);
        put_delete(&c->out, &d.items[i]);
    }
    tsdb_buf_put_str(&c->out, "],\"tombstones\":{");
    put_counts(&c->out, d.blocks, d.series, d.samples, d.bytes);
    tsdb_buf_put_u8(&c->out, '}');
    envelope_success_end(&c->out, NULL, 0);
}

/* ---- flush, compaction ---- */

static void answer_work(struct call *c, enum tsdb_status status, const struct tsdb_work_done *done,
                        const struct tsdb_error *err)
{
    if (status != TSDB_OK) {
        call_fail(c, status, err);
        return;
    }
    call_success(c);
    tsdb_buf_printf(&c->out, "{\"blocks\":%" PRIu64 ",\"samples\":%" PRIu64 "}", done->blocks,
                    done->samples);
    envelope_success_end(&c->out, NULL, 0);
}

void api_admin_flush(struct call *c)
{
    struct tsdb_work_done done = {0};
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_flush_count(c->server->db, &done, &err);
    answer_work(c, status, &done, &err);
}

void api_admin_compact(struct call *c)
{
    struct tsdb_work_done done = {0};
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_compact(c->server->db, &done, &err);
    answer_work(c, status, &done, &err);
}
