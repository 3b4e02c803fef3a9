/* The owner's step over a real log on a simulated disk. What the log holds is decoded by hand into
 * second heads: replay must end with exactly what the first ones hold. */
#include "tests/support/test.h"

#include "base/random.h"
#include "tests/unit/tsdb/builder.h"
#include "tsdb/engine/owner.h"
#include "tsdb/head/head_private.h"
#include "wal/record.h"

#define NOW_MS INT64_C(1700000000000)

struct fixture {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_clock_sim clock_sim;
    struct tsdb_options options;
    struct tsdb_hash_key key;
    struct tsdb_epoch *epoch;
    struct alias_table *aliases;
    struct partition partitions[TSDB_PARTITIONS];
    struct owner *owner;
    struct wal *wal;
    _Atomic(uint64_t) series_total;
    struct builder b;
    /* replay */
    struct head_partition *replayed[TSDB_PARTITIONS];
    uint64_t last_log_seq[TSDB_PARTITIONS];
    uint64_t samples_decoded, frames, duplicates_decoded;
    struct tsdb_arena arena;
};

static void open_wal(struct fixture *f, uint32_t ring_slots, uint64_t epoch_bytes)
{
    struct wal_options o = {.fs = &f->fs,
                            .dir = "wal",
                            .clock = tsdb_clock_sim_table(&f->clock_sim),
                            .owner_count = 1,
                            .ring_slots = ring_slots,
                            .segment_bytes = 1u << 20,
                            .epoch_bytes = epoch_bytes,
                            .flush_interval_ms = 100,
                            .flush_samples = 1000000,
                            .unsynced_bytes_max = 64u << 20,
                            .segment_first = 1};
    struct tsdb_error err = {0};
    assert_ok_err(wal_open(&o, &f->wal, &err), &err);
    f->owner->wal = f->wal;
}

static void fixture_open(struct fixture *f, uint32_t ring_slots, uint64_t epoch_bytes)
{
    static const uint8_t seed[TSDB_HASH_SEED_BYTES] = {1, 2, 3};
    memset(f, 0, sizeof *f);
    f->clock_sim = (struct tsdb_clock_sim){.wall_ms = NOW_MS, .mono_ns = 1000};
    tsdb_hash_key_init(&f->key, seed);
    assert_ok(tsdb_fs_sim_create(1, &f->sim, &f->fs));
    assert_ok(tsdb_epoch_create(8, &f->epoch));
    assert_ok(alias_table_create(f->epoch, 1u << 20, &f->aliases));
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        assert_ok(head_partition_create(i, f->epoch, 16, &f->partitions[i].head));
        assert_ok(head_partition_create(i, f->epoch, 16, &f->replayed[i]));
    }
    f->owner = aligned_alloc(TSDB_CACHELINE, sizeof *f->owner);
    assert_non_null(f->owner);
    memset(f->owner, 0, sizeof *f->owner);
    assert_ok(tsdb_ring_init(&f->owner->ring, 64));
    f->options.durability = TSDB_DURABILITY_BUFFERED;
    f->owner->aliases = f->aliases;
    f->owner->partitions = f->partitions;
    f->owner->partition_end = TSDB_PARTITIONS;
    f->owner->options = &f->options;
    f->owner->clock = tsdb_clock_sim_table(&f->clock_sim);
    f->owner->series_total = &f->series_total;
    open_wal(f, ring_slots, epoch_bytes);
    f->b.epoch = f->epoch;
    f->b.aliases = f->aliases;
    f->b.key = &f->key;
    f->b.durability = TSDB_DURABILITY_BUFFERED;
    builder_reset(&f->b);
    tsdb_arena_init(&f->arena, TSDB_MEM_QUERY, 1u << 16, NULL);
}

static void fixture_close(struct fixture *f)
{
    tsdb_alloc_ops_set(NULL);
    builder_reset(&f->b);
    tsdb_arena_deinit(&f->arena);
    if (f->wal) {
        (void)wal_close(f->wal, NULL);
    }
    tsdb_ring_deinit(&f->owner->ring);
    for (uint32_t i = 0; i < TSDB_PARTITIONS; i++) {
        head_partition_destroy(f->partitions[i].head);
        head_partition_destroy(f->replayed[i]);
    }
    alias_table_destroy(f->aliases);
    tsdb_epoch_destroy(f->epoch);
    tsdb_fs_sim_destroy(f->sim);
    free(f->owner);
}

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    assert_non_null(f);
    fixture_open(f, 64, 1u << 19);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_close(*state);
    free(*state);
    return 0;
}

/* Labels of the i-th series, valid until the next call with the same slot. */
static struct tsdb_labels labels_of(uint32_t i)
{
    static char names[8192][16];
    static struct tsdb_label items[8192][2];
    assert_true(i < 8192);
    snprintf(names[i], sizeof names[i], "v%u", i);
    items[i][0] = tsdb_label_make(TSDB_METRIC_NAME, "metric");
    items[i][1] = tsdb_label_make("instance", names[i]);
    return (struct tsdb_labels){items[i], 2};
}

