/* Series that leave: who is idle, an index without them, their hot structs. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"

/* Where few are idle, the index is made anew at most so often that it takes this part of the owner's
 * time: 1 / COST_SHARE. */
#define COST_SHARE 200

struct head_slab head_slab_gone;

static struct head_directory *directory(const struct head_partition *p)
{
    /* Acquire: partner is the release when the directory grows. */
    return atomic_load_explicit(&p->front.directory, memory_order_acquire);
}

uint32_t head_there(const struct head_partition *p, uint32_t local)
{
    struct head_directory *d = directory(p);
    uint32_t slab = local >> HEAD_SLAB_SHIFT;
    if (!d || slab >= d->cap || head_directory_slab(d, slab) != &head_slab_gone) {
        return local;
    }
    while (slab < d->cap && head_directory_slab(d, slab) == &head_slab_gone) {
        slab++;
    }
    return slab << HEAD_SLAB_SHIFT;
}

/* ---- who is idle ---- */

static bool is_silent(const struct head_series *s, int64_t silent_ms)
{
    /* The last float, if there was one: all else of its samples is gone. */
    bool stale = head_last_bits(s) == TSDB_STALE_NAN_BITS;
    return stale || !(s->flags & HEAD_SERIES_HAS_SAMPLES) || head_last_ms(s) < silent_ms;
}

static bool is_in_bundle(const struct head_partition *p, uint32_t local)
{
    struct head_list *l =
        atomic_load_explicit(&head_bundle(p, local)->chunks, memory_order_relaxed); /* own store */
    for (uint32_t i = 0; i < head_list_count(l); i++) {
        if (head_sealed_has(head_list_at(l, i), local)) {
            return true;
        }
    }
    return false;
}

static bool is_empty(const struct head_partition *p, uint32_t local)
{
    const struct head_series *s = head_hot(p, local);
    struct head_tail *late = head_own_late(p, local);
    return atomic_load_explicit(&s->tail, memory_order_relaxed) == 0 &&
           (!late || head_tail_count(late) == 0) && head_list_count(head_own_list(p, local)) == 0 &&
           !is_in_bundle(p, local);
}

static bool is_idle(const struct head_partition *p, uint32_t local, int64_t silent_ms)
{
    const struct head_series *s = head_hot(p, local);
    return s->generation != HEAD_GENERATION_GONE && is_silent(s, silent_ms) && is_empty(p, local);
}

/* ---- count ---- */

void head_leave_count(struct head_partition *p, uint32_t from, uint32_t count, int64_t silent_ms)
{
    if (from == 0) {
        p->leaving.idle = 0;
    }
    for (uint32_t i = head_there(p, from); i < p->front.series_count && i - from < count; i++) {
        p->leaving.idle += is_idle(p, i, silent_ms);
    }
}

static bool is_worth_it(const struct head_partition *p, int64_t now_ns)
{
    const struct head_leaving *l = &p->leaving;
    return l->idle > 0 && (l->idle >= index_mem_series_count(head_own_index(p)) / 4 ||
                           now_ns - l->end_ns >= l->cost_ns * COST_SHARE);
}

/* ---- copy ---- */

static void copy_begin(struct head_partition *p, int64_t now_ns)
{
    struct head_leaving *l = &p->leaving;
    TSDB_ASSERT(!l->next);
    l->failed = false;
    l->begin_ns = now_ns;
    if (is_worth_it(p, now_ns) && index_mem_create(p->epoch, &p->limbo, &l->next) != TSDB_OK) {
        l->next = NULL; /* the next round tries again */
    }
}

static enum tsdb_status copy_one(struct head_partition *p, uint32_t local)
{
    struct tsdb_label items[TSDB_LABELS_MAX];
    const struct index_mem *index = head_own_index(p);
    struct tsdb_labels labels = {items, index_mem_labels(index, local, items, TSDB_LABELS_MAX)};
    return index_mem_add_at(p->leaving.next, &labels, index_mem_hash(index, local), local, NULL);
}

