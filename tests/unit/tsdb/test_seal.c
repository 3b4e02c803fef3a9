/* From sealed chunks to head files and back. */
#include "tests/support/test.h"

#include "tests/support/tsdb/harness.h"
#include "tsdb/engine/db_private.h"
#include "tsdb/head/head_private.h"

#define RANGE INT64_C(60000)
#define T0    (HX_WALL_MS / RANGE * RANGE - 20 * RANGE)

static void open_with(struct hx *h, int64_t range_ms)
{
    struct tsdb_error err = {0};
    h->options.block_range_ms = range_ms;
    h->options.old_range_max_ms = 1; /* all windows are as long */
    assert_ok_err(hx_open(h, &err), &err);
}

static int setup(void **state)
{
    struct hx *h = test_calloc(1, sizeof *h);
    hx_init(h, 7);
    h->options.owner_count = 1;
    open_with(h, RANGE);
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct hx *h = *state;
    tsdb_alloc_ops_set(NULL);
    hx_deinit(h);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_HEAD), 0);
    test_free(h);
    return 0;
}

static void put(struct hx *h, uint32_t series, int64_t t_ms, double value)
{
    struct hx_sample s = hx_float(series, t_ms, value);
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_BUFFERED, NULL));
}

static void put_many(struct hx *h, uint32_t series, int64_t from_ms, int64_t step_ms, uint32_t n)
{
    static struct hx_sample s[HX_SAMPLES_MAX];
    assert_true(n <= HX_SAMPLES_MAX);
    for (uint32_t i = 0; i < n; i++) {
        int64_t t = from_ms + i * step_ms;
        s[i] = hx_float(series, t, (double)t / 7);
    }
    assert_ok(hx_put(h, s, n, TSDB_DURABILITY_BUFFERED, NULL));
}

static struct head_partition *head_of(struct hx *h, uint32_t series)
{
    return h->db->heads[tsdb_series_partition(h->refs[series])];
}

static uint32_t local_of(struct hx *h, uint32_t series)
{
    return tsdb_series_local(h->refs[series]);
}

static void seal_all(struct hx *h)
{
    while (tsdb_seal_step(h->db, h->clock.mono_ns) > 0) {
        hx_settle(h);
    }
}

static void seal_open(struct hx *h, int64_t before_ms)
{
    struct owner *o = &h->db->owners[0];
    owner_job_request(o, OWNER_JOB_SEAL, (uint64_t)(before_ms));
    while (!owner_job_done(o, OWNER_JOB_SEAL, NULL)) {
        owner_step(o, 0);
    }
}

static void assert_valid(struct hx *h)
{
    struct tsdb_error err = {0};
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        assert_ok_err(head_validate(h->db->heads[i], &err), &err);
    }
}

struct counted {
    uint32_t all, in_files, late;
};
static struct counted count(struct hx *h, uint32_t series, uint64_t view)
{
    struct counted c = {0};
    struct head_pieces pieces;
    struct tsdb_arena arena;
    struct tsdb_epoch_guard guard;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    tsdb_epoch_enter(h->db->epoch, &guard);
    assert_ok(head_pieces(head_of(h, series), local_of(h, series), view, &arena, &pieces));
    for (uint32_t i = 0; i < pieces.count; i++) {
        c.all++;
        c.in_files += pieces.in_file[i] != NULL;
        c.late += pieces.in_file[i] && pieces.in_file[i]->late;
    }
    tsdb_epoch_exit(h->db->epoch, &guard);
    tsdb_arena_deinit(&arena);
    return c;
}

/* Samples of the series that a view shows; their times rise. */
static uint32_t samples(struct hx *h, uint32_t series, uint64_t view)
{
    struct tsdb_columns c = {0};
    struct tsdb_error err = {0};
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok_err(
        head_read(head_of(h, series), local_of(h, series), TSDB_TIME_ALL, view, &arena, &c, &err),
        &err);
    for (uint32_t i = 1; i < c.count; i++) {
        assert_true(c.t_ms[i - 1] < c.t_ms[i]);
    }
    tsdb_arena_deinit(&arena);
    return c.count;
}

/* What is in files is not looked for any more, and costs no memory. */
static void seal__late_samples__leave_the_set_with_their_chunks(void **state)
{
    struct hx *h = *state;
    put(h, 1, T0 + 10 * RANGE, 1);
    for (uint32_t i = 0; i < 300; i++) {
        put(h, 1, T0 + (i * 7919 % 300) * 1000, (double)i);
    }
    struct head_partition *p = head_of(h, 1);
    assert_int_equal(p->late.used, 300);
    seal_all(h);
    assert_int_equal(p->late.used, 300 % TSDB_CHUNK_SAMPLES);
    seal_open(h, INT64_MAX);
    assert_int_equal(p->late.used, 300 % TSDB_CHUNK_SAMPLES);
    head_drop_before(p, 0, UINT32_MAX, T0 + RANGE);
    uint32_t left = p->late.used;
    assert_true(left < 300 % TSDB_CHUNK_SAMPLES);
    seal_all(h);
    assert_int_equal(p->late.used, 0);
    assert_int_equal(p->late.cap, 0);
    assert_valid(h);
}

static void sealed_window__edges__floor_without_overflow(void **state)
{
    (void)state;
    assert_int_equal(sealed_window(0, 1000), 0);
    assert_int_equal(sealed_window(999, 1000), 0);
    assert_int_equal(sealed_window(-1, 1000), -1000);
    assert_int_equal(sealed_window(-1000, 1000), -1000);
    assert_int_equal(sealed_window(INT64_MIN, 1000), INT64_MIN);
    assert_int_equal(sealed_window(INT64_MAX, 1000), INT64_MAX - 807);
    assert_int_equal(sealed_window_last(0, 1000), 999);
    assert_int_equal(sealed_window_last(-1, 1000), -1);
    assert_int_equal(sealed_window_last(INT64_MAX, 1000), INT64_MAX);
    assert_int_equal(sealed_window_last(INT64_MIN, 1000), INT64_MIN + 807);
    assert_int_equal(sealed_window_last(INT64_MIN, INT64_MAX), -INT64_MAX - 1);
    assert_int_equal(sealed_window(-5, INT64_MAX), -INT64_MAX);
}