static void add(struct fixture *f, uint32_t series, int64_t t, uint64_t bits)
{
    struct tsdb_labels l = labels_of(series);
    builder_add_float(&f->b, &l, t, bits);
}

static void publish(struct fixture *f)
{
    builder_finish(&f->b);
    for (uint32_t i = 0; i < f->b.write.batch_count; i++) {
        assert_true(tsdb_ring_reserve(&f->owner->ring, 1));
        tsdb_ring_publish(&f->owner->ring, &f->b.write.batches[i]);
    }
}

/* Apply, write the log, and give the sum of the results. */
static enum tsdb_status commit(struct fixture *f, struct tsdb_write_result *out)
{
    publish(f);
    owner_step(f->owner, 0);
    wal_write_step(f->wal, f->clock_sim.mono_ns);
    wal_sync_step(f->wal, f->clock_sim.mono_ns);
    assert_int_equal(f->b.done, 1);
    tsdb_write_result_sum(&f->b.write, out);
    enum tsdb_status status = (enum tsdb_status)atomic_load(&f->b.write.status);
    builder_reset(&f->b);
    return status;
}

/* ---- replay by hand ---- */

static void replay_series(struct fixture *f, uint32_t p, struct wal_decoder *d)
{
    uint32_t local = 0;
    struct tsdb_buf bytes;
    tsdb_buf_init(&bytes, TSDB_MEM_OTHER, 0);
    while (wal_decode_series(d, &bytes, &local)) {
        struct tsdb_label items[8];
        struct tsdb_labels labels = {items, 0};
        assert_ok(tsdb_labels_decode(bytes.data, bytes.len, items, 8, &labels.count, NULL));
        uint32_t got = 0;
        bool created = false;
        assert_ok(head_ids_skip(f->replayed[p], local)); /* memory mode: never logged */
        assert_ok(head_series_find_or_create(
            f->replayed[p], &labels, tsdb_labels_hash(&f->key, &labels), &got, &created, NULL));
        assert_int_equal(got, local);
    }
    tsdb_buf_deinit(&bytes);
    assert_false(d->failed);
}

static void replay_samples(struct fixture *f, uint32_t p, uint64_t epoch, struct wal_decoder *d)
{
    struct wal_sample s;
    struct head_partition *head = f->replayed[p];
    while (wal_decode_sample(d, &s)) {
        assert_true(s.local < index_mem_series_count(head_index(head)));
        struct tsdb_raw_histogram raw = {(uint32_t)s.raw.len, s.raw.data};
        uint64_t value = (uint64_t)(uintptr_t)&raw;
        if (s.kind == TSDB_SAMPLE_FLOAT) {
            uint64_t base = 0;
            bool has_base = head_wal_base(head, s.local, epoch, &base);
            assert_true(has_base || !s.needs_base);
            value = s.needs_base ? wal_sample_unpack(&s, base) : s.bits;
        }
        enum head_append_outcome outcome =
            head_append(head, s.local, s.t_ms, s.start_ms, s.kind, value);
        f->duplicates_decoded += outcome == HEAD_DUPLICATE_SAME;
        assert_true(outcome == HEAD_APPENDED || outcome == HEAD_APPENDED_OUT_OF_ORDER ||
                    outcome == HEAD_DUPLICATE_SAME);
        if (s.kind == TSDB_SAMPLE_FLOAT) {
            (void)head_wal_logged(head, s.local, epoch, value);
        }
        f->samples_decoded++;
    }
    assert_false(d->failed);
}

static void replay_exemplars(struct fixture *f, uint32_t p, struct wal_decoder *d)
{
    struct tsdb_label items[8];
    struct tsdb_exemplar x;
    uint32_t local;
    while (wal_decode_exemplar(d, &local, items, 8, &x)) {
        assert_ok(head_exemplar_append(f->replayed[p], local, &x));
    }
    assert_false(d->failed);
}

static void replay_frame(struct fixture *f, const struct wal_frame *frame)
{
    struct wal_frame_head head;
    struct wal_decoder d;
    struct tsdb_error err = {0};
    assert_ok_err(wal_decode_head(frame->payload, frame->len, frame->time_ms, &head, &d, &err),
                  &err);
    assert_int_equal(head.log_seq, f->last_log_seq[frame->partition] + 1);
    f->last_log_seq[frame->partition] = head.log_seq;
    f->frames++;
    switch (frame->type) {
    case WAL_RECORD_SERIES:
        replay_series(f, frame->partition, &d);
        break;
    case WAL_RECORD_SAMPLES:
        replay_samples(f, frame->partition, head.epoch, &d);
        break;
    case WAL_RECORD_EXEMPLARS:
        replay_exemplars(f, frame->partition, &d);
        break;
    default:
        fail_msg("frame of type %u", frame->type);
    }
}

