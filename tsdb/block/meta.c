/* meta.json of a block. Written by hand, read by a small parser of its own: one object, whose known
 * keys are integers or the ULID, and whose unknown keys are skipped whatever they hold. */
#include "tsdb/block/block_private.h"

#include "base/crc32c.h"
#include "base/format.h"
#include "model/version.h"
#include "tsdb/block/ulid.h"

#include <inttypes.h>
#include <stdio.h>

#define DEPTH_MAX 8 /* of unknown values */
#define CRC_KEY   "crc32c"
#define CRC_CHARS 8

enum meta_field {
    META_VERSION = 0,
    META_ULID,
    META_MIN,
    META_MAX,
    META_LEVEL,
    META_SEQUENCE,
    META_SERIES,
    META_SAMPLES,
    META_FLOATS,
    META_HISTOGRAMS,
    META_CHUNKS,
    META_INDEX_BYTES,
    META_CHUNKS_BYTES,
    META_CRC,
    META_FIELD_COUNT
};
static const char *const field_names[META_FIELD_COUNT] = {
    "version",  "ulid",        "min_ms",       "max_ms",        "level",
    "sequence", "series",      "samples",      "float_samples", "histogram_samples",
    "chunks",   "index_bytes", "chunks_bytes", CRC_KEY};

/* ---- writing ---- */

void block_meta_print(const struct block_meta *meta, const struct block_file_sizes *sizes,
                      struct tsdb_buf *out)
{
    size_t begin = out->len;
    const uint64_t numbers[META_FIELD_COUNT] = {
        [META_LEVEL] = meta->level,          [META_SEQUENCE] = meta->sequence,
        [META_SERIES] = meta->series,        [META_SAMPLES] = meta->samples,
        [META_FLOATS] = meta->float_samples, [META_HISTOGRAMS] = meta->histogram_samples,
        [META_CHUNKS] = meta->chunks,        [META_INDEX_BYTES] = sizes->index,
        [META_CHUNKS_BYTES] = sizes->chunks};
    tsdb_buf_printf(out, "{\n  \"version\": %d,\n  \"ulid\": \"%s\",\n", TSDB_FORMAT_BLOCK,
                    meta->ulid);
    tsdb_buf_printf(out, "  \"min_ms\": %" PRId64 ",\n  \"max_ms\": %" PRId64 ",\n", meta->min_ms,
                    meta->max_ms);
    for (uint32_t i = META_LEVEL; i <= META_CHUNKS_BYTES; i++) {
        tsdb_buf_printf(out, "  \"%s\": %" PRIu64 ",\n", field_names[i], numbers[i]);
    }
    tsdb_buf_put_str(out, "  ");
    if (!out->failed) {
        uint32_t crc = tsdb_crc32c(0, out->data + begin, out->len - begin);
        tsdb_buf_printf(out, "\"" CRC_KEY "\": \"%08x\"\n}\n", crc);
    }
}

/* ---- reading ---- */

struct parser {
    const uint8_t *begin, *pos, *end;
    struct tsdb_slice values[META_FIELD_COUNT]; /* text of the value; of strings: between quotes */
    bool seen[META_FIELD_COUNT];
    bool is_string[META_FIELD_COUNT];
    const uint8_t *crc_at; /* the quote before the key */
};

static void space_skip(struct parser *p)
{
    while (p->pos < p->end &&
           (*p->pos == ' ' || *p->pos == '\n' || *p->pos == '\r' || *p->pos == '\t')) {
        p->pos++;
    }
}

static bool char_take(struct parser *p, uint8_t c)
{
    space_skip(p);
    if (p->pos < p->end && *p->pos == c) {
        p->pos++;
        return true;
    }
    return false;
}

/* A string; out is what stands between the quotes, escapes as they are. */
static bool string_take(struct parser *p, struct tsdb_slice *out)
{
    if (!char_take(p, '"')) {
        return false;
    }
    const uint8_t *begin = p->pos;
    while (p->pos < p->end && *p->pos != '"' && *p->pos >= 0x20) {
        p->pos += *p->pos == '\\' && p->end - p->pos > 1 ? 2 : 1;
    }
    *out = (struct tsdb_slice){begin, (size_t)(p->pos - begin)};
    bool closed = p->pos < p->end && *p->pos == '"';
    p->pos += closed;
    return closed;
}

/* A number, true, false or null, not looked into. */
static bool word_take(struct parser *p, struct tsdb_slice *out)
{
    space_skip(p);
    const uint8_t *begin = p->pos;
    while (p->pos < p->end &&
           ((*p->pos >= '0' && *p->pos <= '9') || (*p->pos >= 'a' && *p->pos <= 'z') ||
            *p->pos == '-' || *p->pos == '+' || *p->pos == '.' || *p->pos == 'E')) {
        p->pos++;
    }
    *out = (struct tsdb_slice){begin, (size_t)(p->pos - begin)};
    return p->pos > begin;
}

static bool value_skip(struct parser *p, int depth);

/* What follows the opening bracket or brace. */
static bool container_skip(struct parser *p, uint8_t close, int depth)
{
    struct tsdb_slice key;
    if (char_take(p, close)) {
        return true;
    }
    do {
        if (close == '}' && (!string_take(p, &key) || !char_take(p, ':'))) {
            return false;
        }
        if (!value_skip(p, depth)) {
            return false;
        }
    } while (char_take(p, ','));
    return char_take(p, close);
}

