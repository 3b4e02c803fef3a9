#include "base/format.h"

#include "base/assert.h"
#include "base/bytes.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* 10^0 .. 10^22: the powers of ten that a double holds exactly. */
static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define POWER_EXACT_MAX 22

/* ---- integers ---- */

size_t tsdb_format_u64(char *out, uint64_t v)
{
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    for (size_t i = 0; i < n; i++) {
        out[i] = digits[n - 1 - i];
    }
    out[n] = '\0';
    return n;
}

size_t tsdb_format_i64(char *out, int64_t v)
{
    if (v < 0) {
        out[0] = '-';
        return 1 + tsdb_format_u64(out + 1, 0 - (uint64_t)v);
    }
    return tsdb_format_u64(out, (uint64_t)v);
}

/* v with at least `width` digits, zeroes in front. No NUL. */
static size_t put_padded(char *out, uint64_t v, size_t width)
{
    char digits[24];
    size_t n = tsdb_format_u64(digits, v);
    size_t zeroes = n < width ? width - n : 0;
    memset(out, '0', zeroes);
    memcpy(out + zeroes, digits, n);
    return zeroes + n;
}

bool tsdb_parse_u64(const char *s, size_t len, uint64_t *out)
{
    uint64_t v = 0;
    if (len == 0) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        unsigned digit = (unsigned)(unsigned char)s[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, digit, &v)) {
            return false;
        }
    }
    *out = v;
    return true;
}

bool tsdb_parse_i64(const char *s, size_t len, int64_t *out)
{
    uint64_t v;
    bool negative = len > 0 && s[0] == '-';
    size_t sign = len > 0 && (s[0] == '-' || s[0] == '+') ? 1 : 0;
    if (!tsdb_parse_u64(s + sign, len - sign, &v) || v > (uint64_t)INT64_MAX + negative) {
        return false;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* ---- floats to text ---- */

/* |v| = 0.d1 d2 .. dn * 10^point, no zero at either end; count 0 is zero. */
struct digits {
    char d[20];
    int count;
    int point;
};

static void digits_from_u64(struct digits *out, uint64_t v, int exponent)
{
    char text[24];
    int n = (int)tsdb_format_u64(text, v);
    int count = n;
    while (count > 0 && text[count - 1] == '0') {
        count--;
    }
    memcpy(out->d, text, (size_t)count);
    out->count = count;
    out->point = count > 0 ? n + exponent : 0;
}

/* Values that people and exporters write: a decimal of at most 15 digits with few of them behind the point. Two such
 * decimals never read as the same double, so one that reads back as v is the shortest; m / 10^k reads back exactly as
 * strtod would, because both are exact doubles (Clinger 1990). */
static bool digits_short_decimal(struct digits *out, double v)
{
    if (v >= 1e15 || v < 1e-5) {
        return false;
    }
    for (int k = 0; k <= 12; k++) {
        double scaled = v * powers_of_ten[k];
        if (scaled >= 1e15) {
            return false;
        }
        uint64_t m = (uint64_t)(scaled + 0.5);
        if ((double)m / powers_of_ten[k] == v) {
            digits_from_u64(out, m, -k);
            return true;
        }
    }
    return false;
}

static void digits_shortest(struct digits *out, double v)
{
    if (v == 0) {
        out->count = 0;
        out->point = 0;
        return;
    }
    if (digits_short_decimal(out, v)) {
        return;
    }
    char text[40];
    for (int precision = 14; precision <= 16; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision, v);
        if (precision == 16 || strtod(text, NULL) == v) {
            break;
        }
    }
    int n = 0;
    const char *p = text;
    for (; *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9') {
            out->d[n++] = *p;
        }
    }
    while (out->d[n - 1] == '0') {
        n--;
    }
    out->count = n;
    out->point = (int)strtol(p + 1, NULL, 10) + 1;
}

/* "NaN", "+Inf", "-Inf", or nothing and 0. */
static size_t put_special(char *out, double v)
{
    const char *word;
    if (__builtin_isnan(v)) {
        word = "NaN";
    } else if (__builtin_isinf(v)) {
        word = v > 0 ? "+Inf" : "-Inf";
    } else {
        return 0;
    }
    size_t len = strlen(word);
    memcpy(out, word, len + 1);
    return len;
}

static size_t put_fixed(char *out, const struct digits *g, bool negative)
{
    char *p = out;
    if (negative) {
        *p++ = '-';
    }
    if (g->point <= 0) {
        *p++ = '0';
    }
    for (int i = 0; i < g->point; i++) {
        *p++ = i < g->count ? g->d[i] : '0';
    }
    if (g->count > g->point) {
        *p++ = '.';
        for (int i = g->point; i < g->count; i++) {
            *p++ = i >= 0 ? g->d[i] : '0';
        }
    }
    *p = '\0';
    return (size_t)(p - out);
}

static size_t put_exponent(char *out, const struct digits *g, bool negative)
{
    char *p = out;
    if (negative) {
        *p++ = '-';
    }
    *p++ = g->count > 0 ? g->d[0] : '0';
    if (g->count > 1) {
        *p++ = '.';
        memcpy(p, g->d + 1, (size_t)g->count - 1);
        p += g->count - 1;
    }
    int exponent = g->count > 0 ? g->point - 1 : 0;
    *p++ = 'e';
    *p++ = exponent < 0 ? '-' : '+';
    p += put_padded(p, (uint64_t)(exponent < 0 ? -exponent : exponent), 2);
    *p = '\0';
    return (size_t)(p - out);
}

size_t tsdb_format_float_fixed(char *out, double v)
{
    size_t special = put_special(out, v);
    if (special > 0) {
        return special;
    }
    struct digits g;
    digits_shortest(&g, __builtin_fabs(v));
    return put_fixed(out, &g, __builtin_signbit(v) != 0);
}

size_t tsdb_format_float_go_e(char *out, double v)
{
    size_t special = put_special(out, v);
    if (special > 0) {
        return special;
    }
    struct digits g;
    digits_shortest(&g, __builtin_fabs(v));
    return put_exponent(out, &g, __builtin_signbit(v) != 0);
}

size_t tsdb_format_float_json(char *out, double v)
{
    double abs = __builtin_fabs(v);
    if (abs != 0 && (abs < 1e-6 || abs >= 1e21)) {
        return tsdb_format_float_go_e(out, v);
    }
    return tsdb_format_float_fixed(out, v);
}

/* Go compares the decimal exponent with the digits asked for, and with 6 where the shortest are asked for; but digits
 * that are all in front of the point count as asked for: 21 is the limit then only in fmt's %v of JSON, not here. */
size_t tsdb_format_float_go_g(char *out, double v)
{
    size_t special = put_special(out, v);
    if (special > 0) {
        return special;
    }
    struct digits g;
    digits_shortest(&g, __builtin_fabs(v));
    int exponent = g.count > 0 ? g.point - 1 : 0;
    if (exponent < -4 || exponent >= 6) {
        return put_exponent(out, &g, __builtin_signbit(v) != 0);
    }
    return put_fixed(out, &g, __builtin_signbit(v) != 0);
}
