/* Sends the requests of a corpus as fast as the server answers, over a number of keep-alive
 * connections to loopback, and says how that went as one line of JSON.
 *
 * One thread per connection, blocking sockets, one request in flight each: what a sender with so
 * many shards does. Request j of every scrape goes over connection j mod n, so that the samples of
 * a series arrive in time order. A latency is the time from the first byte sent to the last of the
 * answer.
 */
#include "base/bytes.h"
#include "base/clock.h"
#include "bench/corpus.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX  65536u
#define TIMEOUT_S         300
#define CONNECTIONS_MAX   256u
#define FIRST_ERROR_BYTES 512u

struct options {
    const char *file;
    const char *path;
    const char *header;          /* one more header line, or "" */
    const char *type, *encoding; /* Content-Type, Content-Encoding; "": none */
    const char *version;         /* X-Prometheus-Remote-Write-Version */
    uint16_t port;
    uint32_t connections;
    uint32_t first_scrape;
    uint32_t scrapes; /* 0 = all from first_scrape */
    bool retry;       /* what is answered 503 goes again after a pause, as senders do it */
};

struct request {
    const uint8_t *body;
    uint32_t len;
    uint32_t samples;
};

struct corpus {
    const uint8_t *data;
    size_t len;
    uint32_t per_scrape, scrapes;
    struct request *requests;
};

struct worker {
    const struct options *o;
    const struct corpus *corpus;
    pthread_t thread;
    pthread_barrier_t *start;
    uint32_t index;
    int fd;
    int64_t *latencies_ns;
    uint32_t sent;
    uint64_t samples; /* of requests answered 2xx */
    uint64_t bytes;
    uint32_t refused; /* answers other than 2xx; with retry: of the last try */
    uint32_t retried;
    char first_error[FIRST_ERROR_BYTES];
    char answer[ANSWER_BYTES_MAX + 1];
};

static _Noreturn void die(const char *what, const char *detail)
{
    fprintf(stderr, "loader: %s: %s\n", what, detail);
    exit(1);
}

/* ---- corpus ---- */

static void index_requests(struct corpus *c)
{
    size_t count = (size_t)c->per_scrape * c->scrapes;
    const uint8_t *p = c->data + CORPUS_HEADER_BYTES;
    const uint8_t *end = c->data + c->len;
    c->requests = calloc(count, sizeof *c->requests);
    if (!c->requests) {
        die("corpus", "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        if ((size_t)(end - p) < CORPUS_REQUEST_BYTES) {
            die("corpus", "ends early");
        }
        struct request *r = &c->requests[i];
        r->len = tsdb_load_le32(p);
        r->samples = tsdb_load_le32(p + 4);
        r->body = p + CORPUS_REQUEST_BYTES;
        if ((size_t)(end - r->body) < r->len) {
            die("corpus", "ends early");
        }
        p = r->body + r->len;
    }
}

static void open_corpus(const char *path, struct corpus *c)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        die(path, strerror(errno));
    }
    c->len = (size_t)st.st_size;
    if (c->len < CORPUS_HEADER_BYTES) {
        die(path, "is no corpus");
    }
    /* Read in beforehand: the run measures the server, not the disk. */
    void *map = mmap(NULL, c->len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED) {
        die(path, strerror(errno));
    }
    close(fd);
    c->data = map;
    if (memcmp(c->data, CORPUS_MAGIC, 8) != 0) {
        die(path, "is no corpus");
    }
    c->per_scrape = tsdb_load_le32(c->data + 8);
    c->scrapes = tsdb_load_le32(c->data + 12);
    index_requests(c);
}

/* ---- one connection ---- */

static int open_connection(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&a, sizeof a) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout) != 0) {
        die("connect", strerror(errno));
    }
    return fd;
}

static void send_request(struct worker *w, const struct request *r)
{
    char head[1024];
    int n =
        snprintf(head, sizeof head,
                 "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: tidalite-loader\r\n"
                 "Content-Type: %s\r\n%s%s%s"
                 "X-Prometheus-Remote-Write-Version: %s\r\n%s%sContent-Length: %u\r\n\r\n",
                 w->o->path, w->o->port, w->o->type, w->o->encoding[0] ? "Content-Encoding: " : "",
                 w->o->encoding, w->o->encoding[0] ? "\r\n" : "", w->o->version, w->o->header,
                 w->o->header[0] ? "\r\n" : "", r->len);
    if (n < 0 || (size_t)n >= sizeof head) {
        die("request", "headers too long");
    }
    size_t head_len = (size_t)n;
    size_t total = head_len + r->len;
    size_t done = 0;
    while (done < total) {
        ssize_t sent = 0;
        if (done < head_len) {
            struct iovec iov[2] = {{head + done, head_len - done}, {NULL, r->len}};
            memcpy(&iov[1].iov_base, &r->body, sizeof r->body); /* writev reads only */
            sent = writev(w->fd, iov, 2);
        } else {
            sent = send(w->fd, r->body + (done - head_len), total - done, MSG_NOSIGNAL);
        }
        if (sent < 0) {
            die("send", strerror(errno));
        }
        done += (size_t)sent;
    }
    w->bytes += total;
}

