/* What the files of wal/ share. Not for other folders.
 *
 * Positions: a `lpos` counts frame bytes since the log was opened, whatever segment they went to.
 * written_lpos and synced_lpos divide the log into durable | written | not yet written; the bytes
 * between synced_lpos and the writer's own lpos are kept in chunks, because after a failed write or
 * sync they must be written again elsewhere.
 *
 *   chunks     [.......][.......][....   ]          copies, oldest first; freed by the syncer
 *   files      | segment 7 ....| segment 8 .....    open segments, oldest first; closed by it too
 *                   ^synced_lpos         ^written_lpos
 */
#ifndef WAL_WAL_PRIVATE_H
#define WAL_WAL_PRIVATE_H

#include "base/mutex.h"
#include "base/ring.h"
#include "base/turn.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

/* Of a copy; also the most that one write(2) takes, a large batch excepted. */
#define WAL_CHUNK_BYTES    (1u << 20)
#define WAL_CHUNK_POOL_MAX 8u /* free chunks kept: the steady state allocates nothing */
#define WAL_TRIM_NS        INT64_C(5000000000) /* chunks that nobody needed for so long go */
#define WAL_DRAIN_MAX      64u                 /* batches taken from one owner's ring at a time */
#define WAL_GROW_BYTES     (1u << 20)  /* zeroes at a time: what one strict batch may wait for */
#define WAL_GROW_AHEAD     (4u << 20)  /* zeroes ahead of the writer: some 100 ms at 40 MB/s */
#define WAL_GROW_FOR       (16u << 20) /* of log after a strict batch: so long zeroes go ahead */
#define WAL_SPARES_MAX     2u          /* old segments kept to be written over */
#define WAL_PATH_MAX       256u
#define WAL_SPARE_PREFIX   "spare-"
#define WAL_RESERVE_NAME   "reserve"
#define WAL_NO_TIME        INT64_MIN

/* Pauses between attempts to open a segment, while RETRYING: doubled from the first to the last. */
#define WAL_RETRY_FIRST_NS INT64_C(100000000)
#define WAL_RETRY_LAST_NS  INT64_C(5000000000)

/* An open segment. */
struct wal_file {
    struct wal_file *next; /* the newer one; guarded by the lock until set, then immutable */
    /* Immutable; written by the writer, grown and synced and closed by the syncer. */
    struct tsdb_file *handle;
    uint64_t segment;    /* immutable */
    uint64_t capacity;   /* immutable: bytes that it may hold */
    uint64_t lpos_begin; /* immutable: position of its first frame */
    uint64_t alloc_end;  /* guarded by the lock: the file's bytes exist up to here */
    bool dead;           /* guarded by the lock: poisoned, never written or synced again */
};

/* A copy of log bytes. */
struct wal_chunk {
    struct wal_chunk *next; /* guarded by the lock */
    uint64_t lpos;          /* of data[0] */
    size_t len;             /* owned by the writer */
    size_t cap;             /* immutable; WAL_END_BYTES more are allocated behind it */
    uint8_t data[];
};

struct wal_batch_list {
    struct tsdb_batch *head, *tail;
};

/* Up to where the log was synced once. sequence 0: nobody said. */
struct wal_position {
    uint64_t sequence, segment, offset;
    int64_t wall_ms;
};

/* A segment on disk, open or not. */
struct wal_live {
    uint64_t segment;
    uint64_t bytes;
    bool clean; /* written by this process without a fault: may be written over one day */
};

/* The bytes from `from` on must go to a new segment, which says that the log before it ends at
 * (prev_segment, prev_end). */
struct wal_move {
    bool due;
    uint64_t from; /* a position */
    uint64_t prev_segment, prev_end;
};

enum wal_reserve_state {
    WAL_RESERVE_NONE,
    WAL_RESERVE_MAKING,
    WAL_RESERVE_THERE
};

/* Frames that were counted in nothing yet. */
struct wal_tally {
    uint64_t bytes, frames, samples;
};

struct wal {
    /* immutable after open */
    struct wal_options o;
    char dir[WAL_PATH_MAX];
    struct tsdb_ring *rings; /* one per owner */
    uint64_t epochs_per_segment;

    struct tsdb_turn turn; /* the writer's, or of who makes a step for it (base/turn.h) */
    /* owned by who has it */
    struct wal_file *cur;          /* the file that is written; NULL: none could be opened yet */
    uint64_t offset;               /* where its next frame goes */
    uint64_t lpos;                 /* end of the newest chunk's bytes */
    struct wal_batch_list pending; /* taken from the rings, not written */
    uint32_t pending_count;
    uint64_t drained;   /* batches taken from the rings, ever */
    int64_t step_ns;    /* of the step that runs */
    int64_t trim_ns;    /* when chunks were last given back */
    uint64_t trim_lpos; /* lpos then */
    struct wal_move move;
    struct wal_tally absorbed; /* taken while RETRYING: in chunks, in no segment */
    int64_t retry_at_ns, retry_pause_ns;
    bool closing; /* the next failure is final */

