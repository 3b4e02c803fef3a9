/* tidalite: the program. `serve` puts the parts together and takes them down in the reverse order;
 * the commands for a directory without a server are tools/cmd's. */
#include "base/cpu.h"
#include "base/log.h"
#include "base/memory_limit.h"
#include "model/version.h"
#include "query/cache/cache.h"
#include "query/crew.h"
#include "server/api/routes.h"
#include "server/config/config_file.h"
#include "server/door/token_command.h"
#include "server/parts/kept_lists.h"
#include "server/parts/server.h"
#include "server/parts/workers.h"
#include "server/publishing.h"
#include "server/self_scrape.h"
#include "server/shutdown.h"
#include "tools/cmd/tool.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define DEFAULT_THREADS_MAX 32u
#define DOOR_TURNS          10u /* of the main loop, a tenth of a second each */
#define TRIM_TURNS          50u

static uint32_t default_threads(void)
{
    return TSDB_MIN(tsdb_cpu_count(), DEFAULT_THREADS_MAX);
}

static void print_buf(struct tsdb_buf *b, FILE *to)
{
    fwrite(b->data, 1, b->len, to);
    tsdb_buf_deinit(b);
}

static int cmd_version(void)
{
    printf("tidalite, version %s (Prometheus API %s)\n", TIDALITE_VERSION,
           TIDALITE_PROMETHEUS_VERSION);
    return 0;
}

static void print_commands(FILE *to)
{
    fputs("Tidalite is a time-series database: Prometheus remote write in, PromQL over the "
          "Prometheus HTTP API out.\n"
          "\n"
          "usage: tidalite <command> [flags]\n"
          "\n"
          "  serve      run the server; `tidalite serve --help` lists its flags\n"
          "  token      make a bearer token for --web.token.file; `tidalite token --help`\n"
          "  version    print the version\n"
          "  help       this text; `tidalite help serve` as `tidalite serve --help`, `help "
          "--markdown` makes docs/config.md,\n"
          "             `help --man` the manual page, `help --completion` that of bash\n"
          "\n"
          "For a data directory without a server (`tidalite help <command>` says more):\n",
          to);
    tool_print_commands(to);
    fputs("\n"
          "First steps: run `tidalite serve`, add this to prometheus.yml and reload Prometheus:\n"
          "  remote_write:\n"
          "    - url: http://127.0.0.1:9494/api/v1/write\n"
          "and ask: curl 'http://127.0.0.1:9494/api/v1/query?query=up'\n",
          to);
}

static int print_serve_help(void)
{
    struct tsdb_buf b;
    tsdb_buf_init(&b, TSDB_MEM_SERVER, 0);
    tsdb_buf_put_str(
        &b,
        "usage: tidalite serve [flags]\n\nRuns the server until SIGTERM or SIGINT, which finish "
        "open requests, sync the log and write a\n"
        "checkpoint. SIGHUP reads --config.file again. Flags take --name=value or --name value.\n");
    server_options_help(&b);
    print_buf(&b, stdout);
    return 0;
}

static void man_flag(void *arg, const char *group, const char *name, const char *initial,
                     const char *help)
{
    FILE *to = arg;
    char bold[80];
    char plain[160];
    if (group) {
        fprintf(to, ".SS %s\n", group);
    }
    snprintf(bold, sizeof bold, "--%s", name);
    snprintf(plain, sizeof plain, "%s%s%s", initial[0] ? " (" : "", initial, initial[0] ? ")" : "");
    tool_man_item(bold, plain, to);
    tool_man_line(help, to);
}

static void print_man(FILE *to)
{
    tool_print_man(to);
    fputs(".SH FLAGS OF SERVE\nEach with what it is without being given.\n", to);
    server_flags_each(man_flag, to);
    fputs(".SH SEE ALSO\n\\fBlibtidalite\\fR(3)\n", to);
}

static int cmd_help(int argc, char **argv)
{
    if (argc > 0 && strcmp(argv[0], "--markdown") == 0) {
        struct tsdb_buf b;
        tsdb_buf_init(&b, TSDB_MEM_SERVER, 0);
        server_options_markdown(&b);
        print_buf(&b, stdout);
        return 0;
    }
    if (argc > 0 && strcmp(argv[0], "--man") == 0) {
        print_man(stdout);
        return 0;
    }
    if (argc > 0 && strcmp(argv[0], "--completion") == 0) {
        tool_print_completion(stdout);
        return 0;
    }
    if (argc > 0 && strcmp(argv[0], "serve") == 0) {
        return print_serve_help();
    }
    if (argc > 0 && tool_print_help(argc, argv, stdout)) {
        return 0;
    }
    print_commands(stdout);
    return 0;
}

