/* The log of a Prometheus: wal/ (with its newest checkpoint), or wbl/, read record by record; and its head chunks.
 *
 *   segment   pages of 32 KiB, of fragments: u8 type | u16 length | u32 CRC-32C | data
 *             type: low 3 bits 0 = the page's rest is empty, 1 whole, 2 first, 3 middle, 4 last; 8 snappy, 16 zstd
 *   record    u8 kind | ..., the fragments' data put together and unpacked: PROM_RECORD_*
 *   order     wal/checkpoint.N/00000000, ... ; wal/N+1, N+2, ...
 *   chunks_head/000001, ...   u32 0x0130BC91 | u8 1 | 3 bytes | chunks: u64 series, i64 first, i64 last ms, u8 encoding (128:
 *             out of order), uvarint length, data, u32 CRC-32C; zeroes behind the last one
 *
 * All integers are big-endian. Everything is untrusted: lengths are held against what is there before anything is allocated.
 * What is damaged costs the rest of its page, and is told in prom_log.damage; a record that ends with the newest segment is
 * what a death leaves, and no damage. Source: Prometheus tsdb/docs/format/wal.md, head_chunks.md, tsdb/record. Threads: one.
 */
#ifndef TOOLS_PROM_WAL_H
#define TOOLS_PROM_WAL_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/file.h"
#include "model/labels.h"
#include "model/sample.h"

#define PROM_RECORD_BYTES_MAX (256u << 20)

/* What a record says; NULL members are skipped unread. What is handed over is valid during the call. */
struct prom_log_sink {
    void *arg;
    enum tsdb_status (*series)(void *arg, uint64_t ref, const struct tsdb_labels *labels,
                               struct tsdb_error *err); /* neither checked nor sorted */
    enum tsdb_status (*sample)(void *arg, uint64_t ref, int64_t t_ms, uint64_t bits,
                               struct tsdb_error *err);
    enum tsdb_status (*histogram)(void *arg, uint64_t ref, int64_t t_ms,
                                  const struct tsdb_histogram *h, /* not validated */
                                  struct tsdb_error *err);
    enum tsdb_status (*deletion)(void *arg, uint64_t ref, int64_t min_ms, int64_t max_ms,
                                 struct tsdb_error *err); /* closed */
};
struct prom_log {
    uint64_t records, bytes;
    uint64_t damaged;       /* places where something was left out */
    char damage[256];       /* the first of them; "" */
    struct tsdb_buf record; /* of the reader */
};
/* CORRUPT: not the bytes of a record. UNSUPPORTED: a kind of samples that this does not know. Others that hold no samples
 * (metadata, exemplars, markers) are skipped. arena: of one histogram; it is reset. */
enum tsdb_status prom_record_decode(const uint8_t *src, size_t len,
                                    const struct prom_log_sink *sink, struct tsdb_arena *arena,
                                    struct tsdb_error *err) TSDB_WUR;
/* Every record of the log in `dir`; a missing one is empty. log: adds up. What the sink says ends it. UNSUPPORTED as above,
 * NOMEM, IO. */
enum tsdb_status prom_log_read(const struct tsdb_fs *fs, const char *dir,
                               const struct prom_log_sink *sink, struct prom_log *log,
                               struct tsdb_error *err) TSDB_WUR;
void prom_log_deinit(struct prom_log *log); /* a zeroed one is fine */

struct prom_head_chunk {
    uint64_t ref; /* of the series */
    int64_t t_min, t_max;
    uint8_t encoding;
    bool out_of_order;
    struct tsdb_slice data; /* valid during the call */
};
typedef enum tsdb_status (*prom_head_chunk_fn)(void *arg, const struct prom_head_chunk *c,
                                               struct tsdb_error *err);
/* Every chunk in chunks_head/; a missing folder is empty. As prom_log_read. */
enum tsdb_status prom_head_chunks_read(const struct tsdb_fs *fs, prom_head_chunk_fn fn, void *arg,
                                       struct prom_log *log, struct tsdb_error *err) TSDB_WUR;

#endif
