/* server/http*.c over real sockets on the loopback. */
#include "tests/support/test.h"

#include "server/http/http_private.h"
#include "tests/support/server/http_client.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define BODY_BYTES_MAX 100000u
#define WAIT_TRIES     30000 /* of a millisecond: far beyond what any of this takes */

/* What the handlers of the tests share with their test. */
struct rig {
    struct http_server *server;
    uint16_t port;
    _Atomic(uint32_t) headers, completes, ends;
    _Atomic(uint32_t) gone_seen;     /* a /hold saw its flag set */
    _Atomic(uint32_t) holding;       /* /hold exchanges that wait */
    _Atomic(uint32_t) wrong_threads; /* callbacks of one exchange in different threads */
    _Atomic(uint32_t) release;       /* lets /hold go */
    /* the queue of /late: one thread answers */
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct visit *queue;
    bool stop;
    bool started;                /* the replier runs */
    struct http_exchange *stuck; /* the exchange of /stuck */
    pthread_t replier;
};

/* One exchange of the tests. */
struct visit {
    struct rig *rig;
    struct http_exchange *x;
    struct tsdb_buf body;
    pthread_t daemon;
    uint32_t wakes;
    size_t streamed; /* bytes of /stream and /stream-refused */
    bool held;
    bool wake;       /* the replier wakes instead of answering */
    uint32_t pieces; /* of /pieces: how many were made */
    _Atomic(uint32_t) gone;
    struct visit *next;
};

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static bool wait_for(_Atomic(uint32_t) *value, uint32_t at_least)
{
    for (int i = 0; i < WAIT_TRIES; i++) {
        if (atomic_load(value) >= at_least) {
            return true;
        }
        nap();
    }
    return false;
}

static void reply_body(struct visit *v, unsigned status)
{
    struct http_reply r = {.status = status, .content_type = "text/plain", .body = &v->body};
    r.headers[0].name = "X-Test";
    r.headers[0].value = "yes";
    r.header_count = 1;
    http_reply(v->x, &r);
}

static void reply_text(struct visit *v, unsigned status, const char *text)
{
    tsdb_buf_clear(&v->body);
    tsdb_buf_put_str(&v->body, text);
    reply_body(v, status);
}

static bool path_is(struct visit *v, const char *path)
{
    return strcmp(http_path(v->x), path) == 0;
}

/* Bodies without a bound: each piece is held until another thread wakes. */
static bool is_stream(struct visit *v)
{
    return path_is(v, "/stream") || path_is(v, "/stream-refused");
}

static void on_headers(void *arg, struct http_exchange *x)
{
    struct rig *rig = arg;
    struct visit *v = calloc(1, sizeof *v);
    if (!v) {
        abort();
    }
    v->rig = rig;
    v->x = x;
    v->daemon = pthread_self();
    tsdb_buf_init(&v->body, TSDB_MEM_OTHER, 0);
    http_user_set(x, v);
    atomic_fetch_add(&rig->headers, 1);
    if (path_is(v, "/early")) {
        reply_text(v, 415, "refused\n");
    }
    if (is_stream(v)) {
        http_body_stream(x);
    }
}

static void check_thread(struct visit *v)
{
    if (!pthread_equal(v->daemon, pthread_self())) {
        atomic_fetch_add(&v->rig->wrong_threads, 1);
    }
}

static void enqueue(struct visit *v)
{
    pthread_mutex_lock(&v->rig->lock);
    v->next = v->rig->queue;
    v->rig->queue = v;
    pthread_cond_signal(&v->rig->ready);
    pthread_mutex_unlock(&v->rig->lock);
}

static void stream_piece(struct visit *v, size_t len)
{
    if (v->held || !http_hold(v->x)) {
        abort();
    }
    v->streamed += len;
    v->held = v->wake = true;
    v->wakes = 0;
    enqueue(v);
}

/* Some are held once more before the body goes on. */
static void stream_woken(struct visit *v)
{
    if (++v->wakes == 1 && v->streamed % 2 == 0) {
        if (!http_hold(v->x)) {
            abort();
        }
        enqueue(v);
        return;
    }
    v->held = false;
    if (path_is(v, "/stream-refused")) {
        reply_text(v, 400, "not this\n");
    }
}

static void on_body(void *arg, struct http_exchange *x, const void *data, size_t len)
{
    (void)arg;
    struct visit *v = http_user(x);
    check_thread(v);
    if (is_stream(v)) {
        stream_piece(v, len);
        return;
    }
    tsdb_buf_put(&v->body, data, len);
    if (path_is(v, "/refuse-body")) {
        reply_text(v, 400, "bad body\n");
    }
}

#define PIECES      40u
#define PIECE_BYTES 100000u

/* /pieces: a letter each, some empty; /pieces-broken ends in the middle, /pieces-endless never. */
static bool is_pieces(struct visit *v)
{
    return strncmp(http_path(v->x), "/pieces", 7) == 0;
}

static bool is_last(struct visit *v)
{
    return v->pieces == PIECES && !path_is(v, "/pieces-endless");
}

static void fill_piece(struct visit *v)
{
    size_t bytes = v->pieces % 5 == 3 ? 0 : PIECE_BYTES;
    tsdb_buf_clear(&v->body);
    uint8_t *p = tsdb_buf_reserve(&v->body, PIECE_BYTES);
    if (!p) {
        abort();
    }
    memset(p, (int)('a' + v->pieces % 26), bytes);
    v->body.len = bytes;
    v->pieces++;
}

static void reply_piece(struct visit *v)
{
    if (v->pieces == 0) {
        struct http_reply r = {.status = 200, .body = &v->body, .more = true};
        fill_piece(v);
        http_reply(v->x, &r);
        return;
    }
    http_take_sent(v->x, &v->body);
    if (path_is(v, "/pieces-broken") && v->pieces > 3) {
        tsdb_buf_clear(&v->body);
        http_more(v->x, &v->body, HTTP_REST_BROKEN);
        return;
    }
    fill_piece(v);
    http_more(v->x, &v->body, is_last(v) ? HTTP_REST_END : HTTP_REST_MORE);
}

/* ---- between the server and libmicrohttpd ---- */

