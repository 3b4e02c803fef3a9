/* Counting from ids says what asking every series for its newest sample says: wherever the samples lie, with
 * series that come, go, fall silent, are deleted, and come back. */
#include "tests/unit/tsdb/blocks_rig.h"

#define SERIES 40u
#define STEP   (RANGE / 12)
#define BACK   (5 * STEP) /* how far a count looks back */

struct story {
    struct hx *h;
    struct tsdb_prng prng;
    int64_t now_ms;             /* of the last scrape */
    uint32_t asked, told, read; /* questions; told without reading all, with some reading */
};

static uint32_t below(struct story *s, uint32_t n)
{
    return (uint32_t)tsdb_prng_below(&s->prng, n);
}

/* ---- the same by asking each ---- */

struct naive {
    struct tsdb_count_group groups[SERIES + 1];
    uint32_t count;
    uint64_t read;
};

static struct tsdb_slice value_of(const struct tsdb_labels *labels, struct tsdb_slice by)
{
    const struct tsdb_label *l =
        by.len > 0 ? tsdb_labels_find(labels, (const char *)by.data, (uint32_t)by.len) : NULL;
    return (struct tsdb_slice){l ? (const uint8_t *)l->value : NULL, l ? l->value_len : 0};
}

static bool same(struct tsdb_slice a, struct tsdb_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static struct tsdb_count_group *group_of(struct naive *n, struct tsdb_slice value)
{
    for (uint32_t i = 0; i < n->count; i++) {
        if (same(n->groups[i].value, value)) {
            return &n->groups[i];
        }
    }
    assert_true(n->count <= SERIES);
    n->groups[n->count] = (struct tsdb_count_group){value, 0};
    return &n->groups[n->count++];
}

static void count_each(struct tsdb_querier *q, const struct tsdb_matcher *m,
                       struct tsdb_time_range range, struct tsdb_slice by, struct tsdb_arena *arena,
                       struct naive *out)
{
    struct tsdb_series_set set;
    *out = (struct naive){0};
    assert_ok(tsdb_select(q, m, 1, &set, NULL));
    for (uint32_t i = 0; i < set.count; i++) {
        struct tsdb_labels labels;
        struct tsdb_columns c;
        struct tsdb_chunk_counts unused = {0};
        assert_ok(tsdb_series_labels(q, set.refs[i], arena, &labels, NULL));
        assert_ok(tsdb_series_newest(q, set.refs[i], range, arena, &c, &unused, NULL));
        struct tsdb_count_group *g = group_of(out, value_of(&labels, by));
        g->series += c.count > 0 && !tsdb_is_stale_bits(c.bits[c.count - 1]);
        out->read += c.count;
    }
}

/* ---- questions ---- */

static void ask(struct story *s, struct tsdb_querier *q, int64_t t_ms)
{
    static const struct tsdb_matcher matchers[] = {
        {TSDB_MATCH_RE, "__name__", ".+", 8, 2},
        {TSDB_MATCH_EQ, "__name__", "m3", 8, 2},
        {TSDB_MATCH_NRE, "i", "1.*", 1, 3},
        {TSDB_MATCH_EQ, "__name__", "none", 8, 4},
    };
    static const char *const names[] = {"", "__name__", "i", "nowhere"};
    const char *name = names[below(s, TSDB_ARRAY_LEN(names))];
    const struct tsdb_matcher *m = &matchers[below(s, TSDB_ARRAY_LEN(matchers))];
    const struct tsdb_slice by = {(const uint8_t *)name, strlen(name)};
    const struct tsdb_time_range range = {t_ms - BACK + 1, t_ms};
    struct tsdb_arena arena;
    struct tsdb_series_count found = {0};
    struct naive naive;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 16, NULL);
    bool naive_first = below(s, 2) == 0; /* who comes first numbers the strays */
    if (naive_first) {
        count_each(q, m, range, by, &arena, &naive);
    }
    assert_ok(tsdb_series_count(q, m, 1, range, by, &arena, &found, NULL));
    if (!naive_first) {
        count_each(q, m, range, by, &arena, &naive);
    }
    s->asked++;
    if (found.told) {
        s->told++;
        s->read += found.read > SERIES;
        assert_int_equal(found.count, naive.count);
        for (uint32_t i = 0; i < naive.count; i++) {
            assert_true(same(found.groups[i].value, naive.groups[i].value));
            assert_int_equal(found.groups[i].series, naive.groups[i].series);
        }
        assert_int_equal(found.read, naive.read);
    }
    tsdb_arena_deinit(&arena);
}

/* Two questions to one querier, as count(a) / count(b) asks them. */
static void ask_some(struct story *s)
{
    struct tsdb_querier *q = NULL;
    int64_t t_ms = s->now_ms - (below(s, 4) == 0 ? (int64_t)below(s, 20) * STEP : 0);
    const struct tsdb_time_range range = {t_ms - 2 * BACK, t_ms};
    assert_ok(tsdb_querier_open(s->h->db, NULL, range, &q, NULL));
    ask(s, q, t_ms);
    ask(s, q, t_ms - (int64_t)below(s, 3) * STEP);
    tsdb_querier_close(q);
}

/* ---- what happens ---- */

