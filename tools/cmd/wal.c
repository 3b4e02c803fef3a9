/* wal ls, inspect, verify, dump: the log as it lies there, checkpoints left aside. */
#include "wal/wal.h"

#include "base/numbered.h"
#include "model/labels.h"
#include "query/json.h"
#include "tools/cmd/commands.h"
#include "tools/cmd/open.h"
#include "tools/cmd/out.h"
#include "wal/record.h"

#include <inttypes.h>

/* Of one segment, or of all. */
struct wal_figures {
    uint64_t frames, frame_bytes, new_series, samples, histograms, exemplars, malformed;
};

/* A packed value stands on the last float of its series in the same epoch. */
struct wal_base {
    uint64_t key; /* partition << 32 | local, + 1; 0: free */
    uint64_t epoch, bits;
};
struct wal_bases {
    struct wal_base *items;
    size_t cap, count; /* cap a power of two, or 0 */
};

struct wal_tool {
    struct tool *t;
    struct tool_dir dir;
    struct wal_replay *replay;
    struct wal_bases bases;
    struct tsdb_buf out;
    struct tool_progress progress;
};

/* ---- bases ---- */
static struct wal_base *base_slot(const struct wal_bases *b, uint64_t key)
{
    size_t i = (size_t)(key * UINT64_C(0x9e3779b97f4a7c15)) & (b->cap - 1);
    while (b->items[i].key != 0 && b->items[i].key != key) {
        i = (i + 1) & (b->cap - 1);
    }
    return &b->items[i];
}

static enum tsdb_status bases_grow(struct wal_bases *b, struct tsdb_error *err)
{
    struct wal_bases next = {.cap = b->cap ? 2 * b->cap : 1024, .count = b->count};
    next.items = tsdb_mem_alloc_zero(TSDB_MEM_WAL, next.cap * sizeof *next.items);
    if (!next.items) {
        return tsdb_error_nomem(err, "the values that others are packed against");
    }
    for (size_t i = 0; i < b->cap; i++) {
        if (b->items[i].key != 0) {
            *base_slot(&next, b->items[i].key) = b->items[i];
        }
    }
    tsdb_mem_free(TSDB_MEM_WAL, b->items, b->cap * sizeof *b->items);
    *b = next;
    return TSDB_OK;
}

/* The value of a float sample, if its base is known. */
static enum tsdb_status unpack(struct wal_bases *b, uint8_t partition, uint64_t epoch,
                               const struct wal_sample *s, bool *known, uint64_t *out,
                               struct tsdb_error *err)
{
    if (2 * (b->count + 1) > b->cap) {
        enum tsdb_status status = bases_grow(b, err);
        if (status != TSDB_OK) {
            return status;
        }
    }
    uint64_t key = ((uint64_t)partition << 32 | s->local) + 1;
    struct wal_base *base = base_slot(b, key);
    *known = !s->needs_base || (base->key == key && base->epoch == epoch);
    if (*known) {
        *out = s->needs_base ? wal_sample_unpack(s, base->bits) : s->bits;
        b->count += base->key == 0;
        *base = (struct wal_base){key, epoch, *out};
    }
    return TSDB_OK;
}

/* ---- frames ---- */
static const char *type_name(uint8_t type)
{
    switch (type) {
    case WAL_RECORD_SERIES:
        return "series";
    case WAL_RECORD_SAMPLES:
        return "samples";
    case WAL_RECORD_EXEMPLARS:
        return "exemplars";
    default:
        return "unknown";
    }
}

static void count_samples(struct wal_decoder *d, struct wal_figures *f)
{
    struct wal_sample s;
    while (wal_decode_sample(d, &s)) {
        f->samples++;
        f->histograms += s.kind != TSDB_SAMPLE_FLOAT;
    }
}

static void count_series(struct wal_decoder *d, struct wal_figures *f)
{
    struct tsdb_buf bytes;
    uint32_t local;
    tsdb_buf_init(&bytes, TSDB_MEM_OTHER, 0);
    while (wal_decode_series(d, &bytes, &local)) {
        f->new_series++;
    }
    tsdb_buf_deinit(&bytes);
}

