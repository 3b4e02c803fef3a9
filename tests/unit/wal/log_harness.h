/* A log over the simulated disk, with numbered batches whose content says who they are.
 *
 * Batch i of owner o is one frame of partition o with log_seq i + 1 and one histogram sample: its
 * raw bytes are a generator's output, so that what replay finds can be compared byte for byte. */
#ifndef TESTS_UNIT_WAL_LOG_HARNESS_H
#define TESTS_UNIT_WAL_LOG_HARNESS_H

#include "base/file.h"
#include "base/log.h"
#include "base/random.h"
#include "base/ring.h"
#include "wal/wal_format.h"
#include "wal/wal_private.h"

#include <stdio.h>
#include <stdlib.h>

#define OWNERS_MAX  4
#define BATCHES_MAX 4096

struct log_batch {
    struct tsdb_write write;
    uint32_t owner, seq, raw_len;
    int done; /* how often it was completed */
    enum tsdb_status status;
    uint64_t order; /* place among the completions */
    uint8_t *bytes;
    struct log_harness *h;
};

struct log_harness {
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    struct tsdb_clock_sim clock;
    struct wal_options options;
    struct wal *wal;
    struct log_batch *batches;
    uint32_t batch_count;
    uint32_t seq[OWNERS_MAX]; /* batches made per owner */
    _Atomic(uint64_t) completions;
};

static inline void log_batch_done(struct tsdb_write *w)
{
    struct log_batch *b = w->done_arg;
    b->done++;
    b->status = (enum tsdb_status)atomic_load(&w->status);
    b->order = atomic_fetch_add(&b->h->completions, 1);
}

static inline void log_raw_fill(uint8_t *out, uint32_t len, uint32_t owner, uint32_t seq)
{
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, (uint64_t)owner << 32 | seq);
    struct tsdb_random random = tsdb_random_seeded(&prng);
    tsdb_random_fill(&random, out, len);
}

/* A harness with a new disk. The options may be changed before log_open. */
static inline void log_init(struct log_harness *h, uint64_t seed)
{
    memset(h, 0, sizeof *h);
    tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
    assert_ok(tsdb_fs_sim_create(seed, &h->sim, &h->fs));
    h->batches = calloc(BATCHES_MAX, sizeof *h->batches);
    assert_non_null(h->batches);
    h->clock.mono_ns = 1000000000;
    h->options = (struct wal_options){
        .fs = &h->fs,
        .dir = "wal",
        .clock = tsdb_clock_sim_table(&h->clock),
        .owner_count = 2,
        .ring_slots = 64,
        .segment_bytes = 4096,
        .epoch_bytes = 1024,
        .flush_interval_ms = 100,
        .flush_samples = 1000000,
        .unsynced_bytes_max = 1 << 20,
        .segment_first = 1,
    };
}

static inline void log_deinit(struct log_harness *h)
{
    struct tsdb_error err;
    (void)!wal_close(h->wal, &err);
    for (uint32_t i = 0; i < h->batch_count; i++) {
        free(h->batches[i].bytes);
    }
    free(h->batches);
    tsdb_fs_sim_destroy(h->sim);
}

static inline void log_open(struct log_harness *h)
{
    struct tsdb_error err;
    assert_ok_err(wal_open(&h->options, &h->wal, &err), &err);
}

static inline struct log_batch *log_batch_make(struct log_harness *h, uint32_t owner,
                                               enum tsdb_durability durability, uint32_t raw_len)
{
    struct log_batch *b = &h->batches[h->batch_count++];
    size_t cap = WAL_FRAME_OVERHEAD_MAX + WAL_SAMPLE_BYTES_MAX + raw_len;
    uint8_t *raw = malloc(raw_len + 1);
    b->h = h;
    b->owner = owner;
    b->seq = h->seq[owner]++;
    b->raw_len = raw_len;
    b->bytes = malloc(cap);
    log_raw_fill(raw, raw_len, owner, b->seq);
    struct wal_encoder e;
    wal_encoder_init(&e, b->bytes, b->bytes + cap);
    wal_group_begin(&e, WAL_RECORD_SAMPLES, owner, 1700000000000, b->seq + 1, b->seq + 1,
                    wal_epoch(h->wal));
    wal_encode_histogram(&e, 7, 1700000000000, 0, TSDB_SAMPLE_HISTOGRAM_INT, raw, raw_len);
    wal_frame_end(&e);
    free(raw);
    b->write.batch_count = 1;
    b->write.done = log_batch_done;
    b->write.done_arg = b;
    atomic_init(&b->write.pending, 1);
    b->write.batches[0] = (struct tsdb_batch){
        .write = &b->write,
        .owner = owner,
        .wal_bytes = b->bytes,
        .wal_cap = (uint32_t)cap,
        .wal_len = (uint32_t)(e.pos - b->bytes),
        .wal_samples = 1,
        .durability = durability,
    };
    return b;
}

static inline struct log_batch *log_submit(struct log_harness *h, uint32_t owner,
                                           enum tsdb_durability durability, uint32_t raw_len)
{
    assert_true(tsdb_ring_reserve(wal_ring(h->wal, owner), 1));
    struct log_batch *b = log_batch_make(h, owner, durability, raw_len);
    wal_submit(h->wal, owner, &b->write.batches[0]);
    return b;
}

static inline size_t log_write(struct log_harness *h)
{
    return wal_write_step(h->wal, h->clock.mono_ns);
}
static inline size_t log_sync(struct log_harness *h)
{
    return wal_sync_step(h->wal, h->clock.mono_ns);
}
/* Until nobody waits for anything. */
static inline void log_settle(struct log_harness *h)
{
    for (int i = 0; i < 64; i++) {
        log_write(h);
        tsdb_clock_sim_advance(&h->clock, 1000);
        log_sync(h);
    }
}

