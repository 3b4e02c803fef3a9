#include "tests/support/ingest/encode_otlp.h"

#include <string.h>

/* Field numbers of opentelemetry.proto.*.v1. */
enum {
    REQUEST_RESOURCE_METRICS = 1,
    RESOURCE_METRICS_RESOURCE = 1,
    RESOURCE_METRICS_SCOPES = 2,
    RESOURCE_ATTRIBUTES = 1,
    SCOPE_METRICS = 2,
    METRIC_NAME = 1,
    METRIC_GAUGE = 5,
    GAUGE_POINTS = 1,
    POINT_TIME = 3,
    POINT_DOUBLE = 4,
    POINT_ATTRIBUTES = 7,
    KEY_VALUE_KEY = 1,
    KEY_VALUE_VALUE = 2,
    ANY_VALUE_STRING = 1
};
#define WIRE_FIXED64 1u
#define WIRE_BYTES   2u

static void put_bytes(struct tsdb_buf *out, unsigned field, const void *data, size_t len)
{
    tsdb_buf_put_uvarint(out, field << 3 | WIRE_BYTES);
    tsdb_buf_put_uvarint(out, len);
    tsdb_buf_put(out, data, len);
}

/* A message that was built in a buffer of its own. */
static void put_message(struct tsdb_buf *out, unsigned field, struct tsdb_buf *message)
{
    put_bytes(out, field, message->data, message->len);
    out->failed = out->failed || message->failed;
    tsdb_buf_clear(message);
}

static void put_fixed64(struct tsdb_buf *out, unsigned field, uint64_t v)
{
    tsdb_buf_put_uvarint(out, field << 3 | WIRE_FIXED64);
    tsdb_buf_put_le64(out, v);
}

/* Buffers, by depth. */
struct otlp_maker {
    struct tsdb_buf value, pair, point, gauge, metric, scope, resource, all;
};

static void put_attribute(struct otlp_maker *m, struct tsdb_buf *out, unsigned field,
                          const char *name, size_t name_len, const struct tsdb_label *l)
{
    put_bytes(&m->value, ANY_VALUE_STRING, l->value, l->value_len);
    put_bytes(&m->pair, KEY_VALUE_KEY, name, name_len);
    put_message(&m->pair, KEY_VALUE_VALUE, &m->value);
    put_message(out, field, &m->pair);
}

static bool named(const struct tsdb_label *l, const char *name)
{
    return l->name_len == strlen(name) && memcmp(l->name, name, l->name_len) == 0;
}

static void put_point(struct otlp_maker *m, const struct encode_series *s, uint32_t k)
{
    put_fixed64(&m->point, POINT_TIME, (uint64_t)s->samples[k].t_ms * 1000000);
    put_fixed64(&m->point, POINT_DOUBLE, s->samples[k].bits);
    for (uint32_t i = 0; i < s->labels.count; i++) {
        const struct tsdb_label *l = &s->labels.items[i];
        if (!named(l, "__name__") && !named(l, "job") && !named(l, "instance")) {
            put_attribute(m, &m->point, POINT_ATTRIBUTES, l->name, l->name_len, l);
        }
    }
    put_message(&m->gauge, GAUGE_POINTS, &m->point);
}

static void put_metric(struct otlp_maker *m, const struct encode_series *s)
{
    for (uint32_t i = 0; i < s->labels.count; i++) {
        const struct tsdb_label *l = &s->labels.items[i];
        if (named(l, "__name__")) {
            put_bytes(&m->metric, METRIC_NAME, l->value, l->value_len);
        }
    }
    for (uint32_t k = 0; k < s->sample_count; k++) {
        put_point(m, s, k);
    }
    put_message(&m->metric, METRIC_GAUGE, &m->gauge);
    put_message(&m->scope, SCOPE_METRICS, &m->metric);
}

static void put_resource(struct otlp_maker *m, const struct tsdb_labels *labels)
{
    static const struct {
        const char *label, *attribute;
    } pairs[] = {{"job", "service.name"}, {"instance", "service.instance.id"}};
    for (uint32_t k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < labels->count; i++) {
            if (named(&labels->items[i], pairs[k].label)) {
                put_attribute(m, &m->resource, RESOURCE_ATTRIBUTES, pairs[k].attribute,
                              strlen(pairs[k].attribute), &labels->items[i]);
            }
        }
    }
    put_message(&m->all, RESOURCE_METRICS_RESOURCE, &m->resource);
}

void encode_otlp_gauges(const struct encode_series *series, uint32_t count, uint32_t each,
                        struct tsdb_buf *out)
{
    struct otlp_maker m;
    struct tsdb_buf *const all[] = {&m.value,  &m.pair,  &m.point,    &m.gauge,
                                    &m.metric, &m.scope, &m.resource, &m.all};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(all); i++) {
        tsdb_buf_init(all[i], TSDB_MEM_OTHER, 0);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (i % each == 0) {
            put_resource(&m, &series[i].labels);
        }
        put_metric(&m, &series[i]);
        if (i % each == each - 1 || i + 1 == count) {
            put_message(&m.all, RESOURCE_METRICS_SCOPES, &m.scope);
            put_message(out, REQUEST_RESOURCE_METRICS, &m.all);
        }
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(all); i++) {
        tsdb_buf_deinit(all[i]);
    }
}
