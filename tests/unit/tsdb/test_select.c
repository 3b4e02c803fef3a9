/* Select, labels and the label end points beside a naive model that asks every series. */
#include "tests/support/test.h"

#include "base/random.h"
#include "index/match/matcher.h"
#include "model/placement.h"
#include "tsdb/engine/tsdb_private.h"

#include <stdio.h>
#include <stdlib.h>

#define SERIES_MAX 600u

struct model_series {
    struct tsdb_label items[5];
    struct tsdb_labels labels;
    tsdb_series_ref ref;
};
struct fixture {
    struct tsdb db;
    struct tsdb_clock_sim clock_sim;
    struct tsdb_clock clock;
    struct tsdb_request request;
    struct tsdb_querier *q;
    struct tsdb_arena arena;
    struct model_series series[SERIES_MAX]; /* in order of their refs once sorted */
    uint32_t count;
};

static int setup(void **state)
{
    static const uint8_t seed[TSDB_HASH_SEED_BYTES] = {9};
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    tsdb_hash_key_init(&f->db.hash_key, seed);
    assert_ok(tsdb_epoch_create(8, &f->db.epoch));
    assert_ok(view_set_init(&f->db.blocks.views));
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        assert_ok(head_partition_create(i, f->db.epoch, 8, &f->db.heads[i]));
    }
    assert_ok(metadata_table_create(&f->db.hash_key, &tsdb_clock_real, 3, 1000, &f->db.metadata));
    atomic_store(&f->db.state, TSDB_STATE_READY);
    f->clock = tsdb_clock_sim_table(&f->clock_sim);
    tsdb_request_init(&f->request, &f->clock, TSDB_SCOPE_READ);
    assert_ok(tsdb_querier_open(&f->db, &f->request, TSDB_TIME_ALL, &f->q, NULL));
    tsdb_arena_init(&f->arena, TSDB_MEM_QUERY, 1u << 16, NULL);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tsdb_querier_close(f->q);
    tsdb_arena_deinit(&f->arena);
    assert_int_equal(atomic_load(&f->request.account.used_bytes), 0);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        head_partition_destroy(f->db.heads[i]);
    }
    view_set_deinit(&f->db.blocks.views);
    metadata_table_destroy(f->db.metadata);
    tsdb_epoch_destroy(f->db.epoch);
    free(f);
    return 0;
}

static tsdb_series_ref create(struct fixture *f, const struct tsdb_labels *labels, bool *out_new)
{
    uint64_t hash = tsdb_labels_hash(&f->db.hash_key, labels);
    uint32_t local = 0;
    *out_new = false;
    uint32_t partition = tsdb_labels_partition(&f->db.hash_key, labels, hash);
    assert_ok(
        head_series_find_or_create(f->db.heads[partition], labels, hash, &local, out_new, NULL));
    return tsdb_series_make(partition, local);
}

/* Labels from a small vocabulary; returns false if there is such a series already. */
static bool add_random(struct fixture *f, struct tsdb_prng *r)
{
    static const char *const names[] = {TSDB_METRIC_NAME, "env", "instance", "job", "zone"};
    static const char *const values[] = {"a", "b", "ab", "abc", "x-1", "x-2", "up", "\xc3\xa9"};
    struct model_series *s = &f->series[f->count];
    uint32_t n = 0;
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(names); i++) {
        if (i == 0 || tsdb_prng_below(r, 3) > 0) {
            s->items[n++] = tsdb_label_make(names[i], values[tsdb_prng_below(r, 8)]);
        }
    }
    s->labels = (struct tsdb_labels){s->items, n};
    bool is_new;
    s->ref = create(f, &s->labels, &is_new);
    f->count += is_new;
    return is_new;
}

static int ref_order(const void *a, const void *b)
{
    const struct model_series *x = a;
    const struct model_series *y = b;
    return (x->ref > y->ref) - (x->ref < y->ref);
}

/* After series have moved. */
static void labels_settle(struct fixture *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        f->series[i].labels.items = f->series[i].items;
    }
}