/* The library's functions of the same names, with one order of events brought about between two threads: a
 * connection is suspended, its wake shows, the library calls the handler once more, and only then comes the
 * resume. Off but for the test that wants it. */
static atomic_bool resumes_late;
static _Atomic(uint32_t) resumes_begun, accesses;
static _Thread_local bool in_access, suspended_here;
static MHD_AccessHandlerCallback access_of_server;

static void *real(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    if (!f) {
        abort();
    }
    return f;
}

/* Until the counter moves on; not for ever, because not every call is followed by another one. */
static void wait_past(const _Atomic(uint32_t) *counter, uint32_t before)
{
    for (int i = 0; i < 20 && atomic_load(counter) == before; i++) {
        const struct timespec pause = {.tv_nsec = 100000};
        nanosleep(&pause, NULL);
    }
}

static enum MHD_Result access_between(void *cls, struct MHD_Connection *connection, const char *url,
                                      const char *method, const char *version, const char *data,
                                      size_t *len, void **con_cls)
{
    uint32_t resumed = atomic_load(&resumes_begun);
    atomic_fetch_add(&accesses, 1);
    in_access = true;
    suspended_here = false;
    enum MHD_Result r = access_of_server(cls, connection, url, method, version, data, len, con_cls);
    in_access = false;
    if (suspended_here && atomic_load(&resumes_late)) {
        wait_past(&resumes_begun, resumed);
    }
    return r;
}

struct MHD_Daemon *MHD_start_daemon(unsigned flags, uint16_t port, MHD_AcceptPolicyCallback apc,
                                    void *apc_cls, MHD_AccessHandlerCallback dh, void *dh_cls, ...)
{
    struct MHD_Daemon *(*start)(unsigned, uint16_t, MHD_AcceptPolicyCallback, void *,
                                MHD_AccessHandlerCallback, void *, va_list);
    *(void **)&start = real("MHD_start_daemon_va");
    va_list options;
    access_of_server = dh;
    va_start(options, dh_cls);
    struct MHD_Daemon *d = start(flags, port, apc, apc_cls, access_between, dh_cls, options);
    va_end(options);
    return d;
}

void MHD_suspend_connection(struct MHD_Connection *connection)
{
    void (*suspend)(struct MHD_Connection *);
    *(void **)&suspend = real("MHD_suspend_connection");
    suspended_here = true;
    suspend(connection);
}

void MHD_resume_connection(struct MHD_Connection *connection)
{
    void (*resume)(struct MHD_Connection *);
    *(void **)&resume = real("MHD_resume_connection");
    if (in_access) {
        suspended_here = false;
    } else if (atomic_load(&resumes_late)) {
        uint32_t before = atomic_load(&accesses);
        atomic_fetch_add(&resumes_begun, 1);
        wait_past(&accesses, before);
    }
    resume(connection);
}

static void *replier_main(void *arg)
{
    struct rig *rig = arg;
    pthread_mutex_lock(&rig->lock);
    while (!rig->stop) {
        struct visit *v = rig->queue;
        if (!v) {
            pthread_cond_wait(&rig->ready, &rig->lock);
            continue;
        }
        rig->queue = v->next;
        pthread_mutex_unlock(&rig->lock);
        if (v->wake) {
            http_wake(v->x);
        } else if (is_pieces(v)) {
            reply_piece(v);
        } else {
            reply_body(v, 200);
        }
        pthread_mutex_lock(&rig->lock);
    }
    pthread_mutex_unlock(&rig->lock);
    return NULL;
}

/* /hold: waits until the client is gone or the test lets go. */
static void *hold_main(void *arg)
{
    struct visit *v = arg;
    struct rig *rig = v->rig;
    for (int i = 0; i < WAIT_TRIES && !atomic_load(&rig->release); i++) {
        if (atomic_load(&v->gone)) {
            atomic_fetch_add(&rig->gone_seen, 1);
            break;
        }
        nap();
    }
    reply_text(v, 200, "held\n");
    return NULL;
}

/* /wake-gone: wakes when the client is gone, as an engine thread does that knows of no client. */
static void *wake_gone_main(void *arg)
{
    struct visit *v = arg;
    struct rig *r = v->rig;
    for (int i = 0; i < WAIT_TRIES && !atomic_load(&v->gone); i++) {
        nap();
    }
    uint32_t gone = atomic_load(&v->gone);
    http_wake(v->x); /* v may be no more */
    atomic_fetch_add(&r->gone_seen, gone);
    return NULL;
}

static void in_a_thread(struct visit *v, void *(*fn)(void *))
{
    pthread_t t;
    if (pthread_create(&t, NULL, fn, v) != 0) {
        abort();
    }
    pthread_detach(t);
}

static void on_complete(void *arg, struct http_exchange *x)
{
    struct rig *rig = arg;
    struct visit *v = http_user(x);
    check_thread(v);
    atomic_fetch_add(&rig->completes, 1);
    if (path_is(v, "/late") || is_pieces(v)) {
        enqueue(v);
    } else if (path_is(v, "/wake")) {
        v->wakes = 3;
        v->wake = true;
        enqueue(v);
    } else if (path_is(v, "/hold")) {
        http_watch(x, &v->gone);
        atomic_fetch_add(&rig->holding, 1);
        in_a_thread(v, hold_main);
    } else if (path_is(v, "/wake-gone")) {
        http_watch(x, &v->gone);
        atomic_fetch_add(&rig->holding, 1);
        in_a_thread(v, wake_gone_main);
    } else if (is_stream(v)) {
        char text[24];
        if (v->held) {
            abort();
        }
        snprintf(text, sizeof text, "%zu", v->streamed);
        reply_text(v, 200, text);
    } else if (path_is(v, "/stuck")) {
        rig->stuck = x; /* nobody answers */
        atomic_fetch_add(&rig->holding, 1);
    } else {
        reply_body(v, 200);
    }
}

static void on_wake(void *arg, struct http_exchange *x)
{
    (void)arg;
    struct visit *v = http_user(x);
    check_thread(v);
    if (is_stream(v)) {
        stream_woken(v);
        return;
    }
    if (path_is(v, "/wake-gone")) { /* libmicrohttpd saw the request before it saw the end */
        reply_body(v, 200);
        return;
    }
    v->wake = --v->wakes > 1; /* woken twice, then answered from the other thread */
    if (v->wakes == 1) {
        tsdb_buf_put_str(&v->body, "woken");
    }
    enqueue(v);
}

