/* For LD_PRELOAD: calls on files whose path holds a word fail with an errno, as a page of memory says that the test shares
 * (TIDALITE_SHIM names the file): lines of `<call> <errno> <word>`, call one of open read write sync. An empty page: nothing
 * fails. It is read at every call, so that a cause comes and goes while the server runs. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#define PAGE 4096

static const char *_Atomic page;

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("TIDALITE_SHIM");
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    void *p = fd >= 0 ? mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p == MAP_FAILED) {
        fputs("shim: TIDALITE_SHIM names no page\n", stderr);
        abort();
    }
    close(fd);
    atomic_store(&page, (const char *)p);
}

/* 0, or the errno that the call shall fail with. */
static int verdict(const char *call, const char *path)
{
    const char *p = atomic_load(&page);
    char text[PAGE], word[256], which[16];
    int wanted = 0;
    if (!p || !*p) {
        return 0;
    }
    memcpy(text, p, sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (char *rest = NULL, *line = strtok_r(text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        if (sscanf(line, "%15s %d %255s", which, &wanted, word) == 3 && strcmp(which, call) == 0 &&
            strstr(path, word)) {
            return wanted;
        }
    }
    return 0;
}

static int verdict_fd(const char *call, int fd)
{
    char link[64], path[1024];
    const char *p = atomic_load(&page);
    if (!p || !*p) {
        return 0;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return verdict(call, path);
}

#define FAIL_OR(call, fd)                                                                          \
    int wanted = verdict_fd(call, fd);                                                             \
    if (wanted) {                                                                                  \
        errno = wanted;                                                                            \
        return -1;                                                                                 \
    }

ssize_t pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    FAIL_OR("write", fd)
    static ssize_t (*real)(int, const void *, size_t, off_t);
    real = real ? real : (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    return real(fd, buf, len, offset);
}

ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
    FAIL_OR("read", fd)
    static ssize_t (*real)(int, void *, size_t, off_t);
    real = real ? real : (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
    return real(fd, buf, len, offset);
}

int fdatasync(int fd)
{
    FAIL_OR("sync", fd)
    static int (*real)(int);
    real = real ? real : (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(fd);
}

int openat(int dir, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    int wanted = verdict("open", path);
    if (wanted) {
        errno = wanted;
        return -1;
    }
    static int (*real)(int, const char *, int, ...);
    real = real ? real : (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, "openat");
    return real(dir, path, flags, mode);
}
