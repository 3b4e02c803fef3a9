#include "tests/support/test.h"

#include "base/random.h"
#include "tests/support/guard.h"
#include "wal/wal_format.h"

#include <stdio.h>

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
    bool backlog = false;
    f->count = (uint32_t)tsdb_prng_below(p, ITEMS_MAX + 1);
    f->head = (struct wal_frame_head){tsdb_prng_next(p) >> tsdb_prng_below(p, 64),
                                      tsdb_prng_next(p), tsdb_prng_below(p, 1000)};
    wal_encoder_init(&e, f->bytes, f->bytes + sizeof f->bytes);
    wal_group_begin(&e, WAL_RECORD_SAMPLES, 63, t_ms, f->head.log_seq, f->head.write_seq,
                    f->head.epoch);
    for (uint32_t i = 0; i < f->count; i++) {
        struct item *it = &f->items[i];
        memset(it, 0, sizeof *it);
        backlog = tsdb_prng_below(p, 12) ? backlog : !backlog; /* more of one series, at a pace */
        if (!backlog) {
            local =
                tsdb_prng_below(p, 8) ? (local + 1) % LOCALS : (uint32_t)tsdb_prng_below(p, LOCALS);
        }
        t_ms = backlog && tsdb_prng_below(p, 8) ? wal_time_add(t_ms, 15000) : time_next(p, t_ms);
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

/* The one group of a frame. */
static struct wal_group only_group(const uint8_t *frame)
{
    struct wal_groups groups = {.pos = frame + WAL_FRAME_HEADER_BYTES,
                                .end = frame + WAL_FRAME_HEADER_BYTES +
                                       tsdb_load_le32(frame + WAL_FRAME_AT_LEN)};
    struct wal_group g, more;
    assert_int_equal(frame[WAL_FRAME_AT_TYPE], WAL_FRAME_GROUPS);
    assert_true(wal_groups_next(&groups, &g));
    assert_false(wal_groups_next(&groups, &more));
    assert_false(groups.failed);
    return g;
}

/* Its items, behind the numbers that begin it. */
static struct wal_decoder only_items(const uint8_t *frame)
{
    struct wal_group g = only_group(frame);
    struct wal_frame_head head;
    struct wal_decoder d;
    assert_ok(wal_decode_head(g.body.data, (uint32_t)g.body.len, g.time_ms, &head, &d, NULL));
    return d;
}

static void frame_check(const struct frame *f, struct bases *b)
{
    struct wal_frame_head head;
    struct wal_decoder d;
    struct wal_sample s;
    struct tsdb_error err;
    uint32_t len = tsdb_load_le32(f->bytes + WAL_FRAME_AT_LEN);
    assert_int_equal(wal_frame_bytes(len), f->len);
    struct wal_group g = only_group(f->bytes);
    assert_int_equal(g.type, WAL_RECORD_SAMPLES);
    assert_int_equal(g.partition, 63);
    assert_ok_err(wal_decode_head(g.body.data, (uint32_t)g.body.len, g.time_ms, &head, &d, &err),
                  &err);
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
    struct wal_decoder d;
    struct wal_sample s;
    wal_encoder_init(&e, bytes, bytes + sizeof bytes);
    wal_group_begin(&e, WAL_RECORD_SAMPLES, 0, 1000, 1, 1, 1);
    const uint8_t *begin = e.pos;
    for (uint32_t i = 0; i < 72; i++) {
        wal_encode_float(&e, 5 + i, 1000, 0, 3, true, 3);
    }
    assert_int_equal(e.pos - begin, 2 + 3); /* runs of 34, 34 and 4; the first has a local id */
    wal_encode_float(&e, 77, 1001, 0, 3, true, 3); /* another time: no run */
    wal_encode_float(&e, 79, 1001, 0, 3, true, 3); /* an id left out: no run */
    wal_frame_end(&e);
    d = only_items(bytes);
    for (uint32_t i = 0; i < 74; i++) {
        assert_true(wal_decode_sample(&d, &s));
        assert_int_equal(s.local, i < 73 ? 5 + i : 79);
        assert_int_equal(s.t_ms, i < 72 ? 1000 : 1001);
        assert_true(s.needs_base);
    }
    assert_false(wal_decode_sample(&d, &s));
    assert_false(d.failed);
}

/* What a sender had kept, or a backfill: many samples of each series, at one pace. */
static void wal_encode_float__backlog_of_series__time_and_id_once(void **state)
{
    (void)state;
    enum {
        SERIES = 3,
        EACH = 30
    };
    static const size_t bytes[SERIES] = {
        2 + 1 + 4 + 1, /* id 5, unchanged; the pace with the second, 29 in a run */
        2 + 30,        /* the next id; the times are known, each value is a step of 1 */
        1,             /* all of it follows */
    };
    uint8_t log[1024];
    struct wal_encoder e;
    struct wal_sample s;
    wal_encoder_init(&e, log, log + sizeof log);
    wal_group_begin(&e, WAL_RECORD_SAMPLES, 0, 600000, 1, 1, 1);
    for (uint32_t k = 0; k < SERIES; k++) {
        const uint8_t *begin = e.pos;
        for (uint32_t i = 1; i <= EACH; i++) {
            uint64_t base = tsdb_double_bits(k == 1 ? i : 7);
            wal_encode_float(&e, 5 + k, 600000 * (int64_t)i, 0,
                             tsdb_double_bits(k == 1 ? i + 1 : 7), true, base);
        }
        assert_int_equal(e.pos - begin, bytes[k]);
    }
    wal_encode_float(&e, 8, 600000 * (int64_t)EACH, 0, 3, true,
                     3); /* the next id, at the same time */
    wal_encode_float(&e, 9, 600000 * (int64_t)EACH, 0, 3, true, 3); /* and as at first */
    wal_frame_end(&e);
    struct wal_decoder d = only_items(log);
    for (uint32_t n = 0; n < SERIES * EACH + 2; n++) {
        uint32_t k = TSDB_MIN(n / EACH, (uint32_t)SERIES);
        assert_true(wal_decode_sample(&d, &s));
        assert_int_equal(s.local, k < SERIES ? 5 + k : 8 + n - SERIES * EACH);
        assert_int_equal(s.t_ms, 600000 * (int64_t)(k < SERIES ? n % EACH + 1 : EACH));
    }
    assert_false(wal_decode_sample(&d, &s));
    assert_false(d.failed);
}

/* Steps that fit the control byte, and the first that do not. */
static void wal_encode_float__steps_of_integers__one_byte_where_they_fit(void **state)
{
    (void)state;
    static const struct {
        double step;
        size_t bytes;
    } cases[] = {{1, 1},   {-1, 1},  {80, 1},   {-80, 1}, {81, 2},
                 {-81, 2}, {127, 2}, {-128, 2}, {128, 3}};
    uint8_t bytes[1024];
    struct wal_encoder e;
    struct wal_sample s;
    wal_encoder_init(&e, bytes, bytes + sizeof bytes);
    wal_group_begin(&e, WAL_RECORD_SAMPLES, 0, 1000, 1, 1, 1);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        const uint8_t *begin = e.pos;
        wal_encode_float(&e, i, 1000, 0, tsdb_double_bits(500 + cases[i].step), true,
                         tsdb_double_bits(500));
        assert_int_equal(e.pos - begin, cases[i].bytes);
    }
    wal_frame_end(&e);
    struct wal_decoder d = only_items(bytes);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
        assert_true(wal_decode_sample(&d, &s));
        assert_int_equal(s.local, i);
        assert_true(wal_sample_unpack(&s, tsdb_double_bits(500)) ==
                    tsdb_double_bits(500 + cases[i].step));
    }
    assert_false(wal_decode_sample(&d, &s));
    assert_false(d.failed);
}

