/* zstd and gzip bodies: what is made, and what is refused before it costs memory. */
#include "tests/support/test.h"

#include "base/random.h"
#include "ingest/unpack.h"
#include "tests/support/guard.h"

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#define BYTES_MAX ((size_t)1 << 20)

typedef enum tsdb_status (*decode_fn)(const void *src, size_t len, size_t bytes_max,
                                      struct ingest_sink *sink, struct tsdb_error *err);

static size_t asked_max; /* the most that a sink was asked for */
static size_t room;      /* what it gives at most */

static enum tsdb_status grow(struct ingest_sink *s, size_t cap)
{
    asked_max = cap > asked_max ? cap : asked_max;
    if (cap > room) {
        return TSDB_BUSY; /* what a sink says comes back as it is */
    }
    s->data = realloc(s->data, cap);
    assert_non_null(s->data);
    s->cap = cap;
    return TSDB_OK;
}

static enum tsdb_status decode(decode_fn fn, const void *src, size_t len, struct ingest_sink *sink,
                               struct tsdb_error *err)
{
    struct test_guard g;
    test_guard_init(&g, len + 1);
    asked_max = 0;
    *sink = (struct ingest_sink){.grow = grow};
    memset(err, 0, sizeof *err);
    enum tsdb_status status =
        fn(len > 0 ? test_guard_at_end(&g, src, len) : src, len, BYTES_MAX, sink, err);
    test_guard_deinit(&g);
    return status;
}

static uint8_t *noise(size_t len)
{
    struct tsdb_prng r;
    tsdb_prng_init(&r, len);
    uint8_t *p = malloc(len + 1);
    assert_non_null(p);
    for (size_t i = 0; i < len; i++) {
        p[i] = (uint8_t)(i % 64 < 48 ? i / 64 : tsdb_prng_next(&r));
    }
    return p;
}

/* Pack src[len] behind out[at]. sized: the frame declares its length. */
static size_t pack_zstd(const uint8_t *src, size_t len, bool sized, uint8_t *out, size_t cap)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    assert_non_null(c);
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, sized)));
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1)));
    size_t n = ZSTD_compress2(c, out, cap, src, len);
    assert_false(ZSTD_isError(n));
    ZSTD_freeCCtx(c);
    return n;
}

static size_t pack_gzip(const uint8_t *src, size_t len, uint8_t *out, size_t cap)
{
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    uint8_t *copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy, src, len);
    z.next_in = copy;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t n = cap - z.avail_out;
    deflateEnd(&z);
    free(copy);
    return n;
}

static size_t pack(int kind, const uint8_t *src, size_t len, uint8_t *out, size_t cap)
{
    return kind < 2 ? pack_zstd(src, len, kind == 0, out, cap) : pack_gzip(src, len, out, cap);
}

static decode_fn decoder(int kind)
{
    return kind < 2 ? ingest_zstd_decode : ingest_gzip_decode;
}

static void decode__every_kind_and_length__the_same_bytes(void **state)
{
    (void)state;
    const size_t lens[] = {0, 1, 100, 65535, 65536, 65537, 300000, BYTES_MAX};
    room = SIZE_MAX;
    for (int kind = 0; kind < 3; kind++) {
        for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
            uint8_t *raw = noise(lens[i]);
            size_t cap = lens[i] + 4096;
            uint8_t *packed = malloc(cap);
            assert_non_null(packed);
            size_t n = pack(kind, raw, lens[i], packed, cap);
            struct ingest_sink sink;
            struct tsdb_error err;
            assert_ok_err(decode(decoder(kind), packed, n, &sink, &err), &err);
            assert_int_equal(sink.len, lens[i]);
            assert_true(asked_max <= TSDB_MAX(2 * lens[i], (size_t)65536));
            assert_true(lens[i] == 0 || memcmp(sink.data, raw, lens[i]) == 0);
            free(sink.data);
            free(packed);
            free(raw);
        }
    }
}

