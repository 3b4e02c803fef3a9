/* import openmetrics: a text file, or stdin, into a data directory.
 *
 *   lines ─ openmetrics_parse ─▶ batches of series ─ tidalite_append ─▶ the engine, its log and blocks
 *
 * The file may have its lines in any order and be of any size: a batch is in memory, the engine writes
 * blocks meanwhile. An import that was interrupted is begun again: the exact same sample twice is once. */
#include "base/format.h"
#include "tools/cmd/commands.h"
#include "tools/cmd/openmetrics.h"
#include "tools/cmd/out.h"
#include "tsdb/tidalite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_SAMPLES  16384u
#define BATCH_BYTES    (4u << 20) /* of lines */
#define LINE_BYTES_MAX (1u << 20)
#define READ_BYTES     (256u << 10)

struct batch_series {
    struct tsdb_slice raw;
    struct tidalite_label *labels;
    size_t label_count;
    struct tidalite_sample *samples;
    size_t count, cap;
};

struct import {
    struct tool *t;
    int fd;
    struct tidalite *db;
    struct tsdb_arena arena; /* of the batch, the text of its lines included */
    struct batch_series *series;
    uint32_t series_count, sample_count;
    size_t bytes;
    uint64_t line;
    bool eof; /* "# EOF" was seen */
    struct tool_progress progress;
    uint64_t written, conflict, bounds, limit, exemplars;
    int64_t oldest_ms;
};

static enum tsdb_status nomem(struct tsdb_error *err)
{
    return tsdb_error_nomem(err, "a batch of samples");
}

/* ---- batches ---- */
static void batch_clear(struct import *x)
{
    tsdb_arena_reset(&x->arena);
    x->series = NULL;
    x->series_count = x->sample_count = 0;
    x->bytes = 0;
}

static enum tsdb_status of_engine(enum tidalite_status status, struct tsdb_error *err)
{
    static const enum tsdb_status same[] = {
        TSDB_OK,        TSDB_NOMEM, TSDB_IO,          TSDB_CORRUPT, TSDB_INVALID,
        TSDB_NOT_FOUND, TSDB_LIMIT, TSDB_UNSUPPORTED, TSDB_BUSY,    TSDB_READ_ONLY};
    return status == TIDALITE_OK ? TSDB_OK
                                 : tsdb_error_set(err, same[status], "%s", tidalite_last_error());
}

static enum tsdb_status batch_write(struct import *x, struct tsdb_error *err)
{
    struct tidalite_append_result r = {0};
    if (x->sample_count == 0) {
        batch_clear(x);
        return TSDB_OK;
    }
    struct tidalite_series *list =
        TSDB_ARENA_ARRAY(&x->arena, struct tidalite_series, x->series_count);
    if (!list) {
        return nomem(err);
    }
    for (uint32_t i = 0; i < x->series_count; i++) {
        const struct batch_series *s = &x->series[i];
        list[i] = (struct tidalite_series){s->labels, s->label_count, s->samples, s->count};
    }
    enum tsdb_status status =
        of_engine(tidalite_append(x->db, list, x->series_count, TIDALITE_BUFFERED, &r), err);
    x->written += r.written;
    x->conflict += r.conflict;
    x->bounds += r.bounds;
    x->limit += r.limit;
    batch_clear(x);
    return status == TSDB_OK ? status
                             : tsdb_error_prefix(err, status, "before line %" PRIu64, x->line + 1);
}

/* The series of the line: the one before, mostly. */
static enum tsdb_status batch_series(struct import *x, const struct openmetrics_line *l,
                                     struct batch_series **out, struct tsdb_error *err)
{
    if (!x->series) {
        x->series = TSDB_ARENA_ARRAY(&x->arena, struct batch_series, BATCH_SAMPLES);
        if (!x->series) {
            return nomem(err);
        }
    }
    struct batch_series *last = x->series_count > 0 ? &x->series[x->series_count - 1] : NULL;
    if (last && last->raw.len == l->series.len &&
        memcmp(last->raw.data, l->series.data, l->series.len) == 0) {
        *out = last;
        return TSDB_OK;
    }
    struct batch_series *s = &x->series[x->series_count];
    *s = (struct batch_series){.raw = l->series, .label_count = l->label_count};
    s->labels = TSDB_ARENA_ARRAY(&x->arena, struct tidalite_label, TSDB_MAX(l->label_count, 1u));
    if (!s->labels) {
        return nomem(err);
    }
    for (uint32_t i = 0; i < l->label_count; i++) {
        s->labels[i] = (struct tidalite_label){l->labels[i].name, l->labels[i].name_len,
                                               l->labels[i].value, l->labels[i].value_len};
    }
    x->series_count++;
    *out = s;
    return TSDB_OK;
}

