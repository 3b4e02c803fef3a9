/* What the files of query/hist share: reading buckets in order, and writing a side anew.
 *
 * A side is rewritten in place. Its content is moved to the end of its room, read from there by a
 * cursor and written at the front:
 *
 *     own_counts:  [ written so far >      (free)      < still to be read ]
 *
 * The writer cannot overtake the reader as long as the room holds what is there plus what is new.
 */
#ifndef QUERY_HIST_HIST_PRIVATE_H
#define QUERY_HIST_HIST_PRIVATE_H

#include "query/hist/hist.h"

/* Gaps wider than a span's offset are bridged by spans of no length; all indices fit 32 bits, so two
 * are enough. */
#define HIST_SPANS_SPARE 3

/* Buckets in ascending order of index. */
struct hist_cursor {
    const struct tsdb_span *spans;
    const double *counts, *residues; /* residues may be NULL */
    uint32_t span, span_count;
    uint32_t left;   /* buckets left in this span, this one included; 0: behind the last */
    uint32_t bucket; /* place in counts */
    int64_t index;
    bool opens; /* the first bucket of its span */
};

void hist_cursor_init(struct hist_cursor *c, const struct hist_side *s);
void hist_cursor_next(struct hist_cursor *c);
static inline bool hist_cursor_valid(const struct hist_cursor *c)
{
    return c->left > 0;
}

/* The same at a lower resolution: `shift` schemas down. */
struct hist_coarse {
    struct hist_cursor in; /* behind the buckets that were joined */
    unsigned shift;
    bool compensated;
    bool valid;
    int64_t index;
    double count, residue;
};

void hist_coarse_init(struct hist_coarse *c, const struct hist_side *s, unsigned shift,
                      bool compensated);
void hist_coarse_next(struct hist_coarse *c);
/* Skip the buckets up to an absolute value of `threshold`. */
void hist_coarse_skip(struct hist_coarse *c, int32_t schema, double threshold);

/* Have own arrays, for at least so many buckets and spans, and residues if wanted. Pointers into
 * the side's former arrays may be stale afterwards. */
enum tsdb_status hist_side_own(struct hist_side *s, uint64_t buckets, uint64_t spans, bool residues,
                               struct tsdb_arena *arena) TSDB_WUR;
/* Own both sides. */
enum tsdb_status hist_own(struct hist *h, struct tsdb_arena *arena) TSDB_WUR;

struct hist_writer {
    struct hist_side *side;
    int64_t end; /* index behind the last bucket written */
};

/* Own room for what is there and so much more; hand out what is there as *tail and begin anew. */
enum tsdb_status hist_writer_init(struct hist_writer *w, struct hist_side *s, uint64_t buckets_more,
                                  uint64_t spans_more, bool residues, struct tsdb_arena *arena,
                                  struct hist_side *tail) TSDB_WUR;
/* Indices rise. A bucket that touches the one before joins its span unless `opens`. */
void hist_writer_put(struct hist_writer *w, int64_t index, double count, double residue,
                     bool opens);

/* Custom bounds: the same numbers? */
bool hist_same_bounds(const struct hist *a, const struct hist *b);

/* The zero count that h would have if its zero bucket reached to *threshold, which is raised until it
 * cuts no populated bucket. Exponential only.
 *   residue   in: of h's zero count; out: of the result */
double hist_zero_count_within(const struct hist *h, double *threshold, double *residue);

/* compact of one side. */
enum tsdb_status hist_side_compact(struct hist_side *s, struct tsdb_arena *arena) TSDB_WUR;

#endif
