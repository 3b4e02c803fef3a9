/* Records: what one frame of the log holds. Encoded by owners, decoded by replay. Pure, no I/O.
 *
 * A frame on disk is a 16-byte header (wal.c fills magic and CRC) and groups; an owner writes one
 * frame for all that it has of a batch, into the batch's wal_bytes. A group is what one partition has
 * of one type of record:
 *
 *   u8 partition, type | varint time | uvarint length | body
 *
 *   time: what the first item's is a difference to, itself a difference to that of the group before
 *   it in the frame, so that a group need not say the time that its neighbours have
 *
 * A body begins with
 *
 *   uvarint log_seq               position among this partition's groups: 1, 2, 3, ...; a gap means
 *                                 that a frame with one was lost
 *   varint write_seq - log_seq    the partition's write sequence after the batch (orders duplicates
 *                                 and deletes)
 *   uvarint epoch                 what values may be packed against: only samples of the same
 *                                 partition and epoch
 *
 * Values are packed against the series' last value logged in the same epoch; a series' first sample
 * in an epoch is raw. So a damaged frame costs at most the samples of its partitions, those of one
 * owner, up to the next epoch. Exact bytes: docs/format/wal.md.
 */
#ifndef WAL_RECORD_H
#define WAL_RECORD_H

#include "compress/value_pack.h"
#include "model/batch.h"
#include "wal/place.h"

enum wal_record_type {
    WAL_RECORD_SERIES = 1,  /* new series: local id and labels */
    WAL_RECORD_SAMPLES = 2, /* floats and histograms of one partition */
    WAL_RECORD_EXEMPLARS = 3,
};
#define WAL_FRAME_HEADER_BYTES 16

/* Upper bounds for reserving memory before encoding. */
#define WAL_GROUP_HEAD_MAX 16 /* partition and type, time, length */
/* Of a group; the first one's covers the frame's header and padding. */
#define WAL_FRAME_OVERHEAD_MAX                                                                     \
    (WAL_FRAME_HEADER_BYTES + WAL_GROUP_HEAD_MAX + 3 * TSDB_VARINT64_BYTES_MAX + 4)
/* Float, or histogram without its raw bytes; start timestamp included. */
#define WAL_SAMPLE_BYTES_MAX          48
#define WAL_SERIES_BYTES_OVERHEAD_MAX 24
/* Labels of more bytes are not kept to compare with: the series behind them is written whole. */
#define WAL_SERIES_SHARED_MAX           2048
#define WAL_EXEMPLAR_BYTES_OVERHEAD_MAX 32 /* beside the labels' canonical bytes */

/* ---- encoding, into [pos, end) of a batch ---- */

/* Running out of room is a bug of the reservation, and asserted. */
struct wal_encoder {
    uint8_t *pos, *end;
    uint8_t *frame;      /* begin of the open frame, or NULL */
    uint8_t *group;      /* where the open group's length goes, or NULL */
    int64_t frame_t_ms;  /* time of the last group in the frame */
    uint32_t prev_local; /* delta state within the group: series and exemplars */
    int64_t prev_t_ms;
    uint8_t *run;           /* control byte of the open run of unchanged values, or NULL */
    uint32_t labels_len;    /* of the series before in the group; 0: none, or too long */
    struct wal_place place; /* of samples */
    uint8_t labels[WAL_SERIES_SHARED_MAX];
};
void wal_encoder_init(struct wal_encoder *e, uint8_t *begin, uint8_t *end);
/* Opens a frame if none is open. t_ms: of the first item, ideally; labels have no time, and it is
 * not looked at. */
void wal_group_begin(struct wal_encoder *e, enum wal_record_type type, uint32_t partition,
                     int64_t t_ms, uint64_t log_seq, uint64_t write_seq, uint64_t epoch);
void wal_group_end(struct wal_encoder *e);
/* Ends the open group, if there is one, and the frame. */
void wal_frame_end(struct wal_encoder *e);
void wal_encode_series(struct wal_encoder *e, uint32_t local, const struct tsdb_labels *labels);
/* base_bits: the series' last float logged in this epoch; has_base false = raw. */
void wal_encode_float(struct wal_encoder *e, uint32_t local, int64_t t_ms, int64_t start_ms,
                      uint64_t bits, bool has_base, uint64_t base_bits);
/* The same, of a float that is packed already, against that base or none. */
void wal_encode_packed(struct wal_encoder *e, uint32_t local, int64_t t_ms, int64_t start_ms,
                       struct value_packed v);
void wal_encode_histogram(struct wal_encoder *e, uint32_t local, int64_t t_ms, int64_t start_ms,
                          enum tsdb_sample_kind kind, const uint8_t *raw, uint32_t raw_len);
void wal_encode_exemplar(struct wal_encoder *e, uint32_t local, const struct tsdb_exemplar *x);

/* ---- decoding untrusted payloads ---- */
struct wal_group {
    enum wal_record_type type;
    uint32_t partition;
    int64_t time_ms;
    struct tsdb_slice body;
};
/* Walks a frame's payload. */
struct wal_groups {
    const uint8_t *pos, *end;
    int64_t time_ms;
    bool failed;
};
/* The next group; false at the end or on malformed bytes (then g->failed). */
bool wal_groups_next(struct wal_groups *g, struct wal_group *out);

struct wal_frame_head {
    uint64_t log_seq, write_seq, epoch;
};
struct wal_decoder {
    const uint8_t *pos, *end;
    uint32_t prev_local; /* as the encoder's */
    int64_t prev_t_ms;
    uint32_t run_left; /* samples of a run still to be given */
    bool series_begun;
    bool failed;
    struct wal_place place;
};
/* The body of a group with its time. */
enum tsdb_status wal_decode_head(const uint8_t *body, uint32_t len, int64_t time_ms,
                                 struct wal_frame_head *out_head, struct wal_decoder *out,
                                 struct tsdb_error *err) TSDB_WUR;
/* Each returns true with the next item, false at the end or on malformed bytes (then d->failed). */
/* labels: in, what the call before left there (before the first series of a body: anything); out, the
 * labels' canonical bytes, unchecked. labels->failed: no memory. */
bool wal_decode_series(struct wal_decoder *d, struct tsdb_buf *labels, uint32_t *out_local);
struct wal_sample {
    uint32_t local;
    enum tsdb_sample_kind kind;
    int64_t t_ms;
    int64_t start_ms;
    uint64_t bits;         /* float; complete if raw, else to be finished by wal_sample_unpack */
    struct tsdb_slice raw; /* histogram */
    bool needs_base;       /* packed: the caller knows the base */
    uint8_t pack_mode;
    uint64_t packed;
};
bool wal_decode_sample(struct wal_decoder *d, struct wal_sample *out);
/* The float's bits, given the series' last float in this epoch. */
uint64_t wal_sample_unpack(const struct wal_sample *s, uint64_t base_bits);
bool wal_decode_exemplar(struct wal_decoder *d, uint32_t *out_local, struct tsdb_label *items,
                         uint32_t cap, struct tsdb_exemplar *out);

#endif
