/* The JSON reader of the commands. Invariants checked: what is taken raw and whole is taken apart as
 * well, level by level, to the same end; nothing is read beyond the input; it ends. */
#include "tools/cmd/jread.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Every value entered; depth is bounded by the reader. */
static void take_apart(struct jread *r, struct tsdb_buf *b)
{
    uint8_t c = jread_peek(r);
    if (c == '"') {
        jread_string(r, b);
    } else if (c != '{' && c != '[') {
        (void)jread_raw(r);
    } else if (jread_enter(r, c)) {
        while (jread_more(r)) {
            if (c == '{') {
                jread_key(r, b);
            }
            take_apart(r, b);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct jread whole, parts;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    jread_init(&whole, data, len);
    jread_init(&parts, data, len);
    struct tsdb_slice raw = jread_raw(&whole);
    if (raw.len > len) {
        abort();
    }
    take_apart(&parts, &b);
    /* Taking apart also looks into escapes: it may refuse more, never less. */
    if (jread_end(&parts) && !jread_end(&whole)) {
        abort();
    }
    tsdb_buf_deinit(&b);
    return 0;
}
