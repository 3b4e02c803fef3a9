#include "compress/prom_chunk.h"

#include "base/assert.h"
#include "compress/prom_chunk_private.h"
#include "compress/xor_codec.h"

/* Fewest bits of the first and of a later sample of a float chunk. */
#define FLOAT_FIRST_BITS_MIN 72u
#define XOR_NEXT_BITS_MIN    2u
#define XOR2_NEXT_BITS_MIN   1u
#define XOR2_HEADER_BYTES    3u

const char *prom_chunk_encoding_name(unsigned encoding)
{
    static const char *const names[] = {
        [PROM_CHUNK_XOR] = "XOR",
        [PROM_CHUNK_HISTOGRAM] = "histogram",
        [PROM_CHUNK_FLOAT_HISTOGRAM] = "floathistogram",
        [PROM_CHUNK_XOR2] = "XOR2",
        [PROM_CHUNK_HISTOGRAM_ST] = "histogramST",
        [PROM_CHUNK_FLOAT_HISTOGRAM_ST] = "floathistogramST",
    };
    return encoding < TSDB_ARRAY_LEN(names) ? names[encoding] : NULL;
}

enum tsdb_status prom_corrupt(const struct bit_reader *r, unsigned encoding, const char *what,
                              struct tsdb_error *err)
{
    return tsdb_error_set_at(err, TSDB_CORRUPT, r->bit / 8, "%s chunk at byte %zu of %zu: %s",
                             prom_chunk_encoding_name(encoding), r->bit / 8, r->len, what);
}

/* ---- numbers ---- */
const uint8_t prom_varbit_width[PROM_VARBIT_KINDS + 1] = {0, 3, 6, 9, 12, 18, 25, 56, 64};

static void put_varbit(struct bit_writer *w, uint32_t kind, uint64_t v)
{
    if (kind == PROM_VARBIT_KINDS) {
        put_bits(w, 0xff, 8);
    } else {
        put_bits(w, (UINT64_C(2) << kind) - 2, kind + 1);
    }
    if (kind > 0) {
        put_bits(w, v, prom_varbit_width[kind]);
    }
}

void prom_put_varbit_int(struct bit_writer *w, int64_t v)
{
    uint32_t kind = v == 0 ? 0 : 1;
    for (; kind > 0 && kind < PROM_VARBIT_KINDS; kind++) {
        int64_t half = INT64_C(1) << (prom_varbit_width[kind] - 1);
        if (v > -half && v <= half) {
            break;
        }
    }
    put_varbit(w, kind, (uint64_t)v);
}

void prom_put_varbit_uint(struct bit_writer *w, uint64_t v)
{
    uint32_t kind = v == 0 ? 0 : 1;
    while (kind > 0 && kind < PROM_VARBIT_KINDS && v >> prom_varbit_width[kind] != 0) {
        kind++;
    }
    put_varbit(w, kind, v);
}

static uint32_t get_varbit_kind(struct bit_reader *r)
{
    uint32_t kind = 0;
    while (kind < PROM_VARBIT_KINDS && get_some(r, 1) == 1) {
        kind++;
    }
    return kind;
}

int64_t prom_get_varbit_int(struct bit_reader *r)
{
    uint32_t kind = get_varbit_kind(r);
    if (kind == 0) {
        return 0;
    }
    uint32_t width = prom_varbit_width[kind];
    uint64_t v = get_bits(r, width);
    if (width < 64 && v > UINT64_C(1) << (width - 1)) {
        v -= UINT64_C(1) << width;
    }
    return (int64_t)v;
}

uint64_t prom_get_varbit_uint(struct bit_reader *r)
{
    uint32_t kind = get_varbit_kind(r);
    return kind == 0 ? 0 : get_bits(r, prom_varbit_width[kind]);
}

/* ---- start times ---- */
struct prom_start prom_start_init(uint8_t header)
{
    return (struct prom_start){.first_known = (header & 0x80) != 0, .change_on = header & 0x7fu};
}

