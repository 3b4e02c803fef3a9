#include "tools/cmd/render.h"

#include "base/format.h"
#include "model/labels.h"
#include "tools/cmd/jread.h"
#include "tools/cmd/out.h"
#include "tools/cmd/plot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct render {
    const struct tool *t;
    struct jread r;
    bool csv;
    struct plot *plot; /* NULL: none is drawn */
    struct tool_table table;
    struct tsdb_buf csv_out, key, text, metric;
};

static const struct tool_column value_columns[] = {
    {"series", TOOL_CELL_TEXT},
    {"time", TOOL_CELL_TIME},
    {"value", TOOL_CELL_TEXT},
};
static const struct tool_column series_columns[] = {{"series", TOOL_CELL_TEXT}};

/* ---- cells ---- */
static void csv_field(struct tsdb_buf *out, const uint8_t *s, size_t len)
{
    bool quote = false;
    for (size_t i = 0; i < len; i++) {
        quote = quote || s[i] == '"' || s[i] == ',' || s[i] == '\n' || s[i] == '\r';
    }
    if (!quote) {
        tsdb_buf_put(out, s, len);
        return;
    }
    tsdb_buf_put_u8(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '"') {
            tsdb_buf_put_u8(out, '"');
        }
        tsdb_buf_put_u8(out, s[i]);
    }
    tsdb_buf_put_u8(out, '"');
}

static void put_point(struct render *x, int64_t t_ms, const uint8_t *value, size_t len)
{
    if (x->plot) {
        plot_point(x->plot, t_ms, value, len);
        return;
    }
    if (!x->csv) {
        tool_table_text(&x->table, (const char *)x->metric.data, x->metric.len);
        tool_table_number(&x->table, t_ms);
        tool_table_text(&x->table, (const char *)value, len);
        return;
    }
    csv_field(&x->csv_out, x->metric.data, x->metric.len);
    tsdb_buf_printf(&x->csv_out, ",%" PRId64 ",", t_ms);
    csv_field(&x->csv_out, value, len);
    tsdb_buf_put_u8(&x->csv_out, '\n');
}

static void put_text(struct render *x, const struct tsdb_buf *text)
{
    if (x->csv) {
        csv_field(&x->csv_out, text->data, text->len);
        tsdb_buf_put_u8(&x->csv_out, '\n');
    } else {
        tool_table_text(&x->table, (const char *)text->data, text->len);
    }
}

/* ---- shapes ---- */
/* {"__name__":"up","job":"a"} as up{job="a"}; the server sends them sorted. */
static void read_metric(struct render *x)
{
    struct tsdb_buf pairs;
    const char *before = "{";
    tsdb_buf_init(&pairs, TSDB_MEM_OTHER, 0);
    tsdb_buf_clear(&x->metric);
    if (jread_enter(&x->r, '{')) {
        while (jread_more(&x->r)) {
            jread_key(&x->r, &x->key);
            jread_string(&x->r, &x->text);
            bool name = x->key.len == strlen(TSDB_METRIC_NAME) &&
                        memcmp(x->key.data, TSDB_METRIC_NAME, x->key.len) == 0;
            if (name) {
                tsdb_buf_put(&x->metric, x->text.data, x->text.len);
                continue;
            }
            struct tsdb_label l = {(const char *)x->key.data, (const char *)x->text.data,
                                   (uint32_t)x->key.len, (uint32_t)x->text.len};
            struct tsdb_buf one;
            tsdb_buf_init(&one, TSDB_MEM_OTHER, 0);
            tsdb_labels_print(&(struct tsdb_labels){&l, 1}, &one); /* {a="b"} */
            if (one.len > 2) {
                tsdb_buf_put_str(&pairs, before);
                tsdb_buf_put(&pairs, one.data + 1, one.len - 2);
                before = ",";
            }
            pairs.failed = pairs.failed || one.failed;
            tsdb_buf_deinit(&one);
        }
    }
    tsdb_buf_put(&x->metric, pairs.data, pairs.len);
    tsdb_buf_put_str(&x->metric, pairs.len > 0 ? "}" : x->metric.len == 0 ? "{}" : "");
    x->metric.failed = x->metric.failed || pairs.failed || x->key.failed || x->text.failed;
    tsdb_buf_deinit(&pairs);
}

