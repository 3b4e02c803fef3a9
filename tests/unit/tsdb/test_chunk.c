/* The chunk container: what goes in comes out to the last bit, and bytes that nobody encoded are
 * refused or decode to something that is a chunk. */
#include "tests/support/test.h"

#include "tests/support/guard.h"

#include "base/random.h"
#include "compress/time_codec.h"
#include "tsdb/chunk/chunk.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define N_MAX     CHUNK_SAMPLES_MAX
#define ARENA_MAX (1u << 20)

static int64_t g_t[N_MAX], g_start[N_MAX];
static uint64_t g_value[N_MAX];

static struct chunk_samples floats(uint32_t count)
{
    return (struct chunk_samples){
        .kind = TSDB_SAMPLE_FLOAT, .count = count, .t_ms = g_t, .value = g_value};
}

/* An encoded chunk in memory of its exact size. */
struct encoded {
    uint8_t *bytes;
    size_t len;
};

static struct encoded encode(const struct chunk_samples *s, struct chunk_hint *hint)
{
    size_t max = chunk_encoded_bytes_max(s);
    struct encoded e = {malloc(max + 1), 0};
    assert_non_null(e.bytes);
    e.bytes[max] = 0xa5;
    e.len = chunk_encode(s, hint, e.bytes);
    assert_true(e.len <= max);
    assert_int_equal(e.bytes[max], 0xa5);
    e.bytes = realloc(e.bytes, e.len);
    assert_non_null(e.bytes);
    return e;
}

static void assert_same(const struct chunk_samples *a, const struct chunk_samples *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->t_ms, b->t_ms, a->count * sizeof *a->t_ms);
    assert_int_equal(!a->start_ms, !b->start_ms);
    if (a->start_ms) {
        assert_memory_equal(a->start_ms, b->start_ms, a->count * sizeof *a->start_ms);
    }
    if (a->kind == TSDB_SAMPLE_FLOAT) {
        assert_memory_equal(a->value, b->value, a->count * sizeof *a->value);
        return;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        const struct tsdb_raw_histogram *x = (const void *)(uintptr_t)a->value[i];
        const struct tsdb_raw_histogram *y = (const void *)(uintptr_t)b->value[i];
        assert_int_equal(x->len, y->len);
        assert_memory_equal(x->data, y->data, x->len);
    }
}

static size_t round_trip(const struct chunk_samples *s, struct chunk_hint *hint)
{
    struct encoded e = encode(s, hint);
    struct tsdb_arena arena;
    struct chunk_samples out;
    struct chunk_info info;
    struct tsdb_error err;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok_err(chunk_peek(e.bytes, e.len, &info, &err), &err);
    assert_int_equal(info.kind, s->kind);
    assert_int_equal(info.count, s->count);
    assert_int_equal(info.has_starts, s->start_ms != NULL);
    assert_ok_err(chunk_decode(e.bytes, e.len, &arena, &out, &err), &err);
    assert_same(s, &out);
    tsdb_arena_deinit(&arena);
    free(e.bytes);
    return e.len;
}

/* ---- what series look like ---- */

enum {
    TIMES_REGULAR,
    TIMES_JITTER,
    TIMES_GAPS,
    TIMES_ANY,
    TIMES_KINDS
};

static void fill_times(struct tsdb_prng *p, uint32_t n, int kind)
{
    int64_t t = kind == TIMES_ANY ? INT64_MIN : 1700000000000;
    uint64_t room = UINT64_MAX / n;
    for (uint32_t i = 0; i < n; i++) {
        g_t[i] = t;
        if (kind == TIMES_JITTER) {
            g_t[i] += (int64_t)tsdb_prng_below(p, 20);
        }
        if (kind == TIMES_ANY) {
            t = (int64_t)((uint64_t)t + 1 + tsdb_prng_below(p, room - 1));
        } else {
            t += kind == TIMES_GAPS && tsdb_prng_below(p, 30) == 0 ? 1234567 : 15000;
        }
    }
}

enum {
    VALUES_CONST,
    VALUES_COUNTER,
    VALUES_DECIMAL,
    VALUES_NOISE,
    VALUES_STALE,
    VALUES_BITS,
    VALUES_KINDS
};

