#include "tests/support/test.h"

#include "base/random.h"
#include "tests/support/guard.h"
#include "wal/wal_format.h"

#define ITEMS_MAX 200
#define LOCALS    300

/* One item of a frame, as it went in. */
struct item {
    uint32_t local;
    enum tsdb_sample_kind kind;
    int64_t t_ms, start_ms;
    uint64_t bits;
    uint8_t raw[40];
    uint32_t raw_len;
};

struct frame {
    uint8_t bytes[WAL_FRAME_OVERHEAD_MAX + ITEMS_MAX * (WAL_SAMPLE_BYTES_MAX + 40)];
    size_t len;
    struct item items[ITEMS_MAX];
    uint32_t count;
    struct wal_frame_head head;
};

/* The series' last floats on either side. */
struct bases {
    bool has[LOCALS];
    uint64_t bits[LOCALS];
};

static uint64_t value_next(struct tsdb_prng *p, uint64_t prev)
{
    switch (tsdb_prng_below(p, 6)) {
    case 0:
        return tsdb_double_bits(tsdb_bits_double(prev) + 1);
    case 1:
        return tsdb_double_bits((double)tsdb_prng_below(p, 100000) / 100);
    case 2:
        return tsdb_prng_next(p);
    case 3:
        return TSDB_STALE_NAN_BITS;
    default:
        return prev;
    }
}

static int64_t time_next(struct tsdb_prng *p, int64_t prev)
{
    switch (tsdb_prng_below(p, 12)) {
    case 0:
        return (int64_t)((uint64_t)prev + tsdb_prng_below(p, 100000));
    case 1:
        return (int64_t)tsdb_prng_next(p); /* any: differences wrap */
    case 2:
        return INT64_MIN;
    case 3:
        return INT64_MAX;
    default:
        return prev;
    }
}

static void item_encode(struct wal_encoder *e, const struct item *it, const struct bases *b)
{
    if (it->kind == TSDB_SAMPLE_FLOAT) {
        wal_encode_float(e, it->local, it->t_ms, it->start_ms, it->bits, b->has[it->local],
                         b->bits[it->local]);
    } else {
        wal_encode_histogram(e, it->local, it->t_ms, it->start_ms, it->kind, it->raw, it->raw_len);
    }
}

/* A frame of random items, most of them in the shape of a scrape. */
static void frame_make(struct frame *f, struct tsdb_prng *p, struct bases *b)
{
    struct wal_encoder e;
    uint32_t local = (uint32_t)tsdb_prng_below(p, LOCALS);
    int64_t t_ms = 1700000000000;
    f->count = (uint32_t)tsdb_prng_below(p, ITEMS_MAX + 1);
    f->head = (struct wal_frame_head){tsdb_prng_next(p) >> tsdb_prng_below(p, 64),
                                      tsdb_prng_next(p), tsdb_prng_below(p, 1000)};
    wal_encoder_init(&e, f->bytes, f->bytes + sizeof f->bytes);
    wal_frame_begin(&e, WAL_RECORD_SAMPLES, 63, f->head.log_seq, f->head.write_seq, f->head.epoch);
    for (uint32_t i = 0; i < f->count; i++) {
        struct item *it = &f->items[i];
        memset(it, 0, sizeof *it);
        local = tsdb_prng_below(p, 8) ? (local + 1) % LOCALS : (uint32_t)tsdb_prng_below(p, LOCALS);
        t_ms = time_next(p, t_ms);
        it->local = local;
        it->t_ms = t_ms;
        it->start_ms = tsdb_prng_below(p, 10) ? 0 : (int64_t)tsdb_prng_next(p);
        it->kind = tsdb_prng_below(p, 10) ? TSDB_SAMPLE_FLOAT
                                          : (enum tsdb_sample_kind)(1 + tsdb_prng_below(p, 2));
        if (it->kind == TSDB_SAMPLE_FLOAT) {
            it->bits = value_next(p, b->bits[local]);
        } else {
            it->raw_len = (uint32_t)tsdb_prng_below(p, sizeof it->raw + 1);
            it->raw[it->raw_len / 2] = 0xa5;
        }
        item_encode(&e, it, b);
        if (it->kind == TSDB_SAMPLE_FLOAT) {
            b->has[local] = true;
            b->bits[local] = it->bits;
        }
    }
    wal_frame_end(&e);
    f->len = (size_t)(e.pos - f->bytes);
}

