/* What a reader sees of a series: pieces, copied out of the guard or merged to columns. */
#include "tsdb/head/head_private.h"

#include "base/assert.h"
#include "compress/sample_stream.h"
#include "tsdb/chunk/pieces.h"

#include <string.h>

/* Was this stream, loaded as the open one, sealed before the list of bundles was loaded? The first
 * bundle that may have it, and those after that, stand at the end of the list. */
static bool is_bundled(const struct head_snapshot *sn, const struct head_tail *open, uint32_t local)
{
    for (uint32_t i = sn->bundle_count; i-- > 0;) {
        const struct head_sealed *c = head_list_at(sn->bundles, i);
        if (c->seq < open->bundle_seq) {
            return false;
        }
        if (head_sealed_has(c, local)) {
            return true;
        }
    }
    return false;
}

/* The same of a block in columns. An in-order chunk of the list that reaches up to the block's first sample is made of it, of a grown copy of it, or of
 * what came after it (retention may have dropped its own). Late blocks are known by their number,
 * because what is sealed is a sorted copy. */
static bool is_sealed(const struct head_snapshot *sn, struct head_tail *open, uint32_t count)
{
    bool late = open->flags & HEAD_TAIL_LATE;
    TSDB_ASSERT(count > 0);
    /* A chunk made of a tail begins where the tail does, and later ones after it. */
    int64_t first_ms = head_tail_first_ms(open);
    for (uint32_t i = sn->list_count; i-- > 0;) {
        const struct head_sealed *c = head_list_at(sn->list, i);
        if (c->late == late && (late ? c->seq >= open->seq : c->max_ms >= first_ms)) {
            return true;
        }
    }
    return false;
}

/* A list as it is now. */
static struct head_list *list_take(_Atomic(struct head_list *) *slot, uint32_t *out_count)
{
    /* Acquire, both: partner is head_list_publish. */
    struct head_list *l = atomic_load_explicit(slot, memory_order_acquire);
    *out_count = l ? atomic_load_explicit(&l->count, memory_order_acquire) : 0;
    return l;
}

#define SNAPSHOT_TRIES 1000u

/* Returns the word of the open tail, as it was first. */
static uint64_t snapshot_try(const struct head_partition *p, uint32_t local,
                             struct head_snapshot *sn)
{
    const struct head_series *s = head_hot(p, local);
    memset(sn, 0, sizeof *sn);
    /* Acquire, all: partners are the releases in tail.c and late.c. The open blocks first, then the
     * lists: what was sealed before an open block came is in the list that is loaded after it. */
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_acquire);
    sn->tail = head_word_tail(word);
    sn->tail_count = head_word_count(word);
    sn->tail_used = head_word_used(word);
    sn->last_ms = head_last_ms(s); /* stored before the word was */
    struct head_side *side = head_side(p, local);
    if (side) {
        sn->ooo = atomic_load_explicit(&side->ooo, memory_order_acquire);
        sn->ooo_count = sn->ooo ? atomic_load_explicit(&sn->ooo->count, memory_order_acquire) : 0;
        sn->list = list_take(&side->chunks, &sn->list_count);
    }
    sn->bundles = list_take(&head_bundle(p, local)->chunks, &sn->bundle_count);
    /* Nearly always it has not changed, and no chunk need be looked at. */
    if (sn->tail && !head_unchanged(s, word) &&
        (head_tail_is_stream(sn->tail) ? is_bundled(sn, sn->tail, local)
                                       : is_sealed(sn, sn->tail, sn->tail_count))) {
        sn->tail = NULL;
    }
    TSDB_ASSERT(!sn->tail || sn->tail_count > 0);
    TSDB_ASSERT(!sn->ooo || sn->ooo_count > 0);
    if (sn->ooo && is_sealed(sn, sn->ooo, sn->ooo_count)) {
        sn->ooo = NULL;
    }
    return word;
}

/* While the tail is the same block, nothing of the series was sealed: what the two lists have fits together. A
 * tail that was sealed and followed by another one may be in the list that was loaded later, and what came
 * before it not in the one before. Who seals with every sample is outrun after a few times. */
void head_snapshot_take(const struct head_partition *p, uint32_t local, struct head_snapshot *sn)
{
    const struct head_series *s = head_hot(p, local);
    for (uint32_t i = 0; i < SNAPSHOT_TRIES; i++) {
        uint64_t word = snapshot_try(p, local, sn);
        uint64_t now = atomic_load_explicit(&s->tail, memory_order_acquire);
        if (!sn->bundles || head_word_tail(word) == head_word_tail(now)) {
            return;
        }
    }
}

