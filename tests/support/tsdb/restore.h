/* Directories on the simulated disk, moved about while no database is open: a snapshot takes the place
 * of the data directory. Beside scene.h. Asserts, no cmocka, as the harness. */
#ifndef TESTS_SUPPORT_TSDB_RESTORE_H
#define TESTS_SUPPORT_TSDB_RESTORE_H

#include "tests/support/tsdb/scene.h"

/* How many snapshots there are, unfinished ones too. */
uint32_t restore_count(struct hx *h);
/* Every file is as the manifest says, and there is none beside. Returns how many. */
uint32_t restore_verify(struct hx *h, const char *name);
/* Everything in the root but `keep` (may be NULL) goes. */
void restore_clear(struct hx *h, const char *keep);
/* Everything in the root moves into the new directory `to`. */
void restore_set_aside(struct hx *h, const char *to);
/* What is in <dir>/<name> (dir "": the root) moves into the root. */
void restore_take_from(struct hx *h, const char *dir, const char *name);
/* snapshots/<name> becomes the data directory, all else is gone; no ref is known any more. */
void restore_take(struct hx *h, const char *name);

#endif
