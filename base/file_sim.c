/* The simulated disk: the table, handles, faults. Inside: file_sim_private.h. */
#include "base/assert.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/file_private.h"
#include "base/file_sim_private.h"
#include "base/mutex.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SIM_TOTAL_BYTES (1ull << 40) /* what space() says the disk holds */
/* Beyond: EFBIG, as file systems have it somewhere; bounds our page table. */
#define SIM_FILE_BYTES_MAX (1ull << 36)

struct tsdb_file {
    struct tsdb_file *prev; /* the disk's list of handles */
    struct tsdb_file *next;
    struct tsdb_sim_inode *inode; /* NULL after crash or kill: the process that had it is gone */
    unsigned flags;
    bool poisoned;
    char *path;
};

/* Everything is guarded by `mutex`, except op_count: atomic. */
struct tsdb_fs_sim {
    struct tsdb_mutex mutex;
    _Atomic(uint64_t) op_count;
    struct tsdb_prng prng;
    struct tsdb_sim_names names;
    struct tsdb_file *handles;
    enum tsdb_fs_fault fault;
    uint64_t fault_from; /* op_count of the first operation that fails */
    uint64_t fault_count;
    bool halted;
    const struct tsdb_file *root_holder; /* of the lock */
    uint64_t capacity;
    struct tsdb_clock_sim *slow_clock; /* NULL: no operation takes time */
    uint32_t slow_ms_max;
};

/* ---- faults ---- */

/* Every mutating operation passes here once it is sure to do something. */
static enum tsdb_fs_fault mutation_begin(struct tsdb_fs_sim *sim)
{
    uint64_t n = atomic_fetch_add(&sim->op_count, 1) + 1;
    if (sim->slow_clock) {
        tsdb_clock_sim_advance(
            sim->slow_clock, (int64_t)tsdb_prng_below(&sim->prng, sim->slow_ms_max + UINT64_C(1)));
    }
    if (sim->fault == TSDB_FAULT_NONE || n < sim->fault_from) {
        return TSDB_FAULT_NONE;
    }
    if (sim->fault == TSDB_FAULT_HALT) {
        sim->halted = true;
        return TSDB_FAULT_HALT;
    }
    return n - sim->fault_from < sim->fault_count ? sim->fault : TSDB_FAULT_NONE;
}

static int fault_errno(enum tsdb_fs_fault fault)
{
    return fault == TSDB_FAULT_ENOSPC ? ENOSPC : EIO;
}

/* Is it a fault for what opens no file? */
static bool is_fault(enum tsdb_fs_fault fault)
{
    return fault != TSDB_FAULT_NONE && fault != TSDB_FAULT_EMFILE;
}

/* For what needs no room on the disk: a full one does not hinder it. Returns 0 or the errno. */
static int mutation_begin_roomless(struct tsdb_fs_sim *sim)
{
    enum tsdb_fs_fault fault = mutation_begin(sim);
    return is_fault(fault) && fault != TSDB_FAULT_ENOSPC ? EIO : 0;
}

static int mutation_begin_errno(struct tsdb_fs_sim *sim)
{
    enum tsdb_fs_fault fault = mutation_begin(sim);
    return is_fault(fault) ? fault_errno(fault) : 0;
}

static int mutation_begin_open(struct tsdb_fs_sim *sim, bool creates)
{
    enum tsdb_fs_fault fault = mutation_begin(sim);
    if (fault == TSDB_FAULT_EMFILE) {
        return EMFILE;
    }
    bool harmless = !is_fault(fault) || (fault == TSDB_FAULT_ENOSPC && !creates);
    return harmless ? 0 : fault_errno(fault);
}

/* ---- the table ---- */

static struct tsdb_fs_sim *sim_lock(void *ctx) TSDB_NO_TSA
{
    struct tsdb_fs_sim *sim = ctx;
    tsdb_mutex_lock(&sim->mutex);
    return sim;
}

