#!/usr/bin/env python3
"""Blocks under kill -9: what was acknowledged is found bit for bit, and once, wherever it lies by then.

The block range is ten seconds and the samples are hours old, so that windows are flushed and compacted while they are written.
Writers go forward through the windows and now and then write late, into windows that lie in blocks already; in every round the
server is killed at a random moment and then asked for everything, also for cut-outs that begin and end inside blocks.
"""
import math
import random
import sys
import time

import lib
import wire

RANGE_MS = 10_000
ROUNDS = 8
WRITERS = 3
SERIES = 8            # per writer and round, one of them histograms
SPAN_MS = 6 * 3_600_000
COMPACTIONS = "tidalite_compactions_total"
LATE = 0.15           # share of requests with late samples

suite = lib.Suite()

FLAGS = [f"--{lib.BLOCK_RANGE_FLAG}={RANGE_MS // 1000}s"]


def metric(server, name):
    return lib.find_text(server.client.get("/metrics").text, name) or 0


def histogram_at(t, rng):
    counts = [rng.randrange(100) for _ in range(4)]
    return wire.Histogram(t=t, count=sum(counts) + 3, sum=rng.randrange(10**6) / 8, schema=rng.randrange(4), zero_threshold=1e-6, zero_count=3,
                          positive_spans=[(rng.randrange(-3, 3), 2), (1, 2)], positive=counts)


def samples_of(series):
    """[(t in ms, text or histogram)] of one series of a matrix."""
    return [(round(t * 1000), v) for t, v in series.get("values", []) + series.get("histograms", [])]


def check_value(sent, got, where):
    if isinstance(sent, wire.Histogram):
        lib.expect(isinstance(got, dict), f"{where}: wrote a histogram, found {got}")
        counts = [float(b[3]) for b in got["buckets"]]
        expected = [float(c) for c in [sent.zero_count] + sent.positive if c > 0]
        lib.expect_equal((float(got["count"]), float(got["sum"]), counts), (float(sent.count), sent.sum, expected), where)
    else:
        lib.expect(isinstance(got, str), f"{where}: wrote {sent!r}, found {got}")
        lib.expect(wire.bits(float(got)) == wire.bits(sent) or math.isnan(sent) and got == "NaN", f"{where}: wrote {sent!r}, found {got}")


class Writer(lib.Writer):
    PAUSE_SECONDS = 0.02  # what is sent has to be read back, many times

    def __init__(self, port, round_index, index, seed, start_ms):
        super().__init__(port, "blocks_test", round_index, index, seed, SERIES)
        self.start, self.t = start_ms, start_ms

    def times(self):
        """Even milliseconds go forward, odd ones are late."""
        if self.rng.random() < LATE and self.t > self.start:
            late = {self.rng.randrange(self.start, self.t) | 1 for _ in range(3)}
            return sorted(t for t in late if (0, t) not in self.sent)
        out = [self.t + 2 * k for k in range(self.rng.randint(1, 20))]
        self.t = out[-1] + 2 * self.rng.randint(1, 600)
        return out

    def next_batch(self):
        times = self.times()
        return {(s, t): lib.any_value(self.rng) if s else histogram_at(t, self.rng) for s in range(SERIES) for t in times}


def read_back(server, selector, from_ms, to_ms):
    """{(writer, series, t): value} of (from, to]; Failure where a time appears twice."""
    found = {}
    for series in server.client.query(f"{selector}[{to_ms - from_ms}ms]", to_ms / 1000):
        labels = series["metric"]
        for t, value in samples_of(series):
            key = int(labels["writer"]), int(labels["series"]), t
            lib.expect(key not in found, f"{selector}: writer {key[0]}, series {key[1]} has the time {t} twice")
            lib.expect(from_ms < t <= to_ms, f"{selector}: asked for ({from_ms}, {to_ms}], found {t}")
            found[key] = value
    return found


