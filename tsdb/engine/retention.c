/* Retention of the head: what is too old leaves the partitions. Blocks: block_work.c. */
#include "base/log.h"
#include "tsdb/engine/db_private.h"

int64_t db_retention_min(const struct tsdb *db)
{
    int64_t keep_ms = db->options.retention_ms;
    return keep_ms > 0 ? tsdb_clock_wall_ms(&db->options.clock) - keep_ms : INT64_MIN;
}

size_t tsdb_retention_step(struct tsdb *db, int64_t now_ns)
{
    (void)now_ns;
    struct tsdb_error err = {0};
    uint64_t dropped = 0;
    if (db->options.retention_ms <= 0 || !db_ready(db)) {
        return 0;
    }
    tsdb_mutex_lock(&db->life->admin);
    enum tsdb_status status = db_owners_ask(db, OWNER_JOB_DROP, (uint64_t)db_retention_min(db),
                                            db->options.manual_steps, &dropped, &err);
    tsdb_mutex_unlock(&db->life->admin);
    return status == TSDB_OK ? (size_t)dropped : 0; /* cancelled: the process ends */
}
