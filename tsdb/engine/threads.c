/* The production threads: each calls its step in a loop and sleeps when there was nothing to do. */
#include "tsdb/engine/db_private.h"

#include <stdio.h>

/* Retired memory is freed at least this often. */
#define OWNER_IDLE_NS (INT64_C(200) * 1000 * 1000)
/* No room in the log's ring: the writer is about to make some. */
#define OWNER_BLOCKED_NS   (INT64_C(500) * 1000)
#define WAL_IDLE_NS        (INT64_C(1000) * 1000 * 1000)
#define BACKGROUND_IDLE_NS (INT64_C(250) * 1000 * 1000)
#define SEAL_BUSY_CHUNKS   128u /* more in one batch, of 64 series most: do not wait for the next */
#define SEAL_IDLE_NS       (INT64_C(1000) * 1000 * 1000) /* chunks gather: a sync for many */
#define BLOCK_IDLE_NS      (INT64_C(1000) * 1000 * 1000)
/* Retention, and a look at quarantine/. */
#define RETENTION_EVERY_NS (INT64_C(10) * 1000 * 1000 * 1000)

static bool is_set(const _Atomic(uint32_t) *flag)
{
    return atomic_load_explicit(flag, memory_order_acquire) != 0;
}

void db_pause(struct tsdb *db, int64_t ns)
{
    struct db_life *life = db->life;
    tsdb_mutex_lock(&life->pause_lock);
    tsdb_cond_wait(&life->pause_cond, &life->pause_lock, ns);
    tsdb_mutex_unlock(&life->pause_lock);
}

void db_wake_all(struct tsdb *db)
{
    struct db_life *life = db->life;
    tsdb_mutex_lock(&life->pause_lock);
    tsdb_cond_broadcast(&life->pause_cond);
    tsdb_mutex_unlock(&life->pause_lock);
    for (uint32_t i = 0; i < db->owner_count; i++) {
        tsdb_ring_wake(&db->owners[i].ring);
    }
    if (db->wal) {
        wal_wake(db->wal);
    }
}

static void *owner_main(void *arg)
{
    struct db_owner_thread *t = arg;
    struct tsdb *db = t->db;
    struct owner *o = &db->owners[t->index];
    while (!is_set(&db->life->abandoned)) {
        /* Read before the step: what was published before the flag was set is then drained. */
        bool stop = is_set(&db->life->stop_owners);
        size_t done = owner_step(o, tsdb_clock_mono_ns(&db->options.clock));
        if (done > 0) {
            continue;
        }
        bool blocked = false;
        bool dozing = owner_doze(o, &blocked);
        if (blocked) {
            db_pause(db, OWNER_BLOCKED_NS);
        } else if (stop) {
            break;
        } else {
            tsdb_ring_sleep(&o->ring, dozing, OWNER_IDLE_NS);
        }
    }
    return NULL;
}

static void *writer_main(void *arg)
{
    struct tsdb *db = arg;
    while (!is_set(&db->life->abandoned)) {
        bool stop = is_set(&db->life->stop_wal);
        if (wal_write_step(db->wal, tsdb_clock_mono_ns(&db->options.clock)) > 0) {
            continue;
        }
        if (stop) {
            break;
        }
        wal_write_wait(db->wal, WAL_IDLE_NS);
    }
    return NULL;
}

static void *syncer_main(void *arg)
{
    struct tsdb *db = arg;
    while (!is_set(&db->life->abandoned)) {
        bool stop = is_set(&db->life->stop_wal);
        if (wal_sync_step(db->wal, tsdb_clock_mono_ns(&db->options.clock)) > 0) {
            continue;
        }
        if (stop) {
            break;
        }
        wal_sync_wait(db->wal, WAL_IDLE_NS);
    }
    return NULL;
}