def check_found(found, round_index, writers, from_ms, to_ms):
    where = f"round {round_index} in ({from_ms}, {to_ms}]"
    for index, w in enumerate(writers):
        for (s, t), value in w.acked.items():
            if from_ms < t <= to_ms:
                got = found.get((index, s, t))
                lib.expect(got is not None, f"{where}: acknowledged sample of writer {index}, series {s} at {t} is lost "
                                            f"({len(w.acked)} of {len(w.sent)} sent were acknowledged, {len(found)} found in all)")
    for (index, s, t), got in found.items():
        sent = writers[index].sent.get((s, t))
        lib.expect(sent is not None, f"{where}: found {got} for writer {index}, series {s} at {t}, which was never sent")
        check_value(sent, got, f"{where}: writer {index}, series {s} at {t}")


def check_round(server, round_index, writers, rng):
    begin = min(w.start for w in writers) - 1
    end = max(t for w in writers for _, t in w.sent)
    selector = f'blocks_test{{round="{round_index}"}}'
    check_found(read_back(server, selector, begin, end), round_index, writers, begin, end)
    for _ in range(3):
        a, b = sorted((rng.randrange(begin, end), rng.randrange(begin, end)))
        # Also exactly on the border of a window, where one block ends and the next begins.
        if rng.random() < 0.5:
            a = a // RANGE_MS * RANGE_MS - rng.randrange(2)
        if b > a:
            check_found(read_back(server, selector, a, b), round_index, writers, a, b)
    # The same by a function, which may take another way to the samples.
    count = {int(s["metric"]["writer"]): float(s["value"][1])
             for s in server.client.query(f"sum by (writer) (count_over_time({selector}[{end - begin}ms]))", end / 1000)}
    for index, w in enumerate(writers):
        lib.expect(len(w.acked) <= count.get(index, 0) <= len(w.sent),
                   f"round {round_index}: count_over_time says {count.get(index)} samples of writer {index}, {len(w.acked)} acknowledged, {len(w.sent)} sent")


def one_round(server, round_index, rng, start_ms):
    writers = [Writer(server.port, round_index, i, rng.random(), start_ms) for i in range(WRITERS)]
    lib.start_writers(writers)
    if round_index % 2:
        # Not by the clock, but while blocks are being written: any moment after the next one appears.
        before = lib.block_count(server)
        lib.wait_for("another number of blocks", lambda: lib.block_count(server) != before, pause=0.001)
        time.sleep(rng.uniform(0, 0.3))
    else:
        time.sleep(rng.uniform(0.2, 2))
    server.kill()
    lib.join_writers(writers, server, f"round {round_index}")
    return writers


@suite.case
def kill9__while_blocks_are_written__every_acknowledged_sample_found_once():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    data = lib.folder()
    base = (lib.now_ms() - SPAN_MS) // RANGE_MS * RANGE_MS
    history = []
    for i in range(ROUNDS):
        with lib.Tidalite(data, *FLAGS).start() as server:
            for r in {i - 1, rng.randrange(i)} if i else ():
                check_round(server, r, history[r], rng)
            history.append(one_round(server, i, rng, base + 2 * rng.randrange(5 * RANGE_MS)))
    with lib.Tidalite(data, *FLAGS).start() as server:
        for i, writers in enumerate(history):
            check_round(server, i, writers, rng)
        blocks = lib.wait_for("blocks", lambda: lib.block_count(server))
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
    total = sum(len(w.acked) for writers in history for w in writers)
    print(f"{ROUNDS} kills, {total} samples acknowledged, all found once; {blocks:.0f} blocks")