static void append__boundary_crossed__chunks_lie_in_one_window(void **state)
{
    struct hx *h = *state;
    put_many(h, 1, T0 + RANGE - 3000, 1000, 6); /* three on each side */
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).all, 2);
    put(h, 1, T0 + 10 * RANGE - 1, 1); /* far ahead, the last of its window */
    put(h, 1, T0 + 10 * RANGE, 2);
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).all, 4);
    assert_valid(h);
    /* Late ones of five windows, more than a buffer holds: split when they are sealed. */
    put_many(h, 1, T0 + RANGE + 3500, 2000, 130);
    assert_valid(h);
    assert_int_equal(samples(h, 1, HEAD_VIEW_NONE), 8 + 130);
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).all, 4 + 5 + 1);
}

static void fill_all_kinds(struct hx *h, uint8_t *raw, uint32_t raw_len)
{
    put_many(h, 1, T0, 300, 150);       /* in order, a chunk and a tail */
    put_many(h, 1, T0 + 100, 300, 140); /* late, a chunk and a buffer */
    static struct hx_sample s[130];
    for (uint32_t i = 0; i < 130; i++) {
        s[i] = (struct hx_sample){.series = 2,
                                  .kind = TSDB_SAMPLE_HISTOGRAM_INT,
                                  .t_ms = T0 + i * 100,
                                  .start_ms = i + 1,
                                  .raw = raw,
                                  .raw_len = raw_len};
    }
    assert_ok(hx_put(h, s, 130, TSDB_DURABILITY_BUFFERED, NULL));
    for (uint32_t i = 0; i < 121; i++) {
        s[i] = (struct hx_sample){
            .series = 3, .t_ms = T0 + i, .bits = UINT64_C(0x7ff0000000000001) + i * 7919};
    }
    assert_ok(hx_put(h, s, 121, TSDB_DURABILITY_BUFFERED, NULL));
}

static void note_sample(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                        enum tsdb_sample_kind kind, uint64_t bits,
                        const struct tsdb_histogram *histogram)
{
    uint64_t *hash = arg;
    uint64_t v = kind == TSDB_SAMPLE_FLOAT ? bits : tsdb_double_bits(histogram->sum);
    uint64_t row[5] = {series, (uint64_t)t_ms, (uint64_t)start_ms, (uint64_t)kind, v};
    *hash = *hash * 31 + tsdb_hash64_plain(row, sizeof row);
}

static uint64_t hash_all(struct hx *h)
{
    struct tsdb_error err = {0};
    uint64_t hash = 0;
    assert_ok_err(hx_visit(h, note_sample, &hash, &err), &err);
    return hash;
}

static uint32_t make_raw(uint8_t *out)
{
    struct tsdb_histogram v = {.schema = 1, .sum = -0.0};
    return (uint32_t)tsdb_histogram_encode(&v, out);
}

static void sealer_step__every_kind__reads_the_same_from_files(void **state)
{
    struct hx *h = *state;
    uint8_t raw[128];
    fill_all_kinds(h, raw, make_raw(raw));
    uint64_t before = hash_all(h);
    assert_true(head_raw_pending(head_of(h, 1)) >= 2);
    assert_true(tsdb_seal_step(h->db, h->clock.mono_ns) > 0);
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).in_files, 0); /* the owner has not looked yet */
    hx_settle(h);
    assert_int_equal(head_raw_pending(head_of(h, 1)), 0);
    struct counted c = count(h, 1, HEAD_VIEW_NONE);
    assert_int_equal(c.all, 4);
    assert_int_equal(c.in_files, 2);
    assert_int_equal(c.late, 1);
    assert_int_equal(hash_all(h), before);
    assert_valid(h);
    seal_open(h, INT64_MAX);
    seal_all(h);
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).in_files, 4);
    assert_int_equal(count(h, 3, HEAD_VIEW_NONE).in_files, 2);
    assert_int_equal(hash_all(h), before);
    put(h, 1, T0 + 45000, 1); /* goes on with a new tail */
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).all, 5);
    assert_valid(h);
}

static void sealer_step__nothing_for_a_while__its_buffer_goes(void **state)
{
    struct hx *h = *state;
    put(h, 1, T0, 1);
    seal_open(h, INT64_MAX);
    seal_all(h);
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).in_files, 1);
    uint64_t held = tsdb_mem_used(TSDB_MEM_OTHER);
    assert_int_equal(tsdb_seal_step(h->db, h->clock.mono_ns), 0);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_OTHER), held);
    assert_int_equal(tsdb_seal_step(h->db, h->clock.mono_ns + INT64_C(6000000000)), 0);
    assert_true(tsdb_mem_used(TSDB_MEM_OTHER) < held);
    put(h, 1, T0 + 15000, 2);
    seal_open(h, INT64_MAX);
    seal_all(h);
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).in_files, 2);
    assert_valid(h);
}

static void owner_job_seal__before__leaves_later_windows_open(void **state)
{
    struct hx *h = *state;
    put(h, 1, T0 + 5, 1);
    put(h, 2, T0 + RANGE, 1);
    put(h, 3, T0 + 2 * RANGE, 1);
    put(h, 3, T0 + 1, 1); /* late */
    seal_open(h, T0 + 2 * RANGE);
    seal_all(h);
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).in_files, 1);
    assert_int_equal(count(h, 2, HEAD_VIEW_NONE).in_files, 1);
    assert_int_equal(count(h, 3, HEAD_VIEW_NONE).in_files, 1);
    assert_int_equal(count(h, 3, HEAD_VIEW_NONE).all, 2);
    assert_valid(h);
}

/* The least window over all partitions. */
static bool oldest(struct hx *h, int64_t before_ms, int64_t *out)
{
    bool found = false;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        struct head_span w;
        if (head_window_next(h->db->heads[i], INT64_MIN, before_ms, &w)) {
            *out = found ? TSDB_MIN(*out, w.begin_ms) : w.begin_ms;
            found = true;
        }
    }
    return found;
}

