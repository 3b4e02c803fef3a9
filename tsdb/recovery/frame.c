/* Replay of one partition's frames: recovery.h, invariants 1 to 3. */
#include "base/assert.h"
#include "base/log.h"
#include "tsdb/head/owner_path.h"
#include "tsdb/recovery/recovery_private.h"

#include <string.h>

#define GAPS_LOGGED_MAX 8 /* per partition; the total is logged at the end */
#define MAP_FREE        UINT32_MAX
/* Decoded before the first of them is applied: some hundred nanoseconds ahead. */
#define SAMPLES_A_GROUP 32u
/* Labels of a group of series; those that do not fit are a group of their own. */
#define SERIES_BYTES_A_GROUP 4096u

/* ---- id map ---- */
static uint32_t map_slot(const struct replay_map *m, uint32_t key)
{
    uint32_t i = (key * 2654435761u) & (m->cap - 1);
    while (m->entries[i].key != MAP_FREE && m->entries[i].key != key) {
        i = (i + 1) & (m->cap - 1);
    }
    return i;
}

uint32_t replay_map_find(const struct replay_map *m, uint32_t key)
{
    if (m->count == 0) {
        return MAP_FREE;
    }
    const struct replay_map_entry *e = &m->entries[map_slot(m, key)];
    return e->key == key ? e->value : MAP_FREE;
}

static enum tsdb_status map_grow(struct replay_map *m)
{
    struct replay_map grown = {.cap = m->cap ? m->cap * 2 : 64, .count = m->count};
    grown.entries = tsdb_mem_alloc(TSDB_MEM_OTHER, grown.cap * sizeof *grown.entries);
    if (!grown.entries) {
        return TSDB_NOMEM;
    }
    memset(grown.entries, 0xff, grown.cap * sizeof *grown.entries);
    for (uint32_t i = 0; i < m->cap; i++) {
        if (m->entries[i].key != MAP_FREE) {
            grown.entries[map_slot(&grown, m->entries[i].key)] = m->entries[i];
        }
    }
    replay_map_deinit(m);
    *m = grown;
    return TSDB_OK;
}

enum tsdb_status replay_map_put(struct replay_map *m, uint32_t key, uint32_t value)
{
    TSDB_ASSERT(key != MAP_FREE);
    if (m->count >= m->cap / 2 && map_grow(m) != TSDB_OK) {
        return TSDB_NOMEM;
    }
    struct replay_map_entry *e = &m->entries[map_slot(m, key)];
    m->count += e->key == MAP_FREE;
    *e = (struct replay_map_entry){key, value};
    return TSDB_OK;
}

void replay_map_deinit(struct replay_map *m)
{
    tsdb_mem_free(TSDB_MEM_OTHER, m->entries, m->cap * sizeof *m->entries);
    *m = (struct replay_map){0};
}

/* ---- doubt ---- */
enum tsdb_status replay_doubt_flip(struct replay_doubt *d, uint32_t local)
{
    uint32_t word = local / 64;
    if (word >= d->words) {
        uint32_t words = TSDB_MAX(word + 1, 2 * d->words);
        uint64_t *bits = tsdb_mem_realloc(TSDB_MEM_OTHER, d->bits, d->words * sizeof *bits,
                                          words * sizeof *bits);
        if (!bits) {
            return TSDB_NOMEM;
        }
        memset(bits + d->words, 0, (words - d->words) * sizeof *bits);
        d->bits = bits;
        d->words = words;
    }
    d->bits[word] ^= UINT64_C(1) << local % 64;
    return TSDB_OK;
}

void replay_doubt_deinit(struct replay_doubt *d)
{
    tsdb_mem_free(TSDB_MEM_OTHER, d->bits, d->words * sizeof *d->bits);
    *d = (struct replay_doubt){.believe = d->believe};
}

/* ---- series ---- */
/* Some of a frame: the bytes of their labels, of which the decoder keeps those of the last one only. */
struct frame_series {
    struct recovery_group group;
    uint32_t bytes_used;
    uint8_t bytes[SERIES_BYTES_A_GROUP];
};

static enum tsdb_status take_one_series(struct replay_partition *p, const struct recovery_series *s)
{
    uint32_t local = s->stored;
    uint32_t mine = 0;
    enum tsdb_status status = recovery_series_take(p->partition->head, s, &mine, &p->err);
    if (status != TSDB_OK || local >= TSDB_SERIES_LOCAL_MAX - 1) {
        return status; /* of an id that cannot be: its samples will be counted as dropped */
    }
    head_labels_logged_set(p->partition->head, mine);
    if (mine == local && local == p->identity) {
        p->identity++;
    } else if ((mine != local || local > p->identity) &&
               replay_map_put(&p->map, local, mine) != TSDB_OK) {
        return tsdb_error_set(&p->err, TSDB_NOMEM, "recovery: no memory for ids");
    }
    if (local < p->identity && !replay_believed(&p->doubt, local) &&
        replay_doubt_flip(&p->doubt, local) != TSDB_OK) {
        return tsdb_error_nomem(&p->err, "ids of series");
    }
    return TSDB_OK;
}

