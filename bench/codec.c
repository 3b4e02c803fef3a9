/* What the codecs cost and save: nanoseconds and values per second on one core, bytes per value.
 *
 *   build/release/bench/codec [rounds]
 *
 * For head chunks (120 values) and compacted ones (8192), with the kernels that TSDB_KERNELS
 * allows. Each figure is the median of several rounds over 64 columns; seeds are fixed, and every
 * decoded value is compared with what was encoded.
 */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/random.h"
#include "compress/time_codec.h"
#include "compress/value_codec.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    COLUMNS = 64,
    ROUNDS_MAX = 101
};

struct kind {
    const char *name;
    void (*fill)(struct tsdb_prng *r, uint64_t *out, uint32_t n);
    bool times;
};

static uint64_t below(struct tsdb_prng *r, uint64_t n)
{
    return tsdb_prng_below(r, n);
}

static void fill_constant(struct tsdb_prng *r, uint64_t *out, uint32_t n)
{
    uint64_t v = tsdb_double_bits((double)below(r, 1000));
    for (uint32_t i = 0; i < n; i++) {
        out[i] = v;
    }
}
static void fill_counter(struct tsdb_prng *r, uint64_t *out, uint32_t n)
{
    double v = (double)below(r, 1000000);
    double rate = (double)(10 + below(r, 1000));
    for (uint32_t i = 0; i < n; i++) {
        v += floor(rate * (0.8 + 0.4 * tsdb_prng_double(r)));
        out[i] = tsdb_double_bits(v);
    }
}
static void fill_decimal(struct tsdb_prng *r, uint64_t *out, uint32_t n)
{
    int64_t v = (int64_t)below(r, 10000);
    for (uint32_t i = 0; i < n; i++) {
        v += (int64_t)below(r, 81) - 40;
        out[i] = tsdb_double_bits((double)v / 100);
    }
}
static void fill_float(struct tsdb_prng *r, uint64_t *out, uint32_t n)
{
    double v = 50 + 50 * tsdb_prng_double(r);
    for (uint32_t i = 0; i < n; i++) {
        v += tsdb_prng_double(r) - 0.5;
        out[i] = tsdb_double_bits(v);
    }
}
static void fill_noise(struct tsdb_prng *r, uint64_t *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        out[i] = tsdb_double_bits(tsdb_prng_double(r));
    }
}
static void fill_regular(struct tsdb_prng *r, uint64_t *out, uint32_t n)
{
    uint64_t t = UINT64_C(1700000000000) + below(r, 15000);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = t + i * 15000ull;
    }
}
static void fill_jitter(struct tsdb_prng *r, uint64_t *out, uint32_t n)
{
    uint64_t t = UINT64_C(1700000000000) + below(r, 15000);
    for (uint32_t i = 0; i < n; i++) {
        out[i] = t + i * 15000ull + below(r, 6);
    }
}
static void fill_gaps(struct tsdb_prng *r, uint64_t *out, uint32_t n)
{
    uint64_t t = UINT64_C(1700000000000) + below(r, 15000);
    for (uint32_t i = 0; i < n; i++) {
        t += 15000 * (below(r, 1000) == 0 ? 2 + below(r, 20) : 1);
        out[i] = t + below(r, 6);
    }
}

static const struct kind kinds[] = {
    {"constants", fill_constant, false},        {"integer counters", fill_counter, false},
    {"2-digit decimals", fill_decimal, false},  {"full-mantissa walk", fill_float, false},
    {"full-mantissa noise", fill_noise, false}, {"times, regular", fill_regular, true},
    {"times, 5 ms jitter", fill_jitter, true},  {"times, jitter + gaps", fill_gaps, true},
};

struct bench {
    const struct kind *kind;
    uint32_t n;
    uint64_t *in, *out; /* COLUMNS * n; n */
    uint8_t *bytes;
    size_t stride, len[COLUMNS];
};

