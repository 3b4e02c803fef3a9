/* Invariants checked: the index is the list of label sets that were added; a selection is what
 * asking every series in turn would give (the naive model below); a failed add leaves nothing
 * behind. */
#include "tests/support/test.h"

#include "base/random.h"
#include "index/mem/index_mem_private.h"

#include <stdio.h>
#include <stdlib.h>

struct fixture {
    struct tsdb_epoch *epoch;
    struct tsdb_epoch_limbo limbo;
    struct tsdb_hash_key key;
    struct index_mem *ix;
    struct tsdb_arena arena;
    uint64_t used;
};

static void fixture_init(struct fixture *f)
{
    static const uint8_t seed[TSDB_HASH_SEED_BYTES] = {1, 2, 3};
    memset(f, 0, sizeof *f);
    f->used = tsdb_mem_used(TSDB_MEM_INDEX);
    assert_ok(tsdb_epoch_create(2, &f->epoch));
    tsdb_epoch_limbo_init(&f->limbo);
    tsdb_hash_key_init(&f->key, seed);
    tsdb_arena_init(&f->arena, TSDB_MEM_QUERY, 4096, NULL);
    assert_ok(index_mem_create(f->epoch, &f->limbo, &f->ix));
}

static void fixture_deinit(struct fixture *f)
{
    index_mem_destroy(f->ix);
    index_mem_destroy(NULL);
    tsdb_arena_deinit(&f->arena);
    tsdb_epoch_limbo_deinit(&f->limbo);
    tsdb_epoch_destroy(f->epoch);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_INDEX), f->used);
}

/* "a=1,b=2" to labels that borrow from `spec`. */
static struct tsdb_labels labels_of(const char *spec, struct tsdb_label *items)
{
    uint32_t n = 0;
    while (*spec != '\0') {
        size_t name_len = strcspn(spec, "=");
        const char *value = spec + name_len + 1;
        size_t value_len = strcspn(value, ",");
        items[n++] = (struct tsdb_label){spec, value, (uint32_t)name_len, (uint32_t)value_len};
        spec = value + value_len + (value[value_len] == ',');
    }
    return (struct tsdb_labels){items, n};
}

static uint32_t add(struct fixture *f, const char *spec)
{
    struct tsdb_label items[16];
    struct tsdb_labels labels = labels_of(spec, items);
    struct tsdb_error err = {0};
    uint32_t local = UINT32_MAX;
    assert_ok_err(index_mem_add(f->ix, &labels, tsdb_labels_hash(&f->key, &labels), &local, &err),
                  &err);
    return local;
}

static uint32_t find(struct fixture *f, const char *spec)
{
    struct tsdb_label items[16];
    struct tsdb_labels labels = labels_of(spec, items);
    return index_mem_find(f->ix, &labels, tsdb_labels_hash(&f->key, &labels));
}

static void index_mem_add__empty_and_first_series__are_found(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_label items[4];
    fixture_init(&f);
    assert_int_equal(index_mem_series_count(f.ix), 0);
    assert_int_equal(find(&f, "a=1"), UINT32_MAX);
    assert_int_equal(add(&f, "a=1"), 0);
    assert_int_equal(add(&f, "a=1,b=2"), 1);
    assert_int_equal(add(&f, ""), 2); /* no label at all is a label set too */
    assert_int_equal(index_mem_series_count(f.ix), 3);
    assert_int_equal(find(&f, "a=1"), 0);
    assert_int_equal(find(&f, "a=1,b=2"), 1);
    assert_int_equal(find(&f, ""), 2);
    assert_int_equal(find(&f, "a=2"), UINT32_MAX);
    assert_int_equal(find(&f, "b=2"), UINT32_MAX);
    assert_int_equal(index_mem_labels(f.ix, 1, items, 4), 2);
    assert_int_equal(index_mem_labels(f.ix, 1, items, 1), 1);
    assert_int_equal(index_mem_labels(f.ix, 2, items, 4), 0);
    assert_ok(index_mem_validate(f.ix, NULL));
    fixture_deinit(&f);
}

static void index_mem_find__equal_hash_other_labels__is_not_found(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_label items[4];
    struct tsdb_labels labels;
    uint32_t local;
    static const char *const specs[] = {"a=1,b=2", "a=1,b=3", "a=1", "a=1,c=2", "a=12"};
    fixture_init(&f);
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(specs); i++) {
        labels = labels_of(specs[i], items);
        assert_int_equal(index_mem_find(f.ix, &labels, 42), UINT32_MAX);
        assert_ok(index_mem_add(f.ix, &labels, 42, &local, NULL));
    }
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(specs); i++) {
        labels = labels_of(specs[i], items);
        assert_int_equal(index_mem_find(f.ix, &labels, 42), i);
        assert_int_equal(index_mem_hash(f.ix, i), 42);
    }
    fixture_deinit(&f);
}

