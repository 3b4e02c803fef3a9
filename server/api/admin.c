/* /api/v1/admin/tsdb/...: what an operator does to the store, behind --web.enable-admin-api. */
#include "query/json.h"
#include "server/api/args.h"
#include "server/api/handlers.h"

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