static void take_series(struct replay_partition *p, struct frame_series *f)
{
    for (uint32_t i = 0; p->status == TSDB_OK && i < f->group.count; i++) {
        p->status = take_one_series(p, &f->group.series[i]);
    }
    recovery_group_init(&f->group); /* the bytes go */
    f->bytes_used = 0;
}

/* What are no labels of the partition is passed over: the samples will be counted as dropped. */
static void add_series(struct replay_partition *p, struct frame_series *f, uint32_t local,
                       struct tsdb_slice labels)
{
    struct tsdb_error why;
    bool large = labels.len > sizeof f->bytes;
    if (large || labels.len > sizeof f->bytes - f->bytes_used) {
        take_series(p, f);
    }
    if (!large) {
        memcpy(f->bytes + f->bytes_used, labels.data, labels.len);
        labels.data = f->bytes + f->bytes_used;
        f->bytes_used += (uint32_t)labels.len;
    }
    if (recovery_group_add(&f->group, p, local, labels, &why) == TSDB_LIMIT) {
        take_series(p, f);
        memmove(f->bytes, labels.data, labels.len);
        labels.data = f->bytes;
        f->bytes_used = (uint32_t)labels.len;
        (void)!recovery_group_add(&f->group, p, local, labels, &why);
    }
    if (large) {
        take_series(p, f); /* they borrow from the decoder's */
    }
}

static void apply_series(struct replay_partition *p, struct wal_decoder *d)
{
    uint32_t local;
    struct tsdb_buf labels;
    struct frame_series f;
    recovery_group_init(&f.group);
    f.bytes_used = 0;
    tsdb_buf_init(&labels, TSDB_MEM_WAL, 0);
    while (p->status == TSDB_OK && wal_decode_series(d, &labels, &local)) {
        add_series(p, &f, local, (struct tsdb_slice){labels.data, labels.len});
    }
    take_series(p, &f);
    if (labels.failed) {
        p->status = tsdb_error_nomem(&p->err, "labels of the log");
    }
    tsdb_buf_deinit(&labels);
}

uint32_t replay_local(const struct replay_partition *p, uint32_t local)
{
    if (local < p->identity && !replay_believed(&p->doubt, local)) {
        return MAP_FREE;
    }
    uint32_t mapped = replay_map_find(&p->map, local);
    if (mapped != MAP_FREE || local >= p->identity) {
        return mapped;
    }
    const struct head_partition *head = p->partition->head;
    return local < head_series_count(head) && head_generation(head, local) != HEAD_GENERATION_GONE
               ? local
               : MAP_FREE;
}

/* ---- samples ---- */
/* Of a group of the log, for the head's counters. */
struct counted {
    uint64_t samples;
    int64_t min_ms, max_ms;
};

/* Nothing moved and nothing is in doubt: an id below `identity` is the head's. */
static bool ids_are_plain(const struct replay_partition *p)
{
    return p->map.count == 0 && p->doubt.words == 0 && p->doubt.believe;
}

/* A plain float of such a series, newer than all of it; false: nothing is changed. */
static bool apply_plain(struct replay_partition *p, struct head_front *front,
                        const struct wal_sample *s, struct counted *c)
{
    if (s->kind != TSDB_SAMPLE_FLOAT || s->start_ms != 0 ||
        s->local >= TSDB_MIN(p->identity, front->series_count)) {
        return false;
    }
    struct head_series *series = head_front_series(front, s->local);
    uint32_t epoch = (uint32_t)p->decode_epoch;
    if (series->generation == HEAD_GENERATION_GONE ||
        (s->needs_base && series->wal_epoch != epoch)) {
        return false;
    }
    uint64_t bits = wal_sample_unpack(s, head_last_bits(series));
    struct value_packed packed;
    if (!head_append_fast(front, series, s->local, s->t_ms, bits, &packed)) {
        return false;
    }
    series->wal_epoch = epoch; /* bits are the newest now */
    c->samples++;
    c->min_ms = TSDB_MIN(c->min_ms, s->t_ms);
    c->max_ms = TSDB_MAX(c->max_ms, s->t_ms);
    return true;
}

