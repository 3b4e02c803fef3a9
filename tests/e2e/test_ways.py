#!/usr/bin/env python3
"""Every way in that a sender uses: paths, encodings, command lines of Prometheus, refusals that help."""
import gzip
import json
import pathlib
import sys

import lib
import wire

suite = lib.Suite()
T = lib.now_ms() // 1000 * 1000 - 60_000


def body(name, value=1.0):
    return wire.request_v1([wire.Series(wire.labels(name), [(T, value)])])


def value_of(server, name):
    return [s["value"][1] for s in server.client.query(name, T / 1000)]


@suite.case
def paths_of_other_receivers__are_taken():
    with lib.Tidalite(None).start() as server:
        for i, path in enumerate(("/api/v1/write", "/api/v1/push", "/api/v1/receive", "/api/v1/write/", "/api/v1/push/")):
            a = server.client.request("POST", path, wire.snappy(body(f"path_{i}")), {"Content-Encoding": "snappy"})
            lib.expect_equal(a.status, 204, f"{path}: {a}")
            lib.expect_equal(value_of(server, f"path_{i}"), ["1"], f"what came by {path}")
        for path, word in (("/write", "InfluxDB"), ("/api/v1/import/native", "remote write"), ("/render", "Graphite")):
            a = server.client.request("POST", path, b"x", {})
            lib.expect_equal(a.status, 404, f"{path}: {a}")
            lib.expect(word in a.text, f"{path} does not say '{word}': {a}")


@suite.case
def gzip_writes__only_with_the_flag():
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/x-protobuf"}
    with lib.Tidalite(None).start() as server:
        a = server.client.request("POST", "/api/v1/write", gzip.compress(body("gz")), headers)
        lib.expect_equal(a.status, 415, f"without the flag: {a}")
        lib.expect("--web.accept-gzip-writes" in a.text, f"the refusal names no flag: {a}")
    with lib.Tidalite(None, "--web.accept-gzip-writes", "--web.max-decoded-size=1MiB").start() as server:
        a = server.client.request("POST", "/api/v1/write", gzip.compress(body("gz", 2.0)), headers)
        lib.expect_equal(a.status, 204, f"with the flag: {a}")
        lib.expect_equal(value_of(server, "gz"), ["2"], "what came as gzip")
        a = server.client.request("POST", "/api/v1/write", gzip.compress(bytes(8 << 20)), headers)
        lib.expect(a.status == 400 and "more than" in a.text, f"a bomb: {a}")


@suite.case
def command_line_of_prometheus__what_is_on_is_taken_in_silence():
    with lib.Tidalite(None, "--web.enable-remote-write-receiver",
                      "--enable-feature=native-histograms,exemplar-storage,remote-write-receiver").start() as server:
        flags = server.client.data("/api/v1/status/flags")
        lib.expect_equal(flags["web.enable-remote-write-receiver"], "true", "the flag as the API shows it")
        lib.expect("unknown feature" not in server.log_tail(100), f"a warning in the log:\n{server.log_tail()}")


@suite.case
def label_limits__as_wide_as_senders_need_and_flags():
    many = wire.Series(wire.labels("many", **{f"l{i:03}": "v" for i in range(300)}), [(T, 1.0)])
    long = wire.Series(wire.labels("long", text="s" * 100_000), [(T, 1.0)])
    with lib.Tidalite(None).start() as server:
        for version in (1, 2):
            for series in (many, long):
                lib.expect_equal(server.client.write([series], version).status, 204, f"{version}.0, default limits")
        server.kill()
        server.start()
        lib.expect_equal(value_of(server, 'count({l299="v"} or {text=~"s+"})'), ["2"], "wide series after kill -9")
    with lib.Tidalite(None, "--storage.max-labels=100", "--storage.max-label-value-bytes=1000").start() as server:
        for version in (1, 2):
            for series, words in ((many, ("301", "100", "--storage.max-labels")), (long, ("100000", "1000", "max-label-value"))):
                a = server.client.write([series, wire.Series(wire.labels("good"), [(T + version, 1.0)])], version)
                lib.expect_equal(a.status, 400, f"over a limit: {a}")
                lib.expect(all(w in a.text for w in words), f"{words} not in {a}")


