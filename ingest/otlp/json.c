#include "ingest/otlp/json.h"

#include "base/assert.h"
#include "base/format.h"
#include "ingest/proto/otlp.pb-c.h"

#include <math.h>
#include <string.h>

#define DEPTH_MAX        64u
#define LENGTH_BYTES     5u /* of what is nested; a varint with leading zeroes is one */
#define NUMBER_BYTES_MAX 400u
#define FIELD_KEY_MAX    64u

/* The text, and the message under construction; dst NULL: counts only. */
struct conv {
    const uint8_t *text, *p, *end;
    uint8_t *dst;
    size_t len;
    unsigned depth;
    const char *fault; /* the first one, at p */
};

static bool fail(struct conv *c, const char *what)
{
    if (!c->fault) {
        c->fault = what;
    }
    return false;
}

/* ---- writing ---- */

static void put_byte(struct conv *c, uint8_t b)
{
    if (c->dst) {
        c->dst[c->len] = b;
    }
    c->len++;
}

static void put_varint(struct conv *c, uint64_t v)
{
    while (v >= 0x80) {
        put_byte(c, (uint8_t)(v | 0x80));
        v >>= 7;
    }
    put_byte(c, (uint8_t)v);
}

static void put_fixed64(struct conv *c, uint64_t v)
{
    for (int i = 0; i < 8; i++) {
        put_byte(c, (uint8_t)(v >> (8 * i)));
    }
}

/* A length comes when what it counts is written. */
static size_t begin_nested(struct conv *c, uint32_t field)
{
    put_varint(c, (uint64_t)field << 3 | 2);
    c->len += LENGTH_BYTES;
    return c->len;
}

static void end_nested(struct conv *c, size_t begin)
{
    uint64_t n = c->len - begin;
    for (unsigned i = 0; c->dst && i < LENGTH_BYTES; i++) {
        c->dst[begin - LENGTH_BYTES + i] =
            (uint8_t)((n >> (7 * i) & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
    }
}

/* ---- reading ---- */

static void blanks(struct conv *c)
{
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\t' || *c->p == '\n' || *c->p == '\r')) {
        c->p++;
    }
}

static bool next_is(struct conv *c, char ch)
{
    blanks(c);
    return c->p < c->end && *c->p == (uint8_t)ch;
}

static bool expect(struct conv *c, char ch, const char *what)
{
    if (!next_is(c, ch)) {
        return fail(c, what);
    }
    c->p++;
    return true;
}

static bool word(struct conv *c, const char *w)
{
    size_t len = strlen(w);
    blanks(c);
    if ((size_t)(c->end - c->p) < len || memcmp(c->p, w, len) != 0) {
        return false;
    }
    c->p += len;
    return true;
}

static bool hex4(struct conv *c, uint32_t *out)
{
    uint32_t v = 0;
    if (c->end - c->p < 4) {
        return fail(c, "cut escape in a string");
    }
    for (int i = 0; i < 4; i++, c->p++) {
        uint8_t d = *c->p;
        uint32_t digit = d >= '0' && d <= '9'   ? (uint32_t)d - '0'
                         : d >= 'a' && d <= 'f' ? (uint32_t)d - 'a' + 10
                         : d >= 'A' && d <= 'F' ? (uint32_t)d - 'A' + 10
                                                : 16;
        if (digit > 15) {
            return fail(c, "bad escape in a string");
        }
        v = v << 4 | digit;
    }
    *out = v;
    return true;
}

static uint32_t utf8(uint32_t v, uint8_t out[4])
{
    if (v < 0x80) {
        out[0] = (uint8_t)v;
        return 1;
    }
    uint32_t n = v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
    for (uint32_t i = n - 1; i > 0; i--, v >>= 6) {
        out[i] = (uint8_t)(0x80 | (v & 0x3f));
    }
    out[0] = (uint8_t)(v | (n == 2 ? 0xc0u : n == 3 ? 0xe0u : 0xf0u));
    return n;
}

/* Behind "\u": one code point, of which a half alone is U+FFFD. */
static bool code_point(struct conv *c, uint32_t *out)
{
    uint32_t low = 0;
    if (!hex4(c, out)) {
        return false;
    }
    if (*out >= 0xd800 && *out < 0xdc00 && c->end - c->p >= 6 && c->p[0] == '\\' &&
        c->p[1] == 'u') {
        const uint8_t *back = c->p;
        c->p += 2;
        if (!hex4(c, &low)) {
            return false;
        }
        if (low >= 0xdc00 && low < 0xe000) {
            *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
            return true;
        }
        c->p = back;
    }
    if (*out >= 0xd800 && *out < 0xe000) {
        *out = 0xfffd;
    }
    return true;
}

/* One character of a string, 1 to 4 bytes; 0: the string ends, or a fault. */
static uint32_t next_char(struct conv *c, uint8_t out[4])
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    uint32_t v = 0;
    if (c->p == c->end || *c->p < 0x20) {
        fail(c, "string does not end");
        return 0;
    }
    uint8_t b = *c->p++;
    if (b == '"') {
        return 0;
    }
    if (b != '\\') {
        out[0] = b;
        return 1;
    }
    if (c->p == c->end) {
        fail(c, "string does not end");
        return 0;
    }
    b = *c->p++;
    if (b == 'u') {
        return code_point(c, &v) ? utf8(v, out) : 0;
    }
    const char *at = b ? strchr(from, b) : NULL;
    if (!at) {
        fail(c, "bad escape in a string");
        return 0;
    }
    out[0] = (uint8_t)to[at - from];
    return 1;
}

