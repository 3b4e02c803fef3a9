/* Files as a table: real, simulated (a seeded disk that crashes), faulty.
 *
 * Every byte that the engine puts on disk goes through this table. Paths are relative to the root
 * that the table was made for, '/'-separated, never absolute, never with "..". A failed write or
 * sync poisons the handle: the owner must not use it again, because the kernel may have dropped the
 * pages and marked them clean (Rebello et al., ATC'20).
 *
 * Threads: pread is safe from any number; pwrite and sync of one handle may run side by side (the
 * log's writer and syncer); the rest belongs to one thread at a time.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/alloc.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tsdb_open_flags {
    TSDB_OPEN_READ = 1,
    TSDB_OPEN_WRITE = 2,
    TSDB_OPEN_CREATE = 4, /* create if absent */
    TSDB_OPEN_EXCL = 8,   /* with CREATE: fail with TSDB_INVALID if present */
    TSDB_OPEN_TRUNCATE = 16,
};

struct tsdb_file;
struct tsdb_file_info {
    uint64_t size_bytes;
    bool is_dir;
};
typedef enum tsdb_status (*tsdb_fs_list_fn)(void *arg, const char *name, bool is_dir);

struct tsdb_fs_ops {
    enum tsdb_status (*open)(void *ctx, const char *path, unsigned flags, struct tsdb_file **out,
                             struct tsdb_error *err);
    void (*close)(void *ctx, struct tsdb_file *f); /* no sync; NULL is fine */
    /* May read less than len at the end of file only. */
    enum tsdb_status (*pread)(void *ctx, struct tsdb_file *f, void *buf, size_t len,
                              uint64_t offset, size_t *out_len, struct tsdb_error *err);
    /* Writes all or fails; after a failure any prefix may be there. */
    enum tsdb_status (*pwrite)(void *ctx, struct tsdb_file *f, const void *buf, size_t len,
                               uint64_t offset, struct tsdb_error *err);
    enum tsdb_status (*sync)(void *ctx, struct tsdb_file *f,
                             struct tsdb_error *err); /* fdatasync: data and size */
    enum tsdb_status (*truncate)(void *ctx, struct tsdb_file *f, uint64_t size,
                                 struct tsdb_error *err);
    /* Take the room of [0, size), so that writes there find it whatever others write. What was never written
     * reads as zeroes. UNSUPPORTED: the file system takes no room but by writing. */
    enum tsdb_status (*preallocate)(void *ctx, struct tsdb_file *f, uint64_t size,
                                    struct tsdb_error *err);
    enum tsdb_status (*stat)(void *ctx, const char *path, struct tsdb_file_info *out,
                             struct tsdb_error *err);
    enum tsdb_status (*rename)(void *ctx, const char *from, const char *to,
                               struct tsdb_error *err); /* replaces */
    /* A second name for a file, which then goes with its last one. INVALID if `to` is there or `from`
     * is a directory. Nobody may change a file in place that has two names. */
    enum tsdb_status (*link)(void *ctx, const char *from, const char *to, struct tsdb_error *err);
    enum tsdb_status (*unlink)(void *ctx, const char *path, struct tsdb_error *err);
    enum tsdb_status (*mkdir)(void *ctx, const char *path,
                              struct tsdb_error *err); /* OK if it exists */
    enum tsdb_status (*rmdir)(void *ctx, const char *path, struct tsdb_error *err);
    enum tsdb_status (*list)(void *ctx, const char *dir, tsdb_fs_list_fn fn, void *arg,
                             struct tsdb_error *err); /* any order */
    enum tsdb_status (*sync_dir)(void *ctx, const char *dir,
                                 struct tsdb_error *err); /* "" = the root */
    /* Exclusive advisory lock on a file, which is created, and on the root itself: a file that somebody
     * removes does not let a second one in. Held until close(*out) or process end. TSDB_BUSY if either
     * is held. One at a time for each root. */
    enum tsdb_status (*lock)(void *ctx, const char *path, struct tsdb_file **out,
                             struct tsdb_error *err);
    enum tsdb_status (*space)(void *ctx, uint64_t *out_free_bytes, uint64_t *out_total_bytes,
                              struct tsdb_error *err);
};
struct tsdb_fs {
    const struct tsdb_fs_ops *ops;
    void *ctx;
};

/* ---- the real one ---- */
/* root: created (one level) if absent. Opening for reading alone fails with EMFILE before the last
 * descriptors of the process (RLIMIT_NOFILE at this call) are used up: a quarter of them is for
 * writers and connections (of which server/http takes no more than leaves some for writers). */
enum tsdb_status tsdb_fs_real_create(const char *root, struct tsdb_fs *out,
                                     struct tsdb_error *err) TSDB_WUR;
void tsdb_fs_real_destroy(struct tsdb_fs *fs);
/* Does the path that fs was made for still lead to its directory? NOT_FOUND: it is gone, has another
 * name, or another directory has its name. A system that does not say (EACCES, EIO) is no reason. */
enum tsdb_status tsdb_fs_real_check(const struct tsdb_fs *fs, const char *root,
                                    struct tsdb_error *err) TSDB_WUR;

