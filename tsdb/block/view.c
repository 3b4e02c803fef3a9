#include "tsdb/block/view.h"

#include "base/assert.h"

#include <string.h>

static size_t view_bytes(uint32_t blocks)
{
    return sizeof(struct view) + blocks * sizeof(struct live_block *);
}

enum tsdb_status view_set_init(struct view_set *s) TSDB_NO_TSA
{
    memset(s, 0, sizeof *s);
    struct view *v = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, view_bytes(0));
    if (!v) {
        return TSDB_NOMEM;
    }
    tsdb_mutex_init(&s->lock, TSDB_RANK_TSDB_VIEW, "view");
    v->number = 1;
    v->pins = 1;
    s->current = s->open = v;
    return TSDB_OK;
}

/* Nobody lists the view any more: take it out, and let go of its blocks. */
static void drop_view_locked(struct view_set *s, struct view *v) TSDB_REQUIRES(s->lock)
{
    TSDB_ASSERT(v->pins == 0);
    struct view **link = &s->open;
    while (*link != v) {
        link = &(*link)->next;
    }
    *link = v->next;
    for (uint32_t i = 0; i < v->block_count; i++) {
        struct live_block *b = v->blocks[i];
        TSDB_ASSERT(b->views > 0);
        if (--b->views == 0) {
            b->next_dead = s->dead;
            s->dead = b;
        }
    }
    tsdb_mem_free(TSDB_MEM_OTHER, v, view_bytes(v->block_count));
}

static void unpin_locked(struct view_set *s, struct view *v) TSDB_REQUIRES(s->lock)
{
    TSDB_ASSERT(v->pins > 0);
    if (--v->pins == 0) {
        drop_view_locked(s, v);
    }
}

void view_set_deinit(struct view_set *s) TSDB_NO_TSA
{
    if (!s->current) {
        return;
    }
    TSDB_ASSERT(s->open == s->current && !s->current->next && s->current->pins == 1);
    tsdb_mutex_lock(&s->lock);
    unpin_locked(s, s->current);
    s->current = NULL;
    tsdb_mutex_unlock(&s->lock);
    for (struct live_block *b = view_collect(s); b;) {
        struct live_block *next = b->next_dead;
        live_block_free(b);
        b = next;
    }
    tsdb_mutex_deinit(&s->lock);
}

struct view *view_acquire(struct view_set *s)
{
    tsdb_mutex_lock(&s->lock);
    struct view *v = s->current;
    TSDB_ASSERT(v->pins > 0); /* the set's own */
    v->pins++;
    tsdb_mutex_unlock(&s->lock);
    return v;
}

void view_release(struct view_set *s, struct view *v)
{
    tsdb_mutex_lock(&s->lock);
    unpin_locked(s, v);
    tsdb_mutex_unlock(&s->lock);
}

uint64_t view_number(struct view_set *s)
{
    tsdb_mutex_lock(&s->lock);
    uint64_t n = s->current->number;
    tsdb_mutex_unlock(&s->lock);
    return n;
}

uint64_t view_oldest(struct view_set *s)
{
    tsdb_mutex_lock(&s->lock);
    uint64_t n = s->current->number;
    for (const struct view *v = s->open; v; v = v->next) {
        n = TSDB_MIN(n, v->number);
    }
    tsdb_mutex_unlock(&s->lock);
    return n;
}

static bool listed(struct live_block *const *list, uint32_t count, const struct live_block *b)
{
    for (uint32_t i = 0; i < count; i++) {
        if (list[i] == b) {
            return true;
        }
    }
    return false;
}

static void insert_sorted(struct view *v, struct live_block *b)
{
    uint32_t at = v->block_count++;
    for (;
         at > 0 && block_meta(v->blocks[at - 1]->block)->sequence > block_meta(b->block)->sequence;
         at--) {
        v->blocks[at] = v->blocks[at - 1];
    }
    v->blocks[at] = b;
    TSDB_DASSERT(at == 0 ||
                 block_meta(v->blocks[at - 1]->block)->sequence <= block_meta(b->block)->sequence);
}

