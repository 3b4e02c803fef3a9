/* A stream against plain arrays: to the last bit, and at every length on the way. */
#include "tests/support/test.h"

#include "base/bytes.h"
#include "base/random.h"
#include "compress/sample_stream.h"

#include <stdlib.h>
#include <string.h>

enum {
    N = 480
};

/* Samples, the stream that was written of them, and what its writer would have published. */
struct rig {
    int64_t t_ms[N];
    uint64_t value[N];
    uint8_t bytes[N * SAMPLE_STREAM_BYTES_MAX];
    uint32_t used[N + 1]; /* by count */
};

static void stream_write(struct rig *r, uint32_t n)
{
    struct sample_stream_end end = {.value = r->value[0]};
    uint32_t used = 0;
    r->used[1] = 0;
    for (uint32_t i = 1; i < n; i++) {
        uint32_t ahead = (uint32_t)((uint64_t)r->t_ms[i] - (uint64_t)r->t_ms[i - 1]);
        if (ahead == end.pace_ms && r->value[i] == end.value) {
            end.run++;
        } else {
            struct value_packed packed = value_pack(r->value[i], true, end.value);
            used += sample_stream_put(&end, ahead, r->value[i], packed, r->bytes + used);
        }
        r->used[i + 1] = used;
    }
}

/* What was published at `count` samples, decoded from an allocation of exactly those bytes. */
static void assert_prefix(const struct rig *r, uint32_t count)
{
    static int64_t t_ms[N];
    static uint64_t value[N];
    uint32_t used = r->used[count];
    uint8_t *copy = malloc(used + 1);
    assert_non_null(copy);
    memcpy(copy, r->bytes, used);
    t_ms[0] = r->t_ms[0];
    value[0] = r->value[0];
    assert_true(sample_stream_decode(copy, used, count, t_ms, value));
    free(copy);
    assert_memory_equal(t_ms, r->t_ms, count * sizeof t_ms[0]);
    assert_memory_equal(value, r->value, count * sizeof value[0]);
}

/* Bytes of all n samples. */
static uint32_t assert_stream(struct rig *r, uint32_t n)
{
    stream_write(r, n);
    for (uint32_t count = 1; count <= n; count++) {
        assert_prefix(r, count);
    }
    return r->used[n];
}

static void times_regular(struct rig *r)
{
    for (uint32_t i = 0; i < N; i++) {
        r->t_ms[i] = INT64_C(1700000000123) + (int64_t)i * 15000;
    }
}

static void sample_stream__constant_at_a_pace__takes_the_bytes_of_the_pace(void **state)
{
    static struct rig r;
    (void)state;
    times_regular(&r);
    for (uint32_t i = 0; i < N; i++) {
        r.value[i] = UINT64_C(0x7ff8000000000bad);
    }
    assert_int_equal(assert_stream(&r, N), 3 + 1); /* 15000, the value again */
    /* Another value at the end: the run of 477 is written, 128 + 128 + 128 + 64 + 16 + 8 + 4 + 1, and
     * a decimal. */
    r.value[N - 1] = tsdb_double_bits(0.5);
    assert_int_equal(assert_stream(&r, N), 4 + 8 + 2);
}

static void sample_stream__slow_counter__a_byte_a_sample(void **state)
{
    static struct rig r;
    (void)state;
    times_regular(&r);
    for (uint32_t i = 0; i < N; i++) {
        r.value[i] = tsdb_double_bits(1e6 - 77.0 * i);
    }
    assert_int_equal(assert_stream(&r, N), 3 + (N - 1));
    for (uint32_t i = 0; i < N; i++) {
        r.value[i] = tsdb_double_bits(1e6 + 79.0 * i); /* one more than fits the control */
    }
    assert_int_equal(assert_stream(&r, N), 3 + 2 * (N - 1));
}

