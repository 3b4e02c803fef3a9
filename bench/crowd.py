"""Heavy queries and writers at once: does each get its share, and memory its bound?

A corpus goes into every server but for its last two stretches.  The first of them is written by many connections alone, the second
beside clients that repeat a heavy query, each over a connection of its own: latencies of the writes before and beside, how many
heavy answers came, how many were refused, and the most memory.
"""
import time

import common
import fair
import lib
import storage

WRITERS = 32
CLIENTS = 16
INTERVAL_MS = 15_000
HEAVY = {"query": 'rate({namespace=~".+"}[5m])', "step": 15}


def crowd(server, kind, args, corpus, first, end):
    """The last stretch, beside the heavy clients; until each of them had an answer."""
    path = fair.target("/api/v1/query_range", HEAVY, start=end - args.crowd_minutes * 60, end=end)
    with fair.Clients(server, path, CLIENTS) as clients:
        time.sleep(args.fair_warm)
        beside = common.load(server, kind, corpus, WRITERS, None, first, args.crowd_stretch)
        lib.wait_for("an answer for every heavy client", lambda: clients.answers >= CLIENTS, seconds=300)
    refused = sum("HTTP 503" in f for f in clients.failed)
    lib.expect_equal(len(clients.failed), refused, f"{kind}: heavy queries that failed otherwise: {clients.failed[:1]}")
    return beside, {"answered": clients.answers - refused, "refused": refused}


def measure(kind, args, corpus, info):
    base = info["scrapes"] - 2 * args.crowd_stretch
    end = (info["start_ms"] + base * INTERVAL_MS) / 1000
    with common.folder(args.dir) as work, common.make_server(kind, work, None, storage.flags_for(kind)).start() as server:
        common.load(server, kind, corpus, 1, None, 0, base)
        common.wait_idle(server)
        quiet = common.load(server, kind, corpus, WRITERS, None, base, args.crowd_stretch)
        common.wait_idle(server)
        rest = common.rss_bytes(server.pid)
        beside, heavy = crowd(server, kind, args, corpus, base + args.crowd_stretch, end)
        return {"quiet": quiet, "beside": beside, **heavy, "rss_rest_bytes": rest, "rss_peak_bytes": common.rss_bytes(server.pid, "VmHWM"),
                "query_peak_bytes": lib.find_text(server.client.get("/metrics").text, "tidalite_query_memory_peak_bytes")}


def run(args, folder):
    corpus = f"{folder}/crowd"
    info = common.make_corpus(corpus, args.crowd_targets, args.crowd_scrapes + 2 * args.crowd_stretch, args.seed, storage.past_window_ms(), INTERVAL_MS, "--numbered")
    servers = {}
    for kind in args.store_kinds:
        servers[kind] = measure(kind, args, corpus, info)
        print(f"crowd: {kind} done", flush=True)
    return {"corpus": info, "servers": servers}


def table(result):
    lines = [f"{CLIENTS} clients with heavy queries and {WRITERS} writers: {result['corpus']['series']:,} series; ms, MiB",
             f"  {'':20}{'p99 alone':>10}{'beside':>8}{'samples/s':>12}{'beside':>12}{'heavy':>7}{'503':>5}{'rest':>7}{'peak':>7}{'own account':>12}"]
    for kind, r in result["servers"].items():
        own = "" if r["query_peak_bytes"] is None else f"{r['query_peak_bytes'] / 2**20:.0f}"
        lines.append(f"  {kind:20}{r['quiet']['p99_ms']:>10.1f}{r['beside']['p99_ms']:>8.1f}{r['quiet']['samples_per_second']:>12,.0f}"
                     f"{r['beside']['samples_per_second']:>12,.0f}{r['answered']:>7}{r['refused']:>5}"
                     f"{r['rss_rest_bytes'] / 2**20:>7.0f}{r['rss_peak_bytes'] / 2**20:>7.0f}{own:>12}")
    return "\n".join(lines)
