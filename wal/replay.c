/* Replay: segment by segment, whole; every frame checked; what cannot be read is noted, never
 * silently skipped.
 *
 * How far a segment counts stands in its successor's header (prev_segment, prev_end): a closed
 * segment must be readable up to there, and what lies beyond is void (written again in the
 * successor, or old content of a recycled file). Where nobody says so, in the newest segment and
 * the last one of a process that died, the log ends where frames end.
 *
 * A segment is read in windows as long as frame follows frame; from where one does not, its rest is read as a whole,
 * so that what is judged there is judged with all that lies behind it.
 */
#include "base/assert.h"
#include "base/log.h"
#include "base/numbered.h"
#include "wal/wal_private.h"

#include <stdlib.h>

#define END_UNKNOWN UINT64_MAX

struct replay_segment {
    uint64_t segment;
    uint64_t end;   /* from a later header: it counts up to here; or END_UNKNOWN */
    uint64_t place; /* what its frames verify with */
    bool header_ok;
    bool foreign;     /* its header is whole, and of another data directory */
    bool opened_here; /* its header says that a process began with it */
    bool tail_open;   /* an interrupted write may stand at its end */
};

/* A stretch of a segment, and the frames in it. */
struct replay_window {
    uint8_t *data;
    size_t cap;
    uint64_t from, to; /* bytes of the segment */
    struct wal_frame *frames;
    uint32_t frame_count, frame_cap;
};

struct wal_replay {
    struct wal_replay_options o;
    char dir[WAL_PATH_MAX];
    struct replay_segment *segments;
    uint32_t count, cap, next;
    uint64_t expected;               /* number of the next segment, 0: any */
    struct replay_window windows[2]; /* the second one where a view outlives the next */
    struct replay_window *window;    /* of the view */
    struct tsdb_file *file;          /* of segments[next], once it is begun; or NULL */
    uint64_t size, at;               /* of it; where to go on */
    bool whole;                      /* read all the rest of it */
    struct wal_damage *damage;
    uint32_t damage_count, damage_cap;
    struct wal_position position; /* sequence 0: none */
    uint64_t reached;             /* in the position's segment: where its good frames end */
    bool met;                     /* that segment was read */
    _Atomic(uint64_t) current;    /* for wal_replay_progress, any thread */
};

/* Make room for one more item of `each` bytes. *items and *cap change together. */
static enum tsdb_status array_grow(void **items, uint32_t *cap, size_t each, struct tsdb_error *err)
{
    uint32_t want = *cap ? 2 * *cap : 64;
    if (want <= *cap) {
        return tsdb_error_set(err, TSDB_LIMIT, "wal replay: more than %u items", *cap);
    }
    void *grown = tsdb_mem_realloc(TSDB_MEM_WAL, *items, *cap * each, want * each);
    if (!grown) {
        return tsdb_error_nomem(err, "a list of the log's replay");
    }
    *items = grown;
    *cap = want;
    return TSDB_OK;
}

/* ---- opening ---- */

struct listing {
    struct wal_replay *r;
    struct tsdb_error *err;
};

static enum tsdb_status list_entry(void *arg, const char *name, bool is_dir)
{
    const struct listing *l = arg;
    struct wal_replay *r = l->r;
    uint64_t segment;
    if (is_dir || !tsdb_numbered_parse(name, &segment) || segment < r->o.segment_from) {
        return TSDB_OK;
    }
    if (r->count == r->cap) {
        void *items = r->segments;
        enum tsdb_status status = array_grow(&items, &r->cap, sizeof *r->segments, l->err);
        if (status != TSDB_OK) {
            return status;
        }
        r->segments = items;
    }
    r->segments[r->count++] = (struct replay_segment){
        .segment = segment, .end = END_UNKNOWN, .place = wal_place(r->o.mark, segment)};
    return TSDB_OK;
}

static int segment_compare(const void *a, const void *b)
{
    const struct replay_segment *x = a, *y = b;
    return (x->segment > y->segment) - (x->segment < y->segment);
}

/* Note for the segments before i what i's header says about them. */
static void ends_note(struct wal_replay *r, uint32_t i, const struct wal_segment_header *header)
{
    struct replay_segment *s = &r->segments[i];
    s->opened_here = header->prev_segment == 0;
    for (uint32_t j = i;
         j > 0 && !s->opened_here && r->segments[j - 1].segment >= header->prev_segment; j--) {
        struct replay_segment *before = &r->segments[j - 1];
        uint64_t end = before->segment == header->prev_segment ? header->prev_end : 0;
        before->end = TSDB_MIN(before->end, end);
    }
}

