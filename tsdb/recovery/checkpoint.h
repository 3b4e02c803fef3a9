/* Checkpoints: one file with the samples of every partition, so that the log before it can go.
 * Chunks that lie in head files are referred to, not repeated; what blocks have is left out.
 *
 * On the data path: heads -> checkpoint_write -> checkpoint/NNNNNNNN; recovery: checkpoint_open ->
 * checkpoint_load -> heads.
 *
 *   header | pages of partition 0 | pages of partition 1 | ... | directory | footer
 *
 * A page (about 1 MiB) belongs to one partition and holds names: which series an id is, by a hash of
 * its labels; or runs: samples of one series in columns, or where they are in a head file. Each section has its CRC, pages and directory seeded with the
 * checkpoint's number and the offset. Format: docs/format/checkpoint.md.
 *
 * Invariants:
 *  1. A file without ".tmp" is whole: it was synced before it was renamed, the directory after.
 *  2. It holds every sample with a log sequence up to the partition's mark (except what retention
 *     dropped), and maybe newer ones: replaying those is a no-op.
 *  3. It holds samples only of series below info.series[partition], which series.log describes
 *     within info.series_log.
 *  4. Writing streams: memory is bounded by about a page and the samples of the largest series. A
 *     guard is held for the encoding of one series, never during a file operation.
 *
 * Threads: writing any one; a reader's checkpoint_load from several, for distinct partitions.
 */
#ifndef TSDB_RECOVERY_CHECKPOINT_H
#define TSDB_RECOVERY_CHECKPOINT_H

#include "base/epoch.h"
#include "base/file.h"
#include "tsdb/head/head.h"
#include "tsdb/head/partition.h"
#include "tsdb/recovery/series_log.h"

#define CHECKPOINT_HEADER_BYTES      128
#define CHECKPOINT_PAGE_HEADER_BYTES 24
#define CHECKPOINT_ENTRY_BYTES       64 /* of the directory, one per partition */
#define CHECKPOINT_DIRECTORY_BYTES   (TSDB_PARTITIONS * CHECKPOINT_ENTRY_BYTES)
#define CHECKPOINT_FOOTER_BYTES      32
#define CHECKPOINT_PAGE_BYTES        (1u << 20) /* a page is closed when it reaches this */
#define CHECKPOINT_PAGE_BYTES_MAX    (4u << 20) /* payload; a page ends at most one run later */
#define CHECKPOINT_RUN_SAMPLES_MAX   1024
/* Histograms: a run ends at the sample that reaches this. */
#define CHECKPOINT_RUN_RAW_BYTES (256u << 10)
static_assert(CHECKPOINT_PAGE_BYTES + CHECKPOINT_RUN_RAW_BYTES + TSDB_HISTOGRAM_BYTES_MAX +
                      CHECKPOINT_RUN_SAMPLES_MAX * 40 + 64 <=
                  CHECKPOINT_PAGE_BYTES_MAX,
              "a page and one run more fit");

struct checkpoint_info {
    uint64_t number;                   /* 1, 2, ...; names the file */
    uint64_t wal_segment;              /* replay starts at this segment */
    struct series_log_mark series_log; /* series.log is relied upon up to here */
    int64_t created_ms;                /* wall time */
    uint32_t ahead_s;                  /* wall time less the time that retention believed */
    struct partition_mark marks[TSDB_PARTITIONS];
    uint32_t series[TSDB_PARTITIONS]; /* series relied upon: local ids 0 .. series-1 */
    uint64_t head_file_next;          /* every number of a head file so far is below */
    uint64_t head_file_first;         /* the least that it refers to; 0: none. Set by the writer */
};

/* ---- writing ---- */
struct checkpoint_source {
    const struct tsdb_fs *fs;
    struct tsdb_epoch *epoch;
    struct head_partition *const *heads; /* [TSDB_PARTITIONS] */
    const _Atomic(uint32_t) *cancel;     /* not 0: stop with CANCELLED; NULL: never */
};
/* Write checkpoint/<number> and make it durable. On failure nothing is left behind but, at worst, a
 * .tmp file. info->head_file_first is set; *out_bytes: size of the file. OK, IO, NOMEM, CANCELLED. */
enum tsdb_status checkpoint_write(const struct checkpoint_source *source,
                                  struct checkpoint_info *info, uint64_t *out_bytes,
                                  struct tsdb_error *err) TSDB_WUR;