static void fill_values(struct tsdb_prng *p, uint32_t n, int kind)
{
    static const uint64_t odd[] = {0,
                                   UINT64_C(1) << 63, /* -0 */
                                   1,                 /* denormal */
                                   UINT64_C(0x7ff0000000000000),
                                   UINT64_C(0xfff0000000000000),
                                   UINT64_C(0x7ff0000000000001),
                                   TSDB_STALE_NAN_BITS,
                                   TSDB_NORMAL_NAN_BITS,
                                   UINT64_C(0xffffffffffffffff)};
    double counter = 1e6;
    for (uint32_t i = 0; i < n; i++) {
        double v = 42.5;
        counter = tsdb_prng_below(p, 500) ? counter + (double)tsdb_prng_below(p, 1000) : 0;
        if (kind == VALUES_COUNTER) {
            v = counter;
        } else if (kind == VALUES_DECIMAL) {
            v = (double)tsdb_prng_below(p, 10000) / 100;
        } else if (kind == VALUES_NOISE) {
            v = tsdb_prng_double(p);
        }
        g_value[i] = tsdb_double_bits(v);
        if (kind == VALUES_STALE && tsdb_prng_below(p, 3) == 0) {
            g_value[i] = TSDB_STALE_NAN_BITS;
        } else if (kind == VALUES_BITS) {
            g_value[i] = i % 3 ? odd[tsdb_prng_below(p, TSDB_ARRAY_LEN(odd))] : tsdb_prng_next(p);
        }
    }
}

enum {
    STARTS_NONE,
    STARTS_CONST,
    STARTS_RESTARTS,
    STARTS_PREVIOUS,
    STARTS_ANY,
    STARTS_KINDS
};

static const int64_t *fill_starts(struct tsdb_prng *p, uint32_t n, int kind)
{
    int64_t start = 1690000000123;
    for (uint32_t i = 0; i < n; i++) {
        if (kind == STARTS_RESTARTS && tsdb_prng_below(p, 200) == 0) {
            start = i % 2 ? 0 : g_t[i];
        }
        g_start[i] = kind == STARTS_ANY        ? (int64_t)tsdb_prng_next(p)
                     : kind == STARTS_PREVIOUS ? (i ? g_t[i - 1] : 0)
                                               : start;
    }
    return kind == STARTS_NONE ? NULL : g_start;
}

static void chunk_encode__every_kind_of_series__round_trip(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1,   2,   3,   7,   8,    9,    119,  120, 121,
                                      255, 256, 257, 511, 1024, 4097, 8191, 8192};
    struct chunk_hint hint = {{0}};
    struct tsdb_prng p;
    tsdb_prng_init(&p, 3);
    for (size_t c = 0; c < TSDB_ARRAY_LEN(counts); c++) {
        for (int kind = 0; kind < TIMES_KINDS * VALUES_KINDS * STARTS_KINDS; kind++) {
            if (counts[c] > 1024 && kind % 7 != (int)c % 7) {
                continue; /* some of the long ones do */
            }
            struct chunk_samples s = floats(counts[c]);
            fill_times(&p, s.count, kind % TIMES_KINDS);
            fill_values(&p, s.count, kind / TIMES_KINDS % VALUES_KINDS);
            s.start_ms = fill_starts(&p, s.count, kind / TIMES_KINDS / VALUES_KINDS);
            round_trip(&s, kind % 2 ? &hint : NULL);
        }
    }
}

static void chunk_encode__same_samples__same_bytes(void **state)
{
    (void)state;
    struct tsdb_prng p;
    tsdb_prng_init(&p, 4);
    fill_times(&p, 500, TIMES_JITTER);
    fill_values(&p, 500, VALUES_DECIMAL);
    struct chunk_samples s = floats(500);
    struct encoded a = encode(&s, NULL), b = encode(&s, NULL);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.bytes, b.bytes, a.len);
    free(a.bytes);
    free(b.bytes);
}

/* What the columns are for: these must not cost what they cost plain. */
static void chunk_encode__plain_series__small(void **state)
{
    (void)state;
    struct tsdb_prng p;
    tsdb_prng_init(&p, 5);
    fill_times(&p, 120, TIMES_REGULAR);
    fill_values(&p, 120, VALUES_CONST);
    struct chunk_samples s = floats(120);
    assert_true(round_trip(&s, NULL) < 40);
    s.start_ms = fill_starts(&p, 120, STARTS_CONST);
    assert_true(round_trip(&s, NULL) < 60);
    s.start_ms = fill_starts(&p, 120, STARTS_PREVIOUS);
    assert_true(round_trip(&s, NULL) < 80);
    s.start_ms = NULL;
    fill_values(&p, 120, VALUES_COUNTER);
    assert_true(round_trip(&s, NULL) < 300);
}

