#include "server/parts/refusals.h"

#include "base/log.h"

static uint32_t mix(uint32_t h, const char *s)
{
    for (; *s; s++) {
        h = (h ^ (uint8_t)*s) *
            16777619u; /* FNV-1a: nobody gains by a collision but a silent log */
    }
    return (h ^ 0xffu) * 16777619u;
}

bool refusals_log(struct refusals *r, int64_t now_ns, const char *sender, const char *reason,
                  uint64_t refused, const char *text)
{
    uint32_t hash = mix(mix(2166136261u, sender), reason);
    struct refusals_place *p = &r->places[(hash ^ hash >> 16) & (REFUSALS_PLACES - 1)];
    int64_t next = atomic_load(&p->next_ns);
    if (next > now_ns ||
        !atomic_compare_exchange_strong(&p->next_ns, &next, now_ns + REFUSALS_INTERVAL_NS)) {
        atomic_fetch_add(&p->silent, 1);
        return false;
    }
    uint64_t silent = atomic_exchange(&p->silent, 0);
    tsdb_log(TSDB_LOG_WARN, "write", "samples refused", TSDB_S("reason", reason),
             TSDB_S("sender", sender), TSDB_U("samples", refused), TSDB_U("more_requests", silent),
             TSDB_S("err", text));
    return true;
}
