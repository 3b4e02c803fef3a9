/* Invariants checked: what was written is read back; a selection is what asking every series would
 * give (the naive model below); the file depends on what was written only; bytes that were changed
 * or cut give an error or a wrong answer, never a crash, and verify finds them. */
#include "tests/support/test.h"

#include "base/random.h"
#include "index/disk/index_disk_private.h"
#include "index/disk/index_disk_writer_private.h"
#include "tests/support/paged.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define SERIES_MAX 1200
#define LABELS_MAX 6

struct model_series {
    struct tsdb_label items[LABELS_MAX];
    struct tsdb_labels labels;
    char text[LABELS_MAX][24];
    struct index_disk_chunk *chunks;
    uint32_t chunk_count;
};
struct fixture {
    struct tsdb_prng prng;
    struct model_series *series;
    uint32_t count;
    struct tsdb_buf packed; /* the file */
    struct tsdb_buf file;   /* its logical bytes */
    struct paged_source source;
    struct index_disk *ix;
    struct tsdb_arena arena;
    uint64_t used;
    uint32_t reads;
};

/* ---- a file in memory ---- */

static enum tsdb_status source_read(void *ctx, uint64_t offset, void *out, size_t len,
                                    struct tsdb_error *err)
{
    struct fixture *f = ctx;
    (void)err;
    assert_true(offset <= f->file.len && len <= f->file.len - offset);
    f->reads++;
    memcpy(out, f->file.data + offset, len);
    return TSDB_OK;
}

static enum tsdb_status file_unpack(struct fixture *f, struct tsdb_error *err)
{
    struct paged_memory m;
    tsdb_buf_clear(&f->file);
    enum tsdb_status status = paged_memory_open(&m, &f->packed, err);
    if (status == TSDB_OK) {
        status = paged_memory_unpack(&m, &f->file, err);
        paged_memory_close(&m);
    }
    return status;
}

static enum tsdb_status file_open(struct fixture *f, struct tsdb_error *err)
{
    f->source = (struct paged_source){source_read, f, f->file.len};
    return index_disk_open(f->source, &f->ix, err);
}

/* ---- the model ---- */

static int series_order(const void *a, const void *b)
{
    const struct model_series *x = a;
    const struct model_series *y = b;
    return tsdb_labels_compare(&x->labels, &y->labels);
}

static void label_set(struct model_series *s, uint32_t i, const char *name, const char *value)
{
    (void)snprintf(s->text[i], sizeof s->text[i], "%s", value);
    s->items[i] = tsdb_label_make(name, s->text[i]);
}

/* Labels point into the series itself, so they are set anew after sorting moved it. */
static void series_settle(struct model_series *s)
{
    for (uint32_t i = 0; i < s->labels.count; i++) {
        s->items[i].value = s->text[i];
    }
    s->labels.items = s->items;
}

static void model_chunks(struct fixture *f, struct model_series *s)
{
    uint32_t n = (uint32_t)tsdb_prng_below(&f->prng, 6);
    int64_t t = (int64_t)tsdb_prng_below(&f->prng, 1000000) - 500000;
    s->chunks = calloc(n + 1, sizeof *s->chunks);
    s->chunk_count = n;
    for (uint32_t i = 0; i < n; i++) {
        struct index_disk_chunk *c = &s->chunks[i];
        c->kind = (enum tsdb_sample_kind)(
            tsdb_prng_below(&f->prng, 5) == 0 ? 1 + tsdb_prng_below(&f->prng, 2) : 0);
        c->count = tsdb_prng_below(&f->prng, 2) ? 120 : 1 + (uint32_t)tsdb_prng_below(&f->prng, 99);
        c->min_ms = t;
        c->max_ms = t + (int64_t)(c->count - 1) * 15000;
        t = c->max_ms + 1 + (int64_t)tsdb_prng_below(&f->prng, 30000);
        c->len = (uint32_t)tsdb_prng_below(&f->prng, 5000);
        c->offset = tsdb_prng_below(&f->prng, 3) || i == 0
                        ? 16 + tsdb_prng_below(&f->prng, 1u << 30)
                        : c[-1].offset + c[-1].len + 8;
        c->min = c->max = (double)NAN;
        if (c->kind == TSDB_SAMPLE_FLOAT) {
            c->first_bits = tsdb_double_bits((double)tsdb_prng_below(&f->prng, 1000) / 8);
            c->last_bits = tsdb_prng_below(&f->prng, 4) ? tsdb_prng_next(&f->prng) : c->first_bits;
            c->all_int = tsdb_prng_below(&f->prng, 2);
            c->resets = (uint32_t)tsdb_prng_below(&f->prng, 3);
            c->stale = (uint32_t)tsdb_prng_below(&f->prng, 2);
            if (tsdb_prng_below(&f->prng, 3)) {
                c->min = -(double)tsdb_prng_below(&f->prng, 100);
                c->max = tsdb_prng_double(&f->prng);
            }
        }
    }
}

