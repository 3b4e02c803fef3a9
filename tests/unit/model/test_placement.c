#include "tests/support/test.h"

#include "base/limits.h"
#include "base/random.h"
#include "model/placement.h"

#include <stdio.h>

#define TARGETS           10000u
#define SERIES_PER_TARGET 100u
#define HUGE_SERIES       100000u
#define TEXT_MAX          64u
#define LABELS            4u

static struct tsdb_hash_key key_of(uint8_t seed_byte)
{
    uint8_t seed[TSDB_HASH_SEED_BYTES] = {seed_byte};
    struct tsdb_hash_key key;
    tsdb_hash_key_init(&key, seed);
    return key;
}

static uint32_t place(const struct tsdb_hash_key *key, struct tsdb_label *items, uint32_t count)
{
    struct tsdb_labels labels = {items, count};
    uint32_t partition = tsdb_labels_partition(key, &labels, tsdb_labels_hash(key, &labels));
    assert_in_range(partition, 0, TSDB_PARTITIONS - 1);
    return partition;
}

/* Series i of a target, as a node exporter or a state of a cluster has them; `of_target`: whether
 * instance and job are there. */
static uint32_t place_series(const struct tsdb_hash_key *key, uint32_t target, uint32_t i,
                             bool of_target)
{
    char name[TEXT_MAX], device[TEXT_MAX], instance[TEXT_MAX];
    snprintf(name, sizeof name, "node_metric_%u_total", i % 100);
    snprintf(device, sizeof device, "device-%u", i / 100);
    snprintf(instance, sizeof instance, "10.%u.%u.%u:9100", target >> 16 & 255, target >> 8 & 255,
             target & 255);
    struct tsdb_label items[LABELS];
    uint32_t n = 0;
    items[n++] = tsdb_label_make(TSDB_METRIC_NAME, name);
    items[n++] = tsdb_label_make("device", device);
    if (of_target) {
        items[n++] = tsdb_label_make("instance", instance);
        items[n++] = tsdb_label_make("job", "node");
    }
    return place(key, items, n);
}

struct spread {
    uint32_t count[TSDB_PARTITIONS];
    uint32_t used, largest, smallest; /* of those that are used */
};

static void spread_sum(struct spread *s)
{
    s->smallest = UINT32_MAX;
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        s->used += s->count[p] > 0;
        s->largest = TSDB_MAX(s->largest, s->count[p]);
        s->smallest = s->count[p] > 0 ? TSDB_MIN(s->smallest, s->count[p]) : s->smallest;
    }
}

static void labels_partition__many_targets__partitions_within_a_quarter_of_the_mean(void **state)
{
    (void)state;
    struct tsdb_hash_key key = key_of(1);
    struct spread s = {0};
    for (uint32_t t = 0; t < TARGETS; t++) {
        for (uint32_t i = 0; i < SERIES_PER_TARGET; i++) {
            s.count[place_series(&key, t, i, true)]++;
        }
    }
    spread_sum(&s);
    uint32_t mean = TARGETS * SERIES_PER_TARGET / TSDB_PARTITIONS;
    assert_int_equal(s.used, TSDB_PARTITIONS);
    assert_in_range(s.largest, mean, mean + mean / 4);
    assert_in_range(s.smallest, mean - mean / 4, mean);
}

/* Its partitions have one home, and lie in all quarters of the range, so that any number of owners
 * up to four has an equal share. */
static void labels_partition__huge_target__evenly_over_four_quarters(void **state)
{
    (void)state;
    struct tsdb_hash_key key = key_of(2);
    struct spread s = {0};
    for (uint32_t i = 0; i < HUGE_SERIES; i++) {
        s.count[place_series(&key, 7, i, true)]++;
    }
    spread_sum(&s);
    uint32_t first = 0;
    while (s.count[first] == 0) {
        first++;
    }
    assert_int_equal(s.used, 1u << TSDB_PLACEMENT_SPREAD_BITS);
    for (uint32_t i = 0; i < s.used; i++) {
        assert_in_range(s.count[first + i * (TSDB_PARTITIONS / 4)], HUGE_SERIES * 9 / 40,
                        HUGE_SERIES * 11 / 40);
    }
}

