/* Our own metrics: the table of what there is, and the visitor over it. */
#include "server/parts/metrics.h"

#include "base/format.h"
#include "base/latency.h"
#include "model/version.h"
#include "query/cache/cache.h"
#include "server/parts/kept_lists.h"
#include "server/parts/server.h"
#include "server/parts/workers.h"

#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LABEL_VALUES_MAX  3
#define CACHE_FRAME_BYTES 65536.0 /* of the L2 arena; tsdb/chunk/cache_l2.h is not for this room */
/* Prometheus's answer for an empty head: the greatest time of all, in seconds. */
#define NO_TIME_SECONDS 9223372036854775.0

/* Everything is read once, then told. */
struct snapshot {
    struct server *server;
    struct tsdb_stats tsdb;
    enum tsdb_state state;
    struct ingest_stats ingest;
    struct http_stats http;
    struct door_stats door;
    struct workers_stats workers, readers, decoders;
    struct {
        uint64_t used, peak, limit, waited, gave_up, refused;
        uint32_t waiting;
    } budget;
    struct query_cache_stats kept;
    struct kept_lists_stats lists;
    struct rusage usage;
    uint64_t published, published_removed, publish_failures;
};

struct visit {
    const struct snapshot *now;
    metric_fn fn;
    void *arg;
};

/* A metric is one row: its name, type and help, and one of three ways to read it.
 *   FIELD     a number of the snapshot
 *   .read     a function
 *   .visit    a function that emits samples with labels
 *   .label    one sample per value, each a FIELD of its own */
struct metric {
    const char *name;
    enum tsdb_metric_type type;
    const char *help;
    uint16_t offset[LABEL_VALUES_MAX]; /* in struct snapshot */
    uint16_t bytes;                    /* of the field: 4 or 8 */
    double divisor;                    /* 0: none; else the field is signed */
    double (*read)(const struct snapshot *s);
    void (*visit)(const struct metric *m, const struct visit *v);
    const char *label;
    const char *label_values[LABEL_VALUES_MAX];
};

static double field_value(const struct metric *m, const struct snapshot *s, size_t index)
{
    const char *at = (const char *)s + m->offset[index];
    uint64_t wide = 0;
    uint32_t narrow = 0;
    if (m->bytes == sizeof narrow) {
        memcpy(&narrow, at, sizeof narrow);
        return (double)narrow;
    }
    memcpy(&wide, at, sizeof wide);
    return m->divisor > 0 ? (double)(int64_t)wide / m->divisor : (double)wide;
}

static void emit(const struct metric *m, const struct visit *v, const char *label_value,
                 double value)
{
    struct tsdb_label label;
    struct metric_sample sample = {
        .family = m->name, .name = m->name, .help = m->help, .type = m->type, .value = value};
    if (label_value) {
        label = tsdb_label_make(m->label, label_value);
        sample.labels = (struct tsdb_labels){&label, 1};
    }
    v->fn(v->arg, &sample);
}

