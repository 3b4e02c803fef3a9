#include "tsdb/recovery/manifest.h"

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/format.h"
#include "model/version.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TITLE          "tidalite snapshot\n"
#define CRC_CHARS      8u
#define FILE_LINE_MIN  (sizeof "file 0 00000000 x\n" - 1) /* a count is bounded by it */
#define CRC_LINE_BYTES (sizeof "crc32c 00000000\n" - 1)

static int by_path(const void *a, const void *b)
{
    const struct manifest_file *x = a;
    const struct manifest_file *y = b;
    return strcmp(x->path, y->path);
}

void manifest_print(struct manifest *m, struct tsdb_buf *out)
{
    size_t begin = out->len;
    if (m->count > 1) {
        qsort(m->files, m->count, sizeof m->files[0], by_path);
    }
    tsdb_buf_printf(out, TITLE "format %d\ncreated_ms %" PRId64 "\nhead %d\nfiles %" PRIu32 "\n",
                    TSDB_FORMAT_SNAPSHOT, m->created_ms, m->head ? 1 : 0, m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        tsdb_buf_printf(out, "file %" PRIu64 " %08" PRIx32 " %s\n", m->files[i].bytes,
                        m->files[i].crc, m->files[i].path);
    }
    if (!out->failed) {
        uint32_t crc = tsdb_crc32c(0, out->data + begin, out->len - begin);
        tsdb_buf_printf(out, "crc32c %08" PRIx32 "\n", crc);
    }
}

/* ---- reading ---- */

struct reader {
    const char *begin, *pos, *end;
};

/* Take `<key> ` off the line at hand, up to its end: the value. */
static bool line_take(struct reader *r, const char *key, struct tsdb_slice *out)
{
    size_t key_len = strlen(key);
    const char *newline = memchr(r->pos, '\n', (size_t)(r->end - r->pos));
    if (!newline || (size_t)(newline - r->pos) <= key_len || memcmp(r->pos, key, key_len) != 0 ||
        r->pos[key_len] != ' ') {
        return false;
    }
    const char *value = r->pos + key_len + 1;
    *out = (struct tsdb_slice){(const uint8_t *)value, (size_t)(newline - value)};
    r->pos = newline + 1;
    return true;
}

/* A number as print writes it: one number has one text. */
static bool number_of(const char *text, size_t len, uint64_t *out)
{
    return len > 0 && (text[0] != '0' || len == 1) && text[0] != '+' &&
           tsdb_parse_u64(text, len, out);
}

static bool number_take(struct reader *r, const char *key, uint64_t max, uint64_t *out)
{
    struct tsdb_slice v;
    return line_take(r, key, &v) && number_of((const char *)v.data, v.len, out) && *out <= max;
}

static bool time_take(struct reader *r, const char *key, int64_t *out)
{
    struct tsdb_slice v;
    return line_take(r, key, &v) && tsdb_parse_i64((const char *)v.data, v.len, out);
}

static bool crc_of(const char *text, size_t len, uint32_t *out)
{
    uint32_t crc = 0;
    if (len != CRC_CHARS) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        const char *digits = "0123456789abcdef";
        const char *at = text[i] ? strchr(digits, text[i]) : NULL;
        if (!at) {
            return false;
        }
        crc = crc << 4 | (uint32_t)(at - digits);
    }
    *out = crc;
    return true;
}

static bool path_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

