/* Retention of the head: what is too old leaves the partitions. Blocks: block_work.c.
 *
 * A wall clock that is wrong for a moment must not cost the history. So retention counts from the
 * least of
 *   - the wall clock,
 *   - the newest sample that is stored, and
 *   - a believed clock, which is the wall clock as long as that moves as the monotonic clock does.
 * When the wall clock jumps ahead, the believed one goes on with the monotonic clock, and follows
 * only after the wall clock has stayed ahead for BELIEVE_AFTER_NS, and then by a share of the retention a
 * round: whatever is wrong, a person has an hour to see it before the history is gone. Every checkpoint
 * holds the believed time, as does the log's POSITION, so a jump is also seen across a restart. It never
 * goes back: a clock that begins in 1970 is held to the other two.
 */
#include "base/log.h"
#include "tsdb/engine/db_private.h"

/* Slewing, leap seconds and a short stop stay far below; retention is counted in days. */
#define AHEAD_MS_MAX (INT64_C(60) * 60 * 1000)
/* Time enough for a time server, or a person, to put the clock right. What waits is deletion. */
#define BELIEVE_AFTER_NS (INT64_C(6) * 60 * 60 * 1000 * 1000 * 1000)

#define ROUNDS   8u
#define ROUND_NS (INT64_C(10) * 60 * 1000 * 1000 * 1000)

void db_retention_clock_begin(struct tsdb *db)
{
    int64_t last_ms = wal_last_ms(&db->options.fs, DATADIR_WAL);
    struct retention_clock *c = &db->life->retention;
    atomic_store_explicit(&c->mono_ns, tsdb_clock_mono_ns(&db->options.clock),
                          memory_order_relaxed);
    atomic_store_explicit(&c->believed_ms, last_ms, memory_order_relaxed);
}

/* INT64_MIN: nothing is stored. A block counts to its end, up to a range more than its samples. */
static int64_t newest_ms(struct tsdb *db)
{
    int64_t newest = INT64_MIN;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        const struct head_counters *c = head_counters(db->heads[i]);
        int64_t max_ms = atomic_load_explicit(&c->max_time_ms, memory_order_relaxed);
        newest = TSDB_MAX(newest, max_ms);
    }
    struct view *v = view_acquire(&db->blocks.views);
    for (uint32_t i = 0; i < v->block_count; i++) {
        newest = TSDB_MAX(newest, block_meta(v->blocks[i]->block)->max_ms);
    }
    view_release(&db->blocks.views, v);
    return newest;
}

void db_retention_clock_init(struct tsdb *db, int64_t last_ms)
{
    struct retention_clock *c = &db->life->retention;
    int64_t wall_ms = tsdb_clock_wall_ms(&db->options.clock);
    /* What the log told, in begin. */
    int64_t log_ms = atomic_load_explicit(&c->believed_ms, memory_order_relaxed);
    last_ms = TSDB_MAX(last_ms, log_ms);
    last_ms = last_ms > 0 ? last_ms : newest_ms(db);
    atomic_store_explicit(&c->mono_ns, tsdb_clock_mono_ns(&db->options.clock),
                          memory_order_relaxed);
    c->ahead_from_ns = 0;
    atomic_store_explicit(&c->believed_ms, last_ms > 0 ? TSDB_MIN(last_ms, wall_ms) : wall_ms,
                          memory_order_relaxed);
    (void)db_retention_clock_step(db);
}

/* The wall clock has stayed ahead: the believed one follows, so that what is dropped grows by a part of
 * the retention a round, until all that there could be has been passed. */
static bool follow(const struct tsdb *db, struct retention_clock *c, int64_t wall_ms,
                   int64_t *believed_ms)
{
    int64_t step_ms = db->options.retention_ms / ROUNDS + 1;
    if (c->rounds == 0) {
        tsdb_log(TSDB_LOG_WARN, "retention", "the clock has stayed ahead; it is believed",
                 TSDB_I("wall_ms", wall_ms), TSDB_I("expected_ms", *believed_ms));
    }
    c->ahead_from_ns += ROUND_NS;
    if (db->options.retention_ms <= 0 || ++c->rounds >= ROUNDS ||
        wall_ms - *believed_ms <= step_ms) {
        return false;
    }
    *believed_ms += step_ms;
    return true;
}

