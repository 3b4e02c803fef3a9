/* Request objects: pool, budget, and the way from body to answer. */
#include "ingest/ingest.h"

#include "base/assert.h"
#include "base/latency.h"
#include "base/limits.h"
#include "ingest/ingest_private.h"
#include "ingest/snappy.h"
#include "ingest/unpack.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ARENA_FIRST_BYTES   (1u << 20) /* a request of 2000 samples fits */
#define BUFFER_FIRST_BYTES  (128u << 10)
#define BUFFER_KEEP_BYTES   (4u << 20) /* larger ones are not kept in the pool */
#define SCRATCH_FIRST_BYTES (16u << 10)

void ingest_options_default(struct ingest_options *o)
{
    *o = (struct ingest_options){
        .body_bytes_max = TSDB_WRITE_BODY_BYTES_MAX,
        .decoded_bytes_max = TSDB_WRITE_DECODED_BYTES_MAX,
        .inflight_bytes_max = 1u << 30,
        .large_bytes = TSDB_WRITE_LARGE_BYTES,
        .pool_max = 64,
        .labels_max = TSDB_LABELS_MAX,
        .label_name_bytes_max = TSDB_LABEL_NAME_BYTES_MAX,
        .label_value_bytes_max = TSDB_LABEL_VALUE_BYTES_MAX,
        .clock = tsdb_clock_real,
    };
}

enum tsdb_status ingest_create(const struct ingest_options *options, struct tsdb *db,
                               struct ingest **out, struct tsdb_error *err)
{
    struct ingest *in = tsdb_mem_alloc_zero(TSDB_MEM_INGEST, sizeof *in);
    if (!in) {
        return tsdb_error_nomem(err, "ingest");
    }
    in->options = *options;
    in->db = db;
    in->key = tsdb_hash_key(db);
    in->owner_of = tsdb_owner_map(db);
    tsdb_account_init(&in->account, options->inflight_bytes_max, NULL);
    for (uint32_t i = 0; i < INGEST_SENDERS; i++) {
        tsdb_account_init(&in->senders[i], options->inflight_bytes_max / 2, &in->account);
    }
    tsdb_mutex_init(&in->lock, TSDB_RANK_INGEST_POOL, "ingest-pool");
    *out = in;
    return TSDB_OK;
}

static void buffer_free(struct ingest_request *r, struct ingest_buffer *b)
{
    tsdb_mem_free(TSDB_MEM_INGEST, b->data, b->cap);
    tsdb_account_release(&r->account, b->cap);
    *b = (struct ingest_buffer){0};
}

enum tsdb_status ingest_buffer_reserve(struct ingest_request *r, struct ingest_buffer *b,
                                       size_t need)
{
    if (need <= b->cap) {
        return TSDB_OK;
    }
    size_t cap = TSDB_MAX(b->cap * 2, (size_t)BUFFER_FIRST_BYTES);
    while (cap < need) {
        cap *= 2;
    }
    enum tsdb_status status = tsdb_account_charge(&r->account, cap - b->cap);
    if (status != TSDB_OK) {
        return status;
    }
    uint8_t *p = tsdb_mem_realloc(TSDB_MEM_INGEST, b->data, b->cap, cap);
    if (!p) {
        tsdb_account_release(&r->account, cap - b->cap);
        return TSDB_NOMEM;
    }
    b->data = p;
    b->cap = cap;
    return TSDB_OK;
}

/* Everything that the request holds but itself. */
static void request_strip(struct ingest_request *r)
{
    ingest_import_deinit(r);
    tsdb_arena_deinit(&r->arena);
    tsdb_arena_deinit(&r->scratch);
    buffer_free(r, &r->body);
    buffer_free(r, &r->decoded);
}

static void request_destroy(struct ingest_request *r)
{
    request_strip(r);
    tsdb_mem_free(TSDB_MEM_INGEST, r, sizeof *r);
}

