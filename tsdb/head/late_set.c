/* Which late samples a partition has in memory: what tells a duplicate of one from news, however
 * many there are and in whatever order they come. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"
#include "base/random.h"

#include <string.h>

#define CAP_FIRST 64u
#define CAP_MAX   (UINT32_C(1) << 30)

void head_late_set_init(struct head_late_set *s)
{
    uint8_t seed[TSDB_HASH_SEED_BYTES];
    tsdb_random_fill(&tsdb_random_system, seed, sizeof seed);
    tsdb_hash_key_init(&s->key, seed); /* senders choose the times */
    s->items = NULL;
    s->cap = 0;
    s->used = 0;
}

void head_late_set_deinit(struct head_late_set *s)
{
    tsdb_mem_free(HEAD_CATEGORY, s->items, s->cap * sizeof s->items[0]);
    s->items = NULL;
    s->cap = 0;
    s->used = 0;
}

static uint32_t home_of(const struct head_late_set *s, uint32_t local, int64_t t_ms)
{
    uint64_t key[2] = {(uint64_t)t_ms, local};
    TSDB_ASSERT(s->cap > 0);
    return (uint32_t)tsdb_hash64(&s->key, key, sizeof key) & (s->cap - 1);
}

/* Where the sample is, or where it would go. cap > used. */
static uint32_t place_of(const struct head_late_set *s, uint32_t local, int64_t t_ms)
{
    uint32_t at = home_of(s, local, t_ms);
    while (s->items[at].used && (s->items[at].t_ms != t_ms || s->items[at].local != local)) {
        at = (at + 1) & (s->cap - 1);
    }
    return at;
}

static bool resize(struct head_late_set *s, uint32_t cap)
{
    struct head_late_set to = *s;
    TSDB_ASSERT((cap & (cap - 1)) == 0 && s->used < cap);
    to.items = tsdb_mem_alloc_zero(HEAD_CATEGORY, cap * sizeof to.items[0]);
    if (!to.items) {
        return false;
    }
    to.cap = cap;
    for (uint32_t i = 0; i < s->cap; i++) {
        const struct head_late_entry *e = &s->items[i];
        if (e->used) {
            to.items[place_of(&to, e->local, e->t_ms)] = *e;
        }
    }
    tsdb_mem_free(HEAD_CATEGORY, s->items, s->cap * sizeof s->items[0]);
    s->items = to.items;
    s->cap = cap;
    return true;
}

const struct head_late_entry *head_late_set_find(const struct head_late_set *s, uint32_t local,
                                                 int64_t t_ms)
{
    if (s->used == 0) {
        return NULL;
    }
    const struct head_late_entry *e = &s->items[place_of(s, local, t_ms)];
    return e->used ? e : NULL;
}

bool head_late_set_add(struct head_late_set *s, uint32_t local, uint8_t kind,
                       const struct head_row *x)
{
    if (s->used >= s->cap / 4 * 3 &&
        (s->cap == CAP_MAX || !resize(s, s->cap ? s->cap * 2 : CAP_FIRST))) {
        return false;
    }
    struct head_late_entry *e = &s->items[place_of(s, local, x->t_ms)];
    if (!e->used) {
        *e = (struct head_late_entry){x->t_ms, x->value, local, kind, true};
        s->used++;
    }
    TSDB_ASSERT(s->used < s->cap);
    return true;
}

/* What stands behind a place that became free moves up, as far as it may. */
static void close_gap(struct head_late_set *s, uint32_t gap)
{
    uint32_t mask = s->cap - 1;
    for (uint32_t at = (gap + 1) & mask; s->items[at].used; at = (at + 1) & mask) {
        uint32_t home = home_of(s, s->items[at].local, s->items[at].t_ms);
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            s->items[gap] = s->items[at];
            gap = at;
        }
    }
    s->items[gap].used = false;
}

void head_late_set_remove(struct head_late_set *s, uint32_t local, int64_t t_ms)
{
    uint32_t at = s->used > 0 ? place_of(s, local, t_ms) : 0;
    if (s->used == 0 || !s->items[at].used) {
        return;
    }
    close_gap(s, at);
    s->used--;
    if (s->used == 0) {
        head_late_set_deinit(s);
    } else if (s->cap > CAP_FIRST && s->used < s->cap / 8) {
        (void)resize(s, s->cap / 2); /* without memory it stays as large as it is */
    }
}

void head_late_set_leave(struct head_late_set *s, uint32_t local, struct head_tail *t)
{
    for (uint32_t i = 0; s->used > 0 && i < head_tail_count(t); i++) {
        head_late_set_remove(s, local, head_tail_t(t)[i]);
    }
}
