#include "model/placement.h"

#include "base/limits.h"

#define SPREAD_SHIFT (64 - TSDB_PLACEMENT_SPREAD_BITS)
#define HOME_SHIFT   (SPREAD_SHIFT - TSDB_PLACEMENT_HOME_BITS)
#define HOME_MASK    ((1u << TSDB_PLACEMENT_HOME_BITS) - 1)

static_assert(TSDB_PARTITIONS == 1u << (TSDB_PLACEMENT_HOME_BITS + TSDB_PLACEMENT_SPREAD_BITS),
              "the bits of the rule choose among all partitions");

/* The hash of what names the target; of_all where nothing does. */
static uint64_t target_hash(const struct tsdb_hash_key *key, const struct tsdb_labels *labels,
                            uint64_t of_all)
{
    static const char *const names[] = {"instance", "job"}; /* in order */
    struct tsdb_label found[TSDB_ARRAY_LEN(names)];
    struct tsdb_labels target = {found, 0};
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(names); i++) {
        const struct tsdb_label *l = tsdb_labels_find(labels, names[i], strlen(names[i]));
        if (l) {
            found[target.count++] = *l;
        }
    }
    return target.count > 0 ? tsdb_labels_hash(key, &target) : of_all;
}

uint32_t tsdb_labels_partition(const struct tsdb_hash_key *key, const struct tsdb_labels *labels,
                               uint64_t hash)
{
    uint32_t spread = (uint32_t)(hash >> SPREAD_SHIFT);
    uint32_t home = (uint32_t)(target_hash(key, labels, hash) >> HOME_SHIFT) & HOME_MASK;
    return spread << TSDB_PLACEMENT_HOME_BITS | home;
}
