#include "model/labels.h"

#include "base/assert.h"
#include "base/compiler.h"
#include "base/limits.h"

#include <stdio.h>

/* Canonical bytes up to here are hashed in one piece on the stack; longer ones in chained pieces of
 * this size. Ordinary series have 200 to 600 bytes. */
#define HASH_PIECE_BYTES 4096

/* Above this many labels insertion sort would let a hostile sender buy quadratic work cheaply. */
#define INSERTION_SORT_MAX 24

int tsdb_str_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t n = TSDB_MIN(a_len, b_len);
    int c = n > 0 && a != b ? memcmp(a, b, n) : 0; /* texts of neighbours are often shared */
    if (c != 0) {
        return c;
    }
    return (a_len > b_len) - (a_len < b_len);
}

static int label_name_compare(const struct tsdb_label *a, const struct tsdb_label *b)
{
    return tsdb_str_compare(a->name, a->name_len, b->name, b->name_len);
}

int tsdb_labels_compare(const struct tsdb_labels *a, const struct tsdb_labels *b)
{
    uint32_t n = TSDB_MIN(a->count, b->count);
    for (uint32_t i = 0; i < n; i++) {
        const struct tsdb_label *x = &a->items[i];
        const struct tsdb_label *y = &b->items[i];
        int c = label_name_compare(x, y);
        if (c == 0) {
            c = tsdb_str_compare(x->value, x->value_len, y->value, y->value_len);
        }
        if (c != 0) {
            return c;
        }
    }
    return (a->count > b->count) - (a->count < b->count);
}

static bool bytes_equal(const char *a, uint32_t a_len, const char *b, uint32_t b_len)
{
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

bool tsdb_labels_equal(const struct tsdb_labels *a, const struct tsdb_labels *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        const struct tsdb_label *x = &a->items[i];
        const struct tsdb_label *y = &b->items[i];
        if (!bytes_equal(x->name, x->name_len, y->name, y->name_len) ||
            !bytes_equal(x->value, x->value_len, y->value, y->value_len)) {
            return false;
        }
    }
    return true;
}

const struct tsdb_label *tsdb_labels_find(const struct tsdb_labels *labels, const char *name,
                                          size_t name_len)
{
    uint32_t low = 0;
    uint32_t high = labels->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        const struct tsdb_label *l = &labels->items[mid];
        int c = tsdb_str_compare(l->name, l->name_len, name, name_len);
        if (c == 0) {
            return l;
        }
        if (c < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return NULL;
}

/* ---- escaping, as Go's strconv.Quote ----
 * strconv.IsPrint needs Unicode's tables of assigned characters. We take every valid character as
 * printable but for controls, separators, formatting marks, private use and non-characters: the
 * ones that could garble a terminal. */
#define QUOTED_RUNE_BYTES_MAX 12

/* Length of the valid UTF-8 sequence at s, 0 if it is not one. */
static size_t utf8_sequence(const char *s, size_t left, uint32_t *out_rune)
{
    uint8_t b = (uint8_t)s[0];
    size_t len = b < 0x80 ? 1 : b >= 0xf0 ? 4 : b >= 0xe0 ? 3 : 2;
    if (len > left || !tsdb_utf8_valid(s, len)) {
        return 0;
    }
    uint32_t r = len == 1 ? b : b & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        r = r << 6 | ((uint8_t)s[i] & 0x3f);
    }
    *out_rune = r;
    return len;
}

static bool rune_is_print(uint32_t r)
{
    static const uint32_t hidden[][2] = {{0x00, 0x1f},       {0x7f, 0xa0},       {0xad, 0xad},
                                         {0x1680, 0x1680},   {0x2000, 0x200f},   {0x2028, 0x202f},
                                         {0x205f, 0x206f},   {0x3000, 0x3000},   {0xe000, 0xf8ff},
                                         {0xfeff, 0xfeff},   {0xfff0, 0xfffb},   {0xfffe, 0xffff},
                                         {0xe0000, 0xe00ff}, {0xe01f0, 0x10ffff}};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(hidden); i++) {
        if (r >= hidden[i][0] && r <= hidden[i][1]) {
            return false;
        }
    }
    return true;
}

/* Write the quoted form of the first character of s; *used = bytes taken from s. Returns bytes
 * written. */
