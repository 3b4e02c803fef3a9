#include "query/eval/labels.h"

#include "base/assert.h"
#include "base/hash.h"

static bool label_is(const struct tsdb_label *l, const char *name, size_t len)
{
    return l->name_len == len && memcmp(l->name, name, len) == 0;
}

static bool is_metadata(const struct tsdb_label *l)
{
    return label_is(l, "__name__", 8) || label_is(l, "__type__", 8) || label_is(l, "__unit__", 8);
}

static bool name_in(const struct tsdb_label *l, struct query_names names)
{
    for (uint32_t i = 0; i < names.count; i++) {
        if (label_is(l, names.items[i].data, names.items[i].len)) {
            return true;
        }
    }
    return false;
}

static bool key_takes(const struct label_key *k, const struct tsdb_label *l)
{
    if (k->only) {
        return name_in(l, k->names);
    }
    return !name_in(l, k->names) && !(k->drop_name && label_is(l, "__name__", 8));
}

static bool filter(struct tsdb_arena *arena, const struct tsdb_labels *in,
                   const struct label_key *k, bool metadata, struct tsdb_labels *out)
{
    struct tsdb_label *items =
        in->count > 0 ? TSDB_ARENA_ARRAY(arena, struct tsdb_label, in->count) : NULL;
    if (in->count > 0 && !items) {
        return false;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < in->count; i++) {
        const struct tsdb_label *l = &in->items[i];
        if (metadata ? !is_metadata(l) : key_takes(k, l)) {
            items[n++] = *l;
        }
    }
    *out = (struct tsdb_labels){items, n};
    return true;
}

/* Is the name the first label, and no other label metadata? They are sorted. */
static bool name_goes_first(const struct tsdb_labels *in)
{
    static const char last[] = "__unit__";
    return in->count > 0 && label_is(&in->items[0], "__name__", 8) &&
           (in->count == 1 ||
            tsdb_str_compare(in->items[1].name, in->items[1].name_len, last, sizeof last - 1) > 0);
}

bool labels_without_metadata(struct tsdb_arena *arena, const struct tsdb_labels *in,
                             struct tsdb_labels *out)
{
    if (name_goes_first(in)) {
        *out = (struct tsdb_labels){in->items + 1, in->count - 1};
        return true;
    }
    return filter(arena, in, NULL, true, out);
}

bool labels_keep(struct tsdb_arena *arena, const struct tsdb_labels *in, struct query_names names,
                 struct tsdb_labels *out)
{
    struct label_key k = {.only = true, .names = names};
    return filter(arena, in, &k, false, out);
}

bool labels_drop(struct tsdb_arena *arena, const struct tsdb_labels *in, struct query_names names,
                 bool drop_name, struct tsdb_labels *out)
{
    struct label_key k = {.drop_name = drop_name, .names = names};
    return filter(arena, in, &k, false, out);
}

bool labels_set(struct tsdb_arena *arena, const struct tsdb_labels *in, struct query_str name,
                struct query_str value, struct tsdb_labels *out)
{
    struct tsdb_label *items = TSDB_ARENA_ARRAY(arena, struct tsdb_label, (size_t)in->count + 1);
    if (!items) {
        return false;
    }
    uint32_t n = 0;
    bool placed = value.len == 0;
    for (uint32_t i = 0; i < in->count; i++) {
        const struct tsdb_label *l = &in->items[i];
        int c = tsdb_str_compare(l->name, l->name_len, name.data, name.len);
        if (c >= 0 && !placed) {
            items[n++] = (struct tsdb_label){name.data, value.data, name.len, value.len};
            placed = true;
        }
        if (c != 0) {
            items[n++] = *l;
        }
    }
    if (!placed) {
        items[n++] = (struct tsdb_label){name.data, value.data, name.len, value.len};
    }
    *out = (struct tsdb_labels){items, n};
    return true;
}

struct query_str labels_value(const struct tsdb_labels *labels, const char *name, size_t name_len)
{
    const struct tsdb_label *l = tsdb_labels_find(labels, name, name_len);
    return l ? (struct query_str){l->value, l->value_len} : (struct query_str){"", 0};
}

struct query_str labels_metric_name(const struct tsdb_labels *labels)
{
    /* Mostly the first: who has one before it begins with a capital. */
    if (labels->count > 0 && label_is(&labels->items[0], "__name__", 8)) {
        return (struct query_str){labels->items[0].value, labels->items[0].value_len};
    }
    return labels_value(labels, "__name__", 8);
}