/* Move it to quarantine/checkpoint-<stamp>-<number>, durably. */
enum tsdb_status checkpoint_set_aside(const struct tsdb_fs *fs, uint64_t number, uint64_t stamp,
                                      struct tsdb_error *err) TSDB_WUR;
/* Remove every checkpoint with a lower number, durably. */
enum tsdb_status checkpoint_remove_before(const struct tsdb_fs *fs, uint64_t number,
                                          struct tsdb_error *err) TSDB_WUR;

/* ---- reading ---- */
/* The highest number below `below` that exists; NOT_FOUND if there is none. */
enum tsdb_status checkpoint_newest(const struct tsdb_fs *fs, uint64_t below, uint64_t *out_number,
                                   struct tsdb_error *err) TSDB_WUR;

struct checkpoint_reader;
/* Open and check header, directory and footer. CORRUPT, UNSUPPORTED (another format version), IO,
 * NOMEM. */
enum tsdb_status checkpoint_open(const struct tsdb_fs *fs, uint64_t number,
                                 struct checkpoint_reader **out, struct tsdb_error *err) TSDB_WUR;
void checkpoint_close(struct checkpoint_reader *r); /* NULL is fine */
const struct checkpoint_info *checkpoint_info(const struct checkpoint_reader *r);
uint64_t checkpoint_bytes(const struct checkpoint_reader *r); /* size of the file */
/* Check the CRC of every page, of all partitions or of one. OK, CORRUPT (err->pos: offset of the page), IO,
 * NOMEM. */
enum tsdb_status checkpoint_verify(const struct checkpoint_reader *r,
                                   struct tsdb_error *err) TSDB_WUR;
enum tsdb_status checkpoint_verify_partition(const struct checkpoint_reader *r, uint32_t partition,
                                             struct tsdb_error *err) TSDB_WUR;

/* Samples of one series, decoded; valid during the call. */
struct checkpoint_run {
    uint32_t local;
    enum tsdb_sample_kind kind;
    uint32_t count;
    const int64_t *t_ms;     /* any order */
    const int64_t *start_ms; /* NULL: none */
    const uint64_t *value;   /* float bits, or pointer to struct tsdb_raw_histogram (unchecked) */
};
/* A sealed chunk in a head file. */
struct checkpoint_chunk {
    uint32_t local, count;
    uint8_t partition;
    uint64_t mask; /* of a bundle: which of the series from `local` on; else 0 */
    enum tsdb_sample_kind kind;
    bool late;
    int64_t min_ms, max_ms; /* min <= max */
    uint64_t file, offset;
    uint32_t identity; /* of the file */
    uint32_t len;
};
struct checkpoint_damage {
    uint64_t from, to;                /* bytes of the file */
    uint32_t local_first, local_last; /* it may have had anything of these series, of no other */
    const char *why;
};
struct checkpoint_sink {
    void *arg;
    enum tsdb_status (*run)(void *arg, const struct checkpoint_run *run, struct tsdb_error *err);
    /* NULL: a checkpoint with such chunks is refused. Runs and chunks of a series come in the order
     * of the series' list. */
    enum tsdb_status (*chunk)(void *arg, const struct checkpoint_chunk *c, struct tsdb_error *err);
    /* The newest sample of the series that lies in a bundle; NULL as above. */
    enum tsdb_status (*last)(void *arg, uint32_t local, int64_t t_ms, struct tsdb_error *err);
    enum tsdb_status (*exemplar)(void *arg, uint32_t local, const struct tsdb_exemplar *x,
                                 struct tsdb_error *err);
    /* Which series the id is: checkpoint_name of the hash of its labels. Before all else of the partition. NULL:
     * not wanted. */
    enum tsdb_status (*name)(void *arg, uint32_t local, uint32_t name, struct tsdb_error *err);
    /* A stretch of the file is no page of the partition, or does not make sense; it is left out. NULL: that
     * ends the loading with CORRUPT. */
    void (*damage)(void *arg, const struct checkpoint_damage *d);
};
static inline uint32_t checkpoint_name(uint64_t labels_hash)
{
    return (uint32_t)labels_hash;
}
/* Hand the partition's content to the sink, in file order. Bytes are checked as untrusted. Stops at
 * the first status of the sink that is not OK. CORRUPT, IO, NOMEM. */
enum tsdb_status checkpoint_load(const struct checkpoint_reader *r, uint32_t partition,
                                 const struct checkpoint_sink *sink,
                                 struct tsdb_error *err) TSDB_WUR;

#endif
