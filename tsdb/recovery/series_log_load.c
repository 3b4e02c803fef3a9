/* Loading of series.log: windows of records, checked, damage passed over; and marks. */
#include "base/assert.h"
#include "base/log.h"
#include "model/version.h"
#include "tsdb/recovery/damage.h"
#include "tsdb/recovery/datadir.h"
#include "tsdb/recovery/series_log_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RECORD_BYTES_MIN  (SERIES_LOG_RECORD_BYTES + 2u)
#define RANGES_LOGGED_MAX 16u
#define SECTOR_BYTES      4096u /* what the disk does not give is passed over in such steps */

struct load {
    struct series_log *s;
    const struct series_log_mark *marks;
    uint32_t mark_count;
    struct tsdb_file *file;
    uint64_t file_bytes, bytes_relied, stamp;
    uint64_t offset; /* of data[0] in the file */
    uint8_t *data;   /* window_bytes; of the window that is being filled, as are the records */
    size_t window_bytes, len;
    struct series_log_record *records; /* window_records */
    uint32_t window_records, count;
    struct load_window { /* in turn */
        uint8_t *data;
        struct series_log_record *records;
        struct series_log_window view;
    } windows[SERIES_LOG_WINDOWS_MAX];
    uint32_t window_count, turn;
    bool lost; /* between damage and the next good record: at.last_crc is of no use */
    struct series_log_mark at; /* behind the last good record */
    struct series_log_found *found;
};

static bool record_good(const struct series_log_record *r)
{
    const uint8_t *p = r->bytes;
    return tsdb_load_le32(p + 4) == series_log_record_crc(r->crc_before, r->offset, p,
                                                          p + SERIES_LOG_RECORD_BYTES,
                                                          tsdb_load_le32(p));
}

/* ---- the header ---- */
enum tsdb_status series_log_header_check(const uint8_t *data, size_t len, struct tsdb_error *err)
{
    if (len < SERIES_LOG_AT_IDENTITY || memcmp(data, SERIES_LOG_MAGIC, 8) != 0 ||
        tsdb_load_le32(data + SERIES_LOG_AT_VERSION_CRC) !=
            tsdb_crc32c(0, data, SERIES_LOG_AT_VERSION_CRC)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "no valid header");
    }
    uint32_t version = tsdb_load_le32(data + SERIES_LOG_AT_VERSION);
    if (version != TSDB_FORMAT_SERIES_LOG) {
        return tsdb_error_set(err, TSDB_UNSUPPORTED, "format version %u; this version knows %d",
                              (unsigned)version, TSDB_FORMAT_SERIES_LOG);
    }
    if (len < SERIES_LOG_HEADER_BYTES ||
        tsdb_load_le32(data + SERIES_LOG_AT_CRC) != tsdb_crc32c(0, data, SERIES_LOG_AT_CRC)) {
        return tsdb_error_set(err, TSDB_CORRUPT, "no valid identity");
    }
    return TSDB_OK;
}

static void damage_note(struct load *l, uint64_t from, uint64_t to, const char *what)
{
    struct series_log_found *f = l->found;
    f->damaged_first = f->damaged_ranges == 0 ? from : f->damaged_first;
    f->damaged_ranges++;
    f->damaged_bytes += to - from;
    if (f->damaged_ranges > RANGES_LOGGED_MAX) {
        return;
    }
    tsdb_log(TSDB_LOG_ERROR, "recovery", "a stretch of series.log is damaged and was left out",
             TSDB_U("from", from), TSDB_U("to", to), TSDB_S("what", what));
}

static void rely(struct load *l)
{
    for (uint32_t i = 0; i < l->mark_count; i++) {
        const struct series_log_mark *m = &l->marks[i];
        if (memcmp(m->identity, l->at.identity, sizeof m->identity) == 0) {
            l->bytes_relied = TSDB_MAX(l->bytes_relied, m->bytes);
        }
    }
}

/* Of a header that is damaged the marks tell what it was; that of another file fits no record behind it. NOT_FOUND:
 * nobody tells. */
