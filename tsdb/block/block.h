/* Blocks: immutable directories with all samples of a time range, as they were when it was written.
 *
 *   blocks/<ULID>/  meta.json  index  chunks
 *
 * A block is written as blocks/<ULID>.tmp, every file synced, the directory synced, renamed, the
 * parent synced: without ".tmp" it is whole. Formats: docs/format/{block,index}.md; the bytes of a
 * chunk: docs/format/chunk.md. Everything read back is untrusted: the pages of both files carry CRC32C.
 *
 * Threads: a writer belongs to one thread. A reader is immutable after open and serves any number
 * of threads; its pages come from the L2 cache.
 */
#ifndef TSDB_BLOCK_BLOCK_H
#define TSDB_BLOCK_BLOCK_H

#include "index/match/matcher.h"
#include "model/labels.h"
#include "model/matcher.h"
#include "tsdb/chunk/cache_l2.h"
#include "tsdb/chunk/chunk.h"
#include "tsdb/chunk/pieces.h"

#define BLOCK_ULID_CHARS  26
#define BLOCK_SOURCES_MAX 256

struct block_meta {
    char ulid[BLOCK_ULID_CHARS + 1];
    int64_t min_ms, max_ms; /* [min, max) */
    uint64_t series, samples, float_samples, histogram_samples, chunks;
    uint32_t level; /* 1 = from the head, more = compacted */
    /* Order of creation of the samples: where two blocks have the same series and time, the lower
     * one wins. */
    uint64_t sequence;
    uint64_t bytes; /* of all files; filled by open and finish */
};

/* ---- writing ---- */
struct block_writer;
struct block_writer_options {
    const struct tsdb_fs *fs;
    const char *dir;    /* "blocks" */
    uint64_t wall_ms;   /* the ULID's time part */
    uint64_t random[2]; /* the ULID's random part */
    uint32_t level;
    uint64_t sequence;
};
enum tsdb_status block_writer_open(const struct block_writer_options *o, struct block_writer **out,
                                   struct tsdb_error *err) TSDB_WUR;
/* After a failure of any call only abort (or finish, which then fails) is left.
 * Series come in label order (tsdb_labels_compare), each once. labels are copied. */
enum tsdb_status block_writer_series(struct block_writer *w, const struct tsdb_labels *labels,
                                     struct tsdb_error *err) TSDB_WUR;
/* Chunks of the series added last, in time order, not overlapping. `encoded` as chunk_encode made
 * it; NULL: encoded here. */
enum tsdb_status block_writer_chunk(struct block_writer *w, const struct chunk_samples *samples,
                                    const uint8_t *encoded, size_t encoded_len,
                                    struct tsdb_error *err) TSDB_WUR;
/* The samples as chunks of the series added last: as few and long as they may be, one kind each. */
enum tsdb_status block_writer_pieces(struct block_writer *w, const struct piece_columns *c,
                                     struct tsdb_error *err) TSDB_WUR;
/* The first and the last time of what has been added; false: no chunk yet. */
bool block_writer_times(const struct block_writer *w, int64_t *out_min_ms, int64_t *out_max_ms);
/* Range of the block, then make it durable and visible. A block without series is not written:
 * NOT_FOUND. INVALID when a chunk lies outside of the range (max_ms INT64_MAX has no end). The
 * writer is gone after. After an error there is no block, unless the last step failed twice or the
 * machine stopped in it: then there is the whole block. If so, and this process lives, out->ulid has its
 * name, for blocks_disown; it is "" after any other error. */
enum tsdb_status block_writer_finish(struct block_writer *w, int64_t min_ms, int64_t max_ms,
                                     struct block_meta *out, struct tsdb_error *err) TSDB_WUR;
void block_writer_abort(struct block_writer *w); /* removes what was written; NULL is fine */

/* ---- reading ---- */
struct block;
/* O(1) reads of the index. CORRUPT, UNSUPPORTED, IO, NOMEM. `cache` outlives the block. */
enum tsdb_status block_open(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                            struct cache_l2 *cache, struct block **out,
                            struct tsdb_error *err) TSDB_WUR;
void block_close(struct block *b); /* NULL is fine */
/* What its meta.json alone says, of a block that need not be whole. CORRUPT (a missing one, too),
 * UNSUPPORTED, IO, NOMEM. */
enum tsdb_status block_meta_read(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                                 struct block_meta *out, struct tsdb_error *err) TSDB_WUR;
const struct block_meta *block_meta(const struct block *b);
uint64_t block_id(const struct block *b); /* unique in this process: key of the L1 cache */
/* What the cache of pages would hold of all of it. */
uint64_t block_pages_bytes(const struct block *b);

