"""Backfill: a year of samples ten minutes apart, in the order of time or at random times, until all of it lies in its final form.

The requests are made beforehand, 30 scrapes in each; a server on one core gets them as fast as it answers.  `taken` is the time until the
last was answered, `settled` until the server rests after that, `final` until what it put off is done too (storage.finish: a clean stop,
a start, blocks written; everything merged).  Written are the bytes that the server's process had the kernel write (write_bytes of
/proc/PID/io) up to then, beside what lies on disk in the end.  VictoriaMetrics is the peer: prometheus takes no samples that old.
"""
import os
import time

import common
import lib
import storage

INTERVAL_MS = 600_000
BATCH = 30
KINDS = ("tidalite", "victoria-metrics")
SHAPES = {"ordered": (), "random": ("--random-times",)}


def written_bytes(pid):
    with open(f"/proc/{pid}/io", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("write_bytes:"))


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Meter:
    """Of a server over its lives: wall and CPU seconds, bytes written, most memory and open files."""

    def __init__(self, server):
        self.server, self.begin = server, time.monotonic()
        self.row = {"written": 0, "cpu": 0.0, "rss": 0, "open_files": 0}

    def note(self, word):
        pid = self.server.pid
        self.row[word] = time.monotonic() - self.begin
        self.row["rss"] = max(self.row["rss"], common.rss_bytes(pid, "VmHWM"))
        self.row["open_files"] = max(self.row["open_files"], open_files(pid))

    def note_life(self):
        self.row["written"] += written_bytes(self.server.pid)
        self.row["cpu"] += common.cpu_seconds(self.server.pid)


def one_run(args, kind, corpus, info):
    cpus, loader_cpus = common.cores()
    with common.folder(args.dir) as work, common.make_server(kind, work, cpus).start() as server:
        meter = Meter(server)
        common.load(server, kind, corpus, 1, loader_cpus)
        meter.note("taken")
        common.wait_idle(server, seconds=600, quiet=2.0)
        meter.note("settled")
        meter.note_life()
        before = (written_bytes(server.pid), common.cpu_seconds(server.pid), server.pid)
        form = storage.finish(server, kind)
        meter.note("final")
        if server.pid == before[2]:
            meter.row["written"] -= before[0]
            meter.row["cpu"] -= before[1]
        meter.note_life()
        size = storage.measure_stopped(server, kind, info, form, work)
    kept = size["bytes"]["samples"] + size["bytes"]["index"]
    return meter.row | {"kept": kept, "samples": size["samples"], "written_per_byte": meter.row["written"] / kept,
                        "bytes_per_sample": size["bytes_per_sample"], "per_second": size["samples"] / meter.row["taken"]}


def run(args, folder):
    kinds = [k for k in args.store_kinds if k in KINDS]
    rows = {shape: {} for shape in args.backfill_shapes}
    for shape in rows:
        corpus = f"{folder}/backfill-{shape}"
        start_ms = lib.now_ms() - (args.backfill_scrapes + 1) * INTERVAL_MS
        info = common.make_corpus(corpus, args.backfill_targets, args.backfill_scrapes, args.seed, start_ms, INTERVAL_MS,
                                  "--batch", BATCH, *SHAPES[shape])
        info |= {"first_ms": start_ms, "last_ms": lib.now_ms()}
        for kind in kinds:
            r = rows[shape][kind] = one_run(args, kind, corpus, info)
            print(f"backfill, {shape}: {kind:16} {r['per_second']:,.0f} samples/s, final after {r['final']:.1f} s", flush=True)
        os.unlink(corpus)
    return {"series": info["series"], "samples": info["samples"], "shapes": rows}


def table(result):
    lines = [f"backfill: {result['samples']:,.0f} samples of {result['series']:,} series, ten minutes apart; seconds, MiB",
             f"{'':28} {'taken':>8} {'settled':>8} {'final':>8} {'CPU':>8} {'written':>9} {'kept':>8} {'ratio':>6} {'B/sample':>9} {'RSS':>7} {'files':>6}"]
    for shape, rows in result["shapes"].items():
        for kind, r in rows.items():
            lines.append(f"  {shape:8} {kind:17} {r['taken']:>8.1f} {r['settled']:>8.1f} {r['final']:>8.1f} {r['cpu']:>8.1f} {r['written'] / 2**20:>9.1f} "
                         f"{r['kept'] / 2**20:>8.1f} {r['written_per_byte']:>6.1f} {r['bytes_per_sample']:>9.3f} {r['rss'] / 2**20:>7.0f} {r['open_files']:>6}")
    return "\n".join(lines)