static enum tsdb_status take_header(struct load *l, struct tsdb_error *err)
{
    uint8_t header[SERIES_LOG_HEADER_BYTES];
    enum tsdb_status status = series_log_header_check(l->data, l->len, err);
    if (status == TSDB_UNSUPPORTED) {
        return tsdb_error_prefix(err, status, DATADIR_SERIES_LOG);
    }
    if (status == TSDB_OK) {
        memcpy(header, l->data, sizeof header);
    } else if (l->mark_count > 0 && l->marks[0].bytes > 0 && l->len >= sizeof header) {
        series_log_header_put(l->marks[0].identity, header);
        damage_note(l, 0, SERIES_LOG_HEADER_BYTES, "no valid header");
    } else {
        return TSDB_NOT_FOUND;
    }
    memcpy(l->at.identity, header + SERIES_LOG_AT_IDENTITY, SERIES_LOG_IDENTITY_BYTES);
    l->at.bytes = SERIES_LOG_HEADER_BYTES;
    l->at.last_crc = tsdb_load_le32(header + SERIES_LOG_AT_CRC);
    rely(l);
    return TSDB_OK;
}

/* ---- records ---- */
/* Bytes of a record at data + pos, by its length; 0: it is none, or not there as a whole. */
static size_t record_bytes(const struct load *l, size_t pos)
{
    size_t left = l->len - pos;
    if (left < SERIES_LOG_RECORD_BYTES) {
        return 0;
    }
    uint32_t len = tsdb_load_le32(l->data + pos);
    return len >= 2 && len <= SERIES_LOG_PAYLOAD_MAX && left - SERIES_LOG_RECORD_BYTES >= len
               ? SERIES_LOG_RECORD_BYTES + len
               : 0;
}

/* The record of `bytes` at data + pos, unchecked but for its form. */
static bool record_parse(const struct load *l, size_t pos, size_t bytes, uint32_t crc_before,
                         struct series_log_record *out)
{
    struct tsdb_reader r;
    const uint8_t *p = l->data + pos;
    tsdb_reader_init(&r, p + SERIES_LOG_RECORD_BYTES, bytes - SERIES_LOG_RECORD_BYTES);
    uint32_t partition = tsdb_reader_u8(&r);
    uint64_t local = tsdb_reader_uvarint(&r);
    size_t labels_len = tsdb_reader_left(&r);
    *out = (struct series_log_record){
        .partition = partition,
        .local = (uint32_t)local,
        .labels = tsdb_reader_bytes(&r, labels_len),
        .bytes = p,
        .offset = l->offset + pos,
        .crc_before = crc_before,
    };
    return !r.failed && partition < TSDB_PARTITIONS && local < TSDB_SERIES_IDS_MAX - 1;
}

/* Is the record at data + pos known to go beyond the window, so that more must be read first? */
static bool needs_more(const struct load *l, size_t pos)
{
    size_t left = l->len - pos;
    bool at_end = l->offset + l->len >= l->file_bytes;
    return !at_end && left < SERIES_LOG_RECORD_BYTES + SERIES_LOG_PAYLOAD_MAX;
}

/* Records by their form, one after the other, from pos on. */
static void walk(struct load *l, size_t pos)
{
    uint32_t crc = l->at.last_crc;
    l->count = 0;
    while (pos < l->len && !needs_more(l, pos) && l->count < l->window_records) {
        size_t bytes = record_bytes(l, pos);
        if (bytes == 0 || !record_parse(l, pos, bytes, crc, &l->records[l->count])) {
            return;
        }
        crc = tsdb_load_le32(l->data + pos + 4);
        l->count++;
        pos += bytes;
    }
}

/* How many of them are good, and in order? Each partition's are chained. */
static uint32_t check(struct load *l)
{
    struct series_log *s = l->s;
    struct series_log_window *view = &l->windows[l->turn].view;
    uint32_t last[TSDB_PARTITIONS];
    uint32_t i = 0;
    view->partitions = 0;
    for (; i < l->count; i++) {
        struct series_log_record *r = &l->records[i];
        if (r->local < s->appended[r->partition] || !record_good(r)) {
            break;
        }
        uint64_t bit = UINT64_C(1) << r->partition;
        *(view->partitions & bit ? &l->records[last[r->partition]].next
                                 : &view->first[r->partition]) = i;
        view->partitions |= bit;
        last[r->partition] = i;
        r->next = UINT32_MAX;
        s->appended[r->partition] = r->local + 1;
        s->records_appended += r->labels.len > 0;
        s->holes_appended += r->labels.len == 0;
    }
    return i;
}

