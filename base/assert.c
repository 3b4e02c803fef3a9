#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

/* No lock, no log: an assertion may fail while the log's lock is held. */
void tsdb_assert_fail(const char *expr, const char *file, int line, const char *func)
{
    (void)dprintf(2, "%s:%d: %s: assertion failed: %s\n", file, line, func, expr);
    abort();
}
