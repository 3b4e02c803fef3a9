/* Format version 5 of the log, held to a file: what is written today, what docs/format/wal.md
 * shows, and what is read today must all be the bytes in tests/golden/wal/v5/. Run from the
 * repository's root. */
#include "tests/support/golden.h"
#include "tests/support/test.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/ring.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

#define GOLDEN_PATH "wal/v5/00000001"
#define BYTES_MAX   1024

/* The example of the format page: one frame with two series, samples in several modes and an exemplar
 * of partition 9, and samples of partition 40, eight of them in a run, and three more of the last
 * series, ten milliseconds apart. */
static size_t example_encode(uint8_t *out, size_t cap, uint64_t epoch)
{
    struct tsdb_label items[] = {tsdb_label_make("__name__", "up"), tsdb_label_make("job", "node")};
    struct tsdb_label trace[] = {tsdb_label_make("trace_id", "4bf9")};
    struct tsdb_labels labels = {items, 2};
    struct tsdb_exemplar exemplar = {
        .labels = {trace, 1}, .bits = tsdb_double_bits(0.25), .t_ms = 1700000000000};
    static const uint8_t raw[] = {0xaa, 0xbb, 0xcc};
    const int64_t t = 1700000000000;
    struct wal_encoder e;
    wal_encoder_init(&e, out, out + cap);
    wal_group_begin(&e, WAL_RECORD_SERIES, 9, 0, 1, 1, epoch);
    wal_encode_series(&e, 0, &labels);
    items[1] = tsdb_label_make("job", "nodx");
    wal_encode_series(&e, 1, &labels);
    wal_group_end(&e);
    wal_group_begin(&e, WAL_RECORD_SAMPLES, 9, t, 2, 1, epoch);
    wal_encode_float(&e, 0, t, 0, tsdb_double_bits(1), false, 0);
    wal_encode_float(&e, 1, t, 0, tsdb_double_bits(3.14), false, 0);
    wal_encode_float(&e, 2, t, 0, tsdb_double_bits(5), true, tsdb_double_bits(5));
    wal_encode_float(&e, 3, t, 0, tsdb_double_bits(7), true, tsdb_double_bits(7));
    wal_encode_float(&e, 9, t, 0, tsdb_double_bits(1042), true, tsdb_double_bits(1000));
    wal_encode_float(&e, 10, t + 1, 0, TSDB_STALE_NAN_BITS, true, 0);
    wal_encode_float(&e, 11, t + 1, t - 999, tsdb_double_bits(0.1), true, tsdb_double_bits(0.3));
    wal_encode_histogram(&e, 12, t + 1, 0, TSDB_SAMPLE_HISTOGRAM_INT, raw, sizeof raw);
    wal_group_end(&e);
    wal_group_begin(&e, WAL_RECORD_EXEMPLARS, 9, t, 3, 1, epoch);
    wal_encode_exemplar(&e, 0, &exemplar);
    wal_group_end(&e);
    wal_group_begin(&e, WAL_RECORD_SAMPLES, 40, t + 15, 7, 5, epoch);
    wal_encode_float(&e, 300, t + 15, 0, tsdb_double_bits(2), false, 0);
    for (uint32_t i = 301; i < 309; i++) {
        wal_encode_float(&e, i, t + 15, 0, tsdb_double_bits(3), true, tsdb_double_bits(3));
    }
    for (uint32_t i = 1; i <= 3; i++) {
        wal_encode_float(&e, 308, t + 15 + 10 * i, 0, tsdb_double_bits(3 + i), true,
                         tsdb_double_bits(2 + i));
    }
    wal_frame_end(&e);
    return (size_t)(e.pos - out);
}

static void batch_done(struct tsdb_write *w)
{
    *(int *)w->done_arg += 1;
}

