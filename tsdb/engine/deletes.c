/* Deletes: what was written before becomes invisible, then leaves the files.
 *
 *   1. the head's windows of the range go to blocks, so that all samples whose writes were answered lie in
 *      blocks; what is written from now on goes to the head, and later to other blocks
 *   2. a checkpoint, which leaves out what is in blocks: after a death neither it nor the log behind it
 *      brings those samples back into the head
 *   3. tombstones for the blocks, durable; the next view has them (tsdb/block/hide.h)
 *
 * So tombstones need no order between writes and deletes beyond "in this block or not", and the head
 * knows nothing of them. Rejected: deletes in the log, ordered against writes by sequence, which every
 * reader of the head and recovery would have to weigh; a flush is what a delete may cost.
 */
#include "base/log.h"
#include "index/match/matcher.h"
#include "tsdb/block/hide.h"
#include "tsdb/engine/db_private.h"

#include <stdio.h>
#include <string.h>

#define ARENA_BYTES 16384u

static enum tsdb_status ready_check(const struct tsdb *db, const char *what, struct tsdb_error *err)
{
    return db_ready(db) ? TSDB_OK
                        : tsdb_error_set(err, TSDB_BUSY, "%s: the database is not ready", what);
}

/* ---- selectors ---- */

static void text_put(struct tsdb_delete_info *info, const char *s, size_t len)
{
    size_t have = strlen(info->text);
    size_t room = sizeof info->text - 1 - have;
    memcpy(info->text + have, s, TSDB_MIN(len, room));
    info->text[have + TSDB_MIN(len, room)] = '\0';
}

static void text_put_matcher(struct tsdb_delete_info *info, const struct tsdb_matcher *m)
{
    const char *op = tsdb_match_op_text(m->op);
    text_put(info, m->name, m->name_len);
    text_put(info, op, strlen(op));
    text_put(info, "\"", 1);
    text_put(info, m->value, m->value_len);
    text_put(info, "\"", 1);
}

static void text_of(const struct tsdb_selector *selectors, uint32_t count,
                    struct tsdb_delete_info *info)
{
    for (uint32_t i = 0; i < count; i++) {
        text_put(info, i > 0 ? " {" : "{", i > 0 ? 2 : 1);
        for (uint32_t k = 0; k < selectors[i].count; k++) {
            text_put(info, ",", k > 0);
            text_put_matcher(info, &selectors[i].matchers[k]);
        }
        text_put(info, "}", 1);
    }
}

struct compiled {
    struct tsdb_arena arena;
    struct hide_selector *any;
    struct index_matcher **owned; /* of all of them */
    uint32_t owned_count;
};

static enum tsdb_status compile_one(struct compiled *c, const struct tsdb_selector *s,
                                    struct hide_selector *out, struct tsdb_error *err)
{
    out->matchers = (const struct index_matcher *const *)(c->owned + c->owned_count);
    out->count = s->count;
    for (uint32_t i = 0; i < s->count; i++) {
        enum tsdb_status status =
            index_matcher_compile(&s->matchers[i], &c->owned[c->owned_count], err);
        if (status != TSDB_OK) {
            return status;
        }
        c->owned_count++;
    }
    return s->count > 0 ? TSDB_OK
                        : tsdb_error_set(err, TSDB_INVALID, "delete: a selector needs a matcher");
}

static void compiled_deinit(struct compiled *c)
{
    for (uint32_t i = 0; i < c->owned_count; i++) {
        index_matcher_destroy(c->owned[i]);
    }
    tsdb_arena_deinit(&c->arena);
}

