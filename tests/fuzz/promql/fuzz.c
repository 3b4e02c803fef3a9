/* Invariants checked: any bytes parse or are refused with a text and a position within them; what
 * parses is printed (on one line and pretty) to text that parses again and prints the same;
 * evaluation over no series at all ends without a crash. */
#include "base/assert.h"
#include "query/eval/exec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const struct query_options options = {.lookback_ms = 300000,
                                             .samples_max = 20000,
                                             .default_step_ms = 60000,
                                             .experimental_functions = true,
                                             .extended_range_selectors = true,
                                             .fill_modifiers = true};

/* ---- a source without series ---- */

static enum tsdb_status empty_open(void *ctx, struct tsdb_time_range range, struct tsdb_error *err)
{
    (void)ctx;
    (void)err;
    TSDB_ASSERT(range.min_ms <= range.max_ms);
    return TSDB_OK;
}

static enum tsdb_status empty_select(void *ctx, const struct tsdb_matcher *matchers,
                                     uint32_t matcher_count, struct query_series_set *out,
                                     struct tsdb_error *err)
{
    (void)ctx;
    (void)matchers;
    (void)err;
    TSDB_ASSERT(matcher_count > 0);
    *out = (struct query_series_set){NULL, 0};
    return TSDB_OK;
}

static void empty_close(void *ctx)
{
    (void)ctx;
}

static void evaluate(const struct query_expr *e, struct tsdb_arena *arena)
{
    static const struct query_source_ops ops = {
        .open = empty_open, .select = empty_select, .close = empty_close};
    const struct query_source source = {&ops, NULL};
    struct tsdb_request request;
    struct query_result r;
    struct tsdb_error err = {0};
    tsdb_request_init(&request, &tsdb_clock_real, TSDB_SCOPE_READ);
    tsdb_account_init(&request.account, 64u << 20, NULL);
    for (int64_t step_ms = 0; step_ms <= 60000; step_ms += 60000) {
        const struct query_params params = {
            .start_ms = 1000000, .end_ms = 1000000 + 3 * step_ms, .step_ms = step_ms};
        enum tsdb_status status =
            query_eval_source(&source, &options, &request, e, &params, arena, &r, &err);
        TSDB_ASSERT(status == TSDB_OK || err.msg[0] != '\0');
    }
}

/* ---- printing ---- */

static void print(const struct query_expr *e, bool pretty, struct tsdb_buf *out)
{
    tsdb_buf_init(out, TSDB_MEM_QUERY, 0);
    if (pretty) {
        query_expr_pretty(e, out);
    } else {
        query_expr_print(e, out);
    }
    TSDB_ASSERT(!out->failed);
}

/* A range below a millisecond is printed as "0s", which is refused; and what was just below a limit
 * may be above it when printed. */
static bool has_tiny_range(void *arg, const struct query_expr *e)
{
    bool *tiny = arg;
    *tiny |= e->kind == EXPR_MATRIX && !e->u.matrix.range_expr && e->u.matrix.range_ms == 0;
    *tiny |= e->kind == EXPR_SUBQUERY && !e->u.subquery.range_expr && e->u.subquery.range_ms == 0;
    return true;
}

static void check_reparse(const struct tsdb_buf *text, const struct tsdb_buf *want,
                          enum query_type type)
{
    struct tsdb_arena arena;
    struct query_expr *e = NULL;
    struct tsdb_error err = {0};
    struct tsdb_buf again;
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 4096, NULL);
    enum tsdb_status status =
        query_parse((const char *)text->data, text->len, &options, &arena, &e, &err);
    TSDB_ASSERT(status == TSDB_OK || status == TSDB_LIMIT);
    if (status == TSDB_OK) {
        TSDB_ASSERT(query_expr_type(e) == type);
        print(e, false, &again);
        TSDB_ASSERT(again.len == want->len);
        TSDB_ASSERT(memcmp(again.data, want->data, want->len) == 0);
        tsdb_buf_deinit(&again);
    }
    tsdb_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tsdb_arena arena;
    struct query_expr *e = NULL;
    struct tsdb_error err = {0};
    struct tsdb_selector selector;
    bool non_empty;
    tsdb_arena_init(&arena, TSDB_MEM_QUERY, 4096, NULL);
    enum tsdb_status status =
        query_parse_selector((const char *)data, len, &arena, &selector, &non_empty, NULL);
    TSDB_ASSERT(status == TSDB_OK || status == TSDB_INVALID || status == TSDB_LIMIT);
    status = query_parse((const char *)data, len, &options, &arena, &e, &err);
    if (status != TSDB_OK) {
        TSDB_ASSERT(status == TSDB_INVALID || status == TSDB_LIMIT);
        TSDB_ASSERT(err.msg[0] != '\0');
        TSDB_ASSERT(err.pos <= len);
    } else {
        bool tiny = false;
        query_expr_visit(e, has_tiny_range, &tiny);
        struct tsdb_buf line;
        struct tsdb_buf pretty;
        print(e, false, &line);
        print(e, true, &pretty);
        if (!tiny) {
            check_reparse(&line, &line, query_expr_type(e));
            check_reparse(&pretty, &line, query_expr_type(e));
        }
        tsdb_buf_deinit(&line);
        tsdb_buf_deinit(&pretty);
        evaluate(e, &arena);
    }
    tsdb_arena_deinit(&arena);
    return 0;
}
