#include "tsdb/head/head_private.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

/* Names are not empty, so no valid exemplar has more labels. */
#define EXEMPLAR_LABELS_MAX TSDB_EXEMPLAR_LABEL_CHARS_MAX

/* ---- life ---- */

enum tsdb_status head_exemplar_store_create(uint32_t max, struct head_exemplar_store **out)
{
    struct head_exemplar_store *s = tsdb_mem_alloc_zero(HEAD_CATEGORY, sizeof *s);
    if (!s) {
        return TSDB_NOMEM;
    }
    tsdb_mutex_init(&s->lock, TSDB_RANK_TSDB_METADATA, "head exemplars");
    s->cap = max;
    *out = s;
    return TSDB_OK;
}

static size_t slots_bytes(const struct head_exemplar_store *s)
{
    return s->cap * sizeof(struct head_exemplar_slot);
}

/* At most half of the places are taken. */
static uint64_t heads_count(const struct head_exemplar_store *s)
{
    uint64_t n = 8;
    while (n < 2 * (uint64_t)s->cap) {
        n *= 2;
    }
    return n;
}

static size_t heads_bytes(const struct head_exemplar_store *s)
{
    return heads_count(s) * sizeof(struct head_exemplar_head);
}

void head_exemplar_store_destroy(struct head_exemplar_store *s)
{
    if (!s) {
        return;
    }
    tsdb_mutex_lock(&s->lock);
    for (uint32_t i = 0; s->slots && i < s->cap; i++) {
        tsdb_mem_free(HEAD_CATEGORY, s->slots[i].labels, s->slots[i].label_bytes);
    }
    tsdb_mem_free(HEAD_CATEGORY, s->slots, slots_bytes(s));
    tsdb_mem_free(HEAD_CATEGORY, s->heads, heads_bytes(s));
    tsdb_mutex_unlock(&s->lock);
    tsdb_mutex_deinit(&s->lock);
    tsdb_mem_free(HEAD_CATEGORY, s, sizeof *s);
}

void head_exemplars_share(struct head_partition *p, struct head_exemplar_store *s)
{
    TSDB_ASSERT(s);
    head_exemplar_store_destroy(p->own_exemplars);
    p->own_exemplars = NULL;
    p->exemplars = s;
}

static bool store_ensure(struct head_exemplar_store *s) TSDB_REQUIRES(s->lock)
{
    if (s->slots) {
        return true;
    }
    struct head_exemplar_slot *slots = tsdb_mem_alloc_zero(HEAD_CATEGORY, slots_bytes(s));
    struct head_exemplar_head *heads = tsdb_mem_alloc(HEAD_CATEGORY, heads_bytes(s));
    if (!slots || !heads) {
        tsdb_mem_free(HEAD_CATEGORY, slots, slots_bytes(s));
        tsdb_mem_free(HEAD_CATEGORY, heads, heads_bytes(s));
        return false;
    }
    s->slots = slots;
    s->heads = heads;
    s->head_mask = (uint32_t)(heads_count(s) - 1);
    for (uint64_t i = 0; i <= s->head_mask; i++) {
        s->heads[i].series = TSDB_SERIES_NEW;
    }
    return true;
}

/* ---- series -> newest ---- */

static uint32_t home_of(const struct head_exemplar_store *s, tsdb_series_ref series)
    TSDB_REQUIRES(s->lock)
{
    return (series * UINT32_C(2654435769)) >> 7 & s->head_mask;
}

/* The place of the series, or the free one where it belongs. */
static uint32_t head_find(const struct head_exemplar_store *s, tsdb_series_ref series)
    TSDB_REQUIRES(s->lock)
{
    uint32_t i = home_of(s, series);
    while (s->heads[i].series != TSDB_SERIES_NEW && s->heads[i].series != series) {
        i = (i + 1) & s->head_mask;
    }
    return i;
}

/* Free the place; what was pushed on by it moves back, so that no search ends early. */
static void head_remove(struct head_exemplar_store *s, uint32_t at) TSDB_REQUIRES(s->lock)
{
    TSDB_ASSERT(at <= s->head_mask && s->heads[at].series != TSDB_SERIES_NEW);
    for (uint32_t i = (at + 1) & s->head_mask; s->heads[i].series != TSDB_SERIES_NEW;
         i = (i + 1) & s->head_mask) {
        uint32_t home = home_of(s, s->heads[i].series);
        if (((i - home) & s->head_mask) >= ((i - at) & s->head_mask)) {
            s->heads[at] = s->heads[i];
            at = i;
        }
    }
    s->heads[at].series = TSDB_SERIES_NEW;
}

/* ---- the ring ---- */

