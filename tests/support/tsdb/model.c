#include "tests/support/tsdb/model.h"

#include "base/assert.h"

void mx_init(struct mx *m, struct hx *h)
{
    memset(m, 0, sizeof *m);
    m->h = h;
    static const struct tsdb_span spans[1] = {{1, 3}};
    static const int64_t deltas[3] = {5, -2, 1};
    static const double counts[3] = {1.5, 2.25, 0};
    static const double custom[2] = {0.5, 1.5};
    struct tsdb_histogram v[MX_RAWS] = {
        {.schema = 2,
         .sum = 1.25,
         .count_int = 12,
         .positive_span_count = 1,
         .positive_bucket_count = 3,
         .positive_spans = spans,
         .positive_deltas = deltas},
        {.is_float = true,
         .schema = 0,
         .sum = -0.0,
         .count_float = 3.75,
         .positive_span_count = 1,
         .positive_bucket_count = 3,
         .positive_spans = spans,
         .positive_counts = counts,
         .reset_hint = TSDB_RESET_GAUGE},
        {.schema = 0, .sum = tsdb_bits_double(TSDB_STALE_NAN_BITS)},
        {.is_float = true,
         .schema = TSDB_HISTOGRAM_SCHEMA_CUSTOM,
         .sum = 7,
         .count_float = 1,
         .custom_count = 2,
         .custom_values = custom},
    };
    for (uint32_t i = 0; i < MX_RAWS; i++) {
        TSDB_ASSERT(tsdb_histogram_encoded_bytes_max(&v[i]) <= MX_RAW_MAX);
        m->raw_len[i] = (uint32_t)tsdb_histogram_encode(&v[i], m->raws[i]);
        m->raw_kind[i] = v[i].is_float ? TSDB_SAMPLE_HISTOGRAM_FLOAT : TSDB_SAMPLE_HISTOGRAM_INT;
    }
}

struct mx_cell *mx_cell(struct mx *m, uint32_t series, int64_t t_ms)
{
    uint64_t key[2] = {series, (uint64_t)t_ms};
    uint32_t i = (uint32_t)tsdb_hash64_plain(key, sizeof key) & (MX_CELLS - 1);
    while (m->cells[i].used && (m->cells[i].series != series || m->cells[i].t_ms != t_ms)) {
        i = (i + 1) & (MX_CELLS - 1);
    }
    return &m->cells[i];
}

void mx_clock(struct mx *m)
{
    m->wall_max_ms = TSDB_MAX(m->wall_max_ms, m->h->clock.wall_ms);
}

/* May retention have taken it (or refused it)? Stays true once it is. */
static bool mx_optional(const struct mx *m, const struct mx_cell *c)
{
    int64_t retention = m->h->options.retention_ms;
    int64_t now_ms = TSDB_MAX(m->wall_max_ms, m->h->clock.wall_ms);
    return retention > 0 && c->t_ms < now_ms - retention;
}

static bool mx_same(const struct mx_value *a, const struct mx_value *b)
{
    return a->kind == b->kind &&
           (a->kind == TSDB_SAMPLE_FLOAT ? a->bits == b->bits : a->raw == b->raw);
}

static void mx_rival_note(struct mx_cell *c, const struct mx_value *v)
{
    for (uint32_t i = 0; i < c->rival_count; i++) {
        if (mx_same(&c->rivals[i], v)) {
            return;
        }
    }
    TSDB_ASSERT(c->rival_count < MX_RIVALS); /* mx_random_sample sees to it */
    c->rivals[c->rival_count++] = *v;
}