/* A byte that says where the sample is, and then nothing or another such byte. */
static void wal_decode_sample__place_without_a_sample__fails(void **state)
{
    (void)state;
    for (uint8_t first = WAL_SAMPLE_PLACE + 1; first < WAL_SAMPLE_PLACE_END; first++) {
        for (uint8_t then = WAL_SAMPLE_PLACE + 1; then <= WAL_SAMPLE_PLACE_END; then++) {
            uint8_t payload[] = {1, 0, 1, first, 2, 2, then, 0};
            bool both = first == WAL_SAMPLE_PLACE + (WAL_PLACE_LOCAL | WAL_PLACE_TIME);
            uint32_t n = both ? 6 : 5; /* up to `then` */
            struct wal_frame_head head;
            struct wal_decoder d;
            struct wal_sample s;
            memmove(&payload[n], &payload[6], 2);
            uint32_t len = n + (then < WAL_SAMPLE_PLACE_END);
            assert_ok(wal_decode_head(payload, len, 0, &head, &d, NULL));
            assert_false(wal_decode_sample(&d, &s));
            assert_true(d.failed);
        }
    }
}

static void wal_encode_series__labels__decode_to_canonical_bytes(void **state)
{
    (void)state;
    struct tsdb_label items[] = {tsdb_label_make("__name__", "up"), tsdb_label_make("job", "node")};
    struct tsdb_labels labels = {items, 2};
    uint8_t bytes[1024], canonical[64];
    struct wal_encoder e;
    struct wal_decoder d;
    struct tsdb_buf found;
    uint32_t local;
    size_t len = tsdb_labels_encode(&labels, canonical);
    tsdb_buf_init(&found, TSDB_MEM_OTHER, 0);
    wal_encoder_init(&e, bytes, bytes + sizeof bytes);
    wal_group_begin(&e, WAL_RECORD_SERIES, 9, 77, 1, 2, 3);
    wal_encode_series(&e, 0, &labels);
    wal_encode_series(&e, TSDB_SERIES_LOCAL_MAX - 1, &labels);
    wal_encode_series(&e, 17, &labels);
    wal_frame_end(&e);
    d = only_items(bytes);
    static const uint32_t locals[] = {0, TSDB_SERIES_LOCAL_MAX - 1, 17};
    for (int i = 0; i < 3; i++) {
        assert_true(wal_decode_series(&d, &found, &local));
        assert_int_equal(local, locals[i]);
        assert_int_equal(found.len, len);
        assert_memory_equal(found.data, canonical, len);
    }
    assert_false(wal_decode_series(&d, &found, &local));
    assert_false(d.failed || found.failed);
    tsdb_buf_deinit(&found);
}