struct flush {
    struct hx *h;
    int64_t window_ms;
    uint64_t view;
    uint32_t flushed;
};
static void flush_one(void *arg, tsdb_series_ref series, uint32_t at, struct head_sealed *s)
{
    struct flush *f = arg;
    (void)at;
    if (sealed_window(s->min_ms, RANGE) != f->window_ms) {
        return;
    }
    f->flushed += head_sealed_flushed(f->h->db->heads[tsdb_series_partition(series)],
                                      tsdb_series_local(series), s, f->view);
}
static uint32_t flush_window(struct hx *h, int64_t window_ms, uint64_t view)
{
    struct flush f = {h, window_ms, view, 0};
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        head_sealed_visit(h->db->heads[i], h->db->epoch, 0, UINT32_MAX, flush_one, &f);
    }
    return f.flushed;
}

static void head_window_next__through_the_life_of_samples__follows(void **state)
{
    struct hx *h = *state;
    int64_t w = 0;
    assert_false(oldest(h, INT64_MAX, &w));
    put(h, 1, T0 + 3 * RANGE + 5, 1);
    assert_true(oldest(h, INT64_MAX, &w));
    assert_int_equal(w, T0 + 3 * RANGE);
    assert_false(oldest(h, T0 + 3 * RANGE, &w)); /* "before" leaves itself out */
    put(h, 1, T0 + RANGE + 1, 1);                /* late */
    put(h, 1, T0 + RANGE + 2, 1);
    put(h, 1, T0 + 4 * RANGE, 1);
    assert_true(oldest(h, INT64_MAX, &w));
    assert_int_equal(w, T0 + RANGE);
    struct head_span next;
    assert_true(head_window_next(head_of(h, 1), w + RANGE, INT64_MAX, &next));
    assert_int_equal(next.begin_ms, T0 + 3 * RANGE);
    assert_int_equal(next.last_ms, T0 + 4 * RANGE - 1);
    seal_open(h, INT64_MAX);
    seal_all(h);
    assert_int_equal(flush_window(h, T0 + RANGE, 2), 1);
    assert_int_equal(flush_window(h, T0 + RANGE, 3), 0); /* once only */
    assert_true(oldest(h, INT64_MAX, &w));
    assert_int_equal(w, T0 + 3 * RANGE);
    assert_int_equal(head_drop_before(head_of(h, 1), 0, UINT32_MAX, T0 + 4 * RANGE), 2);
    assert_true(oldest(h, INT64_MAX, &w));
    assert_int_equal(w, T0 + 4 * RANGE);
    assert_int_equal(flush_window(h, T0 + 4 * RANGE, 3), 1);
    assert_false(oldest(h, INT64_MAX, &w));
}

/* What is old lies in the longest window that is old as a whole, counts go with it, and a tail goes on
 * across the borders of before. */
static void head_windows_age__samples_in_short_windows__become_part_of_long_ones(void **state)
{
    struct hx *h = *state;
    assert_ok(hx_close(h, NULL));
    h->options.old_range_max_ms = 9 * RANGE;
    int64_t now = (HX_WALL_MS / (27 * RANGE) + 1) * 27 * RANGE;
    tsdb_clock_sim_advance(&h->clock, now - HX_WALL_MS); /* nothing from here on is old */
    assert_ok(hx_open(h, NULL));
    put(h, 1, now + RANGE, 1);
    put(h, 1, now + 7 * RANGE, 1);
    put(h, 1, now + 2 * RANGE, 2); /* late */
    struct head_partition *p = head_of(h, 1);
    assert_int_equal(head_window_of(p, now + 4 * RANGE).begin_ms, now + 4 * RANGE);
    assert_int_equal(head_windows_due(p, INT64_MIN, INT64_MAX, false, NULL, 0), 3);
    assert_true(head_windows_age(p, now + 4 * RANGE));
    assert_int_equal(head_window_of(p, now + 2 * RANGE).begin_ms, now);
    assert_int_equal(head_window_of(p, now + 2 * RANGE).last_ms, now + 3 * RANGE - 1);
    assert_int_equal(head_window_of(p, now + 3 * RANGE).last_ms, now + 4 * RANGE - 1);
    assert_int_equal(head_window_of(p, now + 4 * RANGE).begin_ms, now + 4 * RANGE);
    struct head_window_due due[3];
    assert_int_equal(head_windows_due(p, INT64_MIN, now + 3 * RANGE, false, due, 3), 1);
    assert_int_equal(due[0].count, 2);
    assert_true(head_windows_age(p, now + 2 * RANGE)); /* never back */
    assert_int_equal(head_window_of(p, now + 2 * RANGE).begin_ms, now);
    assert_true(head_windows_age(p, now + 27 * RANGE));
    assert_int_equal(head_window_of(p, now + 8 * RANGE).begin_ms, now);
    assert_int_equal(head_windows_due(p, INT64_MIN, INT64_MAX, false, due, 3), 1);
    assert_int_equal(due[0].count, 3);
    put(h, 1, now + 8 * RANGE, 3); /* goes on where now + 7 * RANGE was */
    put(h, 1, now + 8 * RANGE + 1, 3);
    seal_open(h, INT64_MAX);
    seal_all(h);
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).all, 3); /* of before, of now, late */
    assert_int_equal(head_windows_due(p, INT64_MIN, INT64_MAX, false, due, 3), 1);
    assert_int_equal(due[0].count, 3);
    assert_int_equal(due[0].span.last_ms, now + 9 * RANGE - 1);
    assert_valid(h);
}

