/* A directory of the simulated disk, all of it, in memory: to keep a moment of it, to lay it out on
 * another disk, to compare. Beside harness.h; asserts, no cmocka, as the harness. */
#ifndef TESTS_SUPPORT_TSDB_TREE_H
#define TESTS_SUPPORT_TSDB_TREE_H

#include "base/file.h"

#define TREE_FILES_MAX  512u
#define TREE_PATH_BYTES 160u

struct tree_file {
    char path[TREE_PATH_BYTES];
    uint8_t *data; /* malloc'ed; NULL: empty */
    size_t len;
};
struct tree {
    struct tree_file files[TREE_FILES_MAX];
    uint32_t count;
};

/* Every file. On the heap: tree_free. */
struct tree *tree_read(const struct tsdb_fs *fs);
void tree_free(struct tree *t); /* NULL is fine */
/* The first file whose path begins and ends so; NULL: there is none. */
const struct tree_file *tree_find(const struct tree *t, const char *begin, const char *end);
/* Write a file, whole; the folders above it are made. */
void tree_put(const struct tsdb_fs *fs, const char *path, const void *data, size_t len);
/* The same with every file of t. */
void tree_lay(const struct tsdb_fs *fs, const struct tree *t);
/* NULL: each file of `a` is in `b` with the same bytes. Else the path of one that is not. */
const char *tree_lacks(const struct tree *b, const struct tree *a);

#endif
