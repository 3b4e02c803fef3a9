/* Pages of a checkpoint: any payload behind good CRCs. The first byte chooses the kind of page, the
 * rest is its payload. Invariants checked: the reader stays within the payload, hands out only what
 * its contract says, and what it accepts it accepts again; a file with one flipped byte never
 * verifies, and what is whole in it is found within bounds. */
#include "base/assert.h"
#include "model/version.h"
#include "tsdb/chunk/bundle.h"
#include "tsdb/recovery/checkpoint_private.h"

#include <stdlib.h>
#include <string.h>

#define NUMBER    7u
#define PARTITION 5u
#define SERIES    3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* header | the one page | directory | footer, as the writer frames them. */
static size_t build(uint8_t *out, const uint8_t *payload, size_t len, uint8_t kind, uint32_t items)
{
    memset(out, 0, CHECKPOINT_HEADER_BYTES);
    memcpy(out, CHECKPOINT_MAGIC, 8);
    tsdb_store_le32(out + 8, TSDB_FORMAT_CHECKPOINT);
    tsdb_store_le32(out + 12, TSDB_PARTITIONS);
    tsdb_store_le64(out + 16, NUMBER);
    tsdb_store_le32(out + CHECKPOINT_HEADER_CRC_AT, tsdb_crc32c(0, out, CHECKPOINT_HEADER_CRC_AT));
    tsdb_store_le32(
        out + CHECKPOINT_MARK_CRC_AT,
        tsdb_crc32c(0, out + CHECKPOINT_MARK_AT, CHECKPOINT_MARK_CRC_AT - CHECKPOINT_MARK_AT));
    uint8_t *page = out + CHECKPOINT_HEADER_BYTES;
    memset(page, 0, CHECKPOINT_PAGE_HEADER_BYTES);
    tsdb_store_le32(page, CHECKPOINT_PAGE_MAGIC);
    page[4] = kind;
    page[5] = PARTITION;
    tsdb_store_le32(page + 8, (uint32_t)len);
    tsdb_store_le32(page + 12, items);
    memcpy(page + CHECKPOINT_PAGE_HEADER_BYTES, payload, len);
    tsdb_store_le32(page + 20, checkpoint_crc(NUMBER, CHECKPOINT_HEADER_BYTES, page, 20,
                                              page + CHECKPOINT_PAGE_HEADER_BYTES, len));
    size_t page_bytes = CHECKPOINT_PAGE_HEADER_BYTES + len;
    uint64_t dir_at = CHECKPOINT_HEADER_BYTES + page_bytes;
    uint8_t *dir = out + dir_at;
    memset(dir, 0, CHECKPOINT_DIRECTORY_BYTES + CHECKPOINT_FOOTER_BYTES);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        uint8_t *e = dir + (size_t)i * CHECKPOINT_ENTRY_BYTES;
        tsdb_store_le64(e + 24, i <= PARTITION ? CHECKPOINT_HEADER_BYTES : dir_at);
        tsdb_store_le64(e + 32, i == PARTITION ? page_bytes : 0);
        tsdb_store_le32(e + 48, SERIES);
    }
    uint8_t *footer = dir + CHECKPOINT_DIRECTORY_BYTES;
    memcpy(footer, CHECKPOINT_FOOTER_MAGIC, 8);
    tsdb_store_le64(footer + 8, dir_at);
    tsdb_store_le32(footer + 16, CHECKPOINT_DIRECTORY_BYTES);
    tsdb_store_le32(footer + 20,
                    checkpoint_crc(NUMBER, dir_at, dir, CHECKPOINT_DIRECTORY_BYTES, NULL, 0));
    tsdb_store_le32(footer + 28, tsdb_crc32c(0, footer, 28));
    return (size_t)dir_at + CHECKPOINT_DIRECTORY_BYTES + CHECKPOINT_FOOTER_BYTES;
}

/* Everything that is handed out is read. */
static enum tsdb_status see_run(void *arg, const struct checkpoint_run *run, struct tsdb_error *err)
{
    (void)err;
    uint64_t *sum = arg;
    TSDB_ASSERT(run->local < SERIES && run->count >= 1);
    TSDB_ASSERT(run->count <= CHECKPOINT_RUN_SAMPLES_MAX);
    for (uint32_t i = 0; i < run->count; i++) {
        *sum =
            *sum * 31 + (uint64_t)run->t_ms[i] + (run->start_ms ? (uint64_t)run->start_ms[i] : 0);
        if (run->kind == TSDB_SAMPLE_FLOAT) {
            *sum += run->value[i];
            continue;
        }
        const struct tsdb_raw_histogram *h =
            (const struct tsdb_raw_histogram *)(uintptr_t)run->value[i];
        *sum += tsdb_crc32c(0, h->data, h->len);
    }
    return TSDB_OK;
}

