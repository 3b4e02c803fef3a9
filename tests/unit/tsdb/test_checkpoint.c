#include "tests/support/test.h"

#include "base/crc32c.h"
#include "base/random.h"
#include "model/version.h"
#include "tsdb/recovery/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>

#define SERIES_MAX 64

struct fixture {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_epoch *epoch;
    struct head_partition *heads[TSDB_PARTITIONS];
    struct checkpoint_info info;
};

static struct head_partition *make_head(struct fixture *f, uint32_t id)
{
    struct head_partition *p = NULL;
    assert_ok(head_partition_create(id, f->epoch, 100, &p));
    return p;
}

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    *state = f;
    assert_ok(tsdb_fs_sim_create(1, &f->sim, &f->fs));
    assert_ok(f->fs.ops->mkdir(f->fs.ctx, "checkpoint", NULL));
    assert_ok(tsdb_epoch_create(8, &f->epoch));
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        f->heads[i] = make_head(f, i);
    }
    f->info = (struct checkpoint_info){
        .number = 7,
        .wal_segment = 12,
        .series_log = {.bytes = 345, .last_at = 300, .last_crc = 0xabcdef12},
        .created_ms = 1700000000123};
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        f->info.marks[i] = (struct partition_mark){100 + i, 200 + i, 300 + i};
    }
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        head_partition_destroy(f->heads[i]);
    }
    tsdb_epoch_destroy(f->epoch);
    tsdb_fs_sim_destroy(f->sim);
    test_free(f);
    return 0;
}

static uint32_t add_series(struct fixture *f, uint32_t partition)
{
    char text[16];
    uint32_t local;
    bool created;
    snprintf(text, sizeof text, "%u", (unsigned)f->info.series[partition]);
    struct tsdb_label l = tsdb_label_make("i", text);
    struct tsdb_labels labels = {&l, 1};
    uint64_t hash = (uint64_t)partition << 58 | f->info.series[partition];
    assert_ok(
        head_series_find_or_create(f->heads[partition], &labels, hash, &local, &created, NULL));
    assert_true(created);
    f->info.series[partition]++;
    return local;
}

static void append(struct fixture *f, uint32_t partition, uint32_t local, int64_t t_ms,
                   int64_t start_ms, uint64_t bits)
{
    enum head_append_outcome o =
        head_append(f->heads[partition], local, t_ms, start_ms, TSDB_SAMPLE_FLOAT, bits);
    assert_true(o == HEAD_APPENDED || o == HEAD_APPENDED_OUT_OF_ORDER);
}

static enum tsdb_status write_it(struct fixture *f, uint64_t *out_bytes, struct tsdb_error *err)
{
    struct checkpoint_source source = {&f->fs, f->epoch, f->heads, NULL};
    return checkpoint_write(&source, &f->info, out_bytes, err);
}

/* ---- comparing: every sample that comes back is looked up in the head that was written ---- */
struct back {
    struct head_partition *copy; /* a head of the same series, filled from the file */
    uint32_t samples, exemplars;
    int64_t exemplar_t_ms;
    uint64_t exemplar_bits;
    char exemplar_label[64];
};

static enum tsdb_status back_run(void *arg, const struct checkpoint_run *run,
                                 struct tsdb_error *err)
{
    (void)err;
    struct back *b = arg;
    for (uint32_t i = 0; i < run->count; i++) {
        int64_t start = run->start_ms ? run->start_ms[i] : 0;
        enum head_append_outcome o =
            head_append(b->copy, run->local, run->t_ms[i], start, run->kind, run->value[i]);
        b->samples += o == HEAD_APPENDED || o == HEAD_APPENDED_OUT_OF_ORDER;
    }
    return TSDB_OK;
}

