/* What a caller of the library waits for, and what each layer of reading costs.
 *
 *   build/release/bench/layers DIR [appends]
 *
 * DIR is a scratch directory. Prints JSON: nanoseconds at the median and the 99th percentile of
 *   put      tidalite_append of one sample of a known series, by durability (the data of 1000 series, in turn)
 *   read     tidalite_select of one series and its newest samples, hot
 *   l1, l2   a hit of the cache of decoded chunks, of the cache of pages (pinned, not copied); copied: 4 KiB copied
 *            out of a page; disk: a page that the kernel does not have either
 * and samples a second of one and of two threads that append to series of their own, 100 in a call. */
#include "base/random.h"
#include "tsdb/chunk/cache_l1.h"
#include "tsdb/chunk/cache_l2.h"
#include "tsdb/tidalite.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    SERIES = 1000,
    LABELS = 4,
    CALL_SERIES = 100,
    WRITER_SECONDS = 2,
    PAGES = 256
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "layers: %s: %s\n", what, why);
    exit(1);
}

static void must(enum tidalite_status status, const char *what)
{
    if (status != TIDALITE_OK) {
        die(what, tidalite_last_error());
    }
}

static void must_base(enum tsdb_status status, const char *what)
{
    if (status != TSDB_OK) {
        die(what, tsdb_status_name(status));
    }
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- how long single calls took ---- */
struct times {
    uint64_t *ns;
    size_t count, cap;
};

static struct times times_new(size_t cap)
{
    struct times t = {calloc(cap, sizeof(uint64_t)), 0, cap};
    if (!t.ns) {
        die("times", "no memory");
    }
    return t;
}

static void times_add(struct times *t, uint64_t begin)
{
    t->ns[t->count++] = now_ns() - begin;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void times_print(const char *name, struct times *t, const char *end)
{
    qsort(t->ns, t->count, sizeof *t->ns, by_size);
    printf("\"%s\": {\"p50_ns\": %llu, \"p99_ns\": %llu}%s", name,
           (unsigned long long)t->ns[t->count / 2],
           (unsigned long long)t->ns[t->count - 1 - t->count / 100], end);
    free(t->ns);
}

/* ---- the library ---- */
struct named {
    char text[2][32];
    struct tidalite_label labels[LABELS];
};

static struct tidalite_label label(const char *name, const char *value)
{
    return (struct tidalite_label){name, strlen(name), value, strlen(value)};
}

static struct named *make_names(unsigned writer)
{
    struct named *all = calloc(SERIES, sizeof *all);
    if (!all) {
        die("names", "no memory");
    }
    for (unsigned i = 0; i < SERIES; i++) {
        snprintf(all[i].text[0], sizeof all[i].text[0], "10.%u.0.%u:9100", writer, i / 100);
        snprintf(all[i].text[1], sizeof all[i].text[1], "metric_%u_total", i % 100);
        all[i].labels[0] = label("__name__", all[i].text[1]);
        all[i].labels[1] = label("instance", all[i].text[0]);
        all[i].labels[2] = label("job", "bench");
        all[i].labels[3] = label("zone", "a");
    }
    return all;
}

static struct tidalite *open_db(const char *dir, const char *sub, enum tidalite_durability mode)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, sub);
    struct tidalite_options o;
    struct tidalite *db = NULL;
    tidalite_options_init(&o);
    o.path = path;
    o.durability = mode;
    must(tidalite_open(&o, &db), "open");
    return db;
}

static int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Rounds of single appends; the first round creates the series and does not count. */
static void put(struct tidalite *db, struct named *names, size_t appends,
                enum tidalite_durability mode, struct times *out)
{
    int64_t from = wall_ms() - 3600 * 1000;
    size_t rounds = appends / SERIES + 1;
    for (size_t r = 0; r < rounds; r++) {
        for (size_t i = 0; i < SERIES; i++) {
            struct tidalite_sample s = {from + (int64_t)r * 1000, (double)(r * i % 97)};
            struct tidalite_series one = {names[i].labels, LABELS, &s, 1};
            struct tidalite_append_result result = {0};
            uint64_t begin = now_ns();
            must(tidalite_append(db, &one, 1, mode, &result), "append");
            if (r > 0 && out->count < out->cap) {
                times_add(out, begin);
            }
            if (result.written != 1) {
                die("append", "a sample was refused");
            }
        }
    }
}

