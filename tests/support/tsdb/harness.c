#include "tests/support/tsdb/harness.h"

#include "base/assert.h"
#include "tsdb/engine/tsdb_private.h"

void hx_init(struct hx *h, uint64_t seed)
{
    memset(h, 0, sizeof *h);
    tsdb_options_default(&h->options);
    TSDB_ASSERT(tsdb_fs_sim_create(seed, &h->sim, &h->options.fs) == TSDB_OK);
    h->clock = (struct tsdb_clock_sim){.wall_ms = HX_WALL_MS, .mono_ns = 1000000000};
    h->options.clock = tsdb_clock_sim_table(&h->clock);
    tsdb_prng_init(&h->prng, seed ^ 0x5eed);
    h->options.random = tsdb_random_seeded(&h->prng);
    h->options.manual_steps = true;
    h->options.owner_count = 2;
    h->options.head_chunk_samples = TSDB_CHUNK_SAMPLES; /* chunks of all kinds end alike */
    h->options.wal_segment_bytes = 1u << 16;
    h->options.wal_epoch_bytes = 1u << 13;
    h->options.cache_l2_bytes = 1u << 20;
}

static void hx_forget_refs(struct hx *h)
{
    for (uint32_t i = 0; i < HX_SERIES_MAX; i++) {
        h->refs[i] = TSDB_SERIES_NEW;
    }
}

enum tsdb_status hx_open(struct hx *h, struct tsdb_error *err)
{
    TSDB_ASSERT(!h->db);
    hx_forget_refs(h);
    return tsdb_open(&h->options, &h->db, err);
}

enum tsdb_status hx_close(struct hx *h, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_close(h->db, err);
    h->db = NULL;
    return status;
}

/* Process death; with a power cut if `crash`. */
void hx_die(struct hx *h, bool crash)
{
    tsdb_abandon(h->db);
    h->db = NULL;
    if (crash) {
        tsdb_fs_sim_crash(h->sim);
    } else {
        tsdb_fs_sim_kill(h->sim);
    }
}

void hx_deinit(struct hx *h)
{
    if (h->db) {
        tsdb_abandon(h->db);
    }
    tsdb_fs_sim_destroy(h->sim);
}

static void hx_labels(uint32_t series, char text[2][16], struct tsdb_label out[2])
{
    snprintf(text[0], 16, "m%u", (unsigned)(series % 7));
    snprintf(text[1], 16, "%u", (unsigned)series);
    out[0] = tsdb_label_make("__name__", text[0]);
    out[1] = tsdb_label_make("i", text[1]);
}

static void hx_done(struct tsdb_write *w)
{
    ((struct hx_write *)w->done_arg)->done = true;
}

/* Where samples of the series go; x->w.new_series gets its labels in any case, for hx_learn. */
struct tsdb_build_target hx_target(struct hx *h, struct hx_write *x, uint32_t i)
{
    uint32_t series = x->samples[i].series;
    struct tsdb_build_target target;
    hx_labels(series, x->text[i], x->labels[i]);
    struct tsdb_hash128 none = {0, 0};
    struct tsdb_labels labels = {x->labels[i], 2};
    TSDB_ASSERT(tsdb_build_new(&x->build, labels, none, &target) == TSDB_OK);
    target.series = h->refs[series];
    target.generation = h->generations[series];
    return target;
}

/* A write to which tsdb_build_exemplar and the like may add, until hx_write_finish. Raw histogram
 * bytes stay the caller's until the write is done. */
struct hx_write *hx_write_begin(struct hx *h, const struct hx_sample *samples, uint32_t count)
{
    TSDB_ASSERT(count > 0 && count <= HX_SAMPLES_MAX);
    struct hx_write *x = calloc(1, sizeof *x);
    TSDB_ASSERT(x);
    x->memory = malloc(HX_ARENA_BYTES);
    TSDB_ASSERT(x->memory);
    tsdb_arena_init(&x->arena, TSDB_MEM_OTHER, 0, NULL);
    x->arena.pos = x->memory;
    x->arena.end = x->memory + HX_ARENA_BYTES;
    tsdb_build_init(&x->build, &x->arena, tsdb_hash_key(h->db), tsdb_owner_map(h->db));
    TSDB_ASSERT(tsdb_build_reserve(&x->build, count) == TSDB_OK);
    x->count = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct hx_sample *s = &samples[i];
        x->samples[i] = *s;
        x->raws[i] = (struct tsdb_raw_histogram){s->raw_len, s->raw};
        struct tsdb_build_target target = hx_target(h, x, i);
        uint64_t value = s->kind == TSDB_SAMPLE_FLOAT ? s->bits : (uint64_t)(uintptr_t)&x->raws[i];
        tsdb_build_add(&x->build, &target, s->kind, s->t_ms, value);
        if (s->start_ms != 0) {
            TSDB_ASSERT(tsdb_build_start(&x->build, s->start_ms) == TSDB_OK);
        }
    }
    return x;
}

