/* The text of an import: from a body that comes in stretches to whole lines for the parser.
 *
 *   body stretch -> (gzip, zstd) -> window of lines -> r->text.parser
 *
 * Owned by the request; one thread at a time. */
#ifndef INGEST_IMPORT_H
#define INGEST_IMPORT_H

#include "base/status.h"

#include <stdbool.h>

struct ingest_request;

/* Begins the import if need be, keeps what is not read yet of the window, fills it up from the body, and
 * points r->text.parser at its whole lines, perhaps none. All lines of before have been read.
 * INVALID: damaged packing, a cut body, a line that does not fit; LIMIT, NOMEM. */
enum tsdb_status ingest_import_fill(struct ingest_request *r, struct tsdb_error *err) TSDB_WUR;
/* Is there anything left of the stretch of the body that came last? */
bool ingest_import_has_body(const struct ingest_request *r);
/* Is there anything left to read, before more of the body comes? */
bool ingest_import_has_more(const struct ingest_request *r);
/* All of r->text: zeroes, and nothing held but the buffers. */
void ingest_import_deinit(struct ingest_request *r);

#endif
