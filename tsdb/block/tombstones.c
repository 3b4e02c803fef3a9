#include "tsdb/block/tombstones.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "model/version.h"
#include "tsdb/block/block_private.h"

#include <string.h>

#define CATEGORY     TSDB_MEM_OTHER
#define MAGIC        "TDTB"
#define MAGIC_BYTES  4u
#define HEADER_BYTES (MAGIC_BYTES + 4u + BLOCK_ULID_CHARS + 4u + 4u + 8u + 8u)
#define CRC_BYTES    4u
#define RUN_MIN      5u /* a run takes: two ids, a count, one interval */
#define INTERVAL_MIN 2u

static const struct tombstone_run *runs_of(const struct tombstones *t)
{
    return (const struct tombstone_run *)(const void *)t->runs.data;
}

static const struct tsdb_time_range *intervals_of(const struct tombstones *t)
{
    return (const struct tsdb_time_range *)(const void *)t->intervals.data;
}

uint32_t tombstones_run_count(const struct tombstones *t)
{
    return (uint32_t)(t->runs.len / sizeof(struct tombstone_run));
}

static uint32_t interval_count(const struct tombstones *t)
{
    return (uint32_t)(t->intervals.len / sizeof(struct tsdb_time_range));
}

/* Why an append failed: the bound, and not memory. */
static bool is_full(const struct tombstones *t)
{
    return t->runs.len + sizeof(struct tombstone_run) > t->runs.len_max ||
           t->intervals.len + sizeof(struct tsdb_time_range) > t->intervals.len_max;
}

static struct tombstones *make(void)
{
    struct tombstones *t = tsdb_mem_alloc_zero(CATEGORY, sizeof *t);
    if (t) {
        tsdb_buf_init(&t->runs, CATEGORY, TOMBSTONES_RUNS_MAX * sizeof(struct tombstone_run));
        tsdb_buf_init(&t->intervals, CATEGORY,
                      TOMBSTONES_RUNS_MAX * sizeof(struct tsdb_time_range));
    }
    return t;
}

void tombstones_free(struct tombstones *t)
{
    while (t) {
        struct tombstones *older = t->older;
        tsdb_buf_deinit(&t->runs);
        tsdb_buf_deinit(&t->intervals);
        tsdb_mem_free(CATEGORY, t, sizeof *t);
        t = older;
    }
}

/* ---- making ---- */

static bool touches(const struct tsdb_time_range *a, const struct tsdb_time_range *b)
{
    bool before = a->max_ms < INT64_MAX && a->max_ms + 1 < b->min_ms;
    bool after = b->max_ms < INT64_MAX && b->max_ms + 1 < a->min_ms;
    return !before && !after;
}

/* Append the intervals with the range (NULL: nothing) among them. */
static void intervals_put(struct tombstones *t, const struct tombstone_cuts *old,
                          const struct tsdb_time_range *range)
{
    struct tsdb_time_range wide = range ? *range : (struct tsdb_time_range){0, 0};
    bool pending = range != NULL;
    for (uint32_t i = 0; i < old->count; i++) {
        struct tsdb_time_range have = old->items[i];
        if (pending && touches(&have, &wide)) {
            wide.min_ms = TSDB_MIN(wide.min_ms, have.min_ms);
            wide.max_ms = TSDB_MAX(wide.max_ms, have.max_ms);
            continue;
        }
        if (pending && wide.max_ms < have.min_ms) {
            tsdb_buf_put(&t->intervals, &wide, sizeof wide);
            pending = false;
        }
        tsdb_buf_put(&t->intervals, &have, sizeof have);
    }
    if (pending) {
        tsdb_buf_put(&t->intervals, &wide, sizeof wide);
    }
}

/* The run [first, last], whose intervals were appended from `at` on; one with the run before if that
 * has the same. */
static void run_put(struct tombstones *t, uint32_t first, uint32_t last, uint32_t at)
{
    uint32_t n = tombstones_run_count(t);
    struct tombstone_run run = {first, last, at, interval_count(t) - at};
    struct tombstone_run *before =
        n > 0 ? (struct tombstone_run *)(void *)t->runs.data + (n - 1) : NULL;
    if (before && before->last + 1 == first && before->count == run.count &&
        memcmp(intervals_of(t) + before->at, intervals_of(t) + at,
               run.count * sizeof(struct tsdb_time_range)) == 0) {
        before->last = last;
        t->intervals.len = at * sizeof(struct tsdb_time_range);
        return;
    }
    tsdb_buf_put(&t->runs, &run, sizeof run);
}

