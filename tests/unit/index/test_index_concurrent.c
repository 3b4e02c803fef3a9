/* Invariants checked: while one writer adds series, every read sees the series of one prefix,
 * whole: no hole, nothing from beyond, labels as they were given. Run under tsan and asan. */
#include "tests/support/test.h"

#include "index/mem/index_mem.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#define SERIES  50000u
#define READERS 2
#define GROUPS  7u /* series i is in group i % 7 */

struct shared {
    struct tsdb_epoch *epoch;
    struct tsdb_epoch_limbo limbo;
    struct tsdb_hash_key key;
    struct index_mem *ix;
    _Atomic(uint32_t) stop;
};
/* What a reader saw wrong, or 0: the line of the check that failed. */
struct reader {
    struct shared *shared;
    struct index_matcher *group_is_3;
    struct index_matcher *group_is_not_3;
    struct index_matcher *group_like_3_or_5;
    struct index_matcher *rare_is_empty;
    struct index_matcher *host_like_9;
    int failed_line;
    _Atomic(uint32_t) rounds;
};

struct series_text {
    char host[24];
    char group[8];
    char late[16];
    struct tsdb_label items[5];
    struct tsdb_labels labels;
};

/* {__name__="m", group="i % 7", host="i", [late<i / 5000>="x"], [rare="yes" for every 100th]} */
static void series_make(uint32_t i, struct series_text *s)
{
    uint32_t n = 0;
    (void)snprintf(s->host, sizeof s->host, "host-%u", i);
    (void)snprintf(s->group, sizeof s->group, "g%u", i % GROUPS);
    (void)snprintf(s->late, sizeof s->late, "late%u", i / 5000);
    s->items[n++] = tsdb_label_make("__name__", "m");
    s->items[n++] = tsdb_label_make("group", s->group);
    s->items[n++] = tsdb_label_make("host", s->host);
    s->items[n++] = tsdb_label_make(s->late, "x");
    if (i % 100 == 0) {
        s->items[n++] = tsdb_label_make("rare", "yes");
    }
    s->labels = (struct tsdb_labels){s->items, n};
}

#define CHECK(reader, cond)                                                                        \
    do {                                                                                           \
        if (!(cond) && (reader)->failed_line == 0) {                                               \
            (reader)->failed_line = __LINE__;                                                      \
        }                                                                                          \
    } while (0)

typedef bool (*wanted_fn)(uint32_t id);

static bool in_group_3(uint32_t id)
{
    return id % GROUPS == 3;
}
static bool not_in_group_3(uint32_t id)
{
    return id % GROUPS != 3;
}
static bool in_group_3_or_5(uint32_t id)
{
    return id % GROUPS == 3 || id % GROUPS == 5;
}
static bool not_rare(uint32_t id)
{
    return id % 100 != 0;
}
static bool rare_host_9(uint32_t id)
{
    return in_group_3(id) && (id == 9 || (id >= 90 && id < 100) || (id >= 900 && id < 1000) ||
                              (id >= 9000 && id < 10000));
}

/* The ids must be all that are wanted below some bound between the counts before and after. */
static void check_select(struct reader *r, const struct index_matcher *const *m, uint32_t m_count,
                         wanted_fn wanted, struct tsdb_arena *arena)
{
    const struct index_mem *ix = r->shared->ix;
    uint32_t *ids = NULL;
    uint32_t n = 0;
    uint32_t before = index_mem_series_count(ix);
    enum tsdb_status status = index_mem_select(ix, m, m_count, NULL, arena, &ids, &n, NULL);
    uint32_t after = index_mem_series_count(ix);
    CHECK(r, status == TSDB_OK);
    if (status != TSDB_OK) {
        return;
    }
    uint32_t at = 0;
    for (uint32_t id = 0; id < after && at < n; id++) {
        if (wanted(id)) {
            CHECK(r, ids[at] == id);
            at++;
        }
    }
    CHECK(r, at == n);
    for (uint32_t id = n > 0 ? ids[n - 1] + 1 : 0; id < before; id++) {
        CHECK(r, !wanted(id)); /* nothing of the first count is missing */
    }
    tsdb_arena_reset(arena);
}

