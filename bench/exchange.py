"""Exchange: text in, Prometheus blocks out and in, offline; samples a second (of the clock, and of CPU time) and the most memory, beside promtool.

One file of OpenMetrics, a series after the other, 15 s apart, values of a random walk with two decimals. `import openmetrics` makes a data
directory of it, `export prometheus` blocks of that, `import prometheus` a directory of those; `promtool tsdb create-blocks-from openmetrics` makes blocks of
the same file.  Each runs alone on one core; memory is what wait4 says of it (ru_maxrss).  What was read and made is counted: a figure
for less than all is none.
"""
import json
import os
import pathlib
import random
import subprocess
import time

import common
import lib
import peers

SERIES = 1000
INTERVAL_MS = 15_000


def write_text(path, samples, seed):
    """The file; how many samples it holds."""
    each = max(1, samples // SERIES)
    begin = (lib.now_ms() - each * INTERVAL_MS) // 7_200_000 * 7_200_000
    rng = random.Random(seed)
    with open(path, "w", encoding="utf-8") as f:
        f.write("# TYPE exchange gauge\n")
        for s in range(SERIES):
            value = 100.0
            head = f'exchange{{instance="node-{s // 10:04}:9100",job="node",cpu="{s % 10}"}} '
            lines = []
            for i in range(each):
                value += rng.choice((-0.25, -0.01, 0, 0, 0.01, 0.25))
                lines.append(f"{head}{value:.2f} {(begin + i * INTERVAL_MS) / 1000:.0f}\n")
            f.write("".join(lines))
        f.write("# EOF\n")
    return each * SERIES


def timed(*command):
    """{"seconds", "cpu", "rss", "out"} of a program on one core."""
    cpus, _ = common.cores()
    begin = time.monotonic()
    with subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          preexec_fn=lambda: os.sched_setaffinity(0, cpus)) as p:
        out = p.stdout.read()
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode != 0:
        raise lib.Failure(f"{command} ended with {p.returncode}")
    return {"seconds": time.monotonic() - begin, "cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss << 10, "out": out.decode()}


def folder_bytes(path):
    return sum(p.stat().st_size for p in pathlib.Path(path).rglob("*") if p.is_file())


def counted(what, found, samples):
    if found != samples:
        raise lib.Failure(f"exchange: {what}: {found} samples of {samples}")


def promtool_samples(folder):
    return sum(json.loads(p.read_text())["stats"]["numSamples"] for p in pathlib.Path(folder).glob("*/meta.json"))


def run(args, folder):
    text, ours, blocks, again, theirs = (f"{folder}/exchange{end}" for end in (".txt", "-data", "-blocks", "-again", "-promtool"))
    samples = write_text(text, args.exchange_samples, args.seed)
    rows = {}
    rows["import openmetrics"] = r = timed(lib.BINARY, "import", "openmetrics", text, ours, "--json")
    counted("import openmetrics", json.loads(r["out"])["samples"], samples)
    rows["export prometheus"] = r = timed(lib.BINARY, "export", "prometheus", ours, blocks, "--json")
    counted("export prometheus", sum(b["samples"] for b in json.loads(r["out"])), samples)
    rows["import prometheus"] = r = timed(lib.BINARY, "import", "prometheus", blocks, again, "--json")
    counted("import prometheus", sum(b["samples"] for b in json.loads(r["out"])), samples)
    if args.exchange_peer:
        rows["promtool create-blocks"] = timed(peers.program("promtool"), "tsdb", "create-blocks-from", "openmetrics", text, theirs)
        counted("promtool", promtool_samples(theirs), samples)
    for name, to in (("import openmetrics", ours), ("export prometheus", blocks), ("import prometheus", again), ("promtool create-blocks", theirs)):
        if name in rows:
            rows[name] |= {"bytes": folder_bytes(to), "per_second": samples / rows[name]["seconds"], "per_cpu_second": samples / rows[name]["cpu"]}
            del rows[name]["out"]
            print(f"exchange: {name:24} {rows[name]['per_second']:,.0f} samples/s, {rows[name]['per_cpu_second']:,.0f} per CPU second, {rows[name]['rss'] / 2**20:.0f} MiB", flush=True)
    return {"samples": samples, "series": SERIES, "text_bytes": os.stat(text).st_size, "rows": rows}


def table(result):
    lines = [f"exchange: {result['samples']:,} samples of {result['series']:,} series, {result['text_bytes'] / 2**20:,.0f} MiB of text; one core",
             f"{'':26} {'seconds':>8} {'samples/s':>12} {'CPU s':>7} {'per CPU s':>12} {'most MiB':>9} {'MiB made':>9}"]
    for name, r in result["rows"].items():
        lines.append(f"  {name:24} {r['seconds']:>8.2f} {r['per_second']:>12,.0f} {r['cpu']:>7.2f} {r['per_cpu_second']:>12,.0f} {r['rss'] / 2**20:>9.0f} {r['bytes'] / 2**20:>9.1f}")
    return "\n".join(lines)