static void sample_stream__scrapes_early_and_late__one_byte_of_time(void **state)
{
    static struct rig r;
    (void)state;
    times_regular(&r);
    for (uint32_t i = 0; i < N; i++) {
        r.t_ms[i] += i % 2 ? 60 : 0;
        r.value[i] = tsdb_double_bits(1);
    }
    /* The first distance is taken for the pace: every other sample is off by -120, and the one
     * between two of those is a run of its own. */
    assert_in_range(assert_stream(&r, N), 3 * N / 2 - 8, 3 * N / 2 + 8);
    /* A pace that was learned from an odd first distance is given up. */
    times_regular(&r);
    r.t_ms[0] += 70;
    assert_int_equal(assert_stream(&r, N), 4 + 2 + 4);
}

/* Up to 8 ms off the pace the time takes one byte beside a value, and the value before none. */
static void sample_stream__jitter__a_byte_a_sample(void **state)
{
    static struct rig r;
    (void)state;
    for (int64_t off = -8; off <= 8; off++) {
        times_regular(&r);
        for (uint32_t i = 2; i < N; i += 3) { /* off, back by as much, at the pace */
            r.t_ms[i] += off;
        }
        for (uint32_t i = 0; i < N; i++) {
            r.value[i] = tsdb_double_bits(1);
        }
        uint32_t tokens = off == 0 ? 0 : N / 3 * 3 - 1;
        assert_in_range(assert_stream(&r, N), 4 + tokens - 4, 4 + tokens + 4);
        for (uint32_t i = 0; i < N; i++) {
            r.value[i] = tsdb_double_bits(i);
        }
        tokens = off == 0 ? N - 1 : N - 1 + N / 3 * 2;
        assert_in_range(assert_stream(&r, N), 4 + tokens - 8, 4 + tokens + 8);
    }
}

/* Where jitter knows few milliseconds, the same one twice in a row is chance; more of them are another pace. */
static void sample_stream__a_little_off_again_and_again__is_a_new_pace(void **state)
{
    static struct rig r;
    (void)state;
    times_regular(&r);
    for (uint32_t i = 0; i < N; i++) {
        r.value[i] = tsdb_double_bits(1);
        r.t_ms[i] += i > 1 ? 3 * ((int64_t)i - 1) : 0;
    }
    assert_int_equal(assert_stream(&r, N), 4 + 4 + 4); /* the pace; 3 ms late; the pace again */
    for (uint32_t i = 2; i < N; i++) {                 /* three times late, once not: a byte each */
        r.t_ms[i] = r.t_ms[i - 1] + 15000 + (i % 4 < 3 ? 3 : 0);
    }
    assert_in_range(assert_stream(&r, N), 4 + N - 4, 4 + N);
}

/* Bytes that no writer wrote are refused, or give some samples, never more than were asked for. */
static void sample_stream_decode__malformed__false(void **state)
{
    static const uint8_t bad[][3] = {
        {57}, {58},     {58, 1},   {59}, {59, 0x80},      {60},
        {85}, {85, 58}, {100, 20}, {68}, {101, 101, 101},
    };
    static const uint8_t lengths[] = {1, 1, 2, 1, 2, 1, 1, 2, 2, 1, 3};
    int64_t t_ms[3] = {0};
    uint64_t value[3] = {0};
    (void)state;
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        assert_false(sample_stream_decode(bad[i], lengths[i], 3, t_ms, value));
    }
    assert_true(sample_stream_decode(bad[10], 2, 3, t_ms, value));
}

