/* Series that leave memory when nothing of them is left there, and come back under another id: to who
 * asks, nothing has happened. */
#include "base/hash.h"
#include "model/placement.h"
#include "tests/unit/tsdb/blocks_rig.h"
#include "tsdb/head/head_private.h"

#define T0     (HX_WALL_MS / RANGE * RANGE - 20 * RANGE)
#define SERIES 60u

static uint64_t in_memory(struct hx *h)
{
    struct tsdb_stats s;
    tsdb_stats_read(h->db, &s);
    assert_int_equal(s.series, atomic_load(&h->db->series_total));
    return s.series;
}

static uint64_t ids(struct hx *h)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        n += head_series_count(h->db->heads[i]);
    }
    return n;
}

static void fill(struct hx *h, int64_t from_ms)
{
    for (uint32_t i = 0; i < SERIES; i++) {
        put_many(h, i, from_ms + i, 1000, 100);
    }
}

static void validate(struct hx *h)
{
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        struct tsdb_error err = {0};
        assert_ok_err(head_validate(h->db->heads[i], &err), &err);
    }
}

static void leave__flushed__out_of_memory_and_reads_the_same(void **state)
{
    struct hx *h = *state;
    fill(h, T0);
    uint64_t before = hash_all(h);
    assert_int_equal(in_memory(h), SERIES);
    flush(h);
    assert_int_equal(in_memory(h), 0);
    assert_int_equal(ids(h), SERIES);
    assert_int_equal(alias_count(h->db->aliases), 0);
    assert_int_equal(hash_all(h), before);
    validate(h);
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(hash_all(h), before);
}

/* The second life has other ids; both show as one series, the same as if it had never left. */
static void leave__comes_back__both_lives_are_one_series(void **state)
{
    struct hx *h = *state;
    fill(h, T0);
    flush(h);
    uint32_t first = h->refs[3];
    fill(h, T0 + 5 * RANGE);
    assert_int_equal(in_memory(h), SERIES);
    assert_int_equal(ids(h), 2 * SERIES);
    assert_int_not_equal(h->refs[3], first);
    uint64_t both = hash_all(h);
    uint32_t count = hx_count(h);
    assert_int_equal(count, 2 * SERIES * 100);
    validate(h);
    flush(h);
    assert_int_equal(in_memory(h), 0);
    assert_int_equal(hash_all(h), both);
    for (int i = 0; i < 2; i++) {
        assert_ok(hx_close(h, NULL));
        rig_open(h);
        assert_int_equal(hash_all(h), both);
        assert_int_equal(hx_count(h), count);
    }
    hx_die(h, true);
    rig_open(h);
    assert_int_equal(hash_all(h), both);
}

/* Left, and back, and both lives in the log and in series.log: what was stored under either id is the
 * series'. */
static void leave__back_and_killed__recovery_knows_both_ids(void **state)
{
    struct hx *h = *state;
    fill(h, T0);
    assert_ok(tsdb_checkpoint(h->db, NULL)); /* first ids in series.log */
    flush(h);
    fill(h, T0 + 5 * RANGE);
    uint64_t both = hash_all(h);
    hx_die(h, false); /* second ids in the log alone */
    rig_open(h);
    assert_int_equal(hash_all(h), both);
    validate(h);
    flush(h);
    fill(h, T0 + 8 * RANGE);
    uint64_t three = hash_all(h);
    assert_ok(tsdb_checkpoint(h->db, NULL)); /* now in series.log, too */
    hx_die(h, true);
    rig_open(h);
    assert_int_equal(hash_all(h), three);
    validate(h);
    assert_ok(hx_close(h, NULL));
    rig_open(h);
    assert_int_equal(hash_all(h), three);
}

