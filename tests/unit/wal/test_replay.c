#include "tests/support/test.h"

#include "tests/unit/wal/log_harness.h"

#define STRICT TSDB_DURABILITY_STRICT

/* A log of `count` batches in segments of 4096 bytes, closed. */
static void log_make(struct log_harness *h, uint64_t seed, int count)
{
    struct tsdb_error err;
    log_init(h, seed);
    log_open(h);
    for (int i = 0; i < count; i++) {
        log_submit(h, (uint32_t)i % 2, STRICT, 100);
        log_write(h);
    }
    log_sync(h);
    assert_ok_err(wal_close(h->wal, &err), &err);
    h->wal = NULL;
}

/* Change one file's bytes through the table. */
static void file_patch(struct log_harness *h, const char *path, const void *data, size_t len,
                       uint64_t offset)
{
    struct tsdb_file *f;
    struct tsdb_error err;
    assert_ok_err(h->fs.ops->open(h->fs.ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &f, &err),
                  &err);
    assert_ok_err(h->fs.ops->pwrite(h->fs.ctx, f, data, len, offset, &err), &err);
    h->fs.ops->close(h->fs.ctx, f);
}

static void file_truncate(struct log_harness *h, const char *path, uint64_t size)
{
    struct tsdb_file *f;
    struct tsdb_error err;
    assert_ok_err(h->fs.ops->open(h->fs.ctx, path, TSDB_OPEN_WRITE, &f, &err), &err);
    assert_ok_err(h->fs.ops->truncate(h->fs.ctx, f, size, &err), &err);
    h->fs.ops->close(h->fs.ctx, f);
}

static void wal_replay__flipped_bits__range_noted_and_the_rest_found(void **state)
{
    (void)state;
    /* 60 frames of 152 to 156 bytes; segment 1 holds 26 of them. */
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct log_harness h;
        struct log_found f;
        log_make(&h, seed, 60);
        uint64_t at = WAL_SEGMENT_HEADER_BYTES + seed * 13 % 3900;
        tsdb_fs_sim_flip(h.sim, "wal/00000001", at, at + 1, 1);
        log_replay(&h, 0, &f);
        assert_null(f.wrong);
        assert_int_equal(f.count, 59); /* one frame, not one more */
        assert_int_equal(f.damage_count, 1);
        assert_int_equal(f.torn_count, 0);
        assert_int_equal(f.damage_first.segment, 1);
        assert_true(f.damage_first.from <= at && at < f.damage_first.to);
        assert_in_range(f.damage_first.to - f.damage_first.from, 100, 200);
        log_found_deinit(&f);
        log_deinit(&h);
    }
}

static void wal_replay__many_flips_everywhere__no_invented_frames(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct log_harness h;
        struct log_found f;
        log_make(&h, seed, 60);
        tsdb_fs_sim_flip(h.sim, "wal/00000001", 0, 4096, (uint32_t)(seed % 40));
        tsdb_fs_sim_flip(h.sim, "wal/00000002", 48, 4096, (uint32_t)(seed % 3));
        log_replay(&h, 0, &f);
        assert_null(f.wrong);
        assert_int_equal(f.duplicates, 0);
        assert_true(f.count >= 60 - seed % 40 - seed % 3);
        assert_true(f.count == 60 || f.damage_count + f.torn_count > 0);
        log_found_deinit(&f);
        log_deinit(&h);
    }
}

static void wal_replay__broken_segment_header__frames_still_found(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < WAL_SEGMENT_HEADER_BYTES; at++) {
        struct log_harness h;
        struct log_found f;
        log_make(&h, at, 100);
        tsdb_fs_sim_flip(h.sim, "wal/00000002", at, at + 1, 1);
        log_replay(&h, 0, &f);
        assert_null(f.wrong);
        assert_int_equal(f.count, 100);
        assert_int_equal(f.damage_count, 1);
        assert_int_equal(f.damage_first.segment, 2);
        assert_int_equal(f.damage_first.from, 0);
        assert_int_equal(f.damage_first.to, WAL_SEGMENT_HEADER_BYTES);
        log_found_deinit(&f);
        log_deinit(&h);
    }
}

