/* The floor over the simulated disk: who writes through it leaves room for who does not. */
#include "tests/support/test.h"

#include "base/file_floor.h"

#include <string.h>

#define FILE_FLAGS (TSDB_OPEN_READ | TSDB_OPEN_WRITE | TSDB_OPEN_CREATE)

struct disk {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs below, above;
    struct tsdb_fs_floor *floor;
    struct tsdb_file *file;
    uint64_t end; /* of the file */
};

static int setup(void **state)
{
    static struct disk d;
    d = (struct disk){.end = 0};
    *state = &d;
    return tsdb_fs_sim_create(1, &d.sim, &d.below) == TSDB_OK &&
                   tsdb_fs_floor_create(&d.below, 1000, &d.floor, &d.above) == TSDB_OK &&
                   d.above.ops->open(d.above.ctx, "f", FILE_FLAGS, &d.file, NULL) == TSDB_OK
               ? 0
               : -1;
}

static int teardown(void **state)
{
    struct disk *d = *state;
    d->above.ops->close(d->above.ctx, d->file);
    tsdb_fs_floor_destroy(d->floor);
    tsdb_fs_sim_destroy(d->sim);
    return 0;
}

static enum tsdb_status append(struct disk *d, const struct tsdb_fs *fs, size_t len,
                               struct tsdb_error *err)
{
    static const char data[4096];
    enum tsdb_status status = fs->ops->pwrite(fs->ctx, d->file, data, len, d->end, err);
    d->end += status == TSDB_OK ? len : 0;
    return status;
}

static void write__would_leave_less__no_space_and_nothing_is_touched(void **state)
{
    struct disk *d = *state;
    struct tsdb_error err = {0};
    tsdb_fs_sim_capacity(d->sim, 4000);
    while (append(d, &d->above, 100, &err) == TSDB_OK) {
    }
    assert_true(tsdb_error_is_no_space(&err));
    assert_non_null(strstr(err.msg, "kept for the log"));
    assert_int_equal(d->end, 3000);             /* to the byte: the room is measured ever oftener */
    assert_ok(append(d, &d->below, 900, NULL)); /* the handle is not poisoned */
    assert_int_equal(append(d, &d->above, 1, NULL), TSDB_IO);
    assert_int_equal(d->above.ops->preallocate(d->above.ctx, d->file, 50, NULL), TSDB_IO);
}

static void write__room_again_or_no_floor__taken(void **state)
{
    struct disk *d = *state;
    tsdb_fs_sim_capacity(d->sim, 1010);
    assert_ok(append(d, &d->above, 10, NULL));
    assert_int_equal(append(d, &d->above, 10, NULL), TSDB_IO);
    tsdb_fs_sim_capacity(d->sim, 1020);
    assert_ok(append(d, &d->above, 10, NULL));
    tsdb_fs_floor_set(d->floor, 0);
    assert_ok(append(d, &d->above, 1000, NULL));
    assert_int_equal(append(d, &d->above, 1, NULL), TSDB_IO); /* the disk itself */
}

static void write__much_is_free__at_most_the_slack_too_much(void **state)
{
    struct disk *d = *state;
    tsdb_fs_sim_capacity(d->sim, 64u << 20);
    assert_ok(append(d, &d->above, 100, NULL));
    tsdb_fs_sim_capacity(d->sim, 1000); /* somebody else took all at once */
    tsdb_fs_floor_set(d->floor, 900);
    assert_int_equal(append(d, &d->above, 100, NULL), TSDB_IO);
    tsdb_fs_sim_capacity(d->sim, 64u << 20);
    uint64_t before = d->end;
    while (append(d, &d->above, 4096, NULL) == TSDB_OK) {
        tsdb_fs_sim_capacity(d->sim, d->end + 899 + 4096);
    }
    assert_in_range(d->end - before, 4096, 2 * TSDB_FS_FLOOR_SLACK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    TEST(write__would_leave_less__no_space_and_nothing_is_touched),
    TEST(write__room_again_or_no_floor__taken),
    TEST(write__much_is_free__at_most_the_slack_too_much),
};

TEST_MAIN(tests)
