/* backup, backup ls, restore.
 *
 *   DIR, stopped ─ its files, summed ──────────┐
 *   URL ─ POST snapshot ─ <data>/snapshots/<n> ─┴▶ manifest ─ what the store lacks ─▶ files/... ─▶ backups/<name>
 *   backups/<name> ─ manifest ─ files/... ─ sizes and checksums ─▶ DIR.restoring/ ─ rename ─▶ DIR
 *
 * What a store looks like: tools/backup/README.md. A directory that a server has is not read file by file: what is
 * consistent there only the server knows. */
#include "base/crc32c.h"
#include "tools/backup/store.h"
#include "tools/cmd/commands.h"
#include "tools/cmd/http_call.h"
#include "tools/cmd/jread.h"
#include "tools/cmd/open.h"
#include "tools/cmd/out.h"
#include "tsdb/recovery/manifest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#define FOLDER_FILES   "files"
#define FOLDER_BACKUPS "backups"
#define FOLDER_SHOTS   "snapshots"
#define FILES_MAX      500000u /* as many as a manifest can hold */
#define BACKUPS_MAX    100000u
#define PATH_BYTES     4096
#define NAME_BYTES     64
#define SUM_BYTES      (1u << 20)

struct backup {
    struct tool *t;
    struct tool_dir dir;   /* of DIR */
    struct tsdb_fs fs;     /* what is read: DIR, or the snapshot */
    struct tsdb_fs shots;  /* snapshots/, of a server's directory */
    char shot[NAME_BYTES]; /* the snapshot in it; "": none */
    char name[NAME_BYTES]; /* of the backup */
    struct manifest manifest;
    uint32_t cap;
    struct store *store;
    struct tool_progress progress;
    bool is_snapshot; /* shot has a manifest */
    uint64_t copied, copied_bytes, bytes;
};

/* ---- names ---- */
/* They sort by the moment that they hold. */
static void make_name(struct backup *b)
{
    time_t seconds = (time_t)(b->manifest.created_ms / 1000);
    struct tm tm;
    uint32_t random = 0;
    gmtime_r(&seconds, &tm);
    tsdb_random_fill(&tsdb_random_system, &random, sizeof random);
    size_t n = strftime(b->name, sizeof b->name, "%Y%m%dT%H%M%S", &tm);
    snprintf(b->name + n, sizeof b->name - n, ".%03dZ-%08x", (int)(b->manifest.created_ms % 1000),
             random);
}

