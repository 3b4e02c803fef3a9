/* Inside of the index file: for index_disk*.c and tests.
 *
 *   header | chunk groups | their ends | label groups | their ends | symbol groups | their ends
 *          | postings | values | names | table of contents
 *
 *   names[]   fixed size, sorted: symbol, where the name's values begin in values[]
 *   values[]  fixed size, sorted within a name: symbol, number of series, where the postings are
 *   symbols   every name and value once, sorted, so that comparing ids compares strings;
 *             groups of 16
 *   labels    per series (rank of the name, symbol of the value) pairs; groups of 16 series
 *   chunks    per series its chunk headers; groups of 16 series
 *
 * "Ends" are the end of each group in its section, so that one read of 16 bytes finds a group.
 * All integers are little-endian; docs/format/index.md has the bytes.
 */
#ifndef INDEX_DISK_INDEX_DISK_PRIVATE_H
#define INDEX_DISK_INDEX_DISK_PRIVATE_H

#include "base/limits.h"
#include "index/disk/index_disk.h"

#include <string.h>

#define DISK_MAGIC          "TDLINDEX"
#define DISK_TOC_MAGIC      "TDLIXTOC"
#define DISK_MAGIC_BYTES    8
#define DISK_HEADER_BYTES   16
#define DISK_GROUP          16u /* symbols, series per group */
#define DISK_END_BYTES      8u
#define DISK_NAME_BYTES     16u
#define DISK_VALUE_BYTES    16u
#define DISK_POSTINGS_BLOCK 128u
#define DISK_SKIP_BYTES     8u
/* One width byte and 127 differences of at most 28 bits. */
#define DISK_BLOCK_BYTES_MAX (1u + (127u * 28u + 7u) / 8u)
/* The smallest chunk header: flags, two times, length. */
#define DISK_CHUNK_BYTES_MIN 4u
#define DISK_COUNT_EXPECTED  120u /* samples of a series' first chunk; part of the format */
#define DISK_SYMBOLS_MAX     (1u << 30)

/* Table of contents, at the end. */
enum disk_toc_at {
    DISK_TOC_VERSION = 8,
    DISK_TOC_SERIES = 12,
    DISK_TOC_SYMBOLS = 16,
    DISK_TOC_NAMES = 20,
    DISK_TOC_PAIRS = 24,
    DISK_TOC_CHUNKS = 32,
    DISK_TOC_TIME_BASE = 40,
    DISK_TOC_LABELS = 48,
    DISK_TOC_SECTIONS = 56,
};
enum disk_section_id {
    DISK_CHUNK_GROUPS = 0,
    DISK_CHUNK_ENDS,
    DISK_LABEL_GROUPS,
    DISK_LABEL_ENDS,
    DISK_SYMBOL_GROUPS,
    DISK_SYMBOL_ENDS,
    DISK_POSTINGS,
    DISK_VALUES,
    DISK_NAMES,
    DISK_SECTION_COUNT
};
#define DISK_TOC_TOTAL (DISK_TOC_SECTIONS + 8 * DISK_SECTION_COUNT)
#define DISK_TOC_BYTES (DISK_TOC_TOTAL + 8)
static_assert(DISK_TOC_BYTES == 136, "docs/format/index.md says so");

static inline uint32_t disk_groups(uint32_t count)
{
    return count / DISK_GROUP + (count % DISK_GROUP != 0);
}

/* ---- chunk headers (index_disk_chunk.c), both directions ---- */
struct disk_chunk_state { /* between the chunks of one series; zero but for the first two */
    int64_t time_base;
    uint64_t offset_next; /* where the next chunk begins if nothing lies between */
    bool has_previous;
    int64_t max_ms;
    uint64_t span, interval;
    uint32_t count;
    uint64_t last_bits;
};
void disk_chunk_state_init(struct disk_chunk_state *st, int64_t time_base, uint64_t offset);
void disk_chunk_put(struct tsdb_buf *out, struct disk_chunk_state *st,
                    const struct index_disk_chunk *c);
/* False: malformed. Guarantees rising times within the series, count > 0, no overflow. */
bool disk_chunk_get(struct tsdb_reader *r, struct disk_chunk_state *st,
                    struct index_disk_chunk *out);

/* ---- the labels of a series as numbers ---- */
struct disk_labels {
    uint32_t count;
    uint32_t name[TSDB_LABELS_MAX];  /* rank, rising */
    uint32_t value[TSDB_LABELS_MAX]; /* symbol */
};
/* l holds the series before in the group (count 0 for the first) and then this one. */
void disk_labels_put(struct tsdb_buf *out, const struct disk_labels *previous,
                     const struct disk_labels *l);
bool disk_labels_get(struct tsdb_reader *r, struct disk_labels *l, uint32_t name_count,
                     uint32_t symbol_count);

/* ---- the reader ---- */
struct disk_section {
    uint64_t at, bytes;
};
struct index_disk {
    struct paged_source source;
    uint32_t series_count, symbol_count, name_count;
    uint64_t pair_count, chunk_count, label_count;
    int64_t time_base;
    struct disk_section sections[DISK_SECTION_COUNT];
};