/* A limit of series counts those that are in memory: who has left has made room. */
static void leave__limit_of_a_metric__has_room_again(void **state)
{
    struct hx *h = *state;
    assert_ok(hx_close(h, NULL));
    h->options.metric_series_max = SERIES / 7 + 1; /* all that fill makes of m0 */
    rig_open(h);
    fill(h, T0);
    struct hx_sample late = hx_float(7 * SERIES, T0 + 5 * RANGE, 1);
    struct tsdb_write_result r = {0};
    assert_ok(hx_put(h, &late, 1, TSDB_DURABILITY_BUFFERED, &r));
    assert_int_equal(r.rejected[TSDB_REJECT_SERIES_LIMIT], 1);
    flush(h);
    assert_int_equal(in_memory(h), 0);
    tsdb_clock_sim_advance(&h->clock, 2000);
    r = (struct tsdb_write_result){0};
    assert_ok(hx_put(h, &late, 1, TSDB_DURABILITY_BUFFERED, &r));
    assert_int_equal(r.samples_written, 1);
}

/* What a querier has of the index stays its own: labels, ids, samples. */
static void leave__querier_open__goes_on_with_what_it_saw(void **state)
{
    struct hx *h = *state;
    struct tsdb_querier *q = NULL;
    struct tsdb_labels labels;
    struct tsdb_columns c;
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    fill(h, T0);
    flush(h);
    fill(h, T0 + 5 * RANGE);
    assert_ok(tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &q, NULL));
    tsdb_series_ref ref = hx_select(q, 7);
    assert_ok(tsdb_series_labels(q, ref, &arena, &labels, NULL));
    flush(h); /* held back by the querier's view */
    assert_int_equal(in_memory(h), SERIES);
    struct tsdb_querier *later = NULL;
    assert_ok(tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &later, NULL));
    tsdb_series_ref later_ref = hx_select(later, 7);
    struct tsdb_labels later_labels;
    assert_ok(tsdb_series_labels(later, later_ref, &arena, &later_labels, NULL));
    assert_ok(tsdb_series_read(q, ref, TSDB_TIME_ALL, &arena, &c, NULL));
    assert_int_equal(c.count, 200);
    tsdb_querier_close(q);
    flush(h); /* nothing new; but what `later` sees, blocks have */
    tsdb_flush_step(h->db, h->clock.mono_ns);
    assert_int_equal(in_memory(h), 0);
    fill(h, T0 + 8 * RANGE);
    assert_int_equal(later_labels.count, 2);
    assert_memory_equal(later_labels.items[1].value, "7", 1);
    assert_ok(tsdb_series_read(later, later_ref, TSDB_TIME_ALL, &arena, &c, NULL));
    assert_int_equal(c.count, 200);
    assert_int_equal(hx_select(later, 7), later_ref);
    tsdb_querier_close(later);
    tsdb_arena_deinit(&arena);
}

static void leave__idle_time__waits_for_it_unless_stale(void **state)
{
    struct hx *h = *state;
    assert_ok(hx_close(h, NULL));
    h->options.series_idle_ms = 30 * RANGE;
    rig_open(h);
    put_many(h, 1, T0, 1000, 50);
    put_many(h, 2, T0, 1000, 50);
    struct hx_sample stale = {.series = 2, .t_ms = T0 + 55000, .bits = TSDB_STALE_NAN_BITS};
    assert_ok(hx_put(h, &stale, 1, TSDB_DURABILITY_BUFFERED, NULL));
    flush(h);
    assert_int_equal(in_memory(h), 2); /* since the start not long enough */
    tsdb_clock_sim_advance(&h->clock, 31 * RANGE);
    put_many(h, 3, T0 + 50 * RANGE, 1000, 5);
    tsdb_flush_step(h->db, h->clock.mono_ns);
    assert_int_equal(in_memory(h), 1);
}

