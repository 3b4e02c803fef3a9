/* Retention by matcher: what a rule matches is kept for the rule's time and not for that of the rest.
 *
 * A block that ended before loses the series of the rule: they get tombstones (tsdb/block/hide.h), and
 * leave the files as what is deleted does. Each block is looked at once for each rule, when it is old
 * enough, and a round takes an eighth of the blocks for each rule at most: whatever is wrong with a rule or a clock, a person
 * has an hour to see it. Samples that come late, into a block of their own, are older still and go
 * with the next round. No flush and no checkpoint comes before: what a death brings back is flushed
 * again, and goes again.
 */
#include "base/log.h"
#include "index/match/matcher.h"
#include "tsdb/block/hide.h"
#include "tsdb/engine/db_private.h"

#include <string.h>

#define ROUND_NS    (INT64_C(10) * 60 * 1000 * 1000 * 1000)
#define SHARE       8u
#define ARENA_BYTES 4096u

struct db_rule {
    struct hide_selector selector;
    int64_t keep_ms;
};
struct db_rules {
    struct tsdb_arena arena; /* of the matchers' texts */
    struct db_rule rules[TSDB_RETENTION_RULES_MAX];
    uint32_t count;
    struct index_matcher **owned; /* of all rules */
    uint32_t owned_count;
    uint64_t number; /* of the set, in this life */
};

void db_rules_free(struct db_rules *r)
{
    if (r) {
        for (uint32_t i = 0; i < r->owned_count; i++) {
            index_matcher_destroy(r->owned[i]);
        }
        tsdb_arena_deinit(&r->arena);
        tsdb_mem_free(TSDB_MEM_OTHER, r, sizeof *r);
    }
}

/* ---- setting ---- */

static const char *copy_text(struct db_rules *r, const char *text, uint32_t len)
{
    char *copy = TSDB_ARENA_ARRAY(&r->arena, char, (size_t)len + 1);
    if (copy && len > 0) {
        memcpy(copy, text, len);
    }
    return copy;
}

static enum tsdb_status add_matcher(struct db_rules *r, const struct tsdb_matcher *m,
                                    struct tsdb_error *err)
{
    struct tsdb_matcher copy = *m;
    copy.name = copy_text(r, m->name, m->name_len);
    copy.value = copy_text(r, m->value, m->value_len);
    if (!copy.name || !copy.value) {
        return tsdb_error_nomem(err, "a retention rule");
    }
    enum tsdb_status status = index_matcher_compile(&copy, &r->owned[r->owned_count], err);
    r->owned_count += status == TSDB_OK;
    return status;
}

static enum tsdb_status add_rule(struct db_rules *r, const struct tsdb_retention_rule *rule,
                                 struct tsdb_error *err)
{
    if (rule->keep_ms <= 0 || rule->selector.count == 0) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "a retention rule needs a matcher and a time above zero");
    }
    struct db_rule *out = &r->rules[r->count++];
    out->keep_ms = rule->keep_ms;
    out->selector.matchers = (const struct index_matcher *const *)(r->owned + r->owned_count);
    out->selector.count = rule->selector.count;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; status == TSDB_OK && i < rule->selector.count; i++) {
        status = add_matcher(r, &rule->selector.matchers[i], err);
    }
    return status;
}

static enum tsdb_status rules_make(const struct tsdb_retention_rule *rules, uint32_t count,
                                   struct db_rules **out, struct tsdb_error *err)
{
    size_t matchers = 1;
    struct db_rules *r = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *r);
    if (!r) {
        return tsdb_error_nomem(err, "retention rules");
    }
    tsdb_arena_init(&r->arena, TSDB_MEM_OTHER, ARENA_BYTES, NULL);
    for (uint32_t i = 0; i < count; i++) {
        matchers += rules[i].selector.count;
    }
    r->owned = TSDB_ARENA_ARRAY(&r->arena, struct index_matcher *, matchers);
    enum tsdb_status status = r->owned ? TSDB_OK : tsdb_error_nomem(err, "retention rules");
    for (uint32_t i = 0; status == TSDB_OK && i < count; i++) {
        status = add_rule(r, &rules[i], err);
    }
    if (status != TSDB_OK) {
        db_rules_free(r);
        return status;
    }
    *out = r;
    return TSDB_OK;
}

