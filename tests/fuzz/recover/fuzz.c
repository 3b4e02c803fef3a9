/* A data directory that something has changed: bytes, lengths, files gone, files of an earlier
 * moment of the same directory, or one file in the place of another.
 *
 * The directory is made once: series that come one after another, write, seal, flush, checkpoint, write on and are killed;
 * the earlier moment is the one before the second checkpoint. An input is a mode and up to 16
 * changes of some bytes each (`change` below).
 *
 * Mode 0, checksums as they are: what opens shows only samples that were written, under their own
 * labels, each with its value; whatever is missing. Mode 1, checksums stubbed (every CRC is the same
 * number, so that any change reaches the code behind them): any content may come out.
 *
 * Invariants checked in both: opening ends, with a text if it fails; what opened takes writes, closes,
 * and opens again with the same content and those writes in it. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "tests/support/tsdb/harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define FILES_MAX   96
#define CHANGES_MAX 16
#define SERIES      12u
#define ROUNDS      40u
#define EXTRA       400u /* the series that is written after opening */
#define BEGIN_MS    (HX_WALL_MS - 3600000)

/* ---- the checksum: ours, so that it can be stubbed; base/crc32c.o stays out ---- */

static bool stubbed;

uint32_t tsdb_crc32c_table(uint32_t crc, const void *data, size_t len)
{
    static uint32_t table[256];
    if (table[1] == 0) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int bit = 0; bit < 8; bit++) {
                c = c & 1 ? c >> 1 ^ UINT32_C(0x82F63B78) : c >> 1;
            }
            table[i] = c;
        }
    }
    const uint8_t *p = data;
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc = table[(crc ^ p[i]) & 255] ^ crc >> 8;
    }
    return ~crc;
}

uint32_t tsdb_crc32c(uint32_t crc, const void *data, size_t len)
{
    return stubbed ? UINT32_C(0x5eed5eed) : tsdb_crc32c_table(crc, data, len);
}

/* ---- directories in memory ---- */

struct stored {
    char path[192];
    uint8_t *data;
    size_t len;
    bool is_dir;
};
struct directory {
    struct stored files[FILES_MAX];
    uint32_t count;
};
/* Two moments, with true checksums and with stubbed ones. */
static struct directory moments[2][2];

static void keep_file(const struct tsdb_fs *fs, struct stored *s)
{
    struct tsdb_file_info info;
    struct tsdb_file *f;
    size_t got = 0;
    TSDB_ASSERT(fs->ops->stat(fs->ctx, s->path, &info, NULL) == TSDB_OK);
    s->len = (size_t)info.size_bytes;
    s->data = malloc(s->len + 1);
    TSDB_ASSERT(s->data);
    TSDB_ASSERT(fs->ops->open(fs->ctx, s->path, TSDB_OPEN_READ, &f, NULL) == TSDB_OK);
    TSDB_ASSERT(fs->ops->pread(fs->ctx, f, s->data, s->len, 0, &got, NULL) == TSDB_OK);
    TSDB_ASSERT(got == s->len);
    fs->ops->close(fs->ctx, f);
}

struct walk {
    struct directory *to;
    const char *dir;
};

static enum tsdb_status on_entry(void *arg, const char *name, bool is_dir)
{
    struct walk *w = arg;
    TSDB_ASSERT(w->to->count < FILES_MAX);
    struct stored *s = &w->to->files[w->to->count++];
    snprintf(s->path, sizeof s->path, "%s%s%s", w->dir, w->dir[0] ? "/" : "", name);
    s->is_dir = is_dir;
    return TSDB_OK;
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const struct stored *)a)->path, ((const struct stored *)b)->path);
}

static void keep(const struct tsdb_fs *fs, struct directory *to)
{
    struct walk w = {to, ""};
    TSDB_ASSERT(fs->ops->list(fs->ctx, "", on_entry, &w, NULL) == TSDB_OK);
    for (uint32_t i = 0; i < to->count; i++) {
        w.dir = to->files[i].path;
        if (to->files[i].is_dir) {
            TSDB_ASSERT(fs->ops->list(fs->ctx, w.dir, on_entry, &w, NULL) == TSDB_OK);
        } else {
            keep_file(fs, &to->files[i]);
        }
    }
    qsort(to->files, to->count, sizeof to->files[0], compare_paths);
}

