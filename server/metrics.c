/* Our own metrics: what the visitor visits, and the text form. */
#include "server/metrics.h"

#include "base/format.h"
#include "base/latency.h"
#include "model/version.h"
#include "server/api/workers.h"
#include "server/server.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define CACHE_FRAME_BYTES                                                                          \
    65536.0 /* of the L2 arena; tsdb/chunk/cache_l2.h is not for this folder */

struct visit {
    metric_fn fn;
    void *arg;
};

static void emit(const struct visit *v, enum tsdb_metric_type type, const char *name, double value,
                 const char *help)
{
    struct metric_sample m = {
        .family = name, .name = name, .help = help, .type = type, .value = value};
    v->fn(v->arg, &m);
}
static void counter(const struct visit *v, const char *name, uint64_t value, const char *help)
{
    emit(v, TSDB_METRIC_COUNTER, name, (double)value, help);
}
static void gauge(const struct visit *v, const char *name, double value, const char *help)
{
    emit(v, TSDB_METRIC_GAUGE, name, value, help);
}
static void labelled(const struct visit *v, enum tsdb_metric_type type, const char *name,
                     const char *label, const char *label_value, double value, const char *help)
{
    struct tsdb_label l = tsdb_label_make(label, label_value);
    struct metric_sample m = {.family = name,
                              .name = name,
                              .help = help,
                              .type = type,
                              .labels = {&l, 1},
                              .value = value};
    v->fn(v->arg, &m);
}

