/* Reading streams: one, token by token, which says what the bytes mean; and several side by side.
 *
 * From a token to the next only its length has to be waited for, but that takes longer than all else, and is as
 * often guessed wrong where forms change from sample to sample. So of several streams one token each is looked up in
 * tables, without a branch on its form: what one waits for, the others fill. What tables do not know (runs, new
 * paces, bit patterns, the last bytes) is read token by token. */
#include "compress/sample_stream_private.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/compiler.h"

#include <string.h>

/* ---- token by token ---- */
struct decoder {
    const uint8_t *p, *end;
    uint64_t pace_ms;
    uint64_t t_ms; /* of the last sample, in arithmetic that wraps */
    uint64_t value;
    struct value_whole whole; /* of the value */
};

/* `n` little-endian bytes. */
static inline uint64_t load_bytes(const uint8_t *p, const uint8_t *end, uint32_t n)
{
    if (TSDB_LIKELY(end - p >= 8)) {
        return tsdb_load_le64(p); /* value_unpack masks what is too much */
    }
    uint64_t x = 0;
    for (uint32_t i = 0; i < n; i++) {
        x |= (uint64_t)p[i] << (8 * i);
    }
    return x;
}

/* To an integer below 2^53 another one; from one to the next only the sum has to be waited for. False: the value
 * is none, which bytes from outside may say. */
static TSDB_ALWAYS_INLINE bool add_whole(struct decoder *d, uint64_t zigzag)
{
    if (TSDB_UNLIKELY(d->whole.scale != VALUE_SCALE_ONE)) {
        double value = tsdb_bits_double(d->value);
        if (TSDB_UNLIKELY(!(-0x1p53 < value && value < 0x1p53))) {
            return false;
        }
        d->whole = (struct value_whole){(int64_t)value, VALUE_SCALE_ONE};
    }
    d->whole.whole = (int64_t)((uint64_t)d->whole.whole + (uint64_t)tsdb_unzigzag(zigzag));
    d->value = tsdb_double_bits((double)d->whole.whole);
    return true;
}

/* The value of a token whose last control this is. The forms that most samples have are read here,
 * as value_unpack would. */
static TSDB_ALWAYS_INLINE bool get_value(struct decoder *d, uint8_t control)
{
    if (TSDB_LIKELY(control > CONTROL_STEP_0)) {
        return add_whole(d, (uint64_t)control - CONTROL_STEP_0);
    }
    uint32_t bytes = control < VALUE_PACK_MODE_COUNT ? value_pack_bytes(control) : UINT32_MAX;
    if (TSDB_UNLIKELY(bytes > (size_t)(d->end - d->p))) {
        return false;
    }
    uint64_t packed = load_bytes(d->p, d->end, bytes);
    d->p += bytes;
    if (control >= VALUE_PACK_XOR && control < VALUE_PACK_XOR_F32) {
        d->value ^= packed & ((UINT64_C(1) << (8 * bytes)) - 1);
        d->whole.scale = VALUE_SCALE_UNKNOWN;
    } else if (control >= VALUE_PACK_INT_DELTA && control < VALUE_PACK_INT_RAW) {
        return add_whole(d, packed & ((UINT64_C(1) << (8 * bytes)) - 1));
    } else {
        struct value_whole w = d->whole; /* what has its address taken lies in memory */
        d->value = value_unpack_next(control, packed, d->value, &w);
        d->whole = w;
    }
    return true;
}

/* A token off the pace. */
static TSDB_ALWAYS_INLINE bool get_off_pace(struct decoder *d, uint8_t control)
{
    uint64_t ahead = d->pace_ms;
    if (control == CONTROL_NEW_PACE) {
        d->p = tsdb_get_uvarint(d->p, d->end, &ahead);
        if (!d->p) {
            return false;
        }
        d->pace_ms = ahead;
    } else if (d->p < d->end) {
        ahead += (uint64_t)(int64_t)(int8_t)*d->p++;
    } else {
        return false;
    }
    d->t_ms += ahead;
    return control == CONTROL_OFF_SAME || (d->p < d->end && get_value(d, *d->p++));
}

