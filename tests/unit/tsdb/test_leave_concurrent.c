/* One owner lets series come and leave, readers look into the index at any moment: what is pinned stays
 * whole, what is found is what was looked for. For TSan and ASan above all. */
#include "tests/support/test.h"

#include "base/random.h"
#include "tsdb/head/head_private.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS  120u
#define COMING  96u /* series of a round */
#define SLICE   40u
#define READERS 3u

struct shared {
    struct tsdb_epoch *epoch;
    struct head_partition *head;
    _Atomic(uint32_t) running;
};
struct reader {
    struct shared *shared;
    uint64_t seed;
    uint64_t seen, wrong;
};

/* A series is named by its id: ids are given out one after the other. */
static uint64_t name_of(uint32_t local, char text[16], struct tsdb_label *out)
{
    int n = snprintf(text, 16, "v%u", (unsigned)local);
    *out = tsdb_label_make("id", text);
    return tsdb_hash64_plain(text, (size_t)n);
}

static bool label_is(const struct tsdb_label *l, uint32_t local)
{
    char text[16];
    struct tsdb_label wanted;
    (void)name_of(local, text, &wanted);
    return l->value_len == wanted.value_len && memcmp(l->value, wanted.value, l->value_len) == 0;
}

static bool looks_right(struct shared *sh, struct index_mem *index, uint32_t local)
{
    char text[16];
    struct tsdb_label l;
    struct tsdb_labels labels = {&l, 1};
    uint64_t hash = name_of(local, text, &l);
    struct tsdb_label have;
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(sh->epoch, &guard);
    bool right = index_mem_labels(index, local, &have, 1) == 1 && label_is(&have, local) &&
                 index_mem_find(index, &labels, hash) == local &&
                 index_mem_hash(index, local) == (uint32_t)hash;
    (void)head_may_have(sh->head, local, TSDB_TIME_ALL, HEAD_VIEW_NONE); /* it may be gone */
    tsdb_epoch_exit(sh->epoch, &guard);
    return right && label_is(&have, local); /* the string stays as long as the pin */
}

static void *read_on(void *arg)
{
    struct reader *r = arg;
    struct shared *sh = r->shared;
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, r->seed);
    while (atomic_load(&sh->running)) {
        struct index_mem *index = head_index_pin(sh->head);
        uint32_t end = index_mem_ids_end(index);
        uint32_t local = end > 0 ? (uint32_t)tsdb_prng_below(&prng, end) : 0;
        for (uint32_t i = 0; i < 20; i++) {
            local = index_mem_next(index, local);
            if (local == UINT32_MAX) {
                break;
            }
            r->wrong += !looks_right(sh, index, local);
            r->seen++;
            local++;
        }
        index_mem_unpin(index);
    }
    return NULL;
}

static void leave_in_slices(struct head_partition *p)
{
    uint32_t from = 0;
    head_leave_count(p, 0, head_series_count(p), INT64_MAX);
    for (; from < head_series_count(p); from += SLICE) {
        uint32_t n = TSDB_MIN(SLICE, head_series_count(p) - from);
        head_leave_copy(p, from, n, INT64_MAX, 0);
        head_reclaim(p, 0);
    }
    for (from = 0; from < head_series_count(p); from += SLICE) {
        (void)head_leave_settle(p, from, SLICE);
        head_reclaim(p, 0);
    }
}

/* Some of a round stay for two more. */
static void own(struct shared *sh)
{
    struct head_partition *p = sh->head;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t i = 0; i < COMING; i++) {
            char text[16];
            struct tsdb_label l;
            struct tsdb_labels labels = {&l, 1};
            uint32_t local = 0;
            bool is_new = false;
            uint64_t hash = name_of(head_series_count(p), text, &l);
            assert_ok(head_series_find_or_create(p, &labels, hash, &local, &is_new, NULL));
            assert_true(is_new);
            int64_t t = (int64_t)round * 10 + (i % 8 == 0 ? 20 : 0);
            assert_int_equal(head_append(p, local, t, 0, TSDB_SAMPLE_FLOAT, local), HEAD_APPENDED);
        }
        (void)head_seal_before(p, 0, head_series_count(p), INT64_MAX);
        (void)head_drop_before(p, 0, head_series_count(p), (int64_t)round * 10 + 1);
        leave_in_slices(p);
    }
}

static void head_leave__readers_all_the_time__see_what_they_pinned(void **state)
{
    (void)state;
    struct shared sh = {.running = 1};
    struct reader readers[READERS];
    pthread_t threads[READERS];
    assert_ok(tsdb_epoch_create(16, &sh.epoch));
    assert_ok(head_partition_create(0, sh.epoch, 0, &sh.head));
    for (uint32_t i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.shared = &sh, .seed = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    }
    own(&sh);
    atomic_store(&sh.running, 0);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(readers[i].wrong, 0);
        seen += readers[i].seen;
    }
    assert_true(seen > 0);
    assert_int_equal(head_series_count(sh.head), ROUNDS * COMING);
    assert_true(index_mem_series_count(head_index(sh.head)) < 4 * COMING);
    assert_true(head_there(sh.head, 0) > 0); /* slabs were freed under the readers */
    struct tsdb_error err = {0};
    assert_ok_err(head_validate(sh.head, &err), &err);
    head_partition_destroy(sh.head);
    tsdb_epoch_destroy(sh.epoch);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_HEAD), 0);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_INDEX), 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(head_leave__readers_all_the_time__see_what_they_pinned),
};

TEST_MAIN(tests)
