/* The control groups of this process, v2 and v1: the group and all around it, up to the mount. In a container the
 * group's path may be the host's, where only the mount itself is there. */
#ifndef BASE_CGROUP_H
#define BASE_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

/* dir: of a group, there or not; v2 or v1. */
typedef void (*tsdb_cgroup_fn)(void *arg, const char *dir, bool v2);
/* root: "" (tests: a folder with proc/ and sys/ in it). controller: of v1, and what its mount is called. Asked
 * each time. Threads: any. */
void tsdb_cgroup_walk(const char *root, const char *controller, tsdb_cgroup_fn fn, void *arg);

/* The first line of dir/file, without its newline. False: it cannot be read. */
bool tsdb_cgroup_line(const char *dir, const char *file, char *out, size_t cap);

#endif