/* Closes the log and reads it whole. */
static void replay(struct fixture *f)
{
    struct tsdb_error err = {0};
    assert_ok_err(wal_close(f->wal, &err), &err);
    f->wal = NULL;
    struct wal_replay_options o = {.fs = &f->fs, .dir = "wal", .segment_from = 0};
    struct wal_replay *r = NULL;
    assert_ok_err(wal_replay_open(&o, &r, &err), &err);
    struct wal_segment_view view;
    enum tsdb_status status;
    while ((status = wal_replay_segment(r, &view, &err)) == TSDB_OK) {
        for (uint32_t i = 0; i < view.frame_count; i++) {
            replay_frame(f, &view.frames[i]);
        }
    }
    assert_int_equal(status, TSDB_NOT_FOUND);
    const struct wal_damage *damage;
    assert_int_equal(wal_replay_damage(r, &damage), 0);
    wal_replay_close(r);
}

static void compare_columns(const struct tsdb_columns *a, const struct tsdb_columns *b)
{
    assert_int_equal(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        assert_int_equal(a->t_ms[i], b->t_ms[i]);
        assert_int_equal(a->start_ms ? a->start_ms[i] : 0, b->start_ms ? b->start_ms[i] : 0);
        uint8_t kind = a->kind ? a->kind[i] : TSDB_SAMPLE_FLOAT;
        assert_int_equal(kind, b->kind ? b->kind[i] : TSDB_SAMPLE_FLOAT);
        if (kind == TSDB_SAMPLE_FLOAT) {
            assert_int_equal(a->bits[i], b->bits[i]);
        } else {
            assert_double_bits_equal(a->histograms[a->bits[i]].sum, b->histograms[b->bits[i]].sum);
        }
    }
}

struct exemplar_sum {
    uint64_t count, sum;
};

static bool sum_exemplar(void *arg, uint32_t local, const struct tsdb_exemplar *x)
{
    struct exemplar_sum *s = arg;
    s->count++;
    s->sum += x->bits * 31 + (uint64_t)x->t_ms + local + x->labels.items[0].value_len;
    return true;
}

static void compare_heads(struct fixture *f)
{
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        struct head_partition *a = f->partitions[p].head;
        struct head_partition *b = f->replayed[p];
        uint32_t n = index_mem_series_count(head_index(a));
        assert_int_equal(n, index_mem_series_count(head_index(b)));
        for (uint32_t i = 0; i < n; i++) {
            struct tsdb_columns x = {0};
            struct tsdb_columns y = {0};
            assert_int_equal(index_mem_hash(head_index(a), i), index_mem_hash(head_index(b), i));
            assert_ok(head_read(a, i, TSDB_TIME_ALL, HEAD_VIEW_NONE, &f->arena, &x, NULL));
            assert_ok(head_read(b, i, TSDB_TIME_ALL, HEAD_VIEW_NONE, &f->arena, &y, NULL));
            compare_columns(&x, &y);
            tsdb_arena_reset(&f->arena);
        }
        struct exemplar_sum ea = {0};
        struct exemplar_sum eb = {0};
        head_exemplars(a, sum_exemplar, &ea);
        head_exemplars(b, sum_exemplar, &eb);
        assert_int_equal(ea.count, eb.count);
        assert_int_equal(ea.sum, eb.sum);
        assert_int_equal(f->last_log_seq[p], f->partitions[p].log_seq);
        struct tsdb_error err = {0};
        assert_ok_err(head_validate(a, &err), &err);
    }
}

static uint32_t make_histogram(double sum, uint8_t *out, size_t cap)
{
    struct tsdb_span span = {0, 2};
    int64_t deltas[2] = {1, 2};
    struct tsdb_histogram h = {.sum = sum,
                               .count_int = 4,
                               .positive_span_count = 1,
                               .positive_bucket_count = 2,
                               .positive_spans = &span,
                               .positive_deltas = deltas};
    assert_true(tsdb_histogram_encoded_bytes_max(&h) <= cap);
    return (uint32_t)tsdb_histogram_encode(&h, out);
}

/* ---- tests ---- */

static void owner_step__new_series_with_several_samples__is_created_once(void **state)
{
    struct fixture *f = *state;
    struct tsdb_write_result r;
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t s = 0; s < 100; s++) {
            for (uint32_t i = 0; i < 3; i++) {
                add(f, s, NOW_MS + round * 10 + i, s * 100 + i);
            }
        }
        assert_int_equal(f->b.build.new_count, round == 0 ? 100 : 0);
        assert_int_equal(commit(f, &r), TSDB_OK);
        assert_int_equal(r.samples_written, 300);
        assert_int_equal(r.first_reason, TSDB_REJECT_NONE);
    }
    assert_int_equal(atomic_load(&f->series_total), 100);
    assert_int_equal(alias_count(f->aliases), 100);
    replay(f);
    assert_int_equal(f->samples_decoded, 900);
    compare_heads(f);
}

