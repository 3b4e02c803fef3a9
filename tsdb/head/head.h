/* The head of one partition: its series and their recent samples, in memory.
 *
 * Per series a hot struct of 40 bytes (open tail, its count and bytes, newest time, newest float and
 * its epoch, generation) and an append-only tail. Plain floats are coded as they
 * come (compress/sample_stream.h), in a block that grows from 64 bytes to 768 bytes, or up to
 * head_chunk_samples_set; all else stands in columns, which grow 4, 9, 39 up to
 * TSDB_CHUNK_SAMPLES. Then it becomes a sealed chunk as it is; the sealer replaces that by a
 * reference into a head file (tsdb/head/sealed.h). Coded floats of 64 neighbouring series are sealed
 * together, when their blocks reach a budget or one of them ends. Samples older than the series' newest go to its
 * out-of-order buffer: append-only, unsorted, sealed (sorted, split by window) at as many samples as
 * an open chunk of its kind has. A tail or chunk holds one sample kind; a change of kind, or of "has start
 * timestamps", seals early, and so does a sample of another window (tsdb/head/sealed.h).
 *
 * Invariants:
 *  1. Only the owner changes anything. Readers hold an epoch guard.
 *  2. Data is written before the count that covers it is published (release); readers load the
 *     count (acquire) and read no further. Tail, count and bytes are one word.
 *  3. Sealing publishes the chunk list first, then the new tail. Readers load the tail first, then
 *     the list, and skip a tail that they also find in the list: a sample is never seen twice and
 *     never missed. Out-of-order buffers likewise, known by a number.
 *  4. Replaced memory goes to the partition's limbo list.
 *  5. No two samples of a series in memory have the same time: exact duplicates are no-ops, others
 *     are refused. Against chunks in files nothing is checked; the first written wins on read.
 *  6. Hot structs live in slabs that never move, found by local id >> 12 in a directory.
 */
#ifndef TSDB_HEAD_HEAD_H
#define TSDB_HEAD_HEAD_H

#include "base/arena.h"
#include "base/epoch.h"
#include "index/mem/index_mem.h"
#include "model/batch.h"
#include "model/matcher.h"
#include "tsdb/chunk/piece.h"

struct head_partition;
struct head_sealed;

/* Relaxed atomics: written by the owner, read by stats. */
struct head_counters {
    _Atomic(uint64_t) series_created, chunks, samples, histograms, exemplars;
    _Atomic(uint64_t) duplicates, out_of_order;
    _Atomic(uint64_t) rejected[TSDB_REJECT_COUNT];
    _Atomic(int64_t) min_time_ms, max_time_ms;
};

enum tsdb_status head_partition_create(uint32_t id, struct tsdb_epoch *epoch,
                                       uint32_t exemplars_max,
                                       struct head_partition **out) TSDB_WUR;
/* Where exemplars of many partitions lie, `max` of them in all; the oldest goes first. Outlives the
 * partitions that use it. A partition that was created with exemplars_max > 0 has one of its own
 * until head_exemplars_share, which comes before the first exemplar. */
struct head_exemplar_store;
enum tsdb_status head_exemplar_store_create(uint32_t max,
                                            struct head_exemplar_store **out) TSDB_WUR;
void head_exemplar_store_destroy(struct head_exemplar_store *s); /* NULL is fine */
void head_exemplars_share(struct head_partition *p, struct head_exemplar_store *s);
/* Before the first sample. range_ms: length of the windows (0: one window for all time);
 * range_max_ms: of those of old samples, at most (0: all are range_ms long). seal:
 * somebody takes sealed chunks to files (tsdb/engine/sealer.h); else they stay as they are. */
void head_partition_configure(struct head_partition *p, int64_t range_ms, int64_t range_max_ms,
                              bool seal);
/* Likewise: an open chunk of plain floats is sealed at so many samples, 1..
 * TSDB_HEAD_CHUNK_SAMPLES_MAX. TSDB_CHUNK_SAMPLES until this is called. */
void head_chunk_samples_set(struct head_partition *p, uint32_t samples);
/* Likewise: the open chunks of plain floats of 64 neighbouring series are sealed together when their blocks
 * have so many bytes. fixed > 0: that is it. Else the partition's series share open_bytes, and get no less
 * than TSDB_HEAD_BUNDLE_BYTES; 0 (as both are until this is called): never for that. */
void head_bundle_bytes_set(struct head_partition *p, uint32_t fixed, uint64_t open_bytes);
void head_partition_destroy(struct head_partition *p);

/* As it is published now: under a guard, or the owner. */
struct index_mem *head_index(const struct head_partition *p);
/* The same, pinned: index_mem_unpin. Takes a guard. */
struct index_mem *head_index_pin(const struct head_partition *p);
const struct head_counters *head_counters(const struct head_partition *p);
/* Free what readers have let go of, if more than bytes_min wait for it; returns the bytes freed.
 * Owner. */
uint64_t head_reclaim(struct head_partition *p, uint64_t bytes_min);