static void check_series(struct reader *r, uint32_t id)
{
    struct series_text expected;
    struct tsdb_label items[8];
    series_make(id, &expected);
    struct tsdb_labels labels = {items, index_mem_labels(r->shared->ix, id, items, 8)};
    uint64_t hash = tsdb_labels_hash(&r->shared->key, &expected.labels);
    CHECK(r, tsdb_labels_equal(&labels, &expected.labels));
    CHECK(r, index_mem_hash(r->shared->ix, id) == (uint32_t)hash);
    CHECK(r, index_mem_find(r->shared->ix, &expected.labels, hash) == id);
}

static bool count_string(void *arg, const char *s, uint32_t len)
{
    uint32_t *count = arg;
    *count += len > 0 && s != NULL;
    return true;
}

/* Asked of the newest series of a value first; those of before count. */
static bool is_old(void *arg, uint32_t local)
{
    return local < *(const uint32_t *)arg;
}

static bool sum_pairs(void *arg, const char *name, uint32_t name_len, const char *value,
                      uint32_t value_len, uint64_t series)
{
    uint64_t *sum = arg;
    bool group = name_len == 5 && memcmp(name, "group", 5) == 0 && value != NULL && value_len == 2;
    *sum += group ? series : 0;
    return true;
}

static void check_lists(struct reader *r)
{
    const struct index_mem *ix = r->shared->ix;
    uint32_t before = index_mem_series_count(ix);
    uint32_t hosts = 0;
    uint32_t names = 0;
    uint64_t grouped = 0;
    index_mem_values(ix, "host", 4, NULL, count_string, &hosts);
    index_mem_names(ix, NULL, count_string, &names);
    index_mem_pairs(ix, sum_pairs, &grouped);
    uint32_t after = index_mem_series_count(ix);
    CHECK(r, hosts >= before && hosts <= after);
    CHECK(r, grouped >= before && grouped <= after);
    uint32_t old = before / 2;
    uint32_t groups = 0;
    struct index_wanted wanted = {.series = is_old, .series_arg = &old};
    index_mem_values(ix, "group", 5, &wanted, count_string, &groups);
    CHECK(r, groups == (old < GROUPS ? old : GROUPS));
    CHECK(r, before == 0 || (names >= 5 && names <= 4 + (after + 4999) / 5000));
}

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 1 << 18, NULL);
    while (atomic_load(&r->shared->stop) == 0) {
        const struct index_matcher *one[] = {r->group_is_3};
        const struct index_matcher *negative[] = {r->group_is_not_3};
        const struct index_matcher *scan[] = {r->group_like_3_or_5};
        const struct index_matcher *empty[] = {r->rare_is_empty};
        const struct index_matcher *two[] = {r->host_like_9, r->group_is_3};
        struct tsdb_epoch_guard guard;
        tsdb_epoch_enter(r->shared->epoch, &guard);
        check_select(r, one, 1, in_group_3, &arena);
        check_select(r, negative, 1, not_in_group_3, &arena);
        check_select(r, scan, 1, in_group_3_or_5, &arena);
        check_select(r, empty, 1, not_rare, &arena);
        tsdb_epoch_exit(r->shared->epoch, &guard);
        tsdb_epoch_enter(r->shared->epoch, &guard);
        check_select(r, two, 2, rare_host_9, &arena);
        uint32_t count = index_mem_series_count(r->shared->ix);
        for (uint32_t back = 1; back <= count; back *= 3) {
            check_series(r, count - back);
        }
        check_lists(r);
        tsdb_epoch_exit(r->shared->epoch, &guard);
        atomic_fetch_add(&r->rounds, 1);
    }
    tsdb_arena_deinit(&arena);
    return NULL;
}