static void frame_check(const struct frame *f, struct bases *b)
{
    struct wal_frame_head head;
    struct wal_decoder d;
    struct wal_sample s;
    struct tsdb_error err;
    uint32_t len = tsdb_load_le32(f->bytes + WAL_FRAME_AT_LEN);
    assert_int_equal(wal_frame_bytes(len), f->len);
    assert_int_equal(f->bytes[WAL_FRAME_AT_TYPE], WAL_RECORD_SAMPLES);
    assert_int_equal(f->bytes[WAL_FRAME_AT_PARTITION], 63);
    assert_ok_err(wal_decode_head(f->bytes + WAL_FRAME_HEADER_BYTES, len, &head, &d, &err), &err);
    assert_memory_equal(&head, &f->head, sizeof head);
    for (uint32_t i = 0; i < f->count; i++) {
        const struct item *it = &f->items[i];
        assert_true(wal_decode_sample(&d, &s));
        assert_int_equal(s.local, it->local);
        assert_int_equal(s.kind, it->kind);
        assert_true(s.t_ms == it->t_ms);
        assert_true(s.start_ms == it->start_ms);
        if (it->kind == TSDB_SAMPLE_FLOAT) {
            assert_true(b->has[s.local] || !s.needs_base);
            assert_true(wal_sample_unpack(&s, b->bits[s.local]) == it->bits);
            b->has[s.local] = true;
            b->bits[s.local] = it->bits;
        } else {
            assert_int_equal(s.raw.len, it->raw_len);
            assert_memory_equal(s.raw.data, it->raw, it->raw_len);
        }
    }
    assert_false(wal_decode_sample(&d, &s));
    assert_false(d.failed);
}

static void wal_encode__random_samples__decode_to_the_same(void **state)
{
    (void)state;
    static struct frame f;
    static struct bases in, out;
    struct tsdb_prng p;
    memset(&in, 0, sizeof in);
    memset(&out, 0, sizeof out);
    tsdb_prng_init(&p, 99);
    for (int round = 0; round < 2000; round++) {
        frame_make(&f, &p, &in);
        frame_check(&f, &out);
    }
}

static void wal_encode_float__unchanged_values__share_one_control_byte(void **state)
{
    (void)state;
    uint8_t bytes[4096];
    struct wal_encoder e;
    struct wal_frame_head head;
    struct wal_decoder d;
    struct wal_sample s;
    wal_encoder_init(&e, bytes, bytes + sizeof bytes);
    wal_frame_begin(&e, WAL_RECORD_SAMPLES, 0, 1, 1, 1);
    const uint8_t *begin = e.pos;
    for (uint32_t i = 0; i < 14; i++) {
        wal_encode_float(&e, 5 + i, 1000, 0, 3, true, 3);
    }
    assert_int_equal(e.pos - begin,
                     3 + 3); /* runs of 6, 6 and 2; the first has local id and time */
    wal_encode_float(&e, 19, 1001, 0, 3, true, 3); /* another time: no run */
    wal_encode_float(&e, 21, 1001, 0, 3, true, 3); /* an id left out: no run */
    wal_frame_end(&e);
    assert_ok(wal_decode_head(bytes + WAL_FRAME_HEADER_BYTES,
                              tsdb_load_le32(bytes + WAL_FRAME_AT_LEN), &head, &d, NULL));
    for (uint32_t i = 0; i < 16; i++) {
        assert_true(wal_decode_sample(&d, &s));
        assert_int_equal(s.local, i < 15 ? 5 + i : 21);
        assert_int_equal(s.t_ms, i < 14 ? 1000 : 1001);
        assert_true(s.needs_base);
    }
    assert_false(wal_decode_sample(&d, &s));
    assert_false(d.failed);
}