/* Two lists of runs, walked side by side. */
struct side {
    const struct tombstone_run *runs; /* of the old ones */
    const uint32_t *ids;              /* of the new ones; NULL: old */
    uint32_t count, next;
    bool there; /* a run is at hand: */
    uint64_t first, last;
};

static void side_step(struct side *s)
{
    s->there = s->next < s->count;
    if (!s->there) {
        return;
    }
    if (s->runs) {
        s->first = s->runs[s->next].first;
        s->last = s->runs[s->next++].last;
        return;
    }
    TSDB_ASSERT(s->ids);
    s->first = s->last = s->ids[s->next++];
    while (s->next < s->count && s->ids[s->next] == s->last + 1) {
        s->last = s->ids[s->next++];
    }
}

static void merge(const struct tombstones *old, struct side *a, struct side *b,
                  const struct tsdb_time_range *range, struct tombstones *out)
{
    uint64_t pos = 0;
    side_step(a);
    side_step(b);
    while ((a->there || b->there) && !out->runs.failed && !out->intervals.failed) {
        uint64_t in_a = a->there ? TSDB_MAX(a->first, pos) : UINT64_MAX;
        uint64_t in_b = b->there ? TSDB_MAX(b->first, pos) : UINT64_MAX;
        uint64_t begin = TSDB_MIN(in_a, in_b);
        uint64_t end = UINT64_MAX;
        if (a->there) {
            end = TSDB_MIN(end, in_a == begin ? a->last : in_a - 1);
        }
        if (b->there) {
            end = TSDB_MIN(end, in_b == begin ? b->last : in_b - 1);
        }
        struct tombstone_cuts none = {NULL, 0};
        struct tombstone_cuts cuts = in_a == begin ? tombstones_find(old, (uint32_t)begin) : none;
        uint32_t at = interval_count(out);
        intervals_put(out, &cuts, in_b == begin ? range : NULL);
        if (!out->intervals.failed) {
            run_put(out, (uint32_t)begin, (uint32_t)end, at);
        }
        pos = end + 1;
        if (a->there && a->last < pos) {
            side_step(a);
        }
        if (b->there && b->last < pos) {
            side_step(b);
        }
    }
}

enum tsdb_status tombstones_add(const struct tombstones *old, const uint32_t *ids, uint32_t count,
                                struct tsdb_time_range range, struct tombstones **out,
                                struct tsdb_error *err)
{
    TSDB_ASSERT(range.min_ms <= range.max_ms);
    struct tombstones *t = make();
    if (!t) {
        return tsdb_error_nomem(err, "tombstones of a block");
    }
    struct side a = {.runs = old ? runs_of(old) : NULL,
                     .count = old ? tombstones_run_count(old) : 0};
    struct side b = {.ids = ids, .count = count};
    merge(old, &a, &b, &range, t);
    if (t->runs.failed || t->intervals.failed) {
        bool full = is_full(t);
        tombstones_free(t);
        return full ? tsdb_error_set(err, TSDB_LIMIT,
                                     "more than %u runs of series in the tombstones of a block: "
                                     "clean them first, or select fewer series",
                                     TOMBSTONES_RUNS_MAX)
                    : tsdb_error_nomem(err, "tombstones of a block");
    }
    t->samples = old ? old->samples : 0;
    t->bytes = old ? old->bytes : 0;
    *out = t;
    return TSDB_OK;
}

/* ---- asking ---- */

uint64_t tombstones_series(const struct tombstones *t)
{
    uint64_t series = 0;
    for (uint32_t i = 0; t && i < tombstones_run_count(t); i++) {
        series += (uint64_t)runs_of(t)[i].last - runs_of(t)[i].first + 1;
    }
    return series;
}

struct tombstone_cuts tombstones_find(const struct tombstones *t, uint32_t id)
{
    uint32_t low = 0;
    uint32_t high = t ? tombstones_run_count(t) : 0;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        const struct tombstone_run *run = &runs_of(t)[mid];
        if (id < run->first) {
            high = mid;
        } else if (id > run->last) {
            low = mid + 1;
        } else {
            return (struct tombstone_cuts){intervals_of(t) + run->at, run->count};
        }
    }
    return (struct tombstone_cuts){NULL, 0};
}

bool tombstone_cuts_cover(const struct tombstone_cuts *c, int64_t min_ms, int64_t max_ms)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->items[i].min_ms <= min_ms && max_ms <= c->items[i].max_ms) {
            return true;
        }
    }
    return false;
}

bool tombstone_cuts_touch(const struct tombstone_cuts *c, int64_t min_ms, int64_t max_ms)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->items[i].min_ms <= max_ms && min_ms <= c->items[i].max_ms) {
            return true;
        }
    }
    return false;
}