static void owner_step__out_of_bounds__is_refused_and_creates_no_series(void **state)
{
    struct fixture *f = *state;
    struct tsdb_write_result r;
    f->options.retention_ms = 1000;
    add(f, 1, NOW_MS - 1001, 1);
    add(f, 2, NOW_MS + TSDB_FUTURE_MS_MAX + 1, 1);
    assert_int_equal(commit(f, &r), TSDB_OK);
    assert_int_equal(r.rejected[TSDB_REJECT_TOO_OLD], 1);
    assert_int_equal(r.rejected[TSDB_REJECT_TOO_NEW], 1);
    assert_int_equal(r.samples_written, 0);
    assert_int_equal(r.first_rejected, 0);
    assert_int_equal(atomic_load(&f->series_total), 0);
    add(f, 1, NOW_MS - 1000, 1);
    add(f, 2, NOW_MS + TSDB_FUTURE_MS_MAX, 1);
    assert_int_equal(commit(f, &r), TSDB_OK);
    assert_int_equal(r.samples_written, 2);
    f->options.retention_ms = 0;
    add(f, 1, INT64_MIN, 1);
    assert_int_equal(commit(f, &r), TSDB_OK);
    assert_int_equal(r.samples_written, 1);
    replay(f);
    compare_heads(f);
}

static void owner_step__series_limit__known_series_go_on(void **state)
{
    struct fixture *f = *state;
    struct tsdb_write_result r;
    f->options.series_max = 3;
    for (uint32_t s = 0; s < 5; s++) {
        add(f, s, NOW_MS, s);
        add(f, s, NOW_MS + 1, s);
    }
    assert_int_equal(commit(f, &r), TSDB_OK);
    assert_int_equal(r.samples_written, 6);
    assert_int_equal(r.rejected[TSDB_REJECT_SERIES_LIMIT], 4);
    assert_int_equal(r.first_reason, TSDB_REJECT_SERIES_LIMIT);
    assert_int_equal(atomic_load(&f->series_total), 3);
    for (uint32_t s = 0; s < 5; s++) {
        add(f, s, NOW_MS + 2, s);
    }
    assert_int_equal(commit(f, &r), TSDB_OK);
    assert_int_equal(r.samples_written, 3);
    assert_int_equal(r.rejected[TSDB_REJECT_SERIES_LIMIT], 2);
    replay(f);
    compare_heads(f);
}

static void owner_step__alias_lost__finds_the_series_by_its_labels(void **state)
{
    struct fixture *f = *state;
    struct tsdb_write_result r;
    add(f, 7, NOW_MS, 1);
    assert_int_equal(commit(f, &r), TSDB_OK);
    struct alias_table *full = f->aliases;
    assert_ok(alias_table_create(f->epoch, 100, &f->aliases));
    alias_table_destroy(full);
    f->owner->aliases = f->aliases;
    f->b.aliases = f->aliases;
    f->options.series_max = 1; /* finding needs no room */
    add(f, 7, NOW_MS + 1, 2);
    assert_int_equal(f->b.build.new_count, 1);
    assert_int_equal(commit(f, &r), TSDB_OK);
    assert_int_equal(r.samples_written, 1);
    assert_int_equal(alias_count(f->aliases), 1);
    assert_int_equal(atomic_load(&f->series_total), 1);
    replay(f);
    compare_heads(f);
}

static void owner_step__duplicates__pass_unlogged_and_conflicts_are_refused(void **state)
{
    struct fixture *f = *state;
    struct tsdb_write_result r;
    add(f, 1, NOW_MS, 5);
    add(f, 1, NOW_MS, 5);
    add(f, 1, NOW_MS, 6);
    assert_int_equal(commit(f, &r), TSDB_OK);
    assert_int_equal(r.samples_written, 2);
    assert_int_equal(r.rejected[TSDB_REJECT_DUPLICATE], 1);
    assert_int_equal(r.first_rejected, 2);
    replay(f);
    assert_int_equal(f->samples_decoded, 1);
    compare_heads(f);
}

/* The first write's samples are in memory and not in the log yet: the second write, the same
 * again, must not be answered before they are. */
