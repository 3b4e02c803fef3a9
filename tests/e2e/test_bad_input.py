#!/usr/bin/env python3
"""Bad input gives a clear error and loses nothing.

One server takes it all; after each case it must still live, still hold the good data, and still take more.
"""
import random
import re
import socket
import sys
import time
import urllib.parse

import lib
import wire

suite = lib.Suite()
BODY_MAX = 1 << 20
DECODED_MAX = 8 << 20
GOOD = 100

server = lib.Tidalite(None, "--web.max-body-size=1MiB", "--web.max-decoded-size=8MiB", "--web.read-timeout=2s",
                      "--query.max-samples=20000", "--query.timeout=5s")
base = lib.now_ms() - 600_000
counter = 0


def check_alive():
    """The good data is intact, and a good write is taken."""
    global counter
    lib.expect(server.alive(), f"the server died; log:\n{server.log_tail()}")
    found = {s["metric"]["n"]: s["value"][1] for s in server.client.query("good", (base + 1000) / 1000)}
    lib.expect_equal(found, {str(i): str(i) for i in range(GOOD)}, "the good data")
    counter += 1
    a = server.client.write([wire.Series(wire.labels("alive"), [(base + counter, float(counter))])])
    lib.expect_equal(a.status, 204, f"a good write afterwards: {a}")
    found = server.client.query("alive", (base + counter) / 1000)
    lib.expect_equal([s["value"][1] for s in found], [str(counter)], "what was just written")


def case(fn):
    def run():
        fn()
        check_alive()

    run.__name__ = fn.__name__
    suite.case(run)
    return fn


def refused(answer, status, *words, counts=(0, 0, 0)):
    """A refusal in plain text, one line, that says what is wrong, and the counts of what was written."""
    lib.expect_equal(answer.status, status, f"status of {answer}")
    lib.expect(answer.text.strip() != "" and answer.text.count("\n") <= 1, f"no one-line text: {answer}")
    for word in words:
        lib.expect(word.lower() in answer.text.lower(), f"the text does not say '{word}': {answer}")
    lib.expect_equal(lib.written(answer), counts, f"written counts of {answer}")


def good_body(name="some", n=20):
    return wire.request_v1([wire.Series(wire.labels(name, n=str(i)), [(base + 5, 1.0)]) for i in range(n)])


def absent(name):
    lib.expect_equal(server.client.query(f"{name}[1h]", time.time()), [], f"series {name}")


# ---- snappy ----

@case
def snappy__truncated_at_every_length__400():
    whole = wire.snappy(good_body("cut_snappy"))
    for n in list(range(1, 40)) + list(range(40, len(whole), 97)) + [len(whole) - 1]:
        refused(server.client.write_raw(whole[:n]), 400)
    absent("cut_snappy")


@case
def snappy__garbage__400():
    rng = random.Random(1)
    for n in (1, 2, 3, 10, 100, 1000, 100000):
        for _ in range(10):
            data = rng.randbytes(n)
            a = server.client.write_raw(data)
            lib.expect(a.status in (400, 413), f"garbage of {n} bytes: {a}")


@case
def snappy__flipped_bytes__never_harm():
    rng = random.Random(2)
    whole = wire.snappy(good_body("flipped_snappy"))
    for _ in range(300):
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        a = server.client.write_raw(bytes(data))
        lib.expect(a.status in (204, 400, 413), f"one flipped bit: {a}")


@case
def snappy__bomb_with_declared_size_over_the_limit__400():
    for declared in (DECODED_MAX + 1, 1 << 31, (1 << 32) - 1):
        a = server.client.write_raw(wire.varint(declared) + b"\xf4" * 64)
        lib.expect(a.status in (400, 413), f"declared {declared}: {a}")
        lib.expect_equal(lib.written(a), (0, 0, 0), "written counts")
    a = server.client.write_raw(wire.varint(1 << 40) + b"\x00" * 64)
    refused(a, 400)