static void owner_job_sweep__flushed_chunks__go_when_no_view_needs_them(void **state)
{
    struct hx *h = *state;
    put_many(h, 1, T0, 20000, 9); /* three windows */
    seal_open(h, INT64_MAX);
    seal_all(h);
    assert_int_equal(flush_window(h, T0, 2), 1);
    assert_int_equal(flush_window(h, T0 + RANGE, 5), 1);
    assert_int_equal(samples(h, 1, HEAD_VIEW_NONE), 9);
    assert_int_equal(samples(h, 1, 1), 9);
    assert_int_equal(samples(h, 1, 2), 6);
    assert_int_equal(samples(h, 1, 4), 6);
    assert_int_equal(samples(h, 1, 5), 3);
    assert_int_equal(samples(h, 1, HEAD_VIEW_ALL), 3);
    struct owner *o = &h->db->owners[0];
    owner_job_request(o, OWNER_JOB_SWEEP, 4);
    while (!owner_job_done(o, OWNER_JOB_SWEEP, NULL)) {
        owner_step(o, 0);
    }
    assert_int_equal(samples(h, 1, HEAD_VIEW_NONE), 6);
    assert_valid(h);
}

static void head_drop_before__sealer_has_the_chunk__freed_when_it_comes_back(void **state)
{
    struct hx *h = *state;
    put_many(h, 1, T0, 100, 130);
    put(h, 1, T0 + 5 * RANGE, 1);
    assert_true(tsdb_seal_step(h->db, h->clock.mono_ns) == 2); /* in the mailbox */
    assert_int_equal(head_drop_before(head_of(h, 1), 0, UINT32_MAX, T0 + 2 * RANGE), 2);
    assert_int_equal(samples(h, 1, HEAD_VIEW_NONE), 1);
    hx_settle(h);
    assert_int_equal(head_raw_pending(head_of(h, 1)), 0);
    assert_int_equal(samples(h, 1, HEAD_VIEW_NONE), 1);
    /* And one that is never given back: teardown finds no memory left. */
    put_many(h, 1, T0 + 5 * RANGE + 1, 100, 130);
    assert_int_equal(head_drop_before(head_of(h, 1), 0, UINT32_MAX, T0 + 6 * RANGE), 1);
    assert_valid(h);
}

static void sealer_step__disk_fails__chunks_stay_and_go_to_the_next_file(void **state)
{
    struct hx *h = *state;
    put_many(h, 1, T0, 100, 200);
    uint64_t before = hash_all(h);
    for (uint64_t op = 1; op <= 6; op++) { /* open, header, sync, sync_dir, append, sync */
        tsdb_fs_sim_fault(h->sim, TSDB_FAULT_EIO, op, 1);
        size_t n = tsdb_seal_step(h->db, h->clock.mono_ns);
        tsdb_fs_sim_fault(h->sim, TSDB_FAULT_NONE, 1, 0);
        hx_settle(h);
        assert_int_equal(hash_all(h), before);
        if (n > 0) {
            assert_true(op > 2); /* each failure had a file of its own */
            return;
        }
        assert_int_equal(tsdb_seal_step(h->db, h->clock.mono_ns), 0); /* the pause */
        tsdb_clock_sim_advance(&h->clock, 5000);
    }
    struct sealer_stats s;
    sealer_stats(h->db->sealer, &s);
    assert_int_equal(s.failures, 6);
    seal_all(h);
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).in_files, 1);
    assert_int_equal(hash_all(h), before);
    struct head_files_stats fs;
    head_files_stats(h->db->head_files, &fs);
    assert_int_equal(fs.files, 3); /* the two whose appends failed are there, with what they have */
    assert_ok(tsdb_checkpoint(h->db, NULL));
    head_files_stats(h->db->head_files, &fs);
    assert_int_equal(fs.files, 1);
}

static void head_read__chunk_damaged__corrupt_with_file_and_offset(void **state)
{
    struct hx *h = *state;
    put_many(h, 1, T0, 100, 130);
    put_many(h, 2, T0, 100, 100);
    seal_all(h);
    tsdb_fs_sim_flip(h->sim, "head/00000001", HEAD_FILE_HEADER_BYTES, HEAD_FILE_HEADER_BYTES + 8,
                     1);
    struct tsdb_columns c;
    struct tsdb_arena arena;
    struct tsdb_error err = {0};
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_int_equal(
        head_read(head_of(h, 1), local_of(h, 1), TSDB_TIME_ALL, HEAD_VIEW_NONE, &arena, &c, &err),
        TSDB_CORRUPT);
    assert_non_null(strstr(err.msg, "head/00000001 at byte 32"));
    struct tsdb_time_range newer = {T0 + 12000, INT64_MAX};
    assert_ok(head_read(head_of(h, 1), local_of(h, 1), newer, HEAD_VIEW_NONE, &arena, &c, NULL));
    assert_int_equal(c.count, 10);
    tsdb_arena_deinit(&arena);
    assert_int_equal(samples(h, 2, HEAD_VIEW_NONE), 100);
    struct head_files_stats s;
    head_files_stats(h->db->head_files, &s);
    assert_int_equal(s.read_failures, 1);
}

static void put_chunks(struct hx *h, uint32_t series, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        put_many(h, series, T0 + i * RANGE, 400, 120);
    }
}

static void restart__checkpoint_refers_to_files__all_back_and_in_files(void **state)
{
    struct hx *h = *state;
    uint8_t raw[128];
    h->options.head_file_bytes_max = 1; /* a file for each batch */
    struct tsdb_error err = {0};
    assert_ok(hx_close(h, NULL));
    open_with(h, RANGE);
    fill_all_kinds(h, raw, make_raw(raw));
    seal_all(h);
    put_chunks(h, 4, 4);
    seal_all(h);
    seal_open(h, T0 + 2 * RANGE);
    uint64_t before = hash_all(h);
    assert_ok(tsdb_checkpoint(h->db, NULL));
    put_many(h, 5, T0, 100, 250); /* sealed to a file that no checkpoint knows: from the log */
    seal_all(h);
    uint64_t after = hash_all(h);
    assert_true(before != after);
    uint64_t next = head_files_next_number(h->db->head_files);
    struct head_files_stats fs;
    for (int crash = 0; crash < 2; crash++) {
        hx_die(h, crash != 0);
        assert_ok_err(hx_open(h, &err), &err);
        for (uint32_t i = 1; i <= 5; i++) { /* learn the refs again */
            put(h, i, T0 + i, (double)(T0 + i));
        }
        assert_int_equal(count(h, 4, HEAD_VIEW_NONE).in_files, 3);
        assert_int_equal(count(h, 1, HEAD_VIEW_NONE).late, 1);
        assert_int_equal(count(h, 5, HEAD_VIEW_NONE).in_files, 0);
        assert_valid(h);
        head_files_stats(h->db->head_files, &fs);
        assert_int_equal(fs.files, 2);
        assert_true(head_files_next_number(h->db->head_files) >= next - 1);
    }
    assert_int_equal(samples(h, 4, HEAD_VIEW_NONE), 481);
    assert_int_equal(samples(h, 5, HEAD_VIEW_NONE), 251);
}