static void index_mem_add__widest_labels__read_back(void **state)
{
    (void)state;
    struct fixture f;
    static char names[TSDB_LABELS_MAX][8];
    static char big[TSDB_LABEL_VALUE_BYTES_MAX];
    static struct tsdb_label items[TSDB_LABELS_MAX];
    static struct tsdb_label back[TSDB_LABELS_MAX];
    uint32_t local;
    fixture_init(&f);
    memset(big, 'x', sizeof big);
    for (uint32_t i = 0; i < TSDB_LABELS_MAX; i++) {
        (void)snprintf(names[i], sizeof names[i], "n%04u", i);
        items[i] = (struct tsdb_label){names[i], big, 5, 1 + i};
    }
    items[7].value_len = sizeof big;
    struct tsdb_labels labels = {items, TSDB_LABELS_MAX};
    assert_ok(index_mem_add(f.ix, &labels, 1, &local, NULL));
    struct tsdb_labels read = {back, index_mem_labels(f.ix, local, back, TSDB_LABELS_MAX)};
    assert_true(tsdb_labels_equal(&labels, &read));
    assert_int_equal(index_mem_find(f.ix, &labels, 1), 0);
    assert_ok(index_mem_validate(f.ix, NULL));
    fixture_deinit(&f);
}

/* ---- selection by hand ---- */

/* Matchers as "name op value" rows; the ids as "0 2 5 ". */
static void selects(struct fixture *f, const struct tsdb_matcher *matchers, uint32_t count,
                    const char *expected)
{
    struct index_matcher *compiled[4];
    const struct index_matcher *borrowed[4];
    struct tsdb_error err = {0};
    char text[128] = "";
    uint32_t *ids = NULL;
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        assert_ok_err(index_matcher_compile(&matchers[i], &compiled[i], &err), &err);
        borrowed[i] = compiled[i];
    }
    assert_ok_err(index_mem_select(f->ix, borrowed, count, NULL, &f->arena, &ids, &n, &err), &err);
    for (uint32_t i = 0; i < n; i++) {
        size_t at = strlen(text);
        (void)snprintf(text + at, sizeof text - at, "%u ", ids[i]);
    }
    if (strcmp(text, expected) != 0) {
        fail_msg("%.*s %s '%.*s' selects %s, expected %s", (int)matchers->name_len, matchers->name,
                 tsdb_match_op_text(matchers->op), (int)matchers->value_len, matchers->value, text,
                 expected);
    }
    for (uint32_t i = 0; i < count; i++) {
        index_matcher_destroy(compiled[i]);
    }
    tsdb_arena_reset(&f->arena);
}

static struct tsdb_matcher matcher(const char *name, enum tsdb_match_op op, const char *value)
{
    return (struct tsdb_matcher){op, name, value, (uint32_t)strlen(name), (uint32_t)strlen(value)};
}

static void selects_by(struct fixture *f, const char *name, enum tsdb_match_op op,
                       const char *value, const char *expected)
{
    struct tsdb_matcher m = matcher(name, op, value);
    selects(f, &m, 1, expected);
}

static void small_index(struct fixture *f)
{
    fixture_init(f);
    add(f, "__name__=up,a=x,job=one");   /* 0 */
    add(f, "__name__=up,a=y,job=one");   /* 1 */
    add(f, "__name__=up,job=two");       /* 2: no a */
    add(f, "__name__=down,a=x,job=two"); /* 3 */
    add(f, "__name__=down,b=x\ny");      /* 4: no a, no job */
}

