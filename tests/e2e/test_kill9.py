#!/usr/bin/env python3
"""kill -9 under load: every acknowledged sample is there afterwards, with the value that was sent.

Ten rounds with --storage.durability=buffered and ten with strict, each mode on one data directory.  In a round four writers
send requests with values of their own until the server is killed at a random moment; then it is started again on the same
directory and asked for everything that was ever acknowledged on it.  What was sent but not acknowledged may be there or not;
anything else must not.
"""
import math
import random
import sys
import time

import lib
import wire

ROUNDS = 10
WRITERS = 4
SERIES = 25          # per writer and round
POINTS_MAX = 4       # samples per series in a request

suite = lib.Suite()


class Writer(lib.Writer):
    def __init__(self, port, round_index, index, seed):
        super().__init__(port, "kill9", round_index, index, seed, SERIES)
        self.t = lib.now_ms() - 3_600_000

    def next_batch(self):
        n = self.rng.randint(1, POINTS_MAX)
        batch = {(s, self.t + k): lib.any_value(self.rng) for s in range(SERIES) for k in range(n)}
        self.t += n + self.rng.randrange(50)
        return batch


def read_back(server, round_index):
    """{(writer, series, t): text} of a round."""
    found = {}
    for labels, points in lib.matrix(server.client.query(f'kill9{{round="{round_index}"}}[2h]', time.time())).items():
        names = dict(labels)
        for t, text in points:
            found[int(names["writer"]), int(names["series"]), t] = text
    return found


def check_round(server, round_index, writers):
    found = read_back(server, round_index)
    for index, w in enumerate(writers):
        for (s, t), value in w.acked.items():
            text = found.get((index, s, t))
            lib.expect(text is not None, f"round {round_index}: acknowledged sample of writer {index}, series {s} at {t} is lost "
                                         f"({len(w.acked)} were acknowledged, {len(found)} found in all)")
            lib.expect(wire.bits(float(text)) == wire.bits(value) or math.isnan(value) and text == "NaN",
                       f"round {round_index}: writer {index}, series {s} at {t}: wrote {value!r}, found {text}")
    for (index, s, t), text in found.items():
        value = writers[index].sent.get((s, t))
        lib.expect(value is not None and lib.same_value(float(text), value),
                   f"round {round_index}: found {text} for writer {index}, series {s} at {t}, which was never sent so")


def one_round(server, round_index, rng):
    writers = [Writer(server.port, round_index, i, rng.random()) for i in range(WRITERS)]
    lib.start_writers(writers)
    time.sleep(rng.uniform(0, 0.4))
    server.kill()
    lib.join_writers(writers, server, f"round {round_index}")
    return writers


def rounds(mode):
    seed = random.randrange(1 << 32)
    print(f"{mode}: seed {seed}")
    rng = random.Random(seed)
    data = lib.folder()
    history = []
    for i in range(ROUNDS):
        # Every other round with segments and checkpoints as small as they get, so that kills hit those as well.
        small = ["--storage.wal.segment-size=1MiB", "--storage.wal.checkpoint-size=1MiB"] if i % 2 else []
        with lib.Tidalite(data, f"--storage.durability={mode}", *small).start() as server:
            if history:
                check_round(server, i - 1, history[-1])
            history.append(one_round(server, i, rng))
    with lib.Tidalite(data, f"--storage.durability={mode}").start() as server:
        for i, writers in enumerate(history):
            check_round(server, i, writers)
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
    total = sum(len(w.acked) for writers in history for w in writers)
    print(f"{mode}: {ROUNDS} kills, {total} samples acknowledged, all found")


@suite.case
def kill9__buffered_ten_rounds__every_acknowledged_sample_found():
    rounds("buffered")


@suite.case
def kill9__strict_ten_rounds__every_acknowledged_sample_found():
    rounds("strict")


@suite.case
def kill9__memory_with_strict_requests__those_found():
    """In mode memory nothing is logged but what asks for it."""
    data = lib.folder()
    t = lib.now_ms() - 60_000
    with lib.Tidalite(data, "--storage.durability=memory").start() as server:
        a = server.client.write([wire.Series(wire.labels("kept", n=str(i)), [(t, float(i))]) for i in range(50)],
                                headers={"X-Tidalite-Durability": "strict"})
        lib.expect_equal(a.status, 204, "status of a strict write")
        a = server.client.write([wire.Series(wire.labels("volatile"), [(t, 1.0)])])
        lib.expect_equal(a.status, 204, "status of an ordinary write")
        lib.expect_equal(len(server.client.query("volatile", t / 1000)), 1, "series of `volatile` before the kill")
        server.kill()
    with lib.Tidalite(data, "--storage.durability=memory").start() as server:
        found = {s["metric"]["n"]: s["value"][1] for s in server.client.query("kept", t / 1000)}
        lib.expect_equal(found, {str(i): str(i) for i in range(50)}, "`kept` after kill -9")


if __name__ == "__main__":
    sys.exit(suite.main())
