/* Every kind of file of a data directory, damaged in every way: it opens or says why not; shows no
 * sample under other labels; lacks at most what docs/operating.md says, and says so; keeps what could
 * still be needed; and goes on. The table in docs/operating.md is printed from `rows` and compared.
 *
 * TSDB_SEED_FROM=<n> draws other bits and bytes, TSDB_SEEDS=<n> so many times. TSDB_MATRIX=1 prints a
 * line for each case. */
#include "tests/support/golden.h"
#include "tests/support/test.h"

#include "tests/support/seeds.h"
#include "tests/support/tsdb/scene.h"
#include "tests/support/tsdb/tree.h"
#include "tsdb/engine/db_private.h"

#include <inttypes.h>

#define RANGE      INT64_C(60000)
#define OWN        200u /* series of this directory begin here: names and values as long as the others' */
#define OTHERS     107u /* those of the other one */
#define OTHERS_END OWN
#define FRESH      300u /* those written after the damage */
#define NOTES_MAX  1024u

/* ---- what was written, and what keeps it ---- */

enum home {
    IN_BLOCK = 1,
    IN_HEAD = 2,       /* sealed, in a head file that the checkpoint refers to */
    IN_CHECKPOINT = 4, /* still open when the checkpoint was written */
    IN_LOG = 8,        /* behind the checkpoint */
    DELETED = 16,      /* in a block, hidden by its tombstones: may show again */
};

struct note {
    uint32_t series;
    int64_t t_ms;
    uint32_t home;
    bool found;
};

struct notes {
    struct note all[NOTES_MAX];
    uint32_t count;
};

enum stage {
    BEFORE_FLUSH,
    AFTER_FLUSH,
    IN_FLUSH,
    STAGES
};
static const char *const stage_names[STAGES] = {"before a flush", "after a flush", "in a flush"};

struct directory {
    struct tree *earlier, *now;
    struct notes notes;
};

/* ---- the table ---- */

static const struct row {
    const char *begin, *end;                   /* of the path */
    uint32_t lacks;                            /* homes, of which samples may be missing */
    bool refuses;                              /* may it not open? */
    const char *file, *start, *missing, *said; /* as the page says it */
} rows[] = {
    {"LOCK", "", 0, false, "`LOCK`", "goes on", "nothing", ""},
    {"VERSION", "", 0, true, "`VERSION`", "refused, nothing is touched",
     "nothing: put it back from a backup, or `tidalite repair`", "the reason of the refusal"},
    {"series.log", "", IN_HEAD | IN_CHECKPOINT | IN_LOG, true, "`series.log`",
     "goes on; refused where it is another directory's",
     "what is not in blocks yet, of the series whose labels it had there; `quarantine/` has it as "
     "it was",
     "`series`, `seriesSamples`, `damagedRanges`, a line for each range"},
    {"metadata", "", 0, false, "`metadata`", "goes on",
     "types and help texts, until senders tell them again", "a line in the log"},
    {"checkpoint/", "", 0, false, "`checkpoint/*`", "goes on",
     "nothing: the one before and the log have it; where both are damaged at the same place, what "
     "is there",
     "`partitionsFromOlder`, `damagedRanges`, `checkpointRanges`; lines with partition and bytes"},
    {"head/", "", IN_HEAD, false, "`head/*`", "goes on", "samples of its chunks",
     "`chunks`; queries of them fail and name file and byte"},
    {"wal/POSITION", "", 0, false, "`wal/POSITION`", "goes on",
     "nothing, but a missing end of the log is not noticed", "a line in the log"},
    {"wal/", "", IN_LOG, false, "`wal/*`", "goes on",
     "samples since the checkpoint: of the partitions that it touches, to the end of an epoch",
     "`frames`, `samples`, `damagedRanges`, `logSegments`, `logBytes`; a line for each range"},
    {"blocks/", "/tombstones", DELETED, false, "`blocks/*/tombstones`", "goes on",
     "nothing; what was deleted of the block shows again",
     "`tombstones`; nothing, where the file is gone or an older one"},
    {"blocks/", "", IN_BLOCK | DELETED, false, "`blocks/*/meta.json`, `index`, `chunks`", "goes on",
     "samples of the block; of a damaged page of `chunks` those in it",
     "`blocks`, and `lostBlocks`: series, samples, times; queries of a damaged page fail and name "
     "block and page"},
};

