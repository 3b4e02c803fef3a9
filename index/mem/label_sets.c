/* Sets of pairs, stored as what differs from an earlier one. The layout: index_mem_private.h. */
#include "base/assert.h"
#include "index/mem/index_mem_private.h"

#include <string.h>

enum set_kind {
    SET_WHOLE = 0,
    SET_NARROW,
    SET_WIDE,
    SET_OTHER
};
#define KIND_SHIFT  30u
#define VALUE_MASK  ((1u << KIND_SHIFT) - 1)
#define NARROW_BITS 16u
static_assert(INDEX_SET_BASED <= 1u << (32 - INDEX_HANDLE_BITS), "a place and a pair fit a word");
/* A base that shares so many pairs less than the last series did is one of another target. */
#define BASE_LOST 2u

struct difference {
    uint32_t own, left_out;
    uint32_t own_count;
};

static const uint32_t *set_at(const struct index_mem *ix, uint32_t set)
{
    return index_pages_at(&ix->sets, set);
}

/* Both are in order of the names, so that pairs that both have are in the same order. */
static struct difference difference_of(const uint32_t *base, uint32_t base_count,
                                       const uint32_t *pairs, uint32_t count)
{
    struct difference d = {0};
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = at;
        while (k < base_count && base[k] != pairs[i]) {
            k++;
        }
        if (k == base_count) {
            d.own |= 1u << i;
            d.own_count++;
            continue;
        }
        for (; at < k; at++) {
            d.left_out |= 1u << at;
        }
        at = k + 1;
    }
    for (; at < base_count; at++) {
        d.left_out |= 1u << at;
    }
    return d;
}

static enum tsdb_status words_alloc(struct index_mem *ix, uint32_t count, uint32_t **out_words,
                                    uint32_t *out_set)
{
    void *piece;
    enum tsdb_status status =
        index_pages_alloc(&ix->sets, count * sizeof(uint32_t), &piece, out_set);
    if (status == TSDB_OK) {
        *out_words = piece;
    }
    return status;
}

static enum tsdb_status whole_add(struct index_mem *ix, const uint32_t *pairs, uint32_t count,
                                  uint32_t *out_set)
{
    uint32_t *words;
    enum tsdb_status status = words_alloc(ix, count + 1, &words, out_set);
    if (status == TSDB_OK) {
        words[0] = count;
        memcpy(words + 1, pairs, count * sizeof *pairs);
    }
    return status;
}

static enum tsdb_status based_add(struct index_mem *ix, const uint32_t *pairs,
                                  const struct difference *d, bool narrow, uint32_t *out_set)
{
    uint32_t *words;
    enum tsdb_status status = words_alloc(ix, 3 - narrow + d->own_count, &words, out_set);
    if (status != TSDB_OK) {
        return status;
    }
    *words++ = (uint32_t)(narrow ? SET_NARROW : SET_WIDE) << KIND_SHIFT | ix->base;
    *words++ = narrow ? d->own | d->left_out << NARROW_BITS : d->own;
    if (!narrow) {
        *words++ = d->left_out;
    }
    for (uint32_t own = d->own; own != 0; own &= own - 1) {
        *words++ = pairs[__builtin_ctz(own)];
    }
    return TSDB_OK;
}

static bool is_other(const struct difference *d)
{
    return d->own_count == 1 && d->own == d->left_out;
}

static enum tsdb_status other_add(struct index_mem *ix, const uint32_t *pairs,
                                  const struct difference *d, uint32_t *out_set)
{
    uint32_t *words;
    enum tsdb_status status = words_alloc(ix, 2, &words, out_set);
    if (status == TSDB_OK) {
        uint32_t place = (uint32_t)__builtin_ctz(d->own);
        words[0] = (uint32_t)SET_OTHER << KIND_SHIFT | ix->base;
        words[1] = place << INDEX_HANDLE_BITS | pairs[place];
    }
    return status;
}

