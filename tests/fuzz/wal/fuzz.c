/* A segment's bytes: replay never reads out of bounds and never invents damage outside of the file,
 * and whatever it calls a frame decodes within itself; and it finds the same whether it reads a segment
 * as a whole or in windows. Run as they are, and once more with headers
 * and CRCs put right, so that the decoders behind the CRC are reached. */
#include "base/log.h"
#include "wal/wal_format.h"
#include "wal/wal_private.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define LABELS_MAX 32

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static void samples_decode(const struct wal_frame *f, struct wal_decoder d)
{
    struct wal_sample s;
    uint64_t base = 0;
    while (wal_decode_sample(&d, &s)) {
        must(s.local < TSDB_SERIES_LOCAL_MAX);
        must(s.raw.len == 0 ||
             (s.raw.data >= f->payload && s.raw.data + s.raw.len <= f->payload + f->len));
        base = s.kind == TSDB_SAMPLE_FLOAT ? wal_sample_unpack(&s, base) : base;
    }
    must(d.failed || d.pos == f->payload + f->len);
}

static void frame_decode(const struct wal_frame *f)
{
    struct wal_frame_head head;
    struct wal_decoder d, again;
    struct tsdb_label items[LABELS_MAX];
    struct tsdb_exemplar x;
    struct tsdb_buf labels;
    uint32_t local, count;
    must(f->partition < TSDB_PARTITIONS);
    if (wal_decode_head(f->payload, f->len, f->time_ms, &head, &d, NULL) != TSDB_OK) {
        return;
    }
    samples_decode(f, d);
    tsdb_buf_init(&labels, TSDB_MEM_OTHER, 0);
    for (again = d; wal_decode_series(&again, &labels, &local);) {
        must(local < TSDB_SERIES_LOCAL_MAX && labels.len <= f->len);
        (void)!tsdb_labels_decode(labels.data, labels.len, items, LABELS_MAX, &count, NULL);
    }
    tsdb_buf_deinit(&labels);
    for (again = d; wal_decode_exemplar(&again, &local, items, LABELS_MAX, &x);) {
        must(x.labels.count <= LABELS_MAX);
    }
}

static void file_put(const struct tsdb_fs *fs, const char *path, const uint8_t *data, size_t len)
{
    struct tsdb_file *f;
    must(fs->ops->open(fs->ctx, path, TSDB_OPEN_WRITE | TSDB_OPEN_CREATE, &f, NULL) == TSDB_OK);
    must(len == 0 || fs->ops->pwrite(fs->ctx, f, data, len, 0, NULL) == TSDB_OK);
    fs->ops->close(fs->ctx, f);
}

/* What one replay found. */
struct replayed {
    enum tsdb_status status;
    uint32_t frames, damages;
    uint32_t crc; /* of all of them */
};

static void replayed_add(struct replayed *out, const void *data, size_t len)
{
    out->crc = tsdb_crc32c(out->crc, data, len);
}

static void view_take(const struct wal_segment_view *view, struct replayed *out)
{
    for (uint32_t i = 0; i < view->frame_count; i++) {
        const struct wal_frame *f = &view->frames[i];
        uint64_t numbers[] = {view->segment, f->offset, (uint64_t)f->time_ms, f->type, f->partition,
                              f->len,        f->bytes};
        must(i == 0 || f->offset >= f[-1].offset);
        must(i == 0 || f->payload >= f[-1].payload + f[-1].len);
        replayed_add(out, numbers, sizeof numbers);
        replayed_add(out, f->payload, f->len);
        frame_decode(f);
    }
    out->frames += view->frame_count;
}

static struct replayed replay_once(const struct tsdb_fs *fs, uint32_t window_bytes)
{
    struct wal_replay_options options = {.fs = fs, .dir = "wal", .window_bytes = window_bytes};
    struct wal_replay *r;
    struct wal_segment_view view;
    struct replayed out = {.status = wal_replay_open(&options, &r, NULL)};
    if (out.status != TSDB_OK) {
        return out;
    }
    while ((out.status = wal_replay_segment(r, &view, NULL)) == TSDB_OK) {
        view_take(&view, &out);
    }
    const struct wal_damage *damage;
    out.damages = wal_replay_damage(r, &damage);
    for (uint32_t i = 0; i < out.damages; i++) {
        uint64_t numbers[] = {damage[i].segment, damage[i].from, damage[i].to, damage[i].torn_tail};
        must(damage[i].from <= damage[i].to);
        replayed_add(&out, numbers, sizeof numbers);
    }
    wal_replay_close(r);
    return out;
}

