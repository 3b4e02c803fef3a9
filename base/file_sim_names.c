#include "base/assert.h"
#include "base/file_sim_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- inodes and entries ---- */

struct tsdb_sim_inode *tsdb_sim_inode_create(struct tsdb_sim_names *names, bool is_dir)
{
    struct tsdb_sim_inode *n = tsdb_sim_alloc(sizeof *n);
    *n = (struct tsdb_sim_inode){.prev = names->last, .refs = 1, .is_dir = is_dir};
    if (names->last) {
        names->last->next = n;
    } else {
        names->first = n;
    }
    names->last = n;
    return n;
}

struct tsdb_sim_inode *tsdb_sim_inode_ref(struct tsdb_sim_inode *n)
{
    n->refs++;
    return n;
}

static void entries_clear(struct tsdb_sim_names *names, struct tsdb_sim_entries *e)
{
    for (size_t i = 0; i < e->count; i++) {
        free(e->items[i].name);
        tsdb_sim_inode_unref(names, e->items[i].inode);
    }
    free(e->items);
    *e = (struct tsdb_sim_entries){0};
}

/* Recursion is bounded by the depth of a path. */
void tsdb_sim_inode_unref(struct tsdb_sim_names *names, struct tsdb_sim_inode *n)
{
    TSDB_ASSERT(n->refs > 0);
    if (--n->refs > 0) {
        return;
    }
    entries_clear(names, &n->now);
    entries_clear(names, &n->on_disk);
    tsdb_sim_data_deinit(&n->data);
    *(n->prev ? &n->prev->next : &names->first) = n->next;
    *(n->next ? &n->next->prev : &names->last) = n->prev;
    free(n);
}

static struct tsdb_sim_entry *entries_find(const struct tsdb_sim_entries *e, const char *name)
{
    for (size_t i = 0; i < e->count; i++) {
        if (strcmp(e->items[i].name, name) == 0) {
            return &e->items[i];
        }
    }
    return NULL;
}

static void entries_remove(struct tsdb_sim_names *names, struct tsdb_sim_entries *e,
                           const char *name)
{
    struct tsdb_sim_entry *found = entries_find(e, name);
    if (found) {
        struct tsdb_sim_entry gone = *found;
        size_t index = (size_t)(found - e->items);
        e->count--;
        memmove(found, found + 1, (e->count - index) * sizeof *found);
        free(gone.name);
        tsdb_sim_inode_unref(names, gone.inode);
    }
}

static void entries_set(struct tsdb_sim_names *names, struct tsdb_sim_entries *e, const char *name,
                        struct tsdb_sim_inode *inode)
{
    tsdb_sim_inode_ref(inode); /* first: it may be the one that is replaced */
    struct tsdb_sim_entry *found = entries_find(e, name);
    if (found) {
        struct tsdb_sim_inode *old = found->inode;
        found->inode = inode;
        tsdb_sim_inode_unref(names, old);
        return;
    }
    if (e->count == e->cap) {
        e->cap = e->cap ? e->cap * 2 : 8;
        e->items = tsdb_sim_realloc(e->items, e->cap * sizeof e->items[0]);
    }
    e->items[e->count++] = (struct tsdb_sim_entry){.name = tsdb_sim_strdup(name), .inode = inode};
}

/* ---- un-synced changes of names ---- */

static void place_drop(struct tsdb_sim_names *names, struct tsdb_sim_place *place)
{
    if (place->dir) {
        tsdb_sim_inode_unref(names, place->dir);
        free(place->name);
    }
}

static void change_drop(struct tsdb_sim_names *names, struct tsdb_sim_change *c)
{
    place_drop(names, &c->remove);
    place_drop(names, &c->add);
    if (c->added) {
        tsdb_sim_inode_unref(names, c->added);
    }
}

static struct tsdb_sim_place place_make(struct tsdb_sim_inode *dir, const char *name)
{
    return (struct tsdb_sim_place){.dir = tsdb_sim_inode_ref(dir), .name = tsdb_sim_strdup(name)};
}

static bool places_same(const struct tsdb_sim_place *a, const struct tsdb_sim_place *b)
{
    return a->dir && a->dir == b->dir && strcmp(a->name, b->name) == 0;
}

static bool changes_share_a_name(const struct tsdb_sim_change *a, const struct tsdb_sim_change *b)
{
    return places_same(&a->remove, &b->remove) || places_same(&a->remove, &b->add) ||
           places_same(&a->add, &b->remove) || places_same(&a->add, &b->add);
}

static void change_apply(struct tsdb_sim_names *names, const struct tsdb_sim_change *c)
{
    if (c->remove.dir) {
        entries_remove(names, &c->remove.dir->on_disk, c->remove.name);
    }
    if (c->add.dir) {
        entries_set(names, &c->add.dir->on_disk, c->add.name, c->added);
    }
}

void tsdb_sim_names_change(struct tsdb_sim_names *names, const struct tsdb_sim_found *remove,
                           const struct tsdb_sim_found *add, struct tsdb_sim_inode *added)
{
    struct tsdb_sim_change c = {0};
    if (add) {
        c.add = place_make(add->parent, add->name);
        /* Before its old entry goes: moving must not free it. */
        c.added = tsdb_sim_inode_ref(added);
    }
    if (remove) {
        c.remove = place_make(remove->parent, remove->name);
        entries_remove(names, &remove->parent->now, remove->name);
    }
    if (add) {
        entries_set(names, &add->parent->now, add->name, added);
    }
    if (names->change_count == names->change_cap) {
        names->change_cap = names->change_cap ? names->change_cap * 2 : 16;
        names->changes =
            tsdb_sim_realloc(names->changes, names->change_cap * sizeof names->changes[0]);
    }
    names->changes[names->change_count++] = c;
}