/* Every third one at once, in the daemon's thread. */
static void on_more(void *arg, struct http_exchange *x)
{
    (void)arg;
    struct visit *v = http_user(x);
    check_thread(v);
    if (v->pieces % 3 == 0) {
        reply_piece(v);
    } else {
        enqueue(v);
    }
}

static void on_end(void *arg, struct http_exchange *x)
{
    struct rig *rig = arg;
    struct visit *v = http_user(x);
    if (v) {
        check_thread(v);
        tsdb_buf_deinit(&v->body);
        free(v);
        atomic_fetch_add(&rig->ends, 1);
    }
}

static void on_listen(void *arg, uint16_t port)
{
    struct rig *rig = arg;
    rig->port = rig->server ? 0 : port; /* nobody is served yet */
}

static void on_refuse(void *arg, struct http_exchange *x, struct http_reply *reply)
{
    (void)arg;
    (void)x;
    reply->headers[0].name = "X-Refused";
    reply->headers[0].value = "yes";
    reply->header_count = 1;
}

/* One for each test; the test starts it, teardown stops it. */
static struct rig rig;
static int64_t header_timeout_ms, body_timeout_ms,
    write_timeout_ms; /* set before rig_start; 0: as timeout_ms */

static void rig_start(uint32_t threads, uint32_t connections_max, int64_t timeout_ms)
{
    pthread_mutex_init(&rig.lock, NULL);
    pthread_cond_init(&rig.ready, NULL);
    struct http_options o = {.listen_address = "127.0.0.1:0",
                             .threads = threads,
                             .connections_max = connections_max,
                             .read_timeout_ms = timeout_ms,
                             .header_timeout_ms = header_timeout_ms,
                             .body_timeout_ms = body_timeout_ms,
                             .write_timeout_ms = write_timeout_ms,
                             .body_bytes_max = BODY_BYTES_MAX};
    struct http_handlers h = {.on_headers = on_headers,
                              .on_body = on_body,
                              .on_complete = on_complete,
                              .on_wake = on_wake,
                              .on_more = on_more,
                              .on_end = on_end,
                              .on_refuse = on_refuse,
                              .on_listen = on_listen,
                              .arg = &rig};
    struct tsdb_error err = {0};
    assert_ok_err(http_start(&o, &h, &rig.server, &err), &err);
    assert_true(rig.port != 0);
    assert_int_equal(rig.port, http_port(rig.server));
    assert_int_equal(pthread_create(&rig.replier, NULL, replier_main, &rig), 0);
    rig.started = true;
}

static int setup(void **state)
{
    (void)state;
    memset(&rig, 0, sizeof rig);
    header_timeout_ms = body_timeout_ms = write_timeout_ms = 0;
    return 0;
}

static void rig_stop(void)
{
    assert_true(http_stop(rig.server, 10000));
    pthread_mutex_lock(&rig.lock);
    rig.stop = true;
    pthread_cond_signal(&rig.ready);
    pthread_mutex_unlock(&rig.lock);
    pthread_join(rig.replier, NULL);
    assert_int_equal(atomic_load(&rig.headers), atomic_load(&rig.ends));
    assert_int_equal(atomic_load(&rig.wrong_threads), 0);
    pthread_cond_destroy(&rig.ready);
    pthread_mutex_destroy(&rig.lock);
    rig.server = NULL;
    rig.started = false;
}

static int teardown(void **state)
{
    (void)state;
    if (rig.started) {
        rig_stop();
    }
    return 0;
}

static void expect(struct http_answer *a, int status, const char *body)
{
    assert_int_equal(a->status, status);
    if (body) {
        assert_string_equal(a->body, body);
    }
    http_answer_free(a);
}

/* The connection still serves. */
static void expect_alive(struct http_client *c)
{
    struct http_answer a;
    http_client_call(c, "POST", "/echo", NULL, "still here", 10, &a);
    expect(&a, 200, "still here");
}

static void serve__keep_alive__answers_each_request(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    rig_start(2, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    for (int i = 0; i < 5; i++) {
        char body[16];
        int n = snprintf(body, sizeof body, "request %d", i);
        http_client_call(&c, "POST", "/echo?q=1", NULL, body, (size_t)n, &a);
        char value[32];
        assert_true(http_answer_header(&a, "X-Test", value, sizeof value));
        assert_string_equal(value, "yes");
        assert_true(http_answer_header(&a, "Content-Type", value, sizeof value));
        assert_string_equal(value, "text/plain");
        expect(&a, 200, body);
    }
    http_client_call(&c, "GET", "/echo", NULL, NULL, 0, &a);
    expect(&a, 200, "");
    struct http_stats stats;
    http_stats_read(rig.server, &stats);
    assert_int_equal(stats.connections, 1);
    assert_int_equal(stats.requests, 6);
    assert_int_equal(stats.bytes_in, 45);
    assert_int_equal(stats.bytes_out, 45);
    assert_int_equal(stats.connections_open, 1);
    http_client_close(&c);
}

static void serve__two_requests_in_one_packet__answers_in_order(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    /* the first is suspended while the second already waits in the buffer */
    assert_true(http_client_send_text(
        &c, "POST /late HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\none"
            "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\ntwo"));
    http_client_read(&c, false, &a);
    expect(&a, 200, "one");
    http_client_read(&c, false, &a);
    expect(&a, 200, "two");
    http_client_close(&c);
}

static void serve__head__has_length_and_no_body(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    http_client_call(&c, "HEAD", "/early", NULL, NULL, 0, &a);
    char value[32];
    assert_true(http_answer_header(&a, "Content-Length", value, sizeof value));
    assert_string_equal(value, "8");
    expect(&a, 415, "");
    expect_alive(&c);
    http_client_close(&c);
}

static void body__chunked__arrives_whole(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(
        &c, "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"));
    assert_true(http_client_send_text(&c, "5\r\nhello\r\n"));
    assert_true(http_client_send_text(&c, "7\r\n, world\r\n0\r\n\r\n"));
    http_client_read(&c, false, &a);
    expect(&a, 200, "hello, world");
    expect_alive(&c);
    http_client_close(&c);
}