int64_t prom_start_read(struct prom_start *s, struct bit_reader *r, uint32_t i, uint64_t t,
                        uint64_t t_before)
{
    if (i == 0) {
        if (s->first_known) {
            s->difference = (uint64_t)tsdb_unzigzag(get_uvarint(r));
            s->start = t - s->difference;
        }
    } else if (s->change_on > 0 && i >= s->change_on) {
        uint64_t read = (uint64_t)prom_get_varbit_int(r);
        s->difference = i == s->change_on ? read : s->difference + read;
        s->start = t_before - s->difference;
    }
    return (int64_t)s->start;
}

/* ---- floats ---- */
struct floats {
    int64_t *t_ms, *start_ms;
    uint64_t *bits;
};

/* Arrays for the n samples that a chunk says it holds, if its bytes can hold them. */
static enum tsdb_status floats_alloc(unsigned encoding, const struct bit_reader *r, size_t n,
                                     size_t next_bits_min, struct tsdb_arena *arena,
                                     struct floats *out, struct tsdb_error *err)
{
    if (n > 0 && FLOAT_FIRST_BITS_MIN + (n - 1) * next_bits_min > prom_bits_left(r)) {
        return prom_corrupt(r, encoding, "more samples than its bytes can hold", err);
    }
    out->t_ms = TSDB_ARENA_ARRAY(arena, int64_t, n + 1);
    out->bits = TSDB_ARENA_ARRAY(arena, uint64_t, n + 1);
    if (!out->t_ms || !out->bits) {
        return tsdb_error_set(err, tsdb_arena_status(arena), "%s chunk: no memory for %zu samples",
                              prom_chunk_encoding_name(encoding), n);
    }
    return TSDB_OK;
}

static enum tsdb_status xor_decode(const uint8_t *src, size_t len, struct tsdb_arena *arena,
                                   struct tsdb_columns *out, struct tsdb_error *err)
{
    struct bit_reader r = {.src = src, .len = len, .bit = 16};
    if (len < 2) {
        r.bit = 0;
        return prom_corrupt(&r, PROM_CHUNK_XOR, "too short for a count", err);
    }
    size_t n = (size_t)src[0] << 8 | src[1];
    struct floats f = {0};
    enum tsdb_status status =
        floats_alloc(PROM_CHUNK_XOR, &r, n, XOR_NEXT_BITS_MIN, arena, &f, err);
    if (status == TSDB_OK) {
        status = xor_chunk_decode(src, len, n, f.t_ms, f.bits, &n, err);
    }
    if (status == TSDB_OK) {
        *out = (struct tsdb_columns){.count = (uint32_t)n, .t_ms = f.t_ms, .bits = f.bits};
    }
    return status;
}

/* ---- XOR2 ----
 * After two samples as in XOR, time and value share a prefix:
 *   '0' same step, same value    '10' same step, N           '110' 13 bits, V    '1110' 20 bits, V
 *   '11110' 64 bits, V           '11111' same step, stale
 *   V: '0' same   '10' window   '110' new window   '111' stale       N: '0' window   '1' new window
 * The fields of times are two's complement here. A stale marker is not what the next value is XORed
 * with. */
struct xor2 {
    struct bit_reader r;
    struct window w;
    uint64_t t, delta;
};

static uint64_t xor2_window(struct xor2 *x, bool opened)
{
    struct window *w = &x->w;
    if (opened) {
        uint64_t head = get_some(&x->r, 11);
        uint32_t significant = (uint32_t)(head & 63);
        significant = significant == 0 ? 64 : significant;
        w->leading = (uint32_t)(head >> 6);
        w->set = w->leading + significant <= 64;
        w->trailing = w->set ? 64 - w->leading - significant : 0;
    }
    if (!w->set) {
        x->r.failed = true;
        return 0;
    }
    w->value ^= get_bits(&x->r, 64 - w->leading - w->trailing) << w->trailing;
    return w->value;
}

static uint64_t xor2_value(struct xor2 *x)
{
    if (get_some(&x->r, 1) == 0) {
        return x->w.value;
    }
    if (get_some(&x->r, 1) == 0) {
        return xor2_window(x, false);
    }
    return get_some(&x->r, 1) == 0 ? xor2_window(x, true) : TSDB_STALE_NAN_BITS;
}