static void restart__other_block_range__chunks_of_two_windows_are_cut_anew(void **state)
{
    struct hx *h = *state;
    struct tsdb_error err = {0};
    put_chunks(h, 4, 3);
    put_many(h, 4, T0 + 7, 900, 130); /* late, over two windows */
    seal_open(h, INT64_MAX);
    seal_all(h);
    uint64_t before = hash_all(h);
    assert_ok_err(hx_close(h, &err), &err);
    open_with(h, RANGE / 7);
    assert_valid(h);
    assert_int_equal(hash_all(h), before);
    seal_open(h, INT64_MAX);
    seal_all(h);
    assert_ok_err(hx_close(h, &err), &err);
    open_with(h, RANGE * 3);
    assert_valid(h);
    assert_int_equal(hash_all(h), before);
}

static void restart__file_gone_or_cut__the_rest_serves_and_it_is_counted(void **state)
{
    struct hx *h = *state;
    struct tsdb_error err = {0};
    put_chunks(h, 4, 1);
    put(h, 4, T0 + RANGE, 1);
    seal_all(h);
    put_chunks(h, 5, 1);
    put(h, 5, T0 + RANGE, 1);
    assert_ok_err(hx_close(h, &err), &err);
    assert_ok(h->options.fs.ops->unlink(h->options.fs.ctx, "head/00000001", NULL));
    open_with(h, RANGE);
    assert_int_equal(h->db->life->recovered.lost_chunks, 1);
    assert_int_equal(hx_count(h), 1 + 121);
}

/* What was accepted first is shown, wherever it lies. */
static void head_read__conflict_against_a_file__first_written_wins(void **state)
{
    struct hx *h = *state;
    put_many(h, 1, T0, 100, 100);
    uint64_t before = hash_all(h);
    struct hx_sample s = hx_float(1, T0 + 200, 42);
    struct tsdb_write_result r;
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_BUFFERED, &r));
    assert_int_equal(r.rejected[TSDB_REJECT_DUPLICATE], 1);
    seal_open(h, INT64_MAX);
    seal_all(h);
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_BUFFERED, &r)); /* nobody looks at the disk */
    assert_int_equal(r.samples_written, 1);
    assert_int_equal(hash_all(h), before);
    for (int i = 0; i < 2; i++) {
        seal_open(h, INT64_MAX);
        seal_all(h);
        assert_int_equal(hash_all(h), before);
        assert_valid(h);
        assert_ok(hx_close(h, NULL));
        open_with(h, RANGE);
        assert_int_equal(hash_all(h), before);
    }
}

/* A chunk in a file is cut anew and lies in memory again, in front of a later chunk in a file with
 * the same time: it stays in front, through checkpoints, whether it came in order or late. */
static void restart__cut_anew_before_a_later_chunk__first_written_wins(void **state)
{
    struct hx *h = *state;
    put(h, 2, T0 + 2 * RANGE, 1); /* what series 2 gets now is late */
    for (uint32_t series = 1; series <= 2; series++) {
        put_many(h, series, T0, 900, 60);
        seal_open(h, INT64_MAX);
        seal_all(h);
        put(h, series, T0 + 59 * 900, 42);
        seal_open(h, INT64_MAX);
        seal_all(h);
    }
    for (int i = 0; i < 3; i++) {
        put(h, 3, T0 + i, 1); /* or there would be no new checkpoint */
        uint64_t before = hash_all(h);
        assert_ok(hx_close(h, NULL));
        open_with(h, RANGE / 6);
        assert_valid(h);
        assert_int_equal(hash_all(h), before);
    }
}

static void head_files__doomed__wait_for_guards_and_readers(void **state)
{
    struct hx *h = *state;
    struct head_files *files = h->db->head_files;
    put_chunks(h, 1, 1);
    put(h, 1, T0 + 9 * RANGE, 1);
    seal_all(h);
    struct head_file *f = head_files_find(files, 1);
    assert_non_null(f);
    sealer_destroy(h->db->sealer); /* it lets go of its file */
    struct sealer_options o = {files, h->db->heads, h->db->owners, h->db->owner_of, 1};
    assert_ok(sealer_create(&o, &h->db->sealer));
    assert_ok(tsdb_checkpoint(h->db, NULL));
    assert_ptr_equal(head_files_find(files, 1), f); /* a chunk refers to it */
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(h->db->epoch, &guard);
    assert_int_equal(head_drop_before(head_of(h, 1), 0, UINT32_MAX, T0 + 2 * RANGE), 1);
    head_files_mark(files, 2);
    head_files_collect(files, "quarantine", 1); /* the checkpoint still refers to it */
    assert_ptr_equal(head_files_find(files, 1), f);
    head_files_mark(files, 3);
    head_files_doom(files, 1); /* 3 is there, 2 failed, 1 is kept and has it */
    assert_int_equal(head_files_collect(files, "quarantine", 1), 0);
    assert_ptr_equal(head_files_find(files, 1), f);
    head_files_doom(files, 3);
    assert_int_equal(head_files_collect(files, "quarantine", 1),
                     0); /* the guard may have found it */
    head_file_acquire(f);
    tsdb_epoch_exit(h->db->epoch, &guard);
    assert_int_equal(head_files_collect(files, "quarantine", 1), 0); /* and did */
    head_file_release(f);
    assert_int_equal(head_files_collect(files, "quarantine", 1), 1);
    assert_null(head_files_find(files, 1));
    struct tsdb_file_info info;
    assert_int_equal(h->options.fs.ops->stat(h->options.fs.ctx, "head/00000001", &info, NULL),
                     TSDB_NOT_FOUND);
}

