#include "base/assert.h"
#include "compress/prom_chunk.h"
#include "tools/prom/block.h"
#include "tools/prom/prom_file_private.h"
#include "tools/prom/segments.h"
#include "tools/prom/tombstones.h"

#define TMP_SUFFIX ".tmp-for-creation"

struct prom_block_writer {
    const struct tsdb_fs *fs;
    char dir[PROM_PATH_BYTES], tmp[PROM_PATH_BYTES], path[PROM_PATH_BYTES];
    struct prom_meta meta;
    struct prom_index_writer *index;
    struct prom_segments_writer *segments;
    struct prom_chunk_writer *chunks;
    bool open, done;
    struct tsdb_arena arena; /* labels of the open series */
    struct tsdb_labels labels;
    struct prom_chunk_place *places; /* of its chunks */
    uint32_t place_count, place_cap;
    bool any;
    int64_t t_min, t_max; /* of all samples */
};

static enum tsdb_status take_chunk(void *ctx, const struct prom_chunk *c, struct tsdb_error *err)
{
    struct prom_block_writer *w = ctx;
    uint64_t ref;
    if (w->place_count == w->place_cap) {
        uint32_t cap = w->place_cap == 0 ? 64 : 2 * w->place_cap;
        struct prom_chunk_place *grown = tsdb_mem_realloc(
            TSDB_MEM_OTHER, w->places, w->place_cap * sizeof *grown, cap * sizeof *grown);
        if (!grown) {
            return tsdb_error_nomem(err, "the chunks of a series");
        }
        w->places = grown;
        w->place_cap = cap;
    }
    enum tsdb_status status =
        prom_segments_append(w->segments, (uint8_t)c->encoding, c->data, c->len, &ref, err);
    if (status != TSDB_OK) {
        return status;
    }
    w->places[w->place_count++] = (struct prom_chunk_place){c->t_min, c->t_max, ref};
    w->t_min = !w->any || c->t_min < w->t_min ? c->t_min : w->t_min;
    w->t_max = !w->any || c->t_max > w->t_max ? c->t_max : w->t_max;
    w->any = true;
    w->meta.chunks++;
    w->meta.samples += c->samples;
    if (c->encoding == PROM_CHUNK_XOR) {
        w->meta.float_samples += c->samples;
    } else {
        w->meta.histogram_samples += c->samples;
    }
    return TSDB_OK;
}

static enum tsdb_status set_paths(struct prom_block_writer *w, const char *dir, const char *ulid,
                                  struct tsdb_error *err)
{
    char name[PROM_ULID_CHARS + sizeof TMP_SUFFIX];
    memcpy(name, ulid, PROM_ULID_CHARS);
    memcpy(name + PROM_ULID_CHARS, TMP_SUFFIX, sizeof TMP_SUFFIX);
    memcpy(w->meta.ulid, ulid, PROM_ULID_CHARS + 1);
    enum tsdb_status status = prom_path(w->dir, dir, NULL, err);
    if (status == TSDB_OK) {
        status = prom_path(w->tmp, dir, name, err);
    }
    return status == TSDB_OK ? prom_path(w->path, dir, ulid, err) : status;
}

static enum tsdb_status open_parts(struct prom_block_writer *w, struct tsdb_error *err)
{
    char path[PROM_PATH_BYTES];
    enum tsdb_status status = w->fs->ops->mkdir(w->fs->ctx, w->tmp, err);
    if (status == TSDB_OK) {
        status = prom_path(path, w->tmp, "index", err);
    }
    if (status == TSDB_OK) {
        status = prom_index_writer_create(w->fs, path, &w->index, err);
    }
    if (status == TSDB_OK) {
        status = prom_path(path, w->tmp, "chunks", err);
    }
    if (status == TSDB_OK) {
        status =
            prom_segments_writer_create(w->fs, path, PROM_SEGMENT_BYTES_DEFAULT, &w->segments, err);
    }
    if (status == TSDB_OK) {
        struct prom_chunk_sink sink = {take_chunk, w};
        status = prom_chunk_writer_create(PROM_CHUNK_SAMPLES_DEFAULT, PROM_CHUNK_BYTES_DEFAULT,
                                          sink, &w->chunks);
        status = status == TSDB_OK ? status : tsdb_error_nomem(err, "a chunk writer");
    }
    return status;
}

enum tsdb_status prom_block_writer_create(const struct tsdb_fs *fs, const char *dir,
                                          const char *ulid, struct prom_block_writer **out,
                                          struct tsdb_error *err)
{
    TSDB_ASSERT(prom_ulid_valid(ulid, strlen(ulid)));
    struct prom_block_writer *w = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *w);
    if (!w) {
        return tsdb_error_nomem(err, "a block writer");
    }
    w->fs = fs;
    w->meta.level = 1;
    tsdb_arena_init(&w->arena, TSDB_MEM_OTHER, 4096, NULL);
    enum tsdb_status status = set_paths(w, dir, ulid, err);
    if (status == TSDB_OK) {
        status = open_parts(w, err);
    } else {
        w->done = true; /* there is nothing to remove */
    }
    if (status != TSDB_OK) {
        prom_block_writer_destroy(w);
        return status;
    }
    *out = w;
    return TSDB_OK;
}

/* ---- removing ---- */
struct removal {
    const struct tsdb_fs *fs;
    const char *dir;
};

static enum tsdb_status remove_file(void *arg, const char *name, bool is_dir)
{
    struct removal *r = arg;
    char path[PROM_PATH_BYTES];
    if (is_dir || prom_path(path, r->dir, name, NULL) != TSDB_OK) {
        return TSDB_OK;
    }
    return r->fs->ops->unlink(r->fs->ctx, path, NULL);
}