/* ---- the owner ---- */
/* Of labels that no series has. */
enum tsdb_status head_series_create(struct head_partition *p, const struct tsdb_labels *labels,
                                    uint64_t hash, uint32_t *out_local,
                                    struct tsdb_error *err) TSDB_WUR;
enum tsdb_status head_series_find_or_create(struct head_partition *p,
                                            const struct tsdb_labels *labels, uint64_t hash,
                                            uint32_t *out_local, bool *out_created,
                                            struct tsdb_error *err) TSDB_WUR;
/* Ask the caches for what a look-up by labels of this hash reads first. */
void head_series_find_prefetch(const struct head_partition *p, uint64_t hash);
/* Recovery: ids below `end` that were not given out are those of series that have left. No reader may
 * exist. NOMEM. */
enum tsdb_status head_ids_skip(struct head_partition *p, uint32_t end) TSDB_WUR;
/* Of a series that has left: no entry has it, so none is applied. */
#define HEAD_GENERATION_GONE  0u
#define HEAD_GENERATION_FIRST 1u
#define HEAD_GENERATION_MAX   UINT16_MAX /* an alias has so much room */
/* Which entries with the series' id are to be applied: those with this number. HEAD_GENERATION_GONE of
 * a series that has left. Ids are not reused. */
uint32_t head_generation(const struct head_partition *p, uint32_t local);
void head_prefetch(const struct head_partition *p, uint32_t local);
/* read_ahead.c: three stages of fetching what a read will touch, each some time after the one before.
 * Under a guard. */
void head_read_ahead_hot(const struct head_partition *p, uint32_t local);
void head_read_ahead_pieces(const struct head_partition *p, uint32_t local);
void head_read_ahead_chunks(const struct head_partition *p, uint32_t local);
/* After the first stage: what head_newest_float will touch. */
void head_read_ahead_newest(const struct head_partition *p, uint32_t local);
/* Time of the newest sample; false without one. */
bool head_last_time(const struct head_partition *p, uint32_t local, int64_t *out_ms);

enum head_append_outcome {
    HEAD_APPENDED = 0,
    HEAD_APPENDED_OUT_OF_ORDER,
    HEAD_DUPLICATE_SAME,     /* same time, same bits: counts as written, not logged */
    HEAD_DUPLICATE_CONFLICT, /* refused */
    HEAD_NOMEM,
};
/* value: float bits, or pointer to struct tsdb_raw_histogram (the raw bytes are copied); start_ms:
 * 0 = none. */
enum head_append_outcome head_append(struct head_partition *p, uint32_t local, int64_t t_ms,
                                     int64_t start_ms, enum tsdb_sample_kind kind, uint64_t value);
/* Recovery: plain floats without start times, in the order in which they came; as head_append of the first ones of
 * them, coded into a block of the right size at once. Returns how many those are: what one open chunk holds, if the
 * series has none open and they are newer than all it has. 0: none, also if there is no memory (head_append says so). */
uint32_t head_floats_load(struct head_partition *p, uint32_t local, const int64_t *t_ms,
                          const uint64_t *value, uint32_t count);
/* The base for WAL packing: the last float of the series logged in `epoch`; head_wal_logged records
 * one that has been appended. False: it is not the newest of an open stream, and is not kept; the series has no
 * base. Replay uses both with its own decode generation as `epoch`. */
bool head_wal_base(const struct head_partition *p, uint32_t local, uint64_t epoch,
                   uint64_t *out_bits);
bool head_wal_logged(struct head_partition *p, uint32_t local, uint64_t epoch, uint64_t bits);
/* Have the labels of the series been written to the log or to series.log? Memory mode logs them
 * when a request first asks for its samples to be logged. */
bool head_labels_logged(const struct head_partition *p, uint32_t local);
void head_labels_logged_set(struct head_partition *p, uint32_t local);
/* Exemplars of a series come in order of time; several may have one time, the same again is no news
 * (OK). OUT_OF_ORDER: older than the newest; LIMIT: HEAD_EXEMPLARS_AT_ONCE of that time are there;
 * INVALID, NOMEM. */
#define HEAD_EXEMPLARS_AT_ONCE 64u
enum tsdb_status head_exemplar_append(struct head_partition *p, uint32_t local,
                                      const struct tsdb_exemplar *x) TSDB_WUR;
/* All exemplars of the store that p shares, in order of time from now on, as if they had come so: what a
 * checkpoint loaded partition by partition, before the log adds to it. Then it is the oldest that go
 * first. The opener. */
void head_exemplars_settle(struct head_partition *p);
/* Slices over the series [from, from + count); each returns the chunks that it sealed or dropped.
 *   seal    tails and out-of-order buffers with samples of windows that begin before before_ms;
 *           what finds no memory stays open
 *   sweep   chunks that are in the blocks of every open view: 0 < flushed_in <= view
 *   drop    chunks whose newest sample is older than min_ms */
uint64_t head_seal_before(struct head_partition *p, uint32_t from, uint32_t count,
                          int64_t before_ms);
