/* The sealer: from raw sealed chunks to encoded ones in head files.
 *
 * sealer_step takes what owners have queued, encodes a batch, appends it to the current head file,
 * syncs, and puts each chunk, with the head_sealed that replaces it, into its owner's mailbox. A batch is durable
 * before anybody refers to it. If a file fails, its successor is tried after a pause; chunks wait
 * in memory, none is lost.
 *
 * Threads: one; a file is never waited for by an owner.
 */
#ifndef TSDB_ENGINE_SEALER_H
#define TSDB_ENGINE_SEALER_H

#include "tsdb/engine/owner.h"
#include "tsdb/head/files.h"

struct sealer;
struct sealer_options {
    struct head_files *files;
    struct head_partition *const *heads; /* [TSDB_PARTITIONS] */
    struct owner *owners;
    const uint8_t *owner_of; /* [TSDB_PARTITIONS] */
    uint64_t file_bytes_max; /* a file that is larger gets a successor */
};
enum tsdb_status sealer_create(const struct sealer_options *o, struct sealer **out) TSDB_WUR;
/* Gives chunks that it still has back to their partitions' queues. NULL is fine. */
void sealer_destroy(struct sealer *s);
/* One batch. Returns the number of chunks written; 0 also during the pause after a failure. */
size_t sealer_step(struct sealer *s, int64_t now_ns);

struct sealer_stats {
    uint64_t chunks, samples, bytes, failures; /* written; bytes encoded, with their frames */
    /* How often nothing was left: when it has risen by two, all that had been queued is on its way
     * to the owners. */
    uint64_t drained;
};
void sealer_stats(const struct sealer *s, struct sealer_stats *out); /* any thread */

#endif
