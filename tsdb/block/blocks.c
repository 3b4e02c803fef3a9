#include "tsdb/block/blocks.h"

#include "base/assert.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_FIRST_BYTES 65536u
#define LEFTOVERS_MAX     4096u

/* ---- opening ---- */

/* Takes the block over; after a failure it is closed. */
static enum tsdb_status live_make(struct blocks *b, struct block *block, struct live_block **out,
                                  struct tsdb_error *err)
{
    const struct block_meta *m = block_meta(block);
    struct block_refs *refs = NULL;
    enum tsdb_status status = TSDB_OK;
    if (m->series > UINT32_MAX) {
        status =
            tsdb_error_set(err, TSDB_CORRUPT, "block %s: %" PRIu64 " series", m->ulid, m->series);
    } else if (block_refs_create((uint32_t)m->series, &b->refs_budget, &refs) != TSDB_OK ||
               live_block_make(block, refs, out) != TSDB_OK) {
        status = tsdb_error_set(err, TSDB_NOMEM, "no memory for block %s", m->ulid);
    }
    if (status != TSDB_OK) {
        block_refs_destroy(refs);
        block_close(block);
    }
    return status;
}

/* Out of the way, but kept for a person to look at. What cannot be moved, as on a full disk, stays where it is and
 * is not used: the next start tries again. parent: of `from`. */
static void set_aside(struct blocks *b, const char *from, const char *parent, const char *to)
{
    const struct tsdb_fs *fs = b->fs;
    struct tsdb_error why;
    enum tsdb_status status = fs->ops->mkdir(fs->ctx, BLOCKS_DIR_QUARANTINE, &why);
    if (status == TSDB_OK) {
        status = fs->ops->sync_dir(fs->ctx, "", &why);
    }
    if (status == TSDB_OK) {
        status = fs->ops->rename(fs->ctx, from, to, &why);
    }
    if (status == TSDB_OK) {
        status = fs->ops->sync_dir(fs->ctx, BLOCKS_DIR_QUARANTINE, &why);
    }
    if (status == TSDB_OK) {
        status = fs->ops->sync_dir(fs->ctx, parent, &why);
    }
    if (status != TSDB_OK) {
        tsdb_log(TSDB_LOG_WARN, "tsdb", "it could not be moved, and is left out as it stands",
                 TSDB_S("path", from), TSDB_S("err", why.msg));
    }
}

/* Without them what was deleted shows again; without the block so much more would be missing. */
static void set_tombstones_aside(struct blocks *b, const char *ulid, const struct tsdb_error *why)
{
    char parent[64];
    char from[96];
    char to[96];
    (void)snprintf(parent, sizeof parent, BLOCKS_DIR "/%s", ulid);
    (void)snprintf(from, sizeof from, "%s/" TOMBSTONES_NAME, parent);
    (void)snprintf(to, sizeof to, BLOCKS_DIR_QUARANTINE "/" TOMBSTONES_NAME "-%s-%" PRIu64, ulid,
                   (uint64_t)tsdb_clock_wall_ms(&b->clock));
    tsdb_log(
        TSDB_LOG_ERROR, "tsdb",
        "damaged tombstones are moved to quarantine: what was deleted of the block shows again",
        TSDB_S("block", ulid), TSDB_S("err", why->msg));
    set_aside(b, from, parent, to);
    atomic_fetch_add(&b->tombstones_damaged, 1);
}

static enum tsdb_status open_tombstones(struct blocks *b, struct live_block *live,
                                        struct tsdb_error *err)
{
    const struct block_meta *m = block_meta(live->block);
    struct tombstones *t = NULL;
    struct tsdb_error why = {0};
    enum tsdb_status status =
        tombstones_load(b->fs, BLOCKS_DIR, m->ulid, (uint32_t)m->series, &t, &why);
    if (status == TSDB_CORRUPT) {
        set_tombstones_aside(b, m->ulid, &why);
        return TSDB_OK;
    }
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "%s", why.msg);
    }
    if (!t) {
        return TSDB_OK;
    }
    live_block_hide(live, t); /* from_view 0: for every view */
    return tombstones_settle(b->fs, BLOCKS_DIR, m->ulid, err);
}

