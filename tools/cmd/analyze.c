/* block analyze: what the blocks of a directory are made of, and who makes the most of it.
 *
 * Over all blocks, oldest first: series, samples and bytes per metric; values per label; bytes per codec of
 * the columns of the chunks; and per block which series are new and which are gone since the one before.
 * Memory: the distinct series (16 bytes each), metrics and label pairs. */
#include "base/bytes.h"
#include "compress/value_codec.h"
#include "tools/cmd/commands.h"
#include "tools/cmd/open.h"
#include "tools/cmd/out.h"
#include "tsdb/block/blocks.h"

#include <inttypes.h>
#include <stdlib.h>

#define LIMIT_DEFAULT  10u
#define CHUNK_STARTS   4u /* flags, docs/format/chunk.md */
#define CHUNK_DETACHED 8u

/* ---- counting by name ---- */
struct entry {
    const char *name; /* NULL: free */
    uint32_t len;
    uint64_t hash;
    uint64_t series, samples, chunks, bytes, values;
};
struct names {
    struct entry *items;
    size_t cap, count; /* cap a power of two, or 0 */
};

static uint64_t hash_of(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < len; i++) {
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return h ^ h >> 29;
}

static struct entry *slot(const struct names *n, uint64_t hash, const char *name, uint32_t len)
{
    size_t i = (size_t)hash & (n->cap - 1);
    while (n->items[i].name && !(n->items[i].hash == hash && n->items[i].len == len &&
                                 memcmp(n->items[i].name, name, len) == 0)) {
        i = (i + 1) & (n->cap - 1);
    }
    return &n->items[i];
}

static bool names_grow(struct names *n)
{
    struct names next = {.cap = n->cap ? 2 * n->cap : 256, .count = n->count};
    next.items = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, next.cap * sizeof *next.items);
    if (!next.items) {
        return false;
    }
    for (size_t i = 0; i < n->cap; i++) {
        if (n->items[i].name) {
            *slot(&next, n->items[i].hash, n->items[i].name, n->items[i].len) = n->items[i];
        }
    }
    tsdb_mem_free(TSDB_MEM_OTHER, n->items, n->cap * sizeof *n->items);
    *n = next;
    return true;
}

/* The entry of a name, made if need be (then *fresh); NULL: no memory. Valid until the next call. */
static struct entry *names_take(struct names *n, struct tsdb_arena *arena, const char *name,
                                size_t len, bool *fresh)
{
    if (2 * (n->count + 1) > n->cap && !names_grow(n)) {
        return NULL;
    }
    uint64_t hash = hash_of(name, len);
    struct entry *e = slot(n, hash, name, (uint32_t)len);
    *fresh = !e->name;
    if (*fresh) {
        const char *copy = tsdb_arena_strndup(arena, name, len);
        if (!copy) {
            return NULL;
        }
        *e = (struct entry){.name = copy, .len = (uint32_t)len, .hash = hash};
        n->count++;
    }
    return e;
}

static void names_free(struct names *n)
{
    tsdb_mem_free(TSDB_MEM_OTHER, n->items, n->cap * sizeof *n->items);
}

/* ---- distinct series ---- */
struct seen {
    uint64_t hash;       /* 0: free */
    uint32_t last_block; /* that had it */
};
struct series_set {
    struct seen *items;
    size_t cap, count;
};

static struct seen *seen_slot(const struct series_set *s, uint64_t hash)
{
    size_t i = (size_t)(hash >> 7) & (s->cap - 1);
    while (s->items[i].hash != 0 && s->items[i].hash != hash) {
        i = (i + 1) & (s->cap - 1);
    }
    return &s->items[i];
}

static struct seen *seen_take(struct series_set *s, uint64_t hash)
{
    hash += hash == 0;
    if (2 * (s->count + 1) > s->cap) {
        struct series_set next = {.cap = s->cap ? 2 * s->cap : 1024, .count = s->count};
        next.items = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, next.cap * sizeof *next.items);
        if (!next.items) {
            return NULL;
        }
        for (size_t i = 0; i < s->cap; i++) {
            if (s->items[i].hash != 0) {
                *seen_slot(&next, s->items[i].hash) = s->items[i];
            }
        }
        tsdb_mem_free(TSDB_MEM_OTHER, s->items, s->cap * sizeof *s->items);
        *s = next;
    }
    struct seen *found = seen_slot(s, hash);
    if (found->hash == 0) {
        found->hash = hash;
        s->count++;
    }
    return found;
}