/* The last float of the series that this epoch of the log has. */
static bool base_find(const struct replay_partition *p, uint32_t local, uint64_t *out_bits)
{
    if (head_wal_base(p->partition->head, local, p->decode_epoch, out_bits)) {
        return true;
    }
    uint32_t at = replay_map_find(&p->apart.at, local);
    if (at == MAP_FREE || p->apart.bases[at].decode_epoch != p->decode_epoch) {
        return false;
    }
    *out_bits = p->apart.bases[at].bits;
    return true;
}

/* The place of a series' base among those apart; NULL: no memory. */
static struct replay_base *apart_place(struct replay_apart *a, uint32_t local)
{
    uint32_t at = replay_map_find(&a->at, local);
    if (at != MAP_FREE) {
        return &a->bases[at];
    }
    at = a->at.count;
    if (at == a->cap) {
        uint32_t cap = TSDB_MAX(16u, 2 * a->cap);
        struct replay_base *grown =
            tsdb_mem_realloc(TSDB_MEM_OTHER, a->bases, a->cap * sizeof *grown, cap * sizeof *grown);
        if (!grown) {
            return NULL;
        }
        a->bases = grown;
        a->cap = cap;
    }
    return replay_map_put(&a->at, local, at) == TSDB_OK ? &a->bases[at] : NULL;
}

static void apart_deinit(struct replay_apart *a)
{
    replay_map_deinit(&a->at);
    tsdb_mem_free(TSDB_MEM_OTHER, a->bases, a->cap * sizeof *a->bases);
    *a = (struct replay_apart){0};
}

/* A float of the log was applied: it is the base of the next one, be it the newest of its series or not. */
static enum tsdb_status base_set(struct replay_partition *p, uint32_t local, uint64_t bits)
{
    if (head_wal_logged(p->partition->head, local, p->decode_epoch, bits)) {
        return TSDB_OK;
    }
    struct replay_base *place = apart_place(&p->apart, local);
    if (!place) {
        return TSDB_NOMEM;
    }
    *place = (struct replay_base){p->decode_epoch, bits};
    return TSDB_OK;
}

static TSDB_NOINLINE void apply_sample(struct replay_partition *p, const struct wal_sample *s)
{
    struct head_partition *head = p->partition->head;
    uint32_t local = replay_local(p, s->local);
    uint64_t base = 0, bits = s->bits;
    if (local == MAP_FREE && s->local < p->identity && replay_believed(&p->doubt, s->local)) {
        return; /* its series has left: blocks have the sample, or it was dropped */
    }
    if (local == MAP_FREE || (s->needs_base && !base_find(p, local, &base))) {
        p->dropped_samples++;
        return;
    }
    struct tsdb_raw_histogram raw = {(uint32_t)s->raw.len, s->raw.data};
    uint64_t value = (uint64_t)(uintptr_t)&raw;
    if (s->kind == TSDB_SAMPLE_FLOAT) {
        bits = s->needs_base ? wal_sample_unpack(s, base) : bits;
        value = bits;
    }
    switch (head_append(head, local, s->t_ms, s->start_ms, s->kind, value)) {
    case HEAD_APPENDED:
    case HEAD_APPENDED_OUT_OF_ORDER:
    case HEAD_DUPLICATE_SAME:
        p->samples++;
        break;
    case HEAD_DUPLICATE_CONFLICT:
        p->conflicts++;
        break;
    case HEAD_NOMEM:
        p->status = tsdb_error_set(&p->err, TSDB_NOMEM, "recovery: no memory for samples");
        return;
    }
    if (s->kind == TSDB_SAMPLE_FLOAT && base_set(p, local, bits) != TSDB_OK) {
        p->status = tsdb_error_set(&p->err, TSDB_NOMEM, "recovery: no memory for bases");
    }
}

/* The next samples of the log, their series on the way to the caches: the hot structs while the group is
 * decoded, then what these point to. */
static uint32_t decode_group(const struct head_front *front, struct wal_decoder *d,
                             struct wal_sample group[SAMPLES_A_GROUP])
{
    uint32_t n = 0;
    while (n < SAMPLES_A_GROUP && wal_decode_sample(d, &group[n])) {
        if (group[n].local < front->series_count) {
            head_hot_prefetch(head_front_series(front, group[n].local));
        }
        n++;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (group[i].local < front->series_count) {
            head_tail_prefetch(head_front_series(front, group[i].local));
        }
    }
    return n;
}

static void apply_samples(struct replay_partition *p, struct wal_decoder *d)
{
    struct wal_sample group[SAMPLES_A_GROUP];
    struct head_front *front = head_front(p->partition->head);
    struct counted c = {0, INT64_MAX, INT64_MIN};
    bool plain = ids_are_plain(p);
    uint32_t n = SAMPLES_A_GROUP;
    while (p->status == TSDB_OK && n == SAMPLES_A_GROUP) {
        n = decode_group(front, d, group);
        for (uint32_t i = 0; i < n && p->status == TSDB_OK; i++) {
            if (!(plain && apply_plain(p, front, &group[i], &c))) {
                apply_sample(p, &group[i]);
            }
        }
    }
    if (c.samples > 0) {
        p->samples += c.samples;
        head_count(&front->counters.samples, c.samples);
        head_count_times(&front->counters, c.min_ms, c.max_ms);
    }
}

