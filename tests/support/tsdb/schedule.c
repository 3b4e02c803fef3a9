#include "tests/support/tsdb/schedule.h"

#include "base/log.h"
#include "tests/support/seeds.h"
#include "tests/support/test.h"

int schedule_setup(void **state)
{
    return scene_setup_of(state, sizeof(struct schedule));
}

uint64_t below(struct schedule *r, uint64_t n)
{
    return tsdb_prng_below(&r->s.prng, n);
}

/* A fault that is still armed may fail it, cleanly, and then it works once the fault is used up. */
static void open_db(struct schedule *r)
{
    struct tsdb_error err = {0};
    for (uint32_t i = 0; i < 10; i++) {
        if (hx_open(&r->s.h, &err) == TSDB_OK) {
            if (r->ops->opened) {
                r->ops->opened(r);
            }
            return;
        }
        if (!err.msg[0]) {
            mx_fail(&r->s.m, "open failed without a word");
        }
        tsdb_fs_sim_kill(r->s.h.sim); /* also disarms */
    }
    mx_fail(&r->s.m, "open: %s", err.msg);
}

static void check_after(struct schedule *r, bool cut)
{
    if (r->s.h.db) {
        mx_check(&r->s.m, cut ? MX_CUT : MX_KILLED);
    }
}

static void dying(struct schedule *r)
{
    if (r->ops->dying) {
        r->ops->dying(r);
    }
}

void schedule_write(struct schedule *r)
{
    uint32_t count = 1 + (uint32_t)below(r, 24);
    scene_submit(&r->s, count, r->series, r->span_s, (enum tsdb_durability)below(r, 3));
}

void schedule_io_fault(struct schedule *r, uint64_t ops)
{
    if (r->io_faults_allowed) {
        r->s.m.io_faults = true;
        tsdb_fs_sim_fault(r->s.h.sim, below(r, 2) ? TSDB_FAULT_EIO : TSDB_FAULT_ENOSPC,
                          1 + below(r, ops), 1 + below(r, 3));
    }
}

void schedule_close(struct schedule *r)
{
    dying(r);
    scene_close(&r->s);
    bool cut = below(r, 2) != 0;
    mx_die(&r->s.m, cut);
    open_db(r);
    check_after(r, cut);
}

void schedule_die(struct schedule *r)
{
    bool cut = below(r, 2) != 0;
    dying(r);
    mx_die(&r->s.m, cut);
    if (r->io_faults_allowed && below(r, 4) == 0) {
        r->s.m.io_faults = true; /* a failed sync of the log drops what a kill would have left */
        tsdb_fs_sim_fault(r->s.h.sim, TSDB_FAULT_EIO, 1 + below(r, r->ops->open_fault_ops), 1);
    }
    open_db(r);
    tsdb_fs_sim_fault(r->s.h.sim, TSDB_FAULT_NONE, 1, 0);
    check_after(r, cut);
}

static bool alive(const struct schedule *r)
{
    return r->s.h.db && !r->s.m.failure[0];
}

static void run_one(struct schedule *r, const struct schedule_ops *ops, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    r->ops = ops;
    scene_begin(&r->s, seed);
    ops->configure(r, seed);
    open_db(r);
    uint32_t i = 0;
    for (; i < ops->steps && alive(r); i++) {
        ops->step(r);
    }
    if (alive(r)) {
        schedule_die(r);
    }
    if (alive(r)) {
        if (ops->last) {
            ops->last(r);
        }
        mx_reap(&r->s.m);
        schedule_close(r);
    }
    scene_end_checked(&r->s, "TSDB_SEED=%llu, step %u", (unsigned long long)seed, (unsigned)i);
}

uint64_t schedule_run_all(struct schedule *r, const struct schedule_ops *ops,
                          uint64_t default_count, uint64_t default_sanitized)
{
    struct seeds seeds = seeds_of(default_count, default_sanitized);
    if (seeds.one) {
        tsdb_log_configure(TSDB_LOG_DEBUG, TSDB_LOG_LOGFMT);
    }
    for (uint64_t i = 0; i < seeds.count; i++) {
        run_one(r, ops, seeds.first + i);
    }
    return seeds.one ? 0 : seeds.count;
}
