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
        lib.expect(a.status in (400, 413) and "more than" in a.text, f"a bomb: {a}")


@suite.case
def command_line_of_prometheus__what_is_on_is_taken_in_silence():
    with lib.Tidalite(None, "--web.enable-remote-write-receiver",
                      "--enable-feature=native-histograms,exemplar-storage,remote-write-receiver").start() as server:
        flags = server.client.data("/api/v1/status/flags")
        lib.expect_equal(flags["web.enable-remote-write-receiver"], "true", "the flag as the API shows it")
        lib.expect("unknown feature" not in server.log_tail(100), f"a warning in the log:\n{server.log_tail()}")


if __name__ == "__main__":
    sys.exit(suite.main())