static struct ingest_request *request_create(struct ingest *in)
{
    struct ingest_request *r = tsdb_mem_alloc_zero(TSDB_MEM_INGEST, sizeof *r);
    if (r) {
        r->in = in;
        tsdb_account_init(&r->account, in->options.inflight_bytes_max / 2, &in->account);
        tsdb_arena_init(&r->arena, TSDB_MEM_INGEST, ARENA_FIRST_BYTES, &r->account);
        tsdb_arena_init(&r->scratch, TSDB_MEM_INGEST, SCRATCH_FIRST_BYTES, &r->account);
    }
    return r;
}

void ingest_otlp_options_set(struct ingest *in, const struct otlp_options *options)
{
    tsdb_mutex_lock(&in->lock);
    in->otlp = *options;
    tsdb_mutex_unlock(&in->lock);
}

void ingest_destroy(struct ingest *in)
{
    if (!in) {
        return;
    }
    tsdb_mutex_lock(&in->lock);
    while (in->pool) {
        struct ingest_request *r = in->pool;
        in->pool = r->next;
        request_destroy(r);
    }
    tsdb_mutex_unlock(&in->lock);
    tsdb_mutex_deinit(&in->lock);
    tsdb_mem_free(TSDB_MEM_INGEST, in, sizeof *in);
}

/* The request ran into a bound of memory: its own, which a repetition meets again, or that of all
 * together. */
static enum tsdb_status no_room(struct ingest_request *r, struct tsdb_error *err)
{
    struct ingest *in = r->in;
    tsdb_error_clear(err);
    if (atomic_load_explicit(&r->account.refusals, memory_order_relaxed) > 0) {
        return tsdb_error_set(
            err, TSDB_LIMIT,
            "request needs more than %" PRIu64
            " bytes of memory, half of --web.max-inflight-bytes: send smaller ones",
            r->account.limit_bytes);
    }
    atomic_fetch_add_explicit(&in->busy, 1, memory_order_relaxed);
    return tsdb_error_set(err, TSDB_BUSY,
                          "too many bytes of write requests in flight (%" PRIu64 " of %" PRIu64
                          ", of which a sender may hold half), try again later",
                          atomic_load_explicit(&in->account.used_bytes, memory_order_relaxed),
                          in->options.inflight_bytes_max);
}

static enum tsdb_status check_db(struct ingest *in, struct tsdb_error *err)
{
    switch (tsdb_state(in->db, err)) {
    case TSDB_STATE_READY:
        return TSDB_OK;
    case TSDB_STATE_RETRYING:
    case TSDB_STATE_OUT_OF_SPACE:
        return tsdb_error_prefix(err, TSDB_BUSY, "storage takes no writes just now");
    case TSDB_STATE_READ_ONLY:
        return tsdb_error_prefix(err, TSDB_READ_ONLY, "storage is read-only");
    case TSDB_STATE_FAILED:
        return tsdb_error_prefix(err, TSDB_READ_ONLY, "storage failed to start");
    case TSDB_STATE_RECOVERING:
        return tsdb_error_set(err, TSDB_BUSY, "storage is replaying its log, try again later");
    case TSDB_STATE_CLOSING:
    case TSDB_STATE_COUNT:
        break;
    }
    return tsdb_error_set(err, TSDB_BUSY, "server is shutting down, try again later");
}

static struct ingest_request *pool_take(struct ingest *in)
{
    tsdb_mutex_lock(&in->lock);
    struct ingest_request *r = in->pool;
    if (r) {
        in->pool = r->next;
        in->pool_count--;
        in->pool_low = TSDB_MIN(in->pool_low, in->pool_count);
        in->pool_bytes -= atomic_load_explicit(&r->account.used_bytes, memory_order_relaxed);
    }
    tsdb_mutex_unlock(&in->lock);
    return r;
}

