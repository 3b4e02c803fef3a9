/* The data objects of /api/v1/status/... */
#include "base/cpu.h"
#include "base/format.h"
#include "model/version.h"
#include "query/json.h"
#include "server/config_file.h"
#include "server/server.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#if !defined(TIDALITE_REVISION)
#define TIDALITE_REVISION "unknown"
#endif

static void put_pair(struct tsdb_buf *out, const char *key, const char *value)
{
    if (out->len > 0 && out->data[out->len - 1] != '{') {
        tsdb_buf_put_u8(out, ',');
    }
    json_string(out, key, strlen(key));
    tsdb_buf_put_u8(out, ':');
    json_string(out, value, strlen(value));
}

void server_status_buildinfo(struct server *s, struct tsdb_buf *out)
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

void server_status_flags(struct server *s, struct tsdb_buf *out)
{
    tsdb_buf_put_u8(out, '{');
    server_options_visit(&s->options, on_flag, out);
    tsdb_buf_put_u8(out, '}');
}

void server_status_config(struct server *s, struct tsdb_buf *out)
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

void server_status_runtimeinfo(struct server *s, struct tsdb_buf *out)
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
    tsdb_buf_put_u8(out, '}');
}

void server_status_walreplay(struct server *s, struct tsdb_buf *out)
{
    uint64_t min = 0;
    uint64_t max = 0;
    uint64_t current = 0;
    tsdb_replay_progress(s->db, &min, &max, &current);
    tsdb_buf_printf(out, "{\"min\":%" PRIu64 ",\"max\":%" PRIu64 ",\"current\":%" PRIu64 "}", min,
                    max, current);
}