static void fill(struct fixture *f, uint64_t seed, uint32_t n)
{
    struct tsdb_prng r;
    tsdb_prng_init(&r, seed);
    for (uint32_t i = 0; i < 20 * n && f->count < n; i++) {
        add_random(f, &r);
    }
    qsort(f->series, f->count, sizeof f->series[0], ref_order);
    labels_settle(f);
}

/* ---- the model ---- */

static bool naive_matches(const struct model_series *s, const struct tsdb_selector *sel)
{
    for (uint32_t i = 0; i < sel->count; i++) {
        struct index_matcher *m;
        assert_ok(index_matcher_compile(&sel->matchers[i], &m, NULL));
        const struct tsdb_label *l =
            tsdb_labels_find(&s->labels, sel->matchers[i].name, sel->matchers[i].name_len);
        bool ok = index_matcher_matches(m, l ? l->value : "", l ? l->value_len : 0);
        index_matcher_destroy(m);
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool naive_any(const struct model_series *s, const struct tsdb_selector *sels, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (naive_matches(s, &sels[i])) {
            return true;
        }
    }
    return n == 0;
}

static void draw_selector(struct tsdb_prng *r, struct tsdb_matcher *matchers,
                          struct tsdb_selector *out)
{
    static const char *const names[] = {TSDB_METRIC_NAME, "env", "instance", "job", "nothing"};
    static const char *const literals[] = {"a", "b", "ab", "", "x-1", "never"};
    static const char *const patterns[] = {"a|b", "a.*", ".+", ".*", "", "x-[12]", ".*b.*", "up|"};
    uint32_t n = 1 + (uint32_t)tsdb_prng_below(r, 3);
    for (uint32_t i = 0; i < n; i++) {
        enum tsdb_match_op op = (enum tsdb_match_op)tsdb_prng_below(r, 4);
        bool regex = op == TSDB_MATCH_RE || op == TSDB_MATCH_NRE;
        const char *name = names[tsdb_prng_below(r, 5)];
        const char *value =
            regex ? patterns[tsdb_prng_below(r, 8)] : literals[tsdb_prng_below(r, 6)];
        matchers[i] =
            (struct tsdb_matcher){op, name, value, (uint32_t)strlen(name), (uint32_t)strlen(value)};
    }
    *out = (struct tsdb_selector){matchers, n};
}

static struct tsdb_matcher matcher(enum tsdb_match_op op, const char *name, const char *value)
{
    return (struct tsdb_matcher){op, name, value, (uint32_t)strlen(name), (uint32_t)strlen(value)};
}

/* Sorted distinct strings of the model. */
struct naive_strings {
    struct tsdb_slice items[SERIES_MAX];
    uint32_t count;
};

static void naive_add(struct naive_strings *ns, const char *s, uint32_t len)
{
    uint32_t at = 0;
    while (at < ns->count) {
        int order = tsdb_str_compare((const char *)ns->items[at].data, ns->items[at].len, s, len);
        if (order == 0) {
            return;
        }
        if (order > 0) {
            break;
        }
        at++;
    }
    memmove(&ns->items[at + 1], &ns->items[at], (ns->count - at) * sizeof ns->items[0]);
    ns->items[at] = (struct tsdb_slice){(const uint8_t *)s, len};
    ns->count++;
}

static void naive_collect(struct fixture *f, struct naive_strings *ns, const char *name,
                          const struct tsdb_selector *sels, uint32_t sel_count)
{
    ns->count = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        const struct model_series *s = &f->series[i];
        for (uint32_t k = 0; naive_any(s, sels, sel_count) && k < s->labels.count; k++) {
            const struct tsdb_label *l = &s->items[k];
            if (!name) {
                naive_add(ns, l->name, l->name_len);
            } else if (strlen(name) == l->name_len && memcmp(name, l->name, l->name_len) == 0) {
                naive_add(ns, l->value, l->value_len);
            }
        }
    }
}

static void assert_strings(const struct naive_strings *want, const struct tsdb_slice *got,
                           uint32_t count)
{
    assert_int_equal(want->count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(want->items[i].len, got[i].len);
        assert_memory_equal(want->items[i].data, got[i].data, got[i].len);
    }
}

/* ---- tests ---- */

