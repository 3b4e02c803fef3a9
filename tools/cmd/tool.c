/* The tables, the command line, the exit code. */
#include "tools/cmd/tool.h"

#include "base/format.h"
#include "base/log.h"
#include "tools/cmd/commands.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TOOL_COMMON (TOOL_BIT(json) | TOOL_BIT(progress))
#define ARGS_MAX    16
#define HELP_COLUMN 30
#define SECONDS_MAX 9.0e15 /* of a time: as milliseconds it fits */

struct tool_command {
    const char *name, *arguments, *what;
    enum tsdb_status (*run)(struct tool *t, struct tsdb_error *err);
    int least, most;
    uint32_t options;
};
static const struct tool_command commands[] = {
#define TOOL_COMMAND(name, function, arguments, least, most, options, what)                        \
    {name, arguments, what, function, least, most, (options) | TOOL_COMMON},
#include "tools/cmd/commands.def"
};

enum tool_kind {
    KIND_SWITCH,
    KIND_TEXT,
    KIND_TIME,
    KIND_DURATION,
    KIND_U64,
    KIND_FORMAT,
    KIND_WHEN
};
struct tool_option {
    enum tool_kind kind;
    const char *name, *what, *help;
    size_t offset; /* in struct tool_options */
};
static const struct tool_option options[] = {
#define TOOL_OPTION(kind, field, name, initial, what, help)                                        \
    {KIND_##kind, name, what, help, offsetof(struct tool_options, field)},
#include "tools/cmd/options.def"
};
static_assert(TSDB_ARRAY_LEN(options) <= 32, "a bit each");

static const struct tool_options defaults = {
#define TOOL_OPTION(kind, field, name, initial, what, help) .field = (initial),
#include "tools/cmd/options.def"
};

/* ---- interruption and output ---- */
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    if (interrupted) {
        _exit(TOOL_EXIT_INTERRUPTED);
    }
    interrupted = 1;
}

bool tool_interrupted(void)
{
    return interrupted != 0;
}

enum tsdb_status tool_check(struct tsdb_error *err)
{
    return interrupted ? tsdb_error_set(err, TSDB_CANCELLED, "interrupted") : TSDB_OK;
}

void tool_say(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fflush(stdout);
    fputs("tidalite: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
}

enum tsdb_status tool_put(struct tsdb_buf *b, struct tsdb_error *err)
{
    if (b->failed) {
        return tsdb_error_nomem(err, "the output");
    }
    size_t written = b->len > 0 ? fwrite(b->data, 1, b->len, stdout) : 0;
    bool all = written == b->len;
    tsdb_buf_clear(b);
    return all ? TSDB_OK : tsdb_error_set_errno(err, errno, "write to stdout");
}

/* ---- help ---- */
bool tool_known(const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(commands); i++) {
        const char *name = commands[i].name;
        if (strncmp(name, word, len) == 0 && (name[len] == ' ' || name[len] == 0)) {
            return true;
        }
    }
    return false;
}

void tool_print_commands(FILE *to)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(commands); i++) {
        fprintf(to, "  %-*s %s\n", HELP_COLUMN - 3, commands[i].name, commands[i].what);
    }
}

static void print_options(uint32_t known, FILE *to)
{
    for (size_t i = 0; i < TSDB_ARRAY_LEN(options); i++) {
        const struct tool_option *o = &options[i];
        if (known & (1u << i)) {
            int n = fprintf(to, "  --%s%s%s", o->name, o->what[0] ? "=" : "", o->what);
            fprintf(to, "%*s%s\n", n < HELP_COLUMN ? HELP_COLUMN - n : 1, "", o->help);
        }
    }
}

/* How many of the words are the command's name: 0, or all of it. */
static int words_of(const struct tool_command *c, int argc, char **argv)
{
    const char *p = c->name;
    int words = 0;
    for (;;) {
        size_t len = strcspn(p, " ");
        if (words == argc || strlen(argv[words]) != len || strncmp(argv[words], p, len) != 0) {
            return 0;
        }
        words++;
        if (!p[len]) {
            return words;
        }
        p += len + 1;
    }
}