static void index_mem_select__one_matcher__as_prometheus(void **state)
{
    (void)state;
    struct fixture f;
    small_index(&f);
    selects(&f, NULL, 0, "0 1 2 3 4 ");
    selects_by(&f, "a", TSDB_MATCH_EQ, "x", "0 3 ");
    selects_by(&f, "a", TSDB_MATCH_EQ, "z", "");
    selects_by(&f, "a", TSDB_MATCH_NE, "x", "1 2 4 ");
    selects_by(&f, "a", TSDB_MATCH_NE, "z", "0 1 2 3 4 ");
    selects_by(&f, "a", TSDB_MATCH_RE, "x|y", "0 1 3 ");
    selects_by(&f, "a", TSDB_MATCH_RE, "[xy]", "0 1 3 ");
    selects_by(&f, "a", TSDB_MATCH_NRE, "x|q", "1 2 4 ");
    selects_by(&f, "a", TSDB_MATCH_NRE, "[xy]", "2 4 ");
    selects_by(&f, "__name__", TSDB_MATCH_RE, ".*p", "0 1 2 ");
    selects_by(&f, "b", TSDB_MATCH_RE, "x.y", "4 "); /* dot matches newline */
    selects_by(&f, "b", TSDB_MATCH_RE, "x.*", "4 ");
    fixture_deinit(&f);
}

static void index_mem_select__empty_values__mean_absent_labels(void **state)
{
    (void)state;
    struct fixture f;
    small_index(&f);
    selects_by(&f, "a", TSDB_MATCH_EQ, "", "2 4 ");
    selects_by(&f, "a", TSDB_MATCH_NE, "", "0 1 3 ");
    selects_by(&f, "a", TSDB_MATCH_RE, "", "2 4 ");
    selects_by(&f, "a", TSDB_MATCH_NRE, "", "0 1 3 ");
    selects_by(&f, "a", TSDB_MATCH_RE, ".*", "0 1 2 3 4 ");
    selects_by(&f, "a", TSDB_MATCH_NRE, ".*", "");
    selects_by(&f, "a", TSDB_MATCH_RE, ".+", "0 1 3 ");
    selects_by(&f, "a", TSDB_MATCH_NRE, ".+", "2 4 ");
    selects_by(&f, "a", TSDB_MATCH_RE, ".+|^$", "0 1 2 3 4 ");
    selects_by(&f, "a", TSDB_MATCH_RE, "x|", "0 2 3 4 ");
    selects_by(&f, "a", TSDB_MATCH_RE, "x?", "0 2 3 4 ");
    selects_by(&f, "a", TSDB_MATCH_NRE, "x|", "1 ");
    selects_by(&f, "a", TSDB_MATCH_NRE, "x?", "1 ");
    fixture_deinit(&f);
}

static void index_mem_select__unknown_name__counts_as_empty(void **state)
{
    (void)state;
    struct fixture f;
    small_index(&f);
    selects_by(&f, "none", TSDB_MATCH_EQ, "", "0 1 2 3 4 ");
    selects_by(&f, "none", TSDB_MATCH_NE, "", "");
    selects_by(&f, "none", TSDB_MATCH_EQ, "x", "");
    selects_by(&f, "none", TSDB_MATCH_NE, "x", "0 1 2 3 4 ");
    selects_by(&f, "none", TSDB_MATCH_RE, ".*", "0 1 2 3 4 ");
    selects_by(&f, "none", TSDB_MATCH_RE, "x|y", "");
    selects_by(&f, "none", TSDB_MATCH_NRE, "[x]", "0 1 2 3 4 ");
    selects_by(&f, "x", TSDB_MATCH_EQ, "", "0 1 2 3 4 "); /* a value's symbol, not a name */
    fixture_deinit(&f);
}

static void index_mem_select__several_matchers__all_hold(void **state)
{
    (void)state;
    struct fixture f;
    small_index(&f);
    struct tsdb_matcher both[] = {matcher("__name__", TSDB_MATCH_EQ, "up"),
                                  matcher("job", TSDB_MATCH_EQ, "one")};
    selects(&f, both, 2, "0 1 ");
    struct tsdb_matcher same[] = {matcher("a", TSDB_MATCH_NE, "x"),
                                  matcher("a", TSDB_MATCH_NE, "y")};
    selects(&f, same, 2, "2 4 ");
    struct tsdb_matcher none[] = {matcher("a", TSDB_MATCH_EQ, "x"),
                                  matcher("a", TSDB_MATCH_EQ, "y")};
    selects(&f, none, 2, "");
    struct tsdb_matcher negative[] = {matcher("a", TSDB_MATCH_NRE, ".+"),
                                      matcher("job", TSDB_MATCH_NE, "two")};
    selects(&f, negative, 2, "4 ");
    struct tsdb_matcher mixed[] = {matcher("__name__", TSDB_MATCH_RE, "u.|dow."),
                                   matcher("a", TSDB_MATCH_EQ, ""),
                                   matcher("job", TSDB_MATCH_NE, "")};
    selects(&f, mixed, 3, "2 ");
    fixture_deinit(&f);
}