static struct index_matcher *compiled(const char *name, enum tsdb_match_op op, const char *value)
{
    struct tsdb_matcher source = {op, name, value, (uint32_t)strlen(name), (uint32_t)strlen(value)};
    struct index_matcher *m = NULL;
    assert_ok(index_matcher_compile(&source, &m, NULL));
    return m;
}

static void reader_init(struct reader *r, struct shared *shared)
{
    memset(r, 0, sizeof *r);
    r->shared = shared;
    r->group_is_3 = compiled("group", TSDB_MATCH_EQ, "g3");
    r->group_is_not_3 = compiled("group", TSDB_MATCH_NE, "g3");
    r->group_like_3_or_5 = compiled("group", TSDB_MATCH_RE, "g[35]");
    r->rare_is_empty = compiled("rare", TSDB_MATCH_EQ, "");
    r->host_like_9 = compiled("host", TSDB_MATCH_RE, "host-9[0-9]{0,3}");
}

static void reader_deinit(struct reader *r)
{
    index_matcher_destroy(r->group_is_3);
    index_matcher_destroy(r->group_is_not_3);
    index_matcher_destroy(r->group_like_3_or_5);
    index_matcher_destroy(r->rare_is_empty);
    index_matcher_destroy(r->host_like_9);
}

/* Readers keep up with the writer: none sees the index only when it is finished. */
static void wait_for_round(struct reader *readers)
{
    for (int i = 0; i < READERS; i++) {
        uint32_t rounds = atomic_load(&readers[i].rounds);
        while (atomic_load(&readers[i].rounds) == rounds) {
            (void)sched_yield();
        }
    }
}

static void index_mem__one_writer_and_readers__each_read_sees_one_prefix(void **state)
{
    (void)state;
    static const uint8_t seed[TSDB_HASH_SEED_BYTES] = {9};
    struct shared shared = {0};
    struct reader readers[READERS];
    pthread_t threads[READERS];
    struct tsdb_error err = {0};
    uint64_t used = tsdb_mem_used(TSDB_MEM_INDEX);
    assert_ok(tsdb_epoch_create(8, &shared.epoch));
    tsdb_epoch_limbo_init(&shared.limbo);
    tsdb_hash_key_init(&shared.key, seed);
    assert_ok(index_mem_create(shared.epoch, &shared.limbo, &shared.ix));
    for (int i = 0; i < READERS; i++) {
        reader_init(&readers[i], &shared);
        assert_int_equal(pthread_create(&threads[i], NULL, reader_main, &readers[i]), 0);
    }
    for (uint32_t i = 0; i < SERIES; i++) {
        struct series_text s;
        uint32_t local = UINT32_MAX;
        series_make(i, &s);
        uint64_t hash = tsdb_labels_hash(&shared.key, &s.labels);
        assert_int_equal(index_mem_find(shared.ix, &s.labels, hash), UINT32_MAX);
        assert_ok_err(index_mem_add(shared.ix, &s.labels, hash, &local, &err), &err);
        assert_int_equal(local, i);
        if (i % 2500 == 0) {
            wait_for_round(readers);
        }
        if (i % 64 == 0) {
            (void)tsdb_epoch_reclaim(shared.epoch, &shared.limbo);
        }
    }
    atomic_store(&shared.stop, 1);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(readers[i].failed_line, 0);
        reader_deinit(&readers[i]);
    }
    assert_ok_err(index_mem_validate(shared.ix, &err), &err);
    index_mem_destroy(shared.ix);
    tsdb_epoch_limbo_deinit(&shared.limbo);
    tsdb_epoch_destroy(shared.epoch);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_INDEX), used);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(index_mem__one_writer_and_readers__each_read_sees_one_prefix),
};
TEST_MAIN(tests)