static enum tsdb_status header_read(struct wal_replay *r, uint32_t i, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = r->o.fs;
    struct replay_segment *s = &r->segments[i];
    uint8_t bytes[WAL_SEGMENT_HEADER_BYTES];
    char path[WAL_PATH_MAX];
    struct tsdb_file *f;
    size_t len = 0;
    wal_segment_path(path, r->dir, s->segment);
    enum tsdb_status status = fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &f, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = fs->ops->pread(fs->ctx, f, bytes, sizeof bytes, 0, &len, err);
    fs->ops->close(fs->ctx, f);
    if (status != TSDB_OK || len < sizeof bytes) {
        return status;
    }
    struct wal_segment_header header;
    status = wal_segment_header_get(bytes, s->segment, &header, err);
    if (status == TSDB_OK && r->o.any_mark) {
        s->place = wal_place(header.mark, s->segment);
    } else if (status == TSDB_OK) {
        s->foreign = header.mark != r->o.mark;
    }
    if (status == TSDB_OK && !s->foreign) {
        s->header_ok = true;
        ends_note(r, i, &header);
    }
    return status == TSDB_CORRUPT ? TSDB_OK : status; /* damage is noted when the segment is read */
}

/* A segment of another directory is damage. Where there is none but such, and no checkpoint that speaks
 * for the directory, its VERSION may be another's, and all of the log is still needed. */
static enum tsdb_status foreign_check(const struct wal_replay *r, struct tsdb_error *err)
{
    const struct replay_segment *foreign = NULL;
    for (uint32_t i = 0; i < r->count && r->o.segment_from == 0; i++) {
        if (r->segments[i].header_ok) {
            return TSDB_OK;
        }
        foreign = r->segments[i].foreign ? &r->segments[i] : foreign;
    }
    return !foreign ? TSDB_OK
                    : tsdb_error_set(err, TSDB_CORRUPT,
                                     "wal %08llu is of another data directory, and none is of this "
                                     "one: VERSION or the log was replaced",
                                     (unsigned long long)foreign->segment);
}

/* From the newest down: an end is open in the newest, in front of a header that says "opened here",
 * and in front of segments none of which has a header, because then all of them may be what a crash
 * left. */
static void tails_mark(struct wal_replay *r)
{
    bool open = true;
    for (uint32_t i = r->count; i > 0; i--) {
        struct replay_segment *s = &r->segments[i - 1];
        s->tail_open = open;
        open = s->header_ok ? s->opened_here : open;
    }
}

/* An unreadable position costs a notice, no start. */
static enum tsdb_status position_read(struct wal_replay *r, struct tsdb_error *err)
{
    struct tsdb_error why;
    enum tsdb_status status = wal_position_read(r->o.fs, r->dir, &r->position, &why);
    if (status == TSDB_UNSUPPORTED) {
        return tsdb_error_set(err, status, "%s", why.msg);
    }
    if (status != TSDB_OK) {
        tsdb_log(TSDB_LOG_WARN, "recovery", "nothing tells how far the log was synced",
                 TSDB_S("err", why.msg));
    }
    return TSDB_OK;
}

static enum tsdb_status replay_start(struct wal_replay *r, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = r->o.fs;
    enum tsdb_status status = position_read(r, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct listing l = {r, err};
    status = fs->ops->list(fs->ctx, r->dir, list_entry, &l, err);
    if (status == TSDB_NOT_FOUND) {
        return TSDB_OK; /* no log yet */
    }
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "wal replay");
    }
    if (r->count > 0) {
        qsort(r->segments, r->count, sizeof *r->segments, segment_compare);
    }
    for (uint32_t i = 0; i < r->count && status == TSDB_OK; i++) {
        status = header_read(r, i, err);
    }
    tails_mark(r);
    return status == TSDB_OK ? foreign_check(r, err) : status;
}

