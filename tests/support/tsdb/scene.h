/* What the tests of faults and deaths share: a database with its model and seeded writes, and one
 * fixed run that is stopped at every file operation. Beside model.h. */
#ifndef TESTS_SUPPORT_TSDB_SCENE_H
#define TESTS_SUPPORT_TSDB_SCENE_H

#include "tests/support/tsdb/model.h"

struct scene {
    struct hx h;
    struct mx m;
    struct tsdb_prng prng; /* of the writes */
};

/* For cmocka: *state is a scene on the heap that is not begun; the log is quiet, for deaths are what
 * such a test is about. */
int scene_setup(void **state);
/* The same for a struct of `bytes` that begins with a scene; all of it zeroes. */
int scene_setup_of(void **state, size_t bytes);
int scene_teardown(void **state);

/* An empty disk, nothing opened; options may be changed. Conflicts may pass. */
void scene_begin(struct scene *s, uint64_t seed);
/* Begun or not, open or not. */
void scene_end(struct scene *s);

/* `count` random samples of the first `series` series in one write, handed in. */
void scene_submit(struct scene *s, uint32_t count, uint32_t series, uint32_t span_s,
                  enum tsdb_durability durability);
/* The same, and every actor until nothing is left to do. */
void scene_put(struct scene *s, uint32_t count, uint32_t series, uint32_t span_s,
               enum tsdb_durability durability);
/* A clean close, after which all that was answered is durable; it may fail under a fault. */
void scene_close(struct scene *s);
/* Opens after a death (cut: by a power cut) and compares with the model. False if it did not open;
 * what is wrong is in m.failure. */
bool scene_reopen(struct scene *s, bool cut);
/* Ends the scene; then fails the test if the model saw a failure. what: printf, where it was. */
void scene_end_checked(struct scene *s, const char *what, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- a fixed run, stopped everywhere ---- */
struct scene_play {
    void (*begin)(struct scene *s);
    void (*run)(struct scene *s);             /* as far as the disk lets it */
    void (*check)(struct scene *s, bool cut); /* after the death */
};
/* Once without a fault. The number of file operations that it made; the caller ends the scene. */
uint64_t scene_play_whole(struct scene *s, const struct scene_play *play);
/* Stopped at operation 1, 2, ... ops, each time by a kill and by a power cut. */
void scene_play_stopped(struct scene *s, const struct scene_play *play, uint64_t ops);

#endif
