#include "tools/prom/block.h"

#include "compress/prom_chunk.h"
#include "tools/prom/prom_file_private.h"
#include "tools/prom/segments.h"
#include "tools/prom/tombstones.h"

struct prom_block {
    struct prom_meta meta;
    struct prom_index *index;
    struct prom_segments *segments;
    struct prom_tombstones tombstones;
};

static enum tsdb_status read_meta(struct prom_block *b, const struct tsdb_fs *fs, const char *dir,
                                  struct tsdb_error *err)
{
    char path[PROM_PATH_BYTES];
    uint8_t *data = NULL;
    size_t len = 0;
    enum tsdb_status status = prom_path(path, dir, "meta.json", err);
    if (status == TSDB_OK) {
        status =
            tsdb_file_read_all(fs, path, PROM_META_BYTES_MAX, TSDB_MEM_OTHER, &data, &len, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    status = prom_meta_parse(data, len, &b->meta, err);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    return status;
}

static enum tsdb_status open_parts(struct prom_block *b, const struct tsdb_fs *fs, const char *dir,
                                   struct tsdb_error *err)
{
    char path[PROM_PATH_BYTES];
    enum tsdb_status status = read_meta(b, fs, dir, err);
    if (status == TSDB_OK) {
        status = prom_path(path, dir, "index", err);
    }
    if (status == TSDB_OK) {
        status = prom_index_open(fs, path, &b->index, err);
    }
    if (status == TSDB_OK) {
        status = prom_path(path, dir, "chunks", err);
    }
    if (status == TSDB_OK) {
        status = prom_segments_open(fs, path, &b->segments, err);
    }
    if (status == TSDB_OK) {
        status = prom_path(path, dir, "tombstones", err);
    }
    if (status == TSDB_OK) {
        status = prom_tombstones_read(fs, path, &b->tombstones, err);
    }
    return status;
}

enum tsdb_status prom_block_open(const struct tsdb_fs *fs, const char *path,
                                 struct prom_block **out, struct tsdb_error *err)
{
    struct prom_block *b = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *b);
    if (!b) {
        return tsdb_error_nomem(err, "a block reader");
    }
    enum tsdb_status status = open_parts(b, fs, path, err);
    if (status != TSDB_OK) {
        prom_block_close(b);
        return tsdb_error_prefix(err, status, "block %s", path);
    }
    *out = b;
    return TSDB_OK;
}

void prom_block_close(struct prom_block *b)
{
    if (b) {
        prom_index_close(b->index);
        prom_segments_close(b->segments);
        prom_tombstones_deinit(&b->tombstones);
        tsdb_mem_free(TSDB_MEM_OTHER, b, sizeof *b);
    }
}

const struct prom_meta *prom_block_meta(const struct prom_block *b)
{
    return &b->meta;
}

enum tsdb_status prom_block_next(struct prom_block *b, struct tsdb_arena *arena,
                                 struct prom_series *out, struct tsdb_error *err)
{
    return prom_index_next(b->index, arena, out, err);
}

/* Copies of the columns without what was deleted; histograms stay where they are. */
static enum tsdb_status drop_deleted(const struct prom_block *b, uint32_t id,
                                     struct tsdb_arena *arena, struct tsdb_columns *c,
                                     struct tsdb_error *err)
{
    uint32_t n = 0;
    int64_t *t_ms = TSDB_ARENA_ARRAY(arena, int64_t, c->count + 1);
    uint64_t *bits = TSDB_ARENA_ARRAY(arena, uint64_t, c->count + 1);
    uint8_t *kind = c->kind ? TSDB_ARENA_ARRAY(arena, uint8_t, c->count + 1) : NULL;
    int64_t *start = c->start_ms ? TSDB_ARENA_ARRAY(arena, int64_t, c->count + 1) : NULL;
    if (!t_ms || !bits || (c->kind && !kind) || (c->start_ms && !start)) {
        return tsdb_error_set(err, tsdb_arena_status(arena), "no memory for a chunk");
    }
    for (uint32_t i = 0; i < c->count; i++) {
        if (prom_tombstones_has(&b->tombstones, id, c->t_ms[i])) {
            continue;
        }
        t_ms[n] = c->t_ms[i];
        bits[n] = c->bits[i];
        if (kind) {
            kind[n] = c->kind[i];
        }
        if (start) {
            start[n] = c->start_ms[i];
        }
        n++;
    }
    c->count = n;
    c->t_ms = t_ms;
    c->bits = bits;
    c->kind = kind;
    c->start_ms = start;
    return TSDB_OK;
}

enum tsdb_status prom_block_read(struct prom_block *b, const struct prom_series *series, uint32_t i,
                                 struct tsdb_arena *arena, struct tsdb_columns *out,
                                 struct tsdb_error *err)
{
    uint8_t encoding;
    struct tsdb_slice data;
    struct tsdb_columns c;
    uint64_t ref = series->chunks[i].ref;
    enum tsdb_status status = prom_segments_read(b->segments, ref, &encoding, &data, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = prom_chunk_decode(encoding, data.data, data.len, arena, &c, err);
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "chunk %llu in file %llu",
                                 (unsigned long long)(uint32_t)ref,
                                 (unsigned long long)(ref >> 32) + 1);
    }
    if (b->tombstones.count > 0) {
        status = drop_deleted(b, series->id, arena, &c, err);
    }
    if (status == TSDB_OK) {
        *out = c;
    }
    return status;
}