/* Write the example as the first batch of a log; returns the file's bytes up to the end mark. */
static size_t example_write(uint8_t *out)
{
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_clock_sim clock = {0};
    struct tsdb_error err;
    struct wal *w;
    uint8_t bytes[1024];
    int done = 0;
    size_t size;
    assert_ok(tsdb_fs_sim_create(1, &sim, &fs));
    struct wal_options options = {.fs = &fs,
                                  .dir = "wal",
                                  .clock = tsdb_clock_sim_table(&clock),
                                  .owner_count = 1,
                                  .ring_slots = 2,
                                  .segment_bytes = 4096,
                                  .epoch_bytes = 1024,
                                  .flush_samples = 1,
                                  .unsynced_bytes_max = 4096,
                                  .segment_first = 1};
    assert_ok_err(wal_open(&options, &w, &err), &err);
    struct tsdb_write write = {.batch_count = 1, .done = batch_done, .done_arg = &done};
    atomic_init(&write.pending, 1);
    size_t len = example_encode(bytes, sizeof bytes, wal_epoch(w));
    write.batches[0] = (struct tsdb_batch){.write = &write,
                                           .wal_bytes = bytes,
                                           .wal_len = (uint32_t)len,
                                           .wal_samples = 20,
                                           .durability = TSDB_DURABILITY_STRICT};
    assert_true(tsdb_ring_reserve(wal_ring(w, 0), 1));
    wal_submit(w, 0, &write.batches[0]);
    assert_ok_err(wal_close(w, &err), &err);
    assert_int_equal(done, 1);
    uint8_t *data;
    assert_ok_err(tsdb_file_read_all(&fs, "wal/00000001", 8192, TSDB_MEM_OTHER, &data, &size, &err),
                  &err);
    size_t file_bytes = size;
    size = WAL_SEGMENT_HEADER_BYTES + len + WAL_END_BYTES;
    memcpy(out, data, size);
    tsdb_mem_free(TSDB_MEM_OTHER, data, file_bytes);
    tsdb_fs_sim_destroy(sim);
    return size;
}

static void wal_format_5__written_today__golden_bytes(void **state)
{
    (void)state;
    uint8_t written[BYTES_MAX];
    golden_check(GOLDEN_PATH, written, example_write(written));
}

static void wal_format_5__page__golden_bytes(void **state)
{
    (void)state;
    golden_check_page(GOLDEN_PATH, "docs/format/wal.md", "```hexdump", 0);
}

static void samples_check(const struct wal_frame *frame)
{
    static const struct {
        uint32_t local;
        enum tsdb_sample_kind kind;
        int64_t after_ms, start_ms;
        double base, value;
    } want[] = {
        {0, TSDB_SAMPLE_FLOAT, 0, 0, 0, 1},
        {1, TSDB_SAMPLE_FLOAT, 0, 0, 0, 3.14},
        {2, TSDB_SAMPLE_FLOAT, 0, 0, 5, 5},
        {3, TSDB_SAMPLE_FLOAT, 0, 0, 7, 7},
        {9, TSDB_SAMPLE_FLOAT, 0, 0, 1000, 1042},
        {10, TSDB_SAMPLE_FLOAT, 1, 0, 0, 0 /* the stale marker */},
        {11, TSDB_SAMPLE_FLOAT, 1, 1700000000000 - 999, 0.3, 0.1},
        {12, TSDB_SAMPLE_HISTOGRAM_INT, 1, 0, 0, 0},
    };
    struct wal_frame_head head;
    struct wal_decoder d;
    struct wal_sample s;
    assert_ok(wal_decode_head(frame->payload, frame->len, frame->time_ms, &head, &d, NULL));
    assert_true(head.log_seq == 2 && head.write_seq == 1 && head.epoch == 4);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(want); i++) {
        assert_true(wal_decode_sample(&d, &s));
        assert_int_equal(s.local, want[i].local);
        assert_int_equal(s.kind, want[i].kind);
        assert_true(s.t_ms == 1700000000000 + want[i].after_ms);
        assert_true(s.start_ms == want[i].start_ms);
        if (s.kind == TSDB_SAMPLE_FLOAT) {
            uint64_t bits = i == 5 ? TSDB_STALE_NAN_BITS : tsdb_double_bits(want[i].value);
            assert_true(wal_sample_unpack(&s, tsdb_double_bits(want[i].base)) == bits);
        } else {
            assert_int_equal(s.raw.len, 3);
            assert_memory_equal(s.raw.data, "\xaa\xbb\xcc", 3);
        }
    }
    assert_false(wal_decode_sample(&d, &s));
    assert_false(d.failed);
}

