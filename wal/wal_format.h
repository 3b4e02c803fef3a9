/* The log's bytes on disk: where every field stands. docs/format/wal.md is the page to read; this
 * holds it to code.
 *
 *   segment file   | header 48 | frame | frame | ... | 16 zero bytes | anything |
 *   frame          | header 16 | group | group | ... | zero padding to a multiple of 4 |
 *   group          | partition and type | time | length | that many bytes: wal/record.h |
 */
#ifndef WAL_WAL_FORMAT_H
#define WAL_WAL_FORMAT_H

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "model/version.h"
#include "wal/record.h"

#include <assert.h>

/* ---- segment header ---- */
#define WAL_SEGMENT_MAGIC        UINT64_C(0x0a0d4c41572d4454) /* "TD-WAL\r\n" */
#define WAL_SEGMENT_HEADER_BYTES 48u
enum {
    WAL_SEGMENT_AT_MAGIC = 0,    /* u64 */
    WAL_SEGMENT_AT_VERSION = 8,  /* u32 TSDB_FORMAT_WAL */
    WAL_SEGMENT_AT_BYTES = 12,   /* u32 bytes of this header */
    WAL_SEGMENT_AT_SEGMENT = 16, /* u64 number, as in the file's name */
    /* u64 where the log before this segment ends; 0: not known, the log was opened here; */
    WAL_SEGMENT_AT_PREV_SEGMENT = 24,
    WAL_SEGMENT_AT_PREV_END = 32, /* u64 else a byte offset in it */
    WAL_SEGMENT_AT_MARK = 40,     /* u32 of the data directory */
    WAL_SEGMENT_AT_CRC = 44,      /* u32 crc32c of the 44 bytes before */
};
static_assert(WAL_SEGMENT_AT_CRC + 4 == WAL_SEGMENT_HEADER_BYTES, "the CRC is the header's end");
static_assert(WAL_SEGMENT_HEADER_BYTES % 16 == 0, "the first frame is aligned");

/* ---- POSITION (position.c) ---- */
#define WAL_POSITION_NAME  "POSITION"
#define WAL_POSITION_MAGIC UINT64_C(0x534f504c4157444c) /* "LDWALPOS" */

/* ---- frame header ---- */
#define WAL_FRAME_MAGIC 0x464c4457u /* "WDLF" */
#define WAL_FRAME_ALIGN 4u
enum {
    WAL_FRAME_AT_MAGIC = 0, /* u32 */
    WAL_FRAME_AT_LEN = 4,   /* u32 payload bytes, padding not counted */
    WAL_FRAME_AT_CRC = 8,   /* u32, see wal_frame_crc */
    WAL_FRAME_AT_TYPE = 12, /* u8 WAL_FRAME_GROUPS */
    WAL_FRAME_AT_ZERO = 13, /* three zero bytes */
};
#define WAL_FRAME_GROUPS 1u /* the one type of frame so far */
static_assert(WAL_FRAME_AT_ZERO + 3 == WAL_FRAME_HEADER_BYTES, "sixteen bytes");
static_assert(WAL_FRAME_HEADER_BYTES % WAL_FRAME_ALIGN == 0, "payloads are aligned");

/* After the last frame that was written stand as many zero bytes as a frame header has: where a
 * recycled file's old content would follow, they say that the log ends here. */
#define WAL_END_BYTES WAL_FRAME_HEADER_BYTES

/* ---- group: what one partition has in a frame ---- */
#define WAL_GROUP_PARTITION  0x3fu /* of its first byte */
#define WAL_GROUP_TYPE_SHIFT 6u    /* enum wal_record_type, in the bits above */
#define WAL_GROUP_BODY_MIN   3u    /* the three numbers that begin it */
static_assert(TSDB_PARTITIONS <= WAL_GROUP_PARTITION + 1, "a partition is six bits");
static_assert(WAL_RECORD_EXEMPLARS < 1u << (8 - WAL_GROUP_TYPE_SHIFT), "a type is two bits");

