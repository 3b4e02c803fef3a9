#include "compress/value_source.h"

#include "compress/value_codec_private.h"

void value_stats_make(const uint64_t *bits, uint32_t n, struct value_stats *out)
{
    struct value_stats s = {0};
    uint64_t last = 0;
    bool stale_before = false, started = false;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t v = bits[i];
        if (v == VALUE_STALE_BITS) {
            s.stale++;
            s.stale_runs += !stale_before;
            stale_before = true;
            continue;
        }
        s.changes += v != last || !started;
        s.all |= v;
        last = v;
        started = true;
        stale_before = false;
    }
    *out = s;
}

const uint64_t *value_source_next(struct value_source *s, uint32_t want, uint64_t *buf,
                                  uint32_t *got)
{
    uint32_t count = 0;
    if (!s->skip_stale && !s->skip_repeats) {
        const uint64_t *at = s->bits + s->pos;
        *got = s->n - s->pos < want ? s->n - s->pos : want;
        s->pos += *got;
        return at;
    }
    for (; count < want && s->pos < s->n; s->pos++) {
        uint64_t v = s->bits[s->pos];
        bool skip = (s->skip_stale && v == VALUE_STALE_BITS) ||
                    (s->skip_repeats && s->started && v == s->last);
        if (!skip) {
            buf[count++] = v;
            s->last = v;
            s->started = true;
        }
    }
    *got = count;
    return buf;
}
