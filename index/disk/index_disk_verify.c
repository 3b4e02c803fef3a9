/* The whole index file, read and checked in order. That labels and postings say the same is checked
 * by sums over all (name, value, series) of a mix of the three, in two passes and without memory:
 * an accident does not make them equal. */
#include "index/disk/index_disk_private.h"

struct verify {
    const struct index_disk *ix;
    struct tsdb_error *err;
    uint64_t labels, labels_sum;
    uint64_t postings, postings_sum;
    uint64_t chunks;
};

static uint64_t mix(uint32_t name, uint32_t value, uint32_t id)
{
    uint64_t h = (((uint64_t)name << 32 | value) * UINT64_C(0x9e3779b97f4a7c15)) ^
                 (id * UINT64_C(0xc2b2ae3d27d4eb4f));
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 29;
}

static enum tsdb_status symbols_verify(struct verify *v, struct disk_symbols *c,
                                       struct disk_scratch *before)
{
    uint32_t before_len = 0;
    for (uint32_t i = 0; i < v->ix->symbol_count; i++) {
        enum tsdb_status status = disk_symbols_at(c, i, v->err);
        if (status != TSDB_OK) {
            return status;
        }
        if (c->len == 0 || (i > 0 && tsdb_str_compare((const char *)before->data, before_len,
                                                      (const char *)c->string.data, c->len) >= 0)) {
            return disk_corrupt(v->ix, DISK_SYMBOL_GROUPS, 0, "symbols do not rise", v->err);
        }
        if (!tsdb_utf8_valid(c->string.data, c->len)) {
            return disk_corrupt(v->ix, DISK_SYMBOL_GROUPS, 0, "a symbol is not UTF-8", v->err);
        }
        status = disk_scratch_reserve(before, c->len, 0, v->err);
        if (status != TSDB_OK) {
            return status;
        }
        memcpy(before->data, c->string.data, c->len);
        before_len = c->len;
        bool last_of_group = i % DISK_GROUP == DISK_GROUP - 1 || i + 1 == v->ix->symbol_count;
        if (last_of_group && tsdb_reader_left(&c->r) > 0) {
            return disk_corrupt(v->ix, DISK_SYMBOL_GROUPS, 0, "a group has bytes left", v->err);
        }
    }
    return TSDB_OK;
}

static enum tsdb_status value_verify(struct verify *v, uint32_t rank,
                                     const struct disk_value *value)
{
    struct disk_postings p;
    uint32_t last = 0;
    disk_postings_init(&p, v->ix, value);
    for (uint32_t b = 0; b < disk_postings_blocks(&p); b++) {
        enum tsdb_status status = disk_postings_load(&p, b, v->err);
        if (status != TSDB_OK) {
            return status;
        }
        if (b > 0 && p.ids[0] <= last) {
            return disk_corrupt(v->ix, DISK_POSTINGS, value->where, "postings do not rise", v->err);
        }
        last = p.ids[p.count - 1];
        for (uint32_t i = 0; i < p.count; i++) {
            v->postings_sum += mix(rank, value->symbol, p.ids[i]);
        }
        v->postings += p.count;
    }
    return TSDB_OK;
}

