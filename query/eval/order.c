#include "query/eval/order.h"

#include <string.h>

#define DIGITS 256u

bool order_matters(const struct exec *x, const struct query_series_set *set)
{
    const struct query_source_ops *ops = x->source->ops;
    uint64_t place = 0;
    return ops->places && set && set->count > 0 &&
           ops->places(x->source->ctx, set->refs, 1, &place);
}

enum tsdb_status order_init(struct order *o, struct exec *x, const struct query_series_set *set,
                            uint32_t window)
{
    o->x = x;
    o->set = set;
    o->places = TSDB_ARENA_ARRAY(x->arena, uint64_t, window);
    o->items = TSDB_ARENA_ARRAY(x->arena, struct order_item, window);
    o->spare = TSDB_ARENA_ARRAY(x->arena, struct order_item, window);
    return o->places && o->items && o->spare ? TSDB_OK : exec_nomem(x);
}

/* By one byte of the place; who has the same stays in order. False: all have the same. */
static bool sort_by(const struct order_item *from, struct order_item *to, uint32_t count,
                    unsigned shift)
{
    uint32_t starts[DIGITS] = {0};
    for (uint32_t i = 0; i < count; i++) {
        starts[from[i].place >> shift & (DIGITS - 1)]++;
    }
    if (starts[from[0].place >> shift & (DIGITS - 1)] == count) {
        return false;
    }
    uint32_t before = 0;
    for (uint32_t d = 0; d < DIGITS; d++) {
        uint32_t n = starts[d];
        starts[d] = before;
        before += n;
    }
    for (uint32_t i = 0; i < count; i++) {
        to[starts[from[i].place >> shift & (DIGITS - 1)]++] = from[i];
    }
    return true;
}

void order_window(struct order *o, uint32_t begin, uint32_t count, uint32_t *out)
{
    struct order_item *items = o->items;
    struct order_item *spare = o->spare;
    TSDB_ASSERT(count > 0 && count <= o->set->count && begin <= o->set->count - count);
    o->x->source->ops->places(o->x->source->ctx, o->set->refs + begin, count, o->places);
    for (uint32_t i = 0; i < count; i++) {
        items[i] = (struct order_item){o->places[i], begin + i};
    }
    for (unsigned shift = 0; shift < 64; shift += 8) {
        if (sort_by(items, spare, count, shift)) {
            struct order_item *sorted = spare;
            spare = items;
            items = sorted;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i] = items[i].pos;
    }
}
