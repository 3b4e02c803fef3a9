/* The record of a bundle: what is written is read, damage of any byte is found. */
#include "tests/support/test.h"

#include "base/random.h"
#include "compress/sample_stream.h"
#include "tsdb/chunk/bundle.h"

#include <stdlib.h>

#define SAMPLES 40u

static const struct bundle_place place = {9, 3, 77, 64, 5};

struct rig {
    struct bundle_stream streams[BUNDLE_SERIES];
    uint8_t tokens[BUNDLE_SERIES][SAMPLES * SAMPLE_STREAM_BYTES_MAX];
    int64_t t_ms[BUNDLE_SERIES][SAMPLES];
    uint64_t value[BUNDLE_SERIES][SAMPLES];
    uint8_t *record;
    size_t len;
};

static void stream_make(struct rig *r, uint32_t i, struct tsdb_prng *prng)
{
    struct sample_stream_end end = {0};
    struct bundle_stream *s = &r->streams[i];
    int64_t t = INT64_C(1700000000000) + (int64_t)i * 100;
    *s = (struct bundle_stream){.first_ms = t, .count = 1 + i % SAMPLES, .tokens = r->tokens[i]};
    for (uint32_t k = 0; k < s->count; k++) {
        /* Constants, counters, any bits. */
        uint64_t value = i % 3 == 0   ? 1
                         : i % 3 == 1 ? tsdb_double_bits((double)k * 7)
                                      : tsdb_prng_next(prng);
        uint32_t ahead = 15000 + (i % 5 == 0 ? k % 4 : 0);
        r->t_ms[i][k] = k == 0 ? t : r->t_ms[i][k - 1] + ahead;
        r->value[i][k] = value;
        if (k == 0) {
            end.value = s->first_bits = value;
        } else if (ahead == end.pace_ms && value == end.value) {
            end.run++;
        } else {
            s->bytes += sample_stream_put(&end, ahead, value, value_pack(value, true, end.value),
                                          r->tokens[i] + s->bytes);
        }
    }
    s->last_ms = r->t_ms[i][s->count - 1];
}

/* A record with the streams of the mask. */
static void rig_make(struct rig *r, uint64_t mask)
{
    struct tsdb_prng prng;
    struct bundle_stream some[BUNDLE_SERIES];
    uint32_t n = 0;
    tsdb_prng_init(&prng, mask);
    memset(r->streams, 0, sizeof r->streams);
    for (uint32_t i = 0; i < BUNDLE_SERIES; i++) {
        if (mask >> i & 1) {
            stream_make(r, i, &prng);
            some[n++] = r->streams[i];
        }
    }
    r->len = bundle_encoded_bytes(some, n);
    r->record = malloc(r->len);
    assert_non_null(r->record);
    assert_int_equal(bundle_encode(&place, mask, some, r->record), r->len);
}

/* Are all streams of the record as they were written? */
static bool reads_back(const struct rig *r, uint64_t mask)
{
    struct bundle_head head;
    int64_t t_ms[TSDB_HEAD_CHUNK_SAMPLES_MAX];
    uint64_t value[TSDB_HEAD_CHUNK_SAMPLES_MAX];
    if (bundle_head_open(r->record, r->len, (uint32_t)r->len, &place, false, &head, NULL) !=
        TSDB_OK) {
        return false;
    }
    bool same = head.mask == mask;
    for (uint32_t i = 0; same && i < BUNDLE_SERIES; i++) {
        struct bundle_stream s;
        enum tsdb_status status = bundle_head_find(&head, i, &s, NULL);
        if (!(mask >> i & 1)) {
            same = status == TSDB_NOT_FOUND;
            continue;
        }
        same = status == TSDB_OK && s.count == r->streams[i].count &&
               bundle_stream_decode(&place, &s, r->record + s.at, t_ms, value, NULL) == TSDB_OK &&
               memcmp(t_ms, r->t_ms[i], s.count * sizeof t_ms[0]) == 0 &&
               memcmp(value, r->value[i], s.count * sizeof value[0]) == 0;
    }
    return same;
}

static void bundle_encode__any_mask__reads_back(void **state)
{
    static const uint64_t masks[] = {1, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(0x8000000000000001),
                                     UINT64_C(0x5555aaaa0f0ff0f0)};
    static struct rig r;
    (void)state;
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(masks); i++) {
        rig_make(&r, masks[i]);
        assert_true(reads_back(&r, masks[i]));
        free(r.record);
    }
}

static void bundle__any_byte_damaged__is_found(void **state)
{
    const uint64_t mask = UINT64_C(0x24813);
    static struct rig r;
    (void)state;
    rig_make(&r, mask);
    for (size_t i = 0; i < r.len; i++) {
        r.record[i] ^= 0x10;
        assert_false(reads_back(&r, mask));
        r.record[i] ^= 0x10;
    }
    assert_true(reads_back(&r, mask));
    free(r.record);
}

static void bundle_head_open__other_place_or_series__corrupt(void **state)
{
    static struct rig r;
    struct bundle_head head;
    (void)state;
    rig_make(&r, 3);
    const struct bundle_place others[] = {{9, 4, 77, 64, 5},
                                          {9, 3, 78, 64, 5},
                                          {9, 3, 77, 128, 5},
                                          {9, 3, 77, 64, 6},
                                          {8, 3, 77, 64, 5}};
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(others); i++) {
        assert_int_equal(
            bundle_head_open(r.record, r.len, (uint32_t)r.len, &others[i], false, &head, NULL),
            TSDB_CORRUPT);
    }
    for (size_t len = 0; len < r.len; len++) {
        uint8_t *cut = malloc(len + 1);
        memcpy(cut, r.record, len);
        assert_int_equal(bundle_head_open(cut, len, (uint32_t)len, &place, false, &head, NULL),
                         TSDB_CORRUPT);
        free(cut);
    }
    free(r.record);
}

/* Only the checksum is taken on trust. */
static void bundle_head_open__known__place_and_bounds_are_looked_at(void **state)
{
    static struct rig r;
    struct bundle_head head;
    (void)state;
    rig_make(&r, 3);
    r.record[12] ^= 1; /* of the checksum */
    uint32_t len = (uint32_t)r.len;
    assert_int_equal(bundle_head_open(r.record, len, len, &place, false, &head, NULL),
                     TSDB_CORRUPT);
    assert_ok(bundle_head_open(r.record, len, len, &place, true, &head, NULL));
    struct bundle_place other = place;
    other.local += BUNDLE_SERIES;
    assert_int_equal(bundle_head_open(r.record, len, len, &other, true, &head, NULL), TSDB_CORRUPT);
    assert_int_equal(bundle_head_open(r.record, len, len + 1, &place, true, &head, NULL),
                     TSDB_CORRUPT);
    free(r.record);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(bundle_encode__any_mask__reads_back),
    cmocka_unit_test(bundle__any_byte_damaged__is_found),
    cmocka_unit_test(bundle_head_open__other_place_or_series__corrupt),
    cmocka_unit_test(bundle_head_open__known__place_and_bounds_are_looked_at),
};

TEST_MAIN(tests)
