#include "base/format.h"

#include "base/assert.h"
#include "base/bytes.h"
#include "base/shortest_private.h"

#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* 10^0 .. 10^22: the powers of ten that a double holds exactly. */
static const double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define POWER_EXACT_MAX 22

/* ---- integers ---- */

/* The eight digits of v < 10^8 as text in a register, the first one in the lowest byte. Text that goes
 * through memory in pieces and back as a whole would wait for it: this is what a query's answer is
 * made of. */
static uint64_t eight_digits(uint32_t v)
{
    uint64_t fours = v / 10000 | (uint64_t)(v % 10000) << 32;
    uint64_t hundreds = (fours * 10486) >> 20 & UINT64_C(0x0000007f0000007f);
    uint64_t twos = hundreds | (fours - 100 * hundreds) << 16;
    uint64_t tens = (twos * 103) >> 10 & UINT64_C(0x000f000f000f000f);
    return (tens | (twos - 10 * tens) << 8) + UINT64_C(0x3030303030303030);
}

/* The number of digits of v < 10^8, 1 for 0. */
static unsigned digit_count(uint32_t v)
{
    static const uint32_t first_of[] = {0,      10,      100,      1000,     10000,
                                        100000, 1000000, 10000000, 100000000};
    unsigned guess = (unsigned)((32 - __builtin_clz(v | 1)) * 1233) >> 12; /* log10(2) */
    return guess + (guess == 0 || v >= first_of[guess]);
}

static char *put_eight(char *p, uint32_t v)
{
    tsdb_store_le64((uint8_t *)p, eight_digits(v));
    return p + 8;
}

/* v < 10^8 without zeroes in front; writes 8 bytes whatever it returns. */
static char *put_up_to_eight(char *p, uint32_t v)
{
    unsigned n = digit_count(v);
    tsdb_store_le64((uint8_t *)p, eight_digits(v) >> 8 * (8 - n));
    return p + n;
}

#define TEN_TO_8 UINT64_C(100000000)

/* Writes up to 8 bytes beyond what it returns. */
static char *put_u64(char *p, uint64_t v)
{
    if (v < TEN_TO_8) {
        return put_up_to_eight(p, (uint32_t)v);
    }
    if (v < TEN_TO_8 * TEN_TO_8) {
        p = put_up_to_eight(p, (uint32_t)(v / TEN_TO_8));
    } else {
        p = put_up_to_eight(p, (uint32_t)(v / (TEN_TO_8 * TEN_TO_8)));
        p = put_eight(p, (uint32_t)(v / TEN_TO_8 % TEN_TO_8));
    }
    return put_eight(p, (uint32_t)(v % TEN_TO_8));
}