static uint64_t xor2_next(struct xor2 *x)
{
    static const uint8_t width[] = {[2] = 13, [3] = 20, [4] = 64};
    uint32_t ones = 0;
    while (ones < 5 && get_some(&x->r, 1) == 1) {
        ones++;
    }
    if (ones >= 2 && ones <= 4) {
        uint32_t n = width[ones];
        uint64_t dod = get_bits(&x->r, n);
        if (n < 64 && dod >> (n - 1) != 0) {
            dod -= UINT64_C(1) << n;
        }
        x->delta += dod;
    }
    x->t += x->delta;
    switch (ones) {
    case 0:
        return x->w.value;
    case 1:
        return xor2_window(x, get_some(&x->r, 1) == 1);
    case 5:
        return TSDB_STALE_NAN_BITS;
    default:
        return xor2_value(x);
    }
}

static uint64_t xor2_read(struct xor2 *x, uint32_t i)
{
    uint64_t v;
    if (i == 0) {
        x->t = (uint64_t)tsdb_unzigzag(get_uvarint(&x->r));
        v = get_bits(&x->r, 64);
        x->w.value = tsdb_is_stale_bits(v) ? 0 : v;
    } else if (i == 1) {
        x->delta = get_uvarint(&x->r);
        x->t += x->delta;
        v = xor2_value(x);
    } else {
        v = xor2_next(x);
    }
    return v;
}

static enum tsdb_status xor2_decode(const uint8_t *src, size_t len, struct tsdb_arena *arena,
                                    struct tsdb_columns *out, struct tsdb_error *err)
{
    struct xor2 x = {.r = {.src = src, .len = len}, .w = WINDOW_OF_A_READER};
    if (len < XOR2_HEADER_BYTES) {
        return prom_corrupt(&x.r, PROM_CHUNK_XOR2, "too short for its header", err);
    }
    uint32_t n = (uint32_t)src[0] << 8 | src[1];
    struct prom_start start = prom_start_init(src[2]);
    struct floats f = {0};
    x.r.bit = 8 * XOR2_HEADER_BYTES;
    enum tsdb_status status =
        floats_alloc(PROM_CHUNK_XOR2, &x.r, n, XOR2_NEXT_BITS_MIN, arena, &f, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (prom_start_any(&start)) {
        f.start_ms = TSDB_ARENA_ARRAY(arena, int64_t, n + 1);
        if (!f.start_ms) {
            return tsdb_error_set(err, tsdb_arena_status(arena), "XOR2 chunk: no memory");
        }
    }
    TSDB_ASSERT(f.t_ms && f.bits);
    for (uint32_t i = 0; i < n && !x.r.failed; i++) {
        uint64_t before = x.t;
        f.bits[i] = xor2_read(&x, i);
        f.t_ms[i] = (int64_t)x.t;
        if (f.start_ms) {
            f.start_ms[i] = prom_start_read(&start, &x.r, i, x.t, before);
        }
    }
    if (x.r.failed) {
        return prom_corrupt(&x.r, PROM_CHUNK_XOR2, "damaged or cut short", err);
    }
    *out =
        (struct tsdb_columns){.count = n, .t_ms = f.t_ms, .bits = f.bits, .start_ms = f.start_ms};
    return TSDB_OK;
}

enum tsdb_status prom_chunk_decode(unsigned encoding, const uint8_t *src, size_t len,
                                   struct tsdb_arena *arena, struct tsdb_columns *out,
                                   struct tsdb_error *err)
{
    switch (encoding) {
    case PROM_CHUNK_XOR:
        return xor_decode(src, len, arena, out, err);
    case PROM_CHUNK_XOR2:
        return xor2_decode(src, len, arena, out, err);
    case PROM_CHUNK_HISTOGRAM:
    case PROM_CHUNK_FLOAT_HISTOGRAM:
    case PROM_CHUNK_HISTOGRAM_ST:
    case PROM_CHUNK_FLOAT_HISTOGRAM_ST:
        return prom_histogram_decode(encoding, src, len, arena, out, err);
    default:
        return tsdb_error_set(err, TSDB_UNSUPPORTED,
                              "chunk of encoding %u, expected 1 (XOR) to 6 (floathistogramST)",
                              encoding);
    }
}
