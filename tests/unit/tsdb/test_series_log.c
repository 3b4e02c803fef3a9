#include "tests/support/test.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "tsdb/recovery/series_log.h"

#include <stdio.h>

struct fixture {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_prng prng;
    struct series_log log;
    struct series_log_found found; /* of the last load */
    uint8_t identity[SERIES_LOG_IDENTITY_BYTES];
};

static void init_log(struct fixture *f)
{
    series_log_init(&f->log, &f->fs, tsdb_random_seeded(&f->prng));
}

static int setup(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);
    *state = f;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    if (tsdb_fs_sim_create(3, &f->sim, &f->fs) != TSDB_OK) {
        return -1;
    }
    tsdb_prng_init(&f->prng, 3);
    init_log(f);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    series_log_deinit(&f->log);
    tsdb_fs_sim_destroy(f->sim);
    test_free(f);
    return 0;
}

static void reopen(struct fixture *f)
{
    series_log_deinit(&f->log);
    init_log(f);
}

/* Series k of partition p: {i="<p>.<k>", pad="..."}. */
static enum tsdb_status append(struct fixture *f, uint32_t partition, size_t pad,
                               struct tsdb_error *err)
{
    static char fill[40000];
    char text[32];
    memset(fill, 'x', sizeof fill);
    assert_true(pad <= sizeof fill);
    snprintf(text, sizeof text, "%u.%u", (unsigned)partition, (unsigned)f->log.appended[partition]);
    struct tsdb_label items[2] = {tsdb_label_make("i", text), {"pad", fill, 3, (uint32_t)pad}};
    struct tsdb_labels labels = {items, pad > 0 ? 2 : 1};
    return series_log_append(&f->log, partition, &labels, err);
}

struct seen {
    uint32_t count[TSDB_PARTITIONS];
    uint32_t total, holes, wrong;
};

static enum tsdb_status see(void *arg, const struct series_log_window *window,
                            struct tsdb_error *err)
{
    (void)err;
    struct seen *s = arg;
    for (uint32_t i = 0; i < window->count; i++) {
        const struct series_log_record *r = &window->records[i];
        struct tsdb_label items[4];
        uint32_t n = 0;
        char text[32];
        int len = snprintf(text, sizeof text, "%u.%u", (unsigned)r->partition, (unsigned)r->local);
        s->total++;
        s->wrong += r->local != s->count[r->partition]++;
        if (r->labels.len == 0) {
            s->holes++;
            continue;
        }
        bool ok =
            tsdb_labels_decode(r->labels.data, r->labels.len, items, 4, &n, NULL) == TSDB_OK &&
            items[0].value_len == (uint32_t)len && memcmp(items[0].value, text, (size_t)len) == 0;
        s->wrong += !ok;
    }
    return TSDB_OK;
}

/* Whose file it is. */
static void note_identity(struct fixture *f)
{
    uint8_t header[SERIES_LOG_HEADER_BYTES];
    struct tsdb_file *file = NULL;
    size_t got = 0;
    assert_ok(f->fs.ops->open(f->fs.ctx, "series.log", TSDB_OPEN_READ, &file, NULL));
    assert_ok(f->fs.ops->pread(f->fs.ctx, file, header, sizeof header, 0, &got, NULL));
    f->fs.ops->close(f->fs.ctx, file);
    assert_int_equal(got, sizeof header);
    memcpy(f->identity, header + 16, sizeof f->identity);
}

static enum tsdb_status load(struct fixture *f, uint64_t relied, struct seen *out,
                             uint64_t *out_cut, struct tsdb_error *err)
{
    struct series_log_mark mark = {.bytes = relied};
    struct series_log_sink sink = {.arg = out, .apply = see};
    memset(out, 0, sizeof *out);
    memcpy(mark.identity, f->identity, sizeof mark.identity);
    enum tsdb_status status =
        series_log_load(&f->log, &mark, relied > 0, 1700000000000, &sink, &f->found, err);
    *out_cut = f->found.cut_bytes;
    return status;
}

