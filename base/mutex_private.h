/* What the tests of base/mutex.c may reach: the end of the line when a lock rule is broken. */
#ifndef BASE_MUTEX_PRIVATE_H
#define BASE_MUTEX_PRIVATE_H

/* Called with one line of text when a debug build sees a broken lock rule. If it returns, the
 * operation goes on. */
typedef void (*tsdb_mutex_abort_fn)(const char *message);
/* NULL = print to stderr and abort. Threads: set only while no other thread takes locks. */
void tsdb_mutex_abort_hook_set(tsdb_mutex_abort_fn fn);

#endif
