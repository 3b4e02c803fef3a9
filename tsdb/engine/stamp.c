/* What changed since a moment, for results that are kept: written (written.h), dropped or given up in the
 * head, changed in the blocks. */
#include "tsdb/engine/db_private.h"

/* As querier_open: recovery has made all that is looked at here. */
static bool is_open(const struct tsdb *db)
{
    enum tsdb_state state = (enum tsdb_state)atomic_load_explicit(&db->state, memory_order_acquire);
    return state != TSDB_STATE_RECOVERING && state != TSDB_STATE_FAILED;
}

/* Chunks that could not be read count as lost after a time, and reads go on without them. */
static uint64_t lost(const struct tsdb *db)
{
    return head_files_damaged(db->head_files) +
           atomic_load_explicit(&db->life->flush_chunks_lost, memory_order_relaxed);
}

/* Numbers first, samples later: what changes in between counts as changed since. */
void tsdb_stamp_take(const struct tsdb *db, struct tsdb_stamp *out)
{
    *out = (struct tsdb_stamp){.valid = is_open(db)};
    if (!out->valid) {
        return;
    }
    out->view = atomic_load_explicit(&db->blocks.changed_view, memory_order_acquire);
    out->lost = lost(db);
    out->drops = atomic_load_explicit(&db->life->drops, memory_order_acquire);
    for (uint32_t i = 0; i < db->owner_count; i++) {
        out->written[i] = written_number(&db->owners[i].written);
        out->late[i] = written_number(&db->owners[i].written_late);
    }
}

/* Narrow the range to what the batches since leave. */
static void cut_written(const struct tsdb *db, const struct tsdb_stamp *stamp,
                        struct tsdb_time_range *r)
{
    for (uint32_t i = 0; i < db->owner_count; i++) {
        const struct owner *o = &db->owners[i];
        int64_t least_ms = written_least_since(&o->written, stamp->written[i]);
        int64_t late_ms = written_least_since(&o->written_late, stamp->late[i]);
        if (least_ms == INT64_MIN || late_ms == INT64_MIN) {
            *r = (struct tsdb_time_range){INT64_MAX, INT64_MIN};
            return;
        }
        if (least_ms < INT64_MAX) {
            r->max_ms = TSDB_MIN(r->max_ms, least_ms - 1);
        }
        if (late_ms < INT64_MAX) {
            r->min_ms = TSDB_MAX(r->min_ms, -late_ms + 1);
        }
    }
}

struct tsdb_time_range tsdb_unchanged_since(const struct tsdb *db, const struct tsdb_stamp *stamp)
{
    struct tsdb_time_range r = {INT64_MAX, INT64_MIN};
    if (!stamp->valid || !is_open(db) || stamp->lost != lost(db) ||
        stamp->view != atomic_load_explicit(&db->blocks.changed_view, memory_order_acquire)) {
        return r;
    }
    r = (struct tsdb_time_range){INT64_MIN, INT64_MAX};
    if (stamp->drops != atomic_load_explicit(&db->life->drops, memory_order_acquire)) {
        r.min_ms = atomic_load_explicit(&db->life->dropped_ms, memory_order_acquire);
    }
    cut_written(db, stamp, &r);
    return r;
}

/* ---- lists of labels ---- */

/* Ids only rise, and who has left never comes back under the one that it had: two sums tell of every change. */
static void series_numbers(struct tsdb *db, uint64_t *out_ids, uint64_t *out_left)
{
    struct tsdb_epoch_guard guard;
    *out_ids = 0;
    *out_left = 0;
    tsdb_epoch_enter(db->epoch, &guard);
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        const struct index_mem *index = head_index(db->heads[p]);
        *out_ids += index_mem_ids_end(index);
        *out_left += index_mem_ids_left(index);
    }
    tsdb_epoch_exit(db->epoch, &guard);
}

void tsdb_label_stamp_take(struct tsdb *db, struct tsdb_label_stamp *out)
{
    *out = (struct tsdb_label_stamp){0};
    tsdb_stamp_take(db, &out->samples);
    if (out->samples.valid) {
        out->view = view_number(&db->blocks.views);
        series_numbers(db, &out->ids, &out->left);
    }
}

bool tsdb_labels_unchanged(struct tsdb *db, const struct tsdb_label_stamp *stamp,
                           struct tsdb_time_range range)
{
    const struct tsdb_time_range all = TSDB_TIME_ALL;
    uint64_t ids = 0;
    uint64_t left = 0;
    if (!stamp->samples.valid || !is_open(db) || stamp->view != view_number(&db->blocks.views)) {
        return false;
    }
    series_numbers(db, &ids, &left);
    if (ids != stamp->ids || left != stamp->left) {
        return false;
    }
    if (range.min_ms == all.min_ms && range.max_ms == all.max_ms) {
        return true;
    }
    const struct tsdb_time_range same = tsdb_unchanged_since(db, &stamp->samples);
    return same.min_ms <= range.min_ms && range.max_ms <= same.max_ms;
}
