/* The manual page and the shell completion, from the tables. */
#include "model/version.h"
#include "tools/cmd/tool.h"

#include <string.h>

struct row {
    const char *name, *arguments, *what;
    uint32_t options;
};
#define TOOL_COMMON (TOOL_BIT(json) | TOOL_BIT(progress))
static const struct row rows[] = {
#define TOOL_COMMAND(name, function, arguments, least, most, options, what)                        \
    {name, arguments, what, (options) | TOOL_COMMON},
#include "tools/cmd/commands.def"
};
struct option {
    const char *name, *what, *help;
};
static const struct option options[] = {
#define TOOL_OPTION(kind, field, name, initial, what, help) {name, what, help},
#include "tools/cmd/options.def"
};

/* ---- the manual page ---- */
/* Text in roff: backslashes and a leading dot or quote mean something there, a hyphen is a minus. */
static void put_roff(const char *s, FILE *to)
{
    if (*s == '.' || *s == '\'') {
        fputs("\\&", to);
    }
    for (; *s; s++) {
        if (*s == '\\') {
            fputs("\\e", to);
        } else if (*s == '-') {
            fputs("\\-", to);
        } else {
            fputc(*s, to);
        }
    }
}

void tool_man_item(const char *bold, const char *plain, FILE *to)
{
    fputs(".TP\n\\fB", to);
    put_roff(bold, to);
    fputs("\\fR", to);
    put_roff(plain, to);
    fputc('\n', to);
}

void tool_man_line(const char *s, FILE *to)
{
    put_roff(s, to);
    fputc('\n', to);
}

static void man_commands(FILE *to)
{
    fputs(
        ".SH COMMANDS\n.TP\n\\fBserve\\fR [flags]\nRun the server; its flags stand "
        "below.\n.TP\n\\fBversion\\fR\nPrint the "
        "version.\n.TP\n\\fBhelp\\fR "
        "[command]\nUsage, options and exit codes of a command.\n.PP\nFor a data directory without "
        "a server; on one that a server has, those that only read give a look at what is on the "
        "disk:\n",
        to);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        fputs(".TP\n\\fB", to);
        put_roff(rows[i].name, to);
        fputs("\\fR ", to);
        tool_man_line(rows[i].arguments, to);
        tool_man_line(rows[i].what, to);
        fputs(".br\nOptions:", to);
        for (size_t k = 0; k < TSDB_ARRAY_LEN(options); k++) {
            if (rows[i].options & (1u << k)) {
                fputs(" \\-\\-", to);
                put_roff(options[k].name, to);
            }
        }
        fputs(".\n", to);
    }
}

void tool_print_man(FILE *to)
{
    fprintf(
        to,
        ".TH TIDALITE 1 \"\" \"tidalite %s\"\n.SH NAME\ntidalite \\- a time\\-series database that "
        "speaks Prometheus\n.SH SYNOPSIS\n\\fBtidalite\\fR command [arguments] [options]\n",
        TIDALITE_VERSION);
    man_commands(to);
    fputs(".SH OPTIONS\n", to);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(options); i++) {
        char bold[64];
        snprintf(bold, sizeof bold, "--%s%s", options[i].name, options[i].what[0] ? "=" : "");
        tool_man_item(bold, options[i].what, to);
        tool_man_line(options[i].help, to);
    }
    fputs(".SH EXIT STATUS\n", to);
    static const char *const codes[][2] = {
        {"0", "done"},
        {"1", "failed; said on stderr why"},
        {"2", "wrong command line, expression, or line of a text file"},
        {"3", "damage was found"},
        {"4", "a server has the directory, and the command has to write"},
        {"130", "interrupted; nothing is half-written"},
    };
    for (size_t i = 0; i < TSDB_ARRAY_LEN(codes); i++) {
        tool_man_item(codes[i][0], "", to);
        tool_man_line(codes[i][1], to);
    }
}

/* ---- completion ---- */
/* Which words may follow the ones before: of a group its second words, else options and files. */
static void completion_words(FILE *to)
{
    fputs("  case \"$first\" in\n", to);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        const char *space = strchr(rows[i].name, ' ');
        size_t len = space ? (size_t)(space - rows[i].name) : 0;
        bool begun = i > 0 && len > 0 && strncmp(rows[i - 1].name, rows[i].name, len + 1) == 0;
        if (len == 0 || begun) {
            continue;
        }
        fprintf(to, "  %.*s) second='", (int)len, rows[i].name);
        for (size_t k = i; k < TSDB_ARRAY_LEN(rows); k++) {
            if (strncmp(rows[k].name, rows[i].name, len + 1) == 0) {
                fprintf(to, "%s%s", k > i ? " " : "", rows[k].name + len + 1);
            }
        }
        fputs("';;\n", to);
    }
    fputs("  esac\n", to);
}

static void completion_options(FILE *to)
{
    fputs("  case \"$first $other\" in\n", to);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        fprintf(to, "  '%s'%s) options='", rows[i].name, strchr(rows[i].name, ' ') ? "" : "*");
        for (size_t k = 0; k < TSDB_ARRAY_LEN(options); k++) {
            if (rows[i].options & (1u << k)) {
                fprintf(to, "--%s%s ", options[k].name, options[k].what[0] ? "=" : "");
            }
        }
        fputs("--help';;\n", to);
    }
    fputs("  esac\n", to);
}

static void completion_first(FILE *to)
{
    fputs("serve version help", to);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(rows); i++) {
        size_t len = strcspn(rows[i].name, " ");
        bool begun = i > 0 && strcspn(rows[i - 1].name, " ") == len &&
                     strncmp(rows[i - 1].name, rows[i].name, len) == 0;
        if (!begun) {
            fprintf(to, " %.*s", (int)len, rows[i].name);
        }
    }
}

void tool_print_completion(FILE *to)
{
    fputs(
        "# bash completion of tidalite; `tidalite help --completion` prints it. zsh takes it after "
        "`autoload bashcompinit && bashcompinit`.\n"
        "_tidalite() {\n"
        "  local word=\"${COMP_WORDS[COMP_CWORD]}\" first=\"${COMP_WORDS[1]}\" "
        "other=\"${COMP_WORDS[2]}\" second='' options='--help'\n"
        "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    COMPREPLY=($(compgen -W '",
        to);
    completion_first(to);
    fputs("' -- \"$word\"))\n    return\n  fi\n", to);
    completion_words(to);
    fputs("  if [ \"$COMP_CWORD\" -eq 2 ] && [ -n \"$second\" ]; then\n"
          "    COMPREPLY=($(compgen -W \"$second\" -- \"$word\"))\n    return\n  fi\n",
          to);
    completion_options(to);
    fputs("  case \"$word\" in\n"
          "  -*) COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
          "      [[ \"${COMPREPLY[0]}\" == *= ]] && compopt -o nospace;;\n"
          "  *) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$word\"));;\n"
          "  esac\n"
          "}\n"
          "complete -F _tidalite tidalite\n",
          to);
}
