/* Reading the index file: opening, groups, symbols, names and values, labels and chunks of a
 * series. Every offset and count is checked against its section before it is used. */
#include "index/disk/index_disk_private.h"

#include "base/assert.h"
#include "model/version.h"

#include <inttypes.h>

static const char *const section_names[DISK_SECTION_COUNT] = {
    "chunks",      "chunk ends", "labels", "label ends", "symbols",
    "symbol ends", "postings",   "values", "names"};

enum tsdb_status disk_corrupt(const struct index_disk *ix, enum disk_section_id section,
                              uint64_t offset, const char *what, struct tsdb_error *err)
{
    return tsdb_error_set_at(err, TSDB_CORRUPT, ix->sections[section].at + offset,
                             "index, %s at %" PRIu64 ": %s", section_names[section], offset, what);
}

enum tsdb_status disk_section_read(const struct index_disk *ix, enum disk_section_id section,
                                   uint64_t offset, void *out, size_t len, struct tsdb_error *err)
{
    const struct disk_section *s = &ix->sections[section];
    if (offset > s->bytes || len > s->bytes - offset) {
        return disk_corrupt(ix, section, offset, "points beyond the end of its section", err);
    }
    return paged_read(&ix->source, s->at + offset, out, len, err);
}

/* ---- scratch memory ---- */

void disk_scratch_init(struct disk_scratch *s)
{
    s->data = s->room;
    s->cap = sizeof s->room;
}

void disk_scratch_deinit(struct disk_scratch *s)
{
    if (s->data != s->room) {
        tsdb_mem_free(TSDB_MEM_QUERY, s->data, s->cap);
    }
    disk_scratch_init(s);
}

enum tsdb_status disk_scratch_reserve(struct disk_scratch *s, size_t bytes, size_t keep,
                                      struct tsdb_error *err)
{
    if (bytes <= s->cap) {
        return TSDB_OK;
    }
    size_t cap = bytes + bytes / 2;
    uint8_t *data = tsdb_mem_alloc(TSDB_MEM_QUERY, cap);
    if (!data) {
        return tsdb_error_nomem(err, "a part of the index");
    }
    memcpy(data, s->data, keep);
    disk_scratch_deinit(s);
    s->data = data;
    s->cap = cap;
    return TSDB_OK;
}

/* ---- open ---- */

enum tsdb_status index_disk_version_check(const uint8_t *data, size_t len, struct tsdb_error *err)
{
    if (len < DISK_HEADER_BYTES || memcmp(data, DISK_MAGIC, DISK_MAGIC_BYTES) != 0) {
        return tsdb_error_set(err, TSDB_CORRUPT, "index: does not begin as an index does");
    }
    uint32_t version = tsdb_load_le32(data + DISK_MAGIC_BYTES);
    if (version != TSDB_FORMAT_INDEX) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED,
                              "index: format version %u; this version knows %d", version,
                              TSDB_FORMAT_INDEX);
    }
    return TSDB_OK;
}

static enum tsdb_status header_read(const struct paged_source *source, struct tsdb_error *err)
{
    uint8_t h[DISK_HEADER_BYTES];
    enum tsdb_status status = paged_read(source, 0, h, sizeof h, err);
    if (status != TSDB_OK) {
        return status;
    }
    return index_disk_version_check(h, sizeof h, err);
}

/* Sections follow each other from the header to the table of contents. */
static bool sections_load(struct index_disk *ix, const uint8_t *toc, uint64_t end)
{
    uint64_t at = DISK_HEADER_BYTES;
    for (uint32_t i = 0; i < DISK_SECTION_COUNT; i++) {
        uint64_t from = tsdb_load_le64(toc + DISK_TOC_SECTIONS + (size_t)8 * i);
        uint64_t to = i + 1 == DISK_SECTION_COUNT
                          ? end
                          : tsdb_load_le64(toc + DISK_TOC_SECTIONS + (size_t)8 * (i + 1));
        if (from != at || to < from || to > end) {
            return false;
        }
        ix->sections[i] = (struct disk_section){from, to - from};
        at = to;
    }
    return true;
}

static bool counts_fit(const struct index_disk *ix)
{
    const struct disk_section *s = ix->sections;
    return ix->series_count <= INDEX_DISK_SERIES_MAX && ix->symbol_count <= DISK_SYMBOLS_MAX &&
           s[DISK_CHUNK_ENDS].bytes == (uint64_t)disk_groups(ix->series_count) * DISK_END_BYTES &&
           s[DISK_LABEL_ENDS].bytes == (uint64_t)disk_groups(ix->series_count) * DISK_END_BYTES &&
           s[DISK_SYMBOL_ENDS].bytes == (uint64_t)disk_groups(ix->symbol_count) * DISK_END_BYTES &&
           s[DISK_VALUES].bytes % DISK_VALUE_BYTES == 0 &&
           s[DISK_VALUES].bytes / DISK_VALUE_BYTES == ix->pair_count &&
           s[DISK_NAMES].bytes == (uint64_t)ix->name_count * DISK_NAME_BYTES;
}

