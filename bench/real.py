"""Recorded data as a corpus: a Prometheus block beside the repository, read with Debian's promtool.

The times are moved as a whole, so that they begin with a window of two hours: each server keeps them in one block then.
"""
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile

import lib
import peers
import wire

BLOCK = lib.ROOT.parent / "shared/data/node-exporter-5s"
REQUEST_MS = 60_000
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def present():
    return BLOCK.is_dir()


def promtool():
    return peers.program("promtool")


def unescape(text):
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], text)


def dump():
    """[(labels, [(t, value)])] of the block."""
    with tempfile.TemporaryDirectory(prefix="bench-real-") as work:
        shutil.copytree(BLOCK, f"{work}/db")
        pathlib.Path(work, "db/wal").mkdir()
        with subprocess.Popen([promtool(), "tsdb", "dump", f"{work}/db"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as tool:
            series, last = [], None
            for line in tool.stdout:
                text, value, t = line.rsplit(" ", 2)
                if text != last:
                    last = text
                    series.append(([(n, unescape(v)) for n, v in LABEL.findall(text)], []))
                series[-1][1].append((int(t), wire.NAN if value == "NaN" else float(value)))
    lib.expect_equal(tool.returncode, 0, "exit status of promtool tsdb dump")
    return [(sorted(labels), samples) for labels, samples in series]


def make_corpus(path, window_ms, limit=None):
    """Write the file that the loader reads: a request per minute of data, every series in it."""
    series = dump()[:limit]
    first = min(s[0][0] for _, s in series)
    last = max(s[-1][0] for _, s in series)
    shift = window_ms - first + 1
    count = (last - first) // REQUEST_MS + 1
    requests = [[] for _ in range(count)]
    samples = nan = 0
    for labels, points in series:
        parts = {}
        for t, v in points:
            parts.setdefault((t - first) // REQUEST_MS, []).append((t + shift, v))
            nan += v == wire.NAN
        samples += len(points)
        for i, part in parts.items():
            requests[i].append(wire.Series(labels, part))
    with open(path, "wb") as f:
        f.write(b"TDLBENC1" + struct.pack("<IIQQ", 1, count, len(series), samples))
        for r in requests:
            body = wire.body(r)
            f.write(struct.pack("<II", len(body), sum(len(s.samples) for s in r)) + body)
    return {"series": len(series), "samples": samples, "nan": nan, "first_ms": first + shift, "last_ms": last + shift}