static enum tsdb_status back_exemplar(void *arg, uint32_t local, const struct tsdb_exemplar *x,
                                      struct tsdb_error *err)
{
    (void)err, (void)local;
    struct back *b = arg;
    b->exemplars++;
    b->exemplar_t_ms = x->t_ms;
    b->exemplar_bits = x->bits;
    snprintf(b->exemplar_label, sizeof b->exemplar_label, "%.*s=%.*s",
             (int)x->labels.items[0].name_len, x->labels.items[0].name,
             (int)x->labels.items[0].value_len, x->labels.items[0].value);
    return TSDB_OK;
}

static void read_all(struct head_partition *p, uint32_t local, struct tsdb_arena *arena,
                     struct tsdb_columns *out)
{
    assert_ok(head_read(p, local, TSDB_TIME_ALL, HEAD_VIEW_NONE, arena, out, NULL));
}

static void assert_same_series(struct head_partition *a, struct head_partition *b, uint32_t local)
{
    struct tsdb_arena arena;
    struct tsdb_columns x, y;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    read_all(a, local, &arena, &x);
    read_all(b, local, &arena, &y);
    assert_int_equal(x.count, y.count);
    for (uint32_t i = 0; i < x.count; i++) {
        assert_int_equal(x.t_ms[i], y.t_ms[i]);
        assert_int_equal(x.start_ms ? x.start_ms[i] : 0, y.start_ms ? y.start_ms[i] : 0);
        unsigned kind = x.kind ? x.kind[i] : 0;
        assert_int_equal(kind, y.kind ? y.kind[i] : 0);
        if (kind == TSDB_SAMPLE_FLOAT) {
            assert_int_equal(x.bits[i], y.bits[i]);
        } else {
            assert_double_bits_equal(x.histograms[x.bits[i]].sum, y.histograms[y.bits[i]].sum);
        }
    }
    tsdb_arena_deinit(&arena);
}

/* Series that samples can be loaded into. */
static void add_anonymous(struct head_partition *p, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        char text[16];
        uint32_t local;
        bool is_new;
        snprintf(text, sizeof text, "%u", (unsigned)i);
        struct tsdb_label l = tsdb_label_make("n", text);
        struct tsdb_labels labels = {&l, 1};
        assert_ok(head_series_find_or_create(p, &labels, i, &local, &is_new, NULL));
        assert_int_equal(local, i);
    }
}

/* Load a partition into a fresh head and compare it series by series. Returns the samples. */
static uint32_t assert_comes_back(struct fixture *f, uint32_t partition, struct back *out)
{
    struct checkpoint_reader *r = NULL;
    struct tsdb_error err;
    assert_ok_err(checkpoint_open(&f->fs, f->info.number, &r, &err), &err);
    assert_ok_err(checkpoint_verify(r, &err), &err);
    memset(out, 0, sizeof *out);
    out->copy = make_head(f, partition);
    add_anonymous(out->copy, f->info.series[partition]);
    struct checkpoint_sink sink = {
        .arg = out, .run = back_run, .chunk = NULL, .exemplar = back_exemplar};
    assert_ok_err(checkpoint_load(r, partition, &sink, &err), &err);
    for (uint32_t i = 0; i < f->info.series[partition]; i++) {
        assert_same_series(f->heads[partition], out->copy, i);
    }
    head_partition_destroy(out->copy);
    checkpoint_close(r);
    return out->samples;
}

static void checkpoint_write__nothing__info_comes_back(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes = 0;
    assert_ok(write_it(f, &bytes, NULL));
    assert_int_equal(bytes, CHECKPOINT_HEADER_BYTES + CHECKPOINT_DIRECTORY_BYTES +
                                CHECKPOINT_FOOTER_BYTES);
    tsdb_fs_sim_crash(f->sim);
    struct checkpoint_reader *r = NULL;
    assert_ok(checkpoint_open(&f->fs, 7, &r, NULL));
    assert_memory_equal(checkpoint_info(r), &f->info, sizeof f->info);
    assert_int_equal(checkpoint_bytes(r), bytes);
    checkpoint_close(r);
}

