/* One GET or POST without a body over plain HTTP: http://host[:port][/prefix] + path. A connection an answer, bounded in size;
 * the answer's status is the caller's affair. Threads: one.
 */
#ifndef TOOLS_CMD_HTTP_CALL_H
#define TOOLS_CMD_HTTP_CALL_H

#include "base/bytes.h"

#define HTTP_CALL_BYTES_MAX (UINT64_C(1) << 30) /* of an answer */

bool http_is_url(const char *s); /* http:// or https:// */
/* path begins with '/'. body: initialised, gets the bytes behind the head. INVALID: not such a URL;
 * UNSUPPORTED: https; IO: no connection, or it ended early; LIMIT. */
enum tsdb_status http_call(const char *url, const char *method, const char *path,
                           unsigned *out_code, struct tsdb_buf *body,
                           struct tsdb_error *err) TSDB_WUR;
/* Append s, escaped for a query string. */
void http_escape(struct tsdb_buf *out, const char *s, size_t len);

#endif