static bool meets(int64_t min_ms, int64_t max_ms, struct tsdb_time_range range)
{
    return min_ms <= range.max_ms && range.min_ms <= max_ms;
}

/* Late samples have no order until they are sealed. */
static bool late_meets(struct head_tail *t, uint32_t count, struct tsdb_time_range range)
{
    const int64_t *t_ms = head_tail_t(t);
    for (uint32_t i = 0; i < count; i++) {
        if (meets(t_ms[i], t_ms[i], range)) {
            return true;
        }
    }
    return false;
}

static struct piece piece_of(struct head_tail *t, uint32_t count)
{
    TSDB_ASSERT(!head_tail_is_stream(t));
    bool late = t->flags & HEAD_TAIL_LATE;
    return (struct piece){
        .kind = (enum tsdb_sample_kind)t->kind,
        .sorted = !late || (t->flags & HEAD_TAIL_SORTED),
        .count = count,
        .t_ms = head_tail_t(t),
        .value = head_tail_value(t),
        .start_ms = (t->flags & HEAD_TAIL_STARTS) ? head_tail_start(t) : NULL,
    };
}

/* Is the chunk left out by a reader of this view? */
static bool in_blocks(const struct head_sealed *c, uint64_t view)
{
    /* Relaxed: whoever has the view has seen it published under the lock of views, after the
     * chunks of its blocks were marked. */
    uint64_t in = atomic_load_explicit(&c->flushed_in, memory_order_relaxed);
    return 0 < in && in <= view;
}

static void pieces_add(struct head_pieces *l, struct piece piece, struct head_sealed *in_file)
{
    TSDB_ASSERT(piece.count > 0);
    l->items[l->count] = piece;
    l->streams[l->count].count = 0;
    l->in_file[l->count++] = in_file;
    l->in_files += in_file != NULL;
}

static void pieces_add_stream(struct head_pieces *l, struct head_stream stream)
{
    pieces_add(l, (struct piece){.kind = TSDB_SAMPLE_FLOAT, .sorted = true, .count = stream.count},
               NULL);
    l->streams[l->count - 1] = stream;
}

/* A block in memory: columns are borrowed, a stream is to be decoded. */
static void pieces_add_block(struct head_pieces *l, struct head_tail *t, uint32_t count,
                             uint32_t used)
{
    if (head_tail_is_stream(t)) {
        pieces_add_stream(l, head_stream_of(t, count, used));
    } else {
        pieces_add(l, piece_of(t, count), NULL);
    }
}

static enum tsdb_status pieces_init(struct head_pieces *l, uint32_t cap, struct tsdb_arena *arena)
{
    *l = (struct head_pieces){.items = TSDB_ARENA_ARRAY(arena, struct piece, cap)};
    l->in_file = l->items ? TSDB_ARENA_ARRAY(arena, struct head_sealed *, cap) : NULL;
    l->streams = l->in_file ? TSDB_ARENA_ARRAY(arena, struct head_stream, cap) : NULL;
    return l->streams ? TSDB_OK : tsdb_arena_status(arena);
}

/* What of the series lies in a sealed chunk that has it. */
static void pieces_add_sealed(struct head_pieces *l, struct head_sealed *c, uint32_t local,
                              struct chunk_want *want)
{
    want->counts.read++;
    if (c->file) {
        /* Of a bundle, only the file knows how many samples are the series'. */
        pieces_add(l,
                   (struct piece){
                       .kind = (enum tsdb_sample_kind)c->kind, .sorted = true, .count = c->count},
                   c);
        return;
    }
    const struct head_raw_chunk *raw = head_raw_chunk_of(c);
    if (c->mask == 0) {
        pieces_add_block(l, raw->tail, c->count, 0);
        return;
    }
    const struct head_raw_stream *x = &raw->streams[head_bundle_rank(c, head_bundle_bit(local))];
    if (meets(head_tail_first_ms(x->tail), x->last_ms, want->range)) {
        pieces_add_block(l, x->tail, x->count, x->used);
    }
}