void ingest_trim(struct ingest *in)
{
    struct ingest_request *gone = NULL;
    tsdb_mutex_lock(&in->lock);
    /* The pool is a stack: what was not needed lies below what was. */
    struct ingest_request **at = &in->pool;
    for (uint32_t i = in->pool_low; i < in->pool_count; i++) {
        at = &(*at)->next;
    }
    gone = *at;
    *at = NULL;
    in->pool_count -= in->pool_low;
    in->pool_low = in->pool_count;
    for (struct ingest_request *r = gone; r; r = r->next) {
        in->pool_bytes -= atomic_load_explicit(&r->account.used_bytes, memory_order_relaxed);
    }
    tsdb_mutex_unlock(&in->lock);
    for (struct ingest_request *next; gone; gone = next) {
        next = gone->next;
        request_destroy(gone);
    }
}

/* False: the pool has enough; the request is still the caller's. */
static bool pool_put(struct ingest *in, struct ingest_request *r)
{
    uint64_t bytes = atomic_load_explicit(&r->account.used_bytes, memory_order_relaxed);
    tsdb_mutex_lock(&in->lock);
    bool keep = in->pool_count < in->options.pool_max &&
                in->pool_bytes + bytes <= in->options.inflight_bytes_max / 8;
    if (keep) {
        r->next = in->pool;
        in->pool = r;
        in->pool_count++;
        in->pool_bytes += bytes;
    }
    tsdb_mutex_unlock(&in->lock);
    return keep;
}

enum tsdb_status ingest_begin(struct ingest *in, uint64_t body_bytes_hint,
                              struct ingest_request **out, struct tsdb_error *err)
{
    atomic_fetch_add_explicit(&in->requests, 1, memory_order_relaxed);
    enum tsdb_status status = check_db(in, err);
    if (status != TSDB_OK) {
        return status;
    }
    if (body_bytes_hint > in->options.body_bytes_max) {
        return tsdb_error_set(err, TSDB_LIMIT,
                              "body of %" PRIu64 " bytes is larger than the limit of %" PRIu64
                              " (--web.max-body-size)",
                              body_bytes_hint, in->options.body_bytes_max);
    }
    struct ingest_request *r = pool_take(in);
    if (!r) {
        r = request_create(in);
    }
    if (!r) {
        return tsdb_error_nomem(err, "a write request");
    }
    r->body.len = r->decoded.len = 0;
    r->use_aliases = true;
    r->added = false;
    r->exemplars_left = 0;
    memset(&r->import_sum, 0, sizeof r->import_sum);
    r->import_first[0] = '\0';
    atomic_store_explicit(&r->account.refusals, 0, memory_order_relaxed);
    ingest_build_reset(r);
    tsdb_request_init(&r->context, &in->options.clock, TSDB_SCOPE_WRITE);
    r->context.durability = TSDB_DURABILITY_MEMORY; /* "at least": the server's mode is the floor */
    *out = r;
    return TSDB_OK;
}

void ingest_sender_set(struct ingest_request *r, const char *sender)
{
    uint64_t hash = tsdb_hash64(r->in->key, sender, strlen(sender));
    struct tsdb_account *of = &r->in->senders[hash % INGEST_SENDERS];
    if (tsdb_account_move(&r->account, of) != TSDB_OK) { /* buffers from the pool: without them */
        request_strip(r);
        TSDB_ASSERT(atomic_load(&r->account.used_bytes) == 0);
        enum tsdb_status status = tsdb_account_move(&r->account, of);
        TSDB_ASSERT(status == TSDB_OK);
    }
}

struct tsdb_request *ingest_context(struct ingest_request *r)
{
    return &r->context;
}

enum tsdb_status ingest_body(struct ingest_request *r, const void *data, size_t len,
                             struct tsdb_error *err)
{
    size_t total = r->body.len + len;
    if (total > r->in->options.body_bytes_max) {
        return tsdb_error_set(err, TSDB_LIMIT,
                              "body is larger than the limit of %" PRIu64
                              " bytes (--web.max-body-size)",
                              r->in->options.body_bytes_max);
    }
    enum tsdb_status status = ingest_buffer_reserve(r, &r->body, total);
    if (status != TSDB_OK) {
        return status == TSDB_LIMIT ? no_room(r, err)
                                    : tsdb_error_nomem(err, "the body of a write request");
    }
    if (len == 0) {
        return TSDB_OK;
    }
    memcpy(r->body.data + r->body.len, data, len);
    r->body.len = total;
    return TSDB_OK;
}

