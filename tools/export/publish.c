#include "tools/export/publish.h"

#include "base/format.h"
#include "tools/cmd/jread.h"
#include "tools/export/cut.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE             "published"
#define STATE_KEY         "published_until_ms "
#define STATE_BYTES_MAX   256u
#define LOCK              "LOCK"
#define SHIPPED           "thanos.shipper.json"
#define SHIPPED_BYTES_MAX (64u << 20)
#define CREATION          ".tmp-for-creation"
#define DELETION          ".tmp-for-deletion"
#define WINDOWS_A_STEP    512u /* empty ones that are passed over at once */
#define NAMES_A_STEP      64u
#define NAME_BYTES        64u

/* ---- what was published ---- */
static enum tsdb_status state_load(struct publisher *p, struct tsdb_error *err)
{
    uint8_t *data = NULL;
    size_t len = 0, key = strlen(STATE_KEY);
    enum tsdb_status status =
        tsdb_file_read_all(&p->fs, STATE, STATE_BYTES_MAX, TSDB_MEM_SERVER, &data, &len, err);
    if (status == TSDB_NOT_FOUND) {
        p->until_ms = p->saved_ms = INT64_MIN;
        return TSDB_OK;
    }
    if (status != TSDB_OK) {
        return status;
    }
    char text[STATE_BYTES_MAX + 1];
    snprintf(text, sizeof text, "%.*s", (int)len, (const char *)data);
    tsdb_mem_free(TSDB_MEM_SERVER, data, len);
    char *end = NULL;
    long long v = strncmp(text, STATE_KEY, key) == 0 ? strtoll(text + key, &end, 10) : 0;
    if (!end || end == text + key || strcmp(end, "\n") != 0 || v % p->range_ms != 0) {
        return tsdb_error_set(err, TSDB_CORRUPT,
                              STATE ": expected a multiple of %" PRId64 " after \"" STATE_KEY "\"",
                              p->range_ms);
    }
    p->until_ms = p->saved_ms = v;
    return TSDB_OK;
}

static enum tsdb_status state_save(struct publisher *p, int64_t until_ms, struct tsdb_error *err)
{
    char text[STATE_BYTES_MAX];
    int len = snprintf(text, sizeof text, STATE_KEY "%" PRId64 "\n", until_ms);
    enum tsdb_status status = tsdb_file_replace(&p->fs, STATE, text, (size_t)len, err);
    if (status == TSDB_OK) {
        p->saved_ms = until_ms;
    }
    return status;
}

/* ---- the folder ---- */
struct names {
    char items[NAMES_A_STEP][NAME_BYTES];
    uint32_t count;
    const char *suffix; /* NULL: names of blocks */
};

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static enum tsdb_status take_name(void *arg, const char *name, bool is_dir)
{
    struct names *n = arg;
    bool fits = n->suffix ? ends_with(name, n->suffix) : prom_ulid_valid(name, strlen(name));
    if (is_dir && fits && n->count < NAMES_A_STEP && strlen(name) < NAME_BYTES) {
        snprintf(n->items[n->count++], NAME_BYTES, "%s", name);
    }
    return TSDB_OK;
}

static enum tsdb_status remove_all(struct publisher *p, const char *suffix, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    struct names n;
    do {
        n.suffix = suffix;
        n.count = 0;
        status = p->fs.ops->list(p->fs.ctx, "", take_name, &n, err);
        for (uint32_t i = 0; i < n.count && status == TSDB_OK; i++) {
            status = tsdb_file_tree_remove(&p->fs, n.items[i], err);
        }
    } while (status == TSDB_OK && n.count == NAMES_A_STEP);
    return status;
}

static enum tsdb_status read_meta(struct publisher *p, const char *ulid, struct prom_meta *out,
                                  struct tsdb_error *err)
{
    char path[NAME_BYTES + 16];
    uint8_t *data = NULL;
    size_t len = 0;
    snprintf(path, sizeof path, "%s/meta.json", ulid);
    enum tsdb_status status =
        tsdb_file_read_all(&p->fs, path, PROM_META_BYTES_MAX, TSDB_MEM_SERVER, &data, &len, err);
    if (status == TSDB_OK) {
        status = prom_meta_parse(data, len, out, err);
        tsdb_mem_free(TSDB_MEM_SERVER, data, len);
    }
    return status;
}

