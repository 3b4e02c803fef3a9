/* The alias table: keyed hash of the raw label bytes as senders write them -> series ref and
 * generation. The 88 bits of it that count here, with a secret key, are trusted: at 10^7 series a
 * collision has probability 10^-13.
 *
 *   stripe[hash >> 120] ─ slots ─ entries, open addressing: { lo | ref | generation | 16 bits of hi }
 *
 * 256 stripes; an entry is 16 bytes, two atomic words, lo written last with release (0 = free; a
 * hash with lo 0 is stored as 1). An entry's place follows from the high bits of lo by a
 * multiplication, so that tables have any size and grow by about a fifth, in the order of the old one: 20
 * to 24 bytes an alias. Entries are never moved or removed within a table; growing, and sweeping out
 * those of series that have left, builds a new one, publishes it and retires the old (epoch). An alias
 * whose generation is out of date is overwritten in place.
 *
 * Threads: find any, under a guard; prefetch any; put any, under the stripe's lock (ALIAS_STRIPE).
 */
#ifndef TSDB_ENGINE_ALIAS_H
#define TSDB_ENGINE_ALIAS_H

#include "base/epoch.h"
#include "base/hash.h"
#include "tsdb/tsdb.h"

struct alias_table;
/* aliases_max: beyond, new aliases are not entered (the slow path still finds the series). */
enum tsdb_status alias_table_create(struct tsdb_epoch *epoch, uint64_t aliases_max,
                                    struct alias_table **out) TSDB_WUR;
void alias_table_destroy(struct alias_table *t);
void alias_prefetch(const struct alias_table *t, struct tsdb_hash128 h);
struct tsdb_alias_hit alias_find(const struct alias_table *t, struct tsdb_hash128 h);
#define ALIAS_GENERATION_MAX UINT16_MAX
/* Enter or overwrite. Failing for lack of memory is harmless and silent: the slow path remains. */
void alias_put(struct alias_table *t, struct tsdb_hash128 h, tsdb_series_ref ref,
               uint32_t generation);
/* Take out aliases whose series is not `wanted`. Without memory they stay. Any thread, no guard. */
typedef bool (*alias_wanted_fn)(void *arg, tsdb_series_ref ref);
void alias_sweep(struct alias_table *t, alias_wanted_fn wanted, void *arg);
uint64_t alias_count(const struct alias_table *t);

#endif