static struct head_exemplar_slot *slot_of(const struct head_exemplar_store *s, uint64_t number)
    TSDB_REQUIRES(s->lock)
{
    return &s->slots[number % s->cap];
}

/* Is it still there? */
static bool is_kept(const struct head_exemplar_store *s, uint64_t number) TSDB_REQUIRES(s->lock)
{
    return number < s->end && s->end - number <= s->count;
}

static void drop_oldest(struct head_exemplar_store *s) TSDB_REQUIRES(s->lock)
{
    TSDB_ASSERT(s->count > 0 && s->count <= s->end);
    uint64_t number = s->end - s->count;
    struct head_exemplar_slot *slot = slot_of(s, number);
    uint32_t partition = tsdb_series_partition(slot->series);
    uint32_t head = head_find(s, slot->series);
    TSDB_ASSERT(s->first[partition] == number);
    TSDB_ASSERT(s->partition_count[partition] > 0);
    TSDB_ASSERT(s->heads[head].series == slot->series); /* whoever has an exemplar has a newest */
    s->first[partition] = slot->next;
    s->partition_count[partition]--;
    if (s->heads[head].newest == number) {
        head_remove(s, head);
    }
    tsdb_mem_free(HEAD_CATEGORY, slot->labels, slot->label_bytes);
    *slot = (struct head_exemplar_slot){0};
    s->count--;
}

static bool slots_same(const struct head_exemplar_slot *a, const struct head_exemplar_slot *b)
{
    return a->bits == b->bits && a->label_bytes == b->label_bytes &&
           (a->label_bytes == 0 || memcmp(a->labels, b->labels, a->label_bytes) == 0);
}

/* May it follow what the series has? NOT_FOUND: the very same is there. */
static enum tsdb_status check_order(const struct head_exemplar_store *s, uint64_t newest,
                                    const struct head_exemplar_slot *x) TSDB_REQUIRES(s->lock)
{
    uint32_t at_once = 0;
    for (uint64_t n = newest; is_kept(s, n); n = slot_of(s, n)->older) {
        const struct head_exemplar_slot *have = slot_of(s, n);
        if (have->t_ms != x->t_ms) {
            return have->t_ms < x->t_ms ? TSDB_OK : TSDB_OUT_OF_ORDER;
        }
        if (slots_same(have, x)) {
            return TSDB_NOT_FOUND;
        }
        if (++at_once == HEAD_EXEMPLARS_AT_ONCE) {
            return TSDB_LIMIT;
        }
    }
    return TSDB_OK;
}

/* Behind all others; `head`: the place of its series. There is room. */
static void push(struct head_exemplar_store *s, uint32_t head, const struct head_exemplar_slot *x)
    TSDB_REQUIRES(s->lock)
{
    uint32_t partition = tsdb_series_partition(x->series);
    if (s->partition_count[partition] > 0) {
        slot_of(s, s->last[partition])->next = s->end;
    } else {
        s->first[partition] = s->end;
    }
    s->last[partition] = s->end;
    s->partition_count[partition]++;
    s->heads[head] = (struct head_exemplar_head){s->end, x->series};
    *slot_of(s, s->end) = *x;
    s->end++;
    s->count++;
    TSDB_ASSERT(s->count <= s->cap && is_kept(s, s->end - 1));
}

/* The newest of the series at its place; UINT64_MAX: none. */
static uint64_t newest_of(const struct head_exemplar_store *s, uint32_t head,
                          tsdb_series_ref series) TSDB_REQUIRES(s->lock)
{
    return s->heads[head].series == series ? s->heads[head].newest : UINT64_MAX;
}

static enum tsdb_status append_locked(struct head_exemplar_store *s, struct head_exemplar_slot *x)
    TSDB_REQUIRES(s->lock)
{
    if (!store_ensure(s)) {
        return TSDB_NOMEM;
    }
    uint32_t head = head_find(s, x->series);
    x->older = newest_of(s, head, x->series);
    enum tsdb_status status = check_order(s, x->older, x);
    if (status != TSDB_OK) {
        return status;
    }
    if (s->count == s->cap) {
        drop_oldest(s);
        head = head_find(s, x->series); /* places may have moved */
    }
    push(s, head, x);
    return TSDB_OK;
}