/* Whatever allocation fails, sealing is all or nothing and the counts stay right. */
static void seal__nth_allocation_fails__nothing_is_half_done(void **state)
{
    struct hx *h = *state;
    put(h, 1, T0 + 30 * RANGE / 2, 1);
    put_many(h, 1, T0, 7000, 100); /* late, over twelve windows */
    uint64_t before = hash_all(h);
    for (uint64_t nth = 1;; nth++) {
        tsdb_alloc_fail_nth(nth, 0);
        seal_open(h, INT64_MAX);
        while (tsdb_seal_step(h->db, h->clock.mono_ns) > 0) {
            owner_step(&h->db->owners[0], 0);
        }
        bool all = tsdb_alloc_fail_count() < nth;
        tsdb_alloc_ops_set(NULL);
        tsdb_clock_sim_advance(&h->clock, 5000);
        assert_valid(h);
        assert_int_equal(hash_all(h), before);
        if (all) {
            break;
        }
    }
    assert_int_equal(count(h, 1, HEAD_VIEW_NONE).in_files, 13);
    int64_t w;
    for (int64_t at = T0; at < T0 + 12 * RANGE; at += RANGE) {
        assert_true(oldest(h, INT64_MAX, &w));
        assert_int_equal(w, at);
        assert_int_equal(flush_window(h, w, 2), 1);
    }
    assert_true(oldest(h, INT64_MAX, &w));
    assert_int_equal(flush_window(h, w, 2), 1);
    assert_false(oldest(h, INT64_MAX, &w));
}

/* ---- bundles ---- */

#define BUNDLE_TEST_SERIES 250u /* some four in a partition */

/* Constants, counters and full mantissas, at times of their own; none that is the same twice. */
static void put_round(struct hx *h, uint32_t round)
{
    static struct hx_sample s[HX_SAMPLES_MAX];
    for (uint32_t i = 0; i < BUNDLE_TEST_SERIES; i++) {
        double value = i % 3 == 0 ? i : i % 3 == 1 ? round * (double)i : (round + 1.0) / (i + 7);
        s[i] = hx_float(i, T0 + round * INT64_C(1000) + i % 4, value);
    }
    assert_ok(hx_put(h, s, BUNDLE_TEST_SERIES, TSDB_DURABILITY_BUFFERED, NULL));
}

struct bundles_seen {
    uint32_t chunks, wide; /* in files; those of several series */
    uint64_t taken_of;     /* mark this share of the series, of 64 */
    struct hx *h;
    uint32_t flushed;
};
static void see_bundle(void *arg, tsdb_series_ref series, uint32_t at, struct head_sealed *s)
{
    struct bundles_seen *b = arg;
    uint32_t local = tsdb_series_local(series);
    (void)at;
    if (s->mask == 0 || local % BUNDLE_SERIES != (uint32_t)__builtin_ctzll(s->mask)) {
        return; /* each once */
    }
    b->chunks++;
    b->wide += (s->mask & (s->mask - 1)) != 0;
}
static struct bundles_seen see_bundles(struct hx *h)
{
    struct bundles_seen b = {.h = h};
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        head_sealed_visit(h->db->heads[i], h->db->epoch, 0, UINT32_MAX, see_bundle, &b);
    }
    return b;
}

/* By budget and at the end of windows, before and after a restart by a checkpoint that was written while
 * some waited for the sealer. */
static void bundles__sealed_and_loaded__bit_exact(void **state)
{
    struct hx *h = *state;
    struct tsdb_error err = {0};
    assert_ok(hx_close(h, NULL));
    h->options.head_bundle_bytes = 600;
    open_with(h, RANGE);
    for (uint32_t round = 0; round < 90; round++) {
        put_round(h, round);
        if (round == 40 || round == 70) {
            seal_all(h);
        }
    }
    uint64_t before = hash_all(h);
    assert_valid(h);
    struct bundles_seen seen = see_bundles(h);
    assert_true(seen.wide > 64 && seen.wide * 10 > seen.chunks * 9);
    assert_ok(tsdb_checkpoint(h->db, NULL));
    put_round(h, 90);
    uint64_t after = hash_all(h);
    assert_true(before != after);
    for (int crash = 0; crash < 2; crash++) {
        hx_die(h, crash != 0);
        assert_ok_err(hx_open(h, &err), &err);
        assert_int_equal(hash_all(h), after);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_HEAD) > 0, true);
        assert_valid(h);
        assert_int_equal(see_bundles(h).wide, seen.wide);
    }
    put_round(h, 91); /* in order: what lies in bundles tells the newest times */
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        assert_int_equal(atomic_load(&head_counters(h->db->heads[i])->out_of_order), 0);
    }
    seal_all(h);
    assert_valid(h);
    /* What is there in memory is refused, or no news, as ever. */
    struct hx_sample again = hx_float(1, T0 + 91 * INT64_C(1000) + 1, 91);
    struct tsdb_write_result r = {0};
    assert_ok(hx_put(h, &again, 1, TSDB_DURABILITY_BUFFERED, &r));
    assert_int_equal(r.samples_written, 1);
    again = hx_float(1, T0 + 91 * INT64_C(1000) + 1, 92);
    (void)hx_put(h, &again, 1, TSDB_DURABILITY_BUFFERED, &r);
    assert_int_equal(r.rejected[TSDB_REJECT_DUPLICATE], 1);
}

/* A series of the bundle at the beginning of the first file. */
static void first_bundle(void *arg, tsdb_series_ref series, uint32_t at, struct head_sealed *s)
{
    tsdb_series_ref *found = arg;
    (void)at;
    if (s->mask != 0 && s->file &&
        head_sealed_place(s, (uint8_t)tsdb_series_partition(series), tsdb_series_local(series))
                .offset == HEAD_FILE_HEADER_BYTES) {
        *found = series;
    }
}