static double resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;
    if (f) {
        char line[128];
        if (fgets(line, sizeof line, f)) {
            const char *second = strchr(line, ' ');
            uint64_t n = 0;
            if (second && tsdb_parse_u64(second + 1, strcspn(second + 1, " "), &n)) {
                pages = n;
            }
        }
        fclose(f);
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds(void)
{
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

static void visit_process(const struct server *s, const struct visit *v)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                 (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    emit(v, TSDB_METRIC_COUNTER, "process_cpu_seconds_total", cpu,
         "User and system CPU time spent, in seconds.");
    gauge(v, "process_resident_memory_bytes", resident_bytes(), "Resident memory size in bytes.");
    gauge(v, "process_open_fds", open_fds(), "Open file descriptors.");
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        gauge(v, "process_max_fds", (double)limit.rlim_cur,
              "Most file descriptors that may be open.");
    }
    gauge(v, "process_start_time_seconds", (double)s->start_ms / 1000,
          "Start time of the process, in Unix seconds.");
    labelled(v, TSDB_METRIC_GAUGE, "tidalite_build_info", "version", TIDALITE_VERSION, 1,
             "Version of this Tidalite; the value is always 1.");
    for (uint32_t i = 0; i < TSDB_MEM_CATEGORY_COUNT; i++) {
        labelled(v, TSDB_METRIC_GAUGE, "tidalite_memory_bytes", "category",
                 tsdb_mem_category_name((enum tsdb_mem_category)i),
                 (double)tsdb_mem_used((enum tsdb_mem_category)i),
                 "Heap memory of the engine by category.");
    }
}

static void visit_head(const struct tsdb_stats *t, const struct visit *v)
{
    gauge(v, "tidalite_head_series", (double)t->series, "Series in memory.");
    counter(v, "tidalite_head_series_created_total", t->series_created,
            "Series created since start.");
    gauge(v, "tidalite_head_chunks", (double)t->chunks,
          "Sealed chunks of the head, in memory or in head files.");
    gauge(v, "tidalite_head_chunks_unwritten", (double)t->seal_pending,
          "Sealed chunks in memory that are not in a head file yet.");
    gauge(v, "tidalite_head_files", (double)t->head_files, "Files in head/.");
    gauge(v, "tidalite_head_file_bytes", (double)t->head_file_bytes,
          "Bytes of the files in head/.");
    counter(v, "tidalite_head_chunk_read_failures_total", t->head_read_failures,
            "Chunks of head files that could not be read or did not verify.");
    counter(v, "tidalite_seal_chunks_total", t->sealed_chunks, "Chunks written to head files.");
    counter(v, "tidalite_seal_samples_total", t->sealed_samples, "Samples in them.");
    counter(v, "tidalite_seal_bytes_total", t->sealed_bytes, "Bytes written to head files.");
    counter(
        v, "tidalite_seal_failures_total", t->seal_failures,
        "Batches of chunks that could not be written; they stay in memory and are tried again.");
    gauge(v, "tidalite_index_label_pairs", (double)t->label_pairs, "Distinct label pairs.");
    gauge(v, "tidalite_index_symbols", (double)t->symbols, "Interned strings.");
    gauge(v, "tidalite_alias_entries", (double)t->aliases, "Entries of the alias table.");
    counter(v, "tidalite_alias_misses_total", t->alias_misses,
            "Series that writes brought without a known alias.");
    counter(v, "tidalite_head_samples_appended_total", t->samples_appended,
            "Float samples appended.");
    counter(v, "tidalite_head_histograms_appended_total", t->histograms_appended,
            "Histogram samples appended.");
    counter(v, "tidalite_head_exemplars_appended_total", t->exemplars_appended,
            "Exemplars appended.");
    counter(v, "tidalite_head_duplicates_total", t->duplicates,
            "Samples that were there already, bit for bit.");
    counter(v, "tidalite_head_out_of_order_total", t->out_of_order,
            "Samples older than their series' newest.");
    for (uint32_t i = TSDB_REJECT_NONE + 1; i < TSDB_REJECT_COUNT; i++) {
        static const char *const reasons[TSDB_REJECT_COUNT] = {
            [TSDB_REJECT_DUPLICATE] = "duplicate",      [TSDB_REJECT_TOO_OLD] = "too_old",
            [TSDB_REJECT_TOO_NEW] = "too_new",          [TSDB_REJECT_LABELS] = "labels",
            [TSDB_REJECT_HISTOGRAM] = "histogram",      [TSDB_REJECT_EXEMPLAR] = "exemplar",
            [TSDB_REJECT_SERIES_LIMIT] = "series_limit"};
        labelled(v, TSDB_METRIC_COUNTER, "tidalite_head_rejected_total", "reason", reasons[i],
                 (double)t->rejected[i], "Samples refused by the head, by reason.");
    }
    bool empty = t->min_time_ms > t->max_time_ms;
    gauge(v, "prometheus_tsdb_lowest_timestamp_seconds",
          empty ? 9223372036854775.0 : (double)t->min_time_ms / 1000,
          "Lowest time stamp stored, in Unix seconds.");
    gauge(v, "tidalite_head_max_time_seconds", empty ? 0 : (double)t->max_time_ms / 1000,
          "Highest time stamp stored, in Unix seconds.");
    gauge(v, "tidalite_ring_depth", (double)t->ring_depth, "Batches waiting for their owners.");
    counter(v, "tidalite_ring_full_total", t->ring_full,
            "Writes refused because a ring had no room.");
}

static void visit_wal(const struct tsdb_stats *t, const struct visit *v)
{
    gauge(v, "tidalite_wal_segment", (double)t->wal_segment,
          "Number of the segment being written.");
    counter(v, "tidalite_wal_written_bytes_total", t->wal_bytes_written,
            "Bytes written to the log.");
    counter(v, "tidalite_wal_samples_total", t->wal_samples_written, "Samples written to the log.");
    counter(v, "tidalite_wal_writes_total", t->wal_writes, "write calls.");
    counter(v, "tidalite_wal_syncs_total", t->wal_syncs, "fdatasync calls.");
    counter(v, "tidalite_wal_failures_total", t->wal_failures, "Failed writes and syncs.");
    gauge(v, "tidalite_wal_disk_bytes", (double)t->wal_disk_bytes,
          "Disk space of the log, preallocation included.");
    gauge(v, "tidalite_wal_unsynced_bytes", (double)t->wal_unsynced_bytes,
          "Bytes written and not yet synced.");
    counter(v, "tidalite_checkpoints_total", t->checkpoints, "Checkpoints written.");
    counter(v, "tidalite_checkpoint_failures_total", t->checkpoint_failures,
            "Checkpoints that failed.");
    gauge(v, "tidalite_checkpoint_last_bytes", (double)t->checkpoint_last_bytes,
          "Size of the last checkpoint.");
    gauge(v, "tidalite_checkpoint_last_timestamp_seconds", (double)t->checkpoint_last_ms / 1000,
          "When the last checkpoint was written.");
    gauge(v, "tidalite_replay_frames", (double)t->replay_frames, "Log frames applied at start.");
    gauge(v, "tidalite_replay_samples", (double)t->replay_samples,
          "Samples applied from the log at start.");
    gauge(v, "tidalite_replay_damaged_ranges", (double)t->replay_damage,
          "Stretches of log that could not be read at start.");
    gauge(v, "tidalite_replay_lost_frames", (double)t->replay_lost_frames,
          "Log frames missing at start: acknowledged samples may be lost.");
    gauge(v, "tidalite_replay_duration_seconds", (double)t->replay_duration_ns / 1e9,
          "Time that recovery took at start.");
}

static void visit_blocks(const struct tsdb_stats *t, const struct visit *v)
{
    gauge(v, "tidalite_blocks", (double)t->blocks, "Blocks that queries read.");
    gauge(v, "tidalite_block_bytes", (double)t->block_bytes, "Size of the blocks on disk.");
    counter(v, "tidalite_blocks_deleted_total", t->blocks_deleted,
            "Blocks deleted after they were merged or too old.");
    counter(v, "tidalite_blocks_expired_total", t->blocks_expired, "Blocks dropped by retention.");
    counter(v, "tidalite_blocks_quarantined_total", t->blocks_quarantined,
            "Damaged blocks moved to quarantine.");
    counter(v, "tidalite_flushes_total", t->flushes, "Blocks written from the head.");
    counter(v, "tidalite_flush_failures_total", t->flush_failures,
            "Flushes that failed and are tried again.");
    counter(v, "tidalite_flush_samples_total", t->flush_samples,
            "Samples written to blocks from the head.");
    counter(v, "tidalite_flush_lost_chunks_total", t->flush_chunks_lost,
            "Damaged chunks that could not be flushed.");
    counter(v, "tidalite_compactions_total", t->compactions, "Merges of blocks.");
    counter(v, "tidalite_compaction_failures_total", t->compaction_failures,
            "Merges that failed and are tried again.");
}

/* Samples of one family stand together, as the text form wants it. */
static void visit_caches(const struct tsdb_stats *t, const struct visit *v)
{
    static const char *const levels[] = {"l1", "l2"};
    const struct {
        const char *name;
        enum tsdb_metric_type type;
        double values[2];
        const char *help;
    } families[] = {
        {"tidalite_cache_size_bytes",
         TSDB_METRIC_GAUGE,
         {(double)t->l1_bytes, (double)t->l2_bytes},
         "Limit of the cache."},
        {"tidalite_cache_used_bytes",
         TSDB_METRIC_GAUGE,
         {(double)t->l1_bytes_used, (double)t->l2_frames_used * CACHE_FRAME_BYTES},
         "What the cache holds."},
        {"tidalite_cache_hits_total",
         TSDB_METRIC_COUNTER,
         {(double)t->l1_hits, (double)t->l2_hits},
         "Look-ups that found their entry."},
        {"tidalite_cache_misses_total",
         TSDB_METRIC_COUNTER,
         {(double)t->l1_misses, (double)t->l2_misses},
         "Look-ups that did not."},
        {"tidalite_cache_evictions_total",
         TSDB_METRIC_COUNTER,
         {(double)t->l1_evictions, (double)t->l2_evictions},
         "Entries that made room."},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(families); i++) {
        for (size_t k = 0; k < TSDB_ARRAY_LEN(levels); k++) {
            labelled(v, families[i].type, families[i].name, "cache", levels[k],
                     families[i].values[k], families[i].help);
        }
    }
    counter(v, "tidalite_cache_l2_bypasses_total", t->l2_bypasses,
            "Reads beside the L2 arena because all its frames were pinned.");
}

static void visit_ingest(const struct server *s, const struct visit *v)
{
    struct ingest_stats i;
    ingest_stats_read(s->ingest, &i);
    counter(v, "tidalite_ingest_requests_total", i.requests, "Write requests.");
    counter(v, "tidalite_ingest_requests_failed_total", i.requests_failed,
            "Write requests not answered with success.");
    counter(v, "tidalite_ingest_busy_total", i.busy,
            "Write requests refused for lack of memory budget.");
    counter(v, "tidalite_ingest_body_bytes_total", i.body_bytes, "Bytes of write bodies, as sent.");
    counter(v, "tidalite_ingest_decoded_bytes_total", i.decoded_bytes,
            "Bytes of write bodies, decompressed.");
    gauge(v, "tidalite_ingest_inflight_bytes", (double)i.inflight_bytes,
          "Memory budget in use by write requests.");
    counter(v, "tidalite_ingest_samples_total", i.samples, "Float samples acknowledged.");
    counter(v, "tidalite_ingest_histograms_total", i.histograms, "Histogram samples acknowledged.");
    counter(v, "tidalite_ingest_exemplars_total", i.exemplars, "Exemplars acknowledged.");
    counter(v, "tidalite_ingest_rejected_total", i.rejected, "Samples refused for good.");
    counter(v, "tidalite_ingest_metadata_total", i.metadata, "Metadata entries taken.");
    counter(v, "tidalite_ingest_series_hits_total", i.series_hits, "Series found by their alias.");
    counter(v, "tidalite_ingest_series_misses_total", i.series_misses,
            "Series that took the slow path.");
}

static void visit_http(const struct server *s, const struct visit *v)
{
    if (!s->http) {
        return;
    }
    struct http_stats h;
    http_stats_read(s->http, &h);
    counter(v, "tidalite_http_requests_total", h.requests, "HTTP requests.");
    counter(v, "tidalite_http_connections_total", h.connections, "HTTP connections accepted.");
    counter(v, "tidalite_http_connections_refused_total", h.connections_refused,
            "HTTP connections refused.");
    gauge(v, "tidalite_http_connections_open", (double)h.connections_open,
          "HTTP connections open.");
    counter(v, "tidalite_http_received_bytes_total", h.bytes_in, "Bytes of request bodies.");
    counter(v, "tidalite_http_sent_bytes_total", h.bytes_out, "Bytes of answers.");
}

#if TSDB_PERF
/* Fine buckets folded into one per factor of four, from 1 us to 16 s. */
static void visit_layer(enum tsdb_layer layer, const struct visit *v)
{
    static const char help[] = "Time spent per layer, in seconds.";
    static const char family[] = "tidalite_layer_duration_seconds";
    struct tsdb_latency_snapshot s;
    tsdb_latency_read(layer, &s);
    uint64_t below = 0;
    uint32_t fine = 0;
    struct tsdb_label labels[2] = {tsdb_label_make("layer", tsdb_layer_name(layer)),
                                   tsdb_label_make("le", "")};
    struct metric_sample m = {.family = family,
                              .name = "tidalite_layer_duration_seconds_bucket",
                              .help = help,
                              .type = TSDB_METRIC_HISTOGRAM,
                              .labels = {labels, 2}};
    for (uint64_t upper_ns = 1000; upper_ns <= UINT64_C(17000000000); upper_ns *= 4) {
        for (; fine < TSDB_LATENCY_BUCKETS && tsdb_latency_bucket_upper_ns(fine) <= upper_ns;
             fine++) {
            below += s.buckets[fine];
        }
        char le[TSDB_FORMAT_FLOAT_MAX];
        tsdb_format_float_go_g(le, (double)upper_ns / 1e9);
        labels[1] = tsdb_label_make("le", le);
        m.labels.count = 2;
        m.value = (double)below;
        v->fn(v->arg, &m);
    }
    labels[1] = tsdb_label_make("le", "+Inf");
    m.value = (double)s.count;
    v->fn(v->arg, &m);
    m.labels.count = 1;
    m.name = "tidalite_layer_duration_seconds_sum";
    m.value = (double)s.sum_ns / 1e9;
    v->fn(v->arg, &m);
    m.name = "tidalite_layer_duration_seconds_count";
    m.value = (double)s.count;
    v->fn(v->arg, &m);
}
#endif

void server_metrics_visit(struct server *s, metric_fn fn, void *arg)
{
    struct visit v = {fn, arg};
    struct tsdb_stats t;
    tsdb_stats_read(s->db, &t);
    visit_process(s, &v);
    visit_head(&t, &v);
    visit_wal(&t, &v);
    visit_blocks(&t, &v);
    visit_caches(&t, &v);
    visit_ingest(s, &v);
    visit_http(s, &v);
#if TSDB_PERF
    for (uint32_t i = 0; i < TSDB_LAYER_COUNT; i++) {
        visit_layer((enum tsdb_layer)i, &v);
    }
#endif
}

struct text_form {
    struct tsdb_buf *out;
    char family[96]; /* HELP and TYPE were written for it */
};

static void put_label_value(struct tsdb_buf *out, const char *s, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        if (s[i] == '\\' || s[i] == '"') {
            tsdb_buf_put_u8(out, '\\');
            tsdb_buf_put_u8(out, (uint8_t)s[i]);
        } else if (s[i] == '\n') {
            tsdb_buf_put_str(out, "\\n");
        } else {
            tsdb_buf_put_u8(out, (uint8_t)s[i]);
        }
    }
}