static size_t quote_rune(char out[QUOTED_RUNE_BYTES_MAX], const char *s, size_t left, size_t *used)
{
    static const char shorts[] = "abtnvfr"; /* 0x07..0x0d */
    uint32_t r = 0;
    size_t len = utf8_sequence(s, left, &r);
    *used = len > 0 ? len : 1;
    int n;
    if (len == 0) {
        n = snprintf(out, QUOTED_RUNE_BYTES_MAX, "\\x%02x", (unsigned)(uint8_t)s[0]);
    } else if (r == '"' || r == '\\') {
        n = snprintf(out, QUOTED_RUNE_BYTES_MAX, "\\%c", (int)r);
    } else if (r >= 0x07 && r <= 0x0d) {
        n = snprintf(out, QUOTED_RUNE_BYTES_MAX, "\\%c", shorts[r - 0x07]);
    } else if (rune_is_print(r)) {
        memcpy(out, s, len);
        n = (int)len;
    } else if (r < 0x80) {
        n = snprintf(out, QUOTED_RUNE_BYTES_MAX, "\\x%02x", r);
    } else if (r < 0x10000) {
        n = snprintf(out, QUOTED_RUNE_BYTES_MAX, "\\u%04x", r);
    } else {
        n = snprintf(out, QUOTED_RUNE_BYTES_MAX, "\\U%08x", r);
    }
    return (size_t)n;
}

static void print_quoted(struct tsdb_buf *out, const char *s, size_t len)
{
    tsdb_buf_put_u8(out, '"');
    while (len > 0) {
        char quoted[QUOTED_RUNE_BYTES_MAX];
        size_t used = 0;
        size_t n = quote_rune(quoted, s, len, &used);
        tsdb_buf_put(out, quoted, n);
        s += used;
        len -= used;
    }
    tsdb_buf_put_u8(out, '"');
}

/* As much of s as fits, quoted, for an error message. Returns `out`. */
#define QUOTE_BYTES 96
static const char *quote_short(char out[QUOTE_BYTES], const char *s, size_t len)
{
    size_t pos = 0;
    out[pos++] = '"';
    while (len > 0) {
        char quoted[QUOTED_RUNE_BYTES_MAX];
        size_t used = 0;
        size_t n = quote_rune(quoted, s, len, &used);
        if (pos + n + sizeof "...\"" > QUOTE_BYTES) {
            memcpy(out + pos, "...", 3);
            pos += 3;
            break;
        }
        memcpy(out + pos, quoted, n);
        pos += n;
        s += used;
        len -= used;
    }
    out[pos++] = '"';
    out[pos] = '\0';
    return out;
}

/* ---- canonical order ---- */

static void sort_by_insertion(struct tsdb_label *items, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        struct tsdb_label x = items[i];
        uint32_t j = i;
        while (j > 0 && label_name_compare(&x, &items[j - 1]) < 0) {
            items[j] = items[j - 1];
            j--;
        }
        items[j] = x;
    }
}

static void sift_down(struct tsdb_label *items, uint32_t root, uint32_t count)
{
    struct tsdb_label x = items[root];
    for (;;) {
        uint32_t child = 2 * root + 1;
        if (child >= count) {
            break;
        }
        if (child + 1 < count && label_name_compare(&items[child], &items[child + 1]) < 0) {
            child++;
        }
        if (label_name_compare(&x, &items[child]) >= 0) {
            break;
        }
        items[root] = items[child];
        root = child;
    }
    items[root] = x;
}

static void sort_by_heap(struct tsdb_label *items, uint32_t count)
{
    for (uint32_t i = count / 2; i > 0; i--) {
        sift_down(items, i - 1, count);
    }
    for (uint32_t n = count - 1; n > 0; n--) {
        struct tsdb_label x = items[0];
        items[0] = items[n];
        items[n] = x;
        sift_down(items, 0, n);
    }
}

/* True: they were in order before, and no two have one name. */
static bool sort_by_name(struct tsdb_label *items, uint32_t count)
{
    uint32_t sorted = count > 0 ? 1 : 0;
    while (sorted < count && label_name_compare(&items[sorted - 1], &items[sorted]) < 0) {
        sorted++;
    }
    if (sorted == count) {
        return true; /* what Prometheus sends */
    }
    if (count <= INSERTION_SORT_MAX) {
        sort_by_insertion(items, count);
    } else {
        sort_by_heap(items, count);
    }
    return false;
}

static uint32_t drop_empty_values(struct tsdb_label *items, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].value_len > 0) {
            items[kept++] = items[i];
        }
    }
    return kept;
}

