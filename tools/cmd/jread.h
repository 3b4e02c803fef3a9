/* Reading JSON as it comes, for answers of servers: no tree, no allocation but the caller's buffers.
 *
 *   jread_init(&r, data, len);
 *   if (jread_enter(&r, '{')) while (jread_more(&r)) { jread_key(&r, &key); value = jread_raw(&r); }
 *   if (!jread_end(&r)) ... malformed
 *
 * `failed` is sticky: after the first byte that is no JSON every call gives nothing, and the caller asks
 * once. Nesting is bounded. Input is untrusted. Threads: one.
 */
#ifndef TOOLS_CMD_JREAD_H
#define TOOLS_CMD_JREAD_H

#include "base/bytes.h"

#define JREAD_DEPTH_MAX 32u

struct jread {
    const uint8_t *pos, *end;
    uint64_t begun; /* bit per level: has it had an item? */
    uint8_t close[JREAD_DEPTH_MAX];
    uint32_t depth;
    bool failed;
};
void jread_init(struct jread *r, const void *data, size_t len);
/* What comes next: one of { [ " t f n - 0..9, or 0 at the end or after a failure. */
uint8_t jread_peek(struct jread *r);
/* Step into an object or array; false when it is none (failed). */
bool jread_enter(struct jread *r, uint8_t open);
/* Is there another item in the innermost one? False: it was closed, or failed. */
bool jread_more(struct jread *r);
/* A string, unescaped, into out (cleared first). Lone surrogates become U+FFFD. */
void jread_string(struct jread *r, struct tsdb_buf *out);
void jread_key(struct jread *r, struct tsdb_buf *out); /* with the colon */
/* Any value, as it stands, checked. */
struct tsdb_slice jread_raw(struct jread *r);
/* Nothing but white space is left, and all was well. */
bool jread_end(struct jread *r);

#endif
