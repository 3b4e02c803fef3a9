/* The answer of S3's ListObjectsV2, as far as names need it: XML from outside.
 *
 * Text between <Key> and </Key>, and between <NextContinuationToken> and </NextContinuationToken>; what has
 * an entity in it is no name of ours and left out. Threads: pure.
 */
#ifndef TOOLS_BACKUP_S3_LIST_H
#define TOOLS_BACKUP_S3_LIST_H

#include "base/bytes.h"
#include "base/status.h"

typedef enum tsdb_status (*s3_key_fn)(void *arg, struct tsdb_slice key, struct tsdb_error *err);
/* *out_next: the token of the next page, of src; empty: this is the last. CORRUPT: no such answer; what fn
 * says ends it. */
enum tsdb_status s3_list_parse(const uint8_t *src, size_t len, s3_key_fn fn, void *arg,
                               struct tsdb_slice *out_next, struct tsdb_error *err) TSDB_WUR;

#endif