static void owner_step__only_duplicates__are_answered_after_the_log(void **state)
{
    struct fixture *f = *state;
    struct builder *second = calloc(1, sizeof *second);
    assert_non_null(second);
    *second = (struct builder){.epoch = f->epoch,
                               .aliases = f->aliases,
                               .key = &f->key,
                               .durability = TSDB_DURABILITY_STRICT};
    builder_reset(second);
    add(f, 1, NOW_MS, 5);
    publish(f);
    assert_int_equal(owner_step(f->owner, 0), 1);
    struct tsdb_labels l = labels_of(1);
    builder_add_float(second, &l, NOW_MS, 5);
    builder_finish(second);
    assert_true(tsdb_ring_reserve(&f->owner->ring, 1));
    tsdb_ring_publish(&f->owner->ring, &second->write.batches[0]);
    assert_int_equal(owner_step(f->owner, 0), 1);
    assert_int_equal(f->b.done, 0);
    assert_int_equal(second->done, 0);
    wal_write_step(f->wal, f->clock_sim.mono_ns);
    assert_int_equal(f->b.done, 1);
    assert_int_equal(second->done, 0); /* strict waits for the sync */
    wal_sync_step(f->wal, f->clock_sim.mono_ns);
    assert_int_equal(second->done, 1);
    struct tsdb_write_result r;
    tsdb_write_result_sum(&second->write, &r);
    assert_int_equal(r.samples_written, 1);
    builder_reset(second);
    free(second);
    replay(f);
    assert_int_equal(f->samples_decoded, 1);
    compare_heads(f);
}

static void owner_step__all_refused__completes_without_the_log(void **state)
{
    struct fixture *f = *state;
    add(f, 1, NOW_MS + TSDB_FUTURE_MS_MAX + 1, 5);
    publish(f);
    assert_int_equal(owner_step(f->owner, 0), 1);
    assert_int_equal(f->b.done, 1);
    /* Its credit came back. */
    assert_true(tsdb_ring_reserve(wal_ring(f->wal, 0), 64));
    tsdb_ring_release(wal_ring(f->wal, 0), 64);
}

static void owner_step__stale_generation__is_counted_and_not_applied(void **state)
{
    struct fixture *f = *state;
    struct tsdb_write_result r;
    add(f, 1, NOW_MS, 5);
    assert_int_equal(commit(f, &r), TSDB_OK);
    add(f, 1, NOW_MS + 1, 6);
    f->b.build.entries[0].generation++;
    assert_int_equal(commit(f, &r), TSDB_OK);
    assert_int_equal(r.stale_refs, 1);
    assert_int_equal(r.samples_written, 0);
    replay(f);
    assert_int_equal(f->samples_decoded, 1);
    compare_heads(f);
}

static void owner_step__late_between_newest_ones__log_gives_all_back(void **state)
{
    struct fixture *f = *state;
    struct tsdb_write_result result;
    static const double values[] = {0.25, 123.456789, 0.5, 123.456788, 1e300, 0.75};
    static const int64_t times[] = {-100, -90, -95, -94, -80, -85};
    for (uint32_t i = 0; i < TSDB_ARRAY_LEN(values); i++) {
        add(f, 0, NOW_MS + times[i], tsdb_double_bits(values[i]));
        assert_ok(commit(f, &result));
        assert_int_equal(result.samples_written, 1);
    }
    replay(f);
    assert_int_equal(f->samples_decoded, TSDB_ARRAY_LEN(values));
    compare_heads(f);
}

static void owner_step__no_credit_at_the_log__keeps_the_batch_for_later(void **state)
{
    (void)state;
    struct fixture *f = malloc(sizeof *f);
    assert_non_null(f);
    fixture_open(f, 2, 1u << 19);
    struct builder *more = calloc(3, sizeof *more);
    assert_non_null(more);
    for (uint32_t i = 0; i < 3; i++) {
        more[i] = (struct builder){.epoch = f->epoch,
                                   .aliases = f->aliases,
                                   .key = &f->key,
                                   .durability = TSDB_DURABILITY_BUFFERED};
        builder_reset(&more[i]);
        struct tsdb_labels l = labels_of(i);
        builder_add_float(&more[i], &l, NOW_MS, i);
        builder_finish(&more[i]);
        assert_true(tsdb_ring_reserve(&f->owner->ring, 1));
        tsdb_ring_publish(&f->owner->ring, &more[i].write.batches[0]);
    }
    assert_int_equal(owner_step(f->owner, 0), 2);
    assert_int_equal(f->owner->backlog_count, 1);
    assert_int_equal(owner_step(f->owner, 0), 0);
    assert_int_equal(atomic_load(&f->series_total), 2); /* not touched */
    assert_int_equal(wal_write_step(f->wal, 0), 2);
    assert_int_equal(owner_step(f->owner, 0), 1);
    wal_write_step(f->wal, 0);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(more[i].done, 1);
        builder_reset(&more[i]);
    }
    free(more);
    replay(f);
    compare_heads(f);
    fixture_close(f);
    free(f);
}