/* Of a list; bundles without the series are left out, too. */
static void pieces_add_list(struct head_pieces *l, struct head_list *list, uint32_t count,
                            uint32_t local, struct chunk_want *want, uint64_t view)
{
    for (uint32_t i = 0; i < count; i++) {
        struct head_sealed *c = head_list_at(list, i);
        if (!in_blocks(c, view) && head_sealed_has(c, local) &&
            chunk_want(want, c->min_ms, c->max_ms)) {
            pieces_add_sealed(l, c, local, want);
        }
    }
}

/* Pieces that may have samples that are wanted. Under a guard. In-order ones share no time with one
 * another; late ones come behind them, as they came after them. */
static enum tsdb_status pieces_in(const struct head_partition *p, uint32_t local,
                                  struct chunk_want *want, uint64_t view, struct tsdb_arena *arena,
                                  struct head_pieces *l)
{
    struct head_snapshot sn;
    head_snapshot_take(p, local, &sn);
    enum tsdb_status status = pieces_init(l, sn.bundle_count + sn.list_count + 2u, arena);
    if (status != TSDB_OK) {
        return status;
    }
    pieces_add_list(l, sn.bundles, sn.bundle_count, local, want, view);
    pieces_add_list(l, sn.list, sn.list_count, local, want, view);
    if (sn.tail && chunk_want(want, head_tail_first_ms(sn.tail), sn.last_ms)) {
        want->counts.read++;
        pieces_add_block(l, sn.tail, sn.tail_count, sn.tail_used);
    }
    if (sn.ooo) {
        pieces_add_block(l, sn.ooo, sn.ooo_count, 0);
    }
    return TSDB_OK;
}

static bool list_may_have(struct head_list *l, uint32_t count, uint32_t local,
                          struct tsdb_time_range range, uint64_t view)
{
    for (uint32_t i = count; i-- > 0;) {
        const struct head_sealed *c = head_list_at(l, i);
        if (meets(c->min_ms, c->max_ms, range) && !in_blocks(c, view) &&
            head_sealed_has(c, local)) {
            return true;
        }
    }
    return false;
}

bool head_may_have(const struct head_partition *p, uint32_t local, struct tsdb_time_range range,
                   uint64_t view)
{
    struct head_snapshot sn;
    head_snapshot_take(p, local, &sn);
    if (sn.tail && meets(head_tail_first_ms(sn.tail), sn.last_ms, range)) {
        return true;
    }
    return list_may_have(sn.bundles, sn.bundle_count, local, range, view) ||
           list_may_have(sn.list, sn.list_count, local, range, view) ||
           (sn.ooo && late_meets(sn.ooo, sn.ooo_count, range));
}

bool head_newest_float(const struct head_partition *p, uint32_t local, int64_t *out_ms,
                       uint64_t *out_bits)
{
    const struct head_series *s = head_hot(p, local);
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_acquire);
    struct head_tail *t = head_word_tail(word);
    if (!t || !head_tail_is_stream(t)) {
        return false;
    }
    /* Acquire, both: partners are the releases of those who set them; see head_change_begin. */
    uint64_t bits = atomic_load_explicit(&s->last_bits, memory_order_acquire);
    int64_t t_ms = atomic_load_explicit(&s->last_t_ms, memory_order_acquire);
    if (!head_unchanged(s, word)) {
        return false;
    }
    *out_ms = t_ms;
    *out_bits = bits;
    return true;
}

/* ---- streams ---- */

/* Columns of all streams of the pieces, one behind the other. */
struct stream_columns {
    int64_t *t_ms;
    uint64_t *value;
    size_t count;
    bool all; /* the pieces are these and nothing else */
};

static enum tsdb_status stream_columns_alloc(const struct head_pieces *l, struct tsdb_arena *arena,
                                             struct stream_columns *out)
{
    *out = (struct stream_columns){.all = l->count > 0};
    for (uint32_t i = 0; i < l->count; i++) {
        out->count += l->streams[i].count;
        out->all = out->all && l->streams[i].count > 0;
    }
    if (out->count == 0) {
        return TSDB_OK;
    }
    out->t_ms = TSDB_ARENA_ARRAY(arena, int64_t, out->count);
    out->value = out->t_ms ? TSDB_ARENA_ARRAY(arena, uint64_t, out->count) : NULL;
    return out->value ? TSDB_OK : tsdb_arena_status(arena);
}

/* The streams of the pieces become their columns. *out_streams: as they were decoded, in their order, some maybe not
 * ok. */
