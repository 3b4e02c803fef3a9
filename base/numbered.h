/* Names of numbered files: log segments, head files, checkpoints.
 *
 *   00000001 ... 99999999, 100000000 ...      eight digits or more, no superfluous zeroes, above 0
 *
 * One number has one name, so that a listing never shows two files for it. Threads: pure.
 */
#ifndef BASE_NUMBERED_H
#define BASE_NUMBERED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "<prefix><number>" with its NUL into out[cap]; prefix may hold a directory. The caller gives
 * enough room, which is asserted. 0 makes a name that no file has. */
void tsdb_numbered_name(char *out, size_t cap, const char *prefix, uint64_t number);
/* Is the name one of those, and of which number? */
bool tsdb_numbered_parse(const char *name, uint64_t *out_number);

#endif
