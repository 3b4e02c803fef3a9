/* A whole data directory as version 1 left it after a kill: VERSION, series.log, a checkpoint and
 * the log behind it, in tests/golden/data_dir/v1/. It must open for ever.
 * TSDB_GOLDEN_WRITE=<directory> writes one anew (for the next version). Run from the repository's
 * root. */
#include "tests/support/test.h"

#include "base/log.h"
#include "tests/support/tsdb/model.h"

#include <stdio.h>
#include <stdlib.h>

#define GOLDEN_DIR "tests/golden/data_dir/v1"
#define SERIES     10u
#define ROUNDS     5u /* the first three are in the checkpoint */

static const char *const files[] = {"VERSION", "series.log", "checkpoint/00000001", "wal/00000002"};

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

static void copy_out(struct hx *h, const char *dir)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(files); i++) {
        uint8_t *data = NULL;
        size_t len = 0;
        char path[512];
        assert_ok(tsdb_file_read_all(&h->options.fs, files[i], 1u << 20, TSDB_MEM_OTHER, &data,
                                     &len, NULL));
        size_t end = len;
        while (strncmp(files[i], "wal/", 4) == 0 && end > 16 && data[end - 17] == 0) {
            end--; /* zeroes behind the end mark say nothing */
        }
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(data, 1, end, f), end);
        fclose(f);
        tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    }
}

static void write_golden(struct mx *m, const char *dir)
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
    copy_out(h, dir);
}

static void copy_in(struct hx *h)
{
    static uint8_t data[1u << 16];
    const struct tsdb_fs *fs = &h->options.fs;
    assert_ok(fs->ops->mkdir(fs->ctx, "checkpoint", NULL));
    assert_ok(fs->ops->mkdir(fs->ctx, "wal", NULL));
    for (size_t i = 0; i < TSDB_ARRAY_LEN(files); i++) {
        char path[128];
        snprintf(path, sizeof path, GOLDEN_DIR "/%s", files[i]);
        FILE *f = fopen(path, "rb");
        if (!f) {
            fail_msg("cannot open %s", path);
        }
        size_t len = fread(data, 1, sizeof data, f);
        fclose(f);
        assert_true(len > 0 && len < sizeof data);
        assert_ok(tsdb_file_replace(fs, files[i], data, len, NULL));
    }
}

/* Tell the model what the directory was made of. */
static void expect_all(struct mx *m)
{
    for (uint32_t i = 0; i < SERIES; i++) {
        for (uint32_t k = 0; k < ROUNDS; k++) {
            uint8_t raw;
            struct hx_sample s = sample_of(m, i, k, &raw);
            *mx_cell(m, i, s.t_ms) = (struct mx_cell){.used = true,
                                                      .sent = true,
                                                      .acked = true,
                                                      .kill_safe = true,
                                                      .cut_safe = true,
                                                      .kind = (uint8_t)s.kind,
                                                      .raw = raw,
                                                      .series = i,
                                                      .t_ms = s.t_ms,
                                                      .start_ms = s.start_ms,
                                                      .bits = s.bits};
        }
    }
}

static void tsdb_open__directory_of_version_1__all_samples_and_goes_on(void **state)
{
    (void)state;
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    struct hx h;
    struct mx *m = malloc(sizeof *m);
    assert_non_null(m);
    hx_init(&h, 1);
    mx_init(m, &h);
    const char *dir = getenv("TSDB_GOLDEN_WRITE");
    if (dir) {
        write_golden(m, dir);
    } else {
        struct tsdb_error err;
        copy_in(&h);
        expect_all(m);
        assert_ok_err(hx_open(&h, &err), &err);
        struct tsdb_stats s;
        tsdb_stats_read(h.db, &s);
        assert_int_equal(s.series, SERIES);
        assert_int_equal(s.replay_samples, 2 * SERIES); /* the checkpoint has the others */
        assert_int_equal(s.replay_damage + s.replay_lost_frames, 0);
        mx_check(m, MX_CUT);
        put_round(m, ROUNDS);
        mx_die(m, true);
        assert_ok_err(hx_open(&h, &err), &err);
        mx_check(m, MX_CUT);
        assert_string_equal(m->failure, "");
    }
    hx_deinit(&h);
    free(m);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(tsdb_open__directory_of_version_1__all_samples_and_goes_on),
};

TEST_MAIN(tests)
