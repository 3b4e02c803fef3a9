#include "base/memory_limit.h"

#include "base/compiler.h"
#include "base/format.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 4400 /* a path of a group is 4096 at most */
/* v1 says "no limit" as the greatest multiple of a page. */
#define UNLIMITED (UINT64_C(1) << 60)

/* The first line of a file, without its newline. */
static bool read_line(const char *path, char *out, size_t cap)
{
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(out, (int)cap, f);
    if (f) {
        fclose(f);
    }
    if (ok) {
        out[strcspn(out, "\n")] = '\0';
    }
    return ok;
}

static void take(struct tsdb_memory_limit *l, uint64_t bytes, enum tsdb_memory_limit_source source)
{
    if (bytes > 0 && bytes < UNLIMITED && (l->bytes == 0 || bytes < l->bytes)) {
        *l = (struct tsdb_memory_limit){bytes, source};
    }
}

/* "max" of v2 is no number. */
static void take_file(struct tsdb_memory_limit *l, const char *path)
{
    char line[64];
    uint64_t bytes = 0;
    if (read_line(path, line, sizeof line) && tsdb_parse_u64(line, strlen(line), &bytes)) {
        take(l, bytes, TSDB_MEMORY_LIMIT_CGROUP);
    }
}

/* The group and all around it, up to the mount. In a container the group's path may be the host's, where only
 * the mount itself is there. */
static void take_groups(struct tsdb_memory_limit *l, const char *root, const char *mount,
                        const char *group, const char *file)
{
    char around[PATH_BYTES];
    size_t len = strlen(group);
    if (len >= sizeof around) {
        return;
    }
    memcpy(around, group, len + 1);
    for (;;) {
        char path[2 * PATH_BYTES];
        int n = snprintf(path, sizeof path, "%s%s%s/%s", root, mount, around, file);
        if (n > 0 && (size_t)n < sizeof path) {
            take_file(l, path);
        }
        char *slash = strrchr(around, '/');
        if (!slash) {
            return;
        }
        *slash = '\0';
    }
}

/* "4:cpu,memory:/a/b" of v1, "0::/a/b" of v2. */
static void take_line(struct tsdb_memory_limit *l, const char *root, char *line)
{
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!group) {
        return;
    }
    *group++ = '\0';
    group[strcspn(group, "\n")] = '\0';
    controllers++;
    if (controllers[0] == '\0') {
        take_groups(l, root, "/sys/fs/cgroup", group, "memory.max");
        return;
    }
    for (size_t len = 0; *controllers; controllers += len + (controllers[len] == ',')) {
        len = strcspn(controllers, ",");
        if (len == 6 && strncmp(controllers, "memory", len) == 0) {
            take_groups(l, root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
        }
    }
}

static void take_machine(struct tsdb_memory_limit *l, const char *root)
{
    char path[PATH_BYTES];
    char line[128];
    unsigned long long kib = 0;
    snprintf(path, sizeof path, "%s/proc/meminfo", root);
    if (read_line(path, line, sizeof line) && sscanf(line, "MemTotal: %llu kB", &kib) == 1 &&
        kib < UNLIMITED >> 10) {
        take(l, (uint64_t)kib << 10, TSDB_MEMORY_LIMIT_MACHINE);
    }
}

struct tsdb_memory_limit tsdb_memory_limit(const char *root)
{
    struct tsdb_memory_limit l = {0, TSDB_MEMORY_LIMIT_NONE};
    char path[PATH_BYTES];
    char line[PATH_BYTES];
    take_machine(&l, root);
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        take_line(&l, root, line);
    }
    if (f) {
        fclose(f);
    }
    return l;
}

const char *tsdb_memory_limit_source_name(enum tsdb_memory_limit_source source)
{
    static const char *const names[] = {"not known", "of the machine", "of the control group"};
    return names[source];
}