static enum tsdb_status streams_decode(struct head_pieces *l, struct tsdb_arena *arena,
                                       struct stream_columns *columns,
                                       struct sample_stream **out_streams)
{
    uint32_t n = 0;
    size_t at = 0;
    struct sample_stream *streams = TSDB_ARENA_ARRAY(arena, struct sample_stream, l->count + 1u);
    enum tsdb_status status =
        streams ? stream_columns_alloc(l, arena, columns) : tsdb_arena_status(arena);
    for (uint32_t i = 0; status == TSDB_OK && i < l->count; i++) {
        const struct head_stream *s = &l->streams[i];
        struct piece *piece = &l->items[i];
        if (s->count > 0) {
            int64_t *t_ms = columns->t_ms + at;
            uint64_t *value = columns->value + at;
            t_ms[0] = s->first_ms;
            value[0] = s->first_bits;
            streams[n++] =
                (struct sample_stream){s->tokens, s->bytes, s->count, t_ms, value, false};
            piece->count = s->count;
            piece->t_ms = t_ms;
            piece->value = value;
            at += s->count;
        }
    }
    if (status == TSDB_OK) {
        sample_streams_decode(streams, n);
        *out_streams = streams;
    }
    return status;
}

/* Of streams in memory, which their owner has written. Under a guard. */
static enum tsdb_status streams_decode_own(struct head_pieces *l, struct tsdb_arena *arena,
                                           struct stream_columns *columns)
{
    struct sample_stream *streams = NULL;
    enum tsdb_status status = streams_decode(l, arena, columns, &streams);
    for (uint32_t i = 0, n = 0; status == TSDB_OK && i < l->count; i++) {
        TSDB_ASSERT(l->streams[i].count == 0 || streams[n++].ok);
    }
    return status;
}

enum tsdb_status head_pieces(const struct head_partition *p, uint32_t local, uint64_t view,
                             struct tsdb_arena *arena, struct head_pieces *out)
{
    struct chunk_want all = {.range = TSDB_TIME_ALL};
    struct stream_columns columns;
    enum tsdb_status status = pieces_in(p, local, &all, view, arena, out);
    return status == TSDB_OK ? streams_decode_own(out, arena, &columns) : status;
}

/* ---- pieces that outlive the guard ---- */

/* A reference that was copied under a guard and is used after it. */
struct sealed_ref {
    struct head_file *file; /* acquired; NULL: the piece is in memory */
    struct head_place place;
    struct head_found found; /* of a bundle */
};

/* Pointers to raw histograms become pointers to copies of them. */
static enum tsdb_status histograms_copy(struct tsdb_arena *arena, uint64_t *value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct tsdb_raw_histogram *raw =
            (const struct tsdb_raw_histogram *)(uintptr_t)value[i];
        struct tsdb_raw_histogram *copy =
            tsdb_arena_alloc(arena, sizeof *copy + raw->len, _Alignof(struct tsdb_raw_histogram));
        if (!copy) {
            return tsdb_arena_status(arena);
        }
        uint8_t *data = (uint8_t *)(copy + 1);
        memcpy(data, raw->data, raw->len);
        copy->len = raw->len;
        copy->data = data;
        value[i] = (uint64_t)(uintptr_t)copy;
    }
    return TSDB_OK;
}

static enum tsdb_status piece_copy(struct tsdb_arena *arena, struct piece *p)
{
    uint32_t n = p->count;
    int64_t *t_ms = TSDB_ARENA_ARRAY(arena, int64_t, n);
    uint64_t *value = t_ms ? TSDB_ARENA_ARRAY(arena, uint64_t, n) : NULL;
    int64_t *start_ms = value && p->start_ms ? TSDB_ARENA_ARRAY(arena, int64_t, n) : NULL;
    if (!value || (p->start_ms && !start_ms)) {
        return tsdb_arena_status(arena);
    }
    memcpy(t_ms, p->t_ms, n * sizeof t_ms[0]);
    memcpy(value, p->value, n * sizeof value[0]);
    if (start_ms) {
        memcpy(start_ms, p->start_ms, n * sizeof start_ms[0]);
    }
    p->t_ms = t_ms;
    p->value = value;
    p->start_ms = start_ms;
    return p->kind == TSDB_SAMPLE_FLOAT ? TSDB_OK : histograms_copy(arena, value, n);
}

