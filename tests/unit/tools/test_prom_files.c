/* Chunk files, index and tombstones, each alone, on the simulated disk. */
#include "tests/support/test.h"

#include "base/file.h"
#include "base/random.h"
#include "tools/prom/index.h"
#include "tools/prom/prom_file_private.h"
#include "tools/prom/segments.h"
#include "tools/prom/tombstones.h"

#include <stdio.h>

static struct tsdb_fs fs;
static struct tsdb_fs_sim *sim;

static int with_disk(void **state)
{
    (void)state;
    return tsdb_fs_sim_create(1, &sim, &fs) != TSDB_OK;
}

static int without_disk(void **state)
{
    (void)state;
    tsdb_fs_sim_destroy(sim);
    return 0;
}

static void put_file(const char *path, const void *data, size_t len)
{
    struct tsdb_file *f;
    assert_ok(fs.ops->open(fs.ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE,
                           &f, NULL));
    if (len > 0) {
        assert_ok(fs.ops->pwrite(fs.ctx, f, data, len, 0, NULL));
    }
    fs.ops->close(fs.ctx, f);
}

static uint8_t *get_file(const char *path, size_t *len)
{
    uint8_t *data = NULL;
    assert_ok(tsdb_file_read_all(&fs, path, 1u << 28, TSDB_MEM_OTHER, &data, len, NULL));
    return data;
}

/* ---- segments ---- */
#define CHUNKS 3000

static size_t chunk_make(uint32_t i, uint8_t *out)
{
    size_t len = i % 97 == 0 ? 5000 : i % 200;
    for (size_t k = 0; k < len; k++) {
        out[k] = (uint8_t)(i * 31 + k);
    }
    return len;
}

static void prom_segments_read__what_was_appended__over_several_files(void **state)
{
    (void)state;
    static uint64_t refs[CHUNKS];
    uint8_t want[5000];
    struct prom_segments_writer *w;
    struct prom_segments *s;
    struct tsdb_error err;
    assert_ok(prom_segments_writer_create(&fs, "chunks", 60000, &w, NULL));
    for (uint32_t i = 0; i < CHUNKS; i++) {
        size_t len = chunk_make(i, want);
        assert_ok(prom_segments_append(w, (uint8_t)(i % 7), want, len, &refs[i], NULL));
        assert_true(i == 0 || refs[i] > refs[i - 1]);
    }
    assert_ok(prom_segments_finish(w, NULL));
    prom_segments_writer_destroy(w);
    assert_true(refs[CHUNKS - 1] >> 32 >= 5);
    put_file("chunks/README", "x", 1); /* others' files do no harm */
    assert_ok_err(prom_segments_open(&fs, "chunks", &s, &err), &err);
    for (uint32_t k = 0; k < CHUNKS; k++) {
        uint32_t i = k % 2 ? k : CHUNKS - 1 - k;
        struct tsdb_slice got;
        uint8_t encoding;
        size_t len = chunk_make(i, want);
        assert_ok_err(prom_segments_read(s, refs[i], &encoding, &got, &err), &err);
        assert_int_equal(encoding, i % 7);
        assert_int_equal(got.len, len);
        assert_memory_equal(got.data, want, len);
    }
    static const uint64_t nobodys[] = {0, 7, 59999, UINT64_C(1) << 32, UINT64_MAX};
    for (size_t i = 0; i < sizeof nobodys / sizeof nobodys[0]; i++) {
        struct tsdb_slice got;
        uint8_t encoding;
        assert_int_equal(prom_segments_read(s, nobodys[i], &encoding, &got, &err), TSDB_CORRUPT);
    }
    prom_segments_close(s);
}