/* Series ids that match all matchers, rising (= label order), into arena memory; no matcher: all.
 * request may be NULL. */
enum tsdb_status block_select(const struct block *b, const struct index_matcher *const *matchers,
                              uint32_t matcher_count, const struct tsdb_request *request,
                              struct tsdb_arena *arena, uint32_t **out_ids, uint32_t *out_count,
                              struct tsdb_error *err) TSDB_WUR;
/* Labels of a series; array and strings from the arena. */
enum tsdb_status block_labels(const struct block *b, uint32_t id, struct tsdb_arena *arena,
                              struct tsdb_labels *out, struct tsdb_error *err) TSDB_WUR;
/* The same of many, rising: the labels are valid until the next call. One thread; *c NULL to begin with, made
 * when it is asked for the first time, of this block. */
struct index_disk_cursor;
enum tsdb_status block_labels_next(const struct block *b, struct index_disk_cursor **c, uint32_t id,
                                   struct tsdb_labels *out, struct tsdb_error *err) TSDB_WUR;
void block_labels_end(struct index_disk_cursor **c);
/* A series by its labels: NOT_FOUND if the block lacks it. */
enum tsdb_status block_find(const struct block *b, const struct tsdb_labels *labels,
                            uint32_t *out_id, struct tsdb_error *err) TSDB_WUR;
struct block_chunk {
    struct chunk_summary summary;
    enum tsdb_sample_kind kind;
    uint64_t offset; /* in the chunks file: key of the L1 cache */
    uint32_t len;    /* of the record there */
};
/* Chunk headers of a series that overlap the range, in time order, from the arena. */
enum tsdb_status block_chunks(const struct block *b, uint32_t id, struct tsdb_time_range range,
                              struct tsdb_arena *arena, struct block_chunk **out,
                              uint32_t *out_count, struct tsdb_error *err) TSDB_WUR;
/* The last of them, of many series, going up. One thread; *c NULL to begin with, made when it is asked for the first
 * time, of this block. */
struct index_disk_newest;
enum tsdb_status block_newest_next(const struct block *b, struct index_disk_newest **c, uint32_t id,
                                   struct tsdb_time_range range, bool *out_any,
                                   struct block_chunk *out, struct tsdb_error *err) TSDB_WUR;
void block_newest_end(struct index_disk_newest **c);
/* Read, check and decode one chunk; arrays from the arena. */
enum tsdb_status block_chunk_read(const struct block *b, const struct block_chunk *c,
                                  struct tsdb_arena *arena, struct chunk_samples *out,
                                  struct tsdb_error *err) TSDB_WUR;
/* Its record as it stands in the pages (docs/format/block.md), for tools; bytes from the arena. */
enum tsdb_status block_chunk_record(const struct block *b, const struct block_chunk *c,
                                    struct tsdb_arena *arena, struct tsdb_slice *out,
                                    struct tsdb_error *err) TSDB_WUR;
/* Distinct label names, values of a name (sorted). fn false stops. Strings are valid during the
 * call. */
typedef bool (*block_string_fn)(void *arg, const char *s, uint32_t len);
enum tsdb_status block_names(const struct block *b, block_string_fn fn, void *arg,
                             struct tsdb_error *err) TSDB_WUR;
enum tsdb_status block_values(const struct block *b, const char *name, uint32_t name_len,
                              block_string_fn fn, void *arg, struct tsdb_error *err) TSDB_WUR;
/* Check every section and chunk of the block, read from the disk again (not from the cache).
 * CORRUPT names the place. */
enum tsdb_status block_verify(const struct block *b, struct tsdb_error *err) TSDB_WUR;

/* ---- the directory of blocks ---- */
/* Remove what writers and removers left unfinished ("*.tmp"). For whoever owns the directory,
 * before anybody writes there. A directory that is not there is clean. */
enum tsdb_status block_dir_clean(const struct tsdb_fs *fs, const char *dir, uint32_t *out_removed,
                                 struct tsdb_error *err) TSDB_WUR;
/* ULIDs of the blocks, rising; the array from the arena. Other names are left out. A directory that
 * is not there is empty. */
struct block_name {
    char ulid[BLOCK_ULID_CHARS + 1];
};
enum tsdb_status block_dir_list(const struct tsdb_fs *fs, const char *dir, struct tsdb_arena *arena,
                                struct block_name **out, uint32_t *out_count,
                                struct tsdb_error *err) TSDB_WUR;
/* Delete a block: out of sight first (renamed to .tmp, durable), then its files. Readers that have
 * it open go on. After an error in the second part, block_dir_clean does the rest. */
enum tsdb_status block_remove(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                              struct tsdb_error *err) TSDB_WUR;

#endif