static void model_fill(struct fixture *f, uint32_t count)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "a\xc3\xa4"};
    f->series = calloc(count, sizeof *f->series);
    for (uint32_t i = 0; i < count; i++) {
        struct model_series *s = &f->series[i];
        char text[24];
        uint32_t n = 0;
        (void)snprintf(text, sizeof text, "metric_%u", (unsigned)tsdb_prng_below(&f->prng, 9));
        label_set(s, n++, "__name__", text);
        if (tsdb_prng_below(&f->prng, 3)) {
            (void)snprintf(text, sizeof text, "host-%03u", (unsigned)tsdb_prng_below(&f->prng, 80));
            label_set(s, n++, "instance", text);
        }
        if (tsdb_prng_below(&f->prng, 10)) {
            label_set(s, n++, "job", tsdb_prng_below(&f->prng, 5) ? "node" : "api");
        }
        if (tsdb_prng_below(&f->prng, 2)) {
            label_set(s, n++, "method", methods[tsdb_prng_below(&f->prng, 4)]);
        }
        (void)snprintf(text, sizeof text, "%x", i * 7919u);
        label_set(s, n++, "unique", text);
        s->labels = (struct tsdb_labels){s->items, n};
    }
    qsort(f->series, count, sizeof *f->series, series_order);
    for (uint32_t i = 0; i < count; i++) {
        series_settle(&f->series[i]);
        model_chunks(f, &f->series[i]);
    }
    f->count = count;
}

static enum tsdb_status model_write(struct fixture *f, struct tsdb_error *err)
{
    struct index_disk_writer *w = NULL;
    tsdb_buf_clear(&f->packed);
    enum tsdb_status status =
        index_disk_writer_create((struct paged_sink){paged_memory_write, &f->packed, 0}, &w, err);
    for (uint32_t i = 0; i < f->count && status == TSDB_OK; i++) {
        status = index_disk_writer_series(w, &f->series[i].labels, err);
        for (uint32_t k = 0; k < f->series[i].chunk_count && status == TSDB_OK; k++) {
            status = index_disk_writer_chunk(w, &f->series[i].chunks[k], err);
        }
    }
    status = status == TSDB_OK ? index_disk_writer_finish(w, err) : status;
    index_disk_writer_destroy(w);
    return status;
}

static void fixture_init(struct fixture *f, uint64_t seed, uint32_t count)
{
    struct tsdb_error err = {0};
    memset(f, 0, sizeof *f);
    f->used = tsdb_mem_used(TSDB_MEM_INDEX) + tsdb_mem_used(TSDB_MEM_QUERY);
    tsdb_prng_init(&f->prng, seed);
    tsdb_arena_init(&f->arena, TSDB_MEM_QUERY, 4096, NULL);
    tsdb_buf_init(&f->packed, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&f->file, TSDB_MEM_OTHER, 0);
    model_fill(f, count);
    assert_ok_err(model_write(f, &err), &err);
    assert_ok_err(file_unpack(f, &err), &err);
    assert_ok_err(file_open(f, &err), &err);
}

static void fixture_deinit(struct fixture *f)
{
    index_disk_close(f->ix);
    tsdb_arena_deinit(&f->arena);
    tsdb_buf_deinit(&f->packed);
    tsdb_buf_deinit(&f->file);
    for (uint32_t i = 0; i < f->count; i++) {
        free(f->series[i].chunks);
    }
    free(f->series);
    assert_int_equal(tsdb_mem_used(TSDB_MEM_INDEX) + tsdb_mem_used(TSDB_MEM_QUERY), f->used);
}

/* ---- round trip ---- */

static void chunks_equal(const struct index_disk_chunk *a, const struct index_disk_chunk *b)
{
    assert_int_equal(a->min_ms, b->min_ms);
    assert_int_equal(a->max_ms, b->max_ms);
    assert_int_equal(a->first_bits, b->first_bits);
    assert_int_equal(a->last_bits, b->last_bits);
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->len, b->len);
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->resets, b->resets);
    assert_int_equal(a->stale, b->stale);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->all_int, b->all_int);
    assert_true((isnan(a->min) && isnan(b->min)) ||
                tsdb_double_bits(a->min) == tsdb_double_bits(b->min));
    assert_true((isnan(a->max) && isnan(b->max)) ||
                tsdb_double_bits(a->max) == tsdb_double_bits(b->max));
}

static void series_check(struct fixture *f, struct index_disk_cursor *cursor, uint32_t id)
{
    const struct model_series *s = &f->series[id];
    struct tsdb_error err = {0};
    struct tsdb_labels labels;
    struct index_disk_chunk *chunks;
    uint32_t count = 0;
    uint32_t found = UINT32_MAX;
    assert_ok_err(index_disk_labels(f->ix, id, &f->arena, &labels, &err), &err);
    assert_true(tsdb_labels_equal(&labels, &s->labels));
    assert_ok_err(index_disk_cursor_labels(cursor, id, &labels, &err), &err);
    assert_true(tsdb_labels_equal(&labels, &s->labels));
    assert_ok_err(index_disk_find(f->ix, &s->labels, &found, &err), &err);
    assert_int_equal(found, id);
    assert_ok_err(index_disk_chunks(f->ix, id, TSDB_TIME_ALL, &f->arena, &chunks, &count, &err),
                  &err);
    assert_int_equal(count, s->chunk_count);
    for (uint32_t i = 0; i < count; i++) {
        chunks_equal(&chunks[i], &s->chunks[i]);
    }
    struct tsdb_time_range range = {(int64_t)tsdb_prng_below(&f->prng, 4000000) - 1000000, 0};
    range.max_ms = range.min_ms + (int64_t)tsdb_prng_below(&f->prng, 2000000);
    assert_ok_err(index_disk_chunks(f->ix, id, range, &f->arena, &chunks, &count, &err), &err);
    for (uint32_t i = 0, k = 0; i < s->chunk_count; i++) {
        if (s->chunks[i].max_ms >= range.min_ms && s->chunks[i].min_ms <= range.max_ms) {
            assert_true(k < count);
            chunks_equal(&chunks[k++], &s->chunks[i]);
            assert_true(i + 1 < s->chunk_count || k == count);
        }
    }
}

