#include "tsdb/recovery/datadir.h"

#include "base/crc32c.h"
#include "base/limits.h"
#include "model/version.h"
#include "tsdb/head/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION_TITLE "tidalite data directory\n"
#define CRC_LINE_LEN  (sizeof "crc32c 00000000\n" - 1)

static void hex_print(const uint8_t *src, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[src[i] >> 4];
        out[2 * i + 1] = digits[src[i] & 15];
    }
    out[2 * len] = 0;
}

size_t datadir_version_print(const uint8_t hash_seed[TSDB_HASH_SEED_BYTES], char *out)
{
    char hex[2 * TSDB_HASH_SEED_BYTES + 1];
    hex_print(hash_seed, TSDB_HASH_SEED_BYTES, hex);
    int n = snprintf(out, DATADIR_VERSION_MAX,
                     VERSION_TITLE "format %d\npartitions %d\nplacement %d\nhash_seed %s\n",
                     TSDB_FORMAT_DATA_DIR, TSDB_PARTITIONS, TSDB_PLACEMENT_RULE, hex);
    size_t len = (size_t)n;
    uint32_t crc = tsdb_crc32c(0, out, len);
    n = snprintf(out + len, DATADIR_VERSION_MAX - len, "crc32c %08x\n", (unsigned)crc);
    return len + (size_t)n;
}

/* Take `<key> <value>\n` off *pos; the value, NUL-terminated, goes to out. False if the line is not
 * that. */
static bool line_take(const char **pos, const char *end, const char *key, char *out, size_t cap)
{
    size_t key_len = strlen(key);
    const char *p = *pos;
    if ((size_t)(end - p) <= key_len || memcmp(p, key, key_len) != 0 || p[key_len] != ' ') {
        return false;
    }
    p += key_len + 1;
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    if (!newline || (size_t)(newline - p) >= cap || newline == p) {
        return false;
    }
    memcpy(out, p, (size_t)(newline - p));
    out[newline - p] = 0;
    *pos = newline + 1;
    return true;
}

static bool hex_parse(const char *hex, uint8_t *out, size_t len)
{
    if (strlen(hex) != 2 * len || strspn(hex, "0123456789abcdef") != 2 * len) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char byte[3] = {hex[2 * i], hex[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    return true;
}

static bool decimal_parse(const char *text, unsigned long *out)
{
    size_t len = strlen(text);
    if (len > 9 || strspn(text, "0123456789") != len) {
        return false;
    }
    *out = strtoul(text, NULL, 10);
    return true;
}

static enum tsdb_status version_corrupt(struct tsdb_error *err, const char *what)
{
    return tsdb_error_set(err, TSDB_CORRUPT, DATADIR_VERSION ": %s", what);
}

enum tsdb_status datadir_version_parse(const uint8_t *src, size_t len,
                                       uint8_t out_hash_seed[TSDB_HASH_SEED_BYTES],
                                       struct tsdb_error *err)
{
    const char *begin = len > 0 ? (const char *)src : ""; /* an empty file is read as NULL */
    const char *pos = begin, *end = begin + len;
    size_t title_len = strlen(VERSION_TITLE);
    char value[2 * TSDB_HASH_SEED_BYTES + 1];
    unsigned long format = 0, partitions = 0, placement = 0;
    if (len < title_len || memcmp(pos, VERSION_TITLE, title_len) != 0) {
        return version_corrupt(err, "first line is not \"tidalite data directory\"");
    }
    pos += title_len;
    if (!line_take(&pos, end, "format", value, sizeof value) || !decimal_parse(value, &format)) {
        return version_corrupt(err, "second line is not \"format <number>\"");
    }
    if (format != TSDB_FORMAT_DATA_DIR) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED,
                              DATADIR_VERSION
                              ": the data directory has format %lu; this version of "
                              "tidalite (" TIDALITE_VERSION ") knows format %d%s",
                              format, TSDB_FORMAT_DATA_DIR,
                              format < TSDB_FORMAT_DATA_DIR
                                  ? "; earlier ones were never released and are not converted"
                                  : "");
    }
    uint8_t seed[TSDB_HASH_SEED_BYTES];
    if (!line_take(&pos, end, "partitions", value, sizeof value) ||
        !decimal_parse(value, &partitions) ||
        !line_take(&pos, end, "placement", value, sizeof value) ||
        !decimal_parse(value, &placement) ||
        !line_take(&pos, end, "hash_seed", value, sizeof value) ||
        !hex_parse(value, seed, sizeof seed)) {
        return version_corrupt(err, "expected lines \"partitions <n>\", \"placement <n>\" and "
                                    "\"hash_seed <64 hex>\"");
    }
    uint32_t crc = tsdb_crc32c(0, begin, (size_t)(pos - begin));
    uint8_t stored[4], computed[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16),
                                      (uint8_t)(crc >> 8), (uint8_t)crc};
    if (!line_take(&pos, end, "crc32c", value, sizeof value) ||
        !hex_parse(value, stored, sizeof stored) || pos != end) {
        return version_corrupt(err, "last line is not \"crc32c <8 hex>\"");
    }
    if (memcmp(stored, computed, sizeof stored) != 0) {
        return tsdb_error_set(err, TSDB_CORRUPT, DATADIR_VERSION ": crc %s, expected %08x", value,
                              (unsigned)crc);
    }
    if (partitions != TSDB_PARTITIONS) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED,
                              DATADIR_VERSION ": %lu partitions; this version knows %d", partitions,
                              TSDB_PARTITIONS);
    }
    if (placement != TSDB_PLACEMENT_RULE) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED,
                              DATADIR_VERSION
                              ": series are placed in partitions by rule %lu; this version of "
                              "tidalite (" TIDALITE_VERSION ") knows rule %d",
                              placement, TSDB_PLACEMENT_RULE);
    }
    memcpy(out_hash_seed, seed, sizeof seed);
    return TSDB_OK;
}

