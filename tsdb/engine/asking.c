/* Asking the owners: one way for a checkpoint's marks, sealing, sweeping and retention. */
#include "base/assert.h"
#include "tsdb/engine/db_private.h"

#define PAUSE_NS (INT64_C(200) * 1000)

bool db_ready(const struct tsdb *db)
{
    /* Acquire: partner is the release at the end of recovery. */
    return atomic_load_explicit(&db->state, memory_order_acquire) == TSDB_STATE_READY;
}

bool db_stopping(const struct tsdb *db)
{
    return atomic_load_explicit(&db->life->stop_background, memory_order_acquire) != 0 ||
           atomic_load_explicit(&db->life->cancel, memory_order_relaxed) != 0;
}

void db_owners_step(struct tsdb *db)
{
    int64_t now_ns = tsdb_clock_mono_ns(&db->options.clock);
    for (uint32_t i = 0; i < db->owner_count; i++) {
        owner_step(&db->owners[i], now_ns);
    }
}

static bool all_done(const struct tsdb *db, enum owner_job_kind kind, uint64_t *out_work)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < db->owner_count; i++) {
        uint64_t work = 0;
        if (!owner_job_done(&db->owners[i], kind, &work)) {
            return false;
        }
        sum += work;
    }
    *out_work = sum;
    return true;
}

enum tsdb_status db_owners_ask(struct tsdb *db, enum owner_job_kind kind, uint64_t argument,
                               bool inline_owners, uint64_t *out_work, struct tsdb_error *err)
{
    uint64_t work = 0;
    for (uint32_t i = 0; i < db->owner_count; i++) {
        owner_job_request(&db->owners[i], kind, argument);
    }
    while (!all_done(db, kind, &work)) {
        if (inline_owners) {
            db_owners_step(db);
        } else if (db_stopping(db)) {
            return tsdb_error_set(err, TSDB_CANCELLED, "cancelled while the owners worked");
        } else {
            db_pause(db, PAUSE_NS);
        }
    }
    if (out_work) {
        *out_work = work;
    }
    return TSDB_OK;
}
