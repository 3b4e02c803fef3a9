#include "base/clock.h"

#include "base/assert.h"

#include <time.h>

static int64_t real_wall_ms(void *ctx)
{
    (void)ctx;
    struct timespec ts;
    TSDB_ASSERT(clock_gettime(CLOCK_REALTIME, &ts) == 0);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t real_mono_ns(void *ctx)
{
    (void)ctx;
    struct timespec ts;
    TSDB_ASSERT(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t tsdb_clock_thread_cpu_ns(void)
{
    struct timespec ts;
    TSDB_ASSERT(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) == 0);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

const struct tsdb_clock tsdb_clock_real = {real_wall_ms, real_mono_ns, NULL};

static int64_t sim_wall_ms(void *ctx)
{
    const struct tsdb_clock_sim *sim = ctx;
    return sim->wall_ms;
}

static int64_t sim_mono_ns(void *ctx)
{
    const struct tsdb_clock_sim *sim = ctx;
    return sim->mono_ns;
}

struct tsdb_clock tsdb_clock_sim_table(struct tsdb_clock_sim *sim)
{
    return (struct tsdb_clock){sim_wall_ms, sim_mono_ns, sim};
}

void tsdb_clock_sim_advance(struct tsdb_clock_sim *sim, int64_t ms)
{
    TSDB_ASSERT(ms >= 0);
    sim->wall_ms += ms;
    sim->mono_ns += ms * 1000000;
}
