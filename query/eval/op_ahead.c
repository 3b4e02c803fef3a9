/* Series computed before they are asked for, by the crew.
 *
 *   lane   what one thread works with: a clone of the operator, an evaluation that gathers what it
 *          counts and notes
 *   job    consecutive series
 *   slot   of a ring: what a job left behind, the columns of its series, and what each of them counted and noted
 *   window one job or, where series are computed in another order than they are handed out (order.h), half of
 *          the ring: its jobs are all done before the first of its series is handed out
 *
 * Columns are handed out in the order of the series, and with each what its series counted, held
 * and noted: so results, limits, statistics, notes and errors are those of one thread, to the last
 * bit, however many there are. What does not go well in a lane (an error, no memory, a histogram,
 * which would not live long enough) is computed again when it is asked for, by the thread that
 * asks. While it does other things with what it has got, the crew goes on with the next jobs.
 *
 * Bounded: JOBS_PER_LANE slots of JOB_STEPS steps for each of at most LANES_MAX lanes. */
#include "query/eval/operators.h"

#include "base/assert.h"
#include "query/crew.h"
#include "query/eval/order.h"

#define LANES_MAX     QUERY_CREW_LANES_MAX
#define JOB_SERIES    64u
#define JOB_STEPS     32768u /* in columns of one job: 288 KiB */
#define JOBS_PER_LANE 4u     /* so that lanes have something to do while one is slow */
/* Less than this is done before a helper is awake: series count as many steps for being read. */
#define WORTH_STEPS  65536u
#define SERIES_STEPS 64u
#define TRIED_SERIES 256u /* after so many it is looked at whether it pays */
/* Two windows take so much, and others have to have as much as that so many times. */
#define WINDOWS_BYTES (16u << 20)
#define WINDOWS_SPARE 8u
static_assert(LANES_MAX * JOBS_PER_LANE <= QUERY_CREW_AHEAD_MAX, "all slots may be allowed");

struct ahead_lane {
    struct exec x;                /* its arena: that of the slot */
    struct query_options options; /* without a limit of samples, which the one that asks looks at */
    struct tsdb_error err;
    struct op *op;
};

struct ahead_series {
    struct column column;
    uint64_t samples_peak, samples_kept, samples_read;
    uint64_t queryable, read;
    const struct exec_note *notes;
    bool again;
};

struct op_ahead {
    struct op op;
    struct op *inner;
    struct ahead_lane **lanes;
    uint32_t lane_count;         /* 1: it goes on alone */
    struct ahead_series *series; /* slot_count * per_job */
    struct tsdb_arena **slots;   /* what a job leaves behind */
    uint32_t slot_count, per_job;
    uint32_t window_jobs; /* of a window */
    uint32_t *order;      /* in the place of series i of the ring: which one is computed; NULL: i */
    struct order by;
    uint32_t base;                 /* the first series of job 0 */
    uint32_t jobs;                 /* how many there are */
    uint32_t window;               /* that is handed out; UINT32_MAX: none yet */
    uint32_t handed_out, again;    /* series, and how many of them in vain */
    struct exec_crew_group *group; /* NULL: not begun */
};

/* ---- in a lane ---- */

static bool has_histogram(const struct column *c, uint32_t steps)
{
    return c->h && memchr(c->kind, POINT_HISTOGRAM, steps) != NULL;
}

static void lane_compute(struct ahead_lane *lane, uint32_t pos, struct ahead_series *s)
{
    struct exec *x = &lane->x;
    x->samples_now = x->samples_peak = x->samples_read = 0;
    x->tally.queryable = x->tally.read = 0;
    x->notes = NULL;
    lane->op->pos = pos;
    s->column.h = NULL;
    enum tsdb_status status = op_next(lane->op, &s->column);
    s->again = status != TSDB_OK || has_histogram(&s->column, lane->op->grid.count);
    s->samples_peak = x->samples_peak;
    s->samples_kept = x->samples_now;
    s->samples_read = x->samples_read;
    s->queryable = x->tally.queryable;
    s->read = x->tally.read;
    s->notes = x->notes;
}

static uint32_t ring_series(const struct op_ahead *a)
{
    return a->slot_count * a->per_job;
}

static struct ahead_series *series_of(const struct op_ahead *a, uint32_t pos)
{
    return &a->series[(pos - a->base) % ring_series(a)];
}

static void job_run(void *arg, uint32_t job, uint32_t lane)
{
    const struct op_ahead *a = arg;
    struct exec *x = &a->lanes[lane]->x;
    uint32_t begin = a->base + job * a->per_job;
    uint32_t count = TSDB_MIN(a->per_job, a->op.series_count - begin);
    bool stopped = false;
    x->arena = a->slots[job % a->slot_count];
    tsdb_arena_reset(x->arena);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t pos = a->order ? a->order[(begin + i - a->base) % ring_series(a)] : begin + i;
        struct ahead_series *s = series_of(a, pos);
        s->again = true;
        stopped = stopped || (i % JOB_SERIES == 0 && tsdb_request_check(x->request) != TSDB_OK);
        if (!stopped) {
            lane_compute(a->lanes[lane], pos, s);
        }
    }
}