/* The order that tsdb.h promises: it follows from labels and the directory's secret. */
static int set_order(const void *a, const void *b, void *arg)
{
    const struct model_series *const s[2] = {a, b};
    const struct fixture *f = arg;
    uint32_t key[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct tsdb_labels labels = {(struct tsdb_label *)(uintptr_t)s[i]->items,
                                     s[i]->labels.count}; /* sorting moves them */
        uint64_t hash = tsdb_labels_hash(&f->db.hash_key, &labels);
        key[i] = (uint32_t)hash;
    }
    uint32_t p[2] = {tsdb_series_partition(s[0]->ref), tsdb_series_partition(s[1]->ref)};
    return p[0] != p[1] ? (p[0] > p[1]) - (p[0] < p[1]) : (key[0] > key[1]) - (key[0] < key[1]);
}

static void tsdb_select__random_matchers__agree_with_asking_every_series(void **state)
{
    struct fixture *f = *state;
    fill(f, 1, 500);
    assert_true(f->count > 400);
    qsort_r(f->series, f->count, sizeof f->series[0], set_order, f);
    labels_settle(f);
    struct tsdb_prng r;
    tsdb_prng_init(&r, 77);
    uint64_t selected = 0;
    for (uint32_t turn = 0; turn < 400; turn++) {
        struct tsdb_matcher matchers[4];
        struct tsdb_selector sel;
        draw_selector(&r, matchers, &sel);
        struct tsdb_series_set set;
        struct tsdb_error err = {0};
        assert_ok_err(tsdb_select(f->q, matchers, sel.count, &set, &err), &err);
        uint32_t at = 0;
        for (uint32_t i = 0; i < f->count; i++) {
            if (naive_matches(&f->series[i], &sel)) {
                assert_true(at < set.count);
                assert_int_equal(set.refs[at], f->series[i].ref);
                at++;
            }
        }
        assert_int_equal(at, set.count);
        selected += at;
    }
    assert_true(selected > 1000);
}

static void tsdb_label_endpoints__random_selectors__agree_with_the_model(void **state)
{
    struct fixture *f = *state;
    fill(f, 2, 300);
    struct tsdb_prng r;
    tsdb_prng_init(&r, 5);
    struct naive_strings *ns = malloc(sizeof *ns);
    assert_non_null(ns);
    for (uint32_t turn = 0; turn < 60; turn++) {
        struct tsdb_matcher matchers[3][4];
        struct tsdb_selector sels[3];
        uint32_t n = (uint32_t)tsdb_prng_below(&r, 4);
        for (uint32_t i = 0; i < n; i++) {
            draw_selector(&r, matchers[i], &sels[i]);
        }
        struct tsdb_slice *out;
        uint32_t count;
        bool cut;
        assert_ok(tsdb_label_names(f->q, sels, n, 0, &f->arena, &out, &count, &cut, NULL));
        naive_collect(f, ns, NULL, sels, n);
        assert_strings(ns, out, count);
        assert_false(cut);
        assert_ok(
            tsdb_label_values(f->q, "env", 3, sels, n, 0, &f->arena, &out, &count, &cut, NULL));
        naive_collect(f, ns, "env", sels, n);
        assert_strings(ns, out, count);
        struct tsdb_labels *list;
        assert_ok(tsdb_series_list(f->q, sels, n, 0, &f->arena, &list, &count, &cut, NULL));
        uint32_t want = 0;
        for (uint32_t i = 0; i < f->count; i++) {
            want += naive_any(&f->series[i], sels, n);
        }
        assert_int_equal(count, want);
        for (uint32_t i = 1; i < count; i++) {
            assert_true(tsdb_labels_compare(&list[i - 1], &list[i]) < 0);
        }
        tsdb_arena_reset(&f->arena);
    }
    free(ns);
}

