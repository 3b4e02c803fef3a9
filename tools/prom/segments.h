/* The chunks of a Prometheus block: files chunks/000001, 000002, ...
 *
 *   u32 0x85BD40DD | u8 1 | 3 zero bytes | chunks: uvarint length | u8 encoding | data | u32 CRC
 *
 * length counts the data, the CRC-32C covers encoding and data. A chunk's reference is (position of
 * its file in their order << 32) | offset of its length. Threads: one at a time for each object.
 */
#ifndef TOOLS_PROM_SEGMENTS_H
#define TOOLS_PROM_SEGMENTS_H

#include "base/bytes.h"
#include "base/file.h"

#define PROM_SEGMENT_BYTES_DEFAULT (512u << 20)
#define PROM_SEGMENT_BYTES_MIN     1024u

/* ---- writing ---- */
struct prom_segments_writer;
/* dir is made. A file grows to segment_bytes_max at most, unless one chunk is larger. */
enum tsdb_status prom_segments_writer_create(const struct tsdb_fs *fs, const char *dir,
                                             uint32_t segment_bytes_max,
                                             struct prom_segments_writer **out,
                                             struct tsdb_error *err) TSDB_WUR;
void prom_segments_writer_destroy(struct prom_segments_writer *w); /* NULL is fine; no sync */
enum tsdb_status prom_segments_append(struct prom_segments_writer *w, uint8_t encoding,
                                      const uint8_t *data, size_t len, uint64_t *out_ref,
                                      struct tsdb_error *err) TSDB_WUR;
/* Write and sync all, and the folder. Nothing may be appended afterwards. */
enum tsdb_status prom_segments_finish(struct prom_segments_writer *w,
                                      struct tsdb_error *err) TSDB_WUR;

/* ---- reading ---- */
struct prom_segments;
/* Opens every file of the folder whose name is a number, in their order, and checks its head. */
enum tsdb_status prom_segments_open(const struct tsdb_fs *fs, const char *dir,
                                    struct prom_segments **out, struct tsdb_error *err) TSDB_WUR;
void prom_segments_close(struct prom_segments *s); /* NULL is fine */
/* The data of a chunk, valid until the next call. CORRUPT: the reference is nobody's, or CRC. */
enum tsdb_status prom_segments_read(struct prom_segments *s, uint64_t ref, uint8_t *out_encoding,
                                    struct tsdb_slice *out_data, struct tsdb_error *err) TSDB_WUR;

#endif