/* The first sample in [from, count) that is not before t_ms. */
static uint32_t lower_bound(const struct piece *p, uint32_t from, int64_t t_ms)
{
    uint32_t low = from;
    uint32_t high = p->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (p->t_ms[mid] < t_ms) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

bool tombstone_cuts_next(const struct tombstone_cuts *c, const struct piece *whole, uint32_t *pos,
                         struct piece *out)
{
    TSDB_ASSERT(whole->sorted);
    uint32_t begin = *pos;
    uint32_t end = whole->count;
    for (uint32_t i = 0; i < c->count && begin < whole->count; i++) {
        const struct tsdb_time_range *cut = &c->items[i];
        if (cut->max_ms < whole->t_ms[begin]) {
            continue;
        }
        if (whole->t_ms[begin] < cut->min_ms) {
            end = lower_bound(whole, begin, cut->min_ms);
            break;
        }
        begin =
            cut->max_ms == INT64_MAX ? whole->count : lower_bound(whole, begin, cut->max_ms + 1);
    }
    *pos = end;
    if (begin >= whole->count) {
        *pos = whole->count;
        return false;
    }
    *out = *whole;
    out->t_ms += begin;
    out->value += begin;
    out->start_ms = whole->start_ms ? whole->start_ms + begin : NULL;
    out->count = end - begin;
    return true;
}

enum tsdb_status tombstone_cuts_apply(const struct tombstone_cuts *c, struct tsdb_arena *arena,
                                      struct chunk_samples *s)
{
    if (!tombstone_cuts_touch(c, s->t_ms[0], s->t_ms[s->count - 1])) {
        return TSDB_OK;
    }
    int64_t *t_ms = TSDB_ARENA_ARRAY(arena, int64_t, s->count);
    uint64_t *value = TSDB_ARENA_ARRAY(arena, uint64_t, s->count);
    int64_t *start_ms = s->start_ms ? TSDB_ARENA_ARRAY(arena, int64_t, s->count) : NULL;
    if (!t_ms || !value || (s->start_ms && !start_ms)) {
        return tsdb_arena_status(arena);
    }
    const struct piece whole = piece_of_chunk(s);
    struct piece part;
    uint32_t n = 0;
    for (uint32_t pos = 0; tombstone_cuts_next(c, &whole, &pos, &part); n += part.count) {
        memcpy(t_ms + n, part.t_ms, part.count * sizeof *t_ms);
        memcpy(value + n, part.value, part.count * sizeof *value);
        if (start_ms) {
            memcpy(start_ms + n, part.start_ms, part.count * sizeof *start_ms);
        }
    }
    s->count = n;
    s->t_ms = t_ms;
    s->value = value;
    s->start_ms = start_ms;
    return TSDB_OK;
}

/* ---- the file ---- */

void tombstones_encode(const struct tombstones *t, const char *ulid, uint32_t series,
                       struct tsdb_buf *out)
{
    size_t begin = out->len;
    uint64_t next_id = 0;
    tsdb_buf_put(out, MAGIC, MAGIC_BYTES);
    tsdb_buf_put_le32(out, TSDB_FORMAT_TOMBSTONES);
    tsdb_buf_put(out, ulid, BLOCK_ULID_CHARS);
    tsdb_buf_put_le32(out, series);
    tsdb_buf_put_le32(out, tombstones_run_count(t));
    tsdb_buf_put_le64(out, t->samples);
    tsdb_buf_put_le64(out, t->bytes);
    for (uint32_t i = 0; i < tombstones_run_count(t); i++) {
        const struct tombstone_run *run = &runs_of(t)[i];
        int64_t from_ms = 0;
        tsdb_buf_put_uvarint(out, run->first - next_id);
        tsdb_buf_put_uvarint(out, run->last - run->first);
        tsdb_buf_put_uvarint(out, run->count);
        for (uint32_t k = 0; k < run->count; k++) {
            const struct tsdb_time_range *r = &intervals_of(t)[run->at + k];
            if (k == 0) {
                tsdb_buf_put_varint(out, r->min_ms);
            } else {
                tsdb_buf_put_uvarint(out, (uint64_t)r->min_ms - (uint64_t)from_ms);
            }
            tsdb_buf_put_uvarint(out, (uint64_t)r->max_ms - (uint64_t)r->min_ms);
            from_ms = r->max_ms;
        }
        next_id = (uint64_t)run->last + 1;
    }
    if (!out->failed) {
        tsdb_buf_put_le32(out, tsdb_crc32c(0, out->data + begin, out->len - begin));
    }
}

/* An interval behind `before` (NULL: the first one of its run), with a gap between. */
static bool take_interval(struct tsdb_reader *r, const struct tsdb_time_range *before,
                          struct tsdb_time_range *out)
{
    uint64_t first = tsdb_reader_uvarint(r);
    uint64_t span = tsdb_reader_uvarint(r);
    if (!before) {
        out->min_ms = tsdb_unzigzag(first);
    } else if (first < 2 || first > (uint64_t)INT64_MAX - (uint64_t)before->max_ms) {
        return false;
    } else {
        out->min_ms = (int64_t)((uint64_t)before->max_ms + first);
    }
    if (r->failed || span > (uint64_t)INT64_MAX - (uint64_t)out->min_ms) {
        return false;
    }
    out->max_ms = (int64_t)((uint64_t)out->min_ms + span);
    return true;
}

static bool take_run(struct tsdb_reader *r, struct tombstones *t, uint32_t series,
                     uint64_t *next_id)
{
    uint64_t gap = tsdb_reader_uvarint(r);
    uint64_t more = tsdb_reader_uvarint(r);
    uint64_t count = tsdb_reader_uvarint(r);
    if (r->failed || count == 0 || count > tsdb_reader_left(r) / INTERVAL_MIN ||
        *next_id > series || gap >= series - *next_id || more >= series - *next_id - gap) {
        return false;
    }
    struct tsdb_time_range before = {0, 0};
    uint32_t at = interval_count(t);
    for (uint64_t i = 0; i < count; i++) {
        struct tsdb_time_range now;
        if (!take_interval(r, i > 0 ? &before : NULL, &now)) {
            return false;
        }
        tsdb_buf_put(&t->intervals, &now, sizeof now);
        before = now;
    }
    struct tombstone_run run = {(uint32_t)(*next_id + gap), (uint32_t)(*next_id + gap + more), at,
                                (uint32_t)count};
    tsdb_buf_put(&t->runs, &run, sizeof run);
    *next_id = (uint64_t)run.last + 1;
    return true;
}

static enum tsdb_status corrupt(const struct tsdb_reader *r, const char *what,
                                struct tsdb_error *err)
{
    uint64_t pos = (uint64_t)(r->pos - r->begin);
    return tsdb_error_set_at(err, TSDB_CORRUPT, pos, TOMBSTONES_NAME " at byte %llu: %s",
                             (unsigned long long)pos, what);
}

enum tsdb_status tombstones_version_check(const uint8_t *data, size_t len, struct tsdb_error *err)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, data, len);
    if (len < MAGIC_BYTES + 4 + CRC_BYTES || memcmp(data, MAGIC, MAGIC_BYTES) != 0) {
        return corrupt(&r, "too short, or no magic", err);
    }
    if (tsdb_crc32c(0, data, len - CRC_BYTES) != tsdb_load_le32(data + len - CRC_BYTES)) {
        return corrupt(&r, "cut short, or the crc does not match", err);
    }
    uint32_t version = tsdb_load_le32(data + MAGIC_BYTES);
    return version == TSDB_FORMAT_TOMBSTONES
               ? TSDB_OK
               : tsdb_error_set(err, TSDB_UNSUPPORTED,
                                TOMBSTONES_NAME ": format %u; this version knows %d", version,
                                TSDB_FORMAT_TOMBSTONES);
}

