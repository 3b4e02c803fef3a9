#!/usr/bin/env python3
"""kill -9 under load: every acknowledged sample is there afterwards, with the value that was sent.

Ten rounds with --storage.durability=buffered and ten with strict, each mode on one data directory.  In a round four writers
send requests with values of their own until the server is killed at a random moment; then it is started again on the same
directory and asked for everything that was ever acknowledged on it.  What was sent but not acknowledged may be there or not;
anything else must not.
"""
import random
import sys
import time

import acked
import lib
import wire

ROUNDS = 10
WRITERS = 4

suite = lib.Suite()


def one_round(server, round_index, rng):
    writers = [acked.Writer(server.port, round_index, i, rng.random()) for i in range(WRITERS)]
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
                acked.check_round(server, i - 1, history[-1])
            history.append(one_round(server, i, rng))
    with lib.Tidalite(data, f"--storage.durability={mode}").start() as server:
        for i, writers in enumerate(history):
            acked.check_round(server, i, writers)
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