static void fill_tsdb_options(const struct server *s, struct tsdb_options *o)
{
    tsdb_options_default(o);
    o->fs = s->fs;
    o->clock = s->clock;
    o->random = tsdb_random_system;
    o->durability = s->options.durability;
    o->owner_count = s->options.owner_count;
    o->ring_slots = s->options.ring_slots;
    o->flush_interval_ms = (uint32_t)s->options.flush_interval_ms;
    o->flush_samples = s->options.flush_samples;
    o->wal_segment_bytes = s->options.wal_segment_bytes;
    o->checkpoint_wal_bytes = s->options.checkpoint_wal_bytes;
    o->retention_ms = s->options.retention_ms;
    o->head_chunk_samples = s->options.head_chunk_samples;
    o->head_open_bytes = s->options.head_open_bytes;
    o->retention_bytes = s->options.retention_bytes;
    static_assert(SERVER_AUTO == TSDB_DISK_RESERVE_AUTO, "the engine knows the disk");
    o->disk_reserve_bytes = s->options.disk_reserve_bytes;
    o->block_range_ms = s->options.block_range_ms;
    o->overdue_chunks = s->options.overdue_chunks;
    o->block_files_max = s->options.block_files_max;
    o->cache_l1_bytes = s->options.cache_l1_bytes;
    o->cache_l2_bytes = s->options.cache_l2_bytes;
    o->series_max = s->options.series_max;
    o->head_bytes_max = s->options.head_bytes_max;
    o->metric_series_max = s->options.metric_series_max;
    o->series_idle_ms = s->options.series_idle_ms;
    o->exemplars_max = s->options.exemplars_max;
}

static enum tsdb_status open_engine(struct server *s, struct tsdb_error *err)
{
    enum tsdb_status status = tsdb_fs_real_create(s->options.data_path, &s->fs, err);
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "--storage.tsdb.path");
    }
    struct tsdb_options o;
    fill_tsdb_options(s, &o);
    status = tsdb_open(&o, &s->db, err);
    if (status != TSDB_OK) {
        return tsdb_error_prefix(err, status, "data directory %s", s->options.data_path);
    }
    struct ingest_options io;
    ingest_options_default(&io);
    io.body_bytes_max = s->options.body_bytes_max;
    io.decoded_bytes_max = s->options.decoded_bytes_max;
    io.inflight_bytes_max = s->options.inflight_bytes_max;
    io.labels_max = s->options.labels_max;
    io.label_name_bytes_max = s->options.label_name_bytes_max;
    io.label_value_bytes_max = s->options.label_value_bytes_max;
    io.large_bytes = s->options.large_write_bytes;
    io.clock = s->clock;
    status = ingest_create(&io, s->db, &s->ingest, err);
    if (status == TSDB_OK) {
        server_apply_otlp(s);
        status = server_apply_retention(s, err);
    }
    return status;
}

/* "127.0.0.1:0" asked for any port: say which one it is, before anybody is served. */
static void settle_address(void *arg, uint16_t port)
{
    struct server *s = arg;
    char *colon = strrchr(s->options.listen_address, ':');
    if (colon && strcmp(colon, ":0") == 0) {
        size_t room =
            sizeof s->options.listen_address - (size_t)(colon - s->options.listen_address);
        snprintf(colon, room, ":%u", port);
    }
}

/* Of the threads for queries, those for cheap ones: a quarter if nobody says. */
static uint32_t cheap_slots(const struct server_options *o)
{
    return o->query_cheap_slots ? o->query_cheap_slots : (o->query_concurrency_max + 3) / 4;
}

/* And how many may be heavy at once: one for each core, but two, so that one alone bars no other. */
static uint32_t heavy_slots(const struct server_options *o)
{
    return o->query_heavy_slots ? o->query_heavy_slots : TSDB_MAX(2u, tsdb_cpu_count());
}

