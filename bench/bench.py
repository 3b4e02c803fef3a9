#!/usr/bin/env python3
"""Tidalite beside Debian's victoria-metrics and prometheus, in the same run, on the same data: ingest, memory, disk, queries.

Each server is pinned to one core, whoever loads or asks it to another.  What is measured how stands at the top of ingest.py,
storage.py and queries.py.

    bench.py                          all parts, about ten minutes
    bench.py --parts ingest,memory    some of them, disk includes the queries; --help lists all
    bench.py --quick                  a smoke run of seconds, as `make test` does it
"""
import argparse
import json
import pathlib
import sys

import backfill
import churn
import common
import crowd
import dashboard
import exchange
import fair
import ingest
import layers
import lib
import peers
import queries
import restart
import skew
import speed
import storage
import ways

PARTS = ("ingest", "ways", "memory", "disk", "real", "skew", "backfill", "churn", "exchange", "fair", "crowd", "speed", "dashboard", "layers", "restart")


def parse_args():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="a smoke run: few series, one round, Tidalite only unless --servers says otherwise")
    p.add_argument("--parts", default=",".join(PARTS), help="comma-separated: " + ", ".join(PARTS))
    p.add_argument("--servers", help="comma-separated: " + ", ".join(common.KINDS) + " (all)")
    p.add_argument("--peers", help="a folder of programs to measure instead of Debian's, where it has them (TIDALITE_PEERS)")
    p.add_argument("--rounds", type=int, default=3, help="of the ingest and the skew part")
    p.add_argument("--targets", type=int, default=1000, help="of 100 series each (1000), ingest")
    p.add_argument("--scrapes", type=int, default=60, help="ingest")
    p.add_argument("--prometheus-scrapes", type=int, default=20, help="fewer for the slowest; its figure is per sample all the same")
    p.add_argument("--ways-targets", type=int, default=300, help="of 100 series each (300), ways")
    p.add_argument("--ways-scrapes", type=int, default=20, help="ways")
    p.add_argument("--memory-targets", type=int, default=1000, help="of 100 series each (1000), memory")
    p.add_argument("--memory-scrapes", type=int, default=20, help="memory")
    p.add_argument("--store-targets", type=int, default=100, help="of 100 series each (100), disk and queries")
    p.add_argument("--store-scrapes", type=int, default=480, help="disk and queries; 480 are two hours")
    p.add_argument("--skew-targets", type=int, default=10000, help="of 100 series each (10000), skew")
    p.add_argument("--skew-rounds", type=int, default=4, help="scrapes, skew")
    p.add_argument("--backfill-targets", type=int, default=1, help="of 100 series each (1), backfill")
    p.add_argument("--backfill-shapes", default="ordered,random", help="in what order the times come, backfill")
    p.add_argument("--backfill-scrapes", type=int, default=52560, help="ten minutes apart, backfill; 52560 are a year")
    p.add_argument("--churn-series", type=int, default=20000, help="of a turn, churn")
    p.add_argument("--churn-turns", type=int, default=10, help="churn")
    p.add_argument("--layers-appends", type=int, default=100_000, help="single appends and reads that are timed, layers")
    p.add_argument("--exchange-samples", type=int, default=10_000_000, help="imported and exported, exchange")
    p.add_argument("--restart-series", type=int, default=1_000_000, help="restart")
    p.add_argument("--restart-scrapes", type=int, default=10, help="restart")
    p.add_argument("--fair-targets", type=int, default=100, help="of 100 series each (100), fair")
    p.add_argument("--fair-scrapes", type=int, default=150, help="fair; a query covers the last half hour")
    p.add_argument("--fair-clients", default="0,16,24,40", help="how many ask heavy queries, one table row each, fair")
    p.add_argument("--fair-seconds", type=float, default=6.0, help="how long the light query is repeated, fair")
    p.add_argument("--fair-warm", type=float, default=2.0, help="seconds of heavy queries before, fair and crowd")
    p.add_argument("--crowd-targets", type=int, default=100, help="of 100 series each (100), crowd")
    p.add_argument("--crowd-scrapes", type=int, default=240, help="before the writers begin, crowd")
    p.add_argument("--crowd-stretch", type=int, default=60, help="scrapes of the writers, alone and beside, crowd")
    p.add_argument("--crowd-minutes", type=int, default=30, help="that a heavy query covers, crowd")
    p.add_argument("--speed-targets", type=int, default=1000, help="of 100 series each (1000), speed")
    p.add_argument("--speed-scrapes", type=int, default=300, help="speed")
    p.add_argument("--speed-cores", type=int, default=2, choices=(1, 2), help="of the server, speed")
    p.add_argument("--speed-only", default="", help="questions whose name has this, speed")
    p.add_argument("--dashboard-targets", type=int, default=1000, help="of 100 series each (1000), dashboard")
    p.add_argument("--dashboard-scrapes", type=int, default=270, help="dashboard")
    p.add_argument("--pipelines", default="", help="skew: other builds of bench/pipeline to measure beside this one, comma-separated")
    p.add_argument("--query-seconds", type=float, default=1.0, help="how long each question is repeated")
    p.add_argument("--real-limit", type=int, default=None, help="only so many series of the recorded data")
    p.add_argument("--connections", type=int, default=4)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--settle", type=float, default=3.0, help="seconds that a server may catch up after a phase")
    p.add_argument("--dir", default=None, help="where the servers' data goes (the system's temporary folder)")
    p.add_argument("--out", default=str(common.ROOT / "bench/results/latest.json"))
    args = p.parse_args()
    peers.given = args.peers or peers.given
    if args.quick:
        args.rounds, args.targets, args.scrapes, args.prometheus_scrapes, args.settle = 1, 40, 10, 5, 0.0
        args.memory_targets, args.store_targets, args.store_scrapes, args.query_seconds, args.real_limit = 20, 20, 300, 0.0, 100
        args.skew_targets, args.skew_rounds = 40, 2
        args.ways_targets, args.ways_scrapes = 400, 3
        args.backfill_scrapes = 2000
        args.churn_series, args.churn_turns = 500, 2
        args.exchange_samples = 100_000
        args.layers_appends = 1000
        args.restart_series, args.restart_scrapes = 2000, 3
        args.fair_targets, args.fair_scrapes, args.fair_clients, args.fair_seconds, args.fair_warm = 2, 130, "0,3", 0.1, 0.1
        args.crowd_targets, args.crowd_scrapes, args.crowd_stretch = 20, 130, 5
        args.speed_targets, args.speed_scrapes, args.speed_only = 2, 260, "120 of"
        args.dashboard_targets = 2
        args.servers = args.servers or "tidalite,tidalite-strict"
    args.kinds = (args.servers or ",".join(common.KINDS)).split(",")
    # Durability makes no difference to what lies on disk or in memory afterwards.
    args.exchange_peer = any(not k.startswith("tidalite") for k in args.kinds)
    args.store_kinds = [k for k in args.kinds if k != "tidalite-strict"]
    args.speed_questions = [q for q in speed.QUESTIONS if args.speed_only in q[0]]
    args.parts = args.parts.split(",")
    args.backfill_shapes = args.backfill_shapes.split(",")
    args.fair_clients = [int(n) for n in args.fair_clients.split(",")]
    args.pipelines = [f for f in args.pipelines.split(",") if f]
    for word, known in [(k, common.KINDS) for k in args.kinds] + [(k, PARTS) for k in args.parts] + [(k, backfill.SHAPES) for k in args.backfill_shapes]:
        if word not in known:
            p.error(f"unknown: {word}")
    return args


