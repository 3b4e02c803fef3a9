/* multipart/form-data (RFC 7578) as far as a form of texts goes: names and values of its parts. Parts
 * that are files are passed over, as Go's FormValue does. Values are slices of the body. */
#ifndef SERVER_API_MULTIPART_H
#define SERVER_API_MULTIPART_H

#include "server/api/params.h"

#define MULTIPART_BOUNDARY_MAX 70 /* RFC 2046 */

/* Is it one, with a boundary of 1 to 70 bytes? Then that, as a string. */
bool multipart_boundary(const char *content_type, char out[MULTIPART_BOUNDARY_MAX + 1]);
/* How many parts the body has at most. */
uint32_t multipart_count(struct tsdb_slice body, const char *boundary);
/* Parts to items[*count], behind those that are there; items has room for multipart_count. Names are
 * in the arena. INVALID for what is no such form, NOMEM, LIMIT. */
enum tsdb_status multipart_parse(struct tsdb_slice body, const char *boundary,
                                 struct tsdb_arena *arena, struct param *items, uint32_t *count,
                                 struct tsdb_error *err) TSDB_WUR;

#endif