static enum tsdb_status start_workers(struct server *s, uint32_t decoders, struct tsdb_error *err)
{
    const struct server_options *o = &s->options;
    const struct workers_options queries = {.name = "query-worker",
                                            .threads = o->query_concurrency_max,
                                            .kept = cheap_slots(o),
                                            .heavy = heavy_slots(o),
                                            .queue_max = o->query_queue_max,
                                            .nice = o->query_nice};
    const struct workers_options reads = {.name = "remote-read",
                                          .threads = o->read_concurrency_max,
                                          .queue_max = o->query_queue_max,
                                          .nice = o->query_nice};
    /* as many as would decode otherwise; every connection may wait */
    const struct workers_options writes = {
        .name = "decoder", .threads = decoders, .queue_max = o->connections_max};
    enum tsdb_status status = workers_create(&queries, &s->workers, err);
    if (status == TSDB_OK && reads.threads > 0) {
        status = workers_create(&reads, &s->readers, err);
    }
    const struct workers_options answers = {.name = "sender",
                                            .threads = decoders,
                                            .queue_max = o->connections_max + 64,
                                            .nice = o->query_nice};
    if (status == TSDB_OK) {
        status = workers_create(&answers, &s->senders, err);
    }
    return status == TSDB_OK ? workers_create(&writes, &s->decoders, err) : status;
}

static enum tsdb_status open_http(struct server *s, struct tsdb_error *err)
{
    uint32_t threads = s->options.http_threads ? s->options.http_threads : default_threads();
    uint32_t crew = s->options.query_crew ? s->options.query_crew : tsdb_cpu_count();
    enum tsdb_status status = query_crew_create(crew, &s->query_options.crew, err);
    if (status != TSDB_OK) {
        return status;
    }
    const struct query_cache_options cache = {.bytes_max = s->options.query_cache_bytes};
    status = cache.bytes_max > 0 ? query_cache_create(&cache, &s->query_cache, err) : TSDB_OK;
    if (status == TSDB_OK && s->options.list_cache_bytes > 0) {
        status = kept_lists_create(s->options.list_cache_bytes, s->db, &s->kept_lists, err);
    }
    if (status != TSDB_OK) {
        return status;
    }
    query_crew_nice(s->query_options.crew, s->options.query_nice);
    status = start_workers(s, threads, err);
    if (status != TSDB_OK) {
        return status;
    }
    struct http_handlers handlers = server_handlers_template;
    handlers.arg = s;
    handlers.on_listen = settle_address;
    struct http_options o = {
        .listen_address = s->options.listen_address,
        .threads = threads,
        .connections_max = s->options.connections_max,
        .read_timeout_ms = s->options.read_timeout_ms,
        .header_timeout_ms = s->options.header_timeout_ms,
        .body_timeout_ms = s->options.body_timeout_ms,
        .write_timeout_ms = s->options.write_timeout_ms,
        .body_bytes_max = s->options.body_bytes_max,
        .tls = door_tls(s->door),
    };
    status = http_start(&o, &handlers, &s->http, err);
    return status == TSDB_OK ? status : tsdb_error_prefix(err, status, "--web.listen-address");
}

/* "0" is no limit. */
static const char *limit_text(char out[32], uint64_t n, const char *unit)
{
    snprintf(out, 32, n > 0 ? "%llu%s" : "any", (unsigned long long)n, n > 0 ? unit : "");
    return out;
}

/* What new series meet, and where the figures come from. */
static void print_limits(const struct server_options *o)
{
    struct tsdb_memory_limit m = tsdb_memory_limit("");
    char series[32];
    char metric[32];
    char head[32];
    char memory[32];
    printf("  limits  %s series, %s of a metric, %s for series; memory %s: %s\n",
           limit_text(series, o->series_max, ""), limit_text(metric, o->metric_series_max, ""),
           limit_text(head, o->head_bytes_max >> 20, " MiB"),
           tsdb_memory_limit_source_name(m.source), limit_text(memory, m.bytes >> 20, " MiB"));
}

/* The path of all paths, without a slash at its end. */
static enum tsdb_status set_prefix(struct server *s, struct tsdb_error *err)
{
    const struct server_options *o = &s->options;
    struct tsdb_slice host;
    const char *path = "";
    if (o->external_url[0] && !door_url_split(o->external_url, &host, &path)) {
        return tsdb_error_set(err, TSDB_INVALID,
                              "--web.external-url \"%s\": expected http(s)://host[:port][/path]",
                              o->external_url);
    }
    path = o->route_prefix[0] ? o->route_prefix : path;
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] == '/') {
        len--;
    }
    if ((len > 0 && path[0] != '/') || strpbrk(path, "?#% ") || strstr(path, "//")) {
        return tsdb_error_set(
            err, TSDB_INVALID,
            "--web.route-prefix \"%s\": expected a plain path such as /metrics-store", path);
    }
    snprintf(s->prefix, sizeof s->prefix, "%.*s", (int)len, path);
    return TSDB_OK;
}