/* durability is raised to the database's. */
void hx_write_finish(struct hx *h, struct hx_write *x, enum tsdb_durability durability)
{
    durability = TSDB_MAX(durability, tsdb_durability(h->db));
    TSDB_ASSERT(tsdb_build_finish(&x->build, durability, &x->w) == TSDB_OK);
    x->w.done = hx_done;
    x->w.done_arg = x;
}

struct hx_write *hx_write_create(struct hx *h, const struct hx_sample *samples, uint32_t count,
                                 enum tsdb_durability durability)
{
    struct hx_write *x = hx_write_begin(h, samples, count);
    hx_write_finish(h, x, durability);
    return x;
}

void hx_write_destroy(struct hx_write *x)
{
    tsdb_arena_deinit(&x->arena);
    free(x->memory);
    free(x);
}

/* Remember the refs that the write found, so that later writes use them. */
void hx_learn(struct hx *h, const struct hx_write *x)
{
    for (uint32_t i = 0; i < x->count; i++) {
        const struct tsdb_new_series *ns = &x->w.new_series[i];
        if (ns->ref != TSDB_SERIES_NEW) {
            h->refs[x->samples[i].series] = ns->ref;
            h->generations[x->samples[i].series] = ns->generation;
        }
    }
}

/* Every actor until nothing is left to do. */
void hx_settle(struct hx *h)
{
    for (size_t work = 1; work > 0;) {
        work = 0;
        for (uint32_t i = 0; i < tsdb_owner_count(h->db); i++) {
            work += tsdb_owner_step(h->db, i, h->clock.mono_ns);
        }
        work += tsdb_wal_write_step(h->db, h->clock.mono_ns);
        work += tsdb_wal_sync_step(h->db, h->clock.mono_ns);
    }
}

double hx_value_of(uint32_t series, int64_t t_ms)
{
    return (double)series * 1e6 + (double)(t_ms - HX_WALL_MS) / 1000;
}

uint64_t hx_delete(struct hx *h, uint32_t series)
{
    char text[16];
    snprintf(text, sizeof text, "%u", (unsigned)series);
    struct tsdb_matcher m = {TSDB_MATCH_EQ, "i", text, 1, (uint32_t)strlen(text)};
    struct tsdb_selector selector = {&m, 1};
    struct tsdb_delete_info info;
    enum tsdb_status status = tsdb_delete_series(h->db, &selector, 1, TSDB_TIME_ALL, &info, NULL);
    TSDB_ASSERT(status == TSDB_OK);
    return info.samples;
}

void hx_seal_all(struct hx *h)
{
    for (uint32_t i = 0; i < h->options.owner_count; i++) {
        owner_job_request(&h->db->owners[i], OWNER_JOB_SEAL, (uint64_t)h->clock.wall_ms + 1);
    }
    hx_settle(h);
    tsdb_seal_step(h->db, h->clock.mono_ns);
    hx_settle(h);
}

void hx_forget(struct hx *h, const struct hx_write *x)
{
    for (uint32_t i = 0; i < x->count; i++) {
        h->refs[x->samples[i].series] = TSDB_SERIES_NEW;
    }
}

static enum tsdb_status put_once(struct hx *h, const struct hx_sample *samples, uint32_t count,
                                 enum tsdb_durability durability, bool *out_stale,
                                 struct tsdb_write_result *out)
{
    struct hx_write *x = hx_write_create(h, samples, count, durability);
    enum tsdb_status status = tsdb_write_submit(h->db, &x->w, NULL);
    *out_stale = false;
    if (status == TSDB_OK) {
        hx_settle(h);
        TSDB_ASSERT(x->done);
        status = (enum tsdb_status)atomic_load(&x->w.status);
        tsdb_write_result_sum(&x->w, out);
        *out_stale = out->stale_refs > 0;
    }
    if (*out_stale) {
        hx_forget(h, x);
    } else if (status == TSDB_OK) {
        hx_learn(h, x);
    }
    hx_write_destroy(x);
    return status;
}

enum tsdb_status hx_put(struct hx *h, const struct hx_sample *samples, uint32_t count,
                        enum tsdb_durability durability, struct tsdb_write_result *out_result)
{
    bool stale = false;
    struct tsdb_write_result own = {0};
    struct tsdb_write_result *result = out_result ? out_result : &own;
    enum tsdb_status status = put_once(h, samples, count, durability, &stale, result);
    if (status == TSDB_OK && stale) {
        status = put_once(h, samples, count, durability, &stale, result);
        TSDB_ASSERT(!stale);
    }
    return status;
}

struct hx_sample hx_float(uint32_t series, int64_t t_ms, double value)
{
    return (struct hx_sample){.series = series, .t_ms = t_ms, .bits = tsdb_double_bits(value)};
}

/* ---- reading everything ---- */

uint32_t hx_series_of(const struct tsdb_labels *labels)
{
    const struct tsdb_label *l = tsdb_labels_find(labels, "i", 1);
    char text[16];
    TSDB_ASSERT(l && l->value_len < sizeof text);
    memcpy(text, l->value, l->value_len);
    text[l->value_len] = 0;
    return (uint32_t)strtoul(text, NULL, 10);
}