static void mx_sent(struct mx *m, struct mx_write *w, const struct hx_sample *s, uint8_t raw)
{
    struct mx_cell *c = mx_cell(m, s->series, s->t_ms);
    struct mx_value v = {(uint8_t)s->kind, raw, s->start_ms, s->bits};
    if (!c->used) {
        TSDB_ASSERT(++m->used < MX_CELLS / 2);
        *c = (struct mx_cell){.used = true, .series = s->series, .t_ms = s->t_ms};
    }
    if (!c->sent) {
        c->sent = true;
        c->leaving = false;
        c->whole = w->x->w.batch_count == 1;
        c->v = v;
        c->rival_count = 0;
    } else {
        c->whole = false;
        if (!c->cut_safe && !mx_same(&c->v, &v)) {
            mx_rival_note(c, &v);
        }
    }
    w->cells[w->count] = (uint32_t)(c - m->cells);
    w->values[w->count++] = v;
}

bool mx_submit(struct mx *m, const struct hx_sample *samples, const uint8_t *raws, uint32_t count,
               enum tsdb_durability durability)
{
    struct mx_write *w = calloc(1, sizeof *w);
    TSDB_ASSERT(w);
    w->x = hx_write_create(m->h, samples, count, durability);
    w->durability = TSDB_MAX(durability, tsdb_durability(m->h->db));
    if (tsdb_write_submit(m->h->db, &w->x->w, NULL) != TSDB_OK) {
        hx_write_destroy(w->x);
        free(w);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        mx_sent(m, w, &samples[i], raws ? raws[i] : 0);
    }
    struct mx_write **tail = &m->writes;
    while (*tail) {
        tail = &(*tail)->next;
    }
    *tail = w;
    return true;
}

/* From now on no rival can be what is left. */
static void mx_cut_safe(struct mx_cell *c)
{
    c->cut_safe = true;
    c->rival_count = 0;
}

/* ---- answers ---- */

static bool mx_answered_ok(const struct mx_write *w)
{
    return (enum tsdb_status)atomic_load(&w->x->w.status) == TSDB_OK;
}

static void mx_doubt_settle(struct mx *m, struct mx_cell *c)
{
    m->doubts -= c->doubt;
    c->doubt = false;
}

static void mx_doubt(struct mx *m, struct mx_cell *c)
{
    m->doubts += !c->doubt;
    c->doubt = true;
}

static void mx_note_refused(struct mx *m, const struct mx_write *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        struct mx_cell *c = &m->cells[w->cells[i]];
        if (c->sent && !c->acked) {
            mx_doubt(m, c);
        }
    }
}

static void mx_note_ok(struct mx *m, const struct mx_write *w)
{
    struct tsdb_write_result r;
    tsdb_write_result_sum(&w->x->w, &r);
    if (r.stale_refs > 0) { /* some may be applied; a sender would send it again */
        hx_forget(m->h, w->x);
        mx_note_refused(m, w);
        return;
    }
    hx_learn(m->h, w->x);
    uint32_t conflicts = 0;
    bool doubt = false;
    for (uint32_t i = 0; i < w->count; i++) {
        const struct mx_cell *c = &m->cells[w->cells[i]];
        conflicts += !mx_same(&c->v, &w->values[i]);
        doubt = doubt || c->doubt;
    }
    uint64_t written = r.samples_written + r.histograms_written;
    uint64_t refused = r.rejected[TSDB_REJECT_DUPLICATE];
    bool as_expected = m->conflicts_pass || doubt
                           ? written + refused == w->count
                           : written + conflicts == w->count && refused == conflicts;
    if (r.rejected[TSDB_REJECT_TOO_OLD] == 0 && !as_expected) {
        mx_fail(m, "write: %u + %u written and %u conflicts, expected %u and %u",
                (unsigned)r.samples_written, (unsigned)r.histograms_written, (unsigned)refused,
                (unsigned)(w->count - conflicts), (unsigned)conflicts);
    }
    if (refused > conflicts) {
        return; /* a repetition was taken for a conflict, with one that had passed: which, we cannot
                   tell */
    }
    for (uint32_t i = 0; i < w->count; i++) {
        struct mx_cell *c = &m->cells[w->cells[i]];
        if (c->doubt || !mx_same(&c->v, &w->values[i])) {
            continue;
        }
        c->acked = true;
        if (w->durability >= TSDB_DURABILITY_BUFFERED && !c->kill_safe) {
            c->kill_safe = true;
            c->acked_ns = m->h->clock.mono_ns;
        }
        if (w->durability == TSDB_DURABILITY_STRICT) {
            mx_cut_safe(c);
        }
    }
}