static void wal_format_5__golden_file__still_read(void **state)
{
    (void)state;
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_error err;
    struct wal_replay *r;
    struct wal_segment_view view;
    struct wal_frame_head head;
    struct wal_decoder d;
    struct tsdb_buf labels;
    struct tsdb_label items[4];
    struct tsdb_exemplar x;
    struct wal_sample s;
    const struct wal_damage *damage;
    uint32_t local;
    tsdb_buf_init(&labels, TSDB_MEM_OTHER, 0);
    assert_ok(tsdb_fs_sim_create(1, &sim, &fs));
    golden_copy_in(GOLDEN_PATH, &fs, "wal/00000001");
    struct wal_replay_options options = {.fs = &fs, .dir = "wal", .segment_from = 1};
    assert_ok_err(wal_replay_open(&options, &r, &err), &err);
    assert_ok_err(wal_replay_segment(r, &view, &err), &err);
    assert_int_equal(view.frame_count, 4);
    uint32_t bytes = 0;
    for (uint32_t i = 0; i < view.frame_count; i++) {
        bytes += view.frames[i].bytes;
    }
    assert_int_equal(bytes, 136); /* header, 119 of groups, padding */
    assert_int_equal(wal_replay_damage(r, &damage), 0);
    assert_int_equal(view.frames[0].partition, 9);
    assert_int_equal(view.frames[0].type, WAL_RECORD_SERIES);
    assert_ok(wal_decode_head(view.frames[0].payload, view.frames[0].len, view.frames[0].time_ms,
                              &head, &d, &err));
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(wal_decode_series(&d, &labels, &local));
        assert_int_equal(local, i);
        assert_int_equal(labels.len, 21);
        assert_memory_equal(labels.data, "\x08__name__\x02up\x03job\x04nod", 20);
        assert_int_equal(labels.data[20], "ex"[i]);
    }
    tsdb_buf_deinit(&labels);
    assert_int_equal(view.frames[1].type, WAL_RECORD_SAMPLES);
    samples_check(&view.frames[1]);
    assert_int_equal(view.frames[2].type, WAL_RECORD_EXEMPLARS);
    assert_ok(wal_decode_head(view.frames[2].payload, view.frames[2].len, view.frames[2].time_ms,
                              &head, &d, &err));
    assert_true(wal_decode_exemplar(&d, &local, items, 4, &x));
    assert_true(x.t_ms == 1700000000000 && x.bits == tsdb_double_bits(0.25) && x.labels.count == 1);
    assert_int_equal(view.frames[3].type, WAL_RECORD_SAMPLES);
    assert_int_equal(view.frames[3].partition, 40);
    assert_ok(wal_decode_head(view.frames[3].payload, view.frames[3].len, view.frames[3].time_ms,
                              &head, &d, &err));
    assert_true(head.log_seq == 7 && head.write_seq == 5 && head.epoch == 4);
    assert_true(wal_decode_sample(&d, &s));
    assert_int_equal(s.local, 300);
    assert_true(s.t_ms == 1700000000015 && s.bits == tsdb_double_bits(2));
    for (uint32_t i = 301; i < 309; i++) {
        assert_true(wal_decode_sample(&d, &s));
        assert_true(s.local == i && s.t_ms == 1700000000015);
        assert_true(wal_sample_unpack(&s, tsdb_double_bits(3)) == tsdb_double_bits(3));
    }
    for (uint32_t i = 1; i <= 3; i++) {
        assert_true(wal_decode_sample(&d, &s));
        assert_true(s.local == 308 && s.t_ms == 1700000000015 + 10 * i);
        assert_true(wal_sample_unpack(&s, tsdb_double_bits(2 + i)) == tsdb_double_bits(3 + i));
    }
    assert_false(wal_decode_sample(&d, &s) || d.failed);
    assert_int_equal(wal_replay_segment(r, &view, &err), TSDB_NOT_FOUND);
    wal_replay_close(r);
    tsdb_fs_sim_destroy(sim);
}

/* Versions 1 to 4 were never released. */
static void wal_format_1__golden_file__unsupported(void **state)
{
    (void)state;
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_error err;
    struct wal_replay *r;
    assert_ok(tsdb_fs_sim_create(1, &sim, &fs));
    golden_copy_in("wal/v1/00000001", &fs, "wal/00000001");
    struct wal_replay_options options = {.fs = &fs, .dir = "wal", .segment_from = 1};
    assert_int_equal(wal_replay_open(&options, &r, &err), TSDB_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "version 1"));
    tsdb_fs_sim_destroy(sim);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wal_format_5__written_today__golden_bytes),
    cmocka_unit_test(wal_format_5__page__golden_bytes),
    cmocka_unit_test(wal_format_5__golden_file__still_read),
    cmocka_unit_test(wal_format_1__golden_file__unsupported),
};
TEST_MAIN(tests)
