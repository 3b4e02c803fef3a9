/* The newest sample of a series, by what its open chunk and the headers of its chunks say. */
#include "tsdb/engine/querier_private.h"

struct newest newest_in_head(const struct head_partition *head, uint32_t local,
                             struct tsdb_time_range range, uint64_t view)
{
    struct newest n = {0};
    if (head_newest_float(head, local, &n.t_ms, &n.bits)) {
        n.any = range.min_ms <= n.t_ms && n.t_ms <= range.max_ms;
        n.unsure = n.t_ms > range.max_ms;
    } else {
        n.unsure = head_may_have(head, local, range, view);
    }
    return n;
}

static struct newest newest_of_head(struct tsdb_querier *q, tsdb_series_ref ref,
                                    struct tsdb_time_range range)
{
    struct newest n = {0};
    if (join_stray(&q->join, ref)) {
        return n;
    }
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(q->db->epoch, &guard);
    n = newest_in_head(querier_head(q, ref), tsdb_series_local(ref), range, q->view->number);
    tsdb_epoch_exit(q->db->epoch, &guard);
    return n;
}

/* p: the first of the series' pairs. */
static enum tsdb_status newest_of_blocks(struct tsdb_querier *q, const struct join_pair *p,
                                         struct tsdb_time_range range, struct tsdb_arena *arena,
                                         struct newest *n, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    *n = (struct newest){0};
    for (; p && status == TSDB_OK && !n->unsure; p = join_next(&q->join, p)) {
        struct block_chunk last;
        enum blocks_newest found = BLOCKS_NEWEST_NONE;
        status = blocks_newest(q->view, q->view->blocks[p->block], p->id, range, arena, &found,
                               &last, err);
        n->unsure = found == BLOCKS_NEWEST_UNSURE;
        if (found == BLOCKS_NEWEST_LAST && (!n->any || last.summary.max_ms > n->t_ms)) {
            n->any = true;
            n->t_ms = last.summary.max_ms;
            n->bits = last.summary.last_bits;
        }
    }
    return status;
}

static enum tsdb_status newest_give(const struct newest *n, struct tsdb_arena *arena,
                                    struct tsdb_columns *out, struct tsdb_error *err)
{
    int64_t *t_ms = n->any ? TSDB_ARENA_ARRAY(arena, int64_t, 1) : NULL;
    uint64_t *bits = t_ms ? TSDB_ARENA_ARRAY(arena, uint64_t, 1) : NULL;
    if (n->any && !bits) {
        return querier_exhausted(arena, err);
    }
    if (bits) {
        *t_ms = n->t_ms;
        *bits = n->bits;
    }
    *out = (struct tsdb_columns){.count = bits ? 1 : 0, .t_ms = t_ms, .bits = bits};
    return TSDB_OK;
}

enum tsdb_status tsdb_series_newest(struct tsdb_querier *q, tsdb_series_ref ref,
                                    struct tsdb_time_range range, struct tsdb_arena *arena,
                                    struct tsdb_columns *out, struct tsdb_chunk_counts *counts,
                                    struct tsdb_error *err)
{
    struct newest n = newest_of_head(q, ref, range);
    const struct join_pair *pairs = n.unsure ? NULL : join_first(&q->join, ref);
    if (pairs) {
        /* Of two samples at one time the first written counts, which is the block's. */
        const struct newest head = n;
        const struct tsdb_time_range rest = {head.any ? head.t_ms : range.min_ms, range.max_ms};
        enum tsdb_status status = newest_of_blocks(q, pairs, rest, arena, &n, err);
        if (status != TSDB_OK) {
            return status;
        }
        n = n.any || n.unsure ? n : head;
    }
    if (n.unsure) {
        return tsdb_series_read_windows(q, ref, range, NULL, arena, out, counts, err);
    }
    counts->skipped += n.any;
    return newest_give(&n, arena, out, err);
}