static void body__as_large_as_allowed__arrives_whole(void **state)
{
    (void)state;
    struct http_answer a;
    static char body[BODY_BYTES_MAX];
    for (size_t i = 0; i < sizeof body; i++) {
        body[i] = (char)('a' + i % 26);
    }
    rig_start(1, 16, 60000);
    http_client_once(rig.port, "POST", "/echo", NULL, body, sizeof body, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body_len, sizeof body);
    assert_memory_equal(a.body, body, sizeof body);
    http_answer_free(&a);
}

static void body__expect_continue__is_asked_for(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    char buf[64] = "";
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(&c, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n"
                                          "Expect: 100-continue\r\n\r\n"));
    assert_true(recv(c.fd, buf, 12, MSG_WAITALL) == 12);
    assert_memory_equal(buf, "HTTP/1.1 100", 12);
    assert_true(recv(c.fd, buf, 13, MSG_WAITALL) == 13); /* " Continue" and the blank line */
    assert_true(http_client_send_text(&c, "body"));
    http_client_read(&c, false, &a);
    expect(&a, 200, "body");
    expect_alive(&c);
    http_client_close(&c);
}

static void body__expect_continue_refused__is_answered_without_it_and_closed(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(
        &c,
        "POST /early HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"));
    http_client_read(&c, false, &a);
    expect(&a, 415, "refused\n");
    assert_true(http_client_closed(&c));
    http_client_close(&c);
    assert_int_equal(atomic_load(&rig.completes), 0);
}

static void early__refusal__reads_the_body_away_and_keeps_the_connection(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    static char body[BODY_BYTES_MAX];
    memset(body, 'x', sizeof body);
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    http_client_call(&c, "POST", "/early", NULL, body, sizeof body, &a);
    expect(&a, 415, "refused\n");
    http_client_call(&c, "POST", "/refuse-body", NULL, body, sizeof body, &a);
    expect(&a, 400, "bad body\n");
    expect_alive(&c);
    assert_true(http_client_send_text(
        &c, "POST /early HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
            "4\r\nbody\r\n0\r\n\r\n"));
    http_client_read(&c, false, &a);
    expect(&a, 415, "refused\n");
    expect_alive(&c);
    assert_int_equal(atomic_load(&rig.completes), 2);
    http_client_close(&c);
}

static void oversized__by_length__is_answered_and_closed(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(
        &c, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 100001\r\n\r\n"));
    http_client_read(&c, false, &a);
    expect(&a, 413, NULL);
    assert_true(http_client_closed(&c));
    http_client_close(&c);
    /* a handler that refuses by itself says why; the connection ends all the same */
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(
        &c, "POST /early HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999999999999\r\n\r\n"));
    http_client_read(&c, false, &a);
    assert_true(a.status == 415 || a.status == 413 || a.status == 400 || a.status == 0);
    http_answer_free(&a);
    assert_true(http_client_closed(&c));
    http_client_close(&c);
    assert_int_equal(atomic_load(&rig.completes), 0);
}

static void oversized__chunked__is_answered_and_closed(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    static char chunk[20000];
    memset(chunk, 'x', sizeof chunk);
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(
        &c, "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"));
    /* one byte more than allowed, and then silence: nothing is left unread that would make the
     * kernel reset the connection and take the answer with it */
    for (int i = 0; i < 5; i++) {
        assert_true(http_client_send_text(&c, "4e20\r\n"));
        assert_true(http_client_send(&c, chunk, sizeof chunk));
        assert_true(http_client_send_text(&c, "\r\n"));
    }
    assert_true(http_client_send_text(&c, "1\r\nx"));
    http_client_read(&c, false, &a);
    expect(&a, 413, "request body is larger than the limit\n");
    assert_true(http_client_closed(&c));
    http_client_close(&c);
    assert_int_equal(atomic_load(&rig.completes), 0);
}

#define STREAM_PIECES 60u
#define STREAM_BYTES  20000u

static bool send_stream(struct http_client *c, const char *path, bool chunked)
{
    static const char zeroes[STREAM_BYTES];
    char text[160];
    snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: t\r\n%s\r\n\r\n", path,
             chunked ? "Transfer-Encoding: chunked" : "Content-Length: 1200000");
    bool ok = http_client_send_text(c, text);
    for (uint32_t i = 0; ok && i < STREAM_PIECES; i++) {
        ok = (!chunked || http_client_send_text(c, "4e20\r\n")) &&
             http_client_send(c, zeroes, sizeof zeroes) &&
             (!chunked || http_client_send_text(c, "\r\n"));
    }
    return ok && (!chunked || http_client_send_text(c, "0\r\n\r\n"));
}

static void *stream_main(void *arg)
{
    uint32_t *wrong = arg;
    struct http_client c;
    if (http_client_open(&c, rig.port) != 0) {
        ++*wrong;
        return NULL;
    }
    for (uint32_t i = 0; i < 20;
         i++) { /* twelve times what a body may be, and the connection lives on */
        struct http_answer a;
        *wrong += !send_stream(&c, "/stream", i % 2 != 0);
        http_client_read(&c, false, &a);
        *wrong += a.status != 200 || strcmp(a.body, "1200000") != 0;
        http_answer_free(&a);
    }
    http_client_close(&c);
    return NULL;
}

