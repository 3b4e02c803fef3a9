/* Series that are read soon, one after the other: while one is read, the memory of the next ones is
 * on its way. And in which order they are best read. */
#include "tsdb/engine/querier_private.h"

/* How far ahead a series' stages begin: a read takes about as long as two or three lines. */
#define HOT_AHEAD    9u
#define PIECES_AHEAD 6u
#define CHUNKS_AHEAD 3u
/* A newest sample takes far less time than a line does to come. */
#define NEWEST_HOT_AHEAD 24u
#define NEWEST_AHEAD     12u
/* Half of the pages' cache is a query's, at most: others use it, too. */
#define PAGES_SHARE 2.0

typedef void stage_fn(const struct head_partition *p, uint32_t local);

static void stage(const struct tsdb_querier *q, const tsdb_series_ref *refs, uint32_t count,
                  uint32_t ahead, stage_fn *fn)
{
    if (ahead < count && !join_stray(&q->join, refs[ahead])) {
        fn(querier_head(q, refs[ahead]), tsdb_series_local(refs[ahead]));
    }
}

void tsdb_series_read_ahead(struct tsdb_querier *q, const tsdb_series_ref *refs, uint32_t count)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(q->db->epoch, &guard);
    stage(q, refs, count, HOT_AHEAD, head_read_ahead_hot);
    stage(q, refs, count, PIECES_AHEAD, head_read_ahead_pieces);
    stage(q, refs, count, CHUNKS_AHEAD, head_read_ahead_chunks);
    tsdb_epoch_exit(q->db->epoch, &guard);
}

void tsdb_series_newest_ahead(struct tsdb_querier *q, const tsdb_series_ref *refs, uint32_t count)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(q->db->epoch, &guard);
    stage(q, refs, count, NEWEST_HOT_AHEAD, head_read_ahead_hot);
    stage(q, refs, count, NEWEST_AHEAD, head_read_ahead_newest);
    tsdb_epoch_exit(q->db->epoch, &guard);
}

/* Series of a block lie in the order of their ids there, and so, as both follow labels, in any other block that has them.
 * What only the head has comes last, as it came. */
bool tsdb_series_places(const struct tsdb_querier *q, const tsdb_series_ref *refs, uint32_t count,
                        uint64_t *out_places)
{
    if (q->join.bytes * PAGES_SHARE <= (double)q->db->options.cache_l2_bytes) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct join_pair *first = join_first(&q->join, refs[i]);
        out_places[i] = first ? (uint64_t)first->block << 32 | first->id : UINT64_MAX;
    }
    return true;
}