static int64_t ms_of(struct tsdb_slice text)
{
    double seconds = 0;
    if (!tsdb_parse_float((const char *)text.data, text.len, &seconds) ||
        !(seconds > -9.0e15 && seconds < 9.0e15)) {
        return 0;
    }
    double ms = seconds * 1000;
    return (int64_t)(ms < 0 ? ms - 0.5 : ms + 0.5);
}

/* [t, "v"] or [t, {histogram}] */
static void read_point(struct render *x)
{
    int64_t t_ms = 0;
    struct tsdb_slice raw = {NULL, 0};
    bool is_string = false;
    if (!jread_enter(&x->r, '[')) {
        return;
    }
    for (int i = 0; jread_more(&x->r); i++) {
        is_string = i == 1 && jread_peek(&x->r) == '"';
        if (is_string) {
            jread_string(&x->r, &x->text);
        } else {
            raw = jread_raw(&x->r);
            t_ms = i == 0 ? ms_of(raw) : t_ms;
        }
        x->r.failed = x->r.failed || i > 1;
        if (i == 1 && !x->r.failed) {
            put_point(x, t_ms, is_string ? x->text.data : raw.data,
                      is_string ? x->text.len : raw.len);
        }
    }
}

static bool key_is(const struct tsdb_buf *key, const char *s)
{
    return key->len == strlen(s) && memcmp(key->data, s, key->len) == 0;
}

/* {"metric":{},"value":[]} and its like; metric stands first. */
static void read_series(struct render *x)
{
    if (!jread_enter(&x->r, '{')) {
        return;
    }
    while (jread_more(&x->r)) {
        jread_key(&x->r, &x->key);
        if (key_is(&x->key, "metric")) {
            read_metric(x);
            if (x->plot) {
                plot_series(x->plot, x->metric.data, x->metric.len);
            }
        } else if (key_is(&x->key, "value") || key_is(&x->key, "histogram")) {
            read_point(x);
        } else if (key_is(&x->key, "values") || key_is(&x->key, "histograms")) {
            if (jread_enter(&x->r, '[')) {
                while (jread_more(&x->r)) {
                    read_point(x);
                }
            }
        } else {
            (void)jread_raw(&x->r);
        }
    }
}

static void read_result(struct render *x)
{
    bool single = true; /* scalar, string */
    if (!jread_enter(&x->r, '{')) {
        return;
    }
    while (jread_more(&x->r)) {
        jread_key(&x->r, &x->key);
        if (key_is(&x->key, "resultType")) {
            jread_string(&x->r, &x->text);
            single = key_is(&x->text, "scalar") || key_is(&x->text, "string");
        } else if (!key_is(&x->key, "result")) {
            (void)jread_raw(&x->r);
        } else if (single) {
            tsdb_buf_clear(&x->metric);
            read_point(x);
        } else if (jread_enter(&x->r, '[')) {
            while (jread_more(&x->r)) {
                read_series(x);
            }
        }
    }
}

static void read_list(struct render *x)
{
    if (!jread_enter(&x->r, '[')) {
        return;
    }
    while (jread_more(&x->r)) {
        if (jread_peek(&x->r) == '{') {
            read_metric(x);
            put_text(x, &x->metric);
        } else {
            jread_string(&x->r, &x->text);
            put_text(x, &x->text);
        }
    }
}

/* As wide as the terminal; as COLUMNS says, or 100, where it is none. */
static uint32_t width_of_terminal(void)
{
    struct winsize size = {0};
    uint64_t columns = 0;
    const char *text = getenv("COLUMNS");
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    return text && tsdb_parse_u64(text, strlen(text), &columns) && columns <= PLOT_WIDTH_MAX
               ? (uint32_t)columns
               : 100;
}