/* The body stands still while a piece of it is held, and comes whole. */
static void stream__held_piece_by_piece__comes_whole_and_one_at_a_time(void **state)
{
    (void)state;
    pthread_t threads[4];
    uint32_t wrong[4] = {0};
    rig_start(2, 64, 60000);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, stream_main, &wrong[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
}

/* The library's second call meets a wake whose resume has not come. */
static void stream__resume_comes_late__no_wake_is_lost(void **state)
{
    (void)state;
    struct http_client c;
    rig_start(1, 16, 60000);
    atomic_store(&resumes_late, true);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    for (int i = 0; i < 4; i++) {
        struct http_answer a;
        assert_true(send_stream(&c, "/stream", i % 2 != 0));
        http_client_read(&c, false, &a);
        expect(&a, 200, "1200000");
    }
    http_client_close(&c);
    atomic_store(&resumes_late, false);
}

/* Answered in the middle: what follows is read away, up to a bound; who goes on is cut, and told why. */
static void stream__refused_in_the_middle__is_answered_and_cut(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    static const char zeroes[STREAM_BYTES];
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(
        &c, "POST /stream-refused HTTP/1.1\r\nHost: t\r\nContent-Length: 50000\r\n\r\n"));
    assert_true(http_client_send(&c, zeroes, sizeof zeroes));
    assert_true(http_client_send(&c, zeroes, sizeof zeroes));
    assert_true(http_client_send(&c, zeroes, 10000));
    http_client_read(&c, false, &a);
    expect(&a, 400, "not this\n");
    expect_alive(&c);
    http_client_close(&c);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    (void)send_stream(&c, "/stream-refused", false); /* the rest may meet a closed connection */
    http_client_read(&c, false, &a);
    assert_true(a.status == 400 || a.status == 0); /* or its reset took the answer with it */
    http_answer_free(&a);
    assert_true(http_client_closed(&c));
    http_client_close(&c);
}

/* A client that is gone while its body is held, and one that is there when the server stops. */
static void stream__client_gone_or_server_stops__nothing_hangs(void **state)
{
    (void)state;
    struct http_client c[2];
    static const char zeroes[STREAM_BYTES];
    rig_start(1, 16, 60000);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(http_client_open(&c[i], rig.port), 0);
        assert_true(http_client_send_text(
            &c[i], "POST /stream HTTP/1.1\r\nHost: t\r\nContent-Length: 900000\r\n\r\n"));
        assert_true(http_client_send(&c[i], zeroes, sizeof zeroes));
    }
    assert_true(wait_for(&rig.headers, 2));
    http_client_close(&c[0]);
    assert_true(wait_for(&rig.ends, 1));
    assert_true(http_stop(rig.server, 50)); /* the other one does not go on */
    rig.server = NULL;
    http_client_close(&c[1]);
    assert_int_equal(atomic_load(&rig.ends), 2);
}

static void expect_pieces(const struct http_answer *a)
{
    size_t at = 0;
    assert_int_equal(a->status, 200);
    for (uint32_t i = 0; i < PIECES; i++) {
        for (size_t k = 0; k < PIECE_BYTES && i % 5 != 3; k++) {
            assert_int_equal(a->body[at++], 'a' + (int)(i % 26));
        }
    }
    assert_int_equal(a->body_len, at);
}

static void pieces__made_one_by_one__come_whole_and_the_connection_lives_on(void **state)
{
    (void)state;
    struct http_client c[2];
    struct http_answer a;
    rig_start(2, 16, 60000);
    assert_int_equal(http_client_open(&c[0], rig.port), 0);
    assert_int_equal(http_client_open(&c[1], rig.port), 0);
    for (int i = 0; i < 4; i++) {
        assert_true(http_client_send_text(&c[0], "GET /pieces HTTP/1.1\r\nHost: t\r\n\r\n"));
        assert_true(http_client_send_text(&c[1], "GET /pieces HTTP/1.1\r\nHost: t\r\n\r\n"));
        http_client_read(&c[0], false, &a);
        expect_pieces(&a);
        http_answer_free(&a);
        http_client_read(&c[1], false, &a);
        expect_pieces(&a);
        http_answer_free(&a);
        expect_alive(&c[0]);
    }
    assert_true(http_client_send_text(&c[0], "HEAD /pieces HTTP/1.1\r\nHost: t\r\n\r\n"));
    http_client_read(&c[0], true, &a);
    assert_int_equal(a.status, 200);
    http_answer_free(&a);
    assert_true(http_client_closed(&c[0]));
    http_client_close(&c[0]);
    http_client_close(&c[1]);
}

/* Without chunks the end of the connection is the end of the answer. */
static void pieces__http_1_0__end_with_the_connection(void **state)
{
    (void)state;
    struct http_client c;
    size_t got = 0;
    ssize_t n = 0;
    static char bytes[65536];
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(&c, "GET /pieces HTTP/1.0\r\nHost: t\r\n\r\n"));
    while ((n = recv(c.fd, bytes, sizeof bytes, 0)) > 0) {
        got += (size_t)n;
    }
    assert_int_equal(n, 0);
    assert_in_range(got, PIECES * 4 / 5 * PIECE_BYTES, PIECES * 4 / 5 * PIECE_BYTES + 1000);
    http_client_close(&c);
}

/* Nobody may take a part for the whole: the last chunk does not come. */
static void pieces__broken_in_the_middle__are_cut(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(&c, "GET /pieces-broken HTTP/1.1\r\nHost: t\r\n\r\n"));
    http_client_read(&c, false, &a);
    assert_int_equal(a.status, 0); /* ended before its end */
    assert_non_null(a.head);
    http_answer_free(&a);
    assert_true(http_client_closed(&c));
    http_client_close(&c);
}

/* Who takes nothing of its answer is cut off, and holds up nobody else; so with an answer that came at once. */
static void pieces__reader_stands_still__is_cut_off(void **state)
{
    (void)state;
    struct http_client c;
    struct http_stats stats = {0};
    write_timeout_ms = 300;
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(&c, "GET /pieces-endless HTTP/1.1\r\nHost: t\r\n\r\n"));
    assert_true(wait_for(&rig.completes, 1));
    struct http_client other;
    assert_int_equal(http_client_open(&other, rig.port), 0);
    expect_alive(&other);
    assert_true(wait_for(&rig.ends, 2));
    http_stats_read(rig.server, &stats);
    assert_int_equal(stats.connections_late, 1);
    expect_alive(&other);
    http_client_close(&c);
    http_client_close(&other);
}

static void pieces__client_gone_or_server_stops__nothing_hangs(void **state)
{
    (void)state;
    struct http_client c[2];
    rig_start(1, 16, 60000);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(http_client_open(&c[i], rig.port), 0);
        assert_true(
            http_client_send_text(&c[i], "GET /pieces-endless HTTP/1.1\r\nHost: t\r\n\r\n"));
    }
    assert_true(wait_for(&rig.completes, 2));
    http_client_close(&c[0]);
    assert_true(wait_for(&rig.ends, 1));
    assert_true(http_stop(rig.server, 50)); /* the other one does not go on */
    rig.server = NULL;
    http_client_close(&c[1]);
    assert_int_equal(atomic_load(&rig.ends), 2);
}

