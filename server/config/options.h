/* What the flags set. One table (flags.def) drives the fields here, parsing, --help,
 * /api/v1/status/flags and docs/config.md; every field is filled and validated before anything is
 * opened. Immutable after start, but for what --config.file sets (config_file.h).
 *
 * Flag syntax as Prometheus's (kingpin): --name=value or --name value; booleans --name / --no-name;
 * lists repeat or use commas. */
#ifndef SERVER_CONFIG_OPTIONS_H
#define SERVER_CONFIG_OPTIONS_H

#include "base/bytes.h"
#include "base/log.h"
#include "model/request.h"

/* The C type of a flag's field, by its kind. */
#define FLAG_TYPE_BOOL       bool
#define FLAG_TYPE_U32        uint32_t
#define FLAG_TYPE_U64        uint64_t
#define FLAG_TYPE_BYTES      uint64_t
#define FLAG_TYPE_DURATION   int64_t /* ms */
#define FLAG_TYPE_DURABILITY enum tsdb_durability
#define FLAG_TYPE_LOG_LEVEL  enum tsdb_log_level
#define FLAG_TYPE_LOG_FORMAT enum tsdb_log_format

/* "auto" of a flag that has it: the value is derived in server_options_settle. */
#define SERVER_AUTO UINT64_MAX

struct server_options {
#define FLAG(group, kind, field, name, min, max, initial, help) FLAG_TYPE_##kind field;
#define FLAG_TEXT(group, kind, field, cap, name, initial, help) char field[cap];
#define FEATURE(field, name)                                    bool field;
#define FEATURE_ON(name)
#define FLAG_ON(name)
#include "server/config/flags.def"
};

void server_options_default(struct server_options *o);
/* argv without the sub-command. INVALID names the flag, the value and what it takes. *out_help:
 * --help was asked for. */
enum tsdb_status server_options_parse(struct server_options *o, int argc, char **argv,
                                      bool *out_help, struct tsdb_error *err) TSDB_WUR;
/* Derive what is "auto". memory_bytes: what the process may use; 0: not known, and no limit derived. Once,
 * before the options are used. */
void server_options_settle(struct server_options *o, uint64_t memory_bytes);
void server_options_help(struct tsdb_buf *out); /* --help, wrapped at 100 columns */
/* Every flag in the order of --help; group is NULL but where one begins. */
typedef void (*server_flag_fn)(void *arg, const char *group, const char *name, const char *initial,
                               const char *help);
void server_flags_each(server_flag_fn fn, void *arg);
void server_options_markdown(struct tsdb_buf *out); /* docs/config.md */
/* Every flag as (name, value as Prometheus would print it). */
typedef void (*server_option_fn)(void *arg, const char *name, const char *value);
void server_options_visit(const struct server_options *o, server_option_fn fn, void *arg);

#endif
