/* The sealed chunks of a series: their list, the way to the sealer and back, and how they go. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"

#include <string.h>

static size_t list_bytes(uint32_t cap)
{
    return sizeof(struct head_list) + cap * sizeof(struct head_sealed *);
}

static uint64_t flushed_in(const struct head_sealed *s)
{
    /* Relaxed: it is compared with a view's number only, and the lock that guards views orders. */
    return atomic_load_explicit(&s->flushed_in, memory_order_relaxed);
}

/* ---- one chunk ---- */

struct head_sealed *head_sealed_create(struct head_partition *p, uint32_t local,
                                       struct head_tail *tail, uint32_t count)
{
    struct head_raw_chunk *c = tsdb_mem_alloc_zero(HEAD_CATEGORY, sizeof *c);
    if (!c) {
        return NULL;
    }
    struct head_sealed *s = &c->sealed;
    TSDB_ASSERT(count > 0 && count <= TSDB_HEAD_CHUNK_SAMPLES_MAX);
    TSDB_ASSERT(!head_tail_is_stream(tail) && count <= tail->cap);
    s->min_ms = head_tail_first_ms(tail);
    s->max_ms = head_tail_t(tail)[count - 1];
    TSDB_ASSERT(s->min_ms <= s->max_ms);
    TSDB_ASSERT(head_window_holds(p, s->min_ms, s->max_ms));
    s->count = (uint16_t)count;
    s->kind = tail->kind;
    s->late = (tail->flags & HEAD_TAIL_LATE) != 0;
    s->seq = s->late ? tail->seq : 0;
    c->local = local;
    c->partition = (uint8_t)p->id;
    c->tail = tail;
    return s;
}

struct chunk_samples head_raw_samples(const struct head_raw_chunk *raw)
{
    struct head_tail *t = raw->tail;
    uint32_t count = raw->sealed.count;
    TSDB_ASSERT(!raw->sealed.file && t && count == head_tail_count(t));
    return (struct chunk_samples){
        .kind = (enum tsdb_sample_kind)raw->sealed.kind,
        .count = count,
        .t_ms = head_tail_t(t),
        .value = head_tail_value(t),
        .start_ms = (t->flags & HEAD_TAIL_STARTS) ? head_tail_start(t) : NULL,
    };
}

struct head_sealed *head_sealed_in_file(const struct head_raw_chunk *raw, struct head_file *file,
                                        uint64_t offset, uint32_t len)
{
    TSDB_ASSERT(!raw->sealed.file && file && len > 0 && offset <= UINT32_MAX);
    struct head_sealed *s = tsdb_mem_alloc_zero(HEAD_CATEGORY, sizeof *s);
    if (!s) {
        return NULL;
    }
    s->min_ms = raw->sealed.min_ms;
    s->max_ms = raw->sealed.max_ms;
    s->count = raw->sealed.count;
    s->seq = raw->sealed.seq;
    s->kind = raw->sealed.kind;
    s->late = raw->sealed.late;
    s->mask = raw->sealed.mask;
    s->file = file;
    s->offset = (uint32_t)offset;
    s->len = len;
    return s;
}

static size_t sealed_bytes(const struct head_sealed *s)
{
    return s->file ? sizeof *s
                   : sizeof(struct head_raw_chunk) +
                         head_bundle_streams(s) * sizeof(struct head_raw_stream);
}

void head_sealed_discard(struct head_sealed *s)
{
    if (s) {
        tsdb_mem_free(HEAD_CATEGORY, s, sealed_bytes(s));
    }
}

/* Free what no list has any more. */
static void sealed_free(struct head_partition *p, struct head_sealed *s, bool at_once)
{
    size_t bytes = sealed_bytes(s);
    if (s->file) {
        head_file_release(s->file);
    } else {
        struct head_raw_chunk *raw = head_raw_chunk_of(s);
        head_tail_release(p, raw->tail, true, at_once);
        for (uint32_t i = 0; i < head_bundle_streams(s); i++) {
            head_tail_release(p, raw->streams[i].tail, false, at_once);
        }
    }
    if (at_once) {
        tsdb_mem_free(HEAD_CATEGORY, s, bytes);
    } else {
        tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, s, bytes);
    }
}

void head_raw_destroy(struct head_partition *p, struct head_raw_chunk *raw)
{
    sealed_free(p, &raw->sealed, true);
}

