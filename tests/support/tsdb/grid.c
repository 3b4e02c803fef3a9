#include "tests/support/tsdb/grid.h"

#include "base/assert.h"

void grid_init(struct grid *g, struct hx *h, int64_t first_ms)
{
    memset(g, 0, sizeof *g);
    g->h = h;
    g->first_ms = first_ms;
    g->next = 1;
}

int64_t grid_time(const struct grid *g, uint32_t t)
{
    return g->first_ms + (int64_t)t * GRID_STEP;
}

static bool chosen(const struct hx_sample *samples, uint32_t n, uint32_t series, int64_t t_ms)
{
    for (uint32_t i = 0; i < n; i++) {
        if (samples[i].series == series && samples[i].t_ms == t_ms) {
            return true;
        }
    }
    return false;
}

#define RAW_BYTES 256u

static uint8_t raws[HX_SAMPLES_MAX][RAW_BYTES];

/* A histogram with the sum, in raws[n]. */
static struct hx_sample histogram_make(uint32_t n, uint32_t series, int64_t t_ms, uint64_t sum)
{
    static const struct tsdb_span spans[1] = {{1, 3}};
    static const int64_t deltas[3] = {5, -2, 1};
    static const double counts[3] = {1.5, 2.25, 0};
    struct tsdb_histogram h = {.schema = 2,
                               .sum = (double)sum,
                               .count_int = 12,
                               .positive_span_count = 1,
                               .positive_bucket_count = 3,
                               .positive_spans = spans,
                               .positive_deltas = deltas};
    if (sum % 2 == 0) {
        h.is_float = true;
        h.count_int = 0;
        h.count_float = 3.75;
        h.positive_deltas = NULL;
        h.positive_counts = counts;
    }
    TSDB_ASSERT(tsdb_histogram_encoded_bytes_max(&h) <= RAW_BYTES);
    return (struct hx_sample){.series = series,
                              .t_ms = t_ms,
                              .kind = h.is_float ? TSDB_SAMPLE_HISTOGRAM_FLOAT
                                                 : TSDB_SAMPLE_HISTOGRAM_INT,
                              .bits = tsdb_double_bits(-(double)sum),
                              .raw = raws[n],
                              .raw_len = (uint32_t)tsdb_histogram_encode(&h, raws[n])};
}

uint64_t grid_value(enum tsdb_sample_kind kind, uint64_t bits, const struct tsdb_histogram *h)
{
    if (kind == TSDB_SAMPLE_FLOAT) {
        return bits;
    }
    TSDB_ASSERT(h->is_float == (kind == TSDB_SAMPLE_HISTOGRAM_FLOAT));
    TSDB_ASSERT(h->schema == 2 && h->positive_bucket_count == 3);
    return tsdb_double_bits(-h->sum);
}

static uint32_t pick(struct tsdb_prng *p, uint32_t from, uint32_t count, uint32_t all)
{
    uint32_t x = (uint32_t)tsdb_prng_below(p, count > 0 ? count : all);
    return (from + x) % all;
}

enum tsdb_status grid_put(struct grid *g, struct tsdb_prng *p, uint32_t count)
{
    struct hx_sample samples[HX_SAMPLES_MAX];
    uint32_t n = 0;
    TSDB_ASSERT(count <= HX_SAMPLES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t series = pick(p, g->window.series, g->window.series_count, GRID_SERIES);
        uint32_t t = pick(p, g->window.t, g->window.t_count, GRID_TIMES);
        int64_t t_ms = grid_time(g, t);
        if (g->bits[series][t] != 0 || t_ms < g->oldest_ms || chosen(samples, n, series, t_ms)) {
            continue;
        }
        uint64_t value = g->next++;
        samples[n] = g->histograms > 0 && value % g->histograms == 0
                         ? histogram_make(n, series, t_ms, value)
                         : hx_float(series, t_ms, (double)value);
        n++;
    }
    for (uint32_t i = 0; i < n; i++) {
        g->bits[samples[i].series][(samples[i].t_ms - g->first_ms) / GRID_STEP] = samples[i].bits;
    }
    return n > 0 ? hx_put(g->h, samples, n, TSDB_DURABILITY_STRICT, NULL) : TSDB_OK;
}

struct grid_delete grid_random_delete(const struct grid *g, struct tsdb_prng *p)
{
    struct grid_delete d = {.name = GRID_ANY, .range = TSDB_TIME_ALL};
    uint64_t kind = tsdb_prng_below(p, 8);
    if (kind < 4) {
        d.name = (uint32_t)tsdb_prng_below(p, 7);
    }
    if (kind > 2) {
        d.list_count = 1 + (uint32_t)tsdb_prng_below(p, 4);
        for (uint32_t i = 0; i < d.list_count; i++) {
            d.list[i] = (uint32_t)tsdb_prng_below(p, GRID_SERIES);
        }
    }
    if (tsdb_prng_below(p, 3) > 0) {
        uint32_t from = (uint32_t)tsdb_prng_below(p, GRID_TIMES);
        d.range.min_ms = grid_time(g, from) - (int64_t)tsdb_prng_below(p, 2);
        d.range.max_ms = grid_time(g, from + (uint32_t)tsdb_prng_below(p, GRID_TIMES / 3));
    }
    return d;
}