static bool mx_shows(const struct mx *m, const struct mx_value *v, int64_t start_ms,
                     enum tsdb_sample_kind kind, uint64_t bits,
                     const struct tsdb_histogram *histogram)
{
    if (v->kind != kind || v->start_ms != start_ms) {
        return false;
    }
    uint8_t raw[MX_RAW_MAX];
    return kind == TSDB_SAMPLE_FLOAT
               ? v->bits == bits
               : tsdb_histogram_encoded_bytes_max(histogram) <= MX_RAW_MAX &&
                     tsdb_histogram_encode(histogram, raw) == m->raw_len[v->raw] &&
                     memcmp(raw, m->raws[v->raw], m->raw_len[v->raw]) == 0;
}

/* A cell in doubt is shown: that is the first value, if it is one that was sent. */
static void mx_doubt_shown(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                           enum tsdb_sample_kind kind, uint64_t bits,
                           const struct tsdb_histogram *histogram)
{
    struct mx *m = arg;
    struct mx_cell *c = mx_cell(m, series, t_ms);
    if (!c->used || !c->doubt) {
        return;
    }
    for (uint32_t i = 0; i < c->rival_count && !mx_shows(m, &c->v, start_ms, kind, bits, histogram);
         i++) {
        struct mx_value other = c->rivals[i];
        c->rivals[i] = c->v;
        c->v = other;
    }
    if (!mx_shows(m, &c->v, start_ms, kind, bits, histogram)) {
        mx_fail(m, "series %u at %lld: kind %d start %lld bits %llx, none of the %u that were sent",
                (unsigned)series, (long long)t_ms, (int)kind, (long long)start_ms,
                (unsigned long long)bits, 1 + (unsigned)c->rival_count);
    }
    mx_doubt_settle(m, c);
}

static bool mx_under_way(const struct mx *m, uint32_t cell)
{
    for (const struct mx_write *w = m->writes; w; w = w->next) {
        for (uint32_t i = 0; i < w->count; i++) {
            if (w->cells[i] == cell) {
                return true;
            }
        }
    }
    return false;
}

/* Look which value is the first. What is not shown and not under way was not applied. Where nothing
 * can be read (the machine stopped) the doubt stays. */
static void mx_doubts_ask(struct mx *m)
{
    if (m->doubts == 0 || !m->h->db || hx_visit(m->h, mx_doubt_shown, m, NULL) != TSDB_OK) {
        return;
    }
    for (uint32_t i = 0; i < MX_CELLS && m->doubts > 0; i++) {
        struct mx_cell *c = &m->cells[i];
        if (!c->doubt || mx_under_way(m, i)) {
            continue;
        }
        if (mx_optional(m, c)) { /* or retention took it, and a replay may bring it back */
            c->doubt = c->rival_count > 0;
            m->doubts -= !c->doubt;
            continue;
        }
        c->sent = false;
        c->rival_count = 0;
        mx_doubt_settle(m, c);
    }
}

void mx_reap(struct mx *m)
{
    struct mx_write *done = NULL, **done_end = &done;
    for (struct mx_write **at = &m->writes; *at;) {
        struct mx_write *w = *at;
        if (!mx_answered_ok(w)) { /* by one owner; others may still have to answer */
            mx_note_refused(m, w);
        }
        if (!w->x->done) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = NULL;
        *done_end = w;
        done_end = &w->next;
    }
    mx_doubts_ask(m); /* before the others' answers are judged by what was first */
    for (struct mx_write *w = done, *next; w; w = next) {
        next = w->next;
        if (mx_answered_ok(w)) {
            mx_note_ok(m, w);
        }
        hx_write_destroy(w->x);
        free(w);
    }
}

