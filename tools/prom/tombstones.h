/* The deletions of a Prometheus block: file tombstones.
 *
 *   u32 0x0130BA30 | u8 1 | entries: uvarint series id, varint first ms, varint last ms | u32 CRC
 *
 * The CRC-32C covers the entries only. Threads: reading what was opened is pure.
 */
#ifndef TOOLS_PROM_TOMBSTONES_H
#define TOOLS_PROM_TOMBSTONES_H

#include "base/file.h"

#define PROM_TOMBSTONES_BYTES_MAX (256u << 20)

struct prom_tombstone {
    uint64_t id; /* of the series in the index */
    int64_t t_min, t_max;
};
struct prom_tombstones {
    struct prom_tombstone *items; /* by id, then time */
    size_t count, cap;
};
/* A missing file has none. CORRUPT, UNSUPPORTED, LIMIT (a file larger than the maximum). */
enum tsdb_status prom_tombstones_read(const struct tsdb_fs *fs, const char *path,
                                      struct prom_tombstones *out, struct tsdb_error *err) TSDB_WUR;
void prom_tombstones_deinit(struct prom_tombstones *t); /* all zero is fine */
/* Was the sample of this series and time deleted? Cost: logarithmic. */
bool prom_tombstones_has(const struct prom_tombstones *t, uint64_t id, int64_t t_ms);
/* Write and sync the file. */
enum tsdb_status prom_tombstones_write(const struct tsdb_fs *fs, const char *path,
                                       const struct prom_tombstone *items, size_t count,
                                       struct tsdb_error *err) TSDB_WUR;

#endif