static enum tsdb_status compiled_init(struct compiled *c, const struct tsdb_selector *selectors,
                                      uint32_t count, struct tsdb_error *err)
{
    size_t matchers = 0;
    enum tsdb_status status = TSDB_OK;
    *c = (struct compiled){.owned_count = 0};
    tsdb_arena_init(&c->arena, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    for (uint32_t i = 0; i < count; i++) {
        matchers += selectors[i].count;
    }
    c->any = TSDB_ARENA_ARRAY(&c->arena, struct hide_selector, count + (size_t)1);
    c->owned = TSDB_ARENA_ARRAY(&c->arena, struct index_matcher *, matchers + 1);
    if (!c->any || !c->owned) {
        status = tsdb_error_nomem(err, "the matchers of a delete");
    } else if (count == 0) {
        status = tsdb_error_set(err, TSDB_INVALID, "delete: no selector");
    }
    for (uint32_t i = 0; status == TSDB_OK && i < count; i++) {
        status = compile_one(c, &selectors[i], &c->any[i], err);
    }
    if (status != TSDB_OK) {
        compiled_deinit(c);
    }
    return status;
}

/* ---- deleting ---- */

/* 1. and 2. Caller holds block_work. */
static enum tsdb_status to_blocks(struct tsdb *db, struct tsdb_time_range range,
                                  struct tsdb_error *err)
{
    struct db_life *life = db->life;
    size_t blocks = 0;
    /* Windows of old samples are longer; one that holds the first ms begins no earlier than that. */
    int64_t longest_ms = TSDB_MAX(db_old_range_max(db), db->options.block_range_ms);
    int64_t from_ms = range.min_ms < INT64_MIN + longest_ms ? INT64_MIN : range.min_ms - longest_ms;
    int64_t before_ms = range.max_ms < INT64_MAX ? range.max_ms + 1 : INT64_MAX;
    enum tsdb_status status = db_room_check(db, "delete", DB_ROOM_FREES, 0, err);
    if (status == TSDB_OK) {
        status = db_flush_windows(db, from_ms, before_ms, &blocks, err);
    }
    /* Also what an earlier flush has left to "the next checkpoint": a start from either that is kept must not
     * bring back what is deleted. */
    if (status == TSDB_OK) {
        tsdb_mutex_lock(&life->admin);
        status = db_checkpoint_forget_flushed(db, db->options.manual_steps, err);
        tsdb_mutex_unlock(&life->admin);
    }
    return status;
}

static void note_delete(struct tsdb *db, struct tsdb_delete_info *info)
{
    struct db_life *life = db->life;
    tsdb_mutex_lock(&life->deletes_lock);
    life->deletes[life->delete_count % DB_DELETES_KEPT] = *info;
    info->number = ++life->delete_count;
    life->deletes[(info->number - 1) % DB_DELETES_KEPT].number = info->number;
    tsdb_mutex_unlock(&life->deletes_lock);
    tsdb_log(TSDB_LOG_INFO, "tsdb", "series deleted", TSDB_S("match", info->text),
             TSDB_I("from_ms", info->range.min_ms), TSDB_I("to_ms", info->range.max_ms),
             TSDB_U("blocks", info->blocks), TSDB_U("series", info->series),
             TSDB_U("samples", info->samples), TSDB_U("bytes", info->bytes));
}

enum tsdb_status tsdb_delete_series(struct tsdb *db, const struct tsdb_selector *selectors,
                                    uint32_t count, struct tsdb_time_range range,
                                    struct tsdb_delete_info *out, struct tsdb_error *err)
{
    struct compiled c;
    struct hide_result hidden = {0};
    enum tsdb_status status = ready_check(db, "delete", err);
    if (status == TSDB_OK) {
        status = compiled_init(&c, selectors, count, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    struct hide_request r = {
        .any = c.any, .count = count, .range = range, .cancel = &db->life->stop_background};
    tsdb_mutex_lock(&db->life->block_work);
    status = range.min_ms <= range.max_ms ? to_blocks(db, range, err) : TSDB_OK;
    if (status == TSDB_OK) {
        status = blocks_hide(&db->blocks, &r, &hidden, err);
    }
    tsdb_mutex_unlock(&db->life->block_work);
    compiled_deinit(&c);
    *out = (struct tsdb_delete_info){.at_ms = tsdb_clock_wall_ms(&db->options.clock),
                                     .range = range,
                                     .blocks = hidden.blocks,
                                     .series = hidden.series,
                                     .samples = hidden.samples,
                                     .bytes = hidden.bytes};
    text_of(selectors, count, out);
    if (status == TSDB_OK || hidden.blocks > 0) {
        note_delete(db, out);
    }
    return status;
}

/* ---- what there is of it ---- */

enum tsdb_status tsdb_deletes_list(struct tsdb *db, struct tsdb_arena *arena,
                                   struct tsdb_deletes *out, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    enum tsdb_status status = ready_check(db, "deletes", err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_delete_info *items =
        TSDB_ARENA_ARRAY(arena, struct tsdb_delete_info, DB_DELETES_KEPT);
    if (!items) {
        return tsdb_error_set(err, tsdb_arena_status(arena), "no memory to list deletes");
    }
    *out = (struct tsdb_deletes){.items = items};
    tsdb_mutex_lock(&life->deletes_lock);
    out->count = (uint32_t)TSDB_MIN(life->delete_count, (uint64_t)DB_DELETES_KEPT);
    for (uint32_t i = 0; i < out->count; i++) {
        items[i] = life->deletes[(life->delete_count - 1 - i) % DB_DELETES_KEPT];
    }
    tsdb_mutex_unlock(&life->deletes_lock);
    struct view *v = view_acquire(&db->blocks.views);
    for (uint32_t i = 0; i < v->block_count; i++) {
        const struct tombstones *t = live_block_tombstones(v->blocks[i], v->number);
        if (t) {
            out->blocks++;
            out->series += tombstones_series(t);
            out->samples += t->samples;
            out->bytes += t->bytes;
        }
    }
    view_release(&db->blocks.views, v);
    return TSDB_OK;
}

/* ---- compaction on demand ---- */

/* One after the other until there is none; block_work is free in between, for the flush. */
static enum tsdb_status compact_all(struct tsdb *db, enum db_compact_kind kind,
                                    struct tsdb_work_done *out, struct tsdb_error *err)
{
    struct tsdb_error last = {0};
    bool again = true;
    *out = (struct tsdb_work_done){0};
    while (again) {
        bool source = false;
        uint64_t before = out->blocks;
        struct tsdb_error why = {0};
        tsdb_mutex_lock(&db->life->block_work);
        int64_t now_ns = tsdb_clock_mono_ns(&db->options.clock);
        enum tsdb_status status = db_compact_one(db, now_ns, kind, out, &source, &why);
        (void)blocks_collect(&db->blocks);
        if (source) {
            db_compact_source_failed(db, &why);
        }
        tsdb_mutex_unlock(&db->life->block_work);
        last = status != TSDB_OK ? why : last;
        again = source || (status == TSDB_OK && out->blocks > before);
    }
    if (last.status != TSDB_OK && err) {
        *err = last;
    }
    return last.status;
}

enum tsdb_status tsdb_clean_tombstones(struct tsdb *db, struct tsdb_work_done *out,
                                       struct tsdb_error *err)
{
    enum tsdb_status status = ready_check(db, "clean tombstones", err);
    return status == TSDB_OK ? compact_all(db, DB_COMPACT_CLEAN, out, err) : status;
}

enum tsdb_status tsdb_compact(struct tsdb *db, struct tsdb_work_done *out, struct tsdb_error *err)
{
    enum tsdb_status status = ready_check(db, "compact", err);
    return status == TSDB_OK ? compact_all(db, DB_COMPACT_ANY, out, err) : status;
}
