#!/usr/bin/env python3
"""A disk that fails for real: a small tmpfs that fills up, and a shim that lets calls on named files fail while the server
runs. Senders go on as senders do; when the cause is gone the server goes on by itself, and nothing acknowledged is lost."""
import errno
import http.client
import os
import random
import resource
import shutil
import subprocess
import sys
import time

import acked
import lib
import wire

HERE = os.path.dirname(os.path.abspath(__file__))
SMALL = ["--storage.wal.segment-size=1MiB", "--storage.wal.checkpoint-size=1MiB", f"--{lib.BLOCK_RANGE_FLAG}=10m", "--web.enable-admin-api"]
MEMORY_MAX = 400 << 20   # of growth, whatever cannot be written meanwhile
HEAL_SECONDS = 60        # it takes ten at most on a machine with nothing else to do; no test asserts that

suite = lib.Suite()


def ready(server):
    return server.client.get("/-/ready")


def resident(server):
    with open(f"/proc/{server.pid}/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def work_on_disk(server):
    """Ask for what writes files; whether it can be done is not the point here."""
    for what in ("flush", "snapshot?skip_head=true", "clean_tombstones"):
        server.client.request("POST", "/api/v1/admin/tsdb/" + what)


def start_patient(server, round_index, rng, count=3):
    writers = [acked.Writer(server.port, round_index, i, rng.random(), patient=True) for i in range(count)]
    lib.start_writers(writers)
    return writers


def end_writers(writers, where):
    for w in writers:
        w.stop = True
    for w in writers:
        w.thread.join()
        w.client.close()
        lib.expect(w.problem is None, f"{where}: {w.problem}")


def wait_healed(server, writers, where):
    before = [w.acknowledged for w in writers]
    lib.wait_for(f"{where}: ready again, by itself", lambda: ready(server).status == 200, HEAL_SECONDS)
    lib.wait_for(f"{where}: every sender is answered again",
                 lambda: all(w.acknowledged > b for w, b in zip(writers, before)), HEAL_SECONDS)


# ---- the shim ----

class Shim:
    """What fails, for a server that is started with its environment."""

    def __init__(self):
        d = lib.folder("shim")
        self.library, self.page = f"{d}/shim.so", f"{d}/page"
        built = subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-O1", "-o", self.library, f"{HERE}/shim.c", "-ldl"],
                               capture_output=True, text=True)
        if built.returncode != 0:
            raise lib.Skip(f"no shim, so no failing files: {built.stderr.strip()[:200]}")
        with open(self.page, "wb") as f:
            f.write(bytes(4096))
        self.env = dict(os.environ, LD_PRELOAD=self.library, TIDALITE_SHIM=self.page)

    def fail(self, *rules):
        text = "".join(f"{call} {number} {word}\n" for call, number, word in rules).encode()
        with open(self.page, "r+b", buffering=0) as f:
            f.write(bytes(1))  # nothing, while it is written
            f.seek(1)
            f.write(text[1:].ljust(4095, b"\0"))
            f.seek(0)
            f.write(text[:1] or bytes(1))


# Calls, errno and which files; "takes no writes": the log cannot hide it.
FAULTS = [
    ("the log cannot be synced", True, [("sync", errno.EIO, "/wal/")]),
    ("the log cannot be written: EIO", True, [("write", errno.EIO, "/wal/")]),
    ("the log cannot be written: disk full", True, [("write", errno.ENOSPC, "/wal/")]),
    ("no descriptor for the log", True, [("open", errno.EMFILE, "wal/"), ("write", errno.EIO, "/wal/")]),
    ("head files cannot be written", False, [("write", errno.EIO, "/head/")]),
    ("head files cannot be read", False, [("read", errno.EIO, "/head/")]),
    ("blocks cannot be written", False, [("write", errno.ENOSPC, "/blocks/")]),
    ("blocks cannot be opened", False, [("open", errno.EMFILE, "blocks/")]),
    ("blocks cannot be read", False, [("read", errno.EIO, "/blocks/")]),
    ("checkpoints cannot be written", False, [("write", errno.EIO, "/checkpoint/"), ("sync", errno.EIO, "/checkpoint/")]),
    ("nothing can be written", True, [("write", errno.ENOSPC, "/data/")]),
    ("nothing can be opened", False, [("open", errno.EMFILE, "/")]),
]