static enum tsdb_status body_take(struct tsdb_reader *r, struct tombstones *t, uint32_t series,
                                  struct tsdb_error *err)
{
    uint64_t next_id = 0;
    uint32_t runs = tsdb_reader_le32(r);
    t->samples = tsdb_reader_le64(r);
    t->bytes = tsdb_reader_le64(r);
    if (runs > tsdb_reader_left(r) / RUN_MIN || runs > TOMBSTONES_RUNS_MAX) {
        return corrupt(r, "more runs than bytes", err);
    }
    for (uint32_t i = 0; i < runs; i++) {
        if (!take_run(r, t, series, &next_id)) {
            return corrupt(r, "no run of series with its times", err);
        }
    }
    if (t->runs.failed || t->intervals.failed) {
        return is_full(t) ? corrupt(r, "more intervals than any writer makes", err)
                          : tsdb_error_nomem(err, "tombstones of a block");
    }
    return r->pos == r->end ? TSDB_OK : corrupt(r, "bytes behind the last run", err);
}

enum tsdb_status tombstones_decode(const uint8_t *src, size_t len, const char *ulid,
                                   uint32_t series, struct tombstones **out, struct tsdb_error *err)
{
    struct tsdb_reader r;
    enum tsdb_status status = tombstones_version_check(src, len, err);
    if (status != TSDB_OK) {
        return status;
    }
    tsdb_reader_init(&r, src, len);
    if (len < HEADER_BYTES + CRC_BYTES) {
        return corrupt(&r, "too short", err);
    }
    r.end -= CRC_BYTES;
    (void)tsdb_reader_bytes(&r, MAGIC_BYTES + 4);
    struct tsdb_slice of = tsdb_reader_bytes(&r, BLOCK_ULID_CHARS);
    if (memcmp(of.data, ulid, of.len) != 0 || tsdb_reader_le32(&r) != series) {
        return corrupt(&r, "they are of another block", err);
    }
    struct tombstones *t = make();
    if (!t) {
        return tsdb_error_nomem(err, "tombstones of a block");
    }
    status = body_take(&r, t, series, err);
    if (status != TSDB_OK) {
        tombstones_free(t);
        return status;
    }
    *out = t;
    return TSDB_OK;
}