/* ---- leftovers ---- */
struct sweep {
    const struct tsdb_fs *fs;
    const char *dir;
    bool trees;     /* directories, not files */
    char path[512]; /* one found per listing: files do not vanish while they are listed */
};

static enum tsdb_status sweep_found(void *arg, const char *name, bool is_dir)
{
    struct sweep *s = arg;
    size_t len = strlen(name), suffix = strlen(DATADIR_TMP_SUFFIX);
    if (is_dir != s->trees || s->path[0] || len <= suffix ||
        strcmp(name + len - suffix, DATADIR_TMP_SUFFIX) != 0) {
        return TSDB_OK;
    }
    int n = snprintf(s->path, sizeof s->path, "%s%s%s", s->dir, s->dir[0] ? "/" : "", name);
    if (n < 0 || (size_t)n >= sizeof s->path) {
        s->path[0] = 0; /* a name this long is not ours */
    }
    return TSDB_OK;
}

/* Remove *.tmp in dir. Their absence need not be durable: the next open removes them again. */
static enum tsdb_status sweep_dir(const struct tsdb_fs *fs, const char *dir, bool trees,
                                  struct tsdb_error *err)
{
    for (;;) {
        struct sweep s = {.fs = fs, .dir = dir, .trees = trees};
        enum tsdb_status status = fs->ops->list(fs->ctx, dir, sweep_found, &s, err);
        if (status == TSDB_NOT_FOUND) {
            return TSDB_OK;
        }
        if (status != TSDB_OK || !s.path[0]) {
            return status;
        }
        status = tsdb_file_tree_remove(fs, s.path, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
}

enum tsdb_status datadir_sweep(const struct tsdb_fs *fs, struct tsdb_error *err)
{
    enum tsdb_status status = sweep_dir(fs, "", false, err);
    if (status == TSDB_OK) {
        status = sweep_dir(fs, DATADIR_CHECKPOINT, false, err);
    }
    return status == TSDB_OK ? sweep_dir(fs, DATADIR_SNAPSHOTS, true, err) : status;
}

/* ---- first start ---- */
static enum tsdb_status count_entry(void *arg, const char *name, bool is_dir)
{
    (void)is_dir;
    uint32_t *count = arg;
    *count += name[0] != '.';
    return TSDB_OK;
}

/* Does the directory hold data? VERSION is durable before any of these is written. */
static enum tsdb_status find_data(const struct tsdb_fs *fs, bool *out, struct tsdb_error *err)
{
    static const char *const dirs[] = {DATADIR_WAL, DATADIR_CHECKPOINT, HEAD_FILES_DIR};
    struct tsdb_file_info info;
    enum tsdb_status status = fs->ops->stat(fs->ctx, DATADIR_SERIES_LOG, &info, err);
    bool found = status == TSDB_OK;
    if (status != TSDB_OK && status != TSDB_NOT_FOUND) {
        return status;
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(dirs); i++) {
        uint32_t count = 0;
        status = fs->ops->list(fs->ctx, dirs[i], count_entry, &count, err);
        if (status != TSDB_OK && status != TSDB_NOT_FOUND) {
            return status;
        }
        found = found || count > 0;
    }
    *out = found;
    return TSDB_OK;
}

uint32_t datadir_mark(const uint8_t hash_seed[TSDB_HASH_SEED_BYTES])
{
    return tsdb_crc32c(0, hash_seed, TSDB_HASH_SEED_BYTES);
}

static enum tsdb_status make_dirs(const struct tsdb_fs *fs, struct tsdb_error *err)
{
    /* While there is room: on a full disk what is set aside is only renamed then. One that cannot be made yet is
     * made by who needs it. */
    (void)fs->ops->mkdir(fs->ctx, DATADIR_QUARANTINE, NULL);
    enum tsdb_status status = fs->ops->mkdir(fs->ctx, DATADIR_WAL, err);
    if (status == TSDB_OK) {
        status = fs->ops->mkdir(fs->ctx, DATADIR_CHECKPOINT, err);
    }
    return status == TSDB_OK ? fs->ops->mkdir(fs->ctx, HEAD_FILES_DIR, err) : status;
}

static enum tsdb_status create_layout(struct datadir *d, const struct tsdb_random *random,
                                      struct tsdb_error *err)
{
    const struct tsdb_fs *fs = d->fs;
    bool has_data = false;
    enum tsdb_status status = find_data(fs, &has_data, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (has_data) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              "the directory holds data but no " DATADIR_VERSION
                              ": not a tidalite data directory, or damaged; refusing to touch it");
    }
    status = make_dirs(fs, err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_random_fill(random, d->hash_seed, sizeof d->hash_seed);
    char text[DATADIR_VERSION_MAX];
    size_t len = datadir_version_print(d->hash_seed, text);
    /* The sync of the root that this ends with also makes the two directories durable. */
    status = tsdb_file_replace(fs, DATADIR_VERSION, text, len, err);
    d->created = status == TSDB_OK;
    return status;
}

static enum tsdb_status read_version(struct datadir *d, const struct tsdb_random *random,
                                     struct tsdb_error *err)
{
    uint8_t *data = NULL;
    size_t len = 0;
    enum tsdb_status status = tsdb_file_read_all(d->fs, DATADIR_VERSION, DATADIR_VERSION_MAX,
                                                 TSDB_MEM_OTHER, &data, &len, err);
    if (status == TSDB_NOT_FOUND) {
        return create_layout(d, random, err);
    }
    if (status == TSDB_LIMIT) {
        return version_corrupt(err, "larger than any version of it");
    }
    if (status != TSDB_OK) {
        return status;
    }
    status = datadir_version_parse(data, len, d->hash_seed, err);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    if (status == TSDB_OK) {
        status = make_dirs(d->fs, err);
    }
    /* Whoever renamed VERSION into place may have been killed before it synced the root. */
    return status == TSDB_OK ? d->fs->ops->sync_dir(d->fs->ctx, "", err) : status;
}

enum tsdb_status datadir_open(const struct tsdb_fs *fs, const struct tsdb_random *random,
                              struct datadir *out, struct tsdb_error *err)
{
    struct datadir d = {.fs = fs};
    enum tsdb_status status = fs->ops->lock(fs->ctx, DATADIR_LOCK, &d.lock, err);
    if (status == TSDB_BUSY) {
        return tsdb_error_set(
            err, TSDB_BUSY, "another process uses this data directory (it holds " DATADIR_LOCK ")");
    }
    /* First: in a directory of a format that is not known, nothing is ours to remove. */
    if (status == TSDB_OK) {
        status = read_version(&d, random, err);
    }
    if (status != TSDB_OK) {
        datadir_close(&d);
        return status;
    }
    *out = d;
    return TSDB_OK;
}

enum tsdb_status datadir_quarantine_make(const struct tsdb_fs *fs, struct tsdb_error *err)
{
    enum tsdb_status status = fs->ops->mkdir(fs->ctx, DATADIR_QUARANTINE, err);
    return status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, "", err) : status;
}

void datadir_close(struct datadir *d)
{
    if (d->lock) {
        d->fs->ops->close(d->fs->ctx, d->lock);
        d->lock = NULL;
    }
}
