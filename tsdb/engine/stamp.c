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
    }
}

struct tsdb_time_range tsdb_unchanged_since(const struct tsdb *db, const struct tsdb_stamp *stamp)
{
    struct tsdb_time_range r = {INT64_MAX, INT64_MIN};
    if (!stamp->valid || !is_open(db) || stamp->lost != lost(db) ||
        stamp->view != atomic_load_explicit(&db->blocks.changed_view, memory_order_acquire)) {
        return r;
    }
    int64_t least_ms = INT64_MAX;
    for (uint32_t i = 0; i < db->owner_count; i++) {
        int64_t since_ms = written_least_since(&db->owners[i].written, stamp->written[i]);
        least_ms = TSDB_MIN(least_ms, since_ms);
    }
    if (least_ms == INT64_MIN) {
        return r;
    }
    r.min_ms = INT64_MIN;
    if (stamp->drops != atomic_load_explicit(&db->life->drops, memory_order_acquire)) {
        r.min_ms = atomic_load_explicit(&db->life->dropped_ms, memory_order_acquire);
    }
    r.max_ms = least_ms == INT64_MAX ? INT64_MAX : least_ms - 1;
    return r;
}
