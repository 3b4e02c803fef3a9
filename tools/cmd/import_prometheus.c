/* import prometheus: the blocks of a Prometheus as blocks of a data directory.
 *
 *   SRC/<ULID>/ ─ prom_block_next, _read ─▶ block_writer ─▶ DIR/blocks/<the same ULID>/
 *
 * A block keeps its name, so that an import that was interrupted goes on where it stopped: a block that is
 * there already is not read again. Deletions are applied, they need no tombstones. Memory: the samples of
 * one series of one block. What lies in SRC's own log and head chunks comes after the blocks: import_head.h. */
#include "base/format.h"
#include "tools/cmd/commands.h"
#include "tools/cmd/import_head.h"
#include "tools/cmd/open.h"
#include "tools/cmd/out.h"
#include "tools/prom/block.h"
#include "tsdb/block/blocks.h"
#include "tsdb/block/ulid.h"

#include <inttypes.h>
#include <stdlib.h>

#define NAMES_MAX (1u << 20)

struct import {
    struct tool *t;
    struct tsdb_fs src;
    struct tool_dir dir;
    struct tsdb_arena list, series; /* names; one series */
    struct block_name *names;
    uint32_t count, cap;
    uint64_t sequence; /* of the next block */
    struct tool_table table;
    struct tool_progress progress;
    uint64_t samples, refused, there;
    int64_t oldest_ms;
    int64_t head_from_ms; /* where SRC's head begins: the end of its blocks */
    bool has_head;
    struct import_head head;
};

/* ---- what there is ---- */
static enum tsdb_status src_entry(void *arg, const char *name, bool is_dir)
{
    struct import *x = arg;
    if (!is_dir || !prom_ulid_valid(name, strlen(name)) || !ulid_valid(name)) {
        return TSDB_OK;
    }
    if (x->count == x->cap) {
        uint32_t cap = x->cap ? 2 * x->cap : 256;
        struct block_name *names =
            cap <= NAMES_MAX ? TSDB_ARENA_ARRAY(&x->list, struct block_name, cap) : NULL;
        if (!names) {
            return TSDB_NOMEM;
        }
        if (x->count > 0) {
            memcpy(names, x->names, x->count * sizeof *names);
        }
        x->names = names;
        x->cap = cap;
    }
    snprintf(x->names[x->count++].ulid, sizeof x->names->ulid, "%s", name);
    return TSDB_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct block_name *)a)->ulid, ((const struct block_name *)b)->ulid);
}

static enum tsdb_status look_at_source(struct import *x, struct tsdb_error *err)
{
    enum tsdb_status status = x->src.ops->list(x->src.ctx, "", src_entry, x, err);
    if (status == TSDB_NOMEM) {
        return tsdb_error_nomem(err, "the names of the blocks");
    }
    x->has_head = status == TSDB_OK && import_head_any(&x->src);
    if (status == TSDB_OK && x->count == 0 && !x->has_head) {
        return tsdb_error_set(err, TSDB_NOT_FOUND,
                              "%s holds no Prometheus block (a directory "
                              "named by a ULID), and no log",
                              x->t->args[0]);
    }
    if (status == TSDB_OK && x->count > 1) {
        qsort(x->names, x->count, sizeof *x->names, by_name);
    }
    return status;
}

/* Imported samples come after those that are there: where both have a time, the older data stays. */
static enum tsdb_status look_at_target(struct import *x, struct tsdb_error *err)
{
    struct cache_l2 *cache = NULL;
    struct block_name *names = NULL;
    uint32_t count = 0, removed = 0;
    const struct tsdb_fs *fs = &x->dir.fs;
    enum tsdb_status status = fs->ops->mkdir(fs->ctx, BLOCKS_DIR, err);
    if (status == TSDB_OK) {
        status = block_dir_clean(fs, BLOCKS_DIR, &removed, err);
    }
    if (status == TSDB_OK) {
        status = block_dir_list(fs, BLOCKS_DIR, &x->list, &names, &count, err);
    }
    if (status == TSDB_OK) {
        status = cache_l2_create(0, &cache, err);
    }
    for (uint32_t i = 0; i < count && status == TSDB_OK; i++) {
        struct block *b = NULL;
        status = block_open(fs, BLOCKS_DIR, names[i].ulid, cache, &b, err);
        if (status == TSDB_OK) {
            x->sequence = TSDB_MAX(x->sequence, block_meta(b)->sequence);
            block_close(b);
        }
    }
    cache_l2_destroy(cache);
    x->sequence++;
    return status;
}