static enum tsdb_status see_chunk(void *arg, const struct checkpoint_chunk *c,
                                  struct tsdb_error *err)
{
    (void)err;
    uint64_t *sum = arg;
    TSDB_ASSERT(c->local < SERIES && c->count >= 1);
    TSDB_ASSERT(c->count <= TSDB_HEAD_CHUNK_SAMPLES_MAX * (c->mask ? BUNDLE_SERIES : 1));
    TSDB_ASSERT(c->mask == 0 ||
                (c->local % BUNDLE_SERIES == 0 && c->mask >> (SERIES - c->local) == 0));
    TSDB_ASSERT(c->min_ms <= c->max_ms && c->file > 0 && c->len > 0);
    TSDB_ASSERT(c->kind <= TSDB_SAMPLE_HISTOGRAM_FLOAT);
    *sum = *sum * 31 + c->offset + c->file + c->late;
    return TSDB_OK;
}

static enum tsdb_status see_last(void *arg, uint32_t local, int64_t t_ms, struct tsdb_error *err)
{
    (void)err;
    uint64_t *sum = arg;
    TSDB_ASSERT(local < SERIES);
    *sum = *sum * 31 + (uint64_t)t_ms;
    return TSDB_OK;
}

static enum tsdb_status see_exemplar(void *arg, uint32_t local, const struct tsdb_exemplar *x,
                                     struct tsdb_error *err)
{
    (void)err;
    uint64_t *sum = arg;
    TSDB_ASSERT(local < SERIES && x->labels.count <= TSDB_LABELS_MAX);
    *sum = *sum * 31 + x->bits + (uint64_t)x->t_ms;
    for (uint32_t i = 0; i < x->labels.count; i++) {
        const struct tsdb_label *l = &x->labels.items[i];
        *sum += tsdb_crc32c(0, l->name, l->name_len) + tsdb_crc32c(0, l->value, l->value_len);
    }
    return TSDB_OK;
}

static enum tsdb_status see_name(void *arg, uint32_t local, uint32_t name, struct tsdb_error *err)
{
    (void)err;
    uint64_t *sum = arg;
    TSDB_ASSERT(local < SERIES);
    *sum = *sum * 31 + name + local;
    return TSDB_OK;
}

static void see_damage(void *arg, const struct checkpoint_damage *d)
{
    (void)arg;
    TSDB_ASSERT(d->from < d->to && d->local_last <= SERIES && d->why[0] != 0);
}

/* Of a file that does not verify: what is whole in it. */
static void salvage(const struct tsdb_fs *fs)
{
    struct checkpoint_reader *r = NULL;
    uint64_t sum = 0;
    struct checkpoint_sink sink = {.arg = &sum,
                                   .run = see_run,
                                   .chunk = see_chunk,
                                   .last = see_last,
                                   .exemplar = see_exemplar,
                                   .name = see_name,
                                   .damage = see_damage};
    TSDB_ASSERT(checkpoint_open(fs, NUMBER, &r, NULL) == TSDB_OK);
    TSDB_ASSERT(checkpoint_verify(r, NULL) == TSDB_CORRUPT);
    TSDB_ASSERT(checkpoint_load(r, PARTITION, &sink, NULL) == TSDB_OK);
    checkpoint_close(r);
}

static enum tsdb_status load(const struct tsdb_fs *fs, uint64_t *out_sum)
{
    struct checkpoint_reader *r = NULL;
    struct checkpoint_sink sink = {.arg = out_sum,
                                   .run = see_run,
                                   .chunk = see_chunk,
                                   .last = see_last,
                                   .exemplar = see_exemplar,
                                   .name = see_name};
    *out_sum = 0;
    TSDB_ASSERT(checkpoint_open(fs, NUMBER, &r, NULL) == TSDB_OK);
    TSDB_ASSERT(checkpoint_verify(r, NULL) == TSDB_OK);
    enum tsdb_status status = checkpoint_load(r, PARTITION, &sink, NULL);
    checkpoint_close(r);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 1u << 16) {
        return 0;
    }
    struct tsdb_fs_sim *sim = NULL;
    struct tsdb_fs fs;
    size_t len = size - 2;
    uint8_t *file = malloc(len + 2 * CHECKPOINT_DIRECTORY_BYTES);
    TSDB_ASSERT(file && tsdb_fs_sim_create(1, &sim, &fs) == TSDB_OK);
    TSDB_ASSERT(fs.ops->mkdir(fs.ctx, "checkpoint", NULL) == TSDB_OK);
    size_t bytes = build(file, data + 2, len, (uint8_t)(1 + data[0] % 3), data[1]);
    TSDB_ASSERT(tsdb_file_replace(&fs, "checkpoint/00000007", file, bytes, NULL) == TSDB_OK);
    uint64_t first, second;
    enum tsdb_status status = load(&fs, &first);
    TSDB_ASSERT(status == TSDB_OK || status == TSDB_CORRUPT);
    TSDB_ASSERT(load(&fs, &second) == status && first == second);
    file[CHECKPOINT_HEADER_BYTES + data[0] % (CHECKPOINT_PAGE_HEADER_BYTES + len)] ^= 1;
    TSDB_ASSERT(tsdb_file_replace(&fs, "checkpoint/00000007", file, bytes, NULL) == TSDB_OK);
    salvage(&fs);
    tsdb_fs_sim_destroy(sim);
    free(file);
    return 0;
}
