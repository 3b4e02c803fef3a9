#include "base/alloc.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>
#ifdef TSDB_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

static const char *const category_names[TSDB_MEM_CATEGORY_COUNT] = {
    [TSDB_MEM_HEAD] = "head",   [TSDB_MEM_INDEX] = "index",   [TSDB_MEM_ALIAS] = "alias",
    [TSDB_MEM_WAL] = "wal",     [TSDB_MEM_INGEST] = "ingest", [TSDB_MEM_QUERY] = "query",
    [TSDB_MEM_CACHE] = "cache", [TSDB_MEM_SERVER] = "server", [TSDB_MEM_OTHER] = "other",
};

/* Each on a line of its own: owners, HTTP threads and queries account to different categories at
 * the same time. */
static struct {
    _Alignas(TSDB_CACHELINE) _Atomic(uint64_t) bytes;
} used[TSDB_MEM_CATEGORY_COUNT];

const char *tsdb_mem_category_name(enum tsdb_mem_category category)
{
    TSDB_ASSERT((unsigned)category < TSDB_MEM_CATEGORY_COUNT);
    return category_names[category];
}

/* ---- the allocator ---- */

#ifdef TSDB_JEMALLOC
/* Read by jemalloc before main. Dirty pages go back within about two seconds (the default is ten),
 * at once from there to the system. The thread that does it is asked for at run time, where it may be
 * refused: as an option here, a refusal would end the program. */
extern const char *malloc_conf;
const char *malloc_conf = "dirty_decay_ms:2000,muzzy_decay_ms:0";
#endif

bool tsdb_alloc_background(void)
{
#ifdef TSDB_JEMALLOC
    bool on = true;
    return mallctl("background_thread", NULL, NULL, &on, sizeof on) == 0;
#else
    return false;
#endif
}

#define TEXT_OF(x)  #x
#define VALUE_OF(x) TEXT_OF(x)
void tsdb_alloc_give_back(void)
{
#ifdef TSDB_JEMALLOC
    (void)mallctl("arena." VALUE_OF(MALLCTL_ARENAS_ALL) ".purge", NULL, NULL, NULL, 0);
#endif
}

/* ---- tables ---- */

/* malloc aligns to 16 where the block is that large; jemalloc gives a block of 8 bytes an alignment
 * of 8 (measured). */
#define ALIGN_DEFAULT ((size_t)16)
static size_t at_least_aligned(size_t bytes)
{
    return bytes < ALIGN_DEFAULT ? ALIGN_DEFAULT : bytes;
}

static void *real_alloc(void *ctx, size_t align, size_t bytes)
{
    (void)ctx;
    if (align <= ALIGN_DEFAULT) {
        return malloc(at_least_aligned(bytes));
    }
    void *p = NULL;
    return posix_memalign(&p, align, bytes) == 0 ? p : NULL;
}

static void *real_realloc(void *ctx, void *p, size_t bytes_new)
{
    (void)ctx;
    return realloc(p, at_least_aligned(bytes_new));
}

static void real_free(void *ctx, void *p)
{
    (void)ctx;
    free(p);
}

static const struct tsdb_alloc_ops real_ops = {real_alloc, real_realloc, real_free, NULL};

static struct {
    _Atomic(uint64_t) seen;
    uint64_t nth;
    int sticky;
} faulty;

static int faulty_says_no(void)
{
    uint64_t n = atomic_fetch_add_explicit(&faulty.seen, 1, memory_order_relaxed) + 1;
    return faulty.nth != 0 && (n == faulty.nth || (faulty.sticky && n > faulty.nth));
}

static void *faulty_alloc(void *ctx, size_t align, size_t bytes)
{
    return faulty_says_no() ? NULL : real_alloc(ctx, align, bytes);
}

static void *faulty_realloc(void *ctx, void *p, size_t bytes_new)
{
    return faulty_says_no() ? NULL : real_realloc(ctx, p, bytes_new);
}

static const struct tsdb_alloc_ops faulty_ops = {faulty_alloc, faulty_realloc, real_free, NULL};

static const struct tsdb_alloc_ops *table = &real_ops;

void tsdb_alloc_ops_set(const struct tsdb_alloc_ops *ops)
{
    table = ops ? ops : &real_ops;
    atomic_store_explicit(&faulty.seen, 0, memory_order_relaxed);
}

void tsdb_alloc_fail_nth(uint64_t nth, int sticky)
{
    faulty.nth = nth;
    faulty.sticky = sticky;
    tsdb_alloc_ops_set(&faulty_ops);
}

uint64_t tsdb_alloc_fail_count(void)
{
    return atomic_load_explicit(&faulty.seen, memory_order_relaxed);
}

/* ---- allocation ---- */

void tsdb_mem_note(enum tsdb_mem_category category, int64_t bytes)
{
    TSDB_ASSERT((unsigned)category < TSDB_MEM_CATEGORY_COUNT);
    atomic_fetch_add_explicit(&used[category].bytes, (uint64_t)bytes, memory_order_relaxed);
}

uint64_t tsdb_mem_used(enum tsdb_mem_category category)
{
    TSDB_ASSERT((unsigned)category < TSDB_MEM_CATEGORY_COUNT);
    return atomic_load_explicit(&used[category].bytes, memory_order_relaxed);
}

static void *alloc_and_note(enum tsdb_mem_category category, size_t align, size_t bytes)
{
    /* Beyond PTRDIFF_MAX no object can be, and int64_t accounting would turn negative. */
    if (bytes == 0 || bytes > PTRDIFF_MAX) {
        return NULL;
    }
    void *p = table->alloc(table->ctx, align, bytes);
    if (p) {
        tsdb_mem_note(category, (int64_t)bytes);
    }
    return p;
}

