#include "tools/backup/s3_list.h"

#include <stdio.h>
#include <string.h>

#define ROOT "<ListBucketResult"

/* The text of the first <name>...</name> at or after *pos, which moves behind it. */
static bool element(const uint8_t *end, const uint8_t **pos, const char *name,
                    struct tsdb_slice *out)
{
    char open[64], close[64];
    size_t n = (size_t)snprintf(open, sizeof open, "<%s>", name);
    size_t m = (size_t)snprintf(close, sizeof close, "</%s>", name);
    const uint8_t *p = memmem(*pos, (size_t)(end - *pos), open, n);
    const uint8_t *q = p ? memmem(p + n, (size_t)(end - p) - n, close, m) : NULL;
    if (!q) {
        return false;
    }
    *out = (struct tsdb_slice){p + n, (size_t)(q - p) - n};
    *pos = q + m;
    return true;
}

enum tsdb_status s3_list_parse(const uint8_t *src, size_t len, s3_key_fn fn, void *arg,
                               struct tsdb_slice *out_next, struct tsdb_error *err)
{
    if (len == 0 || !memmem(src, len, ROOT, strlen(ROOT))) {
        return tsdb_error_set(err, TSDB_CORRUPT, "the answer is no list of S3");
    }
    const uint8_t *pos = src, *end = src + len;
    struct tsdb_slice text = {src, 0};
    enum tsdb_status status = TSDB_OK;
    while (status == TSDB_OK && element(end, &pos, "Key", &text)) {
        if (!memchr(text.data, '&', text.len) && !memchr(text.data, '<', text.len)) {
            status = fn(arg, text, err);
        }
    }
    pos = src;
    if (status == TSDB_OK) {
        *out_next =
            element(end, &pos, "NextContinuationToken", &text) ? text : (struct tsdb_slice){src, 0};
    }
    return status;
}