/* Free a chunk that was just taken off its list; the sealer gives back what it has. */
static void sealed_drop(struct head_partition *p, struct head_sealed *s)
{
    struct head_raw_chunk *raw = s->file ? NULL : head_raw_chunk_of(s);
    uint64_t expected = 0;
    TSDB_ASSERT(!raw || raw->state != SEALED_ORPHAN);
    if (atomic_compare_exchange_strong_explicit(&s->flushed_in, &expected, SEALED_GONE,
                                                memory_order_relaxed, memory_order_relaxed)) {
        head_windows_sub(&p->windows, s->min_ms, 1);
    }
    if (raw && s->late) {
        head_late_set_leave(&p->late, raw->local, raw->tail);
    }
    if (raw && raw->state == SEALED_QUEUED) {
        raw->state = SEALED_ORPHAN;
    } else {
        sealed_free(p, s, false);
    }
}

bool head_sealed_flushed(struct head_partition *p, uint32_t local, struct head_sealed *s,
                         uint64_t view)
{
    uint64_t expected = 0;
    TSDB_ASSERT(view > 0 && view <= HEAD_VIEW_ALL && s->file && head_sealed_has(s, local));
    if (s->mask != 0) {
        s->taken |= UINT64_C(1) << head_bundle_bit(local);
        if (s->taken != s->mask) {
            return false;
        }
    }
    if (!atomic_compare_exchange_strong_explicit(&s->flushed_in, &expected, view,
                                                 memory_order_relaxed, memory_order_relaxed)) {
        return false;
    }
    head_windows_sub(&p->windows, s->min_ms, 1);
    return true;
}

/* ---- the list ---- */

static struct head_list *list_create(uint32_t cap)
{
    struct head_list *l = tsdb_mem_alloc(HEAD_CATEGORY, list_bytes(cap));
    if (l) {
        atomic_init(&l->count, 0);
        l->cap = cap;
    }
    return l;
}

/* Not published yet, or covered by a count that is stored later. */
static void list_put(struct head_list *l, uint32_t at, struct head_sealed *s)
{
    atomic_store_explicit(&l->items[at], s, memory_order_relaxed);
}

/* The newest in-order chunk at or before a place, as far as raw chunks know. */
static uint32_t ordered_at(struct head_list *l, uint32_t at)
{
    struct head_sealed *s = head_list_at(l, at);
    if (!s->late) {
        return at;
    }
    return s->file ? SEALED_NOWHERE : head_raw_chunk_of(s)->place.ordered;
}

/* A chunk whose place in a list is new; what stands before it has its places. */
static void place_set(struct head_list *l, uint32_t at, struct head_sealed *s)
{
    if (!s->file) {
        struct head_raw_chunk *raw = head_raw_chunk_of(s);
        raw->place.at = at;
        raw->place.ordered = !s->late ? at : at > 0 ? ordered_at(l, at - 1) : SEALED_NOWHERE;
    }
}

/* In-order chunks stand in the order of their times, those in files before those in memory, and late
 * ones anywhere between: a search by halves for the first that reaches up to t_ms. */
struct head_sealed *head_list_find_ordered(struct head_list *l, int64_t t_ms)
{
    uint32_t low = 0;
    uint32_t high = head_list_count(l);
    struct head_sealed *found = NULL;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        uint32_t at = ordered_at(l, mid);
        struct head_sealed *s = at != SEALED_NOWHERE ? head_list_at(l, at) : NULL;
        if (!s || s->file || s->max_ms < t_ms) {
            low = mid + 1;
        } else {
            found = s;
            high = at;
        }
    }
    return found && found->min_ms <= t_ms ? found : NULL;
}

/* Room for n and what is left of a size class; a quarter more where lists are long. */
static uint32_t list_cap(uint32_t n)
{
    TSDB_ASSERT(n > 0 && n <= UINT32_MAX / 2);
    return ((n + n / 4) | 1);
}

struct head_list *head_series_list_ensure(struct head_partition *p, uint32_t local, uint32_t more,
                                          bool *out_copied)
{
    struct head_side *side = head_side_ensure(p, local);
    return side ? head_list_ensure(&side->chunks, more, out_copied) : NULL;
}