static const struct row *row_of(const char *path)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        size_t len = strlen(path), end = strlen(rows[i].end);
        if (strncmp(path, rows[i].begin, strlen(rows[i].begin)) == 0 && len >= end &&
            strcmp(path + len - end, rows[i].end) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* ---- making a directory ---- */

static void note(struct notes *n, uint32_t series, int64_t t_ms, uint32_t home)
{
    assert_true(n->count < NOTES_MAX);
    n->all[n->count++] = (struct note){series, t_ms, home, false};
}

/* `count` series, four samples each; now is a second after the last. */
static void put(struct hx *h, struct notes *n, uint32_t first, uint32_t count, uint32_t home)
{
    struct hx_sample s[HX_SAMPLES_MAX];
    assert_true(count <= HX_SAMPLES_MAX);
    for (uint32_t k = 0; k < 4; k++) {
        for (uint32_t i = 0; i < count; i++) {
            s[i] = hx_float(first + i, h->clock.wall_ms, hx_value_of(first + i, h->clock.wall_ms));
            note(n, first + i, h->clock.wall_ms, home);
        }
        assert_ok(hx_put(h, s, count, TSDB_DURABILITY_STRICT, NULL));
        tsdb_clock_sim_advance(&h->clock, 1000);
    }
}

/* All that a directory has beside blocks: a head file, a checkpoint, the log behind it. */
static void put_head(struct hx *h, struct notes *n, uint32_t base)
{
    struct tsdb_error err;
    put(h, n, base, 12, IN_HEAD);
    hx_seal_all(h);
    for (uint32_t i = 0; i < n->count; i++) {
        n->all[i].home = n->all[i].home & (IN_BLOCK | DELETED) ? n->all[i].home : IN_HEAD;
    }
    put(h, n, base + 4, 12, IN_CHECKPOINT);
    assert_ok_err(tsdb_checkpoint(h->db, &err), &err);
    put(h, n, base + 12, 12, IN_LOG);
    struct tsdb_metadata m = {.metric = {(const uint8_t *)"m1", 2}, .type = TSDB_METRIC_GAUGE};
    assert_ok(tsdb_metadata_put(h->db, &m));
    tsdb_metadata_step(h->db, h->clock.mono_ns);
}

static void delete_series(struct hx *h, struct notes *n, uint32_t series)
{
    assert_true(hx_delete(h, series) > 0);
    for (uint32_t i = 0; i < n->count; i++) {
        n->all[i].home = n->all[i].series == series ? DELETED : n->all[i].home;
    }
}

/* What is in the head goes to a block, of which a series is deleted. */
static void put_block(struct hx *h, struct notes *n, uint32_t base, uint32_t deleted)
{
    struct tsdb_error err;
    put_head(h, n, base);
    tsdb_clock_sim_advance(&h->clock, RANGE);
    assert_ok_err(tsdb_flush(h->db, &err), &err);
    for (uint32_t i = 0; i < n->count; i++) {
        n->all[i].home = n->all[i].home == DELETED ? DELETED : IN_BLOCK;
    }
    delete_series(h, n, base + deleted);
}

static void configure(struct hx *h, uint64_t seed)
{
    hx_init(h, seed);
    h->options.block_range_ms = RANGE;
    h->options.wal_segment_bytes = 1u << 13;
    h->options.wal_epoch_bytes = 1u << 11;
    h->options.retention_ms = 0;
}

static void directory_make(struct directory *d, enum stage stage, uint64_t seed, uint32_t base)
{
    struct hx h;
    struct tsdb_error err;
    memset(&d->notes, 0, sizeof d->notes);
    configure(&h, seed);
    assert_ok_err(hx_open(&h, &err), &err);
    if (stage == BEFORE_FLUSH) {
        put_head(&h, &d->notes, base);
        d->earlier = tree_read(&h.options.fs);
        put_head(&h, &d->notes, base);
    } else {
        put_block(&h, &d->notes, base, 3);
        d->earlier = tree_read(&h.options.fs);
        put_block(&h, &d->notes, base, 5);
    }
    if (stage == IN_FLUSH) {
        put_head(&h, &d->notes, base);
        tsdb_clock_sim_advance(&h.clock, RANGE);
        tsdb_fs_sim_fault(h.sim, TSDB_FAULT_HALT, 12, 1);
        assert_true(tsdb_flush(h.db, &err) != TSDB_OK);
    }
    if (stage == AFTER_FLUSH) {
        assert_ok_err(hx_close(&h, &err), &err);
    } else {
        hx_die(&h, false);
    }
    d->now = tree_read(&h.options.fs);
    hx_deinit(&h);
}

/* ---- damaging a file ---- */

enum damage {
    GONE,
    EMPTY,
    CUT,
    BIT,
    ZEROES,  /* a page of them */
    EARLIER, /* an older version of itself, or of the newest of its kind */
    FOREIGN, /* that of another directory */
    DAMAGES
};
static const char *const damage_names[DAMAGES] = {"gone",   "empty",   "cut",    "a bit",
                                                  "zeroes", "earlier", "foreign"};
static const uint32_t damage_times[DAMAGES] = {1, 1, 3, 4, 3, 1, 1};

struct matrix {
    struct scene s; /* first: what scene_teardown gets; the generator, and the first failure */
    struct directory own, other;
    struct notes *notes; /* of own */
    struct hx h;         /* with the damage */
    /* of the case */
    enum stage stage;
    enum damage damage;
    const struct row *row;
    const struct tree_file *file;
    int64_t lost_from_ms, lost_to_ms; /* what may be missing, [from, to) */
    uint32_t fresh;                   /* written after the damage, and found */
    struct notes fresh_notes;
    char name[TREE_PATH_BYTES]; /* by which an error names it */
    uint32_t lost, shown_again;
    bool full; /* while it starts nothing can be written, and no name be made */
    bool opened;
    uint32_t failing;                   /* reads of a sample that fail */
    uint32_t cases, refused, with_loss; /* of all */
};

static uint32_t random_below(struct matrix *x, uint64_t n)
{
    return (uint32_t)tsdb_prng_below(&x->s.prng, n);
}

/* Bytes behind them are zeroes that were written ahead. */
static size_t used_bytes(const struct tree_file *f)
{
    size_t len = f->len;
    while (len > 0 && f->data[len - 1] == 0) {
        len--;
    }
    return len;
}

/* The file's version of before: of the same name, else the last of its kind. */
static const struct tree_file *of_kind(const struct tree *t, const struct row *row,
                                       const struct tree_file *like)
{
    const struct tree_file *found = NULL;
    const char *last = strrchr(like->path, '/');
    for (uint32_t i = 0; i < t->count; i++) {
        const struct tree_file *f = &t->files[i];
        const char *name = strrchr(f->path, '/');
        if (strcmp(f->path, like->path) == 0) {
            return f;
        }
        if (row_of(f->path) != row ||
            (name && last && row->lacks & IN_BLOCK && strcmp(name, last))) {
            continue;
        }
        if ((!found || strcmp(f->path, found->path) > 0)) {
            found = f;
        }
    }
    return found;
}

static void write_changed(struct matrix *x, size_t len)
{
    const struct tree_file *f = x->file;
    uint8_t *copy = malloc(f->len + 1);
    assert_non_null(copy);
    if (f->len > 0) {
        memcpy(copy, f->data, f->len);
    }
    size_t used = used_bytes(f);
    if (x->damage == BIT && used > 0) {
        copy[random_below(x, used)] ^= (uint8_t)(1u << random_below(x, 8));
    } else if (x->damage == ZEROES && used > 0) {
        size_t from = random_below(x, used) / 512 * 512;
        memset(copy + from, 0, TSDB_MIN(f->len - from, (size_t)4096));
    }
    tree_put(&x->h.options.fs, f->path, copy, len);
    free(copy);
}

/* False: there is nothing to put in its place. */
static bool damage_do(struct matrix *x)
{
    const struct tsdb_fs *fs = &x->h.options.fs;
    const struct tree_file *f = x->file;
    const struct tree *from = x->damage == EARLIER ? x->own.earlier : x->other.now;
    const struct tree_file *put_in = NULL;
    size_t used = used_bytes(f);
    switch (x->damage) {
    case GONE:
        assert_ok(fs->ops->unlink(fs->ctx, f->path, NULL));
        return true;
    case EMPTY:
        tree_put(fs, f->path, NULL, 0);
        return true;
    case CUT:
        write_changed(x, used > 0 ? random_below(x, used) : 0);
        return true;
    case BIT:
    case ZEROES:
        write_changed(x, f->len);
        return true;
    case EARLIER:
    case FOREIGN:
        put_in = of_kind(from, x->row, f);
        if (put_in) {
            tree_put(fs, f->path, put_in->data, put_in->len);
        }
        return put_in != NULL;
    case DAMAGES:
        break;
    }
    return false;
}

/* ---- looking ---- */

static void look_one(void *arg, uint32_t series, int64_t t_ms, int64_t start_ms,
                     enum tsdb_sample_kind kind, uint64_t bits,
                     const struct tsdb_histogram *histogram)
{
    struct matrix *x = arg;
    (void)start_ms, (void)histogram;
    if (kind != TSDB_SAMPLE_FLOAT || bits != tsdb_double_bits(hx_value_of(series, t_ms))) {
        mx_fail(&x->s.m, "series %u at %" PRId64 " has the sample of another: %.17g", series, t_ms,
                tsdb_bits_double(bits));
        return;
    }
    if (series >= FRESH) {
        x->fresh++;
        return;
    }
    for (uint32_t i = 0; i < x->notes->count; i++) {
        struct note *n = &x->notes->all[i];
        if (n->series == series && n->t_ms == t_ms && !n->found) {
            n->found = true;
            return;
        }
    }
    if (series < OTHERS || series >= OTHERS_END) {
        mx_fail(&x->s.m, "series %u at %" PRId64 " was never written, or shows twice", series,
                t_ms);
    }
}

/* Reads of a damaged chunk fail, and name it: so sample by sample. */
static void look_alone(struct matrix *x, struct tsdb_querier *q, const struct note *n)
{
    struct tsdb_arena arena;
    struct tsdb_columns c;
    struct tsdb_error err = {0};
    struct tsdb_series_set set;
    char text[16];
    snprintf(text, sizeof text, "%u", n->series);
    struct tsdb_matcher m = {TSDB_MATCH_EQ, "i", text, 1, (uint32_t)strlen(text)};
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 14, NULL);
    enum tsdb_status status = tsdb_select(q, &m, 1, &set, &err);
    for (uint32_t i = 0; status == TSDB_OK && i < set.count; i++) {
        status = tsdb_series_read(q, set.refs[i], (struct tsdb_time_range){n->t_ms, n->t_ms},
                                  &arena, &c, &err);
        if (status == TSDB_OK && c.count == 1) {
            look_one(x, n->series, n->t_ms, 0, TSDB_SAMPLE_FLOAT, c.bits[0], NULL);
        }
    }
    if (status != TSDB_OK) {
        x->failing++;
        if (status != TSDB_CORRUPT || !strstr(err.msg, x->name)) {
            mx_fail(&x->s.m, "a read fails: %s", err.msg);
        }
    }
    tsdb_arena_deinit(&arena);
}