static void series_log_load__no_file__ok_and_what_is_relied_upon_is_missing(void **state)
{
    struct fixture *f = *state;
    struct seen seen;
    uint64_t cut = 99;
    assert_ok(load(f, 0, &seen, &cut, NULL));
    assert_int_equal(seen.total + cut + f->found.missing_bytes, 0);
    assert_ok(load(f, 36, &seen, &cut, NULL));
    assert_int_equal(f->found.missing_bytes, 36);
    assert_false(f->log.damaged); /* a new one may begin */
}

static void series_log_commit__many_windows_and_a_hole__all_come_back_after_power_cut(void **state)
{
    struct fixture *f = *state;
    struct tsdb_labels hole = {NULL, 0};
    /* 12 MB: three windows, records across their borders. */
    for (uint32_t i = 0; i < 400; i++) {
        assert_ok(append(f, i % TSDB_PARTITIONS, i % 3 ? 39000 : 0, NULL));
    }
    assert_ok(series_log_append(&f->log, 5, &hole, NULL));
    assert_ok(series_log_commit(&f->log, NULL));
    uint64_t relied = f->log.bytes_durable;
    uint32_t counts[TSDB_PARTITIONS];
    memcpy(counts, f->log.durable, sizeof counts);
    note_identity(f);
    tsdb_fs_sim_crash(f->sim);
    reopen(f);
    struct seen seen;
    uint64_t cut;
    struct tsdb_error err;
    assert_ok_err(load(f, relied, &seen, &cut, &err), &err);
    assert_int_equal(seen.total, 401);
    assert_int_equal(seen.holes, 1);
    assert_int_equal(seen.wrong, 0);
    assert_int_equal(cut, 0);
    assert_memory_equal(counts, f->log.durable, sizeof counts);
    /* And appending goes on where it ended. */
    assert_ok(append(f, 5, 0, NULL));
    assert_ok(series_log_commit(&f->log, NULL));
    reopen(f);
    assert_ok(load(f, relied, &seen, &cut, NULL));
    assert_int_equal(seen.total, 402);
}