static uint32_t uvarint_bytes(uint64_t v)
{
    uint32_t n = 1;
    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

static uint64_t label_encoded_bytes(const struct tsdb_label *l)
{
    return (uint64_t)uvarint_bytes(l->name_len) + l->name_len + uvarint_bytes(l->value_len) +
           l->value_len;
}

/* One label of a sorted set: sizes, UTF-8. */
static enum tsdb_status check_label(const struct tsdb_label *l, struct tsdb_error *err)
{
    char quoted[QUOTE_BYTES];
    if (l->name_len == 0) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "invalid metric name or label names: empty label name");
    }
    if (l->name_len > TSDB_LABEL_NAME_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "label name %s has %u bytes, at most %u",
                              quote_short(quoted, l->name, l->name_len), l->name_len,
                              (unsigned)TSDB_LABEL_NAME_BYTES_MAX);
    }
    if (!tsdb_utf8_valid(l->name, l->name_len)) {
        return tsdb_error_set(
            err, TSDB_INVALID,
            "invalid metric name or label names: label name %s is not valid UTF-8",
            quote_short(quoted, l->name, l->name_len));
    }
    if (l->value_len > TSDB_LABEL_VALUE_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "value of label %s has %u bytes, at most %u",
                              quote_short(quoted, l->name, l->name_len), l->value_len,
                              (unsigned)TSDB_LABEL_VALUE_BYTES_MAX);
    }
    if (!tsdb_utf8_valid(l->value, l->value_len)) {
        return tsdb_error_set(err, TSDB_INVALID, "value of label %s is not valid UTF-8",
                              quote_short(quoted, l->name, l->name_len));
    }
    return TSDB_OK;
}

/* The checks that need the sorted set as a whole. unique: no two names are known to be the same. */
static enum tsdb_status check_set(const struct tsdb_label *items, uint32_t count, bool unique,
                                  struct tsdb_error *err)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        enum tsdb_status status = check_label(&items[i], err);
        if (status != TSDB_OK) {
            return status;
        }
        if (!unique && i > 0 && label_name_compare(&items[i - 1], &items[i]) == 0) {
            char quoted[QUOTE_BYTES];
            return tsdb_error_set(err, TSDB_INVALID, "label name %s is not unique: invalid sample",
                                  quote_short(quoted, items[i].name, items[i].name_len));
        }
        bytes += label_encoded_bytes(&items[i]);
    }
    if (bytes > TSDB_LABELS_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "labels of a series have %llu bytes, at most %u",
                              (unsigned long long)bytes, (unsigned)TSDB_LABELS_BYTES_MAX);
    }
    return TSDB_OK;
}

enum tsdb_status tsdb_labels_canonicalize(struct tsdb_label *items, uint32_t *count,
                                          bool need_metric_name, struct tsdb_error *err)
{
    uint32_t n = drop_empty_values(items, *count);
    if (n > TSDB_LABELS_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "series has %u labels, at most %u", n,
                              (unsigned)TSDB_LABELS_MAX);
    }
    bool unique = sort_by_name(items, n);
    enum tsdb_status status = check_set(items, n, unique, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_labels set = {items, n};
    if (need_metric_name &&
        !tsdb_labels_find(&set, TSDB_METRIC_NAME, sizeof TSDB_METRIC_NAME - 1)) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "invalid metric name or label names: series without __name__");
    }
    *count = n;
    return TSDB_OK;
}

/* ---- canonical bytes ---- */

size_t tsdb_labels_encoded_bytes(const struct tsdb_labels *labels)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < labels->count; i++) {
        bytes += label_encoded_bytes(&labels->items[i]);
    }
    return bytes;
}

static uint8_t *put_string(uint8_t *p, const char *s, uint32_t len)
{
    p = tsdb_put_uvarint(p, len);
    if (len > 0) {
        memcpy(p, s, len);
    }
    return p + len;
}

size_t tsdb_labels_encode(const struct tsdb_labels *labels, uint8_t *out)
{
    uint8_t *p = out;
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        p = put_string(p, l->name, l->name_len);
        p = put_string(p, l->value, l->value_len);
    }
    return (size_t)(p - out);
}

/* Read one string of at most max bytes. NULL when it does not fit in what is left. */
static const uint8_t *get_string(const uint8_t *p, const uint8_t *end, uint64_t max,
                                 const char **out_s, uint32_t *out_len)
{
    uint64_t len = 0;
    p = tsdb_get_uvarint(p, end, &len);
    /* A length ends with a zero if it is 0, or longer than it need be: another spelling of what has one. */
    if (!p || p[-1] == 0 || len > max || len > (uint64_t)(end - p)) {
        return NULL;
    }
    if (!tsdb_utf8_valid(p, len)) {
        return NULL;
    }
    *out_s = (const char *)p;
    *out_len = (uint32_t)len;
    return p + len;
}