/* Labels of one series after another, from a few bytes to more than are compared, that share a
 * beginning, an end, both, all or nothing. */
static void wal_encode_series__labels_that_share__decode_to_the_same(void **state)
{
    (void)state;
    enum {
        ROUNDS = 300,
        BIG = 3 * WAL_SERIES_SHARED_MAX
    };
    static char values[ROUNDS][3][BIG];
    static uint8_t bytes[ROUNDS * 4 * BIG], canonical[4 * BIG];
    static const uint32_t sizes[] = {1, 7, 8, 9, 40, 127, 129, 700, BIG};
    struct wal_encoder e;
    struct tsdb_prng prng;
    struct tsdb_buf found;
    uint32_t local;
    static struct tsdb_label items[ROUNDS][3];
    tsdb_prng_init(&prng, 41);
    wal_encoder_init(&e, bytes, bytes + sizeof bytes);
    wal_group_begin(&e, WAL_RECORD_SERIES, 9, 77, 1, 2, 3);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        static const char *const names[] = {"__name__", "job", "z"};
        for (uint32_t k = 0; k < 3; k++) {
            uint64_t most = k == 1 && tsdb_prng_below(&prng, 20) ? 8 : TSDB_ARRAY_LEN(sizes);
            uint32_t len = sizes[tsdb_prng_below(&prng, most)];
            bool same = i > 0 && tsdb_prng_below(&prng, 2);
            memset(values[i][k], 'a', len);
            values[i][k][tsdb_prng_below(&prng, len)] = (char)('a' + tsdb_prng_below(&prng, 2));
            items[i][k] =
                same ? items[i - 1][k]
                     : (struct tsdb_label){names[k], values[i][k], (uint32_t)strlen(names[k]), len};
        }
        struct tsdb_labels labels = {items[i], 3};
        wal_encode_series(&e, i * 2, &labels);
    }
    wal_frame_end(&e);
    tsdb_buf_init(&found, TSDB_MEM_OTHER, 0);
    struct wal_decoder d = only_items(bytes);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct tsdb_labels labels = {items[i], 3};
        assert_true(wal_decode_series(&d, &found, &local));
        assert_int_equal(local, i * 2);
        assert_int_equal(found.len, tsdb_labels_encode(&labels, canonical));
        assert_memory_equal(found.data, canonical, found.len);
    }
    assert_false(wal_decode_series(&d, &found, &local));
    assert_false(d.failed || found.failed);
    tsdb_buf_deinit(&found);
}

