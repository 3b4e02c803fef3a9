#include "base/memory_limit.h"

#include "base/cgroup.h"
#include "base/compiler.h"
#include "base/format.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 4400
/* v1 says "no limit" as the greatest multiple of a page. */
#define UNLIMITED (UINT64_C(1) << 60)

static void take(struct tsdb_memory_limit *l, uint64_t bytes, enum tsdb_memory_limit_source source)
{
    if (bytes > 0 && bytes < UNLIMITED && (l->bytes == 0 || bytes < l->bytes)) {
        *l = (struct tsdb_memory_limit){bytes, source};
    }
}

/* "max" of v2 is no number. */
static void take_group(void *arg, const char *dir, bool v2)
{
    char line[64];
    uint64_t bytes = 0;
    const char *file = v2 ? "memory.max" : "memory.limit_in_bytes";
    if (tsdb_cgroup_line(dir, file, line, sizeof line) &&
        tsdb_parse_u64(line, strlen(line), &bytes)) {
        take(arg, bytes, TSDB_MEMORY_LIMIT_CGROUP);
    }
}

static void take_machine(struct tsdb_memory_limit *l, const char *root)
{
    char dir[PATH_BYTES];
    char line[128];
    unsigned long long kib = 0;
    snprintf(dir, sizeof dir, "%s/proc", root);
    if (tsdb_cgroup_line(dir, "meminfo", line, sizeof line) &&
        sscanf(line, "MemTotal: %llu kB", &kib) == 1 && kib < UNLIMITED >> 10) {
        take(l, (uint64_t)kib << 10, TSDB_MEMORY_LIMIT_MACHINE);
    }
}

struct tsdb_memory_limit tsdb_memory_limit(const char *root)
{
    struct tsdb_memory_limit l = {0, TSDB_MEMORY_LIMIT_NONE};
    take_machine(&l, root);
    tsdb_cgroup_walk(root, "memory", take_group, &l);
    return l;
}

const char *tsdb_memory_limit_source_name(enum tsdb_memory_limit_source source)
{
    static const char *const names[] = {"not known", "of the machine", "of the control group"};
    return names[source];
}