/* Where the label's canonical bytes begin, and how many they are: it was decoded from such. */
static const uint8_t *label_bytes(const struct tsdb_label *l, size_t *out_len)
{
    const uint8_t *name = (const uint8_t *)l->name;
    const uint8_t *end = (const uint8_t *)l->value + l->value_len;
    const uint8_t *begin = name - uvarint_bytes(l->name_len);
    *out_len = (size_t)(end - begin);
    return begin;
}

/* The label at p, if it is the same as this one. */
static const uint8_t *get_same(const uint8_t *p, const uint8_t *end, const struct tsdb_label *same,
                               struct tsdb_label *out)
{
    size_t len;
    const uint8_t *bytes = label_bytes(same, &len);
    if ((size_t)(end - p) < len || memcmp(p, bytes, len) != 0) {
        return NULL;
    }
    *out = (struct tsdb_label){
        .name = (const char *)p + ((const uint8_t *)same->name - bytes),
        .value = (const char *)p + ((const uint8_t *)same->value - bytes),
        .name_len = same->name_len,
        .value_len = same->value_len,
    };
    return p + len;
}

static const uint8_t *get_label(const uint8_t *p, const uint8_t *end, struct tsdb_label *out)
{
    p = get_string(p, end, TSDB_LABEL_NAME_BYTES_MAX, &out->name, &out->name_len);
    return p ? get_string(p, end, TSDB_LABEL_VALUE_BYTES_MAX, &out->value, &out->value_len) : NULL;
}

/* Of `like`, which is in order, the first from `at` on that may be the label behind l. */
static uint32_t like_seek(const struct tsdb_labels *like, uint32_t at, const struct tsdb_label *l)
{
    for (; at < like->count; at++) {
        int c = label_name_compare(&like->items[at], l);
        if (c >= 0) {
            return at + (c == 0);
        }
    }
    return at;
}

enum tsdb_status tsdb_labels_decode_like(const uint8_t *src, size_t len,
                                         const struct tsdb_labels *like, struct tsdb_label *items,
                                         uint32_t cap, uint32_t *out_count, struct tsdb_error *err)
{
    if (len > TSDB_LABELS_BYTES_MAX) {
        return tsdb_error_set(err, TSDB_CORRUPT, "labels: %zu bytes, at most %u", len,
                              (unsigned)TSDB_LABELS_BYTES_MAX);
    }
    const uint8_t *p = src;
    const uint8_t *end = len > 0 ? src + len : src; /* nothing may be NULL */
    uint32_t n = 0;
    uint32_t at = 0;         /* of `like`: it may have the next label */
    bool neighbours = false; /* the last label is the one before that one */
    while (p < end) {
        if (n == cap) {
            return tsdb_error_set_at(err, TSDB_LIMIT, (uint64_t)(p - src),
                                     "labels: more than %u labels", cap);
        }
        uint64_t offset = (uint64_t)(p - src);
        struct tsdb_label *l = &items[n];
        const uint8_t *same = at < like->count ? get_same(p, end, &like->items[at], l) : NULL;
        p = same ? same : get_label(p, end, l);
        if (!p) {
            return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                     "labels: label %u at byte %llu is malformed or truncated", n,
                                     (unsigned long long)offset);
        }
        if (n > 0 && !(same && neighbours) && label_name_compare(l - 1, l) >= 0) {
            return tsdb_error_set_at(err, TSDB_CORRUPT, offset,
                                     "labels: label %u at byte %llu is out of order", n,
                                     (unsigned long long)offset);
        }
        neighbours = same != NULL;
        at = same ? at + 1 : like_seek(like, at, l);
        n++;
    }
    *out_count = n;
    return TSDB_OK;
}

enum tsdb_status tsdb_labels_decode(const uint8_t *src, size_t len, struct tsdb_label *items,
                                    uint32_t cap, uint32_t *out_count, struct tsdb_error *err)
{
    static const struct tsdb_labels none;
    return tsdb_labels_decode_like(src, len, &none, items, cap, out_count, err);
}

/* ---- hash ---- */

/* Feeds canonical bytes through a fixed piece: a full piece is replaced by its 8-byte hash and
 * filled on. */
struct hash_feed {
    const struct tsdb_hash_key *key;
    size_t len;
    uint8_t piece[HASH_PIECE_BYTES];
};

