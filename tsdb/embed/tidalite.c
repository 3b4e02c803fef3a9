/* The embedding API: a thin layer over tsdb.h. Strings and arrays of the caller become one struct
 * tsdb_write at a time. */
#include "tsdb/tidalite.h"

#include "base/assert.h"
#include "base/log.h"
#include "model/version.h"
#include "tsdb/batch_build.h"
#include "tsdb/tsdb.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WRITE_SAMPLES_MAX 16384u /* of one tsdb_write; more are cut into several */
#define READY_POLL_NS     (200l * 1000)
/* What the first header had up to `durability`. */
#define OPTIONS_BYTES_MIN offsetof(struct tidalite_options, threads)

struct tidalite {
    struct tsdb_fs fs;
    struct tsdb *db;
};

/* ---- errors ---- */
static _Thread_local char last_error[sizeof((struct tsdb_error *)0)->msg];

const char *tidalite_last_error(void)
{
    return last_error;
}

const char *tidalite_version(void)
{
    return TIDALITE_VERSION;
}

static enum tidalite_status public_status(enum tsdb_status status)
{
    switch (status) {
    case TSDB_OK:
        return TIDALITE_OK;
    case TSDB_NOMEM:
        return TIDALITE_NO_MEMORY;
    case TSDB_IO:
        return TIDALITE_IO;
    case TSDB_CORRUPT:
        return TIDALITE_CORRUPT;
    case TSDB_NOT_FOUND:
        return TIDALITE_NOT_FOUND;
    case TSDB_LIMIT:
        return TIDALITE_LIMIT;
    case TSDB_UNSUPPORTED:
        return TIDALITE_UNSUPPORTED;
    case TSDB_BUSY:
        return TIDALITE_BUSY;
    case TSDB_READ_ONLY:
        return TIDALITE_READ_ONLY;
    case TSDB_INVALID:
    case TSDB_OUT_OF_ORDER:
    case TSDB_CANCELLED: /* nothing here cancels or has a deadline */
    case TSDB_TIMEOUT:
    case TSDB_STATUS_COUNT:
        break;
    }
    return TIDALITE_INVALID;
}

const char *tidalite_status_name(enum tidalite_status status)
{
    static const char *const names[] = {"ok",      "no_memory", "io",    "corrupt",
                                        "invalid", "not_found", "limit", "unsupported",
                                        "busy",    "read_only"};
    return (unsigned)status < TSDB_ARRAY_LEN(names) ? names[status] : "unknown";
}

/* Keep the text for tidalite_last_error. */
static enum tidalite_status fail(enum tsdb_status status, const struct tsdb_error *err)
{
    snprintf(last_error, sizeof last_error, "%s",
             err->msg[0] ? err->msg : tsdb_status_name(status));
    return public_status(status);
}

static enum tidalite_status fail_text(enum tsdb_status status, const char *text)
{
    snprintf(last_error, sizeof last_error, "%s", text);
    return public_status(status);
}

/* ---- life ---- */
void tidalite_options_init(struct tidalite_options *o)
{
    *o = (struct tidalite_options){.struct_bytes = sizeof *o, .durability = TIDALITE_BUFFERED};
}

static enum tsdb_status wait_ready(struct tidalite *t, struct tsdb_error *err)
{
    for (;;) {
        switch (tsdb_state(t->db, err)) {
        case TSDB_STATE_READY:
        case TSDB_STATE_RETRYING:
        case TSDB_STATE_OUT_OF_SPACE:
        case TSDB_STATE_READ_ONLY: /* an append will say so */
            return TSDB_OK;
        case TSDB_STATE_FAILED:
            return err->status != TSDB_OK ? err->status : TSDB_CORRUPT;
        case TSDB_STATE_RECOVERING:
        case TSDB_STATE_CLOSING:
        case TSDB_STATE_COUNT:
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = READY_POLL_NS}, NULL);
    }
}

