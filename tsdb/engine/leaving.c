/* Series leave the head: when, and what forgets them beside it. How: tsdb/head/leave.c. */
#include "base/log.h"
#include "tsdb/engine/db_private.h"

/* A look at each hot struct: 1 M series take some 10 ms of their owners' time. */
#define LEAVE_EVERY_NS (INT64_C(30) * 1000 * 1000 * 1000)

static enum tsdb_status ask(struct tsdb *db, enum owner_job_kind kind, int64_t silent_ms,
                            uint64_t *out_work, struct tsdb_error *err)
{
    return db_owners_ask(db, kind, (uint64_t)silent_ms, db->options.manual_steps, out_work, err);
}

static bool is_known(void *arg, tsdb_series_ref ref)
{
    struct index_mem *const *indexes = arg;
    return index_mem_has(indexes[tsdb_series_partition(ref)], tsdb_series_local(ref));
}

/* Aliases of those who have left. Who asks with one meanwhile is told that it is stale. */
static void forget_aliases(struct tsdb *db)
{
    struct index_mem *indexes[TSDB_PARTITIONS];
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        indexes[i] = head_index_pin(db->heads[i]);
    }
    alias_sweep(db->aliases, is_known, indexes);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        index_mem_unpin(indexes[i]);
    }
}

enum tsdb_status db_leave_step(struct tsdb *db, int64_t now_ns, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    int64_t now_ms = db_data_now(db);
    int64_t silent_ms = now_ms - db->options.series_idle_ms;
    uint64_t gone = 0;
    /* Relaxed: a hint; a missed one is found in half a minute. After a start senders have a while to
     * come back to what they sent before. */
    bool wanted = atomic_exchange_explicit(&life->leave_wanted, 0, memory_order_relaxed) != 0;
    if ((!wanted && now_ns < life->leave_next_ns) || life->open_ms > silent_ms) {
        return TSDB_OK;
    }
    life->leave_next_ns = now_ns + LEAVE_EVERY_NS;
    enum tsdb_status status = ask(db, OWNER_JOB_LEAVE_COUNT, silent_ms, NULL, err);
    if (status == TSDB_OK) {
        status = ask(db, OWNER_JOB_LEAVE_COPY, silent_ms, NULL, err);
    }
    if (status == TSDB_OK) {
        status = ask(db, OWNER_JOB_LEAVE_SETTLE, silent_ms, &gone, err);
    }
    if (status == TSDB_OK && gone > 0) {
        forget_aliases(db);
        tsdb_log(TSDB_LOG_INFO, "tsdb", "series without samples in memory have left it",
                 TSDB_U("series", gone));
    }
    return status;
}
