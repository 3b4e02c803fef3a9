/* Writing histogram chunks: may a sample join the open chunk, and its bits. */
#include "base/assert.h"
#include "base/limits.h"
#include "compress/prom_chunk_private.h"

#define KEPT_BYTES_FIRST 4096u
#define XOR_BYTES_MAX    10u /* of one value, 77 bits */

void prom_encoder_init(struct prom_encoder *e)
{
    *e = (struct prom_encoder){0};
    tsdb_buf_init(&e->out, TSDB_MEM_OTHER, 0);
    tsdb_arena_init(&e->kept, TSDB_MEM_OTHER, KEPT_BYTES_FIRST, NULL);
    tsdb_arena_init(&e->scratch, TSDB_MEM_OTHER, KEPT_BYTES_FIRST, NULL);
}

void prom_encoder_deinit(struct prom_encoder *e)
{
    tsdb_buf_deinit(&e->out);
    tsdb_arena_deinit(&e->kept);
    tsdb_arena_deinit(&e->scratch);
}

size_t prom_encoder_bytes(const struct prom_encoder *e)
{
    return e->out.len + (e->w.fill + 7) / 8;
}

/* ---- the last sample against the next ---- */
/* Walks along the buckets of one side, with their counts. */
struct counted {
    struct prom_walk walk;
    bool is_float, more;
    int64_t index;
    const int64_t *deltas; /* of the next bucket on */
    const double *counts;
    const struct window *windows;
    uint64_t count_int;
    double count_float;
};

static void counted_next(struct counted *c)
{
    c->more = prom_walk_next(&c->walk, &c->index);
    if (!c->more) {
        return;
    }
    if (!c->is_float) {
        c->count_int += (uint64_t)*c->deltas++;
    } else if (c->windows) {
        c->count_float = tsdb_bits_double((c->windows++)->value);
    } else {
        c->count_float = *c->counts++;
    }
}

static struct counted counted_of_chunk(const struct prom_encoder *e, uint32_t side)
{
    uint32_t from = side == 0 ? 0 : e->layout.side[0].bucket_count;
    struct counted c = {.walk = prom_walk_init(&e->layout.side[side]), .is_float = e->is_float};
    if (e->is_float) {
        c.windows = e->windows + from;
    } else {
        c.deltas = e->deltas + from;
    }
    counted_next(&c);
    return c;
}

static struct counted counted_of_sample(const struct tsdb_histogram *h, uint32_t side)
{
    struct prom_layout l = prom_layout_of(h);
    struct counted c = {.walk = prom_walk_init(&l.side[side]), .is_float = h->is_float};
    c.deltas = side == 0 ? h->positive_deltas : h->negative_deltas;
    c.counts = side == 0 ? h->positive_counts : h->negative_counts;
    counted_next(&c);
    return c;
}

/* The union of both sides' buckets, as few spans. */
struct merged {
    struct tsdb_span *spans; /* room for the spans of both */
    uint32_t span_count, bucket_count;
    int64_t last; /* index of the last bucket */
    bool wider;   /* it has buckets that the chunk has not */
    bool reset;   /* a bucket has less than before, or is gone and was not empty */
    bool too_wide;
};

static void merged_add(struct merged *m, int64_t index)
{
    if (m->bucket_count > 0 && index == m->last + 1) {
        m->spans[m->span_count - 1].length++;
    } else {
        int64_t offset = m->bucket_count == 0 ? index : index - m->last - 1;
        m->too_wide = m->too_wide || offset > INT32_MAX || offset < INT32_MIN;
        m->spans[m->span_count++] = (struct tsdb_span){(int32_t)offset, 1};
    }
    m->bucket_count++;
    m->last = index;
}

static bool counted_fell(const struct counted *before, const struct counted *now)
{
    if (before->is_float) {
        return before->count_float > (now ? now->count_float : 0);
    }
    return (int64_t)before->count_int > (now ? (int64_t)now->count_int : 0);
}

static void merge_side(struct counted before, struct counted now, struct merged *out)
{
    while (before.more || now.more) {
        bool have_before = before.more && (!now.more || before.index <= now.index);
        bool have_now = now.more && (!before.more || now.index <= before.index);
        merged_add(out, have_before ? before.index : now.index);
        if (have_before) {
            out->reset = out->reset || counted_fell(&before, have_now ? &now : NULL);
        } else {
            out->wider = true;
        }
        if (have_before) {
            counted_next(&before);
        }
        if (have_now) {
            counted_next(&now);
        }
    }
}

