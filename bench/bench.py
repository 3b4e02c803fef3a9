#!/usr/bin/env python3
"""Ingest benchmark: Tidalite beside Debian's victoria-metrics and prometheus, in the same run, on the same requests.

Each server is pinned to one core, the loader to another.  A round starts every server on an empty directory, one after the
other, and sends it the same bodies: first scrape 0, all of whose series are new, then the rest, the steady state.  Rounds
alternate the order.  The figure that counts is samples per CPU second of the server (utime + stime of its process while the
loader ran), because it does not depend on what else the machine did; work that a server puts off until later is not in it,
and is shown beside it (`settled`: including the following seconds).

    bench.py                 about five minutes
    bench.py --quick         a smoke run of seconds, as `make test` does it
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/e2e"))

import lib    # noqa: E402
import peers  # noqa: E402

BUILD = pathlib.Path(os.environ.get("TIDALITE_BUILD", ROOT / "build/release"))
TICKS = os.sysconf("SC_CLK_TCK")
PROMETHEUS_CONFIG = "global:\n  scrape_interval: 1h\n"


def run_json(*command, cpus=None):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None)
    if done.returncode != 0:
        raise lib.Failure(f"{command[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return json.loads(done.stdout)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_bytes(pid, key="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    return 0


# ---- servers ----

def make_server(kind, work, cpus):
    """A lib.Server of one of the kinds below, on an empty folder."""
    port = lib.free_port()
    data = os.path.join(work, "data")
    if kind.startswith("tidalite"):
        return lib.Tidalite(data, f"--storage.durability={'strict' if kind.endswith('strict') else 'buffered'}", port=port, cpus=cpus)
    if kind == "victoria-metrics":
        return lib.Server(kind, [peers.program(kind), f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=1",
                                 "-loggerLevel=WARN"], port, "/health", cpus=cpus)
    config = os.path.join(work, "prometheus.yml")
    with open(config, "w", encoding="utf-8") as f:
        f.write(PROMETHEUS_CONFIG)
    return lib.Server(kind, [peers.program(kind), f"--config.file={config}", f"--storage.tsdb.path={data}",
                             f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver", "--log.level=warn"],
                      port, "/-/ready", cpus=cpus)


def phase(server, args, corpus, loader_cpus, first, scrapes, kind):
    cpu = cpu_seconds(server.pid)
    out = run_json(BUILD / "bench/loader", "--file", corpus, "--port", server.port, "--connections", args.connections,
                   "--first-scrape", first, "--scrapes", scrapes, cpus=loader_cpus)
    out["cpu_seconds"] = cpu_seconds(server.pid) - cpu
    out["rss_bytes"] = rss_bytes(server.pid)
    lib.expect(out["not_2xx"] == 0, f"{kind} refused {out['not_2xx']} requests, the first with: {out['first_error']}")
    before = cpu_seconds(server.pid)
    time.sleep(args.settle)
    out["settled_cpu_seconds"] = out["cpu_seconds"] + cpu_seconds(server.pid) - before
    for key, seconds in (("per_cpu_second", out["cpu_seconds"]), ("settled_per_cpu_second", out["settled_cpu_seconds"])):
        out[key] = out["samples"] / max(seconds, 1 / TICKS)
    return out


def count_series(server, kind, at):
    """What the server says it has: a figure for work that was not done would mean nothing."""
    def probe():
        found = server.client.query('count({namespace=~"team-.+"})', at)  # VictoriaMetrics shows new data with a delay
        return int(found[0]["value"][1]) if found else 0
    series = 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        now = probe()
        if now == series and now > 0:
            return now
        series = now
        time.sleep(0.5)
    raise lib.Failure(f"{kind}: the number of series does not come to rest ({series})")


def one_run(kind, args, corpus, info, cpus, loader_cpus):
    scrapes = args.prometheus_scrapes if kind == "prometheus" else args.scrapes
    with tempfile.TemporaryDirectory(prefix="bench-", dir=args.dir) as work:
        with make_server(kind, work, cpus).start() as server:
            new = phase(server, args, corpus, loader_cpus, 0, 1, kind)
            steady = phase(server, args, corpus, loader_cpus, 1, scrapes - 1, kind)
            at = (info["start_ms"] + scrapes * info["interval_ms"]) / 1000
            series = count_series(server, kind, at)
            lib.expect_equal(series, info["series"], f"series that {kind} has")
            peak = rss_bytes(server.pid, "VmHWM")
            server.terminate()
        # Not in the table: a log, or blocks of which some are merged and some are not, of runs of different length.
        disk = sum(f.stat().st_size for f in pathlib.Path(work).rglob("*") if f.is_file())
    return {"server": kind, "new_series": new, "steady": steady, "rss_peak_bytes": peak, "disk_bytes": disk}


# ---- output ----

def median(runs, *path):
    values = []
    for r in runs:
        for key in path:
            r = r[key]
        values.append(r)
    return statistics.median(values)


def summarize(runs, kinds):
    out = {}
    for kind in kinds:
        own = [r for r in runs if r["server"] == kind]
        row = {"rounds": len(own), "rss_peak_bytes": median(own, "rss_peak_bytes"), "disk_bytes": median(own, "disk_bytes")}
        for phase_name in ("steady", "new_series"):
            row[phase_name] = {k: median(own, phase_name, k)
                               for k in ("per_cpu_second", "settled_per_cpu_second", "samples_per_second", "p50_ms", "p99_ms", "rss_bytes")}
        out[kind] = row
    base = out.get("tidalite")
    for kind, row in out.items():
        if base and kind != "tidalite":
            row["tidalite_ratio"] = {p: base[p]["per_cpu_second"] / row[p]["per_cpu_second"] for p in ("steady", "new_series")}
            row["tidalite_ratio"]["steady_settled"] = base["steady"]["settled_per_cpu_second"] / row["steady"]["settled_per_cpu_second"]
    return out


def table(summary):
    lines = [f"{'':18} {'samples per CPU second':>24} {'settled':>12} {'samples/s':>12} {'p50 ms':>8} {'p99 ms':>8} {'RSS MiB':>8} {'Tidalite is':>12}"]
    for phase_name, title in (("steady", "steady state"), ("new_series", "new series")):
        lines.append(f"{title}:")
        for kind, row in summary.items():
            p = row[phase_name]
            ratio = f"{row['tidalite_ratio'][phase_name]:.2f} x" if "tidalite_ratio" in row else ""
            lines.append(f"  {kind:16} {p['per_cpu_second']:>24,.0f} {p['settled_per_cpu_second']:>12,.0f} {p['samples_per_second']:>12,.0f} "
                         f"{p['p50_ms']:>8.2f} {p['p99_ms']:>8.2f} {p['rss_bytes'] / 2**20:>8.0f} {ratio:>12}")
    return "\n".join(lines)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8", errors="replace")
                  if line.startswith("model name")), platform.machine())
    memory = next((int(line.split()[1]) for line in open("/proc/meminfo", encoding="ascii") if line.startswith("MemTotal")), 0)
    return {"cpu": model, "cores": os.cpu_count(), "memory_gib": round(memory / 2**20, 1), "kernel": platform.release()}


def parse_args():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="a smoke run: few series, one round, Tidalite only unless --servers says otherwise")
    p.add_argument("--servers", help="comma-separated: tidalite, tidalite-strict, victoria-metrics, prometheus (all)")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--targets", type=int, default=1000, help="of 100 series each (1000)")
    p.add_argument("--scrapes", type=int, default=60)
    p.add_argument("--prometheus-scrapes", type=int, default=20, help="fewer for the slowest; its figure is per sample all the same")
    p.add_argument("--connections", type=int, default=4)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--settle", type=float, default=3.0, help="seconds that a server may catch up after a phase")
    p.add_argument("--dir", default=None, help="where the servers' data goes (the system's temporary folder)")
    p.add_argument("--out", default=str(ROOT / "bench/results/latest.json"))
    args = p.parse_args()
    if args.quick:
        args.rounds, args.targets, args.scrapes, args.prometheus_scrapes, args.settle = 1, 40, 10, 5, 0.0
        args.servers = args.servers or "tidalite,tidalite-strict"
    args.kinds = (args.servers or "tidalite,tidalite-strict,victoria-metrics,prometheus").split(",")
    unknown = [k for k in args.kinds if k not in ("tidalite", "tidalite-strict", "victoria-metrics", "prometheus")]
    if unknown:
        p.error(f"unknown server: {unknown[0]}")
    return args


def measure(args):
    cores = sorted(os.sched_getaffinity(0))
    server_cpus, loader_cpus = ({cores[0]}, {cores[1]}) if len(cores) > 1 else ({cores[0]}, {cores[0]})
    for kind in args.kinds:
        if not kind.startswith("tidalite"):
            peers.program(kind)
    interval_ms = 15_000
    start_ms = lib.now_ms() - (args.scrapes + 2) * interval_ms
    work = tempfile.mkdtemp(prefix="bench-corpus-", dir=args.dir)
    try:
        corpus = os.path.join(work, "corpus")
        info = run_json(BUILD / "bench/gen", "--out", corpus, "--targets", args.targets, "--scrapes", args.scrapes, "--seed", args.seed,
                        "--start-ms", start_ms, "--interval-ms", interval_ms)
        info |= {"start_ms": start_ms, "interval_ms": interval_ms, "connections": args.connections}
        print(f"{info['series']} series x {info['scrapes']} scrapes, {info['label_bytes_per_series']:.0f} label bytes, "
              f"{info['protobuf_bytes_per_sample']:.0f} bytes of protobuf and {info['body_bytes_per_sample']:.1f} of body per sample; "
              f"{args.connections} connections; server on core {min(server_cpus)}, loader on core {min(loader_cpus)}", flush=True)
        if len(cores) == 1:
            print("only one core: server and loader share it; samples per CPU second still mean the same, the rest does not")
        runs = []
        for i in range(args.rounds):
            for kind in args.kinds if i % 2 == 0 else reversed(args.kinds):
                r = one_run(kind, args, corpus, info, server_cpus, loader_cpus)
                runs.append(r | {"round": i})
                print(f"round {i + 1} {kind:16} steady {r['steady']['per_cpu_second']:>12,.0f} samples per CPU second, "
                      f"new series {r['new_series']['per_cpu_second']:>10,.0f}", flush=True)
        return info, runs
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main():
    args = parse_args()
    try:
        info, runs = measure(args)
    except (lib.Failure, peers.PeerError) as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    summary = summarize(runs, args.kinds)
    result = {"machine": machine(), "versions": {k: peers.package_name(k) for k in args.kinds if not k.startswith("tidalite")} |
              {"tidalite": lib.run_binary("version")[1].strip()}, "corpus": info, "summary": summary, "runs": runs}
    out = pathlib.Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\nmedians of {args.rounds} rounds, {result['machine']['cpu']}, {result['machine']['cores']} cores")
    print(table(summary))
    print(f"\nas JSON: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
