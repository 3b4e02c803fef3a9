/* Golden files: the bytes of a stored format, kept for ever in tests/golden/<format>/v<n>/. What is
 * written today, what the format's page shows and what is read today are all held to them. Paths of
 * golden files are relative to tests/golden/; run from the repository's root.
 *
 * TSDB_GOLDEN_WRITE=<directory> makes the files of a new version: golden_check then writes what it
 * is given below that directory and compares nothing.
 *
 * A test that fails ends by a jump (cmocka): the loaders use the caller's memory. */
#ifndef TESTS_SUPPORT_GOLDEN_H
#define TESTS_SUPPORT_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tsdb_fs;

#define GOLDEN_BYTES_MAX 65536u /* of a golden file */

/* The bytes of a golden file, to out[cap]; fails the test if it is not there or does not fit. */
size_t golden_read(const char *path, void *out, size_t cap);
/* got[len] must be the golden file's bytes; if not, they are printed as a page shows them. */
void golden_check(const char *path, const void *got, size_t len);
/* A page in docs/format/ must show the golden file: in the nth block, from 0, of those that begin
 * with a line that is `fence`. "```hexdump..." is a dump, "offset  byte byte ...  | words" a line;
 * every other block is taken as it is. */
void golden_check_page(const char *path, const char *page, const char *fence, unsigned nth);

/* The page must have the text, to the letter; if not, the text is printed. */
void golden_check_text(const char *page, const char *text);

/* A copy of the golden file as `to` on fs, whose folders are made if need be. */
void golden_copy_in(const char *path, const struct tsdb_fs *fs, const char *to);

/* Every file below the golden directory, to the same place below the root of fs. Returns how many. */
unsigned golden_copy_tree(const char *dir, const struct tsdb_fs *fs);

/* True with TSDB_GOLDEN_WRITE. */
bool golden_writing(void);

#endif
