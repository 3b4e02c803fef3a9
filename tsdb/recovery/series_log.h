/* series.log: the labels of every series, appended once, in the order of local ids.
 *
 * On the data path: checkpoint (a series that is new since the last one) -> here; recovery reads it
 * before anything else. The log's SERIES frames cover a series until the checkpoint that relies on
 * its record here.
 *
 *   header | record | record | ...     a record: length, CRC, partition, local id, canonical labels
 *
 * What ids mean stands nowhere else. So whoever stores ids in another file (a checkpoint, the
 * references of a block) stores a mark with them: who this file is, how long it was, and the CRC of
 * its last record, which continues that of the record before, and so speaks of all of them. A file
 * whose mark this one does not have at that place comes from another moment or another life, as a
 * copy of a running server's directory does, and its ids are not to be believed.
 *
 * Series that have left memory stay in the file until it is made anew: a successor with another
 * identity is written beside it (series_log_init_next), the checkpoint that relies on the successor
 * gets its name, and then the successor takes the file's place (series_log_settle). Which of the two
 * counts after a crash in between, the checkpoint's mark says (series_log_choose).
 *
 * Invariants:
 *  1. Per partition, ids rise; those that are left out are of series that have left. Records are never
 *     changed or removed.
 *  2. Bytes that a checkpoint relies on were synced before it was renamed into place: damage there
 *     costs the records that it hits, is said, and the file is made anew before anything is appended.
 *     What follows them is an interrupted append: its good records are kept, the rest is
 *     cut off; into quarantine/ first, where no checkpoint vouches for what is in front of it. Where that cannot
 *     be written, as on a full disk, nothing is cut: the file counts as damaged.
 *  3. A failed write or sync drops the handle; the next append opens the file anew and cuts it to
 *     what is known durable.
 *
 * Format: docs/format/series-log.md. Threads: one at a time (recovery, then whoever writes the
 * checkpoint).
 */
#ifndef TSDB_RECOVERY_SERIES_LOG_H
#define TSDB_RECOVERY_SERIES_LOG_H

#include "base/file.h"
#include "base/limits.h"
#include "base/random.h"
#include "model/labels.h"

#define SERIES_LOG_HEADER_BYTES   36
#define SERIES_LOG_IDENTITY_BYTES 16
#define SERIES_LOG_RECORD_BYTES   8 /* length and CRC in front of a payload */
#define SERIES_LOG_PAYLOAD_MAX    (1u + 5u + TSDB_LABELS_BYTES_MAX)
#define SERIES_LOG_WINDOW_BYTES   (4u << 20) /* read at once; a record always fits */
#define SERIES_LOG_WINDOW_RECORDS 65536
#define SERIES_LOG_WINDOWS_MAX    16u /* that a sink may work on at once */

/* A place in one life of the file: between two records. */
struct series_log_mark {
    uint8_t identity[SERIES_LOG_IDENTITY_BYTES]; /* random, of the file */
    uint64_t bytes;                              /* up to there; 0: nothing, fits always */
    uint64_t last_at;                            /* offset of the last record; 0: there is none */
    uint32_t last_crc;                           /* its CRC; without one the header's */
};

struct series_log {
    const struct tsdb_fs *fs;
    struct tsdb_random random;
    const char *name;       /* of the file: DATADIR_SERIES_LOG, or _NEXT until it takes its place */
    struct tsdb_file *file; /* open for appending, or NULL */
    struct series_log_mark durable_mark, appended_mark; /* bytes: as bytes_durable, _appended */
    uint64_t bytes_durable;                             /* synced; 0: the file need not exist */
    uint64_t bytes_appended;                            /* buffered bytes included */
    uint32_t durable[TSDB_PARTITIONS];          /* next id of each partition within bytes_durable */
    uint32_t appended[TSDB_PARTITIONS];         /* within bytes_appended */
    uint64_t records_durable, records_appended; /* of series */
    uint64_t holes_durable, holes_appended;
    bool
        damaged; /* records are missing from it: nothing is appended, a successor takes its place */
    struct tsdb_buf buf;
};

/* fs: rooted at the data directory, outlives `s`. random: gives a new file its identity. */
void series_log_init(struct series_log *s, const struct tsdb_fs *fs, struct tsdb_random random);
void series_log_deinit(struct series_log *s); /* closes; writes nothing */

/* The first bytes of the file: OK; UNSUPPORTED for another format version; CORRUPT. */
enum tsdb_status series_log_header_check(const uint8_t *data, size_t len,
                                         struct tsdb_error *err) TSDB_WUR;