void *tsdb_mem_alloc(enum tsdb_mem_category category, size_t bytes)
{
    return alloc_and_note(category, 0, bytes);
}

void *tsdb_mem_alloc_zero(enum tsdb_mem_category category, size_t bytes)
{
    if (table == &real_ops && bytes > 0 && bytes <= PTRDIFF_MAX) {
        /* calloc knows which pages are fresh from the kernel and need no clearing. */
        void *zero = calloc(1, at_least_aligned(bytes));
        if (zero) {
            tsdb_mem_note(category, (int64_t)bytes);
        }
        return zero;
    }
    void *p = alloc_and_note(category, 0, bytes);
    if (p) {
        memset(p, 0, bytes);
    }
    return p;
}

void *tsdb_mem_alloc_aligned(enum tsdb_mem_category category, size_t align, size_t bytes)
{
    TSDB_ASSERT(align >= 16);
    TSDB_ASSERT((align & (align - 1)) == 0);
    return alloc_and_note(category, align, bytes);
}

void *tsdb_mem_realloc(enum tsdb_mem_category category, void *p, size_t bytes_old, size_t bytes_new)
{
    TSDB_ASSERT(p || bytes_old == 0);
    TSDB_ASSERT(bytes_new > 0);
    if (!p) {
        return alloc_and_note(category, 0, bytes_new);
    }
    if (bytes_new > PTRDIFF_MAX) {
        return NULL;
    }
    void *q = table->realloc(table->ctx, p, bytes_new);
    if (q) {
        tsdb_mem_note(category, (int64_t)bytes_new - (int64_t)bytes_old);
    }
    return q;
}

void tsdb_mem_free(enum tsdb_mem_category category, void *p, size_t bytes)
{
    if (p) {
        tsdb_mem_note(category, -(int64_t)bytes);
        table->free(table->ctx, p);
    }
}

/* ---- accounts ---- */

void tsdb_account_init(struct tsdb_account *a, uint64_t limit_bytes, struct tsdb_account *parent)
{
    atomic_init(&a->used_bytes, 0);
    atomic_init(&a->peak_bytes, 0);
    atomic_init(&a->refusals, 0);
    atomic_init(&a->refusals_above, 0);
    a->limit_bytes = limit_bytes;
    a->parent = parent;
}

/* Charge one account. A compare-and-swap and not add-then-undo: an overshoot that is about to be
 * undone must not make a neighbour's small charge fail. Relaxed: the number orders nothing else. */
static int account_charge_one(struct tsdb_account *a, uint64_t bytes)
{
    uint64_t now = atomic_load_explicit(&a->used_bytes, memory_order_relaxed);
    do {
        if (a->limit_bytes != 0 && (now > a->limit_bytes || bytes > a->limit_bytes - now)) {
            atomic_fetch_add_explicit(&a->refusals, 1, memory_order_relaxed);
            return 0;
        }
    } while (!atomic_compare_exchange_weak_explicit(&a->used_bytes, &now, now + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    uint64_t peak = atomic_load_explicit(&a->peak_bytes, memory_order_relaxed);
    while (peak < now + bytes &&
           !atomic_compare_exchange_weak_explicit(&a->peak_bytes, &peak, now + bytes,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
    return 1;
}

static void account_release_one(struct tsdb_account *a, uint64_t bytes)
{
    uint64_t before = atomic_fetch_sub_explicit(&a->used_bytes, bytes, memory_order_relaxed);
    TSDB_ASSERT(before >= bytes);
}

enum tsdb_status tsdb_account_charge(struct tsdb_account *a, uint64_t bytes)
{
    for (struct tsdb_account *up = a; up; up = up->parent) {
        if (!account_charge_one(up, bytes)) {
            for (struct tsdb_account *undo = a; undo != up; undo = undo->parent) {
                account_release_one(undo, bytes);
                atomic_fetch_add_explicit(&undo->refusals_above, 1, memory_order_relaxed);
            }
            return TSDB_LIMIT;
        }
    }
    return TSDB_OK;
}

static void count_refusal(struct tsdb_account *a, const struct tsdb_account *by)
{
    for (; a != by; a = a->parent) {
        atomic_fetch_add_explicit(&a->refusals_above, 1, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&a->refusals, 1, memory_order_relaxed);
}

bool tsdb_account_foresees(struct tsdb_account *a, uint64_t bytes)
{
    for (const struct tsdb_account *up = a; up; up = up->parent) {
        uint64_t now = atomic_load_explicit(&up->used_bytes, memory_order_relaxed);
        if (up->limit_bytes != 0 && (now > up->limit_bytes || bytes > up->limit_bytes - now)) {
            count_refusal(a, up);
            return true;
        }
    }
    return false;
}

uint64_t tsdb_account_left(const struct tsdb_account *a)
{
    uint64_t left = UINT64_MAX;
    for (; a; a = a->parent) {
        uint64_t now = atomic_load_explicit(&a->used_bytes, memory_order_relaxed);
        if (a->limit_bytes != 0) {
            left = TSDB_MIN(left, a->limit_bytes - TSDB_MIN(now, a->limit_bytes));
        }
    }
    return left;
}

void tsdb_account_release(struct tsdb_account *a, uint64_t bytes)
{
    for (; a; a = a->parent) {
        account_release_one(a, bytes);
    }
}

enum tsdb_status tsdb_account_move(struct tsdb_account *a, struct tsdb_account *parent)
{
    uint64_t held = atomic_load_explicit(&a->used_bytes, memory_order_relaxed);
    if (a->parent == parent) {
        return TSDB_OK;
    }
    enum tsdb_status status = tsdb_account_charge(parent, held);
    if (status == TSDB_OK) {
        tsdb_account_release(a->parent, held);
        a->parent = parent;
    }
    return status;
}
