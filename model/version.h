/* Versions of everything that is written, in one place. A format change is code, docs/format page
 * and golden file in one commit; readers refuse versions they do not know with TSDB_UNSUPPORTED. */
#ifndef MODEL_VERSION_H
#define MODEL_VERSION_H

#define TIDALITE_VERSION "0.2.0"
/* What /api/v1/status/buildinfo says as "version": plain semver >= 2.24.0, because Grafana and
 * Thanos read features off it. */
#define TIDALITE_PROMETHEUS_VERSION "3.14.0"

#define TSDB_FORMAT_DATA_DIR     2 /* VERSION */
#define TSDB_PLACEMENT_RULE      1 /* model/placement.h */
#define TSDB_FORMAT_WAL          5 /* wal/ segments */
#define TSDB_FORMAT_WAL_POSITION 1 /* wal/POSITION */
#define TSDB_FORMAT_SERIES_LOG   3 /* series.log */
#define TSDB_FORMAT_CHECKPOINT   6 /* checkpoint/ */
#define TSDB_FORMAT_HEAD_CHUNKS  3 /* head/ */
#define TSDB_FORMAT_METADATA     1 /* metadata */
#define TSDB_FORMAT_HISTOGRAM    1 /* raw histograms */
#define TSDB_FORMAT_BLOCK        1 /* blocks/: meta.json, chunks */
#define TSDB_FORMAT_INDEX        1 /* blocks/<ULID>/index */
#define TSDB_FORMAT_SNAPSHOT     1 /* snapshots/<name>/MANIFEST */
#define TSDB_FORMAT_TOMBSTONES   1 /* blocks/<ULID>/tombstones */

#endif