static void index_disk__random_series__read_back(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 15, 16, 17, 33, 500, SERIES_MAX};
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(counts); i++) {
        struct fixture f;
        struct tsdb_error err = {0};
        struct index_disk_cursor *cursor = NULL;
        fixture_init(&f, 100 + i, counts[i]);
        assert_int_equal(index_disk_series_count(f.ix), counts[i]);
        assert_ok(index_disk_cursor_create(f.ix, &cursor, NULL));
        for (uint32_t id = 0; id < f.count; id++) {
            series_check(&f, cursor, id);
            tsdb_arena_reset(&f.arena);
        }
        for (uint32_t k = 0; k < 3 * f.count; k++) { /* in any order, too */
            struct tsdb_labels labels;
            uint32_t id = (uint32_t)tsdb_prng_below(&f.prng, f.count);
            assert_ok(index_disk_cursor_labels(cursor, id, &labels, NULL));
            assert_true(tsdb_labels_equal(&labels, &f.series[id].labels));
        }
        index_disk_cursor_destroy(cursor);
        assert_ok_err(index_disk_verify(f.ix, &err), &err);
        fixture_deinit(&f);
    }
}

static void index_disk__no_series__is_empty(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_labels none = {NULL, 0};
    struct tsdb_error err = {0};
    uint32_t *ids;
    uint32_t count = 9;
    uint32_t id;
    fixture_init(&f, 1, 0);
    assert_int_equal(index_disk_series_count(f.ix), 0);
    assert_ok(index_disk_select(f.ix, NULL, 0, NULL, &f.arena, &ids, &count, &err));
    assert_int_equal(count, 0);
    assert_int_equal(index_disk_find(f.ix, &none, &id, &err), TSDB_NOT_FOUND);
    assert_ok_err(index_disk_verify(f.ix, &err), &err);
    fixture_deinit(&f);
}

static void index_disk_writer__same_input__same_bytes(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_buf first;
    fixture_init(&f, 7, 300);
    first = f.packed;
    tsdb_buf_init(&f.packed, TSDB_MEM_OTHER, 0);
    assert_ok(model_write(&f, NULL));
    assert_int_equal(f.packed.len, first.len);
    assert_memory_equal(f.packed.data, first.data, first.len);
    tsdb_buf_deinit(&first);
    fixture_deinit(&f);
}

/* ---- select ---- */

/* Postings of many blocks, with gaps: series i has the label e<k> if every[k] divides i. */
#define LONG_SERIES 20000u
static const uint32_t every[] = {1, 3, 64, 1000};
static const char *const every_names[] = {"e0", "e1", "e2", "e3"};

static void long_write(struct fixture *f)
{
    struct index_disk_writer *w;
    struct tsdb_error err = {0};
    index_disk_close(f->ix);
    tsdb_buf_clear(&f->packed);
    assert_ok(
        index_disk_writer_create((struct paged_sink){paged_memory_write, &f->packed, 0}, &w, &err));
    for (uint32_t i = 0; i < LONG_SERIES; i++) {
        char id[16];
        struct tsdb_label items[5];
        uint32_t count = 1;
        (void)snprintf(id, sizeof id, "%08u", i);
        items[0] = tsdb_label_make("a", id);
        for (uint32_t k = 0; k < 4; k++) {
            if (i % every[k] == 0) {
                items[count++] = tsdb_label_make(every_names[k], "x");
            }
        }
        struct tsdb_labels labels = {items, count};
        assert_ok_err(index_disk_writer_series(w, &labels, &err), &err);
    }
    assert_ok_err(index_disk_writer_finish(w, &err), &err);
    index_disk_writer_destroy(w);
    assert_ok_err(file_unpack(f, &err), &err);
    assert_ok_err(file_open(f, &err), &err);
}

/* op: two bits per label: not asked, "=", "!=". */
static void long_select(struct fixture *f, uint32_t op)
{
    struct index_matcher *m[4];
    uint32_t m_count = 0;
    uint32_t *ids;
    uint32_t id_count = 0;
    uint32_t at = 0;
    struct tsdb_error err = {0};
    for (uint32_t k = 0; k < 4; k++) {
        struct tsdb_matcher source = {(op >> 2 * k & 3) == 1 ? TSDB_MATCH_EQ : TSDB_MATCH_NE,
                                      every_names[k], "x", 2, 1};
        if (op >> 2 * k & 3) {
            assert_ok(index_matcher_compile(&source, &m[m_count++], &err));
        }
    }
    assert_ok_err(index_disk_select(f->ix, (const struct index_matcher *const *)m, m_count, NULL,
                                    &f->arena, &ids, &id_count, &err),
                  &err);
    for (uint32_t i = 0; i < LONG_SERIES; i++) {
        bool want = true;
        for (uint32_t k = 0; k < 4; k++) {
            uint32_t o = op >> 2 * k & 3;
            want = want && (o == 0 || (o == 1) == (i % every[k] == 0));
        }
        if (want) {
            assert_true(at < id_count && ids[at] == i);
            at++;
        }
    }
    assert_int_equal(at, id_count);
    for (uint32_t k = 0; k < m_count; k++) {
        index_matcher_destroy(m[k]);
    }
    tsdb_arena_reset(&f->arena);
}