static enum tsdb_status toc_read(struct index_disk *ix, struct tsdb_error *err)
{
    uint8_t toc[DISK_TOC_BYTES];
    uint64_t bytes = ix->source.bytes;
    if (bytes < DISK_HEADER_BYTES + sizeof toc) {
        return tsdb_error_set(err, TSDB_CORRUPT, "index: %" PRIu64 " bytes are too few", bytes);
    }
    enum tsdb_status status = paged_read(&ix->source, bytes - sizeof toc, toc, sizeof toc, err);
    if (status != TSDB_OK) {
        return status;
    }
    ix->series_count = tsdb_load_le32(toc + DISK_TOC_SERIES);
    ix->symbol_count = tsdb_load_le32(toc + DISK_TOC_SYMBOLS);
    ix->name_count = tsdb_load_le32(toc + DISK_TOC_NAMES);
    ix->pair_count = tsdb_load_le64(toc + DISK_TOC_PAIRS);
    ix->chunk_count = tsdb_load_le64(toc + DISK_TOC_CHUNKS);
    ix->time_base = (int64_t)tsdb_load_le64(toc + DISK_TOC_TIME_BASE);
    ix->label_count = tsdb_load_le64(toc + DISK_TOC_LABELS);
    if (memcmp(toc, DISK_TOC_MAGIC, DISK_MAGIC_BYTES) != 0 ||
        tsdb_load_le32(toc + DISK_TOC_VERSION) != TSDB_FORMAT_INDEX ||
        tsdb_load_le64(toc + DISK_TOC_TOTAL) != bytes ||
        !sections_load(ix, toc, bytes - sizeof toc) || !counts_fit(ix)) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, bytes - sizeof toc,
                                 "index: the table of contents contradicts the file");
    }
    return TSDB_OK;
}

enum tsdb_status index_disk_open(struct paged_source source, struct index_disk **out,
                                 struct tsdb_error *err)
{
    struct index_disk *ix = tsdb_mem_alloc_zero(TSDB_MEM_INDEX, sizeof *ix);
    if (!ix) {
        return tsdb_error_nomem(err, "an index");
    }
    ix->source = source;
    enum tsdb_status status = header_read(&source, err);
    if (status == TSDB_OK) {
        status = toc_read(ix, err);
    }
    if (status != TSDB_OK) {
        index_disk_close(ix);
        return status;
    }
    *out = ix;
    return TSDB_OK;
}

void index_disk_close(struct index_disk *ix)
{
    tsdb_mem_free(TSDB_MEM_INDEX, ix, sizeof *ix);
}

uint32_t index_disk_series_count(const struct index_disk *ix)
{
    return ix->series_count;
}

void index_disk_stats(const struct index_disk *ix, struct index_disk_stats *out)
{
    const struct disk_section *s = ix->sections;
    *out = (struct index_disk_stats){
        .series = ix->series_count,
        .symbols = ix->symbol_count,
        .names = ix->name_count,
        .label_pairs = ix->pair_count,
        .labels = ix->label_count,
        .chunks = ix->chunk_count,
        .chunk_bytes = s[DISK_CHUNK_GROUPS].bytes + s[DISK_CHUNK_ENDS].bytes,
        .label_bytes = s[DISK_LABEL_GROUPS].bytes + s[DISK_LABEL_ENDS].bytes,
        .symbol_bytes = s[DISK_SYMBOL_GROUPS].bytes + s[DISK_SYMBOL_ENDS].bytes,
        .postings_bytes = s[DISK_POSTINGS].bytes,
        .value_bytes = s[DISK_VALUES].bytes + s[DISK_NAMES].bytes};
}

/* ---- groups ---- */

enum tsdb_status disk_group_read(const struct index_disk *ix, enum disk_section_id section,
                                 uint32_t group, struct disk_scratch *s, struct tsdb_reader *r,
                                 struct tsdb_error *err)
{
    uint8_t ends[2 * DISK_END_BYTES] = {0};
    enum disk_section_id ends_id = section + 1;
    uint32_t before = group > 0;
    enum tsdb_status status = disk_section_read(
        ix, ends_id, (uint64_t)(group - before) * DISK_END_BYTES,
        ends + (before ? 0 : DISK_END_BYTES), (before + 1) * (size_t)DISK_END_BYTES, err);
    if (status != TSDB_OK) {
        return status;
    }
    uint64_t from = tsdb_load_le64(ends);
    uint64_t to = tsdb_load_le64(ends + DISK_END_BYTES);
    if (from > to || to > ix->sections[section].bytes) {
        return disk_corrupt(ix, ends_id, (uint64_t)group * DISK_END_BYTES,
                            "a group ends before it begins or beyond its section", err);
    }
    status = disk_scratch_reserve(s, (size_t)(to - from), 0, err);
    if (status == TSDB_OK) {
        status = disk_section_read(ix, section, from, s->data, (size_t)(to - from), err);
    }
    tsdb_reader_init(r, s->data, status == TSDB_OK ? (size_t)(to - from) : 0);
    return status;
}

