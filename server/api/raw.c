#include "server/api/raw.h"

#include "server/config/config_file.h"

#include <stdlib.h>
#include <string.h>

#define CHECK_EVERY 128u

static bool copy_label(struct tsdb_arena *arena, const struct config_label *from,
                       struct tsdb_label *to)
{
    size_t name = strlen(from->name);
    size_t value = strlen(from->value);
    *to = (struct tsdb_label){.name = tsdb_arena_strndup(arena, from->name, name),
                              .value = tsdb_arena_strndup(arena, from->value, value),
                              .name_len = (uint32_t)name,
                              .value_len = (uint32_t)value};
    return to->name && to->value;
}

enum tsdb_status raw_external_labels(struct call *c, struct tsdb_labels *out)
{
    struct server *s = c->server;
    struct tsdb_label *items =
        TSDB_ARENA_ARRAY(&c->arena, struct tsdb_label, CONFIG_EXTERNAL_LABELS_MAX);
    if (!items) {
        return tsdb_arena_status(&c->arena);
    }
    bool ok = true;
    tsdb_mutex_lock(&s->config_lock);
    uint32_t count = s->config ? s->config->external_count : 0;
    for (uint32_t i = 0; i < count && ok; i++) {
        ok = copy_label(&c->arena, &s->config->external[i], &items[i]);
    }
    tsdb_mutex_unlock(&s->config_lock);
    *out = (struct tsdb_labels){items, count};
    return ok ? TSDB_OK : tsdb_arena_status(&c->arena);
}

static int by_ref(const void *a, const void *b)
{
    tsdb_series_ref x = ((const struct raw_series *)a)->ref;
    tsdb_series_ref y = ((const struct raw_series *)b)->ref;
    return (x > y) - (x < y);
}

static int by_labels(const void *a, const void *b)
{
    return tsdb_labels_compare(&((const struct raw_series *)a)->labels,
                               &((const struct raw_series *)b)->labels);
}

/* All sets one after the other; then each series once. */
static enum tsdb_status collect(struct call *c, const struct tsdb_series_set *sets,
                                uint32_t set_count, struct raw_series **out, uint32_t *out_count)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < set_count; i++) {
        total += sets[i].count;
    }
    struct raw_series *list = tsdb_arena_alloc_array(&c->arena, TSDB_MAX(total, UINT64_C(1)),
                                                     sizeof *list, _Alignof(struct raw_series));
    if (!list) {
        return tsdb_arena_status(&c->arena);
    }
    size_t n = 0;
    for (uint32_t i = 0; i < set_count; i++) {
        for (uint32_t j = 0; j < sets[i].count; j++) {
            list[n++].ref = sets[i].refs[j];
        }
    }
    if (set_count > 1 && n > 1) {
        qsort(list, n, sizeof *list, by_ref);
        size_t kept = 1;
        for (size_t i = 1; i < n; i++) {
            if (list[i].ref != list[kept - 1].ref) {
                list[kept++] = list[i];
            }
        }
        n = kept;
    }
    *out = list;
    *out_count = (uint32_t)n; /* references are 32 bits wide */
    return TSDB_OK;
}

enum tsdb_status raw_select(struct call *c, struct tsdb_querier *q,
                            const struct tsdb_selector *selectors, uint32_t selector_count,
                            struct raw_series **out, uint32_t *out_count, struct tsdb_error *err)
{
    struct tsdb_series_set *sets =
        TSDB_ARENA_ARRAY(&c->arena, struct tsdb_series_set, TSDB_MAX(selector_count, 1u));
    enum tsdb_status status = sets ? TSDB_OK : tsdb_arena_status(&c->arena);
    for (uint32_t i = 0; i < selector_count && status == TSDB_OK; i++) {
        status = tsdb_select(q, selectors[i].matchers, selectors[i].count, &sets[i], err);
    }
    if (status == TSDB_OK) {
        status = collect(c, sets, selector_count, out, out_count);
    }
    for (uint32_t i = 0; status == TSDB_OK && i < *out_count; i++) {
        status = i % CHECK_EVERY == 0 ? tsdb_request_check(&c->request) : TSDB_OK;
        if (status == TSDB_OK) {
            status = tsdb_series_labels(q, (*out)[i].ref, &c->arena, &(*out)[i].labels, err);
        }
    }
    if (status == TSDB_OK && *out_count > 1) {
        qsort(*out, *out_count, sizeof **out, by_labels);
    }
    return status;
}

void raw_fail(struct call *c, enum tsdb_status status, const struct tsdb_error *err)
{
    if (status == TSDB_LIMIT && call_out_of_room(c)) {
        call_text(c, 503, "%s\n", CALL_BUSY_TEXT);
        c->retry_after = "1";
        return;
    }
    const char *text = err && err->msg[0]         ? err->msg
                       : status == TSDB_CANCELLED ? "the request was canceled"
                       : status == TSDB_TIMEOUT   ? "the request timed out"
                       : status == TSDB_LIMIT     ? "the request needs more memory than it may use"
                       : status == TSDB_NOMEM     ? "out of memory"
                                                  : tsdb_status_name(status);
    unsigned code = status == TSDB_INVALID                          ? 400
                    : status == TSDB_CANCELLED                      ? 499
                    : status == TSDB_TIMEOUT || status == TSDB_BUSY ? 503
                                                                    : 500;
    call_text(c, code, "%s\n", text);
}
