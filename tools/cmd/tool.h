/* Sub-commands of `tidalite` for a data directory without a server.
 *
 *   server/main.c ─▶ tool_main: words of the command ─▶ commands.def ─▶ options.def ─▶ its function
 *
 * Two tables say everything: commands.def has a row per command, options.def one per option. --help, the
 * manual page and the shell completion are printed from them.
 *
 * Rules for commands:
 *  1. Answers go to stdout, everything that a person is told beside them to stderr.
 *  2. A directory that a server has is read, never written (open.h).
 *  3. What is written is written beside its place and renamed, so that an interrupted command leaves
 *     nothing half-written: only names that the next run, or a server's start, removes.
 *  4. Long loops ask tool_interrupted.
 *
 * Exit codes: enum tool_exit. Threads: one.
 */
#ifndef TOOLS_CMD_TOOL_H
#define TOOLS_CMD_TOOL_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum tool_exit {
    TOOL_EXIT_OK = 0,
    TOOL_EXIT_FAILED = 1,        /* said on stderr why */
    TOOL_EXIT_USAGE = 2,         /* wrong command line, expression, or line of a text file */
    TOOL_EXIT_DAMAGED = 3,       /* the command did its work and found damage */
    TOOL_EXIT_BUSY = 4,          /* a server has the directory, and the command has to write */
    TOOL_EXIT_INTERRUPTED = 130, /* Ctrl-C or SIGTERM */
};

enum tool_format {
    TOOL_FORMAT_TABLE = 0,
    TOOL_FORMAT_JSON,
    TOOL_FORMAT_CSV,
    TOOL_FORMAT_OPENMETRICS,
    TOOL_FORMAT_JSONL,
    TOOL_FORMAT_PLOT
};
enum tool_when {
    TOOL_WHEN_AUTO = 0,
    TOOL_WHEN_NEVER,
    TOOL_WHEN_ALWAYS
};

/* The C type of an option's field, by its kind. */
#define TOOL_TYPE_SWITCH   bool
#define TOOL_TYPE_TEXT     const char *
#define TOOL_TYPE_TIME     int64_t /* Unix ms */
#define TOOL_TYPE_DURATION int64_t /* ms */
#define TOOL_TYPE_U64      uint64_t
#define TOOL_TYPE_FORMAT   enum tool_format
#define TOOL_TYPE_WHEN     enum tool_when

struct tool_options {
#define TOOL_OPTION(kind, field, name, initial, what, help) TOOL_TYPE_##kind field;
#include "tools/cmd/options.def"
};
/* One bit per option: which ones a command knows, and which were given. */
enum tool_option_index {
#define TOOL_OPTION(kind, field, name, initial, what, help) TOOL_INDEX_##field,
#include "tools/cmd/options.def"
    TOOL_OPTION_COUNT
};
#define TOOL_BIT(field) (1u << TOOL_INDEX_##field)

struct tool {
    struct tool_options options;
    uint32_t given; /* TOOL_BIT of what stands on the command line */
    char **args;    /* what is no option */
    int arg_count;  /* as many as the command's row allows */
    bool damaged;   /* set by a command that found damage: TOOL_EXIT_DAMAGED */
};

/* Does `word` begin a command of commands.def? */
bool tool_known(const char *word);
/* argv[0] is the first word of the command. Returns an exit code. */
int tool_main(int argc, char **argv);
/* "  name   what it does" of every command, for `tidalite help`. */
void tool_print_commands(FILE *to);
/* The commands that begin with these words, in full: usage, options, exit codes. False: none does. */
bool tool_print_help(int argc, char **argv, FILE *to);
/* docs.c: the manual page (roff), and the completion for bash; from the tables. */
void tool_print_man(FILE *to);
/* Further parts of that page: an item with its name in bold, a line of text. */
void tool_man_item(const char *bold, const char *plain, FILE *to);
void tool_man_line(const char *s, FILE *to);
void tool_print_completion(FILE *to);

/* Ctrl-C was pressed: stop at the next point where nothing is half done. A second one ends the process. */
bool tool_interrupted(void);
enum tsdb_status tool_check(struct tsdb_error *err) TSDB_WUR; /* CANCELLED when interrupted */

/* A line for the person, on stderr, "tidalite: ". */
void tool_say(const char *format, ...) TSDB_PRINTF(1, 2);
/* Write all of b to stdout and clear it. IO when stdout takes no more (a closed pipe). */
enum tsdb_status tool_put(struct tsdb_buf *b, struct tsdb_error *err) TSDB_WUR;

#endif
