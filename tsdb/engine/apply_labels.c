/* Memory mode: labels are logged when a request first asks for its samples to be. */
#include "base/assert.h"
#include "tsdb/engine/apply_private.h"

/* A write of our own that carries SERIES groups ahead of the batch that needs them. */
struct label_write {
    struct tsdb_write write;
    size_t bytes; /* of this allocation */
    uint8_t wal[];
};

static void label_write_done(struct tsdb_write *w)
{
    struct label_write *lw = w->done_arg;
    tsdb_mem_free(TSDB_MEM_WAL, lw, lw->bytes);
}

static bool labels_missing(const struct owner *o, const struct tsdb_entry *e)
{
    const struct head_partition *head = o->partitions[e->partition].head;
    uint32_t local = tsdb_series_local(e->series);
    return e->series != TSDB_SERIES_NEW && head_generation(head, local) == e->generation &&
           !head_labels_logged(head, local);
}

static uint32_t labels_load(const struct owner *o, const struct tsdb_entry *e,
                            struct tsdb_label *items)
{
    return index_mem_labels(head_index(o->partitions[e->partition].head),
                            tsdb_series_local(e->series), items, TSDB_LABELS_MAX);
}

/* Bytes for the SERIES groups that the batch lacks (a bound); 0: none. */
static size_t labels_missing_bytes(const struct owner *o, const struct tsdb_batch *b)
{
    struct tsdb_label items[TSDB_LABELS_MAX];
    size_t bytes = 0;
    for (uint32_t i = b->entry_begin; i < b->entry_end; i++) {
        const struct tsdb_entry *e = &b->write->entries[i];
        if (labels_missing(o, e)) {
            struct tsdb_labels labels = {items, labels_load(o, e, items)};
            bytes += tsdb_labels_encoded_bytes(&labels) + WAL_SERIES_BYTES_OVERHEAD_MAX;
        }
    }
    return bytes ? bytes + TSDB_PARTITIONS * (size_t)WAL_FRAME_OVERHEAD_MAX : 0;
}

static void label_write_fill(struct apply *a, const struct tsdb_batch *source)
{
    struct tsdb_label items[TSDB_LABELS_MAX];
    for (uint32_t i = source->entry_begin; i < source->entry_end; i++) {
        const struct tsdb_entry *e = &source->write->entries[i];
        if (!labels_missing(a->owner, e)) {
            continue;
        }
        if (!a->partition || a->partition_id != e->partition) {
            apply_group_end(a);
            apply_run_begin(a, e->partition);
        }
        struct tsdb_labels labels = {items, labels_load(a->owner, e, items)};
        apply_group_ensure(a, WAL_RECORD_SERIES, 0);
        wal_encode_series(&a->encoder, tsdb_series_local(e->series), &labels);
        head_labels_logged_set(a->head, tsdb_series_local(e->series));
    }
    apply_frame_end(a);
}

enum tsdb_status owner_labels_log(struct owner *o, const struct tsdb_batch *b, bool *out_used)
{
    size_t cap = labels_missing_bytes(o, b);
    *out_used = false;
    if (cap == 0) {
        return TSDB_OK;
    }
    struct label_write *lw = NULL;
    if (cap <= UINT32_MAX) {
        lw = tsdb_mem_alloc_zero(TSDB_MEM_WAL, sizeof *lw + cap);
    }
    if (!lw) {
        return TSDB_NOMEM;
    }
    lw->bytes = sizeof *lw + cap;
    struct tsdb_batch *own = &lw->write.batches[0];
    own->write = &lw->write;
    own->owner = o->index;
    own->wal_bytes = lw->wal;
    own->wal_cap = (uint32_t)cap;
    own->durability = TSDB_DURABILITY_BUFFERED; /* a later sync covers it */
    lw->write.batch_count = 1;
    atomic_init(&lw->write.pending, 1);
    atomic_init(&lw->write.status, TSDB_OK);
    lw->write.done = label_write_done;
    lw->write.done_arg = lw;
    struct apply a;
    apply_init(&a, o, own);
    label_write_fill(&a, b);
    own->wal_len = (uint32_t)(a.encoder.pos - own->wal_bytes);
    owner_log(o, own);
    *out_used = true;
    return TSDB_OK;
}
