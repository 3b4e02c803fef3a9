/* Which series have samples in the querier's range: lists of labels follow start and end. By the
 * bounds of pieces and chunks, so that nothing is decoded. */
#include "tsdb/engine/querier_private.h"

#define SCRATCH_BYTES 4096u

void living_init(struct living *l, struct tsdb_querier *q)
{
    const struct tsdb_time_range all = TSDB_TIME_ALL;
    *l = (struct living){.q = q};
    l->everything = q->range.min_ms == all.min_ms && q->range.max_ms == all.max_ms;
    tsdb_arena_init(&l->scratch, TSDB_MEM_QUERY, SCRATCH_BYTES, querier_account(q->request));
}

void living_deinit(struct living *l)
{
    tsdb_arena_deinit(&l->scratch);
}

bool living_turn(struct living *l)
{
    if (l->status == TSDB_OK) {
        l->status = querier_check(l->q, l->turns++, &l->err);
    }
    return l->status == TSDB_OK;
}

bool living_in_head(void *arg, uint32_t local)
{
    struct living *l = arg;
    struct tsdb_querier *q = l->q;
    return l->everything || (living_turn(l) && head_may_have(q->db->heads[l->partition], local,
                                                             q->range, q->view->number));
}

bool living_has(struct living *l, tsdb_series_ref ref)
{
    struct tsdb_querier *q = l->q;
    if (l->everything) {
        return true;
    }
    if (!living_turn(l)) {
        return false;
    }
    bool found = false;
    if (!join_stray(&q->join, ref)) {
        struct tsdb_epoch_guard guard;
        tsdb_epoch_enter(q->db->epoch, &guard);
        found =
            head_may_have(querier_head(q, ref), tsdb_series_local(ref), q->range, q->view->number);
        tsdb_epoch_exit(q->db->epoch, &guard);
    }
    for (const struct join_pair *p = join_first(&q->join, ref); p && !found && l->status == TSDB_OK;
         p = join_next(&q->join, p)) {
        tsdb_arena_reset(&l->scratch);
        l->status = blocks_may_have(q->view, q->view->blocks[p->block], p->id, q->range,
                                    &l->scratch, &found, &l->err);
    }
    return l->status == TSDB_OK && found;
}
