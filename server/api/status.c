/* /api/v1/status/...: what the server is, how it was started, what it holds much of. */
#include "base/cpu.h"
#include "base/format.h"
#include "model/version.h"
#include "query/json.h"
#include "server/api/args.h"
#include "server/api/handlers.h"
#include "server/config/config_file.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#if !defined(TIDALITE_REVISION)
#define TIDALITE_REVISION "unknown"
#endif

#define LIMIT_DEFAULT 10
#define LIMIT_MAX     10000

static void put_pair(struct tsdb_buf *out, const char *key, const char *value)
{
    if (out->len > 0 && out->data[out->len - 1] != '{') {
        tsdb_buf_put_u8(out, ',');
    }
    json_string(out, key, strlen(key));
    tsdb_buf_put_u8(out, ':');
    json_string(out, value, strlen(value));
}

static void put_buildinfo(struct server *s, struct tsdb_buf *out)
{
    (void)s;
    tsdb_buf_put_u8(out, '{');
    put_pair(out, "version", TIDALITE_PROMETHEUS_VERSION);
    put_pair(out, "revision", TIDALITE_REVISION);
    put_pair(out, "branch", "tidalite-" TIDALITE_VERSION);
    put_pair(out, "buildUser", "");
    put_pair(out, "buildDate", "");
    put_pair(out, "goVersion", ""); /* clients want the key; there is no Go here */
    tsdb_buf_put_u8(out, '}');
}

static void on_flag(void *arg, const char *name, const char *value)
{
    put_pair(arg, name, value);
}

static void put_flags(struct server *s, struct tsdb_buf *out)
{
    tsdb_buf_put_u8(out, '{');
    server_options_visit(&s->options, on_flag, out);
    tsdb_buf_put_u8(out, '}');
}

static void put_config(struct server *s, struct tsdb_buf *out)
{
    struct tsdb_buf yaml;
    tsdb_buf_init(&yaml, TSDB_MEM_SERVER, 0);
    tsdb_mutex_lock(&s->config_lock);
    config_file_yaml(s->config, &yaml);
    tsdb_mutex_unlock(&s->config_lock);
    tsdb_buf_put_str(out, "{\"yaml\":");
    json_string(out, (const char *)yaml.data, yaml.len);
    tsdb_buf_put_u8(out, '}');
    out->failed |= yaml.failed;
    tsdb_buf_deinit(&yaml);
}

static void put_time(struct tsdb_buf *out, const char *key, int64_t ms)
{
    char text[64];
    if (ms == 0) {
        put_pair(out, key, "0001-01-01T00:00:00Z");
        return;
    }
    tsdb_format_rfc3339_ms(text, ms);
    put_pair(out, key, text);
}

/* What is missing with the blocks in quarantine, of those that say so. */
static void put_lost_blocks(const struct tsdb_stats *st, struct tsdb_buf *out)
{
    tsdb_buf_printf(
        out, ",\"lostBlocks\":{\"blocks\":%" PRIu64 ",\"series\":%" PRIu64 ",\"samples\":%" PRIu64,
        st->lost_blocks, st->lost_block_series, st->lost_block_samples);
    if (st->lost_blocks > 0) {
        put_time(out, "from", st->lost_block_min_ms);
        put_time(out, "to", st->lost_block_max_ms);
    }
    tsdb_buf_put_u8(out, '}');
}

/* What the storage can do now, what it found missing at its start, and what a person may look at. */
static void put_storage(struct server *s, const struct tsdb_stats *st, struct tsdb_buf *out)
{
    struct tsdb_error err = {0};
    enum tsdb_state state = tsdb_state(s->db, &err);
    tsdb_buf_put_str(out, ",\"storage\":{");
    put_pair(out, "state", tsdb_state_name(state));
    put_pair(out, "reason", err.msg);
    tsdb_buf_printf(out,
                    ",\"lostAtStart\":{\"frames\":%" PRIu64 ",\"samples\":%" PRIu64
                    ",\"chunks\":%" PRIu64 ",\"damagedRanges\":%" PRIu64 ",\"logSegments\":%" PRIu64
                    ",\"logBytes\":%" PRIu64 ",\"blocks\":%" PRIu64 ",\"tombstones\":%" PRIu64,
                    st->replay_lost_frames, st->replay_dropped_samples, st->replay_lost_chunks,
                    st->replay_damage, st->replay_lost_log_segments, st->replay_lost_log_bytes,
                    st->blocks_quarantined, st->tombstones_damaged);
    tsdb_buf_printf(out,
                    ",\"series\":%" PRIu64 ",\"seriesSamples\":%" PRIu64
                    ",\"checkpointRanges\":%" PRIu64 ",\"checkpointBytes\":%" PRIu64
                    ",\"checkpointSeriesAtMost\":%" PRIu64 ",\"partitionsFromOlder\":%u",
                    st->replay_lost_series, st->replay_lost_series_samples, st->replay_lost_ranges,
                    st->replay_lost_range_bytes, st->replay_lost_range_series,
                    st->replay_fell_back_partitions);
    bool inside = st->replay_lost_series + st->replay_lost_ranges > 0;
    if (inside) {
        put_time(out, "before", st->replay_written_ms);
    }
    tsdb_buf_put_u8(out, '}');
    tsdb_buf_printf(out, ",\"quarantine\":{\"files\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
                    st->quarantine_files, st->quarantine_bytes);
    put_lost_blocks(st, out);
    tsdb_buf_put_u8(out, '}');
}

