#include "base/cgroup.h"

#include <stdio.h>
#include <string.h>

#define PATH_BYTES 4400 /* a path of a group is 4096 at most */

struct walk {
    const char *root, *controller;
    tsdb_cgroup_fn fn;
    void *arg;
};

bool tsdb_cgroup_line(const char *dir, const char *file, char *out, size_t cap)
{
    char path[3 * PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    bool ok = f && fgets(out, (int)cap, f);
    if (f) {
        fclose(f);
    }
    if (ok) {
        out[strcspn(out, "\n")] = '\0';
    }
    return ok;
}

static void group_and_around(const struct walk *w, const char *mount, const char *group, bool v2)
{
    char around[PATH_BYTES];
    size_t len = strlen(group);
    if (len >= sizeof around) {
        return;
    }
    memcpy(around, group, len + 1);
    for (;;) {
        char dir[2 * PATH_BYTES];
        int n = snprintf(dir, sizeof dir, "%s/sys/fs/cgroup%s%s%s", w->root, v2 ? "" : "/", mount,
                         around);
        if (n > 0 && (size_t)n < sizeof dir) {
            w->fn(w->arg, dir, v2);
        }
        char *slash = strrchr(around, '/');
        if (!slash) {
            return;
        }
        *slash = '\0';
    }
}

/* "4:cpu,memory:/a/b" of v1, "0::/a/b" of v2. */
static void take_line(const struct walk *w, char *line)
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
        group_and_around(w, "", group, true);
        return;
    }
    size_t want = strlen(w->controller);
    for (size_t len = 0; *controllers; controllers += len + (controllers[len] == ',')) {
        len = strcspn(controllers, ",");
        if (len == want && strncmp(controllers, w->controller, len) == 0) {
            group_and_around(w, w->controller, group, false);
        }
    }
}

void tsdb_cgroup_walk(const char *root, const char *controller, tsdb_cgroup_fn fn, void *arg)
{
    const struct walk w = {root, controller, fn, arg};
    char path[PATH_BYTES];
    char line[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *f = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    while (f && fgets(line, sizeof line, f)) {
        take_line(&w, line);
    }
    if (f) {
        fclose(f);
    }
}