/* ---- what was written ---- */

static double value_of(uint32_t series, uint32_t round)
{
    return series * 1000.0 + round;
}

static void put_round(struct hx *h, uint32_t round)
{
    struct hx_sample samples[SERIES];
    uint32_t count = 0;
    for (uint32_t i = 0; i < SERIES && i * 3 <= round; i++) { /* series come one after another */
        samples[count++] = hx_float(i, BEGIN_MS + (int64_t)round * 60000, value_of(i, round));
    }
    TSDB_ASSERT(hx_put(h, samples, count, TSDB_DURABILITY_STRICT, NULL) == TSDB_OK);
    tsdb_clock_sim_advance(&h->clock, 60000);
}

static void options_set(struct hx *h)
{
    h->options.block_range_ms = 600000;
    h->options.head_file_bytes_max = 4096;
    h->options.exemplars_max = 10;
    h->clock.wall_ms = BEGIN_MS;
}

/* Blocks, head files, a checkpoint and a log, all of them not empty. */
static void make(struct directory *before, struct directory *after)
{
    struct hx h;
    hx_init(&h, 3);
    options_set(&h);
    TSDB_ASSERT(hx_open(&h, NULL) == TSDB_OK);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        put_round(&h, round);
        if (round == 14 || round == 29) {
            TSDB_ASSERT(tsdb_flush(h.db, NULL) == TSDB_OK);
        }
        if (round == 18 || round == 32) {
            TSDB_ASSERT(tsdb_checkpoint(h.db, NULL) == TSDB_OK);
        }
        if (round == 24) {
            hx_die(&h, true);
            keep(&h.options.fs, before);
            TSDB_ASSERT(hx_open(&h, NULL) == TSDB_OK);
        }
    }
    hx_die(&h, true);
    keep(&h.options.fs, after);
    hx_deinit(&h);
}

/* ---- changes ---- */

struct input {
    const uint8_t *p, *end;
};

static uint32_t take(struct input *in)
{
    return in->p < in->end ? *in->p++ : 0;
}

static uint32_t take2(struct input *in)
{
    uint32_t high = take(in);
    return high << 8 | take(in);
}

static void set_data(struct stored *s, const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len + 1);
    TSDB_ASSERT(copy);
    memcpy(copy, data, len);
    free(s->data);
    s->data = copy;
    s->len = len;
}

/* Index of the path in a directory, or its count. */
static uint32_t find(const struct directory *d, const char *path)
{
    uint32_t i = 0;
    while (i < d->count && strcmp(d->files[i].path, path) != 0) {
        i++;
    }
    return i;
}

static void change(struct input *in, struct directory *d, const struct directory *earlier)
{
    uint32_t kind = take(in) % 8;
    struct stored *s = &d->files[take(in) % d->count];
    if (s->is_dir) {
        return;
    }
    size_t at = s->len > 0 ? take2(in) % s->len : 0;
    uint32_t n = 1 + take(in) % 64;
    switch (kind) {
    case 0: /* one byte */
        if (s->len > 0) {
            s->data[at] ^= (uint8_t)(1 + take(in) % 255);
        }
        break;
    case 1: /* cut */
        s->len = at;
        break;
    case 2: /* gone */
        s->is_dir = true;
        s->path[0] = '\0';
        break;
    case 3: { /* as it was earlier; gone if it was not there */
        uint32_t i = find(earlier, s->path);
        if (i < earlier->count) {
            set_data(s, earlier->files[i].data, earlier->files[i].len);
        } else {
            s->is_dir = true;
            s->path[0] = '\0';
        }
        break;
    }
    case 4: /* zeroes */
        for (size_t i = at; i < s->len && i < at + 64 * (size_t)n; i++) {
            s->data[i] = 0;
        }
        break;
    case 5: /* bytes of the input */
        for (size_t i = at; i < s->len && i < at + n && in->p < in->end; i++) {
            s->data[i] = (uint8_t)take(in);
        }
        break;
    case 6: { /* another file's content */
        const struct stored *other = &d->files[take(in) % d->count];
        if (other != s && !other->is_dir) {
            set_data(s, other->data, other->len);
        }
        break;
    }
    default: { /* a file of the earlier moment that is not there any more */
        const struct stored *old = &earlier->files[at % earlier->count];
        if (!old->is_dir && find(d, old->path) == d->count && d->count < FILES_MAX) {
            struct stored *more = &d->files[d->count++];
            *more = (struct stored){0};
            memcpy(more->path, old->path, sizeof more->path);
            set_data(more, old->data, old->len);
        }
        break;
    }
    }
}

