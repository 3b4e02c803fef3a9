/* Random schedules by seed: a test says how a database is configured, opened and stepped; the rest
 * of a life, its deaths and its closes are here. A failing seed is printed; TSDB_SEED=<n> runs that
 * one alone with the log on, TSDB_SEEDS=<n> so many, from TSDB_SEED_FROM=<n> on. */
#ifndef TESTS_SUPPORT_TSDB_SCHEDULE_H
#define TESTS_SUPPORT_TSDB_SCHEDULE_H

#include "tests/support/tsdb/scene.h"

struct schedule;
struct schedule_ops {
    void (*configure)(struct schedule *r, uint64_t seed); /* the scene is begun */
    void (*opened)(struct schedule *r); /* after every open that worked; or NULL */
    void (*dying)(struct schedule *r);  /* before every death and close; or NULL */
    void (*step)(struct schedule *r);
    void (*last)(struct schedule *r); /* before the last close; or NULL */
    uint32_t steps;
    uint64_t open_fault_ops; /* an open may fail at one of the first so many operations */
};

struct schedule {
    struct scene s; /* first: what scene_teardown gets */
    const struct schedule_ops *ops;
    uint32_t series; /* how many are written to */
    uint32_t span_s; /* how far back */
    bool io_faults_allowed;
};

/* For cmocka, with scene_teardown. */
int schedule_setup(void **state);
/* default_sanitized: how many where a sanitizer makes each slow. How many ran; 0 if a certain one
 * was asked for. */
uint64_t schedule_run_all(struct schedule *r, const struct schedule_ops *ops,
                          uint64_t default_count, uint64_t default_sanitized);

/* 0 .. n-1, from the seed. */
uint64_t below(struct schedule *r, uint64_t n);

/* Steps that every schedule has. */
void schedule_write(struct schedule *r);
void schedule_io_fault(struct schedule *r, uint64_t ops);
void schedule_close(struct schedule *r);
void schedule_die(struct schedule *r);

#endif