/* The records that were checked, to the sink. */
static enum tsdb_status hand_over(struct load *l, const struct series_log_sink *sink,
                                  struct tsdb_error *err)
{
    struct series_log_window *view = &l->windows[l->turn].view;
    view->number = l->turn;
    view->records = l->records;
    view->count = l->count;
    return sink->apply(sink->arg, view, err);
}

static enum tsdb_status wait_for(const struct series_log_sink *sink, uint32_t number,
                                 struct tsdb_error *err)
{
    return sink->wait ? sink->wait(sink->arg, number, err) : TSDB_OK;
}

static void at_behind(struct load *l, const struct series_log_record *r)
{
    l->at.last_at = r->offset;
    l->at.bytes = r->offset + SERIES_LOG_RECORD_BYTES + tsdb_load_le32(r->bytes);
    l->at.last_crc = tsdb_load_le32(r->bytes + 4);
}

/* ---- damage ---- */
/* Is there a record at data + pos that follows one with this CRC? */
static bool follows(const struct load *l, size_t pos, uint32_t crc_before)
{
    struct series_log_record r;
    size_t bytes = pos < l->len ? record_bytes(l, pos) : 0;
    return bytes > 0 && record_parse(l, pos, bytes, crc_before, &r) && record_good(&r);
}

/* Go on at data + pos, behind a record with this CRC that is left out. */
static void go_on(struct load *l, size_t pos, uint32_t crc)
{
    l->lost = false;
    l->at.last_crc = crc;
    l->at.bytes = l->offset + pos;
}

/* The record at data[0] does not verify. Where its length is right, the one behind it says what is wrong: with the
 * CRC as it should be it follows, then this one is good but for that; with the CRC as it stands, then its
 * payload is not. */
static bool skip_one(struct load *l, const struct series_log_sink *sink, size_t *out_pos,
                     enum tsdb_status *out_status, struct tsdb_error *err)
{
    size_t bytes = record_bytes(l, 0);
    if (bytes == 0 || l->lost) {
        return false;
    }
    uint32_t stored = tsdb_load_le32(l->data + 4);
    uint32_t right =
        series_log_record_crc(l->at.last_crc, l->offset, l->data, l->data + SERIES_LOG_RECORD_BYTES,
                              bytes - SERIES_LOG_RECORD_BYTES);
    if (follows(l, bytes, right)) {
        tsdb_store_le32(l->data + 4, right);
        walk(l, 0);
        l->count = TSDB_MIN(l->count, 1u);
        l->count = check(l);
        *out_status = l->count == 1 ? hand_over(l, sink, err) : TSDB_OK;
        damage_note(l, l->offset + 4, l->offset + SERIES_LOG_RECORD_BYTES, "crc of a record");
        go_on(l, bytes, right);
    } else if (follows(l, bytes, stored)) {
        damage_note(l, l->offset, l->offset + bytes, "a record");
        go_on(l, bytes, stored);
    } else {
        return false;
    }
    *out_pos = bytes;
    return true;
}

/* Behind data[0], or from there where that was not looked at: two records of which the second continues the CRC of the first. The first cannot be believed, as
 * nothing says what it continues. *out_pos: behind it; or where to look on. */
static void look_on(struct load *l, size_t *out_pos)
{
    size_t pos = l->lost ? 0 : 1;
    for (; pos < l->len && !needs_more(l, pos); pos++) {
        size_t bytes = record_bytes(l, pos);
        if (bytes == 0 || needs_more(l, pos + bytes)) {
            continue;
        }
        uint32_t crc = tsdb_load_le32(l->data + pos + 4);
        if (follows(l, pos + bytes, crc)) {
            damage_note(l, l->at.bytes, l->offset + pos + bytes, "records");
            go_on(l, pos + bytes, crc);
            *out_pos = pos + bytes;
            return;
        }
    }
    l->lost = true;
    *out_pos = pos;
}

