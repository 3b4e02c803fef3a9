/* The file `metadata`: what was known of metrics at some moment, and since when. It is replaced as a whole
 * now and then, so that a kill costs at most what changed since; senders tell it again anyway.
 *
 *   header | record | record | ...           the one that was told longest ago first
 *
 * Every record has a CRC of its own, seeded with its offset: damage costs the records from the first bad
 * one on, and nothing but metadata. Format: docs/format/metadata.md.
 *
 * Threads: pure; the loader and the step that writes, one after the other.
 */
#ifndef TSDB_RECOVERY_METADATA_FILE_H
#define TSDB_RECOVERY_METADATA_FILE_H

#include "base/file.h"
#include "model/metadata.h"

#define METADATA_FILE_NAME         "metadata"
#define METADATA_FILE_HEADER_BYTES 32u
#define METADATA_FILE_RECORD_BYTES 8u /* length and CRC, before the payload */
/* What a reader takes: twice what the table may hold. */
#define METADATA_FILE_BYTES_MAX (UINT64_C(96) << 20)

/* ---- writing: begin, a put for each, end; out->failed says whether there was memory ---- */
void metadata_file_begin(struct tsdb_buf *out);
void metadata_file_put(struct tsdb_buf *out, const struct tsdb_metadata *m);
/* records: how often put was called. */
void metadata_file_end(struct tsdb_buf *out, uint32_t records);

/* ---- reading ---- */
/* Is it of a version that this one knows? OK, UNSUPPORTED; CORRUPT: the header is damaged. */
enum tsdb_status metadata_file_version_check(const uint8_t *data, size_t len,
                                             struct tsdb_error *err) TSDB_WUR;
/* Hands the records to fn, in order; views of data. Stops at the first status of fn that is not OK and
 * returns it. CORRUPT: err->pos is where the first bad byte's record begins; those before it were handed
 * over. UNSUPPORTED: nothing was. Bytes are untrusted. */
typedef enum tsdb_status (*metadata_file_fn)(void *arg, const struct tsdb_metadata *m);
enum tsdb_status metadata_file_parse(const uint8_t *data, size_t len, metadata_file_fn fn,
                                     void *arg, struct tsdb_error *err) TSDB_WUR;

#endif
