#include "base/assert.h"
#include "base/compiler.h"
#include "base/file_sim_private.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void *tsdb_sim_alloc(size_t bytes)
{
    return tsdb_sim_realloc(NULL, bytes);
}

void *tsdb_sim_realloc(void *p, size_t bytes)
{
    p = realloc(p, bytes ? bytes : 1);
    TSDB_ASSERT(p);
    return p;
}

char *tsdb_sim_strdup(const char *s)
{
    size_t bytes = strlen(s) + 1;
    char *copy = tsdb_sim_alloc(bytes);
    memcpy(copy, s, bytes);
    return copy;
}

/* ---- sparse content ---- */

static void content_deinit(struct tsdb_sim_content *c)
{
    for (size_t i = 0; i < c->page_cap; i++) {
        free(c->pages[i]);
    }
    free(c->pages);
    *c = (struct tsdb_sim_content){0};
}

static void content_reserve(struct tsdb_sim_content *c, uint64_t size)
{
    size_t pages = (size_t)((size + TSDB_SIM_PAGE_BYTES - 1) / TSDB_SIM_PAGE_BYTES);
    if (pages <= c->page_cap) {
        return;
    }
    size_t cap = TSDB_MAX(pages, c->page_cap * 2);
    uint8_t **grown = tsdb_sim_realloc(c->pages, cap * sizeof grown[0]);
    memset(grown + c->page_cap, 0, (cap - c->page_cap) * sizeof grown[0]);
    c->pages = grown;
    c->page_cap = cap;
}

static size_t content_read(const struct tsdb_sim_content *c, void *buf, size_t len, uint64_t offset)
{
    if (offset >= c->size_bytes) {
        return 0;
    }
    len = (size_t)TSDB_MIN((uint64_t)len, c->size_bytes - offset);
    for (size_t done = 0; done < len;) {
        uint64_t at = offset + done;
        size_t in_page = (size_t)(at % TSDB_SIM_PAGE_BYTES);
        size_t n = TSDB_MIN(len - done, TSDB_SIM_PAGE_BYTES - in_page);
        const uint8_t *page = c->pages[at / TSDB_SIM_PAGE_BYTES];
        if (page) {
            memcpy((uint8_t *)buf + done, page + in_page, n);
        } else {
            memset((uint8_t *)buf + done, 0, n);
        }
        done += n;
    }
    return len;
}

static void page_write(uint8_t **page, const uint8_t *data, size_t in_page, size_t n)
{
    if (!data && n == TSDB_SIM_PAGE_BYTES) {
        free(*page);
        *page = NULL;
    } else if (!data && *page) {
        memset(*page + in_page, 0, n);
    } else if (data) {
        if (!*page) {
            *page = tsdb_sim_alloc(TSDB_SIM_PAGE_BYTES);
            memset(*page, 0, TSDB_SIM_PAGE_BYTES);
        }
        memcpy(*page + in_page, data, n);
    }
}

static void content_write(struct tsdb_sim_content *c, const uint8_t *data, uint64_t len,
                          uint64_t offset)
{
    content_reserve(c, offset + len);
    for (uint64_t done = 0; done < len;) {
        uint64_t at = offset + done;
        size_t in_page = (size_t)(at % TSDB_SIM_PAGE_BYTES);
        size_t n = (size_t)TSDB_MIN(len - done, TSDB_SIM_PAGE_BYTES - in_page);
        page_write(&c->pages[at / TSDB_SIM_PAGE_BYTES], data ? data + done : NULL, in_page, n);
        done += n;
    }
    c->size_bytes = TSDB_MAX(c->size_bytes, offset + len);
}

static void content_resize(struct tsdb_sim_content *c, uint64_t size)
{
    if (size < c->size_bytes) {
        uint64_t end = c->size_bytes;
        content_write(c, NULL, end - size, size); /* so that growing again shows zeroes */
    }
    content_reserve(c, size);
    c->size_bytes = size;
}