/* Decoded bytes go into the request's second buffer, which is charged. */
static enum tsdb_status grow_decoded(struct ingest_sink *s, size_t cap)
{
    struct ingest_request *r = s->arg;
    enum tsdb_status status = ingest_buffer_reserve(r, &r->decoded, cap);
    s->data = r->decoded.data;
    s->cap = r->decoded.cap;
    return status;
}

/* What zstd and gzip make; memory that libzstd may need for a window is charged meanwhile. */
static enum tsdb_status unpack_stream(struct ingest_request *r, struct tsdb_error *err)
{
    struct ingest_sink sink = {
        .data = r->decoded.data, .cap = r->decoded.cap, .grow = grow_decoded, .arg = r};
    size_t max = r->in->options.decoded_bytes_max;
    bool gzip = r->encoding == INGEST_ENCODING_GZIP;
    uint64_t window = gzip ? 0 : ingest_zstd_window_bytes(r->body.data, r->body.len);
    enum tsdb_status status = tsdb_account_charge(&r->account, window);
    if (status != TSDB_OK) {
        return no_room(r, err);
    }
    status = gzip ? ingest_gzip_decode(r->body.data, r->body.len, max, &sink, err)
                  : ingest_zstd_decode(r->body.data, r->body.len, max, &sink, err);
    tsdb_account_release(&r->account, window);
    r->decoded.len = status == TSDB_OK ? sink.len : 0;
    bool room = status != TSDB_LIMIT || (err && err->status == TSDB_LIMIT);
    return room ? status : no_room(r, err);
}

static enum tsdb_status unpack_snappy(struct ingest_request *r, struct tsdb_error *err)
{
    size_t decoded = 0;
    enum tsdb_status status = ingest_snappy_decoded_bytes(
        r->body.data, r->body.len, r->in->options.decoded_bytes_max, &decoded, err);
    if (status == TSDB_OK) {
        status = ingest_buffer_reserve(r, &r->decoded, TSDB_MAX(decoded, (size_t)1));
        if (status == TSDB_LIMIT) {
            status = no_room(r, err);
        }
    }
    if (status == TSDB_OK) {
        status = ingest_snappy_decode(r->body.data, r->body.len, r->decoded.data, decoded, err);
    }
    if (status == TSDB_OK) {
        r->decoded.len = decoded;
    }
    return status;
}

/* The decoded body in *out. The first bytes tell snappy from zstd, whatever the label says: vmagent has
 * sent one under the name of the other. Without a Content-Encoding they may also be plain protobuf. */
static enum tsdb_status unpack_body(struct ingest_request *r, struct tsdb_slice *out,
                                    struct tsdb_error *err)
{
    bool stream = r->encoding == INGEST_ENCODING_GZIP || ingest_is_zstd(r->body.data, r->body.len);
    enum tsdb_status status = stream ? unpack_stream(r, err) : unpack_snappy(r, err);
    if (status == TSDB_OK) {
        *out = (struct tsdb_slice){r->decoded.data, r->decoded.len};
    } else if (!stream && status == TSDB_INVALID && r->encoding == INGEST_ENCODING_NONE) {
        tsdb_error_clear(err);
        *out = (struct tsdb_slice){r->body.data, r->body.len};
        status = TSDB_OK;
    }
    return status;
}

