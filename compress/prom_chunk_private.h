/* What the readers and writers of Prometheus's chunks share: numbers of variable width, start
 * times, the layout of a histogram chunk. */
#ifndef COMPRESS_PROM_CHUNK_PRIVATE_H
#define COMPRESS_PROM_CHUNK_PRIVATE_H

#include "compress/bit_stream_private.h"
#include "compress/prom_chunk.h"

/* ---- numbers ----
 * '0' is 0; else k ones (1 to 8), a zero unless there are 8, and a field of prom_varbit_width[k]
 * bits. A signed field of n bits holds -(2^(n-1) - 1) to 2^(n-1), so is not two's complement. */
#define PROM_VARBIT_KINDS     8u
#define PROM_VARBIT_BYTES_MAX 9u
extern const uint8_t prom_varbit_width[PROM_VARBIT_KINDS + 1];

void prom_put_varbit_int(struct bit_writer *w, int64_t v);
void prom_put_varbit_uint(struct bit_writer *w, uint64_t v);
int64_t prom_get_varbit_int(struct bit_reader *r);
uint64_t prom_get_varbit_uint(struct bit_reader *r);

static inline size_t prom_bits_left(const struct bit_reader *r)
{
    return 8 * r->len - r->bit;
}
/* "xor chunk at byte 12 of 40: <what>" */
enum tsdb_status prom_corrupt(const struct bit_reader *r, unsigned encoding, const char *what,
                              struct tsdb_error *err);

/* ---- start times ----
 * They follow each sample from the first that changes on: the time of the sample before less the
 * start time, then the change of that difference. */
struct prom_start {
    bool first_known;
    uint32_t change_on; /* 0: never */
    uint64_t start, difference;
};
struct prom_start prom_start_init(uint8_t header);
static inline bool prom_start_any(const struct prom_start *s)
{
    return s->first_known || s->change_on > 0;
}
/* After sample i, whose time is t and the one before's t_before. */
int64_t prom_start_read(struct prom_start *s, struct bit_reader *r, uint32_t i, uint64_t t,
                        uint64_t t_before);

/* ---- layout of a histogram chunk ---- */
enum prom_header {
    PROM_HEADER_UNKNOWN = 0,
    PROM_HEADER_NO_RESET = 1,
    PROM_HEADER_RESET = 2,
    PROM_HEADER_GAUGE = 3,
};
#define PROM_HISTOGRAM_HEADER_BYTES 3u
#define PROM_HEADER_SHIFT           6u

struct prom_side {
    const struct tsdb_span *spans;
    uint32_t span_count, bucket_count;
};
struct prom_layout {
    int32_t schema;
    double zero_threshold;
    struct prom_side side[2]; /* positive, negative */
    const double *custom_values;
    uint32_t custom_count;
};
static inline uint32_t prom_layout_buckets(const struct prom_layout *l)
{
    return l->side[0].bucket_count + l->side[1].bucket_count;
}
/* A view of h's; custom bounds only where the schema has them. */
struct prom_layout prom_layout_of(const struct tsdb_histogram *h);
/* Upper bound of its bytes. */
size_t prom_layout_bytes_max(const struct prom_layout *l);
void prom_layout_put(struct bit_writer *w, const struct prom_layout *l);
/* Arrays from the arena. Buckets are bounded by the bits left, bucket_bits_min each. A malformed
 * one leaves r->failed and returns OK. UNSUPPORTED, LIMIT, NOMEM. */
enum tsdb_status prom_layout_get(struct bit_reader *r, size_t bucket_bits_min,
                                 struct tsdb_arena *arena, struct prom_layout *out,
                                 struct tsdb_error *err) TSDB_WUR;

/* Indices of the buckets of one side, rising. */
struct prom_walk {
    const struct tsdb_span *spans;
    uint32_t span_count, span, done; /* done: buckets of spans[span] */
    int64_t next;
};
struct prom_walk prom_walk_init(const struct prom_side *side);
bool prom_walk_next(struct prom_walk *w, int64_t *out_index);

/* ---- histograms ---- */
enum tsdb_status prom_histogram_decode(unsigned encoding, const uint8_t *src, size_t len,
                                       struct tsdb_arena *arena, struct tsdb_columns *out,
                                       struct tsdb_error *err) TSDB_WUR;

/* The open chunk of a writer, and the last sample in it. */
struct prom_encoder {
    struct tsdb_buf out;
    struct bit_writer w;
    struct tsdb_arena kept;    /* layout and state, as long as the chunk */
    struct tsdb_arena scratch; /* one sample, or the chunk that is encoded again */
    bool is_float, stale;      /* stale: the last sample is */
    enum prom_header header;
    uint32_t count;
    struct prom_layout layout;
    uint64_t t, t_delta;
    uint64_t observations, observations_delta, zero, zero_delta; /* integer */
    struct window sum, observations_window, zero_window;         /* sum: both; others: float */
    int64_t *deltas, *changes; /* integer, per bucket: in the sample, and against the one before */
    struct window *windows;    /* float, per bucket */
};
enum prom_fit {
    PROM_FIT_JOIN,        /* the layout has all its buckets */
    PROM_FIT_WIDEN,       /* a wider layout would */
    PROM_FIT_CUT_UNKNOWN, /* another chunk, and what its header says */
    PROM_FIT_CUT_RESET,
    PROM_FIT_CUT_NO_RESET,
    PROM_FIT_CUT_GAUGE,
};
void prom_encoder_init(struct prom_encoder *e);
void prom_encoder_deinit(struct prom_encoder *e);
/* Could h follow the last sample in this chunk? The chunk has one. *out_wider is in the scratch
 * arena. */
enum tsdb_status prom_encoder_fit(struct prom_encoder *e, const struct tsdb_histogram *h,
                                  enum prom_fit *out, struct prom_layout *out_wider,
                                  struct tsdb_error *err) TSDB_WUR;
/* Begin a chunk with h's layout; encode the chunk again with a wider one; add a sample, whose
 * buckets the layout has. */
enum tsdb_status prom_encoder_begin(struct prom_encoder *e, const struct tsdb_histogram *h,
                                    enum prom_header header, struct tsdb_error *err) TSDB_WUR;
enum tsdb_status prom_encoder_widen(struct prom_encoder *e, const struct prom_layout *wider,
                                    struct tsdb_error *err) TSDB_WUR;
enum tsdb_status prom_encoder_add(struct prom_encoder *e, int64_t t_ms,
                                  const struct tsdb_histogram *h, struct tsdb_error *err) TSDB_WUR;
/* Bytes so far. */
size_t prom_encoder_bytes(const struct prom_encoder *e);
/* The whole chunk, borrowed; more samples may follow. NULL: no memory. */
const uint8_t *prom_encoder_data(struct prom_encoder *e, size_t *out_len);

#endif
