/* CRC-32C (Castagnoli, reflected 0x82F63B78), as in iSCSI and Prometheus's files.
 * SSE4.2 where the CPU has it, a table otherwise; the bytes decide, not the CPU. Threads: pure. */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* crc32c of data continuing from `crc` (0 to start; results chain). */
uint32_t tsdb_crc32c(uint32_t crc, const void *data, size_t len);
/* The portable table implementation, exposed as the specification for tests. */
uint32_t tsdb_crc32c_table(uint32_t crc, const void *data, size_t len);

#endif