static void sample_stream__edges_of_values_and_times__bit_exact(void **state)
{
    static const uint64_t edges[] = {
        0,
        UINT64_C(0x8000000000000000), /* -0 */
        UINT64_C(0x7ff0000000000000),
        UINT64_C(0xfff0000000000000),
        UINT64_C(0x7ff0000000000002), /* the stale marker */
        UINT64_C(0x7ff0000000000001),
        UINT64_C(0xffffffffffffffff),
        1,
        UINT64_C(0x4340000000000000), /* 2^53 */
        UINT64_C(0x4340000000000001),
        UINT64_C(0xc33fffffffffffff),
        UINT64_C(0x3fb999999999999a), /* 0.1 */
        UINT64_C(0x3fb999999999999b),
        UINT64_C(0x40091eb851eb851f),
        UINT64_C(0x3ff0000000000000),
        UINT64_C(0x4057400000000000), /* 93 */
        UINT64_C(0xc057400000000000), /* -93 */
        UINT64_C(0x4057800000000000), /* 94 */
        UINT64_C(0x4057c00000000000), /* 95 */
        UINT64_C(0x4053400000000000), /* 77 */
        UINT64_C(0xc053800000000000), /* -78 */
        UINT64_C(0x4053c00000000000), /* 79 */
    };
    static const uint32_t aheads[] = {1,     127,   128,   129,   15000,
                                      15127, 15128, 14872, 14871, UINT32_MAX};
    static struct rig r;
    (void)state;
    uint32_t n = 0;
    int64_t t = INT64_MIN;
    for (uint32_t a = 0; a < TSDB_ARRAY_LEN(edges); a++) {
        for (uint32_t b = 0; b < TSDB_ARRAY_LEN(edges) && n < N - 1; b++) {
            r.t_ms[n] = t;
            r.value[n++] = edges[a];
            t += aheads[(a + b) % TSDB_ARRAY_LEN(aheads)];
            r.t_ms[n] = t;
            r.value[n++] = edges[b];
            t += aheads[(a * b) % TSDB_ARRAY_LEN(aheads)];
        }
    }
    assert_stream(&r, n);
}

/* Kinds of values and times that change on the way, seeded. */
static void sample_stream__random__agrees_with_arrays(void **state)
{
    static struct rig r;
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct tsdb_prng prng;
        tsdb_prng_init(&prng, seed);
        uint64_t kind = 0;
        uint64_t pace = 1000;
        r.t_ms[0] = (int64_t)tsdb_prng_below(&prng, 1000);
        r.value[0] = tsdb_prng_next(&prng);
        for (uint32_t i = 1; i < N; i++) {
            kind = tsdb_prng_below(&prng, 20) == 0 ? tsdb_prng_below(&prng, 6) : kind;
            pace = tsdb_prng_below(&prng, 100) == 0 ? 1 + tsdb_prng_below(&prng, 100000) : pace;
            uint64_t off = tsdb_prng_below(&prng, 10) == 0 ? tsdb_prng_below(&prng, 300) : 0;
            double before = tsdb_bits_double(r.value[i - 1]);
            const uint64_t values[6] = {
                r.value[i - 1],
                tsdb_double_bits((double)tsdb_prng_below(&prng, 1000)),
                tsdb_double_bits(before + (double)tsdb_prng_below(&prng, 60) - 30),
                tsdb_double_bits((double)tsdb_prng_below(&prng, 10000) / 100),
                tsdb_double_bits(tsdb_prng_double(&prng)),
                tsdb_prng_next(&prng),
            };
            r.value[i] = values[kind];
            r.t_ms[i] = r.t_ms[i - 1] + (int64_t)(pace + off);
        }
        stream_write(&r, N);
        for (uint32_t count = 1; count <= N; count += 1 + (uint32_t)tsdb_prng_below(&prng, 30)) {
            assert_prefix(&r, count);
        }
        assert_prefix(&r, N);
    }
}

/* ---- several ---- */

enum {
    STREAMS = 9
};

/* Scrapes of a target: jitter, and a counter, decimals, now and then anything else. */
static void rig_scrapes(struct rig *r, struct tsdb_prng *prng)
{
    uint64_t kind = tsdb_prng_below(prng, 5);
    uint64_t jitter = 1 + tsdb_prng_below(prng, 12);
    uint64_t rare = 1 + tsdb_prng_below(prng, 60);
    double at = (double)tsdb_prng_below(prng, 100000);
    int64_t t = INT64_C(1700000000000);
    for (uint32_t i = 0; i < N; i++) {
        uint64_t now = tsdb_prng_below(prng, rare) == 0 ? tsdb_prng_below(prng, 7) : kind;
        at += (double)tsdb_prng_below(prng, 400);
        const uint64_t values[7] = {
            tsdb_double_bits(at),
            tsdb_double_bits((double)tsdb_prng_below(prng, 10000) / 100),
            tsdb_double_bits((double)tsdb_prng_below(prng, 10000) / 1000),
            tsdb_double_bits((double)tsdb_prng_below(prng, 1000000000) / 1e9),
            i > 0 ? r->value[i - 1] : 0,
            tsdb_prng_next(prng),
            UINT64_C(0x7ff0000000000002),
        };
        r->value[i] = values[now];
        t += tsdb_prng_below(prng, 50) == 0 ? 40000 : 15000;
        r->t_ms[i] = t + (int64_t)tsdb_prng_below(prng, jitter);
    }
    stream_write(r, N);
}

