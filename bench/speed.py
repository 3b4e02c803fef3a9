"""How fast queries are beside victoria-metrics: its answer to the same question is 1.

A corpus goes into both; victoria-metrics runs without its cache of results, Tidalite is asked with `nocache=1`.  Each question is
asked in three states: with the data in the head; in blocks; in blocks right after a start, once, when no cache holds anything (of
the disk the kernel's may).  A ratio below 1 is faster than victoria-metrics, which was asked in the same run, on the same cores.
"""
import os

import common
import lib
import queries
import storage

INTERVAL_MS = 15_000
# Of the series a tenth each: 10,000 of 100,000.
COUNTERS = '{__name__=~"service_operations_5._processed_total"}'
GAUGES = '{__name__=~"service_queue_7._utilisation_percent"}'
SOME = '{namespace=~"team-payments-0[0-2]"}'
RANGE, INSTANT = "/api/v1/query_range", "/api/v1/query"
BY_15, BY_60, FAR = {"span": 3600, "step": 15}, {"span": 3600, "step": 60}, {"span": 3600, "step": 1800}
QUESTIONS = [
    ("sum by (job) (rate[5m]), 15 s", RANGE, {"query": f"sum by (job) (rate({COUNTERS}[5m]))"} | BY_15, ()),
    ("sum without (...) (rate[5m]), 15 s", RANGE, {"query": f"sum without (instance, pod, series) (rate({COUNTERS}[5m]))"} | BY_15, ()),
    ("ratio of two sums of rates, 15 s", RANGE,
     {"query": f'sum by (job) (rate({COUNTERS}[5m])) / sum by (job) (rate({{__name__=~"service_operations_6._processed_total"}}[5m]))'} | BY_15, ()),
    ("quantile of buckets by job, 15 s", RANGE,
     {"query": "histogram_quantile(0.9, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))"} | BY_15, ()),
    ("rate[5m], all points, 60 s", RANGE, {"query": f"rate({COUNTERS}[5m])"} | BY_60, ()),
    ("avg_over_time[1h], now", INSTANT, {"query": f"sum(avg_over_time({GAUGES}[1h]))"}, ()),
    ("increase[1h], now", INSTANT, {"query": f"sum by (job) (increase({COUNTERS}[1h]))"}, ()),
    ("max_over_time[10m], 60 s", RANGE, {"query": f"max by (job) (max_over_time({GAUGES}[10m]))"} | BY_60, ()),
    ("max_over_time(rate[5m])[30m:1m], now", INSTANT, {"query": f"max(max_over_time(rate({COUNTERS}[5m])[30m:1m]))"}, ()),
    ("sum, 3 steps half an hour apart", RANGE, {"query": f"sum({COUNTERS})"} | FAR, ()),
    ("count of everything", INSTANT, {"query": 'count({__name__=~".+"})'}, ()),
    ("count by name of everything", INSTANT, {"query": 'count by (__name__) ({__name__=~".+"})'}, ()),
    ("regular expressions", INSTANT,
     {"query": 'sum by (namespace) ({__name__=~"service_operations_[45]._processed_total",pod=~"checkout-service-(1|2|3).-.*"})'}, ()),
    ("negative regular expressions", INSTANT, {"query": 'count({__name__!~"process_.*",cluster=~".+",pod!~"checkout-service-[1-3].*"})'}, ()),
    ("120 of 1,000 series, raw", RANGE, {"query": f"service_operations_47_processed_total{SOME}"} | BY_15, ()),
    ("120 of 1,000 series, rate[5m]", RANGE, {"query": f"rate(service_operations_47_processed_total{SOME}[5m])"} | BY_15, ()),
    ("values of pod", "/api/v1/label/pod/values", {}, ()),
    ("values of __name__", "/api/v1/label/__name__/values", {}, ()),
    ("label names", "/api/v1/labels", {}, ()),
    ("/series of a tenth", "/api/v1/series", {"match[]": COUNTERS}, ()),
    ("one series, 15 s", RANGE, {"query": queries.SERIES} | BY_15, ()),
    ("one metric, now", INSTANT, {"query": "service_operations_47_processed_total"}, ()),
]
STATES = ("head", "blocks", "cold")
COLD_ROUNDS = 2


def flags(kind, state):
    if kind == "victoria-metrics":
        return ["-search.disableCache", "-search.maxUniqueTimeseries=10000000", "-search.maxSeries=10000000", "-search.latencyOffset=0s"]
    return [f"--{lib.BLOCK_RANGE_FLAG}=31d"] if state == "head" else []