/* Where the messages are: unpacked, or as they came. */
static enum tsdb_status find_body(struct ingest_request *r, struct tsdb_slice *out,
                                  struct tsdb_error *err)
{
    *out = (struct tsdb_slice){r->decoded.data, r->decoded.len};
    if (r->body.len == 0) {
        return TSDB_OK; /* an empty request is legal */
    }
    if (!r->use_aliases) { /* once more */
        if (r->plain) {
            *out = (struct tsdb_slice){r->body.data, r->body.len};
        }
        return TSDB_OK;
    }
    enum tsdb_status status = TSDB_OK;
    if (r->protocol > INGEST_REMOTE_WRITE_2 && r->encoding == INGEST_ENCODING_NONE) {
        *out = (struct tsdb_slice){r->body.data, r->body.len}; /* as it says: no guess */
    } else {
        status = unpack_body(r, out, err);
    }
    r->plain = status == TSDB_OK && out->data == r->body.data;
    atomic_fetch_add_explicit(&r->in->decoded_bytes, out->len, memory_order_relaxed);
    return status;
}

/* A message of one version is empty in the eyes of the other, whose fields have other numbers: an
 * empty success would tell the sender that all is well. */
static enum tsdb_status check_message(const struct ingest_request *r, struct tsdb_slice body,
                                      struct tsdb_error *err)
{
    uint32_t field = 0;
    enum wire_type type = WIRE_VARINT;
    bool framed = wire_tag(body.data, body.data + body.len, &field, &type) != NULL;
    bool v2 = r->protocol == INGEST_REMOTE_WRITE_2;
    if (framed && (v2 ? field == 1 || field == 3 : field == 4 || field == 5)) {
        return tsdb_error_set(
            err, TSDB_INVALID, "body is a message of remote write %s, but its Content-Type says %s",
            v2 ? "1.0 (prometheus.WriteRequest)" : "2.0 (io.prometheus.write.v2.Request)",
            v2 ? "2.0" : "1.0");
    }
    return TSDB_OK;
}

static enum tsdb_status decode_body(struct ingest_request *r, struct tsdb_slice body,
                                    struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    switch (r->protocol) {
    case INGEST_REMOTE_WRITE_1:
    case INGEST_REMOTE_WRITE_2:
        status = check_message(r, body, err);
        if (status != TSDB_OK) {
            return status;
        }
        return r->protocol == INGEST_REMOTE_WRITE_1 ? ingest_decode_v1(r, body.data, body.len, err)
                                                    : ingest_decode_v2(r, body.data, body.len, err);
    case INGEST_OTLP:
    case INGEST_OTLP_JSON:
        return ingest_decode_otlp(r, body.data, body.len, err);
    case INGEST_TEXT:
    case INGEST_OPENMETRICS:
        break; /* decode_import */
    }
    return TSDB_INVALID;
}

/* The next piece, or the same once more by labels. */
static enum tsdb_status decode_import(struct ingest_request *r, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    if (!r->use_aliases) {
        r->text.parser = r->text.piece;
    } else if (r->text.parser.pos == r->text.parser.end) {
        status = ingest_import_fill(r, err);
    }
    if (status == TSDB_OK) {
        status = ingest_decode_text(r, err);
    }
    return status == TSDB_LIMIT ? no_room(r, err) : status;
}

static enum tsdb_status decode(struct ingest_request *r, struct tsdb_error *err)
{
    struct tsdb_slice body;
    if (ingest_is_import(r)) {
        return decode_import(r, err);
    }
    enum tsdb_status status = find_body(r, &body, err);
    if (status == TSDB_OK && body.len > 0) {
        r->exemplars_left = (uint32_t)(body.len / INGEST_EXEMPLAR_BYTES_MIN) + 1;
        status = decode_body(r, body, err);
        if (status == TSDB_LIMIT) { /* of an arena; other limits are of single series */
            status = no_room(r, err);
        }
    }
    return status;
}

static void write_done(struct tsdb_write *w)
{
    struct ingest_request *r = w->done_arg;
    r->done(r->done_arg);
}

