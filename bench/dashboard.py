"""What a dashboard waits for when it asks again: windows of range queries that move on by a step.

A corpus goes into victoria-metrics, whose cache of results is on, and into Tidalite.  Each panel is asked once, and then again and again, its window
a step later each time: median of the wall time until the last byte, CPU time of the server per question.  Tidalite is asked a second
time with `nocache=1`: what it costs to compute all of it, and that every byte of the answers is the same.
"""
import os
import statistics
import time
import urllib.parse

import common
import lib
import queries
import speed
import storage

MOVES = 60
SPAN = 2700           # and the corpus is as much longer as the window moves
PANELS = [
    ("sum by (job) (rate[5m]), 15 s", f"sum by (job) (rate({speed.COUNTERS}[5m]))", 15),
    ("ratio of two sums of rates, 15 s",
     f'sum by (job) (rate({speed.COUNTERS}[5m])) / sum by (job) (rate({{__name__=~"service_operations_6._processed_total"}}[5m]))', 15),
    ("quantile of buckets by job, 15 s",
     "histogram_quantile(0.9, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))", 15),
    ("sum by (job) (a gauge), 15 s", f"sum by (job) ({speed.GAUGES})", 15),
    ("rate[5m] of one metric, all points, 15 s", "rate(service_operations_47_processed_total[5m])", 15),
    ("one series, 15 s", queries.SERIES, 15),
]


def ask_panel(server, panel, end, more):
    """The window of the panel, moved on MOVES times: ({"ms", "cpu_ms"}, the answers)."""
    _, query, step = panel
    times, bodies = [], []
    begin = 0
    for k in range(MOVES + 1):
        at = end - (MOVES - k) * step
        target = "/api/v1/query_range?" + urllib.parse.urlencode({"query": query, "start": at - SPAN, "end": at, "step": step} | more)
        start = time.perf_counter()
        answer = server.client.request("GET", target)
        took = (time.perf_counter() - start) * 1000
        lib.expect(answer.status == 200, f"{server.name}: {panel[0]}: {answer}")
        bodies.append(answer.data)
        if k == 0:
            first, begin = took, queries.cpu_ns(server.pid)
        else:
            times.append(took)
    return {"ms": statistics.median(times), "cpu_ms": (queries.cpu_ns(server.pid) - begin) / MOVES / 1e6, "first_ms": first,
            "bytes": len(bodies[-1])}, bodies


def flags(kind):
    if kind == "victoria-metrics":
        return [f for f in speed.flags(kind, "blocks") if f != "-search.disableCache"]
    return speed.flags(kind, "head")


def measure(args, work, kind, corpus, info, cpus):
    """({panel: row}, {panel: row with nocache=1}, differences)."""
    rows, plain, wrong = {}, {}, []
    end = info["last_ms"] // 15000 * 15
    mine = os.sched_getaffinity(0)
    with common.folder(work) as data, common.make_server(kind, data, cpus, flags(kind)).start() as server:
        common.load(server, kind, corpus, 1, common.cores()[1])
        storage.wait_stored(server, kind, info)
        common.wait_idle(server)
        os.sched_setaffinity(0, common.cores()[1])
        try:
            for panel in PANELS:
                rows[panel[0]], kept = ask_panel(server, panel, end, {})
                if kind == "tidalite":
                    plain[panel[0]], computed = ask_panel(server, panel, end, {"nocache": "1"})
                    if kept != computed:
                        wrong.append(f"{panel[0]}: other bytes with the cache")
        finally:
            os.sched_setaffinity(0, mine)
    return rows, plain, wrong


def run(args, folder):
    corpus = f"{folder}/dashboard"
    start_ms = storage.past_window_ms()
    info = common.make_corpus(corpus, args.dashboard_targets, args.dashboard_scrapes, args.seed, start_ms, speed.INTERVAL_MS, "--numbered")
    info |= {"first_ms": start_ms, "last_ms": start_ms + info["scrapes"] * speed.INTERVAL_MS - 1}
    cpus = common.cores()[0] if args.speed_cores == 1 else os.sched_getaffinity(0)
    result = {"corpus": info, "cores": len(cpus), "peer": None}
    if "victoria-metrics" in args.kinds:
        result["peer"] = measure(args, folder, "victoria-metrics", corpus, info, cpus)[0]
    result["kept"], result["computed"], result["differences"] = measure(args, folder, "tidalite", corpus, info, cpus)
    return result


def table(result):
    peer = result["peer"]
    lines = [f"dashboard: {result['corpus']['series']:,} series, {result['corpus']['scrapes']} scrapes, {result['cores']} core(s); windows of {SPAN} s that move"
             f" on by a step, {MOVES} times; ms [server CPU ms]",
             f"{'':42}{'asked again':>20}{'nocache=1':>20}" + (f"{'victoria-metrics':>20}{'ratio (of CPU)':>18}" if peer else "")]
    for name, _, _ in PANELS:
        cells = "".join(f"{row['ms']:.2f} [{row['cpu_ms']:.2f}]".rjust(20)
                        for row in [result["kept"][name], result["computed"][name]] + ([peer[name]] if peer else []))
        if peer:
            mine, theirs = result["kept"][name], peer[name]
            cells += f"{mine['ms'] / theirs['ms']:.2f} ({mine['cpu_ms'] / max(theirs['cpu_ms'], 1e-6):.2f})".rjust(18)
        lines.append(f"  {name:40}{cells}")
    lines += [f"  ! {w}" for w in result["differences"]]
    return "\n".join(lines)
