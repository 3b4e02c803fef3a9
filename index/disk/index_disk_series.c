/* What the index file says of one series: its labels, its chunks; and which series has given
 * labels. */
#include "index/disk/index_disk_private.h"

#include "base/assert.h"

#include <stdio.h>

void disk_series_init(struct disk_series *c, const struct index_disk *ix)
{
    c->ix = ix;
    c->group = UINT32_MAX;
    c->next = 0;
    c->labels.count = 0;
    disk_scratch_init(&c->bytes);
}

void disk_series_deinit(struct disk_series *c)
{
    disk_scratch_deinit(&c->bytes);
}

enum tsdb_status disk_series_at(struct disk_series *c, uint32_t id, struct tsdb_error *err)
{
    uint32_t group = id / DISK_GROUP;
    uint32_t i = id % DISK_GROUP;
    TSDB_ASSERT(id < c->ix->series_count);
    if (group != c->group || i + 1 < c->next) {
        c->group = UINT32_MAX;
        c->next = 0;
        c->labels.count = 0;
        enum tsdb_status status =
            disk_group_read(c->ix, DISK_LABEL_GROUPS, group, &c->bytes, &c->r, err);
        if (status != TSDB_OK) {
            return status;
        }
        c->group = group;
    }
    for (; c->next <= i; c->next++) {
        if (!disk_labels_get(&c->r, &c->labels, c->ix->name_count, c->ix->symbol_count)) {
            c->group = UINT32_MAX;
            return disk_corrupt(c->ix, DISK_LABEL_GROUPS, 0, "labels of a series are malformed",
                                err);
        }
    }
    return TSDB_OK;
}

/* ---- labels ---- */

static enum tsdb_status symbol_copy(struct disk_symbols *c, uint32_t symbol,
                                    struct tsdb_arena *arena, const char **out, uint32_t *out_len,
                                    struct tsdb_error *err)
{
    enum tsdb_status status = disk_symbols_at(c, symbol, err);
    if (status != TSDB_OK) {
        return status;
    }
    char *copy = tsdb_arena_strndup(arena, (const char *)c->string.data, c->len);
    if (!copy) {
        return tsdb_error_set(err, arena->failure, "index: labels: over the memory limit");
    }
    *out = copy;
    *out_len = c->len;
    return TSDB_OK;
}

/* Label i of l, after the ones before it, but for what *to has already: the name, or all of it. Names and values are far apart among the
 * symbols, so each kind has its own cursor. */
static enum tsdb_status label_copy(const struct disk_labels *l, uint32_t i,
                                   struct disk_symbols *names, struct disk_symbols *values,
                                   struct tsdb_arena *arena, struct tsdb_label *to,
                                   struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    if (!to->name) {
        struct disk_name n = {0};
        status = disk_name_at(names->ix, l->name[i], &n, err);
        if (status == TSDB_OK) {
            status = symbol_copy(names, n.symbol, arena, &to->name, &to->name_len, err);
        }
    }
    if (status == TSDB_OK && !to->value) {
        status = symbol_copy(values, l->value[i], arena, &to->value, &to->value_len, err);
    }
    if (status == TSDB_OK && i > 0 &&
        tsdb_str_compare(to[-1].name, to[-1].name_len, to->name, to->name_len) >= 0) {
        return disk_corrupt(names->ix, DISK_NAMES, 0, "names do not rise", err);
    }
    return status;
}

static enum tsdb_status labels_copy(const struct disk_labels *l, struct disk_symbols *names,
                                    struct disk_symbols *values, struct tsdb_arena *arena,
                                    struct tsdb_label *items, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < l->count && status == TSDB_OK; i++) {
        items[i] = (struct tsdb_label){0};
        status = label_copy(l, i, names, values, arena, &items[i], err);
    }
    return status;
}

static enum tsdb_status labels_read(const struct index_disk *ix, const struct disk_labels *l,
                                    struct tsdb_arena *arena, struct tsdb_labels *out,
                                    struct tsdb_error *err)
{
    struct disk_symbols names;
    struct disk_symbols values;
    struct tsdb_label *items = TSDB_ARENA_ARRAY(arena, struct tsdb_label, (size_t)l->count + 1);
    if (!items) {
        return tsdb_error_set(err, arena->failure, "index: labels: over the memory limit");
    }
    disk_symbols_init(&names, ix);
    disk_symbols_init(&values, ix);
    enum tsdb_status status = labels_copy(l, &names, &values, arena, items, err);
    disk_symbols_deinit(&names);
    disk_symbols_deinit(&values);
    if (status == TSDB_OK) {
        *out = (struct tsdb_labels){items, l->count};
    }
    return status;
}