/* Of a stream what it is coded as: that takes less room than its samples. */
static enum tsdb_status stream_copy(struct tsdb_arena *arena, struct head_stream *s)
{
    uint8_t *tokens = tsdb_arena_alloc(arena, s->bytes + 1u, 1);
    if (!tokens) {
        return tsdb_arena_status(arena);
    }
    memcpy(tokens, s->tokens, s->bytes);
    s->tokens = tokens;
    return TSDB_OK;
}

/* Copy what lies in memory, acquire the files of the rest. Under a guard. On failure nothing is
 * acquired. */
static enum tsdb_status pieces_keep(const struct head_partition *p, uint32_t local,
                                    struct head_pieces *l, struct tsdb_arena *arena,
                                    struct sealed_ref *refs)
{
    for (uint32_t i = 0; i < l->count; i++) {
        enum tsdb_status status = l->in_file[i]             ? TSDB_OK
                                  : l->streams[i].count > 0 ? stream_copy(arena, &l->streams[i])
                                                            : piece_copy(arena, &l->items[i]);
        if (status != TSDB_OK) {
            return status;
        }
    }
    for (uint32_t i = 0; i < l->count; i++) {
        const struct head_sealed *c = l->in_file[i];
        refs[i].file = NULL;
        refs[i].found.page.data = NULL;
        if (c) {
            head_file_acquire(c->file);
            refs[i].file = c->file;
            refs[i].place = head_sealed_place(c, (uint8_t)p->id, local);
        }
    }
    return TSDB_OK;
}

/* As pieces_keep, with room for the references; NULL if there is nothing. */
static enum tsdb_status pieces_outlive(const struct head_partition *p, uint32_t local,
                                       struct head_pieces *l, struct tsdb_arena *arena,
                                       struct sealed_ref **out)
{
    *out = l->count > 0 ? TSDB_ARENA_ARRAY(arena, struct sealed_ref, l->count) : NULL;
    if (l->count == 0) {
        return TSDB_OK;
    }
    return *out ? pieces_keep(p, local, l, arena, *out) : tsdb_arena_status(arena);
}

/* Pages that one read may hold at once: a cache has hundreds, and other readers. */
#define PINNED_MAX 16u

/* What was found, without its page. */
static enum tsdb_status found_copy(struct tsdb_arena *arena, struct sealed_ref *r,
                                   struct head_stream *s, struct tsdb_error *err)
{
    enum tsdb_status status = stream_copy(arena, s);
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "no memory to read a series");
    }
    r->found.tokens = s->tokens;
    head_file_found_release(r->file, &r->found);
    return TSDB_OK;
}

static enum tsdb_status piece_find(struct head_pieces *l, uint32_t i, struct tsdb_arena *arena,
                                   struct sealed_ref *r, struct tsdb_error *err)
{
    if (r->place.bundle) {
        enum tsdb_status status = head_file_find(r->file, &r->place, arena, &r->found, err);
        const struct bundle_stream *s = &r->found.stream;
        if (status != TSDB_OK) {
            return status;
        }
        l->streams[i] =
            (struct head_stream){r->found.tokens, s->bytes, s->count, s->first_ms, s->first_bits};
        return i < PINNED_MAX ? TSDB_OK : found_copy(arena, r, &l->streams[i], err);
    }
    struct chunk_samples samples;
    enum tsdb_status status = head_file_read(r->file, &r->place, arena, &samples, err);
    if (status == TSDB_OK) {
        l->items[i] = piece_of_chunk(&samples);
    }
    return status;
}

/* What was found in bundles is what was written there. decoded NULL: of the bytes; else of the samples. */
static enum tsdb_status found_check(const struct head_pieces *l, const struct sealed_ref *refs,
                                    const struct sample_stream *decoded, struct tsdb_error *err)
{
    for (uint32_t i = 0, n = 0; i < l->count; i++) {
        const struct sealed_ref *r = &refs[i];
        const struct head_found *x = &r->found;
        const struct sample_stream *s = decoded && l->streams[i].count > 0 ? &decoded[n++] : NULL;
        if (!r->file || !r->place.bundle) {
            TSDB_ASSERT(!s || s->ok);
            continue;
        }
        enum tsdb_status status = s ? bundle_samples_check(&x->stream, s->ok, s->t_ms, err)
                                    : bundle_tokens_check(&x->place, &x->stream, x->tokens, err);
        if (status != TSDB_OK) {
            return head_file_found_bad(r->file, &r->place, status, err);
        }
    }
    return TSDB_OK;
}

