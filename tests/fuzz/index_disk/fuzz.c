/* The index of a block, unpacked: whatever its bytes are, every question gets an answer or an error.
 * Invariants checked: ids rise and exist, labels are canonical in order, chunks rise in time and
 * lie in the range asked for, what verify passes is found again. (Pages: tests/fuzz/pages.) */
#include "index/disk/index_disk.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define SERIES_ASKED 40u
#define BYTES_MAX    (256u << 10)

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static enum tsdb_status source_read(void *ctx, uint64_t offset, void *out, size_t len,
                                    struct tsdb_error *err)
{
    const struct tsdb_buf *b = ctx;
    (void)err;
    must(offset <= b->len && len <= b->len - offset);
    memcpy(out, b->data + offset, len);
    return TSDB_OK;
}

static bool string_seen(void *arg, const char *s, uint32_t len)
{
    uint64_t *sum = arg;
    for (uint32_t i = 0; i < len; i++) {
        *sum += (uint8_t)s[i];
    }
    return true;
}

static void select_ask(const struct index_disk *ix, struct tsdb_arena *arena)
{
    static const struct tsdb_matcher sources[] = {{TSDB_MATCH_EQ, "job", "node", 3, 4},
                                                  {TSDB_MATCH_RE, "instance", "a|b|c", 8, 5},
                                                  {TSDB_MATCH_NRE, "__name__", "u.*", 8, 3},
                                                  {TSDB_MATCH_NE, "instance", "a", 8, 1}};
    const size_t n = sizeof sources / sizeof sources[0];
    struct index_matcher *m[sizeof sources / sizeof sources[0]];
    for (size_t i = 0; i < n; i++) {
        must(index_matcher_compile(&sources[i], &m[i], NULL) == TSDB_OK);
    }
    for (size_t set = 0; set < (size_t)1 << n; set++) {
        const struct index_matcher *chosen[sizeof sources / sizeof sources[0]];
        uint32_t chosen_count = 0;
        uint32_t *ids;
        uint32_t count;
        for (size_t i = 0; i < n; i++) {
            if (set >> i & 1) {
                chosen[chosen_count++] = m[i];
            }
        }
        if (index_disk_select(ix, chosen, chosen_count, NULL, arena, &ids, &count, NULL) ==
            TSDB_OK) {
            for (uint32_t i = 0; i < count; i++) {
                must(ids[i] < index_disk_series_count(ix) && (i == 0 || ids[i - 1] < ids[i]));
            }
        }
        tsdb_arena_reset(arena);
    }
    for (size_t i = 0; i < n; i++) {
        index_matcher_destroy(m[i]);
    }
}

static void series_ask(const struct index_disk *ix, uint32_t id, bool whole,
                       struct tsdb_arena *arena)
{
    const struct tsdb_time_range range = {0, INT64_C(1700000000000)};
    struct tsdb_labels labels;
    struct index_disk_chunk *chunks;
    uint32_t count;
    if (index_disk_labels(ix, id, arena, &labels, NULL) == TSDB_OK) {
        uint32_t found = UINT32_MAX;
        for (uint32_t i = 1; i < labels.count; i++) {
            const struct tsdb_label *l = &labels.items[i];
            must(tsdb_str_compare(l[-1].name, l[-1].name_len, l->name, l->name_len) < 0);
        }
        enum tsdb_status status = index_disk_find(ix, &labels, &found, NULL);
        must(!whole || (status == TSDB_OK && found == id));
    } else {
        must(!whole);
    }
    if (index_disk_chunks(ix, id, range, arena, &chunks, &count, NULL) == TSDB_OK) {
        for (uint32_t i = 0; i < count; i++) {
            must(chunks[i].min_ms <= chunks[i].max_ms && chunks[i].count > 0);
            must(chunks[i].max_ms >= range.min_ms && chunks[i].min_ms <= range.max_ms);
            must(i == 0 || chunks[i - 1].max_ms < chunks[i].min_ms);
        }
    } else {
        must(!whole);
    }
}

/* A cursor says the same as who reads series by series. */
static void cursor_ask(const struct index_disk *ix, bool whole, struct tsdb_arena *arena)
{
    struct index_disk_cursor *c = NULL;
    must(index_disk_cursor_create(ix, &c, NULL) == TSDB_OK);
    for (uint32_t id = 0; id < SERIES_ASKED && id < index_disk_series_count(ix); id++) {
        struct tsdb_labels a;
        struct tsdb_labels b;
        bool alone = index_disk_labels(ix, id, arena, &a, NULL) == TSDB_OK;
        bool next = index_disk_cursor_labels(c, id, &b, NULL) == TSDB_OK;
        must(alone == next && (next || !whole));
        must(!next || tsdb_labels_equal(&a, &b));
        tsdb_arena_reset(arena);
    }
    index_disk_cursor_destroy(c);
}

static void index_ask(const struct index_disk *ix)
{
    struct tsdb_arena arena;
    uint64_t sum = 0;
    bool whole = index_disk_verify(ix, NULL) == TSDB_OK;
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 4096, NULL);
    enum tsdb_status status = index_disk_names(ix, string_seen, &sum, NULL);
    must(!whole || status == TSDB_OK);
    status = index_disk_values(ix, "instance", 8, string_seen, &sum, NULL);
    must(!whole || status == TSDB_OK);
    if (index_disk_series_count(ix) < 1u << 20) { /* more need more memory than a fuzzer has time */
        select_ask(ix, &arena);
    }
    for (uint32_t id = 0; id < SERIES_ASKED && id < index_disk_series_count(ix); id++) {
        series_ask(ix, id, whole, &arena);
        tsdb_arena_reset(&arena);
    }
    cursor_ask(ix, whole, &arena);
    tsdb_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tsdb_buf file;
    struct index_disk *ix;
    if (len == 0 || len > BYTES_MAX) {
        return 0;
    }
    tsdb_buf_init(&file, TSDB_MEM_OTHER, 0);
    tsdb_buf_put(&file, data, len); /* a copy: its end is the allocation's */
    must(!file.failed);
    if (index_disk_open((struct paged_source){source_read, &file, len}, &ix, NULL) == TSDB_OK) {
        index_ask(ix);
        index_disk_close(ix);
    }
    tsdb_buf_deinit(&file);
    return 0;
}
