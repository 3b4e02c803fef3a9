/* Answers that may be kept (server/parts/kept_lists.h), for routes with ROUTE_KEPT. */
#ifndef SERVER_API_KEPT_H
#define SERVER_API_KEPT_H

#include "server/api/call.h"

/* In the daemon's thread, when the parameters are there. True: the answer is in the call. */
bool api_kept_find(struct call *c);
/* Before storage is asked for the answer, for a range: it may be kept, if it is whole. */
void api_kept_begin(struct call *c, struct tsdb_time_range range);

#endif
