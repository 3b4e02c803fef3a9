/* What an evaluation has besides its operators: memory, limits, notes. */
#include "query/eval/op.h"

#include "base/assert.h"
#include "base/format.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define POLL_EVERY        128
#define MEMORY_LIMIT_TEXT "query needs more memory than it may use"

/* ---- limits ---- */

enum tsdb_status exec_nomem_status(struct exec *x)
{
    /* The arena tells why its last request failed, and forgets it with the next one that succeeds. */
    bool limited = x->arena->failure == TSDB_LIMIT;
    for (const struct tsdb_account *a = &x->request->account; a && x->arena->failure == TSDB_OK;
         a = a->parent) {
        limited |= a->limit_bytes > 0;
    }
    if (limited) {
        return exec_fail(x, TSDB_LIMIT, MEMORY_LIMIT_TEXT);
    }
    return exec_fail(x, TSDB_NOMEM, "out of memory in query execution");
}

enum tsdb_status exec_check(struct exec *x)
{
    return exec_stopped(x, tsdb_request_check(x->request));
}

enum tsdb_status exec_stopped(struct exec *x, enum tsdb_status status)
{
    if (status == TSDB_CANCELLED) {
        return exec_fail(x, status, "query was canceled in expression evaluation");
    }
    if (status == TSDB_TIMEOUT) {
        return exec_fail(x, status, "query timed out in expression evaluation");
    }
    return status;
}

struct sorting {
    struct exec *x;
    int (*compare)(const void *, const void *);
    uint32_t turns;
    enum tsdb_status status;
};

/* Once the query is to stop, all are equal: that ends soon. */
static int compare_while_running(const void *a, const void *b, void *arg)
{
    struct sorting *s = arg;
    if (s->status == TSDB_OK && ++s->turns % 4096 == 0) {
        s->status = exec_check(s->x);
    }
    return s->status == TSDB_OK ? s->compare(a, b) : 0;
}

enum tsdb_status exec_sort(struct exec *x, void *items, size_t count, size_t bytes_each,
                           int (*compare)(const void *, const void *))
{
    struct sorting s = {.x = x, .compare = compare};
    if (count > 1) {
        qsort_r(items, count, bytes_each, compare_while_running, &s);
    }
    return s.status;
}

enum tsdb_status exec_poll(struct exec *x)
{
    return x->polls++ % POLL_EVERY == 0 ? exec_check(x) : TSDB_OK;
}

enum tsdb_status exec_hold(struct exec *x, uint64_t samples)
{
    x->samples_now += samples;
    if (x->samples_now > x->samples_peak) {
        x->samples_peak = x->samples_now;
    }
    if (x->options->samples_max > 0 && x->samples_now > x->options->samples_max) {
        return exec_fail(
            x, TSDB_LIMIT,
            "query processing would load too many samples into memory in query execution");
    }
    return TSDB_OK;
}

void exec_release(struct exec *x, uint64_t samples)
{
    TSDB_ASSERT(x->samples_now >= samples);
    x->samples_now -= samples;
}

/* Fewer say nothing. */
#define FORESEE_FROM 4096u

enum tsdb_status exec_foresee(struct exec *x, size_t used_before, uint32_t done, uint32_t total)
{
    if (done < FORESEE_FROM || (done != total / 8 && done != total / 4 && done != total / 2)) {
        return TSDB_OK;
    }
    uint64_t took = tsdb_arena_used(x->arena) - used_before;
    uint64_t room = (uint64_t)(x->arena->end - x->arena->pos); /* charged already */
    uint64_t rest = took / done * (total - done);
    /* They lie in an order of hashes, so that the first are like the others, more or less. */
    if (tsdb_account_foresees(&x->request->account, TSDB_MAX(rest / 3 * 2, room) - room)) {
        return exec_fail(x, TSDB_LIMIT, MEMORY_LIMIT_TEXT);
    }
    return TSDB_OK;
}

/* ---- explain ---- */

struct query_plan *exec_plan_new(struct exec *x, const struct query_expr *e,
                                 enum tsdb_status *status)
{
    if (!x->plan) {
        return NULL;
    }
    struct query_plan *plan = TSDB_ARENA_NEW(x->arena, struct query_plan);
    if (!plan) {
        *status = exec_nomem(x);
        return NULL;
    }
    *plan = (struct query_plan){.expr = e, .parent = x->plan};
    if (x->plan->last) {
        x->plan->last->next = plan;
    } else {
        x->plan->first = plan;
    }
    x->plan->last = plan;
    return plan;
}

struct exec_work exec_work_begin(struct exec *x, struct query_plan *plan)
{
    struct exec_work w = {.outer = x->plan};
    if (plan) {
        x->plan = plan;
        w.begin_ns = tsdb_clock_mono_ns(x->request->clock);
    }
    return w;
}

void exec_work_end(struct exec *x, struct query_plan *plan, const struct exec_work *w)
{
    if (plan) {
        plan->ns += tsdb_clock_mono_ns(x->request->clock) - w->begin_ns;
        x->plan = w->outer;
    }
}

/* ---- the crew ---- */

struct exec_crew_group *exec_crew_begin(struct exec *x, query_crew_fn *fn, void *arg,
                                        uint32_t lanes)
{
    struct exec_crew_group *g = TSDB_ARENA_NEW(x->arena, struct exec_crew_group);
    if (g) {
        query_crew_begin(x->options->crew, &g->group, fn, arg, lanes);
        g->ended = false;
        g->next = x->groups;
        x->groups = g;
    }
    return g;
}