void mx_durable(struct mx *m, bool all)
{
    for (uint32_t i = 0; i < MX_CELLS; i++) {
        struct mx_cell *c = &m->cells[i];
        if (c->acked && (all || c->kill_safe)) {
            c->kill_safe = true;
            mx_cut_safe(c);
        }
    }
}

uint32_t mx_at_risk(const struct mx *m, int64_t *out_age_ns)
{
    uint32_t n = 0;
    *out_age_ns = 0;
    for (uint32_t i = 0; i < MX_CELLS; i++) {
        const struct mx_cell *c = &m->cells[i];
        if (c->kill_safe && !c->cut_safe && c->whole) {
            n++;
            *out_age_ns = TSDB_MAX(*out_age_ns, m->h->clock.mono_ns - c->acked_ns);
        }
    }
    return n;
}

static void mx_found(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                     enum tsdb_sample_kind kind, uint64_t bits,
                     const struct tsdb_histogram *histogram)
{
    struct mx *m = arg;
    struct mx_cell *c = mx_cell(m, series, t_ms);
    if (!c->used || !c->sent) {
        mx_fail(m, "series %u at %lld: found, was never sent", (unsigned)series, (long long)t_ms);
        return;
    }
    mx_doubt_shown(m, series, t_ms, start_ms, kind, bits, histogram);
    if (c->found || !mx_shows(m, &c->v, start_ms, kind, bits, histogram)) {
        mx_fail(m, "series %u at %lld: kind %d start %lld bits %llx%s, expected %d %lld %llx",
                (unsigned)series, (long long)t_ms, (int)kind, (long long)start_ms,
                (unsigned long long)bits, c->found ? " (twice)" : "", (int)c->v.kind,
                (long long)c->v.start_ms, (unsigned long long)c->v.bits);
    }
    c->found = true;
}

void mx_check(struct mx *m, enum mx_since since)
{
    struct tsdb_error err;
    for (uint32_t i = 0; i < MX_CELLS; i++) {
        struct mx_cell *c = &m->cells[i];
        c->found = false;
        /* The disk may have kept the log's record of a conflict that had passed, and not the one of
         * the first value in front of it. */
        if (since != MX_RUNNING && (since == MX_CUT || m->io_faults) && c->sent && !c->cut_safe &&
            c->rival_count > 0) {
            mx_doubt(m, c);
        }
    }
    if (hx_visit(m->h, mx_found, m, &err) != TSDB_OK) {
        mx_fail(m, "read: %s", err.msg);
        return;
    }
    for (uint32_t i = 0; i < MX_CELLS; i++) {
        struct mx_cell *c = &m->cells[i];
        if (!c->used) {
            continue;
        }
        bool must = since == MX_RUNNING               ? c->acked
                    : since == MX_CUT || m->io_faults ? c->cut_safe
                                                      : c->kill_safe;
        if (must && !c->found && !mx_optional(m, c)) {
            mx_fail(m, "series %u at %lld: lost after %s (acked %d kill_safe %d cut_safe %d)",
                    (unsigned)c->series, (long long)c->t_ms,
                    since == MX_RUNNING  ? "an answer"
                    : since == MX_KILLED ? "a kill"
                                         : "a power cut",
                    c->acked, c->kill_safe, c->cut_safe);
        }
        if (since != MX_RUNNING) {
            c->sent = c->found;
            c->acked = c->kill_safe = c->cut_safe = c->found && !c->leaving;
            c->rival_count = 0;
            mx_doubt_settle(m, c);
        }
    }
    if (since != MX_RUNNING) {
        m->io_faults = false;
    }
}