static void index_mem_select__no_series__is_empty(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f);
    selects(&f, NULL, 0, "");
    selects_by(&f, "a", TSDB_MATCH_EQ, "", "");
    selects_by(&f, "a", TSDB_MATCH_NE, "x", "");
    fixture_deinit(&f);
}

/* ---- requests that end early ---- */

static void index_mem_select__cancelled_or_over_memory__says_so(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_request request;
    struct tsdb_account account;
    struct tsdb_arena arena;
    struct index_matcher *m;
    struct tsdb_matcher source = matcher("a", TSDB_MATCH_RE, "[xy]");
    struct tsdb_error err = {0};
    uint32_t *ids = NULL;
    uint32_t n = 77;
    small_index(&f);
    assert_ok(index_matcher_compile(&source, &m, NULL));
    const struct index_matcher *borrowed = m;
    tsdb_request_init(&request, &tsdb_clock_real, TSDB_SCOPE_READ);
    assert_ok(index_mem_select(f.ix, &borrowed, 1, &request, &f.arena, &ids, &n, &err));
    assert_int_equal(n, 3);
    tsdb_request_cancel(&request);
    assert_int_equal(index_mem_select(f.ix, &borrowed, 1, &request, &f.arena, &ids, &n, &err),
                     TSDB_CANCELLED);
    assert_int_equal(err.status, TSDB_CANCELLED);
    tsdb_account_init(&account, 8, NULL);
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 64, &account);
    assert_int_equal(index_mem_select(f.ix, &borrowed, 1, NULL, &arena, &ids, &n, &err),
                     TSDB_LIMIT);
    assert_int_equal(n, 3); /* untouched */
    tsdb_arena_deinit(&arena);
    index_matcher_destroy(m);
    fixture_deinit(&f);
}

/* ---- against a naive model ---- */

#define MODEL_SERIES 3000u

struct model {
    char specs[MODEL_SERIES][64];
    uint32_t count;
};

static void model_fill(struct fixture *f, struct model *model, struct tsdb_prng *prng,
                       uint32_t count)
{
    model->count = 0;
    while (model->count < count) {
        char *spec = model->specs[model->count];
        size_t at = (size_t)sprintf(spec, "__name__=m%u", (unsigned)tsdb_prng_below(prng, 5));
        if (tsdb_prng_below(prng, 3)) {
            at += (size_t)sprintf(spec + at, ",a=%c%u", "xy"[tsdb_prng_below(prng, 2)],
                                  (unsigned)tsdb_prng_below(prng, 4));
        }
        if (tsdb_prng_below(prng, 4)) { /* mostly unique, as "instance" */
            at += (size_t)sprintf(spec + at, ",i=h%u", (unsigned)tsdb_prng_below(prng, 2000));
        }
        if (tsdb_prng_below(prng, 8) ==
            0) { /* a value that is also a name, and a value of another name */
            (void)sprintf(spec + at, ",z=a");
        }
        if (find(f, spec) == UINT32_MAX) {
            assert_int_equal(add(f, spec), model->count++);
        }
    }
}

static struct tsdb_matcher model_matcher(struct tsdb_prng *prng)
{
    static const char *const names[] = {"__name__", "a", "i", "z", "none"};
    static const char *const values[] = {
        "",           "x1",
        "y2",         "m3",
        "h7",         "a",
        "q",          ".*",
        ".+",         "x.*",
        "h1.*",       ".*7",
        "x1|y2",      "m1|m2|m3",
        "(x|y)(1|2)", "[xy][12]",
        "h[0-9]*5",   "x1|",
        "h1?",        ".+|^$",
        "m.",         "h(1|2|3|4|5|6|7|8|9|10)",
        "[a-z]+1+",
    };
    enum tsdb_match_op op = (enum tsdb_match_op)tsdb_prng_below(prng, 4);
    return matcher(names[tsdb_prng_below(prng, TSDB_ARRAY_LEN(names))], op,
                   values[tsdb_prng_below(prng, TSDB_ARRAY_LEN(values))]);
}

static bool model_matches(const char *spec, const struct index_matcher *m)
{
    struct tsdb_label items[16];
    struct tsdb_labels labels = labels_of(spec, items);
    const struct tsdb_matcher *source = index_matcher_source(m);
    const struct tsdb_label *l = tsdb_labels_find(&labels, source->name, source->name_len);
    return index_matcher_matches(m, l != NULL ? l->value : "", l != NULL ? l->value_len : 0);
}