static void checkpoint_write__odd_times_values_kinds__all_come_back(void **state)
{
    struct fixture *f = *state;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 5);
    static const int64_t times[] = {INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX};
    uint32_t extreme = add_series(f, 0);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(times); i++) {
        append(f, 0, extreme, times[(i * 3) % 7], i % 2 ? INT64_MAX - (int64_t)i : 0,
               tsdb_prng_next(&prng));
    }
    uint32_t expected = 7;
    for (uint32_t s = 0; s < 5;
         s++) { /* sealed chunks, a tail, late samples, starts now and then */
        uint32_t local = add_series(f, 0);
        for (int64_t i = 0; i < 300 + s; i++) {
            int64_t t = i * 15000 + (int64_t)tsdb_prng_below(&prng, 20);
            append(f, 0, local, i % 50 == 49 ? t - 1000000000 : t, s == 3 ? t - 5 : 0,
                   s == 1   ? TSDB_STALE_NAN_BITS
                   : s == 2 ? tsdb_double_bits((double)i)
                            : tsdb_prng_next(&prng));
            expected++;
        }
    }
    struct tsdb_histogram h = {.schema = 0, .sum = tsdb_bits_double(TSDB_STALE_NAN_BITS)};
    uint8_t raw_bytes[128];
    struct tsdb_raw_histogram raw = {(uint32_t)tsdb_histogram_encode(&h, raw_bytes), raw_bytes};
    uint32_t local = add_series(f, 0);
    for (int64_t i = 0; i < 200; i++) {
        append(f, 0, local, 2 * i, 0, tsdb_double_bits(1));
        assert_int_equal(head_append(f->heads[0], local, 2 * i + 1, 0, TSDB_SAMPLE_HISTOGRAM_INT,
                                     (uint64_t)(uintptr_t)&raw),
                         HEAD_APPENDED);
        expected += 2;
    }
    uint64_t bytes;
    assert_ok(write_it(f, &bytes, NULL));
    struct back back;
    assert_int_equal(assert_comes_back(f, 0, &back), expected);
}

/* A series of many pages, and histograms that fill pages by themselves. */
static void checkpoint_write__larger_than_pages__pages_bounded_and_all_back(void **state)
{
    struct fixture *f = *state;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 6);
    uint32_t local = add_series(f, 63);
    for (int64_t i = 0; i < 250000; i++) {
        append(f, 63, local, i * 977, 0, tsdb_prng_next(&prng));
    }
    /* The raw bytes are not looked into here: any content of any size up to the limit. */
    uint8_t *big = calloc(1, TSDB_HISTOGRAM_BYTES_MAX);
    assert_non_null(big);
    uint32_t second = add_series(f, 63);
    for (int64_t i = 0; i < 9; i++) {
        struct tsdb_raw_histogram raw = {i % 2 ? TSDB_HISTOGRAM_BYTES_MAX : 200000, big};
        big[7] = (uint8_t)i;
        assert_int_equal(head_append(f->heads[63], second, i, 0, TSDB_SAMPLE_HISTOGRAM_FLOAT,
                                     (uint64_t)(uintptr_t)&raw),
                         HEAD_APPENDED);
    }
    free(big);
    uint64_t bytes;
    struct tsdb_error err;
    assert_ok_err(write_it(f, &bytes, &err), &err);
    assert_true(bytes > 3u << 20);
    struct checkpoint_reader *r = NULL;
    assert_ok(checkpoint_open(&f->fs, 7, &r, NULL));
    assert_ok(checkpoint_verify(r, NULL));
    struct back back = {.copy = make_head(f, 63)};
    add_anonymous(back.copy, 2);
    struct checkpoint_sink sink = {
        .arg = &back, .run = back_run, .chunk = NULL, .exemplar = back_exemplar};
    assert_ok(checkpoint_load(r, 63, &sink, NULL));
    assert_int_equal(back.samples, 250009);
    assert_same_series(f->heads[63], back.copy, local);
    head_partition_destroy(back.copy);
    checkpoint_close(r);
}