static enum tsdb_status batch_add(struct import *x, const struct openmetrics_line *l,
                                  struct tsdb_error *err)
{
    struct batch_series *s = NULL;
    enum tsdb_status status = batch_series(x, l, &s, err);
    if (status == TSDB_OK && s->count == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 4;
        struct tidalite_sample *samples = TSDB_ARENA_ARRAY(&x->arena, struct tidalite_sample, cap);
        if (!samples) {
            return nomem(err);
        }
        if (s->count > 0) {
            memcpy(samples, s->samples, s->count * sizeof *samples);
        }
        s->samples = samples;
        s->cap = cap;
    }
    if (status == TSDB_OK) {
        s->samples[s->count++] = (struct tidalite_sample){l->t_ms, l->value};
        x->sample_count++;
        x->oldest_ms = TSDB_MIN(x->oldest_ms, l->t_ms);
    }
    return status;
}

/* ---- lines ---- */
static enum tsdb_status take_line(struct import *x, const char *text, size_t len,
                                  struct tsdb_error *err)
{
    struct openmetrics_line l;
    x->line++;
    if (x->eof) {
        return len == 0
                   ? TSDB_OK
                   : tsdb_error_set(err, TSDB_INVALID, "line %" PRIu64 ": behind # EOF", x->line);
    }
    char *copy = tsdb_arena_strndup(&x->arena, text, len);
    if (!copy) {
        return nomem(err);
    }
    enum tsdb_status status =
        openmetrics_parse(copy, len, x->t->options.milliseconds, &x->arena, &l, err);
    if (status == TSDB_OK && l.kind == OPENMETRICS_SAMPLE && !l.has_time) {
        status = tsdb_error_set(err, TSDB_INVALID, "a sample without a time");
    }
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "line %" PRIu64, x->line);
    }
    x->eof = l.kind == OPENMETRICS_EOF;
    if (l.kind != OPENMETRICS_SAMPLE) {
        return TSDB_OK;
    }
    x->exemplars += l.has_exemplar;
    x->bytes += len;
    status = batch_add(x, &l, err);
    return status == TSDB_OK && (x->sample_count == BATCH_SAMPLES || x->bytes >= BATCH_BYTES)
               ? batch_write(x, err)
               : status;
}

/* Whole lines of the buffer; what is left of the last one moves to the front. */
static enum tsdb_status take_lines(struct import *x, struct tsdb_buf *in, bool last,
                                   struct tsdb_error *err)
{
    size_t begin = 0;
    enum tsdb_status status = TSDB_OK;
    while (status == TSDB_OK && begin < in->len) {
        const uint8_t *end = memchr(in->data + begin, '\n', in->len - begin);
        if (!end && !last) {
            break;
        }
        size_t len = end ? (size_t)(end - in->data) - begin : in->len - begin;
        status = take_line(x, (const char *)in->data + begin, len, err);
        begin = TSDB_MIN(begin + len + 1, in->len);
    }
    if (status == TSDB_OK) {
        memmove(in->data, in->data + begin, in->len - begin);
        in->len -= begin;
        if (in->len > LINE_BYTES_MAX) {
            status = tsdb_error_set(err, TSDB_LIMIT, "line %" PRIu64 " is longer than %u bytes",
                                    x->line + 1, LINE_BYTES_MAX);
        }
    }
    return status;
}