def one_fault(server, shim, round_index, rng, fault):
    what, stops, rules = fault
    writers = start_patient(server, round_index, rng)
    time.sleep(0.1)
    before = resident(server)
    shim.fail(*rules)
    if stops:
        lib.wait_for(f"{what}: senders are told to come again", lambda: all(w.refused > 0 for w in writers))
        a = ready(server)
        lib.expect(a.status == 503 and ("log_retrying" in a.text or "out_of_space" in a.text), f"{what}: /-/ready says {a}")
    work_on_disk(server)
    time.sleep(0.3)
    grown = resident(server) - before
    lib.expect(grown < MEMORY_MAX, f"{what}: {grown >> 20} MiB more memory meanwhile")
    shim.fail()
    wait_healed(server, writers, what)
    end_writers(writers, what)
    return writers


def faults(mode):
    seed = random.randrange(1 << 32)
    print(f"{mode}: seed {seed}")
    rng = random.Random(seed)
    shim = Shim()
    data = lib.folder("faults") + "/data"
    flags = [f"--storage.durability={mode}", *SMALL]
    server = lib.Tidalite(data, *flags, env=shim.env).start()
    rounds = []
    order = rng.sample(FAULTS, len(FAULTS))
    for i, fault in enumerate(order):
        rounds.append(one_fault(server, shim, i, rng, fault))
        if i % 3 == 2:
            server.kill()
            server = lib.Tidalite(data, *flags, env=shim.env).start()
            for k in range(i - 2, i + 1):
                acked.check_round(server, k, rounds[k])
    lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
    with lib.Tidalite(data, *flags).start() as server:
        for i, writers in enumerate(rounds):
            acked.check_round(server, i, writers)
    print(f"{mode}: {len(FAULTS)} faults, {sum(len(w.acked) for r in rounds for w in r)} samples acknowledged, all found")


@suite.case
def files_fail__buffered__goes_on_by_itself_and_nothing_is_lost():
    faults("buffered")


@suite.case
def files_fail__strict__goes_on_by_itself_and_nothing_is_lost():
    faults("strict")


# ---- a small disk ----

class SmallDisk:
    def __init__(self, size):
        self.path = lib.folder("disk")
        if os.geteuid() != 0:
            raise lib.Skip("no small disk: mounting a tmpfs needs root")
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.path], capture_output=True, text=True)
        if mounted.returncode != 0:
            raise lib.Skip(f"no small disk: {mounted.stderr.strip()}")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        subprocess.run(["umount", "-l", self.path], check=False)

    def fill(self, leave):
        """Somebody else takes all but so many bytes, or what the server leaves of them meanwhile."""
        st = os.statvfs(self.path)
        left = max(st.f_bavail * st.f_frsize - leave, 0)
        with open(self.path + "/filler", "wb", buffering=0) as f:
            try:
                while left > 0:
                    left -= f.write(bytes(min(left, 1 << 16)))
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise

    def free(self):
        os.remove(self.path + "/filler")


def state(server):
    text = server.client.get("/metrics").text
    return next(line.split('"')[1] for line in text.splitlines() if line.startswith("tidalite_state{") and line.endswith(" 1"))


