/* What API answers are wrapped in: the success and error envelopes, the table of error types, CORS,
 * compression.
 *
 *   {"status":"success","data":...,"warnings":[...],"infos":[...]}
 *   {"status":"error","errorType":"bad_data","error":"..."}
 *
 * Empty optional keys are left out. At most ENVELOPE_NOTES_MAX warnings and as many infos are told,
 * then one line says how many more there were.
 * Threads: pure.
 */
#ifndef SERVER_API_ENVELOPE_H
#define SERVER_API_ENVELOPE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "query/query.h"

#include <stdbool.h>

#define ENVELOPE_NOTES_MAX      10
#define ENVELOPE_PACK_BYTES_MIN 1024 /* below that a packet is saved by nothing */

enum envelope_error {
    ENVELOPE_BAD_DATA = 0,
    ENVELOPE_EXECUTION,
    ENVELOPE_CANCELED,
    ENVELOPE_TIMEOUT,
    ENVELOPE_INTERNAL,
    ENVELOPE_NOT_FOUND,
    ENVELOPE_NOT_ACCEPTABLE,
    ENVELOPE_UNAVAILABLE,
    ENVELOPE_ERROR_COUNT
};
unsigned envelope_error_status(enum envelope_error type);  /* HTTP status */
const char *envelope_error_name(enum envelope_error type); /* "bad_data", ... */
/* What a status of the engine is to a client of the API, once its parameters were understood. */
enum envelope_error envelope_error_of(enum tsdb_status st);

/* The data goes between the two. */
void envelope_success_begin(struct tsdb_buf *out);
void envelope_success_end(struct tsdb_buf *out, const struct query_note *notes,
                          uint32_t note_count);
/* In front of item `index` of a list. */
static inline void envelope_comma(struct tsdb_buf *out, uint32_t index)
{
    if (index > 0) {
        tsdb_buf_put_u8(out, ',');
    }
}
void envelope_error(struct tsdb_buf *out, enum envelope_error type, const char *text);

enum envelope_packing {
    ENVELOPE_PLAIN = 0,
    ENVELOPE_GZIP,
    ENVELOPE_DEFLATE /* zlib's format, as HTTP has it */
};
/* "gzip", "deflate": the value of Content-Encoding. */
const char *envelope_packing_name(enum envelope_packing packing);
/* What the Accept-Encoding header (may be NULL) offers: gzip, or else deflate. q-values other than 0
 * are not weighed. */
enum envelope_packing envelope_packing_of(const char *accept_encoding);
/* The same for an answer that comes in pieces. */
struct envelope_packer {
    void *z; /* zlib's state, in the arena */
};
/* False: no memory. */
bool envelope_packer_begin(struct envelope_packer *p, enum envelope_packing packing,
                           struct tsdb_arena *arena);
/* Append what is ready of the packed answer to `out`; after the last piece, all of it. False: no memory, and the
 * answer is lost. */
bool envelope_packer_put(struct envelope_packer *p, const struct tsdb_buf *in, bool last,
                         struct tsdb_buf *out);
void envelope_packer_end(struct envelope_packer *p); /* one that was not begun is fine */
/* Compress `in` into `out` (initialised, empty). Working memory from the arena. False when that
 * failed or gained nothing: send `in` then. */
bool envelope_pack(const struct tsdb_buf *in, enum envelope_packing packing,
                   struct tsdb_arena *arena, struct tsdb_buf *out);

/* The value of Access-Control-Allow-Origin for a request from `origin`, or NULL when it is not
 * allowed. `pattern` is the anchored regular expression of --web.cors.origin; ".*" answers "*". */
const char *envelope_allow_origin(const char *pattern, const char *origin);

#endif