void labels_print(const struct tsdb_labels *labels, struct tsdb_buf *out)
{
    tsdb_buf_put_u8(out, '{');
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        tsdb_buf_put_str(out, i > 0 ? ", " : "");
        if (query_name_is_plain(l->name, l->name_len)) {
            tsdb_buf_put(out, l->name, l->name_len);
        } else {
            query_quote(out, l->name, l->name_len, 0);
        }
        tsdb_buf_put_u8(out, '=');
        query_quote(out, l->value, l->value_len, 0);
    }
    tsdb_buf_put_u8(out, '}');
}

/* ---- map ---- */

struct label_map_slot {
    uint64_t hash;
    const uint8_t *key;
    uint32_t len;
    uint32_t id; /* + 1; 0 = free */
};

void label_map_init(struct label_map *m, struct tsdb_arena *arena)
{
    *m = (struct label_map){.arena = arena};
}

static bool make_key(struct label_map *m, const struct tsdb_labels *labels,
                     const struct label_key *key)
{
    size_t need = 0;
    for (uint32_t i = 0; i < labels->count; i++) {
        need += 2 * TSDB_VARINT64_BYTES_MAX + (size_t)labels->items[i].name_len +
                labels->items[i].value_len;
    }
    if (need > m->key_cap) {
        m->key = tsdb_arena_alloc(m->arena, need * 2, 1);
        m->key_cap = m->key ? need * 2 : 0;
        if (!m->key) {
            return false;
        }
    }
    uint8_t *p = m->key;
    for (uint32_t i = 0; i < labels->count; i++) {
        const struct tsdb_label *l = &labels->items[i];
        if (key_takes(key, l)) {
            p = tsdb_put_uvarint(p, l->name_len);
            memcpy(p, l->name, l->name_len);
            p = tsdb_put_uvarint(p + l->name_len, l->value_len);
            memcpy(p, l->value, l->value_len);
            p += l->value_len;
        }
    }
    m->key_len = p ? (size_t)(p - m->key) : 0;
    return true;
}

static struct label_map_slot *probe(const struct label_map *m, uint64_t hash)
{
    uint32_t mask = m->slot_count - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        struct label_map_slot *s = &m->slots[i];
        if (s->id == 0 || (s->hash == hash && s->len == m->key_len &&
                           (s->len == 0 || memcmp(s->key, m->key, s->len) == 0))) {
            return s;
        }
    }
}

static bool grow(struct label_map *m)
{
    struct label_map_slot *old = m->slots;
    uint32_t old_count = m->slot_count;
    uint32_t count = old_count == 0 ? 16 : old_count * 2;
    struct label_map_slot *slots = TSDB_ARENA_ARRAY(m->arena, struct label_map_slot, count);
    if (!slots) {
        return false;
    }
    memset(slots, 0, count * sizeof *slots);
    for (uint32_t i = 0; i < old_count; i++) {
        if (old[i].id == 0) {
            continue;
        }
        uint32_t j = (uint32_t)old[i].hash & (count - 1);
        while (slots[j].id != 0) {
            j = (j + 1) & (count - 1);
        }
        slots[j] = old[i];
    }
    m->slots = slots;
    m->slot_count = count;
    return true;
}

static uint64_t key_hash(const struct label_map *m)
{
    return m->key_len > 0 ? tsdb_hash64_plain(m->key, m->key_len) : 0;
}

bool label_map_put(struct label_map *m, const struct tsdb_labels *labels,
                   const struct label_key *key, uint32_t *out_id, bool *out_new)
{
    if (!make_key(m, labels, key) || (m->count >= m->slot_count / 4 * 3 && !grow(m))) {
        return false;
    }
    uint64_t hash = key_hash(m);
    struct label_map_slot *s = probe(m, hash);
    bool is_new = s->id == 0;
    if (is_new) {
        uint8_t *copy = NULL;
        if (m->key_len > 0) {
            copy = tsdb_arena_alloc(m->arena, m->key_len, 1);
            if (!copy) {
                return false;
            }
            memcpy(copy, m->key, m->key_len);
        }
        *s = (struct label_map_slot){hash, copy, (uint32_t)m->key_len, ++m->count};
    }
    *out_id = s->id - 1;
    if (out_new) {
        *out_new = is_new;
    }
    return true;
}