static void put_runtimeinfo(struct server *s, struct tsdb_buf *out)
{
    char cwd[4096];
    char host[256];
    char retention[64];
    if (!getcwd(cwd, sizeof cwd)) {
        cwd[0] = '\0';
    }
    if (gethostname(host, sizeof host) != 0) {
        host[0] = '\0';
    }
    host[sizeof host - 1] = '\0';
    tsdb_format_duration_ms(retention, s->options.retention_ms);
    struct tsdb_stats st;
    tsdb_stats_read(s->db, &st);
    tsdb_buf_put_u8(out, '{');
    put_time(out, "startTime", s->start_ms);
    put_pair(out, "CWD", cwd);
    put_pair(out, "hostname", host);
    put_time(out, "serverTime", tsdb_clock_wall_ms(&s->clock));
    tsdb_buf_printf(out, ",\"reloadConfigSuccess\":%s",
                    atomic_load(&s->config_ok) ? "true" : "false");
    put_time(out, "lastConfigTime", atomic_load(&s->config_loaded_ms));
    tsdb_buf_printf(out,
                    ",\"corruptionCount\":%" PRIu64
                    ",\"goroutineCount\":0,\"GOMAXPROCS\":%u,\"GOMEMLIMIT\":0",
                    st.replay_damage, tsdb_cpu_count());
    put_pair(out, "GOGC", "");
    put_pair(out, "GODEBUG", "");
    put_pair(out, "storageRetention", retention);
    put_storage(s, &st, out);
    tsdb_buf_put_u8(out, '}');
}

static void put_walreplay(struct server *s, struct tsdb_buf *out)
{
    uint64_t min = 0;
    uint64_t max = 0;
    uint64_t current = 0;
    tsdb_replay_progress(s->db, &min, &max, &current);
    tsdb_buf_printf(out, "{\"min\":%" PRIu64 ",\"max\":%" PRIu64 ",\"current\":%" PRIu64 "}", min,
                    max, current);
}

static void status_object(struct call *c, void (*put)(struct server *s, struct tsdb_buf *out))
{
    call_success(c);
    put(c->server, &c->out);
    envelope_success_end(&c->out, NULL, 0);
}

void api_status_buildinfo(struct call *c)
{
    status_object(c, put_buildinfo);
}

/* The same outside of the API, without its envelope. */
void page_version(struct call *c)
{
    call_ok(c, "application/json");
    put_buildinfo(c->server, &c->out);
}

void api_status_flags(struct call *c)
{
    status_object(c, put_flags);
}

void api_status_config(struct call *c)
{
    status_object(c, put_config);
}

void api_status_runtimeinfo(struct call *c)
{
    status_object(c, put_runtimeinfo);
}

void api_status_walreplay(struct call *c)
{
    status_object(c, put_walreplay);
}

/* ---- status/tsdb ---- */

/* [{"name":"a","value":3}]; pairs as "a=b". */
static bool put_list(struct call *c, const char *key, const struct tsdb_cardinality_list *l)
{
    struct tsdb_buf *out = &c->out;
    struct tsdb_buf name;
    tsdb_buf_init(&name, TSDB_MEM_SERVER, 0);
    tsdb_buf_printf(out, ",\"%s\":[", key);
    for (uint32_t i = 0; i < l->count; i++) {
        const struct tsdb_cardinality_item *item = &l->items[i];
        tsdb_buf_clear(&name);
        tsdb_buf_put(&name, item->name.data, item->name.len);
        if (item->value.len > 0) {
            tsdb_buf_put_u8(&name, '=');
            tsdb_buf_put(&name, item->value.data, item->value.len);
        }
        tsdb_buf_put_str(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_string(out, (const char *)name.data, name.len);
        tsdb_buf_printf(out, ",\"value\":%" PRIu64 "}", item->count);
    }
    tsdb_buf_put_u8(out, ']');
    bool ok = !name.failed;
    tsdb_buf_deinit(&name);
    return ok;
}

/* [{"metric":"m","label":"l","value":3,"error":0}]; only where there are some. */
static bool put_refused(struct call *c, uint32_t limit)
{
    struct tsdb_refused_series *list = NULL;
    uint32_t count = 0;
    if (tsdb_refused_series_list(c->server->db, limit, &c->arena, &list, &count) != TSDB_OK) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct tsdb_refused_series *r = &list[i];
        tsdb_buf_put_str(&c->out, i > 0 ? ",{\"metric\":" : ",\"refusedSeries\":[{\"metric\":");
        json_string(&c->out, (const char *)r->metric.data, r->metric.len);
        tsdb_buf_put_str(&c->out, ",\"label\":");
        json_string(&c->out, (const char *)r->label.data, r->label.len);
        tsdb_buf_printf(&c->out, ",\"value\":%" PRIu64 ",\"error\":%" PRIu64 "}", r->count,
                        r->error);
    }
    tsdb_buf_put_str(&c->out, count > 0 ? "]" : "");
    return true;
}

