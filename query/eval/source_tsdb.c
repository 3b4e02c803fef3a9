#include "query/eval/source.h"

#include "tsdb/tsdb.h"

static enum tsdb_status source_open(void *ctx, struct tsdb_time_range range, struct tsdb_error *err)
{
    struct query_source_tsdb *s = ctx;
    return tsdb_querier_open(s->db, s->request, range, &s->querier, err);
}

static enum tsdb_status source_select(void *ctx, const struct tsdb_matcher *matchers,
                                      uint32_t matcher_count, struct query_series_set *out,
                                      struct tsdb_error *err)
{
    struct query_source_tsdb *s = ctx;
    struct tsdb_series_set set;
    enum tsdb_status status = tsdb_select(s->querier, matchers, matcher_count, &set, err);
    if (status == TSDB_OK) {
        *out = (struct query_series_set){set.refs, set.count};
    }
    return status;
}

static enum tsdb_status source_labels(void *ctx, uint32_t ref, struct tsdb_arena *arena,
                                      struct tsdb_labels *out, struct tsdb_error *err)
{
    struct query_source_tsdb *s = ctx;
    return tsdb_series_labels(s->querier, ref, arena, out, err);
}

static enum tsdb_status source_read(void *ctx, const struct query_read *r, struct tsdb_arena *arena,
                                    struct tsdb_columns *out, struct tsdb_error *err)
{
    struct query_source_tsdb *s = ctx;
    return tsdb_series_read_windows(s->querier, r->ref, r->range, r->windows, arena, out, r->counts,
                                    err);
}

static enum tsdb_status source_newest(void *ctx, const struct query_read *r,
                                      struct tsdb_arena *arena, struct tsdb_columns *out,
                                      struct tsdb_error *err)
{
    struct query_source_tsdb *s = ctx;
    return tsdb_series_newest(s->querier, r->ref, r->range, arena, out, r->counts, err);
}

static enum tsdb_status source_count(void *ctx, const struct tsdb_matcher *matchers,
                                     uint32_t matcher_count, struct tsdb_time_range range,
                                     struct tsdb_slice by, struct tsdb_arena *arena,
                                     struct tsdb_series_count *out, struct tsdb_error *err)
{
    struct query_source_tsdb *s = ctx;
    return tsdb_series_count(s->querier, matchers, matcher_count, range, by, arena, out, err);
}

static void source_read_ahead(void *ctx, const uint32_t *refs, uint32_t count, bool newest)
{
    const struct query_source_tsdb *s = ctx;
    if (newest) {
        tsdb_series_newest_ahead(s->querier, refs, count);
    } else {
        tsdb_series_read_ahead(s->querier, refs, count);
    }
}

static bool source_places(void *ctx, const uint32_t *refs, uint32_t count, uint64_t *out)
{
    const struct query_source_tsdb *s = ctx;
    return tsdb_series_places(s->querier, refs, count, out);
}

static void source_close(void *ctx)
{
    struct query_source_tsdb *s = ctx;
    tsdb_querier_close(s->querier);
    s->querier = NULL;
}

struct query_source query_source_tsdb(struct query_source_tsdb *s, struct tsdb *db,
                                      struct tsdb_request *request)
{
    static const struct query_source_ops ops = {
        .open = source_open,
        .select = source_select,
        .labels = source_labels,
        .read = source_read,
        .newest = source_newest,
        .count = source_count,
        .read_ahead = source_read_ahead,
        .places = source_places,
        .close = source_close,
        .concurrent = true,
    };
    *s = (struct query_source_tsdb){db, request, NULL};
    return (struct query_source){&ops, s};
}