static void leave__retention_drops__gone_from_limits_with_the_next_step(void **state)
{
    struct hx *h = *state;
    assert_ok(hx_close(h, NULL));
    h->options.retention_ms = 30 * RANGE;
    h->options.series_max = SERIES;
    rig_open(h);
    fill(h, T0);
    struct tsdb_write_result r;
    struct hx_sample s = hx_float(SERIES, HX_WALL_MS, 1);
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_BUFFERED, &r));
    assert_int_equal(r.rejected[TSDB_REJECT_SERIES_LIMIT], 1);
    tsdb_clock_sim_advance(&h->clock, 50 * RANGE);
    s = hx_float(0, HX_WALL_MS + 50 * RANGE, 1);
    assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_BUFFERED, NULL)); /* the clock is believed */
    assert_ok(tsdb_flush(h->db, NULL)); /* blocks: all but the last, and dropped with time */
    for (uint32_t i = 0; i < 20; i++) {
        tsdb_retention_step(h->db, h->clock.mono_ns);
        tsdb_flush_step(h->db, h->clock.mono_ns);
        tsdb_clock_sim_advance(&h->clock, 30000);
    }
    assert_true(in_memory(h) <= 1);
    for (uint32_t i = 1; i < SERIES; i++) {
        s = hx_float(200 + i, HX_WALL_MS + 50 * RANGE, 1);
        assert_ok(hx_put(h, &s, 1, TSDB_DURABILITY_BUFFERED, &r));
        assert_int_equal(r.samples_written, 1);
    }
}

/* Ten times all series are others: memory and aliases are those of the first time. */
static void leave__churn__memory_stays(void **state)
{
    struct hx *h = *state;
    size_t first = 0;
    for (uint32_t turn = 0; turn < 11; turn++) {
        for (uint32_t i = 0; i < 40; i++) {
            put_many(h, turn * 40 + i, T0 + turn * RANGE, 1000, 50);
        }
        flush(h);
        hx_settle(h);
        hx_settle(h);
        assert_int_equal(in_memory(h), 0);
        assert_int_equal(alias_count(h->db->aliases), 0);
        size_t used = tsdb_mem_used(TSDB_MEM_HEAD) + tsdb_mem_used(TSDB_MEM_ALIAS) +
                      tsdb_mem_used(TSDB_MEM_INDEX);
        first = turn <= 3 ? used : first; /* then there was something in every partition */
        assert_true(used <= first + first * 15 / 100);
    }
    assert_int_equal(hx_count(h), 11 * 40 * 50);
}

/* All come and go between two checkpoints: nothing of them is in series.log, and what keeps their ids
 * from being given out again does not add up. */
static void leave__between_checkpoints__series_log_stays_small(void **state)
{
    struct hx *h = *state;
    uint64_t most = 0;
    for (uint32_t turn = 0; turn < 20; turn++) {
        for (uint32_t i = 0; i < 20; i++) {
            put_many(h, turn * 20 + i, T0 + turn * RANGE, 1000, 2);
        }
        flush(h);
        assert_ok(tsdb_checkpoint(h->db, NULL));
        const struct series_log *log = &h->db->life->series_log;
        assert_int_equal(log->records_durable, 0);
        most = TSDB_MAX(most, log->holes_durable);
    }
    assert_true(most > 100 && most <= 5 * TSDB_PARTITIONS);
    uint64_t before = ids(h);
    uint64_t all = hash_all(h);
    hx_die(h, true);
    rig_open(h);
    assert_int_equal(ids(h), before);
    assert_int_equal(hash_all(h), all);
}

/* ---- one partition ---- */

struct one {
    struct tsdb_epoch *epoch;
    struct head_partition *head;
    char text[16];
    struct tsdb_label label;
};

static struct tsdb_labels one_labels(struct one *o, uint32_t i)
{
    snprintf(o->text, sizeof o->text, "v%u", (unsigned)i);
    o->label = tsdb_label_make("a", o->text);
    return (struct tsdb_labels){&o->label, 1};
}

static uint32_t one_series(struct one *o, uint32_t i, bool *out_new)
{
    struct tsdb_labels labels = one_labels(o, i);
    uint32_t local = 0;
    uint64_t hash = tsdb_hash64_plain(o->text, strlen(o->text));
    assert_ok(head_series_find_or_create(o->head, &labels, hash, &local, out_new, NULL));
    return local;
}

