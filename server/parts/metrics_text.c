/* Our own metrics in the text exposition format. */
#include "base/format.h"
#include "server/parts/metrics.h"

#include <stdio.h>
#include <string.h>

struct text_form {
    struct tsdb_buf *out;
    char family[96]; /* HELP and TYPE were written for it */
};

static void put_label_value(struct tsdb_buf *out, const char *s, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        if (s[i] == '\\' || s[i] == '"') {
            tsdb_buf_put_u8(out, '\\');
            tsdb_buf_put_u8(out, (uint8_t)s[i]);
        } else if (s[i] == '\n') {
            tsdb_buf_put_str(out, "\\n");
        } else {
            tsdb_buf_put_u8(out, (uint8_t)s[i]);
        }
    }
}

static void put_text(void *arg, const struct metric_sample *m)
{
    struct text_form *t = arg;
    if (strcmp(t->family, m->family) != 0) {
        snprintf(t->family, sizeof t->family, "%s", m->family);
        tsdb_buf_printf(t->out, "# HELP %s %s\n# TYPE %s %s\n", m->family, m->help, m->family,
                        tsdb_metric_type_name(m->type));
    }
    tsdb_buf_put_str(t->out, m->name);
    for (uint32_t i = 0; i < m->labels.count; i++) {
        const struct tsdb_label *l = &m->labels.items[i];
        tsdb_buf_put_u8(t->out, i ? ',' : '{');
        tsdb_buf_put(t->out, l->name, l->name_len);
        tsdb_buf_put_str(t->out, "=\"");
        put_label_value(t->out, l->value, l->value_len);
        tsdb_buf_put_u8(t->out, '"');
    }
    char value[TSDB_FORMAT_FLOAT_MAX];
    tsdb_format_float_go_g(value, m->value);
    tsdb_buf_printf(t->out, "%s %s\n", m->labels.count ? "}" : "", value);
}

void server_metrics_text(struct server *s, struct tsdb_buf *out)
{
    struct text_form t = {.out = out};
    server_metrics_visit(s, put_text, &t);
}