enum tsdb_status head_exemplar_append(struct head_partition *p, uint32_t local,
                                      const struct tsdb_exemplar *x)
{
    struct head_exemplar_store *s = p->exemplars;
    TSDB_ASSERT(local < p->front.series_count);
    if (s->cap == 0) {
        return TSDB_OK;
    }
    if (x->labels.count > EXEMPLAR_LABELS_MAX) {
        return TSDB_INVALID;
    }
    struct head_exemplar_slot slot = {
        .series = tsdb_series_make(p->id, local), .bits = x->bits, .t_ms = x->t_ms};
    size_t bytes = tsdb_labels_encoded_bytes(&x->labels);
    if (bytes > 0) {
        slot.labels = tsdb_mem_alloc(HEAD_CATEGORY, bytes);
        if (!slot.labels) {
            return TSDB_NOMEM;
        }
        slot.label_bytes = (uint32_t)tsdb_labels_encode(&x->labels, slot.labels);
    }
    tsdb_mutex_lock(&s->lock);
    enum tsdb_status status = append_locked(s, &slot);
    tsdb_mutex_unlock(&s->lock);
    if (status == TSDB_OK) {
        head_count(&p->front.counters.exemplars, 1);
        return TSDB_OK;
    }
    tsdb_mem_free(HEAD_CATEGORY, slot.labels, slot.label_bytes);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

/* ---- the order after loading ---- */

/* `older` is the place before sorting. */
static int by_time(const void *a, const void *b)
{
    const struct head_exemplar_slot *x = a;
    const struct head_exemplar_slot *y = b;
    if (x->t_ms != y->t_ms) {
        return x->t_ms < y->t_ms ? -1 : 1;
    }
    return x->older < y->older ? -1 : 1;
}

static void settle_locked(struct head_exemplar_store *s, struct head_exemplar_slot *items)
    TSDB_REQUIRES(s->lock)
{
    uint32_t n = s->count;
    s->end -= n;
    for (uint32_t i = 0; i < n; i++) {
        items[i] = *slot_of(s, s->end + i);
        items[i].older = i;
    }
    qsort(items, n, sizeof items[0], by_time);
    s->count = 0;
    memset(s->partition_count, 0, sizeof s->partition_count);
    for (uint64_t i = 0; i <= s->head_mask; i++) {
        s->heads[i].series = TSDB_SERIES_NEW;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t head = head_find(s, items[i].series);
        items[i].older = newest_of(s, head, items[i].series);
        push(s, head, &items[i]);
    }
}

void head_exemplars_settle(struct head_partition *p)
{
    struct head_exemplar_store *s = p->exemplars;
    tsdb_mutex_lock(&s->lock);
    size_t bytes = s->count * sizeof(struct head_exemplar_slot);
    struct head_exemplar_slot *items = bytes > 0 ? tsdb_mem_alloc(HEAD_CATEGORY, bytes) : NULL;
    if (items) { /* else the order stays as it is: it decides only who goes first */
        settle_locked(s, items);
    }
    tsdb_mutex_unlock(&s->lock);
    tsdb_mem_free(HEAD_CATEGORY, items, bytes);
}

static const uint8_t *get_string(const uint8_t *p, const uint8_t *end, const char **out_s,
                                 uint32_t *out_len)
{
    uint64_t len = 0;
    p = tsdb_get_uvarint(p, end, &len);
    TSDB_ASSERT(p && len <= (uint64_t)(end - p)); /* our own bytes */
    *out_s = (const char *)p;
    *out_len = (uint32_t)len;
    return p + len;
}

/* The reverse of tsdb_labels_encode. tsdb_labels_decode wants sorted names and no empty values, and
 * an exemplar's labels are kept as they came. */
static uint32_t labels_view(const struct head_exemplar_slot *s, struct tsdb_label *items)
{
    uint32_t n = 0;
    if (s->label_bytes == 0) {
        return 0; /* labels is NULL */
    }
    const uint8_t *p = s->labels;
    const uint8_t *end = p + s->label_bytes;
    while (p < end) {
        TSDB_ASSERT(n < EXEMPLAR_LABELS_MAX);
        p = get_string(p, end, &items[n].name, &items[n].name_len);
        p = get_string(p, end, &items[n].value, &items[n].value_len);
        n++;
    }
    return n;
}

void head_exemplars(struct head_partition *p, head_exemplar_fn fn, void *arg)
{
    struct head_exemplar_store *s = p->exemplars;
    struct tsdb_label labels[EXEMPLAR_LABELS_MAX];
    bool go_on = true;
    tsdb_mutex_lock(&s->lock);
    uint64_t number = s->first[p->id];
    for (uint32_t i = s->partition_count[p->id]; go_on && i > 0; i--) {
        TSDB_ASSERT(is_kept(s, number));
        const struct head_exemplar_slot *slot = slot_of(s, number);
        struct tsdb_exemplar x = {
            .labels = {labels, labels_view(slot, labels)}, .bits = slot->bits, .t_ms = slot->t_ms};
        go_on = fn(arg, tsdb_series_local(slot->series), &x);
        number = slot->next;
    }
    tsdb_mutex_unlock(&s->lock);
}