static void index_disk_select__long_postings__as_counted(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_error err = {0};
    fixture_init(&f, 3, 1);
    long_write(&f);
    for (uint32_t op = 0; op < 256; op++) {
        bool valid = true;
        for (uint32_t k = 0; k < 4; k++) {
            valid = valid && (op >> 2 * k & 3) != 3;
        }
        if (valid) {
            long_select(&f, op);
        }
    }
    assert_ok_err(index_disk_verify(f.ix, &err), &err);
    fixture_deinit(&f);
}

static void disk_postings_filter__few_candidates__reads_few_blocks(void **state)
{
    (void)state;
    struct fixture f;
    struct disk_symbols c;
    struct disk_name name;
    struct disk_value value;
    struct disk_postings p;
    uint32_t rank;
    uint32_t ids[] = {0, 5, 12800, 12801, 19999};
    uint32_t count = TSDB_ARRAY_LEN(ids);
    fixture_init(&f, 3, 1);
    long_write(&f);
    disk_symbols_init(&c, f.ix);
    assert_ok(disk_name_find(&c, "e1", 2, &rank, &name, NULL)); /* every third, 53 blocks */
    assert_ok(disk_value_at(f.ix, &name, 0, &value, NULL));
    disk_symbols_deinit(&c);
    disk_postings_init(&p, f.ix, &value);
    f.reads = 0;
    assert_ok(disk_postings_filter(&p, true, ids, &count, NULL));
    assert_in_range(f.reads, 1, 30); /* all blocks are 106 reads */
    assert_int_equal(count, 2);
    assert_int_equal(ids[0], 0);
    assert_int_equal(ids[1], 12801);
    fixture_deinit(&f);
}

static bool naive_matches(const struct model_series *s, const struct index_matcher *m)
{
    const struct tsdb_matcher *source = index_matcher_source(m);
    const struct tsdb_label *l = tsdb_labels_find(&s->labels, source->name, source->name_len);
    return index_matcher_matches(m, l ? l->value : "", l ? l->value_len : 0);
}

static void select_check(struct fixture *f, const struct index_matcher *const *m, uint32_t m_count)
{
    uint32_t *ids = NULL;
    uint32_t count = 0;
    uint32_t at = 0;
    struct tsdb_error err = {0};
    assert_ok_err(index_disk_select(f->ix, m, m_count, NULL, &f->arena, &ids, &count, &err), &err);
    for (uint32_t id = 0; id < f->count; id++) {
        bool want = true;
        for (uint32_t i = 0; i < m_count; i++) {
            want = want && naive_matches(&f->series[id], m[i]);
        }
        if (want) {
            assert_true(at < count && ids[at] == id);
            at++;
        }
    }
    assert_int_equal(at, count);
    tsdb_arena_reset(&f->arena);
}

static const char *const match_names[] = {"__name__", "instance", "job",
                                          "method",   "unique",   "none"};
static const char *const match_values[] = {"",
                                           "metric_3",
                                           "node",
                                           "api",
                                           "host-001",
                                           "GET",
                                           "metric_.+",
                                           "host-0.*",
                                           ".*",
                                           ".+",
                                           "GET|POST|nix",
                                           "node|",
                                           "host-(0|1).",
                                           "[a-f0-9]{1,3}",
                                           "nothing",
                                           "a.*|b.*",
                                           "host-001|host-002|host-003",
                                           "a\xc3\xa4"};

static void index_disk_select__random_matchers__as_the_naive_model(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 11, SERIES_MAX);
    select_check(&f, NULL, 0);
    for (uint32_t round = 0; round < 600; round++) {
        struct index_matcher *m[3];
        uint32_t count = 1 + (uint32_t)tsdb_prng_below(&f.prng, 3);
        for (uint32_t i = 0; i < count; i++) {
            const char *name = match_names[tsdb_prng_below(&f.prng, TSDB_ARRAY_LEN(match_names))];
            const char *value =
                match_values[tsdb_prng_below(&f.prng, TSDB_ARRAY_LEN(match_values))];
            struct tsdb_matcher source = {(enum tsdb_match_op)tsdb_prng_below(&f.prng, 4), name,
                                          value, (uint32_t)strlen(name), (uint32_t)strlen(value)};
            assert_ok(index_matcher_compile(&source, &m[i], NULL));
        }
        select_check(&f, (const struct index_matcher *const *)m, count);
        for (uint32_t i = 0; i < count; i++) {
            index_matcher_destroy(m[i]);
        }
    }
    fixture_deinit(&f);
}

static void index_disk_select__cancelled_request__stops(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_request request;
    uint32_t *ids;
    uint32_t count;
    fixture_init(&f, 2, 20);
    tsdb_request_init(&request, &tsdb_clock_real, TSDB_SCOPE_READ);
    tsdb_request_cancel(&request);
    assert_int_equal(index_disk_select(f.ix, NULL, 0, &request, &f.arena, &ids, &count, NULL),
                     TSDB_CANCELLED);
    fixture_deinit(&f);
}