/* A token a little off the pace. */
static TSDB_ALWAYS_INLINE bool get_near_pace(struct decoder *d, uint8_t control)
{
    bool same = control < CONTROL_NEAR_PACE;
    int32_t off = control - (same ? CONTROL_NEAR_SAME : CONTROL_NEAR_PACE) - NEAR_MS;
    d->t_ms += d->pace_ms + (uint64_t)(int64_t)(off < 0 ? off : off + 1);
    return same || (d->p < d->end && get_value(d, *d->p++));
}

static TSDB_ALWAYS_INLINE uint32_t fill_run(struct decoder *d, uint32_t from, uint32_t n,
                                            int64_t *t_ms, uint64_t *value)
{
    for (uint32_t i = from; i < from + n; i++) {
        d->t_ms += d->pace_ms;
        t_ms[i] = (int64_t)d->t_ms;
        value[i] = d->value;
    }
    return from + n;
}

/* The next token, to sample *i and on. */
static TSDB_ALWAYS_INLINE bool get_token(struct decoder *d, uint32_t *i, uint32_t count,
                                         int64_t *t_ms, uint64_t *value)
{
    uint8_t control = *d->p++;
    if (control >= CONTROL_RUN && control < CONTROL_NEAR_SAME) {
        uint32_t run = 1u << (control - CONTROL_RUN);
        if (run > count - *i) {
            return false;
        }
        *i = fill_run(d, *i, run, t_ms, value);
        return true;
    }
    bool ok = true;
    if (control >= CONTROL_NEAR_SAME && control <= CONTROL_STEP_0) {
        ok = get_near_pace(d, control);
    } else if (control >= CONTROL_OFF_PACE && control < CONTROL_RUN) {
        ok = get_off_pace(d, control);
    } else {
        d->t_ms += d->pace_ms;
        ok = get_value(d, control);
    }
    if (TSDB_UNLIKELY(!ok)) {
        return false;
    }
    t_ms[*i] = (int64_t)d->t_ms;
    value[(*i)++] = d->value;
    return true;
}

/* From sample i on, to the end. */
static TSDB_ALWAYS_INLINE bool get_rest(struct decoder d, uint32_t i, uint32_t count, int64_t *t_ms,
                                        uint64_t *value)
{
    while (d.p < d.end && i < count) {
        if (TSDB_UNLIKELY(!get_token(&d, &i, count, t_ms, value))) {
            return false;
        }
    }
    if (d.p < d.end) {
        return false;
    }
    fill_run(&d, i, count - i, t_ms, value);
    return true;
}

static inline struct decoder decoder_make(const uint8_t *src, uint32_t len, const int64_t *t_ms,
                                          const uint64_t *value)
{
    return (struct decoder){
        .p = src, .end = src + len, .t_ms = (uint64_t)t_ms[0], .value = value[0]};
}

bool sample_stream_decode(const uint8_t *src, uint32_t len, uint32_t count, int64_t *t_ms,
                          uint64_t *value)
{
    TSDB_ASSERT(count > 0);
    return get_rest(decoder_make(src, len, t_ms, value), 1, count, t_ms, value);
}

/* ---- side by side ---- */

#define LANES 4u
#define WORD  8u /* no token that the tables know is longer */
#define FEW   4u /* tokens that the tables do not know; a stream of many such is read alone */

/* What the first control of a token says; but for these, that it is the value's. */
struct time_form {
    int16_t off_ms; /* later than the pace says */
    uint8_t before; /* bytes before the value's control */
    /* The bits of the value's control that count. None: it is not there, the value is the one before. */
    uint8_t control;
};
/* What the control of a value says. */
struct value_form {
    uint64_t follows; /* which bits of the bytes behind it are the zigzag of the step */
    uint8_t step;     /* or the step, in the control */
    uint8_t bytes;    /* with the control */
    uint8_t of; /* a set of scales (value_pack.h): a step from values of those; 0: not known here */
};

