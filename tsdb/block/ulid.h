/* ULIDs: names of blocks. 48 bits of Unix ms and 80 random bits in 26 characters of Crockford's
 * base 32 (upper case, without I, L, O, U), so that names sort by the time they were made at.
 * Threads: pure. Source: github.com/ulid/spec. */
#ifndef TSDB_BLOCK_ULID_H
#define TSDB_BLOCK_ULID_H

#include <stdbool.h>
#include <stdint.h>

#define ULID_CHARS       26
#define ULID_TIME_MS_MAX ((UINT64_C(1) << 48) - 1)

/* out has ULID_CHARS + 1 bytes. wall_ms is cut at ULID_TIME_MS_MAX; of random, the low 16 bits of
 * [0] and all of [1] are used. */
void ulid_format(uint64_t wall_ms, const uint64_t random[2], char *out);
/* Is s, NUL-terminated, a ULID as ulid_format writes it? */
bool ulid_valid(const char *s);
uint64_t ulid_time_ms(const char *s); /* of a valid one */

#endif