    /* owned by the syncer */
    struct tsdb_file *position_file;               /* NULL: could not be opened, or failed */
    struct wal_position position, position_synced; /* as written; as it is */
    int64_t position_ns;                           /* of writing; WAL_NO_TIME: not yet */
    struct tsdb_file *reserve_file;                /* while it is being made; else NULL */
    uint64_t reserve_written;

    /* atomic */
    _Atomic(uint64_t) epoch;
    _Atomic(uint64_t) submits; /* batches submitted, ever; seq_cst, with writer_sleeping */
    /* seq_cst: either the writer sees the submit, or the submitter sees this. */
    _Atomic(uint32_t) writer_sleeping;
    _Atomic(uint32_t) state; /* enum wal_state; the writer's, release; partner: wal_state */

    /* guarded by lock (rank WAL_CONTROL); nothing blocks while it is held but the waits */
    struct tsdb_mutex lock;
    struct tsdb_cond write_cond, sync_cond;
    struct wal_file *files TSDB_GUARDED, *files_tail TSDB_GUARDED;
    struct wal_chunk *chunks TSDB_GUARDED, *chunks_tail TSDB_GUARDED, *pool TSDB_GUARDED;
    uint32_t pool_count TSDB_GUARDED;
    uint32_t pool_low TSDB_GUARDED; /* the least of it since chunks were last given back */
    uint64_t written_lpos TSDB_GUARDED, synced_lpos TSDB_GUARDED;
    uint64_t grow_until_lpos TSDB_GUARDED; /* zeroes go ahead of the writer up to here */
    /* Rises when bytes move to a new segment: a sync that ran is void. */
    uint64_t generation TSDB_GUARDED;
    bool rewrite_due TSDB_GUARDED; /* a sync failed: the writer must move the bytes */
    bool recovering TSDB_GUARDED;  /* moved, and nothing synced since: one more failure waits */
    bool growing TSDB_GUARDED;     /* the syncer writes zeroes behind alloc_end */
    bool dir_dirty TSDB_GUARDED;   /* a segment's name is not durable yet */
    bool sync_urgent TSDB_GUARDED; /* the writer waits for room, or the log is being closed */
    bool write_woken TSDB_GUARDED, sync_woken TSDB_GUARDED;
    uint64_t rotate_to TSDB_GUARDED; /* the segment that wal_rotate promised */
    /* When the oldest byte after the last sync's snapshot came; samples since that snapshot. */
    int64_t unsynced_since_ns TSDB_GUARDED;
    uint64_t unsynced_samples TSDB_GUARDED;
    /* Written, waiting for a sync; all below written_lpos. */
    struct wal_batch_list strict TSDB_GUARDED;
    struct wal_live *live TSDB_GUARDED; /* rising segment numbers */
    uint32_t live_count TSDB_GUARDED, live_cap TSDB_GUARDED;
    uint64_t spares[WAL_SPARES_MAX] TSDB_GUARDED;
    uint32_t spare_count TSDB_GUARDED;
    enum wal_reserve_state reserve_state TSDB_GUARDED;
    int64_t reserve_look_ns TSDB_GUARDED; /* not before that: is there room for one? */
    /* disk_bytes, unsynced_bytes and epoch are filled on reading. */
    struct wal_stats stats TSDB_GUARDED;
    struct tsdb_error cause TSDB_GUARDED; /* of the state; and of the last failure before */
};

/* ---- segment.c: names and files ---- */

/* "dir/00000012". out has room for WAL_PATH_MAX. */
void wal_segment_path(char *out, const char *dir, uint64_t segment);
/* A segment header, WAL_SEGMENT_HEADER_BYTES at out. */
void wal_segment_header_put(uint8_t *out, uint32_t mark, uint64_t segment, uint64_t prev_segment,
                            uint64_t prev_end);
struct wal_segment_header {
    uint32_t mark;
    uint64_t prev_segment, prev_end;
};
/* Check a header from disk. OK; CORRUPT if it is not the header of this segment; UNSUPPORTED if it
 * is one of another version. */
enum tsdb_status wal_segment_header_get(const uint8_t *header, uint64_t segment,
                                        struct wal_segment_header *out,
                                        struct tsdb_error *err) TSDB_WUR;

/* A new segment file, numbered after the newest, of `capacity` bytes; without a header yet. Out of
 * a spare if allowed and there is one. The file is not in the lists yet. NOMEM, IO. Threads: the
 * writer. */
enum tsdb_status wal_segment_create(struct wal *w, uint64_t segment, uint64_t capacity,
                                    bool may_recycle, struct wal_file **out,
                                    struct tsdb_error *err) TSDB_WUR;
/* Close and free a file that is in no list (any more). NULL is fine. */
void wal_segment_destroy(struct wal *w, struct wal_file *f);
/* The same with a file that never became part of the log: it is removed, to give its room back. */
void wal_segment_discard(struct wal *w, struct wal_file *f);
/* Put the file at the end of the lists: from now on the syncer knows it. NOMEM, then nothing
 * changed. */
