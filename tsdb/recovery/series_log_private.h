/* What writing and loading of series.log share: docs/format/series-log.md. */
#ifndef TSDB_RECOVERY_SERIES_LOG_PRIVATE_H
#define TSDB_RECOVERY_SERIES_LOG_PRIVATE_H

#include "base/bytes.h"
#include "base/crc32c.h"
#include "tsdb/recovery/series_log.h"

#define SERIES_LOG_MAGIC "TDLSERLG"
/* Every version has its number and the CRC behind it where this one has them. */
#define SERIES_LOG_AT_VERSION     8
#define SERIES_LOG_AT_VERSION_CRC 12
#define SERIES_LOG_AT_IDENTITY    16
#define SERIES_LOG_AT_CRC         32
static_assert(SERIES_LOG_AT_IDENTITY + SERIES_LOG_IDENTITY_BYTES == SERIES_LOG_AT_CRC &&
                  SERIES_LOG_AT_CRC + 4 == SERIES_LOG_HEADER_BYTES,
              "fields of the header");

void series_log_header_put(const uint8_t identity[SERIES_LOG_IDENTITY_BYTES],
                           uint8_t out[SERIES_LOG_HEADER_BYTES]);

/* The CRC continues the one of the record before, the header's for the first, and has the record's
 * offset: bytes that ended up elsewhere, or behind others, do not verify. */
static inline uint32_t series_log_record_crc(uint32_t before, uint64_t offset,
                                             const uint8_t *len_bytes, const uint8_t *payload,
                                             size_t len)
{
    uint8_t where[8];
    tsdb_store_le64(where, offset);
    uint32_t crc = tsdb_crc32c(before, where, sizeof where);
    crc = tsdb_crc32c(crc, len_bytes, 4);
    return tsdb_crc32c(crc, payload, len);
}

#endif
