#include "tsdb/head/head_private.h"

#include "base/assert.h"

#include <string.h>

/* Names are not empty, so no valid exemplar has more labels. */
#define EXEMPLAR_LABELS_MAX TSDB_EXEMPLAR_LABEL_CHARS_MAX

void head_exemplar_ring_init(struct head_exemplar_ring *r, uint32_t cap)
{
    memset(r, 0, sizeof *r);
    tsdb_mutex_init(&r->lock, TSDB_RANK_TSDB_METADATA, "head exemplars");
    r->cap = cap;
}

static size_t slots_bytes(const struct head_exemplar_ring *r)
{
    return r->cap * sizeof(struct head_exemplar_slot);
}

void head_exemplar_ring_deinit(struct head_exemplar_ring *r)
{
    tsdb_mutex_lock(&r->lock);
    if (r->slots) {
        for (uint32_t i = 0; i < r->cap; i++) {
            tsdb_mem_free(HEAD_CATEGORY, r->slots[i].labels, r->slots[i].label_bytes);
        }
        tsdb_mem_free(HEAD_CATEGORY, r->slots, slots_bytes(r));
    }
    r->slots = NULL;
    r->count = 0;
    tsdb_mutex_unlock(&r->lock);
    tsdb_mutex_deinit(&r->lock);
}

static struct head_exemplar_slot *slot_at(struct head_exemplar_ring *r, uint32_t i)
    TSDB_REQUIRES(r->lock)
{
    uint32_t at = r->begin + i;
    return &r->slots[at < r->cap ? at : at - r->cap];
}

/* The series' newest exemplar in the ring. A scan: exemplars are rare, rings are small. */
static const struct head_exemplar_slot *newest_of(struct head_exemplar_ring *r, uint32_t local)
    TSDB_REQUIRES(r->lock)
{
    for (uint32_t i = r->count; i-- > 0;) {
        const struct head_exemplar_slot *s = slot_at(r, i);
        if (s->local == local) {
            return s;
        }
    }
    return NULL;
}

static enum tsdb_status append_locked(struct head_exemplar_ring *r,
                                      const struct head_exemplar_slot *x) TSDB_REQUIRES(r->lock)
{
    if (!r->slots) {
        r->slots = tsdb_mem_alloc_zero(HEAD_CATEGORY, slots_bytes(r));
        if (!r->slots) {
            return TSDB_NOMEM;
        }
    }
    const struct head_exemplar_slot *last = newest_of(r, x->local);
    if (last && x->t_ms <= last->t_ms) {
        bool same = x->t_ms == last->t_ms && x->bits == last->bits &&
                    x->label_bytes == last->label_bytes &&
                    (x->label_bytes == 0 || memcmp(x->labels, last->labels, x->label_bytes) == 0);
        /* LIMIT stands for "there already" within this file. */
        return same ? TSDB_LIMIT : TSDB_OUT_OF_ORDER;
    }
    if (r->count == r->cap) {
        struct head_exemplar_slot *oldest = slot_at(r, 0);
        tsdb_mem_free(HEAD_CATEGORY, oldest->labels, oldest->label_bytes);
        oldest->labels = NULL;
        oldest->label_bytes = 0;
        r->begin = r->begin + 1 < r->cap ? r->begin + 1 : 0;
        r->count--;
    }
    TSDB_ASSERT(r->count < r->cap && r->begin < r->cap);
    *slot_at(r, r->count) = *x;
    r->count++;
    return TSDB_OK;
}

enum tsdb_status head_exemplar_append(struct head_partition *p, uint32_t local,
                                      const struct tsdb_exemplar *x)
{
    struct head_exemplar_ring *r = &p->exemplars;
    TSDB_ASSERT(local < p->front.series_count);
    if (r->cap == 0) {
        return TSDB_OK;
    }
    if (x->labels.count > EXEMPLAR_LABELS_MAX) {
        return TSDB_INVALID;
    }
    struct head_exemplar_slot slot = {.local = local, .bits = x->bits, .t_ms = x->t_ms};
    size_t bytes = tsdb_labels_encoded_bytes(&x->labels);
    if (bytes > 0) {
        slot.labels = tsdb_mem_alloc(HEAD_CATEGORY, bytes);
        if (!slot.labels) {
            return TSDB_NOMEM;
        }
        slot.label_bytes = (uint32_t)tsdb_labels_encode(&x->labels, slot.labels);
    }
    tsdb_mutex_lock(&r->lock);
    enum tsdb_status status = append_locked(r, &slot);
    tsdb_mutex_unlock(&r->lock);
    if (status == TSDB_OK) {
        head_count(&p->front.counters.exemplars, 1);
        return TSDB_OK;
    }
    tsdb_mem_free(HEAD_CATEGORY, slot.labels, slot.label_bytes);
    return status == TSDB_LIMIT ? TSDB_OK : status;
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
    const uint8_t *p = s->labels;
    const uint8_t *end = p + s->label_bytes;
    uint32_t n = 0;
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
    struct head_exemplar_ring *r = &p->exemplars;
    struct tsdb_label labels[EXEMPLAR_LABELS_MAX];
    bool go_on = true;
    tsdb_mutex_lock(&r->lock);
    for (uint32_t i = 0; go_on && i < r->count; i++) {
        const struct head_exemplar_slot *s = slot_at(r, i);
        struct tsdb_exemplar x = {
            .labels = {labels, labels_view(s, labels)}, .bits = s->bits, .t_ms = s->t_ms};
        go_on = fn(arg, s->local, &x);
    }
    tsdb_mutex_unlock(&r->lock);
}