def sender_2(t):
    """What Prometheus 3 puts into one request of 2.0: exemplars in a TimeSeries of their own behind the samples, metadata that
    says nothing for what has none, native histograms with exponential and with custom buckets, start timestamps."""
    exponential = wire.Histogram(t, 6, 18.4, schema=2, zero_threshold=2**-128, zero_count=1, positive_spans=[(0, 2), (3, 1)],
                                 positive=[1, 2, 2], negative_spans=[(1, 1)], negative=[0], start=t - 50_000)
    custom = wire.Histogram(t, 5, 12.5, schema=-53, positive_spans=[(0, 3)], positive=[1, 3, 1], custom=[0.5, 1.0, 2.5])
    counter = wire.labels("s2_requests_total", job="shop")
    return [
        wire.Series(counter, [(t, 41.0, t - 60_000)], metadata=(1, "requests so far", "")),
        wire.Series(wire.labels("s2_up", job="shop"), [(t, 1.0)], metadata=(0, "", "")),
        wire.Series(wire.labels("s2_latency", job="shop"), histograms=[exponential], metadata=(3, "of answers", "seconds")),
        wire.Series(wire.labels("s2_sizes", job="shop"), histograms=[custom], metadata=(3, "of bodies", "bytes")),
        *(wire.Series(counter, exemplars=[([("trace_id", f"{t}-{i}")], 1.0 + i, t)], metadata=(0, "", "")) for i in range(3)),
    ]


def check_sender_2(server, rounds, what):
    names = {s["metric"]["__name__"]: s for s in server.client.query('{job="shop"}', T / 1000)}
    lib.expect_equal(sorted(names), ["s2_latency", "s2_requests_total", "s2_sizes", "s2_up"], f"series {what}")
    lib.expect_equal(names["s2_requests_total"]["value"][1], "41", f"the counter {what}")
    lib.expect_equal((names["s2_latency"]["histogram"][1]["count"], names["s2_latency"]["histogram"][1]["sum"]), ("6", "18.4"), what)
    lib.expect_equal([b[1:] for b in names["s2_sizes"]["histogram"][1]["buckets"]],
                     [["-Inf", "0.5", "1"], ["0.5", "1", "3"], ["1", "2.5", "1"]], f"custom buckets {what}")
    found = server.client.data("/api/v1/query_exemplars", {"query": "s2_requests_total"})
    lib.expect_equal([len(f["exemplars"]) for f in found], [3 * rounds], f"exemplars {what}")
    metadata = server.client.data("/api/v1/metadata")
    lib.expect_equal({k: (v[0]["type"], v[0]["help"]) for k, v in metadata.items()},
                     {"s2_requests_total": ("counter", "requests so far"), "s2_latency": ("histogram", "of answers"),
                      "s2_sizes": ("histogram", "of bodies")}, f"metadata {what}")


@suite.case
def remote_write_2__as_prometheus_sends_it__all_there_after_kill_and_restart():
    with lib.Tidalite(None).start() as server:
        for i in range(100):
            a = server.client.write(sender_2(T - (99 - i) * 500), 2)
            lib.expect_equal((a.status, lib.written(a)), (204, (2, 2, 3)), f"round {i}: {a}")
        check_sender_2(server, 100, "at first")
        file = pathlib.Path(server.data) / "metadata"
        lib.wait_for("metadata in its file", lambda: file.exists() and all(m in file.read_bytes() for m in (b"s2_requests", b"s2_lat", b"s2_sizes")))
        first_seen = server.client.data("/api/v1/metadata", {"first_seen": "true"})
        server.kill()
        server.start()
        check_sender_2(server, 100, "after kill -9")
        lib.expect_equal(server.client.data("/api/v1/metadata", {"first_seen": "true"}), first_seen, "when metrics were first told of")
        lib.expect_equal(server.terminate(), 0, "exit status")
        server.start()
        check_sender_2(server, 100, "after a restart, from the checkpoint")
        lib.expect_equal(server.terminate(), 0, "exit status")
        whole = file.read_bytes()
        for state, data in (("note", whole[:-5]), ("ok", whole)):  # a note: the next start mends it
            file.write_bytes(data)
            code, out, err = lib.run_binary("check", server.data, "--json")
            lib.expect_equal(code, 0, f"exit status of check: {out} {err}")
            rows = {r["file"]: r["state"] for r in json.loads(out)}
            lib.expect_equal(rows.get("metadata"), state, f"the file of metadata: {out}")


