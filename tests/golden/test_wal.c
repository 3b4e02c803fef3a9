/* Format version 1 of the log, held to a file: what is written today, what docs/format/wal.md
 * shows, and what is read today must all be the bytes in tests/golden/wal/v1/. Run from the
 * repository's root. */
#include "tests/support/test.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/ring.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

#include <stdio.h>
#include <stdlib.h>

#define GOLDEN_PATH "tests/golden/wal/v1/00000001"
#define PAGE_PATH   "docs/format/wal.md"
#define BYTES_MAX   1024

/* The example of the format page: a series, samples in several modes, an exemplar, all of
 * partition 9. */
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
    wal_frame_begin(&e, WAL_RECORD_SERIES, 9, 1, 1, epoch);
    wal_encode_series(&e, 0, &labels);
    wal_frame_end(&e);
    wal_frame_begin(&e, WAL_RECORD_SAMPLES, 9, 2, 1, epoch);
    wal_encode_float(&e, 0, t, 0, tsdb_double_bits(1), false, 0);
    wal_encode_float(&e, 1, t, 0, tsdb_double_bits(3.14), false, 0);
    wal_encode_float(&e, 2, t, 0, tsdb_double_bits(5), true, tsdb_double_bits(5));
    wal_encode_float(&e, 3, t, 0, tsdb_double_bits(7), true, tsdb_double_bits(7));
    wal_encode_float(&e, 9, t, 0, tsdb_double_bits(1090), true, tsdb_double_bits(1000));
    wal_encode_float(&e, 10, t + 1, 0, TSDB_STALE_NAN_BITS, true, 0);
    wal_encode_float(&e, 11, t + 1, t - 999, tsdb_double_bits(0.1), true, tsdb_double_bits(0.3));
    wal_encode_histogram(&e, 12, t + 1, 0, TSDB_SAMPLE_HISTOGRAM_INT, raw, sizeof raw);
    wal_frame_end(&e);
    wal_frame_begin(&e, WAL_RECORD_EXEMPLARS, 9, 3, 1, epoch);
    wal_encode_exemplar(&e, 0, &exemplar);
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
                                           .wal_samples = 8,
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

static size_t file_read(const char *path, void *out, size_t cap)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        fail_msg("%s: not found; run from the repository's root", path);
        return 0;
    }
    size_t len = fread(out, 1, cap, f);
    fclose(f);
    return len;
}

/* Compare, and print what there is as the page shows it. */
static void assert_bytes(const char *what, const uint8_t *got, size_t got_len, const uint8_t *want,
                         size_t want_len)
{
    if (got_len == want_len && memcmp(got, want, want_len) == 0) {
        return;
    }
    for (size_t at = 0; at < got_len; at += 16) {
        fprintf(stderr, "%04zx ", at);
        for (size_t i = at; i < at + 16 && i < got_len; i++) {
            fprintf(stderr, " %02x", got[i]);
        }
        fprintf(stderr, "\n");
    }
    fail_msg("%s: %zu bytes as above differ from the golden file's %zu", what, got_len, want_len);
}

static void wal_format_1__written_today__golden_bytes(void **state)
{
    (void)state;
    uint8_t written[BYTES_MAX], golden[BYTES_MAX];
    size_t written_len = example_write(written);
    size_t golden_len = file_read(GOLDEN_PATH, golden, sizeof golden);
    assert_bytes("written today", written, written_len, golden, golden_len);
}

/* The page's block that begins with ```hexdump: "offset  byte byte ...  | words". */
static size_t page_bytes(uint8_t *out, size_t cap)
{
    static char page[65536];
    size_t len = file_read(PAGE_PATH, page, sizeof page - 1), n = 0;
    page[len] = 0;
    char *block = strstr(page, "```hexdump\n");
    assert_non_null(block);
    char *end = strstr(block + 3, "```\n");
    assert_non_null(end);
    *end = 0;
    char *save, *line = strtok_r(block, "\n", &save);
    while ((line = strtok_r(NULL, "\n", &save)) != NULL) {
        unsigned long offset = strtoul(line, &line, 16);
        assert_int_equal(offset, n);
        char *after;
        while (*line != '|' && *line) {
            unsigned long byte = strtoul(line, &after, 16);
            if (after == line) {
                break;
            }
            assert_true(byte < 256 && n < cap);
            out[n++] = (uint8_t)byte;
            line = after + strspn(after, " ");
        }
    }
    return n;
}