/* A short string into out[cap]; what is longer is cut, and *out_len says how long it was. */
static bool short_string(struct conv *c, char *out, size_t cap, size_t *out_len)
{
    uint8_t ch[4];
    size_t len = 0;
    if (!expect(c, '"', "expected a string")) {
        return false;
    }
    for (uint32_t n; (n = next_char(c, ch)) > 0;) {
        for (uint32_t i = 0; i < n; i++, len++) {
            if (len < cap) {
                out[len] = (char)ch[i];
            }
        }
    }
    *out_len = len;
    return !c->fault;
}

static bool skip_value(struct conv *c);

static bool skip_list(struct conv *c, char close, bool keys)
{
    char none[1];
    size_t len;
    c->p++;
    if (c->depth++ == DEPTH_MAX) {
        return fail(c, "nested too deep");
    }
    while (!next_is(c, close)) {
        if (keys && (!short_string(c, none, 0, &len) || !expect(c, ':', "expected a colon"))) {
            return false;
        }
        if (!skip_value(c)) {
            return false;
        }
        if (!next_is(c, close) && !expect(c, ',', "expected a comma")) {
            return false;
        }
    }
    c->p++;
    c->depth--;
    return true;
}

static bool skip_value(struct conv *c)
{
    char none[1];
    size_t len;
    if (next_is(c, '{')) {
        return skip_list(c, '}', true);
    }
    if (next_is(c, '[')) {
        return skip_list(c, ']', false);
    }
    if (next_is(c, '"')) {
        return short_string(c, none, 0, &len);
    }
    if (word(c, "null") || word(c, "true") || word(c, "false")) {
        return true;
    }
    const uint8_t *begin = c->p;
    while (c->p < c->end && memchr("+-.0123456789eE", *c->p, 15)) {
        c->p++;
    }
    return c->p > begin ? true : fail(c, "expected a value");
}

/* A number, bare or as a string. */
static bool number_text(struct conv *c, char *out, size_t *out_len)
{
    if (next_is(c, '"')) {
        return short_string(c, out, NUMBER_BYTES_MAX, out_len) &&
               (*out_len <= NUMBER_BYTES_MAX || fail(c, "number is too long"));
    }
    const uint8_t *begin = c->p;
    while (c->p < c->end && memchr("+-.0123456789eE", *c->p, 15)) {
        c->p++;
    }
    *out_len = (size_t)(c->p - begin);
    if (*out_len == 0 || *out_len > NUMBER_BYTES_MAX) {
        return fail(c, "expected a number");
    }
    memcpy(out, begin, *out_len);
    return true;
}

static bool read_double(struct conv *c, double *out)
{
    char text[NUMBER_BYTES_MAX];
    size_t len;
    if (!number_text(c, text, &len)) {
        return false;
    }
    if (len == 8 && memcmp(text, "Infinity", 8) == 0) {
        *out = (double)INFINITY;
    } else if (len == 9 && memcmp(text, "-Infinity", 9) == 0) {
        *out = -(double)INFINITY;
    } else if (!tsdb_parse_float(text, len, out)) {
        return fail(c, "expected a number");
    }
    return true;
}

/* An integer as 64 bits: negative ones in two's complement. */
static bool read_integer(struct conv *c, uint64_t *out)
{
    char text[NUMBER_BYTES_MAX];
    size_t len;
    int64_t i = 0;
    double d = 0;
    if (!number_text(c, text, &len)) {
        return false;
    }
    if (tsdb_parse_u64(text, len, out)) {
        return true;
    }
    if (tsdb_parse_i64(text, len, &i)) {
        *out = (uint64_t)i;
        return true;
    }
    if (tsdb_parse_float(text, len, &d) && d == floor(d) && fabs(d) <= 9007199254740992.0) {
        *out = (uint64_t)(int64_t)d; /* 1e3 */
        return true;
    }
    return fail(c, "expected a whole number");
}