/* ---- looking ---- */

struct content {
    uint64_t samples;
    uint64_t digest; /* of all of them, in any order */
    bool extra;      /* the one that was written after opening */
};

/* Was this written? */
static void check_sample(uint32_t series, int64_t t_ms, uint64_t bits)
{
    int64_t since = t_ms - BEGIN_MS;
    TSDB_ASSERT(series < SERIES && since >= 0 && since % 60000 == 0 && since / 60000 < ROUNDS);
    TSDB_ASSERT(bits == tsdb_double_bits(value_of(series, (uint32_t)(since / 60000))));
}

/* The number of a series of the harness; with true checksums its labels must be whole. */
static uint32_t series_of(const struct tsdb_labels *labels)
{
    char name[16];
    TSDB_ASSERT(labels->count == 2 && labels->items[1].name_len == 1);
    uint32_t series = 0;
    for (uint32_t i = 0; i < labels->items[1].value_len; i++) {
        series = series * 10 + (uint32_t)(labels->items[1].value[i] - '0');
    }
    snprintf(name, sizeof name, "m%u", series % 7);
    TSDB_ASSERT(labels->items[0].value_len == strlen(name) &&
                memcmp(labels->items[0].value, name, strlen(name)) == 0);
    return series;
}

static void look_series(struct tsdb_querier *q, tsdb_series_ref ref, struct tsdb_arena *arena,
                        struct content *out)
{
    struct tsdb_labels labels;
    struct tsdb_columns c;
    struct tsdb_error err = {0};
    if (tsdb_series_labels(q, ref, arena, &labels, &err) != TSDB_OK ||
        tsdb_series_read(q, ref, TSDB_TIME_ALL, arena, &c, &err) != TSDB_OK) {
        TSDB_ASSERT(err.msg[0]); /* damage that is found on reading */
        return;
    }
    uint64_t hash = 0;
    for (uint32_t i = 0; i < labels.count; i++) {
        hash = hash * 31 + tsdb_hash64_plain(labels.items[i].name, labels.items[i].name_len);
        hash = hash * 31 + tsdb_hash64_plain(labels.items[i].value, labels.items[i].value_len);
    }
    for (uint32_t i = 0; i < c.count; i++) {
        bool is_float = !c.kind || c.kind[i] == TSDB_SAMPLE_FLOAT;
        uint64_t bits = is_float ? c.bits[i] : 1;
        if (!stubbed && series_of(&labels) == EXTRA) {
            out->extra = true;
            TSDB_ASSERT(bits == tsdb_double_bits(42));
        } else if (!stubbed) {
            TSDB_ASSERT(is_float);
            check_sample(series_of(&labels), c.t_ms[i], bits);
        }
        uint64_t row[3] = {hash, (uint64_t)c.t_ms[i], bits};
        out->digest += tsdb_hash64_plain(row, sizeof row);
        out->samples++;
    }
}