/* ---- the ring ---- */

static enum tsdb_status lane_make(const struct op_ahead *a, struct ahead_lane **out)
{
    struct exec *x = a->op.x;
    struct ahead_lane *lane = TSDB_ARENA_NEW(x->arena, struct ahead_lane);
    if (!lane) {
        return exec_nomem(x);
    }
    *lane = (struct ahead_lane){.x = *x, .options = *x->options};
    lane->options.samples_max = 0;
    lane->x.options = &lane->options;
    lane->x.err = &lane->err;
    lane->x.scratches = NULL;
    lane->x.groups = NULL;
    lane->x.scattered = a->order != NULL;
    *out = lane;
    return a->inner->clone(a->inner, &lane->x, &lane->op);
}

static enum tsdb_status slots_make(struct op_ahead *a)
{
    struct exec *x = a->op.x;
    uint32_t columns = ring_series(a);
    a->slots = TSDB_ARENA_ARRAY(x->arena, struct tsdb_arena *, a->slot_count);
    a->series = TSDB_ARENA_ARRAY(x->arena, struct ahead_series, columns);
    if (!a->slots || !a->series) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < a->slot_count; i++) {
        a->slots[i] = exec_scratch(x);
        if (!a->slots[i]) {
            return exec_nomem(x);
        }
    }
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < columns && status == TSDB_OK; i++) {
        status = column_init(x, &a->series[i].column, a->op.grid.count);
    }
    return status;
}

/* In the order in which they lie, if that is another one and there is memory for it. */
static enum tsdb_status windows_make(struct op_ahead *a)
{
    struct exec *x = a->op.x;
    uint64_t each = sizeof *a->series + a->op.grid.count * (sizeof(double) + 1) + sizeof *a->order +
                    sizeof(uint64_t) + 2 * sizeof(struct order_item);
    const struct query_series_set *set = a->inner->stored;
    uint64_t bytes =
        x->options->crew_windows_bytes > 0 ? x->options->crew_windows_bytes : WINDOWS_BYTES;
    uint32_t left = a->op.series_count - a->op.pos;
    uint32_t half = a->slot_count / 2;
    uint64_t most = TSDB_MIN(TSDB_MAX(bytes / each / 2, UINT64_C(1)), (uint64_t)left);
    if (!set || set->count != a->op.series_count || !order_matters(x, set) ||
        tsdb_account_left(&x->request->account) / WINDOWS_SPARE < 2 * most * each) {
        return TSDB_OK;
    }
    a->window_jobs = half;
    a->slot_count = 2 * half;
    a->per_job = (uint32_t)(most + half - 1) / half;
    a->order = TSDB_ARENA_ARRAY(x->arena, uint32_t, ring_series(a));
    return a->order ? order_init(&a->by, x, set, half * a->per_job) : exec_nomem(x);
}

/* Once, when the first series is asked for. */
static enum tsdb_status ring_begin(struct op_ahead *a)
{
    struct exec *x = a->op.x;
    a->lanes = TSDB_ARENA_ARRAY(x->arena, struct ahead_lane *, a->lane_count);
    enum tsdb_status status = a->lanes ? windows_make(a) : exec_nomem(x);
    if (status == TSDB_OK) {
        status = slots_make(a);
    }
    for (uint32_t i = 0; i < a->lane_count && status == TSDB_OK; i++) {
        status = lane_make(a, &a->lanes[i]);
    }
    if (status != TSDB_OK) {
        return status;
    }
    a->base = a->op.pos;
    a->jobs = (a->op.series_count - a->base + a->per_job - 1) / a->per_job;
    a->group = exec_crew_begin(x, job_run, a, a->lane_count);
    return a->group ? TSDB_OK : exec_nomem(x);
}

/* From here on alone. */
static void ring_end(struct op_ahead *a)
{
    exec_crew_end(a->op.x, a->group);
    a->lane_count = 1;
}

static uint32_t window_series(const struct op_ahead *a)
{
    return a->window_jobs * a->per_job;
}

static void window_order(struct op_ahead *a, uint32_t window)
{
    uint64_t first = a->base + (uint64_t)window * window_series(a);
    if (a->order && first < a->op.series_count) {
        uint32_t count = TSDB_MIN(window_series(a), a->op.series_count - (uint32_t)first);
        order_window(&a->by, (uint32_t)first, count, a->order + (first - a->base) % ring_series(a));
    }
}