/* ---- one series ---- */
struct columns {
    int64_t *t_ms, *start_ms;
    uint64_t *value;
    uint8_t *kind;
    uint32_t count, cap;
    bool has_starts;
};

static enum tsdb_status columns_reserve(struct columns *c, struct tsdb_arena *arena, uint32_t extra,
                                        struct tsdb_error *err)
{
    if (extra > UINT32_MAX - c->count) {
        return tsdb_error_set(err, TSDB_LIMIT, "more than 2^32 samples");
    }
    if (c->count + extra <= c->cap) {
        return TSDB_OK;
    }
    uint64_t cap = TSDB_MAX((uint64_t)c->cap * 2, (uint64_t)c->count + extra);
    cap = TSDB_MIN(cap, UINT32_MAX);
    struct columns n = *c;
    n.cap = (uint32_t)cap;
    n.t_ms = TSDB_ARENA_ARRAY(arena, int64_t, cap);
    n.start_ms = TSDB_ARENA_ARRAY(arena, int64_t, cap);
    n.value = TSDB_ARENA_ARRAY(arena, uint64_t, cap);
    n.kind = TSDB_ARENA_ARRAY(arena, uint8_t, cap);
    if (!n.t_ms || !n.start_ms || !n.value || !n.kind) {
        return tsdb_error_nomem(err, "the samples of a series");
    }
    if (c->count > 0) {
        memcpy(n.t_ms, c->t_ms, c->count * sizeof *n.t_ms);
        memcpy(n.start_ms, c->start_ms, c->count * sizeof *n.start_ms);
        memcpy(n.value, c->value, c->count * sizeof *n.value);
        memcpy(n.kind, c->kind, c->count);
    }
    *c = n;
    return TSDB_OK;
}

/* A histogram in the form that chunks hold; NULL *out: it is not valid, and refused. */
static enum tsdb_status encode(struct import *x, const struct tsdb_histogram *h,
                               struct tsdb_raw_histogram **out, struct tsdb_error *err)
{
    *out = NULL;
    if (!tsdb_histogram_is_stale(h) && tsdb_histogram_validate(h, NULL) != TSDB_OK) {
        x->refused++;
        return TSDB_OK;
    }
    size_t max = tsdb_histogram_encoded_bytes_max(h);
    struct tsdb_raw_histogram *raw = TSDB_ARENA_NEW(&x->series, struct tsdb_raw_histogram);
    uint8_t *bytes = tsdb_arena_alloc(&x->series, max, 1);
    if (!raw || !bytes) {
        return tsdb_error_nomem(err, "a histogram");
    }
    *raw = (struct tsdb_raw_histogram){(uint32_t)tsdb_histogram_encode(h, bytes), bytes};
    *out = raw;
    return TSDB_OK;
}

static enum tsdb_status columns_add(struct import *x, struct columns *c,
                                    const struct tsdb_columns *more, struct tsdb_error *err)
{
    enum tsdb_status status = columns_reserve(c, &x->series, more->count, err);
    for (uint32_t i = 0; i < more->count && status == TSDB_OK; i++) {
        if (c->count > 0 && more->t_ms[i] <= c->t_ms[c->count - 1]) {
            return tsdb_error_set(err, TSDB_CORRUPT,
                                  "samples at %" PRId64 " and %" PRId64 " ms are "
                                  "not in order",
                                  c->t_ms[c->count - 1], more->t_ms[i]);
        }
        uint8_t kind = more->kind ? more->kind[i] : TSDB_SAMPLE_FLOAT;
        uint64_t value = more->bits[i];
        if (kind != TSDB_SAMPLE_FLOAT) {
            struct tsdb_raw_histogram *raw = NULL;
            status = encode(x, &more->histograms[more->bits[i]], &raw, err);
            if (!raw) {
                continue;
            }
            value = (uint64_t)(uintptr_t)raw;
        }
        c->t_ms[c->count] = more->t_ms[i];
        c->value[c->count] = value;
        c->kind[c->count] = kind;
        c->start_ms[c->count] = more->start_ms ? more->start_ms[i] : 0;
        c->has_starts = c->has_starts || c->start_ms[c->count] != 0;
        c->count++;
    }
    return status;
}

struct range_seen {
    int64_t min_ms, max_ms;
};

