/* Taking a server down, in the reverse order of its start. */
#ifndef SERVER_SHUTDOWN_H
#define SERVER_SHUTDOWN_H

#include "base/status.h"

#include <stdbool.h>

struct server;
struct self_scrape;
struct publishing;

/* Stop listening, let requests finish (--web.shutdown-timeout; then they are cancelled, and as long
 * again later given up), sync the log and write the checkpoint. What takes longer than the timeout
 * is named in the log while it is waited for.
 *
 * *out_left_behind: requests were given up. Then their threads still run, so nothing is freed, and
 * the caller ends the process at once. Returns what closing the engine returned. */
enum tsdb_status server_shutdown(struct server *s, struct self_scrape *scrape,
                                 struct publishing *publishing, bool *out_left_behind,
                                 struct tsdb_error *err);

#endif
