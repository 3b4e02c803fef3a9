/* Room on the disk. Work that can wait leaves the last of it to the log:
 *
 *   free bytes   what begins
 *   ──────────── a reserve: merges, cleaning, snapshots need so much beside what they write
 *   ──────────── half of it: flush, checkpoints, deletes likewise; nobody but the log writes on
 *   ──────────── nothing: the log goes on in the room of its own reserve (wal/reserve.c)
 *
 * Flush and checkpoints may go further down because log and head files go after them. Those who
 * began are held by the table that they write through (base/file_floor.h), whatever was estimated.
 * So are head files: what is not sealed stays in memory, about as much as the log has room for.
 * Retention writes nothing and always runs. */
#include "base/log.h"
#include "tsdb/engine/db_private.h"

#define AUTO_BYTES   (UINT64_C(256) << 20)
#define AUTO_SHARE   20 /* of the disk, at most one part of so many */
#define LOG_SHARE    4  /* the log's own: one part of so many */
#define SAY_EVERY_NS (INT64_C(5) * 60 * 1000 * 1000 * 1000)

static uint64_t reserve_of(const struct tsdb *db)
{
    const struct tsdb_fs *fs = &db->options.fs;
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;
    if (db->options.disk_reserve_bytes != TSDB_DISK_RESERVE_AUTO) {
        return db->options.disk_reserve_bytes;
    }
    return fs->ops->space(fs->ctx, &free_bytes, &total_bytes, NULL) == TSDB_OK
               ? TSDB_MIN(AUTO_BYTES, total_bytes / AUTO_SHARE)
               : 0;
}

enum tsdb_status db_room_open(struct tsdb *db)
{
    struct db_room *room = &db->life->room;
    room->reserve_bytes = reserve_of(db);
    room->fs = db->options.fs;
    if (room->reserve_bytes == 0) {
        return TSDB_OK;
    }
    uint64_t free_bytes = 0;
    if (db_room_look(db, &free_bytes) && free_bytes < db_room_log_reserve(db)) {
        wal_reserve_remove(&db->options.fs, DATADIR_WAL);
    }
    /* What a start has to write it must. */
    return tsdb_fs_floor_create(&db->options.fs, 0, &room->floor, &room->fs);
}

void db_room_close(struct tsdb *db)
{
    tsdb_fs_floor_destroy(db->life->room.floor);
}

void db_room_keep(struct tsdb *db, bool keep)
{
    const struct db_room *room = &db->life->room;
    if (room->floor) {
        tsdb_fs_floor_set(room->floor, keep ? room->reserve_bytes / 2 : 0);
    }
}

uint64_t db_room_log_reserve(const struct tsdb *db)
{
    return TSDB_MIN(db->options.wal_segment_bytes, db->life->room.reserve_bytes / LOG_SHARE);
}

static void low_set(struct db_room *room, bool low, uint64_t free_bytes)
{
    /* Of two that look at once, one says it. Orders nothing. */
    if (atomic_exchange_explicit(&room->low, low, memory_order_relaxed) == low) {
        return;
    }
    tsdb_log(low ? TSDB_LOG_WARN : TSDB_LOG_INFO, "tsdb",
             low ? "the disk is nearly full: work that can wait does, the rest is the log's"
                 : "the disk has room again",
             TSDB_U("free_bytes", free_bytes), TSDB_U("reserve_bytes", room->reserve_bytes));
}

bool db_room_look(struct tsdb *db, uint64_t *out_free_bytes)
{
    const struct tsdb_fs *fs = &db->options.fs;
    struct db_room *room = &db->life->room;
    uint64_t total_bytes = 0;
    if (fs->ops->space(fs->ctx, out_free_bytes, &total_bytes, NULL) != TSDB_OK) {
        return false;
    }
    atomic_store_explicit(&room->free_bytes, *out_free_bytes, memory_order_relaxed);
    atomic_store_explicit(&room->total_bytes, total_bytes, memory_order_relaxed);
    uint64_t reserve = room->reserve_bytes;
    if (*out_free_bytes < reserve) {
        low_set(room, true, *out_free_bytes);
    } else if (*out_free_bytes >= reserve + reserve / 8) { /* and not to and fro */
        low_set(room, false, *out_free_bytes);
    }
    return true;
}

enum tsdb_status db_room_check(struct tsdb *db, const char *what, enum db_room_kind kind,
                               uint64_t bytes, struct tsdb_error *err)
{
    const struct db_room *room = &db->life->room;
    uint64_t floor_bytes = kind == DB_ROOM_GROWS ? room->reserve_bytes : room->reserve_bytes / 2;
    uint64_t free_bytes = 0;
    if (room->reserve_bytes == 0 || !db_room_look(db, &free_bytes) ||
        (free_bytes >= floor_bytes && free_bytes - floor_bytes >= bytes)) {
        return TSDB_OK;
    }
    return tsdb_fs_floor_error(err, what, free_bytes, floor_bytes);
}

enum tsdb_status db_room_for_checkpoint(struct tsdb *db, struct tsdb_error *err)
{
    uint64_t last = atomic_load_explicit(&db->life->checkpoint_last_bytes, memory_order_relaxed);
    return db_room_check(db, "checkpoint", DB_ROOM_FREES, last, err);
}

bool db_room_quiet(struct tsdb *db, const struct tsdb_error *err)
{
    struct db_room *room = &db->life->room;
    int64_t now_ns = tsdb_clock_mono_ns(&db->options.clock);
    int64_t next_ns = atomic_load_explicit(&room->say_ns, memory_order_relaxed);
    if (!tsdb_error_is_no_space(err)) {
        return false;
    }
    /* Of two that fail at once, one says it. Orders nothing. */
    return now_ns < next_ns ||
           !atomic_compare_exchange_strong_explicit(&room->say_ns, &next_ns, now_ns + SAY_EVERY_NS,
                                                    memory_order_relaxed, memory_order_relaxed);
}

uint64_t tsdb_disk_reserve(const struct tsdb *db)
{
    return db->life->room.reserve_bytes;
}

bool tsdb_disk_low(const struct tsdb *db)
{
    return atomic_load_explicit(&db->life->room.low, memory_order_relaxed) != 0;
}