/* What replay found: found[owner][seq], and damage. */
struct log_found {
    uint8_t *found[OWNERS_MAX];
    uint32_t count; /* different batches */
    uint32_t duplicates;
    uint32_t damage_count; /* torn tails not counted */
    uint32_t torn_count;
    uint64_t segment_of_last[OWNERS_MAX];
    uint64_t segment_max;
    struct wal_damage damage_first; /* the first that is no torn tail */
    const char *wrong;              /* NULL, or what replay gave that nobody wrote */
};

static inline void log_found_deinit(struct log_found *f)
{
    for (int i = 0; i < OWNERS_MAX; i++) {
        free(f->found[i]);
    }
}

static inline void log_frame_judge(const struct log_harness *h, const struct wal_frame *frame,
                                   uint64_t segment, struct log_found *f,
                                   uint64_t last_seq[OWNERS_MAX])
{
    struct wal_frame_head head;
    struct wal_decoder d;
    struct wal_sample s;
    struct tsdb_error err;
    if (frame->partition >= OWNERS_MAX ||
        wal_decode_head(frame->payload, frame->len, frame->time_ms, &head, &d, &err) != TSDB_OK ||
        !wal_decode_sample(&d, &s) || d.pos != d.end || d.failed || head.log_seq == 0 ||
        head.log_seq > h->seq[frame->partition]) {
        f->wrong = "a frame that nobody wrote";
        return;
    }
    uint8_t *want = malloc(s.raw.len + 1);
    log_raw_fill(want, (uint32_t)s.raw.len, frame->partition, (uint32_t)head.log_seq - 1);
    if (memcmp(want, s.raw.data, s.raw.len) != 0) {
        f->wrong = "other content";
    }
    free(want);
    uint8_t *found = &f->found[frame->partition][head.log_seq - 1];
    if (*found) {
        f->duplicates++;
        return;
    }
    if (head.log_seq < last_seq[frame->partition]) {
        f->wrong = "frames of one owner out of order";
    }
    last_seq[frame->partition] = head.log_seq;
    f->segment_of_last[frame->partition] = segment;
    f->count++;
    *found = 1;
}

static inline void log_replay_windows(const struct log_harness *h, uint64_t segment_from,
                                      uint32_t window_bytes, struct log_found *f)
{
    struct wal_replay_options options = {
        .fs = &h->fs, .dir = "wal", .segment_from = segment_from, .window_bytes = window_bytes};
    struct wal_replay *r;
    struct tsdb_error err;
    struct wal_segment_view view;
    uint64_t last_seq[OWNERS_MAX] = {0}, min, current;
    memset(f, 0, sizeof *f);
    for (int i = 0; i < OWNERS_MAX; i++) {
        f->found[i] = calloc(BATCHES_MAX, 1);
    }
    assert_ok_err(wal_replay_open(&options, &r, &err), &err);
    enum tsdb_status status;
    while ((status = wal_replay_segment(r, &view, &err)) == TSDB_OK) {
        for (uint32_t i = 0; i < view.frame_count; i++) {
            log_frame_judge(h, &view.frames[i], view.segment, f, last_seq);
        }
    }
    assert_int_equal(status, TSDB_NOT_FOUND);
    const struct wal_damage *damage;
    uint32_t n = wal_replay_damage(r, &damage);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(damage[i].from <= damage[i].to);
        if (damage[i].torn_tail) {
            f->torn_count++;
        } else if (f->damage_count++ == 0) {
            f->damage_first = damage[i];
        }
    }
    wal_replay_progress(r, &min, &f->segment_max, &current);
    wal_replay_close(r);
}

/* Replay the directory from a segment on: as a whole, and in windows, which find the same. */
static inline void log_replay(const struct log_harness *h, uint64_t segment_from,
                              struct log_found *f)
{
    static const uint32_t windows[] = {WAL_REPLAY_WINDOW_MIN, 500, 4096};
    log_replay_windows(h, segment_from, 0, f);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(windows); i++) {
        struct log_found w;
        log_replay_windows(h, segment_from, windows[i], &w);
        for (int o = 0; o < OWNERS_MAX; o++) {
            assert_memory_equal(w.found[o], f->found[o], BATCHES_MAX);
        }
        assert_int_equal(w.count, f->count);
        assert_int_equal(w.duplicates, f->duplicates);
        assert_int_equal(w.torn_count, f->torn_count);
        assert_int_equal(w.damage_count, f->damage_count);
        assert_int_equal(w.damage_first.segment, f->damage_first.segment);
        assert_int_equal(w.damage_first.from, f->damage_first.from);
        assert_int_equal(w.damage_first.to, f->damage_first.to);
        assert_int_equal(w.segment_max, f->segment_max);
        log_found_deinit(&w);
    }
}

/* The process ends without a word: the old log object can do nothing to the disk any more. What
 * un-synced bytes a power cut leaves is the simulated disk's choice; a killed process leaves all
 * that it wrote. */
static inline void log_die(struct log_harness *h, bool power_cut)
{
    struct tsdb_error err;
    tsdb_fs_sim_fault(h->sim, TSDB_FAULT_HALT, 1, 1);
    (void)!wal_close(h->wal, &err);
    h->wal = NULL;
    if (power_cut) {
        tsdb_fs_sim_crash(h->sim);
    } else {
        tsdb_fs_sim_kill(h->sim);
    }
}

#endif