static void owner_step__log_without_a_segment__applies_nothing(void **state)
{
    struct fixture *f = *state;
    struct tsdb_write_result r;
    tsdb_fs_sim_fault(f->sim, TSDB_FAULT_EIO, 1, 1000000);
    add(f, 1, NOW_MS, 5);
    publish(f);
    owner_step(f->owner, 0);
    for (uint32_t i = 0; i < 10 && f->b.done == 0; i++) {
        wal_write_step(f->wal, 0);
        wal_sync_step(f->wal, 0);
    }
    assert_int_equal(f->b.done, 1);
    assert_int_equal(atomic_load(&f->b.write.status), TSDB_BUSY);
    assert_int_equal(wal_state(f->wal, NULL), WAL_RETRYING);
    builder_reset(&f->b);
    add(f, 2, NOW_MS, 5);
    publish(f);
    assert_int_equal(owner_step(f->owner, 0), 1);
    assert_int_equal(f->b.done, 1);
    assert_int_equal(atomic_load(&f->b.write.status), TSDB_BUSY);
    tsdb_write_result_sum(&f->b.write, &r);
    assert_int_equal(r.samples_written, 0);
    assert_int_equal(atomic_load(&f->series_total), 1);
    tsdb_fs_sim_fault(f->sim, TSDB_FAULT_NONE, 0, 0);
}

static void owner_step__mark__starts_a_new_epoch_and_records_sequences(void **state)
{
    struct fixture *f = *state;
    struct tsdb_write_result r;
    for (uint32_t s = 0; s < 20; s++) {
        add(f, s, NOW_MS, 1000 + s);
    }
    assert_int_equal(commit(f, &r), TSDB_OK);
    uint64_t before[TSDB_PARTITIONS];
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        before[p] = f->partitions[p].epoch;
    }
    owner_job_request(f->owner, OWNER_JOB_MARK, 0);
    assert_false(owner_job_done(f->owner, OWNER_JOB_MARK, NULL));
    owner_step(f->owner, 0);
    assert_true(owner_job_done(f->owner, OWNER_JOB_MARK, NULL));
    for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
        assert_int_equal(f->partitions[p].epoch, before[p] + 1);
        assert_int_equal(f->owner->marks[p].epoch, before[p] + 1);
        assert_int_equal(f->owner->marks[p].log_seq, f->partitions[p].log_seq);
        assert_int_equal(f->owner->marks[p].write_seq, atomic_load(&f->partitions[p].write_seq));
    }
    for (uint32_t s = 0; s < 20; s++) {
        add(f, s, NOW_MS + 1, 1000 + s);
    }
    assert_int_equal(commit(f, &r), TSDB_OK);
    replay(f); /* asserts that nothing of the new epoch is packed against the old one */
    compare_heads(f);
}

/* Beside a batch in every step; the figure is what the slices did. */
static void owner_job__many_series__done_in_slices_between_batches(void **state)
{
    struct fixture *f = *state;
    const uint32_t n = 3 * 4096 + 5;
    struct head_partition *head = f->partitions[5].head;
    for (uint32_t i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%u", i);
        struct tsdb_label item = tsdb_label_make("many", name);
        struct tsdb_labels labels = {&item, 1};
        uint32_t local = 0;
        bool created = false;
        assert_ok(head_series_find_or_create(head, &labels, i, &local, &created, NULL));
        assert_int_equal(head_append(head, local, NOW_MS - 1000, 0, TSDB_SAMPLE_FLOAT, i),
                         HEAD_APPENDED);
    }
    const enum owner_job_kind kinds[] = {OWNER_JOB_SEAL, OWNER_JOB_SWEEP, OWNER_JOB_DROP};
    const uint64_t arguments[] = {INT64_MAX, 1, NOW_MS - 500};
    const uint32_t bundles = (n + BUNDLE_SERIES - 1) / BUNDLE_SERIES;
    const uint32_t expected[] = {bundles, 0, bundles};
    int64_t t = NOW_MS;
    for (uint32_t k = 0; k < TSDB_ARRAY_LEN(kinds); k++) {
        uint64_t work = 0;
        uint32_t steps = 0;
        owner_job_request(f->owner, kinds[k], arguments[k]);
        while (!owner_job_done(f->owner, kinds[k], &work)) {
            struct tsdb_write_result r;
            add(f, 1, t++, 7);
            assert_int_equal(commit(f, &r), TSDB_OK);
            assert_int_equal(r.samples_written, 1);
            steps++;
        }
        assert_int_equal(steps, 4);
        /* The batches' own series may be sealed with the rest. */
        assert_in_range(work, expected[k], expected[k] + (k == 0 ? 1 : 0));
        assert_ok(head_validate(head, NULL));
    }
    assert_int_equal(atomic_load(&head_counters(head)->chunks), 0);
}