/* ---- the simulated disk ----
 * In memory. Keeps for every file what is synced and which writes are not; a directory's entries
 * likewise (create, rename, unlink are un-synced until sync_dir on the parent). `crash` throws away
 * or keeps each un-synced piece as the seeded generator says, tearing un-synced writes at 512-byte
 * sectors, and forgets all handles and locks. `kill` (a process death) keeps everything that was
 * written, and forgets handles and locks. A rename between two directories is durable as a whole
 * with the sync_dir of either. A create, rename or unlink is never durable without the earlier ones
 * of the same name. Handles that are left over from before still want their close. Faults: see
 * below. Guarded by its own lock (rank FS_SIM); any thread. */
struct tsdb_fs_sim;
enum tsdb_status tsdb_fs_sim_create(uint64_t seed, struct tsdb_fs_sim **out,
                                    struct tsdb_fs *out_fs) TSDB_WUR;
void tsdb_fs_sim_destroy(struct tsdb_fs_sim *sim);
void tsdb_fs_sim_crash(struct tsdb_fs_sim *sim);
void tsdb_fs_sim_kill(struct tsdb_fs_sim *sim);
/* Number of mutating operations (pwrite, sync, truncate, preallocate, rename, link, unlink, mkdir, rmdir,
 * sync_dir, open that creates or truncates; only those that pass their checks) so far: "crash at
 * every write" runs N = 1.. over it. */
uint64_t tsdb_fs_sim_op_count(const struct tsdb_fs_sim *sim);
enum tsdb_fs_fault {
    TSDB_FAULT_NONE = 0,
    /* The operation fails with EIO. A write may leave a torn prefix; a failed sync drops the
     * un-synced pages of that file and forgets that they were dirty, as Linux may. */
    TSDB_FAULT_EIO,
    TSDB_FAULT_ENOSPC, /* writes, preallocate and creates fail with ENOSPC */
    TSDB_FAULT_EMFILE, /* opening with creation or truncation fails with EMFILE, the rest goes on */
    /* This operation and every later one, reads too, fails with EIO and has no effect: the machine
     * is gone. The test then calls crash or kill and reopens. A write may leave a torn prefix. */
    TSDB_FAULT_HALT,
};
/* Arm: the op_index-th mutating operation from now (1-based) gets the fault; `count` operations in
 * a row (HALT: all). Replaces what was armed; crash and kill disarm. */
void tsdb_fs_sim_fault(struct tsdb_fs_sim *sim, enum tsdb_fs_fault fault, uint64_t op_index,
                       uint64_t count);
/* The files that have a name or are open may have so many bytes together from now on: a
 * write that needs more fails with ENOSPC, and a prefix of it that fits may be there. 0: a TiB, as at
 * first. space() says what is left. Outlives crash and kill, and so does slow. */
void tsdb_fs_sim_capacity(struct tsdb_fs_sim *sim, uint64_t bytes);
uint64_t tsdb_fs_sim_used(struct tsdb_fs_sim *sim);
/* Every mutating operation takes up to so many ms of the clock; 0: none. */
struct tsdb_clock_sim;
void tsdb_fs_sim_slow(struct tsdb_fs_sim *sim, struct tsdb_clock_sim *clock, uint32_t ms_max);
/* Reads of `path` that touch [from, to) fail with EIO; writes do not mend it. One stretch a file;
 * from == to mends it. mend_all: all files, deleted ones that are still open too. */
void tsdb_fs_sim_bad(struct tsdb_fs_sim *sim, const char *path, uint64_t from, uint64_t to);
void tsdb_fs_sim_mend_all(struct tsdb_fs_sim *sim);
/* Flip `bits` random bits in the synced content of `path` within [from, to). */
void tsdb_fs_sim_flip(struct tsdb_fs_sim *sim, const char *path, uint64_t from, uint64_t to,
                      uint32_t bits);

/* ---- helpers over any table ---- */
enum tsdb_status tsdb_file_read_all(const struct tsdb_fs *fs, const char *path, size_t bytes_max,
                                    enum tsdb_mem_category category, uint8_t **out_data,
                                    size_t *out_len, struct tsdb_error *err) TSDB_WUR;
/* Write path.tmp, sync, rename over path, sync the directory: after OK the new content is durable,
 * before it the old is. */
enum tsdb_status tsdb_file_replace(const struct tsdb_fs *fs, const char *path, const void *data,
                                   size_t len, struct tsdb_error *err) TSDB_WUR;
/* The first `bytes` bytes of `from` as a new file `to`, synced; its name is not. INVALID if `to` is
 * there; CORRUPT if `from` is shorter. */
enum tsdb_status tsdb_file_copy(const struct tsdb_fs *fs, const char *from, const char *to,
                                uint64_t bytes, struct tsdb_error *err) TSDB_WUR;
/* Size and CRC-32C of a whole file. cancel (may be NULL) not 0: CANCELLED. */
enum tsdb_status tsdb_file_checksum(const struct tsdb_fs *fs, const char *path,
                                    const _Atomic(uint32_t) *cancel, uint64_t *out_bytes,
                                    uint32_t *out_crc, struct tsdb_error *err) TSDB_WUR;
/* Remove a file or a directory with all that is in it, TSDB_FILE_TREE_DEPTH levels at most (LIMIT).
 * NOT_FOUND is fine. Syncs nothing. */
#define TSDB_FILE_TREE_DEPTH 8
enum tsdb_status tsdb_file_tree_remove(const struct tsdb_fs *fs, const char *path,
                                       struct tsdb_error *err) TSDB_WUR;

#endif