static enum tsdb_status series_labels(struct import *x, const struct prom_series *s,
                                      struct tsdb_labels *out, struct tsdb_error *err)
{
    struct tsdb_label *items =
        TSDB_ARENA_ARRAY(&x->series, struct tsdb_label, TSDB_MAX(s->labels.count, 1u));
    if (!items) {
        return tsdb_error_nomem(err, "labels");
    }
    uint32_t count = s->labels.count;
    if (count > 0) {
        memcpy(items, s->labels.items, count * sizeof *items);
    }
    enum tsdb_status status = tsdb_labels_canonicalize(items, &count, false, err);
    if (status == TSDB_OK && count == 0) {
        status = tsdb_error_set(err, TSDB_INVALID, "a series without labels");
    }
    *out = (struct tsdb_labels){items, count};
    return status == TSDB_INVALID ? tsdb_error_prefix(err, TSDB_INVALID, "series %u", s->id)
                                  : status;
}

static enum tsdb_status copy_series(struct import *x, struct prom_block *from,
                                    struct block_writer *to, const struct prom_series *s,
                                    struct range_seen *seen, struct tsdb_error *err)
{
    struct tsdb_labels labels;
    struct columns c = {.count = 0};
    enum tsdb_status status = series_labels(x, s, &labels, err);
    for (uint32_t i = 0; i < s->chunk_count && status == TSDB_OK; i++) {
        struct tsdb_columns more = {0};
        status = prom_block_read(from, s, i, &x->series, &more, err);
        if (status == TSDB_OK) {
            status = columns_add(x, &c, &more, err);
        }
    }
    if (status != TSDB_OK || c.count == 0) { /* all of it deleted */
        return status;
    }
    const struct piece_columns pieces = {
        .count = c.count,
        .t_ms = c.t_ms,
        .value = c.value,
        .kind = c.kind,
        .start_ms = c.has_starts ? c.start_ms : NULL,
    };
    seen->min_ms = TSDB_MIN(seen->min_ms, c.t_ms[0]);
    seen->max_ms = TSDB_MAX(seen->max_ms, c.t_ms[c.count - 1]);
    status = block_writer_series(to, &labels, err);
    if (status == TSDB_OK) {
        status = block_writer_pieces(to, &pieces, err);
    }
    tool_progress_add(&x->progress, c.count);
    x->samples += c.count;
    return status;
}

/* ---- one block ---- */
/* Label order is what a Prometheus writes, and what our writer relies on. */
static enum tsdb_status check_order(struct tsdb_buf *before, const struct prom_series *s,
                                    struct tsdb_error *err)
{
    static struct tsdb_label items[TSDB_LABELS_MAX];
    struct tsdb_labels last = {items, 0};
    if (before->len > 0 && tsdb_labels_decode(before->data, before->len, items, TSDB_LABELS_MAX,
                                              &last.count, err) != TSDB_OK) {
        return TSDB_CORRUPT;
    }
    if (before->len > 0 && tsdb_labels_compare(&last, &s->labels) >= 0) {
        return tsdb_error_set(err, TSDB_CORRUPT, "series %u is not in label order", s->id);
    }
    tsdb_buf_clear(before);
    uint8_t *p = tsdb_buf_reserve(before, tsdb_labels_encoded_bytes(&s->labels));
    if (!p) {
        return tsdb_error_nomem(err, "labels");
    }
    before->len = tsdb_labels_encode(&s->labels, p);
    return TSDB_OK;
}

static enum tsdb_status copy_all(struct import *x, struct prom_block *from, struct block_writer *to,
                                 struct range_seen *seen, struct tsdb_error *err)
{
    struct tsdb_buf before;
    tsdb_buf_init(&before, TSDB_MEM_OTHER, 0);
    enum tsdb_status status = TSDB_OK;
    while (status == TSDB_OK) {
        struct prom_series s;
        tsdb_arena_reset(&x->series);
        status = tool_check(err);
        if (status == TSDB_OK) {
            status = prom_block_next(from, &x->series, &s, err);
        }
        if (status == TSDB_NOT_FOUND) {
            status = TSDB_OK;
            break;
        }
        struct tsdb_labels labels;
        if (status == TSDB_OK) {
            status = series_labels(x, &s, &labels, err);
        }
        if (status == TSDB_OK) {
            s.labels = labels;
            status = check_order(&before, &s, err);
        }
        if (status == TSDB_OK) {
            status = copy_series(x, from, to, &s, seen, err);
        }
    }
    tsdb_buf_deinit(&before);
    return status;
}

