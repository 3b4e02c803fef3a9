#include "tsdb/engine/written.h"

#include "base/assert.h"

#include <math.h>

#define ROUND_MS 1000
/* An owner changes a few words at a time; who meets it so often in a row does without an answer. */
#define TRIES 1000u

/* Release and acquire on every field: a reader that sees one of a change sees the odd sequence before it,
 * and so finds the sequence changed. No fences, which ThreadSanitizer does not know. */
static void mark_put(struct written_mark *m, uint64_t number, int64_t least_ms)
{
    atomic_store_explicit(&m->number, number, memory_order_release);
    atomic_store_explicit(&m->least_ms, least_ms, memory_order_release);
}

static void mark_copy(struct written_mark *to, const struct written_mark *from, uint64_t number)
{
    mark_put(to, number, atomic_load_explicit(&from->least_ms, memory_order_relaxed));
}

static uint64_t mark_number(const struct written_mark *m)
{
    return atomic_load_explicit(&m->number, memory_order_acquire);
}

static double mark_least(const struct written_mark *m)
{
    return (double)atomic_load_explicit(&m->least_ms, memory_order_relaxed);
}

/* Full: two neighbours become one, with the earlier time of the first and the number of the second. Those
 * whose answers get coarser by the least, beside how long ago they are. */
static void thin(struct written *w, int64_t now_ms)
{
    uint32_t best = 0;
    double best_cost = (double)INFINITY;
    for (uint32_t i = 0; i + 2 < WRITTEN_MARKS; i++) {
        double least_ms = mark_least(&w->marks[i]);
        double cost =
            (mark_least(&w->marks[i + 2]) - least_ms) / ((double)now_ms - least_ms + ROUND_MS);
        if (cost < best_cost) {
            best_cost = cost;
            best = i;
        }
    }
    mark_copy(&w->marks[best], &w->marks[best], mark_number(&w->marks[best + 1]));
    for (uint32_t i = best + 1; i + 1 < WRITTEN_MARKS; i++) {
        mark_copy(&w->marks[i], &w->marks[i + 1], mark_number(&w->marks[i + 1]));
    }
    atomic_store_explicit(&w->count, WRITTEN_MARKS - 1, memory_order_release);
}

static int64_t round_down(int64_t t_ms)
{
    int64_t over = t_ms % ROUND_MS;
    over += over < 0 ? ROUND_MS : 0;
    return t_ms < INT64_MIN + ROUND_MS ? INT64_MIN : t_ms - over;
}

void written_note(struct written *w, int64_t least_ms)
{
    uint32_t sequence = atomic_load_explicit(&w->sequence, memory_order_relaxed);
    uint64_t number = atomic_load_explicit(&w->number, memory_order_relaxed) + 1;
    int64_t rounded_ms = round_down(least_ms);
    atomic_store_explicit(&w->sequence, sequence + 1, memory_order_relaxed);
    uint32_t count = atomic_load_explicit(&w->count, memory_order_relaxed);
    while (count > 0 && atomic_load_explicit(&w->marks[count - 1].least_ms, memory_order_relaxed) >=
                            rounded_ms) {
        count--;
    }
    if (count == WRITTEN_MARKS) {
        thin(w, rounded_ms);
        count = atomic_load_explicit(&w->count, memory_order_relaxed);
    }
    TSDB_ASSERT(count < WRITTEN_MARKS);
    mark_put(&w->marks[count], number, rounded_ms);
    atomic_store_explicit(&w->count, count + 1, memory_order_release);
    atomic_store_explicit(&w->sequence, sequence + 2, memory_order_release);
    /* Partner: written_number. */
    atomic_store_explicit(&w->number, number, memory_order_release);
}

uint64_t written_number(const struct written *w)
{
    return atomic_load_explicit(&w->number, memory_order_acquire);
}

static int64_t look(const struct written *w, uint64_t number)
{
    uint32_t low = 0;
    uint32_t high = atomic_load_explicit(&w->count, memory_order_acquire);
    high = TSDB_MIN(high, WRITTEN_MARKS);
    uint32_t count = high;
    while (low < high) { /* the first with a higher number */
        uint32_t middle = low + (high - low) / 2;
        if (mark_number(&w->marks[middle]) > number) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low < count ? atomic_load_explicit(&w->marks[low].least_ms, memory_order_acquire)
                       : INT64_MAX;
}

int64_t written_least_since(const struct written *w, uint64_t number)
{
    for (uint32_t i = 0; i < TRIES; i++) {
        uint32_t before = atomic_load_explicit(&w->sequence, memory_order_acquire);
        int64_t least_ms = look(w, number);
        if (before % 2 == 0 && before == atomic_load_explicit(&w->sequence, memory_order_relaxed)) {
            return least_ms;
        }
    }
    return INT64_MIN;
}
