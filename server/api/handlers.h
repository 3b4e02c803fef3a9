/* The handlers, by file; routes.c names each in its row. */
#ifndef SERVER_API_HANDLERS_H
#define SERVER_API_HANDLERS_H

#include "server/api/call.h"

/* query.c */
void api_query(struct call *c);
void api_query_range(struct call *c);
void api_format_query(struct call *c);
void api_parse_query(struct call *c);
void api_query_exemplars(struct call *c);
/* remote_read.c */
void api_read(struct call *c);
/* federate.c */
void page_federate(struct call *c);
/* series.c */
void api_series(struct call *c);
void api_labels(struct call *c);
void api_label_values(struct call *c);
/* search.c */
void api_search_metric_names(struct call *c);
void api_search_label_names(struct call *c);
void api_search_label_values(struct call *c);
/* metadata.c */
void api_metadata(struct call *c);
/* discovery.c */
void api_rules(struct call *c);
void api_alerts(struct call *c);
void api_targets(struct call *c);
void api_targets_metadata(struct call *c);
void api_scrape_pools(struct call *c);
void api_alertmanagers(struct call *c);
void api_notifications(struct call *c);
/* features.c */
void api_features(struct call *c);
/* status.c */
void api_status_buildinfo(struct call *c);
void api_status_flags(struct call *c);
void api_status_config(struct call *c);
void api_status_runtimeinfo(struct call *c);
void api_status_walreplay(struct call *c);
void api_status_tsdb(struct call *c);
void api_status_blocks(struct call *c);
void page_version(struct call *c);
/* admin.c */
void api_admin_snapshot(struct call *c);
void api_admin_delete_series(struct call *c);
void api_admin_clean_tombstones(struct call *c);
void api_admin_flush(struct call *c);
void api_admin_compact(struct call *c);
void api_admin_deletes(struct call *c);
/* active.c */
void api_active_queries(struct call *c);
void api_cancel_query(struct call *c);
/* asked.c */
void api_metric_names_stats(struct call *c);
/* Remember what a query that is about to be evaluated asks for. */
void api_note_asked(struct call *c, const struct query_expr *expr);
/* self_metrics.c */
void api_self_metrics(struct call *c);
/* pages.c */
void page_healthy(struct call *c);
void page_ready(struct call *c);
/* "/" of a server that has a prefix: where it is. */
void page_to_prefix(struct call *c);
void page_reload(struct call *c);
void page_quit(struct call *c);
void page_metrics(struct call *c);
/* ui.c */
void page_root(struct call *c);
void page_file(struct call *c);
/* write.c: the four steps of a write, each in the daemon's thread.
 * They answer by themselves. */
void api_write_headers(struct call *c);
void api_write_body(struct call *c, const void *data, size_t len);
void api_write_complete(struct call *c);
void api_write_wake(struct call *c);
/* The client has gone before it was answered; what it has stored counts as its own all the same. */
void api_write_cut(struct call *c);
/* otlp.c: what is different where ROUTE_OTLP is set. */
/* False: refused, the text is what to say. */
bool api_otlp_negotiate(struct call *c, const char **out_text);
void api_otlp_reply(struct call *c, const struct ingest_answer *a);
/* import.c: likewise where ROUTE_IMPORT is set. */
bool api_import_negotiate(struct call *c, const char **out_text);
/* Between two stretches of the body: a line in the log now and then. */
void api_import_progress(struct call *c);
/* Only when c->stats_wanted, else the answer of a write is its answer. */
void api_import_reply(struct call *c, const struct ingest_answer *a);
/* write.c, for others that answer writes. */
unsigned api_write_status_of(enum tsdb_status status);
/* Is a Content-Encoding known? gzip: taken too. */
bool api_write_encoding(const char *header, bool gzip, enum ingest_encoding *out);
/* The three counts, all 0, for an answer to a write that never came to ingest/. */
void api_write_counts_zero(struct http_reply *r);

/* Is storage ready for reads? *out_stopping: the server is on its way down. */
bool server_ready(struct server *s, bool *out_stopping);

#endif