static void hostile__heads_and_lengths__leave_the_server_well(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "\r\n\r\n\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 12x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        "GET /\xff\xfe%00%zz HTTP/1.1\r\nHost: t\r\n\r\n",
        ": : :\r\n: \r\n\r\n",
    };
    rig_start(1, 64, 2000);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(requests); i++) {
        struct http_client c;
        assert_int_equal(http_client_open(&c, rig.port), 0);
        (void)http_client_send_text(&c, requests[i]);
        shutdown(c.fd, SHUT_WR);
        assert_true(http_client_closed(&c)); /* whatever it says, it comes to an end */
        http_client_close(&c);
    }
    assert_int_equal(atomic_load(&rig.completes), 1); /* the odd path, which is nothing bad */
    struct http_client c;
    assert_int_equal(http_client_open(&c, rig.port), 0);
    expect_alive(&c);
    http_client_close(&c);
}

static void hostile__headers_larger_than_the_pool__are_refused(void **state)
{
    (void)state;
    struct http_client c;
    static char line[300000];
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    memset(line, 'h', sizeof line - 1);
    assert_true(http_client_send_text(&c, "GET /echo HTTP/1.1\r\nHost: t\r\nX-Long: "));
    (void)http_client_send(&c, line, sizeof line - 1);
    assert_true(http_client_closed(&c));
    http_client_close(&c);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    expect_alive(&c);
    http_client_close(&c);
}

static void slow_client__half_a_request__is_closed_after_the_timeout(void **state)
{
    (void)state;
    struct http_client c;
    struct http_client d;
    rig_start(1, 16, 1000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_int_equal(http_client_open(&d, rig.port), 0);
    assert_true(http_client_send_text(&c, "POST /echo HTTP/1.1\r\nHos"));
    assert_true(http_client_send_text(
        &d, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhalf"));
    assert_true(http_client_closed(&c));
    assert_true(http_client_closed(&d));
    http_client_close(&c);
    http_client_close(&d);
    assert_int_equal(atomic_load(&rig.completes), 0);
}

static void strict__head_that_may_be_read_in_two_ways__is_refused_once_and_closed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } heads[] = {
#define HEAD(text) {text, sizeof(text) - 1}
        HEAD("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length : 32\r\n\r\n"
             "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
        HEAD("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length\t: 32\r\n\r\n"),
        HEAD("GET /echo\0/x HTTP/1.1\r\nHost: t\r\n\r\n"),
        HEAD("GET /echo?a=1\0b HTTP/1.1\r\nHost: t\r\n\r\n"),
        HEAD("GET /echo HTTP/1.1\r\nX: a\0b\r\nHost: t\r\n\r\n"),
        HEAD("GET /echo HTTP/1.1\r\nX: a\x01\r\nHost: t\r\n\r\n"),
        HEAD("GET /echo HTTP/1.1\r\nX[: a\r\nHost: t\r\n\r\n"),
        HEAD("GET /echo HTTP/1.1\r\nX: a\nHost: t\r\n\r\n"),
        HEAD("GET /echo HTTP/1.1\r\nX: a\rHost: t\r\n\r\n"),
        HEAD("GET /echo HTTP/1.1\nHost: t\r\n\r\n"),
        HEAD("GET /echo HTTP/1.1\r\nX: a\r\n b\r\nHost: t\r\n\r\n"),
        HEAD("GET /ec ho HTTP/1.1\r\nHost: t\r\n\r\n"),
        HEAD("GET /echo HTTP/1.1\r\n\r\n"),
        HEAD("GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
#undef HEAD
    };
    rig_start(1, 64, 60000);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(heads); i++) {
        struct http_client c;
        char all[4096];
        size_t n = 0;
        ssize_t got;
        assert_int_equal(http_client_open(&c, rig.port), 0);
        assert_true(http_client_send(&c, heads[i].bytes, heads[i].len));
        while (n < sizeof all - 1 && (got = recv(c.fd, all + n, sizeof all - 1 - n, 0)) > 0) {
            n += (size_t)got;
        }
        all[n] = '\0';
        http_client_close(&c);
        if (strncmp(all, "HTTP/1.1 400", 12) != 0 || strstr(all + 12, "HTTP/1.1")) {
            fail_msg("case %zu: %s", i, all);
        }
    }
    assert_int_equal(atomic_load(&rig.completes), 0);
}

static void target__forms_of_one_path__are_one_path(void **state)
{
    (void)state;
    static const char *const targets[] = {"http://host:80/early", "HTTPS://h/early?x=http://y/z",
                                          "/%65arly", "//early", "/ea%72l%79?"};
    rig_start(1, 16, 60000);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(targets); i++) {
        struct http_answer a;
        http_client_once(rig.port, "GET", targets[i], NULL, NULL, 0, &a);
        expect(&a, 415, "refused\n");
    }
}

static void slow_client__drips__is_closed_all_the_same(void **state)
{
    (void)state;
    static const char *const begin[] = {
        "GET /echo HTTP/1.1\r\nHost: t\r\nX: ",
        "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n"};
    header_timeout_ms = 300;
    body_timeout_ms = 300;
    rig_start(1, 16, 60000);
    for (size_t i = 0; i < TSDB_ARRAY_LEN(begin); i++) {
        struct http_client c;
        int drops = 0;
        assert_int_equal(http_client_open(&c, rig.port), 0);
        assert_true(http_client_send_text(&c, begin[i]));
        while (drops < WAIT_TRIES && http_client_send_text(&c, "x")) {
            nap();
            drops++;
        }
        assert_true(drops < WAIT_TRIES);
        http_client_close(&c);
    }
    assert_int_equal(atomic_load(&rig.completes), 0);
    struct http_stats stats;
    http_stats_read(rig.server, &stats);
    assert_int_equal(stats.connections_late, 2);
}

static void connections__beyond_the_limit__take_the_place_of_an_idle_one(void **state)
{
    (void)state;
    struct http_client c[3];
    rig_start(1, 2, 60000);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(http_client_open(&c[i], rig.port), 0);
        expect_alive(&c[i]);
    }
    assert_int_equal(http_client_open(&c[2], rig.port), 0);
    expect_alive(&c[2]);
    assert_true(http_client_closed(&c[0]));
    expect_alive(&c[1]);
    struct http_stats stats;
    http_stats_read(rig.server, &stats);
    assert_int_equal(stats.connections_refused, 0);
    for (int i = 0; i < 3; i++) {
        http_client_close(&c[i]);
    }
    /* a place that was given back can be had again */
    struct http_answer a = {0};
    for (int i = 0; i < WAIT_TRIES && a.status != 200; i++) {
        http_answer_free(&a);
        http_client_once(rig.port, "GET", "/echo", NULL, NULL, 0, &a);
    }
    expect(&a, 200, "");
}