/* Value of a header as a number, `absent` if it is not there. */
static long header_number(const char *head, const char *name, long absent)
{
    size_t len = strlen(name);
    for (const char *line = head; line; line = strstr(line, "\r\n")) {
        line += line == head ? 0 : 2;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            return strtol(line + len + 1, NULL, 10);
        }
    }
    return absent;
}

/* Read one answer whole; its status code. */
static int read_answer(struct worker *w)
{
    size_t have = 0;
    char *body = NULL;
    size_t need = 0;
    int status = 0;
    while (!body || have < need) {
        ssize_t n =
            have < ANSWER_BYTES_MAX ? recv(w->fd, w->answer + have, ANSWER_BYTES_MAX - have, 0) : 0;
        if (n <= 0) {
            die("answer", n < 0 ? strerror(errno) : "the server closed the connection");
        }
        have += (size_t)n;
        w->answer[have] = '\0';
        body = body ? body : strstr(w->answer, "\r\n\r\n");
        if (body && need == 0) {
            if (sscanf(w->answer, "HTTP/1.1 %d", &status) != 1) {
                die("answer", "is not HTTP/1.1");
            }
            long len = status == 204 ? 0 : header_number(w->answer, "Content-Length", -1);
            if (len < 0) {
                die("answer", "has no Content-Length");
            }
            need = (size_t)(body - w->answer) + 4 + (size_t)len;
        }
    }
    if (status / 100 != 2 && w->refused == 0) {
        snprintf(w->first_error, sizeof w->first_error, "%d %.400s", status, body + 4);
    }
    return status;
}

#define RETRY_PAUSE_NS (20 * 1000 * 1000)
#define RETRIES_MAX    5000u