static void index_disk_find__labels_near_to_others__not_found(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_label items[LABELS_MAX + 1];
    uint32_t id = 0;
    fixture_init(&f, 5, 200);
    for (uint32_t i = 0; i < f.count; i++) {
        struct tsdb_labels labels = f.series[i].labels;
        labels.count--; /* without "unique" no series is left */
        assert_int_equal(index_disk_find(f.ix, &labels, &id, NULL), TSDB_NOT_FOUND);
        memcpy(items, f.series[i].items, sizeof f.series[i].items);
        items[labels.count].value = f.series[(i + 1) % f.count].text[0]; /* known, but elsewhere */
        items[labels.count].value_len = (uint32_t)strlen(items[labels.count].value);
        labels = (struct tsdb_labels){items, labels.count + 1};
        assert_int_equal(index_disk_find(f.ix, &labels, &id, NULL), TSDB_NOT_FOUND);
    }
    fixture_deinit(&f);
}

/* ---- names and values ---- */

struct strings {
    char text[4096][24];
    uint32_t count, stop;
};

static bool strings_add(void *arg, const char *s, uint32_t len)
{
    struct strings *list = arg;
    assert_true(len < sizeof list->text[0] && list->count < TSDB_ARRAY_LEN(list->text));
    memcpy(list->text[list->count], s, len);
    list->text[list->count][len] = 0;
    list->count++;
    return list->count != list->stop;
}

static void index_disk_values__every_name__sorted_and_complete(void **state)
{
    (void)state;
    struct fixture f;
    struct strings *list = calloc(1, sizeof *list);
    fixture_init(&f, 4, 700);
    assert_ok(index_disk_names(f.ix, strings_add, list, NULL));
    assert_int_equal(list->count, 5);
    for (uint32_t k = 0; k < 5; k++) {
        assert_string_equal(list->text[k], match_names[k]);
    }
    for (uint32_t k = 0; k < 6; k++) {
        uint32_t want = 0;
        list->count = list->stop = 0;
        assert_ok(index_disk_values(f.ix, match_names[k], (uint32_t)strlen(match_names[k]),
                                    strings_add, list, NULL));
        for (uint32_t i = 0; i < list->count; i++) {
            assert_true(i == 0 || strcmp(list->text[i - 1], list->text[i]) < 0);
        }
        for (uint32_t id = 0; id < f.count; id++) { /* every value is there */
            const struct tsdb_label *l =
                tsdb_labels_find(&f.series[id].labels, match_names[k], strlen(match_names[k]));
            uint32_t i = 0;
            while (l && i < list->count && strcmp(list->text[i], l->value) != 0) {
                i++;
            }
            assert_true(!l || i < list->count);
            want += l != NULL;
        }
        assert_true(want >= list->count); /* and none that no series has: as many as distinct */
        assert_true((want == 0) == (list->count == 0));
    }
    list->count = 0;
    list->stop = 3;
    assert_ok(index_disk_values(f.ix, "unique", 6, strings_add, list, NULL));
    assert_int_equal(list->count, 3);
    free(list);
    fixture_deinit(&f);
}

/* ---- the writer refuses ---- */

static void index_disk_writer_series__not_canonical_or_not_rising__invalid(void **state)
{
    (void)state;
    static struct {
        const char *name[2], *value[2];
        uint32_t count;
        enum tsdb_status want;
    } const cases[] = {{{"a", "b"}, {"1", "2"}, 2, TSDB_OK},
                       {{"a", "b"}, {"1", "2"}, 2, TSDB_INVALID},
                       {{"a"}, {"1"}, 1, TSDB_INVALID},
                       {{"a", "a"}, {"2", "3"}, 2, TSDB_INVALID},
                       {{"b", "a"}, {"2", "3"}, 2, TSDB_INVALID},
                       {{"b"}, {""}, 1, TSDB_INVALID},
                       {{""}, {"x"}, 1, TSDB_INVALID},
                       {{"a", "b"}, {"1", "3"}, 2, TSDB_OK},
                       {{"a", "b"}, {"0", "9"}, 2, TSDB_INVALID},
                       {{"a", "c"}, {"1", "0"}, 2, TSDB_OK}};
    for (uint32_t i = 1; i < TSDB_ARRAY_LEN(cases); i++) {
        struct index_disk_writer *w;
        struct tsdb_buf file;
        tsdb_buf_init(&file, TSDB_MEM_OTHER, 0);
        assert_ok(
            index_disk_writer_create((struct paged_sink){paged_memory_write, &file, 0}, &w, NULL));
        for (uint32_t k = 0; k <= i; k += i) {
            struct tsdb_label items[2] = {tsdb_label_make(cases[k].name[0], cases[k].value[0])};
            if (cases[k].count == 2) {
                items[1] = tsdb_label_make(cases[k].name[1], cases[k].value[1]);
            }
            struct tsdb_labels labels = {items, cases[k].count};
            assert_int_equal(index_disk_writer_series(w, &labels, NULL), cases[k].want);
        }
        index_disk_writer_destroy(w);
        tsdb_buf_deinit(&file);
    }
}