struct head_list *head_list_ensure(_Atomic(struct head_list *) *slot, uint32_t more,
                                   bool *out_copied)
{
    struct head_list *l = atomic_load_explicit(slot, memory_order_relaxed);
    uint32_t n = head_list_count(l);
    TSDB_ASSERT(more > 0 && (!l || n <= l->cap));
    *out_copied = false;
    if (l && more <= l->cap - n) {
        return l;
    }
    uint32_t cap = list_cap(n + more);
    struct head_list *grown = list_create(cap);
    if (!grown) {
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++) {
        list_put(grown, i, head_list_at(l, i));
    }
    atomic_store_explicit(&grown->count, n, memory_order_relaxed);
    *out_copied = true;
    return grown;
}

void head_list_discard(struct head_list *l)
{
    tsdb_mem_free(HEAD_CATEGORY, l, list_bytes(l->cap));
}

static void queue(struct head_partition *p, struct head_raw_chunk *s)
{
    TSDB_ASSERT(s->state == SEALED_IDLE);
    s->state = SEALED_QUEUED;
    atomic_fetch_add_explicit(&p->raw_pending, 1, memory_order_relaxed);
    head_seal_queue_push(p, s);
}

/* Put a new list (or none) in the place of the one that the slot has. */
static void list_replace(struct head_partition *p, _Atomic(struct head_list *) *slot,
                         struct head_list *l)
{
    struct head_list *old = atomic_load_explicit(slot, memory_order_relaxed);
    atomic_store_explicit(slot, l, memory_order_release); /* partner: head/read.c */
    if (old) {
        tsdb_epoch_retire(p->epoch, &p->limbo, HEAD_CATEGORY, old, list_bytes(old->cap));
    }
}

void head_list_drop(struct head_partition *p, _Atomic(struct head_list *) *slot)
{
    TSDB_ASSERT(head_list_count(atomic_load_explicit(slot, memory_order_relaxed)) == 0);
    list_replace(p, slot, NULL);
}

void head_list_publish(struct head_partition *p, _Atomic(struct head_list *) *slot,
                       struct head_list *list, bool copied, struct head_sealed *const *chunks,
                       uint32_t n)
{
    uint32_t have = head_list_count(list);
    TSDB_ASSERT(n > 0 && n <= list->cap - have);
    for (uint32_t i = 0; i < n; i++) {
        list_put(list, have + i, chunks[i]);
        place_set(list, have + i, chunks[i]);
    }
    /* Release, both: partners are the loads of chunks and count in head/read.c. */
    atomic_store_explicit(&list->count, have + n, memory_order_release);
    if (copied) {
        list_replace(p, slot, list);
    }
    head_count(&p->front.counters.chunks, n);
    for (uint32_t i = 0; p->seal && i < n; i++) {
        if (!chunks[i]->file) {
            queue(p, head_raw_chunk_of(chunks[i]));
        }
    }
}

void head_list_destroy(struct head_partition *p, struct head_list *l)
{
    for (uint32_t i = 0; i < head_list_count(l); i++) {
        sealed_free(p, head_list_at(l, i), true);
    }
    if (l) {
        tsdb_mem_free(HEAD_CATEGORY, l, list_bytes(l->cap));
    }
}

/* ---- to the sealer and back ---- */

void head_seal_queue_push(struct head_partition *p, struct head_raw_chunk *c)
{
    struct head_raw_chunk *first = atomic_load_explicit(&p->seal_queue, memory_order_relaxed);
    do {
        c->next = first;
        /* Release: partner is head_seal_queue_take. */
    } while (!atomic_compare_exchange_weak_explicit(&p->seal_queue, &first, c, memory_order_release,
                                                    memory_order_relaxed));
}

struct head_raw_chunk *head_seal_queue_take(struct head_partition *p)
{
    if (!atomic_load_explicit(&p->seal_queue, memory_order_relaxed)) {
        return NULL;
    }
    /* Acquire: partner is the push; who takes a chunk sees its samples. */
    struct head_raw_chunk *s = atomic_exchange_explicit(&p->seal_queue, NULL, memory_order_acquire);
    struct head_raw_chunk *oldest = NULL;
    while (s) {
        struct head_raw_chunk *next = s->next;
        s->next = oldest;
        oldest = s;
        s = next;
    }
    return oldest;
}

uint32_t head_raw_pending(const struct head_partition *p)
{
    /* Acquire: partner is the swap's release; who reads 0 finds the chunks in files. */
    return atomic_load_explicit(&p->raw_pending, memory_order_acquire);
}

