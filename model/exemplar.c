#include "model/exemplar.h"

#include "base/limits.h"

static uint64_t utf8_chars(const char *s, uint32_t len)
{
    uint64_t chars = 0;
    for (uint32_t i = 0; i < len; i++) {
        chars += ((uint8_t)s[i] & 0xc0) != 0x80;
    }
    return chars;
}

/* Quadratic, and bounded: names are not empty, so that there are at most
 * TSDB_EXEMPLAR_LABEL_CHARS_MAX of them. */
static bool names_are_unique(const struct tsdb_labels *labels)
{
    for (uint32_t i = 1; i < labels->count; i++) {
        const struct tsdb_label *a = &labels->items[i];
        for (uint32_t j = 0; j < i; j++) {
            const struct tsdb_label *b = &labels->items[j];
            if (tsdb_str_compare(a->name, a->name_len, b->name, b->name_len) == 0) {
                return false;
            }
        }
    }
    return true;
}

enum tsdb_status tsdb_exemplar_validate(const struct tsdb_exemplar *e, struct tsdb_error *err)
{
    uint64_t chars = 0;
    for (uint32_t i = 0; i < e->labels.count; i++) {
        const struct tsdb_label *l = &e->labels.items[i];
        if (l->name_len == 0) {
            return tsdb_error_set(err, TSDB_INVALID, "invalid exemplar: empty label name");
        }
        if (!tsdb_utf8_valid(l->name, l->name_len) || !tsdb_utf8_valid(l->value, l->value_len)) {
            return tsdb_error_set(err, TSDB_INVALID,
                                  "invalid exemplar: label %u is not valid UTF-8", i);
        }
        chars += utf8_chars(l->name, l->name_len) + utf8_chars(l->value, l->value_len);
        if (chars > TSDB_EXEMPLAR_LABEL_CHARS_MAX) {
            return tsdb_error_set(
                err, TSDB_INVALID,
                "label length for exemplar exceeds maximum of %d UTF-8 characters",
                TSDB_EXEMPLAR_LABEL_CHARS_MAX);
        }
    }
    if (!names_are_unique(&e->labels)) {
        return tsdb_error_set(err, TSDB_INVALID, "invalid exemplar: label names are not unique");
    }
    return TSDB_OK;
}