static bool value_skip(struct parser *p, int depth)
{
    struct tsdb_slice unused;
    space_skip(p);
    if (depth == 0 || p->pos == p->end) {
        return false;
    }
    if (*p->pos == '"') {
        return string_take(p, &unused);
    }
    if (char_take(p, '{')) {
        return container_skip(p, '}', depth - 1);
    }
    if (char_take(p, '[')) {
        return container_skip(p, ']', depth - 1);
    }
    return word_take(p, &unused);
}

static bool member_take(struct parser *p)
{
    struct tsdb_slice key;
    space_skip(p);
    const uint8_t *quote = p->pos;
    if (!string_take(p, &key) || !char_take(p, ':')) {
        return false;
    }
    for (uint32_t i = 0; i < META_FIELD_COUNT; i++) {
        if (key.len != strlen(field_names[i]) || memcmp(key.data, field_names[i], key.len) != 0) {
            continue;
        }
        if (p->seen[i]) {
            return false;
        }
        p->seen[i] = true;
        p->crc_at = i == META_CRC ? quote : p->crc_at;
        space_skip(p);
        p->is_string[i] = p->pos < p->end && *p->pos == '"';
        return p->is_string[i] ? string_take(p, &p->values[i]) : word_take(p, &p->values[i]);
    }
    return value_skip(p, DEPTH_MAX);
}

static bool object_take(struct parser *p)
{
    if (!char_take(p, '{')) {
        return false;
    }
    do {
        if (!member_take(p)) {
            return false;
        }
    } while (char_take(p, ','));
    if (!char_take(p, '}')) {
        return false;
    }
    space_skip(p);
    return p->pos == p->end;
}

static bool u64_value(const struct parser *p, enum meta_field field, uint64_t *out)
{
    const struct tsdb_slice *v = &p->values[field];
    return p->seen[field] && !p->is_string[field] &&
           tsdb_parse_u64((const char *)v->data, v->len, out);
}

static bool i64_value(const struct parser *p, enum meta_field field, int64_t *out)
{
    const struct tsdb_slice *v = &p->values[field];
    return p->seen[field] && !p->is_string[field] &&
           tsdb_parse_i64((const char *)v->data, v->len, out);
}

static bool ulid_value(const struct parser *p, char *out)
{
    const struct tsdb_slice *v = &p->values[META_ULID];
    if (!p->is_string[META_ULID] || v->len != BLOCK_ULID_CHARS) {
        return false;
    }
    memcpy(out, v->data, v->len);
    out[v->len] = 0;
    return ulid_valid(out);
}

static bool fields_take(const struct parser *p, struct block_meta *m, struct block_file_sizes *s)
{
    uint64_t level = 0;
    bool ok = ulid_value(p, m->ulid) && i64_value(p, META_MIN, &m->min_ms) &&
              i64_value(p, META_MAX, &m->max_ms) && u64_value(p, META_LEVEL, &level) &&
              u64_value(p, META_SEQUENCE, &m->sequence) && u64_value(p, META_SERIES, &m->series) &&
              u64_value(p, META_SAMPLES, &m->samples) &&
              u64_value(p, META_FLOATS, &m->float_samples) &&
              u64_value(p, META_HISTOGRAMS, &m->histogram_samples) &&
              u64_value(p, META_CHUNKS, &m->chunks) && u64_value(p, META_INDEX_BYTES, &s->index) &&
              u64_value(p, META_CHUNKS_BYTES, &s->chunks) && level <= UINT32_MAX;
    m->level = (uint32_t)level;
    return ok && m->min_ms <= m->max_ms && s->index <= INT64_MAX / 4 && s->chunks <= INT64_MAX / 4;
}

static bool crc_matches(const struct parser *p)
{
    const struct tsdb_slice *v = &p->values[META_CRC];
    char want[CRC_CHARS + 1];
    if (!p->is_string[META_CRC] || v->len != CRC_CHARS) {
        return false;
    }
    uint32_t crc = tsdb_crc32c(0, p->begin, (size_t)(p->crc_at - p->begin));
    (void)snprintf(want, sizeof want, "%08x", crc);
    return memcmp(v->data, want, CRC_CHARS) == 0;
}

enum tsdb_status block_meta_parse(const uint8_t *src, size_t len, struct block_meta *out,
                                  struct block_file_sizes *out_sizes, struct tsdb_error *err)
{
    static const uint8_t nothing[1];
    const uint8_t *begin = len > 0 ? src : nothing; /* no arithmetic on a NULL of no bytes */
    struct parser p = {.begin = begin, .pos = begin, .end = begin + len};
    struct block_meta m = {0};
    struct block_file_sizes sizes = {0};
    uint64_t version = 0;
    bool whole = len <= BLOCK_META_BYTES_MAX && object_take(&p);
    /* Every version has its number and the CRC where this one has them: a flipped bit is no newer
     * version. */
    if (whole && crc_matches(&p) && u64_value(&p, META_VERSION, &version) &&
        version != TSDB_FORMAT_BLOCK) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED,
                              BLOCK_META_NAME ": format version %" PRIu64 "; this version knows %d",
                              version, TSDB_FORMAT_BLOCK);
    }
    if (!whole) {
        return tsdb_error_set_at(err, TSDB_CORRUPT, (uint64_t)(p.pos - src),
                                 BLOCK_META_NAME ": malformed at byte %zu", (size_t)(p.pos - src));
    }
    if (!crc_matches(&p)) {
        return tsdb_error_set(err, TSDB_CORRUPT, BLOCK_META_NAME ": crc does not match");
    }
    if (!u64_value(&p, META_VERSION, &version) || !fields_take(&p, &m, &sizes)) {
        return tsdb_error_set(err, TSDB_CORRUPT, BLOCK_META_NAME ": a key is missing or invalid");
    }
    *out = m;
    *out_sizes = sizes;
    return TSDB_OK;
}
