/* The text formats; the first byte chooses. Invariants checked: every call goes on, lines are counted, labels
 * and metadata are borrowed from the text or the arena and within bounds, a series' bytes read alone give the
 * same labels, faults name a place within the text. */
#include "ingest/text/text.h"

#include <stdlib.h>
#include <string.h>

#define LABELS 16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

/* What names a series is a line with a value: read again it gives the same labels. */
static void check_series(const struct text_sample *s, const struct tsdb_label *labels,
                         struct tsdb_arena *arena)
{
    struct tsdb_label again[LABELS];
    struct tsdb_label none[1];
    struct text_out out = {.labels = again,
                           .label_cap = LABELS,
                           .exemplar_labels = none,
                           .exemplar_cap = 1,
                           .arena = arena};
    struct text_parser p;
    struct tsdb_error err = {0};
    uint8_t *line = tsdb_arena_alloc(arena, s->series.len + 2, 1);
    must(line != NULL);
    memcpy(line, s->series.data, s->series.len);
    memcpy(line + s->series.len, " 1", 2);
    text_init(&p, line, s->series.len + 2, false);
    must(text_next(&p, &out, &err) == TEXT_SAMPLE);
    struct tsdb_labels a = {labels, s->label_count};
    struct tsdb_labels b = {again, out.sample.label_count};
    must(tsdb_labels_equal(&a, &b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tsdb_label labels[LABELS];
    struct tsdb_label exemplar_labels[4];
    struct tsdb_arena arena;
    struct text_parser p;
    if (len == 0) {
        return 0;
    }
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    struct text_out out = {.labels = labels,
                           .label_cap = LABELS,
                           .exemplar_labels = exemplar_labels,
                           .exemplar_cap = 4,
                           .arena = &arena};
    text_init(&p, data + 1, len - 1, data[0] & 1);
    for (enum text_item item = TEXT_SAMPLE; item != TEXT_END;) {
        struct tsdb_error err = {0};
        const uint8_t *before = p.pos;
        uint64_t line = p.line;
        item = text_next(&p, &out, &err);
        must(item == TEXT_END || (p.pos > before && p.line > line));
        must(item != TEXT_NOMEM);
        if (item == TEXT_FAULT) {
            must(err.status == TSDB_INVALID && err.pos < len && err.msg[0] != '\0');
        } else if (item == TEXT_SAMPLE) {
            must(out.sample.label_count <= LABELS);
            must(out.sample.series.data >= before && out.sample.series.len < len);
            check_series(&out.sample, labels, &arena);
            must(!out.sample.has_exemplar || p.openmetrics);
        } else if (item != TEXT_END && item != TEXT_NOTHING) {
            must(out.metadata.help.len + out.metadata.unit.len <= len);
        }
    }
    must(p.pos == p.end);
    tsdb_arena_deinit(&arena);
    return 0;
}