/* A copy of exactly its bytes, maybe damaged; into columns of its own. */
static struct sample_stream stream_take(const struct rig *r, struct tsdb_prng *prng, int64_t *t_ms,
                                        uint64_t *value, uint8_t **out_copy)
{
    uint32_t count = 1 + (uint32_t)tsdb_prng_below(prng, N);
    uint32_t used = r->used[count];
    uint8_t *copy = malloc(used + 1);
    assert_non_null(copy);
    memcpy(copy, r->bytes, used);
    if (tsdb_prng_below(prng, 4) == 0 && used > 0) {
        copy[tsdb_prng_below(prng, used)] = (uint8_t)tsdb_prng_next(prng);
        count = tsdb_prng_below(prng, 2) ? count : 1 + (uint32_t)tsdb_prng_below(prng, N);
    }
    t_ms[0] = r->t_ms[0];
    value[0] = r->value[0];
    *out_copy = copy;
    return (struct sample_stream){copy, used, count, t_ms, value, false};
}

/* Whatever stands beside it, a stream is read as it is alone. */
static void sample_streams_decode__any_streams__as_each_alone(void **state)
{
    static struct rig rigs[STREAMS];
    static int64_t t_ms[STREAMS][N];
    static int64_t alone_ms[N];
    static uint64_t value[STREAMS][N];
    static uint64_t alone[N];
    uint32_t refused = 0;
    uint32_t taken = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 600; seed++) {
        struct tsdb_prng prng;
        tsdb_prng_init(&prng, seed);
        uint32_t n = (uint32_t)tsdb_prng_below(&prng, STREAMS + 1);
        struct sample_stream streams[STREAMS] = {0};
        uint8_t *copies[STREAMS];
        for (uint32_t i = 0; i < n; i++) {
            rig_scrapes(&rigs[i], &prng);
            streams[i] = stream_take(&rigs[i], &prng, t_ms[i], value[i], &copies[i]);
        }
        sample_streams_decode(streams, n);
        for (uint32_t i = 0; i < n; i++) {
            const struct sample_stream *s = &streams[i];
            alone_ms[0] = rigs[i].t_ms[0];
            alone[0] = rigs[i].value[0];
            bool ok = sample_stream_decode(s->src, s->len, s->count, alone_ms, alone);
            assert_int_equal(ok, s->ok);
            if (ok) {
                assert_memory_equal(t_ms[i], alone_ms, s->count * sizeof alone_ms[0]);
                assert_memory_equal(value[i], alone, s->count * sizeof alone[0]);
            }
            taken += ok;
            refused += !ok;
            free(copies[i]);
        }
    }
    assert_true(taken > 1000 && refused > 50);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(sample_stream__constant_at_a_pace__takes_the_bytes_of_the_pace),
    cmocka_unit_test(sample_stream__slow_counter__a_byte_a_sample),
    cmocka_unit_test(sample_stream__scrapes_early_and_late__one_byte_of_time),
    cmocka_unit_test(sample_stream__jitter__a_byte_a_sample),
    cmocka_unit_test(sample_stream__a_little_off_again_and_again__is_a_new_pace),
    cmocka_unit_test(sample_stream_decode__malformed__false),
    cmocka_unit_test(sample_stream__edges_of_values_and_times__bit_exact),
    cmocka_unit_test(sample_stream__random__agrees_with_arrays),
    cmocka_unit_test(sample_streams_decode__any_streams__as_each_alone),
};
TEST_MAIN(tests)
