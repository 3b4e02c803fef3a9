/* Reading --config.file again. */
#include "base/log.h"
#include "server/config/config_file.h"
#include "server/parts/server.h"

enum tsdb_status server_reload(struct server *s, struct tsdb_error *err)
{
    struct config_file *fresh = NULL;
    if (s->options.config_file[0]) {
        enum tsdb_status status = config_file_load(s->options.config_file, &fresh, err);
        if (status != TSDB_OK) {
            atomic_store(&s->config_ok, 0);
            return status;
        }
        if (fresh->ignored[0]) {
            tsdb_log(TSDB_LOG_WARN, "config", "keys without a meaning here are ignored",
                     TSDB_S("file", s->options.config_file), TSDB_S("keys", fresh->ignored));
        }
    }
    tsdb_mutex_lock(&s->config_lock);
    struct config_file *old = s->config;
    s->config = fresh;
    s->query_options.default_step_ms = fresh ? fresh->evaluation_interval_ms : 60000;
    tsdb_mutex_unlock(&s->config_lock);
    config_file_destroy(old);
    atomic_store(&s->config_ok, 1);
    atomic_store(&s->config_loaded_ms, tsdb_clock_wall_ms(&s->clock));
    return TSDB_OK;
}