/* Of most series a sample, of some a stale marker, of some nothing; now and then one that comes late. */
static void scrape(struct story *s)
{
    struct hx_sample samples[SERIES];
    uint32_t n = 0;
    uint32_t from = below(s, SERIES / 4);
    s->now_ms += STEP;
    for (uint32_t i = from; i < SERIES; i++) {
        uint32_t what = below(s, 30);
        int64_t late_ms = what == 1 ? STEP / 3 + (int64_t)below(s, 8) * STEP : 0;
        if (what > 1 || late_ms > 0) {
            samples[n] = hx_float(i, s->now_ms - late_ms, (double)i);
            samples[n].bits = what == 2 ? TSDB_STALE_NAN_BITS : samples[n].bits;
            n++;
        }
    }
    tsdb_clock_sim_advance(&s->h->clock, STEP);
    assert_ok(hx_put(s->h, samples, n, TSDB_DURABILITY_BUFFERED, NULL));
}

static void anything(struct story *s)
{
    struct hx *h = s->h;
    switch (below(s, 24)) {
    case 0:
        flush(h);
        break;
    case 1:
        (void)tsdb_compact_step(h->db, h->clock.mono_ns);
        break;
    case 2:
        hx_seal_all(h);
        break;
    case 3:
        (void)hx_delete(h, below(s, SERIES));
        break;
    case 4:
        if (below(s, 2) == 0) {
            assert_ok(hx_close(h, NULL));
        } else {
            hx_die(h, false);
        }
        rig_open(h);
        break;
    case 5: /* nothing for as long as a count looks back, or half of it */
        s->now_ms += BACK / 2 * (1 + (int64_t)below(s, 2));
        break;
    default:
        scrape(s);
    }
    ask_some(s);
}

static void tsdb_series_count__any_story__as_asking_each(void **state)
{
    enum {
        SEEDS = 6,
        STEPS = 250
    };
    struct story s = {.h = *state};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        rig_story_begin(s.h, seed);
        tsdb_prng_init(&s.prng, seed);
        s.now_ms = HX_WALL_MS;
        for (uint32_t i = 0; i < STEPS; i++) {
            anything(&s);
        }
    }
    print_message("%u questions, %u told, %u with some that were read\n", s.asked, s.told, s.read);
    assert_true(s.told > s.asked / 4 && s.told < s.asked); /* both are tried */
    assert_true(s.read > 0);
}

/* One series is in the head alone, one in a block alone, one in both, one ended with a stale marker in the block,
 * and one comes after the querier has looked. */
static void tsdb_series_count__head_and_block__each_counts_once(void **state)
{
    struct hx *h = *state;
    const int64_t t = HX_WALL_MS;
    const struct tsdb_matcher all = {TSDB_MATCH_RE, "__name__", ".+", 8, 2};
    const struct tsdb_time_range range = {t - RANGE, t};
    struct tsdb_series_count found = {0};
    struct tsdb_querier *q = NULL;
    struct tsdb_arena arena;
    struct hx_sample stale = hx_float(3, t - 30, 0);
    stale.bits = TSDB_STALE_NAN_BITS;
    put_many(h, 1, t - 100, 1, 50);
    put_many(h, 2, t - 100, 1, 50);
    put_many(h, 3, t - 100, 1, 50);
    assert_ok(hx_put(h, &stale, 1, TSDB_DURABILITY_BUFFERED, NULL));
    flush(h);
    put_many(h, 2, t - 20, 1, 20);
    put_many(h, 4, t - 20, 1, 20);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok(tsdb_querier_open(h->db, NULL, range, &q, NULL));
    assert_ok(tsdb_series_count(q, &all, 1, range, (struct tsdb_slice){0}, &arena, &found, NULL));
    assert_true(found.told);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.groups[0].series, 3);
    assert_int_equal(found.read, 4);
    put_many(h, 5, t - 20, 1, 20);
    assert_ok(tsdb_series_count(q, &all, 1, range, (struct tsdb_slice){0}, &arena, &found, NULL));
    assert_int_equal(found.groups[0].series, 3);
    tsdb_querier_close(q);
    tsdb_arena_deinit(&arena);
}

/* Whatever little memory the request may have, it says so, and nothing is left. */
static void tsdb_series_count__little_memory__limit(void **state)
{
    struct hx *h = *state;
    const struct tsdb_matcher all = {TSDB_MATCH_RE, "__name__", ".+", 8, 2};
    const struct tsdb_time_range range = {HX_WALL_MS - RANGE, HX_WALL_MS};
    const struct tsdb_slice by = {(const uint8_t *)"i", 1};
    struct tsdb_request request;
    bool told = false;
    for (uint32_t i = 0; i < SERIES; i++) {
        put_many(h, i, HX_WALL_MS - 100, 1, 50);
    }
    flush(h);
    put_many(h, 2, HX_WALL_MS - 20, 1, 20);
    for (uint64_t bytes = 512; !told; bytes += 512) {
        struct tsdb_querier *q = NULL;
        struct tsdb_series_count found = {0};
        struct tsdb_arena arena;
        tsdb_request_init(&request, &h->options.clock, 0);
        tsdb_account_init(&request.account, bytes, NULL);
        tsdb_arena_init(&arena, TSDB_MEM_QUERY, 4096, &request.account);
        assert_ok(tsdb_querier_open(h->db, &request, range, &q, NULL));
        enum tsdb_status status = tsdb_series_count(q, &all, 1, range, by, &arena, &found, NULL);
        assert_true(status == TSDB_OK || status == TSDB_LIMIT);
        told = status == TSDB_OK;
        assert_true(!told || (found.told && found.count == SERIES));
        assert_true(bytes < 1u << 20);
        tsdb_querier_close(q);
        tsdb_arena_deinit(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_CASE(tsdb_series_count__any_story__as_asking_each),
        RIG_CASE(tsdb_series_count__head_and_block__each_counts_once),
        RIG_CASE(tsdb_series_count__little_memory__limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
