/* Ranked locks. Locks exist only where two threads truly share; every one has a rank, and a thread
 * takes them in rising rank only. Debug builds keep the held ranks per thread and abort on
 * reversal, printing both names. */
#ifndef BASE_MUTEX_H
#define BASE_MUTEX_H

#include "base/compiler.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Outer locks first: order matters. What each guards stands where it is declared. */
enum tsdb_lock_rank {
    TSDB_RANK_SERVER_CONFIG = 1,
    TSDB_RANK_SERVER_QUEUE,
    TSDB_RANK_SERVER_KEPT,   /* which lists are kept: server/parts/kept_lists.h */
    TSDB_RANK_SERVER_BUDGET, /* who runs and who waits for memory: server/parts/budget.h */
    TSDB_RANK_SERVER_DOOR,   /* one comparison of passwords at a time: server/door */
    TSDB_RANK_SERVER_WATCH,
    TSDB_RANK_SERVER_EXCHANGES,
    TSDB_RANK_QUERY_GATE,
    TSDB_RANK_QUERY_CREW,  /* what the helpers of queries have to do: query/crew.h */
    TSDB_RANK_QUERY_CACHE, /* which answers are kept: query/cache/table.h */
    TSDB_RANK_INGEST_POOL,
    TSDB_RANK_TSDB_BLOCKS, /* flush, compaction, retention of blocks: one at a time */
    TSDB_RANK_TSDB_ADMIN,  /* checkpoint, close, snapshot: one at a time */
    TSDB_RANK_TSDB_VIEW,   /* the current view and who pins which: tsdb/block/view.h */
    TSDB_RANK_TSDB_METADATA,
    TSDB_RANK_TSDB_WINDOWS,    /* counts per window of a partition: tsdb/head/head_private.h */
    TSDB_RANK_TSDB_HEAD_FILES, /* the list of head files: tsdb/head/files.h */
    TSDB_RANK_ALIAS_STRIPE,
    TSDB_RANK_INDEX_REGEX_CACHE,
    TSDB_RANK_WAL_CONTROL,
    TSDB_RANK_CACHE_SHARD,
    TSDB_RANK_FILE_POOL, /* which files are open: base/file_pool.h */
    TSDB_RANK_FS_SIM,
    TSDB_RANK_REGISTRY,
    TSDB_RANK_LOG, /* innermost: anybody may log */
};

struct TSDB_CAPABILITY("mutex") tsdb_mutex {
    pthread_mutex_t m;
    enum tsdb_lock_rank rank;
    const char *name;
};
struct tsdb_cond {
    pthread_cond_t c; /* CLOCK_MONOTONIC */
};

void tsdb_mutex_init(struct tsdb_mutex *m, enum tsdb_lock_rank rank, const char *name);
void tsdb_mutex_deinit(struct tsdb_mutex *m);
void tsdb_mutex_lock(struct tsdb_mutex *m) TSDB_ACQUIRE(*m);
void tsdb_mutex_unlock(struct tsdb_mutex *m) TSDB_RELEASE(*m);
void tsdb_cond_init(struct tsdb_cond *c);
void tsdb_cond_deinit(struct tsdb_cond *c);
/* timeout_ns < 0: no timeout. False when the time was up. Spurious wake-ups are possible. */
bool tsdb_cond_wait(struct tsdb_cond *c, struct tsdb_mutex *m, int64_t timeout_ns)
    TSDB_REQUIRES(*m);
void tsdb_cond_signal(struct tsdb_cond *c);
void tsdb_cond_broadcast(struct tsdb_cond *c);

/* A named thread with all signals blocked (the main thread handles them). name <= 15 bytes. Returns
 * when the thread has made its first allocation; NOMEM where it could not. */
#include "base/status.h"
enum tsdb_status tsdb_thread_start(pthread_t *out_thread, const char *name, void *(*fn)(void *),
                                   void *arg, struct tsdb_error *err) TSDB_WUR;
/* The same with a stack of its own size; 0: the usual one. */
enum tsdb_status tsdb_thread_start_with(pthread_t *out_thread, const char *name, size_t stack_bytes,
                                        void *(*fn)(void *), void *arg, struct tsdb_error *err);

/* The calling thread gives way further than it did, 0 (no further) to 19: with 5 it has a quarter of a core that it shares with one that does not.
 * For good: a process may not raise what it has lowered. */
void tsdb_thread_give_way(unsigned nice);

#endif