/* The 80 random bits of a ULID, as ulid_format takes them. */
static void ulid_random(const char *ulid, uint64_t out[2])
{
    static const char letters[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    out[0] = out[1] = 0;
    for (const char *p = ulid + 10; *p; p++) {
        uint64_t v = (uint64_t)(strchr(letters, *p) - letters);
        out[0] = out[0] << 5 | out[1] >> 59;
        out[1] = out[1] << 5 | v;
    }
    out[0] &= 0xffff;
}

static void put_row(struct import *x, const char *ulid, const struct block_meta *m,
                    const char *state)
{
    tool_table_str(&x->table, ulid);
    tool_table_number(&x->table, m->min_ms);
    tool_table_number(&x->table, m->max_ms);
    tool_table_number(&x->table, (int64_t)m->series);
    tool_table_number(&x->table, (int64_t)m->samples);
    tool_table_number(&x->table, (int64_t)m->bytes);
    tool_table_str(&x->table, state);
}

static enum tsdb_status import_block(struct import *x, const char *ulid, struct tsdb_error *err)
{
    struct prom_block *from = NULL;
    struct block_writer *to = NULL;
    struct range_seen seen = {INT64_MAX, INT64_MIN};
    struct block_meta meta = {.min_ms = INT64_MIN, .max_ms = INT64_MAX};
    struct block_writer_options o = {.fs = &x->dir.fs,
                                     .dir = BLOCKS_DIR,
                                     .wall_ms = ulid_time_ms(ulid),
                                     .sequence = x->sequence};
    ulid_random(ulid, o.random);
    enum tsdb_status status = prom_block_open(&x->src, ulid, &from, err);
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "%s/%s", x->t->args[0], ulid);
    }
    const struct prom_meta *pm = prom_block_meta(from);
    o.level = (uint32_t)TSDB_MAX(INT64_C(1), TSDB_MIN(pm->level, INT64_C(1000)));
    status = block_writer_open(&o, &to, err);
    if (status == TSDB_OK) {
        status = copy_all(x, from, to, &seen, err);
        if (status == TSDB_OK && seen.min_ms > seen.max_ms) {
            block_writer_abort(to);
            put_row(x, ulid, &meta, "empty");
        } else if (status == TSDB_OK) {
            int64_t end = seen.max_ms == INT64_MAX ? INT64_MAX : seen.max_ms + 1;
            x->oldest_ms = TSDB_MIN(x->oldest_ms, seen.min_ms);
            status = block_writer_finish(to, TSDB_MIN(pm->t_min, seen.min_ms),
                                         TSDB_MAX(pm->t_max, end), &meta, err);
        } else {
            block_writer_abort(to);
        }
    }
    prom_block_close(from);
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "%s/%s", x->t->args[0], ulid);
    }
    if (meta.samples > 0) {
        put_row(x, ulid, &meta, "imported");
        x->sequence++;
    }
    return status;
}

static enum tsdb_status import_all(struct import *x, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    const struct tsdb_fs *fs = &x->dir.fs;
    for (uint32_t i = 0; i < x->count && status == TSDB_OK; i++) {
        char path[64];
        struct tsdb_file_info info;
        snprintf(path, sizeof path, BLOCKS_DIR "/%s", x->names[i].ulid);
        status = fs->ops->stat(fs->ctx, path, &info, NULL);
        if (status == TSDB_NOT_FOUND) {
            status = import_block(x, x->names[i].ulid, err);
        } else if (status == TSDB_OK) {
            struct block_meta none = {.min_ms = INT64_MIN, .max_ms = INT64_MAX};
            put_row(x, x->names[i].ulid, &none, "there already");
            x->there++;
        }
    }
    return status;
}

/* Where SRC's head begins is the end of its blocks, as a Prometheus sees it. */
static enum tsdb_status find_head_begin(struct import *x, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    x->head_from_ms = INT64_MIN;
    for (uint32_t i = 0; i < x->count && status == TSDB_OK; i++) {
        char path[64];
        uint8_t *data = NULL;
        size_t len = 0;
        struct prom_meta m = {0};
        snprintf(path, sizeof path, "%s/meta.json", x->names[i].ulid);
        status = tsdb_file_read_all(&x->src, path, PROM_META_BYTES_MAX, TSDB_MEM_OTHER, &data, &len,
                                    err);
        if (status == TSDB_OK) {
            status = prom_meta_parse(data, len, &m, err);
            tsdb_mem_free(TSDB_MEM_OTHER, data, len);
        }
        if (status == TSDB_OK && !m.out_of_order) {
            x->head_from_ms = TSDB_MAX(x->head_from_ms, m.t_max);
        }
    }
    return status;
}

