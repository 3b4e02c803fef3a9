/* Numbers to text and back, as Go and Prometheus write them. Pure; never locale-dependent.
 *
 * Shortest digits that read back to the same bits.
 * Source: Prometheus util/jsonutil (fixed notation for 1e-6 <= |x| < 1e21, exponent form otherwise
 * with sign and at least two exponent digits), strconv.FormatFloat 'f' and 'g'.
 */
#ifndef BASE_FORMAT_H
#define BASE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TSDB_FORMAT_FLOAT_MAX     352 /* enough for any double in fixed notation, with NUL */
#define TSDB_FORMAT_JSON_MAX      64  /* for tsdb_format_float_json */
#define TSDB_FORMAT_TIMESTAMP_MAX 32  /* for tsdb_format_timestamp_ms */

/* All return the length written (without NUL); out has room for TSDB_FORMAT_FLOAT_MAX, unless there
 * is a smaller bound above, of which more than is returned may be written.
 * NaN, +Inf, -Inf, -0 as in Go. */
size_t tsdb_format_float_json(char *out, double v);  /* sample values in API answers */
size_t tsdb_format_float_fixed(char *out, double v); /* 'f', -1: scalar results */
/* 'g', -1: text exposition, query printing; 'e' when exponent < -4 || >= 6: "1e+06". */
size_t tsdb_format_float_go_g(char *out, double v);
size_t tsdb_format_float_go_e(char *out, double v); /* 'e', -1: rule and alert values, "1e+00" */
size_t tsdb_format_i64(char *out, int64_t v);
size_t tsdb_format_u64(char *out, uint64_t v);
/* Milliseconds as seconds: integer if whole, else '.' and three digits; negative allowed. */
size_t tsdb_format_timestamp_ms(char *out, int64_t ms);
/* RFC 3339 UTC with milliseconds, trailing zeroes of the fraction cut as RFC3339Nano does. */
size_t tsdb_format_rfc3339_ms(char *out, int64_t ms);

/* Whole input must be a float as Go's strconv.ParseFloat takes it: decimal, hexadecimal with a "p",
 * Inf, Infinity, NaN (any case), a sign, '_' between digits; out of range is false. What PromQL takes
 * is not the same (integers in other bases): query/lang. */
bool tsdb_parse_float(const char *s, size_t len, double *out);
/* Whole input must be a decimal integer without sign (u64) or with (i64); overflow is false. */
bool tsdb_parse_u64(const char *s, size_t len, uint64_t *out);
bool tsdb_parse_i64(const char *s, size_t len, int64_t *out);
/* Prometheus duration [y][w][d][h][m][s][ms], each at most once, in that order ("1h30m", "0");
 * milliseconds. */
bool tsdb_parse_duration_ms(const char *s, size_t len, int64_t *out_ms);
/* The reverse, as model.Duration.String(): "1h30m", "0s". */
size_t tsdb_format_duration_ms(char *out, int64_t ms);
/* RFC 3339 as Go's time.Parse takes it: optional fraction behind '.' or ',', an hour of one digit,
 * offsets up to 24:60 ("2026-01-02T03:04:05.678+01:00"). */
bool tsdb_parse_rfc3339_ms(const char *s, size_t len, int64_t *out_ms);

#endif