static void replay(const uint8_t *data, size_t len, const uint8_t *second, size_t second_len)
{
    static const uint32_t windows[] = {WAL_REPLAY_WINDOW_MIN, 333, 4096};
    struct tsdb_fs_sim *sim;
    struct tsdb_fs fs;
    must(tsdb_fs_sim_create(1, &sim, &fs) == TSDB_OK);
    must(fs.ops->mkdir(fs.ctx, "wal", NULL) == TSDB_OK);
    file_put(&fs, "wal/00000001", data, len);
    if (second) {
        file_put(&fs, "wal/00000002", second, second_len);
    }
    struct replayed whole = replay_once(&fs, 0);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(windows); i++) {
        struct replayed other = replay_once(&fs, windows[i]);
        must(other.status == whole.status);
        /* Of a segment that is refused, windows show what stands before. */
        must(whole.status != TSDB_NOT_FOUND ||
             (other.frames == whole.frames && other.damages == whole.damages &&
              other.crc == whole.crc));
    }
    tsdb_fs_sim_destroy(sim);
}

/* Make a payload groups: types that there are, lengths that end within it. */
static void groups_put_right(uint8_t *p, size_t len)
{
    const uint8_t *end = p + len;
    uint64_t body = 0;
    int64_t ahead;
    while (end - p >= 2) {
        *p |= *p >> WAL_GROUP_TYPE_SHIFT == 0 ? 1u << WAL_GROUP_TYPE_SHIFT : 0;
        const uint8_t *at = tsdb_get_varint(p + 1, end, &ahead);
        const uint8_t *begin = at ? tsdb_get_uvarint(at, end, &body) : NULL;
        if (!at || at == end) {
            return;
        }
        uint8_t *length = p + (at - p);
        if (!begin || body < WAL_GROUP_BODY_MIN || body > (uint64_t)(end - begin)) {
            *length = (uint8_t)TSDB_MIN(end - at - 1, 0x7f);
            begin = at + 1;
            body = *length;
        }
        p += (size_t)(begin - p) + (size_t)body;
    }
}

/* Give the segment a header, and every stretch that could be a frame the magic and CRC. */
static void put_right(uint8_t *data, size_t len)
{
    if (len < WAL_SEGMENT_HEADER_BYTES) {
        return;
    }
    wal_segment_header_put(data, 0, 1, 0, 0);
    size_t at = WAL_SEGMENT_HEADER_BYTES;
    while (len - at >= WAL_FRAME_HEADER_BYTES) {
        uint8_t *p = data + at;
        uint32_t left = (uint32_t)(len - at - WAL_FRAME_HEADER_BYTES) & ~(WAL_FRAME_ALIGN - 1);
        tsdb_store_le32(p + WAL_FRAME_AT_MAGIC, WAL_FRAME_MAGIC);
        tsdb_store_le32(p + WAL_FRAME_AT_LEN, TSDB_MIN(tsdb_load_le32(p + WAL_FRAME_AT_LEN), left));
        p[WAL_FRAME_AT_TYPE] = WAL_FRAME_GROUPS;
        memset(p + WAL_FRAME_AT_ZERO, 0, 3);
        groups_put_right(p + WAL_FRAME_HEADER_BYTES, tsdb_load_le32(p + WAL_FRAME_AT_LEN));
        tsdb_store_le32(p + WAL_FRAME_AT_CRC, wal_frame_crc(p, 1, at));
        at += (size_t)wal_frame_bytes(tsdb_load_le32(p + WAL_FRAME_AT_LEN));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    tsdb_log_configure(TSDB_LOG_ERROR, TSDB_LOG_LOGFMT);
    replay(data, len, NULL, 0);
    if (len == 0 || len > 1u << 16) {
        return 0;
    }
    uint8_t *copy = malloc(len);
    must(copy != NULL);
    memcpy(copy, data, len);
    put_right(copy, len);
    uint8_t next[WAL_SEGMENT_HEADER_BYTES];
    wal_segment_header_put(next, 0, 2, 1, data[len - 1] * UINT64_C(16));
    replay(copy, len, next, sizeof next);
    free(copy);
    return 0;
}
