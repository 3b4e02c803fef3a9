/* Long results, written by many: the same bytes as by one. */
#include "tests/unit/query/rig.h"

#include "base/random.h"
#include "query/crew.h"
#include "query/query.h"

#include <stdlib.h>

#define POINTS_MAX 6000u
#define SERIES_MAX 20000u
#define VECTOR_MAX SERIES_MAX /* with one point each */
#define TEXT_BYTES 60000u     /* a label's value; no span has room for it */

struct big {
    struct tsdb_prng rng;
    struct query_point points[POINTS_MAX]; /* floats only */
    struct query_point mixed[POINTS_MAX];  /* histograms in between */
    struct tsdb_histogram histogram;
    struct query_series series[SERIES_MAX];
    struct tsdb_label long_label;
    struct tsdb_label labels[2];
};

static struct big *big_new(void)
{
    struct big *b = calloc(1, sizeof *b);
    char *text = malloc(TEXT_BYTES);
    memset(text, 'x', TEXT_BYTES);
    tsdb_prng_init(&b->rng, 20261127);
    b->histogram = (struct tsdb_histogram){.schema = 0, .sum = 1.5};
    for (uint32_t i = 0; i < POINTS_MAX; i++) {
        b->points[i] = (struct query_point){(int64_t)i * 15250, 1.0 / (i + 1), NULL};
        b->mixed[i] = b->points[i];
        b->mixed[i].histogram = i % 700 == 699 ? &b->histogram : NULL;
    }
    b->long_label = (struct tsdb_label){"long", text, 4, TEXT_BYTES};
    b->labels[0] = tsdb_label_make("instance", "localhost:9090");
    b->labels[1] = tsdb_label_make("job", "prom\"etheus\"");
    return b;
}

static void big_free(struct big *b)
{
    free((char *)(uintptr_t)b->long_label.value);
    free(b);
}

/* So many series of so many points, some of them other ones. */
static struct query_result result_of(struct big *b, enum query_type type, uint32_t series,
                                     uint32_t points, uint32_t odd)
{
    for (uint32_t i = 0; i < series; i++) {
        uint32_t n = (uint32_t)tsdb_prng_below(&b->rng, 2 * points) + 1;
        b->series[i] = (struct query_series){.labels = {b->labels, i % 3},
                                             .points = b->points,
                                             .point_count = TSDB_MIN(n, POINTS_MAX)};
        switch (odd > 0 ? tsdb_prng_below(&b->rng, odd) : 3) {
        case 0:
            b->series[i].points = b->mixed;
            break;
        case 1:
            b->series[i].labels = (struct tsdb_labels){&b->long_label, 1};
            break;
        case 2:
            b->series[i].points = b->mixed;
            b->series[i].point_count = POINTS_MAX;
            break;
        default:
            break;
        }
        if (type == QUERY_TYPE_VECTOR) {
            b->series[i].point_count = 1;
        }
    }
    return (struct query_result){.type = type, .series = b->series, .series_count = series};
}

/* In pieces; returns the longest. helped: by the crew. */
static size_t put_in_pieces(const struct query_result *result, struct tsdb_request *request,
                            struct query_crew *crew, bool helped, size_t enough,
                            struct tsdb_buf *out)
{
    struct query_json j;
    struct tsdb_buf part;
    size_t longest = 0;
    bool done = false;
    tsdb_buf_init(&part, TSDB_MEM_OTHER, 0);
    tsdb_buf_clear(out);
    query_json_begin(&j, result, request, crew);
    assert_int_equal(j.ahead != NULL, helped);
    while (!done) {
        tsdb_buf_clear(&part);
        assert_ok(query_json_put(&j, enough, &part, &done));
        longest = TSDB_MAX(longest, part.len);
        tsdb_buf_put(out, part.data, part.len);
    }
    query_json_end(&j);
    query_json_end(&j);
    tsdb_buf_deinit(&part);
    return longest;
}