static bool name_valid(const char *s)
{
    size_t len = strlen(s);
    return len > 0 && len < NAME_BYTES && s[0] != '.' &&
           strspn(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") == len;
}

static void object_name(const struct manifest_file *f, char out[STORE_NAME_MAX])
{
    snprintf(out, STORE_NAME_MAX, FOLDER_FILES "/%s.%" PRIu64 "-%08x", f->path, f->bytes, f->crc);
}

/* ---- the files of a stopped directory ---- */
struct walk {
    struct backup *b;
    const char *folder; /* "" or "blocks/01J..." */
    unsigned depth;
    struct tsdb_error *err;
};

static bool left_out(const char *folder, const char *name)
{
    static const char *const top[] = {DATADIR_LOCK, DATADIR_QUARANTINE, FOLDER_SHOTS,
                                      MANIFEST_NAME};
    size_t len = strlen(name), tmp = strlen(DATADIR_TMP_SUFFIX);
    if (len > tmp && strcmp(name + len - tmp, DATADIR_TMP_SUFFIX) == 0) {
        return true;
    }
    for (size_t i = 0; folder[0] == 0 && i < TSDB_ARRAY_LEN(top); i++) {
        if (strcmp(name, top[i]) == 0) {
            return true;
        }
    }
    return false;
}

static enum tsdb_status note_file(struct backup *b, const char *path, struct tsdb_error *err)
{
    struct manifest *m = &b->manifest;
    if (m->count == b->cap) {
        uint32_t cap = b->cap ? 2 * b->cap : 256;
        struct manifest_file *files =
            cap <= 2 * FILES_MAX ? tsdb_mem_realloc(TSDB_MEM_OTHER, m->files,
                                                    b->cap * sizeof *files, cap * sizeof *files)
                                 : NULL;
        if (!files) {
            return tsdb_error_nomem(err, "the list of files");
        }
        m->files = files;
        b->cap = cap;
    }
    struct manifest_file *f = &m->files[m->count++];
    *f = (struct manifest_file){.bytes = 0};
    snprintf(f->path, sizeof f->path, "%s", path);
    return store_sum(&b->fs, path, &b->progress, &f->bytes, &f->crc, err);
}

static enum tsdb_status walk_entry(void *arg, const char *name, bool is_dir)
{
    struct walk *w = arg;
    char path[MANIFEST_PATH_MAX + 1];
    if (left_out(w->folder, name)) {
        return TSDB_OK;
    }
    int n = snprintf(path, sizeof path, "%s%s%s", w->folder, w->folder[0] ? "/" : "", name);
    if (n < 0 || (size_t)n >= sizeof path || w->depth == TSDB_FILE_TREE_DEPTH) {
        return tsdb_error_set(w->err, TSDB_LIMIT, "%s/%s: the path is too long", w->folder, name);
    }
    if (!is_dir) {
        return note_file(w->b, path, w->err);
    }
    struct walk below = {w->b, path, w->depth + 1, w->err};
    return w->b->fs.ops->list(w->b->fs.ctx, path, walk_entry, &below, w->err);
}

static enum tsdb_status take_dir(struct backup *b, struct tsdb_error *err)
{
    const char *path = b->t->args[0];
    enum tsdb_status status = tool_dir_read(path, &b->dir, err);
    if (status == TSDB_OK && b->dir.live) {
        status = tsdb_error_set(
            err, TSDB_BUSY, "%s: a server has it; give its URL instead, and it makes a snapshot",
            path);
    }
    if (status == TSDB_OK) {
        status = tsdb_fs_real_create(path, &b->fs, err);
    }
    struct walk w = {b, "", 0, err};
    b->manifest.created_ms = tsdb_clock_wall_ms(&tsdb_clock_real);
    b->manifest.head = true;
    return status == TSDB_OK ? b->fs.ops->list(b->fs.ctx, "", walk_entry, &w, err) : status;
}

/* ---- a snapshot of a server ---- */
/* {"status":"success","data":{"<member>":"<out>"}} */
static bool data_string(const struct tsdb_buf *body, const char *member, char *out, size_t cap)
{
    struct jread r;
    struct tsdb_buf key, text;
    bool found = false;
    tsdb_buf_init(&key, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&text, TSDB_MEM_OTHER, 0);
    jread_init(&r, body->data, body->len);
    for (bool more = jread_enter(&r, '{') && jread_more(&r); more; more = jread_more(&r)) {
        jread_key(&r, &key);
        bool data = key.len == 4 && memcmp(key.data, "data", 4) == 0 && jread_peek(&r) == '{';
        if (!data) {
            (void)jread_raw(&r);
        } else if (jread_enter(&r, '{')) {
            while (jread_more(&r)) {
                jread_key(&r, &key);
                bool this = key.len == strlen(member) && memcmp(key.data, member, key.len) == 0;
                if (this && jread_peek(&r) == '"') {
                    jread_string(&r, &text);
                    found = !text.failed && text.len > 0 && text.len < cap;
                } else {
                    (void)jread_raw(&r);
                }
            }
        }
    }
    found = jread_end(&r) && found && !memchr(text.data, 0, text.len);
    if (found) {
        snprintf(out, cap, "%.*s", (int)text.len, text.data);
    }
    tsdb_buf_deinit(&text);
    tsdb_buf_deinit(&key);
    return found;
}

/* A string of "data" in an answer of the API. */
static enum tsdb_status ask(const char *url, const char *method, const char *path,
                            const char *member, char *out, size_t cap, struct tsdb_error *err)
{
    struct tsdb_buf body;
    unsigned code = 0;
    bool found = false;
    tsdb_buf_init(&body, TSDB_MEM_OTHER, 0);
    enum tsdb_status status = http_call(url, method, path, &code, &body, err);
    if (status == TSDB_OK && code == 200) {
        found = data_string(&body, member, out, cap);
    }
    if (status == TSDB_OK && !found) {
        status = tsdb_error_set(err, TSDB_IO, "%s%s: status %u: %.*s", url, path, code,
                                (int)TSDB_MIN(body.len, 160u),
                                body.len > 0 ? (const char *)body.data : "");
    }
    tsdb_buf_deinit(&body);
    return status;
}

static enum tsdb_status read_manifest(const struct tsdb_fs *fs, struct manifest *out,
                                      struct tsdb_error *err)
{
    uint8_t *data = NULL;
    size_t len = 0;
    enum tsdb_status status =
        tsdb_file_read_all(fs, MANIFEST_NAME, MANIFEST_BYTES_MAX, TSDB_MEM_OTHER, &data, &len, err);
    if (status == TSDB_OK) {
        status = manifest_parse(data, len, out, err);
        tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    }
    return status;
}

static enum tsdb_status take_snapshot(struct backup *b, struct tsdb_error *err)
{
    const char *url = b->t->args[0], *named = b->t->options.server_data;
    char data[PATH_BYTES], path[PATH_BYTES + NAME_BYTES + sizeof FOLDER_SHOTS + 2];
    enum tsdb_status status =
        ask(url, "GET", "/api/v1/status/flags", "storage.tsdb.path", data, sizeof data, err);
    if (named) {
        snprintf(data, sizeof data, "%s", named);
    }
    /* Before a snapshot is made that nobody here can read. */
    snprintf(path, sizeof path, "%s", data);
    if (status == TSDB_OK && tool_must_be_dir(path, NULL) != TSDB_OK) {
        status = tsdb_error_set(err, TSDB_NOT_FOUND,
                                "the server's data directory %s is not here; run this where it is, "
                                "or say with --server-data where that is",
                                data);
    }
    if (status == TSDB_OK) {
        status =
            ask(url, "POST", "/api/v1/admin/tsdb/snapshot", "name", b->shot, sizeof b->shot, err);
    }
    if (status == TSDB_OK && !name_valid(b->shot)) {
        status = tsdb_error_set(err, TSDB_IO, "%s: not the name of a snapshot", url);
        b->shot[0] = 0;
    }
    snprintf(path, sizeof path, "%s/" FOLDER_SHOTS, data);
    if (status == TSDB_OK) {
        status = tool_must_be_dir(path, err);
    }
    if (status == TSDB_OK) {
        status = tsdb_fs_real_create(path, &b->shots, err);
    }
    snprintf(path, sizeof path, "%s/" FOLDER_SHOTS "/%s", data, b->shot);
    if (status == TSDB_OK) {
        status = tool_must_be_dir(path, err);
    }
    if (status == TSDB_OK) {
        status = tsdb_fs_real_create(path, &b->fs, err);
    }
    if (status == TSDB_OK) {
        status = read_manifest(&b->fs, &b->manifest, err);
    }
    b->is_snapshot = status == TSDB_OK;
    return status;
}

/* It was made for this backup. What is no snapshot is left alone, whatever a server says of it. */
static void drop_snapshot(struct backup *b)
{
    if (b->is_snapshot && tsdb_file_tree_remove(&b->shots, b->shot, NULL) != TSDB_OK) {
        tool_say("snapshot %s could not be removed", b->shot);
    }
}

/* ---- copying ---- */
static enum tsdb_status copy_all(struct backup *b, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < b->manifest.count; i++) {
        b->bytes += b->manifest.files[i].bytes;
    }
    tool_progress_begin(&b->progress, b->t, "bytes", b->bytes);
    for (uint32_t i = 0; i < b->manifest.count && status == TSDB_OK; i++) {
        const struct manifest_file *f = &b->manifest.files[i];
        char name[STORE_NAME_MAX];
        bool there = false;
        object_name(f, name);
        status = tool_check(err);
        if (status == TSDB_OK) {
            status = b->store->ops->has(b->store, name, f->bytes, &there, err);
        }
        if (status == TSDB_OK && there) {
            tool_progress_add(&b->progress, f->bytes);
        } else if (status == TSDB_OK) {
            struct store_file from = {&b->fs, f->path, f->bytes, f->crc, &b->progress};
            status = b->store->ops->put(b->store, name, &from, err);
            b->copied++;
            b->copied_bytes += f->bytes;
        }
    }
    return status;
}