size_t tsdb_format_u64(char *out, uint64_t v)
{
    char *p = put_u64(out, v);
    *p = '\0';
    return (size_t)(p - out);
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
    if (len == 0) {
        return false;
    }
    bool negative = s[0] == '-';
    size_t sign = s[0] == '-' || s[0] == '+' ? 1 : 0;
    if (!tsdb_parse_u64(s + sign, len - sign, &v) || v > (uint64_t)INT64_MAX + negative) {
        return false;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* ---- floats to text ---- */

/* |v| = 0.d1 d2 .. dn * 10^point, no zero at either end; count 0 is zero. */
struct digits {
    char d[32];
    int count;
    int point;
};

static void digits_from_u64(struct digits *out, uint64_t v, int exponent)
{
    int n = (int)tsdb_format_u64(out->d, v);
    int count = n;
    while (count > 0 && out->d[count - 1] == '0') {
        count--;
    }
    out->count = count;
    out->point = count > 0 ? n + exponent : 0;
}

/* Values with up to three decimals, as people and programs round them. At most 15 digits: of those
 * no two decimals read back as the same double, so the one that does is the shortest. */
#define DECIMALS     3
#define DECIMALS_TEN 1000.0
static bool few_decimals(double v, struct tsdb_decimal *out)
{
    if (!(v < 1e12)) {
        return false;
    }
    uint64_t scaled = (uint64_t)(v * DECIMALS_TEN + 0.5);
    *out = (struct tsdb_decimal){scaled, -DECIMALS};
    return (double)scaled / DECIMALS_TEN == v;
}

/* v >= 0, finite. */
static struct tsdb_decimal decimal_of(double v)
{
    struct tsdb_decimal d;
    /* Counters and sizes: below 2^53 no other integer reads back as v, so its own digits are the
     * shortest. */
    if (v < 0x1p53 && (double)(uint64_t)v == v) {
        return (struct tsdb_decimal){(uint64_t)v, 0};
    }
    return few_decimals(v, &d) ? d : tsdb_shortest_decimal(v);
}

static void digits_shortest(struct digits *out, double v)
{
    struct tsdb_decimal decimal = decimal_of(v);
    digits_from_u64(out, decimal.digits, decimal.exponent);
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

static char *put_digits(char *p, const char *digits, int count)
{
    memcpy(p, digits, (size_t)count);
    return p + count;
}

static char *put_zeroes(char *p, int count)
{
    if (count <= 0) {
        return p;
    }
    memset(p, '0', (size_t)count);
    return p + count;
}

static size_t put_fixed(char *out, const struct digits *g, bool negative)
{
    char *p = out;
    if (negative) {
        *p++ = '-';
    }
    int before_point = TSDB_MAX(TSDB_MIN(g->count, g->point), 0);
    if (g->point <= 0) {
        *p++ = '0';
    }
    p = put_digits(p, g->d, before_point);
    p = put_zeroes(p, g->point - before_point);
    if (g->count > g->point) {
        *p++ = '.';
        p = put_zeroes(p, -g->point);
        p = put_digits(p, g->d + before_point, g->count - before_point);
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
    p = g->count > 0 ? put_digits(p, g->d, 1) : put_zeroes(p, 1);
    if (g->count > 1) {
        *p++ = '.';
        p = put_digits(p, g->d + 1, g->count - 1);
    }
    int exponent = g->count > 0 ? g->point - 1 : 0;
    *p++ = 'e';
    *p++ = exponent < 0 ? '-' : '+';
    p += put_padded(p, (uint64_t)(exponent < 0 ? -exponent : exponent), 2);
    *p = '\0';
    return (size_t)(p - out);
}

typedef size_t (*put_fn)(char *out, const struct digits *g, bool negative);

static size_t put_shortest(char *out, double v, put_fn put)
{
    size_t special = put_special(out, v);
    if (special > 0) {
        return special;
    }
    struct digits g = {0};
    digits_shortest(&g, __builtin_fabs(v));
    return put(out, &g, __builtin_signbit(v) != 0);
}

/* digits * 10^-places, places up to 16, no zeroes at the end. */
static char *put_decimal(char *p, uint64_t digits, unsigned places)
{
    static const uint64_t powers[] = {
        1,
        10,
        100,
        1000,
        10000,
        100000,
        1000000,
        10000000,
        100000000,
        1000000000,
        10000000000,
        100000000000,
        1000000000000,
        10000000000000,
        100000000000000,
        1000000000000000,
        10000000000000000,
    };
    uint64_t fraction = digits % powers[places] * powers[16 - places];
    p = put_u64(p, digits / powers[places]);
    if (fraction == 0) {
        return p;
    }
    *p++ = '.';
    p = put_eight(p, (uint32_t)(fraction / TEN_TO_8));
    p = put_eight(p, (uint32_t)(fraction % TEN_TO_8));
    while (p[-1] == '0') {
        p--;
    }
    return p;
}

size_t tsdb_format_float_fixed(char *out, double v)
{
    double abs = __builtin_fabs(v);
    if (!(abs < 1e15 && abs >= 1e-3)) {
        return put_shortest(out, v, put_fixed);
    }
    struct tsdb_decimal d = decimal_of(abs);
    if (d.exponent < -16 || d.exponent > 0) {
        return put_shortest(out, v, put_fixed);
    }
    char *p = out;
    if (v < 0) {
        *p++ = '-';
    }
    p = put_decimal(p, d.digits, (unsigned)-d.exponent);
    *p = '\0';
    return (size_t)(p - out);
}

size_t tsdb_format_float_go_e(char *out, double v)
{
    return put_shortest(out, v, put_exponent);
}

size_t tsdb_format_float_json(char *out, double v)
{
    double abs = __builtin_fabs(v);
    if (abs != 0 && (abs < 1e-6 || abs >= 1e21)) {
        return tsdb_format_float_go_e(out, v);
    }
    return tsdb_format_float_fixed(out, v);
}

/* 'g' compares the decimal exponent with the number of digits asked for, and with 6 where the
 * shortest are asked for: 100000 but 1e+06, whatever the digits. (21 is the limit of JSON encoders,
 * not of this.) */
size_t tsdb_format_float_go_g(char *out, double v)
{
    size_t special = put_special(out, v);
    if (special > 0) {
        return special;
    }
    struct digits g = {0};
    digits_shortest(&g, __builtin_fabs(v));
    int exponent = g.count > 0 ? g.point - 1 : 0;
    if (exponent < -4 || exponent >= 6) {
        return put_exponent(out, &g, __builtin_signbit(v) != 0);
    }
    return put_fixed(out, &g, __builtin_signbit(v) != 0);
}

/* ---- text to floats ---- */

/* A number in pieces: digits (decimal or hexadecimal) times base^exponent. Digits beyond the
 * capacity are folded into a last non-zero one: 767 significant digits decide every rounding of a
 * decimal, the rest only whether it is a tie. */
#define NUMBER_DIGITS_MAX 800
struct number {
    char digits[NUMBER_DIGITS_MAX + 1];
    size_t count;
    int64_t exponent;
    bool negative;
    bool is_hex;
};

static int digit_value(char c, bool is_hex)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return is_hex && lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Digits with at most one point, from s[i] on. Returns the index after, or 0 if there is no digit.
 */
static size_t scan_mantissa(const char *s, size_t len, size_t i, struct number *n)
{
    bool seen_digit = false;
    bool seen_point = false;
    int64_t step = n->is_hex ? 4 : 1;
    for (; i < len; i++) {
        if (s[i] == '.' && !seen_point) {
            seen_point = true;
            continue;
        }
        if (s[i] == '_') {
            continue;
        }
        int d = digit_value(s[i], n->is_hex);
        if (d < 0) {
            break;
        }
        seen_digit = true;
        if (n->count < NUMBER_DIGITS_MAX) {
            if (n->count > 0 || d != 0) {
                n->digits[n->count++] = s[i];
            }
            n->exponent -= seen_point ? step : 0;
        } else {
            if (d != 0) {
                n->digits[NUMBER_DIGITS_MAX - 1] = '1';
            }
            n->exponent += seen_point ? 0 : step;
        }
    }
    return seen_digit ? i : 0;
}

/* "e-12" or "p+3" at s[i]. Returns the index after, or 0 if it is malformed. */
static size_t scan_exponent(const char *s, size_t len, size_t i, struct number *n)
{
    bool negative = false;
    int64_t e = 0;
    i++;
    if (i < len && (s[i] == '+' || s[i] == '-')) {
        negative = s[i] == '-';
        i++;
    }
    if (i == len) {
        return 0;
    }
    if (s[i] < '0' || s[i] > '9') {
        return 0;
    }
    for (; i < len; i++) {
        if (s[i] == '_') {
            continue;
        }
        if (s[i] < '0' || s[i] > '9') {
            return 0;
        }
        e = e < 1000000000 ? e * 10 + (s[i] - '0') : e; /* far beyond what a double holds */
    }
    n->exponent += negative ? -e : e;
    return i;
}

static bool word_is(const char *s, size_t len, const char *word)
{
    return len == strlen(word) && strncasecmp(s, word, len) == 0;
}

static bool parse_special(const char *s, size_t len, double *out)
{
    size_t sign = s[0] == '+' || s[0] == '-' ? 1 : 0;
    if (word_is(s + sign, len - sign, "inf") || word_is(s + sign, len - sign, "infinity")) {
        *out = s[0] == '-' ? -__builtin_inf() : __builtin_inf();
        return true;
    }
    if (word_is(s, len, "nan")) {
        *out = tsdb_bits_double(
            0x7ff8000000000001u); /* Go's NaN, which is also Prometheus's normal NaN */
        return true;
    }
    return false;
}

static locale_t c_locale;
static void c_locale_init(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    TSDB_ASSERT(c_locale != (locale_t)0);
}

/* Correctly rounded by the C library, over text in a normal form that cannot be long. */
static double number_by_library(struct number *n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char text[NUMBER_DIGITS_MAX + 32];
    pthread_once(&once, c_locale_init);
    int64_t e = TSDB_MAX(TSDB_MIN(n->exponent, 20000), -20000);
    n->digits[n->count] = '\0';
    (void)snprintf(text, sizeof text, "%s%s%c%lld", n->is_hex ? "0x" : "", n->digits,
                   n->is_hex ? 'p' : 'e', (long long)e);
    return strtod_l(text, NULL, c_locale);
}

static double number_value(struct number *n)
{
    double v;
    if (n->count == 0) {
        v = 0;
    } else if (!n->is_hex && n->count <= 15 && n->exponent >= -POWER_EXACT_MAX &&
               n->exponent <= POWER_EXACT_MAX) {
        /* Both operands are exact, so the one operation rounds correctly (Clinger 1990). */
        uint64_t m = 0;
        for (size_t i = 0; i < n->count; i++) {
            m = m * 10 + (uint64_t)(n->digits[i] - '0');
        }
        v = n->exponent < 0 ? (double)m / powers_of_ten[-n->exponent]
                            : (double)m * powers_of_ten[n->exponent];
    } else {
        v = number_by_library(n);
    }
    return n->negative ? -v : v;
}

/* Underscores stand between digits, or between "0x" and a digit. */
static bool underscores_fit(const char *s, size_t len, bool is_hex)
{
    for (size_t i = 0; i < len; i++) {
        if (s[i] != '_') {
            continue;
        }
        bool prefix = is_hex && i >= 2 && (s[i - 1] | 0x20) == 'x';
        bool before = i > 0 && (prefix || digit_value(s[i - 1], is_hex) >= 0);
        if (!before || i + 1 == len || digit_value(s[i + 1], is_hex) < 0) {
            return false;
        }
    }
    return true;
}

bool tsdb_parse_float(const char *s, size_t len, double *out)
{
    if (len == 0) {
        return false;
    }
    if (parse_special(s, len, out)) {
        return true;
    }
    struct number n;
    n.count = 0;
    n.exponent = 0;
    size_t i = s[0] == '+' || s[0] == '-' ? 1 : 0;
    n.negative = i == 1 && s[0] == '-';
    n.is_hex = len - i > 2 && s[i] == '0' && (s[i + 1] | 0x20) == 'x';
    i = scan_mantissa(s, len, n.is_hex ? i + 2 : i, &n);
    bool has_exponent = i > 0 && i < len && (s[i] | 0x20) == (n.is_hex ? 'p' : 'e');
    if (has_exponent) {
        i = scan_exponent(s, len, i, &n);
    }
    if (i == 0 || i < len || (n.is_hex && !has_exponent) || !underscores_fit(s, len, n.is_hex)) {
        return false;
    }
    double v = number_value(&n);
    if (__builtin_isinf(v)) {
        return false; /* Go reports a range error, and callers treat it as malformed */
    }
    *out = v;
    return true;
}

/* ---- time ---- */

#define MS_SECOND ((int64_t)1000)
#define MS_MINUTE (60 * MS_SECOND)
#define MS_HOUR   (60 * MS_MINUTE)
#define MS_DAY    (24 * MS_HOUR)
#define MS_WEEK   (7 * MS_DAY)
#define MS_YEAR   (365 * MS_DAY)

size_t tsdb_format_timestamp_ms(char *out, int64_t ms)
{
    char *p = out;
    uint64_t abs = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    if (ms < 0) {
        *p++ = '-';
    }
    p += tsdb_format_u64(p, abs / 1000);
    if (abs % 1000 != 0) {
        *p++ = '.';
        p += put_padded(p, abs % 1000, 3);
    }
    *p = '\0';
    return (size_t)(p - out);
}

struct civil {
    int64_t year;
    unsigned month; /* 1..12 */
    unsigned day;   /* 1..31 */
};

/* Years are counted from March, so that the leap day is the last of its year; 400 years are 146097
 * days. Source: H. Hinnant, "chrono-compatible low-level date algorithms". */
static int64_t days_from_civil(struct civil c)
{
    int64_t y = c.month <= 2 ? c.year - 1 : c.year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t month_from_march = (c.month + 9) % 12;
    int64_t day_of_year = (153 * month_from_march + 2) / 5 + c.day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static struct civil civil_from_days(int64_t days)
{
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    struct civil c;
    c.day = (unsigned)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    c.month = (unsigned)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    c.year = year_of_era + era * 400 + (c.month <= 2 ? 1 : 0);
    return c;
}

size_t tsdb_format_rfc3339_ms(char *out, int64_t ms)
{
    int64_t days = ms / MS_DAY;
    int64_t rest = ms % MS_DAY;
    if (rest < 0) {
        days--;
        rest += MS_DAY;
    }
    struct civil c = civil_from_days(days);
    char *p = out;
    if (c.year < 0) {
        *p++ = '-';
    }
    p += put_padded(p, (uint64_t)(c.year < 0 ? -c.year : c.year), 4);
    *p++ = '-';
    p += put_padded(p, c.month, 2);
    *p++ = '-';
    p += put_padded(p, c.day, 2);
    *p++ = 'T';
    p += put_padded(p, (uint64_t)(rest / MS_HOUR), 2);
    *p++ = ':';
    p += put_padded(p, (uint64_t)(rest / MS_MINUTE % 60), 2);
    *p++ = ':';
    p += put_padded(p, (uint64_t)(rest / MS_SECOND % 60), 2);
    if (rest % MS_SECOND != 0) {
        *p++ = '.';
        p += put_padded(p, (uint64_t)(rest % MS_SECOND), 3);
        while (p[-1] == '0') {
            p--;
        }
    }
    *p++ = 'Z';
    *p = '\0';
    return (size_t)(p - out);
}

/* Exactly `width` digits at s[*i], a number in [min, max]; moves *i. */
static bool scan_field(const char *s, size_t len, size_t *i, size_t width, unsigned min,
                       unsigned max, unsigned *out)
{
    unsigned v = 0;
    if (len - *i < width) {
        return false;
    }
    for (size_t end = *i + width; *i < end; (*i)++) {
        if (s[*i] < '0' || s[*i] > '9') {
            return false;
        }
        v = v * 10 + (unsigned)(s[*i] - '0');
    }
    *out = v;
    return v >= min && v <= max;
}

static bool scan_char(const char *s, size_t len, size_t *i, char c)
{
    if (*i < len && s[*i] == c) {
        (*i)++;
        return true;
    }
    return false;
}

static unsigned days_in_month(int64_t year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap ? 1u : 0u);
}

/* ".678": milliseconds, further digits cut off as Go's conversion does. */
static bool scan_fraction_ms(const char *s, size_t len, size_t *i, int64_t *out_ms)
{
    int64_t unit = 100;
    size_t begin = *i;
    *out_ms = 0;
    for (; *i < len && s[*i] >= '0' && s[*i] <= '9'; (*i)++) {
        *out_ms += unit * (s[*i] - '0');
        unit /= 10;
    }
    return *i > begin;
}

/* "Z" or "+hh:mm" at the end of s. Go lets 24 hours and 60 minutes pass. */
static bool scan_zone_ms(const char *s, size_t len, size_t i, int64_t *out_ms)
{
    unsigned hour;
    unsigned minute;
    *out_ms = 0;
    if (scan_char(s, len, &i, 'Z')) {
        return i == len;
    }
    bool west = i < len && s[i] == '-';
    if (!west && (i == len || s[i] != '+')) {
        return false;
    }
    i++;
    if (!scan_field(s, len, &i, 2, 0, 24, &hour) || !scan_char(s, len, &i, ':') ||
        !scan_field(s, len, &i, 2, 0, 60, &minute)) {
        return false;
    }
    *out_ms = ((int64_t)hour * 60 + minute) * MS_MINUTE * (west ? -1 : 1);
    return i == len;
}

/* Of one digit, too: Go's layout says "15", which takes both. */
static bool scan_hour(const char *s, size_t len, size_t *i, unsigned *out)
{
    bool one = *i + 1 < len && (s[*i + 1] < '0' || s[*i + 1] > '9');
    return scan_field(s, len, i, one ? 1 : 2, 0, 23, out);
}

bool tsdb_parse_rfc3339_ms(const char *s, size_t len, int64_t *out_ms)
{
    struct civil c;
    unsigned year;
    unsigned hour;
    unsigned minute;
    unsigned second;
    size_t i = 0;
    if (!scan_field(s, len, &i, 4, 0, 9999, &year) || !scan_char(s, len, &i, '-') ||
        !scan_field(s, len, &i, 2, 1, 12, &c.month) || !scan_char(s, len, &i, '-') ||
        !scan_field(s, len, &i, 2, 1, days_in_month(year, c.month), &c.day) ||
        !scan_char(s, len, &i, 'T') || !scan_hour(s, len, &i, &hour) ||
        !scan_char(s, len, &i, ':') || !scan_field(s, len, &i, 2, 0, 59, &minute) ||
        !scan_char(s, len, &i, ':') || !scan_field(s, len, &i, 2, 0, 59, &second)) {
        return false;
    }
    int64_t fraction_ms = 0;
    int64_t zone_ms = 0;
    if (((scan_char(s, len, &i, '.') || scan_char(s, len, &i, ',')) &&
         !scan_fraction_ms(s, len, &i, &fraction_ms)) ||
        !scan_zone_ms(s, len, i, &zone_ms)) {
        return false;
    }
    c.year = year;
    *out_ms = days_from_civil(c) * MS_DAY + hour * MS_HOUR + minute * MS_MINUTE +
              second * MS_SECOND + fraction_ms - zone_ms;
    return true;
}

/* ---- durations ---- */

struct unit {
    const char *name;
    int64_t ms;
    bool only_if_exact; /* "90d" reads easier than "12w6d" */
};
static const struct unit units[] = {
    {"y", MS_YEAR, true},    {"w", MS_WEEK, true},    {"d", MS_DAY, false}, {"h", MS_HOUR, false},
    {"m", MS_MINUTE, false}, {"s", MS_SECOND, false}, {"ms", 1, false},
};

/* Go keeps durations as int64 nanoseconds, so this is what it can hold. */
#define DURATION_MS_MAX (INT64_MAX / 1000000)

bool tsdb_parse_duration_ms(const char *s, size_t len, int64_t *out_ms)
{
    int64_t total = 0;
    size_t next_unit = 0; /* units come in falling order, each at most once */
    size_t i = 0;
    if (len == 0) {
        return false;
    }
    if (len == 1 && s[0] == '0') {
        *out_ms = 0;
        return true;
    }
    while (i < len) {
        size_t digits = i;
        while (i < len && s[i] >= '0' && s[i] <= '9') {
            i++;
        }
        uint64_t n;
        if (!tsdb_parse_u64(s + digits, i - digits, &n) || n > (uint64_t)DURATION_MS_MAX) {
            return false;
        }
        size_t letters = i;
        while (i < len && (s[i] < '0' || s[i] > '9')) {
            i++;
        }
        size_t u = next_unit;
        while (u < TSDB_ARRAY_LEN(units) &&
               (strlen(units[u].name) != i - letters ||
                memcmp(units[u].name, s + letters, i - letters) != 0)) {
            u++;
        }
        int64_t part;
        if (u == TSDB_ARRAY_LEN(units) || __builtin_mul_overflow((int64_t)n, units[u].ms, &part) ||
            part > DURATION_MS_MAX - total) {
            return false;
        }
        total += part;
        next_unit = u + 1;
    }
    *out_ms = total;
    return true;
}

size_t tsdb_format_duration_ms(char *out, int64_t ms)
{
    char *p = out;
    uint64_t left = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms;
    if (ms == 0) {
        memcpy(out, "0s", 3);
        return 2;
    }
    if (ms < 0) {
        *p++ = '-';
    }
    for (size_t u = 0; u < TSDB_ARRAY_LEN(units); u++) {
        uint64_t unit_ms = (uint64_t)units[u].ms;
        TSDB_ASSERT(unit_ms > 0);
        if (left < unit_ms || (units[u].only_if_exact && left % unit_ms != 0)) {
            continue;
        }
        p += tsdb_format_u64(p, left / unit_ms);
        size_t name_len = strlen(units[u].name);
        memcpy(p, units[u].name, name_len);
        p += name_len;
        left %= unit_ms;
    }
    *p = '\0';
    return (size_t)(p - out);
}