static void prom_segments_read__flipped_bits__corrupt(void **state)
{
    (void)state;
    struct prom_segments_writer *w;
    uint64_t ref;
    size_t len;
    assert_ok(prom_segments_writer_create(&fs, "chunks", 4096, &w, NULL));
    assert_ok(prom_segments_append(w, 1, (const uint8_t *)"abcdefgh", 8, &ref, NULL));
    assert_ok(prom_segments_finish(w, NULL));
    prom_segments_writer_destroy(w);
    uint8_t *data = get_file("chunks/000001", &len);
    assert_int_equal(len, 8 + 1 + 1 + 8 + 4);
    for (size_t bit = 0; bit < 8 * len; bit++) {
        struct prom_segments *s;
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        put_file("chunks/000001", data, len);
        enum tsdb_status status = prom_segments_open(&fs, "chunks", &s, NULL);
        if (bit < 40) {
            assert_int_equal(status, bit < 32 ? TSDB_CORRUPT : TSDB_UNSUPPORTED);
        } else {
            struct tsdb_slice got;
            uint8_t encoding;
            assert_ok(status);
            status = prom_segments_read(s, ref, &encoding, &got, NULL);
            assert_int_equal(status, bit < 64 ? TSDB_OK : TSDB_CORRUPT); /* reserved bytes */
            prom_segments_close(s);
        }
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

/* ---- index ---- */
#define SERIES 2000

struct made {
    char text[4][32];
    struct tsdb_label items[4];
    struct tsdb_labels labels;
    struct prom_chunk_place places[3];
    uint32_t count;
};

static void series_make(uint32_t i, struct made *m)
{
    snprintf(m->text[0], sizeof m->text[0], "up_%03u", i / 100);
    snprintf(m->text[1], sizeof m->text[1], "h%02u", i / 10 % 10);
    snprintf(m->text[2], sizeof m->text[2], "%u", i % 10);
    m->items[0] = tsdb_label_make("__name__", m->text[0]);
    m->items[1] = tsdb_label_make("host", m->text[1]);
    m->items[2] = tsdb_label_make("n", m->text[2]);
    m->labels = (struct tsdb_labels){m->items, 3};
    m->count = 1 + i % 3;
    for (uint32_t k = 0; k < m->count; k++) {
        m->places[k] = (struct prom_chunk_place){-1000000 + 100000 * (int64_t)k,
                                                 -1000000 + 100000 * (int64_t)k + i % 7,
                                                 (uint64_t)(k % 2) << 32 | (8 + 100 * i + k)};
    }
}

static void index_make(const char *path, uint32_t n)
{
    struct prom_index_writer *w;
    struct tsdb_error err;
    struct made m;
    assert_ok(prom_index_writer_create(&fs, path, &w, NULL));
    for (uint32_t i = n; i-- > 0;) {
        series_make(i, &m);
        assert_ok(prom_index_writer_symbols(w, &m.labels, NULL));
    }
    for (uint32_t i = 0; i < n; i++) {
        series_make(i, &m);
        assert_ok_err(prom_index_writer_series(w, &m.labels, m.places, m.count, &err), &err);
    }
    assert_ok_err(prom_index_writer_finish(w, &err), &err);
    prom_index_writer_destroy(w);
}

static void prom_index_next__what_was_written__in_order(void **state)
{
    (void)state;
    struct prom_index *x;
    struct tsdb_arena arena;
    struct tsdb_error err;
    struct prom_series s;
    struct made m;
    index_make("index", SERIES);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    assert_ok_err(prom_index_open(&fs, "index", &x, &err), &err);
    assert_int_equal(prom_index_series_count(x), SERIES);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < SERIES; i++) {
            tsdb_arena_reset(&arena);
            series_make(i, &m);
            assert_ok_err(prom_index_next(x, &arena, &s, &err), &err);
            assert_true(tsdb_labels_equal(&s.labels, &m.labels));
            assert_int_equal(s.chunk_count, m.count);
            assert_memory_equal(s.chunks, m.places, m.count * sizeof m.places[0]);
        }
        assert_int_equal(prom_index_next(x, &arena, &s, &err), TSDB_NOT_FOUND);
        prom_index_rewind(x);
    }
    prom_index_close(x);
    tsdb_arena_deinit(&arena);
}