static enum tsdb_status put_manifest(struct backup *b, struct tsdb_error *err)
{
    char name[STORE_NAME_MAX];
    struct tsdb_buf text;
    tsdb_buf_init(&text, TSDB_MEM_OTHER, MANIFEST_BYTES_MAX);
    manifest_print(&b->manifest, &text);
    snprintf(name, sizeof name, FOLDER_BACKUPS "/%s", b->name);
    enum tsdb_status status = text.failed
                                  ? tsdb_error_set(err, TSDB_LIMIT, "too many files for a manifest")
                                  : b->store->ops->put_bytes(b->store, name, &text, err);
    tsdb_buf_deinit(&text);
    return status;
}

static const struct tool_column columns[] = {
    {"backup", TOOL_CELL_TEXT},        {"created", TOOL_CELL_TIME},
    {"files", TOOL_CELL_COUNT},        {"bytes", TOOL_CELL_BYTES},
    {"copied_files", TOOL_CELL_COUNT}, {"copied_bytes", TOOL_CELL_BYTES},
};

static enum tsdb_status print_backup(struct backup *b, struct tsdb_error *err)
{
    struct tool_table table;
    tool_table_init(&table, columns, TSDB_ARRAY_LEN(columns));
    tool_table_str(&table, b->name);
    tool_table_number(&table, b->manifest.created_ms);
    tool_table_number(&table, b->manifest.count);
    tool_table_number(&table, (int64_t)b->bytes);
    tool_table_number(&table, (int64_t)b->copied);
    tool_table_number(&table, (int64_t)b->copied_bytes);
    enum tsdb_status status = tool_table_print_record(&table, b->t, err);
    tool_table_deinit(&table);
    return status;
}