static void look_at_all(struct matrix *x)
{
    struct tsdb_querier *q = NULL;
    assert_ok(tsdb_querier_open(x->h.db, NULL, TSDB_TIME_ALL, &q, NULL));
    for (uint32_t i = 0; i < x->notes->count; i++) {
        look_alone(x, q, &x->notes->all[i]);
    }
    for (uint32_t i = 0; i < x->fresh_notes.count; i++) {
        look_alone(x, q, &x->fresh_notes.all[i]);
    }
    tsdb_querier_close(q);
}

static void look_begin(struct matrix *x)
{
    x->fresh = x->lost = x->shown_again = x->failing = 0;
    for (uint32_t i = 0; i < x->notes->count; i++) {
        x->notes->all[i].found = false;
    }
}

static void look(struct matrix *x)
{
    struct tsdb_error err = {0};
    look_begin(x);
    if (hx_visit(&x->h, look_one, x, &err) != TSDB_OK) {
        look_begin(x);
        look_at_all(x);
    }
    for (uint32_t i = 0; i < x->notes->count; i++) {
        const struct note *n = &x->notes->all[i];
        bool deleted = n->home == DELETED;
        x->shown_again += deleted && n->found;
        if (deleted || n->found) {
            continue;
        }
        x->lost++;
        if (!(n->home & x->row->lacks) || n->t_ms < x->lost_from_ms || n->t_ms >= x->lost_to_ms) {
            mx_fail(&x->s.m, "series %u at %" PRId64 " is missing; it was in %u", n->series,
                    n->t_ms, n->home);
        }
    }
    if (x->shown_again > 0 && !(x->row->lacks & DELETED)) {
        mx_fail(&x->s.m, "%u deleted samples show again", x->shown_again);
    }
}

