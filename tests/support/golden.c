#include "tests/support/golden.h"

#include "base/file.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define GOLDEN_DIR     "tests/golden"
#define PAGE_BYTES_MAX 131072u

/* The bytes of a file; cap must be more than it has. */
static size_t file_read(const char *path, void *out, size_t cap)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        fail_msg("%s: %s; run from the repository's root", path, strerror(errno));
        return 0;
    }
    size_t len = fread(out, 1, cap, f);
    fclose(f);
    if (len == cap) {
        fail_msg("%s: has %zu bytes or more", path, cap);
    }
    return len;
}

static void path_make(char out[512], const char *dir, const char *path)
{
    int len = snprintf(out, 512, "%s/%s", dir, path);
    assert_true(len > 0 && len < 512);
}

size_t golden_read(const char *path, void *out, size_t cap)
{
    char full[512];
    path_make(full, GOLDEN_DIR, path);
    return file_read(full, out, cap);
}

bool golden_writing(void)
{
    return getenv("TSDB_GOLDEN_WRITE") != NULL;
}

static void golden_write(const char *path, const void *data, size_t len)
{
    char full[512];
    path_make(full, getenv("TSDB_GOLDEN_WRITE"), path);
    for (char *slash = strchr(full + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(full, 0777); /* what is wrong is said by fopen */
        *slash = '/';
    }
    FILE *f = fopen(full, "wb");
    if (!f) {
        fail_msg("%s: %s", full, strerror(errno));
        return;
    }
    size_t written = fwrite(data, 1, len, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(written, len);
    fprintf(stderr, "golden: wrote %s, %zu bytes\n", full, len);
}

static void bytes_print(const uint8_t *data, size_t len)
{
    for (size_t at = 0; at < len; at += 16) {
        fprintf(stderr, "%04zx ", at);
        for (size_t i = at; i < at + 16 && i < len; i++) {
            fprintf(stderr, " %02x", data[i]);
        }
        fprintf(stderr, "\n");
    }
}

static void compare(const char *what, const char *path, const uint8_t *got, size_t len)
{
    static uint8_t want[GOLDEN_BYTES_MAX];
    size_t want_len = golden_read(path, want, sizeof want);
    if (len != want_len || memcmp(got, want, len) != 0) {
        bytes_print(got, len);
        fail_msg("%s: the %zu bytes above differ from the %zu of " GOLDEN_DIR "/%s", what, len,
                 want_len, path);
    }
}

void golden_check(const char *path, const void *got, size_t len)
{
    if (golden_writing()) {
        golden_write(path, got, len);
    } else {
        compare("written today", path, got, len);
    }
}

/* "offset  byte byte ...  | words" a line, to its bytes, in place. */
static size_t hexdump_parse(char *block, uint8_t *out)
{
    size_t n = 0;
    char *save = NULL;
    for (char *line = strtok_r(block, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        assert_int_equal(strtoul(line, &line, 16), n);
        for (line += strspn(line, " "); *line != '|' && *line != 0; line += strspn(line, " ")) {
            char *after;
            unsigned long byte = strtoul(line, &after, 16);
            if (after == line || byte > 255) {
                fail_msg("not a byte in a hexdump: %s", line);
            }
            out[n++] = (uint8_t)byte;
            line = after;
        }
    }
    return n;
}

/* The text of the block, NUL-terminated; NULL if there is none. */
static char *block_find(char *text, const char *fence, unsigned nth)
{
    size_t len = strlen(fence);
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, fence, len) == 0 && line[len] == '\n' && nth-- == 0) {
            char *end = strstr(line + len, "\n```\n");
            if (!end) {
                return NULL;
            }
            end[1] = 0;
            return line + len + 1;
        }
    }
    return NULL;
}

void golden_check_page(const char *path, const char *page, const char *fence, unsigned nth)
{
    static char text[PAGE_BYTES_MAX];
    text[file_read(page, text, sizeof text - 1)] = 0;
    char *block = block_find(text, fence, nth);
    if (!block) {
        fail_msg("%s: no block %u that begins with %s", page, nth, fence);
        return;
    }
    size_t len = strlen(block);
    if (strncmp(fence, "```hexdump", 10) == 0) {
        len = hexdump_parse(block, (uint8_t *)block); /* a byte is shorter than its text */
    }
    compare(page, path, (const uint8_t *)block, len);
}

void golden_check_text(const char *page, const char *text)
{
    static char all[PAGE_BYTES_MAX];
    all[file_read(page, all, sizeof all - 1)] = 0;
    if (!strstr(all, text)) {
        fprintf(stderr, "%s", text);
        fail_msg("%s does not have the text above", page);
    }
}

void golden_copy_in(const char *path, const struct tsdb_fs *fs, const char *to)
{
    static uint8_t data[GOLDEN_BYTES_MAX];
    size_t len = golden_read(path, data, sizeof data);
    char dir[512];
    char above[512] = ""; /* whose entry must last, too */
    path_make(dir, ".", to);
    for (char *slash = strchr(dir + 2, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        assert_ok(fs->ops->mkdir(fs->ctx, dir + 2, NULL));
        assert_ok(fs->ops->sync_dir(fs->ctx, above, NULL));
        snprintf(above, sizeof above, "%s", dir + 2);
        *slash = '/';
    }
    assert_ok(tsdb_file_replace(fs, to, data, len, NULL));
}

static unsigned copy_below(const char *dir, const char *below, const struct tsdb_fs *fs)
{
    char at[512];
    char full[512];
    char name[512];
    unsigned count = 0;
    path_make(at, dir, below);
    path_make(full, GOLDEN_DIR, at);
    DIR *d = opendir(full);
    if (!d) {
        fail_msg("%s: %s", full, strerror(errno));
        return 0;
    }
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (e->d_name[0] == '.') {
            continue;
        }
        path_make(name, below, e->d_name);
        if (e->d_type == DT_DIR) {
            count += copy_below(dir, name, fs);
        } else {
            path_make(at, dir, name);
            golden_copy_in(at, fs, name + 2);
            count++;
        }
    }
    closedir(d);
    return count;
}

unsigned golden_copy_tree(const char *dir, const struct tsdb_fs *fs)
{
    return copy_below(dir, ".", fs);
}
