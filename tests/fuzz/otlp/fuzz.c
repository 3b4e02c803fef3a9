/* OTLP as protobuf and as JSON, the first byte chooses the options. Invariants checked: labels come sorted
 * and unique, spans and buckets of a histogram agree, exemplars are valid, what JSON becomes is a message
 * that protobuf-c takes, a refusal has a text, and no more memory than the account allows. */
#include "ingest/otlp/json.h"
#include "ingest/otlp/otlp.h"

#include <stdlib.h>
#include <string.h>

#define BYTES_MAX (64u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static enum tsdb_status on_series(void *arg, const struct tsdb_labels *labels, void *out_target,
                                  struct tsdb_error *err)
{
    (void)arg;
    (void)err;
    memset(out_target, 0, OTLP_TARGET_BYTES_MAX);
    for (uint32_t i = 1; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        must(tsdb_str_compare(l[-1].name, l[-1].name_len, l->name, l->name_len) < 0);
    }
    must(tsdb_labels_find(labels, TSDB_METRIC_NAME, sizeof TSDB_METRIC_NAME - 1) != NULL);
    return TSDB_OK;
}

static enum tsdb_status on_sample(void *arg, const void *target, int64_t t_ms, int64_t start_ms,
                                  uint64_t bits, struct tsdb_error *err)
{
    (void)arg;
    (void)bits;
    (void)err;
    must(target != NULL && start_ms <= t_ms);
    return TSDB_OK;
}

static enum tsdb_status on_histogram(void *arg, const void *target, struct tsdb_histogram *h,
                                     int64_t t_ms, int64_t start_ms, struct tsdb_error *err)
{
    (void)arg;
    (void)target;
    (void)t_ms;
    (void)start_ms;
    uint64_t buckets = 0;
    for (uint32_t i = 0; i < h->positive_span_count; i++) {
        buckets += h->positive_spans[i].length;
    }
    must(buckets == h->positive_bucket_count);
    must(tsdb_histogram_validate(h, err) == TSDB_OK || err->msg[0] != '\0');
    memset(err, 0, sizeof *err);
    return TSDB_OK;
}

static enum tsdb_status on_exemplar(void *arg, const void *target, const struct tsdb_exemplar *x,
                                    struct tsdb_error *err)
{
    (void)arg;
    (void)target;
    must(tsdb_exemplar_validate(x, err) == TSDB_OK);
    return TSDB_OK;
}

static enum tsdb_status on_metadata(void *arg, const struct tsdb_metadata *m,
                                    struct tsdb_error *err)
{
    (void)arg;
    (void)err;
    must(m->metric.len > 0);
    return TSDB_OK;
}

static void on_reject(void *arg, enum otlp_reject reason, struct tsdb_slice metric, uint32_t points,
                      struct tsdb_error *why)
{
    (void)arg;
    (void)reason;
    (void)metric;
    (void)points;
    must(why->msg[0] != '\0');
    memset(why, 0, sizeof *why);
}

static enum tsdb_status translate(const uint8_t *data, size_t len, const struct otlp_options *o,
                                  struct tsdb_arena *arena, struct tsdb_arena *scratch)
{
    const struct otlp_sink sink = {.series = on_series,
                                   .sample = on_sample,
                                   .histogram = on_histogram,
                                   .exemplar = on_exemplar,
                                   .metadata = on_metadata,
                                   .reject = on_reject};
    struct tsdb_error err = {0};
    uint32_t points = 0;
    enum tsdb_status status = otlp_translate(data, len, o, &sink, arena, scratch, &points, &err);
    must(status == TSDB_OK || status == TSDB_LIMIT ||
         (status == TSDB_CORRUPT && err.msg[0] != '\0'));
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct otlp_options o;
    struct tsdb_account account;
    struct tsdb_arena arena;
    struct tsdb_arena scratch;
    struct tsdb_slice body;
    struct tsdb_error err = {0};
    if (len == 0) {
        return 0;
    }
    uint8_t chosen = data[0];
    o = (struct otlp_options){.strategy = (enum otlp_strategy)(chosen & 3),
                              .promote_all = chosen & 4,
                              .histograms_to_nhcb = chosen & 8,
                              .promote_scope = chosen & 16,
                              .delta = chosen & 32,
                              .keep_identifying = chosen & 64,
                              .join_underscores = chosen & 128};
    tsdb_account_init(&account, BYTES_MAX, NULL);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 4096, &account);
    tsdb_arena_init(&scratch, TSDB_MEM_OTHER, 4096, &account);
    (void)translate(data + 1, len - 1, &o, &arena, &scratch);
    tsdb_arena_reset(&arena);
    enum tsdb_status status = otlp_json_to_protobuf(data + 1, len - 1, &arena, &body, &err);
    must(status == TSDB_OK || status == TSDB_LIMIT ||
         (status == TSDB_INVALID && err.msg[0] != '\0' && err.pos < len));
    if (status == TSDB_OK) {
        must(translate(body.data, body.len, &o, &arena, &scratch) != TSDB_CORRUPT);
    }
    must(atomic_load(&account.used_bytes) <= BYTES_MAX);
    tsdb_arena_deinit(&scratch);
    tsdb_arena_deinit(&arena);
    must(atomic_load(&account.used_bytes) == 0);
    return 0;
}