enum tsdb_status view_prepare(struct view_set *s, struct live_block *const *added,
                              uint32_t added_count, struct live_block *const *removed,
                              uint32_t removed_count, struct view **out)
{
    struct view *base = view_acquire(s);
    uint32_t cap = base->block_count + added_count;
    struct view *v = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, view_bytes(cap));
    if (v) {
        v->number = base->number + 1;
        for (uint32_t i = 0; i < base->block_count; i++) {
            if (!listed(removed, removed_count, base->blocks[i])) {
                insert_sorted(v, base->blocks[i]);
            }
        }
        for (uint32_t i = 0; i < added_count; i++) {
            insert_sorted(v, added[i]);
        }
        if (v->block_count < cap) {
            /* Frees are sized by the count, so the memory must be too. Shrinking in place cannot
             * fail for good: keep the count honest. */
            struct view *small =
                tsdb_mem_realloc(TSDB_MEM_OTHER, v, view_bytes(cap), view_bytes(v->block_count));
            if (!small) {
                tsdb_mem_free(TSDB_MEM_OTHER, v, view_bytes(cap));
            }
            v = small;
        }
    }
    view_release(s, base);
    *out = v;
    return v ? TSDB_OK : TSDB_NOMEM;
}

void view_publish(struct view_set *s, struct view *v)
{
    tsdb_mutex_lock(&s->lock);
    struct view *old = s->current;
    TSDB_ASSERT(v->number == old->number + 1);
    TSDB_ASSERT(v->pins == 0);
    for (uint32_t i = 0; i < v->block_count; i++) {
        v->blocks[i]->views++;
    }
    for (uint32_t i = 0; i < old->block_count; i++) {
        if (!listed(v->blocks, v->block_count, old->blocks[i])) {
            old->blocks[i]->doomed = true;
        }
    }
    v->pins = 1;
    v->next = s->open;
    s->open = v;
    s->current = v;
    unpin_locked(s, old);
    TSDB_ASSERT(s->current == s->open);
    tsdb_mutex_unlock(&s->lock);
}

struct live_block *view_collect(struct view_set *s)
{
    tsdb_mutex_lock(&s->lock);
    struct live_block *b = s->dead;
    s->dead = NULL;
    tsdb_mutex_unlock(&s->lock);
    return b;
}

uint32_t view_doomed(struct view_set *s, struct live_block **out, uint32_t cap)
{
    uint32_t n = 0;
    tsdb_mutex_lock(&s->lock);
    for (const struct view *v = s->open; v; v = v->next) {
        for (uint32_t i = 0; i < v->block_count; i++) {
            struct live_block *b = v->blocks[i];
            if (b->doomed && !listed(out, TSDB_MIN(n, cap), b)) {
                if (n < cap) {
                    out[n] = b;
                }
                n++;
            }
        }
    }
    for (struct live_block *b = s->dead; b; b = b->next_dead) {
        if (b->doomed) {
            if (n < cap) {
                out[n] = b;
            }
            n++;
        }
    }
    tsdb_mutex_unlock(&s->lock);
    return n;
}

enum tsdb_status live_block_make(struct block *block, struct block_refs *refs,
                                 struct live_block **out)
{
    struct live_block *b = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *b);
    if (!b) {
        return TSDB_NOMEM;
    }
    b->block = block;
    b->refs = refs;
    *out = b;
    return TSDB_OK;
}

const struct tombstones *live_block_tombstones(const struct live_block *b, uint64_t view_number)
{
    /* Acquire: partner is live_block_hide. */
    const struct tombstones *t = atomic_load_explicit(&b->tombstones, memory_order_acquire);
    while (t && t->from_view > view_number) {
        t = t->older;
    }
    return t;
}

void live_block_hide(struct live_block *b, struct tombstones *t)
{
    TSDB_ASSERT(!t->older);
    t->older = atomic_load_explicit(&b->tombstones, memory_order_relaxed); /* own store */
    atomic_store_explicit(&b->tombstones, t, memory_order_release);
}

void live_block_forget(struct live_block *b, uint64_t view_oldest)
{
    struct tombstones *t = atomic_load_explicit(&b->tombstones, memory_order_relaxed);
    if (t && t->from_view <= view_oldest) {
        tombstones_free(t->older); /* readers of younger views do not look there */
        t->older = NULL;
    }
}

void live_block_free(struct live_block *b)
{
    TSDB_ASSERT(b->views == 0);
    tombstones_free(atomic_load_explicit(&b->tombstones, memory_order_relaxed));
    block_refs_destroy(b->refs);
    block_close(b->block);
    tsdb_mem_free(TSDB_MEM_OTHER, b, sizeof *b);
}
