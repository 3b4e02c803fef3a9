/* How much memory this process may use: the least of what the machine has and what its control groups (v2
 * and v1), with all groups around them, allow. */
#ifndef BASE_MEMORY_LIMIT_H
#define BASE_MEMORY_LIMIT_H

#include <stdint.h>

enum tsdb_memory_limit_source {
    TSDB_MEMORY_LIMIT_NONE = 0, /* nothing could be read */
    TSDB_MEMORY_LIMIT_MACHINE,
    TSDB_MEMORY_LIMIT_CGROUP
};
struct tsdb_memory_limit {
    uint64_t bytes; /* 0: not known */
    enum tsdb_memory_limit_source source;
};
/* root: "" (tests: a folder with proc/ and sys/ in it). Asked each time. Threads: any. */
struct tsdb_memory_limit tsdb_memory_limit(const char *root);
const char *tsdb_memory_limit_source_name(enum tsdb_memory_limit_source source);

#endif
