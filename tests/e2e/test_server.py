#!/usr/bin/env python3
"""The program around the engine: commands, flags, signals, files, own metrics."""
import gzip
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sys
import time

import lib
import wire

suite = lib.Suite()


# ---- commands and flags ----

@suite.case
def version__printed():
    code, out, _ = lib.run_binary("version")
    lib.expect_equal(code, 0, "exit status")
    lib.expect(re.match(r"tidalite, version \d+\.\d+\.\d+", out), f"`version` prints {out!r}")


@suite.case
def help__lists_commands_and_flags():
    for args in (("help",), ("--help",), ()):
        code, out, _ = lib.run_binary(*args)
        lib.expect_equal(code, 0, f"exit status of {args}")
        for word in ("serve", "version", "remote_write"):
            lib.expect(word in out, f"{args} does not mention {word}: {out}")
    for args in (("serve", "--help"), ("help", "serve")):
        code, out, _ = lib.run_binary(*args)
        lib.expect_equal(code, 0, f"exit status of {args}")
        for flag in ("--web.listen-address", "--storage.tsdb.path", "--storage.tsdb.retention.time", "--query.timeout", "--query.max-samples",
                     "--query.max-concurrency", "--query.lookback-delta", "--enable-feature", "--log.level", "--log.format",
                     "--storage.durability", "--storage.wal.flush-interval", "--storage.wal.flush-samples", "--self-scrape.interval",
                     "--config.file", "--web.max-body-size", "web.enable-admin-api"):
            lib.expect(flag in out, f"{args} does not mention {flag}")
        lib.expect(max(map(len, out.splitlines())) <= 100, "a line of --help is wider than 100 columns")


@suite.case
def config_document__is_what_the_binary_says():
    path = lib.ROOT / "docs/config.md"
    code, out, _ = lib.run_binary("help", "--markdown")
    lib.expect_equal(code, 0, "exit status")
    lib.expect(path.exists(), "docs/config.md is not there")
    lib.expect(path.read_text() == out, "docs/config.md is not what `tidalite help --markdown` prints; write it anew")


@suite.case
def flags__bad__exit_2_and_name_the_flag():
    for args, words in ((["--no.such.flag"], ["no.such.flag"]), (["--web.listen-address"], ["web.listen-address"]),
                        (["--query.timeout=soon"], ["query.timeout", "soon"]), (["--storage.durability=maybe"], ["durability", "maybe"]),
                        (["--query.max-samples=0"], ["query.max-samples"]), (["--web.max-body-size=lots"], ["web.max-body-size"]),
                        (["--log.level=loud"], ["log.level"]), (["extra"], ["extra"])):
        code, out, err = lib.run_binary("serve", *args)
        lib.expect_equal(code, 2, f"exit status of {args} ({err})")
        for word in words:
            lib.expect(word in err, f"{args}: {err!r} does not say '{word}'")
    code, _, err = lib.run_binary("nonsense")
    lib.expect_equal(code, 2, "exit status of an unknown command")
    lib.expect("nonsense" in err, f"unknown command: {err!r}")


@suite.case
def feature__unknown__warns_and_serves():
    with lib.Tidalite(None, "--enable-feature=no-such-feature,promql-experimental-functions").start() as server:
        lib.expect("no-such-feature" in server.log_tail(100), f"no warning in the log:\n{server.log_tail()}")
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")


@suite.case
def log_json__every_line_is_an_object():
    with lib.Tidalite(None, "--log.format=json", "--log.level=debug").start() as server:
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
        lines = [line for line in server.log_tail(1000).splitlines() if line.startswith("{")]
        lib.expect(lines, f"no JSON in the log:\n{server.log_tail()}")
        for line in lines:
            json.loads(line)