struct series_log_record {
    uint32_t partition;
    uint32_t local;
    /* Canonical bytes, unchecked beyond the CRC; empty: a hole, an id without a series. */
    struct tsdb_slice labels;
    uint32_t next; /* the next one of its partition in the window; UINT32_MAX: none */
    /* For the loader. */
    const uint8_t *bytes;
    uint64_t offset;
    uint32_t crc_before;
};
/* Good records in file order, of one stretch of the file. */
struct series_log_window {
    uint32_t
        number; /* below the sink's `windows`: 0, 1, .. and again, of which some may be left out */
    const struct series_log_record *records;
    uint32_t count;                  /* one at least */
    uint64_t partitions;             /* bits: those that have records here */
    uint32_t first[TSDB_PARTITIONS]; /* of these */
};

struct series_log_sink {
    void *arg;
    /* The window is the sink's until `wait` for its number has returned; without `wait`, until this one has. */
    enum tsdb_status (*apply)(void *arg, const struct series_log_window *window,
                              struct tsdb_error *err);
    /* Be done with a window, which is overwritten next; of one that it was not given there is nothing to wait
     * for. Called before the loader returns, too, for all of them. NULL: not needed. */
    enum tsdb_status (*wait)(void *arg, uint32_t number, struct tsdb_error *err);
    uint32_t windows; /* how many it may have at once, up to SERIES_LOG_WINDOWS_MAX; 0 is 1 */
};
struct series_log_found {
    uint64_t cut_bytes;      /* of an interrupted append; they were cut off */
    uint64_t damaged_ranges; /* of what is relied upon: bytes without a good record, left out */
    uint64_t damaged_bytes;
    uint64_t damaged_first;
    uint64_t missing_bytes; /* that are relied upon and lie beyond its end; all: there is no file */
};
/* Read the file from the beginning, leave out what is damaged, cut a torn tail, make the rest durable, and be
 * ready to append, or s->damaged.
 *   marks   of the checkpoints that there are: those of this file's life say up to where it is relied upon; a
 *           header that is damaged is told from them
 *   sink    gets what is good, window by window; those that it still has do not hold up the next
 *   stamp   Unix ms, for the names of what goes to quarantine/
 * Returns OK, also when there is no file; UNSUPPORTED for another format version; whatever apply returns;
 * IO, NOMEM. */
enum tsdb_status series_log_load(struct series_log *s, const struct series_log_mark *marks,
                                 uint32_t mark_count, uint64_t stamp,
                                 const struct series_log_sink *sink, struct series_log_found *out,
                                 struct tsdb_error *err) TSDB_WUR;
/* Has this file, as far as it is durable, the mark? OK; NOT_FOUND if not (err says why); IO. */
enum tsdb_status series_log_fits(const struct series_log *s, const struct series_log_mark *mark,
                                 struct tsdb_error *err) TSDB_WUR;

/* Ids below `local` that have no record yet get none: their series have left. */
void series_log_skip(struct series_log *s, uint32_t partition, uint32_t local);
/* Append the next series of the partition (its local id is s->appended[partition]); labels->count 0
 * records a hole: an id without a series, so that the next one is known. Buffered. On failure everything since the last commit is forgotten, here and, by
 * the next append, in the file. */
enum tsdb_status series_log_append(struct series_log *s, uint32_t partition,
                                   const struct tsdb_labels *labels,
                                   struct tsdb_error *err) TSDB_WUR;
/* Write and sync what was appended; s->bytes_durable is then what a checkpoint may rely on. Nothing
 * appended costs nothing. On failure as series_log_append. */
enum tsdb_status series_log_commit(struct series_log *s, struct tsdb_error *err) TSDB_WUR;

/* ---- a successor ---- */

/* An empty log that is to take the place of *s. */
void series_log_init_next(struct series_log *next, const struct series_log *s);
/* A checkpoint relies on it: a successor takes its place, durably. Nothing to do for others. After a
 * failure it goes on where it is, and this may be tried again. IO. */
enum tsdb_status series_log_settle(struct series_log *s, struct tsdb_error *err) TSDB_WUR;
/* Before load: if there is a successor, and the mark is of it, it takes its place, else it goes (to
 * quarantine/ if `keep`: nothing relies on it, or something that was damaged; where the disk does not let it, it
 * stays, and is not read). IO, NOMEM. */
enum tsdb_status series_log_choose(const struct tsdb_fs *fs, const struct series_log_mark *mark,
                                   bool keep, uint64_t stamp, struct tsdb_error *err) TSDB_WUR;

#endif