/* ---- bytes ---- */

static int hex_digit(uint8_t d)
{
    return d >= '0' && d <= '9'   ? d - '0'
           : d >= 'a' && d <= 'f' ? d - 'a' + 10
           : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                  : -1;
}

static int base64_digit(uint8_t d)
{
    return d >= 'A' && d <= 'Z'   ? d - 'A'
           : d >= 'a' && d <= 'z' ? d - 'a' + 26
           : d >= '0' && d <= '9' ? d - '0' + 52
           : d == '+' || d == '-' ? 62
           : d == '/' || d == '_' ? 63
                                  : -1;
}

/* A string whose characters are digits of `bits` bits: the bytes that they make. */
static bool put_digits(struct conv *c, unsigned bits)
{
    uint8_t ch[4];
    uint32_t held = 0;
    unsigned have = 0;
    if (!expect(c, '"', "expected a string")) {
        return false;
    }
    for (uint32_t n; (n = next_char(c, ch)) > 0;) {
        if (n == 1 && ch[0] == '=' && bits == 6) {
            continue;
        }
        int digit = n != 1 ? -1 : bits == 4 ? hex_digit(ch[0]) : base64_digit(ch[0]);
        if (digit < 0) {
            return fail(c, bits == 4 ? "expected hexadecimal digits" : "expected base64");
        }
        held = held << bits | (uint32_t)digit;
        have += bits;
        if (have >= 8) {
            have -= 8;
            put_byte(c, (uint8_t)(held >> have));
        }
    }
    return !c->fault;
}

static bool put_string(struct conv *c)
{
    uint8_t ch[4];
    if (!expect(c, '"', "expected a string")) {
        return false;
    }
    for (uint32_t n; (n = next_char(c, ch)) > 0;) {
        for (uint32_t i = 0; i < n; i++) {
            put_byte(c, ch[i]);
        }
    }
    return !c->fault;
}

/* ---- messages ---- */

static bool put_message(struct conv *c, const ProtobufCMessageDescriptor *d);

static bool is_name(const char *field, const char *name)
{
    return strcmp(field, name) == 0;
}

/* Fields of bytes: values in values, ids, base64, and all others are text. */
static bool put_bytes(struct conv *c, const ProtobufCFieldDescriptor *f)
{
    size_t begin = begin_nested(c, f->id);
    bool ok = is_name(f->name, "array_value")    ? put_message(c, &otlp__array_value__descriptor)
              : is_name(f->name, "kvlist_value") ? put_message(c, &otlp__key_value_list__descriptor)
              : is_name(f->name, "trace_id") || is_name(f->name, "span_id") ? put_digits(c, 4)
              : is_name(f->name, "bytes_value")                             ? put_digits(c, 6)
                                                                            : put_string(c);
    end_nested(c, begin);
    return ok;
}

static bool put_enum(struct conv *c, const ProtobufCFieldDescriptor *f)
{
    const ProtobufCEnumDescriptor *d = f->descriptor;
    uint64_t v = 0;
    blanks(c);
    if (c->end - c->p >= 2 && c->p[0] == '"' && !memchr("-0123456789", c->p[1], 11)) {
        char name[FIELD_KEY_MAX + 1];
        size_t len;
        if (!short_string(c, name, FIELD_KEY_MAX, &len)) {
            return false;
        }
        name[TSDB_MIN(len, (size_t)FIELD_KEY_MAX)] = '\0';
        const ProtobufCEnumValue *e = protobuf_c_enum_descriptor_get_value_by_name(d, name);
        v = e ? (uint64_t)e->value : 0; /* a newer one: unspecified */
    } else if (!read_integer(c, &v)) {
        return false;
    }
    put_varint(c, (uint64_t)f->id << 3);
    put_varint(c, v);
    return true;
}

static bool put_number(struct conv *c, const ProtobufCFieldDescriptor *f)
{
    uint64_t v = 0;
    double x = 0;
    if (f->type == PROTOBUF_C_TYPE_DOUBLE ? !read_double(c, &x) : !read_integer(c, &v)) {
        return false;
    }
    if (f->type == PROTOBUF_C_TYPE_DOUBLE) {
        memcpy(&v, &x, sizeof v);
    }
    bool fixed = f->type == PROTOBUF_C_TYPE_DOUBLE || f->type == PROTOBUF_C_TYPE_FIXED64 ||
                 f->type == PROTOBUF_C_TYPE_SFIXED64;
    put_varint(c, (uint64_t)f->id << 3 | (fixed ? 1 : 0));
    if (fixed) {
        put_fixed64(c, v);
    } else if (f->type == PROTOBUF_C_TYPE_SINT32) {
        put_varint(c, (uint32_t)((uint32_t)v << 1 ^ (uint32_t)((int32_t)v >> 31)));
    } else {
        put_varint(c, v);
    }
    return true;
}