static void hash_feed_bytes(struct hash_feed *f, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len > 0) {
        if (f->len == HASH_PIECE_BYTES) {
            tsdb_store_le64(f->piece, tsdb_hash64(f->key, f->piece, f->len));
            f->len = 8;
        }
        size_t n = TSDB_MIN(len, HASH_PIECE_BYTES - f->len);
        memcpy(f->piece + f->len, p, n);
        f->len += n;
        p += n;
        len -= n;
    }
}

static TSDB_NOINLINE uint64_t hash_in_pieces(const struct tsdb_hash_key *key,
                                             const struct tsdb_labels *labels)
{
    struct hash_feed f = {.key = key, .len = 0};
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        uint8_t varint[TSDB_VARINT64_BYTES_MAX];
        hash_feed_bytes(&f, varint, (size_t)(tsdb_put_uvarint(varint, l->name_len) - varint));
        hash_feed_bytes(&f, l->name, l->name_len);
        hash_feed_bytes(&f, varint, (size_t)(tsdb_put_uvarint(varint, l->value_len) - varint));
        hash_feed_bytes(&f, l->value, l->value_len);
    }
    return tsdb_hash64(key, f.piece, f.len);
}

uint64_t tsdb_labels_hash(const struct tsdb_hash_key *key, const struct tsdb_labels *labels)
{
    if (tsdb_labels_encoded_bytes(labels) > HASH_PIECE_BYTES) {
        return hash_in_pieces(key, labels);
    }
    uint8_t bytes[HASH_PIECE_BYTES];
    size_t len = tsdb_labels_encode(labels, bytes);
    return tsdb_hash64(key, bytes, len);
}

uint64_t tsdb_labels_hash_canonical(const struct tsdb_hash_key *key, struct tsdb_slice bytes)
{
    if (bytes.len <= HASH_PIECE_BYTES) {
        return tsdb_hash64(key, bytes.data, bytes.len);
    }
    struct hash_feed f = {.key = key, .len = 0};
    hash_feed_bytes(&f, bytes.data, bytes.len);
    return tsdb_hash64(key, f.piece, f.len);
}

/* ---- printing ---- */

static bool name_is_legacy(const char *s, size_t len, bool colon)
{
    if (len == 0 || (s[0] >= '0' && s[0] <= '9')) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(c >= '0' && c <= '9') && !(colon && c == ':')) {
            return false;
        }
    }
    return true;
}

static bool label_is_metric_name(const struct tsdb_label *l)
{
    return bytes_equal(l->name, l->name_len, TSDB_METRIC_NAME, sizeof TSDB_METRIC_NAME - 1);
}

/* The braces are left out when nothing but the metric name would stand before them. */
enum tsdb_status tsdb_labels_dup(const struct tsdb_labels *from, struct tsdb_arena *arena,
                                 struct tsdb_labels *out)
{
    struct tsdb_label *items =
        TSDB_ARENA_ARRAY(arena, struct tsdb_label, TSDB_MAX(from->count, 1u));
    for (uint32_t i = 0; items && i < from->count; i++) {
        items[i] = from->items[i];
        items[i].name = tsdb_arena_strndup(arena, from->items[i].name, from->items[i].name_len);
        items[i].value = tsdb_arena_strndup(arena, from->items[i].value, from->items[i].value_len);
        if (!items[i].name || !items[i].value) {
            return tsdb_arena_status(arena);
        }
    }
    *out = (struct tsdb_labels){items, from->count};
    return items ? TSDB_OK : tsdb_arena_status(arena);
}

void tsdb_labels_print(const struct tsdb_labels *labels, struct tsdb_buf *out)
{
    const struct tsdb_label *metric =
        tsdb_labels_find(labels, TSDB_METRIC_NAME, sizeof TSDB_METRIC_NAME - 1);
    bool outside = metric && name_is_legacy(metric->value, metric->value_len, true);
    if (outside) {
        tsdb_buf_put(out, metric->value, metric->value_len);
        if (labels->count == 1) {
            return;
        }
    }
    tsdb_buf_put_u8(out, '{');
    bool first = true;
    if (metric && !outside) {
        print_quoted(out, metric->value, metric->value_len);
        first = false;
    }
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        if (label_is_metric_name(l)) {
            continue;
        }
        tsdb_buf_put_str(out, first ? "" : ", ");
        first = false;
        if (name_is_legacy(l->name, l->name_len, false)) {
            tsdb_buf_put(out, l->name, l->name_len);
        } else {
            print_quoted(out, l->name, l->name_len);
        }
        tsdb_buf_put_u8(out, '=');
        print_quoted(out, l->value, l->value_len);
    }
    tsdb_buf_put_u8(out, '}');
}