enum tsdb_status wal_segment_add_locked(struct wal *w, struct wal_file *f) TSDB_WUR
    TSDB_REQUIRES(w->lock);
/* The file's bytes exist up to alloc_end now. */
void wal_segment_extend_locked(struct wal *w, struct wal_file *f, uint64_t alloc_end)
    TSDB_REQUIRES(w->lock);
/* All open files are poisoned: no more of them is written, synced or recycled. */
void wal_segment_poison_all_locked(struct wal *w) TSDB_REQUIRES(w->lock);
/* Does the newest file want zeroes? */
bool wal_segment_grow_due_locked(const struct wal *w) TSDB_REQUIRES(w->lock);
/* Write one step of them. A failure is noted as a failed sync is. Threads: the syncer. */
void wal_segment_grow(struct wal *w);
/* Read the directory: segments to `live`, spares. At open, before threads. */
enum tsdb_status wal_segment_list(struct wal *w, struct tsdb_error *err) TSDB_WUR;

/* Zeroes from `from` to `to`. */
enum tsdb_status wal_zeroes_write(struct wal *w, struct tsdb_file *f, uint64_t from, uint64_t to,
                                  struct tsdb_error *err) TSDB_WUR;

/* ---- reserve.c ---- */

void wal_reserve_start(struct wal *w); /* at open: one that is there is taken over, or removed */
/* The disk is full: give the reserve's room back. False: there is none. Threads: the writer. */
bool wal_reserve_release(struct wal *w);
/* Make one if there is none and the disk has room; a MiB a step. Threads: the syncer. */
void wal_reserve_step(struct wal *w, int64_t now_ns);
/* remove: nobody needs it any more. Caller is alone. */
void wal_reserve_stop(struct wal *w, bool remove);

/* ---- writer.c ---- */

/* The first segment, or RETRYING where the disk refuses one. NOMEM. At open. */
enum tsdb_status wal_writer_start(struct wal *w, struct tsdb_error *err) TSDB_WUR;
/* A chunk that is in no list. */
void wal_chunk_destroy(struct wal_chunk *c);
/* Nanoseconds until the next attempt while RETRYING; 0: now. Threads: the writer. */
int64_t wal_writer_retry_in(const struct wal *w, int64_t now_ns);
/* Is the writer's next batch too much for unsynced_bytes_max? Threads: the writer. */
bool wal_writer_blocked_locked(const struct wal *w) TSDB_REQUIRES(w->lock);

/* ---- syncer.c ---- */

/* Remember a failure that the writer must answer by moving the un-synced bytes. */
void wal_failure_note_locked(struct wal *w, const struct tsdb_error *err) TSDB_REQUIRES(w->lock);
/* Nanoseconds until a sync is due by time: 0 = due now, -1 = no limit. */
int64_t wal_sync_due_in_locked(const struct wal *w, int64_t now_ns) TSDB_REQUIRES(w->lock);
/* Must the writer move the un-synced bytes before a sync makes sense? */
bool wal_sync_stalled_locked(const struct wal *w) TSDB_REQUIRES(w->lock);

/* ---- position.c ---- */

/* What POSITION says; sequence 0 if it is not there or says nothing. UNSUPPORTED, IO. */
enum tsdb_status wal_position_read(const struct tsdb_fs *fs, const char *dir,
                                   struct wal_position *out, struct tsdb_error *err) TSDB_WUR;
void wal_position_start(struct wal *w); /* at open, after recovery read it */
/* Write w->position_synced at a segment's turn, or when the last time is a second ago, or if it is
 * the last time. */
void wal_position_step(struct wal *w, int64_t now_ns, bool last);
void wal_position_stop(struct wal *w);

/* ---- lists ---- */
static inline void wal_batch_list_push(struct wal_batch_list *l, struct tsdb_batch *b)
{
    b->next = NULL;
    if (l->tail) {
        l->tail->next = b;
    } else {
        l->head = b;
    }
    l->tail = b;
}
/* Put `more` behind l (or, with the arguments swapped by the caller, before). Empties `more`. */
static inline void wal_batch_list_join(struct wal_batch_list *l, struct wal_batch_list *more)
{
    if (!more->head) {
        return;
    }
    if (l->tail) {
        l->tail->next = more->head;
    } else {
        l->head = more->head;
    }
    l->tail = more->tail;
    *more = (struct wal_batch_list){0};
}
/* Complete all of them, in order. A completed batch's memory is gone. Returns how many. Without the
 * lock. */
static inline size_t wal_batch_list_complete(struct wal_batch_list *l, enum tsdb_status status)
{
    size_t n = 0;
    for (struct tsdb_batch *b = l->head, *next; b; b = next, n++) {
        next = b->next;
        tsdb_batch_complete(b, status);
    }
    *l = (struct wal_batch_list){0};
    return n;
}

#endif