static void model_query(struct fixture *f, const struct model *model, struct tsdb_prng *prng)
{
    struct tsdb_matcher sources[4];
    struct index_matcher *compiled[4];
    const struct index_matcher *borrowed[4];
    struct tsdb_error err = {0};
    uint32_t count = (uint32_t)tsdb_prng_below(prng, 5);
    uint32_t *ids = NULL;
    uint32_t n = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        sources[i] = model_matcher(prng);
        assert_ok_err(index_matcher_compile(&sources[i], &compiled[i], &err), &err);
        borrowed[i] = compiled[i];
    }
    assert_ok_err(index_mem_select(f->ix, borrowed, count, NULL, &f->arena, &ids, &n, &err), &err);
    for (uint32_t local = 0; local < model->count; local++) {
        bool all = true;
        for (uint32_t i = 0; i < count; i++) {
            all = all && model_matches(model->specs[local], borrowed[i]);
        }
        bool listed = at < n && ids[at] == local;
        at += listed;
        if (all != listed) {
            fail_msg("series %u {%s}: %s; first matcher %s %s '%s' of %u", local,
                     model->specs[local], listed ? "listed" : "missing", sources[0].name,
                     tsdb_match_op_text(sources[0].op), sources[0].value, count);
        }
    }
    assert_int_equal(at, n);
    for (uint32_t i = 0; i < count; i++) {
        index_matcher_destroy(compiled[i]);
    }
    tsdb_arena_reset(&f->arena);
}

static void index_mem_select__random_matchers__agree_with_naive(void **state)
{
    (void)state;
    static struct model model;
    struct tsdb_prng prng;
    static const uint32_t sizes[] = {1, 10, 63, 64, 65, 400, MODEL_SERIES};
    tsdb_prng_init(&prng, 99);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(sizes); i++) {
        struct fixture f;
        struct tsdb_error err = {0};
        fixture_init(&f);
        model_fill(&f, &model, &prng, sizes[i]);
        assert_ok_err(index_mem_validate(f.ix, &err), &err);
        for (int query = 0; query < (sizes[i] == MODEL_SERIES ? 800 : 300); query++) {
            model_query(&f, &model, &prng);
        }
        fixture_deinit(&f);
    }
}

/* ---- names, values, statistics ---- */

struct seen {
    char text[256];
    uint32_t limit;
    uint32_t calls;
};

static bool see_string(void *arg, const char *s, uint32_t len)
{
    struct seen *seen = arg;
    size_t at = strlen(seen->text);
    (void)snprintf(seen->text + at, sizeof seen->text - at, "[%.*s]", (int)len, s);
    return ++seen->calls != seen->limit;
}

static bool see_pair(void *arg, const char *name, uint32_t name_len, const char *value,
                     uint32_t value_len, uint64_t series)
{
    struct seen *seen = arg;
    size_t at = strlen(seen->text);
    (void)snprintf(seen->text + at, sizeof seen->text - at, "[%.*s=%.*s:%u]", (int)name_len, name,
                   (int)value_len, value, (unsigned)series);
    return ++seen->calls != seen->limit;
}

/* Wants one string, and counts how many series it was asked for. */
struct picky {
    const char *text;
    uint32_t asked;
};

static bool want_text(void *arg, const char *s, uint32_t len)
{
    const struct picky *p = arg;
    return strlen(p->text) == len && memcmp(p->text, s, len) == 0;
}

static bool want_series(void *arg, uint32_t local)
{
    struct picky *p = arg;
    (void)local;
    p->asked++;
    return true;
}

static void index_mem_values__strings_that_do_not_count__no_series_of_theirs_is_asked(void **state)
{
    (void)state;
    struct fixture f;
    small_index(&f);
    struct picky p = {.text = "x"};
    struct index_wanted wanted = {want_text, &p, want_series, &p};
    struct seen seen = {.limit = 0};
    index_mem_values(f.ix, "a", 1, &wanted, see_string, &seen);
    assert_string_equal(seen.text, "[x]");
    assert_int_equal(p.asked, 1);
    p = (struct picky){.text = "job"};
    seen = (struct seen){.limit = 0};
    index_mem_names(f.ix, &wanted, see_string, &seen);
    assert_string_equal(seen.text, "[job]");
    assert_int_equal(p.asked, 1);
    wanted.series = NULL;
    seen = (struct seen){.limit = 0};
    index_mem_names(f.ix, &wanted, see_string, &seen);
    assert_string_equal(seen.text, "[job]");
    assert_int_equal(p.asked, 1);
    fixture_deinit(&f);
}