/* ---- what may go ---- */
/* Is the ULID in "uploaded" of thanos.shipper.json? */
static bool is_shipped(struct tsdb_slice file, const char *ulid)
{
    struct jread r;
    struct tsdb_buf text;
    bool found = false;
    tsdb_buf_init(&text, TSDB_MEM_SERVER, 0);
    jread_init(&r, file.data, file.len);
    for (bool more = jread_enter(&r, '{') && jread_more(&r); more; more = jread_more(&r)) {
        jread_key(&r, &text);
        bool uploaded = text.len == 8 && memcmp(text.data, "uploaded", 8) == 0;
        if (!uploaded || jread_peek(&r) != '[' || !jread_enter(&r, '[')) {
            (void)jread_raw(&r);
            continue;
        }
        while (jread_more(&r)) {
            jread_string(&r, &text);
            found = found || (text.len == strlen(ulid) && memcmp(text.data, ulid, text.len) == 0);
        }
    }
    bool whole = jread_end(&r) && !text.failed;
    tsdb_buf_deinit(&text);
    return whole && found;
}

static enum tsdb_status remove_block(struct publisher *p, const char *ulid, struct tsdb_error *err)
{
    char away[NAME_BYTES + sizeof DELETION];
    snprintf(away, sizeof away, "%s" DELETION, ulid);
    enum tsdb_status status = p->fs.ops->rename(p->fs.ctx, ulid, away, err);
    if (status == TSDB_OK) {
        status = p->fs.ops->sync_dir(p->fs.ctx, "", err);
    }
    return status == TSDB_OK ? tsdb_file_tree_remove(&p->fs, away, err) : status;
}

struct sweep {
    struct publisher *p;
    struct tsdb_slice shipped;
    int64_t keep_ms; /* blocks that end before go */
    struct names names;
};

static enum tsdb_status sweep_entry(void *arg, const char *name, bool is_dir)
{
    struct sweep *s = arg;
    struct prom_meta m;
    if (!is_dir || !prom_ulid_valid(name, strlen(name)) ||
        read_meta(s->p, name, &m, NULL) != TSDB_OK) {
        return TSDB_OK; /* none of ours, or for a person to look at */
    }
    bool done = m.t_max <= s->p->saved_ms;
    return done && (m.t_max <= s->keep_ms || is_shipped(s->shipped, name))
               ? take_name(&s->names, name, is_dir)
               : TSDB_OK;
}

static enum tsdb_status sweep(struct publisher *p, int64_t now_ms, uint64_t *out_removed,
                              struct tsdb_error *err)
{
    uint8_t *data = NULL;
    size_t len = 0;
    struct sweep s = {.p = p,
                      .keep_ms = p->retention_ms > 0 ? now_ms - p->retention_ms : INT64_MIN};
    enum tsdb_status status =
        tsdb_file_read_all(&p->fs, SHIPPED, SHIPPED_BYTES_MAX, TSDB_MEM_SERVER, &data, &len, err);
    if (status == TSDB_OK || status == TSDB_NOT_FOUND) {
        s.shipped = (struct tsdb_slice){data, status == TSDB_OK ? len : 0};
        status = p->fs.ops->list(p->fs.ctx, "", sweep_entry, &s, err);
    }
    tsdb_mem_free(TSDB_MEM_SERVER, data, len);
    for (uint32_t i = 0; i < s.names.count && status == TSDB_OK; i++) {
        status = remove_block(p, s.names.items[i], err);
        *out_removed += status == TSDB_OK;
    }
    return status;
}

/* ---- a window ---- */
struct find {
    struct publisher *p;
    int64_t begin_ms, end_ms;
    bool found;
};

static enum tsdb_status find_entry(void *arg, const char *name, bool is_dir)
{
    struct find *f = arg;
    struct prom_meta m;
    if (is_dir && prom_ulid_valid(name, strlen(name)) &&
        read_meta(f->p, name, &m, NULL) == TSDB_OK) {
        f->found = f->found || (m.t_min < f->end_ms && f->begin_ms < m.t_max);
    }
    return TSDB_OK;
}