/* ---- sample ---- */
/* A byte before the control byte, where the sample is not where it follows from those before it
 * (wal/place.h): */
#define WAL_SAMPLE_PLACE     63u /* 64..66: this and the bits */
#define WAL_PLACE_LOCAL      1u /* varint of local id - previous id follows; without: the next id */
#define WAL_PLACE_TIME       2u /* varint of time - the previous series' first time; without: that */
#define WAL_PLACE_SAME       4u /* 67: the same id, varint of how its pace changes */
#define WAL_SAMPLE_PLACE_END 68u
/* The control byte: a value_pack mode, 0..57, whose bytes follow, or */
#define WAL_SAMPLE_RUN       58u /* 58..62: 2..6 samples SAME in a row, each where it follows */
#define WAL_SAMPLE_ESCAPE    63u /* an escape byte follows */
#define WAL_SAMPLE_LONG_RUN  68u /* 68..95: 7..34 such samples */
#define WAL_SAMPLE_STEP      95u /* 96..255: INT_DELTA, its one byte is what is beyond 95 */
#define WAL_SAMPLE_STEP_MOST 160u
#define WAL_RUN_SHORT_MOST   6u
#define WAL_RUN_MOST         34u
#define WAL_ESCAPE_KIND      0x03u /* enum tsdb_sample_kind */
#define WAL_ESCAPE_START     0x04u /* varint of time - start timestamp follows */
#define WAL_ESCAPE_VALID     0x07u
static_assert(WAL_SAMPLE_RUN + WAL_RUN_SHORT_MOST - 2 + 1 == WAL_SAMPLE_ESCAPE,
              "short runs, escape");
static_assert(WAL_SAMPLE_PLACE + WAL_PLACE_SAME + 1 == WAL_SAMPLE_PLACE_END, "four of them");
static_assert(WAL_SAMPLE_PLACE_END == WAL_SAMPLE_LONG_RUN, "then long runs");
static_assert(WAL_SAMPLE_LONG_RUN + WAL_RUN_MOST - WAL_RUN_SHORT_MOST - 1 == WAL_SAMPLE_STEP,
              "then steps");
static_assert(WAL_SAMPLE_STEP + WAL_SAMPLE_STEP_MOST == 255, "to the last code");

/* A frame with its header and padding. */
static inline uint64_t wal_frame_bytes(uint32_t payload_len)
{
    return WAL_FRAME_HEADER_BYTES +
           (((uint64_t)payload_len + WAL_FRAME_ALIGN - 1) & ~(uint64_t)(WAL_FRAME_ALIGN - 1));
}

/* Where a frame belongs, but for its offset: a segment of one data directory. */
static inline uint64_t wal_place(uint32_t mark, uint64_t segment)
{
    return segment ^ (uint64_t)mark << 32;
}

/* CRC-32C of place, offset of the frame in the segment, the header without the CRC, payload and padding.
 * So a frame is valid in one place only: old bytes of a recycled segment, a frame written to the wrong
 * place, or the log of another directory, are not. */
static inline uint32_t wal_frame_crc(const uint8_t *frame, uint64_t place, uint64_t offset)
{
    uint8_t seed[28];
    uint64_t bytes = wal_frame_bytes(tsdb_load_le32(frame + WAL_FRAME_AT_LEN));
    tsdb_store_le64(seed, place);
    tsdb_store_le64(seed + 8, offset);
    memcpy(seed + 16, frame, WAL_FRAME_AT_CRC);
    memcpy(seed + 24, frame + WAL_FRAME_AT_TYPE, 4);
    uint32_t crc = tsdb_crc32c(0, seed, sizeof seed);
    return tsdb_crc32c(crc, frame + WAL_FRAME_HEADER_BYTES, (size_t)bytes - WAL_FRAME_HEADER_BYTES);
}

#endif
