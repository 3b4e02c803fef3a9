/* The log of a Prometheus. Input: u8 kind, bytes: kind % 3 is 0 a record, 1 a segment, 2 a file of head chunks. With bit 7 of the kind
 * the checksums are made right, so that what they guard is reached. No reader reads outside its bytes or allocates for counts that
 * they cannot hold; what it hands over can be looked at; it ends. */
#include "base/crc32c.h"
#include "tools/prom/prom_file_private.h"
#include "tools/prom/wal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static volatile uint64_t sink_hole; /* so that nothing is optimised away */

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static enum tsdb_status series(void *arg, uint64_t ref, const struct tsdb_labels *labels,
                               struct tsdb_error *err)
{
    (void)arg;
    (void)err;
    for (uint32_t i = 0; i < labels->count; i++) {
        sink_hole += ref + tsdb_crc32c(0, labels->items[i].name, labels->items[i].name_len) +
                     tsdb_crc32c(0, labels->items[i].value, labels->items[i].value_len);
    }
    return TSDB_OK;
}

static enum tsdb_status sample(void *arg, uint64_t ref, int64_t t_ms, uint64_t bits,
                               struct tsdb_error *err)
{
    (void)arg;
    (void)err;
    sink_hole += ref + (uint64_t)t_ms + bits;
    return TSDB_OK;
}

static enum tsdb_status histogram(void *arg, uint64_t ref, int64_t t_ms,
                                  const struct tsdb_histogram *h, struct tsdb_error *err)
{
    (void)arg;
    (void)err;
    sink_hole += ref + (uint64_t)t_ms + (tsdb_histogram_validate(h, NULL) == TSDB_OK);
    return TSDB_OK;
}

static enum tsdb_status deletion(void *arg, uint64_t ref, int64_t min_ms, int64_t max_ms,
                                 struct tsdb_error *err)
{
    (void)arg;
    (void)err;
    sink_hole += ref + (uint64_t)min_ms + (uint64_t)max_ms;
    return TSDB_OK;
}

static enum tsdb_status chunk(void *arg, const struct prom_head_chunk *c, struct tsdb_error *err)
{
    (void)arg;
    (void)err;
    sink_hole += tsdb_crc32c(0, c->data.data, c->data.len) + c->encoding;
    return TSDB_OK;
}

static void mend_segment(uint8_t *data, size_t len)
{
    for (size_t at = 0; at + 7 <= len && data[at] != 0;) {
        size_t n = (size_t)data[at + 1] << 8 | data[at + 2];
        if (n > len - at - 7) {
            break;
        }
        prom_store_be32(data + at + 3, tsdb_crc32c(0, data + at + 7, n));
        at += 7 + n;
    }
}

static void mend_chunks(uint8_t *data, size_t len)
{
    for (size_t at = 8; at + 26 <= len;) {
        uint64_t n = 0;
        const uint8_t *p = tsdb_get_uvarint(data + at + 25, data + len, &n);
        size_t head = p ? (size_t)(p - data) - at : 0;
        if (!p || len - at - head < 4 || n > len - at - head - 4) {
            break;
        }
        prom_store_be32(data + at + head + n, tsdb_crc32c(0, data + at, head + (size_t)n));
        at += head + (size_t)n + 4;
    }
}

static void read_files(const uint8_t *data, size_t len, bool chunks, bool mend,
                       const struct prom_log_sink *sink)
{
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_file *f;
    struct prom_log log = {0};
    struct tsdb_error err = {0};
    const char *dir = chunks ? "chunks_head" : "wal";
    uint8_t *copy = malloc(len + 1);
    must(copy && tsdb_fs_sim_create(1, &sim, &fs) == TSDB_OK);
    memcpy(copy, data, len);
    if (mend) {
        (chunks ? mend_chunks : mend_segment)(copy, len);
    }
    must(fs.ops->mkdir(fs.ctx, dir, NULL) == TSDB_OK);
    for (int i = 0; i < 2; i++) { /* the newest, and one that has to be whole */
        char path[32];
        snprintf(path, sizeof path, chunks ? "%s/%06d" : "%s/%08d", dir, i);
        must(fs.ops->open(fs.ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &f, NULL) == TSDB_OK);
        must(len == 0 || fs.ops->pwrite(fs.ctx, f, copy, len, 0, NULL) == TSDB_OK);
        fs.ops->close(fs.ctx, f);
    }
    enum tsdb_status status = chunks ? prom_head_chunks_read(&fs, chunk, NULL, &log, &err)
                                     : prom_log_read(&fs, "wal", sink, &log, &err);
    must(status == TSDB_OK || err.msg[0] != '\0');
    must((log.damaged > 0) == (log.damage[0] != '\0'));
    prom_log_deinit(&log);
    tsdb_fs_sim_destroy(sim);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const struct prom_log_sink sink = {NULL, series, sample, histogram, deletion};
    if (len == 0) {
        return 0;
    }
    unsigned kind = (data[0] & 127u) % 3;
    if (kind > 0) {
        read_files(data + 1, len - 1, kind == 2, data[0] & 128, &sink);
        return 0;
    }
    struct tsdb_arena arena;
    struct tsdb_error err = {0};
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    must(prom_record_decode(data + 1, len - 1, &sink, &arena, &err) == TSDB_OK ||
         err.msg[0] != '\0');
    tsdb_arena_deinit(&arena);
    return 0;
}
