/* Files of a Prometheus block: meta.json, tombstones, index, chunk files, by the first byte. No
 * reader reads outside its bytes or allocates for counts that the file cannot hold, whoever wrote it.
 * With bit 7 of the first byte the checksums are made right, so that what they guard is reached.
 * Input: u8 kind, the file. */
#include "base/crc32c.h"
#include "base/file.h"
#include "tools/prom/index.h"
#include "tools/prom/meta.h"
#include "tools/prom/prom_file_private.h"
#include "tools/prom/segments.h"
#include "tools/prom/tombstones.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void put_file(const struct tsdb_fs *fs, const char *path, const uint8_t *data, size_t len)
{
    struct tsdb_file *f;
    must(fs->ops->open(fs->ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &f, NULL) == TSDB_OK);
    must(len == 0 || fs->ops->pwrite(fs->ctx, f, data, len, 0, NULL) == TSDB_OK);
    fs->ops->close(fs->ctx, f);
}

/* Put the CRC of [at, at + n) behind it, where there is room. */
static void mend(uint8_t *data, size_t len, uint64_t at, uint64_t n)
{
    if (at <= len && n <= len - at && len - at - n >= 4) {
        prom_store_be32(data + at + n, tsdb_crc32c(0, data + at, (size_t)n));
    }
}

/* A part whose length stands before it in 32 bits. */
static void mend_part(uint8_t *data, size_t len, uint64_t at)
{
    if (at <= len && len - at >= 4) {
        mend(data, len, at + 4, prom_load_be32(data + at));
    }
}

static void mend_varints(uint8_t *data, size_t len, size_t step, size_t extra)
{
    for (size_t at = 0; at < len; at += step) {
        uint64_t n;
        const uint8_t *p = tsdb_get_uvarint(data + at, data + len, &n);
        if (p && n < len) {
            mend(data, len, (uint64_t)(p - data), n + extra);
        }
    }
}

static void mend_index(uint8_t *data, size_t len)
{
    if (len < 60) {
        return;
    }
    mend_varints(data, len - 52, 16, 0);
    for (size_t i = 0; i < 6; i++) {
        mend_part(data, len - 52, prom_load_be64(data + len - 52 + 8 * i));
    }
    mend(data, len, len - 52, 48);
}

static void fuzz_index(const struct tsdb_fs *fs)
{
    struct prom_index *x;
    struct prom_series s;
    struct tsdb_arena arena;
    struct tsdb_error err = {0};
    if (prom_index_open(fs, "file", &x, &err) != TSDB_OK) {
        must(err.msg[0] != '\0');
        return;
    }
    uint32_t n = 0;
    uint64_t bytes = 0;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    while (prom_index_next(x, &arena, &s, &err) == TSDB_OK) {
        for (uint32_t i = 0; i < s.labels.count; i++) { /* touch all text */
            for (uint32_t k = 0; k < s.labels.items[i].value_len; k++) {
                bytes += (uint8_t)s.labels.items[i].value[k];
            }
        }
        n++;
        tsdb_arena_reset(&arena);
    }
    must(n <= prom_index_series_count(x) && bytes < UINT64_MAX);
    tsdb_arena_deinit(&arena);
    prom_index_close(x);
}

static void fuzz_segments(const struct tsdb_fs *fs, size_t len)
{
    struct prom_segments *s;
    if (prom_segments_open(fs, "chunks", &s, NULL) != TSDB_OK) {
        return;
    }
    for (uint32_t at = 0; at <= len + 1; at++) {
        uint8_t encoding;
        struct tsdb_slice chunk;
        if (prom_segments_read(s, at, &encoding, &chunk, NULL) == TSDB_OK) {
            must(chunk.len < len);
        }
    }
    prom_segments_close(s);
}

static void fuzz_small(const struct tsdb_fs *fs, const uint8_t *data, size_t len, bool meta)
{
    struct prom_tombstones t;
    struct prom_meta m, again;
    if (!meta && prom_tombstones_read(fs, "file", &t, NULL) == TSDB_OK) {
        must(t.count <= len / 3);
        for (size_t i = 0; i < t.count; i++) {
            struct prom_tombstone *x = &t.items[i];
            must(x->t_max < x->t_min || prom_tombstones_has(&t, x->id, x->t_min));
        }
        prom_tombstones_deinit(&t);
    }
    if (meta && prom_meta_parse(data, len, &m, NULL) == TSDB_OK) {
        struct tsdb_buf text;
        tsdb_buf_init(&text, TSDB_MEM_OTHER, 0);
        prom_meta_print(&m, &text);
        must(prom_meta_parse(text.data, text.len, &again, NULL) == TSDB_OK);
        must(m.t_min == again.t_min && m.samples == again.samples && m.level == again.level);
        tsdb_buf_deinit(&text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    if (len < 1 || len > 65536 || tsdb_fs_sim_create(1, &sim, &fs) != TSDB_OK) {
        return 0;
    }
    uint8_t kind = data[0] & 3;
    bool mended = (data[0] & 0x80) != 0;
    uint8_t *file = malloc(len);
    must(file != NULL);
    memcpy(file, data + 1, --len);
    if (mended && kind == 1 && len >= 9) {
        mend(file, len, 5, len - 9);
    } else if (mended && kind == 2) {
        mend_index(file, len);
    } else if (mended && kind == 3) {
        mend_varints(file, len, 8, 1);
    }
    must(fs.ops->mkdir(fs.ctx, "chunks", NULL) == TSDB_OK);
    put_file(&fs, kind == 3 ? "chunks/000001" : "file", file, len);
    if (kind < 2) {
        fuzz_small(&fs, file, len, kind == 0);
    } else if (kind == 2) {
        fuzz_index(&fs);
    } else {
        fuzz_segments(&fs, len);
    }
    tsdb_fs_sim_destroy(sim);
    free(file);
    return 0;
}