/* After the blocks, which are the older ones: of two samples with one time theirs stays. */
static enum tsdb_status import_rest(struct import *x, struct tsdb_error *err)
{
    struct block_meta m = {.min_ms = INT64_MIN, .max_ms = INT64_MAX};
    struct import_head *h = &x->head;
    if (!x->has_head) {
        return TSDB_OK;
    }
    enum tsdb_status status = find_head_begin(x, err);
    tool_dir_close(&x->dir); /* the engine takes the lock itself */
    if (status == TSDB_OK) {
        status = import_head(&x->src, x->head_from_ms, x->t->args[1], &x->progress, h, err);
    }
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "%s, its log", x->t->args[0]);
    }
    m.series = h->series;
    m.samples = h->samples;
    m.bytes = h->bytes;
    if (h->min_ms <= h->max_ms) {
        m.min_ms = h->min_ms;
        m.max_ms = h->max_ms;
    }
    put_row(x, "wal", &m, h->damaged > 0 ? h->damage : "imported");
    x->samples += h->samples;
    x->refused += h->refused;
    x->oldest_ms = TSDB_MIN(x->oldest_ms, h->min_ms);
    x->t->damaged = x->t->damaged || h->damaged > 0;
    return TSDB_OK;
}

static void tell_head(const struct import *x)
{
    const struct import_head *h = &x->head;
    if (h->damaged > 0) {
        tool_say("left out: what is damaged at %" PRIu64 " places, the first of them %s",
                 h->damaged, h->damage);
    }
    if (h->conflicts > 0) {
        tool_say("refused: %" PRIu64 " samples whose time has another value already", h->conflicts);
    }
    if (h->unknown > 0) {
        tool_say("left out: %" PRIu64 " samples of series whose labels the log does not have",
                 h->unknown);
    }
}

static void tell(const struct import *x)
{
    char text[64];
    if (x->refused > 0) {
        tool_say("left out: %" PRIu64 " histogram samples that are not valid", x->refused);
    }
    tell_head(x);
    tool_say("%" PRIu64 " samples", x->samples);
    if (x->oldest_ms != INT64_MAX) {
        tsdb_format_rfc3339_ms(text, x->oldest_ms);
        tool_say(
            "the oldest is of %s: a server whose --storage.tsdb.retention.time is shorter than "
            "that drops it",
            text);
    }
}

static const struct tool_column columns[] = {
    {"ulid", TOOL_CELL_TEXT},    {"from", TOOL_CELL_TIME},     {"to", TOOL_CELL_TIME},
    {"series", TOOL_CELL_COUNT}, {"samples", TOOL_CELL_COUNT}, {"bytes", TOOL_CELL_BYTES},
    {"state", TOOL_CELL_TEXT},
};

enum tsdb_status tool_import_prometheus(struct tool *t, struct tsdb_error *err)
{
    struct import x = {.t = t, .oldest_ms = INT64_MAX};
    tsdb_arena_init(&x.list, TSDB_MEM_OTHER, 65536, NULL);
    tsdb_arena_init(&x.series, TSDB_MEM_OTHER, 1u << 20, NULL);
    tool_table_init(&x.table, columns, TSDB_ARRAY_LEN(columns));
    enum tsdb_status status = tool_must_be_dir(t->args[0], err);
    if (status == TSDB_OK) {
        status = tsdb_fs_real_create(t->args[0], &x.src, err);
    }
    if (status == TSDB_OK) {
        status = look_at_source(&x, err);
    }
    if (status == TSDB_OK) {
        status = tool_dir_write(t->args[1], &x.dir, err);
    }
    if (status == TSDB_OK) {
        status = look_at_target(&x, err);
    }
    tool_progress_begin(&x.progress, t, "samples", 0);
    if (status == TSDB_OK) {
        status = import_all(&x, err);
    }
    if (status == TSDB_OK) {
        status = import_rest(&x, err);
    }
    tool_progress_end(&x.progress);
    if (status == TSDB_OK) {
        status = tool_table_print(&x.table, t, err);
        tell(&x);
    }
    tool_dir_close(&x.dir);
    if (x.src.ops) {
        tsdb_fs_real_destroy(&x.src);
    }
    tool_table_deinit(&x.table);
    tsdb_arena_deinit(&x.series);
    tsdb_arena_deinit(&x.list);
    return status;
}
