#include "tests/support/tsdb/harness.h"

#include "base/assert.h"

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

void hx_die(struct hx *h, bool crash)
{
    if (h->db) {
        tsdb_abandon(h->db);
        h->db = NULL;
    }
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

static uint32_t hx_partition(const struct hx *h, uint32_t series)
{
    char text[2][16];
    struct tsdb_label items[2];
    hx_labels(series, text, items);
    struct tsdb_labels labels = {items, 2};
    return (uint32_t)(tsdb_labels_hash(tsdb_hash_key(h->db), &labels) >> 58);
}

static void hx_fill_entry(struct hx *h, struct hx_write *x, uint32_t i)
{
    const struct hx_sample *s = &x->samples[i];
    struct tsdb_new_series *ns = &x->new_series[i];
    hx_labels(s->series, x->text[i], x->labels[i]);
    ns->labels = (struct tsdb_labels){x->labels[i], 2};
    ns->hash = tsdb_labels_hash(tsdb_hash_key(h->db), &ns->labels);
    ns->ref = TSDB_SERIES_NEW;
    x->raws[i] = (struct tsdb_raw_histogram){s->raw_len, s->raw};
    x->starts[i] = s->start_ms;
    x->entries[i] = (struct tsdb_entry){
        .t_ms = s->t_ms,
        .value = s->kind == TSDB_SAMPLE_FLOAT ? s->bits : (uint64_t)(uintptr_t)&x->raws[i],
        .series = h->refs[s->series],
        .generation = h->generations[s->series],
        .aux = i,
        .partition = (uint8_t)(ns->hash >> 58),
        .kind = (uint8_t)s->kind,
        .flags = s->start_ms ? TSDB_ENTRY_HAS_START : 0,
    };
}

static void hx_cut_batches(struct hx *h, struct hx_write *x, enum tsdb_durability durability)
{
    for (uint32_t i = 0; i < x->count;) {
        struct tsdb_batch *b = &x->w.batches[x->w.batch_count];
        b->write = &x->w;
        b->owner = tsdb_owner_of(h->db, x->entries[i].partition);
        b->durability = durability;
        b->entry_begin = i;
        while (i < x->count && tsdb_owner_of(h->db, x->entries[i].partition) == b->owner) {
            i++;
        }
        b->entry_end = i;
        if (durability > TSDB_DURABILITY_MEMORY) {
            b->wal_cap = (uint32_t)tsdb_batch_wal_bytes_max(&x->w, b);
            b->wal_bytes = x->wal_bytes[x->w.batch_count] = malloc(b->wal_cap);
            TSDB_ASSERT(b->wal_bytes);
        }
        x->w.batch_count++;
    }
}

struct hx_write *hx_write_create(struct hx *h, const struct hx_sample *samples, uint32_t count,
                                 enum tsdb_durability durability)
{
    TSDB_ASSERT(count > 0 && count <= HX_SAMPLES_MAX);
    struct hx_write *x = calloc(1, sizeof *x);
    TSDB_ASSERT(x);
    x->count = count;
    uint32_t n = 0;
    uint32_t partition[HX_SAMPLES_MAX];
    for (uint32_t i = 0; i < count; i++) {
        partition[i] = hx_partition(h, samples[i].series);
    }
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) { /* stable */
        for (uint32_t i = 0; i < count; i++) {
            if (partition[i] == p) {
                x->samples[n++] = samples[i];
            }
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        hx_fill_entry(h, x, i);
    }
    x->w.entries = x->entries;
    x->w.starts = x->starts;
    x->w.entry_count = count;
    x->w.new_series = x->new_series;
    x->w.new_series_count = count;
    x->w.done = hx_done;
    x->w.done_arg = x;
    hx_cut_batches(h, x, TSDB_MAX(durability, tsdb_durability(h->db)));
    return x;
}

void hx_write_destroy(struct hx_write *x)
{
    for (uint32_t i = 0; i < TSDB_OWNERS_MAX; i++) {
        free(x->wal_bytes[i]);
    }
    free(x);
}

void hx_learn(struct hx *h, const struct hx_write *x)
{
    for (uint32_t i = 0; i < x->count; i++) {
        if (x->new_series[i].ref != TSDB_SERIES_NEW) {
            h->refs[x->samples[i].series] = x->new_series[i].ref;
            h->generations[x->samples[i].series] = x->new_series[i].generation;
        }
    }
}

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

enum tsdb_status hx_put(struct hx *h, const struct hx_sample *samples, uint32_t count,
                        enum tsdb_durability durability, struct tsdb_write_result *out_result)
{
    struct hx_write *x = hx_write_create(h, samples, count, durability);
    enum tsdb_status status = tsdb_write_submit(h->db, &x->w, NULL);
    if (status == TSDB_OK) {
        hx_settle(h);
        TSDB_ASSERT(x->done);
        status = (enum tsdb_status)atomic_load(&x->w.status);
        if (out_result) {
            tsdb_write_result_sum(&x->w, out_result);
        }
        if (status == TSDB_OK) {
            hx_learn(h, x);
        }
    }
    hx_write_destroy(x);
    return status;
}

struct hx_sample hx_float(uint32_t series, int64_t t_ms, double value)
{
    return (struct hx_sample){.series = series, .t_ms = t_ms, .bits = tsdb_double_bits(value)};
}

static uint32_t hx_series_of(const struct tsdb_labels *labels)
{
    const struct tsdb_label *l = tsdb_labels_find(labels, "i", 1);
    char text[16];
    TSDB_ASSERT(l && l->value_len < sizeof text);
    memcpy(text, l->value, l->value_len);
    text[l->value_len] = 0;
    return (uint32_t)strtoul(text, NULL, 10);
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
    return TSDB_OK;
}

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