void mx_delete_begin(struct mx *m, uint32_t name, struct tsdb_time_range range)
{
    TSDB_ASSERT(!m->writes);
    for (uint32_t i = 0; i < MX_CELLS; i++) {
        struct mx_cell *c = &m->cells[i];
        c->leaving = c->used && c->sent && (name == MX_ANY || c->series % 7 == name) &&
                     range.min_ms <= c->t_ms && c->t_ms <= range.max_ms;
        if (c->leaving) {
            c->acked = c->kill_safe = c->cut_safe = false;
        }
    }
}

void mx_delete_done(struct mx *m)
{
    for (uint32_t i = 0; i < MX_CELLS; i++) {
        struct mx_cell *c = &m->cells[i];
        if (c->leaving) {
            c->sent = c->leaving = false;
            c->rival_count = 0;
            mx_doubt_settle(m, c);
        }
    }
}

void mx_die(struct mx *m, bool crash)
{
    mx_reap(m);
    hx_die(m->h, crash);
    for (struct mx_write *w = m->writes, *next; w; w = next) {
        next = w->next;
        TSDB_ASSERT(w->x->done);
        hx_write_destroy(w->x);
        free(w);
    }
    m->writes = NULL;
}

static uint64_t mx_random_bits(struct tsdb_prng *p, uint32_t series)
{
    switch (tsdb_prng_below(p, 8)) {
    case 0:
        return TSDB_STALE_NAN_BITS;
    case 1:
        return UINT64_C(0x7ff0000000000001) | (tsdb_prng_next(p) >> 12); /* any NaN payload */
    case 2:
        return tsdb_double_bits(tsdb_prng_below(p, 2) ? -0.0 : 0.0);
    case 3:
        return tsdb_prng_next(p);
    case 4:
        return tsdb_double_bits((double)tsdb_prng_below(p, 1000) / 100);
    case 5:
        return tsdb_double_bits(series); /* the same again */
    default:
        return tsdb_double_bits((double)tsdb_prng_below(p, 1u << 20));
    }
}

struct hx_sample mx_random_sample(struct mx *m, struct tsdb_prng *p, uint32_t series_count,
                                  uint32_t span_s, uint8_t *out_raw)
{
    struct hx_sample s = {.series = (uint32_t)tsdb_prng_below(p, series_count)};
    int64_t now_s = m->h->clock.wall_ms / 1000;
    s.t_ms = (now_s - (int64_t)(tsdb_prng_below(p, 4) ? tsdb_prng_below(p, 3)
                                                      : tsdb_prng_below(p, span_s))) *
             1000;
    *out_raw = 0;
    const struct mx_cell *c = mx_cell(m, s.series, s.t_ms);
    bool there = c->used && c->sent;
    bool repeat =
        there && (m->no_conflicts || c->rival_count >= MX_RIVALS / 4 || tsdb_prng_below(p, 4));
    if (repeat) { /* exact duplicate */
        s.kind = (enum tsdb_sample_kind)c->v.kind;
        s.bits = c->v.bits;
        s.start_ms = c->v.start_ms;
        *out_raw = c->v.raw;
    } else if (tsdb_prng_below(p, 8) == 0) {
        *out_raw = (uint8_t)tsdb_prng_below(p, MX_RAWS);
        s.kind = (enum tsdb_sample_kind)m->raw_kind[*out_raw];
    } else {
        s.bits = mx_random_bits(p, s.series);
    }
    if (!there && tsdb_prng_below(p, 8) == 0) {
        s.start_ms = s.t_ms - (int64_t)tsdb_prng_below(p, 100000);
    }
    struct mx_value v = {(uint8_t)s.kind, *out_raw, 0, s.bits};
    if (there && mx_same(&c->v, &v)) {
        s.start_ms = c->v.start_ms; /* it is no part of what makes a conflict */
    }
    if (s.kind != TSDB_SAMPLE_FLOAT) {
        s.raw = m->raws[*out_raw];
        s.raw_len = m->raw_len[*out_raw];
    }
    return s;
}