/* Everything that a person is told of losses. */
static uint64_t said(struct matrix *x)
{
    struct tsdb_stats s;
    tsdb_stats_read(x->h.db, &s);
    return s.replay_damage + s.replay_lost_frames + s.replay_lost_log_segments +
           s.replay_lost_log_bytes + s.replay_dropped_samples + s.replay_lost_chunks +
           s.blocks_quarantined + s.tombstones_damaged + s.blocks_damaged + s.head_files_damaged +
           x->failing;
}

static bool kept_somewhere(const struct tree *t, const struct tree_file *f)
{
    size_t len = used_bytes(f);
    bool kept = len == 0;
    for (uint32_t i = 0; i < t->count && !kept; i++) {
        kept = t->files[i].len >= len && memcmp(t->files[i].data, f->data, len) == 0;
    }
    return kept;
}

/* A segment before the one that the checkpoint of this start names. */
static bool covered(const struct matrix *x, const struct tree_file *f)
{
    return strncmp(f->path, "wal/", 4) == 0 &&
           strtoull(f->path + 4, NULL, 10) < x->h.db->life->recovered.base.wal_segment;
}

/* What could still be needed is where it was, or in quarantine/. */
static void check_kept(struct matrix *x)
{
    struct tree *after = tree_read(&x->h.options.fs);
    for (uint32_t i = 0; i < x->own.now->count; i++) {
        const struct tree_file *f = &x->own.now->files[i];
        bool log_or_block = strncmp(f->path, "wal/", 4) == 0 || strncmp(f->path, "blocks/", 7) == 0;
        bool of_blocks = x->row->lacks & IN_BLOCK || x->row->lacks == DELETED;
        if (f != x->file && (log_or_block || !of_blocks) && !strstr(f->path, ".tmp") &&
            strcmp(f->path, "wal/POSITION") != 0 && !covered(x, f) && !kept_somewhere(after, f)) {
            mx_fail(&x->s.m, "%u samples are missing, and %s is gone", x->lost, f->path);
        }
    }
    tree_free(after);
}

