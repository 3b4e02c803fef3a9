/* Lists of labels that are kept: as long as the stamp says that nothing changed, a list is as it was, whatever happens to
 * series meanwhile; and what changes none says so. */
#include "tests/unit/tsdb/blocks_rig.h"

#define SERIES 30u
#define STEP   (RANGE / 6)

/* A list with its stamp. */
struct kept {
    struct tsdb_label_stamp stamp;
    struct tsdb_time_range range;
    uint64_t hash;
};
struct story {
    struct hx *h;
    struct tsdb_prng prng;
    int64_t now_ms;
    struct kept kept[8];
    uint32_t held, gone,
        other; /* looks at lists: that hold, that do not, of which some are other ones now */
};

static uint32_t below(struct story *s, uint32_t n)
{
    return (uint32_t)tsdb_prng_below(&s->prng, n);
}

/* Series that match, and values of a label, as the lists have them. */
static uint64_t hash_lists(struct hx *h, struct tsdb_querier *q, const struct tsdb_matcher *m,
                           struct tsdb_arena *arena)
{
    const struct tsdb_selector selector = {m, 1};
    struct tsdb_labels *list = NULL;
    struct tsdb_slice *values = NULL;
    uint32_t count = 0;
    bool truncated;
    uint64_t hash = 0;
    assert_ok(tsdb_series_list(q, &selector, 1, 0, arena, &list, &count, &truncated, NULL));
    for (uint32_t i = 0; i < count; i++) {
        hash = hash * 31 + tsdb_labels_hash(&h->db->hash_key, &list[i]);
    }
    assert_ok(tsdb_label_values(q, "i", 1, NULL, 0, 0, arena, &values, &count, &truncated, NULL));
    for (uint32_t i = 0; i < count; i++) {
        hash = hash * 31 + tsdb_hash64_plain(values[i].data, values[i].len);
    }
    return hash;
}

/* Series that match and have samples in the range: lists take it coarsely, by the bounds of chunks, so that
 * two of the same samples may differ. */
static uint64_t hash_living(struct hx *h, struct tsdb_querier *q, const struct tsdb_matcher *m,
                            struct tsdb_time_range range, struct tsdb_arena *arena)
{
    struct tsdb_series_set set;
    uint64_t hash = 0;
    assert_ok(tsdb_select(q, m, 1, &set, NULL));
    for (uint32_t i = 0; i < set.count; i++) {
        struct tsdb_labels labels;
        struct tsdb_columns c;
        assert_ok(tsdb_series_labels(q, set.refs[i], arena, &labels, NULL));
        assert_ok(tsdb_series_read(q, set.refs[i], range, arena, &c, NULL));
        hash += c.count > 0 ? tsdb_labels_hash(&h->db->hash_key, &labels) : 0;
    }
    return hash;
}

static uint64_t hash_list(struct hx *h, struct tsdb_time_range range)
{
    const struct tsdb_matcher some = {TSDB_MATCH_NE, "__name__", "m3", 8, 2};
    struct tsdb_querier *q = NULL;
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 14, NULL);
    assert_ok(tsdb_querier_open(h->db, NULL, range, &q, NULL));
    uint64_t hash = range.min_ms == INT64_MIN ? hash_lists(h, q, &some, &arena)
                                              : hash_living(h, q, &some, range, &arena);
    tsdb_querier_close(q);
    tsdb_arena_deinit(&arena);
    return hash;
}

static void look(struct story *s)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(s->kept); i++) {
        struct kept *k = &s->kept[i];
        bool same = hash_list(s->h, k->range) == k->hash;
        bool holds = tsdb_labels_unchanged(s->h->db, &k->stamp, k->range);
        assert_true(same || !holds);
        s->held += holds;
        s->gone += !holds;
        s->other += !same;
    }
}

static void keep(struct story *s, struct kept *k)
{
    const struct tsdb_time_range all = TSDB_TIME_ALL;
    int64_t to_ms = s->now_ms - (int64_t)below(s, 8) * STEP;
    k->range = below(s, 2) == 0 ? all : (struct tsdb_time_range){to_ms - 4 * STEP, to_ms};
    tsdb_label_stamp_take(s->h->db, &k->stamp);
    k->hash = hash_list(s->h, k->range);
}

static void scrape(struct story *s)
{
    struct hx_sample samples[SERIES];
    uint32_t first =
        below(s, 6) == 0 ? below(s, SERIES) : 0; /* now and then all, else the first few */
    uint32_t n = 0;
    s->now_ms += STEP;
    for (uint32_t i = first; i < (first > 0 ? SERIES : 8u); i++) {
        int64_t late_ms = below(s, 40) == 0 ? (int64_t)below(s, 12) * STEP + 1 : 0;
        samples[n++] = hx_float(i, s->now_ms - late_ms, (double)i);
    }
    tsdb_clock_sim_advance(&s->h->clock, STEP);
    assert_ok(hx_put(s->h, samples, n, TSDB_DURABILITY_BUFFERED, NULL));
}

static void anything(struct story *s)
{
    switch (below(s, 20)) {
    case 0:
        flush(s->h); /* and series leave, if they may */
        break;
    case 1:
        (void)tsdb_compact_step(s->h->db, s->h->clock.mono_ns);
        break;
    case 2:
        (void)hx_delete(s->h, below(s, SERIES));
        break;
    case 3:
        hx_seal_all(s->h);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        keep(s, &s->kept[below(s, TSDB_ARRAY_LEN(s->kept))]);
        break;
    default:
        scrape(s);
    }
    look(s);
}

static void tsdb_labels_unchanged__any_story__lists_that_hold_are_the_same(void **state)
{
    enum {
        SEEDS = 4,
        STEPS = 250
    };
    struct story s = {.h = *state};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        rig_story_begin(s.h, seed);
        tsdb_prng_init(&s.prng, seed);
        s.now_ms = HX_WALL_MS;
        scrape(&s);
        for (size_t i = 0; i < TSDB_ARRAY_LEN(s.kept); i++) {
            keep(&s, &s.kept[i]);
        }
        for (uint32_t i = 0; i < STEPS; i++) {
            anything(&s);
        }
    }
    print_message("%u held, %u gone, %u other\n", s.held, s.gone, s.other);
    assert_true(s.held > s.gone / 10 && s.other > 0);
}

/* A series that leaves and another that comes: as many as before, and not the same. */
static void tsdb_labels_unchanged__one_leaves_one_comes__changed(void **state)
{
    struct hx *h = *state;
    const int64_t t = HX_WALL_MS - 20 * RANGE;
    const struct tsdb_time_range all = TSDB_TIME_ALL;
    struct tsdb_label_stamp stamp;
    put_many(h, 1, t, 1000, 10);
    tsdb_label_stamp_take(h->db, &stamp);
    put_many(h, 1, t + 20000, 1000, 10);
    assert_true(tsdb_labels_unchanged(h->db, &stamp, all));
    assert_false(tsdb_labels_unchanged(h->db, &stamp, (struct tsdb_time_range){t, t + 20000}));
    flush(h);
    assert_false(tsdb_labels_unchanged(h->db, &stamp, all)); /* there is a block */
    tsdb_label_stamp_take(h->db, &stamp);
    assert_int_equal(stamp.left, 1);
    put_many(h, 2, t, 1000, 10);
    assert_false(tsdb_labels_unchanged(h->db, &stamp, all));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_CASE(tsdb_labels_unchanged__any_story__lists_that_hold_are_the_same),
        RIG_CASE(tsdb_labels_unchanged__one_leaves_one_comes__changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