/* The next window: its jobs are done when this returns, and those of the ones behind it may begin. */
static void window_next(struct op_ahead *a)
{
    struct query_crew *crew = a->op.x->options->crew;
    uint32_t windows = a->slot_count / a->window_jobs;
    if (a->window == UINT32_MAX) {
        for (uint32_t w = 0; w + 1 < windows; w++) {
            window_order(a, w);
        }
    }
    a->window++; /* the first time to 0 */
    window_order(a, a->window + windows - 1);
    uint32_t begin = a->window * a->window_jobs;
    query_crew_allow(crew, &a->group->group, TSDB_MIN(begin + a->slot_count, a->jobs));
    for (uint32_t job = begin; job < TSDB_MIN(begin + a->window_jobs, a->jobs); job++) {
        query_crew_need(crew, &a->group->group, job);
    }
}

/* The window that has the series is done, and those before it have been handed out. */
static void ring_reach(struct op_ahead *a, uint32_t pos)
{
    while (a->window != (pos - a->base) / window_series(a)) {
        window_next(a);
    }
}

/* ---- the operator ---- */

/* What was computed for what was given. */
static void columns_exchange(struct column *a, struct column *b)
{
    const struct column was = *a;
    a->v = b->v;
    a->kind = b->kind;
    b->v = was.v;
    b->kind = was.kind;
}

static enum tsdb_status hand_out(struct op_ahead *a, struct ahead_series *s, struct column *out)
{
    struct exec *x = a->op.x;
    enum tsdb_status status = exec_hold(x, s->samples_peak);
    exec_release(x, s->samples_peak - s->samples_kept);
    x->samples_read += s->samples_read;
    x->tally.queryable += s->queryable;
    x->tally.read += s->read;
    exec_notes_take(x, s->notes);
    columns_exchange(out, &s->column);
    return status;
}

/* The series as the crew left it, or NULL. */
static struct ahead_series *ahead_find(struct op_ahead *a, uint32_t pos)
{
    if (a->lane_count == 1) {
        return NULL;
    }
    /* Where there is no memory to be faster with, or half of it is in vain, which will not change, it goes on
     * alone. */
    if (!a->group && ring_begin(a) != TSDB_OK) {
        a->lane_count = 1;
        return NULL;
    }
    if (a->handed_out == TRIED_SERIES && a->again > TRIED_SERIES / 2) {
        ring_end(a);
        return NULL;
    }
    ring_reach(a, pos);
    struct ahead_series *s = series_of(a, pos);
    a->handed_out = a->handed_out == TRIED_SERIES ? 1 : a->handed_out + 1;
    a->again = (a->handed_out == 1 ? 0 : a->again) + s->again;
    return s->again ? NULL : s;
}

static enum tsdb_status ahead_next(struct op *op, struct column *out)
{
    struct op_ahead *a = (struct op_ahead *)op;
    uint32_t pos = op->pos;
    struct ahead_series *s = ahead_find(a, pos);
    enum tsdb_status status = TSDB_OK;
    if (s) {
        status = hand_out(a, s, out);
    } else {
        a->inner->pos = pos;
        status = op_next(a->inner, out);
    }
    if (pos + 1 == op->series_count && a->lane_count > 1) {
        ring_end(a);
    }
    return status;
}

/* Enough of a job, not too much memory, and jobs for all lanes. */
static uint32_t job_series(uint32_t share, uint32_t steps)
{
    uint32_t most = TSDB_MIN(JOB_STEPS / TSDB_MAX(steps, 1u), JOB_SERIES);
    return TSDB_MAX(TSDB_MIN(most, share), 1u);
}

enum tsdb_status op_ahead_wrap(struct op **op)
{
    struct op *inner = *op;
    struct exec *x = inner->x;
    uint32_t steps = inner->grid.count;
    uint32_t threads = query_crew_threads(x->options->crew);
    uint64_t work = (uint64_t)inner->series_count * ((uint64_t)steps + SERIES_STEPS);
    uint64_t least = x->options->crew_work_min > 0 ? x->options->crew_work_min : WORTH_STEPS;
    /* What is measured or counted by step is not gathered in lanes. */
    if (!inner->clone || threads == 1 || !x->source->ops->concurrent || work < least || x->plan ||
        x->tally.step_queryable) {
        return TSDB_OK;
    }
    struct op_ahead *a =
        (struct op_ahead *)op_new(x, sizeof *a, inner->expr, &inner->grid, ahead_next);
    if (!a) {
        return exec_nomem(x);
    }
    a->inner = inner;
    a->lane_count = TSDB_MIN(threads, LANES_MAX);
    a->slot_count = a->lane_count * JOBS_PER_LANE;
    a->per_job = job_series(inner->series_count / a->slot_count, steps);
    a->window_jobs = 1;
    a->window = UINT32_MAX;
    op_series_share(&a->op, inner);
    a->op.unique = inner->unique;
    *op = &a->op;
    return TSDB_OK;
}