static void read_one(struct tidalite *db, const struct named *n)
{
    struct tidalite_matcher m[2];
    for (int i = 0; i < 2; i++) {
        const struct tidalite_label *l = &n->labels[i];
        m[i] =
            (struct tidalite_matcher){TIDALITE_EQUAL, l->name, l->name_len, l->value, l->value_len};
    }
    struct tidalite_cursor *c = NULL;
    struct tidalite_view v;
    must(tidalite_select(db, m, 2, wall_ms() - 2 * 3600 * 1000, wall_ms(), &c), "select");
    must(tidalite_cursor_next(c, &v), "next");
    if (v.sample_count == 0) {
        die("read", "no samples");
    }
    tidalite_cursor_close(c);
}

static void reads(struct tidalite *db, struct named *names, size_t count, struct times *out)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t begin = now_ns();
        read_one(db, &names[i * 7 % SERIES]);
        times_add(out, begin);
    }
}

struct writer {
    struct tidalite *db;
    struct named *names;
    int64_t from;
    uint64_t samples;
    pthread_t thread;
    const atomic_bool *stop;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;
    struct tidalite_sample s[CALL_SERIES];
    struct tidalite_series series[CALL_SERIES];
    for (int64_t round = 0; !atomic_load(w->stop); round++) {
        for (size_t at = 0; at < SERIES; at += CALL_SERIES) {
            for (size_t i = 0; i < CALL_SERIES; i++) {
                s[i] = (struct tidalite_sample){w->from + round, (double)(round % 100)};
                series[i] = (struct tidalite_series){w->names[at + i].labels, LABELS, &s[i], 1};
            }
            must(tidalite_append(w->db, series, CALL_SERIES, TIDALITE_MEMORY, NULL), "append");
            w->samples += CALL_SERIES;
        }
    }
    return NULL;
}

/* Samples a second of so many threads, each with series of its own. */
static double writers(struct tidalite *db, unsigned count, unsigned first)
{
    struct writer w[2];
    atomic_bool stop = false;
    uint64_t begin = now_ns();
    for (unsigned i = 0; i < count; i++) {
        w[i] = (struct writer){.db = db,
                               .names = make_names(first + i),
                               .from = wall_ms() - 3600 * 1000,
                               .stop = &stop};
        if (pthread_create(&w[i].thread, NULL, write_on, &w[i]) != 0) {
            die("thread", "cannot be started");
        }
    }
    sleep(WRITER_SECONDS);
    atomic_store(&stop, true);
    uint64_t samples = 0;
    for (unsigned i = 0; i < count; i++) {
        pthread_join(w[i].thread, NULL);
        samples += w[i].samples;
        free(w[i].names);
    }
    return (double)samples / ((double)(now_ns() - begin) / 1e9);
}

/* ---- the caches ---- */
static void cache_l1(struct times *out)
{
    struct cache_l1 *c = NULL;
    int64_t t[120] = {0};
    uint64_t v[120] = {0};
    struct chunk_samples samples = {.kind = TSDB_SAMPLE_FLOAT, .count = 120, .t_ms = t, .value = v};
    const struct chunk_samples *copy = NULL;
    must_base(cache_l1_create(64 << 20, &c), "l1");
    for (uint64_t i = 0; i < 1000; i++) {
        cache_l1_release(c, cache_l1_put(c, 1, i * 512, &samples, &copy));
    }
    for (size_t i = 0; i < out->cap; i++) {
        uint64_t begin = now_ns();
        struct cache_l1_entry *e = cache_l1_get(c, 1, i * 7 % 1000 * 512, &copy);
        times_add(out, begin);
        if (!e) {
            die("l1", "a miss");
        }
        cache_l1_release(c, e);
    }
    cache_l1_destroy(c);
}

static void make_file(const char *dir)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/pages", dir);
    FILE *f = fopen(path, "wb");
    static uint8_t page[CACHE_L2_FRAME_BYTES];
    struct tsdb_prng prng;
    tsdb_prng_init(&prng, 1);
    for (size_t i = 0; f && i < PAGES; i++) {
        for (size_t k = 0; k < sizeof page; k += 8) {
            uint64_t x = tsdb_prng_next(&prng);
            memcpy(&page[k], &x, 8);
        }
        if (fwrite(page, 1, sizeof page, f) != sizeof page) {
            die("file", "cannot be written");
        }
    }
    if (!f || fflush(f) != 0 || fsync(fileno(f)) != 0 || fclose(f) != 0) {
        die("file", "cannot be written");
    }
}