void tsdb_sim_names_sync(struct tsdb_sim_names *names, const struct tsdb_sim_inode *dir)
{
    bool *due = tsdb_sim_alloc(names->change_count * sizeof *due);
    for (size_t i = 0; i < names->change_count; i++) {
        due[i] = names->changes[i].remove.dir == dir || names->changes[i].add.dir == dir;
    }
    for (size_t i = names->change_count; i-- > 0;) {
        for (size_t j = 0; due[i] && j < i; j++) {
            due[j] = due[j] || changes_share_a_name(&names->changes[i], &names->changes[j]);
        }
    }
    size_t left = 0;
    for (size_t i = 0; i < names->change_count; i++) {
        if (due[i]) {
            change_apply(names, &names->changes[i]);
            change_drop(names, &names->changes[i]);
        } else {
            names->changes[left++] = names->changes[i];
        }
    }
    names->change_count = left;
    free(due);
}

static bool change_survives(enum tsdb_sim_mode mode, size_t index, size_t cut,
                            struct tsdb_prng *prng)
{
    switch (mode) {
    case TSDB_SIM_LOSE_ALL:
        return false;
    case TSDB_SIM_KEEP_ALL:
        return true;
    case TSDB_SIM_PREFIX:
        return index < cut;
    case TSDB_SIM_CHAOS:
    case TSDB_SIM_MODES:
        break;
    }
    return tsdb_prng_below(prng, 2) == 0;
}

static void changes_crash(struct tsdb_sim_names *names, struct tsdb_prng *prng)
{
    if (names->change_count == 0) {
        return;
    }
    enum tsdb_sim_mode mode = (enum tsdb_sim_mode)tsdb_prng_below(prng, TSDB_SIM_MODES);
    size_t cut = (size_t)tsdb_prng_below(prng, names->change_count + 1);
    bool *lost = tsdb_sim_alloc(names->change_count * sizeof *lost);
    for (size_t i = 0; i < names->change_count; i++) {
        lost[i] = !change_survives(mode, i, cut, prng);
        for (size_t j = 0; !lost[i] && j < i; j++) {
            lost[i] = lost[j] && changes_share_a_name(&names->changes[i], &names->changes[j]);
        }
        if (!lost[i]) {
            change_apply(names, &names->changes[i]);
        }
    }
    for (size_t i = 0; i < names->change_count; i++) {
        change_drop(names, &names->changes[i]);
    }
    names->change_count = 0;
    free(lost);
}

/* The names as they are now become those on the disk. All old entries go only after all new ones
 * have their references, because the last reference frees an inode, and with it a place in the list
 * that is being walked. */
static void names_from_disk(struct tsdb_sim_names *names)
{
    size_t dirs = 0;
    for (const struct tsdb_sim_inode *n = names->first; n; n = n->next) {
        dirs += n->is_dir;
    }
    struct tsdb_sim_entries *old = tsdb_sim_alloc(dirs * sizeof old[0]);
    dirs = 0;
    for (struct tsdb_sim_inode *n = names->first; n; n = n->next) {
        if (n->is_dir) {
            old[dirs++] = n->now;
            n->now = (struct tsdb_sim_entries){0};
            for (size_t i = 0; i < n->on_disk.count; i++) {
                entries_set(names, &n->now, n->on_disk.items[i].name, n->on_disk.items[i].inode);
            }
        }
    }
    for (size_t i = 0; i < dirs; i++) {
        entries_clear(names, &old[i]);
    }
    free(old);
}

void tsdb_sim_names_crash(struct tsdb_sim_names *names, struct tsdb_prng *prng)
{
    changes_crash(names, prng);
    for (struct tsdb_sim_inode *n = names->first; n; n = n->next) {
        tsdb_sim_data_crash(&n->data, prng);
    }
    names_from_disk(names);
}

void tsdb_sim_names_init(struct tsdb_sim_names *names)
{
    *names = (struct tsdb_sim_names){0};
    names->root = tsdb_sim_inode_create(names, true);
}

void tsdb_sim_names_deinit(struct tsdb_sim_names *names)
{
    for (size_t i = 0; i < names->change_count; i++) {
        change_drop(names, &names->changes[i]);
    }
    free(names->changes);
    tsdb_sim_inode_unref(names, names->root);
    TSDB_ASSERT(!names->first); /* every reference was given back */
}

uint64_t tsdb_sim_names_bytes(struct tsdb_sim_inode *dir)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < dir->now.count; i++) {
        struct tsdb_sim_inode *n = dir->now.items[i].inode;
        if (n->is_dir) {
            bytes += tsdb_sim_names_bytes(n);
        } else if (!n->counted) {
            n->counted = true;
            bytes += n->data.current.size_bytes;
        }
    }
    return bytes;
}

int tsdb_sim_names_lookup(const struct tsdb_sim_names *names, const char *path,
                          struct tsdb_sim_found *out)
{
    out->parent = NULL;
    out->node = names->root;
    out->name[0] = '\0';
    while (*path) {
        if (!out->node) {
            return ENOENT;
        }
        if (!out->node->is_dir) {
            return ENOTDIR;
        }
        size_t len = strcspn(path, "/");
        memcpy(out->name, path, len);
        out->name[len] = '\0';
        out->parent = out->node;
        const struct tsdb_sim_entry *entry = entries_find(&out->parent->now, out->name);
        out->node = entry ? entry->inode : NULL;
        path += len + (path[len] == '/');
    }
    return 0;
}
