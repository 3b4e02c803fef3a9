#include "server/parts/kept_lists.h"

#include "base/assert.h"
#include "base/mutex.h"

#include <string.h>

#define SLOTS      512u
#define ENTRY_PART 16u /* of all bytes: the most that one entry takes */

struct entry {
    struct tsdb_label_stamp stamp;
    struct tsdb_time_range range;
    const char *encoding;
    size_t key_len, body_len;
    bool used;      /* since the hand came by */
    uint8_t data[]; /* key, body */
};
struct kept_lists {
    struct tsdb *db;
    uint64_t bytes_max;
    struct tsdb_mutex lock;                  /* rank SERVER_KEPT; guards what follows */
    struct entry *slots[SLOTS] TSDB_GUARDED; /* by the hash of the key; NULL: free */
    uint32_t hand TSDB_GUARDED;              /* the slot that is looked at next for room */
    struct kept_lists_stats stats TSDB_GUARDED;
};

static size_t entry_bytes(size_t key_len, size_t body_len)
{
    return sizeof(struct entry) + key_len + body_len;
}

enum tsdb_status kept_lists_create(uint64_t bytes_max, struct tsdb *db, struct kept_lists **out,
                                   struct tsdb_error *err)
{
    TSDB_ASSERT(bytes_max > 0);
    struct kept_lists *k = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *k);
    if (!k) {
        return tsdb_error_nomem(err, "the cache of lists of labels");
    }
    k->db = db;
    k->bytes_max = bytes_max;
    tsdb_mutex_init(&k->lock, TSDB_RANK_SERVER_KEPT, "kept lists");
    *out = k;
    return TSDB_OK;
}

static void slot_free(struct kept_lists *k, uint32_t at) TSDB_REQUIRES(k->lock)
{
    struct entry *e = k->slots[at];
    if (e) {
        size_t bytes = entry_bytes(e->key_len, e->body_len);
        k->stats.bytes -= bytes;
        k->stats.entries--;
        k->slots[at] = NULL;
        tsdb_mem_free(TSDB_MEM_SERVER, e, bytes);
    }
}

void kept_lists_destroy(struct kept_lists *k)
{
    if (!k) {
        return;
    }
    tsdb_mutex_lock(&k->lock);
    for (uint32_t i = 0; i < SLOTS; i++) {
        slot_free(k, i);
    }
    tsdb_mutex_unlock(&k->lock);
    tsdb_mutex_deinit(&k->lock);
    tsdb_mem_free(TSDB_MEM_SERVER, k, sizeof *k);
}

/* Clients choose the keys. */
static uint32_t slot_of(const struct kept_lists *k, struct tsdb_slice key)
{
    return (uint32_t)(tsdb_hash64(tsdb_hash_key(k->db), key.data, key.len) % SLOTS);
}

static bool has_key(const struct entry *e, struct tsdb_slice key)
{
    return e && e->key_len == key.len && memcmp(e->data, key.data, key.len) == 0;
}

static bool get_locked(struct kept_lists *k, struct tsdb_slice key, struct tsdb_buf *out,
                       const char **out_encoding) TSDB_REQUIRES(k->lock)
{
    uint32_t at = slot_of(k, key);
    struct entry *e = k->slots[at];
    if (!has_key(e, key)) {
        return false;
    }
    if (!tsdb_labels_unchanged(k->db, &e->stamp, e->range)) {
        k->stats.voided++;
        slot_free(k, at);
        return false;
    }
    e->used = true;
    tsdb_buf_put(out, e->data + e->key_len, e->body_len);
    *out_encoding = e->encoding;
    return !out->failed;
}

bool kept_lists_get(struct kept_lists *k, struct tsdb_slice key, struct tsdb_buf *out,
                    const char **out_encoding)
{
    tsdb_mutex_lock(&k->lock);
    bool found = get_locked(k, key, out, out_encoding);
    ++*(found ? &k->stats.hits : &k->stats.misses);
    tsdb_mutex_unlock(&k->lock);
    return found;
}

/* Until `bytes` fit. Twice round, all entries are gone. */
static void make_room(struct kept_lists *k, uint64_t bytes) TSDB_REQUIRES(k->lock)
{
    while (k->stats.bytes + bytes > k->bytes_max) {
        struct entry *e = k->slots[k->hand];
        if (e && !e->used) {
            k->stats.evicted++;
            slot_free(k, k->hand);
        } else if (e) {
            e->used = false;
        }
        k->hand = (k->hand + 1) % SLOTS;
    }
}

void kept_lists_put(struct kept_lists *k, const struct kept_list *list)
{
    size_t bytes = entry_bytes(list->key.len, list->body.len);
    if (bytes > k->bytes_max / ENTRY_PART) {
        return;
    }
    struct entry *e = tsdb_mem_alloc(TSDB_MEM_SERVER, bytes);
    if (!e) {
        return;
    }
    *e = (struct entry){.stamp = *list->stamp,
                        .range = list->range,
                        .encoding = list->encoding,
                        .key_len = list->key.len,
                        .body_len = list->body.len};
    memcpy(e->data, list->key.data, list->key.len);
    memcpy(e->data + list->key.len, list->body.data, list->body.len);
    uint32_t at = slot_of(k, list->key);
    tsdb_mutex_lock(&k->lock);
    slot_free(k, at);
    make_room(k, bytes);
    k->slots[at] = e;
    k->stats.bytes += bytes;
    k->stats.entries++;
    tsdb_mutex_unlock(&k->lock);
}

void kept_lists_stats(struct kept_lists *k, struct kept_lists_stats *out)
{
    *out = (struct kept_lists_stats){0};
    if (k) {
        tsdb_mutex_lock(&k->lock);
        *out = k->stats;
        out->bytes_max = k->bytes_max;
        tsdb_mutex_unlock(&k->lock);
    }
}