static bool put_one(struct conv *c, const ProtobufCFieldDescriptor *f)
{
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        size_t begin = begin_nested(c, f->id);
        bool ok = put_message(c, f->descriptor);
        end_nested(c, begin);
        return ok;
    }
    if (f->type == PROTOBUF_C_TYPE_BYTES) {
        return put_bytes(c, f);
    }
    if (f->type == PROTOBUF_C_TYPE_BOOL) {
        bool on = word(c, "true");
        if (!on && !word(c, "false")) {
            return fail(c, "expected true or false");
        }
        put_varint(c, (uint64_t)f->id << 3);
        put_byte(c, on);
        return true;
    }
    return f->type == PROTOBUF_C_TYPE_ENUM ? put_enum(c, f) : put_number(c, f);
}

static bool put_field(struct conv *c, const ProtobufCFieldDescriptor *f)
{
    if (word(c, "null")) {
        return true;
    }
    if (f->label != PROTOBUF_C_LABEL_REPEATED) {
        return put_one(c, f);
    }
    if (!expect(c, '[', "expected a list")) {
        return false;
    }
    while (!next_is(c, ']')) {
        if (!put_one(c, f)) {
            return false;
        }
        if (!next_is(c, ']') && !expect(c, ',', "expected a comma")) {
            return false;
        }
    }
    c->p++;
    return true;
}

/* "asInt" or "as_int" for as_int. */
static bool names_field(const char *key, size_t len, const char *field)
{
    size_t i = 0;
    bool upper = false;
    for (; *field && i < len; field++) {
        if (*field == '_' && key[i] != '_') {
            upper = true;
            continue;
        }
        char want = upper && *field >= 'a' && *field <= 'z' ? (char)(*field - 'a' + 'A') : *field;
        if (key[i++] != want) {
            return false;
        }
        upper = false;
    }
    return *field == '\0' && i == len;
}

/* NULL: there is none of that name. */
static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *d,
                                                  const char *key, size_t len)
{
    for (unsigned i = 0; d->fields && i < d->n_fields; i++) {
        if (names_field(key, len, d->fields[i].name)) {
            return &d->fields[i];
        }
    }
    return NULL;
}

static bool put_message(struct conv *c, const ProtobufCMessageDescriptor *d)
{
    char key[FIELD_KEY_MAX];
    size_t len;
    if (!expect(c, '{', "expected an object")) {
        return false;
    }
    if (c->depth++ == DEPTH_MAX) {
        return fail(c, "nested too deep");
    }
    while (!next_is(c, '}')) {
        if (!short_string(c, key, sizeof key, &len) || !expect(c, ':', "expected a colon")) {
            return false;
        }
        const ProtobufCFieldDescriptor *f = len <= sizeof key ? find_field(d, key, len) : NULL;
        if (f ? !put_field(c, f) : !skip_value(c)) {
            return false;
        }
        if (!next_is(c, '}') && !expect(c, ',', "expected a comma")) {
            return false;
        }
    }
    c->p++;
    c->depth--;
    return true;
}

static bool convert(struct conv *c)
{
    if (!put_message(c, &otlp__export_metrics_service_request__descriptor)) {
        return false;
    }
    blanks(c);
    return c->p == c->end || fail(c, "something follows the object");
}

enum tsdb_status otlp_json_to_protobuf(const uint8_t *text, size_t len, struct tsdb_arena *arena,
                                       struct tsdb_slice *out, struct tsdb_error *err)
{
    struct conv c = {.text = text, .p = text, .end = text + len};
    if (!convert(&c)) {
        uint64_t at = (uint64_t)(c.p - text);
        return tsdb_error_set_at(err, TSDB_INVALID, at, "OTLP JSON: %s at byte %llu of %zu",
                                 c.fault, (unsigned long long)at, len);
    }
    size_t bytes = c.len;
    c = (struct conv){
        .text = text, .p = text, .end = text + len, .dst = tsdb_arena_alloc(arena, bytes + 1, 1)};
    if (!c.dst) {
        return tsdb_arena_status(arena);
    }
    bool again = convert(&c);
    TSDB_ASSERT(again && c.len == bytes);
    *out = (struct tsdb_slice){c.dst, bytes};
    return TSDB_OK;
}