/* The kernel drops what it has of the file. */
static void forget_file(const char *dir)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/pages", dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0) {
        die("file", "cannot be forgotten");
    }
    close(fd);
}

static void cache_l2(const char *dir, struct times *hit, struct times *copied, struct times *disk)
{
    struct tsdb_fs fs;
    struct tsdb_file *file = NULL;
    struct cache_l2 *c = NULL;
    struct tsdb_error err;
    static uint8_t into[4096];
    struct cache_l2_page page;
    make_file(dir);
    must_base(tsdb_fs_real_create(dir, &fs, &err), "file system");
    must_base(fs.ops->open(fs.ctx, "pages", TSDB_OPEN_READ, &file, &err), "file");
    must_base(cache_l2_create((uint64_t)2 * PAGES * CACHE_L2_FRAME_BYTES, &c, &err), "l2");
    for (size_t i = 0; i < disk->cap; i++) {
        if (i % PAGES == 0) {
            forget_file(dir);
        }
        uint64_t id = cache_l2_file_id(c); /* nobody has asked for a page of it yet */
        uint64_t begin = now_ns();
        must_base(cache_l2_get(c, id, &fs, file, i * 101 % PAGES, NULL, NULL, &page, &err), "page");
        times_add(disk, begin);
        cache_l2_release(c, &page);
    }
    uint64_t id = cache_l2_file_id(c);
    for (size_t i = 0; i < hit->cap + PAGES; i++) {
        uint64_t begin = now_ns();
        must_base(cache_l2_get(c, id, &fs, file, i % PAGES, NULL, NULL, &page, &err), "page");
        if (i >= PAGES) {
            times_add(hit, begin);
        }
        cache_l2_release(c, &page);
    }
    for (size_t i = 0; i < copied->cap; i++) {
        uint64_t begin = now_ns();
        must_base(cache_l2_read(c, id, &fs, file, i * 7919 % (PAGES * 15) * 4096, into, sizeof into,
                                NULL, NULL, &err),
                  "read");
        times_add(copied, begin);
    }
    cache_l2_destroy(c);
    fs.ops->close(fs.ctx, file);
    tsdb_fs_real_destroy(&fs);
}

static void library(const char *dir, size_t appends)
{
    static const char *const modes[] = {"memory", "buffered", "strict"};
    struct named *names = make_names(0);
    for (int mode = TIDALITE_MEMORY; mode <= TIDALITE_STRICT; mode++) {
        struct tidalite *db = open_db(dir, modes[mode], (enum tidalite_durability)mode);
        struct times t = times_new(mode == TIDALITE_STRICT ? appends / 10 : appends);
        char name[32];
        put(db, names, t.cap, (enum tidalite_durability)mode, &t);
        snprintf(name, sizeof name, "put_%s", modes[mode]);
        times_print(name, &t, ", ");
        if (mode == TIDALITE_MEMORY) {
            struct times hot = times_new(appends);
            reads(db, names, appends, &hot);
            times_print("read_hot", &hot, ", ");
            double one = writers(db, 1, 1);
            printf("\"one_writer\": %.0f, \"two_writers\": %.0f, ", one, writers(db, 2, 2));
        }
        must(tidalite_close(db), "close");
    }
    free(names);
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3 || argv[1][0] == '-') {
        fprintf(stderr, "usage: layers DIR [appends]\n");
        return 2;
    }
    size_t appends = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000;
    if (appends < SERIES || appends > 10000000) {
        fprintf(stderr, "layers: from %d to 10000000 appends\n", SERIES);
        return 2;
    }
    printf("{");
    library(argv[1], appends);
    struct times l1 = times_new(appends);
    struct times hit = times_new(appends);
    struct times copied = times_new(appends);
    struct times disk = times_new(2000);
    cache_l1(&l1);
    cache_l2(argv[1], &hit, &copied, &disk);
    times_print("l1_hit", &l1, ", ");
    times_print("l2_hit", &hit, ", ");
    times_print("l2_copied", &copied, ", ");
    times_print("disk", &disk, "}\n");
    return 0;
}