/* ---- the work ---- */
struct analyze {
    struct tool *t;
    struct tool_dir dir;
    struct cache_l2 *cache;
    struct tsdb_arena arena, one; /* names; one series */
    struct names metrics, labels, pairs, columns;
    struct series_set series;
    struct tool_table blocks;
    struct tool_progress progress;
    uint32_t block; /* number of the one that is looked at, from 1 */
    uint64_t live, fresh, previous_live, kept;
};

static enum tsdb_status nomem(struct tsdb_error *err)
{
    return tsdb_error_nomem(err, "counting names");
}

static enum tsdb_status add_column(struct analyze *a, const char *name, uint64_t samples,
                                   uint64_t bytes, struct tsdb_error *err)
{
    bool fresh = false;
    struct entry *e = names_take(&a->columns, &a->arena, name, strlen(name), &fresh);
    if (!e) {
        return nomem(err);
    }
    e->chunks++;
    e->samples += samples;
    e->bytes += bytes;
    return TSDB_OK;
}

/* The columns of a chunk as it stands in the file; its checksum is verify's affair. */
static enum tsdb_status add_record(struct analyze *a, const struct block_chunk *c,
                                   const uint8_t *record, size_t len, struct tsdb_error *err)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, record, len);
    bool shared = tsdb_reader_u8(&r) != 0; /* docs/format/block.md */
    if (shared) {
        (void)tsdb_reader_uvarint(&r);
        (void)tsdb_reader_uvarint(&r);
    }
    (void)tsdb_reader_u8(&r);
    uint8_t flags = tsdb_reader_u8(&r);
    (void)tsdb_reader_uvarint(&r);
    uint64_t times = flags & CHUNK_DETACHED ? 0 : tsdb_reader_uvarint(&r);
    uint64_t values = tsdb_reader_uvarint(&r);
    uint64_t starts = flags & CHUNK_STARTS ? tsdb_reader_uvarint(&r) : 0;
    (void)tsdb_reader_bytes(&r, (size_t)times);
    struct tsdb_slice first = tsdb_reader_bytes(&r, 1);
    if (r.failed || values > len || starts > len) {
        return tsdb_error_set(err, TSDB_CORRUPT, "the chunk at byte %" PRIu64 " is malformed",
                              c->offset);
    }
    const char *codec = c->kind == TSDB_SAMPLE_FLOAT
                            ? value_codec_name(first.data[0] & VALUE_COLUMN_CODEC)
                            : "histograms";
    enum tsdb_status status =
        add_column(a, shared ? "times, shared" : "times", c->summary.count, times, err);
    if (status == TSDB_OK) {
        char name[64];
        snprintf(name, sizeof name, "values, %s", codec ? codec : "unknown");
        status = add_column(a, name, c->summary.count, values, err);
    }
    return status == TSDB_OK && starts > 0
               ? add_column(a, "start timestamps", c->summary.count, starts, err)
               : status;
}

static enum tsdb_status read_record(struct analyze *a, const struct block *b,
                                    const struct block_chunk *c, struct tsdb_error *err)
{
    struct tsdb_slice record;
    enum tsdb_status status = block_chunk_record(b, c, &a->one, &record, err);
    return status == TSDB_OK ? add_record(a, c, record.data, record.len, err) : status;
}

