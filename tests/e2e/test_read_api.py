#!/usr/bin/env python3
"""The read API beyond queries, over the wire: parse_query, remote read, federation, status, search, active queries."""
import gzip
import pathlib
import re
import sys
import threading
import zlib

import lib
import read_wire
import wire

suite = lib.Suite()


def parse(client, query, method="GET"):
    a = client.get("/api/v1/parse_query", {"query": query}) if method == "GET" else client.post("/api/v1/parse_query", {"query": query})
    lib.expect_equal(a.status, 200, f"parse_query of {query}: {a}")
    return a.json["data"]


@suite.case
def parse_query__tree_and_errors():
    with lib.Tidalite().start() as server:
        for method in ("GET", "POST"):
            tree = parse(server.client, 'sum by (job) (rate(up{a!="b"}[5m] offset 1m)) > bool on(job) 2 * x', method)
            lib.expect_equal(tree["type"], "binaryExpr", "type of the root")
            lib.expect_equal((tree["op"], tree["bool"]), (">", True), "operator")
            aggregation = tree["lhs"]
            lib.expect_equal((aggregation["type"], aggregation["op"], aggregation["grouping"], aggregation["without"]),
                             ("aggregation", "sum", ["job"], False), "aggregation")
            call = aggregation["expr"]
            lib.expect_equal((call["type"], call["func"]["name"]), ("call", "rate"), "call")
            selector = call["args"][0]
            lib.expect_equal((selector["type"], selector["name"], selector["range"], selector["offset"]), ("matrixSelector", "up", 300000, 60000),
                             "selector")
            lib.expect({"name": "a", "value": "b", "type": "!="} in selector["matchers"], f"matchers: {selector['matchers']}")
        # What is printed and parsed again is the same tree.
        for query in ("a + on(x) group_left(y) b", "quantile_over_time(0.9, a[5m:1m] @ end())", '-{a=~"b.*"} or vector(1)'):
            text = server.client.data("/api/v1/format_query", {"query": query})
            lib.expect_equal(parse(server.client, text), parse(server.client, query), f"tree of {text}")
        for query in ("", "sum(", "rate(a)"):
            a = server.client.get("/api/v1/parse_query", {"query": query})
            lib.expect_equal((a.status, a.json["errorType"]), (400, "bad_data"), f"parse_query of {query!r}")
            lib.expect(a.json["error"].startswith('invalid parameter "query": '), a.json["error"])


# ---- remote read ----

