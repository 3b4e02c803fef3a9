/* Constants of the index that its writer and its reader share. */
#ifndef TOOLS_PROM_PROM_INDEX_PRIVATE_H
#define TOOLS_PROM_PROM_INDEX_PRIVATE_H

#include "tools/prom/index.h"
#include "tools/prom/prom_file_private.h"

#define PROM_INDEX_MAGIC        0xBAAAD700u
#define PROM_INDEX_VERSION      2u
#define PROM_INDEX_VERSION_MAX  3u /* the same layout */
#define PROM_INDEX_HEADER_BYTES 5u
#define PROM_INDEX_SERIES_ALIGN 16u
#define PROM_INDEX_LIST_ALIGN   4u

enum prom_index_part {
    PROM_PART_SYMBOLS = 0,
    PROM_PART_SERIES,
    PROM_PART_LABEL_INDICES,
    PROM_PART_LABEL_OFFSETS,
    PROM_PART_POSTINGS,
    PROM_PART_POSTING_OFFSETS,
    PROM_PART_COUNT
};
#define PROM_INDEX_CONTENTS_BYTES (8u * PROM_PART_COUNT + 4u)

/* Strings and their numbers; numbers are given as they come, and by order after the sort. */
struct prom_string {
    uint32_t at, len; /* in bytes */
};
struct prom_symbols {
    struct tsdb_buf bytes;
    struct prom_string *strings;
    uint32_t count, cap;
    uint32_t *table; /* number + 1, 0 is free; a power of two, at most half full */
    uint32_t table_cap;
};
void prom_symbols_init(struct prom_symbols *s);
void prom_symbols_deinit(struct prom_symbols *s);
enum tsdb_status prom_symbols_add(struct prom_symbols *s, const char *text, size_t len,
                                  struct tsdb_error *err) TSDB_WUR;
void prom_symbols_sort(struct prom_symbols *s);
/* UINT32_MAX: not there. */
uint32_t prom_symbols_find(const struct prom_symbols *s, const char *text, size_t len);

#endif