static void owner_step__memory__is_answered_at_once_and_not_logged(void **state)
{
    struct fixture *f = *state;
    f->options.durability = TSDB_DURABILITY_MEMORY;
    f->b.durability = TSDB_DURABILITY_MEMORY;
    add(f, 1, NOW_MS, 5);
    publish(f);
    assert_int_equal(owner_step(f->owner, 0), 1);
    assert_int_equal(f->b.done, 1);
    assert_int_equal(f->b.write.batches[0].wal_len, 0);
    assert_int_equal(f->b.write.batches[0].result.samples_written, 1);
    replay(f);
    assert_int_equal(f->frames, 0);
}

/* In memory mode a strict write may find series, and even its own samples, that were never logged.
 */
static void owner_step__strict_write_in_memory_mode__logs_all_that_it_acknowledges(void **state)
{
    struct fixture *f = *state;
    struct tsdb_write_result r;
    f->options.durability = TSDB_DURABILITY_MEMORY;
    f->b.durability = TSDB_DURABILITY_MEMORY;
    for (uint32_t s = 0; s < 300; s++) {
        add(f, s, NOW_MS, 5);
    }
    publish(f);
    owner_step(f->owner, 0);
    assert_int_equal(f->b.done, 1);
    builder_reset(&f->b);
    f->b.durability = TSDB_DURABILITY_STRICT;
    for (uint32_t s = 0; s < 300; s++) {
        add(f, s, NOW_MS, 5);
        add(f, s, NOW_MS + 1, 6);
    }
    assert_int_equal(f->b.build.new_count, 0);
    assert_int_equal(commit(f, &r), TSDB_OK);
    assert_int_equal(r.samples_written, 600);
    assert_true(tsdb_ring_reserve(wal_ring(f->wal, 0), 64)); /* all credits are back */
    tsdb_ring_release(wal_ring(f->wal, 0), 64);
    for (uint32_t s = 0; s < 300; s++) { /* the labels go once */
        add(f, s, NOW_MS + 2, 5);
    }
    assert_int_equal(commit(f, &r), TSDB_OK);
    replay(f);
    assert_int_equal(f->samples_decoded, 900);
    compare_heads(f);
}

static void owner_step__exemplars__follow_their_series(void **state)
{
    struct fixture *f = *state;
    struct tsdb_write_result r;
    for (uint32_t s = 0; s < 20; s++) {
        struct tsdb_labels l = labels_of(s);
        add(f, s, NOW_MS, 5);
        builder_add_exemplar(&f->b, &l, s % 2 ? NOW_MS : 0, s);
    }
    struct tsdb_labels stranger = labels_of(1000);
    builder_add_exemplar(&f->b, &stranger, NOW_MS, 1);
    assert_int_equal(commit(f, &r), TSDB_OK);
    assert_int_equal(r.exemplars_written, 20);
    assert_int_equal(r.rejected[TSDB_REJECT_EXEMPLAR], 1);
    assert_int_equal(atomic_load(&f->series_total), 20);
    struct tsdb_labels l = labels_of(3);
    builder_add_exemplar(&f->b, &l, NOW_MS + 1, 9); /* without a sample */
    builder_add_exemplar(&f->b, &l, NOW_MS - 1, 9); /* too late */
    assert_int_equal(commit(f, &r), TSDB_OK);
    assert_int_equal(r.exemplars_written, 1);
    assert_int_equal(r.rejected[TSDB_REJECT_EXEMPLAR], 1);
    replay(f);
    compare_heads(f);
}

/* Whatever fails: what is in memory is in the log, and the same write again ends with all there. */
static void owner_step__nth_allocation_fails__memory_and_log_agree(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t nth = 1; failed; nth += 1 + nth / 40) {
        struct fixture *f = malloc(sizeof *f);
        assert_non_null(f);
        fixture_open(f, 64, 1u << 19);
        struct tsdb_write_result r;
        enum tsdb_status status = TSDB_OK;
        for (uint32_t round = 0; round < 2; round++) {
            for (uint32_t s = 0; s < 40; s++) {
                for (uint32_t i = 0; i < 6; i++) {
                    add(f, s, NOW_MS + (i == 4 ? -5 : (int64_t)i), s + i);
                }
            }
            struct tsdb_labels l = labels_of(1);
            builder_add_exemplar(&f->b, &l, NOW_MS, 9);
            publish(f);
            if (round == 0) {
                tsdb_alloc_fail_nth(nth, 0);
            }
            owner_step(f->owner, 0);
            failed = round == 0 ? tsdb_alloc_fail_count() >= nth : failed;
            tsdb_alloc_ops_set(NULL);
            wal_write_step(f->wal, 0);
            wal_sync_step(f->wal, 0);
            assert_int_equal(f->b.done, 1);
            tsdb_write_result_sum(&f->b.write, &r);
            status = (enum tsdb_status)atomic_load(&f->b.write.status);
            assert_true(status == TSDB_OK || (round == 0 && status == TSDB_NOMEM));
            builder_reset(&f->b);
        }
        assert_int_equal(r.samples_written, 240);
        assert_int_equal(r.exemplars_written, 1);
        replay(f);
        compare_heads(f);
        fixture_close(f);
        free(f);
        assert_true(nth < 5000);
    }
}