static void look(struct hx *h, struct content *out)
{
    struct tsdb_querier *q = NULL;
    struct tsdb_error err = {0};
    struct tsdb_arena arena;
    struct tsdb_series_set set;
    struct tsdb_matcher all = {
        .op = TSDB_MATCH_NE, .name = "no", .name_len = 2, .value = "x", .value_len = 1};
    *out = (struct content){0};
    TSDB_ASSERT(tsdb_querier_open(h->db, NULL, TSDB_TIME_ALL, &q, &err) == TSDB_OK);
    tsdb_arena_init(&arena, TSDB_MEM_OTHER, 1u << 14, NULL);
    if (tsdb_select(q, &all, 1, &set, &err) == TSDB_OK) {
        for (uint32_t i = 0; i < set.count; i++) {
            tsdb_arena_reset(&arena);
            look_series(q, set.refs[i], &arena, out);
        }
    }
    tsdb_arena_deinit(&arena);
    tsdb_querier_close(q);
}

/* ---- one run ---- */

static void lay(const struct tsdb_fs *fs, const struct directory *d)
{
    for (uint32_t i = 0; i < d->count; i++) {
        const struct stored *s = &d->files[i];
        char dir[sizeof s->path];
        struct tsdb_file *f;
        memcpy(dir, s->path, sizeof dir);
        char *slash = dir;
        while ((slash = strchr(slash, '/')) != NULL) {
            *slash = '\0';
            TSDB_ASSERT(fs->ops->mkdir(fs->ctx, dir, NULL) == TSDB_OK);
            *slash++ = '/';
        }
        if (s->is_dir) {
            TSDB_ASSERT(!s->path[0] || fs->ops->mkdir(fs->ctx, s->path, NULL) == TSDB_OK);
            continue;
        }
        TSDB_ASSERT(fs->ops->open(fs->ctx, s->path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &f, NULL) ==
                    TSDB_OK);
        TSDB_ASSERT(fs->ops->pwrite(fs->ctx, f, s->data, s->len, 0, NULL) == TSDB_OK);
        fs->ops->close(fs->ctx, f);
    }
}

static void run(const struct directory *d)
{
    struct hx h;
    struct tsdb_error err = {0};
    struct content first, second;
    hx_init(&h, 3);
    options_set(&h);
    h.clock.wall_ms = HX_WALL_MS;
    lay(&h.options.fs, d);
    if (hx_open(&h, &err) != TSDB_OK) {
        TSDB_ASSERT(err.msg[0]);
        hx_deinit(&h);
        return;
    }
    look(&h, &first);
    struct hx_sample more = hx_float(EXTRA, HX_WALL_MS, 42);
    enum tsdb_status wrote = hx_put(&h, &more, 1, TSDB_DURABILITY_STRICT, NULL);
    enum tsdb_status closed = hx_close(&h, &err);
    TSDB_ASSERT(stubbed || (wrote == TSDB_OK && closed == TSDB_OK));
    if (hx_open(&h, &err) == TSDB_OK) {
        look(&h, &second);
        TSDB_ASSERT(stubbed || second.extra);
        TSDB_ASSERT(stubbed || second.samples == first.samples + 1);
    } else {
        TSDB_ASSERT(stubbed);
    }
    hx_deinit(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static bool made;
    static struct directory d;
    struct input in = {data, data + len};
    if (!made) {
        tsdb_log_configure(TSDB_LOG_ERROR + 1, TSDB_LOG_LOGFMT);
        for (int mode = 0; mode < 2; mode++) {
            stubbed = mode == 1;
            make(&moments[mode][0], &moments[mode][1]);
        }
        made = true;
    }
    stubbed = take(&in) % 2 == 1;
    d = moments[stubbed][1];
    for (uint32_t i = 0; i < d.count; i++) {
        if (d.files[i].data) {
            const uint8_t *bytes = d.files[i].data;
            d.files[i].data = NULL;
            set_data(&d.files[i], bytes, d.files[i].len);
        }
    }
    for (int i = 0; i < CHANGES_MAX && in.p < in.end; i++) {
        change(&in, &d, &moments[stubbed][0]);
    }
    run(&d);
    for (uint32_t i = 0; i < d.count; i++) {
        free(d.files[i].data);
    }
    return 0;
}