@suite.case
def blocks__flushed_and_compacted__same_samples_before_and_after():
    """In peace: known samples over many windows; read from the head, from fresh blocks, from merged ones, after restarts."""
    rng = random.Random(3)
    data = lib.folder()
    windows, per_window = 24, 30
    base = (lib.now_ms() - SPAN_MS) // (81 * RANGE_MS) * 81 * RANGE_MS  # where ranges of any length begin
    w = Writer(lib.free_port(), 0, 0, 1, base)
    with lib.Tidalite(data, *FLAGS, "--web.enable-admin-api").start() as server:
        # Sparse windows share a block: each three of them are flushed, and one comes long after them, so that they are merged.
        for window in [*range(windows), windows + 400]:
            if window % 3 == 0:
                lib.expect_equal(server.client.post("/api/v1/admin/tsdb/flush", {}).status, 200, "status of a flush")
            times = [base + window * RANGE_MS + k * (RANGE_MS // per_window) for k in range(per_window)]
            # The first and the last millisecond of a window belong to it and to no other.
            times[-1] = base + (window + 1) * RANGE_MS - 1
            batch = {(s, t): lib.any_value(rng) if s else histogram_at(t, rng) for s in range(SERIES) for t in times}
            answer = server.client.write([wire.Series(labels=w.labels[s], samples=[(t, batch[s, t]) for t in times] if s else [],
                                                      histograms=[] if s else [batch[s, t] for t in times]) for s in range(SERIES)])
            lib.expect_equal(answer.status, 204, f"status of a write ({answer})")
            w.sent.update(batch)
            w.acked.update(batch)
            check_round(server, 0, [w], rng)
        lib.expect_equal(server.client.post("/api/v1/admin/tsdb/flush", {}).status, 200, "status of the last flush")
        lib.wait_for("blocks", lambda: lib.block_count(server))
        check_round(server, 0, [w], rng)
        lib.wait_for("a compaction", lambda: metric(server, COMPACTIONS) > 0)
        check_round(server, 0, [w], rng)
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
    for _ in range(2):
        with lib.Tidalite(data, *FLAGS).start() as server:
            lib.expect(lib.block_count(server) > 0, "no block is there after a restart")
            check_round(server, 0, [w], rng)
            labels = server.client.data("/api/v1/series", {"match[]": "blocks_test", "start": base / 1000, "end": (base + windows * RANGE_MS) / 1000})
            lib.expect_equal(len(labels), SERIES, "series by /api/v1/series")
            server.kill()


PAGES_MISSED = 'tidalite_cache_misses_total{cache="l2"}'


@suite.case
def blocks__larger_than_the_cache__each_page_is_read_a_few_times():
    """Series lie in the order of their labels and are added up in that of hashes: a page is not read anew for each of its series, and
    whoever computes them, and in whichever order, finds the same."""
    rng = random.Random(4)
    data = lib.folder()
    series, samples = 12_000, 40
    begin = lib.now_ms() // 1000 - 6 * 3600
    asked = [(f"sum by (group) (rate(wide[{2 * samples}s]))", 1), (f"rate(wide[{samples // 2}s]) > 0", 10), (f"max_over_time(wide[{samples // 4}s])", 20)]
    flags = ["--storage.tsdb.min-block-duration=1h", "--storage.head.idle-timeout=0s", "--storage.cache.l1-size=1B", "--web.enable-admin-api"]
    with lib.Tidalite(data, *flags).start() as server:
        for first in range(0, series, 3000):
            lines = (f'wide{{i="{i:05}",group="{i % 3}"}} {rng.random() * 1e9} {(begin + k) * 1000}' for i in range(first, first + 3000) for k in range(samples))
            answer = server.client.request("POST", "/api/v1/import/prometheus", "\n".join(lines) + "\n")
            lib.expect(answer.status in (200, 204), f"import: {answer}")
        lib.expect_equal(server.client.post("/api/v1/admin/tsdb/flush", {}).status, 200, "status of a flush")
        lib.wait_for("series to leave", lambda: metric(server, "tidalite_head_series") == 0)
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
    found = []
    for crew, l2_size in ((1, "64MiB"), (2, "1MiB"), (7, "1MiB")):
        with lib.Tidalite(data, *flags, f"--storage.cache.l2-size={l2_size}", f"--query.crew={crew}").start() as server:
            answers = []
            for expr, step in asked:
                missed = metric(server, PAGES_MISSED)
                answers.append(server.client.query_range(expr, begin + samples // 2, begin + samples, step))
                lib.expect(len(answers[-1]) in (3, series), f"{expr}: {len(answers[-1])} series")
                missed = metric(server, PAGES_MISSED) - missed
                lib.expect(crew == 1 or 16 < missed < series // 4, f"{expr}, a crew of {crew}: {missed} pages read for {series} series")
            found.append(answers)
    lib.expect(found[0] == found[1] == found[2], "answers of crews and caches differ")


if __name__ == "__main__":
    sys.exit(suite.main())