/* Batches are built: hand them over, or finish at once when there is nothing to hand over. */
static void hand_over(struct ingest_request *r)
{
    if (r->status == TSDB_OK && (r->build.entry_count > 0 || r->build.exemplar_count > 0)) {
        enum tsdb_durability durability =
            TSDB_MAX(tsdb_durability(r->in->db), r->context.durability);
        r->status = tsdb_build_finish(&r->build, durability, &r->write);
        if (r->status == TSDB_LIMIT) {
            r->status = no_room(r, &r->error);
        }
        r->write.request = &r->context;
        r->write.done = write_done;
        r->write.done_arg = r;
        atomic_store(&r->write.status, TSDB_OK);
        if (r->status == TSDB_OK) {
            r->submitted = true;
            enum tsdb_status status = tsdb_write_submit(r->in->db, &r->write, &r->error);
            if (status == TSDB_OK) {
                return; /* r may already belong to somebody else */
            }
            r->submitted = false;
            r->status = status;
        }
    }
    r->done(r->done_arg);
}

/* What zstd and gzip make of text and samples at most, as a rule: they say how long it is when it is
 * done, or not for sure. */
#define EXPANSION_EXPECTED 32u

bool ingest_is_large(const struct ingest_request *r)
{
    size_t decoded = 0;
    const struct ingest_options *o = &r->in->options;
    if (r->body.len > o->large_bytes) {
        return true;
    }
    if (ingest_is_zstd(r->body.data, r->body.len) || ingest_is_gzip(r->body.data, r->body.len)) {
        return r->body.len > o->large_bytes / EXPANSION_EXPECTED;
    }
    /* What is no length, or more than is taken, is refused at once. */
    return ingest_snappy_decoded_bytes(r->body.data, r->body.len, o->decoded_bytes_max, &decoded,
                                       NULL) == TSDB_OK &&
           decoded > o->large_bytes;
}

static void submit(struct ingest_request *r, enum ingest_protocol protocol,
                   enum ingest_encoding encoding, bool last, ingest_done_fn done, void *arg)
{
    r->protocol = protocol;
    r->text.last = last;
    r->encoding = encoding;
    r->done = done;
    r->done_arg = arg;
    atomic_fetch_add_explicit(&r->in->body_bytes, r->body.len, memory_order_relaxed);
    uint64_t begin = tsdb_perf_now();
    r->status = decode(r, &r->error);
    tsdb_perf_end(TSDB_LAYER_DECODE, begin);
    hand_over(r);
}

void ingest_submit(struct ingest_request *r, enum ingest_protocol protocol,
                   enum ingest_encoding encoding, ingest_done_fn done, void *arg)
{
    submit(r, protocol, encoding, true, done, arg);
}

void ingest_submit_stretch(struct ingest_request *r, enum ingest_protocol protocol,
                           enum ingest_encoding encoding, ingest_done_fn done, void *arg)
{
    TSDB_ASSERT(protocol == INGEST_TEXT || protocol == INGEST_OPENMETRICS);
    submit(r, protocol, encoding, false, done, arg);
}

/* Half of what a body of other requests may be, where that is little. */
#define STRETCH_BYTES (1u << 20)

bool ingest_is_stretch(const struct ingest_request *r)
{
    return r->body.len >= TSDB_MIN((uint64_t)STRETCH_BYTES, r->in->options.body_bytes_max / 2);
}

void ingest_resubmit(struct ingest_request *r, bool use_aliases)
{
    r->use_aliases = use_aliases;
    ingest_build_reset(r);
    r->status = decode(r, &r->error);
    hand_over(r);
}