static void *background_main(void *arg)
{
    struct tsdb *db = arg;
    int64_t retention_ns = tsdb_clock_mono_ns(&db->options.clock);
    while (!is_set(&db->life->stop_background) && tsdb_alias_step(db) > 0) {
    }
    while (!is_set(&db->life->stop_background)) {
        int64_t now_ns = tsdb_clock_mono_ns(&db->options.clock);
        uint64_t free_bytes = 0;
        (void)db_room_look(db, &free_bytes);
        tsdb_checkpoint_step(db, now_ns);
        tsdb_metadata_step(db, now_ns);
        if (now_ns >= retention_ns) {
            tsdb_retention_step(db, now_ns);
            db_quarantine_measure(db);
            retention_ns = now_ns + RETENTION_EVERY_NS;
        }
        if (!is_set(&db->life->stop_background)) {
            db_pause(db, BACKGROUND_IDLE_NS);
        }
    }
    return NULL;
}

static void *seal_main(void *arg)
{
    struct tsdb *db = arg;
    while (!is_set(&db->life->stop_background)) {
        if (tsdb_seal_step(db, tsdb_clock_mono_ns(&db->options.clock)) < SEAL_BUSY_CHUNKS &&
            !is_set(&db->life->stop_background)) {
            db_pause(db, SEAL_IDLE_NS);
        }
    }
    return NULL;
}

static void *block_main(void *arg)
{
    struct tsdb *db = arg;
    while (!is_set(&db->life->stop_background)) {
        int64_t now_ns = tsdb_clock_mono_ns(&db->options.clock);
        size_t work = tsdb_flush_step(db, now_ns);
        work += tsdb_compact_step(db, now_ns);
        if (work == 0 && !is_set(&db->life->stop_background)) {
            db_pause(db, BLOCK_IDLE_NS);
        }
    }
    return NULL;
}

static enum tsdb_status start_one(struct tsdb *db, pthread_t *thread, bool *started,
                                  const char *name, void *(*fn)(void *), struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_thread_start(thread, name, fn, db, err);
    *started = status == TSDB_OK;
    return status;
}

enum tsdb_status db_threads_start(struct tsdb *db, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; status == TSDB_OK && i < db->owner_count; i++) {
        struct db_owner_thread *t = &life->owners[i];
        char name[16];
        snprintf(name, sizeof name, "tsdb-owner-%u", (unsigned)(i & 0xff));
        status = tsdb_thread_start(&t->thread, name, owner_main, t, err);
        t->started = status == TSDB_OK;
    }
    if (status == TSDB_OK) {
        status =
            start_one(db, &life->writer, &life->writer_started, "tsdb-wal-write", writer_main, err);
    }
    if (status == TSDB_OK) {
        status =
            start_one(db, &life->syncer, &life->syncer_started, "tsdb-wal-sync", syncer_main, err);
    }
    if (status == TSDB_OK) {
        status = start_one(db, &life->background, &life->background_started, "tsdb-background",
                           background_main, err);
    }
    if (status == TSDB_OK) {
        status = start_one(db, &life->seal, &life->seal_started, "tsdb-seal", seal_main, err);
    }
    if (status == TSDB_OK) {
        status = start_one(db, &life->block, &life->block_started, "tsdb-block", block_main, err);
    }
    return status;
}

static void join(pthread_t thread, bool *started)
{
    if (*started) {
        pthread_join(thread, NULL);
        *started = false;
    }
}

void db_threads_stop(struct tsdb *db)
{
    struct db_life *life = db->life;
    atomic_store(&life->stop_background, 1);
    db_wake_all(db);
    join(life->block, &life->block_started);
    join(life->background, &life->background_started);
    join(life->seal, &life->seal_started);
    atomic_store(&life->stop_owners, 1);
    db_wake_all(db);
    for (uint32_t i = 0; i < db->owner_count; i++) {
        join(life->owners[i].thread, &life->owners[i].started);
    }
    atomic_store(&life->stop_wal, 1);
    db_wake_all(db);
    join(life->writer, &life->writer_started);
    join(life->syncer, &life->syncer_started);
}
