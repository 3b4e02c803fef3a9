#include "tsdb/block/ulid.h"

#include <string.h>

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* 26 digits of 5 bits are 130 bits: the first digit holds three. */
void ulid_format(uint64_t wall_ms, const uint64_t random[2], char *out)
{
    uint64_t high = (wall_ms > ULID_TIME_MS_MAX ? ULID_TIME_MS_MAX : wall_ms) << 16;
    uint64_t low = random[1];
    high |= random[0] & 0xffff;
    for (int i = ULID_CHARS - 1; i >= 0; i--) {
        out[i] = digits[low & 31];
        low = low >> 5 | high << 59;
        high >>= 5;
    }
    out[ULID_CHARS] = 0;
}

bool ulid_valid(const char *s)
{
    return strlen(s) == ULID_CHARS && strspn(s, digits) == ULID_CHARS && s[0] <= '7';
}

uint64_t ulid_time_ms(const char *s)
{
    uint64_t ms = 0;
    for (int i = 0; i < 10; i++) {
        ms = ms << 5 | (uint64_t)(strchr(digits, s[i]) - digits);
    }
    return ms;
}
