/* Collecting a block's index. Labels become pairs of interned symbols; ids of symbols are final
 * only when all are known and sorted, so labels stay in memory until then (index_disk_finish.c).
 * Chunk headers need no symbols and are written group by group. */
#include "index/disk/index_disk_writer_private.h"

#include "base/assert.h"
#include "base/random.h"
#include "model/version.h"

#define SLOTS_FIRST 1024u
#define ARRAY_FIRST 256u
#define ARENA_FIRST (64u << 10)

/* ---- arrays and tables ---- */

void *writer_array_push(struct writer_array *a)
{
    if (a->count == a->cap) {
        size_t cap = a->cap == 0 ? ARRAY_FIRST : a->cap + a->cap / 2;
        void *data =
            tsdb_mem_realloc(TSDB_MEM_INDEX, a->data, a->cap * a->bytes_each, cap * a->bytes_each);
        if (!data) {
            return NULL;
        }
        a->data = data;
        a->cap = cap;
    }
    return (uint8_t *)a->data + a->count++ * a->bytes_each;
}

void writer_array_deinit(struct writer_array *a)
{
    tsdb_mem_free(TSDB_MEM_INDEX, a->data, a->cap * a->bytes_each);
    *a = (struct writer_array){.bytes_each = a->bytes_each};
}

static void slots_deinit(struct writer_slots *t)
{
    if (t->slots) {
        tsdb_mem_free(TSDB_MEM_INDEX, t->slots, ((size_t)t->mask + 1) * sizeof *t->slots);
    }
    *t = (struct writer_slots){0};
}

static void slots_put(struct writer_slots *t, uint32_t hash, uint32_t id)
{
    uint32_t i = hash & t->mask;
    while (t->slots[i] != 0) {
        i = (i + 1) & t->mask;
    }
    t->slots[i] = id + 1;
    t->used++;
}

/* Make room for one more: at most half of the slots are used. hash_of gives the hash of an id. */
static bool slots_grow(struct writer_slots *t, const struct index_disk_writer *w,
                       uint32_t (*hash_of)(const struct index_disk_writer *w, uint32_t id))
{
    if (t->slots && t->used < t->mask / 2) {
        return true;
    }
    size_t count = !t->slots ? SLOTS_FIRST : ((size_t)t->mask + 1) * 2;
    struct writer_slots next = {.mask = (uint32_t)(count - 1)};
    next.slots = tsdb_mem_alloc_zero(TSDB_MEM_INDEX, count * sizeof *next.slots);
    if (!next.slots) {
        return false;
    }
    for (uint32_t id = 0; id < t->used; id++) {
        slots_put(&next, hash_of(w, id), id);
    }
    slots_deinit(t);
    *t = next;
    return true;
}

static uint32_t symbol_hash_of(const struct index_disk_writer *w, uint32_t id)
{
    return writer_symbols(w)[id].hash;
}

static uint32_t pair_hash(uint32_t name, uint32_t value)
{
    uint64_t h = ((uint64_t)name << 32 | value) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(h >> 32);
}

static uint32_t pair_hash_of(const struct index_disk_writer *w, uint32_t id)
{
    return pair_hash(writer_pairs(w)[id].name, writer_pairs(w)[id].value);
}

/* ---- life ---- */

enum tsdb_status index_disk_writer_create(struct paged_sink sink, struct index_disk_writer **out,
                                          struct tsdb_error *err)
{
    uint8_t seed[TSDB_HASH_SEED_BYTES];
    struct index_disk_writer *w = tsdb_mem_alloc_zero(TSDB_MEM_INDEX, sizeof *w);
    if (!w || paged_writer_init(&w->out, sink) != TSDB_OK) {
        tsdb_mem_free(TSDB_MEM_INDEX, w, sizeof *w);
        return tsdb_error_nomem(err, "an index writer");
    }
    /* Senders choose the strings, so the table's hash is keyed; the file does not show it. */
    tsdb_random_fill(&tsdb_random_system, seed, sizeof seed);
    tsdb_hash_key_init(&w->key, seed);
    tsdb_arena_init(&w->strings, TSDB_MEM_INDEX, ARENA_FIRST, NULL);
    w->symbols.bytes_each = sizeof(struct writer_symbol);
    w->pairs.bytes_each = sizeof(struct writer_pair);
    w->label_pairs.bytes_each = sizeof(uint32_t);
    w->label_counts.bytes_each = sizeof(uint16_t);
    w->chunk_ends.bytes_each = sizeof(uint64_t);
    tsdb_buf_init(&w->group, TSDB_MEM_INDEX, 0);
    tsdb_buf_init(&w->chunks, TSDB_MEM_INDEX, 0);
    uint8_t header[DISK_HEADER_BYTES] = DISK_MAGIC;
    tsdb_store_le32(header + DISK_MAGIC_BYTES, TSDB_FORMAT_INDEX);
    enum tsdb_status status = paged_put(&w->out, header, sizeof header, err);
    w->sections[DISK_CHUNK_GROUPS] = paged_offset(&w->out);
    if (status != TSDB_OK) {
        index_disk_writer_destroy(w);
        return status;
    }
    *out = w;
    return TSDB_OK;
}

