#include "server/parts/asked.h"

#include "base/alloc.h"

#include <string.h>

#define NAME_LABEL "__name__"
#define CAP_FIRST  64

void asked_init(struct asked *a, uint32_t max) TSDB_NO_TSA
{
    *a = (struct asked){.max = max};
    tsdb_mutex_init(&a->lock, TSDB_RANK_SERVER_QUEUE, "asked-metrics");
}

void asked_deinit(struct asked *a) TSDB_NO_TSA
{
    for (uint32_t i = 0; i < a->count; i++) {
        tsdb_mem_free(TSDB_MEM_SERVER, a->list[i].text, a->list[i].text_bytes);
    }
    tsdb_mem_free(TSDB_MEM_SERVER, a->list, a->cap * sizeof *a->list);
    tsdb_mutex_deinit(&a->lock);
}

static int compare(const struct asked_name *n, bool is_regex, const char *text, uint32_t bytes)
{
    if (n->is_regex != is_regex) {
        return n->is_regex ? 1 : -1;
    }
    int order = memcmp(n->text, text, TSDB_MIN(n->text_bytes, bytes));
    return order != 0 ? order : (n->text_bytes > bytes) - (n->text_bytes < bytes);
}

/* Where it is, or belongs. */
static uint32_t find_locked(const struct asked *a, bool is_regex, const char *text, uint32_t bytes,
                            bool *out_found) TSDB_REQUIRES(a->lock)
{
    uint32_t low = 0;
    uint32_t high = a->count;
    *out_found = false;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = compare(&a->list[middle], is_regex, text, bytes);
        if (order == 0) {
            *out_found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool grow_locked(struct asked *a) TSDB_REQUIRES(a->lock)
{
    if (a->count < a->cap) {
        return true;
    }
    uint32_t cap = TSDB_MIN(a->cap > 0 ? a->cap * 2 : CAP_FIRST, a->max);
    struct asked_name *list =
        tsdb_mem_realloc(TSDB_MEM_SERVER, a->list, a->cap * sizeof *a->list, cap * sizeof *a->list);
    if (list) {
        a->list = list;
        a->cap = cap;
    }
    return list != NULL;
}

static bool insert_locked(struct asked *a, uint32_t at, bool is_regex, const char *text,
                          uint32_t bytes) TSDB_REQUIRES(a->lock)
{
    if (a->count >= a->max || bytes > ASKED_NAME_BYTES_MAX || !grow_locked(a)) {
        return false;
    }
    char *copy = tsdb_mem_alloc(TSDB_MEM_SERVER, bytes);
    if (!copy) {
        return false;
    }
    memcpy(copy, text, bytes);
    memmove(&a->list[at + 1], &a->list[at], (a->count - at) * sizeof *a->list);
    a->list[at] = (struct asked_name){.text = copy, .text_bytes = bytes, .is_regex = is_regex};
    a->count++;
    return true;
}

/* The matcher that tells which metrics: an equality before a regular expression. */
static const struct tsdb_matcher *name_matcher(const struct tsdb_matcher *matchers, uint32_t count)
{
    const struct tsdb_matcher *found = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const struct tsdb_matcher *m = &matchers[i];
        bool tells = m->value_len > 0 && m->name_len == sizeof NAME_LABEL - 1 &&
                     memcmp(m->name, NAME_LABEL, m->name_len) == 0;
        if (tells && m->op == TSDB_MATCH_EQ) {
            return m;
        }
        if (tells && m->op == TSDB_MATCH_RE) {
            found = m;
        }
    }
    return found;
}

void asked_note(struct asked *a, const struct tsdb_matcher *matchers, uint32_t count,
                int64_t now_ms)
{
    if (a->max == 0) {
        return;
    }
    const struct tsdb_matcher *m = name_matcher(matchers, count);
    tsdb_mutex_lock(&a->lock);
    if (!m) {
        a->totals.unnamed++;
        tsdb_mutex_unlock(&a->lock);
        return;
    }
    bool is_regex = m->op == TSDB_MATCH_RE;
    bool found = false;
    uint32_t at = find_locked(a, is_regex, m->value, m->value_len, &found);
    if (found || insert_locked(a, at, is_regex, m->value, m->value_len)) {
        a->list[at].count++;
        a->list[at].last_ms = now_ms;
    } else {
        a->totals.forgotten++;
    }
    tsdb_mutex_unlock(&a->lock);
}

struct asked_totals asked_visit(struct asked *a, asked_fn fn, void *arg)
{
    tsdb_mutex_lock(&a->lock);
    for (uint32_t i = 0; i < a->count; i++) {
        fn(arg, &a->list[i]);
    }
    struct asked_totals totals = a->totals;
    tsdb_mutex_unlock(&a->lock);
    return totals;
}