/* What a walk gives: as many as it should, each once and one of the list, sorted or not. */
static void expect_walk(struct fixture *f, const struct tsdb_selector *sel, uint32_t limit,
                        uint32_t sorted_max, const struct tsdb_labels *list, uint32_t count)
{
    struct tsdb_series_walk *w = NULL;
    struct tsdb_labels labels;
    struct tsdb_arena scratch;
    bool *seen = calloc(count, sizeof *seen);
    bool found = true;
    uint32_t n = 0;
    uint32_t before = 0;
    uint32_t falls = 0;
    assert_non_null(seen);
    tsdb_arena_init(&scratch, TSDB_MEM_OTHER, 1000, NULL);
    assert_ok(tsdb_series_walk_open(f->q, sel, 1, limit, sorted_max, &f->arena, &w, NULL));
    for (;;) {
        tsdb_arena_reset(&scratch);
        assert_ok(tsdb_series_walk_next(w, &scratch, &labels, &found, NULL));
        if (!found) {
            break;
        }
        uint32_t i = 0;
        while (i < count && tsdb_labels_compare(&list[i], &labels) != 0) {
            i++;
        }
        assert_true(i < count && !seen[i]);
        seen[i] = true;
        falls += i < before;
        before = i;
        n++;
    }
    bool cut = limit > 0 && limit < count;
    assert_int_equal(n, cut ? limit : count);
    assert_int_equal(tsdb_series_walk_truncated(w), cut);
    assert_int_equal(falls > 0, (cut ? limit : count) > sorted_max);
    assert_ok(tsdb_series_walk_next(w, &scratch, &labels, &found, NULL));
    assert_false(found);
    tsdb_series_walk_close(w);
    tsdb_arena_deinit(&scratch);
    free(seen);
}

static void tsdb_series_walk__many__one_by_one_what_the_list_has(void **state)
{
    struct fixture *f = *state;
    fill(f, 4, 500);
    struct tsdb_matcher m = matcher(TSDB_MATCH_NE, TSDB_METRIC_NAME, "");
    struct tsdb_selector sel = {&m, 1};
    struct tsdb_labels *list;
    uint32_t count;
    bool cut;
    assert_ok(tsdb_series_list(f->q, &sel, 1, 0, &f->arena, &list, &count, &cut, NULL));
    assert_true(count > 300);
    static const uint32_t limits[] = {0, 100, UINT32_MAX};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(limits); i++) {
        expect_walk(f, &sel, limits[i], 0, list, count);
        expect_walk(f, &sel, limits[i], 150, list, count);
        expect_walk(f, &sel, limits[i], count, list, count);
    }
    expect_walk(f, &sel, count, 10, list, count);
    struct tsdb_series_walk *w = NULL;
    assert_ok(tsdb_series_walk_open(f->q, &sel, 1, 0, 0, &f->arena, &w, NULL));
    tsdb_request_cancel(&f->request);
    bool found;
    struct tsdb_labels labels;
    assert_int_equal(tsdb_series_walk_next(w, &f->arena, &labels, &found, NULL), TSDB_CANCELLED);
    tsdb_series_walk_close(w);
}

/* Values in an order of their own, each many times over the limit. */
static void add_many_values(struct fixture *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        char id[16];
        bool is_new;
        (void)snprintf(id, sizeof id, "%05u", i * 7919u % n); /* n is no multiple of the prime */
        struct tsdb_label items[] = {tsdb_label_make(TSDB_METRIC_NAME, "many"),
                                     tsdb_label_make("id", id)};
        create(f, &(struct tsdb_labels){items, 2}, &is_new);
        assert_true(is_new);
    }
}

/* The memory of a query is what it holds of 20,000 values: with all of them it would be over. */
static void tsdb_label_values__limit_of_many__the_first_ones_in_little_memory(void **state)
{
    struct fixture *f = *state;
    const uint32_t n = 20000;
    struct tsdb_slice *out;
    uint32_t count;
    bool cut;
    add_many_values(f, n);
    const uint32_t limits[] = {1, 10, 63, 64, 65, 1000, n - 1, n, n + 1, UINT32_MAX, 0};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(limits); i++) {
        uint32_t want = limits[i] > 0 ? TSDB_MIN(limits[i], n) : n;
        f->request.account.limit_bytes = limits[i] > 0 && limits[i] < 1000 ? 128u << 10 : 0;
        assert_ok(tsdb_label_values(f->q, "id", 2, NULL, 0, limits[i], &f->arena, &out, &count,
                                    &cut, NULL));
        assert_int_equal(count, want);
        assert_int_equal(cut, want < n);
        for (uint32_t k = 0; k < count; k++) {
            char id[16];
            (void)snprintf(id, sizeof id, "%05u", k);
            assert_int_equal(out[k].len, 5);
            assert_memory_equal(out[k].data, id, 5);
        }
        tsdb_arena_reset(&f->arena);
    }
    f->request.account.limit_bytes = 128u << 10;
    assert_int_equal(
        tsdb_label_values(f->q, "id", 2, NULL, 0, 0, &f->arena, &out, &count, &cut, NULL),
        TSDB_LIMIT);
}