void index_disk_writer_destroy(struct index_disk_writer *w)
{
    if (!w) {
        return;
    }
    paged_writer_deinit(&w->out);
    tsdb_arena_deinit(&w->strings);
    writer_array_deinit(&w->symbols);
    writer_array_deinit(&w->pairs);
    writer_array_deinit(&w->label_pairs);
    writer_array_deinit(&w->label_counts);
    writer_array_deinit(&w->chunk_ends);
    slots_deinit(&w->symbol_slots);
    slots_deinit(&w->pair_slots);
    tsdb_buf_deinit(&w->group);
    tsdb_buf_deinit(&w->chunks);
    tsdb_mem_free(TSDB_MEM_INDEX, w, sizeof *w);
}

/* ---- series ---- */

static bool symbol_equal(const struct writer_symbol *sym, const char *s, uint32_t len)
{
    return sym->len == len && memcmp(sym->s, s, len) == 0;
}

/* Find or add. UINT32_MAX: no memory. */
static uint32_t symbol_intern(struct index_disk_writer *w, const char *s, uint32_t len)
{
    struct writer_slots *t = &w->symbol_slots;
    uint32_t hash = (uint32_t)tsdb_hash64(&w->key, s, len);
    if (!slots_grow(t, w, symbol_hash_of)) {
        return UINT32_MAX;
    }
    for (uint32_t i = hash & t->mask; t->slots[i] != 0; i = (i + 1) & t->mask) {
        const struct writer_symbol *sym = &writer_symbols(w)[t->slots[i] - 1];
        if (sym->hash == hash && symbol_equal(sym, s, len)) {
            return t->slots[i] - 1;
        }
    }
    char *copy = tsdb_arena_alloc(&w->strings, len, 1);
    struct writer_symbol *sym = !copy ? NULL : writer_array_push(&w->symbols);
    if (!sym) {
        return UINT32_MAX;
    }
    memcpy(copy, s, len);
    *sym = (struct writer_symbol){.s = copy, .len = len, .hash = hash};
    uint32_t id = (uint32_t)w->symbols.count - 1;
    slots_put(t, hash, id);
    return id;
}

static uint32_t pair_intern(struct index_disk_writer *w, const struct tsdb_label *l)
{
    struct writer_slots *t = &w->pair_slots;
    uint32_t name = symbol_intern(w, l->name, l->name_len);
    uint32_t value = name == UINT32_MAX ? name : symbol_intern(w, l->value, l->value_len);
    if (value == UINT32_MAX || !slots_grow(t, w, pair_hash_of)) {
        return UINT32_MAX;
    }
    writer_symbols(w)[name].is_name = true;
    uint32_t hash = pair_hash(name, value);
    for (uint32_t i = hash & t->mask; t->slots[i] != 0; i = (i + 1) & t->mask) {
        const struct writer_pair *p = &writer_pairs(w)[t->slots[i] - 1];
        if (p->name == name && p->value == value) {
            return t->slots[i] - 1;
        }
    }
    struct writer_pair *p = writer_array_push(&w->pairs);
    if (!p) {
        return UINT32_MAX;
    }
    *p = (struct writer_pair){name, value, 0};
    uint32_t id = (uint32_t)w->pairs.count - 1;
    slots_put(t, hash, id);
    return id;
}

/* A label against the one at the same place of the series before. */
static int label_compare(const struct index_disk_writer *w, const struct tsdb_label *l,
                         uint32_t pair)
{
    const struct writer_pair *p = &writer_pairs(w)[pair];
    const struct writer_symbol *name = &writer_symbols(w)[p->name];
    const struct writer_symbol *value = &writer_symbols(w)[p->value];
    int c = tsdb_str_compare(l->name, l->name_len, name->s, name->len);
    return c != 0 ? c : tsdb_str_compare(l->value, l->value_len, value->s, value->len);
}

static enum tsdb_status labels_check(const struct index_disk_writer *w,
                                     const struct tsdb_labels *labels, struct tsdb_error *err)
{
    if (labels->count > TSDB_LABELS_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "index writer: series %zu has %u labels",
                              w->label_counts.count, labels->count);
    }
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        if (l->name_len == 0 || l->value_len == 0 || l->name_len > TSDB_LABEL_NAME_BYTES_MAX ||
            l->value_len > TSDB_LABEL_VALUE_BYTES_MAX ||
            (i > 0 && tsdb_str_compare(l[-1].name, l[-1].name_len, l->name, l->name_len) >= 0)) {
            return tsdb_error_set(err, TSDB_INVALID,
                                  "index writer: series %zu: label %u is not canonical",
                                  w->label_counts.count, i);
        }
    }
    return TSDB_OK;
}

/* Append the series' pairs. Neighbours share most labels, so those of the series before are
 * compared first; that also shows the order. */
