#include "server/api/estimate.h"

#include "base/compiler.h"
#include "server/api/args.h"

#include <string.h>

/* A step over a second is guessed at a nanosecond: a day by minutes is heavy, six hours by minutes or
 * a day by five minutes are not. Known better as soon as it ran. */
#define GUESS_MS_PER_NS 1000

/* Parameters that move from one call of a panel to the next, or change nothing of the work. */
static bool is_beside(struct tsdb_slice name)
{
    static const char *const beside[] = {"start", "end", "step", "time", "timeout", "stats", "_"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(beside); i++) {
        if (name.len == strlen(beside[i]) && memcmp(name.data, beside[i], name.len) == 0) {
            return true;
        }
    }
    return false;
}

struct extent {
    uint64_t span_ms, steps;
};

/* What is no time is found out by the handler; here it is no extent. */
static struct extent extent_of(const struct params *p)
{
    int64_t start = 0;
    int64_t end = 0;
    int64_t step = 0;
    struct extent e = {.steps = 1};
    if (!api_time_parse(params_get(p, "start"), &start) ||
        !api_time_parse(params_get(p, "end"), &end) || end <= start) {
        return e;
    }
    e.span_ms = (uint64_t)end - (uint64_t)start;
    if (api_duration_parse(params_get(p, "step"), &step) > 0 && step > 0) {
        e.steps += e.span_ms / (uint64_t)step;
    }
    return e;
}

static uint64_t magnitude(uint64_t n)
{
    return n > 0 ? 64u - (uint64_t)__builtin_clzll(n) : 0;
}

static uint64_t mix(const struct costs *costs, uint64_t shape, struct tsdb_slice s)
{
    const uint64_t both[2] = {shape, tsdb_hash64(&costs->key, s.data, s.len)};
    return tsdb_hash64(&costs->key, both, sizeof both);
}

static uint64_t shape_of(const struct call *c, const struct extent *e)
{
    const struct costs *costs = &c->server->costs;
    const uint64_t first[3] = {magnitude(e->steps), magnitude(e->span_ms / 1000), c->segment.len};
    uint64_t shape = tsdb_hash64(&costs->key, first, sizeof first);
    const char *path = c->route->path;
    shape = mix(costs, shape, (struct tsdb_slice){(const uint8_t *)path, strlen(path)});
    shape = mix(costs, shape, c->segment);
    for (uint32_t i = 0; i < c->params.count; i++) {
        const struct param *p = &c->params.items[i];
        if (!is_beside(p->name)) {
            shape = mix(costs, mix(costs, shape, p->name), p->value);
        }
    }
    return shape;
}

/* Without steps, and for lists, there is nothing to guess by. */
static int64_t guess_ns(const struct extent *e)
{
    uint64_t guess = 0;
    if (e->steps <= 1) {
        return 0;
    }
    if (__builtin_mul_overflow(e->span_ms / GUESS_MS_PER_NS, e->steps, &guess)) {
        return INT64_MAX;
    }
    return (int64_t)TSDB_MIN(guess, (uint64_t)INT64_MAX);
}

enum work_kind estimate_kind(struct call *c)
{
    struct extent e = extent_of(&c->params);
    c->shape = shape_of(c, &e);
    c->shaped = true;
    if (c->route->flags & ROUTE_ADMIN) {
        return WORK_HEAVY; /* it rewrites the disk, whatever it took last time */
    }
    return costs_kind(&c->server->costs, c->shape, guess_ns(&e));
}

static uint64_t expected_bytes(const struct call *c)
{
    uint64_t known = c->shaped ? costs_bytes(&c->server->costs, c->shape) : 0;
    return known > 0 ? known : BUDGET_UNKNOWN_BYTES;
}

enum tsdb_status estimate_begin(struct call *c)
{
    struct server *s = c->server;
    if (c->work.kind == WORK_CHEAP || (c->route->flags & ROUTE_ADMIN)) {
        return TSDB_OK;
    }
    if (tsdb_account_move(&c->request.account, &s->budget.costly) != TSDB_OK) {
        return TSDB_BUSY;
    }
    enum tsdb_status status = budget_begin(&s->budget, &c->share, &c->request, expected_bytes(c));
    c->shared = status == TSDB_OK;
    return status;
}

/* For the next of its shape: what it took, or of one that was done in part what the whole takes at least. */
static void learn(const struct call *c, int64_t spent_ns)
{
    struct costs *costs = &c->server->costs;
    uint64_t peak = atomic_load(&c->request.account.peak_bytes);
    if (!c->in_part) {
        costs_note(costs, c->shape, spent_ns);
        /* Who got no more needs more; how much shows the next time. */
        costs_note_bytes(costs, c->shape, c->out_of_room ? 2 * peak : peak);
        return;
    }
    costs_note_part(costs, c->shape, spent_ns);
    if (peak > expected_bytes(c)) {
        costs_note_bytes(costs, c->shape, peak);
    }
}

void estimate_end(struct call *c, int64_t spent_ns)
{
    if (c->shared) {
        budget_end(&c->server->budget, &c->share);
        c->shared = false;
    }
    if (c->shaped) {
        learn(c, spent_ns);
    }
}