/* ---- windows ---- */
/* Sectors that the disk does not give read as zeroes: their records do not verify. */
static enum tsdb_status read_window(struct load *l, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = l->s->fs;
    size_t want = (size_t)TSDB_MIN(l->file_bytes - l->offset, (uint64_t)l->window_bytes);
    struct tsdb_error why;
    enum tsdb_status status =
        fs->ops->pread(fs->ctx, l->file, l->data, want, l->offset, &l->len, &why);
    if (!recovery_is_damage(status, &why)) {
        return status == TSDB_OK ? status : tsdb_error_set(err, status, "%s", why.msg);
    }
    memset(l->data, 0, want);
    for (size_t at = 0; at < want; at += SECTOR_BYTES) {
        size_t got = 0;
        size_t some = TSDB_MIN(want - at, (size_t)SECTOR_BYTES);
        (void)!fs->ops->pread(fs->ctx, l->file, l->data + at, some, l->offset + at, &got, &why);
    }
    l->len = want;
    return TSDB_OK;
}

/* There is no good record at data[0]: damage, or where an append was interrupted (NOT_FOUND). */
static enum tsdb_status pass_over(struct load *l, const struct series_log_sink *sink,
                                  size_t *out_pos, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    if (l->offset >= l->bytes_relied) {
        return TSDB_NOT_FOUND;
    }
    if (!skip_one(l, sink, out_pos, &status, err)) {
        look_on(l, out_pos);
    }
    return status;
}

/* The next window in turn is the one to fill. */
static enum tsdb_status take_turn(struct load *l, const struct series_log_sink *sink,
                                  struct tsdb_error *err)
{
    TSDB_ASSERT(l->window_count > 0);
    l->turn = (l->turn + 1) % l->window_count;
    l->data = l->windows[l->turn].data;
    l->records = l->windows[l->turn].records;
    return wait_for(sink, l->turn, err);
}

/* Read a window at l->offset; hand over its records; advance. NOT_FOUND at the torn tail or end. */
static enum tsdb_status load_window(struct load *l, const struct series_log_sink *sink,
                                    struct tsdb_error *err)
{
    size_t pos = 0;
    enum tsdb_status status = take_turn(l, sink, err);
    if (status == TSDB_OK) {
        status = read_window(l, err);
    }
    if (status == TSDB_OK && l->offset == 0) {
        status = take_header(l, err);
        pos = SERIES_LOG_HEADER_BYTES;
    }
    if (status != TSDB_OK) {
        return status;
    }
    l->count = 0;
    if (!l->lost) {
        walk(l, pos);
        l->count = check(l);
    }
    if (l->count > 0) {
        const struct series_log_record *last = &l->records[l->count - 1];
        at_behind(l, last);
        pos = (size_t)(l->at.bytes - l->offset);
        status = hand_over(l, sink, err);
    } else if (pos == 0 && l->len > 0) {
        status = pass_over(l, sink, &pos, err);
    }
    l->offset += status == TSDB_NOT_FOUND ? 0 : pos;
    return status == TSDB_OK && l->offset < l->file_bytes && l->len > 0
               ? TSDB_OK
               : (status == TSDB_OK ? TSDB_NOT_FOUND : status);
}

