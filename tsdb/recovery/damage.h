/* What counts as damage of a file that recovery reads. */
#ifndef TSDB_RECOVERY_DAMAGE_H
#define TSDB_RECOVERY_DAMAGE_H

#include "base/status.h"

#include <errno.h>

/* Bytes that fail their check, or that the disk does not give. That this process cannot open files, or has
 * no memory, says nothing about them. */
static inline bool recovery_is_damage(enum tsdb_status status, const struct tsdb_error *err)
{
    return status == TSDB_CORRUPT || (status == TSDB_IO && err->sys_errno == EIO);
}

#endif