tsdb_series_ref hx_select(struct tsdb_querier *q, uint32_t series)
{
    char text[16];
    struct tsdb_series_set set;
    snprintf(text, sizeof text, "%u", (unsigned)series);
    struct tsdb_matcher m = {.op = TSDB_MATCH_EQ,
                             .name = "i",
                             .name_len = 1,
                             .value = text,
                             .value_len = (uint32_t)strlen(text)};
    TSDB_ASSERT(tsdb_select(q, &m, 1, &set, NULL) == TSDB_OK);
    TSDB_ASSERT(set.count == 1);
    return set.refs[0];
}

/* What tsdb_series_newest says of the samples up to the k-th is the k-th; behind it, none before the next,
 * unless it has come meanwhile. */
static void hx_newest_check(struct tsdb_querier *q, tsdb_series_ref ref,
                            const struct tsdb_columns *c, uint32_t k, struct tsdb_arena *arena)
{
    struct tsdb_columns newest;
    const struct tsdb_time_range until = {TSDB_TIME_ALL.min_ms, c->t_ms[k]};
    const struct tsdb_time_range gap = {c->t_ms[k] + 1,
                                        k + 1 < c->count ? c->t_ms[k + 1] - 1 : c->t_ms[k]};
    struct tsdb_columns now;
    struct tsdb_chunk_counts counts = {0};
    if (tsdb_series_newest(q, ref, until, arena, &newest, &counts, NULL) == TSDB_OK) {
        uint32_t last = newest.count - 1;
        TSDB_ASSERT(newest.count > 0 && newest.t_ms[last] == c->t_ms[k]);
        TSDB_ASSERT((newest.kind ? newest.kind[last] : 0) == (c->kind ? c->kind[k] : 0));
        TSDB_ASSERT((c->kind && c->kind[k]) || newest.bits[last] == c->bits[k]);
    }
    if (gap.min_ms <= gap.max_ms &&
        tsdb_series_newest(q, ref, gap, arena, &newest, &counts, NULL) == TSDB_OK &&
        tsdb_series_read(q, ref, gap, arena, &now, NULL) == TSDB_OK) {
        TSDB_ASSERT(newest.count <= now.count);
    }
}

static enum tsdb_status hx_visit_series(struct tsdb_querier *q, tsdb_series_ref ref,
                                        struct tsdb_arena *arena, hx_found_fn fn, void *arg,
                                        struct tsdb_error *err)
{
    struct tsdb_labels labels;
    struct tsdb_columns c;
    enum tsdb_status status = tsdb_series_labels(q, ref, arena, &labels, err);
    if (status == TSDB_OK) {
        status = tsdb_series_read(q, ref, TSDB_TIME_ALL, arena, &c, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    uint32_t series = hx_series_of(&labels);
    for (uint32_t i = 0; i < c.count; i++) {
        enum tsdb_sample_kind kind = c.kind ? (enum tsdb_sample_kind)c.kind[i] : TSDB_SAMPLE_FLOAT;
        const struct tsdb_histogram *hist =
            kind == TSDB_SAMPLE_FLOAT ? NULL : &c.histograms[c.bits[i]];
        fn(arg, series, c.t_ms[i], c.start_ms ? c.start_ms[i] : 0, kind, c.bits[i], hist);
    }
    for (uint32_t k = 0; k < c.count; k += TSDB_MAX(c.count / 3, 1u)) {
        hx_newest_check(q, ref, &c, k, arena);
        hx_newest_check(q, ref, &c, c.count - 1 - k, arena);
    }
    return TSDB_OK;
}

/* Every sample of the database, through the public read path. */
enum tsdb_status hx_visit(struct hx *h, hx_found_fn fn, void *arg, struct tsdb_error *err)
{
    struct tsdb_querier *q = NULL;
    enum tsdb_status status = tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &q, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct tsdb_matcher m = {.op = TSDB_MATCH_NE, .name = "i", .name_len = 1, .value = ""};
    struct tsdb_series_set set;
    struct tsdb_arena arena;
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 14, NULL);
    status = tsdb_select(q, &m, 1, &set, err);
    for (uint32_t i = 0; status == TSDB_OK && i < set.count; i++) {
        tsdb_arena_reset(&arena);
        tsdb_series_read_ahead(q, set.refs + i, set.count - i);
        status = hx_visit_series(q, set.refs[i], &arena, fn, arg, err);
    }
    tsdb_arena_deinit(&arena);
    tsdb_querier_close(q);
    return status;
}

void hx_count_one(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                  enum tsdb_sample_kind kind, uint64_t bits, const struct tsdb_histogram *histogram)
{
    (void)series, (void)t_ms, (void)start_ms, (void)kind, (void)bits, (void)histogram;
    ++*(uint32_t *)arg;
}
uint32_t hx_count(struct hx *h)
{
    uint32_t n = 0;
    TSDB_ASSERT(hx_visit(h, hx_count_one, &n, NULL) == TSDB_OK);
    return n;
}
