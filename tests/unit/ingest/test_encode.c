#include "tests/support/test.h"

#include "ingest/remote_write_v2.h"
#include "tests/support/ingest/encode.h"

#include <stdio.h>

/* Content is compared in the tests of the decoders; here what only the encoder has: its symbol
 * table, and its memory. */

#define SERIES 2000

struct many {
    char values[SERIES][16];
    struct tsdb_label labels[SERIES][2];
    struct encode_sample sample;
    struct encode_series series[SERIES];
};

static void many_init(struct many *m)
{
    m->sample = (struct encode_sample){.t_ms = 1700000000000, .bits = 1};
    for (uint32_t i = 0; i < SERIES; i++) {
        snprintf(m->values[i], sizeof m->values[i], "host-%u", i / 2);
        m->labels[i][0] = tsdb_label_make("__name__", i % 2 == 0 ? "up" : "down");
        m->labels[i][1] = tsdb_label_make("instance", m->values[i]);
        m->series[i] = (struct encode_series){
            .labels = {m->labels[i], 2}, .samples = &m->sample, .sample_count = 1};
    }
}

static void v2_request__many_symbols__each_once_and_all_resolve(void **state)
{
    (void)state;
    static struct many m;
    many_init(&m);
    struct tsdb_buf b;
    struct tsdb_arena arena;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(encode_v2_request(m.series, SERIES, &b));
    struct remote_write_v2_walker w;
    assert_ok(remote_write_v2_open(&w, b.data, b.len, &arena, NULL));
    assert_int_equal(w.symbol_count, 1 + 2 + 2 + SERIES / 2);
    struct remote_write_series s;
    for (uint32_t i = 0; i < SERIES; i++) {
        assert_int_equal(remote_write_v2_next(&w, &s), REMOTE_WRITE_SERIES);
        struct tsdb_label items[2];
        uint32_t count = 0;
        assert_ok(remote_write_v2_read_labels(&w, &s, items, 2, &count, NULL));
        struct tsdb_labels got = {items, count};
        assert_true(tsdb_labels_equal(&got, &m.series[i].labels));
    }
    assert_int_equal(remote_write_v2_next(&w, &s), REMOTE_WRITE_END);
    tsdb_arena_deinit(&arena);
    tsdb_buf_deinit(&b);
}

static void v2_request__each_allocation_fails__nomem(void **state)
{
    (void)state;
    static struct many m;
    many_init(&m);
    bool failed = true;
    int failures = 0;
    for (uint64_t nth = 1; failed; nth++) {
        struct tsdb_buf b;
        tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
        tsdb_alloc_fail_nth(nth, 0);
        enum tsdb_status status = encode_v2_request(m.series, SERIES, &b);
        failed = tsdb_alloc_fail_count() >= nth;
        tsdb_alloc_ops_set(NULL);
        assert_int_equal(status, failed ? TSDB_NOMEM : TSDB_OK);
        failures += failed;
        tsdb_buf_deinit(&b);
    }
    assert_true(failures > 5);
}

static void v1_series__buffer_over_its_bound__failed_and_snappy_says_nomem(void **state)
{
    (void)state;
    static struct many m;
    many_init(&m);
    struct tsdb_buf b;
    struct tsdb_buf body;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 100);
    tsdb_buf_init(&body, TSDB_MEM_OTHER, 0);
    encode_v1_series(&m.series[0], &b);
    assert_false(b.failed);
    for (uint32_t i = 1; i < 5; i++) {
        encode_v1_series(&m.series[i], &b);
    }
    assert_true(b.failed);
    assert_int_equal(encode_snappy(&b, &body), TSDB_NOMEM);
    tsdb_buf_deinit(&b);
    tsdb_buf_deinit(&body);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(v2_request__many_symbols__each_once_and_all_resolve),
    cmocka_unit_test(v2_request__each_allocation_fails__nomem),
    cmocka_unit_test(v1_series__buffer_over_its_bound__failed_and_snappy_says_nomem),
};
TEST_MAIN(tests)