/* ---- histograms ---- */

static size_t raw_example(uint32_t i, bool is_float, uint8_t *out)
{
    struct tsdb_span span = {(int32_t)i, 2};
    int64_t deltas[] = {(int64_t)i, 1};
    double counts[] = {(double)i, 1.5};
    struct tsdb_histogram h = {.is_float = is_float,
                               .schema = 3,
                               .sum = 0.5 * (double)i,
                               .count_int = 2 * (uint64_t)i + 1,
                               .count_float = (double)i + 1.5,
                               .positive_span_count = 1,
                               .positive_bucket_count = 2,
                               .positive_spans = &span,
                               .positive_deltas = deltas,
                               .positive_counts = counts};
    if (i % 10 == 3) {
        h = (struct tsdb_histogram){.is_float = is_float,
                                    .sum = tsdb_bits_double(TSDB_STALE_NAN_BITS)};
    }
    assert_true(tsdb_histogram_encoded_bytes_max(&h) <= 256);
    return tsdb_histogram_encode(&h, out);
}

/* Samples [0, count) of a histogram series, in g_t and g_value. */
static struct chunk_samples histograms(uint32_t count, bool is_float)
{
    static uint8_t bytes[200][256];
    static struct tsdb_raw_histogram raw[200];
    struct chunk_samples s = floats(count);
    assert_true(count <= 200);
    for (uint32_t i = 0; i < count; i++) {
        raw[i] =
            (struct tsdb_raw_histogram){(uint32_t)raw_example(i, is_float, bytes[i]), bytes[i]};
        g_t[i] = 1000 * (int64_t)i;
        g_value[i] = (uint64_t)(uintptr_t)&raw[i];
        g_start[i] = -5;
    }
    s.kind = is_float ? TSDB_SAMPLE_HISTOGRAM_FLOAT : TSDB_SAMPLE_HISTOGRAM_INT;
    return s;
}

static void chunk_encode__histograms__round_trip(void **state)
{
    (void)state;
    for (uint32_t count = 1; count <= 200; count += 33) {
        for (int kind = 0; kind < 4; kind++) {
            struct chunk_samples s = histograms(count, kind % 2);
            s.start_ms = kind / 2 ? g_start : NULL;
            round_trip(&s, NULL);
        }
    }
}

static void chunk_decode__histograms__raw_forms_decode(void **state)
{
    (void)state;
    struct chunk_samples s = histograms(20, true), out;
    struct encoded e = encode(&s, NULL);
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(chunk_decode(e.bytes, e.len, &arena, &out, NULL));
    memset(e.bytes, 0xff, e.len); /* nothing of the result lies in the source */
    for (uint32_t i = 0; i < out.count; i++) {
        const struct tsdb_raw_histogram *raw = (const void *)(uintptr_t)out.value[i];
        struct tsdb_histogram h;
        assert_ok(tsdb_histogram_decode(raw->data, raw->len, &arena, &h, NULL));
        assert_int_equal(tsdb_histogram_is_stale(&h), i % 10 == 3);
    }
    tsdb_arena_deinit(&arena);
    free(e.bytes);
}

/* ---- hostile bytes ---- */

/* Decode at a guard page, with an account; what decodes is a chunk that encodes and decodes to the
 * same. True if it decoded. */