static enum tsdb_status print_plot(const struct plot *p, struct tsdb_error *err)
{
    struct tsdb_buf out;
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
    plot_print(p, width_of_terminal(), &out);
    enum tsdb_status status = tool_put(&out, err);
    tsdb_buf_deinit(&out);
    if (p->count == 0) {
        tool_say("there is no number to draw");
    }
    if (p->series > PLOT_SERIES_MAX) {
        tool_say("the first %u of %u series are drawn", PLOT_SERIES_MAX, p->series);
    }
    if (p->left_out > 0) {
        tool_say("not drawn: %" PRIu64 " points (NaN, infinite, histograms, or beyond %u)",
                 p->left_out, PLOT_POINTS_MAX);
    }
    return status;
}

static enum tsdb_status finish(struct render *x, struct tsdb_error *err)
{
    if (!jread_end(&x->r)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "the answer is not one of the Prometheus API");
    }
    if (x->key.failed || x->text.failed || x->metric.failed) {
        return tsdb_error_nomem(err, "an answer");
    }
    if (x->plot) {
        return print_plot(x->plot, err);
    }
    return x->csv ? tool_put(&x->csv_out, err) : tool_table_print(&x->table, x->t, err);
}

/* As it came, with a line end. */
static enum tsdb_status render_json(struct tsdb_slice data, struct tsdb_error *err)
{
    struct tsdb_buf out;
    tsdb_buf_init(&out, TSDB_MEM_OTHER, 0);
    tsdb_buf_put(&out, data.data, data.len);
    tsdb_buf_put_u8(&out, '\n');
    enum tsdb_status status = tool_put(&out, err);
    tsdb_buf_deinit(&out);
    return status;
}

enum tsdb_status tool_render(const struct tool *t, struct tsdb_slice data, const char *heading,
                             bool plots, struct tsdb_error *err)
{
    enum tool_format format = t->options.json ? TOOL_FORMAT_JSON : t->options.format;
    if (format == TOOL_FORMAT_OPENMETRICS || format == TOOL_FORMAT_JSONL) {
        return tsdb_error_set(err, TSDB_INVALID, "--format: expected table, json or csv");
    }
    if (format == TOOL_FORMAT_PLOT && !plots) {
        return tsdb_error_set(err, TSDB_INVALID, "--format=plot: `query range` alone has it");
    }
    if (format == TOOL_FORMAT_JSON) {
        return render_json(data, err);
    }
    struct plot plot;
    struct render x = {.t = t, .csv = format == TOOL_FORMAT_CSV};
    x.plot = format == TOOL_FORMAT_PLOT ? &plot : NULL;
    plot_init(&plot);
    struct tool_column list_column = {heading, TOOL_CELL_TEXT};
    struct tsdb_buf *bufs[] = {&x.csv_out, &x.key, &x.text, &x.metric};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bufs); i++) {
        tsdb_buf_init(bufs[i], TSDB_MEM_OTHER, 0);
    }
    jread_init(&x.r, data.data, data.len);
    bool values = jread_peek(&x.r) == '{';
    if (values) {
        tool_table_init(&x.table, value_columns, TSDB_ARRAY_LEN(value_columns));
        tsdb_buf_put_str(&x.csv_out, x.csv ? "series,time_ms,value\n" : "");
        read_result(&x);
    } else {
        tool_table_init(&x.table, heading ? &list_column : series_columns, 1);
        tsdb_buf_printf(&x.csv_out, "%s\n", heading ? heading : "series");
        read_list(&x);
    }
    enum tsdb_status status = finish(&x, err);
    tool_table_deinit(&x.table);
    plot_deinit(&plot);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bufs); i++) {
        tsdb_buf_deinit(bufs[i]);
    }
    return status;
}