enum tsdb_status index_set_add(struct index_mem *ix, const uint32_t *pairs, uint32_t count,
                               uint32_t differ, uint32_t *out_set, uint32_t *out_base)
{
    *out_base = ix->base;
    if (count == 0) {
        *out_set = INDEX_NONE;
        return TSDB_OK;
    }
    if (count <= INDEX_SET_BASED && ix->base != INDEX_NONE) {
        const uint32_t *base = set_at(ix, ix->base);
        struct difference d = difference_of(base + 1, base[0], pairs, count);
        bool narrow = TSDB_MAX(count, base[0]) <= NARROW_BITS;
        if (is_other(&d)) {
            return other_add(ix, pairs, &d, out_set);
        }
        if (3 - narrow + d.own_count <= count && d.own_count < differ + BASE_LOST) {
            return based_add(ix, pairs, &d, narrow, out_set);
        }
    }
    enum tsdb_status status = whole_add(ix, pairs, count, out_set);
    if (status == TSDB_OK && count <= INDEX_SET_BASED) {
        *out_base = *out_set;
    }
    return status;
}

/* As __builtin_popcount, which is a call where the instruction may be missing. */
static inline uint32_t bits_count(uint32_t v)
{
    v -= v >> 1 & 0x55555555u;
    v = (v & 0x33333333u) + (v >> 2 & 0x33333333u);
    return ((v + (v >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}

/* `own` and `base` merged by their places, the first `cap`. */
static uint32_t based_read(const uint32_t *base, struct difference d, const uint32_t *own,
                           uint32_t *pairs, uint32_t cap)
{
    uint32_t count = base[0] - bits_count(d.left_out) + bits_count(d.own);
    uint32_t n = TSDB_MIN(count, cap);
    base++;
    for (uint32_t i = 0; i < n; i++) {
        if (d.own >> i & 1) {
            pairs[i] = *own++;
            continue;
        }
        for (; d.left_out & 1; d.left_out >>= 1) {
            base++;
        }
        pairs[i] = *base++;
        d.left_out >>= 1;
    }
    return count;
}

static uint32_t whole_read(const uint32_t *words, uint32_t *pairs, uint32_t cap)
{
    if (cap > 0) {
        memcpy(pairs, words + 1, TSDB_MIN(words[0], cap) * sizeof *pairs);
    }
    return words[0];
}

static uint32_t other_read(const uint32_t *base, uint32_t other, uint32_t *pairs, uint32_t cap)
{
    uint32_t place = other >> INDEX_HANDLE_BITS;
    uint32_t count = whole_read(base, pairs, cap);
    if (place < cap) {
        pairs[place] = other & INDEX_HANDLE_MAX;
    }
    return count;
}

uint32_t index_set_read(const struct index_mem *ix, uint32_t set, uint32_t *pairs, uint32_t cap)
{
    if (set == INDEX_NONE) {
        return 0;
    }
    const uint32_t *words = set_at(ix, set);
    uint32_t value = words[0] & VALUE_MASK;
    enum set_kind kind = (enum set_kind)(words[0] >> KIND_SHIFT);
    if (kind == SET_WHOLE) {
        return whole_read(words, pairs, cap);
    }
    if (kind == SET_OTHER) {
        return other_read(set_at(ix, value), words[1], pairs, cap);
    }
    bool narrow = kind == SET_NARROW;
    struct difference d = {.own = words[1], .left_out = words[2 - narrow]};
    if (narrow) {
        d.own &= (1u << NARROW_BITS) - 1;
        d.left_out >>= NARROW_BITS;
    }
    return based_read(set_at(ix, value), d, words + 3 - narrow, pairs, cap);
}

void index_set_prefetch(const struct index_mem *ix, uint32_t set)
{
    if (set != INDEX_NONE) {
        __builtin_prefetch(set_at(ix, set));
    }
}

void index_set_prefetch_base(const struct index_mem *ix, uint32_t set)
{
    if (set != INDEX_NONE) {
        uint32_t head = *set_at(ix, set);
        if (head >> KIND_SHIFT != SET_WHOLE) {
            __builtin_prefetch(set_at(ix, head & VALUE_MASK));
        }
    }
}