# Parts of one module each: (what runs it, what shows it).
ALONE = {
    "ways": (ways.run, ways.table),
    "memory": (storage.memory, storage.memory_table),
    "skew": (lambda args, _: skew.run(args), skew.table),
    "backfill": (backfill.run, backfill.table),
    "churn": (churn.run, churn.table),
    "exchange": (exchange.run, exchange.table),
    "fair": (fair.run, fair.table),
    "crowd": (crowd.run, crowd.table),
    "speed": (speed.run, speed.table),
    "dashboard": (dashboard.run, dashboard.table),
    "layers": (layers.run, layers.table),
    "restart": (restart.run, restart.table),
}


def measure_ingest(args, work, result):
    result["corpus"], result["runs"] = ingest.run(args, work)
    result["summary"] = ingest.summarize(result["runs"], args.kinds)
    return [ingest.table(result["summary"])]


def measure_disk(args, work, result):
    result["queries"], result["disk"] = queries.run(args, work)
    return [storage.disk_table("generated data", result["disk"]), queries.table(result["queries"])]


def measure_real(args, work, result):
    result["disk_recorded"] = storage.disk_real(args, work)
    if result["disk_recorded"]:
        return [storage.disk_table("recorded node exporter data", result["disk_recorded"])]
    print("recorded data: not beside the repository, left out")
    return []


TOGETHER = {"ingest": measure_ingest, "disk": measure_disk, "real": measure_real}


def measure(args, work, result):
    """Run the parts; their tables."""
    tables = []
    for part in (p for p in PARTS if p in args.parts):
        if part in TOGETHER:
            tables += TOGETHER[part](args, work, result)
            continue
        run, table = ALONE[part]
        result[part] = run(args, work)
        tables.append(table(result[part]))
    return tables


def main():
    args = parse_args()
    result = {"machine": common.machine()}
    try:
        for kind in args.kinds:
            if not kind.startswith("tidalite"):
                peers.program(kind)
        result["versions"] = {k: peers.version(k) for k in args.kinds if not k.startswith("tidalite")}
        result["versions"]["tidalite"] = lib.run_binary("version")[1].strip()
        with common.folder(args.dir) as work:
            tables = measure(args, work, result)
    except (lib.Failure, peers.PeerError) as e:
        print(f"bench: {e}", file=sys.stderr)
        return 1
    out = pathlib.Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{result['machine']['cpu']}, {result['machine']['cores']} cores; ingest: medians of {args.rounds} rounds")
    print("\n\n".join(tables))
    print(f"\nas JSON: {out}")
    wrong = [w for part in ("queries", "speed", "dashboard") for w in result.get(part, {}).get("differences", [])]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
