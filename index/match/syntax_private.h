/* Regular expressions as Go's regexp/syntax takes them (Perl flags, dot matches newline): what it
 * refuses, in its words; what RE2 has to be given so that it means the same; and what is known
 * without an automaton.
 *
 * RE2 and Go share most of their syntax. The differences that are bridged here: groups may be named
 * (?<x>...) as well as (?P<x>...), and two may have one name; names of Unicode classes are looked up
 * without regard to case, blanks, '_' and '-', and have aliases (\p{Letter}); there are Assigned, Cn,
 * LC and ASCII; \C is refused; an expression may be 1000 levels high.
 *
 * Not bridged: \P{Assigned}, \p{Cn} and \P{LC} inside of brackets, which RE2 has no words for, are
 * refused. Threads: pure.
 */
#ifndef INDEX_MATCH_SYNTAX_PRIVATE_H
#define INDEX_MATCH_SYNTAX_PRIVATE_H

#include "base/bytes.h"
#include "base/status.h"

#define INDEX_SYNTAX_HEIGHT_MAX 1000 /* Go's */

/* A group's name, in the pattern. */
struct index_group_name {
    const char *name;
    uint32_t name_len;
    uint32_t group; /* 1 is the first */
};

struct index_alternative {
    uint32_t begin;     /* the '|' before it stands at begin - 1 */
    uint32_t flags_len; /* of index_syntax.flags */
};

struct index_syntax {
    /* OK: */
    struct tsdb_buf re2; /* the same expression for RE2, without names */
    struct index_group_name *names;
    uint32_t name_count, name_room;
    bool matches_empty; /* the whole of an empty text */
    /* Where the alternatives of the outermost level begin in re2, the first one left out, and the
     * flags (as they are written) that hold there. */
    struct index_alternative *alternatives;
    uint32_t alternative_count, alternative_room;
    struct tsdb_buf flags; /* "(?i)(?s)..." of the outermost level */
    uint32_t height;       /* of the tree, if the expression stands between ^ and $ */
    /* INVALID: "missing closing )", and the part of the pattern that Go shows. */
    const char *reason;
    const char *shown;
    size_t shown_len;
};

/* Returns OK, INVALID, NOMEM. out borrows from the pattern; index_syntax_deinit in every case. */
enum tsdb_status index_syntax_parse(const char *pattern, size_t len,
                                    struct index_syntax *out) TSDB_WUR;
void index_syntax_deinit(struct index_syntax *s);

/* ---- syntax_class.c ---- */

/* Put what \p{name} (negated: \P) is for RE2, within brackets or on its own. False: no such class.
 */
bool index_syntax_put_class(const char *name, size_t len, bool negated, bool in_brackets,
                            struct tsdb_buf *out);
/* Is "[:alpha:]" or "[:^alpha:]" one of the ASCII classes? */
bool index_syntax_is_ascii_class(const char *name, size_t len);

#endif
