/* Metadata of metrics on disk: what was told is there after a restart, with the time of its first, and
 * damage costs nothing else. */
#include "tests/support/golden.h"
#include "tests/support/test.h"

#include "tests/support/tsdb/harness.h"
#include "tsdb/recovery/metadata_file.h"

#define RECORDS 5u
#define LATER   (INT64_C(11) * 1000 * 1000 * 1000)

static struct tsdb_slice text(const char *s)
{
    return (struct tsdb_slice){(const uint8_t *)s, strlen(s)};
}

static struct tsdb_metadata record(uint32_t i)
{
    static const char *const names[RECORDS] = {"up", "rpc_seconds", "größe", "x", "build_info"};
    return (struct tsdb_metadata){
        .metric = text(names[i]),
        .help = text(i == 3 ? "" : "What it \"says\"\n."),
        .unit = text(i == 1 ? "seconds" : ""),
        .type = (enum tsdb_metric_type)(i + 1),
        .first_seen_ms = HX_WALL_MS - (int64_t)i * 1000,
    };
}

static void write_records(struct tsdb_buf *out)
{
    tsdb_buf_init(out, TSDB_MEM_OTHER, 0);
    metadata_file_begin(out);
    for (uint32_t i = 0; i < RECORDS; i++) {
        struct tsdb_metadata m = record(i);
        metadata_file_put(out, &m);
    }
    metadata_file_end(out, RECORDS);
    assert_false(out->failed);
}