static void put_cardinality(struct call *c, const struct tsdb_cardinality *k, uint32_t limit)
{
    struct tsdb_stats st;
    tsdb_stats_read(c->server->db, &st);
    call_success(c);
    tsdb_buf_printf(&c->out,
                    "{\"headStats\":{\"numSeries\":%" PRIu64 ",\"numLabelPairs\":%" PRIu64
                    ",\"chunkCount\":%" PRIu64 ",\"minTime\":%" PRId64 ",\"maxTime\":%" PRId64 "}",
                    st.series, k->label_pairs, st.chunks, st.min_time_ms, st.max_time_ms);
    bool ok = put_list(c, "seriesCountByMetricName", &k->metric_series) &&
              put_list(c, "labelValueCountByLabelName", &k->name_values) &&
              put_list(c, "memoryInBytesByLabelName", &k->name_bytes) &&
              put_list(c, "seriesCountByLabelValuePair", &k->pair_series) && put_refused(c, limit);
    put_storage(c->server, &st, &c->out);
    tsdb_buf_put_u8(&c->out, '}');
    envelope_success_end(&c->out, NULL, 0);
    if (!ok) {
        call_fail(c, TSDB_NOMEM, NULL);
    }
}

void api_status_tsdb(struct call *c)
{
    int64_t limit = LIMIT_DEFAULT;
    if (!api_arg_int(c, "limit", &limit) || limit < 1) {
        call_error(c, ENVELOPE_BAD_DATA, "limit must be a positive number");
        return;
    }
    if (limit > LIMIT_MAX) {
        call_error(c, ENVELOPE_BAD_DATA, "limit must not exceed %d", LIMIT_MAX);
        return;
    }
    struct tsdb_cardinality k;
    struct tsdb_error err = {0};
    enum tsdb_status status =
        tsdb_cardinality_read(c->server->db, &c->request, (uint32_t)limit, &c->arena, &k, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
    } else {
        put_cardinality(c, &k, (uint32_t)limit);
    }
}

/* ---- status/tsdb/blocks ---- */

/* As Prometheus's meta.json, and the size on disk. Which blocks a compacted one was made of is not kept: a block is its
 * own source. */
static void put_block(struct tsdb_buf *out, const struct tsdb_block_info *b)
{
    tsdb_buf_printf(out, "{\"ulid\":\"%s\",\"minTime\":%" PRId64 ",\"maxTime\":%" PRId64, b->ulid,
                    b->min_ms, b->max_ms);
    tsdb_buf_printf(out,
                    ",\"stats\":{\"numSamples\":%" PRIu64 ",\"numFloatSamples\":%" PRIu64
                    ",\"numHistogramSamples\":%" PRIu64 ",\"numSeries\":%" PRIu64
                    ",\"numChunks\":%" PRIu64 ",\"numBytes\":%" PRIu64 "}",
                    b->samples, b->float_samples, b->histogram_samples, b->series, b->chunks,
                    b->bytes);
    tsdb_buf_printf(out, ",\"compaction\":{\"level\":%u,\"sources\":[\"%s\"]},\"version\":1}",
                    b->level, b->ulid);
}

void api_status_blocks(struct call *c)
{
    struct tsdb_block_info *list = NULL;
    uint32_t count = 0;
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_blocks_list(c->server->db, &c->arena, &list, &count, &err);
    if (status != TSDB_OK) {
        call_fail(c, status, &err);
        return;
    }
    call_success(c);
    tsdb_buf_put_str(&c->out, "{\"blocks\":[");
    for (uint32_t i = 0; i < count; i++) {
        envelope_comma(&c->out, i);
        put_block(&c->out, &list[i]);
    }
    tsdb_buf_put_str(&c->out, "]}");
    envelope_success_end(&c->out, NULL, 0);
}