static enum tsdb_status add_labels(struct analyze *a, const struct tsdb_labels *labels,
                                   bool new_series, uint64_t samples, uint64_t chunks,
                                   uint64_t bytes, struct tsdb_error *err)
{
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        bool fresh = false, pair_fresh = false;
        size_t len = (size_t)l->name_len + 1 + l->value_len;
        char *pair = tsdb_arena_alloc(&a->one, len, 1);
        if (!pair) {
            return nomem(err);
        }
        memcpy(pair, l->name, l->name_len);
        pair[l->name_len] = '=';
        memcpy(pair + l->name_len + 1, l->value, l->value_len);
        struct entry *p = names_take(&a->pairs, &a->arena, pair, len, &pair_fresh);
        if (!p) {
            return nomem(err);
        }
        p->series += new_series;
        p->samples += samples;
        p->chunks += chunks;
        p->bytes += bytes;
        struct entry *e = names_take(&a->labels, &a->arena, l->name, l->name_len, &fresh);
        if (!e) {
            return nomem(err);
        }
        e->values += pair_fresh;
        e->bytes += pair_fresh ? l->value_len : 0;
        e->series += new_series;
        bool metric = l->name_len == strlen(TSDB_METRIC_NAME) &&
                      memcmp(l->name, TSDB_METRIC_NAME, l->name_len) == 0;
        struct entry *m =
            metric ? names_take(&a->metrics, &a->arena, l->value, l->value_len, &fresh) : NULL;
        if (metric && !m) {
            return nomem(err);
        }
        if (m) {
            m->series += new_series;
            m->samples += samples;
            m->chunks += chunks;
            m->bytes += bytes;
        }
    }
    return TSDB_OK;
}

static enum tsdb_status add_series(struct analyze *a, const struct block *b, uint32_t id,
                                   struct tsdb_error *err)
{
    struct tsdb_labels labels;
    struct block_chunk *chunks = NULL;
    uint32_t count = 0;
    uint64_t samples = 0, bytes = 0;
    enum tsdb_status status = block_labels(b, id, &a->one, &labels, err);
    if (status == TSDB_OK) {
        status = block_chunks(b, id, TSDB_TIME_ALL, &a->one, &chunks, &count, err);
    }
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        samples += chunks[i].summary.count;
        bytes += chunks[i].len;
        status = read_record(a, b, &chunks[i], err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    uint8_t *canonical = tsdb_arena_alloc(&a->one, tsdb_labels_encoded_bytes(&labels) + 1, 1);
    struct seen *s =
        canonical
            ? seen_take(&a->series, hash_of(canonical, tsdb_labels_encode(&labels, canonical)))
            : NULL;
    if (!s) {
        return nomem(err);
    }
    bool new_series = s->last_block == 0;
    a->live++;
    a->fresh += new_series;
    a->kept += a->block > 1 && s->last_block == a->block - 1;
    s->last_block = a->block;
    tool_progress_add(&a->progress, samples);
    return add_labels(a, &labels, new_series, samples, count, bytes, err);
}

static void put_block(struct analyze *a, const struct block_meta *m)
{
    tool_table_str(&a->blocks, m->ulid);
    tool_table_number(&a->blocks, m->min_ms);
    tool_table_number(&a->blocks, m->max_ms);
    tool_table_number(&a->blocks, (int64_t)a->live);
    tool_table_number(&a->blocks, (int64_t)a->fresh);
    tool_table_number(&a->blocks, (int64_t)(a->previous_live - a->kept));
    tool_table_number(&a->blocks, (int64_t)m->samples);
    tool_table_number(&a->blocks, (int64_t)m->bytes);
}

static enum tsdb_status add_block(struct analyze *a, struct block *b, struct tsdb_error *err)
{
    const struct block_meta *m = block_meta(b);
    a->block++;
    a->live = a->fresh = a->kept = 0;
    enum tsdb_status status = TSDB_OK;
    for (uint64_t id = 0; id < m->series && status == TSDB_OK; id++) {
        tsdb_arena_reset(&a->one);
        status = tool_check(err);
        if (status == TSDB_OK) {
            status = add_series(a, b, (uint32_t)id, err);
        }
    }
    if (status == TSDB_OK) {
        put_block(a, m);
        a->previous_live = a->live;
    }
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "block %s", m->ulid);
}

static int by_time(const void *x, const void *y)
{
    const struct block_meta *a = block_meta(*(struct block *const *)x);
    const struct block_meta *b = block_meta(*(struct block *const *)y);
    return a->min_ms != b->min_ms ? (a->min_ms > b->min_ms) - (a->min_ms < b->min_ms)
                                  : strcmp(a->ulid, b->ulid);
}

