/* Float samples of one series, coded as they come: what an open chunk of the head is made of.
 *
 * On the data path: owner -> tsdb/head/tail.c -> here; readers, the sealer and recovery decode. The
 * bytes stand in head files as they stood in memory (docs/format/head-chunks.md).
 *
 * The first sample is its user's to keep. Each later one stands in a token, or in a run: samples at
 * the stream's pace (the usual distance of two times) with the value before them. The run at the
 * end is not written until something else follows, so that a constant which comes at a steady pace
 * takes no bytes at all.
 *
 *   token        [time] value
 *   value  0..57     a mode of value_pack.h, which says how many bytes follow
 *          101..255  an integer: the value before + unzigzag(control - 100), which is -78 .. 77
 *   time   none      at the pace
 *          58        int8 follows: so much later than the pace says; the pace stays
 *          59        uvarint follows: the distance, which is the pace from here on
 *          85..100   -8 .. -1, 1 .. 8 ms later than the pace says; the pace stays
 *   60               int8 follows: as 58, with the value before
 *   69..84           as 85..100, with the value before
 *   61..68           a run of 1, 2, 4 .. 128 samples; longer ones take several
 *
 * Invariants:
 *  1. decode(put(samples)) = samples to the last bit, any values, times that rise by 1..2^32-1 ms.
 *  2. The bytes of a token never change (what follows them may): a prefix of the tokens together with a
 *     count of samples is a stream by itself. So a writer may go on while readers decode what was published to them.
 *
 * Threads: pure. No allocation. Cost: 5-15 ns a token written, 3-9 ns a token read.
 */
#ifndef COMPRESS_SAMPLE_STREAM_H
#define COMPRESS_SAMPLE_STREAM_H

#include "base/compiler.h"
#include "compress/value_pack.h"

#include <stdbool.h>
#include <stdint.h>

#define SAMPLE_STREAM_RUN_MAX 1023u
/* Of one sample: its run before it (seven of 128, and the seven shorter ones), time, value, each with its
 * control. */
#define SAMPLE_STREAM_BYTES_MAX (14u + 1u + 5u + 1u + 8u)

/* The end of a stream, as its writer remembers it. All zero but for the value after the first
 * sample. */
struct sample_stream_end {
    uint64_t value;   /* of the last sample */
    uint32_t pace_ms; /* 0: not known yet */
    uint16_t run;     /* samples behind the last token, at most SAMPLE_STREAM_RUN_MAX */
    int8_t off_ms;    /* of the last sample, if that was off the pace */
    uint8_t offs;     /* so many samples in a row were off by as much; UINT8_MAX: or more */
};

/* Write the next sample, ahead_ms (> 0) after the last one, which is not one more of the open run:
 * out[SAMPLE_STREAM_BYTES_MAX], all of which may be written to. `packed` is the value packed against
 * end->value (the log packs it, too, and mostly against the same). Returns the bytes; *end is then the new
 * end. */
uint32_t sample_stream_put(struct sample_stream_end *end, uint32_t ahead_ms, uint64_t value,
                           struct value_packed packed, uint8_t *out);

/* Decode `count` > 0 samples of src[len]: t_ms[0] and value[0] are set, the rest is filled in. False:
 * src is nothing that sample_stream_put wrote, or holds more than count samples; t_ms and value have
 * anything then. Of untrusted bytes, true does not say that times rise. */
bool sample_stream_decode(const uint8_t *src, uint32_t len, uint32_t count, int64_t *t_ms,
                          uint64_t *value) TSDB_WUR;

/* Several streams at once, which takes less time than one after the other. */
struct sample_stream {
    const uint8_t *src;
    uint32_t len, count; /* as given to sample_stream_decode */
    int64_t *t_ms;       /* [count], the first of them set */
    uint64_t *value;     /* the same */
    bool ok; /* what sample_stream_decode would return; t_ms and value are then as it leaves them */
};
void sample_streams_decode(struct sample_stream *streams, uint32_t n);

#endif
