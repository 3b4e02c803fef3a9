#!/usr/bin/env python3
"""kill -9 while everything runs at once: senders, flush, merges, checkpoints, deletes, cleaning and snapshots. Every acknowledged
sample is found bit for bit; what was answered as deleted stays deleted, and nothing else goes. TIDALITE_KILLS=<n> kills; `make
torture` runs 200."""
import http.client
import os
import random
import shutil
import sys
import threading
import time
import urllib.parse

import acked
import lib
import wire

KILLS = int(os.environ.get("TIDALITE_KILLS", "6"))
LOOK_BACK = 3          # rounds that are looked at after each kill; all of them at the end
FLAGS = ["--web.enable-admin-api", "--storage.wal.segment-size=1MiB", "--storage.wal.checkpoint-size=1MiB", f"--{lib.BLOCK_RANGE_FLAG}=10m",
         "--storage.head.idle-timeout=1s"]
ADMIN = "/api/v1/admin/tsdb/"

suite = lib.Suite()


class Operator:
    """Writes series of its own, deletes some of them, and asks for all that works on files."""

    def __init__(self, port, first, seed):
        self.client, self.rng = lib.Client(port), random.Random(seed)
        self.next = first
        self.there, self.gone = set(), set()  # certain; what a kill left unanswered is in neither
        self.done = {}
        self.problem = None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            while not self.problem:
                self.rng.choice((self.write, self.write, self.delete, self.work))()
        except (OSError, http.client.HTTPException):
            pass  # the server is gone: that is the point

    def write(self):
        name, self.next = str(self.next), self.next + 1
        t = lib.now_ms() - 3_600_000 + self.rng.randrange(1_800_000)
        a = self.client.write([wire.Series(wire.labels("victim", n=name), [(t + k, float(k)) for k in range(3)])])
        self.note("write", a.status == 204, a)
        self.there.add(name)

    def post(self, what, **params):
        return self.client.request("POST", ADMIN + what + ("?" + urllib.parse.urlencode(params) if params else ""))

    def delete(self):
        if self.there:
            name = self.rng.choice(sorted(self.there))
            self.there.remove(name)  # until it is answered nobody knows
            a = self.post("delete_series", **{"match[]": f'victim{{n="{name}"}}'})
            self.note("delete", a.status == 204, a)
            self.gone.add(name)

    def work(self):
        what = self.rng.choice(("flush", "compact", "clean_tombstones", "snapshot"))
        a = self.post(what)
        self.note(what, a.status in (200, 204), a)

    def note(self, what, well, answer):
        self.done[what] = self.done.get(what, 0) + 1
        if not well:
            self.problem = f"{what}: {answer}"


def check_victims(server, there, gone, where):
    found = {s["metric"]["n"]: s["value"][1] for s in server.client.query("count_over_time(victim[3h])", time.time())}
    back = gone & set(found)
    lib.expect(not back, f"{where}: {len(back)} of {len(gone)} deleted series came back, such as {sorted(back)[:3]}")
    lost = {n for n in there if found.get(n) != "3"}
    lib.expect(not lost, f"{where}: {len(lost)} of {len(there)} series are not whole, such as {sorted(lost)[:3]}")


def one_round(server, index, rng, there, gone, done):
    operator = Operator(server.port, index * 1_000_000, rng.random())
    operator.there = set(there)
    writers = [acked.Writer(server.port, index, i, rng.random(), series=10) for i in range(2)]
    lib.start_writers(writers)
    operator.thread.start()
    time.sleep(rng.uniform(0.05, 0.8))
    server.kill()
    lib.join_writers(writers, server, f"round {index}")
    operator.thread.join()
    lib.expect(operator.problem is None, f"round {index}: {operator.problem}; log:\n{server.log_tail()}")
    there.clear()
    there.update(operator.there)
    gone.update(operator.gone)
    for what, n in operator.done.items():
        done[what] = done.get(what, 0) + n
    return writers


@suite.case
def kills__while_everything_runs__nothing_lost_nothing_comes_back():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    data = lib.folder("torture") + "/data"
    rounds, there, gone, done = [], set(), set(), {}
    for i in range(KILLS):
        mode = rng.choice(("buffered", "strict"))
        with lib.Tidalite(data, f"--storage.durability={mode}", *FLAGS).start() as server:
            for k in range(max(i - LOOK_BACK, 0), i):
                acked.check_round(server, k, rounds[k])
            check_victims(server, there, gone, f"after kill {i}")
            rounds.append(one_round(server, i, rng, there, gone, done))
        shutil.rmtree(data + "/snapshots", ignore_errors=True)
    with lib.Tidalite(data, *FLAGS).start() as server:
        for k, writers in enumerate(rounds):
            acked.check_round(server, k, writers)
        check_victims(server, there, gone, "at the end")
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
    lib.expect_equal(lib.run_binary("check", data)[0], 0, "check")
    samples = sum(len(w.acked) for r in rounds for w in r)
    print(f"{KILLS} kills, {samples} samples acknowledged, all found; {len(gone)} series deleted for good; asked for: {done}")


if __name__ == "__main__":
    sys.exit(suite.main())