static void wal_replay__segment_missing__gap_is_damage(void **state)
{
    (void)state;
    struct log_harness h;
    struct log_found f;
    struct tsdb_error err;
    log_make(&h, 3, 130);
    assert_ok(h.fs.ops->unlink(h.fs.ctx, "wal/00000002", &err));
    log_replay(&h, 0, &f);
    assert_null(f.wrong);
    assert_true(f.count < 130 && f.count > 90);
    assert_int_equal(f.damage_count, 1);
    assert_int_equal(f.damage_first.segment, 2);
    log_found_deinit(&f);
    log_replay(&h, 3, &f); /* covered by a checkpoint: not missed */
    assert_int_equal(f.damage_count, 0);
    log_found_deinit(&f);
    assert_ok(h.fs.ops->unlink(h.fs.ctx, "wal/00000003", &err));
    log_replay(&h, 3, &f); /* the first one that is needed */
    assert_int_equal(f.damage_count, 1);
    assert_int_equal(f.damage_first.segment, 3);
    log_found_deinit(&f);
    log_deinit(&h);
}

/* A closed segment says in its successor how long it is: cutting or zeroing its end does not go
 * unnoticed. */
static void wal_replay__closed_segment_loses_its_end__damage(void **state)
{
    (void)state;
    static const uint8_t zeroes[2048];
    for (int zero = 0; zero < 2; zero++) {
        struct log_harness h;
        struct log_found f;
        log_make(&h, 4, 60);
        if (zero) {
            file_patch(&h, "wal/00000001", zeroes, sizeof zeroes, 2048);
        } else {
            file_truncate(&h, "wal/00000001", 2048);
        }
        log_replay(&h, 0, &f);
        assert_null(f.wrong);
        assert_in_range(f.count, 45, 48);
        assert_int_equal(f.damage_count, 1);
        assert_int_equal(f.damage_first.segment, 1);
        assert_in_range(f.damage_first.to, 3900, 4096);
        log_found_deinit(&f);
        log_deinit(&h);
    }
}

static void wal_replay__newest_segment_cut_anywhere__torn_tail_only(void **state)
{
    (void)state;
    struct log_harness h;
    struct tsdb_file_info info;
    struct tsdb_error err;
    log_make(&h, 5, 5);
    assert_ok(h.fs.ops->stat(h.fs.ctx, "wal/00000001", &info, &err));
    uint32_t before = 5;
    for (uint64_t size = info.size_bytes; size-- > 0;) {
        struct log_found f;
        if (size % 3 && size > 64) {
            continue;
        }
        file_truncate(&h, "wal/00000001", size);
        log_replay(&h, 0, &f);
        assert_null(f.wrong);
        assert_int_equal(f.damage_count, 0);
        assert_true(f.count <= before);
        before = f.count;
        log_found_deinit(&f);
    }
    assert_int_equal(before, 0);
    log_deinit(&h);
}

static void wal_replay__garbage_behind_the_newest_frames__torn_tail(void **state)
{
    (void)state;
    struct log_harness h;
    struct log_found f;
    struct tsdb_prng p;
    uint8_t garbage[700];
    log_make(&h, 6, 5);
    tsdb_prng_init(&p, 1);
    for (size_t i = 0; i < sizeof garbage; i++) {
        garbage[i] = (uint8_t)(tsdb_prng_next(&p) | 1);
    }
    /* Frames may look like frames: the magic, and everything but the place right. */
    tsdb_store_le32(garbage + 4, WAL_FRAME_MAGIC);
    uint64_t end = WAL_SEGMENT_HEADER_BYTES;
    for (uint32_t i = 0; i < h.batch_count; i++) {
        end += h.batches[i].write.batches[0].wal_len;
    }
    file_patch(&h, "wal/00000001", garbage, sizeof garbage, end);
    log_replay(&h, 0, &f);
    assert_null(f.wrong);
    assert_int_equal(f.count, 5);
    assert_int_equal(f.damage_count, 0);
    assert_int_equal(f.torn_count, 1);
    log_found_deinit(&f);
    log_deinit(&h);
}