static bool decode_hostile(struct test_guard *g, const uint8_t *bytes, size_t len)
{
    const uint8_t *src = test_guard_at_end(g, bytes, len);
    struct tsdb_account account;
    struct tsdb_arena arena;
    struct tsdb_error err = {0};
    struct chunk_samples out = {.count = 12345};
    struct chunk_info info = {.count = 12345};
    tsdb_account_init(&account, ARENA_MAX, NULL);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, &account);
    enum tsdb_status status = chunk_decode(src, len, &arena, &out, &err);
    if (status == TSDB_OK) {
        assert_ok(chunk_peek(src, len, &info, NULL));
        assert_int_equal(info.count, out.count);
        assert_int_equal(info.kind, out.kind);
        assert_true(out.count > 0 && out.count <= N_MAX);
        for (uint32_t i = 1; i < out.count; i++) {
            assert_true(out.t_ms[i] > out.t_ms[i - 1]);
        }
        round_trip(&out, NULL);
        struct chunk_summary summary;
        chunk_summarize(&out, &summary);
    } else {
        assert_int_equal(status, TSDB_CORRUPT);
        assert_int_equal(err.status, TSDB_CORRUPT);
        assert_true(err.msg[0] != 0);
        assert_true(err.pos <= len);
        assert_int_equal(out.count, 12345);
    }
    assert_true(atomic_load(&account.peak_bytes) <= 4096 + 32 * (uint64_t)N_MAX + 4 * len);
    tsdb_arena_deinit(&arena);
    return status == TSDB_OK;
}

static struct encoded example(int kind)
{
    struct tsdb_prng p;
    struct chunk_samples s;
    tsdb_prng_init(&p, (uint64_t)kind);
    if (kind < VALUES_KINDS) {
        s = floats(kind % 2 ? 40 : 300);
        fill_times(&p, s.count, kind % TIMES_KINDS);
        fill_values(&p, s.count, kind);
        s.start_ms = fill_starts(&p, s.count, kind % STARTS_KINDS);
    } else {
        s = histograms(7, kind % 2);
        s.start_ms = kind % 2 ? g_start : NULL;
    }
    return encode(&s, NULL);
}
#define EXAMPLES (VALUES_KINDS + 2)

static void chunk_decode__every_prefix_and_more__corrupt(void **state)
{
    (void)state;
    struct test_guard g;
    test_guard_init(&g, 1 << 16);
    for (int kind = 0; kind < EXAMPLES; kind++) {
        struct encoded e = example(kind);
        for (size_t len = 0; len < e.len; len++) {
            assert_false(decode_hostile(&g, e.bytes, len));
        }
        assert_true(decode_hostile(&g, e.bytes, e.len));
        e.bytes = realloc(e.bytes, e.len + 1);
        assert_non_null(e.bytes);
        e.bytes[e.len] = 0;
        assert_false(decode_hostile(&g, e.bytes, e.len + 1));
        free(e.bytes);
    }
    test_guard_deinit(&g);
}

static void chunk_decode__bytes_changed__corrupt_or_a_chunk(void **state)
{
    (void)state;
    struct test_guard g;
    struct tsdb_prng p;
    uint32_t decoded = 0, refused = 0;
    test_guard_init(&g, 1 << 16);
    tsdb_prng_init(&p, 9);
    for (int kind = 0; kind < EXAMPLES; kind++) {
        struct encoded e = example(kind);
        for (uint32_t round = 0; round < 600; round++) {
            uint8_t *copy = malloc(e.len);
            assert_non_null(copy);
            memcpy(copy, e.bytes, e.len);
            for (uint64_t n = 1 + tsdb_prng_below(&p, 3); n > 0; n--) {
                /* the front, where lengths and parameters stand, more often */
                size_t at = tsdb_prng_below(&p, round % 2 ? e.len : TSDB_MIN(e.len, 24));
                copy[at] = (uint8_t)tsdb_prng_next(&p);
            }
            bool ok = decode_hostile(&g, copy, e.len);
            decoded += ok;
            refused += !ok;
            free(copy);
        }
        free(e.bytes);
    }
    assert_true(decoded > 0 && refused > 0);
    test_guard_deinit(&g);
}

static size_t put_header(uint8_t *out, uint8_t version, uint8_t flags, uint64_t count,
                         const uint64_t *lens, uint32_t len_count)
{
    uint8_t *p = out;
    *p++ = version;
    *p++ = flags;
    p = tsdb_put_uvarint(p, count);
    for (uint32_t i = 0; i < len_count; i++) {
        p = tsdb_put_uvarint(p, lens[i]);
    }
    return (size_t)(p - out);
}

