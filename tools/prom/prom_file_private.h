/* A file written from front to back, and one read through a window that moves along: what the parts
 * of a Prometheus block have in common. Integers are big-endian there. */
#ifndef TOOLS_PROM_PROM_FILE_PRIVATE_H
#define TOOLS_PROM_PROM_FILE_PRIVATE_H

#include "base/bytes.h"
#include "base/file.h"

#define PROM_PATH_BYTES   512u
#define PROM_WINDOW_BYTES (256u << 10)

static inline uint32_t prom_load_be32(const uint8_t *p)
{
    return __builtin_bswap32(tsdb_load_le32(p));
}
static inline uint64_t prom_load_be64(const uint8_t *p)
{
    return __builtin_bswap64(tsdb_load_le64(p));
}
static inline void prom_store_be32(uint8_t *p, uint32_t v)
{
    tsdb_store_le32(p, __builtin_bswap32(v));
}
static inline void prom_store_be64(uint8_t *p, uint64_t v)
{
    tsdb_store_le64(p, __builtin_bswap64(v));
}

/* "<dir>/<name>"; dir may be "", the root; name may be NULL. INVALID when that is too long. */
enum tsdb_status prom_path(char out[PROM_PATH_BYTES], const char *dir, const char *name,
                           struct tsdb_error *err) TSDB_WUR;

/* ---- writing ---- */
struct prom_sink {
    const struct tsdb_fs *fs;
    struct tsdb_file *file;
    struct tsdb_buf buf; /* not written yet */
    uint64_t written;    /* bytes in the file */
};
/* Creates or replaces the file. */
enum tsdb_status prom_sink_open(const struct tsdb_fs *fs, const char *path, struct prom_sink *out,
                                struct tsdb_error *err) TSDB_WUR;
void prom_sink_close(struct prom_sink *s); /* without what is not written; all zero is fine */
static inline uint64_t prom_sink_offset(const struct prom_sink *s)
{
    return s->written + s->buf.len;
}
/* Put bytes into s->buf, then say so: writes when there are enough. NOMEM when buf failed; IO. */
enum tsdb_status prom_sink_put(struct prom_sink *s, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status prom_sink_flush(struct prom_sink *s, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status prom_sink_sync(struct prom_sink *s, struct tsdb_error *err) TSDB_WUR;
void prom_buf_put_be32(struct tsdb_buf *b, uint32_t v);
void prom_buf_put_be64(struct tsdb_buf *b, uint64_t v);

/* ---- reading ---- */
struct prom_window {
    const struct tsdb_fs *fs;
    struct tsdb_file *file;
    const char *what; /* for messages: "index", borrowed */
    uint64_t size, at;
    size_t len;
    uint8_t *data;
    size_t cap;
};
enum tsdb_status prom_window_open(const struct tsdb_fs *fs, const char *path, const char *what,
                                  struct prom_window *out, struct tsdb_error *err) TSDB_WUR;
void prom_window_close(struct prom_window *w); /* all zero is fine */
/* The bytes [offset, offset + len), valid until the next call. CORRUPT when the file ends before;
 * nothing is allocated for bytes that are not there. */
enum tsdb_status prom_window_need(struct prom_window *w, uint64_t offset, size_t len,
                                  const uint8_t **out, struct tsdb_error *err) TSDB_WUR;
/* At most max bytes from offset on, less at the end of the file; *out_len may be 0. */
enum tsdb_status prom_window_some(struct prom_window *w, uint64_t offset, size_t max,
                                  const uint8_t **out, size_t *out_len,
                                  struct tsdb_error *err) TSDB_WUR;
/* Are the bytes [offset, offset + len) followed by their CRC-32C? */
enum tsdb_status prom_window_check(struct prom_window *w, uint64_t offset, uint64_t len,
                                   const char *part, struct tsdb_error *err) TSDB_WUR;

#endif