static enum tsdb_status open_door(struct server *s, struct tsdb_error *err)
{
    const struct server_options *o = &s->options;
    struct door_options d = {.web_config_file = o->web_config_file,
                             .token_file = o->token_file,
                             .listen_address = o->listen_address,
                             .external_url = o->external_url,
                             .allowed_hosts = o->allowed_hosts,
                             .limits = {.requests = o->client_requests,
                                        .bytes = o->client_bytes,
                                        .samples = o->client_samples,
                                        .series = o->client_series,
                                        .queries = o->client_queries},
                             .clock = s->clock};
    enum tsdb_status status = set_prefix(s, err);
    return status == TSDB_OK ? door_create(&d, &s->door, err) : status;
}

static void print_summary(const struct server *s)
{
    const char *a = s->options.listen_address;
    char url[800];
    snprintf(url, sizeof url, "%s://%s%s%s", door_tls(s->door) ? "https" : "http",
             a[0] == ':' ? "127.0.0.1" : "", a, s->prefix);
    printf("Tidalite %s listens on %s (durability %s, data in %s)\n"
           "  write   remote_write: [{url: %s/api/v1/write}]    in prometheus.yml\n"
           "  read    curl '%s/api/v1/query?query=up'\n"
           "  Grafana data source of type Prometheus, URL %s\n"
           "  more    %s/metrics  /api/v1/status/flags  `tidalite serve --help`\n",
           TIDALITE_VERSION, url, tsdb_durability_name(s->options.durability), s->options.data_path,
           url, url, url, url);
    print_limits(&s->options);
    fflush(stdout);
}

/* What a second signal costs, which depends on the durability; set before signals are taken. */
static const char *give_up_text = "";

static const char *give_up_text_of(enum tsdb_durability durability)
{
    return durability == TSDB_DURABILITY_MEMORY
               ? "tidalite: second signal, giving up at once; what was acknowledged since the last "
                 "checkpoint is lost (--storage.durability=memory)\n"
               : "tidalite: second signal, giving up at once; the log covers what was "
                 "acknowledged\n";
}

static void on_second_signal(int signal_number)
{
    (void)signal_number;
    ssize_t n = write(STDERR_FILENO, give_up_text, strlen(give_up_text));
    (void)n;
    _exit(130);
}

static void reload(struct server *s)
{
    struct tsdb_error err = {0};
    if (server_reload(s, &err) == TSDB_OK) {
        tsdb_log(TSDB_LOG_INFO, "server", "configuration loaded",
                 TSDB_S("file", s->options.config_file));
    } else {
        tsdb_log(TSDB_LOG_ERROR, "server", "configuration not loaded, the old one stays",
                 TSDB_S("err", err.msg));
    }
}

/* What is written from now on would be lost: better to say so and end than to acknowledge it. */
static bool directory_gone(const struct server *s)
{
    struct tsdb_error err = {0};
    enum tsdb_status status = tsdb_fs_real_check(&s->fs, s->options.data_path, &err);
    if (status == TSDB_OK) {
        status = tsdb_files_check(s->db, &err);
    }
    if (status != TSDB_OK) {
        tsdb_log(TSDB_LOG_ERROR, "server", "the data directory has disappeared; stopping",
                 TSDB_S("path", s->options.data_path), TSDB_S("err", err.msg));
    }
    return status != TSDB_OK;
}

/* Until SIGTERM, SIGINT or POST /-/quit. Signals are blocked in every thread and waited for here. False: the
 * storage failed or is gone. */
static bool wait_for_stop(struct server *s, const sigset_t *signals)
{
    bool recovering = true;
    for (uint32_t turn = 0; atomic_load(&s->stopping) == 0; turn++) {
        if (turn % DOOR_TURNS == 0) {
            door_refresh(s->door);
            if (directory_gone(s)) {
                return false;
            }
        }
        if (turn % TRIM_TURNS == 0) {
            ingest_trim(s->ingest);
        }
        struct tsdb_error err = {0};
        enum tsdb_state state = tsdb_state_look(s->db, &err);
        if (recovering && state != TSDB_STATE_RECOVERING) {
            recovering = false;
            if (state == TSDB_STATE_FAILED) {
                tsdb_log(TSDB_LOG_ERROR, "server", "storage could not be recovered",
                         TSDB_S("err", err.msg));
                return false;
            }
        }
        int n = sigtimedwait(signals, NULL, &(struct timespec){.tv_nsec = 100000000});
        if (n == SIGTERM || n == SIGINT) {
            tsdb_log(TSDB_LOG_INFO, "server", "stopping",
                     TSDB_S("signal", n == SIGTERM ? "SIGTERM" : "SIGINT"));
            return true;
        }
        if (n == SIGHUP || atomic_exchange(&s->reload_requested, 0) != 0) {
            reload(s);
        }
    }
    tsdb_log(TSDB_LOG_INFO, "server", "stopping", TSDB_S("request", "/-/quit"));
    return true;
}