static void chunk_decode__header_out_of_range__corrupt(void **state)
{
    (void)state;
    static const struct {
        uint8_t version, flags;
        uint64_t count, lens[3];
        uint64_t pos;
    } bad[] = {
        {0, 0, 1, {8, 8, 0}, 0},
        {2, 0, 1, {8, 8, 0}, 0},
        {1, 3, 1, {8, 8, 0}, 1},
        {1, 16, 1, {8, 8, 0}, 1},
        {1, 0x80, 1, {8, 8, 0}, 1},
        {1, 0, 0, {8, 8, 0}, 2},
        {1, 0, N_MAX + 1, {8, 8, 0}, 2},
        {1, 0, UINT64_MAX, {8, 8, 0}, 2},
        {1, 0, 1, {UINT64_MAX, 8, 0}, 14},
        {1, 0, 1, {8, UINT64_MAX, 0}, 14},
        {1, 4, 1, {8, 8, UINT64_MAX}, 15},
        {1, 0, 1, {UINT64_MAX - 7, 24, 0}, 14}, /* the sum wraps to 16 */
        {1, 0, 1, {8, 7, 0}, 5},
        {1, 8, 1, {8, 8, 0}, 4}, /* detached: one length only */
        {1, 4, 1, {8, 8, 1}, 6},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        uint8_t bytes[128] = {0};
        size_t len = put_header(bytes, bad[i].version, bad[i].flags, bad[i].count, bad[i].lens,
                                bad[i].flags & 4 ? 3 : 2);
        struct tsdb_error err = {0};
        struct chunk_info info;
        assert_int_equal(chunk_peek(bytes, len + 16, &info, &err), TSDB_CORRUPT);
        assert_int_equal(err.pos, bad[i].pos);
    }
    struct tsdb_error err;
    struct chunk_info info;
    assert_int_equal(chunk_peek(NULL, 0, &info, &err), TSDB_CORRUPT);
}

/* Times and constant values in a chunk of flags and count of our choice. */
static size_t put_chunk(uint8_t *out, uint8_t flags, uint32_t n, const uint8_t *values,
                        size_t values_len)
{
    uint8_t times[1024];
    assert_true(time_codec_bytes_max(n) <= sizeof times);
    uint64_t lens[] = {time_codec_encode(g_t, n, times), values_len};
    size_t len = put_header(out, 1, flags, n, lens, 2);
    memcpy(out + len, times, lens[0]);
    len += lens[0];
    if (values_len > 0) {
        memcpy(out + len, values, values_len);
    }
    return len + values_len;
}

static void chunk_decode__times_not_rising__corrupt(void **state)
{
    (void)state;
    static const int64_t times[][3] = {{5, 5, 6}, {5, 6, 6}, {5, 4, 9}, {INT64_MAX, INT64_MIN, 0}};
    uint8_t bytes[2048];
    for (size_t i = 0; i < TSDB_ARRAY_LEN(times); i++) {
        struct tsdb_arena arena;
        struct chunk_samples out;
        struct tsdb_error err;
        memcpy(g_t, times[i], sizeof times[i]);
        /* the values are histograms of one byte: the container does not look inside */
        size_t len =
            put_chunk(bytes, TSDB_SAMPLE_HISTOGRAM_INT, 3, (const uint8_t *)"\1a\1b\1c", 6);
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
        assert_int_equal(chunk_decode(bytes, len, &arena, &out, &err), TSDB_CORRUPT);
        assert_non_null(strstr(err.msg, "times"));
        tsdb_arena_deinit(&arena);
    }
}

