/* The strings of an index that is being written. */
#include "base/assert.h"
#include "base/hash.h"
#include "tools/prom/prom_index_private.h"

#include <stdlib.h>

#define TABLE_CAP_FIRST 1024u

void prom_symbols_init(struct prom_symbols *s)
{
    *s = (struct prom_symbols){0};
    tsdb_buf_init(&s->bytes, TSDB_MEM_OTHER, UINT32_MAX);
}

void prom_symbols_deinit(struct prom_symbols *s)
{
    tsdb_buf_deinit(&s->bytes);
    tsdb_mem_free(TSDB_MEM_OTHER, s->strings, s->cap * sizeof *s->strings);
    tsdb_mem_free(TSDB_MEM_OTHER, s->table, s->table_cap * sizeof *s->table);
}

static const char *text_of(const struct prom_symbols *s, uint32_t i)
{
    return (const char *)s->bytes.data + s->strings[i].at;
}

/* The slot that has the string, or where it would go. */
static uint32_t slot_of(const struct prom_symbols *s, const char *text, size_t len)
{
    uint32_t mask = s->table_cap - 1, slot = (uint32_t)tsdb_hash64_plain(text, len) & mask;
    for (; s->table[slot] != 0; slot = (slot + 1) & mask) {
        uint32_t i = s->table[slot] - 1;
        if (s->strings[i].len == len && memcmp(text_of(s, i), text, len) == 0) {
            break;
        }
    }
    return slot;
}

static void fill_table(struct prom_symbols *s)
{
    memset(s->table, 0, s->table_cap * sizeof *s->table);
    for (uint32_t i = 0; i < s->count; i++) {
        s->table[slot_of(s, text_of(s, i), s->strings[i].len)] = i + 1;
    }
}

static bool grow(struct prom_symbols *s)
{
    if (s->count == s->cap) {
        uint32_t cap = s->cap == 0 ? TABLE_CAP_FIRST / 2 : 2 * s->cap;
        struct prom_string *grown = tsdb_mem_realloc(TSDB_MEM_OTHER, s->strings,
                                                     s->cap * sizeof *grown, cap * sizeof *grown);
        if (!grown) {
            return false;
        }
        s->strings = grown;
        s->cap = cap;
    }
    if (s->count < s->table_cap / 2) {
        return true;
    }
    uint32_t cap = s->table_cap == 0 ? TABLE_CAP_FIRST : 2 * s->table_cap;
    uint32_t *table = tsdb_mem_alloc(TSDB_MEM_OTHER, cap * sizeof *table);
    if (!table) {
        return false;
    }
    tsdb_mem_free(TSDB_MEM_OTHER, s->table, s->table_cap * sizeof *s->table);
    s->table = table;
    s->table_cap = cap;
    fill_table(s);
    return true;
}

enum tsdb_status prom_symbols_add(struct prom_symbols *s, const char *text, size_t len,
                                  struct tsdb_error *err)
{
    if (s->bytes.len + len + 10 * (uint64_t)s->count > UINT32_MAX || s->count >= 1u << 30) {
        return tsdb_error_set(err, TSDB_LIMIT, "more than 4 GiB of label names and values");
    }
    if (!grow(s)) {
        return tsdb_error_nomem(err, "label names and values");
    }
    uint32_t slot = slot_of(s, text, len);
    if (s->table[slot] != 0) {
        return TSDB_OK;
    }
    uint32_t at = (uint32_t)s->bytes.len;
    tsdb_buf_put(&s->bytes, text, len);
    if (s->bytes.failed) {
        return tsdb_error_nomem(err, "label names and values");
    }
    s->strings[s->count] = (struct prom_string){at, (uint32_t)len};
    s->table[slot] = ++s->count;
    return TSDB_OK;
}

static int compare_strings(const void *a, const void *b, void *arg)
{
    const char *bytes = arg;
    const struct prom_string *x = a, *y = b;
    return tsdb_str_compare(bytes + x->at, x->len, bytes + y->at, y->len);
}

void prom_symbols_sort(struct prom_symbols *s)
{
    if (s->count > 0) {
        qsort_r(s->strings, s->count, sizeof *s->strings, compare_strings, s->bytes.data);
        fill_table(s);
    }
}

uint32_t prom_symbols_find(const struct prom_symbols *s, const char *text, size_t len)
{
    if (s->table_cap == 0) {
        return UINT32_MAX;
    }
    uint32_t slot = slot_of(s, text, len);
    return s->table[slot] == 0 ? UINT32_MAX : s->table[slot] - 1;
}
