/* Imports: lines of text into the batch builder, a piece at a time. A piece is submitted and answered by the
 * engine before the next one is read, so that an import of any length holds the memory of a piece beside
 * its body, and what was read before a fault or a kill is stored. */
#include "base/limits.h"
#include "ingest/ingest_private.h"

#include <string.h>

/* Of the lines of a piece: as much as a large request of remote write. */
#define PIECE_BYTES   (2u << 20)
#define PIECE_SAMPLES 20000u
#define PIECE_LINES   100000u /* blank and wrong ones too */

static enum tsdb_status flush_metadata(struct ingest_request *r, struct tsdb_error *err)
{
    struct tsdb_metadata m = r->text.family;
    r->text.family = (struct tsdb_metadata){.type = TSDB_METRIC_UNKNOWN};
    bool valid = tsdb_utf8_valid(m.metric.data, m.metric.len) &&
                 (m.help.len == 0 || tsdb_utf8_valid(m.help.data, m.help.len)) &&
                 (m.unit.len == 0 || tsdb_utf8_valid(m.unit.data, m.unit.len));
    return m.metric.len == 0 ? TSDB_OK
                             : ingest_build_metadata(r, valid ? TSDB_OK : TSDB_INVALID, &m, err);
}

/* HELP, TYPE and UNIT of a family come in lines of their own. */
static enum tsdb_status add_metadata(struct ingest_request *r, enum text_item item,
                                     const struct tsdb_metadata *m, struct tsdb_error *err)
{
    struct tsdb_metadata *family = &r->text.family;
    enum tsdb_status status = TSDB_OK;
    if (family->metric.len != m->metric.len ||
        memcmp(family->metric.data, m->metric.data, m->metric.len) != 0) {
        status = flush_metadata(r, err);
        family->metric = m->metric;
    }
    if (item == TEXT_HELP) {
        family->help = m->help;
    } else if (item == TEXT_TYPE) {
        family->type = m->type;
    } else {
        family->unit = m->unit;
    }
    return status;
}

static enum tsdb_status find_target(struct ingest_request *r, const struct text_sample *s,
                                    struct tsdb_build_target *out, struct tsdb_error *err)
{
    struct tsdb_hash128 hash = tsdb_hash128(r->in->key, s->series.data, s->series.len);
    struct tsdb_alias_hit hit = {TSDB_SERIES_NEW, 0};
    hash.hi ^= INGEST_SALT_TEXT;
    if (r->use_aliases) {
        struct tsdb_alias_guard guard;
        tsdb_alias_begin(r->in->db, &guard);
        hit = tsdb_alias_find(r->in->db, hash);
        tsdb_alias_end(r->in->db, &guard);
    }
    if (hit.ref != TSDB_SERIES_NEW) {
        *out = tsdb_build_known(hit);
        r->hits++;
        return TSDB_OK;
    }
    r->misses++;
    return ingest_build_new(r, s->label_count, hash, out, err);
}

static enum tsdb_status add_sample(struct ingest_request *r, const struct text_sample *s,
                                   struct tsdb_error *err)
{
    struct tsdb_build_target target;
    enum tsdb_status status = find_target(r, s, &target, err);
    if (status == TSDB_INVALID) {
        (void)tsdb_error_prefix(err, status, "line %llu", (unsigned long long)r->text.parser.line);
        ingest_build_reject(r, TSDB_REJECT_LABELS, 1, err);
        if (ingest_build_unnamed(r)) {
            ingest_build_name(r, r->labels, s->label_count);
        }
        return TSDB_OK;
    }
    if (status == TSDB_OK) {
        status = ingest_build_float(r, &target, s->has_time ? s->t_ms : r->text.now_ms, 0, s->bits);
    }
    return status == TSDB_OK && s->has_exemplar
               ? ingest_build_exemplar(r, &target, &s->exemplar, err)
               : status;
}

/* A line that is no sample counts as one that is refused; it has no series to name. */
static void refuse_line(struct ingest_request *r, struct tsdb_error *err)
{
    ingest_build_reject(r, TSDB_REJECT_SYNTAX, 1, err);
    if (ingest_build_unnamed(r)) {
        ingest_build_name(r, NULL, 0);
    }
}

enum tsdb_status ingest_decode_text(struct ingest_request *r, struct tsdb_error *err)
{
    struct tsdb_label exemplar_labels[TSDB_EXEMPLAR_LABEL_CHARS_MAX];
    struct text_out out = {.labels = r->labels,
                           .label_cap = TSDB_LABELS_MAX,
                           .exemplar_labels = exemplar_labels,
                           .exemplar_cap = TSDB_EXEMPLAR_LABEL_CHARS_MAX,
                           .arena = &r->arena};
    struct text_parser *p = &r->text.parser;
    const uint8_t *begin = p->pos;
    enum tsdb_status status = TSDB_OK;
    enum text_item item = TEXT_SAMPLE;
    r->exemplars_left = PIECE_SAMPLES;
    r->text.piece = *p; /* where to begin again, should it have to */
    const uint8_t *stop = begin + TSDB_MIN((size_t)(p->end - begin), (size_t)PIECE_BYTES);
    for (uint32_t lines = 0; status == TSDB_OK && item != TEXT_END && p->pos < stop &&
                             lines < PIECE_LINES && r->build.entry_count < PIECE_SAMPLES;
         lines++) {
        /* The text is for the first fault of a piece; of rubbish there may be millions. */
        item = text_next(p, &out, r->first_error.status == TSDB_OK ? err : NULL);
        switch (item) {
        case TEXT_SAMPLE:
            status = add_sample(r, &out.sample, err);
            break;
        case TEXT_HELP:
        case TEXT_TYPE:
        case TEXT_UNIT:
            status = add_metadata(r, item, &out.metadata, err);
            break;
        case TEXT_FAULT:
            refuse_line(r, err);
            break;
        case TEXT_NOMEM:
            status = tsdb_arena_status(&r->arena);
            break;
        case TEXT_END:
        case TEXT_NOTHING:
            break;
        }
    }
    return status == TSDB_OK ? flush_metadata(r, err) : status;
}