/* Do the words (options among them end it) begin the command's name? */
static bool begins(const struct tool_command *c, int argc, char **argv)
{
    const char *p = c->name;
    for (int i = 0; i < argc && argv[i][0] != '-' && *p; i++) {
        size_t len = strcspn(p, " ");
        if (strlen(argv[i]) != len || strncmp(argv[i], p, len) != 0) {
            return false;
        }
        p += len + (p[len] == ' ');
    }
    return true;
}

bool tool_print_help(int argc, char **argv, FILE *to)
{
    bool found = false;
    uint32_t known = 0;
    for (size_t i = 0; i < TSDB_ARRAY_LEN(commands); i++) {
        const struct tool_command *c = &commands[i];
        if (begins(c, argc, argv)) {
            fprintf(to, "%s tidalite %s %s\n        %s\n", found ? "      " : "usage:", c->name,
                    c->arguments, c->what);
            known |= c->options;
            found = true;
        }
    }
    if (!found) {
        return false;
    }
    fputs("\noptions\n", to);
    print_options(known, to);
    fputs("\nexit codes: 0 done, 1 failed, 2 wrong usage, 3 damage found, 4 a server has the "
          "directory, 130 interrupted\n",
          to);
    return true;
}

/* ---- the command line ---- */
static bool parse_time(const char *s, int64_t *out)
{
    double seconds;
    if (tsdb_parse_rfc3339_ms(s, strlen(s), out)) {
        return true;
    }
    if (!tsdb_parse_float(s, strlen(s), &seconds) || !(seconds > -SECONDS_MAX) ||
        !(seconds < SECONDS_MAX)) {
        return false;
    }
    double ms = seconds * 1000;
    *out = (int64_t)(ms < 0 ? ms - 0.5 : ms + 0.5);
    return true;
}

/* Which of "a|b|c" the value is; -1: none. */
static int choice(const char *choices, const char *value)
{
    size_t len = strlen(value);
    for (int i = 0;; i++) {
        size_t n = strcspn(choices, "|");
        if (n == len && memcmp(choices, value, n) == 0) {
            return i;
        }
        if (!choices[n]) {
            return -1;
        }
        choices += n + 1;
    }
}

static bool option_set(const struct tool_option *o, const char *value, struct tool_options *into)
{
    void *field = (char *)into + o->offset;
    int i;
    switch (o->kind) {
    case KIND_SWITCH:
        *(bool *)field = true;
        return true;
    case KIND_TEXT:
        *(const char **)field = value;
        return true;
    case KIND_TIME:
        return parse_time(value, field);
    case KIND_DURATION:
        return tsdb_parse_duration_ms(value, strlen(value), field) && *(int64_t *)field > 0;
    case KIND_U64:
        return tsdb_parse_u64(value, strlen(value), field);
    case KIND_FORMAT:
        i = choice(o->what, value);
        *(enum tool_format *)field = (enum tool_format)(i < 0 ? 0 : i);
        return i >= 0;
    case KIND_WHEN:
        i = choice(o->what, value);
        *(enum tool_when *)field = (enum tool_when)(i < 0 ? 0 : i);
        return i >= 0;
    }
    return false;
}

/* "--name", "--name=value" or "--name value"; *taken: how many words that are. */
static enum tsdb_status parse_option(const struct tool_command *c, struct tool *t, char **argv,
                                     int left, int *taken, struct tsdb_error *err)
{
    const char *word = argv[0] + 2;
    size_t len = strcspn(word, "=");
    for (size_t i = 0; i < TSDB_ARRAY_LEN(options); i++) {
        const struct tool_option *o = &options[i];
        if (strlen(o->name) != len || strncmp(o->name, word, len) != 0 ||
            !(c->options & (1u << i))) {
            continue;
        }
        bool is_switch = o->kind == KIND_SWITCH, inlined = word[len] == '=';
        if ((is_switch && inlined) || (!is_switch && !inlined && left < 2)) {
            return tsdb_error_set(err, TSDB_INVALID, "--%s takes %s", o->name,
                                  is_switch ? "nothing" : o->what);
        }
        const char *value = inlined ? word + len + 1 : is_switch ? "" : argv[1];
        *taken = !is_switch && !inlined ? 2 : 1;
        t->given |= 1u << i;
        return option_set(o, value, &t->options)
                   ? TSDB_OK
                   : tsdb_error_set(err, TSDB_INVALID, "--%s: got \"%s\", expected %s", o->name,
                                    value, o->what);
    }
    return tsdb_error_set(err, TSDB_INVALID, "`%s` has no option --%.*s", c->name, (int)len, word);
}