enum tsdb_status wal_replay_open(const struct wal_replay_options *options, struct wal_replay **out,
                                 struct tsdb_error *err)
{
    size_t dir_len = strlen(options->dir);
    TSDB_ASSERT(options->window_bytes == 0 || options->window_bytes >= WAL_REPLAY_WINDOW_MIN);
    if (dir_len + 32 > WAL_PATH_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "wal replay: the directory's name is too long");
    }
    struct wal_replay *r = tsdb_mem_alloc_zero(TSDB_MEM_WAL, sizeof *r);
    if (!r) {
        return tsdb_error_nomem(err, "the log's replay");
    }
    r->o = *options;
    memcpy(r->dir, options->dir, dir_len + 1);
    r->expected = options->segment_from;
    r->window = &r->windows[0];
    enum tsdb_status status = replay_start(r, err);
    if (status != TSDB_OK) {
        wal_replay_close(r);
        return status;
    }
    *out = r;
    return TSDB_OK;
}

void wal_replay_close(struct wal_replay *r)
{
    if (r) {
        tsdb_mem_free(TSDB_MEM_WAL, r->segments, r->cap * sizeof *r->segments);
        tsdb_mem_free(TSDB_MEM_WAL, r->damage, r->damage_cap * sizeof *r->damage);
        for (uint32_t i = 0; i < TSDB_ARRAY_LEN(r->windows); i++) {
            struct replay_window *w = &r->windows[i];
            tsdb_mem_free(TSDB_MEM_WAL, w->frames, w->frame_cap * sizeof *w->frames);
            tsdb_mem_free(TSDB_MEM_WAL, w->data, w->cap);
        }
        r->o.fs->ops->close(r->o.fs->ctx, r->file);
        tsdb_mem_free(TSDB_MEM_WAL, r, sizeof *r);
    }
}

/* ---- checking ---- */

static enum tsdb_status damage_note(struct wal_replay *r, uint64_t segment, uint64_t from,
                                    uint64_t to, bool torn, struct tsdb_error *err)
{
    if (r->damage_count == r->damage_cap) {
        void *items = r->damage;
        enum tsdb_status status = array_grow(&items, &r->damage_cap, sizeof *r->damage, err);
        if (status != TSDB_OK) {
            return status;
        }
        r->damage = items;
    }
    r->damage[r->damage_count++] = (struct wal_damage){segment, from, to, torn};
    return TSDB_OK;
}

/* The byte of the segment at `at`, which the window has. */
static const uint8_t *byte_at(const struct replay_window *w, uint64_t at)
{
    return w->data + (at - w->from);
}

/* Is there a frame at `at`, whole before `end`, and is it the one that was written here? Cheap
 * checks first. */
static bool frame_check(const struct replay_window *w, uint64_t place, uint64_t at, uint64_t end)
{
    const uint8_t *p = byte_at(w, at);
    if (end - at < WAL_FRAME_HEADER_BYTES ||
        tsdb_load_le32(p + WAL_FRAME_AT_MAGIC) != WAL_FRAME_MAGIC || p[WAL_FRAME_AT_ZERO] != 0 ||
        tsdb_load_le16(p + WAL_FRAME_AT_ZERO + 1) != 0 || p[WAL_FRAME_AT_TYPE] == 0 ||
        wal_frame_bytes(tsdb_load_le32(p + WAL_FRAME_AT_LEN)) > end - at) {
        return false;
    }
    return wal_frame_crc(p, place, at) == tsdb_load_le32(p + WAL_FRAME_AT_CRC);
}

/* The first frame at or after `at`; `end` if there is none. */
static uint64_t frame_find(const struct replay_window *w, uint64_t place, uint64_t at, uint64_t end)
{
    for (; at < end && end - at >= WAL_FRAME_HEADER_BYTES; at += WAL_FRAME_ALIGN) {
        if (tsdb_load_le32(byte_at(w, at)) == WAL_FRAME_MAGIC && frame_check(w, place, at, end)) {
            return at;
        }
    }
    return end;
}

/* One past the last byte in [from, to) that is not zero; `from` if all are. */
static uint64_t nonzero_end(const struct replay_window *w, uint64_t from, uint64_t to)
{
    while (to > from && *byte_at(w, to - 1) == 0) {
        to--;
    }
    return to;
}

