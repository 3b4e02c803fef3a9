/* Exemplars: a sample of one series with labels of its own, usually a trace id. */
#ifndef MODEL_EXEMPLAR_H
#define MODEL_EXEMPLAR_H

#include "model/labels.h"

struct tsdb_exemplar {
    struct tsdb_labels labels; /* borrowed; TSDB_EXEMPLAR_LABEL_CHARS_MAX characters in all */
    uint64_t bits;
    int64_t t_ms; /* 0: that of the sample beside it */
};

/* INVALID if labels are not unique or exceed the OpenMetrics limit ("exemplar labels length exceeds
 * limit"). */
enum tsdb_status tsdb_exemplar_validate(const struct tsdb_exemplar *e,
                                        struct tsdb_error *err) TSDB_WUR;

#endif