/* All places are held by clients that do not end their requests: whoever comes then is served all the same, and
 * who waits for an answer is left alone. */
static void connections__all_slow__one_makes_room(void **state)
{
    (void)state;
    static const char *const begin[] = {
        "GET /echo HTTP/1.1\r\nHost: t\r\nX: ",
        "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\nhalf"};
    struct http_client held;
    struct http_client slow[3];
    struct http_answer a;
    header_timeout_ms = body_timeout_ms = 30000; /* a tenth is slow */
    rig_start(1, 4, 600000);
    assert_int_equal(http_client_open(&held, rig.port), 0);
    assert_true(http_client_send_text(&held, "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n"));
    assert_true(wait_for(&rig.holding, 1));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(http_client_open(&slow[i], rig.port), 0);
        assert_true(http_client_send_text(&slow[i], begin[i % 2]));
    }
    http_client_once(rig.port, "POST", "/echo", NULL, "here", 4, &a);
    expect(&a, 200, "here");
    atomic_store(&rig.release, 1);
    http_client_read(&held, false, &a);
    expect(&a, 200, "held\n");
    http_client_close(&held);
    /* one place was enough: the others, slow as they are, go on */
    assert_true(http_client_closed(&slow[0]));
    assert_true(http_client_send(&slow[1], "0123456789", 10));
    assert_true(http_client_send(&slow[1], (char[86]){"and the rest"}, 86));
    http_client_read(&slow[1], false, &a);
    expect(&a, 200, NULL);
    for (int i = 0; i < 3; i++) {
        http_client_close(&slow[i]);
    }
}

struct storm {
    struct rig *rig;
    const char *path;
    const char *want;
    uint32_t rounds;
    uint32_t wrong;
};

static void *storm_main(void *arg)
{
    struct storm *s = arg;
    struct http_client c;
    if (http_client_open(&c, s->rig->port) != 0) {
        s->wrong++;
        return NULL;
    }
    for (uint32_t i = 0; i < s->rounds; i++) {
        struct http_answer a;
        http_client_call(&c, "POST", s->path, NULL, "ping", 4, &a);
        s->wrong += a.status != 200 || strcmp(a.body, s->want) != 0;
        http_answer_free(&a);
    }
    http_client_close(&c);
    return NULL;
}