/* Send and read the answer; the status of the last try. */
static int exchange(struct worker *w, const struct request *r)
{
    for (uint32_t tries = 1;; tries++) {
        send_request(w, r);
        int status = read_answer(w);
        if (status != 503 || !w->o->retry || tries == RETRIES_MAX) {
            return status;
        }
        w->retried++;
        nanosleep(&(struct timespec){.tv_nsec = RETRY_PAUSE_NS}, NULL);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    const struct corpus *c = w->corpus;
    pthread_barrier_wait(w->start);
    for (uint32_t s = 0; s < w->o->scrapes; s++) {
        for (uint32_t j = w->index; j < c->per_scrape; j += w->o->connections) {
            const struct request *r =
                &c->requests[(size_t)(w->o->first_scrape + s) * c->per_scrape + j];
            int64_t begin = tsdb_clock_mono_ns(&tsdb_clock_real);
            int status = exchange(w, r);
            w->latencies_ns[w->sent++] = tsdb_clock_mono_ns(&tsdb_clock_real) - begin;
            if (status / 100 == 2) {
                w->samples += r->samples;
            } else {
                w->refused++;
            }
        }
    }
    close(w->fd);
    return NULL;
}

/* ---- the run ---- */

static int compare_latency(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print_json_text(const char *s)
{
    putchar('"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') {
            printf("\\%c", *s);
        } else {
            putchar((unsigned char)*s < 0x20 ? ' ' : *s);
        }
    }
    putchar('"');
}

static void report(const struct worker *workers, uint32_t count, double seconds)
{
    uint64_t samples = 0;
    uint64_t bytes = 0;
    uint32_t requests = 0;
    uint32_t refused = 0;
    uint32_t retried = 0;
    const char *error = "";
    for (uint32_t i = 0; i < count; i++) {
        samples += workers[i].samples;
        bytes += workers[i].bytes;
        requests += workers[i].sent;
        refused += workers[i].refused;
        retried += workers[i].retried;
        error = error[0] ? error : workers[i].first_error;
    }
    int64_t *all = calloc(requests ? requests : 1, sizeof *all);
    if (!all) {
        die("latencies", "out of memory");
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(all + n, workers[i].latencies_ns, workers[i].sent * sizeof *all);
        n += workers[i].sent;
    }
    qsort(all, n, sizeof *all, compare_latency);
    printf(
        "{\"samples\": %" PRIu64 ", \"requests\": %u, \"bytes\": %" PRIu64
        ", \"seconds\": %.6f, \"samples_per_second\": %.0f, \"p50_ms\": %.3f, "
        "\"p99_ms\": %.3f, \"max_ms\": %.3f, \"retried\": %u, \"not_2xx\": %u, \"first_error\": ",
        samples, requests, bytes, seconds, (double)samples / seconds,
        n ? (double)all[n / 2] / 1e6 : 0, n ? (double)all[(uint64_t)n * 99 / 100] / 1e6 : 0,
        n ? (double)all[n - 1] / 1e6 : 0, retried, refused);
    print_json_text(error);
    printf("}\n");
    free(all);
}

static void run(const struct options *o, const struct corpus *c)
{
    struct worker *workers = calloc(o->connections, sizeof *workers);
    pthread_barrier_t start;
    if (!workers || pthread_barrier_init(&start, NULL, o->connections + 1) != 0) {
        die("workers", "out of memory");
    }
    size_t each = ((size_t)c->per_scrape / o->connections + 1) * o->scrapes;
    for (uint32_t i = 0; i < o->connections; i++) {
        struct worker *w = &workers[i];
        w->o = o;
        w->corpus = c;
        w->start = &start;
        w->index = i;
        w->fd = open_connection(o->port);
        w->latencies_ns = calloc(each, sizeof *w->latencies_ns);
        if (!w->latencies_ns || pthread_create(&w->thread, NULL, worker_main, w) != 0) {
            die("workers", "cannot start");
        }
    }
    pthread_barrier_wait(&start);
    int64_t begin = tsdb_clock_mono_ns(&tsdb_clock_real);
    for (uint32_t i = 0; i < o->connections; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    double seconds = (double)(tsdb_clock_mono_ns(&tsdb_clock_real) - begin) / 1e9;
    report(workers, o->connections, seconds);
    for (uint32_t i = 0; i < o->connections; i++) {
        free(workers[i].latencies_ns);
    }
    free(workers);
    pthread_barrier_destroy(&start);
}

static uint32_t number(const char *flag, const char *text, uint32_t min, uint32_t max)
{
    char *end = NULL;
    errno = 0;
    unsigned long v = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || v < min || v > max) {
        fprintf(stderr, "loader: --%s: \"%s\" is not a number from %u to %u\n", flag, text, min,
                max);
        exit(2);
    }
    return (uint32_t)v;
}

static const char usage[] =
    "usage: loader --file CORPUS --port PORT [--path /api/v1/write] [--connections 4]\n"
    "              [--first-scrape 0] [--scrapes N] [--header 'Name: value'] [--retry]\n"
    "              [--type application/x-protobuf] [--encoding snappy] [--version 0.1.0]\n";

static void parse(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {{"file", required_argument, NULL, 'f'},
                                          {"port", required_argument, NULL, 'p'},
                                          {"path", required_argument, NULL, 'u'},
                                          {"connections", required_argument, NULL, 'n'},
                                          {"first-scrape", required_argument, NULL, 'a'},
                                          {"scrapes", required_argument, NULL, 'k'},
                                          {"header", required_argument, NULL, 'h'},
                                          {"retry", no_argument, NULL, 'r'},
                                          {"type", required_argument, NULL, 't'},
                                          {"encoding", required_argument, NULL, 'e'},
                                          {"version", required_argument, NULL, 'v'},
                                          {NULL, 0, NULL, 0}};
    int c = 0;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'f') {
            o->file = optarg;
        } else if (c == 't') {
            o->type = optarg;
        } else if (c == 'e') {
            o->encoding = optarg;
        } else if (c == 'v') {
            o->version = optarg;
        } else if (c == 'p') {
            o->port = (uint16_t)number("port", optarg, 1, 65535);
        } else if (c == 'u') {
            o->path = optarg;
        } else if (c == 'n') {
            o->connections = number("connections", optarg, 1, CONNECTIONS_MAX);
        } else if (c == 'a') {
            o->first_scrape = number("first-scrape", optarg, 0, UINT32_MAX);
        } else if (c == 'k') {
            o->scrapes = number("scrapes", optarg, 1, UINT32_MAX);
        } else if (c == 'r') {
            o->retry = true;
        } else if (c == 'h') {
            o->header = optarg;
        } else {
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (!o->file || o->port == 0 || optind != argc) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct options o = {.path = "/api/v1/write",
                        .header = "",
                        .type = "application/x-protobuf",
                        .encoding = "snappy",
                        .version = "0.1.0",
                        .connections = 4};
    struct corpus c = {0};
    parse(argc, argv, &o);
    open_corpus(o.file, &c);
    if (o.first_scrape >= c.scrapes) {
        die("--first-scrape", "lies beyond the corpus");
    }
    uint32_t rest = c.scrapes - o.first_scrape;
    o.scrapes = o.scrapes > 0 && o.scrapes < rest ? o.scrapes : rest;
    o.connections = o.connections < c.per_scrape ? o.connections : c.per_scrape;
    run(&o, &c);
    free(c.requests);
    return 0;
}