static void tsdb_label_endpoints__limit__cuts_and_says_so(void **state)
{
    struct fixture *f = *state;
    fill(f, 3, 200);
    struct tsdb_matcher m = matcher(TSDB_MATCH_RE, TSDB_METRIC_NAME, ".+");
    struct tsdb_selector sel = {&m, 1};
    for (uint32_t with = 0; with < 2; with++) {
        struct tsdb_slice *out;
        struct tsdb_labels *list;
        uint32_t count;
        bool cut;
        assert_ok(tsdb_label_names(f->q, &sel, with, 5, &f->arena, &out, &count, &cut, NULL));
        assert_int_equal(count, 5);
        assert_false(cut); /* there are five */
        assert_ok(tsdb_label_names(f->q, &sel, with, 4, &f->arena, &out, &count, &cut, NULL));
        assert_int_equal(count, 4);
        assert_true(cut);
        assert_ok(
            tsdb_label_values(f->q, "job", 3, &sel, with, 3, &f->arena, &out, &count, &cut, NULL));
        assert_int_equal(count, 3);
        assert_true(cut);
        assert_ok(
            tsdb_label_values(f->q, "none", 4, &sel, with, 3, &f->arena, &out, &count, &cut, NULL));
        assert_int_equal(count, 0);
        assert_ok(tsdb_series_list(f->q, &sel, with, 7, &f->arena, &list, &count, &cut, NULL));
        assert_int_equal(count, 7);
        assert_true(cut);
        assert_true(tsdb_labels_compare(&list[5], &list[6]) < 0);
        assert_ok(
            tsdb_series_list(f->q, &sel, with, f->count, &f->arena, &list, &count, &cut, NULL));
        assert_int_equal(count, f->count);
        assert_false(cut);
    }
}

static void tsdb_series_labels__each__are_those_it_was_made_with(void **state)
{
    struct fixture *f = *state;
    fill(f, 4, 100);
    for (uint32_t i = 0; i < f->count; i++) {
        struct tsdb_labels l;
        assert_ok(tsdb_series_labels(f->q, f->series[i].ref, &f->arena, &l, NULL));
        assert_true(tsdb_labels_equal(&l, &f->series[i].labels));
    }
}

static void tsdb_series_read__range__gives_copies(void **state)
{
    struct fixture *f = *state;
    fill(f, 5, 1);
    struct head_partition *head = f->db.heads[tsdb_series_partition(f->series[0].ref)];
    uint32_t local = tsdb_series_local(f->series[0].ref);
    for (int64_t i = 0; i < 200; i++) {
        assert_int_equal(head_append(head, local, i, 0, TSDB_SAMPLE_FLOAT, (uint64_t)i),
                         HEAD_APPENDED);
    }
    struct tsdb_columns c;
    struct tsdb_time_range range = {50, 149};
    assert_ok(tsdb_series_read(f->q, f->series[0].ref, range, &f->arena, &c, NULL));
    assert_int_equal(head_drop_before(head, 0, UINT32_MAX, 1000), 1);
    assert_true(head_reclaim(head, 0) > 0);
    assert_int_equal(c.count, 100);
    assert_int_equal(c.t_ms[0], 50);
    assert_int_equal(c.bits[99], 149);
}