static void checkpoint_write__series_beyond_the_count__left_out(void **state)
{
    struct fixture *f = *state;
    append(f, 3, add_series(f, 3), 1, 0, 1);
    append(f, 3, add_series(f, 3), 1, 0, 1);
    f->info.series[3] = 1; /* the second came after series.log was written */
    uint64_t bytes;
    assert_ok(write_it(f, &bytes, NULL));
    struct back back;
    assert_int_equal(assert_comes_back(f, 3, &back), 1);
}

static void checkpoint_write__exemplars__come_back(void **state)
{
    struct fixture *f = *state;
    uint32_t local = add_series(f, 9);
    struct tsdb_label l = tsdb_label_make("trace_id", "abc");
    struct tsdb_exemplar x = {{&l, 1}, TSDB_NORMAL_NAN_BITS, -77};
    assert_ok(head_exemplar_append(f->heads[9], local, &x));
    uint64_t bytes;
    assert_ok(write_it(f, &bytes, NULL));
    struct back back;
    assert_comes_back(f, 9, &back);
    assert_int_equal(back.exemplars, 1);
    assert_int_equal(back.exemplar_t_ms, -77);
    assert_int_equal(back.exemplar_bits, TSDB_NORMAL_NAN_BITS);
    assert_string_equal(back.exemplar_label, "trace_id=abc");
}

static void fill_golden(struct fixture *f)
{
    struct tsdb_label l = tsdb_label_make("t", "1");
    struct tsdb_exemplar x = {{&l, 1}, tsdb_double_bits(0.5), 1000};
    uint32_t local = add_series(f, 5);
    append(f, 5, local, 1000, 0, tsdb_double_bits(1));
    append(f, 5, local, 2000, 0, tsdb_double_bits(2));
    append(f, 5, local, 3000, 0, tsdb_double_bits(2));
    append(f, 5, local, 4500, 0, TSDB_STALE_NAN_BITS);
    append(f, 5, add_series(f, 5), -1, 700, UINT64_C(0x7ff8dead0000beef));
    assert_ok(head_exemplar_append(f->heads[5], local, &x));
}

/* The file of that head; the caller frees its bytes. */
static uint8_t *write_golden(struct fixture *f, size_t *out_len)
{
    uint8_t *data = NULL;
    uint64_t bytes;
    fill_golden(f);
    assert_ok(write_it(f, &bytes, NULL));
    assert_ok(tsdb_file_read_all(&f->fs, "checkpoint/00000007", 1u << 20, TSDB_MEM_OTHER, &data,
                                 out_len, NULL));
    return data;
}

