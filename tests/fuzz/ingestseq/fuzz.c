/* Sequences of operations from bytes: writes of remote write 1.0 and 2.0 made from bytes or taken as
 * they are, flushes, compactions, checkpoints, deaths and reopening, over the simulated disk and
 * clock. An operation is a byte that chooses and those that it takes.
 *
 * Invariants checked:
 *  1. What was acknowledged is visible, bit for bit, and stays: after every operation everything is
 *     read and compared. A value that is shown is never replaced by another.
 *  2. After the death of the process all of it is there; after a power cut what was acknowledged as
 *     strict, or before a checkpoint or a clean close.
 *  3. Nothing is shown that nobody sent (but after a body whose content nobody here knows).
 *  4. No request leaves memory charged. */
#include "base/log.h"
#include "ingest/ingest.h"
#include "tests/support/ingest/encode.h"
#include "tests/support/tsdb/harness.h"

#define OPS_MAX    96u
#define CELLS      8192u /* a power of two */
#define SERIES_MAX 12u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct cell {
    bool used, found, cut_safe;
    uint64_t key;    /* of series and time */
    uint64_t digest; /* of kind, value, start */
};
struct run {
    struct hx h;
    struct ingest *in;
    const uint8_t *p, *end;
    struct cell cells[CELLS];
    uint32_t used;
    bool learn; /* what is new may be there */
};