static void wal_replay__frame_of_another_place__not_taken(void **state)
{
    (void)state;
    struct log_harness h;
    struct log_found f;
    log_make(&h, 7, 3);
    const struct tsdb_batch *b = &h.batches[0].write.batches[0];
    uint8_t *copy = malloc(b->wal_len);
    struct tsdb_file *file;
    struct tsdb_error err;
    size_t got;
    assert_ok(h.fs.ops->open(h.fs.ctx, "wal/00000001", TSDB_OPEN_READ, &file, &err));
    assert_ok(
        h.fs.ops->pread(h.fs.ctx, file, copy, b->wal_len, WAL_SEGMENT_HEADER_BYTES, &got, &err));
    h.fs.ops->close(h.fs.ctx, file);
    uint64_t end = WAL_SEGMENT_HEADER_BYTES + 3 * (uint64_t)b->wal_len;
    file_patch(&h, "wal/00000001", copy, b->wal_len, end);
    file_patch(&h, "wal/00000002", copy, b->wal_len,
               WAL_SEGMENT_HEADER_BYTES); /* same offset, other segment */
    log_replay(&h, 0, &f);
    assert_null(f.wrong);
    assert_int_equal(f.count, 3);
    assert_int_equal(f.duplicates, 0);
    free(copy);
    log_found_deinit(&f);
    log_deinit(&h);
}

static void wal_replay__other_names_in_the_directory__ignored(void **state)
{
    (void)state;
    struct log_harness h;
    struct log_found f;
    log_make(&h, 8, 3);
    static const char *const names[] = {"wal/0000002",  "wal/00000000",     "wal/000000002",
                                        "wal/0000000x", "wal/00000002.tmp", "wal/spare-00000002"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(names); i++) {
        file_patch(&h, names[i], "garbage", 7, 0);
    }
    log_replay(&h, 0, &f);
    assert_int_equal(f.count, 3);
    assert_int_equal(f.segment_max, 1);
    assert_int_equal(f.damage_count + f.torn_count, 0);
    log_found_deinit(&f);
    log_deinit(&h);
}

static void wal_replay_open__unknown_version__unsupported(void **state)
{
    (void)state;
    struct log_harness h;
    struct wal_replay_options options;
    struct wal_replay *r;
    struct tsdb_error err;
    uint8_t header[WAL_SEGMENT_HEADER_BYTES];
    log_make(&h, 9, 3);
    wal_segment_header_put(header, 0, 1, 0, 0);
    tsdb_store_le32(header + WAL_SEGMENT_AT_VERSION, TSDB_FORMAT_WAL + 1);
    tsdb_store_le32(header + WAL_SEGMENT_AT_CRC, tsdb_crc32c(0, header, WAL_SEGMENT_AT_CRC));
    file_patch(&h, "wal/00000001", header, sizeof header, 0);
    options = (struct wal_replay_options){.fs = &h.fs, .dir = "wal"};
    assert_int_equal(wal_replay_open(&options, &r, &err), TSDB_UNSUPPORTED);
    char expected[32];
    snprintf(expected, sizeof expected, "version %d", TSDB_FORMAT_WAL + 1);
    assert_non_null(strstr(err.msg, expected));
    log_deinit(&h);
}

/* Give the frame at `at` of segment 1 a good CRC, whatever it holds. */
static void frame_put(struct log_harness *h, uint8_t *frame, uint64_t at)
{
    tsdb_store_le32(frame + WAL_FRAME_AT_CRC, wal_frame_crc(frame, 1, at));
    file_patch(h, "wal/00000001", frame, wal_frame_bytes(tsdb_load_le32(frame + WAL_FRAME_AT_LEN)),
               at);
}

static void wal_replay__good_crc_but_no_groups__damage_of_that_frame(void **state)
{
    (void)state;
    /* The first frame's head of a group, or its length, made impossible. */
    static const struct {
        uint32_t at;
        uint8_t byte;
    } changes[] = {{WAL_FRAME_HEADER_BYTES, 0x05},  /* no type */
                   {WAL_FRAME_HEADER_BYTES + 7, 2}, /* a short body, and bytes behind it */
                   {WAL_FRAME_HEADER_BYTES + 7, 0xff}};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(changes); i++) {
        struct log_harness h;
        struct log_found f;
        log_make(&h, 12, 3);
        const struct tsdb_batch *b = &h.batches[0].write.batches[0];
        uint8_t *frame = malloc(b->wal_len);
        memcpy(frame, b->wal_bytes, b->wal_len);
        tsdb_store_le32(frame + WAL_FRAME_AT_MAGIC, WAL_FRAME_MAGIC);
        frame[changes[i].at] = changes[i].byte;
        frame_put(&h, frame, WAL_SEGMENT_HEADER_BYTES);
        log_replay(&h, 0, &f);
        assert_null(f.wrong);
        assert_int_equal(f.count, 2);
        assert_int_equal(f.damage_count, 1);
        assert_int_equal(f.damage_first.from, WAL_SEGMENT_HEADER_BYTES);
        assert_int_equal(f.damage_first.to, WAL_SEGMENT_HEADER_BYTES + b->wal_len);
        free(frame);
        log_found_deinit(&f);
        log_deinit(&h);
    }
}