def ask_cold(server, args, end):
    """Each question once after a start of its own, the least of a few rounds."""
    out = {}
    for question in args.speed_questions:
        rows = []
        for _ in range(COLD_ROUNDS):
            lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
            server.start()
            common.wait_idle(server, quiet=0.2)
            rows.append(queries.ask(server, [question], end, warm=0, least=1, seconds=0)[question[0]])
        out[question[0]] = min(rows, key=lambda r: r["cpu_ms"])
    return out


def measure(args, work, kind, states, corpus, info, cpus):
    """{state: answers} of one server on one data directory."""
    out, end = {}, info["last_ms"] / 1000
    mine = os.sched_getaffinity(0)
    with common.folder(work) as data, common.make_server(kind, data, cpus, flags(kind, states[0])).start() as server:
        common.load(server, kind, corpus, 1, common.cores()[1])
        storage.wait_stored(server, kind, info)
        if states[0] != "head":
            storage.finish(server, kind)
        common.wait_idle(server)
        os.sched_setaffinity(0, common.cores()[1])
        try:
            for state in states:
                out[state] = ask_cold(server, args, end) if state == "cold" else queries.ask(server, args.speed_questions, end,
                                                                                            seconds=args.query_seconds)
                rss = common.rss_bytes(server.pid, "VmHWM") / 2**20
                print(f"speed: {kind}, {state}: {sum(r['ms'] for r in out[state].values()):.0f} ms for one of each, RSS {rss:.0f} MiB", flush=True)
        finally:
            os.sched_setaffinity(0, mine)
    return out


def run(args, folder):
    corpus = f"{folder}/speed"
    start_ms = storage.past_window_ms()
    info = common.make_corpus(corpus, args.speed_targets, args.speed_scrapes, args.seed, start_ms, INTERVAL_MS, "--numbered")
    info |= {"first_ms": start_ms, "last_ms": start_ms + info["scrapes"] * INTERVAL_MS - 1}
    cpus = common.cores()[0] if args.speed_cores == 1 else os.sched_getaffinity(0)
    found = {}
    if "victoria-metrics" in args.kinds:
        peer = measure(args, folder, "victoria-metrics", ("blocks", "cold"), corpus, info, cpus)
        found["victoria-metrics"], found["victoria-metrics, cold"] = peer["blocks"], peer["cold"]
    found["head"] = measure(args, folder, "tidalite", ("head",), corpus, info, cpus)["head"]
    stored = measure(args, folder, "tidalite", ("blocks", "cold"), corpus, info, cpus)
    found["blocks"], found["cold"] = stored["blocks"], stored["cold"]
    wrong = [f"{state}: {name}: {what}" for state in ("blocks", "cold") for name, row in found[state].items()
             if (what := queries.difference(queries.values_of(found["head"][name]["data"]), queries.values_of(row["data"])))]
    for rows in found.values():
        for row in rows.values():
            del row["data"]
    return {"corpus": info, "cores": len(cpus), "servers": found, "differences": wrong}


def table(result):
    found, peer = result["servers"], "victoria-metrics"
    lines = [f"speed: {result['corpus']['series']:,} series, {result['corpus']['scrapes']} scrapes, {result['cores']} core(s); ms [server CPU ms],"
             " and of victoria-metrics's time (of its CPU time)",
             f"{'':38}{'head':>30}{'blocks':>30}{'cold blocks':>30}" + (f"{peer:>20}{'cold':>18}" if peer in found else "")]
    for name, _, _, _ in QUESTIONS:
        if name not in found["head"]:
            continue
        cells = ""
        for state in STATES:
            mine = found[state][name]
            cell = f"{mine['ms']:.2f} [{mine['cpu_ms']:.2f}]"
            if peer in found:
                theirs = found[peer if state != "cold" else f"{peer}, cold"][name]
                cell += f" {mine['ms'] / theirs['ms']:.2f} ({mine['cpu_ms'] / max(theirs['cpu_ms'], 1e-6):.2f})"
            cells += f"{cell:>30}"
        if peer in found:
            theirs, cold = found[peer][name], found[f"{peer}, cold"][name]
            cells += f"{theirs['ms']:.2f} [{theirs['cpu_ms']:.2f}]".rjust(20) + f"{cold['ms']:.2f} [{cold['cpu_ms']:.2f}]".rjust(18)
        lines.append(f"  {name:36}{cells}")
    lines += [f"  ! {w}" for w in result["differences"]]
    return "\n".join(lines)