/* Every list and its place in the table, read by hand: what a Prometheus will look up. */
static void prom_index_writer_finish__postings__of_every_pair(void **state)
{
    (void)state;
    size_t len;
    uint32_t pairs = 0, ids = 0;
    index_make("index", 300);
    uint8_t *data = get_file("index", &len);
    uint64_t table = prom_load_be64(data + len - 12);
    struct tsdb_reader r;
    tsdb_reader_init(&r, data + table + 4, prom_load_be32(data + table));
    uint32_t entries = __builtin_bswap32(tsdb_reader_le32(&r));
    char before[128] = "";
    for (; tsdb_reader_left(&r) > 0; pairs++) {
        char now[128];
        assert_int_equal(tsdb_reader_uvarint(&r), 2);
        struct tsdb_slice name = tsdb_reader_bytes(&r, (size_t)tsdb_reader_uvarint(&r));
        struct tsdb_slice value = tsdb_reader_bytes(&r, (size_t)tsdb_reader_uvarint(&r));
        const uint8_t *list = data + tsdb_reader_uvarint(&r);
        assert_false(r.failed);
        snprintf(now, sizeof now, "%.*s\x01%.*s", (int)name.len, (const char *)name.data,
                 (int)value.len, (const char *)value.data);
        assert_true(strcmp(now, before) > 0);
        memcpy(before, now, sizeof now);
        uint32_t count = prom_load_be32(list + 4), last = 0;
        assert_int_equal(prom_load_be32(list), 4 + 4 * count);
        assert_int_equal((uintptr_t)(list - data) % 4, 0);
        for (uint32_t i = 0; i < count; i++, ids++) {
            uint32_t id = prom_load_be32(list + 8 + 4 * (size_t)i);
            assert_true(id > last);
            last = id;
        }
        assert_true(name.len > 0 || count == 300);
    }
    assert_int_equal(pairs, entries);
    assert_int_equal(pairs, 1 + 3 + 10 + 10); /* all; 3 names, 10 hosts, 10 numbers */
    assert_int_equal(ids, 4 * 300);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

static void prom_index_writer_series__wrong_order_or_unknown__invalid(void **state)
{
    (void)state;
    struct prom_index_writer *w;
    struct made m, other;
    assert_ok(prom_index_writer_create(&fs, "index", &w, NULL));
    series_make(5, &m);
    assert_ok(prom_index_writer_symbols(w, &m.labels, NULL));
    series_make(4, &other);
    assert_ok(prom_index_writer_symbols(w, &other.labels, NULL));
    assert_ok(prom_index_writer_series(w, &m.labels, m.places, 1, NULL));
    assert_int_equal(prom_index_writer_series(w, &m.labels, m.places, 1, NULL), TSDB_INVALID);
    assert_int_equal(prom_index_writer_series(w, &other.labels, m.places, 1, NULL), TSDB_INVALID);
    series_make(199, &other);
    assert_int_equal(prom_index_writer_series(w, &other.labels, m.places, 1, NULL), TSDB_INVALID);
    series_make(5, &m);
    m.labels.count = 2;
    assert_int_equal(prom_index_writer_series(w, &m.labels, m.places, 1, NULL), TSDB_INVALID);
    prom_index_writer_destroy(w);
}

static void prom_index_writer_series__chunks_overlap__invalid(void **state)
{
    (void)state;
    struct prom_index_writer *w;
    struct made m;
    struct prom_chunk_place places[2] = {{0, 10, 8}, {10, 20, 9}};
    assert_ok(prom_index_writer_create(&fs, "index", &w, NULL));
    series_make(5, &m);
    assert_ok(prom_index_writer_symbols(w, &m.labels, NULL));
    assert_int_equal(prom_index_writer_series(w, &m.labels, places, 2, NULL), TSDB_INVALID);
    places[1] = (struct prom_chunk_place){30, 20, 9};
    assert_int_equal(prom_index_writer_series(w, &m.labels, places, 2, NULL), TSDB_INVALID);
    prom_index_writer_destroy(w);
}

static enum tsdb_status read_whole(const char *path)
{
    struct prom_index *x;
    struct tsdb_arena arena;
    struct prom_series s;
    enum tsdb_status status = prom_index_open(&fs, path, &x, NULL);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    while ((status = prom_index_next(x, &arena, &s, NULL)) == TSDB_OK) {
        tsdb_arena_reset(&arena);
    }
    tsdb_arena_deinit(&arena);
    prom_index_close(x);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

/* Cut anywhere, or with a byte changed: refused, unless it is padding or a list that is not read. */
static void prom_index_open__damaged__corrupt(void **state)
{
    (void)state;
    size_t len;
    uint32_t survived = 0;
    index_make("index", 20);
    uint8_t *data = get_file("index", &len);
    for (size_t cut = 0; cut < len; cut += 1 + cut / 50) {
        put_file("cut", data, cut);
        assert_int_equal(read_whole("cut"), TSDB_CORRUPT);
    }
    for (size_t at = 0; at < len; at++) {
        data[at] ^= 0x10;
        put_file("cut", data, len);
        enum tsdb_status status = read_whole("cut");
        assert_true(status == TSDB_CORRUPT || status == TSDB_OK ||
                    (at == 4 && status == TSDB_UNSUPPORTED));
        survived += status == TSDB_OK;
        data[at] ^= 0x10;
    }
    assert_true(survived < len / 2);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

/* ---- tombstones ---- */
static void prom_tombstones_has__written__intervals_closed(void **state)
{
    (void)state;
    static const struct prom_tombstone items[] = {
        {9, 50, 60}, {7, -100, 5}, {7, 0, 20}, {7, 30, 30}, {7, 100, INT64_MAX}};
    struct prom_tombstones t;
    assert_ok(prom_tombstones_write(&fs, "tombstones", items, 5, NULL));
    assert_ok(prom_tombstones_read(&fs, "tombstones", &t, NULL));
    assert_int_equal(t.count, 4);
    static const int64_t deleted[] = {-100, 0, 5, 6, 20, 30, 100, INT64_MAX};
    static const int64_t there[] = {INT64_MIN, -101, 21, 29, 31, 99};
    for (size_t i = 0; i < 8; i++) {
        assert_true(prom_tombstones_has(&t, 7, deleted[i]));
    }
    for (size_t i = 0; i < 6; i++) {
        assert_false(prom_tombstones_has(&t, 7, there[i]));
    }
    assert_false(prom_tombstones_has(&t, 8, 55));
    assert_true(prom_tombstones_has(&t, 9, 55));
    assert_false(prom_tombstones_has(&t, 6, 55));
    prom_tombstones_deinit(&t);
}

static void prom_tombstones_read__missing_or_empty__none(void **state)
{
    (void)state;
    static const uint8_t empty[] = {0x01, 0x30, 0xba, 0x30, 1, 0, 0, 0, 0};
    struct prom_tombstones t;
    size_t len;
    assert_ok(prom_tombstones_read(&fs, "nothing", &t, NULL));
    assert_int_equal(t.count, 0);
    assert_ok(prom_tombstones_write(&fs, "tombstones", NULL, 0, NULL));
    uint8_t *data = get_file("tombstones", &len);
    assert_int_equal(len, sizeof empty);
    assert_memory_equal(data, empty, len);
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
    assert_ok(prom_tombstones_read(&fs, "tombstones", &t, NULL));
    assert_int_equal(t.count, 0);
    prom_tombstones_deinit(&t);
}

static void prom_tombstones_read__damaged__corrupt(void **state)
{
    (void)state;
    static const struct prom_tombstone items[] = {{9, 50, 60}, {1000, -100, 5}};
    struct prom_tombstones t;
    size_t len;
    assert_ok(prom_tombstones_write(&fs, "tombstones", items, 2, NULL));
    uint8_t *data = get_file("tombstones", &len);
    for (size_t at = 0; at < len; at++) {
        put_file("bad", data, at);
        assert_int_equal(prom_tombstones_read(&fs, "bad", &t, NULL), TSDB_CORRUPT);
        data[at] ^= 0x40;
        put_file("bad", data, len);
        assert_int_equal(prom_tombstones_read(&fs, "bad", &t, NULL),
                         at == 4 ? TSDB_UNSUPPORTED : TSDB_CORRUPT);
        data[at] ^= 0x40;
    }
    tsdb_mem_free(TSDB_MEM_OTHER, data, len);
}

#define T(name) cmocka_unit_test_setup_teardown(name, with_disk, without_disk)
static const struct CMUnitTest tests[] = {
    T(prom_segments_read__what_was_appended__over_several_files),
    T(prom_segments_read__flipped_bits__corrupt),
    T(prom_index_next__what_was_written__in_order),
    T(prom_index_writer_finish__postings__of_every_pair),
    T(prom_index_writer_series__wrong_order_or_unknown__invalid),
    T(prom_index_writer_series__chunks_overlap__invalid),
    T(prom_index_open__damaged__corrupt),
    T(prom_tombstones_has__written__intervals_closed),
    T(prom_tombstones_read__missing_or_empty__none),
    T(prom_tombstones_read__damaged__corrupt),
};
TEST_MAIN(tests)