void head_sealed_swap(struct head_partition *p, struct head_raw_chunk *raw)
{
    struct head_sealed *item = raw->replacement;
    TSDB_ASSERT(raw->partition == p->id && !raw->sealed.file);
    TSDB_ASSERT(item && item->file && raw->sealed.count == item->count);
    if (raw->state == SEALED_ORPHAN) {
        sealed_free(p, item, true); /* nobody has seen it */
    } else {
        struct head_list *l =
            raw->sealed.mask != 0
                ? atomic_load_explicit(&head_bundle(p, raw->local)->chunks, memory_order_relaxed)
                : head_own_list(p, raw->local);
        uint32_t at = raw->place.at;
        TSDB_ASSERT(raw->state == SEALED_QUEUED && at < head_list_count(l) &&
                    head_list_at(l, at) == &raw->sealed);
        if (raw->sealed.late) {
            head_late_set_leave(&p->late, raw->local, raw->tail);
        }
        /* Release: partner is head_list_at. */
        atomic_store_explicit(&l->items[at], item, memory_order_release);
    }
    sealed_free(p, &raw->sealed, false);
    uint32_t pending = atomic_fetch_sub_explicit(&p->raw_pending, 1, memory_order_release);
    TSDB_ASSERT(pending > 0);
}

/* ---- taking chunks away ---- */

typedef bool (*gone_fn)(const struct head_sealed *s, uint64_t value);

static bool is_older(const struct head_sealed *s, uint64_t min_ms)
{
    return s->max_ms < (int64_t)min_ms;
}

static bool is_flushed(const struct head_sealed *s, uint64_t view)
{
    uint64_t in = flushed_in(s);
    return 0 < in && in <= view;
}

/* What is_gone says must not change from yes to no meanwhile; from no to yes is found out here. */
static uint32_t list_remove(struct head_partition *p, _Atomic(struct head_list *) *slot,
                            gone_fn is_gone, uint64_t value)
{
    struct head_list *old = atomic_load_explicit(slot, memory_order_relaxed);
    uint32_t n = head_list_count(old);
    uint32_t stay = 0;
    for (uint32_t i = 0; i < n; i++) {
        stay += !is_gone(head_list_at(old, i), value);
    }
    if (stay == n) {
        return 0;
    }
    struct head_list *kept = list_create(stay + 1);
    struct head_list *gone = list_create(n - stay + 1);
    if (!kept || !gone) { /* the next round tries again */
        tsdb_mem_free(HEAD_CATEGORY, kept, list_bytes(stay + 1));
        tsdb_mem_free(HEAD_CATEGORY, gone, list_bytes(n - stay + 1));
        return 0;
    }
    uint32_t kept_count = 0;
    uint32_t gone_count = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct head_sealed *c = head_list_at(old, i);
        if (kept_count == stay || (gone_count < n - stay && is_gone(c, value))) {
            list_put(gone, gone_count++, c);
        } else {
            list_put(kept, kept_count, c);
            place_set(kept, kept_count++, c);
        }
    }
    TSDB_ASSERT(kept_count == stay && gone_count == n - stay);
    atomic_store_explicit(&kept->count, kept_count, memory_order_relaxed);
    list_replace(p, slot, kept);
    for (uint32_t i = 0; i < gone_count; i++) {
        sealed_drop(p, head_list_at(gone, i));
    }
    tsdb_mem_free(HEAD_CATEGORY, gone, list_bytes(gone->cap));
    return gone_count;
}

static uint64_t remove_slice(struct head_partition *p, uint32_t from, uint32_t count,
                             gone_fn is_gone, uint64_t value)
{
    uint64_t gone = 0;
    for (uint32_t i = head_there(p, from); i < p->front.series_count && i - from < count; i++) {
        struct head_side *side = head_side(p, i);
        if (i == from || head_bundle_bit(i) == 0) {
            gone += list_remove(p, &head_bundle(p, i)->chunks, is_gone, value);
        }
        gone += side ? list_remove(p, &side->chunks, is_gone, value) : 0;
    }
    /* Subtraction in the counter's own arithmetic. */
    head_count(&p->front.counters.chunks, (uint64_t)0 - gone);
    return gone;
}

uint64_t head_drop_before(struct head_partition *p, uint32_t from, uint32_t count, int64_t min_ms)
{
    return remove_slice(p, from, count, is_older, (uint64_t)min_ms);
}

uint64_t head_sweep(struct head_partition *p, uint32_t from, uint32_t count, uint64_t view)
{
    return remove_slice(p, from, count, is_flushed, view);
}

/* ---- sealing on request ---- */