static void series_log_load__cut_at_every_byte_of_the_tail__good_records_stay(void **state)
{
    struct fixture *f = *state;
    assert_ok(append(f, 1, 0, NULL));
    assert_ok(append(f, 2, 0, NULL));
    assert_ok(series_log_commit(&f->log, NULL));
    uint64_t relied = f->log.bytes_durable, ends[4] = {relied};
    note_identity(f);
    for (uint32_t i = 1; i < 4; i++) {
        assert_ok(append(f, 1, i * 10, NULL));
        ends[i] = f->log.bytes_appended;
    }
    assert_ok(series_log_commit(&f->log, NULL));
    uint8_t *data = NULL;
    size_t len = 0;
    assert_ok(
        tsdb_file_read_all(&f->fs, "series.log", 1u << 20, TSDB_MEM_OTHER, &data, &len, NULL));
    assert_int_equal(len, ends[3]);
    for (uint64_t size = relied; size <= len; size++) {
        assert_ok(tsdb_file_replace(&f->fs, "series.log", data, size, NULL));
        reopen(f);
        unsigned whole =
            (size >= ends[1] ? 1u : 0) + (size >= ends[2] ? 1u : 0) + (size >= ends[3] ? 1u : 0);
        struct seen seen;
        uint64_t cut;
        assert_ok(load(f, relied, &seen, &cut, NULL));
        assert_int_equal(seen.total, 2 + whole);
        assert_int_equal(seen.wrong, 0);
        assert_int_equal(cut, size - ends[whole]);
        assert_int_equal(f->log.bytes_durable, ends[whole]);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

static void put_file(struct fixture *f, const uint8_t *data, size_t len)
{
    assert_ok(tsdb_file_replace(&f->fs, "series.log", data, len, NULL));
    reopen(f);
}

static uint8_t *take_file(struct fixture *f, size_t *out_len)
{
    uint8_t *data = NULL;
    assert_ok(series_log_commit(&f->log, NULL));
    note_identity(f);
    assert_ok(
        tsdb_file_read_all(&f->fs, "series.log", 1u << 24, TSDB_MEM_OTHER, &data, out_len, NULL));
    return data;
}

/* One bit costs its record, or, in a length, that and the one behind it; in header and CRC nothing. */
/* A sink that takes its time: what it was given is looked at when the loader asks for the window back. */
#define HELD_WINDOWS 3u
struct held {
    struct seen seen;
    const struct series_log_window *windows[HELD_WINDOWS]; /* not looked at yet */
    uint32_t given, held_most, wrong;
};

static enum tsdb_status hold(void *arg, const struct series_log_window *window,
                             struct tsdb_error *err)
{
    struct held *h = arg;
    (void)err;
    h->wrong += window->number != h->given % HELD_WINDOWS || h->windows[window->number] != NULL;
    h->windows[window->number] = window;
    h->given++;
    uint32_t held = 0;
    for (uint32_t i = 0; i < HELD_WINDOWS; i++) {
        held += h->windows[i] != NULL;
    }
    h->held_most = TSDB_MAX(h->held_most, held);
    return TSDB_OK;
}

/* The records of a partition are in its chain, all, in order. */
static enum tsdb_status look_at_held(void *arg, uint32_t number, struct tsdb_error *err)
{
    struct held *h = arg;
    const struct series_log_window *w = h->windows[number];
    uint32_t chained = 0;
    if (!w) {
        return TSDB_OK;
    }
    h->windows[number] = NULL;
    for (uint64_t left = w->partitions; left != 0; left &= left - 1) {
        uint32_t partition = (uint32_t)__builtin_ctzll(left);
        uint32_t before = 0;
        for (uint32_t i = w->first[partition]; i != UINT32_MAX; i = w->records[i].next) {
            h->wrong += w->records[i].partition != partition || i < before || i >= w->count;
            before = i + 1;
            chained++;
        }
    }
    h->wrong += chained != w->count;
    return see(&h->seen, w, err);
}

static void
series_log_load__sink_that_holds_windows__none_is_overwritten_before_it_waits(void **state)
{
    struct fixture *f = *state;
    struct series_log_mark mark = {.bytes = 0};
    struct series_log_sink sink = {.apply = hold, .wait = look_at_held, .windows = HELD_WINDOWS};
    struct held *h = test_calloc(1, sizeof *h);
    const uint32_t count = 4000;
    for (uint32_t i = 0; i < count; i++) {
        assert_ok(append(f, (i / 7 * 5) % TSDB_PARTITIONS, 8000 + i % 100, NULL));
    }
    assert_ok(series_log_commit(&f->log, NULL));
    assert_true(f->log.bytes_durable > UINT64_C(6) * SERIES_LOG_WINDOW_BYTES);
    reopen(f);
    sink.arg = h;
    assert_ok(series_log_load(&f->log, &mark, 0, 1, &sink, &f->found, NULL));
    assert_int_equal(h->wrong, 0);
    assert_int_equal(h->seen.wrong, 0);
    assert_int_equal(h->seen.total, count);
    assert_int_equal(h->held_most, HELD_WINDOWS);
    for (uint32_t i = 0; i < HELD_WINDOWS; i++) {
        assert_null(h->windows[i]);
    }
    test_free(h);
}

static void series_log_load__every_bit_of_relied_bytes_flipped__costs_its_record(void **state)
{
    struct fixture *f = *state;
    size_t len = 0;
    uint32_t whole = 0;
    for (uint32_t i = 0; i < 6; i++) {
        assert_ok(append(f, i, 0, NULL));
    }
    uint8_t *data = take_file(f, &len);
    for (size_t bit = 0; bit < len * 8; bit++) {
        struct seen seen;
        uint64_t cut;
        struct tsdb_error err;
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        put_file(f, data, len);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_ok_err(load(f, len, &seen, &cut, &err), &err);
        assert_in_range(seen.total, 4, 6);
        assert_int_equal(seen.wrong, 0);
        assert_int_equal(f->found.damaged_ranges, 1);
        assert_int_equal(cut, 0);
        assert_true(f->log.damaged);
        whole += seen.total == 6;
    }
    assert_true(whole >= 8 * (36 + 4 * 5)); /* header, and CRCs but for the last one */
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

/* Windows of records of any length; a page of zeroes wherever it lies, also over header and end. */
static void series_log_load__page_of_zeroes_anywhere__costs_what_it_touches(void **state)
{
    struct fixture *f = *state;
    size_t len = 0;
    static uint8_t kept[4096];
    for (uint32_t i = 0; i < 700; i++) {
        assert_ok(append(f, i % TSDB_PARTITIONS, i % 50 == 49 ? 39000 : i % 7 * 30, NULL));
    }
    uint8_t *data = take_file(f, &len);
    for (size_t at = 0; at < len; at += len / 97) {
        struct seen seen;
        uint64_t cut;
        size_t n = TSDB_MIN(sizeof kept, len - at);
        memcpy(kept, data + at, n);
        memset(data + at, 0, n);
        put_file(f, data, len);
        memcpy(data + at, kept, n);
        assert_ok(load(f, len, &seen, &cut, NULL));
        assert_in_range(seen.total, 700 - 4096 / 20, 699);
        assert_true(f->found.damaged_ranges >= 1 && f->found.damaged_ranges <= 2);
        assert_true(f->found.damaged_bytes >= n && f->found.damaged_bytes <= n + 100000);
        assert_true(f->log.damaged);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

/* The file is kept as it was: its name goes to a successor. */
static void series_log_load__damaged__kept_in_quarantine(void **state)
{
    struct fixture *f = *state;
    struct seen seen;
    uint64_t cut;
    size_t len = 0, kept_len = 0;
    uint8_t *kept = NULL;
    assert_ok(append(f, 1, 0, NULL));
    uint8_t *data = take_file(f, &len);
    data[50] ^= 1;
    put_file(f, data, len);
    assert_ok(load(f, len, &seen, &cut, NULL));
    assert_int_equal(seen.total, 0);
    assert_ok(tsdb_file_read_all(&f->fs, "quarantine/series.log-1700000000000-damaged", 4096,
                                 TSDB_MEM_OTHER, &kept, &kept_len, NULL));
    assert_int_equal(kept_len, len);
    assert_memory_equal(kept, data, len);
    tsdb_mem_free(TSDB_MEM_OTHER, kept, kept_len);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

static void series_log_load__later_version__unsupported(void **state)
{
    struct fixture *f = *state;
    uint8_t header[16] = {'T', 'D', 'L', 'S', 'E', 'R', 'L', 'G', 4};
    tsdb_store_le32(header + 12, tsdb_crc32c(0, header, 12));
    assert_ok(tsdb_file_replace(&f->fs, "series.log", header, sizeof header, NULL));
    struct seen seen;
    uint64_t cut;
    struct tsdb_error err;
    assert_int_equal(load(f, 0, &seen, &cut, &err), TSDB_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "version 4"));
}

static uint64_t same_number(void *ctx)
{
    (void)ctx;
    return UINT64_C(0x1716151413121110);
}

static void series_log_append__two_series__golden_bytes(void **state)
{
    struct fixture *f = *state;
    struct tsdb_label items[2] = {tsdb_label_make("__name__", "up"), tsdb_label_make("job", "a")};
    struct tsdb_labels labels = {items, 2}, hole = {NULL, 0};
    f->log.random = (struct tsdb_random){.next = same_number};
    assert_ok(series_log_append(&f->log, 5, &labels, NULL));
    series_log_skip(&f->log, 5, 3);
    assert_ok(series_log_append(&f->log, 5, &hole, NULL));
    assert_ok(series_log_commit(&f->log, NULL));
    uint8_t *data = NULL;
    size_t len = 0;
    assert_ok(tsdb_file_read_all(&f->fs, "series.log", 4096, TSDB_MEM_OTHER, &data, &len, NULL));
    /* The dump of docs/format/series-log.md. */
    static const uint8_t golden[] = {
        0x54, 0x44, 0x4c, 0x53, 0x45, 0x52, 0x4c, 0x47, 0x03, 0x00, 0x00, 0x00, 0x75, 0x68, 0x7f,
        0x36, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15,
        0x16, 0x17, 0xec, 0xba, 0x15, 0x29, 0x14, 0x00, 0x00, 0x00, 0x7b, 0x71, 0x03, 0x21, 0x05,
        0x00, 0x08, 0x5f, 0x5f, 0x6e, 0x61, 0x6d, 0x65, 0x5f, 0x5f, 0x02, 0x75, 0x70, 0x03, 0x6a,
        0x6f, 0x62, 0x01, 0x61, 0x02, 0x00, 0x00, 0x00, 0x65, 0xb5, 0x78, 0x04, 0x05, 0x03};
    assert_int_equal(len, sizeof golden);
    assert_memory_equal(data, golden, sizeof golden);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

/* ---- a successor ---- */

static bool there(struct fixture *f, const char *path)
{
    struct tsdb_file_info info;
    return f->fs.ops->stat(f->fs.ctx, path, &info, NULL) == TSDB_OK;
}

/* Ids 0, 7 and 9 of partition 3 stay; 10 is the next. */
static struct series_log_mark successor_write(struct fixture *f, struct series_log *next)
{
    static const uint32_t ids[] = {0, 7, 9};
    series_log_init_next(next, &f->log);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(ids); i++) {
        char text[16];
        snprintf(text, sizeof text, "3.%u", (unsigned)ids[i]);
        struct tsdb_label label = tsdb_label_make("x", text);
        struct tsdb_labels labels = {&label, ids[i] < 9};
        series_log_skip(next, 3, ids[i]);
        assert_ok(series_log_append(next, 3, &labels, NULL));
    }
    assert_ok(series_log_commit(next, NULL));
    assert_int_equal(next->records_durable, 2);
    return next->durable_mark;
}

static enum tsdb_status see_ids(void *arg, const struct series_log_window *window,
                                struct tsdb_error *err)
{
    uint32_t *sum = arg;
    (void)err;
    for (uint32_t i = 0; i < window->count; i++) {
        *sum = *sum * 100 + window->records[i].local;
    }
    return TSDB_OK;
}

static void series_log_settle__successor__takes_the_place_with_its_gaps(void **state)
{
    struct fixture *f = *state;
    struct series_log next;
    uint32_t sum = 0;
    struct series_log_found found;
    struct series_log_sink sink = {.arg = &sum, .apply = see_ids};
    assert_ok(append(f, 3, 0, NULL));
    assert_ok(series_log_commit(&f->log, NULL));
    struct series_log_mark old = f->log.durable_mark;
    struct series_log_mark mark = successor_write(f, &next);
    assert_true(there(f, "series.log") && there(f, "series.log.next"));
    tsdb_fs_sim_fault(f->sim, TSDB_FAULT_EIO, 2, 1); /* stat, rename */
    assert_int_equal(series_log_settle(&next, NULL), TSDB_IO);
    assert_ok(series_log_settle(&next, NULL));
    assert_ok(series_log_settle(&next, NULL)); /* nothing to do */
    assert_true(!there(f, "series.log.next"));
    struct tsdb_label label = tsdb_label_make("x", "3.10");
    struct tsdb_labels labels = {&label, 1};
    assert_ok(series_log_append(&next, 3, &labels, NULL)); /* goes on in its place */
    assert_ok(series_log_commit(&next, NULL));
    series_log_deinit(&next);
    tsdb_fs_sim_crash(f->sim);
    reopen(f);
    assert_ok(series_log_load(&f->log, &mark, 1, 1, &sink, &found, NULL));
    assert_int_equal(sum, 7 * 10000 + 9 * 100 + 10);
    assert_int_equal(f->log.durable[3], 11);
    assert_int_equal(f->log.records_durable, 3);
    assert_ok(series_log_fits(&f->log, &mark, NULL));
    assert_int_equal(series_log_fits(&f->log, &old, NULL), TSDB_NOT_FOUND);
}

/* Died before the rename: the checkpoint's mark says which of the two counts. */
static void series_log_choose__by_the_mark__takes_or_removes_the_successor(void **state)
{
    struct fixture *f = *state;
    for (int turn = 0; turn < 3; turn++) {
        struct series_log next;
        assert_ok(append(f, 3, 0, NULL));
        assert_ok(series_log_commit(&f->log, NULL));
        struct series_log_mark mark = f->log.durable_mark;
        struct series_log_mark next_mark = successor_write(f, &next);
        series_log_deinit(&next);
        tsdb_fs_sim_crash(f->sim);
        reopen(f);
        const struct series_log_mark *chosen = turn == 2 ? &next_mark : &mark;
        tsdb_fs_sim_fault(f->sim, TSDB_FAULT_ENOSPC, 1, turn == 1 ? 1 : 0);
        assert_ok(series_log_choose(&f->fs, chosen, turn == 1, 16, NULL));
        assert_int_equal(there(f, "series.log.next"), turn == 1); /* no room: it stays */
        assert_ok(series_log_choose(&f->fs, chosen, turn == 1, 17, NULL));
        assert_true(!there(f, "series.log.next"));
        assert_int_equal(there(f, "quarantine/series.log-17-next"), turn >= 1);
        assert_ok(series_log_choose(&f->fs, chosen, false, 18, NULL)); /* again: nothing */
        uint32_t sum = 0;
        struct series_log_found found;
        struct series_log_sink sink = {.arg = &sum, .apply = see_ids};
        assert_ok(series_log_load(&f->log, chosen, 1, 1, &sink, &found, NULL));
        assert_ok(series_log_fits(&f->log, chosen, NULL));
        assert_int_equal(f->log.durable[3], turn == 2 ? 10 : turn + 1);
    }
}

/* Any one operation fails: the commit says so, and the next one leaves a whole file. */
static void series_log_commit__each_operation_fails_once__next_commit_repairs(void **state)
{
    (void)state;
    for (uint64_t op = 1; op < 20; op++) {
        for (int kind = 0; kind < 2; kind++) {
            struct fixture f;
            assert_ok(tsdb_fs_sim_create(op, &f.sim, &f.fs));
            tsdb_prng_init(&f.prng, op);
            init_log(&f);
            assert_ok(append(&f, 0, 0, NULL));
            assert_ok(series_log_commit(&f.log, NULL));
            uint64_t durable = f.log.bytes_durable;
            tsdb_fs_sim_fault(f.sim, kind ? TSDB_FAULT_ENOSPC : TSDB_FAULT_EIO, op, 1);
            enum tsdb_status status = append(&f, 0, 20000, NULL);
            status = status == TSDB_OK ? series_log_commit(&f.log, NULL) : status;
            if (status != TSDB_OK) {
                assert_int_equal(f.log.bytes_durable, durable);
                assert_int_equal(f.log.appended[0], 1);
                tsdb_fs_sim_fault(f.sim, TSDB_FAULT_NONE, 1, 0);
                assert_ok(append(&f, 0, 30, NULL));
                assert_ok(series_log_commit(&f.log, NULL));
            }
            durable = f.log.bytes_durable;
            tsdb_fs_sim_crash(f.sim);
            reopen(&f);
            struct seen seen;
            uint64_t cut;
            assert_ok(load(&f, durable, &seen, &cut, NULL));
            assert_int_equal(seen.total, 2);
            assert_int_equal(seen.wrong, 0);
            series_log_deinit(&f.log);
            tsdb_fs_sim_destroy(f.sim);
        }
    }
}

/* ---- marks ---- */

static struct series_log_mark commit_one(struct fixture *f, uint32_t partition)
{
    assert_ok(append(f, partition, 0, NULL));
    assert_ok(series_log_commit(&f->log, NULL));
    return f->log.durable_mark;
}

static void series_log_fits__marks_of_this_file__ok_from_there_on(void **state)
{
    struct fixture *f = *state;
    struct series_log_mark none = {0}, marks[5];
    struct seen seen;
    uint64_t cut;
    assert_ok(series_log_fits(&f->log, &none, NULL));
    for (uint32_t i = 0; i < 5; i++) {
        marks[i] = commit_one(f, i % 3);
        for (uint32_t k = 0; k <= i; k++) {
            assert_ok(series_log_fits(&f->log, &marks[k], NULL));
        }
    }
    note_identity(f);
    reopen(f);
    assert_int_equal(series_log_fits(&f->log, &marks[0], NULL), TSDB_NOT_FOUND); /* not loaded */
    assert_ok(load(f, marks[4].bytes, &seen, &cut, NULL));
    for (uint32_t k = 0; k < 5; k++) {
        assert_ok(series_log_fits(&f->log, &marks[k], NULL));
        struct series_log_mark odd = marks[k];
        odd.last_at++;
        assert_int_equal(series_log_fits(&f->log, &odd, NULL), TSDB_NOT_FOUND);
        odd = marks[k];
        odd.last_crc ^= 1;
        assert_int_equal(series_log_fits(&f->log, &odd, NULL), TSDB_NOT_FOUND);
        odd = marks[k];
        odd.identity[7] ^= 1;
        assert_int_equal(series_log_fits(&f->log, &odd, NULL), TSDB_NOT_FOUND);
    }
}

/* Of an earlier moment, or cut: what it has counts, but a later mark does not fit; not even when the file has
 * grown beyond it by other series. */
static void series_log_load__shorter_than_relied_upon__ok_and_later_marks_do_not_fit(void **state)
{
    struct fixture *f = *state;
    struct series_log_mark first = commit_one(f, 1);
    struct series_log_mark later = commit_one(f, 2);
    size_t len = 0;
    uint8_t *data = take_file(f, &len);
    for (size_t size = (size_t)first.bytes; size < later.bytes; size++) {
        struct seen seen;
        uint64_t cut;
        struct tsdb_error err;
        put_file(f, data, size);
        assert_ok_err(load(f, later.bytes, &seen, &cut, &err), &err);
        assert_int_equal(seen.total, 1);
        assert_int_equal(f->found.missing_bytes, later.bytes - size);
        assert_true(f->log.damaged && cut == 0);
        assert_ok(series_log_fits(&f->log, &first, NULL));
        assert_int_equal(series_log_fits(&f->log, &later, &err), TSDB_NOT_FOUND);
        assert_non_null(strstr(err.msg, "shorter"));
        assert_ok(
            f->fs.ops->unlink(f->fs.ctx, "quarantine/series.log-1700000000000-damaged", NULL));
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

static void series_log_load__cut_where_nobody_relies_on_it__tail_kept(void **state)
{
    struct fixture *f = *state;
    struct series_log_mark first = commit_one(f, 1);
    struct series_log_mark later = commit_one(f, 2);
    size_t len = 0;
    uint8_t *data = take_file(f, &len);
    for (size_t size = (size_t)first.bytes; size < later.bytes; size++) {
        struct seen seen;
        uint64_t cut;
        struct tsdb_error err;
        struct tsdb_file_info info;
        char path[64];
        put_file(f, data, size);
        assert_ok_err(load(f, 0, &seen, &cut, &err), &err);
        assert_int_equal(seen.total, 1);
        assert_int_equal(cut, size - first.bytes);
        /* Nobody vouches for what was cut: it is kept. */
        snprintf(path, sizeof path, "quarantine/series.log-1700000000000-%u",
                 (unsigned)first.bytes);
        assert_int_equal(f->fs.ops->stat(f->fs.ctx, path, &info, NULL),
                         cut > 0 ? TSDB_OK : TSDB_NOT_FOUND);
        if (cut > 0) {
            assert_int_equal(info.size_bytes, cut);
            assert_ok(f->fs.ops->unlink(f->fs.ctx, path, NULL));
        }
        struct series_log_mark other = commit_one(f, 3); /* as long as the one that is missing */
        assert_int_equal(other.bytes, later.bytes);
        assert_int_equal(series_log_fits(&f->log, &later, &err), TSDB_NOT_FOUND);
        assert_non_null(strstr(err.msg, "others"));
        assert_ok(series_log_fits(&f->log, &other, NULL));
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

/* Nothing vouches for the end, and there is no room for a copy of it: it stays, and so does what it was when a
 * successor takes the place. */
static void series_log_load__torn_on_a_full_disk__whole_records_and_nothing_cut(void **state)
{
    struct fixture *f = *state;
    struct series_log_mark first = commit_one(f, 1);
    struct series_log_mark later = commit_one(f, 2);
    size_t len = 0;
    uint8_t *data = take_file(f, &len);
    const char *kept = "quarantine/series.log-1700000000000-damaged";
    struct tsdb_file_info info;
    struct seen seen;
    uint64_t cut;
    struct tsdb_error err;
    put_file(f, data, later.bytes - 1);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    tsdb_fs_sim_capacity(f->sim, tsdb_fs_sim_used(f->sim) + 1);
    assert_ok_err(load(f, 0, &seen, &cut, &err), &err);
    assert_int_equal(seen.total, 1);
    assert_int_equal(cut, 0);
    assert_true(f->log.damaged);
    assert_int_equal(f->log.bytes_durable, first.bytes);
    assert_ok(f->fs.ops->stat(f->fs.ctx, "series.log", &info, NULL));
    assert_int_equal(info.size_bytes, later.bytes - 1);
    assert_ok(f->fs.ops->stat(f->fs.ctx, kept, &info, NULL));
    assert_int_equal(info.size_bytes, later.bytes - 1);
    char copy[64];
    snprintf(copy, sizeof copy, "quarantine/series.log-1700000000000-%u", (unsigned)first.bytes);
    assert_int_equal(f->fs.ops->stat(f->fs.ctx, copy, &info, NULL), TSDB_NOT_FOUND);
}

static void series_log_fits__mark_of_a_file_before__not_found(void **state)
{
    struct fixture *f = *state;
    struct series_log_mark mark = commit_one(f, 1);
    struct tsdb_error err;
    assert_ok(f->fs.ops->unlink(f->fs.ctx, "series.log", NULL));
    reopen(f);
    struct series_log_mark again = commit_one(f, 1); /* the same series */
    assert_int_equal(again.bytes, mark.bytes);
    assert_int_equal(series_log_fits(&f->log, &mark, &err), TSDB_NOT_FOUND);
    assert_non_null(strstr(err.msg, "another"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(series_log_load__no_file__ok_and_what_is_relied_upon_is_missing,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(
        series_log_commit__many_windows_and_a_hole__all_come_back_after_power_cut, setup, teardown),
    cmocka_unit_test_setup_teardown(
        series_log_load__cut_at_every_byte_of_the_tail__good_records_stay, setup, teardown),
    cmocka_unit_test_setup_teardown(
        series_log_load__every_bit_of_relied_bytes_flipped__costs_its_record, setup, teardown),
    cmocka_unit_test_setup_teardown(
        series_log_load__sink_that_holds_windows__none_is_overwritten_before_it_waits, setup,
        teardown),
    cmocka_unit_test_setup_teardown(series_log_load__page_of_zeroes_anywhere__costs_what_it_touches,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(series_log_load__damaged__kept_in_quarantine, setup, teardown),
    cmocka_unit_test_setup_teardown(series_log_load__cut_where_nobody_relies_on_it__tail_kept,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(series_log_load__later_version__unsupported, setup, teardown),
    cmocka_unit_test_setup_teardown(series_log_settle__successor__takes_the_place_with_its_gaps,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(series_log_choose__by_the_mark__takes_or_removes_the_successor,
                                    setup, teardown),
    cmocka_unit_test_setup_teardown(series_log_append__two_series__golden_bytes, setup, teardown),
    cmocka_unit_test_setup_teardown(series_log_fits__marks_of_this_file__ok_from_there_on, setup,
                                    teardown),
    cmocka_unit_test_setup_teardown(
        series_log_load__shorter_than_relied_upon__ok_and_later_marks_do_not_fit, setup, teardown),
    cmocka_unit_test_setup_teardown(
        series_log_load__torn_on_a_full_disk__whole_records_and_nothing_cut, setup, teardown),
    cmocka_unit_test_setup_teardown(series_log_fits__mark_of_a_file_before__not_found, setup,
                                    teardown),
    cmocka_unit_test(series_log_commit__each_operation_fails_once__next_commit_repairs),
};

TEST_MAIN(tests)