static enum tsdb_status start_all(struct server *s, struct self_scrape **scrape,
                                  struct publishing **publishing, struct tsdb_error *err)
{
    enum tsdb_status status = TSDB_OK;
    if (s->options.config_file[0]) {
        status = server_reload(s, err);
    }
    atomic_store(&s->config_ok, 1);
    if (status == TSDB_OK) {
        status = open_door(s, err);
    }
    if (status == TSDB_OK) {
        status = open_engine(s, err);
    }
    /* Before anybody can be told that the server is ready: who ships blocks looks for their folder then. */
    if (status == TSDB_OK) {
        status = publishing_start(s, publishing, err);
    }
    if (status == TSDB_OK) {
        status = open_http(s, err);
    }
    if (status == TSDB_OK && s->options.self_scrape_interval_ms > 0) {
        status = self_scrape_start(s, scrape, err);
    }
    return status;
}

static void init_server(struct server *s)
{
    s->clock = tsdb_clock_real;
    s->start_ms = tsdb_clock_wall_ms(&s->clock);
    tsdb_mutex_init(&s->config_lock, TSDB_RANK_SERVER_CONFIG, "config");
    active_init(&s->active);
    asked_init(&s->asked, s->options.query_names_max);
    costs_init(&s->costs);
    budget_init(&s->budget, s->options.query_total_bytes);
    s->query_options = (struct query_options){
        .lookback_ms = s->options.lookback_ms,
        .samples_max = s->options.query_samples_max,
        .default_step_ms = 60000,
        .experimental_functions = s->options.feature_experimental_functions,
        .extended_range_selectors = s->options.feature_extended_range_selectors,
        .fill_modifiers = s->options.feature_fill_modifiers,
        .delayed_name_removal = s->options.feature_delayed_name_removal,
        .use_start_timestamps = s->options.feature_use_start_timestamps,
    };
}

/* As many descriptors as the system allows: blocks and connections take one each. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int run_server(struct server *s)
{
    raise_descriptors();
    if (!tsdb_alloc_background()) {
        tsdb_log(TSDB_LOG_INFO, "main", "the allocator has no thread of its own");
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    init_server(s);
    struct tsdb_error err = {0};
    struct self_scrape *scrape = NULL;
    struct publishing *publishing = NULL;
    bool failed = start_all(s, &scrape, &publishing, &err) != TSDB_OK;
    if (failed) {
        fprintf(stderr, "tidalite: %s\n", err.msg);
    } else {
        print_summary(s);
        failed = !wait_for_stop(s, &signals) || tsdb_state(s->db, NULL) == TSDB_STATE_FAILED;
    }
    give_up_text = give_up_text_of(s->options.durability);
    signal(SIGTERM, on_second_signal);
    signal(SIGINT, on_second_signal);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    tsdb_error_clear(&err);
    bool left_behind = false;
    if (server_shutdown(s, scrape, publishing, &left_behind, &err) != TSDB_OK) {
        fprintf(stderr, "tidalite: while stopping: %s\n", err.msg);
        failed = true;
    }
    if (left_behind) {
        _exit(1); /* threads still run over what exit handlers would take away */
    }
    return failed;
}

static int cmd_serve(int argc, char **argv)
{
    static struct server server;
    struct tsdb_error err = {0};
    bool help = false;
    server_options_default(&server.options);
    if (server_options_parse(&server.options, argc, argv, &help, &err) != TSDB_OK) {
        fprintf(stderr, "tidalite: %s\n", err.msg);
        return 2;
    }
    if (help) {
        return print_serve_help();
    }
    server_options_settle(&server.options, tsdb_memory_limit("").bytes);
    tsdb_log_configure(server.options.log_level, server.options.log_format);
    return run_server(&server);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "help";
    if (strcmp(command, "serve") == 0) {
        return cmd_serve(argc - 2, argv + 2);
    }
    if (strcmp(command, "token") == 0) {
        return token_command(argc - 2, argv + 2);
    }
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
        return cmd_version();
    }
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 ||
        strcmp(command, "-h") == 0) {
        return cmd_help(argc - 2, argv + 2);
    }
    if (tool_known(command)) {
        return tool_main(argc - 1, argv + 1);
    }
    fprintf(stderr, "tidalite: unknown command \"%s\"\n\n", command);
    print_commands(stderr);
    return 2;
}
