#include "tests/support/tsdb/scene.h"

#include "base/assert.h"
#include "base/log.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#define SUBMIT_MAX 24u

int scene_setup_of(void **state, size_t bytes)
{
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    *state = calloc(1, bytes);
    return *state ? 0 : -1;
}

int scene_setup(void **state)
{
    return scene_setup_of(state, sizeof(struct scene));
}

int scene_teardown(void **state)
{
    scene_end(*state);
    free(*state);
    return 0;
}

void scene_begin(struct scene *s, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    hx_init(&s->h, seed);
    mx_init(&s->m, &s->h);
    s->m.conflicts_pass = true;
    tsdb_prng_init(&s->prng, seed);
}

void scene_end(struct scene *s)
{
    if (s->h.db) {
        mx_die(&s->m, false);
    }
    if (s->h.sim) {
        hx_deinit(&s->h);
        s->h.sim = NULL;
    }
}

void scene_submit(struct scene *s, uint32_t count, uint32_t series, uint32_t span_s,
                  enum tsdb_durability durability)
{
    struct hx_sample samples[SUBMIT_MAX];
    uint8_t raws[SUBMIT_MAX];
    TSDB_ASSERT(count <= SUBMIT_MAX);
    for (uint32_t i = 0; i < count; i++) {
        samples[i] = mx_random_sample(&s->m, &s->prng, series, span_s, &raws[i]);
    }
    mx_submit(&s->m, samples, raws, count, durability); /* refused: nothing is expected of it */
}

void scene_put(struct scene *s, uint32_t count, uint32_t series, uint32_t span_s,
               enum tsdb_durability durability)
{
    scene_submit(s, count, series, span_s, durability);
    hx_settle(&s->h);
    mx_reap(&s->m);
}

void scene_close(struct scene *s)
{
    enum tsdb_status status = hx_close(&s->h, NULL);
    mx_reap(&s->m);
    if (status == TSDB_OK) {
        if (s->m.writes) {
            mx_fail(&s->m, "closed with a write not done");
        }
        mx_durable(&s->m, true);
    }
}

bool scene_reopen(struct scene *s, bool cut)
{
    struct tsdb_error err = {0};
    if (hx_open(&s->h, &err) != TSDB_OK) {
        mx_fail(&s->m, "open: %s", err.msg);
        return false;
    }
    mx_check(&s->m, cut ? MX_CUT : MX_KILLED);
    return true;
}

void scene_end_checked(struct scene *s, const char *what, ...)
{
    char text[128];
    char failure[sizeof s->m.failure];
    va_list args;
    memcpy(failure, s->m.failure, sizeof failure);
    scene_end(s);
    va_start(args, what);
    (void)vsnprintf(text, sizeof text, what, args);
    va_end(args);
    if (failure[0]) {
        fail_msg("%s: %s", text, failure);
    }
}

uint64_t scene_play_whole(struct scene *s, const struct scene_play *play)
{
    play->begin(s);
    play->run(s);
    return tsdb_fs_sim_op_count(s->h.sim);
}

void scene_play_stopped(struct scene *s, const struct scene_play *play, uint64_t ops)
{
    for (uint64_t op = 1; op <= ops; op++) {
        for (int cut = 0; cut < 2; cut++) {
            play->begin(s);
            tsdb_fs_sim_fault(s->h.sim, TSDB_FAULT_HALT, op, 1);
            play->run(s);
            mx_die(&s->m, cut != 0);
            play->check(s, cut != 0);
            scene_end_checked(s, "stopped at operation %llu of %llu by a %s",
                              (unsigned long long)op, (unsigned long long)ops,
                              cut ? "power cut" : "kill");
        }
    }
}