/* ---- random writes ---- */

#define RANDOM_MAX 4096u /* samples of one write */

static void add_random(struct fixture *f, struct tsdb_prng *r, int64_t now)
{
    static uint8_t raws[RANDOM_MAX][256];
    static struct tsdb_raw_histogram histograms[RANDOM_MAX];
    uint32_t s = (uint32_t)tsdb_prng_below(r, 200);
    struct tsdb_labels l = labels_of(s);
    int64_t t = tsdb_prng_below(r, 5) == 0 ? now - (int64_t)tsdb_prng_below(r, 500) : now;
    int64_t start = tsdb_prng_below(r, 20) == 0 ? now - 10000 : 0;
    uint64_t bits = tsdb_double_bits((double)tsdb_prng_below(r, 50));
    if (tsdb_prng_below(r, 10) == 0) {
        bits = tsdb_prng_next(r);
    }
    if (tsdb_prng_below(r, 15) == 0) {
        uint32_t i = f->b.build.entry_count;
        assert_true(i < RANDOM_MAX);
        histograms[i].len = make_histogram((double)(bits % 3), raws[i], sizeof raws[i]);
        histograms[i].data = raws[i];
        builder_add(&f->b, &l, t, TSDB_SAMPLE_HISTOGRAM_INT, (uint64_t)(uintptr_t)&histograms[i],
                    start);
    } else {
        builder_add(&f->b, &l, t, TSDB_SAMPLE_FLOAT, bits, start);
    }
}

static void owner_step__random_writes__log_decodes_to_what_memory_holds(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct fixture *f = malloc(sizeof *f);
        assert_non_null(f);
        fixture_open(f, 64, seed % 2 ? 1u << 12 : 1u << 19); /* epochs of a few batches */
        struct tsdb_prng r;
        tsdb_prng_init(&r, seed);
        print_message("seed %u\n", (unsigned)seed);
        uint64_t written = 0;
        uint64_t duplicates = 0;
        for (uint32_t turn = 0; turn < 200; turn++) {
            int64_t now = NOW_MS + turn * 10;
            uint32_t n = 1 + (uint32_t)tsdb_prng_below(&r, 100);
            for (uint32_t i = 0; i < n; i++) {
                add_random(f, &r, now + (int64_t)tsdb_prng_below(&r, 10));
            }
            if (tsdb_prng_below(&r, 20) == 0) {
                owner_job_request(f->owner, OWNER_JOB_MARK, 0);
            }
            struct tsdb_write_result result;
            assert_int_equal(commit(f, &result), TSDB_OK);
            written += result.samples_written + result.histograms_written;
            assert_int_equal(result.samples_written + result.histograms_written +
                                 result.rejected[TSDB_REJECT_DUPLICATE],
                             n);
        }
        for (uint32_t p = 0; p < TSDB_PARTITIONS; p++) {
            duplicates += atomic_load(&head_counters(f->partitions[p].head)->duplicates);
        }
        replay(f);
        assert_int_equal(f->samples_decoded, written - duplicates);
        assert_int_equal(f->duplicates_decoded, 0);
        compare_heads(f);
        fixture_close(f);
        free(f);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    T(owner_step__new_series_with_several_samples__is_created_once),
    T(owner_step__out_of_bounds__is_refused_and_creates_no_series),
    T(owner_step__series_limit__known_series_go_on),
    T(owner_step__alias_lost__finds_the_series_by_its_labels),
    T(owner_step__duplicates__pass_unlogged_and_conflicts_are_refused),
    T(owner_step__only_duplicates__are_answered_after_the_log),
    T(owner_step__all_refused__completes_without_the_log),
    T(owner_step__stale_generation__is_counted_and_not_applied),
    T(owner_step__log_without_a_segment__applies_nothing),
    T(owner_step__mark__starts_a_new_epoch_and_records_sequences),
    T(owner_job__many_series__done_in_slices_between_batches),
    T(owner_step__memory__is_answered_at_once_and_not_logged),
    T(owner_step__strict_write_in_memory_mode__logs_all_that_it_acknowledges),
    T(owner_step__exemplars__follow_their_series),
    T(owner_step__late_between_newest_ones__log_gives_all_back),
    cmocka_unit_test(owner_step__no_credit_at_the_log__keeps_the_batch_for_later),
    cmocka_unit_test(owner_step__nth_allocation_fails__memory_and_log_agree),
    cmocka_unit_test(owner_step__random_writes__log_decodes_to_what_memory_holds),
};

TEST_MAIN(tests)