/* Of a file that is longer than a page of the cache, whose pages are read as they lie there. */
static void bundles__head_damaged__found_each_time_and_the_rest_is_read(void **state)
{
    struct hx *h = *state;
    tsdb_series_ref series = UINT32_MAX;
    struct tsdb_columns c;
    struct tsdb_arena arena;
    assert_ok(hx_close(h, NULL));
    h->options.head_bundle_bytes = 600;
    open_with(h, RANGE);
    for (uint32_t round = 0; round < 120; round++) {
        put_round(h, round);
    }
    seal_all(h);
    struct head_files_stats s;
    head_files_stats(h->db->head_files, &s);
    assert_true(s.files == 1 && s.bytes > CACHE_L2_FRAME_BYTES);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        head_sealed_visit(h->db->heads[i], h->db->epoch, 0, UINT32_MAX, first_bundle, &series);
    }
    assert_true(series != UINT32_MAX);
    const struct head_partition *head = h->db->heads[tsdb_series_partition(series)];
    uint32_t local = tsdb_series_local(series);
    /* The value that the first stream begins with: its tokens and their checksum know nothing of it. */
    tsdb_fs_sim_flip(h->sim, "head/00000001", HEAD_FILE_HEADER_BYTES + 48,
                     HEAD_FILE_HEADER_BYTES + 56, 1);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(head_read(head, local, TSDB_TIME_ALL, HEAD_VIEW_NONE, &arena, &c, NULL),
                         TSDB_CORRUPT);
        head_files_stats(h->db->head_files, &s);
        assert_int_equal(s.read_failures, i);
    }
    struct tsdb_time_range newest = {T0 + 119 * INT64_C(1000), INT64_MAX};
    for (uint32_t i = 0; i < 2; i++) {
        assert_ok(head_read(head, local, newest, HEAD_VIEW_NONE, &arena, &c, NULL));
        assert_int_equal(c.count, 1);
    }
    tsdb_arena_deinit(&arena);
}

/* Windows of another length: bundles of two of them are cut anew. */
static void bundles__loaded_into_shorter_windows__bit_exact(void **state)
{
    struct hx *h = *state;
    struct tsdb_error err = {0};
    for (uint32_t round = 0; round < 50; round++) {
        put_round(h, round);
    }
    seal_open(h, INT64_MAX);
    seal_all(h);
    uint64_t before = hash_all(h);
    assert_ok(tsdb_checkpoint(h->db, NULL));
    hx_die(h, true);
    h->options.block_range_ms = 7000;
    assert_ok_err(hx_open(h, &err), &err);
    assert_int_equal(hash_all(h), before);
    assert_valid(h);
    put_round(h, 50);
    seal_all(h);
    assert_valid(h);
}

static void take_some(void *arg, tsdb_series_ref series, uint32_t at, struct head_sealed *s)
{
    struct bundles_seen *b = arg;
    uint32_t local = tsdb_series_local(series);
    (void)at;
    if (local % 2 == b->taken_of) {
        b->flushed +=
            head_sealed_flushed(b->h->db->heads[tsdb_series_partition(series)], local, s, 2);
    }
}

/* A bundle is flushed when the last of its series is in a block, not before. */
static void bundles__some_series_wait__stay_until_all_are_in_blocks(void **state)
{
    struct hx *h = *state;
    for (uint32_t round = 0; round < 20; round++) {
        put_round(h, round);
    }
    seal_open(h, INT64_MAX);
    seal_all(h);
    uint64_t before = hash_all(h);
    uint32_t chunks = see_bundles(h).chunks;
    uint32_t flushed = 0;
    for (uint32_t half = 0; half < 2; half++) {
        struct bundles_seen b = {.h = h, .taken_of = half};
        for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
            head_sealed_visit(h->db->heads[i], h->db->epoch, 0, UINT32_MAX, take_some, &b);
        }
        flushed += b.flushed;
        if (half == 0) {
            assert_true(flushed < chunks / 2); /* those of one series */
            assert_int_equal(hash_all(h), before);
        }
    }
    assert_int_equal(flushed, chunks);
    int64_t w;
    assert_false(oldest(h, INT64_MAX, &w));
    uint64_t swept = 0;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        swept += head_sweep(h->db->heads[i], 0, UINT32_MAX, 2);
    }
    assert_int_equal(swept, chunks);
    assert_valid(h);
}

struct numbers_seen {
    uint32_t count, numbers[4];
};
static void note_number(void *arg, const struct head_sealed *s)
{
    struct numbers_seen *n = arg;
    assert_true(n->count < TSDB_ARRAY_LEN(n->numbers));
    n->numbers[n->count++] = s->seq;
}

/* A checkpoint looks at a list while its owner swaps: the first one was seen to wait, the second one not
 * any more. What came to files meanwhile comes later, all of it. */
static void head_bundle_visit__swapped_while_it_looks__leaves_none_out(void **state)
{
    struct hx *h = *state;
    for (uint32_t i = 0; i < 2; i++) {
        put(h, 1, T0 + i, i);
        seal_open(h, INT64_MAX);
    }
    struct head_partition *p = head_of(h, 1);
    assert_int_equal(tsdb_seal_step(h->db, h->clock.mono_ns), 2);
    struct head_raw_chunk *second = atomic_exchange(&h->db->owners[0].mailbox, NULL);
    assert_non_null(second);
    struct head_raw_chunk *first = second->next;
    assert_non_null(first);
    struct numbers_seen seen = {0};
    head_sealed_swap(p, second);
    uint32_t newest =
        head_bundle_visit(p, h->db->epoch, local_of(h, 1), HEAD_BUNDLE_ALL, note_number, &seen);
    head_sealed_swap(p, first);
    newest = head_bundle_visit(p, h->db->epoch, local_of(h, 1), newest, note_number, &seen);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.numbers[0], 1);
    assert_int_equal(seen.numbers[1], 2);
    assert_int_equal(newest, 2);
    newest = head_bundle_visit(p, h->db->epoch, local_of(h, 1), newest, note_number, &seen);
    assert_int_equal(seen.count, 2);
    assert_int_equal(newest, 2);
    assert_int_equal(samples(h, 1, HEAD_VIEW_NONE), 2);
}