static enum tsdb_status read_all(struct import *x, struct tsdb_error *err)
{
    struct tsdb_buf in;
    tsdb_buf_init(&in, TSDB_MEM_OTHER, 0);
    enum tsdb_status status = TSDB_OK;
    for (ssize_t n = 1; status == TSDB_OK && n != 0;) {
        uint8_t *room = tsdb_buf_reserve(&in, READ_BYTES);
        status = room ? tool_check(err) : nomem(err);
        if (status != TSDB_OK) {
            break;
        }
        n = read(x->fd, room, READ_BYTES);
        if (n < 0 && errno != EINTR) {
            status = tsdb_error_set_errno(err, errno, "read %s", x->t->args[0]);
        } else if (n >= 0) {
            in.len += (size_t)n;
            status = take_lines(x, &in, n == 0, err);
            tool_progress_add(&x->progress, (uint64_t)n);
        }
    }
    if (status == TSDB_OK) {
        status = batch_write(x, err);
    }
    tsdb_buf_deinit(&in);
    return status;
}

/* ---- the command ---- */
static enum tsdb_status open_source(struct import *x, struct tsdb_error *err)
{
    struct stat st;
    const char *path = x->t->args[0];
    bool is_stdin = strcmp(path, "-") == 0;
    x->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (x->fd < 0 || fstat(x->fd, &st) != 0) {
        return tsdb_error_set_errno(err, errno, "%s", path);
    }
    if (S_ISDIR(st.st_mode)) {
        return tsdb_error_set(err, TSDB_INVALID, "%s: a directory, expected a file or -", path);
    }
    tool_progress_begin(&x->progress, x->t, "bytes",
                        S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0);
    return TSDB_OK;
}

static void tell(const struct import *x)
{
    if (x->conflict > 0) {
        tool_say("refused: %" PRIu64 " samples whose time has another value already", x->conflict);
    }
    if (x->bounds > 0) {
        tool_say("refused: %" PRIu64 " samples of the future", x->bounds);
    }
    if (x->exemplars > 0) {
        tool_say("left out: %" PRIu64 " exemplars", x->exemplars);
    }
    if (x->oldest_ms != INT64_MAX) {
        char text[64];
        tsdb_format_rfc3339_ms(text, x->oldest_ms);
        tool_say(
            "the oldest is of %s: a server whose --storage.tsdb.retention.time is shorter than "
            "that drops it",
            text);
    }
}

static const struct tool_column columns[] = {
    {"lines", TOOL_CELL_COUNT},
    {"samples", TOOL_CELL_COUNT},
    {"conflicts", TOOL_CELL_COUNT},
    {"out_of_bounds", TOOL_CELL_COUNT},
};

static enum tsdb_status print(const struct import *x, struct tsdb_error *err)
{
    struct tool_table table;
    tool_table_init(&table, columns, TSDB_ARRAY_LEN(columns));
    tool_table_number(&table, (int64_t)x->line);
    tool_table_number(&table, (int64_t)x->written);
    tool_table_number(&table, (int64_t)x->conflict);
    tool_table_number(&table, (int64_t)x->bounds);
    enum tsdb_status status = tool_table_print_record(&table, x->t, err);
    tool_table_deinit(&table);
    return status;
}

enum tsdb_status tool_import_openmetrics(struct tool *t, struct tsdb_error *err)
{
    struct import x = {.t = t, .fd = -1, .oldest_ms = INT64_MAX};
    struct tidalite_options o;
    tsdb_arena_init(&x.arena, TSDB_MEM_OTHER, 1u << 20, NULL);
    tidalite_options_init(&o);
    o.path = t->args[1];
    enum tsdb_status status = open_source(&x, err);
    if (status == TSDB_OK) {
        status = of_engine(tidalite_open(&o, &x.db), err);
    }
    if (status == TSDB_OK) {
        status = read_all(&x, err);
    }
    tool_progress_end(&x.progress);
    if (x.db) { /* what was taken stays, also after a bad line */
        struct tsdb_error why;
        enum tsdb_status closed = of_engine(tidalite_close(x.db), &why);
        if (closed != TSDB_OK && status == TSDB_OK) {
            *err = why;
            status = closed;
        }
    }
    if (status == TSDB_OK) {
        status = print(&x, err);
        tell(&x);
    } else if (x.written > 0) {
        tool_say("%" PRIu64
                 " samples were written before that; the same file may be imported again",
                 x.written);
    }
    if (x.fd > STDIN_FILENO) {
        close(x.fd);
    }
    tsdb_arena_deinit(&x.arena);
    return status;
}
