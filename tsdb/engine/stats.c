/* Figures: sums over partitions, rings, log and checkpoints. Any thread, at any time. */
#include "tsdb/block/quarantine.h"
#include "tsdb/engine/db_private.h"

#include <stdlib.h>

static uint64_t relaxed(const _Atomic(uint64_t) *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static void add_partition(struct tsdb *db, uint32_t i, struct tsdb_stats *out)
{
    const struct head_counters *c = head_counters(db->heads[i]);
    out->series_created += relaxed(&c->series_created);
    out->chunks += relaxed(&c->chunks);
    out->samples_appended += relaxed(&c->samples);
    out->histograms_appended += relaxed(&c->histograms);
    out->exemplars_appended += relaxed(&c->exemplars);
    out->duplicates += relaxed(&c->duplicates);
    out->out_of_order += relaxed(&c->out_of_order);
    for (uint32_t k = 0; k < TSDB_REJECT_COUNT; k++) {
        out->rejected[k] += relaxed(&c->rejected[k]);
    }
    int64_t min_ms = atomic_load_explicit(&c->min_time_ms, memory_order_relaxed);
    int64_t max_ms = atomic_load_explicit(&c->max_time_ms, memory_order_relaxed);
    out->min_time_ms = TSDB_MIN(out->min_time_ms, min_ms);
    out->max_time_ms = TSDB_MAX(out->max_time_ms, max_ms);
    struct index_mem_stats s;
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(db->epoch, &guard);
    index_mem_stats(head_index(db->heads[i]), &s);
    tsdb_epoch_exit(db->epoch, &guard);
    out->series += s.series;
    out->symbols += s.symbols;
    out->label_pairs += s.label_pairs;
}

static void add_wal(const struct tsdb *db, struct tsdb_stats *out)
{
    struct wal_stats w;
    wal_stats(db->wal, &w);
    out->wal_segment = w.segment;
    out->wal_bytes_written = w.bytes_written;
    out->wal_samples_written = w.samples_written;
    out->wal_writes = w.writes;
    out->wal_syncs = w.syncs;
    out->wal_failures = w.write_failures + w.sync_failures;
    out->wal_retries = w.retries;
    out->wal_state = w.state;
    out->wal_disk_bytes = w.disk_bytes;
    out->wal_reserve_bytes = w.reserve_bytes;
    out->wal_unsynced_bytes = w.unsynced_bytes;
}

/* Written before the state left RECOVERING, so looked at only after. */
static void add_recovered(const struct db_life *life, struct tsdb_stats *out)
{
    out->replay_frames = life->recovered.frames;
    out->replay_samples = life->recovered.samples;
    out->replay_damage = life->recovered.damage;
    out->replay_lost_log_segments = life->recovered.lost_log_segments;
    out->replay_lost_log_bytes = life->recovered.lost_log_bytes;
    out->replay_lost_frames = life->recovered.lost_frames;
    out->replay_dropped_samples = life->recovered.dropped_samples;
    const struct recovery_result *r = &life->recovered;
    out->replay_lost_chunks = r->lost_chunks;
    out->replay_lost_series = r->lost_series;
    out->replay_lost_series_samples = r->lost_series_samples;
    out->replay_lost_ranges = r->lost_ranges;
    out->replay_lost_range_bytes = r->lost_range_bytes;
    out->replay_lost_range_series = r->lost_range_series;
    out->replay_fell_back_partitions = r->fell_back_partitions;
    out->replay_written_ms = r->written_ms;
    out->replay_duration_ns = life->replay_duration_ns;
}

static void add_room(const struct tsdb *db, struct tsdb_stats *out)
{
    const struct db_room *room = &db->life->room;
    out->disk_reserve_bytes = room->reserve_bytes;
    out->disk_free_bytes = relaxed(&room->free_bytes);
    out->disk_total_bytes = relaxed(&room->total_bytes);
    out->disk_low = tsdb_disk_low(db);
}

static void add_sealing(struct tsdb *db, struct tsdb_stats *out)
{
    struct sealer_stats s;
    struct head_files_stats f;
    sealer_stats(db->sealer, &s);
    head_files_stats(db->head_files, &f);
    out->sealed_chunks = s.chunks;
    out->sealed_samples = s.samples;
    out->sealed_bytes = s.bytes;
    out->seal_failures = s.failures;
    out->head_files = f.files;
    out->head_file_bytes = f.bytes;
    out->head_read_failures = f.read_failures;
    out->head_files_damaged = f.damaged;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        out->seal_pending += head_raw_pending(db->heads[i]);
    }
}