static void index_disk_writer_chunk__empty_or_overlapping__invalid(void **state)
{
    (void)state;
    struct index_disk_writer *w;
    struct tsdb_buf file;
    struct tsdb_label item = tsdb_label_make("a", "b");
    struct tsdb_labels labels = {&item, 1};
    const struct index_disk_chunk good = {.min_ms = 10, .max_ms = 20, .count = 3, .offset = 16};
    struct index_disk_chunk bad = good;
    tsdb_buf_init(&file, TSDB_MEM_OTHER, 0);
    assert_ok(
        index_disk_writer_create((struct paged_sink){paged_memory_write, &file, 0}, &w, NULL));
    assert_ok(index_disk_writer_series(w, &labels, NULL));
    bad.count = 0;
    assert_int_equal(index_disk_writer_chunk(w, &bad, NULL), TSDB_INVALID);
    bad.count = 12; /* more samples than milliseconds */
    assert_int_equal(index_disk_writer_chunk(w, &bad, NULL), TSDB_INVALID);
    bad.count = 1;
    assert_int_equal(index_disk_writer_chunk(w, &bad, NULL), TSDB_INVALID);
    assert_ok(index_disk_writer_chunk(w, &good, NULL));
    bad = good;
    bad.min_ms = 20;
    bad.max_ms = 30;
    assert_int_equal(index_disk_writer_chunk(w, &bad, NULL), TSDB_INVALID);
    index_disk_writer_destroy(w);
    tsdb_buf_deinit(&file);
}

/* ---- chunk headers ---- */

static void chunk_round_trip(const struct index_disk_chunk *c, uint32_t n, int64_t time_base)
{
    struct tsdb_buf buf;
    struct disk_chunk_state st;
    struct tsdb_reader r;
    tsdb_buf_init(&buf, TSDB_MEM_OTHER, 0);
    disk_chunk_state_init(&st, time_base, 16);
    for (uint32_t i = 0; i < n; i++) {
        disk_chunk_put(&buf, &st, &c[i]);
    }
    disk_chunk_state_init(&st, time_base, 16);
    tsdb_reader_init(&r, buf.data, buf.len);
    for (uint32_t i = 0; i < n; i++) {
        struct index_disk_chunk back;
        assert_true(disk_chunk_get(&r, &st, &back));
        chunks_equal(&back, &c[i]);
    }
    assert_int_equal(tsdb_reader_left(&r), 0);
    tsdb_buf_deinit(&buf);
}

static void disk_chunk_put__edge_values__read_back(void **state)
{
    (void)state;
    const double nan = (double)NAN;
    const struct index_disk_chunk c[] = {
        {.min_ms = INT64_MIN, .max_ms = INT64_MIN, .count = 1, .min = nan, .max = nan},
        {.min_ms = INT64_MIN + 1,
         .max_ms = -1,
         .count = UINT32_MAX,
         .min = nan,
         .max = nan,
         .len = UINT32_MAX,
         .offset = (uint64_t)INT64_MAX,
         .resets = UINT32_MAX,
         .stale = UINT32_MAX,
         .first_bits = TSDB_STALE_NAN_BITS,
         .last_bits = UINT64_MAX},
        {.min_ms = 0,
         .max_ms = INT64_MAX - 1,
         .count = 2,
         .min = -0.0,
         .max = (double)INFINITY,
         .first_bits = tsdb_double_bits(-(double)INFINITY),
         .last_bits = 1,
         .all_int = true,
         .offset = 0},
        {.min_ms = INT64_MAX,
         .max_ms = INT64_MAX,
         .count = 1,
         .min = nan,
         .max = nan,
         .kind = TSDB_SAMPLE_HISTOGRAM_FLOAT,
         .offset = 77}};
    static const int64_t bases[] = {0, INT64_MIN, INT64_MAX, 1700000000000};
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(bases); i++) {
        chunk_round_trip(c, TSDB_ARRAY_LEN(c), bases[i]);
    }
}

/* What the size of headers is for: regular chunks of a counter, of a gauge with two digits. */
static void disk_chunk_put__usual_chunks__few_bytes(void **state)
{
    (void)state;
    for (uint32_t gauge = 0; gauge < 2; gauge++) {
        struct tsdb_buf buf;
        struct disk_chunk_state st;
        struct index_disk_chunk c = {.offset = 16, .len = 150, .count = 120, .all_int = !gauge};
        tsdb_buf_init(&buf, TSDB_MEM_OTHER, 0);
        disk_chunk_state_init(&st, 0, 16);
        for (uint32_t i = 0; i < 64; i++) {
            double first = gauge ? 20.0 + (double)(i * 37 % 100) / 100 : 1000000.0 + 1200 * i;
            double last = gauge ? 20.0 + (double)(i * 53 % 100) / 100 : first + 1190;
            c.min_ms = (int64_t)i * 120 * 15000;
            c.max_ms = c.min_ms + 119 * 15000;
            c.first_bits = tsdb_double_bits(first);
            c.last_bits = tsdb_double_bits(last);
            c.min = gauge ? 19.5 : first;
            c.max = gauge ? 21.75 : last;
            disk_chunk_put(&buf, &st, &c);
            c.offset = st.offset_next;
        }
        assert_in_range(buf.len, 1, gauge ? 64 * 17 : 64 * 12);
        tsdb_buf_deinit(&buf);
    }
}