void exec_crew_end(struct exec *x, struct exec_crew_group *g)
{
    if (!g->ended) {
        query_crew_end(x->options->crew, &g->group);
        g->ended = true;
    }
}

void exec_crew_end_all(struct exec *x)
{
    for (struct exec_crew_group *g = x->groups; g; g = g->next) {
        exec_crew_end(x, g);
    }
}

void exec_crew_quiet(struct exec *x)
{
    for (struct exec_crew_group *g = x->groups; g; g = g->next) {
        if (!g->ended) {
            query_crew_quiet(x->options->crew, &g->group);
        }
    }
}

/* ---- memory ---- */

struct tsdb_arena *exec_scratch(struct exec *x)
{
    struct exec_scratch *s = TSDB_ARENA_NEW(x->arena, struct exec_scratch);
    if (!s) {
        return NULL;
    }
    tsdb_arena_init(&s->arena, TSDB_MEM_QUERY, 16384, &x->request->account);
    s->next = x->scratches;
    x->scratches = s;
    return &s->arena;
}

void *exec_grow(struct exec *x, const void *items, uint32_t count, uint32_t *cap, uint32_t first,
                size_t bytes_each)
{
    TSDB_ASSERT(count == *cap && first > 0);
    uint32_t grown_cap = *cap == 0 ? first : *cap * 2;
    void *grown = tsdb_arena_alloc_array(x->arena, grown_cap, bytes_each, 8);
    if (grown) {
        if (count > 0) {
            memcpy(grown, items, count * bytes_each);
        }
        *cap = grown_cap;
    }
    return grown;
}

const struct tsdb_histogram *exec_keep_histogram(struct exec *x, const struct tsdb_histogram *h)
{
    return tsdb_histogram_dup(h, x->arena);
}

/* ---- notes ---- */

static struct exec_note *note_put(struct exec *x, bool is_info, uint32_t pos, const char *text,
                                  size_t len)
{
    uint32_t turn = x->turn > 0 ? x->turn : x->turns + 1;
    for (struct exec_note *n = x->notes; n; n = n->next) {
        if (n->note.is_info == is_info && strlen(n->note.text) == len &&
            memcmp(n->note.text, text, len) == 0) {
            if (turn >= n->turn) {
                n->pos = pos;
                n->turn = turn;
            }
            n->occurrences++;
            return n;
        }
    }
    struct exec_note *n = TSDB_ARENA_NEW(x->arena, struct exec_note);
    char *copy = tsdb_arena_strndup(x->arena, text, len);
    if (n && copy) {
        *n = (struct exec_note){{copy, is_info}, pos, turn, false, 1, x->notes};
        x->notes = n;
        x->note_count++;
        return n;
    }
    return NULL;
}

void exec_notes_take(struct exec *x, const struct exec_note *notes)
{
    uint32_t outer = x->turn;
    uint32_t count = 0;
    for (const struct exec_note *n = notes; n; n = n->next) {
        count++;
    }
    for (uint32_t i = count; i > 0; i--) { /* they are few, newest first */
        const struct exec_note *n = notes;
        for (uint32_t k = 1; k < i; k++) {
            n = n->next;
        }
        x->turn = n->turn;
        struct exec_note *mine =
            note_put(x, n->note.is_info, n->pos, n->note.text, strlen(n->note.text));
        if (mine) {
            mine->counted |= n->counted;
            mine->occurrences += n->occurrences - 1;
        }
    }
    x->turn = outer;
}

void exec_note(struct exec *x, bool is_info, uint32_t pos, const char *format, ...)
{
    struct tsdb_buf b;
    va_list args;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    va_start(args, format);
    tsdb_buf_vprintf(&b, format, args);
    va_end(args);
    if (!b.failed) {
        note_put(x, is_info, pos, (const char *)b.data, b.len);
    }
    tsdb_buf_deinit(&b);
}

static struct exec_note *note_metric(struct exec *x, bool is_info, uint32_t pos, const char *text,
                                     const struct tsdb_labels *labels)
{
    struct query_str name = labels_metric_name(labels);
    struct exec_note *n = NULL;
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_QUERY, 0);
    tsdb_buf_put_str(&b, text);
    tsdb_buf_put_u8(&b, ' ');
    query_quote(&b, name.data, name.len, 0);
    if (!b.failed) {
        n = note_put(x, is_info, pos, (const char *)b.data, b.len);
    }
    tsdb_buf_deinit(&b);
    return n;
}

void exec_note_metric(struct exec *x, bool is_info, uint32_t pos, const char *text,
                      const struct tsdb_labels *labels)
{
    (void)note_metric(x, is_info, pos, text, labels);
}

void exec_note_counted(struct exec *x, uint32_t pos, const char *text,
                       const struct tsdb_labels *labels)
{
    struct exec_note *n = note_metric(x, false, pos, text, labels);
    if (n) {
        n->counted = true;
    }
}

struct number_text number_text(double v)
{
    struct number_text t;
    t.text[tsdb_format_float_go_g(t.text, v)] = '\0';
    return t;
}

void exec_note_quantile(struct exec *x, double q, uint32_t pos)
{
    if (isnan(q) || q < 0 || q > 1) {
        exec_note(x, false, pos, "quantile value should be between 0 and 1, got %s",
                  number_text(q).text);
    }
}