static enum tsdb_status load_all(struct load *l, const struct series_log_sink *sink,
                                 struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    while (status == TSDB_OK) {
        status = load_window(l, sink, err);
    }
    for (uint32_t i = 0; i < l->window_count; i++) {
        struct tsdb_error why;
        enum tsdb_status waited = wait_for(sink, i, &why);
        if (waited != TSDB_OK && (status == TSDB_OK || status == TSDB_NOT_FOUND)) {
            status = tsdb_error_set(err, waited, "%s", why.msg);
        }
    }
    if (l->lost) {
        damage_note(l, l->at.bytes, l->offset, "records");
        l->at.bytes = l->offset;
    }
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

/* ---- what is cut off, or replaced ---- */
/* Copy [l->offset, end) of the file to quarantine/, durably. l->data is free. */
static enum tsdb_status tail_copy(const struct load *l, struct tsdb_file *to,
                                  struct tsdb_error *err)
{
    const struct tsdb_fs *fs = l->s->fs;
    enum tsdb_status status = TSDB_OK;
    for (uint64_t at = l->offset; status == TSDB_OK && at < l->file_bytes;) {
        size_t want = (size_t)TSDB_MIN(l->file_bytes - at, (uint64_t)l->window_bytes);
        size_t got = 0;
        status = fs->ops->pread(fs->ctx, l->file, l->data, want, at, &got, err);
        if (status == TSDB_OK && got == 0) {
            break; /* shorter than it was a moment ago */
        }
        if (status == TSDB_OK) {
            status = fs->ops->pwrite(fs->ctx, to, l->data, got, at - l->offset, err);
            at += got;
        }
    }
    return status == TSDB_OK ? fs->ops->sync(fs->ctx, to, err) : status;
}

/* No half of it stays where the disk is full. */
static enum tsdb_status tail_set_aside(const struct load *l, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = l->s->fs;
    char path[64];
    struct tsdb_file *to = NULL;
    snprintf(path, sizeof path, DATADIR_QUARANTINE "/series.log-%" PRIu64 "-%" PRIu64, l->stamp,
             l->offset);
    enum tsdb_status status = datadir_quarantine_make(fs, err);
    if (status == TSDB_OK) {
        status = fs->ops->open(fs->ctx, path,
                               TSDB_OPEN_WRITE | TSDB_OPEN_CREATE | TSDB_OPEN_TRUNCATE, &to, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    status = tail_copy(l, to, err);
    fs->ops->close(fs->ctx, to);
    if (status != TSDB_OK) {
        (void)fs->ops->unlink(fs->ctx, path, NULL);
        return status;
    }
    return fs->ops->sync_dir(fs->ctx, DATADIR_QUARANTINE, err);
}

/* A second name for the file as it is: its own goes to a successor. Best effort; what is whole in it is loaded. */
static void keep_damaged(const struct load *l)
{
    const struct tsdb_fs *fs = l->s->fs;
    struct tsdb_error why;
    char path[64];
    snprintf(path, sizeof path, DATADIR_QUARANTINE "/series.log-%" PRIu64 "-damaged", l->stamp);
    enum tsdb_status status = datadir_quarantine_make(fs, &why);
    if (status == TSDB_OK) {
        status = fs->ops->link(fs->ctx, DATADIR_SERIES_LOG, path, &why);
    }
    if (status == TSDB_OK) {
        status = fs->ops->sync_dir(fs->ctx, DATADIR_QUARANTINE, &why);
    }
    if (status != TSDB_OK &&
        status != TSDB_UNSUPPORTED) { /* changes in memory only: it stays anyway */
        tsdb_log(TSDB_LOG_WARN, "recovery", "the damaged series.log could not be kept",
                 TSDB_S("err", why.msg));
    }
}

/* Cut the torn tail off and make what stays durable: after a kill it may be in the page cache
 * only. */
static enum tsdb_status cut(struct load *l, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = l->s->fs;
    enum tsdb_status status = TSDB_OK;
    if (l->offset < l->file_bytes) {
        status = fs->ops->truncate(fs->ctx, l->file, l->offset, err);
    }
    if (status == TSDB_OK && (l->offset < l->file_bytes || l->offset > l->bytes_relied)) {
        status = fs->ops->sync(fs->ctx, l->file, err);
    }
    if (status == TSDB_OK && l->bytes_relied == 0) {
        status = fs->ops->sync_dir(fs->ctx, "", err);
    }
    return status;
}

/* What cannot be copied, as on a full disk, is not cut off: the file gets a second name, which takes no room,
 * and a successor with the next checkpoint, as one that is damaged. */
static enum tsdb_status settle(struct load *l, struct tsdb_error *err)
{
    struct tsdb_error why;
    bool vouched = l->bytes_relied > 0 && l->offset >= l->bytes_relied;
    enum tsdb_status status = TSDB_OK;
    if (l->offset < l->file_bytes && !vouched) {
        status = tail_set_aside(l, &why);
    }
    if (status == TSDB_OK) {
        return cut(l, err);
    }
    if (status != TSDB_IO) {
        return tsdb_error_set(err, status, "%s", why.msg);
    }
    tsdb_log(TSDB_LOG_WARN, "recovery",
             "the end of series.log could not be set aside: it stays until the next checkpoint",
             TSDB_U("from", l->offset), TSDB_U("to", l->file_bytes), TSDB_S("err", why.msg));
    l->s->damaged = true;
    keep_damaged(l);
    return TSDB_OK;
}

/* ---- the whole ---- */
static void judge(struct load *l)
{
    struct series_log_found *f = l->found;
    if (l->offset == 0) { /* nobody knows what it was */
        for (uint32_t i = 0; i < l->mark_count; i++) {
            l->bytes_relied = TSDB_MAX(l->bytes_relied, l->marks[i].bytes);
        }
    }
    f->missing_bytes = l->bytes_relied > l->offset ? l->bytes_relied - l->offset : 0;
    l->s->damaged = l->offset > 0 && (f->missing_bytes > 0 || f->damaged_ranges > 0);
    if (f->missing_bytes > 0) {
        tsdb_log(TSDB_LOG_ERROR, "recovery",
                 "series.log ends before what a checkpoint relies on: those series are lost",
                 TSDB_U("bytes", l->offset), TSDB_U("relied_upon", l->bytes_relied));
    }
}

/* No more of them than the file has. */
static enum tsdb_status windows_alloc(struct load *l, const struct series_log_sink *sink,
                                      struct tsdb_error *err)
{
    TSDB_ASSERT(sink->windows <= SERIES_LOG_WINDOWS_MAX);
    l->window_bytes = (size_t)TSDB_MIN(l->file_bytes + 1, (uint64_t)SERIES_LOG_WINDOW_BYTES);
    l->window_records = (uint32_t)TSDB_MIN(l->window_bytes / RECORD_BYTES_MIN + 1,
                                           (size_t)SERIES_LOG_WINDOW_RECORDS);
    uint64_t wanted = l->file_bytes / l->window_bytes + 1;
    l->window_count = (uint32_t)TSDB_MIN(wanted, (uint64_t)TSDB_MAX(sink->windows, 1u));
    l->turn = l->window_count - 1; /* the first one is next */
    for (uint32_t i = 0; i < l->window_count; i++) {
        struct load_window *w = &l->windows[i];
        w->data = tsdb_mem_alloc(TSDB_MEM_OTHER, l->window_bytes);
        w->records = tsdb_mem_alloc(TSDB_MEM_OTHER, l->window_records * sizeof *w->records);
        if (!w->data || !w->records) {
            return tsdb_error_set(err, TSDB_NOMEM, DATADIR_SERIES_LOG ": no memory to read it");
        }
    }
    return TSDB_OK;
}

static void windows_free(struct load *l)
{
    for (uint32_t i = 0; i < l->window_count; i++) {
        struct load_window *w = &l->windows[i];
        tsdb_mem_free(TSDB_MEM_OTHER, w->data, l->window_bytes);
        tsdb_mem_free(TSDB_MEM_OTHER, w->records, l->window_records * sizeof *w->records);
    }
}

static enum tsdb_status load_open_file(struct load *l, const struct series_log_sink *sink,
                                       struct tsdb_error *err)
{
    enum tsdb_status status = windows_alloc(l, sink, err);
    if (status == TSDB_OK) {
        status = load_all(l, sink, err);
    }
    if (status == TSDB_OK) {
        judge(l);
        if (l->s->damaged) {
            keep_damaged(l);
        }
        status = l->s->damaged ? TSDB_OK : settle(l, err);
    }
    windows_free(l);
    return status;
}

static enum tsdb_status open_file(struct load *l, struct tsdb_error *err)
{
    const struct tsdb_fs *fs = l->s->fs;
    struct tsdb_file_info info = {0};
    enum tsdb_status status = fs->ops->stat(fs->ctx, DATADIR_SERIES_LOG, &info, err);
    if (status == TSDB_OK) {
        status = fs->ops->open(fs->ctx, DATADIR_SERIES_LOG, TSDB_OPEN_READ | TSDB_OPEN_WRITE,
                               &l->file, err);
    }
    l->file_bytes = info.size_bytes;
    return status;
}

static void loaded(const struct load *l)
{
    struct series_log *s = l->s;
    TSDB_ASSERT(s->damaged || l->at.bytes == l->offset);
    s->bytes_durable = s->bytes_appended = l->offset;
    s->durable_mark = s->appended_mark = l->at;
    memcpy(s->durable, s->appended, sizeof s->durable);
    s->records_durable = s->records_appended;
    s->holes_durable = s->holes_appended;
}

enum tsdb_status series_log_load(struct series_log *s, const struct series_log_mark *marks,
                                 uint32_t mark_count, uint64_t stamp,
                                 const struct series_log_sink *sink, struct series_log_found *out,
                                 struct tsdb_error *err)
{
    TSDB_ASSERT(!s->file && s->bytes_appended == 0);
    struct load l = {
        .s = s, .marks = marks, .mark_count = mark_count, .stamp = stamp, .found = out};
    *out = (struct series_log_found){0};
    enum tsdb_status status = open_file(&l, err);
    if (status == TSDB_NOT_FOUND) {
        judge(&l);
        return TSDB_OK;
    }
    if (status != TSDB_OK) {
        return status;
    }
    status = load_open_file(&l, sink, err);
    s->fs->ops->close(s->fs->ctx, l.file);
    if (status != TSDB_OK) {
        memset(s->appended, 0, sizeof s->appended);
        s->records_appended = s->holes_appended = 0;
        return status;
    }
    loaded(&l);
    out->cut_bytes = s->damaged ? 0 : l.file_bytes - l.offset;
    return TSDB_OK;
}

/* ---- marks ---- */
static enum tsdb_status misfit(struct tsdb_error *err, const char *why, uint64_t bytes)
{
    return tsdb_error_set(err, TSDB_NOT_FOUND, "relies on %llu bytes of " DATADIR_SERIES_LOG ", %s",
                          (unsigned long long)bytes, why);
}

/* Does a record at last_at end at bytes, with that CRC? All records here are good ones. */
static enum tsdb_status record_fits(const struct series_log *s, const struct series_log_mark *mark,
                                    bool *out, struct tsdb_error *err)
{
    uint8_t head[SERIES_LOG_RECORD_BYTES];
    struct tsdb_file *f = NULL;
    size_t got = 0;
    enum tsdb_status status = s->fs->ops->open(s->fs->ctx, s->name, TSDB_OPEN_READ, &f, err);
    if (status != TSDB_OK) {
        return status;
    }
    status = s->fs->ops->pread(s->fs->ctx, f, head, sizeof head, mark->last_at, &got, err);
    s->fs->ops->close(s->fs->ctx, f);
    *out = got == sizeof head && tsdb_load_le32(head + 4) == mark->last_crc &&
           mark->last_at + sizeof head + tsdb_load_le32(head) == mark->bytes;
    return status;
}

enum tsdb_status series_log_fits(const struct series_log *s, const struct series_log_mark *mark,
                                 struct tsdb_error *err)
{
    if (mark->bytes == 0) {
        return TSDB_OK;
    }
    if (s->bytes_durable < mark->bytes) {
        return misfit(err, "which is shorter", mark->bytes);
    }
    if (memcmp(mark->identity, s->durable_mark.identity, sizeof mark->identity) != 0) {
        return misfit(err, "but of another one", mark->bytes);
    }
    bool fits = mark->last_at == 0 && mark->bytes == SERIES_LOG_HEADER_BYTES;
    enum tsdb_status status = TSDB_OK;
    if (!fits && mark->last_at >= SERIES_LOG_HEADER_BYTES && mark->last_at < mark->bytes) {
        status = record_fits(s, mark, &fits, err);
    }
    if (status != TSDB_OK || fits) {
        return status;
    }
    return misfit(err, "which has others there", mark->bytes);
}
