/* meta.json of a Prometheus block. Of what is read only these members count; others (Thanos's,
 * hints, parents) are skipped. Threads: pure. */
#ifndef TOOLS_PROM_META_H
#define TOOLS_PROM_META_H

#include "base/bytes.h"
#include "base/status.h"

#include <stdbool.h>

#define PROM_ULID_CHARS     26u
#define PROM_META_BYTES_MAX (16u << 20) /* Thanos lists files and deletions in it */

struct prom_meta {
    char ulid[PROM_ULID_CHARS + 1];
    int64_t t_min, t_max; /* [t_min, t_max) ms */
    uint64_t samples, float_samples, histogram_samples, series, chunks, tombstones;
    int64_t level;
    bool out_of_order; /* of late samples: its end says nothing about the head's begin */
};

/* Are these the characters of a ULID (26, Crockford's base 32, upper case)? */
bool prom_ulid_valid(const char *s, size_t len);
/* As Prometheus writes it, for a block whose only source is itself. */
void prom_meta_print(const struct prom_meta *meta, struct tsdb_buf *out);
/* CORRUPT (err->pos = byte); UNSUPPORTED: a version other than 1. */
enum tsdb_status prom_meta_parse(const uint8_t *src, size_t len, struct prom_meta *out,
                                 struct tsdb_error *err) TSDB_WUR;

#endif