static void index_mem_names_values_pairs__small_index__lists_each_once(void **state)
{
    (void)state;
    struct fixture f;
    small_index(&f);
    struct seen seen = {.limit = 0};
    index_mem_names(f.ix, NULL, see_string, &seen);
    assert_string_equal(seen.text, "[b][job][a][__name__]");
    seen = (struct seen){.limit = 2};
    index_mem_names(f.ix, NULL, see_string, &seen);
    assert_string_equal(seen.text, "[b][job]");
    seen = (struct seen){.limit = 0};
    index_mem_values(f.ix, "a", 1, NULL, see_string, &seen);
    assert_string_equal(seen.text, "[y][x]");
    seen = (struct seen){.limit = 1};
    index_mem_values(f.ix, "a", 1, NULL, see_string, &seen);
    assert_string_equal(seen.text, "[y]");
    seen = (struct seen){.limit = 0};
    index_mem_values(f.ix, "none", 4, NULL, see_string, &seen);
    assert_string_equal(seen.text, "");
    index_mem_pairs(f.ix, see_pair, &seen);
    assert_string_equal(
        seen.text,
        "[b=x\ny:1][job=two:2][job=one:2][a=y:1][a=x:2][__name__=down:2][__name__=up:3]");
    fixture_deinit(&f);
}

static void index_mem_stats__many_series__accounts_for_all_memory(void **state)
{
    (void)state;
    struct fixture f;
    static struct model model;
    struct index_mem_stats stats;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 4);
    fixture_init(&f);
    uint64_t fixed = tsdb_mem_used(TSDB_MEM_INDEX);
    index_mem_stats(f.ix, &stats);
    fixed -= stats.table_bytes;
    model_fill(&f, &model, &prng, MODEL_SERIES);
    (void)tsdb_epoch_reclaim(f.epoch, &f.limbo);
    (void)tsdb_epoch_reclaim(f.epoch, &f.limbo);
    (void)tsdb_epoch_reclaim(f.epoch, &f.limbo);
    assert_int_equal(f.limbo.bytes, 0);
    index_mem_stats(f.ix, &stats);
    assert_int_equal(stats.series, MODEL_SERIES);
    assert_in_range(stats.label_pairs, 5 + 8 + 1000, 5 + 8 + 2000 + 1);
    assert_in_range(stats.symbols, stats.label_pairs, stats.label_pairs + 4);
    uint64_t sum =
        stats.symbol_bytes + stats.postings_bytes + stats.labels_bytes + stats.table_bytes;
    /* The lists of regions are the only thing not counted. */
    assert_in_range(tsdb_mem_used(TSDB_MEM_INDEX) - fixed, sum, sum + 8192);
    fixture_deinit(&f);
}

/* ---- sets as differences ---- */

/* Series as targets send them: some labels of the target, some of the metric, here and there many. */
static uint32_t target_labels(struct tsdb_prng *prng, uint32_t target, uint32_t metric,
                              char texts[][2][16], struct tsdb_label *items)
{
    static const uint32_t widths[] = {3, 8, 14, 30, 60};
    uint32_t width = widths[target % TSDB_ARRAY_LEN(widths)];
    uint32_t n = 0;
    for (uint32_t i = 0; i < width + 6; i++) {
        bool of_metric = i % 5 == 0;
        if (of_metric && i > 0 && (metric + i) % 3 == 0) {
            continue; /* metrics have different labels */
        }
        (void)snprintf(texts[n][0], sizeof texts[n][0], "n%03u", i);
        (void)snprintf(texts[n][1], sizeof texts[n][1], "v%u",
                       of_metric ? metric + i : target + 1000 * i);
        n++;
    }
    if (tsdb_prng_below(prng, 10) == 0) {
        (void)snprintf(texts[n - 1][0], sizeof texts[n - 1][0], "z%u",
                       (unsigned)tsdb_prng_below(prng, 100));
    }
    for (uint32_t i = 0; i < n; i++) {
        items[i] = tsdb_label_make(texts[i][0], texts[i][1]);
    }
    return n;
}