/* ---- faults and hostile bytes ---- */

/* Ask for everything; only the error matters. */
static enum tsdb_status read_all(struct fixture *f)
{
    static const struct tsdb_matcher sources[] = {{TSDB_MATCH_EQ, "job", "node", 3, 4},
                                                  {TSDB_MATCH_RE, "instance", "host-0.*", 8, 8},
                                                  {TSDB_MATCH_NE, "method", "GET", 6, 3},
                                                  {TSDB_MATCH_RE, "method", "PUT|POST", 6, 8}};
    struct strings *list = calloc(1, sizeof *list);
    struct index_matcher *m[4];
    uint32_t *ids;
    uint32_t count = 0;
    enum tsdb_status first = TSDB_OK;
    for (uint32_t i = 0; i < 4; i++) {
        assert_ok(index_matcher_compile(&sources[i], &m[i], NULL));
    }
    for (uint32_t from = 0; from < 4; from++) {
        enum tsdb_status status =
            index_disk_select(f->ix, (const struct index_matcher *const *)m + from,
                              from == 0 ? 4 : 1, NULL, &f->arena, &ids, &count, NULL);
        first = first == TSDB_OK ? status : first;
        for (uint32_t i = 1; status == TSDB_OK && i < count; i++) {
            assert_true(ids[i - 1] < ids[i] && ids[i] < index_disk_series_count(f->ix));
        }
        index_matcher_destroy(m[from]);
    }
    for (uint32_t id = 0; id < f->count && id < index_disk_series_count(f->ix); id += 7) {
        struct tsdb_labels labels;
        struct index_disk_chunk *chunks;
        uint32_t found;
        enum tsdb_status status = index_disk_labels(f->ix, id, &f->arena, &labels, NULL);
        first = first == TSDB_OK ? status : first;
        status = index_disk_chunks(f->ix, id, TSDB_TIME_ALL, &f->arena, &chunks, &count, NULL);
        first = first == TSDB_OK ? status : first;
        status = index_disk_find(f->ix, &f->series[id].labels, &found, NULL);
        first = first == TSDB_OK ? status : first;
    }
    enum tsdb_status status = index_disk_verify(f->ix, NULL);
    first = first == TSDB_OK ? status : first;
    free(list);
    tsdb_arena_reset(&f->arena);
    return first;
}

static void index_disk__cut_anywhere__refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 22, 100);
    struct index_disk *ix = f.ix;
    size_t whole = f.file.len;
    for (size_t len = 0; len < whole; len += len < 300 || len + 300 > whole ? 1 : 97) {
        f.file.len = len;
        assert_int_equal(file_open(&f, NULL), TSDB_CORRUPT);
    }
    f.file.len = whole;
    f.ix = ix;
    fixture_deinit(&f);
}

/* Changed bytes that no CRC finds: bounds alone must hold. */
static void index_disk__hostile_bytes__never_crash(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 23, 200);
    struct index_disk *ix = f.ix;
    struct tsdb_buf good = f.file;
    uint32_t failed = 0;
    tsdb_buf_init(&f.file, TSDB_MEM_OTHER, 0);
    for (uint32_t round = 0; round < 2000; round++) {
        tsdb_buf_clear(&f.file);
        tsdb_buf_put(&f.file, good.data, good.len);
        uint32_t changes = 1 + (uint32_t)tsdb_prng_below(&f.prng, 3);
        /* A third of them in the table of contents and the names before it. */
        size_t tail = TSDB_MIN(f.file.len, (size_t)DISK_TOC_BYTES + 100);
        for (uint32_t i = 0; i < changes; i++) {
            size_t at = tsdb_prng_below(&f.prng, 3)
                            ? (size_t)tsdb_prng_below(&f.prng, f.file.len)
                            : f.file.len - 1 - (size_t)tsdb_prng_below(&f.prng, tail);
            f.file.data[at] = tsdb_prng_below(&f.prng, 2) ? (uint8_t)tsdb_prng_next(&f.prng)
                                                          : (uint8_t)(f.file.data[at] + 1);
        }
        enum tsdb_status status = file_open(&f, NULL);
        if (status == TSDB_OK) {
            status = read_all(&f);
            index_disk_close(f.ix);
        }
        failed += status != TSDB_OK;
    }
    assert_true(failed > 1000);
    tsdb_buf_deinit(&f.file);
    f.file = good;
    f.ix = ix;
    fixture_deinit(&f);
}

