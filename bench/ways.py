"""The ways in: what a sample costs by each form that senders use, with churn, many connections and overload.

A row is a corpus of its own, sent to a fresh server on one core: first scrape 0 (new series), then the rest.  With churn every
scrape replaces a tenth of the targets.  Overload sends ten times the connections through a budget that holds a few requests;
what gets 503 comes again, and at the end every sample must have been taken.
"""
import argparse
import subprocess

from common import cores, folder, make_corpus, make_server, rss_bytes
import ingest
import peers

import lib

V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
OTLP_PATHS = {"tidalite": "/api/v1/otlp/v1/metrics", "prometheus": "/api/v1/otlp/v1/metrics", "victoria-metrics": "/opentelemetry/v1/metrics"}
PROMETHEUS_V2 = "--web.remote-write-receiver.accepted-protobuf-messages=io.prometheus.write.v2.Request"

# name, flags of gen, flags of loader, connections (0: as asked for), servers that have it with their extra flags
ROWS = (
    ("1.0 snappy", (), (), 0, {"tidalite": (), "victoria-metrics": (), "prometheus": ()}),
    ("1.0 zstd", ("--form", "v1-zstd"), ("--encoding", "zstd"), 0, {"tidalite": (), "victoria-metrics": ()}),
    ("2.0", ("--form", "v2"), ("--type", V2, "--version", "2.0.0"), 0, {"tidalite": (), "prometheus": (PROMETHEUS_V2,)}),
    ("OTLP", ("--form", "otlp"), ("--encoding", "", "--path", None), 0,
     {"tidalite": (), "victoria-metrics": (), "prometheus": ("--web.enable-otlp-receiver",)}),
    ("32 connections", (), (), 32, {"tidalite": (), "victoria-metrics": (), "prometheus": ()}),
    ("strict", (), (), 0, {"tidalite": ("--storage.durability=strict",)}),
    ("churn 10 %", ("--churn", 10), (), 0, {"tidalite": (), "victoria-metrics": (), "prometheus": ()}),
    ("10x overload", (), ("--retry",), 40, {"tidalite": ("--web.max-inflight-bytes=16MiB", "--web.max-body-size=8MiB", "--storage.ring-slots=4")}),
)


def has(kind, servers):
    """Does it know the flags that it needs?  Prometheus has 2.0 from version 3 on, and OTLP only where it was built with it."""
    if kind != "prometheus" or kind not in servers:
        return kind in servers
    known = subprocess.run([peers.program(kind), "--help-long"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout.decode()
    return all(flag.split("=")[0] in known for flag in servers[kind])


def measure(kind, row, args, corpus, info, server_cpus, loader_cpus):
    name, flags, loader, connections, servers = row
    scrapes = args.ways_scrapes
    more = [OTLP_PATHS[kind] if x is None else x for x in loader]
    own = argparse.Namespace(**vars(args) | {"connections": connections or args.connections})
    with folder(args.dir) as work, make_server(kind, work, server_cpus, servers[kind]).start() as server:
        new = ingest.phase(server, own, corpus, loader_cpus, 0, 1, kind, more)
        steady = ingest.phase(server, own, corpus, loader_cpus, 1, scrapes - 1, kind, more)
        peak = rss_bytes(server.pid, "VmHWM")
        if "--churn" not in flags:  # an answer of 2xx may still have taken a part (OTLP)
            at = (info["start_ms"] + scrapes * info["interval_ms"]) / 1000
            lib.wait_for(f"all series that {kind} got by {name}", lambda: ingest.count_series(server, kind, at) == info["series"])
        server.terminate()
    return {"new_series": new, "steady": steady, "rss_peak_bytes": peak}


def run(args, work):
    server_cpus, loader_cpus = cores()
    out = {}
    start = lib.now_ms() - 600_000 - args.ways_scrapes * ingest.INTERVAL_MS  # VictoriaMetrics shows the newest minute late
    for i, row in enumerate(ROWS):
        name, flags, _, _, servers = row
        corpus = f"{work}/way{i}"
        info = make_corpus(corpus, args.ways_targets, args.ways_scrapes, args.seed, start, ingest.INTERVAL_MS, *flags)
        kinds = [k for k in args.store_kinds if has(k, servers)]
        out[name] = {"body_bytes_per_sample": info["body_bytes_per_sample"], "servers": {}}
        for kind in kinds:
            got = measure(kind, row, args, corpus, info, server_cpus, loader_cpus)
            lib.expect_equal(got["new_series"]["samples"] + got["steady"]["samples"], int(info["samples"]), f"samples that {kind} took by {name}")
            out[name]["servers"][kind] = got
            print(f"{name:16} {kind:16} steady {got['steady']['per_cpu_second']:>12,.0f} samples per CPU second", flush=True)
    return out


def table(result):
    lines = [f"{'way in':16} {'server':18} {'bytes/sample':>12} {'per CPU second':>15} {'new series':>12} {'samples/s':>12} {'p99 ms':>8} {'503':>7} {'peak MiB':>9}"]
    for name, row in result.items():
        for kind, got in row["servers"].items():
            s = got["steady"]
            lines.append(f"{name:16} {kind:18} {row['body_bytes_per_sample']:>12.1f} {s['per_cpu_second']:>15,.0f} {got['new_series']['per_cpu_second']:>12,.0f} "
                         f"{s['samples_per_second']:>12,.0f} {s['p99_ms']:>8.2f} {s['retried'] + got['new_series']['retried']:>7} {got['rss_peak_bytes'] / 2**20:>9.0f}")
    return "\n".join(lines)