enum tsdb_status index_disk_labels(const struct index_disk *ix, uint32_t id,
                                   struct tsdb_arena *arena, struct tsdb_labels *out,
                                   struct tsdb_error *err)
{
    struct disk_series c;
    disk_series_init(&c, ix);
    enum tsdb_status status = disk_series_at(&c, id, err);
    if (status == TSDB_OK) {
        status = labels_read(ix, &c.labels, arena, out, err);
    }
    disk_series_deinit(&c);
    return status;
}

/* ---- labels of many ---- */

#define CURSOR_ARENA_BYTES 4096u
#define CURSOR_STRINGS_MAX (256u << 10) /* then what was kept is forgotten */

struct index_disk_cursor {
    struct disk_series series;
    struct disk_symbols names, values;
    struct tsdb_arena strings;
    size_t string_bytes;
    struct disk_labels numbers; /* of labels; count 0: none */
    struct tsdb_label labels[TSDB_LABELS_MAX];
    struct tsdb_label next[TSDB_LABELS_MAX];
};

enum tsdb_status index_disk_cursor_create(const struct index_disk *ix,
                                          struct index_disk_cursor **out, struct tsdb_error *err)
{
    struct index_disk_cursor *c = tsdb_mem_alloc(TSDB_MEM_QUERY, sizeof *c);
    if (!c) {
        return tsdb_error_nomem(err, "a cursor of labels");
    }
    disk_series_init(&c->series, ix);
    disk_symbols_init(&c->names, ix);
    disk_symbols_init(&c->values, ix);
    tsdb_arena_init(&c->strings, TSDB_MEM_QUERY, CURSOR_ARENA_BYTES, NULL);
    c->string_bytes = 0;
    c->numbers.count = 0;
    *out = c;
    return TSDB_OK;
}

void index_disk_cursor_destroy(struct index_disk_cursor *c)
{
    if (!c) {
        return;
    }
    disk_series_deinit(&c->series);
    disk_symbols_deinit(&c->names);
    disk_symbols_deinit(&c->values);
    tsdb_arena_deinit(&c->strings);
    tsdb_mem_free(TSDB_MEM_QUERY, c, sizeof *c);
}

/* The labels of the series that c->series is at, with the strings that the last one had. */
static enum tsdb_status cursor_fill(struct index_disk_cursor *c, struct tsdb_error *err)
{
    const struct disk_labels *l = &c->series.labels;
    const struct disk_labels *old = &c->numbers;
    enum tsdb_status status = TSDB_OK;
    uint32_t k = 0;
    for (uint32_t i = 0; i < l->count && status == TSDB_OK; i++) {
        struct tsdb_label *to = &c->next[i];
        while (k < old->count && old->name[k] < l->name[i]) {
            k++;
        }
        *to = (struct tsdb_label){0};
        if (k < old->count && old->name[k] == l->name[i]) {
            *to = c->labels[k];
            to->value = old->value[k] == l->value[i] ? to->value : NULL;
        }
        bool kept = to->value != NULL;
        status = label_copy(l, i, &c->names, &c->values, &c->strings, to, err);
        c->string_bytes += kept ? 0 : (size_t)to->name_len + to->value_len;
    }
    return status;
}