enum tsdb_status tsdb_retention_rules_set(struct tsdb *db, const struct tsdb_retention_rule *rules,
                                          uint32_t count, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    struct db_rules *fresh = NULL;
    if (count > TSDB_RETENTION_RULES_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "%u retention rules, at most %u", count,
                              TSDB_RETENTION_RULES_MAX);
    }
    enum tsdb_status status = rules_make(rules, count, &fresh, err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_mutex_lock(&life->deletes_lock);
    struct db_rules *old = life->rules_next;
    life->rules_next = fresh;
    tsdb_mutex_unlock(&life->deletes_lock);
    db_rules_free(old);
    return TSDB_OK;
}

/* ---- applying ---- */

static void take_over(struct db_life *life)
{
    tsdb_mutex_lock(&life->deletes_lock);
    struct db_rules *fresh = life->rules_next;
    life->rules_next = NULL;
    tsdb_mutex_unlock(&life->deletes_lock);
    if (fresh) {
        fresh->number = life->rules ? life->rules->number + 1 : 1;
        db_rules_free(life->rules);
        life->rules = fresh;
        life->rules_next_ns = 0;
    }
}

struct round {
    const struct db_rules *rules;
    uint32_t index; /* of the rule */
    int64_t before_ms;
    uint32_t left; /* blocks that may still be taken */
};

/* A block that ended before, and has not had the rule yet. */
static bool wanted(void *arg, struct live_block *b)
{
    struct round *r = arg;
    uint64_t bit = UINT64_C(1) << r->index;
    if (b->rules_of != r->rules->number) {
        b->rules_of = r->rules->number;
        b->rules_done = 0;
    }
    if (block_meta(b->block)->max_ms > r->before_ms || (b->rules_done & bit) || r->left == 0) {
        return false;
    }
    r->left--;
    b->rules_done |= bit; /* failed: the whole round is forgotten, see below */
    return true;
}

static enum tsdb_status apply(struct tsdb *db, struct round *r, struct tsdb_error *err)
{
    const struct db_rule *rule = &r->rules->rules[r->index];
    struct hide_result hidden = {0};
    r->before_ms = db_older_than(db, rule->keep_ms);
    struct hide_request q = {.any = &rule->selector,
                             .count = 1,
                             .range = TSDB_TIME_ALL,
                             .cancel = &db->life->stop_background,
                             .wanted = wanted,
                             .arg = r};
    enum tsdb_status status = blocks_hide(&db->blocks, &q, &hidden, err);
    if (hidden.samples > 0) {
        tsdb_log(TSDB_LOG_INFO, "tsdb", "series older than their retention rule are deleted",
                 TSDB_U("rule", r->index + 1), TSDB_I("before_ms", r->before_ms),
                 TSDB_U("blocks", hidden.blocks), TSDB_U("series", hidden.series),
                 TSDB_U("samples", hidden.samples));
    }
    return status;
}

enum tsdb_status db_rules_step(struct tsdb *db, int64_t now_ns, struct tsdb_error *err)
{
    struct db_life *life = db->life;
    take_over(life);
    if (!life->rules || now_ns < life->rules_next_ns) {
        return TSDB_OK;
    }
    struct view *v = view_acquire(&db->blocks.views);
    const uint32_t share = TSDB_MAX(v->block_count / SHARE, 1u);
    struct round r = {.rules = life->rules};
    view_release(&db->blocks.views, v);
    enum tsdb_status status = TSDB_OK;
    for (; status == TSDB_OK && r.index < life->rules->count; r.index++) {
        r.left = share;
        status = apply(db, &r, err);
    }
    if (status != TSDB_OK) {
        life->rules->number++; /* every block is looked at again */
    }
    life->rules_next_ns = now_ns + ROUND_NS;
    return status;
}