static void backup_deinit(struct backup *b)
{
    tool_progress_end(&b->progress);
    store_close(b->store);
    if (b->fs.ops) {
        tsdb_fs_real_destroy(&b->fs);
    }
    drop_snapshot(b);
    if (b->shots.ops) {
        tsdb_fs_real_destroy(&b->shots);
    }
    tool_dir_close(&b->dir);
    manifest_deinit(&b->manifest);
}

enum tsdb_status tool_backup(struct tool *t, struct tsdb_error *err)
{
    struct backup b = {.t = t};
    bool server = http_is_url(t->args[0]);
    tool_progress_begin(&b.progress, t, "bytes summed", 0);
    enum tsdb_status status = store_open(t, t->args[1], true, &b.store, err);
    if (status == TSDB_OK) {
        status = server ? take_snapshot(&b, err) : take_dir(&b, err);
    }
    tool_progress_end(&b.progress);
    if (status == TSDB_OK) {
        make_name(&b);
        status = copy_all(&b, err);
    }
    if (status == TSDB_OK) {
        status = put_manifest(&b, err);
    }
    if (status == TSDB_OK) {
        status = print_backup(&b, err);
    }
    backup_deinit(&b);
    return status;
}

/* ---- what backups there are ---- */
struct names {
    struct tsdb_arena *arena;
    char (*items)[NAME_BYTES];
    uint32_t count, cap;
};