static void wal_encode_series__labels__decode_to_canonical_bytes(void **state)
{
    (void)state;
    struct tsdb_label items[] = {tsdb_label_make("__name__", "up"), tsdb_label_make("job", "node")};
    struct tsdb_labels labels = {items, 2};
    uint8_t bytes[1024], canonical[64];
    struct wal_encoder e;
    struct wal_frame_head head;
    struct wal_decoder d;
    struct tsdb_slice found;
    uint32_t local;
    size_t len = tsdb_labels_encode(&labels, canonical);
    wal_encoder_init(&e, bytes, bytes + sizeof bytes);
    wal_frame_begin(&e, WAL_RECORD_SERIES, 9, 1, 2, 3);
    wal_encode_series(&e, 0, &labels);
    wal_encode_series(&e, TSDB_SERIES_LOCAL_MAX - 1, &labels);
    wal_encode_series(&e, 17, &labels);
    wal_frame_end(&e);
    assert_ok(wal_decode_head(bytes + WAL_FRAME_HEADER_BYTES,
                              tsdb_load_le32(bytes + WAL_FRAME_AT_LEN), &head, &d, NULL));
    static const uint32_t locals[] = {0, TSDB_SERIES_LOCAL_MAX - 1, 17};
    for (int i = 0; i < 3; i++) {
        assert_true(wal_decode_series(&d, &local, &found));
        assert_int_equal(local, locals[i]);
        assert_int_equal(found.len, len);
        assert_memory_equal(found.data, canonical, len);
    }
    assert_false(wal_decode_series(&d, &local, &found));
    assert_false(d.failed);
}

static void wal_encode_exemplar__labels_and_value__decode_to_the_same(void **state)
{
    (void)state;
    struct tsdb_label items[] = {tsdb_label_make("trace_id", "abc")}, out_items[4];
    struct tsdb_exemplar x = {.labels = {items, 1}, .bits = TSDB_STALE_NAN_BITS, .t_ms = -5}, out;
    struct tsdb_exemplar bare = {.bits = 1};
    uint8_t bytes[1024];
    struct wal_encoder e;
    struct wal_frame_head head;
    struct wal_decoder d;
    uint32_t local;
    wal_encoder_init(&e, bytes, bytes + sizeof bytes);
    wal_frame_begin(&e, WAL_RECORD_EXEMPLARS, 9, 1, 2, 3);
    wal_encode_exemplar(&e, 4, &x);
    wal_encode_exemplar(&e, 4, &bare);
    wal_frame_end(&e);
    assert_ok(wal_decode_head(bytes + WAL_FRAME_HEADER_BYTES,
                              tsdb_load_le32(bytes + WAL_FRAME_AT_LEN), &head, &d, NULL));
    assert_true(wal_decode_exemplar(&d, &local, out_items, 4, &out));
    assert_int_equal(local, 4);
    assert_true(out.bits == x.bits && out.t_ms == x.t_ms);
    assert_true(tsdb_labels_equal(&out.labels, &x.labels));
    assert_true(wal_decode_exemplar(&d, &local, out_items, 4, &out));
    assert_int_equal(out.labels.count, 0);
    assert_int_equal(out.t_ms, 0);
    assert_false(wal_decode_exemplar(&d, &local, out_items, 4, &out));
    assert_false(d.failed);
}

/* ---- hostile bytes, against a page that faults ---- */