static enum tsdb_status open_one(struct blocks *b, const char *ulid, struct live_block **out,
                                 struct tsdb_error *err)
{
    struct block *block = NULL;
    enum tsdb_status status = block_open(&b->files, BLOCKS_DIR, ulid, b->l2, &block, err);
    if (status == TSDB_OK) {
        status = live_make(b, block, out, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    status = open_tombstones(b, *out, err);
    if (status != TSDB_OK) {
        live_block_free(*out);
    }
    return status;
}

/* What is missing without the block. */
static void quarantine_say(struct blocks *b, const char *ulid, const struct tsdb_error *why)
{
    struct blocks_lost *lost = &b->lost;
    struct block_meta m;
    if (block_meta_read(b->fs, BLOCKS_DIR, ulid, &m, NULL) != TSDB_OK) {
        tsdb_log(TSDB_LOG_ERROR, "tsdb",
                 "damaged block is moved to quarantine; it does not say what is missing",
                 TSDB_S("block", ulid), TSDB_S("err", why->msg));
        return;
    }
    bool first = atomic_fetch_add(&lost->blocks, 1) == 0;
    atomic_fetch_add(&lost->series, m.series);
    atomic_fetch_add(&lost->samples, m.samples);
    if (first || m.min_ms < atomic_load(&lost->min_ms)) {
        atomic_store(&lost->min_ms, m.min_ms);
    }
    if (first || m.max_ms > atomic_load(&lost->max_ms)) {
        atomic_store(&lost->max_ms, m.max_ms);
    }
    tsdb_log(TSDB_LOG_ERROR, "tsdb",
             "damaged block is moved to quarantine, and its samples are missing",
             TSDB_S("block", ulid), TSDB_S("err", why->msg), TSDB_U("series", m.series),
             TSDB_U("samples", m.samples), TSDB_I("from_ms", m.min_ms), TSDB_I("to_ms", m.max_ms));
}

static void quarantine(struct blocks *b, const char *ulid, const struct tsdb_error *why)
{
    char from[64];
    char to[64];
    snprintf(from, sizeof from, BLOCKS_DIR "/%s", ulid);
    snprintf(to, sizeof to, BLOCKS_DIR_QUARANTINE "/%s", ulid);
    quarantine_say(b, ulid, why);
    set_aside(b, from, BLOCKS_DIR, to);
    atomic_fetch_add(&b->quarantined, 1);
}

static enum tsdb_status open_all(struct blocks *b, const struct block_name *names,
                                 uint32_t name_count, struct live_block **live, uint32_t *out_count,
                                 struct tsdb_error *err)
{
    for (uint32_t i = 0; i < name_count; i++) {
        struct tsdb_error why = {0};
        const char *ulid = names[i].ulid;
        enum tsdb_status status = open_one(b, ulid, &live[*out_count], &why);
        if (status == TSDB_CORRUPT || status == TSDB_NOT_FOUND) {
            quarantine(b, ulid, &why);
            continue;
        }
        if (status != TSDB_OK) {
            return tsdb_error_set(err, status, "block %s: %s", ulid, why.msg);
        }
        b->next_sequence =
            TSDB_MAX(b->next_sequence, block_meta(live[*out_count]->block)->sequence + 1);
        (*out_count)++;
    }
    return TSDB_OK;
}

static void count_blocks(struct blocks *b)
{
    struct view *v = view_acquire(&b->views);
    uint64_t bytes = 0;
    uint64_t hidden = 0;
    for (uint32_t i = 0; i < v->block_count; i++) {
        const struct tombstones *t = live_block_tombstones(v->blocks[i], v->number);
        bytes += block_meta(v->blocks[i]->block)->bytes;
        hidden += t ? t->samples : 0;
    }
    TSDB_ASSERT(v->block_count == 0 || bytes > 0);
    atomic_store(&b->count, v->block_count);
    atomic_store(&b->bytes, bytes);
    atomic_store(&b->hidden, hidden);
    view_release(&b->views, v);
}

/* What a process before this one renamed may not be durable yet. */
static enum tsdb_status dir_prepare(struct blocks *b, struct tsdb_error *err)
{
    uint32_t removed = 0;
    enum tsdb_status status = b->fs->ops->mkdir(b->fs->ctx, BLOCKS_DIR, err);
    if (status == TSDB_OK) {
        status = block_dir_clean(b->fs, BLOCKS_DIR, &removed, err);
    }
    if (status == TSDB_OK && removed > 0) {
        tsdb_log(TSDB_LOG_INFO, "tsdb", "blocks that were not finished are removed",
                 TSDB_U("blocks", removed));
    }
    if (status == TSDB_OK) {
        status = b->fs->ops->sync_dir(b->fs->ctx, "", err);
    }
    return status == TSDB_OK ? b->fs->ops->sync_dir(b->fs->ctx, BLOCKS_DIR, err) : status;
}

static enum tsdb_status load(struct blocks *b, struct tsdb_error *err)
{
    struct block_name *names = NULL;
    struct live_block **live = NULL;
    uint32_t name_count = 0;
    uint32_t count = 0;
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, ARENA_FIRST_BYTES, NULL);
    enum tsdb_status status = dir_prepare(b, err);
    if (status == TSDB_OK) {
        status = block_dir_list(b->fs, BLOCKS_DIR, &arena, &names, &name_count, err);
    }
    if (status == TSDB_OK && name_count > 0) {
        live = TSDB_ARENA_ARRAY(&arena, struct live_block *, name_count);
        status = live ? open_all(b, names, name_count, live, &count, err)
                      : tsdb_error_set(err, TSDB_NOMEM, "no memory for %u blocks", name_count);
    }
    if (status == TSDB_OK && count > 0) {
        status = blocks_publish(b, live, count, NULL, 0, NULL, NULL, err);
        count = status == TSDB_OK ? 0 : count;
    }
    for (uint32_t i = 0; i < count; i++) {
        live_block_free(live[i]);
    }
    tsdb_arena_deinit(&arena);
    return status;
}

enum tsdb_status blocks_open(struct blocks *b, const struct blocks_options *o,
                             struct tsdb_error *err)
{
    memset(b, 0, sizeof *b);
    b->fs = o->fs;
    b->random = o->random;
    b->clock = o->clock;
    b->l2 = o->l2;
    b->refs_budget.bytes_max = BLOCK_REFS_BYTES_MAX;
    b->next_sequence = 1;
    tsdb_buf_init(&b->leftovers, TSDB_MEM_OTHER, LEFTOVERS_MAX * BLOCK_ULID_CHARS);
    enum tsdb_status status = cache_l1_create(o->l1_bytes, &b->l1);
    if (status == TSDB_OK) {
        status = tsdb_file_pool_create(b->fs, o->open_files_max, &b->pool, &b->files);
    }
    if (status == TSDB_OK) {
        status = view_set_init(&b->views);
    }
    if (status != TSDB_OK) {
        status = tsdb_error_set(err, status, "no memory to open the blocks");
    }
    if (status == TSDB_OK) {
        status = load(b, err);
    }
    if (status != TSDB_OK) {
        blocks_close(b);
    }
    return status;
}

void blocks_close(struct blocks *b)
{
    view_set_deinit(&b->views);
    if (b->l1) {
        cache_l1_destroy(b->l1);
    }
    tsdb_file_pool_destroy(b->pool);
    tsdb_buf_deinit(&b->leftovers);
    memset(b, 0, sizeof *b);
}

/* ---- publishing ---- */

uint64_t blocks_sequence(struct blocks *b)
{
    return b->next_sequence++;
}

struct block_writer_options blocks_writer_options(struct blocks *b, uint32_t level,
                                                  uint64_t sequence)
{
    return (struct block_writer_options){
        .fs = b->fs,
        .dir = BLOCKS_DIR,
        .wall_ms = (uint64_t)tsdb_clock_wall_ms(&b->clock),
        .random = {b->random.next(b->random.ctx), b->random.next(b->random.ctx)},
        .level = level,
        .sequence = sequence,
    };
}

static enum tsdb_status adopt(struct blocks *b, const char *ulid,
                              const struct block_ref_pair *pairs, uint32_t pair_count,
                              struct live_block **out, struct tsdb_error *err)
{
    enum tsdb_status status = open_one(b, ulid, out, err);
    for (uint32_t i = 0; status == TSDB_OK && i < pair_count; i++) {
        block_refs_note((*out)->refs, pairs[i].id, pairs[i].ref);
    }
    return status;
}

enum tsdb_status blocks_adopt(struct blocks *b, const char *ulid,
                              const struct block_ref_pair *pairs, uint32_t pair_count,
                              struct live_block **out, struct tsdb_error *err)
{
    enum tsdb_status status = adopt(b, ulid, pairs, pair_count, out, err);
    if (status != TSDB_OK) {
        blocks_disown(b, ulid);
    }
    return status;
}

void blocks_disown(struct blocks *b, const char *ulid)
{
    struct tsdb_error err = {0};
    if (block_remove(b->fs, BLOCKS_DIR, ulid, &err) != TSDB_OK) {
        /* A start would read it again, and merge its samples by time. Nothing is wrong but the space, if
         * nothing is deleted meanwhile (hide.c). */
        tsdb_log(TSDB_LOG_WARN, "tsdb", "block could not be deleted", TSDB_S("block", ulid),
                 TSDB_S("err", err.msg));
        tsdb_buf_put(&b->leftovers, ulid, BLOCK_ULID_CHARS);
        b->leftovers_lost = b->leftovers_lost || b->leftovers.failed;
    } else {
        atomic_fetch_add(&b->deleted, 1);
    }
}

enum tsdb_status blocks_leftovers_remove(struct blocks *b, struct tsdb_error *err)
{
    size_t left = 0;
    enum tsdb_status last = TSDB_OK;
    for (size_t at = 0; at < b->leftovers.len; at += BLOCK_ULID_CHARS) {
        char ulid[BLOCK_ULID_CHARS + 1] = {0};
        memcpy(ulid, b->leftovers.data + at, BLOCK_ULID_CHARS);
        enum tsdb_status status = block_remove(b->fs, BLOCKS_DIR, ulid, err);
        if (status == TSDB_OK) {
            atomic_fetch_add(&b->deleted, 1);
            continue;
        }
        last = status;
        memcpy(b->leftovers.data + left, ulid, BLOCK_ULID_CHARS);
        left += BLOCK_ULID_CHARS;
    }
    b->leftovers.len = left;
    return last == TSDB_OK && b->leftovers_lost
               ? tsdb_error_set(err, TSDB_IO,
                                "a block that was replaced could not be deleted; "
                                "the next start deletes or shows it")
               : last;
}

enum tsdb_status blocks_publish(struct blocks *b, struct live_block *const *added,
                                uint32_t added_count, struct live_block *const *removed,
                                uint32_t removed_count, blocks_publish_fn on_publish, void *arg,
                                struct tsdb_error *err)
{
    struct view *v = NULL;
    TSDB_ASSERT(added_count == 0 || added);
    TSDB_ASSERT(removed_count == 0 || removed);
    if (view_prepare(&b->views, added, added_count, removed, removed_count, &v) != TSDB_OK) {
        return tsdb_error_set(err, TSDB_NOMEM, "no memory for a view of the blocks");
    }
    if (on_publish) {
        on_publish(arg, v->number);
    }
    uint64_t number = v->number;
    view_publish(&b->views, v);
    bool adds_only = added_count > 0 && removed_count == 0; /* a flush: what the head has shown */
    if (!adds_only) {
        atomic_store_explicit(&b->changed_view, number, memory_order_release);
    }
    count_blocks(b);
    TSDB_ASSERT(view_number(&b->views) == number); /* only the block thread publishes */
    return TSDB_OK;
}

size_t blocks_collect(struct blocks *b)
{
    size_t n = 0;
    (void)!blocks_leftovers_remove(b, NULL); /* later, then */
    for (struct live_block *dead = view_collect(&b->views); dead; n++) {
        struct live_block *next = dead->next_dead;
        TSDB_ASSERT(dead->views == 0);
        bool doomed = dead->doomed;
        char ulid[BLOCK_ULID_CHARS + 1];
        memcpy(ulid, block_meta(dead->block)->ulid, sizeof ulid);
        live_block_free(dead);
        if (doomed) {
            blocks_disown(b, ulid);
        }
        dead = next;
    }
    struct view *v = view_acquire(&b->views);
    uint64_t oldest = view_oldest(&b->views);
    for (uint32_t i = 0; i < v->block_count; i++) {
        live_block_forget(v->blocks[i], oldest);
    }
    view_release(&b->views, v);
    return n;
}

/* ---- reading ---- */

void piece_list_init(struct piece_list *l, struct tsdb_arena *arena)
{
    *l = (struct piece_list){.arena = arena};
}

void piece_list_release(struct piece_list *l, struct blocks *b)
{
    for (uint32_t i = 0; i < l->count; i++) {
        if (l->pins[i]) {
            cache_l1_release(b->l1, l->pins[i]);
        }
    }
    l->count = 0;
}

static enum tsdb_status piece_list_grow(struct piece_list *l)
{
    uint32_t cap = l->cap ? l->cap * 2 : 16;
    struct piece *items = TSDB_ARENA_ARRAY(l->arena, struct piece, cap);
    if (!items) {
        return tsdb_arena_status(l->arena);
    }
    struct cache_l1_entry **pins = TSDB_ARENA_ARRAY(l->arena, struct cache_l1_entry *, cap);
    if (!pins) {
        return tsdb_arena_status(l->arena);
    }
    if (l->count > 0) {
        memcpy(items, l->items, l->count * sizeof *items);
        memcpy(pins, l->pins, l->count * sizeof(struct cache_l1_entry *));
    }
    l->items = items;
    l->pins = pins;
    l->cap = cap;
    return TSDB_OK;
}

enum tsdb_status piece_list_add(struct piece_list *l, const struct piece *p,
                                struct cache_l1_entry *pin)
{
    if (l->count == l->cap) {
        enum tsdb_status status = piece_list_grow(l);
        if (status != TSDB_OK) {
            return status;
        }
    }
    l->items[l->count] = *p;
    l->pins[l->count++] = pin;
    return TSDB_OK;
}

enum tsdb_status piece_list_add_visible(struct piece_list *l, const struct tombstone_cuts *cuts,
                                        const struct piece *whole, struct cache_l1_entry **pin)
{
    struct piece part;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t pos = 0; status == TSDB_OK && tombstone_cuts_next(cuts, whole, &pos, &part);) {
        status = piece_list_add(l, &part, *pin);
        *pin = status == TSDB_OK ? NULL : *pin; /* with its first part */
    }
    return status;
}