#define AT_PACE(c)    [(c)] = {0, 0, 0xff}
#define AT_PACE_4(c)  AT_PACE(c), AT_PACE((c) + 1), AT_PACE((c) + 2), AT_PACE((c) + 3)
#define AT_PACE_16(c) AT_PACE_4(c), AT_PACE_4((c) + 4), AT_PACE_4((c) + 8), AT_PACE_4((c) + 12)
#define NEAR_4(c, off, before, control)                                                            \
    [(c)] = {(off), before, control}, [(c) + 1] = {(off) + 1, before, control},                    \
    [(c) + 2] = {(off) + 2, before, control}, [(c) + 3] = {(off) + 3, before, control}
#define NEAR(c, before, control)                                                                   \
    NEAR_4(c, -8, before, control), NEAR_4((c) + 4, -4, before, control),                          \
        NEAR_4((c) + 8, 1, before, control), NEAR_4((c) + 12, 5, before, control)
static const struct time_form time_forms[256] = {
    AT_PACE_16(0),
    AT_PACE_16(16),
    AT_PACE_16(32),
    AT_PACE_4(48),
    AT_PACE_4(52),
    AT_PACE_4(56),
    AT_PACE(60),
    [CONTROL_RUN] = {0, 0, 0}, /* a run of one: at the pace, with the value before */
    AT_PACE(62),
    AT_PACE(63),
    AT_PACE_4(64),
    AT_PACE(68),
    NEAR(CONTROL_NEAR_SAME, 0, 0),
    NEAR(CONTROL_NEAR_PACE, 1, 0xff),
    [CONTROL_STEP_0 + 1 ... UINT8_MAX] = {0, 0, 0xff},
};
static_assert(CONTROL_RUN == 61 && CONTROL_STEP_0 + 1 == CONTROL_NEAR_PACE + NEARS,
              "all have a form");

#define OF(scale)               (1u << (scale))
#define FOLLOWS(mode, n, scale) [(mode)] = {(UINT64_C(1) << (8 * (n))) - 1, 0, 1 + (n), OF(scale)}
#define FOLLOWS_4(mode, n, scale)                                                                  \
    FOLLOWS(mode, n, scale), FOLLOWS((mode) + 1, (n) + 1, scale),                                  \
        FOLLOWS((mode) + 2, (n) + 2, scale), FOLLOWS((mode) + 3, (n) + 3, scale)
#define STEP(zigzag) [CONTROL_STEP_0 + (zigzag)] = {0, (zigzag), 1, OF(VALUE_SCALE_ONE)}
#define STEP_5(zigzag)                                                                             \
    STEP(zigzag), STEP((zigzag) + 1), STEP((zigzag) + 2), STEP((zigzag) + 3), STEP((zigzag) + 4)
#define STEP_25(zigzag)                                                                            \
    STEP_5(zigzag), STEP_5((zigzag) + 5), STEP_5((zigzag) + 10), STEP_5((zigzag) + 15),            \
        STEP_5((zigzag) + 20)
static const struct value_form value_forms[256] = {
    [VALUE_PACK_SAME] = {0, 0, 1, UINT8_MAX - OF(VALUE_SCALE_UNKNOWN)},
    FOLLOWS_4(VALUE_PACK_INT_DELTA, 1, VALUE_SCALE_ONE),
    FOLLOWS(VALUE_PACK_INT_DELTA + 4, 5, VALUE_SCALE_ONE),
    FOLLOWS(VALUE_PACK_INT_DELTA + 5, 6, VALUE_SCALE_ONE),
    FOLLOWS_4(VALUE_PACK_DEC, 1, VALUE_SCALE_ONE + 1),
    FOLLOWS_4(VALUE_PACK_DEC + 8, 1, VALUE_SCALE_ONE + 2),
    FOLLOWS_4(VALUE_PACK_DEC + 16, 2, VALUE_SCALE_ONE + 3),
    STEP_25(1),
    STEP_25(26),
    STEP_25(51),
    STEP_25(76),
    STEP_25(101),
    STEP_25(126),
    STEP_5(151),
};
static_assert(STEP_MAX == 155, "all steps have a form");

