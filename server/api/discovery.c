/* What a Prometheus that scrapes and evaluates rules would list: rules, alerts, targets, scrape
 * pools, Alertmanagers, notifications. Tidalite has none of them, so the lists are empty; the
 * parameters are checked as Prometheus checks them. */
#include "base/format.h"
#include "server/api/args.h"
#include "server/api/handlers.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static void data_text(struct call *c, const char *json)
{
    call_success(c);
    tsdb_buf_put_str(&c->out, json);
    envelope_success_end(&c->out, NULL, 0);
}

/* Is a value one of the words, whatever its case? */
static bool is_word(struct tsdb_slice v, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool same_len = v.len == strlen(words[i]);
        if (same_len && (v.len == 0 || strncasecmp((const char *)v.data, words[i], v.len) == 0)) {
            return true;
        }
    }
    return false;
}

/* ---- rules ---- */

static bool arg_rule_type(struct call *c)
{
    static const char *const types[] = {"", "alert", "record"};
    struct tsdb_slice v = params_get(&c->params, "type");
    if (is_word(v, types, TSDB_ARRAY_LEN(types))) {
        return true;
    }
    char quoted[256];
    api_quote(v, quoted, sizeof quoted);
    call_error(c, ENVELOPE_BAD_DATA, "invalid parameter \"type\": not supported value %s", quoted);
    return false;
}

static bool arg_exclude_alerts(struct call *c)
{
    static const char *const booleans[] = {"", "1", "t", "true", "0", "f", "false"};
    struct tsdb_slice v = params_get(&c->params, "exclude_alerts");
    if (is_word(v, booleans, TSDB_ARRAY_LEN(booleans))) {
        return true;
    }
    char quoted[256];
    api_quote(v, quoted, sizeof quoted);
    call_error(c, ENVELOPE_BAD_DATA,
               "invalid parameter \"exclude_alerts\": error converting exclude_alerts: "
               "strconv.ParseBool: parsing %s: invalid syntax",
               quoted);
    return false;
}

static bool arg_group_page(struct call *c)
{
    struct tsdb_slice limit = params_get(&c->params, "group_limit");
    struct tsdb_slice token = params_get(&c->params, "group_next_token");
    char quoted[256];
    int64_t n = 1;
    if (token.len > 0 && limit.len == 0) {
        call_error(c, ENVELOPE_BAD_DATA,
                   "invalid parameter \"group_next_token\": group_limit needs to be present in "
                   "order to paginate over the groups");
        return false;
    }
    bool number = limit.len == 0 || tsdb_parse_i64((const char *)limit.data, limit.len, &n);
    if (!number || n > INT32_MAX || n < INT32_MIN) {
        api_quote(limit, quoted, sizeof quoted);
        call_error(c, ENVELOPE_BAD_DATA,
                   "invalid parameter \"group_limit\": group_limit needs to be a valid number: "
                   "strconv.ParseInt: parsing %s: %s",
                   quoted, number ? "value out of range" : "invalid syntax");
        return false;
    }
    if (n <= 0) {
        call_error(c, ENVELOPE_BAD_DATA,
                   "invalid parameter \"group_limit\": group_limit needs to be greater than 0");
        return false;
    }
    if (token.len > 0) { /* there are no groups, so it is none that we gave out */
        call_error(c, ENVELOPE_BAD_DATA,
                   "invalid parameter \"group_next_token\": invalid group_next_token '%.*s'. were "
                   "rule groups changed?",
                   (int)TSDB_MIN(token.len, sizeof quoted), (const char *)token.data);
        return false;
    }
    return true;
}

void api_rules(struct call *c)
{
    struct tsdb_selector *selectors = NULL;
    uint32_t count = 0;
    if (api_arg_matchers(c, false, &selectors, &count) && arg_rule_type(c) &&
        arg_exclude_alerts(c) && arg_group_page(c)) {
        data_text(c, "{\"groups\":[]}");
    }
}

void api_alerts(struct call *c)
{
    data_text(c, "{\"alerts\":[]}");
}

/* ---- targets ---- */

void api_targets(struct call *c)
{
    /* An unknown state shows neither kind, as in Prometheus; the counts are an object only where
     * dropped targets are asked for. */
    static const char *const dropped[] = {"", "any", "dropped"};
    bool counts = is_word(params_get(&c->params, "state"), dropped, TSDB_ARRAY_LEN(dropped));
    data_text(c, counts
                     ? "{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}"
                     : "{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":null}");
}

void api_targets_metadata(struct call *c)
{
    int64_t limit = -1;
    if (!api_arg_int(c, "limit", &limit)) {
        call_error(c, ENVELOPE_BAD_DATA, "limit must be a number");
        return;
    }
    struct tsdb_slice target = params_get(&c->params, "match_target");
    if (target.len > 0) {
        struct tsdb_selector selector;
        bool non_empty = false; /* an empty one is fine here: it means every target */
        struct tsdb_error err = {0};
        enum tsdb_status status = query_parse_selector((const char *)target.data, target.len,
                                                       &c->arena, &selector, &non_empty, &err);
        if (status != TSDB_OK) {
            call_malformed(c, status, "invalid parameter \"match_target\": ", &err);
            return;
        }
    }
    data_text(c, "[]");
}

void api_scrape_pools(struct call *c)
{
    data_text(c, "{\"scrapePools\":[]}");
}

void api_alertmanagers(struct call *c)
{
    data_text(c, "{\"activeAlertmanagers\":[],\"droppedAlertmanagers\":[]}");
}

void api_notifications(struct call *c)
{
    data_text(c, "[]");
}
