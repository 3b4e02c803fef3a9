#include "tools/cmd/plot.h"

#include "base/format.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define MARGIN 12u /* of the scale, on the left */

static const char marks[PLOT_SERIES_MAX + 1] = "*+xo#%@&";

struct point {
    uint32_t series;
    int64_t t_ms;
    double value;
};
struct frame {
    int64_t first_ms, last_ms;
    double least, most;
    uint32_t width; /* of the field */
    struct summary {
        double least, most, last;
        bool any;
    } series[PLOT_SERIES_MAX];
    char cells[PLOT_ROWS][PLOT_WIDTH_MAX];
};

void plot_init(struct plot *p)
{
    *p = (struct plot){.count = 0};
    tsdb_buf_init(&p->points, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&p->names, TSDB_MEM_OTHER, 0);
}

void plot_deinit(struct plot *p)
{
    tsdb_buf_deinit(&p->points);
    tsdb_buf_deinit(&p->names);
}

void plot_series(struct plot *p, const void *name, size_t len)
{
    if (p->series++ < PLOT_SERIES_MAX) {
        tsdb_buf_put_le32(&p->names, (uint32_t)len);
        tsdb_buf_put(&p->names, name, len);
    }
}

void plot_point(struct plot *p, int64_t t_ms, const void *value, size_t len)
{
    double v = 0;
    if (p->series == 0 || p->series > PLOT_SERIES_MAX) {
        return;
    }
    if (p->count == PLOT_POINTS_MAX || !tsdb_parse_float(value, len, &v) || !isfinite(v)) {
        p->left_out++;
        return;
    }
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof bits);
    tsdb_buf_put_le32(&p->points, p->series - 1);
    tsdb_buf_put_le64(&p->points, (uint64_t)t_ms);
    tsdb_buf_put_le64(&p->points, bits);
    p->count++;
}

static struct point next(struct tsdb_reader *r)
{
    struct point p = {.series = tsdb_reader_le32(r), .t_ms = (int64_t)tsdb_reader_le64(r)};
    uint64_t bits = tsdb_reader_le64(r);
    memcpy(&p.value, &bits, sizeof bits);
    return p;
}

static void measure(const struct plot *p, struct frame *f)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, p->points.data, p->points.len);
    f->first_ms = INT64_MAX;
    f->last_ms = INT64_MIN;
    f->least = DBL_MAX;
    f->most = -DBL_MAX;
    for (uint32_t i = 0; i < p->count; i++) {
        struct point x = next(&r);
        struct summary *s = &f->series[x.series];
        s->least = s->any ? fmin(s->least, x.value) : x.value;
        s->most = s->any ? fmax(s->most, x.value) : x.value;
        s->last = x.value;
        s->any = true;
        f->first_ms = TSDB_MIN(f->first_ms, x.t_ms);
        f->last_ms = TSDB_MAX(f->last_ms, x.t_ms);
        f->least = fmin(f->least, x.value);
        f->most = fmax(f->most, x.value);
    }
}

/* 0 .. cells - 1. Halves first: the difference of two finite numbers need not be finite. */
static uint32_t place(double v, double least, double most, uint32_t cells)
{
    double span = most / 2 - least / 2;
    double share = span > 0 ? (v / 2 - least / 2) / span : 0.5;
    return (uint32_t)(share * (cells - 1) + 0.5);
}

static void draw(const struct plot *p, struct frame *f)
{
    struct tsdb_reader r;
    tsdb_reader_init(&r, p->points.data, p->points.len);
    memset(f->cells, ' ', sizeof f->cells);
    for (uint32_t i = 0; i < p->count; i++) {
        struct point x = next(&r);
        uint32_t column = place((double)x.t_ms, (double)f->first_ms, (double)f->last_ms, f->width);
        uint32_t row = place(x.value, f->least, f->most, PLOT_ROWS);
        f->cells[PLOT_ROWS - 1 - row][column] = marks[x.series];
    }
}

static void print_field(const struct frame *f, struct tsdb_buf *out)
{
    for (uint32_t row = 0; row < PLOT_ROWS; row++) {
        char label[32] = "";
        double share = (double)(PLOT_ROWS - 1 - row) / (PLOT_ROWS - 1);
        if (row % 5 == 0 || row == PLOT_ROWS - 1) {
            snprintf(label, sizeof label, "%.6g", f->least * (1 - share) + f->most * share);
        }
        tsdb_buf_printf(out, "%*s |%.*s|\n", (int)MARGIN, label, (int)f->width, f->cells[row]);
    }
}

static void print_legend(const struct plot *p, const struct frame *f, struct tsdb_buf *out)
{
    struct tsdb_reader r;
    char first[64], last[64];
    tsdb_format_rfc3339_ms(first, f->first_ms);
    tsdb_format_rfc3339_ms(last, f->last_ms);
    tsdb_buf_printf(out, "%*s  %s%*s\n", (int)MARGIN, "", first,
                    (int)TSDB_MAX((int)f->width - (int)strlen(first), (int)strlen(last) + 1), last);
    tsdb_reader_init(&r, p->names.data, p->names.len);
    for (uint32_t i = 0; i < TSDB_MIN(p->series, PLOT_SERIES_MAX); i++) {
        struct tsdb_slice name = tsdb_reader_bytes(&r, tsdb_reader_le32(&r));
        const struct summary *s = &f->series[i];
        tsdb_buf_printf(out, "%*s  %c ", (int)MARGIN, "", marks[i]);
        tsdb_buf_put(out, name.data, name.len);
        if (s->any) {
            tsdb_buf_printf(out, "   least %.6g, most %.6g, last %.6g", s->least, s->most, s->last);
        }
        tsdb_buf_put_str(out, "\n");
    }
}

void plot_print(const struct plot *p, uint32_t width, struct tsdb_buf *out)
{
    struct frame f = {.width = TSDB_MIN(TSDB_MAX(width, PLOT_WIDTH_MIN), PLOT_WIDTH_MAX)};
    out->failed = out->failed || p->points.failed || p->names.failed;
    if (out->failed || p->count == 0) {
        return;
    }
    f.width -= MARGIN + 3;
    measure(p, &f);
    draw(p, &f);
    print_field(&f, out);
    print_legend(p, &f, out);
}