static void apply_exemplars(struct replay_partition *p, struct wal_decoder *d)
{
    struct tsdb_label items[TSDB_LABELS_MAX];
    struct tsdb_exemplar x;
    uint32_t local;
    while (p->status == TSDB_OK && wal_decode_exemplar(d, &local, items, TSDB_LABELS_MAX, &x)) {
        uint32_t mine = replay_local(p, local);
        if (mine != MAP_FREE && head_exemplar_append(p->partition->head, mine, &x) == TSDB_NOMEM) {
            p->status = tsdb_error_set(&p->err, TSDB_NOMEM, "recovery: no memory for exemplars");
        }
    }
}

/* ---- frames ---- */
static void note_gap(struct replay_partition *p, uint64_t segment, uint64_t offset, uint64_t to)
{
    p->lost_frames += to - p->log_seq - 1;
    if (p->gaps++ < GAPS_LOGGED_MAX) {
        tsdb_log(TSDB_LOG_WARN, "recovery", "frames of a partition are missing in the log",
                 TSDB_U("partition", p->id), TSDB_U("from", p->log_seq + 1), TSDB_U("to", to - 1),
                 TSDB_U("segment", segment), TSDB_U("offset", offset));
    }
}

/* Keep bases apart: one generation per epoch of the log, and a new one after a gap. */
static void enter_frame(struct replay_partition *p, uint64_t segment, uint64_t offset,
                        const struct wal_frame_head *head)
{
    bool gap = head->log_seq > p->log_seq + 1;
    if (gap) {
        note_gap(p, segment, offset, head->log_seq);
    }
    if (gap || head->epoch != p->frame_epoch) {
        p->decode_epoch = TSDB_MAX(p->decode_epoch + 1, head->epoch);
    }
    p->frame_epoch = head->epoch;
    p->log_seq = head->log_seq;
    p->write_seq = TSDB_MAX(p->write_seq, head->write_seq);
}

static void note_malformed(struct replay_partition *p, uint64_t segment,
                           const struct wal_frame *frame)
{
    p->lost_frames++;
    p->decode_epoch++; /* what it would have changed is unknown */
    tsdb_log(TSDB_LOG_WARN, "recovery", "a frame of the log has a good crc and makes no sense",
             TSDB_U("partition", p->id), TSDB_U("segment", segment),
             TSDB_U("offset", frame->offset));
}

void replay_frame(struct replay_partition *p, uint64_t segment, const struct wal_frame *frame)
{
    struct wal_frame_head head;
    struct wal_decoder d;
    if (p->status != TSDB_OK) {
        return;
    }
    if (wal_decode_head(frame->payload, frame->len, frame->time_ms, &head, &d, NULL) != TSDB_OK) {
        note_malformed(p, segment, frame);
        return;
    }
    if (head.log_seq <= p->log_seq) {
        return;
    }
    enter_frame(p, segment, frame->offset, &head);
    p->frames++;
    p->bytes += frame->bytes;
    switch (frame->type) {
    case WAL_RECORD_SERIES:
        apply_series(p, &d);
        break;
    case WAL_RECORD_SAMPLES:
        apply_samples(p, &d);
        break;
    case WAL_RECORD_EXEMPLARS:
        apply_exemplars(p, &d);
        break;
    default: /* untrusted: a type of a later version */
        d.failed = true;
        break;
    }
    if (d.failed && p->status == TSDB_OK) {
        note_malformed(p, segment, frame);
    }
}

void replay_partition_init(struct replay_partition *p, uint32_t id, struct partition *partition,
                           const struct tsdb_hash_key *hash_key, const struct checkpoint_info *base)
{
    apart_deinit(&p->apart);
    *p = (struct replay_partition){
        .id = id,
        .map = p->map,
        .doubt = p->doubt,
        .partition = partition,
        .hash_key = hash_key,
        .log_seq = base->marks[id].log_seq,
        .write_seq = base->marks[id].write_seq,
        .frame_epoch = base->marks[id].epoch,
        .decode_epoch = base->marks[id].epoch,
        .identity = base->series[id],
    };
}

void replay_partition_deinit(struct replay_partition *p)
{
    replay_map_deinit(&p->map);
    apart_deinit(&p->apart);
    replay_doubt_deinit(&p->doubt);
}