/* What a series of a target costs: its id, three counts, and the bytes of its metric's name. */
static void wal_encode_series__series_of_a_target__few_bytes_each(void **state)
{
    (void)state;
    static uint8_t bytes[64 * 1024];
    char name[32];
    struct tsdb_label items[] = {
        tsdb_label_make("__name__", ""), tsdb_label_make("instance", "10.0.0.1:9100"),
        tsdb_label_make("job", "node"), tsdb_label_make("pod", "exporter-5f7d8c9b6-00001")};
    struct wal_encoder e;
    wal_encoder_init(&e, bytes, bytes + sizeof bytes);
    wal_group_begin(&e, WAL_RECORD_SERIES, 9, 77, 1, 2, 3);
    for (uint32_t i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "node_metric_number_%02u", i);
        items[0] = tsdb_label_make("__name__", name);
        wal_encode_series(&e, i, &(struct tsdb_labels){items, 4});
    }
    wal_frame_end(&e);
    assert_in_range(e.pos - bytes, 100, 900);
}

static void wal_decode_series__counts_beyond_what_was_before__fail(void **state)
{
    (void)state;
    /* id difference, begin, end, bytes */
    static const uint8_t bad[][12] = {
        {2, 1, 0, 0},                         /* begin of nothing */
        {2, 0, 1, 0},                         /* end of nothing */
        {2, 0, 0, 3, 'a', 'b', 'c', 2, 4, 0}, /* begin: one more than there is */
        {2, 0, 0, 3, 'a', 'b', 'c', 2, 2, 2}, /* both: they overlap */
        {2, 0, 0, 9, 'a'},                    /* bytes behind the end */
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        struct tsdb_buf labels;
        struct wal_decoder d = {.pos = bad[i], .end = bad[i] + sizeof bad[i]};
        uint32_t local;
        tsdb_buf_init(&labels, TSDB_MEM_OTHER, 0);
        tsdb_buf_put_str(&labels, "of another body");
        for (int k = 0; k < 4 && wal_decode_series(&d, &labels, &local); k++) {
        }
        assert_true(d.failed);
        tsdb_buf_deinit(&labels);
    }
}