/* Are the first bytes those of this version? Most are, and need no more. */
static bool begins_well(const struct tsdb_fs *fs, const char *path)
{
    uint8_t head[MAGIC_BYTES + 4];
    size_t got = 0;
    struct tsdb_file *f = NULL;
    if (fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &f, NULL) != TSDB_OK) {
        return true; /* there is none */
    }
    enum tsdb_status status = fs->ops->pread(fs->ctx, f, head, sizeof head, 0, &got, NULL);
    fs->ops->close(fs->ctx, f);
    return status != TSDB_OK || got < sizeof head ||
           tsdb_load_le32(head + MAGIC_BYTES) == TSDB_FORMAT_TOMBSTONES;
}

enum tsdb_status tombstones_version_look(const struct tsdb_fs *fs, const char *path,
                                         struct tsdb_error *err)
{
    uint8_t *data = NULL;
    size_t len = 0;
    struct tsdb_error why;
    if (begins_well(fs, path) || tsdb_file_read_all(fs, path, TOMBSTONES_BYTES_MAX, CATEGORY, &data,
                                                    &len, NULL) != TSDB_OK) {
        return TSDB_OK;
    }
    enum tsdb_status status = tombstones_version_check(data, len, &why);
    tsdb_mem_free(CATEGORY, data, len);
    return status != TSDB_UNSUPPORTED
               ? TSDB_OK
               : tsdb_error_set(err, TSDB_UNSUPPORTED, "%s: %s", path, why.msg);
}

enum tsdb_status tombstones_load(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                                 uint32_t series, struct tombstones **out, struct tsdb_error *err)
{
    char path[BLOCK_PATH_BYTES];
    uint8_t *data = NULL;
    size_t len = 0;
    *out = NULL;
    enum tsdb_status status = block_path(path, dir, ulid, "", TOMBSTONES_NAME, err);
    if (status == TSDB_OK) {
        status = tsdb_file_read_all(fs, path, TOMBSTONES_BYTES_MAX, CATEGORY, &data, &len, err);
    }
    if (status != TSDB_OK) {
        return status == TSDB_NOT_FOUND ? TSDB_OK : status == TSDB_LIMIT ? TSDB_CORRUPT : status;
    }
    status = tombstones_decode(data, len, ulid, series, out, err);
    tsdb_mem_free(CATEGORY, data, len);
    return status;
}

enum tsdb_status tombstones_settle(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                                   struct tsdb_error *err)
{
    char path[BLOCK_PATH_BYTES];
    enum tsdb_status status = block_path(path, dir, ulid, "", NULL, err);
    return status == TSDB_OK ? fs->ops->sync_dir(fs->ctx, path, err) : status;
}

enum tsdb_status tombstones_store(const struct tsdb_fs *fs, const char *dir, const char *ulid,
                                  uint32_t series, const struct tombstones *t,
                                  struct tsdb_error *err)
{
    char path[BLOCK_PATH_BYTES];
    struct tsdb_buf buf;
    tsdb_buf_init(&buf, CATEGORY, TOMBSTONES_BYTES_MAX);
    tombstones_encode(t, ulid, series, &buf);
    enum tsdb_status status = block_path(path, dir, ulid, "", TOMBSTONES_NAME, err);
    if (status == TSDB_OK && buf.failed) {
        status = tsdb_error_nomem(err, "tombstones of a block");
    }
    if (status == TSDB_OK) {
        status = tsdb_file_replace(fs, path, buf.data, buf.len, err);
    }
    tsdb_buf_deinit(&buf);
    return status;
}