static void checkpoint_write__small_head__golden_bytes(void **state)
{
    struct fixture *f = *state;
    size_t len = 0;
    uint8_t *data = write_golden(f, &len);
    /* The dump of docs/format/checkpoint.md: header, the three pages, the entry of partition 5,
     * footer. */
    static const uint8_t golden_head[] = {
        0x54, 0x44, 0x4c, 0x43, 0x48, 0x4b, 0x50, 0x54, 0x06, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00,
        0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x59, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x7b, 0x68, 0xe5, 0xcf, 0x8b,
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x82, 0x97, 0x6d, 0xca, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x2c, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x12, 0xef,
        0xcd, 0xab, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0xaf, 0xb3, 0xcb, 0xc8, 0x54, 0x50, 0x41, 0x47, 0x03, 0x05, 0x00,
        0x00, 0x0a, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xd4, 0x6f,
        0xd8, 0x52, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x54, 0x50, 0x41,
        0x47, 0x01, 0x05, 0x00, 0x00, 0x1f, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0xb6, 0x2e, 0xa8, 0x52, 0x00, 0x00, 0x04, 0xd0, 0x0f, 0xd0, 0x0f, 0x00, 0xe8,
        0x07, 0x09, 0x02, 0x02, 0x02, 0x00, 0x01, 0x01, 0x04, 0x01, 0x01, 0xf8, 0x0a, 0x21, 0xef,
        0xbe, 0x00, 0x00, 0xad, 0xde, 0xf8, 0x7f, 0x54, 0x50, 0x41, 0x47, 0x02, 0x05, 0x00, 0x00,
        0x10, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0d, 0x39, 0xa4,
        0x35, 0x00, 0xd0, 0x0f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xe0, 0x3f, 0x01, 0x01, 0x74,
        0x01, 0x31};
    static const uint8_t golden_entry[] = {
        0x69, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xcd, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x31, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x81, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00,
        0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
    static const uint8_t golden_footer[] = {0x54, 0x44, 0x4c, 0x43, 0x4b, 0x45, 0x4e, 0x44,
                                            0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
                                            0x00, 0x10, 0x00, 0x00, 0x24, 0xab, 0x96, 0x68,
                                            0x00, 0x00, 0x00, 0x00, 0xcb, 0x7b, 0x7e, 0xbe};
    assert_int_equal(len, sizeof golden_head + CHECKPOINT_DIRECTORY_BYTES + sizeof golden_footer);
    assert_memory_equal(data, golden_head, sizeof golden_head);
    assert_memory_equal(data + sizeof golden_head + 5 * CHECKPOINT_ENTRY_BYTES, golden_entry,
                        sizeof golden_entry);
    assert_memory_equal(data + len - sizeof golden_footer, golden_footer, sizeof golden_footer);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

/* Open, verify and load all; OK or CORRUPT with the path in the text. */
static bool survives(struct fixture *f, struct tsdb_error *err)
{
    struct checkpoint_reader *r = NULL;
    enum tsdb_status status = checkpoint_open(&f->fs, 7, &r, err);
    if (status == TSDB_OK) {
        status = checkpoint_verify(r, err);
    }
    checkpoint_close(r);
    if (status != TSDB_OK) {
        assert_int_equal(status, TSDB_CORRUPT);
        assert_non_null(strstr(err->msg, "checkpoint/00000007"));
    }
    return status == TSDB_OK;
}

static void checkpoint_open__every_byte_flipped_or_cut__corrupt(void **state)
{
    struct fixture *f = *state;
    size_t len = 0;
    uint8_t *data = write_golden(f, &len);
    struct tsdb_error err;
    for (size_t i = 0; i < len; i++) {
        data[i] ^= (uint8_t)(1u << (i % 8));
        assert_ok(tsdb_file_replace(&f->fs, "checkpoint/00000007", data, len, NULL));
        data[i] ^= (uint8_t)(1u << (i % 8));
        assert_false(survives(f, &err));
    }
    for (size_t i = 0; i < len; i += i < 300 ? 1 : 37) {
        assert_ok(tsdb_file_replace(&f->fs, "checkpoint/00000007", data, i, NULL));
        assert_false(survives(f, &err));
    }
    /* Whole, but under another name. */
    assert_ok(tsdb_file_replace(&f->fs, "checkpoint/00000007", data, len, NULL));
    assert_true(survives(f, &err));
    assert_ok(tsdb_file_replace(&f->fs, "checkpoint/00000008", data, len, NULL));
    struct checkpoint_reader *r = NULL;
    assert_int_equal(checkpoint_open(&f->fs, 8, &r, &err), TSDB_CORRUPT);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

static void checkpoint_open__later_version__unsupported(void **state)
{
    struct fixture *f = *state;
    uint64_t bytes;
    assert_ok(write_it(f, &bytes, NULL));
    uint8_t *data = NULL;
    size_t len = 0;
    assert_ok(tsdb_file_read_all(&f->fs, "checkpoint/00000007", 1u << 20, TSDB_MEM_OTHER, &data,
                                 &len, NULL));
    data[8] = TSDB_FORMAT_CHECKPOINT + 1;
    tsdb_store_le32(data + 60, tsdb_crc32c(0, data, 60));
    assert_ok(tsdb_file_replace(&f->fs, "checkpoint/00000007", data, len, NULL));
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    struct checkpoint_reader *r = NULL;
    struct tsdb_error err;
    assert_int_equal(checkpoint_open(&f->fs, 7, &r, &err), TSDB_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "version 7"));
}

static void checkpoint_newest__several_and_strangers__highest_below(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"checkpoint/00000003",
                                        "checkpoint/00000012",
                                        "checkpoint/123456789",
                                        "checkpoint/000000013",
                                        "checkpoint/00000014.tmp",
                                        "checkpoint/x0000015",
                                        "checkpoint/99999999999999999999"};
    uint64_t n = 0;
    assert_int_equal(checkpoint_newest(&f->fs, UINT64_MAX, &n, NULL), TSDB_NOT_FOUND);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(names); i++) {
        assert_ok(tsdb_file_replace(&f->fs, names[i], "x", 1, NULL));
    }
    assert_ok(checkpoint_newest(&f->fs, UINT64_MAX, &n, NULL));
    assert_int_equal(n, 123456789);
    assert_ok(checkpoint_newest(&f->fs, n, &n, NULL));
    assert_int_equal(n, 12);
    assert_ok(checkpoint_remove_before(&f->fs, 12, NULL));
    tsdb_fs_sim_crash(f->sim);
    assert_int_equal(checkpoint_newest(&f->fs, 12, &n, NULL), TSDB_NOT_FOUND);
    assert_ok(checkpoint_newest(&f->fs, 13, &n, NULL));
}