enum tsdb_status index_disk_cursor_labels(struct index_disk_cursor *c, uint32_t id,
                                          struct tsdb_labels *out, struct tsdb_error *err)
{
    if (c->string_bytes > CURSOR_STRINGS_MAX) {
        tsdb_arena_reset(&c->strings);
        c->string_bytes = 0;
        c->numbers.count = 0;
    }
    enum tsdb_status status = disk_series_at(&c->series, id, err);
    if (status == TSDB_OK) {
        status = cursor_fill(c, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    c->numbers = c->series.labels;
    memcpy(c->labels, c->next, c->numbers.count * sizeof c->labels[0]);
    *out = (struct tsdb_labels){c->labels, c->numbers.count};
    return TSDB_OK;
}

/* ---- find ---- */

/* Labels as numbers; NOT_FOUND when the index lacks one of the strings. */
static enum tsdb_status labels_number(const struct index_disk *ix, const struct tsdb_labels *labels,
                                      struct disk_labels *out, struct tsdb_error *err)
{
    struct disk_symbols c;
    enum tsdb_status status = TSDB_OK;
    if (labels->count > TSDB_LABELS_MAX) {
        return TSDB_NOT_FOUND;
    }
    disk_symbols_init(&c, ix);
    out->count = labels->count;
    for (uint32_t i = 0; i < labels->count && status == TSDB_OK; i++) {
        const struct tsdb_label *l = &labels->items[i];
        struct disk_name n;
        status = disk_name_find(&c, l->name, l->name_len, &out->name[i], &n, err);
        if (status == TSDB_OK) {
            status = disk_symbols_find(&c, l->value, l->value_len, &out->value[i], err);
        }
    }
    disk_symbols_deinit(&c);
    return status;
}

/* As tsdb_labels_compare: ranks and symbols are in the order of their strings. */
static int labels_order(const struct disk_labels *a, const struct disk_labels *b)
{
    uint32_t n = TSDB_MIN(a->count, b->count);
    for (uint32_t i = 0; i < n; i++) {
        if (a->name[i] != b->name[i]) {
            return a->name[i] < b->name[i] ? -1 : 1;
        }
        if (a->value[i] != b->value[i]) {
            return a->value[i] < b->value[i] ? -1 : 1;
        }
    }
    return (a->count > b->count) - (a->count < b->count);
}

static enum tsdb_status series_search(struct disk_series *c, const struct disk_labels *want,
                                      uint32_t *out_id, struct tsdb_error *err)
{
    uint32_t low = 0; /* the last group that begins at or below the labels is >= low, < high */
    uint32_t high = disk_groups(c->ix->series_count);
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        enum tsdb_status status = disk_series_at(c, mid * DISK_GROUP, err);
        if (status != TSDB_OK) {
            return status;
        }
        *(labels_order(&c->labels, want) <= 0 ? &low : &high) = mid;
    }
    uint32_t end = TSDB_MIN(c->ix->series_count, (low + 1) * DISK_GROUP);
    for (uint32_t id = low * DISK_GROUP; id < end; id++) {
        enum tsdb_status status = disk_series_at(c, id, err);
        if (status != TSDB_OK) {
            return status;
        }
        if (labels_order(&c->labels, want) == 0) {
            *out_id = id;
            return TSDB_OK;
        }
    }
    return TSDB_NOT_FOUND;
}

enum tsdb_status index_disk_find(const struct index_disk *ix, const struct tsdb_labels *labels,
                                 uint32_t *out_id, struct tsdb_error *err)
{
    struct disk_labels want;
    enum tsdb_status status = labels_number(ix, labels, &want, err);
    if (status == TSDB_OK) {
        struct disk_series c;
        disk_series_init(&c, ix);
        status = series_search(&c, &want, out_id, err);
        disk_series_deinit(&c);
    }
    return status == TSDB_NOT_FOUND
               ? tsdb_error_set(err, TSDB_NOT_FOUND, "index: no series has these labels")
               : status;
}

/* ---- chunks ---- */

/* The chunks of the next series of a group: how many it has, and their bytes. False: malformed. */
static bool chunks_next(struct tsdb_reader *r, uint64_t *out_count, struct tsdb_slice *out)
{
    *out_count = tsdb_reader_uvarint(r);
    *out = (struct tsdb_slice){NULL, 0};
    if (*out_count > 0) {
        uint64_t len = tsdb_reader_count(r, 1);
        *out = tsdb_reader_bytes(r, (size_t)len);
    }
    return !r->failed && *out_count <= out->len / DISK_CHUNK_BYTES_MIN;
}

/* Go to the series in its group: how many chunks it has, and their bytes in r. */
static bool chunks_seek(struct tsdb_reader *r, uint32_t i, uint64_t *out_offset,
                        uint64_t *out_count)
{
    struct tsdb_slice bytes = {NULL, 0};
    *out_offset = tsdb_reader_uvarint(r);
    for (uint32_t k = 0; k <= i; k++) {
        if (!chunks_next(r, out_count, &bytes)) {
            return false;
        }
    }
    tsdb_reader_init(r, bytes.data, bytes.len);
    return true;
}

static enum tsdb_status chunks_malformed(const struct index_disk *ix, uint32_t id,
                                         struct tsdb_error *err)
{
    char what[64];
    (void)snprintf(what, sizeof what, "chunks of series %u are malformed", id);
    return disk_corrupt(ix, DISK_CHUNK_GROUPS, 0, what, err);
}

static enum tsdb_status chunks_decode(const struct index_disk *ix, struct tsdb_reader *r,
                                      uint32_t id, struct tsdb_time_range range,
                                      struct tsdb_arena *arena, struct index_disk_chunk **out,
                                      uint32_t *out_count, struct tsdb_error *err)
{
    uint64_t offset = 0;
    uint64_t count = 0;
    struct disk_chunk_state st;
    if (!chunks_seek(r, id % DISK_GROUP, &offset, &count) || count > UINT32_MAX) {
        return chunks_malformed(ix, id, err);
    }
    struct index_disk_chunk *chunks = tsdb_arena_alloc_array(
        arena, (size_t)count + 1, sizeof *chunks, _Alignof(struct index_disk_chunk));
    if (!chunks) {
        return tsdb_error_set(err, arena->failure, "index: chunks: over the memory limit");
    }
    uint32_t n = 0;
    disk_chunk_state_init(&st, ix->time_base, offset);
    for (uint64_t i = 0; i < count; i++) {
        if (!disk_chunk_get(r, &st, &chunks[n])) {
            return chunks_malformed(ix, id, err);
        }
        if (chunks[n].min_ms > range.max_ms) {
            break;
        }
        n += chunks[n].max_ms >= range.min_ms;
    }
    *out = chunks;
    *out_count = n;
    return TSDB_OK;
}

enum tsdb_status index_disk_chunks(const struct index_disk *ix, uint32_t id,
                                   struct tsdb_time_range range, struct tsdb_arena *arena,
                                   struct index_disk_chunk **out, uint32_t *out_count,
                                   struct tsdb_error *err)
{
    struct disk_scratch bytes;
    struct tsdb_reader r;
    TSDB_ASSERT(id < ix->series_count);
    disk_scratch_init(&bytes);
    enum tsdb_status status =
        disk_group_read(ix, DISK_CHUNK_GROUPS, id / DISK_GROUP, &bytes, &r, err);
    if (status == TSDB_OK) {
        status = chunks_decode(ix, &r, id, range, arena, out, out_count, err);
    }
    disk_scratch_deinit(&bytes);
    return status;
}

/* ---- the last chunks of many series ---- */

struct index_disk_newest {
    const struct index_disk *ix;
    uint32_t group; /* UINT32_MAX: none */
    uint32_t next;  /* number in the group of the series that r is at */
    uint64_t offset;
    struct tsdb_reader r;
    struct disk_scratch bytes;
};

enum tsdb_status index_disk_newest_create(const struct index_disk *ix,
                                          struct index_disk_newest **out, struct tsdb_error *err)
{
    struct index_disk_newest *c = tsdb_mem_alloc(TSDB_MEM_QUERY, sizeof *c);
    if (!c) {
        return tsdb_error_nomem(err, "a cursor of chunks");
    }
    c->ix = ix;
    c->group = UINT32_MAX;
    disk_scratch_init(&c->bytes);
    *out = c;
    return TSDB_OK;
}

void index_disk_newest_destroy(struct index_disk_newest *c)
{
    if (c) {
        disk_scratch_deinit(&c->bytes);
        tsdb_mem_free(TSDB_MEM_QUERY, c, sizeof *c);
    }
}

/* To the series' chunks, which `out` reads. A failure leaves no group. */
static enum tsdb_status newest_seek(struct index_disk_newest *c, uint32_t id, uint64_t *out_count,
                                    struct tsdb_reader *out, struct tsdb_error *err)
{
    uint32_t group = id / DISK_GROUP;
    struct tsdb_slice bytes = {NULL, 0};
    if (group != c->group || id % DISK_GROUP < c->next) {
        c->group = UINT32_MAX;
        enum tsdb_status status =
            disk_group_read(c->ix, DISK_CHUNK_GROUPS, group, &c->bytes, &c->r, err);
        if (status != TSDB_OK) {
            return status;
        }
        c->group = group;
        c->next = 0;
        c->offset = tsdb_reader_uvarint(&c->r);
    }
    while (c->next <= id % DISK_GROUP) {
        c->next++;
        if (!chunks_next(&c->r, out_count, &bytes)) {
            c->group = UINT32_MAX;
            return chunks_malformed(c->ix, id, err);
        }
    }
    tsdb_reader_init(out, bytes.data, bytes.len);
    return TSDB_OK;
}

enum tsdb_status index_disk_newest_at(struct index_disk_newest *c, uint32_t id,
                                      struct tsdb_time_range range, bool *out_any,
                                      struct index_disk_chunk *out, struct tsdb_error *err)
{
    uint64_t count = 0;
    struct tsdb_reader r;
    struct disk_chunk_state st;
    TSDB_ASSERT(id < c->ix->series_count);
    enum tsdb_status status = newest_seek(c, id, &count, &r, err);
    if (status != TSDB_OK) {
        return status;
    }
    bool any = false;
    disk_chunk_state_init(&st, c->ix->time_base, c->offset);
    for (uint64_t i = 0; i < count; i++) {
        struct index_disk_chunk chunk;
        if (!disk_chunk_get(&r, &st, &chunk)) {
            return chunks_malformed(c->ix, id, err);
        }
        if (chunk.min_ms > range.max_ms) {
            break;
        }
        if (chunk.max_ms >= range.min_ms) {
            any = true;
            *out = chunk;
        }
    }
    *out_any = any;
    return TSDB_OK;
}