static enum tsdb_status parse(const struct tool_command *c, int argc, char **argv, struct tool *t,
                              bool *help, struct tsdb_error *err)
{
    bool only_args = false;
    for (int i = 0, taken = 1; i < argc; i += taken) {
        taken = 1;
        enum tsdb_status status = TSDB_OK;
        if (!only_args && strcmp(argv[i], "--") == 0) {
            only_args = true;
        } else if (!only_args && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            *help = true;
        } else if (!only_args && strncmp(argv[i], "--", 2) == 0) {
            status = parse_option(c, t, argv + i, argc - i, &taken, err);
        } else if (t->arg_count == c->most) {
            status = tsdb_error_set(err, TSDB_INVALID, "`%s` takes %s, \"%s\" is too much", c->name,
                                    c->arguments, argv[i]);
        } else {
            t->args[t->arg_count++] = argv[i];
        }
        if (status != TSDB_OK) {
            return status;
        }
    }
    if (!*help && t->arg_count < c->least) {
        return tsdb_error_set(err, TSDB_INVALID, "`%s` needs %s", c->name, c->arguments);
    }
    return TSDB_OK;
}

static int exit_code(const struct tool *t, enum tsdb_status status)
{
    switch (status) {
    case TSDB_OK:
        return t->damaged ? TOOL_EXIT_DAMAGED : TOOL_EXIT_OK;
    case TSDB_CORRUPT:
        return TOOL_EXIT_DAMAGED;
    case TSDB_INVALID:
        return TOOL_EXIT_USAGE;
    case TSDB_BUSY:
        return TOOL_EXIT_BUSY;
    case TSDB_CANCELLED:
        return TOOL_EXIT_INTERRUPTED;
    default:
        return TOOL_EXIT_FAILED;
    }
}

/* A directory with many blocks: each takes descriptors. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run(const struct tool_command *c, struct tool *t)
{
    struct tsdb_error err;
    tsdb_error_clear(&err);
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* tool_put says it, and what is open is closed */
    tsdb_log_configure(TSDB_LOG_WARN, TSDB_LOG_LOGFMT);
    raise_descriptors();
    enum tsdb_status status = c->run(t, &err);
    if (fflush(stdout) != 0 && status == TSDB_OK) {
        status = tsdb_error_set_errno(&err, errno, "write to stdout");
    }
    if (status != TSDB_OK && !(status == TSDB_IO && err.sys_errno == EPIPE)) {
        tool_say("%s: %s", c->name, err.msg[0] ? err.msg : tsdb_status_name(status));
    }
    return exit_code(t, status);
}

int tool_main(int argc, char **argv)
{
    char *args[ARGS_MAX];
    struct tool t = {.options = defaults, .args = args};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(commands); i++) {
        const struct tool_command *c = &commands[i];
        int words = words_of(c, argc, argv);
        if (words == 0) {
            continue;
        }
        struct tsdb_error err;
        bool help = false;
        tsdb_error_clear(&err);
        if (parse(c, argc - words, argv + words, &t, &help, &err) != TSDB_OK) {
            fprintf(stderr, "tidalite: %s; `tidalite help %s` lists what there is\n", err.msg,
                    c->name);
            return TOOL_EXIT_USAGE;
        }
        return help ? (tool_print_help(words, argv, stdout), TOOL_EXIT_OK) : run(c, &t);
    }
    bool asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    if (!asked) {
        fprintf(stderr, "tidalite: \"%s%s%s\" is no command\n\n", argv[0], argc > 1 ? " " : "",
                argc > 1 ? argv[1] : "");
    }
    (void)tool_print_help(1, argv, asked ? stdout : stderr);
    return asked ? TOOL_EXIT_OK : TOOL_EXIT_USAGE;
}
