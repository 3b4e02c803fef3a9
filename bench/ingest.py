"""Ingest: Tidalite beside Debian's victoria-metrics and prometheus, on the same requests.

Each server is pinned to one core, the loader to another.  A round starts every server on an empty directory, one after the
other, and sends it the same bodies: first scrape 0, all of whose series are new, then the rest, the steady state.  Rounds
alternate the order.  The figure that counts is samples per CPU second of the server (utime + stime of its process while the
loader ran), because it does not depend on what else the machine did; work that a server puts off until later is not in it,
and is shown beside it (`settled`: including the following seconds).
"""
import pathlib
import statistics
import time

from common import TICKS, cores, cpu_seconds, folder, load, make_corpus, make_server, rss_bytes

import lib

INTERVAL_MS = 15_000


def phase(server, args, corpus, loader_cpus, first, scrapes, kind, more=()):
    cpu = cpu_seconds(server.pid)
    out = load(server, kind, corpus, args.connections, loader_cpus, first, scrapes, more)
    out["cpu_seconds"] = cpu_seconds(server.pid) - cpu
    out["rss_bytes"] = rss_bytes(server.pid)
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
    with folder(args.dir) as work:
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


def run(args, work):
    """(corpus, runs)"""
    server_cpus, loader_cpus = cores()
    corpus = f"{work}/ingest"
    info = make_corpus(corpus, args.targets, args.scrapes, args.seed, lib.now_ms() - (args.scrapes + 2) * INTERVAL_MS, INTERVAL_MS)
    info |= {"connections": args.connections}
    print(f"{info['series']} series x {info['scrapes']} scrapes, {info['label_bytes_per_series']:.0f} label bytes, "
          f"{info['protobuf_bytes_per_sample']:.0f} bytes of protobuf and {info['body_bytes_per_sample']:.1f} of body per sample; "
          f"{args.connections} connections; server on core {min(server_cpus)}, loader on core {min(loader_cpus)}", flush=True)
    if server_cpus == loader_cpus:
        print("only one core: server and loader share it; samples per CPU second still mean the same, the rest does not")
    runs = []
    for i in range(args.rounds):
        for kind in args.kinds if i % 2 == 0 else reversed(args.kinds):
            r = one_run(kind, args, corpus, info, server_cpus, loader_cpus)
            runs.append(r | {"round": i})
            print(f"round {i + 1} {kind:16} steady {r['steady']['per_cpu_second']:>12,.0f} samples per CPU second, "
                  f"new series {r['new_series']['per_cpu_second']:>10,.0f}", flush=True)
    return info, runs