static void tsdb_select__bad_input__is_refused(void **state)
{
    struct fixture *f = *state;
    fill(f, 7, 10);
    struct tsdb_error err = {0};
    struct tsdb_matcher m[2] = {matcher(TSDB_MATCH_EQ, "env", "a"),
                                matcher(TSDB_MATCH_RE, "env", "(")};
    struct tsdb_series_set set;
    assert_int_equal(tsdb_select(f->q, m, 0, &set, &err), TSDB_INVALID);
    assert_int_equal(tsdb_select(f->q, m, 2, &set, &err), TSDB_INVALID);
    assert_int_equal(err.status, TSDB_INVALID);
    struct tsdb_querier *q = NULL;
    atomic_store(&f->db.state, TSDB_STATE_RECOVERING);
    assert_int_equal(tsdb_querier_open(&f->db, &f->request, TSDB_TIME_ALL, &q, &err), TSDB_BUSY);
    atomic_store(&f->db.state, TSDB_STATE_READ_ONLY);
    assert_ok(tsdb_querier_open(&f->db, &f->request, TSDB_TIME_ALL, &q, &err));
    tsdb_querier_close(q);
}

static void tsdb_select__cancelled_late_or_too_large__stops(void **state)
{
    struct fixture *f = *state;
    fill(f, 8, 600);
    struct tsdb_matcher m = matcher(TSDB_MATCH_NE, TSDB_METRIC_NAME, "");
    struct tsdb_selector sel = {&m, 1};
    struct tsdb_labels *list;
    struct tsdb_slice *out;
    uint32_t count;
    bool cut;
    f->request.deadline_ns = 5;
    f->clock_sim.mono_ns = 5;
    assert_int_equal(tsdb_series_list(f->q, &sel, 1, 0, &f->arena, &list, &count, &cut, NULL),
                     TSDB_TIMEOUT);
    assert_int_equal(tsdb_label_names(f->q, NULL, 0, 0, &f->arena, &out, &count, &cut, NULL),
                     TSDB_TIMEOUT);
    f->request.deadline_ns = 0;
    tsdb_request_cancel(&f->request);
    assert_int_equal(
        tsdb_label_values(f->q, "env", 3, &sel, 1, 0, &f->arena, &out, &count, &cut, NULL),
        TSDB_CANCELLED);
    atomic_store(&f->request.cancelled, 0);
    f->request.account.limit_bytes = 1000;
    struct tsdb_series_set set;
    assert_int_equal(tsdb_select(f->q, &m, 1, &set, NULL), TSDB_LIMIT);
    f->request.account.limit_bytes = 0;
    assert_ok(tsdb_select(f->q, &m, 1, &set, NULL));
}

static void tsdb_select__nth_allocation_fails__says_so_and_leaks_nothing(void **state)
{
    struct fixture *f = *state;
    fill(f, 9, 200);
    struct tsdb_matcher m[2] = {matcher(TSDB_MATCH_RE, "env", "a.*|x-[12]"),
                                matcher(TSDB_MATCH_NE, "job", "a")};
    struct tsdb_selector sels[2] = {{&m[0], 1}, {&m[1], 1}};
    enum tsdb_status status = TSDB_NOMEM;
    uint64_t failures = 0;
    for (uint64_t nth = 1; status != TSDB_OK; nth++) {
        struct tsdb_querier *q = NULL;
        struct tsdb_series_set set;
        struct tsdb_labels *list;
        uint32_t count;
        bool cut;
        struct tsdb_arena arena;
        tsdb_arena_init(&arena, TSDB_MEM_QUERY, 64, &f->request.account);
        tsdb_alloc_fail_nth(nth, 1);
        status = tsdb_querier_open(&f->db, &f->request, TSDB_TIME_ALL, &q, NULL);
        if (status == TSDB_OK) {
            status = tsdb_select(q, m, 2, &set, NULL);
        }
        if (status == TSDB_OK) {
            status = tsdb_series_list(q, sels, 2, 0, &arena, &list, &count, &cut, NULL);
        }
        tsdb_alloc_ops_set(NULL);
        failures += status == TSDB_NOMEM;
        assert_true(status == TSDB_OK || status == TSDB_NOMEM);
        tsdb_querier_close(q);
        tsdb_arena_deinit(&arena);
        assert_true(nth < 1000);
    }
    assert_true(failures > 3);
}