static enum tsdb_status write_window(struct publisher *p, int64_t begin_ms, int64_t end_ms,
                                     struct publish_result *out, struct tsdb_error *err)
{
    static const struct tsdb_matcher every = {TSDB_MATCH_EQ, "", "", 0, 0};
    const struct tsdb_selector all = {&every, 1};
    struct tsdb_time_range range = {begin_ms, end_ms - 1};
    struct tool_walk walk = {0};
    struct prom_meta m;
    uint64_t starts = 0;
    enum tsdb_status status = tool_walk_init(&walk, p->db, &all, range, err);
    walk.cancel = p->cancel;
    uint8_t *used =
        status == TSDB_OK ? TSDB_ARENA_ARRAY(&walk.arena, uint8_t, walk.count + 1u) : NULL;
    if (status == TSDB_OK && !used) {
        status = tsdb_error_nomem(err, "the list of series");
    }
    struct cut c = {&walk, &p->fs, NULL, used, NULL};
    if (status == TSDB_OK && walk.count > 0) {
        status = cut_window(&c, begin_ms, end_ms, range, &m, &starts, err);
    } else if (status == TSDB_OK) {
        status = TSDB_NOT_FOUND;
    }
    tool_walk_deinit(&walk);
    if (status == TSDB_OK) {
        memcpy(out->ulid, m.ulid, sizeof out->ulid);
        out->min_ms = begin_ms;
        out->max_ms = end_ms;
        out->samples = m.samples;
        out->series = m.series;
    }
    return status == TSDB_NOT_FOUND ? TSDB_OK : status;
}

/* The window that is next; false: none is due. */
static bool next_window(struct publisher *p, int64_t now_ms, int64_t *out_begin_ms)
{
    struct tsdb_stats s;
    int64_t begin_ms = p->until_ms;
    tsdb_stats_read(p->db, &s);
    if (s.min_time_ms == INT64_MAX) {
        return false;
    }
    if (p->retention_ms > 0 && s.min_time_ms < now_ms - p->retention_ms) {
        s.min_time_ms = now_ms - p->retention_ms;
    }
    /* Before the first sample there is nothing to be done. */
    begin_ms = TSDB_MAX(begin_ms, cut_window_of(s.min_time_ms, p->range_ms));
    *out_begin_ms = begin_ms;
    return begin_ms <= now_ms - p->delay_ms - p->range_ms;
}

static enum tsdb_status do_window(struct publisher *p, int64_t begin_ms, struct publish_result *out,
                                  struct tsdb_error *err)
{
    struct find f = {p, begin_ms, begin_ms + p->range_ms, false};
    enum tsdb_status status = p->fs.ops->list(p->fs.ctx, "", find_entry, &f, err);
    return status == TSDB_OK && !f.found ? write_window(p, f.begin_ms, f.end_ms, out, err) : status;
}

enum tsdb_status publish_step(struct publisher *p, int64_t now_ms, struct publish_result *out,
                              struct tsdb_error *err)
{
    int64_t begin_ms = 0;
    enum tsdb_status status = TSDB_OK;
    *out = (struct publish_result){.ulid = ""};
    for (uint32_t i = 0; i < WINDOWS_A_STEP && status == TSDB_OK && !out->ulid[0]; i++) {
        out->more = next_window(p, now_ms, &begin_ms);
        if (!out->more) {
            break;
        }
        status = do_window(p, begin_ms, out, err);
        if (status == TSDB_OK) {
            p->until_ms = begin_ms + p->range_ms;
        }
    }
    if (status == TSDB_OK && p->until_ms != p->saved_ms) {
        status = state_save(p, p->until_ms, err);
    }
    return status == TSDB_OK ? sweep(p, now_ms, &out->removed, err) : status;
}

/* ---- opening ---- */
enum tsdb_status publisher_open(struct publisher *p, const char *dir, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_fs_real_create(dir, &p->real, err);
    if (status == TSDB_OK &&
        tsdb_fs_floor_create(&p->real, p->keep_free_bytes, &p->floor, &p->fs) != TSDB_OK) {
        status = tsdb_error_nomem(err, "publishing");
    }
    if (status == TSDB_OK) {
        status = p->fs.ops->lock(p->fs.ctx, LOCK, &p->lock, err);
    }
    if (status == TSDB_OK) {
        status = remove_all(p, CREATION, err);
    }
    if (status == TSDB_OK) {
        status = remove_all(p, DELETION, err);
    }
    if (status == TSDB_OK) {
        status = p->fs.ops->mkdir(p->fs.ctx, "wal", err); /* Thanos and promtool look for one */
    }
    if (status == TSDB_OK) {
        status = state_load(p, err);
    }
    if (status != TSDB_OK) {
        publisher_close(p);
        return tsdb_error_prefix(err, status, "%s", dir);
    }
    return TSDB_OK;
}

void publisher_close(struct publisher *p)
{
    if (p->fs.ops) {
        p->fs.ops->close(p->fs.ctx, p->lock);
    }
    tsdb_fs_floor_destroy(p->floor);
    tsdb_fs_real_destroy(&p->real);
    p->fs = (struct tsdb_fs){0};
    p->floor = NULL;
    p->lock = NULL;
}