int64_t db_retention_clock_step(struct tsdb *db)
{
    struct retention_clock *c = &db->life->retention;
    int64_t wall_ms = tsdb_clock_wall_ms(&db->options.clock);
    int64_t now_ns = tsdb_clock_mono_ns(&db->options.clock);
    int64_t before_ms = atomic_load_explicit(&c->believed_ms, memory_order_relaxed);
    int64_t since_ns = atomic_load_explicit(&c->mono_ns, memory_order_relaxed);
    int64_t elapsed_ms = (now_ns - since_ns) / 1000000;
    int64_t believed_ms = before_ms + elapsed_ms;
    bool ahead = wall_ms - believed_ms > AHEAD_MS_MAX;
    if (ahead && c->ahead_from_ns == 0) {
        c->ahead_from_ns = now_ns > 0 ? now_ns : 1;
        tsdb_log(TSDB_LOG_WARN, "retention", "the clock has jumped ahead; not believed for 6 hours",
                 TSDB_I("wall_ms", wall_ms), TSDB_I("expected_ms", believed_ms));
    } else if (ahead && now_ns - c->ahead_from_ns >= BELIEVE_AFTER_NS) {
        ahead = follow(db, c, wall_ms, &believed_ms);
    }
    if (!ahead) {
        c->ahead_from_ns = 0;
        c->rounds = 0;
        believed_ms = TSDB_MAX(before_ms, wall_ms);
    }
    atomic_store_explicit(&c->mono_ns, since_ns + elapsed_ms * 1000000, memory_order_relaxed);
    atomic_store_explicit(&c->believed_ms, believed_ms, memory_order_relaxed);
    return believed_ms;
}

/* Relaxed, one after the other: a step in between moves both by seconds at most, but where it believes a
 * clock at last. */
int64_t tsdb_believed_ms(const struct tsdb *db)
{
    const struct retention_clock *c = &db->life->retention;
    int64_t now_ns = tsdb_clock_mono_ns(&db->options.clock);
    int64_t since_ns = atomic_load_explicit(&c->mono_ns, memory_order_relaxed);
    int64_t believed_ms = atomic_load_explicit(&c->believed_ms, memory_order_relaxed);
    int64_t now_ms = tsdb_clock_wall_ms(&db->options.clock);
    if (believed_ms <= 0) {
        return now_ms; /* not known yet */
    }
    believed_ms += TSDB_MAX(now_ns - since_ns, INT64_C(0)) / 1000000;
    return now_ms - believed_ms > AHEAD_MS_MAX ? believed_ms : now_ms;
}

int64_t db_data_now(struct tsdb *db)
{
    int64_t wall_ms = tsdb_clock_wall_ms(&db->options.clock);
    return TSDB_MIN(wall_ms, TSDB_MAX(tsdb_believed_ms(db), newest_ms(db)));
}

int64_t db_retention_min(struct tsdb *db)
{
    return db_older_than(db, db->options.retention_ms);
}

int64_t db_older_than(struct tsdb *db, int64_t keep_ms)
{
    if (keep_ms <= 0) {
        return INT64_MIN;
    }
    int64_t now_ms = atomic_load_explicit(&db->life->retention.believed_ms, memory_order_relaxed);
    now_ms = TSDB_MIN(now_ms, tsdb_clock_wall_ms(&db->options.clock));
    now_ms = TSDB_MIN(now_ms, newest_ms(db));
    return now_ms < INT64_MIN + keep_ms ? INT64_MIN : now_ms - keep_ms;
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
    (void)db_retention_clock_step(db);
    int64_t min_ms = db_retention_min(db);
    enum tsdb_status status = db_owners_ask(db, OWNER_JOB_DROP, (uint64_t)min_ms,
                                            db->options.manual_steps, &dropped, &err);
    if (dropped > 0) { /* release: who sees it sees them gone */
        int64_t before_ms = atomic_load_explicit(&db->life->dropped_ms, memory_order_relaxed);
        atomic_store_explicit(&db->life->dropped_ms, TSDB_MAX(before_ms, min_ms),
                              memory_order_release);
        atomic_fetch_add_explicit(&db->life->drops, 1, memory_order_release);
    }
    tsdb_mutex_unlock(&db->life->admin);
    if (dropped > 0) {
        atomic_store_explicit(&db->life->leave_wanted, 1, memory_order_relaxed);
    }
    return status == TSDB_OK ? (size_t)dropped : 0; /* cancelled: the process ends */
}
