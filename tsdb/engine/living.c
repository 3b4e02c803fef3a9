/* Which series have samples in the querier's range: lists of labels follow start and end. By the
 * bounds of pieces and chunks, so that nothing is decoded. */
#include "tsdb/engine/querier_private.h"

#define SCRATCH_BYTES 4096u

void living_init(struct living *l, struct tsdb_querier *q)
{
    const struct tsdb_time_range all = TSDB_TIME_ALL;
    *l = (struct living){.q = q};
    l->everything = q->range.min_ms == all.min_ms && q->range.max_ms == all.max_ms;
    l->in_blocks = !l->everything && blocks_overlap(q->view, q->range);
    tsdb_arena_init(&l->scratch, TSDB_MEM_QUERY, SCRATCH_BYTES, querier_account(q->request));
}

void living_deinit(struct living *l)
{
    tsdb_arena_deinit(&l->scratch);
}

bool living_has(void *arg, uint32_t local)
{
    struct living *l = arg;
    struct tsdb_querier *q = l->q;
    if (l->everything) {
        return true;
    }
    if (l->status == TSDB_OK) {
        l->status = querier_check(q, l->turns++, &l->err);
    }
    if (l->status != TSDB_OK) {
        return false;
    }
    if (head_may_have(q->db->heads[l->partition], local, q->range, q->view->number)) {
        return true;
    }
    bool found = false;
    if (l->in_blocks) {
        tsdb_arena_reset(&l->scratch);
        l->status = blocks_may_have(q->view, tsdb_series_make(l->partition, local), q->range,
                                    &l->scratch, &found, &l->err);
    }
    return l->status == TSDB_OK && found;
}

enum tsdb_status locals_living(struct locals *locals, struct living *l, uint32_t partition,
                               struct tsdb_error *err)
{
    uint32_t n = 0;
    l->partition = partition;
    for (uint32_t i = 0; !l->everything && i < locals->count; i++) {
        if (living_has(l, locals->ids[i])) {
            locals->ids[n++] = locals->ids[i];
        }
    }
    if (l->status != TSDB_OK) {
        *err = l->err;
        return l->status;
    }
    locals->count = l->everything ? locals->count : n;
    return TSDB_OK;
}
