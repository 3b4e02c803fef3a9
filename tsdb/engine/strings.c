#include "tsdb/engine/strings.h"

#include <stdlib.h>
#include <string.h>

#define STRINGS_CAP_FIRST 64u

static uint32_t *strings_slot(const struct strings *s, const char *str, uint32_t len)
{
    uint32_t at = (uint32_t)tsdb_hash64(s->key, str, len) & (s->cap - 1);
    for (;; at = (at + 1) & (s->cap - 1)) {
        uint32_t i = s->table[at];
        if (i == 0) {
            return &s->table[at];
        }
        const struct tsdb_slice *have = &s->items[i - 1];
        if (have->len == len && (len == 0 || memcmp(have->data, str, len) == 0)) {
            return &s->table[at];
        }
    }
}

static void strings_index(struct strings *s)
{
    memset(s->table, 0, s->cap * sizeof s->table[0]);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct tsdb_slice *item = &s->items[i];
        *strings_slot(s, (const char *)item->data, (uint32_t)item->len) = i + 1;
    }
}

static bool strings_grow(struct strings *s)
{
    uint32_t cap = s->cap ? s->cap * 2 : STRINGS_CAP_FIRST;
    struct tsdb_slice *items = TSDB_ARENA_ARRAY(s->arena, struct tsdb_slice, cap / 2);
    uint32_t *table = TSDB_ARENA_ARRAY(s->arena, uint32_t, cap);
    if (!items || !table) {
        return false;
    }
    if (s->count > 0) {
        memcpy(items, s->items, s->count * sizeof items[0]);
    }
    s->items = items;
    s->table = table;
    s->cap = cap;
    strings_index(s);
    return true;
}

int strings_order(const void *a, const void *b)
{
    const struct tsdb_slice *x = a;
    const struct tsdb_slice *y = b;
    return tsdb_str_compare((const char *)x->data, x->len, (const char *)y->data, y->len);
}

/* Of twice as many as are wanted, the half that sorts first: the others and all behind them need
 * not be looked at again. What a string costs is one comparison, but for those that are kept. */
static void strings_cut(struct strings *s)
{
    qsort(s->items, s->count, sizeof s->items[0], strings_order);
    s->count = s->first;
    s->bound = s->items[s->first - 1];
    s->bounded = true;
    strings_index(s);
}

bool strings_want(const struct strings *s, const char *str, uint32_t len)
{
    return !s->bounded || tsdb_str_compare(str, len, (const char *)s->bound.data, s->bound.len) < 0;
}

bool strings_has(const struct strings *s, const char *str, uint32_t len)
{
    return s->cap > 0 && *strings_slot(s, str, len) != 0;
}

bool strings_put(struct strings *s, const char *str, uint32_t len, uint32_t *out)
{
    if (s->count == s->cap / 2 && !strings_grow(s)) {
        s->failed = true;
        return false;
    }
    uint32_t *slot = strings_slot(s, str, len);
    if (*slot == 0) {
        s->items[s->count] = (struct tsdb_slice){(const uint8_t *)str, len};
        *slot = ++s->count;
    }
    *out = *slot - 1;
    return true;
}

bool strings_add(struct strings *s, const char *str, uint32_t len)
{
    uint32_t unused;
    if (!strings_put(s, str, len, &unused)) {
        return false;
    }
    if (s->first > 0 && s->count == 2 * s->first) {
        strings_cut(s);
    }
    return s->stop_at == 0 || s->count < s->stop_at;
}