/* Read what lies in files, decode all streams; releases files and pages whatever happens. No guard is open. */
static enum tsdb_status pieces_fetch(struct head_pieces *l, struct tsdb_arena *arena,
                                     struct sealed_ref *refs, struct stream_columns *columns,
                                     struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    struct sample_stream *streams = NULL;
    const uint32_t n = l->count;
    TSDB_ASSERT(refs || n == 0);
    for (uint32_t i = 0; i < n && status == TSDB_OK; i++) {
        status = refs[i].file ? piece_find(l, i, arena, &refs[i], err) : TSDB_OK;
    }
    if (status == TSDB_OK) {
        status = found_check(l, refs, NULL, err);
    }
    if (status == TSDB_OK) {
        status = streams_decode(l, arena, columns, &streams);
        if (status != TSDB_OK) {
            status = tsdb_error_set(err, status, "no memory to read a series");
        }
    }
    if (status == TSDB_OK) {
        status = found_check(l, refs, streams, err);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (refs[i].file) {
            head_file_found_release(refs[i].file, &refs[i].found);
            head_file_release(refs[i].file);
        }
    }
    return status;
}

enum tsdb_status head_collect(const struct head_partition *p, uint32_t local,
                              struct chunk_want *want, uint64_t view, struct tsdb_arena *arena,
                              struct piece **out, uint32_t *out_count, struct tsdb_error *err)
{
    struct head_pieces l = {0};
    struct sealed_ref *refs = NULL;
    struct stream_columns columns;
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(p->epoch, &guard);
    enum tsdb_status status = pieces_in(p, local, want, view, arena, &l);
    if (status == TSDB_OK) {
        status = pieces_outlive(p, local, &l, arena, &refs);
    }
    tsdb_epoch_exit(p->epoch, &guard);
    if (status != TSDB_OK) {
        return tsdb_error_set(err, status, "no memory to read a series");
    }
    status = pieces_fetch(&l, arena, refs, &columns, err);
    if (status == TSDB_OK) {
        *out = l.items;
        *out_count = l.count;
    }
    return status;
}

/* ---- columns ---- */

static enum tsdb_status merge(const struct head_pieces *l, const struct stream_columns *columns,
                              struct tsdb_time_range range, struct tsdb_arena *arena,
                              struct tsdb_columns *out, struct tsdb_error *err)
{
    struct piece_columns c;
    /* Nearly always there is nothing but streams, one after the other. */
    if (columns->all && columns->count <= UINT32_MAX &&
        pieces_take(columns->t_ms, columns->value, (uint32_t)columns->count, range, &c)) {
        return pieces_decode(&c, arena, out, err);
    }
    enum tsdb_status status = pieces_merge(l->items, l->count, range, arena, &c, err);
    return status == TSDB_OK ? pieces_decode(&c, arena, out, err) : status;
}

enum tsdb_status head_read_wanted(const struct head_partition *p, uint32_t local,
                                  struct chunk_want *want, uint64_t view, struct tsdb_arena *arena,
                                  struct tsdb_columns *out, struct tsdb_error *err)
{
    struct head_pieces l = {0};
    struct sealed_ref *refs = NULL;
    struct stream_columns columns;
    struct tsdb_epoch_guard guard;
    tsdb_epoch_enter(p->epoch, &guard);
    enum tsdb_status status = pieces_in(p, local, want, view, arena, &l);
    const bool in_memory = l.in_files == 0;
    if (status == TSDB_OK) {
        status = in_memory ? streams_decode_own(&l, arena, &columns)
                           : pieces_outlive(p, local, &l, arena, &refs);
    }
    if (status != TSDB_OK) {
        status = tsdb_error_set(err, status, "no memory to read a series");
    } else if (in_memory) {
        status = merge(&l, &columns, want->range, arena, out, err);
    }
    tsdb_epoch_exit(p->epoch, &guard);
    if (status == TSDB_OK && !in_memory) {
        status = pieces_fetch(&l, arena, refs, &columns, err);
        if (status == TSDB_OK) {
            status = merge(&l, &columns, want->range, arena, out, err);
        }
    }
    return status;
}

enum tsdb_status head_read(const struct head_partition *p, uint32_t local,
                           struct tsdb_time_range range, uint64_t view, struct tsdb_arena *arena,
                           struct tsdb_columns *out, struct tsdb_error *err)
{
    struct chunk_want want = {.range = range};
    return head_read_wanted(p, local, &want, view, arena, out, err);
}