@case
def snappy__bomb_that_really_expands__refused_before_memory():
    """Copies of 64 bytes from offset 1: 3 bytes each."""
    n = DECODED_MAX + 64
    data = wire.varint(n) + b"\x00A" + b"\xfe\x01\x00" * (n // 64)
    a = server.client.write_raw(data)
    refused(a, 400, "declares", str(DECODED_MAX))
    fits = wire.varint(1 << 20) + b"\x00\x0a" + b"\xfe\x01\x00" * ((1 << 20) // 64 - 1) + b"\xfa\x01\x00"
    a = server.client.write_raw(fits)  # a mebibyte of newlines is no protobuf
    lib.expect_equal(a.status, 400, f"bomb within the limit: {a}")


@case
def snappy__declared_size_does_not_match__400():
    raw = good_body("mismatch")
    block = wire.snappy(raw)[len(wire.varint(len(raw))):]
    for declared in (0, len(raw) - 1, len(raw) + 1, len(raw) * 2):
        refused(server.client.write_raw(wire.varint(declared) + block), 400)
    absent("mismatch")


# ---- protobuf ----

@case
def protobuf__truncated_v1__400_and_nothing_stored():
    raw = good_body("cut_v1")
    for n in list(range(1, 60)) + list(range(60, len(raw), 41)):
        piece = raw[:n]
        a = server.client.write_raw(wire.snappy(piece))
        lib.expect(a.status in (204, 400), f"first {n} of {len(raw)} bytes: {a}")
        if a.status == 204:  # only where a cut falls between two series
            lib.expect(n % (len(raw) // 20) < 25, f"first {n} of {len(raw)} bytes were taken: {a}")


@case
def protobuf__truncated_v2__400():
    series = [wire.Series(wire.labels("cut_v2", n=str(i)), [(base + 5, 1.0)]) for i in range(5)]
    raw = wire.request_v2(series)
    headers = {"Content-Type": wire.CONTENT_TYPE[2]}
    last = len(wire.request_v2(series)) - 3
    refused(server.client.write_raw(wire.snappy(raw[:last]), headers), 400)
    for n in range(1, len(raw), 7):
        a = server.client.write_raw(wire.snappy(raw[:n]), headers)
        lib.expect(a.status in (204, 400), f"first {n} of {len(raw)} bytes: {a}")


@case
def protobuf__garbage__400():
    rng = random.Random(3)
    for version in (1, 2):
        for n in (1, 5, 50, 500, 50000):
            for _ in range(10):
                a = server.client.write_raw(wire.snappy(b"\x0a" + rng.randbytes(n)), {"Content-Type": wire.CONTENT_TYPE[version]})
                lib.expect(a.status in (204, 400), f"garbage: {a}")


@case
def protobuf__absurd_lengths_and_counts__400():
    huge = [wire.varint(1 << 3 | 2) + wire.varint(n) for n in (1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1)]
    huge.append(b"\x0a" + b"\xff" * 11)                                             # a varint that never ends
    huge.append(wire.f_bytes(1, b"\x0a" + wire.varint(1 << 40)))                    # a label of a tebibyte
    huge.append(wire.f_bytes(1, wire.f_bytes(1, b"\x12\xff\xff\xff\xff\x0f")))
    for data in huge:
        refused(server.client.write_raw(wire.snappy(data)), 400)
    # Spans that claim four billion buckets in ten bytes.
    span = wire.f_bytes(11, wire.f_varint(1, 2) + wire.f_varint(2, 0xFFFFFFFF))
    h = wire.varint(1 << 3) + wire.varint(1) + span + wire.f_varint(15, base)
    ts = wire.f_bytes(1, wire._label(("__name__", "absurd"))) + wire.f_bytes(4, h)
    refused(server.client.write_raw(wire.snappy(wire.f_bytes(1, ts))), 400)
    absent("absurd")


@case
def protobuf__wrong_wire_type__400():
    refused(server.client.write_raw(wire.snappy(wire.f_varint(1, 5))), 400)
    refused(server.client.write_raw(wire.snappy(wire.f_bytes(1, wire.f_varint(2, 7)))), 400)


@case
def protobuf__unknown_fields__skipped():
    ts = wire.f_bytes(1, wire._label(("__name__", "unknown_fields"))) + wire.f_bytes(2, wire.f_double(1, 3.0) + wire.f_varint(2, base + 5)
                                                                                    + wire.f_varint(99, 7))
    raw = wire.f_bytes(77, b"whatever") + wire.f_bytes(1, ts + wire.f_bytes(98, b"x")) + wire.f_varint(500, 1)
    a = server.client.write_raw(wire.snappy(raw))
    lib.expect_equal((a.status, lib.written(a)), (204, (1, 0, 0)), f"unknown fields: {a}")


@case
def protobuf__empty_request__204():
    for body in (wire.snappy(b""), b""):
        a = server.client.write_raw(body)
        lib.expect_equal(a.status, 204, f"empty request: {a}")


@case
def protobuf__without_encoding_header__taken():
    a = server.client.write_raw(wire.snappy(good_body("unlabelled")), {"Content-Encoding": None})
    lib.expect_equal(a.status, 204, f"Snappy without a header: {a}")
    a = server.client.write_raw(good_body("plain"), {"Content-Encoding": None})
    lib.expect_equal(a.status, 204, f"plain protobuf without a header: {a}")


# ---- labels and samples: partial commit ----

def partial(bad, words, version=1, good=3):
    """Bad series among good ones: 400 with a text, the good ones stored and counted."""
    global counter
    counter += 1
    name = f"partial_{counter}"
    goods = [wire.Series(wire.labels(name, n=str(i)), [(base + 5, float(i))]) for i in range(good)]
    series = goods[:1] + bad + goods[1:]
    a = server.client.write(series, version)
    refused(a, 400, *words, counts=(good, 0, 0))
    found = server.client.query(name, (base + 1000) / 1000)
    lib.expect_equal(len(found), good, f"good series stored beside {words}")


def sample(labels):
    return [wire.Series(labels, [(base + 5, 1.0)])]


@case
def labels__bad__400_and_the_rest_stored():
    long_name = "n" * 65537
    for version in (1, 2):
        partial(sample([("a", "b")]), ["__name__"], version)                                   # no metric name
        partial(sample([("__name__", ""), ("a", "b")]), ["__name__"], version)                 # empty metric name
        partial(sample([("__name__", "x"), ("", "b")]), ["empty"], version)                    # empty label name
        partial(sample([("__name__", "x"), ("a", "1"), ("a", "2")]), ["a", "not unique"], version)
        partial(sample([("a", "1"), ("__name__", "x"), ("a", "1")]), ["a", "not unique"], version)
        partial(sample([("__name__", "x"), ("a", b"\xff\xfe")]), ["UTF-8"], version)
        partial(sample([("__name__", "x"), (b"\xc3\x28", "v")]), ["UTF-8"], version)
        partial(sample([("__name__", b"bad\xed\xa0\x80")]), ["UTF-8"], version)                # a surrogate
        partial(sample([("__name__", "x")] + [(f"l{i:04}", "v") for i in range(1024)]), ["label"], version)
        partial(sample([("__name__", "x"), (long_name, "v")]), ["label"], version)


@case
def labels__unsorted__taken():
    a = server.client.write([wire.Series([("z", "1"), ("__name__", "unsorted"), ("a", "2")], [(base + 5, 1.0)])])
    lib.expect_equal(a.status, 204, f"unsorted labels: {a}")
    lib.expect_equal(len(server.client.query('unsorted{a="2",z="1"}', (base + 1000) / 1000)), 1, "unsorted series")


@case
def labels_v2__references_out_of_range__400_and_the_rest_stored():
    symbols = ["", "__name__", "v2_good", "v2_bad"]
    out = b"".join(wire.f_bytes(4, s) for s in symbols)

    def ts(refs):
        return wire.f_bytes(5, wire.f_packed(1, [wire.varint(r) for r in refs]) + wire.f_bytes(2, wire._sample((base + 5, 1.0))))

    for bad in ([1, 99], [1, (1 << 32) - 1], [1, 3, 1]):
        a = server.client.write_raw(wire.snappy(out + ts([1, 2]) + ts(bad)), {"Content-Type": wire.CONTENT_TYPE[2]})
        refused(a, 400, counts=(1, 0, 0))
    absent("v2_bad")
    lib.expect_equal(len(server.client.query("v2_good", (base + 1000) / 1000)), 1, "series v2_good")


@case
def samples__conflicts_and_bounds__400_and_the_rest_stored():
    a = server.client.write([wire.Series(wire.labels("conflict"), [(base + 5, 1.0)])])
    lib.expect_equal(a.status, 204, f"first value: {a}")
    conflict = [wire.Series(wire.labels("conflict"), [(base + 5, 2.0)])]
    partial(conflict, ["duplicate sample for timestamp"])
    partial([wire.Series(wire.labels("future"), [(lib.now_ms() + 3_600_000, 1.0)])], ["out of bounds"])
    partial([wire.Series(wire.labels("past"), [(lib.now_ms() - 400 * 86_400_000, 1.0)])], ["out of bounds"])
    partial([wire.Series(wire.labels("extreme"), [(-(1 << 63), 1.0), ((1 << 63) - 1, 1.0)])], ["out of bounds"])
    found = server.client.query("conflict", (base + 1000) / 1000)
    lib.expect_equal([s["value"][1] for s in found], ["1"], "the value first written stays")


@case
def histograms__bad__400_and_the_rest_stored():
    ok = dict(t=base + 5, count=3, sum=1.0, positive_spans=[(0, 1)], positive=[3])
    bad = [ok | {"schema": 53}, ok | {"schema": -9}, ok | {"positive": [3, 4]}, ok | {"positive_spans": [(0, 5)]},
           ok | {"count": 2}, ok | {"positive_spans": [(0, 1), (-3, 1)], "positive": [1, 2]}]
    for more in bad:
        partial([wire.Series(wire.labels("bad_hist"), histograms=[wire.Histogram(**more)])], [])
    absent("bad_hist")


@suite.case
def series__over_max_series__400_and_the_rest_stored():
    with lib.Tidalite(None, "--storage.head.max-series=1000") as small:
        small.start()
        series = [wire.Series(wire.labels("many", n=str(i)), [(base + 5, 1.0)]) for i in range(2000)]
        a = small.client.write(series)
        stored = lib.written(a)[0]
        lib.expect(0 < stored <= 1000, f"{stored} samples written of 2000")
        refused(a, 400, "limit", counts=(stored, 0, 0))
        found = small.client.query("count(many)", (base + 1000) / 1000)
        lib.expect_equal(found[0]["value"][1], str(stored), "series stored, as counted in the answer")
        a = small.client.write([wire.Series(wire.labels("more"), [(base + 5, 1.0)])])
        refused(a, 400, "limit")
        known = small.client.query("many", (base + 1000) / 1000)[0]["metric"]
        a = small.client.write([wire.Series(sorted(known.items()), [(base + 6, 2.0)])])
        lib.expect_equal((a.status, lib.written(a)), (204, (1, 0, 0)), f"a known series at the limit: {a}")


# ---- HTTP ----

@case
def body__over_the_limit__400():
    for announced, sent in ((BODY_MAX + 1, BODY_MAX + 1), (1 << 30, 4 << 20), (1 << 40, 1000)):
        raw = (b"POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
               + f"Content-Length: {announced}\r\n\r\n".encode() + b"\x00" * sent)
        answer = exchange(raw)  # the server may close before it has read all: look for the answer nevertheless
        lib.expect(b" 400 " in answer.split(b"\r\n")[0], f"a body of {announced} bytes: {answer[:200]!r}")


@case
def body__chunked_over_the_limit__400():
    raw = (b"POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
           b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b"\x00" * 65536 + b"\r\n"
    answer = exchange(raw + chunk * 18 + b"0\r\n\r\n")
    lib.expect(b" 400 " in answer.split(b"\r\n")[0], f"chunked body over the limit: {answer[:200]!r}")


@case
def body__chunked__taken():
    data = wire.snappy(good_body("chunked"))
    raw = (b"POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
           b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    for i in range(0, len(data), 100):
        piece = data[i:i + 100]
        raw += f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    answer = exchange(raw + b"0\r\n\r\n")
    lib.expect(b" 204 " in answer.split(b"\r\n")[0], f"chunked body: {answer[:200]!r}")


@case
def headers__wrong_type_or_encoding__415_even_if_the_body_is_broken():
    for content_type in ("application/json", "text/plain", "application/x-protobuf;proto=prometheus.writerequest",
                         "application/x-protobuf;proto=io.prometheus.write.v3.Request", "nonsense"):
        refused(server.client.write_raw(wire.body(sample(wire.labels("typed"))), {"Content-Type": content_type}), 415, "Content-Type")
    for encoding in ("gzip", "deflate", "br", "zst", "identity, gzip"):
        refused(server.client.write_raw(b"\xff\xff", {"Content-Encoding": encoding}), 415, "Content-Encoding")
    absent("typed")
    for content_type in ("application/x-protobuf;proto=prometheus.WriteRequest", "application/x-protobuf; proto=prometheus.WriteRequest", None):
        a = server.client.write_raw(wire.body(sample(wire.labels("typed"))), {"Content-Type": content_type})
        lib.expect_equal(a.status, 204, f"Content-Type {content_type}: {a}")


@case
def headers__durability__known_words_only():
    for word in ("strict", "buffered", "memory"):
        a = server.client.write([wire.Series(wire.labels("durable"), [(base + 5, 1.0)])], headers={"X-Tidalite-Durability": word})
        lib.expect_equal((a.status, lib.written(a)), (204, (1, 0, 0)), f"X-Tidalite-Durability: {word}: {a}")
    a = server.client.write([wire.Series(wire.labels("undurable"), [(base + 5, 1.0)])], headers={"X-Tidalite-Durability": "maybe"})
    refused(a, 400, "X-Tidalite-Durability")
    absent("undurable")


@case
def methods__wrong__405():
    for method, path in (("GET", "/api/v1/write"), ("PUT", "/api/v1/write"), ("DELETE", "/api/v1/query"), ("POST", "/api/v1/status/flags"),
                         ("GET", "/-/reload"), ("POST", "/api/v1/label/x/values")):
        a = server.client.request(method, path)
        lib.expect_equal(a.status, 405, f"{method} {path}: {a}")
        lib.expect(a.headers.get("Allow"), f"{method} {path}: no Allow header")


@case
def paths__unknown__404_text():
    for path in ("/nothing", "/api/v1/nothing", "/api/v2/query", "/api/v1/query/", "/api/v1/label//values", "/%00", "/" + "x" * 4000,
                 "/../../etc/passwd", "//nothing"):
        a = server.client.get(path)
        lib.expect_equal((a.status, a.text), (404, "404 page not found\n"), f"GET {path[:60]}")


@case
def paths__doubled_slash__is_one():
    for path, plain in (("//", "/"), ("/api/v1//query?query=1&time=1", "/api/v1/query?query=1&time=1"), ("//-//healthy", "/-/healthy")):
        a = server.client.get(path)
        lib.expect_equal((a.status, len(a.text)), (200, len(server.client.get(plain).text)), f"GET {path}")


def exchange(raw, wait=True):
    """Send bytes over a connection of its own; what comes back until the server closes (or answered with a length)."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=lib.WAIT_SECONDS) as s:
        try:
            s.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused and closed while we were still sending
        if not wait:
            return b""
        out = b""
        try:
            while b"\r\n\r\n" not in out:
                piece = s.recv(65536)
                if not piece:
                    break
                out += piece
        except ConnectionResetError:
            pass
        return out


@case
def http__garbage__400_or_closed():
    rng = random.Random(4)
    for data in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /api/v1/write HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
                 b"POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Length: zzz\r\n\r\n", b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                 b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"b" * 100000 + b"\r\n\r\n", rng.randbytes(2000) + b"\r\n\r\n"):
        answer = exchange(data)
        status = answer.split(b" ")[1:2]
        lib.expect(not answer or status[0][:1] in (b"4", b"5"), f"{data[:40]!r}: {answer[:100]!r}")


def until_closed(raw):
    """Send bytes over a connection of its own; all that comes back until the server closes it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=lib.WAIT_SECONDS) as s:
        s.sendall(raw)
        out = b""
        try:
            while piece := s.recv(65536):
                out += piece
        except ConnectionResetError:
            pass
        return out


def statuses(answers):
    return [int(x) for x in re.findall(rb"HTTP/1\.1 (\d\d\d) ", answers)]


HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@case
def http__head_malformed__400_closed_and_nothing_behind_it_is_done():
    """Where a request ends must not be a matter of opinion: a second one behind a bad one is never looked at."""
    get, post = b"GET /-/healthy", b"POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\n"
    bad = {
        "blank before the colon": get + b" HTTP/1.1\r\nHost : x\r\n\r\n",
        "blank before the colon of a length": post + b"Content-Length : 40\r\n\r\n",
        "tab before the colon of an encoding": post + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
        "NUL in the method": b"G\0ET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "NUL in the path": get + b"\0/api HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "NUL in the query": get + b"?a=\0b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "NUL in the version": get + b" HTTP/1.1\0\r\nHost: localhost\r\n\r\n",
        "NUL in a name": get + b" HTTP/1.1\r\nHost: localhost\r\nX\0Y: z\r\n\r\n",
        "NUL in a value": get + b" HTTP/1.1\r\nX: z\0z\r\nHost: localhost\r\n\r\n",
        "NUL in the last value": get + b" HTTP/1.1\r\nHost: localhost\r\nX: z\0z\r\n\r\n",
        "LF alone everywhere": get + b" HTTP/1.1\nHost: x\n\n",
        "LF alone behind a header": get + b" HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
        "LF alone behind the last header": get + b" HTTP/1.1\r\nHost: x\n\r\n",
        "LF alone behind the head": get + b" HTTP/1.1\r\nHost: localhost\r\n\n",
        "LF alone in the request line": get + b"\nX: y HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CR alone in a value": get + b" HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n",
        "CR alone behind a header": get + b" HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n",
        "CR alone in the path": get + b"\r HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "CR alone behind the head": get + b" HTTP/1.1\r\nHost: localhost\r\n\r",
        "a folded value": get + b" HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n",
        "a line without a colon": get + b" HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n",
        "a header without a name": get + b" HTTP/1.1\r\nHost: localhost\r\n: v\r\n\r\n",
        "DEL in a value": get + b" HTTP/1.1\r\nHost: localhost\r\nX: a\x7fb\r\n\r\n",
        "two blanks": b"GET  /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a blank in the path": b"GET /-/hea lthy HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "no host": get + b" HTTP/1.1\r\n\r\n",
        "two hosts": get + b" HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "two lengths": post + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde",
        "a length and chunks": post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "chunks and a length": post + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "an encoding that is not known": post + b"Transfer-Encoding: gzip\r\n\r\n",
        "two encodings": post + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "almost chunked": post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "chunks in HTTP/1.0": b"POST /api/v1/query HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a chunk of no size": post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        "a chunk of negative size": post + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        "a chunk longer than it says": post + b"Transfer-Encoding: chunked\r\n\r\n5\r\nquery=1\r\n0\r\n\r\n",
    }
    for what, raw in bad.items():
        answers = until_closed(raw + HEALTHY)
        lib.expect_equal(statuses(answers), [400], f"{what}: {answers[:300]!r}")


@case
def http__length_malformed__refused_closed_and_nothing_behind_it_is_done():
    """libmicrohttpd 0.9.75 answers these itself, before we see the request, and sends its headers twice: all that can be said from
    outside is that it refuses, closes, and looks at nothing more."""
    for value in (b"zzz", b"-5", b"+5", b"5 5", b"5,5", b"", b" ", b"0x5", b"5;", b"5\t", b"1e3", b"99999999999999999999999", b"18446744073709551616"):
        answers = until_closed(b"POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + value + b"\r\n\r\n" + HEALTHY)
        found = set(statuses(answers))
        lib.expect(found in ({400}, {413}), f"Content-Length {value!r}: {answers[:300]!r}")
        lib.expect(b"Connection: close" in answers, f"Content-Length {value!r}: {answers[:300]!r}")


@case
def http__head_well_formed__taken_however_it_arrives():
    """The checks of the head look around in what was received: they must not take good requests for bad ones."""
    rng = random.Random(5)
    good = [HEALTHY, b"GET /-/healthy?a=%00b HTTP/1.1\r\nHost: localhost\r\nX:\r\n\r\n", b"GET /-/healthy HTTP/1.1\r\nHost:localhost\r\nX: a\tb \r\n\r\n",
            b"\r\nGET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HEAD /-/healthy HTTP/1.1\r\nHost: localhost\r\nCookie: a=b; c=d\r\n\r\n",
            b"POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\nquery=1",
            b"POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: Chunked\r\n\r\n"
            b"7\r\nquery=1\r\n0\r\n\r\n"]
    for _ in range(20):
        requests = [rng.choice(good) for _ in range(10)]
        for i, request in enumerate(requests):  # heads of any length
            pad = b"X-Pad: " + b"p" * rng.randrange(1, 3000) + b"\r\n"
            requests[i] = request.replace(b"Host:", pad + b"Host:", 1) if rng.randrange(2) else request
        raw = b"".join(requests) + LAST
        with socket.create_connection(("127.0.0.1", server.port), timeout=lib.WAIT_SECONDS) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while raw:
                n = rng.choice((1, 2, 3, 10, 100, 5000))
                s.sendall(raw[:n])
                raw = raw[n:]
            out = b""
            while piece := s.recv(65536):
                out += piece
        lib.expect_equal(statuses(out), [200] * 11, f"answers to {requests!r:.300}")
    s = socket.create_connection(("127.0.0.1", server.port), timeout=lib.WAIT_SECONDS)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for request in good:  # byte by byte
        for i in range(len(request)):
            s.sendall(request[i:i + 1])
    s.sendall(LAST)
    out = b""
    while piece := s.recv(65536):
        out += piece
    s.close()
    lib.expect_equal(statuses(out), [200] * (len(good) + 1), "answers to requests that came byte by byte")


@case
def http__client_gone_in_the_middle__forgotten():
    data = wire.snappy(good_body("gone"))
    head = (b"POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
            + f"Content-Length: {len(data)}\r\n\r\n".encode())
    for n in (0, 10, len(head), len(head) + 5, len(head) + len(data) - 1):
        exchange((head + data)[:n], wait=False)
    absent("gone")


@case
def http__slow_client__closed_and_others_served():
    """A body that trickles, and connections that say nothing: others are served meanwhile; the slow ones are let go."""
    slow = socket.create_connection(("127.0.0.1", server.port), timeout=lib.WAIT_SECONDS)
    silent = [socket.create_connection(("127.0.0.1", server.port), timeout=lib.WAIT_SECONDS) for _ in range(20)]
    slow.sendall(b"POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
                 b"Content-Length: 100000\r\n\r\nabc")
    for _ in range(5):
        check_alive()
    for s in [slow] + silent:
        while True:  # --web.read-timeout=2s: the server ends it; a timeout here would raise
            try:
                if not s.recv(65536):
                    break
            except ConnectionResetError:
                break
        s.close()


@case
def http__many_pipelined_requests__all_answered():
    n = 50
    raw = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n" * (n - 1) + b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=lib.WAIT_SECONDS) as s:
        s.sendall(raw)
        out = b""
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            out += piece
    lib.expect_equal(out.count(b"HTTP/1.1 200 "), n, "answers")


# ---- queries ----

def bad_query(expr, *words, path="/api/v1/query", status=400, kind="bad_data", **more):
    params = {"query": expr, "time": (base + 1000) / 1000} if path.endswith("query") else {"query": expr, "start": 1, "end": 2, "step": 1}
    params |= more
    answers = [server.client.post(path, params)] + ([server.client.get(path, params)] if len(expr) < 1000 else [])
    for a in answers:
        lib.expect_equal(a.status, status, f"{expr[:80]} {more}: {a}")
        lib.expect_equal((a.json["status"], a.json["errorType"]), ("error", kind), f"{expr[:80]} {more}: {a}")
        for word in words:
            lib.expect(word in a.json["error"], f"{expr[:80]} {more}: the error does not say '{word}': {a}")


@case
def query__malformed__400_with_position():
    bad_query("sum(", "invalid parameter \"query\"", "1:5: parse error")
    bad_query("up{", "parse error", "1:")
    bad_query("up{a=}", "1:6: parse error")
    bad_query("1 +", "parse error")
    bad_query("up[5m", "parse error")
    bad_query("up[5x]", "parse error")
    bad_query("foo bar", "1:5: parse error")
    bad_query("rate(up)", "parse error", "range vector")
    bad_query("sum(up[5m])", "parse error")
    bad_query("nosuchfunction(up)", "unknown function", "nosuchfunction")
    bad_query('{__name__=~".*"}', "at least one non-empty matcher")
    bad_query('up{a=~"("}', "parse error")
    bad_query("\n\nfoo $", "3:5: parse error")
    bad_query("", "no expression found in input")
    bad_query("'unterminated", "parse error")
    bad_query("1 + 'a'", "parse error")
    bad_query("up offset", "parse error")
    bad_query("\xff\xfe", "parse error")
    bad_query("up[5m]", "invalid expression type \"range vector\"", path="/api/v1/query_range")


@case
def query__deep_or_long__400_not_a_crash():
    bad_query("(" * 100_000 + "1" + ")" * 100_000)
    bad_query("-" * 200_000 + "1")
    bad_query("sum(" * 50_000 + "up" + ")" * 50_000)
    a = server.client.post("/api/v1/query", {"query": "+".join(["1"] * 5000)})
    lib.expect(a.status in (200, 400), f"five thousand additions: {a}")
    body = b"query=" + b"x" * 3_000_000
    answer = exchange(b"POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                      + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    lib.expect(answer.split(b" ")[1:2] in ([b"400"], [b"413"]), f"three megabytes of query: {answer[:200]!r}")


@case
def query__bad_parameters__400():
    for params, words in (({"query": "up", "time": "yesterday"}, ["time"]), ({"query": "up", "timeout": "soon"}, ["timeout"]),
                          ({"query": "up", "limit": "-1"}, ["limit"]), ({"query": "up", "limit": "x"}, ["limit"]), ({}, ["query"])):
        a = server.client.get("/api/v1/query", params)
        lib.expect_equal((a.status, a.json["errorType"]), (400, "bad_data"), f"{params}: {a}")
        for word in words:
            lib.expect(word in a.json["error"], f"{params}: {a}")
    for params, words in (({"start": 1, "end": 2}, ["step"]), ({"start": 1, "end": 2, "step": 0}, ["step"]), ({"start": 1, "end": 2, "step": -1}, ["step"]),
                          ({"start": 2, "end": 1, "step": 1}, ["end"]), ({"start": "a", "end": 2, "step": 1}, ["start"]),
                          ({"end": 2, "step": 1}, ["start"]), ({"start": 0, "end": 11001, "step": 1}, ["11,000"])):
        a = server.client.get("/api/v1/query_range", {"query": "up"} | params)
        lib.expect_equal((a.status, a.json["errorType"]), (400, "bad_data"), f"{params}: {a}")
        for word in words:
            lib.expect(word in a.json["error"], f"{params}: {a}")
    a = server.client.get("/api/v1/query_range", {"query": "1", "start": 0, "end": 11000, "step": 1})
    lib.expect_equal(a.status, 200, f"11001 points: {a}")


@case
def query__over_max_samples__422():
    series = [wire.Series(wire.labels("wide", n=str(i)), [(base + 10 + k, float(k)) for k in range(1000)]) for i in range(30)]
    a = server.client.write(series)
    lib.expect_equal(a.status, 204, f"write: {a}")
    a = server.client.get("/api/v1/query_range", {"query": 'sum_over_time(wide[10m])', "start": base / 1000,
                                                  "end": base / 1000 + 600, "step": 0.5})
    lib.expect_equal((a.status, a.json.get("errorType")), (422, "execution"), f"status of {a}")
    lib.expect("too many samples" in a.json["error"], f"{a}")


@case
def query__unsupported_function__422_that_names_it_or_an_answer():
    """Whatever of the grammar has no evaluator yet says so by name; it never crashes and never answers nonsense."""
    for expr, name in (("histogram_quantile(0.9, good)", "histogram_quantile"), ("label_replace(good, 'a', '$1', 'n', '(.*)')", "label_replace"),
                       ("topk(3, good)", "topk"), ("quantile(0.5, good)", "quantile"), ("count_values('v', good)", "count_values"),
                       ("max_over_time(good[5m:1m])", "subquery"), ("predict_linear(good[5m], 60)", "predict_linear"),
                       ("absent(good)", "absent"), ("good and good", "and"), ("good * on(n) group_left good", "")):
        a = server.client.get("/api/v1/query", {"query": expr, "time": (base + 1000) / 1000})
        lib.expect(a.status in (200, 422), f"{expr}: {a}")
        if a.status == 422:
            lib.expect(a.json["errorType"] == "execution" and name in a.json["error"], f"{expr}: {a}")


@case
def api__bad_selectors__400():
    for path in ("/api/v1/series", "/api/v1/labels", "/api/v1/label/n/values"):
        for match in ("{", "{}", '{a=""}', "up[5m]", "sum(up)", '{a=~"("}'):
            a = server.client.get(path, {"match[]": match})
            lib.expect_equal((a.status, a.json["errorType"]), (400, "bad_data"), f"{path} {match}: {a}")
    a = server.client.get("/api/v1/series")
    lib.expect_equal(a.status, 400, f"series without match[]: {a}")
    lib.expect("no match[] parameter provided" in a.json["error"], f"{a}")
    a = server.client.get("/api/v1/labels?match[]=%zz")
    lib.expect_equal(a.status, 400, f"a broken percent escape: {a}")


@case
def api__strange_bytes_everywhere__4xx_or_answers():
    rng = random.Random(5)
    for _ in range(200):
        word = urllib.parse.quote(rng.randbytes(rng.randrange(1, 30)))
        for path in (f"/api/v1/query?query={word}", f"/api/v1/label/{word.replace('/', '_')}/values", f"/api/v1/series?match[]={word}",
                     f"/api/v1/query?query=good&time={word}", f"/{word}"):
            a = server.client.get(path)
            lib.expect(a.status < 500, f"GET {path}: {a}")


@suite.case
def afterwards__restart__data_is_there():
    """Nothing of all this stands in the way of a clean end, or of the data being there again."""
    lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
    server.start()
    check_alive()
    lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")


def main():
    with server.start():
        a = server.client.write([wire.Series(wire.labels("good", n=str(i)), [(base, float(i))]) for i in range(GOOD)])
        lib.expect_equal(a.status, 204, f"the good data: {a}")
        check_alive()
        return suite.main()


if __name__ == "__main__":
    sys.exit(main())