/* ---- symbols ---- */

void disk_symbols_init(struct disk_symbols *c, const struct index_disk *ix)
{
    c->ix = ix;
    c->group = UINT32_MAX;
    c->next = 0;
    c->len = 0;
    disk_scratch_init(&c->bytes);
    disk_scratch_init(&c->string);
}

void disk_symbols_deinit(struct disk_symbols *c)
{
    disk_scratch_deinit(&c->bytes);
    disk_scratch_deinit(&c->string);
}

static enum tsdb_status symbol_next(struct disk_symbols *c, struct tsdb_error *err)
{
    uint64_t shared = c->next == 0 ? 0 : tsdb_reader_uvarint(&c->r);
    uint64_t rest = tsdb_reader_uvarint(&c->r);
    if (c->r.failed || shared > c->len || rest > TSDB_LABEL_VALUE_BYTES_MAX - shared ||
        rest > tsdb_reader_left(&c->r)) {
        c->group = UINT32_MAX;
        return disk_corrupt(c->ix, DISK_SYMBOL_GROUPS, 0, "a symbol is malformed", err);
    }
    enum tsdb_status status =
        disk_scratch_reserve(&c->string, (size_t)(shared + rest), (size_t)shared, err);
    if (status != TSDB_OK) {
        c->group = UINT32_MAX;
        return status;
    }
    struct tsdb_slice bytes = tsdb_reader_bytes(&c->r, (size_t)rest);
    if (bytes.len > 0) {
        memcpy(c->string.data + shared, bytes.data, bytes.len);
    }
    c->len = (uint32_t)(shared + rest);
    c->next++;
    return TSDB_OK;
}

