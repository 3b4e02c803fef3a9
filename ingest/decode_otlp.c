/* OTLP: the translation of ingest/otlp/ into the batch builder. */
#include "ingest/ingest_private.h"
#include "ingest/otlp/json.h"

#include <assert.h>
#include <string.h>

static_assert(sizeof(struct tsdb_build_target) <= OTLP_TARGET_BYTES_MAX, "a target fits");

static enum tsdb_status on_series(void *arg, const struct tsdb_labels *labels, void *out_target,
                                  struct tsdb_error *err)
{
    struct ingest_request *r = arg;
    struct tsdb_build_target target;
    enum tsdb_status status = ingest_build_target(r, labels, &target, err);
    if (status == TSDB_INVALID) {
        ingest_build_reject(r, TSDB_REJECT_LABELS, 1, err);
        if (ingest_build_unnamed(r)) {
            ingest_build_name(r, labels->items, labels->count);
        }
        return TSDB_INVALID;
    }
    if (status == TSDB_OK) {
        memcpy(out_target, &target, sizeof target);
    }
    return status;
}

static struct tsdb_build_target target_of(const void *bytes)
{
    struct tsdb_build_target target;
    memcpy(&target, bytes, sizeof target);
    return target;
}

static enum tsdb_status on_sample(void *arg, const void *target, int64_t t_ms, int64_t start_ms,
                                  uint64_t bits, struct tsdb_error *err)
{
    (void)err;
    struct tsdb_build_target to = target_of(target);
    return ingest_build_float(arg, &to, t_ms, start_ms, bits);
}

static enum tsdb_status on_histogram(void *arg, const void *target, struct tsdb_histogram *h,
                                     int64_t t_ms, int64_t start_ms, struct tsdb_error *err)
{
    struct tsdb_build_target to = target_of(target);
    return ingest_build_histogram(arg, &to, h, t_ms, start_ms, err);
}

static enum tsdb_status on_exemplar(void *arg, const void *target, const struct tsdb_exemplar *x,
                                    struct tsdb_error *err)
{
    struct tsdb_build_target to = target_of(target);
    return ingest_build_exemplar(arg, &to, x, err);
}

static bool is_text(struct tsdb_slice s)
{
    return s.len == 0 || tsdb_utf8_valid(s.data, s.len);
}

static enum tsdb_status on_metadata(void *arg, const struct tsdb_metadata *m,
                                    struct tsdb_error *err)
{
    bool valid = is_text(m->metric) && is_text(m->help) && is_text(m->unit);
    return ingest_build_metadata(arg, valid ? TSDB_OK : TSDB_INVALID, m, err);
}

static void on_reject(void *arg, enum otlp_reject reason, struct tsdb_slice metric, uint32_t points,
                      struct tsdb_error *why)
{
    static const enum tsdb_reject reasons[] = {[OTLP_REJECT_LABELS] = TSDB_REJECT_LABELS,
                                               [OTLP_REJECT_HISTOGRAM] = TSDB_REJECT_HISTOGRAM,
                                               [OTLP_REJECT_UNSUPPORTED] = TSDB_REJECT_UNSUPPORTED};
    struct ingest_request *r = arg;
    ingest_build_reject(r, reasons[reason], points, why);
    if (ingest_build_unnamed(r)) {
        ingest_build_name_metric(r, metric);
    }
}

enum tsdb_status ingest_decode_otlp(struct ingest_request *r, const uint8_t *data, size_t len,
                                    struct tsdb_error *err)
{
    const struct otlp_sink sink = {.arg = r,
                                   .series = on_series,
                                   .sample = on_sample,
                                   .histogram = on_histogram,
                                   .exemplar = on_exemplar,
                                   .metadata = on_metadata,
                                   .reject = on_reject};
    struct otlp_options *options = TSDB_ARENA_NEW(&r->arena, struct otlp_options);
    if (!options) {
        return tsdb_arena_status(&r->arena);
    }
    tsdb_mutex_lock(&r->in->lock);
    *options = r->in->otlp; /* a reload may change them meanwhile */
    tsdb_mutex_unlock(&r->in->lock);
    struct tsdb_slice body = {data, len};
    enum tsdb_status status = TSDB_OK;
    if (r->protocol == INGEST_OTLP_JSON) {
        status = otlp_json_to_protobuf(data, len, &r->arena, &body, err);
    }
    return status == TSDB_OK ? otlp_translate(body.data, body.len, options, &sink, &r->arena,
                                              &r->scratch, &r->points, err)
                             : status;
}