static void checkpoint_write__each_operation_fails__error_and_no_file_of_that_name(void **state)
{
    struct fixture *f = *state;
    append(f, 1, add_series(f, 1), 1, 0, 1);
    uint64_t failures = 0;
    for (uint64_t op = 1; op < 12; op++) {
        struct tsdb_error err;
        uint64_t bytes, n;
        f->info.number = 100 + op;
        tsdb_fs_sim_fault(f->sim, TSDB_FAULT_EIO, op, 1);
        enum tsdb_status status = write_it(f, &bytes, &err);
        tsdb_fs_sim_fault(f->sim, TSDB_FAULT_NONE, 1, 0);
        if (status == TSDB_OK) {
            continue;
        }
        failures++;
        assert_int_equal(status, TSDB_IO);
        assert_non_null(strstr(err.msg, "checkpoint"));
        tsdb_fs_sim_crash(f->sim);
        if (checkpoint_newest(&f->fs, UINT64_MAX, &n, NULL) == TSDB_OK && n == f->info.number) {
            struct back back; /* only the last sync failed: then it is whole */
            assert_comes_back(f, 1, &back);
        }
    }
    assert_true(failures >= 5); /* create, write, sync, rename, sync of the directory */
}

static void checkpoint_write__cancelled__stops(void **state)
{
    struct fixture *f = *state;
    _Atomic(uint32_t) cancel = 1;
    add_series(f, 0);
    struct checkpoint_source source = {&f->fs, f->epoch, f->heads, &cancel};
    uint64_t bytes, n;
    assert_int_equal(checkpoint_write(&source, &f->info, &bytes, NULL), TSDB_CANCELLED);
    assert_int_equal(checkpoint_newest(&f->fs, UINT64_MAX, &n, NULL), TSDB_NOT_FOUND);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    CASE(checkpoint_write__nothing__info_comes_back),
    CASE(checkpoint_write__odd_times_values_kinds__all_come_back),
    CASE(checkpoint_write__larger_than_pages__pages_bounded_and_all_back),
    CASE(checkpoint_write__series_beyond_the_count__left_out),
    CASE(checkpoint_write__exemplars__come_back),
    CASE(checkpoint_write__small_head__golden_bytes),
    CASE(checkpoint_open__every_byte_flipped_or_cut__corrupt),
    CASE(checkpoint_open__later_version__unsupported),
    CASE(checkpoint_newest__several_and_strangers__highest_below),
    CASE(checkpoint_write__each_operation_fails__error_and_no_file_of_that_name),
    CASE(checkpoint_write__cancelled__stops),
};

TEST_MAIN(tests)