static bool listed(const struct grid_delete *d, uint32_t series)
{
    bool found = d->list_count == 0;
    for (uint32_t i = 0; i < d->list_count; i++) {
        found = found || d->list[i] == series;
    }
    return found && (d->name == GRID_ANY || series % 7 == d->name);
}

static void map_delete(struct grid *g, const struct grid_delete *d)
{
    for (uint32_t s = 0; s < GRID_SERIES; s++) {
        for (uint32_t t = 0; listed(d, s) && t < GRID_TIMES; t++) {
            int64_t t_ms = grid_time(g, t);
            if (d->range.min_ms <= t_ms && t_ms <= d->range.max_ms) {
                g->bits[s][t] = 0;
            }
        }
    }
}

static struct tsdb_matcher matcher(enum tsdb_match_op op, const char *name, const char *value)
{
    return (struct tsdb_matcher){op, name, value, (uint32_t)strlen(name), (uint32_t)strlen(value)};
}

enum tsdb_status grid_delete(struct grid *g, const struct grid_delete *d,
                             struct tsdb_delete_info *info, struct tsdb_error *err)
{
    char name[16] = ".+";
    char list[64] = "";
    struct tsdb_matcher matchers[2];
    struct tsdb_delete_info unused;
    uint32_t n = 1;
    matchers[0] = matcher(TSDB_MATCH_RE, "__name__", name);
    if (d->name != GRID_ANY) {
        snprintf(name, sizeof name, "m%u", d->name);
        matchers[0] = matcher(TSDB_MATCH_EQ, "__name__", name);
    }
    if (d->list_count > 0) {
        size_t used = 0;
        for (uint32_t i = 0; i < d->list_count; i++) {
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%u", i > 0 ? "|" : "",
                                     d->list[i]);
        }
        matchers[n++] = matcher(TSDB_MATCH_RE, "i", list);
    }
    struct tsdb_selector selector = {matchers, n};
    map_delete(g, d);
    return tsdb_delete_series(g->h->db, &selector, 1, d->range, info ? info : &unused, err);
}

uint32_t grid_count(const struct grid *g)
{
    uint32_t n = 0;
    for (uint32_t s = 0; s < GRID_SERIES; s++) {
        for (uint32_t t = 0; t < GRID_TIMES; t++) {
            n += g->bits[s][t] != 0;
        }
    }
    return n;
}

static void show_one(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                     enum tsdb_sample_kind kind, uint64_t bits,
                     const struct tsdb_histogram *histogram)
{
    struct grid *shown = arg;
    int64_t t = (t_ms - shown->first_ms) / GRID_STEP;
    (void)start_ms;
    TSDB_ASSERT(series < GRID_SERIES && t >= 0 && t < GRID_TIMES);
    TSDB_ASSERT(shown->bits[series][t] == 0);
    shown->bits[series][t] = grid_value(kind, bits, histogram);
}

static char text[240];

static const char *differs(const struct grid *g, const struct grid *after, uint32_t series,
                           int64_t t_ms, uint64_t is)
{
    int64_t t = (t_ms - g->first_ms) / GRID_STEP;
    uint64_t one = g->bits[series][t], other = after->bits[series][t];
    if (is == one || is == other || (is == 0 && t_ms < g->oldest_ms)) {
        return NULL;
    }
    snprintf(text, sizeof text, "series %u at cell %d: shown %g, expected %g or %g", series, (int)t,
             tsdb_bits_double(is), tsdb_bits_double(one), tsdb_bits_double(other));
    return text;
}

const char *grid_check(const struct grid *g, uint32_t series, int64_t t_ms, uint64_t is)
{
    return differs(g, g, series, t_ms, is);
}

const char *grid_settle(struct grid *g, const struct grid *after)
{
    static struct grid shown;
    struct tsdb_error err = {0};
    grid_init(&shown, g->h, g->first_ms);
    if (hx_visit(g->h, show_one, &shown, &err) != TSDB_OK) {
        snprintf(text, sizeof text, "it cannot be read: %.160s", err.msg);
        return text;
    }
    for (uint32_t s = 0; s < GRID_SERIES; s++) {
        for (uint32_t t = 0; t < GRID_TIMES; t++) {
            uint64_t is = shown.bits[s][t];
            if (differs(g, after, s, grid_time(g, t), is)) {
                return text;
            }
            bool may_return = is == 0 && is != after->bits[s][t] && grid_time(g, t) < g->oldest_ms;
            g->bits[s][t] = may_return ? g->bits[s][t] : is;
        }
    }
    return NULL;
}

const char *grid_compare(struct grid *g)
{
    return grid_settle(g, g);
}