static enum tsdb_status take_name(void *arg, const char *name, struct tsdb_error *err)
{
    struct names *n = arg;
    if (!name_valid(name)) {
        return TSDB_OK;
    }
    if (n->count == n->cap) {
        uint32_t cap = n->cap ? 2 * n->cap : 64;
        void *items =
            cap <= 2 * BACKUPS_MAX ? tsdb_arena_alloc(n->arena, (size_t)cap * NAME_BYTES, 1) : NULL;
        if (!items) {
            return tsdb_error_nomem(err, "the list of backups");
        }
        if (n->count > 0) {
            memcpy(items, n->items, (size_t)n->count * NAME_BYTES);
        }
        n->items = items;
        n->cap = cap;
    }
    snprintf(n->items[n->count++], NAME_BYTES, "%s", name);
    return TSDB_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static enum tsdb_status list_backups(struct store *s, struct names *n, struct tsdb_error *err)
{
    enum tsdb_status status = s->ops->list(s, FOLDER_BACKUPS, take_name, n, err);
    if (status == TSDB_OK && n->count > 1) {
        qsort(n->items, n->count, NAME_BYTES, by_name);
    }
    return status;
}

static enum tsdb_status fetch_manifest(struct store *s, const char *backup, struct manifest *out,
                                       struct tsdb_error *err)
{
    char name[STORE_NAME_MAX];
    struct tsdb_buf text;
    tsdb_buf_init(&text, TSDB_MEM_OTHER, MANIFEST_BYTES_MAX);
    snprintf(name, sizeof name, FOLDER_BACKUPS "/%s", backup);
    enum tsdb_status status = s->ops->get_bytes(s, name, &text, err);
    if (status == TSDB_OK) {
        status = manifest_parse(text.data, text.len, out, err);
    }
    tsdb_buf_deinit(&text);
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "backup %s", backup);
}

static const struct tool_column ls_columns[] = {
    {"backup", TOOL_CELL_TEXT}, {"created", TOOL_CELL_TIME}, {"files", TOOL_CELL_COUNT},
    {"bytes", TOOL_CELL_BYTES}, {"state", TOOL_CELL_TEXT},
};

static void ls_row(struct tool_table *table, const char *name, const struct manifest *m,
                   const char *state)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        bytes += m->files[i].bytes;
    }
    tool_table_str(table, name);
    tool_table_number(table, m->created_ms);
    tool_table_number(table, m->count);
    tool_table_number(table, (int64_t)bytes);
    tool_table_str(table, state);
}

enum tsdb_status tool_backup_ls(struct tool *t, struct tsdb_error *err)
{
    struct tsdb_arena arena;
    struct names n = {.arena = &arena};
    struct tool_table table;
    struct store *store = NULL;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 65536, NULL);
    tool_table_init(&table, ls_columns, TSDB_ARRAY_LEN(ls_columns));
    enum tsdb_status status = store_open(t, t->args[0], false, &store, err);
    if (status == TSDB_OK) {
        status = list_backups(store, &n, err);
    }
    for (uint32_t i = 0; i < n.count && status == TSDB_OK; i++) {
        struct manifest m = {0};
        status = fetch_manifest(store, n.items[i], &m, err);
        ls_row(&table, n.items[i], &m, status == TSDB_OK ? "ok" : err->msg);
        t->damaged = t->damaged || status == TSDB_CORRUPT;
        status = status == TSDB_CORRUPT || status == TSDB_UNSUPPORTED ? TSDB_OK : status;
        manifest_deinit(&m);
    }
    if (status == TSDB_OK) {
        status = tool_table_print(&table, t, err);
    }
    store_close(store);
    tool_table_deinit(&table);
    tsdb_arena_deinit(&arena);
    return status;
}

/* ---- restore ---- */
struct restore {
    struct tool *t;
    struct store *store;
    struct tsdb_fs parent, to; /* where DIR lies; DIR.restoring */
    char dir[NAME_BYTES * 4], half[NAME_BYTES * 5];
    char name[NAME_BYTES];
    struct manifest manifest;
    struct tool_progress progress;
    uint64_t bytes, kept;
};

/* The newest, or the one that is named. */
static enum tsdb_status choose_backup(struct restore *r, struct tsdb_error *err)
{
    struct tsdb_arena arena;
    struct names n = {.arena = &arena};
    const char *wanted = r->t->options.backup;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 65536, NULL);
    enum tsdb_status status = list_backups(r->store, &n, err);
    const char *found = !wanted && n.count > 0 ? n.items[n.count - 1] : NULL;
    for (uint32_t i = 0; wanted && i < n.count; i++) {
        found = strcmp(n.items[i], wanted) == 0 ? n.items[i] : found;
    }
    if (status == TSDB_OK && !found) {
        status = tsdb_error_set(err, TSDB_NOT_FOUND, "%s holds no backup%s%s", r->t->args[0],
                                wanted ? " " : "", wanted ? wanted : "");
    }
    if (status == TSDB_OK) {
        snprintf(r->name, sizeof r->name, "%s", found);
        status = fetch_manifest(r->store, r->name, &r->manifest, err);
    }
    tsdb_arena_deinit(&arena);
    return status;
}