/* As far as it goes: what is left over bears a name that nobody reads. */
static void remove_folder(const struct tsdb_fs *fs, const char *dir)
{
    struct removal r = {fs, dir};
    if (fs->ops->list(fs->ctx, dir, remove_file, &r, NULL) == TSDB_OK &&
        fs->ops->rmdir(fs->ctx, dir, NULL) != TSDB_OK) {
        return;
    }
}

static void close_parts(struct prom_block_writer *w)
{
    prom_index_writer_destroy(w->index);
    prom_segments_writer_destroy(w->segments);
    prom_chunk_writer_destroy(w->chunks);
    w->index = NULL;
    w->segments = NULL;
    w->chunks = NULL;
}

void prom_block_writer_destroy(struct prom_block_writer *w)
{
    char chunks[PROM_PATH_BYTES];
    if (!w) {
        return;
    }
    close_parts(w);
    if (!w->done && prom_path(chunks, w->tmp, "chunks", NULL) == TSDB_OK) {
        remove_folder(w->fs, chunks);
        remove_folder(w->fs, w->tmp);
    }
    tsdb_arena_deinit(&w->arena);
    tsdb_mem_free(TSDB_MEM_OTHER, w->places, w->place_cap * sizeof *w->places);
    tsdb_mem_free(TSDB_MEM_OTHER, w, sizeof *w);
}

/* ---- series ---- */
enum tsdb_status prom_block_writer_symbols(struct prom_block_writer *w,
                                           const struct tsdb_labels *labels, struct tsdb_error *err)
{
    return prom_index_writer_symbols(w->index, labels, err);
}

static enum tsdb_status end_series(struct prom_block_writer *w, struct tsdb_error *err)
{
    enum tsdb_status status = prom_chunk_writer_finish(w->chunks, err);
    if (status == TSDB_OK && w->open && w->place_count > 0) {
        status = prom_index_writer_series(w->index, &w->labels, w->places, w->place_count, err);
        w->meta.series++;
    }
    w->open = false;
    w->place_count = 0;
    return status;
}

enum tsdb_status prom_block_writer_series(struct prom_block_writer *w,
                                          const struct tsdb_labels *labels, struct tsdb_error *err)
{
    enum tsdb_status status = end_series(w, err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_arena_reset(&w->arena);
    struct tsdb_label *items = TSDB_ARENA_ARRAY(&w->arena, struct tsdb_label, labels->count + 1);
    if (!items) {
        return tsdb_error_nomem(err, "labels");
    }
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        items[i] = *l;
        items[i].name = tsdb_arena_strndup(&w->arena, l->name, l->name_len);
        items[i].value = tsdb_arena_strndup(&w->arena, l->value, l->value_len);
        if (!items[i].name || !items[i].value) {
            return tsdb_error_nomem(err, "labels");
        }
    }
    w->labels = (struct tsdb_labels){items, labels->count};
    w->open = true;
    return TSDB_OK;
}

enum tsdb_status prom_block_writer_samples(struct prom_block_writer *w,
                                           const struct tsdb_columns *columns,
                                           struct tsdb_error *err)
{
    TSDB_ASSERT(w->open);
    return prom_chunk_writer_columns(w->chunks, columns, err);
}

/* ---- finishing ---- */
static enum tsdb_status write_meta(struct prom_block_writer *w, struct tsdb_error *err)
{
    char path[PROM_PATH_BYTES];
    struct tsdb_buf text;
    tsdb_buf_init(&text, TSDB_MEM_OTHER, 0);
    prom_meta_print(&w->meta, &text);
    enum tsdb_status status = text.failed ? tsdb_error_nomem(err, "meta.json") : TSDB_OK;
    if (status == TSDB_OK) {
        status = prom_path(path, w->tmp, "tombstones", err);
    }
    if (status == TSDB_OK) {
        status = prom_tombstones_write(w->fs, path, NULL, 0, err);
    }
    if (status == TSDB_OK) {
        status = prom_path(path, w->tmp, "meta.json", err);
    }
    if (status == TSDB_OK) { /* syncs the folder, too */
        status = tsdb_file_replace(w->fs, path, text.data, text.len, err);
    }
    tsdb_buf_deinit(&text);
    return status;
}

enum tsdb_status prom_block_writer_finish(struct prom_block_writer *w, int64_t t_min, int64_t t_max,
                                          struct prom_meta *out, struct tsdb_error *err)
{
    enum tsdb_status status = end_series(w, err);
    if (status == TSDB_OK && !w->any) {
        return tsdb_error_set(err, TSDB_NOT_FOUND, "block %s would have no sample", w->meta.ulid);
    }
    if (status == TSDB_OK && (w->t_min < t_min || w->t_max >= t_max)) {
        return tsdb_error_set(err, TSDB_INVALID, "block %s: samples outside its range",
                              w->meta.ulid);
    }
    w->meta.t_min = t_min;
    w->meta.t_max = t_max;
    if (status == TSDB_OK) {
        status = prom_segments_finish(w->segments, err);
    }
    if (status == TSDB_OK) {
        status = prom_index_writer_finish(w->index, err);
    }
    close_parts(w);
    if (status == TSDB_OK) {
        status = write_meta(w, err);
    }
    if (status == TSDB_OK) {
        status = w->fs->ops->rename(w->fs->ctx, w->tmp, w->path, err);
    }
    if (status == TSDB_OK) {
        w->done = true;
        *out = w->meta;
        status = w->fs->ops->sync_dir(w->fs->ctx, w->dir, err);
    }
    return status;
}