static enum tsdb_status merge(struct prom_encoder *e, const struct tsdb_histogram *h,
                              struct merged out[2])
{
    struct prom_layout l = prom_layout_of(h);
    for (uint32_t side = 0; side < 2; side++) {
        size_t room = (size_t)e->layout.side[side].span_count + l.side[side].span_count;
        out[side] = (struct merged){0};
        out[side].spans = TSDB_ARENA_ARRAY(&e->scratch, struct tsdb_span, room + 1);
        if (!out[side].spans) {
            return tsdb_arena_status(&e->scratch);
        }
        merge_side(counted_of_chunk(e, side), counted_of_sample(h, side), &out[side]);
        TSDB_ASSERT(out[side].span_count <= room);
    }
    return TSDB_OK;
}

static bool bounds_differ(const struct prom_layout *a, const struct prom_layout *b)
{
    if (a->custom_count != b->custom_count) {
        return true;
    }
    for (uint32_t i = 0; i < a->custom_count; i++) {
        if (a->custom_values[i] != b->custom_values[i]) {
            return true;
        }
    }
    return false;
}

static bool totals_fell(const struct prom_encoder *e, const struct tsdb_histogram *h)
{
    if (h->is_float) {
        return h->count_float < tsdb_bits_double(e->observations_window.value) ||
               h->zero_count_float < tsdb_bits_double(e->zero_window.value);
    }
    return h->count_int < e->observations || h->zero_count_int < e->zero;
}

/* All but the buckets. PROM_FIT_JOIN: these decide. */
static enum prom_fit fit_scalars(const struct prom_encoder *e, const struct tsdb_histogram *h)
{
    struct prom_layout l = prom_layout_of(h);
    bool gauge = h->reset_hint == TSDB_RESET_GAUGE;
    enum prom_fit other = gauge ? PROM_FIT_CUT_GAUGE : PROM_FIT_CUT_UNKNOWN;
    if (e->is_float != h->is_float) {
        return other;
    }
    if (tsdb_histogram_is_stale(h)) {
        return PROM_FIT_JOIN;
    }
    if (h->reset_hint == TSDB_RESET_YES) {
        return PROM_FIT_CUT_RESET;
    }
    if (e->stale || gauge != (e->header == PROM_HEADER_GAUGE) || l.schema != e->layout.schema ||
        l.zero_threshold != e->layout.zero_threshold) {
        return other;
    }
    if (bounds_differ(&l, &e->layout) || (!gauge && totals_fell(e, h))) {
        return gauge ? PROM_FIT_CUT_GAUGE : PROM_FIT_CUT_RESET;
    }
    return PROM_FIT_JOIN;
}

enum tsdb_status prom_encoder_fit(struct prom_encoder *e, const struct tsdb_histogram *h,
                                  enum prom_fit *out, struct prom_layout *out_wider,
                                  struct tsdb_error *err)
{
    TSDB_ASSERT(e->count > 0);
    bool gauge = h->reset_hint == TSDB_RESET_GAUGE;
    enum prom_fit fit = fit_scalars(e, h);
    if (fit != PROM_FIT_JOIN || tsdb_histogram_is_stale(h)) {
        *out = fit;
        return TSDB_OK;
    }
    struct merged m[2];
    tsdb_arena_reset(&e->scratch);
    enum tsdb_status status = merge(e, h, m);
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "no memory for the spans of a histogram");
    }
    uint64_t elements = (uint64_t)m[0].bucket_count + m[1].bucket_count + m[0].span_count +
                        m[1].span_count + e->layout.custom_count;
    if (!gauge && (m[0].reset || m[1].reset)) {
        fit = PROM_FIT_CUT_RESET;
    } else if (m[0].too_wide || m[1].too_wide || elements > TSDB_HISTOGRAM_BUCKETS_MAX) {
        fit = gauge ? PROM_FIT_CUT_GAUGE : PROM_FIT_CUT_NO_RESET;
    } else if (m[0].wider || m[1].wider) {
        fit = PROM_FIT_WIDEN;
        *out_wider = e->layout;
        for (uint32_t side = 0; side < 2; side++) {
            out_wider->side[side] =
                (struct prom_side){m[side].spans, m[side].span_count, m[side].bucket_count};
        }
    }
    *out = fit;
    return TSDB_OK;
}