/* Decode in steps of `in` bytes with room for `out`; the number of bytes made. */
static size_t decode_steps(int kind, const uint8_t *packed, size_t n, size_t in, size_t out,
                           uint8_t *to)
{
    struct ingest_stream *s = NULL;
    struct tsdb_error err;
    size_t made = 0;
    assert_ok(ingest_stream_create(kind < 2 ? INGEST_STREAM_ZSTD : INGEST_STREAM_GZIP, &s, NULL));
    assert_true(ingest_stream_is_whole(s));
    for (size_t at = 0, got = out; at < n || (got == out && !ingest_stream_is_whole(s));) {
        size_t len = TSDB_MIN(in, n - at);
        got = out;
        assert_ok_err(ingest_stream_step(s, packed + at, &len, to + made, &got, &err), &err);
        assert_true(len > 0 || got > 0);
        at += len;
        made += got;
    }
    assert_true(ingest_stream_is_whole(s));
    ingest_stream_destroy(s);
    return made;
}

static void stream__any_steps__the_same_bytes(void **state)
{
    (void)state;
    enum {
        LEN = 300000,
        PARTS = 2
    };
    const size_t ins[] = {1, 7, 4096, 1u << 20}, outs[] = {1, 13, 65536, 1u << 20};
    uint8_t *raw = noise(LEN), *packed = malloc(PARTS * (LEN + 4096));
    uint8_t *to = malloc(PARTS * LEN + (1u << 20));
    assert_true(packed && to);
    for (int kind = 0; kind < 3; kind++) {
        size_t n = pack(kind, raw, LEN, packed, LEN + 4096);
        memcpy(packed + n, packed, n); /* a second member, or frame */
        for (size_t i = 0; i < TSDB_ARRAY_LEN(ins) * TSDB_ARRAY_LEN(outs); i++) {
            size_t made = decode_steps(kind, packed, PARTS * n, ins[i % TSDB_ARRAY_LEN(ins)],
                                       outs[i / TSDB_ARRAY_LEN(ins)], to);
            assert_int_equal(made, PARTS * LEN);
            assert_memory_equal(to, raw, LEN);
            assert_memory_equal(to + LEN, raw, LEN);
        }
    }
    free(to);
    free(packed);
    free(raw);
}

static void decode__two_parts_in_one_body__one_after_the_other(void **state)
{
    (void)state;
    uint8_t packed[4096];
    room = SIZE_MAX;
    for (int kind = 0; kind < 3; kind++) {
        size_t n = pack(kind, (const uint8_t *)"hello ", 6, packed, sizeof packed);
        n += pack(kind, (const uint8_t *)"world", 5, packed + n, sizeof packed - n);
        struct ingest_sink sink;
        struct tsdb_error err;
        assert_ok_err(decode(decoder(kind), packed, n, &sink, &err), &err);
        assert_int_equal(sink.len, 11);
        assert_memory_equal(sink.data, "hello world", 11);
        free(sink.data);
    }
}

static void decode__cut_anywhere_or_followed_by_rubbish__invalid(void **state)
{
    (void)state;
    uint8_t raw[500];
    uint8_t packed[1024];
    room = SIZE_MAX;
    for (size_t i = 0; i < sizeof raw; i++) {
        raw[i] = (uint8_t)(i * i >> 3);
    }
    for (int kind = 0; kind < 3; kind++) {
        size_t n = pack(kind, raw, sizeof raw, packed, sizeof packed - 8);
        memcpy(packed + n, "rubbish", 8);
        struct ingest_sink sink;
        struct tsdb_error err;
        for (size_t len = 0; len <= n + 8; len++) {
            enum tsdb_status want = len == n ? TSDB_OK : TSDB_INVALID;
            enum tsdb_status got = decode(decoder(kind), packed, len, &sink, &err);
            if (got != want) {
                fail_msg("kind %d, %zu of %zu bytes: %d %s", kind, len, n, (int)got, err.msg);
            }
            assert_int_equal(err.status, want);
            free(sink.data);
        }
    }
}

