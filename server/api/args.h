/* Arguments of the HTTP API: times, durations, limits, selectors, with Prometheus's error texts.
 * Each answers false after it has put a bad_data error into the call. */
#ifndef SERVER_API_ARGS_H
#define SERVER_API_ARGS_H

#include "server/api/call.h"

/* What the API clamps times to: half of the range of int64 ms, so that no evaluator overflows when
 * it adds offsets and windows. 146 million years either way. */
#define API_TIME_MIN_MS (INT64_MIN / 2)
#define API_TIME_MAX_MS (INT64_MAX / 2)

/* A time: float seconds, RFC 3339, or one of the two magic texts for the least and the greatest.
 * Pure; false when it is none. */
bool api_time_parse(struct tsdb_slice text, int64_t *out_ms);
/* A duration: float seconds or Prometheus's "1h30m". 1: fine; 0: none; -1: overflows. Pure. */
int api_duration_parse(struct tsdb_slice text, int64_t *out_ms);

/* As Go's strconv.ParseBool. Pure; false when it is none. */
bool api_bool_parse(struct tsdb_slice text, bool *out);

/* `required`: an absent value is an error, as in query_range; else *out_ms keeps its default. */
bool api_arg_time(struct call *c, const char *name, bool required, int64_t *out_ms);
/* Absent: *out_ms keeps its default, unless required. */
bool api_arg_duration(struct call *c, const char *name, bool required, int64_t *out_ms);
bool api_arg_limit(struct call *c, uint32_t *out);
/* A whole number, negative ones too. Absent: *out keeps its default. Puts no error into the call:
 * the texts differ. */
bool api_arg_int(struct call *c, const char *name, int64_t *out);
/* start and end of the endpoints where absent means all time. */
bool api_arg_range(struct call *c, struct tsdb_time_range *out);
/* All match[], whatever they match. wrap: as below. */
bool api_arg_selectors(struct call *c, bool wrap, struct tsdb_selector **out, uint32_t *out_count);
/* All match[]; at least one non-empty matcher in each. wrap: the error names the parameter. */
bool api_arg_matchers(struct call *c, bool wrap, struct tsdb_selector **out, uint32_t *out_count);
/* The text as Go's %q prints it (up to a length that fits an error). out[cap] NUL-terminated. */
void api_quote(struct tsdb_slice text, char *out, size_t cap);

#endif
