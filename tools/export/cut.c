#include "tools/export/cut.h"

#include "base/random.h"
#include "tsdb/block/ulid.h"

int64_t cut_window_of(int64_t t_ms, int64_t range_ms)
{
    int64_t r = t_ms % range_ms;
    return t_ms - (r < 0 ? r + range_ms : r);
}

static enum tsdb_status write_symbols(const struct cut *c, struct prom_block_writer *w,
                                      struct tsdb_time_range range, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < c->walk->count && status == TSDB_OK; i++) {
        struct tsdb_columns columns = {0};
        c->used[i] = 0;
        if (c->spans && (c->spans[i].max_ms < range.min_ms || c->spans[i].min_ms > range.max_ms)) {
            continue;
        }
        status = tool_walk_read(c->walk, i, range, &columns, err);
        if (status == TSDB_OK && columns.count > 0) {
            c->used[i] = 1;
            status = prom_block_writer_symbols(w, &c->walk->items[i].labels, err);
        }
    }
    return status;
}

static enum tsdb_status write_series(const struct cut *c, struct prom_block_writer *w,
                                     struct tsdb_time_range range, uint64_t *starts_dropped,
                                     struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < c->walk->count && status == TSDB_OK; i++) {
        struct tsdb_columns columns = {0};
        if (!c->used[i]) {
            continue;
        }
        status = tool_walk_read(c->walk, i, range, &columns, err);
        if (status == TSDB_OK) {
            status = prom_block_writer_series(w, &c->walk->items[i].labels, err);
        }
        if (status == TSDB_OK) {
            status = prom_block_writer_samples(w, &columns, err);
        }
        for (uint32_t k = 0; columns.start_ms && k < columns.count; k++) {
            *starts_dropped += columns.start_ms[k] != 0;
        }
        if (c->progress) {
            tool_progress_add(c->progress, columns.count);
        }
    }
    return status;
}

enum tsdb_status cut_window(const struct cut *c, int64_t begin_ms, int64_t end_ms,
                            struct tsdb_time_range take, struct prom_meta *out,
                            uint64_t *out_starts_dropped, struct tsdb_error *err)
{
    char ulid[PROM_ULID_CHARS + 1];
    uint64_t random[2];
    struct prom_block_writer *w = NULL;
    struct tsdb_time_range range = {TSDB_MAX(begin_ms, take.min_ms),
                                    TSDB_MIN(end_ms - 1, take.max_ms)};
    tsdb_random_fill(&tsdb_random_system, random, sizeof random);
    ulid_format((uint64_t)tsdb_clock_wall_ms(&tsdb_clock_real), random, ulid);
    enum tsdb_status status = prom_block_writer_create(c->fs, "", ulid, &w, err);
    if (status == TSDB_OK) {
        status = write_symbols(c, w, range, err);
    }
    if (status == TSDB_OK) {
        status = write_series(c, w, range, out_starts_dropped, err);
    }
    if (status == TSDB_OK) {
        status = prom_block_writer_finish(w, begin_ms, end_ms, out, err);
    }
    prom_block_writer_destroy(w);
    return status;
}