/* What is decoded in less time than it takes to find, and to keep, is not kept. */
#define L1_SAMPLES_MIN 32u

static enum tsdb_status read_chunk(struct blocks *b, const struct block *block,
                                   const struct block_chunk *c, const struct tombstone_cuts *cuts,
                                   struct piece_list *out, struct tsdb_chunk_counts *counts,
                                   struct tsdb_error *err)
{
    const struct chunk_samples *samples = NULL;
    struct chunk_samples decoded;
    bool kept = c->summary.count >= L1_SAMPLES_MIN;
    struct cache_l1_entry *pin =
        kept ? cache_l1_get(b->l1, block_id(block), c->offset, &samples) : NULL;
    ++*(pin ? &counts->cached : &counts->read);
    if (!pin) {
        enum tsdb_status status = block_chunk_read(block, c, out->arena, &decoded, err);
        if (status != TSDB_OK) {
            return status;
        }
        samples = &decoded;
        if (kept && decoded.kind == TSDB_SAMPLE_FLOAT) {
            const struct chunk_samples *cached = NULL;
            pin = cache_l1_put(b->l1, block_id(block), c->offset, &decoded, &cached);
            samples = pin ? cached : &decoded;
        }
    }
    struct piece piece = piece_of_chunk(samples);
    enum tsdb_status status = piece_list_add_visible(out, cuts, &piece, &pin);
    if (pin) { /* none of it is visible, or there was no memory */
        cache_l1_release(b->l1, pin);
    }
    return status == TSDB_OK ? TSDB_OK : tsdb_error_set(err, status, "no memory to read a series");
}