static void count_frame(const struct wal_frame *frame, struct wal_figures *f)
{
    struct wal_frame_head head;
    struct wal_decoder d = {.failed = false};
    struct tsdb_label labels[TSDB_LABELS_MAX];
    struct tsdb_exemplar exemplar;
    uint32_t local;
    f->frames++;
    f->frame_bytes += frame->bytes;
    if (wal_decode_head(frame->payload, frame->len, frame->time_ms, &head, &d, NULL) != TSDB_OK) {
        f->malformed++;
        return;
    }
    switch (frame->type) {
    case WAL_RECORD_SERIES:
        count_series(&d, f);
        break;
    case WAL_RECORD_SAMPLES:
        count_samples(&d, f);
        break;
    case WAL_RECORD_EXEMPLARS:
        while (wal_decode_exemplar(&d, &local, labels, TSDB_LABELS_MAX, &exemplar)) {
            f->exemplars++;
        }
        break;
    default:
        f->malformed++;
        return;
    }
    f->malformed += d.failed;
}

/* ---- going over the segments ---- */
typedef enum tsdb_status (*segment_fn)(struct wal_tool *w, const struct wal_segment_view *v,
                                       void *arg, struct tsdb_error *err);

static enum tsdb_status wal_begin(struct wal_tool *w, struct tool *t, struct tsdb_error *err)
{
    *w = (struct wal_tool){.t = t};
    tsdb_buf_init(&w->out, TSDB_MEM_OTHER, 0);
    enum tsdb_status status = tool_dir_read(t->args[0], &w->dir, err);
    if (status == TSDB_OK) {
        struct wal_replay_options o = {.fs = &w->dir.fs, .dir = DATADIR_WAL, .any_mark = true};
        status = wal_replay_open(&o, &w->replay, err);
    }
    tool_progress_begin(&w->progress, t, "frames", 0);
    return status;
}

static void wal_end(struct wal_tool *w)
{
    tool_progress_end(&w->progress);
    wal_replay_close(w->replay);
    tsdb_mem_free(TSDB_MEM_WAL, w->bases.items, w->bases.cap * sizeof *w->bases.items);
    tsdb_buf_deinit(&w->out);
    tool_dir_close(&w->dir);
}

