#include "base/mutex.h"

#include "base/assert.h"
#include "base/mutex_private.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#define NS_PER_S          1000000000ll
#define THREAD_ROOM_BYTES ((size_t)16 << 20) /* what the allocator maps for a thread */

static tsdb_mutex_abort_fn abort_hook; /* set by tests while one thread runs */

void tsdb_mutex_abort_hook_set(tsdb_mutex_abort_fn fn)
{
    abort_hook = fn;
}

#if defined(TSDB_DEBUG)
/* Deeper nesting than the number of ranks is a reversal anyway. */
#define HELD_MAX 32

static _Thread_local struct {
    const struct tsdb_mutex *locks[HELD_MAX];
    unsigned count;
} held;

static void rule_broken(const char *rule, const struct tsdb_mutex *m,
                        const struct tsdb_mutex *other)
{
    char message[240];
    snprintf(message, sizeof message, "lock rule broken: %s '%s' (rank %d)%s%s%s", rule, m->name,
             (int)m->rank, other ? " while holding '" : "", other ? other->name : "",
             other ? "'" : "");
    if (abort_hook) {
        abort_hook(message);
        return;
    }
    fprintf(stderr, "%s\n", message);
    abort();
}

/* The check comes before the wait: a reversal is reported even when it would not deadlock today. */
static void check_rank(const struct tsdb_mutex *m)
{
    for (unsigned i = 0; i < held.count; i++) {
        if (held.locks[i]->rank >= m->rank) {
            rule_broken("taking", m, held.locks[i]);
            return;
        }
    }
}

static void note_taken(const struct tsdb_mutex *m)
{
    TSDB_ASSERT(held.count < HELD_MAX);
    held.locks[held.count++] = m;
}

static void note_released(const struct tsdb_mutex *m)
{
    for (unsigned i = held.count; i-- > 0;) {
        if (held.locks[i] == m) {
            held.count--;
            for (; i < held.count; i++) {
                held.locks[i] = held.locks[i + 1];
            }
            return;
        }
    }
    rule_broken("releasing what this thread does not hold,", m, NULL);
}
#else
static void check_rank(const struct tsdb_mutex *m)
{
    (void)m;
}
static void note_taken(const struct tsdb_mutex *m)
{
    (void)m;
}
static void note_released(const struct tsdb_mutex *m)
{
    (void)m;
}
#endif

void tsdb_mutex_init(struct tsdb_mutex *m, enum tsdb_lock_rank rank, const char *name)
{
    TSDB_ASSERT(name);
    int rc = pthread_mutex_init(&m->m, NULL);
    TSDB_ASSERT(rc == 0);
    m->rank = rank;
    m->name = name;
}

void tsdb_mutex_deinit(struct tsdb_mutex *m)
{
    int rc = pthread_mutex_destroy(&m->m);
    TSDB_ASSERT(rc == 0); /* EBUSY: somebody still holds it */
}

void tsdb_mutex_lock(struct tsdb_mutex *m) TSDB_NO_TSA
{
    check_rank(m);
    int rc = pthread_mutex_lock(&m->m);
    TSDB_ASSERT(rc == 0);
    note_taken(m);
}

void tsdb_mutex_unlock(struct tsdb_mutex *m) TSDB_NO_TSA
{
    note_released(m);
    int rc = pthread_mutex_unlock(&m->m);
    TSDB_ASSERT(rc == 0);
}

void tsdb_cond_init(struct tsdb_cond *c)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    TSDB_ASSERT(rc == 0);
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    TSDB_ASSERT(rc == 0);
    rc = pthread_cond_init(&c->c, &attr);
    TSDB_ASSERT(rc == 0);
    pthread_condattr_destroy(&attr);
}

void tsdb_cond_deinit(struct tsdb_cond *c)
{
    int rc = pthread_cond_destroy(&c->c);
    TSDB_ASSERT(rc == 0);
}

bool tsdb_cond_wait(struct tsdb_cond *c, struct tsdb_mutex *m, int64_t timeout_ns) TSDB_NO_TSA
{
    int rc;
    /* Waiting gives the lock up and takes it again. The second taking obeys the ranks like any
     * other: a thread that holds an inner lock over a wait on an outer one is caught here. */
    note_released(m);
    check_rank(m);
    if (timeout_ns < 0) {
        rc = pthread_cond_wait(&c->c, &m->m);
    } else {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t ns = until.tv_nsec + timeout_ns % NS_PER_S;
        until.tv_sec += (time_t)(timeout_ns / NS_PER_S + ns / NS_PER_S);
        until.tv_nsec = (long)(ns % NS_PER_S);
        rc = pthread_cond_timedwait(&c->c, &m->m, &until);
    }
    TSDB_ASSERT(rc == 0 || rc == ETIMEDOUT);
    note_taken(m);
    return rc == 0;
}

