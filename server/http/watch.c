/* Clients that go away. libmicrohttpd does not look at a suspended connection, so a thread of our
 * own epolls its socket for EPOLLRDHUP and sets the request's cancel flag. */
#include "server/http/http_private.h"

#include "base/assert.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct watch_slot {
    _Atomic(uint32_t) *flag; /* NULL: free */
    int fd;
    uint32_t generation; /* an event of an earlier user of the slot must not hit the next one */
    int32_t next_free;
};
struct http_watcher {
    struct tsdb_mutex lock; /* rank SERVER_WATCH: slots, free list */
    struct watch_slot *slots TSDB_GUARDED;
    int32_t free_head TSDB_GUARDED;
    uint32_t slot_count; /* immutable */
    int epoll_fd;
    int stop_fd;
    pthread_t thread;
    bool running;
};

#define WATCH_STOP UINT64_MAX

static void watch_event(struct http_watcher *w, uint64_t data)
{
    uint32_t index = (uint32_t)data;
    tsdb_mutex_lock(&w->lock);
    struct watch_slot *slot = &w->slots[index];
    if (slot->flag && slot->generation == (uint32_t)(data >> 32)) {
        atomic_store(slot->flag, 1);
    }
    tsdb_mutex_unlock(&w->lock);
}

static void *watch_main(void *arg)
{
    struct http_watcher *w = arg;
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(w->epoll_fd, events, 64, -1);
        if (n < 0 && errno != EINTR) {
            return NULL;
        }
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == WATCH_STOP) {
                return NULL;
            }
            watch_event(w, events[i].data.u64);
        }
    }
}

static enum tsdb_status watcher_open(struct http_watcher *w, struct tsdb_error *err)
{
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    w->stop_fd = eventfd(0, EFD_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = WATCH_STOP};
    if (w->epoll_fd < 0 || w->stop_fd < 0 ||
        epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->stop_fd, &ev) != 0) {
        return tsdb_error_set_errno(err, errno, "client watcher");
    }
    enum tsdb_status status = tsdb_thread_start(&w->thread, "http-watch", watch_main, w, err);
    w->running = status == TSDB_OK;
    return status;
}

enum tsdb_status http_watcher_create(uint32_t slots, struct http_watcher **out,
                                     struct tsdb_error *err) TSDB_NO_TSA
{
    struct http_watcher *w = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *w);
    if (!w) {
        return tsdb_error_nomem(err, "the client watcher");
    }
    w->epoll_fd = -1;
    w->stop_fd = -1;
    w->slot_count = slots;
    tsdb_mutex_init(&w->lock, TSDB_RANK_SERVER_WATCH, "http-watch");
    w->slots = tsdb_mem_alloc_zero(TSDB_MEM_SERVER, sizeof *w->slots * slots);
    if (!w->slots) {
        http_watcher_destroy(w);
        return tsdb_error_nomem(err, "the client watcher");
    }
    for (uint32_t i = 0; i < slots; i++) {
        w->slots[i].next_free = i + 1 < slots ? (int32_t)(i + 1) : -1;
    }
    enum tsdb_status status = watcher_open(w, err);
    if (status != TSDB_OK) {
        http_watcher_destroy(w);
        return status;
    }
    *out = w;
    return TSDB_OK;
}

void http_watcher_destroy(struct http_watcher *w) TSDB_NO_TSA
{
    if (!w) {
        return;
    }
    if (w->running) {
        uint64_t one = 1;
        ssize_t n = write(w->stop_fd, &one, sizeof one);
        (void)n;
        pthread_join(w->thread, NULL);
    }
    if (w->epoll_fd >= 0) {
        close(w->epoll_fd);
    }
    if (w->stop_fd >= 0) {
        close(w->stop_fd);
    }
    tsdb_mutex_deinit(&w->lock);
    if (w->slots) {
        tsdb_mem_free(TSDB_MEM_SERVER, w->slots, sizeof *w->slots * w->slot_count);
    }
    tsdb_mem_free(TSDB_MEM_SERVER, w, sizeof *w);
}

int32_t http_watcher_add(struct http_watcher *w, int fd, _Atomic(uint32_t) *flag)
{
    tsdb_mutex_lock(&w->lock);
    int32_t index = w->free_head;
    if (index >= 0) {
        struct watch_slot *slot = &w->slots[index];
        struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLONESHOT};
        slot->generation++;
        ev.data.u64 = (uint64_t)slot->generation << 32 | (uint32_t)index;
        if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &ev) == 0) {
            w->free_head = slot->next_free;
            slot->flag = flag;
            slot->fd = fd;
        } else {
            index = -1;
        }
    }
    tsdb_mutex_unlock(&w->lock);
    return index;
}

void http_watcher_remove(struct http_watcher *w, int32_t index)
{
    if (index < 0) {
        return;
    }
    TSDB_ASSERT((uint32_t)index < w->slot_count);
    tsdb_mutex_lock(&w->lock);
    struct watch_slot *slot = &w->slots[index];
    TSDB_ASSERT(slot->flag);
    /* The socket is still open: daemons close after on_end. */
    (void)epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, slot->fd, NULL);
    slot->flag = NULL;
    slot->next_free = w->free_head;
    w->free_head = index;
    tsdb_mutex_unlock(&w->lock);
}

void http_watcher_fire_all(struct http_watcher *w)
{
    tsdb_mutex_lock(&w->lock);
    for (uint32_t i = 0; i < w->slot_count; i++) {
        if (w->slots[i].flag) {
            atomic_store(w->slots[i].flag, 1);
        }
    }
    tsdb_mutex_unlock(&w->lock);
}