/* Any sample of a window that begins before before_ms? */
static bool reaches_before(const struct head_partition *p, struct head_tail *t, uint32_t n,
                           int64_t before_ms)
{
    for (uint32_t i = 0; i < n; i++) {
        if (head_window_of(p, head_tail_t(t)[i]).begin_ms < before_ms) {
            return true;
        }
    }
    return false;
}

static uint64_t series_seal_before(struct head_partition *p, uint32_t local, int64_t before_ms)
{
    struct head_series *s = head_hot(p, local);
    uint64_t sealed = 0;
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    if (word && head_window_of(p, head_tail_first_ms(head_word_tail(word))).begin_ms < before_ms) {
        if (s->stream) {
            /* What finds no memory is tried again in the next round. */
            (void)head_bundle_seal(p, local, head_bundle_before(p, local, before_ms), &sealed);
        } else {
            sealed += head_series_seal_tail(p, s, local);
        }
    }
    struct head_tail *late = head_own_late(p, local);
    if (late && reaches_before(p, late, head_tail_count(late), before_ms)) {
        sealed += head_series_seal_late(p, s, local);
    }
    return sealed;
}

uint64_t head_seal_before(struct head_partition *p, uint32_t from, uint32_t count,
                          int64_t before_ms)
{
    uint64_t sealed = 0;
    for (uint32_t i = head_there(p, from); i < p->front.series_count && i - from < count; i++) {
        sealed += series_seal_before(p, i, before_ms);
    }
    return sealed;
}

/* ---- the flusher ---- */

static bool to_flush(const struct head_sealed *s, uint32_t local)
{
    return s->file && flushed_in(s) == 0 && head_sealed_has(s, local);
}

/* A list and its length, or 0. Under a guard. */
static struct head_list *list_seen(_Atomic(struct head_list *) *slot, uint32_t *out_n)
{
    /* Acquire, both: partner is head_list_publish. */
    struct head_list *l = atomic_load_explicit(slot, memory_order_acquire);
    *out_n = l ? atomic_load_explicit(&l->count, memory_order_acquire) : 0;
    return l;
}
static struct head_list *own_list_seen(const struct head_partition *p, uint32_t local,
                                       uint32_t *out_n)
{
    struct head_side *side = head_side(p, local);
    *out_n = 0;
    return side ? list_seen(&side->chunks, out_n) : NULL;
}

static void series_visit(struct head_partition *p, uint32_t local, sealed_fn fn, void *arg)
{
    tsdb_series_ref ref = tsdb_series_make(p->id, local);
    uint32_t n = 0;
    struct head_list *l = list_seen(&head_bundle(p, local)->chunks, &n);
    for (uint32_t i = 0; i < n; i++) {
        struct head_sealed *s = head_list_at(l, i);
        if (to_flush(s, local)) {
            fn(arg, ref, i, s);
        }
    }
    l = own_list_seen(p, local, &n);
    for (uint32_t i = 0; i < n; i++) {
        struct head_sealed *s = head_list_at(l, i);
        if (to_flush(s, local)) {
            fn(arg, ref, i, s);
        }
    }
}

void head_sealed_visit(struct head_partition *p, struct tsdb_epoch *epoch, uint32_t from,
                       uint32_t to, sealed_fn fn, void *arg)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(epoch, &guard);
    uint32_t count = index_mem_ids_end(head_index(p));
    for (uint32_t local = head_there(p, from); local < to && local < count; local++) {
        series_visit(p, local, fn, arg);
    }
    tsdb_epoch_exit(epoch, &guard);
}

/* False: fn said so. */
static bool list_visit_back(struct head_list *l, uint32_t n, uint32_t local, sealed_back_fn fn,
                            void *arg)
{
    bool on = true;
    for (uint32_t i = n; on && i-- > 0;) {
        struct head_sealed *s = head_list_at(l, i);
        on = !to_flush(s, local) || fn(arg, s);
    }
    return on;
}

void head_sealed_visit_back(struct head_partition *p, struct tsdb_epoch *epoch, uint32_t local,
                            struct head_upto upto, sealed_back_fn fn, void *arg)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(epoch, &guard);
    uint32_t n = 0;
    struct head_list *l = own_list_seen(p, local, &n);
    if (list_visit_back(l, TSDB_MIN(n, upto.own), local, fn, arg)) {
        l = list_seen(&head_bundle(p, local)->chunks, &n);
        list_visit_back(l, TSDB_MIN(n, upto.bundles), local, fn, arg);
    }
    tsdb_epoch_exit(epoch, &guard);
}