static enum tsdb_status group_take(struct replay_window *w, const struct wal_group *g,
                                   uint32_t bytes, uint64_t at, struct tsdb_error *err)
{
    if (w->frame_count == w->frame_cap) {
        void *items = w->frames;
        enum tsdb_status status = array_grow(&items, &w->frame_cap, sizeof *w->frames, err);
        if (status != TSDB_OK) {
            return status;
        }
        w->frames = items;
    }
    w->frames[w->frame_count++] = (struct wal_frame){
        .type = (uint8_t)g->type,
        .partition = (uint8_t)g->partition,
        .len = (uint32_t)g->body.len,
        .bytes = bytes,
        .payload = g->body.data,
        .time_ms = g->time_ms,
        .offset = at,
    };
    return TSDB_OK;
}

/* Take the groups of a frame whose CRC is good. Where they are no groups all of it is damage: what
 * stands in it cannot be told from what does not. */
static enum tsdb_status frame_take(struct wal_replay *r, uint64_t segment, uint64_t at,
                                   struct tsdb_error *err)
{
    struct replay_window *w = r->window;
    const uint8_t *p = byte_at(w, at);
    const uint8_t *payload = p + WAL_FRAME_HEADER_BYTES;
    uint32_t len = tsdb_load_le32(p + WAL_FRAME_AT_LEN);
    if (p[WAL_FRAME_AT_TYPE] != WAL_FRAME_GROUPS) {
        return tsdb_error_set_at(
            err, TSDB_UNSUPPORTED, at, "wal %08llu at byte %llu: frame type %u is not known",
            (unsigned long long)segment, (unsigned long long)at, p[WAL_FRAME_AT_TYPE]);
    }
    uint32_t before = w->frame_count;
    struct wal_groups groups = {.pos = payload, .end = payload + len};
    struct wal_group group;
    const uint8_t *begin = p;
    while (wal_groups_next(&groups, &group)) {
        const uint8_t *end = groups.pos == groups.end ? p + wal_frame_bytes(len) : groups.pos;
        enum tsdb_status status = group_take(w, &group, (uint32_t)(end - begin), at, err);
        if (status != TSDB_OK) {
            return status;
        }
        begin = end;
    }
    if (groups.failed || len == 0) {
        w->frame_count = before;
        return damage_note(r, segment, at, at + wal_frame_bytes(len), false, err);
    }
    return TSDB_OK;
}

/* No frame at `at` nor later; the window reaches to `size`, the segment's end. Is that the end of the log, an
 * interrupted write, or a loss? */
static enum tsdb_status tail_judge(struct wal_replay *r, const struct replay_segment *s,
                                   uint64_t at, uint64_t size, struct tsdb_error *err)
{
    if (s->end != END_UNKNOWN) {
        return at < s->end ? damage_note(r, s->segment, at, s->end, false, err) : TSDB_OK;
    }
    if (at >= size) {
        return TSDB_OK;
    }
    uint64_t mark = TSDB_MIN(size, at + WAL_END_BYTES);
    if (nonzero_end(r->window, at, mark) == at) {
        return TSDB_OK; /* the end mark, or zeroes that nobody has written to yet */
    }
    return damage_note(r, s->segment, at, nonzero_end(r->window, at, size), s->tail_open, err);
}

/* The header is not this segment's. Notes the stretch up to the first frame, *out_at; `end` if
 * there is none. Where the tail is open, a header may be missing because its write was interrupted;
 * it holds nothing that was acknowledged, and frames verify without it. */
static enum tsdb_status header_judge(struct wal_replay *r, const struct replay_segment *s,
                                     uint64_t end, uint64_t *out_at, struct tsdb_error *err)
{
    uint64_t begin = TSDB_MIN((uint64_t)WAL_SEGMENT_HEADER_BYTES, end);
    uint64_t at = frame_find(r->window, s->place, begin, end);
    uint64_t to = at;
    bool open = s->tail_open && !s->foreign;
    *out_at = at;
    if (at == end) {
        to = nonzero_end(r->window, 0, end);
        if (to == 0 && open) {
            return TSDB_OK; /* created, never written to */
        }
        to = TSDB_MAX(to, (uint64_t)WAL_SEGMENT_HEADER_BYTES);
    }
    return damage_note(r, s->segment, 0, to, open, err);
}

/* Is what stands at `at` cut off by the window's end, so that it needs a later window? */
static bool window_cuts(const struct replay_window *w, uint64_t at)
{
    return w->to - at < WAL_FRAME_HEADER_BYTES ||
           wal_frame_bytes(tsdb_load_le32(byte_at(w, at) + WAL_FRAME_AT_LEN)) > w->to - at;
}

