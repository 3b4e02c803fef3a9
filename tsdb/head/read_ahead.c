/* Memory of series that are read soon. A series is read through a chain of cold lines: hot struct,
 * tail and list, the chunks of the list. Each stage needs what the one before has brought. */
#include "tsdb/head/head_private.h"

#define LINE_BYTES 64u
#define TAIL_LINES 6u /* of a tail: its head and the most of what it has */

void head_read_ahead_hot(const struct head_partition *p, uint32_t local)
{
    __builtin_prefetch(head_hot(p, local));
}

void head_read_ahead_pieces(const struct head_partition *p, uint32_t local)
{
    const struct head_series *s = head_hot(p, local);
    /* Acquire, both: partners are the releases in tail.c; nothing is read through them here. */
    const char *tail =
        (const char *)head_word_tail(atomic_load_explicit(&s->tail, memory_order_acquire));
    const struct head_list *list =
        atomic_load_explicit(&head_bundle(p, local)->chunks, memory_order_acquire);
    for (uint32_t i = 0; tail && i < TAIL_LINES; i++) {
        __builtin_prefetch(tail + (size_t)i * LINE_BYTES);
    }
    if (list) {
        __builtin_prefetch(list);
    }
}

void head_read_ahead_chunks(const struct head_partition *p, uint32_t local)
{
    /* Acquire, both: partner is the owner's release of a list and of its length. */
    struct head_list *list =
        atomic_load_explicit(&head_bundle(p, local)->chunks, memory_order_acquire);
    uint32_t count = list ? atomic_load_explicit(&list->count, memory_order_acquire) : 0;
    for (uint32_t i = count > 3 ? count - 3 : 0; i < count; i++) {
        __builtin_prefetch(head_list_at(list, i));
    }
}

void head_read_ahead_newest(const struct head_partition *p, uint32_t local)
{
    const struct head_series *s = head_hot(p, local);
    /* Relaxed: an address to fetch, which a prefetch may not even find; of a series without samples near 0. */
    uint64_t word = atomic_load_explicit(&s->tail, memory_order_relaxed);
    uintptr_t tail = (uintptr_t)head_word_tail(word);
    __builtin_prefetch((const void *)tail);
}