/* ---- beginning ---- */
static void *keep(struct tsdb_arena *arena, const void *data, size_t count, size_t bytes_each)
{
    void *copy = tsdb_arena_alloc_array(arena, count + 1, bytes_each, 8);
    if (copy && count > 0) {
        memcpy(copy, data, count * bytes_each);
    }
    return copy;
}

/* Room for more bytes; where the bit writer goes on. */
static bool reserve(struct prom_encoder *e, size_t bytes)
{
    e->w.p = tsdb_buf_reserve(&e->out, bytes + 16);
    return e->w.p != NULL;
}

/* The layout in l, which may be in the scratch arena, is kept; the state is that before any
 * sample. */
static enum tsdb_status begin(struct prom_encoder *e, const struct prom_layout *l, bool is_float,
                              enum prom_header header)
{
    size_t buckets = prom_layout_buckets(l);
    tsdb_arena_reset(&e->kept);
    tsdb_buf_clear(&e->out);
    const struct tsdb_span *positive =
        keep(&e->kept, l->side[0].spans, l->side[0].span_count, sizeof *positive);
    const struct tsdb_span *negative =
        keep(&e->kept, l->side[1].spans, l->side[1].span_count, sizeof *negative);
    const double *custom = keep(&e->kept, l->custom_values, l->custom_count, sizeof *custom);
    int64_t *deltas = is_float ? NULL : TSDB_ARENA_ARRAY(&e->kept, int64_t, 2 * buckets + 1);
    struct window *windows =
        is_float ? TSDB_ARENA_ARRAY(&e->kept, struct window, buckets + 1) : NULL;
    if (!positive || !negative || !custom || (!deltas && !windows)) {
        return TSDB_NOMEM;
    }
    struct prom_encoder now = {.out = e->out,
                               .kept = e->kept,
                               .scratch = e->scratch,
                               .is_float = is_float,
                               .header = header,
                               .layout = *l,
                               .deltas = deltas,
                               .changes = deltas ? deltas + buckets : NULL,
                               .windows = windows};
    now.layout.side[0].spans = positive;
    now.layout.side[1].spans = negative;
    now.layout.custom_values = custom;
    *e = now;
    if (!reserve(e, PROM_HISTOGRAM_HEADER_BYTES + prom_layout_bytes_max(l))) {
        return TSDB_NOMEM;
    }
    put_bits(&e->w, 0, 8 * PROM_HISTOGRAM_HEADER_BYTES);
    prom_layout_put(&e->w, &e->layout);
    e->out.len = (size_t)(e->w.p - e->out.data);
    return TSDB_OK;
}

enum tsdb_status prom_encoder_begin(struct prom_encoder *e, const struct tsdb_histogram *h,
                                    enum prom_header header, struct tsdb_error *err)
{
    struct prom_layout l = {0}; /* of a stale one: nobody has checked it */
    if (!tsdb_histogram_is_stale(h)) {
        l = prom_layout_of(h);
    }
    enum tsdb_status status = begin(e, &l, h->is_float, header);
    return status == TSDB_OK ? status : tsdb_error_nomem(err, "a histogram chunk");
}

/* ---- adding ---- */
static void add_integers(struct prom_encoder *e, uint64_t observations, uint64_t zero, bool stale)
{
    if (e->count == 0) {
        prom_put_varbit_uint(&e->w, observations);
        prom_put_varbit_uint(&e->w, zero);
    } else if (stale) {
        put_bits(&e->w, 0, 2);
    } else {
        uint64_t observations_delta = observations - e->observations, zero_delta = zero - e->zero;
        prom_put_varbit_int(&e->w, (int64_t)(observations_delta - e->observations_delta));
        prom_put_varbit_int(&e->w, (int64_t)(zero_delta - e->zero_delta));
        e->observations_delta = observations_delta;
        e->zero_delta = zero_delta;
    }
    e->observations = observations;
    e->zero = zero;
}

static void add_value(struct prom_encoder *e, struct window *w, double v)
{
    if (e->count == 0) {
        *w = (struct window){.value = tsdb_double_bits(v)};
        put_bits(&e->w, w->value, 64);
    } else {
        put_value(&e->w, w, tsdb_double_bits(v));
    }
}

