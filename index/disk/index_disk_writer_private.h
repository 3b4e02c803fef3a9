/* Inside of the writer: what index_disk_writer.c collects and index_disk_finish.c writes. */
#ifndef INDEX_DISK_INDEX_DISK_WRITER_PRIVATE_H
#define INDEX_DISK_INDEX_DISK_WRITER_PRIVATE_H

#include "base/hash.h"
#include "index/disk/index_disk_private.h"

/* An array of fixed-size elements that grows. */
struct writer_array {
    void *data;
    size_t count, cap;
    uint32_t bytes_each;
};

struct writer_symbol {
    const char *s; /* in the arena */
    uint32_t len;
    uint32_t hash;
    bool is_name;
};
struct writer_pair {
    uint32_t name;  /* symbol; while writing: rank of the name */
    uint32_t value; /* symbol; while writing: rank of the symbol */
    uint32_t series;
};
/* Open addressing; a slot holds an id + 1. */
struct writer_slots {
    uint32_t *slots;
    uint32_t mask;
    uint32_t used;
};

struct index_disk_writer {
    struct paged_writer out;
    struct tsdb_hash_key key;
    struct tsdb_arena strings;
    struct writer_array symbols; /* struct writer_symbol */
    struct writer_array pairs;   /* struct writer_pair */
    struct writer_slots symbol_slots, pair_slots;
    struct writer_array label_pairs;  /* u32 pair of every label of every series, in order */
    struct writer_array label_counts; /* u16 per series */
    struct writer_array chunk_ends;   /* u64, one per group */
    struct tsdb_buf group;            /* the chunk group that is being filled */
    struct tsdb_buf chunks;           /* the chunks of the last series */
    uint32_t chunk_count;             /* of the last series */
    uint64_t chunk_total;
    struct disk_chunk_state state; /* of the last series */
    int64_t time_base;             /* the first chunk's begin */
    bool group_begun;              /* it has a chunk */
    uint64_t group_offset;         /* of the group's first chunk; 0: it has none */
    uint64_t sections[DISK_SECTION_COUNT];
};

static inline struct writer_symbol *writer_symbols(const struct index_disk_writer *w)
{
    return w->symbols.data;
}
static inline struct writer_pair *writer_pairs(const struct index_disk_writer *w)
{
    return w->pairs.data;
}
/* Room for one more element, or NULL. */
void *writer_array_push(struct writer_array *a);
void writer_array_deinit(struct writer_array *a);
/* Write what the last series' chunks and the group are, if the group is full or `last`. */
enum tsdb_status writer_group_close(struct index_disk_writer *w, bool last, struct tsdb_error *err);

#endif