static void handle_destroy(struct tidalite *t)
{
    if (t->fs.ops) {
        tsdb_fs_real_destroy(&t->fs);
    }
    tsdb_mem_free(TSDB_MEM_OTHER, t, sizeof *t);
}

/* The options of a caller that was compiled with an older header (fewer fields: the others keep their
 * defaults) or a newer one (more: they must be zero, because nobody here knows what they ask for). */
static bool read_options(const struct tidalite_options *o, struct tidalite_options *out)
{
    if (o->struct_bytes < OPTIONS_BYTES_MIN) {
        return false;
    }
    const uint8_t *bytes = (const uint8_t *)o;
    for (size_t i = sizeof *out; i < o->struct_bytes; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    tidalite_options_init(out);
    memcpy(out, o, TSDB_MIN(o->struct_bytes, sizeof *out));
    return out->path && out->path[0] && (unsigned)out->durability <= TIDALITE_STRICT;
}

enum tidalite_status tidalite_open(const struct tidalite_options *options, struct tidalite **out)
{
    struct tidalite_options o;
    if (!read_options(options, &o)) {
        return fail_text(TSDB_INVALID, "open: options need a path, and tidalite_options_init");
    }
    struct tidalite *t = tsdb_mem_alloc_zero(TSDB_MEM_OTHER, sizeof *t);
    if (!t) {
        return fail_text(TSDB_NOMEM, "open: no memory");
    }
    /* A library does not chat on its host's stderr: only what somebody must act on. */
    tsdb_log_configure(TSDB_LOG_WARN, TSDB_LOG_LOGFMT);
    struct tsdb_error err;
    tsdb_error_clear(&err);
    enum tsdb_status status = tsdb_fs_real_create(o.path, &t->fs, &err);
    if (status == TSDB_OK) {
        struct tsdb_options db;
        tsdb_options_default(&db);
        db.fs = t->fs;
        db.durability = (enum tsdb_durability)o.durability;
        db.owner_count = o.threads;
        db.retention_ms = o.retention_ms;
        db.series_max = o.series_max;
        status = tsdb_open(&db, &t->db, &err);
    }
    if (status == TSDB_OK) {
        status = wait_ready(t, &err);
    }
    if (status != TSDB_OK) {
        (void)tsdb_close(t->db, NULL);
        handle_destroy(t);
        return fail(status, &err);
    }
    *out = t;
    return TIDALITE_OK;
}

enum tidalite_status tidalite_close(struct tidalite *t)
{
    if (!t) {
        return TIDALITE_OK;
    }
    struct tsdb_error err;
    tsdb_error_clear(&err);
    enum tsdb_status status = tsdb_close(t->db, &err);
    handle_destroy(t);
    return status == TSDB_OK ? TIDALITE_OK : fail(status, &err);
}

/* ---- appending ---- */
/* A series of the caller, checked. */
struct checked {
    struct tsdb_labels labels;
    struct tsdb_hash128 alias; /* of the canonical bytes */
};
struct append {
    struct tidalite *t;
    const struct tidalite_series *series;
    struct checked *checked; /* parallel to series */
    size_t series_count;
    struct tsdb_arena arena; /* of the whole call */
    struct tsdb_arena part;  /* of one tsdb_write */
    struct tsdb_batch_build build;
    enum tsdb_durability durability;
    struct tidalite_append_result result;
    struct tsdb_error err;
    bool stale; /* a series of the last write had left memory */
};

static enum tsdb_status no_memory(struct append *a)
{
    return tsdb_error_nomem(&a->err, "an append");
}

static enum tsdb_status check_series(struct append *a, size_t i)
{
    const struct tidalite_series *s = &a->series[i];
    struct checked *c = &a->checked[i];
    if (s->label_count > TSDB_LABELS_MAX) {
        return tsdb_error_set(&a->err, TSDB_INVALID, "series %zu: %zu labels, at most %d", i,
                              s->label_count, TSDB_LABELS_MAX);
    }
    struct tsdb_label *items = TSDB_ARENA_ARRAY(&a->arena, struct tsdb_label, s->label_count + 1);
    if (!items) {
        return no_memory(a);
    }
    uint32_t count = (uint32_t)s->label_count;
    for (uint32_t k = 0; k < count; k++) {
        const struct tidalite_label *l = &s->labels[k];
        if (l->name_len > TSDB_LABEL_NAME_BYTES_MAX || l->value_len > TSDB_LABEL_VALUE_BYTES_MAX) {
            return tsdb_error_set(&a->err, TSDB_INVALID, "series %zu: label %u is too long", i,
                                  (unsigned)k);
        }
        items[k] =
            (struct tsdb_label){l->name, l->value, (uint32_t)l->name_len, (uint32_t)l->value_len};
    }
    enum tsdb_status status = tsdb_labels_canonicalize(items, &count, false, &a->err);
    if (status == TSDB_OK && count == 0) {
        status = tsdb_error_set(&a->err, TSDB_INVALID, "no labels");
    }
    if (status != TSDB_OK) {
        return tsdb_error_prefix(&a->err, status, "series %zu", i);
    }
    c->labels = (struct tsdb_labels){items, count};
    uint8_t *bytes = tsdb_arena_alloc(&a->part, tsdb_labels_encoded_bytes(&c->labels), 1);
    if (!bytes) {
        return no_memory(a);
    }
    size_t len = tsdb_labels_encode(&c->labels, bytes);
    c->alias = tsdb_hash128(tsdb_hash_key(a->t->db), bytes, len);
    tsdb_arena_reset(&a->part);
    return TSDB_OK;
}

/* Where the next write begins: sample `sample` of series `series`. */
struct position {
    size_t series, sample;
};

/* Add up to `max` samples of the series at *p. Its target is looked up by its canonical bytes. */
static enum tsdb_status add_piece(struct append *a, struct position *p, size_t max)
{
    const struct tidalite_series *series = &a->series[p->series];
    const struct checked *c = &a->checked[p->series];
    size_t take = TSDB_MIN(series->sample_count - p->sample, max);
    struct tsdb_build_target target;
    enum tsdb_status status = TSDB_OK;
    if (take > 0) {
        struct tsdb_alias_hit hit = tsdb_alias_find(a->t->db, c->alias);
        if (hit.ref != TSDB_SERIES_NEW && !a->stale) {
            target = tsdb_build_known(hit);
        } else {
            status = tsdb_build_new(&a->build, c->labels, c->alias, &target);
        }
        if (status == TSDB_OK) {
            status = tsdb_build_reserve(&a->build, (uint32_t)take);
        }
    }
    for (size_t i = 0; i < take && status == TSDB_OK; i++) {
        const struct tidalite_sample *x = &series->samples[p->sample + i];
        tsdb_build_add(&a->build, &target, TSDB_SAMPLE_FLOAT, x->t_ms, tsdb_double_bits(x->value));
    }
    p->sample += take;
    if (p->sample == series->sample_count) {
        *p = (struct position){p->series + 1, 0};
    }
    return status;
}

static enum tsdb_status run(struct append *a, struct tsdb_write *w)
{
    enum tsdb_status status = tsdb_write_run(a->t->db, w, &a->err);
    if (status != TSDB_OK) {
        return status;
    }
    status = (enum tsdb_status)atomic_load(&w->status);
    if (status != TSDB_OK) {
        (void)tsdb_state(a->t->db, &a->err);
        return status;
    }
    struct tsdb_write_result r;
    tsdb_write_result_sum(w, &r);
    a->stale = r.stale_refs > 0;
    if (a->stale) {
        return TSDB_OK; /* nothing counts yet: the caller sends it again, by labels */
    }
    a->result.written += r.samples_written;
    a->result.conflict += r.rejected[TSDB_REJECT_DUPLICATE];
    a->result.bounds += r.rejected[TSDB_REJECT_TOO_OLD] + r.rejected[TSDB_REJECT_TOO_NEW];
    a->result.limit += r.rejected[TSDB_REJECT_SERIES_LIMIT];
    return TSDB_OK;
}

/* Build and submit the write that begins at *p; advance. */
static enum tsdb_status append_part(struct append *a, struct position *p)
{
    tsdb_arena_reset(&a->part);
    struct tsdb_write *w = TSDB_ARENA_NEW(&a->part, struct tsdb_write);
    if (!w) {
        return no_memory(a);
    }
    memset(w, 0, sizeof *w);
    tsdb_build_init(&a->build, &a->part, tsdb_hash_key(a->t->db), tsdb_owner_map(a->t->db));
    enum tsdb_status status = TSDB_OK;
    struct tsdb_alias_guard guard;
    tsdb_alias_begin(a->t->db, &guard);
    while (status == TSDB_OK && p->series < a->series_count &&
           a->build.entry_count < WRITE_SAMPLES_MAX && a->build.new_count < WRITE_SAMPLES_MAX) {
        status = add_piece(a, p, WRITE_SAMPLES_MAX - a->build.entry_count);
    }
    tsdb_alias_end(a->t->db, &guard);
    if (status == TSDB_OK && a->build.entry_count > 0) {
        status = tsdb_build_finish(&a->build, a->durability, w);
        if (status == TSDB_OK) {
            return run(a, w);
        }
    }
    return status == TSDB_NOMEM ? no_memory(a) : status;
}

static enum tsdb_status append_all(struct append *a)
{
    a->checked = TSDB_ARENA_ARRAY(&a->arena, struct checked, a->series_count + 1);
    if (!a->checked) {
        return no_memory(a);
    }
    enum tsdb_status status = TSDB_OK;
    for (size_t i = 0; status == TSDB_OK && i < a->series_count; i++) {
        status = check_series(a, i);
    }
    struct position p = {0, 0};
    while (status == TSDB_OK && p.series < a->series_count) {
        struct position begin = p;
        status = append_part(a, &p);
        if (status == TSDB_OK && a->stale) {
            p = begin; /* what was written counts as written when it comes again */
            status = append_part(a, &p);
        }
    }
    return status;
}

enum tidalite_status tidalite_append(struct tidalite *t, const struct tidalite_series *series,
                                     size_t series_count, enum tidalite_durability durability,
                                     struct tidalite_append_result *out)
{
    if ((unsigned)durability > TIDALITE_STRICT) {
        return fail_text(TSDB_INVALID, "append: no such durability");
    }
    struct append a = {.t = t, .series = series, .series_count = series_count};
    a.durability = TSDB_MAX((enum tsdb_durability)durability, tsdb_durability(t->db));
    tsdb_error_clear(&a.err);
    tsdb_arena_init(&a.arena, TSDB_MEM_INGEST, 4u << 10, NULL);
    tsdb_arena_init(&a.part, TSDB_MEM_INGEST, 4u << 10, NULL);
    enum tsdb_status status = append_all(&a);
    tsdb_arena_deinit(&a.part);
    tsdb_arena_deinit(&a.arena);
    if (out) {
        *out = a.result;
    }
    return status == TSDB_OK ? TIDALITE_OK : fail(status, &a.err);
}

/* ---- selecting ---- */
struct tidalite_cursor {
    struct tidalite *t;
    struct tsdb_querier *q;
    struct tsdb_series_set set;
    struct tsdb_time_range range;
    uint32_t next;
    struct tsdb_arena arena; /* of the series shown */
};

enum tidalite_status tidalite_select(struct tidalite *t, const struct tidalite_matcher *matchers,
                                     size_t matcher_count, int64_t min_ms, int64_t max_ms,
                                     struct tidalite_cursor **out)
{
    struct tsdb_matcher list[64];
    if (matcher_count == 0 || matcher_count > TSDB_ARRAY_LEN(list)) {
        return fail_text(TSDB_INVALID, "select: between 1 and 64 matchers");
    }
    for (size_t i = 0; i < matcher_count; i++) {
        const struct tidalite_matcher *m = &matchers[i];
        if ((unsigned)m->op > TIDALITE_NOT_REGEX || m->name_len > TSDB_LABEL_NAME_BYTES_MAX ||
            m->value_len > TSDB_QUERY_BYTES_MAX) {
            return fail_text(TSDB_INVALID, "select: a matcher makes no sense");
        }
        list[i] = (struct tsdb_matcher){(enum tsdb_match_op)m->op, m->name, m->value,
                                        (uint32_t)m->name_len, (uint32_t)m->value_len};
    }
    struct tidalite_cursor *c = tsdb_mem_alloc_zero(TSDB_MEM_QUERY, sizeof *c);
    if (!c) {
        return fail_text(TSDB_NOMEM, "select: no memory");
    }
    c->t = t;
    c->range = (struct tsdb_time_range){min_ms, max_ms};
    tsdb_arena_init(&c->arena, TSDB_MEM_QUERY, 16u << 10, NULL);
    struct tsdb_error err;
    tsdb_error_clear(&err);
    enum tsdb_status status = tsdb_querier_open(t->db, NULL, c->range, &c->q, &err);
    if (status == TSDB_OK) {
        status = tsdb_select(c->q, list, (uint32_t)matcher_count, &c->set, &err);
    }
    if (status != TSDB_OK) {
        tidalite_cursor_close(c);
        return fail(status, &err);
    }
    *out = c;
    return TIDALITE_OK;
}

static bool fill_labels(struct tidalite_cursor *c, const struct tsdb_labels *labels,
                        struct tidalite_view *out)
{
    struct tidalite_label *items =
        TSDB_ARENA_ARRAY(&c->arena, struct tidalite_label, labels->count + 1);
    for (uint32_t i = 0; items && i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        items[i] = (struct tidalite_label){l->name, l->name_len, l->value, l->value_len};
    }
    out->labels = items;
    out->label_count = labels->count;
    return items != NULL;
}

static bool fill_samples(struct tidalite_cursor *c, const struct tsdb_columns *columns,
                         struct tidalite_view *out)
{
    struct tidalite_sample *samples =
        TSDB_ARENA_ARRAY(&c->arena, struct tidalite_sample, columns->count + 1);
    size_t n = 0;
    for (uint32_t i = 0; samples && i < columns->count; i++) {
        if (!columns->kind || columns->kind[i] == TSDB_SAMPLE_FLOAT) {
            samples[n++] =
                (struct tidalite_sample){columns->t_ms[i], tsdb_bits_double(columns->bits[i])};
        }
    }
    out->samples = samples;
    out->sample_count = n;
    out->histogram_count = columns->count - n;
    return samples != NULL;
}

enum tidalite_status tidalite_cursor_next(struct tidalite_cursor *c, struct tidalite_view *out)
{
    struct tsdb_error err;
    tsdb_error_clear(&err);
    while (c->next < c->set.count) {
        struct tsdb_labels labels;
        struct tsdb_columns columns;
        struct tidalite_view view;
        tsdb_series_ref ref = c->set.refs[c->next++];
        tsdb_arena_reset(&c->arena);
        enum tsdb_status status = tsdb_series_read(c->q, ref, c->range, &c->arena, &columns, &err);
        if (status == TSDB_OK && columns.count == 0) {
            continue;
        }
        if (status == TSDB_OK) {
            status = tsdb_series_labels(c->q, ref, &c->arena, &labels, &err);
        }
        if (status == TSDB_OK &&
            (!fill_labels(c, &labels, &view) || !fill_samples(c, &columns, &view))) {
            status = tsdb_error_set(&err, TSDB_NOMEM, "select: no memory");
        }
        if (status != TSDB_OK) {
            return fail(status, &err);
        }
        *out = view;
        return TIDALITE_OK;
    }
    return fail_text(TSDB_NOT_FOUND, "no more series");
}

void tidalite_cursor_close(struct tidalite_cursor *c)
{
    if (c) {
        tsdb_querier_close(c->q);
        tsdb_arena_deinit(&c->arena);
        tsdb_mem_free(TSDB_MEM_QUERY, c, sizeof *c);
    }
}