enum tsdb_status ingest_add(struct ingest_request *r, const struct tsdb_labels *labels,
                            int64_t t_ms, uint64_t bits, struct tsdb_error *err)
{
    r->added = true;
    if (labels->count > TSDB_LABELS_MAX) {
        return tsdb_error_set(err, TSDB_INVALID, "series has %u labels, at most %u are taken",
                              labels->count, TSDB_LABELS_MAX);
    }
    enum tsdb_status status = tsdb_build_reserve(&r->build, 1);
    for (uint32_t i = 0; i < labels->count && status == TSDB_OK; i++) {
        const struct tsdb_label *l = &labels->items[i];
        char *name = tsdb_arena_strndup(&r->arena, l->name, l->name_len);
        char *value = tsdb_arena_strndup(&r->arena, l->value, l->value_len);
        r->labels[i] = (struct tsdb_label){name, value, l->name_len, l->value_len};
        status = name && value ? TSDB_OK : TSDB_NOMEM;
    }
    if (status != TSDB_OK) {
        return tsdb_error_nomem(err, "a sample");
    }
    struct tsdb_hash128 none = {0, 0};
    struct tsdb_build_target target;
    status = ingest_build_new(r, labels->count, none, &target, err);
    if (status == TSDB_OK) {
        tsdb_build_add(&r->build, &target, TSDB_SAMPLE_FLOAT, t_ms, bits);
    }
    return status;
}

void ingest_submit_added(struct ingest_request *r, ingest_done_fn done, void *arg)
{
    TSDB_ASSERT(r->added || r->build.entry_count == 0);
    r->done = done;
    r->done_arg = arg;
    hand_over(r);
}

void ingest_end(struct ingest_request *r)
{
    if (!r) {
        return;
    }
    struct ingest *in = r->in;
    ingest_import_deinit(r);
    tsdb_arena_reset(&r->arena);
    tsdb_arena_reset(&r->scratch);
    if (r->body.cap > BUFFER_KEEP_BYTES) {
        buffer_free(r, &r->body);
    }
    if (r->decoded.cap > BUFFER_KEEP_BYTES) {
        buffer_free(r, &r->decoded);
    }
    if (tsdb_account_move(&r->account, &in->account) != TSDB_OK || !pool_put(in, r)) {
        request_destroy(r);
    }
}

void ingest_stats_read(struct ingest *in, struct ingest_stats *out)
{
    tsdb_mutex_lock(&in->lock);
    out->pool_bytes = in->pool_bytes;
    tsdb_mutex_unlock(&in->lock);
    /* The two are not read at one moment. */
    uint64_t used = atomic_load_explicit(&in->account.used_bytes, memory_order_relaxed);
    out->inflight_bytes = used > out->pool_bytes ? used - out->pool_bytes : 0;
    out->peak_bytes = atomic_load_explicit(&in->account.peak_bytes, memory_order_relaxed);
    out->requests = atomic_load_explicit(&in->requests, memory_order_relaxed);
    out->requests_failed = atomic_load_explicit(&in->requests_failed, memory_order_relaxed);
    out->body_bytes = atomic_load_explicit(&in->body_bytes, memory_order_relaxed);
    out->decoded_bytes = atomic_load_explicit(&in->decoded_bytes, memory_order_relaxed);
    out->busy = atomic_load_explicit(&in->busy, memory_order_relaxed);
    out->samples = atomic_load_explicit(&in->samples, memory_order_relaxed);
    out->histograms = atomic_load_explicit(&in->histograms, memory_order_relaxed);
    out->exemplars = atomic_load_explicit(&in->exemplars, memory_order_relaxed);
    out->rejected = atomic_load_explicit(&in->rejected, memory_order_relaxed);
    out->rejected_labels = atomic_load_explicit(&in->rejected_labels, memory_order_relaxed);
    out->rejected_histograms = atomic_load_explicit(&in->rejected_histograms, memory_order_relaxed);
    out->rejected_syntax = atomic_load_explicit(&in->rejected_syntax, memory_order_relaxed);
    out->rejected_unsupported =
        atomic_load_explicit(&in->rejected_unsupported, memory_order_relaxed);
    out->metadata = atomic_load_explicit(&in->metadata, memory_order_relaxed);
    out->series_hits = atomic_load_explicit(&in->hits, memory_order_relaxed);
    out->series_misses = atomic_load_explicit(&in->misses, memory_order_relaxed);
}