#define CHECK(ok, ...)                                                                             \
    do {                                                                                           \
        if (!(ok)) {                                                                               \
            fprintf(stderr, "ingestseq: " __VA_ARGS__);                                            \
            fputc('\n', stderr);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static uint32_t take(struct run *r, uint32_t n)
{
    return r->p < r->end ? *r->p++ % n : 0;
}

/* ---- the model ---- */

static struct cell *cell_of(struct run *r, uint64_t key)
{
    uint32_t i = (uint32_t)key & (CELLS - 1);
    while (r->cells[i].used && r->cells[i].key != key) {
        i = (i + 1) & (CELLS - 1);
    }
    return &r->cells[i];
}

static struct cell *cell_add(struct run *r, uint64_t key, uint64_t digest)
{
    struct cell *c = cell_of(r, key);
    if (!c->used) {
        r->used++;
        CHECK(r->used < CELLS / 2, "the model is full");
        *c = (struct cell){.used = true, .key = key, .digest = digest};
    }
    return c;
}

static uint64_t key_of(const struct tsdb_labels *labels, int64_t t_ms)
{
    uint8_t *bytes = malloc(tsdb_labels_encoded_bytes(labels) + 8);
    CHECK(bytes, "no memory");
    size_t len = tsdb_labels_encode(labels, bytes);
    memcpy(bytes + len, &t_ms, 8);
    uint64_t key = tsdb_hash64_plain(bytes, len + 8);
    free(bytes);
    return key;
}

static uint64_t digest_of(uint64_t bits, const struct tsdb_histogram *h, int64_t start_ms)
{
    uint64_t value[3] = {bits, (uint64_t)start_ms, 0};
    if (h) {
        uint8_t *raw = malloc(tsdb_histogram_encoded_bytes_max(h));
        CHECK(raw, "no memory");
        value[0] = tsdb_hash64_plain(raw, tsdb_histogram_encode(h, raw));
        value[2] = h->is_float ? 2 : 1;
        free(raw);
    }
    return tsdb_hash64_plain(value, sizeof value);
}

static void see(struct run *r, const struct tsdb_labels *labels, int64_t t_ms, uint64_t digest)
{
    uint64_t key = key_of(labels, t_ms);
    struct cell *c = cell_of(r, key);
    if (!c->used) {
        CHECK(r->learn, "a sample at %lld that nobody sent", (long long)t_ms);
        c = cell_add(r, key, digest);
    }
    CHECK(!c->found, "a sample at %lld twice", (long long)t_ms);
    CHECK(c->digest == digest, "a sample at %lld has another value", (long long)t_ms);
    c->found = true;
}

static void look_series(struct run *r, struct tsdb_querier *q, tsdb_series_ref ref,
                        struct tsdb_arena *arena)
{
    struct tsdb_labels labels;
    struct tsdb_columns c;
    struct tsdb_error err = {0};
    CHECK(tsdb_series_labels(q, ref, arena, &labels, &err) == TSDB_OK, "labels: %s", err.msg);
    CHECK(tsdb_series_read(q, ref, TSDB_TIME_ALL, arena, &c, &err) == TSDB_OK, "read: %s", err.msg);
    for (uint32_t i = 0; i < c.count; i++) {
        bool is_float = !c.kind || c.kind[i] == TSDB_SAMPLE_FLOAT;
        see(r, &labels, c.t_ms[i],
            digest_of(c.bits[i], is_float ? NULL : &c.histograms[c.bits[i]],
                      c.start_ms ? c.start_ms[i] : 0));
    }
}

/* Read everything and compare. */
static void look(struct run *r)
{
    struct tsdb_querier *q = NULL;
    struct tsdb_error err = {0};
    struct tsdb_arena arena;
    struct tsdb_series_set set;
    struct tsdb_matcher all = {.op = TSDB_MATCH_NE, .name = "__name__", .name_len = 8, .value = ""};
    for (uint32_t i = 0; i < CELLS; i++) {
        r->cells[i].found = false;
    }
    CHECK(tsdb_querier_open(r->h.db, NULL, TSDB_TIME_ALL, &q, &err) == TSDB_OK, "%s", err.msg);
    CHECK(tsdb_select(q, &all, 1, &set, &err) == TSDB_OK, "select: %s", err.msg);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 14, NULL);
    for (uint32_t i = 0; i < set.count; i++) {
        tsdb_arena_reset(&arena);
        look_series(r, q, set.refs[i], &arena);
    }
    tsdb_arena_deinit(&arena);
    tsdb_querier_close(q);
    for (uint32_t i = 0; i < CELLS; i++) {
        CHECK(!r->cells[i].used || r->cells[i].found, "an acknowledged sample is gone");
    }
    r->learn = false;
}

static void all_safe(struct run *r)
{
    for (uint32_t i = 0; i < CELLS; i++) {
        r->cells[i].cut_safe = true;
    }
}

/* After a power cut: only what was safe has to be there; what else is, is learnt. */
static void forget_unsafe(struct run *r)
{
    struct cell *old = malloc(sizeof r->cells);
    CHECK(old, "no memory");
    memcpy(old, r->cells, sizeof r->cells);
    memset(r->cells, 0, sizeof r->cells);
    r->used = 0;
    for (uint32_t i = 0; i < CELLS; i++) {
        if (old[i].used && old[i].cut_safe) {
            cell_add(r, old[i].key, old[i].digest)->cut_safe = true;
        }
    }
    free(old);
    r->learn = true;
}

/* ---- writes ---- */

static void on_done(void *arg)
{
    *(int *)arg += 1;
}

static struct ingest_answer send_body(struct run *r, const void *body, size_t len,
                                      enum ingest_protocol protocol, enum ingest_encoding encoding,
                                      bool strict)
{
    struct ingest_request *q = NULL;
    struct ingest_answer a = {0};
    struct tsdb_error err = {0};
    int done = 0;
    a.status = ingest_begin(r->in, len, &q, &err);
    if (a.status == TSDB_OK) {
        a.status = ingest_body(q, body, len, &err);
    }
    if (a.status == TSDB_OK) {
        ingest_context(q)->durability = strict ? TSDB_DURABILITY_STRICT : TSDB_DURABILITY_BUFFERED;
        ingest_submit(q, protocol, encoding, on_done, &done);
        bool answered = false;
        for (int i = 0; !answered && i < 100; i++) {
            hx_settle(&r->h);
            if (done > 0) {
                done = 0;
                answered = ingest_answer(q, &a);
            }
        }
        CHECK(answered, "a write without an answer");
    }
    ingest_end(q);
    struct ingest_stats stats;
    ingest_stats_read(r->in, &stats);
    CHECK(stats.inflight_bytes == 0, "%llu bytes stay charged",
          (unsigned long long)stats.inflight_bytes);
    return a;
}

static uint64_t value_bits(uint32_t choice)
{
    static const uint64_t odd[] = {TSDB_STALE_NAN_BITS, UINT64_C(0x7ff8dead00000001),
                                   UINT64_C(1) << 63, UINT64_C(0x7ff0000000000000), 1};
    return choice < TSDB_ARRAY_LEN(odd) ? odd[choice] : tsdb_double_bits(choice * 0.1);
}

/* One series of a write under construction. */
struct made {
    char name[8], value[8];
    struct tsdb_label labels[2];
    struct encode_sample samples[8];
    struct encode_histogram histogram;
    struct tsdb_exemplar exemplar;
    struct tsdb_metadata metadata;
    struct encode_series series;
};

static int64_t take_time(struct run *r)
{
    return r->h.clock.wall_ms / 1000 * 1000 - (int64_t)take(r, 120) * 500;
}

static void make_series(struct run *r, struct made *m, bool v2)
{
    static const struct tsdb_span span = {1, 2};
    static const int64_t deltas[2] = {3, -1};
    uint32_t id = take(r, SERIES_MAX);
    memset(m, 0, sizeof *m);
    snprintf(m->name, sizeof m->name, "m%u", id % 3);
    snprintf(m->value, sizeof m->value, "%u", id);
    uint32_t turned = take(r, 2);
    m->labels[turned] = tsdb_label_make("__name__", m->name);
    m->labels[1 - turned] = tsdb_label_make("i", m->value);
    struct encode_series *s = &m->series;
    s->labels = (struct tsdb_labels){m->labels, 2};
    s->samples = m->samples;
    s->sample_count = take(r, 8);
    for (uint32_t i = 0; i < s->sample_count; i++) {
        m->samples[i] =
            (struct encode_sample){.t_ms = take_time(r), .bits = value_bits(take(r, 9))};
        m->samples[i].start_ms = v2 && take(r, 4) == 0 ? m->samples[i].t_ms - 1000 : 0;
    }
    uint32_t extras = take(r, 16);
    if (extras & 1) {
        m->histogram.t_ms = take_time(r);
        m->histogram.histogram = (struct tsdb_histogram){.schema = 1,
                                                         .count_int = 5,
                                                         .sum = take(r, 3),
                                                         .positive_spans = &span,
                                                         .positive_span_count = 1,
                                                         .positive_deltas = deltas,
                                                         .positive_bucket_count = 2};
        s->histograms = &m->histogram;
        s->histogram_count = 1;
    }
    if (extras & 2) {
        m->exemplar = (struct tsdb_exemplar){.labels = {m->labels, 1}, .t_ms = take_time(r)};
        s->exemplars = &m->exemplar;
        s->exemplar_count = 1;
    }
    if (extras & 4) {
        m->metadata.type = (enum tsdb_metric_type)take(r, TSDB_METRIC_TYPE_COUNT);
        m->metadata.help = (struct tsdb_slice){(const uint8_t *)m->value, strlen(m->value)};
        s->metadata = &m->metadata;
    }
}

static void note(struct run *r, const struct made *m, int64_t t_ms, uint64_t digest, bool strict)
{
    struct tsdb_label items[2] = {m->labels[0], m->labels[1]};
    uint32_t count = 2;
    CHECK(tsdb_labels_canonicalize(items, &count, true, NULL) == TSDB_OK, "labels");
    struct tsdb_labels labels = {items, count};
    struct cell *c = cell_add(r, key_of(&labels, t_ms), digest);
    c->cut_safe |= strict && c->digest == digest;
}

static void note_series(struct run *r, const struct made *m, bool strict)
{
    for (uint32_t i = 0; i < m->series.sample_count; i++) {
        const struct encode_sample *s = &m->samples[i];
        note(r, m, s->t_ms, digest_of(s->bits, NULL, s->start_ms), strict);
    }
    if (m->series.histogram_count > 0) {
        note(r, m, m->histogram.t_ms, digest_of(0, &m->histogram.histogram, 0), strict);
    }
}

static void op_write(struct run *r)
{
    struct made made[4];
    struct encode_series series[4];
    struct tsdb_buf raw, body;
    bool v2 = take(r, 2) != 0;
    bool strict = take(r, 3) == 0;
    uint32_t count = 1 + take(r, 4);
    tsdb_buf_init(&raw, TSDB_MEM_OTHER, 0);
    tsdb_buf_init(&body, TSDB_MEM_OTHER, 0);
    for (uint32_t i = 0; i < count; i++) {
        make_series(r, &made[i], v2);
        series[i] = made[i].series;
        if (!v2) {
            encode_v1_series(&series[i], &raw);
        }
    }
    if (v2) {
        CHECK(encode_v2_request(series, count, &raw) == TSDB_OK, "encode");
    }
    CHECK(encode_snappy(&raw, &body) == TSDB_OK, "encode");
    struct ingest_answer a =
        send_body(r, body.data, body.len, v2 ? INGEST_REMOTE_WRITE_2 : INGEST_REMOTE_WRITE_1,
                  INGEST_ENCODING_SNAPPY, strict);
    tsdb_buf_deinit(&raw);
    tsdb_buf_deinit(&body);
    if (a.status == TSDB_OK) {
        for (uint32_t i = 0; i < count; i++) {
            note_series(r, &made[i], strict);
        }
    } else {
        CHECK(a.status == TSDB_INVALID, "a write: %s", a.text);
        r->learn = true; /* which of them were refused is in the text only */
    }
}

/* The input's own bytes as a body. */
static void op_raw(struct run *r)
{
    uint32_t len = take(r, 256);
    len = TSDB_MIN(len, (uint32_t)(r->end - r->p)); /* after the bytes that say the length */
    send_body(r, r->p, len, len % 2 ? INGEST_REMOTE_WRITE_2 : INGEST_REMOTE_WRITE_1,
              INGEST_ENCODING_NONE, false);
    r->p += len;
    r->learn = true;
}

/* ---- life ---- */

static void open_all(struct run *r)
{
    struct tsdb_error err = {0};
    struct ingest_options io;
    CHECK(hx_open(&r->h, &err) == TSDB_OK, "open: %s", err.msg);
    ingest_options_default(&io);
    io.clock = r->h.options.clock;
    io.inflight_bytes_max = 64u << 20;
    CHECK(ingest_create(&io, r->h.db, &r->in, &err) == TSDB_OK, "ingest: %s", err.msg);
}

static void close_ingest(struct run *r)
{
    ingest_destroy(r->in);
    r->in = NULL;
}

static void op_die(struct run *r, bool cut)
{
    close_ingest(r);
    hx_die(&r->h, cut);
    if (cut) {
        forget_unsafe(r);
    }
    open_all(r);
}

static void op_close(struct run *r)
{
    struct tsdb_error err = {0};
    close_ingest(r);
    CHECK(hx_close(&r->h, &err) == TSDB_OK, "close: %s", err.msg);
    all_safe(r);
    open_all(r);
}

static void op(struct run *r)
{
    struct tsdb *db = r->h.db;
    int64_t now_ns = r->h.clock.mono_ns;
    switch (take(r, 16)) {
    case 0:
        op_raw(r);
        break;
    case 1:
        tsdb_seal_step(db, now_ns);
        break;
    case 2:
        tsdb_flush_step(db, now_ns);
        break;
    case 3:
        CHECK(tsdb_flush(db, NULL) == TSDB_OK, "flush");
        break;
    case 4:
        tsdb_compact_step(db, now_ns);
        break;
    case 5:
        CHECK(tsdb_checkpoint(db, NULL) == TSDB_OK, "checkpoint");
        all_safe(r);
        break;
    case 6:
        tsdb_retention_step(db, now_ns);
        break;
    case 7:
        op_die(r, false);
        break;
    case 8:
        op_die(r, true);
        break;
    case 9:
        op_close(r);
        break;
    case 10:
        tsdb_clock_sim_advance(&r->h.clock, (int64_t)take(r, 256) * 250);
        break;
    default:
        op_write(r);
        break;
    }
    look(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct run *r = calloc(1, sizeof *r);
    CHECK(r, "no memory");
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    r->p = data;
    r->end = data + len;
    hx_init(&r->h, 1);
    struct tsdb_options *o = &r->h.options;
    o->owner_count = 1 + take(r, 3);
    o->block_range_ms = 2000 + (int64_t)take(r, 8) * 2000;
    o->head_file_bytes_max = UINT64_C(1) << (8 + take(r, 6));
    o->checkpoint_wal_bytes = UINT64_C(1) << (12 + take(r, 4));
    o->cache_l1_bytes = UINT64_C(1) << (12 + take(r, 8));
    o->exemplars_max = 20;
    open_all(r);
    for (uint32_t i = 0; i < OPS_MAX && r->p < r->end; i++) {
        op(r);
    }
    op_die(r, false);
    look(r);
    close_ingest(r);
    hx_deinit(&r->h);
    free(r);
    return 0;
}