/* Memory that grows, with room for what is usual. Reserving keeps the first `keep` bytes. */
struct disk_scratch {
    uint8_t *data;
    size_t cap;
    uint8_t room[1024];
};
void disk_scratch_init(struct disk_scratch *s);
void disk_scratch_deinit(struct disk_scratch *s);
enum tsdb_status disk_scratch_reserve(struct disk_scratch *s, size_t bytes, size_t keep,
                                      struct tsdb_error *err) TSDB_WUR;

enum tsdb_status disk_corrupt(const struct index_disk *ix, enum disk_section_id section,
                              uint64_t offset, const char *what, struct tsdb_error *err);
/* Bytes of a section; CORRUPT beyond its end. */
enum tsdb_status disk_section_read(const struct index_disk *ix, enum disk_section_id section,
                                   uint64_t offset, void *out, size_t len,
                                   struct tsdb_error *err) TSDB_WUR;
/* A whole group; its bytes lie in s->data, r reads them. `ends` is the section after `section`. */
enum tsdb_status disk_group_read(const struct index_disk *ix, enum disk_section_id section,
                                 uint32_t group, struct disk_scratch *s, struct tsdb_reader *r,
                                 struct tsdb_error *err) TSDB_WUR;

/* Walks symbols; going up within a group is cheap. */
struct disk_symbols {
    const struct index_disk *ix;
    uint32_t group; /* UINT32_MAX: none */
    uint32_t next;  /* number in the group of the symbol after `string` */
    uint32_t len;
    struct tsdb_reader r;
    struct disk_scratch bytes;
    struct disk_scratch string; /* the symbol next - 1 */
};
void disk_symbols_init(struct disk_symbols *c, const struct index_disk *ix);
void disk_symbols_deinit(struct disk_symbols *c);
/* c->string.data[c->len] is the symbol. */
enum tsdb_status disk_symbols_at(struct disk_symbols *c, uint32_t symbol,
                                 struct tsdb_error *err) TSDB_WUR;
/* The symbol, or NOT_FOUND without a text. */
enum tsdb_status disk_symbols_find(struct disk_symbols *c, const char *s, size_t len,
                                   uint32_t *out_symbol, struct tsdb_error *err) TSDB_WUR;

struct disk_name {
    uint32_t symbol;
    uint32_t value_count;
    uint64_t value_first; /* in values[] */
};
struct disk_value {
    uint32_t symbol;
    uint32_t series; /* how many */
    uint64_t where;  /* in the postings; series == 1: the id */
};
enum tsdb_status disk_name_at(const struct index_disk *ix, uint32_t rank, struct disk_name *out,
                              struct tsdb_error *err) TSDB_WUR;
/* The rank of a name, or NOT_FOUND without a text. */
enum tsdb_status disk_name_find(struct disk_symbols *c, const char *name, size_t len,
                                uint32_t *out_rank, struct disk_name *out,
                                struct tsdb_error *err) TSDB_WUR;
enum tsdb_status disk_value_at(const struct index_disk *ix, const struct disk_name *name,
                               uint32_t i, struct disk_value *out, struct tsdb_error *err) TSDB_WUR;
/* The value of the name that is this symbol, or NOT_FOUND without a text. */
enum tsdb_status disk_value_find(const struct index_disk *ix, const struct disk_name *name,
                                 uint32_t symbol, struct disk_value *out,
                                 struct tsdb_error *err) TSDB_WUR;

/* Walks the labels of series; going up within a group is cheap. */
struct disk_series {
    const struct index_disk *ix;
    uint32_t group;
    uint32_t next;
    struct tsdb_reader r;
    struct disk_scratch bytes;
    struct disk_labels labels; /* of the series next - 1 */
};
void disk_series_init(struct disk_series *c, const struct index_disk *ix);
void disk_series_deinit(struct disk_series *c);
enum tsdb_status disk_series_at(struct disk_series *c, uint32_t id,
                                struct tsdb_error *err) TSDB_WUR;

/* ---- postings (index_disk_postings.c) ---- */
/* Append the list, count >= 2, to out. */
void disk_postings_put(struct tsdb_buf *out, const uint32_t *ids, uint32_t count);
struct disk_postings {
    const struct index_disk *ix;
    struct disk_value value;
    uint32_t block; /* the one in ids[]; UINT32_MAX: none */
    uint32_t count; /* of ids[] */
    uint32_t ids[DISK_POSTINGS_BLOCK];
};
void disk_postings_init(struct disk_postings *p, const struct index_disk *ix,
                        const struct disk_value *value);
static inline uint32_t disk_postings_blocks(const struct disk_postings *p)
{
    return p->value.series / DISK_POSTINGS_BLOCK + (p->value.series % DISK_POSTINGS_BLOCK != 0);
}
/* Decode a block into p->ids: rising, below series_count. */
enum tsdb_status disk_postings_load(struct disk_postings *p, uint32_t block,
                                    struct tsdb_error *err) TSDB_WUR;
/* All ids; out has room for value.series. */
enum tsdb_status disk_postings_all(struct disk_postings *p, uint32_t *out,
                                   struct tsdb_error *err) TSDB_WUR;
/* Keep those of ids[*count] that are in the list (keep) or that are not, in place: only the blocks
 * are read that may hold one of them. */
enum tsdb_status disk_postings_filter(struct disk_postings *p, bool keep, uint32_t *ids,
                                      uint32_t *count, struct tsdb_error *err) TSDB_WUR;

#endif
