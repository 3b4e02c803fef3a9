#include "tools/cmd/out.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/format.h"
#include "query/json.h"

#include <ctype.h>
#include <unistd.h>

#define BAR_CHARS     30
#define SHOW_EVERY_NS INT64_C(200000000)

void tool_table_init(struct tool_table *t, const struct tool_column *columns, uint32_t count)
{
    TSDB_ASSERT(count > 0 && count <= TOOL_COLUMNS_MAX);
    *t = (struct tool_table){.columns = columns, .column_count = count};
    tsdb_buf_init(&t->cells, TSDB_MEM_OTHER, 0);
}

void tool_table_deinit(struct tool_table *t)
{
    tsdb_buf_deinit(&t->cells);
}

static enum tool_cell_kind kind_next(const struct tool_table *t)
{
    return t->columns[t->cell_count % t->column_count].kind;
}

static void cell_put(struct tool_table *t, const void *data, size_t len)
{
    TSDB_ASSERT(len <= UINT32_MAX);
    tsdb_buf_put_le32(&t->cells, (uint32_t)len);
    tsdb_buf_put(&t->cells, data, len);
    t->cell_count++;
}

void tool_table_text(struct tool_table *t, const char *s, size_t len)
{
    TSDB_ASSERT(kind_next(t) == TOOL_CELL_TEXT);
    cell_put(t, s, len);
}

void tool_table_str(struct tool_table *t, const char *s)
{
    tool_table_text(t, s, strlen(s));
}

void tool_table_number(struct tool_table *t, int64_t v)
{
    TSDB_ASSERT(kind_next(t) != TOOL_CELL_TEXT);
    cell_put(t, &v, sizeof v);
}

void tool_bytes_format(uint64_t bytes, char *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)bytes;
    size_t i = 0;
    while (v >= 1024 && i + 1 < TSDB_ARRAY_LEN(units)) {
        v /= 1024;
        i++;
    }
    snprintf(out, 32, i == 0 ? "%.0f %s" : "%.1f %s", v, units[i]);
}

/* ---- one cell ---- */
static struct tsdb_slice cell_next(struct tsdb_reader *r)
{
    uint32_t len = tsdb_reader_le32(r);
    return tsdb_reader_bytes(r, len);
}

/* As a person reads it; into the buffer. */
static void cell_print(enum tool_cell_kind kind, struct tsdb_slice cell, struct tsdb_buf *out)
{
    char text[64];
    if (kind == TOOL_CELL_TEXT) {
        tsdb_buf_put(out, cell.data, cell.len);
        return;
    }
    int64_t v = (int64_t)tsdb_load_le64(cell.data);
    if (kind == TOOL_CELL_BYTES) {
        tool_bytes_format((uint64_t)v, text);
    } else if (kind == TOOL_CELL_TIME && (v == INT64_MIN || v == INT64_MAX)) {
        snprintf(text, sizeof text, "-");
    } else if (kind == TOOL_CELL_TIME) {
        tsdb_format_rfc3339_ms(text, v);
    } else {
        tsdb_format_i64(text, v);
    }
    tsdb_buf_put_str(out, text);
}

static void cell_json(enum tool_cell_kind kind, struct tsdb_slice cell, struct tsdb_buf *out)
{
    if (kind == TOOL_CELL_TEXT) {
        json_string(out, (const char *)cell.data, cell.len);
        return;
    }
    int64_t v = (int64_t)tsdb_load_le64(cell.data);
    if (kind == TOOL_CELL_TIME && (v == INT64_MIN || v == INT64_MAX)) {
        tsdb_buf_put_str(out, "null");
    } else {
        char text[32];
        tsdb_format_i64(text, v);
        tsdb_buf_put_str(out, text);
    }
}

/* Characters of UTF-8, as a terminal counts most of them. */
static size_t width_of(const uint8_t *s, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        n += (s[i] & 0xc0) != 0x80;
    }
    return n;
}

/* ---- the whole ---- */
static void print_json(const struct tool_table *t, bool list, struct tsdb_buf *out)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, t->cells.data, t->cells.len);
    tsdb_buf_put_str(out, list ? "[" : "");
    for (uint32_t i = 0; i < t->cell_count; i++) {
        const struct tool_column *c = &t->columns[i % t->column_count];
        bool first = i % t->column_count == 0, last = (i + 1) % t->column_count == 0;
        tsdb_buf_printf(out, "%s\"%s\":", first ? (i > 0 ? ",\n{" : "{") : ",", c->name);
        cell_json(c->kind, cell_next(&r), out);
        tsdb_buf_put_str(out, last ? "}" : "");
    }
    tsdb_buf_put_str(out, list ? "]\n" : "\n");
}

static void pad(struct tsdb_buf *out, size_t n)
{
    for (; n > 0; n--) {
        tsdb_buf_put_u8(out, ' ');
    }
}

static void put_cell(struct tsdb_buf *out, const uint8_t *s, size_t len, size_t width, bool right,
                     bool last)
{
    size_t fill = width - TSDB_MIN(width, width_of(s, len));
    pad(out, right ? fill : 0);
    tsdb_buf_put(out, s, len);
    pad(out, right || last ? 0 : fill);
    while (last && out->len > 0 && out->data[out->len - 1] == ' ') { /* cells that were empty */
        out->len--;
    }
    tsdb_buf_put_str(out, last ? "\n" : "  ");
}

