/* Inside of the value codec: what its writer and its reader share. */
#ifndef COMPRESS_VALUE_CODEC_PRIVATE_H
#define COMPRESS_VALUE_CODEC_PRIVATE_H

#include "compress/value_codec.h"

#include <stdbool.h>

/* model/sample.h has the name; compress/ stands below model/. */
#define VALUE_STALE_BITS UINT64_C(0x7ff0000000000002)

/* First byte of the parameters of DEC*: digits in the low bits. */
#define DEC_DIGITS         0x1fu
#define DEC_HAS_FACTOR     0x20u
#define DEC_HAS_EXCEPTIONS 0x40u

/* Instead of the number of bytes of a bit pattern: the same pattern as the one before. */
#define PATTERN_SAME 9u

/* XOR is read one value after the other, so long columns do without. */
#define XOR_COUNT_MAX 256u

static inline uint32_t value_codec_order(uint32_t codec)
{
    return codec == VALUE_CODEC_DEC_DELTA2                                     ? 2
           : codec == VALUE_CODEC_DEC_DELTA || codec == VALUE_CODEC_BITS_DELTA ? 1
                                                                               : 0;
}

#endif