/* Names of ours between single slashes: nothing that leads elsewhere. */
static bool path_of(const char *text, size_t len, char out[MANIFEST_PATH_MAX + 1])
{
    if (len == 0 || len > MANIFEST_PATH_MAX) {
        return false;
    }
    size_t name = 0; /* bytes of the name at hand */
    size_t dots = 0; /* how many of them are dots */
    for (size_t i = 0; i <= len; i++) {
        if (i == len || text[i] == '/') {
            if (name == 0 || (dots == name && dots <= 2)) {
                return false;
            }
            name = dots = 0;
        } else if (path_char(text[i])) {
            name++;
            dots += text[i] == '.';
        } else {
            return false;
        }
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

static bool file_take(struct reader *r, struct manifest_file *out)
{
    struct tsdb_slice v;
    if (!line_take(r, "file", &v)) {
        return false;
    }
    const char *text = (const char *)v.data;
    const char *space = memchr(text, ' ', v.len);
    size_t size_len = space ? (size_t)(space - text) : 0;
    if (!space || v.len - size_len < CRC_CHARS + 2 || space[1 + CRC_CHARS] != ' ') {
        return false;
    }
    const char *path = space + CRC_CHARS + 2;
    return number_of(text, size_len, &out->bytes) && crc_of(space + 1, CRC_CHARS, &out->crc) &&
           path_of(path, v.len - (size_t)(path - text), out->path);
}

static enum tsdb_status corrupt(const struct reader *r, const char *what, struct tsdb_error *err)
{
    uint64_t pos = (uint64_t)(r->pos - r->begin);
    return tsdb_error_set_at(err, TSDB_CORRUPT, pos, MANIFEST_NAME " at byte %" PRIu64 ": %s", pos,
                             what);
}

static enum tsdb_status files_take(struct reader *r, struct manifest *m, struct tsdb_error *err)
{
    uint64_t count = 0;
    if (!number_take(r, "files", (uint64_t)(r->end - r->pos) / FILE_LINE_MIN, &count)) {
        return corrupt(r, "no \"files <count>\", or more than there are bytes for", err);
    }
    m->files = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, (count + 1) * sizeof m->files[0]);
    if (!m->files) {
        return tsdb_error_nomem(err, "the files of a snapshot");
    }
    m->count = (uint32_t)count;
    for (uint32_t i = 0; i < m->count; i++) {
        if (!file_take(r, &m->files[i])) {
            return corrupt(r, "no \"file <bytes> <crc32c> <path>\"", err);
        }
        if (i > 0 && by_path(&m->files[i - 1], &m->files[i]) >= 0) {
            return corrupt(r, "the files are not in order", err);
        }
    }
    return TSDB_OK;
}

static enum tsdb_status crc_check(struct reader *r, struct tsdb_error *err)
{
    struct tsdb_slice v;
    uint32_t stored = 0;
    uint32_t crc = tsdb_crc32c(0, r->begin, (size_t)(r->pos - r->begin));
    if (!line_take(r, "crc32c", &v) || !crc_of((const char *)v.data, v.len, &stored) ||
        r->pos != r->end) {
        return corrupt(r, "the last line is not \"crc32c <8 hex>\"", err);
    }
    return stored == crc ? TSDB_OK : corrupt(r, "the crc does not match", err);
}

static enum tsdb_status lines_take(struct reader *r, struct manifest *m, struct tsdb_error *err)
{
    uint64_t version = 0;
    uint64_t head = 0;
    size_t title = sizeof TITLE - 1;
    if ((size_t)(r->end - r->pos) < title || memcmp(r->pos, TITLE, title) != 0) {
        return corrupt(r, "the first line is not \"tidalite snapshot\"", err);
    }
    r->pos += title;
    if (!number_take(r, "format", UINT32_MAX, &version)) {
        return corrupt(r, "no \"format <number>\"", err);
    }
    if (version != TSDB_FORMAT_SNAPSHOT) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED,
                              MANIFEST_NAME ": format %" PRIu64 "; this version knows %d", version,
                              TSDB_FORMAT_SNAPSHOT);
    }
    if (!time_take(r, "created_ms", &m->created_ms) || !number_take(r, "head", 1, &head)) {
        return corrupt(r, "no \"created_ms <ms>\" and \"head <0 or 1>\"", err);
    }
    m->head = head == 1;
    enum tsdb_status status = files_take(r, m, err);
    return status == TSDB_OK ? crc_check(r, err) : status;
}

enum tsdb_status manifest_parse(const uint8_t *src, size_t len, struct manifest *out,
                                struct tsdb_error *err)
{
    struct manifest m = {0};
    const char *begin = len > 0 ? (const char *)src : ""; /* no arithmetic on a NULL */
    struct reader r = {begin, begin, begin + len};
    if (len > MANIFEST_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_CORRUPT, MANIFEST_NAME ": %zu bytes, at most %u", len,
                              MANIFEST_BYTES_MAX);
    }
    enum tsdb_status status = lines_take(&r, &m, err);
    if (status != TSDB_OK) {
        manifest_deinit(&m);
        return status;
    }
    *out = m;
    return TSDB_OK;
}

void manifest_deinit(struct manifest *m)
{
    if (m->files) {
        tsdb_mem_free(TSDB_MEM_OTHER, m->files, (m->count + (size_t)1) * sizeof m->files[0]);
    }
    *m = (struct manifest){0};
}