static void content_copy(struct tsdb_sim_content *to, const struct tsdb_sim_content *from)
{
    content_deinit(to);
    content_reserve(to, from->size_bytes);
    to->size_bytes = from->size_bytes;
    /* Behind its end a file that was cut may still have a page, of zeroes. */
    for (size_t i = 0; i < to->page_cap; i++) {
        if (from->pages[i]) {
            to->pages[i] = tsdb_sim_alloc(TSDB_SIM_PAGE_BYTES);
            memcpy(to->pages[i], from->pages[i], TSDB_SIM_PAGE_BYTES);
        }
    }
}

/* ---- a file ---- */

static void pieces_clear(struct tsdb_sim_data *d)
{
    for (size_t i = 0; i < d->piece_count; i++) {
        free(d->pieces[i].data);
    }
    d->piece_count = 0;
}

void tsdb_sim_data_deinit(struct tsdb_sim_data *d)
{
    pieces_clear(d);
    free(d->pieces);
    content_deinit(&d->current);
    content_deinit(&d->synced);
    *d = (struct tsdb_sim_data){0};
}

size_t tsdb_sim_data_read(const struct tsdb_sim_data *d, void *buf, size_t len, uint64_t offset)
{
    return content_read(&d->current, buf, len, offset);
}

static void piece_apply(struct tsdb_sim_content *c, const struct tsdb_sim_piece *p)
{
    if (p->kind == TSDB_SIM_TRUNCATE) {
        content_resize(c, p->offset);
    } else {
        content_write(c, p->data, p->len, p->offset);
    }
}

/* Takes p->data over. */
static void piece_add(struct tsdb_sim_data *d, const struct tsdb_sim_piece *p)
{
    if (d->piece_count == d->piece_cap) {
        d->piece_cap = d->piece_cap ? d->piece_cap * 2 : 8;
        d->pieces = tsdb_sim_realloc(d->pieces, d->piece_cap * sizeof d->pieces[0]);
    }
    d->pieces[d->piece_count++] = *p;
    piece_apply(&d->current, p);
}

void tsdb_sim_data_write(struct tsdb_sim_data *d, const void *data, uint64_t len, uint64_t offset)
{
    if (len == 0) {
        return;
    }
    struct tsdb_sim_piece p = {.kind = TSDB_SIM_ZERO, .offset = offset, .len = len};
    if (data) {
        p.kind = TSDB_SIM_WRITE;
        p.data = tsdb_sim_alloc((size_t)len);
        memcpy(p.data, data, (size_t)len);
    }
    piece_add(d, &p);
}

void tsdb_sim_data_truncate(struct tsdb_sim_data *d, uint64_t size)
{
    if (size != d->current.size_bytes) {
        piece_add(d, &(struct tsdb_sim_piece){.kind = TSDB_SIM_TRUNCATE, .offset = size});
    }
}

void tsdb_sim_data_sync(struct tsdb_sim_data *d)
{
    for (size_t i = 0; i < d->piece_count; i++) {
        piece_apply(&d->synced, &d->pieces[i]);
    }
    pieces_clear(d);
}

void tsdb_sim_data_drop(struct tsdb_sim_data *d)
{
    if (d->piece_count > 0) {
        pieces_clear(d);
        content_copy(&d->current, &d->synced);
    }
}

void tsdb_sim_data_flip(struct tsdb_sim_data *d, uint64_t at, unsigned bit)
{
    TSDB_ASSERT(at < d->synced.size_bytes && bit < 8);
    uint8_t synced = 0;
    uint8_t current = 0;
    content_read(&d->synced, &synced, 1, at);
    bool same = content_read(&d->current, &current, 1, at) == 1 && current == synced;
    synced = (uint8_t)(synced ^ (1u << bit));
    content_write(&d->synced, &synced, 1, at);
    if (same) {
        content_write(&d->current, &synced, 1, at);
    }
}

/* ---- the power cut ---- */

enum fate {
    LOST,
    KEPT,
    TORN
};

/* The sectors that an un-synced write has lost: what was written to them later cannot be there
 * either. */
struct lost_sectors {
    uint8_t *bits;
    uint64_t count; /* sectors in the map */
    bool any;
};

static bool lost_get(const struct lost_sectors *lost, uint64_t sector)
{
    return (lost->bits[sector / 8] >> (sector % 8)) & 1;
}

static void lost_set(struct lost_sectors *lost, uint64_t sector)
{
    lost->bits[sector / 8] = (uint8_t)(lost->bits[sector / 8] | (1u << (sector % 8)));
    lost->any = true;
}