/* ---- a case ---- */

/* A block has samples of its time alone. */
static void lost_range(struct matrix *x)
{
    const char *name = strrchr(x->file->path, '/');
    char path[TREE_PATH_BYTES];
    x->lost_from_ms = INT64_MIN;
    x->lost_to_ms = INT64_MAX;
    if (strncmp(x->file->path, "blocks/", 7) == 0) {
        snprintf(path, sizeof path, "%.*s/meta.json", (int)(name - x->file->path), x->file->path);
        const struct tree_file *meta = tree_find(x->own.now, path, "");
        char text[1024];
        assert_true(meta && meta->len < sizeof text);
        memcpy(text, meta->data, meta->len);
        text[meta->len] = 0;
        const char *from = strstr(text, "\"min_ms\": ");
        const char *to = strstr(text, "\"max_ms\": ");
        assert_true(from && to);
        x->lost_from_ms = strtoll(from + strlen("\"min_ms\": "), NULL, 10);
        x->lost_to_ms = strtoll(to + strlen("\"max_ms\": "), NULL, 10);
    }
}

/* What was deleted by hand, or is whole and of before, cannot be told. */
static bool silent(const struct matrix *x)
{
    return x->lost == 0 && (x->damage == GONE || x->damage == EARLIER);
}

/* Head files are named by their paths, blocks by their ULIDs. */
static void name_of(struct matrix *x)
{
    snprintf(x->name, sizeof x->name, "%s", x->file->path);
    if (strncmp(x->file->path, "blocks/", 7) == 0) {
        snprintf(x->name, sizeof x->name, "%.26s", x->file->path + 7);
    }
}