static void chunk_decode__bad_histogram_lengths__corrupt(void **state)
{
    (void)state;
    static const struct {
        const char *column;
        size_t len;
        enum tsdb_status want;
    } columns[] = {
        {"\1a\2bc\1d", 7, TSDB_OK},
        {"\1a\2bc\1d", 6, TSDB_CORRUPT},  /* the last is cut */
        {"\1a\2bc\0", 6, TSDB_CORRUPT},   /* empty */
        {"\1a\2bc\1de", 8, TSDB_CORRUPT}, /* a byte too many */
        {"\1a\7bc\1d", 7, TSDB_CORRUPT},  /* beyond the end */
        {"\1a\1b", 4, TSDB_CORRUPT},      /* one too few */
        {"\1a\1b\x80", 5, TSDB_CORRUPT},  /* a length without end */
        {"\1a\1b\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 14, TSDB_CORRUPT},
        {"", 0, TSDB_CORRUPT},
    };
    uint8_t bytes[2048];
    for (size_t i = 0; i < TSDB_ARRAY_LEN(columns); i++) {
        struct tsdb_arena arena;
        struct chunk_samples out;
        for (int64_t k = 0; k < 3; k++) {
            g_t[k] = k;
        }
        size_t len = put_chunk(bytes, TSDB_SAMPLE_HISTOGRAM_FLOAT, 3,
                               (const uint8_t *)columns[i].column, columns[i].len);
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
        assert_int_equal(chunk_decode(bytes, len, &arena, &out, NULL), columns[i].want);
        tsdb_arena_deinit(&arena);
    }
}

static void chunk_decode__no_memory__says_so(void **state)
{
    (void)state;
    for (int kind = 0; kind < EXAMPLES; kind += VALUES_KINDS) {
        struct encoded e = example(kind);
        enum tsdb_status status = TSDB_NOMEM;
        uint32_t failures = 0;
        for (uint64_t n = 1; status != TSDB_OK; n++) {
            struct tsdb_arena arena;
            struct chunk_samples out;
            struct tsdb_error err;
            tsdb_arena_init(&arena, TSDB_MEM_OTHER, 256, NULL);
            tsdb_alloc_fail_nth(n, 0);
            status = chunk_decode(e.bytes, e.len, &arena, &out, &err);
            tsdb_alloc_ops_set(NULL);
            assert_true(status == TSDB_OK || status == TSDB_NOMEM);
            failures += status == TSDB_NOMEM;
            tsdb_arena_deinit(&arena);
        }
        assert_true(failures > 0);
        struct tsdb_account account;
        struct tsdb_arena arena;
        struct chunk_samples out;
        tsdb_account_init(&account, 300, NULL);
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 256, &account);
        assert_int_equal(chunk_decode(e.bytes, e.len, &arena, &out, NULL), TSDB_LIMIT);
        tsdb_arena_deinit(&arena);
        free(e.bytes);
    }
}

/* ---- times kept elsewhere ---- */

static void chunk_detach_times__any_chunk__decodes_with_its_times(void **state)
{
    (void)state;
    for (int kind = 0; kind < EXAMPLES; kind++) {
        struct encoded e = example(kind);
        struct tsdb_arena arena;
        struct chunk_samples want, got;
        struct chunk_info info;
        struct tsdb_slice times, none;
        struct tsdb_error err;
        uint8_t *rest = malloc(e.len);
        size_t len = 0, again;
        assert_non_null(rest);
        tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
        assert_ok(chunk_decode(e.bytes, e.len, &arena, &want, NULL));
        assert_ok_err(chunk_detach_times(e.bytes, e.len, rest, &len, &times, &err), &err);
        assert_true(len + times.len <= e.len);
        rest = realloc(rest, len);
        assert_non_null(rest);
        assert_ok(chunk_peek(rest, len, &info, NULL));
        assert_true(info.times_detached);
        assert_int_equal(info.count, want.count);
        assert_int_equal(chunk_decode(rest, len, &arena, &got, &err), TSDB_CORRUPT);
        assert_int_equal(chunk_decode_detached(e.bytes, e.len, times, &arena, &got, &err),
                         TSDB_CORRUPT);
        uint8_t *unused = malloc(len);
        assert_non_null(unused);
        assert_int_equal(chunk_detach_times(rest, len, unused, &again, &none, &err), TSDB_CORRUPT);
        free(unused);
        assert_ok_err(chunk_decode_detached(rest, len, times, &arena, &got, &err), &err);
        assert_same(&want, &got);
        times.len--; /* a column that is cut */
        assert_int_equal(chunk_decode_detached(rest, len, times, &arena, &got, &err), TSDB_CORRUPT);
        assert_true(err.pos <= times.len);
        assert_non_null(strstr(err.msg, "times"));
        tsdb_arena_deinit(&arena);
        free(rest);
        free(e.bytes);
    }
}

/* ---- summaries ---- */

static struct chunk_summary summarize_doubles(const double *v, uint32_t n)
{
    struct chunk_samples s = floats(n);
    struct chunk_summary out;
    for (uint32_t i = 0; i < n; i++) {
        g_t[i] = 10 * ((int64_t)i + 1);
        g_value[i] = tsdb_double_bits(v[i]);
    }
    chunk_summarize(&s, &out);
    return out;
}