static enum tsdb_status each_segment(struct wal_tool *w, segment_fn fn, void *arg,
                                     struct tsdb_error *err)
{
    for (;;) {
        struct wal_segment_view v;
        enum tsdb_status status = tool_check(err);
        if (status == TSDB_OK) {
            status = wal_replay_segment(w->replay, &v, err);
        }
        if (status == TSDB_NOT_FOUND) {
            return TSDB_OK;
        }
        if (status == TSDB_OK) {
            status = fn(w, &v, arg, err);
            tool_progress_add(&w->progress, v.frame_count);
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
}

static struct wal_figures figures_of(const struct wal_segment_view *v)
{
    struct wal_figures f = {.frames = 0};
    for (uint32_t i = 0; i < v->frame_count; i++) {
        count_frame(&v->frames[i], &f);
    }
    return f;
}

/* ---- ls ---- */
static const struct tool_column ls_columns[] = {
    {"segment", TOOL_CELL_COUNT},   {"file_bytes", TOOL_CELL_BYTES}, {"frames", TOOL_CELL_COUNT},
    {"log_bytes", TOOL_CELL_BYTES}, {"series", TOOL_CELL_COUNT},     {"samples", TOOL_CELL_COUNT},
    {"exemplars", TOOL_CELL_COUNT},
};

static enum tsdb_status ls_segment(struct wal_tool *w, const struct wal_segment_view *v, void *arg,
                                   struct tsdb_error *err)
{
    struct tool_table *table = arg;
    struct wal_figures f = figures_of(v);
    char path[64];
    struct tsdb_file_info info = {0};
    tsdb_numbered_name(path, sizeof path, DATADIR_WAL "/", v->segment);
    enum tsdb_status status = w->dir.fs.ops->stat(w->dir.fs.ctx, path, &info, err);
    if (status == TSDB_NOT_FOUND) {
        status = TSDB_OK; /* a live server let it go while we read */
    }
    tool_table_number(table, (int64_t)v->segment);
    tool_table_number(table, (int64_t)info.size_bytes);
    tool_table_number(table, (int64_t)f.frames);
    tool_table_number(table, (int64_t)f.frame_bytes);
    tool_table_number(table, (int64_t)f.new_series);
    tool_table_number(table, (int64_t)f.samples);
    tool_table_number(table, (int64_t)f.exemplars);
    return status;
}

enum tsdb_status tool_wal_ls(struct tool *t, struct tsdb_error *err)
{
    struct wal_tool w;
    struct tool_table table;
    tool_table_init(&table, ls_columns, TSDB_ARRAY_LEN(ls_columns));
    enum tsdb_status status = wal_begin(&w, t, err);
    if (status == TSDB_OK) {
        status = each_segment(&w, ls_segment, &table, err);
    }
    if (status == TSDB_OK) {
        status = tool_table_print(&table, t, err);
    }
    tool_table_deinit(&table);
    wal_end(&w);
    return status;
}

/* ---- inspect ---- */
struct wal_sum {
    struct wal_figures f;
    uint64_t segments, first, last, log_seq[TSDB_PARTITIONS], gaps, epoch_max;
};

static enum tsdb_status sum_segment(struct wal_tool *w, const struct wal_segment_view *v, void *arg,
                                    struct tsdb_error *err)
{
    (void)w;
    (void)err;
    struct wal_sum *s = arg;
    s->first = s->segments == 0 ? v->segment : s->first;
    s->last = v->segment;
    s->segments++;
    for (uint32_t i = 0; i < v->frame_count; i++) {
        const struct wal_frame *frame = &v->frames[i];
        struct wal_frame_head head;
        struct wal_decoder d;
        count_frame(frame, &s->f);
        if (frame->partition < TSDB_PARTITIONS &&
            wal_decode_head(frame->payload, frame->len, frame->time_ms, &head, &d, NULL) ==
                TSDB_OK) {
            uint64_t *seq = &s->log_seq[frame->partition];
            s->gaps += *seq != 0 && head.log_seq > *seq + 1;
            *seq = TSDB_MAX(*seq, head.log_seq);
            s->epoch_max = TSDB_MAX(s->epoch_max, head.epoch);
        }
    }
    return TSDB_OK;
}

static uint32_t damage_count(const struct wal_tool *w, bool torn)
{
    const struct wal_damage *items = NULL;
    uint32_t found = 0, count = wal_replay_damage(w->replay, &items);
    for (uint32_t i = 0; i < count; i++) {
        found += items[i].torn_tail == torn;
    }
    return found;
}

static const struct tool_column inspect_columns[] = {
    {"segments", TOOL_CELL_COUNT},         {"first_segment", TOOL_CELL_COUNT},
    {"last_segment", TOOL_CELL_COUNT},     {"frames", TOOL_CELL_COUNT},
    {"log_bytes", TOOL_CELL_BYTES},        {"series", TOOL_CELL_COUNT},
    {"samples", TOOL_CELL_COUNT},          {"histograms", TOOL_CELL_COUNT},
    {"exemplars", TOOL_CELL_COUNT},        {"bytes_per_sample", TOOL_CELL_TEXT},
    {"last_epoch", TOOL_CELL_COUNT},       {"gaps", TOOL_CELL_COUNT},
    {"malformed_frames", TOOL_CELL_COUNT}, {"damaged_stretches", TOOL_CELL_COUNT},
    {"torn_tails", TOOL_CELL_COUNT},
};

enum tsdb_status tool_wal_inspect(struct tool *t, struct tsdb_error *err)
{
    struct wal_tool w;
    struct tool_table table;
    struct wal_sum s = {.segments = 0};
    tool_table_init(&table, inspect_columns, TSDB_ARRAY_LEN(inspect_columns));
    enum tsdb_status status = wal_begin(&w, t, err);
    if (status == TSDB_OK) {
        status = each_segment(&w, sum_segment, &s, err);
    }
    if (status == TSDB_OK) {
        char text[32];
        snprintf(text, sizeof text, "%.3f",
                 (double)s.f.frame_bytes / (double)TSDB_MAX(s.f.samples, 1));
        const uint64_t before[] = {s.segments,  s.first,         s.last,
                                   s.f.frames,  s.f.frame_bytes, s.f.new_series,
                                   s.f.samples, s.f.histograms,  s.f.exemplars};
        const uint64_t after[] = {s.epoch_max, s.gaps, s.f.malformed, damage_count(&w, false),
                                  damage_count(&w, true)};
        for (size_t i = 0; i < TSDB_ARRAY_LEN(before); i++) {
            tool_table_number(&table, (int64_t)before[i]);
        }
        tool_table_str(&table, text);
        for (size_t i = 0; i < TSDB_ARRAY_LEN(after); i++) {
            tool_table_number(&table, (int64_t)after[i]);
        }
        status = tool_table_print_record(&table, t, err);
    }
    tool_table_deinit(&table);
    wal_end(&w);
    return status;
}

/* ---- verify ---- */
static const struct tool_column verify_columns[] = {
    {"segment", TOOL_CELL_COUNT}, {"from", TOOL_CELL_COUNT},  {"to", TOOL_CELL_COUNT},
    {"state", TOOL_CELL_TEXT},    {"detail", TOOL_CELL_TEXT},
};

static void verify_row(struct tool_table *table, uint64_t segment, uint64_t from, uint64_t to,
                       const char *state, const char *detail)
{
    tool_table_number(table, (int64_t)segment);
    tool_table_number(table, (int64_t)from);
    tool_table_number(table, (int64_t)to);
    tool_table_str(table, state);
    tool_table_str(table, detail);
}

struct wal_verify {
    struct tool_table table;
    struct wal_sum sum;
};

static enum tsdb_status verify_segment(struct wal_tool *w, const struct wal_segment_view *v,
                                       void *arg, struct tsdb_error *err)
{
    struct wal_verify *s = arg;
    uint64_t malformed = s->sum.f.malformed, gaps = s->sum.gaps;
    enum tsdb_status status = sum_segment(w, v, &s->sum, err);
    uint64_t end = 0;
    for (uint32_t i = 0; i < v->frame_count; i++) {
        struct wal_figures f = {.frames = 0};
        end = v->frames[i].offset + WAL_FRAME_HEADER_BYTES + v->frames[i].len;
        count_frame(&v->frames[i], &f);
        if (f.malformed > 0) {
            verify_row(&s->table, v->segment, v->frames[i].offset, end, "damaged",
                       "a frame whose checksum is right and whose content is not");
        }
    }
    bool bad = s->sum.f.malformed > malformed;
    w->t->damaged = w->t->damaged || bad;
    if (!bad) {
        verify_row(&s->table, v->segment, 0, end, "ok",
                   s->sum.gaps > gaps ? "frames before it are missing" : "");
    }
    return status;
}

enum tsdb_status tool_wal_verify(struct tool *t, struct tsdb_error *err)
{
    struct wal_tool w;
    struct wal_verify s = {.sum = {.segments = 0}};
    tool_table_init(&s.table, verify_columns, TSDB_ARRAY_LEN(verify_columns));
    enum tsdb_status status = wal_begin(&w, t, err);
    if (status == TSDB_OK) {
        status = each_segment(&w, verify_segment, &s, err);
    }
    if (status == TSDB_OK) {
        const struct wal_damage *items = NULL;
        uint32_t count = wal_replay_damage(w.replay, &items);
        for (uint32_t i = 0; i < count; i++) {
            bool missing = items[i].from == 0 && items[i].to == 0;
            verify_row(&s.table, items[i].segment, items[i].from, items[i].to,
                       items[i].torn_tail ? "torn" : "damaged",
                       items[i].torn_tail ? "an interrupted write; nothing acknowledged is lost"
                       : missing          ? "the segment is missing"
                                          : "unreadable");
            t->damaged = t->damaged || !items[i].torn_tail;
        }
        status = tool_table_print(&s.table, t, err);
    }
    tool_table_deinit(&s.table);
    wal_end(&w);
    return status;
}

/* ---- dump ---- */
static void dump_series(struct tsdb_buf *b, struct wal_decoder *d)
{
    uint32_t local;
    struct tsdb_buf bytes;
    const char *before = "";
    tsdb_buf_init(&bytes, TSDB_MEM_OTHER, 0);
    while (wal_decode_series(d, &bytes, &local)) {
        struct tsdb_label items[TSDB_LABELS_MAX];
        struct tsdb_labels labels = {items, 0};
        bool ok = tsdb_labels_decode(bytes.data, bytes.len, items, TSDB_LABELS_MAX, &labels.count,
                                     NULL) == TSDB_OK;
        tsdb_buf_printf(b, "%s{\"id\":%" PRIu32 ",\"labels\":", before, local);
        if (ok) {
            json_labels(b, &labels);
        } else {
            tsdb_buf_put_str(b, "null");
        }
        tsdb_buf_put_u8(b, '}');
        before = ",";
    }
    tsdb_buf_deinit(&bytes);
}

static enum tsdb_status dump_samples(struct wal_tool *w, const struct wal_frame *frame,
                                     const struct wal_frame_head *head, struct wal_decoder *d,
                                     struct tsdb_error *err)
{
    struct wal_sample s;
    const char *before = "";
    enum tsdb_status status = TSDB_OK;
    while (status == TSDB_OK && wal_decode_sample(d, &s)) {
        struct tsdb_buf *b = &w->out;
        uint64_t bits = 0;
        bool known = true;
        tsdb_buf_printf(b, "%s{\"id\":%" PRIu32 ",\"time\":%" PRId64, before, s.local, s.t_ms);
        before = ",";
        if (s.start_ms != 0) {
            tsdb_buf_printf(b, ",\"start\":%" PRId64, s.start_ms);
        }
        if (s.kind != TSDB_SAMPLE_FLOAT) {
            tsdb_buf_printf(b, ",\"histogram_bytes\":%zu}", s.raw.len);
            continue;
        }
        status = unpack(&w->bases, frame->partition, head->epoch, &s, &known, &bits, err);
        if (known && w->t->options.bits) {
            tsdb_buf_printf(b, ",\"value\":\"%016" PRIx64 "\"}", bits);
        } else if (known) {
            tsdb_buf_put_str(b, ",\"value\":");
            json_float(b, tsdb_bits_double(bits));
            tsdb_buf_put_u8(b, '}');
        } else { /* its base went with a damaged or removed segment */
            tsdb_buf_put_str(b, ",\"value\":null}");
        }
    }
    return status;
}

static enum tsdb_status dump_frame(struct wal_tool *w, uint64_t segment,
                                   const struct wal_frame *frame, struct tsdb_error *err)
{
    struct tsdb_buf *b = &w->out;
    struct wal_frame_head head;
    struct wal_decoder d = {.failed = false};
    tsdb_buf_printf(b, "{\"segment\":%" PRIu64 ",\"offset\":%" PRIu64 ",\"type\":\"%s\"", segment,
                    frame->offset, type_name(frame->type));
    tsdb_buf_printf(b, ",\"partition\":%u,\"bytes\":%" PRIu32, frame->partition, frame->len);
    enum tsdb_status status = TSDB_OK;
    if (wal_decode_head(frame->payload, frame->len, frame->time_ms, &head, &d, NULL) == TSDB_OK) {
        tsdb_buf_printf(b, ",\"log_seq\":%" PRIu64 ",\"write_seq\":%" PRIu64 ",\"epoch\":%" PRIu64,
                        head.log_seq, head.write_seq, head.epoch);
        tsdb_buf_put_str(b, ",\"items\":[");
        if (frame->type == WAL_RECORD_SERIES) {
            dump_series(b, &d);
        } else if (frame->type == WAL_RECORD_SAMPLES) {
            status = dump_samples(w, frame, &head, &d, err);
        }
        tsdb_buf_put_str(b, d.failed ? "],\"malformed\":true}\n" : "]}\n");
    } else {
        tsdb_buf_put_str(b, ",\"malformed\":true}\n");
    }
    return status == TSDB_OK ? tool_put(b, err) : status;
}

static enum tsdb_status dump_segment(struct wal_tool *w, const struct wal_segment_view *v,
                                     void *arg, struct tsdb_error *err)
{
    const uint64_t *only = arg;
    enum tsdb_status status = TSDB_OK;
    for (uint32_t i = 0; i < v->frame_count && status == TSDB_OK; i++) {
        if (*only == 0 || *only == v->segment) {
            status = dump_frame(w, v->segment, &v->frames[i], err);
        }
    }
    return status;
}

enum tsdb_status tool_wal_dump(struct tool *t, struct tsdb_error *err)
{
    struct wal_tool w;
    uint64_t only = 0;
    enum tsdb_status status = wal_begin(&w, t, err);
    if (status == TSDB_OK && t->arg_count > 1 && !tsdb_numbered_parse(t->args[1], &only)) {
        status = tsdb_error_set(err, TSDB_INVALID, "\"%s\": expected the name of a file of wal/",
                                t->args[1]);
    }
    if (status == TSDB_OK) {
        status = each_segment(&w, dump_segment, &only, err);
    }
    if (status == TSDB_OK && damage_count(&w, false) > 0) {
        tool_say("%u damaged stretches are left out; `tidalite wal verify` names them",
                 damage_count(&w, false));
        t->damaged = true;
    }
    wal_end(&w);
    return status;
}
