#!/usr/bin/env python3
"""More asked for than there is room for: heavy queries beside writers, readers that stand still.  Memory by the server's own accounts."""
import gzip
import socket
import sys
import threading
import time
import urllib.parse

import lib
import wire

suite = lib.Suite()

SERIES, SCRAPES, INTERVAL_MS = 300, 100, 15_000
HEAVY_CLIENTS, HEAVY_ROUNDS = 16, 3
WRITERS, BATCHES, WRITER_SERIES = 32, 25, 20
TOTAL_BYTES = 24 << 20
BUSY_TEXT = "--query.total-memory"


def fill(server, start):
    """SERIES gauges over SCRAPES intervals."""
    for first in range(0, SERIES, 100):
        series = [wire.Series(wire.labels("load", i=f"{i:04}", pod=f"pod-{i:032}"),
                              samples=[(start + k * INTERVAL_MS, i + k + 0.123456789) for k in range(SCRAPES)]) for i in range(first, first + 100)]
        lib.expect_equal(server.client.write(series).status, 204, "write")


def heavy_path(start):
    """Every series at 1,001 steps: 300,300 points."""
    span = SCRAPES * INTERVAL_MS // 1000
    return "/api/v1/query_range?" + urllib.parse.urlencode({"query": "load * 1.0000001", "start": start / 1000, "end": start / 1000 + span, "step": span / 1000,
                                                            "lookback_delta": "1h", "nocache": "1"})


class Threads:
    """Functions in threads; the first failure is the caller's."""

    def __init__(self):
        self.threads, self.failures = [], []

    def add(self, fn, *args):
        self.threads.append(threading.Thread(target=self.run, args=(fn, args)))

    def run(self, fn, args):
        try:
            fn(*args)
        except Exception as e:  # pylint: disable=broad-except
            self.failures.append(e)

    def join(self):
        for t in self.threads:
            t.start()
        for t in self.threads:
            t.join()
        if self.failures:
            raise self.failures[0]


def ask_heavy(port, path, packed, counts):
    """Each ends: with all of the answer, or told that there is no room."""
    client = lib.Client(port)
    for _ in range(HEAVY_ROUNDS):
        answer = client.request("GET", path, headers={"Accept-Encoding": "gzip"} if packed else {})
        if answer.status == 503:
            lib.expect(BUSY_TEXT in answer.text and answer.headers.get("Retry-After"), f"{answer}")
            counts["refused"] += 1
            continue
        lib.expect_equal(answer.status, 200, f"heavy query: {lib.short(answer.text)}")
        data = gzip.decompress(answer.data) if packed else answer.data
        lib.expect_equal(data.count(b'"metric"'), SERIES, "series")
        lib.expect(data.count(b"],[") >= SERIES * 1000 and data.endswith(b"]]}]}}"), "a whole answer")
        counts["whole"] += 1
    client.close()


def write_all(port, index, start):
    """BATCHES requests; what is answered 503 comes again."""
    client = lib.Client(port)
    labels = [wire.labels("written", writer=str(index), series=str(s)) for s in range(WRITER_SERIES)]
    for b in range(BATCHES):
        series = [wire.Series(name, samples=[(start + b * 1000, float(b))]) for name in labels]
        while (answer := client.write(series)).status == 503:
            pass
        lib.expect_equal(answer.status, 204, f"write of writer {index}")
    client.close()


def ask_light(port, start, done):
    client = lib.Client(port)
    path = f"/api/v1/query?query=load%7Bi%3D%220007%22%7D&time={start / 1000 + 60}"
    while not done.is_set():
        answer = client.request("GET", path)
        lib.expect_equal(answer.status, 200, f"light query: {answer}")
    client.close()


def metric(server, name):
    return lib.find_text(server.client.get("/metrics").text, name)


def expect_given_back(server):
    """But for what the page of metrics itself takes."""
    lib.wait_for("memory of queries given back", lambda: metric(server, "tidalite_query_memory_bytes") < 100_000)