static void storm(const char *path, const char *want)
{
    struct storm storms[6];
    pthread_t threads[6];
    rig_start(2, 64, 60000);
    for (int i = 0; i < 6; i++) {
        storms[i] = (struct storm){&rig, path, want, 400, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, storm_main, &storms[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(storms[i].wrong, 0);
    }
    assert_int_equal(atomic_load(&rig.completes), 6 * 400);
}

/* Answers from another thread come before, while and after the connection is suspended. */
static void reply__from_another_thread__meets_every_moment(void **state)
{
    (void)state;
    storm("/late", "ping");
}

static void wake__from_another_thread__runs_in_the_daemons_thread(void **state)
{
    (void)state;
    storm("/wake", "pingwoken");
}

static void watch__client_goes_away__sets_the_flag(void **state)
{
    (void)state;
    struct http_client c;
    struct http_client d;
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_int_equal(http_client_open(&d, rig.port), 0);
    assert_true(http_client_send_text(&c, "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n"));
    assert_true(http_client_send_text(&d, "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n"));
    assert_true(wait_for(&rig.holding, 2));
    assert_int_equal(atomic_load(&rig.gone_seen), 0);
    http_client_close(&c);
    assert_true(wait_for(&rig.gone_seen, 1));
    /* the other one is still there, and gets its answer */
    atomic_store(&rig.release, 1);
    struct http_answer a;
    http_client_read(&d, false, &a);
    expect(&a, 200, "held\n");
    /* a watched connection goes on to serve, and may be watched again */
    http_client_call(&d, "GET", "/hold", NULL, NULL, 0, &a);
    expect(&a, 200, "held\n");
    http_client_close(&d);
    rig_stop();
    assert_int_equal(atomic_load(&rig.gone_seen), 1);
}

static void stop__time_is_up__tells_watched_exchanges_and_waits_for_them(void **state)
{
    (void)state;
    struct http_client c;
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(&c, "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n"));
    assert_true(wait_for(&rig.holding, 1));
    assert_true(http_stop(rig.server, 2000));
    assert_int_equal(atomic_load(&rig.gone_seen), 1);
    rig.server = NULL;
    http_client_close(&c);
}

static void stop__clients_gone_before_the_wake__does_not_wait_for_them(void **state)
{
    (void)state;
    rig_start(1, 16, 60000);
    for (int i = 0; i < 5; i++) {
        struct http_client c;
        assert_int_equal(http_client_open(&c, rig.port), 0);
        assert_true(http_client_send_text(&c, "GET /wake-gone HTTP/1.1\r\nHost: t\r\n\r\n"));
        assert_true(wait_for(&rig.holding, (uint32_t)i + 1));
        http_client_close(&c);
        assert_true(wait_for(&rig.gone_seen, (uint32_t)i + 1));
    }
    rig_stop();
    assert_int_equal(atomic_load(&rig.completes), 5);
}

static void stop__nobody_answers__gives_up(void **state)
{
    (void)state;
    struct http_client c;
    struct http_answer a;
    rig_start(1, 16, 60000);
    assert_int_equal(http_client_open(&c, rig.port), 0);
    assert_true(http_client_send_text(&c, "GET /stuck HTTP/1.1\r\nHost: t\r\n\r\n"));
    assert_true(wait_for(&rig.holding, 1));
    assert_false(http_stop(rig.server, 50));
    /* everything is still there for whoever answers in the end; then it can be stopped */
    reply_text(http_user(rig.stuck), 200, "at last\n");
    http_client_read(&c, false, &a);
    expect(&a, 200, "at last\n");
    http_client_close(&c);
    rig_stop();
}

static void *stop_main(void *arg)
{
    (void)arg;
    assert_true(http_stop(rig.server, 30000));
    return NULL;
}

static void stop__exchange_open__finishes_it_and_refuses_new_ones(void **state)
{
    (void)state;
    struct http_client held;
    struct http_client other;
    struct http_client upload;
    struct http_answer a = {0};
    pthread_t stopper;
    rig_start(1, 64, 60000);
    assert_int_equal(http_client_open(&held, rig.port), 0);
    assert_true(http_client_send_text(&held, "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n"));
    assert_true(wait_for(&rig.holding, 1));
    assert_int_equal(http_client_open(&upload, rig.port), 0);
    assert_true(http_client_send_text(
        &upload, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 8\r\n\r\nhalf"));
    assert_true(wait_for(&rig.headers, 2));
    assert_int_equal(http_client_open(&other, rig.port), 0);
    expect_alive(&other);
    assert_int_equal(pthread_create(&stopper, NULL, stop_main, NULL), 0);
    /* once it drains, a living connection is told to go */
    for (int i = 0; i < WAIT_TRIES && a.status != 503; i++) {
        http_answer_free(&a);
        http_client_call(&other, "GET", "/echo", NULL, NULL, 0, &a);
        if (a.status == 0) { /* the answer before already said "close" */
            break;
        }
    }
    assert_true(a.status == 503 || a.status == 0);
    char v[8];
    if (a.status == 503) {
        assert_true(http_answer_header(&a, "X-Refused", v, sizeof v));
    }
    http_answer_free(&a);
    /* what was begun is finished */
    assert_true(http_client_send_text(&upload, "half"));
    http_client_read(&upload, false, &a);
    expect(&a, 200, "halfhalf");
    atomic_store(&rig.release, 1);
    http_client_read(&held, false, &a);
    expect(&a, 200, "held\n");
    pthread_join(stopper, NULL);
    rig.server = NULL;
    http_client_close(&held);
    http_client_close(&other);
    http_client_close(&upload);
}

/* Connections leave descriptors to the log. */
static void start__few_descriptors__fewer_connections(void **state)
{
    (void)state;
    struct rlimit old, low = {.rlim_cur = 400};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(http_connections_fit(512), 75); /* of a quarter, 100, a quarter is kept */
    assert_int_equal(http_connections_fit(75), 75);
    assert_int_equal(http_connections_fit(1), 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static void start__bad_address__is_an_error(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "9494", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "no such host.invalid:1"};
    struct http_handlers h = {.on_headers = on_headers};
    for (size_t i = 0; i < TSDB_ARRAY_LEN(bad); i++) {
        struct http_options o = {.listen_address = bad[i], .threads = 1, .connections_max = 4};
        struct http_server *s = NULL;
        struct tsdb_error err = {0};
        assert_int_not_equal(http_start(&o, &h, &s, &err), TSDB_OK);
        assert_null(s);
        assert_true(err.msg[0] != '\0');
    }
}

static void start__address_in_use__is_an_error(void **state)
{
    (void)state;
    char address[32];
    rig_start(1, 4, 60000);
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)rig.port);
    struct http_handlers h = {.on_headers = on_headers};
    struct http_options o = {.listen_address = address, .threads = 1, .connections_max = 4};
    struct http_server *s = NULL;
    struct tsdb_error err = {0};
    assert_int_equal(http_start(&o, &h, &s, &err), TSDB_IO);
    assert_non_null(strstr(err.msg, address));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    CASE(serve__keep_alive__answers_each_request),
    CASE(serve__two_requests_in_one_packet__answers_in_order),
    CASE(serve__head__has_length_and_no_body),
    CASE(body__chunked__arrives_whole),
    CASE(body__as_large_as_allowed__arrives_whole),
    CASE(body__expect_continue__is_asked_for),
    CASE(body__expect_continue_refused__is_answered_without_it_and_closed),
    CASE(early__refusal__reads_the_body_away_and_keeps_the_connection),
    CASE(oversized__by_length__is_answered_and_closed),
    CASE(oversized__chunked__is_answered_and_closed),
    CASE(stream__held_piece_by_piece__comes_whole_and_one_at_a_time),
    CASE(stream__resume_comes_late__no_wake_is_lost),
    CASE(stream__refused_in_the_middle__is_answered_and_cut),
    CASE(stream__client_gone_or_server_stops__nothing_hangs),
    CASE(pieces__made_one_by_one__come_whole_and_the_connection_lives_on),
    CASE(pieces__http_1_0__end_with_the_connection),
    CASE(pieces__broken_in_the_middle__are_cut),
    CASE(pieces__reader_stands_still__is_cut_off),
    CASE(pieces__client_gone_or_server_stops__nothing_hangs),
    CASE(hostile__heads_and_lengths__leave_the_server_well),
    CASE(hostile__headers_larger_than_the_pool__are_refused),
    CASE(slow_client__half_a_request__is_closed_after_the_timeout),
    CASE(strict__head_that_may_be_read_in_two_ways__is_refused_once_and_closed),
    CASE(target__forms_of_one_path__are_one_path),
    CASE(slow_client__drips__is_closed_all_the_same),
    CASE(connections__beyond_the_limit__take_the_place_of_an_idle_one),
    CASE(connections__all_slow__one_makes_room),
    CASE(reply__from_another_thread__meets_every_moment),
    CASE(wake__from_another_thread__runs_in_the_daemons_thread),
    CASE(watch__client_goes_away__sets_the_flag),
    CASE(stop__time_is_up__tells_watched_exchanges_and_waits_for_them),
    CASE(stop__clients_gone_before_the_wake__does_not_wait_for_them),
    CASE(stop__nobody_answers__gives_up),
    CASE(stop__exchange_open__finishes_it_and_refuses_new_ones),
    CASE(start__few_descriptors__fewer_connections),
    CASE(start__bad_address__is_an_error),
    CASE(start__address_in_use__is_an_error),
};

TEST_MAIN(tests)
