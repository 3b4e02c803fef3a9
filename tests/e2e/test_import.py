#!/usr/bin/env python3
"""Imports of text while the server serves: both formats, gzip, faults by line and column, a kill -9 afterwards."""
import gzip
import json
import sys
import zlib

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


def stretches(lines_each, count, name):
    """Text in pieces, as chunked transfer sends them; line 3 of piece 2 is wrong."""
    for k in range(count):
        lines = [f'{name}{{i="{i % 100}",where="a folder with a longer name"}} {k}.{i} {T - 10_000_000 + (k * lines_each + i) // 100 * 1000}' for i in range(lines_each)]
        if k == 2:
            lines[2] = f'{name}{{i="2" 7 {T}'
        yield ("\n".join(lines) + "\n").encode()


@suite.case
def any_length__memory_of_a_stretch_and_the_line_that_is_wrong():
    each, count = 10_000, 60
    flags = ("--web.max-body-size=1MiB", "--web.max-decoded-size=1MiB", "--web.max-inflight-bytes=64MiB")
    with lib.Tidalite(None, *flags).start() as server:
        size = sum(map(len, stretches(each, count, "plain")))
        lib.expect(size > 40 << 20, f"{size} bytes are no long import")
        for name, headers in (("plain", {}), ("packed", {"Content-Encoding": "gzip"})):
            pack = zlib.compressobj(wbits=31) if headers else None
            pieces = stretches(each, count, name)
            body = (x for x in [*map(pack.compress, pieces), pack.flush()] if x) if pack else pieces
            a = server.client.request("POST", PATH + "?stats=true", body, headers)
            data = json.loads(a.data)
            lib.expect_equal(a.status, 400, f"{name}: {a}")
            lib.expect(f"line {2 * each + 3}, column " in data["error"], f"the text of {name}: {data}")
            lib.expect_equal((data["data"]["lines"], data["data"]["samples"], data["data"]["refused"]), (each * count, each * count - 1, 1), name)
            lib.expect_equal(server.client.query(f"sum(count_over_time({name}[4h]))", T / 1000)[0]["value"][1], str(each * count - 1), name)
        with open(f"/proc/{server.pid}/status", encoding="utf-8") as f:
            peak = int(next(line for line in f if line.startswith("VmHWM")).split()[1]) << 10
        print(f"two imports of {size >> 20} MiB each: {peak >> 20} MiB resident at most")


@suite.case
def stops_in_the_middle__what_was_read_is_stored():
    with lib.Tidalite(None, "--web.max-body-size=1MiB").start() as server:
        for fault, words in (((b"x" * (5 << 20),), "is longer than"), ((b"\n# EOF\nmore 1\n",), "nothing may follow")):
            kind = {"Content-Type": "application/openmetrics-text"} if fault[0][0] == 10 else {}
            ok = "".join(f'early{{i="{i}"}} {i} {T // 1000 if kind else T}\n' for i in range(30_000)).encode()
            a = server.client.request("POST", PATH, iter((ok, *fault)), kind)
            lib.expect(a.status == 400 and words in a.text, f"{words}: {a}")
            lib.expect_equal(server.client.query("count(early)", T / 1000)[0]["value"][1], "30000", f"before '{words}'")
        cut = gzip.compress(b"cut 1\n" * 100_000)[:-9]
        a = post(server, cut, **{"Content-Encoding": "gzip"})
        lib.expect(a.status == 400 and "cut" in a.text, f"half a body: {a}")
        a = post(server, b"\x1f\x8b\x08\0rubbish" * 80_000, **{"Content-Encoding": "gzip"})
        lib.expect(a.status == 400 and "damaged" in a.text, f"rubbish: {a}")
        try:  # beyond what is read for the sake of an answer the connection is cut, maybe before it was read
            a = post(server, b"\x1f\x8b\x08\0rubbish" * 300_000, **{"Content-Encoding": "gzip"})
            lib.expect(a.status == 400 and "damaged" in a.text, f"rubbish, and much of it: {a}")
        except OSError:
            pass
        lib.expect_equal(post(server, f"after 1 {T}\n").status, 204, "the server goes on")
        lib.expect_equal(server.terminate(), 0, "exit status")


if __name__ == "__main__":
    sys.exit(suite.main())
