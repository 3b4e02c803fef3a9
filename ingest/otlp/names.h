/* Names of OTLP as names of Prometheus.
 *
 * Metrics, with underscores: runs of other characters than [a-zA-Z0-9:] become one "_"; with suffixes
 * the unit is added in words ("By/s": _bytes_per_second) unless a word of the name says it, "_ratio"
 * for gauges of unit 1, "_total" for counters. With UTF-8 the name stays and suffixes are added.
 * Labels, with underscores: each other character becomes "_", a leading digit gets "key_" in front and
 * a single leading "_" "key". Source: the OpenTelemetry specification's compatibility page and
 * Prometheus's otlptranslator. Threads: pure. */
#ifndef INGEST_OTLP_NAMES_H
#define INGEST_OTLP_NAMES_H

#include "ingest/otlp/otlp.h"

/* The name is in the arena, or the text itself. INVALID: nothing is left of it but underscores. NOMEM,
 * LIMIT. */
enum tsdb_status otlp_metric_name(const struct otlp_options *o, struct tsdb_slice name,
                                  struct tsdb_slice unit, bool gauge, bool counter,
                                  struct tsdb_arena *arena, struct tsdb_slice *out,
                                  struct tsdb_error *err) TSDB_WUR;
enum tsdb_status otlp_label_name(const struct otlp_options *o, struct tsdb_slice name,
                                 struct tsdb_arena *arena, struct tsdb_slice *out,
                                 struct tsdb_error *err) TSDB_WUR;

#endif