static void tsdb_exemplars__of_matching_series__grouped_oldest_first(void **state)
{
    struct fixture *f = *state;
    fill(f, 10, 60);
    struct tsdb_label id = tsdb_label_make("trace_id", "abc");
    for (int64_t t = 1; t <= 3; t++) {
        for (uint32_t i = 0; i < f->count; i += 7) {
            struct tsdb_exemplar x = {.labels = {&id, 1}, .bits = i, .t_ms = t};
            tsdb_series_ref ref = f->series[i].ref;
            assert_ok(head_exemplar_append(f->db.heads[tsdb_series_partition(ref)],
                                           tsdb_series_local(ref), &x));
        }
    }
    struct tsdb_matcher m = matcher(TSDB_MATCH_RE, "env", ".+");
    struct tsdb_selector sel = {&m, 1};
    struct tsdb_exemplar_series *out;
    uint32_t count = 0;
    struct tsdb_time_range range = {2, 3};
    assert_ok(tsdb_exemplars(f->q, &sel, 1, range, &f->arena, &out, &count, NULL));
    uint32_t at = 0;
    for (uint32_t i = 0; i < f->count; i += 7) {
        if (naive_matches(&f->series[i], &sel)) {
            assert_true(at < count);
            assert_true(tsdb_labels_equal(&out[at].labels, &f->series[i].labels));
            assert_int_equal(out[at].count, 2);
            assert_int_equal(out[at].items[0].t_ms, 2);
            assert_int_equal(out[at].items[1].t_ms, 3);
            assert_int_equal(out[at].items[1].bits, i);
            assert_memory_equal(out[at].items[1].labels.items[0].value, "abc", 3);
            at++;
        }
    }
    assert_int_equal(at, count);
    assert_true(count > 2);
}

struct seen_metadata {
    uint32_t count;
    struct tsdb_metadata last;
};

static bool see_metadata(void *arg, const struct tsdb_metadata *m)
{
    struct seen_metadata *s = arg;
    s->count++;
    s->last = *m; /* borrowed: nothing is put before it is looked at */
    return true;
}

static struct tsdb_metadata metadata(const char *metric, const char *help, enum tsdb_metric_type t)
{
    return (struct tsdb_metadata){.metric = {(const uint8_t *)metric, strlen(metric)},
                                  .help = {(const uint8_t *)help, strlen(help)},
                                  .type = t};
}

static void tsdb_metadata_put__again__last_one_wins_within_the_limits(void **state)
{
    struct fixture *f = *state;
    struct tsdb_metadata m = metadata("up", "one", TSDB_METRIC_GAUGE);
    struct seen_metadata seen = {0};
    tsdb_metadata_visit(&f->db, NULL, see_metadata, &seen);
    tsdb_metadata_visit(&f->db, "up", see_metadata, &seen);
    assert_int_equal(seen.count, 0);
    assert_ok(tsdb_metadata_put(&f->db, &m));
    m = metadata("up", "another help", TSDB_METRIC_COUNTER);
    assert_ok(tsdb_metadata_put(&f->db, &m));
    assert_ok(tsdb_metadata_put(&f->db, &m));
    tsdb_metadata_visit(&f->db, "up", see_metadata, &seen);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.last.type, TSDB_METRIC_COUNTER);
    assert_int_equal(seen.last.help.len, strlen("another help"));
    m = metadata("up", "", TSDB_METRIC_UNKNOWN); /* says nothing */
    assert_ok(tsdb_metadata_put(&f->db, &m));
    m = metadata("nothing", "", TSDB_METRIC_UNKNOWN);
    assert_ok(tsdb_metadata_put(&f->db, &m));
    seen.count = 0;
    tsdb_metadata_visit(&f->db, NULL, see_metadata, &seen);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.last.type, TSDB_METRIC_COUNTER);
    char *large = calloc(1, 2000);
    assert_non_null(large);
    memset(large, 'x', 1999);
    m = metadata("c", large, TSDB_METRIC_INFO);
    assert_int_equal(tsdb_metadata_put(&f->db, &m), TSDB_LIMIT);
    free(large);
}

static uint32_t seen_of(struct tsdb *db, const char *metric)
{
    struct seen_metadata seen = {0};
    tsdb_metadata_visit(db, metric, see_metadata, &seen);
    return seen.count;
}