uint64_t head_sweep(struct head_partition *p, uint32_t from, uint32_t count, uint64_t view);
uint64_t head_drop_before(struct head_partition *p, uint32_t from, uint32_t count, int64_t min_ms);
/* Ids given out: those of series that have left are among them. */
uint32_t head_series_count(const struct head_partition *p);

/* ---- leaving (leave.c): the owner ----
 *
 * A series is idle when it has no samples here, open or sealed (they are in blocks of every open view,
 * or were dropped), and its last one was a stale marker or is older than silent_ms. Idle series leave
 * when the partition's index is made anew, in slices over the ids, without them:
 *
 *   count   how many are idle; at the end: is it worth it?
 *   copy    those that are not, to the next index; idle ones are marked, and get another generation, so
 *           that who knows them by an alias asks by labels. At the end the next index is published,
 *           unless one of the marked was asked for meanwhile: then nobody leaves.
 *   settle  hot structs of those who have left are cleared, slabs without others freed; returns how
 *           many they are
 *
 * Each of the three over all ids before the next; [from, from + count) as below. */
void head_leave_count(struct head_partition *p, uint32_t from, uint32_t count, int64_t silent_ms);
void head_leave_copy(struct head_partition *p, uint32_t from, uint32_t count, int64_t silent_ms,
                     int64_t now_ns);
uint64_t head_leave_settle(struct head_partition *p, uint32_t from, uint32_t count);
/* Somebody asked for the series by its labels: it stays. */
void head_series_wanted(struct head_partition *p, uint32_t local);

/* ---- readers, under a guard ---- */
/* Floats that are coded (compress/sample_stream.h). */
struct head_stream {
    const uint8_t *tokens;
    uint32_t bytes, count; /* 0 samples: it is none */
    int64_t first_ms;
    uint64_t first_bits;
};
/* What a series has, sealed first, in the order of writing. */
struct head_pieces {
    struct piece *items;          /* [count]; the columns of one that is in a file are NULL */
    struct head_sealed **in_file; /* [count]; NULL: in memory. Valid under the guard */
    struct head_stream *streams;  /* [count]; what becomes the columns of those that are streams */
    uint32_t count;
    uint32_t in_files; /* how many of them */
};
/* Which chunks a reader leaves out because its blocks have them: 0 < flushed_in <= view. */
#define HEAD_VIEW_NONE UINT64_C(0)      /* a reader without blocks leaves out nothing */
#define HEAD_VIEW_ALL  (UINT64_MAX - 1) /* all that are in any block */
/* May the series have a sample in the range, blocks of the view left out? By the bounds of its pieces.
 * Under a guard. */
bool head_may_have(const struct head_partition *p, uint32_t local, struct tsdb_time_range range,
                   uint64_t view);
/* The newest sample of a series, where that is known without reading any: it lies in an open chunk of
 * plain floats (no start timestamp), and the owner is not just changing it. False: head_read knows. Under
 * a guard. */
bool head_newest_float(const struct head_partition *p, uint32_t local, int64_t *out_ms,
                       uint64_t *out_bits);
/* All pieces of a series, sealed ones first, in order; into arena memory. Under a guard. */
enum tsdb_status head_pieces(const struct head_partition *p, uint32_t local, uint64_t view,
                             struct tsdb_arena *arena, struct head_pieces *out) TSDB_WUR;
/* The pieces that may have samples that are wanted, in the order of head_pieces, copied and decoded:
 * all in arena memory. Takes a guard of its own and reads files after it. CORRUPT, IO, NOMEM,
 * LIMIT. */
enum tsdb_status head_collect(const struct head_partition *p, uint32_t local,
                              struct chunk_want *want, uint64_t view, struct tsdb_arena *arena,
                              struct piece **out, uint32_t *out_count,
                              struct tsdb_error *err) TSDB_WUR;
/* Merged, sorted, within the range, decoded to columns; copies. Takes a guard of its own; without
 * chunks in files nothing is copied twice. (select) */
enum tsdb_status head_read(const struct head_partition *p, uint32_t local,
                           struct tsdb_time_range range, uint64_t view, struct tsdb_arena *arena,
                           struct tsdb_columns *out, struct tsdb_error *err) TSDB_WUR;
/* The same without what nobody wants. */
enum tsdb_status head_read_wanted(const struct head_partition *p, uint32_t local,
                                  struct chunk_want *want, uint64_t view, struct tsdb_arena *arena,
                                  struct tsdb_columns *out, struct tsdb_error *err) TSDB_WUR;
typedef bool (*head_exemplar_fn)(void *arg, uint32_t local, const struct tsdb_exemplar *x);
/* Exemplars of the partition, oldest first. Takes the lock of the store (rank TSDB_METADATA), shared
 * with the owners' rare head_exemplar_append. */
void head_exemplars(struct head_partition *p, head_exemplar_fn fn, void *arg);
/* The whole-structure check. Owner. */
enum tsdb_status head_validate(const struct head_partition *p, struct tsdb_error *err) TSDB_WUR;

#endif
