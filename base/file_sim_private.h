/* The bytes of one file on the simulated disk: what is synced, what is written and not synced, and
 * what a power cut makes of the two.
 *
 * Invariants:
 *  1. `synced` with all pieces applied in order is `current`.
 *  2. After a cut every 512-byte sector holds one of the states that it had since the last sync,
 *     and never a mixture: if a later un-synced write to a sector is there, then so are the
 *     earlier ones.
 *  3. A lost truncation takes everything after it along, because the file system journals sizes in
 *     order.
 *
 * The disk is not the engine, so its memory comes from malloc and not from base/alloc.h: a test
 * that fails the Nth allocation fails the engine's. Running out of memory here aborts.
 *
 * Threads: guarded by the lock of the simulated disk.
 */
#ifndef BASE_FILE_SIM_PRIVATE_H
#define BASE_FILE_SIM_PRIVATE_H

#include "base/file_private.h"
#include "base/random.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TSDB_SIM_SECTOR_BYTES 512u
#define TSDB_SIM_PAGE_BYTES   4096u

/* Sparse: a page that was never written to, or only with zeroes, is NULL. */
struct tsdb_sim_content {
    uint8_t **pages;
    size_t page_cap;
    uint64_t size_bytes;
};
enum tsdb_sim_piece_kind {
    TSDB_SIM_WRITE,
    TSDB_SIM_ZERO,
    TSDB_SIM_TRUNCATE
};
struct tsdb_sim_piece {
    enum tsdb_sim_piece_kind kind;
    uint64_t offset; /* TRUNCATE: the new size */
    uint64_t len;    /* TRUNCATE: 0 */
    uint8_t *data;   /* WRITE only */
};
struct tsdb_sim_data {
    struct tsdb_sim_content current; /* what a read sees */
    struct tsdb_sim_content synced;
    struct tsdb_sim_piece *pieces; /* in the order in which they were written */
    size_t piece_count;
    size_t piece_cap;
};
/* How much of what was not synced a power cut keeps. Independent fates alone would make "all" and
 * "nothing" too rare. */
enum tsdb_sim_mode {
    TSDB_SIM_LOSE_ALL,
    TSDB_SIM_KEEP_ALL,
    TSDB_SIM_PREFIX,
    TSDB_SIM_CHAOS,
    TSDB_SIM_MODES
};

/* malloc and realloc that never fail: see above. Release with free. */
void *tsdb_sim_alloc(size_t bytes);
void *tsdb_sim_realloc(void *p, size_t bytes);
char *tsdb_sim_strdup(const char *s);

/* A zeroed tsdb_sim_data is an empty file. */
void tsdb_sim_data_deinit(struct tsdb_sim_data *d);
size_t tsdb_sim_data_read(const struct tsdb_sim_data *d, void *buf, size_t len, uint64_t offset);
/* data NULL writes zeroes. */
void tsdb_sim_data_write(struct tsdb_sim_data *d, const void *data, uint64_t len, uint64_t offset);
void tsdb_sim_data_truncate(struct tsdb_sim_data *d, uint64_t size);
void tsdb_sim_data_sync(struct tsdb_sim_data *d);
/* A failed sync: what was not synced is gone, and nothing is dirty any more. */
void tsdb_sim_data_drop(struct tsdb_sim_data *d);
/* A power cut. What is left is synced. */
void tsdb_sim_data_crash(struct tsdb_sim_data *d, struct tsdb_prng *prng);
/* Invert one bit of synced byte `at`, and of the current one if that is the same byte. at <
 * synced.size_bytes. */
void tsdb_sim_data_flip(struct tsdb_sim_data *d, uint64_t at, unsigned bit);

/* ---- names ---- */

struct tsdb_file;
struct tsdb_sim_inode;
struct tsdb_sim_entry {
    char *name;
    struct tsdb_sim_inode *inode; /* holds a reference */
};
struct tsdb_sim_entries {
    struct tsdb_sim_entry *items;
    size_t count;
    size_t cap;
};
struct tsdb_sim_inode {
    struct tsdb_sim_inode *prev; /* the list of all */
    struct tsdb_sim_inode *next;
    uint32_t refs;
    bool is_dir;
    const struct tsdb_file *lock_holder;
    bool counted;                    /* while the used bytes are added up */
    struct tsdb_sim_data data;       /* a file's */
    uint64_t bad_from, bad_to;       /* a file's: reads that touch it fail */
    struct tsdb_sim_entries now;     /* a directory's */
    struct tsdb_sim_entries on_disk; /* a directory's */
};

/* An un-synced change of names. Create: add only; unlink: remove only; rename: both. */
struct tsdb_sim_place {
    struct tsdb_sim_inode *dir; /* NULL: no such place; else holds a reference */
    char *name;
};
struct tsdb_sim_change {
    struct tsdb_sim_place remove;
    struct tsdb_sim_place add; /* replaces what has the name */
    struct tsdb_sim_inode *added;
};

/* What a path names. Borrowed: valid while the disk's lock is held. parent and name are set
 * whenever the parent directory exists, node if the name does. */
struct tsdb_sim_found {
    struct tsdb_sim_inode *parent;
    struct tsdb_sim_inode *node;
    char name[TSDB_FILE_NAME_BYTES_MAX + 1];
};

struct tsdb_sim_names {
    struct tsdb_sim_inode *first; /* of all inodes */
    struct tsdb_sim_inode *last;
    struct tsdb_sim_inode *root;
    struct tsdb_sim_change *changes; /* un-synced, oldest first */
    size_t change_count;
    size_t change_cap;
};

void tsdb_sim_names_init(struct tsdb_sim_names *names);
/* No handle refers to an inode any more. */
void tsdb_sim_names_deinit(struct tsdb_sim_names *names);
/* Bytes of the files that have a name now, each once. All inodes are `counted` = false before, and those
 * are true after. */
uint64_t tsdb_sim_names_bytes(struct tsdb_sim_inode *dir);
/* The new inode has one reference, the caller's. */
struct tsdb_sim_inode *tsdb_sim_inode_create(struct tsdb_sim_names *names, bool is_dir);
struct tsdb_sim_inode *tsdb_sim_inode_ref(struct tsdb_sim_inode *n);
void tsdb_sim_inode_unref(struct tsdb_sim_names *names, struct tsdb_sim_inode *n);
/* The path has been checked, "" is the root. Returns 0, or the errno of a parent that is missing or
 * no directory. */
int tsdb_sim_names_lookup(const struct tsdb_sim_names *names, const char *path,
                          struct tsdb_sim_found *out);
/* One change of the names as they are now, noted as un-synced. Create: add and added; unlink:
 * remove; rename: all three. Takes references of its own. */
void tsdb_sim_names_change(struct tsdb_sim_names *names, const struct tsdb_sim_found *remove,
                           const struct tsdb_sim_found *add, struct tsdb_sim_inode *added);
/* Write the changes of `dir` to the disk, and those before them that they build upon. */
void tsdb_sim_names_sync(struct tsdb_sim_names *names, const struct tsdb_sim_inode *dir);
/* A power cut for names and the data of every file. No handle refers to an inode any more. */
void tsdb_sim_names_crash(struct tsdb_sim_names *names, struct tsdb_prng *prng);

#endif