static enum tsdb_status labels_put(struct index_disk_writer *w, const struct tsdb_labels *labels,
                                   struct tsdb_error *err)
{
    bool first = w->label_counts.count == 0;
    const uint16_t *counts = w->label_counts.data;
    uint32_t previous_count = first ? 0 : counts[w->label_counts.count - 1];
    size_t previous = w->label_pairs.count - previous_count;
    int order = 0; /* of this series against the one before, as far as labels were compared */
    for (uint32_t i = 0; i < labels->count; i++) {
        uint32_t pair = UINT32_MAX;
        int c = 1;
        if (i < previous_count) {
            pair = ((const uint32_t *)w->label_pairs.data)[previous + i];
            c = label_compare(w, &labels->items[i], pair);
        }
        order = order == 0 ? c : order;
        pair = c == 0 ? pair : pair_intern(w, &labels->items[i]);
        uint32_t *slot = pair == UINT32_MAX ? NULL : writer_array_push(&w->label_pairs);
        if (!slot) {
            return tsdb_error_nomem(err, "the index of a block");
        }
        *slot = pair;
        writer_pairs(w)[pair].series++;
    }
    if (!first && order <= 0) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "index writer: series %zu does not follow the one before",
                              w->label_counts.count);
    }
    return TSDB_OK;
}

enum tsdb_status index_disk_writer_series(struct index_disk_writer *w,
                                          const struct tsdb_labels *labels, struct tsdb_error *err)
{
    if (w->label_counts.count >= INDEX_DISK_SERIES_MAX || w->symbols.count >= DISK_SYMBOLS_MAX ||
        w->pairs.count >= DISK_SYMBOLS_MAX) {
        return tsdb_error_set(err, TSDB_LIMIT, "index writer: a block has at most %u series",
                              INDEX_DISK_SERIES_MAX);
    }
    enum tsdb_status status = writer_group_close(w, false, err);
    if (status == TSDB_OK) {
        status = labels_check(w, labels, err);
    }
    if (status == TSDB_OK) {
        status = labels_put(w, labels, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    uint16_t *count = writer_array_push(&w->label_counts);
    if (!count) {
        return tsdb_error_nomem(err, "the index of a block");
    }
    *count = (uint16_t)labels->count;
    return TSDB_OK;
}

/* ---- chunks ---- */

enum tsdb_status writer_group_close(struct index_disk_writer *w, bool last, struct tsdb_error *err)
{
    if (w->label_counts.count == 0) {
        return TSDB_OK;
    }
    /* The last series' chunks are complete now. */
    tsdb_buf_put_uvarint(&w->group, w->chunk_count);
    if (w->chunk_count > 0) {
        tsdb_buf_put_uvarint(&w->group, w->chunks.len);
        tsdb_buf_put(&w->group, w->chunks.data, w->chunks.len);
    }
    bool failed = w->group.failed || w->chunks.failed;
    w->chunk_count = 0;
    tsdb_buf_clear(&w->chunks);
    if (failed) {
        return tsdb_error_nomem(err, "the index of a block");
    }
    if (!last && w->label_counts.count % DISK_GROUP != 0) {
        return TSDB_OK;
    }
    uint8_t head[TSDB_VARINT64_BYTES_MAX];
    size_t head_len = (size_t)(tsdb_put_uvarint(head, w->group_offset) - head);
    enum tsdb_status status = paged_put(&w->out, head, head_len, err);
    if (status == TSDB_OK) {
        status = paged_put(&w->out, w->group.data, w->group.len, err);
    }
    uint64_t *end = status == TSDB_OK ? writer_array_push(&w->chunk_ends) : NULL;
    if (status == TSDB_OK && !end) {
        return tsdb_error_nomem(err, "the index of a block");
    }
    if (end) {
        *end = paged_offset(&w->out) - w->sections[DISK_CHUNK_GROUPS];
    }
    tsdb_buf_clear(&w->group);
    w->group_begun = false;
    w->group_offset = 0;
    return status;
}

enum tsdb_status index_disk_writer_chunk(struct index_disk_writer *w,
                                         const struct index_disk_chunk *c, struct tsdb_error *err)
{
    TSDB_ASSERT(w->label_counts.count > 0);
    uint64_t span = (uint64_t)c->max_ms - (uint64_t)c->min_ms;
    if (c->count == 0 || c->min_ms > c->max_ms || span < c->count - 1 ||
        (c->count == 1 && span > 0) || c->offset > (uint64_t)INT64_MAX ||
        (w->chunk_count > 0 && c->min_ms <= w->state.max_ms)) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "index writer: series %zu: chunk %u is empty or out of order",
                              w->label_counts.count - 1, w->chunk_count);
    }
    if (w->chunk_total == 0) {
        w->time_base = c->min_ms;
    }
    if (w->chunk_count == 0) {
        if (!w->group_begun) {
            w->group_begun = true;
            w->group_offset = c->offset;
        }
        disk_chunk_state_init(&w->state, w->time_base, w->group_offset);
    }
    disk_chunk_put(&w->chunks, &w->state, c);
    w->chunk_count++;
    w->chunk_total++;
    return w->chunks.failed ? tsdb_error_nomem(err, "the index of a block") : TSDB_OK;
}