def small_disk(mode):
    rng = random.Random(7)
    with SmallDisk("24m") as disk:
        flags = [f"--storage.durability={mode}", *SMALL, "--storage.disk-reserve=2MiB"]
        server = lib.Tidalite(disk.path + "/data", *flags).start()
        lib.wait_for("the log's reserve", lambda: lib.find_text(server.client.get("/metrics").text, "tidalite_wal_reserve_bytes") == 512 << 10)
        writers = start_patient(server, 0, rng)
        disk.fill(768 << 10)
        lib.wait_for("a word that the disk is nearly full", lambda: "nearly full" in ready(server).text or ready(server).status == 503)
        a = server.client.request("POST", "/api/v1/admin/tsdb/snapshot")
        lib.expect(a.status != 200 and "kept for the log" in a.text, f"a snapshot on a full disk: {a}")
        lib.wait_for("the disk to be full", lambda: ready(server).status == 503)
        lib.expect_equal(state(server), "out_of_space", "state")
        lib.wait_for("senders to be told", lambda: all(w.refused > 0 for w in writers))
        server.client.query("count(acked)")  # queries go on
        disk.free()
        wait_healed(server, writers, "room again")
        end_writers(writers, "room again")
        acked.check_round(server, 0, writers)
        server.kill()
        with lib.Tidalite(disk.path + "/data", *flags).start() as server:
            acked.check_round(server, 0, writers)
            writers2 = start_patient(server, 1, rng)
            disk.fill(256 << 10)
            lib.wait_for("the disk to be full again", lambda: ready(server).status == 503)
            server.kill()
            for w in writers2:
                w.thread.join()
        server = lib.Tidalite(disk.path + "/data", *flags).start(ready=False)
        lib.wait_for("an answer of a start on a full disk", lambda: alive_answer(server))
        disk.free()
        lib.wait_for("ready again, by itself", lambda: ready(server).status == 200, HEAL_SECONDS)
        acked.check_round(server, 0, writers)
        acked.check_round(server, 1, writers2)
        lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")


def alive_answer(server):
    lib.expect(server.alive(), f"the server ended: {server.log_tail()}")
    return answers(server)


@suite.case
def small_disk__buffered__full_and_freed__nothing_is_lost():
    small_disk("buffered")


@suite.case
def small_disk__strict__full_and_freed__nothing_is_lost():
    small_disk("strict")


# ---- little address space ----

def under_limit(mebibytes):
    """Starts, takes what it can, ends: True if it came so far as to answer. It may refuse, but not crash."""
    server = lib.Tidalite(None, *SMALL)
    server.argv = ["prlimit", f"--as={mebibytes << 20}", *server.argv]
    server.start(ready=False)
    lib.wait_for("an answer, or an end", lambda: not server.alive() or answers(server))
    answered = server.alive()
    rng = random.Random(mebibytes)
    for i in range(20):
        if not server.alive():
            break
        try:
            labels = [wire.labels("tight", i=str(k), round=str(i)) for k in range(300)]
            server.client.write([wire.Series(x, [(lib.now_ms() - 1000 * k, lib.any_value(rng)) for k in range(50)]) for x in labels])
            server.client.get("/api/v1/query", {"query": f"sum by (i) (rate(tight{{round='{i}'}}[5m]))"})
            work_on_disk(server)
        except (OSError, http.client.HTTPException):
            server.client.close()
    code = server.terminate()
    server.check_log()
    lib.expect(code in (0, 1), f"{mebibytes} MiB of address space: ended with {code}; its log ends:\n{server.log_tail()}")
    return answered


def answers(server):
    try:
        return server.client.get("/-/healthy").status == 200
    except (OSError, http.client.HTTPException):
        return False


@suite.case
def little_address_space__refuses_or_serves_and_never_crashes():
    if not shutil.which("prlimit"):
        raise lib.Skip("no prlimit, so no little address space")
    served = [m for m in (64, 160, 256, 384, 512, 768, 1024, 1536, 2048, 3072) if under_limit(m)]
    print(f"served with {served} MiB of address space")
    lib.expect(3072 in served, "3 GiB of address space are too little")


if __name__ == "__main__":
    sys.exit(suite.main())