static enum tsdb_status add_all(struct analyze *a, struct tsdb_error *err)
{
    struct block_name *names = NULL;
    uint32_t count = 0, opened = 0;
    enum tsdb_status status = tool_blocks_list(&a->dir, &a->arena, &names, &count, err);
    struct block **list = TSDB_ARENA_ARRAY(&a->arena, struct block *, TSDB_MAX(count, 1u));
    if (status == TSDB_OK && !list) {
        status = nomem(err);
    }
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        if (a->t->arg_count > 1 && strcmp(names[i].ulid, a->t->args[1]) != 0) {
            continue;
        }
        status = block_open(&a->dir.fs, BLOCKS_DIR, names[i].ulid, a->cache, &list[opened], err);
        opened += status == TSDB_OK;
    }
    if (status == TSDB_OK && opened == 0 && a->t->arg_count > 1) {
        status =
            tsdb_error_set(err, TSDB_NOT_FOUND, "%s has no block %s", a->dir.path, a->t->args[1]);
    }
    if (opened > 0) {
        qsort(list, opened, sizeof *list, by_time);
    }
    for (uint32_t i = 0; i < opened; i++) {
        status = status == TSDB_OK ? add_block(a, list[i], err) : status;
        block_close(list[i]);
    }
    return status;
}

/* ---- what is shown ---- */
static const struct tool_column block_columns[] = {
    {"ulid", TOOL_CELL_TEXT},     {"from", TOOL_CELL_TIME},        {"to", TOOL_CELL_TIME},
    {"series", TOOL_CELL_COUNT},  {"new_series", TOOL_CELL_COUNT}, {"gone_series", TOOL_CELL_COUNT},
    {"samples", TOOL_CELL_COUNT}, {"bytes", TOOL_CELL_BYTES},
};
static const struct tool_column metric_columns[] = {
    {"name", TOOL_CELL_TEXT},         {"series", TOOL_CELL_COUNT},
    {"samples", TOOL_CELL_COUNT},     {"chunks", TOOL_CELL_COUNT},
    {"chunk_bytes", TOOL_CELL_BYTES}, {"bytes_per_sample", TOOL_CELL_TEXT},
};
static const struct tool_column label_columns[] = {
    {"name", TOOL_CELL_TEXT},
    {"series", TOOL_CELL_COUNT},
    {"values", TOOL_CELL_COUNT},
    {"value_bytes", TOOL_CELL_BYTES},
};
static const struct tool_column column_columns[] = {
    {"name", TOOL_CELL_TEXT},
    {"chunks", TOOL_CELL_COUNT},
    {"samples", TOOL_CELL_COUNT},
    {"column_bytes", TOOL_CELL_BYTES},
    {"bytes_per_sample", TOOL_CELL_TEXT},
};

static int by_bytes(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    if (a->bytes != b->bytes) {
        return a->bytes < b->bytes ? 1 : -1;
    }
    return tsdb_str_compare(a->name, a->len, b->name, b->len);
}
static int by_values(const void *x, const void *y)
{
    const struct entry *a = x, *b = y;
    return a->values != b->values ? (a->values < b->values ? 1 : -1) : by_bytes(x, y);
}

static void put_per_sample(struct tool_table *t, const struct entry *e)
{
    char text[32];
    snprintf(text, sizeof text, "%.3f", (double)e->bytes / (double)TSDB_MAX(e->samples, 1));
    tool_table_str(t, text);
}

static void put_volume(struct tool_table *t, const struct entry *e)
{
    tool_table_text(t, e->name, e->len);
    tool_table_number(t, (int64_t)e->series);
    tool_table_number(t, (int64_t)e->samples);
    tool_table_number(t, (int64_t)e->chunks);
    tool_table_number(t, (int64_t)e->bytes);
    put_per_sample(t, e);
}
static void put_label(struct tool_table *t, const struct entry *e)
{
    tool_table_text(t, e->name, e->len);
    tool_table_number(t, (int64_t)e->series);
    tool_table_number(t, (int64_t)e->values);
    tool_table_number(t, (int64_t)e->bytes);
}
static void put_column(struct tool_table *t, const struct entry *e)
{
    tool_table_text(t, e->name, e->len);
    tool_table_number(t, (int64_t)e->chunks);
    tool_table_number(t, (int64_t)e->samples);
    tool_table_number(t, (int64_t)e->bytes);
    put_per_sample(t, e);
}