static void index_disk__every_nth_allocation_fails__nomem_and_no_leak(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 24, 120);
    uint64_t used = tsdb_mem_used(TSDB_MEM_INDEX) + tsdb_mem_used(TSDB_MEM_QUERY);
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        tsdb_alloc_fail_nth(nth, 1);
        enum tsdb_status status = model_write(&f, NULL);
        done = tsdb_alloc_fail_count() < nth;
        tsdb_alloc_ops_set(NULL);
        /* The file in memory takes allocations as well; its failure shows as IO. */
        assert_true(done ? status == TSDB_OK : status == TSDB_NOMEM || status == TSDB_IO);
        assert_int_equal(tsdb_mem_used(TSDB_MEM_INDEX) + tsdb_mem_used(TSDB_MEM_QUERY), used);
    }
    for (uint64_t nth = 1; nth < 20; nth++) {
        uint32_t *ids;
        uint32_t count;
        struct tsdb_labels labels;
        tsdb_arena_deinit(&f.arena);
        tsdb_arena_init(&f.arena, TSDB_MEM_QUERY, 64, NULL);
        tsdb_alloc_fail_nth(nth, 1);
        enum tsdb_status a = index_disk_select(f.ix, NULL, 0, NULL, &f.arena, &ids, &count, NULL);
        enum tsdb_status b = index_disk_labels(f.ix, 3, &f.arena, &labels, NULL);
        tsdb_alloc_ops_set(NULL);
        assert_true((a == TSDB_OK || a == TSDB_NOMEM) && (b == TSDB_OK || b == TSDB_NOMEM));
        struct index_disk_cursor *cursor = NULL;
        tsdb_alloc_fail_nth(nth, 1);
        enum tsdb_status c = index_disk_cursor_create(f.ix, &cursor, NULL);
        c = c == TSDB_OK ? index_disk_cursor_labels(cursor, 3, &labels, NULL) : c;
        index_disk_cursor_destroy(cursor);
        tsdb_alloc_ops_set(NULL);
        assert_true((c == TSDB_OK && nth > 1) || c == TSDB_NOMEM);
        assert_true(nth > 1 || a == TSDB_NOMEM);
    }
    fixture_deinit(&f);
}

static void index_disk_open__other_version_or_magic__refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_init(&f, 25, 5);
    struct index_disk *ix = f.ix;
    f.file.data[DISK_MAGIC_BYTES] = 2;
    assert_int_equal(file_open(&f, NULL), TSDB_UNSUPPORTED);
    f.file.data[DISK_MAGIC_BYTES] = 1;
    f.file.data[0] = 'x';
    assert_int_equal(file_open(&f, NULL), TSDB_CORRUPT);
    f.ix = ix;
    fixture_deinit(&f);
}

/* Symbols longer than the cursors' own room, pages crossed within one symbol. */
static void index_disk__widest_labels__read_back(void **state)
{
    (void)state;
    struct fixture f;
    struct index_disk_writer *w;
    struct tsdb_error err = {0};
    struct tsdb_labels back;
    static char names[TSDB_LABELS_MAX][8];
    static char big[TSDB_LABEL_VALUE_BYTES_MAX];
    static struct tsdb_label items[TSDB_LABELS_MAX];
    struct tsdb_labels labels = {items, TSDB_LABELS_MAX};
    uint32_t id = 9;
    fixture_init(&f, 26, 1);
    index_disk_close(f.ix);
    tsdb_buf_clear(&f.packed);
    memset(big, 'x', sizeof big);
    for (uint32_t i = 0; i < TSDB_LABELS_MAX; i++) {
        (void)snprintf(names[i], sizeof names[i], "n%04u", i);
        items[i] = (struct tsdb_label){names[i], big, 5, 1 + i * 64};
    }
    items[7].value_len = sizeof big;
    assert_ok(
        index_disk_writer_create((struct paged_sink){paged_memory_write, &f.packed, 0}, &w, &err));
    assert_ok_err(index_disk_writer_series(w, &labels, &err), &err);
    assert_ok_err(index_disk_writer_finish(w, &err), &err);
    index_disk_writer_destroy(w);
    assert_ok_err(file_unpack(&f, &err), &err);
    assert_ok_err(file_open(&f, &err), &err);
    assert_ok_err(index_disk_labels(f.ix, 0, &f.arena, &back, &err), &err);
    assert_true(tsdb_labels_equal(&back, &labels));
    assert_ok_err(index_disk_find(f.ix, &labels, &id, &err), &err);
    assert_int_equal(id, 0);
    assert_ok_err(index_disk_verify(f.ix, &err), &err);
    fixture_deinit(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(index_disk__random_series__read_back),
    cmocka_unit_test(index_disk__no_series__is_empty),
    cmocka_unit_test(index_disk_writer__same_input__same_bytes),
    cmocka_unit_test(index_disk_select__long_postings__as_counted),
    cmocka_unit_test(disk_postings_filter__few_candidates__reads_few_blocks),
    cmocka_unit_test(index_disk_select__random_matchers__as_the_naive_model),
    cmocka_unit_test(index_disk_select__cancelled_request__stops),
    cmocka_unit_test(index_disk_find__labels_near_to_others__not_found),
    cmocka_unit_test(index_disk_values__every_name__sorted_and_complete),
    cmocka_unit_test(index_disk_writer_series__not_canonical_or_not_rising__invalid),
    cmocka_unit_test(index_disk_writer_chunk__empty_or_overlapping__invalid),
    cmocka_unit_test(disk_chunk_put__edge_values__read_back),
    cmocka_unit_test(disk_chunk_put__usual_chunks__few_bytes),
    cmocka_unit_test(index_disk__cut_anywhere__refused),
    cmocka_unit_test(index_disk__hostile_bytes__never_crash),
    cmocka_unit_test(index_disk__every_nth_allocation_fails__nomem_and_no_leak),
    cmocka_unit_test(index_disk_open__other_version_or_magic__refused),
    cmocka_unit_test(index_disk__widest_labels__read_back),
};
TEST_MAIN(tests)
