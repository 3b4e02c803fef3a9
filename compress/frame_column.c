#include "compress/frame_column.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "compress/bitpack.h"
#include "compress/kernels.h"

static size_t varint_bytes(uint64_t v)
{
    uint32_t w = bitpack_width(tsdb_zigzag((int64_t)v));
    return w == 0 ? 1 : (w + 6) / 7;
}

static void restart(struct frame_column *c)
{
    c->prev = c->order > 0 ? c->seed[c->order - 1] : 0;
    c->prev_delta = c->order > 1 ? c->seed[1] - c->seed[0] : 0;
}

void frame_column_init(struct frame_column *c, uint32_t order, const uint64_t *seeds)
{
    TSDB_ASSERT(order <= FRAME_ORDER_MAX);
    c->order = order;
    c->count = 0;
    c->at = 0;
    c->linear = true;
    c->bytes = 0;
    for (uint32_t i = 0; i < order; i++) {
        c->seed[i] = seeds[i];
        c->bytes += varint_bytes(i == 0 ? seeds[0] : seeds[1] - seeds[0]);
    }
    restart(c);
}

static void differences(struct frame_column *c, uint64_t *x, size_t n)
{
    const struct kernels *k = kernels_get();
    if (c->order >= 1) {
        uint64_t last = x[n - 1];
        k->delta(x, n, c->prev, x);
        c->prev = last;
    }
    if (c->order >= 2) {
        uint64_t last = x[n - 1];
        k->delta(x, n, c->prev_delta, x);
        c->prev_delta = last;
    }
}

static uint64_t base_before(const struct frame_column *c, uint32_t i)
{
    return i == 0 ? 0 : c->plan[i - 1].base;
}

void frame_column_plan(struct frame_column *c, uint64_t *x, size_t n)
{
    TSDB_ASSERT(c->count < FRAME_COLUMN_MAX);
    struct frame_plan *p = &c->plan[c->count];
    differences(c, x, n);
    frame_plan(x, n, base_before(c, c->count), p);
    c->linear = c->linear && p->width == 0 && p->exceptions == 0 && p->base == c->plan[0].base;
    c->bytes += p->bytes;
    c->count++;
}

uint8_t *frame_column_begin(struct frame_column *c, uint8_t *out)
{
    c->at = 0;
    restart(c);
    for (uint32_t i = 0; i < c->order; i++) {
        out = tsdb_put_varint(out, (int64_t)(i == 0 ? c->seed[0] : c->seed[1] - c->seed[0]));
    }
    return out;
}

uint8_t *frame_column_encode(struct frame_column *c, uint64_t *x, size_t n, uint8_t *out)
{
    TSDB_ASSERT(c->at < c->count);
    differences(c, x, n);
    out = frame_encode(x, n, base_before(c, c->at), &c->plan[c->at], out);
    c->at++;
    return out;
}

int frame_column_open(struct frame_column_reader *r, const uint8_t *p, const uint8_t *end,
                      uint32_t order, uint32_t n, uint64_t *out)
{
    TSDB_ASSERT(order <= FRAME_ORDER_MAX);
    uint32_t seeds = order < n ? order : n;
    int64_t v[FRAME_ORDER_MAX] = {0};
    for (uint32_t i = 0; i < seeds; i++) {
        p = tsdb_get_varint(p, end, &v[i]);
        if (!p) {
            return -1;
        }
        out[i] = (i == 0 ? 0 : out[0]) + (uint64_t)v[i];
    }
    *r = (struct frame_column_reader){.p = p,
                                      .end = end,
                                      .order = order,
                                      .left = n - seeds,
                                      .prev = seeds > 0 ? out[seeds - 1] : 0,
                                      .prev_delta = (uint64_t)v[1]};
    return (int)seeds;
}

int frame_column_next(struct frame_column_reader *r, uint64_t *out)
{
    uint32_t n = r->left < FRAME_VALUES ? r->left : FRAME_VALUES;
    const struct kernels *k = kernels_get();
    if (n == 0) {
        return 0;
    }
    const uint8_t *p = frame_decode(r->p, r->end, n, &r->base, out);
    if (!p) {
        return -1;
    }
    if (r->order >= 2) {
        k->prefix_sum(out, n, r->prev_delta);
        r->prev_delta = out[n - 1];
    }
    if (r->order >= 1) {
        k->prefix_sum(out, n, r->prev);
        r->prev = out[n - 1];
    }
    r->p = p;
    r->left -= n;
    return (int)n;
}
