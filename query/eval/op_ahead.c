/* Series computed before they are asked for, by the crew.
 *
 *   lane   what one thread works with: a clone of the operator, an evaluation that gathers what it
 *          counts and notes
 *   ahead  consecutive series: their columns, and what each of them counted and noted
 *
 * Columns are handed out in the order of the series, and with each what its series counted, held
 * and noted: so results, limits, statistics, notes and errors are those of one thread, to the last
 * bit, however many there are. What does not go well in a lane (an error, no memory, a histogram,
 * which would not live long enough) is computed again when it is asked for, by the thread that
 * asks.
 *
 * Bounded: JOBS_PER_LANE jobs of JOB_STEPS steps for each of at most LANES_MAX lanes. */
#include "query/eval/operators.h"

#include "base/assert.h"
#include "query/crew.h"

#define LANES_MAX     16u
#define JOB_SERIES    64u
#define JOB_STEPS     32768u /* in columns of one job: 288 KiB */
#define JOBS_PER_LANE 4u     /* so that lanes end about together */
/* Less than this is done before a helper is awake: series count as many steps for being read. */
#define WORTH_STEPS  65536u
#define SERIES_STEPS 64u

struct ahead_lane {
    struct exec x;                /* its arena: what a batch leaves behind */
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
    uint32_t lane_count;
    struct ahead_series *batch;
    uint32_t batch_max, per_job;
    uint32_t first, end; /* series in the batch */
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

static void job_run(void *arg, uint32_t job, uint32_t lane)
{
    struct op_ahead *a = arg;
    uint32_t begin = a->first + job * a->per_job;
    uint32_t end = TSDB_MIN(begin + a->per_job, a->end);
    bool stopped = tsdb_request_check(a->op.x->request) != TSDB_OK;
    for (uint32_t i = begin; i < end; i++) {
        struct ahead_series *s = &a->batch[i - a->first];
        s->again = true;
        if (!stopped) {
            lane_compute(a->lanes[lane], i, s);
        }
    }
}

/* ---- batches ---- */

static enum tsdb_status lane_make(const struct op_ahead *a, struct ahead_lane **out)
{
    struct exec *x = a->op.x;
    struct ahead_lane *lane = TSDB_ARENA_NEW(x->arena, struct ahead_lane);
    struct tsdb_arena *arena = exec_scratch(x);
    if (!lane || !arena) {
        return exec_nomem(x);
    }
    *lane = (struct ahead_lane){.x = *x, .options = *x->options};
    lane->options.samples_max = 0;
    lane->x.options = &lane->options;
    lane->x.arena = arena;
    lane->x.err = &lane->err;
    lane->x.scratches = NULL;
    *out = lane;
    return a->inner->clone(a->inner, &lane->x, &lane->op);
}

/* Once, when the first series is asked for. */
static enum tsdb_status batch_make(struct op_ahead *a)
{
    struct exec *x = a->op.x;
    uint32_t steps = a->op.grid.count;
    enum tsdb_status status = TSDB_OK;
    a->lanes = TSDB_ARENA_ARRAY(x->arena, struct ahead_lane *, a->lane_count);
    a->batch = TSDB_ARENA_ARRAY(x->arena, struct ahead_series, a->batch_max);
    if (!a->lanes || !a->batch) {
        return exec_nomem(x);
    }
    for (uint32_t i = 0; i < a->lane_count && status == TSDB_OK; i++) {
        status = lane_make(a, &a->lanes[i]);
    }
    for (uint32_t i = 0; i < a->batch_max && status == TSDB_OK; i++) {
        status = column_init(x, &a->batch[i].column, steps);
    }
    return status;
}

static void batch_compute(struct op_ahead *a, uint32_t first)
{
    uint32_t left = a->op.series_count - first;
    a->first = first;
    a->end = first + TSDB_MIN(left, a->batch_max);
    for (uint32_t i = 0; i < a->lane_count; i++) {
        tsdb_arena_reset(a->lanes[i]->x.arena);
        a->lanes[i]->x.turn = a->op.x->turn;
    }
    uint32_t jobs = (a->end - first + a->per_job - 1) / a->per_job;
    query_crew_run(a->op.x->options->crew, job_run, a, jobs, a->lane_count);
}

/* Half of them in vain: what is to come is not better. */
static bool batch_pays(const struct op_ahead *a)
{
    uint32_t again = 0;
    for (uint32_t i = 0; i < a->end - a->first; i++) {
        again += a->batch[i].again;
    }
    return again <= (a->end - a->first) / 2;
}

/* ---- the operator ---- */

static enum tsdb_status hand_out(struct op_ahead *a, const struct ahead_series *s,
                                 struct column *out)
{
    struct exec *x = a->op.x;
    uint32_t steps = a->op.grid.count;
    enum tsdb_status status = exec_hold(x, s->samples_peak);
    exec_release(x, s->samples_peak - s->samples_kept);
    x->samples_read += s->samples_read;
    x->tally.queryable += s->queryable;
    x->tally.read += s->read;
    exec_notes_take(x, s->notes);
    memcpy(out->v, s->column.v, steps * sizeof *out->v);
    memcpy(out->kind, s->column.kind, steps);
    return status;
}

static enum tsdb_status ahead_next(struct op *op, struct column *out)
{
    struct op_ahead *a = (struct op_ahead *)op;
    if (a->lane_count > 1 && op->pos >= a->end) {
        /* Where there is no memory to be faster with, or nothing gained, it goes on alone. */
        bool pays = a->batch ? batch_pays(a) : batch_make(a) == TSDB_OK;
        a->lane_count = pays ? a->lane_count : 1;
        if (pays) {
            batch_compute(a, op->pos);
        }
    }
    if (op->pos < a->end && !a->batch[op->pos - a->first].again) {
        return hand_out(a, &a->batch[op->pos - a->first], out);
    }
    a->inner->pos = op->pos;
    return op_next(a->inner, out);
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
    a->per_job = job_series(inner->series_count / (a->lane_count * JOBS_PER_LANE), steps);
    a->batch_max = TSDB_MIN(a->lane_count * JOBS_PER_LANE * a->per_job, inner->series_count);
    op_series_share(&a->op, inner);
    a->op.unique = inner->unique;
    *op = &a->op;
    return TSDB_OK;
}
