#include "query/cache/cache.h"

#include "base/assert.h"
#include "query/cache/stepwise.h"
#include "query/cache/table.h"
#include "query/lang/ast.h"

#include <stdatomic.h>
#include <string.h>

/* Steps of one query; the API allows 11,001. */
#define STEPS_MAX (1u << 20)
/* Sums of two such times do not reach the ends of time. */
#define TIME_MS_MAX (INT64_MAX / 4)
/* So many answers at least have room. */
#define ENTRIES_MIN 4u

struct query_cache {
    struct cache_table table;
    uint64_t samples_min; /* immutable */
    _Atomic(uint64_t) hits, partial, misses, bypassed, steps_kept, steps_computed, voided;
};

enum tsdb_status query_cache_create(const struct query_cache_options *options,
                                    struct query_cache **out, struct tsdb_error *err)
{
    TSDB_ASSERT(options->bytes_max > 0);
    struct query_cache *c = tsdb_mem_alloc_zero(TSDB_MEM_CACHE, sizeof *c);
    if (!c) {
        return tsdb_error_nomem(err, "the cache of queries");
    }
    c->samples_min = options->samples_min > 0 ? options->samples_min : QUERY_CACHE_SAMPLES_MIN;
    cache_table_init(&c->table, options->bytes_max);
    *out = c;
    return TSDB_OK;
}

void query_cache_destroy(struct query_cache *c)
{
    if (c) {
        cache_table_deinit(&c->table);
        tsdb_mem_free(TSDB_MEM_CACHE, c, sizeof *c);
    }
}

static void count(_Atomic(uint64_t) *what, uint64_t n)
{
    atomic_fetch_add_explicit(what, n, memory_order_relaxed);
}

static uint64_t counted(const _Atomic(uint64_t) *what)
{
    return atomic_load_explicit(what, memory_order_relaxed);
}

void query_cache_stats(struct query_cache *c, struct query_cache_stats *out)
{
    *out = (struct query_cache_stats){0};
    if (!c) {
        return;
    }
    cache_table_stats(&c->table, &out->bytes, &out->entries, &out->evicted);
    out->bytes_max = c->table.bytes_max;
    out->hits = counted(&c->hits);
    out->partial = counted(&c->partial);
    out->misses = counted(&c->misses);
    out->bypassed = counted(&c->bypassed);
    out->steps_kept = counted(&c->steps_kept);
    out->steps_computed = counted(&c->steps_computed);
    out->voided = counted(&c->voided);
}

/* ---- one question ---- */

struct question {
    struct query_cache *c;
    struct tsdb *db;
    const struct query_options *options;
    struct tsdb_request *request;
    const struct query_expr *expr;
    const struct query_params *params;
    struct tsdb_arena *arena;
    struct query_result *out;
    struct tsdb_error *err;

    struct stepwise stepwise;
    uint32_t steps;
    struct tsdb_stamp stamp; /* before anything is read for it */
    struct tsdb_buf key;
};

/* All that the answer at a time depends on, samples aside: the text as it was sent (notes have positions in
 * it), and which grid it lies on. */
static void key_make(struct question *q)
{
    const struct query_params *p = q->params;
    int64_t phase_ms = p->start_ms % p->step_ms;
    int64_t lookback_ms = p->lookback_ms > 0 ? p->lookback_ms : q->options->lookback_ms;
    const int64_t numbers[] = {p->step_ms, phase_ms < 0 ? phase_ms + p->step_ms : phase_ms,
                               lookback_ms, q->options->default_step_ms};
    tsdb_buf_init(&q->key, TSDB_MEM_QUERY, 0);
    tsdb_buf_put(&q->key, numbers, sizeof numbers);
    tsdb_buf_put(&q->key, q->expr->text->data, q->expr->text->len);
}

/* How many of `steps` times from start_ms on, step_ms apart, are before t_ms? */
static uint32_t steps_before(int64_t start_ms, int64_t step_ms, uint32_t steps, int64_t t_ms)
{
    uint64_t apart = (uint64_t)t_ms - (uint64_t)start_ms;
    if (t_ms <= start_ms) {
        return 0;
    }
    return (uint32_t)TSDB_MIN((apart - 1) / (uint64_t)step_ms + 1, (uint64_t)steps);
}

static int64_t sub_within(int64_t a, int64_t b)
{
    int64_t r;
    return __builtin_sub_overflow(a, b, &r) ? (b < 0 ? INT64_MAX : INT64_MIN) : r;
}

/* Steps [*from, *to) of an entry depend on samples of unchanged times alone. */
static void steps_unchanged(const struct question *q, const struct cache_entry *e, uint32_t *from,
                            uint32_t *to)
{
    struct tsdb_time_range same = tsdb_unchanged_since(q->db, &e->stamp);
    *from = *to = 0;
    if (same.min_ms > same.max_ms) {
        return;
    }
    int64_t first_ms =
        same.min_ms == INT64_MIN ? INT64_MIN : sub_within(same.min_ms, e->reach.min_ms);
    int64_t last_ms =
        same.max_ms == INT64_MAX ? INT64_MAX : sub_within(same.max_ms, e->reach.max_ms);
    *from = steps_before(e->start_ms, e->step_ms, e->steps, first_ms);
    *to = last_ms == INT64_MAX ? e->steps
                               : steps_before(e->start_ms, e->step_ms, e->steps, last_ms + 1);
}