/* Three fit: what was told of longest ago goes, and is not what was told again. */
static void tsdb_metadata_put__full__the_one_told_longest_ago_goes(void **state)
{
    struct fixture *f = *state;
    const char *const told[] = {"a", "b", "c", "a", "d"};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(told); i++) {
        struct tsdb_metadata m = metadata(told[i], "help", TSDB_METRIC_GAUGE);
        assert_ok(tsdb_metadata_put(&f->db, &m));
    }
    assert_int_equal(seen_of(&f->db, NULL), 3);
    assert_int_equal(seen_of(&f->db, "b"), 0);
    assert_int_equal(seen_of(&f->db, "a") + seen_of(&f->db, "c") + seen_of(&f->db, "d"), 3);
    char large[850]; /* and by bytes: with it one more fits */
    memset(large, 'x', sizeof large);
    large[sizeof large - 1] = '\0';
    struct tsdb_metadata m = metadata("c", large, TSDB_METRIC_INFO);
    assert_ok(tsdb_metadata_put(&f->db, &m));
    assert_int_equal(seen_of(&f->db, "c"), 1);
    assert_int_equal(seen_of(&f->db, NULL), 2); /* d is younger than a */
    assert_int_equal(seen_of(&f->db, "d"), 1);
}

/* Tables of every fill, emptied through their probing runs. */
static void tsdb_metadata_put__many_times_full__every_survivor_is_found(void **state)
{
    struct fixture *f = *state;
    metadata_table_destroy(f->db.metadata);
    assert_ok(
        metadata_table_create(&f->db.hash_key, &tsdb_clock_real, 48, 1u << 20, &f->db.metadata));
    for (uint32_t i = 0; i < 3000; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", i);
        struct tsdb_metadata m = metadata(name, name, TSDB_METRIC_GAUGE);
        assert_ok(tsdb_metadata_put(&f->db, &m));
        for (uint32_t k = i < 60 ? 0 : i - 60; k <= i; k++) {
            snprintf(name, sizeof name, "m%u", k);
            assert_int_equal(seen_of(&f->db, name), k + 48 > i);
        }
    }
}

static void tsdb_metadata_put__many__table_grows(void **state)
{
    struct fixture *f = *state;
    metadata_table_destroy(f->db.metadata);
    assert_ok(
        metadata_table_create(&f->db.hash_key, &tsdb_clock_real, 5000, 1u << 20, &f->db.metadata));
    for (uint32_t i = 0; i < 3000; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", i);
        struct tsdb_metadata m = metadata(name, name, TSDB_METRIC_GAUGE);
        assert_ok(tsdb_metadata_put(&f->db, &m));
    }
    for (uint32_t i = 0; i < 3000; i += 13) {
        char name[16];
        snprintf(name, sizeof name, "m%u", i);
        struct seen_metadata seen = {0};
        tsdb_metadata_visit(&f->db, name, see_metadata, &seen);
        assert_int_equal(seen.count, 1);
        assert_memory_equal(seen.last.help.data, name, strlen(name));
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    T(tsdb_select__random_matchers__agree_with_asking_every_series),
    T(tsdb_label_endpoints__random_selectors__agree_with_the_model),
    T(tsdb_series_walk__many__one_by_one_what_the_list_has),
    T(tsdb_label_values__limit_of_many__the_first_ones_in_little_memory),
    T(tsdb_label_endpoints__limit__cuts_and_says_so),
    T(tsdb_series_labels__each__are_those_it_was_made_with),
    T(tsdb_series_read__range__gives_copies),
    T(tsdb_select__bad_input__is_refused),
    T(tsdb_select__cancelled_late_or_too_large__stops),
    T(tsdb_select__nth_allocation_fails__says_so_and_leaks_nothing),
    T(tsdb_exemplars__of_matching_series__grouped_oldest_first),
    T(tsdb_metadata_put__again__last_one_wins_within_the_limits),
    T(tsdb_metadata_put__full__the_one_told_longest_ago_goes),
    T(tsdb_metadata_put__many_times_full__every_survivor_is_found),
    T(tsdb_metadata_put__many__table_grows),
};

TEST_MAIN(tests)