static void copy_slice(struct head_partition *p, uint32_t from, uint32_t count, int64_t silent_ms)
{
    struct head_leaving *l = &p->leaving;
    for (uint32_t i = head_there(p, from);
         !l->failed && i < p->front.series_count && i - from < count; i++) {
        struct head_series *s = head_hot(p, i);
        if (is_idle(p, i, silent_ms)) {
            s->flags |= HEAD_SERIES_LEAVING;
            s->generation =
                s->generation == HEAD_GENERATION_MAX ? HEAD_GENERATION_FIRST : s->generation + 1;
        } else if (s->generation != HEAD_GENERATION_GONE) {
            l->failed = copy_one(p, i) != TSDB_OK;
        }
    }
}

/* Whole now: it takes the place of the old one. */
static void copy_end(struct head_partition *p, int64_t now_ns)
{
    struct head_leaving *l = &p->leaving;
    struct index_mem *old = head_own_index(p);
    struct index_mem *next = l->next;
    l->next = NULL;
    l->end_ns = now_ns;
    l->cost_ns = now_ns - l->begin_ns;
    if (l->failed || index_mem_ids_skip(next, p->front.series_count) != TSDB_OK) {
        index_mem_destroy(next);
        return;
    }
    /* Release: partner is head_index. */
    atomic_store_explicit(&p->index, next, memory_order_release);
    index_mem_retire(old, &l->retired);
}

void head_leave_copy(struct head_partition *p, uint32_t from, uint32_t count, int64_t silent_ms,
                     int64_t now_ns)
{
    if (from == 0) {
        copy_begin(p, now_ns);
    }
    if (p->leaving.next) {
        copy_slice(p, from, count, silent_ms);
    }
    if (p->leaving.next && from + count >= p->front.series_count) {
        copy_end(p, now_ns);
    }
}

void head_series_wanted(struct head_partition *p, uint32_t local)
{
    struct head_series *s = head_hot(p, local);
    if (s->flags & HEAD_SERIES_LEAVING) {
        s->flags &= (uint8_t)~HEAD_SERIES_LEAVING;
        p->leaving.failed = true;
    }
}

/* ---- settle ---- */

static bool settle_one(struct head_partition *p, uint32_t local)
{
    struct head_series *s = head_hot(p, local);
    if (!(s->flags & HEAD_SERIES_LEAVING)) {
        return false;
    }
    s->flags &= (uint8_t)~HEAD_SERIES_LEAVING;
    if (index_mem_has(head_own_index(p), local)) {
        return false;
    }
    TSDB_ASSERT(is_empty(p, local));
    struct head_side *side = head_side(p, local);
    if (side) {
        head_tail_release(p, head_own_late(p, local), true, false);
        head_list_drop(p, &side->chunks);
        struct head_sides *sides =
            atomic_load_explicit(&head_bundle(p, local)->sides, memory_order_relaxed);
        /* Partner: head_side. */
        atomic_store_explicit(&sides->of[head_bundle_bit(local)], NULL, memory_order_release);
        tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, side, sizeof *side);
    }
    s->generation = HEAD_GENERATION_GONE;
    return true;
}

/* A slab of ids that are all given out, and whose series have all left, is freed. */
static void slab_settle(struct head_partition *p, uint32_t slab)
{
    struct head_directory *d = directory(p);
    struct head_slab *s = head_directory_slab(d, slab);
    uint32_t first = slab << HEAD_SLAB_SHIFT;
    if (s == &head_slab_gone || p->front.series_count - first < HEAD_SLAB_SERIES ||
        index_mem_next(head_own_index(p), first) < first + HEAD_SLAB_SERIES) {
        return;
    }
    for (uint32_t i = 0; i < HEAD_SLAB_SERIES / BUNDLE_SERIES; i++) {
        head_list_drop(p, &s->bundles[i].chunks);
        struct head_sides *sides =
            atomic_load_explicit(&s->bundles[i].sides, memory_order_relaxed); /* own store */
        tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, sides, sizeof *sides);
    }
    atomic_store_explicit(&d->slabs[slab], &head_slab_gone, memory_order_relaxed);
    tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, s, sizeof *s);
}

uint64_t head_leave_settle(struct head_partition *p, uint32_t from, uint32_t count)
{
    uint64_t gone = 0;
    uint32_t end = TSDB_MIN(p->front.series_count, from + count);
    for (uint32_t i = head_there(p, from); i < end; i++) {
        gone += settle_one(p, i);
    }
    for (uint32_t slab = from >> HEAD_SLAB_SHIFT; slab < end >> HEAD_SLAB_SHIFT; slab++) {
        slab_settle(p, slab);
    }
    return gone;
}
