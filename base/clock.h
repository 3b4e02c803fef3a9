/* Time as a table: real or simulated. Nothing in the engine asks the system directly. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

struct tsdb_clock {
    int64_t (*wall_ms)(void *ctx); /* Unix time */
    int64_t (*mono_ns)(void *ctx); /* never goes back */
    void *ctx;
};
static inline int64_t tsdb_clock_wall_ms(const struct tsdb_clock *c)
{
    return c->wall_ms(c->ctx);
}
static inline int64_t tsdb_clock_mono_ns(const struct tsdb_clock *c)
{
    return c->mono_ns(c->ctx);
}
extern const struct tsdb_clock tsdb_clock_real;
/* CPU time of the calling thread. For estimates: no test depends on it. */
int64_t tsdb_clock_thread_cpu_ns(void);

/* A clock that moves when told. Threads: one at a time (the seeded scheduler). */
struct tsdb_clock_sim {
    int64_t wall_ms;
    int64_t mono_ns;
};
struct tsdb_clock tsdb_clock_sim_table(struct tsdb_clock_sim *sim);
void tsdb_clock_sim_advance(struct tsdb_clock_sim *sim, int64_t ms);

#endif
