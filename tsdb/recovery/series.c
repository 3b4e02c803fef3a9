/* Labels from files into heads, some series at a time. */
#include "model/placement.h"
#include "tsdb/recovery/recovery_private.h"

#include <string.h>

void recovery_group_init(struct recovery_group *g)
{
    g->count = g->label_count = 0;
    g->like = (struct tsdb_labels){g->like_items, 0};
}

static enum tsdb_status check_place(const struct replay_partition *p, struct recovery_series *s,
                                    struct tsdb_slice bytes, struct tsdb_error *err)
{
    s->hash = tsdb_labels_hash_canonical(p->hash_key, bytes);
    uint32_t place = tsdb_labels_partition(p->hash_key, &s->labels, s->hash);
    return place == p->id && s->labels.count > 0
               ? TSDB_OK
               : tsdb_error_set(err, TSDB_CORRUPT, "a series of partition %u has labels of %u",
                                (unsigned)p->id, (unsigned)place);
}

enum tsdb_status recovery_group_add(struct recovery_group *g, const struct replay_partition *p,
                                    uint32_t stored, struct tsdb_slice bytes,
                                    struct tsdb_error *err)
{
    if (g->count == RECOVERY_GROUP_SERIES) {
        return TSDB_LIMIT;
    }
    struct tsdb_label *items = g->items + g->label_count;
    struct recovery_series *s = &g->series[g->count];
    *s = (struct recovery_series){.stored = stored, .labels = {items, 0}};
    enum tsdb_status status =
        tsdb_labels_decode_like(bytes.data, bytes.len, &g->like, items,
                                TSDB_LABELS_MAX - g->label_count, &s->labels.count, err);
    if (status == TSDB_LIMIT && g->count > 0) {
        return status; /* no room beside the others */
    }
    if (status != TSDB_OK) {
        return TSDB_CORRUPT;
    }
    status = check_place(p, s, bytes, err);
    if (status == TSDB_OK) {
        head_series_find_prefetch(p->partition->head, s->hash);
        g->like = s->labels;
        g->label_count += s->labels.count;
        g->count++;
    }
    return status;
}

void recovery_group_clear(struct recovery_group *g)
{
    uint32_t n = TSDB_MIN(g->like.count, RECOVERY_GROUP_LIKE);
    if (g->count > 0) {
        memcpy(g->like_items, g->like.items, n * sizeof g->like_items[0]);
    }
    g->like = (struct tsdb_labels){g->like_items, n};
    g->count = g->label_count = 0;
}

enum tsdb_status recovery_series_take(struct head_partition *head, const struct recovery_series *s,
                                      uint32_t *out_local, struct tsdb_error *err)
{
    bool created = false;
    return head_series_find_or_create(head, &s->labels, s->hash, out_local, &created, err);
}