static void decode__more_than_the_limit__limit_and_no_more_memory(void **state)
{
    (void)state;
    size_t len = BYTES_MAX + 1;
    uint8_t *zeros = calloc(1, len);
    uint8_t *packed = malloc(len);
    room = SIZE_MAX;
    for (int kind = 0; kind < 3; kind++) {
        size_t n = pack(kind, zeros, len, packed, len);
        struct ingest_sink sink;
        struct tsdb_error err;
        assert_int_equal(decode(decoder(kind), packed, n, &sink, &err), TSDB_LIMIT);
        assert_int_equal(err.status, TSDB_LIMIT);
        assert_true(asked_max <= BYTES_MAX + 1);
        assert_true(kind > 0 ||
                    asked_max == 0); /* declared: refused before anything is asked for */
        free(sink.data);
    }
    free(packed);
    free(zeros);
}

static void decode__sink_that_gives_no_more__its_own_status(void **state)
{
    (void)state;
    uint8_t *raw = noise(200000);
    uint8_t *packed = malloc(210000);
    room = 100000;
    for (int kind = 0; kind < 3; kind++) {
        size_t n = pack(kind, raw, 200000, packed, 210000);
        struct ingest_sink sink;
        struct tsdb_error err;
        assert_int_equal(decode(decoder(kind), packed, n, &sink, &err), TSDB_BUSY);
        free(sink.data);
    }
    free(packed);
    free(raw);
}

static void zstd__frame_that_declares_what_it_cannot_hold__invalid(void **state)
{
    (void)state;
    /* 1 MiB declared in 8 bytes, a raw last block of nothing */
    static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0x00,
                                    0x00, 0x10, 0x00, 0x01, 0x00, 0x00};
    struct ingest_sink sink;
    struct tsdb_error err;
    room = SIZE_MAX;
    assert_int_equal(decode(ingest_zstd_decode, frame, sizeof frame, &sink, &err), TSDB_INVALID);
    assert_int_equal(asked_max, 0);
    free(sink.data);
}

static void zstd__window_over_the_maximum__invalid(void **state)
{
    (void)state;
    uint8_t packed[4096];
    ZSTD_CCtx *c = ZSTD_createCCtx();
    assert_non_null(c);
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, 24)));
    ZSTD_inBuffer in = {"streamed", 8, 0};
    ZSTD_outBuffer out = {packed, sizeof packed, 0};
    assert_false(ZSTD_isError(ZSTD_compressStream2(c, &out, &in, ZSTD_e_flush)));
    assert_int_equal(ZSTD_compressStream2(c, &out, &in, ZSTD_e_end), 0);
    ZSTD_freeCCtx(c);
    struct ingest_sink sink;
    struct tsdb_error err;
    room = SIZE_MAX;
    assert_int_equal(ingest_zstd_window_bytes(packed, out.pos), INGEST_ZSTD_WINDOW_BYTES_MAX);
    assert_int_equal(decode(ingest_zstd_decode, packed, out.pos, &sink, &err), TSDB_INVALID);
    free(sink.data);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(decode__every_kind_and_length__the_same_bytes),
    cmocka_unit_test(stream__any_steps__the_same_bytes),
    cmocka_unit_test(decode__two_parts_in_one_body__one_after_the_other),
    cmocka_unit_test(decode__cut_anywhere_or_followed_by_rubbish__invalid),
    cmocka_unit_test(decode__more_than_the_limit__limit_and_no_more_memory),
    cmocka_unit_test(decode__sink_that_gives_no_more__its_own_status),
    cmocka_unit_test(zstd__frame_that_declares_what_it_cannot_hold__invalid),
    cmocka_unit_test(zstd__window_over_the_maximum__invalid),
};
TEST_MAIN(tests)