static void lost_init(struct lost_sectors *lost, const struct tsdb_sim_data *d)
{
    uint64_t end = 0;
    for (size_t i = 0; i < d->piece_count; i++) {
        end = TSDB_MAX(end, d->pieces[i].offset + d->pieces[i].len);
    }
    lost->count = end / TSDB_SIM_SECTOR_BYTES + 1;
    lost->bits = tsdb_sim_alloc((size_t)(lost->count / 8 + 1));
    memset(lost->bits, 0, (size_t)(lost->count / 8 + 1));
    lost->any = false;
}

/* After a truncation the sectors wholly behind it start afresh. */
static void lost_forget_after(struct lost_sectors *lost, uint64_t size)
{
    uint64_t first = (size + TSDB_SIM_SECTOR_BYTES - 1) / TSDB_SIM_SECTOR_BYTES;
    for (uint64_t s = first; s < lost->count; s++) {
        lost->bits[s / 8] = (uint8_t)(lost->bits[s / 8] & ~(1u << (s % 8)));
    }
}

static enum fate piece_fate(enum tsdb_sim_mode mode, size_t index, size_t cut,
                            struct tsdb_prng *prng)
{
    switch (mode) {
    case TSDB_SIM_LOSE_ALL:
        return LOST;
    case TSDB_SIM_KEEP_ALL:
        return KEPT;
    case TSDB_SIM_PREFIX:
        return index < cut ? KEPT : index == cut ? TORN : LOST;
    case TSDB_SIM_CHAOS:
    case TSDB_SIM_MODES:
        break;
    }
    return (enum fate)tsdb_prng_below(prng, 3);
}

/* Returns whether all of the piece is there. */
static bool crash_write(struct tsdb_sim_content *c, const struct tsdb_sim_piece *p, enum fate fate,
                        struct lost_sectors *lost, struct tsdb_prng *prng)
{
    if (fate == KEPT && !lost->any) {
        piece_apply(c, p);
        return true;
    }
    bool whole = true;
    uint64_t end = p->offset + p->len;
    for (uint64_t at = p->offset; at < end;) {
        uint64_t sector = at / TSDB_SIM_SECTOR_BYTES;
        uint64_t next = TSDB_MIN((sector + 1) * TSDB_SIM_SECTOR_BYTES, end);
        bool kept = fate == KEPT || (fate == TORN && tsdb_prng_below(prng, 2) == 0);
        if (kept && !lost_get(lost, sector)) {
            content_write(c, p->data ? p->data + (at - p->offset) : NULL, next - at, at);
        } else {
            lost_set(lost, sector);
            whole = false;
        }
        at = next;
    }
    return whole;
}

void tsdb_sim_data_crash(struct tsdb_sim_data *d, struct tsdb_prng *prng)
{
    if (d->piece_count == 0) {
        return;
    }
    enum tsdb_sim_mode mode = (enum tsdb_sim_mode)tsdb_prng_below(prng, TSDB_SIM_MODES);
    size_t cut = (size_t)tsdb_prng_below(prng, d->piece_count);
    struct lost_sectors lost;
    lost_init(&lost, d);
    for (size_t i = 0; i < d->piece_count; i++) {
        const struct tsdb_sim_piece *p = &d->pieces[i];
        enum fate fate = piece_fate(mode, i, cut, prng);
        if (p->kind == TSDB_SIM_TRUNCATE) {
            if (fate == LOST || (fate == TORN && tsdb_prng_below(prng, 2) == 0)) {
                break;
            }
            content_resize(&d->synced, p->offset);
            lost_forget_after(&lost, p->offset);
            continue;
        }
        bool whole = crash_write(&d->synced, p, fate, &lost, prng);
        /* The new size may be journalled without the data: the file then ends in zeroes. */
        uint64_t end = p->offset + p->len;
        if (!whole && mode != TSDB_SIM_LOSE_ALL && end > d->synced.size_bytes &&
            tsdb_prng_below(prng, 3) == 0) {
            content_resize(&d->synced, end);
        }
    }
    free(lost.bits);
    pieces_clear(d);
    content_copy(&d->current, &d->synced);
}