static void chunk_summarize__floats__as_the_struct_says(void **state)
{
    (void)state;
    const double stale = tsdb_bits_double(TSDB_STALE_NAN_BITS),
                 nan_ = tsdb_bits_double(TSDB_NORMAL_NAN_BITS);
    struct chunk_summary s = summarize_doubles((double[]){5, 7, stale, 2, 2, stale}, 6);
    assert_int_equal(s.min_ms, 10);
    assert_int_equal(s.max_ms, 60);
    assert_int_equal(s.count, 6);
    assert_int_equal(s.stale, 2);
    assert_int_equal(s.resets, 1); /* 7 to 2, with the stale one between */
    assert_double_bits_equal(s.min, 2.0);
    assert_double_bits_equal(s.max, 7.0);
    assert_true(s.all_int);
    assert_true(s.first_bits == tsdb_double_bits(5));
    assert_true(s.last_bits == TSDB_STALE_NAN_BITS);
    s = summarize_doubles((double[]){nan_, 4, nan_, 3}, 4);
    assert_false(s.all_int);
    assert_int_equal(s.stale, 0);
    assert_int_equal(s.resets, 0); /* a NaN between compares false, as in resets() */
    assert_double_bits_equal(s.min, 3.0);
    assert_double_bits_equal(s.max, 4.0);
    assert_true(s.first_bits == TSDB_NORMAL_NAN_BITS);
    s = summarize_doubles((double[]){stale, stale}, 2);
    assert_int_equal(s.stale, 2);
    assert_true(isnan(s.min) && isnan(s.max));
    s = summarize_doubles((double[]){nan_}, 1);
    assert_true(isnan(s.min) && isnan(s.max));
    assert_false(s.all_int);
    s = summarize_doubles((double[]){-(double)INFINITY, (double)INFINITY}, 2);
    assert_double_bits_equal(s.min, -(double)INFINITY);
    assert_double_bits_equal(s.max, (double)INFINITY);
    assert_false(s.all_int);
}

static void chunk_summarize__all_int__below_2_to_the_53(void **state)
{
    (void)state;
    const double edge = 9007199254740992.0;
    assert_true(summarize_doubles((double[]){0, -1, edge - 1, 1 - edge}, 4).all_int);
    assert_false(summarize_doubles((double[]){0, edge}, 2).all_int);
    assert_false(summarize_doubles((double[]){-edge, 0}, 2).all_int);
    assert_false(summarize_doubles((double[]){1, 0.5}, 2).all_int);
    assert_false(summarize_doubles((double[]){1e300}, 1).all_int);
}

static void chunk_summarize__histograms__times_and_count_only(void **state)
{
    (void)state;
    struct chunk_samples s = histograms(5, false);
    struct chunk_summary out;
    chunk_summarize(&s, &out);
    assert_int_equal(out.min_ms, 0);
    assert_int_equal(out.max_ms, 4000);
    assert_int_equal(out.count, 5);
    assert_true(isnan(out.min) && isnan(out.max));
    assert_false(out.all_int);
    assert_true(out.first_bits == 0 && out.last_bits == 0 && out.resets == 0 && out.stale == 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(chunk_encode__every_kind_of_series__round_trip),
    cmocka_unit_test(chunk_encode__same_samples__same_bytes),
    cmocka_unit_test(chunk_encode__plain_series__small),
    cmocka_unit_test(chunk_encode__histograms__round_trip),
    cmocka_unit_test(chunk_decode__histograms__raw_forms_decode),
    cmocka_unit_test(chunk_decode__every_prefix_and_more__corrupt),
    cmocka_unit_test(chunk_decode__bytes_changed__corrupt_or_a_chunk),
    cmocka_unit_test(chunk_decode__header_out_of_range__corrupt),
    cmocka_unit_test(chunk_decode__times_not_rising__corrupt),
    cmocka_unit_test(chunk_decode__bad_histogram_lengths__corrupt),
    cmocka_unit_test(chunk_decode__no_memory__says_so),
    cmocka_unit_test(chunk_detach_times__any_chunk__decodes_with_its_times),
    cmocka_unit_test(chunk_summarize__floats__as_the_struct_says),
    cmocka_unit_test(chunk_summarize__all_int__below_2_to_the_53),
    cmocka_unit_test(chunk_summarize__histograms__times_and_count_only),
};

TEST_MAIN(tests)