static enum tsdb_status name_verify(struct verify *v, uint32_t rank, const struct disk_name *n)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < n->value_count; i++) {
        struct disk_value value;
        enum tsdb_status status = disk_value_at(v->ix, n, i, &value, v->err);
        if (status == TSDB_OK && i > 0 && value.symbol <= last) {
            return disk_corrupt(v->ix, DISK_VALUES, n->value_first * DISK_VALUE_BYTES,
                                "values of a name do not rise", v->err);
        }
        last = value.symbol;
        if (status == TSDB_OK) {
            status = value_verify(v, rank, &value);
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

static enum tsdb_status names_verify(struct verify *v)
{
    uint64_t next = 0;
    uint32_t last = 0;
    for (uint32_t rank = 0; rank < v->ix->name_count; rank++) {
        struct disk_name n;
        enum tsdb_status status = disk_name_at(v->ix, rank, &n, v->err);
        if (status == TSDB_OK && (n.value_first != next || (rank > 0 && n.symbol <= last))) {
            return disk_corrupt(v->ix, DISK_NAMES, (uint64_t)rank * DISK_NAME_BYTES,
                                "names do not rise or leave values out", v->err);
        }
        last = n.symbol;
        next += n.value_count;
        if (status == TSDB_OK) {
            status = name_verify(v, rank, &n);
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
    return next == v->ix->pair_count
               ? TSDB_OK
               : disk_corrupt(v->ix, DISK_NAMES, 0, "names leave values out", v->err);
}

static bool labels_rise(const struct disk_labels *a, const struct disk_labels *b)
{
    uint32_t n = TSDB_MIN(a->count, b->count);
    for (uint32_t i = 0; i < n; i++) {
        if (a->name[i] != b->name[i] || a->value[i] != b->value[i]) {
            return a->name[i] != b->name[i] ? a->name[i] < b->name[i] : a->value[i] < b->value[i];
        }
    }
    return a->count < b->count;
}

static enum tsdb_status series_verify(struct verify *v, struct disk_series *c)
{
    struct disk_labels before;
    before.count = 0;
    for (uint32_t id = 0; id < v->ix->series_count; id++) {
        enum tsdb_status status = disk_series_at(c, id, v->err);
        if (status != TSDB_OK) {
            return status;
        }
        if (id > 0 && !labels_rise(&before, &c->labels)) {
            return disk_corrupt(v->ix, DISK_LABEL_GROUPS, 0, "series are not in label order",
                                v->err);
        }
        before = c->labels;
        for (uint32_t i = 0; i < c->labels.count; i++) {
            v->labels_sum += mix(c->labels.name[i], c->labels.value[i], id);
        }
        v->labels += c->labels.count;
        bool last_of_group = id % DISK_GROUP == DISK_GROUP - 1 || id + 1 == v->ix->series_count;
        if (last_of_group && tsdb_reader_left(&c->r) > 0) {
            return disk_corrupt(v->ix, DISK_LABEL_GROUPS, 0, "a group has bytes left", v->err);
        }
    }
    return TSDB_OK;
}

static enum tsdb_status chunks_verify(struct verify *v)
{
    struct tsdb_arena arena;
    enum tsdb_status status = TSDB_OK;
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 64u << 10, NULL);
    for (uint32_t id = 0; id < v->ix->series_count && status == TSDB_OK; id++) {
        struct index_disk_chunk *chunks;
        uint32_t count = 0;
        status = index_disk_chunks(v->ix, id, TSDB_TIME_ALL, &arena, &chunks, &count, v->err);
        v->chunks += count;
        tsdb_arena_reset(&arena);
    }
    tsdb_arena_deinit(&arena);
    return status;
}

static enum tsdb_status sums_verify(const struct verify *v)
{
    const struct index_disk *ix = v->ix;
    if (v->chunks != ix->chunk_count) {
        return disk_corrupt(ix, DISK_CHUNK_GROUPS, 0, "chunks are not as many as they should be",
                            v->err);
    }
    if (v->labels != ix->label_count || v->labels != v->postings ||
        v->labels_sum != v->postings_sum) {
        return disk_corrupt(ix, DISK_POSTINGS, 0, "postings and labels do not say the same",
                            v->err);
    }
    return TSDB_OK;
}

static enum tsdb_status symbols_pass(struct verify *v)
{
    struct disk_symbols c;
    struct disk_scratch before;
    disk_symbols_init(&c, v->ix);
    disk_scratch_init(&before);
    enum tsdb_status status = symbols_verify(v, &c, &before);
    disk_symbols_deinit(&c);
    disk_scratch_deinit(&before);
    return status;
}

static enum tsdb_status series_pass(struct verify *v)
{
    struct disk_series c;
    disk_series_init(&c, v->ix);
    enum tsdb_status status = series_verify(v, &c);
    disk_series_deinit(&c);
    return status;
}

enum tsdb_status index_disk_verify(const struct index_disk *ix, struct tsdb_error *err)
{
    struct verify v = {.ix = ix, .err = err};
    enum tsdb_status status = symbols_pass(&v);
    if (status == TSDB_OK) {
        status = names_verify(&v);
    }
    if (status == TSDB_OK) {
        status = series_pass(&v);
    }
    if (status == TSDB_OK) {
        status = chunks_verify(&v);
    }
    return status == TSDB_OK ? sums_verify(&v) : status;
}