enum tsdb_status disk_symbols_at(struct disk_symbols *c, uint32_t symbol, struct tsdb_error *err)
{
    uint32_t group = symbol / DISK_GROUP;
    uint32_t i = symbol % DISK_GROUP;
    if (symbol >= c->ix->symbol_count) {
        return disk_corrupt(c->ix, DISK_SYMBOL_GROUPS, 0, "a symbol is beyond the last", err);
    }
    if (group != c->group || i + 1 < c->next) {
        c->group = UINT32_MAX;
        c->next = 0;
        c->len = 0;
        enum tsdb_status status =
            disk_group_read(c->ix, DISK_SYMBOL_GROUPS, group, &c->bytes, &c->r, err);
        if (status != TSDB_OK) {
            return status;
        }
        c->group = group;
    }
    while (c->next <= i) {
        enum tsdb_status status = symbol_next(c, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
    return TSDB_OK;
}

static int symbol_compare(const struct disk_symbols *c, const char *s, size_t len)
{
    return tsdb_str_compare((const char *)c->string.data, c->len, s, len);
}

enum tsdb_status disk_symbols_find(struct disk_symbols *c, const char *s, size_t len,
                                   uint32_t *out_symbol, struct tsdb_error *err)
{
    uint32_t low = 0; /* the last group that begins at or below s is >= low, < high */
    uint32_t high = disk_groups(c->ix->symbol_count);
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        enum tsdb_status status = disk_symbols_at(c, mid * DISK_GROUP, err);
        if (status != TSDB_OK) {
            return status;
        }
        *(symbol_compare(c, s, len) <= 0 ? &low : &high) = mid;
    }
    uint32_t end = TSDB_MIN(c->ix->symbol_count, (low + 1) * DISK_GROUP);
    for (uint32_t symbol = low * DISK_GROUP; symbol < end; symbol++) {
        enum tsdb_status status = disk_symbols_at(c, symbol, err);
        if (status != TSDB_OK) {
            return status;
        }
        int order = symbol_compare(c, s, len);
        if (order == 0) {
            *out_symbol = symbol;
            return TSDB_OK;
        }
        if (order > 0) {
            break;
        }
    }
    return TSDB_NOT_FOUND;
}

/* ---- names and values ---- */

enum tsdb_status disk_name_at(const struct index_disk *ix, uint32_t rank, struct disk_name *out,
                              struct tsdb_error *err)
{
    uint8_t raw[DISK_NAME_BYTES];
    uint64_t at = (uint64_t)rank * DISK_NAME_BYTES;
    enum tsdb_status status = disk_section_read(ix, DISK_NAMES, at, raw, sizeof raw, err);
    if (status != TSDB_OK) {
        return status;
    }
    *out =
        (struct disk_name){tsdb_load_le32(raw), tsdb_load_le32(raw + 4), tsdb_load_le64(raw + 8)};
    if (out->symbol >= ix->symbol_count || out->value_count == 0 ||
        out->value_first > ix->pair_count || out->value_count > ix->pair_count - out->value_first) {
        return disk_corrupt(ix, DISK_NAMES, at, "a name has impossible values", err);
    }
    return TSDB_OK;
}

enum tsdb_status disk_name_find(struct disk_symbols *c, const char *name, size_t len,
                                uint32_t *out_rank, struct disk_name *out, struct tsdb_error *err)
{
    uint32_t low = 0;
    uint32_t high = c->ix->name_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        struct disk_name n;
        enum tsdb_status status = disk_name_at(c->ix, mid, &n, err);
        if (status == TSDB_OK) {
            status = disk_symbols_at(c, n.symbol, err);
        }
        if (status != TSDB_OK) {
            return status;
        }
        int order = symbol_compare(c, name, len);
        if (order == 0) {
            *out_rank = mid;
            *out = n;
            return TSDB_OK;
        }
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return TSDB_NOT_FOUND;
}

enum tsdb_status disk_value_at(const struct index_disk *ix, const struct disk_name *name,
                               uint32_t i, struct disk_value *out, struct tsdb_error *err)
{
    uint8_t raw[DISK_VALUE_BYTES];
    uint64_t at = (name->value_first + i) * DISK_VALUE_BYTES;
    enum tsdb_status status = disk_section_read(ix, DISK_VALUES, at, raw, sizeof raw, err);
    if (status != TSDB_OK) {
        return status;
    }
    *out =
        (struct disk_value){tsdb_load_le32(raw), tsdb_load_le32(raw + 4), tsdb_load_le64(raw + 8)};
    if (out->symbol >= ix->symbol_count || out->series == 0 || out->series > ix->series_count ||
        (out->series == 1 ? out->where >= ix->series_count
                          : out->where > ix->sections[DISK_POSTINGS].bytes)) {
        return disk_corrupt(ix, DISK_VALUES, at, "a value has impossible postings", err);
    }
    return TSDB_OK;
}

enum tsdb_status disk_value_find(const struct index_disk *ix, const struct disk_name *name,
                                 uint32_t symbol, struct disk_value *out, struct tsdb_error *err)
{
    uint32_t low = 0;
    uint32_t high = name->value_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        struct disk_value v;
        enum tsdb_status status = disk_value_at(ix, name, mid, &v, err);
        if (status != TSDB_OK) {
            return status;
        }
        if (v.symbol == symbol) {
            *out = v;
            return TSDB_OK;
        }
        if (v.symbol < symbol) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return TSDB_NOT_FOUND;
}

enum tsdb_status index_disk_names(const struct index_disk *ix, index_disk_string_fn fn, void *arg,
                                  struct tsdb_error *err)
{
    struct disk_symbols c;
    enum tsdb_status status = TSDB_OK;
    bool more = true;
    disk_symbols_init(&c, ix);
    for (uint32_t rank = 0; rank < ix->name_count && more && status == TSDB_OK; rank++) {
        struct disk_name n;
        status = disk_name_at(ix, rank, &n, err);
        if (status == TSDB_OK) {
            status = disk_symbols_at(&c, n.symbol, err);
        }
        more = status == TSDB_OK && fn(arg, (const char *)c.string.data, c.len);
    }
    disk_symbols_deinit(&c);
    return status;
}

enum tsdb_status index_disk_values(const struct index_disk *ix, const char *name, uint32_t name_len,
                                   index_disk_string_fn fn, void *arg, struct tsdb_error *err)
{
    struct disk_symbols c;
    struct disk_name n = {0};
    uint32_t rank = 0;
    bool more = true;
    disk_symbols_init(&c, ix);
    enum tsdb_status status = disk_name_find(&c, name, name_len, &rank, &n, err);
    for (uint32_t i = 0; i < n.value_count && more && status == TSDB_OK; i++) {
        struct disk_value v;
        status = disk_value_at(ix, &n, i, &v, err);
        if (status == TSDB_OK) {
            status = disk_symbols_at(&c, v.symbol, err);
        }
        more = status == TSDB_OK && fn(arg, (const char *)c.string.data, c.len);
    }
    disk_symbols_deinit(&c);
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}