/* The steps from the query's first on that an entry has; and from which on it is good for more. */
static struct cache_part part_of(const struct question *q, const struct cache_entry *e,
                                 uint32_t *out_first)
{
    uint32_t to = 0;
    steps_unchanged(q, e, out_first, &to);
    struct cache_part part = {.entry = e};
    int64_t start_ms = q->params->start_ms;
    if (start_ms < e->start_ms) {
        return part;
    }
    uint64_t at = ((uint64_t)start_ms - (uint64_t)e->start_ms) / (uint64_t)e->step_ms;
    if (at < *out_first || at >= to) {
        return part;
    }
    part.from = (uint32_t)at;
    part.count = TSDB_MIN(to - part.from, q->steps);
    /* Notes are those of all its steps. Of some, they are only if others say the same (notes_hold). */
    if (e->note_count > 0 && part.count == q->steps && part.count < e->steps) {
        part.count--;
    }
    return part;
}

static uint32_t serves(void *arg, const struct cache_entry *e)
{
    const struct question *q = arg;
    uint32_t from;
    uint32_t to;
    steps_unchanged(q, e, &from, &to);
    return from >= to ? UINT32_MAX : part_of(q, e, &from).count;
}

/* ---- answers ---- */

static enum tsdb_status evaluate_from(struct question *q, uint32_t step, struct query_result *out)
{
    struct query_params p = *q->params;
    p.start_ms += (int64_t)step * p.step_ms;
    p.limit = 0; /* of all of it, later */
    p.select_before_ms = q->stepwise.selects_all ? p.start_ms - q->params->start_ms : 0;
    count(&q->c->steps_computed, q->steps - step);
    return query_eval(q->db, q->options, q->request, q->expr, &p, q->arena, out, q->err);
}

/* Each series once: parts are put together by labels. */
static bool is_ordered(const struct query_result *r)
{
    for (uint32_t i = 1; i < r->series_count; i++) {
        if (tsdb_labels_compare(&r->series[i - 1].labels, &r->series[i].labels) >= 0) {
            return false;
        }
    }
    return true;
}

static bool is_divisible(const struct query_result *r)
{
    return r->type == QUERY_TYPE_MATRIX && !r->entangled && is_ordered(r);
}

/* The notes of kept and fresh steps together are those of the fresh ones, if they are the same. (What is kept
 * may have more steps than are used, and a note of one that is not.) */
static bool notes_hold(const struct cache_entry *e, const struct query_result *fresh)
{
    if (e->note_count > 0 && e->note_count != fresh->note_count) {
        return false;
    }
    for (uint32_t i = 0; i < e->note_count; i++) {
        if (e->notes[i].is_info != fresh->notes[i].is_info ||
            strcmp(e->notes[i].text, fresh->notes[i].text) != 0) {
            return false;
        }
    }
    return true;
}

/* Fresh steps behind the kept ones, from where on they are worth keeping: as many as were, or are
 * wanted. Where series have to be looked at together, those of this query were, and of no more. */
static void keep(struct question *q, const struct cache_part *part, uint32_t first,
                 const struct query_result *fresh)
{
    struct cache_part kept = *part;
    struct cache_entry *e = NULL;
    if (kept.count > 0 && !q->stepwise.selects_all) {
        uint32_t most = TSDB_MAX(kept.entry->steps, q->steps);
        uint32_t before = TSDB_MIN(kept.from - first, most - q->steps);
        kept.from -= before;
        kept.count += before;
    }
    const struct cache_fresh f = {.result = fresh,
                                  .start_ms = q->params->start_ms +
                                              (int64_t)part->count * q->params->step_ms,
                                  .step_ms = q->params->step_ms,
                                  .steps = q->steps - part->count};
    uint64_t bytes_max = q->c->table.bytes_max / ENTRIES_MIN;
    if (cache_entry_make(&kept, &f, bytes_max, &e) == TSDB_OK) {
        e->reach = q->stepwise.reach;
        e->stamp = q->stamp;
        cache_table_put(&q->c->table, &q->key, e);
    }
}

static void finish(const struct question *q, uint32_t kept)
{
    struct query_result *out = q->out;
    out->type = QUERY_TYPE_MATRIX;
    out->stats.steps_cached = kept;
    if (q->params->limit > 0 && out->series_count > q->params->limit) {
        out->series_count = q->params->limit;
        out->truncated = true;
    }
    count(&q->c->steps_kept, kept);
}

static enum tsdb_status answer_whole(struct question *q)
{
    count(&q->c->misses, 1);
    enum tsdb_status status = evaluate_from(q, 0, q->out);
    if (status != TSDB_OK) {
        return status;
    }
    if (q->out->stats.samples_loaded >= q->c->samples_min && is_divisible(q->out)) {
        keep(q, &(struct cache_part){0}, 0, q->out);
    }
    finish(q, 0);
    return TSDB_OK;
}