/* docs/format/head-chunks.md shows these bytes. */
static void sealer_step__one_chunk__golden_file(void **state)
{
    struct hx *h = *state;
    for (int64_t i = 0; i < 4; i++) {
        put(h, 1, T0 + i * 15000, 2.5);
    }
    seal_open(h, INT64_MAX);
    seal_all(h);
    uint8_t *data = NULL;
    size_t len = 0;
    assert_ok(tsdb_file_read_all(&h->options.fs, "head/00000001", 4096, TSDB_MEM_OTHER, &data, &len,
                                 NULL));
    static const uint8_t golden[] = {
        0x54, 0x44, 0x4c, 0x48, 0x45, 0x41, 0x44, 0x43, 0x03, 0x00, 0x00, 0x00, 0x1b, 0x6f,
        0xfb, 0x58, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xda, 0x9c, 0xa3, 0x4a,
        0xd6, 0xd4, 0x67, 0x0b, 0x3c, 0x00, 0x00, 0x00, 0x01, 0x15, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x79, 0xc1, 0xcf, 0x17, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x60, 0xca, 0xd2, 0xcf, 0x8b, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc8, 0xaf,
        0x00, 0x00, 0x04, 0x00, 0x04, 0x00, 0x14, 0xc4, 0x4f, 0x8c, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x04, 0x40, 0x3b, 0x98, 0x75, 0x00};
    assert_int_equal(len, sizeof golden);
    assert_memory_equal(data, golden, sizeof golden);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    /* And the reference in a checkpoint, as docs/format/checkpoint.md shows it. */
    static const uint8_t reference[] = {
        0x00, 0x28, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0xc0, 0xa9, 0x96, 0xfd,
        0xf9, 0x62, 0xc8, 0xdf, 0x02, 0x01, 0x1b, 0x6f, 0xfb, 0x58, 0x20, 0x3c, 0x00, 0x20, 0x01,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xd0, 0xe8, 0x9b, 0xfd, 0xf9, 0x62};
    assert_ok(tsdb_checkpoint(h->db, NULL));
    assert_ok(tsdb_file_read_all(&h->options.fs, "checkpoint/00000001", 8192, TSDB_MEM_OTHER, &data,
                                 &len, NULL));
    size_t name = 1 + 4; /* in a page of its own, in front */
    assert_memory_equal(data + CHECKPOINT_HEADER_BYTES + 2 * CHECKPOINT_PAGE_HEADER_BYTES + name,
                        reference, sizeof reference);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* More pages of the cache than one read may hold. */
static void head_read__more_bundles_than_pages_it_may_hold__bit_exact(void **state)
{
    struct hx *h = *state;
    enum {
        ROUNDS = 40,
        SERIES = 30
    };
    for (uint32_t r = 0; r < ROUNDS; r++) {
        for (uint32_t s = 1; s <= SERIES; s++) {
            put_many(h, s, T0 + r * 20000, 100, 130);
        }
        uint64_t before = hash_all(h);
        seal_open(h, INT64_MAX);
        seal_all(h);
        assert_true(hash_all(h) == before);
    }
    struct cache_l2_stats stats;
    struct head_files_stats files;
    head_files_stats(h->db->head_files, &files);
    assert_true(files.bytes >
                4 * (uint64_t)CACHE_L2_FRAME_BYTES); /* whole pages, which are cached */
    struct counted c = count(h, 1, HEAD_VIEW_NONE);
    assert_true(c.in_files >= ROUNDS && c.in_files == c.all);
    assert_int_equal(samples(h, 1, HEAD_VIEW_NONE), ROUNDS * 130);
    cache_l2_stats(h->db->cache_l2, &stats);
    assert_true(stats.hits > 0);
    assert_int_equal(stats.frames_pinned, 0);
}

static const struct CMUnitTest tests[] = {
    T(seal__late_samples__leave_the_set_with_their_chunks),
    cmocka_unit_test(sealed_window__edges__floor_without_overflow),
    T(append__boundary_crossed__chunks_lie_in_one_window),
    T(sealer_step__every_kind__reads_the_same_from_files),
    T(sealer_step__nothing_for_a_while__its_buffer_goes),
    T(owner_job_seal__before__leaves_later_windows_open),
    T(head_window_next__through_the_life_of_samples__follows),
    T(head_windows_age__samples_in_short_windows__become_part_of_long_ones),
    T(owner_job_sweep__flushed_chunks__go_when_no_view_needs_them),
    T(head_drop_before__sealer_has_the_chunk__freed_when_it_comes_back),
    T(sealer_step__disk_fails__chunks_stay_and_go_to_the_next_file),
    T(head_read__chunk_damaged__corrupt_with_file_and_offset),
    T(restart__checkpoint_refers_to_files__all_back_and_in_files),
    T(restart__other_block_range__chunks_of_two_windows_are_cut_anew),
    T(restart__file_gone_or_cut__the_rest_serves_and_it_is_counted),
    T(head_read__conflict_against_a_file__first_written_wins),
    T(restart__cut_anew_before_a_later_chunk__first_written_wins),
    T(head_files__doomed__wait_for_guards_and_readers),
    T(bundles__sealed_and_loaded__bit_exact),
    T(bundles__head_damaged__found_each_time_and_the_rest_is_read),
    T(bundles__loaded_into_shorter_windows__bit_exact),
    T(bundles__some_series_wait__stay_until_all_are_in_blocks),
    T(head_bundle_visit__swapped_while_it_looks__leaves_none_out),
    T(head_read__more_bundles_than_pages_it_may_hold__bit_exact),
    T(sealer_step__one_chunk__golden_file),
    T(seal__nth_allocation_fails__nothing_is_half_done),
};

TEST_MAIN(tests)
