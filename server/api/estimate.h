/* Which kind of work a call is, before it runs: by what calls of the same shape took. */
#ifndef SERVER_API_ESTIMATE_H
#define SERVER_API_ESTIMATE_H

#include "server/api/call.h"

/* Its parameters are parsed. Sets call->shape, too. Costs a hash of them. */
enum work_kind estimate_kind(struct call *c);
/* It is about to run: its share of the budget. BUSY: there is none; CANCELLED, TIMEOUT. After OK, estimate_end. */
enum tsdb_status estimate_begin(struct call *c) TSDB_WUR;
/* It has run, and the thread spent so much on it. */
void estimate_end(struct call *c, int64_t spent_ns);

#endif