static void put_text(void *arg, const struct metric_sample *m)
{
    struct text_form *t = arg;
    if (strcmp(t->family, m->family) != 0) {
        snprintf(t->family, sizeof t->family, "%s", m->family);
        tsdb_buf_printf(t->out, "# HELP %s %s\n# TYPE %s %s\n", m->family, m->help, m->family,
                        tsdb_metric_type_name(m->type));
    }
    tsdb_buf_put_str(t->out, m->name);
    for (uint32_t i = 0; i < m->labels.count; i++) {
        const struct tsdb_label *l = &m->labels.items[i];
        tsdb_buf_put_u8(t->out, i ? ',' : '{');
        tsdb_buf_put(t->out, l->name, l->name_len);
        tsdb_buf_put_str(t->out, "=\"");
        put_label_value(t->out, l->value, l->value_len);
        tsdb_buf_put_u8(t->out, '"');
    }
    char value[TSDB_FORMAT_FLOAT_MAX];
    tsdb_format_float_go_g(value, m->value);
    tsdb_buf_printf(t->out, "%s %s\n", m->labels.count ? "}" : "", value);
}

void server_metrics_text(struct server *s, struct tsdb_buf *out)
{
    struct text_form t = {.out = out};
    server_metrics_visit(s, put_text, &t);
}