/* One name, one label that differs: nothing but the hash of all labels tells them apart. */
static void labels_partition__huge_metric_of_one_target__evenly_over_four_quarters(void **state)
{
    (void)state;
    struct tsdb_hash_key key = key_of(3);
    struct spread s = {0};
    for (uint32_t i = 0; i < HUGE_SERIES; i++) {
        char path[TEXT_MAX];
        snprintf(path, sizeof path, "/user/%u", i);
        struct tsdb_label items[] = {tsdb_label_make(TSDB_METRIC_NAME, "hits"),
                                     tsdb_label_make("instance", "a:1"),
                                     tsdb_label_make("job", "web"), tsdb_label_make("path", path)};
        s.count[place(&key, items, TSDB_ARRAY_LEN(items))]++;
    }
    spread_sum(&s);
    assert_int_equal(s.used, 1u << TSDB_PLACEMENT_SPREAD_BITS);
    assert_in_range(s.smallest, HUGE_SERIES * 9 / 40, HUGE_SERIES / 4);
}

static void labels_partition__no_job_and_instance__evenly_over_all(void **state)
{
    (void)state;
    struct tsdb_hash_key key = key_of(4);
    struct spread s = {0};
    for (uint32_t i = 0; i < HUGE_SERIES; i++) {
        s.count[place_series(&key, 0, i, false)]++;
    }
    spread_sum(&s);
    uint32_t mean = HUGE_SERIES / TSDB_PARTITIONS;
    assert_int_equal(s.used, TSDB_PARTITIONS);
    assert_in_range(s.largest, mean, mean + mean / 4);
    assert_in_range(s.smallest, mean - mean / 4, mean);
}

/* Either label alone is a target; their texts do not run into each other. */
static void labels_partition__one_of_the_two_labels__names_the_target(void **state)
{
    (void)state;
    struct tsdb_hash_key key = key_of(5);
    static const char *const labels[] = {"instance", "job"};
    uint32_t homes[2] = {0};
    for (uint32_t which = 0; which < 2; which++) {
        struct spread s = {0};
        for (uint32_t i = 0; i < 1000; i++) {
            char name[TEXT_MAX];
            snprintf(name, sizeof name, "m%u", i);
            struct tsdb_label items[] = {tsdb_label_make(TSDB_METRIC_NAME, name),
                                         tsdb_label_make(labels[which], "a")};
            uint32_t p = place(&key, items, 2);
            s.count[p]++;
            homes[which] = p % (TSDB_PARTITIONS / 4);
        }
        spread_sum(&s);
        assert_int_equal(s.used, 4);
    }
    assert_int_not_equal(homes[0], homes[1]); /* by this seed: label names are part of the hash */
}

/* Rule 1, for ever: a directory written by it must be read by it. */
static void labels_partition__known_labels__as_version_1_of_the_rule(void **state)
{
    (void)state;
    struct tsdb_hash_key key = key_of(6);
    static const uint8_t expected[] = {34, 50, 10, 7, 59, 59, 33, 22, 60, 44, 35, 58};
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(expected); i++) {
        assert_int_equal(place_series(&key, i / 2, i, i % 4 != 3), expected[i]);
    }
    /* Long labels are hashed in pieces. */
    char text[6000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    struct tsdb_label items[] = {tsdb_label_make(TSDB_METRIC_NAME, "m"),
                                 tsdb_label_make("instance", text), tsdb_label_make("job", "j")};
    assert_int_equal(place(&key, items, 3), 7);
}

static void labels_partition__other_secret__other_partitions(void **state)
{
    (void)state;
    struct tsdb_hash_key a = key_of(7), b = key_of(8);
    uint32_t same = 0;
    for (uint32_t t = 0; t < 1000; t++) {
        same += place_series(&a, t, t, true) == place_series(&b, t, t, true);
    }
    assert_in_range(same, 0, 1000 * 4 / TSDB_PARTITIONS);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(labels_partition__many_targets__partitions_within_a_quarter_of_the_mean),
    cmocka_unit_test(labels_partition__huge_target__evenly_over_four_quarters),
    cmocka_unit_test(labels_partition__huge_metric_of_one_target__evenly_over_four_quarters),
    cmocka_unit_test(labels_partition__no_job_and_instance__evenly_over_all),
    cmocka_unit_test(labels_partition__one_of_the_two_labels__names_the_target),
    cmocka_unit_test(labels_partition__known_labels__as_version_1_of_the_rule),
    cmocka_unit_test(labels_partition__other_secret__other_partitions),
};

TEST_MAIN(tests)
