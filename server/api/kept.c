#include "server/api/kept.h"

#include "server/api/args.h"
#include "server/parts/kept_lists.h"

#include <string.h>

static bool is_bypassed(const struct call *c)
{
    bool bypass = false;
    struct tsdb_slice v = params_get(&c->params, "nocache");
    return v.len > 0 && api_bool_parse(v, &bypass) && bypass;
}

static uint8_t *put_text(uint8_t *p, struct tsdb_slice text)
{
    p = tsdb_put_uvarint(p, text.len);
    if (text.len > 0) {
        memcpy(p, text.data, text.len);
    }
    return p + text.len;
}

static size_t text_bytes_max(struct tsdb_slice text)
{
    return TSDB_VARINT64_BYTES_MAX + text.len;
}

/* All that an answer depends on beside storage: the route, its segment, every parameter, how it is packed. */
static struct tsdb_slice key_make(struct call *c)
{
    const struct tsdb_slice path = {(const uint8_t *)c->route->path, strlen(c->route->path)};
    size_t bytes = 1 + text_bytes_max(path) + text_bytes_max(c->segment);
    for (uint32_t i = 0; i < c->params.count; i++) {
        const struct param *p = &c->params.items[i];
        bytes += text_bytes_max(p->name) + text_bytes_max(p->value);
    }
    uint8_t *key = tsdb_arena_alloc(&c->arena, bytes, 1);
    if (!key) {
        return (struct tsdb_slice){NULL, 0};
    }
    uint8_t *end = key;
    *end++ = (uint8_t)c->packing;
    end = put_text(put_text(end, path), c->segment);
    for (uint32_t i = 0; i < c->params.count; i++) {
        end = put_text(put_text(end, c->params.items[i].name), c->params.items[i].value);
    }
    return (struct tsdb_slice){key, (size_t)(end - key)};
}

bool api_kept_find(struct call *c)
{
    struct kept_lists *lists = c->server->kept_lists;
    const char *encoding = NULL;
    if (!lists || !c->parsed || is_bypassed(c)) {
        return false;
    }
    c->kept_key = key_make(c);
    call_ok(c, "application/json");
    if (c->kept_key.len == 0 || !kept_lists_get(lists, c->kept_key, &c->out, &encoding)) {
        tsdb_buf_clear(&c->out);
        return false;
    }
    c->content_encoding = encoding;
    c->packing = ENVELOPE_PLAIN; /* it is packed already, or was too short for that */
    return true;
}

void api_kept_begin(struct call *c, struct tsdb_time_range range)
{
    struct tsdb_label_stamp *stamp =
        c->kept_key.len > 0 ? TSDB_ARENA_NEW(&c->arena, struct tsdb_label_stamp) : NULL;
    if (stamp) {
        tsdb_label_stamp_take(c->server->db, stamp);
        c->kept_stamp = stamp;
        c->kept_range = range;
    }
}