static size_t encode(const struct bench *b, uint32_t c, struct value_hint *hint)
{
    const uint64_t *in = b->in + (size_t)c * b->n;
    uint8_t *out = b->bytes + c * b->stride;
    return b->kind->times ? time_codec_encode((const int64_t *)in, b->n, out)
                          : value_codec_encode(in, b->n, hint, out);
}
static void decode(const struct bench *b, uint32_t c)
{
    const uint8_t *src = b->bytes + c * b->stride;
    enum tsdb_status status = b->kind->times
                                  ? time_codec_decode(src, b->len[c], b->n, (int64_t *)b->out, NULL)
                                  : value_codec_decode(src, b->len[c], b->n, b->out, NULL);
    if (status != TSDB_OK) {
        fprintf(stderr, "codec: %s: decode failed\n", b->kind->name);
        exit(1);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}
static double median(double *x, uint32_t n)
{
    qsort(x, n, sizeof *x, compare);
    return x[n / 2];
}

static void run(struct bench *b, uint32_t rounds)
{
    double enc[ROUNDS_MAX], dec[ROUNDS_MAX];
    struct tsdb_prng prng;
    size_t total = 0;
    const char *name = "";
    tsdb_prng_init(&prng, 1);
    for (uint32_t c = 0; c < COLUMNS; c++) {
        b->kind->fill(&prng, b->in + (size_t)c * b->n, b->n);
    }
    for (uint32_t round = 0; round < rounds; round++) {
        struct value_hint hint = {0};
        int64_t begin = tsdb_clock_mono_ns(&tsdb_clock_real);
        for (uint32_t c = 0; c < COLUMNS; c++) {
            b->len[c] = encode(b, c, &hint);
        }
        int64_t middle = tsdb_clock_mono_ns(&tsdb_clock_real);
        for (uint32_t c = 0; c < COLUMNS; c++) {
            decode(b, c);
        }
        int64_t end = tsdb_clock_mono_ns(&tsdb_clock_real);
        enc[round] = (double)(middle - begin) / (COLUMNS * b->n);
        dec[round] = (double)(end - middle) / (COLUMNS * b->n);
    }
    for (uint32_t c = 0; c < COLUMNS; c++) {
        decode(b, c);
        if (memcmp(b->out, b->in + (size_t)c * b->n, 8 * (size_t)b->n) != 0) {
            fprintf(stderr, "codec: %s: not what was encoded\n", b->kind->name);
            exit(1);
        }
        total += b->len[c];
    }
    uint8_t first = b->bytes[0];
    name = b->kind->times ? time_codec_name(first) : value_codec_name(first & VALUE_COLUMN_CODEC);
    double e = median(enc, rounds), d = median(dec, rounds);
    printf("%-22s %6u  %-10s %8.3f %9.2f %9.2f %9.2f %9.2f\n", b->kind->name, b->n, name,
           (double)total / (COLUMNS * b->n), e, d, 1 / e, 1 / d);
}

int main(int argc, char **argv)
{
    static const uint32_t lengths[] = {120, COLUMN_COUNT_MAX};
    uint32_t rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 21;
    rounds = rounds < 1 ? 1 : rounds > ROUNDS_MAX ? ROUNDS_MAX : rounds;
    struct bench b = {.stride = value_codec_bytes_max(COLUMN_COUNT_MAX)};
    b.in = malloc(8 * (size_t)COLUMNS * COLUMN_COUNT_MAX);
    b.out = malloc(8 * (size_t)COLUMN_COUNT_MAX);
    b.bytes = malloc(b.stride * COLUMNS);
    if (!b.in || !b.out || !b.bytes) {
        fprintf(stderr, "codec: no memory\n");
        return 1;
    }
    printf("kernels: %s\n", tsdb_cpu_level() == TSDB_CPU_SCALAR ? "scalar" : "avx2");
    printf("%-22s %6s  %-10s %8s %9s %9s %9s %9s\n", "kind", "n", "codec", "B/value", "ns enc",
           "ns dec", "G/s enc", "G/s dec");
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            b.n = lengths[l];
            b.kind = &kinds[k];
            run(&b, rounds);
        }
    }
    free(b.in);
    free(b.out);
    free(b.bytes);
    return 0;
}