void tsdb_cond_signal(struct tsdb_cond *c)
{
    int rc = pthread_cond_signal(&c->c);
    TSDB_ASSERT(rc == 0);
}

void tsdb_cond_broadcast(struct tsdb_cond *c)
{
    int rc = pthread_cond_broadcast(&c->c);
    TSDB_ASSERT(rc == 0);
}

/* What a new thread and its starter share until the thread is on its way. */
struct thread_begin {
    void *(*fn)(void *);
    void *arg;
    void *room; /* kept until the thread needs it */
    sem_t begun;
    bool ok;
};

/* The allocator keeps memory per thread, made by the thread's first allocation; some die when there
 * is none for it. So it happens here, where it can be refused: what it takes at most is kept free
 * beside the thread's stack, from others too, up to this moment. */
static void *thread_main(void *arg)
{
    struct thread_begin *begin = arg;
    void *(*fn)(void *) = begin->fn;
    void *fn_arg = begin->arg;
    munmap(begin->room, THREAD_ROOM_BYTES);
    void *volatile first = malloc(1);
    bool ok = first != NULL;
    free(first);
    begin->ok = ok;
    sem_post(&begin->begun); /* `begin` may be gone from here on */
    return ok ? fn(fn_arg) : NULL;
}

static int thread_create(pthread_t *out, size_t stack_bytes, void *(*fn)(void *), void *arg)
{
    struct thread_begin begin = {.fn = fn, .arg = arg};
    begin.room = mmap(NULL, THREAD_ROOM_BYTES, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (begin.room == MAP_FAILED) {
        return ENOMEM;
    }
    if (sem_init(&begin.begun, 0, 0) != 0) {
        munmap(begin.room, THREAD_ROOM_BYTES);
        return ENOMEM;
    }
    pthread_attr_t attr;
    int rc = pthread_attr_init(&attr);
    if (rc == 0) {
        rc = stack_bytes > 0 ? pthread_attr_setstacksize(&attr, stack_bytes) : 0;
        if (rc == 0) {
            rc = pthread_create(out, &attr, thread_main, &begin); /* inherits the mask from birth */
        }
        (void)pthread_attr_destroy(&attr);
    }
    if (rc != 0) {
        munmap(begin.room, THREAD_ROOM_BYTES);
    } else {
        while (sem_wait(&begin.begun) != 0) { /* EINTR */
        }
        if (!begin.ok) {
            (void)pthread_join(*out, NULL);
            rc = ENOMEM;
        }
    }
    sem_destroy(&begin.begun);
    return rc;
}

enum tsdb_status tsdb_thread_start(pthread_t *out_thread, const char *name, void *(*fn)(void *),
                                   void *arg, struct tsdb_error *err)
{
    return tsdb_thread_start_with(out_thread, name, 0, fn, arg, err);
}

enum tsdb_status tsdb_thread_start_with(pthread_t *out_thread, const char *name, size_t stack_bytes,
                                        void *(*fn)(void *), void *arg, struct tsdb_error *err)
{
    TSDB_ASSERT(strlen(name) <= 15); /* the kernel's limit */
    sigset_t block;
    sigset_t before;
    sigfillset(&block);
    /* These come from the thread's own instructions. Blocking them only takes the crash report
     * away. */
    sigdelset(&block, SIGSEGV);
    sigdelset(&block, SIGBUS);
    sigdelset(&block, SIGFPE);
    sigdelset(&block, SIGILL);
    sigdelset(&block, SIGABRT);
    sigdelset(&block, SIGTRAP);
    int rc = pthread_sigmask(SIG_SETMASK, &block, &before);
    TSDB_ASSERT(rc == 0);
    pthread_t thread;
    int create_rc = thread_create(&thread, stack_bytes, fn, arg);
    rc = pthread_sigmask(SIG_SETMASK, &before, NULL);
    TSDB_ASSERT(rc == 0);
    if (create_rc != 0) {
        return tsdb_error_set_errno(err, create_rc, "start thread %s", name);
    }
    /* Failure means that the thread has ended already: a name is a convenience. */
    (void)pthread_setname_np(thread, name);
    *out_thread = thread;
    return TSDB_OK;
}

void tsdb_thread_give_way(unsigned nice)
{
    if (nice > 0) { /* of Linux: 0 is the calling thread, not its process; more than 19 is 19 */
        (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + (int)nice);
    }
}