/* New samples of new and of old series; a flush, a second start. */
static void go_on(struct matrix *x)
{
    struct hx *h = &x->h;
    struct notes *fresh = &x->fresh_notes;
    struct tsdb_error err = {0};
    uint32_t lost = x->lost;
    if (tsdb_state(h->db, &err) != TSDB_STATE_READY) {
        mx_fail(&x->s.m, "it takes no writes: %s", err.msg);
        return;
    }
    put(h, fresh, FRESH, 24, IN_LOG);
    look(x);
    if (tsdb_flush(h->db, &err) != TSDB_OK && lost == 0) {
        mx_fail(&x->s.m, "flush: %s", err.msg);
    }
    look(x);
    if (hx_close(h, &err) != TSDB_OK || hx_open(h, &err) != TSDB_OK) {
        mx_fail(&x->s.m, "a second start: %s", err.msg);
        return;
    }
    look(x);
    if (x->fresh != fresh->count) {
        mx_fail(&x->s.m, "%u of %u samples that were written after it are there", x->fresh,
                fresh->count);
    }
    if (x->lost > lost) {
        mx_fail(&x->s.m, "%u samples were missing, after a second start %u", lost, x->lost);
    }
}

/* The disk has room again: it takes writes by itself, within minutes. */
static void make_room(struct matrix *x)
{
    struct hx *h = &x->h;
    tsdb_fs_sim_fault(h->sim, TSDB_FAULT_NONE, 1, 0);
    for (uint32_t i = 0; i < 12 && tsdb_state(h->db, NULL) != TSDB_STATE_READY; i++) {
        tsdb_clock_sim_advance(&h->clock, 20000);
        (void)tsdb_checkpoint_step(h->db, h->clock.mono_ns);
        hx_settle(h);
    }
}

static void open_and_look(struct matrix *x)
{
    struct hx *h = &x->h;
    struct tsdb_error err = {0};
    h->clock.wall_ms = HX_WALL_MS + 60 * RANGE;
    struct tree *laid = tree_read(&h->options.fs);
    if (x->full) {
        assert_ok(h->options.fs.ops->mkdir(h->options.fs.ctx, BLOCKS_DIR, NULL));
        tsdb_fs_sim_fault(h->sim, TSDB_FAULT_ENOSPC, 1, UINT64_MAX);
    }
    x->opened = hx_open(h, &err) == TSDB_OK;
    if (!x->opened) {
        x->refused++;
        if (!x->row->refuses) {
            mx_fail(&x->s.m, "it does not open: %s", err.msg);
        }
        if (!err.msg[0]) {
            mx_fail(&x->s.m, "it does not open, and says nothing");
        }
        struct tree *after = tree_read(&h->options.fs);
        const char *lacks = tree_lacks(after, laid);
        if (lacks) {
            mx_fail(&x->s.m, "it does not open, and %s is another", lacks);
        }
        tree_free(after);
    } else {
        look(x);
        if (x->lost + x->shown_again > 0) {
            x->with_loss++;
            if (said(x) == 0 && !silent(x)) {
                mx_fail(&x->s.m, "%u samples are missing, %u show again, and nothing says so",
                        x->lost, x->shown_again);
            }
            check_kept(x);
        }
        make_room(x);
        go_on(x);
    }
    tree_free(laid);
}