static void print_heading(const struct tool_table *t, const size_t *width, struct tsdb_buf *out)
{
    for (uint32_t c = 0; c < t->column_count; c++) {
        char text[64];
        size_t len = 0;
        for (const char *p = t->columns[c].name; *p && len < sizeof text; p++) {
            text[len++] = (char)(*p == '_' ? ' ' : toupper((unsigned char)*p));
        }
        bool right = t->columns[c].kind == TOOL_CELL_COUNT || t->columns[c].kind == TOOL_CELL_BYTES;
        put_cell(out, (const uint8_t *)text, len, width[c], right, c + 1 == t->column_count);
    }
}

static void print_text(const struct tool_table *t, struct tsdb_buf *out)
{
    size_t width[TOOL_COLUMNS_MAX];
    struct tsdb_buf cell;
    tsdb_buf_init(&cell, TSDB_MEM_OTHER, 0);
    for (uint32_t c = 0; c < t->column_count; c++) {
        width[c] = strlen(t->columns[c].name);
    }
    for (int pass = 0; pass < 2; pass++) {
        struct tsdb_reader r;
        tsdb_reader_init(&r, t->cells.data, t->cells.len);
        if (pass == 1) {
            print_heading(t, width, out);
        }
        for (uint32_t i = 0; i < t->cell_count; i++) {
            uint32_t c = i % t->column_count;
            enum tool_cell_kind kind = t->columns[c].kind;
            tsdb_buf_clear(&cell);
            cell_print(kind, cell_next(&r), &cell);
            out->failed = out->failed || cell.failed;
            if (pass == 0) {
                width[c] = TSDB_MAX(width[c], width_of(cell.data, cell.len));
            } else {
                put_cell(out, cell.data, cell.len, width[c],
                         kind == TOOL_CELL_COUNT || kind == TOOL_CELL_BYTES,
                         c + 1 == t->column_count);
            }
        }
    }
    tsdb_buf_deinit(&cell);
}

static void print_record(const struct tool_table *t, struct tsdb_buf *out)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, t->cells.data, t->cells.len);
    size_t width = 0;
    for (uint32_t c = 0; c < t->column_count; c++) {
        width = TSDB_MAX(width, strlen(t->columns[c].name));
    }
    for (uint32_t c = 0; c < t->cell_count; c++) {
        const struct tool_column *column = &t->columns[c % t->column_count];
        for (const char *p = column->name; *p; p++) {
            tsdb_buf_put_u8(out, *p == '_' ? ' ' : (uint8_t)*p);
        }
        pad(out, width - strlen(column->name) + 2);
        cell_print(column->kind, cell_next(&r), out);
        tsdb_buf_put_str(out, "\n");
    }
}

static enum tsdb_status print(struct tool_table *t, const struct tool *tool, bool list,
                              struct tsdb_error *err)
{
    TSDB_ASSERT(t->cells.failed || t->cell_count % t->column_count == 0);
    struct tsdb_buf out;
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
    out.failed = t->cells.failed;
    if (!out.failed && tool->options.json) {
        print_json(t, list, &out);
    } else if (!out.failed && list) {
        print_text(t, &out);
    } else if (!out.failed) {
        print_record(t, &out);
    }
    enum tsdb_status status = tool_put(&out, err);
    tsdb_buf_deinit(&out);
    return status;
}

enum tsdb_status tool_table_print(struct tool_table *t, const struct tool *tool,
                                  struct tsdb_error *err)
{
    return print(t, tool, true, err);
}

enum tsdb_status tool_table_print_record(struct tool_table *t, const struct tool *tool,
                                         struct tsdb_error *err)
{
    return print(t, tool, false, err);
}

/* ---- progress ---- */
void tool_progress_begin(struct tool_progress *p, const struct tool *tool, const char *what,
                         uint64_t total)
{
    enum tool_when when = tool->options.progress;
    int64_t now_ns = tsdb_clock_mono_ns(&tsdb_clock_real);
    *p = (struct tool_progress){
        .what = what,
        .total = total,
        .begin_ns = now_ns,
        .shown_ns = now_ns,
        .on = when == TOOL_WHEN_ALWAYS || (when == TOOL_WHEN_AUTO && isatty(STDERR_FILENO)),
    };
}

static void show(const struct tool_progress *p, int64_t now_ns, const char *end)
{
    double seconds = (double)(now_ns - p->begin_ns) / 1e9;
    double rate = seconds > 0 ? (double)p->done / seconds : 0;
    double share = p->total > 0 ? TSDB_MIN(1.0, (double)p->done / (double)p->total) : 0;
    fprintf(stderr, "\r");
    if (p->total > 0) {
        int full = (int)(share * BAR_CHARS);
        fprintf(stderr, "[%.*s%*s] ", full, "##############################", BAR_CHARS - full, "");
    }
    fprintf(stderr, "%llu %s, %.0f/s", (unsigned long long)p->done, p->what, rate);
    if (p->total > 0) {
        fprintf(stderr, ", %.0f %%", 100 * share);
        if (share < 1 && rate > 0) {
            fprintf(stderr, ", %.0f s left", (double)(p->total - p->done) / rate);
        }
    }
    fprintf(stderr, "\033[K%s", end);
}

void tool_progress_add(struct tool_progress *p, uint64_t n)
{
    p->done += n;
    if (!p->on) {
        return;
    }
    int64_t now_ns = tsdb_clock_mono_ns(&tsdb_clock_real);
    if (now_ns - p->shown_ns >= SHOW_EVERY_NS) {
        p->shown_ns = now_ns;
        show(p, now_ns, "");
    }
}

void tool_progress_end(struct tool_progress *p)
{
    if (p->on) {
        show(p, tsdb_clock_mono_ns(&tsdb_clock_real), "\n");
        p->on = false;
    }
}
