#!/usr/bin/env python3
"""Imports of text while the server serves: both formats, gzip, faults by line and column, a kill -9 afterwards."""
import gzip
import json
import sys

import lib

suite = lib.Suite()
T = lib.now_ms() // 1000 * 1000
PATH = "/api/v1/import/prometheus"
DAY = 86_400_000


def post(server, text, query="", **headers):
    body = text if isinstance(text, bytes) else text.encode()
    return server.client.request("POST", PATH + query, body, headers)


def values(server, expr, ms):
    return {s["metric"].get("i", ""): s["value"][1] for s in server.client.query(expr, ms / 1000)}


@suite.case
def both_formats_and_any_age__found_after_a_kill():
    times = [T - 14 * DAY, T - 3 * DAY, T - 1000]
    with lib.Tidalite(None).start() as server:
        text = "# TYPE old counter\n# HELP old from a file\n" + "".join(f'old{{i="{i}"}} {i}.5 {t}\n' for t in times for i in range(3))
        a = post(server, text)
        lib.expect_equal((a.status, lib.written(a)), (204, (9, 0, 0)), f"Prometheus's format: {a}")
        text = "".join(f'open{{i="{i}"}} {i} {t / 1000} # {{trace_id="t{i}"}} 0.5\n' for t in times for i in range(3)) + "# EOF\n"
        kind = {"Content-Type": "application/openmetrics-text; version=1.0.0", "Content-Encoding": "gzip"}
        a = post(server, gzip.compress(text.encode()), **kind)
        lib.expect_equal((a.status, lib.written(a)[0]), (204, 9), f"OpenMetrics: {a}")
        lib.expect_equal(server.client.data("/api/v1/metadata")["old"], [{"type": "counter", "unit": "", "help": "from a file"}], "metadata")
        server.kill()
        server.start()
        for t in times:
            lib.expect_equal(values(server, "old", t), {"0": "0.5", "1": "1.5", "2": "2.5"}, f"old at {t}")
            lib.expect_equal(values(server, "open", t), {"0": "0", "1": "1", "2": "2"}, f"open at {t}")


@suite.case
def faults__line_and_column_and_the_rest_is_stored():
    with lib.Tidalite(None).start() as server:
        a = post(server, f'a{{i="1"}} 1 {T}\na{{i="2" 2 {T}\n\na{{i="3"}} three\na{{i="4"}} 4 {T}\n')
        lib.expect_equal((a.status, lib.written(a)), (400, (2, 0, 0)), f"two wrong lines: {a}")
        lib.expect("line 2, column 9" in a.text and "2 samples" in a.text, f"the text: {a}")
        lib.expect_equal(values(server, "a", T), {"1": "1", "4": "4"}, "what is stored")
        a = post(server, f"b 1 {T}\nb_old 1 {T - 400 * DAY}\n")
        lib.expect(a.status == 400 and "out of bounds" in a.text and "b_old" in a.text, f"older than retention: {a}")
        a = post(server, b"x", **{"Content-Encoding": "br"})
        lib.expect_equal(a.status, 415, f"an encoding that is not known: {a}")
        a = post(server, b"no gzip", **{"Content-Encoding": "gzip"})
        lib.expect_equal(a.status, 400, f"no gzip: {a}")
        metrics = server.client.get("/metrics").text
        lib.expect('rejected_total{reason="syntax"} 2' in metrics, "the counter of malformed lines")


@suite.case
def stats__how_much_and_how_fast():
    lines = "".join(f'many{{i="{i % 1000}"}} {i} {T - 100_000 + i // 1000 * 1000}\n' for i in range(100_000))
    with lib.Tidalite(None).start() as server:
        a = post(server, lines, "?stats=true")
        data = json.loads(a.data)["data"]
        lib.expect_equal((a.status, data["lines"], data["samples"], data["refused"]), (200, 100_000, 100_000, 0), f"stats: {a}")
        lib.expect(data["samplesPerSecond"] > 0, f"a rate: {data}")
        lib.expect_equal(server.client.query("count(many)", T / 1000)[0]["value"][1], "1000", "series")
        lib.expect_equal(server.client.query("sum(count_over_time(many[5m]))", T / 1000)[0]["value"][1], "100000", "samples")
        lib.expect_equal(post(server, "").status, 204, "an empty import")


if __name__ == "__main__":
    sys.exit(suite.main())