/* Take frames from r->at on. *out_more: the window ends before the segment does, and so do the frames in it, or what
 * follows them is none and must be judged with the rest. */
static enum tsdb_status window_walk(struct wal_replay *r, const struct replay_segment *s,
                                    bool *out_more, struct tsdb_error *err)
{
    const struct replay_window *w = r->window;
    uint64_t end = TSDB_MIN(s->end, r->size);
    bool partial = w->to < r->size;
    enum tsdb_status status = TSDB_OK;
    while (r->at <= end && end - r->at >= WAL_FRAME_HEADER_BYTES) {
        uint64_t at = r->at;
        bool cut = partial && window_cuts(w, at);
        if (!cut && frame_check(w, s->place, at, end)) {
            status = frame_take(r, s->segment, at, err);
            r->at += wal_frame_bytes(tsdb_load_le32(byte_at(w, at) + WAL_FRAME_AT_LEN));
        } else if (partial) {
            r->whole = !cut || at == w->from;
            *out_more = true;
            return TSDB_OK;
        } else {
            uint64_t next = frame_find(w, s->place, at + WAL_FRAME_ALIGN, end);
            if (next == end) {
                break;
            }
            status = damage_note(r, s->segment, at, next, false, err);
            r->at = next;
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
    /* Less than a frame's header is left; who judges that looks at all of it. */
    *out_more = r->whole = partial && s->end == END_UNKNOWN;
    return TSDB_OK;
}

/* ---- reading ---- */

static enum tsdb_status window_reserve(struct replay_window *w, size_t bytes,
                                       struct tsdb_error *err)
{
    if (bytes <= w->cap) {
        return TSDB_OK;
    }
    tsdb_mem_free(TSDB_MEM_WAL, w->data, w->cap);
    w->cap = 0;
    w->data = tsdb_mem_alloc(TSDB_MEM_WAL, bytes);
    if (!w->data) {
        return tsdb_error_nomem(err, "a stretch of a log segment");
    }
    w->cap = bytes;
    return TSDB_OK;
}

/* The window that begins with `from`. A file that is shorter than it was ends there. */
static enum tsdb_status window_read(struct wal_replay *r, uint64_t segment, uint64_t from,
                                    struct tsdb_error *err)
{
    const struct tsdb_fs *fs = r->o.fs;
    struct replay_window *w = r->window;
    size_t want = (size_t)(r->size - from);
    size_t got = 0;
    if (!r->whole) {
        want = TSDB_MIN(want, (size_t)r->o.window_bytes);
    }
    enum tsdb_status status = window_reserve(w, want, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = fs->ops->pread(fs->ctx, r->file, w->data, want, from, &got, err);
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "wal %08llu", (unsigned long long)segment);
    }
    w->from = from;
    w->to = from + got;
    r->size = got < want ? w->to : r->size;
    return TSDB_OK;
}

static enum tsdb_status segment_begin(struct wal_replay *r, const struct replay_segment *s,
                                      struct tsdb_error *err)
{
    const struct tsdb_fs *fs = r->o.fs;
    struct tsdb_file_info info;
    char path[WAL_PATH_MAX];
    if (r->expected != 0 && r->expected < s->segment) {
        enum tsdb_status status = damage_note(r, r->expected, 0, 0, false, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
    r->expected = s->segment + 1;
    /* A number to look at, orders nothing. */
    atomic_store_explicit(&r->current, s->segment, memory_order_relaxed);
    wal_segment_path(path, r->dir, s->segment);
    enum tsdb_status status = fs->ops->stat(fs->ctx, path, &info, err);
    if (status == TSDB_OK) {
        status = fs->ops->open(fs->ctx, path, TSDB_OPEN_READ, &r->file, err);
    }
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "wal %08llu", (unsigned long long)s->segment);
    }
    r->size = info.size_bytes;
    r->at = 0;
    r->whole = r->o.window_bytes == 0 || !s->header_ok;
    return TSDB_OK;
}

/* The first window is read. What begins the segment, and up to where r->at is then. */
static enum tsdb_status head_judge(struct wal_replay *r, const struct replay_segment *s,
                                   struct tsdb_error *err)
{
    r->met = r->met || s->segment == r->position.segment;
    r->at = WAL_SEGMENT_HEADER_BYTES;
    return s->header_ok ? TSDB_OK : header_judge(r, s, TSDB_MIN(s->end, r->size), &r->at, err);
}

/* The last window has been walked. */
static enum tsdb_status segment_end(struct wal_replay *r, const struct replay_segment *s,
                                    bool judged, struct tsdb_error *err)
{
    if (judged && s->segment == r->position.segment) {
        r->reached = r->at;
    }
    r->o.fs->ops->close(r->o.fs->ctx, r->file);
    r->file = NULL;
    r->next++;
    return judged ? tail_judge(r, s, r->at, r->size, err) : TSDB_OK;
}

/* Its bytes, should it have some, stand elsewhere. */
static bool segment_is_void(struct wal_replay *r, const struct replay_segment *s)
{
    if (s->end > WAL_SEGMENT_HEADER_BYTES) {
        return false;
    }
    r->met = r->met || s->segment == r->position.segment;
    r->reached = s->segment == r->position.segment ? r->position.offset : r->reached;
    return true;
}

/* The next window of the segment that is open. */
static enum tsdb_status window_next(struct wal_replay *r, const struct replay_segment *s,
                                    struct tsdb_error *err)
{
    bool first = r->at == 0;
    bool more = false;
    enum tsdb_status status = window_read(r, s->segment, r->at, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (first && segment_is_void(r, s)) {
        return segment_end(r, s, false, err);
    }
    if (first) {
        status = head_judge(r, s, err);
        if (status == TSDB_OK && !s->header_ok && r->at == TSDB_MIN(s->end, r->size)) {
            return segment_end(r, s, false, err); /* no frame, which is noted */
        }
    }
    if (status == TSDB_OK) {
        status = window_walk(r, s, &more, err);
    }
    return status == TSDB_OK && !more ? segment_end(r, s, true, err) : status;
}

enum tsdb_status wal_replay_segment(struct wal_replay *r, struct wal_segment_view *out,
                                    struct tsdb_error *err)
{
    if (r->next == r->count) {
        return tsdb_error_set(err, TSDB_NOT_FOUND, "wal replay: no more segments");
    }
    const struct replay_segment *s = &r->segments[r->next];
    enum tsdb_status status = r->file ? TSDB_OK : segment_begin(r, s, err);
    uint64_t from = r->at;
    if (r->o.window_bytes > 0) {
        r->window = &r->windows[r->window == &r->windows[0]];
    }
    r->window->frame_count = 0;
    if (status == TSDB_OK) {
        status = window_next(r, s, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    *out = (struct wal_segment_view){.segment = s->segment,
                                     .frames = r->window->frames,
                                     .frame_count = r->window->frame_count,
                                     .from = from,
                                     .to = r->file ? r->at : r->size,
                                     .bytes = r->size};
    return TSDB_OK;
}

uint32_t wal_replay_damage(const struct wal_replay *r, const struct wal_damage **out)
{
    *out = r->damage;
    return r->damage_count;
}

bool wal_replay_lost(const struct wal_replay *r, struct wal_lost *out)
{
    const struct wal_position *p = &r->position;
    uint64_t max = r->count ? r->segments[r->count - 1].segment : 0;
    if (p->sequence == 0 || p->segment < r->o.segment_from || (r->met && r->reached >= p->offset) ||
        (!r->met && max > p->segment)) {
        return false; /* all there; or a gap between segments, which is a damage */
    }
    uint64_t first = TSDB_MAX(max + 1, TSDB_MAX(r->o.segment_from, UINT64_C(1)));
    *out = (struct wal_lost){
        .segment_from = r->met ? p->segment : TSDB_MIN(first, p->segment),
        .segment_to = p->segment,
        .from = r->reached,
        .to = p->offset,
        .wall_ms = p->wall_ms,
    };
    return true;
}

uint64_t wal_replay_next(const struct wal_replay *r)
{
    uint64_t max = r->count ? r->segments[r->count - 1].segment : 0;
    return TSDB_MAX(max, r->position.segment) + 1;
}

void wal_replay_progress(const struct wal_replay *r, uint64_t *out_min, uint64_t *out_max,
                         uint64_t *out_current)
{
    *out_min = r->count ? r->segments[0].segment : 1;
    *out_max = r->count ? r->segments[r->count - 1].segment : 0;
    *out_current = atomic_load_explicit(&r->current, memory_order_relaxed);
}