static int one_setup(void **state)
{
    struct one *o = test_calloc(1, sizeof *o);
    assert_ok(tsdb_epoch_create(8, &o->epoch));
    assert_ok(head_partition_create(0, o->epoch, 0, &o->head));
    *state = o;
    return 0;
}

static int one_teardown(void **state)
{
    struct one *o = *state;
    head_partition_destroy(o->head);
    tsdb_epoch_destroy(o->epoch);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_HEAD), 0);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_INDEX), 0);
    test_free(o);
    return 0;
}

static uint64_t one_leave(struct one *o)
{
    uint32_t n = head_series_count(o->head);
    head_leave_count(o->head, 0, n, INT64_MAX);
    head_leave_copy(o->head, 0, n, INT64_MAX, 0);
    return head_leave_settle(o->head, 0, n);
}

static void head_leave__whole_slabs__freed_and_ids_go_on(void **state)
{
    struct one *o = *state;
    bool is_new;
    uint32_t n = 3 * HEAD_SLAB_SERIES;
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(one_series(o, i, &is_new), i);
    }
    size_t full = tsdb_mem_used(TSDB_MEM_HEAD);
    uint32_t stays = HEAD_SLAB_SERIES + 5; /* in the second slab */
    assert_int_equal(head_append(o->head, stays, 1, 0, TSDB_SAMPLE_FLOAT, 1), HEAD_APPENDED);
    assert_int_equal(one_leave(o), n - 1);
    head_reclaim(o->head, 0);
    assert_true(tsdb_mem_used(TSDB_MEM_HEAD) + 2 * sizeof(struct head_slab) <= full + 1024);
    assert_int_equal(head_there(o->head, 0), HEAD_SLAB_SERIES);
    assert_int_equal(head_there(o->head, 2 * HEAD_SLAB_SERIES + 1), n);
    assert_int_equal(head_generation(o->head, 0), HEAD_GENERATION_GONE);
    assert_int_equal(head_generation(o->head, stays - 1), HEAD_GENERATION_GONE);
    assert_int_not_equal(head_generation(o->head, stays), HEAD_GENERATION_GONE);
    struct tsdb_error err = {0};
    assert_ok_err(head_validate(o->head, &err), &err);
    assert_int_equal(one_series(o, stays, &is_new), stays);
    assert_false(is_new);
    for (uint32_t i = 0; i < 10; i++) { /* back, and others: new ids */
        assert_int_equal(one_series(o, i % 2 ? i : n + i, &is_new), n + i);
        assert_true(is_new);
    }
    assert_ok_err(head_validate(o->head, &err), &err);
    assert_int_equal(index_mem_series_count(head_index(o->head)), 11);
    assert_int_equal(one_leave(o), 10);
    assert_int_equal(one_leave(o), 0);
}

/* Between the slices a sender asks for one that is about to leave, and a new one comes. */
static void head_leave__wanted_meanwhile__nobody_leaves(void **state)
{
    struct one *o = *state;
    bool is_new;
    for (uint32_t i = 0; i < 100; i++) {
        one_series(o, i, &is_new);
    }
    uint32_t generation = head_generation(o->head, 7);
    head_leave_count(o->head, 0, 100, INT64_MAX);
    head_leave_copy(o->head, 0, 50, INT64_MAX, 0);
    assert_int_not_equal(head_generation(o->head, 7), generation); /* aliases ask by labels */
    assert_int_equal(one_series(o, 7, &is_new), 7);
    head_series_wanted(o->head, 7);
    assert_int_equal(head_append(o->head, 7, 1, 0, TSDB_SAMPLE_FLOAT, 1), HEAD_APPENDED);
    assert_int_equal(one_series(o, 100, &is_new), 100);
    head_leave_copy(o->head, 50, 51, INT64_MAX, 0);
    assert_int_equal(head_leave_settle(o->head, 0, 101), 0);
    assert_int_equal(index_mem_series_count(head_index(o->head)), 101);
    assert_int_equal(one_leave(o), 100);
    assert_int_equal(index_mem_next(head_index(o->head), 0), 7);
    assert_int_equal(index_mem_next(head_index(o->head), 8), UINT32_MAX);
}