/* The oldest samples are in blocks alone, and the head does not know them after a start. A block tells where its range begins, which is
 * no later. */
static void add_block_times(struct tsdb *db, struct tsdb_stats *out)
{
    struct view *v = view_acquire(&db->blocks.views);
    for (uint32_t i = 0; i < v->block_count; i++) {
        const struct block_meta *m = block_meta(v->blocks[i]->block);
        out->min_time_ms = TSDB_MIN(out->min_time_ms, m->min_ms);
    }
    view_release(&db->blocks.views, v);
}

static void add_blocks(struct tsdb *db, struct tsdb_stats *out)
{
    struct db_life *life = db->life;
    struct cache_l1_stats l1;
    struct cache_l2_stats l2;
    cache_l1_stats(db->blocks.l1, &l1);
    cache_l2_stats(db->blocks.l2, &l2);
    out->blocks = relaxed(&db->blocks.count);
    out->block_bytes = relaxed(&db->blocks.bytes);
    out->blocks_deleted = relaxed(&db->blocks.deleted);
    out->blocks_quarantined = relaxed(&db->blocks.quarantined);
    const struct blocks_lost *lost = &db->blocks.lost;
    out->lost_blocks = relaxed(&lost->blocks);
    out->lost_block_series = relaxed(&lost->series);
    out->lost_block_samples = relaxed(&lost->samples);
    out->lost_block_min_ms = atomic_load_explicit(&lost->min_ms, memory_order_relaxed);
    out->lost_block_max_ms = atomic_load_explicit(&lost->max_ms, memory_order_relaxed);
    out->tombstones_damaged = relaxed(&db->blocks.tombstones_damaged);
    out->tombstones_samples = relaxed(&db->blocks.hidden);
    out->blocks_damaged = relaxed(&db->blocks.damaged);
    out->blocks_expired = relaxed(&life->blocks_expired);
    out->flushes = relaxed(&life->flushes);
    out->flush_failures = relaxed(&life->flush_failures);
    out->flush_samples = relaxed(&life->flush_samples);
    out->flush_chunks_lost = relaxed(&life->flush_chunks_lost);
    out->compactions = relaxed(&life->compactions);
    out->compaction_failures = relaxed(&life->compaction_failures);
    out->l1_bytes = l1.bytes;
    out->l1_bytes_used = l1.bytes_used;
    out->l1_hits = l1.hits;
    out->l1_misses = l1.misses;
    out->l1_evictions = l1.evictions;
    out->l2_bytes = l2.bytes;
    out->l2_frames_used = l2.frames_used;
    out->l2_frames_pinned = l2.frames_pinned;
    out->l2_hits = l2.hits;
    out->l2_misses = l2.misses;
    out->l2_evictions = l2.evictions;
    out->l2_bypasses = l2.bypasses;
}

void db_quarantine_measure(struct tsdb *db)
{
    uint64_t files = 0;
    uint64_t bytes = 0;
    if (quarantine_measure(&db->options.fs, &files, &bytes, NULL) == TSDB_OK) {
        atomic_store_explicit(&db->life->quarantine_files, files, memory_order_relaxed);
        atomic_store_explicit(&db->life->quarantine_bytes, bytes, memory_order_relaxed);
    }
}