/* Unlocks, and turns an errno into an answer. */
static enum tsdb_status sim_done(struct tsdb_fs_sim *sim, int sys_errno, const char *verb,
                                 const char *path, struct tsdb_error *err) TSDB_NO_TSA
{
    tsdb_mutex_unlock(&sim->mutex);
    return sys_errno == 0 ? TSDB_OK : tsdb_file_fail(err, sys_errno, verb, path);
}

static struct tsdb_file *handle_create(struct tsdb_fs_sim *sim, struct tsdb_sim_inode *inode,
                                       unsigned flags, const char *path)
{
    struct tsdb_file *f = tsdb_sim_alloc(sizeof *f);
    *f = (struct tsdb_file){.next = sim->handles,
                            .inode = tsdb_sim_inode_ref(inode),
                            .flags = flags,
                            .path = tsdb_sim_strdup(path)};
    if (f->next) {
        f->next->prev = f;
    }
    sim->handles = f;
    return f;
}

/* The process is gone: its handles answer errors from now on, and its locks are free. */
static void handles_forget(struct tsdb_fs_sim *sim)
{
    sim->root_holder = NULL;
    for (struct tsdb_file *f = sim->handles; f; f = f->next) {
        if (f->inode) {
            f->inode->lock_holder = NULL;
            tsdb_sim_inode_unref(&sim->names, f->inode);
            f->inode = NULL;
        }
    }
}

/* 0, or why this handle cannot be used. */
static int handle_errno(const struct tsdb_fs_sim *sim, const struct tsdb_file *f, unsigned flag)
{
    if (sim->halted) {
        return EIO;
    }
    if (!f->inode) {
        return ESTALE;
    }
    return flag == 0 || (f->flags & flag) ? 0 : EBADF;
}

static void sim_create_file(struct tsdb_fs_sim *sim, struct tsdb_sim_found *found)
{
    found->node = tsdb_sim_inode_create(&sim->names, false);
    tsdb_sim_names_change(&sim->names, NULL, found, found->node);
    tsdb_sim_inode_unref(&sim->names, found->node); /* the entry has it now */
}

static int open_locked(struct tsdb_fs_sim *sim, const char *path, unsigned flags,
                       struct tsdb_sim_found *found)
{
    int rc = sim->halted ? EIO : tsdb_sim_names_lookup(&sim->names, path, found);
    if (rc != 0) {
        return rc;
    }
    if (!found->node) {
        rc = flags & TSDB_OPEN_CREATE ? mutation_begin_open(sim, true) : ENOENT;
        if (rc == 0) {
            sim_create_file(sim, found);
        }
        return rc;
    }
    if (flags & TSDB_OPEN_EXCL) {
        return EEXIST;
    }
    if (found->node->is_dir) {
        return EISDIR;
    }
    if ((flags & TSDB_OPEN_TRUNCATE) && found->node->data.current.size_bytes > 0) {
        rc = mutation_begin_open(sim, false);
        if (rc == 0) {
            tsdb_sim_data_truncate(&found->node->data, 0);
        }
    }
    return rc;
}

