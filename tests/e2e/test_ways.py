#!/usr/bin/env python3
"""Every way in that a sender uses: paths, encodings, command lines of Prometheus, refusals that help."""
import gzip
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
