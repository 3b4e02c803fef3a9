/* Sleep on a word until somebody changes it and says so (futex(2), within the process). */
#ifndef BASE_FUTEX_H
#define BASE_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/* Returns at once where *word is not `value`, else when woken, interrupted, or after timeout_ns (<0: none): in every
 * case the caller looks again. */
void tsdb_futex_wait(_Atomic(uint32_t) *word, uint32_t value, int64_t timeout_ns);
/* One of those who sleep. The word may be gone meanwhile: then nobody is, or somebody wakes for nothing. */
void tsdb_futex_wake_one(_Atomic(uint32_t) *word);

#endif