/* A stream on its way. */
struct lane {
    struct decoder d;
    struct sample_stream *s;
    uint32_t i;    /* the next sample */
    uint32_t lone; /* tokens that the tables did not know */
};

/* What look_up_n has of a lane in registers. */
struct cursor {
    const uint8_t *p, *next;
    const uint8_t *last; /* where a word may begin */
    int64_t *t_ms;
    uint64_t *value;
    uint32_t of;
};

/* One token, the k-th. False: it is not known, or may not be whole. */
static TSDB_ALWAYS_INLINE bool look_up_one(struct cursor *c, size_t k)
{
    if (TSDB_UNLIKELY(c->p > c->last)) {
        return false;
    }
    uint64_t word = tsdb_load_le64(c->p);
    const struct time_form *time = &time_forms[word & 0xff];
    word >>= 8u * time->before;
    const struct value_form *form = &value_forms[word & time->control];
    if (TSDB_UNLIKELY(!(form->of & c->of))) {
        return false;
    }
    c->t_ms[k] = time->off_ms;
    c->value[k] = ((word >> 8) & form->follows) + form->step;
    c->next = c->p + time->before + form->bytes;
    return true;
}

static TSDB_ALWAYS_INLINE struct cursor cursor_make(const struct lane *lane)
{
    return (struct cursor){.p = lane->d.p,
                           .last = lane->d.end - WORD,
                           .t_ms = lane->s->t_ms + lane->i,
                           .value = lane->s->value + lane->i,
                           .of = OF(lane->d.whole.scale)};
}

/* The next token of each of `n` lanes, again and again, `most` times, unless one of them is not known or may not be
 * whole. What it is off the pace goes to where its time will stand, the zigzag of its step to where its value
 * will. Returns how many of each. No loops over the lanes, for compilers would keep them. */
static TSDB_ALWAYS_INLINE uint32_t look_up_n(struct lane *lanes, const uint32_t n, uint32_t most)
{
    struct cursor a = cursor_make(&lanes[0]);
    struct cursor b = cursor_make(&lanes[1]);
    struct cursor c = cursor_make(&lanes[n > 2 ? 2 : 0]);
    struct cursor d = cursor_make(&lanes[n > 3 ? 3 : 0]);
    uint32_t k = 0;
    while (k < most && look_up_one(&a, k) && look_up_one(&b, k) && (n <= 2 || look_up_one(&c, k)) &&
           (n <= 3 || look_up_one(&d, k))) {
        a.p = a.next;
        b.p = b.next;
        c.p = n > 2 ? c.next : c.p;
        d.p = n > 3 ? d.next : d.p;
        k++;
    }
    lanes[0].d.p = a.p;
    lanes[1].d.p = b.p;
    if (n > 2) {
        lanes[2].d.p = c.p;
    }
    if (n > 3) {
        lanes[3].d.p = d.p;
    }
    return k;
}

static uint32_t look_up(struct lane *lanes, uint32_t n, uint32_t most)
{
    TSDB_ASSERT(2 <= n && n <= LANES);
    return n == 4 ? look_up_n(lanes, 4, most)
                  : (n == 3 ? look_up_n(lanes, 3, most) : look_up_n(lanes, 2, most));
}

/* Two at a time: a division takes as long as all else that is done for a value. */
typedef double double_pair __attribute__((vector_size(16)));