static void check_same(struct rig *r, const struct query_result *result, struct query_crew *crew,
                       bool helped)
{
    struct tsdb_buf want;
    struct tsdb_request request;
    tsdb_request_init(&request, &tsdb_clock_real, TSDB_SCOPE_READ);
    tsdb_account_init(&request.account, 64u << 20, NULL);
    tsdb_buf_init(&want, TSDB_MEM_OTHER, 0);
    assert_ok(query_result_json(result, NULL, &want));
    for (size_t enough = 3000; enough < 3000000; enough *= 30) {
        size_t longest = put_in_pieces(result, &request, crew, helped, enough, &r->out);
        assert_int_equal(r->out.len, want.len);
        assert_memory_equal(r->out.data, want.data, want.len);
        assert_in_range(longest, 0, enough + QUERY_JSON_OVER_BYTES + TEXT_BYTES);
        assert_int_equal(atomic_load(&request.account.used_bytes), 0);
    }
    /* no memory for helpers, or little beside: by itself */
    tsdb_account_init(&request.account, 2u << 20, NULL);
    put_in_pieces(result, &request, crew, false, 1u << 20, &r->out);
    assert_int_equal(r->out.len, want.len);
    assert_memory_equal(r->out.data, want.data, want.len);
    tsdb_buf_deinit(&want);
}

static void query_json__long_results_with_a_crew__the_same_bytes(void **state)
{
    struct rig *r = *state;
    struct big *b = big_new();
    static const struct {
        enum query_type type;
        uint32_t series, points, odd;
        bool helped; /* it is long enough */
    } cases[] = {
        {QUERY_TYPE_MATRIX, 3000, 20, 0, true},         {QUERY_TYPE_MATRIX, 700, 240, 30, true},
        {QUERY_TYPE_MATRIX, 20, 6000, 0, true},         {QUERY_TYPE_MATRIX, 30, 4000, 5, true},
        {QUERY_TYPE_MATRIX, 1, 6000, 0, false},         {QUERY_TYPE_VECTOR, 3000, 1, 0, false},
        {QUERY_TYPE_MATRIX, 300, 20, 2, false},         {QUERY_TYPE_VECTOR, VECTOR_MAX, 1, 0, true},
        {QUERY_TYPE_VECTOR, VECTOR_MAX, 1, 5000, true}, {QUERY_TYPE_MATRIX, 3000, 20, 60, true},
    };
    for (uint32_t threads = 2; threads <= 7; threads += 5) {
        struct query_crew *crew = NULL;
        assert_ok(query_crew_create(threads, &crew, NULL));
        for (size_t i = 0; i < TSDB_ARRAY_LEN(cases); i++) {
            const struct query_result result =
                result_of(b, cases[i].type, cases[i].series, cases[i].points, cases[i].odd);
            check_same(r, &result, crew, cases[i].helped);
        }
        query_crew_destroy(crew);
    }
    big_free(b);
}

/* Left in the middle, as by a client that goes away. */
static void query_json__ended_early_or_cancelled__nothing_stays(void **state)
{
    struct rig *r = *state;
    struct big *b = big_new();
    struct query_crew *crew = NULL;
    struct tsdb_request request;
    assert_ok(query_crew_create(3, &crew, NULL));
    const struct query_result result = result_of(b, QUERY_TYPE_MATRIX, 3000, 60, 200);
    for (size_t enough = 0; enough < 3000000; enough += 300000) {
        struct query_json j;
        bool done = false;
        tsdb_request_init(&request, &tsdb_clock_real, TSDB_SCOPE_READ);
        tsdb_account_init(&request.account, 64u << 20, NULL);
        query_json_begin(&j, &result, &request, crew);
        tsdb_buf_clear(&r->out);
        assert_ok(query_json_put(&j, enough, &r->out, &done));
        assert_false(done);
        tsdb_request_cancel(&request);
        tsdb_buf_clear(&r->out);
        if (enough % 600000 == 0) {
            assert_int_equal(query_json_put(&j, SIZE_MAX, &r->out, &done), TSDB_CANCELLED);
        }
        query_json_end(&j);
        assert_int_equal(atomic_load(&request.account.used_bytes), 0);
    }
    query_crew_destroy(crew);
    big_free(b);
}

static const struct CMUnitTest tests[] = {
    RIG_TEST(query_json__long_results_with_a_crew__the_same_bytes),
    RIG_TEST(query_json__ended_early_or_cancelled__nothing_stays),
};
TEST_MAIN(tests)