@suite.case
def one_bad_label__met_by_the_ceiling_and_named__the_others_lose_nothing():
    good = [wire.Series(wire.labels("good", i=str(i), job="shop"), [(T, 1.0)]) for i in range(500)]
    with lib.Tidalite(None, "--storage.limit.series-per-metric=2000", "--storage.head.max-series=20000").start() as server:
        lib.expect_equal(server.client.write(good).status, 204, "before")
        for k in range(20):
            bad = [wire.Series(wire.labels("requests", job="shop", user_id=f"u{k}-{i}"), [(T + k, 1.0)]) for i in range(2500)]
            mixed = bad[:1250] + [wire.Series(s.labels, [(T + 1 + k, float(k))]) for s in good] + bad[1250:]
            a = server.client.write(mixed, 1 + k % 2)
            written = lib.written(a)[0]
            lib.expect(a.status == 400 and written >= 500, f"round {k}: {a}")
            lib.expect(all(w in a.text for w in ("limit of 2000 series of a metric", "requests", "label user_id")), f"whom to blame: {a}")
        lib.expect_equal(value_of(server, "count(requests)"), ["2000"], "series of the bad label")
        lib.expect_equal(server.client.query("sum(count_over_time(good[1m]))", (T + 30_000) / 1000)[0]["value"][1], str(500 * 21), "samples of the good ones")
        new = [wire.Series(wire.labels("other", i=str(i)), [(T, 1.0)]) for i in range(100)]
        lib.expect_equal(server.client.write(new).status, 204, "new series of another metric")
        worst = server.client.data("/api/v1/status/tsdb")["refusedSeries"][0]
        lib.expect_equal((worst["metric"], worst["label"], worst["value"] > 40_000), ("requests", "user_id", True), f"status/tsdb: {worst}")
        refused = lib.find_text(server.client.get("/metrics").text, 'tidalite_series_refused_total{limit="series_per_metric"}')
        lib.expect(refused > 40_000, f"the counter: {refused}")
        server.kill()
        server.start()
        lib.expect_equal(server.client.query("sum(count_over_time(good[1m]))", (T + 30_000) / 1000)[0]["value"][1], str(500 * 21), "after kill -9")


@suite.case
def limits__by_default_from_memory_and_printed():
    with lib.Tidalite(None).start() as server:
        flags = server.client.data("/api/v1/status/flags")
        numbers = [int(flags[f]) for f in ("storage.head.max-series", "storage.limit.series-per-metric")]
        lib.expect(numbers[0] > 10_000 and numbers[0] // 2 == numbers[1], f"limits: {numbers}")
        lib.wait_for("the line of the limits", lambda: f"limits  {numbers[0]} series, {numbers[1]} of a metric" in server.log_tail())
    flags = ("--storage.head.memory=1MiB", "--storage.head.max-series=0", "--storage.limit.series-per-metric=0")
    with lib.Tidalite(None, *flags).start() as server:
        series = [wire.Series(wire.labels("m", i=str(i)), [(T, 1.0)]) for i in range(9000)]
        answers = [server.client.write(series[k:k + 1000]) for k in range(0, 9000, 1000)]
        lib.expect(answers[-1].status == 400 and "--storage.head.memory" in answers[-1].text, f"over 1 MiB: {answers[-1]}")
        known = sorted(server.client.query("m", T / 1000)[0]["metric"].items())
        lib.expect_equal(server.client.write([wire.Series(known, [(T + 1, 2.0)])]).status, 204, "a known series")


@suite.case
def refusals__one_line_in_the_log_for_reason_and_sender():
    with lib.Tidalite(None).start() as server:
        twice = wire.Series((("__name__", "twice"), ("a", "1"), ("a", "2")), [(T, 1.0)])
        for _ in range(5):
            lib.expect_equal(server.client.write([twice]).status, 400, "a label twice")
            lib.expect_equal(server.client.write_raw(b"rubbish").status, 400, "rubbish")
        lines = [line for line in server.log_tail(100).splitlines() if "samples refused" in line]
        lib.expect_equal(len(lines), 2, f"lines in the log: {lines}")
        lib.expect("reason=labels" in lines[0] and "sender=127.0.0.1" in lines[0] and "twice" in lines[0], lines[0])
        lib.expect("reason=request" in lines[1], lines[1])


if __name__ == "__main__":
    sys.exit(suite.main())
