/* Columns as docs/format/columns.md describes them, held to files: what is written today, what the
 * page shows, and what is read today must all be the bytes in tests/golden/columns/v1/. Run from
 * the repository's root. */
#include "tests/support/golden.h"
#include "tests/support/test.h"

#include "compress/time_codec.h"
#include "compress/value_codec.h"

#include <stdbool.h>
#include <stdio.h>

#define N_MAX     128
#define BYTES_MAX 2048
#define STALE     UINT64_C(0x7ff0000000000002)
#define NAN_BITS  UINT64_C(0x7ff8000000000001)

/* An example of the page: numbers, meant as times or as floats. */
struct example {
    const char *name;
    bool times;
    uint8_t head; /* first byte: codec and flags */
    uint32_t n;
    uint64_t x[N_MAX];
};

static const uint8_t noise[16] = {9, 2, 14, 5, 11, 0, 7, 12, 3, 15, 6, 1, 13, 8, 4, 10};

static uint64_t bits(double v)
{
    return tsdb_double_bits(v);
}

static void times_make(struct example *e)
{
    static const uint8_t jitter[] = {0, 3, 1, 2, 0, 1, 3, 2};
    const uint64_t t0 = UINT64_C(1700000000000);
    uint64_t t = t0;
    for (uint32_t i = 0; i < e->n; i++) {
        switch (e->head) {
        case TIME_CODEC_REGULAR:
            e->x[i] = t0 + i * UINT64_C(15000);
            break;
        case TIME_CODEC_GRID: /* two scrapes missed before value 10 */
            e->x[i] = t0 + i * UINT64_C(15000) + jitter[i % 8] + (i >= 10 ? 30000 : 0);
            break;
        case TIME_CODEC_DELTA: /* steps of 1000 to 1015 */
            e->x[i] = t;
            t += 1000 + noise[i % 16];
            break;
        case TIME_CODEC_DELTA2:
            e->x[i] = t0 + i * i * UINT64_C(100000) + (i & 1);
            break;
        default:
            e->x[i] = (i * i + 1) * UINT64_C(0x9e3779b97f4a7c15);
            break;
        }
    }
}

static void values_make(struct example *e)
{
    double walk = 1.5;
    for (uint32_t i = 0; i < e->n; i++) {
        double v = noise[i % 16];
        switch (e->head) {
        case VALUE_CODEC_CONST:
            v = 1.5;
            break;
        case VALUE_CODEC_LINEAR:
            v = (100 - 25 * (double)i) / 10;
            break;
        case VALUE_CODEC_DEC:
            v = (2000 + 3 * v) / 100;
            break;
        case VALUE_CODEC_DEC_DELTA | VALUE_COLUMN_STALE:
            v = i < 20 ? 1000 + 100 * (double)i + v : 100 * (double)(i - 20);
            break;
        case VALUE_CODEC_DEC_DELTA2:
            v = (double)i * i * 1000 + v / 8;
            v = (double)(int64_t)v;
            break;
        case VALUE_CODEC_BITS:
            v = (double)(1 + (float)((v + 1) / 7)) + 0x1p-20;
            break;
        case VALUE_CODEC_BITS_DELTA:
            walk *= 1 + (v + 20) * 1e-9;
            v = walk;
            break;
        case VALUE_CODEC_XOR:
            v = tsdb_bits_double(bits(0.1 + 0.2) ^ (uint64_t)noise[i % 16] << 32);
            break;
        case VALUE_CODEC_RAW | VALUE_COLUMN_RUNS | VALUE_COLUMN_STALE:
            v = i < 20 ? 0.1 + 0.2 : i < 40 ? -1.0 / 3 : 1e200 / 3;
            break;
        default:
            break;
        }
        e->x[i] = e->head == VALUE_CODEC_RAW ? (i + 1) * UINT64_C(0x9e3779b97f4a7c15) : bits(v);
    }
    if (e->head == VALUE_CODEC_DEC) {
        e->x[4] = e->x[5] = NAN_BITS;
        e->x[20] = bits(-0.0);
    }
    if ((e->head & VALUE_COLUMN_STALE) != 0) {
        e->x[7] = e->x[8] = e->x[e->n - 1] = STALE;
    }
}