/* Decode as every type; returns items of the samples form. */
static uint32_t decode_all(const uint8_t *payload, uint32_t len)
{
    struct wal_frame_head head;
    struct wal_decoder d, begin;
    struct wal_sample s;
    struct tsdb_slice labels;
    struct tsdb_label items[8];
    struct tsdb_exemplar x;
    uint32_t n = 0, local;
    if (wal_decode_head(payload, len, &head, &begin, NULL) != TSDB_OK) {
        return 0;
    }
    for (d = begin; wal_decode_sample(&d, &s); n++) {
        (void)wal_sample_unpack(&s, n);
        assert_true(s.local < TSDB_SERIES_LOCAL_MAX);
    }
    for (d = begin; wal_decode_series(&d, &local, &labels);) {
        assert_true(labels.data + labels.len <= payload + len);
    }
    for (d = begin; wal_decode_exemplar(&d, &local, items, 8, &x);) {
    }
    return n;
}

static void wal_decode__truncated_anywhere__stops_inside(void **state)
{
    (void)state;
    static struct frame f;
    static struct bases b;
    struct tsdb_prng p;
    struct test_guard g;
    test_guard_init(&g, 16384);
    tsdb_prng_init(&p, 5);
    for (int round = 0; round < 20; round++) {
        memset(&b, 0, sizeof b);
        frame_make(&f, &p, &b);
        uint32_t len = tsdb_load_le32(f.bytes + WAL_FRAME_AT_LEN), before = 0;
        if (len > g.bytes) {
            continue;
        }
        for (uint32_t cut = 0; cut <= len; cut++) {
            uint32_t n =
                decode_all(test_guard_at_end(&g, f.bytes + WAL_FRAME_HEADER_BYTES, cut), cut);
            assert_true(n >= before); /* more bytes, no fewer items */
            before = n;
        }
        assert_int_equal(before, f.count);
    }
    test_guard_deinit(&g);
}

static void wal_decode__random_bytes__stops_inside(void **state)
{
    (void)state;
    struct tsdb_prng p;
    struct test_guard g;
    test_guard_init(&g, 4096);
    tsdb_prng_init(&p, 6);
    for (int round = 0; round < 30000; round++) {
        uint8_t bytes[120];
        uint32_t len = (uint32_t)tsdb_prng_below(&p, sizeof bytes);
        for (uint32_t i = 0; i < len; i++) {
            /* Small bytes reach deeper than uniform ones. */
            bytes[i] = (uint8_t)(tsdb_prng_next(&p) >> (56 + round % 7));
        }
        decode_all(test_guard_at_end(&g, bytes, len), len);
    }
    test_guard_deinit(&g);
}

static void wal_decode_sample__local_id_out_of_range__fails(void **state)
{
    (void)state;
    /* Control byte with local delta 2^26 + 1, so the id is 2^26. */
    uint8_t payload[] = {1, 0, 1, WAL_SAMPLE_LOCAL, 0x82, 0x80, 0x80, 0x40};
    struct wal_frame_head head;
    struct wal_decoder d;
    struct wal_sample s;
    assert_ok(wal_decode_head(payload, sizeof payload, &head, &d, NULL));
    assert_false(wal_decode_sample(&d, &s));
    assert_true(d.failed);
    payload[4] = 0x80; /* one less: the last id there is */
    assert_ok(wal_decode_head(payload, sizeof payload, &head, &d, NULL));
    assert_true(wal_decode_sample(&d, &s));
    assert_int_equal(s.local, TSDB_SERIES_LOCAL_MAX - 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wal_encode__random_samples__decode_to_the_same),
    cmocka_unit_test(wal_encode_float__unchanged_values__share_one_control_byte),
    cmocka_unit_test(wal_encode_series__labels__decode_to_canonical_bytes),
    cmocka_unit_test(wal_encode_exemplar__labels_and_value__decode_to_the_same),
    cmocka_unit_test(wal_decode__truncated_anywhere__stops_inside),
    cmocka_unit_test(wal_decode__random_bytes__stops_inside),
    cmocka_unit_test(wal_decode_sample__local_id_out_of_range__fails),
};
TEST_MAIN(tests)
