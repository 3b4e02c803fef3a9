/* A whole data directory as version 2 left it after a kill: VERSION, series.log, a checkpoint and
 * the log behind it, in tests/golden/data_dir/v2/. It must open for ever.
 * One of version 1, which was never released, is refused as it stands.
 * TSDB_GOLDEN_WRITE=<directory> writes one anew (for the next version). */
#include "tests/support/golden.h"
#include "tests/support/test.h"

#include "tests/support/tsdb/scene.h"

#define SERIES 10u
#define ROUNDS 5u /* the first three are in the checkpoint */

static const char *const files[][2] = {
    {"VERSION", "data_dir/v2/VERSION"},
    {"series.log", "data_dir/v2/series.log"},
    {"checkpoint/00000001", "data_dir/v2/checkpoint/00000001"},
    {"wal/00000002", "data_dir/v2/wal/00000002"},
};

static const uint64_t values[] = {0,
                                  UINT64_C(0x8000000000000000),
                                  TSDB_STALE_NAN_BITS,
                                  UINT64_C(0x7ff8dead0000beef),
                                  UINT64_C(0x40934a456d5cfaad),
                                  UINT64_C(0x4059000000000000)};

/* Sample of series i in round k: floats, one series of all kinds of histograms, one with start
 * timestamps. */
static struct hx_sample sample_of(const struct mx *m, uint32_t i, uint32_t k, uint8_t *out_raw)
{
    struct hx_sample s = {.series = i, .t_ms = HX_WALL_MS + k * 1000, .bits = values[(i + k) % 6]};
    *out_raw = (uint8_t)(k % MX_RAWS);
    if (i == 8) {
        s.kind = (enum tsdb_sample_kind)m->raw_kind[*out_raw];
        s.raw = m->raws[*out_raw];
        s.raw_len = m->raw_len[*out_raw];
    } else {
        *out_raw = 0;
    }
    if (i == 9) {
        s.start_ms = HX_WALL_MS - 5000;
    }
    return s;
}

static void put_round(struct mx *m, uint32_t k)
{
    struct hx_sample samples[SERIES];
    uint8_t raws[SERIES];
    for (uint32_t i = 0; i < SERIES; i++) {
        samples[i] = sample_of(m, i, k, &raws[i]);
    }
    assert_true(mx_submit(m, samples, raws, SERIES, TSDB_DURABILITY_STRICT));
    hx_settle(m->h);
    mx_reap(m);
}

/* Writes the golden files anew. */
static void write_golden(struct mx *m)
{
    struct hx *h = m->h;
    h->options.wal_segment_bytes = 1u << 12;
    assert_ok(hx_open(h, NULL));
    for (uint32_t k = 0; k < ROUNDS; k++) {
        put_round(m, k);
        if (k == 2) {
            assert_ok(tsdb_checkpoint(h->db, NULL));
        }
    }
    mx_die(m, false);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(files); i++) {
        uint8_t *data = NULL;
        size_t len = 0;
        assert_ok(tsdb_file_read_all(&h->options.fs, files[i][0], 1u << 20, TSDB_MEM_OTHER, &data,
                                     &len, NULL));
        size_t end = len;
        while (strncmp(files[i][0], "wal/", 4) == 0 && end > 16 && data[end - 17] == 0) {
            end--; /* zeroes behind the end mark say nothing */
        }
        golden_check(files[i][1], data, end);
        tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    }
}

/* Tell the model what the directory was made of. */
static void expect_all(struct mx *m)
{
    for (uint32_t i = 0; i < SERIES; i++) {
        for (uint32_t k = 0; k < ROUNDS; k++) {
            uint8_t raw;
            struct hx_sample s = sample_of(m, i, k, &raw);
            *mx_cell(m, i, s.t_ms) =
                (struct mx_cell){.used = true,
                                 .sent = true,
                                 .acked = true,
                                 .kill_safe = true,
                                 .cut_safe = true,
                                 .v = {(uint8_t)s.kind, raw, s.start_ms, s.bits},
                                 .series = i,
                                 .t_ms = s.t_ms};
        }
    }
}

static bool count_metric(void *arg, const struct tsdb_metadata *m)
{
    (void)m;
    ++*(uint32_t *)arg;
    return true;
}

static void tsdb_open__directory_of_version_2__all_samples_and_goes_on(void **state)
{
    struct scene *scene = *state;
    struct hx *h = &scene->h;
    struct mx *m = &scene->m;
    struct tsdb_error err;
    struct tsdb_stats s;
    scene_begin(scene, 1);
    m->conflicts_pass = false;
    if (golden_writing()) {
        write_golden(m);
        return;
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(files); i++) {
        golden_copy_in(files[i][1], &h->options.fs, files[i][0]);
    }
    golden_copy_in("metadata/v1/metadata", &h->options.fs, "metadata");
    expect_all(m);
    assert_ok_err(hx_open(h, &err), &err);
    uint32_t metrics = 0;
    tsdb_metadata_visit(h->db, NULL, count_metric, &metrics);
    assert_int_equal(metrics, 5);
    tsdb_stats_read(h->db, &s);
    assert_int_equal(s.series, SERIES);
    assert_int_equal(s.replay_samples, 2 * SERIES); /* the checkpoint has the others */
    assert_int_equal(s.replay_damage + s.replay_lost_frames, 0);
    mx_check(m, MX_CUT);
    put_round(m, ROUNDS);
    mx_die(m, true);
    assert_ok_err(hx_open(h, &err), &err);
    mx_check(m, MX_CUT);
    scene_end_checked(scene, "version 2");
}

static void tsdb_open__directory_of_version_1__refused_and_untouched(void **state)
{
    struct scene *scene = *state;
    struct hx *h = &scene->h;
    const struct tsdb_fs *fs = &h->options.fs;
    static const char *const old[][2] = {{"VERSION", "data_dir/v1/VERSION"},
                                         {"series.log", "data_dir/v1/series.log"},
                                         {"checkpoint/00000001", "data_dir/v1/checkpoint/00000001"},
                                         {"wal/00000002", "data_dir/v1/wal/00000002"}};
    struct tsdb_error err;
    scene_begin(scene, 1);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(old); i++) {
        golden_copy_in(old[i][1], fs, old[i][0]);
    }
    assert_int_equal(hx_open(h, &err), TSDB_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "format 1"));
    for (size_t i = 0; i < TSDB_ARRAY_LEN(old); i++) {
        static uint8_t expected[GOLDEN_BYTES_MAX];
        size_t expected_len = golden_read(old[i][1], expected, sizeof expected);
        uint8_t *data = NULL;
        size_t len = 0;
        assert_ok(
            tsdb_file_read_all(fs, old[i][0], GOLDEN_BYTES_MAX, TSDB_MEM_OTHER, &data, &len, NULL));
        assert_int_equal(len, expected_len);
        assert_memory_equal(data, expected, len);
        tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(tsdb_open__directory_of_version_2__all_samples_and_goes_on,
                                    scene_setup, scene_teardown),
    cmocka_unit_test_setup_teardown(tsdb_open__directory_of_version_1__refused_and_untouched,
                                    scene_setup, scene_teardown),
};

TEST_MAIN(tests)
