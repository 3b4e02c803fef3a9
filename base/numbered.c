#include "base/numbered.h"

#include "base/assert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DIGITS_MIN 8u
#define DIGITS_MAX 19u /* what a uint64_t holds for certain */

void tsdb_numbered_name(char *out, size_t cap, const char *prefix, uint64_t number)
{
    int n = snprintf(out, cap, "%s%08" PRIu64, prefix, number);
    TSDB_ASSERT(n > 0 && (size_t)n < cap);
}

bool tsdb_numbered_parse(const char *name, uint64_t *out_number)
{
    size_t len = strlen(name);
    uint64_t n = 0;
    if (len < DIGITS_MIN || len > DIGITS_MAX || (len > DIGITS_MIN && name[0] == '0')) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (name[i] < '0' || name[i] > '9') {
            return false;
        }
        n = n * 10 + (uint64_t)(name[i] - '0');
    }
    if (n == 0) {
        return false;
    }
    *out_number = n;
    return true;
}