static struct example examples[] = {
    {.name = "time-regular", .times = true, .head = TIME_CODEC_REGULAR, .n = 5},
    {.name = "time-grid", .times = true, .head = TIME_CODEC_GRID, .n = 16},
    {.name = "time-delta", .times = true, .head = TIME_CODEC_DELTA, .n = 40},
    {.name = "time-delta2", .times = true, .head = TIME_CODEC_DELTA2, .n = 16},
    {.name = "time-raw", .times = true, .head = TIME_CODEC_RAW, .n = 3},
    {.name = "value-const", .head = VALUE_CODEC_CONST, .n = 100},
    {.name = "value-linear", .head = VALUE_CODEC_LINEAR, .n = 10},
    {.name = "value-dec", .head = VALUE_CODEC_DEC, .n = 32},
    {.name = "value-dec-delta", .head = VALUE_CODEC_DEC_DELTA | VALUE_COLUMN_STALE, .n = 32},
    {.name = "value-dec-delta2", .head = VALUE_CODEC_DEC_DELTA2, .n = 32},
    {.name = "value-bits", .head = VALUE_CODEC_BITS, .n = 16},
    {.name = "value-bits-delta", .head = VALUE_CODEC_BITS_DELTA, .n = 16},
    {.name = "value-xor", .head = VALUE_CODEC_XOR, .n = 16},
    {.name = "value-raw", .head = VALUE_CODEC_RAW, .n = 2},
    {.name = "value-runs",
     .head = VALUE_CODEC_RAW | VALUE_COLUMN_RUNS | VALUE_COLUMN_STALE,
     .n = 60},
};
#define EXAMPLE_COUNT (sizeof examples / sizeof examples[0])

static size_t example_encode(struct example *e, uint8_t *out)
{
    if (e->times) {
        times_make(e);
        return time_codec_encode((const int64_t *)e->x, e->n, out);
    }
    values_make(e);
    return value_codec_encode(e->x, e->n, NULL, out);
}

static const char *golden_path(const struct example *e)
{
    static char path[128];
    snprintf(path, sizeof path, "columns/v1/%s", e->name);
    return path;
}

static void columns_1__written_today__golden_bytes(void **state)
{
    (void)state;
    uint8_t out[8 * N_MAX + 64];
    for (size_t i = 0; i < EXAMPLE_COUNT; i++) {
        size_t len = example_encode(&examples[i], out);
        assert_int_equal(out[0], examples[i].head);
        golden_check(golden_path(&examples[i]), out, len);
    }
}

static void columns_1__golden_files__still_read(void **state)
{
    (void)state;
    uint8_t src[BYTES_MAX];
    uint64_t out[N_MAX];
    for (size_t i = 0; i < EXAMPLE_COUNT; i++) {
        struct example *e = &examples[i];
        struct tsdb_error err;
        e->times ? times_make(e) : values_make(e);
        size_t len = golden_read(golden_path(e), src, sizeof src);
        assert_ok_err(e->times ? time_codec_decode_any(src, len, e->n, (int64_t *)out, &err)
                               : value_codec_decode(src, len, e->n, out, &err),
                      &err);
        assert_memory_equal(out, e->x, 8 * (size_t)e->n);
    }
}

static void columns_1__page__golden_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < EXAMPLE_COUNT; i++) {
        char fence[64];
        snprintf(fence, sizeof fence, "```hexdump %s", examples[i].name);
        golden_check_page(golden_path(&examples[i]), "docs/format/columns.md", fence, 0);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(columns_1__written_today__golden_bytes),
    cmocka_unit_test(columns_1__golden_files__still_read),
    cmocka_unit_test(columns_1__page__golden_bytes),
};
TEST_MAIN(tests)