static void wal_replay__unknown_type_of_frame__unsupported(void **state)
{
    (void)state;
    struct log_harness h;
    struct wal_replay *r;
    struct wal_segment_view view;
    struct tsdb_error err;
    log_make(&h, 13, 3);
    const struct tsdb_batch *b = &h.batches[0].write.batches[0];
    uint8_t *frame = malloc(b->wal_len);
    memcpy(frame, b->wal_bytes, b->wal_len);
    tsdb_store_le32(frame + WAL_FRAME_AT_MAGIC, WAL_FRAME_MAGIC);
    frame[WAL_FRAME_AT_TYPE] = WAL_FRAME_GROUPS + 1;
    frame_put(&h, frame, WAL_SEGMENT_HEADER_BYTES);
    struct wal_replay_options options = {.fs = &h.fs, .dir = "wal"};
    assert_ok(wal_replay_open(&options, &r, &err));
    assert_int_equal(wal_replay_segment(r, &view, &err), TSDB_UNSUPPORTED);
    wal_replay_close(r);
    free(frame);
    log_deinit(&h);
}

static void wal_replay__no_directory__no_segments(void **state)
{
    (void)state;
    struct log_harness h;
    struct wal_replay_options options;
    struct wal_replay *r;
    struct wal_segment_view view;
    struct tsdb_error err;
    uint64_t min, max, current;
    log_init(&h, 10);
    options = (struct wal_replay_options){.fs = &h.fs, .dir = "wal"};
    assert_ok(wal_replay_open(&options, &r, &err));
    assert_int_equal(wal_replay_segment(r, &view, &err), TSDB_NOT_FOUND);
    wal_replay_progress(r, &min, &max, &current);
    assert_true(max < min);
    wal_replay_close(r);
    log_deinit(&h);
}

static void wal_replay__allocation_fails__clean_error(void **state)
{
    (void)state;
    struct log_harness h;
    log_make(&h, 11, 60);
    tsdb_fs_sim_flip(h.sim, "wal/00000001", 200, 201, 1);
    struct wal_replay_options options = {.fs = &h.fs, .dir = "wal", .window_bytes = 300};
    bool passed = false;
    for (uint64_t nth = 1; !passed && nth < 50; nth++) {
        struct wal_replay *r;
        struct wal_segment_view view;
        struct tsdb_error err;
        tsdb_alloc_fail_nth(nth, 0);
        enum tsdb_status status = wal_replay_open(&options, &r, &err);
        if (status == TSDB_OK) {
            while ((status = wal_replay_segment(r, &view, &err)) == TSDB_OK) {
            }
            wal_replay_close(r);
        }
        passed = tsdb_alloc_fail_count() < nth;
        tsdb_alloc_ops_set(NULL);
        assert_int_equal(status, passed ? TSDB_NOT_FOUND : TSDB_NOMEM);
    }
    assert_true(passed);
    log_deinit(&h);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wal_replay__flipped_bits__range_noted_and_the_rest_found),
    cmocka_unit_test(wal_replay__many_flips_everywhere__no_invented_frames),
    cmocka_unit_test(wal_replay__broken_segment_header__frames_still_found),
    cmocka_unit_test(wal_replay__segment_missing__gap_is_damage),
    cmocka_unit_test(wal_replay__closed_segment_loses_its_end__damage),
    cmocka_unit_test(wal_replay__newest_segment_cut_anywhere__torn_tail_only),
    cmocka_unit_test(wal_replay__garbage_behind_the_newest_frames__torn_tail),
    cmocka_unit_test(wal_replay__frame_of_another_place__not_taken),
    cmocka_unit_test(wal_replay__other_names_in_the_directory__ignored),
    cmocka_unit_test(wal_replay_open__unknown_version__unsupported),
    cmocka_unit_test(wal_replay__good_crc_but_no_groups__damage_of_that_frame),
    cmocka_unit_test(wal_replay__unknown_type_of_frame__unsupported),
    cmocka_unit_test(wal_replay__no_directory__no_segments),
    cmocka_unit_test(wal_replay__allocation_fails__clean_error),
};
TEST_MAIN(tests)