static void index_mem_labels__sets_of_targets__read_back_in_any_order(void **state)
{
    (void)state;
    enum {
        SERIES = 4000,
        WIDEST = 70
    };
    static struct tsdb_labels added[SERIES];
    struct fixture f;
    struct tsdb_prng prng;
    struct tsdb_error err = {0};
    uint32_t count = 0;
    tsdb_prng_init(&prng, 31);
    fixture_init(&f);
    for (uint32_t i = 0; i < SERIES; i++) {
        static char texts[WIDEST][2][16];
        struct tsdb_label items[WIDEST];
        /* Now and then the next target comes in between. */
        uint32_t target = i / 40 + (tsdb_prng_below(&prng, 15) == 0);
        struct tsdb_labels labels = {
            items,
            target_labels(&prng, target, (uint32_t)tsdb_prng_below(&prng, 60), texts, items)};
        uint64_t hash = tsdb_labels_hash(&f.key, &labels);
        uint32_t local = 0;
        if (index_mem_find(f.ix, &labels, hash) == UINT32_MAX) {
            assert_ok(index_mem_add(f.ix, &labels, hash, &local, NULL));
            assert_int_equal(local, count);
            assert_ok(tsdb_labels_dup(&labels, &f.arena, &added[count++]));
        }
    }
    for (uint32_t i = 0; i < 3 * count; i++) {
        struct tsdb_label items[WIDEST];
        uint32_t local = (uint32_t)tsdb_prng_below(&prng, count);
        struct tsdb_labels labels = {items, index_mem_labels(f.ix, local, items, WIDEST)};
        assert_true(tsdb_labels_equal(&labels, &added[local]));
        uint32_t cap = (uint32_t)tsdb_prng_below(&prng, WIDEST);
        labels.count = index_mem_labels(f.ix, local, items, cap);
        struct tsdb_labels first = {added[local].items, TSDB_MIN(cap, added[local].count)};
        assert_true(tsdb_labels_equal(&labels, &first));
    }
    assert_ok_err(index_mem_validate(f.ix, &err), &err);
    fixture_deinit(&f);
}

/* A hundred series a target, of ten labels, of which one is the metric's. */
static void index_mem_add__series_of_targets__cost_what_differs(void **state)
{
    (void)state;
    struct fixture f;
    struct index_mem_stats stats;
    char spec[160];
    fixture_init(&f);
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t target = i / 100;
        (void)snprintf(
            spec, sizeof spec,
            "__name__=metric_%u,a=1,b=2,c=%u,d=%u,e=3,instance=host%u,job=j%u,pod=p%u,z=9", i % 100,
            target % 7, target % 50, target, target % 20, target);
        (void)add(&f, spec);
    }
    index_mem_stats(f.ix, &stats);
    assert_in_range(stats.labels_bytes / stats.series, 1, 32);
    assert_in_range(stats.postings_bytes / stats.series, 1, 8);
    fixture_deinit(&f);
}

/* ---- failing allocations ---- */

/* Neither the value nor, for the first series with it, the name of an add that failed is listed. */
static void failed_add_is_hidden(struct fixture *f, uint32_t i)
{
    char text[16];
    struct seen values = {.limit = 0};
    struct seen names = {.limit = 0};
    (void)snprintf(text, sizeof text, "[%u]", i);
    index_mem_values(f->ix, "i", 1, NULL, see_string, &values);
    assert_null(strstr(values.text, text));
    (void)snprintf(text, sizeof text, "[n%u]", i / 100);
    index_mem_names(f->ix, NULL, see_string, &names);
    assert_int_equal(strstr(names.text, text) != NULL, i % 100 != 0);
}

static void index_mem_add__each_allocation_fails__all_or_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_label items[16];
    struct tsdb_error err = {0};
    uint32_t failures = 0;
    char spec[64];
    fixture_init(&f);
    for (uint32_t i = 0; i < 1500; i++) {
        (void)snprintf(spec, sizeof spec, "__name__=m,i=%u,n%u=y,z=%u", i, i / 100, i % 3);
        struct tsdb_labels labels = labels_of(spec, items);
        uint64_t hash = tsdb_labels_hash(&f.key, &labels);
        enum tsdb_status status = TSDB_NOMEM;
        for (uint64_t nth = 1; status != TSDB_OK; nth++) {
            uint32_t local = 12345;
            tsdb_alloc_fail_nth(nth, 0);
            status = index_mem_add(f.ix, &labels, hash, &local, &err);
            tsdb_alloc_ops_set(NULL);
            if (status != TSDB_OK) {
                assert_int_equal(status, TSDB_NOMEM);
                assert_int_equal(local, 12345);
                assert_int_equal(index_mem_series_count(f.ix), i);
                assert_int_equal(index_mem_find(f.ix, &labels, hash), UINT32_MAX);
                failed_add_is_hidden(&f, i);
                if (failures++ % 16 == 0) {
                    assert_ok_err(index_mem_validate(f.ix, &err), &err);
                }
                continue;
            }
            assert_int_equal(local, i);
        }
        (void)tsdb_epoch_reclaim(f.epoch, &f.limbo);
    }
    assert_true(failures > 50);
    assert_ok_err(index_mem_validate(f.ix, &err), &err);
    fixture_deinit(&f);
}