static bool same_text(struct tsdb_slice a, struct tsdb_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* In order, and never one that was not written. */
static enum tsdb_status expect_next(void *arg, const struct tsdb_metadata *m)
{
    uint32_t *n = arg;
    assert_true(*n < RECORDS);
    struct tsdb_metadata want = record(*n);
    assert_true(same_text(m->metric, want.metric) && same_text(m->help, want.help));
    assert_true(same_text(m->unit, want.unit));
    assert_int_equal(m->type, want.type);
    assert_int_equal(m->first_seen_ms, want.first_seen_ms);
    ++*n;
    return TSDB_OK;
}

static void metadata_file_parse__what_was_put__comes_back_as_in_the_golden_file(void **state)
{
    (void)state;
    struct tsdb_buf buf;
    struct tsdb_error err;
    uint32_t n = 0;
    write_records(&buf);
    golden_check("metadata/v1/metadata", buf.data, buf.len);
    golden_check_page("metadata/v1/metadata", "docs/format/metadata.md", "```hexdump", 0);
    assert_ok_err(metadata_file_parse(buf.data, buf.len, expect_next, &n, &err), &err);
    assert_int_equal(n, RECORDS);
    tsdb_buf_deinit(&buf);
}

static void metadata_file_parse__every_bit_and_every_cut__no_record_that_was_not_put(void **state)
{
    (void)state;
    struct tsdb_buf buf;
    write_records(&buf);
    for (size_t bit = 0; bit < buf.len * 8; bit++) {
        uint32_t n = 0;
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        enum tsdb_status status = metadata_file_parse(buf.data, buf.len, expect_next, &n, NULL);
        assert_int_equal(status, TSDB_CORRUPT);
        assert_true(n < RECORDS);
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < buf.len; len++) {
        uint32_t n = 0;
        assert_int_equal(metadata_file_parse(buf.data, len, expect_next, &n, NULL), TSDB_CORRUPT);
    }
    tsdb_buf_deinit(&buf);
}

static enum tsdb_status stop_at_two(void *arg, const struct tsdb_metadata *m)
{
    (void)m;
    return ++*(uint32_t *)arg == 2 ? TSDB_NOMEM : TSDB_OK;
}

static void metadata_file_parse__callback_fails__stops_with_its_status(void **state)
{
    (void)state;
    struct tsdb_buf buf;
    uint32_t n = 0;
    write_records(&buf);
    assert_int_equal(metadata_file_parse(buf.data, buf.len, stop_at_two, &n, NULL), TSDB_NOMEM);
    assert_int_equal(n, 2);
    tsdb_buf_deinit(&buf);
}

/* ---- in a database ---- */

static int setup(void **state)
{
    struct hx *h = calloc(1, sizeof *h);
    hx_init(h, 1);
    *state = h;
    return hx_open(h, NULL) == TSDB_OK ? 0 : -1;
}

static int teardown(void **state)
{
    hx_deinit(*state);
    free(*state);
    return 0;
}

struct seen {
    uint32_t count;
    int64_t first_seen_ms;
    enum tsdb_metric_type type;
};

static bool see(void *arg, const struct tsdb_metadata *m)
{
    struct seen *s = arg;
    s->count++;
    s->first_seen_ms = m->first_seen_ms;
    s->type = m->type;
    return true;
}

static struct seen seen_of(struct hx *h, const char *metric)
{
    struct seen s = {0};
    tsdb_metadata_visit(h->db, metric, see, &s);
    return s;
}

static void put(struct hx *h, const char *metric, enum tsdb_metric_type type)
{
    struct tsdb_metadata m = {.metric = text(metric), .help = text("help"), .type = type};
    assert_ok(tsdb_metadata_put(h->db, &m));
}

static void tsdb_open__after_a_clean_close__metadata_and_the_time_of_its_first(void **state)
{
    struct hx *h = *state;
    put(h, "up", TSDB_METRIC_GAUGE);
    assert_ok(hx_close(h, NULL));
    tsdb_clock_sim_advance(&h->clock, 5000);
    assert_ok(hx_open(h, NULL));
    assert_int_equal(seen_of(h, "up").first_seen_ms, HX_WALL_MS);
    put(h, "up", TSDB_METRIC_COUNTER); /* a change does not make it new */
    put(h, "new", TSDB_METRIC_COUNTER);
    assert_ok(hx_close(h, NULL));
    assert_ok(hx_open(h, NULL));
    assert_int_equal(seen_of(h, "up").type, TSDB_METRIC_COUNTER);
    assert_int_equal(seen_of(h, "up").first_seen_ms, HX_WALL_MS);
    assert_int_equal(seen_of(h, "new").first_seen_ms, HX_WALL_MS + 5000);
}

static void tsdb_open__after_a_kill_or_a_cut__what_the_step_wrote(void **state)
{
    struct hx *h = *state;
    for (uint32_t i = 0; i < 2; i++) {
        char name[8];
        snprintf(name, sizeof name, "m%u", i);
        put(h, name, TSDB_METRIC_GAUGE);
        assert_int_equal(tsdb_metadata_step(h->db, h->clock.mono_ns + LATER), 1);
        assert_int_equal(tsdb_metadata_step(h->db, h->clock.mono_ns + 2 * LATER), 0);
        put(h, "late", TSDB_METRIC_GAUGE);
        assert_int_equal(tsdb_metadata_step(h->db, h->clock.mono_ns), 0); /* too soon */
        hx_die(h, i == 1);
        assert_ok(hx_open(h, NULL));
        assert_int_equal(seen_of(h, name).count, 1);
        assert_int_equal(seen_of(h, "late").count, 0);
    }
}

static void tsdb_open__metadata_is_damaged__opens_and_writes_it_anew(void **state)
{
    struct hx *h = *state;
    put(h, "first", TSDB_METRIC_GAUGE);
    put(h, "second", TSDB_METRIC_GAUGE);
    assert_ok(hx_close(h, NULL));
    tsdb_fs_sim_flip(h->sim, METADATA_FILE_NAME, METADATA_FILE_HEADER_BYTES + 50, 1000, 1);
    assert_ok(hx_open(h, NULL));
    assert_int_equal(seen_of(h, "first").count, 1);
    assert_int_equal(seen_of(h, "second").count, 0);
    hx_die(h, false);
    assert_ok(hx_open(h, NULL));
    assert_int_equal(tsdb_metadata_step(h->db, h->clock.mono_ns + LATER), 1);
    hx_die(h, false);
    assert_ok(hx_open(h, NULL));
    assert_int_equal(tsdb_metadata_step(h->db, h->clock.mono_ns + LATER), 0); /* it is whole */
    assert_int_equal(seen_of(h, NULL).count, 1);
}

static void tsdb_metadata_step__disk_is_full__again_later(void **state)
{
    struct hx *h = *state;
    put(h, "m", TSDB_METRIC_GAUGE);
    tsdb_fs_sim_fault(h->sim, TSDB_FAULT_ENOSPC, 1, 100);
    assert_int_equal(tsdb_metadata_step(h->db, h->clock.mono_ns), 0);
    tsdb_fs_sim_fault(h->sim, TSDB_FAULT_NONE, 1, 1);
    assert_int_equal(tsdb_metadata_step(h->db, h->clock.mono_ns), 0);
    assert_int_equal(tsdb_metadata_step(h->db, h->clock.mono_ns + 4 * LATER), 1);
    hx_die(h, true);
    assert_ok(hx_open(h, NULL));
    assert_int_equal(seen_of(h, "m").count, 1);
}

#define T(name)  cmocka_unit_test(name)
#define DB(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static const struct CMUnitTest tests[] = {
    T(metadata_file_parse__what_was_put__comes_back_as_in_the_golden_file),
    T(metadata_file_parse__every_bit_and_every_cut__no_record_that_was_not_put),
    T(metadata_file_parse__callback_fails__stops_with_its_status),
    DB(tsdb_open__after_a_clean_close__metadata_and_the_time_of_its_first),
    DB(tsdb_open__after_a_kill_or_a_cut__what_the_step_wrote),
    DB(tsdb_open__metadata_is_damaged__opens_and_writes_it_anew),
    DB(tsdb_metadata_step__disk_is_full__again_later),
};

TEST_MAIN(tests)