uint32_t block_chunks_visible(const struct tombstone_cuts *cuts, struct block_chunk *chunks,
                              uint32_t count)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct chunk_summary *s = &chunks[i].summary;
        if (cuts->count == 0 || !tombstone_cuts_cover(cuts, s->min_ms, s->max_ms)) {
            chunks[n++] = chunks[i];
        }
    }
    return n;
}

bool blocks_overlaps(const struct live_block *l, struct tsdb_time_range range)
{
    const struct block_meta *m = block_meta(l->block);
    return m->min_ms <= range.max_ms && (range.min_ms < m->max_ms || m->max_ms == INT64_MAX);
}

bool blocks_overlap(const struct view *v, struct tsdb_time_range range)
{
    for (uint32_t i = 0; i < v->block_count; i++) {
        if (blocks_overlaps(v->blocks[i], range)) {
            return true;
        }
    }
    return false;
}

/* Headers of the chunks that a series has in a block within the range, as the view has it, and what is
 * hidden of them. */
static enum tsdb_status chunks_in(const struct view *v, const struct live_block *l, uint32_t id,
                                  struct tsdb_time_range range, struct tsdb_arena *arena,
                                  struct block_chunk **out, uint32_t *out_count,
                                  struct tombstone_cuts *out_cuts, struct tsdb_error *err)
{
    *out_count = 0;
    if (!blocks_overlaps(l, range)) {
        return TSDB_OK;
    }
    enum tsdb_status status = block_chunks(l->block, id, range, arena, out, out_count, err);
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "block %s", block_meta(l->block)->ulid);
    }
    *out_cuts = tombstones_find(live_block_tombstones(l, v->number), id);
    *out_count = block_chunks_visible(out_cuts, *out, *out_count);
    return TSDB_OK;
}