static void head_leave__new_ones_between_the_slices__stay(void **state)
{
    struct one *o = *state;
    bool is_new;
    for (uint32_t i = 0; i < 100; i++) {
        one_series(o, i, &is_new);
    }
    head_leave_count(o->head, 0, 100, INT64_MAX);
    head_leave_copy(o->head, 0, 60, INT64_MAX, 0);
    uint32_t local = one_series(o, 500, &is_new);
    assert_int_equal(head_append(o->head, local, 1, 0, TSDB_SAMPLE_FLOAT, 1), HEAD_APPENDED);
    head_leave_copy(o->head, 60, 41, INT64_MAX, 0);
    assert_int_equal(head_leave_settle(o->head, 0, 101), 100);
    assert_int_equal(one_series(o, 500, &is_new), local);
    assert_false(is_new);
}

static void head_leave__pinned_index__outlives_its_successors(void **state)
{
    struct one *o = *state;
    bool is_new;
    struct tsdb_label l;
    for (uint32_t i = 0; i < 100; i++) {
        one_series(o, i, &is_new);
    }
    struct index_mem *old = head_index_pin(o->head);
    assert_int_equal(index_mem_labels(old, 42, &l, 1), 1);
    for (uint32_t turn = 0; turn < 3; turn++) {
        one_leave(o);
        one_series(o, 1000 + turn, &is_new);
        head_reclaim(o->head, 0);
    }
    assert_true(head_index(o->head) != old);
    assert_int_equal(index_mem_labels(head_index(o->head), 42, &l, 1), 0);
    assert_int_equal(index_mem_labels(old, 42, &l, 1), 1);
    assert_memory_equal(l.value, "v42", 3);
    size_t with = tsdb_mem_used(TSDB_MEM_INDEX);
    index_mem_unpin(old);
    head_reclaim(o->head, 0);
    assert_true(tsdb_mem_used(TSDB_MEM_INDEX) < with);
}

static void head_leave__nth_allocation_fails__nobody_is_lost(void **state)
{
    struct one *o = *state;
    bool is_new;
    uint32_t left = 0;
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t local = one_series(o, i, &is_new);
        if (i % 2) {
            assert_int_equal(head_append(o->head, local, 1, 0, TSDB_SAMPLE_FLOAT, i),
                             HEAD_APPENDED);
        }
    }
    for (uint64_t nth = 1; left == 0; nth++) {
        tsdb_alloc_fail_nth(nth, 1);
        left = (uint32_t)one_leave(o);
        tsdb_alloc_ops_set(NULL);
        for (uint32_t i = 1; i < 300; i += 2) {
            assert_int_equal(one_series(o, i, &is_new), i);
            assert_false(is_new);
        }
    }
    assert_int_equal(left, 150);
}

#define ONE(name) cmocka_unit_test_setup_teardown(name, one_setup, one_teardown)

static const struct CMUnitTest tests[] = {
    RIG_CASE(leave__flushed__out_of_memory_and_reads_the_same),
    RIG_CASE(leave__comes_back__both_lives_are_one_series),
    RIG_CASE(leave__back_and_killed__recovery_knows_both_ids),
    RIG_CASE(leave__limit_of_a_metric__has_room_again),
    RIG_CASE(leave__querier_open__goes_on_with_what_it_saw),
    RIG_CASE(leave__idle_time__waits_for_it_unless_stale),
    RIG_CASE(leave__retention_drops__gone_from_limits_with_the_next_step),
    RIG_CASE(leave__churn__memory_stays),
    RIG_CASE(leave__between_checkpoints__series_log_stays_small),
    ONE(head_leave__whole_slabs__freed_and_ids_go_on),
    ONE(head_leave__wanted_meanwhile__nobody_leaves),
    ONE(head_leave__new_ones_between_the_slices__stay),
    ONE(head_leave__pinned_index__outlives_its_successors),
    ONE(head_leave__nth_allocation_fails__nobody_is_lost),
};

TEST_MAIN(tests)