static void wal_format_1__page__golden_bytes(void **state)
{
    (void)state;
    uint8_t page[BYTES_MAX], golden[BYTES_MAX];
    size_t page_len = page_bytes(page, sizeof page);
    size_t golden_len = file_read(GOLDEN_PATH, golden, sizeof golden);
    assert_bytes("docs/format/wal.md", page, page_len, golden, golden_len);
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
        {9, TSDB_SAMPLE_FLOAT, 0, 0, 1000, 1090},
        {10, TSDB_SAMPLE_FLOAT, 1, 0, 0, 0 /* the stale marker */},
        {11, TSDB_SAMPLE_FLOAT, 1, 1700000000000 - 999, 0.3, 0.1},
        {12, TSDB_SAMPLE_HISTOGRAM_INT, 1, 0, 0, 0},
    };
    struct wal_frame_head head;
    struct wal_decoder d;
    struct wal_sample s;
    assert_ok(wal_decode_head(frame->payload, frame->len, &head, &d, NULL));
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

static void wal_format_1__golden_file__still_read(void **state)
{
    (void)state;
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_error err;
    struct tsdb_file *f;
    struct wal_replay *r;
    struct wal_segment_view view;
    struct wal_frame_head head;
    struct wal_decoder d;
    struct tsdb_slice labels;
    struct tsdb_label items[4];
    struct tsdb_exemplar x;
    const struct wal_damage *damage;
    uint8_t golden[BYTES_MAX];
    uint32_t local;
    size_t len = file_read(GOLDEN_PATH, golden, sizeof golden);
    assert_ok(tsdb_fs_sim_create(1, &sim, &fs));
    assert_ok(fs.ops->mkdir(fs.ctx, "wal", &err));
    assert_ok(fs.ops->open(fs.ctx, "wal/00000001", TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &f, &err));
    assert_ok(fs.ops->pwrite(fs.ctx, f, golden, len, 0, &err));
    fs.ops->close(fs.ctx, f);
    struct wal_replay_options options = {.fs = &fs, .dir = "wal", .segment_from = 1};
    assert_ok_err(wal_replay_open(&options, &r, &err), &err);
    assert_ok_err(wal_replay_segment(r, &view, &err), &err);
    assert_int_equal(view.frame_count, 3);
    assert_int_equal(wal_replay_damage(r, &damage), 0);
    assert_int_equal(view.frames[0].partition, 9);
    assert_int_equal(view.frames[0].type, WAL_RECORD_SERIES);
    assert_ok(wal_decode_head(view.frames[0].payload, view.frames[0].len, &head, &d, &err));
    assert_true(wal_decode_series(&d, &local, &labels));
    assert_int_equal(local, 0);
    assert_int_equal(labels.len, 21);
    assert_memory_equal(labels.data, "\x08__name__\x02up\x03job\x04node", 21);
    assert_int_equal(view.frames[1].type, WAL_RECORD_SAMPLES);
    samples_check(&view.frames[1]);
    assert_int_equal(view.frames[2].type, WAL_RECORD_EXEMPLARS);
    assert_ok(wal_decode_head(view.frames[2].payload, view.frames[2].len, &head, &d, &err));
    assert_true(wal_decode_exemplar(&d, &local, items, 4, &x));
    assert_true(x.t_ms == 1700000000000 && x.bits == tsdb_double_bits(0.25) && x.labels.count == 1);
    assert_int_equal(wal_replay_segment(r, &view, &err), TSDB_NOT_FOUND);
    wal_replay_close(r);
    tsdb_fs_sim_destroy(sim);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wal_format_1__written_today__golden_bytes),
    cmocka_unit_test(wal_format_1__page__golden_bytes),
    cmocka_unit_test(wal_format_1__golden_file__still_read),
};
TEST_MAIN(tests)
