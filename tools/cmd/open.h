/* A data directory, offline.
 *
 * For reading, the lock is taken where it can be, so that no server starts underneath. Where a server
 * has it the directory is read as it lies on the disk, and that is said on stderr: files may come and go
 * meanwhile, and what the server has in memory only (durability `memory`) is not there. Where LOCK may
 * not be opened for writing (a read-only file system) there is no lock, and that is said too. Nothing is
 * written in either case: tool_db_open gives the engine an overlay (overlay.h).
 *
 * For writing, the lock is needed: BUSY otherwise.
 */
#ifndef TOOLS_CMD_OPEN_H
#define TOOLS_CMD_OPEN_H

#include "base/arena.h"
#include "base/file.h"
#include "tools/cmd/tool.h"
#include "tsdb/block/block.h"
#include "tsdb/recovery/datadir.h"
#include "tsdb/tsdb.h"

struct tool_dir {
    const char *path;
    struct tsdb_fs fs;      /* the disk */
    struct tsdb_file *lock; /* NULL: not held */
    bool live;              /* a server has it */
    struct datadir data;    /* for writing: open, and holds the lock */
    /* the engine over an overlay, after tool_db_open */
    struct tsdb_fs overlay;
    struct tsdb *db;
};

/* NOT_FOUND: no such directory, or it is none of ours (no VERSION). IO. */
enum tsdb_status tool_dir_read(const char *path, struct tool_dir *out,
                               struct tsdb_error *err) TSDB_WUR;
/* NOT_FOUND: there is no such directory. */
enum tsdb_status tool_must_be_dir(const char *path, struct tsdb_error *err) TSDB_WUR;
/* Made if it is not there. BUSY, and what datadir_open says. */
enum tsdb_status tool_dir_write(const char *path, struct tool_dir *out,
                                struct tsdb_error *err) TSDB_WUR;
/* Likewise, of a directory that is ours already. NOT_FOUND. */
enum tsdb_status tool_dir_edit(const char *path, struct tool_dir *out,
                               struct tsdb_error *err) TSDB_WUR;
void tool_dir_close(struct tool_dir *d); /* a zeroed one is fine */

/* Everything that the directory holds as one database, recovered without writing: checkpoint, log, head
 * files and blocks; damaged blocks are left out, with a line on stderr. Only reads of d->db. BUSY: a live
 * server moved files at every try. */
enum tsdb_status tool_db_open(struct tool_dir *d, struct tsdb_error *err) TSDB_WUR;

/* block_dir_list, tried again where a live server takes blocks away meanwhile. */
enum tsdb_status tool_blocks_list(const struct tool_dir *d, struct tsdb_arena *arena,
                                  struct block_name **out, uint32_t *out_count,
                                  struct tsdb_error *err) TSDB_WUR;

/* The matchers of --match, or one that takes every series. Strings live in the arena. INVALID. */
enum tsdb_status tool_selector(const struct tool *t, struct tsdb_arena *arena,
                               struct tsdb_selector *out, struct tsdb_error *err) TSDB_WUR;

#endif
