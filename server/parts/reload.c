/* Reading --config.file again. */
#include "base/log.h"
#include "query/query.h"
#include "server/config/config_file.h"
#include "server/parts/server.h"

#include <assert.h>
#include <string.h>

static_assert(CONFIG_OTLP_ATTRIBUTES_MAX == OTLP_ATTRIBUTES_MAX &&
                  CONFIG_OTLP_ATTRIBUTE_BYTES_MAX == OTLP_ATTRIBUTE_BYTES_MAX,
              "the configuration's attributes are copied whole");

void server_apply_otlp(struct server *s)
{
    struct otlp_options o = {.delta = s->options.feature_otlp_delta,
                             .lookback_ms = s->options.lookback_ms};
    tsdb_mutex_lock(&s->config_lock);
    if (s->config) {
        const struct config_otlp *c = &s->config->otlp;
        o.strategy = (enum otlp_strategy)c->strategy;
        o.promote_all = c->promote_all;
        o.keep_identifying = c->keep_identifying;
        o.histograms_to_nhcb = c->histograms_to_nhcb;
        o.promote_scope = c->promote_scope;
        o.no_key_prefix = c->no_key_prefix;
        o.join_underscores = c->join_underscores;
        o.attribute_count = c->attribute_count;
        memcpy(o.attributes, c->attributes, sizeof o.attributes);
    }
    tsdb_mutex_unlock(&s->config_lock);
    ingest_otlp_options_set(s->ingest, &o);
}

/* What the rules of a file mean; strings from the arena. */
static enum tsdb_status rules_parse(const struct config_file *c, struct tsdb_arena *arena,
                                    struct tsdb_retention_rule *out, struct tsdb_error *err)
{
    for (uint32_t i = 0; i < c->retention_count; i++) {
        const char *match = c->retention[i].match;
        bool non_empty = false;
        enum tsdb_status status =
            query_parse_selector(match, strlen(match), arena, &out[i].selector, &non_empty, err);
        if (status == TSDB_OK && !non_empty) {
            status = tsdb_error_set(err, TSDB_INVALID, "it must not match everything");
        }
        if (status != TSDB_OK) {
            return tsdb_error_prefix(err, status, "storage.tsdb.retention.series: match \"%.80s\"",
                                     match);
        }
        out[i].keep_ms = c->retention[i].keep_ms;
    }
    return TSDB_OK;
}

/* Checks the rules of a file (NULL: there is none), and hands them to the engine if there is one. */
static enum tsdb_status rules_apply(struct tsdb *db, const struct config_file *c,
                                    struct tsdb_error *err)
{
    static_assert(CONFIG_RETENTION_RULES_MAX == TSDB_RETENTION_RULES_MAX, "all rules fit");
    struct tsdb_retention_rule rules[TSDB_RETENTION_RULES_MAX];
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_SERVER, 4096, NULL);
    enum tsdb_status status = c ? rules_parse(c, &arena, rules, err) : TSDB_OK;
    if (status == TSDB_OK && db) {
        status = tsdb_retention_rules_set(db, rules, c ? c->retention_count : 0, err);
    }
    tsdb_arena_deinit(&arena);
    return status;
}

enum tsdb_status server_apply_retention(struct server *s, struct tsdb_error *err)
{
    tsdb_mutex_lock(&s->config_lock);
    enum tsdb_status status = rules_apply(s->db, s->config, err);
    tsdb_mutex_unlock(&s->config_lock);
    return status;
}

enum tsdb_status server_reload(struct server *s, struct tsdb_error *err)
{
    struct config_file *fresh = NULL;
    if (s->options.config_file[0]) {
        enum tsdb_status status = config_file_load(s->options.config_file, &fresh, err);
        if (status != TSDB_OK) {
            atomic_store(&s->config_ok, 0);
            return status;
        }
        status = rules_apply(s->db, fresh, err);
        if (status != TSDB_OK) {
            config_file_destroy(fresh);
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
    if (s->ingest) { /* not yet at start, when the engine comes after the file */
        server_apply_otlp(s);
    }
    atomic_store(&s->config_ok, 1);
    atomic_store(&s->config_loaded_ms, tsdb_clock_wall_ms(&s->clock));
    return TSDB_OK;
}