static void run_case(struct matrix *x)
{
    configure(&x->h, 77);
    tree_lay(&x->h.options.fs, x->own.now);
    x->notes = &x->own.notes;
    lost_range(x);
    name_of(x);
    x->fresh_notes.count = 0;
    if (damage_do(x)) {
        x->cases++;
        open_and_look(x);
        if (getenv("TSDB_MATRIX")) {
            print_message("%s, %s, %s%s: %s, lost %u, again %u. %s\n", stage_names[x->stage],
                          damage_names[x->damage], x->file->path, x->full ? ", on a full disk" : "",
                          x->opened ? "opened" : "refused", x->lost, x->shown_again,
                          x->s.m.failure);
            x->s.m.failure[0] = 0;
        }
    }
    x->lost = x->shown_again = 0;
    hx_deinit(&x->h);
    memset(&x->h, 0, sizeof x->h);
}

static void run_stage(struct matrix *x)
{
    directory_make(&x->own, x->stage, 5, OWN);
    directory_make(&x->other, x->stage, 6, OTHERS);
    for (uint32_t i = 0; i < x->own.now->count; i++) {
        x->file = &x->own.now->files[i];
        x->row = row_of(x->file->path);
        if (!x->row || strstr(x->file->path, ".tmp/")) {
            continue;
        }
        for (uint32_t k = 0; k < DAMAGES; k++) {
            x->damage = (enum damage)k;
            for (uint32_t n = 0; n <= damage_times[k] && !x->s.m.failure[0]; n++) {
                x->full = n == damage_times[k];                       /* once more */
                if (!x->full || strcmp(x->file->path, "LOCK") != 0) { /* which must be made */
                    run_case(x);
                }
                if (x->s.m.failure[0]) {
                    print_message("%s, %s%s: %s\n", x->file->path, damage_names[k],
                                  x->full ? ", on a full disk" : "", stage_names[x->stage]);
                }
            }
        }
    }
}

/* The page has this table, to the letter. */
static void check_page(void)
{
    char table[8192];
    size_t n = (size_t)snprintf(table, sizeof table,
                                "| file | a start | what may be missing | how it is said |\n"
                                "|---|---|---|---|\n");
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        n += (size_t)snprintf(table + n, sizeof table - n, "| %s | %s | %s | %s |\n", r->file,
                              r->start, r->missing, r->said);
    }
    assert_true(n < sizeof table);
    golden_check_text("docs/operating.md", table);
}

static void directory_free(struct directory *d)
{
    tree_free(d->earlier);
    tree_free(d->now);
}

static void run_seed(struct matrix *x, uint64_t seed)
{
    scene_begin(&x->s, seed);
    for (uint32_t i = 0; i < STAGES && !x->s.m.failure[0]; i++) {
        x->stage = (enum stage)i;
        run_stage(x);
        directory_free(&x->own);
        directory_free(&x->other);
    }
    scene_end_checked(&x->s, "TSDB_SEED_FROM=%llu", (unsigned long long)seed);
}

static void tsdb_open__any_file_damaged_in_any_way__loses_what_the_page_says(void **state)
{
    struct matrix *x = *state;
    struct seeds seeds = seeds_of(1, 1);
    for (uint64_t i = 0; i < seeds.count; i++) {
        run_seed(x, seeds.first + i);
    }
    print_message("%u cases, %u refused, %u with a loss\n", x->cases, x->refused, x->with_loss);
    assert_true(x->cases > 500 && x->with_loss > x->cases / 8);
    check_page();
}

static int setup(void **state)
{
    return scene_setup_of(state, sizeof(struct matrix));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(
        tsdb_open__any_file_damaged_in_any_way__loses_what_the_page_says, setup, scene_teardown),
};

TEST_MAIN(tests)