@suite.case
def overload__heavy_queries_and_writers__all_end_within_the_memory():
    start = lib.now_ms() - 3_600_000
    with lib.Tidalite(None, f"--query.total-memory={TOTAL_BYTES}B").start() as server:
        fill(server, start)
        counts, threads, light, done = {"whole": 0, "refused": 0}, Threads(), Threads(), threading.Event()
        for i in range(HEAVY_CLIENTS):
            threads.add(ask_heavy, server.port, heavy_path(start), i % 2 == 1, counts)
        for i in range(WRITERS):
            threads.add(write_all, server.port, i, start)
        light.add(ask_light, server.port, start, done)
        beside = threading.Thread(target=light.join)
        beside.start()
        threads.join()
        done.set()
        beside.join()
        lib.expect(not light.failures, f"{light.failures[:1]}")
        lib.expect_equal(counts["whole"] + counts["refused"], HEAVY_CLIENTS * HEAVY_ROUNDS, "heavy queries that ended")
        lib.expect(counts["whole"] > HEAVY_CLIENTS, f"answered: {counts}")
        lib.expect(metric(server, "tidalite_query_memory_waited_total") + counts["refused"] > 0, "nobody had to wait: the test asks for too little")
        peak = metric(server, "tidalite_query_memory_peak_bytes")
        lib.expect(peak <= TOTAL_BYTES, f"{peak} bytes at most")
        expect_given_back(server)
        result = server.client.query("sum(count_over_time(written[1h]))", start / 1000 + BATCHES)
        lib.expect_equal(result[0]["value"][1], str(WRITERS * WRITER_SERIES * BATCHES), "samples that were acknowledged")


@suite.case
def overload__readers_that_stand_still__hold_a_bounded_part_and_are_cut_off():
    start = lib.now_ms() - 3_600_000
    with lib.Tidalite(None, f"--query.total-memory={TOTAL_BYTES}B", "--query.max-concurrency=2", "--web.write-timeout=1s").start() as server:
        fill(server, start)
        request = f"GET {heavy_path(start)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        still = []
        for _ in range(4):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", server.port))
            s.sendall(request)
            still.append(s)
        lib.wait_for("an answer that nobody takes", lambda: metric(server, "tidalite_query_memory_bytes") > 2 << 20)
        lib.expect_equal(server.client.query("vector(1)", 1)[0]["value"][1], "1", "a query meanwhile")
        expect_given_back(server)
        lib.expect(metric(server, "tidalite_query_memory_peak_bytes") <= TOTAL_BYTES, "peak")
        late = metric(server, "tidalite_http_connections_late_total")
        lib.expect(late >= 1, f"{late} cut off")
        for s in still:
            s.close()


def drip(port, path):
    """The body of an answer that is taken a little at a time, and with pauses."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        s.connect(("127.0.0.1", port))
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        taken = bytearray()
        while piece := s.recv(30_011):
            taken += piece
            if len(taken) % 64 == 0:
                time.sleep(0.002)
    head, rest = bytes(taken).split(b"\r\n\r\n", 1)
    lib.expect(head.startswith(b"HTTP/1.1 200 ") and b"chunked" in head, f"{head}")
    body = bytearray()
    while rest:
        size, rest = rest.split(b"\r\n", 1)
        n = int(size, 16)
        body, rest = body + rest[:n], rest[n + 2:]
    return bytes(body)


def leave_early(port, path, taken):
    """Take so much of an answer and go away; what is unread makes it a reset."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", port))
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        while taken > 0:
            taken -= len(s.recv(min(taken, 65536)))


@suite.case
def overload__a_long_answer__is_the_same_whoever_writes_and_reads_it():
    start = lib.now_ms() - 3_600_000
    bodies = []
    for crew in (1, 7):
        with lib.Tidalite(None, f"--query.crew={crew}").start() as server:
            fill(server, start)
            bodies.append(server.client.get(heavy_path(start)).data)
            lib.expect(len(bodies[-1]) > 8 << 20, f"{len(bodies[-1])} bytes")
            lib.expect(drip(server.port, heavy_path(start)) == bodies[-1], f"dripped, crew of {crew}")
            for taken in (1, 100_000, 3_000_000):
                leave_early(server.port, heavy_path(start), taken)
            expect_given_back(server)
            lib.expect(server.client.get(heavy_path(start)).data == bodies[-1], f"again, crew of {crew}")
    lib.expect(bodies[0] == bodies[1], "written by one and by many")


if __name__ == "__main__":
    sys.exit(suite.main())