/* A heading, or the name of a member. */
static enum tsdb_status say_section(const struct tool *t, const char *name, bool first,
                                    struct tsdb_error *err)
{
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_OTHER, 0);
    if (t->options.json) {
        tsdb_buf_printf(&b, "%s\"%s\":", first ? "{" : ",", name);
    } else {
        tsdb_buf_printf(&b, "%s%s\n", first ? "" : "\n", name);
    }
    enum tsdb_status status = tool_put(&b, err);
    tsdb_buf_deinit(&b);
    return status;
}

static enum tsdb_status show_names(const struct analyze *a, struct names *n, const char *section,
                                   const struct tool_column *columns, uint32_t column_count,
                                   void (*put)(struct tool_table *, const struct entry *),
                                   int (*order)(const void *, const void *), uint64_t limit,
                                   struct tsdb_error *err)
{
    struct tool_table table;
    size_t count = 0;
    for (size_t i = 0; i < n->cap; i++) { /* the map is not needed any more */
        if (n->items[i].name) {
            n->items[count++] = n->items[i];
        }
    }
    if (count > 0) {
        qsort(n->items, count, sizeof *n->items, order);
    }
    tool_table_init(&table, columns, column_count);
    for (size_t i = 0; i < count && (limit == 0 || i < limit); i++) {
        put(&table, &n->items[i]);
    }
    enum tsdb_status status = say_section(a->t, section, false, err);
    if (status == TSDB_OK) {
        status = tool_table_print(&table, a->t, err);
    }
    tool_table_deinit(&table);
    return status;
}

static enum tsdb_status show(struct analyze *a, struct tsdb_error *err)
{
    uint64_t limit = a->t->given & TOOL_BIT(limit) ? a->t->options.limit : LIMIT_DEFAULT;
    enum tsdb_status status = say_section(a->t, "blocks", true, err);
    if (status == TSDB_OK) {
        status = tool_table_print(&a->blocks, a->t, err);
    }
    if (status == TSDB_OK) {
        status = show_names(a, &a->metrics, "metrics", metric_columns,
                            TSDB_ARRAY_LEN(metric_columns), put_volume, by_bytes, limit, err);
    }
    if (status == TSDB_OK) {
        status = show_names(a, &a->labels, "labels", label_columns, TSDB_ARRAY_LEN(label_columns),
                            put_label, by_values, limit, err);
    }
    if (status == TSDB_OK) {
        status = show_names(a, &a->pairs, "label_pairs", metric_columns,
                            TSDB_ARRAY_LEN(metric_columns), put_volume, by_bytes, limit, err);
    }
    if (status == TSDB_OK) {
        status = show_names(a, &a->columns, "columns", column_columns,
                            TSDB_ARRAY_LEN(column_columns), put_column, by_bytes, 0, err);
    }
    if (status == TSDB_OK && a->t->options.json) {
        fputs("}\n", stdout);
    }
    return status;
}

enum tsdb_status tool_block_analyze(struct tool *t, struct tsdb_error *err)
{
    struct analyze a = {.t = t};
    tsdb_arena_init(&a.arena, TSDB_MEM_OTHER, 1u << 20, NULL);
    tsdb_arena_init(&a.one, TSDB_MEM_OTHER, 1u << 20, NULL);
    tool_table_init(&a.blocks, block_columns, TSDB_ARRAY_LEN(block_columns));
    tool_progress_begin(&a.progress, t, "samples", 0);
    enum tsdb_status status = tool_dir_read(t->args[0], &a.dir, err);
    if (status == TSDB_OK) {
        status = cache_l2_create(16u << 20, &a.cache, err);
    }
    if (status == TSDB_OK) {
        status = add_all(&a, err);
    }
    tool_progress_end(&a.progress);
    if (status == TSDB_OK) {
        status = show(&a, err);
    }
    names_free(&a.metrics);
    names_free(&a.labels);
    names_free(&a.pairs);
    names_free(&a.columns);
    tsdb_mem_free(TSDB_MEM_OTHER, a.series.items, a.series.cap * sizeof *a.series.items);
    tool_table_deinit(&a.blocks);
    cache_l2_destroy(a.cache);
    tool_dir_close(&a.dir);
    tsdb_arena_deinit(&a.one);
    tsdb_arena_deinit(&a.arena);
    return status;
}