void tsdb_stats_read(struct tsdb *db, struct tsdb_stats *out)
{
    struct db_life *life = db->life;
    *out = (struct tsdb_stats){.min_time_ms = INT64_MAX, .max_time_ms = INT64_MIN};
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        add_partition(db, i, out);
    }
    add_sealing(db, out);
    add_room(db, out);
    series_limits_stats(db->series_limits, out);
    out->aliases = alias_count(db->aliases);
    out->alias_misses = relaxed(&db->alias_misses);
    out->ring_full = relaxed(&db->ring_full);
    for (uint32_t i = 0; i < db->owner_count; i++) {
        out->ring_depth += tsdb_ring_depth(&db->owners[i].ring);
    }
    out->checkpoints = relaxed(&life->checkpoints);
    out->checkpoint_failures = relaxed(&life->checkpoint_failures);
    out->checkpoint_last_bytes = relaxed(&life->checkpoint_last_bytes);
    out->checkpoint_last_ms = atomic_load_explicit(&life->checkpoint_last_ms, memory_order_relaxed);
    out->quarantine_files = relaxed(&life->quarantine_files);
    out->quarantine_bytes = relaxed(&life->quarantine_bytes);
    out->open_ms = life->open_ms;
    /* Acquire: partner is the release at the end of recovery. */
    uint32_t state = atomic_load_explicit(&db->state, memory_order_acquire);
    if (state != TSDB_STATE_RECOVERING) {
        add_recovered(life, out);
        if (db->blocks.l2) {
            add_blocks(db, out);
            add_block_times(db, out);
        }
        if (db->wal && state != TSDB_STATE_READ_ONLY) { /* then a start may be setting it */
            add_wal(db, out);
        }
    }
}

static int by_time(const void *a, const void *b)
{
    const struct tsdb_block_info *x = a;
    const struct tsdb_block_info *y = b;
    int order = (x->min_ms > y->min_ms) - (x->min_ms < y->min_ms);
    return order != 0 ? order : memcmp(x->ulid, y->ulid, sizeof x->ulid);
}

static void copy_block(const struct block_meta *m, struct tsdb_block_info *out)
{
    static_assert(sizeof m->ulid == sizeof out->ulid, "a ULID and its NUL");
    *out = (struct tsdb_block_info){.min_ms = m->min_ms,
                                    .max_ms = m->max_ms,
                                    .series = m->series,
                                    .samples = m->samples,
                                    .float_samples = m->float_samples,
                                    .histogram_samples = m->histogram_samples,
                                    .chunks = m->chunks,
                                    .bytes = m->bytes,
                                    .level = m->level};
    memcpy(out->ulid, m->ulid, sizeof out->ulid);
}

enum tsdb_status tsdb_blocks_list(struct tsdb *db, struct tsdb_arena *arena,
                                  struct tsdb_block_info **out, uint32_t *out_count,
                                  struct tsdb_error *err)
{
    /* Acquire: partner is the release at the end of recovery; the first view is there. */
    uint32_t state = atomic_load_explicit(&db->state, memory_order_acquire);
    if (state != TSDB_STATE_READY && state != TSDB_STATE_READ_ONLY) {
        return tsdb_error_set(err, TSDB_BUSY, "storage is not ready");
    }
    struct view *v = view_acquire(&db->blocks.views);
    uint32_t count = v->block_count;
    struct tsdb_block_info *list =
        TSDB_ARENA_ARRAY(arena, struct tsdb_block_info, TSDB_MAX(count, 1u));
    for (uint32_t i = 0; list && i < count; i++) {
        copy_block(block_meta(v->blocks[i]->block), &list[i]);
    }
    view_release(&db->blocks.views, v);
    if (!list) {
        return tsdb_error_set(err, tsdb_arena_status(arena), "no memory for %u blocks", count);
    }
    if (count > 1) {
        qsort(list, count, sizeof *list, by_time);
    }
    *out = list;
    *out_count = count;
    return TSDB_OK;
}