enum tsdb_status blocks_may_have(const struct view *v, const struct live_block *l, uint32_t id,
                                 struct tsdb_time_range range, struct tsdb_arena *scratch,
                                 bool *out, struct tsdb_error *err)
{
    struct block_chunk *chunks = NULL;
    struct tombstone_cuts cuts;
    uint32_t n = 0;
    enum tsdb_status status = chunks_in(v, l, id, range, scratch, &chunks, &n, &cuts, err);
    *out = n > 0;
    return status;
}

/* What the last chunk tells of a series of which nothing is hidden. */
static enum blocks_newest newest_of(const struct block_chunk *last, struct tsdb_time_range range)
{
    bool known = last->kind == TSDB_SAMPLE_FLOAT && last->summary.max_ms <= range.max_ms;
    return known ? BLOCKS_NEWEST_LAST : BLOCKS_NEWEST_UNSURE;
}

enum tsdb_status blocks_newest(const struct view *v, const struct live_block *l, uint32_t id,
                               struct tsdb_time_range range, struct tsdb_arena *scratch,
                               enum blocks_newest *out, struct block_chunk *out_chunk,
                               struct tsdb_error *err)
{
    struct block_chunk *chunks = NULL;
    struct tombstone_cuts cuts;
    uint32_t n = 0;
    enum tsdb_status status = chunks_in(v, l, id, range, scratch, &chunks, &n, &cuts, err);
    if (status != TSDB_OK || n == 0) {
        *out = BLOCKS_NEWEST_NONE;
        return status;
    }
    *out_chunk = chunks[n - 1]; /* their times rise */
    *out = cuts.count == 0 ? newest_of(out_chunk, range) : BLOCKS_NEWEST_UNSURE;
    return TSDB_OK;
}