static void wal_encode_exemplar__labels_and_value__decode_to_the_same(void **state)
{
    (void)state;
    struct tsdb_label items[] = {tsdb_label_make("trace_id", "abc")}, out_items[4];
    struct tsdb_exemplar x = {.labels = {items, 1}, .bits = TSDB_STALE_NAN_BITS, .t_ms = -5}, out;
    struct tsdb_exemplar bare = {.bits = 1};
    uint8_t bytes[1024];
    struct wal_encoder e;
    struct wal_decoder d;
    uint32_t local;
    wal_encoder_init(&e, bytes, bytes + sizeof bytes);
    wal_group_begin(&e, WAL_RECORD_EXEMPLARS, 9, 3, 1, 2, 3);
    wal_encode_exemplar(&e, 4, &x);
    wal_encode_exemplar(&e, 4, &bare);
    wal_frame_end(&e);
    d = only_items(bytes);
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

/* ---- groups ---- */

/* A frame of a batch of two partitions: labels, samples, an exemplar; then samples of the other. */
static size_t groups_make(uint8_t *out, size_t cap)
{
    struct tsdb_label items[] = {tsdb_label_make("__name__", "up")};
    struct tsdb_labels labels = {items, 1};
    struct tsdb_exemplar x = {.bits = 1, .t_ms = 1700000000007};
    struct wal_encoder e;
    wal_encoder_init(&e, out, out + cap);
    wal_group_begin(&e, WAL_RECORD_SERIES, 5, 9, 100, 99, 7);
    wal_encode_series(&e, 0, &labels);
    wal_group_end(&e);
    wal_group_begin(&e, WAL_RECORD_SAMPLES, 5, 1700000000000, 101, 99, 7);
    wal_encode_float(&e, 0, 1700000000000, 0, 3, false, 0);
    wal_encode_float(&e, 1, 1700000000002, 0, 3, false, 0);
    wal_group_end(&e);
    wal_group_begin(&e, WAL_RECORD_EXEMPLARS, 5, x.t_ms, 102, 99, 7);
    wal_encode_exemplar(&e, 0, &x);
    wal_group_end(&e);
    wal_group_begin(&e, WAL_RECORD_SAMPLES, 63, 1699999999000, 9, 9, 8);
    for (uint32_t i = 0; i < 300; i++) { /* a length of two bytes */
        wal_encode_float(&e, i, 1699999999000, 0, i * UINT64_C(0x123456789abcd), false, 0);
    }
    wal_frame_end(&e);
    return (size_t)(e.pos - out);
}

static void wal_groups_next__several_partitions_in_a_frame__each_by_itself(void **state)
{
    (void)state;
    static const struct {
        enum wal_record_type type;
        uint32_t partition;
        uint64_t log_seq, epoch;
        int64_t time_ms;
    } want[] = {
        {WAL_RECORD_SERIES, 5, 100, 7, 0},
        {WAL_RECORD_SAMPLES, 5, 101, 7, 1700000000000},
        {WAL_RECORD_EXEMPLARS, 5, 102, 7, 1700000000007},
        {WAL_RECORD_SAMPLES, 63, 9, 8, 1699999999000},
    };
    static uint8_t bytes[32768];
    size_t len = groups_make(bytes, sizeof bytes);
    uint32_t payload = tsdb_load_le32(bytes + WAL_FRAME_AT_LEN);
    assert_int_equal(wal_frame_bytes(payload), len);
    struct wal_groups groups = {.pos = bytes + WAL_FRAME_HEADER_BYTES,
                                .end = bytes + WAL_FRAME_HEADER_BYTES + payload};
    struct wal_group g;
    struct wal_frame_head head;
    struct wal_decoder d;
    struct wal_sample s;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(want); i++) {
        assert_true(wal_groups_next(&groups, &g));
        assert_int_equal(g.type, want[i].type);
        assert_int_equal(g.partition, want[i].partition);
        assert_true(g.time_ms == want[i].time_ms);
        assert_ok(wal_decode_head(g.body.data, (uint32_t)g.body.len, g.time_ms, &head, &d, NULL));
        assert_true(head.log_seq == want[i].log_seq && head.epoch == want[i].epoch);
        uint32_t n = 0;
        while (g.type == WAL_RECORD_SAMPLES && wal_decode_sample(&d, &s)) {
            assert_int_equal(s.local, n);
            assert_true(s.t_ms == want[i].time_ms + (i == 1 ? 2 * n : 0));
            n++;
        }
        assert_int_equal(n, i == 1 ? 2 : i == 3 ? 300 : 0);
    }
    assert_false(wal_groups_next(&groups, &g));
    assert_false(groups.failed);
}

static void wal_groups_next__cut_anywhere__fails_unless_between_groups(void **state)
{
    (void)state;
    static uint8_t bytes[32768];
    struct test_guard guard;
    test_guard_init(&guard, sizeof bytes);
    (void)groups_make(bytes, sizeof bytes);
    uint32_t payload = tsdb_load_le32(bytes + WAL_FRAME_AT_LEN), whole = 0;
    for (uint32_t cut = 0; cut <= payload; cut++) {
        const uint8_t *p = test_guard_at_end(&guard, bytes + WAL_FRAME_HEADER_BYTES, cut);
        struct wal_groups groups = {.pos = p, .end = p + cut};
        struct wal_group g;
        while (wal_groups_next(&groups, &g)) {
        }
        whole += !groups.failed;
    }
    assert_int_equal(whole, 5); /* of 0 to 4 groups */
    test_guard_deinit(&guard);
}

static void wal_groups_next__impossible_heads__failed(void **state)
{
    (void)state;
    static const uint8_t heads[][8] = {
        {0x05, 0, 3, 1, 0, 1},                        /* no type */
        {0x45, 0, 2, 1, 0, 1},                        /* a body without its numbers */
        {0x45, 0, 6, 1, 0, 1, 0, 0},                  /* longer than what is there */
        {0x45, 0xff, 0xff, 0xff, 0xff, 0xff, 3, 1},   /* a time without end */
        {0x45, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f} /* a length that no file has */
    };
    struct wal_group g;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(heads); i++) {
        struct wal_groups groups = {.pos = heads[i], .end = heads[i] + sizeof heads[i]};
        assert_false(wal_groups_next(&groups, &g));
        assert_true(groups.failed);
        assert_false(wal_groups_next(&groups, &g));
    }
}

/* ---- hostile bytes, against a page that faults ---- */