static void index_mem_create__each_allocation_fails__is_nomem_and_leaks_nothing(void **state)
{
    (void)state;
    struct tsdb_epoch *epoch;
    struct tsdb_epoch_limbo limbo;
    uint64_t used = tsdb_mem_used(TSDB_MEM_INDEX);
    enum tsdb_status status = TSDB_NOMEM;
    assert_ok(tsdb_epoch_create(2, &epoch));
    tsdb_epoch_limbo_init(&limbo);
    for (uint64_t nth = 1; status != TSDB_OK; nth++) {
        struct index_mem *ix = NULL;
        tsdb_alloc_fail_nth(nth, 0);
        status = index_mem_create(epoch, &limbo, &ix);
        tsdb_alloc_ops_set(NULL);
        assert_true(status == TSDB_OK || (status == TSDB_NOMEM && !ix));
        index_mem_destroy(ix);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_INDEX), used);
    }
    tsdb_epoch_limbo_deinit(&limbo);
    tsdb_epoch_destroy(epoch);
}

/* ---- the check itself ---- */

static void index_mem_validate__damaged_index__finds_it(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_error err = {0};
    small_index(&f);
    assert_ok(index_mem_validate(f.ix, &err));
    index_row_at(f.ix, 1)->hash++;
    assert_int_equal(index_mem_validate(f.ix, &err), TSDB_CORRUPT);
    index_row_at(f.ix, 1)->hash--;
    uint32_t pairs[4];
    assert_int_equal(index_set_read(f.ix, index_row_at(f.ix, 1)->set, pairs, 4), 3);
    struct index_pair *p = index_pair_at(f.ix, pairs[1]);
    uint64_t open = atomic_load(&p->postings.open);
    atomic_store(&p->postings.open, 0);
    assert_int_equal(index_mem_validate(f.ix, &err), TSDB_CORRUPT);
    atomic_store(&p->postings.open, open);
    assert_ok(index_mem_validate(f.ix, &err));
    assert_int_equal(index_set_read(f.ix, index_row_at(f.ix, 0)->set, pairs, 4), 3);
    struct index_pair *other = index_pair_at(f.ix, pairs[1]);
    assert_ok(index_postings_reserve(&other->postings, &f.ix->blocks, 4));
    index_postings_append(&other->postings, &f.ix->blocks, 4); /* series 4 has no such label */
    assert_int_equal(index_mem_validate(f.ix, &err), TSDB_CORRUPT);
    fixture_deinit(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(index_mem_add__empty_and_first_series__are_found),
    cmocka_unit_test(index_mem_find__equal_hash_other_labels__is_not_found),
    cmocka_unit_test(index_mem_add__widest_labels__read_back),
    cmocka_unit_test(index_mem_select__one_matcher__as_prometheus),
    cmocka_unit_test(index_mem_select__empty_values__mean_absent_labels),
    cmocka_unit_test(index_mem_select__unknown_name__counts_as_empty),
    cmocka_unit_test(index_mem_select__several_matchers__all_hold),
    cmocka_unit_test(index_mem_select__no_series__is_empty),
    cmocka_unit_test(index_mem_select__cancelled_or_over_memory__says_so),
    cmocka_unit_test(index_mem_select__random_matchers__agree_with_naive),
    cmocka_unit_test(index_mem_values__strings_that_do_not_count__no_series_of_theirs_is_asked),
    cmocka_unit_test(index_mem_names_values_pairs__small_index__lists_each_once),
    cmocka_unit_test(index_mem_stats__many_series__accounts_for_all_memory),
    cmocka_unit_test(index_mem_labels__sets_of_targets__read_back_in_any_order),
    cmocka_unit_test(index_mem_add__series_of_targets__cost_what_differs),
    cmocka_unit_test(index_mem_add__each_allocation_fails__all_or_nothing),
    cmocka_unit_test(index_mem_create__each_allocation_fails__is_nomem_and_leaks_nothing),
    cmocka_unit_test(index_mem_validate__damaged_index__finds_it),
};
TEST_MAIN(tests)
