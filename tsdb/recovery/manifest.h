/* MANIFEST: what a snapshot of a data directory holds, with the size and the checksum of every file.
 *
 * On no data path: a snapshot writes it last, backup tools read it. Text, so that other programs can,
 * too; format: docs/format/snapshot.md. Everything read back is untrusted.
 *
 * Threads: pure.
 */
#ifndef TSDB_RECOVERY_MANIFEST_H
#define TSDB_RECOVERY_MANIFEST_H

#include "base/bytes.h"
#include "base/status.h"

#define MANIFEST_NAME      "MANIFEST"
#define MANIFEST_PATH_MAX  255         /* bytes of a path; ours are far below */
#define MANIFEST_BYTES_MAX (64u << 20) /* of the file: some 500,000 files */

struct manifest_file {
    char path[MANIFEST_PATH_MAX + 1]; /* relative to the snapshot: [A-Za-z0-9._-] between slashes */
    uint64_t bytes;
    uint32_t crc; /* CRC-32C of all of them */
};
struct manifest {
    int64_t created_ms;          /* Unix ms: every write that was answered before is in it */
    bool head;                   /* false: blocks only */
    struct manifest_file *files; /* [count], strictly rising by strcmp of their paths; heap */
    uint32_t count;
};

/* The files are sorted here. The caller looks at out->failed. */
void manifest_print(struct manifest *m, struct tsdb_buf *out);
/* Release with manifest_deinit. CORRUPT (err->pos: byte) for anything that print would not write, a path
 * that leads out of the snapshot above all; UNSUPPORTED for another version; NOMEM. */
enum tsdb_status manifest_parse(const uint8_t *src, size_t len, struct manifest *out,
                                struct tsdb_error *err) TSDB_WUR;
void manifest_deinit(struct manifest *m); /* a zeroed one is fine */

#endif
