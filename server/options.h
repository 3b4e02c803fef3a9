/* What the flags set. One table (options.c) drives parsing, --help, /api/v1/status/flags and
 * docs/config.md; every field is filled and validated before anything is opened. Immutable after
 * start, but for what --config.file sets (server/config_file.h). Flag syntax as Prometheus's
 * (kingpin): --name=value or --name value; booleans --name / --no-name; lists repeat or use commas.
 */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include "base/bytes.h"
#include "base/log.h"
#include "model/request.h"

struct server_options {
    char listen_address[256]; /* --web.listen-address          127.0.0.1:9494 */
    uint64_t
        body_bytes_max; /* --web.max-body-size           64MiB, of a write request, compressed */
    uint64_t decoded_bytes_max;  /* --web.max-decoded-size        256MiB */
    uint64_t inflight_bytes_max; /* --web.max-inflight-bytes      1GiB over all write requests */
    uint32_t connections_max;    /* --web.max-connections         512 */
    int64_t read_timeout_ms;     /* --web.read-timeout            5m: an idle or slow connection is
                                    closed */
    char cors_origin[256];       /* --web.cors.origin             .* */
    bool admin_api;              /* --web.enable-admin-api        false */
    bool lifecycle;         /* --web.enable-lifecycle        true: POST /-/reload (and /-/quit) */
    char config_file[4096]; /* --config.file                 none */
    char data_path[4096];   /* --storage.tsdb.path           data/ */
    int64_t retention_ms;   /* --storage.tsdb.retention.time 15d; 0 = for ever */
    enum tsdb_durability durability; /* --storage.durability          buffered */
    int64_t flush_interval_ms;       /* --storage.wal.flush-interval  100ms */
    uint64_t flush_samples;          /* --storage.wal.flush-samples   1000000 */
    uint64_t wal_segment_bytes;      /* --storage.wal.segment-size    64MiB */
    uint64_t checkpoint_wal_bytes;   /* --storage.wal.checkpoint-size 256MiB */
    int64_t block_range_ms;          /* --storage.tsdb.min-block-duration 2h */
    uint64_t cache_l1_bytes;         /* --storage.cache.l1-size       64MiB */
    uint64_t cache_l2_bytes;         /* --storage.cache.l2-size       256MiB */
    uint64_t series_max;             /* --storage.head.max-series     0 = no limit */
    uint32_t exemplars_max;          /* --storage.exemplars.max       100000 */
    uint32_t owner_count;            /* --storage.owners              0 = from the cores */
    uint32_t ring_slots;             /* --storage.ring-slots          1024 */
    uint32_t http_threads;           /* --web.threads                 0 = from the cores */
    int64_t query_timeout_ms;        /* --query.timeout               2m */
    uint64_t query_samples_max;      /* --query.max-samples           50000000 */
    uint32_t query_concurrency_max;  /* --query.max-concurrency       20 */
    uint32_t query_queue_max;        /* --query.max-queue             1000 waiting; beyond 503 */
    uint64_t query_bytes_max;        /* --query.max-memory            1GiB per query */
    int64_t lookback_ms;             /* --query.lookback-delta        5m */
    bool feature_experimental_functions, feature_extended_range_selectors, feature_fill_modifiers,
        feature_delayed_name_removal;
    char features[1024];             /* --enable-feature, as given */
    enum tsdb_log_level log_level;   /* --log.level                   info */
    enum tsdb_log_format log_format; /* --log.format                  logfmt */
    int64_t self_scrape_interval_ms; /* --self-scrape.interval        15s; 0 = off */
};

void server_options_default(struct server_options *o);
/* argv without the sub-command. INVALID names the flag, the value and what it takes. *out_help:
 * --help was asked for. */
enum tsdb_status server_options_parse(struct server_options *o, int argc, char **argv,
                                      bool *out_help, struct tsdb_error *err) TSDB_WUR;
void server_options_help(struct tsdb_buf *out);     /* --help, wrapped at 100 columns */
void server_options_markdown(struct tsdb_buf *out); /* docs/config.md */
/* Every flag as (name, value as Prometheus would print it). */
typedef void (*server_option_fn)(void *arg, const char *name, const char *value);
void server_options_visit(const struct server_options *o, server_option_fn fn, void *arg);

#endif
