/* Distinct strings, numbered in the order in which they come, or those of them that sort first. Strings are
 * borrowed. Threads: one. */
#ifndef TSDB_ENGINE_STRINGS_H
#define TSDB_ENGINE_STRINGS_H

#include "base/arena.h"
#include "base/hash.h"
#include "model/labels.h"

/* Begins with key and arena, all else zero. */
struct strings {
    const struct tsdb_hash_key *key; /* senders choose the strings */
    struct tsdb_arena *arena;        /* of the table */
    struct tsdb_arena *keep;         /* of copies, where the caller makes them */
    struct tsdb_slice *items;        /* [cap / 2] */
    uint32_t *table;                 /* [cap]: index + 1, 0 = free */
    uint32_t cap, count;
    uint32_t stop_at; /* 0: never */
    uint32_t first;   /* only so many are wanted, those that sort first; 0: all */
    bool bounded;     /* as many were seen: what sorts behind `bound` is not among them */
    struct tsdb_slice bound;
    bool failed;
};

/* False: no memory; s->failed. *out: its number, as long as `first` is 0. */
bool strings_put(struct strings *s, const char *str, uint32_t len, uint32_t *out);
/* False: stop, enough or no memory. */
bool strings_add(struct strings *s, const char *str, uint32_t len);
bool strings_has(const struct strings *s, const char *str, uint32_t len);
/* Could a string be one of the first? */
bool strings_want(const struct strings *s, const char *str, uint32_t len);
/* Of two struct tsdb_slice, for qsort. */
int strings_order(const void *a, const void *b);

#endif