static enum tsdb_status join(struct question *q, const struct cache_part *part,
                             const struct query_result *fresh)
{
    enum tsdb_status status = cache_join(part, fresh, q->arena, q->out);
    return status == TSDB_OK
               ? TSDB_OK
               : tsdb_error_set(q->err, status, "no memory for the answer of the query");
}

/* With explain: nothing was computed. */
static enum tsdb_status plan_kept(const struct question *q, const struct cache_part *part,
                                  struct query_result *out)
{
    struct query_plan *plan = TSDB_ARENA_NEW(q->arena, struct query_plan);
    if (!plan) {
        return tsdb_arena_status(q->arena);
    }
    *plan = (struct query_plan){.expr = q->expr, .series = part->entry->series_count};
    out->plan = plan;
    return TSDB_OK;
}

/* All steps are there. */
static enum tsdb_status answer_kept(struct question *q, const struct cache_part *part)
{
    struct query_result none = {0};
    TSDB_ASSERT(part->entry && part->count == q->steps);
    enum tsdb_status status = cache_notes(part->entry, q->arena, &none);
    if (status == TSDB_OK && q->params->explain) {
        status = plan_kept(q, part, &none);
    }
    if (status == TSDB_OK) {
        status = join(q, part, &none);
    }
    if (status == TSDB_OK) {
        count(&q->c->hits, 1);
        finish(q, part->count);
    }
    return status;
}

/* *out_whole: it has to be computed as a whole after all. */
static enum tsdb_status answer_joined(struct question *q, const struct cache_part *part,
                                      uint32_t first, bool *out_whole)
{
    struct query_result fresh = {0};
    enum tsdb_status status = evaluate_from(q, part->count, &fresh);
    /* Of several errors, which one is told depends on all steps. */
    *out_whole = status == TSDB_INVALID;
    if (status != TSDB_OK) {
        return status;
    }
    *out_whole = !is_divisible(&fresh) || !notes_hold(part->entry, &fresh);
    if (*out_whole) {
        return TSDB_OK;
    }
    status = join(q, part, &fresh);
    if (status == TSDB_OK) {
        keep(q, part, first, &fresh);
        count(&q->c->partial, 1);
        finish(q, part->count);
    }
    return status;
}

static enum tsdb_status answer(struct question *q)
{
    uint32_t dropped = 0;
    uint32_t first = 0;
    bool whole = true;
    uint64_t regex_size = q->request->regex_size; /* counts once, also where all is done twice */
    tsdb_stamp_take(q->db, &q->stamp);
    struct cache_entry *e = cache_table_take(&q->c->table, &q->key, serves, q, &dropped);
    count(&q->c->voided, dropped);
    enum tsdb_status status = tsdb_request_check(q->request);
    struct cache_part part = {0};
    if (e && status == TSDB_OK) {
        part = part_of(q, e, &first);
    }
    if (part.count == q->steps) {
        status = answer_kept(q, &part);
        whole = false;
    } else if (part.count > 0) {
        status = answer_joined(q, &part, first, &whole);
    }
    if (whole) {
        q->request->regex_size = regex_size;
        if (q->err) {
            *q->err = (struct tsdb_error){0};
        }
        status = answer_whole(q);
    }
    cache_table_release(&q->c->table, e);
    return status;
}

/* As many as exec.c makes of it; 0: not to be looked at here. */
static uint32_t steps_of(const struct query_params *p)
{
    if (p->step_ms <= 0 || p->end_ms < p->start_ms || p->start_ms < -TIME_MS_MAX ||
        p->end_ms > TIME_MS_MAX || p->step_ms > TIME_MS_MAX) {
        return 0;
    }
    uint64_t n = ((uint64_t)p->end_ms - (uint64_t)p->start_ms) / (uint64_t)p->step_ms + 1;
    return n <= STEPS_MAX ? (uint32_t)n : 0;
}

enum tsdb_status query_cache_eval(struct query_cache *c, struct tsdb *db,
                                  const struct query_options *options, struct tsdb_request *request,
                                  const struct query_expr *expr, const struct query_params *params,
                                  struct tsdb_arena *arena, struct query_result *out,
                                  struct tsdb_error *err)
{
    struct question q = {c,      db,    options, request, expr,
                         params, arena, out,     err,     .steps = c ? steps_of(params) : 0};
    /* Samples by step, and what operators do, are told of an evaluation alone. */
    bool may = q.steps > 0 && !params->per_step_stats &&
               query_stepwise(expr, options, params, &q.stepwise);
    if (!may) {
        if (q.steps > 0) {
            count(&c->bypassed, 1);
        }
        return query_eval(db, options, request, expr, params, arena, out, err);
    }
    key_make(&q);
    enum tsdb_status status =
        q.key.failed ? query_eval(db, options, request, expr, params, arena, out, err) : answer(&q);
    tsdb_buf_deinit(&q.key);
    return status;
}