enum tsdb_status blocks_newest_next(const struct view *v, const struct live_block *l,
                                    struct index_disk_newest **c, uint32_t id,
                                    struct tsdb_time_range range, struct tsdb_arena *scratch,
                                    enum blocks_newest *out, struct block_chunk *out_chunk,
                                    struct tsdb_error *err)
{
    const struct tombstone_cuts cuts = tombstones_find(live_block_tombstones(l, v->number), id);
    bool any = false;
    if (cuts.count > 0) {
        return blocks_newest(v, l, id, range, scratch, out, out_chunk, err);
    }
    *out = BLOCKS_NEWEST_NONE;
    enum tsdb_status status = block_newest_next(l->block, c, id, range, &any, out_chunk, err);
    if (status == TSDB_OK && any) {
        *out = newest_of(out_chunk, range);
    }
    return status == TSDB_OK
               ? status
               : tsdb_error_prefix(err, status, "block %s", block_meta(l->block)->ulid);
}

enum tsdb_status blocks_read(struct blocks *b, const struct view *v, const struct live_block *l,
                             uint32_t id, struct chunk_want *want, struct piece_list *out,
                             struct tsdb_error *err)
{
    struct block_chunk *chunks = NULL;
    struct tombstone_cuts cuts;
    uint32_t n = 0;
    enum tsdb_status status = chunks_in(v, l, id, want->range, out->arena, &chunks, &n, &cuts, err);
    for (uint32_t k = 0; k < n && status == TSDB_OK; k++) {
        if (!chunk_want(want, chunks[k].summary.min_ms, chunks[k].summary.max_ms)) {
            continue;
        }
        status = read_chunk(b, l->block, &chunks[k], &cuts, out, &want->counts, err);
        if (status != TSDB_OK) {
            return tsdb_error_prefix(err, status, "block %s", block_meta(l->block)->ulid);
        }
    }
    return status;
}