/* Everything but the buckets. */
static void add_scalars(struct prom_encoder *e, int64_t t_ms, const struct tsdb_histogram *h,
                        bool stale)
{
    uint64_t t = (uint64_t)t_ms, t_delta = e->count == 0 ? 0 : t - e->t;
    prom_put_varbit_int(&e->w, (int64_t)(e->count == 0 ? t : t_delta - e->t_delta));
    e->t = t;
    e->t_delta = t_delta;
    if (e->is_float) {
        add_value(e, &e->observations_window, stale ? 0 : h->count_float);
        add_value(e, &e->zero_window, stale ? 0 : h->zero_count_float);
    } else {
        add_integers(e, stale ? 0 : h->count_int, stale ? 0 : h->zero_count_int, stale);
    }
    add_value(e, &e->sum, h->sum);
}

static void add_bucket(struct prom_encoder *e, size_t i, int64_t delta, double count)
{
    if (e->is_float) {
        add_value(e, &e->windows[i], count);
        return;
    }
    if (e->count == 0) {
        prom_put_varbit_int(&e->w, delta);
        e->changes[i] = 0;
    } else {
        uint64_t change = (uint64_t)delta - (uint64_t)e->deltas[i];
        prom_put_varbit_int(&e->w, (int64_t)(change - (uint64_t)e->changes[i]));
        e->changes[i] = (int64_t)change;
    }
    e->deltas[i] = delta;
}

/* The buckets of the layout; those that the sample has not are 0. */
static void add_side(struct prom_encoder *e, const struct tsdb_histogram *h, uint32_t side)
{
    struct prom_walk walk = prom_walk_init(&e->layout.side[side]);
    struct counted c = counted_of_sample(h, side);
    size_t i = side == 0 ? 0 : e->layout.side[0].bucket_count;
    uint64_t before = 0;
    int64_t index;
    for (; prom_walk_next(&walk, &index); i++) {
        bool have = c.more && c.index == index;
        uint64_t now = have ? c.count_int : 0;
        add_bucket(e, i, (int64_t)(now - before), have ? c.count_float : 0);
        before = now;
        if (have) {
            counted_next(&c);
        }
    }
    TSDB_ASSERT(!c.more);
}

enum tsdb_status prom_encoder_add(struct prom_encoder *e, int64_t t_ms,
                                  const struct tsdb_histogram *h, struct tsdb_error *err)
{
    bool stale = tsdb_histogram_is_stale(h);
    TSDB_ASSERT(h->is_float == e->is_float && e->count < PROM_CHUNK_SAMPLES_MAX);
    if (!reserve(e, XOR_BYTES_MAX * (4 + (size_t)prom_layout_buckets(&e->layout)))) {
        return tsdb_error_nomem(err, "a histogram chunk");
    }
    add_scalars(e, t_ms, h, stale);
    if (!stale) {
        add_side(e, h, 0);
        add_side(e, h, 1);
    }
    e->out.len = (size_t)(e->w.p - e->out.data);
    e->stale = stale;
    e->count++;
    return TSDB_OK;
}

const uint8_t *prom_encoder_data(struct prom_encoder *e, size_t *out_len)
{
    if (!reserve(e, 8)) {
        return NULL;
    }
    struct bit_writer end = e->w;
    *out_len = (size_t)(put_end(&end) - e->out.data);
    e->out.data[0] = (uint8_t)(e->count >> 8);
    e->out.data[1] = (uint8_t)e->count;
    e->out.data[2] = (uint8_t)(e->header << PROM_HEADER_SHIFT);
    return e->out.data;
}

/* ---- widening ---- */
enum tsdb_status prom_encoder_widen(struct prom_encoder *e, const struct prom_layout *wider,
                                    struct tsdb_error *err)
{
    struct tsdb_columns old;
    size_t len;
    const uint8_t *data = prom_encoder_data(e, &len);
    if (!data) {
        return tsdb_error_nomem(err, "a histogram chunk");
    }
    unsigned encoding = e->is_float ? PROM_CHUNK_FLOAT_HISTOGRAM : PROM_CHUNK_HISTOGRAM;
    enum tsdb_status status = prom_histogram_decode(encoding, data, len, &e->scratch, &old, err);
    if (status != TSDB_OK) { /* no memory; the bytes are ours */
        return status;
    }
    status = begin(e, wider, e->is_float, e->header);
    if (status != TSDB_OK) {
        return tsdb_error_nomem(err, "a histogram chunk");
    }
    for (uint32_t i = 0; i < old.count && status == TSDB_OK; i++) {
        status = prom_encoder_add(e, old.t_ms[i], &old.histograms[i], err);
    }
    return status;
}