static double cpu_seconds(const struct snapshot *s)
{
    const struct rusage *u = &s->usage;
    return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
           (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

static double resident_bytes(const struct snapshot *s)
{
    (void)s;
    FILE *f = fopen("/proc/self/statm", "re");
    uint64_t pages = 0;
    char line[128];
    if (f && fgets(line, sizeof line, f)) {
        const char *second = strchr(line, ' ');
        if (second && !tsdb_parse_u64(second + 1, strcspn(second + 1, " "), &pages)) {
            pages = 0;
        }
    }
    if (f) {
        fclose(f);
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds(const struct snapshot *s)
{
    (void)s;
    DIR *d = opendir("/proc/self/fd");
    double n = 0;
    while (d && readdir(d)) {
        n++;
    }
    if (d) {
        closedir(d);
        n -= 3; /* ".", "..", and the directory itself */
    }
    return n;
}

static double fds_max(const struct snapshot *s)
{
    (void)s;
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (double)limit.rlim_cur : 0;
}

static double start_seconds(const struct snapshot *s)
{
    return (double)s->server->start_ms / 1000;
}

static bool is_empty(const struct snapshot *s)
{
    return s->tsdb.min_time_ms > s->tsdb.max_time_ms;
}

static double min_time_seconds(const struct snapshot *s)
{
    return is_empty(s) ? NO_TIME_SECONDS : (double)s->tsdb.min_time_ms / 1000;
}

static double max_time_seconds(const struct snapshot *s)
{
    return is_empty(s) ? 0 : (double)s->tsdb.max_time_ms / 1000;
}

static void visit_build(const struct metric *m, const struct visit *v)
{
    emit(m, v, TIDALITE_VERSION, 1);
}

static void visit_memory(const struct metric *m, const struct visit *v)
{
    for (uint32_t i = 0; i < TSDB_MEM_CATEGORY_COUNT; i++) {
        enum tsdb_mem_category category = (enum tsdb_mem_category)i;
        emit(m, v, tsdb_mem_category_name(category), (double)tsdb_mem_used(category));
    }
}

static void visit_rejected(const struct metric *m, const struct visit *v)
{
    for (uint32_t i = TSDB_REJECT_NONE + 1; i < TSDB_REJECT_COUNT; i++) {
        emit(m, v, tsdb_reject_name((enum tsdb_reject)i), (double)v->now->tsdb.rejected[i]);
    }
}

static void visit_refused(const struct metric *m, const struct visit *v)
{
    static const char *const names[] = {"max_series", "memory", "series_per_metric", "client"};
    static_assert(TSDB_ARRAY_LEN(names) == TSDB_SERIES_LIMIT_COUNT, "every limit has a name");
    for (uint32_t i = 0; i < TSDB_SERIES_LIMIT_COUNT; i++) {
        emit(m, v, names[i], (double)v->now->tsdb.series_refused[i]);
    }
}

static void visit_state(const struct metric *m, const struct visit *v)
{
    for (uint32_t i = 0; i < TSDB_STATE_COUNT; i++) {
        enum tsdb_state state = (enum tsdb_state)i;
        emit(m, v, tsdb_state_name(state), state == v->now->state);
    }
}

static void visit_cache_used(const struct metric *m, const struct visit *v)
{
    emit(m, v, "l1", (double)v->now->tsdb.l1_bytes_used);
    emit(m, v, "l2", (double)v->now->tsdb.l2_frames_used * CACHE_FRAME_BYTES);
}

#if TSDB_PERF
/* One layer as a histogram: fine buckets folded into one per factor of four, 1 us to 16 s. */
static void visit_layer(const struct metric *m, enum tsdb_layer layer, const struct visit *v)
{
    struct tsdb_latency_snapshot s;
    tsdb_latency_read(layer, &s);
    char name[96];
    uint64_t below = 0;
    uint32_t fine = 0;
    struct tsdb_label labels[2] = {tsdb_label_make("layer", tsdb_layer_name(layer)),
                                   tsdb_label_make("le", "+Inf")};
    struct metric_sample sample = {
        .family = m->name, .name = name, .help = m->help, .type = m->type, .labels = {labels, 2}};
    (void)snprintf(name, sizeof name, "%s_bucket", m->name);
    for (uint64_t upper_ns = 1000; upper_ns <= UINT64_C(17000000000); upper_ns *= 4) {
        for (; fine < TSDB_LATENCY_BUCKETS && tsdb_latency_bucket_upper_ns(fine) <= upper_ns;
             fine++) {
            below += s.buckets[fine];
        }
        char le[TSDB_FORMAT_FLOAT_MAX];
        tsdb_format_float_go_g(le, (double)upper_ns / 1e9);
        labels[1] = tsdb_label_make("le", le);
        sample.value = (double)below;
        v->fn(v->arg, &sample);
    }
    labels[1] = tsdb_label_make("le", "+Inf");
    sample.value = (double)s.count;
    v->fn(v->arg, &sample);
    sample.labels.count = 1;
    (void)snprintf(name, sizeof name, "%s_sum", m->name);
    sample.value = (double)s.sum_ns / 1e9;
    v->fn(v->arg, &sample);
    (void)snprintf(name, sizeof name, "%s_count", m->name);
    sample.value = (double)s.count;
    v->fn(v->arg, &sample);
}

static void visit_layers(const struct metric *m, const struct visit *v)
{
    for (uint32_t i = 0; i < TSDB_LAYER_COUNT; i++) {
        visit_layer(m, (enum tsdb_layer)i, v);
    }
}
#endif

#define COUNTER  TSDB_METRIC_COUNTER
#define GAUGE    TSDB_METRIC_GAUGE
#define AT(f)    offsetof(struct snapshot, f)
#define BYTES(f) sizeof(((struct snapshot *)0)->f)
#define FIELD(f) .offset = {AT(f)}, .bytes = BYTES(f)
#define OF_MS(f) FIELD(f), .divisor = 1e3 /* told in seconds */
#define OF_NS(f) FIELD(f), .divisor = 1e9
#define CACHE(what)                                                                                \
    .label = "cache", .label_values = {"l1", "l2"}, .bytes = BYTES(tsdb.l1_##what),                \
    .offset = {AT(tsdb.l1_##what), AT(tsdb.l2_##what)}
#define QUERY_KINDS(what)                                                                          \
    .label = "cost", .label_values = {"cheap", "unknown", "heavy"},                                \
    .bytes = BYTES(workers.kinds[0].what),                                                         \
    .offset = {AT(workers.kinds[WORK_CHEAP].what), AT(workers.kinds[WORK_UNKNOWN].what),           \
               AT(workers.kinds[WORK_HEAVY].what)}

/* clang-format off */
static const struct metric metrics[] = {
    {"process_cpu_seconds_total", COUNTER,
     "User and system CPU time spent, in seconds.", .read = cpu_seconds},
    {"process_resident_memory_bytes", GAUGE,
     "Resident memory size in bytes.", .read = resident_bytes},
    {"process_open_fds", GAUGE, "Open file descriptors.", .read = open_fds},
    {"process_max_fds", GAUGE, "Most file descriptors that may be open.", .read = fds_max},
    {"process_start_time_seconds", GAUGE,
     "Start time of the process, in Unix seconds.", .read = start_seconds},
    {"tidalite_build_info", GAUGE,
     "Version of this Tidalite; the value is always 1.", .visit = visit_build, .label = "version"},
    {"tidalite_memory_bytes", GAUGE,
     "Heap memory of the engine by category.", .visit = visit_memory, .label = "category"},

    {"tidalite_head_series", GAUGE, "Series in memory.", FIELD(tsdb.series)},
    {"tidalite_head_series_limit", GAUGE, "Most series; 0 = no limit.", FIELD(tsdb.series_max)},
    {"tidalite_head_memory_bytes", GAUGE,
     "Memory of series, their labels and what is not in blocks yet.", FIELD(tsdb.head_bytes)},
    {"tidalite_head_memory_limit_bytes", GAUGE,
     "From there on new series are refused; 0 = no limit.", FIELD(tsdb.head_bytes_max)},
    {"tidalite_metric_series_limit", GAUGE,
     "Most series of one metric; 0 = no limit.", FIELD(tsdb.metric_series_max)},
    {"tidalite_series_refused_total", COUNTER,
     "Times that a new series was refused, by limit.", .visit = visit_refused, .label = "limit"},
    {"tidalite_head_series_created_total", COUNTER,
     "Series created since start.", FIELD(tsdb.series_created)},
    {"tidalite_head_chunks", GAUGE,
     "Sealed chunks of the head, in memory or in head files.", FIELD(tsdb.chunks)},
    {"tidalite_head_chunks_unwritten", GAUGE,
     "Sealed chunks in memory that are not in a head file yet.", FIELD(tsdb.seal_pending)},
    {"tidalite_head_files", GAUGE, "Files in head/.", FIELD(tsdb.head_files)},
    {"tidalite_head_file_bytes", GAUGE,
     "Bytes of the files in head/.", FIELD(tsdb.head_file_bytes)},
    {"tidalite_head_chunk_read_failures_total", COUNTER,
     "Chunks of head files that could not be read or did not verify.",
     FIELD(tsdb.head_read_failures)},
    {"tidalite_seal_chunks_total", COUNTER,
     "Chunks written to head files.", FIELD(tsdb.sealed_chunks)},
    {"tidalite_seal_samples_total", COUNTER, "Samples in them.", FIELD(tsdb.sealed_samples)},
    {"tidalite_seal_bytes_total", COUNTER,
     "Bytes written to head files.", FIELD(tsdb.sealed_bytes)},
    {"tidalite_seal_failures_total", COUNTER,
     "Batches of chunks that could not be written; they stay in memory and are tried again.",
     FIELD(tsdb.seal_failures)},
    {"tidalite_index_label_pairs", GAUGE, "Distinct label pairs.", FIELD(tsdb.label_pairs)},
    {"tidalite_index_symbols", GAUGE, "Interned strings.", FIELD(tsdb.symbols)},
    {"tidalite_alias_entries", GAUGE, "Entries of the alias table.", FIELD(tsdb.aliases)},
    {"tidalite_alias_misses_total", COUNTER,
     "Series that writes brought without a known alias.", FIELD(tsdb.alias_misses)},
    {"tidalite_head_samples_appended_total", COUNTER,
     "Float samples appended.", FIELD(tsdb.samples_appended)},
    {"tidalite_head_histograms_appended_total", COUNTER,
     "Histogram samples appended.", FIELD(tsdb.histograms_appended)},
    {"tidalite_head_exemplars_appended_total", COUNTER,
     "Exemplars appended.", FIELD(tsdb.exemplars_appended)},
    {"tidalite_head_duplicates_total", COUNTER,
     "Samples that were there already, bit for bit.", FIELD(tsdb.duplicates)},
    {"tidalite_head_out_of_order_total", COUNTER,
     "Samples older than their series' newest.", FIELD(tsdb.out_of_order)},
    {"tidalite_head_rejected_total", COUNTER,
     "Samples refused, by reason.", .visit = visit_rejected, .label = "reason"},
    {"prometheus_tsdb_lowest_timestamp_seconds", GAUGE,
     "Lowest time stamp stored, in Unix seconds.", .read = min_time_seconds},
    {"tidalite_head_max_time_seconds", GAUGE,
     "Highest time stamp stored, in Unix seconds.", .read = max_time_seconds},
    {"tidalite_published_blocks_total", COUNTER,
     "Prometheus blocks published, --storage.prometheus-blocks.path.", FIELD(published)},
    {"tidalite_published_blocks_removed_total", COUNTER,
     "Those that were shipped or expired, and removed there.", FIELD(published_removed)},
    {"tidalite_publish_failures_total", COUNTER,
     "Windows that could not be published, and are tried again.", FIELD(publish_failures)},
    {"tidalite_ring_depth", GAUGE, "Batches waiting for their owners.", FIELD(tsdb.ring_depth)},
    {"tidalite_ring_full_total", COUNTER,
     "Writes refused because a ring had no room.", FIELD(tsdb.ring_full)},

    {"tidalite_state", GAUGE,
     "State of storage: 1 for the one that it is in.", .visit = visit_state, .label = "state"},
    {"tidalite_wal_segment", GAUGE,
     "Number of the segment being written.", FIELD(tsdb.wal_segment)},
    {"tidalite_wal_written_bytes_total", COUNTER,
     "Bytes written to the log.", FIELD(tsdb.wal_bytes_written)},
    {"tidalite_wal_samples_total", COUNTER,
     "Samples written to the log.", FIELD(tsdb.wal_samples_written)},
    {"tidalite_wal_writes_total", COUNTER, "write calls.", FIELD(tsdb.wal_writes)},
    {"tidalite_wal_syncs_total", COUNTER, "fdatasync calls.", FIELD(tsdb.wal_syncs)},
    {"tidalite_wal_failures_total", COUNTER, "Failed writes and syncs.", FIELD(tsdb.wal_failures)},
    {"tidalite_wal_state", GAUGE,
     "0: the log takes writes, 1: it tries to open a segment again, 2: it is read-only.",
     FIELD(tsdb.wal_state)},
    {"tidalite_wal_retries_total", COUNTER, "Attempts to open a segment after one had failed.",
     FIELD(tsdb.wal_retries)},
    {"tidalite_wal_disk_bytes", GAUGE,
     "Disk space of the log, preallocation included.", FIELD(tsdb.wal_disk_bytes)},
    {"tidalite_wal_reserve_bytes", GAUGE,
     "Room that the log takes when the disk is full; 0: it is taken, or not made yet.",
     FIELD(tsdb.wal_reserve_bytes)},
    {"tidalite_disk_free_bytes", GAUGE, "Free space of the data directory's disk.",
     FIELD(tsdb.disk_free_bytes)},
    {"tidalite_disk_size_bytes", GAUGE, "Size of the data directory's disk.",
     FIELD(tsdb.disk_total_bytes)},
    {"tidalite_disk_reserve_bytes", GAUGE, "What work that can wait leaves of it to the log.",
     FIELD(tsdb.disk_reserve_bytes)},
    {"tidalite_disk_low", GAUGE, "1: less than that is free, and such work waits.",
     FIELD(tsdb.disk_low)},
    {"tidalite_wal_unsynced_bytes", GAUGE,
     "Bytes written and not yet synced.", FIELD(tsdb.wal_unsynced_bytes)},
    {"tidalite_checkpoints_total", COUNTER, "Checkpoints written.", FIELD(tsdb.checkpoints)},
    {"tidalite_checkpoint_failures_total", COUNTER,
     "Checkpoints that failed.", FIELD(tsdb.checkpoint_failures)},
    {"tidalite_checkpoint_last_bytes", GAUGE,
     "Size of the last checkpoint.", FIELD(tsdb.checkpoint_last_bytes)},
    {"tidalite_checkpoint_last_timestamp_seconds", GAUGE,
     "When the last checkpoint was written.", OF_MS(tsdb.checkpoint_last_ms)},
    {"tidalite_replay_frames", GAUGE, "Log frames applied at start.", FIELD(tsdb.replay_frames)},
    {"tidalite_replay_samples", GAUGE,
     "Samples applied from the log at start.", FIELD(tsdb.replay_samples)},
    {"tidalite_replay_damaged_ranges", GAUGE,
     "Stretches of log that could not be read at start.", FIELD(tsdb.replay_damage)},
    {"tidalite_replay_lost_frames", GAUGE,
     "Log frames missing at start: acknowledged samples may be lost.",
     FIELD(tsdb.replay_lost_frames)},
    {"tidalite_replay_dropped_samples", GAUGE,
     "Samples of the log dropped at start, because their series was lost with a frame.",
     FIELD(tsdb.replay_dropped_samples)},
    {"tidalite_replay_lost_chunks", GAUGE,
     "Chunks of head files that were not readable at start.", FIELD(tsdb.replay_lost_chunks)},
    {"tidalite_replay_lost_series", GAUGE,
     "Series whose labels were damaged or missing at start.", FIELD(tsdb.replay_lost_series)},
    {"tidalite_replay_lost_checkpoint_ranges", GAUGE,
     "Damaged stretches of checkpoints that no other copy made good at start.",
     FIELD(tsdb.replay_lost_ranges)},
    {"tidalite_quarantine_files", GAUGE, "Files in quarantine/.", FIELD(tsdb.quarantine_files)},
    {"tidalite_quarantine_bytes", GAUGE, "Bytes of them.", FIELD(tsdb.quarantine_bytes)},
    {"tidalite_replay_lost_log_segments", GAUGE,
     "Segments that were missing at the log's end at start, though they had been synced.",
     FIELD(tsdb.replay_lost_log_segments)},
    {"tidalite_replay_lost_log_bytes", GAUGE,
     "Bytes of the last synced segment that were missing at start.",
     FIELD(tsdb.replay_lost_log_bytes)},
    {"tidalite_replay_duration_seconds", GAUGE,
     "Time that recovery took at start.", OF_NS(tsdb.replay_duration_ns)},

    {"tidalite_blocks", GAUGE, "Blocks that queries read.", FIELD(tsdb.blocks)},
    {"tidalite_block_bytes", GAUGE, "Size of the blocks on disk.", FIELD(tsdb.block_bytes)},
    {"tidalite_blocks_deleted_total", COUNTER,
     "Blocks deleted after they were merged or too old.", FIELD(tsdb.blocks_deleted)},
    {"tidalite_blocks_expired_total", COUNTER,
     "Blocks dropped by retention.", FIELD(tsdb.blocks_expired)},
    {"tidalite_blocks_quarantined_total", COUNTER,
     "Damaged blocks moved to quarantine.", FIELD(tsdb.blocks_quarantined)},
    {"tidalite_blocks_quarantined_samples", GAUGE,
     "Samples of damaged blocks moved to quarantine at start, of those that say so.",
     FIELD(tsdb.lost_block_samples)},
    {"tidalite_tombstones_damaged_total", COUNTER,
     "Tombstones of blocks that were damaged: what they hid shows again.",
     FIELD(tsdb.tombstones_damaged)},
    {"tidalite_tombstones_samples", GAUGE,
     "Samples that are deleted and still in the files of blocks.", FIELD(tsdb.tombstones_samples)},
    {"tidalite_blocks_damaged_total", COUNTER,
     "Blocks that are not merged any more: damaged, or not readable again and again.",
     FIELD(tsdb.blocks_damaged)},
    {"tidalite_head_files_damaged_total", COUNTER,
     "Head files of which chunks were given up: damaged, or not readable again and again.",
     FIELD(tsdb.head_files_damaged)},
    {"tidalite_flushes_total", COUNTER, "Blocks written from the head.", FIELD(tsdb.flushes)},
    {"tidalite_flush_failures_total", COUNTER,
     "Flushes that failed and are tried again.", FIELD(tsdb.flush_failures)},
    {"tidalite_flush_samples_total", COUNTER,
     "Samples written to blocks from the head.", FIELD(tsdb.flush_samples)},
    {"tidalite_flush_lost_chunks_total", COUNTER,
     "Damaged chunks that could not be flushed.", FIELD(tsdb.flush_chunks_lost)},
    {"tidalite_compactions_total", COUNTER, "Merges of blocks.", FIELD(tsdb.compactions)},
    {"tidalite_compaction_failures_total", COUNTER,
     "Merges that failed and are tried again.", FIELD(tsdb.compaction_failures)},

    {"tidalite_cache_size_bytes", GAUGE, "Limit of the cache.", CACHE(bytes)},
    {"tidalite_cache_used_bytes", GAUGE,
     "What the cache holds.", .visit = visit_cache_used, .label = "cache"},
    {"tidalite_cache_hits_total", COUNTER, "Look-ups that found their entry.", CACHE(hits)},
    {"tidalite_cache_misses_total", COUNTER, "Look-ups that did not.", CACHE(misses)},
    {"tidalite_cache_evictions_total", COUNTER, "Entries that made room.", CACHE(evictions)},
    {"tidalite_cache_l2_bypasses_total", COUNTER,
     "Reads beside the L2 arena because all its frames were pinned.", FIELD(tsdb.l2_bypasses)},

    {"tidalite_ingest_requests_total", COUNTER, "Write requests.", FIELD(ingest.requests)},
    {"tidalite_ingest_requests_failed_total", COUNTER,
     "Write requests not answered with success.", FIELD(ingest.requests_failed)},
    {"tidalite_ingest_busy_total", COUNTER,
     "Write requests refused for lack of memory budget.", FIELD(ingest.busy)},
    {"tidalite_ingest_body_bytes_total", COUNTER,
     "Bytes of write bodies, as sent.", FIELD(ingest.body_bytes)},
    {"tidalite_ingest_decoded_bytes_total", COUNTER,
     "Bytes of write bodies, decompressed.", FIELD(ingest.decoded_bytes)},
    {"tidalite_ingest_inflight_peak_bytes", GAUGE,
     "The most of it that was in use so far, kept buffers included.", FIELD(ingest.peak_bytes)},
    {"tidalite_ingest_inflight_bytes", GAUGE,
     "Memory budget in use by write requests.", FIELD(ingest.inflight_bytes)},
    {"tidalite_ingest_samples_total", COUNTER,
     "Float samples acknowledged.", FIELD(ingest.samples)},
    {"tidalite_ingest_histograms_total", COUNTER,
     "Histogram samples acknowledged.", FIELD(ingest.histograms)},
    {"tidalite_ingest_exemplars_total", COUNTER,
     "Exemplars acknowledged.", FIELD(ingest.exemplars)},
    {"tidalite_ingest_rejected_total", COUNTER,
     "Samples refused for good.", FIELD(ingest.rejected)},
    {"tidalite_ingest_metadata_total", COUNTER, "Metadata entries taken.", FIELD(ingest.metadata)},
    {"tidalite_ingest_series_hits_total", COUNTER,
     "Series found by their alias.", FIELD(ingest.series_hits)},
    {"tidalite_ingest_series_misses_total", COUNTER,
     "Series that took the slow path.", FIELD(ingest.series_misses)},
    {"tidalite_ingest_large_total", COUNTER,
     "Write requests decoded by threads of their own.", FIELD(decoders.submitted)},
    {"tidalite_ingest_large_waiting", GAUGE,
     "Large write requests that wait to be decoded.", FIELD(decoders.waiting)},

    {"tidalite_http_requests_total", COUNTER, "HTTP requests.", FIELD(http.requests)},
    {"tidalite_http_connections_total", COUNTER,
     "HTTP connections accepted.", FIELD(http.connections)},
    {"tidalite_http_connections_refused_total", COUNTER,
     "HTTP connections refused.", FIELD(http.connections_refused)},
    {"tidalite_http_connections_late_total", COUNTER,
     "HTTP connections closed because a request took too long to arrive, or its answer to be taken.",
     FIELD(http.connections_late)},
    {"tidalite_http_unauthorized_total", COUNTER,
     "Requests without valid credentials, or for more than they allow.",
     FIELD(door.unauthorized)},
    {"tidalite_http_host_refused_total", COUNTER,
     "Requests for a Host that is not ours.", FIELD(door.wrong_host)},
    {"tidalite_http_client_limited_total", COUNTER,
     "Requests of clients over their limit.", FIELD(door.limited)},
    {"tidalite_http_connections_open", GAUGE,
     "HTTP connections open.", FIELD(http.connections_open)},
    {"tidalite_http_received_bytes_total", COUNTER,
     "Bytes of request bodies.", FIELD(http.bytes_in)},
    {"tidalite_http_sent_bytes_total", COUNTER, "Bytes of answers.", FIELD(http.bytes_out)},

    {"tidalite_query_running", GAUGE, "Queries being evaluated.", FIELD(workers.running)},
    {"tidalite_query_waiting", GAUGE, "Queries waiting for a worker.", FIELD(workers.waiting)},
    {"tidalite_query_submitted_total", COUNTER,
     "Queries taken into the queue.", FIELD(workers.submitted)},
    {"tidalite_query_refused_total", COUNTER,
     "Queries refused because the queue was full.", FIELD(workers.refused)},
    {"tidalite_query_cost_running", GAUGE,
     "Queries being evaluated, by what they are known to cost.", QUERY_KINDS(running)},
    {"tidalite_query_cost_waiting", GAUGE,
     "Queries waiting for a worker, by what they are known to cost.", QUERY_KINDS(waiting)},
    {"tidalite_query_cost_submitted_total", COUNTER,
     "Queries taken into the queue, by what they are known to cost.", QUERY_KINDS(submitted)},
    {"tidalite_query_cost_refused_total", COUNTER,
     "Queries refused because the queue was full, by what they are known to cost.",
     QUERY_KINDS(refused)},
    {"tidalite_query_memory_bytes", GAUGE,
     "Memory of queries in work and of answers being sent.", FIELD(budget.used)},
    {"tidalite_query_memory_peak_bytes", GAUGE, "The most of it since the start.", FIELD(budget.peak)},
    {"tidalite_query_memory_limit_bytes", GAUGE,
     "The most that it may be; 0 = no limit.", FIELD(budget.limit)},
    {"tidalite_query_memory_waiting", GAUGE,
     "Queries that wait for memory of others.", FIELD(budget.waiting)},
    {"tidalite_query_memory_waited_total", COUNTER,
     "Queries that had to wait for memory of others.", FIELD(budget.waited)},
    {"tidalite_query_memory_gave_up_total", COUNTER,
     "Queries that waited for it in vain.", FIELD(budget.gave_up)},
    {"tidalite_query_memory_refused_total", COUNTER,
     "Times that a query in work got no more memory because all together held what they may.",
     FIELD(budget.refused)},
    {"tidalite_query_cache_size_bytes", GAUGE,
     "Limit of the cache of range queries.", FIELD(kept.bytes_max)},
    {"tidalite_query_cache_used_bytes", GAUGE, "Memory of the answers in it.", FIELD(kept.bytes)},
    {"tidalite_query_cache_entries", GAUGE, "Answers in it.", FIELD(kept.entries)},
    {"tidalite_query_cache_requests_total", COUNTER,
     "Range queries that it may answer, by what it had: all steps, some, none.", .label = "result",
     .label_values = {"hit", "partial", "miss"}, .bytes = BYTES(kept.hits),
     .offset = {AT(kept.hits), AT(kept.partial), AT(kept.misses)}},
    {"tidalite_query_cache_bypassed_total", COUNTER,
     "Range queries whose steps do not stand alone, and which are always computed.",
     FIELD(kept.bypassed)},
    {"tidalite_query_cache_steps_total", COUNTER,
     "Steps of range queries that it may answer, by where they came from.", .label = "source",
     .label_values = {"kept", "computed"}, .bytes = BYTES(kept.steps_kept),
     .offset = {AT(kept.steps_kept), AT(kept.steps_computed)}},
    {"tidalite_query_cache_voided_total", COUNTER,
     "Answers of which a write, a delete or the like has left nothing.", FIELD(kept.voided)},
    {"tidalite_query_cache_evictions_total", COUNTER,
     "Answers that made room for others.", FIELD(kept.evicted)},
    {"tidalite_label_cache_size_bytes", GAUGE,
     "Limit of the cache of lists of labels and series.", FIELD(lists.bytes_max)},
    {"tidalite_label_cache_used_bytes", GAUGE, "Memory of the lists in it.", FIELD(lists.bytes)},
    {"tidalite_label_cache_entries", GAUGE, "Lists in it.", FIELD(lists.entries)},
    {"tidalite_label_cache_requests_total", COUNTER,
     "Questions for lists, by whether one was kept that still holds.", .label = "result",
     .label_values = {"hit", "miss"}, .bytes = BYTES(lists.hits),
     .offset = {AT(lists.hits), AT(lists.misses)}},
    {"tidalite_label_cache_voided_total", COUNTER,
     "Lists that a new series, a block or a sample has made useless.", FIELD(lists.voided)},
    {"tidalite_label_cache_evictions_total", COUNTER, "Lists that made room for others.",
     FIELD(lists.evicted)},
    {"tidalite_remote_read_running", GAUGE, "Remote read calls being answered.", FIELD(readers.running)},
    {"tidalite_remote_read_waiting", GAUGE, "Remote read calls waiting for a thread.",
     FIELD(readers.waiting)},
    {"tidalite_remote_read_submitted_total", COUNTER, "Remote read calls taken into the queue.",
     FIELD(readers.submitted)},
    {"tidalite_remote_read_refused_total", COUNTER,
     "Remote read calls refused because the queue was full.", FIELD(readers.refused)},

#if TSDB_PERF
    {"tidalite_layer_duration_seconds", TSDB_METRIC_HISTOGRAM, "Time spent per layer, in seconds.",
     .visit = visit_layers},
#endif
};
/* clang-format on */

static void read_budget(const struct budget *b, struct snapshot *out)
{
    out->budget.used = atomic_load_explicit(&b->total.used_bytes, memory_order_relaxed);
    out->budget.peak = atomic_load_explicit(&b->total.peak_bytes, memory_order_relaxed);
    out->budget.limit = b->total.limit_bytes;
    out->budget.waiting = atomic_load_explicit(&b->waiting_count, memory_order_relaxed);
    out->budget.waited = atomic_load_explicit(&b->waited, memory_order_relaxed);
    out->budget.gave_up = atomic_load_explicit(&b->gave_up, memory_order_relaxed);
    out->budget.refused = atomic_load_explicit(&b->total.refusals, memory_order_relaxed) +
                          atomic_load_explicit(&b->costly.refusals, memory_order_relaxed);
}

static void take_snapshot(struct server *s, struct snapshot *out)
{
    memset(out, 0, sizeof *out);
    out->server = s;
    tsdb_stats_read(s->db, &out->tsdb);
    out->state = tsdb_state(s->db, NULL);
    ingest_stats_read(s->ingest, &out->ingest);
    /* What the decoders refuse never reaches a head. */
    out->tsdb.rejected[TSDB_REJECT_LABELS] += out->ingest.rejected_labels;
    out->tsdb.rejected[TSDB_REJECT_HISTOGRAM] += out->ingest.rejected_histograms;
    out->tsdb.rejected[TSDB_REJECT_SYNTAX] += out->ingest.rejected_syntax;
    out->tsdb.rejected[TSDB_REJECT_UNSUPPORTED] += out->ingest.rejected_unsupported;
    if (s->http) {
        http_stats_read(s->http, &out->http);
        door_stats_read(s->door, &out->door);
    }
    if (s->workers) {
        workers_stats_read(s->workers, &out->workers);
    }
    if (s->readers) {
        workers_stats_read(s->readers, &out->readers);
    }
    if (s->decoders) {
        workers_stats_read(s->decoders, &out->decoders);
    }
    read_budget(&s->budget, out);
    query_cache_stats(s->query_cache, &out->kept);
    kept_lists_stats(s->kept_lists, &out->lists);
    getrusage(RUSAGE_SELF, &out->usage);
    out->published = atomic_load(&s->blocks_published);
    out->published_removed = atomic_load(&s->blocks_published_removed);
    out->publish_failures = atomic_load(&s->publish_failures);
}

static void visit_metric(const struct metric *m, const struct visit *v)
{
    if (m->visit) {
        m->visit(m, v);
    } else if (m->read) {
        emit(m, v, NULL, m->read(v->now));
    } else if (!m->label) {
        emit(m, v, NULL, field_value(m, v->now, 0));
    } else {
        for (size_t i = 0; i < LABEL_VALUES_MAX && m->label_values[i]; i++) {
            emit(m, v, m->label_values[i], field_value(m, v->now, i));
        }
    }
}

void server_metrics_visit(struct server *s, metric_fn fn, void *arg)
{
    struct snapshot now;
    take_snapshot(s, &now);
    struct visit v = {&now, fn, arg};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(metrics); i++) {
        visit_metric(&metrics[i], &v);
    }
}
