/* Values as text. What holds values is walked over its bytes, to a bounded depth, twice: for the length
 * and for the text. */
#include "base/format.h"
#include "ingest/otlp/otlp_private.h"
#include "ingest/wire.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* data NULL: counts only. */
struct text {
    uint8_t *data;
    size_t len;
};

static void put(struct text *t, const void *data, size_t len)
{
    if (t->data && len > 0) {
        memcpy(t->data + t->len, data, len);
    }
    t->len += len;
}

static void put_str(struct text *t, const char *s)
{
    put(t, s, strlen(s));
}

static void put_json_string(struct text *t, struct tsdb_slice s)
{
    put_str(t, "\"");
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        if (c == '"' || c == '\\') {
            char pair[2] = {'\\', (char)c};
            put(t, pair, 2);
        } else if (c < 0x20) {
            char code[8];
            snprintf(code, sizeof code, "\\u%04x", c);
            put_str(t, code);
        } else {
            put(t, &c, 1);
        }
    }
    put_str(t, "\"");
}

static void put_base64(struct text *t, struct tsdb_slice s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < s.len; i += 3) {
        size_t left = s.len - i;
        uint32_t v = (uint32_t)s.data[i] << 16 | (left > 1 ? (uint32_t)s.data[i + 1] << 8 : 0) |
                     (left > 2 ? s.data[i + 2] : 0u);
        char out[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                       left > 2 ? digits[v & 63] : '='};
        put(t, out, 4);
    }
}

static void put_double(struct text *t, double v)
{
    char number[TSDB_FORMAT_FLOAT_MAX];
    size_t len = tsdb_format_float_json(number, v);
    if (!isfinite(v)) {
        put_str(t, "json: unsupported value: ");
    }
    if (len > 4 && number[len - 4] == 'e' && number[len - 2] == '0') { /* "1e-07" is "1e-7" */
        number[len - 2] = number[len - 1];
        len--;
    }
    put(t, number, len);
}

static void put_i64(struct text *t, int64_t v)
{
    char number[24];
    put(t, number, tsdb_format_i64(number, v));
}

static void put_value(struct text *t, struct tsdb_slice message, unsigned depth);

static void put_array(struct text *t, struct tsdb_slice list, unsigned depth)
{
    const uint8_t *p = list.data;
    const uint8_t *end = p + list.len;
    bool first = true;
    put_str(t, "[");
    struct wire_field f;
    while (p < end && (p = wire_field_read(p, end, &f)) != NULL) {
        if (f.number == 1 && f.type == WIRE_LEN) {
            put_str(t, first ? "" : ",");
            put_value(t, f.bytes, depth + 1);
            first = false;
        }
    }
    put_str(t, "]");
}

static void put_map(struct text *t, struct tsdb_slice list, unsigned depth)
{
    static const struct wire_want want[] = {{1, WIRE_LEN}, {2, WIRE_LEN}};
    const uint8_t *p = list.data;
    const uint8_t *end = p + list.len;
    bool first = true;
    put_str(t, "{");
    struct wire_field f;
    while (p < end && (p = wire_field_read(p, end, &f)) != NULL) {
        struct wire_field pair[TSDB_ARRAY_LEN(want)];
        if (f.number == 1 && f.type == WIRE_LEN &&
            wire_message_read(f.bytes, want, TSDB_ARRAY_LEN(want), pair)) {
            put_str(t, first ? "" : ",");
            put_json_string(t, pair[0].bytes);
            put_str(t, ":");
            put_value(t, pair[1].bytes, depth + 1);
            first = false;
        }
    }
    put_str(t, "}");
}

/* An AnyValue inside of another, as JSON: its last field says it. */
static void put_value(struct text *t, struct tsdb_slice message, unsigned depth)
{
    const uint8_t *p = message.len > 0 ? message.data : (const uint8_t *)"";
    const uint8_t *end = p + message.len;
    struct wire_field last = {0};
    struct wire_field f;
    while (p < end && (p = wire_field_read(p, end, &f)) != NULL) {
        last = f.number >= 1 && f.number <= 7 ? f : last;
    }
    if (depth > OTLP_VALUE_DEPTH_MAX) {
        put_str(t, "\"...\"");
    } else if (last.number == 1) {
        put_json_string(t, last.bytes);
    } else if (last.number == 2) {
        put_str(t, last.value ? "true" : "false");
    } else if (last.number == 3) {
        put_i64(t, (int64_t)last.value);
    } else if (last.number == 4) {
        double v;
        memcpy(&v, &last.value, sizeof v);
        put_double(t, v);
    } else if (last.number == 5) {
        put_array(t, last.bytes, depth);
    } else if (last.number == 6) {
        put_map(t, last.bytes, depth);
    } else if (last.number == 7) {
        put_str(t, "\"");
        put_base64(t, last.bytes);
        put_str(t, "\"");
    } else {
        put_str(t, "null");
    }
}

static void put_any(struct text *t, const Otlp__AnyValue *v)
{
    switch (v->value_case) {
    case OTLP__ANY_VALUE__VALUE_BOOL_VALUE:
        put_str(t, v->bool_value ? "true" : "false");
        return;
    case OTLP__ANY_VALUE__VALUE_INT_VALUE:
        put_i64(t, v->int_value);
        return;
    case OTLP__ANY_VALUE__VALUE_DOUBLE_VALUE:
        put_double(t, v->double_value);
        return;
    case OTLP__ANY_VALUE__VALUE_ARRAY_VALUE:
        put_array(t, otlp_slice(v->array_value), 0);
        return;
    case OTLP__ANY_VALUE__VALUE_KVLIST_VALUE:
        put_map(t, otlp_slice(v->kvlist_value), 0);
        return;
    case OTLP__ANY_VALUE__VALUE_BYTES_VALUE:
        put_base64(t, otlp_slice(v->bytes_value));
        return;
    case OTLP__ANY_VALUE__VALUE_STRING_VALUE:
    case OTLP__ANY_VALUE__VALUE__NOT_SET:
    case _OTLP__ANY_VALUE__VALUE__CASE_IS_INT_SIZE:
        return;
    }
}

enum tsdb_status otlp_value_text(const Otlp__AnyValue *v, struct tsdb_arena *arena,
                                 struct tsdb_slice *out)
{
    *out = (struct tsdb_slice){(const uint8_t *)"", 0};
    if (!v || v->value_case == OTLP__ANY_VALUE__VALUE__NOT_SET) {
        return TSDB_OK;
    }
    if (v->value_case == OTLP__ANY_VALUE__VALUE_STRING_VALUE) {
        *out = otlp_slice(v->string_value);
        return TSDB_OK;
    }
    struct text t = {NULL, 0};
    put_any(&t, v);
    t.data = tsdb_arena_alloc(arena, t.len + 1, 1);
    if (!t.data) {
        return tsdb_arena_status(arena);
    }
    t.len = 0;
    put_any(&t, v);
    *out = (struct tsdb_slice){t.data, t.len};
    return TSDB_OK;
}
