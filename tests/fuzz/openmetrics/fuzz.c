/* Lines of the text formats. Invariants checked: nothing is read beyond the line (it lies against its end
 * on the heap); what is accepted is bounded, finite in time, and parses again to the same. */
#include "tools/cmd/openmetrics.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void one(const char *line, size_t len, bool milliseconds)
{
    struct tsdb_arena arena;
    struct openmetrics_line a, b;
    struct tsdb_error err = {0};
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, NULL);
    enum tsdb_status status = openmetrics_parse(line, len, milliseconds, &arena, &a, &err);
    if (status == TSDB_OK) {
        must(a.label_count <= TSDB_LABELS_MAX && a.series.len <= len);
        must(openmetrics_parse(line, len, milliseconds, &arena, &b, &err) == TSDB_OK);
        must(a.kind == b.kind && a.label_count == b.label_count && a.t_ms == b.t_ms);
    } else {
        must(err.msg[0] != 0 && err.pos <= len);
    }
    tsdb_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *line = malloc(len + 1); /* the last byte is not the parser's to read */
    if (!line) {
        return 0;
    }
    if (len > 0) {
        memcpy(line + 1, data, len);
    }
    one(line + 1, len, false);
    one(line + 1, len, true);
    free(line);
    return 0;
}