/* Decode as every type; returns items of the samples form. */
static uint32_t body_decode(const uint8_t *payload, uint32_t len)
{
    struct wal_frame_head head;
    struct wal_decoder d, begin;
    struct wal_sample s;
    struct tsdb_buf labels;
    struct tsdb_label items[8];
    struct tsdb_exemplar x;
    uint32_t n = 0, local;
    if (wal_decode_head(payload, len, 5, &head, &begin, NULL) != TSDB_OK) {
        return 0;
    }
    for (d = begin; wal_decode_sample(&d, &s); n++) {
        (void)wal_sample_unpack(&s, n);
        assert_true(s.local < TSDB_SERIES_LOCAL_MAX);
    }
    tsdb_buf_init(&labels, TSDB_MEM_OTHER, 0);
    for (d = begin; wal_decode_series(&d, &labels, &local);) {
        assert_true(labels.len <= len);
    }
    tsdb_buf_deinit(&labels);
    for (d = begin; wal_decode_exemplar(&d, &local, items, 8, &x);) {
    }
    return n;
}

/* As groups, and as the body of one. */
static uint32_t decode_all(const uint8_t *payload, uint32_t len)
{
    struct wal_groups groups = {.pos = payload, .end = payload + len};
    struct wal_group g;
    while (wal_groups_next(&groups, &g)) {
        assert_true(g.partition < TSDB_PARTITIONS && g.type >= WAL_RECORD_SERIES &&
                    g.type <= WAL_RECORD_EXEMPLARS);
        assert_true(g.body.data >= payload && g.body.data + g.body.len <= payload + len);
        body_decode(g.body.data, (uint32_t)g.body.len);
    }
    return body_decode(payload, len);
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
        struct tsdb_slice body = only_group(f.bytes).body;
        uint32_t len = (uint32_t)body.len, before = 0;
        if (len > g.bytes) {
            continue;
        }
        for (uint32_t cut = 0; cut <= len; cut++) {
            uint32_t n = decode_all(test_guard_at_end(&g, body.data, cut), cut);
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
    /* A place with local delta 2^26 + 1, so the id is 2^26. */
    uint8_t payload[] = {1, 0, 1, WAL_SAMPLE_PLACE + WAL_PLACE_LOCAL, 0x82, 0x80, 0x80, 0x40, 0};
    struct wal_frame_head head;
    struct wal_decoder d;
    struct wal_sample s;
    assert_ok(wal_decode_head(payload, sizeof payload, 0, &head, &d, NULL));
    assert_false(wal_decode_sample(&d, &s));
    assert_true(d.failed);
    payload[4] = 0x80; /* one less: the last id there is */
    assert_ok(wal_decode_head(payload, sizeof payload, 0, &head, &d, NULL));
    assert_true(wal_decode_sample(&d, &s));
    assert_int_equal(s.local, TSDB_SERIES_LOCAL_MAX - 1);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(wal_encode__random_samples__decode_to_the_same),
    cmocka_unit_test(wal_groups_next__several_partitions_in_a_frame__each_by_itself),
    cmocka_unit_test(wal_groups_next__cut_anywhere__fails_unless_between_groups),
    cmocka_unit_test(wal_groups_next__impossible_heads__failed),
    cmocka_unit_test(wal_encode_float__unchanged_values__share_one_control_byte),
    cmocka_unit_test(wal_encode_float__steps_of_integers__one_byte_where_they_fit),
    cmocka_unit_test(wal_encode_float__backlog_of_series__time_and_id_once),
    cmocka_unit_test(wal_decode_sample__place_without_a_sample__fails),
    cmocka_unit_test(wal_encode_series__labels__decode_to_canonical_bytes),
    cmocka_unit_test(wal_encode_series__labels_that_share__decode_to_the_same),
    cmocka_unit_test(wal_encode_series__series_of_a_target__few_bytes_each),
    cmocka_unit_test(wal_decode_series__counts_beyond_what_was_before__fail),
    cmocka_unit_test(wal_encode_exemplar__labels_and_value__decode_to_the_same),
    cmocka_unit_test(wal_decode__truncated_anywhere__stops_inside),
    cmocka_unit_test(wal_decode__random_bytes__stops_inside),
    cmocka_unit_test(wal_decode_sample__local_id_out_of_range__fails),
};
TEST_MAIN(tests)
