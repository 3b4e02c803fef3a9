/* The list of names that an S3 server answers. Invariants checked: every key and the token lie in the input, keys in rising
 * order of place and without what begins an element or an entity; it ends. */
#include "tools/backup/s3_list.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct seen {
    const uint8_t *pos, *end;
};

static void inside(const struct seen *s, struct tsdb_slice text)
{
    if (text.data < s->pos || text.len > (size_t)(s->end - text.data)) {
        abort();
    }
}

static enum tsdb_status key(void *arg, struct tsdb_slice text, struct tsdb_error *err)
{
    struct seen *s = arg;
    (void)err;
    inside(s, text);
    if (memchr(text.data, '<', text.len) || memchr(text.data, '&', text.len)) {
        abort();
    }
    s->pos = text.data + text.len;
    return TSDB_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct seen s = {data, data + len};
    struct tsdb_slice next = {data, 0};
    struct tsdb_error err;
    tsdb_error_clear(&err);
    if (s3_list_parse(data, len, key, &s, &next, &err) == TSDB_OK) {
        s.pos = data;
        inside(&s, next);
    }
    return 0;
}
