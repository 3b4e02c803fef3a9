/* A thread that writes our own metrics through the ordinary ingest path; the first at once. */
#ifndef SERVER_SELF_SCRAPE_H
#define SERVER_SELF_SCRAPE_H

#include "base/status.h"

struct server;
struct self_scrape;

/* NOMEM, IO (thread). */
enum tsdb_status self_scrape_start(struct server *s, struct self_scrape **out,
                                   struct tsdb_error *err) TSDB_WUR;
void self_scrape_stop(struct self_scrape *ss); /* NULL is fine */

#endif
