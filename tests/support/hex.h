/* Bytes as a test writes them down. */
#ifndef TESTS_SUPPORT_HEX_H
#define TESTS_SUPPORT_HEX_H

#include <stddef.h>
#include <stdint.h>

/* "0a1b..." in lower case, with an even number of digits, into out. Returns the number of bytes. */
static inline size_t test_hex(const char *s, uint8_t *out)
{
    size_t n = 0;
    for (; s[2 * n]; n++) {
        unsigned v = 0;
        for (size_t k = 0; k < 2; k++) {
            char c = s[2 * n + k];
            v = v << 4 | (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        out[n] = (uint8_t)v;
    }
    return n;
}

#endif