static enum tsdb_status any_entry(void *arg, const char *name, bool is_dir)
{
    (void)name;
    (void)is_dir;
    *(bool *)arg = true;
    return TSDB_OK;
}

/* DIR is not there, or empty; DIR.restoring may be left over from a restore that was interrupted. */
static enum tsdb_status open_target(struct restore *r, struct tsdb_error *err)
{
    char path[PATH_BYTES];
    bool full = false;
    const char *target = r->t->args[1];
    size_t len = strlen(target);
    while (len > 1 && target[len - 1] == '/') {
        len--;
    }
    size_t base = len;
    while (base > 0 && target[base - 1] != '/') {
        base--;
    }
    if (len - base == 0 || len - base >= sizeof r->dir || len + 16 >= sizeof path ||
        target[base] == '.') {
        return tsdb_error_set(err, TSDB_INVALID, "%s: expected the name of a new directory",
                              target);
    }
    snprintf(r->dir, sizeof r->dir, "%.*s", (int)(len - base), target + base);
    snprintf(r->half, sizeof r->half, "%s.restoring", r->dir);
    snprintf(path, sizeof path, "%.*s", base > 0 ? (int)base : 1, base > 0 ? target : ".");
    enum tsdb_status status = tool_must_be_dir(path, err);
    if (status == TSDB_OK) {
        status = tsdb_fs_real_create(path, &r->parent, err);
    }
    if (status == TSDB_OK) {
        status = r->parent.ops->list(r->parent.ctx, r->dir, any_entry, &full, err);
        status = status == TSDB_NOT_FOUND ? TSDB_OK : status;
    }
    if (status == TSDB_OK && full) {
        status = tsdb_error_set(err, TSDB_INVALID, "%s is there already and not empty", target);
    }
    snprintf(path, sizeof path, "%.*s.restoring", (int)len, target);
    return status == TSDB_OK ? tsdb_fs_real_create(path, &r->to, err) : status;
}

static bool have(struct restore *r, const struct manifest_file *f)
{
    struct tsdb_file_info info;
    uint64_t bytes = 0;
    uint32_t crc = 0;
    struct tool_progress none = {0};
    return r->to.ops->stat(r->to.ctx, f->path, &info, NULL) == TSDB_OK &&
           info.size_bytes == f->bytes &&
           store_sum(&r->to, f->path, &none, &bytes, &crc, NULL) == TSDB_OK && crc == f->crc;
}

static enum tsdb_status restore_file(struct restore *r, const struct manifest_file *f,
                                     struct tsdb_error *err)
{
    char name[STORE_NAME_MAX];
    object_name(f, name);
    enum tsdb_status status = tool_check(err);
    if (status == TSDB_OK && have(r, f)) {
        r->kept++;
        tool_progress_add(&r->progress, f->bytes);
        return TSDB_OK;
    }
    struct store_file to = {&r->to, f->path, f->bytes, f->crc, &r->progress};
    if (status == TSDB_OK) {
        status = store_make_folders(&r->to, f->path, err);
    }
    if (status == TSDB_OK) {
        status = r->store->ops->get(r->store, name, &to, err);
        status = status == TSDB_NOT_FOUND ? TSDB_CORRUPT : status;
    }
    store_folder_of(f->path, name);
    if (status == TSDB_OK) {
        status = r->to.ops->sync_dir(r->to.ctx, name, err);
    }
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "backup %s", r->name);
}

/* What another backup's restore left in DIR.restoring would come along. */
struct stray {
    struct restore *r;
    const char *folder;
    unsigned depth;
    struct tsdb_error *err;
    char found[MANIFEST_PATH_MAX + 1]; /* a directory is changed after it was listed */
};

static int by_path(const void *key, const void *item)
{
    return strcmp(key, ((const struct manifest_file *)item)->path);
}