@suite.case
def listen__port_in_use__exit_1_and_say_so():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        code, _, err = lib.run_binary("serve", f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={lib.folder()}")
    lib.expect_equal(code, 1, f"exit status ({err})")
    lib.expect("in use" in err.lower() and str(port) in err, f"the text names neither port nor cause: {err!r}")


@suite.case
def listen__port_0__chosen_and_printed():
    server = lib.Tidalite(None, "--web.listen-address=127.0.0.1:0")
    with server.start(ready=False):
        found = lib.wait_for("the address in the output", lambda: re.search(r"http://127\.0\.0\.1:(\d+)", server.log_tail(100)))
        client = lib.Client(int(found.group(1)))
        lib.wait_for("an answer", lambda: client.get("/-/ready").status == 200)


@suite.case
def data_directory__locked__second_server_refuses():
    with lib.Tidalite().start() as server:
        code, _, err = lib.run_binary("serve", f"--web.listen-address=127.0.0.1:{lib.free_port()}", f"--storage.tsdb.path={server.data}")
        lib.expect_equal(code, 1, f"exit status ({err})")
        lib.expect("lock" in err.lower() or "in use" in err.lower(), f"the text does not say why: {err!r}")
        lib.expect(server.data in err, f"the text does not name the directory: {err!r}")
        lib.expect_equal(server.client.get("/-/ready").status, 200, "/-/ready of the first server")


@suite.case
def data_directory__its_lock_removed__second_server_refuses():
    with lib.Tidalite().start() as server:
        os.unlink(os.path.join(server.data, "LOCK"))
        code, _, err = lib.run_binary("serve", f"--web.listen-address=127.0.0.1:{lib.free_port()}", f"--storage.tsdb.path={server.data}")
        lib.expect_equal(code, 1, f"exit status ({err})")
        lib.expect("another process uses this data directory" in err, f"the text does not say why: {err!r}")
        lib.expect_equal(server.terminate(), 0, "exit status of the first server")
    with lib.Tidalite(server.data).start() as server:
        lib.expect_equal(server.client.get("/-/ready").status, 200, "/-/ready with the lock's file made anew")


@suite.case
def data_directory__gone_under_the_server__said_once_and_exit_1():
    def replaced(path):
        os.rename(path, path + "-moved")
        os.mkdir(path)

    ways = {"removed": shutil.rmtree,
            "moved away": lambda path: os.rename(path, path + "-moved"),
            "another in its place": replaced,
            "emptied": lambda path: [os.unlink(e.path) for e in os.scandir(path) if e.is_file()]}
    for way, do in ways.items():
        data = os.path.join(lib.folder(), "data")
        with lib.Tidalite(data).start() as server:
            write_some(server, "kept")
            do(data)
            lib.expect_equal(server.wait(), 1, f"exit status, {way}")
            lines = [line for line in server.log_tail(1000).splitlines() if "has disappeared" in line]
            lib.expect(len(lines) == 1 and data in lines[0], f"{way}: {server.log_tail()}")
        if os.path.exists(data + "-moved"):  # nothing was lost of what went with it
            with lib.Tidalite(data + "-moved").start() as server:
                lib.expect(server.client.query("count_over_time(kept[1h])", time.time()), f"{way}: no samples in the moved directory")


@suite.case
def data_directory__not_writable_or_no_directory__exit_1():
    path = pathlib.Path(lib.folder()) / "file"
    path.write_text("not a directory")
    code, _, err = lib.run_binary("serve", f"--web.listen-address=127.0.0.1:{lib.free_port()}", f"--storage.tsdb.path={path}")
    lib.expect_equal(code, 1, f"exit status ({err})")
    lib.expect(str(path) in err, f"the text does not name the path: {err!r}")


# ---- life ----

@suite.case
def start__empty_directory__ready():
    begin = time.monotonic()
    with lib.Tidalite().start() as server:
        ready = time.monotonic() - begin
        lib.expect_equal(server.client.get("/-/healthy").status, 200, "/-/healthy")
        for method in ("GET", "HEAD"):
            lib.expect_equal(server.client.request(method, "/-/ready").status, 200, f"{method} /-/ready")
        begin = time.monotonic()
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
        print(f"process start to ready on an empty directory: {ready * 1000:.1f} ms; SIGTERM to exit: {(time.monotonic() - begin) * 1000:.1f} ms")


def write_some(server, name, n=200):
    t = lib.now_ms() - 60_000
    a = server.client.write([wire.Series(wire.labels(name, n=str(i)), [(t + k, float(i + k)) for k in range(5)]) for i in range(n)])
    lib.expect_equal(a.status, 204, f"write: {a}")
    return t


@suite.case
def sigterm__exit_0_and_data_back__in_every_durability():
    for mode in ("memory", "buffered", "strict"):
        data = lib.folder()
        with lib.Tidalite(data, f"--storage.durability={mode}").start() as server:
            t = write_some(server, "kept")
            before = server.client.get("/api/v1/query", {"query": "kept[1h]", "time": (t + 1000) / 1000}).text
            lib.expect_equal(server.terminate(), 0, f"exit status after SIGTERM ({mode})")
        with lib.Tidalite(data, f"--storage.durability={mode}").start() as server:
            after = server.client.get("/api/v1/query", {"query": "kept[1h]", "time": (t + 1000) / 1000}).text
            lib.expect_equal(after, before, f"data after restart ({mode})")
            lib.expect_equal(server.terminate(), 0, f"exit status after the second SIGTERM ({mode})")


@suite.case
def sigterm__while_writes_come__every_acknowledged_one_is_kept():
    data = lib.folder()
    with lib.Tidalite(data).start() as server:
        t = lib.now_ms() - 60_000
        acknowledged = 0
        for i in range(2000):
            if i == 300:
                server.signal(signal.SIGTERM)
            try:
                a = server.client.write([wire.Series(wire.labels("stopping"), [(t + i, float(i))])])
            except Exception:  # noqa: BLE001: refused or reset, the server is going away
                break
            if a.status != 204:
                lib.expect_equal(a.status, 503, f"a write during shutdown: {a}")
                break
            acknowledged = i + 1
        lib.expect_equal(server.wait(), 0, "exit status after SIGTERM")
    with lib.Tidalite(data).start() as server:
        found = server.client.query("count_over_time(stopping[1h])", time.time())
        lib.expect(acknowledged >= 300 and int(found[0]["value"][1]) >= acknowledged, f"{acknowledged} acknowledged, found {found}")


@suite.case
def sigterm__clients_gone_after_their_write__exits_0():
    with lib.Tidalite().start() as server:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", server.port)) as c:
                c.sendall(b"POST /api/v1/write HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\n\0")
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")


@suite.case
def state__each_change__has_a_line_in_the_log():
    with lib.Tidalite().start() as server:
        changes = lambda: re.findall(r"state changed.* from=(\w+) to=(\w+)", server.log_tail(1000))  # noqa: E731
        lib.wait_for("the line", lambda: changes() == [("recovering", "ready")])
        lib.expect('tidalite_state{state="ready"} 1' in server.client.get("/metrics").text, "no state among the metrics")
        lib.expect_equal(server.terminate(), 0, "exit status")
        lib.expect_equal(changes(), [("recovering", "ready"), ("ready", "closing")], "changes in the log")


@suite.case
def quit__post__exits_0():
    with lib.Tidalite(None, "--web.enable-lifecycle").start() as server:
        lib.expect_equal(server.client.request("POST", "/-/quit").status, 200, "POST /-/quit")
        lib.expect_equal(server.wait(), 0, "exit status")
    with lib.Tidalite().start() as server:
        for path in ("/-/quit", "/-/reload"):
            lib.expect_equal(server.client.request("POST", path).status, 403, f"POST {path} with the lifecycle API off")
        lib.expect_equal(server.client.get("/-/ready").status, 200, "/-/ready")


@suite.case
def config_file__reload_by_signal_and_http():
    path = pathlib.Path(lib.folder()) / "tidalite.yml"

    def write(text):
        path.write_text(text)

    def yaml(server):
        return server.client.data("/api/v1/status/config")["yaml"].replace('"', "")  # quotes are a matter of taste

    write("global:\n  evaluation_interval: 30s\n  external_labels:\n    replica: one\n")
    with lib.Tidalite(None, f"--config.file={path}", "--web.enable-lifecycle").start() as server:
        lib.expect("replica: one" in yaml(server), f"config shown: {yaml(server)}")
        write("global:\n  external_labels:\n    replica: two\n")
        server.signal(signal.SIGHUP)
        lib.wait_for("the new configuration after SIGHUP", lambda: "replica: two" in yaml(server))
        write("global:\n  external_labels:\n    replica: three\n")
        lib.expect_equal(server.client.request("POST", "/-/reload").status, 200, "POST /-/reload")
        lib.expect("replica: three" in yaml(server), f"config shown: {yaml(server)}")
        write("global: [this is: not right\n")
        a = server.client.request("POST", "/-/reload")
        lib.expect_equal(a.status, 500, "POST /-/reload of a broken file")
        lib.expect("failed to reload config" in a.text, f"{a}")
        lib.expect("replica: three" in yaml(server), "the old configuration stays after a failed reload")
        lib.expect_equal(server.client.get("/-/ready").status, 200, "/-/ready after a failed reload")
    code, _, err = lib.run_binary("serve", f"--config.file={path}", f"--web.listen-address=127.0.0.1:{lib.free_port()}",
                                  f"--storage.tsdb.path={lib.folder()}")
    lib.expect_equal(code, 1, f"exit status with a broken file ({err})")
    lib.expect(str(path) in err, f"the text does not name the file: {err!r}")
    code, _, err = lib.run_binary("serve", "--config.file=/no/such/file", f"--storage.tsdb.path={lib.folder()}")
    lib.expect(code != 0 and "/no/such/file" in err, f"a missing file: status {code}, {err!r}")


# ---- own metrics ----

LINE = re.compile(r'^[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*="(\\.|[^"\\])*",?)*\})? (NaN|[+-]Inf|[-+]?[0-9.]+([eE][-+]?[0-9]+)?)$')


@suite.case
def metrics__text_format__parses():
    with lib.Tidalite().start() as server:
        write_some(server, "some")
        server.client.query("some")
        a = server.client.get("/metrics")
        lib.expect_equal(a.status, 200, "status")
        lib.expect(a.headers["Content-Type"].startswith("text/plain; version=0.0.4"), a.headers["Content-Type"])
        typed, seen = {}, set()
        for line in a.text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                lib.expect(name not in typed, f"two TYPE lines for {name}")
                lib.expect(kind in ("counter", "gauge", "histogram", "summary", "untyped"), line)
                typed[name] = kind
            elif not line.startswith("# HELP "):
                lib.expect(LINE.match(line), f"not a sample: {line!r}")
                key = line.rsplit(" ", 1)[0]
                lib.expect(key not in seen, f"twice: {key}")
                seen.add(key)
                family = re.sub(r"(_bucket|_sum|_count)?(\{.*)?$", "", key)
                lib.expect(family in typed or key.split("{")[0] in typed, f"no TYPE for {key}")
        lib.expect(len(seen) > 30, f"only {len(seen)} samples")
        lib.expect_equal(lib.find_text(a.text, "tidalite_head_samples_appended_total"), 1000.0, "samples appended")
        lib.expect_equal(lib.find_text(a.text, "tidalite_head_series"), 200.0, "series")


@suite.case
def self_scrape__first_at_start__up_is_1():
    with lib.Tidalite(self_scrape=True).start() as server:
        found = lib.wait_for('up{job="tidalite"}', lambda: server.client.query('up{job="tidalite"}'))
        lib.expect_equal([s["value"][1] for s in found], ["1"], "value of up")
        lib.expect_equal(found[0]["metric"]["instance"], f"127.0.0.1:{server.port}", "instance")
        for name in ("scrape_duration_seconds", "scrape_samples_scraped", "tidalite_head_series", "tidalite_build_info"):
            # Until the write is answered, some of its series may be visible already and some not yet.
            lib.wait_for(f"{name} from the self-scrape", lambda: server.client.query(f'{name}{{job="tidalite"}}'))
        scraped = float(server.client.query("scrape_samples_scraped")[0]["value"][1])
        lib.wait_for("as many series of the job as scrape_samples_scraped says, and the three about the scrape itself",
                     lambda: float(server.client.query('count({job="tidalite"})')[0]["value"][1]) == scraped + 3)


# ---- read API ----

@suite.case
def read_api__endpoints__as_prometheus():
    with lib.Tidalite().start() as server:
        t = lib.now_ms() - 60_000
        a = server.client.write([wire.Series(wire.labels("requests_total", code=c, host=h), [(t + 15_000 * k, float(k * n)) for k in range(4)])
                                 for n, (c, h) in enumerate([("200", "a"), ("200", "b"), ("500", "a")], 1)])
        lib.expect_equal(a.status, 204, f"write: {a}")
        c = server.client
        at = (t + 45_500) / 1000
        lib.expect_equal(c.data("/api/v1/labels"), ["__name__", "code", "host"], "labels")
        lib.expect_equal(c.data("/api/v1/label/code/values"), ["200", "500"], "values of code")
        lib.expect_equal(c.data("/api/v1/label/__name__/values"), ["requests_total"], "metric names")
        lib.expect_equal(c.data("/api/v1/label/nothing/values"), [], "values of an unknown label")
        lib.expect_equal(c.data("/api/v1/label/host/values", {"match[]": 'requests_total{code="500"}'}), ["a"], "values with match[]")
        lib.expect_equal(c.data("/api/v1/series", {"match[]": 'requests_total{host=~"b|c"}'}),
                         [{"__name__": "requests_total", "code": "200", "host": "b"}], "series")
        lib.expect_equal(len(c.data("/api/v1/series", {"match[]": ['{code="500"}', '{host="b"}']})), 2, "series of two selectors")
        lib.expect_equal(c.data("/api/v1/series", {"match[]": "nothing"}), [], "series of nothing")
        a = c.get("/api/v1/labels", {"limit": 1})
        lib.expect_equal((a.json["data"], a.json.get("warnings")), (["__name__"], ["results truncated due to limit"]), "labels with limit")
        lib.expect_equal(sorted(c.query("sum by (code) (requests_total)", at), key=str),
                         [{"metric": {"code": "200"}, "value": [at, "9"]}, {"metric": {"code": "500"}, "value": [at, "9"]}], "sum by")
        ranged = c.query_range('requests_total{host="b"}', t / 1000, t / 1000 + 45, 15)
        lib.expect_equal(ranged, [{"metric": {"__name__": "requests_total", "code": "200", "host": "b"},
                                   "values": [[json_time(t + 15_000 * k), str(2 * k)] for k in range(4)]}], "range query")
        lib.expect_equal(c.data("/api/v1/query", {"query": "1 + 1", "time": 4}), {"resultType": "scalar", "result": [4, "2"]}, "scalar")
        lib.expect_equal(c.data("/api/v1/query", {"query": '"text"', "time": 1.5}), {"resultType": "string", "result": [1.5, "text"]}, "string")
        a = c.get("/api/v1/query", {"query": "1", "time": "2015-07-01T20:10:51.781Z"})
        lib.expect_equal(a.json["data"]["result"], [1435781451.781, "1"], "RFC 3339 time")
        lib.expect_equal(c.query("nothing", at), [], "an empty vector")
        for query in ("up", "nothing"):
            a = c.get("/api/v1/query", {"query": query, "stats": "all"})
            lib.expect("timings" in a.json["data"]["stats"], f"stats: {a}")


def json_time(ms):
    return ms // 1000 if ms % 1000 == 0 else ms / 1000


@suite.case
def status_api__buildinfo_flags_config__as_clients_read_them():
    with lib.Tidalite(None, "--query.lookback-delta=7m").start() as server:
        info = server.client.data("/api/v1/status/buildinfo")
        lib.expect_equal(sorted(info), ["branch", "buildDate", "buildUser", "goVersion", "revision", "version"], "keys of buildinfo")
        version = tuple(map(int, info["version"].split(".")))
        lib.expect(len(version) == 3 and version >= (2, 24, 0), f"version {info['version']}")
        flags = server.client.data("/api/v1/status/flags")
        lib.expect(all(isinstance(v, str) for v in flags.values()), "a flag is no string")
        lib.expect_equal((flags["query.lookback-delta"], flags["storage.durability"], flags["web.listen-address"]),
                         ("7m", "buffered", f"127.0.0.1:{server.port}"), "flags")
        lib.expect("yaml" in server.client.data("/api/v1/status/config"), "config without yaml")
        lib.expect("storageRetention" in server.client.data("/api/v1/status/runtimeinfo"), "runtimeinfo without storageRetention")


@suite.case
def query_timeout__heavy_query__the_work_stops():
    with lib.Tidalite(None, "--query.max-concurrency=1").start() as server:
        now = int(time.time())
        heavy = {"query": "quantile_over_time(0.5, vector(time())[55h:1s])", "start": now, "end": now + 11000, "step": 1, "timeout": "100ms"}
        a = server.client.get("/api/v1/query_range", heavy)
        lib.expect_equal((a.status, a.json["errorType"]), (503, "timeout"), f"a query of hours: {a}")
        lib.expect_equal(server.client.query("1 + 1", 4), [4, "2"], "the next query on the only worker")


@suite.case
def cors__where_asked_for__allowed():
    with lib.Tidalite().start() as server:
        a = server.client.get("/api/v1/query", {"query": "1"}, {"Origin": "http://grafana.example"})
        lib.expect_equal(a.headers.get("Access-Control-Allow-Origin"), None, "allowed origin without the flag")
    with lib.Tidalite(None, "--web.cors.origin=.*").start() as server:
        a = server.client.get("/api/v1/query", {"query": "1"}, {"Origin": "http://grafana.example"})
        lib.expect_equal(a.headers.get("Access-Control-Allow-Origin"), "*", "allowed origin")
        lib.expect("Origin" in a.headers.get("Vary", ""), "Vary without Origin")
        a = server.client.request("OPTIONS", "/api/v1/query", None, {"Origin": "http://grafana.example"})
        lib.expect_equal(a.status, 204, "OPTIONS")


if __name__ == "__main__":
    sys.exit(suite.main())
