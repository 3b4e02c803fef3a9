/* Where the bytes of a block are: sections of its index, parts of its chunks, before packing.
 *
 *   where FOLDER-OF-A-BLOCK     (built by hand: README.md)
 */
#include "base/paged_file.h"
#include "compress/value_codec.h"
#include "index/disk/index_disk.h"
#include "tsdb/block/block_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct unpacked {
    struct tsdb_buf bytes;
    uint64_t stored;
};
struct totals {
    uint64_t records, shared, heads, times, values;
    uint64_t codec_samples[VALUE_CODEC_COUNT], codec_bytes[VALUE_CODEC_COUNT];
};

static void must(enum tsdb_status status, const struct tsdb_error *err)
{
    if (status != TSDB_OK) {
        fprintf(stderr, "where: %s\n", err->msg);
        exit(1);
    }
}

static void unpack(const struct tsdb_fs *fs, const char *ulid, const char *name,
                   struct unpacked *out)
{
    static uint8_t page[PAGED_PAGE_BYTES];
    struct tsdb_error err = {0};
    struct tsdb_file_info info;
    struct tsdb_file *file;
    struct paged_directory d;
    must(fs->ops->stat(fs->ctx, name, &info, &err), &err);
    must(fs->ops->open(fs->ctx, name, TSDB_OPEN_READ, &file, &err), &err);
    must(paged_open(fs, file, info.size_bytes, block_mark(ulid), &d, &err), &err);
    tsdb_buf_init(&out->bytes, TSDB_MEM_OTHER, 0);
    out->stored = info.size_bytes;
    for (uint32_t i = 0; i < d.pages; i++) {
        uint32_t len = 0;
        must(paged_load(&d, i, page, &len, &err), &err);
        tsdb_buf_put(&out->bytes, page, len);
    }
    paged_close(&d);
    fs->ops->close(fs->ctx, file);
}

static enum tsdb_status source_read(void *ctx, uint64_t offset, void *out, size_t len,
                                    struct tsdb_error *err)
{
    const struct unpacked *u = ctx;
    (void)err;
    memcpy(out, u->bytes.data + offset, len);
    return TSDB_OK;
}

/* A record: docs/format/block.md; the chunk in it: docs/format/chunk.md. */
static void record_count(const struct unpacked *u, const struct index_disk_chunk *c,
                         struct totals *t)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, u->bytes.data + c->offset, c->len);
    t->records++;
    if (tsdb_reader_u8(&r) == BLOCK_RECORD_SHARED) {
        (void)tsdb_reader_uvarint(&r);
        (void)tsdb_reader_uvarint(&r);
        t->shared++;
    }
    (void)tsdb_reader_u8(&r);
    bool detached = tsdb_reader_u8(&r) & 8;
    (void)tsdb_reader_uvarint(&r);
    uint64_t times = detached ? 0 : tsdb_reader_uvarint(&r);
    uint64_t values = tsdb_reader_uvarint(&r);
    uint32_t codec = r.pos[times] & VALUE_COLUMN_CODEC;
    t->heads += c->len - times - values;
    t->times += times;
    t->values += values;
    if (c->kind == TSDB_SAMPLE_FLOAT && codec < VALUE_CODEC_COUNT) {
        t->codec_samples[codec] += c->count;
        t->codec_bytes[codec] += values;
    }
}

int main(int argc, char **argv)
{
    struct tsdb_error err = {0};
    struct tsdb_fs fs;
    struct unpacked index, chunks;
    struct index_disk *ix;
    struct index_disk_stats s;
    struct tsdb_arena arena;
    struct totals t = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: where FOLDER-OF-A-BLOCK\n");
        return 2;
    }
    must(tsdb_fs_real_create(argv[1], &fs, &err), &err);
    const char *ulid = strrchr(argv[1], '/') ? strrchr(argv[1], '/') + 1 : argv[1];
    unpack(&fs, ulid, BLOCK_INDEX_NAME, &index);
    unpack(&fs, ulid, BLOCK_CHUNKS_NAME, &chunks);
    must(index_disk_open((struct paged_source){source_read, &index, index.bytes.len}, &ix, &err),
         &err);
    index_disk_stats(ix, &s);
    printf("index %zu, packed %" PRIu64 ": chunk headers %" PRIu64 ", labels %" PRIu64
           ", symbols %" PRIu64 ", postings %" PRIu64 ", values %" PRIu64 "\n",
           index.bytes.len, index.stored, s.chunk_bytes, s.label_bytes, s.symbol_bytes,
           s.postings_bytes, s.value_bytes);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 65536, NULL);
    for (uint32_t id = 0; id < index_disk_series_count(ix); id++) {
        struct index_disk_chunk *list;
        uint32_t count;
        must(index_disk_chunks(ix, id, TSDB_TIME_ALL, &arena, &list, &count, &err), &err);
        for (uint32_t i = 0; i < count; i++) {
            record_count(&chunks, &list[i], &t);
        }
        tsdb_arena_reset(&arena);
    }
    printf("chunks %zu, packed %" PRIu64 ": %" PRIu64 " records, %" PRIu64
           " with shared times; heads %" PRIu64 ", times %" PRIu64 ", values %" PRIu64 "\n",
           chunks.bytes.len, chunks.stored, t.records, t.shared, t.heads, t.times, t.values);
    for (uint8_t k = 0; k < VALUE_CODEC_COUNT; k++) {
        printf("  %-10s %" PRIu64 " samples, %" PRIu64 " bytes\n", value_codec_name(k),
               t.codec_samples[k], t.codec_bytes[k]);
    }
    return 0;
}
