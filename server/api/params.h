/* Parameters of a request: the form body and the query string, percent-decoded.
 *
 * As Go's FormValue: values of the body come before those of the URL, a repeated key keeps all of
 * its values in order, '+' is a space. Everything lives in the caller's arena.
 * Threads: a params belongs to one thread at a time; the functions are pure otherwise.
 */
#ifndef SERVER_API_PARAMS_H
#define SERVER_API_PARAMS_H

#include "base/arena.h"
#include "base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

#define PARAMS_MAX            4096 /* pairs of one request: match[] and friends come in tens */
#define PARAMS_FORM_BYTES_MAX (10u << 20) /* as in Go */

struct param {
    struct tsdb_slice name;
    struct tsdb_slice value;
};
struct params {
    const struct param *items;
    uint32_t count;
};

/* Parse `body` (may be empty; with a boundary it is multipart/form-data, else urlencoded) and then
 * `query`.
 * INVALID for a bad escape ("invalid URL escape \"%zz\""), LIMIT beyond PARAMS_MAX pairs or
 * PARAMS_FORM_BYTES_MAX bytes, NOMEM. */
enum tsdb_status params_parse(struct params *out, struct tsdb_arena *arena, struct tsdb_slice body,
                              const char *boundary, struct tsdb_slice query,
                              struct tsdb_error *err) TSDB_WUR;
/* First value of a name; a slice of length 0 (data NULL) when absent. */
struct tsdb_slice params_get(const struct params *p, const char *name);
/* All values of a name, one per call: start with *pos 0. False when there are no more. */
bool params_next(const struct params *p, const char *name, uint32_t *pos, struct tsdb_slice *out);

/* Percent-decode one path segment: '+' stays a plus. Result in the arena. INVALID, NOMEM, LIMIT. */
enum tsdb_status params_decode_segment(struct tsdb_slice segment, struct tsdb_arena *arena,
                                       struct tsdb_slice *out, struct tsdb_error *err) TSDB_WUR;
/* Undo Prometheus's value escaping of names ("U__http_2e_requests" is http.requests): "__" is '_',
 * "_<hex>_" a code point. Names without the prefix, and those with a malformed escape, are taken as
 * they are. Result in the arena or the input itself; NOMEM, LIMIT. */
enum tsdb_status params_unescape_name(struct tsdb_slice name, struct tsdb_arena *arena,
                                      struct tsdb_slice *out, struct tsdb_error *err) TSDB_WUR;

#endif