def read(client, queries, types=(), expect=200, headers=None):
    a = client.request("POST", "/api/v1/read", wire.snappy(read_wire.request(queries, types)),
                       {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy", "Accept-Encoding": "gzip"} | (headers or {}))
    lib.expect_equal(a.status, expect, f"remote read: {a}")
    return a


def read_samples(client, queries, types=()):
    a = read(client, queries, types)
    lib.expect_equal((a.headers["Content-Type"], a.headers["Content-Encoding"]), ("application/x-protobuf", "snappy"), "headers")
    return read_wire.samples_answer(a.data)


def read_chunks(client, queries, types=(read_wire.STREAMED_XOR_CHUNKS, read_wire.SAMPLES)):
    a = read(client, queries, types)
    lib.expect_equal(a.headers["Content-Type"], "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse", "content type")
    lib.expect(a.headers["Content-Encoding"] is None, f"frames are packed again: {a.headers['Content-Encoding']}")
    return read_wire.chunked_answer(a.data)


def config(text):
    path = pathlib.Path(lib.folder()) / "prometheus.yml"
    path.write_text(text)
    return f"--config.file={path}"


EXTERNAL = "global:\n  external_labels: {cluster: c1, zone: z1}\n"
HISTOGRAM = {"schema": 1, "zero_threshold": 0.5, "positive_spans": [(-1, 2), (1, 1)]}


def write_mixed(client, t):
    """Three series of floats (1000 samples, 2 with odd ones and 1 with a label of its own called cluster) and one of histograms."""
    floats = [(t + 15000 * i, float(i % 7) if i % 3 else i * 0.1) for i in range(1000)]
    odd = [(t, -0.0), (t + 1, wire.STALE), (t + 2, wire.NAN), (t + 70000, float("inf"))]
    series = [wire.Series(wire.labels("rr_float", job="a"), floats), wire.Series(wire.labels("rr_odd", job="b"), odd),
              wire.Series(wire.labels("rr_own", cluster="mine"), [(t, 5.0)]),
              wire.Series(wire.labels("rr_hist"), histograms=[
                  wire.Histogram(t + 1000 * i, 6 + i, 1.5 * i, zero_count=i, positive=[1, 2, 3], **HISTOGRAM) for i in range(300)]),
              wire.Series(wire.labels("rr_fhist"), histograms=[
                  wire.Histogram(t + 1000 * i, 6.5, 2.5, zero_count=0.5, positive=[1, 2, 3], is_float=True, **HISTOGRAM) for i in range(3)])]
    a = client.write(series)
    lib.expect_equal(a.status, 204, f"write: {a}")
    return {"rr_float": [(x, wire.bits(v)) for x, v in floats], "rr_odd": [(x, wire.bits(v)) for x, v in odd]}


@suite.case
def read__samples__bit_for_bit_with_external_labels():
    with lib.Tidalite(None, config(EXTERNAL)).start() as server:
        c, t = server.client, lib.now_ms() - 20_000_000
        sent = write_mixed(c, t)
        everything = (t, t + 10**8)
        floats, odd, nothing = read_samples(c, [read_wire.query(*everything, [("__name__", "rr_float")]),
                                                read_wire.query(*everything, [("job", "b|c", read_wire.RE)]),
                                                read_wire.query(*everything, [("__name__", "nosuch")])])
        lib.expect_equal([(labels, samples) for labels, samples, _ in floats],
                         [({"__name__": "rr_float", "cluster": "c1", "job": "a", "zone": "z1"}, sent["rr_float"])], "rr_float")
        lib.expect_equal([s for _, s, _ in odd], [sent["rr_odd"]], "rr_odd")
        lib.expect_equal(nothing, [], "an unknown name")
        # The range is closed on both sides, and hints say it better.
        cut = read_samples(c, [read_wire.query(t + 15000, t + 45000, [("__name__", "rr_float")])])
        lib.expect_equal(cut[0][0][1], sent["rr_float"][1:4], "a cut-out")
        hinted = read_samples(c, [read_wire.query(t, t + 10**8, [("__name__", "rr_float")], {1: 15000, 2: "rate", 3: t + 30000, 4: t + 30000})])
        lib.expect_equal(hinted[0][0][1], sent["rr_float"][2:3], "range of the hints")
        names = read_samples(c, [read_wire.query(*everything, [("__name__", "rr_.*", read_wire.RE)], {2: "series", 3: t, 4: t + 10**8})])
        lib.expect_equal([(labels["__name__"], s, h) for labels, s, h in names[0]],
                         [(n, [], []) for n in ("rr_fhist", "rr_float", "rr_hist", "rr_odd", "rr_own")], "func series")
        # Matchers on external labels: true of every series that has no such label of its own.
        for matchers, want in (([("cluster", "c1")], ["rr_fhist", "rr_float", "rr_hist", "rr_odd"]),
                               ([("cluster", "c1"), ("job", "a")], ["rr_float"]), ([("cluster", "mine")], ["rr_own"]),
                               ([("cluster", "c2")], []), ([("cluster", "", read_wire.NEQ)], ["rr_own"]), ([], [])):
            got = read_samples(c, [read_wire.query(*everything, matchers)])
            lib.expect_equal([labels["__name__"] for labels, _, _ in got[0]], want, f"matchers {matchers}")
        own = read_samples(c, [read_wire.query(*everything, [("__name__", "rr_own")])])[0][0][0]
        lib.expect_equal(own, {"__name__": "rr_own", "cluster": "mine", "zone": "z1"}, "a label of its own wins")


@suite.case
def read__histograms_as_samples__fields_as_sent():
    with lib.Tidalite().start() as server:
        c, t = server.client, lib.now_ms() - 20_000_000
        write_mixed(c, t)
        (_, samples, integers), = read_samples(c, [read_wire.query(t, t + 5000, [("__name__", "rr_hist")])])[0]
        lib.expect_equal((samples, len(integers)), ([], 6), "rr_hist")
        h = integers[3]
        lib.expect_equal((read_wire.one_of(h, 1), read_wire.one_of(h, 3), read_wire.one_of(h, 6), read_wire.one_of(h, 15)),
                         (9, wire.bits(4.5), 3, t + 3000), "count, sum, zero count, time")
        lib.expect_equal((read_wire.one_of(h, 12), [read_wire.one_of(s, 2) for s in read_wire.all_of(h, 11)]), (bytes([2, 2, 2]), [2, 1]), "buckets")
        (_, _, floats), = read_samples(c, [read_wire.query(t, t + 5000, [("__name__", "rr_fhist")])])[0]
        lib.expect_equal((read_wire.one_of(floats[0], 2), read_wire.one_of(floats[0], 7)), (wire.bits(6.5), wire.bits(0.5)), "float counts")


@suite.case
def read__streamed_chunks__frames_and_bits():
    for frame in (1024, 1 << 20):
        with lib.Tidalite(None, config(EXTERNAL), f"--storage.remote.read-max-bytes-in-frame={frame}").start() as server:
            c, t = server.client, lib.now_ms() - 20_000_000
            sent = write_mixed(c, t)
            got = read_chunks(c, [read_wire.query(t, t + 10**8, [("job", "a|b", read_wire.RE)]),
                                  read_wire.query(t, t + 10**8, [("__name__", "rr_f?hist", read_wire.RE)])])
            order = [(q, labels["__name__"]) for q, labels, _ in got]
            lib.expect_equal(sorted(order), order, "queries in order, series sorted")
            for name in ("rr_float", "rr_odd"):
                chunks = [x for _, labels, chunks in got if labels["__name__"] == name for x in chunks]
                lib.expect_equal({x[0] for x in chunks}, {1}, f"encodings of {name}")
                samples = [read_wire.xor_chunk(x[3]) for x in chunks]
                lib.expect_equal([s for x in samples for s in x], sent[name], f"samples of {name}")
                lib.expect_equal([(s[0][0], s[-1][0]) for s in samples], [(x[1], x[2]) for x in chunks], "times of the chunks")
                lib.expect(max(map(len, samples)) <= 120, "a chunk has more than 120 samples")
            lib.expect(all(labels["zone"] == "z1" for _, labels, _ in got), "external labels are missing")
            histograms = {labels["__name__"]: [x[0] for x in chunks] for q, labels, chunks in got if q == 1}
            lib.expect_equal({n: set(e) for n, e in histograms.items()}, {"rr_fhist": {3}, "rr_hist": {2}}, "encodings of histograms")
            frames = sum(labels["__name__"] == "rr_float" for _, labels, _ in got)
            lib.expect((frames > 1) == (frame == 1024), f"{frames} frames of {frame} bytes")


@suite.case
def read__bad_requests_and_limits__say_so():
    with lib.Tidalite(None, "--storage.remote.read-sample-limit=10", "--storage.remote.read-concurrent-limit=1").start() as server:
        c, t = server.client, lib.now_ms() - 20_000_000
        write_mixed(c, t)
        query = read_wire.query(t, t + 10**8, [("__name__", "rr_float")])
        lib.expect_equal(read(c, [query], expect=400).text, "exceeded sample limit (10)\n", "text")
        lib.expect_equal(len(read_chunks(c, [query])), 1, "streamed: no limit of samples")
        lib.expect_equal(len(read_samples(c, [read_wire.query(t, t + 135000, [("__name__", "rr_float")])])[0][0][1]), 10, "as many as allowed")
        read(c, [read_wire.query(t, t, [("job", "(", read_wire.RE)])], expect=400)
        lib.expect("any of the requested response types" in read(c, [query], [5], expect=400).text, "unknown response type")
        for body in (b"", b"junk", wire.snappy(b"\x0a\x05"), b"\xff\xff\xff\xff\x0f", wire.snappy(bytes(range(256)))):
            a = c.request("POST", "/api/v1/read", body)
            lib.expect_equal(a.status, 400, f"body {body[:10]}: {a}")
            lib.expect(a.text.endswith("\n") and not a.text.startswith("{"), f"not a text: {a}")
        lib.expect_equal(c.request("POST", "/api/v1/read", b"x" * (5 << 20)).status, 400, "a body of 5 MiB")
        lib.expect_equal(c.get("/api/v1/read").status, 405, "GET")
        lib.expect_equal(len(read_samples(c, [])), 0, "no query")
        # Whatever was refused, the threads and the memory are there again.
        lib.expect_equal(len(read_samples(c, [read_wire.query(t, t, [("__name__", "rr_own")])])[0]), 1, "afterwards")


# ---- federation ----

@suite.case
def federate__text_with_external_labels__packed_where_asked():
    with lib.Tidalite(None, config("global:\n  external_labels: {cluster: c1}\n")).start() as server:
        c, now = server.client, lib.now_ms()
        a = c.write([wire.Series(wire.labels("fed_odd", job="b"), [(now - 3000, 1.0), (now - 2000, wire.NAN)]),
                     wire.Series(wire.labels("fed_ended", job="b"), [(now - 3000, 1.0), (now - 2000, wire.STALE)]),
                     wire.Series(wire.labels("fed_old", job="b"), [(now - 400_000, 1.0)]),
                     wire.Series(wire.labels("fed_hist", job="b"), histograms=[wire.Histogram(now - 1000, 6, 1.5, positive=[1, 2, 3], **HISTOGRAM)])])
        lib.expect_equal(a.status, 204, f"write: {a}")
        a = c.write([wire.Series(wire.labels("fed", n=str(i), instance="i"), [(now - 2000, 1.5), (now - 1000, i / 4)]) for i in range(200)])
        lib.expect_equal(a.status, 204, f"write: {a}")
        page = c.get("/federate", {"match[]": ["fed", '{job=~".+"}', "fed_hist"]})
        lib.expect_equal((page.status, page.headers["Content-Type"]),
                         (200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"), "status and type")
        lines = page.text.splitlines()
        lib.expect_equal([line for line in lines if line.startswith("#")],
                         ["# TYPE fed untyped", "# TYPE fed_odd untyped"], "families: none that is stale, old or a native histogram")
        lib.expect_equal(lines[1:201], [f'fed{{instance="i",n="{n}",cluster="c1"}} {int(n) / 4:g} {now - 1000}' for n in sorted(map(str, range(200)))],
                         "samples")
        lib.expect_equal(lines[202:], [f'fed_odd{{job="b",cluster="c1",instance=""}} NaN {now - 2000}'], "the NaN")
        packed = c.get("/federate", {"match[]": "fed"}, {"Accept-Encoding": "gzip"})
        lib.expect_equal(packed.headers["Content-Encoding"], "gzip", "encoding")
        lib.expect_equal(gzip.decompress(packed.data).decode().splitlines(), lines[:201], "the same, packed")
        packed = c.get("/federate", {"match[]": "fed"}, {"Accept-Encoding": "br, deflate"})
        lib.expect_equal(packed.headers["Content-Encoding"], "deflate", "encoding")
        lib.expect_equal(zlib.decompress(packed.data).decode().splitlines(), lines[:201], "the same in zlib's format")
        lib.expect_equal(c.get("/federate", {"match[]": "fed{"}).status, 400, "a bad selector")
        lib.expect_equal(c.post("/federate", {"match[]": "fed"}).status, 405, "POST")


# ---- running queries ----

ENDLESS = {"query": "quantile_over_time(0.5, vector(time())[55h:1s])", "start": 1700000000, "end": 1700011000, "step": 1}


@suite.case
def active_queries__cancelled__answers_499_and_is_logged_as_slow():
    with lib.Tidalite(None, "--query.timeout=1h", "--query.log-slower-than=1ms").start() as server:
        c, found = server.client, {}

        def run():
            with_own = lib.Client(server.port)
            found["answer"] = with_own.get("/api/v1/query_range", ENDLESS)
            with_own.close()

        thread = threading.Thread(target=run)
        thread.start()
        listed = lib.wait_for("the query in the list", lambda: c.data("/api/v1/status/active_queries"))
        lib.expect_equal((len(listed), listed[0]["query"], listed[0]["step"]), (1, ENDLESS["query"], 1), "the list")
        lib.expect(listed[0]["durationSeconds"] >= 0, f"{listed}")
        a = c.request("DELETE", f"/api/v1/status/active_queries/{listed[0]['id']}")
        lib.expect_equal((a.status, a.json["data"]), (200, {"id": listed[0]["id"]}), "cancel")
        thread.join()
        a = found["answer"]
        lib.expect_equal((a.status, a.json["errorType"]), (499, "canceled"), "the query's answer")
        lib.expect_equal(c.data("/api/v1/status/active_queries"), [], "the list afterwards")
        line = next((x for x in server.log_tail(100).splitlines() if "slow query" in x), "")
        for word in ("level=warn", "quantile_over_time", "start_ms=1700000000000", "step_ms=1000", "duration_s=", "samples=", "status="):
            lib.expect(word in line, f"{word} is not in the line of the slow query: {line!r}\n{server.log_tail()}")
    with lib.Tidalite().start() as server:
        server.client.query("1")
        lib.expect("slow query" not in server.log_tail(100), "logged without being asked for")


# ---- status ----

@suite.case
def status__blocks_and_self_metrics__agree_with_the_metrics_page():
    with lib.Tidalite(None, "--storage.tsdb.min-block-duration=2s").start() as server:
        c, t = server.client, lib.now_ms() - 60_000
        for i in range(5):
            a = c.write([wire.Series(wire.labels("blk", n=str(n)), [(t + i * 2000 + k * 100, float(k)) for k in range(10)]) for n in range(3)])
            lib.expect_equal(a.status, 204, f"write: {a}")
        blocks = lib.wait_for("all samples in blocks", lambda: [
            b for b in [c.data("/api/v1/status/tsdb/blocks")["blocks"]] if sum(x["stats"]["numSamples"] for x in b) == 150])[0]
        for b in blocks:
            lib.expect_equal((len(b["ulid"]), b["version"], b["compaction"]["sources"]), (26, 1, [b["ulid"]]), f"{b}")
            lib.expect(b["minTime"] < b["maxTime"] and b["stats"]["numSeries"] == 3, f"{b}")
            lib.expect((pathlib.Path(server.data) / "blocks" / b["ulid"]).is_dir() or b["ulid"] not in
                       [x["ulid"] for x in c.data("/api/v1/status/tsdb/blocks")["blocks"]], f"{b['ulid']} is not on the disk")
        lib.expect_equal(blocks, sorted(blocks, key=lambda b: b["minTime"]), "order")
        families = {f["name"]: f for f in c.data("/api/v1/status/self_metrics")}
        page = c.get("/metrics").text
        lib.expect_equal(sorted(families), sorted(set(re.findall(r"^# TYPE (\S+) ", page, re.M))), "families")
        lib.expect_equal({f["type"].lower() for f in families.values()}, set(re.findall(r"^# TYPE \S+ (\w+)", page, re.M)), "types")
        lib.expect_equal(families["tidalite_head_series"]["metric"][0]["gauge"]["value"], lib.find_text(page, "tidalite_head_series"), "a value")
        some = c.data("/api/v1/status/self_metrics", {"metric_name_pattern": "^tidalite_wal_"})
        lib.expect_equal([f["name"] for f in some], [n for n in families if n.startswith("tidalite_wal_")], "those that match")


if __name__ == "__main__":
    sys.exit(suite.main())