/* Zigzags of k steps become values; returns the whole of the last one. */
static uint64_t values_add_up(uint64_t *value, uint32_t k, uint64_t whole, double scale)
{
    const double_pair scales = {scale, scale};
    uint32_t i = 0;
    for (; scale == 1 && i < k; i++) {
        whole += (uint64_t)tsdb_unzigzag(value[i]);
        value[i] = tsdb_double_bits((double)(int64_t)whole);
    }
    for (; i + 2 <= k; i += 2) {
        uint64_t first = whole + (uint64_t)tsdb_unzigzag(value[i]);
        whole = first + (uint64_t)tsdb_unzigzag(value[i + 1]);
        const double_pair pair =
            (double_pair){(double)(int64_t)first, (double)(int64_t)whole} / scales;
        memcpy(value + i, &pair, sizeof pair);
    }
    if (i < k) {
        whole += (uint64_t)tsdb_unzigzag(value[i]);
        value[i] = tsdb_double_bits((double)(int64_t)whole / scale);
    }
    return whole;
}

/* The next k samples, of which look_up has left what they are off and their steps. */
static void add_up(struct lane *lane, uint32_t k)
{
    struct decoder *d = &lane->d;
    int64_t *t_ms = lane->s->t_ms + lane->i;
    uint64_t *value = lane->s->value + lane->i;
    uint64_t t = d->t_ms;
    for (uint32_t i = 0; i < k; i++) {
        t += d->pace_ms + (uint64_t)t_ms[i];
        t_ms[i] = (int64_t)t;
    }
    uint64_t whole =
        values_add_up(value, k, (uint64_t)d->whole.whole, value_scale_of(d->whole.scale));
    d->t_ms = t;
    d->whole.whole = (int64_t)whole;
    d->value = k > 0 ? value[k - 1] : d->value;
    lane->i += k;
}

/* Whether look_up would know the next token. */
static bool is_known(const struct lane *lane)
{
    const struct decoder *d = &lane->d;
    if (d->end - d->p < (ptrdiff_t)WORD || lane->i == lane->s->count) {
        return false;
    }
    const struct time_form *time = &time_forms[d->p[0]];
    return (value_forms[d->p[time->before] & time->control].of & OF(d->whole.scale)) != 0;
}

/* Past what the tables do not know. False: the stream is at its end, or so near to it, or has so much of that, that it was read
 * alone. */
static bool lane_goes_on(struct lane *lane)
{
    struct sample_stream *s = lane->s;
    struct decoder d = lane->d;
    uint32_t i = lane->i;
    bool ok = true;
    while (ok && !is_known(lane)) {
        bool alone = d.end - d.p < (ptrdiff_t)WORD || i == s->count || lane->lone > FEW + i / 4;
        if (alone) {
            s->ok = get_rest(d, i, s->count, s->t_ms, s->value);
            return false;
        }
        ok = get_token(&d, &i, s->count, s->t_ms, s->value);
        lane->d = d;
        lane->i = i;
        lane->lone++;
    }
    s->ok = ok;
    return ok;
}

/* At most LANES of them. */
static void group_decode(struct sample_stream *streams, uint32_t n)
{
    struct lane lanes[LANES];
    for (uint32_t l = 0; l < n; l++) {
        struct sample_stream *s = &streams[l];
        TSDB_ASSERT(s->count > 0);
        lanes[l] = (struct lane){decoder_make(s->src, s->len, s->t_ms, s->value), s, 1, 0};
    }
    for (;;) {
        uint32_t on = 0;
        uint32_t most = UINT32_MAX;
        for (uint32_t l = 0; l < n; l++) {
            if (lane_goes_on(&lanes[l])) {
                most = TSDB_MIN(most, lanes[l].s->count - lanes[l].i);
                lanes[on++] = lanes[l];
            }
        }
        n = on;
        if (n < 2) {
            break;
        }
        uint32_t k = look_up(lanes, n, most);
        for (uint32_t l = 0; l < n; l++) {
            add_up(&lanes[l], k);
        }
    }
    for (uint32_t l = 0; l < n; l++) {
        struct lane *x = &lanes[l];
        x->s->ok = get_rest(x->d, x->i, x->s->count, x->s->t_ms, x->s->value);
    }
}

void sample_streams_decode(struct sample_stream *streams, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += LANES) {
        group_decode(streams + i, TSDB_MIN(n - i, LANES));
    }
}