static enum tsdb_status sim_open(void *ctx, const char *path, unsigned flags,
                                 struct tsdb_file **out, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_open_check(path, flags, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    struct tsdb_sim_found found;
    int rc = open_locked(sim, path, flags, &found);
    if (rc == 0) {
        *out = handle_create(sim, found.node, flags, path);
    }
    return sim_done(sim, rc, "open", path, err);
}

static enum tsdb_status sim_lock_file(void *ctx, const char *path, struct tsdb_file **out,
                                      struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_path_check(path, false, err);
    if (status != TSDB_OK) {
        return status;
    }
    const unsigned flags = TSDB_OPEN_READ | TSDB_OPEN_WRITE | TSDB_OPEN_CREATE;
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    struct tsdb_sim_found found;
    int rc = open_locked(sim, path, flags, &found);
    bool busy = rc == 0 && (found.node->lock_holder || sim->root_holder);
    if (rc == 0 && !busy) {
        *out = handle_create(sim, found.node, flags, path);
        found.node->lock_holder = *out;
        sim->root_holder = *out;
    }
    status = sim_done(sim, rc, "lock", path, err);
    return busy ? tsdb_error_set(err, TSDB_BUSY, "lock %s: another process holds it", path)
                : status;
}

static void sim_close(void *ctx, struct tsdb_file *f)
{
    if (!f) {
        return;
    }
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    *(f->prev ? &f->prev->next : &sim->handles) = f->next;
    if (f->next) {
        f->next->prev = f->prev;
    }
    if (sim->root_holder == f) {
        sim->root_holder = NULL;
    }
    if (f->inode) {
        if (f->inode->lock_holder == f) {
            f->inode->lock_holder = NULL;
        }
        tsdb_sim_inode_unref(&sim->names, f->inode);
    }
    (void)sim_done(sim, 0, "close", f->path, NULL);
    free(f->path);
    free(f);
}

static enum tsdb_status sim_pread(void *ctx, struct tsdb_file *f, void *buf, size_t len,
                                  uint64_t offset, size_t *out_len, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_range_check(f->path, offset, len, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    int rc = handle_errno(sim, f, TSDB_OPEN_READ);
    if (rc == 0 && offset < f->inode->bad_to && f->inode->bad_from < offset + len) {
        rc = EIO;
    }
    if (rc == 0) {
        *out_len = tsdb_sim_data_read(&f->inode->data, buf, len, offset);
    }
    return sim_done(sim, rc, "read", f->path, err);
}

/* Any prefix may be there after a failure. */
static void write_torn(struct tsdb_fs_sim *sim, struct tsdb_file *f, const void *data, uint64_t len,
                       uint64_t offset)
{
    tsdb_sim_data_write(&f->inode->data, data, tsdb_prng_below(&sim->prng, len + 1), offset);
}

/* Of files that have a name or are open. */
static uint64_t used_bytes(struct tsdb_fs_sim *sim)
{
    for (struct tsdb_sim_inode *n = sim->names.first; n; n = n->next) {
        n->counted = false;
    }
    uint64_t used = tsdb_sim_names_bytes(sim->names.root);
    for (const struct tsdb_file *f = sim->handles; f; f = f->next) {
        if (f->inode && !f->inode->counted) {
            f->inode->counted = true;
            used += f->inode->data.current.size_bytes;
        }
    }
    return used;
}

static uint64_t free_bytes(struct tsdb_fs_sim *sim)
{
    uint64_t used = used_bytes(sim);
    return used < sim->capacity ? sim->capacity - used : 0;
}

/* How much of a write finds room: what lies behind the file's end needs some. */
static uint64_t fitting(struct tsdb_fs_sim *sim, const struct tsdb_file *f, uint64_t len,
                        uint64_t offset)
{
    if (sim->capacity == SIM_TOTAL_BYTES) {
        return len; /* the tests' own disk is smaller than that */
    }
    uint64_t end = f->inode->data.current.size_bytes + free_bytes(sim);
    return offset >= end ? 0 : TSDB_MIN(len, end - offset);
}

/* data NULL writes zeroes behind the file's end. */
static enum tsdb_status write_any(struct tsdb_fs_sim *sim, struct tsdb_file *f, const void *data,
                                  uint64_t len, uint64_t offset, const char *verb,
                                  struct tsdb_error *err)
{
    sim_lock(sim);
    int rc = handle_errno(sim, f, TSDB_OPEN_WRITE);
    if (rc == 0 && f->poisoned) {
        rc = EIO;
    }
    if (rc == 0 && !data) {
        uint64_t there = f->inode->data.current.size_bytes;
        len -= TSDB_MIN(there, len);
        offset = there;
    }
    if (rc == 0 && offset + len > SIM_FILE_BYTES_MAX) {
        rc = EFBIG;
    }
    if (rc == 0 && len > 0) {
        uint64_t fits = fitting(sim, f, len, offset);
        rc = mutation_begin_errno(sim);
        rc = rc == 0 && fits < len ? ENOSPC : rc;
        if (rc == 0) {
            tsdb_sim_data_write(&f->inode->data, data, len, offset);
        } else {
            write_torn(sim, f, data, fits, offset);
        }
    }
    f->poisoned = f->poisoned || rc != 0;
    return sim_done(sim, rc, verb, f->path, err);
}

static enum tsdb_status sim_pwrite(void *ctx, struct tsdb_file *f, const void *buf, size_t len,
                                   uint64_t offset, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_range_check(f->path, offset, len, err);
    return status == TSDB_OK ? write_any(ctx, f, buf, len, offset, "write", err) : status;
}

static enum tsdb_status sim_preallocate(void *ctx, struct tsdb_file *f, uint64_t size,
                                        struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_range_check(f->path, 0, size, err);
    return status == TSDB_OK ? write_any(ctx, f, NULL, size, 0, "preallocate", err) : status;
}

static enum tsdb_status sim_sync(void *ctx, struct tsdb_file *f, struct tsdb_error *err)
{
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    int rc = handle_errno(sim, f, 0);
    if (rc == 0 && f->poisoned) {
        rc = EIO;
    }
    if (rc == 0) {
        rc = mutation_begin_roomless(sim);
        if (rc == 0) {
            tsdb_sim_data_sync(&f->inode->data);
        } else if (!sim->halted) {
            tsdb_sim_data_drop(&f->inode->data);
        }
    }
    f->poisoned = f->poisoned || rc != 0;
    return sim_done(sim, rc, "sync", f->path, err);
}

static enum tsdb_status sim_truncate(void *ctx, struct tsdb_file *f, uint64_t size,
                                     struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_range_check(f->path, size, 0, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    int rc = handle_errno(sim, f, TSDB_OPEN_WRITE);
    if (rc == 0 && f->poisoned) {
        rc = EIO;
    }
    if (rc == 0 && size > SIM_FILE_BYTES_MAX) {
        rc = EFBIG;
    }
    if (rc == 0) {
        rc = mutation_begin_roomless(sim);
        if (rc == 0) {
            tsdb_sim_data_truncate(&f->inode->data, size);
        }
    }
    f->poisoned = f->poisoned || rc != 0;
    return sim_done(sim, rc, "truncate", f->path, err);
}

static enum tsdb_status sim_stat(void *ctx, const char *path, struct tsdb_file_info *out,
                                 struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_path_check(path, true, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    struct tsdb_sim_found found;
    int rc = sim->halted ? EIO : tsdb_sim_names_lookup(&sim->names, path, &found);
    if (rc == 0 && !found.node) {
        rc = ENOENT;
    }
    if (rc == 0) {
        out->is_dir = found.node->is_dir;
        out->size_bytes = found.node->data.current.size_bytes; /* 0 for a directory */
    }
    return sim_done(sim, rc, "stat", path, err);
}

/* 0, or why rename(2) would refuse. */
static int rename_errno(const char *from, const char *to, const struct tsdb_sim_found *source,
                        const struct tsdb_sim_found *target)
{
    size_t from_len = strlen(from);
    if (!source->node) {
        return ENOENT;
    }
    if (source->node->is_dir && strncmp(from, to, from_len) == 0 && to[from_len] == '/') {
        return EINVAL; /* into itself */
    }
    if (!target->node) {
        return 0;
    }
    if (source->node->is_dir != target->node->is_dir) {
        return target->node->is_dir ? EISDIR : ENOTDIR;
    }
    return target->node != source->node && target->node->now.count > 0 ? ENOTEMPTY : 0;
}

static enum tsdb_status sim_rename(void *ctx, const char *from, const char *to,
                                   struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_rename_check(from, to, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    struct tsdb_sim_found source;
    struct tsdb_sim_found target;
    int rc = sim->halted ? EIO : tsdb_sim_names_lookup(&sim->names, from, &source);
    if (rc == 0) {
        rc = tsdb_sim_names_lookup(&sim->names, to, &target);
    }
    if (rc == 0) {
        rc = rename_errno(from, to, &source, &target);
    }
    if (rc == 0 && source.node != target.node) {
        rc = mutation_begin_roomless(sim);
        if (rc == 0) {
            tsdb_sim_names_change(&sim->names, &source, &target, source.node);
        }
    }
    status = sim_done(sim, rc, "rename to", to, err);
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "%s", from);
}

static enum tsdb_status sim_link(void *ctx, const char *from, const char *to,
                                 struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_rename_check(from, to, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    struct tsdb_sim_found source;
    struct tsdb_sim_found target;
    int rc = sim->halted ? EIO : tsdb_sim_names_lookup(&sim->names, from, &source);
    if (rc == 0) {
        rc = tsdb_sim_names_lookup(&sim->names, to, &target);
    }
    if (rc == 0) {
        rc = !source.node          ? ENOENT
             : source.node->is_dir ? EISDIR
             : target.node         ? EEXIST
                                   : mutation_begin_errno(sim);
    }
    if (rc == 0) {
        tsdb_sim_names_change(&sim->names, NULL, &target, source.node);
    }
    status = sim_done(sim, rc, "link to", to, err);
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "%s", from);
}

static enum tsdb_status remove_any(struct tsdb_fs_sim *sim, const char *path, bool dir,
                                   const char *verb, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_path_check(path, false, err);
    if (status != TSDB_OK) {
        return status;
    }
    sim_lock(sim);
    struct tsdb_sim_found found;
    int rc = sim->halted ? EIO : tsdb_sim_names_lookup(&sim->names, path, &found);
    if (rc == 0) {
        if (!found.node) {
            rc = ENOENT;
        } else if (found.node->is_dir != dir) {
            rc = dir ? ENOTDIR : EISDIR;
        } else if (found.node->now.count > 0) {
            rc = ENOTEMPTY;
        } else {
            rc = mutation_begin_roomless(sim);
        }
    }
    if (rc == 0) {
        tsdb_sim_names_change(&sim->names, &found, NULL, NULL);
    }
    return sim_done(sim, rc, verb, path, err);
}

static enum tsdb_status sim_unlink(void *ctx, const char *path, struct tsdb_error *err)
{
    return remove_any(ctx, path, false, "unlink", err);
}

static enum tsdb_status sim_rmdir(void *ctx, const char *path, struct tsdb_error *err)
{
    return remove_any(ctx, path, true, "remove directory", err);
}

static enum tsdb_status sim_mkdir(void *ctx, const char *path, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_path_check(path, false, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    struct tsdb_sim_found found;
    int rc = sim->halted ? EIO : tsdb_sim_names_lookup(&sim->names, path, &found);
    if (rc == 0 && found.node) {
        rc = found.node->is_dir ? 0 : EEXIST;
    } else if (rc == 0) {
        rc = mutation_begin_errno(sim);
        if (rc == 0) {
            struct tsdb_sim_inode *dir = tsdb_sim_inode_create(&sim->names, true);
            tsdb_sim_names_change(&sim->names, NULL, &found, dir);
            tsdb_sim_inode_unref(&sim->names, dir);
        }
    }
    return sim_done(sim, rc, "make directory", path, err);
}

/* 0 and the directory, or why not. */
static int lookup_dir(const struct tsdb_fs_sim *sim, const char *path, struct tsdb_sim_inode **out)
{
    struct tsdb_sim_found found;
    int rc = sim->halted ? EIO : tsdb_sim_names_lookup(&sim->names, path, &found);
    if (rc == 0) {
        rc = !found.node ? ENOENT : !found.node->is_dir ? ENOTDIR : 0;
    }
    if (rc == 0) {
        *out = found.node;
    }
    return rc;
}

/* The callback may come back to the disk, so it gets a copy and not the lock. */
static enum tsdb_status sim_list(void *ctx, const char *dir, tsdb_fs_list_fn fn, void *arg,
                                 struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_path_check(dir, true, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    struct tsdb_sim_inode *node = NULL;
    char **names = NULL;
    bool *is_dir = NULL;
    size_t count = 0;
    int rc = lookup_dir(sim, dir, &node);
    if (rc == 0) {
        count = node->now.count;
        names = tsdb_sim_alloc(count * sizeof names[0]);
        is_dir = tsdb_sim_alloc(count * sizeof is_dir[0]);
        for (size_t i = 0; i < count; i++) {
            names[i] = tsdb_sim_strdup(node->now.items[i].name);
            is_dir[i] = node->now.items[i].inode->is_dir;
        }
    }
    status = sim_done(sim, rc, "list", dir, err);
    for (size_t i = 0; i < count; i++) {
        if (status == TSDB_OK) {
            status = fn(arg, names[i], is_dir[i]);
        }
        free(names[i]);
    }
    free(names);
    free(is_dir);
    return status;
}

static enum tsdb_status sim_sync_dir(void *ctx, const char *dir, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_file_path_check(dir, true, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    struct tsdb_sim_inode *node = NULL;
    int rc = lookup_dir(sim, dir, &node);
    if (rc == 0) {
        rc = mutation_begin_roomless(sim);
    }
    if (rc == 0) {
        tsdb_sim_names_sync(&sim->names, node);
    }
    return sim_done(sim, rc, "sync directory", dir, err);
}

static enum tsdb_status sim_space(void *ctx, uint64_t *out_free_bytes, uint64_t *out_total_bytes,
                                  struct tsdb_error *err)
{
    struct tsdb_fs_sim *sim = sim_lock(ctx);
    int rc = sim->halted ? EIO : 0;
    if (rc == 0) {
        *out_total_bytes = sim->capacity;
        *out_free_bytes = free_bytes(sim);
    }
    return sim_done(sim, rc, "measure free space of", "", err);
}

static const struct tsdb_fs_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .pread = sim_pread,
    .pwrite = sim_pwrite,
    .sync = sim_sync,
    .truncate = sim_truncate,
    .preallocate = sim_preallocate,
    .stat = sim_stat,
    .rename = sim_rename,
    .link = sim_link,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .list = sim_list,
    .sync_dir = sim_sync_dir,
    .lock = sim_lock_file,
    .space = sim_space,
};

/* ---- the test's side ---- */

enum tsdb_status tsdb_fs_sim_create(uint64_t seed, struct tsdb_fs_sim **out, struct tsdb_fs *out_fs)
{
    struct tsdb_fs_sim *sim = tsdb_mem_alloc_aligned(TSDB_MEM_OTHER, TSDB_CACHELINE, sizeof *sim);
    if (!sim) {
        return TSDB_NOMEM;
    }
    memset(sim, 0, sizeof *sim);
    tsdb_mutex_init(&sim->mutex, TSDB_RANK_FS_SIM, "simulated disk");
    tsdb_prng_init(&sim->prng, seed);
    atomic_init(&sim->op_count, 0);
    sim->capacity = SIM_TOTAL_BYTES;
    tsdb_sim_names_init(&sim->names);
    *out = sim;
    *out_fs = (struct tsdb_fs){.ops = &sim_ops, .ctx = sim};
    return TSDB_OK;
}

void tsdb_fs_sim_destroy(struct tsdb_fs_sim *sim)
{
    if (!sim) {
        return;
    }
    /* Handles that nobody closed stay behind, so that the leak checker names who opened them. */
    handles_forget(sim);
    tsdb_sim_names_deinit(&sim->names);
    tsdb_mutex_deinit(&sim->mutex);
    tsdb_mem_free(TSDB_MEM_OTHER, sim, sizeof *sim);
}

static void reboot_locked(struct tsdb_fs_sim *sim)
{
    handles_forget(sim);
    sim->halted = false;
    sim->fault = TSDB_FAULT_NONE;
}

void tsdb_fs_sim_crash(struct tsdb_fs_sim *sim)
{
    sim_lock(sim);
    reboot_locked(sim);
    tsdb_sim_names_crash(&sim->names, &sim->prng);
    (void)sim_done(sim, 0, "crash", "", NULL);
}

void tsdb_fs_sim_kill(struct tsdb_fs_sim *sim)
{
    sim_lock(sim);
    reboot_locked(sim);
    (void)sim_done(sim, 0, "kill", "", NULL);
}

uint64_t tsdb_fs_sim_op_count(const struct tsdb_fs_sim *sim)
{
    return atomic_load(&sim->op_count);
}

void tsdb_fs_sim_fault(struct tsdb_fs_sim *sim, enum tsdb_fs_fault fault, uint64_t op_index,
                       uint64_t count)
{
    TSDB_ASSERT(fault == TSDB_FAULT_NONE || op_index > 0);
    sim_lock(sim);
    sim->fault = fault;
    sim->fault_from = atomic_load(&sim->op_count) + op_index;
    sim->fault_count = count;
    (void)sim_done(sim, 0, "fault", "", NULL);
}

void tsdb_fs_sim_capacity(struct tsdb_fs_sim *sim, uint64_t bytes)
{
    sim_lock(sim);
    sim->capacity = bytes > 0 ? bytes : SIM_TOTAL_BYTES;
    (void)sim_done(sim, 0, "resize", "", NULL);
}

uint64_t tsdb_fs_sim_used(struct tsdb_fs_sim *sim)
{
    sim_lock(sim);
    uint64_t used = used_bytes(sim);
    (void)sim_done(sim, 0, "measure", "", NULL);
    return used;
}

void tsdb_fs_sim_slow(struct tsdb_fs_sim *sim, struct tsdb_clock_sim *clock, uint32_t ms_max)
{
    sim_lock(sim);
    sim->slow_clock = ms_max > 0 ? clock : NULL;
    sim->slow_ms_max = ms_max;
    (void)sim_done(sim, 0, "slow", "", NULL);
}

void tsdb_fs_sim_bad(struct tsdb_fs_sim *sim, const char *path, uint64_t from, uint64_t to)
{
    sim_lock(sim);
    struct tsdb_sim_found found;
    int rc = tsdb_sim_names_lookup(&sim->names, path, &found);
    TSDB_ASSERT(rc == 0 && found.node && !found.node->is_dir);
    found.node->bad_from = from;
    found.node->bad_to = to;
    (void)sim_done(sim, 0, "spoil", path, NULL);
}

void tsdb_fs_sim_mend_all(struct tsdb_fs_sim *sim)
{
    sim_lock(sim);
    for (struct tsdb_sim_inode *n = sim->names.first; n; n = n->next) {
        n->bad_from = n->bad_to = 0;
    }
    (void)sim_done(sim, 0, "mend", "", NULL);
}

void tsdb_fs_sim_flip(struct tsdb_fs_sim *sim, const char *path, uint64_t from, uint64_t to,
                      uint32_t bits)
{
    sim_lock(sim);
    struct tsdb_sim_found found;
    int rc = tsdb_sim_names_lookup(&sim->names, path, &found);
    TSDB_ASSERT(rc == 0 && found.node && !found.node->is_dir);
    to = TSDB_MIN(to, found.node->data.synced.size_bytes);
    uint64_t range = from < to ? (to - from) * 8 : 0;
    bits = (uint32_t)TSDB_MIN((uint64_t)bits, range);
    uint64_t *done = tsdb_sim_alloc(bits * sizeof done[0]);
    for (uint32_t i = 0; i < bits;) {
        uint64_t bit = tsdb_prng_below(&sim->prng, range);
        bool again = false; /* flipped twice is not flipped */
        for (uint32_t j = 0; j < i; j++) {
            again = again || done[j] == bit;
        }
        if (!again) {
            done[i++] = bit;
            tsdb_sim_data_flip(&found.node->data, from + bit / 8, (unsigned)(bit % 8));
        }
    }
    free(done);
    (void)sim_done(sim, 0, "flip", path, NULL);
}