static enum tsdb_status stray_entry(void *arg, const char *name, bool is_dir)
{
    struct stray *s = arg;
    char path[MANIFEST_PATH_MAX + 1];
    const struct manifest *m = &s->r->manifest;
    int n = snprintf(path, sizeof path, "%s%s%s", s->folder, s->folder[0] ? "/" : "", name);
    if (n < 0 || (size_t)n >= sizeof path || s->depth == TSDB_FILE_TREE_DEPTH) {
        return tsdb_error_set(s->err, TSDB_LIMIT, "%s/%s: the path is too long", s->folder, name);
    }
    if (is_dir) {
        struct stray below = {s->r, path, s->depth + 1, s->err, ""};
        enum tsdb_status status =
            s->r->to.ops->list(s->r->to.ctx, path, stray_entry, &below, s->err);
        memcpy(s->found, below.found[0] ? below.found : s->found, sizeof s->found);
        return status;
    }
    if (!bsearch(path, m->files, m->count, sizeof m->files[0], by_path)) {
        snprintf(s->found, sizeof s->found, "%s", path);
    }
    return TSDB_OK;
}

static enum tsdb_status remove_strays(struct restore *r, struct tsdb_error *err)
{
    for (;;) {
        struct stray s = {r, "", 0, err, ""};
        enum tsdb_status status = r->to.ops->list(r->to.ctx, "", stray_entry, &s, err);
        if (status != TSDB_OK || !s.found[0]) {
            return status;
        }
        status = r->to.ops->unlink(r->to.ctx, s.found, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
}

static enum tsdb_status restore_all(struct restore *r, struct tsdb_error *err)
{
    for (uint32_t i = 0; i < r->manifest.count; i++) {
        r->bytes += r->manifest.files[i].bytes;
    }
    tool_progress_begin(&r->progress, r->t, "bytes", r->bytes);
    enum tsdb_status status = remove_strays(r, err);
    for (uint32_t i = 0; i < r->manifest.count && status == TSDB_OK; i++) {
        status = restore_file(r, &r->manifest.files[i], err);
    }
    if (status == TSDB_OK) {
        status = r->to.ops->sync_dir(r->to.ctx, "", err);
    }
    if (status == TSDB_OK) {
        status = r->parent.ops->rename(r->parent.ctx, r->half, r->dir, err);
    }
    return status == TSDB_OK ? r->parent.ops->sync_dir(r->parent.ctx, "", err) : status;
}

static const struct tool_column restore_columns[] = {
    {"backup", TOOL_CELL_TEXT}, {"created", TOOL_CELL_TIME},        {"files", TOOL_CELL_COUNT},
    {"bytes", TOOL_CELL_BYTES}, {"already_there", TOOL_CELL_COUNT},
};

static enum tsdb_status print_restore(struct restore *r, struct tsdb_error *err)
{
    struct tool_table table;
    tool_table_init(&table, restore_columns, TSDB_ARRAY_LEN(restore_columns));
    tool_table_str(&table, r->name);
    tool_table_number(&table, r->manifest.created_ms);
    tool_table_number(&table, r->manifest.count);
    tool_table_number(&table, (int64_t)r->bytes);
    tool_table_number(&table, (int64_t)r->kept);
    enum tsdb_status status = tool_table_print_record(&table, r->t, err);
    tool_table_deinit(&table);
    return status;
}

enum tsdb_status tool_restore(struct tool *t, struct tsdb_error *err)
{
    struct restore r = {.t = t};
    enum tsdb_status status = store_open(t, t->args[0], false, &r.store, err);
    if (status == TSDB_OK) {
        status = choose_backup(&r, err);
    }
    if (status == TSDB_OK) {
        status = open_target(&r, err);
    }
    if (status == TSDB_OK) {
        status = restore_all(&r, err);
    }
    tool_progress_end(&r.progress);
    if (status == TSDB_OK) {
        status = print_restore(&r, err);
    }
    if (r.to.ops) {
        tsdb_fs_real_destroy(&r.to);
    }
    if (r.parent.ops) {
        tsdb_fs_real_destroy(&r.parent);
    }
    store_close(r.store);
    manifest_deinit(&r.manifest);
    return status;
}
