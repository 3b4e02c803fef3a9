/* Our own metrics: one visitor that both the text exposition and the self-scrape use.
 * Names: tidalite_<subsystem>_<what>_<unit>, plus process_* and the one prometheus_* name that
 * Thanos reads. */
#ifndef SERVER_PARTS_METRICS_H
#define SERVER_PARTS_METRICS_H

#include "base/bytes.h"
#include "model/labels.h"
#include "model/metadata.h"

struct server;

struct metric_sample {
    const char *family; /* what HELP and TYPE are about */
    const char *name;   /* of the sample: the family, or family + _bucket, _sum, _count */
    const char *help;
    enum tsdb_metric_type type;
    struct tsdb_labels labels; /* sorted, without __name__ */
    double value;
};
typedef void (*metric_fn)(void *arg, const struct metric_sample *m);

/* Every sample of every family; samples of one family come one after the other. Strings are valid
 * during the call only. */
void server_metrics_visit(struct server *s, metric_fn fn, void *arg);
/* The text exposition format of all of them. */
void server_metrics_text(struct server *s, struct tsdb_buf *out);

#endif
