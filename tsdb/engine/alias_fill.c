/* After a start: aliases of the series that were loaded, so that the first scrape finds them. The
 * bytes are those that Prometheus sends in remote write 1.0: the fields of the labels, sorted, each
 *
 *   0a len { 0a name_len name 12 value_len value }
 *
 * Senders that spell them otherwise come by labels once, as ever. */
#include "tsdb/engine/db_private.h"
#include "tsdb/head/head.h"

#include <string.h>

#define SERIES_A_STEP   256u
#define SPELT_BYTES_MAX 4096u /* more is left to the first scrape */
#define TAG_LABEL       0x0au
#define TAG_NAME        0x0au
#define TAG_VALUE       0x12u

static size_t field_bytes(size_t len)
{
    uint8_t number[TSDB_VARINT64_BYTES_MAX];
    return 1 + (size_t)(tsdb_put_uvarint(number, len) - number) + len;
}

static uint8_t *put_string(uint8_t *p, uint8_t tag, const char *s, uint32_t len)
{
    *p++ = tag;
    p = tsdb_put_uvarint(p, len);
    memcpy(p, s, len);
    return p + len;
}

/* The bytes, or 0: more than there is room for. */
static size_t labels_spell(const struct tsdb_labels *labels, uint8_t out[SPELT_BYTES_MAX])
{
    uint8_t *p = out;
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        size_t message = field_bytes(l->name_len) + field_bytes(l->value_len);
        if (field_bytes(message) > SPELT_BYTES_MAX - (size_t)(p - out)) {
            return 0;
        }
        *p++ = TAG_LABEL;
        p = tsdb_put_uvarint(p, message);
        p = put_string(p, TAG_NAME, l->name, l->name_len);
        p = put_string(p, TAG_VALUE, l->value, l->value_len);
    }
    return (size_t)(p - out);
}

/* Under a guard. Returns the alias, or 0, 0: it has none. */
static struct tsdb_hash128 alias_missing(const struct tsdb *db, const struct index_mem *index,
                                         uint32_t local)
{
    struct tsdb_label items[TSDB_LABELS_MAX];
    struct tsdb_labels labels = {items, index_mem_labels(index, local, items, TSDB_LABELS_MAX)};
    uint8_t spelt[SPELT_BYTES_MAX];
    struct tsdb_hash128 none = {0, 0};
    size_t bytes = labels_spell(&labels, spelt);
    if (bytes == 0) {
        return none;
    }
    struct tsdb_hash128 alias = tsdb_hash128(&db->hash_key, spelt, bytes);
    return alias_find(db->aliases, alias).ref == TSDB_SERIES_NEW ? alias : none;
}

/* What is entered is as if a sender had come right after the start: if the series leaves meanwhile, the
 * generation is out of date, and whoever hits it is asked for labels. */
static void alias_enter(struct tsdb *db, struct index_mem *index, uint32_t partition,
                        uint32_t local)
{
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(db->epoch, &guard);
    struct tsdb_hash128 alias = alias_missing(db, index, local);
    tsdb_epoch_exit(db->epoch, &guard);
    if (alias.lo != 0 || alias.hi != 0) {
        alias_put(db->aliases, alias, tsdb_series_make(partition, local), HEAD_GENERATION_FIRST);
    }
}

size_t tsdb_alias_step(struct tsdb *db)
{
    struct db_life *life = db->life;
    size_t done = 0;
    while (done == 0 && life->alias_partition < TSDB_PARTITIONS) {
        struct index_mem *index = head_index_pin(db->heads[life->alias_partition]);
        uint32_t local = index_mem_next(index, life->alias_local);
        for (; local != UINT32_MAX && done < SERIES_A_STEP; done++) {
            alias_enter(db, index, life->alias_partition, local);
            life->alias_local = local + 1;
            local = index_mem_next(index, life->alias_local);
        }
        index_mem_unpin(index);
        if (local == UINT32_MAX) {
            life->alias_partition++;
            life->alias_local = 0;
        }
    }
    return done;
}
